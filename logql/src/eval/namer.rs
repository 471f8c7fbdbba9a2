//! Which series an entry belongs to: the labels of its outcome that the grouping keeps, by number.

use super::EvalError;
use super::accumulate::SeriesId;
use super::keeps;
use super::keys::Keys;
use super::memory::Memory;
use crate::pipeline::{Category, ERROR, Outcome, PRESERVE};
use crate::plan::RangeLeaf;

/// See the module.
#[derive(Debug)]
pub(super) struct Namer<'p> {
    leaf: &'p RangeLeaf,
    /// Names that the answer is grouped by, in order.
    names: Vec<&'p str>,
    pub(super) keys: Keys,
    last_stream: LastStream,
}

/// The last series of an entry whose labels were all those of its stream.
#[derive(Debug, Default)]
struct LastStream {
    last: Option<(u32, SeriesId)>,
    /// Where the values of its labels lie.
    places: Vec<(usize, usize)>,
}

/// Where a text lies.
fn place(text: &str) -> (usize, usize) {
    (text.as_ptr().addr(), text.len())
}

impl LastStream {
    #[inline]
    fn find(&self, stream: u32, outcome: &Outcome<'_>) -> Option<SeriesId> {
        let (last, series) = self.last?;
        if last != stream || self.places.len() != outcome.labels.len() {
            return None;
        }
        let mut places = outcome.labels.iter().zip(&self.places);
        let same = places.all(|((_, value, category), known)| {
            category == Category::Stream && place(value) == *known
        });
        same.then_some(series)
    }

    fn set(&mut self, stream: u32, outcome: &Outcome<'_>, series: SeriesId) {
        let mut labels = outcome.labels.iter();
        if labels.all(|(.., category)| category == Category::Stream) {
            self.places.clear();
            let values = outcome.labels.iter().map(|(_, value, _)| place(value));
            self.places.extend(values);
            self.last = Some((stream, series));
        }
    }
}

/// A series that was not known before.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    /// Its entries fail the query.
    pub(super) failing: bool,
}

impl<'p> Namer<'p> {
    pub(super) fn new(leaf: &'p RangeLeaf) -> Self {
        let names = leaf.grouped_by().unwrap_or_default();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        names.sort_unstable();
        names.dedup();
        Namer {
            leaf,
            names,
            keys: Keys::new(),
            last_stream: LastStream::default(),
        }
    }

    /// The series of an outcome.
    pub(super) fn find(
        &mut self,
        outcome: &Outcome<'_>,
        memory: &mut Memory,
    ) -> Result<(SeriesId, Option<New>), EvalError> {
        let preserved = outcome.failed && outcome.labels.get(PRESERVE) == Some("true");
        // An entry that failed shows all its labels. Only a sum around the aggregation, if it gets that far, groups it.
        let grouped = !outcome.failed || preserved && self.leaf.joined;
        // A label may have been parsed under the name of an error. That fails the query, too.
        let mut failing = outcome.failed;
        let labels = outcome.labels.iter().map(|(name, value, _)| (name, value));
        self.keys.start();
        match &self.leaf.grouping {
            Some(grouping) if grouped && grouping.without => {
                for (name, value) in labels.filter(|(name, _)| keeps(grouping, name)) {
                    failing |= name == ERROR;
                    self.keys.push(name, value);
                }
            }
            // Whoever gives labels may have left out all others, but need not.
            Some(_) if grouped => {
                let mut names = self.names.iter().copied().peekable();
                for (name, value) in labels {
                    while names.next_if(|wanted| *wanted < name).is_some() {}
                    if names.next_if_eq(&name).is_some() {
                        failing |= name == ERROR;
                        self.keys.push(name, value);
                    }
                }
            }
            _ => {
                for (name, value) in labels {
                    failing |= name == ERROR;
                    self.keys.push(name, value);
                }
            }
        }
        let (series, is_new) = self.keys.find(memory)?;
        let new = is_new.then_some(New {
            failing: failing && !preserved,
        });
        Ok((SeriesId(series), new))
    }

    /// The series of an outcome whose stream was the last one asked for, if its labels are all of the stream.
    #[inline]
    pub(super) fn of_stream(&self, stream: u32, outcome: &Outcome<'_>) -> Option<SeriesId> {
        if self.names.is_empty() || outcome.failed {
            return None;
        }
        self.last_stream.find(stream, outcome)
    }

    /// Remembers it.
    pub(super) fn keep(&mut self, stream: u32, outcome: &Outcome<'_>, series: SeriesId) {
        if !self.names.is_empty() && !outcome.failed {
            self.last_stream.set(stream, outcome, series);
        }
    }
}
