//! P9: the bytes of the log are anything. The rest of the store opens and answers; what is taken over are whole pushes,
//! each once.

use disk::sim::SimDisk;
use store::api::{OpenError, Options, Store};

use crate::common::{DIR, durable};
use crate::util::{NEVER, open, options, push, push_items, pushes_in};

/// Pushes in the log; the first three are in a segment too.
const PUSHES: u64 = 12;

fn log() -> std::path::PathBuf {
    std::path::Path::new(DIR).join("push.log")
}

/// A killed store's disk and the bytes of its log.
fn killed(synced: bool) -> (SimDisk, Vec<u8>) {
    let disk = SimDisk::new(1);
    let interval = if synced {
        std::time::Duration::ZERO
    } else {
        NEVER
    };
    let store = Store::open(options(&disk, interval)).expect("opens");
    for number in 1..=PUSHES {
        push(&store, &push_items(number)).expect("taken");
        if number == 3 {
            store.flush().expect("flushes");
        }
    }
    drop(store);
    let disk = disk.kill();
    let bytes = disk.contents(&log()).expect("the log");
    (disk, bytes)
}

/// Opens with these bytes, and gives the pushes that are there.
fn survivors(synced: bool, what: &str, damage: impl FnOnce(&mut Vec<u8>)) -> Vec<u64> {
    let (disk, mut bytes) = killed(synced);
    damage(&mut bytes);
    disk.overwrite(&log(), &bytes);
    let store = open(&disk).unwrap_or_else(|e| panic!("{what}: {e}"));
    // It goes on, whatever there was.
    push(&store, &push_items(PUSHES + 1)).unwrap_or_else(|e| panic!("{what}: {e}"));
    drop(store);
    let disk = disk.crash();
    let store = open(&disk).unwrap_or_else(|e| panic!("{what}, again: {e}"));
    store.close().unwrap_or_else(|e| panic!("{what}: {e}"));
    let mut there = pushes_in(durable(&disk), PUSHES + 1).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert_eq!(there.pop(), Some(PUSHES + 1), "{what}");
    let prefix: Vec<u64> = (1..=there.len() as u64).collect();
    assert_eq!(there, prefix, "{what}: what is there begins at the first");
    assert!(there.len() >= 3, "{what}: segments are untouched");
    there
}

#[test]
fn p9_damage_to_the_log_costs_what_follows_it_at_most() {
    let all: Vec<u64> = (1..=PUSHES).collect();
    for synced in [true, false] {
        assert_eq!(survivors(synced, "untouched", |_| {}), all);
        let (_, whole) = killed(synced);
        let used = whole.iter().rposition(|b| *b != 0).expect("not empty") + 1;
        for at in (0..used).step_by(61) {
            survivors(synced, &format!("flip {at}"), |b| b[at] ^= 1 << (at % 8));
        }
        for len in (0..used).step_by(977) {
            survivors(synced, &format!("cut {len}"), |b| b.truncate(len));
        }
        for at in (0..used).step_by(4096) {
            let end = (at + 4096).min(whole.len());
            survivors(synced, &format!("zeros {at}"), |b| b[at..end].fill(0));
            for from in (0..used).step_by(4096 * 3) {
                survivors(synced, &format!("splice {from} {at}"), |b| {
                    let block = b[from..from + 4096].to_vec();
                    b[at..at + 4096].copy_from_slice(&block);
                });
            }
        }
        let noise = |b: &mut Vec<u8>| {
            for (i, byte) in b[4096..].iter_mut().enumerate() {
                *byte = ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8;
            }
        };
        assert_eq!(survivors(synced, "noise", noise), [1, 2, 3]);
    }
}

#[test]
fn a_damaged_header_puts_the_file_aside_and_a_newer_one_stops_the_start() {
    let (disk, mut bytes) = killed(true);
    bytes[9] ^= 1;
    disk.overwrite(&log(), &bytes);
    let store = open(&disk).expect("opens");
    assert_eq!(store.stats().push_log.skipped, 1);
    push(&store, &push_items(PUSHES + 1)).expect("taken");
    let aside = disk.contents(&log().with_extension("log.damaged"));
    assert_eq!(aside, Some(bytes), "kept");
    drop(store);

    let (disk, mut bytes) = killed(true);
    bytes[8] = 2;
    let sum = xxhash_rust::xxh3::xxh3_64(&bytes[..20]);
    bytes[20..28].copy_from_slice(&sum.to_le_bytes());
    disk.overwrite(&log(), &bytes);
    match open(&disk) {
        Err(OpenError::Newer { file, found: 2, .. }) => assert!(file.ends_with("push.log")),
        other => panic!("{other:?}"),
    }
    assert_eq!(disk.contents(&log()), Some(bytes), "untouched");
}

#[test]
fn a_deleted_log_or_one_of_another_size_is_made_anew() {
    let (disk, _) = killed(true);
    disk::Disk::remove(&disk, &log()).expect("removed");
    let store = open(&disk).expect("opens");
    push(&store, &push_items(4)).expect("taken");
    drop(store);
    let disk = disk.kill();
    let larger = Options {
        push_log_size: 256 << 10,
        ..options(&disk, std::time::Duration::ZERO)
    };
    // The old file holds something: it stays until that is flushed.
    let store = Store::open(larger).expect("opens");
    push(&store, &push_items(5)).expect("taken");
    assert_eq!(disk.contents(&log()).map(|c| c.len()), Some(64 << 10));
    store.flush().expect("flushes");
    push(&store, &push_items(6)).expect("taken");
    assert_eq!(disk.contents(&log()).map(|c| c.len()), Some(256 << 10));
    drop(store);
    let disk = disk.crash();
    open(&disk).expect("opens").close().expect("closes");
    assert_eq!(pushes_in(durable(&disk), 20), Ok(vec![1, 2, 3, 4, 5, 6]));
}

#[test]
fn a_smaller_head_takes_over_what_a_larger_one_wrote() {
    let disk = SimDisk::new(1);
    let large = Options {
        head_bytes: 16 << 20,
        push_log_size: 16 << 20,
        ..options(&disk, std::time::Duration::ZERO)
    };
    let store = Store::open(large).expect("opens");
    let long = crate::common::Item {
        stream: "push-0".into(),
        ts: 5,
        line: "x".repeat(900 << 10),
    };
    push(&store, std::slice::from_ref(&long)).expect("taken");
    drop(store);
    let disk = disk.crash();
    let store = open(&disk).expect("opens");
    assert_eq!(store.stats().push_log.replayed_entries, 1);
    store.close().expect("closes");
    assert_eq!(durable(&disk), [long]);
}

#[test]
fn what_a_damaged_segment_held_comes_from_the_log_as_far_as_it_is_there() {
    let (disk, _) = killed(true);
    let segment = crate::common::segment_files(&disk).pop().expect("one");
    let mut bytes = disk.contents(&segment).expect("there");
    bytes.fill(7);
    disk.overwrite(&segment, &bytes);
    let store = open(&disk).expect("opens");
    store.close().expect("closes");
    disk::Disk::remove(&disk, &segment).expect("the damaged one");
    // The ring was begun anew after the flush: the first push was overwritten, and what follows from there on is whole.
    let there = pushes_in(durable(&disk), PUSHES).expect("whole pushes");
    let all: Vec<u64> = (4..=PUSHES).collect();
    assert!(there.ends_with(&all), "{there:?}");
}
