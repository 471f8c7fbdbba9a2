//! Label matchers of a stream selector.

use regex::bytes::Regex;

use crate::regexes::{Anchors, Budget, check_utf8};

/// How a matcher compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored, dot matches newline
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator as written.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// One matcher, its regex compiled.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    op: MatchOp,
    value: String,
    /// What was written, if it is not valid UTF-8. `value` has replacement characters then, as stored labels have.
    raw: Option<Vec<u8>>,
    /// Present for the two regex operators.
    regex: Option<Regex>,
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        // A regex follows from its text.
        (&self.name, self.op, self.written()) == (&other.name, other.op, other.written())
    }
}

impl Matcher {
    /// Compiles a matcher of a selector, `drop` or `keep`: the whole value must match, a dot matches newline.
    pub(crate) fn new(
        name: String,
        op: MatchOp,
        value: Vec<u8>,
        budget: &mut Budget,
    ) -> Result<Self, String> {
        Self::anchored(name, op, value, "(?s:", budget)
    }

    /// Compiles a matcher of a label filter, where a dot does not match newline.
    pub(crate) fn of_filter(
        name: String,
        op: MatchOp,
        value: Vec<u8>,
        budget: &mut Budget,
    ) -> Result<Self, String> {
        Self::anchored(name, op, value, "(?:", budget)
    }

    fn anchored(
        name: String,
        op: MatchOp,
        value: Vec<u8>,
        group: &str,
        budget: &mut Budget,
    ) -> Result<Self, String> {
        let (value, raw) = match String::from_utf8(value) {
            Ok(value) => (value, None),
            Err(error) => {
                let raw = error.into_bytes();
                (String::from_utf8_lossy(&raw).into_owned(), Some(raw))
            }
        };
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                if let Some(raw) = raw.as_ref().filter(|raw| !is_literal_choice(raw)) {
                    check_utf8(raw)?;
                }
                let translated = budget.translate(&value, Anchors::Text)?;
                Some(budget.compile_for_labels(&format!("^{group}{translated})$"))?)
            }
        };
        Ok(Matcher {
            name,
            op,
            value,
            raw,
            regex,
        })
    }

    /// The label's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The operator.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }

    /// The value or regex as written; what is not UTF-8 in it is U+FFFD.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The value or regex as written, byte for byte.
    pub(crate) fn written(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.value.as_bytes())
    }

    /// The anchored regex of the two regex operators.
    pub(crate) fn regex(&self) -> Option<&Regex> {
        self.regex.as_ref()
    }

    /// Whether `value` (empty for a missing label) satisfies the matcher.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let regex = |value: &str| {
            self.regex
                .as_ref()
                .is_some_and(|r| r.is_match(value.as_bytes()))
        };
        match self.op {
            MatchOp::Equal => self.value == value,
            MatchOp::NotEqual => self.value != value,
            MatchOp::Regex => regex(value),
            MatchOp::NotRegex => !regex(value),
        }
    }
}

/// Words between `|` without any special character: Loki compares them byte by byte and never parses them.
fn is_literal_choice(regex: &[u8]) -> bool {
    !regex.iter().any(|b| b"\\.+*?()[]{}^$".contains(b))
}

/// Whether a stream's labels satisfy all matchers; a missing label is the empty string.
#[must_use]
pub fn all_match(matchers: &[Matcher], labels: crate::Pairs<'_>) -> bool {
    matchers
        .iter()
        .all(|m| m.matches(value_of(labels, m.name())))
}

/// The value of a label, empty if it is missing.
pub(crate) fn value_of<'a>(labels: crate::Pairs<'a>, name: &str) -> &'a str {
    labels
        .iter()
        .find(|(n, _)| *n == name)
        .map_or("", |(_, value)| value)
}
