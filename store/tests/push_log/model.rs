//! Pushes, tailed batches, securing, flushes, kills and restarts in any order, against a list.

use std::collections::BTreeSet;
use std::time::Duration;

use disk::sim::SimDisk;
use proptest::prelude::*;
use store::api::Store;

use crate::common::{Item, SOURCES, Taken, append, difference, durable, taken, wanted};
use crate::secure::secure;
use crate::util::{NEVER, START, options, push_until_taken};

#[derive(Debug, Clone)]
enum Op {
    /// Entries from a small set, so that many repeat.
    Push(Vec<(u8, u16, u8)>),
    /// The next batches of a source.
    Tail(usize, u64),
    Secure(Vec<usize>),
    Flush,
    Kill,
    PowerCut,
    Restart,
}

fn op() -> impl Strategy<Value = Op> {
    let entry = (0..4u8, prop_oneof![0..60u16, 0..3000u16], 0..3u8);
    prop_oneof![
        6 => prop::collection::vec(entry, 1..40).prop_map(Op::Push),
        4 => (0..SOURCES.len(), 1..4u64).prop_map(|(s, n)| Op::Tail(s, n)),
        3 => prop::collection::vec(0..SOURCES.len(), 1..3).prop_map(|mut s| {
            s.sort_unstable();
            s.dedup();
            Op::Secure(s)
        }),
        2 => Just(Op::Flush),
        2 => Just(Op::Kill),
        1 => Just(Op::PowerCut),
        1 => Just(Op::Restart),
    ]
}

fn items(entries: &[(u8, u16, u8)]) -> Vec<Item> {
    let item = |(stream, ts, line): &(u8, u16, u8)| Item {
        stream: format!("push-{stream}"),
        ts: START + i64::from(*ts) * 1_000_000,
        line: format!("line {line} {}", "z".repeat(usize::from(*ts % 300))),
    };
    entries.iter().map(item).collect()
}

/// What must be there.
#[derive(Debug, Default)]
struct Model {
    pushed: BTreeSet<Item>,
    /// Tailed batches offered.
    offered: Taken,
    /// Tailed batches that a crash must leave.
    kept: Taken,
}

fn run(ops: Vec<Op>, interval: Duration) {
    let mut disk = SimDisk::new(7);
    let start = |disk: &SimDisk| Store::open(options(disk, interval)).expect("opens");
    let mut store = start(&disk);
    let mut model = Model::default();
    for op in ops {
        match op {
            Op::Push(entries) => {
                let items = items(&entries);
                let before = model.pushed.len() as u64;
                model.pushed.extend(items.iter().cloned());
                let new = model.pushed.len() as u64 - before;
                let pushed = push_until_taken(&store, &items).expect("taken");
                assert_eq!(pushed.duplicates, items.len() as u64 - new);
            }
            Op::Tail(source, n) => {
                for number in model.offered[source] + 1..=model.offered[source] + n {
                    append(&store, source, number).expect("memory has room");
                }
                model.offered[source] += n;
            }
            Op::Secure(sources) => {
                secure(&store, &sources);
                // With an interval of 0 only what a push waits for is sure to be on the device.
                for source in sources.iter().filter(|_| interval == NEVER) {
                    model.kept[*source] = model.offered[*source];
                }
            }
            Op::Flush => {
                store.flush().expect("flushes");
                model.kept = model.offered;
            }
            Op::Kill if interval == NEVER => {
                // With everything in the page cache, too much to secure may still be on its way to a flush.
                if store.stats().push_log.secured_by_flush > 0 {
                    store.flush().expect("flushes");
                    model.kept = model.offered;
                }
                drop(store);
                disk = disk.kill();
                store = start(&disk);
                after_crash(&store, &mut model);
            }
            Op::PowerCut if interval.is_zero() => {
                drop(store);
                disk = disk.crash();
                store = start(&disk);
                after_crash(&store, &mut model);
            }
            Op::Kill | Op::PowerCut | Op::Restart => {
                store.close().expect("closes");
                drop(store);
                store = start(&disk);
                model.kept = model.offered;
                after_crash(&store, &mut model);
            }
        }
    }
    store.close().expect("closes");
    let mut want = wanted(model.offered);
    want.extend(model.pushed);
    want.sort();
    assert_eq!(difference(&durable(&disk), &want), None);
}

fn after_crash(store: &Store, model: &mut Model) {
    let got = taken(&store.positions());
    for source in 0..got.len() {
        let range = model.kept[source]..=model.offered[source];
        assert!(range.contains(&got[source]), "{got:?} of {model:?}");
    }
    model.offered = got;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p2_any_history_of_pushes_kills_and_restarts_follows_the_model(ops in prop::collection::vec(op(), 1..40)) {
        run(ops, NEVER);
    }

    #[test]
    fn p2_any_history_of_pushes_power_cuts_and_restarts_follows_the_model(ops in prop::collection::vec(op(), 1..40)) {
        run(ops, Duration::ZERO);
    }
}
