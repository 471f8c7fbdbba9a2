//! The push log: entries without a file behind them, on the device before they are acknowledged (promise P2), and the
//! unflushed entries of containers that ended, whose files may vanish.
//!
//! # Writing
//!
//! - Records (module [`record`]) follow each other in a ring of fixed size (module [`ring`]). Entries go to the head and
//!   the record's number to the table of positions under one lock; then the record goes to the page cache, outside that
//!   lock: a stalled write stalls neither tailing nor queries. Only then is a push answered, so `kill -9` loses nothing.
//! - A thread of its own syncs the file `push_sync_interval` after the first record that is not on the device. After a
//!   sync the next record begins at the next block: **a block that was synced is not written to again** before a segment
//!   covers what it holds, because a torn write would destroy what was acknowledged.
//! - A record is *covered* when a segment holds what it holds. Its room is used again then. Three quarters full, the log
//!   asks for a flush; without room pushes wait for one.
//! - After a write or sync failed nothing is written to the file any more: pushes are refused until a flush has covered all
//!   there was, then the file is made anew. Both happen by themselves.
//!
//! # Starting again
//!
//! See [`replay`]. Evidence is the chain of records that begins where the newest segment's table of positions says, and
//! each of which names the one before it by hash.
//!
//! # Locks
//!
//! In this order: `pushes` (one push at a time, while duplicates are looked for), `writer` (one record at a time), the
//! head's, `shared`. The last two are never held during I/O.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

mod push;
mod record;
mod replay;
mod ring;
mod secure;
mod sync;

use crate::api::AppendError;
use crate::block::Encoder;
use crate::limits::ZSTD_LEVEL;
use crate::query::duplicates::Seen;
use crate::store::{Inner, State};
pub(crate) use record::Tip;
use record::{HEADER_BYTES, Header, Kind, RAW_BYTES_MAX};
pub(crate) use replay::{Found, replay, scan};
use ring::{BLOCK, Grow, Ring, align};
pub(crate) use sync::sync;

/// Key of the log's own position in the table of positions.
pub(crate) const KEY: &[u8] = b"push";
/// Share of the ring that one record may take: several must fit, or each would wait for a flush.
const RECORD_SHARE: u64 = 4;
/// Buffers are cut down to this between records.
const KEPT_BYTES_MAX: usize = 64 << 10;

/// What became of a push.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// Entries that were there already, and were not stored again.
    pub duplicates: u64,
    /// What to wait for with [`Store::synced`](crate::api::Store::synced).
    pub ticket: u64,
}

/// Counters of the push log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PushLogStats {
    /// Bytes of the ring that hold what no segment covers.
    pub used: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Records written.
    pub records: u64,
    /// Syncs that succeeded.
    pub syncs: u64,
    /// Times that a write or sync failed and the file was given up.
    pub failures: u64,
    /// Records whose content was taken over at the start.
    pub replayed_records: u64,
    /// Entries of those records.
    pub replayed_entries: u64,
    /// Records, or sources in them, that could not be taken over.
    pub skipped: u64,
    /// Pushed entries that were there already.
    pub duplicates: u64,
    /// Pushed entries not looked for in older blocks, because that was too much work.
    pub unchecked: u64,
    /// Sources whose unflushed entries were written to the log.
    pub secured_sources: u64,
    /// Those entries.
    pub secured_entries: u64,
    /// Times that a flush was asked for instead, because there were too many.
    pub secured_by_flush: u64,
}

/// The log of one store. Nothing is allocated and no file made before the first record.
#[derive(Debug)]
pub(crate) struct PushLog {
    dir: PathBuf,
    /// Bytes of the ring when it is made anew.
    capacity: u64,
    interval: Duration,
    /// Names this process in its records.
    process: u64,
    pushes: Mutex<Seen>,
    writer: Mutex<Writer>,
    shared: Mutex<Shared>,
    /// Wakes the thread that syncs.
    wake: Condvar,
    /// A sync ended, well or not.
    synced: tokio::sync::Notify,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// Where the next record goes.
#[derive(Debug, Default)]
struct Writer {
    ring: Option<Ring>,
    tip: Tip,
    /// Logical offset of the next record.
    offset: u64,
    /// What lies before is free, even if no segment says so: the ring was begun anew here.
    base: u64,
    encoder: Option<Encoder>,
    raw: Vec<u8>,
    record: Vec<u8>,
}

/// What is known without the writer.
#[derive(Debug, Default)]
struct Shared {
    /// Number of the last record in the page cache.
    written: u64,
    /// Number of the last record on the device.
    synced: u64,
    /// When the oldest record was written that is not.
    unsynced: Option<Instant>,
    /// The thread waits for one more record to take along.
    lingers: bool,
    /// Why the file was given up.
    failure: Option<String>,
    closed: bool,
    /// Where the ring is written next, and where its used part begins at the earliest.
    end: u64,
    base: u64,
    stats: PushLogStats,
}

/// Most bytes of an unpacked body.
fn raw_bytes_max(capacity: u64) -> usize {
    RAW_BYTES_MAX.min((capacity / RECORD_SHARE) as usize - HEADER_BYTES - BLOCK as usize)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic while one was held is a bug of ours; numbers are set after what they stand for is done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PushLog {
    /// A log in a data directory, with `size` bytes at most; `found` is what [`scan`] saw of it.
    pub(crate) fn new(dir: PathBuf, size: usize, interval: Duration, found: &mut Found) -> PushLog {
        let mut writer = Writer {
            tip: found.tip,
            base: found.base,
            ..Writer::default()
        };
        writer.offset = align(writer.tip.offset, BLOCK);
        let capacity = ring::capacity_of(size);
        let mut shared = Shared {
            written: found.tip.number,
            // A process that was killed may not have synced what is taken over.
            synced: found.begin.number,
            base: found.base,
            ..Shared::default()
        };
        shared.stats.skipped = found.skipped;
        // A file of another size stays as long as it holds something.
        let keep = |ring: &Ring| ring.capacity() == capacity || found.replays();
        if let Some(ring) = found.ring.clone().filter(keep) {
            shared.stats.size = ring.size();
            writer.ring = Some(ring);
        }
        shared.end = writer.offset;
        PushLog {
            dir,
            capacity,
            interval,
            process: random(),
            pushes: Mutex::default(),
            writer: Mutex::new(writer),
            shared: Mutex::new(shared),
            wake: Condvar::new(),
            synced: tokio::sync::Notify::new(),
            thread: Mutex::default(),
        }
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        lock(&self.shared)
    }

    /// Counters; `durable` is the head's.
    pub(crate) fn stats(&self, durable: Tip) -> PushLogStats {
        let shared = self.shared();
        let begin = durable.offset.max(shared.base);
        let covered = durable.number >= shared.written;
        PushLogStats {
            used: if covered {
                0
            } else {
                shared.end.saturating_sub(begin)
            },
            ..shared.stats
        }
    }

    /// Writes a record: `encode` makes its body and gives the number of entries, `apply` puts them into the head and
    /// gives whether the flush thread has to know. Gives the record's number.
    ///
    /// # Errors
    /// Those of `apply`; [`AppendError::Full`] without room in the ring. When [`AppendError::Unavailable`] comes from the
    /// last step, the entries are in the head nevertheless; whoever sends them again will not have them stored twice.
    fn append(
        &self,
        inner: &Arc<Inner>,
        kind: Kind,
        encode: impl FnOnce(&mut Vec<u8>) -> u32,
        apply: impl FnOnce(&mut State) -> Result<bool, AppendError>,
    ) -> Result<u64, AppendError> {
        let mut writer = lock(&self.writer);
        self.make_ready(inner, &mut writer)?;
        let entries = encode(&mut writer.raw);
        let header = self.pack(&mut writer, kind, entries)?;
        let start = self.reserve(inner, &mut writer)?;
        let wake = {
            let mut state = inner.lock();
            let mut wake = apply(&mut state)?;
            let header = Header {
                epoch: state.head.sequence(),
                offset: writer.offset,
                ..header
            };
            writer.seal(&header);
            state.head.set_tip(writer.tip);
            let capacity = writer.ring().capacity();
            if writer.tip.offset - start > capacity / 4 * 3 {
                wake |= state.want_flush();
            }
            wake
        };
        if wake {
            inner.wake.notify_one();
        }
        self.write(inner, &mut writer)?;
        let number = writer.tip.number;
        drop(writer);
        sync::start(inner);
        Ok(number)
    }

    /// Fails while the file is given up and not everything that was meant for it is covered.
    fn check(&self, inner: &Inner, writer: &Writer) -> Result<(), AppendError> {
        let Some(reason) = self.shared().failure.clone() else {
            return Ok(());
        };
        let mut state = inner.lock();
        if state.head.durable().number >= writer.tip.number {
            return Ok(());
        }
        state.refuse();
        if state.want_flush() {
            inner.wake.notify_one();
        }
        Err(AppendError::Unavailable(reason))
    }

    /// Makes the file if there is none, and again after a failure once everything is covered.
    fn make_ready(&self, inner: &Inner, writer: &mut Writer) -> Result<(), AppendError> {
        self.check(inner, writer)?;
        if self.shared().failure.is_some() {
            writer.ring = None;
        }
        if let Some(ring) = &writer.ring {
            // Configured anew: a file of the old size was kept as long as it held something.
            let outdated = ring.capacity() != self.capacity;
            if !outdated || inner.lock().head.durable().number < writer.tip.number {
                return Ok(());
            }
        }
        let ring = Ring::create(&*inner.disk, &self.dir, self.capacity).map_err(|e| {
            let path = self.dir.join(ring::NAME);
            AppendError::Unavailable(format!("cannot create `{}`: {e}", path.display()))
        })?;
        writer.begin_anew(ring.capacity());
        let mut shared = self.shared();
        shared.stats.size = ring.size();
        shared.base = writer.base;
        shared.synced = writer.tip.number;
        shared.written = writer.tip.number;
        if shared.failure.take().is_some() {
            tracing::info!("the push log was made anew");
        }
        writer.ring = Some(ring);
        Ok(())
    }

    /// Packs the body; the header has no place and no epoch yet.
    fn pack(&self, writer: &mut Writer, kind: Kind, entries: u32) -> Result<Header, AppendError> {
        let (raw, most) = (writer.raw.len(), raw_bytes_max(writer.ring().capacity()));
        if raw > most {
            writer.raw = Vec::new();
            return Err(AppendError::Invalid(format!(
                "batch of {raw} bytes exceeds the {most} that a record of the push log may have (push_log_size)"
            )));
        }
        let broken = |e: std::io::Error| AppendError::Unavailable(format!("cannot compress: {e}"));
        let encoder = match &mut writer.encoder {
            Some(encoder) => encoder,
            None => writer
                .encoder
                .insert(Encoder::new(ZSTD_LEVEL).map_err(broken)?),
        };
        writer.record.clear();
        writer.record.resize(HEADER_BYTES, 0);
        encoder
            .pack(&writer.raw, &mut writer.record)
            .map_err(broken)?;
        writer.raw.clear();
        writer.raw.shrink_to(KEPT_BYTES_MAX);
        let body = &writer.record[HEADER_BYTES..];
        Ok(Header {
            kind,
            number: writer.tip.number + 1,
            offset: 0,
            previous: writer.tip.hash,
            process: self.process,
            epoch: 0,
            stored: body.len() as u32,
            raw: raw as u32,
            entries,
            body: record::hash(body),
        })
    }

    /// Finds room for the packed record, in the ring and in the file. Gives where the used part of the ring begins.
    fn reserve(&self, inner: &Inner, writer: &mut Writer) -> Result<u64, AppendError> {
        let capacity = writer.ring().capacity();
        let durable = inner.lock().head.durable();
        if durable.number == writer.tip.number {
            // Nothing in it is needed any more: the file of a quiet node stays small.
            writer.begin_anew(capacity);
            self.shared().base = writer.base;
        }
        let start = durable.offset.max(writer.base);
        let len = writer.record.len();
        if align(writer.offset + len as u64, BLOCK) - start > capacity {
            let mut state = inner.lock();
            state.refuse();
            if state.want_flush() {
                inner.wake.notify_one();
            }
            return Err(AppendError::Full);
        }
        let offset = writer.offset;
        if writer.ring().must_grow(offset, len) {
            let ring = writer.ring.as_mut().expect("made ready");
            let grown = ring.grow(offset, len);
            let size = ring.size();
            match grown {
                Ok(()) => self.shared().stats.size = size,
                Err(Grow::Write(e)) if e.kind() == std::io::ErrorKind::StorageFull => {
                    let text = format!("no space for the push log to grow: {e}");
                    return Err(AppendError::Unavailable(text));
                }
                Err(Grow::Write(e) | Grow::Sync(e)) => return Err(self.give_up(inner, &e)),
            }
        }
        Ok(start)
    }

    /// Writes the sealed record to the page cache.
    fn write(&self, inner: &Inner, writer: &mut Writer) -> Result<(), AppendError> {
        let offset = writer.offset;
        writer.offset = writer.tip.offset;
        // Up to the end of its block: then the kernel need not read a block that is not in its cache.
        let padded = align(writer.offset, BLOCK) - offset;
        let mut record = std::mem::take(&mut writer.record);
        record.resize(padded as usize, 0);
        let written = writer.ring().write(&record, offset);
        record.clear();
        record.shrink_to(KEPT_BYTES_MAX);
        writer.record = record;
        if let Err(e) = written {
            return Err(self.give_up(inner, &e));
        }
        let mut shared = self.shared();
        shared.written = writer.tip.number;
        shared.end = writer.offset;
        shared.stats.records += 1;
        if shared.unsynced.is_none() {
            shared.unsynced = Some(Instant::now());
            self.wake.notify_one();
        } else if shared.lingers {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// After a failed write or sync, with the writer held: everything acknowledged has to get into a segment.
    fn give_up(&self, inner: &Inner, error: &std::io::Error) -> AppendError {
        let reason = format!("the push log cannot be written: {error}");
        tracing::error!(%error, dir = %self.dir.display(), "push log given up; a flush and a new file replace it");
        {
            let mut state = inner.lock();
            state.refuse();
            state.want_flush_of_all();
        }
        inner.wake.notify_one();
        let mut shared = self.shared();
        shared.stats.failures += 1;
        shared.unsynced = None;
        shared.failure = Some(reason.clone());
        drop(shared);
        self.synced.notify_waiters();
        AppendError::Unavailable(reason)
    }
}

impl Writer {
    fn ring(&self) -> &Ring {
        self.ring.as_ref().expect("made ready before anything else")
    }

    /// Goes on at the front of the ring.
    fn begin_anew(&mut self, capacity: u64) {
        self.offset = align(self.tip.offset, capacity);
        self.base = self.offset;
    }

    /// Gives the record its header; the chain ends with it.
    fn seal(&mut self, header: &Header) {
        let bytes = header.encode();
        self.record[..HEADER_BYTES].copy_from_slice(&bytes);
        self.tip = Tip {
            number: header.number,
            offset: header.offset + self.record.len() as u64,
            hash: record::hash(&bytes[..HEADER_BYTES - 8]),
        };
    }
}

/// A number that no other process has.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    // Keyed by the operating system's random numbers.
    RandomState::new().build_hasher().finish()
}
