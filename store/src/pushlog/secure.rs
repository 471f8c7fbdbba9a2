//! Securing: unflushed entries of containers that ended go to the log, so that no flush has to be forced when their files
//! vanish.
//!
//! The head does not know whose an entry is: sources are described by their streams and by metadata that all their entries
//! have. What is written is everything of a source in each epoch that is not on disk, with its position as of that
//! epoch. All sources and epochs of a call are in one record, so that a power cut leaves all of it or nothing. What does
//! not fit into one is cheaper to flush.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use wire::{Labels, Secure};

use super::record::{ENTRY_OVERHEAD_MAX, Group, GroupSource, Item, Kind, encode_body};
use super::{PushLog, raw_bytes_max};
use crate::api::{AppendError, Store};
use crate::block::{BlockError, Column, Decoder, Header, Metadata};
use crate::codec::Cursor;
use crate::head::{Frozen, Sets, Snapshot, Want};

/// A call's view of the head.
struct View {
    snapshot: Snapshot,
    live: u64,
    frozen: Option<Arc<Frozen>>,
    /// Position of each source now.
    positions: Vec<Option<Vec<u8>>>,
}

impl Store {
    /// Makes entries of sources that ended survive the end of their files as soon as a push would survive: those that are
    /// not in a segment are written to the push log, or a flush is asked for. Sources of which everything is on disk
    /// cost nothing. Blocks on writes to the page cache.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`] when the store is closing.
    pub fn secure(&self, sources: &[Secure<'_>]) -> Result<(), AppendError> {
        let log = &self.inner.log;
        // What the packed record takes may be less; what the head takes as one batch after a restart is the limit.
        let most = raw_bytes_max(log.capacity).min(self.inner.lock().head.batch_bytes_max());
        let Some(view) = self.view(sources, most)? else {
            return self.flush_instead(log);
        };
        let mut gathered = Gathered::new(sources, most);
        match gathered.take(&view) {
            Ok(true) => {}
            Ok(false) => return self.flush_instead(log),
            Err(error) => {
                tracing::error!(%error, "a block in memory is damaged");
                return self.flush_instead(log);
            }
        }
        let groups = gathered.groups(&view);
        if groups.is_empty() {
            return Ok(());
        }
        let entries: usize = groups.iter().map(|group| group.items.len()).sum();
        let keys = groups.iter().filter_map(|g| g.source.map(|s| s.key));
        let secured: HashSet<&[u8]> = keys.collect();
        let written = log.append(
            &self.inner,
            Kind::Secured,
            |out| {
                gathered.encode(&view, &groups, out);
                entries as u32
            },
            |state| match state.closing() {
                true => Err(AppendError::Unavailable("the store is closing".into())),
                false => Ok(false),
            },
        );
        match written {
            Ok(_) => {
                let mut shared = log.shared();
                shared.stats.secured_sources += secured.len() as u64;
                shared.stats.secured_entries += entries as u64;
                Ok(())
            }
            Err(error) if self.inner.lock().closing() => Err(error),
            // No room, no space, a broken file: all of them end with a flush.
            Err(_) => self.flush_instead(log),
        }
    }

    fn view(&self, sources: &[Secure<'_>], budget: usize) -> Result<Option<View>, AppendError> {
        let streams = sources.iter().flat_map(|s| s.streams);
        let streams: HashSet<&[u8]> = streams.map(|set| set.as_bytes()).collect();
        let state = self.inner.lock();
        if state.closing() {
            return Err(AppendError::Unavailable("the store is closing".into()));
        }
        let draft = state.head.snapshot(&mut Want {
            select: &mut |labels: Labels<'_>| streams.contains(labels.as_bytes()),
            start: i64::MIN,
            end: i64::MAX,
            lines: true,
            budget,
        });
        let Ok(draft) = draft else { return Ok(None) };
        let positions = sources.iter().map(|s| state.head.position(s.key));
        let positions = positions.map(|p| p.map(<[u8]>::to_vec)).collect();
        let (live, frozen) = (state.head.sequence(), state.head.frozen());
        drop(state);
        Ok(Some(View {
            snapshot: draft.finish(),
            live,
            frozen,
            positions,
        }))
    }

    /// What is too much for the log becomes durable with a flush.
    fn flush_instead(&self, log: &PushLog) -> Result<(), AppendError> {
        self.inner.lock().want_flush_of_all();
        self.inner.wake.notify_one();
        log.shared().stats.secured_by_flush += 1;
        Ok(())
    }
}

impl View {
    /// Positions of the sources when the frozen epoch was.
    fn frozen_positions<'v>(&'v self, sources: &[Secure<'_>]) -> HashMap<&'v [u8], &'v [u8]> {
        let mut found = HashMap::new();
        let Some(frozen) = &self.frozen else {
            return found;
        };
        let keys: HashSet<&[u8]> = sources.iter().map(|s| s.key).collect();
        let mut cursor = Cursor::new(&frozen.positions);
        let mut part = || {
            let len = cursor.varint()?;
            cursor.take(len as usize)
        };
        while let (Some(key), Some(position)) = (part(), part()) {
            if keys.contains(key) {
                found.insert(key, position);
            }
        }
        found
    }
}

/// One entry, by numbers.
#[derive(Debug, Clone, Copy)]
struct Taken {
    stream: u32,
    metadata: u32,
    ts: i64,
    /// Place of the line.
    start: usize,
    len: usize,
}

/// The entries of the sources.
struct Gathered<'a> {
    sources: &'a [Secure<'a>],
    /// Sources that have entries in a stream, by its labels.
    by_stream: HashMap<&'a [u8], Vec<u32>>,
    /// By source and epoch, in order of arrival.
    taken: BTreeMap<(u32, u64), Vec<Taken>>,
    lines: Vec<u8>,
    metadata: Sets,
    /// Bytes that an encoded body may still get.
    left: usize,
}

impl<'a> Gathered<'a> {
    fn new(sources: &'a [Secure<'a>], most: usize) -> Gathered<'a> {
        let mut by_stream: HashMap<&[u8], Vec<u32>> = HashMap::new();
        for (source, i) in sources.iter().zip(0u32..) {
            for labels in source.streams {
                by_stream.entry(labels.as_bytes()).or_default().push(i);
            }
        }
        Gathered {
            sources,
            by_stream,
            taken: BTreeMap::new(),
            lines: Vec::new(),
            metadata: Sets::default(),
            left: most,
        }
    }

    /// Takes what the view has of the sources; false when that is too much.
    fn take(&mut self, view: &View) -> Result<bool, BlockError> {
        let snapshot = &view.snapshot;
        for set in &snapshot.streams {
            if !self.spend(set.as_bytes().len() + 4) {
                return Ok(false);
            }
        }
        let mut block = Decoded::default();
        for chunk in &snapshot.chunks {
            let set = &snapshot.streams[chunk.chunk.stream as usize];
            block.read(&chunk.block)?;
            let sets: Vec<&[u8]> = block.metadata.sets.iter().map(|s| s.as_bytes()).collect();
            let run =
                chunk.chunk.first as usize..(chunk.chunk.first + chunk.chunk.entries) as usize;
            for i in run {
                let line = &block.lines[block.starts[i]..block.starts[i + 1] - 1];
                let metadata = sets[block.metadata.ids[i] as usize];
                let entry = (chunk.chunk.stream, block.times[i], line, metadata);
                if !self.add(set.as_bytes(), chunk.sequence, entry) {
                    return Ok(false);
                }
            }
        }
        for run in &snapshot.raw {
            let set = &snapshot.streams[run.stream as usize];
            let mut at = 0;
            for ((ts, len), id) in run.times.iter().zip(&run.lengths).zip(&run.ids) {
                let line = &run.lines[at..at + *len as usize];
                at += *len as usize + 1;
                let metadata = snapshot.metadata[*id as usize].as_bytes();
                if !self.add(
                    set.as_bytes(),
                    run.sequence,
                    (run.stream, *ts, line, metadata),
                ) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn spend(&mut self, bytes: usize) -> bool {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or(0);
        left.is_some()
    }

    /// Adds an entry to the sources that it belongs to; false when it does not fit.
    fn add(
        &mut self,
        labels: &[u8],
        epoch: u64,
        (stream, ts, line, metadata): (u32, i64, &[u8], &[u8]),
    ) -> bool {
        let Ok(pairs) = Labels::check(metadata) else {
            return true;
        };
        let of_stream = self.by_stream.get(labels).map_or(&[][..], Vec::as_slice);
        let belongs = |i: &&u32| {
            let mut wanted = self.sources[**i as usize].metadata.iter();
            wanted.all(|(name, value)| pairs.get(name) == Some(value))
        };
        let Some(source) = of_stream.iter().find(belongs).copied() else {
            return true;
        };
        let known = self.metadata.len();
        let number = self.metadata.intern(metadata);
        let new_set = if number as usize == known {
            metadata.len() + 4
        } else {
            0
        };
        let taken = Taken {
            stream,
            metadata: number,
            ts,
            start: self.lines.len(),
            len: line.len(),
        };
        if !self.spend(line.len() + ENTRY_OVERHEAD_MAX + new_set) {
            return false;
        }
        self.lines.extend_from_slice(line);
        self.taken.entry((source, epoch)).or_default().push(taken);
        true
    }

    /// As a record has them; sources without a position are left out.
    fn groups<'s>(&'s self, view: &'s View) -> Vec<Group<'s>> {
        let frozen = view.frozen_positions(self.sources);
        let mut groups = Vec::new();
        for ((source, epoch), taken) in &self.taken {
            let key = self.sources[*source as usize].key;
            let position = match *epoch == view.live {
                true => view.positions[*source as usize].as_deref(),
                false => frozen.get(key).copied(),
            };
            let Some(position) = position else { continue };
            let items = taken.iter().map(|t| Item {
                stream: t.stream,
                metadata: t.metadata,
                ts: t.ts,
                line: &self.lines[t.start..t.start + t.len],
            });
            groups.push(Group {
                source: Some(GroupSource {
                    key,
                    epoch: *epoch,
                    position,
                }),
                items: items.collect(),
            });
        }
        groups
    }

    fn encode(&self, view: &View, groups: &[Group<'_>], out: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for id in 0..self.metadata.len() as u32 {
            self.metadata.append_to(id, &mut bytes);
            ends.push(bytes.len());
        }
        let sets: Vec<&[u8]> = ends.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
        let streams = view.snapshot.streams.iter().map(|set| set.as_bytes());
        encode_body(streams, sets.into_iter(), groups, out);
    }
}

/// A block of the head, decoded once for all runs of it that follow each other.
#[derive(Default)]
struct Decoded {
    decoder: Option<Decoder>,
    /// Which block it is.
    block: Option<Arc<[u8]>>,
    times: Vec<i64>,
    lengths: Vec<u32>,
    /// Where each line starts, and where the last one ends.
    starts: Vec<usize>,
    lines: Vec<u8>,
    metadata: Metadata,
}

impl Decoded {
    fn read(&mut self, block: &Arc<[u8]>) -> Result<(), BlockError> {
        if self.block.as_ref().is_some_and(|b| Arc::ptr_eq(b, block)) {
            return Ok(());
        }
        self.block = None;
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            None => {
                let new = Decoder::new().map_err(|_| BlockError::Header("no memory to decode"))?;
                self.decoder.insert(new)
            }
        };
        let header = Header::decode(block)?;
        let column = |column| header.column(block, column);
        decoder.times(&header, column(Column::Times)?, &mut self.times)?;
        // Blocks in the head have them.
        decoder.lengths(&header, column(Column::Lengths)?, &[], &mut self.lengths)?;
        decoder.metadata(&header, column(Column::Metadata)?, &mut self.metadata)?;
        decoder.lines(&header, column(Column::Lines)?, &mut self.lines)?;
        self.starts.clear();
        self.starts.push(0);
        let mut at = 0;
        for len in &self.lengths {
            at += *len as usize + 1;
            self.starts.push(at);
        }
        self.block = Some(Arc::clone(block));
        Ok(())
    }
}
