//! The store: one head, one folder of segments, one flush thread.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use disk::{Disk, LockGuard};
use wire::Batch;

use crate::api::{AppendError, OpenError, Options, Store, StoreStats, Tuning};
use crate::clock::Timekeeper;
use crate::head::{Head, OverBudget, Reason, Snapshot, Want};
use crate::index::Index;
use crate::pulse::Pulse;
use crate::pushlog::{self, PushLog};
use crate::query::{self, Damage};
use crate::recover::recover;
use crate::retention::Upkeep;
use crate::segment::{self, SegmentEntry, SegmentSink};

/// Name of the lock file in the data directory.
const LOCK: &str = "lock";

/// What clones of a store share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) disk: Arc<dyn Disk>,
    /// Data directory.
    pub(crate) dir: PathBuf,
    /// Directory of the segments.
    pub(crate) segments: PathBuf,
    /// What can be changed while it runs.
    tuning: Mutex<Tuning>,
    pub(crate) clock: Timekeeper,
    /// Told of each new segment.
    pub(crate) sink: OnceLock<Arc<dyn SegmentSink>>,
    /// Which streams are where; a cache.
    pub(crate) index: Arc<Index>,
    /// What queries found damaged since start.
    pub(crate) damage: Damage,
    /// Entries without a file behind them. Locked before `state`.
    pub(crate) log: PushLog,
    state: Mutex<State>,
    /// Wakes the flush thread.
    pub(crate) wake: Condvar,
    /// A flush ended, well or not.
    pub(crate) done: Condvar,
    pub(crate) room: tokio::sync::Notify,
    /// Of the flush thread.
    pub(crate) pulse: Pulse,
    lock: Mutex<Option<Box<dyn LockGuard>>>,
}

/// What the mutex guards.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) head: Head,
    /// No more appends: the last flush is under way, or over.
    closing: bool,
    /// The flush thread ends.
    pub(crate) closed: bool,
    /// Somebody waits for a flush: no pause before the next try.
    pub(crate) hurry: bool,
    /// Why the last flush failed.
    pub(crate) failure: Option<String>,
    pub(crate) flushes: [u64; 5],
    pub(crate) flush_errors: u64,
    pub(crate) flush_time: Duration,
    /// Bytes of all segments.
    pub(crate) bytes: u64,
    pub(crate) upkeep: Upkeep,
    attempts: u64,
    /// An append was refused for lack of room since the last flush.
    refused: bool,
    /// Segments up to this sequence are to be written without delay.
    pub(crate) wanted: u64,
}

impl State {
    /// Whether somebody waits for a flush.
    pub(crate) fn is_hurried(&self) -> bool {
        self.hurry || self.closing || self.closed
    }

    fn new(head: Head, bytes: u64, upkeep: Upkeep) -> State {
        State {
            head,
            closing: false,
            closed: false,
            hurry: false,
            failure: None,
            flushes: [0; 5],
            flush_errors: 0,
            flush_time: Duration::ZERO,
            bytes,
            upkeep,
            attempts: 0,
            refused: false,
            wanted: 0,
        }
    }

    /// A number that no temporary file of this process had.
    pub(crate) fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    /// No more appends: the last flush is under way, or over.
    pub(crate) fn closing(&self) -> bool {
        self.closing
    }

    /// [`Store::room`] waits for a flush.
    pub(crate) fn refuse(&mut self) {
        self.refused = true;
    }

    /// Asks for a flush, unless there is one to come. True: wake the flush thread.
    pub(crate) fn want_flush(&mut self) -> bool {
        let asks = self.head.committed() >= self.wanted && self.head.frozen().is_none();
        if asks {
            self.wanted = self.head.sequence();
        }
        asks
    }

    /// Asks for everything accepted so far to be flushed.
    pub(crate) fn want_flush_of_all(&mut self) {
        self.wanted = self.head.sequence();
    }
}

impl Inner {
    pub(crate) fn tuning(&self) -> Tuning {
        *self.tuning.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held is a bug of ours; what is in the head is still whole entries.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a batch under the lock. True: wake the flush thread.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub(crate) fn append(&self, state: &mut State, batch: &Batch<'_>) -> Result<bool, AppendError> {
        if state.closing {
            return Err(AppendError::Unavailable("the store is closing".into()));
        }
        // The thread waits for the age of the oldest entry: it has to hear of a first one.
        let first = state.head.oldest().is_none();
        match state.head.append(batch, Instant::now()) {
            Ok(froze) => Ok(froze || first),
            Err(AppendError::Full) => {
                state.refused = true;
                Err(match &state.failure {
                    Some(failure) => AppendError::Unavailable(failure.clone()),
                    None => AppendError::Full,
                })
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn wait<'a>(
        &self,
        condition: &Condvar,
        state: MutexGuard<'a, State>,
        timeout: Duration,
    ) -> MutexGuard<'a, State> {
        let waited = condition.wait_timeout(state, timeout);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

/// The flush thread and the lock of the directory, both given up with the last clone of a store.
#[derive(Debug)]
pub(crate) struct Owner {
    inner: Arc<Inner>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Owner {
    fn start(inner: &Arc<Inner>) -> std::io::Result<Owner> {
        let shared = Arc::clone(inner);
        let thread = std::thread::Builder::new()
            .name("flush".into())
            .spawn(move || crate::flush::run(&shared))?;
        Ok(Owner {
            inner: Arc::clone(inner),
            thread: Mutex::new(Some(thread)),
        })
    }

    fn stop(&self) {
        self.inner.lock().closed = true;
        self.inner.wake.notify_one();
        let thread = self
            .thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the flush thread panicked");
        }
        self.inner.log.stop();
        *self
            .inner
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Store {
    /// Opens or creates a store: lock, recovery, index reconciliation.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(options: Options) -> Result<Store, OpenError> {
        let dir = options.dir;
        let disk = options.disk;
        let io = |action, path: &PathBuf| {
            let path = path.clone();
            move |source| OpenError::Io {
                action,
                path,
                source,
            }
        };
        disk.create_dir_all(&dir).map_err(io("create", &dir))?;
        let lock = take_lock(&*disk, &dir)?;
        let segments = dir.join(segment::DIR);
        let recovered = recover(&*disk, &segments)?;
        let bytes = recovered.segments.iter().map(|s| s.file_bytes).sum();
        let mut found = pushlog::scan(&*disk, &dir, &recovered)?;
        let trusted = recovered.segments.iter().filter(|s| s.clock_trusted);
        trusted.for_each(|s| options.clock.raise_floor(s.written_at));
        let upkeep = Upkeep::new(recovered.damaged, options.clock.read().boot);
        let head = Head::new(
            options.head_bytes.max(found.head_bytes),
            // No new segment may stand for an epoch that the log speaks of.
            recovered.sequence.max(found.epoch),
            recovered.segments,
            recovered.positions,
        );
        let index = Arc::new(Index::open(Arc::clone(&disk), &dir));
        let inner = Arc::new(Inner {
            index: Arc::clone(&index),
            disk,
            segments,
            tuning: Mutex::new(options.tuning),
            clock: options.clock,
            sink: OnceLock::from(index as Arc<dyn SegmentSink>),
            damage: Damage::default(),
            log: PushLog::new(
                dir.clone(),
                options.push_log_size,
                options.push_sync_interval,
                &mut found,
            ),
            state: Mutex::new(State::new(
                head.map_err(io("allocate the head of", &dir))?,
                bytes,
                upkeep,
            )),
            wake: Condvar::new(),
            done: Condvar::new(),
            room: tokio::sync::Notify::new(),
            pulse: Pulse::default(),
            lock: Mutex::new(Some(lock)),
            dir,
        });
        query::reconcile(&*inner);
        let owner = Owner::start(&inner).map_err(io("start the flush thread of", &inner.dir))?;
        let store = Store {
            inner,
            owner: Arc::new(owner),
        };
        pushlog::replay(&store, &found)?;
        Ok(store)
    }

    /// Adds to the lock file's note, behind the process id, what others should know: `addr=HOST:PORT`. Best effort:
    /// the note only makes messages better.
    pub fn set_note(&self, note: &str) {
        let lock = self.inner.lock.lock();
        let lock = lock.unwrap_or_else(PoisonError::into_inner);
        let note = format!("process {} {note}", std::process::id());
        if let Some(Err(error)) = lock.as_ref().map(|lock| lock.set_note(&note)) {
            tracing::warn!(%error, "cannot note the holder of the data directory");
        }
    }

    /// Changes what can be changed while the store runs, from the next query and flush on.
    pub fn tune(&self, tuning: Tuning) {
        let mut current = self.inner.tuning.lock();
        **current.as_mut().unwrap_or_else(|e| e.get_mut()) = tuning;
        drop(current);
        // It waits for the age of the oldest entry.
        self.inner.wake.notify_one();
    }

    /// Takes a batch, all or nothing, never blocking on the disk.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn append(&self, batch: &Batch<'_>) -> Result<(), AppendError> {
        let mut state = self.inner.lock();
        let wake = self.inner.append(&mut state, batch)?;
        drop(state);
        if wake {
            self.inner.wake.notify_one();
        }
        Ok(())
    }

    /// Completes when an append is worth another try: never again once the store is closing.
    pub async fn room(&self) {
        loop {
            let notified = self.inner.room.notified();
            tokio::pin!(notified);
            // Registers before the check: a flush that ends in between is not missed.
            notified.as_mut().enable();
            {
                let mut state = self.inner.lock();
                let flushed =
                    state.head.frozen().is_none() && state.head.committed() >= state.wanted;
                if !state.closing && (!state.refused || flushed) {
                    state.refused = false;
                    return;
                }
            }
            notified.await;
        }
    }

    /// Waits until an append is worth another try, for `limit` at most; false when that has passed, or the store closes.
    #[must_use]
    pub fn wait_for_room(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        let mut state = self.inner.lock();
        let flushes = state.flush_errors;
        loop {
            if state.closing || state.flush_errors > flushes {
                return false;
            }
            if state.head.frozen().is_none() {
                return true;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.inner.wait(&self.inner.done, state, left);
        }
    }

    /// The durable position of every source at open, plus what was taken since (key, position).
    #[must_use]
    pub fn positions(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut positions = self.inner.lock().head.positions();
        // The push log's own is nobody else's business.
        positions.retain(|(key, _)| key != pushlog::KEY);
        positions
    }

    /// Writes everything in the head to a segment and waits until it is durable.
    ///
    /// # Errors
    /// When writing failed; nothing is lost, the head keeps its entries.
    pub fn flush(&self) -> std::io::Result<()> {
        self.flush_for(Reason::Asked)
    }

    pub(crate) fn flush_for(&self, reason: Reason) -> std::io::Result<()> {
        let mut state = self.inner.lock();
        // Entries accepted so far are in the live epoch at the latest.
        let target = state.head.sequence();
        let errors = state.flush_errors;
        loop {
            if state.head.committed() >= target {
                return Ok(());
            }
            if state.flush_errors > errors {
                let failure = state.failure.clone().unwrap_or_default();
                return Err(std::io::Error::other(failure));
            }
            if state.head.frozen().is_none()
                && !state.head.freeze(reason, reason == Reason::Shutdown)?
            {
                return Ok(());
            }
            if state.closed && reason != Reason::Shutdown {
                return Err(std::io::Error::other("the store is closed"));
            }
            state.hurry = true;
            self.inner.wake.notify_one();
            state = self
                .inner
                .wait(&self.inner.done, state, Duration::from_secs(1));
        }
    }

    /// Refuses appends from now on, flushes, stops background work and releases the lock.
    ///
    /// # Errors
    /// As [`Store::flush`].
    pub fn close(&self) -> std::io::Result<()> {
        // Before the flush: what is accepted is flushed.
        self.inner.lock().closing = true;
        let flushed = self.flush_for(Reason::Shutdown);
        if flushed.is_err() {
            // What was pushed in the last moment is not in a segment: then let it be on the device.
            pushlog::sync(&self.inner);
        }
        self.owner.stop();
        flushed
    }

    /// Wall time, ns since 1970, for judging entries of others by it; `None` while the clock may be wrong.
    #[must_use]
    pub fn plausible_now(&self) -> Option<i64> {
        self.inner.clock.plausible_now()
    }

    /// Counters. Cheap.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let state = self.inner.lock();
        StoreStats {
            entries_in: state.head.entries_in,
            bytes_in: state.head.bytes_in,
            head_used: state.head.used() as u64,
            head_size: state.head.size() as u64,
            head_streams: state.head.streams() as u64,
            segments: state.head.segments().len() as u64,
            segment_bytes: state.bytes,
            flushes: state.flushes,
            flush_seconds: state.flush_time.as_secs_f64(),
            flush_errors: state.flush_errors,
            sequence: state.head.committed(),
            damaged_chunks: self.inner.damage.count(),
            push_log: self.inner.log.stats(state.head.durable()),
            removed: state.upkeep.removed,
            store_bytes: state.bytes + state.upkeep.dead_bytes() + state.upkeep.others,
            disk: state.upkeep.space,
            disk_full: state.upkeep.full,
            min_free_unmet: state.upkeep.short,
            clock: Some(self.inner.clock.read().verdict),
            clock_jumps: self.inner.clock.jumps(),
            written: self.inner.disk.written(),
        }
    }

    /// The clock as the store judges it.
    #[must_use]
    pub fn clock(&self) -> &Timekeeper {
        &self.inner.clock
    }

    /// Head and segment list as one view: an entry is in exactly one of them.
    ///
    /// # Errors
    /// [`OverBudget`].
    pub fn snapshot(&self, want: &mut Want<'_>) -> Result<Snapshot, OverBudget> {
        let draft = self.inner.lock().head.snapshot(want)?;
        Ok(draft.finish())
    }

    /// Segments that queries see now, by sequence.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentEntry> {
        self.inner.lock().head.segments().to_vec()
    }
}

/// Takes the directory for this process.
///
/// # Errors
/// Another process has it, or an I/O error.
fn take_lock(disk: &dyn Disk, dir: &std::path::Path) -> Result<Box<dyn LockGuard>, OpenError> {
    let path = dir.join(LOCK);
    let lock = match disk.lock(&path) {
        Ok(lock) => lock,
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
            return Err(OpenError::InUse {
                dir: dir.to_owned(),
                holder: holder(disk, &path),
            });
        }
        Err(source) => {
            let action = "lock";
            return Err(OpenError::Io {
                action,
                path,
                source,
            });
        }
    };
    // The note only makes a message better: a full disk must not stop the start.
    if let Err(error) = lock.set_note(&format!("process {}", std::process::id())) {
        tracing::warn!(%error, "cannot note the holder in `{}`", path.display());
    }
    Ok(lock)
}

fn holder(disk: &dyn Disk, path: &std::path::Path) -> String {
    let note = disk
        .open(path, disk::Mode::Read, disk::Purpose::State)
        .and_then(|file| {
            let mut note = [0; 256];
            let n = file.read_at(&mut note, 0)?;
            Ok(String::from_utf8_lossy(&note[..n]).trim().to_owned())
        });
    match note {
        Ok(note) if !note.is_empty() => note,
        _ => "another process".into(),
    }
}
