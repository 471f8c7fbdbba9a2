//! Values to block columns.

use std::io;

use super::{Column, ColumnPlace, HEADER_BYTES, Header, checksum, times};
use crate::codec::{TAG_STORED, TAG_ZSTD, put_varint};

/// What goes into a block. All slices but `sets` and `runs` have one element per entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockInput<'a> {
    /// Timestamps, sorted within each run.
    pub(crate) times: &'a [i64],
    /// Line lengths without line feed.
    pub(crate) lengths: &'a [u32],
    /// Whether lengths may be left out where the lines tell them.
    pub(crate) spare_lengths: bool,
    /// Index into `sets`.
    pub(crate) ids: &'a [u32],
    /// The lines, each followed by one line feed.
    pub(crate) lines: &'a [u8],
    /// Distinct metadata sets, at least one, canonical.
    pub(crate) sets: &'a [&'a [u8]],
    /// Checksum of the labels (0: not known) and entry count of each run, in order.
    pub(crate) runs: &'a [(u32, u32)],
}

/// Encodes blocks and sections; keeps the compression context and its buffers.
pub(crate) struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    raw: Vec<u8>,
    packed: Vec<u8>,
    block: Vec<u8>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder at a zstd level.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub(crate) fn new(level: i32) -> io::Result<Encoder> {
        let mut zstd = zstd::bulk::Compressor::new(level)?;
        zstd.include_checksum(false)?;
        zstd.include_contentsize(false)?;
        zstd.include_dictid(false)?;
        Ok(Encoder {
            zstd,
            raw: Vec::new(),
            packed: Vec::new(),
            block: Vec::new(),
        })
    }

    /// Encodes a block; the bytes stay valid until the next call.
    ///
    /// # Errors
    /// When zstd fails, which it does only without memory.
    pub(crate) fn block(&mut self, input: &BlockInput<'_>) -> io::Result<(&[u8], Header)> {
        assert!(
            !input.times.is_empty()
                && input.lengths.len() == input.times.len()
                && input.ids.len() == input.times.len(),
            "columns of one length"
        );
        let min_ts = input.times.iter().copied().min().unwrap_or(0);
        let max_ts = input.times.iter().copied().max().unwrap_or(0);
        let mut header = Header {
            entries: input.times.len() as u32,
            raw_bytes: input.lines.len() as u32,
            runs: input.runs.len() as u32,
            min_ts,
            max_ts,
            columns: [ColumnPlace::default(); 4],
        };
        self.block.clear();
        self.block.resize(HEADER_BYTES, 0);
        times::encode(input.times, min_ts, max_ts, &mut self.block);
        self.close_column(&mut header, Column::Times);
        let mut raw = std::mem::take(&mut self.raw);
        raw.clear();
        if !(input.spare_lengths && line_feeds(input.lines) == input.times.len()) {
            for len in input.lengths {
                put_varint(&mut raw, u64::from(*len));
            }
            self.append_packed(&raw)?;
        }
        self.close_column(&mut header, Column::Lengths);
        raw.clear();
        write_metadata(input, &mut raw);
        self.append_packed(&raw)?;
        self.close_column(&mut header, Column::Metadata);
        self.raw = raw;
        self.append_packed(input.lines)?;
        self.close_column(&mut header, Column::Lines);
        header.encode(&mut self.block);
        Ok((&self.block, header))
    }

    /// Compresses `raw` to the end of `out`, or stores it when that is smaller.
    ///
    /// # Errors
    /// As [`Encoder::block`].
    pub(crate) fn pack(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        let bound = zstd::zstd_safe::compress_bound(raw.len());
        self.packed.clear();
        self.packed.reserve(bound);
        self.zstd.compress_to_buffer(raw, &mut self.packed)?;
        if self.packed.len() + 4 < raw.len() {
            out.push(TAG_ZSTD);
            put_varint(out, raw.len() as u64);
            out.extend_from_slice(&self.packed);
        } else {
            out.push(TAG_STORED);
            out.extend_from_slice(raw);
        }
        Ok(())
    }

    fn append_packed(&mut self, raw: &[u8]) -> io::Result<()> {
        let mut block = std::mem::take(&mut self.block);
        let done = self.pack(raw, &mut block);
        self.block = block;
        done
    }

    fn close_column(&self, header: &mut Header, column: Column) {
        let i = column as usize;
        let start = match i {
            0 => HEADER_BYTES,
            _ => (header.columns[i - 1].offset + header.columns[i - 1].len) as usize,
        };
        header.columns[i] = ColumnPlace {
            offset: start as u32,
            len: (self.block.len() - start) as u32,
            checksum: checksum(&self.block[start..]),
        };
    }
}

fn line_feeds(lines: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', lines).count()
}

fn write_metadata(input: &BlockInput<'_>, out: &mut Vec<u8>) {
    put_varint(out, input.sets.len() as u64);
    for set in input.sets {
        put_varint(out, set.len() as u64);
        out.extend_from_slice(set);
    }
    for (labels, entries) in input.runs {
        put_varint(out, u64::from(*entries));
        out.extend_from_slice(&labels.to_le_bytes());
    }
    match input.sets.len() {
        0 | 1 => {}
        2..=256 => out.extend(input.ids.iter().map(|id| *id as u8)),
        _ => {
            for id in input.ids {
                put_varint(out, u64::from(*id));
            }
        }
    }
}
