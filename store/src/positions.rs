//! The position of every source: kept in the head, made durable with the entries before it, in the same file write.

use std::collections::BTreeMap;

use crate::codec::put_varint;
use crate::limits::POSITIONS_BYTES_MAX;
use crate::segment::Position;

/// The complete table.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    table: BTreeMap<Box<[u8]>, Box<[u8]>>,
    bytes: usize,
    changed: bool,
}

impl Positions {
    pub(crate) fn new(pairs: Vec<Position>) -> Positions {
        Positions {
            bytes: pairs.iter().map(|(k, p)| k.len() + p.len()).sum(),
            table: pairs
                .into_iter()
                .map(|(k, p)| (k.into(), p.into()))
                .collect(),
            changed: false,
        }
    }

    /// The position of a source.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.table.get(key).map(|position| &**position)
    }

    /// Whether a source of these lengths still fits.
    pub(crate) fn fits(&self, key: &[u8], position: Option<&[u8]>) -> bool {
        position.is_none_or(|p| self.bytes + key.len() + p.len() <= POSITIONS_BYTES_MAX)
    }

    /// Sets or forgets the position of a source.
    pub(crate) fn set(&mut self, key: &[u8], position: Option<&[u8]>) {
        match (self.table.get_mut(key), position) {
            (Some(old), Some(new)) if **old == *new => return,
            (Some(old), Some(new)) => {
                self.bytes = self.bytes - old.len() + new.len();
                if old.len() == new.len() {
                    old.copy_from_slice(new);
                } else {
                    *old = new.into();
                }
            }
            (None, Some(new)) => {
                self.bytes += key.len() + new.len();
                self.table.insert(key.into(), new.into());
            }
            (Some(old), None) => {
                self.bytes -= key.len() + old.len();
                self.table.remove(key);
            }
            (None, None) => return,
        }
        self.changed = true;
    }

    /// Whether anything was set since the last [`Positions::snapshot`].
    pub(crate) fn changed(&self) -> bool {
        self.changed
    }

    /// Has the next [`Positions::changed`] say yes.
    pub(crate) fn touch(&mut self) {
        self.changed = true;
    }

    /// The table as a flush writes it: keys and positions, each with a varint length.
    pub(crate) fn snapshot(&mut self) -> Vec<u8> {
        self.changed = false;
        let mut out = Vec::with_capacity(self.bytes + self.table.len() * 4);
        for part in self
            .table
            .iter()
            .flat_map(|(key, position)| [key, position])
        {
            put_varint(&mut out, part.len() as u64);
            out.extend_from_slice(part);
        }
        out
    }

    pub(crate) fn list(&self) -> Vec<Position> {
        self.table
            .iter()
            .map(|(k, p)| (k.to_vec(), p.to_vec()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_follow_the_table() {
        let mut positions = Positions::default();
        positions.set(b"a", Some(b"123"));
        positions.set(b"a", Some(b"1"));
        positions.set(b"b", Some(b""));
        assert_eq!(positions.bytes, 3);
        assert!(positions.changed());
        assert_eq!(positions.snapshot(), b"\x01a\x011\x01b\0");
        positions.set(b"a", Some(b"1"));
        positions.set(b"c", None);
        assert!(!positions.changed());
        positions.set(b"a", None);
        positions.set(b"b", None);
        assert_eq!((positions.bytes, positions.changed()), (0, true));
    }
}
