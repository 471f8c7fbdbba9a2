//! Reading a backlog without disturbing others on the same card.
//!
//! Backlog is what the files held when the tree was listed for the first time: gigabytes, perhaps, and not in the page cache.
//! It is read at a bounded rate, from all containers in turn or the newest first, a block of the store of each at a time, and
//! the page cache is told that it is not needed any more. What is written afterwards is never held back. What could not be
//! read because the sink had no room is no backlog either: the sink sets the pace of that.

use std::collections::VecDeque;
use std::fs::File;
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use crate::config::CatchUpOrder;

/// Most bytes read at once after a rest, and the debt that a turn may make: a node with less backlog than this does not
/// notice that there is a rate.
const BURST_BYTES: i64 = 1 << 20;
/// Bytes that are waited for before reading goes on: a turn of the reader. Less would wake more often.
const TURN_BYTES: i64 = 512 << 10;
/// Backlog instances that go on after a rest with [`CatchUpOrder::Newest`]: as many as a turn of the reader has places.
const NEWEST: usize = crate::tail::read::SLOTS;
/// Bytes of a file after which the page cache is told.
const FORGET_BYTES: u64 = 1 << 20;

/// Backlog instances that are read at a time: one alone would have the disk wait while its lines are handled.
const TOGETHER: usize = 2;
/// Bytes of lines that an instance gives before the next one has its turn. With the last buffer they are as many as a block of
/// the store holds: it seals a whole block, and need not join smaller ones, which takes as long as compressing all anew.
const GO_BYTES: u64 = 224 << 10;

/// Which instances' backlog is being read, and how many bytes of lines each has given.
#[derive(Debug, Default)]
pub(crate) struct Goes(heapless::Vec<(usize, u64), TOGETHER>);

impl Goes {
    /// Before instances are asked for: those that will not come any more are forgotten.
    pub(crate) fn keep(&mut self, is_queued: impl Fn(usize) -> bool) {
        self.0.retain(|(iid, _)| is_queued(*iid));
    }

    /// Whether it is the turn of an instance that has backlog.
    pub(crate) fn may_go(&mut self, iid: usize) -> bool {
        self.0.iter().any(|(other, _)| *other == iid) || self.0.push((iid, 0)).is_ok()
    }

    /// An instance has given so many bytes of lines.
    pub(crate) fn took(&mut self, iid: usize, bytes: u64) {
        for (_, taken) in self.0.iter_mut().filter(|(other, _)| *other == iid) {
            *taken += bytes;
        }
        self.0.retain(|(_, taken)| *taken < GO_BYTES);
    }

    /// It goes on later.
    pub(crate) fn end(&mut self, iid: usize) {
        self.0.retain(|(other, _)| *other != iid);
    }
}

/// Bounds the rate of reading, and keeps the instances that have to wait.
#[derive(Debug)]
pub(crate) struct Pacer {
    /// Bytes a second; `None`: no bound.
    rate: Option<u64>,
    order: CatchUpOrder,
    /// Bytes that may be read; below 0 after a turn that took more.
    bytes: i64,
    /// When `bytes` was worked out.
    at: Instant,
    waiting: VecDeque<usize>,
}

impl Pacer {
    pub(crate) fn new(rate: Option<u64>, order: CatchUpOrder, now: Instant) -> Pacer {
        Pacer {
            rate,
            order,
            bytes: BURST_BYTES,
            at: now,
            waiting: VecDeque::new(),
        }
    }

    /// Whether backlog may be read now.
    pub(crate) fn may_read(&mut self, now: Instant) -> bool {
        let Some(rate) = self.rate else { return true };
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * rate as f64;
        // What is less than a byte is not lost: the time stays.
        if gained >= 1.0 {
            self.bytes = (self.bytes as f64 + gained).min(BURST_BYTES as f64) as i64;
            self.at = now;
        }
        self.bytes > 0
    }

    /// Backlog was read.
    pub(crate) fn took(&mut self, bytes: u64) {
        if self.rate.is_some() {
            self.bytes -= bytes as i64;
        }
    }

    /// Keeps an instance until [`Pacer::release`] gives it back.
    pub(crate) fn hold(&mut self, iid: usize) {
        self.waiting.push_back(iid);
    }

    /// When instances that are kept may go on.
    pub(crate) fn next(&self) -> Option<Instant> {
        let rate = self.rate?;
        let missing = (TURN_BYTES - self.bytes).max(0) as f64;
        let wait = Duration::from_secs_f64(missing / rate as f64);
        (!self.waiting.is_empty()).then(|| self.at + wait)
    }

    /// Gives back what may be read now. `age` says how long ago an instance wrote last, where that is known.
    pub(crate) fn release(
        &mut self,
        now: Instant,
        queue: &mut VecDeque<usize>,
        age: impl Fn(usize) -> Duration,
    ) {
        if self.next().is_none_or(|at| now < at) || !self.may_read(now) {
            return;
        }
        let count = match self.order {
            CatchUpOrder::Even => self.waiting.len(),
            CatchUpOrder::Newest => {
                self.waiting.make_contiguous().sort_by_key(|iid| age(*iid));
                NEWEST.min(self.waiting.len())
            }
        };
        queue.extend(self.waiting.drain(..count));
    }
}

/// Tells the page cache that a file is not needed up to `offset`, now and then; `from` says up to where it was told.
pub(crate) fn forget(file: &File, from: &mut u64, offset: u64, all: bool) {
    let bytes = offset.saturating_sub(*from);
    if bytes < FORGET_BYTES && !all {
        return;
    }
    if let Some(len) = NonZeroU64::new(bytes) {
        // Only advice: a file system without it keeps its pages.
        let _ = rustix::fs::fadvise(file, *from, Some(len), rustix::fs::Advice::DontNeed);
    }
    *from = offset;
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 4 << 20;

    /// Reads turns of 512 KiB for as long as it may, over a minute of pretended time; bytes read.
    fn run(rate: Option<u64>) -> (u64, u32) {
        let start = Instant::now();
        let mut pacer = Pacer::new(rate, CatchUpOrder::Even, start);
        let (mut read, mut wakes, mut now) = (0, 0, start);
        let mut queue = VecDeque::from([1]);
        while now < start + Duration::from_secs(60) && read < 1 << 30 {
            while let Some(iid) = queue.pop_front() {
                if pacer.may_read(now) {
                    pacer.took(TURN_BYTES as u64);
                    read += TURN_BYTES as u64;
                    queue.push_back(iid);
                } else {
                    pacer.hold(iid);
                }
                if read >= 1 << 30 {
                    break;
                }
            }
            let Some(at) = pacer.next() else { continue };
            assert!(at > now, "never without a rest");
            now = at;
            wakes += 1;
            pacer.release(now, &mut queue, |_| Duration::ZERO);
            assert_eq!(queue, [1]);
        }
        (read, wakes)
    }

    #[test]
    fn a_backlog_is_read_at_its_rate() {
        let (read, wakes) = run(Some(RATE));
        let most = 60 * RATE + BURST_BYTES as u64 + TURN_BYTES as u64;
        assert!((59 * RATE..=most).contains(&read), "{read}");
        assert!(wakes < 60 * 10, "{wakes}");
        assert_eq!(run(None), (1 << 30, 0));
        // A rate below a byte for each look still moves.
        assert!(run(Some(1)).0 <= 2 * BURST_BYTES as u64);
    }

    #[test]
    fn two_backlogs_are_read_at_a_time_and_a_block_of_each() {
        const LINES: u64 = 24 << 10;
        let mut goes = Goes::default();
        let mut queue = VecDeque::from([1, 2, 3, 4, 5]);
        let mut read = Vec::new();
        while read.len() < 100 {
            goes.keep(|iid| queue.contains(&iid));
            let turn = std::mem::take(&mut queue);
            let (now, later): (Vec<_>, Vec<_>) = turn.into_iter().partition(|i| goes.may_go(*i));
            assert!(now.len() <= TOGETHER);
            for iid in &now {
                goes.took(*iid, LINES);
            }
            read.extend(&now);
            queue.extend(later.into_iter().chain(now));
        }
        let reads = GO_BYTES.div_ceil(LINES) as usize;
        let turns: Vec<_> = read.chunks(2 * reads).collect();
        assert!(turns[0].iter().all(|iid| [1, 2].contains(iid)));
        assert!(turns[1].iter().all(|iid| [3, 4].contains(iid)));
        assert!(turns[2].iter().all(|iid| [5, 1].contains(iid)));
        // One that is held back or gone leaves its place.
        goes.end(5);
        assert!(goes.may_go(9));
        goes.keep(|iid| iid != 9);
        assert!(goes.may_go(8));
    }

    #[test]
    fn the_newest_go_on_first() {
        let start = Instant::now();
        let mut pacer = Pacer::new(Some(RATE), CatchUpOrder::Newest, start);
        pacer.took(2 * BURST_BYTES as u64);
        for iid in 0..20 {
            pacer.hold(iid);
        }
        let mut queue = VecDeque::new();
        // The higher the number, the newer.
        let age = |iid: usize| Duration::from_secs(100 - iid as u64);
        pacer.release(start, &mut queue, age);
        assert!(queue.is_empty());
        pacer.release(start + Duration::from_secs(60), &mut queue, age);
        assert_eq!(queue, [19, 18, 17, 16, 15, 14, 13, 12]);
    }
}
