//! Entries on their way from a source to a store, borrowed from the buffer they were read into: no allocation and
//! no copy per line.

use crate::labels::{LabelSet, Labels};

/// One entry of a [`Batch`].
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Index into [`Batch::streams`].
    pub stream: u32,
    /// Nanoseconds since the Unix epoch; may be negative or far away (a Pi without a clock).
    pub ts: i64,
    /// The line without its line feed; any bytes.
    pub line: &'a [u8],
    /// Structured metadata in canonical form, `detected_level` included.
    pub metadata: Labels<'a>,
}

/// How far into a source everything up to and including this batch reaches.
///
/// Key and position are opaque to the store: it keeps the latest position of each key and makes it durable in the
/// same write as the entries (promise P1).
#[derive(Debug, Clone, Copy)]
pub struct SourcePosition<'a> {
    /// Names the source; at most 1,024 bytes.
    pub key: &'a [u8],
    /// The new position, or `None` to forget the source (its files are gone and everything was taken);
    /// at most 65,536 bytes.
    pub position: Option<&'a [u8]>,
}

/// Entries that are taken all or none, together with the position behind them.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// The streams that entries refer to.
    pub streams: &'a [&'a LabelSet],
    /// The entries in order of arrival; may be empty when only the position moves.
    pub entries: &'a [Entry<'a>],
    /// The position of the source behind these entries; `None` for entries without a file behind them.
    pub source: Option<SourcePosition<'a>>,
}

/// A source that ended and whose files may vanish, as the store can find what it has of it.
#[derive(Debug, Clone, Copy)]
pub struct Secure<'a> {
    /// Names the source, as in [`SourcePosition`].
    pub key: &'a [u8],
    /// The streams that its entries are in.
    pub streams: &'a [&'a LabelSet],
    /// Pairs that the structured metadata of its entries has, and of nobody else's in these streams.
    pub metadata: Labels<'a>,
}
