//! What queries share: permits to compute, and memory beyond what each has of its own.
//!
//! Each query has [`OWN`] bytes for itself: its buffers, and what small answers take. What it needs beyond it takes from
//! one pool, in steps, and gives back when it ends. When the pool is empty it waits, without a permit, until memory is
//! given back or its deadline passes. If all that hold memory of the pool wait for more, nobody would ever go on: the one
//! that would close the circle fails instead.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use logql::eval::EvalError;

use super::gate::{Account, Gate, Place};

/// Bytes that a query has without asking: a block's columns (256 KiB of lines, times, offsets) and a small answer.
pub(crate) const OWN: usize = 512 << 10;
/// Bytes that are taken from the pool at once.
const STEP: usize = 256 << 10;

/// See the module.
#[derive(Debug)]
pub struct Shared {
    pub(crate) gate: Gate,
    pub(crate) memory: Pool,
    epoch: Instant,
}

impl Shared {
    /// Permits for so many threads, and so many bytes beyond what each query has of its own.
    #[must_use]
    pub fn new(permits: usize, memory: usize) -> Shared {
        Shared {
            gate: Gate::new(permits),
            memory: Pool::new(memory),
            epoch: Instant::now(),
        }
    }

    /// Changes the bytes. What is taken stays taken.
    pub fn set_memory(&self, memory: usize) {
        let mut state = self.memory.lock();
        state.total = memory;
        self.memory.given.notify_all();
    }

    fn since_epoch(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.epoch);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Memory for all queries.
#[derive(Debug)]
pub(crate) struct Pool {
    state: Mutex<State>,
    given: Condvar,
}

#[derive(Debug)]
struct State {
    total: usize,
    taken: usize,
    /// Queries that hold some of it.
    holders: usize,
    /// What those of them want that wait for more.
    wanted: Vec<usize>,
}

impl State {
    fn fits(&self, bytes: usize) -> bool {
        self.taken.saturating_add(bytes) <= self.total
    }

    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.fits(bytes);
        if fits {
            self.taken += bytes;
        }
        fits
    }

    /// Whether of `others` that hold memory none will ever give some back.
    fn is_stuck(&self, others: usize) -> bool {
        // One whose wish fits has been told, and is about to go on.
        others == self.wanted.len() && !self.wanted.iter().any(|bytes| self.fits(*bytes))
    }
}

impl Pool {
    pub(crate) fn new(total: usize) -> Pool {
        Pool {
            state: Mutex::new(State {
                total,
                taken: 0,
                holders: 0,
                wanted: Vec::new(),
            }),
            given: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes bytes for a query that holds `held` of them, if they are there.
    fn try_take(&self, held: usize, bytes: usize) -> bool {
        let mut state = self.lock();
        let took = state.take(bytes);
        if took && held == 0 {
            state.holders += 1;
        }
        took
    }

    /// The same, waiting for them. `ended` says whether the query is to end, which it can also be told by
    /// [`Pool::wake`].
    pub(crate) fn take(
        &self,
        held: usize,
        bytes: usize,
        until: Instant,
        ended: &dyn Fn() -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let mut state = self.lock();
        let holds = usize::from(held > 0);
        loop {
            ended()?;
            if state.take(bytes) {
                state.holders += 1 - holds;
                return Ok(());
            }
            if state.is_stuck(state.holders - holds) {
                return Err(too_little(held.saturating_add(bytes), &state));
            }
            if held > 0 {
                state.wanted.push(bytes);
            }
            let left = until.saturating_duration_since(Instant::now());
            let woken = self.given.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
            if let Some(own) = state.wanted.iter().position(|w| *w == bytes)
                && held > 0
            {
                state.wanted.swap_remove(own);
            }
        }
    }

    /// Gives back what a query held.
    pub(crate) fn give(&self, held: usize) {
        if held > 0 {
            let mut state = self.lock();
            state.taken -= held;
            state.holders -= 1;
            self.given.notify_all();
        }
    }

    fn wake(&self) {
        let _state = self.lock();
        self.given.notify_all();
    }
}

fn too_little(wanted: usize, state: &State) -> EvalError {
    let State { total, taken, .. } = state;
    EvalError::Limit(format!(
        "query needs {wanted} bytes of the memory that all queries share, which has {total} (query_memory_total), {taken} of \
         them in use: ask again when other queries have ended, or for fewer streams or series, a shorter range or a lower \
         limit; what one query may take at most is query_memory"
    ))
}

/// A thread of a query among those of others.
#[derive(Debug)]
pub(crate) struct Turn {
    shared: Arc<Shared>,
    place: Place,
    holds: AtomicBool,
    /// When it got the permit that it holds, and up to when its time is counted; ns.
    since: AtomicU64,
    counted: AtomicU64,
    /// Bytes of the pool that the query holds; with the thread that is not a helper.
    taken: AtomicUsize,
}

impl Turn {
    /// For a query that begins.
    pub(crate) fn new(shared: &Arc<Shared>) -> Turn {
        Turn::with(shared, Arc::default(), false)
    }

    fn with(shared: &Arc<Shared>, account: Arc<Account>, helper: bool) -> Turn {
        Turn {
            shared: Arc::clone(shared),
            place: Place { account, helper },
            holds: AtomicBool::new(false),
            since: AtomicU64::new(0),
            counted: AtomicU64::new(0),
            taken: AtomicUsize::new(0),
        }
    }

    /// For a helper of the same query.
    pub(crate) fn helper(&self) -> Turn {
        Turn::with(&self.shared, Arc::clone(&self.place.account), true)
    }

    fn began(&self) {
        let now = self.shared.since_epoch(Instant::now());
        self.since.store(now, Ordering::Relaxed);
        self.counted.store(now, Ordering::Relaxed);
        self.holds.store(true, Ordering::Relaxed);
    }

    /// Waits for a permit, if it has none.
    pub(crate) fn enter(
        &self,
        until: Instant,
        ended: &dyn Fn() -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        if !self.holds.load(Ordering::Relaxed) {
            self.shared.gate.enter(&self.place, until, ended)?;
            self.began();
        }
        Ok(())
    }

    /// Gives the permit back, if it has one.
    pub(crate) fn leave(&self) {
        if self.holds.swap(false, Ordering::Relaxed) {
            self.count(self.shared.since_epoch(Instant::now()));
            self.shared.gate.leave();
        }
    }

    fn count(&self, now: u64) {
        let before = self.counted.swap(now, Ordering::Relaxed);
        self.place.account.spend(now.saturating_sub(before));
    }

    /// Lets others go first, if they are to.
    pub(crate) fn look(
        &self,
        now: Instant,
        until: Instant,
        ended: &dyn Fn() -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        if !self.holds.load(Ordering::Relaxed) {
            return self.enter(until, ended);
        }
        let now = self.shared.since_epoch(now);
        self.count(now);
        let held = now.saturating_sub(self.since.load(Ordering::Relaxed));
        match self.shared.gate.offer(&self.place, held, until, ended) {
            Ok(false) => Ok(()),
            Ok(true) => {
                self.began();
                Ok(())
            }
            Err(error) => {
                self.holds.store(false, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Whether a helper would get a permit.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.gate.has_free()
    }

    /// While this is true, helpers go as the query itself.
    pub(crate) fn set_waits(&self, waits: bool) {
        self.shared.gate.set_waits(&self.place.account, waits);
    }

    /// Has all threads of the query look whether it is to end.
    pub(crate) fn wake(&self) {
        self.shared.gate.wake(&self.place.account);
        self.shared.memory.wake();
    }

    /// Sees to it that the query may hold `bytes`, or more; gives how many. Waits for them without a permit.
    pub(crate) fn grant(
        &self,
        bytes: usize,
        until: Instant,
        ended: &dyn Fn() -> Result<(), EvalError>,
    ) -> Result<usize, EvalError> {
        let held = self.taken.load(Ordering::Relaxed);
        let missing = bytes.saturating_sub(OWN).saturating_sub(held);
        if missing == 0 {
            return Ok(OWN + held);
        }
        let more = missing.div_ceil(STEP).saturating_mul(STEP);
        let pool = &self.shared.memory;
        if !pool.try_take(held, more) {
            self.leave();
            pool.take(held, more, until, ended)?;
            self.taken.store(held + more, Ordering::Relaxed);
            self.enter(until, ended)?;
        }
        self.taken.store(held + more, Ordering::Relaxed);
        Ok(OWN + held + more)
    }

    /// The same if it needs no waiting.
    pub(crate) fn try_grant(&self, bytes: usize) -> bool {
        let held = self.taken.load(Ordering::Relaxed);
        let missing = bytes.saturating_sub(OWN).saturating_sub(held);
        let more = missing.div_ceil(STEP).saturating_mul(STEP);
        let took = missing == 0 || self.shared.memory.try_take(held, more);
        if took {
            self.taken.store(held + more, Ordering::Relaxed);
        }
        took
    }

    /// Gives everything back.
    pub(crate) fn end(&self) {
        self.leave();
        let held = self.taken.swap(0, Ordering::Relaxed);
        self.shared.memory.give(held);
    }
}

#[cfg(test)]
#[path = "shared_tests.rs"]
mod tests;
