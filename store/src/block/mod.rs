//! Blocks: the unit of compression. One block holds a run of one stream, or, for streams with little data, short
//! runs of several streams (a shared block). The bytes in the head and in a segment are the same.
//!
//! - Four columns, each compressed apart and with its own checksum, so that a query reads only what it needs.
//! - A header with magic, counts, column lengths, time range and its own checksum: a block can be found and read
//!   without the footer of its segment.
//! - Entries of a run are ordered by time, equal times in order of arrival. Runs are ordered by stream.
//! - Lengths have a column where a line holds a line feed, and in blocks of the head that are shared or may be joined to
//!   others; else they follow from the lines.
//! - Every size is checked against a limit before anything is allocated; bytes from disk never panic.
//!
//! ```text
//! block  := header(72) times lengths metadata lines
//! header := magic(4) version(2) reserved(2) entries(4) raw(4) runs(4) min_ts(8) max_ts(8)
//!           { column length(4) checksum(4) } x 4   header checksum(4)
//! ```
//!
//! All integers are little endian. docs/FORMAT.md has the tables.

mod decode;
mod encode;
#[cfg(test)]
mod tests;
mod times;

pub use decode::{Decoder, Metadata, Run};
pub(crate) use encode::{BlockInput, Encoder};
#[cfg(feature = "bench")]
pub(crate) use times::encode as encode_times;

/// First bytes of every block.
pub const MAGIC: [u8; 4] = *b"dBLK";
/// Version of the block layout.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: usize = 72;
/// Most raw bytes (lines with one line feed each) in a block; larger ones are not read. Blocks are cut far below
/// this; only one giant line comes near.
pub const RAW_BYTES_MAX: usize = 8 << 20;
/// Most entries in a block. Bounds the memory of decoded times and lengths to 12 bytes each.
pub const ENTRIES_MAX: usize = 256 << 10;
/// Most bytes of a decompressed metadata column.
pub const METADATA_BYTES_MAX: usize = 8 << 20;
/// Most bytes of a whole block as stored.
pub const BLOCK_BYTES_MAX: usize = 32 << 20;

/// A column of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Timestamps, ns.
    Times,
    /// Line lengths in bytes, without line feed.
    Lengths,
    /// Structured metadata: a dictionary of label sets, an id per entry, and the runs of streams.
    Metadata,
    /// The lines, each followed by one line feed.
    Lines,
}

/// Where a column lies and what it must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ColumnPlace {
    /// Offset from the start of the block.
    pub offset: u32,
    /// Stored bytes.
    pub len: u32,
    /// Low 32 bits of xxh3 over the stored bytes.
    pub checksum: u32,
}

/// The decoded header of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Entries in the block, at least 1.
    pub entries: u32,
    /// Bytes of the decompressed lines column: each line plus one line feed.
    pub raw_bytes: u32,
    /// Runs (streams) in the block, at least 1.
    pub runs: u32,
    /// Least timestamp, ns.
    pub min_ts: i64,
    /// Greatest timestamp, ns.
    pub max_ts: i64,
    /// Places of the columns, in the order of [`Column`].
    pub columns: [ColumnPlace; 4],
}

/// Why a block cannot be read. The text says what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not a block, or its header is damaged.
    #[error("block header is damaged: {0}")]
    Header(&'static str),
    /// Written by a newer version.
    #[error("block has version {0}, this program reads up to {VERSION}")]
    Newer(u16),
    /// A column does not have its checksum.
    #[error("{0:?} column does not match its checksum")]
    Checksum(Column),
    /// A column has its checksum but does not decode.
    #[error("{0:?} column is damaged: {1}")]
    Column(Column, &'static str),
}

/// Low 32 bits of xxh3, the checksum of everything in a segment.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    xxhash_rust::xxh3::xxh3_64(bytes) as u32
}

impl Header {
    /// Reads a header from the first [`HEADER_BYTES`] of a block.
    ///
    /// # Errors
    /// [`BlockError::Header`] or [`BlockError::Newer`].
    pub fn decode(bytes: &[u8]) -> Result<Header, BlockError> {
        let bytes: &[u8; HEADER_BYTES] = bytes
            .get(..HEADER_BYTES)
            .and_then(|b| b.try_into().ok())
            .ok_or(BlockError::Header("too short"))?;
        if bytes[..4] != MAGIC {
            return Err(BlockError::Header("no magic"));
        }
        let u32_at = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        let i64_at = |at: usize| i64::from(u32_at(at)) | (i64::from(u32_at(at + 4)) << 32);
        if u32_at(HEADER_BYTES - 4) != checksum(&bytes[..HEADER_BYTES - 4]) {
            return Err(BlockError::Header("checksum"));
        }
        let version = u16::from_le_bytes([bytes[4], bytes[5]]);
        if version != VERSION {
            return Err(BlockError::Newer(version));
        }
        let mut columns = [ColumnPlace::default(); 4];
        let mut offset = HEADER_BYTES as u64;
        for (i, column) in columns.iter_mut().enumerate() {
            let len = u32_at(36 + i * 8);
            *column = ColumnPlace {
                offset: offset as u32,
                len,
                checksum: u32_at(40 + i * 8),
            };
            offset += u64::from(len);
            if offset > BLOCK_BYTES_MAX as u64 {
                return Err(BlockError::Header("column lengths"));
            }
        }
        let header = Header {
            entries: u32_at(8),
            raw_bytes: u32_at(12),
            runs: u32_at(16),
            min_ts: i64_at(20),
            max_ts: i64_at(28),
            columns,
        };
        header.check()?;
        Ok(header)
    }

    /// Stored bytes of the whole block, header included.
    #[must_use]
    pub fn block_bytes(&self) -> u32 {
        self.columns[3].offset + self.columns[3].len
    }

    /// Where a column lies.
    #[must_use]
    pub fn place(&self, column: Column) -> ColumnPlace {
        self.columns[column as usize]
    }

    /// Whether lengths have a column of their own. If not, no line holds a line feed: those between the lines tell.
    #[must_use]
    pub fn has_lengths(&self) -> bool {
        self.place(Column::Lengths).len > 0
    }

    /// The stored bytes of a column, checked, out of the bytes of the whole block.
    ///
    /// # Errors
    /// [`BlockError::Header`] when the block ends before the column, [`BlockError::Checksum`].
    pub fn column<'a>(&self, block: &'a [u8], column: Column) -> Result<&'a [u8], BlockError> {
        let place = self.place(column);
        let start = place.offset as usize;
        let stored = block
            .get(start..start + place.len as usize)
            .ok_or(BlockError::Header("block ends early"))?;
        self.verify(column, stored)?;
        Ok(stored)
    }

    /// Checks the stored bytes of a column against the checksum in the header.
    ///
    /// # Errors
    /// [`BlockError::Checksum`].
    pub fn verify(&self, column: Column, stored: &[u8]) -> Result<(), BlockError> {
        let place = self.place(column);
        if stored.len() != place.len as usize || checksum(stored) != place.checksum {
            return Err(BlockError::Checksum(column));
        }
        Ok(())
    }

    fn check(&self) -> Result<(), BlockError> {
        let entries = self.entries as usize;
        if entries == 0 || entries > ENTRIES_MAX {
            return Err(BlockError::Header("entry count"));
        }
        if self.raw_bytes as usize > RAW_BYTES_MAX || self.raw_bytes < self.entries {
            return Err(BlockError::Header("raw bytes"));
        }
        if self.runs == 0 || self.runs > self.entries {
            return Err(BlockError::Header("run count"));
        }
        if self.min_ts > self.max_ts {
            return Err(BlockError::Header("time range"));
        }
        Ok(())
    }

    fn encode(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&MAGIC);
        out[4..6].copy_from_slice(&VERSION.to_le_bytes());
        out[6..8].fill(0);
        out[8..12].copy_from_slice(&self.entries.to_le_bytes());
        out[12..16].copy_from_slice(&self.raw_bytes.to_le_bytes());
        out[16..20].copy_from_slice(&self.runs.to_le_bytes());
        out[20..28].copy_from_slice(&self.min_ts.to_le_bytes());
        out[28..36].copy_from_slice(&self.max_ts.to_le_bytes());
        for (i, column) in self.columns.iter().enumerate() {
            let at = 36 + i * 8;
            out[at..at + 4].copy_from_slice(&column.len.to_le_bytes());
            out[at + 4..at + 8].copy_from_slice(&column.checksum.to_le_bytes());
        }
        let sum = checksum(&out[..HEADER_BYTES - 4]);
        out[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    }
}
