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
use crate::segment::{self, Reader, SegmentError};

/// What the folder holds.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    /// Highest sequence seen in any file name, intact or not; 0 without segments.
    pub(crate) sequence: u64,
    /// Segments, and their bytes.
    pub(crate) segments: u64,
    /// Bytes of all segments.
    pub(crate) bytes: u64,
    /// Segments whose summary cannot be read.
    pub(crate) damaged: u64,
    /// Positions of all sources.
    pub(crate) positions: Positions,
}

/// Reads the folder, creating it if missing.
///
/// # Errors
/// [`OpenError::Newer`] before anything was changed; [`OpenError::Io`].
pub(crate) fn recover(disk: &dyn Disk, dir: &Path) -> Result<Recovered, OpenError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io { action, path, source }
    };
    disk.create_dir_all(dir).map_err(io("create", dir))?;
    let mut recovered = Recovered::default();
    let mut temporary: Vec<PathBuf> = Vec::new();
    let mut newest: Option<Reader> = None;
    let mut fallback = false;
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
        recovered.segments += 1;
        recovered.bytes += entry.len;
        match Reader::open(disk, &path) {
            Ok(reader) if reader.summary().has_positions => match reader.positions() {
                Ok(positions) => {
                    recovered.positions = Positions::new(positions);
                    newest = Some(reader);
                    fallback = false;
                }
                Err(error) => {
                    tracing::warn!("{error}; it is kept and left out");
                    recovered.damaged += 1;
                    fallback = true;
                }
            },
            Ok(_) => {}
            Err(SegmentError::Newer { path, found }) => {
                return Err(OpenError::Newer {
                    file: path,
                    found,
                    known: segment::VERSION,
                });
            }
            Err(SegmentError::Damaged { path, what }) => {
                tracing::warn!("`{}` is damaged ({what}); it is kept and left out", path.display());
                recovered.damaged += 1;
                fallback = true;
            }
            Err(SegmentError::Io { path, source }) => {
                return Err(OpenError::Io {
                    action: "read",
                    path,
                    source,
                });
            }
            Err(error @ SegmentError::Block { .. }) => tracing::warn!("{error}"),
        }
    }
    if fallback {
        let from = newest.map_or_else(|| "none".into(), |r| r.path().display().to_string());
        tracing::error!("the newest segment is damaged: positions come from {from}, sources are read again from there");
    }
    remove_temporary(disk, dir, &temporary).map_err(io("remove temporary files in", dir))?;
    Ok(recovered)
}

fn remove_temporary(disk: &dyn Disk, dir: &Path, files: &[PathBuf]) -> std::io::Result<()> {
    for file in files {
        disk.remove(file)?;
    }
    if files.is_empty() { Ok(()) } else { disk.sync_dir(dir) }
}
