//! Writes pod logs as a kubelet and its runtime do, and knows what a reader must make of them.
//!
//! Every container writes records to stdout and stderr in turn, some of them partial (an open chain of one stream
//! while the other goes on); its file is rotated as kubelet rotates: the rename, late writes through
//! the old descriptor (also after the new file exists), gzip of the file before, and a restart now and then, perhaps
//! with a line that never ended.
//!
//! The truth is per container and stream: records in *file order* (the old file to its end, then the new one), joined,
//! each line with the time of its first piece.
//!
//! Oldest files are deleted only when [`World::allow_deletion`] said that all in them is durable.
#![expect(
    clippy::disallowed_methods,
    reason = "stands for the kubelet, whose files are not ours"
)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::util::Rng;

/// The namespace of all pods.
pub(crate) const NAMESPACE: &str = "kill9";
/// Streams of a container.
pub(crate) const STREAMS: [&str; 2] = ["stdout", "stderr"];
/// A piece of a long line in containerd, bytes.
const PIECE: usize = 16_384;
/// The suffix of a rotated file has seconds, so no container rotates twice in one.
const MIN_ROTATION: Duration = Duration::from_millis(1_100);

/// Who writes the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// `TIME STREAM TAG LINE`, rotated by the kubelet.
    Containerd,
    /// Docker's json-file behind a symlink, never rotated.
    Docker,
}

/// A line as it must be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    /// Nanoseconds.
    pub(crate) ts: i64,
    /// The text.
    pub(crate) text: String,
}

#[derive(Debug, Clone)]
struct Record {
    ts: i64,
    partial: bool,
    text: String,
}

/// Joins the records of one stream in file order.
#[derive(Debug, Default)]
struct Joined {
    open: Option<Line>,
    lines: Vec<Line>,
}

impl Joined {
    fn feed(&mut self, record: Record) {
        let line = match self.open.take() {
            Some(mut line) => {
                line.text.push_str(&record.text);
                line
            }
            None => Line {
                ts: record.ts,
                text: record.text,
            },
        };
        if record.partial {
            self.open = Some(line);
        } else {
            self.lines.push(line);
        }
    }

    fn end(&mut self) {
        self.lines.extend(self.open.take());
    }
}

#[derive(Debug)]
struct Stream {
    joined: Joined,
    /// Records in the new file while the old one is still being written to.
    deferred: Vec<Record>,
    last_ts: i64,
    /// The last record in the current file was partial: nothing more until then, so that a chain stays open.
    open_until: Option<Instant>,
}

/// A file that was rotated away.
#[derive(Debug)]
struct Rotated {
    path: PathBuf,
    zipped: bool,
}

#[derive(Debug)]
struct Container {
    name: String,
    dir: PathBuf,
    restart: u32,
    sequence: u64,
    streams: [Stream; 2],
    file: File,
    /// The file before, until its runtime lets go of it.
    old: Option<(File, Instant)>,
    rotated: Vec<Rotated>,
    /// How many of the oldest of `rotated` may be deleted.
    deletable: usize,
    rotate_at: Instant,
    last_rotation: Instant,
    restart_at: Instant,
}

/// All containers.
#[derive(Debug)]
pub(crate) struct World {
    runtime: Runtime,
    rng: Rng,
    containers: Vec<Container>,
    /// Directory that symlinks lead to.
    targets: PathBuf,
}

impl World {
    /// `count` containers below `pods`; `targets` is where a runtime keeps files behind symlinks.
    pub(crate) fn new(
        seed: u64,
        runtime: Runtime,
        count: usize,
        pods: &Path,
        targets: &Path,
    ) -> World {
        let mut world = World {
            runtime,
            rng: Rng(seed),
            containers: Vec::new(),
            targets: targets.to_owned(),
        };
        fs::create_dir_all(targets).expect("mkdir");
        for i in 0..count {
            let pod = format!("pod-{i}");
            let uid = format!("{i:08}-aaaa-bbbb-cccc-{i:012}");
            let name = format!("c{i}");
            let dir = pods.join(format!("{NAMESPACE}_{pod}_{uid}")).join(&name);
            fs::create_dir_all(&dir).expect("mkdir");
            let now = Instant::now();
            let stream = || Stream {
                joined: Joined::default(),
                deferred: Vec::new(),
                last_ts: 0,
                open_until: None,
            };
            let file = world.create(&dir, &name, 0);
            world.containers.push(Container {
                name,
                dir,
                restart: 0,
                sequence: 0,
                streams: [stream(), stream()],
                file,
                old: None,
                rotated: Vec::new(),
                deletable: 0,
                rotate_at: now + MIN_ROTATION,
                last_rotation: now,
                restart_at: now + Duration::from_millis(4_000 + 1_500 * i as u64),
            });
        }
        world
    }

    fn create(&self, dir: &Path, name: &str, restart: u32) -> File {
        let path = dir.join(format!("{restart}.log"));
        if self.runtime == Runtime::Containerd {
            return File::create(path).expect("create");
        }
        let target = self.targets.join(format!("{name}-{restart}-json.log"));
        let file = File::create(&target).expect("create");
        symlink(&target, path).expect("symlink");
        file
    }

    /// Writes about `records` records and does what is due.
    pub(crate) fn tick(&mut self, records: u64) {
        for _ in 0..records {
            // The first containers are louder.
            let most = self.containers.len() as u64;
            let i = self.rng.range(0, most).min(self.rng.range(0, most)) as usize;
            let stream = usize::from(self.rng.chance(30));
            self.containers[i].write(stream, self.runtime, &mut self.rng);
        }
        let now = Instant::now();
        for i in 0..self.containers.len() {
            let container = &mut self.containers[i];
            if container
                .old
                .as_ref()
                .is_some_and(|(_, until)| now >= *until)
            {
                container.close_old();
            }
            if now >= container.restart_at {
                self.restart(i, now);
            } else if self.runtime == Runtime::Containerd
                && now >= container.rotate_at
                && container.last_rotation.elapsed() >= MIN_ROTATION
                && container.old.is_none()
            {
                container.rotate(now, &mut self.rng);
            }
        }
    }

    fn restart(&mut self, i: usize, now: Instant) {
        let container = &mut self.containers[i];
        container.end_instance(self.runtime, &mut self.rng);
        container.restart += 1;
        container.restart_at = now + Duration::from_millis(self.rng.range(3_000, 12_000));
        let (dir, name, restart) = (
            container.dir.clone(),
            container.name.clone(),
            container.restart,
        );
        self.containers[i].file = self.create(&dir, &name, restart);
    }

    /// Ends every open chain.
    pub(crate) fn finish(&mut self) {
        for container in &mut self.containers {
            container.close_old();
            for stream in 0..STREAMS.len() {
                if container.streams[stream].joined.open.is_some() {
                    container.record(stream, self.runtime, false, &mut self.rng);
                }
            }
        }
    }

    /// Complete lines so far. Closes old files, so that the number has a meaning.
    pub(crate) fn complete(&mut self) -> u64 {
        self.containers.iter_mut().for_each(Container::close_old);
        let streams = self.containers.iter().flat_map(|c| &c.streams);
        streams.map(|s| s.joined.lines.len() as u64).sum()
    }

    /// All complete lines are durable: files before the last rotated one may go. (A chain may begin in the last one;
    /// none is older, because a rotation ends the chains that began before the previous one.)
    pub(crate) fn allow_deletion(&mut self) {
        for container in &mut self.containers {
            container.deletable = container.rotated.len().saturating_sub(1);
        }
    }

    /// Container, stream and lines in time order; equal times in the order of arrival.
    pub(crate) fn truth(&self) -> Vec<(String, &'static str, Vec<Line>)> {
        let mut truth = Vec::new();
        for container in &self.containers {
            for (stream, name) in container.streams.iter().zip(STREAMS) {
                let mut lines = stream.joined.lines.clone();
                lines.sort_by_key(|line| line.ts);
                truth.push((container.name.clone(), name, lines));
            }
        }
        truth
    }
}

impl Container {
    fn write(&mut self, stream: usize, runtime: Runtime, rng: &mut Rng) {
        let now = Instant::now();
        if self.streams[stream].open_until.is_some_and(|t| now < t) {
            return;
        }
        let partial = rng.chance(4);
        self.streams[stream].open_until =
            partial.then(|| now + Duration::from_millis(rng.range(0, 500)));
        self.record(stream, runtime, partial, rng);
    }

    /// Writes one record to the current file, or through the old descriptor while there is one.
    fn record(&mut self, stream: usize, runtime: Runtime, partial: bool, rng: &mut Rng) {
        let overlap = self.old.is_some();
        let state = &mut self.streams[stream];
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("a clock after 1970").as_nanos() as i64;
        // Some runtimes stamp all lines of one read alike.
        if overlap || state.last_ts == 0 || !rng.chance(10) {
            state.last_ts = now.max(state.last_ts + 1);
        }
        self.sequence += 1;
        let mut text = format!(
            "{} r{} {} n{:07} ",
            self.name, self.restart, STREAMS[stream], self.sequence
        );
        let len = match rng.range(0, 100) {
            0 => PIECE,
            1..=9 => text.len(),
            n => text.len() + 2 * n as usize,
        };
        while text.len() < len {
            text.push_str(&format!("{:016x}", rng.next()));
        }
        text.truncate(len);
        let record = Record {
            ts: state.last_ts,
            partial,
            text,
        };
        let bytes = match runtime {
            Runtime::Containerd => cri(&record, STREAMS[stream], self.restart),
            Runtime::Docker => json_file(&record, STREAMS[stream]),
        };
        let late = overlap && rng.chance(40);
        let file = match &mut self.old {
            Some((old, _)) if late => old,
            _ => &mut self.file,
        };
        // One write in reality; a reader may see any part of it all the same.
        let cut = if rng.chance(3) {
            rng.range(0, bytes.len() as u64) as usize
        } else {
            bytes.len()
        };
        file.write_all(&bytes[..cut]).expect("write");
        file.write_all(&bytes[cut..]).expect("write");
        let state = &mut self.streams[stream];
        if overlap && !late {
            state.deferred.push(record);
        } else {
            state.joined.feed(record);
        }
    }

    /// The runtime lets go of the old file.
    fn close_old(&mut self) {
        if self.old.take().is_none() {
            return;
        }
        // A late record may have begun a chain in the old file.
        self.last_rotation = Instant::now();
        for stream in &mut self.streams {
            for record in stream.deferred.drain(..) {
                stream.joined.feed(record);
            }
        }
    }

    /// The kubelet's steps, in its order.
    fn rotate(&mut self, now: Instant, rng: &mut Rng) {
        for stream in 0..STREAMS.len() {
            // Keeps what allow_deletion relies on: no chain is older than one rotation.
            if self.streams[stream].joined.open.is_some() && rng.chance(50) {
                self.record(stream, Runtime::Containerd, false, rng);
            } else if let Some(open) = &self.streams[stream].joined.open
                && open.ts < instant_to_ns(self.last_rotation)
            {
                self.record(stream, Runtime::Containerd, false, rng);
            }
        }
        while self.deletable > 0 && self.rotated.len() > 3 {
            fs::remove_file(&self.rotated.remove(0).path).expect("remove");
            self.deletable -= 1;
        }
        for file in self.rotated.iter_mut().filter(|file| !file.zipped) {
            let plain = file.path.clone();
            let (temporary, zipped) = (with_end(&plain, ".tmp"), with_end(&plain, ".gz"));
            let out = File::create(&temporary).expect("create");
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
            encoder
                .write_all(&fs::read(&plain).expect("read"))
                .expect("gzip");
            encoder.finish().expect("gzip");
            fs::rename(&temporary, &zipped).expect("rename");
            fs::remove_file(&plain).expect("remove");
            file.path = zipped;
            file.zipped = true;
        }
        let live = self.dir.join(format!("{}.log", self.restart));
        let suffix = stamp(SystemTime::now());
        let path = with_end(&live, &format!(".{suffix}"));
        fs::rename(&live, &path).expect("rename");
        self.rotated.push(Rotated {
            path,
            zipped: false,
        });
        // Between the rename and the reopening the runtime writes to the renamed file.
        for _ in 0..rng.range(0, 5) {
            let stream = usize::from(rng.chance(50));
            self.record(stream, Runtime::Containerd, rng.chance(10), rng);
        }
        let new = File::create(&live).expect("create");
        let old = std::mem::replace(&mut self.file, new);
        self.old = Some((old, now + Duration::from_millis(rng.range(0, 60))));
        self.last_rotation = now;
        self.rotate_at = now + Duration::from_millis(rng.range(1_100, 2_500));
    }

    /// The process in the container ends, perhaps in the middle of a line.
    fn end_instance(&mut self, runtime: Runtime, rng: &mut Rng) {
        self.close_old();
        for stream in 0..STREAMS.len() {
            self.record(stream, runtime, rng.chance(50), rng);
            let state = &mut self.streams[stream];
            state.joined.end();
            state.open_until = None;
            // A stamp of its own for the next instance.
            state.last_ts += 1;
        }
        self.rotated.clear();
        self.deletable = 0;
    }
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(end);
    PathBuf::from(text)
}

fn instant_to_ns(instant: Instant) -> i64 {
    let at = SystemTime::now() - instant.elapsed();
    at.duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_nanos() as i64)
}

fn cri(record: &Record, stream: &str, restart: u32) -> Vec<u8> {
    // Every second instance has a zone of its own.
    let time = rfc3339(record.ts, restart % 2 == 1);
    let tag = if record.partial { "P" } else { "F" };
    format!("{time} {stream} {tag} {}\n", record.text).into_bytes()
}

fn json_file(record: &Record, stream: &str) -> Vec<u8> {
    let end = if record.partial { "" } else { "\\n" };
    let time = rfc3339(record.ts, false);
    let text = &record.text;
    format!("{{\"log\":\"{text}{end}\",\"stream\":\"{stream}\",\"time\":\"{time}\"}}\n")
        .into_bytes()
}

/// Year, month, day, hour, minute, second.
fn civil(seconds: i64) -> [i64; 6] {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let day = doy - (153 * mp + 2) / 5 + 1;
    [year, month, day, rest / 3_600, rest / 60 % 60, rest % 60]
}

/// Go's RFC3339Nano: trailing zeros of the fraction are cut.
fn rfc3339(ns: i64, offset: bool) -> String {
    let shift = if offset { 5_400 } else { 0 };
    let [y, mo, d, h, mi, s] = civil(ns.div_euclid(1_000_000_000) + shift);
    let fraction = format!(".{:09}", ns.rem_euclid(1_000_000_000));
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    let zone = if offset { "+01:30" } else { "Z" };
    format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}{fraction}{zone}")
}

fn stamp(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let [y, mo, d, h, mi, s] = civil(seconds as i64);
    format!("{y:04}{mo:02}{d:02}-{h:02}{mi:02}{s:02}")
}

#[test]
fn times_are_written_as_go_writes_them() {
    for (ns, offset, wanted) in [
        (0, false, "1970-01-01T00:00:00Z"),
        (1_709_164_799_120_000_000, false, "2024-02-28T23:59:59.12Z"),
        (
            1_709_164_799_000_000_001,
            true,
            "2024-02-29T01:29:59.000000001+01:30",
        ),
    ] {
        assert_eq!(rfc3339(ns, offset), wanted);
    }
}

/// Reads a container's files as they lie there, oldest first.
fn read_back(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(u32, bool, String)> = fs::read_dir(dir)
        .expect("list")
        .map(|e| e.expect("entry").file_name().into_string().expect("a name"))
        .map(|name| {
            let restart = name.split('.').next().and_then(|n| n.parse().ok());
            (restart.expect("a number"), name.ends_with(".log"), name)
        })
        .collect();
    files.sort();
    let read = |name: &str| {
        let raw = fs::read(dir.join(name)).expect("read");
        if !name.ends_with(".gz") {
            return raw;
        }
        let mut bytes = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(&raw[..]);
        std::io::Read::read_to_end(&mut decoder, &mut bytes).expect("gunzip");
        bytes
    };
    files
        .into_iter()
        .map(|(restart, _, name)| (restart.to_string(), read(&name)))
        .collect()
}

#[test]
fn the_truth_is_what_the_files_say() {
    let temp = tempfile::tempdir().expect("temporary directory");
    let targets = temp.path().join("targets");
    let mut world = World::new(7, Runtime::Containerd, 2, temp.path(), &targets);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(4_500) {
        world.tick(3);
        std::thread::sleep(Duration::from_millis(1));
    }
    world.finish();
    let complete = world.complete();
    let mut seen = 0;
    for (container, (name, stream, truth)) in (0..).map(|i| i / STREAMS.len()).zip(world.truth()) {
        let mut joined = Joined::default();
        let mut instance = "0".to_owned();
        for (restart, bytes) in read_back(&world.containers[container].dir) {
            if restart != instance {
                joined.end();
                instance = restart;
            }
            for line in String::from_utf8(bytes).expect("text").lines() {
                let mut parts = line.splitn(4, ' ').skip(1);
                let mut part = || parts.next().expect("four parts").to_owned();
                if part() == stream {
                    joined.feed(Record {
                        ts: 0,
                        partial: part() == "P",
                        text: part(),
                    });
                }
            }
        }
        joined.end();
        let texts = |lines: &[Line]| -> std::collections::BTreeSet<String> {
            lines.iter().map(|line| line.text.clone()).collect()
        };
        assert_eq!(texts(&joined.lines), texts(&truth), "{name} {stream}");
        assert_eq!(joined.lines.len(), truth.len(), "{name} {stream}");
        seen += truth.len() as u64;
    }
    assert_eq!(seen, complete);
    let names = fs::read_dir(&world.containers[0].dir).expect("list");
    let names: Vec<PathBuf> = names.map(|e| e.expect("entry").path()).collect();
    let has = |end: &str| names.iter().any(|n| n.to_string_lossy().ends_with(end));
    assert!(has("1.log") && has(".gz"), "{names:?}");
}
