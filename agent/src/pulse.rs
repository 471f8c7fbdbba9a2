//! Proves to a watchdog that the agent's loop turns.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Asked from any thread, answered by the loop. Costs nothing while nobody asks.
#[derive(Debug, Default)]
pub struct Pulse {
    asked: Notify,
    turns: AtomicU64,
}

impl Pulse {
    /// Makes the loop turn if it waits, for new lines or for room in the sink.
    pub fn ask(&self) {
        self.asked.notify_one();
    }

    /// Turns so far: after [`Pulse::ask`] more than before it, soon, unless the loop hangs.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    pub(crate) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) async fn asked(&self) {
        self.asked.notified().await;
    }
}
