//! Evaluation: vector operations over leaves that somebody else computes.

mod accumulate;
#[cfg(test)]
mod accumulate_tests;
mod aggregate;
pub(crate) mod arithmetic;
mod binary;
#[cfg(test)]
mod tests;

pub use accumulate::{Accumulator, SeriesId};

use crate::ast::Grouping;
use crate::plan::{Direction, LogLeaf, MetricPlan, Node, RangeLeaf, Steps};
use crate::value::{Logs, Matrix, Series, SeriesLabels, Value};

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

impl std::fmt::Display for EvalError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EvalError::Bad(text) | EvalError::Execution(text) | EvalError::Limit(text) => {
                f.write_str(text)
            }
            EvalError::Timeout => f.write_str("the query's deadline passed"),
            EvalError::Cancelled => f.write_str("the client went away"),
            EvalError::Storage(_) => f.write_str("the data could not be read"),
        }
    }
}

impl std::error::Error for EvalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EvalError::Storage(error) => Some(&**error),
            _ => None,
        }
    }
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

/// Whether an answer has no more series than a query may have. To be asked of the value of [`metric_range`] or
/// [`metric_instant`].
///
/// # Errors
/// [`EvalError::Bad`] with Loki's text.
pub fn check_series(value: &Value, max_series: usize) -> Result<(), EvalError> {
    let series = match value {
        Value::Matrix(matrix) => matrix.series.len(),
        Value::Vector(samples) => samples.len(),
        Value::Logs(_) | Value::Scalar(..) => 0,
    };
    if series > max_series {
        return Err(EvalError::Bad(accumulate::too_many_series(max_series)));
    }
    Ok(())
}

/// Evaluates a metric query at every step. The answer is a matrix, in label order.
///
/// # Errors
/// See [`EvalError`].
pub fn metric_range(plan: &MetricPlan, steps: Steps, leaf: &dyn Leaf) -> Result<Value, EvalError> {
    let mut matrix = evaluate(&plan.root, steps, leaf)?;
    matrix.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Ok(Value::Matrix(matrix))
}

/// Evaluates a metric query at one instant: a vector or a scalar.
///
/// # Errors
/// See [`EvalError`].
pub fn metric_instant(plan: &MetricPlan, time: i64, leaf: &dyn Leaf) -> Result<Value, EvalError> {
    if let Node::Literal(value) = plan.root {
        return Ok(Value::Scalar(time, value));
    }
    let steps = Steps {
        start: time,
        end: time,
        step: 1,
    };
    let matrix = evaluate(&plan.root, steps, leaf)?;
    let mut vector: Vec<(SeriesLabels, i64, f64)> = matrix
        .series
        .into_iter()
        .filter_map(|series| {
            let (at, value) = *series.points.first()?;
            Some((series.labels, at, value))
        })
        .collect();
    if !plan.sorted {
        vector.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Ok(Value::Vector(vector))
}

/// The matrix of a node. The tree's height is bounded by the parser.
fn evaluate(node: &Node, steps: Steps, leaf: &dyn Leaf) -> Result<Matrix, EvalError> {
    match node {
        Node::Leaf(range) => leaf.range(range, steps),
        Node::Literal(value) | Node::VectorOf(value) => Ok(constant(*value, steps)),
        Node::Aggregate {
            op,
            grouping,
            inner,
        } => {
            let inner = evaluate(inner, steps, leaf)?;
            Ok(aggregate::aggregate(*op, grouping, inner, steps))
        }
        Node::Binary(binary) => match (&binary.left, &binary.right) {
            (Node::Literal(left), right) => {
                let right = evaluate(right, steps, leaf)?;
                Ok(binary::with_scalar(binary, right, *left, true))
            }
            (left, Node::Literal(right)) => {
                let left = evaluate(left, steps, leaf)?;
                Ok(binary::with_scalar(binary, left, *right, false))
            }
            (left, right) => {
                let left = evaluate(left, steps, leaf)?;
                let right = evaluate(right, steps, leaf)?;
                binary::vectors(binary, left, right, steps)
            }
        },
    }
}

/// One series without labels, with a point at every step.
fn constant(value: f64, steps: Steps) -> Matrix {
    let points = (0..steps.count()).map(|i| (steps.at(i), value)).collect();
    let series = Series {
        labels: SeriesLabels::new(),
        points,
    };
    Matrix {
        series: vec![series],
    }
}

/// Whether a grouping keeps a label.
fn keeps(grouping: &Grouping, name: &str) -> bool {
    let named = grouping.names.iter().any(|n| n == name);
    if grouping.without {
        !named && name != "__name__"
    } else {
        named
    }
}
