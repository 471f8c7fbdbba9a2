//! Entries that passed, until they are enough for the store.

use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use wire::push::Text;
use wire::{Batch, Entry, LabelError, LabelSet};

use super::walk::Labelled;

/// Bytes of a batch at most, unless one entry alone is larger. Larger ones would hold the head's lock for longer.
const BATCH_BYTES: usize = 256 << 10;
/// Entries of a batch at most: a row takes more memory than an empty line.
const BATCH_ENTRIES: usize = 4096;
/// What an entry takes in the store's nursery beside its line, and more.
const ENTRY_BYTES: usize = 32;

#[derive(Debug, Clone, Copy)]
enum Line<'a> {
    /// Borrowed from the body.
    Body(&'a [u8]),
    /// Start and length in the arena: a line that had escapes.
    Copied(usize, usize),
}

#[derive(Debug)]
struct Row<'a> {
    stream: u32,
    meta: u32,
    ts: i64,
    line: Line<'a>,
}

/// A batch in the making. See the module documentation.
#[derive(Debug)]
pub(super) struct Pending<'a> {
    /// Each with the time of its newest entry here.
    streams: Vec<(Rc<Labelled>, i64)>,
    /// Streams by their hash.
    index: HashMap<u64, u32>,
    rows: Vec<Row<'a>>,
    metas: Vec<LabelSet>,
    /// Sets of a level alone, which nearly all are.
    levels: Vec<(String, u32)>,
    arena: Vec<u8>,
    max: usize,
    bytes: usize,
    /// Bytes of lines and structured metadata as sent.
    size: u64,
}

impl<'a> Pending<'a> {
    /// For a store that takes batches of `max` bytes.
    pub(super) fn new(max: usize) -> Pending<'a> {
        Pending {
            streams: Vec::new(),
            index: HashMap::new(),
            rows: Vec::new(),
            metas: Vec::new(),
            levels: Vec::new(),
            arena: Vec::new(),
            max: max.min(BATCH_BYTES),
            bytes: 0,
            size: 0,
        }
    }

    /// Entries.
    pub(super) fn entries(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Bytes of lines and structured metadata as sent.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether an entry of `bytes` as sent can be added. An empty batch takes any.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        let more = ENTRY_BYTES + usize::try_from(bytes).unwrap_or(usize::MAX / 2);
        self.rows.is_empty() || (self.rows.len() < BATCH_ENTRIES && self.bytes + more <= self.max)
    }

    /// The number of a set that is a level alone.
    pub(super) fn level(&mut self, level: &str) -> Result<u32, LabelError> {
        if let Some((_, meta)) = self.levels.iter().find(|(known, _)| known == level) {
            return Ok(*meta);
        }
        let meta = self.metadata(&[(Cow::Borrowed("detected_level"), Cow::Borrowed(level))])?;
        self.levels.push((level.to_owned(), meta));
        Ok(meta)
    }

    /// The number of a set.
    pub(super) fn metadata(
        &mut self,
        pairs: &[(Cow<'_, str>, Cow<'_, str>)],
    ) -> Result<u32, LabelError> {
        let set = LabelSet::from_pairs(pairs.iter().map(|(n, v)| (n, v)))?;
        let len = set.as_bytes().len();
        if len > crate::limits::LABELS_BYTES_MAX {
            return Err(LabelError::TooLong(len));
        }
        if self.metas.last() != Some(&set) {
            self.bytes += len;
            self.metas.push(set);
        }
        Ok(self.metas.len() as u32 - 1)
    }

    /// Time of the newest entry of a stream here.
    pub(super) fn newest(&self, hash: u64) -> Option<i64> {
        let at = *self.index.get(&hash)?;
        Some(self.streams[at as usize].1)
    }

    /// Adds an entry; `line` is cut to `len` bytes, `size` is what it counts for.
    pub(super) fn add(
        &mut self,
        labels: &Rc<Labelled>,
        (ts, meta): (i64, u32),
        (line, len): (Text<'a>, usize),
        size: u64,
    ) {
        let next = self.streams.len() as u32;
        let stream = *self.index.entry(labels.hash).or_insert(next);
        if stream == next {
            self.bytes += labels.set.as_bytes().len();
            self.streams.push((Rc::clone(labels), ts));
        }
        let newest = &mut self.streams[stream as usize].1;
        *newest = ts.max(*newest);
        let line = match line.borrowed() {
            Some(bytes) => Line::Body(&bytes[..len]),
            None => {
                let start = self.arena.len();
                line.append_to(&mut self.arena);
                self.arena.truncate(start + len);
                Line::Copied(start, len)
            }
        };
        self.rows.push(Row {
            stream,
            meta,
            ts,
            line,
        });
        self.bytes += ENTRY_BYTES + len;
        self.size += size;
    }

    /// Shows it to the store.
    pub(super) fn with<T>(&self, push: impl FnOnce(&Batch<'_>) -> T) -> T {
        let streams: Vec<&LabelSet> = self.streams.iter().map(|(l, _)| &l.set).collect();
        let entry = |row: &Row<'a>| Entry {
            stream: row.stream,
            ts: row.ts,
            line: match row.line {
                Line::Body(bytes) => bytes,
                Line::Copied(start, len) => &self.arena[start..start + len],
            },
            metadata: self
                .metas
                .get(row.meta as usize)
                .map_or_else(wire::Labels::default, LabelSet::as_ref),
        };
        let entries: Vec<Entry<'_>> = self.rows.iter().map(entry).collect();
        push(&Batch {
            streams: &streams,
            entries: &entries,
            source: None,
        })
    }

    /// Hashes of the streams, each with the time of its newest entry here.
    pub(super) fn streams(&self) -> impl Iterator<Item = (u64, i64)> + '_ {
        self.streams.iter().map(|(l, newest)| (l.hash, *newest))
    }

    /// Empties it.
    pub(super) fn clear(&mut self) {
        self.streams.clear();
        self.index.clear();
        self.rows.clear();
        self.metas.clear();
        self.levels.clear();
        self.arena.clear();
        self.bytes = 0;
        self.size = 0;
    }
}
