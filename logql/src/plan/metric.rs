//! Lowering of metric queries.

use super::{AggregateOp, BinaryNode, Lowering, Node, RangeLeaf, RangeOp, ReplaceNode};
use crate::ParseError;
use crate::ast::{BinaryExpr, Expr, Grouping, LabelReplace, RangeExpr, VectorExpr};
use crate::error::plain;
use crate::eval::{LabelReplacer, arithmetic};
use crate::pipeline::{Around, Read};

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

/// `by ()`
fn one_group() -> Grouping {
    Grouping {
        without: false,
        names: Vec::new(),
    }
}

fn range_op(range: &RangeExpr) -> Result<RangeOp, ParseError> {
    Ok(match range.op {
        "count_over_time" => RangeOp::Count,
        "rate" if range.range.unwrap.is_some() => RangeOp::SumRate,
        "rate" => RangeOp::Rate,
        "bytes_over_time" => RangeOp::Bytes,
        "bytes_rate" => RangeOp::BytesRate,
        "sum_over_time" => RangeOp::Sum,
        "avg_over_time" => RangeOp::Avg,
        "min_over_time" => RangeOp::Min,
        "max_over_time" => RangeOp::Max,
        "stdvar_over_time" => RangeOp::Stdvar,
        "stddev_over_time" => RangeOp::Stddev,
        "quantile_over_time" => {
            // `check` has seen to it that there is one.
            let quantile = range.param.as_ref().map_or(Ok(0.0), |p| p.value.clone());
            RangeOp::Quantile(quantile.map_err(plain)?)
        }
        "first_over_time" => RangeOp::First,
        "last_over_time" => RangeOp::Last,
        "rate_counter" => RangeOp::RateCounter,
        "absent_over_time" => RangeOp::Absent,
        other => return Err(plain(format!("unexpected operation {other}"))),
    })
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

/// Whether the sum of an operation over groups of entries is the operation over all of them.
fn is_additive(op: RangeOp) -> bool {
    matches!(
        op,
        RangeOp::Count
            | RangeOp::Rate
            | RangeOp::Bytes
            | RangeOp::BytesRate
            | RangeOp::Sum
            | RangeOp::SumRate
    )
}

/// Whether an operator gives a sample for each that it gets, when one operand is a number.
fn keeps_samples(binary: &BinaryExpr) -> bool {
    !arithmetic::is_comparison(binary.op) || binary.bool_result
}

impl Lowering {
    pub(super) fn root(&mut self, expr: &Expr) -> Result<Node, ParseError> {
        if let Some(value) = fold(expr) {
            return Ok(Node::Literal(value));
        }
        self.node(expr, true)
    }

    /// `limited`: each series of the node is one of the answer.
    fn node(&mut self, expr: &Expr, limited: bool) -> Result<Node, ParseError> {
        if let Some(value) = fold(expr) {
            return Ok(Node::Literal(value));
        }
        match expr {
            Expr::Range(range) => self.leaf(range, None, limited),
            Expr::Vector(vector) => self.aggregate(vector, limited),
            Expr::Binary(binary) => {
                let number = |side: &Expr| fold(side).is_some();
                let limited = limited
                    && keeps_samples(binary)
                    && (number(&binary.left) || number(&binary.right));
                Ok(Node::Binary(Box::new(BinaryNode {
                    op: binary.op,
                    bool_result: binary.bool_result,
                    matching: binary.matching.clone(),
                    left: self.node(&binary.left, limited)?,
                    right: self.node(&binary.right, limited)?,
                })))
            }
            Expr::Literal(value) => Ok(Node::Literal(value.clone().map_err(plain)?)),
            Expr::VectorOf(value) => Ok(Node::VectorOf(value.clone().map_err(plain)?)),
            Expr::LabelReplace(replace) => self.label_replace(replace),
            // The parser lets no log expression stand as an operand, and `check` refuses those of operators.
            Expr::Log(_) => Err(plain("unexpected log expression")),
        }
    }

    fn leaf(
        &mut self,
        range: &RangeExpr,
        sum: Option<Grouping>,
        limited: bool,
    ) -> Result<Node, ParseError> {
        let op = range_op(range)?;
        let around = around(range, sum.as_ref());
        let (matchers, pipeline) = self.log(&range.range.log, &around)?;
        let joined = sum.is_some();
        let grouping = match op {
            // Nothing of an entry matters but that it is there.
            RangeOp::Absent => Some(one_group()),
            _ => sum.or_else(|| range.grouping.clone()),
        };
        Ok(Node::Leaf(Box::new(RangeLeaf {
            matchers,
            pipeline,
            op,
            range: range.range.range,
            offset: range.range.offset,
            unwraps: range.range.unwrap.is_some(),
            grouping,
            joined,
            limited,
        })))
    }

    fn aggregate(&mut self, vector: &VectorExpr, limited: bool) -> Result<Node, ParseError> {
        let grouping = vector.grouping.clone().unwrap_or_else(one_group);
        // A sum of counts is a count of the group: the series of each stream need not exist.
        if let (Expr::Range(range), "sum") = (&vector.inner, vector.op)
            && is_additive(range_op(range)?)
        {
            return self.leaf(range, Some(grouping), limited);
        }
        let op = aggregate_op(vector)?;
        self.sorted |= matches!(op, AggregateOp::Sort | AggregateOp::SortDesc);
        let limited = limited && matches!(op, AggregateOp::Sort | AggregateOp::SortDesc);
        let inner = Box::new(self.node(&vector.inner, limited)?);
        Ok(Node::Aggregate {
            op,
            grouping,
            inner,
        })
    }

    fn label_replace(&mut self, replace: &LabelReplace) -> Result<Node, ParseError> {
        Ok(Node::LabelReplace(Box::new(ReplaceNode {
            replacer: LabelReplacer::compile(replace, &mut self.budget)?,
            inner: self.node(&replace.inner, false)?,
        })))
    }
}

fn aggregate_op(vector: &VectorExpr) -> Result<AggregateOp, ParseError> {
    let k = || {
        let param = vector.param.as_ref().map_or("0", |p| p.text.as_str());
        usize::try_from(param.parse::<u64>().unwrap_or(0)).unwrap_or(usize::MAX)
    };
    Ok(match vector.op {
        "sum" => AggregateOp::Sum,
        "avg" => AggregateOp::Avg,
        "min" => AggregateOp::Min,
        "max" => AggregateOp::Max,
        "count" => AggregateOp::Count,
        "stddev" => AggregateOp::Stddev,
        "stdvar" => AggregateOp::Stdvar,
        "topk" => AggregateOp::TopK(k()),
        "bottomk" => AggregateOp::BottomK(k()),
        "approx_topk" => AggregateOp::ApproxTopK(k()),
        "sort" => AggregateOp::Sort,
        "sort_desc" => AggregateOp::SortDesc,
        other => return Err(plain(format!("unexpected operation {other}"))),
    })
}
