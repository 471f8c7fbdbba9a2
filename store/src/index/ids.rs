//! Stream ids in an order that matters, as bytes: LEB128 varints of zigzag deltas.
//!
//! | token | means |
//! |---|---|
//! | `d` > 0 | the id before (0 at first) plus the number that `d` is the zigzag code of |
//! | 0, `n` > 0 | `n` ids, each one more than the one before |
//! | 0, 0 | the id before once more |
//!
//! Ids are given in the order in which a segment has its streams, so most of them come in such runs.

use crate::codec::{Cursor, put_varint, unzigzag, zigzag};

/// Highest id of a stream or a pair: two megabytes of bits. Ids are given in turn and given again only at the top, so a
/// database reaches it after 16 million streams have come and gone; then it is rebuilt, which gives ids anew.
pub(super) const ID_MAX: u32 = 1 << 24;

/// Fewest steps of one that are written as a run: shorter ones take no more bytes as they are.
const RUN_MIN: usize = 3;

/// The bytes of `ids`.
pub(super) fn encode(ids: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(ids.len().min(256) + 8);
    let (mut last, mut at) = (0i64, 0);
    while at < ids.len() {
        let steps = |(i, id): (usize, &u32)| i64::from(*id) == last + i as i64 + 1;
        let run = ids[at..]
            .iter()
            .enumerate()
            .take_while(|s| steps(*s))
            .count();
        if run >= RUN_MIN {
            out.push(0);
            put_varint(&mut out, run as u64);
            at += run;
            last += run as i64;
            continue;
        }
        let delta = i64::from(ids[at]) - last;
        put_varint(&mut out, zigzag(delta));
        if delta == 0 {
            out.push(0);
        }
        last += delta;
        at += 1;
    }
    out
}

/// Hands out the ids as runs (first id, how many); `None` for bytes that [`encode`] did not write, ids above [`ID_MAX`],
/// or more than `most` ids.
pub(super) fn each_run(bytes: &[u8], most: usize, mut run: impl FnMut(u32, u32)) -> Option<()> {
    let mut cursor = Cursor::new(bytes);
    let (mut last, mut left) = (0i64, most as u64);
    while !cursor.is_empty() {
        let token = cursor.varint()?;
        let (first, count) = match token {
            0 => match cursor.varint()? {
                0 => (last, 1),
                n => (last + 1, n),
            },
            d => (last.checked_add(unzigzag(d))?, 1),
        };
        left = left.checked_sub(count)?;
        // No more than `most` were added, so this cannot overflow.
        last = first.checked_add(count as i64 - 1)?;
        if first < 0 || last > i64::from(ID_MAX) {
            return None;
        }
        run(first as u32, count as u32);
    }
    Some(())
}

/// The ids; `None` as in [`each_run`].
pub(super) fn decode(bytes: &[u8], most: usize) -> Option<Vec<u32>> {
    let mut ids = Vec::new();
    each_run(bytes, most, |first, count| ids.extend(first..first + count))?;
    Some(ids)
}
