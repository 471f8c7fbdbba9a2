//! What a query sees of the head, taken under its lock in about a millisecond: sealed blocks are shared, not copied;
//! raw entries of the chosen streams are copied within a budget; nothing is decompressed.

use std::sync::Arc;

use wire::{LabelSet, Labels};

use crate::segment::{Chunk, Minutes};

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
