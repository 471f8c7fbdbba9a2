//! The form of many lines. A node that is short enough in one line stays in one; others are split, each part a level
//! deeper. What Loki loses on the way (parentheses, `or` of line filters, an empty `without`) is lost here too, but only
//! in queries that are longer than a line.

use std::fmt::{Display, Write};

use super::{Chain, Form, Group, Operator, Selector, number, vector_param};
use crate::ast::{
    BinaryExpr, Expr, Grouping, LabelReplace, LogExpr, LogRange, RangeExpr, Stage, VectorExpr,
};
use crate::format::{go_v, prometheus_duration};

/// Bytes that fit a line.
const LINE_BYTES: usize = 100;

/// An expression in lines of some hundred bytes.
pub(crate) fn pretty(expr: &Expr) -> String {
    let mut printer = Printer { out: String::new() };
    printer.expr(expr, 0);
    printer.out
}

#[derive(Debug)]
struct Printer {
    out: String,
}

impl Printer {
    fn push(&mut self, text: impl Display) {
        write!(self.out, "{text}").expect("writing to a String cannot fail");
    }

    /// A line's beginning, and some text.
    fn indented(&mut self, level: usize, text: impl Display) {
        self.push(format_args!("{:1$}{text}", "", level * 2));
    }

    /// A line of its own at a level, its end left open.
    fn line(&mut self, level: usize, text: impl Display) {
        self.out.push('\n');
        self.indented(level, text);
    }

    fn expr(&mut self, expr: &Expr, level: usize) {
        if fits(expr) {
            return self.indented(level, expr);
        }
        match expr {
            Expr::Log(log) => self.split_log(log, level),
            Expr::Range(range) => self.split_range(range, level),
            Expr::Vector(vector) => self.split_vector(vector, level),
            Expr::Binary(binary) => self.split_binary(binary, level),
            Expr::LabelReplace(replace) => self.split_label_replace(replace, level),
            Expr::Literal(_) | Expr::VectorOf(_) => self.indented(level, expr),
        }
    }

    fn log(&mut self, log: &LogExpr, level: usize) {
        if fits(log) {
            self.indented(level, log);
        } else {
            self.split_log(log, level);
        }
    }

    fn split_log(&mut self, log: &LogExpr, level: usize) {
        self.indented(level, Selector(&log.matchers));
        let mut rest = log.stages.as_slice();
        while let Some(stage) = rest.first() {
            let run = rest.iter().take_while(|s| is_line_filter(s)).count();
            if run > 0 {
                self.line_filters(&rest[..run], level + 1);
                rest = &rest[run..];
                continue;
            }
            // Not indented: so does Loki.
            let level = match stage {
                Stage::Decolorize => 0,
                _ => level + 1,
            };
            self.line(level, stage);
            rest = &rest[1..];
        }
    }

    /// Line filters that follow each other: as many in the first line as fit, then one a line without its `or` part.
    fn line_filters(&mut self, filters: &[Stage], level: usize) {
        let (first, others) = filters.split_at(fitting(filters));
        if !first.is_empty() {
            self.line(level, Run(first));
        }
        for filter in others {
            if let Stage::Line(op, operands) = filter {
                self.line(level, Chain(*op, &operands[..1]));
            }
        }
    }

    fn split_range(&mut self, range: &RangeExpr, level: usize) {
        self.indented(level, format_args!("{}(\n", range.op));
        if let Some(param) = &range.param {
            let param = number(&param.value, go_v);
            self.indented(level + 1, format_args!("{param},\n"));
        }
        self.log_range(&range.range, level + 1);
        self.line(level, ")");
        if let Some(grouping) = &range.grouping {
            self.grouping(grouping);
        }
    }

    fn log_range(&mut self, range: &LogRange, level: usize) {
        self.log(&range.log, level);
        if let Some(unwrap) = &range.unwrap {
            self.line(level + 1, format_args!("| {unwrap}"));
            for filter in &unwrap.filters {
                self.line(level + 1, format_args!("| {filter}"));
            }
        }
        self.push(format_args!(" [{}]", prometheus_duration(range.range)));
        if range.offset != 0 {
            self.push(format_args!(
                " offset {}",
                prometheus_duration(range.offset)
            ));
        }
    }

    /// ` by (a, b)`; of an empty list only the word `without` is left.
    fn grouping(&mut self, grouping: &Grouping) {
        match (grouping.without, grouping.names.is_empty()) {
            (false, true) => {}
            (true, true) => self.push(" without"),
            _ => self.push(format_args!(" {}", Group(grouping, ", "))),
        }
    }

    fn split_vector(&mut self, vector: &VectorExpr, level: usize) {
        self.indented(level, vector.op);
        if let Some(grouping) = vector.groups() {
            self.grouping(grouping);
        }
        self.push("(\n");
        if let Some(param) = vector_param(vector) {
            self.indented(level + 1, format_args!("{param},\n"));
        }
        self.expr(&vector.inner, level + 1);
        self.line(level, ")");
    }

    fn split_binary(&mut self, binary: &BinaryExpr, level: usize) {
        self.expr(&binary.left, level + 1);
        self.line(level, Operator(binary, Form::Split));
        self.out.push('\n');
        self.expr(&binary.right, level + 1);
    }

    fn split_label_replace(&mut self, replace: &LabelReplace, level: usize) {
        self.indented(level, "label_replace(\n");
        self.expr(&replace.inner, level + 1);
        for text in replace.strings() {
            self.out.push(',');
            self.line(level + 1, text);
        }
        self.line(level, ")");
    }
}

/// How many line filters of a run fit its first line.
pub(super) fn fitting(filters: &[Stage]) -> usize {
    let counts = 1..=filters.len();
    let fitting = counts.take_while(|n| fits(Run(&filters[..*n])));
    fitting.last().unwrap_or(0)
}

pub(super) fn is_line_filter(stage: &Stage) -> bool {
    matches!(stage, Stage::Line(..))
}

/// Stages in one line.
struct Run<'a>(&'a [Stage]);

impl Display for Run<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        super::join(f, self.0, " ")
    }
}

/// Whether something fits a line; nothing is written beyond its end to find that out.
pub(super) fn fits(node: impl Display) -> bool {
    let mut room = Room(LINE_BYTES);
    write!(room, "{node}").is_ok()
}

/// Takes so many bytes and refuses more.
struct Room(usize);

impl Write for Room {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0 = self.0.checked_sub(text.len()).ok_or(std::fmt::Error)?;
        Ok(())
    }
}
