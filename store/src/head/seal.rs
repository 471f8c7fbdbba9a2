//! Sealing: entries of the nursery become compressed blocks.
//!
//! - Which streams: those with the best `raw^2 / total` first (raw: bytes in the nursery, total: bytes since the last
//!   flush), so that block size grows with the square root of a stream's rate, until half of the nursery is free.
//! - Streams with little data share blocks, sorted by labels; they are sealed when the loud ones do not free enough.
//! - Within a run entries are sorted by time, equal times stay in order of arrival.

use std::io;

use super::columns::Columns;
use super::epoch::{Epoch, Own, Shared};
use super::nursery::Nursery;
use crate::block::Encoder;
use crate::limits::{BLOCK_RAW_BYTES, BLOCK_SETS_BYTES, SHARED_RAW_BYTES, SMALL_STREAM_BYTES};
use crate::segment::Marker;

/// Seals, and keeps the buffers between one time and the next.
#[derive(Debug)]
pub(crate) struct Sealer {
    encoder: Encoder,
    /// Offsets of the records to seal, by stream and time.
    order: Vec<u32>,
    columns: Columns,
    marker: Marker,
    /// The block being built is a shared one.
    shared: bool,
    /// No shared block was finished in this call.
    begins: bool,
}

impl Sealer {
    /// # Errors
    /// When zstd cannot allocate its context.
    pub(crate) fn new(level: i32) -> io::Result<Sealer> {
        Ok(Sealer {
            encoder: Encoder::new(level)?,
            order: Vec::new(),
            columns: Columns::default(),
            marker: Marker::default(),
            shared: false,
            begins: false,
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
            self.shared = true;
            self.begins = true;
        }
        self.shared = false;
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
            let full = columns.raw_bytes() >= limit
                || columns.raw_bytes() + record.line.len() >= BLOCK_RAW_BYTES.max(limit)
                || columns.sets_bytes() >= BLOCK_SETS_BYTES;
            if full && !columns.is_empty() {
                self.finish_block(epoch)?;
                open = false;
            }
            let columns = &mut self.columns;
            if !open {
                columns.start_run(stream);
                open = true;
            }
            columns.push(record.ts, record.meta, record.line, &epoch.metas);
        }
        Ok(())
    }

    fn finish_block(&mut self, epoch: &mut Epoch) -> io::Result<()> {
        if self.columns.is_empty() {
            return Ok(());
        }
        let labels = (!self.shared).then_some(&epoch.labels);
        let encoder = &mut self.encoder;
        // Two such blocks cannot be joined: it is written as it is, and made as it is to be on disk.
        let is_last = !self.shared && self.columns.raw_bytes() > BLOCK_RAW_BYTES / 2;
        let metas = &epoch.metas;
        let block = self.columns.encode(encoder, labels, metas, is_last)?;
        if self.shared {
            let runs = self.columns.spans();
            let runs = runs.map(|(stream, _, entries)| (stream, entries));
            epoch.push_shared(Shared::new(block, runs, self.begins));
            self.begins = false;
            self.columns.clear();
            return Ok(());
        }
        let number = epoch.blocks.len() as u32;
        let marks = is_last.then(|| self.marker.marks(self.columns.lines()));
        epoch.push_own(Own { block, marks });
        self.columns.rows(number, &mut epoch.cells, &mut epoch.rows);
        self.columns.clear();
        Ok(())
    }
}

/// Streams to seal: those with blocks of their own, by score, and those that share blocks, by labels.
fn choose(nursery: &Nursery, epoch: &Epoch, all: bool) -> (Vec<u32>, Vec<u32>) {
    let present = |id: &u32| epoch.streams[*id as usize].entries > 0;
    let ids = (0..epoch.streams.len() as u32).filter(present);
    let is_small = |id: &u32| {
        // The total only grows: a stream that has a block of its own does not share again.
        epoch.streams[*id as usize].total_bytes < SMALL_STREAM_BYTES as u64
    };
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
    epoch.labels.sort(&mut small);
    (loud, small)
}
