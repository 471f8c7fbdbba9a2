//! The compiled pipeline of a log expression: line filters, and later every other stage.
//!
//! Line filters do not look at labels, and label filters, `drop` and `keep` not at the line, so all line filters come
//! first: they see the raw line and can be tried on a whole column of lines.

mod line;
#[cfg(test)]
mod tests;

pub use line::LineFilter;

use crate::Pairs;
use crate::ParseError;
use crate::ast::{LabelFilter, LogExpr, Named, Stage};
use crate::error::unsupported;
use crate::regexes::Budget;

/// What follows a metadata name that a stream label has already.
const EXTRACTED: &str = "_extracted";

/// A compiled pipeline: immutable, shared by threads. Scratch space is in [`PipelineRun`].
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    line: Vec<LineFilter>,
    labels: Vec<LabelStage>,
}

/// A stage that looks at labels only.
#[derive(Debug, Clone)]
enum LabelStage {
    /// Keeps or drops the entry.
    Filter(LabelFilter),
    /// Removes the labels that are named or match.
    Drop(Vec<Named>),
    /// Removes all other labels.
    Keep(Vec<Named>),
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
                    pipeline.labels.push(LabelStage::Filter(filter.clone()));
                }
                Stage::Drop(names) => pipeline.labels.push(LabelStage::Drop(names.clone())),
                Stage::Keep(names) => pipeline.labels.push(LabelStage::Keep(names.clone())),
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

    /// Whether the output labels of an entry, and whether it passes what follows the leading filters, depend on its
    /// stream and metadata only, and its line stays as it is: then the outcome may be kept per stream and metadata.
    #[must_use]
    pub fn only_labels(&self) -> bool {
        true
    }

    /// The line filters at the head of the pipeline, which see the raw line; all must pass.
    #[must_use]
    pub fn leading_filters(&self) -> &[LineFilter] {
        &self.line
    }

    /// An evaluator with its own scratch space.
    #[must_use]
    pub fn run(&self) -> PipelineRun<'_> {
        PipelineRun {
            pipeline: self,
            slots: Vec::new(),
            kept: Vec::new(),
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
    /// The other half of `slots` while a stage removes some.
    kept: Vec<Slot>,
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

    /// Whether an entry passes, without giving its labels.
    #[must_use]
    pub fn passes(&mut self, entry: &EntryView<'_>) -> bool {
        self.passes_line(entry.line) && self.run_labels(entry)
    }

    fn passes_line(&self, line: &[u8]) -> bool {
        self.pipeline.line.iter().all(|filter| filter.matches(line))
    }

    /// Runs the label stages over the output labels, which are in `slots` then. False: the entry was filtered out.
    fn run_labels(&mut self, entry: &EntryView<'_>) -> bool {
        self.merge(entry);
        for stage in &self.pipeline.labels {
            let labels = OutLabels {
                stream: entry.stream,
                metadata: entry.metadata,
                slots: &self.slots,
                names: &self.names,
            };
            let value_of = |name: &str| labels.get(name).unwrap_or_default();
            let (names, keep) = match stage {
                LabelStage::Filter(filter) => {
                    if filter_passes(filter, &value_of) {
                        continue;
                    }
                    return false;
                }
                LabelStage::Drop(names) => (names, false),
                LabelStage::Keep(names) => (names, true),
            };
            let mut kept = std::mem::take(&mut self.kept);
            kept.clear();
            let stays = |slot: &&Slot| {
                let (name, value, _) = labels.resolve(**slot);
                names.iter().any(|named| is_named(named, name, value)) == keep
            };
            kept.extend(self.slots.iter().filter(stays));
            self.kept = std::mem::replace(&mut self.slots, kept);
        }
        true
    }

    fn process_after_filters<'a>(
        &'a mut self,
        entry: &EntryView<'a>,
        passed: bool,
    ) -> Option<Outcome<'a>> {
        if !passed || !self.run_labels(entry) {
            return None;
        }
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

fn filter_passes<'a>(filter: &LabelFilter, value_of: &impl Fn(&str) -> &'a str) -> bool {
    match filter {
        LabelFilter::Matcher(matcher) => matcher.matches(value_of(matcher.name())),
        LabelFilter::And(left, right) => {
            filter_passes(left, value_of) && filter_passes(right, value_of)
        }
        LabelFilter::Or(left, right) => {
            filter_passes(left, value_of) || filter_passes(right, value_of)
        }
        // Refused when the pipeline was compiled.
        _ => false,
    }
}

/// Whether an operand of `drop` or `keep` means this label.
fn is_named(named: &Named, name: &str, value: &str) -> bool {
    match named {
        Named::Name(n) => n == name,
        Named::Matcher(matcher) => matcher.name() == name && matcher.matches(value),
    }
}
