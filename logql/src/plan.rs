//! The typed plan of a query, and its leaves.

mod metric;

use crate::ParseError;
use crate::ast::{Expr, Grouping, LogExpr, Matching};
use crate::eval::LabelReplacer;
use crate::matcher::Matcher;
use crate::pipeline::{Around, Pipeline};
use crate::regexes::Budget;

pub(crate) use metric::fold;

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

/// Most points of a series that one answer may have, before [`Steps::aligned`]: Loki's limit.
const MAX_POINTS: i64 = 11_000;

impl Steps {
    /// The instants of a range query: if `align` says so, on multiples of the step, the first at or before `start`, the
    /// last at or after `end`, as Loki's query frontend has them.
    #[must_use]
    pub fn of_range(start: i64, end: i64, step: i64, align: bool) -> Steps {
        let step = step.max(1);
        if !align {
            return Steps { start, end, step };
        }
        Steps {
            start: start.saturating_sub(start.rem_euclid(step)),
            end: match end.rem_euclid(step) {
                0 => end,
                over => end.saturating_add(step - over),
            },
            step,
        }
    }

    /// Whether a range has more instants than an answer may have.
    #[must_use]
    pub fn too_many(start: i64, end: i64, step: i64) -> bool {
        (i128::from(end) - i128::from(start)) / i128::from(step.max(1)) > i128::from(MAX_POINTS)
    }

    /// How many instants there are; 0 if the end lies before the start.
    #[must_use]
    pub fn count(&self) -> usize {
        if self.end < self.start {
            return 0;
        }
        let span = i128::from(self.end) - i128::from(self.start);
        usize::try_from(span / i128::from(self.step.max(1)) + 1).unwrap_or(usize::MAX)
    }

    /// The instant of an index below [`Steps::count`].
    #[must_use]
    pub fn at(&self, index: usize) -> i64 {
        let index = i64::try_from(index).unwrap_or(i64::MAX);
        self.start.saturating_add(self.step.saturating_mul(index))
    }

    /// The index of an instant.
    pub(crate) fn index(&self, time: i64) -> usize {
        let index = match time.checked_sub(self.start) {
            Some(span) => i128::from(span / self.step.max(1)),
            None => (i128::from(time) - i128::from(self.start)) / i128::from(self.step.max(1)),
        };
        usize::try_from(index).unwrap_or(0)
    }
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
    /// Bytes that its regexes take once they have run.
    pub regex_bytes: usize,
}

/// What a range aggregation computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum RangeOp {
    Count,
    Rate,
    Bytes,
    BytesRate,
    Sum,
    /// `rate` of unwrapped values.
    SumRate,
    Avg,
    Min,
    Max,
    Stdvar,
    Stddev,
    Quantile(f64),
    First,
    Last,
    RateCounter,
    Absent,
}

/// Leaf: a range aggregation over a selector and pipeline.
#[derive(Debug, Clone)]
pub struct RangeLeaf {
    /// Stream selector.
    pub matchers: Vec<Matcher>,
    /// Stages.
    pub pipeline: Pipeline,
    pub(crate) op: RangeOp,
    /// Nanoseconds.
    pub(crate) range: i64,
    /// Nanoseconds.
    pub(crate) offset: i64,
    /// Samples are numbers from a label.
    pub(crate) unwraps: bool,
    /// Its own, or that of a directly enclosing `sum`.
    pub(crate) grouping: Option<Grouping>,
    /// Whether the grouping is that of a `sum`.
    pub(crate) joined: bool,
    /// Each of its series is one of the answer, so that the limit on series holds for them.
    pub(crate) limited: bool,
}

/// What of an entry an aggregation needs, beyond what the pipeline needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Only that the entry exists: counts (`count_over_time`, `rate`).
    Count,
    /// The length of the line as the pipeline left it (`bytes_over_time`, `bytes_rate`).
    Bytes,
    /// A value from a label (`unwrap`).
    Value,
}

impl RangeLeaf {
    /// What the aggregation needs of an entry.
    #[must_use]
    pub fn needs(&self) -> Needs {
        match self.op {
            _ if self.unwraps => Needs::Value,
            RangeOp::Bytes | RangeOp::BytesRate => Needs::Bytes,
            _ => Needs::Count,
        }
    }

    /// The range in nanoseconds.
    #[must_use]
    pub fn range(&self) -> i64 {
        self.range
    }

    /// The offset in nanoseconds.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// Names of the labels that the answer is grouped by: `None` if it depends on all labels of an entry. Callers may
    /// leave out other labels of what they give to [`crate::eval::Accumulator::series`].
    #[must_use]
    pub fn grouped_by(&self) -> Option<&[String]> {
        match &self.grouping {
            Some(grouping) if !grouping.without => Some(&grouping.names),
            _ => None,
        }
    }

    /// Entries that any window can hold: `first < ts <= last`, offset applied, saturating.
    #[must_use]
    pub fn span(&self, steps: Steps) -> (i64, i64) {
        let last = match steps.count() {
            0 => return (steps.start, steps.start),
            n => steps.at(n - 1),
        };
        let first = steps.start.saturating_sub(self.offset);
        (
            first.saturating_sub(self.range),
            last.saturating_sub(self.offset),
        )
    }

    /// The first edge of a window after a time: entries between two edges that follow each other are all in the same
    /// windows. `i64::MAX` when there is none, or none that a time can have.
    #[must_use]
    pub fn next_edge(&self, steps: Steps, after: i64) -> i64 {
        let (after, step) = (i128::from(after), i128::from(steps.step.max(1)));
        let first_end = i128::from(steps.start) - i128::from(self.offset);
        let next = |first: i128| {
            let number = match after < first {
                true => 0,
                false => (after - first) / step + 1,
            };
            let is_one = number < steps.count() as i128;
            is_one.then(|| first + number * step)
        };
        let ends = next(first_end);
        let begins = next(first_end - i128::from(self.range));
        let edge = ends.into_iter().chain(begins).min();
        edge.and_then(|edge| i64::try_from(edge).ok())
            .unwrap_or(i64::MAX)
    }

    /// Whether every window edge lies on a multiple of `bucket` ns (offset applied), so that entries counted in
    /// buckets `(k*bucket, (k+1)*bucket]` can be added as a whole.
    #[must_use]
    pub fn aligned_to(&self, steps: Steps, bucket: i64) -> bool {
        let Some(first) = steps.start.checked_sub(self.offset) else {
            return false;
        };
        let step_fits = steps.count() <= 1 || steps.step % bucket.max(1) == 0;
        bucket > 0 && step_fits && first % bucket == 0 && self.range % bucket == 0
    }
}

/// A parsed and checked query, ready to run.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "there is one of them a query")]
pub enum Plan {
    /// Entries.
    Log(LogLeaf),
    /// Samples; the tree of vector operations over [`RangeLeaf`]s is private to logql.
    Metric(MetricPlan),
}

/// The tree of a metric query.
#[derive(Debug, Clone)]
pub struct MetricPlan {
    pub(crate) root: Node,
    /// `sort` or `sort_desc` occurs: an instant vector keeps the order of evaluation.
    pub(crate) sorted: bool,
    /// Bytes that the regexes of all leaves take once they have run, for each thread that runs them.
    pub regex_bytes: usize,
}

impl MetricPlan {
    /// The leaves, left to right.
    #[must_use]
    pub fn leaves(&self) -> Vec<&RangeLeaf> {
        let mut leaves = Vec::new();
        collect(&self.root, &mut leaves);
        leaves
    }
}

fn collect<'p>(node: &'p Node, leaves: &mut Vec<&'p RangeLeaf>) {
    match node {
        Node::Leaf(leaf) => leaves.push(leaf),
        Node::Aggregate { inner, .. } => collect(inner, leaves),
        Node::LabelReplace(replace) => collect(&replace.inner, leaves),
        Node::Binary(binary) => {
            collect(&binary.left, leaves);
            collect(&binary.right, leaves);
        }
        Node::Literal(_) | Node::VectorOf(_) => {}
    }
}

/// A vector operation with one operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateOp {
    Sum,
    Avg,
    Min,
    Max,
    Count,
    Stddev,
    Stdvar,
    TopK(usize),
    BottomK(usize),
    ApproxTopK(usize),
    Sort,
    SortDesc,
}

#[derive(Debug, Clone)]
pub(crate) struct BinaryNode {
    pub(crate) op: &'static str,
    pub(crate) bool_result: bool,
    pub(crate) matching: Option<Matching>,
    pub(crate) left: Node,
    pub(crate) right: Node,
}

#[derive(Debug, Clone)]
pub(crate) struct ReplaceNode {
    pub(crate) replacer: LabelReplacer,
    pub(crate) inner: Node,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Leaf(Box<RangeLeaf>),
    Aggregate {
        op: AggregateOp,
        grouping: Grouping,
        inner: Box<Node>,
    },
    Binary(Box<BinaryNode>),
    LabelReplace(Box<ReplaceNode>),
    Literal(f64),
    VectorOf(f64),
}

/// Lowers a checked expression. `budget` is what parsing left for regexes.
pub(crate) fn plan(expr: &Expr, budget: Budget) -> Result<Plan, ParseError> {
    let mut lowering = Lowering {
        budget,
        sorted: false,
    };
    if let Expr::Log(log) = expr {
        let (matchers, pipeline) = lowering.log(log, &Around::LOGS)?;
        return Ok(Plan::Log(LogLeaf {
            matchers,
            pipeline,
            regex_bytes: lowering.budget.used(),
        }));
    }
    let root = lowering.root(expr)?;
    Ok(Plan::Metric(MetricPlan {
        root,
        sorted: lowering.sorted,
        regex_bytes: lowering.budget.used(),
    }))
}

#[derive(Debug)]
struct Lowering {
    budget: Budget,
    sorted: bool,
}

impl Lowering {
    fn log(
        &mut self,
        log: &LogExpr,
        around: &Around<'_>,
    ) -> Result<(Vec<Matcher>, Pipeline), ParseError> {
        let pipeline = Pipeline::compile(log, around, &mut self.budget)?;
        Ok((log.matchers.clone(), pipeline))
    }
}
