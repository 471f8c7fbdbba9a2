//! The thread that brings records to the device. It sleeps until there is one.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use super::ring::{BLOCK, align};
use super::{PushLog, lock};
use crate::api::Store;
use crate::store::Inner;

/// How much later than due a sync may be when that spares one: of pushes that come exactly once in an interval, each
/// second one arrives just after the sync that the one before it was waiting for.
const LINGER_MAX: Duration = Duration::from_millis(20);

/// Starts the thread if it does not run.
pub(super) fn start(inner: &Arc<Inner>) {
    let mut thread = lock(&inner.log.thread);
    if thread.is_some() || inner.log.shared().closed {
        return;
    }
    let shared = Arc::clone(inner);
    let started = std::thread::Builder::new()
        .name("push-sync".into())
        .stack_size(256 << 10)
        .spawn(move || run(&shared));
    match started {
        Ok(handle) => *thread = Some(handle),
        Err(error) => {
            // Tried again with the next record; this one is synced here.
            tracing::error!(%error, "cannot start the thread that syncs the push log");
            sync(inner);
        }
    }
}

/// Runs until the store closes. What is not synced then is what a kill would leave.
fn run(inner: &Inner) {
    while wait(&inner.log) {
        sync(inner);
    }
}

/// Waits until a sync is due; false when the store closes.
fn wait(log: &PushLog) -> bool {
    let mut shared = log.shared();
    let sleep = |shared, wait: Option<Duration>| match wait {
        Some(wait) => {
            let woken = log.wake.wait_timeout(shared, wait);
            woken.unwrap_or_else(PoisonError::into_inner).0
        }
        None => {
            let woken = log.wake.wait(shared);
            woken.unwrap_or_else(PoisonError::into_inner)
        }
    };
    loop {
        if shared.closed {
            return false;
        }
        let Some(first) = shared.unsynced else {
            shared = sleep(shared, None);
            continue;
        };
        let now = Instant::now();
        let left = (first + log.interval).saturating_duration_since(now);
        if !left.is_zero() {
            shared = sleep(shared, Some(left));
            continue;
        }
        let last = shared.written;
        let until = now + LINGER_MAX.min(log.interval / 10);
        shared.lingers = true;
        while shared.written == last && !shared.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            shared = sleep(shared, Some(left));
        }
        shared.lingers = false;
        return !shared.closed;
    }
}

/// Syncs what is written so far.
pub(crate) fn sync(inner: &Inner) {
    let log = &inner.log;
    let (file, number) = {
        let mut writer = lock(&log.writer);
        log.shared().unsynced = None;
        let Some(ring) = &writer.ring else { return };
        let file = ring.file();
        writer.offset = align(writer.offset, BLOCK);
        (file, writer.tip.number)
    };
    match file.sync() {
        Ok(()) => {
            let mut shared = log.shared();
            shared.synced = shared.synced.max(number);
            shared.stats.syncs += 1;
            drop(shared);
            log.synced.notify_waiters();
        }
        Err(error) => {
            let writer = lock(&log.writer);
            let same = |ring: &super::Ring| Arc::ptr_eq(&ring.file(), &file);
            // A new file took the place of this one: all that it held is covered.
            if writer.ring.as_ref().is_some_and(same) && log.shared().failure.is_none() {
                log.give_up(inner, &error);
            }
        }
    }
}

impl PushLog {
    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.shared().closed = true;
        self.wake.notify_all();
        self.synced.notify_waiters();
        let thread = lock(&self.thread).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that syncs the push log panicked");
        }
    }
}

impl Store {
    /// Completes when a push is as durable as configured: at once, or with a `push_sync_interval` of 0 when it is on the
    /// device.
    ///
    /// # Errors
    /// When it may not be: the push is to be sent again.
    pub async fn synced(&self, ticket: u64) -> Result<(), String> {
        let log = &self.inner.log;
        if !log.interval.is_zero() {
            return Ok(());
        }
        loop {
            let notified = log.synced.notified();
            tokio::pin!(notified);
            // Registers before the check: a sync that ends in between is not missed.
            notified.as_mut().enable();
            {
                let shared = log.shared();
                if shared.synced >= ticket {
                    return Ok(());
                }
                if let Some(reason) = &shared.failure {
                    return Err(reason.clone());
                }
                if shared.closed {
                    return Err("the store is closing".into());
                }
            }
            notified.await;
        }
    }
}
