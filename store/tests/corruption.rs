//! P9 in the store: every byte of a segment is damaged in several ways. Reading it gives an error or fewer entries,
//! never wrong ones, never a panic; damage in one block costs that block, and damage outside the blocks costs nothing.
//! Verifying reports it in any case.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use common::{Item, append_items, durable, open, read_segment, segment_files};
use disk::sim::SimDisk;
use store::segment::{self, Reader};

/// A store with one segment: two loud streams with blocks of their own, quiet ones in a shared block.
fn sample() -> (SimDisk, PathBuf, Vec<Item>) {
    let disk = SimDisk::new(1);
    let store = open(&disk).expect("opens");
    let mut items = Vec::new();
    for i in 0..900u64 {
        let stream = match i % 30 {
            0 => format!("quiet-{}", i / 30 % 5),
            n => format!("loud-{}", n % 2),
        };
        items.push(Item {
            stream,
            ts: 1_700_000_000_000_000_000 + i as i64 * 77_777_777,
            line: format!("GET /things/{} 200 {}", i % 7, "abcdefgh".repeat(9)),
        });
    }
    for (n, part) in items.chunks(100).enumerate() {
        append_items(&store, 0, n as u64 + 1, part).expect("appends");
    }
    store.flush().expect("flushes");
    store.close().expect("closes");
    items.sort();
    assert_eq!(durable(&disk), items);
    let files = segment_files(&disk);
    assert_eq!(files.len(), 1);
    (disk, files[0].clone(), items)
}

/// Blocks as ranges of the file, with their number of entries.
fn blocks(disk: &SimDisk, path: &Path) -> Vec<(usize, usize, usize)> {
    let reader = Reader::open(disk, path).expect("opens");
    let mut rows = reader.chunks().expect("chunks");
    rows.sort_by_key(|c| c.block_offset);
    let mut blocks: Vec<(usize, usize, usize)> = Vec::new();
    for row in rows {
        let (from, to) = (
            row.block_offset as usize,
            row.block_offset as usize + row.block_bytes as usize,
        );
        match blocks.last_mut() {
            Some(last) if last.0 == from => last.2 += row.entries as usize,
            _ => blocks.push((from, to, row.entries as usize)),
        }
    }
    blocks
}

/// How many entries are left; none is wrong or repeated. `None` if the segment cannot be read at all.
fn left(disk: &SimDisk, path: &Path, truth: &BTreeSet<&Item>, what: &str) -> Option<usize> {
    // A report or an error; what matters is that it ends.
    let _ = segment::verify(disk, path);
    let content = read_segment(disk, path).ok()?;
    let found: BTreeSet<&Item> = content.items.iter().collect();
    assert_eq!(found.len(), content.items.len(), "{what}: repeated entries");
    assert!(found.is_subset(truth), "{what}: wrong entries");
    Some(found.len())
}

#[test]
fn p9_any_damaged_byte_costs_at_most_its_block() {
    let (disk, path, items) = sample();
    let whole = disk.contents(&path).expect("the file");
    assert_eq!(
        segment::verify(&disk, &path).expect("whole").damage,
        [""; 0]
    );
    let truth: BTreeSet<&Item> = items.iter().collect();
    let blocks = blocks(&disk, &path);
    assert!(blocks.len() >= 3, "{blocks:?}");
    for at in 0..whole.len() {
        for mask in [0x01, 0xC0] {
            let mut bytes = whole.clone();
            bytes[at] ^= mask;
            disk.overwrite(&path, &bytes);
            let what = format!("byte {at} of {} ^ {mask:#x}", whole.len());
            let lost = blocks
                .iter()
                .find(|(from, to, _)| (*from..*to).contains(&at))
                .map_or(0, |(.., entries)| *entries);
            let left = left(&disk, &path, &truth, &what);
            let verified = segment::verify(&disk, &path);
            assert!(
                verified.is_err() || verified.is_ok_and(|report| !report.damage.is_empty()),
                "{what}: not reported"
            );
            // A damaged version field reads as a newer format: refused as a whole, on purpose.
            assert!(
                left.is_some_and(|n| n >= items.len() - lost) || is_newer(&disk, &path),
                "{what}: {left:?} of {} left, blocks {blocks:?}",
                items.len()
            );
        }
    }
}

fn is_newer(disk: &SimDisk, path: &Path) -> bool {
    matches!(
        Reader::open(disk, path),
        Err(segment::SegmentError::Newer { .. })
    )
}

#[test]
fn p9_truncated_zeroed_and_spliced_segments_give_errors_or_fewer_entries() {
    let (disk, path, items) = sample();
    let whole = disk.contents(&path).expect("the file");
    let truth: BTreeSet<&Item> = items.iter().collect();
    let len = whole.len();
    let mut readable = 0;
    let mut damage = |what: &str, bytes: &[u8]| {
        disk.overwrite(&path, bytes);
        readable += usize::from(left(&disk, &path, &truth, what).is_some());
    };
    for at in 0..len {
        damage(&format!("cut at {at}"), &whole[..at]);
    }
    for at in (0..len).step_by(13) {
        for span in [1, 8, 100, 512, 4096] {
            let end = (at + span).min(len);
            let mut zeroed = whole.clone();
            zeroed[at..end].fill(0);
            damage(&format!("zeros in {at}..{end}"), &zeroed);
            let removed = [&whole[..at], &whole[end..]].concat();
            damage(&format!("{at}..{end} removed"), &removed);
            let doubled = [&whole[..end], &whole[at..]].concat();
            damage(&format!("{at}..{end} doubled"), &doubled);
            let mut moved = whole.clone();
            moved.copy_within(at..end, len - end);
            damage(&format!("{at}..{end} copied to {}", len - end), &moved);
        }
    }
    damage("empty", &[]);
    damage("twice", &[&whole[..], &whole[..]].concat());
    assert!(
        readable > 100,
        "most single damages leave a readable file: {readable}"
    );
}

#[test]
fn p9_a_store_opens_over_any_damage_and_goes_on() {
    let (disk, path, _) = sample();
    let whole = disk.contents(&path).expect("the file");
    for at in (0..whole.len()).step_by(41) {
        let cut = whole[..at].to_vec();
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        let mut garbage = whole.clone();
        for (i, byte) in garbage[at..].iter_mut().enumerate().take(700) {
            *byte = (i * 131 + at) as u8;
        }
        for bytes in [cut, flipped, garbage] {
            let disk = disk.kill();
            disk.overwrite(&path, &bytes);
            let newer = is_newer(&disk, &path);
            let store = match open(&disk) {
                Ok(store) => store,
                Err(error) => {
                    assert!(newer, "byte {at}: {error}");
                    continue;
                }
            };
            append_items(&store, 1, 1, &common::batch_items(1, 1)).expect("appends");
            store.flush().expect("flushes");
            store.close().expect("closes");
            let new = segment_files(&disk).pop().expect("a segment");
            assert_ne!(new, path, "a damaged file is never overwritten");
            assert_eq!(disk.contents(&path), Some(bytes), "nor changed");
            let content = read_segment(&disk, &new).expect("reads");
            assert_eq!(content.items.len(), common::batch_items(1, 1).len());
        }
    }
}
