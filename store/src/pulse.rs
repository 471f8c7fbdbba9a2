//! Proves to a watchdog that the flush thread lives.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::api::Store;

/// What the flush thread leaves behind as it goes.
#[derive(Debug, Default)]
pub(crate) struct Pulse(Mutex<Trace>);

#[derive(Debug, Default)]
struct Trace {
    turns: u64,
    writing: Option<Instant>,
}

impl Pulse {
    /// It looks for work.
    pub(crate) fn turn(&self) {
        let mut trace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trace.turns += 1;
        trace.writing = None;
    }

    /// It begins to write.
    pub(crate) fn write(&self) {
        let mut trace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        trace.turns += 1;
        trace.writing = Some(Instant::now());
    }

    fn vitals(&self) -> Vitals {
        let trace = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Vitals {
            turns: trace.turns,
            writing: trace.writing.map(|since| since.elapsed()),
        }
    }
}

/// How the flush thread does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    /// Times that it looked for work or began to write.
    pub turns: u64,
    /// How long it has been writing; a slow card may take its time.
    pub writing: Option<Duration>,
}

impl Store {
    /// Asks the flush thread for a sign of life, and tells of those so far: a thread that is well has made a turn, or is
    /// writing, by the next call a moment later.
    #[must_use]
    pub fn vitals(&self) -> Vitals {
        let vitals = self.inner.pulse.vitals();
        // Under the lock: the thread is waiting then, or has not looked yet.
        let state = self.inner.lock();
        self.inner.wake.notify_one();
        drop(state);
        vitals
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::api::Options;

    #[test]
    fn an_idle_flush_thread_answers_each_question() {
        let store = Store::open(Options {
            head_bytes: 1 << 20,
            ..Options::new("/data", Arc::new(disk::sim::SimDisk::new(1)))
        });
        let store = store.unwrap();
        for _ in 0..3 {
            let turns = store.vitals().turns;
            while store.inner.pulse.vitals().turns == turns {
                std::thread::yield_now();
            }
        }
        assert_eq!(store.vitals().writing, None);
    }

    #[test]
    fn a_write_is_told_until_it_ends() {
        let pulse = Pulse::default();
        pulse.write();
        assert!(pulse.vitals().writing.is_some());
        pulse.turn();
        let ended = Vitals {
            turns: 2,
            writing: None,
        };
        assert_eq!(pulse.vitals(), ended);
    }
}
