//! The one door to the files that drupelet writes.
//!
//! [`Disk`] is everything the rest of the program sees of a file system: synchronous, small, and exact about what
//! survives what. [`RealDisk`](real::RealDisk) is the operating system; `sim::SimDisk` (feature `sim`, tests only)
//! loses, tears and keeps unsynced writes, fails the Nth operation, and runs full.
//!
//! Architecture invariant: nothing here knows what is in a file.
//!
//! | after | survives `kill -9` | survives a power cut |
//! |---|---|---|
//! | [`File::write_at`] | yes (page cache) | not before [`File::sync`] |
//! | [`File::sync`] | yes | the file's bytes and length; its *name* only after [`Disk::sync_dir`] |
//! | [`Disk::rename`], [`Disk::remove`], creation | yes | not before [`Disk::sync_dir`] of the parent |
#![forbid(unsafe_code)]

pub mod atomic;
pub mod real;
#[cfg(any(test, feature = "sim"))]
pub mod sim;
#[cfg(test)]
mod suite;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a byte was written for; bytes are counted by purpose for `/metrics` (promise P5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// A flush segment: log lines, written once.
    Segment,
    /// Compaction output.
    Compaction,
    /// The push log.
    PushLog,
    /// Small files of our own: lock, quarantine list, checkpoint.
    State,
}

impl Purpose {
    /// Every purpose, in the order in which [`Disk::written`] lists them.
    pub const ALL: [Purpose; 4] = [
        Purpose::Segment,
        Purpose::Compaction,
        Purpose::PushLog,
        Purpose::State,
    ];
}

/// How to open a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Existing file, reading only.
    Read,
    /// New file for reading and writing; an existing one is an error (`AlreadyExists`).
    CreateNew,
    /// Reading and writing; created if missing, never truncated.
    ReadWrite,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// File name without directory.
    pub name: String,
    /// Length in bytes; 0 for directories.
    pub len: u64,
    /// Whether it is a directory.
    pub is_dir: bool,
}

/// Size and free space of the file system behind a directory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Total size.
    pub total: u64,
    /// Free for this process.
    pub available: u64,
}

/// A file system as drupelet sees it. All methods block.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// As the operating system's `open`.
    fn open(&self, path: &Path, mode: Mode, purpose: Purpose) -> io::Result<Arc<dyn File>>;
    /// Lists a directory in name order. Names that are not UTF-8 are left out: none of ours are such.
    ///
    /// # Errors
    /// As `readdir`.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Renames within a file system, replacing `to`. Durable after [`Disk::sync_dir`] of both parents.
    ///
    /// # Errors
    /// As `rename`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file. Durable after [`Disk::sync_dir`].
    ///
    /// # Errors
    /// As `unlink`.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Creates a directory and its parents; fine if it exists. The only change of names that is durable on return:
    /// a directory whose own name was lost would take everything synced below it along.
    ///
    /// # Errors
    /// As `mkdir` and `fsync`.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;
    /// Makes names created, renamed or removed in `dir` durable.
    ///
    /// # Errors
    /// As `fsync`.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Space on the file system that holds `dir`.
    ///
    /// # Errors
    /// As `statvfs`.
    fn space(&self, dir: &Path) -> io::Result<Space>;
    /// Takes an exclusive advisory lock that lives as long as the returned guard; `WouldBlock` if another process
    /// holds it. The file is created if missing.
    ///
    /// # Errors
    /// As `open` and `flock`.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>>;
    /// The path as the operating system knows it, for what cannot go through this trait (SQLite); `None` in the
    /// simulator when the caller has to do without.
    fn real_path(&self, path: &Path) -> Option<PathBuf>;
    /// Bytes written through this disk so far, by purpose.
    fn written(&self) -> Vec<(Purpose, u64)>;
}

/// An open file. Methods take `&self`: positions are explicit and a file may be read by several threads.
#[expect(
    clippy::len_without_is_empty,
    reason = "asking a file is a system call that can fail"
)]
pub trait File: Send + Sync + std::fmt::Debug {
    /// Length in bytes.
    ///
    /// # Errors
    /// As `fstat`.
    fn len(&self) -> io::Result<u64>;
    /// Reads up to `buf.len()` bytes at `offset`; 0 only at the end of the file.
    ///
    /// # Errors
    /// As `pread`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all of `buf` at `offset`, growing the file.
    ///
    /// # Errors
    /// As `pwrite`; the bytes before the fault may have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Sets the length; new bytes are zero.
    ///
    /// # Errors
    /// As `ftruncate`.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes the file's bytes and length durable (`fdatasync`).
    ///
    /// # Errors
    /// As `fdatasync`. After an error the state of the file is unknown: drop it, do not sync again.
    fn sync(&self) -> io::Result<()>;
    /// Has the device begin to write a range, so that a later [`File::sync`] finds little left to do. A hint: it waits for
    /// nothing, syncs nothing, and may do nothing. The range is not kept in memory afterwards.
    fn write_out(&self, offset: u64, len: u64) {
        let _ = (offset, len);
    }
    /// Has the system read from the device what is asked for and nothing beyond: for files of which little is read, here and
    /// there. A hint.
    fn read_sparsely(&self) {}
    /// Reads exactly `buf.len()` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends first; otherwise as [`File::read_at`].
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = &mut buf[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Holds a lock until dropped.
pub trait LockGuard: Send + Sync + std::fmt::Debug {
    /// Replaces the text in the lock file (who holds it), for the message a second process prints.
    ///
    /// # Errors
    /// As `write`.
    fn set_note(&self, note: &str) -> io::Result<()>;
}
