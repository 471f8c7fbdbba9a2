//! Go's regular expressions on Rust's engine: a translation that accepts what Go accepts, means what Go means, and fails
//! with Go's words. Groups become non-capturing, unless somebody reads captures.
//!
//! Bounds: groups nest at most 200 deep, counted repetition multiplies to at most 1000 (Go's bound), the trees that a
//! pattern is read into have a bound of their own, and all regexes of a query share a [`Budget`] of memory and time.
//! What is beyond is refused as `expression too large`.
//!
//! One thing that Go accepts is refused: a repetition directly behind a group of flags only, `x(?i)*`.

mod translate;
mod tree;

use std::borrow::Cow;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, Hir, HirKind};

pub(crate) use translate::{Anchors, CharRange, char_ranges, class_at, counts, escaped_char};
use translate::{Kept, Translation, fault, run};

/// Bytes of compiled programs that all regexes of a query may take together.
const MAX_PROGRAMS: usize = 6 << 20;
/// Sizes tried for one program: the smallest that suffices is charged to the budget.
const PROGRAM_SIZES: [usize; 4] = [16 << 10, 128 << 10, 512 << 10, 2 << 20];
/// What reading and compiling all regexes of a query may cost, in units of about a microsecond.
const MAX_WORK: u64 = 1_000_000;
/// Bytes of lazy automata that the regexes of a query share. The first gets a quarter of it, each further one a quarter
/// of what is left: what most queries have is fast, and many regexes together stay small.
const AUTOMATA: usize = 4 << 20;
/// An automaton gets at least so much in each direction. It holds only some states; then the engine that is slower and
/// needs no memory does the rest.
const AUTOMATON_MIN: usize = 8 << 10;
/// Regexes that see only labels of streams or series get no more.
const AUTOMATON_OF_LABELS: usize = 64 << 10;

/// What the regexes of a query may still take.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    programs: usize,
    automata: usize,
    work: u64,
    /// Bytes that the regexes so far take once they have run.
    used: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget {
            automata: AUTOMATA,
            ..Budget::limited(MAX_PROGRAMS)
        }
    }
}

impl Budget {
    /// A budget whose programs may take so many bytes, and automata at most as many again.
    pub(crate) fn limited(programs: usize) -> Self {
        Budget {
            programs,
            automata: programs,
            work: MAX_WORK,
            used: 0,
        }
    }

    /// Bytes that the regexes compiled so far take once they have run.
    pub(crate) fn used(&self) -> usize {
        self.used
    }

    /// A Go pattern in Rust's syntax, for use with `regex::bytes`.
    pub(crate) fn translate(&mut self, pattern: &str, anchors: Anchors) -> Result<String, String> {
        Ok(self.run(pattern, anchors, Kept::None)?.out)
    }

    /// A Go pattern in Rust's syntax whose named groups are its only groups, and their names in order.
    pub(crate) fn translate_captures(
        &mut self,
        pattern: &str,
    ) -> Result<(String, Vec<String>), String> {
        let translation = self.run(pattern, Anchors::Text, Kept::Named)?;
        Ok((translation.out, translation.names))
    }

    /// A Go pattern in Rust's syntax whose groups can be asked for by number, and their names; the first is the whole
    /// match.
    pub(crate) fn translate_groups(
        &mut self,
        pattern: &str,
    ) -> Result<(String, Vec<Option<String>>), String> {
        let translation = self.run(pattern, Anchors::Text, Kept::All)?;
        Ok((translation.out, translation.captures))
    }

    /// Whether a pattern is one at all.
    pub(crate) fn validate(&mut self, pattern: &str) -> Result<(), String> {
        self.translate(pattern, Anchors::Text).map(drop)
    }

    /// The check of the `regexp` stage: named captures, at least one, no name twice.
    pub(crate) fn check_captures(&mut self, pattern: &[u8]) -> Result<(), String> {
        let names = check_utf8(pattern)
            .and_then(|pattern| self.translate_captures(pattern))
            .map_err(|error| format!("invalid regexp parser: {error}"))?
            .1;
        if names.is_empty() {
            return Err(
                "invalid regexp parser: at least one named capture must be supplied".to_owned(),
            );
        }
        for (i, name) in names.iter().enumerate() {
            if names[..i].contains(name) {
                return Err(format!(
                    "invalid regexp parser: duplicate extracted label name '{name}'"
                ));
            }
        }
        Ok(())
    }

    fn run(&mut self, pattern: &str, anchors: Anchors, kept: Kept) -> Result<Translation, String> {
        let translation = run(pattern, anchors, kept)?;
        tree::check(&translation.out)?;
        match self.work.checked_sub(translation.work) {
            Some(left) => self.work = left,
            None => return Err(too_large(pattern)),
        }
        Ok(translation)
    }

    /// Compiles a translated pattern.
    pub(crate) fn compile(&mut self, pattern: &str) -> Result<Regex, String> {
        self.build(pattern, usize::MAX)
    }

    /// Compiles a translated pattern that only sees labels of streams or series, of which there are few.
    pub(crate) fn compile_for_labels(&mut self, pattern: &str) -> Result<Regex, String> {
        self.build(pattern, AUTOMATON_OF_LABELS)
    }

    fn build(&mut self, pattern: &str, automaton_max: usize) -> Result<Regex, String> {
        tree::check(pattern)?;
        // One for each direction.
        let automaton = (self.automata / 8).clamp(AUTOMATON_MIN, automaton_max);
        for size in PROGRAM_SIZES {
            if size > self.programs {
                break;
            }
            let built = RegexBuilder::new(pattern)
                .size_limit(size)
                .dfa_size_limit(automaton)
                .build();
            match built {
                Ok(regex) => {
                    self.programs -= size;
                    self.automata = self.automata.saturating_sub(2 * automaton);
                    self.used += size + 2 * automaton;
                    return Ok(regex);
                }
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => return Err(format!("error parsing regexp: {error}")),
            }
        }
        Err(too_large(pattern))
    }

    /// As [`Budget::compile`], for texts that may hold anything.
    pub(crate) fn compile_decoding(&mut self, pattern: &str) -> Result<Decoding, String> {
        // The tree may be large: it is gone when the next one is made.
        let decodes = holds_replacement(&parse(pattern)?);
        Ok(Decoding::new(self.compile(pattern)?, decodes))
    }
}

fn too_large(pattern: &str) -> String {
    /// Characters that are shown of the pattern.
    const SHOWN: usize = 100;
    let mut shown: String = pattern.chars().take(SHOWN).collect();
    if shown.len() < pattern.len() {
        shown.push_str("...");
    }
    let one = PROGRAM_SIZES[PROGRAM_SIZES.len() - 1];
    let tree = tree::MAX_TREE;
    format!(
        "error parsing regexp: expression too large: `{shown}` (limits: {tree} bytes for the tree of a pattern, {one} for \
         its program, {MAX_PROGRAMS} for all programs of a query)"
    )
}

/// A pattern given as bytes, which must be text.
///
/// # Errors
/// Go's text, which shows the pattern from the fault on.
pub(crate) fn check_utf8(pattern: &[u8]) -> Result<&str, String> {
    str::from_utf8(pattern).map_err(|error| {
        let rest = String::from_utf8_lossy(&pattern[error.valid_up_to()..]);
        fault("invalid UTF-8", &rest)
    })
}

/// The tree of a translated pattern.
pub(crate) fn parse(translated: &str) -> Result<Hir, String> {
    tree::check(translated)?;
    regex_syntax::ParserBuilder::new()
        .utf8(false)
        .build()
        .parse(translated)
        .map_err(|error| format!("error parsing regexp: {error}"))
}

/// A regex that sees bytes which are no text as Go sees them: each is U+FFFD.
///
/// The engine below never matches such bytes by a class. That makes a difference only where a class holds U+FFFD, and
/// only for what is not valid UTF-8.
#[derive(Debug, Clone)]
pub(crate) struct Decoding {
    regex: Regex,
    decodes: bool,
}

impl Decoding {
    /// A compiled regex, and whether [`holds_replacement`] of its tree.
    pub(crate) fn new(regex: Regex, decodes: bool) -> Self {
        Decoding { regex, decodes }
    }

    /// Whether bytes that are no text matter at all.
    pub(crate) fn decodes(&self) -> bool {
        self.decodes
    }

    pub(crate) fn is_match(&self, text: &[u8]) -> bool {
        // What matches undecoded matches decoded.
        self.regex.is_match(text)
            || (self.decodes
                && matches!(self.decode(text), Cow::Owned(text) if self.regex.is_match(&text)))
    }

    /// A text as the regex has to see it.
    pub(crate) fn decode<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        if !self.decodes || str::from_utf8(text).is_ok() {
            return Cow::Borrowed(text);
        }
        let mut out = Vec::with_capacity(text.len() + 16);
        for chunk in text.utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            for _ in chunk.invalid() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
        Cow::Owned(out)
    }
}

impl std::ops::Deref for Decoding {
    type Target = Regex;

    fn deref(&self) -> &Regex {
        &self.regex
    }
}

/// Whether a class or literal of it holds U+FFFD, so that it may match what is no text.
pub(crate) fn holds_replacement(hir: &Hir) -> bool {
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => class
            .iter()
            .any(|r| r.start() <= '\u{fffd}' && '\u{fffd}' <= r.end()),
        HirKind::Literal(literal) => {
            str::from_utf8(&literal.0).is_ok_and(|t| t.contains('\u{fffd}'))
        }
        HirKind::Repetition(repetition) => holds_replacement(&repetition.sub),
        HirKind::Capture(capture) => holds_replacement(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => parts.iter().any(holds_replacement),
        HirKind::Empty | HirKind::Look(_) | HirKind::Class(Class::Bytes(_)) => false,
    }
}

#[cfg(test)]
mod tests;
