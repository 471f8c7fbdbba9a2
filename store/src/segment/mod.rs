//! Segments: immutable files of blocks, with everything needed to find an entry in sections that load apart.
//!
//! ```text
//! segment := summary A | streams A | chunks A | metadata A | positions A
//!            block ...
//!            positions B | streams B | skip | minutes | metadata B | chunks B | summary B
//! ```
//!
//! - The rename to `<sequence, 16 hex digits>.seg` is the commit; a segment is never changed afterwards.
//! - Summary and sections exist twice, at both ends of the file; each has a checksum. Minute tables and the skip index exist
//!   once: the columns hold the same truth.
//! - Loading a section needs memory for that section only; a store keeps none of them.
//! - Bytes from disk are checked; every declared size is compared to a limit before memory is taken.

use std::path::PathBuf;

mod read;
mod sections;
mod skip;
#[cfg(test)]
mod skip_tests;
#[cfg(test)]
mod tests;
mod verify;
mod write;

pub use read::{Reader, Unpacker};
pub(crate) use skip::{Builder as SkipBuilder, Candidates, Marker, Marks, Probe, Text};
pub use verify::{Report, verify};
pub(crate) use write::{SegmentInput, Target, write};

use crate::block::BlockError;

/// First bytes of a summary.
pub const MAGIC: [u8; 8] = *b"drupSEG1";
/// Newest version of the segment layout that this program writes and reads.
pub const VERSION: u32 = 1;
/// Bytes of a summary.
pub const SUMMARY_BYTES: usize = 256;
/// Directory of the segments inside the data directory.
pub const DIR: &str = "segments";
/// Suffix of a committed segment.
pub const SUFFIX: &str = ".seg";
/// Most raw bytes of one section. Sections above it are refused as damaged.
pub const SECTION_BYTES_MAX: usize = 64 << 20;

/// What a segment says of itself; all that opening it reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// First sequence that the segment stands for; equals `sequence` unless it was compacted.
    pub first_sequence: u64,
    /// Sequence of the segment (the last one it stands for).
    pub sequence: u64,
    /// Least timestamp, ns; `i64::MAX` without entries.
    pub min_ts: i64,
    /// Greatest timestamp, ns; `i64::MIN` without entries.
    pub max_ts: i64,
    /// Entries.
    pub entries: u64,
    /// Bytes of all lines, one line feed each included.
    pub raw_bytes: u64,
    /// Streams.
    pub streams: u32,
    /// Chunk rows.
    pub chunks: u32,
    /// Blocks.
    pub blocks: u32,
    /// Wall clock when it was written, ns.
    pub written_at: i64,
    /// Whether that clock was trusted (module `clock`).
    pub clock_trusted: bool,
    /// Where the first block starts; blocks follow each other without gaps.
    pub(crate) blocks_offset: u64,
    /// Whether it holds the position table (flush segments do).
    pub has_positions: bool,
    /// Places of the sections, by [`Section`].
    pub(crate) sections: [SectionPlace; SECTIONS],
}

impl Summary {
    /// Stored bytes of a section, all copies together.
    #[must_use]
    pub fn section_bytes(&self, section: Section) -> u64 {
        let copies = match section {
            Section::Minutes | Section::Skip => 1,
            _ => 2,
        };
        u64::from(self.sections[section as usize].len) * copies
    }

    /// Changes when the content does, the same from both copies: a folder may have been replaced by a backup that
    /// uses the same names.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        let mut bytes = [0; 48];
        for (to, n) in bytes.chunks_exact_mut(8).zip([
            self.sequence,
            self.written_at as u64,
            self.entries,
            self.raw_bytes,
        ]) {
            to.copy_from_slice(&n.to_le_bytes());
        }
        for (to, section) in bytes[32..]
            .chunks_exact_mut(4)
            .zip([Section::Streams, Section::Chunks])
        {
            to.copy_from_slice(&self.sections[section as usize].checksum.to_le_bytes());
        }
        xxhash_rust::xxh3::xxh3_64(&bytes)
    }
}

/// What a store remembers of a segment while it is open; everything else stays in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Its sequence: the file is [`file_name`] of it.
    pub sequence: u64,
    /// See [`Summary::stamp`].
    pub stamp: u64,
    /// Least timestamp, ns.
    pub min_ts: i64,
    /// Greatest timestamp, ns.
    pub max_ts: i64,
    /// Entries.
    pub entries: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Wall clock when it was written, ns.
    pub written_at: i64,
    /// Whether that clock was trusted.
    pub clock_trusted: bool,
}

impl SegmentEntry {
    /// The entry of an open segment.
    #[must_use]
    pub fn of(reader: &Reader) -> SegmentEntry {
        let summary = reader.summary();
        SegmentEntry {
            sequence: summary.sequence,
            stamp: summary.stamp(),
            min_ts: summary.min_ts,
            max_ts: summary.max_ts,
            entries: summary.entries,
            file_bytes: reader.file_bytes(),
            written_at: summary.written_at,
            clock_trusted: summary.clock_trusted,
        }
    }
}

/// A section of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Label sets of the streams.
    Streams,
    /// Chunk rows.
    Chunks,
    /// Metadata sets that minute tables refer to.
    Metadata,
    /// Positions of all sources.
    Positions,
    /// Minute tables.
    Minutes,
    /// The skip index. Segments of versions before it have none: its length is 0.
    Skip,
}

/// How many kinds of sections there are.
pub(crate) const SECTIONS: usize = 6;

/// Where a section lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SectionPlace {
    pub(crate) offset: u64,
    pub(crate) len: u32,
    pub(crate) checksum: u32,
}

/// One run of a stream in a block: what a query plans with. Rows are sorted by stream; those of one stream are in
/// order of arrival (ordinal order), their times may overlap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk {
    /// Ordinal of the stream: index into [`Reader::streams`].
    pub stream: u32,
    /// Where the block starts in the file.
    pub block_offset: u64,
    /// Stored bytes of the block.
    pub block_bytes: u32,
    /// First entry of the run in the block.
    pub first: u32,
    /// Entries of the run, at least 1.
    pub entries: u32,
    /// Least timestamp, ns.
    pub min_ts: i64,
    /// Greatest timestamp, ns.
    pub max_ts: i64,
    /// Bytes of the lines, one line feed each included.
    pub raw_bytes: u64,
    /// Cells of the minute table; `None` when it was left out (too many metadata sets or minutes).
    pub cells: Option<u32>,
}

/// A chunk before its segment is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// The block's place is not filled in.
    pub(crate) chunk: Chunk,
    /// Number of the block.
    pub(crate) block: u32,
    /// First cell in a list beside; as many as `chunk.cells` says.
    pub(crate) cell: u32,
}

/// Entries and bytes of one minute and one metadata set of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell {
    /// Minute `k` covers timestamps in `(k * 60 s, (k + 1) * 60 s]`: open below, closed above, as LogQL's windows.
    pub minute: i64,
    /// Index into [`Reader::metadata`].
    pub metadata: u32,
    /// Entries, at least 1.
    pub entries: u32,
    /// Bytes of the lines, without line feeds (as `bytes_over_time` counts).
    pub bytes: u64,
}

/// Key of a source and its position, both opaque.
pub type Position = (Vec<u8>, Vec<u8>);

/// Nanoseconds of a minute.
pub const MINUTE_NS: i64 = 60_000_000_000;

/// The minute (see [`Cell::minute`]) of a timestamp.
#[must_use]
pub fn minute_of(ts: i64) -> i64 {
    ts.div_euclid(MINUTE_NS) - i64::from(ts.rem_euclid(MINUTE_NS) == 0)
}

/// The minute tables of a segment, or of a head snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Minutes {
    /// All cells; those of a chunk follow each other, sorted by minute.
    pub cells: Vec<Cell>,
    /// `starts[row]..starts[row + 1]` are the cells of chunk `row`; one more than there are chunks.
    pub starts: Vec<u32>,
}

impl Minutes {
    /// Cells of a chunk row. Empty for rows whose table was left out: ask [`Chunk::cells`] first.
    #[must_use]
    pub fn of(&self, row: usize) -> &[Cell] {
        let from = self.starts.get(row).copied().unwrap_or(0) as usize;
        let to = self.starts.get(row + 1).copied().unwrap_or(0) as usize;
        self.cells.get(from..to).unwrap_or(&[])
    }
}

/// Why a segment, or a part of it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// Reading the file failed.
    #[error("read `{path}`: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Written by a newer version.
    #[error("`{path}` has format {found}; this version reads up to {VERSION}")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Version found.
        found: u32,
    },
    /// Summary or section is damaged in both copies.
    #[error("`{path}` is damaged: {what}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which part, and how.
        what: String,
    },
    /// A block is damaged.
    #[error("`{path}` block at {offset}: {source}")]
    Block {
        /// The file.
        path: PathBuf,
        /// Offset of the block.
        offset: u64,
        /// How.
        source: BlockError,
    },
}

/// Told when a flush has its final name, before that is durable and before queries see it; implemented by the index.
pub trait SegmentSink: Send + Sync + std::fmt::Debug {
    /// `reader` is the new segment. Must not fail the flush: an index that cannot take it heals itself later.
    fn renamed(&self, reader: &Reader);
}

/// File name of a segment.
#[must_use]
pub fn file_name(sequence: u64) -> String {
    format!("{sequence:016x}{SUFFIX}")
}

/// Sequence in a segment's file name; `None` for other names.
#[must_use]
pub fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if digits.len() != 16 || !digits.bytes().all(lower_hex) {
        return None;
    }
    u64::from_str_radix(digits, 16).ok()
}
