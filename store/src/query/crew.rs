//! One query on several cores.
//!
//! A scan is a row of jobs, blocks for the most part. The query's own thread, the owner, runs them one after the other;
//! once it has run some alone it gets helpers, if cores are free. From then on jobs stand in a window, in order:
//!
//! - Helpers take the first that nobody has, and leave what they made of it in its place.
//! - The owner merges what is done, in order. If the first job is not taken it runs it itself, straight into the result;
//!   otherwise it runs a later one as a helper would, and waits only when all are taken.
//! - The window has room for two jobs a thread, which bounds what is read ahead and what waits to be merged.
//!
//! So results, errors and counts come in the order of jobs, as without helpers. What a helper cannot do within its share
//! of the memory is done again by the owner, alone, and the helpers are dismissed.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use logql::eval::EvalError;

use crate::api::Cancel;

/// Jobs of a window for each thread.
pub(super) const AHEAD: usize = 2;

/// A scan, as its owner sees it.
pub(super) trait Scan {
    type Job: Send;
    type Done: Send;
    type Worker: Worker<Job = Self::Job, Done = Self::Done>;

    /// The next job; `None`: there is no other.
    fn next(&mut self) -> Result<Option<Self::Job>, EvalError>;
    /// Runs a job, all before it being merged. False: nothing after it matters.
    fn alone(&mut self, job: Self::Job) -> Result<bool, EvalError>;
    /// Takes over what a worker, by its number, made of a job.
    fn merge(
        &mut self,
        job: Self::Job,
        done: Self::Done,
        worker: usize,
    ) -> Result<Merged<Self::Job>, EvalError>;
    /// How many helpers there shall be from now on; asked while there are none.
    fn helpers(&mut self) -> usize;
    /// Whoever runs jobs beside the owner; `None`: it cannot be had.
    fn worker(&mut self, cancel: &Cancel) -> Option<Self::Worker>;
    /// There are no helpers any more, and will be none.
    fn dismissed(&mut self);
    /// The query's.
    fn cancel(&self) -> &Cancel;
}

/// Runs jobs, on any thread.
pub(super) trait Worker: Send {
    type Job;
    type Done;
    fn run(&mut self, job: &Self::Job) -> Self::Done;
}

/// What came of a merge.
pub(super) enum Merged<J> {
    /// The next job follows.
    Done,
    /// Nothing after it matters.
    Last,
    /// The owner has to run the job, and goes on without helpers.
    Again(J),
    /// The owner goes on without helpers.
    Alone,
}

/// Runs all jobs.
pub(super) fn run<S: Scan>(scan: &mut S) -> Result<(), EvalError> {
    while let Some(job) = scan.next()? {
        if !scan.alone(job)? {
            return Ok(());
        }
        let helpers = scan.helpers();
        if helpers > 0 && !with_helpers(scan, helpers)? {
            return Ok(());
        }
    }
    Ok(())
}

/// False when all is done.
fn with_helpers<S: Scan>(scan: &mut S, helpers: usize) -> Result<bool, EvalError> {
    let dismissed = Arc::new(AtomicBool::new(false));
    let window = &Window::<S::Job, S::Done>::default();
    std::thread::scope(|scope| {
        let closes = Closes(window, &dismissed, scan.cancel().clone());
        let mut started = 0;
        for number in 1..=helpers {
            let cancel = closes.2.helper(&dismissed);
            let Some(worker) = scan.worker(&cancel) else {
                break;
            };
            let builder = std::thread::Builder::new().name("query-helper".into());
            let helps = move || help(window, worker, number, &cancel);
            if builder.spawn_scoped(scope, helps).is_err() {
                break;
            }
            started += 1;
        }
        if started == 0 {
            scan.dismissed();
            return Ok(true);
        }
        let owner = Owner {
            scan,
            window,
            closes,
            helpers: started,
            worker: None,
            all: false,
        };
        owner.run()
    })
}

/// Ends the helpers, however the owner ends.
struct Closes<'w, J, D>(&'w Window<J, D>, &'w Arc<AtomicBool>, Cancel);

impl<J, D> Closes<'_, J, D> {
    fn close(&self) {
        self.1.store(true, Ordering::Relaxed);
        let mut state = self.0.lock();
        state.closed = true;
        drop(state);
        self.0.work.notify_all();
        self.2.wake();
    }
}

impl<J, D> Drop for Closes<'_, J, D> {
    fn drop(&mut self) {
        self.close();
    }
}

enum Slot<J, D> {
    Waiting(J),
    Taken,
    Done(J, D, usize),
    /// The helper panicked.
    Lost,
}

struct State<J, D> {
    slots: VecDeque<Slot<J, D>>,
    /// Number of the first slot.
    first: u64,
    closed: bool,
}

/// Jobs in order. Only the owner adds and removes them.
struct Window<J, D> {
    state: Mutex<State<J, D>>,
    /// There are jobs to take, or it was closed.
    work: Condvar,
    /// A job was done.
    done: Condvar,
}

impl<J, D> Default for Window<J, D> {
    fn default() -> Self {
        Window {
            state: Mutex::new(State {
                slots: VecDeque::new(),
                first: 0,
                closed: false,
            }),
            work: Condvar::new(),
            done: Condvar::new(),
        }
    }
}

impl<J, D> State<J, D> {
    fn has_work(&self) -> bool {
        self.slots
            .iter()
            .any(|slot| matches!(slot, Slot::Waiting(_)))
    }

    /// The first job that nobody has, and its number.
    fn take(&mut self) -> Option<(u64, J)> {
        let at = self
            .slots
            .iter()
            .position(|slot| matches!(slot, Slot::Waiting(_)))?;
        match std::mem::replace(&mut self.slots[at], Slot::Taken) {
            Slot::Waiting(job) => Some((self.first + at as u64, job)),
            _ => unreachable!("it was waiting"),
        }
    }

    fn put(&mut self, number: u64, slot: Slot<J, D>) {
        self.slots[(number - self.first) as usize] = slot;
    }

    fn is_taken(&self) -> bool {
        matches!(self.slots.front(), Some(Slot::Taken))
    }
}

impl<J, D> Window<J, D> {
    fn lock(&self) -> MutexGuard<'_, State<J, D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is a job to take; false when there will be none.
    fn wait_for_work(&self) -> bool {
        let mut state = self.lock();
        while !state.closed && !state.has_work() {
            state = self
                .work
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !state.closed
    }

    fn take(&self) -> Option<(u64, J)> {
        let mut state = self.lock();
        if state.closed {
            return None;
        }
        state.take()
    }

    fn put(&self, number: u64, slot: Slot<J, D>) {
        self.lock().put(number, slot);
        self.done.notify_all();
    }

    /// Waits until nobody has the first job any more.
    fn wait_for_first(&self) {
        let mut state = self.lock();
        while state.is_taken() {
            state = self
                .done
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// A job that a helper has: lost if it panics.
struct Taken<'w, J, D>(&'w Window<J, D>, Option<u64>);

impl<J, D> Drop for Taken<'_, J, D> {
    fn drop(&mut self) {
        if let Some(number) = self.1 {
            self.0.put(number, Slot::Lost);
        }
    }
}

fn help<W: Worker>(
    window: &Window<W::Job, W::Done>,
    mut worker: W,
    number: usize,
    cancel: &Cancel,
) {
    // A permit is had before a job: a job that is taken is being run.
    while window.wait_for_work() {
        let Ok(_seat) = cancel.enter() else { return };
        while let Some((at, job)) = window.take() {
            let mut taken = Taken(window, Some(at));
            let done = worker.run(&job);
            taken.1 = None;
            window.put(at, Slot::Done(job, done, number));
            if cancel.check().is_err() {
                return;
            }
        }
    }
}

struct Owner<'s, 'w, S: Scan> {
    scan: &'s mut S,
    window: &'w Window<S::Job, S::Done>,
    closes: Closes<'w, S::Job, S::Done>,
    helpers: usize,
    /// For jobs out of order.
    worker: Option<S::Worker>,
    /// All jobs are or were in the window.
    all: bool,
}

enum Step<J, D> {
    Merge(J, D, usize),
    Alone(J),
    Ahead(u64, J),
    Wait,
    End,
}

impl<S: Scan> Owner<'_, '_, S> {
    /// False when all is done; true when the owner goes on alone.
    fn run(mut self) -> Result<bool, EvalError> {
        loop {
            self.fill()?;
            match self.step() {
                Step::Merge(job, done, worker) => match self.scan.merge(job, done, worker)? {
                    Merged::Done => {}
                    Merged::Last => return Ok(false),
                    Merged::Again(job) => return self.go_on_alone(Some(job)),
                    Merged::Alone => return self.go_on_alone(None),
                },
                Step::Alone(job) => {
                    if !self.scan.alone(job)? {
                        return Ok(false);
                    }
                }
                Step::Ahead(number, job) => self.ahead(number, job),
                Step::Wait => {
                    let cancel = self.closes.2.clone();
                    cancel.wait_for_helpers(|| self.window.wait_for_first());
                    cancel.check()?;
                }
                Step::End => return Ok(false),
            }
        }
    }

    /// Puts jobs into the window until it is full.
    fn fill(&mut self) -> Result<(), EvalError> {
        let room = AHEAD * (self.helpers + 1);
        while !self.all && self.window.lock().slots.len() < room {
            match self.scan.next()? {
                Some(job) => {
                    self.window.lock().slots.push_back(Slot::Waiting(job));
                    self.window.work.notify_one();
                }
                None => self.all = true,
            }
        }
        Ok(())
    }

    fn step(&mut self) -> Step<S::Job, S::Done> {
        let mut state = self.window.lock();
        match state.slots.front() {
            None => return Step::End,
            Some(Slot::Taken) => {
                return match state.take() {
                    Some((number, job)) => Step::Ahead(number, job),
                    None => Step::Wait,
                };
            }
            Some(_) => {}
        }
        state.first += 1;
        match state.slots.pop_front() {
            Some(Slot::Waiting(job)) => Step::Alone(job),
            Some(Slot::Done(job, done, worker)) => Step::Merge(job, done, worker),
            Some(Slot::Lost) => panic!("a helper of the query panicked"),
            Some(Slot::Taken) | None => unreachable!("looked at under the same lock"),
        }
    }

    fn ahead(&mut self, number: u64, job: S::Job) {
        let cancel = self.closes.2.clone();
        let worker = match self.worker.take() {
            Some(worker) => Some(worker),
            None => self.scan.worker(&cancel),
        };
        let Some(mut worker) = worker else {
            self.window.put(number, Slot::Waiting(job));
            return cancel.wait_for_helpers(|| self.window.wait_for_first());
        };
        let done = worker.run(&job);
        self.worker = Some(worker);
        self.window.put(number, Slot::Done(job, done, 0));
    }

    /// Dismisses the helpers and runs what is in the window.
    fn go_on_alone(self, first: Option<S::Job>) -> Result<bool, EvalError> {
        self.closes.close();
        self.scan.dismissed();
        let mut next = first;
        loop {
            if let Some(job) = next
                && !self.scan.alone(job)?
            {
                return Ok(false);
            }
            let cancel = &self.closes.2;
            cancel.wait_for_helpers(|| self.window.wait_for_first());
            let mut state = self.window.lock();
            state.first += 1;
            next = match state.slots.pop_front() {
                Some(Slot::Waiting(job) | Slot::Done(job, ..)) => Some(job),
                Some(Slot::Lost) => panic!("a helper of the query panicked"),
                Some(Slot::Taken) => unreachable!("it was waited for"),
                None => return Ok(!self.all),
            };
        }
    }
}

#[cfg(test)]
#[path = "crew_tests.rs"]
mod tests;
