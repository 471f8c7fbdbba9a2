//! Fills a store from a tree of CRI pod logs and says what that took: `ingest PODS_DIR DATA_DIR [HEAD_KIB]`.
//! A tool for measuring by hand; the agent is the real thing.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measuring tool"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use store::api::{AppendError, Options, Store};
use store::segment::{Reader, Section};
use wire::{Batch, Entry, LabelSet, SourcePosition};

struct Source {
    key: String,
    text: Vec<u8>,
    at: usize,
    base: Vec<(String, String)>,
    uid: String,
    streams: [LabelSet; 2],
    metadata: Vec<(&'static str, LabelSet)>,
    /// CPU seconds in `append`.
    cpu: f64,
}

fn main() {
    let mut args = std::env::args().skip(1);
    let pods = args.next().expect("PODS_DIR");
    let dir = PathBuf::from(args.next().expect("DATA_DIR"));
    let head_kib: usize = args.next().map_or(4096, |n| n.parse().expect("HEAD_KIB"));
    let mut sources = load(Path::new(&pods));
    let disk: Arc<dyn disk::Disk> = Arc::new(disk::real::RealDisk::new());
    let store = Store::open(Options {
        dir: dir.clone(),
        disk: Arc::clone(&disk),
        head_bytes: head_kib << 10,
        flush_interval: Duration::from_secs(1800),
        query_memory: 32 << 20,
        max_query_series: 500,
        catch_up_rate: None,
        retention: store::retention::Retention::default(),
        clock: store::clock::Timekeeper::system(store::clock::Trust::Auto),
    })
    .expect("open");
    let (wall, cpu, own) = (Instant::now(), cpu_seconds(), thread_seconds());
    let mut peak = Duration::ZERO;
    // Round robin in order of time, as a tailer sees it: each turn takes one minute of every file.
    let mut now = sources.iter().filter_map(first_time).min().unwrap_or(0);
    while sources.iter().any(|s| s.at < s.text.len()) {
        now += 60_000_000_000;
        for source in &mut sources {
            peak = peak.max(feed(&store, source, now));
        }
    }
    store.close().expect("close");
    let (wall, cpu) = (wall.elapsed(), cpu_seconds() - cpu);
    let append: f64 = sources.iter().map(|s| s.cpu).sum();
    let flush = cpu - (thread_seconds() - own);
    let stats = store.stats();
    let raw = stats.bytes_in as f64;
    println!(
        "raw {raw} entries {} segments {}",
        stats.entries_in, stats.segments
    );
    println!(
        "wall {wall:?} cpu {cpu:.2} s = {:.2} s/GiB, longest append {peak:?}",
        cpu * (1u64 << 30) as f64 / raw
    );
    println!("of that append {append:.2} s, flush thread {flush:.2} s; the rest is parsing");
    println!(
        "disk/raw {:.4} written/raw {:?}",
        stats.segment_bytes as f64 / raw,
        stats.written
    );
    breakdown(&*disk, &dir, raw, stats.entries_in as f64);
}

fn breakdown(disk: &dyn disk::Disk, dir: &Path, raw: f64, entries: f64) {
    let mut columns = [0u64; 4];
    let mut sections = [0u64; 5];
    let (mut blocks, mut chunks, mut cells) = (0u64, 0usize, 0u64);
    for entry in disk.list(&dir.join("segments")).expect("list") {
        let reader = Reader::open(disk, &dir.join("segments").join(&entry.name)).expect("open");
        for (i, section) in [
            Section::Streams,
            Section::Chunks,
            Section::Metadata,
            Section::Positions,
            Section::Minutes,
        ]
        .into_iter()
        .enumerate()
        {
            sections[i] += reader.summary().section_bytes(section);
        }
        let mut rows = reader.chunks().expect("chunks");
        chunks += rows.len();
        cells += rows
            .iter()
            .map(|r| u64::from(r.cells.unwrap_or(0)))
            .sum::<u64>();
        rows.sort_by_key(|r| r.block_offset);
        rows.dedup_by_key(|r| r.block_offset);
        for row in rows {
            let header = reader.block_header(row.block_offset).expect("header");
            blocks += 1;
            for (sum, place) in columns.iter_mut().zip(header.columns) {
                *sum += u64::from(place.len);
            }
        }
    }
    for (name, bytes) in ["times", "lengths", "metadata", "lines"]
        .iter()
        .zip(columns)
    {
        println!(
            "{name:10} {:.5} of raw, {:.3} B/line",
            bytes as f64 / raw,
            bytes as f64 / entries
        );
    }
    for (name, bytes) in ["streams", "chunks", "metadata", "positions", "minutes"]
        .iter()
        .zip(sections)
    {
        println!(
            "section {name:10} {:.5} of raw (all copies)",
            bytes as f64 / raw
        );
    }
    println!(
        "blocks {blocks} ({:.0} raw each) chunks {chunks} cells {cells}",
        raw / blocks as f64
    );
}

fn feed(store: &Store, source: &mut Source, until: i64) -> Duration {
    let text = std::mem::take(&mut source.text);
    let mut longest = Duration::ZERO;
    loop {
        let mut entries: Vec<(u32, i64, &[u8], usize)> = Vec::new();
        let (mut at, mut bytes) = (source.at, 0);
        while at < text.len() && bytes < 128 << 10 {
            let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |n| at + n);
            let Some((ts, stream, line)) = parse(&text[at..end]) else {
                break;
            };
            if ts > until {
                break;
            }
            entries.push((stream, ts, line, source.level(line)));
            bytes += line.len();
            at = end + 1;
        }
        if entries.is_empty() {
            break;
        }
        let batch: Vec<Entry<'_>> = entries
            .iter()
            .map(|(stream, ts, line, level)| Entry {
                stream: *stream,
                ts: *ts,
                line,
                metadata: source.metadata[*level].1.as_ref(),
            })
            .collect();
        let position = at.to_le_bytes();
        let batch = Batch {
            streams: &[&source.streams[0], &source.streams[1]],
            entries: &batch,
            source: Some(SourcePosition {
                key: source.key.as_bytes(),
                position: Some(&position),
            }),
        };
        loop {
            let started = Instant::now();
            let cpu = thread_seconds();
            let appended = store.append(&batch);
            source.cpu += thread_seconds() - cpu;
            match appended {
                Ok(()) => {
                    longest = longest.max(started.elapsed());
                    break;
                }
                Err(AppendError::Full) => std::thread::sleep(Duration::from_millis(1)),
                Err(error) => panic!("{error}"),
            }
        }
        source.at = at;
    }
    source.text = text;
    longest
}

impl Source {
    fn level(&mut self, line: &[u8]) -> usize {
        let head = &line[..line.len().min(160)];
        let has = |word: &[u8]| memchr::memmem::find(head, word).is_some();
        let level = if has(b"rror") || has(b"ERR") {
            "error"
        } else if has(b"arn") || has(b"WARN") {
            "warn"
        } else if has(b"ebug") {
            "debug"
        } else if has(b"nfo") || has(b"INFO") {
            "info"
        } else {
            "unknown"
        };
        if let Some(i) = self.metadata.iter().position(|(l, _)| *l == level) {
            return i;
        }
        let pairs = [
            ("detected_level", level),
            ("pod_uid", &self.uid),
            ("restart", "0"),
        ];
        self.metadata
            .push((level, LabelSet::from_pairs(pairs).expect("labels")));
        self.metadata.len() - 1
    }
}

fn parse(record: &[u8]) -> Option<(i64, u32, &[u8])> {
    let (time, rest) = record.split_at(memchr::memchr(b' ', record)?);
    let stream = u32::from(rest.get(1..7)? == b"stderr");
    Some((parse_time(time)?, stream, rest.get(10..)?))
}

fn parse_time(text: &[u8]) -> Option<i64> {
    let n = |range: std::ops::Range<usize>| {
        let digits = std::str::from_utf8(text.get(range)?).ok()?;
        digits.parse::<i64>().ok()
    };
    let (year, month, day) = (n(0..4)?, n(5..7)?, n(8..10)?);
    let (y, m) = if month <= 2 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719_468;
    let seconds = days * 86_400 + n(11..13)? * 3600 + n(14..16)? * 60 + n(17..19)?;
    let fraction = text.get(20..text.len() - 1)?;
    let mut nanos = 0;
    for i in 0..9 {
        nanos = nanos * 10 + i64::from(fraction.get(i).copied().unwrap_or(b'0') - b'0');
    }
    Some(seconds * 1_000_000_000 + nanos)
}

fn first_time(source: &Source) -> Option<i64> {
    let end = memchr::memchr(b'\n', &source.text)?;
    parse(&source.text[..end]).map(|record| record.0)
}

fn load(pods: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    for pod in std::fs::read_dir(pods).expect("pods dir") {
        let pod = pod.expect("entry").path();
        let name = pod
            .file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        let mut parts = name.split('_').map(str::to_owned);
        let (namespace, pod_name, uid) = (parts.next(), parts.next(), parts.next());
        for container in std::fs::read_dir(&pod).expect("pod dir") {
            let container = container.expect("entry").path();
            let mut files: Vec<PathBuf> = std::fs::read_dir(&container)
                .expect("container dir")
                .map(|f| f.expect("entry").path())
                .filter(|f| f.extension().is_none_or(|e| e != "gz"))
                .collect();
            // Rotated files have a time behind `0.log`: oldest first, the current one last.
            files.sort_by_key(|f| (f.extension().is_some_and(|e| e == "log"), f.clone()));
            let mut text = Vec::new();
            for file in files {
                text.extend(std::fs::read(file).expect("log file"));
            }
            let container = container
                .file_name()
                .expect("name")
                .to_string_lossy()
                .into_owned();
            let base = vec![
                (
                    "namespace".to_owned(),
                    namespace.clone().unwrap_or_default(),
                ),
                ("pod".to_owned(), pod_name.clone().unwrap_or_default()),
                (
                    "job".to_owned(),
                    format!("{}/{container}", namespace.clone().unwrap_or_default()),
                ),
                ("service_name".to_owned(), container.clone()),
                ("app".to_owned(), container.clone()),
                ("node".to_owned(), "node-1".to_owned()),
                ("container".to_owned(), container),
            ];
            let stream = |name: &str| {
                let own = [("stream".to_owned(), name.to_owned())];
                LabelSet::from_pairs(base.iter().cloned().chain(own)).expect("labels")
            };
            sources.push(Source {
                key: format!("{name}/{}", base[6].1),
                text,
                at: 0,
                uid: uid.clone().unwrap_or_default(),
                streams: [stream("stdout"), stream("stderr")],
                metadata: Vec::new(),
                cpu: 0.0,
                base,
            });
        }
    }
    for source in &mut sources {
        source.base.clear();
    }
    sources
}

fn thread_seconds() -> f64 {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    usage.tv_sec as f64 + usage.tv_nsec as f64 / 1e9
}

fn cpu_seconds() -> f64 {
    let usage = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    usage.tv_sec as f64 + usage.tv_nsec as f64 / 1e9
}
