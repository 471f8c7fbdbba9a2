//! Line filters: literals by memmem, regexes, patterns and addresses.

use std::sync::Arc;

use memchr::memmem::Finder;
use regex::bytes::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};

use super::ip::Addresses;
use crate::ast::{FilterOp, Operand};
use crate::needle::Needle;
use crate::pattern::PatternFilter;
use crate::regexes::{Anchors, Budget, Decoding, check_utf8, holds_replacement, parse};
use crate::words::{self, Choice, Word};

/// A line filter on the raw line, for use over a whole column of lines before they are split.
#[derive(Debug, Clone)]
pub struct LineFilter {
    negated: bool,
    test: Arc<Test>,
}

#[derive(Debug)]
enum Test {
    /// Every line matches.
    Always,
    Literal(Finder<'static>),
    Regex {
        line: Decoding,
        /// Occurs in every match.
        required: Option<Finder<'static>>,
        needle: Option<Needle>,
        column: Column,
        /// What `column` finds inside a line is a match of the line: there are no anchors.
        unanchored: bool,
    },
    Patterns(Vec<PatternFilter>),
    /// One of the addresses, or what else is in the chain.
    Addresses {
        addresses: Vec<Addresses>,
        texts: Option<Box<Test>>,
    },
}

/// What finds matches in a buffer of many lines.
#[derive(Debug)]
enum Column {
    /// Nothing: a match could reach over a line's end.
    None,
    /// The same regex that looks at a line.
    Line,
    /// One whose anchors are those of lines.
    Regex(Regex),
}

impl Test {
    fn matches(&self, line: &[u8]) -> bool {
        match self {
            Test::Always => true,
            Test::Literal(finder) => finder.find(line).is_some(),
            Test::Regex { line: regex, .. } => regex.is_match(line),
            Test::Patterns(patterns) => patterns.iter().any(|p| p.matches(line)),
            Test::Addresses { addresses, texts } => {
                texts.as_ref().is_some_and(|test| test.matches(line))
                    || addresses.iter().any(|a| a.are_in(line))
            }
        }
    }
}

impl LineFilter {
    /// Compiles a chain. A positive one becomes one filter, a negated one a filter for each operand: all must fail.
    pub(super) fn compile(
        op: FilterOp,
        operands: &[Operand],
        budget: &mut Budget,
        out: &mut Vec<LineFilter>,
    ) -> Result<(), String> {
        let parts = if op.is_negative() { 1 } else { operands.len() };
        for part in operands.chunks(parts) {
            out.extend(Self::compile_one(op, part, budget)?);
        }
        Ok(())
    }

    /// `None`: a filter that passes everything.
    fn compile_one(
        op: FilterOp,
        operands: &[Operand],
        budget: &mut Budget,
    ) -> Result<Option<LineFilter>, String> {
        let mut addresses = Vec::new();
        for operand in operands.iter().filter(|operand| operand.ip) {
            if !matches!(op, FilterOp::Contains | FilterOp::NotContains) {
                return Err("ip: invalid operation".to_owned());
            }
            addresses.push(Addresses::new(&operand.text)?);
        }
        let texts = operands.iter().filter(|operand| !operand.ip);
        let texts: Vec<&[u8]> = texts.map(|o| o.text.as_slice()).collect();
        let mut test = match op {
            FilterOp::Contains | FilterOp::NotContains => literals(&texts, budget)?,
            FilterOp::Regex | FilterOp::NotRegex => regexes(&texts, budget)?,
            FilterOp::Pattern | FilterOp::NotPattern => {
                let patterns = texts.iter().map(|text| PatternFilter::new(text));
                Test::Patterns(patterns.collect::<Result<_, _>>()?)
            }
        };
        if !addresses.is_empty() {
            let texts = (!matches!(test, Test::Always)).then(|| Box::new(test));
            test = Test::Addresses { addresses, texts };
        }
        let negated = op.is_negative();
        if matches!(test, Test::Always) && !negated {
            return Ok(None);
        }
        Ok(Some(LineFilter {
            negated,
            test: Arc::new(test),
        }))
    }

    /// Whether one line passes.
    #[must_use]
    pub fn matches(&self, line: &[u8]) -> bool {
        self.test.matches(line) != self.negated
    }

    /// A literal that every passing line holds (for `|=`, and for regexes that have a required literal), so that
    /// a column without it can be skipped and a column with it searched as one buffer. `None` when there is none
    /// (negations, case-insensitive regexes).
    #[must_use]
    pub fn required_literal(&self) -> Option<&[u8]> {
        match &*self.test {
            _ if self.negated => None,
            Test::Literal(finder) => Some(finder.needle()),
            Test::Regex { required, .. } => required.as_ref().map(Finder::needle),
            _ => None,
        }
    }

    /// What every passing line holds; `None` when nothing is known of it (negations, addresses).
    #[must_use]
    pub fn needle(&self) -> Option<Needle> {
        match &*self.test {
            _ if self.negated => None,
            Test::Literal(finder) => Needle::text(finder.needle()),
            Test::Regex { needle, .. } => needle.clone(),
            Test::Patterns(patterns) => Needle::any(patterns.iter().map(PatternFilter::needle)),
            Test::Always | Test::Addresses { .. } => None,
        }
    }

    /// Offset of the first possible match in a buffer of many lines separated by line feeds, from `from` on: a line
    /// that contains no candidate cannot pass. `None`: nothing further. Only for filters where
    /// [`LineFilter::is_positive`]; callers confirm the line with [`LineFilter::matches`] (unless
    /// [`LineFilter::candidate_is_match`]) and go on from the next line's start.
    #[must_use]
    pub fn find_candidate(&self, column: &[u8], from: usize) -> Option<usize> {
        let rest = column.get(from..)?;
        let found = match &*self.test {
            _ if self.negated => Some(0),
            Test::Literal(finder) => finder.find(rest),
            // The engine looks for the literals of a regex by itself.
            Test::Regex {
                column: Column::Regex(regex),
                line,
                ..
            } => return find_in_column(column, from, regex, line),
            Test::Regex {
                column: Column::Line,
                line,
                ..
            } => return find_in_column(column, from, line, line),
            Test::Regex {
                required: Some(finder),
                ..
            } => finder.find(rest),
            _ => Some(0),
        };
        found.map(|at| from + at)
    }

    /// Whether a candidate inside a line is proof that the line passes (literals, regexes without anchors that cannot
    /// match a line feed).
    #[must_use]
    pub fn candidate_is_match(&self) -> bool {
        match &*self.test {
            _ if self.negated => false,
            Test::Literal(_) => true,
            Test::Regex {
                column, unanchored, ..
            } => !matches!(column, Column::None) && *unanchored,
            _ => false,
        }
    }

    /// True for `|=`, `|~` and `|>`: the filter passes only lines that contain something.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        !self.negated
    }
}

/// One of what a filter looks for.
enum Branch {
    Literal(Vec<u8>),
    /// A translated regex.
    Regex(String),
}

/// Any of some literals. An empty one in a chain is ignored: so does Loki.
fn literals(texts: &[&[u8]], budget: &mut Budget) -> Result<Test, String> {
    let mut texts: Vec<&[u8]> = texts.iter().copied().filter(|t| !t.is_empty()).collect();
    texts.dedup();
    let branches: Vec<Branch> = texts.iter().map(|t| Branch::Literal(t.to_vec())).collect();
    any_of(branches, budget)
}

/// Any of some regexes. Loki makes literal tests of many, and what is always true among those is left out unless all
/// is: so here.
fn regexes(texts: &[&[u8]], budget: &mut Budget) -> Result<Test, String> {
    let mut branches = Vec::new();
    let mut whole = None;
    for text in texts {
        let text = check_utf8(text)?;
        let translated = budget.translate(text, Anchors::Text)?;
        match words::of_label(text) {
            None => {
                branches.push(Branch::Regex(translated));
                whole = Some(text);
            }
            Some(Choice::Always) => {}
            Some(Choice::Any(words)) => branches.extend(words.into_iter().map(word_branch)),
        }
    }
    match (branches.as_slice(), whole) {
        ([Branch::Regex(translated)], Some(text)) => whole_regex(translated, text, budget),
        _ => any_of(branches, budget),
    }
}

/// A test that Loki makes of a part of a regex. It compares folded words by their lower case, so that no letter beyond
/// ASCII (the Kelvin sign, the long s) equals one of theirs; that is also faster.
fn word_branch(word: Word) -> Branch {
    match word {
        Word::Some => Branch::Regex("(?s-u:.)".to_owned()),
        Word::Literal {
            text, fold: false, ..
        } => Branch::Literal(text.into_bytes()),
        Word::Literal { text, .. } => {
            let flags = if text.is_ascii() { "i-u" } else { "i" };
            Branch::Regex(format!("(?{flags}:{})", regex_syntax::escape(&text)))
        }
    }
}

/// A test by one regex, which can search many lines at once unless it reaches over their ends.
fn whole_regex(translated: &str, text: &str, budget: &mut Budget) -> Result<Test, String> {
    let facts = Facts::of(&parse(translated)?);
    let line = budget.compile(translated)?;
    let column = if facts.reaches_over_lines {
        Column::None
    } else {
        let lines = budget.translate(text, Anchors::Lines)?;
        match lines == translated {
            true => Column::Line,
            false => Column::Regex(budget.compile(&lines)?),
        }
    };
    Ok(Test::Regex {
        line: Decoding::new(line, facts.decodes),
        required: facts.required,
        needle: facts.needle,
        column,
        unanchored: !facts.anchored,
    })
}

/// A test by whatever of the branches is there.
fn any_of(branches: Vec<Branch>, budget: &mut Budget) -> Result<Test, String> {
    match branches.as_slice() {
        [] => return Ok(Test::Always),
        [Branch::Literal(text)] => return Ok(Test::Literal(Finder::new(text).into_owned())),
        _ => {}
    }
    let mut pattern = String::new();
    for branch in branches {
        let separator = if pattern.is_empty() { "" } else { "|" };
        pattern.push_str(separator);
        match branch {
            Branch::Literal(text) => pattern.push_str(&Hir::literal(text).to_string()),
            Branch::Regex(regex) => pattern.extend(["(?:", &regex, ")"]),
        }
    }
    let facts = Facts::of(&parse(&pattern)?);
    let line = budget.compile(&pattern)?;
    let plain = !facts.looks && !facts.reaches_over_lines;
    Ok(Test::Regex {
        column: if plain { Column::Line } else { Column::None },
        required: facts.required,
        needle: facts.needle,
        line: Decoding::new(line, facts.decodes),
        unanchored: true,
    })
}

/// What a filter has to know of a regex's tree. The tree itself may be large, and is gone when the regex is compiled.
struct Facts {
    required: Option<Finder<'static>>,
    needle: Option<Needle>,
    reaches_over_lines: bool,
    /// Whether bytes that are no text matter.
    decodes: bool,
    anchored: bool,
    looks: bool,
}

impl Facts {
    fn of(hir: &Hir) -> Facts {
        let looks = hir.properties().look_set();
        Facts {
            required: required(hir),
            needle: Needle::of_regex(hir),
            reaches_over_lines: reaches_over_lines(hir),
            decodes: holds_replacement(hir),
            anchored: looks.contains_anchor(),
            looks: !looks.is_empty(),
        }
    }
}

/// The first match in a buffer of lines from an offset on. A line that is no text may match where the buffer does not.
fn find_in_column(column: &[u8], from: usize, regex: &Regex, line: &Decoding) -> Option<usize> {
    let found = regex.find_at(column, from).map(|m| m.start());
    if !line.decodes() {
        return found;
    }
    let mut from = from;
    let end = found.unwrap_or(column.len());
    while let Err(error) = str::from_utf8(&column[from..end]) {
        let at = from + error.valid_up_to();
        let start = memchr::memrchr(b'\n', &column[..at]).map_or(0, |at| at + 1);
        let len = memchr::memchr(b'\n', &column[at..]).unwrap_or(column.len() - at);
        if line.is_match(&column[start..at + len]) {
            return Some(at);
        }
        from = at + len;
        if from >= end {
            break;
        }
    }
    found
}

/// The longest literal that every match holds. U+FFFD is none: bytes that are no text match it, too.
fn required(hir: &Hir) -> Option<Finder<'static>> {
    longest(hir).map(|text| Finder::new(text).into_owned())
}

fn longest(hir: &Hir) -> Option<&[u8]> {
    match hir.kind() {
        HirKind::Literal(literal) => {
            (!holds_replacement(hir) && !literal.0.is_empty()).then_some(&literal.0)
        }
        HirKind::Capture(capture) => longest(&capture.sub),
        HirKind::Repetition(repetition) if repetition.min > 0 => longest(&repetition.sub),
        HirKind::Concat(parts) => parts
            .iter()
            .filter_map(longest)
            .max_by_key(|text| text.len()),
        _ => None,
    }
}

fn reaches_over_lines(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => false,
        HirKind::Literal(literal) => literal.0.contains(&b'\n'),
        HirKind::Class(Class::Unicode(class)) => {
            class.iter().any(|r| r.start() <= '\n' && '\n' <= r.end())
        }
        HirKind::Class(Class::Bytes(class)) => {
            class.iter().any(|r| r.start() <= b'\n' && b'\n' <= r.end())
        }
        HirKind::Repetition(repetition) => reaches_over_lines(&repetition.sub),
        HirKind::Capture(capture) => reaches_over_lines(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().any(reaches_over_lines)
        }
    }
}
