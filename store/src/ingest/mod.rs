//! Entries that come by push: what is refused and why, what is added, and batches for the store.
//!
//! ```text
//! wire::push::Request --labels--> rate of the node --> each stream: its labels, its rate
//!                                                  --> each entry: age, size, metadata, level --> batch --> Target
//! ```
//!
//! As in Loki, a request whose labels cannot be read, or that is too much for the node's rate, is refused whole; any
//! other fault costs the entry or the stream, and the rest is stored. Each entry refused is counted by its reason
//! (promise P7). The answer is 429 when any refusal is temporary: the client repeats the request, and what was stored
//! is dropped as a duplicate then.
//!
//! Memory: a batch (256 KiB of lines, most of them borrowed from the body), a row for each active stream, ten texts of
//! errors.

mod batch;
mod limits;
mod metadata;
mod reason;
mod report;
mod streams;
mod walk;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use wire::push::{BadLabels, Request};
use wire::{Batch, LabelSet};

use crate::api::{AppendError, Pushed, Store};

pub use limits::PushLimits;
pub(crate) use reason::{Counters, Reason};
use streams::{Bucket, Streams};
use walk::Walk;

/// What an intake asks of a store; the methods are those of [`Store`].
pub trait Target: Send + Sync + 'static {
    /// See [`Store::push`].
    ///
    /// # Errors
    /// See [`AppendError`].
    fn push(&self, batch: &Batch<'_>) -> Result<Pushed, AppendError>;
    /// See [`Store::newest`].
    fn newest(&self, streams: &[&LabelSet]) -> Vec<Option<i64>>;
    /// See [`Store::synced`].
    fn synced(&self, ticket: u64) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>>;
    /// See [`Store::batch_bytes_max`].
    fn batch_bytes_max(&self) -> usize;
    /// See [`Store::wait_for_room`].
    fn wait_for_room(&self, limit: Duration) -> bool;
}

impl Target for Store {
    fn push(&self, batch: &Batch<'_>) -> Result<Pushed, AppendError> {
        Store::push(self, batch)
    }
    fn newest(&self, streams: &[&LabelSet]) -> Vec<Option<i64>> {
        Store::newest(self, streams)
    }
    fn synced(&self, ticket: u64) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(Store::synced(self, ticket))
    }
    fn batch_bytes_max(&self) -> usize {
        Store::batch_bytes_max(self)
    }
    fn wait_for_room(&self, limit: Duration) -> bool {
        Store::wait_for_room(self, limit)
    }
}

/// When a request came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For rates.
    pub(crate) instant: Instant,
    /// The wall clock, ns, if it is known to be right: rules of age need it (promise P10).
    pub(crate) trusted: Option<i64>,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// 204, or why not.
    pub(crate) status: u16,
    /// For the client; empty for 204.
    pub(crate) text: String,
    /// When another try makes sense.
    pub(crate) retry_after: Option<Duration>,
    /// What was stored is durable once the target says so for this ticket.
    pub(crate) ticket: Option<u64>,
}

impl Outcome {
    fn refused(status: u16, text: impl Into<String>) -> Outcome {
        Outcome {
            status,
            text: text.into(),
            retry_after: None,
            ticket: None,
        }
    }
}

/// Takes requests, one after the other.
#[derive(Debug)]
pub(crate) struct Intake {
    bucket: Bucket,
    streams: Streams,
}

impl Intake {
    pub(crate) fn new(limits: &PushLimits, now: Instant) -> Intake {
        Intake {
            bucket: Bucket::new(limits.ingestion_burst, now),
            streams: Streams::new(now),
        }
    }

    /// Validates and stores a request; the limits may be others each time. Blocks: on room in the store for a bounded time, and on its writes.
    pub(crate) fn take(
        &mut self,
        limits: &PushLimits,
        request: &Request<'_>,
        target: &dyn Target,
        counters: &Counters,
        now: Now,
    ) -> Outcome {
        let counts = request.counts();
        if counts.streams == 0 {
            let text = "error at least one valid stream is required for ingestion";
            return Outcome::refused(422, text);
        }
        if let Some(text) = bad_labels(request) {
            counters.discard(Reason::InvalidLabels, counts.entries, counts.bytes);
            return Outcome::refused(400, format!("couldn't parse labels: {text}"));
        }
        let rate = limits.ingestion_rate;
        let burst = limits.ingestion_burst;
        if let Err(wait) = self.bucket.take(counts.bytes, rate, burst, now.instant) {
            counters.discard(Reason::RateLimited, counts.entries, counts.bytes);
            let text = format!(
                "ingestion rate limit exceeded for user fake (limit: {rate} bytes/sec) while attempting to ingest '{}' \
                 lines totaling '{}' bytes, reduce log volume or contact your Loki administrator to see if the limit \
                 can be increased",
                counts.entries, counts.bytes
            );
            let mut outcome = Outcome::refused(429, text);
            outcome.retry_after = Some(wait);
            return outcome;
        }
        let mut walk = Walk::new(limits, &mut self.streams, target, counters, now);
        for stream in request.streams() {
            walk.stream(&stream);
        }
        let outcome = walk.finish();
        let streams = self.streams.len() as u64;
        counters.streams.store(streams, Ordering::Relaxed);
        outcome
    }
}

/// The error of the first stream whose labels are no selector.
fn bad_labels(request: &Request<'_>) -> Option<String> {
    let mut last: Option<&[u8]> = None;
    for stream in request.streams() {
        // Some clients send a stream object for each entry.
        let text = stream.labels_text();
        if last == Some(text) {
            continue;
        }
        if let Err(BadLabels::Syntax(why)) = stream.labels() {
            return Some(why);
        }
        last = Some(text);
    }
    None
}
