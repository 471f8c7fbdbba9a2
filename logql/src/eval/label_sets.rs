//! Output label sets of a log query, each kept once.

use std::cell::OnceCell;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use crate::entry_labels::{EntryLabels, Packer};
use crate::format;
use crate::pipeline::OutLabels;

#[derive(Debug, Clone)]
struct Set {
    labels: EntryLabels,
    /// As Loki prints it, `{a="1", b="2"}`: the order of streams in an answer is the order of this text. Made when two sets are
    /// compared, which takes entries of one instant.
    text: OnceCell<Box<str>>,
    /// The set before with the same hash, or [`NONE`].
    next: u32,
}

const NONE: u32 = u32::MAX;

/// Interned label sets. Ids are dense and stay valid until [`LabelSets::retain`].
#[derive(Debug)]
pub(super) struct LabelSets {
    sets: Vec<Set>,
    /// The last set with a hash.
    by_hash: HashMap<u64, u32, Hashed>,
    /// Nobody outside knows it.
    seed: u64,
    packer: Packer,
    bytes: usize,
}

impl Default for LabelSets {
    fn default() -> LabelSets {
        LabelSets::with_seed(RandomState::new().hash_one(0))
    }
}

impl LabelSets {
    fn with_seed(seed: u64) -> LabelSets {
        LabelSets {
            sets: Vec::new(),
            by_hash: HashMap::default(),
            seed,
            packer: Packer::default(),
            bytes: 0,
        }
    }

    /// The id of a label set.
    pub(super) fn intern(&mut self, labels: OutLabels<'_>) -> u32 {
        self.packer.pack(labels.iter());
        let hash = self.packer.hash(self.seed);
        match self.find(hash, |labels| self.packer.is(labels)) {
            Some(id) => id,
            None => self.adopt(hash, self.packer.labels()),
        }
    }

    /// The id of a set of other label sets.
    pub(super) fn intern_of(&mut self, others: &LabelSets, id: u32) -> u32 {
        let labels = &others.sets[id as usize].labels;
        let hash = labels.hash(self.seed);
        match self.find(hash, |own| own == labels) {
            Some(id) => id,
            None => self.adopt(hash, labels.clone()),
        }
    }

    fn find(&self, hash: u64, is: impl Fn(&EntryLabels) -> bool) -> Option<u32> {
        let mut id = self.by_hash.get(&hash).copied().unwrap_or(NONE);
        while let Some(set) = self.sets.get(id as usize) {
            if is(&set.labels) {
                return Some(id);
            }
            id = set.next;
        }
        None
    }

    /// Order of two sets by their text.
    pub(super) fn compare(&self, a: u32, b: u32) -> Ordering {
        if a == b {
            return Ordering::Equal;
        }
        let text = |id: u32| {
            let set = &self.sets[id as usize];
            set.text.get_or_init(|| text(&set.labels).into())
        };
        text(a).cmp(text(b))
    }

    /// Number of sets.
    pub(super) fn len(&self) -> usize {
        self.sets.len()
    }

    /// Bytes held, about.
    pub(super) fn memory(&self) -> usize {
        self.bytes
    }

    /// Keeps only the sets in `ids` and gives them new ids, written back in place.
    pub(super) fn retain<'a>(&mut self, ids: impl Iterator<Item = &'a mut u32>) {
        let kept = LabelSets::with_seed(self.seed);
        let old = std::mem::replace(self, kept).sets;
        let mut old: Vec<Option<EntryLabels>> = old.into_iter().map(|s| Some(s.labels)).collect();
        let mut new = vec![NONE; old.len()];
        for id in ids {
            let at = *id as usize;
            if let Some(labels) = old[at].take() {
                let hash = labels.hash(self.seed);
                new[at] = self.adopt(hash, labels);
            }
            *id = new[at];
        }
    }

    fn adopt(&mut self, hash: u64, labels: EntryLabels) -> u32 {
        let id = self.sets.len() as u32;
        let next = self.by_hash.insert(hash, id).unwrap_or(NONE);
        // Vector and table are at most half empty. As if the text that is compared were there, with its quotes.
        let text = labels.memory() + labels.text_bytes() / 4;
        self.bytes += 2 * size_of::<Set>() + 4 * size_of::<u64>() + labels.memory() + text;
        self.sets.push(Set {
            labels,
            text: OnceCell::new(),
            next,
        });
        id
    }

    /// The sets in id order.
    pub(super) fn into_sets(self) -> Vec<EntryLabels> {
        self.sets.into_iter().map(|s| s.labels).collect()
    }
}

/// For keys that are hashes.
#[derive(Debug, Default, Clone, Copy)]
struct Hashed(u64);

impl BuildHasher for Hashed {
    type Hasher = Hashed;

    fn build_hasher(&self) -> Hashed {
        Hashed(0)
    }
}

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

fn text(labels: &EntryLabels) -> String {
    format::label_set(labels.iter().map(|(n, v, _)| (n, v)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Category;

    #[test]
    fn the_order_is_that_of_go_text() {
        // Go writes a bell as `\a`, a tabulator as `\t`, 0x01 as `\x01`, and quotes names with dots.
        let mut sets = ["\u{1}", "\t", "z", "\u{7}", "a\"b"].map(|value| {
            let labels = [("k", value, Category::Stream)].into_iter().collect();
            text(&labels)
        });
        sets.sort();
        assert_eq!(
            sets,
            [
                r#"{k="\a"}"#,
                r#"{k="\t"}"#,
                r#"{k="\x01"}"#,
                r#"{k="a\"b"}"#,
                r#"{k="z"}"#
            ]
        );
        let dotted = [("a.b", "1", Category::Parsed)].into_iter().collect();
        assert_eq!(text(&dotted), r#"{"a.b"="1"}"#);
    }
}
