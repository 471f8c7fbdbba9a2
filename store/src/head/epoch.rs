//! Everything accepted since the last flush began: what one segment will hold.

use std::sync::Arc;

use super::sets::Sets;
use crate::codec::{Cursor, put_varint, unzigzag, zigzag};
use crate::segment::{Cell, Marks, Row};

/// What the head knows of a stream, by the number of its labels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StreamState {
    /// Raw bytes (lines and line feeds) in the nursery.
    pub(crate) raw_bytes: u32,
    /// Entries in the nursery.
    pub(crate) entries: u32,
    /// Raw bytes since the epoch began, those in the nursery included.
    pub(crate) total_bytes: u64,
    /// Greatest timestamp since the epoch began, ns; `i64::MIN` without entries.
    pub(crate) newest: i64,
}

impl Default for StreamState {
    fn default() -> StreamState {
        StreamState {
            raw_bytes: 0,
            entries: 0,
            total_bytes: 0,
            newest: i64::MIN,
        }
    }
}

/// A sealed block with runs of several streams. Rows and minute tables follow from its columns: kept ready they would
/// take as much as the lines, as most runs are a line or two.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) block: Arc<[u8]>,
    /// Per run a zigzag delta of the stream's number and a count of entries, varints.
    runs: Box<[u8]>,
    /// It is the first of those that were sealed together: from here on streams rise again, by labels.
    pub(crate) begins: bool,
}

impl Shared {
    pub(crate) fn new(
        block: Arc<[u8]>,
        runs: impl Iterator<Item = (u32, u32)>,
        begins: bool,
    ) -> Shared {
        let mut bytes = Vec::new();
        let mut last = 0;
        for (stream, entries) in runs {
            put_varint(&mut bytes, zigzag(i64::from(stream) - last));
            put_varint(&mut bytes, u64::from(entries));
            last = i64::from(stream);
        }
        Shared {
            block,
            runs: bytes.into(),
            begins,
        }
    }

    /// Number of the stream and entries of each run, in order.
    pub(crate) fn runs(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let mut cursor = Cursor::new(&self.runs);
        let mut last = 0;
        std::iter::from_fn(move || {
            last += unzigzag(cursor.varint()?);
            Some((last as u32, cursor.varint()? as u32))
        })
    }

    fn memory(&self) -> usize {
        // Two allocations' overhead, and reference counts.
        size_of::<Shared>() + self.runs.len() + 48
    }
}

/// A sealed block of one stream.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) block: Arc<[u8]>,
    /// For the skip index, if it is not likely to be joined with others.
    pub(crate) marks: Option<Marks>,
}

/// Streams, metadata, sealed blocks. Shared with the flush thread once frozen, and never changed after that.
#[derive(Debug, Default)]
pub(crate) struct Epoch {
    /// Sequence of the segment that it becomes.
    pub(crate) sequence: u64,
    pub(crate) labels: Sets,
    pub(crate) streams: Vec<StreamState>,
    pub(crate) metas: Sets,
    /// Blocks of one stream each.
    pub(crate) blocks: Vec<Own>,
    marks: usize,
    /// Bytes of all blocks.
    pub(crate) block_bytes: usize,
    /// In order of arrival. A stream's runs here came before its blocks.
    pub(crate) shared: Vec<Shared>,
    shared_tables: usize,
    /// Rows of `blocks`: `stream` is the number of the labels, `block` an index, the block's place is not filled in.
    pub(crate) rows: Vec<Row>,
    /// `metadata` is the number in `metas`.
    pub(crate) cells: Vec<Cell>,
}

impl Epoch {
    pub(crate) fn new(sequence: u64) -> Epoch {
        Epoch {
            sequence,
            ..Epoch::default()
        }
    }

    pub(crate) fn push_own(&mut self, own: Own) {
        self.block_bytes += own.block.len();
        self.marks += own.marks.as_ref().map_or(0, Marks::memory);
        self.blocks.push(own);
    }

    pub(crate) fn push_shared(&mut self, shared: Shared) {
        self.block_bytes += shared.block.len();
        self.shared_tables += shared.memory();
        self.shared.push(shared);
    }

    /// Greatest timestamp of a stream, ns, if it has entries here.
    pub(crate) fn newest(&self, labels: &[u8]) -> Option<i64> {
        let state = self.streams.get(self.labels.find(labels)? as usize)?;
        (state.total_bytes > 0).then_some(state.newest)
    }

    /// Cells of one of its rows.
    pub(crate) fn cells_of(&self, row: &Row) -> &[Cell] {
        let from = row.cell as usize;
        &self.cells[from..from + row.chunk.cells.unwrap_or(0) as usize]
    }

    /// Bytes of the pool in use.
    pub(crate) fn memory(&self) -> usize {
        self.block_bytes + self.tables()
    }

    /// Bytes of all but blocks.
    pub(crate) fn tables(&self) -> usize {
        self.labels.memory()
            + self.metas.memory()
            + self.streams.len() * size_of::<StreamState>()
            + self.shared_tables
            // Reference counts and an allocation's overhead.
            + self.blocks.len() * (size_of::<Own>() + 16)
            + self.marks
            + self.rows.len() * size_of::<Row>()
            + self.cells.len() * size_of::<Cell>()
    }

    /// Forgets metadata sets that no cell refers to. Only while the nursery is empty: its records hold numbers.
    pub(crate) fn forget_unused_metas(&mut self) {
        let mut kept = Sets::default();
        let mut set = Vec::new();
        let mut map = vec![u32::MAX; self.metas.len()];
        for cell in &mut self.cells {
            let to = &mut map[cell.metadata as usize];
            if *to == u32::MAX {
                set.clear();
                self.metas.append_to(cell.metadata, &mut set);
                *to = kept.intern(&set);
            }
            cell.metadata = *to;
        }
        self.metas = kept;
    }

    /// The rows in order of labels, given as the streams' places in that order; those of a stream in order of arrival.
    pub(crate) fn rows_by_labels(&self, rank: &[u32]) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        // Stable: rows of a stream stay in order of arrival.
        rows.sort_by_key(|row| rank[row.chunk.stream as usize]);
        rows
    }

    /// Numbers of the streams with entries, in order of labels.
    pub(crate) fn streams_by_labels(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.labels.len() as u32).collect();
        order.retain(|id| self.streams[*id as usize].total_bytes > 0);
        self.labels.sort(&mut order);
        order
    }
}
