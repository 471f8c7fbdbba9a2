//! `drupelet query --follow`: every entry once, in order, over an outage of the server.

#![expect(
    clippy::disallowed_methods,
    reason = "the test is the container runtime"
)]

use std::fs::File;
use std::io::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{Running, done};

/// A line with the time of now.
fn append(log: &mut File, text: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();

    let date = std::process::Command::new("date")
        .args([
            "-u",
            "-d",
            &format!("@{}", now.as_secs()),
            "+%Y-%m-%dT%H:%M:%S",
        ])
        .output()
        .unwrap();
    let date = String::from_utf8(date.stdout).unwrap();
    let record = format!(
        "{}.{:09}Z stdout F {text}\n",
        date.trim(),
        now.subsec_nanos()
    );
    log.write_all(record.as_bytes()).unwrap();
}

#[test]
fn follow_prints_each_entry_once_over_an_outage() {
    let dir = tempfile::tempdir().unwrap();
    let (pods, data) = (dir.path().join("pods"), dir.path().join("data"));
    let container = pods.join("shop_web-1_00000000-0000-4000-8000-000000000001/web");
    std::fs::create_dir_all(&container).unwrap();
    let mut log = File::create(container.join("0.log")).unwrap();
    append(&mut log, "older");
    append(&mut log, "history");
    let mut node = Running::run(&pods, &data);
    let addr = node.addr.clone();
    let url = format!("http://{addr}");
    let query = r#"{container="web"}"#;
    let count = format!("count_over_time({query}[1h])");
    crate::support::eventually("two lines", || {
        let counted = done(&["query", &count, "--url", &url, "--output", "raw"]);
        (counted.stdout.trim() == "2").then_some(())
    });
    let args = [
        "query", query, "--url", &url, "--follow", "--limit", "1", "--output", "raw",
    ];
    let mut follow = Running::start(&args, "history");
    append(&mut log, "first");
    follow.wait_for("first");
    node.signal("TERM");
    assert_eq!(node.wait(), 0);
    append(&mut log, "while away");
    follow.wait_for("warning: cannot ask");
    let args = [
        "run",
        "--listen",
        &addr,
        "--pods-dir",
        pods.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
    ];
    let _node = Running::start(&args, "listening on ");
    follow.wait_for("while away");
    for i in 0..50 {
        append(&mut log, &format!("burst {i}"));
    }
    follow.wait_for("burst 49");
    let seen = follow
        .seen
        .iter()
        .filter(|line| !line.starts_with("warning"));
    let mut want = vec!["history".to_owned(), "first".into(), "while away".into()];
    want.extend((0..50).map(|i| format!("burst {i}")));
    assert_eq!(seen.cloned().collect::<Vec<_>>(), want);
}

#[test]
fn what_cannot_be_followed_is_said() {
    let check = |args: &[&str], code: i32, text: &str| {
        let done = done(args);
        assert_eq!(done.code, code, "{done:#?}");
        assert!(done.stderr.contains(text), "{done:#?}");
    };
    check(
        &["query", "--follow", "--to", "5"],
        2,
        "`--follow` and `--to` exclude each other",
    );
    check(
        &["query", "rate({a=\"b\"}[1m])", "--follow"],
        2,
        "needs a log query",
    );
    check(
        &["query", "--follow", "--url", "http://127.0.0.1:1"],
        1,
        "cannot ask",
    );
    let dir = tempfile::tempdir().unwrap();
    let (pods, data) = (dir.path().join("pods"), dir.path().join("data"));
    std::fs::create_dir_all(&pods).unwrap();
    let mut node = Running::run(&pods, &data);
    node.signal("TERM");
    assert_eq!(node.wait(), 0);
    check(
        &["query", "--follow", "--data-dir", data.to_str().unwrap()],
        1,
        "nothing writes to this data directory",
    );
}
