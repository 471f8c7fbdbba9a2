//! Finding out what is durable when a store opens.
//!
//! Evidence is the segment folder alone. The highest sequence that is intact tells the positions of all sources.
//! By the commit protocol the newest segment cannot be torn, so a damaged one means damage: it is kept, skipped,
//! counted and named, and the next lower intact one gives the positions; sources are then read again from there.
//! Temporary files are flushes that were never committed: they are removed. A file of a newer format stops the start
//! before anything is touched.

use std::path::{Path, PathBuf};

use disk::Disk;

use crate::api::OpenError;
use crate::positions::Positions;
use crate::retention::Dead;
use crate::segment::{self, Reader, SegmentEntry, SegmentError};

/// What the folder holds.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Highest sequence seen in any file name, intact or not; 0 without segments.
    pub(crate) sequence: u64,
    /// Segments that can be read, by sequence.
    pub(crate) segments: Vec<SegmentEntry>,
    /// Files of which what is needed cannot be read, by sequence.
    pub(crate) damaged: Vec<Dead>,
    /// Sequence of the segment that `positions` come from; 0 without.
    pub(crate) table: u64,
    /// Positions of all sources.
    pub(crate) positions: Positions,
}

impl Recovered {
    /// Damaged segments that are newer than the table of positions.
    pub(crate) fn damaged_above_table(&self) -> Vec<u64> {
        let damaged = self.damaged.iter().map(|dead| dead.sequence);
        damaged.filter(|s| *s > self.table).collect()
    }
}

/// Reads the folder, creating it if missing.
///
/// # Errors
/// [`OpenError::Newer`] before anything was changed; [`OpenError::Io`].
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Recovered, OpenError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io {
            action,
            path,
            source,
        }
    };
    disk.create_dir_all(dir).map_err(io("create", dir))?;
    let mut recovered = Recovered::default();
    let mut temporary: Vec<PathBuf> = Vec::new();
    // In name order, which is the order of sequences: the last one found is the newest.
    for entry in disk.list(dir).map_err(io("list", dir))? {
        let path = dir.join(&entry.name);
        let Some(sequence) = segment::parse_name(&entry.name) else {
            if entry.name.ends_with(".tmp") && !entry.is_dir {
                temporary.push(path);
            }
            continue;
        };
        recovered.sequence = recovered.sequence.max(sequence);
        match read_segment(disk, &path, |reader| Ok(reader.clone()))? {
            Some(reader) => recovered.segments.push(SegmentEntry::of(&reader)),
            None => {
                recovered.damaged.push(Dead {
                    sequence,
                    bytes: entry.len,
                    entries: 0,
                });
            }
        }
    }
    recover_positions(disk, dir, &mut recovered)?;
    remove_temporary(disk, dir, &temporary).map_err(io("remove temporary files in", dir))?;
    Ok(recovered)
}

/// Takes the positions of the newest segment that has them whole.
fn recover_positions(
    disk: &dyn Disk,
    dir: &Path,
    recovered: &mut Recovered,
) -> Result<(), OpenError> {
    let mut newest_damaged = recovered.damaged.last().map_or(0, |dead| dead.sequence);
    for entry in recovered.segments.iter().rev() {
        let path = dir.join(segment::file_name(entry.sequence));
        let read = read_segment(disk, &path, |reader| {
            let has = reader.summary().has_positions;
            has.then(|| reader.positions()).transpose()
        })?;
        match read {
            Some(Some(positions)) => {
                recovered.positions = Positions::new(positions);
                recovered.table = entry.sequence;
                break;
            }
            // A compacted segment: the flush segment that covers it is another one.
            Some(None) => {}
            None => newest_damaged = newest_damaged.max(entry.sequence),
        }
    }
    if newest_damaged > recovered.table {
        tracing::error!(
            damaged = segment::file_name(newest_damaged),
            "the newest segment is damaged: positions come from an older one, sources are read again from there"
        );
    }
    Ok(())
}

/// Reads something of a segment; `None` when that is damaged.
fn read_segment<T>(
    disk: &dyn Disk,
    path: &Path,
    get: impl FnOnce(&Reader) -> Result<T, SegmentError>,
) -> Result<Option<T>, OpenError> {
    match Reader::open(disk, path).and_then(|reader| get(&reader)) {
        Ok(value) => Ok(Some(value)),
        Err(SegmentError::Newer { path, found }) => Err(OpenError::Newer {
            file: path,
            found,
            known: segment::VERSION,
        }),
        Err(SegmentError::Io { path, source }) => Err(OpenError::Io {
            action: "read",
            path,
            source,
        }),
        Err(error) => {
            tracing::warn!("{error}; the file is kept");
            Ok(None)
        }
    }
}

fn remove_temporary(disk: &dyn Disk, dir: &Path, files: &[PathBuf]) -> std::io::Result<()> {
    for file in files {
        disk.remove(file)?;
    }
    if files.is_empty() {
        Ok(())
    } else {
        disk.sync_dir(dir)
    }
}
