//! The database file: opening, schema, and the two writers (a flush, and reconciliation).

use std::io;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, TransactionBehavior, params};
use wire::{LabelSet, Labels};
use xxhash_rust::xxh3::xxh3_64;

use super::ids::ID_MAX;
use super::set::IdSet;
use super::{IndexError, Known, SegmentKey, SetList, groups, ids, texts};
use crate::codec::put_varint;
use crate::head::Sets;

/// Marks the file as ours ("drup").
const APPLICATION_ID: i32 = 0x6472_7570;
/// Schema version. A database of any other version is rebuilt, so there are no migrations.
const VERSION: i32 = 2;
/// Page cache. More only helps with very many streams; the kernel caches the file anyway.
const CACHE_KIB: i32 = 256;
/// Pages in the write-ahead log before it is folded into the database: a flush adds about four, so this syncs about
/// once a day, and the log read at start stays below 1 MiB.
const CHECKPOINT_PAGES: i32 = 256;

/// Stream ids in one row of `pairs`: a pair of ten thousand streams has some twenty rows, one of which a new stream
/// changes.
pub(super) const PART_STREAMS: u32 = 512;

const SCHEMA: &str = "
CREATE TABLE streams(id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, vals BLOB NOT NULL);
CREATE TABLE hashes(hash INTEGER NOT NULL, stream INTEGER NOT NULL, PRIMARY KEY(hash, stream)) WITHOUT ROWID;
CREATE TABLE vals(name TEXT NOT NULL, value TEXT NOT NULL, id INTEGER NOT NULL, PRIMARY KEY(name, value)) WITHOUT ROWID;
CREATE TABLE texts(part INTEGER PRIMARY KEY, pairs BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE pairs(val INTEGER NOT NULL, part INTEGER NOT NULL, streams BLOB NOT NULL, PRIMARY KEY(val, part)) WITHOUT ROWID;
CREATE TABLE segments(sequence INTEGER PRIMARY KEY, stamp INTEGER NOT NULL, streams BLOB NOT NULL, pairs BLOB NOT NULL, sum INTEGER NOT NULL);
CREATE TABLE groups(level INTEGER NOT NULL, number INTEGER NOT NULL, members INTEGER NOT NULL, streams BLOB NOT NULL, pairs BLOB NOT NULL, sum INTEGER NOT NULL, PRIMARY KEY(level, number)) WITHOUT ROWID;
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
    super::verify::verify(&c)?;
    Ok(c)
}

/// See [`Index::reconcile`](super::Index::reconcile).
pub(super) fn reconcile(
    c: &mut Connection,
    segments: &[SegmentKey],
    streams: &mut dyn FnMut(SegmentKey) -> io::Result<Vec<LabelSet>>,
) -> Result<(), IndexError> {
    let mut known = known(c)?;
    let mut missing: Vec<SegmentKey> = segments
        .iter()
        .filter(|s| known.remove(&s.sequence) != Some(s.stamp))
        .copied()
        .collect();
    // Streams of a segment that came with it have ids that follow each other.
    missing.sort_unstable_by_key(|segment| segment.sequence);
    if missing.is_empty() && known.is_empty() {
        return Ok(());
    }
    let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for sequence in known.keys() {
        delete_segment(&t, *sequence)?;
    }
    for segment in missing {
        match streams(segment) {
            Ok(sets) => {
                let list = SetList::new(sets.iter().map(LabelSet::as_ref));
                insert(&t, segment, &list)?;
            }
            Err(error) => {
                tracing::warn!(sequence = segment.sequence, %error, "segment cannot be indexed");
                delete_segment(&t, segment.sequence)?;
            }
        }
    }
    groups::complete(&t)?;
    t.commit()?;
    Ok(())
}

/// Deletes the row of a segment, and the groups that it is in.
pub(super) fn delete_segment(c: &Connection, sequence: u64) -> Result<(), IndexError> {
    groups::forget(c, sequence)?;
    c.prepare_cached("DELETE FROM segments WHERE sequence = ?1")?
        .execute([sequence as i64])?;
    Ok(())
}

/// See [`Index::committed`](super::Index::committed).
pub(super) fn add_segment(
    c: &mut Connection,
    segment: SegmentKey,
    streams: &SetList,
) -> Result<(), IndexError> {
    let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
    insert(&t, segment, streams)?;
    groups::close(&t, segment.sequence)?;
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

/// Adds a segment's row, and its streams. Each table is filled in the order of its key: with a page cache that holds a
/// part of it, a page that is filled at random is written to the log many times.
fn insert(c: &Connection, segment: SegmentKey, streams: &SetList) -> Result<(), IndexError> {
    let vals = value_ids(c, &streams.sets)?;
    let mut ids = vec![0; streams.sets.len()];
    let mut next: u32 = c
        .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM streams")?
        .query_row([], |r| r.get(0))?;
    let (mut hashes, mut pairs) = (Vec::new(), Vec::new());
    let (mut set, mut blob) = (Vec::new(), Vec::new());
    let mut create = c.prepare_cached("INSERT INTO streams(id, hash, vals) VALUES(?1, ?2, ?3)")?;
    for number in 0..streams.sets.len() as u32 {
        let list = || streams.sets.list(number).map(|pair| vals[pair as usize]);
        set.clear();
        blob.clear();
        streams.sets.append_to(number, &mut set);
        for val in list() {
            put_varint(&mut blob, u64::from(val));
        }
        let hash = xxh3_64(&set) as i64;
        ids[number as usize] = match find(c, hash, &blob)? {
            Some(id) => id,
            None => {
                create.execute(params![next, hash, blob])?;
                hashes.push((hash, next));
                pairs.extend(list().map(|val| (val, next)));
                next = after(next)?;
                next - 1
            }
        };
    }
    hashes.sort_unstable();
    let mut add = c.prepare_cached("INSERT INTO hashes(hash, stream) VALUES(?1, ?2)")?;
    for (hash, id) in hashes {
        add.execute(params![hash, id])?;
    }
    add_pairs(c, pairs)?;
    let all: Vec<u32> = streams.order.iter().map(|n| ids[*n as usize]).collect();
    let blob = ids::encode(&all);
    let pairs = vals.into_iter().collect::<IdSet>().encode();
    let sum = row_sum(segment, &blob, &pairs);
    groups::forget(c, segment.sequence)?;
    c.prepare_cached(
        "INSERT OR REPLACE INTO segments(sequence, stamp, streams, pairs, sum) VALUES(?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        segment.sequence as i64,
        segment.stamp as i64,
        blob,
        pairs,
        sum as i64
    ])?;
    Ok(())
}

/// The id after `id`. At the last one the database is as good as damaged: made anew, it has low ids again.
fn after(id: u32) -> Result<u32, IndexError> {
    match id < ID_MAX {
        true => Ok(id + 1),
        false => Err(IndexError::Damaged("ids used up")),
    }
}

/// Checksum of a segment's row; its key is part of it.
pub(super) fn row_sum(segment: SegmentKey, streams: &[u8], pairs: &[u8]) -> u64 {
    let blobs = xxh3_64(streams) ^ xxh3_64(pairs).rotate_left(32);
    blobs ^ segment.stamp.rotate_left(17) ^ segment.sequence
}

fn find(c: &Connection, hash: i64, vals: &[u8]) -> Result<Option<u32>, IndexError> {
    let mut statement = c.prepare_cached(
        "SELECT id, vals FROM hashes CROSS JOIN streams ON id = stream WHERE hashes.hash = ?1",
    )?;
    let mut rows = statement.query([hash])?;
    while let Some(row) = rows.next()? {
        // Two label sets may share a hash.
        if row.get_ref(1)?.as_bytes().ok() == Some(vals) {
            return Ok(Some(row.get(0)?));
        }
    }
    Ok(None)
}

/// Ids of all pairs of some sets, by their numbers there; new ones are added.
fn value_ids(c: &Connection, sets: &Sets) -> Result<Vec<u32>, IndexError> {
    let mut order: Vec<u32> = (0..sets.pairs() as u32).collect();
    order.sort_unstable_by_key(|pair| sets.pair(*pair));
    let mut ids = vec![0; order.len()];
    let mut next = texts::next_id(c)?;
    let mut new: Vec<(u32, &[u8])> = Vec::new();
    let mut find = c.prepare_cached("SELECT id FROM vals WHERE name = ?1 AND value = ?2")?;
    let mut add = c.prepare_cached("INSERT INTO vals(name, value, id) VALUES(?1, ?2, ?3)")?;
    for pair in order {
        let bytes = sets.pair(pair);
        let labels = Labels::check(bytes).map_err(|_| IndexError::Damaged("label"))?;
        let Some((name, value)) = labels.iter().next() else {
            continue;
        };
        let found: Option<u32> = find.query_row([name, value], |r| r.get(0)).optional()?;
        ids[pair as usize] = match found {
            Some(id) => id,
            None => {
                add.execute(params![name, value, next])?;
                new.push((next, bytes));
                next = after(next)?;
                next - 1
            }
        };
    }
    texts::add(c, &new)?;
    Ok(ids)
}

/// Adds streams to their pairs; new ids are higher than those that are there.
fn add_pairs(c: &Connection, mut pairs: Vec<(u32, u32)>) -> Result<(), IndexError> {
    pairs.sort_unstable();
    let mut get = c.prepare_cached("SELECT streams FROM pairs WHERE val = ?1 AND part = ?2")?;
    let mut put =
        c.prepare_cached("INSERT OR REPLACE INTO pairs(val, part, streams) VALUES(?1, ?2, ?3)")?;
    let part_of = |pair: &(u32, u32)| (pair.0, pair.1 / PART_STREAMS);
    for group in pairs.chunk_by(|a, b| part_of(a) == part_of(b)) {
        let (val, part) = part_of(&group[0]);
        let old: Option<Vec<u8>> = get.query_row([val, part], |r| r.get(0)).optional()?;
        let mut all = match old {
            Some(blob) => {
                ids::decode(&blob, PART_STREAMS as usize).ok_or(IndexError::Damaged("pair"))?
            }
            None => Vec::new(),
        };
        all.extend(group.iter().map(|pair| pair.1));
        put.execute(params![val, part, ids::encode(&all)])?;
    }
    Ok(())
}
