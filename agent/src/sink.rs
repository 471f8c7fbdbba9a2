//! What a tailer hands its batches to.

use std::future::Future;
use std::pin::Pin;

use wire::{Batch, Secure};

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// No room now: nothing was taken. Wait for [`Sink::room`], then offer the same batch again.
    #[error("no room")]
    Full,
    /// The sink cannot take anything now (disk full, I/O error); wait for [`Sink::room`] like [`Refused::Full`]. The
    /// reason has been counted and logged by the sink.
    #[error("sink unavailable: {0}")]
    Unavailable(String),
    /// This batch will never be taken: a bug in the caller (a key or position over its limit, a bad stream index).
    #[error("batch refused: {0}")]
    Invalid(String),
}

/// Where entries go. The sink that makes entries durable owns the positions.
pub trait Sink {
    /// Offers a batch; takes all of it or nothing, and never blocks for longer than sealing a block (well under a
    /// millisecond).
    ///
    /// # Errors
    /// See [`Refused`].
    fn offer(&mut self, batch: &Batch<'_>) -> Result<(), Refused>;
    /// Sources that ended: what was taken of them is to outlive their files from now on, as far as it depends on them. The
    /// default is for sinks that read nothing again.
    fn secure(&mut self, sources: &[Secure<'_>]) {
        let _ = sources;
    }
    /// Completes when an offer is worth another try.
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + '_>>;
    /// The positions that are durable together with their entries: where to go on after a start. Key, position.
    ///
    /// # Errors
    /// When they cannot be read.
    fn positions(&self) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>>;
}
