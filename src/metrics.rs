//! The agent's counters as Prometheus text, for `/metrics`. Names are drupelet's own, in base units.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use agent::ship::ShipStats;
use agent::stats::{Snapshot, Stats};

/// Name, help, value.
type Metric = (&'static str, &'static str, fn(&Snapshot) -> u64);

const COUNTERS: &[Metric] = &[
    ("lines", "Lines handed to the store or to be pushed.", |s| {
        s.lines
    }),
    (
        "bytes",
        "Bytes of those lines, each with its line feed.",
        |s| s.bytes,
    ),
    (
        "read_bytes",
        "Bytes read from log files, re-reads of torn records included.",
        |s| s.read_bytes,
    ),
    (
        "batches",
        "Batches taken by the store or to be pushed.",
        |s| s.batches,
    ),
    (
        "waits",
        "Times that the store, or the batch to be pushed, had no room.",
        |s| s.waits,
    ),
    (
        "malformed_lines",
        "Lines that do not parse, kept as they are.",
        |s| s.malformed,
    ),
    (
        "damaged",
        "Runs of NUL bytes skipped, and ends of files that never became a line.",
        |s| s.damaged,
    ),
    ("truncated_lines", "Lines cut to max_line_size.", |s| {
        s.truncated
    }),
    ("truncated_bytes", "Bytes cut from lines.", |s| {
        s.truncated_bytes
    }),
    (
        "shrunk_files",
        "Files shorter than their position, resumed at their end.",
        |s| s.shrunk,
    ),
    ("restarted_files", "Files emptied and begun anew.", |s| {
        s.restarted
    }),
    (
        "vanished_files",
        "Files that vanished before they were read to their end.",
        |s| s.vanished_unread,
    ),
    (
        "let_go_files",
        "Deleted files let go because too many bytes were held.",
        |s| s.let_go,
    ),
    (
        "refused_lines",
        "Lines refused by the store for good.",
        |s| s.refused,
    ),
    (
        "read_errors",
        "Errors from opening, reading or decompressing a file.",
        |s| s.read_errors,
    ),
    (
        "inotify_overflows",
        "Times that the inotify queue overflowed.",
        |s| s.overflows,
    ),
    ("scans", "Full scans of the pods directory.", |s| s.scans),
];

const GAUGES: &[Metric] = &[
    ("scanning", "1 while scanning stands in for inotify.", |s| {
        s.scanning
    }),
    (
        "pods_dir_unreadable",
        "1 while the pods directory cannot be read.",
        |s| s.unreadable,
    ),
    ("containers", "Container instances known.", |s| s.instances),
    ("files", "Log files known.", |s| s.files),
    ("open_files", "Log files open.", |s| s.open_files),
    (
        "deleted_bytes",
        "Bytes of deleted files still held to be read.",
        |s| s.deleted_bytes,
    ),
    (
        "backlog_bytes",
        "Bytes of the log files found at the start that are not read yet.",
        |s| s.backlog_bytes,
    ),
    ("watches", "inotify watches.", |s| s.watches),
];

/// Appends the agent's metrics.
pub(crate) fn agent(stats: &Stats, out: &mut String) {
    let snapshot = stats.snapshot();
    for (name, help, value) in COUNTERS {
        metric(
            out,
            &format!("{name}_total"),
            "counter",
            help,
            value(&snapshot),
        );
    }
    for (name, help, value) in GAUGES {
        metric(out, name, "gauge", help, value(&snapshot));
    }
    let lag = snapshot.lag_ns as f64 / 1e9;
    let _ = write!(
        out,
        "# HELP drupelet_agent_lag_seconds Time between the newest line's time and its reading.\n\
         # TYPE drupelet_agent_lag_seconds gauge\ndrupelet_agent_lag_seconds {lag}\n\
         # HELP drupelet_agent_reader Reader in use.\n# TYPE drupelet_agent_reader gauge\n\
         drupelet_agent_reader{{kind=\"{}\"}} 1\n",
        stats.reader_kind()
    );
}

/// Name, type, help, where it is.
type Pushed = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ShipStats) -> &AtomicU64,
);

const PUSHED: &[Pushed] = &[
    (
        "batches_total",
        "counter",
        "Batches answered for good.",
        |s| &s.batches,
    ),
    (
        "entries_total",
        "counter",
        "Entries in them, refused ones included.",
        |s| &s.entries,
    ),
    (
        "line_bytes_total",
        "counter",
        "Bytes of their lines, each with its line feed.",
        |s| &s.line_bytes,
    ),
    (
        "sent_bytes_total",
        "counter",
        "Compressed bytes sent, repeats included.",
        |s| &s.sent_bytes,
    ),
    (
        "partly_refused_batches_total",
        "counter",
        "Batches of which the server did not say how many entries it refused.",
        |s| &s.partly_refused,
    ),
    (
        "halved_batches_total",
        "counter",
        "Batches halved because they were too large.",
        |s| &s.halved,
    ),
    (
        "position_errors_total",
        "counter",
        "Failures to write or sync the positions.",
        |s| &s.checkpoint_errors,
    ),
    (
        "unstored_positions",
        "gauge",
        "Sources whose position is only in memory.",
        |s| &s.unstored,
    ),
    (
        "filling_bytes",
        "gauge",
        "Bytes of the batch that is filled.",
        |s| &s.filling_bytes,
    ),
    (
        "in_flight_bytes",
        "gauge",
        "Compressed bytes of the batch that is on its way.",
        |s| &s.in_flight_bytes,
    ),
    (
        "last_success_timestamp_seconds",
        "gauge",
        "When a batch was last answered for good, since the Unix epoch; 0: not yet.",
        |s| &s.last_success,
    ),
];

/// Appends the metrics of pushing.
pub(crate) fn push(stats: &ShipStats, disk: &dyn disk::Disk, out: &mut String) {
    for (name, kind, help, value) in PUSHED {
        let value = value(stats).load(Ordering::Relaxed);
        let _ = write!(
            out,
            "# HELP drupelet_ship_{name} {help}\n# TYPE drupelet_ship_{name} {kind}\ndrupelet_ship_{name} {value}\n"
        );
    }
    let lag = stats.lag_seconds();
    let _ = write!(
        out,
        "# HELP drupelet_ship_lag_seconds Time that the oldest entry has waited for its acknowledgement.\n\
         # TYPE drupelet_ship_lag_seconds gauge\ndrupelet_ship_lag_seconds {lag}\n\
         # HELP drupelet_ship_retries_total Requests that have to be sent again, by reason.\n\
         # TYPE drupelet_ship_retries_total counter\n"
    );
    for (reason, count) in stats.retries() {
        let _ = writeln!(
            out,
            "drupelet_ship_retries_total{{reason=\"{reason}\"}} {count}"
        );
    }
    out.push_str(
        "# HELP drupelet_ship_refused_entries_total Entries that the server refused for good, by reason.\n\
         # TYPE drupelet_ship_refused_entries_total counter\n",
    );
    for (reason, count) in stats.refused() {
        let _ = writeln!(
            out,
            "drupelet_ship_refused_entries_total{{reason=\"{reason}\"}} {count}"
        );
    }
    out.push_str(
        "# HELP drupelet_disk_written_bytes_total Bytes written to disk, by purpose.\n\
         # TYPE drupelet_disk_written_bytes_total counter\n",
    );
    let state = disk
        .written()
        .into_iter()
        .filter(|(p, _)| *p == disk::Purpose::State);
    let state: u64 = state.map(|(_, bytes)| bytes).sum();
    let _ = writeln!(
        out,
        "drupelet_disk_written_bytes_total{{purpose=\"state\"}} {state}"
    );
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    let _ = write!(
        out,
        "# HELP drupelet_agent_{name} {help}\n# TYPE drupelet_agent_{name} {kind}\ndrupelet_agent_{name} {value}\n"
    );
}
