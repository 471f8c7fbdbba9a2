//! The agent's sink that is the store in the same process. The store owns the positions: it writes them in the
//! segment that holds the entries (promise P1).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use agent::sink::{Refused, Sink};
use store::api::{AppendError, Store};
use tokio::sync::watch;
use wire::{Batch, LabelSet, Secure};

/// Calls of [`Sink::secure`] that wait for the card at most; a further one waits itself.
const SECURE_QUEUE: usize = 16;

/// Hands batches to the store.
pub(crate) struct LocalSink {
    store: Store,
    /// To the thread that secures, once there is one: a file system that stalls must not stall tailing (promise P6).
    securing: Option<SyncSender<Vec<Ended>>>,
    /// Dropped with the sink: whoever holds the receiver learns that the agent has ended, however it did.
    _ended: watch::Sender<()>,
}

/// A source that ended, on its way to another thread.
struct Ended {
    key: Vec<u8>,
    streams: Vec<LabelSet>,
    metadata: LabelSet,
}

impl LocalSink {
    /// The sink, and a receiver whose channel closes when the agent drops it.
    pub(crate) fn new(store: Store) -> (LocalSink, watch::Receiver<()>) {
        let (ended, receiver) = watch::channel(());
        let sink = LocalSink {
            store,
            securing: None,
            _ended: ended,
        };
        (sink, receiver)
    }

    fn thread(&mut self) -> Option<&SyncSender<Vec<Ended>>> {
        if self.securing.is_none() {
            let (sender, receiver) = sync_channel(SECURE_QUEUE);
            let store = self.store.clone();
            let started = std::thread::Builder::new()
                .name("secure".into())
                .stack_size(256 << 10)
                .spawn(move || run(&store, &receiver));
            match started {
                Ok(_) => self.securing = Some(sender),
                Err(error) => tracing::warn!(%error, "cannot start the thread that secures"),
            }
        }
        self.securing.as_ref()
    }
}

/// Secures what comes until the sink is gone. What is left then is flushed with everything else.
fn run(store: &Store, receiver: &Receiver<Vec<Ended>>) {
    while let Ok(ended) = receiver.recv() {
        let streams: Vec<Vec<&LabelSet>> = ended
            .iter()
            .map(|ended| ended.streams.iter().collect())
            .collect();
        let sources: Vec<Secure<'_>> = ended
            .iter()
            .zip(&streams)
            .map(|(ended, streams)| Secure {
                key: &ended.key,
                streams,
                metadata: ended.metadata.as_ref(),
            })
            .collect();
        secure(store, &sources);
    }
}

fn secure(store: &Store, sources: &[Secure<'_>]) {
    // Fails only while the store is closing: it flushes then.
    if let Err(error) = store.secure(sources) {
        tracing::debug!(%error, "sources that ended are not secured");
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
        let ended = sources.iter().map(|source| Ended {
            key: source.key.to_vec(),
            streams: source.streams.iter().map(|set| (*set).clone()).collect(),
            metadata: source.metadata.to_owned(),
        });
        let ended = ended.collect();
        let queued = self
            .thread()
            .is_some_and(|thread| thread.try_send(ended).is_ok());
        if !queued {
            secure(&self.store, sources);
        }
    }

    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(self.store.room())
    }

    fn positions(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.store.positions())
    }
}
