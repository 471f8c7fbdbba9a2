//! The columns of a block being built, and the rows and minute tables that follow from them.

use std::io;
use std::sync::Arc;

use super::sets::Sets;
use crate::block::{BlockInput, Encoder, checksum};
use crate::limits::{MINUTE_CELLS_MAX, MINUTE_SETS_MAX};
use crate::segment::{Cell, Chunk, Row, minute_of};

/// See the module documentation. Entries of a run come in order of time.
#[derive(Debug, Default)]
pub(super) struct Columns {
    times: Vec<i64>,
    lengths: Vec<u32>,
    ids: Vec<u32>,
    lines: Vec<u8>,
    /// Numbers of the metadata sets in the block's dictionary.
    sets: Vec<u32>,
    sets_bytes: usize,
    /// By number of the metadata set: its id in the block, or `u32::MAX`.
    local: Vec<u32>,
    /// Stream and first entry of each run.
    runs: Vec<(u32, u32)>,
}

impl Columns {
    pub(super) fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    pub(super) fn raw_bytes(&self) -> usize {
        self.lines.len()
    }

    /// The lines, each followed by a line feed.
    pub(super) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Bytes of the metadata sets that the block refers to.
    pub(super) fn sets_bytes(&self) -> usize {
        self.sets_bytes
    }

    /// Begins the run of a stream, given by its number in `labels`.
    pub(super) fn start_run(&mut self, stream: u32) {
        self.runs.push((stream, self.times.len() as u32));
    }

    /// The runs: stream, first entry, entries.
    pub(super) fn spans(&self) -> impl Iterator<Item = (u32, u32, u32)> + '_ {
        let ends = self.runs.iter().skip(1).map(|run| run.1);
        let ends = ends.chain([self.times.len() as u32]);
        let runs = self.runs.iter().zip(ends);
        runs.map(|((stream, first), end)| (*stream, *first, end - first))
    }

    /// The block of these columns. Without `labels` its runs do not say whose they are: for blocks that never reach
    /// the disk. With `spare_lengths` it has no lengths where the lines tell them: for blocks as they are to be
    /// on disk, whose minute tables are kept beside them.
    ///
    /// # Errors
    /// As [`Encoder::block`].
    pub(super) fn encode(
        &self,
        encoder: &mut Encoder,
        labels: Option<&Sets>,
        metas: &Sets,
        spare_lengths: bool,
    ) -> io::Result<Arc<[u8]>> {
        let mut bytes = Vec::with_capacity(self.sets_bytes);
        let mut ends = Vec::with_capacity(self.sets.len());
        for id in &self.sets {
            metas.append_to(*id, &mut bytes);
            ends.push(bytes.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let sets: Vec<&[u8]> = starts
            .zip(&ends)
            .map(|(from, to)| &bytes[from..*to])
            .collect();
        let mut set = Vec::new();
        let mut hash = |stream| {
            labels.map_or(0, |labels| {
                set.clear();
                labels.append_to(stream, &mut set);
                checksum(&set)
            })
        };
        let runs: Vec<(u32, u32)> = self
            .spans()
            .map(|(stream, _, entries)| (hash(stream), entries))
            .collect();
        let (bytes, _) = encoder.block(&BlockInput {
            times: &self.times,
            lengths: &self.lengths,
            spare_lengths,
            ids: &self.ids,
            lines: &self.lines,
            sets: &sets,
            runs: &runs,
        })?;
        Ok(Arc::from(bytes))
    }

    /// Appends the rows of the runs, and their cells.
    pub(super) fn rows(&self, block: u32, cells: &mut Vec<Cell>, rows: &mut Vec<Row>) {
        for (stream, first, entries) in self.spans() {
            let row = self.row(stream, first, entries, block, cells);
            rows.push(row);
        }
    }

    /// Appends an entry to the open run; `meta` is its number in `metas`.
    pub(super) fn push(&mut self, ts: i64, meta: u32, line: &[u8], metas: &Sets) {
        if self.local.len() <= meta as usize {
            self.local.resize(metas.len(), u32::MAX);
        }
        let id = &mut self.local[meta as usize];
        if *id == u32::MAX {
            *id = self.sets.len() as u32;
            self.sets.push(meta);
            self.sets_bytes += metas.bytes_of(meta);
        }
        self.ids.push(*id);
        self.times.push(ts);
        self.lengths.push(line.len() as u32);
        self.lines.extend_from_slice(line);
        self.lines.push(b'\n');
    }

    pub(super) fn clear(&mut self) {
        for meta in &self.sets {
            self.local[*meta as usize] = u32::MAX;
        }
        self.times.clear();
        self.lengths.clear();
        self.ids.clear();
        self.lines.clear();
        self.sets.clear();
        self.sets_bytes = 0;
        self.runs.clear();
    }

    /// The row of a run, its cells appended to `cells`.
    fn row(&self, stream: u32, first: u32, entries: u32, block: u32, cells: &mut Vec<Cell>) -> Row {
        let range = first as usize..(first + entries) as usize;
        let run = RunColumns {
            times: &self.times[range.clone()],
            lengths: &self.lengths[range.clone()],
            ids: &self.ids[range],
            sets: &self.sets,
        };
        let cell = cells.len() as u32;
        let mut chunk = run.chunk(cells);
        (chunk.stream, chunk.first) = (stream, first);
        Row { chunk, block, cell }
    }
}

/// The columns of one run, at least one entry, ordered by time.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunColumns<'a> {
    pub(super) times: &'a [i64],
    pub(super) lengths: &'a [u32],
    pub(super) ids: &'a [u32],
    /// Number of the metadata set by id.
    pub(super) sets: &'a [u32],
}

impl RunColumns<'_> {
    /// The chunk of the run (stream and places are not filled in), its cells appended to `cells`.
    pub(super) fn chunk(&self, cells: &mut Vec<Cell>) -> Chunk {
        let start = cells.len();
        let whole = self.count_minutes(cells);
        if !whole {
            cells.truncate(start);
        }
        let bytes: u64 = self.lengths.iter().map(|len| u64::from(*len)).sum();
        Chunk {
            stream: 0,
            block_offset: 0,
            block_bytes: 0,
            first: 0,
            entries: self.times.len() as u32,
            min_ts: self.times[0],
            max_ts: self.times[self.times.len() - 1],
            raw_bytes: bytes + self.times.len() as u64,
            cells: whole.then_some((cells.len() - start) as u32),
        }
    }

    /// Appends the minute table; false when it would be too large.
    fn count_minutes(&self, cells: &mut Vec<Cell>) -> bool {
        let start = cells.len();
        let mut minute_start = start;
        let mut minute = i64::MIN;
        // The minute of the previous entry ends here: most entries need no division.
        let mut until = i64::MIN;
        for ((ts, len), id) in self.times.iter().zip(self.lengths).zip(self.ids) {
            if *ts > until || minute == i64::MIN {
                minute = minute_of(*ts);
                until = minute
                    .saturating_add(1)
                    .saturating_mul(crate::segment::MINUTE_NS);
                minute_start = cells.len();
            }
            let metadata = self.sets[*id as usize];
            if let Some(cell) = cells[minute_start..]
                .iter_mut()
                .find(|c| c.metadata == metadata)
            {
                cell.entries += 1;
                cell.bytes += u64::from(*len);
                continue;
            }
            if cells.len() - minute_start >= MINUTE_SETS_MAX
                || cells.len() - start >= MINUTE_CELLS_MAX
            {
                return false;
            }
            cells.push(Cell {
                minute,
                metadata,
                entries: 1,
                bytes: u64::from(*len),
            });
        }
        true
    }
}
