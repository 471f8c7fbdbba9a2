//! P2: the power is cut, the process killed, an operation fails, at every point of pushing, syncing, flushing and taking
//! the log over; tailed sources go on beside it (P1).

use std::time::Duration;

use disk::sim::{Class, EIO, ENOSPC, Fault, SimDisk};
use store::api::Store;

use crate::common::{
    self, Taken, append, catch_up, difference, durable, segment_files, taken, wanted,
};
use crate::util::{NEVER, open, options, push, push_items, push_until_taken, pushes_in};

/// Batches of each tailed source at the end.
const ALL: Taken = [5, 4];
/// Pushes offered in all.
const PUSHES: u64 = 44;

/// How far a scenario came.
#[derive(Debug, Default, Clone)]
struct Progress {
    /// Pushes that were acknowledged.
    acknowledged: Vec<u64>,
    /// Tailed batches covered by a flush that succeeded.
    flushed: Taken,
    done: bool,
}

/// Steps of a scenario.
enum Step {
    /// Pushes up to this number.
    Push(u64),
    /// Tailed batches up to these.
    Tail(Taken),
    Flush,
}

/// Three lives of a store. The ring has 15 blocks and each push is synced: it wraps, and asks for flushes.
fn scenario(disk: &SimDisk, interval: Duration, take: fn(&Store, u64) -> bool) -> Progress {
    use Step::{Flush, Push, Tail};
    let lives: [&[Step]; 3] = [
        &[Push(3), Tail([1, 1]), Push(5), Flush, Push(8)],
        &[Push(14), Tail([3, 1]), Flush, Push(34), Tail([3, 3])],
        &[Tail(ALL), Push(PUSHES)],
    ];
    let mut progress = Progress::default();
    let mut next = 1;
    for (life, steps) in lives.into_iter().enumerate() {
        let Ok(store) = Store::open(options(disk, interval)) else {
            return progress;
        };
        let done = run_steps(&store, steps, take, &mut next, &mut progress);
        // The first life ends without a flush: the second one takes the log over.
        let closed = life == 0 || store.close().is_ok();
        if !(done && closed) {
            return progress;
        }
    }
    progress.done = true;
    progress
}

fn run_steps(
    store: &Store,
    steps: &[Step],
    take: fn(&Store, u64) -> bool,
    next: &mut u64,
    progress: &mut Progress,
) -> bool {
    for step in steps {
        match step {
            Step::Push(until) => {
                while *next <= *until {
                    *next += 1;
                    if !take(store, *next - 1) {
                        return false;
                    }
                    progress.acknowledged.push(*next - 1);
                }
            }
            Step::Tail(until) => {
                let from = taken(&store.positions());
                for source in 0..from.len() {
                    for number in from[source] + 1..=until[source] {
                        append(store, source, number).expect("memory has room");
                    }
                }
            }
            Step::Flush => {
                let tailed = taken(&store.positions());
                if store.flush().is_err() {
                    return false;
                }
                progress.flushed = tailed;
            }
        }
    }
    true
}

/// One try; a flush that makes room is waited for.
fn once(store: &Store, number: u64) -> bool {
    match push(store, &push_items(number)) {
        Err(store::api::AppendError::Full) => {
            store.flush().is_ok() && push(store, &push_items(number)).is_ok()
        }
        result => result.is_ok(),
    }
}

fn patient(store: &Store, number: u64) -> bool {
    push_until_taken(store, &push_items(number)).is_ok()
}

/// Opens after the end of a scenario and compares: what was acknowledged is there, once; the rest once or not at all.
/// Then everything is sent again, and is there once.
fn verify(disk: &SimDisk, progress: &Progress, promised: bool) -> Result<(), String> {
    let store = open(disk).map_err(|e| format!("does not open: {e}"))?;
    store.flush().map_err(|e| format!("cannot flush: {e}"))?;
    let tailed = taken(&store.positions());
    let there = pushes_in(durable(disk), PUSHES)?;
    let lost = progress.acknowledged.iter().find(|n| !there.contains(n));
    if let (Some(lost), true) = (lost, promised) {
        return Err(format!("push {lost} is lost; there: {there:?}"));
    }
    for source in 0..tailed.len() {
        if tailed[source] < progress.flushed[source] {
            return Err(format!("positions {tailed:?} of {:?}", progress.flushed));
        }
    }
    for number in 1..=PUSHES {
        let pushed = push_until_taken(&store, &push_items(number))
            .map_err(|e| format!("push {number} again: {e}"))?;
        let all = push_items(number).len() as u64;
        let want = if there.contains(&number) { all } else { 0 };
        if pushed.duplicates != want {
            let found = pushed.duplicates;
            return Err(format!(
                "push {number} again: {found} of {want} duplicates found"
            ));
        }
    }
    catch_up(&store, ALL).map_err(|e| format!("cannot go on: {e}"))?;
    store.close().map_err(|e| format!("cannot close: {e}"))?;
    let found = durable(disk);
    let again = pushes_in(found.clone(), PUSHES)?;
    if again.len() as u64 != PUSHES {
        return Err(format!("after sending again: {again:?}"));
    }
    let tailed = found
        .into_iter()
        .filter(|item| item.line.starts_with("source"));
    match difference(&tailed.collect::<Vec<_>>(), &wanted(ALL)) {
        Some(text) => Err(format!("tailed entries: {text}")),
        None => Ok(()),
    }
}

fn fail(disk: &SimDisk, what: &str, text: &str) -> ! {
    let events = disk.events();
    let last = &events[events.len().saturating_sub(30)..];
    panic!("{what}: {text}\n{}", last.join("\n"));
}

#[test]
fn p2_a_power_cut_at_any_change_loses_no_acknowledged_push() {
    for seed in 0..3 {
        for n in 0.. {
            let disk = SimDisk::new(seed);
            disk.stop_after(n);
            let progress = scenario(&disk, Duration::ZERO, once);
            let after = disk.crash();
            if let Err(text) = verify(&after, &progress, true) {
                fail(&disk, &format!("seed {seed}, change {n}"), &text);
            }
            if progress.done {
                assert!(n > 100, "the scenario has more changes than {n}");
                break;
            }
        }
    }
}

#[test]
fn p2_a_kill_at_any_change_loses_no_acknowledged_push() {
    // Nothing is ever synced: what is in the page cache is enough.
    for n in 0.. {
        let disk = SimDisk::new(n);
        disk.stop_after(n);
        let progress = scenario(&disk, NEVER, once);
        if let Err(text) = verify(&disk.kill(), &progress, true) {
            fail(&disk, &format!("change {n}"), &text);
        }
        if progress.done {
            break;
        }
    }
}

#[test]
fn p2_a_power_cut_before_the_sync_leaves_whole_pushes_once_or_not_at_all() {
    for seed in 0..4 {
        for n in (0..).step_by(2) {
            let disk = SimDisk::new(seed + 100);
            disk.stop_after(n);
            let progress = scenario(&disk, NEVER, once);
            if let Err(text) = verify(&disk.crash(), &progress, false) {
                fail(&disk, &format!("seed {seed}, change {n}"), &text);
            }
            if progress.done {
                break;
            }
        }
    }
}

#[test]
fn p2_a_second_power_cut_while_taking_over_loses_and_repeats_nothing() {
    for n in (2..).step_by(7) {
        let disk = SimDisk::new(n);
        disk.stop_after(n);
        let progress = scenario(&disk, Duration::ZERO, once);
        for m in 0.. {
            let second = disk.crash();
            second.stop_after(m);
            let mut progress = progress.clone();
            if let Ok(store) = open(&second) {
                // A push in the second life, behind what it took over.
                if once(&store, PUSHES) {
                    progress.acknowledged.push(PUSHES);
                }
                let _ = store.close();
            }
            let completed = !second.is_off();
            if let Err(text) = verify(&second.crash(), &progress, true) {
                fail(&second, &format!("change {n}, then {m}"), &text);
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

#[test]
fn p2_any_failing_operation_loses_and_repeats_nothing() {
    for (class, errno) in [
        (Class::Change, EIO),
        (Class::Change, ENOSPC),
        (Class::Read, EIO),
    ] {
        for (sticky, power_cut) in [(false, true), (true, false), (true, true)] {
            for at in 0.. {
                let disk = SimDisk::new(at);
                let fault = Fault {
                    class,
                    at,
                    sticky,
                    errno,
                    partial: (at * 97 % 5000) as usize,
                };
                disk.inject(fault);
                let progress = scenario(&disk, Duration::ZERO, patient);
                let hit = disk.count(class) > at;
                disk.clear_faults();
                let next = if power_cut { disk.crash() } else { disk.kill() };
                if let Err(text) = verify(&next, &progress, true) {
                    fail(&disk, &format!("{fault:?}, power cut {power_cut}"), &text);
                }
                if !hit {
                    assert!(progress.done, "without a fault it completes");
                    break;
                }
            }
        }
    }
}

#[test]
fn after_a_failed_write_or_sync_pushes_go_on_without_a_restart() {
    for class in [Class::Write, Class::Sync] {
        for errno in [EIO, ENOSPC] {
            let disk = SimDisk::new(1);
            let store = open(&disk).expect("opens");
            push(&store, &push_items(1)).expect("taken");
            disk.inject(Fault {
                class,
                at: disk.count(class),
                sticky: false,
                errno,
                partial: 10,
            });
            push(&store, &push_items(2)).expect_err("the fault is reported");
            push_until_taken(&store, &push_items(2)).expect("taken after a flush");
            push(&store, &push_items(3)).expect("taken");
            let stats = store.stats();
            assert_eq!(stats.push_log.failures, 1, "{class:?} {errno}");
            assert!(stats.flushes[3] + stats.flushes[4] > 0);
            drop(store);
            let disk = disk.crash();
            let store = open(&disk).expect("opens again");
            store.close().expect("closes");
            assert_eq!(
                pushes_in(durable(&disk), 9),
                Ok(vec![1, 2, 3]),
                "{class:?} {errno}"
            );
        }
    }
}

#[test]
fn what_was_acknowledged_before_a_failed_sync_is_flushed_by_itself() {
    let disk = SimDisk::new(1);
    let store = Store::open(options(&disk, Duration::from_millis(1))).expect("opens");
    disk.inject(Fault {
        class: Class::Sync,
        // The file's own creation has two.
        at: disk.count(Class::Sync) + 2,
        sticky: false,
        errno: EIO,
        partial: 0,
    });
    push(&store, &push_items(1)).expect("taken");
    // The room is free again once the flush is done.
    while store.stats().push_log.failures == 0 {
        std::thread::yield_now();
    }
    wait_for_room(&store);
    assert_eq!(store.stats().sequence, 1);
    assert_eq!(store.stats().flushes[4], 1);
    push(&store, &push_items(2)).expect("goes on");
    drop(store);
}

fn wait_for_room(store: &Store) {
    crate::util::wait(store.room());
}

#[test]
fn a_full_disk_refuses_pushes_and_goes_on_when_there_is_space() {
    let disk = SimDisk::new(1);
    let store = Store::open(store::api::Options {
        push_log_size: 4 << 20,
        ..options(&disk, Duration::ZERO)
    })
    .expect("opens");
    push(&store, &push_items(1)).expect("taken");
    let used = |disk: &SimDisk| -> u64 {
        let files = disk.files();
        files
            .iter()
            .filter_map(|f| disk.contents(f))
            .map(|c| c.len() as u64)
            .sum()
    };
    disk.set_capacity(used(&disk) + 1000);
    // 255 blocks are left of the first step of the file; then it cannot grow.
    let mut taken = 1;
    let refused = loop {
        match push(&store, &push_items(taken + 1)) {
            Ok(_) => taken += 1,
            Err(e) => break e,
        }
        assert!(taken < 400, "the file grew without space");
    };
    assert!(refused.to_string().contains("space"), "{refused}");
    assert!(taken > 200, "{taken}");
    assert_eq!(store.stats().push_log.failures, 0);
    disk.set_capacity(1 << 30);
    push(&store, &push_items(taken + 1)).expect("goes on without a restart");
    drop(store);
    let disk = disk.crash();
    open(&disk).expect("opens").close().expect("closes");
    let all: Vec<u64> = (1..=taken + 1).collect();
    assert_eq!(pushes_in(durable(&disk), taken + 5), Ok(all));
}

#[test]
fn a_full_ring_asks_for_a_flush_and_a_quiet_log_stays_small() {
    let disk = SimDisk::new(1);
    let store = open(&disk).expect("opens");
    let path = std::path::Path::new(common::DIR).join("push.log");
    assert_eq!(disk.contents(&path), None, "made by the first push only");
    for number in 1..=200 {
        push_until_taken(&store, &push_items(number)).expect("taken");
        assert!(store.stats().push_log.used <= 60 << 10);
    }
    assert_eq!(disk.contents(&path).map(|c| c.len()), Some(64 << 10));
    assert!(store.stats().flushes[4] > 3, "{:?}", store.stats().flushes);
    store.close().expect("closes");
    assert_eq!(store.stats().push_log.used, 0);
    assert!(segment_files(&disk).len() < 40);
    assert_eq!(pushes_in(durable(&disk), 200).map(|p| p.len()), Ok(200));

    let disk = SimDisk::new(2);
    let large = |disk: &SimDisk| store::api::Options {
        push_log_size: 16 << 20,
        ..options(disk, Duration::ZERO)
    };
    for _ in 0..3 {
        let store = Store::open(large(&disk)).expect("opens");
        for number in 1..=150 {
            push(&store, &push_items(number)).expect("taken");
        }
        store.flush().expect("flushes");
        for number in 151..=300 {
            push(&store, &push_items(number)).expect("taken");
        }
        store.close().expect("closes");
    }
    let len = disk.contents(&path).map(|c| c.len());
    assert_eq!(len, Some((1 << 20) + 4096), "one step");
    assert_eq!(pushes_in(durable(&disk), 300).map(|p| p.len()), Ok(300));
}

#[test]
fn pushes_within_one_interval_share_a_sync_and_nothing_wakes_without_one() {
    let disk = SimDisk::new(1);
    let store = Store::open(options(&disk, NEVER)).expect("opens");
    for number in 1..=20 {
        push(&store, &push_items(number)).expect("taken");
    }
    let stats = store.stats().push_log;
    assert_eq!((stats.records, stats.syncs), (20, 0));
    // Small records follow each other within a block.
    assert!(stats.used < 20 * 512, "{stats:?}");
    drop(store);
    let disk = disk.kill();
    let store = Store::open(options(&disk, NEVER)).expect("opens");
    let stats = store.stats().push_log;
    assert_eq!(stats.replayed_records, 20);
    store.close().expect("closes");
    let all: Vec<u64> = (1..=20).collect();
    assert_eq!(pushes_in(durable(&disk), 20), Ok(all));
}
