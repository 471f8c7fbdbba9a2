//! The template language of `line_format` and `label_format`: Go's `text/template` with Loki's functions.
//!
//! ```text
//! text --lexer--> tokens --parser--> tree --exec--> bytes
//!                                     |       |
//!                                     |       +-- call: what functions take; funcs, builtins, methods: what they do
//!                                     +-- fields: which labels it reads
//! ```
//!
//! A parsed template is immutable and shared. What an evaluation needs besides is in [`Scratch`]: buffers that are used
//! again (the common forms allocate nothing), and what was compiled for patterns and zones that are known only while
//! running.
//!
//! Bounds, since templates are typed by strangers and run for each of millions of lines:
//! - parentheses and blocks nest at most 200 deep (`parser`);
//! - what runs inside each other, templates calling themselves included, at most [`DEPTH_MAX`] deep;
//! - an evaluation does at most [`WORK_MAX`] units of work: a unit is a node of the tree or [`BYTES_PER_UNIT`] bytes
//!   that a function reads or writes, so that memory is bounded too;
//! - no string, and no result, is longer than the limit of the [`Scratch`], [`OUTPUT_MAX`] unless it says otherwise;
//! - regular expressions take from the query's budget if they are constants, otherwise from [`PATTERN_BYTES`];
//! - JSON nests at most 128 deep (`json`), decimals have at most some thousand digits (`funcs::decimal`).
//!
//! Whatever exceeds a bound is an error of the evaluation, with its own text, like any other fault while running.

mod builtins;
mod call;
mod exec;
mod fields;
mod funcs;
mod gofmt;
mod json;
mod lexer;
mod methods;
mod numbers;
mod parser;
mod scratch;
#[cfg(test)]
mod tests;
mod time;
mod tree;
mod value;

use std::sync::Arc;

pub(crate) use scratch::Scratch;

use crate::regexes::Budget;
use scratch::Pattern;
use tree::{ExprKind, Short, Stmt, StmtKind, Tree};

/// Deepest recursion while running. It bounds the stack that a query thread needs: less than 400 KiB at this depth.
const DEPTH_MAX: usize = 400;
/// Work of one evaluation. More is surely a loop that was not meant: a line of 256 KiB through twenty functions is half.
const WORK_MAX: u64 = 1 << 20;
/// How many bytes a function handles for one unit of work.
const BYTES_PER_UNIT: usize = 16;
/// Longest string and longest result, in bytes. An entry is shorter, and an answer holds thousands.
pub(crate) const OUTPUT_MAX: usize = 1 << 20;
/// Longest part of a fault's text (the place, the message), in bytes: it becomes a label, and may show a whole value.
const FAULT_PART: usize = 1 << 10;
/// Bytes of the program of one pattern that is computed while running; eight of them are kept.
const PATTERN_BYTES: usize = 512 << 10;

/// What a template sees: the labels of an entry as they are now, its line and its time.
pub(crate) trait Context {
    /// The value of a label, the error slot included; `None` if there is none.
    fn label(&self, name: &str) -> Option<&[u8]>;

    /// All labels in name order, no name twice.
    fn visit<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s [u8]));

    /// The line as it is now.
    fn line(&self) -> &[u8];

    /// The entry's time, nanoseconds since the epoch.
    fn timestamp(&self) -> i64;

    /// The time of the query, nanoseconds since the epoch.
    fn now(&self) -> i64;
}

/// A parsed template: immutable, cheap to clone, shared by threads.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// As errors show it: `line` or `label`.
    name: Box<str>,
    /// For line and column of errors.
    source: Box<[u8]>,
    /// The first one is run.
    trees: Vec<Tree>,
    /// Nothing but text, labels and the line.
    plain: bool,
    /// Constant patterns of functions that take a regular expression.
    patterns: Vec<Pattern>,
    reads: fields::Reads,
}

impl Template {
    /// Parses a template. `name` is what errors call it: `line` or `label`.
    ///
    /// # Errors
    /// Go's text: `template: line:1: function "f" not defined`.
    pub(crate) fn parse(source: &[u8], name: &str, budget: &mut Budget) -> Result<Self, String> {
        let trees = parser::parse(source, name)?;
        let (reads, patterns) = fields::analyse(&trees);
        let patterns = patterns
            .into_iter()
            .map(|text| Pattern::compile(text, budget))
            .collect();
        let plain = trees[0].list.iter().all(|stmt| match &stmt.kind {
            StmtKind::Text(_) => true,
            StmtKind::Action(_, short) => *short != Short::No,
            _ => false,
        });
        Ok(Template {
            inner: Arc::new(Inner {
                plain,
                name: name.into(),
                source: source.into(),
                trees,
                patterns,
                reads,
            }),
        })
    }

    /// Whether the line may be read.
    pub(crate) fn uses_line(&self) -> bool {
        self.inner.reads.line
    }

    /// Whether the entry's time may be read.
    pub(crate) fn uses_timestamp(&self) -> bool {
        self.inner.reads.timestamp
    }

    /// Names that are read as fields (`.x`), sorted. Loki counts exactly these as needed when a metric query says
    /// which labels it wants; labels read in other ways ([`Template::reads_any_label`]) are then missing.
    pub(crate) fn fields(&self) -> &[Box<str>] {
        &self.inner.reads.fields
    }

    /// Whether labels may be read that [`Template::fields`] does not name: the map is printed, iterated over, given
    /// to a function or to another template, or read through a variable.
    pub(crate) fn reads_any_label(&self) -> bool {
        self.inner.reads.any_label
    }

    /// The whole template is text.
    pub(crate) fn as_text(&self) -> Option<&[u8]> {
        match self.main() {
            [] => Some(b""),
            [
                Stmt {
                    kind: StmtKind::Text(text),
                    ..
                },
            ] => Some(text),
            _ => None,
        }
    }

    /// The whole template is `{{.name}}`.
    pub(crate) fn as_field(&self) -> Option<&str> {
        match self.main() {
            [
                Stmt {
                    kind: StmtKind::Action(pipe, Short::Field),
                    ..
                },
            ] => match &pipe.commands[0].args[0].kind {
                ExprKind::Field(names) => Some(&names[0]),
                _ => None,
            },
            _ => None,
        }
    }

    /// The whole template is `{{__line__}}`.
    pub(crate) fn is_line(&self) -> bool {
        matches!(
            self.main(),
            [Stmt {
                kind: StmtKind::Action(_, Short::Line),
                ..
            }]
        )
    }

    fn main(&self) -> &[Stmt] {
        &self.inner.trees[0].list
    }

    /// Runs the template for an entry and appends the result.
    ///
    /// # Errors
    /// The text that Loki puts into `__error_details__`; `out` is as before then.
    pub(crate) fn execute(
        &self,
        context: &dyn Context,
        out: &mut Vec<u8>,
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        let start = out.len();
        let result = exec::run(&self.inner, context, out, scratch);
        if result.is_err() {
            out.truncate(start);
        }
        result
    }
}
