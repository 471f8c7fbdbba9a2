//! Evaluation: vector operations over leaves that somebody else computes.

use crate::pipeline::Outcome;
use crate::plan::{Direction, LogLeaf, RangeLeaf, Steps};
use crate::value::{Logs, Matrix};

/// Why a query failed while running. HTTP statuses are the caller's business.
#[derive(Debug)]
pub enum EvalError {
    /// The query is at fault (too many series, pipeline error, ...): Loki's 400 and text.
    Bad(String),
    /// Vector matching and the like: Loki's 500 and text.
    Execution(String),
    /// A limit of ours: memory, bytes scanned. The text names limit and value.
    Limit(String),
    /// The deadline passed.
    Timeout,
    /// The client went away.
    Cancelled,
    /// The data could not be read.
    Storage(Box<dyn std::error::Error + Send + Sync>),
}

/// The leaf work, over one node's data. A later implementation asks peers and merges.
pub trait Leaf {
    /// Entries with `start <= ts < end` in `direction`, at most `limit`.
    ///
    /// # Errors
    /// See [`EvalError`].
    fn logs(
        &self,
        leaf: &LogLeaf,
        start: i64,
        end: i64,
        limit: usize,
        direction: Direction,
    ) -> Result<Logs, EvalError>;
    /// The aggregation at every step.
    ///
    /// # Errors
    /// See [`EvalError`].
    fn range(&self, leaf: &RangeLeaf, steps: Steps) -> Result<Matrix, EvalError>;
}

/// Names a series inside one [`Accumulator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesId(pub u32);

/// Computes a range aggregation from entries given in any order of streams (within a stream in time order when
/// [`Needs::Value`](crate::plan::Needs::Value)). Memory is series x steps, bounded by `budget`.
#[derive(Debug)]
pub struct Accumulator<'p> {
    _leaf: &'p RangeLeaf,
}

impl<'p> Accumulator<'p> {
    /// An empty accumulator that may use `budget` bytes and hold `max_series` series.
    #[must_use]
    pub fn new(_leaf: &'p RangeLeaf, _steps: Steps, _max_series: usize, _budget: usize) -> Self {
        unimplemented!()
    }
    /// The series that an entry with these output labels belongs to (grouping applied). Callers cache it per
    /// (stream, metadata) when the pipeline sets no labels.
    ///
    /// # Errors
    /// [`EvalError::Bad`] over `max_series`, [`EvalError::Limit`] over the budget, and pipeline errors.
    pub fn series(&mut self, _outcome: &Outcome<'_>) -> Result<SeriesId, EvalError> {
        unimplemented!()
    }
    /// Adds one entry. `len` is the line's length in bytes.
    pub fn add(&mut self, _series: SeriesId, _ts: i64, _len: usize) {
        unimplemented!()
    }
    /// Adds all entries of a bucket `(edge - bucket, edge]`, when [`RangeLeaf::aligned_to`] said so.
    pub fn add_bucket(&mut self, _series: SeriesId, _edge: i64, _entries: u64, _bytes: u64) {
        unimplemented!()
    }
    /// Adds what another worker collected for the same leaf.
    ///
    /// # Errors
    /// As [`Accumulator::series`].
    pub fn merge(&mut self, _other: Accumulator<'p>) -> Result<(), EvalError> {
        unimplemented!()
    }
    /// The result.
    #[must_use]
    pub fn finish(self) -> Matrix {
        unimplemented!()
    }
    /// Bytes in use, for the query's budget.
    #[must_use]
    pub fn memory(&self) -> usize {
        unimplemented!()
    }
}

/// Evaluates a metric query at every step.
///
/// # Errors
/// See [`EvalError`].
pub fn metric_range(
    _plan: &crate::plan::MetricPlan,
    _steps: Steps,
    _leaf: &dyn Leaf,
) -> Result<crate::value::Value, EvalError> {
    unimplemented!()
}

/// Evaluates a metric query at one instant: a vector or a scalar.
///
/// # Errors
/// See [`EvalError`].
pub fn metric_instant(
    _plan: &crate::plan::MetricPlan,
    _time: i64,
    _leaf: &dyn Leaf,
) -> Result<crate::value::Value, EvalError> {
    unimplemented!()
}
