//! Retention and faults: the power is cut, and operations fail, at every change while old segments are removed, within
//! flushes and by themselves. What is kept by the rules is there afterwards, once; the positions are; it goes on.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::clock_sim::SimClock;
use common::{Item, Taken, append, catch_up, difference, durable, options, taken, wanted};
use disk::sim::{Class, EIO, ENOSPC, Fault, SimDisk};
use store::api::Store;
use store::clock::{Kept, Timekeeper, Trust};
use store::retention::{Retention, Share};

/// Flushes of the scenario; flush `n` holds batch `n` of each source.
const FLUSHES: u64 = 9;
/// What `max_disk` leaves room for: each flush writes about 1,500 bytes.
const MAX_DISK: u64 = 6_500;
/// Segments that always fit into it.
const FIT: u64 = 3;
/// 2026-11-26, ns.
const NOW: i64 = 1_795_651_200_000_000_000;
const SEEDS: u64 = 6;
const DAY: Duration = Duration::from_secs(86_400);

fn open(disk: &SimDisk, clock: &Arc<SimClock>) -> Option<Store> {
    let mut options = options(disk);
    options.clock = Timekeeper::new(clock.clone(), Trust::Auto);
    options.tuning.retention = Retention {
        period: Some(7 * DAY),
        max_disk: Some(Share::Bytes(MAX_DISK)),
        min_free: None,
    };
    Store::open(options).ok()
}

/// How far a scenario came.
#[derive(Debug, Default, Clone, Copy)]
struct Progress {
    /// Flushes that succeeded, and that were begun.
    acknowledged: u64,
    offered: u64,
    /// Everything is old: nothing has to be kept but positions.
    aged: bool,
    done: bool,
}

/// Flushes more than fits, and then lets all of it become old, with a restart in between.
fn scenario(disk: &SimDisk) -> Progress {
    let clock = Arc::new(SimClock::new(NOW, Kept::Synchronised));
    let mut progress = Progress::default();
    let Some(store) = open(disk, &clock) else {
        return progress;
    };
    for n in 1..=FLUSHES {
        for source in 0..2 {
            append(&store, source, n).expect("memory has room");
        }
        progress.offered = n;
        if store.flush().is_err() {
            let _ = store.close();
            return progress;
        }
        progress.acknowledged = n;
    }
    if store.close().is_err() {
        return progress;
    }
    drop(store);
    progress.aged = true;
    let Some(store) = open(disk, &clock) else {
        return progress;
    };
    clock.pass(8 * DAY);
    store.retain();
    progress.done = store.close().is_ok() && !disk.is_off();
    progress
}

/// Compares what a start finds with what must and may be there; then goes on.
fn verify(disk: &SimDisk, progress: Progress) -> Result<(), String> {
    let clock = Arc::new(SimClock::new(NOW, Kept::Unsynchronised));
    let store = open(disk, &clock).ok_or("does not open")?;
    // The first look comes by itself, at any time from now on: let it be over.
    store.retain();
    let got = taken(&store.positions());
    if got[0] != got[1] || got[0] < progress.acknowledged || got[0] > progress.offered {
        return Err(format!("positions {got:?}, but {progress:?}"));
    }
    let found = durable(disk);
    let all = wanted(got);
    if let Some(strange) = found.iter().find(|item| !all.contains(item)) {
        return Err(format!("{strange:?} is of no batch up to {got:?}"));
    }
    if !found.is_sorted_by(|a, b| a < b) {
        return Err("an entry is there twice".into());
    }
    if !progress.aged {
        let kept = got[0].saturating_sub(FIT);
        let must = batches(kept, got[0]);
        if let Some(lost) = must.iter().find(|item| !found.contains(item)) {
            return Err(format!(
                "{lost:?} of the last {FIT} flushes is lost; {got:?}"
            ));
        }
    }
    let until: Taken = [FLUSHES + 1, FLUSHES + 1];
    catch_up(&store, until).map_err(|e| format!("cannot go on: {e}"))?;
    store.close().map_err(|e| format!("cannot close: {e}"))?;
    drop(store);
    let newest = batches(got[0], FLUSHES + 1);
    let found: Vec<Item> = durable(disk);
    let found: Vec<Item> = found.into_iter().filter(|i| newest.contains(i)).collect();
    match difference(&found, &newest) {
        Some(text) => Err(format!("after going on: {text}")),
        None => Ok(()),
    }
}

/// Entries of batches `from + 1..=to` of both sources, sorted.
fn batches(from: u64, to: u64) -> Vec<Item> {
    let before = wanted([from, from]);
    let mut items = wanted([to, to]);
    items.retain(|item| !before.contains(item));
    items
}

fn last_events(disk: &SimDisk) -> String {
    let events = disk.events();
    events[events.len().saturating_sub(25)..].join("\n")
}

#[test]
fn p10_without_faults_the_scenario_removes_by_size_and_by_age() {
    let disk = SimDisk::new(0);
    let progress = scenario(&disk);
    assert!(progress.done);
    assert_eq!(common::segment_files(&disk).len(), 1, "positions alone");
    assert_eq!(durable(&disk), []);
    verify(&disk.kill(), progress).unwrap();
}

#[test]
fn p1_a_power_cut_at_any_change_of_retention_loses_only_what_was_to_go() {
    for seed in 0..SEEDS {
        for n in 0.. {
            let disk = SimDisk::new(seed);
            disk.stop_after(n);
            let progress = scenario(&disk);
            for next in [disk.crash(), disk.kill()] {
                if let Err(text) = verify(&next, progress) {
                    panic!("seed {seed}, change {n}: {text}\n{}", last_events(&disk));
                }
            }
            if progress.done {
                assert!(n > 50, "the scenario has more changes than {n}");
                break;
            }
        }
    }
}

#[test]
fn p1_any_failing_operation_of_retention_loses_only_what_was_to_go() {
    for class in [Class::Change, Class::Read] {
        for errno in [EIO, ENOSPC] {
            for (sticky, power_cut) in [(false, false), (false, true), (true, true)] {
                for at in 0.. {
                    let disk = SimDisk::new(at);
                    let fault = Fault {
                        class,
                        at,
                        sticky,
                        errno,
                        partial: (at * 97 % 600) as usize,
                    };
                    disk.inject(fault);
                    let mut progress = scenario(&disk);
                    let hit = disk.count(class) > at;
                    disk.clear_faults();
                    // What failed may have been written nevertheless; a disk that says it is full costs old segments.
                    progress.offered = FLUSHES;
                    progress.aged |= errno == ENOSPC;
                    let next = if power_cut { disk.crash() } else { disk.kill() };
                    if let Err(text) = verify(&next, progress) {
                        panic!(
                            "{fault:?}, power cut {power_cut}: {text}\n{}",
                            last_events(&disk)
                        );
                    }
                    if !hit {
                        break;
                    }
                }
            }
        }
    }
}
