//! Log queries: the first `limit` entries in the direction asked.
//!
//! Work waits in a heap, ordered by the first moment that it can contribute; a segment at the top is replaced by its
//! blocks, a block is scanned. The scan ends when the top lies beyond the last entry of a full answer.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::{ControlFlow, Range};

use logql::eval::{Arrival, EvalError, Top};
use logql::pipeline::{LineFilter, PipelineRun};
use logql::plan::{Direction, LogLeaf};
use logql::value::Logs;

use super::block::{Block, Buffers, to_offsets};
use super::budget::Budget;
use super::chunk::{Dictionary, column_filter, visit_lines};
use super::select::{HeadPart, Selected, Streams};
use super::{View, storage};
use crate::head::RawRun;
use crate::segment::{Probe, SegmentEntry, SegmentError};

/// Raw entries of the head arrive after all chunks of the same sequence.
const RAW_ORDINAL: u32 = u32::MAX;

enum Work {
    Segment(SegmentEntry),
    Block(Block),
    Raw(usize),
}

struct Item {
    /// Greater comes first.
    key: i64,
    bound: i64,
    work: Work,
}

impl PartialEq for Item {
    fn eq(&self, other: &Item) -> bool {
        self.key == other.key
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Item) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    fn cmp(&self, other: &Item) -> Ordering {
        self.key.cmp(&other.key)
    }
}

/// Work not done yet, and the bytes it holds.
struct Queue {
    heap: BinaryHeap<Item>,
    direction: Direction,
    bytes: usize,
}

impl Queue {
    fn push(&mut self, min_ts: i64, max_ts: i64, work: Work) {
        let (key, bound) = match self.direction {
            Direction::Backward => (max_ts, max_ts),
            Direction::Forward => (!min_ts, min_ts),
        };
        self.bytes += memory(&work);
        self.heap.push(Item { key, bound, work });
    }

    fn push_blocks(&mut self, blocks: Vec<Block>) {
        for block in blocks {
            self.push(block.min_ts(), block.max_ts(), Work::Block(block));
        }
    }

    fn pop(&mut self) -> Option<Item> {
        let item = self.heap.pop()?;
        self.bytes -= memory(&item.work);
        Some(item)
    }
}

fn memory(work: &Work) -> usize {
    size_of::<Item>()
        + match work {
            Work::Block(block) => block.memory(),
            _ => 0,
        }
}

/// Entries with `start <= ts < end`.
pub(super) fn logs(
    view: &dyn View,
    leaf: &LogLeaf,
    (start, end): (i64, i64),
    (limit, direction): (usize, Direction),
    budget: &mut Budget<'_>,
) -> Result<Logs, EvalError> {
    if start >= end || limit == 0 {
        return Ok(Logs::default());
    }
    let mut streams = Streams::new(view.index(), &leaf.matchers);
    let range = (start, end - 1);
    let mut head = HeadPart::take(view, &mut streams, range, true, budget.memory / 2)?;
    let raw = std::mem::take(&mut head.snapshot.raw);
    let raw_bytes: usize = raw.iter().map(|r| r.lines.len() + r.times.len() * 16).sum();
    let probe = budget.probe(&leaf.pipeline);
    let mut queue = Queue {
        heap: BinaryHeap::new(),
        direction,
        bytes: raw_bytes + probe.as_ref().map_or(0, Probe::memory),
    };
    for segment in &head.snapshot.segments {
        queue.push(segment.min_ts, segment.max_ts, Work::Segment(*segment));
    }
    queue.push_blocks(head.blocks(0..head.snapshot.chunks.len()));
    for (i, run) in raw.iter().enumerate() {
        if let (Some(first), Some(last)) = (run.times.first(), run.times.last()) {
            queue.push(*first, *last, Work::Raw(i));
        }
    }
    budget.stats.chunks_matched += (head.snapshot.chunks.len() + raw.len()) as u64;
    let dictionary = Dictionary::new(head.snapshot.metadata.iter().map(|s| s.as_ref()));
    let mut scan = LogScan {
        range: (start, end),
        direction,
        filter: column_filter(&leaf.pipeline),
        pipeline: leaf.pipeline.run().at(budget.now),
        buffers: Buffers::new().map_err(storage)?,
        top: Top::new(limit, direction),
        ranges: Vec::new(),
    };
    let mut raw: Vec<Option<RawRun>> = raw.into_iter().map(Some).collect();
    while let Some(item) = queue.pop() {
        if !scan.top.wants(item.bound) {
            break;
        }
        budget.cancel.check()?;
        budget.held = leaf.regex_bytes + queue.bytes + streams.memory();
        match item.work {
            Work::Segment(segment) => {
                let probe = probe.as_ref();
                expand(
                    view,
                    (&segment, probe),
                    &mut streams,
                    range,
                    &mut queue,
                    budget,
                )?;
            }
            Work::Block(block) => scan.block(view, &block, &streams, budget)?,
            Work::Raw(i) => {
                if let Some(run) = raw[i].take() {
                    let stream = head.map[run.stream as usize];
                    scan.raw(run, stream, &streams, &dictionary, budget)?;
                }
            }
        }
        budget.held = leaf.regex_bytes + queue.bytes + streams.memory();
        budget.check(scan.top.memory() + scan.buffers.memory())?;
    }
    budget.stats.compressed_bytes += scan.buffers.compressed;
    Ok(scan.top.finish())
}

/// Replaces a segment by its blocks.
fn expand(
    view: &dyn View,
    (segment, probe): (&SegmentEntry, Option<&Probe>),
    streams: &mut Streams<'_>,
    (start, end): (i64, i64),
    queue: &mut Queue,
    budget: &mut Budget<'_>,
) -> Result<(), EvalError> {
    let mut selected = match Selected::open(view, segment, streams) {
        Ok(Some(selected)) => selected,
        Ok(None) => return Ok(()),
        Err(e) => return view.damage().segment(segment.sequence, e),
    };
    let rows: Vec<(u32, u32)> = (0u32..)
        .zip(&selected.chunks)
        .filter_map(|(i, c)| Some((i, selected.stream(c, start, end)?)))
        .collect();
    budget.stats.chunks_matched += rows.len() as u64;
    if let Some(probe) = probe.filter(|_| !rows.is_empty())
        && let Err(e) = selected.skip(probe)
    {
        view.damage().segment(segment.sequence, e)?;
    }
    queue.push_blocks(selected.blocks(segment.sequence, rows));
    Ok(())
}

struct LogScan<'p> {
    range: (i64, i64),
    direction: Direction,
    filter: Option<&'p LineFilter>,
    pipeline: PipelineRun<'p>,
    buffers: Buffers,
    top: Top,
    /// Entries of each row that may be part of the answer.
    ranges: Vec<Range<usize>>,
}

impl LogScan<'_> {
    fn block(
        &mut self,
        view: &dyn View,
        block: &Block,
        streams: &Streams<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), EvalError> {
        budget.stats.chunks_read += block.rows.len() as u64;
        match self.load(block) {
            Ok(true) => {}
            Ok(false) => return count(budget, block, &self.buffers),
            Err(e) => return view.damage().block(block.sequence, block.offset(), e),
        }
        count(budget, block, &self.buffers)?;
        budget.held += self.buffers.memory();
        let metadata = std::mem::take(&mut self.buffers.metadata);
        let dictionary = Dictionary::new(metadata.sets.iter().map(|s| s.as_ref()));
        for (i, row) in block.rows.iter().enumerate() {
            let pairs: Vec<(&str, &str)> = streams.labels(row.stream).as_ref().iter().collect();
            let place = (block.sequence, row.ordinal);
            let range = self.ranges[i].clone();
            self.run(&pairs, &dictionary, range, place, budget)?;
        }
        drop(dictionary);
        self.buffers.metadata = metadata;
        Ok(())
    }

    /// Loads what is needed to run the block; false when nothing of it can be part of the answer.
    fn load(&mut self, block: &Block) -> Result<bool, SegmentError> {
        let header = self.buffers.header(block)?;
        let (start, end) = self.top.cut(self.range.0, self.range.1);
        let wholly = block
            .rows
            .iter()
            .all(|r| r.min_ts >= start && r.max_ts < end);
        // Without a line that may pass, no other column matters.
        let mut lines_first = false;
        if let (Some(filter), true) = (self.filter, wholly) {
            self.buffers.lines(block, &header)?;
            if filter
                .find_candidate(&self.buffers.scratch.lines, 0)
                .is_none()
            {
                return Ok(false);
            }
            lines_first = true;
        }
        self.buffers.times(block, &header)?;
        let times = &self.buffers.scratch.times;
        self.ranges.clear();
        self.ranges.extend(
            block
                .rows
                .iter()
                .map(|r| within(times, r.first as usize, r.entries as usize, start, end)),
        );
        if self.ranges.iter().all(Range::is_empty) {
            return Ok(false);
        }
        if !lines_first {
            self.buffers.lines(block, &header)?;
        }
        self.buffers.offsets(block, &header)?;
        self.buffers.metadata(block, &header)?;
        Ok(true)
    }

    fn raw(
        &mut self,
        run: RawRun,
        stream: u32,
        streams: &Streams<'_>,
        dictionary: &Dictionary<'_>,
        budget: &mut Budget<'_>,
    ) -> Result<(), EvalError> {
        let scratch = &mut self.buffers.scratch;
        to_offsets(&run.lengths, &mut scratch.offsets);
        scratch.times = run.times;
        scratch.lines = run.lines;
        scratch.metadata = run.ids;
        let (start, end) = self.top.cut(self.range.0, self.range.1);
        let range = within(&scratch.times, 0, scratch.times.len(), start, end);
        budget.stats.lines_processed += range.len() as u64;
        budget.scanned(scratch.lines.len())?;
        let pairs: Vec<(&str, &str)> = streams.labels(stream).as_ref().iter().collect();
        self.run(
            &pairs,
            dictionary,
            range,
            (run.sequence, RAW_ORDINAL),
            budget,
        )
    }

    fn run(
        &mut self,
        stream: logql::Pairs<'_>,
        dictionary: &Dictionary<'_>,
        range: Range<usize>,
        (sequence, chunk): (u64, u32),
        budget: &mut Budget<'_>,
    ) -> Result<(), EvalError> {
        let (top, pipeline) = (&mut self.top, &mut self.pipeline);
        let ids = std::mem::take(&mut self.buffers.scratch.metadata);
        let done = visit_lines(
            &mut self.buffers.scratch,
            (stream, dictionary, &ids),
            range,
            self.direction,
            self.filter,
            |entry, view| {
                // Times fall (or rise) within a row: what follows is not wanted either.
                if !top.wants(view.ts) {
                    return Ok(ControlFlow::Break(()));
                }
                budget.ran(view.line.len() + pipeline.take_spent())?;
                if let Some(outcome) = pipeline.process(view) {
                    let arrival = Arrival {
                        sequence,
                        chunk,
                        entry: entry as u32,
                    };
                    top.push(view.ts, arrival, &outcome, (budget.memory, budget.held))?;
                }
                Ok(ControlFlow::Continue(()))
            },
        );
        self.buffers.scratch.metadata = ids;
        done
    }
}

fn count(budget: &mut Budget<'_>, block: &Block, buffers: &Buffers) -> Result<(), EvalError> {
    let entries: u64 = block.rows.iter().map(|r| u64::from(r.entries)).sum();
    budget.stats.lines_processed += entries;
    budget.scanned(buffers.scratch.lines.len())
}

/// Entries of a row with `start <= ts < end`.
pub(super) fn within(
    times: &[i64],
    first: usize,
    entries: usize,
    start: i64,
    end: i64,
) -> Range<usize> {
    let row = &times[first..first + entries];
    let from = row.partition_point(|t| *t < start);
    let to = row.partition_point(|t| *t < end);
    first + from..first + to.max(from)
}
