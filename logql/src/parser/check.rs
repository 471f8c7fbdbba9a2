//! What the grammar lets through and Loki refuses: outermost first, left operand before right.

use crate::ParseError;
use crate::ast::{BinaryExpr, Expr, LogExpr, Number, RangeExpr, VectorExpr};
use crate::error::{not_a_number, plain};
use crate::regexes::{Budget, check_utf8};

const NO_MATCHER: &str = "queries require at least one regexp or equality matcher that does not have an \
                          empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but \
                          app=~\".+\" will";

/// Refuses what cannot run.
pub(crate) fn check(expr: &Expr, budget: &mut Budget) -> Result<(), ParseError> {
    match expr {
        Expr::Log(log) => log_expr(log),
        Expr::Range(range) => range_expr(range),
        Expr::Vector(vector) => vector_expr(vector, budget),
        Expr::Binary(binary) => binary_expr(binary, budget),
        Expr::LabelReplace(replace) => {
            let anchored = [b"^(?:", replace.regex.as_slice(), b")$"].concat();
            check_utf8(&anchored)
                .and_then(|regex| budget.validate(regex))
                .map_err(|e| plain(format!("invalid regex in label_replace: {e}")))?;
            check(&replace.inner, budget)
        }
        Expr::Literal(number) => literal(number),
        Expr::VectorOf(number) => match number {
            Ok(_) => Ok(()),
            Err(e) => Err(plain(format!("unable to parse vectorExpr as a float: {e}"))),
        },
    }
}

fn literal(number: &Number) -> Result<(), ParseError> {
    match number {
        Ok(_) => Ok(()),
        Err(e) => Err(plain(not_a_number(e))),
    }
}

fn log_expr(log: &LogExpr) -> Result<(), ParseError> {
    if log.matchers.iter().all(|m| m.matches("")) {
        return Err(plain(NO_MATCHER));
    }
    Ok(())
}

fn range_expr(range: &RangeExpr) -> Result<(), ParseError> {
    let op = range.op;
    let unwrapped = range.range.unwrap.is_some();
    if op == "quantile_over_time" {
        let Some(param) = &range.param else {
            return Err(plain(format!("parameter required for operation {op}")));
        };
        if let Err(e) = &param.value {
            return Err(plain(format!("invalid parameter for operation {op}: {e}")));
        }
    } else if let Some(param) = &range.param {
        let param = &param.text;
        return Err(plain(format!(
            "parameter {param} not supported for operation {op}"
        )));
    }
    let groups = matches!(
        op,
        "avg_over_time"
            | "max_over_time"
            | "min_over_time"
            | "stddev_over_time"
            | "stdvar_over_time"
            | "quantile_over_time"
            | "first_over_time"
            | "last_over_time"
    );
    if range.grouping.is_some() && !groups {
        return Err(plain(format!("grouping not allowed for {op} aggregation")));
    }
    let optional = matches!(op, "rate" | "absent_over_time");
    let forbidden = matches!(op, "count_over_time" | "bytes_over_time" | "bytes_rate");
    if unwrapped && forbidden {
        return Err(plain(format!("invalid aggregation {op} with unwrap")));
    }
    if !unwrapped && !forbidden && !optional {
        return Err(plain(format!("invalid aggregation {op} without unwrap")));
    }
    log_expr(&range.range.log)
}

fn vector_expr(vector: &VectorExpr, budget: &mut Budget) -> Result<(), ParseError> {
    let op = vector.op;
    match (op, vector.param.as_ref().map(|p| p.text.as_str())) {
        ("topk" | "bottomk" | "approx_topk", None) => {
            return Err(plain(format!("parameter required for operation {op}")));
        }
        ("topk" | "bottomk" | "approx_topk", Some(param)) => match param.parse::<i64>() {
            Err(_) => return Err(plain(format!("invalid parameter {op}({param},"))),
            Ok(k) if k <= 0 => {
                return Err(plain(format!(
                    "invalid parameter (must be greater than 0) {op}({param}"
                )));
            }
            Ok(_) => {}
        },
        (_, Some(param)) => {
            return Err(plain(format!(
                "unsupported parameter for operation {op}({param},"
            )));
        }
        _ => {}
    }
    if let Some(grouping) = &vector.grouping {
        match op {
            "sort" | "sort_desc" if !grouping.names.is_empty() => {
                return Err(plain("sort and sort_desc doesn't allow grouping by "));
            }
            "approx_topk" => {
                return Err(plain(format!("grouping not allowed for {op} aggregation")));
            }
            _ => {}
        }
    }
    check(&vector.inner, budget)
}

fn binary_expr(binary: &BinaryExpr, budget: &mut Budget) -> Result<(), ParseError> {
    let op = binary.op;
    for (leg, expr) in [("left", &binary.left), ("right", &binary.right)] {
        if let Expr::Log(log) = expr {
            let kind = if log.stages.is_empty() {
                "MatchersExpr"
            } else {
                "PipelineExpr"
            };
            return Err(plain(format!(
                "unexpected type for {leg} leg of binary operation ({op}): *syntax.{kind}"
            )));
        }
    }
    for expr in [&binary.left, &binary.right] {
        if let Expr::Literal(number) = expr {
            literal(number)?;
        }
    }
    if matches!(op, "and" | "or" | "unless") {
        for (leg, expr) in [("left", &binary.left), ("right", &binary.right)] {
            if let Some(value) = crate::plan::fold(expr) {
                return Err(plain(format!(
                    "unexpected literal for {leg} leg of logical/set binary operation ({op}): {value:.6}"
                )));
            }
        }
    }
    check(&binary.left, budget)?;
    check(&binary.right, budget)
}
