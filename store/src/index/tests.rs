use std::collections::BTreeSet;
use std::sync::atomic::AtomicUsize;

use disk::real::RealDisk;

use super::*;

pub(super) fn set(text: &str) -> LabelSet {
    LabelSet::from_pairs(text.split(',').map(|p| p.split_once('=').unwrap())).unwrap()
}

pub(super) fn key(sequence: u64) -> SegmentKey {
    SegmentKey {
        sequence,
        stamp: sequence * 31 + 7,
    }
}

/// Segment `n` of the test: some of these streams, in an order of its own.
fn streams(n: u64) -> Vec<LabelSet> {
    let all = [
        "namespace=shop,pod=a-1,app=a",
        "namespace=shop,pod=a-2,app=a",
        "namespace=shop,pod=b-1",
        "namespace=infra,pod=dns-1,app=dns",
        "namespace=infra,pod=dns-2,app=dns,zone=x",
    ];
    let mut picked: Vec<LabelSet> = (0..all.len())
        .filter(|i| !(*i as u64 + n).is_multiple_of(3))
        .map(|i| set(all[i]))
        .collect();
    if n % 2 == 1 {
        picked.reverse();
    }
    picked
}

pub(super) fn open(dir: &Path) -> Index {
    Index::open(Arc::new(RealDisk::new()), dir)
}

fn filled(dir: &Path, segments: u64) -> Index {
    let index = open(dir);
    let keys: Vec<SegmentKey> = (0..segments).map(key).collect();
    index.reconcile(&keys, |k| Ok(streams(k.sequence)));
    assert!(!index.stale());
    index
}

fn check(index: &Index, query: &str, want: &[&str]) {
    let matchers = logql::parse_matchers(query).unwrap();
    let ids = index.select(&matchers).expect("usable");
    assert!(ids.is_sorted());
    let got: BTreeSet<String> = ids
        .iter()
        .map(|id| {
            index
                .labels(*id)
                .unwrap()
                .as_ref()
                .get("pod")
                .unwrap()
                .to_owned()
        })
        .collect();
    let want: BTreeSet<String> = want.iter().map(|s| (*s).to_owned()).collect();
    assert_eq!(got, want, "{query}");
}

/// Pairs of some streams.
fn pairs(index: &Index, streams: &[u32]) -> IdSet {
    index.pairs(&streams.iter().copied().collect()).unwrap()
}

fn check_all(index: &Index, segments: u64) {
    check(index, r#"{namespace="shop"}"#, &["a-1", "a-2", "b-1"]);
    check(index, r#"{namespace="shop", app="a"}"#, &["a-1", "a-2"]);
    check(index, r#"{namespace="shop", app!="a"}"#, &["b-1"]);
    check(index, r#"{namespace=~".+", app=""}"#, &["b-1"]);
    check(index, r#"{pod=~".*-1"}"#, &["a-1", "b-1", "dns-1"]);
    check(index, r#"{pod!~".*-1"}"#, &["a-2", "dns-2"]);
    check(index, r#"{zone!=""}"#, &["dns-2"]);
    check(index, r#"{zone=~"|y"}"#, &["a-1", "a-2", "b-1", "dns-1"]);
    check(index, r#"{namespace="nope"}"#, &[]);
    check(index, r#"{nope="shop"}"#, &[]);
    for n in 0..segments {
        let ids = index.segment(key(n)).expect("row");
        let sets: Vec<LabelSet> = ids.iter().map(|id| index.labels(*id).unwrap()).collect();
        assert_eq!(sets, streams(n), "segment {n}");
    }
    let all = index.select(&[]).unwrap();
    let all = pairs(index, &all);
    assert_eq!(
        index.names(&all).unwrap(),
        ["app", "namespace", "pod", "zone"]
    );
    assert_eq!(index.values("namespace", &all).unwrap(), ["infra", "shop"]);
    let none: Vec<String> = Vec::new();
    assert_eq!(index.values("nope", &all).unwrap(), none);
    assert_eq!(index.names(&IdSet::default()).unwrap(), none);
}

#[test]
fn selects_and_lists() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path(), 4);
    check_all(&index, 4);
    assert!(index.segment(key(9)).is_none());
    let other = SegmentKey {
        sequence: 1,
        stamp: 0,
    };
    assert!(index.segment(other).is_none(), "another file's row");
    // Lookups that find nothing are not faults.
    assert!(!index.stale());
}

#[test]
fn reopening_reads_no_segment_again() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 4));
    let index = open(dir.path());
    let keys: Vec<SegmentKey> = (0..4).map(key).collect();
    index.reconcile(&keys, |_| panic!("row exists"));
    index.committed(key(4), &mut streams(4).iter().map(LabelSet::as_ref));
    check_all(&index, 5);
    assert_eq!(index.rebuilds(), 0);
}

#[test]
fn reconcile_follows_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path(), 4);
    let changed = SegmentKey {
        sequence: 2,
        stamp: 1,
    };
    let read = AtomicUsize::new(0);
    index.reconcile(&[key(1), changed, key(7)], |k| {
        read.fetch_add(1, Ordering::Relaxed);
        match k.sequence {
            7 => Err(io::Error::other("damaged")),
            _ => Ok(streams(0)),
        }
    });
    assert_eq!(read.load(Ordering::Relaxed), 2);
    assert!(index.segment(key(0)).is_none());
    assert!(index.segment(key(2)).is_none());
    assert!(index.segment(changed).is_some());
    assert!(index.segment(key(7)).is_none());
}

/// What happens to the database files between two starts; every one must end in equal answers.
#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "damages files behind the store's back"
)]
fn p3_damaged_databases_are_rebuilt() {
    type Damage = fn(&Path);
    let cases: [(&str, Damage); 7] = [
        ("deleted", |p| std::fs::remove_file(p).unwrap()),
        ("empty", |p| std::fs::write(p, b"").unwrap()),
        ("text", |p| std::fs::write(p, b"not a database").unwrap()),
        ("truncated", |p| {
            let bytes = std::fs::read(p).unwrap();
            std::fs::write(p, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("zeroed page", |p| {
            let mut bytes = std::fs::read(p).unwrap();
            bytes[4096..8192].fill(0);
            std::fs::write(p, bytes).unwrap();
        }),
        ("garbage page", |p| {
            let mut bytes = std::fs::read(p).unwrap();
            bytes[8192..12288].fill(0xa5);
            std::fs::write(p, bytes).unwrap();
        }),
        ("foreign", |p| {
            std::fs::remove_file(p).unwrap();
            let c = Connection::open(p).unwrap();
            c.execute_batch("CREATE TABLE streams(x); PRAGMA user_version=1;")
                .unwrap();
        }),
    ];
    for (name, damage) in cases {
        let dir = tempfile::tempdir().unwrap();
        drop(filled(dir.path(), 4));
        damage(&dir.path().join(FILE_NAME));
        let index = filled(dir.path(), 4);
        assert!(!index.stale(), "{name}");
        check_all(&index, 4);
    }
}

#[test]
fn a_locked_database_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(filled(dir.path(), 2));
    let other = Connection::open(dir.path().join(FILE_NAME)).unwrap();
    other
        .execute_batch("PRAGMA locking_mode=EXCLUSIVE; BEGIN EXCLUSIVE;")
        .unwrap();
    check_all(&filled(dir.path(), 2), 2);
}

#[test]
fn a_failing_index_gives_nothing_until_reconciled() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path(), 3);
    index
        .lock()
        .as_ref()
        .unwrap()
        .execute_batch("UPDATE segments SET sum = 0 WHERE sequence = 1")
        .unwrap();
    assert!(index.segment(key(1)).is_none());
    assert!(index.stale());
    assert!(index.select(&[]).is_none());
    // A flush meanwhile is not lost: reconciling finds it in the folder.
    index.committed(key(3), &mut streams(3).iter().map(LabelSet::as_ref));
    let keys: Vec<SegmentKey> = (0..4).map(key).collect();
    index.reconcile(&keys, |k| Ok(streams(k.sequence)));
    assert!(!index.stale());
    check_all(&index, 4);
}

#[test]
fn ids_survive_the_codec_and_garbage_does_not() {
    for case in [
        vec![],
        vec![0],
        vec![1, 2, 3],
        vec![9, 3, ids::ID_MAX, 0, 7, 7],
        vec![5, 6, 7, 8, 9, 10, 2, 3, 4, 5, 5, 6],
        (0..1000).chain(3..900).collect(),
    ] {
        let bytes = ids::encode(&case);
        let count = case.len();
        assert_eq!(ids::decode(&bytes, count), Some(case));
        assert_eq!(
            ids::decode(&bytes, count.wrapping_sub(1)).is_none(),
            count > 0
        );
    }
    let one_too_high = [&[0][..], b"\x81\x80\x80\x08"].concat();
    for bad in [
        &b"\x80"[..],
        b"\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x01",
        b"\x00",
        b"\x02\x00\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        &one_too_high,
    ] {
        assert_eq!(ids::decode(bad, usize::MAX), None, "{bad:?}");
    }
}

#[test]
fn ten_thousand_streams_cost_a_flush_a_few_pages() {
    let dir = tempfile::tempdir().unwrap();
    let index = open(dir.path());
    index.reconcile(&[], |_| unreachable!());
    let sets: Vec<LabelSet> = (0..10_000)
        .map(|n| {
            set(&format!(
                "namespace=ns{},pod=pod-{n},app=a{}",
                n % 50,
                n % 700
            ))
        })
        .collect();
    index.committed(key(1), &mut sets.iter().map(LabelSet::as_ref));
    let wal = dir.path().join(format!("{FILE_NAME}-wal"));
    let blob = index
        .lock()
        .as_ref()
        .unwrap()
        .query_row("SELECT length(streams) FROM segments", [], |r| {
            r.get::<_, i64>(0)
        })
        .unwrap();
    assert!(blob <= 10_001, "{blob} bytes");
    assert!(wal.metadata().unwrap().len() > 0);
    assert_eq!(index.segment(key(1)).unwrap().len(), 10_000);
    let one = logql::parse_matchers(r#"{pod="pod-77", namespace="ns27"}"#).unwrap();
    assert_eq!(index.select(&one).unwrap().len(), 1);
}

#[test]
fn removed_segments_take_streams_along_that_no_other_has() {
    let dir = tempfile::tempdir().unwrap();
    let index = filled(dir.path(), 4);
    index.reconcile(&[key(0), key(1), key(2), key(3), key(9)], |_| {
        let churn = |n: u64| set(&format!("namespace=jobs,pod=job-{n},app=job"));
        Ok((0..2000).map(churn).collect())
    });
    // A query that knows ids keeps them from being dropped.
    let held = index.hold_ids();
    index.removed(&[9]);
    check(&index, r#"{pod="job-1999"}"#, &["job-1999"]);
    assert!(index.segment(key(9)).is_none());
    drop(held);
    index.removed(&[]);
    check_all(&index, 4);
    index.removed(&[0, 1, 2]);
    check(&index, r#"{pod=~".+"}"#, &["a-2", "b-1", "dns-2"]);
    assert_eq!(
        index
            .values("namespace", &pairs(&index, &index.select(&[]).unwrap()))
            .unwrap(),
        ["infra", "shop"]
    );
    assert!(!index.stale());
    drop(index);
    // What is left fits together: a start looks at all of it.
    let index = open(dir.path());
    index.reconcile(&[key(3)], |_| panic!("row exists"));
    assert_eq!(index.rebuilds(), 0);
    index.removed(&[3]);
    assert_eq!(index.select(&[]).unwrap(), [0; 0]);
    index.committed(key(5), &mut streams(5).iter().map(LabelSet::as_ref));
    check(&index, r#"{app="a"}"#, &["a-1"]);
}
