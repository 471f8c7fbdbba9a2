//! Log queries: the first `limit` entries in the direction asked.
//!
//! Work waits in a heap, ordered by the first moment that it can contribute; a segment at the top is replaced by its
//! blocks, a block is scanned, by a helper too ([`super::crew`]). The scan ends when the top lies beyond the last entry of
//! a full answer.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::io;
use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use logql::eval::{Arrival, EvalError, Grants as _, KnownLabels, Top, over_budget};
use logql::pipeline::{LineFilter, PipelineRun};
use logql::plan::{Direction, LogLeaf};
use logql::value::Logs;
use wire::LabelSet;

use super::block::{Block, Buffers};
use super::budget::{Budget, HELPER, Look, PART};
use super::chunk::{Dictionary, column_filter, visit_lines};
use super::crew::{self, AHEAD, Merged, Scan, Worker};
use super::select::{HeadPart, Selected, Streams};
use super::{View, storage};
use crate::api::{Cancel, QueryStats};
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
    budget.check(raw_bytes)?;
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
    let task = Task {
        leaf,
        range: (start, end),
        limit,
        direction,
        filter: column_filter(&leaf.pipeline),
        fixed: leaf.pipeline.only_labels() && !leaf.pipeline.uses_time(),
        dictionary: &dictionary,
        now: budget.now,
    };
    let mut scan = LogScan {
        view,
        runner: task.runner(budget.cancel).map_err(storage)?,
        task,
        probe,
        top: Top::new(limit, direction),
        queue,
        raw: raw.into_iter().map(Some).collect(),
        streams_of_head: head.map,
        streams,
        crew: 0,
        scanned: 0,
        alone: budget.crew.0,
        budget,
    };
    let done = crew::run(&mut scan);
    scan.budget.stats.section_bytes += scan.streams.section_bytes();
    done?;
    Ok(scan.top.finish())
}

/// What all threads know of the query.
#[derive(Clone, Copy)]
struct Task<'p> {
    leaf: &'p LogLeaf,
    range: (i64, i64),
    limit: usize,
    direction: Direction,
    filter: Option<&'p LineFilter>,
    /// Whether stream and metadata alone say which labels an entry has and whether it passes, once its line has.
    fixed: bool,
    /// Metadata of raw entries.
    dictionary: &'p Dictionary<'p>,
    now: i64,
}

impl<'p> Task<'p> {
    fn runner(self, cancel: &Cancel) -> io::Result<Runner<'p>> {
        Ok(Runner {
            task: self,
            pipeline: self.leaf.pipeline.run().at(self.now),
            buffers: Buffers::new()?,
            ranges: Vec::new(),
            memo: Vec::new(),
            look: Look::new(cancel),
        })
    }
}

/// A block, or a raw run of the head, that may hold entries of the answer.
struct Job {
    bound: i64,
    /// Times that mattered when it was made.
    cut: (i64, i64),
    entries: Entries,
    /// Labels of the rows.
    labels: Vec<Arc<LabelSet>>,
}

enum Entries {
    Block(Block),
    Raw(RawRun),
}

/// What a helper made of a job.
struct Part {
    spent: QueryStats,
    found: Result<Top, Failure>,
}

enum Failure {
    Damaged(SegmentError),
    Ended(EvalError),
}

/// Memory that entries found may take: the query's limit, and what others of it hold.
struct Room<'r> {
    limit: usize,
    held: usize,
    granted: usize,
    grants: Option<&'r Cancel>,
}

impl Room<'_> {
    /// Has memory beside other queries granted.
    #[inline]
    fn cover(&mut self, bytes: usize) -> Result<(), EvalError> {
        let all = self.held.saturating_add(bytes);
        if all > self.granted
            && let Some(grants) = self.grants
        {
            self.granted = grants.grant(all)?;
        }
        Ok(())
    }
}

/// What is known of entries with the same stream and metadata.
#[derive(Debug, Clone, Copy)]
enum Memo {
    Nothing,
    /// They do not pass.
    Dropped,
    Labels(KnownLabels),
}

/// Runs jobs through the pipeline.
struct Runner<'p> {
    task: Task<'p>,
    pipeline: PipelineRun<'p>,
    buffers: Buffers,
    /// Entries of each row that may be part of the answer.
    ranges: Vec<Range<usize>>,
    /// What is known of the entries of a row by metadata id.
    memo: Vec<Memo>,
    look: Look,
}

impl Runner<'_> {
    /// Loads what is needed to run a block between two times; false when nothing of it can be part of the answer.
    fn load(&mut self, block: &Block, (start, end): (i64, i64)) -> Result<bool, SegmentError> {
        let header = self.buffers.header(block)?;
        let wholly = block
            .rows
            .iter()
            .all(|r| r.min_ts >= start && r.max_ts < end);
        // Without a line that may pass, no other column matters.
        let mut lines_first = false;
        if let (Some(filter), true) = (self.task.filter, wholly) {
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

    /// Runs the block that was loaded.
    fn block(
        &mut self,
        (block, labels): (&Block, &[Arc<LabelSet>]),
        top: &mut Top,
        room: &mut Room<'_>,
    ) -> Result<(), EvalError> {
        let metadata = std::mem::take(&mut self.buffers.metadata);
        let dictionary = Dictionary::new(metadata.sets.iter().map(|s| s.as_ref()));
        for (i, (row, labels)) in block.rows.iter().zip(labels).enumerate() {
            let pairs: Vec<(&str, &str)> = labels.as_ref().as_ref().iter().collect();
            let place = (block.sequence, row.ordinal);
            let range = self.ranges[i].clone();
            self.row(&pairs, &dictionary, (range, place), top, room)?;
        }
        drop(dictionary);
        self.buffers.metadata = metadata;
        Ok(())
    }

    /// Runs a raw run, whose entries are loaded, between two times.
    fn raw(
        &mut self,
        (sequence, labels): (u64, &LabelSet),
        (start, end): (i64, i64),
        top: &mut Top,
        room: &mut Room<'_>,
    ) -> Result<(), EvalError> {
        let times = &self.buffers.scratch.times;
        let range = within(times, 0, times.len(), start, end);
        let pairs: Vec<(&str, &str)> = labels.as_ref().iter().collect();
        let place = (sequence, RAW_ORDINAL);
        self.row(&pairs, self.task.dictionary, (range, place), top, room)
    }

    fn row(
        &mut self,
        stream: logql::Pairs<'_>,
        dictionary: &Dictionary<'_>,
        (range, (sequence, chunk)): (Range<usize>, (u64, u32)),
        top: &mut Top,
        room: &mut Room<'_>,
    ) -> Result<(), EvalError> {
        let (pipeline, look, memo) = (&mut self.pipeline, &mut self.look, &mut self.memo);
        let (fixed, filters) = (self.task.fixed, self.task.leaf.pipeline.leading_filters());
        memo.clear();
        memo.resize(if fixed { dictionary.len() } else { 0 }, Memo::Nothing);
        let ids = std::mem::take(&mut self.buffers.scratch.metadata);
        let done = visit_lines(
            &mut self.buffers.scratch,
            (stream, dictionary, &ids),
            range,
            self.task.direction,
            self.task.filter,
            |entry, view| {
                // Times fall (or rise) within a row: what follows is not wanted either.
                if !top.wants(view.ts) {
                    return Ok(ControlFlow::Break(()));
                }
                look.ran(view.line.len() + pipeline.take_spent())?;
                if !filters.iter().all(|f| f.matches(view.line)) {
                    return Ok(ControlFlow::Continue(()));
                }
                let arrival = Arrival {
                    sequence,
                    chunk,
                    entry: entry as u32,
                };
                let bytes = (room.limit, room.held);
                let mut memo = memo.get_mut(ids[entry] as usize);
                let taken = match memo {
                    Some(Memo::Dropped) => true,
                    Some(Memo::Labels(known)) => {
                        top.push_known((view.ts, view.line), arrival, *known, bytes)?
                    }
                    Some(Memo::Nothing) | None => false,
                };
                if !taken {
                    let outcome = pipeline.process_filtered(view);
                    let now = match outcome {
                        Some(outcome) => Memo::Labels(top.push(view.ts, arrival, &outcome, bytes)?),
                        None => Memo::Dropped,
                    };
                    if let Some(memo) = &mut memo {
                        **memo = now;
                    }
                }
                room.cover(top.memory())?;
                Ok(ControlFlow::Continue(()))
            },
        );
        self.buffers.scratch.metadata = ids;
        done
    }

    /// What a helper makes of a job.
    fn part(&mut self, job: &Job) -> Result<Top, Failure> {
        self.look.at_block().map_err(Failure::Ended)?;
        let mut top = Top::new(self.task.limit, self.task.direction);
        let mut room = Room {
            limit: PART,
            held: 0,
            granted: 0,
            grants: None,
        };
        let done = match &job.entries {
            Entries::Block(block) => {
                if !self.load(block, job.cut).map_err(Failure::Damaged)? {
                    return Ok(top);
                }
                if self.buffers.memory() + AHEAD * PART > HELPER {
                    return Err(Failure::Ended(over_budget(HELPER)));
                }
                self.block((block, &job.labels), &mut top, &mut room)
            }
            // Left to the owner: it has to be copied nowhere.
            Entries::Raw(_) => Ok(()),
        };
        done.map(|()| top).map_err(Failure::Ended)
    }
}

impl Worker for Runner<'_> {
    type Job = Job;
    type Done = Part;

    fn run(&mut self, job: &Job) -> Part {
        let found = self.part(job);
        let spent = match &job.entries {
            Entries::Block(block) => self.buffers.spent(block),
            Entries::Raw(_) => QueryStats::default(),
        };
        Part { spent, found }
    }
}

struct LogScan<'p, 's, 'b> {
    view: &'s dyn View,
    task: Task<'p>,
    runner: Runner<'p>,
    /// What lines must hold, for the skip index.
    probe: Option<Probe>,
    top: Top,
    queue: Queue,
    raw: Vec<Option<RawRun>>,
    /// Numbers of the streams of raw runs.
    streams_of_head: Vec<u32>,
    streams: Streams<'s>,
    /// Bytes that helpers may hold.
    crew: usize,
    /// Blocks scanned so far.
    scanned: usize,
    /// From so many on there are helpers.
    alone: usize,
    budget: &'s mut Budget<'b>,
}

impl<'b> LogScan<'_, '_, 'b> {
    /// Counts what is held beside entries found.
    fn hold(&mut self) {
        let others = self.queue.bytes + self.streams.memory();
        self.budget.held = self.task.leaf.regex_bytes + others;
    }

    /// Whether there is room for helpers, too.
    fn check(&mut self) -> Result<bool, EvalError> {
        self.hold();
        let used = self.top.memory() + self.runner.buffers.memory();
        self.budget.check_beside(used, self.crew)
    }

    /// Replaces a segment by its blocks.
    fn expand(&mut self, segment: &SegmentEntry) -> Result<(), EvalError> {
        let mut selected = match Selected::open(self.view, segment, &mut self.streams) {
            Ok(Some(selected)) => selected,
            Ok(None) => return Ok(()),
            Err(e) => return self.view.damage().segment(segment.sequence, e),
        };
        let (start, end) = (self.task.range.0, self.task.range.1 - 1);
        let rows: Vec<(u32, u32)> = (0u32..)
            .zip(&selected.chunks)
            .filter_map(|(i, c)| Some((i, selected.stream(c, start, end)?)))
            .collect();
        self.budget.stats.chunks_matched += rows.len() as u64;
        if let Some(probe) = self.probe.as_ref().filter(|_| !rows.is_empty())
            && let Err(e) = selected.skip(probe)
        {
            self.view.damage().segment(segment.sequence, e)?;
        }
        self.queue
            .push_blocks(selected.blocks(segment.sequence, rows));
        Ok(())
    }

    fn run_block(&mut self, block: &Block, labels: &[Arc<LabelSet>]) -> Result<(), EvalError> {
        let cut = self.top.cut(self.task.range.0, self.task.range.1);
        let loaded = self.runner.load(block, cut);
        let spent = self.runner.buffers.spent(block);
        self.budget.spend(&spent)?;
        match loaded {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(e) => return self.damaged(block, e),
        }
        let mut room = self.room(self.runner.buffers.memory());
        self.runner.block((block, labels), &mut self.top, &mut room)
    }

    fn run_raw(&mut self, run: RawRun, labels: &LabelSet) -> Result<(), EvalError> {
        let cut = self.top.cut(self.task.range.0, self.task.range.1);
        let sequence = run.sequence;
        let spent = self.runner.buffers.raw(run);
        self.budget.spend(&spent)?;
        let mut room = self.room(0);
        self.runner
            .raw((sequence, labels), cut, &mut self.top, &mut room)
    }

    /// Memory that entries may take beside so many bytes of buffers.
    fn room(&self, buffers: usize) -> Room<'b> {
        Room {
            limit: self.budget.memory,
            held: self.budget.held + buffers,
            granted: 0,
            grants: Some(self.budget.cancel),
        }
    }

    fn damaged(&self, block: &Block, error: SegmentError) -> Result<(), EvalError> {
        let damage = self.view.damage();
        damage.block(block.sequence, block.offset(), error)
    }
}

impl<'p> Scan for LogScan<'p, '_, '_> {
    type Job = Job;
    type Done = Part;
    type Worker = Runner<'p>;

    fn next(&mut self) -> Result<Option<Job>, EvalError> {
        while let Some(Item { bound, work, .. }) = self.queue.pop() {
            if !self.top.wants(bound) {
                return Ok(None);
            }
            self.budget.cancel.check()?;
            let (entries, labels) = match work {
                Work::Segment(segment) => {
                    self.expand(&segment)?;
                    self.check()?;
                    continue;
                }
                Work::Block(block) => {
                    let labels = self.streams.of_rows(&block.rows);
                    (Entries::Block(block), labels)
                }
                Work::Raw(i) => {
                    let Some(run) = self.raw[i].take() else {
                        continue;
                    };
                    let stream = self.streams_of_head[run.stream as usize];
                    let labels = vec![self.streams.shared_labels(stream)];
                    (Entries::Raw(run), labels)
                }
            };
            return Ok(Some(Job {
                bound,
                cut: self.top.cut(self.task.range.0, self.task.range.1),
                entries,
                labels,
            }));
        }
        Ok(None)
    }

    fn alone(&mut self, job: Job) -> Result<bool, EvalError> {
        if !self.top.wants(job.bound) {
            return Ok(false);
        }
        self.hold();
        match job.entries {
            Entries::Block(block) => {
                self.runner.look.at_block()?;
                self.run_block(&block, &job.labels)?;
                self.scanned += 1;
            }
            Entries::Raw(run) => self.run_raw(run, &job.labels[0])?,
        }
        self.check()?;
        Ok(true)
    }

    fn merge(&mut self, job: Job, part: Part, _: usize) -> Result<Merged<Job>, EvalError> {
        if !self.top.wants(job.bound) {
            return Ok(Merged::Last);
        }
        let Entries::Block(block) = &job.entries else {
            return Ok(match self.alone(job)? {
                true => Merged::Done,
                false => Merged::Last,
            });
        };
        match part.found {
            Ok(top) => {
                self.hold();
                let used = self.top.memory() + top.memory() + self.runner.buffers.memory();
                // Where memory is short, the owner does with what it would have had alone.
                if used + self.crew > self.budget.left() {
                    return Ok(Merged::Again(job));
                }
                self.budget.spend(&part.spent)?;
                let room = (self.budget.memory, self.budget.held);
                self.top.merge(top, room)?;
                if !self.check()? {
                    return Ok(Merged::Alone);
                }
            }
            Err(Failure::Ended(EvalError::Limit(_))) => return Ok(Merged::Again(job)),
            Err(Failure::Ended(error)) => return Err(error),
            Err(Failure::Damaged(error)) => {
                self.budget.spend(&part.spent)?;
                self.damaged(block, error)?;
            }
        }
        Ok(Merged::Done)
    }

    fn helpers(&mut self) -> usize {
        if self.scanned < self.alone {
            return 0;
        }
        let used = self.top.memory() + self.runner.buffers.memory();
        let (helpers, bytes) = self.budget.helpers(used);
        self.crew = bytes;
        helpers
    }

    fn worker(&mut self, cancel: &Cancel) -> Option<Runner<'p>> {
        self.task.runner(cancel).ok()
    }

    fn dismissed(&mut self) {
        self.crew = 0;
        self.alone = usize::MAX;
    }

    fn cancel(&self) -> &Cancel {
        self.budget.cancel
    }
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
