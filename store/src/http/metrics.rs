//! `/metrics`: the service's own counters, the store's, and those of the process, in Prometheus's text format.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::api::{PushLogStats, QueryStats, StoreStats};
use crate::clock::Verdict;
use crate::ingest;
use crate::retention::{Reason, Removed};

/// Requests of one route and status.
#[derive(Debug, Default)]
struct Answered {
    count: u64,
    seconds: f64,
}

/// The service's counters.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// By route and status; both are few.
    requests: Mutex<BTreeMap<(&'static str, u16), Answered>>,
    pub(super) connections: AtomicU64,
    pub(super) queries_running: AtomicU64,
    query_bytes: AtomicU64,
    query_lines: AtomicU64,
    query_chunks: AtomicU64,
    query_columns: AtomicU64,
    query_sections: AtomicU64,
}

impl Counters {
    pub(super) fn query(&self, stats: &QueryStats) {
        self.query_bytes
            .fetch_add(stats.bytes_processed, Ordering::Relaxed);
        self.query_lines
            .fetch_add(stats.lines_processed, Ordering::Relaxed);
        self.query_chunks
            .fetch_add(stats.chunks_read, Ordering::Relaxed);
        self.query_columns
            .fetch_add(stats.compressed_bytes, Ordering::Relaxed);
        self.query_sections
            .fetch_add(stats.section_bytes, Ordering::Relaxed);
    }

    fn request(&self, route: &'static str, status: u16, seconds: f64) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = requests.entry((route, status)).or_default();
        entry.count += 1;
        entry.seconds += seconds;
    }

    /// Appends the metrics of the service.
    pub(super) fn write(&self, out: &mut String) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let labels = |(route, code): &(&str, u16)| format!("{{route=\"{route}\",code=\"{code}\"}}");
        let name = "drupelet_http_requests_total";
        let help = "Requests answered, by route and status; 499: the client went away.";
        head(out, name, "counter", help);
        for (of, answered) in requests.iter() {
            line(out, name, &labels(of), answered.count as f64);
        }
        let name = "drupelet_http_request_duration_seconds_total";
        let help = "Time until answers began, by route and status.";
        head(out, name, "counter", help);
        for (of, answered) in requests.iter() {
            line(out, name, &labels(of), answered.seconds);
        }
        drop(requests);
        let get = |a: &AtomicU64| a.load(Ordering::Relaxed) as f64;
        let mut gauge = |name, help, value| single(out, name, "gauge", help, get(value));
        let (name, help) = ("drupelet_http_connections", "Open connections.");
        gauge(name, help, &self.connections);
        let (name, help) = ("drupelet_queries_running", "Queries running or waiting.");
        gauge(name, help, &self.queries_running);
        let mut counter = |name, help, value| single(out, name, "counter", help, get(value));
        let name = "drupelet_query_processed_bytes_total";
        let help = "Raw line bytes that queries looked at.";
        counter(name, help, &self.query_bytes);
        let name = "drupelet_query_processed_lines_total";
        counter(name, "Entries that queries looked at.", &self.query_lines);
        let name = "drupelet_query_read_chunks_total";
        let help = "Chunks that queries decompressed a part of.";
        counter(name, help, &self.query_chunks);
        let name = "drupelet_query_stored_bytes_total";
        let help = "Bytes that queries read as they are stored: columns of blocks; sections beside them (streams, chunks, minute \
                    tables, skip index).";
        head(out, name, "counter", help);
        let parts = [
            ("columns", &self.query_columns),
            ("sections", &self.query_sections),
        ];
        for (part, bytes) in parts {
            line(out, name, &format!("{{part=\"{part}\"}}"), get(bytes));
        }
    }
}

/// Appends what came by push.
pub(super) fn write_pushes(out: &mut String, counters: &ingest::Counters) {
    let get = |a: &AtomicU64| a.load(Ordering::Relaxed) as f64;
    let mut counter = |name, help, value| single(out, name, "counter", help, get(value));
    let name = "drupelet_push_lines_total";
    counter(name, "Entries stored that came by push.", &counters.lines);
    let name = "drupelet_push_bytes_total";
    let help = "Bytes of lines and structured metadata that came by push, of duplicates too.";
    counter(name, help, &counters.bytes);
    let name = "drupelet_push_duplicate_lines_total";
    let help = "Entries that came by push and were there already.";
    counter(name, help, &counters.duplicates);
    let name = "drupelet_push_truncated_lines_total";
    let help = "Lines cut to max_line_size.";
    counter(name, help, &counters.truncated_lines);
    let name = "drupelet_push_truncated_bytes_total";
    counter(name, "Bytes cut from lines.", &counters.truncated_bytes);
    let name = "drupelet_push_nameless_metadata_total";
    let help = "Pairs of structured metadata left out because nothing of their name can be kept.";
    counter(name, help, &counters.nameless);
    let name = "drupelet_push_streams";
    let help = "Streams that were pushed to lately.";
    single(out, name, "gauge", help, get(&counters.streams));
    let name = "drupelet_push_discarded_lines_total";
    let help = "Entries of pushes that were refused, by reason (Loki's names).";
    head(out, name, "counter", help);
    for (reason, lines, _) in counters.discarded() {
        line(out, name, &format!("{{reason=\"{reason}\"}}"), lines as f64);
    }
    let name = "drupelet_push_discarded_bytes_total";
    let help =
        "Bytes of pushes that were refused, by reason; of bodies that were not read as they came.";
    head(out, name, "counter", help);
    for (reason, _, bytes) in counters.discarded() {
        line(out, name, &format!("{{reason=\"{reason}\"}}"), bytes as f64);
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
    let mut gauge = |name, help, value: u64| single(out, name, "gauge", help, value as f64);
    let help = "Bytes of the head's pool in use.";
    gauge("drupelet_store_head_used_bytes", help, stats.head_used);
    let help = "Size of the head's pool.";
    gauge("drupelet_store_head_size_bytes", help, stats.head_size);
    let help = "Streams in the head.";
    gauge("drupelet_store_head_streams", help, stats.head_streams);
    let help = "Segments on disk.";
    gauge("drupelet_store_segments", help, stats.segments);
    let help = "Bytes of the segments on disk.";
    gauge("drupelet_store_segment_bytes", help, stats.segment_bytes);
    let help = "Highest sequence on disk.";
    gauge("drupelet_store_sequence", help, stats.sequence);
    let mut counter = |name, help, value: u64| single(out, name, "counter", help, value as f64);
    let help = "Entries taken since start.";
    counter("drupelet_store_entries_total", help, stats.entries_in);
    let help = "Line bytes taken since start, a line feed counted with each line.";
    counter("drupelet_store_bytes_total", help, stats.bytes_in);
    let help = "Failed flushes.";
    counter(
        "drupelet_store_flush_errors_total",
        help,
        stats.flush_errors,
    );
    let help = "Chunks found damaged since start.";
    let name = "drupelet_store_damaged_chunks_total";
    counter(name, help, stats.damaged_chunks);
    let name = "drupelet_store_flush_seconds_total";
    let help = "Time spent in flushes.";
    single(out, name, "counter", help, stats.flush_seconds);
    let name = "drupelet_store_flushes_total";
    head(out, name, "counter", "Flushes, by reason.");
    let reasons = ["size", "age", "shutdown", "asked", "push_log"];
    for (reason, count) in reasons.iter().zip(stats.flushes) {
        line(out, name, &format!("{{reason=\"{reason}\"}}"), count as f64);
    }
    write_push_log(out, &stats.push_log);
    write_upkeep(out, stats);
    let name = "drupelet_disk_written_bytes_total";
    head(out, name, "counter", "Bytes written to disk, by purpose.");
    for (purpose, bytes) in &stats.written {
        let purpose = match purpose {
            disk::Purpose::Segment => "segment",
            disk::Purpose::Compaction => "compaction",
            disk::Purpose::PushLog => "push_log",
            disk::Purpose::State => "state",
        };
        line(
            out,
            name,
            &format!("{{purpose=\"{purpose}\"}}"),
            *bytes as f64,
        );
    }
}

fn write_push_log(out: &mut String, stats: &PushLogStats) {
    let mut metric = |name: &str, kind, help, value: u64| {
        let name = format!("drupelet_push_log_{name}");
        single(out, &name, kind, help, value as f64);
    };
    let help = "Bytes of the push log that no segment covers.";
    metric("used_bytes", "gauge", help, stats.used);
    let help = "Bytes of the push log's file.";
    metric("size_bytes", "gauge", help, stats.size);
    for (name, help, value) in [
        ("records_total", "Records written.", stats.records),
        ("syncs_total", "Syncs of the push log.", stats.syncs),
        (
            "failures_total",
            "Times that the push log could not be written and was made anew.",
            stats.failures,
        ),
        (
            "replayed_records_total",
            "Records taken over at the start.",
            stats.replayed_records,
        ),
        (
            "replayed_entries_total",
            "Entries taken over at the start.",
            stats.replayed_entries,
        ),
        (
            "skipped_total",
            "What of the push log could not be taken over at the start, because it or a segment is damaged.",
            stats.skipped,
        ),
        (
            "unchecked_total",
            "Pushed entries stored without looking for them in all older blocks.",
            stats.unchecked,
        ),
        (
            "secured_sources_total",
            "Ended containers whose unflushed lines were written to the push log.",
            stats.secured_sources,
        ),
        (
            "secured_entries_total",
            "Those lines.",
            stats.secured_entries,
        ),
        (
            "secured_by_flush_total",
            "Times that so many lines of ended containers were unflushed that a flush was asked for.",
            stats.secured_by_flush,
        ),
    ] {
        metric(name, "counter", help, value);
    }
}

/// Appends what retention did, and what it goes by.
fn write_upkeep(out: &mut String, stats: &StoreStats) {
    type Of = fn(&Removed) -> u64;
    let removed: [(&str, &str, Of); 3] = [
        ("segments", "Segments removed, by reason.", |r| r.segments),
        ("bytes", "Bytes of segments removed, by reason.", |r| {
            r.bytes
        }),
        (
            "entries",
            "Entries removed with their segments, by reason.",
            |r| r.entries,
        ),
    ];
    for (what, help, of) in removed {
        let name = format!("drupelet_retention_removed_{what}_total");
        head(out, &name, "counter", help);
        for (reason, removed) in Reason::NAMES.iter().zip(&stats.removed) {
            let labels = format!("{{reason=\"{reason}\"}}");
            line(out, &name, &labels, of(removed) as f64);
        }
    }
    let mut gauge = |name, help, value: u64| single(out, name, "gauge", help, value as f64);
    let help = "1 while less than min_free is free and nothing is left to remove.";
    let unmet = u64::from(stats.min_free_unmet);
    gauge("drupelet_retention_min_free_unmet", help, unmet);
    let help = "Bytes of all files of the store.";
    gauge("drupelet_store_disk_bytes", help, stats.store_bytes);
    if let Some(space) = stats.disk {
        let help = "Size of the file system that holds the store.";
        gauge("drupelet_disk_size_bytes", help, space.total);
        let help = "Bytes free on the file system that holds the store.";
        gauge("drupelet_disk_free_bytes", help, space.available);
    }
    if let Some(verdict) = stats.clock {
        let help = "1 while the wall clock is known to be right; without it nothing is removed for its age.";
        let trusted = u64::from(verdict == Verdict::Trusted);
        gauge("drupelet_clock_trusted", help, trusted);
    }
    let mut counter = |name, help, value: u64| single(out, name, "counter", help, value as f64);
    let help = "Jumps of the wall clock.";
    counter("drupelet_clock_jumps_total", help, stats.clock_jumps);
    let help = "Flushes that found the disk full.";
    counter("drupelet_store_disk_full_total", help, stats.disk_full);
}

/// Appends the metrics of the process that every exporter has, under their usual names, and the build.
pub fn write_process(out: &mut String) {
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
        write_pushes(&mut out, &ingest::Counters::default());
        write_process(&mut out);
        let stats = StoreStats {
            written: vec![(disk::Purpose::Segment, 7)],
            disk: Some(disk::Space {
                total: 9,
                available: 4,
            }),
            clock: Some(Verdict::Jumped),
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
        assert!(out.contains("drupelet_retention_removed_entries_total{reason=\"max_disk\"} 0\n"));
        assert!(out.contains("drupelet_disk_free_bytes 4\n"));
        assert!(out.contains("drupelet_clock_trusted 0\n"));
        assert!(out.contains("\nprocess_resident_memory_bytes "));
        assert!(out.contains("\nprocess_start_time_seconds "));
    }
}
