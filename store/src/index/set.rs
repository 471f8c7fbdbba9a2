//! Sets of ids: a bitmap in memory, and as bytes a bitmap whose long runs of empty and full bytes are counted.
//!
//! ```text
//! set := { varint(count << 2 | kind) [count bytes, if kind is LITERAL] }
//! ```
//!
//! A set takes at most an eighth of its highest id in bytes, whatever is in it, and is joined with another one in a pass
//! over bytes. Bit `i` of byte `b` is the id `8 b + i`.

use super::ids::ID_MAX;
use crate::codec::{Cursor, put_varint};

const EMPTY: u64 = 0;
const FULL: u64 = 1;
const LITERAL: u64 = 2;
/// Fewest equal bytes that are counted: fewer would cost more than they save.
const RUN_MIN: usize = 3;
/// Bytes of the largest set.
const BYTES_MAX: usize = ID_MAX as usize / 8 + 1;

/// A set of ids up to [`ID_MAX`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct IdSet {
    bytes: Vec<u8>,
}

impl IdSet {
    /// Adds an id, at most [`ID_MAX`].
    pub(super) fn insert(&mut self, id: u32) {
        self.insert_run(id, 1);
    }

    /// Adds ids that follow each other, up to [`ID_MAX`].
    pub(super) fn insert_run(&mut self, first: u32, count: u32) {
        if count == 0 {
            return;
        }
        let last = first + count - 1;
        assert!(last <= ID_MAX, "an id above the highest");
        let (from, to) = (first as usize / 8, last as usize / 8);
        if self.bytes.len() <= to {
            self.bytes.resize(to + 1, 0);
        }
        let (head, tail) = (0xff << (first % 8), 0xff >> (7 - last % 8));
        if from == to {
            self.bytes[from] |= head & tail;
            return;
        }
        self.bytes[from] |= head;
        self.bytes[from + 1..to].fill(0xff);
        self.bytes[to] |= tail;
    }

    /// Whether an id is in it.
    pub(crate) fn contains(&self, id: u32) -> bool {
        let byte = self.bytes.get(id as usize / 8);
        byte.is_some_and(|byte| byte >> (id % 8) & 1 != 0)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.iter().map(|b| b.count_ones() as usize).sum()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.iter().all(|byte| *byte == 0)
    }

    /// The ids, rising.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.bytes.iter().enumerate().flat_map(|(at, byte)| {
            let mut left = *byte;
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(at as u32 * 8 + bit)
            })
        })
    }

    /// Keeps what the other one has too.
    pub(crate) fn keep(&mut self, other: &IdSet) {
        self.bytes.truncate(other.bytes.len());
        for (byte, other) in self.bytes.iter_mut().zip(&other.bytes) {
            *byte &= other;
        }
    }

    /// Its bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut literal = 0;
        let put_literal = |out: &mut Vec<u8>, bytes: &[u8]| {
            if !bytes.is_empty() {
                put_varint(out, (bytes.len() as u64) << 2 | LITERAL);
                out.extend_from_slice(bytes);
            }
        };
        let last = self.bytes.iter().rposition(|byte| *byte != 0);
        let bytes = &self.bytes[..last.map_or(0, |last| last + 1)];
        let mut at = 0;
        for same in bytes.chunk_by(|a, b| a == b) {
            let kind = match same[0] {
                0 => EMPTY,
                0xff => FULL,
                _ => LITERAL,
            };
            if kind != LITERAL && same.len() >= RUN_MIN {
                put_literal(&mut out, &bytes[literal..at]);
                put_varint(&mut out, (same.len() as u64) << 2 | kind);
                literal = at + same.len();
            }
            at += same.len();
        }
        put_literal(&mut out, &bytes[literal..]);
        out
    }

    /// Adds a set given as bytes; `None`, and an unknown part of it added, for bytes that [`IdSet::encode`] did not write.
    pub(super) fn add(&mut self, bytes: &[u8]) -> Option<()> {
        let mut cursor = Cursor::new(bytes);
        let mut at = 0usize;
        while !cursor.is_empty() {
            let token = cursor.varint()?;
            let count = usize::try_from(token >> 2).ok()?;
            let end = at.checked_add(count).filter(|end| *end <= BYTES_MAX)?;
            if token & 3 != EMPTY && self.bytes.len() < end {
                self.bytes.resize(end, 0);
            }
            match token & 3 {
                EMPTY => {}
                FULL => self.bytes[at..end].fill(0xff),
                LITERAL => {
                    let literal = cursor.take(count)?;
                    let place = self.bytes[at..end].iter_mut();
                    place.zip(literal).for_each(|(byte, more)| *byte |= more);
                }
                _ => return None,
            }
            at = end;
        }
        Some(())
    }
}

impl FromIterator<u32> for IdSet {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> IdSet {
        let mut set = IdSet::default();
        ids.into_iter().for_each(|id| set.insert(id));
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sets_are_sets(runs in prop::collection::vec((0u32..5000, 1u32..200), 0..20), more in prop::collection::vec(0u32..9000, 0..50)) {
            let (mut set, mut model) = (IdSet::default(), BTreeSet::new());
            for (first, count) in runs {
                set.insert_run(first, count);
                model.extend(first..first + count);
            }
            let ids = |set: &IdSet| set.iter().collect::<Vec<_>>();
            prop_assert_eq!(ids(&set), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
            prop_assert!((0..9000).all(|id| set.contains(id) == model.contains(&id)));
            let bytes = set.encode();
            prop_assert!(bytes.len() <= 9000 / 8 + 4);
            let mut other: IdSet = more.iter().copied().collect();
            let both: BTreeSet<u32> = model.iter().chain(&more).copied().collect();
            let common: Vec<u32> = more.iter().copied().collect::<BTreeSet<_>>().intersection(&model).copied().collect();
            let mut kept = other.clone();
            kept.keep(&set);
            prop_assert_eq!(ids(&kept), common);
            prop_assert_eq!(other.add(&bytes), Some(()));
            prop_assert_eq!(ids(&other), both.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn p9_bytes_that_are_no_set_take_no_more_than_the_largest(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut set = IdSet::default();
            let _ = set.add(&bytes);
            prop_assert!(set.bytes.len() <= BYTES_MAX);
        }
    }

    #[test]
    fn a_set_in_one_piece_takes_a_few_bytes() {
        let mut set = IdSet::default();
        set.insert_run(1, 10_000);
        assert!(set.encode().len() < 10, "{:?}", set.encode());
    }
}
