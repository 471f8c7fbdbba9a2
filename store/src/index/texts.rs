//! Names and values of label pairs by id: 64 pairs a row, so that ten thousand values are read in some hundred rows.
//!
//! ```text
//! row := { id % 64, varint(len) name varint(len) value }    ids rising
//! ```
//!
//! Pairs that come with a segment get ids in the order of their text: those of one label follow each other. The table
//! `vals` finds the id of a pair; what both say is compared when the database is opened (`verify`).

use rusqlite::{Connection, params};
use wire::LabelSet;
use xxhash_rust::xxh3::xxh3_64;

use super::IndexError;
use super::ids::ID_MAX;
use super::set::IdSet;
use crate::codec::Cursor;

/// Pairs in a row: some two kilobytes, one page. A new pair writes the last row anew.
const PART_PAIRS: u32 = 64;

/// A pair as it is stored.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair<'a> {
    pub(super) name: &'a str,
    pub(super) value: &'a str,
    /// Canonical encoding of the label set that has only this pair.
    pub(super) bytes: &'a [u8],
}

fn damaged() -> IndexError {
    IndexError::Damaged("label")
}

/// Checksum of a row; its key is part of it.
fn row_sum(part: u32, blob: &[u8]) -> i64 {
    (xxh3_64(blob) ^ u64::from(part).rotate_left(17)) as i64
}

/// Hands out the pairs of a row with their ids.
fn each_of(
    part: u32,
    blob: &[u8],
    mut pair: impl FnMut(u32, Pair<'_>) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let mut cursor = Cursor::new(blob);
    while !cursor.is_empty() {
        let number = u32::from(cursor.byte().ok_or_else(damaged)?);
        let rest = cursor.rest();
        let mut text = || {
            let len = usize::try_from(cursor.varint()?).ok()?;
            std::str::from_utf8(cursor.take(len)?).ok()
        };
        let (name, value) = text().zip(text()).ok_or_else(damaged)?;
        let bytes = &rest[..rest.len() - cursor.rest().len()];
        let found = Pair { name, value, bytes };
        pair(part * PART_PAIRS + number, found)?;
    }
    Ok(())
}

/// Reads a row; `None` without one.
fn read<T>(
    c: &Connection,
    part: u32,
    f: impl FnOnce(&[u8]) -> Result<T, IndexError>,
) -> Result<Option<T>, IndexError> {
    let mut statement = c.prepare_cached("SELECT pairs, sum FROM texts WHERE part = ?1")?;
    let mut rows = statement.query([part])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let blob = row.get_ref(0)?.as_blob().map_err(|_| damaged())?;
    if row.get::<_, i64>(1)? != row_sum(part, blob) {
        return Err(damaged());
    }
    f(blob).map(Some)
}

/// Hands out pairs, ids rising; all of them have to be there.
pub(super) fn each(
    c: &Connection,
    wanted: &IdSet,
    mut pair: impl FnMut(u32, Pair<'_>) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let mut ids = wanted.iter().peekable();
    while let Some(first) = ids.peek().copied() {
        let part = first / PART_PAIRS;
        let mut left = 0;
        while ids.next_if(|id| id / PART_PAIRS == part).is_some() {
            left += 1;
        }
        read(c, part, |blob| {
            each_of(part, blob, |id, found| {
                if wanted.contains(id) {
                    left -= 1;
                    pair(id, found)?;
                }
                Ok(())
            })
        })?;
        if left != 0 {
            return Err(IndexError::Damaged("label missing"));
        }
    }
    Ok(())
}

/// Hands out all pairs, ids rising.
pub(super) fn all(
    c: &Connection,
    mut pair: impl FnMut(u32, Pair<'_>) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let mut statement = c.prepare("SELECT part, pairs, sum FROM texts ORDER BY part")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let part: u32 = row.get(0)?;
        let blob = row.get_ref(1)?.as_blob().map_err(|_| damaged())?;
        if part > ID_MAX / PART_PAIRS || row.get::<_, i64>(2)? != row_sum(part, blob) {
            return Err(damaged());
        }
        each_of(part, blob, &mut pair)?;
    }
    Ok(())
}

/// One pair.
pub(super) fn one(c: &Connection, id: u32) -> Result<LabelSet, IndexError> {
    let mut set = None;
    read(c, id / PART_PAIRS, |blob| {
        each_of(id / PART_PAIRS, blob, |other, pair| {
            if other == id {
                set = Some(LabelSet::from_bytes(pair.bytes).map_err(|_| damaged())?);
            }
            Ok(())
        })
    })?;
    set.ok_or(IndexError::Damaged("label missing"))
}

/// The id after the highest one; ids begin with 1.
pub(super) fn next_id(c: &Connection) -> Result<u32, IndexError> {
    let part: Option<u32> = c
        .prepare_cached("SELECT max(part) FROM texts")?
        .query_row([], |r| r.get(0))?;
    let Some(part) = part else {
        return Ok(1);
    };
    let mut last = None;
    read(c, part, |blob| {
        each_of(part, blob, |id, _| {
            last = Some(id);
            Ok(())
        })
    })?;
    last.map(|last| last + 1).ok_or_else(damaged)
}

/// Adds pairs (id and canonical encoding), ids rising and higher than those that are there.
pub(super) fn add(c: &Connection, pairs: &[(u32, &[u8])]) -> Result<(), IndexError> {
    let part_of = |pair: &(u32, &[u8])| pair.0 / PART_PAIRS;
    for group in pairs.chunk_by(|a, b| part_of(a) == part_of(b)) {
        let part = part_of(&group[0]);
        let mut blob = read(c, part, |blob| Ok(blob.to_vec()))?.unwrap_or_default();
        for (id, bytes) in group {
            blob.push((id % PART_PAIRS) as u8);
            blob.extend_from_slice(bytes);
        }
        put(c, part, &blob)?;
    }
    Ok(())
}

fn put(c: &Connection, part: u32, blob: &[u8]) -> Result<(), IndexError> {
    c.prepare_cached("INSERT OR REPLACE INTO texts(part, pairs, sum) VALUES(?1, ?2, ?3)")?
        .execute(params![part, blob, row_sum(part, blob)])?;
    Ok(())
}

/// Removes pairs, here and from `vals`.
pub(super) fn remove(c: &Connection, gone: &IdSet) -> Result<(), IndexError> {
    let mut delete = c.prepare_cached("DELETE FROM vals WHERE name = ?1 AND value = ?2")?;
    each(c, gone, |_, pair| {
        delete.execute([pair.name, pair.value])?;
        Ok(())
    })?;
    let parts: IdSet = gone.iter().map(|id| id / PART_PAIRS).collect();
    for part in parts.iter() {
        let mut left = Vec::new();
        read(c, part, |blob| {
            each_of(part, blob, |id, pair| {
                if !gone.contains(id) {
                    left.push((id % PART_PAIRS) as u8);
                    left.extend_from_slice(pair.bytes);
                }
                Ok(())
            })
        })?;
        if left.is_empty() {
            c.prepare_cached("DELETE FROM texts WHERE part = ?1")?
                .execute([part])?;
        } else {
            put(c, part, &left)?;
        }
    }
    Ok(())
}
