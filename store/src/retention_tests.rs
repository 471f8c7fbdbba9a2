use std::path::Path;
use std::sync::Arc;

use disk::sim::{Class, EIO, Fault, SimDisk};
use disk::{Disk, Mode, Purpose};
use wire::{Batch, Entry, LabelSet, SourcePosition};

use super::*;
use crate::api::{Options, Store, Tuning};
use crate::clock::sim::SimClock;
use crate::clock::{Kept, Timekeeper, Trust};

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// 2026-11-26, ns.
const NOW: i64 = 1_795_651_200_000_000_000;
const MONTHS: i64 = 90 * 86_400 * 1_000_000_000;
/// EDQUOT.
const EDQUOT: i32 = 122;

/// A store on simulated disk and clock.
struct Node {
    disk: SimDisk,
    clock: Arc<SimClock>,
    trust: Trust,
    retention: Retention,
    store: Store,
    written: u64,
}

impl Node {
    fn new(retention: Retention, trust: Trust, wall: i64, kept: Kept) -> Node {
        let disk = SimDisk::new(1);
        let clock = Arc::new(SimClock::new(wall, kept));
        let store = open(&disk, &clock, trust, retention);
        Node {
            disk,
            clock,
            trust,
            retention,
            store,
            written: 0,
        }
    }

    /// Keeps everything unless the disk is full.
    fn until_full() -> Node {
        let retention = Retention {
            min_free: Some(Share::Bytes(1)),
            ..Retention::default()
        };
        Node::new(retention, Trust::Auto, NOW, Synchronised)
    }

    /// Keeps everything for a week.
    fn week(trust: Trust, wall: i64, kept: Kept) -> Node {
        let retention = Retention {
            period: Some(7 * DAY),
            ..Retention::default()
        };
        Node::new(retention, trust, wall, kept)
    }

    /// One segment with one entry. Its timestamp says nothing: every other one is from 1970.
    fn segment(&mut self) {
        self.written += 1;
        append(&self.store, self.written);
        self.store.flush().unwrap();
    }

    fn segments(&self) -> u64 {
        self.store.segments().len() as u64
    }

    fn entries(&self) -> u64 {
        self.store.segments().iter().map(|s| s.entries).sum()
    }

    fn removed(&self, reason: Reason) -> Removed {
        self.store.stats().removed[reason as usize]
    }

    /// Kills the process and starts it again, on a machine whose clock goes on.
    fn restart(&mut self) {
        self.disk = self.disk.kill();
        self.store = open(&self.disk, &self.clock, self.trust, self.retention);
    }

    /// The positions say what was written, whatever was removed; also after a restart.
    fn check_positions(&mut self) {
        for _ in 0..2 {
            let want = self.written.to_le_bytes().to_vec();
            assert_eq!(self.store.positions(), [(b"source".to_vec(), want)]);
            self.restart();
        }
    }
}

fn open(disk: &SimDisk, clock: &Arc<SimClock>, trust: Trust, retention: Retention) -> Store {
    Store::open(Options {
        head_bytes: 1 << 20,
        tuning: Tuning {
            flush_interval: DAY,
            retention,
            ..Tuning::default()
        },
        clock: Timekeeper::new(clock.clone(), trust),
        ..Options::new("/data", Arc::new(disk.clone()))
    })
    .unwrap()
}

fn append(store: &Store, number: u64) {
    let set = LabelSet::from_pairs([("app", format!("app-{number}"))]).unwrap();
    let line = format!("entry {number} {}", "x".repeat(500));
    let metadata = LabelSet::default();
    let entry = Entry {
        stream: 0,
        ts: if number.is_multiple_of(2) { NOW } else { 1_000 },
        line: line.as_bytes(),
        metadata: metadata.as_ref(),
    };
    let position = number.to_le_bytes();
    let batch = Batch {
        streams: &[&set],
        entries: &[entry],
        source: Some(SourcePosition {
            key: b"source",
            position: Some(&position),
        }),
    };
    store.append(&batch).unwrap();
}

/// What happens to a node.
#[derive(Debug, Clone, Copy)]
enum Event {
    Set(i64, Kept),
    Pass(Duration),
    Reboot(i64, Kept),
}
use Event::{Pass, Reboot, Set};
use Kept::{Synchronised, Unknown, Unsynchronised};

/// Nothing may be removed by age in the whole of a story, with or without a restart of the process after each event. A
/// week after the clock is right for good everything is: the story can fail.
fn check_nothing_is_removed(name: &str, trust: Trust, start: (i64, Kept), events: &[Event]) {
    for restarts in [false, true] {
        let mut node = Node::week(trust, start.0, start.1);
        for event in [Pass(Duration::ZERO)].iter().chain(events) {
            match *event {
                Set(wall, kept) => node.clock.set(wall, kept),
                Pass(time) => node.clock.pass(time),
                Reboot(wall, kept) => {
                    node.clock.reboot(wall, kept);
                    node.restart();
                }
            }
            if restarts {
                node.restart();
            }
            for look in 0..2 {
                node.store.retain();
                assert_eq!(node.segments(), node.written, "{name}: {event:?} {look}");
                node.segment();
            }
        }
        node.clock.set(NOW + MONTHS, Synchronised);
        node.store.retain();
        node.clock.pass(2 * HOUR);
        node.store.retain();
        assert!(node.segments() > 0, "{name}: the jump is held");
        node.segment();
        node.clock.pass(8 * DAY);
        node.store.retain();
        assert_eq!(node.entries(), 0, "{name}: in the end all is old");
        assert_eq!(node.segments(), 1, "{name}: positions alone");
        node.check_positions();
    }
}

const fn hours(n: u64) -> Duration {
    Duration::from_secs(n * 3600)
}

const fn days(n: u64) -> Duration {
    hours(24 * n)
}

/// Where a saved clock left off.
const SAVED: i64 = NOW - MONTHS;

/// Name, who vouches for the clock, what it shows at first, and what happens.
type Story = (&'static str, Trust, (i64, Kept), &'static [Event]);

const STORIES: &[Story] = &[
    (
        "1970 until a time server answers",
        Trust::Auto,
        (1_000, Unsynchronised),
        &[Pass(days(30)), Set(NOW, Synchronised), Pass(days(6))],
    ),
    (
        "a saved clock months behind, then right",
        Trust::Auto,
        (SAVED, Unsynchronised),
        &[
            Pass(HOUR),
            Set(NOW, Synchronised),
            Pass(HOUR),
            Pass(days(6)),
        ],
    ),
    (
        "a jump ahead and back",
        Trust::Auto,
        (NOW, Synchronised),
        &[
            Pass(hours(2)),
            Set(NOW + MONTHS, Synchronised),
            Pass(Duration::from_secs(1800)),
            Set(NOW + 3_600_000_000_000, Synchronised),
            Pass(hours(2)),
            Pass(days(5)),
        ],
    ),
    (
        "years ahead without a time server",
        Trust::Auto,
        (NOW + 20 * MONTHS, Unsynchronised),
        &[
            Pass(days(30)),
            Set(NOW, Synchronised),
            Pass(hours(2)),
            Pass(days(5)),
        ],
    ),
    (
        "nobody may ask",
        Trust::Auto,
        (NOW, Unknown),
        &[Pass(days(300)), Pass(days(300)), Set(NOW, Unknown)],
    ),
    (
        "reboots into the past",
        Trust::Auto,
        (NOW, Synchronised),
        &[
            Pass(hours(2)),
            Reboot(0, Unsynchronised),
            Pass(DAY),
            Reboot(SAVED, Unsynchronised),
            Set(NOW + 86_400_000_000_000, Synchronised),
            Pass(hours(2)),
        ],
    ),
    (
        "a hardware clock that lost its battery",
        Trust::Always,
        (NOW, Unsynchronised),
        &[
            Pass(hours(2)),
            Reboot(1_000, Unsynchronised),
            Pass(days(30)),
            Reboot(SAVED, Unsynchronised),
            Pass(hours(2)),
        ],
    ),
];

#[test]
fn p10_a_wrong_clock_deletes_nothing() {
    for (name, trust, start, events) in STORIES {
        check_nothing_is_removed(name, *trust, *start, events);
    }
}

#[test]
fn p10_max_disk_never_asks_the_clock() {
    for (start, kept) in [
        (1_000, Unsynchronised),
        (NOW - MONTHS, Unsynchronised),
        (NOW, Synchronised),
        (NOW, Unknown),
    ] {
        let mut node = Node::week(Trust::Auto, start, kept);
        node.segment();
        let one = node.store.stats().store_bytes;
        node.retention.max_disk = Some(Share::Bytes(5 * one));
        node.restart();
        for n in 0..40 {
            if n == 20 {
                node.clock.set(start + MONTHS, Synchronised);
            }
            node.segment();
            let bytes = node.store.stats().store_bytes;
            assert!(bytes <= 5 * one, "{bytes} of {}", 5 * one);
        }
        let kept = node.segments();
        let left: Vec<u64> = node.store.segments().iter().map(|s| s.sequence).collect();
        let last = *left.last().unwrap();
        let want: Vec<u64> = (last + 1 - kept..=last).collect();
        assert_eq!(left, want, "the lowest sequences went");
        assert!(kept >= 3, "{kept}");
        let removed = node.removed(Reason::MaxDisk);
        assert_eq!(removed.segments + kept, node.written);
        assert_eq!(removed.entries + kept, node.written);
        assert_eq!(node.removed(Reason::Age), Removed::default());
        node.check_positions();
    }
}

#[test]
fn evidence_of_later_segments_dates_those_without() {
    const W: i64 = 100;
    let check = |times: &[Option<i64>], now: i64, want: &str| {
        let item = |(sequence, written_at): (usize, &Option<i64>)| Item {
            sequence: sequence as u64,
            bytes: 1,
            entries: 1,
            written_at: *written_at,
        };
        let mut items: Vec<Item> = times.iter().enumerate().map(item).collect();
        let newest = items.pop();
        let (flags, last) = expired(&items, newest, now, now - W);
        let got: String = flags
            .iter()
            .chain([&last])
            .map(|old| if *old { 'x' } else { '.' })
            .collect();
        assert_eq!(got, want, "{times:?} at {now}");
    };
    check(&[Some(10), Some(20), Some(30)], 125, "xx.");
    check(&[Some(10), Some(20), Some(30)], 100, "...");
    check(&[Some(10), Some(20), Some(30)], 500, "xxx");
    // Without evidence of its own: as old as the next that has some; new without one.
    check(&[None, Some(20), None, Some(60)], 140, "xx..");
    check(&[None, None, None], 1_000_000, "...");
    check(&[Some(10), None], 1_000, "x.");
    // A time in the future is no evidence.
    check(&[Some(900), Some(20), Some(60)], 130, "xx.");
    check(&[Some(10), Some(900)], 500, "x.");
}

#[test]
fn min_free_makes_room_for_others_until_nothing_is_left() {
    let retention = Retention {
        min_free: Some(Share::Percent(20)),
        ..Retention::default()
    };
    let mut node = Node::new(retention, Trust::Auto, 1_000, Unsynchronised);
    for _ in 0..10 {
        node.segment();
    }
    let used = node.store.stats().store_bytes;
    node.disk.set_capacity(10 * used);
    node.store.retain();
    assert_eq!(node.segments(), 10);
    // Others take all but a fifth and a bit less than three segments.
    let other = Path::new("/other");
    let file = node.disk.open(other, Mode::CreateNew, Purpose::State);
    let file = file.unwrap();
    file.set_len(7 * used + used / 4).unwrap();
    node.store.retain();
    let stats = node.store.stats();
    assert_eq!(node.segments(), 7);
    assert!(!stats.min_free_unmet);
    assert_eq!(stats.removed[Reason::MinFree as usize].segments, 3);
    file.set_len(10 * used - 7 * used / 10).unwrap();
    // What was given back a moment ago may still be held by a query, and counts as free.
    node.store.inner.lock().upkeep.freed = None;
    node.store.retain();
    assert_eq!((node.segments(), node.entries()), (1, 0));
    assert!(node.store.stats().min_free_unmet);
    node.check_positions();
}

#[test]
fn a_full_disk_costs_the_oldest_segments_and_no_flush() {
    let mut node = Node::until_full();
    for _ in 0..20 {
        node.segment();
    }
    let used = node.store.stats().store_bytes;
    node.disk.set_capacity(used + 100);
    node.segment();
    let stats = node.store.stats();
    assert!(stats.disk_full >= 1);
    assert_eq!(stats.flush_errors, 0);
    let removed = node.removed(Reason::Full);
    assert!(removed.segments >= 1);
    assert_eq!(removed.entries + node.entries(), node.written);
    assert_eq!(node.store.segments().last().unwrap().sequence, node.written);
    // Others leave less: all but the newest goes, then the flush fails and says why.
    node.disk.set_capacity(1);
    append(&node.store, 22);
    let error = node.store.flush().unwrap_err();
    assert!(error.to_string().contains("space"), "{error}");
    assert_eq!(node.entries(), 1);
    node.disk.set_capacity(1 << 30);
    node.store.flush().unwrap();
    node.written = 22;
    assert_eq!(node.entries(), 2);
    node.check_positions();
}

#[test]
fn a_quota_is_a_full_disk_and_a_failing_device_is_not() {
    for (errno, full) in [(EDQUOT, true), (EIO, false)] {
        let mut node = Node::until_full();
        node.segment();
        node.segment();
        node.disk.inject(Fault {
            class: Class::Write,
            at: node.disk.count(Class::Write),
            sticky: false,
            errno,
            partial: 10,
        });
        append(&node.store, 3);
        assert_eq!(node.store.flush().is_ok(), full, "{errno}");
        assert_eq!(node.removed(Reason::Full).segments, u64::from(full));
        node.store.flush().unwrap();
        node.written = 3;
        node.check_positions();
    }
}

#[test]
fn a_file_that_cannot_be_removed_is_removed_later_and_counted_once() {
    let retention = Retention {
        max_disk: Some(Share::Bytes(1 << 20)),
        ..Retention::default()
    };
    let mut node = Node::new(retention, Trust::Auto, NOW, Synchronised);
    node.segment();
    node.disk.inject(Fault {
        class: Class::Change,
        at: node.disk.count(Class::Change),
        sticky: true,
        errno: EIO,
        partial: 0,
    });
    let dead = |node: &Node| node.store.inner.lock().upkeep.dead.len();
    node.store.inner.lock().upkeep.dead.push(Dead {
        sequence: 77,
        bytes: 1 << 20,
        entries: 5,
    });
    for _ in 0..3 {
        node.store.retain();
        assert_eq!(dead(&node), 1);
        assert_eq!(node.removed(Reason::MaxDisk), Removed::default());
    }
    node.disk.clear_faults();
    for _ in 0..3 {
        node.store.retain();
        assert_eq!(dead(&node), 0);
        assert_eq!(node.removed(Reason::MaxDisk).entries, 5);
    }
    assert_eq!(node.entries(), 1);
}

#[test]
fn damaged_segments_go_when_their_turn_comes() {
    let mut node = Node::new(Retention::default(), Trust::Auto, NOW, Synchronised);
    for _ in 0..4 {
        node.segment();
    }
    let path = Path::new("/data/segments").join(segment::file_name(1));
    let bytes = vec![0; node.disk.contents(&path).unwrap().len()];
    node.disk.overwrite(&path, &bytes);
    node.restart();
    assert_eq!(node.segments(), 3);
    let all = node.store.stats().store_bytes;
    node.retention.max_disk = Some(Share::Bytes(all - 1));
    node.restart();
    node.store.retain();
    assert_eq!(node.segments(), 3);
    assert!(node.disk.contents(&path).is_none());
    let removed = node.removed(Reason::MaxDisk);
    assert_eq!((removed.segments, removed.entries), (1, 0));
}

#[test]
fn without_a_rule_for_space_a_full_disk_costs_nothing() {
    let mut node = Node::new(Retention::default(), Trust::Auto, NOW, Synchronised);
    for _ in 0..3 {
        node.segment();
    }
    node.disk.set_capacity(1);
    append(&node.store, 4);
    node.store.flush().unwrap_err();
    assert_eq!(node.segments(), 3);
    assert!(node.store.stats().disk_full >= 1);
    node.disk.set_capacity(1 << 30);
    node.store.flush().unwrap();
    node.written = 4;
    node.check_positions();
}
