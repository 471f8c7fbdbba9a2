//! Byte strings to small numbers, in one allocation: labels of streams and metadata sets.

/// Numbers byte strings in order of arrival.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    bytes: Vec<u8>,
    /// Start of each string, and the low bits of its hash.
    spans: Vec<(u32, u32)>,
    /// Open addressing, number + 1, a power of two in length, at most three quarters full.
    table: Vec<u32>,
}

impl Interner {
    /// The number of `bytes`, a new one if they were not seen before.
    pub(crate) fn intern(&mut self, bytes: &[u8]) -> u32 {
        if self.table.len() * 3 <= self.spans.len() * 4 {
            self.grow();
        }
        let hash = xxhash_rust::xxh3::xxh3_64(bytes) as u32;
        let mask = self.table.len() - 1;
        let mut at = hash as usize & mask;
        while let Some(id) = self.table[at].checked_sub(1) {
            if self.spans[id as usize].1 == hash && self.get(id) == bytes {
                return id;
            }
            at = (at + 1) & mask;
        }
        let id = self.spans.len() as u32;
        self.table[at] = id + 1;
        self.spans.push((self.bytes.len() as u32, hash));
        self.bytes.extend_from_slice(bytes);
        id
    }

    /// The number of `bytes`, if they were seen before.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<u32> {
        let mask = self.table.len().checked_sub(1)?;
        let hash = xxhash_rust::xxh3::xxh3_64(bytes) as u32;
        let mut at = hash as usize & mask;
        while let Some(id) = self.table[at].checked_sub(1) {
            if self.spans[id as usize].1 == hash && self.get(id) == bytes {
                return Some(id);
            }
            at = (at + 1) & mask;
        }
        None
    }

    /// The bytes of a number that [`Interner::intern`] gave.
    pub(crate) fn get(&self, id: u32) -> &[u8] {
        let start = self.spans[id as usize].0 as usize;
        let next = self.spans.get(id as usize + 1);
        let end = next.map_or(self.bytes.len(), |span| span.0 as usize);
        &self.bytes[start..end]
    }

    pub(crate) fn len(&self) -> usize {
        self.spans.len()
    }

    /// Bytes of memory in use.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + self.spans.len() * 8 + self.table.len() * 4
    }

    fn grow(&mut self) {
        let len = (self.table.len() * 2).max(64);
        self.table.clear();
        self.table.resize(len, 0);
        for (id, (_, hash)) in self.spans.iter().enumerate() {
            let mut at = *hash as usize & (len - 1);
            while self.table[at] != 0 {
                at = (at + 1) & (len - 1);
            }
            self.table[at] = id as u32 + 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_stable() {
        let mut interner = Interner::default();
        let name = |i: u32| format!("name-{}", i * i).into_bytes();
        for round in 0..2 {
            for i in 0..5000 {
                assert_eq!(interner.intern(&name(i)), i, "round {round}");
            }
        }
        assert_eq!(Interner::default().find(b""), None);
        assert_eq!(interner.find(b""), None);
        assert_eq!(interner.find(&name(17)), Some(17));
        assert_eq!(interner.intern(b""), 5000);
        assert_eq!(interner.find(b""), Some(5000));
        assert_eq!(interner.get(4999), name(4999));
        assert_eq!(interner.get(5000), b"");
        assert_eq!(interner.len(), 5001);
    }
}
