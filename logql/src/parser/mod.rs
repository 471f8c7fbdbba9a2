//! Recursive descent over the whole grammar, with the error texts of Loki's generated parser:
//! what it lists as "expecting" is written down at the states concerned.

mod check;
#[cfg(test)]
mod errors_tests;
mod log;
#[cfg(test)]
mod states_tests;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::ParseError;
use crate::ast::{
    BinaryExpr, Cardinality, Expr, Grouping, LabelReplace, LogRange, Matching, Number, Param,
    RangeExpr, Unwrap, VectorExpr,
};
use crate::error::{self, limit};
use crate::eval::arithmetic::literals;
use crate::format::parse_float;
use crate::lexer::{Lexer, Source, Tok, Token};
use crate::matcher::Matcher;
use crate::regexes::Budget;

pub(crate) use check::check;

/// Deepest nesting of a query: parentheses, functions, operators in a row. Raising it costs stack in every recursion
/// over the tree; a query beyond it is refused.
pub(crate) const MAX_DEPTH: u32 = 100;

const RANGE_OPS: [(&str, &str); 15] = [
    ("RATE", "rate"),
    ("RATE_COUNTER", "rate_counter"),
    ("COUNT_OVER_TIME", "count_over_time"),
    ("BYTES_RATE", "bytes_rate"),
    ("BYTES_OVER_TIME", "bytes_over_time"),
    ("AVG_OVER_TIME", "avg_over_time"),
    ("SUM_OVER_TIME", "sum_over_time"),
    ("MIN_OVER_TIME", "min_over_time"),
    ("MAX_OVER_TIME", "max_over_time"),
    ("STDDEV_OVER_TIME", "stddev_over_time"),
    ("STDVAR_OVER_TIME", "stdvar_over_time"),
    ("QUANTILE_OVER_TIME", "quantile_over_time"),
    ("FIRST_OVER_TIME", "first_over_time"),
    ("LAST_OVER_TIME", "last_over_time"),
    ("ABSENT_OVER_TIME", "absent_over_time"),
];

const VECTOR_OPS: [(&str, &str); 12] = [
    ("SUM", "sum"),
    ("AVG", "avg"),
    ("MAX", "max"),
    ("MIN", "min"),
    ("COUNT", "count"),
    ("STDDEV", "stddev"),
    ("STDVAR", "stdvar"),
    ("BOTTOMK", "bottomk"),
    ("TOPK", "topk"),
    ("APPROX_TOPK", "approx_topk"),
    ("SORT", "sort"),
    ("SORT_DESC", "sort_desc"),
];

/// Binding strength of a binary operator, and whether it binds to the right.
fn precedence(op: &str) -> Option<(u8, bool)> {
    Some(match op {
        "or" => (1, false),
        "and" | "unless" => (2, false),
        "==" | "!=" | ">" | ">=" | "<" | "<=" => (3, false),
        "+" | "-" => (4, false),
        "*" | "/" | "%" => (5, false),
        "^" => (6, true),
        _ => return None,
    })
}

/// Parses a whole query, without the checks of [`check`]. Gives what is left for regexes, too.
pub(crate) fn parse(query: &[u8]) -> Result<(Expr, Budget), ParseError> {
    let source = Source::new(query)?;
    let mut parser = Parser::new(&source);
    let (expr, _) = parser.expr(0, 0)?;
    let token = parser.next();
    match (&token.tok, parser.lexer.fault()) {
        (Tok::End, None) => Ok((expr, parser.regexes)),
        _ => Err(parser.unexpected(&token, &[])),
    }
}

/// Parses a selector that stands alone.
pub(crate) fn parse_selector(query: &[u8]) -> Result<Vec<Matcher>, ParseError> {
    if query.trim_ascii().is_empty() {
        return Ok(Vec::new());
    }
    match parse(query)?.0 {
        Expr::Log(log) if log.stages.is_empty() => Ok(log.matchers),
        _ => Err(ParseError {
            message: "only label matchers are supported".to_owned(),
        }),
    }
}

#[derive(Debug)]
struct Parser<'q> {
    lexer: Lexer<'q>,
    ahead: VecDeque<Token>,
    regexes: Budget,
    /// Inside a range aggregation, where `| unwrap` may end a pipeline.
    in_range: bool,
}

impl<'q> Parser<'q> {
    fn new(source: &'q Source<'q>) -> Self {
        Parser {
            lexer: Lexer::new(source),
            ahead: VecDeque::with_capacity(2),
            regexes: Budget::default(),
            in_range: false,
        }
    }

    fn next(&mut self) -> Token {
        match self.ahead.pop_front() {
            Some(token) => token,
            None => self.lexer.next(),
        }
    }

    fn nth(&mut self, n: usize) -> &Tok {
        while self.ahead.len() <= n {
            let token = self.lexer.next();
            self.ahead.push_back(token);
        }
        &self.ahead[n].tok
    }

    fn peek(&mut self) -> &Tok {
        self.nth(0)
    }

    fn at(&mut self, word: &str) -> bool {
        matches!(self.peek(), Tok::Word(w) if *w == word)
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.at(word);
        if found {
            self.next();
        }
        found
    }

    /// A token that cannot stand where it does, unless something could not be read before it.
    fn unexpected(&self, token: &Token, expecting: &[&str]) -> ParseError {
        let fault = self.lexer.fault().cloned();
        fault.unwrap_or_else(|| error::unexpected(token, expecting))
    }

    /// Takes a given word, or fails listing what else could stand here.
    fn expect(&mut self, word: &str, expecting: &[&str]) -> Result<(), ParseError> {
        let token = self.next();
        match token.tok {
            Tok::Word(w) if w == word => Ok(()),
            _ => Err(self.unexpected(&token, expecting)),
        }
    }

    /// As [`Parser::expect`], but a wrong token stays.
    fn expect_ahead(&mut self, word: &str, expecting: &[&str]) -> Result<(), ParseError> {
        if self.eat(word) {
            return Ok(());
        }
        self.peek();
        Err(self.unexpected(&self.ahead[0], expecting))
    }

    fn string(&mut self, expecting: &[&str]) -> Result<Vec<u8>, ParseError> {
        let token = self.next();
        match token.tok {
            Tok::Str(bytes) => Ok(bytes),
            _ => Err(self.unexpected(&token, expecting)),
        }
    }

    fn ident(&mut self, expecting: &[&str]) -> Result<String, ParseError> {
        let token = self.next();
        match token.tok {
            Tok::Ident(name) => Ok(name),
            _ => Err(self.unexpected(&token, expecting)),
        }
    }

    fn fail<T>(&mut self, expecting: &[&str]) -> Result<T, ParseError> {
        let token = self.next();
        Err(self.unexpected(&token, expecting))
    }

    /// An expression whose operators bind at least as strongly as `floor`, and the height of its tree.
    fn expr(&mut self, floor: u8, depth: u32) -> Result<(Expr, u32), ParseError> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        let (mut left, mut height) = self.primary(depth)?;
        loop {
            let Tok::Word(op) = *self.peek() else {
                return Ok((left, height));
            };
            let Some((strength, to_right)) = precedence(op).filter(|(s, _)| *s >= floor) else {
                return Ok((left, height));
            };
            self.next();
            let bool_result = self.eat("bool");
            let matching = self.matching()?;
            let floor = if to_right { strength } else { strength + 1 };
            let (right, right_height) = self.expr(floor, depth + 1)?;
            height = height.max(right_height) + 1;
            if height > MAX_DEPTH {
                return Err(too_deep());
            }
            left = binary(BinaryExpr {
                op,
                bool_result,
                matching,
                left,
                right,
            });
        }
    }

    fn primary(&mut self, depth: u32) -> Result<(Expr, u32), ParseError> {
        let token = self.next();
        match &token.tok {
            Tok::Word("{") => Ok((Expr::Log(self.log_after_brace()?), 1)),
            Tok::Word("(") => {
                let (inner, height) = self.expr(0, depth + 1)?;
                self.expect(")", &[])?;
                Ok((inner, height))
            }
            Tok::Number(text) => Ok((Expr::Literal(parse_float(text)), 1)),
            Tok::Word(sign @ ("+" | "-")) => {
                let sign = *sign;
                let value = self.number()?;
                let value = value.map(|v| if sign == "-" { -v } else { v });
                Ok((Expr::Literal(value), 1))
            }
            Tok::Word("VECTOR") => {
                self.expect("(", &["("])?;
                let value = self.number()?;
                self.expect(")", &[")"])?;
                Ok((Expr::VectorOf(value), 1))
            }
            Tok::Word("label_replace") => self.label_replace(depth),
            Tok::Word(word) => {
                if let Some((_, op)) = RANGE_OPS.iter().find(|(name, _)| name == word) {
                    return Ok((self.range_expr(op, depth)?, 1));
                }
                if let Some((_, op)) = VECTOR_OPS.iter().find(|(name, _)| name == word) {
                    return self.vector_expr(op, depth);
                }
                Err(self.unexpected(&token, &[]))
            }
            _ => Err(self.unexpected(&token, &[])),
        }
    }

    fn number(&mut self) -> Result<Number, ParseError> {
        let token = self.next();
        match &token.tok {
            Tok::Number(text) => Ok(parse_float(text)),
            _ => Err(self.unexpected(&token, &["NUMBER"])),
        }
    }

    /// A metric expression as an operand: a log expression fails at the token after it.
    fn metric(&mut self, depth: u32) -> Result<(Expr, u32), ParseError> {
        let (expr, height) = self.expr(0, depth + 1)?;
        if matches!(expr, Expr::Log(_)) {
            return self.fail(&[]);
        }
        if height >= MAX_DEPTH {
            return Err(too_deep());
        }
        Ok((expr, height + 1))
    }

    fn label_replace(&mut self, depth: u32) -> Result<(Expr, u32), ParseError> {
        self.expect("(", &["("])?;
        let (inner, height) = self.metric(depth)?;
        let mut strings: [Vec<u8>; 4] = Default::default();
        let mut first = true;
        for text in &mut strings {
            self.expect(",", if first { &[] } else { &[","] })?;
            first = false;
            *text = self.string(&["STRING"])?;
        }
        self.expect(")", &[")"])?;
        let [dst, replacement, src, regex] = strings;
        let replace = LabelReplace {
            inner,
            dst,
            replacement,
            src,
            regex,
        };
        Ok((Expr::LabelReplace(Box::new(replace)), height))
    }

    fn vector_expr(&mut self, op: &'static str, depth: u32) -> Result<(Expr, u32), ParseError> {
        let mut grouping = self.grouping()?;
        let before = grouping.is_some();
        self.expect(
            "(",
            if before {
                &["("]
            } else {
                &["(", "by", "without"]
            },
        )?;
        let mut param = None;
        if let Tok::Number(text) = self.peek() {
            let text = text.clone();
            if matches!(self.nth(1), Tok::Word(",")) {
                self.next();
                self.next();
                let value = parse_float(&text);
                param = Some(Param { text, value });
            }
        }
        let (inner, height) = self.metric(depth)?;
        self.expect(")", &[])?;
        if !before {
            grouping = self.grouping()?;
        }
        let expr = VectorExpr {
            op,
            param,
            inner,
            grouping,
        };
        Ok((Expr::Vector(Box::new(expr)), height))
    }

    fn grouping(&mut self) -> Result<Option<Grouping>, ParseError> {
        let without = self.at("without");
        if !without && !self.at("by") {
            return Ok(None);
        }
        self.next();
        let names = self.names()?;
        Ok(Some(Grouping { without, names }))
    }

    /// `( [name {, name}] )`
    fn names(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect("(", &["("])?;
        let mut names = Vec::new();
        if self.eat(")") {
            return Ok(names);
        }
        names.push(self.ident(&["IDENTIFIER", ")"])?);
        loop {
            if self.eat(")") {
                return Ok(names);
            }
            self.expect(",", &[",", ")"])?;
            names.push(self.ident(&["IDENTIFIER"])?);
        }
    }

    fn matching(&mut self) -> Result<Option<Matching>, ParseError> {
        let on = self.at("on");
        if !on && !self.at("ignoring") {
            return Ok(None);
        }
        self.next();
        let names = self.names()?;
        let left = self.at("group_left");
        let cardinality = if left || self.at("group_right") {
            self.next();
            let include = if self.at("(") {
                self.names()?
            } else {
                Vec::new()
            };
            if left {
                Cardinality::Left(include)
            } else {
                Cardinality::Right(include)
            }
        } else {
            Cardinality::OneToOne
        };
        Ok(Some(Matching {
            on,
            names,
            cardinality,
        }))
    }

    fn range_expr(&mut self, op: &'static str, depth: u32) -> Result<Expr, ParseError> {
        self.expect("(", &["("])?;
        let mut param = None;
        if let Tok::Number(text) = self.peek() {
            param = Some(Param {
                text: text.clone(),
                value: parse_float(text),
            });
            self.next();
            self.expect(",", &[","])?;
            if !self.at("{") && !self.at("(") {
                return self.fail(&["{", "("]);
            }
        } else if !self.at("{") && !self.at("(") {
            return self.fail(&["NUMBER", "{", "("]);
        }
        self.in_range = true;
        let range = self.log_range(depth)?;
        self.in_range = false;
        self.expect(")", &[")"])?;
        let grouping = self.grouping()?;
        Ok(Expr::Range(Box::new(RangeExpr {
            op,
            param,
            range,
            grouping,
        })))
    }

    fn log_range(&mut self, depth: u32) -> Result<LogRange, ParseError> {
        if depth > MAX_DEPTH {
            return Err(too_deep());
        }
        if !self.eat("(") {
            self.expect("{", &["{", "("])?;
            return self.flat_range(false);
        }
        if self.at("(") {
            let range = self.log_range(depth + 1)?;
            self.expect(")", &[")"])?;
            return Ok(range);
        }
        self.expect("{", &["{", "("])?;
        self.flat_range(true)
    }

    /// What follows the `{` of a range; `inside`: a parenthesis around selector and pipeline is open.
    fn flat_range(&mut self, inside: bool) -> Result<LogRange, ParseError> {
        let mut log = self.log_after_brace()?;
        let mut unwrap = self.unwrap()?;
        let mut closed = false;
        if inside && self.eat(")") {
            closed = true;
        }
        let token = self.next();
        let Tok::Range(range) = token.tok else {
            let expecting: &[&str] = match (closed, unwrap.is_some(), inside) {
                (true, ..) => &["RANGE"],
                (false, true, true) => &["RANGE", ")", "|"],
                (false, true, false) => &["RANGE", "|"],
                (false, false, _) => &[],
            };
            return Err(self.unexpected(&token, expecting));
        };
        let offset = self.offset()?;
        if log.stages.is_empty() && unwrap.is_none() {
            if !closed {
                log.stages = self.pipeline()?;
            }
            unwrap = self.unwrap()?;
        }
        if inside && !closed {
            self.expect(")", &[")"])?;
        }
        Ok(LogRange {
            log,
            unwrap,
            range,
            offset,
        })
    }

    fn offset(&mut self) -> Result<i64, ParseError> {
        if !self.eat("offset") {
            return Ok(0);
        }
        let token = self.next();
        match token.tok {
            Tok::Duration(ns) => Ok(ns),
            _ => Err(self.unexpected(&token, &["DURATION"])),
        }
    }

    fn unwrap(&mut self) -> Result<Option<Unwrap>, ParseError> {
        if !self.at("|") || !matches!(self.nth(1), Tok::Word("unwrap")) {
            return Ok(None);
        }
        self.next();
        self.next();
        let expecting = [
            "IDENTIFIER",
            "BYTES_CONV",
            "DURATION_CONV",
            "DURATION_SECONDS_CONV",
        ];
        let token = self.next();
        let (label, conversion) = match token.tok {
            Tok::Ident(label) => (label, None),
            Tok::Word(word @ ("BYTES_CONV" | "DURATION_CONV" | "DURATION_SECONDS_CONV")) => {
                self.expect("(", &["("])?;
                let label = self.ident(&["IDENTIFIER"])?;
                self.expect(")", &[")"])?;
                let conversion = match word {
                    "BYTES_CONV" => "bytes",
                    "DURATION_CONV" => "duration",
                    _ => "duration_seconds",
                };
                (label, Some(conversion))
            }
            _ => return Err(self.unexpected(&token, &expecting)),
        };
        let mut filters = Vec::new();
        while self.eat("|") {
            filters.push(self.label_filter(&["IDENTIFIER", "("])?);
        }
        Ok(Some(Unwrap {
            label,
            conversion,
            filters,
        }))
    }
}

/// An operation, or its value if both operands are literals.
fn binary(binary: BinaryExpr) -> Expr {
    if let (Expr::Literal(Ok(left)), Expr::Literal(Ok(right))) = (&binary.left, &binary.right)
        && let Some(value) = literals(binary.op, *left, *right)
    {
        return Expr::Literal(Ok(value));
    }
    Expr::Binary(Box::new(binary))
}

pub(super) fn too_deep() -> ParseError {
    limit(format!("query nests too deeply (limit {MAX_DEPTH})"))
}
