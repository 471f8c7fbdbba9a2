//! LogQL: text to typed plan to answer.
//!
//! ```text
//! text --lexer, parser--> ast::Expr --plan--> plan::Plan --eval--> value::Value
//!                                                |            ^
//!                                                |            | leaves: entries of a selector, or a range aggregation
//!                                                +--> eval::Leaf (implemented by whoever holds the data)
//! ```
//!
//! Architecture invariant: pure. No file, socket, clock, thread or serde; labels are seen as borrowed name/value
//! pairs; parsing is bounded in depth and length; every parse error has a position.
#![forbid(unsafe_code)]

mod ast;
mod error;
pub mod eval;
pub mod format;
pub mod level;
mod lexer;
pub mod matcher;
mod parser;
mod pattern;
pub mod pipeline;
pub mod plan;
mod print;
mod regexes;
mod replacement;
mod template;
pub mod value;
mod words;

/// Label pairs, names in byte order.
pub type Pairs<'a> = &'a [(&'a str, &'a str)];

/// Why a query does not parse: Loki's words, with position (logql.md section 2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseError {
    /// The whole text as Loki answers it: `parse error at line 1, col 2: ...` or `parse error : ...`.
    pub message: String,
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ParseError {}

/// Parses, checks and plans a query.
///
/// # Errors
/// [`ParseError`] with Loki's text.
pub fn parse(query: &str) -> Result<plan::Plan, ParseError> {
    let expr = parser::parse(query)?;
    parser::check(&expr)?;
    plan::plan(&expr)
}

/// Parses a bare selector, as the label and series endpoints take it. `{}` and the empty string give no matchers.
///
/// # Errors
/// [`ParseError`]; a pipeline or metric gives `only label matchers are supported`.
pub fn parse_matchers(query: &str) -> Result<Vec<matcher::Matcher>, ParseError> {
    parser::parse_selector(query)
}
