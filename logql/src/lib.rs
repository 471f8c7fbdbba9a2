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
mod entry_labels;
mod error;
pub mod eval;
pub mod format;
pub mod level;
mod lexer;
pub mod matcher;
pub mod needle;
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

/// Why a query does not parse: Loki's words, with position.
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

/// A query as written, parsed and checked. What only shows when stages are compiled (templates, regexes of line filters,
/// paths) is not looked at; [`Query::plan`] does that.
///
/// `Display` writes it in one line, as Loki does in messages.
#[derive(Debug, Clone)]
pub struct Query {
    expr: ast::Expr,
    /// What is left for regexes that are compiled later.
    budget: regexes::Budget,
}

impl PartialEq for Query {
    fn eq(&self, other: &Self) -> bool {
        self.expr == other.expr
    }
}

impl Query {
    /// Reads a query.
    ///
    /// # Errors
    /// [`ParseError`] with Loki's text.
    pub fn parse(text: impl AsRef<[u8]>) -> Result<Self, ParseError> {
        let (expr, mut budget) = parser::parse(text.as_ref())?;
        parser::check(&expr, &mut budget)?;
        Ok(Query { expr, budget })
    }

    /// The query in lines of some hundred bytes.
    #[must_use]
    pub fn pretty(&self) -> String {
        print::pretty(&self.expr)
    }

    /// Whether the one-line form reads back as this query. Loki's form loses some things, so ours does: sizes are
    /// rounded, names that are no plain identifiers are quoted, `ignoring ()` is left out.
    #[must_use]
    pub fn line_reads_back(&self) -> bool {
        print::line_reads_back(&self.expr)
    }

    /// Whether [`Query::pretty`] reads back as this query. A long one loses more: parentheses, `or` of line filters.
    #[must_use]
    pub fn pretty_reads_back(&self) -> bool {
        print::pretty_reads_back(&self.expr)
    }

    /// Makes it ready to run.
    ///
    /// # Errors
    /// [`ParseError`] with Loki's text: `parse error : stage '...' : ...`.
    pub fn plan(&self) -> Result<plan::Plan, ParseError> {
        plan::plan(&self.expr, self.budget.clone())
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.expr.fmt(f)
    }
}

/// Parses, checks and plans a query.
///
/// # Errors
/// [`ParseError`] with Loki's text.
pub fn parse(query: impl AsRef<[u8]>) -> Result<plan::Plan, ParseError> {
    Query::parse(query)?.plan()
}

/// A query laid out anew, as the endpoint `format_query` answers it.
///
/// # Errors
/// [`ParseError`] with Loki's text.
pub fn format_query(query: impl AsRef<[u8]>) -> Result<String, ParseError> {
    Ok(Query::parse(query)?.pretty())
}

/// Parses a bare selector, as the label and series endpoints take it. `{}` and the empty string give no matchers.
///
/// # Errors
/// [`ParseError`]; a pipeline or metric gives `only label matchers are supported`.
pub fn parse_matchers(query: impl AsRef<[u8]>) -> Result<Vec<matcher::Matcher>, ParseError> {
    parser::parse_selector(query.as_ref())
}
