//! What the agent counts.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counters and gauges, written by the agent and read by anyone.
        #[derive(Debug, Default)]
        pub struct Stats {
            $($(#[$doc])* pub $name: AtomicU64,)*
        }

        /// The values of [`Stats`] at one moment.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct Snapshot {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Stats {
            /// The values now.
            #[must_use]
            pub fn snapshot(&self) -> Snapshot {
                Snapshot { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

stats! {
    /// Lines handed to the sink.
    lines,
    /// Their bytes, each line counted with one line feed.
    bytes,
    /// Bytes read from files, re-reads of torn records included.
    read_bytes,
    /// Batches that the sink took.
    batches,
    /// Times that the sink had no room.
    waits,
    /// Lines that do not parse, kept as they are with the read time.
    malformed,
    /// Runs of NUL bytes skipped, and ends of files that never became a line.
    damaged,
    /// Lines cut to `max_line_size` or to the memory for unfinished lines.
    truncated,
    /// Bytes cut from them.
    truncated_bytes,
    /// Files that were shorter than their position and resumed at their end.
    shrunk,
    /// Files that were emptied and begun anew.
    restarted,
    /// Files that vanished before they were read to their end.
    vanished_unread,
    /// Deleted files let go because too many bytes were held.
    let_go,
    /// Lines of batches that the sink refused for good.
    refused,
    /// Errors from opening, reading or decompressing a file.
    read_errors,
    /// Times that the inotify queue overflowed.
    overflows,
    /// Full scans of the tree.
    scans,
    /// Gauge: 1 while scanning stands in for inotify.
    scanning,
    /// Gauge: 1 while the pods directory cannot be read.
    unreadable,
    /// Gauge: container instances known.
    instances,
    /// Gauge: files known.
    files,
    /// Gauge: descriptors open.
    open_files,
    /// Gauge: bytes of deleted files still held.
    deleted_bytes,
    /// Gauge: bytes of the files found at the start that are not read yet.
    backlog_bytes,
    /// Gauge: watches.
    watches,
    /// Gauge: 0 unknown, 1 `pread`, 2 `uring`.
    reader,
    /// Gauge: nanoseconds between the newest line's time and its reading.
    lag_ns,
}

impl Stats {
    /// The reader in use: `uring`, `pread`, or `none` before the start.
    #[must_use]
    pub fn reader_kind(&self) -> &'static str {
        match self.reader.load(Ordering::Relaxed) {
            1 => "pread",
            2 => "uring",
            _ => "none",
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.fetch_add(n, Ordering::Relaxed);
}

/// Lowers a gauge.
pub(crate) fn lower(gauge: &AtomicU64, n: u64) {
    let _ = gauge.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |value| {
        Some(value.saturating_sub(n))
    });
}

/// Sets a gauge.
pub(crate) fn set(gauge: &AtomicU64, n: u64) {
    gauge.store(n, Ordering::Relaxed);
}
