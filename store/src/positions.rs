//! The position of every source: kept in the head, made durable with the entries before it, in the same file write.

use std::collections::BTreeMap;

use crate::limits::POSITIONS_BYTES_MAX;
use crate::segment::Position;

/// The complete table.
#[derive(Debug, Default)]
pub(crate) struct Positions {
    table: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
    changed: bool,
}

impl Positions {
    pub(crate) fn new(pairs: Vec<Position>) -> Positions {
        Positions {
            bytes: pairs.iter().map(|(k, p)| k.len() + p.len()).sum(),
            table: pairs.into_iter().collect(),
            changed: false,
        }
    }

    /// Whether a source of these lengths still fits.
    pub(crate) fn fits(&self, key: &[u8], position: Option<&[u8]>) -> bool {
        position.is_none_or(|p| self.bytes + key.len() + p.len() <= POSITIONS_BYTES_MAX)
    }

    /// Sets or forgets the position of a source.
    pub(crate) fn set(&mut self, key: &[u8], position: Option<&[u8]>) {
        match (self.table.get_mut(key), position) {
            (Some(old), Some(new)) if old == new => return,
            (Some(old), Some(new)) => {
                self.bytes = self.bytes - old.len() + new.len();
                old.clear();
                old.extend_from_slice(new);
            }
            (None, Some(new)) => {
                self.bytes += key.len() + new.len();
                self.table.insert(key.to_vec(), new.to_vec());
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

    /// The table as a flush writes it.
    pub(crate) fn snapshot(&mut self) -> Vec<Position> {
        self.changed = false;
        self.list()
    }

    pub(crate) fn list(&self) -> Vec<Position> {
        self.table
            .iter()
            .map(|(k, p)| (k.clone(), p.clone()))
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
        assert_eq!(
            positions.snapshot(),
            [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), vec![])]
        );
        positions.set(b"a", Some(b"1"));
        positions.set(b"c", None);
        assert!(!positions.changed());
        positions.set(b"a", None);
        positions.set(b"b", None);
        assert_eq!((positions.bytes, positions.changed()), (0, true));
    }
}
