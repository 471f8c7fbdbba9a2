//! The positions file under kills, power cuts, failing disks and damage.

use std::collections::BTreeMap;

use disk::sim::{Class, EIO, Fault, SimDisk};

use super::*;

const DIR: &str = "/data";

/// What each key may have after a restart: from the position at the last sync to the newest one.
type Bounds = BTreeMap<String, (Option<u64>, Option<u64>)>;

fn open(disk: &SimDisk) -> Checkpoint {
    Checkpoint::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap()
}

fn file() -> PathBuf {
    Path::new(DIR).join(NAME)
}

/// A position that says how far it is, of a length that changes with it.
fn position(n: u64, bytes: usize) -> Vec<u8> {
    let mut position = n.to_le_bytes().to_vec();
    position.resize(8 + bytes, n as u8);
    position
}

fn number(position: &[u8]) -> u64 {
    u64::from_le_bytes(position[..8].try_into().unwrap())
}

fn found(checkpoint: &Checkpoint) -> BTreeMap<String, u64> {
    let pairs = checkpoint.positions().into_iter();
    pairs
        .map(|(key, position)| {
            let n = number(&position);
            assert!(position[8..].iter().all(|b| *b == n as u8), "{position:?}");
            (String::from_utf8(key).unwrap(), n)
        })
        .collect()
}

fn set(checkpoint: &mut Checkpoint, key: &str, n: u64, bytes: usize) -> io::Result<()> {
    checkpoint.record([(key.as_bytes(), Some(&position(n, bytes)[..]))])
}

/// Deterministic numbers.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Records at random until the disk stops or `rounds` are done. Bounds hold even for the call under way.
fn live(
    checkpoint: &mut Checkpoint,
    rng: &mut Rng,
    bounds: &mut Bounds,
    next: &mut u64,
    rounds: u64,
) {
    for _ in 0..rounds {
        if rng.below(5) == 0 {
            let result = checkpoint.syncing().run();
            let ok = result.is_ok();
            checkpoint.synced(&result);
            if !ok {
                return;
            }
            bounds
                .values_mut()
                .for_each(|(synced, newest)| *synced = *newest);
            continue;
        }
        let mut changes = Changes::default();
        for _ in 0..=rng.below(6) {
            let key = format!("pods/{}", rng.below(150));
            *next += 1;
            let gone = rng.below(12) == 0;
            let position = position(*next, rng.below(700) as usize);
            let source = wire::SourcePosition {
                key: key.as_bytes(),
                position: (!gone).then_some(&position[..]),
            };
            changes.take(&source);
            let bound = bounds.entry(key).or_default();
            bound.1 = (!gone).then_some(*next);
            if gone {
                // A power cut may bring back this moment as well.
                bound.0 = None;
            }
        }
        if checkpoint.record(changes.iter()).is_err() {
            return;
        }
    }
}

fn check(bounds: &Bounds, found: &BTreeMap<String, u64>, exact: bool, what: &str) {
    for (key, (synced, newest)) in bounds {
        let n = found.get(key).copied();
        if exact {
            assert_eq!(n, *newest, "{what}: {key}");
        } else if let (Some(least), Some(n)) = (synced, n) {
            assert!(n >= *least, "{what}: {key} is at {n}, synced was {least}");
        } else if synced.is_some() && newest.is_some() {
            panic!("{what}: {key} is lost, synced was {synced:?}");
        }
        // A forgotten key may come back with an older position: its files are gone.
        if let (Some(n), Some(newest)) = (n, newest) {
            assert!(n <= *newest, "{what}: {key} is at {n}, newest is {newest}");
        }
    }
}

#[test]
fn positions_survive_the_process_at_every_record() {
    let mut disk = SimDisk::new(1);
    let (mut rng, mut bounds, mut next) = (Rng(1), Bounds::new(), 0);
    for round in 0..60 {
        let mut checkpoint = open(&disk);
        check(
            &bounds,
            &found(&checkpoint),
            true,
            &format!("round {round}"),
        );
        live(&mut checkpoint, &mut rng, &mut bounds, &mut next, 20);
        assert_eq!(checkpoint.unstored(), 0);
        disk = disk.kill();
    }
    assert!(
        disk.contents(&file()).unwrap().len() > PAGE * (1 + 2 * GROW),
        "it grew"
    );
}

#[test]
fn a_power_cut_goes_back_to_the_last_sync_at_most() {
    for seed in 0..300 {
        let disk = SimDisk::new(seed);
        let (mut rng, mut bounds, mut next) = (Rng(seed), Bounds::new(), 0);
        let mut checkpoint = open(&disk);
        live(&mut checkpoint, &mut rng, &mut bounds, &mut next, 30);
        disk.stop_after(disk.ops() + rng.below(60));
        live(&mut checkpoint, &mut rng, &mut bounds, &mut next, 30);
        // The same with a process that died before: its writes may not be on the device.
        let disk = disk.crash();
        let checkpoint = open(&disk);
        let what = format!("seed {seed}");
        let recovered = found(&checkpoint);
        check(&bounds, &recovered, false, &what);
        drop(checkpoint);
        let mut checkpoint = open(&disk.kill());
        assert_eq!(found(&checkpoint), recovered, "{what}");
        let mut bounds: Bounds = recovered
            .into_iter()
            .map(|(key, n)| (key, (Some(n), Some(n))))
            .collect();
        live(&mut checkpoint, &mut rng, &mut bounds, &mut next, 10);
    }
}

#[test]
fn a_kill_and_a_power_cut_after_it_keep_what_was_synced() {
    for seed in 0..200 {
        let disk = SimDisk::new(seed);
        let (mut rng, mut bounds, mut next) = (Rng(seed ^ 77), Bounds::new(), 0);
        live(&mut open(&disk), &mut rng, &mut bounds, &mut next, 30);
        let disk = disk.kill();
        let mut checkpoint = open(&disk);
        check(&bounds, &found(&checkpoint), true, &format!("seed {seed}"));
        // Opening syncs.
        bounds
            .values_mut()
            .for_each(|(synced, newest)| *synced = *newest);
        live(&mut checkpoint, &mut rng, &mut bounds, &mut next, 5);
        let checkpoint = open(&disk.crash());
        check(&bounds, &found(&checkpoint), false, &format!("seed {seed}"));
    }
}

#[test]
fn a_failing_disk_is_tried_again() {
    for class in [Class::Write, Class::Sync] {
        for at in 0..30 {
            let disk = SimDisk::new(at);
            let mut checkpoint = open(&disk);
            let at = disk.count(class) + at;
            disk.inject(Fault {
                class,
                at,
                sticky: false,
                errno: EIO,
                partial: 1000,
            });
            let mut failed = false;
            for n in 1..200 {
                failed |= set(&mut checkpoint, &format!("pods/{}", n % 40), n, 300).is_err();
                if n % 5 == 0 {
                    let result = checkpoint.syncing().run();
                    failed |= result.is_err();
                    checkpoint.synced(&result);
                }
            }
            assert!(failed, "{class:?} {at} was never reached");
            checkpoint.record([]).unwrap();
            let result = checkpoint.syncing().run();
            checkpoint.synced(&result);
            result.unwrap();
            let want = found(&checkpoint);
            assert_eq!(want.len(), 40);
            assert_eq!(found(&open(&disk.crash())), want, "{class:?} {at}");
        }
    }
}

#[test]
fn one_copy_of_a_page_is_written_between_syncs() {
    let disk = SimDisk::new(3);
    let mut checkpoint = open(&disk);
    set(&mut checkpoint, "a", 1, 10).unwrap();
    checkpoint.synced(&checkpoint.syncing().run());
    let copies = |disk: &SimDisk| {
        let bytes = disk.contents(&file()).unwrap();
        [PAGE, 2 * PAGE].map(|at| bytes[at..at + PAGE].to_vec())
    };
    let before = copies(&disk);
    for n in 2..20 {
        set(&mut checkpoint, "a", n, 10).unwrap();
    }
    let after = copies(&disk);
    let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
    assert_eq!(changed, 1);
}

#[test]
fn a_position_longer_than_a_page_keeps_its_last_one() {
    let disk = SimDisk::new(4);
    let mut checkpoint = open(&disk);
    set(&mut checkpoint, "long", 1, 100).unwrap();
    set(&mut checkpoint, "short", 1, 100).unwrap();
    set(&mut checkpoint, "long", 2, PAGE).unwrap();
    set(&mut checkpoint, "short", 2, 100).unwrap();
    checkpoint.synced(&checkpoint.syncing().run());
    assert_eq!(checkpoint.unstored(), 1);
    set(&mut checkpoint, "short", 3, 100).unwrap();
    let want = [("long".to_owned(), 1), ("short".to_owned(), 3)];
    assert_eq!(found(&open(&disk.kill())), want.into());
}

#[test]
fn damage_costs_the_keys_of_its_page_and_is_no_error() {
    let disk = SimDisk::new(5);
    let mut checkpoint = open(&disk);
    for n in 0..100 {
        set(&mut checkpoint, &format!("{n:03}"), 1, 200).unwrap();
    }
    checkpoint.synced(&checkpoint.syncing().run());
    for n in 0..100 {
        set(&mut checkpoint, &format!("{n:03}"), 2, 200).unwrap();
    }
    let whole = found(&checkpoint);
    let bytes = disk.contents(&file()).unwrap();
    let pages = whole.len() * 220 / PAGE;
    for page in 0..pages {
        for at in (0..2 * PAGE).step_by(97) {
            let disk = disk.kill();
            let mut bad = bytes.clone();
            bad[PAGE * (1 + 2 * page) + at] ^= 0x10;
            disk.overwrite(&file(), &bad);
            // The other copy is at most one sync older.
            let got = found(&open(&disk));
            assert_eq!(got.len(), whole.len());
            assert!(got.values().all(|n| *n == 1 || *n == 2));
        }
        let disk = disk.kill();
        let mut bad = bytes.clone();
        bad[PAGE * (1 + 2 * page)..][..2 * PAGE].fill(0xff);
        disk.overwrite(&file(), &bad);
        let got = found(&open(&disk));
        assert!(
            got.len() < whole.len() && got.len() > whole.len() / 2,
            "{}",
            got.len()
        );
    }
}

#[test]
fn p9_any_file_is_opened() {
    let mut rng = Rng(6);
    let disk = SimDisk::new(6);
    let mut checkpoint = open(&disk);
    set(&mut checkpoint, "a", 1, 10).unwrap();
    drop(checkpoint);
    let good = disk.contents(&file()).unwrap();
    let mut cases: Vec<Vec<u8>> = vec![
        vec![0],
        vec![0; PAGE],
        vec![0; 9 * PAGE],
        good[..PAGE - 1].to_vec(),
    ];
    for _ in 0..50 {
        let len = rng.below(6 * PAGE as u64) as usize;
        cases.push((0..len).map(|_| rng.below(256) as u8).collect());
        let mut cut = good.clone();
        cut.truncate(rng.below(good.len() as u64) as usize + 1);
        let at = rng.below(cut.len() as u64) as usize;
        cut[at] ^= 1;
        cases.push(cut);
    }
    for bytes in cases {
        let disk = disk.kill();
        disk.overwrite(&file(), &bytes);
        let mut checkpoint = open(&disk);
        set(&mut checkpoint, "b", 2, 10).unwrap();
        let again = found(&open(&disk.kill()));
        assert_eq!(again.get("b"), Some(&2));
    }
}

#[test]
fn a_second_process_and_a_newer_file_are_refused() {
    let disk = SimDisk::new(7);
    let checkpoint = open(&disk);
    let second = Checkpoint::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap_err();
    assert!(
        second
            .to_string()
            .contains("`/data/positions` is in use by process "),
        "{second}"
    );
    drop(checkpoint);
    let mut bytes = disk.contents(&file()).unwrap();
    bytes[8] = 9;
    let hash = xxh3_64(&bytes[..PAGE - 8]);
    bytes[PAGE - 8..PAGE].copy_from_slice(&hash.to_le_bytes());
    disk.overwrite(&file(), &bytes);
    let newer = Checkpoint::open(Arc::new(disk.clone()), Path::new(DIR)).unwrap_err();
    assert!(
        newer
            .to_string()
            .contains("has format 9; this version reads up to 1"),
        "{newer}"
    );
    assert_eq!(disk.contents(&file()).unwrap(), bytes);
}
