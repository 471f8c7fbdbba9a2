//! Removed segments leave the index, and with them the streams that no other segment has: it must not grow for ever.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::schema::{PART_STREAMS, delete_segment};
use super::set::IdSet;
use super::{IndexError, groups, ids, texts};
use crate::codec::Cursor;

/// Most streams dropped in one transaction; more go with the next removal. Bounds its memory and its log.
const DROP_MAX: usize = 4096;

/// Deletes the rows of segments and, with `prune`, streams without a segment.
pub(super) fn remove(c: &mut Connection, sequences: &[u64], prune: bool) -> Result<(), IndexError> {
    let t = c.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for sequence in sequences {
        delete_segment(&t, *sequence)?;
    }
    if prune {
        let unused = unused(&t)?;
        drop_streams(&t, &unused)?;
    }
    t.commit()?;
    Ok(())
}

/// Streams that no segment has, rising, at most [`DROP_MAX`].
fn unused(c: &Connection) -> Result<Vec<u32>, IndexError> {
    let used = groups::everything(c)?.streams;
    let mut unused = Vec::new();
    let mut statement = c.prepare_cached("SELECT id FROM streams ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let (Some(row), true) = (rows.next()?, unused.len() < DROP_MAX) {
        let id: u32 = row.get(0)?;
        if !used.contains(id) {
            unused.push(id);
        }
    }
    Ok(unused)
}

fn drop_streams(c: &Connection, streams: &[u32]) -> Result<(), IndexError> {
    let mut pairs: Vec<(u32, u32)> = Vec::new();
    for id in streams {
        let (hash, vals): (i64, Vec<u8>) = c
            .prepare_cached("SELECT hash, vals FROM streams WHERE id = ?1")?
            .query_row([id], |r| Ok((r.get(0)?, r.get(1)?)))?;
        let mut cursor = Cursor::new(&vals);
        while !cursor.is_empty() {
            let val = cursor.varint().and_then(|val| u32::try_from(val).ok());
            let val = val.filter(|val| *val <= ids::ID_MAX);
            pairs.push((val.ok_or(IndexError::Damaged("stream"))?, *id));
        }
        c.prepare_cached("DELETE FROM hashes WHERE hash = ?1 AND stream = ?2")?
            .execute(params![hash, id])?;
        c.prepare_cached("DELETE FROM streams WHERE id = ?1")?
            .execute([id])?;
    }
    pairs.sort_unstable();
    drop_pairs(c, &pairs)
}

/// Takes streams out of their pairs; a pair without streams goes too.
fn drop_pairs(c: &Connection, pairs: &[(u32, u32)]) -> Result<(), IndexError> {
    let mut get = c.prepare_cached("SELECT streams FROM pairs WHERE val = ?1 AND part = ?2")?;
    let mut put = c.prepare_cached("UPDATE pairs SET streams = ?3 WHERE val = ?1 AND part = ?2")?;
    let mut delete = c.prepare_cached("DELETE FROM pairs WHERE val = ?1 AND part = ?2")?;
    let mut touched = BTreeSet::new();
    let part_of = |pair: &(u32, u32)| (pair.0, pair.1 / PART_STREAMS);
    for group in pairs.chunk_by(|a, b| part_of(a) == part_of(b)) {
        let (val, part) = part_of(&group[0]);
        let old: Option<Vec<u8>> = get.query_row([val, part], |r| r.get(0)).optional()?;
        let mut left = old
            .as_deref()
            .and_then(|blob| ids::decode(blob, PART_STREAMS as usize))
            .ok_or(IndexError::Damaged("pair"))?;
        left.retain(|id| group.binary_search(&(val, *id)).is_err());
        if left.is_empty() {
            delete.execute([val, part])?;
            touched.insert(val);
        } else {
            put.execute(params![val, part, ids::encode(&left)])?;
        }
    }
    let mut has_streams = c.prepare_cached("SELECT 1 FROM pairs WHERE val = ?1")?;
    let mut gone = IdSet::default();
    for val in touched {
        if !has_streams.exists([val])? {
            gone.insert(val);
        }
    }
    texts::remove(c, &gone)
}
