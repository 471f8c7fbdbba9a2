//! The write path as a whole, against a list of what was accepted.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use disk::sim::{Class, EIO, ENOSPC, Fault, SimDisk};
use proptest::prelude::*;
use wire::{Batch, Entry, LabelSet, SourcePosition};

use crate::api::{AppendError, OpenError, Options, Store, Tuning};
use crate::block::{self, Column, Decoder, Header, Metadata};
use crate::head::Want;
use crate::limits;
use crate::segment::{self, Cell, Reader};

type Line = (i64, Vec<u8>, String);
/// Lines by stream, in the order that queries see: time, then arrival.
type Model = BTreeMap<String, Vec<Line>>;

const DIR: &str = "/data";

fn options(disk: Arc<dyn Disk>) -> Options {
    Options {
        head_bytes: 1 << 20,
        tuning: Tuning {
            flush_interval: Duration::from_secs(3600),
            query_memory: 32 << 20,
            ..Tuning::default()
        },
        ..Options::new(DIR, disk)
    }
}

fn open(disk: &SimDisk) -> Store {
    Store::open(options(Arc::new(disk.clone()))).unwrap()
}

fn labels(n: usize) -> LabelSet {
    LabelSet::from_pairs([("app", format!("app-{n}")), ("namespace", "shop".into())]).unwrap()
}

fn metadata(n: usize) -> LabelSet {
    LabelSet::from_pairs([("detected_level", format!("level-{n}"))]).unwrap()
}

/// Entries of (stream, timestamp, line, metadata).
fn append(
    store: &Store,
    entries: &[(usize, i64, Vec<u8>, usize)],
    position: u64,
) -> Result<(), AppendError> {
    let mut streams: Vec<usize> = entries.iter().map(|e| e.0).collect();
    streams.sort_unstable();
    streams.dedup();
    let sets: Vec<LabelSet> = streams.iter().map(|n| labels(*n)).collect();
    let refs: Vec<&LabelSet> = sets.iter().collect();
    let metas: Vec<LabelSet> = entries.iter().map(|e| metadata(e.3)).collect();
    let batch: Vec<Entry<'_>> = entries
        .iter()
        .zip(&metas)
        .map(|((stream, ts, line, _), meta)| Entry {
            stream: streams.binary_search(stream).unwrap() as u32,
            ts: *ts,
            line,
            metadata: meta.as_ref(),
        })
        .collect();
    let bytes = position.to_le_bytes();
    let source = SourcePosition {
        key: b"source",
        position: Some(&bytes),
    };
    store.append(&Batch {
        streams: &refs,
        entries: &batch,
        source: Some(source),
    })
}

/// As a client does: waits for room when there is none.
fn append_all(store: &Store, entries: &[(usize, i64, Vec<u8>, usize)], position: u64) {
    loop {
        match append(store, entries, position) {
            Ok(()) => return,
            Err(AppendError::Full) => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(store.room());
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn model_add(model: &mut Model, entries: &[(usize, i64, Vec<u8>, usize)]) {
    for (stream, ts, line, meta) in entries {
        let lines = model.entry(labels(*stream).to_string()).or_default();
        lines.push((*ts, line.clone(), metadata(*meta).to_string()));
    }
}

struct Scan {
    decoder: Decoder,
    model: Model,
    /// By the text of the labels, what runs are known by.
    hashes: BTreeMap<String, u32>,
    in_head: bool,
}

impl Scan {
    fn block(&mut self, bytes: &[u8], first: u32, entries: u32, stream: &str) -> Vec<Line> {
        let header = Header::decode(bytes).unwrap();
        let (mut times, mut lengths, mut metadata, mut lines) =
            (vec![], vec![], Metadata::default(), vec![]);
        let column = |column| header.column(bytes, column).unwrap();
        let decoder = &mut self.decoder;
        decoder
            .times(&header, column(Column::Times), &mut times)
            .unwrap();
        decoder
            .metadata(&header, column(Column::Metadata), &mut metadata)
            .unwrap();
        decoder
            .lines(&header, column(Column::Lines), &mut lines)
            .unwrap();
        decoder
            .lengths(&header, column(Column::Lengths), &lines, &mut lengths)
            .unwrap();
        let hash = self.hashes[stream];
        let mut before = 0;
        let run = metadata.runs.iter().find(|run| {
            before += run.entries;
            before - run.entries == first
        });
        let run = run.unwrap();
        assert_eq!(run.entries, entries);
        // Shared blocks in memory do not say whose their runs are.
        assert!(run.stream == hash || run.stream == 0 && self.in_head);
        let mut at = 0;
        let mut out = vec![];
        for i in 0..times.len() {
            let end = at + lengths[i] as usize;
            if (first..first + entries).contains(&(i as u32)) {
                let set = &metadata.sets[metadata.ids[i] as usize];
                out.push((times[i], lines[at..end].to_vec(), set.to_string()));
            }
            at = end + 1;
        }
        out
    }

    fn add(
        &mut self,
        stream: &str,
        chunk: &segment::Chunk,
        lines: Vec<Line>,
        cells: &[Cell],
        sets: &[LabelSet],
    ) {
        assert_eq!(lines.first().unwrap().0, chunk.min_ts);
        assert_eq!(lines.last().unwrap().0, chunk.max_ts);
        assert_eq!(
            lines.iter().map(|l| l.1.len() as u64 + 1).sum::<u64>(),
            chunk.raw_bytes
        );
        if chunk.cells.is_some() {
            let mut want: BTreeMap<(i64, String), (u32, u64)> = BTreeMap::new();
            for (ts, line, meta) in &lines {
                let cell = want
                    .entry((segment::minute_of(*ts), meta.clone()))
                    .or_default();
                *cell = (cell.0 + 1, cell.1 + line.len() as u64);
            }
            let got = cells.iter().map(|c| {
                let set = sets[c.metadata as usize].to_string();
                ((c.minute, set), (c.entries, c.bytes))
            });
            assert_eq!(got.collect::<BTreeMap<_, _>>(), want);
            assert!(cells.is_sorted_by_key(|c| c.minute));
        }
        self.model
            .entry(stream.to_owned())
            .or_default()
            .extend(lines);
    }
}

/// Everything that a query would see: segments, then the head.
/// What queries see; every segment is whole.
fn read(store: &Store, disk: &dyn Disk) -> Model {
    for segment in store.segments() {
        let report = segment::verify(disk, &segment_path(segment.sequence)).unwrap();
        assert_eq!(report.damage, [""; 0]);
    }
    read_damaged(store, disk)
}

/// What queries see, also where one copy of something is damaged.
fn read_damaged(store: &Store, disk: &dyn Disk) -> Model {
    let mut scan = Scan {
        decoder: Decoder::new().unwrap(),
        model: Model::new(),
        hashes: (0..1000)
            .map(labels)
            .map(|set| (set.to_string(), block::checksum(set.as_bytes())))
            .collect(),
        in_head: false,
    };
    let snapshot = store
        .snapshot(&mut Want {
            select: &mut |_| true,
            start: i64::MIN,
            end: i64::MAX,
            lines: true,
            budget: 64 << 20,
        })
        .unwrap();
    for entry in &snapshot.segments {
        let reader = Reader::open(disk, &segment_path(entry.sequence)).unwrap();
        let (streams, chunks) = (reader.streams().unwrap(), reader.chunks().unwrap());
        let (sets, minutes) = (reader.metadata().unwrap(), reader.minutes(&chunks).unwrap());
        assert!(streams.is_sorted_by_key(LabelSet::as_bytes));
        let mut bytes = vec![];
        for (row, chunk) in chunks.iter().enumerate() {
            reader.block(chunk, &mut bytes).unwrap();
            let stream = streams[chunk.stream as usize].to_string();
            let lines = scan.block(&bytes, chunk.first, chunk.entries, &stream);
            scan.add(&stream, chunk, lines, minutes.of(row), &sets);
        }
    }
    scan.in_head = true;
    for (row, head) in snapshot.chunks.iter().enumerate() {
        let stream = snapshot.streams[head.chunk.stream as usize].to_string();
        let lines = scan.block(&head.block, head.chunk.first, head.chunk.entries, &stream);
        scan.add(
            &stream,
            &head.chunk,
            lines,
            snapshot.minutes.of(row),
            &snapshot.metadata,
        );
    }
    for run in snapshot.raw {
        let stream = snapshot.streams[run.stream as usize].to_string();
        let mut at = 0;
        for ((ts, len), id) in run.times.iter().zip(&run.lengths).zip(&run.ids) {
            let end = at + *len as usize;
            let line = (
                *ts,
                run.lines[at..end].to_vec(),
                snapshot.metadata[*id as usize].to_string(),
            );
            scan.model.entry(stream.clone()).or_default().push(line);
            at = end + 1;
        }
    }
    sorted(scan.model)
}

fn sorted(mut model: Model) -> Model {
    for lines in model.values_mut() {
        lines.sort_by_key(|line| line.0);
    }
    model
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + (state % 20) as u8
    };
    std::iter::repeat_with(step).take(len).collect()
}

#[derive(Debug, Clone)]
enum Op {
    Append(Vec<(usize, i64, usize, usize)>),
    Flush,
    Reopen,
    Kill,
}

fn op() -> impl Strategy<Value = Op> {
    let ts = prop_oneof![
        4 => 1_700_000_000_000_000_000..1_700_000_300_000_000_000i64,
        1 => (0..5i64).prop_map(|m| m * 60_000_000_000),
        1 => any::<i64>(),
    ];
    let entry = (
        0..40usize,
        ts,
        prop_oneof![0..200usize, 0..6000usize],
        0..90usize,
    );
    prop_oneof![
        8 => proptest::collection::vec(entry, 0..60).prop_map(Op::Append),
        1 => Just(Op::Flush),
        1 => Just(Op::Reopen),
        1 => Just(Op::Kill),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn store_follows_the_model(ops in proptest::collection::vec(op(), 1..60)) {
        let disk = SimDisk::new(1);
        let mut store = open(&disk);
        let (mut durable, mut model) = ((Model::new(), 0), (Model::new(), 0));
        let mut written = 0;
        for (i, op) in ops.into_iter().enumerate() {
            match op {
                Op::Append(entries) => {
                    let entries: Vec<_> = entries
                        .into_iter()
                        .enumerate()
                        .map(|(j, (stream, ts, len, meta))| (stream, ts, noise((i * 1000 + j) as u64, len), meta))
                        .collect();
                    model.1 = i as u64 + 1;
                    append_all(&store, &entries, model.1);
                    model_add(&mut model.0, &entries);
                }
                Op::Flush => {
                    store.flush().unwrap();
                    durable = model.clone();
                }
                Op::Reopen => {
                    store.close().unwrap();
                    drop(store);
                    store = open(&disk);
                    durable = model.clone();
                }
                Op::Kill => {
                    // Nothing was flushed behind our back: then the model would not know what is left.
                    if store.stats().sequence == written {
                        drop(store);
                        store = open(&disk);
                        model = durable.clone();
                    }
                }
            }
            written = store.stats().sequence.max(written);
            let position = store.positions().first().map_or(0, |(_, p)| u64::from_le_bytes(p[..].try_into().unwrap()));
            prop_assert!(position == model.1 || durable.1 == model.1);
        }
        prop_assert_eq!(read(&store, &disk), sorted(model.0));
    }
}

fn many(count: usize, streams: usize, line: usize) -> Vec<(usize, i64, Vec<u8>, usize)> {
    let ts = |i: usize| 1_700_000_000_000_000_000 + i as i64 * 1_000_000;
    (0..count)
        .map(|i| (i % streams, ts(i), noise(i as u64, line), i % 3))
        .collect()
}

#[test]
fn a_full_pool_flushes_by_itself_and_loses_nothing() {
    for streams in [1, 7, 900] {
        let disk = SimDisk::new(1);
        let store = open(&disk);
        let mut model = Model::new();
        let entries = many(14_000, streams, 150);
        for (i, batch) in entries.chunks(500).enumerate() {
            append_all(&store, batch, i as u64);
            let stats = store.stats();
            assert!(stats.head_used < stats.head_size + (512 << 10), "{stats:?}");
        }
        model_add(&mut model, &entries);
        assert_eq!(
            read(&store, &disk),
            sorted(model.clone()),
            "{streams} streams"
        );
        store.close().unwrap();
        assert!(store.stats().flushes[0] > 0, "{:?}", store.stats());
        drop(store);
        let store = open(&disk);
        assert_eq!(
            read(&store, &disk),
            sorted(model),
            "{streams} streams, reopened"
        );
    }
}

#[test]
fn unique_metadata_does_not_fill_the_pool() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let mut entries = many(40_000, 2, 20);
    for (i, entry) in entries.iter_mut().enumerate() {
        entry.3 = i;
    }
    for (i, batch) in entries.chunks(500).enumerate() {
        append_all(&store, batch, i as u64);
    }
    let mut model = Model::new();
    model_add(&mut model, &entries);
    assert_eq!(read(&store, &disk), sorted(model));
    assert!(store.stats().flushes[0] <= 4, "{:?}", store.stats());
}

#[test]
fn bad_batches_are_refused_whole() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let set = labels(1);
    let entry = |stream: u32, line| Entry {
        stream,
        ts: 1,
        line,
        metadata: wire::Labels::default(),
    };
    let long = vec![b'x'; 400 << 10];
    let key = [0; 1025];
    let source = |key| SourcePosition {
        key,
        position: None,
    };
    for (entries, source) in [
        (vec![entry(0, b"fine"), entry(1, b"no such stream")], None),
        (vec![entry(0, b"fine"), entry(0, &long)], None),
        (vec![entry(0, b"fine")], Some(source(&key[..]))),
    ] {
        let batch = Batch {
            streams: &[&set],
            entries: &entries,
            source,
        };
        assert!(matches!(store.append(&batch), Err(AppendError::Invalid(_))));
    }
    assert_eq!(read(&store, &disk), Model::new());
    assert_eq!(store.stats().entries_in, 0);
}

#[test]
fn positions_alone_are_written_at_close_only() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    append_all(&store, &[], 7);
    store.flush().unwrap();
    assert_eq!(store.stats().sequence, 0);
    store.close().unwrap();
    drop(store);
    let store = open(&disk);
    assert_eq!(
        store.positions(),
        [(b"source".to_vec(), 7u64.to_le_bytes().to_vec())]
    );
    assert_eq!(store.stats().sequence, 1);
    store.close().unwrap();
    drop(store);
    assert_eq!(
        open(&disk).stats().sequence,
        1,
        "nothing changed, nothing written"
    );
}

#[test]
fn a_directory_has_one_store() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    let second = Store::open(options(Arc::new(disk.clone())));
    let Err(OpenError::InUse { holder, .. }) = second else {
        panic!("{second:?}")
    };
    assert!(holder.contains("process"), "{holder}");
    drop(store);
    open(&disk);
}

#[test]
fn what_is_accepted_while_the_store_closes_is_kept() {
    for round in 0..20 {
        let disk = SimDisk::new(round);
        let store = open(&disk);
        let begun = std::sync::Barrier::new(3);
        let model = std::thread::scope(|scope| {
            let appending = [0, 1].map(|stream| {
                let (store, begun) = (store.clone(), &begun);
                scope.spawn(move || {
                    let mut model = Model::new();
                    begun.wait();
                    for ts in 0.. {
                        let entries = [(stream, ts, noise(ts as u64, 30), 0)];
                        match append(&store, &entries, 1) {
                            Ok(()) => model_add(&mut model, &entries),
                            Err(AppendError::Full) => std::thread::yield_now(),
                            Err(AppendError::Unavailable(why)) => {
                                assert_eq!(why, "the store is closing");
                                return model;
                            }
                            Err(error) => panic!("{error}"),
                        }
                    }
                    model
                })
            });
            begun.wait();
            store.close().unwrap();
            let mut model = Model::new();
            for accepted in appending {
                model.append(&mut accepted.join().unwrap());
            }
            model
        });
        drop(store);
        let store = open(&disk);
        assert_eq!(read(&store, &disk), sorted(model));
    }
}

#[test]
fn a_store_dropped_without_close_ends_like_a_kill() {
    let disk = SimDisk::new(1);
    let mut model = Model::new();
    let store = open(&disk);
    let flushed = many(10, 2, 50);
    append_all(&store, &flushed, 1);
    model_add(&mut model, &flushed);
    store.flush().unwrap();
    append_all(&store, &many(20, 2, 50), 2);
    let clone = store.clone();
    let inner = Arc::downgrade(&store.inner);
    drop(store);
    let second = Store::open(options(Arc::new(disk.clone())));
    assert!(
        matches!(second, Err(OpenError::InUse { .. })),
        "a clone is left"
    );
    drop(clone);
    assert!(inner.upgrade().is_none(), "the flush thread has ended");
    let store = open(&disk);
    assert_eq!(read(&store, &disk), sorted(model));
    assert_eq!(store.positions()[0].1, 1u64.to_le_bytes());
}

fn filled(disk: &SimDisk, segments: u64) -> Model {
    let store = open(disk);
    let mut model = Model::new();
    for i in 0..segments {
        let entries = many(100 + i as usize, 5, 50);
        append_all(&store, &entries, i);
        model_add(&mut model, &entries);
        store.flush().unwrap();
    }
    store.close().unwrap();
    sorted(model)
}

fn segment_path(sequence: u64) -> std::path::PathBuf {
    Path::new(DIR)
        .join(segment::DIR)
        .join(segment::file_name(sequence))
}

/// Damages `range` of a segment (negative: from the end) and says whether everything is still read.
fn check_damage(at: i64, len: usize, whole: bool) {
    let disk = SimDisk::new(1);
    let model = filled(&disk, 2);
    let path = segment_path(2);
    let mut bytes = disk.contents(&path).unwrap();
    let from = if at < 0 {
        bytes.len() - at.unsigned_abs() as usize
    } else {
        at as usize
    };
    bytes[from..from + len].iter_mut().for_each(|b| *b ^= 0x55);
    disk.overwrite(&path, &bytes);
    let store = open(&disk);
    let position = store.positions()[0].1[0];
    if whole {
        assert_eq!(position, 1, "damage at {at}");
        let reader = Reader::open(&disk, &path).unwrap();
        reader.streams().unwrap();
        reader.chunks().unwrap();
        reader.positions().unwrap();
        let report = segment::verify(&disk, &path).unwrap();
        let side = if at < 0 { "end)" } else { "start)" };
        assert!(!report.damage.is_empty(), "damage at {at}");
        assert!(report.damage.iter().all(|text| text.ends_with(side)));
    }
    let entries = many(10, 5, 50);
    append_all(&store, &entries, 9);
    store.flush().unwrap();
    assert_eq!(store.stats().sequence, 3, "a damaged file keeps its number");
    if at < 0 {
        let mut model = model;
        model_add(&mut model, &entries);
        assert_eq!(read_damaged(&store, &disk), sorted(model));
    }
}

#[test]
fn damage_to_one_copy_is_survived() {
    check_damage(0, 256, true);
    check_damage(256, 40, true);
    check_damage(-256, 256, true);
    check_damage(-300, 44, true);
    check_damage(-1, 1, true);
}

#[test]
fn a_segment_damaged_at_both_ends_is_left_out() {
    let disk = SimDisk::new(1);
    filled(&disk, 3);
    let path = segment_path(3);
    let bytes = disk.contents(&path).unwrap();
    disk.overwrite(&path, &vec![0; bytes.len()]);
    let store = open(&disk);
    assert_eq!(store.positions()[0].1[0], 1, "positions of the one before");
    assert_eq!(store.segments().len(), 2);
    append_all(&store, &many(10, 5, 50), 9);
    store.flush().unwrap();
    assert_eq!(store.stats().sequence, 4);
    assert_eq!(disk.contents(&path).unwrap().len(), bytes.len(), "kept");
}

#[test]
fn a_newer_format_stops_the_start() {
    let disk = SimDisk::new(1);
    filled(&disk, 1);
    let path = segment_path(1);
    let mut bytes = disk.contents(&path).unwrap();
    for at in [0, bytes.len() - segment::SUMMARY_BYTES] {
        bytes[at + 8] = 9;
        let end = at + segment::SUMMARY_BYTES;
        let sum = xxhash_rust::xxh3::xxh3_64(&bytes[at..end - 8]);
        bytes[end - 8..end].copy_from_slice(&sum.to_le_bytes());
    }
    disk.overwrite(&path, &bytes);
    let opened = Store::open(options(Arc::new(disk)));
    assert!(
        matches!(opened, Err(OpenError::Newer { found: 9, .. })),
        "{opened:?}"
    );
}

/// A flush that fails keeps the entries, and the next one writes them: once, whatever failed.
fn check_fault(class: Class, nth: u64, errno: i32, sticky: bool) {
    let disk = SimDisk::new(7);
    let mut model = filled(&disk, 1);
    let store = open(&disk);
    let entries = many(200, 5, 100);
    append_all(&store, &entries, 50);
    model_add(&mut model, &entries);
    disk.inject(Fault {
        class,
        at: disk.count(class) + nth,
        sticky,
        errno,
        partial: 100,
    });
    let flushed = store.flush();
    assert_eq!(
        read_head(&store),
        200 * u64::from(flushed.is_err()),
        "{class:?} {nth}"
    );
    assert_eq!(store.stats().flush_errors > 0, flushed.is_err());
    disk.clear_faults();
    store.flush().unwrap();
    assert_eq!(
        read(&store, &disk),
        sorted(model.clone()),
        "{class:?} {nth}"
    );
    assert_eq!(store.stats().flushes[3], 1);
    store.close().unwrap();
    drop(store);
    let store = open(&disk);
    assert_eq!(
        read(&store, &disk),
        sorted(model),
        "{class:?} {nth}, reopened"
    );
    assert!(
        !disk
            .files()
            .iter()
            .any(|f| f.extension().is_some_and(|e| e == "tmp"))
    );
}

/// Entries in the head.
fn read_head(store: &Store) -> u64 {
    let mut want = Want {
        select: &mut |_| true,
        start: i64::MIN,
        end: i64::MAX,
        lines: false,
        budget: 64 << 20,
    };
    let snapshot = store.snapshot(&mut want).unwrap();
    let sealed: u64 = snapshot
        .chunks
        .iter()
        .map(|c| u64::from(c.chunk.entries))
        .sum();
    sealed
        + snapshot
            .raw
            .iter()
            .map(|r| r.times.len() as u64)
            .sum::<u64>()
}

#[test]
fn a_failed_flush_loses_and_repeats_nothing() {
    for nth in 0..6 {
        for (errno, sticky) in [(EIO, false), (ENOSPC, true)] {
            check_fault(Class::Change, nth, errno, sticky);
        }
    }
    check_fault(Class::Sync, 0, EIO, false);
    check_fault(Class::Sync, 1, EIO, false);
}

#[test]
fn a_full_pool_says_why_when_the_disk_fails() {
    let disk = SimDisk::new(1);
    let store = open(&disk);
    disk.inject(Fault {
        class: Class::Write,
        at: 0,
        sticky: true,
        errno: ENOSPC,
        partial: 0,
    });
    let entries = many(500, 5, 300);
    let mut model = Model::new();
    let refused = loop {
        match append(&store, &entries, 1) {
            Ok(()) => model_add(&mut model, &entries),
            // Until the first write has failed the pool is merely full.
            Err(AppendError::Full) => std::thread::yield_now(),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Unavailable(_)), "{refused}");
    assert!(store.flush().is_err());
    disk.clear_faults();
    store.flush().unwrap();
    append_all(&store, &entries, 2);
    model_add(&mut model, &entries);
    assert_eq!(read(&store, &disk), sorted(model));
}

#[test]
fn a_power_cut_at_any_change_keeps_what_was_flushed() {
    for stop in 0..40 {
        let disk = SimDisk::new(stop);
        let first = filled(&disk, 1);
        let store = open(&disk);
        let entries = many(300, 5, 100);
        append_all(&store, &entries, 50);
        disk.stop_after(disk.ops() + stop);
        let flushed = store.flush().is_ok();
        drop(store);
        let disk = disk.crash();
        let store = open(&disk);
        let position = store.positions()[0].1[0];
        let mut both = first.clone();
        model_add(&mut both, &entries);
        let found = read(&store, &disk);
        match position {
            50 => assert_eq!(found, sorted(both), "stop {stop}"),
            0 => assert!(found == first && !flushed, "stop {stop}"),
            other => panic!("position {other}"),
        }
        append_all(&store, &entries, 51);
        store.flush().unwrap();
        if flushed {
            break;
        }
    }
}

#[test]
fn ten_thousand_streams_fit_the_default_pool() {
    let disk = SimDisk::new(1);
    let store = Store::open(Options {
        head_bytes: 4 << 20,
        ..options(Arc::new(disk))
    })
    .unwrap();
    let pod = "x".repeat(120);
    let sets: Vec<LabelSet> = (0..10_000)
        .map(|n| {
            LabelSet::from_pairs([("pod", format!("{pod}-{n}")), ("namespace", "shop".into())])
                .unwrap()
        })
        .collect();
    let metas: Vec<LabelSet> = (0..10_000)
        .map(|n| {
            LabelSet::from_pairs([("pod_uid", format!("uid-{n}-{}", "y".repeat(36)))]).unwrap()
        })
        .collect();
    for round in 0..5 {
        for (streams, metas) in sets.chunks(500).zip(metas.chunks(500)) {
            let streams: Vec<&LabelSet> = streams.iter().collect();
            let entries: Vec<Entry<'_>> = metas
                .iter()
                .enumerate()
                .map(|(i, meta)| Entry {
                    stream: i as u32,
                    ts: round,
                    line: b"one line of a stream that says little",
                    metadata: meta.as_ref(),
                })
                .collect();
            let batch = Batch {
                streams: &streams,
                entries: &entries,
                source: None,
            };
            while let Err(error) = store.append(&batch) {
                assert!(matches!(error, AppendError::Full), "{error}");
                std::thread::yield_now();
            }
            let stats = store.stats();
            assert!(
                stats.head_used <= stats.head_size + (512 << 10),
                "{stats:?}"
            );
        }
    }
    store.close().unwrap();
    let entries: u64 = store.segments().iter().map(|s| s.entries).sum();
    assert_eq!(entries, 50_000);
    assert!(store.stats().segments <= 8, "{:?}", store.stats());
}

#[test]
fn the_format_document_has_the_constants() {
    let document = include_str!("../../docs/FORMAT.md");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    for want in [
        format!("Segment, version {}", segment::VERSION),
        format!("magic `{}`", text(&segment::MAGIC)),
        format!("Summary, {} bytes", segment::SUMMARY_BYTES),
        format!(
            "Raw sections are at most {} MiB",
            segment::SECTION_BYTES_MAX >> 20
        ),
        format!("Block, version {}", block::VERSION),
        format!("magic `{}`", text(&block::MAGIC)),
        format!("| {} | 4 | checksum of bytes 0 to", block::HEADER_BYTES - 4),
        format!("at most {} MiB |", block::RAW_BYTES_MAX >> 20),
        format!(
            "blocks of one stream up to {} KiB raw",
            limits::BLOCK_RAW_BYTES >> 10
        ),
        format!("more than {} metadata sets", limits::MINUTE_SETS_MAX),
    ] {
        assert!(document.contains(&want), "docs/FORMAT.md lacks: {want}");
    }
    assert_eq!(
        (block::ENTRIES_MAX, limits::MINUTE_CELLS_MAX),
        (262_144, 4096)
    );
}
