#![expect(clippy::disallowed_methods, reason = "stands for the kubelet")]

use std::fs;
use std::path::Path;

use logql::plan::Plan;

use super::*;

const POD: &str = "shop_web-0_11111111-aaaa-4bbb-8ccc-000000000001";
/// Seconds of the first line: 2026-11-20T09:00:00Z.
const START: i64 = 1_795_165_200;
const SECOND: i64 = 1_000_000_000;

/// A record at a second of the hour after the start.
fn record(second: i64, stream: &str, tag: &str, text: &str) -> String {
    let (m, s) = (second / 60, second % 60);
    format!(
        "2026-11-20T{:02}:{:02}:{s:02}Z {stream} {tag} {text}\n",
        9 + m / 60,
        m % 60
    )
}

fn write(dir: &Path, name: &str, text: &str, modified: i64) {
    let dir = dir.join(POD).join("web");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(name), text).unwrap();
    let file = fs::File::options()
        .append(true)
        .open(dir.join(name))
        .unwrap();
    let at = std::time::Duration::from_secs((START + modified) as u64);
    file.set_modified(std::time::UNIX_EPOCH + at).unwrap();
}

fn open(dir: &Path) -> Folder {
    let config = Config {
        pods_dir: dir.to_owned(),
        ..Config::default()
    };
    let limits = Limits {
        memory: 16 << 20,
        series: 500,
        now: 0,
    };
    let tell = |trouble: &Trouble| panic!("{trouble}");
    Folder::open(config, limits, Box::new(tell)).unwrap()
}

/// First words of the entries between two seconds after the start, and how many parts were read for them.
fn ask(
    folder: &Folder,
    query: &str,
    (from, to): (i64, i64),
    limit: usize,
    direction: Direction,
) -> (Vec<String>, u64) {
    let Ok(Plan::Log(leaf)) = logql::parse(query) else {
        panic!("{query}");
    };
    let before = folder.read().opened;
    let range = [from, to].map(|s| (START + s) * SECOND);
    let logs = folder
        .logs(&leaf, range[0], range[1], limit, direction)
        .unwrap();
    let word = |line: &[u8]| {
        let text = String::from_utf8_lossy(line).into_owned();
        text.split(' ').next().unwrap_or_default().to_owned()
    };
    let words = logs.entries.iter().map(|e| word(&e.line)).collect();
    (words, folder.read().opened - before)
}

/// A file of some 6 MiB, a line a second.
fn large() -> String {
    let filler = "x".repeat(1700);
    let line = |n| record(n, "stdout", "F", &format!("{n} {filler}"));
    (0..3600).map(line).collect()
}

#[test]
fn of_a_large_file_only_the_parts_asked_for_are_read() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "0.log", &large(), 3600);
    let folder = open(dir.path());
    let all = r#"{namespace="shop"}"#;
    let (back, fore) = (Direction::Backward, Direction::Forward);
    for (range, limit, direction, want, parts) in [
        ((-9, 9000), 2, back, ["3599", "3598"], 2),
        ((-9, 9000), 2, fore, ["0", "1"], 2),
        ((1800, 1802), 9, fore, ["1800", "1801"], 2),
        ((-9, 2), 9, back, ["1", "0"], 1),
    ] {
        let (words, read) = ask(&folder, all, range, limit, direction);
        assert_eq!(words, want);
        assert!(read <= parts, "{read} parts for {want:?}");
    }
    assert_eq!(folder.newest(), Some((START + 3599) * SECOND));
    assert_eq!(folder.oldest(), Some(START * SECOND));
}

#[test]
fn lines_in_pieces_across_parts_are_whole_in_both_directions() {
    let dir = tempfile::tempdir().unwrap();
    let filler = "x".repeat(1700);
    let mut text = String::new();
    let mut lines = Vec::new();
    for n in 0..1800 {
        // A line of stderr in pieces, each of them far behind the one before.
        let tag = if n % 300 == 299 { "F" } else { "P" };
        if n % 100 == 99 {
            text.push_str(&record(n, "stderr", tag, &format!("e{n} ")));
        }
        if n % 300 == 299 {
            lines.push(format!("e{} e{} e{n} ", n - 200, n - 100));
        }
        text.push_str(&record(n, "stdout", "F", &format!("{n} {filler}")));
    }
    write(dir.path(), "0.log", &text, 1800);
    let Ok(Plan::Log(leaf)) = logql::parse(r#"{stream="stderr"}"#) else {
        panic!();
    };
    for direction in [Direction::Forward, Direction::Backward] {
        for limit in [1, 3, 100] {
            let folder = open(dir.path());
            let logs = folder.logs(&leaf, 0, i64::MAX, limit, direction).unwrap();
            let got: Vec<String> = logs
                .entries
                .iter()
                .map(|e| String::from_utf8_lossy(&e.line).into_owned())
                .collect();
            let mut want = lines.clone();
            if direction == Direction::Backward {
                want.reverse();
            }
            want.truncate(limit);
            assert_eq!(got, want, "{direction:?} {limit}");
        }
    }
}

#[test]
fn a_clock_that_was_set_back_hides_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let filler = "x".repeat(1700);
    // An hour ahead first, then right.
    let line = |n: i64| {
        record(
            if n < 1800 { n + 3600 } else { n },
            "stdout",
            "F",
            &format!("{n} {filler}"),
        )
    };
    let text: String = (0..3600).map(line).collect();
    write(dir.path(), "0.log", &text, 3600);
    let folder = open(dir.path());
    let all = r#"{namespace="shop"}"#;
    let (words, _) = ask(&folder, all, (3600, 9000), 3, Direction::Forward);
    assert_eq!(words, ["0", "1", "2"]);
    let (words, _) = ask(&folder, all, (1000, 1900), 100, Direction::Forward);
    assert_eq!(words.len(), 100);
    assert_eq!(words[0], "1800");
}

#[test]
fn files_of_another_time_are_not_read() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..6 {
        let lines = |n: i64| {
            record(
                file * 600 + n,
                "stdout",
                "F",
                &format!("{}", file * 600 + n),
            )
        };
        let text: String = (0..600).map(lines).collect();
        let name = match file {
            5 => "0.log".to_owned(),
            n => format!("0.log.20261120-09{:02}00", n * 10 + 10),
        };
        write(dir.path(), &name, &text, (file + 1) * 600);
    }
    let folder = open(dir.path());
    let all = r#"{namespace="shop"}"#;
    let (back, fore) = (Direction::Backward, Direction::Forward);
    let (words, read) = ask(&folder, all, (-9, 9000), 3, back);
    assert_eq!((words.join(" ").as_str(), read), ("3599 3598 3597", 1));
    let (words, read) = ask(&folder, all, (-9, 9000), 3, fore);
    assert_eq!((words.join(" ").as_str(), read), ("0 1 2", 1));
    let (words, read) = ask(&folder, all, (700, 702), 9, fore);
    assert_eq!((words.join(" ").as_str(), read), ("700 701", 1));
}
