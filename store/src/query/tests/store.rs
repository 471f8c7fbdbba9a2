//! Queries against a whole store while it takes entries, flushes and restarts.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use wire::Batch;

use super::*;
use crate::api::{AppendError, Options, Store, Tuning};

fn options(folder: &std::path::Path) -> Options {
    Options {
        head_bytes: 1 << 20,
        tuning: Tuning {
            flush_interval: Duration::from_secs(3600),
            query_memory: 32 << 20,
            ..Tuning::default()
        },
        ..Options::new(folder, Arc::new(RealDisk::new()))
    }
}

/// Appends entries `from..to`, each with its number as the line; number `n` has timestamp `n` seconds.
fn append(store: &Store, numbers: std::ops::Range<u64>) {
    append_to(store, numbers, |n| (n % 5) as u32);
}

fn append_to(store: &Store, numbers: std::ops::Range<u64>, stream: impl Fn(u64) -> u32) {
    let (sets, metadata) = (streams(), sets());
    let refs: Vec<&LabelSet> = sets.iter().collect();
    let lines: Vec<String> = numbers
        .clone()
        .map(|n| format!("entry {n} {}", "x".repeat(n as usize % 200)))
        .collect();
    let entries: Vec<wire::Entry<'_>> = numbers
        .zip(&lines)
        .map(|(n, line)| wire::Entry {
            stream: stream(n),
            ts: n as i64 * SECOND,
            line: line.as_bytes(),
            metadata: metadata[n as usize % 6].as_ref(),
        })
        .collect();
    loop {
        let taken = store.append(&Batch {
            streams: &refs,
            entries: &entries,
            source: None,
        });
        match taken {
            Ok(()) => return,
            Err(AppendError::Full) => store.flush().unwrap(),
            Err(e) => panic!("{e}"),
        }
    }
}

/// Every number below `below` exactly once, and nothing twice.
fn check_once(store: &Store, below: u64, direction: Direction) -> u64 {
    let plan = logql::parse(r#"{namespace=~".+"}"#).unwrap();
    let request = Request::Range {
        start: 0,
        end: i64::MAX,
        step: 1,
        limit: 1_000_000,
        direction,
    };
    let (value, _) = store.query(&plan, &request, &hour()).unwrap();
    let Value::Logs(logs) = value else {
        panic!("logs");
    };
    let mut seen: HashMap<u64, u32> = HashMap::new();
    for entry in &logs.entries {
        let text = std::str::from_utf8(&entry.line).unwrap();
        let number = text.split(' ').nth(1).unwrap().parse().unwrap();
        *seen.entry(number).or_default() += 1;
    }
    for number in 0..below {
        assert_eq!(seen.get(&number), Some(&1), "entry {number} of {below}");
    }
    assert!(seen.values().all(|n| *n == 1), "an entry is seen twice");
    seen.len() as u64
}

fn count(store: &Store, query: &str) -> f64 {
    let plan = logql::parse(query).unwrap();
    let time = 100_000 * SECOND;
    let request = Request::Instant {
        time: time / MINUTE_NS * MINUTE_NS,
    };
    match store.query(&plan, &request, &hour()).unwrap().0 {
        Value::Vector(v) => v.iter().map(|s| s.2).sum(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn p6_queries_and_flushes_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(options(folder.path())).unwrap();
    let accepted = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..400 {
                append(&store, n * 100..(n + 1) * 100);
                accepted.store((n + 1) * 100, Ordering::Release);
                if n % 13 == 12 {
                    store.flush().unwrap();
                }
            }
            done.store(true, Ordering::Release);
        });
        let mut round = 0u64;
        while !done.load(Ordering::Acquire) {
            round += 1;
            let below = accepted.load(Ordering::Acquire);
            match round % 3 {
                0 => check_once(&store, below, Direction::Forward),
                1 => check_once(&store, below, Direction::Backward),
                _ => {
                    let got = count(&store, "sum(count_over_time({namespace=~\".+\"}[100h]))");
                    let most = accepted.load(Ordering::Acquire) + 100;
                    assert!(
                        got >= below as f64 && got <= most as f64,
                        "{got} of {below}"
                    );
                    below
                }
            };
        }
    });
    assert_eq!(check_once(&store, 40_000, Direction::Forward), 40_000);
    store.close().unwrap();
}

#[test]
fn p3_a_store_without_its_index_answers_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let disk = RealDisk::new();
    let store = Store::open(options(folder.path())).unwrap();
    for n in 0..60 {
        append(&store, n * 100..(n + 1) * 100);
        if n % 20 == 19 {
            store.flush().unwrap();
        }
    }
    let answers = |store: &Store| {
        let end = 10_000 * SECOND;
        let matchers = logql::parse_matchers(r#"{namespace="shop"}"#).unwrap();
        (
            check_once(store, 6_000, Direction::Backward),
            count(store, "sum(count_over_time({namespace=\"shop\"}[100h]))").to_bits(),
            count(store, "sum(bytes_over_time({app=\"dns\"} |= \"7\" [100h]))").to_bits(),
            store.label_names(&matchers, 0, end, &hour()).unwrap(),
            store.label_values("pod", &[], 0, end, &hour()).unwrap(),
            format!("{:?}", store.series(&[matchers], 0, end, &hour()).unwrap()),
        )
    };
    let before = answers(&store);
    assert!(store.rebuild_index());
    assert_eq!(answers(&store), before);
    store.close().unwrap();
    drop(store);
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("{}{suffix}", crate::index::FILE_NAME);
        let _ = disk.remove(&folder.path().join(name));
    }
    let store = Store::open(options(folder.path())).unwrap();
    assert_eq!(answers(&store), before);
    assert_eq!(store.stats().damaged_chunks, 0);
    store.close().unwrap();
}

/// Asks for everything; the numbers found, sorted.
fn numbers(store: &Store, direction: Direction) -> Vec<u64> {
    let plan = logql::parse(r#"{namespace=~".+"}"#).unwrap();
    let request = Request::Range {
        start: 0,
        end: i64::MAX,
        step: 1,
        limit: 1_000_000,
        direction,
    };
    let (value, _) = store.query(&plan, &request, &hour()).unwrap();
    let Value::Logs(logs) = value else {
        panic!("logs");
    };
    let number = |line: &[u8]| {
        let text = std::str::from_utf8(line).unwrap();
        text.split(' ').nth(1).unwrap().parse().unwrap()
    };
    let mut numbers: Vec<u64> = logs.entries.iter().map(|e| number(&e.line)).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_removal_is_no_damage_and_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options {
        tuning: Tuning {
            retention: crate::retention::Retention {
                max_disk: Some(crate::retention::Share::Bytes(150 << 10)),
                ..crate::retention::Retention::default()
            },
            ..Tuning::default()
        },
        ..options(folder.path())
    })
    .unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..150 {
                append(&store, n * 100..(n + 1) * 100);
                store.flush().unwrap();
            }
            done.store(true, Ordering::Release);
        });
        let mut round = 0;
        while !done.load(Ordering::Acquire) {
            round += 1;
            let found = match round % 2 {
                0 => numbers(&store, Direction::Forward),
                _ => numbers(&store, Direction::Backward),
            };
            assert!(found.is_sorted_by(|a, b| a < b), "an entry is seen twice");
            count(&store, "sum(count_over_time({namespace=~\".+\"}[100h]))");
            store.series(&[], 0, i64::MAX, &hour()).unwrap();
            store.label_names(&[], 0, i64::MAX, &hour()).unwrap();
            store
                .label_values("pod", &[], 0, i64::MAX, &hour())
                .unwrap();
        }
    });
    let stats = store.stats();
    assert!(stats.removed[1].segments > 20, "{stats:?}");
    assert_eq!(stats.damaged_chunks, 0);
    assert_eq!(store.inner.index.rebuilds(), 0);
    assert!(!store.inner.index.stale());
    let found = numbers(&store, Direction::Forward);
    let kept = 15_000 - stats.removed[1].entries;
    assert_eq!(found, (15_000 - kept..15_000).collect::<Vec<u64>>());
    store.close().unwrap();
}

/// A stream that gives a block's worth at a time has blocks that are made once, as they will be on disk; what comes after
/// may still be joined to one.
#[test]
fn blocks_of_loud_streams_answer_like_others() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(Options {
        head_bytes: 4 << 20,
        ..options(folder.path())
    });
    let store = store.unwrap();
    let all = r#"{namespace=~".+"}"#;
    let check = |when: &str| {
        assert_eq!(check_once(&store, 24_000, Direction::Backward), 24_000);
        for n in (0..24_000).step_by(1_013) {
            let found = count(
                &store,
                &format!(r#"sum(count_over_time({all} |= "entry {n} " [100h]))"#),
            );
            assert_eq!(found, 1.0, "{n} {when}");
        }
        let bytes: usize = (0..24_000u64)
            .map(|n| format!("entry {n} ").len() + n as usize % 200)
            .sum();
        for filter in ["", r#"|= "entry""#] {
            let query = format!("sum(bytes_over_time({all} {filter} [100h]))");
            assert_eq!(count(&store, &query), bytes as f64, "{filter} {when}");
        }
    };
    // Some 220 KiB of one stream, in batches as they come, then of the next one; two streams have a third turn.
    for n in 0..240 {
        append_to(&store, n * 100..(n + 1) * 100, |n| (n / 2_000 % 5) as u32);
    }
    check("in the head");
    store.flush().unwrap();
    check("on disk");
    // The needles above were found by the skip index: most blocks of a stream that large are left out.
    let plan = logql::parse(format!(r#"{all} |= "entry 1013 ""#)).unwrap();
    let request = Request::Range {
        start: 0,
        end: i64::MAX,
        step: 1,
        limit: 10,
        direction: Direction::Backward,
    };
    let (_, stats) = store.query(&plan, &request, &hour()).unwrap();
    assert!(stats.chunks_matched >= 10, "{stats:?}");
    assert!(stats.chunks_read <= 3, "{stats:?}");
    store.close().unwrap();
}
