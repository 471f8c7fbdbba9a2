//! Everything accepted since the last flush began: what one segment will hold.

use std::sync::Arc;

use super::intern::Interner;
use crate::segment::{Cell, Chunk};

/// What the head knows of a stream, by the number of its labels.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamState {
    /// Raw bytes (lines and line feeds) in the nursery.
    pub(crate) raw_bytes: u32,
    /// Entries in the nursery.
    pub(crate) entries: u32,
    /// Raw bytes since the epoch began, those in the nursery included.
    pub(crate) total_bytes: u64,
}

/// A sealed run of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    /// `stream` is the number of the labels; the block's place is not filled in.
    pub(crate) chunk: Chunk,
    /// Index into [`Epoch::blocks`].
    pub(crate) block: u32,
    /// First cell in [`Epoch::cells`]; as many as `chunk.cells` says.
    pub(crate) cell: u32,
}

/// Streams, metadata, sealed blocks. Shared with the flush thread once frozen, and never changed after that.
#[derive(Debug, Default)]
pub(crate) struct Epoch {
    /// Sequence of the segment that it becomes.
    pub(crate) sequence: u64,
    pub(crate) labels: Interner,
    pub(crate) streams: Vec<StreamState>,
    pub(crate) metas: Interner,
    pub(crate) blocks: Vec<Arc<[u8]>>,
    pub(crate) block_bytes: usize,
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

    /// Cells of one of its rows.
    pub(crate) fn cells_of(&self, row: &Row) -> &[Cell] {
        let from = row.cell as usize;
        &self.cells[from..from + row.chunk.cells.unwrap_or(0) as usize]
    }

    /// Bytes of the pool in use.
    pub(crate) fn memory(&self) -> usize {
        self.block_bytes + self.blocks.len() * 32 + self.tables()
    }

    /// Bytes of all but blocks.
    pub(crate) fn tables(&self) -> usize {
        self.labels.memory()
            + self.metas.memory()
            + self.streams.len() * size_of::<StreamState>()
            + self.rows.len() * size_of::<Row>()
            + self.cells.len() * size_of::<Cell>()
    }

    /// Forgets metadata sets that no cell refers to. Only while the nursery is empty: its records hold numbers.
    pub(crate) fn forget_unused_metas(&mut self) {
        let mut kept = Interner::default();
        let mut map = vec![u32::MAX; self.metas.len()];
        for cell in &mut self.cells {
            let to = &mut map[cell.metadata as usize];
            if *to == u32::MAX {
                *to = kept.intern(self.metas.get(cell.metadata));
            }
            cell.metadata = *to;
        }
        self.metas = kept;
    }

    /// The rows in order of labels; those of a stream in order of arrival.
    pub(crate) fn rows_by_labels(&self) -> Vec<&Row> {
        let mut rank = vec![0; self.labels.len()];
        for (i, id) in self.streams_by_labels().iter().enumerate() {
            rank[*id as usize] = i as u32;
        }
        let mut rows: Vec<&Row> = self.rows.iter().collect();
        // Stable: rows of a stream stay in order of arrival.
        rows.sort_by_key(|row| rank[row.chunk.stream as usize]);
        rows
    }

    /// Numbers of the streams with entries, in order of labels.
    pub(crate) fn streams_by_labels(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.labels.len() as u32).collect();
        order.retain(|id| self.streams[*id as usize].total_bytes > 0);
        order.sort_unstable_by_key(|id| self.labels.get(*id));
        order
    }
}
