//! `unwrap`: the sample value of an entry from one of its labels.

use super::filter::Filter;
use super::labels::Labels;
use crate::ast;
use crate::ast::LabelFilter;
use crate::format::{parse_bytes, parse_float, parse_go_duration};

/// What the error slot says about a value that is no number.
const FAILED: &str = "SampleExtractionErr";

/// How a value becomes a number.
#[derive(Debug, Clone, Copy)]
enum Conversion {
    Float,
    Bytes,
    Seconds,
}

/// A compiled `unwrap` and the filters after it.
#[derive(Debug, Clone)]
pub(super) struct Unwrap {
    pub(super) name: String,
    conversion: Conversion,
    pub(super) filter: Filter,
}

impl Unwrap {
    /// Compiles the stage.
    pub(super) fn new(unwrap: &ast::Unwrap) -> Result<Self, String> {
        let filters = unwrap.filters.iter().cloned();
        let filter = filters.reduce(|a, b| LabelFilter::And(Box::new(a), Box::new(b)));
        Ok(Unwrap {
            name: unwrap.label.clone(),
            conversion: match unwrap.conversion {
                None => Conversion::Float,
                Some("bytes") => Conversion::Bytes,
                Some(_) => Conversion::Seconds,
            },
            filter: match filter {
                None => Filter::Always,
                Some(filter) => Filter::compile(&filter)?,
            },
        })
    }

    /// The value; `None`: the entry is no sample. What cannot be converted is 0 and fills the error slot, which the
    /// filters may look at.
    pub(super) fn value(&self, labels: &mut Labels<'_, '_, '_>) -> Option<f64> {
        let text = labels.get(&self.name).filter(|text| !text.is_empty())?;
        let value = match self.conversion {
            Conversion::Float => parse_float(text),
            Conversion::Bytes => parse_bytes(text).map(|bytes| bytes as f64),
            Conversion::Seconds => parse_go_duration(text).map(seconds),
        };
        let value = value.unwrap_or_else(|details| {
            labels.fail(FAILED, Some(&details));
            0.0
        });
        self.filter.passes(labels).then_some(value)
    }
}

/// Nanoseconds as seconds, whole ones and the rest apart so that no digit is lost.
fn seconds(ns: i64) -> f64 {
    let second = 1_000_000_000;
    (ns / second) as f64 + (ns % second) as f64 / 1e9
}
