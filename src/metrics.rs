//! The agent's counters as Prometheus text, for `/metrics`. Names are drupelet's own, in base units.

use std::fmt::Write as _;

use agent::stats::Stats;

/// Appends the agent's metrics.
pub(crate) fn agent(stats: &Stats, out: &mut String) {
    let s = stats.snapshot();
    let counters = [
        ("lines", "Lines handed to the store.", s.lines),
        (
            "bytes",
            "Bytes of those lines, each with its line feed.",
            s.bytes,
        ),
        (
            "read_bytes",
            "Bytes read from log files, re-reads of torn records included.",
            s.read_bytes,
        ),
        ("batches", "Batches taken by the store.", s.batches),
        ("waits", "Times that the store had no room.", s.waits),
        (
            "malformed_lines",
            "Lines that do not parse, kept as they are.",
            s.malformed,
        ),
        (
            "damaged",
            "Runs of NUL bytes skipped, and ends of files that never became a line.",
            s.damaged,
        ),
        (
            "truncated_lines",
            "Lines cut to max_line_size.",
            s.truncated,
        ),
        (
            "truncated_bytes",
            "Bytes cut from lines.",
            s.truncated_bytes,
        ),
        (
            "shrunk_files",
            "Files shorter than their position, resumed at their end.",
            s.shrunk,
        ),
        (
            "restarted_files",
            "Files emptied and begun anew.",
            s.restarted,
        ),
        (
            "vanished_files",
            "Files that vanished before they were read to their end.",
            s.vanished_unread,
        ),
        (
            "let_go_files",
            "Deleted files let go because too many bytes were held.",
            s.let_go,
        ),
        (
            "refused_lines",
            "Lines refused by the store for good.",
            s.refused,
        ),
        (
            "read_errors",
            "Errors from opening, reading or decompressing a file.",
            s.read_errors,
        ),
        (
            "inotify_overflows",
            "Times that the inotify queue overflowed.",
            s.overflows,
        ),
        ("scans", "Full scans of the pods directory.", s.scans),
    ];
    for (name, help, value) in counters {
        metric(out, &format!("{name}_total"), "counter", help, value);
    }
    let gauges = [
        (
            "scanning",
            "1 while scanning stands in for inotify.",
            s.scanning,
        ),
        (
            "pods_dir_unreadable",
            "1 while the pods directory cannot be read.",
            s.unreadable,
        ),
        ("containers", "Container instances known.", s.instances),
        ("files", "Log files known.", s.files),
        ("open_files", "Log files open.", s.open_files),
        (
            "deleted_bytes",
            "Bytes of deleted files still held to be read.",
            s.deleted_bytes,
        ),
        ("watches", "inotify watches.", s.watches),
    ];
    for (name, help, value) in gauges {
        metric(out, name, "gauge", help, value);
    }
    let lag = s.lag_ns as f64 / 1e9;
    let _ = write!(
        out,
        "# HELP drupelet_agent_lag_seconds Time between the newest line's time and its reading.\n\
         # TYPE drupelet_agent_lag_seconds gauge\ndrupelet_agent_lag_seconds {lag}\n\
         # HELP drupelet_agent_reader Reader in use.\n# TYPE drupelet_agent_reader gauge\n\
         drupelet_agent_reader{{kind=\"{}\"}} 1\n",
        stats.reader_kind()
    );
}

fn metric(out: &mut String, name: &str, kind: &str, help: &str, value: u64) {
    let _ = write!(
        out,
        "# HELP drupelet_agent_{name} {help}\n# TYPE drupelet_agent_{name} {kind}\ndrupelet_agent_{name} {value}\n"
    );
}
