//! The typed plan of a query, and its leaves.

use crate::matcher::Matcher;
use crate::pipeline::Pipeline;

/// Evaluation instants of a metric query, nanoseconds since the epoch: `start, start+step, ... <= end`.
/// `step` is at least 1; an instant query has `start == end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    /// First instant.
    pub start: i64,
    /// No instant lies beyond.
    pub end: i64,
    /// Distance of two instants.
    pub step: i64,
}

/// Order of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

/// Leaf: entries of a selector through a pipeline, `start <= ts < end`.
#[derive(Debug, Clone)]
pub struct LogLeaf {
    /// Stream selector.
    pub matchers: Vec<Matcher>,
    /// Stages.
    pub pipeline: Pipeline,
}

/// Leaf: a range aggregation over a selector and pipeline.
#[derive(Debug, Clone)]
pub struct RangeLeaf {
    /// Stream selector.
    pub matchers: Vec<Matcher>,
    /// Stages.
    pub pipeline: Pipeline,
    // op, range, offset, grouping (own or pushed down from a directly enclosing `sum`): private to logql;
    // see eval::Accumulator
}

/// What of an entry an aggregation needs, beyond what the pipeline needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Only that the entry exists: counts (`count_over_time`, `rate`).
    Count,
    /// The length of the line as the pipeline left it (`bytes_over_time`, `bytes_rate`).
    Bytes,
    /// A value from a label (`unwrap`), in time order within a stream.
    Value,
}

impl RangeLeaf {
    /// What the aggregation needs of an entry.
    #[must_use]
    pub fn needs(&self) -> Needs {
        unimplemented!()
    }
    /// Entries that any window can hold: `first < ts <= last`, offset applied, saturating.
    #[must_use]
    pub fn span(&self, _steps: Steps) -> (i64, i64) {
        unimplemented!()
    }
    /// Whether every window edge lies on a multiple of `bucket` ns (offset applied), so that entries counted in
    /// buckets `(k*bucket, (k+1)*bucket]` can be added as a whole.
    #[must_use]
    pub fn aligned_to(&self, _steps: Steps, _bucket: i64) -> bool {
        unimplemented!()
    }
}

/// A parsed and checked query, ready to run.
#[derive(Debug, Clone)]
pub enum Plan {
    /// Entries.
    Log(LogLeaf),
    /// Samples; the tree of vector operations over [`RangeLeaf`]s is private to logql.
    Metric(MetricPlan),
}

/// The tree of a metric query.
#[derive(Debug, Clone)]
pub struct MetricPlan {}
