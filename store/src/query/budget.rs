//! What a query may use, and what it used.

use logql::eval::{EvalError, Grants as _, over_budget};

use super::Limits;
use crate::api::{Cancel, QueryStats};
use crate::clock::{Clock as _, SystemClock};
use crate::segment::Probe;
use logql::pipeline::Pipeline;

/// Bytes of work between two looks at deadline and client: some hundred lines, a millisecond on a small node.
const LOOK: usize = 64 << 10;
/// What an entry costs beside its bytes, in bytes.
const ENTRY: usize = 64;

/// Bytes that a helper may hold: its buffers and what it made of blocks that wait to be merged.
pub(super) const HELPER: usize = 3 << 19;
/// Bytes that a helper may make of one block.
pub(super) const PART: usize = 256 << 10;

/// Limits and counters of one query, on its own thread.
#[derive(Debug)]
pub(super) struct Budget<'q> {
    /// Bytes the query may hold.
    pub(super) memory: usize,
    /// Bytes of these that other parts of the query hold.
    pub(super) held: usize,
    /// Bytes that the query may hold beside other queries, as far as is known.
    granted: usize,
    /// Whether the skip index is asked.
    skips: bool,
    /// Bytes of lines it may look at; `None`: no bound.
    max_scanned: Option<u64>,
    /// Deadline and client.
    pub(super) cancel: &'q Cancel,
    /// Counters for the answer.
    pub(super) stats: QueryStats,
    /// What templates take for now: the time when the query began.
    pub(super) now: i64,
    /// Blocks that it scans alone before it gets helpers, and how many threads it may have.
    pub(super) crew: (usize, usize),
    /// Bytes that the automata of its regexes may take, for each thread.
    regexes: usize,
}

impl<'q> Budget<'q> {
    /// Nothing used yet.
    pub(super) fn new(limits: Limits, regexes: usize, cancel: &'q Cancel) -> Budget<'q> {
        Budget {
            memory: limits.memory,
            held: 0,
            granted: 0,
            skips: limits.skips,
            max_scanned: limits.scanned,
            cancel,
            stats: QueryStats::default(),
            now: SystemClock::new().wall(),
            crew: (limits.alone, limits.threads),
            regexes,
        }
    }

    /// What the skip index is asked for, if anything.
    pub(super) fn probe(&self, pipeline: &Pipeline) -> Option<Probe> {
        let needle = pipeline.needle().filter(|_| self.skips);
        needle.as_ref().map(Probe::new)
    }

    /// Bytes that are left to the part at hand.
    pub(super) fn left(&self) -> usize {
        self.memory.saturating_sub(self.held)
    }

    /// Fails when `used` bytes are more than the query may hold; waits until other queries leave it so many.
    pub(super) fn check(&mut self, used: usize) -> Result<(), EvalError> {
        self.check_beside(used, 0).map(drop)
    }

    /// The same; whether there is room for helpers that hold `crew` bytes, too.
    pub(super) fn check_beside(&mut self, used: usize, crew: usize) -> Result<bool, EvalError> {
        if used > self.left() {
            return Err(over_budget(self.memory));
        }
        let fits = used.saturating_add(crew) <= self.left();
        let all = self.held.saturating_add(used) + if fits { crew } else { 0 };
        if all > self.granted {
            self.granted = self.cancel.grant(all)?;
        }
        Ok(fits)
    }

    /// How many helpers a part that uses so many bytes may have, and the bytes that they may hold. They take no more than
    /// half of what is left.
    pub(super) fn helpers(&mut self, used: usize) -> (usize, usize) {
        let room = self.left().saturating_sub(used) / 2;
        // The owner has buffers for blocks out of order, too.
        let each = HELPER.saturating_add(self.regexes);
        let helpers = (room / each)
            .saturating_sub(1)
            .min(self.crew.1.saturating_sub(1));
        if helpers == 0 || !self.cancel.has_room() {
            return (0, 0);
        }
        let bytes = (helpers + 1) * each;
        match self.cancel.try_grant(self.held + used + bytes) {
            true => (helpers, bytes),
            false => (0, 0),
        }
    }

    /// Counts what was read.
    ///
    /// # Errors
    /// Loki's text, which Grafana knows by its beginning, when they are more bytes than the query may read.
    pub(super) fn spend(&mut self, spent: &QueryStats) -> Result<(), EvalError> {
        self.stats.add(spent);
        match self.max_scanned {
            Some(max) if self.stats.bytes_processed > max => Err(EvalError::Limit(format!(
                "the query would read too many bytes (query: {}, limit: {}); consider adding more specific stream \
                 selectors or reduce the time range of the query",
                binary_bytes(self.stats.bytes_processed),
                binary_bytes(max)
            ))),
            _ => Ok(()),
        }
    }
}

/// Looks at deadline, client and other queries while entries run through a pipeline.
#[derive(Debug, Clone)]
pub(super) struct Look {
    cancel: Cancel,
    /// Work since the last look.
    unseen: usize,
}

impl Look {
    pub(super) fn new(cancel: &Cancel) -> Look {
        Look {
            cancel: cancel.clone(),
            unseen: 0,
        }
    }

    /// Before a block.
    ///
    /// # Errors
    /// When the query is to end.
    pub(super) fn at_block(&self) -> Result<(), EvalError> {
        self.cancel.check()
    }

    /// Counts an entry that runs through the pipeline, with the bytes of its line and what the last one cost beyond. Within a
    /// block, whose lines a slow pipeline may spend seconds on, this is where deadline and client are looked at.
    ///
    /// # Errors
    /// When the query is to end.
    #[inline]
    pub(super) fn ran(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.unseen += bytes + ENTRY;
        if self.unseen < LOOK {
            return Ok(());
        }
        self.unseen = 0;
        self.cancel.check()
    }
}

/// As Loki writes sizes in messages: `73 KiB`, `1.0 KiB`, `12 B`.
fn binary_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 10 {
        return format!("{bytes} B");
    }
    let unit = bytes.ilog2() as usize / 10;
    // Rounded half up at the digit shown.
    let tenths = (u128::from(bytes) * 10 + (1 << (10 * unit)) / 2) >> (10 * unit);
    if tenths < 100 {
        return format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]);
    }
    format!("{} {}", (tenths + 5) / 10, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::binary_bytes;

    #[test]
    fn sizes_are_written_as_in_messages_of_loki() {
        for (bytes, text) in [
            (0, "0 B"),
            (9, "9 B"),
            (12, "12 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (74_752, "73 KiB"),
            (10_000, "9.8 KiB"),
            (32 << 30, "32 GiB"),
            (u64::MAX, "16 EiB"),
        ] {
            assert_eq!(binary_bytes(bytes), text);
        }
    }
}
