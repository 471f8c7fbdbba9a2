//! What pushing counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::status::{OTHER, REASON_NAMES, Reason, TOO_LARGE};

/// Counters and gauges of a push sink, written by it and read by anyone.
#[derive(Debug, Default)]
pub struct ShipStats {
    /// Batches answered for good.
    pub batches: AtomicU64,
    /// Entries in them, refused ones included.
    pub entries: AtomicU64,
    /// Bytes of their lines, each with a line feed.
    pub line_bytes: AtomicU64,
    /// Compressed bytes sent, repeats included.
    pub sent_bytes: AtomicU64,
    /// Batches of which the server did not say how many entries it refused.
    pub partly_refused: AtomicU64,
    /// Batches taken apart because they were too large.
    pub halved: AtomicU64,
    /// Failures to write or sync the positions.
    pub checkpoint_errors: AtomicU64,
    /// Gauge: sources whose position is only in memory.
    pub unstored: AtomicU64,
    /// Gauge: bytes of the batch that is filled.
    pub filling_bytes: AtomicU64,
    /// Gauge: compressed bytes of the batch that is on its way.
    pub in_flight_bytes: AtomicU64,
    /// Gauge: seconds since 1970 of the last batch answered for good; 0: none yet.
    pub last_success: AtomicU64,
    /// Gauge: milliseconds since 1970 when the oldest entry that is not acknowledged was read; 0: there is none.
    pub oldest_ms: AtomicU64,
    retries: [AtomicU64; Reason::ALL.len()],
    refused: [AtomicU64; REASON_NAMES.len()],
}

impl ShipStats {
    /// Requests sent again, by reason.
    pub fn retries(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.retries.iter().map(|n| n.load(Ordering::Relaxed));
        Reason::ALL.iter().map(|r| r.name()).zip(counts)
    }

    /// Entries refused for good, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.refused.iter().map(|n| n.load(Ordering::Relaxed));
        REASON_NAMES.iter().copied().zip(counts)
    }

    /// Seconds that the oldest entry has waited for its acknowledgement.
    pub fn lag_seconds(&self) -> f64 {
        match self.oldest_ms.load(Ordering::Relaxed) {
            0 => 0.0,
            since => now_ms().saturating_sub(since) as f64 / 1e3,
        }
    }

    pub(crate) fn retried(&self, reason: Reason) {
        let at = Reason::ALL.iter().position(|r| *r == reason);
        self.retries[at.unwrap_or(0)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refuse(&self, reason: &str, entries: u64) {
        let find = |name: &str| REASON_NAMES.iter().position(|r| *r == name);
        let at = find(reason).or_else(|| find(OTHER)).unwrap_or(0);
        self.refused[at].fetch_add(entries, Ordering::Relaxed);
    }

    pub(crate) fn too_large(&self, entries: u64) {
        self.refuse(TOO_LARGE, entries);
    }
}

/// Milliseconds since 1970; 0 before.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as u64)
}
