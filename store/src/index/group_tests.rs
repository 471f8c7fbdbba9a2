//! Groups of segments answer as the segments themselves do, whatever happened to the database in between.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::tests::{key, open, set};
use super::*;

/// A stream of the tests; several of them share most pairs.
fn stream(n: u8) -> LabelSet {
    let (namespace, zone) = (n % 3, n % 7);
    let text = format!("namespace=ns-{namespace},pod=pod-{n}");
    match zone {
        0 => set(&format!("{text},zone=z-{}", n % 2)),
        _ => set(&text),
    }
}

/// What a test knows: the segments and their streams.
type Model = BTreeMap<u64, (SegmentKey, Vec<u8>)>;

fn sets(streams: &[u8]) -> Vec<LabelSet> {
    streams.iter().map(|n| stream(*n)).collect()
}

fn reconcile(index: &Index, model: &Model) {
    let keys: Vec<SegmentKey> = model.values().map(|(key, _)| *key).collect();
    index.reconcile(&keys, |key| Ok(sets(&model[&key.sequence].1)));
}

/// Compares what the index says of the segments in `from..to` with what the model says.
fn check(index: &Index, model: &Model, from: u64, to: u64) {
    let some: Vec<&(SegmentKey, Vec<u8>)> = model
        .range(from..to.max(from))
        .map(|(_, segment)| segment)
        .filter(|(_, streams)| !streams.is_empty())
        .collect();
    let keys: Vec<SegmentKey> = some.iter().map(|(key, _)| *key).collect();
    let mut union = Union::default();
    let missing = |key: SegmentKey| panic!("{key:?} has no row");
    index
        .union::<()>(&keys, &mut union, &mut |key| missing(key))
        .unwrap();
    let want: BTreeSet<u8> = some
        .iter()
        .flat_map(|(_, streams)| streams.clone())
        .collect();
    let ids: Vec<u32> = union.streams.iter().collect();
    let got: BTreeSet<String> = index
        .label_sets(&ids)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(ids.len(), want.len(), "{from}..{to}");
    let text: BTreeSet<String> = want.iter().map(|n| stream(*n).to_string()).collect();
    assert_eq!(got, text, "{from}..{to}");
    assert_eq!(index.pairs(&union.streams).unwrap(), trimmed(&union.pairs));
    for name in ["namespace", "pod", "zone", "nothing"] {
        let values: BTreeSet<String> = want
            .iter()
            .filter_map(|n| stream(*n).as_ref().get(name).map(str::to_owned))
            .collect();
        let got = index.values(name, &union.pairs).unwrap();
        assert_eq!(
            got,
            values.into_iter().collect::<Vec<_>>(),
            "{name} in {from}..{to}"
        );
    }
}

/// The same set without empty bytes at its end.
fn trimmed(set: &IdSet) -> IdSet {
    set.iter().collect()
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// A flush; sequences may be left out.
    Flush { skip: u64, streams: Vec<u8> },
    /// Retention takes some of the oldest, and of those in the middle.
    Remove {
        oldest: usize,
        middle: Option<prop::sample::Index>,
    },
    /// As above while a query holds ids: streams stay.
    RemoveHeld { oldest: usize },
    /// A segment was replaced by another file with its name, some others vanished, and there is a start.
    Replace {
        which: prop::sample::Index,
        streams: Vec<u8>,
    },
    /// A start with what was on the disk at this moment.
    Kill,
    /// A lookup.
    Ask { from: u64, to: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let streams = || prop::collection::vec(0u8..60, 0..12).prop_map(distinct);
    prop_oneof![
        8 => (prop_oneof![9 => Just(0u64), 1 => 1..20u64], streams()).prop_map(|(skip, streams)| Step::Flush { skip, streams }),
        2 => (1usize..4, prop::option::weighted(0.2, any::<prop::sample::Index>()))
            .prop_map(|(oldest, middle)| Step::Remove { oldest, middle }),
        1 => (1usize..3).prop_map(|oldest| Step::RemoveHeld { oldest }),
        1 => (any::<prop::sample::Index>(), streams()).prop_map(|(which, streams)| Step::Replace { which, streams }),
        1 => Just(Step::Kill),
        6 => (0u64..260, 0u64..260).prop_map(|(from, to)| Step::Ask { from, to }),
    ]
}

fn distinct(mut streams: Vec<u8>) -> Vec<u8> {
    let mut seen = BTreeSet::new();
    streams.retain(|n| seen.insert(*n));
    streams
}

struct World {
    dirs: Vec<tempfile::TempDir>,
    index: Index,
    model: Model,
    next: u64,
}

impl World {
    fn remove(&mut self, sequences: &[u64]) {
        self.index.removed(sequences);
        self.model
            .retain(|sequence, _| !sequences.contains(sequence));
    }

    /// The files as they are while the database is open, log and all, in a place of their own.
    #[expect(
        clippy::disallowed_methods,
        reason = "copies files as a kill would leave them"
    )]
    fn kill(&mut self) {
        let dir = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(self.dirs.last().unwrap().path()).unwrap() {
            let entry = entry.unwrap();
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
        self.index = open(dir.path());
        self.dirs.push(dir);
        let keys: Vec<SegmentKey> = self.model.values().map(|(key, _)| *key).collect();
        self.index
            .reconcile(&keys, |key| panic!("{key:?} was there"));
        assert_eq!(self.index.rebuilds(), 0);
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Flush { skip, streams } => {
                let key = key(self.next + skip);
                self.next = key.sequence + 1;
                let sets = sets(&streams);
                self.index
                    .committed(key, &mut sets.iter().map(LabelSet::as_ref));
                self.model.insert(key.sequence, (key, streams));
            }
            Step::Remove { oldest, middle } => {
                let all: Vec<u64> = self.model.keys().copied().collect();
                let mut gone: Vec<u64> = all.iter().copied().take(oldest).collect();
                gone.extend(
                    middle
                        .filter(|_| !all.is_empty())
                        .map(|which| *which.get(&all)),
                );
                self.remove(&gone);
            }
            Step::RemoveHeld { oldest } => {
                let gone: Vec<u64> = self.model.keys().copied().take(oldest).collect();
                self.model.retain(|sequence, _| !gone.contains(sequence));
                let _held = self.index.hold_ids();
                self.index.removed(&gone);
            }
            Step::Replace { which, streams } => {
                let all: Vec<u64> = self.model.keys().copied().collect();
                if !all.is_empty() {
                    let sequence = *which.get(&all);
                    let stamp = self.model[&sequence].0.stamp + 1;
                    self.model
                        .insert(sequence, (SegmentKey { sequence, stamp }, streams));
                    self.model.remove(&(sequence + 3));
                }
                reconcile(&self.index, &self.model);
            }
            Step::Kill => self.kill(),
            Step::Ask { from, to } => check(&self.index, &self.model, from, to),
        }
        assert!(!self.index.stale());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn groups_answer_as_their_segments_do(first in 0u64..140, steps in prop::collection::vec(step(), 1..90)) {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World { index: open(dir.path()), dirs: vec![dir], model: Model::new(), next: first };
        for n in 0..first {
            let streams = distinct((0..n % 5).map(|i| ((n / 9 + i * i) % 60) as u8).collect());
            world.model.insert(n, (key(n), streams));
        }
        reconcile(&world.index, &world.model);
        for step in steps {
            world.step(step);
        }
        for (from, to) in [(0, 400), (9, 200), (0, world.next - world.next.min(1)), (64, 129)] {
            check(&world.index, &world.model, from, to);
        }
    }
}

fn filled(dir: &Path, segments: u64) -> (Index, Model) {
    let mut model = Model::new();
    let index = open(dir);
    index.reconcile(&[], |_| unreachable!());
    for n in 0..segments {
        let streams = distinct((0..6).map(|i| ((n / 4 + i * 7) % 60) as u8).collect());
        let sets = sets(&streams);
        index.committed(key(n), &mut sets.iter().map(LabelSet::as_ref));
        model.insert(n, (key(n), streams));
    }
    (index, model)
}

fn groups_there(index: &Index) -> Vec<(u32, u64)> {
    let guard = index.lock();
    let mut statement = guard
        .as_ref()
        .unwrap()
        .prepare("SELECT level, number FROM groups ORDER BY level, number")
        .unwrap();
    let rows = statement
        .query_map([], |r| Ok((r.get(0)?, r.get::<_, i64>(1)? as u64)))
        .unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn flushes_and_a_rebuild_write_the_same_groups() {
    let dir = tempfile::tempdir().unwrap();
    let (index, model) = filled(dir.path(), 140);
    let mut want: Vec<(u32, u64)> = (0..17).map(|n| (1, n)).collect();
    want.extend([(2, 0), (2, 1)]);
    assert_eq!(groups_there(&index), want);
    index.discard();
    reconcile(&index, &model);
    assert_eq!(groups_there(&index), want);
    // The oldest goes, and with it the groups that it is in.
    index.removed(&[0]);
    want.retain(|group| !matches!(group, (1 | 2, 0)));
    assert_eq!(groups_there(&index), want);
}

#[test]
fn a_lookup_over_all_segments_reads_a_few_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (index, model) = filled(dir.path(), 600);
    for (from, most) in [(0, 17), (1, 35), (77, 35), (560, 20)] {
        let keys: Vec<SegmentKey> = (from..600).map(key).collect();
        let (mut union, mut rows) = (Union::default(), 0);
        groups::walk(&keys, groups::LEVELS, &mut |level, part| {
            let found = index.read("", |c| groups::add(c, level, part, &mut union)) == Some(true);
            rows += usize::from(found);
            Ok::<_, ()>(found)
        })
        .unwrap();
        assert!(rows <= most, "{rows} rows from {from} on");
        check(&index, &model, from, 600);
    }
}

#[test]
fn p3_a_damaged_group_is_found() {
    for damage in [
        "UPDATE groups SET streams = x'06ff' WHERE level = 1 AND number = 2",
        "UPDATE groups SET pairs = x'' WHERE level = 1 AND number = 2",
        "UPDATE groups SET sum = sum + 1 WHERE level = 1 AND number = 2",
        "UPDATE groups SET number = 99 WHERE level = 1 AND number = 2; \
         UPDATE groups SET number = 2 WHERE level = 1 AND number = 3",
        "UPDATE groups SET members = 7 WHERE level = 1 AND number = 2",
        "DELETE FROM groups WHERE level = 1 AND number = 2",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (index, model) = filled(dir.path(), 60);
        index
            .lock()
            .as_ref()
            .unwrap()
            .execute_batch(damage)
            .unwrap();
        let keys: Vec<SegmentKey> = (16..24).map(key).collect();
        let (mut union, mut missing) = (Union::default(), 0);
        let count = &mut |_| {
            missing += 1;
            Ok::<_, ()>(())
        };
        index.union(&keys, &mut union, count).unwrap();
        // Either it gave nothing and is rebuilt, or single segments answered.
        assert_eq!(index.stale(), missing > 0, "{damage}");
        reconcile(&index, &model);
        assert!(!index.stale());
        check(&index, &model, 16, 24);
    }
}

#[test]
fn a_database_of_another_version_is_rebuilt() {
    let dir = tempfile::tempdir().unwrap();
    let (index, model) = filled(dir.path(), 20);
    // As version 1 had it.
    let old = "DROP TABLE groups; DROP TABLE segments; CREATE TABLE segments(sequence INTEGER PRIMARY KEY, \
               stamp INTEGER NOT NULL, streams BLOB NOT NULL, sum INTEGER NOT NULL); PRAGMA user_version = 1;";
    index.lock().as_ref().unwrap().execute_batch(old).unwrap();
    drop(index);
    let index = open(dir.path());
    assert_eq!(index.rebuilds(), 1);
    reconcile(&index, &model);
    check(&index, &model, 0, 20);
}

#[test]
fn ids_that_are_used_up_are_given_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (index, mut model) = filled(dir.path(), 20);
    let last = format!(
        "UPDATE streams SET id = {} WHERE id = (SELECT max(id) FROM streams)",
        ids::ID_MAX
    );
    index.lock().as_ref().unwrap().execute_batch(&last).unwrap();
    let streams = vec![59, 58, 57, 56];
    let new: Vec<LabelSet> = (0..4)
        .map(|n| set(&format!("namespace=new,pod=new-{n}")))
        .collect();
    index.committed(key(20), &mut new.iter().map(LabelSet::as_ref));
    assert!(index.stale());
    model.insert(20, (key(20), streams));
    reconcile(&index, &model);
    assert!(!index.stale());
    check(&index, &model, 0, 21);
}
