//! `/metrics`: the service's own counters, the store's, and those of the process, in Prometheus's text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::api::{QueryStats, StoreStats};

/// The service's counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// By route and status; both are few.
    requests: Mutex<BTreeMap<(&'static str, u16), (u64, f64)>>,
    pub(super) connections: AtomicU64,
    pub(super) queries_running: AtomicU64,
    query_bytes: AtomicU64,
    query_lines: AtomicU64,
    query_chunks: AtomicU64,
}

impl Counters {
    pub(super) fn query(&self, stats: &QueryStats) {
        self.query_bytes
            .fetch_add(stats.bytes_processed, Ordering::Relaxed);
        self.query_lines
            .fetch_add(stats.lines_processed, Ordering::Relaxed);
        self.query_chunks
            .fetch_add(stats.chunks_read, Ordering::Relaxed);
    }

    fn request(&self, route: &'static str, status: u16, seconds: f64) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = requests.entry((route, status)).or_default();
        entry.0 += 1;
        entry.1 += seconds;
    }

    /// Appends the metrics of the service.
    pub(super) fn write(&self, out: &mut String) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        head(
            out,
            "drupelet_http_requests_total",
            "counter",
            "Requests answered, by route and status; 499: the client went away.",
        );
        for ((route, code), (count, _)) in requests.iter() {
            line(
                out,
                "drupelet_http_requests_total",
                &format!("{{route=\"{route}\",code=\"{code}\"}}"),
                *count as f64,
            );
        }
        head(
            out,
            "drupelet_http_request_duration_seconds_total",
            "counter",
            "Time until the answer began, by route and status.",
        );
        for ((route, code), (_, seconds)) in requests.iter() {
            line(
                out,
                "drupelet_http_request_duration_seconds_total",
                &format!("{{route=\"{route}\",code=\"{code}\"}}"),
                *seconds,
            );
        }
        drop(requests);
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed) as f64;
        for (name, kind, help, value) in [
            (
                "drupelet_http_connections",
                "gauge",
                "Open connections.",
                get(&self.connections),
            ),
            (
                "drupelet_queries_running",
                "gauge",
                "Queries running or waiting for a thread.",
                get(&self.queries_running),
            ),
            (
                "drupelet_query_processed_bytes_total",
                "counter",
                "Raw line bytes that queries looked at.",
                get(&self.query_bytes),
            ),
            (
                "drupelet_query_processed_lines_total",
                "counter",
                "Entries that queries looked at.",
                get(&self.query_lines),
            ),
            (
                "drupelet_query_read_chunks_total",
                "counter",
                "Chunks that queries decompressed a part of.",
                get(&self.query_chunks),
            ),
        ] {
            single(out, name, kind, help, value);
        }
    }
}

/// Counts a request when it is dropped: answered with a status, or given up by the client.
pub(super) struct Recorder<'a> {
    counters: &'a Counters,
    route: &'static str,
    start: Instant,
    pub(super) status: u16,
}

impl<'a> Recorder<'a> {
    pub(super) fn new(counters: &'a Counters, route: &'static str) -> Recorder<'a> {
        Recorder {
            counters,
            route,
            start: Instant::now(),
            status: 499,
        }
    }
}

impl Drop for Recorder<'_> {
    fn drop(&mut self) {
        let seconds = self.start.elapsed().as_secs_f64();
        self.counters.request(self.route, self.status, seconds);
    }
}

/// Raises a gauge while it lives.
pub(super) struct Raised<'a>(&'a AtomicU64);

impl<'a> Raised<'a> {
    pub(super) fn new(gauge: &'a AtomicU64) -> Raised<'a> {
        gauge.fetch_add(1, Ordering::Relaxed);
        Raised(gauge)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Appends the metrics of the store.
pub(super) fn write_store(out: &mut String, stats: &StoreStats) {
    for (name, kind, help, value) in [
        (
            "drupelet_store_entries_total",
            "counter",
            "Entries taken since start.",
            stats.entries_in as f64,
        ),
        (
            "drupelet_store_bytes_total",
            "counter",
            "Line bytes taken since start, a line feed counted with each.",
            stats.bytes_in as f64,
        ),
        (
            "drupelet_store_head_used_bytes",
            "gauge",
            "Bytes of the head's pool in use.",
            stats.head_used as f64,
        ),
        (
            "drupelet_store_head_size_bytes",
            "gauge",
            "Size of the head's pool.",
            stats.head_size as f64,
        ),
        (
            "drupelet_store_head_streams",
            "gauge",
            "Streams in the head.",
            stats.head_streams as f64,
        ),
        (
            "drupelet_store_segments",
            "gauge",
            "Segments on disk.",
            stats.segments as f64,
        ),
        (
            "drupelet_store_segment_bytes",
            "gauge",
            "Bytes of the segments on disk.",
            stats.segment_bytes as f64,
        ),
        (
            "drupelet_store_flush_seconds_total",
            "counter",
            "Time spent in flushes.",
            stats.flush_seconds,
        ),
        (
            "drupelet_store_flush_errors_total",
            "counter",
            "Failed flushes.",
            stats.flush_errors as f64,
        ),
        (
            "drupelet_store_sequence",
            "gauge",
            "Highest sequence on disk.",
            stats.sequence as f64,
        ),
        (
            "drupelet_store_damaged_chunks_total",
            "counter",
            "Chunks found damaged since start.",
            stats.damaged_chunks as f64,
        ),
    ] {
        single(out, name, kind, help, value);
    }
    head(
        out,
        "drupelet_store_flushes_total",
        "counter",
        "Flushes, by reason.",
    );
    for (reason, count) in ["size", "age", "shutdown", "asked"]
        .iter()
        .zip(stats.flushes)
    {
        line(
            out,
            "drupelet_store_flushes_total",
            &format!("{{reason=\"{reason}\"}}"),
            count as f64,
        );
    }
    head(
        out,
        "drupelet_disk_written_bytes_total",
        "counter",
        "Bytes written to disk, by purpose.",
    );
    for (purpose, bytes) in &stats.written {
        let purpose = match purpose {
            disk::Purpose::Segment => "segment",
            disk::Purpose::Compaction => "compaction",
            disk::Purpose::PushLog => "push_log",
            disk::Purpose::State => "state",
        };
        line(
            out,
            "drupelet_disk_written_bytes_total",
            &format!("{{purpose=\"{purpose}\"}}"),
            *bytes as f64,
        );
    }
}

/// Appends the metrics of the process that every exporter has, under their usual names, and the build.
pub(super) fn write_process(out: &mut String) {
    head(
        out,
        "drupelet_build_info",
        "gauge",
        "The version that runs.",
    );
    let version = concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
    line(out, "drupelet_build_info", version, 1.0);
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let cpu = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    single(
        out,
        "process_cpu_seconds_total",
        "counter",
        "CPU time used, user and system.",
        cpu,
    );
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    if let Some(bytes) = resident(&read("/proc/self/statm"), rustix::param::page_size()) {
        single(
            out,
            "process_resident_memory_bytes",
            "gauge",
            "Resident memory.",
            bytes,
        );
    }
    let ticks = rustix::param::clock_ticks_per_second();
    if let Some(at) = started(&read("/proc/self/stat"), &read("/proc/stat"), ticks) {
        single(
            out,
            "process_start_time_seconds",
            "gauge",
            "Start of the process since the Unix epoch.",
            at,
        );
    }
}

fn resident(statm: &str, page: usize) -> Option<f64> {
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages as f64 * page as f64)
}

fn started(own: &str, system: &str, ticks: u64) -> Option<f64> {
    // The process's name may hold blanks and parentheses; field 22 is the 20th after it.
    let (_, fields) = own.rsplit_once(')')?;
    let since_boot: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    let boot = system.lines().find_map(|l| l.strip_prefix("btime "))?;
    Some(boot.trim().parse::<u64>().ok()? as f64 + since_boot as f64 / ticks as f64)
}

fn single(out: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    head(out, name, kind, help);
    line(out, name, "", value);
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n").expect("a String takes all text");
}

fn line(out: &mut String, name: &str, labels: &str, value: f64) {
    writeln!(out, "{name}{labels} {value}").expect("a String takes all text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_is_read_from_proc() {
        assert_eq!(resident("900 25 10 1 0 5 0\n", 4096), Some(102_400.0));
        assert_eq!(resident("", 4096), None);
        let own = "7 (a) b) S 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 250 1 1\n";
        let system = "cpu 1 2\nbtime 1000\nprocesses 5\n";
        assert_eq!(started(own, system, 100), Some(1002.5));
        assert_eq!(started(own, "", 100), None);
        assert_eq!(started("", system, 100), None);
    }

    #[test]
    fn every_metric_has_help_and_type() {
        let counters = Counters::default();
        counters.request("ready", 200, 0.5);
        let mut out = String::new();
        counters.write(&mut out);
        write_process(&mut out);
        let stats = StoreStats {
            written: vec![(disk::Purpose::Segment, 7)],
            ..StoreStats::default()
        };
        write_store(&mut out, &stats);
        let mut known = Vec::new();
        for text in out.lines() {
            if let Some(rest) = text.strip_prefix("# TYPE ") {
                known.push(rest.split(' ').next().unwrap());
            } else if !text.starts_with('#') {
                let name = text.split(['{', ' ']).next().unwrap();
                assert_eq!(known.last(), Some(&name), "{text}");
            }
        }
        assert!(out.contains("drupelet_http_requests_total{route=\"ready\",code=\"200\"} 1\n"));
        assert!(out.contains("drupelet_disk_written_bytes_total{purpose=\"segment\"} 7\n"));
        assert!(out.contains("\nprocess_resident_memory_bytes "));
        assert!(out.contains("\nprocess_start_time_seconds "));
    }
}
