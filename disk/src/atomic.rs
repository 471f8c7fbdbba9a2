//! Whole files that appear under their name completely or not at all.
//!
//! The protocol, and what a power cut after each step leaves behind:
//!
//! | step | a cut after it leaves |
//! |---|---|
//! | 1. remove a stale temporary file, create it anew, write | the old file (or none); perhaps a temporary one |
//! | 2. sync the temporary file | the same |
//! | 3. rename it | the old or the new file, each complete |
//! | 4. sync the directory | the new file: **committed** |

use std::io;
use std::path::Path;

use crate::{Disk, File, Mode, Purpose};

/// Writes a file by way of `temporary`, which must lie in the same directory as `path`, and commits it.
///
/// `fill` writes the content. When it fails, or anything else before the rename does, the temporary file is removed
/// (as far as the disk allows) and what was at `path` is unchanged.
///
/// # Errors
/// Those of `fill` and of the disk. After an error of the last step (the sync of the directory) the new file is in
/// place but may not survive a power cut.
pub fn replace(
    disk: &dyn Disk,
    temporary: &Path,
    path: &Path,
    purpose: Purpose,
    fill: impl FnOnce(&dyn File) -> io::Result<()>,
) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    match disk.remove(temporary) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let written =
        write_temporary(disk, temporary, purpose, fill).and_then(|()| disk.rename(temporary, path));
    if let Err(e) = written {
        // A leftover is removed by the next attempt as well; the first error is the one to report.
        let _ = disk.remove(temporary);
        return Err(e);
    }
    disk.sync_dir(dir)
}

fn write_temporary(
    disk: &dyn Disk,
    temporary: &Path,
    purpose: Purpose,
    fill: impl FnOnce(&dyn File) -> io::Result<()>,
) -> io::Result<()> {
    let file = disk.open(temporary, Mode::CreateNew, purpose)?;
    fill(file.as_ref())?;
    file.sync()
}

/// Reads a whole file of at most `max` bytes.
///
/// # Errors
/// `InvalidData` if the file is longer than `max`; otherwise as [`Disk::open`] and [`File::read_at`].
pub fn read(disk: &dyn Disk, path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let file = disk.open(path, Mode::Read, Purpose::State)?;
    let len = file.len()?;
    if len > max {
        let text = format!(
            "`{}` has {len} bytes, at most {max} are allowed",
            path.display()
        );
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
