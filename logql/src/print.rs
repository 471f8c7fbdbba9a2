//! The one-line form of stages, as error messages quote them (logql.md section 2.2).

use crate::ast::{Extract, FilterOp, FormatValue, LabelFilter, Named, Operand, Stage};
use crate::format::{go_duration, human_bytes, label_name, quote, sample_value};
use crate::matcher::{MatchOp, Matcher};

/// One line filter with a chain of operands.
pub(crate) fn line_filter(op: FilterOp, operands: &[Operand]) -> String {
    let operands: Vec<String> = operands
        .iter()
        .map(|operand| {
            let text = quote(&operand.text);
            if operand.ip {
                format!("ip({text})")
            } else {
                text
            }
        })
        .collect();
    format!("{} {}", op.text(), operands.join(" or "))
}

/// A stage.
pub(crate) fn stage(stage: &Stage) -> String {
    match stage {
        Stage::Line(op, operands) => line_filter(*op, operands),
        Stage::Json(extracts) => format!("| json{}", extract_list(extracts)),
        Stage::Logfmt {
            strict,
            keep_empty,
            extracts,
        } => {
            let strict = if *strict { " --strict" } else { "" };
            let keep = if *keep_empty { " --keep-empty" } else { "" };
            format!("| logfmt{strict}{keep}{}", extract_list(extracts))
        }
        Stage::Regexp(text) => format!("| regexp {}", quote(text)),
        Stage::Pattern(text) => format!("| pattern {}", quote(text)),
        Stage::Unpack => "| unpack".to_owned(),
        Stage::Label(filter) => format!("| {}", label_filter(filter)),
        Stage::LineFormat(text) => format!("| line_format {}", quote(text)),
        Stage::LabelFormat(formats) => {
            let formats: Vec<String> = formats
                .iter()
                .map(|(name, value)| match value {
                    FormatValue::Rename(from) => format!("{name}={from}"),
                    FormatValue::Template(text) => format!("{name}={}", quote(text)),
                })
                .collect();
            format!("| label_format {}", formats.join(","))
        }
        Stage::Decolorize => "| decolorize".to_owned(),
        Stage::Drop(names) => format!("| drop {}", named_list(names)),
        Stage::Keep(names) => format!("| keep {}", named_list(names)),
    }
}

fn extract_list(extracts: &[Extract]) -> String {
    if extracts.is_empty() {
        return String::new();
    }
    let list: Vec<String> = extracts
        .iter()
        .map(|e| format!("{}={}", e.name, quote(&e.path)))
        .collect();
    format!(" {}", list.join(","))
}

fn named_list(names: &[Named]) -> String {
    let list: Vec<String> = names
        .iter()
        .map(|named| match named {
            Named::Name(name) => name.clone(),
            Named::Matcher(m) => matcher(m),
        })
        .collect();
    list.join(",")
}

fn matcher(matcher: &Matcher) -> String {
    let name = label_name(matcher.name());
    let value = quote(matcher.value().as_bytes());
    format!("{name}{}{value}", matcher.op().text())
}

/// A label filter.
pub(crate) fn label_filter(filter: &LabelFilter) -> String {
    let equals = |op: &'static str| if op == "=" { "==" } else { op };
    match filter {
        LabelFilter::Matcher(m)
            if matches!(m.op(), MatchOp::Regex | MatchOp::NotRegex) && !m.value().contains('`') =>
        {
            format!("{}{}`{}`", label_name(m.name()), m.op().text(), m.value())
        }
        LabelFilter::Matcher(m) => matcher(m),
        LabelFilter::Ip {
            name,
            negated,
            pattern,
        } => {
            let op = if *negated { "!=" } else { "=" };
            format!("{name}{op}ip({})", quote(pattern))
        }
        LabelFilter::Number(name, op, value) => {
            let value = value
                .as_ref()
                .map_or_else(Clone::clone, |v| sample_value(*v));
            format!("{name}{}{value}", equals(op))
        }
        LabelFilter::Duration(name, op, ns) => format!("{name}{}{}", equals(op), go_duration(*ns)),
        LabelFilter::Bytes(name, op, bytes) => {
            format!("{name}{}{}", equals(op), human_bytes(*bytes))
        }
        LabelFilter::And(left, right) => {
            format!("( {} , {} )", label_filter(left), label_filter(right))
        }
        LabelFilter::Or(left, right) => {
            format!("( {} or {} )", label_filter(left), label_filter(right))
        }
    }
}
