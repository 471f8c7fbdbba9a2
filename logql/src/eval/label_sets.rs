//! Output label sets of a log query, each kept once.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::format;
use crate::pipeline::{Category, OutLabels};

type Owned = Vec<(String, String, Category)>;

#[derive(Debug, Clone)]
struct Set {
    pairs: Owned,
    /// As Loki prints it, `{a="1", b="2"}`: the order of streams in an answer is the order of this text.
    text: String,
}

/// Interned label sets. Ids are dense and stay valid until [`LabelSets::retain`].
#[derive(Debug, Default)]
pub(super) struct LabelSets {
    sets: Vec<Set>,
    by_hash: HashMap<u64, Vec<u32>>,
    bytes: usize,
}

impl LabelSets {
    /// The id of a label set.
    pub(super) fn intern(&mut self, labels: OutLabels<'_>) -> u32 {
        let hash = hash_of(labels.iter());
        let known = self.by_hash.get(&hash).map_or(&[][..], Vec::as_slice);
        if let Some(id) = known
            .iter()
            .find(|id| same(&self.sets[**id as usize].pairs, labels))
        {
            return *id;
        }
        let own = |(n, v, c): (&str, &str, Category)| (n.to_owned(), v.to_owned(), c);
        let pairs: Owned = labels.iter().map(own).collect();
        let mut text = text(&pairs);
        text.shrink_to_fit();
        self.adopt(Set { pairs, text })
    }

    /// The id of a set of other label sets.
    pub(super) fn intern_of(&mut self, others: &LabelSets, id: u32) -> u32 {
        let set = &others.sets[id as usize];
        let borrowed = set
            .pairs
            .iter()
            .map(|(n, v, c)| (n.as_str(), v.as_str(), *c));
        let known = self.by_hash.get(&hash_of(borrowed));
        let known = known.map_or(&[][..], Vec::as_slice);
        let equal = |id: &&u32| self.sets[**id as usize].pairs == set.pairs;
        if let Some(id) = known.iter().find(equal) {
            return *id;
        }
        self.adopt(set.clone())
    }

    /// Order of two sets by their text.
    pub(super) fn compare(&self, a: u32, b: u32) -> Ordering {
        if a == b {
            return Ordering::Equal;
        }
        self.sets[a as usize].text.cmp(&self.sets[b as usize].text)
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
        let mut old: Vec<Option<Set>> = std::mem::take(self).sets.into_iter().map(Some).collect();
        let mut new = vec![u32::MAX; old.len()];
        for id in ids {
            let at = *id as usize;
            if let Some(set) = old[at].take() {
                new[at] = self.adopt(set);
            }
            *id = new[at];
        }
    }

    fn adopt(&mut self, set: Set) -> u32 {
        let borrowed = set
            .pairs
            .iter()
            .map(|(n, v, c)| (n.as_str(), v.as_str(), *c));
        let hash = hash_of(borrowed);
        let id = self.sets.len() as u32;
        self.by_hash.entry(hash).or_default().push(id);
        self.bytes +=
            2 * set.text.len() + set.pairs.len() * size_of::<(String, String, Category)>() + 128;
        self.sets.push(set);
        id
    }

    /// The sets in id order.
    pub(super) fn into_sets(self) -> Vec<Owned> {
        self.sets.into_iter().map(|s| s.pairs).collect()
    }
}

fn hash_of<'a>(labels: impl Iterator<Item = (&'a str, &'a str, Category)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for label in labels {
        label.hash(&mut hasher);
    }
    hasher.finish()
}

fn same(a: &Owned, b: OutLabels<'_>) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b.iter())
            .all(|(a, b)| a.0 == b.0 && a.1 == b.1 && a.2 == b.2)
}

fn text(labels: &Owned) -> String {
    format::label_set(labels.iter().map(|(n, v, _)| (n.as_str(), v.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_is_that_of_go_text() {
        // Go writes a bell as `\a`, a tabulator as `\t`, 0x01 as `\x01`, and quotes names with dots.
        let mut sets = ["\u{1}", "\t", "z", "\u{7}", "a\"b"].map(|value| {
            let pairs = vec![("k".to_owned(), value.to_owned(), Category::Stream)];
            text(&pairs)
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
        let dotted = vec![("a.b".to_owned(), "1".to_owned(), Category::Parsed)];
        assert_eq!(text(&dotted), r#"{"a.b"="1"}"#);
    }
}
