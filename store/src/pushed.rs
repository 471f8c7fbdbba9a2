//! Batches without a file behind them. They go straight to the head: what is in memory is lost with the process.

use crate::api::{AppendError, Pushed, Store};
use wire::{Batch, LabelSet};

impl Store {
    /// Takes a batch of entries that have no source, all or nothing. Blocks on the page cache at most.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn push(&self, batch: &Batch<'_>) -> Result<Pushed, AppendError> {
        self.append(batch)?;
        Ok(Pushed {
            duplicates: 0,
            ticket: 0,
        })
    }

    /// Time of the newest entry that is known of each stream.
    #[must_use]
    pub fn newest(&self, streams: &[&LabelSet]) -> Vec<Option<i64>> {
        vec![None; streams.len()]
    }

    /// Completes when a push is as durable as it is to be before its answer.
    ///
    /// # Errors
    /// Why the device did not take it.
    pub async fn synced(&self, _ticket: u64) -> Result<(), String> {
        Ok(())
    }

    /// Bytes of the largest batch; a line may take half of it.
    #[must_use]
    pub fn batch_bytes_max(&self) -> usize {
        self.inner.lock().head.batch_bytes_max()
    }
}
