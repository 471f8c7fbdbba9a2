//! What the benches need of the crate's inside (feature `bench`, off by default): encoding a block, the head, joining its
//! blocks. Not an interface: it changes with what it wraps.
#![allow(missing_docs, reason = "for the benches beside this crate alone")]

use std::io;
use std::sync::Arc;
use std::time::Instant;

use wire::Batch;

use crate::api::AppendError;
use crate::block::{self, BlockInput, Encoder};
use crate::head::{Frozen, Head, Reason, merge};
use crate::limits::ZSTD_LEVEL;
use crate::positions::Positions;

/// Columns of a block.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    pub times: &'a [i64],
    pub lengths: &'a [u32],
    pub ids: &'a [u32],
    pub lines: &'a [u8],
    pub sets: &'a [&'a [u8]],
}

#[derive(Debug)]
pub struct BlockEncoder(Encoder);

impl BlockEncoder {
    /// # Errors
    /// As [`Encoder::new`].
    pub fn new() -> io::Result<BlockEncoder> {
        Encoder::new(ZSTD_LEVEL).map(BlockEncoder)
    }

    /// A block of one stream.
    ///
    /// # Errors
    /// As [`Encoder::block`].
    pub fn block(&mut self, columns: &Columns<'_>) -> io::Result<&[u8]> {
        let input = BlockInput {
            times: columns.times,
            lengths: columns.lengths,
            // As in the head; blocks of a flush have lengths only for lines with line feeds.
            spare_lengths: false,
            ids: columns.ids,
            lines: columns.lines,
            sets: columns.sets,
            runs: &[(1, columns.times.len() as u32)],
        };
        Ok(self.0.block(&input)?.0)
    }

    /// Compresses bytes as the columns are that are compressed.
    ///
    /// # Errors
    /// As [`Encoder::pack`].
    pub fn pack(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        self.0.pack(raw, out)
    }
}

/// The column of timestamps, rising.
pub fn encode_times(times: &[i64], out: &mut Vec<u8>) {
    let (first, last) = (times[0], times[times.len() - 1]);
    block::encode_times(times, first, last, out);
}

/// A head without a store.
#[derive(Debug)]
pub struct Pool(Head);

impl Pool {
    /// # Errors
    /// As [`Head::new`].
    pub fn new(bytes: usize) -> io::Result<Pool> {
        Head::new(bytes, 0, Vec::new(), Positions::default()).map(Pool)
    }

    /// # Errors
    /// As [`Head::append`].
    pub fn append(&mut self, batch: &Batch<'_>) -> Result<(), AppendError> {
        self.0.append(batch, Instant::now()).map(|_| ())
    }

    /// Seals what is left and freezes it; `None` without entries.
    ///
    /// # Errors
    /// As [`Head::freeze`].
    pub fn freeze(&mut self) -> io::Result<Option<Epoch>> {
        self.0.freeze(Reason::Asked, false)?;
        Ok(self.0.frozen().map(Epoch))
    }
}

/// What a flush writes.
#[derive(Debug)]
pub struct Epoch(Arc<Frozen>);

impl Epoch {
    /// Joins its blocks, as a flush does.
    ///
    /// # Errors
    /// As [`merge`].
    pub fn merge(&self, encoder: &mut BlockEncoder) -> io::Result<()> {
        std::hint::black_box(merge(&self.0.epoch, &mut encoder.0)?);
        Ok(())
    }
}
