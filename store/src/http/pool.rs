//! The threads that run queries: a fixed number, of low priority, behind a bounded queue (promise P6: a query never
//! stalls ingestion).

use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

/// Added to the niceness of the process, so that ingestion goes first.
const NICENESS: i32 = 10;

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
                .spawn(move || work(&receiver))?;
        }
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
    // On Linux this is the thread's own niceness. Refused by some sandboxes, and queries work all the same.
    if let Err(error) = rustix::process::nice(NICENESS) {
        tracing::debug!(%error, "query thread keeps its priority");
    }
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
