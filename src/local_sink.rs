//! The agent's sink that is the store in the same process. The store owns the positions: it writes them in the
//! segment that holds the entries (promise P1).

use std::future::Future;
use std::io;
use std::pin::Pin;

use agent::sink::{Refused, Sink};
use store::api::{AppendError, Store};
use tokio::sync::watch;
use wire::{Batch, Secure};

/// Hands batches to the store.
pub(crate) struct LocalSink {
    store: Store,
    /// Dropped with the sink: whoever holds the receiver learns that the agent has ended, however it did.
    _ended: watch::Sender<()>,
}

impl LocalSink {
    /// The sink, and a receiver whose channel closes when the agent drops it.
    pub(crate) fn new(store: Store) -> (LocalSink, watch::Receiver<()>) {
        let (ended, receiver) = watch::channel(());
        let sink = LocalSink {
            store,
            _ended: ended,
        };
        (sink, receiver)
    }
}

impl Sink for LocalSink {
    fn offer(&mut self, batch: &Batch<'_>) -> Result<(), Refused> {
        self.store.append(batch).map_err(|e| match e {
            AppendError::Full => Refused::Full,
            AppendError::Unavailable(why) => Refused::Unavailable(why),
            AppendError::Invalid(why) => Refused::Invalid(why),
        })
    }

    fn secure(&mut self, sources: &[Secure<'_>]) {
        // Fails only while the store is closing: it flushes then.
        if let Err(error) = self.store.secure(sources) {
            tracing::debug!(%error, "sources that ended are not secured");
        }
    }

    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(self.store.room())
    }

    fn positions(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.store.positions())
    }
}
