//! The typed plan of a query, and its leaves.

use crate::ParseError;
use crate::ast::{Expr, Grouping, LogExpr, Matching, RangeExpr, VectorExpr};
use crate::error::{plain, unsupported};
use crate::eval::arithmetic;
use crate::matcher::Matcher;
use crate::pipeline::{Around, Pipeline, Read};
use crate::regexes::Budget;

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

impl Steps {
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
        let span = i128::from(time) - i128::from(self.start);
        usize::try_from(span / i128::from(self.step.max(1))).unwrap_or(0)
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
}

/// What a range aggregation computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeOp {
    Count,
    Rate,
    Bytes,
    BytesRate,
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
    /// That of a directly enclosing `sum`.
    pub(crate) grouping: Option<Grouping>,
    /// Its series reach the answer (no aggregation around it joins them), so that the limit on series holds for them.
    pub(crate) limited: bool,
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
        match self.op {
            RangeOp::Count | RangeOp::Rate => Needs::Count,
            RangeOp::Bytes | RangeOp::BytesRate => Needs::Bytes,
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
pub(crate) enum Node {
    Leaf(Box<RangeLeaf>),
    Aggregate {
        op: AggregateOp,
        grouping: Grouping,
        inner: Box<Node>,
    },
    Binary(Box<BinaryNode>),
    Literal(f64),
    VectorOf(f64),
}

/// The value of an expression of literals only.
pub(crate) fn fold(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Literal(Ok(value)) => Some(*value),
        Expr::Binary(binary) => {
            let (left, right) = (fold(&binary.left)?, fold(&binary.right)?);
            arithmetic::literals(binary.op, left, right)
        }
        _ => None,
    }
}

/// Lowers a checked expression.
pub(crate) fn plan(expr: &Expr) -> Result<Plan, ParseError> {
    let mut lowering = Lowering::default();
    if let Expr::Log(log) = expr {
        let (matchers, pipeline) = lowering.log(log, &Around::LOGS)?;
        return Ok(Plan::Log(LogLeaf { matchers, pipeline }));
    }
    let root = lowering.node(expr)?;
    Ok(Plan::Metric(MetricPlan {
        root,
        sorted: lowering.sorted,
    }))
}

/// What a range aggregation makes of its entries, given the grouping of a `sum` directly around it.
fn around<'q>(range: &'q RangeExpr, sum: Option<&'q Grouping>) -> Around<'q> {
    let labels = match sum.or(range.grouping.as_ref()) {
        _ if range.op == "absent_over_time" => Read::Nothing,
        Some(grouping) if grouping.without => Read::All,
        Some(grouping) if grouping.names.is_empty() => Read::Nothing,
        Some(grouping) => Read::Named(&grouping.names),
        None => Read::All,
    };
    Around {
        labels,
        lines: matches!(range.op, "bytes_over_time" | "bytes_rate"),
        unwrap: range.range.unwrap.as_ref(),
    }
}

#[derive(Debug, Default)]
struct Lowering {
    budget: Budget,
    sorted: bool,
    /// How many aggregations around the current node join series.
    joined: u32,
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

    fn node(&mut self, expr: &Expr) -> Result<Node, ParseError> {
        if let Some(value) = fold(expr) {
            return Ok(Node::Literal(value));
        }
        match expr {
            Expr::Range(range) => Ok(Node::Leaf(Box::new(self.leaf(range, None)?))),
            Expr::Vector(vector) => self.aggregate(vector),
            Expr::Binary(binary) => Ok(Node::Binary(Box::new(BinaryNode {
                op: binary.op,
                bool_result: binary.bool_result,
                matching: binary.matching.clone(),
                left: self.node(&binary.left)?,
                right: self.node(&binary.right)?,
            }))),
            Expr::Literal(value) => Ok(Node::Literal(value.clone().map_err(plain)?)),
            Expr::VectorOf(value) => Ok(Node::VectorOf(value.clone().map_err(plain)?)),
            Expr::LabelReplace(_) => Err(unsupported("label_replace")),
            // The parser lets no log expression stand as an operand, and `check` refuses those of operators.
            Expr::Log(_) => Err(plain("unexpected log expression")),
        }
    }

    fn leaf(
        &mut self,
        range: &RangeExpr,
        grouping: Option<Grouping>,
    ) -> Result<RangeLeaf, ParseError> {
        let op = match range.op {
            "count_over_time" => RangeOp::Count,
            "rate" => RangeOp::Rate,
            "bytes_over_time" => RangeOp::Bytes,
            "bytes_rate" => RangeOp::BytesRate,
            other => return Err(unsupported(other)),
        };
        if range.range.unwrap.is_some() {
            return Err(unsupported("stage '| unwrap'"));
        }
        let around = around(range, grouping.as_ref());
        let (matchers, pipeline) = self.log(&range.range.log, &around)?;
        Ok(RangeLeaf {
            matchers,
            pipeline,
            op,
            range: range.range.range,
            offset: range.range.offset,
            grouping,
            limited: self.joined == 0,
        })
    }

    fn aggregate(&mut self, vector: &VectorExpr) -> Result<Node, ParseError> {
        let grouping = vector.grouping.clone().unwrap_or(Grouping {
            without: false,
            names: Vec::new(),
        });
        // A sum of counts is a count of the group: the series of each stream need not exist.
        if let (Expr::Range(range), "sum") = (&vector.inner, vector.op) {
            return Ok(Node::Leaf(Box::new(self.leaf(range, Some(grouping))?)));
        }
        let k = || {
            let param = vector.param.as_deref().unwrap_or("0");
            usize::try_from(param.parse::<u64>().unwrap_or(0)).unwrap_or(usize::MAX)
        };
        let op = match vector.op {
            "sum" => AggregateOp::Sum,
            "avg" => AggregateOp::Avg,
            "min" => AggregateOp::Min,
            "max" => AggregateOp::Max,
            "count" => AggregateOp::Count,
            "stddev" => AggregateOp::Stddev,
            "stdvar" => AggregateOp::Stdvar,
            "topk" => AggregateOp::TopK(k()),
            "bottomk" => AggregateOp::BottomK(k()),
            "sort" => AggregateOp::Sort,
            "sort_desc" => AggregateOp::SortDesc,
            other => return Err(unsupported(other)),
        };
        self.sorted |= matches!(op, AggregateOp::Sort | AggregateOp::SortDesc);
        let keeps_series = matches!(
            op,
            AggregateOp::TopK(_)
                | AggregateOp::BottomK(_)
                | AggregateOp::Sort
                | AggregateOp::SortDesc
        );
        self.joined += u32::from(!keeps_series);
        let inner = Box::new(self.node(&vector.inner)?);
        self.joined -= u32::from(!keeps_series);
        Ok(Node::Aggregate {
            op,
            grouping,
            inner,
        })
    }
}
