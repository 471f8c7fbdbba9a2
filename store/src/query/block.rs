//! Blocks on their way from file or head to columns.

use std::path::PathBuf;
use std::sync::Arc;

use wire::LabelSet;

use super::chunk::Scratch;
use crate::api::QueryStats;
use crate::block::{BlockError, Column, Decoder, Header, Metadata};
use crate::head::RawRun;
use crate::segment::{Reader, SegmentError};

/// Where a block's bytes are.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In a segment, from this offset on.
    File(Arc<Reader>, u64),
    /// In the head.
    Memory(Arc<[u8]>),
}

/// A stream's run of entries in a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    /// Stream, as [`Streams`](super::select::Streams) numbers it.
    pub(super) stream: u32,
    /// First entry in the block.
    pub(super) first: u32,
    /// Entries.
    pub(super) entries: u32,
    /// Position among the chunks of its flush: the order of arrival within a stream.
    pub(super) ordinal: u32,
    /// Least timestamp.
    pub(super) min_ts: i64,
    /// Greatest timestamp.
    pub(super) max_ts: i64,
    /// Bytes of the lines, each with its line feed.
    pub(super) bytes: u64,
}

/// A block with the rows of it that a query selects, at least one.
#[derive(Debug)]
pub(super) struct Block {
    /// Its bytes.
    pub(super) place: Place,
    /// The flush it belongs to.
    pub(super) sequence: u64,
    /// Selected rows.
    pub(super) rows: Vec<Row>,
}

impl Block {
    /// Least timestamp of the rows.
    pub(super) fn min_ts(&self) -> i64 {
        self.rows.iter().map(|r| r.min_ts).min().unwrap_or(i64::MAX)
    }

    /// Greatest timestamp of the rows.
    pub(super) fn max_ts(&self) -> i64 {
        self.rows.iter().map(|r| r.max_ts).max().unwrap_or(i64::MIN)
    }

    /// Offset in its file, for reports of damage.
    pub(super) fn offset(&self) -> u64 {
        match &self.place {
            Place::File(_, offset) => *offset,
            Place::Memory(_) => 0,
        }
    }

    /// Entries of the rows.
    pub(super) fn entries(&self) -> u64 {
        self.rows.iter().map(|r| u64::from(r.entries)).sum()
    }

    /// Bytes of their lines.
    pub(super) fn bytes(&self) -> u64 {
        self.rows.iter().map(|r| r.bytes).sum()
    }

    /// Bytes held.
    pub(super) fn memory(&self) -> usize {
        size_of::<Block>() + self.rows.capacity() * size_of::<Row>()
    }
}

/// Buffers and contexts that one worker reuses for all blocks.
#[derive(Debug)]
pub(super) struct Buffers {
    decoder: Decoder,
    stored: Vec<u8>,
    lengths: Vec<u32>,
    /// What reading cost since it was last taken.
    spent: QueryStats,
    /// The decoded columns.
    pub(super) scratch: Scratch,
    /// The decoded metadata column; its ids are moved to [`Scratch::metadata`].
    pub(super) metadata: Metadata,
    metadata_bytes: usize,
}

impl Buffers {
    /// Empty buffers.
    ///
    /// # Errors
    /// When the decompressor cannot be created.
    pub(super) fn new() -> std::io::Result<Buffers> {
        Ok(Buffers {
            decoder: Decoder::new()?,
            stored: Vec::new(),
            lengths: Vec::new(),
            spent: QueryStats::default(),
            scratch: Scratch::default(),
            metadata: Metadata::default(),
            metadata_bytes: 0,
        })
    }

    /// What reading a block cost; called once a block.
    pub(super) fn spent(&mut self, block: &Block) -> QueryStats {
        QueryStats {
            chunks_read: block.rows.len() as u64,
            lines_processed: block.entries(),
            ..std::mem::take(&mut self.spent)
        }
    }

    /// Takes a run of raw entries as the columns of a block; gives what looking at it costs.
    pub(super) fn raw(&mut self, run: RawRun) -> QueryStats {
        let scratch = &mut self.scratch;
        to_offsets(&run.lengths, &mut scratch.offsets);
        scratch.times = run.times;
        scratch.lines = run.lines;
        scratch.metadata = run.ids;
        let (lines, bytes) = (scratch.times.len() as u64, scratch.lines.len() as u64);
        QueryStats {
            chunks_read: 1,
            lines_processed: lines,
            bytes_processed: bytes,
            head_lines: lines,
            head_bytes: bytes,
            ..QueryStats::default()
        }
    }

    /// Bytes held, about.
    pub(super) fn memory(&self) -> usize {
        self.stored.capacity()
            + self.lengths.capacity() * 4
            + self.scratch.memory()
            + self.metadata_bytes
    }

    /// Reads the header and checks that the selected rows lie in the block.
    ///
    /// # Errors
    /// When they do not, or the header cannot be read.
    pub(super) fn header(&mut self, block: &Block) -> Result<Header, SegmentError> {
        let header = match &block.place {
            Place::File(reader, offset) => reader.block_header(*offset)?,
            Place::Memory(bytes) => Header::decode(bytes).map_err(|e| in_head(0, e))?,
        };
        let inside = |r: &Row| {
            r.first
                .checked_add(r.entries)
                .is_some_and(|end| end <= header.entries)
        };
        if block.rows.iter().all(inside) {
            Ok(header)
        } else {
            Err(at(block, BlockError::Header("fewer entries than its rows")))
        }
    }

    /// Decodes the timestamps.
    ///
    /// # Errors
    /// When the column cannot be read.
    pub(super) fn times(&mut self, block: &Block, header: &Header) -> Result<(), SegmentError> {
        let (decoder, out) = (&mut self.decoder, &mut self.scratch.times);
        let stored = column(
            block,
            header,
            Column::Times,
            &mut self.stored,
            &mut self.spent.compressed_bytes,
        )?;
        decoder.times(header, stored, out).map_err(|e| at(block, e))
    }

    /// Decodes the line lengths into offsets, after the lines unless [`Header::has_lengths`].
    ///
    /// # Errors
    /// When the column cannot be read.
    pub(super) fn offsets(&mut self, block: &Block, header: &Header) -> Result<(), SegmentError> {
        let stored = column(
            block,
            header,
            Column::Lengths,
            &mut self.stored,
            &mut self.spent.compressed_bytes,
        )?;
        self.decoder
            .lengths(header, stored, &self.scratch.lines, &mut self.lengths)
            .map_err(|e| at(block, e))?;
        to_offsets(&self.lengths, &mut self.scratch.offsets);
        Ok(())
    }

    /// Decodes the metadata column.
    ///
    /// # Errors
    /// When the column cannot be read.
    pub(super) fn metadata(&mut self, block: &Block, header: &Header) -> Result<(), SegmentError> {
        let (decoder, out) = (&mut self.decoder, &mut self.metadata);
        let stored = column(
            block,
            header,
            Column::Metadata,
            &mut self.stored,
            &mut self.spent.compressed_bytes,
        )?;
        out.ids = std::mem::take(&mut self.scratch.metadata);
        let done = decoder.metadata(header, stored, out);
        self.scratch.metadata = std::mem::take(&mut out.ids);
        self.metadata_bytes = out.sets.iter().map(set_memory).sum();
        done.map_err(|e| at(block, e))
    }

    /// Decompresses the lines.
    ///
    /// # Errors
    /// When the column cannot be read.
    pub(super) fn lines(&mut self, block: &Block, header: &Header) -> Result<(), SegmentError> {
        let (decoder, out) = (&mut self.decoder, &mut self.scratch.lines);
        let stored = column(
            block,
            header,
            Column::Lines,
            &mut self.stored,
            &mut self.spent.compressed_bytes,
        )?;
        decoder
            .lines(header, stored, out)
            .map_err(|e| at(block, e))?;
        self.spent.bytes_processed += block.bytes();
        self.spent.decompressed_bytes += self.scratch.lines.len() as u64;
        self.spent.decompressed_lines += u64::from(header.entries);
        Ok(())
    }
}

/// Bytes of a metadata set, with its pairs in a [`Dictionary`](super::chunk::Dictionary).
fn set_memory(set: &LabelSet) -> usize {
    const PAIR: usize = size_of::<(&str, &str)>();
    size_of::<LabelSet>()
        + size_of::<u32>()
        + set.as_bytes().len()
        + set.as_ref().iter().count() * PAIR
}

/// Offsets of lines that are followed by one line feed each.
pub(super) fn to_offsets(lengths: &[u32], offsets: &mut Vec<u32>) {
    offsets.clear();
    offsets.reserve(lengths.len() + 1);
    let mut end = 0;
    offsets.push(end);
    for len in lengths {
        end += len + 1;
        offsets.push(end);
    }
}

fn column<'b>(
    block: &'b Block,
    header: &Header,
    column: Column,
    stored: &'b mut Vec<u8>,
    compressed: &mut u64,
) -> Result<&'b [u8], SegmentError> {
    *compressed += u64::from(header.place(column).len);
    match &block.place {
        Place::File(reader, offset) => {
            reader.column(*offset, header, column, stored)?;
            Ok(stored)
        }
        Place::Memory(bytes) => header.column(bytes, column).map_err(|e| in_head(0, e)),
    }
}

fn at(block: &Block, source: BlockError) -> SegmentError {
    match &block.place {
        Place::File(reader, offset) => SegmentError::Block {
            path: reader.path().to_owned(),
            offset: *offset,
            source,
        },
        Place::Memory(_) => in_head(block.sequence, source),
    }
}

fn in_head(sequence: u64, source: BlockError) -> SegmentError {
    SegmentError::Block {
        path: PathBuf::from(format!("head, sequence {sequence}")),
        offset: 0,
        source,
    }
}
