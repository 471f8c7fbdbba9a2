//! Writing a backlog without disturbing others on the same card.
//!
//! A node that starts with gigabytes of old logs fills the head as fast as it reads, and flush follows flush. Written at
//! once, each would be a burst of dirty pages in front of a neighbour's `fdatasync` (etcd, kine). So while flushes follow
//! each other the file goes out in pieces, with a rest after each: at no time more than a piece waits for the device. A
//! piece is handed to the device without a sync of its own: that would be one more journal commit, which is what the
//! neighbour waits for. Device flushes stay four for each segment.

use std::time::{Duration, Instant};

use crate::store::Inner;

/// Bytes handed to the device at once: some 25 ms of a slow card, half a millisecond of a good one.
const PIECE_BYTES: u64 = 256 << 10;
/// Flushes with less time between them are those of a backlog. At 5,000 lines/s they are some 18 s apart.
const BACKLOG: Duration = Duration::from_secs(10);
/// Logs shrink to about a fifth; written bytes may be half of the read ones before writing holds up reading.
const WRITTEN_SHARE: u64 = 2;

/// Whether a flush for size, frozen now, belongs to a backlog.
pub(crate) fn is_backlog(last_flush: Option<Instant>, now: Instant) -> bool {
    last_flush.is_some_and(|at| now.duration_since(at) < BACKLOG)
}

/// How a segment is written.
#[derive(Debug)]
pub(crate) struct Pace<'a> {
    inner: &'a Inner,
    /// Bytes a second; `None`: as fast as it goes.
    rate: Option<u64>,
}

impl<'a> Pace<'a> {
    /// At the store's rate if `backlog`, else unbounded.
    pub(crate) fn new(inner: &'a Inner, backlog: bool) -> Pace<'a> {
        let rate = inner.tuning().catch_up_rate.filter(|_| backlog);
        Pace {
            inner,
            rate: rate.map(|rate| (rate / WRITTEN_SHARE).max(1)),
        }
    }

    /// Bytes after which to hand over a piece and to [`Pace::rest`].
    pub(crate) fn piece(&self) -> Option<u64> {
        self.rate.map(|_| PIECE_BYTES)
    }

    /// Rests after a piece; not while somebody waits for the flush.
    pub(crate) fn rest(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let until = Instant::now() + Duration::from_secs_f64(bytes as f64 / rate as f64);
        let mut state = self.inner.lock();
        while !state.is_hurried() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.inner.wait(&self.inner.wake, state, left);
        }
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
