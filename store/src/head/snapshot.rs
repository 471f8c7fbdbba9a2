//! What a query sees of the head, taken under its lock in about a millisecond: sealed blocks are shared, not copied;
//! raw entries of the chosen streams are copied within a budget; nothing is decompressed. Shared blocks are looked into
//! (times, lengths, metadata) after the lock was released.

use std::sync::Arc;

use wire::{LabelSet, Labels};

use super::epoch::Shared;
use super::merge::Decoded;
use super::sets::Sets;
use super::{Epoch, Head};
use crate::block::{BlockError, Decoder, Header};
use crate::segment::{Cell, Chunk, Minutes, SegmentEntry};

/// Which entries a query wants of the head.
pub struct Want<'a> {
    /// Chooses streams.
    pub select: &'a mut dyn FnMut(Labels<'_>) -> bool,
    /// Least timestamp, ns, inclusive. Chunks and entries wholly outside are left out.
    pub start: i64,
    /// Greatest timestamp, ns, inclusive.
    pub end: i64,
    /// Whether raw entries need their lines; without, `RawRun::lines` is empty.
    pub lines: bool,
    /// Most bytes of raw entries to copy.
    pub budget: usize,
}

/// A consistent view of the head. Streams, chunks and raw runs of a stream come in order of arrival: all chunks and
/// runs with a lower sequence before those with a higher one; within a sequence chunks before the raw run.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Segments with a sequence up to this one belong to the view, newer ones do not: their entries are in here.
    pub committed: u64,
    /// Segments of the view whose times overlap the wanted range, by sequence.
    pub segments: Vec<SegmentEntry>,
    /// Label sets of the streams that `chunks` and `raw` refer to.
    pub streams: Vec<LabelSet>,
    /// Metadata sets that `minutes` and `raw` refer to.
    pub metadata: Vec<LabelSet>,
    /// Sealed blocks' runs, in order of arrival.
    pub chunks: Vec<HeadChunk>,
    /// Minute tables by index into `chunks`.
    pub minutes: Minutes,
    /// Entries not yet compressed: at most one run a stream.
    pub raw: Vec<RawRun>,
}

/// A chunk that is not on disk yet (or was not when the snapshot was taken).
#[derive(Debug, Clone)]
pub struct HeadChunk {
    /// The row; `stream` indexes [`Snapshot::streams`], `block_offset` is 0.
    pub chunk: Chunk,
    /// Sequence that the segment will have.
    pub sequence: u64,
    /// The block's bytes, as [`crate::block::Header::decode`] reads them. Keep it only while the query runs.
    pub block: Arc<[u8]>,
}

/// Uncompressed entries of one stream, ordered by time, equal times in order of arrival.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RawRun {
    /// Index into [`Snapshot::streams`].
    pub stream: u32,
    /// Sequence that the segment will have.
    pub sequence: u64,
    /// Timestamps, ns.
    pub times: Vec<i64>,
    /// Line lengths without line feed.
    pub lengths: Vec<u32>,
    /// Index into [`Snapshot::metadata`] per entry.
    pub ids: Vec<u32>,
    /// The lines, each followed by one line feed; empty when not wanted.
    pub lines: Vec<u8>,
}

/// The raw entries that a query wants exceed its budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverBudget {
    /// Bytes that would have been needed, at least.
    pub needed: usize,
}

/// A snapshot while the lock is held: label sets are still numbers, runs are not sorted, shared blocks not looked into.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    snapshot: Snapshot,
    streams: Sets,
    metadata: Sets,
    /// In order of arrival.
    parts: Vec<Part>,
    /// Cells of chunks that are ready.
    cells: Vec<Cell>,
    /// Times that are wanted, ns, both inclusive.
    range: (i64, i64),
}

/// Chunks that a draft refers to.
#[derive(Debug)]
enum Part {
    /// A chunk, and where its cells begin.
    Ready(HeadChunk, usize),
    /// Runs of a shared block: ordinal of the stream, first entry, entries.
    Shared(Arc<[u8]>, u64, Vec<(u32, u32, u32)>),
}

impl Head {
    /// Copies what a query wants. Call [`Draft::finish`] after releasing the lock.
    ///
    /// # Errors
    /// [`OverBudget`].
    pub(crate) fn snapshot(&self, want: &mut Want<'_>) -> Result<Draft, OverBudget> {
        let mut draft = Draft {
            range: (want.start, want.end),
            ..Draft::default()
        };
        draft.snapshot.committed = self.committed;
        let overlaps = |s: &&SegmentEntry| s.max_ts >= want.start && s.min_ts <= want.end;
        draft.snapshot.segments = self.segments.iter().filter(overlaps).copied().collect();
        if let Some(frozen) = &self.frozen {
            draft.add_epoch(&frozen.epoch, want);
        }
        let ordinals = draft.add_epoch(&self.live, want);
        draft.add_raw(self, want, &ordinals)?;
        Ok(draft)
    }
}

impl Draft {
    /// Adds the chunks of an epoch; gives the ordinal in the snapshot, or `u32::MAX`, of each of its streams.
    fn add_epoch(&mut self, epoch: &Epoch, want: &mut Want<'_>) -> Vec<u32> {
        let mut set = Vec::new();
        let choose = |id: u32| {
            set.clear();
            epoch.labels.append_to(id, &mut set);
            // Labels were canonical when they came in.
            let labels = Labels::check(&set).ok()?;
            (want.select)(labels).then(|| self.streams.intern(&set))
        };
        let ordinals: Vec<u32> = (0..epoch.labels.len() as u32)
            .map(choose)
            .map(|ordinal| ordinal.unwrap_or(u32::MAX))
            .collect();
        for shared in &epoch.shared {
            self.add_shared(epoch.sequence, shared, &ordinals, want);
        }
        for row in &epoch.rows {
            let stream = ordinals[row.chunk.stream as usize];
            if stream == u32::MAX || row.chunk.max_ts < want.start || row.chunk.min_ts > want.end {
                continue;
            }
            let block = &epoch.blocks[row.block as usize].block;
            let chunk = HeadChunk {
                chunk: Chunk {
                    stream,
                    block_bytes: block.len() as u32,
                    ..row.chunk
                },
                sequence: epoch.sequence,
                block: Arc::clone(block),
            };
            self.parts.push(Part::Ready(chunk, self.cells.len()));
            for cell in epoch.cells_of(row) {
                set.clear();
                epoch.metas.append_to(cell.metadata, &mut set);
                let metadata = self.metadata.intern(&set);
                self.cells.push(Cell { metadata, ..*cell });
            }
        }
        ordinals
    }

    fn add_shared(&mut self, sequence: u64, shared: &Shared, ordinals: &[u32], want: &Want<'_>) {
        let Ok(header) = Header::decode(&shared.block) else {
            return tracing::error!("a block in memory is damaged");
        };
        if header.max_ts < want.start || header.min_ts > want.end {
            return;
        }
        let (mut runs, mut first) = (Vec::new(), 0);
        for (stream, entries) in shared.runs() {
            let stream = ordinals[stream as usize];
            if stream != u32::MAX {
                runs.push((stream, first, entries));
            }
            first += entries;
        }
        if !runs.is_empty() {
            let block = Arc::clone(&shared.block);
            self.parts.push(Part::Shared(block, sequence, runs));
        }
    }

    fn add_raw(
        &mut self,
        head: &Head,
        want: &Want<'_>,
        ordinals: &[u32],
    ) -> Result<(), OverBudget> {
        let mut runs = vec![u32::MAX; ordinals.len()];
        let mut set = Vec::new();
        let mut numbers = vec![u32::MAX; head.live.metas.len()];
        let mut bytes = 0;
        for (_, record) in head.nursery.records() {
            let stream = ordinals[record.stream as usize];
            if stream == u32::MAX || record.ts < want.start || record.ts > want.end {
                continue;
            }
            let line_bytes = if want.lines { record.line.len() + 1 } else { 0 };
            bytes += line_bytes + 16;
            if bytes > want.budget {
                return Err(OverBudget { needed: bytes });
            }
            let run = &mut runs[record.stream as usize];
            if *run == u32::MAX {
                *run = self.snapshot.raw.len() as u32;
                self.snapshot.raw.push(RawRun {
                    stream,
                    sequence: head.live.sequence,
                    ..RawRun::default()
                });
            }
            let run = &mut self.snapshot.raw[*run as usize];
            run.times.push(record.ts);
            run.lengths.push(record.line.len() as u32);
            let number = &mut numbers[record.meta as usize];
            if *number == u32::MAX {
                set.clear();
                head.live.metas.append_to(record.meta, &mut set);
                *number = self.metadata.intern(&set);
            }
            run.ids.push(*number);
            if want.lines {
                run.lines.extend_from_slice(record.line);
                run.lines.push(b'\n');
            }
        }
        Ok(())
    }

    /// Sorts raw runs by time, looks into shared blocks and makes label sets of numbers. Needs no lock.
    pub(crate) fn finish(mut self) -> Snapshot {
        let mut decoder = None;
        for part in std::mem::take(&mut self.parts) {
            match part {
                Part::Ready(chunk, at) => {
                    let minutes = &mut self.snapshot.minutes;
                    minutes.starts.push(minutes.cells.len() as u32);
                    let cells = chunk.chunk.cells.unwrap_or(0) as usize;
                    minutes.cells.extend_from_slice(&self.cells[at..at + cells]);
                    self.snapshot.chunks.push(chunk);
                }
                Part::Shared(block, sequence, runs) => {
                    let found = self.look_into(&block, sequence, &runs, &mut decoder);
                    if let Err(error) = found {
                        tracing::error!(%error, "a block in memory is damaged");
                    }
                }
            }
        }
        let minutes = &mut self.snapshot.minutes;
        minutes.starts.push(minutes.cells.len() as u32);
        let sets = |sets: &Sets| {
            let mut set = Vec::new();
            let ids = 0..sets.len() as u32;
            ids.map(|id| {
                set.clear();
                sets.append_to(id, &mut set);
                LabelSet::from_bytes(&set).unwrap_or_default()
            })
            .collect::<Vec<LabelSet>>()
        };
        self.snapshot.streams = sets(&self.streams);
        self.snapshot.metadata = sets(&self.metadata);
        for run in &mut self.snapshot.raw {
            if !run.times.is_sorted() {
                run.sort();
            }
        }
        self.snapshot
    }

    /// Appends the chunks of some runs of a shared block.
    fn look_into(
        &mut self,
        block: &Arc<[u8]>,
        sequence: u64,
        runs: &[(u32, u32, u32)],
        decoder: &mut Option<(Decoder, Decoded)>,
    ) -> Result<(), BlockError> {
        if decoder.is_none() {
            let new = Decoder::new().map_err(|_| BlockError::Header("no memory to decode"))?;
            *decoder = Some((new, Decoded::default()));
        }
        let Some((decoder, decoded)) = decoder else {
            return Ok(());
        };
        decoded.read_small(block, decoder, &mut self.metadata)?;
        let minutes = &mut self.snapshot.minutes;
        for (stream, first, entries) in runs {
            let run = decoded.run(*first as usize, *entries as usize);
            let start = minutes.cells.len();
            let mut chunk = run.chunk(&mut minutes.cells);
            if chunk.max_ts < self.range.0 || chunk.min_ts > self.range.1 {
                minutes.cells.truncate(start);
                continue;
            }
            minutes.starts.push(start as u32);
            (chunk.stream, chunk.first) = (*stream, *first);
            chunk.block_bytes = block.len() as u32;
            self.snapshot.chunks.push(HeadChunk {
                chunk,
                sequence,
                block: Arc::clone(block),
            });
        }
        Ok(())
    }
}

impl RawRun {
    pub(super) fn clear(&mut self) {
        self.times.clear();
        self.lengths.clear();
        self.ids.clear();
        self.lines.clear();
    }

    pub(super) fn sort(&mut self) {
        let mut order: Vec<u32> = (0..self.times.len() as u32).collect();
        order.sort_by_key(|i| self.times[*i as usize]);
        let mut starts = Vec::with_capacity(self.lengths.len());
        let mut at = 0;
        for len in &self.lengths {
            starts.push(at);
            at += *len as usize + 1;
        }
        let mut sorted = RawRun {
            stream: self.stream,
            sequence: self.sequence,
            ..RawRun::default()
        };
        for i in order.iter().map(|i| *i as usize) {
            sorted.times.push(self.times[i]);
            sorted.lengths.push(self.lengths[i]);
            sorted.ids.push(self.ids[i]);
            if !self.lines.is_empty() {
                let end = starts[i] + self.lengths[i] as usize + 1;
                sorted.lines.extend_from_slice(&self.lines[starts[i]..end]);
            }
        }
        *self = sorted;
    }
}
