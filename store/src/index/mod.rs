//! The index: which label sets exist, and which of them each segment holds. SQLite lives only here.
//!
//! It is a cache (promise P3). Everything in it is read from segment footers and can be read again, so no fault of
//! it ever fails a start, a flush or a query:
//!
//! - a database that is missing, foreign, of another version, locked or damaged is deleted and rebuilt at start;
//! - a fault while running sets it aside ([`Index::stale`]) until the next [`Index::reconcile`]; queries
//!   then read the label sets from the segments themselves, which is slower and answers the same;
//! - a segment without a row is such a case, for that segment alone.
//!
//! One connection behind a mutex. With `locking_mode=EXCLUSIVE` the write-ahead log needs no shared-memory file and
//! nobody else can change the database; the price is that readers wait for the writer. Critical sections are lookups
//! of microseconds and one transaction a flush; while that transaction (or the checkpoint after it, which syncs)
//! runs, queries do not wait for it but take the slower way (promise P6).
//!
//! | table | key | columns |
//! |---|---|---|
//! | `vals` | name, value | id: one row for each distinct label pair |
//! | `texts` | part | names and values of 64 pairs by id, sum (see `texts`) |
//! | `streams` | id | hash (64-bit hash of the label set), vals (varint ids of its pairs, in order) |
//! | `hashes` | hash, stream | |
//! | `pairs` | val, part | streams that have the pair, of 512 ids that follow each other |
//! | `segments` | sequence | stamp (identity of the file's content), streams (ids in ordinal order), pairs (set of the ids of their pairs), sum |
//! | `groups` | level, number | members, streams and pairs (sets) of 8^level segments together, sum (see `groups`) |
//!
//! A segment is one row whatever the number of streams, so that a flush writes a few pages: ids are runs and zigzag varint
//! deltas (`ids`), sets of ids are bitmaps (`set`), with a checksum, because SQLite does not check its pages.

#[cfg(test)]
mod group_tests;
mod groups;
mod ids;
mod lookup;
mod remove;
mod schema;
mod set;
#[cfg(test)]
mod tests;
mod texts;
mod verify;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use disk::Disk;
pub(crate) use groups::Union;
use logql::matcher::Matcher;
use rusqlite::Connection;
pub(crate) use set::IdSet;
use wire::{LabelSet, Labels};

use crate::head::Sets;
use crate::segment::{Reader, SegmentEntry, SegmentSink};

/// File name of the database inside the data directory.
pub const FILE_NAME: &str = "index.sqlite";

/// Names one segment to the index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentKey {
    /// Its sequence.
    pub sequence: u64,
    /// Changes when the file's content does: a folder may have been replaced by a backup with the same names.
    pub stamp: u64,
}

impl From<&SegmentEntry> for SegmentKey {
    fn from(entry: &SegmentEntry) -> SegmentKey {
        SegmentKey {
            sequence: entry.sequence,
            stamp: entry.stamp,
        }
    }
}

/// Why a lookup gave nothing; callers read the segments instead.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IndexError {
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("damaged row: {0}")]
    Damaged(&'static str),
}

impl IndexError {
    fn is_full(&self) -> bool {
        let code = match self {
            IndexError::Sqlite(e) => e.sqlite_error_code(),
            IndexError::Damaged(_) => None,
        };
        code == Some(rusqlite::ErrorCode::DiskFull)
    }
}

/// The index. See the module documentation.
#[derive(Debug)]
pub struct Index {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    connection: Mutex<Option<Connection>>,
    writing: AtomicBool,
    stale: AtomicBool,
    rebuilds: AtomicU64,
    /// Read by queries for as long as they know ids, written while ids are dropped: a dropped id may be given again.
    ids: RwLock<()>,
    /// Pairs read last. Locked after the connection.
    cache: Mutex<lookup::PairCache>,
}

/// The label sets of a segment: each once, and their order.
#[derive(Debug, Default)]
pub(crate) struct SetList {
    sets: Sets,
    order: Vec<u32>,
}

impl SetList {
    fn new<'a>(streams: impl Iterator<Item = Labels<'a>>) -> SetList {
        let mut list = SetList::default();
        streams.for_each(|labels| list.push(labels));
        list
    }

    fn push(&mut self, labels: Labels<'_>) {
        let number = self.sets.intern(labels.as_bytes());
        self.order.push(number);
    }
}

impl Index {
    /// Opens or creates the database in `dir`. Never fails: at worst the index gives nothing.
    #[must_use]
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Index {
        let path = dir.join(FILE_NAME);
        let index = Index {
            disk,
            path,
            connection: Mutex::new(None),
            writing: AtomicBool::new(false),
            stale: AtomicBool::new(true),
            rebuilds: AtomicU64::new(0),
            ids: RwLock::new(()),
            cache: Mutex::default(),
        };
        let connection = index.connect();
        *index.lock() = connection;
        index
    }

    /// Brings the rows in line with the segments on disk: rows of vanished or changed files go, missing ones are
    /// filled by `streams`, which gives the label sets of one segment in ordinal order. A segment that cannot be
    /// read is left without a row.
    pub fn reconcile(
        &self,
        segments: &[SegmentKey],
        mut streams: impl FnMut(SegmentKey) -> io::Result<Vec<LabelSet>>,
    ) {
        let _writing = Writing::start(&self.writing);
        for attempt in 0..2 {
            let mut guard = self.lock();
            if guard.is_none() {
                *guard = self.connect();
            }
            let Some(connection) = guard.as_mut() else {
                return;
            };
            match schema::reconcile(connection, segments, &mut streams) {
                Ok(()) => {
                    self.stale.store(false, Ordering::Relaxed);
                    return;
                }
                // A new one would find no space either; until there is some, segments without a row are read.
                Err(e) if e.is_full() => return self.set_stale("write", &e),
                Err(e) if attempt == 0 => {
                    tracing::warn!(file = %self.path.display(), error = %e, "index is unusable, rebuilding it from the segments");
                    *guard = None;
                    self.delete_files();
                }
                Err(e) => {
                    *guard = None;
                    self.set_stale("rebuild", &e);
                }
            }
        }
    }

    /// Records a new segment: one transaction. When it fails the segment stays without a row and
    /// [`Index::stale`] says so.
    pub fn committed<'a>(
        &self,
        segment: SegmentKey,
        streams: &mut dyn Iterator<Item = Labels<'a>>,
    ) {
        self.add(segment, &SetList::new(streams));
    }

    fn add(&self, segment: SegmentKey, streams: &SetList) {
        let _writing = Writing::start(&self.writing);
        let mut guard = self.lock();
        let Some(connection) = guard.as_mut() else {
            self.stale.store(true, Ordering::Relaxed);
            return;
        };
        if let Err(e) = schema::add_segment(connection, segment, streams) {
            self.set_stale("add a segment", &e);
        }
    }

    /// Forgets removed segments, and streams that no other has unless a query holds ids now; a later call drops those.
    pub(crate) fn removed(&self, sequences: &[u64]) {
        let _writing = Writing::start(&self.writing);
        let ids = match self.ids.try_write() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        let mut guard = self.lock();
        let Some(connection) = guard.as_mut() else {
            return;
        };
        if let Err(e) = remove::remove(connection, sequences, ids.is_some()) {
            // A row too many is no fault; the next reconciliation takes it away.
            self.set_stale("remove segments", &e);
        }
        let cache = self.cache.lock();
        cache.unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Keeps ids from being dropped while they are in use; `None` while that is under way.
    pub(crate) fn hold_ids(&self) -> Option<RwLockReadGuard<'_, ()>> {
        match self.ids.try_read() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(guard)) => Some(guard.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Deletes the database; the next [`Index::reconcile`] rebuilds it.
    pub fn discard(&self) {
        let mut guard = self.lock();
        *guard = None;
        self.delete_files();
        self.stale.store(true, Ordering::Relaxed);
    }

    /// Whether something is missing that [`Index::reconcile`] would heal.
    #[must_use]
    pub fn stale(&self) -> bool {
        self.stale.load(Ordering::Relaxed)
    }

    /// How often the database was found unusable and replaced, since this index was opened.
    #[must_use]
    pub fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Relaxed)
    }

    /// Ids of the streams that satisfy all matchers, rising; `None`: not usable now.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> Option<Vec<u32>> {
        self.read("select", |c| lookup::select(c, matchers))
    }

    /// Stream ids of one segment in ordinal order; `None`: it has no (good) row.
    pub(crate) fn segment(&self, key: SegmentKey) -> Option<Vec<u32>> {
        self.read("read a segment's row", |c| lookup::segment(c, key))
            .flatten()
    }

    /// The label set of a stream.
    pub(crate) fn labels(&self, id: u32) -> Option<LabelSet> {
        self.read("read a stream", |c| {
            let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
            lookup::labels(c, &mut cache, id)
        })
    }

    /// Label sets of some streams, ids rising. Takes memory for the labels of all of them.
    pub(crate) fn label_sets(&self, ids: &[u32]) -> Option<Vec<LabelSet>> {
        self.read("read streams", |c| lookup::label_sets(c, ids))
    }

    /// Adds what segments (by sequence, each with streams) have together; one that has no (good) row is handed to `missing`.
    ///
    /// # Errors
    /// Those of `missing`.
    pub(crate) fn union<E>(
        &self,
        keys: &[SegmentKey],
        out: &mut Union,
        missing: &mut dyn FnMut(SegmentKey) -> Result<(), E>,
    ) -> Result<(), E> {
        groups::walk(keys, groups::LEVELS, &mut |level, part| {
            // One row at a time: a writer does not wait for all of it.
            let found = self.read("read a row", |c| groups::add(c, level, part, out)) == Some(true);
            if !found && level == 0 {
                missing(part[0])?;
            }
            Ok(found)
        })
    }

    /// Label pairs of some streams.
    pub(crate) fn pairs(&self, streams: &IdSet) -> Option<IdSet> {
        self.read("read streams", |c| lookup::pairs(c, streams))
    }

    /// Names of label pairs, sorted.
    pub(crate) fn names(&self, pairs: &IdSet) -> Option<Vec<String>> {
        self.read("list names", |c| lookup::names(c, pairs))
    }

    /// Values that one label has in label pairs, sorted.
    pub(crate) fn values(&self, name: &str, pairs: &IdSet) -> Option<Vec<String>> {
        self.read("list values", |c| lookup::values(c, name, pairs))
    }

    fn read<T>(
        &self,
        action: &'static str,
        f: impl FnOnce(&Connection) -> Result<T, IndexError>,
    ) -> Option<T> {
        if self.writing.load(Ordering::Relaxed) {
            return None;
        }
        let mut guard = self.lock();
        let connection = guard.as_ref()?;
        match f(connection) {
            Ok(v) => Some(v),
            Err(e) => {
                *guard = None;
                self.delete_files();
                self.set_stale(action, &e);
                None
            }
        }
    }

    fn set_stale(&self, action: &'static str, error: &IndexError) {
        self.stale.store(true, Ordering::Relaxed);
        tracing::warn!(file = %self.path.display(), action, %error,
            "index failed; queries read the segments instead until it is rebuilt");
    }

    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        // A panic inside SQLite's wrapper leaves no half state of ours: transactions roll back when dropped.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn connect(&self) -> Option<Connection> {
        let Some(path) = self.disk.real_path(&self.path) else {
            return schema::open_in_memory().ok();
        };
        match schema::open(&path) {
            Ok(connection) => return Some(connection),
            Err(e) => {
                tracing::warn!(file = %path.display(), error = %e, "index is unusable, rebuilding it from the segments");
                self.rebuilds.fetch_add(1, Ordering::Relaxed);
                self.delete_files();
            }
        }
        schema::open(&path)
            .inspect_err(|error| {
                tracing::warn!(file = %path.display(), %error, "no index; queries read the segments instead");
            })
            .ok()
    }

    fn delete_files(&self) {
        // Ids are given anew.
        self.cache
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        for suffix in ["", "-wal", "-shm", "-journal"] {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            match self.disk.remove(Path::new(&name)) {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::warn!(file = %name.display(), %error, "cannot delete the index");
                }
            }
        }
    }
}

impl SegmentSink for Index {
    fn renamed(&self, reader: &Reader) {
        let key = SegmentKey::from(&SegmentEntry::of(reader));
        let mut list = SetList::default();
        let read = reader.each_stream(&mut |labels| match labels {
            Some(labels) => list.push(labels),
            None => list = SetList::default(),
        });
        match read {
            Ok(()) => self.add(key, &list),
            Err(error) => {
                tracing::warn!(sequence = key.sequence, %error, "segment cannot be indexed");
                self.stale.store(true, Ordering::Relaxed);
            }
        }
    }
}

/// Marks that a write is under way for as long as it lives.
struct Writing<'a>(&'a AtomicBool);

impl<'a> Writing<'a> {
    fn start(flag: &'a AtomicBool) -> Writing<'a> {
        flag.store(true, Ordering::Relaxed);
        Writing(flag)
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What the table of segments holds, by sequence.
pub(crate) type Known = HashMap<u64, u64>;
