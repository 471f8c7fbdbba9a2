//! Encoding of summaries and sections. Sections are column-wise varints, packed as block columns are.

use wire::Labels;

use super::{
    Cell, Chunk, MAGIC, Minutes, Position, Row, SECTION_BYTES_MAX, SECTIONS, SUMMARY_BYTES,
    SectionPlace, Summary, VERSION,
};
use crate::block::checksum;
use crate::codec::{Cursor, put_varint, unzigzag, zigzag};
use crate::head::Sets;

const FLAG_POSITIONS: u32 = 1;
/// Set when the clock could *not* be believed, so that segments of versions that did not ask count as before.
const FLAG_CLOCK_UNTRUSTED: u32 = 2;

/// Encodes a summary.
pub(super) fn encode_summary(summary: &Summary) -> [u8; SUMMARY_BYTES] {
    let mut out = Vec::with_capacity(SUMMARY_BYTES);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    let flag = |set: bool, flag: u32| if set { flag } else { 0 };
    let flags = flag(summary.has_positions, FLAG_POSITIONS)
        | flag(!summary.clock_trusted, FLAG_CLOCK_UNTRUSTED);
    out.extend_from_slice(&flags.to_le_bytes());
    for n in [
        summary.first_sequence,
        summary.sequence,
        summary.min_ts as u64,
        summary.max_ts as u64,
        summary.entries,
        summary.raw_bytes,
    ] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    for n in [summary.streams, summary.chunks, summary.blocks, 0] {
        out.extend_from_slice(&n.to_le_bytes());
    }
    out.extend_from_slice(&summary.written_at.to_le_bytes());
    out.extend_from_slice(&summary.blocks_offset.to_le_bytes());
    for place in &summary.sections {
        out.extend_from_slice(&place.offset.to_le_bytes());
        out.extend_from_slice(&place.len.to_le_bytes());
        out.extend_from_slice(&place.checksum.to_le_bytes());
    }
    out.resize(SUMMARY_BYTES - 8, 0);
    let sum = xxhash_rust::xxh3::xxh3_64(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    let mut bytes = [0; SUMMARY_BYTES];
    bytes.copy_from_slice(&out);
    bytes
}

/// Decodes a summary of a file of `len` bytes. `None`: damaged; `Err`: a newer version, intact.
pub(super) fn decode_summary(
    bytes: &[u8; SUMMARY_BYTES],
    len: u64,
) -> Option<Result<Summary, u32>> {
    let (body, sum) = bytes.split_at(SUMMARY_BYTES - 8);
    let mut cursor = Cursor::new(body);
    if cursor.take(8)? != MAGIC || Cursor::new(sum).u64()? != xxhash_rust::xxh3::xxh3_64(body) {
        return None;
    }
    let version = cursor.u32()?;
    if version != VERSION {
        return Some(Err(version));
    }
    let flags = cursor.u32()?;
    let mut summary = Summary {
        first_sequence: cursor.u64()?,
        sequence: cursor.u64()?,
        min_ts: cursor.u64()? as i64,
        max_ts: cursor.u64()? as i64,
        entries: cursor.u64()?,
        raw_bytes: cursor.u64()?,
        streams: cursor.u32()?,
        chunks: cursor.u32()?,
        blocks: cursor.u32()?,
        written_at: 0,
        blocks_offset: 0,
        clock_trusted: flags & FLAG_CLOCK_UNTRUSTED == 0,
        has_positions: flags & FLAG_POSITIONS != 0,
        sections: [SectionPlace::default(); SECTIONS],
    };
    cursor.u32()?;
    summary.written_at = cursor.u64()? as i64;
    summary.blocks_offset = cursor.u64()?;
    for place in &mut summary.sections {
        *place = SectionPlace {
            offset: cursor.u64()?,
            len: cursor.u32()?,
            checksum: cursor.u32()?,
        };
        if place.offset.checked_add(u64::from(place.len))? > len {
            return None;
        }
    }
    Some(Ok(summary))
}

/// Checksum and length of a stored section at `offset`.
pub(super) fn place(offset: u64, stored: &[u8]) -> SectionPlace {
    SectionPlace {
        offset,
        len: stored.len() as u32,
        checksum: checksum(stored),
    }
}

/// Encodes label sets, given by their numbers in `sets`: the pairs once, in order of first use, then for each set the
/// numbers of its pairs. As many streams follow each other that differ in a pair or two, a number is the difference to
/// that at the same place of the set before.
pub(super) fn encode_sets(sets: &Sets, ids: &[u32], out: &mut Vec<u8>) {
    if ids.is_empty() {
        return;
    }
    let mut number = vec![u32::MAX; sets.pairs()];
    let mut used = Vec::new();
    for pair in ids.iter().flat_map(|id| sets.list(*id)) {
        let to = &mut number[pair as usize];
        if *to == u32::MAX {
            *to = used.len() as u32;
            used.push(pair);
        }
    }
    put_varint(out, used.len() as u64);
    for pair in used {
        out.extend_from_slice(sets.pair(pair));
    }
    let mut before: Vec<u32> = Vec::new();
    let mut list: Vec<u32> = Vec::new();
    for id in ids {
        list.clear();
        list.extend(sets.list(*id).map(|pair| number[pair as usize]));
        put_varint(out, list.len() as u64);
        for (i, n) in list.iter().enumerate() {
            let last = before.get(i).copied().unwrap_or(0);
            put_varint(out, zigzag(i64::from(*n) - i64::from(last)));
        }
        std::mem::swap(&mut before, &mut list);
    }
}

/// Decodes label sets to the end of the section, one at a time; returns how many.
pub(super) fn decode_sets(
    raw: &[u8],
    each: &mut dyn FnMut(Labels<'_>),
) -> Result<usize, &'static str> {
    decode_set_bytes(raw, &mut |bytes| {
        let labels = Labels::check(bytes).ok();
        labels.map(&mut *each).is_some()
    })
}

/// The same with unchecked bytes; `each` returns false for what is no label set.
pub(super) fn decode_set_bytes(
    raw: &[u8],
    each: &mut dyn FnMut(&[u8]) -> bool,
) -> Result<usize, &'static str> {
    if raw.is_empty() {
        return Ok(0);
    }
    let mut cursor = Cursor::new(raw);
    let count = cursor.varint().ok_or("pair count")?;
    let mut pairs = Vec::new();
    for _ in 0..count {
        let start = cursor.rest();
        for _ in 0..2 {
            let len = cursor.varint().ok_or("pair")? as usize;
            cursor.take(len).ok_or("pair")?;
        }
        pairs.push(&start[..start.len() - cursor.rest().len()]);
    }
    let (mut before, mut list): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
    let (mut set, mut sets, mut total) = (Vec::new(), 0, 0);
    while !cursor.is_empty() {
        let len = cursor.varint().ok_or("label set")?;
        list.clear();
        set.clear();
        for i in 0..len {
            let last = before.get(i as usize).copied().unwrap_or(0);
            let delta = unzigzag(cursor.varint().ok_or("label set")?);
            let n = i64::from(last).wrapping_add(delta);
            let pair = usize::try_from(n).ok().and_then(|n| pairs.get(n));
            set.extend_from_slice(pair.ok_or("label set")?);
            list.push(n as u32);
            if total + set.len() > SECTION_BYTES_MAX {
                return Err("label sets too large");
            }
        }
        std::mem::swap(&mut before, &mut list);
        total += set.len();
        if !each(&set) {
            return Err("label set");
        }
        sets += 1;
    }
    Ok(sets)
}

/// Encodes chunk rows, column by column. `blocks` are the stored lengths of all blocks in file order. Offsets follow
/// from the summary.
pub(super) fn encode_chunks(rows: &[Row], blocks: &[u32], base_ts: i64, out: &mut Vec<u8>) {
    for len in blocks {
        put_varint(out, u64::from(*len));
    }
    let mut last = 0i64;
    let mut delta = |n: u32, out: &mut Vec<u8>| {
        put_varint(out, zigzag(i64::from(n).wrapping_sub(last)));
        last = i64::from(n);
    };
    for row in rows {
        delta(row.chunk.stream, out);
    }
    for row in rows {
        delta(row.block, out);
    }
    for row in rows {
        delta(row.chunk.first, out);
    }
    for Row { chunk, .. } in rows {
        put_varint(out, u64::from(chunk.entries));
    }
    for Row { chunk, .. } in rows {
        put_varint(out, chunk.min_ts.wrapping_sub(base_ts) as u64);
    }
    for Row { chunk, .. } in rows {
        put_varint(out, chunk.max_ts.wrapping_sub(chunk.min_ts) as u64);
    }
    for Row { chunk, .. } in rows {
        put_varint(out, chunk.raw_bytes);
    }
    for Row { chunk, .. } in rows {
        put_varint(out, chunk.cells.map_or(0, |n| u64::from(n) + 1));
    }
}

/// Decodes chunk rows of a file of `len` bytes.
pub(super) fn decode_chunks(
    raw: &[u8],
    summary: &Summary,
    len: u64,
) -> Result<Vec<Chunk>, &'static str> {
    let (rows, blocks) = (summary.chunks as usize, summary.blocks as usize);
    // Eight columns of a byte at least, and a byte per block.
    if rows.saturating_mul(8).saturating_add(blocks) > raw.len() {
        return Err("too short");
    }
    let mut cursor = Cursor::new(raw);
    let mut offset = summary.blocks_offset;
    let mut places = Vec::with_capacity(blocks);
    for _ in 0..blocks {
        let bytes = cursor
            .varint()
            .and_then(|n| u32::try_from(n).ok())
            .ok_or("block length")?;
        places.push((offset, bytes));
        offset = offset
            .checked_add(u64::from(bytes))
            .filter(|end| *end <= len)
            .ok_or("block place")?;
    }
    let empty = Chunk {
        stream: 0,
        block_offset: 0,
        block_bytes: 0,
        first: 0,
        entries: 0,
        min_ts: 0,
        max_ts: 0,
        raw_bytes: 0,
        cells: None,
    };
    let mut chunks = vec![empty; rows];
    read_places(&mut cursor, &mut chunks, &places, summary)?;
    let column = |cursor: &mut Cursor<'_>| cursor.varint().ok_or("row");
    for chunk in &mut chunks {
        chunk.entries = u32::try_from(column(&mut cursor)?).map_err(|_| "entries")?;
        if chunk.entries == 0 || chunk.first.checked_add(chunk.entries).is_none() {
            return Err("entries");
        }
    }
    for chunk in &mut chunks {
        chunk.min_ts = summary.min_ts.wrapping_add(column(&mut cursor)? as i64);
    }
    for chunk in &mut chunks {
        chunk.max_ts = chunk.min_ts.wrapping_add(column(&mut cursor)? as i64);
        if chunk.min_ts > chunk.max_ts {
            return Err("time range");
        }
    }
    for chunk in &mut chunks {
        chunk.raw_bytes = column(&mut cursor)?;
    }
    for chunk in &mut chunks {
        let cells = u32::try_from(column(&mut cursor)?).map_err(|_| "cells")?;
        chunk.cells = cells.checked_sub(1);
    }
    Ok(chunks)
}

fn read_places(
    cursor: &mut Cursor<'_>,
    chunks: &mut [Chunk],
    places: &[(u64, u32)],
    summary: &Summary,
) -> Result<(), &'static str> {
    let mut last = 0i64;
    let mut next = |limit: u32| -> Result<u32, &'static str> {
        last = last.wrapping_add(unzigzag(cursor.varint().ok_or("row")?));
        u32::try_from(last)
            .ok()
            .filter(|n| *n < limit)
            .ok_or("row out of range")
    };
    for chunk in chunks.iter_mut() {
        chunk.stream = next(summary.streams)?;
    }
    if !chunks.is_sorted_by_key(|c| c.stream) {
        return Err("rows out of order");
    }
    for chunk in chunks.iter_mut() {
        (chunk.block_offset, chunk.block_bytes) = places[next(summary.blocks)? as usize];
    }
    for chunk in chunks.iter_mut() {
        chunk.first = next(u32::MAX)?;
    }
    Ok(())
}

/// Encodes cells, column by column; minutes are deltas, starting anew with each chunk at the minute of its start.
pub(super) fn encode_minutes(rows: &[Row], cells: &[Cell], out: &mut Vec<u8>) {
    let own = |row: &Row| {
        let from = row.cell as usize;
        &cells[from..from + row.chunk.cells.unwrap_or(0) as usize]
    };
    for row in rows {
        let mut last = super::minute_of(row.chunk.min_ts);
        for cell in own(row) {
            put_varint(out, cell.minute.wrapping_sub(last) as u64);
            last = cell.minute;
        }
    }
    let mut last = 0;
    for cell in rows.iter().flat_map(own) {
        put_varint(out, zigzag(i64::from(cell.metadata) - last));
        last = i64::from(cell.metadata);
    }
    for cell in rows.iter().flat_map(own) {
        put_varint(out, u64::from(cell.entries));
    }
    for cell in rows.iter().flat_map(own) {
        put_varint(out, cell.bytes);
    }
}

/// Decodes the minute tables of all chunks into `minutes` (replaced); without their bytes unless `bytes`.
pub(super) fn decode_minutes(
    raw: &[u8],
    chunks: &[Chunk],
    bytes: bool,
    minutes: &mut Minutes,
) -> Result<(), &'static str> {
    let total: u64 = chunks.iter().map(|c| u64::from(c.cells.unwrap_or(0))).sum();
    // Four columns of a byte at least.
    if total.saturating_mul(4) > raw.len() as u64 {
        return Err("too short");
    }
    let empty = Cell {
        minute: 0,
        metadata: 0,
        entries: 0,
        bytes: 0,
    };
    minutes.cells.clear();
    minutes.cells.resize(total as usize, empty);
    minutes.starts.clear();
    minutes.starts.reserve_exact(chunks.len() + 1);
    let mut cursor = Cursor::new(raw);
    let mut at = 0;
    minutes.starts.push(0);
    for chunk in chunks {
        let mut last = super::minute_of(chunk.min_ts);
        let end = at + chunk.cells.unwrap_or(0) as usize;
        for cell in &mut minutes.cells[at..end] {
            last = last.wrapping_add(cursor.varint().ok_or("cell")? as i64);
            cell.minute = last;
        }
        at = end;
        minutes.starts.push(end as u32);
    }
    let mut last = 0i64;
    for cell in &mut minutes.cells {
        last = last.wrapping_add(unzigzag(cursor.varint().ok_or("cell")?));
        cell.metadata = u32::try_from(last).map_err(|_| "cell metadata")?;
    }
    for cell in &mut minutes.cells {
        let entries = cursor.varint().and_then(|n| u32::try_from(n).ok());
        cell.entries = entries.ok_or("cell entries")?;
    }
    if bytes {
        for cell in &mut minutes.cells {
            cell.bytes = cursor.varint().ok_or("cell bytes")?;
        }
    }
    Ok(())
}

/// Decodes the position table.
pub(super) fn decode_positions(raw: &[u8]) -> Result<Vec<Position>, &'static str> {
    let mut positions = Vec::new();
    let mut cursor = Cursor::new(raw);
    while !cursor.is_empty() {
        let mut part = || {
            let len = cursor.varint()? as usize;
            cursor.take(len).map(<[u8]>::to_vec)
        };
        let key = part().ok_or("position key")?;
        let position = part().ok_or("position")?;
        positions.push((key, position));
    }
    Ok(positions)
}
