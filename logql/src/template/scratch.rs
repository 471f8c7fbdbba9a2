//! What evaluations use again: buffers, compiled patterns, zones.

use std::sync::Arc;

use regex::bytes::Regex;

use super::time::Zones;
use super::{OUTPUT_MAX, PATTERN_BYTES};
use crate::regexes::Budget;

/// Buffers that are kept.
const BUFFERS_MAX: usize = 8;
/// Largest buffer that is kept, in bytes: one huge line must not keep memory for ever.
const BUFFER_BYTES: usize = 64 << 10;
/// Patterns that are kept.
const PATTERNS_MAX: usize = 8;

/// Space for evaluations, one after the other. Each thread has its own.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// Longest string and longest result.
    pub(super) limit: usize,
    buffers: Vec<Vec<u8>>,
    /// Most recently used last.
    patterns: Vec<Pattern>,
    pub(super) zones: Zones,
    /// Work since somebody asked, in bytes handled.
    spent: usize,
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::with_limit(OUTPUT_MAX)
    }
}

impl Scratch {
    /// Results, and strings on the way to them, have at most `limit` bytes.
    pub(crate) fn with_limit(limit: usize) -> Self {
        Scratch {
            limit,
            buffers: Vec::new(),
            patterns: Vec::new(),
            zones: Zones::default(),
            spent: 0,
        }
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.spent = self.spent.saturating_add(bytes);
    }

    /// What evaluations have cost since this was last asked, in bytes handled.
    pub(crate) fn take_spent(&mut self) -> usize {
        std::mem::take(&mut self.spent)
    }

    /// An empty buffer.
    pub(super) fn take(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub(super) fn give(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < BUFFERS_MAX && buffer.capacity() <= BUFFER_BYTES {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// The pattern of a text, compiled now if it is not known. The flag says whether it was.
    pub(super) fn pattern(&mut self, text: &[u8]) -> (Result<Arc<Compiled>, String>, bool) {
        if let Some(at) = self.patterns.iter().position(|p| *p.text == *text) {
            let pattern = self.patterns.remove(at);
            let result = pattern.result.clone();
            self.patterns.push(pattern);
            return (result, true);
        }
        let pattern = Pattern::compile(text, &mut Budget::limited(PATTERN_BYTES));
        let result = pattern.result.clone();
        if self.patterns.len() == PATTERNS_MAX {
            self.patterns.remove(0);
        }
        self.patterns.push(pattern);
        (result, false)
    }
}

/// A regular expression as functions use it.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) regex: Regex,
    /// The names of the groups, in order; empty for those without.
    pub(super) names: Vec<String>,
}

/// A pattern's text and what became of it.
#[derive(Debug)]
pub(super) struct Pattern {
    pub(super) text: Box<[u8]>,
    pub(super) result: Result<Arc<Compiled>, String>,
}

impl Pattern {
    pub(super) fn compile(text: &[u8], budget: &mut Budget) -> Pattern {
        let compile = |budget: &mut Budget| {
            let Ok(text) = std::str::from_utf8(text) else {
                let text = String::from_utf8_lossy(text);
                return Err(format!("error parsing regexp: invalid UTF-8: `{text}`"));
            };
            let (translated, names) = budget.translate_groups(text)?;
            let regex = budget.compile(&translated)?;
            // The first is the whole match.
            let names = names.into_iter().skip(1).map(Option::unwrap_or_default);
            let names = names.collect();
            Ok(Arc::new(Compiled { regex, names }))
        };
        Pattern {
            text: text.into(),
            result: compile(budget),
        }
    }
}
