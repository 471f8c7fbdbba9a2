//! The compiled pipeline of a log expression: line filters, and later every other stage.

use crate::Pairs;

/// A line filter on the raw line, for use over a whole column of lines before they are split.
#[derive(Debug, Clone)]
pub struct LineFilter {}

impl LineFilter {
    /// Whether one line passes.
    #[must_use]
    pub fn matches(&self, _line: &[u8]) -> bool {
        unimplemented!()
    }
    /// A literal that every passing line holds (for `|=`, and for regexes that have a required literal), so that
    /// a column without it can be skipped and a column with it searched as one buffer. `None` when there is none
    /// (negations, case-insensitive regexes).
    #[must_use]
    pub fn required_literal(&self) -> Option<&[u8]> {
        unimplemented!()
    }
    /// Offset of the first possible match in a buffer of many lines separated by line feeds, from `from` on: a line
    /// that contains no candidate cannot pass. `None`: nothing further. Only for filters where
    /// [`LineFilter::is_positive`]; callers confirm the line with [`LineFilter::matches`].
    #[must_use]
    pub fn find_candidate(&self, _column: &[u8], _from: usize) -> Option<usize> {
        unimplemented!()
    }
    /// True for `|=` and `|~`: the filter passes only lines that contain something.
    #[must_use]
    pub fn is_positive(&self) -> bool {
        unimplemented!()
    }
}

/// A compiled pipeline: immutable, shared by threads. Scratch space is in [`PipelineRun`].
#[derive(Debug, Clone)]
pub struct Pipeline {}

impl Pipeline {
    /// No stages: every entry passes unchanged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        unimplemented!()
    }
    /// Whether any stage looks at the line. If not, entries may be given with an empty line.
    #[must_use]
    pub fn uses_line(&self) -> bool {
        unimplemented!()
    }
    /// Whether any stage looks at the entry's time.
    #[must_use]
    pub fn uses_time(&self) -> bool {
        unimplemented!()
    }
    /// The line filters at the head of the pipeline, which see the raw line; all must pass.
    #[must_use]
    pub fn leading_filters(&self) -> &[LineFilter] {
        unimplemented!()
    }
    /// An evaluator with its own scratch space.
    #[must_use]
    pub fn run(&self) -> PipelineRun<'_> {
        unimplemented!()
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

/// An entry that passed.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// The line as the pipeline left it.
    pub line: &'a [u8],
    /// Output labels in name order, no name twice.
    pub labels: &'a [(&'a str, &'a str, Category)],
}

/// Evaluates a pipeline entry by entry, reusing its scratch space.
#[derive(Debug)]
pub struct PipelineRun<'p> {
    _pipeline: &'p Pipeline,
}

impl PipelineRun<'_> {
    /// Runs all stages. `None`: the entry was filtered out.
    pub fn process<'a>(&'a mut self, _entry: &EntryView<'a>) -> Option<Outcome<'a>> {
        unimplemented!()
    }
}
