//! Range aggregations: every entry (or whole minutes of entries) into an accumulator, segment by segment.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use logql::eval::{
    Accumulator, Batch, Collect, Collector, EvalError, Grants, Known, Names, SeriesId, over_budget,
};
use logql::pipeline::{EntryView, LineFilter, PipelineRun};
use logql::plan::{Direction, Needs, RangeLeaf, Steps};
use logql::value::Matrix;
use wire::LabelSet;

use super::block::{Block, Buffers};
use super::budget::{Budget, HELPER, Look, PART};
use super::chunk::{Dictionary, column_filter, visit_lines};
use super::crew::{self, AHEAD, Merged, Scan, Worker};
use super::logs::within;
use super::select::{HeadPart, NONE, Selected, Streams};
use super::{View, storage};
use crate::api::{Cancel, QueryStats};
use crate::head::RawRun;
use crate::segment::{Cell, MINUTE_NS, Minutes, Probe, SegmentEntry, SegmentError};

/// Metadata sets that the series cache tells apart before it starts anew.
const CACHED_SETS_MAX: usize = 32 << 10;

/// What of an entry has to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// Its series and time (and length): the line does not matter.
    Times,
    /// The line.
    Lines,
}

/// The aggregation at every step.
pub(super) fn range(
    view: &dyn View,
    leaf: &RangeLeaf,
    steps: Steps,
    max_series: usize,
    budget: &mut Budget<'_>,
) -> Result<Matrix, EvalError> {
    let grants: Arc<dyn Grants> = Arc::new(budget.cancel.clone());
    let sum = Accumulator::new(leaf, steps, max_series, budget.memory)
        .beside(budget.held)
        .granted_by(Some(grants));
    // Windows are open below and closed above.
    let (after, last) = leaf.span(steps);
    let Some(first) = after.checked_add(1).filter(|first| *first <= last) else {
        return sum.finish();
    };
    let fixed = leaf.pipeline.only_labels() && !leaf.pipeline.uses_time();
    let plain = fixed && !leaf.pipeline.uses_line();
    let mut streams = Streams::new(view.index(), &leaf.matchers);
    let span = (first, last);
    let mut head = HeadPart::take(view, &mut streams, span, !plain, budget.left() / 2)?;
    let raw = std::mem::take(&mut head.snapshot.raw);
    let raw_bytes: usize = raw.iter().map(|r| r.lines.len() + r.times.len() * 16).sum();
    budget.check(raw_bytes)?;
    let dictionary = Dictionary::new(head.snapshot.metadata.iter().map(|s| s.as_ref()));
    let task = Task {
        leaf,
        steps,
        span,
        read: if plain { Read::Times } else { Read::Lines },
        lengths: leaf.needs() == Needs::Bytes,
        fixed,
        filter: column_filter(&leaf.pipeline),
        filters: leaf.pipeline.leading_filters(),
        now: budget.now,
    };
    let mut scan = RangeScan {
        view,
        runner: task.runner(budget.cancel, sum).map_err(storage)?,
        task,
        minutes: plain && leaf.needs() != Needs::Value,
        whole: Whole::new(leaf, steps),
        probe: budget.probe(&leaf.pipeline),
        tables: Minutes::default(),
        raw_memo: Memo::new(head.snapshot.metadata.len()),
        dictionary: &dictionary,
        raw: raw.into_iter(),
        segments: head.snapshot.segments.iter(),
        head: Some(&head),
        head_map: &head.map,
        sets: &head.snapshot.metadata,
        blocks: Vec::new().into_iter(),
        streams,
        names: Vec::new(),
        crew: 0,
        beside: budget.held,
        scanned: 0,
        alone: budget.crew.0,
        budget,
    };
    let done = crew::run(&mut scan);
    scan.budget.stats.section_bytes += scan.streams.section_bytes();
    done?;
    let RangeScan { runner, .. } = scan;
    runner.sum.finish()
}

/// What all threads know of the query.
#[derive(Debug, Clone, Copy)]
struct Task<'p> {
    leaf: &'p RangeLeaf,
    steps: Steps,
    /// First and last timestamp that any window holds.
    span: (i64, i64),
    read: Read,
    /// Whether line lengths matter.
    lengths: bool,
    /// Whether stream and metadata alone say which series an entry belongs to, and its value.
    fixed: bool,
    filter: Option<&'p LineFilter>,
    /// The filters that lines must pass.
    filters: &'p [LineFilter],
    now: i64,
}

impl<'p> Task<'p> {
    fn runner<S: Collect>(self, cancel: &Cancel, sum: S) -> io::Result<Runner<'p, S>> {
        Ok(Runner {
            task: self,
            pipeline: self.leaf.pipeline.run().at(self.now),
            buffers: Buffers::new()?,
            sum,
            cache: Cache::default(),
            look: Look::new(cancel),
        })
    }
}

/// A block or a raw run of the head.
struct Job {
    entries: Entries,
    /// Labels of the rows.
    labels: Vec<Arc<LabelSet>>,
}

enum Entries {
    Block(Block),
    Raw(RawRun, u32),
}

/// What a helper made of a job.
struct Part {
    spent: QueryStats,
    found: Result<Batch, Failure>,
}

enum Failure {
    Damaged(SegmentError),
    Ended(EvalError),
}

/// Runs the entries of blocks through the pipeline, into an accumulator or a batch for it.
struct Runner<'p, S> {
    task: Task<'p>,
    pipeline: PipelineRun<'p>,
    buffers: Buffers,
    sum: S,
    cache: Cache,
    look: Look,
}

/// A helper.
struct Helper<'p> {
    runner: Runner<'p, Collector<'p>>,
    /// A job failed. Names of series were lost with it, so nothing that follows can be used.
    failed: bool,
}

struct RangeScan<'p, 's, 'b> {
    view: &'s dyn View,
    task: Task<'p>,
    runner: Runner<'p, Accumulator<'p>>,
    /// Whether minute tables may answer.
    minutes: bool,
    /// Which of their minutes answer.
    whole: Whole<'p>,
    /// What lines must hold, for the skip index.
    probe: Option<Probe>,
    /// Minute tables of the segment at hand.
    tables: Minutes,
    raw_memo: Memo,
    dictionary: &'s Dictionary<'s>,
    raw: std::vec::IntoIter<RawRun>,
    segments: std::slice::Iter<'s, SegmentEntry>,
    /// Until its blocks were taken.
    head: Option<&'s HeadPart>,
    /// Numbers of its streams.
    head_map: &'s [u32],
    /// Its metadata.
    sets: &'s [LabelSet],
    blocks: std::vec::IntoIter<Block>,
    streams: Streams<'s>,
    /// What the helpers named, by their number.
    names: Vec<Names>,
    /// Bytes that helpers may hold.
    crew: usize,
    /// What the query held before.
    beside: usize,
    /// Blocks scanned so far.
    scanned: usize,
    /// From so many on there are helpers.
    alone: usize,
    budget: &'s mut Budget<'b>,
}

/// Which minutes are wholly in the same windows.
#[derive(Debug)]
struct Whole<'p> {
    leaf: &'p RangeLeaf,
    steps: Steps,
    /// Whether all are.
    all: bool,
    /// Two edges that follow each other.
    between: (i64, i64),
}

impl<'p> Whole<'p> {
    fn new(leaf: &'p RangeLeaf, steps: Steps) -> Whole<'p> {
        Whole {
            leaf,
            steps,
            all: leaf.aligned_to(steps, MINUTE_NS),
            between: (0, 0),
        }
    }

    /// Whether those of all cells of a chunk are.
    fn are(&mut self, cells: &[Cell]) -> bool {
        self.all || cells.iter().all(|cell| self.is(cell))
    }

    fn is(&mut self, cell: &Cell) -> bool {
        let begin = cell.minute.saturating_mul(MINUTE_NS);
        if !(self.between.0..self.between.1).contains(&begin) {
            self.between = (begin, self.leaf.next_edge(self.steps, begin));
        }
        end_of(cell) <= self.between.1
    }
}

/// The last moment of a cell's minute.
fn end_of(cell: &Cell) -> i64 {
    cell.minute.saturating_add(1).saturating_mul(MINUTE_NS)
}

/// What the entries of a stream with certain metadata are; `None`: the pipeline drops them.
#[derive(Debug, Default)]
struct Cache {
    by_bytes: HashMap<Box<[u8]>, u32>,
    /// Metadata sets by number.
    sets: Vec<LabelSet>,
    /// By stream and number of the set.
    known: HashMap<(u32, u32), Option<Known>, BuildHasherDefault<PairHasher>>,
    bytes: usize,
}

/// Cells of one series with edges in `edge..=until`, all in the same windows.
struct Sum {
    series: SeriesId,
    edge: i64,
    until: i64,
    entries: u64,
    bytes: u64,
}

/// Hash of a stream's and a set's number: small numbers of our own, which nobody outside chooses.
#[derive(Debug, Default)]
struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        let mixed = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ mixed >> 32
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.0 = self.0.rotate_left(32) ^ u64::from(n);
    }
}

impl Cache {
    /// Forgets everything, numbers too, when there is too much of it. Between segments, whose numbers are not kept.
    fn trim(&mut self) {
        if self.sets.len() >= CACHED_SETS_MAX {
            *self = Cache::default();
        }
    }

    /// The number of a metadata set, given as canonical bytes; `None`: they are not.
    fn set(&mut self, bytes: &[u8]) -> Option<u32> {
        if let Some(number) = self.by_bytes.get(bytes) {
            return Some(*number);
        }
        let set = LabelSet::from_bytes(bytes).ok()?;
        let number = self.sets.len() as u32;
        self.bytes += 2 * bytes.len() + 96;
        self.by_bytes.insert(bytes.into(), number);
        self.sets.push(set);
        Some(number)
    }
}

impl<S: Collect> Runner<'_, S> {
    fn memory(&self) -> usize {
        self.cache.bytes + self.buffers.memory()
    }

    /// What a stream's entries with the metadata of this number are, when the line plays no part.
    fn of_metadata(
        &mut self,
        (stream, labels): (u32, &LabelSet),
        number: u32,
    ) -> Result<Option<Known>, EvalError> {
        let key = (stream, number);
        if let Some(known) = self.cache.known.get(&key) {
            return Ok(*known);
        }
        let labels: Vec<(&str, &str)> = labels.as_ref().iter().collect();
        let set = &self.cache.sets[number as usize];
        let metadata: Vec<(&str, &str)> = set.as_ref().iter().collect();
        let entry = EntryView {
            ts: 0,
            line: b"",
            stream: &labels,
            metadata: &metadata,
        };
        // Line filters are not asked: an entry that is counted has passed them.
        let known = match self.pipeline.process_filtered(&entry) {
            Some(outcome) => Some(self.sum.known(&outcome)?),
            None => None,
        };
        self.cache.bytes += 48;
        self.cache.known.insert(key, known);
        Ok(known)
    }

    /// Loads what is needed of a block; false when nothing of it counts.
    fn load(&mut self, block: &Block) -> Result<bool, SegmentError> {
        match self.task.read {
            Read::Times => self.load_times(block),
            Read::Lines => self.load_lines(block),
        }
    }

    fn load_times(&mut self, block: &Block) -> Result<bool, SegmentError> {
        let header = self.buffers.header(block)?;
        self.buffers.times(block, &header)?;
        if self.task.lengths {
            if !header.has_lengths() {
                self.buffers.lines(block, &header)?;
            }
            self.buffers.offsets(block, &header)?;
        }
        self.buffers.metadata(block, &header)?;
        Ok(true)
    }

    /// False when no line can pass the first filter.
    fn load_lines(&mut self, block: &Block) -> Result<bool, SegmentError> {
        let header = self.buffers.header(block)?;
        self.buffers.lines(block, &header)?;
        if let Some(filter) = self.task.filter
            && filter
                .find_candidate(&self.buffers.scratch.lines, 0)
                .is_none()
        {
            return Ok(false);
        }
        self.buffers.times(block, &header)?;
        self.buffers.offsets(block, &header)?;
        self.buffers.metadata(block, &header)?;
        Ok(true)
    }

    /// Adds the entries of the block that was loaded.
    fn block(&mut self, block: &Block, labels: &[Arc<LabelSet>]) -> Result<(), EvalError> {
        self.cache.trim();
        let metadata = std::mem::take(&mut self.buffers.metadata);
        let mut memo = Memo::new(metadata.sets.len());
        let dictionary = match self.task.read {
            Read::Times => Dictionary::default(),
            Read::Lines => Dictionary::new(metadata.sets.iter().map(|s| s.as_ref())),
        };
        for (row, labels) in block.rows.iter().zip(labels) {
            let range = self.within(row.first as usize, row.entries as usize);
            let metadata = (metadata.sets.as_slice(), &dictionary);
            self.row(range, metadata, &mut memo, (row.stream, labels))?;
        }
        drop(dictionary);
        self.buffers.metadata = metadata;
        Ok(())
    }

    fn within(&self, first: usize, entries: usize) -> Range<usize> {
        let (start, last) = self.task.span;
        let end = last.saturating_add(1);
        within(&self.buffers.scratch.times, first, entries, start, end)
    }

    fn row(
        &mut self,
        range: Range<usize>,
        (sets, dictionary): (&[LabelSet], &Dictionary<'_>),
        memo: &mut Memo,
        stream: (u32, &LabelSet),
    ) -> Result<(), EvalError> {
        memo.start(stream.0);
        match self.task.read {
            Read::Times => self.add_times(range, sets, memo, stream),
            Read::Lines => self.add_lines(range, (sets, dictionary), memo, stream),
        }
    }

    fn add_times(
        &mut self,
        range: Range<usize>,
        sets: &[LabelSet],
        memo: &mut Memo,
        stream: (u32, &LabelSet),
    ) -> Result<(), EvalError> {
        for entry in range {
            let id = self.buffers.scratch.metadata[entry];
            if let Some(known) = self.known(id, sets, memo, stream)? {
                let scratch = &self.buffers.scratch;
                let len = if self.task.lengths {
                    scratch.line_len(entry)
                } else {
                    0
                };
                let ts = scratch.times[entry];
                self.sum.add_known(known, ts, len)?;
            }
        }
        Ok(())
    }

    fn add_lines(
        &mut self,
        range: Range<usize>,
        (sets, dictionary): (&[LabelSet], &Dictionary<'_>),
        memo: &mut Memo,
        stream: (u32, &LabelSet),
    ) -> Result<(), EvalError> {
        let labels: Vec<(&str, &str)> = stream.1.as_ref().iter().collect();
        // The closure needs the rest of the scan while the columns are borrowed.
        let mut scratch = std::mem::take(&mut self.buffers.scratch);
        let ids = std::mem::take(&mut scratch.metadata);
        let task = self.task;
        let done = visit_lines(
            &mut scratch,
            (&labels, dictionary, &ids),
            range,
            Direction::Forward,
            task.filter,
            |entry, view| {
                let spent = view.line.len() + self.pipeline.take_spent();
                self.look.ran(spent)?;
                if task.fixed {
                    if task.filters.iter().all(|f| f.matches(view.line))
                        && let Some(known) = self.known(ids[entry], sets, memo, stream)?
                    {
                        self.sum.add_known(known, view.ts, view.line.len())?;
                    }
                } else if let Some(outcome) = self.pipeline.process(view) {
                    let series = self.sum.series_of_stream(stream.0, &outcome)?;
                    self.sum.add_outcome(series, view.ts, &outcome)?;
                }
                Ok(ControlFlow::Continue(()))
            },
        );
        scratch.metadata = ids;
        self.buffers.scratch = scratch;
        done
    }

    /// What an entry is by metadata id, from the memo if it is there.
    #[inline]
    fn known(
        &mut self,
        id: u32,
        sets: &[LabelSet],
        memo: &mut Memo,
        stream: (u32, &LabelSet),
    ) -> Result<Option<Known>, EvalError> {
        if let Some(known) = memo.get(id) {
            return Ok(known);
        }
        self.unknown(id, sets, memo, stream)
    }

    #[cold]
    fn unknown(
        &mut self,
        id: u32,
        sets: &[LabelSet],
        memo: &mut Memo,
        stream: (u32, &LabelSet),
    ) -> Result<Option<Known>, EvalError> {
        let number = match memo.numbers[id as usize] {
            NONE => {
                let set = sets[id as usize].as_bytes();
                let number = self.cache.set(set).expect("a label set's own bytes");
                memo.numbers[id as usize] = number;
                number
            }
            number => number,
        };
        let known = self.of_metadata(stream, number)?;
        memo.put(id, known);
        Ok(known)
    }
}

impl Helper<'_> {
    fn part(&mut self, job: &Job) -> Result<Batch, Failure> {
        if self.failed {
            return Err(Failure::Ended(over_budget(HELPER)));
        }
        let runner = &mut self.runner;
        runner.look.at_block().map_err(Failure::Ended)?;
        match &job.entries {
            Entries::Block(block) => {
                if !runner.load(block).map_err(Failure::Damaged)? {
                    return Ok(Batch::default());
                }
                if runner.memory() + (AHEAD + 1) * PART > HELPER {
                    return Err(Failure::Ended(over_budget(HELPER)));
                }
                let done = runner.block(block, &job.labels);
                done.map_err(Failure::Ended)?;
                Ok(runner.sum.finish())
            }
            // Left to the owner: it has to be copied nowhere.
            Entries::Raw(..) => Ok(Batch::default()),
        }
    }
}

impl Worker for Helper<'_> {
    type Job = Job;
    type Done = Part;

    fn run(&mut self, job: &Job) -> Part {
        let found = self.part(job);
        self.failed |= matches!(found, Err(Failure::Ended(_)));
        let spent = match &job.entries {
            Entries::Block(block) => self.runner.buffers.spent(block),
            Entries::Raw(..) => QueryStats::default(),
        };
        Part { spent, found }
    }
}

impl RangeScan<'_, '_, '_> {
    /// Takes the blocks of a segment, whose minute tables are added now.
    fn open(&mut self, segment: &SegmentEntry) -> Result<(), EvalError> {
        let sequence = segment.sequence;
        let mut selected = match Selected::open(self.view, segment, &mut self.streams) {
            Ok(Some(selected)) => selected,
            Ok(None) => return Ok(()),
            Err(e) => return self.view.damage().segment(sequence, e),
        };
        let span = self.task.span;
        let mut rows: Vec<(u32, u32)> = (0u32..)
            .zip(&selected.chunks)
            .filter_map(|(i, c)| Some((i, selected.stream(c, span.0, span.1)?)))
            .collect();
        self.budget.stats.chunks_matched += rows.len() as u64;
        if self.minutes
            && rows
                .iter()
                .any(|(i, _)| selected.chunks[*i as usize].cells.is_some())
        {
            let mut tables = std::mem::take(&mut self.tables);
            self.runner.cache.trim();
            let cache = &mut self.runner.cache;
            let read = selected
                .reader
                .minutes_into(&selected.chunks, self.task.lengths, &mut tables)
                .and_then(|()| selected.reader.metadata_numbers(|set| cache.set(set)));
            match read {
                Ok(numbers) => {
                    let (whole, rest) = rows.into_iter().partition(|(i, _)| {
                        let has_table = selected.chunks[*i as usize].cells.is_some();
                        has_table && self.whole.are(tables.of(*i as usize))
                    });
                    self.tables(whole, &tables, numbers)?;
                    rows = rest;
                }
                // The columns hold the same truth.
                Err(e) => self.view.damage().segment(sequence, e)?,
            }
            self.tables = tables;
        }
        if let Some(probe) = self.probe.as_ref().filter(|_| !rows.is_empty())
            && let Err(e) = selected.skip(probe)
        {
            self.view.damage().segment(sequence, e)?;
        }
        self.blocks = selected.blocks(sequence, rows).into_iter();
        self.check().map(drop)
    }

    /// Whether there is room for helpers, too.
    fn check(&mut self) -> Result<bool, EvalError> {
        let tables = self.tables.cells.capacity() * size_of::<Cell>();
        let names: usize = self.names.iter().map(Names::memory).sum();
        let used = self.runner.sum.memory()
            + self.runner.memory()
            + tables
            + self.probe.as_ref().map_or(0, Probe::memory)
            + names
            + self.streams.memory();
        self.budget.check_beside(used, self.crew)
    }

    /// Adds rows by their minute tables.
    fn tables(
        &mut self,
        rows: Vec<(u32, u32)>,
        minutes: &Minutes,
        numbers: Vec<u32>,
    ) -> Result<(), EvalError> {
        let mut memo = Memo::numbered(numbers);
        for (row, stream) in rows {
            memo.start(stream);
            self.cells(minutes.of(row as usize), &[], &mut memo, stream)?;
        }
        Ok(())
    }

    fn cells(
        &mut self,
        cells: &[Cell],
        sets: &[LabelSet],
        memo: &mut Memo,
        stream: u32,
    ) -> Result<(), EvalError> {
        let (first, last) = self.task.span;
        let labels = self.streams.shared_labels(stream);
        // Cells that follow each other and add up to the same points.
        let mut run: Option<Sum> = None;
        for cell in cells {
            // Minutes are (minute, minute + 1]; no window begins or ends inside one.
            let edge = end_of(cell);
            if edge < first || edge > last || cell.metadata as usize >= memo.known.len() {
                continue;
            }
            let stream = (stream, &*labels);
            let known = self.runner.known(cell.metadata, sets, memo, stream)?;
            let Some(Known { series, .. }) = known else {
                continue;
            };
            if let Some(sum) = &mut run
                && sum.series == series
                && (sum.edge..=sum.until).contains(&edge)
            {
                sum.entries += u64::from(cell.entries);
                sum.bytes = sum.bytes.saturating_add(cell.bytes);
                continue;
            }
            let next = Sum {
                series,
                edge,
                until: self.runner.sum.same_until(edge),
                entries: u64::from(cell.entries),
                bytes: cell.bytes,
            };
            if let Some(sum) = run.replace(next) {
                self.add_sum(&sum)?;
            }
        }
        match run {
            Some(sum) => self.add_sum(&sum),
            None => Ok(()),
        }
    }

    fn add_sum(&mut self, sum: &Sum) -> Result<(), EvalError> {
        let Sum { entries, bytes, .. } = *sum;
        let to = &mut self.runner.sum;
        to.add_bucket(sum.series, sum.edge, entries, bytes)
    }

    /// Takes the blocks of the head, whose minute tables are added now.
    fn open_head(&mut self, head: &HeadPart) -> Result<(), EvalError> {
        let chunks = &head.snapshot.chunks;
        self.budget.stats.chunks_matched += (chunks.len() + self.raw.len()) as u64;
        let mut memo = Memo::new(self.sets.len());
        let mut rest = Vec::new();
        for (i, held) in chunks.iter().enumerate() {
            let cells = head.snapshot.minutes.of(i);
            if self.minutes && held.chunk.cells.is_some() && self.whole.are(cells) {
                let stream = self.head_map[held.chunk.stream as usize];
                memo.start(stream);
                self.cells(cells, self.sets, &mut memo, stream)?;
            } else {
                rest.push(i);
            }
        }
        self.blocks = head.blocks(rest.into_iter()).into_iter();
        self.check().map(drop)
    }

    fn run_block(&mut self, block: &Block, labels: &[Arc<LabelSet>]) -> Result<(), EvalError> {
        self.runner.look.at_block()?;
        let loaded = self.runner.load(block);
        let spent = self.runner.buffers.spent(block);
        self.budget.spend(&spent)?;
        match loaded {
            Ok(true) => self.runner.block(block, labels)?,
            Ok(false) => return Ok(()),
            Err(e) => return self.damaged(block, e),
        }
        self.check().map(drop)
    }

    fn run_raw(&mut self, run: RawRun, stream: u32, labels: &LabelSet) -> Result<(), EvalError> {
        self.budget.cancel.check()?;
        let mut spent = self.runner.buffers.raw(run);
        if self.task.read == Read::Times {
            (spent.bytes_processed, spent.head_bytes) = (0, 0);
        }
        self.budget.spend(&spent)?;
        let runner = &mut self.runner;
        let range = runner.within(0, runner.buffers.scratch.times.len());
        let metadata = (self.sets, self.dictionary);
        runner.row(range, metadata, &mut self.raw_memo, (stream, labels))?;
        self.check().map(drop)
    }

    fn damaged(&self, block: &Block, error: SegmentError) -> Result<(), EvalError> {
        let damage = self.view.damage();
        damage.block(block.sequence, block.offset(), error)
    }
}

impl<'p> Scan for RangeScan<'p, '_, '_> {
    type Job = Job;
    type Done = Part;
    type Worker = Helper<'p>;

    fn next(&mut self) -> Result<Option<Job>, EvalError> {
        loop {
            if let Some(block) = self.blocks.next() {
                return Ok(Some(Job {
                    labels: self.streams.of_rows(&block.rows),
                    entries: Entries::Block(block),
                }));
            }
            self.budget.cancel.check()?;
            if let Some(segment) = self.segments.next() {
                self.open(segment)?;
            } else if let Some(head) = self.head.take() {
                self.open_head(head)?;
            } else {
                break;
            }
        }
        let Some(run) = self.raw.next() else {
            return Ok(None);
        };
        let stream = self.head_map[run.stream as usize];
        Ok(Some(Job {
            labels: vec![self.streams.shared_labels(stream)],
            entries: Entries::Raw(run, stream),
        }))
    }

    fn alone(&mut self, job: Job) -> Result<bool, EvalError> {
        match job.entries {
            Entries::Block(block) => {
                self.run_block(&block, &job.labels)?;
                self.scanned += 1;
            }
            Entries::Raw(run, stream) => self.run_raw(run, stream, &job.labels[0])?,
        }
        Ok(true)
    }

    fn merge(&mut self, job: Job, part: Part, worker: usize) -> Result<Merged<Job>, EvalError> {
        let Entries::Block(block) = &job.entries else {
            return self.alone(job).map(|_| Merged::Done);
        };
        let mut batch = match part.found {
            Ok(batch) => batch,
            Err(Failure::Ended(EvalError::Limit(_))) => return Ok(Merged::Again(job)),
            Err(Failure::Ended(error)) => return Err(error),
            Err(Failure::Damaged(error)) => {
                self.budget.spend(&part.spent)?;
                return self.damaged(block, error).map(|()| Merged::Done);
            }
        };
        self.budget.spend(&part.spent)?;
        while self.names.len() <= worker {
            self.names.push(Names::default());
        }
        let (sum, names) = (&mut self.runner.sum, &mut self.names[worker]);
        sum.set_beside(self.beside + self.crew);
        let taken = sum.take(names, &mut batch);
        // Without what helpers hold there may be enough, as there would have been without helpers.
        let short = matches!(taken, Err(EvalError::Limit(_)));
        sum.set_beside(self.beside);
        if short {
            sum.take(names, &mut batch)?;
        } else {
            taken?;
        }
        let fits = self.check()?;
        Ok(if short || !fits {
            Merged::Alone
        } else {
            Merged::Done
        })
    }

    fn helpers(&mut self) -> usize {
        // Minute tables are added as segments are opened, which must not be before the blocks of the ones before.
        if self.scanned < self.alone || self.minutes {
            return 0;
        }
        let used = self.runner.sum.memory() + self.runner.memory() + self.streams.memory();
        let (helpers, bytes) = self.budget.helpers(used);
        self.crew = bytes;
        helpers
    }

    fn worker(&mut self, cancel: &Cancel) -> Option<Helper<'p>> {
        let sum = Collector::new(self.task.leaf, self.task.steps, PART);
        let runner = self.task.runner(cancel, sum).ok()?;
        Some(Helper {
            runner,
            failed: false,
        })
    }

    fn dismissed(&mut self) {
        self.crew = 0;
        self.alone = usize::MAX;
    }

    fn cancel(&self) -> &Cancel {
        self.budget.cancel
    }
}

/// What entries are by metadata id, for the stream at hand: an array look-up an entry.
struct Memo {
    /// Numbers that the cache gave the sets; [`NONE`] as long as nobody asked.
    numbers: Vec<u32>,
    stream: Option<u32>,
    round: u32,
    known: Vec<(u32, Option<Known>)>,
}

impl Memo {
    fn new(sets: usize) -> Memo {
        Memo::numbered(vec![NONE; sets])
    }

    fn numbered(numbers: Vec<u32>) -> Memo {
        Memo {
            stream: None,
            round: 0,
            known: vec![(0, None); numbers.len()],
            numbers,
        }
    }

    fn start(&mut self, stream: u32) {
        if self.stream != Some(stream) {
            self.stream = Some(stream);
            self.round += 1;
        }
    }

    fn get(&self, id: u32) -> Option<Option<Known>> {
        let (round, known) = self.known[id as usize];
        (round == self.round).then_some(known)
    }

    fn put(&mut self, id: u32, known: Option<Known>) {
        self.known[id as usize] = (self.round, known);
    }
}
