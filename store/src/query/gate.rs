//! Which threads of queries may compute.
//!
//! There are as many permits as cores, at least two. A thread of a query holds one while it computes, and at each look at
//! its deadline ([`Cancel::check`](crate::api::Cancel::check), every millisecond or so) hands it to whoever waits and
//! goes first:
//!
//! - Queries are in levels by the time they have computed: below 10 ms, below 20 ms, and so on, the highest from 1.28 s
//!   on. A lower level goes first, at once: a light query waits for one look, whatever heavy ones run.
//! - Within a level they take turns of [`QUANTUM`]. So heavy queries share what there is, old and new ones alike.
//! - Helpers of a query come after all that is not a helper: they take what nobody else wants. A helper that its query
//!   waits for goes as the query itself, or the query might wait for ever.
//!
//! A thread that waits for memory, for its client or for a helper holds no permit. One that cannot be interrupted (a regex
//! over a huge line) keeps one permit; with two the others go on.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use logql::eval::EvalError;

/// How long a thread computes while another one of the same level waits, ns.
pub(crate) const QUANTUM: u64 = 5_000_000;
/// Time below which a query is in the lowest level, ns; it doubles from level to level.
const LIGHT: u64 = 10_000_000;
const LEVEL_MAX: u32 = 8;

/// What a query has used, and what its threads tell each other.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Time that its threads held permits, ns.
    spent: AtomicU64,
    /// The query waits for its helpers.
    waits: AtomicBool,
}

impl Account {
    fn level(&self) -> u32 {
        let spent = self.spent.load(Ordering::Relaxed) / LIGHT;
        (u64::BITS - spent.leading_zeros()).min(LEVEL_MAX)
    }

    /// Adds time that a thread held a permit, ns.
    pub(crate) fn spend(&self, time: u64) {
        self.spent.fetch_add(time, Ordering::Relaxed);
    }
}

/// A thread of a query, as it stands in line.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) account: Arc<Account>,
    pub(crate) helper: bool,
}

impl Place {
    /// Less goes first.
    fn rank(&self) -> (bool, u32) {
        let last = self.helper && !self.account.waits.load(Ordering::Relaxed);
        (last, self.account.level())
    }
}

/// Permits and who waits for one: all decisions, no waiting. `T` names who waits.
#[derive(Debug)]
struct Line<T> {
    free: usize,
    /// In order of arrival.
    waiting: Vec<(Place, T)>,
}

impl<T> Line<T> {
    /// Takes a permit if one is free; whoever waits has been passed over for want of one.
    fn take(&mut self) -> bool {
        if self.free == 0 {
            return false;
        }
        self.free -= 1;
        true
    }

    fn first(&self) -> Option<usize> {
        let ranks = self.waiting.iter().enumerate();
        // Of equal ranks the first to come.
        ranks
            .min_by_key(|(_, (place, _))| place.rank())
            .map(|w| w.0)
    }

    /// Gives a permit back: to the one it returns, if any.
    fn give(&mut self) -> Option<T> {
        match self.first() {
            Some(at) => Some(self.waiting.remove(at).1),
            None => {
                self.free += 1;
                None
            }
        }
    }

    /// Who goes before a thread that has held its permit for so long, ns.
    fn before(&mut self, place: &Place, held: u64) -> Option<T> {
        let at = self.first()?;
        let (first, own) = (self.waiting[at].0.rank(), place.rank());
        let goes = first < own || first == own && held >= QUANTUM;
        goes.then(|| self.waiting.remove(at).1)
    }
}

#[derive(Debug, Default)]
struct Bell {
    /// Under the line's lock.
    has_permit: AtomicBool,
    rings: Condvar,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Gate {
    line: Mutex<Line<Arc<Bell>>>,
    /// How many wait, to be seen without the lock.
    waiting: AtomicUsize,
    /// How many permits are free, likewise.
    free: AtomicUsize,
}

impl Gate {
    /// A gate with so many permits.
    pub(crate) fn new(permits: usize) -> Gate {
        Gate {
            line: Mutex::new(Line {
                free: permits,
                waiting: Vec::new(),
            }),
            waiting: AtomicUsize::new(0),
            free: AtomicUsize::new(permits),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Line<Arc<Bell>>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, line: &Line<Arc<Bell>>) {
        self.waiting.store(line.waiting.len(), Ordering::Relaxed);
        self.free.store(line.free, Ordering::Relaxed);
    }

    /// Whether a permit may be had at once.
    pub(crate) fn has_free(&self) -> bool {
        self.free.load(Ordering::Relaxed) > 0
    }

    /// Waits for a permit. `ended` says whether the query is to end, which it can also be told by [`Gate::wake`].
    ///
    /// # Errors
    /// What `ended` says, and then without a permit.
    pub(crate) fn enter(
        &self,
        place: &Place,
        until: Instant,
        ended: &dyn Fn() -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let mut line = self.lock();
        if line.take() {
            self.note(&line);
            return Ok(());
        }
        self.wait(line, place, until, ended)
    }

    fn wait(
        &self,
        mut line: MutexGuard<'_, Line<Arc<Bell>>>,
        place: &Place,
        until: Instant,
        ended: &dyn Fn() -> Result<(), EvalError>,
    ) -> Result<(), EvalError> {
        let bell = Arc::new(Bell::default());
        line.waiting.push((place.clone(), Arc::clone(&bell)));
        self.note(&line);
        loop {
            if bell.has_permit.load(Ordering::Relaxed) {
                return Ok(());
            }
            if let Err(error) = ended() {
                line.waiting.retain(|(_, other)| !Arc::ptr_eq(other, &bell));
                self.note(&line);
                return Err(error);
            }
            let left = until.saturating_duration_since(Instant::now());
            let woken = bell.rings.wait_timeout(line, left);
            line = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives a permit back.
    pub(crate) fn leave(&self) {
        let mut line = self.lock();
        if let Some(bell) = line.give() {
            ring(&bell);
        }
        self.note(&line);
    }

    /// For a thread with a permit, which it has held for `held` ns: lets others go first, if they are to. False when
    /// nobody was.
    ///
    /// # Errors
    /// As [`Gate::enter`].
    pub(crate) fn offer(
        &self,
        place: &Place,
        held: u64,
        until: Instant,
        ended: &dyn Fn() -> Result<(), EvalError>,
    ) -> Result<bool, EvalError> {
        if self.waiting.load(Ordering::Relaxed) == 0 {
            return Ok(false);
        }
        let mut line = self.lock();
        let Some(bell) = line.before(place, held) else {
            return Ok(false);
        };
        ring(&bell);
        self.wait(line, place, until, ended).map(|()| true)
    }

    /// Has the threads of a query that wait look whether it is to end.
    pub(crate) fn wake(&self, account: &Arc<Account>) {
        let line = self.lock();
        for (place, bell) in &line.waiting {
            if Arc::ptr_eq(&place.account, account) {
                bell.rings.notify_all();
            }
        }
    }

    /// Says whether a query waits for its helpers; to be said before its permit is given back.
    pub(crate) fn set_waits(&self, account: &Account, waits: bool) {
        account.waits.store(waits, Ordering::Relaxed);
    }
}

/// Under the line's lock.
fn ring(bell: &Bell) {
    bell.has_permit.store(true, Ordering::Relaxed);
    bell.rings.notify_all();
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
