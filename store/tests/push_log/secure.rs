//! P1: unflushed entries of a source that ended are secured in the log, so that they survive although its files vanish.

use disk::sim::{Class, EIO, Fault, SimDisk};
use store::api::{Secure, Store};

use crate::common::{self, SOURCES, Taken, append, difference, durable, taken, wanted};
use crate::util::{NEVER, labels, open, options, push, push_items};

/// Secures some sources.
pub(crate) fn secure(store: &Store, sources: &[usize]) {
    let sets: Vec<[wire::LabelSet; 2]> = sources
        .iter()
        .map(|s| ["loud", "quiet"].map(|kind| labels(&format!("{kind}-{s}"))))
        .collect();
    let streams: Vec<Vec<&wire::LabelSet>> =
        sets.iter().map(|sets| sets.iter().collect()).collect();
    let metadata = wire::LabelSet::from_pairs([("detected_level", "info")]).expect("metadata");
    let secured: Vec<Secure<'_>> = sources
        .iter()
        .zip(&streams)
        .map(|(source, streams)| Secure {
            key: SOURCES[*source].as_bytes(),
            streams,
            metadata: metadata.as_ref(),
        })
        .collect();
    store.secure(&secured).expect("secured");
}

/// What is there after everything is flushed, and the positions.
fn flushed(disk: &SimDisk) -> (Taken, Vec<common::Item>) {
    let store = open(disk).expect("opens");
    let positions = taken(&store.positions());
    store.close().expect("closes");
    (positions, durable(disk))
}

fn check(disk: &SimDisk, want: Taken, what: &str) {
    let (positions, found) = flushed(disk);
    assert_eq!(positions, want, "{what}");
    assert_eq!(difference(&found, &wanted(want)), None, "{what}");
}

#[test]
fn a_secured_source_survives_a_kill_and_others_are_read_again() {
    let disk = SimDisk::new(1);
    let store = Store::open(options(&disk, NEVER)).expect("opens");
    append(&store, 0, 1).expect("taken");
    append(&store, 1, 1).expect("taken");
    append(&store, 0, 2).expect("taken");
    secure(&store, &[0]);
    let stats = store.stats().push_log;
    assert_eq!((stats.secured_sources, stats.records), (1, 1));
    assert_eq!(store.stats().flushes, [0; 5], "no flush is forced");
    // Again, and after more was taken: only the last time counts.
    append(&store, 0, 3).expect("taken");
    secure(&store, &[0]);
    drop(store);
    check(&disk.kill(), [3, 0], "killed");
}

#[test]
fn sources_without_unflushed_entries_cost_nothing() {
    let disk = SimDisk::new(1);
    let store = Store::open(options(&disk, NEVER)).expect("opens");
    append(&store, 0, 1).expect("taken");
    store.flush().expect("flushes");
    let before = disk.ops();
    secure(&store, &[0, 1]);
    assert_eq!(disk.ops(), before);
    assert_eq!(store.stats().push_log, Default::default());
}

#[test]
fn what_is_too_much_for_the_log_is_flushed_instead() {
    let disk = SimDisk::new(1);
    let store = Store::open(options(&disk, NEVER)).expect("opens");
    for number in 1..=60 {
        append(&store, 0, number).expect("taken");
    }
    secure(&store, &[0]);
    assert_eq!(store.stats().push_log.secured_by_flush, 1);
    while store.stats().flushes[4] == 0 {
        std::thread::yield_now();
    }
    drop(store);
    check(&disk.kill(), [60, 0], "flushed");
}

#[test]
fn a_frozen_epoch_and_the_live_one_are_secured_together() {
    let disk = SimDisk::new(1);
    let store = Store::open(options(&disk, NEVER)).expect("opens");
    append(&store, 0, 1).expect("taken");
    append(&store, 1, 1).expect("taken");
    // The flush freezes an epoch and cannot write it.
    disk.inject(Fault {
        class: Class::Sync,
        at: disk.count(Class::Sync),
        sticky: false,
        errno: EIO,
        partial: 0,
    });
    store.flush().expect_err("the sync fails");
    append(&store, 0, 2).expect("taken");
    append(&store, 1, 2).expect("taken");
    secure(&store, &[0]);
    append(&store, 0, 3).expect("taken");
    drop(store);
    let disk = disk.kill();
    // Killed again in the second life, after it secured what it took over and more.
    let store = open(&disk).expect("opens");
    assert_eq!(taken(&store.positions()), [2, 0]);
    append(&store, 0, 3).expect("taken");
    append(&store, 1, 1).expect("taken");
    secure(&store, &[0]);
    drop(store);
    let disk = disk.kill();
    check(&disk, [3, 0], "two lives");
}

/// Sources end one after the other beside pushes; one life is killed by the cut.
fn scenario(disk: &SimDisk) -> (Taken, Taken, bool) {
    let (mut promised, mut offered) = ([0, 0], [0, 0]);
    let steps: [(usize, u64, bool); 8] = [
        (0, 2, false),
        (1, 1, true),
        (0, 3, true),
        (1, 2, false),
        (1, 4, true),
        (0, 4, false),
        (1, 5, true),
        (0, 6, true),
    ];
    let Ok(store) = open(disk) else {
        return (promised, offered, false);
    };
    let mut done = true;
    for (i, (source, until, end)) in steps.into_iter().enumerate() {
        for number in offered[source] + 1..=until {
            append(&store, source, number).expect("memory has room");
        }
        offered[source] = until;
        if end {
            secure(&store, &[source]);
            // A push behind it is synced with it.
            if push(&store, &push_items(i as u64 + 1)).is_err() {
                done = false;
                break;
            }
            promised[source] = until;
        }
        if i == 3 && store.flush().is_err() {
            done = false;
            break;
        }
        if i == 3 {
            promised = offered;
        }
    }
    (promised, offered, done)
}

fn verify(disk: &SimDisk, promised: Taken, offered: Taken) -> Result<(), String> {
    let store = open(disk).map_err(|e| format!("does not open: {e}"))?;
    let got = taken(&store.positions());
    store.close().map_err(|e| format!("does not close: {e}"))?;
    let within = |s: usize| (promised[s]..=offered[s]).contains(&got[s]);
    if !(within(0) && within(1)) {
        return Err(format!(
            "positions {got:?}, promised {promised:?}, offered {offered:?}"
        ));
    }
    let tailed = durable(disk).into_iter();
    let tailed: Vec<_> = tailed.filter(|i| i.line.starts_with("source")).collect();
    match difference(&tailed, &wanted(got)) {
        Some(text) => Err(format!("at {got:?}: {text}")),
        None => Ok(()),
    }
}

#[test]
fn p1_a_power_cut_at_any_change_loses_and_repeats_nothing_of_secured_sources() {
    for seed in 0..6 {
        for n in 0.. {
            let disk = SimDisk::new(seed);
            disk.stop_after(n);
            let (promised, offered, done) = scenario(&disk);
            let after = disk.crash();
            // Half of the cuts are followed by another one while the log is taken over.
            let after = match (n + seed) % 2 {
                0 => after,
                _ => {
                    after.stop_after(n / 3);
                    drop(open(&after));
                    after.crash()
                }
            };
            if let Err(text) = verify(&after, promised, offered) {
                let events = disk.events();
                let last = &events[events.len().saturating_sub(25)..];
                panic!("seed {seed}, change {n}: {text}\n{}", last.join("\n"));
            }
            if done {
                assert!(n > 20, "the scenario has more changes than {n}");
                break;
            }
        }
    }
}

#[test]
fn positions_never_skip_what_a_damaged_segment_held() {
    // Segments that break, whether source 1 is secured again after them, positions then, sources skipped.
    for (broken, again, want, skipped) in [
        (1, false, [1, 2], 0),
        (1, true, [1, 1], 2),
        (2, true, [0, 0], 2),
    ] {
        let disk = SimDisk::new(1);
        let store = Store::open(options(&disk, NEVER)).expect("opens");
        for number in 1..=2 {
            append(&store, 0, number).expect("taken");
            append(&store, 1, number).expect("taken");
            if number == 2 {
                // Of the second epoch the log has source 1.
                secure(&store, &[1]);
            }
            store.flush().expect("flushes");
        }
        if again {
            // Where it was before, in the ring: that was covered.
            append(&store, 0, 3).expect("taken");
            append(&store, 1, 3).expect("taken");
            secure(&store, &[0, 1]);
        }
        drop(store);
        let disk = disk.kill();
        let files = common::segment_files(&disk);
        let damaged = &files[2 - broken..];
        for file in damaged {
            let mut bytes = disk.contents(file).expect("there");
            bytes.fill(7);
            disk.overwrite(file, &bytes);
        }
        let what = format!("{broken} broken, secured again: {again}");
        let store = open(&disk).expect("opens");
        let got = taken(&store.positions());
        assert_eq!(got, want, "{what}");
        assert_eq!(store.stats().push_log.skipped, skipped, "{what}");
        store.close().expect("closes");
        for file in damaged {
            disk::Disk::remove(&disk, file).expect("removed");
        }
        assert_eq!(difference(&durable(&disk), &wanted(got)), None, "{what}");
    }
}
