//! Finding which entries of a push are stored already: same stream, timestamp, line and structured metadata.
//!
//! - An entry can only repeat another one if its timestamp is not greater than the newest of its stream, or of the push
//!   before it. Pushes in order cost a comparison an entry; nothing is kept per entry.
//! - The newest timestamp of a stream in the head is known there. On disk it is looked up when a segment reaches into the
//!   push, and remembered until the next flush.
//! - Entries that may repeat another one are compared with those of equal time in the overlapping runs of their stream:
//!   head and segments, newest first, a block at a time. Hashes only say where to look; bytes decide.
//! - The work is bounded. What is left unchecked then is stored: Loki does not look into finished chunks either.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use logql::eval::EvalError;
use wire::{Batch, Labels};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::block::{Block, Buffers};
use super::select::{HeadPart, NONE, Selected};
use super::{View, storage};
use crate::head::{self, Head, RawRun};
use crate::segment::{Reader, SegmentEntry, SegmentError};

/// Most segments looked into for one push, the newest ones.
const SEGMENTS_MAX: usize = 256;
/// Most blocks decoded for one push: some 256 MiB raw, about a second of a Pi's core.
const BLOCKS_MAX: usize = 1024;
/// Most streams whose newest timestamp on disk is remembered, 32 bytes each.
const SEEN_MAX: usize = 16 << 10;
/// Most bytes of raw entries copied out of the head.
const RAW_BYTES_MAX: usize = 16 << 20;

/// Newest timestamps on disk, by hash of the stream's labels. A hash that two streams share costs at most a duplicate.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// For segments up to this sequence.
    committed: u64,
    streams: HashMap<u64, Newest>,
}

#[derive(Debug, Clone, Copy)]
struct Newest {
    /// Segments that end before this time were not looked into.
    from: i64,
    ts: i64,
}

/// Segments that reach into a push.
#[derive(Debug)]
pub(crate) struct OnDisk {
    committed: u64,
    /// The newest first.
    segments: Vec<SegmentEntry>,
}

impl OnDisk {
    /// Under the head's lock, together with the newest timestamps in the head.
    pub(crate) fn of(head: &Head, batch: &Batch<'_>) -> OnDisk {
        let least = batch.entries.iter().map(|e| e.ts).min();
        let least = least.unwrap_or(i64::MAX);
        let segments = head.segments().iter().rev().take(SEGMENTS_MAX);
        OnDisk {
            committed: head.committed(),
            segments: segments.filter(|s| s.max_ts >= least).copied().collect(),
        }
    }
}

/// What [`find`] found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// For each entry whether it is there already; empty when none is.
    pub(crate) drop: Vec<bool>,
    /// Entries that were not compared with all there is.
    pub(crate) unchecked: u64,
}

/// An entry of the push, as it is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    stream: u32,
    ts: i64,
    hash: u64,
    entry: u32,
}

/// Looks for the entries of a push. `newest` has the newest timestamp in the head of each of its streams.
///
/// # Errors
/// When what is stored cannot be read for a reason that is not damage.
pub(crate) fn find(
    view: &dyn View,
    seen: &mut Seen,
    batch: &Batch<'_>,
    newest: &[Option<i64>],
    on_disk: &OnDisk,
) -> Result<Found, EvalError> {
    let mut stored: Vec<i64> = newest.iter().map(|ts| ts.unwrap_or(i64::MIN)).collect();
    add_disk(view, seen, batch, on_disk, &mut stored)?;
    // Per stream: a later entry may repeat an earlier one; times that may be stored.
    let mut suspect = vec![false; stored.len()];
    let mut ranges: Vec<Option<(i64, i64)>> = vec![None; stored.len()];
    let mut last = stored.clone();
    for entry in batch.entries {
        let stream = entry.stream as usize;
        if entry.ts > last[stream] {
            last[stream] = entry.ts;
            continue;
        }
        // `i64::MIN` stands for "none" only until a first entry was seen.
        suspect[stream] = true;
        if entry.ts <= stored[stream] {
            let (from, to) = ranges[stream].unwrap_or((entry.ts, entry.ts));
            ranges[stream] = Some((from.min(entry.ts), to.max(entry.ts)));
        }
    }
    if !suspect.contains(&true) {
        return Ok(Found::default());
    }
    let mut search = Search::new(batch, &suspect, ranges);
    search.within_push();
    if search.ranges.iter().any(Option::is_some) {
        search.stored(view)?;
    }
    Ok(search.finish())
}

/// Raises the newest timestamps to those on disk.
fn add_disk(
    view: &dyn View,
    seen: &mut Seen,
    batch: &Batch<'_>,
    on_disk: &OnDisk,
    stored: &mut [i64],
) -> Result<(), EvalError> {
    if on_disk.segments.is_empty() {
        return Ok(());
    }
    if seen.committed != on_disk.committed || seen.streams.len() > SEEN_MAX {
        seen.streams.clear();
        seen.committed = on_disk.committed;
    }
    let mut times: Vec<Option<(i64, i64)>> = vec![None; stored.len()];
    for entry in batch.entries {
        let range = &mut times[entry.stream as usize];
        let (from, to) = range.unwrap_or((entry.ts, entry.ts));
        *range = Some((from.min(entry.ts), to.max(entry.ts)));
    }
    let mut unknown: HashMap<&[u8], usize> = HashMap::new();
    let mut least = i64::MAX;
    for (i, range) in times.iter().enumerate() {
        let Some((from, to)) = *range else { continue };
        let labels = batch.streams[i].as_bytes();
        let known = seen.streams.get(&xxh3_64(labels));
        if let Some(known) = known.filter(|known| known.from <= from) {
            stored[i] = stored[i].max(known.ts);
        } else if to > stored[i] {
            unknown.insert(labels, i);
            least = least.min(from);
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let mut found = vec![i64::MIN; stored.len()];
    for segment in on_disk.segments.iter().filter(|s| s.max_ts >= least) {
        if let Err(e) = newest_in(view, segment, &unknown, &mut found) {
            view.damage().segment(segment.sequence, e)?;
        }
    }
    for (labels, i) in unknown {
        let newest = Newest {
            from: least,
            ts: found[i],
        };
        seen.streams.insert(xxh3_64(labels), newest);
        stored[i] = stored[i].max(found[i]);
    }
    Ok(())
}

fn newest_in(
    view: &dyn View,
    segment: &SegmentEntry,
    streams: &HashMap<&[u8], usize>,
    found: &mut [i64],
) -> Result<(), SegmentError> {
    let reader = view.open(segment)?;
    let map = ordinals(&reader, |labels| {
        streams
            .get(labels.as_bytes())
            .map_or(NONE, |stream| *stream as u32)
    })?;
    if map.iter().all(|stream| *stream == NONE) {
        return Ok(());
    }
    for chunk in reader.chunks()? {
        let stream = map.get(chunk.stream as usize).copied().unwrap_or(NONE);
        if stream != NONE {
            let newest = &mut found[stream as usize];
            *newest = (*newest).max(chunk.max_ts);
        }
    }
    Ok(())
}

/// Numbers of a segment's streams.
fn ordinals(reader: &Reader, number: impl Fn(Labels<'_>) -> u32) -> Result<Vec<u32>, SegmentError> {
    let mut map = Vec::new();
    reader.each_stream(&mut |labels| match labels {
        Some(labels) => map.push(number(labels)),
        None => map.clear(),
    })?;
    Ok(map)
}

struct Search<'a> {
    batch: &'a Batch<'a>,
    /// Sorted.
    wanted: Vec<Wanted>,
    /// Of each stream: times of entries that may be stored.
    ranges: Vec<Option<(i64, i64)>>,
    /// Number of each stream that has such.
    numbers: HashMap<&'a [u8], u32>,
    drop: Vec<bool>,
    /// Blocks decoded so far.
    blocks: usize,
    /// There was more to look at.
    cut: bool,
}

impl<'a> Search<'a> {
    fn new(batch: &'a Batch<'a>, suspect: &[bool], ranges: Vec<Option<(i64, i64)>>) -> Search<'a> {
        let entries = batch.entries.iter().zip(0u32..);
        let entries = entries.filter(|(entry, _)| suspect[entry.stream as usize]);
        let mut wanted: Vec<Wanted> = entries
            .map(|(entry, i)| Wanted {
                stream: entry.stream,
                ts: entry.ts,
                hash: hash(entry.line, entry.metadata.as_bytes()),
                entry: i,
            })
            .collect();
        wanted.sort_unstable();
        let numbers = (0u32..).zip(batch.streams).zip(&ranges);
        let numbers = numbers
            .filter(|(_, range)| range.is_some())
            .map(|((i, labels), _)| (labels.as_bytes(), i))
            .collect();
        Search {
            batch,
            wanted,
            ranges,
            numbers,
            drop: vec![false; batch.entries.len()],
            blocks: 0,
            cut: false,
        }
    }

    /// Drops all but the first of equal entries.
    fn within_push(&mut self) {
        let same = |a: &Wanted, b: &Wanted| (a.stream, a.ts, a.hash) == (b.stream, b.ts, b.hash);
        let entries = self.batch.entries;
        for run in self.wanted.chunk_by(same) {
            let mut kept: Vec<u32> = Vec::new();
            for wanted in run {
                let entry = &entries[wanted.entry as usize];
                let equal = |i: &u32| {
                    let other = &entries[*i as usize];
                    other.line == entry.line && other.metadata == entry.metadata
                };
                if kept.iter().any(equal) {
                    self.drop[wanted.entry as usize] = true;
                } else {
                    kept.push(wanted.entry);
                }
            }
        }
    }

    /// Drops entries that are in the head or in segments.
    fn stored(&mut self, view: &dyn View) -> Result<(), EvalError> {
        let ranges = self.ranges.iter().flatten();
        let start = ranges.clone().map(|r| r.0).min().unwrap_or(0);
        let end = ranges.map(|r| r.1).max().unwrap_or(0);
        let mut buffers = Buffers::new().map_err(storage)?;
        let numbers = &self.numbers;
        let mut select = |labels: Labels<'_>| numbers.contains_key(labels.as_bytes());
        let taken = view.head(&mut head::Want {
            select: &mut select,
            start,
            end,
            lines: true,
            budget: RAW_BYTES_MAX,
        });
        let Ok(mut snapshot) = taken else {
            self.cut = true;
            return Ok(());
        };
        let number = |set: &wire::LabelSet| self.numbers.get(set.as_bytes()).copied();
        let map: Vec<u32> = snapshot
            .streams
            .iter()
            .map(|set| number(set).unwrap_or(NONE))
            .collect();
        for run in std::mem::take(&mut snapshot.raw) {
            let stream = map[run.stream as usize];
            let sets = snapshot.metadata.iter().map(|set| set.as_bytes());
            self.raw(run, stream, &sets.collect::<Vec<_>>(), &mut buffers);
        }
        let part = HeadPart { snapshot, map };
        let may_hold = |i: &usize| {
            let chunk = &part.snapshot.chunks[*i].chunk;
            self.wants(part.map[chunk.stream as usize], chunk.min_ts, chunk.max_ts)
        };
        let chunks: Vec<usize> = (0..part.snapshot.chunks.len()).filter(may_hold).collect();
        for block in part.blocks(chunks.into_iter()) {
            self.block(view, &block, &mut buffers)?;
        }
        let segments = part.snapshot.segments.iter().rev();
        for (i, segment) in segments.enumerate() {
            if self.cut || i == SEGMENTS_MAX {
                self.cut = true;
                break;
            }
            let blocks = match self.open(view, segment) {
                Ok(blocks) => blocks,
                Err(e) => {
                    view.damage().segment(segment.sequence, e)?;
                    continue;
                }
            };
            for block in blocks {
                self.block(view, &block, &mut buffers)?;
            }
        }
        Ok(())
    }

    /// Blocks of a segment that may hold one of the entries.
    fn open(&self, view: &dyn View, segment: &SegmentEntry) -> Result<Vec<Block>, SegmentError> {
        let reader = view.open(segment)?;
        let number = |labels: Labels<'_>| self.numbers.get(labels.as_bytes()).copied();
        let map = ordinals(&reader, |labels| number(labels).unwrap_or(NONE))?;
        if map.iter().all(|stream| *stream == NONE) {
            return Ok(Vec::new());
        }
        let chunks = reader.chunks()?;
        let rows = (0u32..).zip(&chunks).filter_map(|(i, chunk)| {
            let stream = map.get(chunk.stream as usize).copied()?;
            let wants = stream != NONE && self.wants(stream, chunk.min_ts, chunk.max_ts);
            wants.then_some((i, stream))
        });
        let rows = rows.collect();
        let selected = Selected {
            reader: Arc::new(reader),
            map,
            chunks,
            candidates: None,
        };
        Ok(selected.blocks(segment.sequence, rows))
    }

    /// Whether an entry of a stream between two times is still looked for.
    fn wants(&self, stream: u32, from: i64, to: i64) -> bool {
        if stream == NONE {
            return false;
        }
        self.between(stream, from, to)
            .any(|i| !self.drop[self.wanted[i].entry as usize])
    }

    /// Entries of a stream between two times, as far as they may be stored.
    fn between(&self, stream: u32, from: i64, to: i64) -> Range<usize> {
        let Some((first, last)) = self.ranges[stream as usize] else {
            return 0..0;
        };
        let (from, to) = (from.max(first), to.min(last));
        let start = self
            .wanted
            .partition_point(|w| (w.stream, w.ts) < (stream, from));
        let end = self
            .wanted
            .partition_point(|w| (w.stream, w.ts) <= (stream, to));
        start..end.max(start)
    }

    fn block(
        &mut self,
        view: &dyn View,
        block: &Block,
        buffers: &mut Buffers,
    ) -> Result<(), EvalError> {
        let wanted = |s: &Self| {
            let mut rows = block.rows.iter();
            rows.any(|r| s.wants(r.stream, r.min_ts, r.max_ts))
        };
        // Copies that were found meanwhile need no further look.
        if self.cut || !wanted(self) {
            return Ok(());
        }
        if self.blocks == BLOCKS_MAX {
            self.cut = true;
            return Ok(());
        }
        self.blocks += 1;
        match self.compare_block(block, buffers) {
            Ok(()) => Ok(()),
            Err(e) => view.damage().block(block.sequence, block.offset(), e),
        }
    }

    fn compare_block(&mut self, block: &Block, buffers: &mut Buffers) -> Result<(), SegmentError> {
        let header = buffers.header(block)?;
        buffers.times(block, &header)?;
        let row = |first: u32, entries: u32| first as usize..(first + entries) as usize;
        let hits = block.rows.iter().any(|r| {
            let times = &buffers.scratch.times[row(r.first, r.entries)];
            self.hits(r.stream, times).next().is_some()
        });
        if !hits {
            return Ok(());
        }
        buffers.lines(block, &header)?;
        buffers.offsets(block, &header)?;
        buffers.metadata(block, &header)?;
        let metadata = std::mem::take(&mut buffers.metadata);
        let sets: Vec<&[u8]> = metadata.sets.iter().map(|set| set.as_bytes()).collect();
        for r in &block.rows {
            self.compare(r.stream, row(r.first, r.entries), &sets, buffers);
        }
        drop(sets);
        buffers.metadata = metadata;
        Ok(())
    }

    fn raw(&mut self, run: RawRun, stream: u32, sets: &[&[u8]], buffers: &mut Buffers) {
        if stream == NONE {
            return;
        }
        buffers.raw(run);
        let entries = buffers.scratch.times.len();
        self.compare(stream, 0..entries, sets, buffers);
    }

    /// Entries in a run, sorted by time, that have the time of one that is looked for.
    fn hits<'s>(&'s self, stream: u32, times: &'s [i64]) -> impl Iterator<Item = usize> + 's {
        let ends = times.first().zip(times.last());
        let between = ends.map_or(0..0, |(from, to)| self.between(stream, *from, *to));
        self.wanted[between]
            .chunk_by(|a, b| a.ts == b.ts)
            .filter(|same| same.iter().any(|w| !self.drop[w.entry as usize]))
            .flat_map(|same| {
                let from = times.partition_point(|ts| *ts < same[0].ts);
                let to = times.partition_point(|ts| *ts <= same[0].ts);
                from..to
            })
    }

    /// Compares a run of decoded entries.
    fn compare(&mut self, stream: u32, row: Range<usize>, sets: &[&[u8]], buffers: &Buffers) {
        let scratch = &buffers.scratch;
        let hits: Vec<usize> = self.hits(stream, &scratch.times[row.clone()]).collect();
        for entry in hits.into_iter().map(|i| row.start + i) {
            let line = scratch.line(entry);
            let metadata = sets[scratch.metadata[entry] as usize];
            let key = (stream, scratch.times[entry], hash(line, metadata));
            let key_of = |w: &Wanted| (w.stream, w.ts, w.hash);
            let from = self.wanted.partition_point(|w| key_of(w) < key);
            let same = self.wanted[from..].iter().take_while(|w| key_of(w) == key);
            for wanted in same {
                let pushed = &self.batch.entries[wanted.entry as usize];
                if pushed.line == line && pushed.metadata.as_bytes() == metadata {
                    self.drop[wanted.entry as usize] = true;
                }
            }
        }
    }

    fn finish(self) -> Found {
        let left = |w: &&Wanted| {
            let range = self.ranges[w.stream as usize];
            let may_be_stored = range.is_some_and(|(from, to)| (from..=to).contains(&w.ts));
            may_be_stored && !self.drop[w.entry as usize]
        };
        let unchecked = match self.cut {
            true => self.wanted.iter().filter(left).count() as u64,
            false => 0,
        };
        let drop = match self.drop.contains(&true) {
            true => self.drop,
            false => Vec::new(),
        };
        Found { drop, unchecked }
    }
}

fn hash(line: &[u8], metadata: &[u8]) -> u64 {
    xxh3_64_with_seed(line, xxh3_64(metadata))
}
