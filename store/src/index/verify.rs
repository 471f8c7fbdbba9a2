//! Checks a database against itself when it is opened.
//!
//! SQLite's pages have no checksum: a flipped bit in a stream id is as good a number as another, and would change answers
//! without an error. Every stream's labels have a hash, so everything else is worked out from them anew and compared.
//! That reads the whole file, about 100 bytes for each stream.

use rusqlite::Connection;
use wire::LabelSet;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::lookup::{PairCache, labels};
use super::schema::PART_STREAMS;
use super::{IndexError, ids, texts};
use crate::codec::Cursor;

/// # Errors
/// [`IndexError::Damaged`] names the first table that does not fit.
pub(super) fn verify(c: &Connection) -> Result<(), IndexError> {
    let check: String = c.query_row("PRAGMA integrity_check(1)", [], |r| r.get(0))?;
    if check != "ok" {
        return Err(IndexError::Damaged("integrity check failed"));
    }
    let unmatched: i64 = c.query_row(
        "SELECT (SELECT count(*) FROM hashes) + (SELECT count(*) FROM streams)
            - 2 * (SELECT count(*) FROM streams s JOIN hashes h ON h.hash = s.hash AND h.stream = s.id)",
        [],
        |r| r.get(0),
    )?;
    if unmatched != 0 {
        return Err(IndexError::Damaged("hashes"));
    }
    if expected_pairs(c)? != stored_pairs(c)? {
        return Err(IndexError::Damaged("pairs"));
    }
    verify_texts(c)
}

/// Compares both tables of pairs by the sum of their rows' hashes: they are in different orders.
fn verify_texts(c: &Connection) -> Result<(), IndexError> {
    let damaged = || IndexError::Damaged("label");
    let (mut texts, mut vals) = (0u64, 0u64);
    texts::all(c, |id, pair| {
        texts = texts.wrapping_add(xxh3_64_with_seed(pair.bytes, id.into()));
        Ok(())
    })?;
    let mut statement = c.prepare("SELECT name, value, id FROM vals")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = |column: usize| row.get_ref(column)?.as_str().map_err(|_| damaged());
        let set = LabelSet::from_pairs([(text(0)?, text(1)?)]).map_err(|_| damaged())?;
        let id: u32 = row.get(2)?;
        vals = vals.wrapping_add(xxh3_64_with_seed(set.as_bytes(), id.into()));
    }
    if texts != vals {
        return Err(damaged());
    }
    Ok(())
}

/// Pair and stream of every label of every stream, sorted; each stream's labels have been checked against their hash.
fn expected_pairs(c: &Connection) -> Result<Vec<(u32, u32)>, IndexError> {
    let mut cache = PairCache::default();
    let mut pairs = Vec::new();
    let mut statement = c.prepare("SELECT id, vals FROM streams")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: u32 = row.get(0)?;
        labels(c, &mut cache, id)?;
        let damaged = || IndexError::Damaged("stream");
        let vals = row.get_ref(1)?.as_blob().map_err(|_| damaged())?;
        let mut cursor = Cursor::new(vals);
        while !cursor.is_empty() {
            let val = cursor.varint().ok_or_else(damaged)?;
            pairs.push((u32::try_from(val).map_err(|_| damaged())?, id));
        }
    }
    pairs.sort_unstable();
    Ok(pairs)
}

fn stored_pairs(c: &Connection) -> Result<Vec<(u32, u32)>, IndexError> {
    let mut pairs = Vec::new();
    let mut statement = c.prepare("SELECT val, part, streams FROM pairs ORDER BY val, part")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (val, part): (u32, u32) = (row.get(0)?, row.get(1)?);
        let damaged = || IndexError::Damaged("pair");
        let blob = row.get_ref(2)?.as_blob().map_err(|_| damaged())?;
        for id in ids::decode(blob, PART_STREAMS as usize).ok_or_else(damaged)? {
            if id / PART_STREAMS != part {
                return Err(damaged());
            }
            pairs.push((val, id));
        }
    }
    Ok(pairs)
}
