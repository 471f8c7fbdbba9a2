//! Pushes whose entries say which push they are from.

use std::collections::BTreeMap;
use std::time::Duration;

use disk::sim::SimDisk;
use store::api::{AppendError, OpenError, Options, Pushed, Store};
use wire::{Batch, Entry, LabelSet};

use crate::common::{self, Item};

pub(crate) const START: i64 = 1_700_000_000_000_000_000;
/// A day: nothing is synced unless a test asks for it.
pub(crate) const NEVER: Duration = Duration::from_secs(86_400);

/// A small ring, so that a few pushes fill it.
pub(crate) fn options(disk: &SimDisk, interval: Duration) -> Options {
    Options {
        push_sync_interval: interval,
        push_log_size: 64 << 10,
        ..common::options(disk)
    }
}

/// Opens a store that syncs before every answer.
pub(crate) fn open(disk: &SimDisk) -> Result<Store, OpenError> {
    Store::open(options(disk, Duration::ZERO))
}

/// Runs a future to its end.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    runtime.expect("a runtime").block_on(future)
}

/// The entries of push `number`.
pub(crate) fn push_items(number: u64) -> Vec<Item> {
    let item = |i: u64| Item {
        stream: format!("push-{}", (number + i) % 3),
        ts: START + (number * 1000 + i) as i64,
        line: format!(
            "push {number} entry {i} {}",
            "y".repeat((number * 31 % 97) as usize)
        ),
    };
    (0..2 + number % 4).map(item).collect()
}

pub(crate) fn labels(name: &str) -> LabelSet {
    LabelSet::from_pairs([("job", "test"), ("name", name)]).expect("labels")
}

/// Pushes items with the same metadata each.
pub(crate) fn push_with(
    store: &Store,
    items: &[Item],
    metadata: &str,
) -> Result<Pushed, AppendError> {
    let mut names: Vec<&str> = items.iter().map(|item| item.stream.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let sets: Vec<LabelSet> = names.iter().map(|name| labels(name)).collect();
    let metadata = LabelSet::from_pairs([("detected_level", metadata)]).expect("metadata");
    let entries: Vec<Entry<'_>> = items
        .iter()
        .map(|item| Entry {
            stream: names.binary_search(&item.stream.as_str()).expect("listed") as u32,
            ts: item.ts,
            line: item.line.as_bytes(),
            metadata: metadata.as_ref(),
        })
        .collect();
    store.push(&Batch {
        streams: &sets.iter().collect::<Vec<_>>(),
        entries: &entries,
        source: None,
    })
}

/// Pushes items and waits until they are as durable as configured.
pub(crate) fn push(store: &Store, items: &[Item]) -> Result<Pushed, AppendError> {
    let pushed = push_with(store, items, "info")?;
    wait(store.synced(pushed.ticket)).map_err(AppendError::Unavailable)?;
    Ok(pushed)
}

/// As a client does that is told to try again; gives up after a few times.
pub(crate) fn push_until_taken(store: &Store, items: &[Item]) -> Result<Pushed, AppendError> {
    let mut last = push(store, items);
    for _ in 0..6 {
        match last {
            Err(AppendError::Full | AppendError::Unavailable(_)) => {}
            done => return done,
        }
        // Waits for the flush that everything waits for; when it fails, another try may do.
        let _ = store.flush();
        last = push(store, items);
    }
    last
}

/// How often each entry is there.
pub(crate) fn counts(items: Vec<Item>) -> BTreeMap<Item, usize> {
    let mut counts = BTreeMap::new();
    for item in items {
        *counts.entry(item).or_default() += 1;
    }
    counts
}

/// Pushes that are there: whole or not at all, and once.
pub(crate) fn pushes_in(items: Vec<Item>, most: u64) -> Result<Vec<u64>, String> {
    let counts = counts(items);
    let mut there = Vec::new();
    for number in 1..=most {
        let found: Vec<usize> = push_items(number)
            .iter()
            .map(|item| counts.get(item).copied().unwrap_or(0))
            .collect();
        match found.iter().all(|n| *n == 1) {
            true => there.push(number),
            false if found.iter().all(|n| *n == 0) => {}
            false => {
                return Err(format!(
                    "push {number}: its entries are there {found:?} times"
                ));
            }
        }
    }
    Ok(there)
}
