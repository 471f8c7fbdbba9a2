//! Whether what is printed reads back as the same query. Loki's forms lose some things, and so do ours; here is the list.

use super::is_plain_regex;
use super::pretty::{fits, fitting, is_line_filter};
use crate::ast::{
    BinaryExpr, Cardinality, Expr, FormatValue, Grouping, LabelFilter, LogExpr, LogRange, Named,
    RangeExpr, Stage, VectorExpr,
};
use crate::format::{
    go_duration, human_bytes, label_name, parse_bytes, parse_float, parse_go_duration,
};
use crate::matcher::Matcher;

/// Whether the one-line form says all.
pub(crate) fn line_reads_back(expr: &Expr) -> bool {
    match expr {
        Expr::Log(log) => log_expr(log),
        Expr::Range(range) => {
            let grouping = range.grouping.as_ref();
            log_range(&range.range) && grouping.is_none_or(|g| names(&g.names))
        }
        Expr::Vector(vector) => {
            let grouping = vector.grouping.as_ref();
            line_reads_back(&vector.inner) && grouping.is_none_or(|g| names(&g.names))
        }
        Expr::Binary(binary) => {
            matching(binary) && line_reads_back(&binary.left) && line_reads_back(&binary.right)
        }
        Expr::LabelReplace(replace) => line_reads_back(&replace.inner),
        Expr::Literal(value) => value.as_ref().is_ok_and(|v| number(*v)),
        // Six decimals are shown.
        Expr::VectorOf(value) => value
            .as_ref()
            .is_ok_and(|v| parse_float(&format!("{v:.6}")).as_ref() == Ok(v)),
    }
}

/// Folding makes what cannot be written (`NaN`, `+Inf`), and `-0` is a duration.
fn number(value: f64) -> bool {
    value.is_finite() && !(value == 0.0 && value.is_sign_negative())
}

/// A name printed as it is, which must not become an operator together with what follows it.
fn name(name: &str) -> bool {
    !matches!(name, "!" | "~")
}

fn names(all: &[String]) -> bool {
    all.iter().all(|n| name(n))
}

/// A matcher's name is quoted unless it is plain, and no quoted name can be read.
fn matcher(matcher: &Matcher) -> bool {
    label_name(matcher.name()) == matcher.name()
}

fn log_expr(log: &LogExpr) -> bool {
    log.matchers.iter().all(matcher) && log.stages.iter().all(stage)
}

fn stage(stage: &Stage) -> bool {
    match stage {
        Stage::Json(extracts) | Stage::Logfmt { extracts, .. } => {
            extracts.iter().all(|e| name(&e.name))
        }
        Stage::Label(filter) => label_filter(filter),
        Stage::LabelFormat(formats) => formats.iter().all(|(dst, value)| {
            name(dst)
                && match value {
                    FormatValue::Rename(src) => name(src),
                    FormatValue::Template(_) => true,
                }
        }),
        Stage::Drop(all) | Stage::Keep(all) => all.iter().all(|named| match named {
            Named::Name(n) => name(n),
            Named::Matcher(m) => matcher(m),
        }),
        Stage::Line(..)
        | Stage::Regexp(_)
        | Stage::Pattern(_)
        | Stage::Unpack
        | Stage::LineFormat(_)
        | Stage::Decolorize => true,
    }
}

fn label_filter(filter: &LabelFilter) -> bool {
    match filter {
        // A regex between backquotes can hold no NUL.
        LabelFilter::Matcher(m) if is_plain_regex(m) => name(m.name()) && !m.value().contains('\0'),
        LabelFilter::Matcher(m) => matcher(m),
        LabelFilter::Ip { name: n, .. } => name(n),
        LabelFilter::Number(n, _, value) => name(n) && number(*value),
        LabelFilter::Duration(n, _, ns) => name(n) && duration(*ns),
        // Two digits are shown, and `0B` begins a binary literal.
        LabelFilter::Bytes(n, _, bytes) => {
            name(n) && *bytes != 0 && parse_bytes(&human_bytes(*bytes)) == Ok(*bytes)
        }
        LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
            label_filter(left) && label_filter(right)
        }
    }
}

fn duration(ns: i64) -> bool {
    parse_go_duration(&go_duration(ns)) == Ok(ns)
}

fn log_range(range: &LogRange) -> bool {
    let unwrap = range.unwrap.as_ref();
    log_expr(&range.log)
        && duration(range.offset)
        && unwrap.is_none_or(|u| name(&u.label) && u.filters.iter().all(label_filter))
}

fn matching(binary: &BinaryExpr) -> bool {
    let Some(matching) = &binary.matching else {
        return true;
    };
    let include = match &matching.cardinality {
        Cardinality::OneToOne => return names(&matching.names),
        Cardinality::Left(include) | Cardinality::Right(include) => include,
    };
    // `ignoring ()` takes its group modifier along, and a modifier without names takes what follows in parentheses
    // for them.
    let shown = matching.on || !matching.names.is_empty();
    let apart = !include.is_empty() || !matches!(binary.right, Expr::Binary(_));
    shown && apart && names(&matching.names) && names(include)
}

/// Whether the form of many lines says all.
pub(crate) fn pretty_reads_back(expr: &Expr) -> bool {
    line_reads_back(expr) && splits_well(expr)
}

fn splits_well(expr: &Expr) -> bool {
    if fits(expr) {
        return true;
    }
    match expr {
        Expr::Log(log) => stages_split_well(&log.stages),
        Expr::Range(range) => range_splits_well(range),
        Expr::Vector(vector) => vector_splits_well(vector),
        Expr::Binary(binary) => binary_splits_well(binary),
        Expr::LabelReplace(replace) => splits_well(&replace.inner),
        Expr::Literal(_) | Expr::VectorOf(_) => true,
    }
}

/// Line filters that do not fit the first line of their run lose their `or` part.
fn stages_split_well(stages: &[Stage]) -> bool {
    stages
        .chunk_by(|a, b| is_line_filter(a) && is_line_filter(b))
        .all(|run| {
            !is_line_filter(&run[0])
                || run[fitting(run)..]
                    .iter()
                    .all(|filter| matches!(filter, Stage::Line(_, operands) if operands.len() == 1))
        })
}

/// An empty list of names is not shown.
fn grouping_splits_well(grouping: Option<&Grouping>) -> bool {
    grouping.is_none_or(|grouping| !grouping.names.is_empty())
}

fn range_splits_well(range: &RangeExpr) -> bool {
    let log = &range.range.log;
    grouping_splits_well(range.grouping.as_ref())
        // Below a millisecond nothing is shown.
        && range.range.offset % 1_000_000 == 0
        && (fits(log) || stages_split_well(&log.stages))
}

fn vector_splits_well(vector: &VectorExpr) -> bool {
    grouping_splits_well(vector.groups()) && splits_well(&vector.inner)
}

/// Operands that are split lose their parentheses, and `on ()` is not shown.
fn binary_splits_well(binary: &BinaryExpr) -> bool {
    let keeps = |operand: &Expr| !matches!(operand, Expr::Binary(_)) || fits(operand);
    let unnamed = binary.matching.as_ref().is_some_and(|m| m.names.is_empty());
    keeps(&binary.left)
        && keeps(&binary.right)
        && !unnamed
        && splits_well(&binary.left)
        && splits_well(&binary.right)
}
