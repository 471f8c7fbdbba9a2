//! Entries of a push that are there already are not stored again: same stream, timestamp, line and metadata.

use disk::sim::SimDisk;
use store::api::Store;

use crate::common::{Item, append_items, durable};
use crate::util::{NEVER, START, counts, open, options, push_with};

fn item(stream: &str, ts: i64, line: &str) -> Item {
    Item {
        stream: stream.to_owned(),
        ts: START + ts,
        line: line.to_owned(),
    }
}

/// Pushes and gives how many entries were there.
fn repeated(store: &Store, items: &[Item], metadata: &str) -> u64 {
    let pushed = push_with(store, items, metadata).expect("taken");
    pushed.duplicates
}

#[test]
fn within_a_push_and_across_pushes_equal_entries_are_stored_once() {
    let disk = SimDisk::new(1);
    let store = open(&disk).expect("opens");
    let a = [
        item("a", 1, "x"),
        item("a", 1, "y"),
        item("a", 1, "x"),
        item("b", 1, "x"),
        item("a", 2, "x"),
        item("a", 1, "y"),
    ];
    assert_eq!(repeated(&store, &a, "info"), 2);
    assert_eq!(repeated(&store, &a, "info"), 6, "a retry");
    assert_eq!(repeated(&store, &a[..2], "warn"), 0, "other metadata");
    assert_eq!(repeated(&store, &[item("a", 1, "z")], "info"), 0);
    assert_eq!(repeated(&store, &[item("c", 1, "x")], "info"), 0);
    let first = Item {
        ts: i64::MIN,
        ..item("a", 0, "x")
    };
    assert_eq!(repeated(&store, &[first.clone(), first], "info"), 1);
    let stats = store.stats();
    assert_eq!(stats.push_log.duplicates, 9);
    store.close().expect("closes");
    assert_eq!(durable(&disk).len() as u64, stats.entries_in);
    assert_eq!(stats.entries_in, 4 + 2 + 1 + 1 + 1);
}

/// Entries of two streams, some at equal times, many enough for several blocks.
fn many() -> Vec<Item> {
    let line = |i: i64| format!("{i} {}", "abc".repeat((i * 7 % 120) as usize));
    let stream = |i: i64| if i % 3 == 0 { "few" } else { "many" };
    (0..3000)
        .map(|i| item(stream(i), i / 2 * 1000, &line(i)))
        .collect()
}

#[test]
fn what_is_sealed_frozen_flushed_or_from_before_a_restart_is_found() {
    let disk = SimDisk::new(1);
    let open = |disk: &SimDisk| {
        Store::open(store::api::Options {
            push_log_size: 4 << 20,
            ..options(disk, NEVER)
        })
    };
    let mut store = open(&disk).expect("opens");
    let all = many();
    for part in all.chunks(250) {
        assert_eq!(repeated(&store, part, "info"), 0);
    }
    for round in 0..4 {
        // Any order and any cut of what was sent.
        for part in all.chunks(170 + round).rev() {
            let found = repeated(&store, part, "info");
            assert_eq!(found, part.len() as u64, "round {round}");
        }
        let new = item("many", 10_000_000 + round as i64, "new");
        let mixed = [all[5].clone(), new.clone(), all[2500].clone(), new];
        assert_eq!(repeated(&store, &mixed, "info"), 3, "round {round}");
        match round {
            0 | 2 => store.flush().expect("flushes"),
            _ => {
                drop(store);
                store = open(&disk).expect("opens");
            }
        }
    }
    assert_eq!(store.stats().push_log.unchecked, 0);
    store.close().expect("closes");
    let found = counts(durable(&disk));
    assert!(found.values().all(|n| *n == 1));
    assert_eq!(found.len(), all.len() + 4);
}

#[test]
fn pushes_in_order_read_nothing() {
    let disk = SimDisk::new(1);
    let store = Store::open(options(&disk, NEVER)).expect("opens");
    assert_eq!(repeated(&store, &[item("a", 1, "x")], "info"), 0);
    store.flush().expect("flushes");
    let before = disk.count(disk::sim::Class::Data);
    for i in 2..200 {
        assert_eq!(
            repeated(&store, &[item("a", i, "x"), item("new", i, "x")], "info"),
            0
        );
    }
    assert_eq!(disk.count(disk::sim::Class::Data), before);
}

#[test]
fn tailed_entries_are_never_dropped_but_a_push_of_the_same_is() {
    let disk = SimDisk::new(1);
    let store = open(&disk).expect("opens");
    let same = [item("a", 1, "x"), item("a", 1, "x")];
    append_items(&store, 0, 1, &same).expect("taken");
    append_items(&store, 0, 2, &same).expect("taken");
    assert_eq!(repeated(&store, &same, "info"), 2);
    assert_eq!(store.stats().entries_in, 4);
}

#[test]
fn the_newest_timestamp_of_a_stream_is_known_while_it_is_in_the_head() {
    let disk = SimDisk::new(1);
    let store = open(&disk).expect("opens");
    let (a, b) = (crate::util::labels("a"), crate::util::labels("b"));
    assert_eq!(store.newest(&[&a, &b]), [None, None]);
    repeated(&store, &[item("a", 9, "x"), item("a", 3, "y")], "info");
    append_items(&store, 0, 1, &[item("b", 4, "x")]).expect("taken");
    assert_eq!(store.newest(&[&b, &a]), [Some(START + 4), Some(START + 9)]);
    store.flush().expect("flushes");
    assert_eq!(store.newest(&[&a]), [None]);
}

#[test]
fn batches_that_no_record_takes_are_refused() {
    let disk = SimDisk::new(1);
    let store = open(&disk).expect("opens");
    let most = store.batch_bytes_max();
    let noise: String = (0..most as u64)
        .map(|i| char::from(b'a' + (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 59) as u8))
        .collect();
    let fits = item("a", 1, &noise[..most - 100]);
    assert_eq!(repeated(&store, &[fits], "info"), 0);
    let long = [item("a", 2, &noise), item("a", 3, &noise)];
    let refused = push_with(&store, &long, "info").expect_err("too long");
    assert!(
        matches!(refused, store::api::AppendError::Invalid(_)),
        "{refused}"
    );
    assert_eq!(store.stats().push_log.records, 1);
}
