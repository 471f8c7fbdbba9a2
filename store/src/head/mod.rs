//! The head: entries accepted, not yet on disk, in a pool of fixed size.
//!
//! - Entries arrive in a **nursery** (raw records, a fixed region, a quarter of the pool). When it is full, streams are
//!   **sealed** into compressed blocks (module `seal`).
//! - Streams, metadata sets, blocks and their rows form an **epoch**: what one segment will hold. A flush freezes the
//!   whole epoch (everything sealed), and a new one begins; the frozen one is shared with the flush thread and seen
//!   by queries until its segment is.
//! - An epoch is frozen when it uses 15/16 of the pool's rest. With a frozen one in the way and the pool
//!   used up, batches are refused: back-pressure. The pool is exceeded by at most one sealed nursery.
//! - Sealing needs buffers beside the pool: the largest block's columns, and zstd's context (about 1 MiB together).

use std::io;
use std::sync::Arc;
use std::time::Instant;

use wire::Batch;

use crate::api::AppendError;
use crate::limits::{
    HEAD_BYTES_MAX, HEAD_BYTES_MIN, LABELS_BYTES_MAX, LINE_BYTES_MAX, POSITION_BYTES_MAX,
    POSITION_KEY_BYTES_MAX, ZSTD_LEVEL,
};
use crate::positions::Positions;
use crate::pushlog::{self, Tip};
use crate::segment::{Position, SegmentEntry};

mod columns;
mod epoch;
mod intern;
mod merge;
mod nursery;
mod seal;
mod sets;
mod snapshot;

pub use snapshot::{HeadChunk, OverBudget, RawRun, Snapshot, Want};

pub(crate) use epoch::Epoch;
use epoch::StreamState;
pub(crate) use merge::merge;
pub(crate) use nursery::RECORD_BYTES as ENTRY_BYTES;
use nursery::{Nursery, RECORD_BYTES, Record};
use seal::Sealer;
pub(crate) use sets::Sets;

/// Share of the pool without its nursery at which an epoch is frozen. Higher makes fewer, larger segments and so fewer
/// device flushes; what is left, and the nursery, take new entries while the epoch is written.
const FREEZE_SIXTEENTHS: usize = 15;

/// Why a flush happens; index into [`crate::api::StoreStats::flushes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The pool is nearly full.
    Size,
    /// The oldest entry reached the flush interval.
    Age,
    /// The store closes.
    Shutdown,
    /// Somebody asked.
    Asked,
    /// The push log needs room, or cannot be trusted any more.
    PushLog,
}

/// An epoch on its way to disk.
#[derive(Debug)]
pub(crate) struct Frozen {
    pub(crate) epoch: Epoch,
    /// The table as it is written.
    pub(crate) positions: Vec<u8>,
    pub(crate) reason: Reason,
    /// How far in the push log that table reaches.
    tip: Tip,
}

/// See the module documentation.
#[derive(Debug)]
pub(crate) struct Head {
    nursery: Nursery,
    sealer: Sealer,
    live: Epoch,
    frozen: Option<Arc<Frozen>>,
    /// Segments up to this sequence are visible to queries.
    committed: u64,
    /// Those segments that can be read, by sequence.
    segments: Vec<SegmentEntry>,
    positions: Positions,
    /// The last record of the push log whose content is in here or was; what a flush writes as its position.
    tip: Tip,
    /// The last record that segments cover.
    durable: Tip,
    oldest: Option<Instant>,
    /// Bytes for epochs: the pool without the nursery.
    budget: usize,
    slots: Vec<u32>,
    pub(crate) entries_in: u64,
    pub(crate) bytes_in: u64,
}

impl Head {
    /// A head whose first segment will have the sequence after `committed`; `segments` are there already.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub(crate) fn new(
        head_bytes: usize,
        committed: u64,
        segments: Vec<SegmentEntry>,
        positions: Positions,
    ) -> io::Result<Head> {
        let pool = head_bytes.clamp(HEAD_BYTES_MIN, HEAD_BYTES_MAX);
        let nursery = pool / 4;
        let tip = positions.get(pushlog::KEY).and_then(Tip::decode);
        let tip = tip.unwrap_or_default();
        Ok(Head {
            tip,
            durable: tip,
            nursery: Nursery::new(nursery),
            sealer: Sealer::new(ZSTD_LEVEL)?,
            live: Epoch::new(committed + 1),
            frozen: None,
            committed,
            segments,
            positions,
            oldest: None,
            budget: pool - nursery,
            slots: Vec::new(),
            entries_in: 0,
            bytes_in: 0,
        })
    }

    /// Takes a batch, all or nothing. True when an epoch was frozen: wake the flush thread.
    ///
    /// # Errors
    /// [`AppendError::Full`], [`AppendError::Invalid`]; [`AppendError::Unavailable`] when compression fails.
    pub(crate) fn append(&mut self, batch: &Batch<'_>, now: Instant) -> Result<bool, AppendError> {
        let (needed, raw) = self.check(batch)?;
        let froze = self.make_room(needed)?;
        self.slots.clear();
        for labels in batch.streams {
            let id = self.live.labels.intern(labels.as_bytes());
            if id as usize == self.live.streams.len() {
                self.live.streams.push(StreamState::default());
            }
            self.slots.push(id);
        }
        let mut last: Option<(&[u8], u32)> = None;
        for entry in batch.entries {
            let bytes = entry.metadata.as_bytes();
            let meta = match last {
                Some((seen, meta)) if std::ptr::eq(seen, bytes) || seen == bytes => meta,
                _ => self.live.metas.intern(bytes),
            };
            last = Some((bytes, meta));
            let stream = self.slots[entry.stream as usize];
            let state = &mut self.live.streams[stream as usize];
            let raw = entry.line.len() as u32 + 1;
            state.raw_bytes += raw;
            state.entries += 1;
            state.total_bytes += u64::from(raw);
            state.newest = state.newest.max(entry.ts);
            self.nursery.push(Record {
                stream,
                meta,
                ts: entry.ts,
                line: entry.line,
            });
        }
        if !batch.entries.is_empty() {
            self.oldest.get_or_insert(now);
        }
        if let Some(source) = batch.source {
            self.positions.set(source.key, source.position);
        }
        self.entries_in += batch.entries.len() as u64;
        self.bytes_in += raw;
        Ok(froze)
    }

    /// Freezes everything accepted so far, unless an epoch is frozen already or there is nothing (new positions
    /// count only when `positions_too`). True when there is a frozen epoch now.
    ///
    /// # Errors
    /// When compression fails for lack of memory.
    pub(crate) fn freeze(&mut self, reason: Reason, positions_too: bool) -> io::Result<bool> {
        if self.frozen.is_some() {
            return Ok(true);
        }
        let empty = self.nursery.used() == 0 && self.live.block_bytes == 0;
        if empty && !(positions_too && self.positions.changed()) {
            return Ok(false);
        }
        self.sealer.seal(&mut self.nursery, &mut self.live, true)?;
        let next = Epoch::new(self.live.sequence + 1);
        self.frozen = Some(Arc::new(Frozen {
            epoch: std::mem::replace(&mut self.live, next),
            positions: self.positions.snapshot(),
            reason,
            tip: self.tip,
        }));
        self.oldest = None;
        Ok(true)
    }

    /// Freezes an epoch without entries, so that a new segment holds the positions and the newest one may go. True when
    /// there is a frozen epoch now.
    ///
    /// # Errors
    /// As [`Head::freeze`].
    pub(crate) fn freeze_positions(&mut self, reason: Reason) -> io::Result<bool> {
        self.positions.touch();
        self.freeze(reason, true)
    }

    /// The epoch to write.
    pub(crate) fn frozen(&self) -> Option<Arc<Frozen>> {
        self.frozen.clone()
    }

    /// The frozen epoch's segment is durable and in the index: from here on queries see that instead.
    pub(crate) fn commit(&mut self, segment: SegmentEntry) {
        let frozen = self.frozen.take();
        let frozen = frozen.expect("a commit follows a freeze");
        assert!(
            segment.sequence == frozen.epoch.sequence && segment.sequence > self.committed,
            "sequences rise"
        );
        self.committed = segment.sequence;
        self.durable = frozen.tip;
        self.segments.push(segment);
    }

    /// Sets the position of a source whose entries were appended under the same lock.
    pub(crate) fn set_position(&mut self, key: &[u8], position: &[u8]) {
        self.positions.set(key, Some(position));
    }

    /// The position of a source, including what is not durable yet.
    pub(crate) fn position(&self, key: &[u8]) -> Option<&[u8]> {
        self.positions.get(key)
    }

    /// The push log reaches this far: whatever its records hold was appended, under the same lock.
    pub(crate) fn set_tip(&mut self, tip: Tip) {
        self.tip = tip;
        self.positions.set(pushlog::KEY, Some(&tip.encode()));
    }

    /// The last record of the push log that segments cover.
    pub(crate) fn durable(&self) -> Tip {
        self.durable
    }

    /// Greatest timestamp of a stream, ns, as far as it has entries that are not on disk.
    pub(crate) fn newest(&self, labels: &[u8]) -> Option<i64> {
        let frozen = self.frozen.as_ref().and_then(|f| f.epoch.newest(labels));
        self.live.newest(labels).max(frozen)
    }

    /// Largest sum of [`ENTRY_BYTES`] and line that may be appended with one pushed batch. Half of what the nursery holds,
    /// so that the longest line there may be fits, too.
    pub(crate) fn batch_bytes_max(&self) -> usize {
        self.nursery.capacity() / 2
    }

    /// Takes segments away from what queries see; the bytes of their files.
    pub(crate) fn forget_segments(&mut self, is_gone: impl Fn(&SegmentEntry) -> bool) -> u64 {
        let mut bytes = 0;
        self.segments.retain(|segment| {
            let gone = is_gone(segment);
            bytes += if gone { segment.file_bytes } else { 0 };
            !gone
        });
        bytes
    }

    /// Segments that queries see, by sequence.
    pub(crate) fn segments(&self) -> &[SegmentEntry] {
        &self.segments
    }

    /// Highest sequence that is on disk and visible.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// Sequence that entries appended now will have on disk.
    pub(crate) fn sequence(&self) -> u64 {
        self.live.sequence
    }

    /// When the oldest entry not frozen was accepted.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.oldest
    }

    /// Positions, including what is not durable yet.
    pub(crate) fn positions(&self) -> Vec<Position> {
        self.positions.list()
    }

    /// Bytes of the pool in use.
    pub(crate) fn used(&self) -> usize {
        self.nursery.used() + self.epochs()
    }

    /// Bytes of the pool.
    pub(crate) fn size(&self) -> usize {
        self.nursery.capacity() + self.budget
    }

    /// Streams with entries not on disk.
    pub(crate) fn streams(&self) -> usize {
        let frozen = self.frozen.as_ref().map_or(0, |f| f.epoch.streams.len());
        self.live.streams.len().max(frozen)
    }

    fn epochs(&self) -> usize {
        self.live.memory() + self.frozen.as_ref().map_or(0, |f| f.epoch.memory())
    }

    /// Bytes of the nursery and raw bytes that a batch needs.
    fn check(&self, batch: &Batch<'_>) -> Result<(usize, u64), AppendError> {
        let invalid = |text: String| Err(AppendError::Invalid(text));
        let longest = LINE_BYTES_MAX.min(self.nursery.capacity() / 2);
        let (mut needed, mut raw) = (0, 0);
        for entry in batch.entries {
            if entry.stream as usize >= batch.streams.len() {
                return invalid(format!(
                    "entry of stream {} of {}",
                    entry.stream,
                    batch.streams.len()
                ));
            }
            if entry.line.len() > longest {
                return invalid(format!(
                    "line of {} bytes exceeds {longest}",
                    entry.line.len()
                ));
            }
            if entry.metadata.as_bytes().len() > LABELS_BYTES_MAX {
                return invalid(format!(
                    "structured metadata of {} bytes exceeds {LABELS_BYTES_MAX}",
                    entry.metadata.as_bytes().len()
                ));
            }
            needed += RECORD_BYTES + entry.line.len();
            raw += entry.line.len() as u64 + 1;
        }
        if needed > self.nursery.capacity() {
            return invalid(format!(
                "batch of {needed} bytes exceeds {}",
                self.nursery.capacity()
            ));
        }
        if let Some(labels) = batch
            .streams
            .iter()
            .find(|l| l.as_bytes().len() > LABELS_BYTES_MAX)
        {
            return invalid(format!(
                "labels of {} bytes exceed {LABELS_BYTES_MAX}",
                labels.as_bytes().len()
            ));
        }
        if let Some(source) = batch.source {
            let position = source.position.map_or(0, <[u8]>::len);
            if source.key.len() > POSITION_KEY_BYTES_MAX || position > POSITION_BYTES_MAX {
                return invalid(format!(
                    "position of {} and {position} bytes is too long",
                    source.key.len()
                ));
            }
            if !self.positions.fits(source.key, source.position) {
                return invalid("the table of positions is full".into());
            }
        }
        Ok((needed, raw))
    }

    /// Makes `needed` bytes free in the nursery. True when an epoch was frozen.
    fn make_room(&mut self, needed: usize) -> Result<bool, AppendError> {
        let broken = |error: io::Error| AppendError::Unavailable(error.to_string());
        if self.frozen.is_none() && self.live.memory() >= self.budget / 16 * FREEZE_SIXTEENTHS {
            return self.freeze(Reason::Size, false).map_err(broken);
        }
        if self.epochs() > self.budget {
            // Tables alone can grow this large: many streams with a line each.
            return self.freeze_or_full(broken);
        }
        if self.live.metas.memory() > self.budget / 4 {
            self.sealer
                .seal(&mut self.nursery, &mut self.live, true)
                .map_err(broken)?;
            self.live.forget_unused_metas();
            if self.live.metas.memory() > self.budget / 4 {
                return self.freeze_or_full(broken);
            }
        }
        if self.nursery.free() >= needed {
            return Ok(false);
        }
        if self.epochs() + self.nursery.used() / 4 > self.budget {
            return self.freeze_or_full(broken);
        }
        for all in [false, true] {
            self.sealer
                .seal(&mut self.nursery, &mut self.live, all)
                .map_err(broken)?;
            if self.nursery.free() >= needed {
                break;
            }
        }
        if self.frozen.is_none() && self.live.memory() >= self.budget / 16 * FREEZE_SIXTEENTHS {
            return self.freeze(Reason::Size, false).map_err(broken);
        }
        Ok(false)
    }

    fn freeze_or_full(
        &mut self,
        broken: impl Fn(io::Error) -> AppendError,
    ) -> Result<bool, AppendError> {
        if self.frozen.is_some() {
            return Err(AppendError::Full);
        }
        self.freeze(Reason::Size, false).map_err(broken)
    }
}
