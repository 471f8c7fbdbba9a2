//! P3: segments are the truth, the index is a cache. Its files are deleted, cut, overwritten, swapped for older ones
//! or made unwritable at random points; every answer stays the same.
#![expect(
    clippy::disallowed_methods,
    reason = "damages the SQLite files behind the store's back"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use common::{append, batch_items, catch_up, options};
use disk::Disk;
use disk::sim::SimDisk;
use logql::plan::Direction;
use logql::value::Value;
use store::api::{Cancel, Request, Store};

const START: i64 = 1_700_000_000_000_000_000;
const END: i64 = START + 3_600_000_000_000;

/// Everything that the index has a part in.
fn answers(store: &Store) -> String {
    let cancel = Cancel::at(Instant::now() + Duration::from_secs(60));
    let mut text = String::new();
    let range = |direction| Request::Range {
        start: START - 1,
        end: END,
        step: 60_000_000_000,
        limit: 5000,
        direction,
    };
    for (query, direction) in [
        (r#"{job="test"}"#, Direction::Forward),
        (r#"{name=~"loud-.*"}"#, Direction::Backward),
        (
            r#"{job="test", name!="quiet-1"} |= "entry 3""#,
            Direction::Forward,
        ),
        (r#"{name="nobody"}"#, Direction::Forward),
        (
            r#"sum by (name) (count_over_time({job="test"}[1m]))"#,
            Direction::Forward,
        ),
    ] {
        let plan = logql::parse(query).expect("parses");
        let (value, _) = store
            .query(&plan, &range(direction), &cancel)
            .unwrap_or_else(|e| panic!("{query}: {e:?}"));
        text.push_str(&format!("{query}:\n"));
        match value {
            Value::Logs(logs) => {
                for entry in &logs.entries {
                    let labels = &logs.label_sets[entry.labels as usize];
                    let line = String::from_utf8_lossy(&entry.line);
                    text.push_str(&format!("{} {labels:?} {line}\n", entry.ts));
                }
            }
            other => text.push_str(&format!("{other:?}\n")),
        }
    }
    let matchers = logql::parse_matchers(r#"{name=~"quiet.*"}"#).expect("parses");
    let names = store
        .label_names(&matchers, START, END, &cancel)
        .expect("names");
    let values = store
        .label_values("name", &[], START, END, &cancel)
        .expect("values");
    let series = store
        .series(&[matchers], START, END, &cancel)
        .expect("series");
    text.push_str(&format!("{names:?}\n{values:?}\n{series:?}\n"));
    text
}

/// The files of the index: those that the simulated disk does not have.
fn index_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("list") {
            let path = entry.expect("entry").path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// What happens to one file.
fn damage(path: &Path, how: u64, old: Option<&Vec<u8>>) {
    let bytes = fs::read(path).expect("read");
    let len = bytes.len();
    match (how % 7, old) {
        (0, _) => fs::remove_file(path).expect("remove"),
        (1, _) => fs::write(path, &bytes[..len / 2]).expect("write"),
        (2, _) => fs::write(path, []).expect("write"),
        (3, _) => {
            let garbage: Vec<u8> = (0..len.max(100)).map(|i| (i * 37 + 11) as u8).collect();
            fs::write(path, garbage).expect("write");
        }
        (4, _) => {
            let mut bytes = bytes;
            for i in (how as usize..len).step_by(509) {
                bytes[i] ^= 0x55;
            }
            fs::write(path, bytes).expect("write");
        }
        (5, _) => fs::write(path, b"not a database at all").expect("write"),
        (_, Some(old)) => fs::write(path, old).expect("write"),
        (_, None) => fs::remove_file(path).expect("remove"),
    }
}

#[test]
fn p3_a_lost_damaged_or_old_index_changes_no_answer() {
    let temp = tempfile::tempdir().expect("temporary directory");
    let disk = SimDisk::with_real_root(1, temp.path());
    let mut old: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    for how in 0..28u64 {
        let n = how + 1;
        let store = Store::open(options(&disk)).unwrap_or_else(|e| panic!("{how}: {e}"));
        catch_up(&store, [n, n]).expect("flushes");
        // A part stays in the head until the store closes.
        let before = answers(&store);
        store.close().expect("closes");
        let newest = batch_items(0, n);
        assert!(before.contains(&newest[0].line), "{before}");
        let files = index_files(temp.path());
        assert!(!files.is_empty(), "the index has files of its own");
        for (i, file) in files.iter().enumerate() {
            // One file at a time in every second round, all of them in the others.
            if how % 2 == 0 || i as u64 == how / 2 % files.len() as u64 {
                let earlier = old.iter().find(|(path, _)| path == file).map(|(_, b)| b);
                damage(file, how / 2 + i as u64, earlier);
            }
        }
        let store = Store::open(options(&disk)).unwrap_or_else(|e| panic!("{how}: {e}"));
        assert_eq!(answers(&store), before, "damage {how}");
        store.close().expect("closes");
        if how % 5 == 0 {
            let files = index_files(temp.path()).into_iter();
            old = files
                .map(|f| (f.clone(), fs::read(&f).expect("read")))
                .collect();
        }
    }
}

#[test]
fn p3_a_flipped_bit_in_the_index_changes_no_answer() {
    let temp = tempfile::tempdir().expect("temporary directory");
    let disk = SimDisk::with_real_root(1, temp.path());
    let store = Store::open(options(&disk)).expect("opens");
    catch_up(&store, [6, 6]).expect("flushes");
    let before = answers(&store);
    store.close().expect("closes");
    // The last handle closes the database, which folds its log into the file.
    drop(store);
    let files = index_files(temp.path());
    let [file] = &files[..] else {
        panic!("closing leaves one file: {files:?}");
    };
    let whole = fs::read(file).expect("read");
    // Empty space is skipped: a flip there changes nothing.
    let places = (0..whole.len()).filter(|at| whole[*at] != 0);
    for at in places.step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(file, bytes).expect("write");
        let store = Store::open(options(&disk)).unwrap_or_else(|e| panic!("byte {at}: {e}"));
        assert_eq!(answers(&store), before, "bit {} of byte {at}", at % 8);
        store.close().expect("closes");
    }
}

#[test]
fn p3_without_any_file_for_the_index_all_answers_are_the_same() {
    let temp = tempfile::tempdir().expect("temporary directory");
    let build = |disk: &SimDisk| {
        let store = Store::open(options(disk)).expect("opens");
        catch_up(&store, [5, 4]).expect("flushes");
        catch_up(&store, [9, 9]).expect("flushes");
        append(&store, 0, 10).expect("appends");
        let text = answers(&store);
        store.close().expect("closes");
        text
    };
    let without = SimDisk::new(1);
    assert_eq!(without.real_path(Path::new("/data")), None);
    assert_eq!(
        build(&without),
        build(&SimDisk::with_real_root(1, temp.path()))
    );
}

#[test]
fn p3_an_index_ahead_of_the_segments_after_a_power_cut_is_corrected() {
    for seed in 0..40 {
        let temp = tempfile::tempdir().expect("temporary directory");
        let disk = SimDisk::with_real_root(seed, temp.path());
        // The SQLite files keep everything, the simulated disk loses what was not synced.
        disk.stop_after(8 + seed);
        if let Ok(store) = Store::open(options(&disk)) {
            for n in 1..8 {
                if catch_up(&store, [n, n]).is_err() {
                    break;
                }
            }
            let _ = store.close();
        }
        let after = disk.crash();
        let fresh = SimDisk::new(seed);
        let store = Store::open(options(&after)).expect("opens");
        let taken = common::taken(&store.positions());
        let found = answers(&store);
        store.close().expect("closes");
        let model = Store::open(options(&fresh)).expect("opens");
        catch_up(&model, taken).expect("flushes");
        assert_eq!(found, answers(&model), "seed {seed}");
        model.close().expect("closes");
    }
}
