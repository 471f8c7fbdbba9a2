//! Evaluation: vector operations over leaves that somebody else computes.

mod accumulate;
#[cfg(test)]
mod accumulate_tests;
mod aggregate;
pub(crate) mod arithmetic;
mod batch;
mod binary;
mod counts;
mod folds;
mod keys;
mod label_replace;
mod label_sets;
mod memory;
#[cfg(test)]
mod model_tests;
mod namer;
mod partial;
mod samples;
#[cfg(test)]
mod tests;
mod top;
#[cfg(test)]
mod vector_model_tests;
mod windows;

pub use accumulate::{Accumulator, Collect, Known, SeriesId};
pub use batch::{Batch, Collector, Names};
pub(crate) use label_replace::LabelReplacer;
pub use memory::{Grants, over_budget};
pub use top::{Arrival, KnownLabels, Top};

use std::sync::Arc;

use crate::ast::Grouping;
use crate::plan::{
    AggregateOp, BinaryNode, Direction, LogLeaf, MetricPlan, Node, RangeLeaf, Steps,
};
use crate::value::{Logs, Matrix, Series, SeriesLabels, Value};
use memory::{Memory, POINT};

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
    /// The aggregation at every step. `held` bytes are held by other parts of the query meanwhile.
    ///
    /// # Errors
    /// See [`EvalError`].
    fn range(&self, leaf: &RangeLeaf, steps: Steps, held: usize) -> Result<Matrix, EvalError>;
    /// Whoever grants memory for what is made of the leaves; `None`: nobody has to.
    fn grants(&self) -> Option<Arc<dyn Grants>> {
        None
    }
}

/// Bounds of a metric query.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Series that the answer may have, over all steps.
    pub series: usize,
    /// Bytes that it may hold at once.
    pub memory: usize,
}

/// Evaluates a metric query at every step. The answer is a matrix, in label order.
///
/// # Errors
/// See [`EvalError`].
pub fn metric_range(
    plan: &MetricPlan,
    steps: Steps,
    limits: Limits,
    leaf: &dyn Leaf,
) -> Result<Value, EvalError> {
    let mut evaluation = Evaluation {
        steps,
        instant: false,
        leaf,
        memory: Memory::new(limits.memory),
    };
    evaluation.memory.granted_by(leaf.grants());
    evaluation.memory.take(plan.regex_bytes)?;
    let mut matrix = match plan.root {
        Node::Literal(value) => evaluation.constant(value)?,
        _ => evaluation.node(&plan.root)?,
    };
    matrix.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    join_equal(&mut matrix);
    check_series(matrix.series.len(), limits)?;
    Ok(Value::Matrix(matrix))
}

/// Evaluates a metric query at one instant: a vector or a scalar.
///
/// # Errors
/// See [`EvalError`].
pub fn metric_instant(
    plan: &MetricPlan,
    time: i64,
    limits: Limits,
    leaf: &dyn Leaf,
) -> Result<Value, EvalError> {
    if let Node::Literal(value) = plan.root {
        return Ok(Value::Scalar(time, value));
    }
    let mut evaluation = Evaluation {
        steps: Steps {
            start: time,
            end: time,
            step: 1,
        },
        instant: true,
        leaf,
        memory: Memory::new(limits.memory),
    };
    evaluation.memory.granted_by(leaf.grants());
    evaluation.memory.take(plan.regex_bytes)?;
    let matrix = evaluation.node(&plan.root)?;
    let mut vector: Vec<(SeriesLabels, i64, f64)> = matrix
        .series
        .into_iter()
        .filter_map(|series| {
            let (at, value) = *series.points.first()?;
            Some((series.labels, at, value))
        })
        .collect();
    check_series(vector.len(), limits)?;
    if !plan.sorted {
        vector.sort_by(|a, b| a.0.cmp(&b.0));
    }
    Ok(Value::Vector(vector))
}

fn check_series(series: usize, limits: Limits) -> Result<(), EvalError> {
    if series > limits.series {
        return Err(EvalError::Bad(accumulate::too_many_series(limits.series)));
    }
    Ok(())
}

/// Makes one series of neighbours with the same labels: `label_replace` may have made them equal. Points of the same
/// instant all stay.
fn join_equal(matrix: &mut Matrix) {
    matrix.series.dedup_by(|next, first| {
        let equal = next.labels == first.labels;
        if equal {
            first.points.append(&mut next.points);
            first.points.sort_by_key(|(at, _)| *at);
        }
        equal
    });
}

/// One evaluation of a tree. What is counted in `memory` between operations are the matrices that they wait with.
struct Evaluation<'e> {
    steps: Steps,
    instant: bool,
    leaf: &'e dyn Leaf,
    memory: Memory,
}

impl Evaluation<'_> {
    /// The matrix of a node, counted. The tree's height is bounded by the parser.
    fn node(&mut self, node: &Node) -> Result<Matrix, EvalError> {
        let held = self.memory.used();
        let matrix = match node {
            Node::Leaf(range) => self.leaf.range(range, self.steps, held)?,
            Node::VectorOf(value) => self.constant(*value)?,
            Node::Literal(_) => {
                // Only operators take numbers.
                return Err(EvalError::Execution(
                    "unexpected expr type (*syntax.LiteralExpr) for Evaluator type (*logql.DefaultEvaluator) "
                        .to_owned(),
                ));
            }
            Node::Aggregate {
                op,
                grouping,
                inner,
            } => self.aggregate(*op, grouping, inner)?,
            Node::LabelReplace(replace) => {
                let mut matrix = self.node(&replace.inner)?;
                replace.replacer.apply(&mut matrix, &mut self.memory)?;
                matrix
            }
            Node::Binary(binary) => self.binary(binary)?,
        };
        self.memory.give(self.memory.used() - held);
        self.memory.take(memory::of_matrix(&matrix))?;
        Ok(matrix)
    }

    fn aggregate(
        &mut self,
        op: AggregateOp,
        grouping: &Grouping,
        inner: &Node,
    ) -> Result<Matrix, EvalError> {
        if matches!(op, AggregateOp::ApproxTopK(_)) && !self.instant {
            return Err(EvalError::Execution(
                "count min sketches are only supported on instant queries".to_owned(),
            ));
        }
        let mut inner = self.node(inner)?;
        let (steps, memory) = (self.steps, &mut self.memory);
        match op {
            AggregateOp::Sort | AggregateOp::SortDesc => {
                if self.instant {
                    aggregate::sort(&mut inner, op == AggregateOp::SortDesc);
                }
                Ok(inner)
            }
            AggregateOp::TopK(k) | AggregateOp::ApproxTopK(k) => {
                aggregate::best((k, true), grouping, inner, steps, memory)
            }
            AggregateOp::BottomK(k) => aggregate::best((k, false), grouping, inner, steps, memory),
            _ => aggregate::fold(op, grouping, inner, steps, memory),
        }
    }

    fn binary(&mut self, binary: &BinaryNode) -> Result<Matrix, EvalError> {
        match (&binary.left, &binary.right) {
            (Node::Literal(left), right) => {
                let right = self.node(right)?;
                Ok(binary::with_scalar(binary, right, *left, true))
            }
            (left, Node::Literal(right)) => {
                let left = self.node(left)?;
                Ok(binary::with_scalar(binary, left, *right, false))
            }
            (left, right) => {
                let left = self.node(left)?;
                let right = self.node(right)?;
                binary::vectors(binary, left, right, self.steps, &mut self.memory)
            }
        }
    }

    /// One series without labels, with a point at every step.
    fn constant(&mut self, value: f64) -> Result<Matrix, EvalError> {
        let steps = self.steps;
        self.memory.take(steps.count().saturating_mul(POINT))?;
        let points = (0..steps.count()).map(|i| (steps.at(i), value)).collect();
        let series = Series {
            labels: SeriesLabels::new(),
            points,
        };
        Ok(Matrix {
            series: vec![series],
        })
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
