//! The positions of a sink that keeps nothing else: one preallocated file, overwritten in place.
//!
//! ```text
//! file := header  (copy A, copy B)*          each 4,096 bytes, little endian; a pair is one page of the table
//! header := magic "drupPOS1"  version(4)  page size(4)  zeros  xxh3-64 of all before(8)
//! copy := xxh3-64 of the rest(8)  sequence(8)  page(4)  bytes used(4)  cell*  zeros
//! cell := sequence  key length  key  position length  position           numbers are LEB128 varints
//! ```
//!
//! A position has to survive the death of the process at each acknowledgement, at the price of a copy into the page cache,
//! and a power cut once a minute, at the price of a device flush:
//!
//! - a changed page is written as one aligned block, which a SIGKILL cannot tear;
//! - it overwrites the copy that was not there at the last sync, so that a power cut, which can tear a block, still finds
//!   the other one. Between two syncs only one copy of a page is dirty, however often it changes;
//! - of two intact copies the one with the higher sequence counts, of two cells with one key as well. A cell that outgrew its
//!   page stays there as well until the sync after it was written elsewhere;
//! - the file appears whole; later pages are added at its end, as zeros that are synced before they are used.
//!
//! Keys are independent of each other: a file with some pages from before an acknowledgement and some from after it
//! holds for each key a position that was acknowledged. A page with two damaged copies costs its keys: their
//! files are read from the start again. That is said, and never keeps the agent from starting.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, File, LockGuard, Mode, Purpose};
use xxhash_rust::xxh3::xxh3_64;

use crate::position::{take_varint, varint};

/// Name of the file in the data directory.
pub const NAME: &str = "positions";
const TEMPORARY: &str = "positions.tmp";
const LOCK: &str = "positions.lock";
/// Where a file goes that is none of ours any more.
const DAMAGED: &str = "positions.damaged";
const MAGIC: &[u8; 8] = b"drupPOS1";
const VERSION: u32 = 1;
/// A page: what a process that dies cannot tear, on every page size.
const PAGE: usize = 4096;
const PAGE_HEAD: usize = 24;
const PAYLOAD: usize = PAGE - PAGE_HEAD;
/// New cells leave this much of a page for those in it to grow, bytes.
const SLACK: usize = 512;
/// Pages added at once: 64 KiB of file, enough for the positions of some 150 containers.
const GROW: usize = 8;
/// Pages at most: 32 MiB of file, some 70,000 containers. Positions beyond are kept in memory and counted.
const MAX_PAGES: usize = 4096;

/// Why the positions cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// Another process has them.
    #[error("`{}` is in use by {holder}", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
        /// What the lock file says.
        holder: String,
    },
    /// A newer version wrote them; nothing was touched.
    #[error("`{}` has format {found}; this version reads up to {VERSION}", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The operating system said no.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A position in memory, the truth while the process runs.
#[derive(Debug)]
struct Cell {
    position: Box<[u8]>,
    sequence: u64,
    /// `None` while no page has room.
    page: Option<usize>,
}

/// What the file holds of one pair of copies, or will hold after the next write.
#[derive(Debug, Default)]
struct Page {
    keys: Vec<Arc<[u8]>>,
    /// Cells of keys that moved to other pages, until the sync after that.
    moved: Vec<(Arc<[u8]>, Cell)>,
    /// Bytes of all cells.
    used: usize,
    /// The copy that was written last: 0 or 1.
    copy: usize,
    /// Whether that copy was there at the last sync.
    durable: bool,
    /// Whether it has to be written.
    dirty: bool,
}

impl Page {
    /// As many as a file grows by.
    fn empty() -> Vec<Page> {
        let page = || Page {
            durable: true,
            ..Page::default()
        };
        std::iter::repeat_with(page).take(GROW).collect()
    }

    fn drop_moved(&mut self, keep: impl Fn(&Arc<[u8]>) -> bool) {
        self.moved.retain(|(key, cell)| {
            let keep = keep(key);
            if !keep {
                self.used -= cell_len(cell.sequence, key, &cell.position);
                self.dirty = true;
            }
            keep
        });
    }
}

/// The positions of one sink. Methods block for as long as a write into the page cache does; only [`Syncing::run`] waits
/// for the device.
#[derive(Debug)]
pub struct Checkpoint {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// `None` after an error: opened again by the next write.
    file: Option<Arc<dyn File>>,
    cells: HashMap<Arc<[u8]>, Cell>,
    pages: Vec<Page>,
    sequence: u64,
    /// Whether anything was written since the last sync.
    unsynced: bool,
    lock: Box<dyn LockGuard>,
}

impl Checkpoint {
    /// Adds to the lock file's note what others should know: `addr=HOST:PORT`. Best effort.
    pub(crate) fn set_note(&self, note: &str) {
        let note = format!("process {} {note}", std::process::id());
        if let Err(error) = self.lock.set_note(&note) {
            tracing::warn!(%error, "cannot note the holder of the positions");
        }
    }

    /// Opens the positions in a data directory, which is made if it is missing.
    ///
    /// # Errors
    /// See [`CheckpointError`]. Damage is none: it is logged, and what is intact is taken.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Checkpoint, CheckpointError> {
        let path = dir.join(NAME);
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |source| CheckpointError::Io {
                action,
                path,
                source,
            }
        };
        disk.create_dir_all(dir).map_err(io("create", dir))?;
        let lock = lock(&*disk, dir, &path)?;
        let file = disk.open(&path, Mode::ReadWrite, Purpose::State);
        let mut checkpoint = Checkpoint {
            file: Some(file.map_err(io("open", &path))?),
            disk,
            path,
            cells: HashMap::new(),
            pages: Vec::new(),
            sequence: 0,
            unsynced: false,
            lock,
        };
        let loaded = checkpoint.load().map_err(io("read", &checkpoint.path))?;
        match loaded {
            Loaded::Newer(found) => {
                let path = checkpoint.path;
                return Err(CheckpointError::Newer { path, found });
            }
            Loaded::Foreign => {
                let aside = dir.join(DAMAGED);
                tracing::error!(
                    file = %checkpoint.path.display(), kept_as = %aside.display(),
                    "the positions are damaged: every log file is read from its start, lines sent before are sent again"
                );
                let renamed = checkpoint.disk.rename(&checkpoint.path, &aside);
                renamed.map_err(io("rename", &checkpoint.path))?;
                checkpoint
                    .create(dir)
                    .map_err(io("write", &checkpoint.path))?;
            }
            Loaded::Empty => checkpoint
                .create(dir)
                .map_err(io("write", &checkpoint.path))?,
            // What a killed process wrote may not be on the device yet, and the copy beside it is about to be overwritten.
            Loaded::Pages => checkpoint
                .syncing()
                .run()
                .map_err(io("sync", &checkpoint.path))?,
        }
        Ok(checkpoint)
    }

    /// Every key and its position.
    #[must_use]
    pub fn positions(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pairs = self.cells.iter();
        pairs
            .map(|(key, cell)| (key.to_vec(), cell.position.to_vec()))
            .collect()
    }

    /// Keys whose position is only in memory: the file is at its limit, or a position is longer than a page.
    #[must_use]
    pub fn unstored(&self) -> usize {
        self.cells.values().filter(|c| c.page.is_none()).count()
    }

    /// Sets positions, or forgets keys, and writes what changed: it survives the process, and a power cut after the next
    /// sync. After an error memory is ahead of the file; the next call writes that too.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn record<'a>(
        &mut self,
        changes: impl IntoIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    ) -> io::Result<()> {
        self.sequence += 1;
        let mut homeless = false;
        for (key, position) in changes {
            match position {
                Some(position) => homeless |= !self.set(key, position),
                None => self.forget(key),
            }
        }
        if homeless || self.cells.len() > self.pages.iter().map(|p| p.keys.len()).sum() {
            // What has a page is written in any case.
            let settled = self.settle();
            self.write()?;
            return settled;
        }
        self.write()
    }

    /// Whether something was written that a power cut could undo.
    #[must_use]
    pub fn is_unsynced(&self) -> bool {
        self.unsynced
    }

    /// A sync of what was written so far, to be run where blocking does no harm. Nothing may be recorded in between; tell
    /// the result to [`Checkpoint::synced`].
    #[must_use]
    pub fn syncing(&self) -> Syncing {
        Syncing(self.file.clone())
    }

    /// Takes the result of a sync.
    pub fn synced(&mut self, result: &io::Result<()>) {
        if result.is_err() {
            // What the device has of the copies written last is unknown; the ones before are as they were.
            self.file = None;
            for page in self.pages.iter_mut().filter(|p| !p.durable) {
                page.dirty = true;
            }
            return;
        }
        self.unsynced = false;
        let all_written = self.pages.iter().all(|p| !p.dirty);
        let cells = &self.cells;
        for page in &mut self.pages {
            page.durable = true;
            // One that found no page keeps its old position rather than none.
            let keep = |key: &Arc<[u8]>| cells.get(key).is_some_and(|c: &Cell| c.page.is_none());
            if all_written {
                page.drop_moved(keep);
            }
        }
    }

    /// Sets a position in memory; false if it has no page yet.
    fn set(&mut self, key: &[u8], position: &[u8]) -> bool {
        let sequence = self.sequence;
        let Some(cell) = self.cells.get_mut(key) else {
            let cell = Cell {
                position: position.into(),
                sequence,
                page: None,
            };
            self.cells.insert(key.into(), cell);
            return false;
        };
        if *cell.position == *position {
            return cell.page.is_some();
        }
        let before = cell_len(cell.sequence, key, &cell.position);
        let after = cell_len(sequence, key, position);
        if let Some(number) = cell.page {
            let page = &mut self.pages[number];
            page.dirty = true;
            page.used -= before;
            if page.used + after <= PAYLOAD {
                page.used += after;
            } else {
                // It stays here as it was until it is safe elsewhere.
                page.used += before;
                page.keys.retain(|k| **k != *key);
                let left = Cell {
                    position: std::mem::take(&mut cell.position),
                    sequence: cell.sequence,
                    page: None,
                };
                page.moved.push((key.into(), left));
                cell.page = None;
            }
        }
        cell.position = position.into();
        cell.sequence = sequence;
        cell.page.is_some()
    }

    fn forget(&mut self, key: &[u8]) {
        let Some(cell) = self.cells.remove(key) else {
            return;
        };
        if let Some(number) = cell.page {
            let page = &mut self.pages[number];
            page.used -= cell_len(cell.sequence, key, &cell.position);
            page.keys.retain(|k| **k != *key);
            page.dirty = true;
        }
        for page in &mut self.pages {
            page.drop_moved(|k| **k != *key);
        }
    }

    /// Finds pages for the cells without one. Those longer than a page stay without.
    fn settle(&mut self) -> io::Result<()> {
        let mut homeless: Vec<(Arc<[u8]>, usize)> = Vec::new();
        for (key, cell) in self.cells.iter().filter(|(_, c)| c.page.is_none()) {
            let len = cell_len(cell.sequence, key, &cell.position);
            if len <= PAYLOAD {
                homeless.push((Arc::clone(key), len));
            }
        }
        for (key, len) in homeless {
            let room = |p: &Page| p.used + len + SLACK <= PAYLOAD || p.used == 0;
            let number = match self.pages.iter().position(room) {
                Some(number) => number,
                None if self.pages.len() + GROW > MAX_PAGES => continue,
                None => self.grow()?,
            };
            let page = &mut self.pages[number];
            page.keys.push(Arc::clone(&key));
            page.used += len;
            page.dirty = true;
            if let Some(cell) = self.cells.get_mut(&key) {
                cell.page = Some(number);
            }
        }
        Ok(())
    }

    /// Adds empty pages; the number of the first.
    fn grow(&mut self) -> io::Result<usize> {
        let first = self.pages.len();
        let file = self.file()?;
        file.write_at(&vec![0; GROW * 2 * PAGE], offset(first, 0))?;
        // A page's two copies must not both be unsynced: what this sync finds of earlier writes is durable too.
        let result = file.sync();
        self.synced(&result);
        result?;
        self.pages.extend(Page::empty());
        Ok(first)
    }

    fn write(&mut self) -> io::Result<()> {
        if !self.pages.iter().any(|p| p.dirty) {
            return Ok(());
        }
        let file = self.file()?;
        let mut block = Vec::with_capacity(PAGE);
        for number in 0..self.pages.len() {
            if !self.pages[number].dirty {
                continue;
            }
            self.sequence += 1;
            self.encode(number, &mut block);
            let page = &mut self.pages[number];
            let copy = if page.durable {
                1 - page.copy
            } else {
                page.copy
            };
            // From here on the other copy is the last one that a sync has seen, whether the write succeeds or not.
            (page.copy, page.durable, self.unsynced) = (copy, false, true);
            if let Err(e) = file.write_at(&block, offset(number, copy)) {
                self.file = None;
                return Err(e);
            }
            page.dirty = false;
        }
        Ok(())
    }

    fn encode(&self, number: usize, block: &mut Vec<u8>) {
        let page = &self.pages[number];
        block.clear();
        block.extend_from_slice(&[0; 8]);
        block.extend_from_slice(&self.sequence.to_le_bytes());
        block.extend_from_slice(&(number as u32).to_le_bytes());
        block.extend_from_slice(&(page.used as u32).to_le_bytes());
        for key in &page.keys {
            let cell = &self.cells[key];
            encode_cell(cell.sequence, key, &cell.position, block);
        }
        for (key, cell) in &page.moved {
            encode_cell(cell.sequence, key, &cell.position, block);
        }
        assert_eq!(block.len(), PAGE_HEAD + page.used);
        block.resize(PAGE, 0);
        let hash = xxh3_64(&block[8..]);
        block[..8].copy_from_slice(&hash.to_le_bytes());
    }

    fn file(&mut self) -> io::Result<Arc<dyn File>> {
        if let Some(file) = &self.file {
            return Ok(Arc::clone(file));
        }
        let file = self
            .disk
            .open(&self.path, Mode::ReadWrite, Purpose::State)?;
        self.file = Some(Arc::clone(&file));
        Ok(file)
    }

    fn create(&mut self, dir: &Path) -> io::Result<()> {
        let mut content = header().to_vec();
        content.resize(PAGE * (1 + 2 * GROW), 0);
        let fill = |file: &dyn File| file.write_at(&content, 0);
        let temporary = dir.join(TEMPORARY);
        disk::atomic::replace(&*self.disk, &temporary, &self.path, Purpose::State, fill)?;
        self.pages = Page::empty();
        self.file = None;
        Ok(())
    }

    fn load(&mut self) -> io::Result<Loaded> {
        let file = self.file()?;
        let len = file.len()?;
        if len == 0 {
            return Ok(Loaded::Empty);
        }
        let mut head = [0; PAGE];
        let there = (len as usize).min(PAGE);
        file.read_exact_at(&mut head[..there], 0)?;
        if let Some(found) = newer(&head) {
            return Ok(Loaded::Newer(found));
        }
        let count = ((len as usize).saturating_sub(PAGE) / (2 * PAGE)).min(MAX_PAGES);
        let mut lost = 0;
        for number in 0..count {
            lost += usize::from(!self.load_page(&*file, number)?);
        }
        if head != header() {
            if self.cells.is_empty() {
                return Ok(Loaded::Foreign);
            }
            file.write_at(&header(), 0)?;
        }
        if lost > 0 {
            tracing::error!(
                file = %self.path.display(), pages = lost, of = count,
                "some positions are damaged: their log files are read from the start, lines sent before are sent again"
            );
        }
        Ok(Loaded::Pages)
    }

    /// Takes the newer intact copy; false if neither is and there was something.
    fn load_page(&mut self, file: &dyn File, number: usize) -> io::Result<bool> {
        let mut copies = [[0; PAGE], [0; PAGE]];
        for (copy, bytes) in copies.iter_mut().enumerate() {
            file.read_exact_at(bytes, offset(number, copy))?;
        }
        let sequences = [0, 1].map(|c| check(&copies[c], number));
        self.pages.push(Page {
            durable: true,
            ..Page::default()
        });
        let newest = usize::from(sequences[1] > sequences[0]);
        let Some(sequence) = sequences[newest] else {
            return Ok(copies.iter().flatten().all(|b| *b == 0));
        };
        self.sequence = self.sequence.max(sequence);
        self.pages[number].copy = newest;
        let mut rest = cells(&copies[newest]);
        while !rest.is_empty() {
            let Some((sequence, key, position)) = decode_cell(&mut rest) else {
                // The checksum is right, so this is a bug of a writer, and what was read so far holds.
                return Ok(false);
            };
            self.place(number, sequence, key, position);
        }
        Ok(true)
    }

    /// Puts a cell that was read where it is, unless a newer one of its key was read before.
    fn place(&mut self, number: usize, sequence: u64, key: &[u8], position: &[u8]) {
        self.sequence = self.sequence.max(sequence);
        if let Some(other) = self.cells.get(key) {
            if other.sequence >= sequence {
                self.pages[number].dirty = true;
                return;
            }
            self.forget(key);
        }
        let key: Arc<[u8]> = key.into();
        self.pages[number].used += cell_len(sequence, &key, position);
        self.pages[number].keys.push(Arc::clone(&key));
        let cell = Cell {
            position: position.into(),
            sequence,
            page: Some(number),
        };
        self.cells.insert(key, cell);
    }
}

/// A sync that is under way.
#[derive(Debug)]
pub struct Syncing(Option<Arc<dyn File>>);

impl Syncing {
    /// Waits for the device.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn run(self) -> io::Result<()> {
        match self.0 {
            Some(file) => file.sync(),
            None => Err(io::Error::other(
                "the file is not open after an earlier error",
            )),
        }
    }
}

/// Changes of positions that wait for an acknowledgement: the last one of each key.
#[derive(Debug, Default)]
pub struct Changes {
    latest: BTreeMap<Box<[u8]>, Option<Box<[u8]>>>,
    size: usize,
}

impl Changes {
    /// Takes the position that a batch brings.
    pub fn take(&mut self, source: &wire::SourcePosition<'_>) {
        let position = source.position.map(Box::from);
        self.size += source.position.map_or(0, <[u8]>::len);
        match self.latest.get_mut(source.key) {
            Some(known) => {
                self.size -= known.as_ref().map_or(0, |p| p.len());
                *known = position;
            }
            None => {
                self.size += source.key.len();
                self.latest.insert(source.key.into(), position);
            }
        }
    }

    /// Bytes of keys and positions.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }

    /// The changes, as [`Checkpoint::record`] takes them.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let pairs = self.latest.iter();
        pairs.map(|(key, position)| (&**key, position.as_deref()))
    }
}

enum Loaded {
    /// Nothing was ever recorded.
    Empty,
    Pages,
    /// Written by a newer version.
    Newer(u32),
    /// None of ours, or not any more.
    Foreign,
}

fn lock(disk: &dyn Disk, dir: &Path, path: &Path) -> Result<Box<dyn LockGuard>, CheckpointError> {
    let at = dir.join(LOCK);
    match disk.lock(&at) {
        Ok(lock) => {
            // The note only makes a message better: a full disk must not stop the start.
            let _ = lock.set_note(&format!("process {}", std::process::id()));
            Ok(lock)
        }
        Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
            let note = disk::atomic::read(disk, &at, 1024).unwrap_or_default();
            let holder = String::from_utf8_lossy(&note).into_owned();
            Err(CheckpointError::InUse {
                path: path.to_owned(),
                holder,
            })
        }
        Err(source) => Err(CheckpointError::Io {
            action: "lock",
            path: at,
            source,
        }),
    }
}

fn offset(page: usize, copy: usize) -> u64 {
    (PAGE * (1 + 2 * page + copy)) as u64
}

fn header() -> [u8; PAGE] {
    let mut head = [0; PAGE];
    head[..8].copy_from_slice(MAGIC);
    head[8..12].copy_from_slice(&VERSION.to_le_bytes());
    head[12..16].copy_from_slice(&(PAGE as u32).to_le_bytes());
    let hash = xxh3_64(&head[..PAGE - 8]);
    head[PAGE - 8..].copy_from_slice(&hash.to_le_bytes());
    head
}

/// The version of an intact header that this program does not know.
fn newer(head: &[u8; PAGE]) -> Option<u32> {
    let version = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    let (bytes, hash) = head.split_at(PAGE - 8);
    let intact = bytes.starts_with(MAGIC) && hash == xxh3_64(bytes).to_le_bytes();
    (intact && version > VERSION).then_some(version)
}

/// The sequence of an intact copy.
fn check(copy: &[u8; PAGE], number: usize) -> Option<u64> {
    let word = |at: usize| u32::from_le_bytes([copy[at], copy[at + 1], copy[at + 2], copy[at + 3]]);
    let long = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
    let intact = long(0) == xxh3_64(&copy[8..]);
    let ours = word(16) as usize == number && word(20) as usize <= PAYLOAD;
    (intact && ours).then(|| long(8))
}

/// The cells of a copy that was checked.
fn cells(copy: &[u8; PAGE]) -> &[u8] {
    let used = u32::from_le_bytes([copy[20], copy[21], copy[22], copy[23]]);
    &copy[PAGE_HEAD..][..used as usize]
}

fn cell_len(sequence: u64, key: &[u8], position: &[u8]) -> usize {
    let part = |bytes: &[u8]| varint_len(bytes.len() as u64) + bytes.len();
    varint_len(sequence) + part(key) + part(position)
}

fn encode_cell(sequence: u64, key: &[u8], position: &[u8], out: &mut Vec<u8>) {
    varint(out, sequence);
    for part in [key, position] {
        varint(out, part.len() as u64);
        out.extend_from_slice(part);
    }
}

/// Sequence, key, position.
fn decode_cell<'a>(rest: &mut &'a [u8]) -> Option<(u64, &'a [u8], &'a [u8])> {
    let sequence = take_varint(rest).ok()?;
    let mut part = || {
        let len = usize::try_from(take_varint(rest).ok()?).ok()?;
        let (part, tail) = rest.split_at_checked(len)?;
        *rest = tail;
        Some(part)
    };
    Some((sequence, part()?, part()?))
}

/// Seven bits a byte.
fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
