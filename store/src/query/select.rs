//! From matchers to the streams, blocks and head entries that a query has to look at.

use std::collections::HashMap;
use std::sync::{Arc, RwLockReadGuard};

use logql::eval::EvalError;
use logql::matcher::{Matcher, all_match};
use wire::{LabelSet, Labels};

use super::View;
use super::block::{Block, Place, Row};
use crate::head;
use crate::index::Index;
use crate::segment::{Candidates, Chunk, Probe, Reader, SegmentEntry, SegmentError, Unpacker};

/// "Not selected" in a map from ordinals to streams.
pub(super) const NONE: u32 = u32::MAX;

/// Which ids of the index satisfy a query's matchers.
#[derive(Debug)]
enum Choice {
    /// The index was not asked yet. It is asked after the list of segments was taken: a segment that is in the list is
    /// in the index, and so are its streams.
    Unasked,
    /// It cannot say.
    Unknown,
    /// These, rising.
    Ids(Vec<u32>),
}

/// The streams that satisfy a query's matchers, numbered in order of discovery: the same label set has the same
/// number in the head and in all segments.
#[derive(Debug)]
pub(super) struct Streams<'q> {
    matchers: &'q [Matcher],
    index: &'q Index,
    /// Ids mean the same streams as long as this lives; `None` when the index is not usable.
    held: Option<RwLockReadGuard<'q, ()>>,
    choice: Choice,
    /// Numbers of the chosen ids, [`NONE`] as long as no segment had them.
    numbers: Vec<u32>,
    by_labels: HashMap<Arc<LabelSet>, u32>,
    sets: Vec<Arc<LabelSet>>,
    bytes: usize,
    /// For the sections of all segments of the query.
    unpacker: Unpacker,
}

impl<'q> Streams<'q> {
    /// Nothing is known yet.
    pub(super) fn new(index: &'q Index, matchers: &'q [Matcher]) -> Streams<'q> {
        Streams {
            matchers,
            index,
            held: index.hold_ids(),
            choice: Choice::Unasked,
            numbers: Vec::new(),
            by_labels: HashMap::new(),
            sets: Vec::new(),
            bytes: 0,
            unpacker: Unpacker::default(),
        }
    }

    /// What is asked.
    pub(super) fn matchers(&self) -> &'q [Matcher] {
        self.matchers
    }

    /// Whether ids of the index keep their meaning while this lives.
    pub(super) fn holds_ids(&self) -> bool {
        self.held.is_some()
    }

    /// Ids in the index of all streams that satisfy the matchers, rising; `None` when it is not usable. To be called when the
    /// list of segments has been taken.
    pub(super) fn ids(&mut self) -> Option<&[u32]> {
        if matches!(self.choice, Choice::Unasked) {
            let held = self.held.as_ref();
            let ids = held.and_then(|_| self.index.select(self.matchers));
            self.bytes += ids.as_ref().map_or(0, |ids| ids.capacity() * 8);
            self.numbers = vec![NONE; ids.as_ref().map_or(0, Vec::len)];
            self.choice = ids.map_or(Choice::Unknown, Choice::Ids);
        }
        match &self.choice {
            Choice::Ids(ids) => Some(ids),
            Choice::Unasked | Choice::Unknown => None,
        }
    }

    /// Labels of a stream.
    pub(super) fn labels(&self, stream: u32) -> &LabelSet {
        &self.sets[stream as usize]
    }

    /// The same, to be taken along.
    pub(super) fn shared_labels(&self, stream: u32) -> Arc<LabelSet> {
        Arc::clone(&self.sets[stream as usize])
    }

    /// Labels of the rows of a block, likewise.
    pub(super) fn of_rows(&self, rows: &[Row]) -> Vec<Arc<LabelSet>> {
        rows.iter().map(|r| self.shared_labels(r.stream)).collect()
    }

    /// Bytes of summaries and sections read so far.
    pub(super) fn section_bytes(&self) -> u64 {
        self.unpacker.read()
    }

    /// All streams so far.
    pub(super) fn sets(&self) -> &[Arc<LabelSet>] {
        &self.sets
    }

    /// Bytes held, about.
    pub(super) fn memory(&self) -> usize {
        self.bytes
    }

    /// Whether a label set satisfies the matchers.
    pub(super) fn matches(&self, labels: Labels<'_>) -> bool {
        if self.matchers.is_empty() {
            return true;
        }
        let pairs: Vec<(&str, &str)> = labels.iter().collect();
        all_match(self.matchers, &pairs)
    }

    /// The number of a stream.
    pub(super) fn intern(&mut self, set: &LabelSet) -> u32 {
        if let Some(number) = self.by_labels.get(set) {
            return *number;
        }
        let number = self.sets.len() as u32;
        let set = Arc::new(set.clone());
        self.bytes += set.as_bytes().len() + 96;
        self.sets.push(Arc::clone(&set));
        self.by_labels.insert(set, number);
        number
    }

    /// Streams of a segment by ordinal, [`NONE`] for those not selected, from the index alone.
    pub(super) fn by_index(&mut self, segment: &SegmentEntry) -> Option<Vec<u32>> {
        self.ids()?;
        let choice = std::mem::replace(&mut self.choice, Choice::Unknown);
        let map = match &choice {
            Choice::Ids(ids) => self.map_ids(ids, segment),
            Choice::Unasked | Choice::Unknown => None,
        };
        self.choice = choice;
        map
    }

    fn map_ids(&mut self, selected: &[u32], segment: &SegmentEntry) -> Option<Vec<u32>> {
        let mut ids = self.index.segment(segment.into())?;
        for id in &mut ids {
            *id = match selected.binary_search(id) {
                Ok(at) if self.numbers[at] == NONE => {
                    let number = self.intern(&self.index.labels(*id)?);
                    self.numbers[at] = number;
                    number
                }
                Ok(at) => self.numbers[at],
                Err(_) => NONE,
            };
        }
        Some(ids)
    }

    /// The same from the segment itself.
    pub(super) fn by_reading(&mut self, reader: &Reader) -> Result<Vec<u32>, SegmentError> {
        let sets = reader.streams()?;
        let number = |set: &LabelSet| match self.matches(set.as_ref()) {
            true => self.intern(set),
            false => NONE,
        };
        Ok(sets.iter().map(number).collect())
    }
}

/// An opened segment with what a query selects of it.
pub(super) struct Selected {
    /// The file.
    pub(super) reader: Arc<Reader>,
    /// Streams by ordinal.
    pub(super) map: Vec<u32>,
    /// All its chunk rows.
    pub(super) chunks: Vec<Chunk>,
    /// Blocks that may hold what is looked for; `None`: all.
    pub(super) candidates: Option<Numbered>,
}

/// Blocks that may hold something, by where they start.
#[derive(Debug)]
pub(super) struct Numbered {
    /// Where the blocks start, in the order of the file.
    offsets: Vec<u64>,
    candidates: Candidates,
}

impl Numbered {
    fn has(&self, offset: u64) -> bool {
        let number = self.offsets.binary_search(&offset);
        number.is_ok_and(|number| self.candidates.has(number))
    }
}

impl Selected {
    /// Opens a segment, if it holds a selected stream.
    pub(super) fn open(
        view: &dyn View,
        segment: &SegmentEntry,
        streams: &mut Streams<'_>,
    ) -> Result<Option<Selected>, SegmentError> {
        let known = streams.by_index(segment);
        if known.as_ref().is_some_and(|m| m.iter().all(|s| *s == NONE)) {
            return Ok(None);
        }
        let reader = view.open(segment)?.sharing(&streams.unpacker);
        let map = match known {
            Some(map) if map.len() == reader.summary().streams as usize => map,
            _ => streams.by_reading(&reader)?,
        };
        let chunks = reader.chunks()?;
        Ok(Some(Selected {
            reader: Arc::new(reader),
            map,
            chunks,
            candidates: None,
        }))
    }

    /// Leaves out blocks that cannot hold what a probe looks for.
    ///
    /// # Errors
    /// When the skip index is damaged: then nothing is left out.
    pub(super) fn skip(&mut self, probe: &Probe) -> Result<(), SegmentError> {
        let Some(candidates) = self.reader.candidates(probe)? else {
            return Ok(());
        };
        let mut offsets: Vec<u64> = self.chunks.iter().map(|c| c.block_offset).collect();
        offsets.sort_unstable();
        offsets.dedup();
        // A block without a row does not exist in a segment that is whole.
        if offsets.len() == candidates.blocks() {
            self.candidates = Some(Numbered {
                offsets,
                candidates,
            });
        }
        Ok(())
    }

    /// The stream of a row, if it is selected and touches `start..=end`.
    pub(super) fn stream(&self, chunk: &Chunk, start: i64, end: i64) -> Option<u32> {
        if chunk.max_ts < start || chunk.min_ts > end {
            return None;
        }
        self.map
            .get(chunk.stream as usize)
            .copied()
            .filter(|s| *s != NONE)
    }

    /// The blocks of these rows (indices into `chunks`, with their streams) that may hold what is looked for.
    pub(super) fn blocks(&self, sequence: u64, mut rows: Vec<(u32, u32)>) -> Vec<Block> {
        let offset = |row: u32| self.chunks[row as usize].block_offset;
        rows.sort_by_key(|(row, _)| offset(*row));
        let may_hold = |row: u32| {
            let candidates = self.candidates.as_ref();
            candidates.is_none_or(|c| c.has(offset(row)))
        };
        rows.chunk_by(|a, b| offset(a.0) == offset(b.0))
            .filter(|same| may_hold(same[0].0))
            .map(|same| Block {
                place: Place::File(Arc::clone(&self.reader), offset(same[0].0)),
                sequence,
                rows: same
                    .iter()
                    .map(|(row, stream)| row_of(&self.chunks[*row as usize], *stream, *row))
                    .collect(),
            })
            .collect()
    }
}

fn row_of(chunk: &Chunk, stream: u32, ordinal: u32) -> Row {
    Row {
        stream,
        first: chunk.first,
        entries: chunk.entries,
        ordinal,
        min_ts: chunk.min_ts,
        max_ts: chunk.max_ts,
        bytes: chunk.raw_bytes,
    }
}

/// The head's part of a query.
#[derive(Debug, Default)]
pub(super) struct HeadPart {
    /// What the head gave.
    pub(super) snapshot: head::Snapshot,
    /// Numbers of the snapshot's streams.
    pub(super) map: Vec<u32>,
}

impl HeadPart {
    /// Takes the snapshot. It must come before the list of segments, so that an entry that is flushed in between is
    /// seen here and its segment is not.
    pub(super) fn take(
        view: &dyn View,
        streams: &mut Streams<'_>,
        (start, end): (i64, i64),
        lines: bool,
        budget: usize,
    ) -> Result<HeadPart, EvalError> {
        let mut select = |labels: Labels<'_>| streams.matches(labels);
        let snapshot = view
            .head(&mut head::Want {
                select: &mut select,
                start,
                end,
                lines,
                budget,
            })
            .map_err(|e| {
                EvalError::Limit(format!(
                    "query needs {} bytes of unflushed entries, more than its memory ({budget} bytes, query_memory) \
                     allows",
                    e.needed
                ))
            })?;
        let map = snapshot.streams.iter().map(|s| streams.intern(s)).collect();
        Ok(HeadPart { snapshot, map })
    }

    /// The blocks of these chunks (indices into the snapshot's), in the order of their first ones.
    pub(super) fn blocks(&self, chunks: impl Iterator<Item = usize>) -> Vec<Block> {
        let mut places: HashMap<*const u8, usize> = HashMap::new();
        let mut blocks: Vec<Block> = Vec::new();
        for i in chunks {
            let held = &self.snapshot.chunks[i];
            let stream = self.map[held.chunk.stream as usize];
            let at = *places.entry(held.block.as_ptr()).or_insert(blocks.len());
            if at == blocks.len() {
                blocks.push(Block {
                    place: Place::Memory(held.block.clone()),
                    sequence: held.sequence,
                    rows: Vec::new(),
                });
            }
            blocks[at].rows.push(row_of(&held.chunk, stream, i as u32));
        }
        blocks
    }
}
