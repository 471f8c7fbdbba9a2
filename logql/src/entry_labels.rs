//! The labels of an entry of an answer.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::pipeline::Category;

/// Output labels of an entry, in the order given. Packed: an answer may have as many sets as entries, and a string for each
/// name and value would take several times what they say.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct EntryLabels {
    text: Box<str>,
    ends: Box<[End]>,
}

/// Where a name and its value end in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    name: u32,
    value: u32,
    category: Category,
}

/// Packs labels again and again.
#[derive(Debug, Default)]
pub(crate) struct Packer {
    text: String,
    ends: Vec<End>,
}

impl Packer {
    /// Takes labels in place of the ones before. All names and values together are below 4 GiB: each is from a line, a label
    /// set or a template's output, which are bounded.
    pub(crate) fn pack<'a>(&mut self, labels: impl Iterator<Item = (&'a str, &'a str, Category)>) {
        self.text.clear();
        self.ends.clear();
        for (name, value, category) in labels {
            self.text.push_str(name);
            let name = self.text.len() as u32;
            self.text.push_str(value);
            self.ends.push(End {
                name,
                value: self.text.len() as u32,
                category,
            });
        }
    }

    /// See [`EntryLabels::hash`].
    pub(crate) fn hash(&self, seed: u64) -> u64 {
        hash(&self.text, &self.ends, seed)
    }

    pub(crate) fn is(&self, labels: &EntryLabels) -> bool {
        *self.ends == *labels.ends && *self.text == *labels.text
    }

    pub(crate) fn labels(&self) -> EntryLabels {
        EntryLabels {
            text: self.text.as_str().into(),
            ends: self.ends.as_slice().into(),
        }
    }
}

impl EntryLabels {
    /// Name, value and origin of each.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, Category)> {
        let begins = self.ends.iter().map(|end| end.value as usize);
        let begins = std::iter::once(0).chain(begins);
        begins.zip(&*self.ends).map(|(begin, end)| {
            let (name, value) = (end.name as usize, end.value as usize);
            (
                &self.text[begin..name],
                &self.text[name..value],
                end.category,
            )
        })
    }

    /// A hash of names, values and where they end. Whoever does not know the seed cannot make labels that collide.
    pub(crate) fn hash(&self, seed: u64) -> u64 {
        hash(&self.text, &self.ends, seed)
    }

    /// Bytes of names and values.
    pub(crate) fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes on the heap, allocations' own included.
    pub(crate) fn memory(&self) -> usize {
        const ALLOCATION: usize = 16;
        self.text.len() + size_of_val(&*self.ends) + 2 * ALLOCATION
    }
}

fn hash(text: &str, ends: &[End], seed: u64) -> u64 {
    // Names and values that end elsewhere in the same text are other labels.
    let seed = ends.iter().fold(seed, |mixed, end| {
        let place = u64::from(end.name) << 32 | u64::from(end.value);
        let mixed = (mixed ^ place).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed.rotate_left(29)
    });
    xxh3_64_with_seed(text.as_bytes(), seed)
}

impl<'a> FromIterator<(&'a str, &'a str, Category)> for EntryLabels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str, Category)>>(labels: I) -> EntryLabels {
        let mut packer = Packer::default();
        packer.pack(labels.into_iter());
        packer.labels()
    }
}

impl fmt::Debug for EntryLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_what_was_packed() {
        let sets = [
            vec![],
            vec![("a", "", Category::Stream)],
            vec![
                ("a", "b\u{e9}", Category::Stream),
                ("b", "\u{1f34e}", Category::Parsed),
            ],
            // The same text.
            vec![
                ("ab", "\u{e9}", Category::Stream),
                ("b", "\u{1f34e}", Category::Parsed),
            ],
            vec![
                ("ab", "\u{e9}", Category::Stream),
                ("b", "\u{1f34e}", Category::Metadata),
            ],
        ];
        let mut packer = Packer::default();
        for (i, set) in sets.iter().enumerate() {
            let packed: EntryLabels = set.iter().copied().collect();
            assert!(packed.iter().eq(set.iter().copied()), "{packed:?}");
            for (j, other) in sets.iter().enumerate() {
                packer.pack(other.iter().copied());
                assert_eq!(packer.is(&packed), i == j);
                assert_eq!(packer.labels() == packed, i == j);
                let same_place = i == j || i.min(j) == 3 && i.max(j) == 4;
                assert_eq!(packer.hash(7) == packed.hash(7), same_place);
            }
        }
    }
}
