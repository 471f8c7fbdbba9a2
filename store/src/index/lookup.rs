//! Reading the index.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use logql::matcher::{MatchOp, Matcher};
use rusqlite::{Connection, OptionalExtension};
use wire::LabelSet;

use super::ids::ID_MAX;
use super::schema::PART_STREAMS;
use super::set::IdSet;
use super::{IndexError, SegmentKey, groups, ids, texts};
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
    let ids = rows.collect::<Result<Vec<u32>, _>>()?;
    match ids.last().is_none_or(|last| *last <= ID_MAX) {
        true => Ok(ids),
        false => Err(IndexError::Damaged("stream")),
    }
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
    let blob = row.get_ref(0)?.as_blob().ok();
    let ids = blob.and_then(|blob| ids::decode(blob, PART_STREAMS as usize));
    ids.ok_or(IndexError::Damaged("pair"))
}

/// Stream ids of a segment in ordinal order; `None`: no row, or one of another file.
pub(super) fn segment(c: &Connection, key: SegmentKey) -> Result<Option<Vec<u32>>, IndexError> {
    let mut all = Vec::new();
    let run = |first, count| all.extend(first..first + count);
    let found = groups::segment_row(c, key, run, None)?;
    Ok(found.then_some(all))
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
    checked(&bytes, row.get(0)?)
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
                let id = u32::try_from(val).map_err(|_| IndexError::Damaged("stream"))?;
                let pair = texts::one(c, id)?;
                self.bytes += pair.as_bytes().len() + 64;
                Ok(place.insert(pair).as_bytes())
            }
        }
    }
}

/// Pairs of some streams.
pub(super) fn pairs(c: &Connection, streams: &IdSet) -> Result<IdSet, IndexError> {
    let mut out = IdSet::default();
    each_stream(c, streams.iter(), |_, _, vals| {
        each_pair(vals, |pair| {
            out.insert(pair);
            Ok(())
        })
    })?;
    Ok(out)
}

/// Hands out id, hash and pairs of some streams (ids rising).
fn each_stream(
    c: &Connection,
    ids: impl Iterator<Item = u32>,
    mut stream: impl FnMut(u32, i64, &[u8]) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    /// A row is skipped in less time than another one is looked up from the root.
    const SKIP_MAX: u32 = 8;
    let mut ids = ids.peekable();
    let mut statement =
        c.prepare_cached("SELECT id, hash, vals FROM streams WHERE id >= ?1 ORDER BY id")?;
    while let Some(first) = ids.peek().copied() {
        let mut rows = statement.query([first])?;
        let mut last = first;
        while let Some(id) = ids.peek().copied().filter(|id| *id - last <= SKIP_MAX) {
            let row = rows.next()?.ok_or(IndexError::Damaged("stream missing"))?;
            let found: u32 = row.get(0)?;
            last = found;
            if found < id {
                continue;
            }
            if found > id {
                return Err(IndexError::Damaged("stream missing"));
            }
            let vals = row.get_ref(2)?.as_blob();
            stream(
                id,
                row.get(1)?,
                vals.map_err(|_| IndexError::Damaged("stream"))?,
            )?;
            ids.next();
        }
    }
    Ok(())
}

fn each_pair(
    vals: &[u8],
    mut pair: impl FnMut(u32) -> Result<(), IndexError>,
) -> Result<(), IndexError> {
    let damaged = || IndexError::Damaged("stream");
    let mut cursor = Cursor::new(vals);
    while !cursor.is_empty() {
        let id = cursor.varint().and_then(|id| u32::try_from(id).ok());
        pair(id.filter(|id| *id <= ID_MAX).ok_or_else(damaged)?)?;
    }
    Ok(())
}

/// Label sets of some streams (ids rising), each checked against its hash. Takes memory for the pairs of all of them.
pub(super) fn label_sets(c: &Connection, ids: &[u32]) -> Result<Vec<LabelSet>, IndexError> {
    let (mut lists, mut streams, mut wanted) = (Vec::new(), Vec::new(), IdSet::default());
    each_stream(c, ids.iter().copied(), |_, hash, vals| {
        each_pair(vals, |pair| {
            lists.push(pair);
            wanted.insert(pair);
            Ok(())
        })?;
        streams.push((hash, lists.len()));
        Ok(())
    })?;
    let encoded = encoded_pairs(c, &wanted)?;
    let (mut sets, mut bytes, mut from) = (Vec::with_capacity(ids.len()), Vec::new(), 0);
    for (hash, to) in streams {
        bytes.clear();
        for pair in &lists[from..to] {
            let pair = encoded
                .get(pair)
                .ok_or(IndexError::Damaged("label missing"))?;
            bytes.extend_from_slice(pair);
        }
        from = to;
        sets.push(checked(&bytes, hash)?);
    }
    Ok(sets)
}

/// The label set with these bytes and this hash.
fn checked(bytes: &[u8], hash: i64) -> Result<LabelSet, IndexError> {
    let set = LabelSet::from_bytes(bytes).map_err(|_| IndexError::Damaged("stream"))?;
    if set.as_ref().hash64() as i64 != hash {
        return Err(IndexError::Damaged("stream"));
    }
    Ok(set)
}

fn encoded_pairs(c: &Connection, wanted: &IdSet) -> Result<HashMap<u32, Box<[u8]>>, IndexError> {
    let mut encoded = HashMap::with_capacity(wanted.len());
    texts::each(c, wanted, |id, pair| {
        encoded.insert(id, pair.bytes.into());
        Ok(())
    })?;
    Ok(encoded)
}

/// Names of pairs, sorted.
pub(super) fn names(c: &Connection, pairs: &IdSet) -> Result<Vec<String>, IndexError> {
    let mut out = BTreeSet::new();
    let mut last = String::new();
    texts::each(c, pairs, |_, pair| {
        // Most pairs have the name of the one before.
        if pair.name != last {
            pair.name.clone_into(&mut last);
            out.insert(last.clone());
        }
        Ok(())
    })?;
    Ok(out.into_iter().collect())
}

/// Values that `name` has in pairs, sorted.
pub(super) fn values(c: &Connection, name: &str, pairs: &IdSet) -> Result<Vec<String>, IndexError> {
    let mut out = Vec::new();
    texts::each(c, pairs, |_, pair| {
        if pair.name == name {
            out.push(pair.value.to_owned());
        }
        Ok(())
    })?;
    // They come in a few runs that are sorted, which this sort makes use of.
    out.sort();
    Ok(out)
}

fn text<'r>(row: &'r rusqlite::Row<'_>, column: usize) -> Result<&'r str, IndexError> {
    row.get_ref(column)?
        .as_str()
        .map_err(|_| IndexError::Damaged("label text"))
}
