//! The compiled pipeline of a log expression.
//!
//! ```text
//! stages as written --compile--> leading line filters, then stages as they run
//!                                      |                      |
//!          raw lines, a column at once +     labels::Labels --+--> line, labels, sample value
//! ```
//!
//! An entry's labels are held by `labels`; parsers are told by `wanted` which of them anybody reads. Nothing is
//! allocated for an entry once the buffers of a [`PipelineRun`] have their size.

mod captures;
mod compile;
mod decolorize;
mod filter;
mod format;
mod ip;
mod json;
mod json_path;
mod json_scan;
mod labels;
mod line;
mod logfmt;
mod marks;
mod names;
mod regexp;
mod scan;
mod stage;
#[cfg(test)]
mod tests;
mod unescape;
mod unpack;
mod unwrap;
mod wanted;

pub use line::LineFilter;

use crate::Pairs;
use crate::ast;
use crate::needle::Needle;
use format::Entry;
use labels::{DETAILS, Labels, Message, Slot, State};
pub(crate) use labels::{ERROR, PRESERVE};
use stage::{Lines, Scratch, Stage};
use wanted::{Hints, Output};

/// A compiled pipeline: immutable, shared by threads. Scratch space is in [`PipelineRun`].
#[derive(Debug, Clone, Default)]
pub struct Pipeline {
    leading: Vec<LineFilter>,
    stages: Vec<Stage>,
    hints: Hints,
    unwrap: Option<unwrap::Unwrap>,
}

/// Labels of an entry that the expression around its pipeline reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read<'q> {
    /// All: log queries, and metric queries without grouping or with `without`.
    All,
    /// Those that it groups `by`.
    Named(&'q [String]),
    /// None: `sum(..)`, `by ()`, `absent_over_time`.
    Nothing,
}

/// What the expression around a pipeline makes of its entries.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Around<'q> {
    pub(crate) labels: Read<'q>,
    /// Whether it reads the line that the pipeline leaves, or its length.
    pub(crate) lines: bool,
    pub(crate) unwrap: Option<&'q ast::Unwrap>,
}

impl Around<'_> {
    /// A log query.
    pub(crate) const LOGS: Around<'static> = Around {
        labels: Read::All,
        lines: true,
        unwrap: None,
    };
}

impl Pipeline {
    /// No stages: every entry passes unchanged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leading.is_empty() && self.stages.is_empty() && self.unwrap.is_none()
    }

    /// Whether any stage looks at the line or changes it. If not, entries may be given with an empty line.
    #[must_use]
    pub fn uses_line(&self) -> bool {
        !self.leading.is_empty() || !self.only_labels()
    }

    /// Whether any stage looks at the entry's time.
    #[must_use]
    pub fn uses_time(&self) -> bool {
        self.stages.iter().any(Stage::uses_time)
    }

    /// Whether the output labels of an entry, and whether it passes what follows the leading filters, depend on its
    /// stream and metadata only (and its time, where [`Pipeline::uses_time`] says so), and its line stays as it is:
    /// then the outcome may be kept per stream and metadata.
    #[must_use]
    pub fn only_labels(&self) -> bool {
        self.stages.iter().all(Stage::is_about_labels)
    }

    /// The line filters at the head of the pipeline, which see the raw line; all must pass.
    #[must_use]
    pub fn leading_filters(&self) -> &[LineFilter] {
        &self.leading
    }

    /// What the raw line of every entry holds that passes; `None` when nothing is known of it.
    #[must_use]
    pub fn needle(&self) -> Option<Needle> {
        Needle::all(self.leading.iter().filter_map(LineFilter::needle))
    }

    /// An evaluator with its own scratch space.
    #[must_use]
    pub fn run(&self) -> PipelineRun<'_> {
        PipelineRun {
            pipeline: self,
            state: State::default(),
            slots: Vec::new(),
            lines: Lines::default(),
            scratch: Scratch::new(&self.stages),
            now: 0,
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

/// The output labels of an entry in name order, no name twice. Nothing is copied: it refers to the entry and to the
/// run's buffers.
///
/// Where an aggregation groups by names, or needs no labels, only those are here that it asked for; but all of them if
/// the pipeline failed, as Loki then reports them.
#[derive(Debug, Clone, Copy)]
pub struct OutLabels<'a> {
    stream: Pairs<'a>,
    metadata: Pairs<'a>,
    slots: &'a [Slot],
    text: &'a str,
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
            Slot::Renamed(i, name) => {
                let value = self.metadata[i as usize].1;
                (name.of(self.text), value, Category::Metadata)
            }
            Slot::Parsed(name, value) => {
                (name.of(self.text), value.of(self.text), Category::Parsed)
            }
            Slot::Error(message) => (ERROR, self.message(message), Category::Parsed),
            Slot::Details(message) => (DETAILS, self.message(message), Category::Parsed),
        }
    }

    fn message(&self, message: Message) -> &'a str {
        match message {
            Message::None => "",
            Message::Static(text) => text,
            Message::Text(text) => text.of(self.text),
            Message::Metadata(i) => self.metadata[i as usize].1,
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
    /// The sample value, where a label is unwrapped.
    pub value: Option<f64>,
    /// Whether a stage failed on the entry: its labels are all there then, `__error__` among them, and a metric query
    /// fails with it unless `__preserve_error__` is `true`.
    pub failed: bool,
}

/// Evaluates a pipeline entry by entry, reusing its scratch space.
#[derive(Debug)]
pub struct PipelineRun<'p> {
    pipeline: &'p Pipeline,
    state: State,
    slots: Vec<Slot>,
    lines: Lines,
    scratch: Scratch,
    now: i64,
}

/// What is known of an entry after all stages but what lies in the buffers.
struct Passed {
    value: Option<f64>,
    failed: bool,
}

impl PipelineRun<'_> {
    /// Sets the time that templates take for now, in nanoseconds since the epoch.
    #[must_use]
    pub fn at(mut self, now: i64) -> Self {
        self.now = now;
        self
    }

    /// What templates have cost since this was last asked, in bytes handled: work that the lengths of lines do not show.
    pub fn take_spent(&mut self) -> usize {
        self.scratch.take_spent()
    }

    /// Runs all stages. `None`: the entry was filtered out.
    pub fn process<'a>(&'a mut self, entry: &EntryView<'a>) -> Option<Outcome<'a>> {
        if self.passes_line(entry.line) {
            self.process_filtered(entry)
        } else {
            None
        }
    }

    /// As [`PipelineRun::process`], for an entry that the caller has already seen through
    /// [`Pipeline::leading_filters`].
    pub fn process_filtered<'a>(&'a mut self, entry: &EntryView<'a>) -> Option<Outcome<'a>> {
        let Passed { value, failed } = self.run_stages(entry, true)?;
        Some(Outcome {
            line: if self.lines.changed {
                &self.lines.line
            } else {
                entry.line
            },
            labels: OutLabels {
                stream: entry.stream,
                metadata: entry.metadata,
                slots: &self.slots,
                text: self.state.text(),
            },
            value,
            failed,
        })
    }

    /// Whether an entry passes, without giving its labels.
    #[must_use]
    pub fn passes(&mut self, entry: &EntryView<'_>) -> bool {
        self.passes_line(entry.line) && self.run_stages(entry, false).is_some()
    }

    fn passes_line(&self, line: &[u8]) -> bool {
        self.pipeline.leading.iter().all(|f| f.matches(line))
    }

    /// Runs the stages; the output labels are in `slots` then, if they are asked for. `None`: filtered out.
    fn run_stages(&mut self, entry: &EntryView<'_>, collect: bool) -> Option<Passed> {
        let Pipeline {
            stages,
            hints,
            unwrap,
            ..
        } = self.pipeline;
        self.lines.changed = false;
        self.state.reset(entry.line.len());
        let mut labels = Labels::new(&mut self.state, entry.stream, entry.metadata, hints);
        let raw = Entry {
            line: entry.line,
            ts: entry.ts,
            now: self.now,
        };
        for stage in stages {
            let (lines, scratch) = (&mut self.lines, &mut self.scratch);
            if !stage::step(stage, raw, lines, &mut labels, scratch) {
                return None;
            }
        }
        let value = match unwrap {
            Some(unwrap) => Some(unwrap.value(&mut labels)?),
            None => None,
        };
        let failed = labels.has_error();
        if collect {
            match &hints.output {
                Output::Named(names) if !failed => labels.collect_named(names, &mut self.slots),
                Output::Nothing if !failed => self.slots.clear(),
                _ => labels.collect(&mut self.slots),
            }
            if let (Some(unwrap), Output::All, false) = (unwrap, &hints.output, failed) {
                let is_other = |slot: &Slot| labels.pair_of(*slot).0 != unwrap.name;
                self.slots.retain(is_other);
            }
        }
        Some(Passed { value, failed })
    }
}
