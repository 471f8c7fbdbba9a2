//! Range aggregations: every entry (or whole minutes of entries) into an accumulator, segment by segment.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{ControlFlow, Range};

use logql::eval::{Accumulator, EvalError, Known, SeriesId};
use logql::pipeline::{EntryView, LineFilter, PipelineRun};
use logql::plan::{Direction, Needs, RangeLeaf, Steps};
use logql::value::Matrix;
use wire::LabelSet;

use super::block::{Block, Buffers, to_offsets};
use super::budget::Budget;
use super::chunk::{Dictionary, column_filter, visit_lines};
use super::logs::within;
use super::select::{HeadPart, NONE, Selected, Streams};
use super::{View, storage};
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
    let sum = Accumulator::new(leaf, steps, max_series, budget.memory).beside(budget.held);
    // Windows are open below and closed above.
    let (after, last) = leaf.span(steps);
    let Some(first) = after.checked_add(1).filter(|first| *first <= last) else {
        return sum.finish();
    };
    let fixed = leaf.pipeline.only_labels() && !leaf.pipeline.uses_time();
    let plain = fixed && !leaf.pipeline.uses_line();
    let mut scan = RangeScan {
        span: (first, last),
        read: if plain { Read::Times } else { Read::Lines },
        minutes: plain && leaf.needs() != Needs::Value && leaf.aligned_to(steps, MINUTE_NS),
        lengths: leaf.needs() == Needs::Bytes,
        fixed,
        filter: column_filter(&leaf.pipeline),
        filters: leaf.pipeline.leading_filters(),
        probe: budget.probe(&leaf.pipeline),
        pipeline: leaf.pipeline.run().at(budget.now),
        buffers: Buffers::new().map_err(storage)?,
        tables: Minutes::default(),
        sum,
        cache: Cache::default(),
    };
    let mut streams = Streams::new(view.index(), &leaf.matchers);
    let lines = scan.read == Read::Lines;
    let head = HeadPart::take(view, &mut streams, scan.span, lines, budget.left() / 2)?;
    for segment in &head.snapshot.segments {
        budget.cancel.check()?;
        scan.segment(view, segment, &mut streams, budget)?;
    }
    scan.head(view, head, &streams, budget)?;
    budget.stats.compressed_bytes += scan.buffers.compressed;
    scan.sum.finish()
}

struct RangeScan<'p> {
    /// First and last timestamp that any window holds.
    span: (i64, i64),
    read: Read,
    /// Whether minute tables may answer.
    minutes: bool,
    /// Whether line lengths matter.
    lengths: bool,
    /// Whether stream and metadata alone say which series an entry belongs to, and its value.
    fixed: bool,
    filter: Option<&'p LineFilter>,
    /// The filters that lines must pass.
    filters: &'p [LineFilter],
    /// What lines must hold, for the skip index.
    probe: Option<Probe>,
    pipeline: PipelineRun<'p>,
    buffers: Buffers,
    /// Minute tables of the segment at hand.
    tables: Minutes,
    sum: Accumulator<'p>,
    cache: Cache,
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

impl RangeScan<'_> {
    fn segment(
        &mut self,
        view: &dyn View,
        segment: &SegmentEntry,
        streams: &mut Streams<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), EvalError> {
        let sequence = segment.sequence;
        self.cache.trim();
        let mut selected = match Selected::open(view, segment, streams) {
            Ok(Some(selected)) => selected,
            Ok(None) => return Ok(()),
            Err(e) => return view.damage().segment(sequence, e),
        };
        let mut rows: Vec<(u32, u32)> = (0u32..)
            .zip(&selected.chunks)
            .filter_map(|(i, c)| Some((i, selected.stream(c, self.span.0, self.span.1)?)))
            .collect();
        budget.stats.chunks_matched += rows.len() as u64;
        if self.minutes
            && rows
                .iter()
                .any(|(i, _)| selected.chunks[*i as usize].cells.is_some())
        {
            let mut tables = std::mem::take(&mut self.tables);
            let read = selected
                .reader
                .minutes_into(&selected.chunks, self.lengths, &mut tables)
                .and_then(|()| selected.reader.metadata_numbers(|set| self.cache.set(set)));
            match read {
                Ok(numbers) => {
                    self.tables(&rows, &selected, &tables, numbers, streams)?;
                    rows.retain(|(i, _)| selected.chunks[*i as usize].cells.is_none());
                }
                // The columns hold the same truth.
                Err(e) => view.damage().segment(sequence, e)?,
            }
            self.tables = tables;
        }
        if let Some(probe) = self.probe.as_ref().filter(|_| !rows.is_empty())
            && let Err(e) = selected.skip(probe)
        {
            view.damage().segment(sequence, e)?;
        }
        for block in selected.blocks(sequence, rows) {
            self.block(view, &block, streams, budget)?;
        }
        self.check(streams, budget)
    }

    fn check(&self, streams: &Streams<'_>, budget: &Budget<'_>) -> Result<(), EvalError> {
        let tables = self.tables.cells.capacity() * size_of::<Cell>();
        budget.check(
            self.sum.memory()
                + self.cache.bytes
                + self.probe.as_ref().map_or(0, Probe::memory)
                + self.buffers.memory()
                + tables
                + streams.memory(),
        )
    }

    /// Adds the rows that have a minute table.
    fn tables(
        &mut self,
        rows: &[(u32, u32)],
        selected: &Selected,
        minutes: &Minutes,
        numbers: Vec<u32>,
        streams: &Streams<'_>,
    ) -> Result<(), EvalError> {
        let mut memo = Memo::numbered(numbers);
        for &(row, stream) in rows {
            if selected.chunks[row as usize].cells.is_none() {
                continue;
            }
            memo.start(stream);
            self.cells(minutes.of(row as usize), &[], &mut memo, stream, streams)?;
        }
        Ok(())
    }

    fn cells(
        &mut self,
        cells: &[Cell],
        sets: &[LabelSet],
        memo: &mut Memo,
        stream: u32,
        streams: &Streams<'_>,
    ) -> Result<(), EvalError> {
        let (first, last) = self.span;
        // Cells that follow each other and add up to the same points.
        let mut run: Option<Sum> = None;
        for cell in cells {
            // Minutes are (minute, minute + 1]; the span begins and ends on such an edge.
            let edge = cell.minute.saturating_add(1).saturating_mul(MINUTE_NS);
            if edge < first || edge > last || cell.metadata as usize >= memo.known.len() {
                continue;
            }
            let known = self.known(cell.metadata, sets, memo, stream, streams)?;
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
                until: self.sum.same_until(edge),
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
        self.sum.add_bucket(sum.series, sum.edge, entries, bytes)
    }

    /// What a stream's entries with the metadata of this number are, when the line plays no part.
    fn of_metadata(
        &mut self,
        stream: u32,
        number: u32,
        streams: &Streams<'_>,
    ) -> Result<Option<Known>, EvalError> {
        let key = (stream, number);
        if let Some(known) = self.cache.known.get(&key) {
            return Ok(*known);
        }
        let labels: Vec<(&str, &str)> = streams.labels(stream).as_ref().iter().collect();
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

    fn block(
        &mut self,
        view: &dyn View,
        block: &Block,
        streams: &Streams<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), EvalError> {
        budget.cancel.check()?;
        let entries: u64 = block.rows.iter().map(|r| u64::from(r.entries)).sum();
        budget.stats.chunks_read += block.rows.len() as u64;
        budget.stats.lines_processed += entries;
        let loaded = match self.read {
            Read::Times => self.load_times(block),
            Read::Lines => self.load_lines(block),
        };
        if self.read == Read::Lines {
            budget.scanned(self.buffers.scratch.lines.len())?;
        }
        match loaded {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(e) => return view.damage().block(block.sequence, block.offset(), e),
        }
        let metadata = std::mem::take(&mut self.buffers.metadata);
        let mut memo = Memo::new(metadata.sets.len());
        let dictionary = match self.read {
            Read::Times => Dictionary::default(),
            Read::Lines => Dictionary::new(metadata.sets.iter().map(|s| s.as_ref())),
        };
        for row in &block.rows {
            let range = self.within(row.first as usize, row.entries as usize);
            match self.read {
                Read::Times => {
                    self.add_times(range, &metadata.sets, &mut memo, row.stream, streams)?;
                }
                Read::Lines => {
                    let metadata = (metadata.sets.as_slice(), &dictionary);
                    self.add_lines(range, metadata, &mut memo, row.stream, streams, budget)?;
                }
            }
        }
        drop(dictionary);
        self.buffers.metadata = metadata;
        self.check(streams, budget)
    }

    fn within(&self, first: usize, entries: usize) -> Range<usize> {
        let end = self.span.1.saturating_add(1);
        within(
            &self.buffers.scratch.times,
            first,
            entries,
            self.span.0,
            end,
        )
    }

    fn load_times(&mut self, block: &Block) -> Result<bool, SegmentError> {
        let header = self.buffers.header(block)?;
        self.buffers.times(block, &header)?;
        if self.lengths {
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
        if let Some(filter) = self.filter
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

    fn add_times(
        &mut self,
        range: Range<usize>,
        sets: &[LabelSet],
        memo: &mut Memo,
        stream: u32,
        streams: &Streams<'_>,
    ) -> Result<(), EvalError> {
        memo.start(stream);
        for entry in range {
            let id = self.buffers.scratch.metadata[entry];
            if let Some(known) = self.known(id, sets, memo, stream, streams)? {
                let scratch = &self.buffers.scratch;
                let len = if self.lengths {
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
        stream: u32,
        streams: &Streams<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), EvalError> {
        memo.start(stream);
        let labels: Vec<(&str, &str)> = streams.labels(stream).as_ref().iter().collect();
        // The closure needs the rest of the scan while the columns are borrowed.
        let mut scratch = std::mem::take(&mut self.buffers.scratch);
        let ids = std::mem::take(&mut scratch.metadata);
        let done = visit_lines(
            &mut scratch,
            (&labels, dictionary, &ids),
            range,
            Direction::Forward,
            self.filter,
            |entry, view| {
                budget.ran(view.line.len() + self.pipeline.take_spent())?;
                if self.fixed {
                    if self.filters.iter().all(|f| f.matches(view.line))
                        && let Some(known) = self.known(ids[entry], sets, memo, stream, streams)?
                    {
                        self.sum.add_known(known, view.ts, view.line.len())?;
                    }
                } else if let Some(outcome) = self.pipeline.process(view) {
                    let series = self.sum.series_of_stream(stream, &outcome)?;
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
        stream: u32,
        streams: &Streams<'_>,
    ) -> Result<Option<Known>, EvalError> {
        if let Some(known) = memo.get(id) {
            return Ok(known);
        }
        self.unknown(id, sets, memo, stream, streams)
    }

    #[cold]
    fn unknown(
        &mut self,
        id: u32,
        sets: &[LabelSet],
        memo: &mut Memo,
        stream: u32,
        streams: &Streams<'_>,
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
        let known = self.of_metadata(stream, number, streams)?;
        memo.put(id, known);
        Ok(known)
    }

    fn head(
        &mut self,
        view: &dyn View,
        mut head: HeadPart,
        streams: &Streams<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), EvalError> {
        budget.stats.chunks_matched += head.snapshot.chunks.len() as u64;
        let raw = std::mem::take(&mut head.snapshot.raw);
        let sets = &head.snapshot.metadata;
        let mut memo = Memo::new(sets.len());
        let mut rest = Vec::new();
        for (i, held) in head.snapshot.chunks.iter().enumerate() {
            if self.minutes && held.chunk.cells.is_some() {
                let stream = head.map[held.chunk.stream as usize];
                memo.start(stream);
                self.cells(
                    head.snapshot.minutes.of(i),
                    sets,
                    &mut memo,
                    stream,
                    streams,
                )?;
            } else {
                rest.push(i);
            }
        }
        for block in head.blocks(rest.into_iter()) {
            self.block(view, &block, streams, budget)?;
        }
        let dictionary = Dictionary::new(sets.iter().map(|s| s.as_ref()));
        for run in raw {
            budget.cancel.check()?;
            budget.stats.lines_processed += run.times.len() as u64;
            let stream = head.map[run.stream as usize];
            self.raw(run, stream, (sets, &dictionary), &mut memo, streams, budget)?;
        }
        self.check(streams, budget)
    }

    fn raw(
        &mut self,
        run: RawRun,
        stream: u32,
        (sets, dictionary): (&[LabelSet], &Dictionary<'_>),
        memo: &mut Memo,
        streams: &Streams<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), EvalError> {
        let scratch = &mut self.buffers.scratch;
        to_offsets(&run.lengths, &mut scratch.offsets);
        scratch.times = run.times;
        scratch.lines = run.lines;
        scratch.metadata = run.ids;
        let range = self.within(0, self.buffers.scratch.times.len());
        match self.read {
            Read::Times => self.add_times(range, sets, memo, stream, streams),
            Read::Lines => {
                budget.scanned(self.buffers.scratch.lines.len())?;
                self.add_lines(range, (sets, dictionary), memo, stream, streams, budget)
            }
        }
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
