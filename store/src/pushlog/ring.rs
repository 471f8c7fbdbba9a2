//! The file of the push log: a header block and a ring of 4 KiB blocks, addressed by logical offsets that only rise.
//!
//! - A record may wrap around the end of the ring.
//! - The file grows in steps of zeros that are written and synced before they are used: blocks that were only allocated
//!   would cost a journal transaction each when they are first written to.
//! - The file appears under its name complete, or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;

use disk::{Disk, File, Mode, Purpose};

use crate::api::OpenError;
use crate::limits::{PUSH_LOG_BYTES_MAX, PUSH_LOG_BYTES_MIN};

/// Name of the log in the data directory.
pub(super) const NAME: &str = "push.log";
const TEMPORARY: &str = "push.log.tmp";
/// What a log whose header is damaged is renamed to.
const DAMAGED: &str = "push.log.damaged";
const MAGIC: [u8; 8] = *b"drupLOG1";
const VERSION: u32 = 1;
/// A block that was synced is not written to again before its content is covered by a segment.
pub(super) const BLOCK: u64 = 4096;
/// The file grows by this: a step is a pause of one write and sync for pushes, a smaller one comes more often.
const STEP: u64 = 1 << 20;

/// Not on the stack: threads that push may have a small one.
static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

const _: () =
    assert!(STEP.is_multiple_of(BLOCK) && (PUSH_LOG_BYTES_MIN as u64).is_multiple_of(BLOCK));

/// The open file.
#[derive(Debug, Clone)]
pub(super) struct Ring {
    file: Arc<dyn File>,
    /// Bytes of the ring, a multiple of [`BLOCK`].
    capacity: u64,
    /// Bytes of it that have been written to, from its start.
    ready: u64,
}

/// The capacity that a configured file size gives.
pub(super) fn capacity_of(size: usize) -> u64 {
    let size = size.clamp(PUSH_LOG_BYTES_MIN, PUSH_LOG_BYTES_MAX) as u64;
    size / BLOCK * BLOCK - BLOCK
}

/// The next multiple of `unit`.
pub(super) fn align(offset: u64, unit: u64) -> u64 {
    offset.div_ceil(unit) * unit
}

impl Ring {
    /// Makes the file anew, replacing one that is there.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn create(disk: &dyn Disk, dir: &Path, capacity: u64) -> io::Result<Ring> {
        let (path, temporary) = (dir.join(NAME), dir.join(TEMPORARY));
        let ready = STEP.min(capacity);
        disk::atomic::replace(disk, &temporary, &path, Purpose::PushLog, |file| {
            let mut header = [0; BLOCK as usize];
            header[..8].copy_from_slice(&MAGIC);
            header[8..12].copy_from_slice(&VERSION.to_le_bytes());
            header[12..20].copy_from_slice(&capacity.to_le_bytes());
            let sum = super::record::hash(&header[..20]);
            header[20..28].copy_from_slice(&sum.to_le_bytes());
            file.write_at(&header, 0)?;
            write_zeros(file, BLOCK, ready)
        })?;
        Ok(Ring {
            file: disk.open(&path, Mode::ReadWrite, Purpose::PushLog)?,
            capacity,
            ready,
        })
    }

    /// Opens the file. `None`: there is none, or it was damaged and put aside.
    ///
    /// # Errors
    /// [`OpenError::Newer`], [`OpenError::Io`].
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> Result<(Option<Ring>, bool), OpenError> {
        let path = dir.join(NAME);
        let io = |action| {
            let path = path.clone();
            move |source| OpenError::Io {
                action,
                path,
                source,
            }
        };
        match disk.open(&path, Mode::Read, Purpose::PushLog) {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok((None, false)),
            Err(e) => return Err(io("open")(e)),
        }
        let file = disk
            .open(&path, Mode::ReadWrite, Purpose::PushLog)
            .map_err(io("open"))?;
        let mut header = [0; 28];
        let capacity = match file.read_exact_at(&mut header, 0) {
            Ok(()) => check_header(&header),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => None,
            Err(e) => return Err(io("read")(e)),
        };
        match capacity {
            Some(Ok(capacity)) => {
                let len = file.len().map_err(io("read"))?;
                let ready = (len.saturating_sub(BLOCK) / BLOCK * BLOCK).min(capacity);
                Ok((
                    Some(Ring {
                        file,
                        capacity,
                        ready,
                    }),
                    false,
                ))
            }
            Some(Err(found)) => Err(OpenError::Newer {
                file: path,
                found,
                known: VERSION,
            }),
            None => {
                let aside = dir.join(DAMAGED);
                tracing::error!(
                    "the header of `{}` is damaged: what was pushed since the last flush is lost; the file is kept as `{}`",
                    path.display(),
                    aside.display()
                );
                drop(file);
                disk.rename(&path, &aside).map_err(io("rename"))?;
                disk.sync_dir(dir).map_err(io("sync the directory of"))?;
                Ok((None, true))
            }
        }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Bytes of the file.
    pub(super) fn size(&self) -> u64 {
        BLOCK + self.ready
    }

    /// The file, to be synced without holding a lock.
    pub(super) fn file(&self) -> Arc<dyn File> {
        Arc::clone(&self.file)
    }

    /// Fills `buf` from a logical offset; false when that was never written to.
    ///
    /// # Errors
    /// Those of the disk.
    pub(super) fn read(&self, buf: &mut [u8], offset: u64) -> io::Result<bool> {
        if buf.len() as u64 > self.capacity || self.needed(offset, buf.len()) > self.ready {
            return Ok(false);
        }
        let (at, first) = self.split(offset, buf.len());
        let (front, back) = buf.split_at_mut(first);
        let read = self.file.read_exact_at(front, BLOCK + at);
        let read = read.and_then(|()| self.file.read_exact_at(back, BLOCK));
        match read {
            Ok(()) => Ok(true),
            // Cut by somebody after it was opened.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Bytes of the ring that must be ready for a record.
    fn needed(&self, offset: u64, len: usize) -> u64 {
        let end = offset % self.capacity + len as u64;
        end.min(self.capacity)
    }

    /// Whether [`Ring::grow`] has something to do before `len` bytes can be written at `offset`.
    pub(super) fn must_grow(&self, offset: u64, len: usize) -> bool {
        self.needed(offset, len) > self.ready
    }

    /// Makes the file long enough for `len` bytes at `offset`.
    ///
    /// # Errors
    /// Of the write: nothing has changed. [`Grow::Sync`]: what was written before may be lost.
    pub(super) fn grow(&mut self, offset: u64, len: usize) -> Result<(), Grow> {
        let until = align(self.needed(offset, len), STEP).min(self.capacity);
        write_zeros(&*self.file, BLOCK + self.ready, until - self.ready).map_err(Grow::Write)?;
        self.file.sync().map_err(Grow::Sync)?;
        self.ready = until;
        Ok(())
    }

    /// Writes to the page cache.
    ///
    /// # Errors
    /// Those of the disk; the ring may hold a part of it.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        debug_assert!(!self.must_grow(offset, bytes.len()));
        let (at, first) = self.split(offset, bytes.len());
        let (front, back) = bytes.split_at(first);
        self.file.write_at(front, BLOCK + at)?;
        if back.is_empty() {
            return Ok(());
        }
        self.file.write_at(back, BLOCK)
    }

    /// Where a logical offset is in the ring, and how many of `len` bytes are there before its end.
    fn split(&self, offset: u64, len: usize) -> (u64, usize) {
        let at = offset % self.capacity;
        (at, (self.capacity - at).min(len as u64) as usize)
    }
}

/// Why the file did not grow.
#[derive(Debug)]
pub(super) enum Grow {
    /// A write failed.
    Write(io::Error),
    /// A sync failed.
    Sync(io::Error),
}

fn write_zeros(file: &dyn File, mut offset: u64, mut len: u64) -> io::Result<()> {
    while len > 0 {
        let n = len.min(ZEROS.len() as u64);
        file.write_at(&ZEROS[..n as usize], offset)?;
        offset += n;
        len -= n;
    }
    Ok(())
}

/// The capacity, or the version of a newer file; `None` when it is damaged.
fn check_header(header: &[u8; 28]) -> Option<Result<u64, u32>> {
    let word = |at: usize| {
        let bytes = header[at..at + 8].try_into().expect("eight bytes");
        u64::from_le_bytes(bytes)
    };
    if header[..8] != MAGIC || word(20) != super::record::hash(&header[..20]) {
        return None;
    }
    let version = word(8) as u32;
    if version > VERSION {
        return Some(Err(version));
    }
    let capacity = word(12);
    let sane = (capacity_of(0)..=capacity_of(usize::MAX)).contains(&capacity);
    (version == VERSION && sane && capacity.is_multiple_of(BLOCK)).then_some(Ok(capacity))
}
