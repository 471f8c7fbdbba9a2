//! P1 in the store: the power is cut at every change of opening, three flushes, closing and reopening; whatever was
//! acknowledged is there afterwards, whatever is there agrees with the positions, and going on from the positions
//! loses and repeats nothing. Then the same for every failing operation.

mod common;

use common::{Taken, append, catch_up, difference, durable, open, taken, wanted};
use disk::sim::{Class, EIO, ENOSPC, Fault, SimDisk};
use store::api::Store;

/// Batches of each source at the end of the scenario.
const ALL: Taken = [9, 8];
/// Seeds for every cut.
const SEEDS: u64 = 12;

/// How far a scenario came.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Progress {
    /// Batches covered by a flush that succeeded.
    acknowledged: Taken,
    /// Batches that a flush may have written.
    offered: Taken,
    done: bool,
}

/// Opens, appends and flushes three times, closes, and does the last part after a reopening.
fn scenario(disk: &SimDisk) -> Progress {
    let mut progress = Progress::default();
    let steps: [&[Taken]; 2] = [&[[3, 2], [3, 5], [7, 5]], &[[9, 6], ALL]];
    for steps in steps {
        let Ok(store) = open(disk) else {
            return progress;
        };
        let done = run_steps(&store, steps, &mut progress);
        // Always, so that no thread stays behind; without power it fails, which is not the point here.
        let closed = store.close().is_ok();
        if !(done && closed) {
            return progress;
        }
    }
    progress.done = true;
    progress
}

fn run_steps(store: &Store, steps: &[Taken], progress: &mut Progress) -> bool {
    for step in steps {
        let from = taken(&store.positions());
        for source in 0..from.len() {
            for number in from[source] + 1..=step[source] {
                append(store, source, number).expect("memory has room");
            }
        }
        progress.offered = *step;
        if store.flush().is_err() {
            return false;
        }
        progress.acknowledged = *step;
    }
    true
}

/// Opens the store on a disk after a crash and compares; then goes on to the end and compares again.
fn verify(disk: &SimDisk, progress: Progress) -> Result<(), String> {
    let store = open(disk).map_err(|e| format!("does not open: {e}"))?;
    let got = taken(&store.positions());
    let found = durable(disk);
    for source in 0..got.len() {
        if got[source] < progress.acknowledged[source] || got[source] > progress.offered[source] {
            return Err(format!("positions {got:?}, but {progress:?}"));
        }
    }
    if let Some(text) = difference(&found, &wanted(got)) {
        return Err(format!("entries do not match positions {got:?}: {text}"));
    }
    catch_up(&store, ALL).map_err(|e| format!("cannot go on: {e}"))?;
    store.close().map_err(|e| format!("cannot close: {e}"))?;
    match difference(&durable(disk), &wanted(ALL)) {
        Some(text) => Err(format!("after going on: {text}")),
        None => Ok(()),
    }
}

fn fail(disk: &SimDisk, seed: u64, n: u64, text: &str) -> ! {
    let events = disk.events();
    let last = &events[events.len().saturating_sub(25)..];
    panic!("seed {seed}, change {n}: {text}\n{}", last.join("\n"));
}

#[test]
fn p1_a_power_cut_at_any_change_loses_and_repeats_nothing() {
    for seed in 0..SEEDS {
        for n in 0.. {
            let disk = SimDisk::new(seed);
            disk.stop_after(n);
            let progress = scenario(&disk);
            let after = disk.crash();
            if let Err(text) = verify(&after, progress) {
                fail(&disk, seed, n, &text);
            }
            if progress.done {
                assert!(n > 30, "the scenario has more changes than {n}");
                break;
            }
        }
    }
}

#[test]
fn p1_a_second_power_cut_while_starting_again_loses_and_repeats_nothing() {
    for seed in 0..2 {
        for n in (0..).step_by(3) {
            let disk = SimDisk::new(seed);
            disk.stop_after(n);
            let progress = scenario(&disk);
            for m in 0.. {
                // A crash is drawn anew each time, from a disk that is off.
                let second = disk.crash();
                second.stop_after(m);
                let mut offered = progress;
                if let Ok(store) = open(&second) {
                    let before = taken(&store.positions());
                    offered.acknowledged = before;
                    offered.offered = ALL;
                    if catch_up(&store, ALL).is_ok() {
                        offered.acknowledged = ALL;
                    }
                    let _ = store.close();
                }
                // A first start may have seen names and bytes that were never synced: nobody was told of them.
                offered.acknowledged = match offered.acknowledged {
                    ALL => ALL,
                    _ => progress.acknowledged,
                };
                let completed = !second.is_off();
                if let Err(text) = verify(&second.crash(), offered) {
                    fail(&second, seed, n * 1000 + m, &text);
                }
                if completed {
                    break;
                }
            }
            if progress.done {
                break;
            }
        }
    }
}

#[test]
fn p1_a_kill_at_any_change_loses_and_repeats_nothing() {
    for n in 0.. {
        let disk = SimDisk::new(n);
        disk.stop_after(n);
        let progress = scenario(&disk);
        if let Err(text) = verify(&disk.kill(), progress) {
            fail(&disk, n, n, &text);
        }
        if progress.done {
            break;
        }
    }
}

/// Runs the scenario with a fault, lets the store go on as far as it can, and checks before and after a restart.
fn survive(fault: Fault, power_cut: bool) -> Result<bool, String> {
    let disk = SimDisk::new(fault.at);
    disk.inject(fault);
    let mut progress = scenario(&disk);
    let hit = disk.count(fault.class) > fault.at;
    disk.clear_faults();
    // What failed may have been written nevertheless.
    progress.offered = ALL.map(|n| n.max(1));
    let next = if power_cut { disk.crash() } else { disk.kill() };
    verify(&next, progress).map_err(|text| {
        let events = disk.events();
        let last = &events[events.len().saturating_sub(25)..];
        format!(
            "{fault:?}, power cut {power_cut}: {text}\n{}",
            last.join("\n")
        )
    })?;
    Ok(hit)
}

#[test]
fn p1_any_failing_operation_loses_and_repeats_nothing() {
    for class in [Class::Change, Class::Read] {
        for errno in [EIO, ENOSPC] {
            for (sticky, power_cut) in [(false, false), (false, true), (true, true)] {
                for at in 0.. {
                    let fault = Fault {
                        class,
                        at,
                        sticky,
                        errno,
                        partial: (at * 97 % 600) as usize,
                    };
                    match survive(fault, power_cut) {
                        Ok(true) => {}
                        Ok(false) => break,
                        Err(text) => panic!("{text}"),
                    }
                }
            }
        }
    }
}

/// One store, a fault in the middle, and no restart: asked again, it writes everything.
fn goes_on(fault: impl Fn(&SimDisk), heal: impl Fn(&SimDisk)) {
    let disk = SimDisk::new(3);
    let store = open(&disk).expect("opens");
    catch_up(&store, [2, 2]).expect("flushes");
    fault(&disk);
    catch_up(&store, [4, 5]).expect_err("the fault is reported");
    assert!(store.stats().flush_errors >= 1);
    assert_eq!(durable(&disk), wanted([2, 2]), "nothing torn in place");
    heal(&disk);
    catch_up(&store, [6, 6]).expect("goes on without a restart");
    store.close().expect("closes");
    assert_eq!(difference(&durable(&disk), &wanted([6, 6])), None);
    let disk = disk.crash();
    assert_eq!(difference(&durable(&disk), &wanted([6, 6])), None);
}

#[test]
fn a_full_disk_is_survived_without_a_restart() {
    let used = |disk: &SimDisk| -> u64 {
        let files = disk.files();
        let len = |path: &std::path::PathBuf| disk.contents(path).map_or(0, |c| c.len() as u64);
        files.iter().map(len).sum()
    };
    for room in [0, 1, 100, 511, 700] {
        goes_on(
            |disk| disk.set_capacity(used(disk) + room),
            |disk| disk.set_capacity(1 << 30),
        );
    }
}

#[test]
fn every_failing_change_of_a_flush_is_survived_without_a_restart() {
    // Of a flush, the last change is the sync of the directory; the segment is in place then, so only what comes
    // before it leaves the folder as it was.
    for class in [Class::Write, Class::Sync] {
        for errno in [EIO, ENOSPC] {
            goes_on(
                |disk| {
                    disk.inject(Fault {
                        class,
                        at: disk.count(class),
                        sticky: false,
                        errno,
                        partial: 77,
                    });
                },
                SimDisk::clear_faults,
            );
        }
    }
}
