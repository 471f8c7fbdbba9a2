//! The database file: opening, schema, and the two writers (a flush, and reconciliation).

use std::io;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use wire::{LabelSet, Labels};
use xxhash_rust::xxh3::xxh3_64;

use super::{IndexError, Known, SegmentKey, ids};

/// Marks the file as ours ("drup").
const APPLICATION_ID: i32 = 0x6472_7570;
/// Schema version. A database of any other version is rebuilt, so there are no migrations.
const VERSION: i32 = 1;
/// Page cache. More only helps with very many streams; the kernel caches the file anyway.
const CACHE_KIB: i32 = 256;
/// Pages in the write-ahead log before it is folded into the database: a flush adds about four, so this syncs about
/// once a day, and the log read at start stays below 1 MiB.
const CHECKPOINT_PAGES: i32 = 256;

const SCHEMA: &str = "
CREATE TABLE streams(id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, labels BLOB NOT NULL);
CREATE INDEX streams_hash ON streams(hash);
CREATE TABLE vals(name TEXT NOT NULL, value TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY(name, value)) WITHOUT ROWID;
CREATE TABLE pairs(val INTEGER NOT NULL, stream INTEGER NOT NULL, PRIMARY KEY(val, stream)) WITHOUT ROWID;
CREATE TABLE segments(sequence INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, streams BLOB NOT NULL, sum INTEGER NOT NULL);
";

/// Opens or creates the database file; any error means that it should be replaced.
pub(super) fn open(path: &Path) -> Result<Connection, IndexError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    prepare(Connection::open_with_flags(path, flags)?)
}

/// A database for a disk that SQLite cannot use.
pub(super) fn open_in_memory() -> Result<Connection, IndexError> {
    prepare(Connection::open_in_memory()?)
}

fn prepare(mut c: Connection) -> Result<Connection, IndexError> {
    // The data directory is locked by us, so another user of the file is a stranger: do not wait for it.
    c.busy_timeout(std::time::Duration::ZERO)?;
    c.set_prepared_statement_cache_capacity(24);
    // Exclusive before the first access: then the log's index lives in memory, not in a shared file.
    c.execute_batch(&format!(
        "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;
         PRAGMA cache_size=-{CACHE_KIB}; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY;
         PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}; PRAGMA journal_size_limit=1048576;
         PRAGMA foreign_keys=OFF;"
    ))?;
    let tables: i64 = c.query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))?;
    if tables == 0 {
        let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
        t.execute_batch(SCHEMA)?;
        t.pragma_update(None, "application_id", APPLICATION_ID)?;
        t.pragma_update(None, "user_version", VERSION)?;
        t.commit()?;
        return Ok(c);
    }
    let application: i32 = c.query_row("PRAGMA application_id", [], |r| r.get(0))?;
    let version: i32 = c.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    if application != APPLICATION_ID || version != VERSION {
        return Err(IndexError::Damaged("another application's or version's"));
    }
    let check: String = c.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
    if check != "ok" {
        return Err(IndexError::Damaged("integrity check failed"));
    }
    Ok(c)
}

/// See [`Index::reconcile`](super::Index::reconcile).
pub(super) fn reconcile(
    c: &mut Connection,
    segments: &[SegmentKey],
    streams: &mut dyn FnMut(SegmentKey) -> io::Result<Vec<LabelSet>>,
) -> Result<(), IndexError> {
    let mut known = known(c)?;
    let missing: Vec<SegmentKey> = segments
        .iter()
        .filter(|s| known.remove(&s.sequence) != Some(s.stamp))
        .copied()
        .collect();
    if missing.is_empty() && known.is_empty() {
        return Ok(());
    }
    let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for sequence in known.keys() {
        t.prepare_cached("DELETE FROM segments WHERE sequence = ?1")?
            .execute([*sequence as i64])?;
    }
    for segment in missing {
        match streams(segment) {
            Ok(sets) => insert(&t, segment, &mut sets.iter().map(LabelSet::as_ref))?,
            Err(error) => {
                tracing::warn!(sequence = segment.sequence, %error, "segment cannot be indexed");
                t.prepare_cached("DELETE FROM segments WHERE sequence = ?1")?
                    .execute([segment.sequence as i64])?;
            }
        }
    }
    t.commit()?;
    Ok(())
}

/// See [`Index::committed`](super::Index::committed).
pub(super) fn add_segment<'a>(
    c: &mut Connection,
    segment: SegmentKey,
    streams: &mut dyn Iterator<Item = Labels<'a>>,
) -> Result<(), IndexError> {
    let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
    insert(&t, segment, streams)?;
    t.commit()?;
    Ok(())
}

fn known(c: &Connection) -> Result<Known, IndexError> {
    let mut statement = c.prepare_cached("SELECT sequence, stamp FROM segments")?;
    let rows = statement.query_map([], |r| {
        Ok((r.get::<_, i64>(0)? as u64, r.get::<_, i64>(1)? as u64))
    })?;
    Ok(rows.collect::<Result<Known, _>>()?)
}

fn insert<'a>(
    c: &Connection,
    segment: SegmentKey,
    streams: &mut dyn Iterator<Item = Labels<'a>>,
) -> Result<(), IndexError> {
    let mut all = Vec::new();
    for labels in streams {
        all.push(match find(c, labels)? {
            Some(id) => id,
            None => create(c, labels)?,
        });
    }
    let blob = ids::encode(&all);
    let sum = row_sum(segment, &blob);
    c.prepare_cached(
        "INSERT OR REPLACE INTO segments(sequence, stamp, streams, sum) VALUES(?1, ?2, ?3, ?4)",
    )?
    .execute(params![
        segment.sequence as i64,
        segment.stamp as i64,
        blob,
        sum as i64
    ])?;
    Ok(())
}

/// Checksum of a segment's row; its key is part of it.
pub(super) fn row_sum(segment: SegmentKey, blob: &[u8]) -> u64 {
    xxh3_64(blob) ^ segment.stamp.rotate_left(17) ^ segment.sequence
}

fn find(c: &Connection, labels: Labels<'_>) -> Result<Option<u32>, IndexError> {
    let mut statement = c.prepare_cached("SELECT id, labels FROM streams WHERE hash = ?1")?;
    let mut rows = statement.query([labels.hash64() as i64])?;
    while let Some(row) = rows.next()? {
        // Two label sets may share a hash.
        if row.get_ref(1)?.as_bytes().ok() == Some(labels.as_bytes()) {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

fn create(c: &Connection, labels: Labels<'_>) -> Result<u32, IndexError> {
    c.prepare_cached("INSERT INTO streams(hash, labels) VALUES(?1, ?2)")?
        .execute(params![labels.hash64() as i64, labels.as_bytes()])?;
    let id = u32::try_from(c.last_insert_rowid())
        .map_err(|_| IndexError::Damaged("stream ids used up"))?;
    for (name, value) in labels.iter() {
        let val = value_id(c, name, value)?;
        c.prepare_cached("INSERT OR IGNORE INTO pairs(val, stream) VALUES(?1, ?2)")?
            .execute(params![val, id])?;
    }
    Ok(id)
}

fn value_id(c: &Connection, name: &str, value: &str) -> Result<i64, IndexError> {
    let found: Option<i64> = c
        .prepare_cached("SELECT id FROM vals WHERE name = ?1 AND value = ?2")?
        .query_row([name, value], |r| r.get(0))
        .optional()?;
    if let Some(id) = found {
        return Ok(id);
    }
    // Pairs are only added, so the highest pair names the highest id in use.
    let next: i64 = c
        .prepare_cached("SELECT coalesce(max(val), 0) + 1 FROM pairs")?
        .query_row([], |r| r.get(0))?;
    c.prepare_cached("INSERT INTO vals(name, value, id) VALUES(?1, ?2, ?3)")?
        .execute(params![name, value, next])?;
    Ok(next)
}
