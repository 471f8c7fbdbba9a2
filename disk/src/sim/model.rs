//! What is on the simulated medium, what is only in memory, and what a power cut makes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Unit in which a write tears, bytes.
const SECTOR: u64 = 512;
/// Unit in which the page cache writes, bytes.
const BLOCK: u64 = 4096;

/// Names a file's content, whatever its name.
pub(super) type Inode = u64;

/// SplitMix64: small, good enough, the same on every machine.
#[derive(Debug, Clone)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

/// A change of a file that has not been synced.
#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    SetLen(u64),
}

/// A file's content.
#[derive(Debug, Clone, Default)]
pub(super) struct Content {
    /// What readers see.
    pub(super) volatile: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// Open handles: a removed file keeps its space until the last one is gone.
    pub(super) handles: usize,
}

impl Content {
    pub(super) fn write(&mut self, bytes: &[u8], offset: u64) {
        put(&mut self.volatile, bytes, offset);
        self.pending.push(Change::Write {
            offset,
            bytes: bytes.to_vec(),
        });
    }

    pub(super) fn set_len(&mut self, len: u64) {
        self.volatile.resize(len as usize, 0);
        self.pending.push(Change::SetLen(len));
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { offset, bytes } => put(&mut self.durable, &bytes, offset),
                Change::SetLen(len) => self.durable.resize(len as usize, 0),
            }
        }
    }

    /// After a failed sync the kernel counts the pages as clean: some were written, the others never will be,
    /// although readers go on seeing them and the next sync succeeds.
    pub(super) fn fail_sync(&mut self, rng: &mut Rng) {
        self.durable = self.after_cut(rng);
        self.pending.clear();
    }

    /// Replaces everything, durably.
    pub(super) fn overwrite(&mut self, bytes: &[u8]) {
        self.pending.clear();
        self.volatile = bytes.to_vec();
        self.durable = bytes.to_vec();
    }

    /// What the medium holds after a power cut.
    fn after_cut(&self, rng: &mut Rng) -> Vec<u8> {
        let mut out = self.durable.clone();
        let style = Style::choose(rng);
        let prefix = rng.below(self.pending.len() as u64 + 1) as usize;
        for (i, change) in self.pending.iter().enumerate() {
            match (style, change) {
                (Style::Nothing, _) => {}
                (Style::Prefix, _) if i >= prefix => {}
                (Style::Everything | Style::Prefix, Change::Write { offset, bytes }) => {
                    put(&mut out, bytes, *offset);
                }
                (Style::Everything | Style::Prefix, Change::SetLen(len)) => {
                    out.resize(*len as usize, 0);
                }
                (Style::Each, Change::SetLen(len)) => {
                    if rng.coin() {
                        out.resize(*len as usize, 0);
                    }
                }
                (Style::Each, Change::Write { offset, bytes }) => {
                    tear(&mut out, bytes, *offset, rng);
                }
            }
        }
        out
    }
}

/// How the unsynced changes of one file, or all unsynced names, fare in a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    Nothing,
    Everything,
    Prefix,
    Each,
}

impl Style {
    fn choose(rng: &mut Rng) -> Style {
        match rng.below(6) {
            0 => Style::Nothing,
            1 => Style::Everything,
            2 => Style::Prefix,
            _ => Style::Each,
        }
    }
}

fn put(content: &mut Vec<u8>, bytes: &[u8], offset: u64) {
    let (start, end) = (offset as usize, offset as usize + bytes.len());
    if content.len() < end {
        content.resize(end, 0);
    }
    content[start..end].copy_from_slice(bytes);
}

/// One unsynced write in a power cut: kept, dropped, only its length, or every sector on its own.
fn tear(content: &mut Vec<u8>, bytes: &[u8], offset: u64, rng: &mut Rng) {
    let end = offset + bytes.len() as u64;
    match rng.below(5) {
        0 => put(content, bytes, offset),
        1 => {}
        2 => {
            if (content.len() as u64) < end {
                content.resize(end as usize, 0);
            }
        }
        _ => {
            let mut at = offset;
            while at < end {
                let next = ((at / SECTOR + 1) * SECTOR).min(end);
                let part = &bytes[(at - offset) as usize..(next - offset) as usize];
                match rng.below(4) {
                    0 | 1 => put(content, part, at),
                    2 => {}
                    _ => put(content, &junk(part.len(), rng), at),
                }
                at = next;
            }
            tear_beside(content, offset, end, rng);
        }
    }
}

/// A write of some bytes is one of the whole blocks that they are in: torn, it may spoil what is beside them.
fn tear_beside(content: &mut [u8], offset: u64, end: u64, rng: &mut Rng) {
    let mut at = offset / BLOCK * BLOCK;
    let until = (end.div_ceil(BLOCK) * BLOCK).min(content.len() as u64);
    while at < until {
        let next = (at + SECTOR).min(until);
        let parts = [(at, next.min(offset)), (at.max(end), next)];
        if rng.below(8) == 0 {
            for (from, to) in parts.into_iter().filter(|(from, to)| from < to) {
                let junk = junk((to - from) as usize, rng);
                content[from as usize..to as usize].copy_from_slice(&junk);
            }
        }
        at = next;
    }
}

fn junk(len: usize, rng: &mut Rng) -> Vec<u8> {
    if rng.coin() {
        return vec![0; len];
    }
    (0..len).map(|_| rng.next() as u8).collect()
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    File(Inode),
    Dir,
}

type Names = BTreeMap<String, Entry>;

/// A change of names that has not been synced; all of it survives or none.
#[derive(Debug, Clone)]
struct NameChange(Vec<(PathBuf, String, Option<Entry>)>);

/// Files and directories. Directories are known by path: they are never renamed or removed.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<Inode, Content>,
    volatile: BTreeMap<PathBuf, Names>,
    durable: BTreeMap<PathBuf, Names>,
    pending: Vec<NameChange>,
    next_inode: Inode,
}

/// Directory and name of a path.
fn split(path: &Path) -> Option<(PathBuf, String)> {
    let dir = path.parent()?.to_owned();
    Some((dir, path.file_name()?.to_str()?.to_owned()))
}

impl Tree {
    /// An empty root directory.
    pub(super) fn new() -> Tree {
        let mut tree = Tree::default();
        for root in ["/", ""] {
            tree.volatile.insert(PathBuf::from(root), Names::new());
            tree.durable.insert(PathBuf::from(root), Names::new());
        }
        tree
    }

    pub(super) fn is_dir(&self, path: &Path) -> bool {
        self.volatile.contains_key(path)
    }

    pub(super) fn names(&self, dir: &Path) -> Option<&Names> {
        self.volatile.get(dir)
    }

    pub(super) fn lookup(&self, path: &Path) -> Option<Entry> {
        if self.is_dir(path) {
            return Some(Entry::Dir);
        }
        let (dir, name) = split(path)?;
        self.volatile.get(&dir)?.get(&name).copied()
    }

    fn change(&mut self, changes: Vec<(PathBuf, String, Option<Entry>)>) {
        for (dir, name, entry) in &changes {
            apply(&mut self.volatile, dir, name, *entry);
        }
        self.pending.push(NameChange(changes));
    }

    /// Creates an empty file; `None` if its directory is missing.
    pub(super) fn create(&mut self, path: &Path) -> Option<Inode> {
        let (dir, name) = split(path).filter(|(dir, _)| self.is_dir(dir))?;
        let inode = self.next_inode;
        self.next_inode += 1;
        self.files.insert(inode, Content::default());
        self.change(vec![(dir, name, Some(Entry::File(inode)))]);
        Some(inode)
    }

    /// Renames a file; false if it, or the target's directory, is missing.
    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> bool {
        let (Some(Entry::File(inode)), Some((to_dir, to_name)), Some((from_dir, from_name))) =
            (self.lookup(from), split(to), split(from))
        else {
            return false;
        };
        if !self.is_dir(&to_dir) || self.is_dir(to) {
            return false;
        }
        if from != to {
            self.change(vec![
                (from_dir, from_name, None),
                (to_dir, to_name, Some(Entry::File(inode))),
            ]);
        }
        true
    }

    /// Removes a file; false if there is none.
    pub(super) fn remove(&mut self, path: &Path) -> bool {
        let (Some(Entry::File(_)), Some((dir, name))) = (self.lookup(path), split(path)) else {
            return false;
        };
        self.change(vec![(dir, name, None)]);
        true
    }

    /// Creates one directory below an existing one, not yet durable.
    pub(super) fn make_dir(&mut self, path: &Path) {
        if let Some((dir, name)) = split(path) {
            self.change(vec![(dir, name, Some(Entry::Dir))]);
        }
        self.volatile.entry(path.to_owned()).or_default();
    }

    /// Makes the names in `dir` durable, and those in directories that a rename ties to it.
    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let mut tied = BTreeSet::from([dir.to_owned()]);
        loop {
            let before = tied.len();
            for NameChange(changes) in &self.pending {
                if changes.iter().any(|(dir, ..)| tied.contains(dir)) {
                    tied.extend(changes.iter().map(|(dir, ..)| dir.clone()));
                }
            }
            if tied.len() == before {
                break;
            }
        }
        let (synced, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|NameChange(changes)| changes.iter().any(|(dir, ..)| tied.contains(dir)));
        self.pending = kept;
        for NameChange(changes) in synced {
            for (dir, name, entry) in changes {
                apply(&mut self.durable, &dir, &name, entry);
            }
        }
        self.collect();
    }

    /// Forgets content that no name and no handle leads to, now or after a power cut.
    fn collect(&mut self) {
        let pending = self.pending.iter().flat_map(|c| &c.0).map(|c| c.2);
        let named = self.volatile.values().chain(self.durable.values());
        let reachable: BTreeSet<Inode> = named
            .flat_map(|names| names.values().copied().map(Some))
            .chain(pending)
            .filter_map(|entry| match entry {
                Some(Entry::File(inode)) => Some(inode),
                _ => None,
            })
            .collect();
        self.files
            .retain(|inode, content| content.handles > 0 || reachable.contains(inode));
    }

    /// Bytes in files that a name or a handle leads to.
    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<Inode> = self
            .volatile
            .values()
            .flat_map(|names| names.values())
            .filter_map(|entry| match entry {
                Entry::File(inode) => Some(*inode),
                Entry::Dir => None,
            })
            .collect();
        self.files
            .iter()
            .filter(|(inode, content)| content.handles > 0 || named.contains(inode))
            .map(|(_, content)| content.volatile.len() as u64)
            .sum()
    }

    /// The tree as a machine finds it that starts after a power cut.
    pub(super) fn after_cut(&self, rng: &mut Rng) -> Tree {
        let mut durable = self.durable.clone();
        let style = Style::choose(rng);
        let prefix = rng.below(self.pending.len() as u64 + 1) as usize;
        for (i, NameChange(changes)) in self.pending.iter().enumerate() {
            let kept = match style {
                Style::Nothing => false,
                Style::Everything => true,
                Style::Prefix => i < prefix,
                Style::Each => rng.coin(),
            };
            for (dir, name, entry) in changes.iter().filter(|_| kept) {
                apply(&mut durable, dir, name, *entry);
            }
        }
        let mut files = BTreeMap::new();
        for (inode, content) in &self.files {
            let bytes = content.after_cut(rng);
            files.insert(
                *inode,
                Content {
                    volatile: bytes.clone(),
                    durable: bytes,
                    ..Content::default()
                },
            );
        }
        let mut tree = Tree {
            files,
            volatile: durable.clone(),
            durable,
            pending: Vec::new(),
            next_inode: self.next_inode,
        };
        tree.prune();
        tree.collect();
        tree
    }

    /// Drops directories whose own name was lost, with everything below them.
    fn prune(&mut self) {
        let mut lost = Vec::new();
        for dir in self.volatile.keys() {
            let mut at = dir.as_path();
            while let Some((parent, name)) = split(at) {
                let named = self.volatile.get(&parent).and_then(|n| n.get(&name));
                if named != Some(&Entry::Dir) {
                    lost.push(dir.clone());
                    break;
                }
                at = at.parent().unwrap_or(at);
            }
        }
        for dir in lost {
            self.volatile.remove(&dir);
            self.durable.remove(&dir);
        }
    }

    /// Paths of all files, in order.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        let mut paths = Vec::new();
        for (dir, names) in &self.volatile {
            let files = names.iter().filter(|(_, e)| **e != Entry::Dir);
            paths.extend(files.map(|(name, _)| dir.join(name)));
        }
        paths.sort();
        paths
    }
}

fn apply(tree: &mut BTreeMap<PathBuf, Names>, dir: &Path, name: &str, entry: Option<Entry>) {
    let names = tree.entry(dir.to_owned()).or_default();
    match entry {
        Some(entry) => {
            names.insert(name.to_owned(), entry);
            if entry == Entry::Dir {
                tree.entry(dir.join(name)).or_default();
            }
        }
        None => {
            names.remove(name);
        }
    }
}
