//! The simulator must lose what may be lost, keep what must be kept, and catch a writer that forgets to sync.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Class, EIO, ENOSPC, Fault, SimDisk};
use crate::{Disk, Mode, Purpose, atomic};

const SEEDS: u64 = 300;

fn path(name: &str) -> PathBuf {
    Path::new("/d").join(name)
}

fn disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(Path::new("/d")).expect("mkdir");
    disk
}

fn open(disk: &SimDisk, name: &str) -> std::sync::Arc<dyn crate::File> {
    disk.open(&path(name), Mode::ReadWrite, Purpose::Segment)
        .expect("open")
}

/// Everything that the crash may leave of a scenario, over many seeds.
fn outcomes(scenario: impl Fn(&SimDisk)) -> BTreeSet<Option<Vec<u8>>> {
    (0..SEEDS)
        .map(|seed| {
            let disk = disk(seed);
            scenario(&disk);
            disk.crash().contents(&path("a"))
        })
        .collect()
}

#[test]
fn synced_bytes_under_a_synced_name_survive() {
    let got = outcomes(|disk| {
        let file = open(disk, "a");
        file.write_at(&[1; 1000], 0).unwrap();
        file.set_len(900).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
    });
    assert_eq!(got, BTreeSet::from([Some(vec![1; 900])]));
}

#[test]
fn unsynced_writes_are_kept_dropped_torn_zeroed_and_garbled() {
    let got = outcomes(|disk| {
        let file = open(disk, "a");
        file.write_at(&[1; 1024], 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(&[2; 1024], 512).unwrap();
    });
    let shape = |bytes: &Option<Vec<u8>>| -> String {
        let bytes = bytes.as_ref().expect("the name was synced");
        let sector = |s: &[u8]| match (s[0], s.iter().all(|b| *b == s[0])) {
            (1, true) => 'o',
            (2, true) => 'n',
            (0, true) => 'z',
            _ => 'g',
        };
        bytes.chunks(512).map(sector).collect()
    };
    let shapes: BTreeSet<String> = got.iter().map(shape).collect();
    for wanted in ["oo", "onn", "on", "ozn", "ogn", "oon", "onz", "ooz"] {
        assert!(shapes.contains(wanted), "never saw {wanted}: {shapes:?}");
    }
    assert!(shapes.iter().all(|s| !s.starts_with('n')), "{shapes:?}");
}

#[test]
fn a_torn_write_may_spoil_what_was_synced_in_its_blocks_and_nothing_else() {
    let got = outcomes(|disk| {
        let file = open(disk, "a");
        file.write_at(&[1; 12 << 10], 0).unwrap();
        file.sync().unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(&[2; 100], 5000).unwrap();
    });
    let all: Vec<Vec<u8>> = got.into_iter().flatten().collect();
    let ones = |bytes: &[u8]| bytes.iter().all(|b| *b == 1);
    assert!(all.iter().all(|b| ones(&b[..4096]) && ones(&b[8192..])));
    for beside in [4096..5000, 5100..8192] {
        assert!(all.iter().any(|b| ones(&b[beside.clone()])), "{beside:?}");
        assert!(all.iter().any(|b| !ones(&b[beside.clone()])), "{beside:?}");
    }
}

#[test]
fn unsynced_names_come_back_or_go_and_data_fares_apart() {
    let both = |old: &[u8], new: &[u8]| BTreeSet::from([Some(old.to_vec()), Some(new.to_vec())]);
    let synced = |disk: &SimDisk, name: &str, bytes: &[u8]| {
        let file = open(disk, name);
        file.write_at(bytes, 0).unwrap();
        file.sync().unwrap();
    };
    let created = outcomes(|disk| synced(disk, "a", b"x"));
    assert_eq!(created, BTreeSet::from([None, Some(b"x".to_vec())]));
    let removed = outcomes(|disk| {
        synced(disk, "a", b"x");
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.remove(&path("a")).unwrap();
    });
    assert_eq!(removed, created);
    let renamed = outcomes(|disk| {
        synced(disk, "a", b"old");
        synced(disk, "b", b"new");
        disk.sync_dir(Path::new("/d")).unwrap();
        disk.rename(&path("b"), &path("a")).unwrap();
    });
    assert_eq!(renamed, both(b"old", b"new"));
    let without_data = outcomes(|disk| {
        open(disk, "b").write_at(b"new", 0).unwrap();
        disk.rename(&path("b"), &path("a")).unwrap();
        disk.sync_dir(Path::new("/d")).unwrap();
    });
    assert!(without_data.contains(&Some(Vec::new())), "{without_data:?}");
    assert!(!without_data.contains(&None));
}

#[test]
fn directories_are_durable_and_a_killed_process_loses_nothing() {
    for seed in 0..20 {
        let sim = SimDisk::new(seed);
        sim.create_dir_all(Path::new("/x/y/z")).unwrap();
        let sim = sim.crash();
        assert_eq!(sim.list(Path::new("/x/y/z")).unwrap(), []);
        let name = Path::new("/x/y/z/a");
        let file = sim.open(name, Mode::CreateNew, Purpose::State).unwrap();
        file.write_at(b"1", 0).unwrap();
        let guard = sim.lock(Path::new("/x/lock")).unwrap();
        let next = sim.kill();
        assert!(file.write_at(b"2", 0).is_err() && sim.is_off());
        assert_eq!(next.contents(name).unwrap(), b"1");
        next.lock(Path::new("/x/lock")).unwrap();
        drop(guard);
    }
}

#[test]
fn the_nth_operation_fails_once_or_for_ever() {
    let results = |fault: Fault| -> Vec<bool> {
        let disk = disk(1);
        let file = open(&disk, "a");
        let at = disk.count(fault.class) + fault.at;
        disk.inject(Fault { at, ..fault });
        let mut buf = [0; 1];
        let mut ok = Vec::new();
        for _ in 0..3 {
            ok.push(file.write_at(b"x", 0).is_ok());
            ok.push(file.read_at(&mut buf, 0).is_ok());
            ok.push(file.sync().is_ok());
        }
        ok
    };
    let fault = |class, at, sticky| Fault {
        class,
        at,
        sticky,
        errno: EIO,
        partial: 0,
    };
    let (y, n) = (true, false);
    let table = [
        (fault(Class::Any, 4, false), [y, y, y, y, n, y, y, y, y]),
        (fault(Class::Any, 4, true), [y, y, y, y, n, n, n, n, n]),
        (fault(Class::Change, 2, false), [y, y, y, n, y, y, y, y, y]),
        (fault(Class::Sync, 1, true), [y, y, y, y, y, n, y, y, n]),
        (fault(Class::Write, 1, false), [y, y, y, n, y, y, y, y, y]),
        (fault(Class::Read, 0, true), [y, n, y, y, n, y, y, n, y]),
    ];
    for (fault, wanted) in table {
        assert_eq!(results(fault), wanted, "{fault:?}");
    }
}

#[test]
fn a_failed_sync_may_lose_bytes_that_readers_still_see() {
    let got = outcomes(|disk| {
        let file = open(disk, "a");
        disk.sync_dir(Path::new("/d")).unwrap();
        file.write_at(b"x", 0).unwrap();
        disk.inject(Fault {
            class: Class::Sync,
            at: disk.count(Class::Sync),
            sticky: false,
            errno: EIO,
            partial: 0,
        });
        assert_eq!(file.sync().unwrap_err().raw_os_error(), Some(EIO));
        file.sync().expect("the second sync hides the loss");
        assert_eq!(disk.contents(&path("a")).unwrap(), b"x");
    });
    assert!(got.contains(&Some(Vec::new())) && got.contains(&Some(b"x".to_vec())));
}

#[test]
fn a_full_disk_takes_what_fits_until_a_file_is_removed() {
    let disk = disk(1);
    disk.set_capacity(1000);
    let (a, b) = (open(&disk, "a"), open(&disk, "b"));
    a.write_at(&[1; 600], 0).unwrap();
    let full = b.write_at(&[2; 600], 0).unwrap_err();
    assert_eq!(full.raw_os_error(), Some(ENOSPC));
    assert_eq!(b.len().unwrap(), 400);
    assert_eq!(disk.space(Path::new("/d")).unwrap().available, 0);
    a.write_at(&[3; 600], 0)
        .expect("overwriting needs no space");
    disk.remove(&path("a")).unwrap();
    assert!(b.write_at(&[2; 600], 0).is_err(), "`a` is still open");
    drop(a);
    b.write_at(&[2; 600], 0).unwrap();
    let fault = Fault {
        class: Class::Write,
        at: disk.count(Class::Write),
        sticky: false,
        errno: EIO,
        partial: 3,
    };
    disk.inject(fault);
    let c = open(&disk, "c");
    assert!(c.write_at(b"12345", 0).is_err());
    assert_eq!(c.len().unwrap(), 3, "a short write leaves its part");
}

#[test]
fn power_stops_after_n_changes_and_the_run_repeats_with_its_seed() {
    let run = |seed, n| {
        let disk = disk(seed);
        disk.stop_after(disk.ops() + n);
        let done = save(&disk, 7, true);
        (
            done.is_ok(),
            disk.events(),
            disk.crash().contents(&path("a")),
        )
    };
    let mut completed_at = None;
    for n in 0..100 {
        assert_eq!(run(9, n), run(9, n), "not deterministic at {n}");
        if run(9, n).0 {
            completed_at = Some(n);
            break;
        }
    }
    // Create, write, sync, rename, sync of the directory, and the removal of a stale file.
    assert_eq!(completed_at, Some(6));
}

#[test]
fn the_real_root_has_the_same_directories() {
    let temp = tempfile::tempdir().unwrap();
    let disk = SimDisk::with_real_root(1, temp.path());
    disk.create_dir_all(Path::new("/d/e")).unwrap();
    let real = disk.real_path(Path::new("/d/e/db")).unwrap();
    assert_eq!(real, temp.path().join("d/e/db"));
    assert!(real.parent().unwrap().is_dir());
    assert_eq!(SimDisk::new(1).real_path(Path::new("/d")), None);
}

/// Saves a counter as a program would: with a sync before the rename, or naively without.
fn save(disk: &SimDisk, value: u8, careful: bool) -> io::Result<()> {
    if careful {
        return atomic::replace(disk, &path("t"), &path("a"), Purpose::State, |file| {
            file.write_at(&[value; 600], 0)
        });
    }
    let file = disk.open(&path("t"), Mode::ReadWrite, Purpose::State)?;
    file.write_at(&[value; 600], 0)?;
    disk.rename(&path("t"), &path("a"))?;
    disk.sync_dir(Path::new("/d"))
}

/// Cuts the power at every change of two saves, under many seeds; the violations found.
fn violations(careful: bool) -> Vec<String> {
    let mut found = Vec::new();
    for seed in 0..40 {
        for n in 0.. {
            let disk = disk(seed);
            disk.stop_after(disk.ops() + n);
            let mut saved = 0;
            while saved < 2 && save(&disk, saved + 1, careful).is_ok() {
                saved += 1;
            }
            let after = disk.crash().contents(&path("a"));
            let allowed = |value: u8| match value {
                0 => after.is_none(),
                v => after.as_deref() == Some(&[v; 600][..]),
            };
            if !(allowed(saved) || allowed(saved + 1)) {
                found.push(format!("seed {seed} cut {n}: {:?}", disk.events()));
            }
            if saved == 2 {
                break;
            }
        }
    }
    found
}

#[test]
fn canary_a_writer_that_forgets_to_sync_is_caught() {
    assert_eq!(violations(true), Vec::<String>::new());
    assert!(violations(false).len() > 40, "the simulator is too kind");
}

#[derive(Debug, Clone)]
enum Step {
    Write(u8, u16, Vec<u8>),
    SetLen(u8, u16),
    Rename(u8, u8),
    Remove(u8),
    Sync(u8),
    SyncDir,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..3u8;
    let bytes = prop::collection::vec(any::<u8>(), 0..1500);
    let step = prop_oneof![
        4 => (name.clone(), 0..2000u16, bytes).prop_map(|(f, at, b)| Step::Write(f, at, b)),
        1 => (name.clone(), 0..2000u16).prop_map(|(f, len)| Step::SetLen(f, len)),
        2 => (name.clone(), name.clone()).prop_map(|(from, to)| Step::Rename(from, to)),
        1 => name.clone().prop_map(Step::Remove),
        2 => name.prop_map(Step::Sync),
        1 => Just(Step::SyncDir),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    /// With everything synced, a crash changes nothing; without one, readers see a plain file system.
    #[test]
    fn everything_synced_survives_any_history(steps in steps(), seed: u64) {
        let mut disk = disk(seed);
        let mut model: std::collections::BTreeMap<PathBuf, Vec<u8>> = Default::default();
        let name = |n: &u8| path(&n.to_string());
        for step in &steps {
            match step {
                Step::Write(f, at, bytes) => {
                    open(&disk, &f.to_string()).write_at(bytes, u64::from(*at)).unwrap();
                    let content = model.entry(name(f)).or_default();
                    let end = usize::from(*at) + bytes.len();
                    if !bytes.is_empty() {
                        content.resize(content.len().max(end), 0);
                        content[usize::from(*at)..end].copy_from_slice(bytes);
                    }
                }
                Step::SetLen(f, len) => {
                    open(&disk, &f.to_string()).set_len(u64::from(*len)).unwrap();
                    model.entry(name(f)).or_default().resize(usize::from(*len), 0);
                }
                Step::Rename(from, to) => {
                    let moved = model.remove(&name(from));
                    prop_assert_eq!(disk.rename(&name(from), &name(to)).is_ok(), moved.is_some());
                    if let Some(bytes) = moved {
                        model.insert(name(to), bytes);
                    }
                }
                Step::Remove(f) => {
                    prop_assert_eq!(disk.remove(&name(f)).is_ok(), model.remove(&name(f)).is_some());
                }
                Step::Sync(f) => {
                    let _ = disk.open(&name(f), Mode::Read, Purpose::State).map(|f| f.sync());
                }
                Step::SyncDir => disk.sync_dir(Path::new("/d")).unwrap(),
                Step::Crash => {
                    for file in disk.files() {
                        disk.open(&file, Mode::Read, Purpose::State).unwrap().sync().unwrap();
                    }
                    disk.sync_dir(Path::new("/d")).unwrap();
                    disk = disk.crash();
                }
            }
            let seen: Vec<_> = disk.files();
            prop_assert_eq!(&seen, &model.keys().cloned().collect::<Vec<_>>());
            for file in seen {
                prop_assert_eq!(disk.contents(&file), model.get(&file).cloned());
            }
        }
    }
}
