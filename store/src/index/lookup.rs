//! Reading the index.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use logql::matcher::{MatchOp, Matcher};
use rusqlite::{Connection, OptionalExtension};
use wire::LabelSet;

use super::schema::row_sum;
use super::{IndexError, SegmentKey, ids};
use crate::codec::Cursor;

/// Streams that satisfy all matchers, ids rising.
pub(super) fn select(c: &Connection, matchers: &[Matcher]) -> Result<Vec<u32>, IndexError> {
    let mut set: Option<Vec<u32>> = None;
    // Matchers that a missing label cannot satisfy name the streams; the others only take away.
    for m in matchers.iter().filter(|m| !m.matches("")) {
        let exact = (m.op() == MatchOp::Equal).then(|| m.value());
        let ids = streams_where(c, m.name(), exact, |v| m.matches(v))?;
        let left = match set {
            None => ids,
            Some(s) => keep(s, &ids, true),
        };
        if left.is_empty() {
            return Ok(left);
        }
        set = Some(left);
    }
    let mut set = match set {
        Some(s) => s,
        None => all(c)?,
    };
    for m in matchers.iter().filter(|m| m.matches("")) {
        let exact = (m.op() == MatchOp::NotEqual).then(|| m.value());
        let out = streams_where(c, m.name(), exact, |v| !m.matches(v))?;
        set = keep(set, &out, false);
    }
    Ok(set)
}

/// Entries of `set` that are (or are not) in `other`; both rising.
fn keep(mut set: Vec<u32>, other: &[u32], inside: bool) -> Vec<u32> {
    let mut at = 0;
    set.retain(|id| {
        while at < other.len() && other[at] < *id {
            at += 1;
        }
        (at < other.len() && other[at] == *id) == inside
    });
    set
}

fn all(c: &Connection) -> Result<Vec<u32>, IndexError> {
    let mut statement = c.prepare_cached("SELECT id FROM streams ORDER BY id")?;
    let rows = statement.query_map([], |r| r.get(0))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn streams_where(
    c: &Connection,
    name: &str,
    exact: Option<&str>,
    matches: impl Fn(&str) -> bool,
) -> Result<Vec<u32>, IndexError> {
    let mut out = Vec::new();
    if let Some(value) = exact {
        let id: Option<i64> = c
            .prepare_cached("SELECT id FROM vals WHERE name = ?1 AND value = ?2")?
            .query_row([name, value], |r| r.get(0))
            .optional()?;
        if let Some(id) = id {
            push_streams(c, id, &mut out)?;
        }
        return Ok(out);
    }
    let mut statement = c.prepare_cached("SELECT value, id FROM vals WHERE name = ?1")?;
    let mut rows = statement.query([name])?;
    while let Some(row) = rows.next()? {
        if matches(text(row, 0)?) {
            push_streams(c, row.get(1)?, &mut out)?;
        }
    }
    out.sort_unstable();
    Ok(out)
}

fn push_streams(c: &Connection, val: i64, out: &mut Vec<u32>) -> Result<(), IndexError> {
    let mut statement =
        c.prepare_cached("SELECT streams FROM pairs WHERE val = ?1 ORDER BY part")?;
    let mut rows = statement.query([val])?;
    while let Some(row) = rows.next()? {
        out.extend(part(row)?);
    }
    Ok(())
}

fn part(row: &rusqlite::Row<'_>) -> Result<Vec<u32>, IndexError> {
    let ids = row.get_ref(0)?.as_blob().ok().and_then(ids::decode);
    ids.ok_or(IndexError::Damaged("pair"))
}

/// Stream ids of a segment in ordinal order; `None`: no row, or one of another file.
pub(super) fn segment(c: &Connection, key: SegmentKey) -> Result<Option<Vec<u32>>, IndexError> {
    let mut statement =
        c.prepare_cached("SELECT stamp, streams, sum FROM segments WHERE sequence = ?1")?;
    let mut rows = statement.query([key.sequence as i64])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    if row.get::<_, i64>(0)? as u64 != key.stamp {
        return Ok(None);
    }
    let blob = row
        .get_ref(1)?
        .as_blob()
        .map_err(|_| IndexError::Damaged("segment"))?;
    if row.get::<_, i64>(2)? as u64 != row_sum(key, blob) {
        return Err(IndexError::Damaged("segment"));
    }
    ids::decode(blob)
        .map(Some)
        .ok_or(IndexError::Damaged("segment"))
}

/// The label set of a stream, checked against its hash.
pub(super) fn labels(
    c: &Connection,
    cache: &mut PairCache,
    id: u32,
) -> Result<LabelSet, IndexError> {
    let mut statement = c.prepare_cached("SELECT hash, vals FROM streams WHERE id = ?1")?;
    let mut rows = statement.query([id])?;
    let row = rows.next()?.ok_or(IndexError::Damaged("stream missing"))?;
    let vals = row
        .get_ref(1)?
        .as_blob()
        .map_err(|_| IndexError::Damaged("stream"))?;
    let mut bytes = Vec::with_capacity(256);
    let mut cursor = Cursor::new(vals);
    while !cursor.is_empty() {
        let val = cursor.varint().ok_or(IndexError::Damaged("stream"))?;
        bytes.extend_from_slice(cache.get(c, val as i64)?);
    }
    let set = LabelSet::from_bytes(&bytes).map_err(|_| IndexError::Damaged("stream"))?;
    if set.as_ref().hash64() as i64 != row.get::<_, i64>(0)? {
        return Err(IndexError::Damaged("stream"));
    }
    Ok(set)
}

/// Encodings of label pairs by id: streams share most of theirs.
#[derive(Debug, Default)]
pub(super) struct PairCache {
    pairs: HashMap<i64, LabelSet>,
    bytes: usize,
}

impl PairCache {
    /// Most bytes of pairs; beyond, the cache begins anew.
    const BYTES_MAX: usize = 64 << 10;

    pub(super) fn clear(&mut self) {
        *self = PairCache::default();
    }

    fn get(&mut self, c: &Connection, val: i64) -> Result<&[u8], IndexError> {
        if self.bytes > PairCache::BYTES_MAX {
            self.clear();
        }
        match self.pairs.entry(val) {
            Entry::Occupied(pair) => Ok(pair.into_mut().as_bytes()),
            Entry::Vacant(place) => {
                let mut statement =
                    c.prepare_cached("SELECT name, value FROM vals WHERE id = ?1")?;
                let mut rows = statement.query([val])?;
                let row = rows.next()?.ok_or(IndexError::Damaged("label missing"))?;
                let pair = LabelSet::from_pairs([(text(row, 0)?, text(row, 1)?)])
                    .map_err(|_| IndexError::Damaged("label"))?;
                self.bytes += pair.as_bytes().len() + 64;
                Ok(place.insert(pair).as_bytes())
            }
        }
    }
}

/// Label names that at least one of the streams has.
pub(super) fn names(c: &Connection, ids: &[u32]) -> Result<Vec<String>, IndexError> {
    let mut out = Vec::new();
    let mut last = String::new();
    loop {
        let next: Option<String> = c
            .prepare_cached("SELECT name FROM vals WHERE name > ?1 ORDER BY name LIMIT 1")?
            .query_row([&last], |r| r.get(0))
            .optional()?;
        let Some(name) = next else {
            return Ok(out);
        };
        last.clone_from(&name);
        let mut statement = c.prepare_cached("SELECT id FROM vals WHERE name = ?1")?;
        let mut rows = statement.query([&name])?;
        while let Some(row) = rows.next()? {
            if any_stream(c, row.get(0)?, ids)? {
                out.push(name);
                break;
            }
        }
    }
}

/// Values of `name` that at least one of the streams has.
pub(super) fn values(c: &Connection, name: &str, ids: &[u32]) -> Result<Vec<String>, IndexError> {
    let mut out = Vec::new();
    let mut statement =
        c.prepare_cached("SELECT value, id FROM vals WHERE name = ?1 ORDER BY value")?;
    let mut rows = statement.query([name])?;
    while let Some(row) = rows.next()? {
        if any_stream(c, row.get(1)?, ids)? {
            out.push(text(row, 0)?.to_owned());
        }
    }
    Ok(out)
}

fn any_stream(c: &Connection, val: i64, ids: &[u32]) -> Result<bool, IndexError> {
    let mut statement = c.prepare_cached("SELECT streams FROM pairs WHERE val = ?1")?;
    let mut rows = statement.query([val])?;
    while let Some(row) = rows.next()? {
        if part(row)?.iter().any(|id| ids.binary_search(id).is_ok()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn text<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<&'r str, IndexError> {
    row.get_ref(column)?
        .as_str()
        .map_err(|_| IndexError::Damaged("label text"))
}
