//! One container instance (`N.log` and what it was rotated to): its files in order, and how far each is taken.
//!
//! - Files are read oldest first. A newer file waits until the one before it is complete: closed by its writer
//!   (`IN_CLOSE_WRITE`), or, when that cannot be known any more, quiet for a while.
//! - What is appended to an older file all the same is still read, but no longer joined.
//! - For each file and stream everything before its offset is emitted. An open line keeps its stream's offset at its
//!   start, possibly in an older file, while the other stream's offset moves on.

use std::fs::File;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use crate::config::{StartAt, Timing};
use crate::ending::Told;
use crate::files::{self, Found, Gz, Identity, Rank};
use crate::frame::{Chains, Cursor, Framer, Long};
use crate::labels::{InstanceLabels, PodName};
use crate::pace;
use crate::position::{self, FilePosition};
use crate::stats::{Stats, add};

/// A file last written to longer ago than this, by a clock that may be wrong, needs no wait for its writer.
const SETTLED_AGE: Duration = Duration::from_secs(10);
/// Most positions of files without a place that an instance remembers; the oldest give way. kubelet keeps five files.
const MAX_KNOWN: usize = 64;

/// How a file's bytes are reached.
#[derive(Debug)]
pub(crate) enum Source {
    Closed,
    Plain(File),
    Gz(Box<Gz>),
}

/// One log file.
#[derive(Debug)]
pub(crate) struct LogFile {
    pub(crate) path: PathBuf,
    pub(crate) rank: Rank,
    pub(crate) identity: Identity,
    pub(crate) gz: bool,
    pub(crate) fingerprint: Option<u64>,
    pub(crate) cursor: Cursor,
    pub(crate) source: Source,
    /// It has a name; else only our descriptor keeps it.
    pub(crate) present: bool,
    /// There may be something to read.
    pub(crate) dirty: bool,
    /// Marked since its last read began. What was read then is handled later, after waits for the sink in which events
    /// are followed: the mark must outlive that.
    pub(crate) marked: bool,
    /// Read to its end, and no more is expected.
    pub(crate) complete: bool,
    /// Its writer has closed it since its last rename or growth.
    pub(crate) closed: bool,
    /// Where the last read ended.
    pub(crate) seen_end: u64,
    /// Last size seen.
    pub(crate) size: u64,
    /// When it last grew, or was found.
    pub(crate) grown: Instant,
    /// What lies before this offset was there at the start.
    backlog_end: u64,
    /// The page cache was told to forget what lies before this offset.
    forgotten: u64,
    settled: bool,
}

impl LogFile {
    fn new(found: &Found, fingerprint: Option<u64>, cursor: Cursor, now: Instant) -> LogFile {
        LogFile {
            path: found.path.clone(),
            rank: found.rank.clone(),
            identity: found.identity,
            gz: found.gz,
            fingerprint,
            seen_end: cursor.skip[0].max(cursor.skip[1]),
            cursor,
            source: Source::Closed,
            present: true,
            dirty: true,
            marked: false,
            complete: false,
            closed: false,
            size: found.size,
            grown: now,
            backlog_end: 0,
            forgotten: 0,
            settled: found.age.is_some_and(|age| age > SETTLED_AGE),
        }
    }

    /// Takes over the place of another file with the same content.
    fn adopt(&mut self, found: &Found) {
        self.path = found.path.clone();
        self.rank = found.rank.clone();
        self.identity = found.identity;
        self.gz = found.gz;
        self.present = true;
        self.size = found.size;
        self.dirty = !self.complete;
        if !found.gz {
            // A copy is written on; the descriptor would stay with the original.
            self.source = Source::Closed;
            self.mark();
        }
    }

    /// There may be more to read than was.
    pub(crate) fn mark(&mut self) {
        self.dirty = true;
        self.marked = true;
    }

    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.source, Source::Closed)
    }

    /// Whether what is read next was there at the start.
    pub(crate) fn is_backlog(&self) -> bool {
        self.cursor.next_offset() < self.backlog_end
    }

    /// Bytes of it that are left; what is compressed is not counted.
    pub(crate) fn backlog(&self) -> u64 {
        let end = if self.gz { 0 } else { self.backlog_end };
        end.saturating_sub(self.cursor.next_offset())
    }

    /// Backlog was read from offset `start` on: has the page cache forget it; how many bytes.
    pub(crate) fn read_backlog(&mut self, start: u64) -> u64 {
        if let (Source::Plain(file), true) = (&self.source, self.forgotten < self.backlog_end) {
            let done = !self.is_backlog();
            let read = self.cursor.next_offset();
            pace::forget(file, &mut self.forgotten, read, done);
        }
        self.cursor.next_offset().saturating_sub(start)
    }

    /// After a rename whoever has it open may go on writing.
    fn reopen(&mut self, now: Instant) {
        self.closed = false;
        self.settled = false;
        self.grown = now;
    }

    /// It grew.
    pub(crate) fn grew(&mut self, now: Instant) {
        self.settled = false;
        self.grown = now;
    }
}

/// The position of a file that has no place now.
#[derive(Debug, Clone, Copy)]
struct Known {
    position: FilePosition,
    /// When it may be forgotten; `None` before the first listing.
    until: Option<Instant>,
}

/// What every instance needs from its surroundings.
pub(crate) struct Env<'a> {
    pub(crate) stats: &'a Stats,
    pub(crate) timing: &'a Timing,
    pub(crate) next_id: &'a mut u64,
    pub(crate) start_at: StartAt,
    /// The tree is listed for the first time.
    pub(crate) first: bool,
    /// Descriptors that may still be opened ahead of reading.
    pub(crate) may_open: &'a mut usize,
    pub(crate) now: Instant,
}

impl Env<'_> {
    fn id(&mut self) -> u64 {
        *self.next_id += 1;
        *self.next_id
    }

    /// How long the position of a file that vanished now is remembered.
    fn until(&self) -> Instant {
        self.now + self.timing.rescan
    }
}

impl Known {
    fn stored(position: FilePosition) -> Known {
        Known {
            position,
            until: None,
        }
    }
}

/// What an instance needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing until something happens to its files.
    Nothing,
    /// Another look after a while.
    Time,
    /// Reading.
    Read,
    /// Its open lines are to be emitted as they are.
    Flush,
    /// To be forgotten: its directory is gone and everything is taken.
    Forget,
}

/// A container instance.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) container: usize,
    pub(crate) restart: u32,
    pub(crate) key: Rc<[u8]>,
    /// Whose it is; what its labels are made of.
    pub(crate) pod: Rc<PodName>,
    pub(crate) container_name: Rc<str>,
    /// Made when something is read, forgotten when many others were read since.
    pub(crate) labels: Option<Rc<InstanceLabels>>,
    pub(crate) files: Vec<LogFile>,
    pub(crate) chains: Chains,
    /// Files with the content of another: a copy, or its compressed form beside it.
    aliases: Vec<(Found, u64)>,
    /// Positions that no file claims: stored ones, and those of files that vanished. A listing made while a file is
    /// renamed or compressed shows it under neither name; a moment later it is back, and not to be read again.
    known: Vec<Known>,
    /// How long ago one of its files was written to, when they were listed last.
    pub(crate) age: Duration,
    /// Nothing has been listed yet.
    fresh: bool,
    /// A later instance of the container exists.
    pub(crate) over: bool,
    /// The directory is gone.
    pub(crate) gone: bool,
    /// In the queue of those with something to read.
    pub(crate) queued: bool,
    /// The position changed since the last batch.
    pub(crate) moved: bool,
    /// The open lines cannot go on: emit them with the next batch.
    pub(crate) break_chains: bool,
    /// What the sink was told of its end.
    pub(crate) told: Told,
}

impl Instance {
    pub(crate) fn new(
        container: usize,
        restart: u32,
        key: Vec<u8>,
        pod: Rc<PodName>,
        container_name: Rc<str>,
        known: Option<Vec<FilePosition>>,
    ) -> Instance {
        Instance {
            container,
            restart,
            key: key.into(),
            pod,
            container_name,
            labels: None,
            // Most instances have one file for all their life.
            files: Vec::with_capacity(1),
            chains: [None, None],
            aliases: Vec::new(),
            age: Duration::MAX,
            fresh: known.is_none(),
            known: known
                .unwrap_or_default()
                .into_iter()
                .map(Known::stored)
                .collect(),
            over: false,
            gone: false,
            queued: false,
            moved: false,
            break_chains: false,
            told: Told::default(),
        }
    }

    /// Whether nothing is left to read now.
    pub(crate) fn is_read(&self) -> bool {
        !self.queued && self.files.iter().all(|f| !f.dirty)
    }

    /// Whether nothing more is expected.
    pub(crate) fn has_ended(&self) -> bool {
        let closed = |f: &LogFile| f.rank == Rank::Live && (f.closed || f.complete);
        self.gone || self.over || self.files.last().is_some_and(closed)
    }

    /// The file to read next.
    pub(crate) fn next_file(&self) -> Option<usize> {
        for (i, f) in self.files.iter().enumerate() {
            if f.dirty {
                return Some(i);
            }
            if !f.complete {
                return None;
            }
        }
        None
    }

    /// Bytes of memory that its unfinished lines hold.
    pub(crate) fn held(&self) -> usize {
        let chains = self.chains.iter().flatten().map(|c| c.bytes.len());
        let longs = self.files.iter().filter_map(|f| f.cursor.long.as_ref());
        chains.sum::<usize>() + longs.map(Long::held).sum::<usize>()
    }

    /// Whether a newer file than `index` has been begun, by stream: what comes now cannot be joined any more.
    pub(crate) fn late(&self, index: usize) -> [bool; 2] {
        std::array::from_fn(|stream| {
            let chain = self.chains[stream].as_ref().map(|c| c.file);
            (index + 1..self.files.len())
                .any(|j| chain == Some(self.files[j].cursor.id) || self.offsets(j)[stream] > 0)
        })
    }

    /// Brings the files in line with a listing of the directory.
    pub(crate) fn reconcile(&mut self, listed: &[Found], env: &mut Env<'_>) {
        self.age = listed
            .iter()
            .filter_map(|f| f.age)
            .min()
            .unwrap_or_default();
        let mut unknown: Vec<&Found> = Vec::new();
        let mut aliases = Vec::new();
        for f in &mut self.files {
            f.present = false;
        }
        for found in listed {
            let same = |f: &&mut LogFile| f.identity == found.identity && f.gz == found.gz;
            if let Some(f) = self.files.iter_mut().find(same) {
                if f.path != found.path {
                    f.path.clone_from(&found.path);
                    f.reopen(env.now);
                }
                f.rank = found.rank.clone();
                f.present = true;
                f.size = found.size;
                if !f.gz && found.size != f.seen_end {
                    f.mark();
                }
            } else if let Some(a) = self
                .aliases
                .iter()
                .find(|(a, _)| a.identity == found.identity)
            {
                aliases.push((found.clone(), a.1));
            } else {
                unknown.push(found);
            }
        }
        self.aliases = aliases;
        let all_opened = self.add_unknown(&unknown, env);
        self.adopt_aliases();
        self.drop_vanished(env.stats, env.until());
        self.poll_deleted();
        self.fresh = false;
        for k in &mut self.known {
            k.until.get_or_insert(env.until());
        }
        // A file that cannot be opened now may still claim its position later.
        if all_opened {
            self.known
                .retain(|k| k.until.is_none_or(|until| env.now < until));
        }
    }

    /// Adds files that were not known; `false` if one of them could not be opened.
    fn add_unknown(&mut self, unknown: &[&Found], env: &mut Env<'_>) -> bool {
        // A file that got its first record since the last look may have been compressed since, too.
        for f in self.files.iter_mut().filter(|f| f.fingerprint.is_none()) {
            if let Source::Plain(file) = &f.source {
                f.fingerprint = files::plain_fingerprint(file).ok().flatten();
            }
        }
        let mut opened = Vec::new();
        let mut all_opened = true;
        for found in unknown {
            match open_new(found) {
                Ok((file, print)) => opened.push((*found, file, print)),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    all_opened = false;
                    add(&env.stats.read_errors, 1);
                    tracing::warn!(path = %found.path.display(), error = %e, "cannot open log file");
                }
            }
        }
        // Identity first, for all: a copy must not claim the position of the file that it was made of.
        opened.retain_mut(
            |(found, file, print)| match self.claim(found, *print, true) {
                Some(p) => {
                    self.insert(found, file.take(), *print, p.offsets, p.complete, env);
                    false
                }
                None => true,
            },
        );
        for (found, file, print) in opened {
            if let Some(p) = self.claim(found, print, false) {
                self.insert(found, file, print, p.offsets, p.complete, env);
            } else if let Some(print) = print
                && let Some(twin) = self.files.iter_mut().find(|f| f.fingerprint == Some(print))
            {
                if twin.present {
                    self.aliases.push((found.clone(), print));
                } else {
                    twin.adopt(found);
                }
            } else {
                let skip = self.fresh && env.start_at == StartAt::End;
                let offset = match &file {
                    Some(file) if skip => files::end_of_records(file, found.size).unwrap_or(0),
                    _ => 0,
                };
                let complete = skip && found.rank != Rank::Live;
                self.insert(found, file, print, [offset, offset], complete, env);
            }
        }
        all_opened
    }

    /// The stored position of a file, by identity or by content.
    fn claim(
        &mut self,
        found: &Found,
        print: Option<u64>,
        by_identity: bool,
    ) -> Option<FilePosition> {
        let at = self.known.iter().position(|k| {
            let p = &k.position;
            if by_identity {
                let same = p.inode == found.identity.inode && p.btime == found.identity.btime;
                same && (p.fingerprint.is_none() || p.fingerprint == print)
            } else {
                print.is_some() && p.fingerprint == print
            }
        })?;
        Some(self.known.remove(at).position)
    }

    fn insert(
        &mut self,
        found: &Found,
        file: Option<File>,
        print: Option<u64>,
        offsets: [u64; 2],
        complete: bool,
        env: &mut Env<'_>,
    ) {
        let cursor = Cursor::new(env.id(), offsets);
        let mut log = LogFile::new(found, print, cursor, env.now);
        if log.rank == Rank::Live && !log.settled {
            self.told.found_young(env.now);
        }
        log.complete = complete;
        if env.first {
            // How long a compressed file is shows only at its end.
            log.backlog_end = if found.gz { u64::MAX } else { found.size };
            log.forgotten = log.cursor.read_at;
        }
        log.dirty = !complete || (!found.gz && found.size > log.cursor.read_at);
        // Open at once: a short-lived pod's directory may be gone before its turn to be read.
        if log.dirty
            && *env.may_open > 0
            && let Some(file) = file
        {
            *env.may_open -= 1;
            log.source = Source::Plain(file);
        }
        let at = self
            .files
            .iter()
            .rposition(|f| f.rank <= log.rank)
            .map_or(0, |i| i + 1);
        self.files.insert(at, log);
        self.moved = true;
    }

    /// A file that lost its name goes on in the file that has the same content: kubelet's `.gz`.
    fn adopt_aliases(&mut self) {
        for f in self.files.iter_mut().filter(|f| !f.present) {
            let twin = |a: &(Found, u64)| Some(a.1) == f.fingerprint;
            if let Some(at) = self.aliases.iter().position(twin) {
                let (found, _) = self.aliases.swap_remove(at);
                f.adopt(&found);
                self.moved = true;
            }
        }
    }

    /// Drops files without a name and without a descriptor. Their positions are remembered for a while.
    fn drop_vanished(&mut self, stats: &Stats, until: Instant) {
        let mut i = 0;
        while i < self.files.len() {
            let f = &self.files[i];
            if f.present || (f.is_open() && !f.complete) {
                i += 1;
                continue;
            }
            if !f.complete && f.size > f.cursor.read_at {
                add(&stats.vanished_unread, 1);
                tracing::warn!(path = %f.path.display(), "log file vanished before it was read");
            }
            // An open line that began here stays in memory: read again, its beginning would be there twice.
            let read = f.cursor.skip.map(|skip| skip.max(f.cursor.read_at));
            let mut position = self.position_of(i);
            position.offsets = read;
            position.complete = f.complete;
            let known = Known {
                position,
                until: Some(until),
            };
            if self.known.len() >= MAX_KNOWN {
                self.known.remove(0);
            }
            self.known.push(known);
            self.files.remove(i);
            self.moved = true;
        }
    }

    /// The directory is gone: what is open is read to its end.
    pub(crate) fn vanish(&mut self, stats: &Stats, until: Instant) {
        self.gone = true;
        for f in &mut self.files {
            f.present = false;
            if f.is_open() {
                f.mark();
            }
        }
        self.aliases.clear();
        self.drop_vanished(stats, until);
    }

    /// Renames as an event says, before the next listing: later events use the new name.
    pub(crate) fn renamed(&mut self, from: &str, to: &str, now: Instant) -> bool {
        let Some(f) = self.by_name(from) else {
            return false;
        };
        f.path.set_file_name(to);
        f.reopen(now);
        true
    }

    /// The file with this name.
    pub(crate) fn by_name(&mut self, name: &str) -> Option<&mut LogFile> {
        self.files
            .iter_mut()
            .find(|f| f.present && f.path.file_name().is_some_and(|n| n == name))
    }

    /// A file is shorter than it was read, or its content is another. Decides what it is now.
    pub(crate) fn truncated(
        &mut self,
        index: usize,
        size: u64,
        framer: &mut Framer,
        env: &mut Env<'_>,
    ) {
        let id = env.id();
        let f = &mut self.files[index];
        let print = match &f.source {
            Source::Plain(file) => files::plain_fingerprint(file).ok().flatten(),
            _ => None,
        };
        framer.drop_long(&mut f.cursor);
        self.break_chains = true;
        self.moved = true;
        f.size = size;
        f.grown = env.now;
        if print.is_some() && print == f.fingerprint {
            add(&env.stats.shrunk, 1);
            tracing::warn!(path = %f.path.display(), "log file is shorter than what was read of it, going on at its end");
            let format = f.cursor.format;
            let offsets = if self.chains.iter().flatten().any(|c| c.file == f.cursor.id) {
                [size, size]
            } else {
                f.cursor.skip.map(|s| s.max(f.cursor.read_at).min(size))
            };
            f.cursor = Cursor::new(f.cursor.id, offsets);
            f.cursor.format = format;
            f.seen_end = size;
            return;
        }
        add(&env.stats.restarted, 1);
        let old = std::mem::replace(&mut f.cursor, Cursor::new(id, [0, 0]));
        let old_print = std::mem::replace(&mut f.fingerprint, print);
        f.seen_end = 0;
        (f.backlog_end, f.forgotten) = (0, 0);
        f.dirty = size > 0;
        // A copy made before the truncation goes on where the original ended.
        if let Some(at) = self.aliases.iter().position(|(_, p)| Some(*p) == old_print) {
            let (found, print) = self.aliases.swap_remove(at);
            let copy = LogFile::new(&found, Some(print), old, env.now);
            self.files.insert(index, copy);
        }
    }

    /// Time has passed: no event comes from a file without a name, so it is looked at now and then.
    pub(crate) fn poll_deleted(&mut self) {
        for f in self.files.iter_mut().filter(|f| !f.present && f.is_open()) {
            f.dirty = true;
        }
    }

    /// Decides which files are complete, closes and drops them, and says what is needed next.
    pub(crate) fn settle(&mut self, env: &Env<'_>) -> Need {
        let count = self.files.len();
        let mut waits = false;
        for i in 0..count {
            let last = i + 1 == count;
            let over = self.over || self.gone;
            let f = &mut self.files[i];
            if f.complete || f.dirty {
                continue;
            }
            if last && f.present && !over {
                break;
            }
            let quiet = f.settled || env.now.duration_since(f.grown) >= env.timing.quiet;
            if f.gz || f.closed || quiet || (i + 2 < count && f.present) {
                f.complete = true;
                self.moved = true;
                if f.seen_end > f.cursor.read_at {
                    add(&env.stats.damaged, 1);
                }
            } else {
                waits = true;
            }
        }
        for f in self.files.iter_mut().filter(|f| f.complete && !f.dirty) {
            f.source = Source::Closed;
        }
        self.drop_vanished(env.stats, env.until());
        self.need(waits, env)
    }

    fn need(&self, mut waits: bool, env: &Env<'_>) -> Need {
        if self.next_file().is_some() {
            let polls = self.files.iter().all(|f| !f.dirty || !f.present);
            return if polls && waits {
                Need::Time
            } else {
                Need::Read
            };
        }
        let done = self.files.iter().all(|f| f.complete);
        let chains = self.chains.iter().flatten();
        let stale = |at: Instant| env.now.duration_since(at) >= env.timing.partial;
        if self.break_chains || chains.clone().any(|c| stale(c.touched)) {
            return Need::Flush;
        }
        if chains.count() > 0 {
            if done && (self.over || self.gone) {
                return Need::Flush;
            }
            waits = true;
        }
        if self.gone && self.files.is_empty() {
            return Need::Forget;
        }
        if waits { Need::Time } else { Need::Nothing }
    }

    /// The offsets of a file: everything of a stream before its offset is emitted.
    fn offsets(&self, index: usize) -> [u64; 2] {
        let f = &self.files[index];
        std::array::from_fn(|stream| {
            let skip = f.cursor.skip[stream];
            let read = f.cursor.read_at.max(skip);
            let Some(chain) = &self.chains[stream] else {
                return read;
            };
            match self.files.iter().position(|f| f.cursor.id == chain.file) {
                Some(first) if index < first => read,
                Some(first) if index == first => chain.start.max(skip),
                _ => skip,
            }
        })
    }

    /// Writes the position to `out`.
    pub(crate) fn encode_position(&self, out: &mut Vec<u8>) {
        out.clear();
        let from = self.files.len().saturating_sub(position::MAX_FILES);
        let known = &self.known[..self
            .known
            .len()
            .min(position::MAX_FILES - (self.files.len() - from))];
        let count = known.len() + self.files.len() - from;
        let files = (0..count).map(|i| match known.get(i) {
            Some(k) => k.position,
            None => self.position_of(from + i - known.len()),
        });
        position::encode(files, out);
    }

    fn position_of(&self, index: usize) -> FilePosition {
        let f = &self.files[index];
        let offsets = self.offsets(index);
        FilePosition {
            inode: f.identity.inode,
            btime: f.identity.btime,
            fingerprint: f.fingerprint,
            offsets,
            complete: f.complete && !f.dirty && offsets.iter().all(|o| *o >= f.cursor.read_at),
        }
    }
}

/// Opens a new file to look at its first record. The descriptor of a compressed one is not kept.
fn open_new(found: &Found) -> std::io::Result<(Option<File>, Option<u64>)> {
    let file = files::open(&found.path)?;
    if files::identity(&file.metadata()?) != found.identity {
        // Renamed since it was listed; the event of that brings the next listing.
        return Err(std::io::ErrorKind::NotFound.into());
    }
    if found.gz {
        return Ok((None, files::gz_fingerprint(file)?));
    }
    let print = files::plain_fingerprint(&file)?;
    Ok((Some(file), print))
}

#[cfg(test)]
#[path = "instance_tests.rs"]
mod tests;
