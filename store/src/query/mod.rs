//! Queries over the head and the segments.
//!
//! - A query sees one state of the store: first a snapshot of the head, then the segments that the snapshot says are
//!   not part of it. An entry that is flushed meanwhile is seen once.
//! - Segments are opened one after the other and closed when nothing of them is left to look at; what is held of
//!   them are the chunk rows of one segment (metric queries) or of those that overlap in time (log queries).
//! - Memory: one set of column buffers, the entries up to the limit or the accumulator, the label sets of the
//!   selected streams. All of it counts against the query's budget.
//! - A block or segment that cannot be read is counted, warned of once, and left out.
//!
//! | what is asked | what is read |
//! |---|---|
//! | counts and bytes over whole minutes, no pipeline | minute tables, no block |
//! | counts and bytes otherwise, and values of labels, without a look at the line | times, metadata; for bytes the lengths too, which in most blocks on disk only the lines tell |
//! | entries; anything that looks at the line | lines, and the other columns if a line may pass the first filter; before that the skip index, if the filters need some text |

mod block;
mod budget;
mod chunk;
mod crew;
mod damage;
pub(crate) mod duplicates;
mod gate;
mod listing;
mod logs;
mod range;
mod select;
mod shared;

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use logql::eval::{EvalError, Grants, Leaf, metric_instant, metric_range};
use logql::plan::{Direction, LogLeaf, Plan, RangeLeaf, Steps};
use logql::value::{Logs, Matrix, Value};

pub use damage::Damage;
pub(crate) use listing::{label_names, label_values, series};
pub use shared::Shared;
pub(crate) use shared::Turn;

use crate::api::{Cancel, QueryStats, Request, Store};
use crate::head;
use crate::index::{Index, SegmentKey};
use crate::segment::{self, Reader, SegmentEntry, SegmentError};
use crate::store::Inner;
use budget::Budget;

/// The store as queries see it.
pub(crate) trait View: std::fmt::Debug {
    /// A snapshot of the head.
    fn head(&self, want: &mut head::Want<'_>) -> Result<head::Snapshot, head::OverBudget>;
    /// All segments.
    fn segments(&self) -> Vec<SegmentEntry>;
    /// Opens one.
    fn open(&self, segment: &SegmentEntry) -> Result<Reader, SegmentError>;
    /// The index.
    fn index(&self) -> &Index;
    /// Where damage is reported.
    fn damage(&self) -> &Damage;
}

impl View for Inner {
    fn head(&self, want: &mut head::Want<'_>) -> Result<head::Snapshot, head::OverBudget> {
        // The lock ends with the draft: the rest needs no lock.
        let draft = self.lock().head.snapshot(want)?;
        Ok(draft.finish())
    }

    fn segments(&self) -> Vec<SegmentEntry> {
        self.lock().head.segments().to_vec()
    }

    fn open(&self, segment: &SegmentEntry) -> Result<Reader, SegmentError> {
        let name = segment::file_name(segment.sequence);
        Reader::open(&*self.disk, &self.segments.join(name))
    }

    fn index(&self) -> &Index {
        &self.index
    }

    fn damage(&self) -> &Damage {
        &self.damage
    }
}

impl Store {
    /// Throws the index away and builds it again from the segments. Queries go on meanwhile. False when it could
    /// not be built; the segments then answer alone.
    pub fn rebuild_index(&self) -> bool {
        self.inner.index.discard();
        reconcile(&*self.inner);
        !self.inner.index.stale()
    }
}

/// Blocks that a query scans alone before it gets helpers: some milliseconds, which most queries do not last.
pub(crate) const ALONE: usize = 16;

/// Bounds of one query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes it may hold.
    pub(crate) memory: usize,
    /// Series of a metric query.
    pub(crate) series: usize,
    /// Bytes of lines it may look at; `None`: no bound.
    pub(crate) scanned: Option<u64>,
    /// Threads it may have; 1: its own.
    pub(crate) threads: usize,
    /// Blocks that it scans before it has more than one.
    pub(crate) alone: usize,
    /// Whether it asks the skip index.
    pub(crate) skips: bool,
}

impl Limits {
    fn of_metrics(self) -> logql::eval::Limits {
        logql::eval::Limits {
            series: self.series,
            memory: self.memory,
        }
    }
}

/// Runs a query. See [`Store::query`](crate::api::Store::query).
pub(crate) fn run(
    view: &dyn View,
    limits: Limits,
    plan: &Plan,
    request: &Request,
    cancel: &Cancel,
) -> Result<(Value, QueryStats), EvalError> {
    cancel.check()?;
    let regexes = match plan {
        Plan::Log(leaf) => leaf.regex_bytes,
        Plan::Metric(plan) => plan.regex_bytes,
    };
    let scan = Scan {
        view,
        limits,
        budget: RefCell::new(Budget::new(limits, regexes, cancel)),
    };
    let value = match (plan, request) {
        (
            Plan::Log(leaf),
            Request::Range {
                start,
                end,
                limit,
                direction,
                ..
            },
        ) => Value::Logs(scan.logs(leaf, *start, *end, *limit, *direction)?),
        (Plan::Log(_), Request::Instant { .. }) => {
            return Err(EvalError::Bad(
                "log queries are not supported as an instant query type, please change your query to a range query \
                 type"
                    .into(),
            ));
        }
        (
            Plan::Metric(plan),
            Request::Range {
                start, end, step, ..
            },
        ) => {
            let steps = Steps {
                start: *start,
                end: *end,
                step: (*step).max(1),
            };
            metric_range(plan, steps, limits.of_metrics(), &scan)?
        }
        (Plan::Metric(plan), Request::Instant { time }) => {
            metric_instant(plan, *time, limits.of_metrics(), &scan)?
        }
    };
    let mut stats = scan.budget.into_inner().stats;
    stats.entries_returned = match &value {
        Value::Logs(logs) => logs.entries.len() as u64,
        Value::Matrix(m) => m.series.iter().map(|s| s.points.len() as u64).sum(),
        Value::Vector(v) => v.len() as u64,
        Value::Scalar(..) => 1,
    };
    Ok((value, stats))
}

/// The leaves of one query over one store.
struct Scan<'q> {
    view: &'q dyn View,
    limits: Limits,
    budget: RefCell<Budget<'q>>,
}

impl Leaf for Scan<'_> {
    fn logs(
        &self,
        leaf: &LogLeaf,
        start: i64,
        end: i64,
        limit: usize,
        direction: Direction,
    ) -> Result<Logs, EvalError> {
        let budget = &mut *self.budget.borrow_mut();
        logs::logs(self.view, leaf, (start, end), (limit, direction), budget)
    }

    fn range(&self, leaf: &RangeLeaf, steps: Steps, held: usize) -> Result<Matrix, EvalError> {
        let budget = &mut *self.budget.borrow_mut();
        budget.held = held;
        range::range(self.view, leaf, steps, self.limits.series, budget)
    }

    fn grants(&self) -> Option<Arc<dyn Grants>> {
        let cancel = self.budget.borrow().cancel.clone();
        Some(Arc::new(cancel))
    }
}

/// Brings the index in line with the segments: at start, and after a fault. Never fails.
pub(crate) fn reconcile(view: &dyn View) {
    let segments: HashMap<u64, SegmentEntry> = view
        .segments()
        .into_iter()
        .map(|s| (s.sequence, s))
        .collect();
    let keys: Vec<SegmentKey> = segments.values().map(SegmentKey::from).collect();
    view.index().reconcile(&keys, |key| {
        let segment = segments
            .get(&key.sequence)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let reader = view.open(segment).map_err(io::Error::other)?;
        reader.streams().map_err(io::Error::other)
    });
}

fn storage(error: io::Error) -> EvalError {
    EvalError::Storage(Box::new(error))
}

#[cfg(test)]
mod tests;
