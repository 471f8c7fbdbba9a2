//! The compiled pipeline of a log expression: line filters, and later every other stage.
//!
//! Line filters do not look at labels and label filters not at the line, so all line filters come first: they see the
//! raw line and can be tried on a whole column of lines.

mod line;
#[cfg(test)]
mod tests;

pub use line::LineFilter;

use crate::Pairs;
use crate::ParseError;
use crate::ast::{LabelFilter, LogExpr, Stage};
use crate::error::unsupported;
use crate::matcher::value_of;
use crate::regexes::Budget;

/// What follows a metadata name that a stream label has already.
const EXTRACTED: &str = "_extracted";

/// A compiled pipeline: immutable, shared by threads. Scratch space is in [`PipelineRun`].
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    line: Vec<LineFilter>,
    labels: Vec<LabelFilter>,
}

impl Pipeline {
    /// Compiles the stages. What cannot be evaluated yet is refused here.
    pub(crate) fn compile(log: &LogExpr, budget: &mut Budget) -> Result<Self, ParseError> {
        let mut pipeline = Pipeline::default();
        for stage in &log.stages {
            match stage {
                Stage::Line(op, operands) => {
                    LineFilter::compile(*op, operands, budget, &mut pipeline.line)?;
                }
                Stage::Label(filter) => {
                    check_filter(filter)?;
                    pipeline.labels.push(filter.clone());
                }
                other => {
                    let text = crate::print::stage(other);
                    return Err(unsupported(&format!("stage '{text}'")));
                }
            }
        }
        Ok(pipeline)
    }

    /// No stages: every entry passes unchanged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line.is_empty() && self.labels.is_empty()
    }

    /// Whether any stage looks at the line. If not, entries may be given with an empty line.
    #[must_use]
    pub fn uses_line(&self) -> bool {
        !self.line.is_empty()
    }

    /// Whether any stage looks at the entry's time.
    #[must_use]
    pub fn uses_time(&self) -> bool {
        false
    }

    /// Whether any stage sets, renames or removes labels. If not, the output labels of an entry depend on its stream
    /// and metadata only, whatever the line.
    #[must_use]
    pub fn changes_labels(&self) -> bool {
        false
    }

    /// The line filters at the head of the pipeline, which see the raw line; all must pass.
    #[must_use]
    pub fn leading_filters(&self) -> &[LineFilter] {
        &self.line
    }

    /// Whether there are stages beyond [`Pipeline::leading_filters`].
    #[must_use]
    pub fn has_other_stages(&self) -> bool {
        !self.labels.is_empty()
    }

    /// An evaluator with its own scratch space.
    #[must_use]
    pub fn run(&self) -> PipelineRun<'_> {
        PipelineRun {
            pipeline: self,
            slots: Vec::new(),
            names: String::new(),
        }
    }
}

fn check_filter(filter: &LabelFilter) -> Result<(), ParseError> {
    match filter {
        LabelFilter::Matcher(_) => Ok(()),
        LabelFilter::And(left, right) | LabelFilter::Or(left, right) => {
            check_filter(left)?;
            check_filter(right)
        }
        other => {
            let text = crate::print::label_filter(other);
            Err(unsupported(&format!("stage '| {text}'")))
        }
    }
}

/// One entry as stored.
#[derive(Debug, Clone, Copy)]
pub struct EntryView<'a> {
    /// Nanoseconds since the epoch.
    pub ts: i64,
    /// The line.
    pub line: &'a [u8],
    /// Stream labels.
    pub stream: Pairs<'a>,
    /// Structured metadata.
    pub metadata: Pairs<'a>,
}

/// Where an output label came from; Loki's `categorize-labels` answers tell them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Category {
    /// A stream label.
    Stream,
    /// Structured metadata.
    Metadata,
    /// Set by a stage (error labels included).
    Parsed,
}

/// Where an output label is to be found.
#[derive(Debug, Clone, Copy)]
enum Slot {
    /// Index of a stream label.
    Stream(u32),
    /// Index of a metadata pair.
    Metadata(u32),
    /// Index of a metadata pair, its new name as a range of the names' text.
    Renamed(u32, u32, u32),
}

/// The output labels of an entry in name order, no name twice. Nothing is copied: it refers to the entry.
#[derive(Debug, Clone, Copy)]
pub struct OutLabels<'a> {
    stream: Pairs<'a>,
    metadata: Pairs<'a>,
    slots: &'a [Slot],
    names: &'a str,
}

impl<'a> OutLabels<'a> {
    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// The value of a label.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, ..)| *n == name).map(|(_, v, _)| v)
    }

    /// Name, value and origin of each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'a str, &'a str, Category)> + use<'a> {
        let labels = *self;
        self.slots.iter().map(move |slot| labels.resolve(*slot))
    }

    fn resolve(&self, slot: Slot) -> (&'a str, &'a str, Category) {
        match slot {
            Slot::Stream(i) => {
                let (name, value) = self.stream[i as usize];
                (name, value, Category::Stream)
            }
            Slot::Metadata(i) => {
                let (name, value) = self.metadata[i as usize];
                (name, value, Category::Metadata)
            }
            Slot::Renamed(i, from, to) => {
                let name = &self.names[from as usize..to as usize];
                (name, self.metadata[i as usize].1, Category::Metadata)
            }
        }
    }
}

/// An entry that passed.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The line as the pipeline left it.
    pub line: &'a [u8],
    /// Output labels in name order, no name twice.
    pub labels: OutLabels<'a>,
}

/// Evaluates a pipeline entry by entry, reusing its scratch space.
#[derive(Debug)]
pub struct PipelineRun<'p> {
    pipeline: &'p Pipeline,
    slots: Vec<Slot>,
    names: String,
}

impl PipelineRun<'_> {
    /// Runs all stages. `None`: the entry was filtered out.
    pub fn process<'a>(&'a mut self, entry: &EntryView<'a>) -> Option<Outcome<'a>> {
        self.process_after_filters(entry, self.passes_line(entry.line))
    }

    /// As [`PipelineRun::process`], for an entry that the caller has already seen through
    /// [`Pipeline::leading_filters`].
    pub fn process_filtered<'a>(&'a mut self, entry: &EntryView<'a>) -> Option<Outcome<'a>> {
        self.process_after_filters(entry, true)
    }

    /// Whether an entry passes, without working out its labels.
    #[must_use]
    pub fn passes(&self, entry: &EntryView<'_>) -> bool {
        self.passes_line(entry.line) && self.passes_labels(entry)
    }

    fn passes_line(&self, line: &[u8]) -> bool {
        self.pipeline.line.iter().all(|filter| filter.matches(line))
    }

    fn passes_labels(&self, entry: &EntryView<'_>) -> bool {
        let mut filters = self.pipeline.labels.iter();
        filters.all(|filter| filter_passes(filter, entry))
    }

    fn process_after_filters<'a>(
        &'a mut self,
        entry: &EntryView<'a>,
        passed: bool,
    ) -> Option<Outcome<'a>> {
        if !passed || !self.passes_labels(entry) {
            return None;
        }
        self.merge(entry);
        Some(Outcome {
            line: entry.line,
            labels: OutLabels {
                stream: entry.stream,
                metadata: entry.metadata,
                slots: &self.slots,
                names: &self.names,
            },
        })
    }

    /// Stream labels and metadata in one order of names; metadata gives way by renaming.
    fn merge(&mut self, entry: &EntryView<'_>) {
        self.slots.clear();
        self.names.clear();
        let (stream, metadata) = (entry.stream, entry.metadata);
        let (mut s, mut m) = (0, 0);
        let mut renamed = false;
        while s < stream.len() || m < metadata.len() {
            let order = match (stream.get(s), metadata.get(m)) {
                (Some((a, _)), Some((b, _))) => a.cmp(b),
                (Some(_), None) => std::cmp::Ordering::Less,
                _ => std::cmp::Ordering::Greater,
            };
            if order.is_gt() {
                self.slots.push(Slot::Metadata(m as u32));
                m += 1;
                continue;
            }
            self.slots.push(Slot::Stream(s as u32));
            s += 1;
            if order.is_eq() {
                let from = self.names.len() as u32;
                self.names.push_str(metadata[m].0);
                self.names.push_str(EXTRACTED);
                let to = self.names.len() as u32;
                self.slots.push(Slot::Renamed(m as u32, from, to));
                renamed = true;
                m += 1;
            }
        }
        if renamed {
            let labels = OutLabels {
                stream,
                metadata,
                slots: &[],
                names: &self.names,
            };
            self.slots
                .sort_by(|a, b| labels.resolve(*a).0.cmp(labels.resolve(*b).0));
            self.slots
                .dedup_by(|a, b| labels.resolve(*a).0 == labels.resolve(*b).0);
        }
    }
}

fn filter_passes(filter: &LabelFilter, entry: &EntryView<'_>) -> bool {
    match filter {
        LabelFilter::Matcher(matcher) => matcher.matches(lookup(entry, matcher.name())),
        LabelFilter::And(left, right) => filter_passes(left, entry) && filter_passes(right, entry),
        LabelFilter::Or(left, right) => filter_passes(left, entry) || filter_passes(right, entry),
        // Refused when the pipeline was compiled.
        _ => false,
    }
}

/// The value of an output label before any parser; empty if there is none.
fn lookup<'a>(entry: &EntryView<'a>, name: &str) -> &'a str {
    let value = value_of(entry.stream, name);
    if !value.is_empty() {
        return value;
    }
    let value = value_of(entry.metadata, name);
    if !value.is_empty() {
        return value;
    }
    match name.strip_suffix(EXTRACTED) {
        Some(base) if !value_of(entry.stream, base).is_empty() => value_of(entry.metadata, base),
        _ => "",
    }
}
