//! The threads that run queries and take pushes, a queue before each kind, so that neither waits for the other (promise
//! P6). A thread is started when there is a job for it, and ends when there has been none for a while.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Added to the niceness of query threads, so that ingestion goes first. Their helpers inherit it.
const NICENESS: i32 = 10;
/// Stack of the push thread: it recurses nowhere, and keeps its buffers elsewhere.
const PUSH_STACK: usize = 256 << 10;
/// How long a thread without a job stays: a dashboard's next queries find it there, an idle node has none.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// The pool. Threads end when it is dropped and their job is done.
#[derive(Debug)]
pub(super) struct Pool {
    inner: Arc<Inner>,
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

#[derive(Debug, Clone, Copy)]
struct Kind {
    name: &'static str,
    /// Most threads.
    threads: usize,
    /// Most jobs that wait while all threads have one.
    queue: usize,
    stack: Option<usize>,
    nice: bool,
}

#[derive(Debug)]
struct Inner {
    kind: Kind,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job.
    idle: usize,
    threads: usize,
    closed: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("jobs", &self.jobs.len())
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// At most `threads` threads at low priority, with room for `queue` more jobs.
    pub(super) fn new(threads: usize, queue: usize) -> Pool {
        Pool::of(Kind {
            name: "query",
            threads: threads.max(1),
            queue,
            stack: None,
            nice: true,
        })
    }

    /// One thread for pushes, with room for `queue` more.
    pub(super) fn for_pushes(queue: usize) -> Pool {
        Pool::of(Kind {
            name: "push",
            threads: 1,
            queue,
            stack: Some(PUSH_STACK),
            nice: false,
        })
    }

    fn of(kind: Kind) -> Pool {
        let inner = Inner {
            kind,
            state: Mutex::default(),
            work: Condvar::new(),
        };
        Pool {
            inner: Arc::new(inner),
        }
    }

    /// Hands a job over, at once.
    ///
    /// # Errors
    /// [`Busy`] when the queue is full, or there is no thread and none can be started.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        let (inner, kind) = (&self.inner, self.inner.kind);
        let mut state = inner.lock();
        if state.jobs.len() >= state.idle && state.threads < kind.threads {
            match inner.start() {
                Ok(()) => {
                    state.threads += 1;
                    // As if it waited: whoever comes next must not count on it.
                    state.idle += 1;
                }
                Err(error) => {
                    tracing::warn!(%error, thread = kind.name, "cannot start a thread");
                    if state.threads == 0 {
                        return Err(Busy);
                    }
                }
            }
        }
        if state.jobs.len() >= state.idle + kind.queue {
            return Err(Busy);
        }
        state.jobs.push_back(Box::new(job));
        drop(state);
        inner.work.notify_one();
        Ok(())
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.inner.lock().closed = true;
        self.inner.work.notify_all();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Inner>) -> std::io::Result<()> {
        let mut builder = std::thread::Builder::new().name(self.kind.name.into());
        if let Some(stack) = self.kind.stack {
            builder = builder.stack_size(stack);
        }
        let inner = Arc::clone(self);
        let begin = move || {
            if inner.kind.nice {
                // On Linux this is the thread's own niceness. Refused by some sandboxes, and queries work all the same.
                if let Err(error) = rustix::process::nice(NICENESS) {
                    tracing::debug!(%error, "query thread keeps its priority");
                }
            }
            let alive = Alive(&inner);
            alive.0.work();
        };
        builder.spawn(begin).map(drop)
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                let (woken, timeout) = self
                    .work
                    .wait_timeout(state, IDLE)
                    .unwrap_or_else(PoisonError::into_inner);
                state = woken;
                if timeout.timed_out() && state.jobs.is_empty() {
                    state.idle -= 1;
                    return;
                }
            };
            state.idle -= 1;
            drop(state);
            job();
            self.lock().idle += 1;
        }
    }
}

/// A thread, counted until it ends, be it by a panic.
struct Alive<'p>(&'p Inner);

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.lock().threads -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn the_queue_is_bounded() {
        let pool = Pool::new(1, 1);
        let (hold, held) = channel::<()>();
        let (began, begin) = channel();
        pool.run(move || {
            began.send(()).unwrap();
            held.recv().unwrap();
        })
        .unwrap();
        begin.recv().unwrap();
        let (done, finished) = channel();
        pool.run(move || done.send(()).unwrap()).unwrap();
        assert_eq!(pool.run(|| ()), Err(Busy));
        hold.send(()).unwrap();
        finished.recv().unwrap();
    }

    #[test]
    fn each_job_has_a_thread_up_to_the_bound_and_threads_serve_again() {
        let pool = Pool::new(3, 0);
        for _ in 0..3 {
            let (began, begin) = channel();
            let mut holds = Vec::new();
            for _ in 0..3 {
                let (hold, held) = channel::<()>();
                let began = began.clone();
                pool.run(move || {
                    began.send(()).unwrap();
                    let _ = held.recv();
                })
                .unwrap();
                holds.push(hold);
                begin.recv().unwrap();
            }
            assert_eq!(pool.run(|| ()), Err(Busy));
            drop(holds);
            // Threads say that they are idle a moment after their job.
            loop {
                let state = pool.inner.lock();
                assert_eq!(state.threads, 3);
                if state.idle == 3 {
                    break;
                }
                drop(state);
                std::thread::yield_now();
            }
        }
    }
}
