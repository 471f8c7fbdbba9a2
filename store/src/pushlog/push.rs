//! Pushes: entries without a file behind them.

use std::collections::HashMap;

use wire::{Batch, Entry, LabelSet};

use super::record::{ENTRY_OVERHEAD_MAX, Group, Item, Kind, encode_body};
use super::{Pushed, lock, raw_bytes_max, ring};
use crate::api::{AppendError, Store};
use crate::query::duplicates::{self, OnDisk};

/// Room in a record for counts.
const COUNTS_BYTES_MAX: usize = 64;

impl Store {
    /// Takes entries without a file behind them, all or nothing, and leaves out those that are there already: same
    /// stream, timestamp, line and structured metadata. Returns when they survive a kill of the process; see
    /// [`Store::synced`] for power cuts. Blocks on writes to the page cache, and on reads when duplicates are possible.
    ///
    /// After an error they may be there nevertheless: sent again they are not stored twice.
    ///
    /// # Errors
    /// See [`AppendError`].
    pub fn push(&self, batch: &Batch<'_>) -> Result<Pushed, AppendError> {
        let inner = &self.inner;
        if let Some(entry) = batch
            .entries
            .iter()
            .find(|e| e.stream as usize >= batch.streams.len())
        {
            let (stream, streams) = (entry.stream, batch.streams.len());
            return Err(AppendError::Invalid(format!(
                "entry of stream {stream} of {streams}"
            )));
        }
        let mut seen = lock(&inner.log.pushes);
        // What is in the head may not have reached the log: then it is no duplicate of something acknowledged.
        inner.log.check(inner, &lock(&inner.log.writer))?;
        let (newest, on_disk) = {
            let state = inner.lock();
            if state.closing() {
                return Err(AppendError::Unavailable("the store is closing".into()));
            }
            let newest = batch.streams.iter();
            let newest: Vec<Option<i64>> =
                newest.map(|s| state.head.newest(s.as_bytes())).collect();
            (newest, OnDisk::of(&state.head, batch))
        };
        let found = duplicates::find(&**inner, &mut seen, batch, &newest, &on_disk)
            .map_err(|e| AppendError::Unavailable(format!("cannot look for duplicates: {e}")))?;
        let unique: Vec<Entry<'_>>;
        let mut rest = *batch;
        if !found.drop.is_empty() {
            let keep = batch.entries.iter().zip(&found.drop);
            unique = keep.filter(|(_, d)| !**d).map(|(e, _)| *e).collect();
            rest.entries = &unique;
        }
        let duplicates = (batch.entries.len() - rest.entries.len()) as u64;
        let ticket = if rest.entries.is_empty() {
            // What they repeat may be in a record that is not on the device.
            let durable = inner.lock().head.durable().number;
            let written = inner.log.shared().written;
            if durable < written { written } else { 0 }
        } else {
            inner.log.append(
                inner,
                Kind::Pushed,
                |out| encode(&rest, out),
                |state| inner.append(state, &rest),
            )?
        };
        let mut shared = inner.log.shared();
        shared.stats.duplicates += duplicates;
        shared.stats.unchecked += found.unchecked;
        Ok(Pushed { duplicates, ticket })
    }

    /// Greatest timestamp of each stream, ns, as far as it has entries that are not on disk.
    #[must_use]
    pub fn newest(&self, streams: &[&LabelSet]) -> Vec<Option<i64>> {
        let state = self.inner.lock();
        let newest = streams.iter().map(|s| state.head.newest(s.as_bytes()));
        newest.collect()
    }

    /// Bytes that a pushed batch should have at most: labels of its streams, and for each entry line, structured metadata
    /// and 25 more. Much larger ones are refused.
    #[must_use]
    pub fn batch_bytes_max(&self) -> usize {
        let record = raw_bytes_max(self.inner.log.capacity) - COUNTS_BYTES_MAX;
        self.inner.lock().head.batch_bytes_max().min(record)
    }
}

const _: () = assert!(ENTRY_OVERHEAD_MAX >= crate::head::ENTRY_BYTES);
const _: () = assert!(crate::limits::PUSH_LOG_BYTES_MIN as u64 > 4 * ring::BLOCK);

fn encode(batch: &Batch<'_>, out: &mut Vec<u8>) -> u32 {
    let mut numbers: HashMap<&[u8], u32> = HashMap::new();
    let mut sets: Vec<&[u8]> = Vec::new();
    let mut last: Option<(&[u8], u32)> = None;
    let mut items = Vec::with_capacity(batch.entries.len());
    for entry in batch.entries {
        let bytes = entry.metadata.as_bytes();
        let metadata = match last {
            Some((seen, number)) if seen == bytes => number,
            _ => *numbers.entry(bytes).or_insert_with(|| {
                sets.push(bytes);
                sets.len() as u32 - 1
            }),
        };
        last = Some((bytes, metadata));
        items.push(Item {
            stream: entry.stream,
            metadata,
            ts: entry.ts,
            line: entry.line,
        });
    }
    let group = Group {
        source: None,
        items,
    };
    let streams = batch.streams.iter().map(|s| s.as_bytes());
    encode_body(streams, sets.into_iter(), &[group], out);
    batch.entries.len() as u32
}
