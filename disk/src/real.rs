//! [`RealDisk`]: the operating system's files.
//!
//! Opens files with close-on-exec, reads and writes at explicit offsets, syncs with `fdatasync`, locks with `flock`
//! (which the kernel releases when the process dies, however it dies).

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{Advice, FlockOperation, fadvise, flock, statvfs};

use crate::{DirEntry, Disk, File, LockGuard, Mode, Purpose, Space};

/// Bytes written, one counter for each of [`Purpose::ALL`].
#[derive(Debug, Default)]
pub(crate) struct Counters([AtomicU64; Purpose::ALL.len()]);

impl Counters {
    pub(crate) fn add(&self, purpose: Purpose, bytes: u64) {
        self.0[purpose as usize].fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn list(&self) -> Vec<(Purpose, u64)> {
        Purpose::ALL
            .into_iter()
            .map(|p| (p, self.0[p as usize].load(Ordering::Relaxed)))
            .collect()
    }
}

/// The operating system's file system. Clones share their counters.
#[derive(Debug, Clone, Default)]
pub struct RealDisk {
    counters: Arc<Counters>,
}

impl RealDisk {
    /// A disk with its counters at zero.
    #[must_use]
    pub fn new() -> RealDisk {
        RealDisk::default()
    }
}

#[derive(Debug)]
struct RealFile {
    file: fs::File,
    purpose: Purpose,
    counters: Arc<Counters>,
}

impl File for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buf, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    fn write_at(&self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.file.write_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.counters.add(self.purpose, n as u64);
                    buf = &buf[n..];
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write_out(&self, offset: u64, len: u64) {
        // Dropping dirty pages begins with writing them, and unlike fdatasync asks for no journal commit. A length of 0
        // would mean everything.
        if let Some(len) = std::num::NonZeroU64::new(len) {
            let _ = fadvise(&self.file, offset, Some(len), Advice::DontNeed);
        }
    }

    fn read_sparsely(&self) {
        let _ = fadvise(&self.file, 0, None, Advice::Random);
    }
}

#[derive(Debug)]
struct RealLock(RealFile);

impl LockGuard for RealLock {
    fn set_note(&self, note: &str) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_at(note.as_bytes(), 0)
    }
}

impl RealDisk {
    fn open_file(&self, path: &Path, mode: Mode, purpose: Purpose) -> io::Result<RealFile> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        match mode {
            Mode::Read => {}
            Mode::CreateNew => {
                options.write(true).create_new(true);
            }
            Mode::ReadWrite => {
                options.write(true).create(true).truncate(false);
            }
        }
        Ok(RealFile {
            file: options.open(path)?,
            purpose,
            counters: Arc::clone(&self.counters),
        })
    }
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: Mode, purpose: Purpose) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(self.open_file(path, mode, purpose)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let metadata = match entry.metadata() {
                Ok(metadata) => metadata,
                // Removed since it was listed.
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(e),
            };
            let is_dir = metadata.is_dir();
            entries.push(DirEntry {
                name,
                len: if is_dir { 0 } else { metadata.len() },
                is_dir,
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = dir;
        while !at.as_os_str().is_empty() && !at.is_dir() {
            missing.push(at);
            match at.parent() {
                Some(parent) => at = parent,
                None => break,
            }
        }
        if missing.is_empty() {
            // Perhaps made by a process that was killed before it could sync. Whoever may not read the parent did
            // not make the directory either: an installer did, long ago.
            return match self.sync_dir(parent_of(dir)) {
                Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
                result => result,
            };
        }
        fs::create_dir_all(dir)?;
        for made in missing {
            self.sync_dir(parent_of(made))?;
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let sync = fs::File::open(dir)?.sync_all();
        match sync {
            // Some network and FUSE file systems have no fsync for directories; there is nothing better to do there.
            Err(e) if e.kind() == io::ErrorKind::InvalidInput => Ok(()),
            result => result,
        }
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let s = statvfs(dir)?;
        Ok(Space {
            total: s.f_blocks.saturating_mul(s.f_frsize),
            available: s.f_bavail.saturating_mul(s.f_frsize),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = self.open_file(path, Mode::ReadWrite, Purpose::State)?;
        loop {
            match flock(&file.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Box::new(RealLock(file))),
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }

    fn real_path(&self, path: &Path) -> Option<PathBuf> {
        Some(path.to_owned())
    }

    fn written(&self) -> Vec<(Purpose, u64)> {
        self.counters.list()
    }
}

/// The directory that holds a name; `.` for a bare relative name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) => Path::new("."),
        None => path,
    }
}
