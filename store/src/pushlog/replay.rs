//! Finding what the push log holds beyond the segments, and taking it over.
//!
//! - The chain begins at the position that the newest segment's table has for the log. The next record is at the offset
//!   behind the one before, at the next block (there was a sync in between), or at the front of the ring (it was empty);
//!   it has the next number and names the one before by hash. The chain ends where there is none such: what follows
//!   was never synced.
//! - A record is *covered* if the table's number is not lower than its own, or if an intact segment stands for the epoch
//!   that its entries were in. Everything else goes to the head, a record all at once, together with the positions of
//!   sources in it and its own: a flush and a power cut in between repeat nothing.
//! - The head's first sequence is higher than every epoch in the chain, so that no new segment is taken for an old epoch.
//! - Of a source that was secured several times in one epoch, the last time counts: it holds what the others do. A
//!   process secures what it took over as well, so what an earlier process secured of that source counts no more.
//! - When the newest segments are damaged and the table comes from an older one, the log may hold what they held. The
//!   place where the chain begins may be overwritten then: the ring is searched for the longest one. The position of a
//!   source is taken over only if no damaged segment lies between the table and its epoch: it would skip what that held.
//!
//! Memory: one record, and a row for each source that was secured.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::time::Instant;

use disk::Disk;
use wire::{Batch, Entry, LabelSet};

use super::record::{Body, GroupSource, HEADER_BYTES, Header, Kind, RAW_BYTES_MAX};
use super::ring::{self, BLOCK, Ring, align};
use super::{Tip, record};
use crate::api::{AppendError, OpenError, Store};
use crate::block::Decoder;
use crate::head::{ENTRY_BYTES, Reason};
use crate::recover::Recovered;

/// What [`scan`] saw.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(super) ring: Option<Ring>,
    /// Where the chain begins.
    pub(super) begin: Tip,
    /// Its last record.
    pub(super) tip: Tip,
    /// Records in it.
    records: u64,
    /// Where the first of them is.
    pub(super) base: u64,
    /// Greatest epoch in it.
    pub(crate) epoch: u64,
    /// Pool that the head must have at least to take each record.
    pub(crate) head_bytes: usize,
    /// Records and sources that cannot be taken over.
    pub(super) skipped: u64,
    covered: Covered,
    secured: HashMap<Box<[u8]>, Secured>,
}

impl Found {
    /// Whether there is something to take over.
    pub(super) fn replays(&self) -> bool {
        self.records > 0
    }
}

/// What segments hold.
#[derive(Debug, Default)]
struct Covered {
    number: u64,
    /// Sequences of intact segments, rising.
    intact: Vec<u64>,
    /// Sequences of damaged segments above the one that the table of positions came from, rising.
    damaged: Vec<u64>,
    /// Sequence of that one.
    table: u64,
}

impl Covered {
    fn has(&self, number: u64, epoch: u64) -> bool {
        number <= self.number || self.intact.binary_search(&epoch).is_ok()
    }

    /// Whether a damaged segment lies between two epochs.
    fn gap(&self, from: u64, to: u64) -> bool {
        self.damaged.iter().any(|d| (from + 1..to).contains(d))
    }
}

/// Records that count of one source.
#[derive(Debug, Default)]
struct Secured {
    process: u64,
    /// Epoch and record number.
    groups: Vec<(u64, u64)>,
}

/// Follows the chain; each record is checked and unpacked.
struct Walk<'a> {
    ring: &'a Ring,
    tip: Tip,
    decoder: Decoder,
    packed: Vec<u8>,
    raw: Vec<u8>,
}

impl<'a> Walk<'a> {
    fn new(ring: &'a Ring, tip: Tip) -> io::Result<Walk<'a>> {
        Ok(Walk {
            ring,
            tip,
            decoder: Decoder::new()?,
            packed: Vec::new(),
            raw: Vec::new(),
        })
    }

    /// The next record, its packed body in `packed`.
    fn next(&mut self) -> io::Result<Option<Header>> {
        let offset = self.tip.offset;
        let mut places = [
            offset,
            align(offset, BLOCK),
            align(offset, self.ring.capacity()),
        ]
        .into_iter();
        let mut last = None;
        while let Some(at) = places.next().filter(|at| last != Some(*at)) {
            last = Some(at);
            if let Some((header, hash)) = self.read(at)?
                && header.number == self.tip.number + 1
                && header.previous == self.tip.hash
            {
                self.tip = Tip {
                    number: header.number,
                    offset: at + HEADER_BYTES as u64 + u64::from(header.stored),
                    hash,
                };
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// The record at an offset, if a whole one is there.
    fn read(&mut self, at: u64) -> io::Result<Option<(Header, u64)>> {
        let mut bytes = [0; HEADER_BYTES];
        if !self.ring.read(&mut bytes, at)? {
            return Ok(None);
        }
        let Some((header, hash)) = Header::decode(&bytes).filter(|(h, _)| h.offset == at) else {
            return Ok(None);
        };
        self.packed.clear();
        self.packed.resize(header.stored as usize, 0);
        let whole = self.ring.read(&mut self.packed, at + HEADER_BYTES as u64)?;
        Ok((whole && record::hash(&self.packed) == header.body).then_some((header, hash)))
    }

    /// The body of the record that [`Walk::next`] gave.
    fn body(&mut self) -> Option<Body<'_>> {
        let unpacked = self
            .decoder
            .unpack(&self.packed, RAW_BYTES_MAX, &mut self.raw);
        unpacked.ok().and_then(|()| record::decode_body(&self.raw))
    }
}

/// Reads the log of a data directory, once: what there is, and what counts of it.
///
/// # Errors
/// [`OpenError::Newer`] before anything was changed; [`OpenError::Io`].
pub(crate) fn scan(disk: &dyn Disk, dir: &Path, segments: &Recovered) -> Result<Found, OpenError> {
    let table = segments.positions.get(super::KEY).and_then(Tip::decode);
    let table = table.unwrap_or_default();
    let (ring, damaged) = Ring::open(disk, dir)?;
    let mut found = Found {
        begin: table,
        tip: table,
        skipped: u64::from(damaged),
        covered: Covered {
            number: table.number,
            intact: segments.segments.iter().map(|s| s.sequence).collect(),
            damaged: segments.damaged_above_table(),
            table: segments.table,
        },
        ..Found::default()
    };
    if let Some(ring) = &ring {
        let failed = |source| OpenError::Io {
            action: "read",
            path: dir.join(ring::NAME),
            source,
        };
        found.scan_ring(ring).map_err(failed)?;
    }
    found.ring = ring;
    Ok(found)
}

impl Found {
    fn scan_ring(&mut self, ring: &Ring) -> io::Result<()> {
        let mut walk = Walk::new(ring, self.begin)?;
        let mut first = walk.next()?;
        if first.is_none()
            && !self.covered.damaged.is_empty()
            && let Some(begin) = longest_chain(&mut walk, self.begin.number)?
        {
            self.begin = begin;
            walk.tip = begin;
            first = walk.next()?;
        }
        while let Some(header) = first {
            self.epoch = self.epoch.max(header.epoch);
            if self.records == 0 {
                self.base = header.offset;
            }
            self.see(&header, &mut walk);
            self.tip = walk.tip;
            self.records += 1;
            first = walk.next()?;
        }
        self.judge_sources();
        Ok(())
    }

    fn see(&mut self, header: &Header, walk: &mut Walk<'_>) {
        if header.number <= self.covered.number {
            return;
        }
        // Half of a nursery, a quarter of the pool, takes the longest line; all entries are the rest of the raw bytes.
        let raw = header.raw as usize;
        // An entry takes four bytes at least, whatever the header says.
        let entries = header.entries.min(header.raw / 4) as usize;
        let nursery = (2 * raw).max(raw + ENTRY_BYTES * entries);
        self.head_bytes = self.head_bytes.max(nursery * 4);
        if header.kind == Kind::Pushed {
            return;
        }
        let Some(body) = walk.body() else { return };
        for source in body.groups.iter().filter_map(|g| g.source) {
            if self.covered.has(header.number, source.epoch) {
                continue;
            }
            let secured = self.secured.entry(source.key.into()).or_default();
            if secured.process != header.process {
                secured.process = header.process;
                secured.groups.clear();
            }
            secured.groups.retain(|(epoch, _)| *epoch != source.epoch);
            secured.groups.push((source.epoch, header.number));
        }
    }

    /// Leaves out what follows a damaged segment that may have held entries of the source.
    fn judge_sources(&mut self) {
        let mut skipped = 0;
        for secured in self.secured.values_mut() {
            let mut reached = self.covered.table;
            let follows = |&(epoch, _): &(u64, u64)| {
                let gap = self.covered.gap(reached, epoch);
                reached = epoch;
                gap
            };
            if let Some(at) = secured.groups.iter().position(follows) {
                skipped += (secured.groups.len() - at) as u64;
                secured.groups.truncate(at);
            }
        }
        if skipped > 0 {
            tracing::error!(
                skipped,
                "the newest segment is damaged: what the push log holds of some ended containers cannot be taken over"
            );
        }
        self.skipped += skipped;
    }

    fn counts(&self, source: &GroupSource<'_>, number: u64) -> bool {
        let secured = self.secured.get(source.key);
        secured.is_some_and(|s| s.groups.contains(&(source.epoch, number)))
    }
}

/// Where the chain begins that reaches the highest number, of those that begin at a block.
fn longest_chain(walk: &mut Walk<'_>, above: u64) -> io::Result<Option<Tip>> {
    let mut begins = Vec::new();
    let mut bytes = [0; HEADER_BYTES];
    for at in (0..walk.ring.capacity()).step_by(BLOCK as usize) {
        if !walk.ring.read(&mut bytes, at)? {
            break;
        }
        let header = Header::decode(&bytes).map(|(header, _)| header);
        let here = |h: &Header| h.offset % walk.ring.capacity() == at && h.number > above;
        begins.extend(header.filter(here).map(|h| Tip {
            number: h.number - 1,
            offset: h.offset,
            hash: h.previous,
        }));
    }
    begins.sort_by_key(|tip| tip.number);
    let (mut best, mut reached) = (None, above);
    for begin in begins {
        if begin.number < reached {
            continue;
        }
        walk.tip = begin;
        while walk.next()?.is_some() {}
        if walk.tip.number > reached {
            (best, reached) = (Some(begin), walk.tip.number);
        }
    }
    Ok(best)
}

/// Takes over what [`scan`] found.
///
/// # Errors
/// When the log cannot be read any more, or a flush that has to make room fails.
pub(crate) fn replay(store: &Store, found: &Found) -> Result<(), OpenError> {
    let Some(ring) = found.ring.as_ref().filter(|_| found.records > 0) else {
        return Ok(());
    };
    let failed = |action| {
        let path = store.inner.log.dir.join(ring::NAME);
        move |source| OpenError::Io {
            action,
            path,
            source,
        }
    };
    let mut walk = Walk::new(ring, found.begin).map_err(failed("read"))?;
    let (mut records, mut entries, mut damaged) = (0u64, 0u64, 0u64);
    while walk.tip.number < found.tip.number {
        let Some(header) = walk.next().map_err(failed("read"))? else {
            // It was there a moment ago.
            let error = io::Error::other("the file changes while it is read");
            return Err(failed("read")(error));
        };
        let tip = walk.tip;
        let pushed_is_covered =
            header.kind == Kind::Pushed && found.covered.has(header.number, header.epoch);
        let body = match walk.body() {
            Some(body) if !pushed_is_covered => body,
            Some(_) => Body::default(),
            None => {
                damaged += 1;
                Body::default()
            }
        };
        let taken = take_over(store, found, header.number, body, tip).map_err(failed("replay"))?;
        records += u64::from(taken > 0);
        entries += taken;
    }
    let mut shared = store.inner.log.shared();
    shared.stats.replayed_records = records;
    shared.stats.replayed_entries = entries;
    shared.stats.skipped += damaged;
    if records > 0 {
        // A process that was killed may not have synced all of it.
        shared.unsynced = Some(Instant::now());
        tracing::info!(records, entries, "took over the push log");
    }
    drop(shared);
    if records > 0 {
        super::sync::start(&store.inner);
    }
    Ok(())
}

/// Appends what counts of a record, all at once, with the positions behind it.
fn take_over(
    store: &Store,
    found: &Found,
    number: u64,
    mut body: Body<'_>,
    tip: Tip,
) -> io::Result<u64> {
    body.groups
        .retain(|group| group.source.is_none_or(|s| found.counts(&s, number)));
    let streams: Vec<&LabelSet> = body.streams.iter().collect();
    let items = body.groups.iter().flat_map(|group| &group.items);
    let entries: Vec<Entry<'_>> = items
        .map(|item| Entry {
            stream: item.stream,
            ts: item.ts,
            line: item.line,
            metadata: body.metadata[item.metadata as usize],
        })
        .collect();
    let batch = Batch {
        streams: &streams,
        entries: &entries,
        source: None,
    };
    loop {
        let mut state = store.inner.lock();
        let appended = match entries.is_empty() {
            true => Ok(false),
            false => store.inner.append(&mut state, &batch),
        };
        match appended {
            Ok(wake) => {
                for source in body.groups.iter().filter_map(|g| g.source) {
                    state.head.set_position(source.key, source.position);
                }
                state.head.set_tip(tip);
                drop(state);
                if wake {
                    store.inner.wake.notify_one();
                }
                return Ok(entries.len() as u64);
            }
            Err(AppendError::Full | AppendError::Unavailable(_)) => {
                drop(state);
                store.flush_for(Reason::PushLog)?;
            }
            Err(AppendError::Invalid(text)) => {
                // It was appended once: only damage that looks whole gets here.
                tracing::error!(number, "record of the push log is left out: {text}");
                state.head.set_tip(tip);
                return Ok(0);
            }
        }
    }
}
