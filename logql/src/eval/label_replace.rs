//! `label_replace(v, dst, replacement, src, regex)`.

use regex::bytes::Regex;

use super::EvalError;
use super::memory::Memory;
use crate::ParseError;
use crate::ast;
use crate::error::plain;
use crate::regexes::Budget;
use crate::replacement::Replacement;
use crate::value::{Matrix, SeriesLabels};

/// A compiled replacement of labels.
#[derive(Debug, Clone)]
pub(crate) struct LabelReplacer {
    dst: String,
    src: String,
    replacement: Replacement,
    regex: Regex,
}

impl LabelReplacer {
    pub(crate) fn compile(
        replace: &ast::LabelReplace,
        budget: &mut Budget,
    ) -> Result<Self, ParseError> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let fail = |e| plain(format!("invalid regex in label_replace: {e}"));
        let (pattern, groups) = budget
            .translate_groups(&text(&replace.regex))
            .map_err(fail)?;
        let regex = budget
            .compile_for_labels(&format!("^(?:{pattern})$"))
            .map_err(fail)?;
        Ok(LabelReplacer {
            dst: text(&replace.dst),
            src: text(&replace.src),
            replacement: Replacement::parse(&text(&replace.replacement), &groups),
            regex,
        })
    }

    /// Replaces the label of every series whose source matches. What becomes equal stays apart.
    pub(super) fn apply(&self, matrix: &mut Matrix, memory: &mut Memory) -> Result<(), EvalError> {
        for series in &mut matrix.series {
            if let Some(value) = self.value(&series.labels, memory.left()) {
                memory.take(value.len())?;
                set(&mut series.labels, &self.dst, value);
            }
        }
        Ok(())
    }

    /// The new value, if the source matches. A label that is missing is an empty source. What is longer than the limit
    /// may be incomplete.
    fn value(&self, labels: &SeriesLabels, limit: usize) -> Option<String> {
        let source = labels.iter().find(|(name, _)| *name == self.src);
        let source = source.map_or("", |(_, value)| value.as_str());
        let captures = self.regex.captures(source.as_bytes())?;
        let mut value = Vec::new();
        self.replacement.expand(&captures, limit, &mut value);
        Some(String::from_utf8_lossy(&value).into_owned())
    }
}

/// Sets a label; an empty value removes it, as other empty labels go.
fn set(labels: &mut SeriesLabels, name: &str, value: String) {
    labels.retain(|(_, value)| !value.is_empty());
    match labels.binary_search_by(|(n, _)| n.as_str().cmp(name)) {
        Ok(at) if value.is_empty() => {
            labels.remove(at);
        }
        Ok(at) => labels[at].1 = value,
        Err(_) if value.is_empty() => {}
        Err(at) => labels.insert(at, (name.to_owned(), value)),
    }
}
