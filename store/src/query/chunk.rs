//! One decoded chunk through a pipeline.

use std::ops::{ControlFlow, Range};

use logql::Pairs;
use logql::eval::EvalError;
use logql::pipeline::{EntryView, LineFilter, Pipeline};
use logql::plan::Direction;
use wire::Labels;

/// Columns of one chunk, in buffers that are reused for the next one.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Timestamps, rising.
    pub(super) times: Vec<i64>,
    /// Where each line starts in `lines`, and one more for the end.
    pub(super) offsets: Vec<u32>,
    /// Lines, each followed by a line feed.
    pub(super) lines: Vec<u8>,
    /// Metadata of each entry: index into the chunk's [`Dictionary`].
    pub(super) metadata: Vec<u32>,
    /// Entries that may pass the leading filter.
    candidates: Vec<u32>,
}

impl Scratch {
    /// Bytes of the buffers.
    pub(super) fn memory(&self) -> usize {
        self.times.capacity() * 8
            + (self.offsets.capacity() + self.metadata.capacity() + self.candidates.capacity()) * 4
            + self.lines.capacity()
    }

    /// A line without its line feed.
    pub(super) fn line(&self, entry: usize) -> &[u8] {
        &self.lines[self.offsets[entry] as usize..self.offsets[entry + 1] as usize - 1]
    }

    /// Length of a line without its line feed.
    pub(super) fn line_len(&self, entry: usize) -> usize {
        (self.offsets[entry + 1] - self.offsets[entry]) as usize - 1
    }
}

/// Label pairs of metadata sets, looked up by id.
#[derive(Debug, Default)]
pub(super) struct Dictionary<'a> {
    pairs: Vec<(&'a str, &'a str)>,
    ends: Vec<u32>,
}

impl<'a> Dictionary<'a> {
    /// Splits the sets into pairs.
    pub(super) fn new(sets: impl Iterator<Item = Labels<'a>>) -> Dictionary<'a> {
        let mut dictionary = Dictionary::default();
        for set in sets {
            dictionary.pairs.extend(set.iter());
            dictionary.ends.push(dictionary.pairs.len() as u32);
        }
        dictionary
    }

    /// How many sets.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The pairs of a set.
    pub(super) fn get(&self, id: u32) -> Pairs<'_> {
        let id = id as usize;
        let start = id.checked_sub(1).map_or(0, |i| self.ends[i] as usize);
        &self.pairs[start..self.ends[id] as usize]
    }
}

/// The filter to search whole columns with: the first that passes only lines that contain something.
pub(super) fn column_filter(pipeline: &Pipeline) -> Option<&LineFilter> {
    pipeline.leading_filters().iter().find(|f| f.is_positive())
}

/// Visits the entries in `range` (with lines) that may pass the filter, in `direction`, until `visit` breaks. It gets
/// the entry's number in the block too.
pub(super) fn visit_lines(
    scratch: &mut Scratch,
    (stream, dictionary, ids): (Pairs<'_>, &Dictionary<'_>, &[u32]),
    range: Range<usize>,
    direction: Direction,
    filter: Option<&LineFilter>,
    mut visit: impl FnMut(usize, &EntryView<'_>) -> Result<ControlFlow<()>, EvalError>,
) -> Result<(), EvalError> {
    let mut candidates = std::mem::take(&mut scratch.candidates);
    candidates.clear();
    let all = filter.is_none();
    if let Some(filter) = filter {
        find_candidates(filter, scratch, range.clone(), &mut candidates);
    }
    let count = if all { range.len() } else { candidates.len() };
    let mut result = Ok(());
    for step in 0..count {
        let at = match direction {
            Direction::Forward => step,
            Direction::Backward => count - 1 - step,
        };
        let entry = if all {
            range.start + at
        } else {
            candidates[at] as usize
        };
        let view = EntryView {
            ts: scratch.times[entry],
            line: scratch.line(entry),
            stream,
            metadata: dictionary.get(ids[entry]),
        };
        match visit(entry, &view) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            Err(e) => {
                result = Err(e);
                break;
            }
        }
    }
    scratch.candidates = candidates;
    result
}

/// Entries in `range` whose line holds a candidate, rising.
fn find_candidates(
    filter: &LineFilter,
    scratch: &Scratch,
    range: Range<usize>,
    out: &mut Vec<u32>,
) {
    if range.is_empty() {
        return;
    }
    let end = scratch.offsets[range.end] as usize;
    let column = &scratch.lines[..end];
    let mut from = scratch.offsets[range.start] as usize;
    let mut entry = range.start;
    while from < end
        && let Some(found) = filter.find_candidate(column, from)
    {
        // Offsets rise, so the search for the line goes on where the last one ended.
        while scratch.offsets[entry + 1] as usize <= found {
            entry += 1;
            if entry == range.end {
                return;
            }
        }
        out.push(entry as u32);
        from = scratch.offsets[entry + 1] as usize;
    }
}
