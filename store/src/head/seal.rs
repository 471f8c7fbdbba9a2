//! Sealing: entries of the nursery become compressed blocks.
//!
//! - Which streams: those with the best `raw^2 / total` first (raw: bytes in the nursery, total: bytes since the last
//!   flush), so that block size grows with the square root of a stream's rate, until half of the nursery is free.
//! - Streams with little data share blocks, sorted by labels; they are sealed when the loud ones do not free enough.
//! - Within a run entries are sorted by time, equal times stay in order of arrival.

use std::io;
use std::sync::Arc;

use super::epoch::{Epoch, Row};
use super::nursery::Nursery;
use crate::block::{BlockInput, Encoder};
use crate::limits::{
    BLOCK_RAW_BYTES, BLOCK_SETS_BYTES, MINUTE_CELLS_MAX, MINUTE_SETS_MAX, SHARED_RAW_BYTES,
    SMALL_STREAM_BYTES,
};
use crate::segment::{Cell, Chunk, minute_of};

/// Seals, and keeps the buffers between one time and the next.
#[derive(Debug)]
pub(crate) struct Sealer {
    encoder: Encoder,
    /// Offsets of the records to seal, by stream and time.
    order: Vec<u32>,
    columns: Columns,
}

/// The columns of the block being built.
#[derive(Debug, Default)]
struct Columns {
    times: Vec<i64>,
    lengths: Vec<u32>,
    ids: Vec<u32>,
    lines: Vec<u8>,
    /// Numbers of the metadata sets in the block's dictionary.
    sets: Vec<u32>,
    sets_bytes: usize,
    /// By number of the metadata set: its id in the block, or `u32::MAX`.
    local: Vec<u32>,
    /// Stream and first entry of each run.
    runs: Vec<(u32, u32)>,
}

impl Sealer {
    /// # Errors
    /// When zstd cannot allocate its context.
    pub(crate) fn new(level: i32) -> io::Result<Sealer> {
        Ok(Sealer {
            encoder: Encoder::new(level)?,
            order: Vec::new(),
            columns: Columns::default(),
        })
    }

    /// Seals everything in the nursery (`all`), or enough to free half of what it uses. On an error nothing changes
    /// but blocks that were already sealed in this call, whose entries the caller must not see twice: an error here
    /// is out of memory, and the process cannot go on.
    pub(crate) fn seal(
        &mut self,
        nursery: &mut Nursery,
        epoch: &mut Epoch,
        all: bool,
    ) -> io::Result<()> {
        let (loud, small) = choose(nursery, epoch, all);
        let mut start_of = vec![u32::MAX; epoch.streams.len()];
        let mut next = 0;
        for id in loud.iter().chain(&small) {
            start_of[*id as usize] = next;
            next += epoch.streams[*id as usize].entries;
        }
        self.order.clear();
        self.order.resize(next as usize, 0);
        let mut at = start_of.clone();
        for (offset, record) in nursery.records() {
            let slot = &mut at[record.stream as usize];
            if *slot != u32::MAX {
                self.order[*slot as usize] = offset;
                *slot += 1;
            }
        }
        let order = std::mem::take(&mut self.order);
        let done = self.seal_order(nursery, epoch, order, (&loud, &small), &start_of);
        self.order = done?;
        nursery.remove(|stream| start_of[stream as usize] != u32::MAX);
        for id in loud.iter().chain(&small) {
            let state = &mut epoch.streams[*id as usize];
            (state.raw_bytes, state.entries) = (0, 0);
        }
        Ok(())
    }

    fn seal_order(
        &mut self,
        nursery: &Nursery,
        epoch: &mut Epoch,
        mut order: Vec<u32>,
        (loud, small): (&[u32], &[u32]),
        start_of: &[u32],
    ) -> io::Result<Vec<u32>> {
        for (ids, shared) in [(loud, false), (small, true)] {
            for id in ids {
                let state = epoch.streams[*id as usize];
                let from = start_of[*id as usize] as usize;
                let run = &mut order[from..from + state.entries as usize];
                if !run.is_sorted_by_key(|offset| nursery.record(*offset).ts) {
                    run.sort_by_key(|offset| nursery.record(*offset).ts);
                }
                let limit = if shared {
                    SHARED_RAW_BYTES
                } else {
                    let parts = (state.raw_bytes as usize).div_ceil(BLOCK_RAW_BYTES).max(1);
                    (state.raw_bytes as usize).div_ceil(parts)
                };
                self.add_run(nursery, epoch, *id, run, limit)?;
                if !shared {
                    self.finish_block(epoch)?;
                }
            }
            self.finish_block(epoch)?;
        }
        Ok(order)
    }

    /// Appends a stream's entries to the block being built; a block that reaches `limit` is finished.
    fn add_run(
        &mut self,
        nursery: &Nursery,
        epoch: &mut Epoch,
        stream: u32,
        offsets: &[u32],
        limit: usize,
    ) -> io::Result<()> {
        let mut open = false;
        for offset in offsets {
            let record = nursery.record(*offset);
            let columns = &self.columns;
            let full = columns.lines.len() >= limit
                || columns.lines.len() + record.line.len() >= BLOCK_RAW_BYTES.max(limit)
                || columns.sets_bytes >= BLOCK_SETS_BYTES;
            if full && !columns.times.is_empty() {
                self.finish_block(epoch)?;
                open = false;
            }
            let columns = &mut self.columns;
            if !open {
                columns.runs.push((stream, columns.times.len() as u32));
                columns.sets_bytes += epoch.labels.get(stream).len();
                open = true;
            }
            columns.push(record.ts, record.meta, record.line, epoch);
        }
        Ok(())
    }

    fn finish_block(&mut self, epoch: &mut Epoch) -> io::Result<()> {
        let columns = &mut self.columns;
        if columns.times.is_empty() {
            return Ok(());
        }
        let count = columns.times.len() as u32;
        let sets: Vec<&[u8]> = columns.sets.iter().map(|id| epoch.metas.get(*id)).collect();
        let ends = columns.runs.iter().skip(1).map(|run| run.1).chain([count]);
        let spans: Vec<(u32, u32, u32)> = columns
            .runs
            .iter()
            .zip(ends)
            .map(|((stream, first), end)| (*stream, *first, end - first))
            .collect();
        let runs: Vec<(&[u8], u32)> = spans
            .iter()
            .map(|(stream, _, entries)| (epoch.labels.get(*stream), *entries))
            .collect();
        let (bytes, _) = self.encoder.block(&BlockInput {
            times: &columns.times,
            lengths: &columns.lengths,
            ids: &columns.ids,
            lines: &columns.lines,
            sets: &sets,
            runs: &runs,
        })?;
        let block = epoch.blocks.len() as u32;
        epoch.block_bytes += bytes.len();
        epoch.blocks.push(Arc::from(bytes));
        for (stream, first, entries) in spans {
            let row = columns.row(stream, first, entries, block, &mut epoch.cells);
            epoch.rows.push(row);
        }
        columns.clear();
        Ok(())
    }
}

impl Columns {
    fn push(&mut self, ts: i64, meta: u32, line: &[u8], epoch: &Epoch) {
        if self.local.len() <= meta as usize {
            self.local.resize(epoch.metas.len(), u32::MAX);
        }
        let id = &mut self.local[meta as usize];
        if *id == u32::MAX {
            *id = self.sets.len() as u32;
            self.sets.push(meta);
            self.sets_bytes += epoch.metas.get(meta).len();
        }
        self.ids.push(*id);
        self.times.push(ts);
        self.lengths.push(line.len() as u32);
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
    }

    fn clear(&mut self) {
        for meta in &self.sets {
            self.local[*meta as usize] = u32::MAX;
        }
        self.times.clear();
        self.lengths.clear();
        self.ids.clear();
        self.lines.clear();
        self.sets.clear();
        self.sets_bytes = 0;
        self.runs.clear();
    }

    /// The row of a run, its cells appended to `cells`.
    fn row(&self, stream: u32, first: u32, entries: u32, block: u32, cells: &mut Vec<Cell>) -> Row {
        let range = first as usize..(first + entries) as usize;
        let times = &self.times[range.clone()];
        let lengths = &self.lengths[range.clone()];
        let start = cells.len();
        let whole = self.count_minutes(times, lengths, &self.ids[range], cells);
        if !whole {
            cells.truncate(start);
        }
        let bytes: u64 = lengths.iter().map(|len| u64::from(*len)).sum();
        Row {
            chunk: Chunk {
                stream,
                block_offset: 0,
                block_bytes: 0,
                first,
                entries,
                min_ts: times[0],
                max_ts: times[times.len() - 1],
                raw_bytes: bytes + u64::from(entries),
                cells: whole.then_some((cells.len() - start) as u32),
            },
            block,
            cell: start as u32,
        }
    }

    /// Appends the minute table of a run; false when it would be too large.
    fn count_minutes(
        &self,
        times: &[i64],
        lengths: &[u32],
        ids: &[u32],
        cells: &mut Vec<Cell>,
    ) -> bool {
        let start = cells.len();
        let mut minute_start = start;
        let mut minute = i64::MIN;
        // The minute of the previous entry ends here: most entries need no division.
        let mut until = i64::MIN;
        for ((ts, len), id) in times.iter().zip(lengths).zip(ids) {
            if *ts > until || minute == i64::MIN {
                minute = minute_of(*ts);
                until = minute
                    .saturating_add(1)
                    .saturating_mul(crate::segment::MINUTE_NS);
                minute_start = cells.len();
            }
            let metadata = self.sets[*id as usize];
            if let Some(cell) = cells[minute_start..]
                .iter_mut()
                .find(|c| c.metadata == metadata)
            {
                cell.entries += 1;
                cell.bytes += u64::from(*len);
                continue;
            }
            if cells.len() - minute_start >= MINUTE_SETS_MAX
                || cells.len() - start >= MINUTE_CELLS_MAX
            {
                return false;
            }
            cells.push(Cell {
                minute,
                metadata,
                entries: 1,
                bytes: u64::from(*len),
            });
        }
        true
    }
}

/// Streams to seal: those with blocks of their own, by score, and those that share blocks, by labels.
fn choose(nursery: &Nursery, epoch: &Epoch, all: bool) -> (Vec<u32>, Vec<u32>) {
    let present = |id: &u32| epoch.streams[*id as usize].entries > 0;
    let ids = (0..epoch.streams.len() as u32).filter(present);
    let is_small = |id: &u32| (epoch.streams[*id as usize].raw_bytes as usize) < SMALL_STREAM_BYTES;
    let (mut small, mut loud): (Vec<u32>, Vec<u32>) = ids.partition(is_small);
    let score = |id: &u32| {
        let state = &epoch.streams[*id as usize];
        let raw = u128::from(state.raw_bytes);
        raw * raw * 1024 / u128::from(state.total_bytes.max(1))
    };
    loud.sort_by_cached_key(|id| std::cmp::Reverse(score(id)));
    if !all {
        let goal = nursery.used() / 2;
        let size = |id: &u32| {
            let state = &epoch.streams[*id as usize];
            state.raw_bytes as usize + state.entries as usize * (super::nursery::RECORD_BYTES - 1)
        };
        let mut freed = 0;
        let enough = loud.iter().position(|id| {
            freed += size(id);
            freed >= goal
        });
        match enough {
            Some(last) => {
                loud.truncate(last + 1);
                small.clear();
            }
            None => {
                // The loud streams are not enough: all small ones go too, in as full blocks as they give.
            }
        }
    }
    small.sort_unstable_by_key(|id| epoch.labels.get(*id));
    (loud, small)
}
