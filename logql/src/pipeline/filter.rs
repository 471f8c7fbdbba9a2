//! Label filters.

use memchr::memmem::Finder;
use regex::bytes::Regex;

use super::ip::Addresses;
use super::labels::{ERROR, Labels};
use crate::ast::LabelFilter;
use crate::format::{human_bytes, parse_bytes, parse_float, parse_go_duration};
use crate::matcher::{MatchOp, Matcher};
use crate::words::{Choice, Word, of_label};

/// What the error slot says when a value is not of the kind that a filter compares.
const FAILED: &str = "LabelFilterErr";

/// A compiled label filter.
#[derive(Debug, Clone)]
pub(super) enum Filter {
    /// Passes everything.
    Always,
    Text(Text),
    Number(Comparison<f64>),
    /// Nanoseconds.
    Duration(Comparison<i64>),
    Bytes(Comparison<u64>),
    Ip {
        name: String,
        negated: bool,
        /// Absent if the pattern is none, which only a filter that stands alone reports.
        addresses: Option<Addresses>,
    },
    And(Box<Filter>, Box<Filter>),
    Or(Box<Filter>, Box<Filter>),
}

#[derive(Debug, Clone)]
pub(super) struct Text {
    name: String,
    negated: bool,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal(String),
    Any(Vec<Piece>),
    Regex(Regex),
}

/// One of the words that Loki takes a regex for.
#[derive(Debug, Clone)]
enum Piece {
    Some,
    Equal(String),
    Contains(Box<Finder<'static>>),
    EqualFolded(String),
    ContainsFolded(String),
}

#[derive(Debug, Clone)]
pub(super) struct Comparison<T> {
    name: String,
    op: Order,
    value: T,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Equal,
    NotEqual,
    Greater,
    GreaterEqual,
    Less,
    LessEqual,
}

impl Order {
    fn new(op: &str) -> Self {
        match op {
            "!=" => Order::NotEqual,
            ">" => Order::Greater,
            ">=" => Order::GreaterEqual,
            "<" => Order::Less,
            "<=" => Order::LessEqual,
            _ => Order::Equal,
        }
    }

    fn holds<T: PartialOrd>(self, left: &T, right: &T) -> bool {
        match self {
            Order::Equal => left == right,
            Order::NotEqual => left != right,
            Order::Greater => left > right,
            Order::GreaterEqual => left >= right,
            Order::Less => left < right,
            Order::LessEqual => left <= right,
        }
    }
}

impl Filter {
    /// Compiles a filter.
    pub(super) fn compile(filter: &LabelFilter) -> Result<Self, String> {
        fn comparison<T>(name: &str, op: &str, value: T) -> Comparison<T> {
            Comparison {
                name: name.to_owned(),
                op: Order::new(op),
                value,
            }
        }
        Ok(match filter {
            LabelFilter::Matcher(matcher) => text(matcher),
            LabelFilter::Number(name, op, value) => Filter::Number(comparison(name, op, *value)),
            LabelFilter::Duration(name, op, value) => {
                Filter::Duration(comparison(name, op, *value))
            }
            // Loki runs what it prints of a query, and sizes lose digits in print: 5KiB compares as 5.1kB.
            LabelFilter::Bytes(name, op, value) => {
                Filter::Bytes(comparison(name, op, parse_bytes(&human_bytes(*value))?))
            }
            LabelFilter::Ip {
                name,
                negated,
                pattern,
            } => Filter::Ip {
                name: name.clone(),
                negated: *negated,
                addresses: Addresses::new(pattern).ok(),
            },
            LabelFilter::And(left, right) => Filter::And(
                Box::new(Self::compile(left)?),
                Box::new(Self::compile(right)?),
            ),
            LabelFilter::Or(left, right) => Filter::Or(
                Box::new(Self::compile(left)?),
                Box::new(Self::compile(right)?),
            ),
        })
    }

    /// The label that the filter concerns, if it is about one alone and not joined from others.
    pub(super) fn single_name(&self) -> Option<&str> {
        match self {
            Filter::Text(text) => Some(&text.name),
            Filter::Number(comparison) => Some(&comparison.name),
            Filter::Duration(comparison) => Some(&comparison.name),
            Filter::Bytes(comparison) => Some(&comparison.name),
            Filter::Ip { name, .. } => Some(name),
            Filter::Always | Filter::And(..) | Filter::Or(..) => None,
        }
    }

    /// Adds the names of all labels that the filter concerns.
    pub(super) fn names(&self, out: &mut Vec<String>) {
        if let Some(name) = self.single_name() {
            out.push(name.to_owned());
        }
        if let Filter::And(left, right) | Filter::Or(left, right) = self {
            left.names(out);
            right.names(out);
        }
    }

    /// Whether the entry stays. What cannot be compared stays, and fills the error slot unless that is full.
    pub(super) fn passes(&self, labels: &mut Labels<'_, '_, '_>) -> bool {
        match self {
            Filter::Always => true,
            Filter::Text(text) => text.passes(labels),
            Filter::Number(comparison) => comparison.passes(labels, parse_float),
            Filter::Duration(comparison) => comparison.passes(labels, parse_go_duration),
            Filter::Bytes(comparison) => comparison.passes(labels, parse_bytes),
            Filter::Ip {
                name,
                negated,
                addresses,
            } => {
                if labels.has_error() {
                    return true;
                }
                let (Some(value), Some(addresses)) = (labels.get(name), addresses) else {
                    return false;
                };
                addresses.are_in(value.as_bytes()) != *negated
            }
            Filter::And(left, right) => {
                // The right side may fail although the left one has decided.
                let (left, right) = (left.passes(labels), right.passes(labels));
                left && right
            }
            Filter::Or(left, right) => left.passes(labels) || right.passes(labels),
        }
    }
}

impl<T: PartialOrd> Comparison<T> {
    fn passes(
        &self,
        labels: &mut Labels<'_, '_, '_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> bool {
        let Some(text) = labels.get(&self.name) else {
            return false;
        };
        match parse(text) {
            Ok(value) => self.op.holds(&value, &self.value),
            Err(details) => {
                if !labels.has_error() {
                    labels.fail(FAILED, Some(&details));
                }
                true
            }
        }
    }
}

/// Compiles a string filter. One that always passes is none.
fn text(matcher: &Matcher) -> Filter {
    let negated = matches!(matcher.op(), MatchOp::NotEqual | MatchOp::NotRegex);
    let test = match matcher.regex() {
        None => Test::Equal(matcher.value().to_owned()),
        Some(regex) => match of_label(matcher.value()) {
            None => Test::Regex(regex.clone()),
            Some(Choice::Always) if !negated => return Filter::Always,
            Some(Choice::Always) => Test::Any(vec![Piece::Contains(Box::new(
                Finder::new(b"").into_owned(),
            ))]),
            Some(Choice::Any(words)) => Test::Any(words.into_iter().map(Piece::new).collect()),
        },
    };
    Filter::Text(Text {
        name: matcher.name().to_owned(),
        negated,
        test,
    })
}

impl Text {
    fn passes(&self, labels: &Labels<'_, '_, '_>) -> bool {
        let value = if self.name == ERROR {
            labels.error()
        } else {
            labels.get(&self.name).unwrap_or_default()
        };
        let found = match &self.test {
            Test::Equal(text) => text == value,
            Test::Any(pieces) => pieces.iter().any(|piece| piece.matches(value)),
            Test::Regex(regex) => regex.is_match(value.as_bytes()),
        };
        found != self.negated
    }
}

impl Piece {
    fn new(word: Word) -> Self {
        match word {
            Word::Some => Piece::Some,
            Word::Literal { text, fold, whole } => match (fold, whole) {
                (false, true) => Piece::Equal(text),
                (false, false) => {
                    Piece::Contains(Box::new(Finder::new(text.as_bytes()).into_owned()))
                }
                (true, true) => Piece::EqualFolded(text),
                (true, false) => Piece::ContainsFolded(text),
            },
        }
    }

    fn matches(&self, value: &str) -> bool {
        match self {
            Piece::Some => !value.is_empty(),
            Piece::Equal(text) => text == value,
            Piece::Contains(finder) => finder.find(value.as_bytes()).is_some(),
            Piece::EqualFolded(text) => text.len() == value.len() && begins_folded(value, text),
            Piece::ContainsFolded(text) => value
                .char_indices()
                .any(|(i, _)| begins_folded(&value[i..], text)),
        }
    }
}

/// Whether a value in lower case begins with a text that is in lower case.
fn begins_folded(value: &str, text: &str) -> bool {
    let mut value = value.chars();
    text.chars().all(|wanted| {
        value.next().is_some_and(|c| {
            c == wanted || {
                // The simple mapping: one character for one.
                let mut lower = c.to_lowercase();
                lower.next() == Some(wanted) && lower.next().is_none()
            }
        })
    })
}
