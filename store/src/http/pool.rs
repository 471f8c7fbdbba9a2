//! The threads that run queries and take pushes: a fixed number of each behind a queue of its own, so that neither
//! waits for the other (promise P6).

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Added to the niceness of query threads, so that ingestion goes first.
const NICENESS: i32 = 10;
/// Stack of the push thread: it recurses nowhere, and keeps its buffers elsewhere.
const PUSH_STACK: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// The pool. Threads end when it is dropped and their job is done.
#[derive(Debug)]
pub(super) struct Pool {
    queue: SyncSender<Job>,
}

/// The queue is full.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Busy;

impl Pool {
    /// Starts `threads` threads with room for `queue` more jobs.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn new(threads: usize, queue: usize) -> std::io::Result<Pool> {
        let (sender, receiver) = sync_channel(queue);
        let receiver = Arc::new(Mutex::new(receiver));
        for i in 0..threads.max(1) {
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new()
                .name(format!("query-{i}"))
                .spawn(move || {
                    // On Linux this is the thread's own niceness. Refused by some sandboxes, and queries work all the
                    // same.
                    if let Err(error) = rustix::process::nice(NICENESS) {
                        tracing::debug!(%error, "query thread keeps its priority");
                    }
                    work(&receiver);
                })?;
        }
        Ok(Pool { queue: sender })
    }

    /// Starts the thread for pushes, with room for `queue` more.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn for_pushes(queue: usize) -> std::io::Result<Pool> {
        let (sender, receiver) = sync_channel(queue);
        std::thread::Builder::new()
            .name("push".into())
            .stack_size(PUSH_STACK)
            .spawn(move || work(&Mutex::new(receiver)))?;
        Ok(Pool { queue: sender })
    }

    /// Hands a job over, at once.
    ///
    /// # Errors
    /// [`Busy`] when the queue is full.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Busy> {
        match self.queue.try_send(Box::new(job)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => Err(Busy),
        }
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        job();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn the_queue_is_bounded() {
        let pool = Pool::new(1, 1).unwrap();
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
}
