//! A tree as text again, in Loki's two forms.
//!
//! The one-line form is what `Display` writes; messages quote stages in it. The form of many lines, [`pretty`], breaks up
//! whatever is longer than a line in the first one.

mod lossless;
mod pretty;
#[cfg(test)]
mod tests;

use std::fmt::{Display, Formatter, Result, Write};

use crate::ast::{
    BinaryExpr, Cardinality, Expr, Extract, FilterOp, FormatValue, Grouping, LabelFilter,
    LabelReplace, LogExpr, LogRange, Named, Number, Operand, RangeExpr, Stage, Unwrap, VectorExpr,
};
use crate::format::{
    go_duration, go_v, human_bytes, label_name, prometheus_duration, quote, sample_value,
};
use crate::matcher::{MatchOp, Matcher};
use crate::words;

pub(crate) use lossless::{line_reads_back, pretty_reads_back};
pub(crate) use pretty::pretty;

/// One line filter with a chain of operands.
pub(crate) fn line_filter(op: FilterOp, operands: &[Operand]) -> String {
    Chain(op, operands).to_string()
}

/// A stage.
pub(crate) fn stage(stage: &Stage) -> String {
    stage.to_string()
}

/// Things with something between them.
fn join<T: Display>(
    f: &mut impl Write,
    items: impl IntoIterator<Item = T>,
    between: &str,
) -> Result {
    for (i, item) in items.into_iter().enumerate() {
        let between = if i > 0 { between } else { "" };
        write!(f, "{between}{item}")?;
    }
    Ok(())
}

/// A number as written in a query's tree; one that is none never gets here.
fn number(value: &Number, print: impl Fn(f64) -> String) -> String {
    value.as_ref().map_or_else(Clone::clone, |v| print(*v))
}

impl Display for Expr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Expr::Log(log) => log.fmt(f),
            Expr::Range(range) => range.fmt(f),
            Expr::Vector(vector) => vector.fmt(f),
            Expr::Binary(binary) => binary.fmt(f),
            Expr::LabelReplace(replace) => replace.fmt(f),
            Expr::Literal(value) => f.write_str(&number(value, go_v)),
            Expr::VectorOf(value) => {
                let value = number(value, |v| format!("{v:.6}"));
                write!(f, "vector({value})")
            }
        }
    }
}

impl Display for LogExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        Selector(&self.matchers).fmt(f)?;
        for stage in &self.stages {
            write!(f, " {stage}")?;
        }
        Ok(())
    }
}

/// Matchers in braces.
struct Selector<'a>(&'a [Matcher]);

impl Display for Selector<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_char('{')?;
        join(f, self.0, ", ")?;
        f.write_char('}')
    }
}

impl Display for Matcher {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let name = label_name(self.name());
        let value = quote(self.written());
        write!(f, "{name}{}{value}", self.op().text())
    }
}

/// A line filter's operator and operands.
struct Chain<'a>(FilterOp, &'a [Operand]);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} ", self.0.text())?;
        join(f, self.1, " or ")
    }
}

impl Display for Operand {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let text = quote(&self.text);
        if self.ip {
            write!(f, "ip({text})")
        } else {
            f.write_str(&text)
        }
    }
}

impl Display for Stage {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Stage::Line(op, operands) => Chain(*op, operands).fmt(f),
            Stage::Json(extracts) => {
                f.write_str("| json")?;
                write_extracts(f, extracts)
            }
            Stage::Logfmt {
                strict,
                keep_empty,
                extracts,
            } => {
                let strict = if *strict { " --strict" } else { "" };
                let keep = if *keep_empty { " --keep-empty" } else { "" };
                write!(f, "| logfmt{strict}{keep}")?;
                write_extracts(f, extracts)
            }
            Stage::Regexp(text) => write!(f, "| regexp {}", quote(text)),
            Stage::Pattern(text) => write!(f, "| pattern {}", quote(text)),
            Stage::Unpack => f.write_str("| unpack"),
            Stage::Label(filter) => write!(f, "| {filter}"),
            Stage::LineFormat(text) => write!(f, "| line_format {}", quote(text)),
            Stage::LabelFormat(formats) => {
                let formats = formats.iter().map(|(name, value)| match value {
                    FormatValue::Rename(from) => format!("{name}={from}"),
                    FormatValue::Template(text) => format!("{name}={}", quote(text)),
                });
                f.write_str("| label_format ")?;
                join(f, formats, ",")
            }
            Stage::Decolorize => f.write_str("| decolorize"),
            Stage::Drop(names) => {
                f.write_str("| drop ")?;
                join(f, names, ",")
            }
            Stage::Keep(names) => {
                f.write_str("| keep ")?;
                join(f, names, ",")
            }
        }
    }
}

fn write_extracts(f: &mut Formatter<'_>, extracts: &[Extract]) -> Result {
    if extracts.is_empty() {
        return Ok(());
    }
    f.write_char(' ')?;
    let list = extracts
        .iter()
        .map(|e| format!("{}={}", e.name, quote(&e.path)));
    join(f, list, ",")
}

impl Display for Named {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Named::Name(name) => f.write_str(name),
            Named::Matcher(matcher) => matcher.fmt(f),
        }
    }
}

impl Display for LabelFilter {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            LabelFilter::Matcher(matcher) => write_filter_matcher(f, matcher),
            LabelFilter::Ip {
                name,
                negated,
                pattern,
            } => {
                let op = if *negated { "!=" } else { "=" };
                write!(f, "{name}{op}ip({})", quote(pattern))
            }
            LabelFilter::Number(name, op, value) => {
                write!(f, "{name}{}{}", op, sample_value(*value))
            }
            LabelFilter::Duration(name, op, ns) => {
                write!(f, "{name}{}{}", op, go_duration(*ns))
            }
            LabelFilter::Bytes(name, op, bytes) => {
                write!(f, "{name}{}{}", op, human_bytes(*bytes))
            }
            LabelFilter::And(left, right) => write!(f, "( {left} , {right} )"),
            LabelFilter::Or(left, right) => write!(f, "( {left} or {right} )"),
        }
    }
}

/// A regex that is no choice of words.
fn is_plain_regex(matcher: &Matcher) -> bool {
    matcher.op() == MatchOp::Regex && words::of_label(matcher.value()).is_none()
}

/// Loki shows a regex that it could not make literal tests of between backquotes, unless it is negated, and does not
/// quote its name.
fn write_filter_matcher(f: &mut Formatter<'_>, matcher: &Matcher) -> Result {
    if !is_plain_regex(matcher) {
        return matcher.fmt(f);
    }
    let text = matcher.value();
    write!(f, "{}=~", matcher.name())?;
    if text.contains('`') {
        f.write_str(&quote(text.as_bytes()))
    } else {
        write!(f, "`{text}`")
    }
}

impl Display for LogRange {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        self.log.fmt(f)?;
        if let Some(unwrap) = &self.unwrap {
            write!(f, " | {unwrap}")?;
            for filter in &unwrap.filters {
                write!(f, " | {filter}")?;
            }
        }
        write!(f, "[{}]", prometheus_duration(self.range))?;
        if self.offset != 0 {
            write!(f, " offset {}", go_duration(self.offset))?;
        }
        Ok(())
    }
}

/// Without the filters after it.
impl Display for Unwrap {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.conversion {
            Some(conversion) => write!(f, "unwrap {conversion}({})", self.label),
            None => write!(f, "unwrap {}", self.label),
        }
    }
}

impl Display for RangeExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}(", self.op)?;
        if let Some(param) = &self.param {
            write!(f, "{},", number(&param.value, sample_value))?;
        }
        write!(f, "{})", self.range)?;
        if let Some(grouping) = &self.grouping {
            write!(f, " {}", Group(grouping, ","))?;
        }
        Ok(())
    }
}

/// `by (a,b)`, `without (a,b)`, with something between the names.
struct Group<'a>(&'a Grouping, &'static str);

impl Display for Group<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Group(grouping, between) = self;
        f.write_str(if grouping.without {
            "without ("
        } else {
            "by ("
        })?;
        join(f, &grouping.names, between)?;
        f.write_char(')')
    }
}

/// The parameter of a vector aggregation as the number that it is.
fn vector_param(vector: &VectorExpr) -> Option<String> {
    let text = &vector.param.as_ref()?.text;
    Some(match text.parse::<i64>() {
        Ok(value) => value.to_string(),
        Err(_) => text.clone(),
    })
}

impl Display for VectorExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(self.op)?;
        if let Some(grouping) = self.groups() {
            write!(f, " {}", Group(grouping, ","))?;
        }
        f.write_char('(')?;
        if let Some(param) = vector_param(self) {
            write!(f, "{param},")?;
        }
        write!(f, "{})", self.inner)
    }
}

impl Display for BinaryExpr {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(
            f,
            "({} {} {})",
            self.left,
            Operator(self, Form::Line),
            self.right
        )
    }
}

/// Which of the two forms is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Line,
    Split,
}

/// A binary operator with its modifiers. A matching without group modifier ends in a blank. One without names is not
/// shown, its group modifier neither: in one line `ignoring ()` only, in many lines `on ()` too. So does Loki.
struct Operator<'a>(&'a BinaryExpr, Form);

impl Display for Operator<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Operator(binary, form) = self;
        f.write_str(binary.op)?;
        if binary.bool_result {
            f.write_str(" bool")?;
        }
        let Some(matching) = &binary.matching else {
            return Ok(());
        };
        let shown = matching.on && *form == Form::Line;
        if matching.names.is_empty() && !shown {
            return Ok(());
        }
        let between = match form {
            Form::Line => ",",
            Form::Split => ", ",
        };
        f.write_str(if matching.on { " on (" } else { " ignoring (" })?;
        join(f, &matching.names, between)?;
        f.write_char(')')?;
        let (word, names) = match &matching.cardinality {
            Cardinality::OneToOne => return f.write_char(' '),
            Cardinality::Left(names) => ("group_left", names),
            Cardinality::Right(names) => ("group_right", names),
        };
        write!(f, " {word}")?;
        if !names.is_empty() {
            f.write_str(" (")?;
            join(f, names, between)?;
            f.write_char(')')?;
        }
        Ok(())
    }
}

impl Display for LabelReplace {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "label_replace({},", self.inner)?;
        join(f, self.strings(), ",")?;
        f.write_char(')')
    }
}

impl LabelReplace {
    /// The four texts as written in a query.
    fn strings(&self) -> [String; 4] {
        [&self.dst, &self.replacement, &self.src, &self.regex].map(|text| quote(text))
    }
}
