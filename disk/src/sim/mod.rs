//! [`SimDisk`]: a file system in memory that loses, tears and keeps what was not synced.
//!
//! # Fault model
//!
//! A file has durable content and a list of unsynced changes (writes, lengths); the names have a durable state and a
//! list of unsynced changes (creation, rename, removal). [`SimDisk::crash`] is a power cut. The seed decides, for each
//! file and for the names as a whole, between *nothing*, *everything*, *a prefix* (a journalling file system) and
//! *each change on its own* of what was not synced:
//!
//! - a write is kept, dropped, leaves only its length (zeros), or its 512-byte sectors fare apart: kept, dropped,
//!   zeros, or random bytes. Then bytes beside the written range may become random too, as far as its 4 KiB blocks reach,
//!   synced ones as well;
//! - a changed length is kept or dropped;
//! - a creation, rename or removal is kept or reverted as a whole, whatever becomes of the content: a renamed file may
//!   have its new name and none of its unsynced bytes; a later rename may survive an earlier one that does not;
//! - [`File::sync`] makes bytes and length durable, not the name; [`Disk::sync_dir`] names, not bytes.
//!   [`Disk::create_dir_all`] is durable on return.
//!
//! Faults while the machine runs:
//!
//! - [`SimDisk::inject`]: the Nth operation of a [`Class`] fails with a chosen errno, once or for ever; a write may
//!   leave a part of its bytes. A failed sync loses what it did not write: readers still see it, later syncs succeed;
//! - [`SimDisk::set_capacity`]: ENOSPC when full, after writing what fits;
//! - [`SimDisk::stop_after`]: power goes after N changes. The change after them fails, but may have been under way;
//!   all else fails. To visit every point: run the scenario for N = 0, 1, 2 ... until it completes.
//!
//! Not modelled: damage to synced data (see [`SimDisk::overwrite`]), reordering between files beyond the above, renamed
//! or removed directories, permissions, memory maps.
//!
//! The same seed and the same sequence of operations give the same result. Threads that write at the same time make
//! the sequence, and so the run, vary.

mod model;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use crate::real::Counters;
use crate::{DirEntry, Disk, File, LockGuard, Mode, Purpose, Space};
use model::{Content, Entry, Inode, Rng, Tree};

/// Events kept for [`SimDisk::events`].
const EVENTS_MAX: usize = 20_000;
/// Size of the file system until [`SimDisk::set_capacity`], bytes.
const DEFAULT_CAPACITY: u64 = 1 << 40;

/// Which operations a [`Fault`] counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Every operation.
    Any,
    /// Those that change the disk, syncs included.
    Change,
    /// [`File::sync`] and [`Disk::sync_dir`].
    Sync,
    /// [`File::write_at`].
    Write,
    /// Those that change nothing.
    Read,
    /// [`File::read_at`].
    Data,
}

impl Class {
    const ALL: [Class; 6] = [
        Class::Any,
        Class::Change,
        Class::Sync,
        Class::Write,
        Class::Read,
        Class::Data,
    ];
}

/// An operation that fails.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// Operations that are counted.
    pub class: Class,
    /// The number of the first one that fails, from 0, counted since the disk was made (see [`SimDisk::count`]).
    pub at: u64,
    /// Whether all later ones fail too.
    pub sticky: bool,
    /// The error: 5 (EIO), 28 (ENOSPC), ...
    pub errno: i32,
    /// How many bytes a failing write leaves at most.
    pub partial: usize,
}

/// EIO as [`Fault::errno`].
pub const EIO: i32 = Errno::IO.raw_os_error();
/// ENOSPC as [`Fault::errno`].
pub const ENOSPC: i32 = Errno::NOSPC.raw_os_error();

/// What an operation is, for counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Data,
    Write,
    Sync,
    Name,
}

impl Kind {
    fn is(self, class: Class) -> bool {
        match class {
            Class::Any => true,
            Class::Change => !self.is(Class::Read),
            Class::Sync => self == Kind::Sync,
            Class::Write => self == Kind::Write,
            Class::Read => matches!(self, Kind::Read | Kind::Data),
            Class::Data => self == Kind::Data,
        }
    }
}

/// What becomes of an operation.
enum Verdict {
    Go,
    /// The power fails while it is under way; whether it has begun to happen.
    Cut {
        begun: bool,
    },
    Fail(Fault),
}

#[derive(Debug)]
struct State {
    tree: Tree,
    rng: Rng,
    counts: [u64; Class::ALL.len()],
    faults: Vec<Fault>,
    stop_after: Option<u64>,
    off: bool,
    capacity: u64,
    locks: BTreeSet<PathBuf>,
    events: VecDeque<String>,
}

impl State {
    fn event(&mut self, text: String) {
        if self.events.len() == EVENTS_MAX {
            self.events.pop_front();
        }
        let number = self.counts[Class::Change as usize];
        self.events.push_back(format!("{number}: {text}"));
    }

    /// Counts an operation and says what becomes of it.
    fn begin(&mut self, kind: Kind, what: impl FnOnce() -> String) -> io::Result<Verdict> {
        if self.off {
            return Err(power_cut());
        }
        let counts = self.counts;
        for (count, class) in self.counts.iter_mut().zip(Class::ALL) {
            *count += u64::from(kind.is(class));
        }
        let changes = counts[Class::Change as usize];
        if kind.is(Class::Change) && self.stop_after.is_some_and(|n| changes >= n) {
            self.off = true;
            let begun = self.rng.below(2) == 0;
            let text = format!("power cut in {} (begun: {begun})", what());
            self.event(text);
            return Ok(Verdict::Cut { begun });
        }
        let fault = self.faults.iter().copied().find(|fault| {
            let count = counts[fault.class as usize];
            kind.is(fault.class) && (count == fault.at || (fault.sticky && count > fault.at))
        });
        if let Some(fault) = fault {
            let text = format!("errno {} from {}", fault.errno, what());
            self.event(text);
            return Ok(Verdict::Fail(fault));
        }
        if kind.is(Class::Change) {
            let text = what();
            self.event(text);
        }
        Ok(Verdict::Go)
    }

    /// As [`State::begin`], for operations that happen as a whole or not at all; whether `change` runs, and the error.
    fn step(
        &mut self,
        kind: Kind,
        what: impl FnOnce() -> String,
        change: impl FnOnce(&mut State) -> io::Result<()>,
    ) -> io::Result<()> {
        match self.begin(kind, what)? {
            Verdict::Go => change(self),
            Verdict::Fail(fault) => Err(io::Error::from_raw_os_error(fault.errno)),
            Verdict::Cut { begun } => {
                if begun {
                    // The caller learns nothing more: the machine is off.
                    let _ = change(self);
                }
                Err(power_cut())
            }
        }
    }

    fn content(&mut self, inode: Inode) -> &mut Content {
        // A handle keeps its content alive.
        self.tree.files.entry(inode).or_default()
    }

    /// Writes as much as fits; ENOSPC if that is not all.
    fn write(&mut self, inode: Inode, bytes: &[u8], offset: u64) -> io::Result<()> {
        let len = self.content(inode).volatile.len() as u64;
        let growth = (offset + bytes.len() as u64).saturating_sub(len);
        if growth > 0 && self.capacity < DEFAULT_CAPACITY {
            let free = self.capacity.saturating_sub(self.tree.used());
            if growth > free {
                let fits = (len + free).saturating_sub(offset) as usize;
                self.write_part(inode, &bytes[..fits.min(bytes.len())], offset);
                self.event("no space left".to_owned());
                return Err(Errno::NOSPC.into());
            }
        }
        self.write_part(inode, bytes, offset);
        Ok(())
    }

    fn write_part(&mut self, inode: Inode, bytes: &[u8], offset: u64) {
        if !bytes.is_empty() {
            self.content(inode).write(bytes, offset);
        }
    }
}

fn power_cut() -> io::Error {
    io::Error::other("simulated power cut: the machine is off")
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    counters: Counters,
    real_root: Option<PathBuf>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked elsewhere must not hide its message behind a second panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The simulated file system. Clones share it. See the module documentation for what it does to data.
#[derive(Debug, Clone)]
pub struct SimDisk(Arc<Shared>);

impl SimDisk {
    /// An empty disk; [`Disk::real_path`] is `None`.
    #[must_use]
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::from_parts(Tree::new(), Rng(seed), DEFAULT_CAPACITY, None)
    }

    /// An empty disk whose [`Disk::real_path`] lies below `root`, where [`Disk::create_dir_all`] makes the same
    /// directories. What is there is no part of the simulation: a crash leaves it as it is.
    #[must_use]
    pub fn with_real_root(seed: u64, root: &Path) -> SimDisk {
        let root = Some(root.to_owned());
        SimDisk::from_parts(Tree::new(), Rng(seed), DEFAULT_CAPACITY, root)
    }

    fn from_parts(tree: Tree, rng: Rng, capacity: u64, real_root: Option<PathBuf>) -> SimDisk {
        SimDisk(Arc::new(Shared {
            state: Mutex::new(State {
                tree,
                rng,
                counts: [0; Class::ALL.len()],
                faults: Vec::new(),
                stop_after: None,
                off: false,
                capacity,
                locks: BTreeSet::new(),
                events: VecDeque::new(),
            }),
            counters: Counters::default(),
            real_root,
        }))
    }

    /// Cuts the power: this disk, its files and its locks fail from now on. Returns the disk as the next start finds
    /// it, with its counts at 0 and without faults.
    #[must_use]
    pub fn crash(&self) -> SimDisk {
        let mut state = self.0.state();
        state.off = true;
        let mut rng = Rng(state.rng.next());
        let tree = state.tree.after_cut(&mut rng);
        SimDisk::from_parts(tree, rng, state.capacity, self.0.real_root.clone())
    }

    /// Ends the process but not the machine: this disk, its files and its locks fail from now on; everything
    /// written is there for the next start, as after `kill -9`, and what was not synced still is not.
    #[must_use]
    pub fn kill(&self) -> SimDisk {
        let mut state = self.0.state();
        state.off = true;
        let mut tree = state.tree.clone();
        for content in tree.files.values_mut() {
            content.handles = 0;
        }
        let rng = Rng(state.rng.next());
        SimDisk::from_parts(tree, rng, state.capacity, self.0.real_root.clone())
    }

    /// Operations of a class so far; the number that the next one gets.
    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        self.0.state().counts[class as usize]
    }

    /// Changes so far ([`Class::Change`]), the unit of [`SimDisk::stop_after`].
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.count(Class::Change)
    }

    /// Lets changes number 0 to `n - 1` happen and cuts the power in the next one.
    pub fn stop_after(&self, n: u64) {
        self.0.state().stop_after = Some(n);
    }

    /// Whether the power is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.0.state().off
    }

    /// Adds a fault.
    pub fn inject(&self, fault: Fault) {
        self.0.state().faults.push(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.0.state().faults.clear();
    }

    /// Limits the sum of all file lengths to `bytes`.
    pub fn set_capacity(&self, bytes: u64) {
        self.0.state().capacity = bytes;
    }

    /// The last changes and faults, oldest first, for failure messages.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        self.0.state().events.iter().cloned().collect()
    }

    /// Paths of all files, in order; works without power and counts as nothing.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.0.state().tree.paths()
    }

    /// A file's bytes; works without power and counts as nothing.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.0.state();
        match state.tree.lookup(path)? {
            Entry::File(inode) => Some(state.tree.files.get(&inode)?.volatile.clone()),
            Entry::Dir => None,
        }
    }

    /// Replaces an existing file's bytes, durably: damage to the medium. Counts as nothing.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn overwrite(&self, path: &Path, bytes: &[u8]) {
        let mut state = self.0.state();
        let Some(Entry::File(inode)) = state.tree.lookup(path) else {
            panic!("no file `{}` to damage", path.display());
        };
        state.content(inode).overwrite(bytes);
    }
}

#[derive(Debug)]
struct SimFile {
    shared: Arc<Shared>,
    inode: Inode,
    path: PathBuf,
    purpose: Purpose,
    writable: bool,
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(Errno::BADF.into())
        }
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let content = state.content(self.inode);
        content.handles = content.handles.saturating_sub(1);
    }
}

impl File for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.shared.state();
        let mut len = 0;
        state.step(
            Kind::Read,
            || format!("len {}", self.path.display()),
            |state| {
                len = state.content(self.inode).volatile.len() as u64;
                Ok(())
            },
        )?;
        Ok(len)
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.shared.state();
        let mut n = 0;
        let want = buf.len();
        let what = || format!("read {} @{offset}+{want}", self.path.display());
        state.step(Kind::Data, what, |state| {
            let content = &state.content(self.inode).volatile;
            let start = usize::try_from(offset)
                .unwrap_or(usize::MAX)
                .min(content.len());
            n = buf.len().min(content.len() - start);
            buf[..n].copy_from_slice(&content[start..start + n]);
            Ok(())
        })?;
        Ok(n)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut state = self.shared.state();
        let what = || format!("write {} @{offset}+{}", self.path.display(), buf.len());
        match state.begin(Kind::Write, what)? {
            Verdict::Go => {
                state.write(self.inode, buf, offset)?;
                self.shared.counters.add(self.purpose, buf.len() as u64);
                Ok(())
            }
            Verdict::Fail(fault) => {
                let part = &buf[..fault.partial.min(buf.len())];
                state.write(self.inode, part, offset)?;
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            Verdict::Cut { begun } => {
                if begun {
                    let _ = state.write(self.inode, buf, offset);
                }
                Err(power_cut())
            }
        }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let what = || format!("set length {} {len}", self.path.display());
        self.shared.state().step(Kind::Name, what, |state| {
            state.content(self.inode).set_len(len);
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.shared.state();
        match state.begin(Kind::Sync, || format!("sync {}", self.path.display()))? {
            Verdict::Go => {
                state.content(self.inode).sync();
                Ok(())
            }
            Verdict::Fail(fault) => {
                let mut rng = Rng(state.rng.next());
                state.content(self.inode).fail_sync(&mut rng);
                Err(io::Error::from_raw_os_error(fault.errno))
            }
            Verdict::Cut { begun } => {
                if begun {
                    state.content(self.inode).sync();
                }
                Err(power_cut())
            }
        }
    }
}

#[derive(Debug)]
struct SimLock {
    file: SimFile,
}

impl LockGuard for SimLock {
    fn set_note(&self, note: &str) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.write_at(note.as_bytes(), 0)
    }
}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.file.shared.state().locks.remove(&self.file.path);
    }
}

impl SimDisk {
    fn open_file(&self, path: &Path, mode: Mode, purpose: Purpose) -> io::Result<SimFile> {
        let mut state = self.0.state();
        let found = state.tree.lookup(path);
        let creates = found.is_none() && mode != Mode::Read && !state.off;
        let kind = if creates { Kind::Name } else { Kind::Read };
        let mut inode = 0;
        let what = || format!("open {} {mode:?}", path.display());
        state.step(kind, what, |state| {
            inode = match (found, mode) {
                (Some(_), Mode::CreateNew) => return Err(Errno::EXIST.into()),
                (Some(Entry::Dir), _) => return Err(Errno::ISDIR.into()),
                (Some(Entry::File(inode)), _) => inode,
                (None, Mode::Read) => return Err(Errno::NOENT.into()),
                (None, _) => state.tree.create(path).ok_or(Errno::NOENT)?,
            };
            state.content(inode).handles += 1;
            Ok(())
        })?;
        Ok(SimFile {
            shared: Arc::clone(&self.0),
            inode,
            path: path.to_owned(),
            purpose,
            writable: mode != Mode::Read,
        })
    }

    /// The directories from the first missing one down to `dir`.
    fn missing(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.0.state();
        let mut missing = Vec::new();
        for at in dir.ancestors() {
            match state.tree.lookup(at) {
                Some(Entry::Dir) => break,
                Some(Entry::File(_)) => return Err(Errno::EXIST.into()),
                None => missing.push(at.to_owned()),
            }
        }
        missing.reverse();
        Ok(missing)
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: Mode, purpose: Purpose) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(self.open_file(path, mode, purpose)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut state = self.0.state();
        let mut entries = Vec::new();
        let what = || format!("list {}", dir.display());
        state.step(Kind::Read, what, |state| {
            let names = state.tree.names(dir).ok_or(Errno::NOENT)?;
            for (name, entry) in names {
                let len = match entry {
                    Entry::File(inode) => {
                        state.tree.files.get(inode).map_or(0, |c| c.volatile.len())
                    }
                    Entry::Dir => 0,
                };
                entries.push(DirEntry {
                    name: name.clone(),
                    len: len as u64,
                    is_dir: *entry == Entry::Dir,
                });
            }
            Ok(())
        })?;
        Ok(entries)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let what = || format!("rename {} {}", from.display(), to.display());
        self.0.state().step(Kind::Name, what, |state| {
            if state.tree.rename(from, to) {
                Ok(())
            } else {
                Err(Errno::NOENT.into())
            }
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let what = || format!("remove {}", path.display());
        self.0.state().step(Kind::Name, what, |state| {
            if state.tree.remove(path) {
                Ok(())
            } else {
                Err(Errno::NOENT.into())
            }
        })
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let missing = self.missing(dir)?;
        if let (true, Some(parent)) = (missing.is_empty(), dir.parent()) {
            // Perhaps made by a process that was killed before it could sync.
            self.sync_dir(parent)?;
        }
        for path in missing {
            let what = || format!("make directory {}", path.display());
            self.0.state().step(Kind::Name, what, |state| {
                state.tree.make_dir(&path);
                Ok(())
            })?;
            if let Some(parent) = path.parent() {
                self.sync_dir(parent)?;
            }
        }
        match self.real_path(dir) {
            Some(real) => std::fs::create_dir_all(real),
            None => Ok(()),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let what = || format!("sync directory {}", dir.display());
        self.0.state().step(Kind::Sync, what, |state| {
            if !state.tree.is_dir(dir) {
                return Err(Errno::NOENT.into());
            }
            state.tree.sync_dir(dir);
            Ok(())
        })
    }

    fn space(&self, dir: &Path) -> io::Result<Space> {
        let mut state = self.0.state();
        let mut space = Space {
            total: state.capacity,
            available: 0,
        };
        let what = || format!("space {}", dir.display());
        state.step(Kind::Read, what, |state| {
            if !state.tree.is_dir(dir) {
                return Err(Errno::NOENT.into());
            }
            space.available = space.total.saturating_sub(state.tree.used());
            Ok(())
        })?;
        Ok(space)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        let file = self.open_file(path, Mode::ReadWrite, Purpose::State)?;
        if !self.0.state().locks.insert(path.to_owned()) {
            return Err(Errno::WOULDBLOCK.into());
        }
        Ok(Box::new(SimLock { file }))
    }

    fn real_path(&self, path: &Path) -> Option<PathBuf> {
        let root = self.0.real_root.as_ref()?;
        Some(root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    fn written(&self) -> Vec<(Purpose, u64)> {
        self.0.counters.list()
    }
}
