//! The flush thread: writes frozen epochs, and freezes the head when its oldest entry is due.
//!
//! Nothing is removed from memory before it is durable. A failed write leaves the epoch where it is; it is written
//! again, to a new file, after a pause that doubles from 1 s to 30 s, or at once when somebody asks for a flush.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::block::Encoder;
use crate::head::{Frozen, Reason, merge};
use crate::limits::ZSTD_LEVEL;
use crate::pace::{self, Pace};
use crate::retention;
use crate::segment::{self, Reader, SegmentEntry, Target};
use crate::store::Inner;

/// First pause after a failed write.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause between tries.
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Runs until the store closes and the head has nothing frozen, or the last try failed.
pub(crate) fn run(inner: &Inner) {
    let mut retry: Option<(Instant, Duration)> = None;
    let mut last = None;
    while let Some(job) = next(inner, retry.map(|(at, _)| at)) {
        let Job::Write(frozen) = job else {
            retention::tend(inner);
            continue;
        };
        let started = Instant::now();
        inner.pulse.write();
        let backlog = frozen.reason == Reason::Size && pace::is_backlog(last, started);
        match write(inner, &frozen, &Pace::new(inner, backlog)) {
            Ok(segment) => {
                retry = None;
                last = Some(Instant::now());
                let mut state = inner.lock();
                state.head.commit(segment);
                state.flushes[frozen.reason as usize] += 1;
                state.flush_time += started.elapsed();
                state.failure = None;
                state.hurry = false;
                state.bytes += segment.file_bytes;
                drop(state);
                tracing::debug!(
                    segment = segment.sequence,
                    entries = segment.entries,
                    bytes = segment.file_bytes,
                    "flushed"
                );
                if inner.index.stale() {
                    crate::query::reconcile(inner);
                }
            }
            Err(error)
                if retention::is_full(&error) && retention::make_room(inner, size(&frozen)) =>
            {
                // Until the next try has ended, appends that find no room are told why.
                inner.lock().failure = Some(error.to_string());
                continue;
            }
            Err(error) => {
                let pause = retry.map_or(RETRY_MIN, |(_, pause)| (pause * 2).min(RETRY_MAX));
                retry = Some((Instant::now() + pause, pause));
                tracing::error!(%error, dir = %inner.segments.display(), ?pause, "flush failed, entries stay in memory");
                let mut state = inner.lock();
                state.flush_errors += 1;
                state.hurry = false;
                state.failure = Some(error.to_string());
            }
        }
        inner.done.notify_all();
        inner.room.notify_waiters();
    }
}

/// What the thread does next.
enum Job {
    /// Write an epoch.
    Write(Arc<Frozen>),
    /// Look for what is to be removed.
    Tend,
}

/// Bytes that writing an epoch may take, about: its blocks and tables, and the positions twice.
fn size(frozen: &Frozen) -> u64 {
    (frozen.epoch.memory() + 2 * frozen.positions.len()) as u64
}

/// Waits for something to do; `None` when there is nothing left.
fn next(inner: &Inner, retry_at: Option<Instant>) -> Option<Job> {
    let mut state = inner.lock();
    loop {
        inner.pulse.turn();
        let now = Instant::now();
        let held_back = retry_at.is_some_and(|at| now < at) && !state.hurry;
        if let Some(frozen) = state.head.frozen() {
            if !held_back {
                return Some(Job::Write(frozen));
            }
            if state.closed {
                return None;
            }
        } else if state.closed {
            return None;
        }
        if state.head.frozen().is_none() && state.head.committed() < state.wanted {
            match state.head.freeze(Reason::PushLog, true) {
                Ok(true) => continue,
                Ok(false) => {
                    state.wanted = 0;
                    inner.room.notify_waiters();
                }
                Err(error) => tracing::error!(%error, "cannot seal the head"),
            }
        }
        if now >= state.upkeep.due() {
            return Some(Job::Tend);
        }
        let due = state
            .head
            .oldest()
            .map(|oldest| oldest + inner.tuning().flush_interval);
        if state.head.frozen().is_none() && due.is_some_and(|due| now >= due) {
            match state.head.freeze(Reason::Age, false) {
                Ok(_) => continue,
                Err(error) => tracing::error!(%error, "cannot seal the head"),
            }
        }
        let until = if held_back { retry_at } else { due };
        let until = until.map_or(state.upkeep.due(), |at| at.min(state.upkeep.due()));
        let wait = until.saturating_duration_since(now);
        // A timeout of its own also when nothing is due: no wake-up is ever lost for good.
        let wait = wait.clamp(Duration::from_millis(1), RETRY_MAX);
        state = inner.wait(&inner.wake, state, wait);
    }
}

fn write(inner: &Inner, frozen: &Frozen, pace: &Pace<'_>) -> std::io::Result<SegmentEntry> {
    let clock = inner.clock.read();
    let attempt = inner.lock().next_attempt();
    let path = {
        let mut encoder = Encoder::new(ZSTD_LEVEL)?;
        let mut merged = merge(&frozen.epoch, &mut encoder)?;
        let input = merged.segment(&frozen.epoch, clock, &frozen.positions);
        let to = Target {
            disk: &*inner.disk,
            dir: &inner.segments,
            attempt,
            pace: Some(pace),
        };
        segment::write(to, &input, &mut encoder)?
    };
    let reader = Reader::open(&*inner.disk, &path).map_err(std::io::Error::other)?;
    // The index is a cache and never synced. Written here, its bytes go out with the directory's journal commit; written
    // after it, they would cost a commit of their own: two more device flushes. A power cut in between leaves an index
    // that is ahead, which the next start corrects.
    if let Some(sink) = inner.sink.get() {
        sink.renamed(&reader);
    }
    // What is too old goes with the same journal commit.
    retention::ride(inner, clock, reader.file_bytes());
    // An error here leaves a renamed file whose name may not survive a power cut. Writing it again under the same
    // name is right in both cases: the content is the same.
    inner.disk.sync_dir(&inner.segments)?;
    if clock.is_trusted() {
        inner.clock.raise_floor(clock.wall);
    }
    Ok(SegmentEntry::of(&reader))
}
