//! Label matchers of a stream selector.

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

/// One matcher, its regex compiled.
#[derive(Debug, Clone)]
pub struct Matcher {
    // owner: the logql crate; fields are private
}

impl Matcher {
    /// The label's name.
    #[must_use]
    pub fn name(&self) -> &str {
        unimplemented!()
    }
    /// The operator.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        unimplemented!()
    }
    /// The value or regex as written.
    #[must_use]
    pub fn value(&self) -> &str {
        unimplemented!()
    }
    /// Whether `value` (empty for a missing label) satisfies the matcher.
    #[must_use]
    pub fn matches(&self, _value: &str) -> bool {
        unimplemented!()
    }
}

/// Whether a stream's labels satisfy all matchers; a missing label is the empty string.
#[must_use]
pub fn all_match(_matchers: &[Matcher], _labels: crate::Pairs<'_>) -> bool {
    unimplemented!()
}
