//! Retention: which segments are removed, and removing them without breaking a promise.
//!
//! Only whole segments go. Why one goes:
//!
//! | reason | when | asks the clock? |
//! |---|---|---|
//! | age | it was written longer ago than `retention_period` | yes |
//! | max_disk | the store is larger than `max_disk`: lowest sequence first | no |
//! | min_free | the file system has less than `min_free` left, whoever filled it: lowest sequence first | no |
//! | full | a flush found the disk full: lowest sequence first, as much as the flush needs; never if neither `max_disk` nor `min_free` is set | no |
//!
//! **Age** counts trusted evidence only (promise P10). It is not that of the entries: lines stamped 1970, or by a clock
//! months behind, and a backlog found at the first start are new here. A segment's summary has the wall clock at writing,
//! and whether that was trusted (module `clock`). A segment that cannot say when it was written (untrusted clock, damaged
//! summary, a time in the future) was written before the next one that can, and counts from then; if there is none, it is
//! new. Nothing is removed for its age while the clock is not trusted, nor in the first hour after a start, which may hide
//! a jump.
//!
//! **Order of a removal:** out of the list that queries take, out of the index, unlink. A query that took the list before
//! finds no file, and that is no damage. A crash in between leaves a file that the next start finds again.
//!
//! **The newest segment holds the positions of all sources.** It is never removed. If nothing but positions should be left,
//! a segment without entries is written first; then the old one is not the newest any more.
//!
//! It runs on the flush thread: within a flush, where its changes go to the device together with the flush's own, once a
//! minute (others fill the disk too), and when a flush finds the disk full.

use std::io;
use std::time::{Duration, Instant};

use disk::Space;

use crate::clock::{HOLD, Reading, Verdict};
use crate::head::Reason as FlushReason;
use crate::segment::{self, SegmentEntry};
use crate::store::{Inner, State};

/// Time between two looks at the disk: kubelet evicts pods some minutes after others have filled it.
const TICK: Duration = Duration::from_secs(60);
/// Time between two looks at ages without a flush. Removing is a change of names, which costs device flushes of its own
/// unless a flush is under way.
const AGE_TICK: Duration = Duration::from_secs(3600);
/// How long space that was given back may take to show: a query may hold a removed file open for as long as it runs.
const SETTLE: Duration = Duration::from_secs(120);
/// Most segments removed in one go; flushes come between two.
const ROUND_MAX: usize = 256;
/// Least bytes made free when the disk is full: the index and the file system's own tables need some too.
const FULL_BYTES_MIN: u64 = 512 << 10;
/// Time between two lines about the same standing trouble.
const NAG: Duration = Duration::from_secs(3600);

/// A size, or a share of the file system's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Bytes.
    Bytes(u64),
    /// Per cent of the file system, 0 to 100.
    Percent(u8),
}

impl Share {
    /// Bytes of a file system of `total` bytes.
    #[must_use]
    pub fn of(self, total: u64) -> u64 {
        match self {
            Share::Bytes(bytes) => bytes,
            Share::Percent(percent) => (u128::from(total) * u128::from(percent) / 100) as u64,
        }
    }
}

/// What is kept. The default is everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Retention {
    /// How long; `None`: for ever.
    pub period: Option<Duration>,
    /// Most bytes of all files of the store.
    pub max_disk: Option<Share>,
    /// Least bytes left free on the file system.
    pub min_free: Option<Share>,
}

impl Retention {
    fn is_none(&self) -> bool {
        *self == Retention::default()
    }
}

/// Why segments were removed; index into [`crate::api::StoreStats::removed`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    Age,
    MaxDisk,
    MinFree,
    Full,
}

impl Reason {
    /// The values of the label `reason`, in order.
    pub(crate) const NAMES: [&str; 4] = ["age", "max_disk", "min_free", "full"];
}

/// What was removed for one reason since start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Segments.
    pub segments: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Entries in them.
    pub entries: u64,
}

/// A file that is no use to queries (its summary is damaged, or it could not be removed), but takes space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dead {
    pub(crate) sequence: u64,
    pub(crate) bytes: u64,
    /// Entries that were in it; 0 when that is not known.
    pub(crate) entries: u64,
}

/// State of retention, part of the store's.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) dead: Vec<Dead>,
    pub(crate) removed: [Removed; 4],
    /// Size and space of the file system at the last look.
    pub(crate) space: Option<Space>,
    /// Bytes of files of the store that are no segments.
    pub(crate) others: u64,
    /// `min_free` cannot be had by removing more.
    pub(crate) short: bool,
    /// Writes that found the disk full.
    pub(crate) full: u64,
    next: Instant,
    aged: Option<Instant>,
    /// Bytes given back last, and when.
    freed: Option<(Instant, u64)>,
    /// Time since boot at the start, ns.
    started: i64,
    verdict: Option<Verdict>,
    nagged: Option<Instant>,
    /// Calls of [`Store::retain`](crate::api::Store::retain), and how many of them are done.
    asked: u64,
    answered: u64,
}

impl Upkeep {
    pub(crate) fn new(dead: Vec<Dead>, started: i64) -> Upkeep {
        Upkeep {
            dead,
            removed: [Removed::default(); 4],
            space: None,
            others: 0,
            short: false,
            full: 0,
            next: Instant::now(),
            aged: None,
            freed: None,
            started,
            verdict: None,
            nagged: None,
            asked: 0,
            answered: 0,
        }
    }

    /// When [`tend`] is to be called.
    pub(crate) fn due(&self) -> Instant {
        self.next
    }

    /// Bytes of files that no query sees.
    pub(crate) fn dead_bytes(&self) -> u64 {
        self.dead.iter().map(|dead| dead.bytes).sum()
    }

    fn settling(&self, now: Instant) -> u64 {
        let recent = self
            .freed
            .filter(|(at, _)| now.duration_since(*at) < SETTLE);
        recent.map_or(0, |(_, bytes)| bytes)
    }

    fn nag(&mut self, now: Instant) -> bool {
        let due = self.nagged.is_none_or(|at| now.duration_since(at) >= NAG);
        if due {
            self.nagged = Some(now);
        }
        due
    }
}

impl crate::api::Store {
    /// Looks at once for what is to be removed, ages too, and removes it. Blocks until that is done.
    pub fn retain(&self) {
        let inner = &*self.inner;
        let mut state = inner.lock();
        state.upkeep.asked += 1;
        let ticket = state.upkeep.asked;
        state.upkeep.next = Instant::now();
        inner.wake.notify_one();
        while state.upkeep.answered < ticket && !state.closed {
            state = inner.wait(&inner.done, state, Duration::from_secs(1));
        }
    }
}

/// A segment as its age is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Item {
    sequence: u64,
    bytes: u64,
    entries: u64,
    /// Trusted wall time of its writing.
    written_at: Option<i64>,
}

impl Item {
    fn of(entry: &SegmentEntry) -> Item {
        Item {
            sequence: entry.sequence,
            bytes: entry.file_bytes,
            entries: entry.entries,
            written_at: entry.clock_trusted.then_some(entry.written_at),
        }
    }
}

/// Everything that may be removed, by sequence; without the newest segment. Then that one.
fn items(state: &State) -> (Vec<Item>, Option<Item>) {
    let mut all: Vec<Item> = state.head.segments().iter().map(Item::of).collect();
    let newest = all.pop();
    let dead = state.upkeep.dead.iter().map(|dead| Item {
        sequence: dead.sequence,
        bytes: dead.bytes,
        entries: dead.entries,
        written_at: None,
    });
    all.extend(dead);
    all.sort_by_key(|item| item.sequence);
    (all, newest)
}

/// Which of `items` (by sequence), and at last `newest`, were written before `cutoff`, by evidence up to `now`.
fn expired(items: &[Item], newest: Option<Item>, now: i64, cutoff: i64) -> (Vec<bool>, bool) {
    let mut evidence = now;
    let mut judge = |item: &Item| {
        // A time in the future is none: the clock was wrong then.
        if let Some(at) = item.written_at.filter(|at| *at <= now) {
            evidence = at;
        }
        evidence < cutoff
    };
    let last = newest.as_ref().is_some_and(&mut judge);
    let mut flags: Vec<bool> = items.iter().rev().map(judge).collect();
    flags.reverse();
    (flags, last)
}

/// What a pass will do.
#[derive(Debug, Default)]
struct Plan {
    victims: Vec<(Item, Reason)>,
    /// The newest segment should go as well, once another one holds the positions.
    newest: bool,
    /// Bytes that are still missing of `min_free`.
    missing: u64,
}

/// How to look.
#[derive(Debug, Clone, Copy)]
struct Look {
    now: Instant,
    reading: Reading,
    space: Option<Space>,
    /// Bytes of a segment that is written and not in the list yet.
    coming: u64,
    ages: bool,
}

fn plan(inner: &Inner, state: &State, look: Look) -> Plan {
    let keep = &inner.tuning().retention;
    let (items, newest) = items(state);
    let mut plan = Plan::default();
    let old = match keep.period {
        Some(period) if look.ages => {
            let cutoff = look.reading.wall.saturating_sub(period.as_nanos() as i64);
            expired(&items, newest, look.reading.wall, cutoff)
        }
        _ => (vec![false; items.len()], false),
    };
    let total = look.space.map_or(0, |space| space.total);
    let used = state.bytes + state.upkeep.dead_bytes() + state.upkeep.others + look.coming;
    let limit = keep.max_disk.map(|share| share.of(total));
    let limit = limit.filter(|_| look.space.is_some());
    let mut over = limit.map_or(0, |limit| used.saturating_sub(limit));
    let mut missing = match (keep.min_free, look.space) {
        (Some(share), Some(space)) => {
            let soon = space.available + state.upkeep.settling(look.now);
            share.of(space.total).saturating_sub(soon)
        }
        _ => 0,
    };
    let judged = || items.iter().zip(old.0.iter().copied());
    // What goes for its age makes room, wherever it stands.
    for (item, _) in judged().filter(|(_, old)| *old) {
        over = over.saturating_sub(item.bytes);
        missing = missing.saturating_sub(item.bytes);
    }
    for (item, old) in judged() {
        let reason = match (old, over > 0, missing > 0) {
            (true, ..) => Reason::Age,
            (_, true, _) => Reason::MaxDisk,
            (_, _, true) => Reason::MinFree,
            _ => continue,
        };
        if !old {
            over = over.saturating_sub(item.bytes);
            missing = missing.saturating_sub(item.bytes);
        }
        plan.victims.push((*item, reason));
    }
    let wanted = old.1 || over > 0 || missing > 0;
    plan.newest = newest.is_some_and(|newest| newest.entries > 0) && wanted;
    plan.missing = missing;
    plan
}

/// Looks at the disk; `None` where it cannot be asked.
fn measure(inner: &Inner) -> Option<Space> {
    let space = inner.disk.space(&inner.segments);
    space
        .inspect_err(|error| tracing::debug!(%error, "cannot ask the file system for its space"))
        .ok()
}

/// Bytes of the files beside the segments: index, push log, lock.
fn others(inner: &Inner) -> io::Result<u64> {
    let files = inner.disk.list(&inner.dir)?;
    Ok(files.iter().map(|file| file.len).sum())
}

/// The minute's look: at the disk, and at ages when that is due.
pub(crate) fn tend(inner: &Inner) {
    let now = Instant::now();
    let reading = inner.clock.read();
    let space = measure(inner);
    let others = others(inner);
    let mut state = inner.lock();
    let asked = state.upkeep.asked;
    state.upkeep.next = now + TICK;
    state.upkeep.space = space.or(state.upkeep.space);
    state.upkeep.others = others.unwrap_or(state.upkeep.others);
    let idle = |at: Instant| now.duration_since(at) >= AGE_TICK;
    let due = asked > state.upkeep.answered || state.upkeep.aged.is_none_or(idle);
    let look = Look {
        now,
        reading,
        space,
        coming: 0,
        ages: ages(inner, &mut state, reading) && due,
    };
    if look.ages {
        state.upkeep.aged = Some(now);
    }
    let plan = plan(inner, &state, look);
    short(&mut state, &plan, now);
    let victims = take(&mut state, plan.victims);
    // A round without victims is the last one.
    let more = victims.len() == ROUND_MAX;
    let positions = plan.newest && !more && positions_alone(&mut state);
    if more || positions {
        state.upkeep.next = now;
    }
    drop(state);
    remove(inner, &victims);
    if !(more || positions) {
        inner.lock().upkeep.answered = asked;
        inner.done.notify_all();
    }
}

/// The same within a flush, before the sync of the directory makes its own change of names durable: `coming` are the bytes
/// of its file. Never fails the flush.
pub(crate) fn ride(inner: &Inner, reading: Reading, coming: u64) {
    if inner.tuning().retention.is_none() {
        return;
    }
    let now = Instant::now();
    let space = measure(inner);
    let mut state = inner.lock();
    let look = Look {
        now,
        reading,
        space,
        coming,
        ages: ages(inner, &mut state, reading),
    };
    if look.ages {
        state.upkeep.aged = Some(now);
    }
    state.upkeep.space = space.or(state.upkeep.space);
    let plan = plan(inner, &state, look);
    let victims = take(&mut state, plan.victims);
    drop(state);
    remove(inner, &victims);
}

/// Makes room for a flush that found the disk full. False when there is nothing that may be removed.
pub(crate) fn make_room(inner: &Inner, bytes: u64) -> bool {
    let mut state = inner.lock();
    state.upkeep.full += 1;
    let keep = inner.tuning().retention;
    if keep.max_disk.or(keep.min_free).is_none() {
        return false;
    }
    let mut needed = bytes.max(FULL_BYTES_MIN) as i64;
    let (items, _) = items(&state);
    let mut victims = Vec::new();
    for item in items.into_iter().take(ROUND_MAX) {
        if needed <= 0 {
            break;
        }
        needed -= item.bytes as i64;
        victims.push((item, Reason::Full));
    }
    let victims = take(&mut state, victims);
    if victims.is_empty() && state.upkeep.nag(Instant::now()) {
        tracing::error!(
            dir = %inner.segments.display(),
            "the disk is full, and no old segment is left to remove: free some space"
        );
    }
    drop(state);
    let freed = remove(inner, &victims);
    // Blocks of removed files may be used again only once the removal is committed.
    freed && inner.disk.sync_dir(&inner.segments).is_ok()
}

/// Whether a write failed because there is no space left, for anybody or for this user.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Whether ages may be judged now; says when that changes.
fn ages(inner: &Inner, state: &mut State, reading: Reading) -> bool {
    let upkeep = &mut state.upkeep;
    if inner.tuning().retention.period.is_none() {
        return false;
    }
    if upkeep.verdict.replace(reading.verdict) != Some(reading.verdict) {
        let why = reading.verdict.text();
        match reading.verdict {
            Verdict::Trusted => tracing::info!("logs may be removed for their age: {why}"),
            // Usual for the first minute of a node without a battery clock, and nothing is lost by it.
            _ => tracing::info!("nothing is removed for its age: {why}"),
        }
    }
    let up = reading.boot.saturating_sub(upkeep.started);
    reading.is_trusted() && up >= HOLD.as_nanos() as i64
}

/// Notes whether `min_free` is out of reach, and says so now and then.
fn short(state: &mut State, plan: &Plan, now: Instant) {
    state.upkeep.short = plan.missing > 0;
    if state.upkeep.short && state.upkeep.nag(now) {
        tracing::warn!(
            missing = plan.missing,
            "less is free than min_free asks for, and no old segment is left to remove: something else fills the disk"
        );
    }
}

/// Has the next flush write a segment without entries, if there is nothing else to write. What is in memory otherwise
/// becomes the newest segment by itself soon enough.
fn positions_alone(state: &mut State) -> bool {
    if state.head.oldest().is_some() || state.head.frozen().is_some() {
        return false;
    }
    match state.head.freeze_positions(FlushReason::Asked) {
        Ok(frozen) => frozen,
        Err(error) => {
            tracing::error!(%error, "cannot write the positions anew");
            false
        }
    }
}

/// Takes victims, as many as one round may have, out of what queries see.
fn take(state: &mut State, mut victims: Vec<(Item, Reason)>) -> Vec<(Item, Reason)> {
    victims.truncate(ROUND_MAX);
    if victims.is_empty() {
        return victims;
    }
    let sequences: Vec<u64> = victims.iter().map(|(item, _)| item.sequence).collect();
    let is_victim = |sequence: u64| sequences.binary_search(&sequence).is_ok();
    let gone = state
        .head
        .forget_segments(|segment| is_victim(segment.sequence));
    state.bytes -= gone;
    state.upkeep.dead.retain(|dead| !is_victim(dead.sequence));
    victims
}

/// Removes files that no query will ask for any more. True when at least one is gone.
fn remove(inner: &Inner, victims: &[(Item, Reason)]) -> bool {
    if victims.is_empty() {
        return false;
    }
    let sequences: Vec<u64> = victims.iter().map(|(item, _)| item.sequence).collect();
    inner.index.removed(&sequences);
    let (mut failed, mut freed) = (Vec::new(), 0);
    let mut removed = [Removed::default(); 4];
    for (item, reason) in victims {
        let path = inner.segments.join(segment::file_name(item.sequence));
        match inner.disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, file = %path.display(), "cannot remove an old segment; tried again");
                failed.push(Dead {
                    sequence: item.sequence,
                    bytes: item.bytes,
                    entries: item.entries,
                });
                continue;
            }
            _ => {}
        }
        freed += item.bytes;
        let sum = &mut removed[*reason as usize];
        sum.segments += 1;
        sum.entries += item.entries;
        sum.bytes += item.bytes;
    }
    let gone = failed.len() < victims.len();
    let mut state = inner.lock();
    state.upkeep.dead.append(&mut failed);
    if freed > 0 {
        state.upkeep.freed = Some((Instant::now(), freed));
    }
    for ((sum, more), reason) in state
        .upkeep
        .removed
        .iter_mut()
        .zip(removed)
        .zip(Reason::NAMES)
    {
        sum.segments += more.segments;
        sum.bytes += more.bytes;
        sum.entries += more.entries;
        if more.segments > 0 {
            tracing::info!(
                reason,
                segments = more.segments,
                bytes = more.bytes,
                entries = more.entries,
                "removed old segments"
            );
        }
    }
    gone
}

#[cfg(test)]
#[path = "retention_tests.rs"]
mod tests;
