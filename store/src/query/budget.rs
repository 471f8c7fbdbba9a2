//! What a query may use, and what it used.

use logql::eval::{EvalError, over_budget};

use crate::api::{Cancel, QueryStats};
use crate::clock::{Clock as _, SystemClock};

/// Limits and counters of one query.
#[derive(Debug)]
pub(super) struct Budget<'q> {
    /// Bytes the query may hold.
    pub(super) memory: usize,
    /// Bytes of these that other parts of the query hold.
    pub(super) held: usize,
    /// Deadline and client.
    pub(super) cancel: &'q Cancel,
    /// Counters for the answer.
    pub(super) stats: QueryStats,
    /// What templates take for now: the time when the query began.
    pub(super) now: i64,
}

impl<'q> Budget<'q> {
    /// Nothing used yet.
    pub(super) fn new(memory: usize, cancel: &'q Cancel) -> Budget<'q> {
        Budget {
            memory,
            held: 0,
            cancel,
            stats: QueryStats::default(),
            now: SystemClock::new().wall(),
        }
    }

    /// Bytes that are left to the part at hand.
    pub(super) fn left(&self) -> usize {
        self.memory.saturating_sub(self.held)
    }

    /// Fails when `used` bytes are more than the query may hold.
    pub(super) fn check(&self, used: usize) -> Result<(), EvalError> {
        if used <= self.left() {
            return Ok(());
        }
        Err(over_budget(self.memory))
    }
}
