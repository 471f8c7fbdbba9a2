//! Promises P4 (memory is bounded) and P5 (each byte is written once, compressed) on the real binary.
//!
//! Limits are those that are due for a release build; a debug build's code is several times larger, and its pages
//! count as resident, so it gets [`DEBUG_CODE_KIB`] more.

#![expect(
    clippy::disallowed_methods,
    reason = "the test is the kubelet here: it writes the logs itself"
)]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use crate::util::{Appliance, Rng, wait_for};

/// Highest resident memory while catching up with a histogram running, KiB.
const PEAK_KIB: u64 = 32 << 10;
/// What the code of an unoptimised binary may add, KiB.
const DEBUG_CODE_KIB: u64 = if cfg!(debug_assertions) { 8 << 10 } else { 0 };
/// Bytes written per byte of log, in percent.
const WRITTEN_PERCENT: u64 = 30;

/// A node: a pods directory, a data directory, a configuration.
struct Node {
    tmp: TempDir,
    raw: u64,
    lines: u64,
    rng: Rng,
    /// Open, as a container runtime keeps them: a close would say that the container has ended.
    logs: HashMap<PathBuf, File>,
}

impl Node {
    fn new() -> Node {
        let tmp = TempDir::new().expect("temp dir");
        let node = Node {
            tmp,
            raw: 0,
            lines: 0,
            rng: Rng(7),
            logs: HashMap::new(),
        };
        for dir in ["pods", "data"] {
            std::fs::create_dir(node.path(dir)).expect("mkdir");
        }
        File::create(node.path("config.yaml")).expect("config");
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    fn start(&self) -> Appliance {
        Appliance::start(
            &self.path("pods"),
            &self.path("data"),
            &self.path("config.yaml"),
        )
    }

    /// Appends `count` lines of a busy service, ending now, to container `i` of `containers`.
    fn append(&mut self, i: u64, count: u64, outputs: &[&str]) {
        let pod = i % 100;
        let dir = self.path("pods").join(format!(
            "ns{}_app-{pod}-7d9c6b5f4-{pod:05x}_{pod:08x}-0000-4000-8000-{pod:012x}/worker-{}",
            pod % 10,
            i / 100,
        ));
        std::fs::create_dir_all(&dir).expect("mkdir");
        let mut text = String::new();
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970")
            .as_secs();
        for k in 0..count {
            let second = now - (count - k) / 20;
            let clock = (second / 3600 % 24, second / 60 % 60, second % 60);
            let day = day_of(second);
            let output = outputs[(k % outputs.len() as u64) as usize];
            let line = format!(
                "level=info caller=server.go:{} msg=\"request completed\" method=GET path=/api/items/{} status={} \
                 duration={}.{:02}ms bytes={} trace_id={:016x}",
                self.rng.range(10, 400),
                self.rng.range(0, 5000),
                [200, 200, 200, 304, 404, 500][self.rng.range(0, 6) as usize],
                self.rng.range(0, 90),
                self.rng.range(0, 100),
                self.rng.range(0, 60_000),
                self.rng.next(),
            );
            self.raw += line.len() as u64 + 1;
            self.lines += 1;
            let nanos = k % 20 * 50_000_000 + self.rng.range(0, 50_000_000);
            writeln!(
                text,
                "{day}T{:02}:{:02}:{:02}.{nanos:09}Z {output} F {line}",
                clock.0, clock.1, clock.2
            )
            .expect("to a string");
        }
        let path = dir.join("0.log");
        let log = self.logs.entry(path).or_insert_with_key(|path| {
            let mut options = OpenOptions::new();
            options.append(true).create(true);
            options.open(path).expect("log file")
        });
        log.write_all(text.as_bytes()).expect("append");
        // A backlog: a file that was written to just now might be the whole of a short life, which costs a little more.
        let earlier = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
        log.set_modified(earlier).expect("utimens");
    }

    /// Stops the appliance and holds what it wrote, SQLite included, to the limit. What the last flush writes is
    /// seen from the files, as the process's own counter ends with it.
    fn check_written(&self, appliance: Appliance) {
        let counted = proc_field(appliance.pid(), "io", "wchar:");
        let before = size_of(&self.path("data"));
        assert!(appliance.stop().success());
        let written = counted + size_of(&self.path("data")).saturating_sub(before);
        assert!(
            written * 100 <= self.raw * WRITTEN_PERCENT,
            "{written} bytes written for {} bytes of log",
            self.raw
        );
    }

    fn wait_for_all(&self, appliance: &mut Appliance) {
        let lines = self.lines;
        wait_for(
            || (appliance.count("{namespace=~\".+\"}") == lines).then_some(()),
            || format!("the store does not get to {lines} lines"),
        );
    }
}

/// Bytes of all files below a directory.
fn size_of(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).expect("a directory");
    let sizes = entries.map(|entry| {
        let entry = entry.expect("an entry");
        let meta = entry.metadata().expect("metadata");
        if meta.is_dir() {
            size_of(&entry.path())
        } else {
            meta.len()
        }
    });
    sizes.sum()
}

/// The date of a Unix time, by the civil-from-days algorithm (Hinnant, "chrono-compatible low-level date algorithms").
fn day_of(second: u64) -> String {
    let z = second / 86_400 + 719_468;
    let era = z / 146_097;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{:02}", doy - (153 * mp + 2) / 5 + 1)
}

/// A field of a `/proc/PID` file, in the file's unit.
fn proc_field(pid: u32, file: &str, field: &str) -> u64 {
    let text = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join(file))
        .expect("the process is there");
    text.lines()
        .find_map(|line| {
            line.strip_prefix(field)?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or_else(|| panic!("no {field} in {file}"))
}

#[test]
fn p4_memory_is_bounded_while_catching_up_with_a_histogram() {
    let mut node = Node::new();
    for i in 0..50 {
        node.append(i, 4000, &["stdout", "stderr"]);
    }
    let mut appliance = node.start();
    let address = appliance.address();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let query =
                crate::util::encode("sum by (namespace)(count_over_time({namespace=~\".+\"}[5m]))");
            while !done.load(Ordering::Relaxed) {
                let path = format!("/loki/api/v1/query_range?query={query}&since=24h&step=300");
                let (status, body) = crate::util::http_get(&address, &path).expect("an answer");
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            }
        });
        node.wait_for_all(&mut appliance);
        done.store(true, Ordering::Relaxed);
    });
    let peak = proc_field(appliance.pid(), "status", "VmHWM:");
    assert!(
        peak <= PEAK_KIB + DEBUG_CODE_KIB,
        "peak of {peak} KiB over {PEAK_KIB} (+{DEBUG_CODE_KIB}) KiB"
    );
    assert!(appliance.stop().success());
}

#[test]
fn p5_each_byte_is_written_once_compressed() {
    let mut node = Node::new();
    for i in 0..50 {
        node.append(i, 4000, &["stdout", "stdout", "stderr"]);
    }
    let mut appliance = node.start();
    node.wait_for_all(&mut appliance);
    node.check_written(appliance);
}

#[test]
fn p4_p5_ten_thousand_streams_cost_no_more() {
    let mut node = Node::new();
    for _ in 0..4 {
        for i in 0..5000 {
            node.append(i, 20, &["stdout", "stderr"]);
        }
    }
    let mut appliance = node.start();
    node.wait_for_all(&mut appliance);
    let peak = proc_field(appliance.pid(), "status", "VmHWM:");
    assert!(
        peak <= PEAK_KIB + DEBUG_CODE_KIB,
        "peak of {peak} KiB over {PEAK_KIB} (+{DEBUG_CODE_KIB}) KiB"
    );
    node.check_written(appliance);
}
