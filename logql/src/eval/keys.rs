//! Series of an accumulator by their labels: one hash of the encoded labels finds a series, and none is needed for an
//! entry of the same series as the one before it.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::EvalError;
use super::memory::Memory;
use crate::value::SeriesLabels;

/// Bytes that a series is taken to need beside its encoded labels: map entry, box, what collectors keep.
const SERIES_OVERHEAD: usize = 160;
/// No series.
const NONE: u32 = u32::MAX;

/// A hash that is one already.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("keys are numbers");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[derive(Debug)]
struct Key {
    /// Length and text of each name and value, in name order.
    labels: Box<[u8]>,
    /// The series before that has the same hash.
    next: u32,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Keys {
    seed: u64,
    /// By hash: the last series that has it.
    index: HashMap<u64, u32, BuildHasherDefault<Hashed>>,
    keys: Vec<Key>,
    /// The labels that are looked for.
    wanted: Vec<u8>,
    last: u32,
}

impl Keys {
    pub(super) fn new() -> Self {
        Keys {
            // Whoever writes labels shall not know which of them collide.
            seed: RandomState::new().hash_one(0u64),
            index: HashMap::default(),
            keys: Vec::new(),
            wanted: Vec::new(),
            last: NONE,
        }
    }

    /// Begins with the labels of a series.
    pub(super) fn start(&mut self) {
        self.wanted.clear();
    }

    /// The next label in name order.
    #[inline]
    pub(super) fn push(&mut self, name: &str, value: &str) {
        for part in [name, value] {
            self.wanted
                .extend_from_slice(&(part.len() as u32).to_le_bytes());
            self.wanted.extend_from_slice(part.as_bytes());
        }
    }

    /// The encoded labels of a series.
    pub(super) fn encoded(&self, series: u32) -> &[u8] {
        &self.keys[series as usize].labels
    }

    /// The series of labels encoded before.
    pub(super) fn find_encoded(
        &mut self,
        encoded: &[u8],
        memory: &mut Memory,
    ) -> Result<(u32, bool), EvalError> {
        self.wanted.clear();
        self.wanted.extend_from_slice(encoded);
        self.find(memory)
    }

    /// The series of the labels pushed, and whether it is new.
    pub(super) fn find(&mut self, memory: &mut Memory) -> Result<(u32, bool), EvalError> {
        let wanted = self.wanted.as_slice();
        let last = self.keys.get(self.last as usize);
        if last.is_some_and(|key| *key.labels == *wanted) {
            return Ok((self.last, false));
        }
        let hash = xxh3_64_with_seed(wanted, self.seed);
        let head = self.index.get(&hash).copied().unwrap_or(NONE);
        let mut at = head;
        while let Some(key) = self.keys.get(at as usize) {
            if *key.labels == *wanted {
                self.last = at;
                return Ok((at, false));
            }
            at = key.next;
        }
        memory.take(wanted.len() + SERIES_OVERHEAD)?;
        let series = self.keys.len() as u32;
        self.keys.push(Key {
            labels: wanted.into(),
            next: head,
        });
        self.index.insert(hash, series);
        self.last = series;
        Ok((series, true))
    }

    /// The labels of a series.
    pub(super) fn labels(&self, series: u32) -> SeriesLabels {
        decode(self.encoded(series))
    }

    /// The labels of a series. Its key is given up.
    pub(super) fn take(&mut self, series: u32, memory: &mut Memory) -> SeriesLabels {
        let encoded = std::mem::take(&mut self.keys[series as usize].labels);
        memory.give(encoded.len());
        decode(&encoded)
    }
}

/// The names and values that were pushed, in turn.
pub(super) fn parts(encoded: &[u8]) -> impl Iterator<Item = &str> {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (len, tail) = rest.split_first_chunk::<4>()?;
        let (text, tail) = tail.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        rest = tail;
        str::from_utf8(text).ok()
    })
}

fn decode(encoded: &[u8]) -> SeriesLabels {
    let mut parts = parts(encoded);
    let mut labels = SeriesLabels::new();
    while let (Some(name), Some(value)) = (parts.next(), parts.next()) {
        labels.push((name.to_owned(), value.to_owned()));
    }
    labels
}
