//! What users point at, what bad cards and live kubelets do to files, and what is said of it.
#![expect(
    clippy::disallowed_methods,
    reason = "stands for the kubelet and a bad card, whose files are not ours"
)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Stdio;

use super::tree::{SECOND, container, gzip, put, time};
use crate::support::{Done, done, drupelet};

const POD: &str = "shop_web-0_11111111-aaaa-4bbb-8ccc-000000000001";
const OTHER: &str = "shop_db-0_22222222-aaaa-4bbb-8ccc-000000000002";
/// 2026-11-20T09:00:00Z
const START: i64 = 1_795_165_200 * SECOND;
const COUNT: &str = r#"sum(count_over_time({namespace="shop"}[1000d]))"#;

/// Lines `from..to`, one a second.
fn lines(from: i64, to: i64) -> Vec<u8> {
    let line = |n: i64| format!("{} stdout F line {n}\n", time(START + n * SECOND));
    (from..to).map(line).collect::<String>().into_bytes()
}

fn at(seconds: i64) -> i64 {
    START + seconds * SECOND
}

fn ask(dir: &Path, more: &[&str]) -> Done {
    let args = [
        &[
            "query",
            "--output",
            "raw",
            "--pods-dir",
            dir.to_str().unwrap(),
        ],
        more,
    ]
    .concat();
    done(&args)
}

#[track_caller]
fn check(done: &Done, code: i32, stdout: &str, stderr: &[&str]) {
    assert_eq!(
        (done.code, done.stdout.as_str()),
        (code, stdout),
        "{done:#?}"
    );
    for text in stderr {
        assert!(done.stderr.contains(text), "no `{text}` in {done:#?}");
    }
    if stderr.is_empty() {
        assert_eq!(done.stderr, "");
    }
}

#[test]
fn a_folder_is_found_from_above_and_from_inside() {
    let dir = tempfile::tempdir().unwrap();
    let pods = dir.path().join("var/log/pods");
    put(
        &container(&pods, POD, "web").join("0.log"),
        &lines(0, 3),
        at(3),
    );
    put(
        &container(&pods, OTHER, "db").join("0.log"),
        &lines(0, 2),
        at(2),
    );
    check(&ask(&pods, &[COUNT]), 0, "5\n", &[]);
    let found = format!("note: reading `{}`", pods.display());
    for above in ["", "var", "var/log"] {
        check(&ask(&dir.path().join(above), &[COUNT]), 0, "5\n", &[&found]);
    }
    let inside = ["note: reading "];
    check(&ask(&pods.join(POD), &[COUNT]), 0, "3\n", &inside);
    check(
        &ask(&pods.join(POD).join("web"), &[COUNT]),
        0,
        "3\n",
        &inside,
    );
}

#[test]
fn wrong_directories_say_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    check(
        &ask(&missing, &[]),
        1,
        "",
        &["cannot read pods directory", "NAMESPACE_POD_UID"],
    );
    check(
        &ask(dir.path(), &[]),
        1,
        "",
        &["holds no pod's folder", "such as /var/log/pods"],
    );
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    check(
        &ask(&file, &[]),
        1,
        "",
        &["cannot read pods directory", "Not a directory"],
    );
    fs::write(container(dir.path(), POD, "web").join("notes.txt"), "x").unwrap();
    check(
        &ask(dir.path(), &[]),
        1,
        "",
        &["1 pod folders, but no log file", "0.log.TIME.gz"],
    );
}

#[test]
fn flags_that_do_not_go_together_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let pods = dir.path();
    put(
        &container(pods, POD, "web").join("0.log"),
        &lines(0, 3),
        at(3),
    );
    for flag in [
        &["--follow"][..],
        &["--url", "http://x"],
        &["--data-dir", "x"],
    ] {
        let text = format!("`--pods-dir` and `{}` exclude each other", flag[0]);
        check(&ask(pods, flag), 2, "", &[&text]);
    }
    for flag in ["--config", "--label", "--node-name"] {
        let done = done(&["query", flag, "a=b"]);
        check(&done, 2, "", &[&format!("`{flag}` goes with `--pods-dir`")]);
    }
    check(
        &ask(pods, &["--limit", "5001"]),
        1,
        "",
        &["5001 > 5000", "DRUPELET_MAX_ENTRIES"],
    );
    check(&ask(pods, &["{"]), 1, "", &["parse error"]);
    let steps = ask(pods, &["--since", "90d", "--step", "1s", COUNT]);
    check(&steps, 1, "", &["11,000 points", "--step"]);
}

#[test]
fn ranges_are_the_whole_folder_unless_given() {
    let dir = tempfile::tempdir().unwrap();
    let pods = dir.path();
    let web = container(pods, POD, "web");
    put(&web.join("0.log.20261120-090010.gz"), &lines(0, 10), at(10));
    put(&web.join("0.log"), &lines(10, 20), at(20));
    let two = ["--limit", "2"];
    check(&ask(pods, &two), 0, "line 19\nline 18\n", &[]);
    check(
        &ask(pods, &[&two[..], &["--forward"]].concat()),
        0,
        "line 0\nline 1\n",
        &[],
    );
    let (from, to) = (time(at(8)), time(at(12)));
    let range = ["--from", &from, "--to", &to, "--forward"];
    check(
        &ask(pods, &range),
        0,
        "line 8\nline 9\nline 10\nline 11\n",
        &[],
    );
    // At the time of the newest line: the window holds five.
    let newest = r#"sum(count_over_time({namespace="shop"}[5s]))"#;
    check(&ask(pods, &[newest]), 0, "5\n", &[]);
    check(&ask(pods, &["--to", &to, newest]), 0, "5\n", &[]);
    check(&ask(pods, &["--step", "10s", newest]), 0, "1\n5\n4\n", &[]);
    // Nothing of last week's card lies in the last five minutes of another clock.
    check(
        &ask(pods, &["--since", "5m", "--to", "2026-11-27"]),
        0,
        "",
        &[],
    );
}

#[test]
fn what_is_left_out_is_said_and_the_rest_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let pods = dir.path();
    let web = container(pods, POD, "web");
    let whole = gzip(&lines(0, 2000));
    fs::write(
        web.join("0.log.20261120-090000.gz"),
        &whole[..whole.len() / 2],
    )
    .unwrap();
    put(
        &web.join("0.log.20261120-093320"),
        &lines(2000, 2010),
        at(2010),
    );
    let mut torn = lines(2010, 2012);
    torn.extend_from_slice(b"garbage\n\0\0\0\0\n2026-11-20T09:33:32Z stdout F cut o");
    put(&web.join("0.log"), &torn, at(2012));
    put(&web.join("1.log"), b"", at(2012));
    let db = container(pods, OTHER, "db");
    symlink("/nowhere/x-json.log", db.join("0.log")).unwrap();
    fs::write(db.join("1.log.20261120-090000.gz"), b"no gzip at all").unwrap();
    let all = ask(pods, &[COUNT]);
    assert_eq!(all.code, 0, "{all:#?}");
    let count: i64 = all.stdout.trim().parse().unwrap();
    assert!((500..2013).contains(&count), "{all:#?}");
    for text in [
        "0.log.20261120-090000.gz` is cut short or damaged, what follows the first ",
        "/0.log` ends in the middle of a record, its last 35 bytes left out",
        "/0.log`: 1 line not written by a container runtime",
        "/0.log`: 1 run of zero bytes passed over",
        "is a link to `/nowhere/x-json.log`, which is not there",
        "1.log.20261120-090000.gz` is cut short or damaged, what follows the first 0 bytes",
    ] {
        assert_eq!(
            all.stderr.matches(text).count(),
            1,
            "{text}\n{}",
            all.stderr
        );
    }
    let newest = ask(
        pods,
        &["--limit", "2", "--forward", "--from", &time(at(2011))],
    );
    assert_eq!(newest.stdout, "line 2011\ngarbage\n", "{newest:#?}");
    // Only the broken ones: nothing could be read.
    let broken = ask(&pods.join(OTHER), &[]);
    check(
        &broken,
        1,
        "",
        &["none of the log files could be read", "left out"],
    );
}

#[test]
fn copies_and_lines_in_pieces_are_seen_once_and_whole() {
    let dir = tempfile::tempdir().unwrap();
    let pods = dir.path();
    let web = container(pods, POD, "web");
    let (old, new) = (lines(0, 50), lines(50, 100));
    let mut old = old;
    let piece = |n: i64, tag: &str, text: &str| format!("{} stderr {tag} {text}\n", time(at(n)));
    old.extend(piece(50, "P", "one ").into_bytes());
    let new = [
        piece(51, "P:x", "two ").into_bytes(),
        new,
        piece(101, "F", "three").into_bytes(),
    ]
    .concat();
    put(&web.join("0.log.20261120-090050"), &old, at(50));
    // The kubelet is about to remove the plain one; another has just been begun.
    put(&web.join("0.log.20261120-090050.gz"), &old, at(50));
    fs::write(web.join("0.log.20261120-090050.tmp"), &old).unwrap();
    put(&web.join("0.log"), &new, at(101));
    check(&ask(pods, &[COUNT]), 0, "101\n", &[]);
    let stderr = r#"{stream="stderr"}"#;
    let joined = "one two three\n";
    for more in [&[][..], &["--forward"], &["--limit", "1"]] {
        check(&ask(pods, &[more, &[stderr]].concat()), 0, joined, &[]);
    }
    // Its time is that of its first piece: later windows do not have it, nor its end.
    let later = time(at(51));
    check(&ask(pods, &["--from", &later, stderr]), 0, "", &[]);
    let far = ["--from", &time(at(3000)), "--to", &time(at(4000)), stderr];
    check(&ask(pods, &far), 0, "", &[]);
}

#[test]
fn terminals_and_pipes_end_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let pods = dir.path();
    put(
        &container(pods, POD, "web").join("0.log"),
        &lines(0, 5000),
        at(5000),
    );
    let args = [
        "query",
        "--limit",
        "5000",
        "--pods-dir",
        pods.to_str().unwrap(),
    ];
    let mut child = drupelet(&args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let ended = child.wait_with_output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stderr.is_empty(), "{ended:?}");
}

#[test]
fn rotation_meanwhile_neither_loses_nor_repeats() {
    let dir = tempfile::tempdir().unwrap();
    let pods = dir.path();
    let web = container(pods, POD, "web");
    put(
        &container(pods, OTHER, "db").join("0.log"),
        &lines(0, 1000),
        at(1000),
    );
    let mut live = lines(0, 400);
    put(&web.join("0.log"), &live, at(400));
    let rotations: u32 = 12;
    let (pods, live) = (&pods, &mut live);
    for n in 1..=rotations {
        std::thread::scope(|scope| {
            let turn = scope.spawn(|| {
                let plain = web.join(format!("0.log.20261120-{n:06}"));
                let zipped = web.join(format!("0.log.20261120-{n:06}.gz"));
                let temp = web.join(format!("0.log.20261120-{n:06}.tmp"));
                fs::rename(web.join("0.log"), &plain).unwrap();
                fs::write(web.join("0.log"), b"").unwrap();
                fs::write(&temp, gzip(live)).unwrap();
                fs::rename(&temp, &zipped).unwrap();
                fs::remove_file(&plain).unwrap();
            });
            while !turn.is_finished() {
                let counted = ask(pods, &[COUNT]);
                let want = 1000 + 400 * i64::from(n);
                check(&counted, 0, &format!("{want}\n"), &[]);
            }
            turn.join().unwrap();
        });
        *live = lines(400 * i64::from(n), 400 * i64::from(n + 1));
        put(&web.join("0.log"), live, at(400 * i64::from(n + 1)));
    }
}
