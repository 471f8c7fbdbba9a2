//! Label sets to small numbers. A pair is kept once and a set is a list of pair numbers: ten thousand streams share
//! most of their pairs, so a stream costs some 30 bytes instead of 200.

use super::intern::Interner;
use crate::codec::{Cursor, put_varint};

/// Numbers label sets (or metadata sets) in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Sets {
    /// Parts of canonical encodings: `len name len value`.
    pairs: Interner,
    /// Varint numbers of pairs.
    lists: Interner,
    scratch: Vec<u8>,
}

impl Sets {
    /// The number of a canonical set, a new one if it was not seen before.
    pub(crate) fn intern(&mut self, set: &[u8]) -> u32 {
        self.scratch.clear();
        let mut rest = set;
        while !rest.is_empty() {
            let (pair, tail) = rest.split_at(pair_len(rest));
            put_varint(&mut self.scratch, u64::from(self.pairs.intern(pair)));
            rest = tail;
        }
        self.lists.intern(&self.scratch)
    }

    /// The number of a canonical set, if it was seen before.
    pub(crate) fn find(&self, set: &[u8]) -> Option<u32> {
        let mut list = Vec::new();
        let mut rest = set;
        while !rest.is_empty() {
            let (pair, tail) = rest.split_at(pair_len(rest));
            put_varint(&mut list, u64::from(self.pairs.find(pair)?));
            rest = tail;
        }
        self.lists.find(&list)
    }

    /// Pair numbers of a set.
    pub(crate) fn list(&self, id: u32) -> impl Iterator<Item = u32> + '_ {
        let mut cursor = Cursor::new(self.lists.get(id));
        std::iter::from_fn(move || cursor.varint().map(|pair| pair as u32))
    }

    /// The bytes of a pair.
    pub(crate) fn pair(&self, pair: u32) -> &[u8] {
        self.pairs.get(pair)
    }

    /// Pairs seen so far.
    pub(crate) fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// Appends the canonical encoding of a set.
    pub(crate) fn append_to(&self, id: u32, out: &mut Vec<u8>) {
        for pair in self.list(id) {
            out.extend_from_slice(self.pair(pair));
        }
    }

    /// Bytes of the canonical encoding of a set.
    pub(crate) fn bytes_of(&self, id: u32) -> usize {
        self.list(id).map(|pair| self.pair(pair).len()).sum()
    }

    /// Sets seen so far.
    pub(crate) fn len(&self) -> usize {
        self.lists.len()
    }

    /// Bytes of memory in use.
    pub(crate) fn memory(&self) -> usize {
        self.pairs.memory() + self.lists.memory()
    }

    /// Sorts numbers of sets by the sets' bytes.
    pub(crate) fn sort(&self, ids: &mut [u32]) {
        let mut pairs: Vec<u32> = (0..self.pairs.len() as u32).collect();
        pairs.sort_unstable_by_key(|pair| self.pair(*pair));
        let mut rank = vec![0u32; pairs.len()];
        for (i, pair) in pairs.iter().enumerate() {
            rank[*pair as usize] = i as u32;
        }
        drop(pairs);
        // No pair is the beginning of another one, so sets compare as their pairs do.
        let ranks = |id: u32| self.list(id).map(|pair| rank[pair as usize]);
        ids.sort_unstable_by(|a, b| ranks(*a).cmp(ranks(*b)));
    }
}

/// Bytes of the first pair of a set; all of it if that is not canonical.
fn pair_len(set: &[u8]) -> usize {
    let mut cursor = Cursor::new(set);
    for _ in 0..2 {
        let part = cursor.varint().and_then(|len| cursor.take(len as usize));
        if part.is_none() {
            return set.len();
        }
    }
    set.len() - cursor.rest().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::LabelSet;

    #[test]
    fn sets_come_back_and_sort_by_their_bytes() {
        let mut sets = Sets::default();
        let mut all = vec![Vec::new(), b"\xffodd".to_vec()];
        for i in 0..300u32 {
            let value = "v".repeat((i * 7 % 200) as usize + 1);
            let pairs = [
                ("a", format!("{}", i % 3)),
                ("bb", value),
                ("c", format!("{i}")),
            ];
            let set = LabelSet::from_pairs(pairs.into_iter().skip((i % 2) as usize));
            all.push(set.expect("a set").as_bytes().to_vec());
        }
        for round in 0..2 {
            for (i, set) in all.iter().enumerate() {
                let known = (round > 0).then_some(i as u32);
                assert_eq!(sets.find(set), known, "round {round}");
                assert_eq!(sets.intern(set), i as u32, "round {round}");
            }
        }
        let get = |id: u32| {
            let mut out = Vec::new();
            sets.append_to(id, &mut out);
            assert_eq!(out.len(), sets.bytes_of(id));
            out
        };
        let mut ids: Vec<u32> = (0..sets.len() as u32).collect();
        sets.sort(&mut ids);
        let got: Vec<Vec<u8>> = ids.into_iter().map(get).collect();
        all.sort();
        assert_eq!(got, all);
    }
}
