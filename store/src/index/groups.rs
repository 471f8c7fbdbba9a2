//! Unions of the streams of segments that follow each other, so that a lookup over a month reads some dozens of rows.
//!
//! Group `n` of level `l` stands for the segments whose sequence divided by 8^l is `n`. It holds the ids of their streams
//! and of their label pairs, as sets, and a number made of its members' keys: it answers for exactly these segments. A
//! lookup takes the segments of its range and asks, from the highest level down, for a group with just those of them that
//! fall into it; what has none is made of smaller groups, and in the end of single segments.
//!
//! - A group is written with the first segment behind it: about an eighth more rows, each smaller than a segment's.
//! - It goes with the first of its members that is removed or replaced, in the same transaction; it is not made again before
//!   the next reconciliation with something to do. At the old end of the store that leaves at most seven groups of
//!   each level to read.
//! - Segments without streams are no members, and lookups leave them out.

use rusqlite::{Connection, OptionalExtension, params};
use xxhash_rust::xxh3::xxh3_64;

use super::ids::{self, ID_MAX};
use super::schema::row_sum;
use super::set::IdSet;
use super::{IndexError, SegmentKey};

/// Highest level: 4,096 segments, 85 days of one each half hour. Beyond, a group of that level for each.
pub(super) const LEVELS: u32 = 4;
/// Binary digits of a sequence that each level leaves out.
const BITS: u32 = 3;

/// What some segments have together.
#[derive(Debug, Default)]
pub(crate) struct Union {
    /// Ids of their streams.
    pub(crate) streams: IdSet,
    /// Ids of the label pairs of these.
    pub(crate) pairs: IdSet,
}

fn number(level: u32, sequence: u64) -> u64 {
    sequence >> (BITS * level)
}

/// Says which segments a group is made of.
fn members(keys: &[SegmentKey]) -> u64 {
    let hash = |key: &SegmentKey| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&key.sequence.to_le_bytes());
        bytes[8..].copy_from_slice(&key.stamp.to_le_bytes());
        xxh3_64(&bytes)
    };
    keys.iter().map(hash).fold(0, u64::wrapping_add)
}

/// What [`walk`] offers a group to, by its level and its segments.
pub(super) type Take<'t, E> = dyn FnMut(u32, &[SegmentKey]) -> Result<bool, E> + 't;

/// Splits `keys` (by sequence) into the groups of `level` and offers each to `take`; what it does not take is offered in
/// smaller parts, down to single segments at level 0.
pub(super) fn walk<E>(keys: &[SegmentKey], level: u32, take: &mut Take<'_, E>) -> Result<(), E> {
    let same =
        |a: &SegmentKey, b: &SegmentKey| number(level, a.sequence) == number(level, b.sequence);
    for part in keys.chunk_by(same) {
        match (level, part.len()) {
            (0, _) => {
                take(0, part)?;
            }
            (_, 1) => walk(part, 0, take)?,
            _ if take(level, part)? => {}
            _ => walk(part, level - 1, take)?,
        }
    }
    Ok(())
}

/// Adds what the index knows of a part that [`walk`] offers; false: no row, or one of other segments.
pub(super) fn add(
    c: &Connection,
    level: u32,
    part: &[SegmentKey],
    out: &mut Union,
) -> Result<bool, IndexError> {
    match (level, part) {
        (0, [key]) => add_segment(c, *key, out),
        _ => add_group(c, level, part, out),
    }
}

fn add_segment(c: &Connection, key: SegmentKey, out: &mut Union) -> Result<bool, IndexError> {
    let run = |first, count| out.streams.insert_run(first, count);
    segment_row(c, key, run, Some(&mut out.pairs))
}

/// Hands out the streams of a segment, in ordinal order, as runs (first id, how many), and adds its pairs to `pairs`; false:
/// no row, or one of another file.
pub(super) fn segment_row(
    c: &Connection,
    key: SegmentKey,
    run: impl FnMut(u32, u32),
    pairs: Option<&mut IdSet>,
) -> Result<bool, IndexError> {
    let damaged = || IndexError::Damaged("segment");
    let mut statement =
        c.prepare_cached("SELECT stamp, streams, pairs, sum FROM segments WHERE sequence = ?1")?;
    let mut rows = statement.query([key.sequence as i64])?;
    let Some(row) = rows.next()? else {
        return Ok(false);
    };
    if row.get::<_, i64>(0)? as u64 != key.stamp {
        return Ok(false);
    }
    let streams = row.get_ref(1)?.as_blob().map_err(|_| damaged())?;
    let blob = row.get_ref(2)?.as_blob().map_err(|_| damaged())?;
    if row.get::<_, i64>(3)? as u64 != row_sum(key, streams, blob) {
        return Err(damaged());
    }
    ids::each_run(streams, ID_MAX as usize, run).ok_or_else(damaged)?;
    if let Some(pairs) = pairs {
        pairs.add(blob).ok_or_else(damaged)?;
    }
    Ok(true)
}

fn add_group(
    c: &Connection,
    level: u32,
    part: &[SegmentKey],
    out: &mut Union,
) -> Result<bool, IndexError> {
    let damaged = || IndexError::Damaged("group");
    let key = group_key(level, number(level, part[0].sequence), members(part));
    let mut statement = c.prepare_cached(
        "SELECT members, streams, pairs, sum FROM groups WHERE level = ?1 AND number = ?2",
    )?;
    let mut rows = statement.query(params![level, number(level, part[0].sequence) as i64])?;
    let Some(row) = rows.next()? else {
        return Ok(false);
    };
    if row.get::<_, i64>(0)? as u64 != key.stamp {
        return Ok(false);
    }
    let streams = row.get_ref(1)?.as_blob().map_err(|_| damaged())?;
    let pairs = row.get_ref(2)?.as_blob().map_err(|_| damaged())?;
    if row.get::<_, i64>(3)? as u64 != row_sum(key, streams, pairs) {
        return Err(damaged());
    }
    out.streams.add(streams).ok_or_else(damaged)?;
    out.pairs.add(pairs).ok_or_else(damaged)?;
    Ok(true)
}

/// What the checksum of a group's row is made with.
fn group_key(level: u32, number: u64, members: u64) -> SegmentKey {
    SegmentKey {
        sequence: number << BITS | u64::from(level),
        stamp: members,
    }
}

/// Removes the groups that a segment is in.
pub(super) fn forget(c: &Connection, sequence: u64) -> Result<(), IndexError> {
    let mut delete = c.prepare_cached("DELETE FROM groups WHERE level = ?1 AND number = ?2")?;
    for level in 1..=LEVELS {
        delete.execute(params![level, number(level, sequence) as i64])?;
    }
    Ok(())
}

/// Writes the groups that end before a segment that was just added.
pub(super) fn close(c: &Connection, sequence: u64) -> Result<(), IndexError> {
    let before: Option<i64> = c
        .prepare_cached("SELECT max(sequence) FROM segments WHERE sequence < ?1")?
        .query_row([sequence as i64], |r| r.get(0))?;
    let Some(before) = before.map(|before| before as u64) else {
        return Ok(());
    };
    for level in 1..=LEVELS {
        let group = number(level, before);
        if group == number(level, sequence) {
            break;
        }
        let shift = BITS * level;
        let last = group << shift | ((1 << shift) - 1);
        write(c, level, &keys(c, group << shift, last)?)?;
    }
    Ok(())
}

/// Writes all groups that are missing; the newest of each level are not over yet.
pub(super) fn complete(c: &Connection) -> Result<(), IndexError> {
    let keys = keys(c, 0, i64::MAX as u64)?;
    let Some(newest) = keys.last().map(|key| key.sequence) else {
        return Ok(());
    };
    for level in 1..=LEVELS {
        let same =
            |a: &SegmentKey, b: &SegmentKey| number(level, a.sequence) == number(level, b.sequence);
        for part in keys.chunk_by(same) {
            if number(level, part[0].sequence) < number(level, newest) {
                write(c, level, part)?;
            }
        }
    }
    Ok(())
}

/// Writes the group of some segments, all that it has, unless it is there.
fn write(c: &Connection, level: u32, part: &[SegmentKey]) -> Result<(), IndexError> {
    if part.len() < 2 {
        return Ok(());
    }
    let key = group_key(level, number(level, part[0].sequence), members(part));
    let there: Option<i64> = c
        .prepare_cached("SELECT members FROM groups WHERE level = ?1 AND number = ?2")?
        .query_row(
            params![level, number(level, part[0].sequence) as i64],
            |r| r.get(0),
        )
        .optional()?;
    if there == Some(key.stamp as i64) {
        return Ok(());
    }
    let union = union(c, part, level - 1)?;
    let (streams, pairs) = (union.streams.encode(), union.pairs.encode());
    let sum = row_sum(key, &streams, &pairs);
    c.prepare_cached(
        "INSERT OR REPLACE INTO groups(level, number, members, streams, pairs, sum) VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        level,
        number(level, part[0].sequence) as i64,
        key.stamp as i64,
        streams,
        pairs,
        sum as i64
    ])?;
    Ok(())
}

/// What segments have together, all of which have a row.
fn union(c: &Connection, keys: &[SegmentKey], level: u32) -> Result<Union, IndexError> {
    let mut out = Union::default();
    walk(keys, level, &mut |level, part| {
        let found = add(c, level, part, &mut out)?;
        if !found && level == 0 {
            return Err(IndexError::Damaged("segment missing"));
        }
        Ok(found)
    })?;
    Ok(out)
}

/// What all segments have together.
pub(super) fn everything(c: &Connection) -> Result<Union, IndexError> {
    union(c, &keys(c, 0, i64::MAX as u64)?, LEVELS)
}

/// Segments with streams in `from..=to`, by sequence.
fn keys(c: &Connection, from: u64, to: u64) -> Result<Vec<SegmentKey>, IndexError> {
    let mut statement = c.prepare(
        "SELECT sequence, stamp FROM segments WHERE sequence >= ?1 AND sequence <= ?2 AND length(streams) > 0
            ORDER BY sequence",
    )?;
    let rows = statement.query_map([from as i64, to as i64], |r| {
        Ok(SegmentKey {
            sequence: r.get::<_, i64>(0)? as u64,
            stamp: r.get::<_, i64>(1)? as u64,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}
