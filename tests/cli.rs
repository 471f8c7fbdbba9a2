//! What a user meets on the command line: help, mistakes, and the first run.

#![expect(
    clippy::disallowed_methods,
    reason = "the tests make and damage files as a user or a bad card would"
)]

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use crate::support::{Done, Running, done, drupelet, eventually, finish, get};

fn write(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, text).unwrap();
    path
}

/// The command fails with this code, and stderr holds every text.
fn check(done: &Done, code: i32, texts: &[&str]) {
    assert_eq!(done.code, code, "{done:#?}");
    for text in texts {
        assert!(done.stderr.contains(text), "no `{text}` in {done:#?}");
    }
}

#[test]
fn wrong_usage_is_told_with_exit_code_2() {
    check(
        &done(&[]),
        2,
        &["no command given", "Usage: drupelet COMMAND"],
    );
    check(
        &done(&["rum"]),
        2,
        &["unknown command `rum`", "did you mean `drupelet run`?"],
    );
    check(
        &done(&["run", "--pod-dir", "/x"]),
        2,
        &["unknown flag `--pod-dir`", "did you mean `--pods-dir`?"],
    );
    check(
        &done(&["run", "--reader", "mmap"]),
        2,
        &["`--reader` is `mmap`, expected auto, uring or pread"],
    );
    check(
        &done(&["segments", "eat"]),
        2,
        &["eat", "ls, verify or rebuild-index"],
    );
    check(
        &done(&["query", "--from", "tomorrow"]),
        2,
        &["`--from` is `tomorrow`"],
    );
    check(&done(&["stats"]), 2, &["not in this version yet"]);
    check(
        &done(&["segments", "export"]),
        2,
        &["not in this version yet"],
    );
}

#[test]
fn every_command_has_help() {
    let overview = done(&["--help"]);
    assert_eq!(overview.code, 0);
    let commands = [
        "run", "agent", "store", "query", "labels", "series", "check", "doctor", "segments", "demo",
    ];
    for command in commands {
        assert!(
            overview.stdout.contains(&format!("\n  {command} ")),
            "{command}"
        );
        for args in [[command, "--help"], ["help", command]] {
            let help = done(&args);
            assert_eq!(help.code, 0);
            assert!(
                help.stdout.contains(&format!("Usage: drupelet {command}")),
                "{help:?}"
            );
        }
    }
    let version = done(&["--version"]).stdout;
    assert_eq!(version, format!("drupelet {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn configuration_mistakes_name_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let cases = [
        (
            "listen: 127.0.0.1:0\npod_dir: /x\n",
            "bad.yaml:2: unknown key `pod_dir`",
        ),
        (
            "listen: 127.0.0.1:0\npod_dir: /x\n",
            "did you mean `pods_dir`?",
        ),
        (
            "\nlimits_config:\n  query_timeout: fast\n",
            "bad.yaml:3: `limits_config.query_timeout` is `fast`, expected a duration",
        ),
        ("a: [\n", "bad.yaml:"),
    ];
    for (text, want) in cases {
        let path = write(dir.path(), "bad.yaml", text);
        for command in ["check", "run"] {
            check(
                &done(&[command, "--config", path.to_str().unwrap()]),
                2,
                &[want],
            );
        }
    }
    check(
        &done(&["check", "--config", "/nowhere/drupelet.yaml"]),
        2,
        &[
            "cannot read configuration `/nowhere/drupelet.yaml`",
            "--config",
        ],
    );
    let env = finish(drupelet(&["check"]).env("DRUPELET_HEAD_BYTES", "much"));
    check(
        &env,
        2,
        &["`DRUPELET_HEAD_BYTES` is `much`, expected a size"],
    );
}

#[test]
fn printed_configuration_reads_back_to_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = drupelet(&[
        "check",
        "--listen",
        "127.0.0.1:7",
        "--label",
        "cluster=home $1",
    ]);
    let first = finish(first.env("DRUPELET_FLUSH_INTERVAL", "90s"));
    assert_eq!(first.code, 0, "{first:#?}");
    assert!(
        first
            .stdout
            .contains("flush_interval: 1m30s  # default: 30m"),
        "{first:#?}"
    );
    let path = write(dir.path(), "c.yaml", &first.stdout);
    let again = done(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(again.stdout, first.stdout);
}

#[test]
fn a_pods_directory_that_cannot_work_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = write(dir.path(), "file", "");
    let data = dir.path().join("data");
    let data = data.to_str().unwrap();
    let args = |pods: &str| {
        [
            "run",
            "--listen",
            "127.0.0.1:0",
            "--data-dir",
            data,
            "--pods-dir",
            pods,
        ]
        .map(str::to_owned)
    };
    let args_file = args(file.to_str().unwrap());
    let args_file: Vec<&str> = args_file.iter().map(String::as_str).collect();
    check(
        &done(&args_file),
        1,
        &["cannot read pods directory", "--pods-dir is"],
    );

    let locked = dir.path().join("locked");
    std::fs::create_dir(&locked).unwrap();
    std::fs::set_permissions(&locked, std::fs::Permissions::from_mode(0o000)).unwrap();
    let args_locked = args(locked.to_str().unwrap());
    let args_locked: Vec<&str> = args_locked.iter().map(String::as_str).collect();
    let mut command = drupelet(&args_locked);
    let root = std::fs::metadata("/proc/self").unwrap();
    if std::os::unix::fs::MetadataExt::uid(&root) == 0 {
        // Root reads everything, so the executable runs as nobody, from a place that nobody may enter.
        let copy = dir.path().join("drupelet");
        std::fs::copy(env!("CARGO_BIN_EXE_drupelet"), &copy).unwrap();
        for (path, mode) in [(dir.path(), 0o777), (copy.as_path(), 0o755)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        // What the first run made belongs to root.
        let _ = std::fs::remove_dir_all(data);
        command = std::process::Command::new(&copy);
        command.args(&args_locked).uid(65_534).gid(65_534);
    }
    check(
        &finish(&mut command),
        1,
        &["cannot read pods directory", "CAP_DAC_READ_SEARCH"],
    );
}

/// A pods directory with one container of three lines.
fn pods(dir: &Path) -> PathBuf {
    let pods = dir.join("pods");
    write(
        &pods,
        "shop_orders-5b7c9d8f66-qv9tx_0a0b0c0d-1111-2222-3333-444455556666/orders/0.log",
        "2026-11-20T09:00:00.000000001Z stdout F first line\n\
         2026-11-20T09:00:01Z stdout P second \n\
         2026-11-20T09:00:01.5Z stderr F error: \x1b[31mred\n\
         2026-11-20T09:00:02Z stdout F line\n",
    );
    pods
}

const SPAN: [&str; 4] = ["--from", "2026-11-20", "--to", "2026-11-21"];

fn query(target: [&str; 2], rest: &[&str]) -> Done {
    let args: Vec<&str> = ["query"]
        .iter()
        .chain(&target)
        .chain(&SPAN)
        .chain(rest)
        .copied()
        .collect();
    done(&args)
}

#[test]
fn from_a_pod_log_to_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (pods, data) = (pods(dir.path()), dir.path().join("data"));
    let mut running = Running::run(&pods, &data);
    let url = format!("http://{}", running.addr);
    let lines = ["first line", "second line", "error: \x1b[31mred"];
    let sorted = |done: &Done| {
        let mut lines: Vec<String> = done.stdout.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    let mut want = lines.map(str::to_owned).to_vec();
    want.sort();
    eventually("three lines", || {
        let done = query(["--url", &url], &["--output", "raw"]);
        (sorted(&done) == want).then_some(())
    });
    assert_eq!(get(&running.addr, "/ready").0, 200);
    let data_flag = ["--data-dir", data.to_str().unwrap()];

    // Beside the live process its data directory is asked through it.
    assert_eq!(sorted(&query(data_flag, &["--output", "raw"])), want);
    let metric = query(
        data_flag,
        &[
            "sum(count_over_time({namespace=\"shop\"}[24h]))",
            "--output",
            "raw",
        ],
    );
    assert_eq!(metric.stdout, "3\n", "{metric:#?}");
    let labels = done(&["labels", "namespace", "--url", &url, "--from", "2026-11-20"]);
    assert_eq!(labels.stdout, "shop\n", "{labels:#?}");
    let series = done(&[
        "series",
        "{namespace=\"shop\"}",
        "--url",
        &url,
        "--from",
        "2026-11-20",
    ]);
    assert_eq!(series.stdout.lines().count(), 2, "{series:#?}");
    let bad = query(["--url", &url], &["{namespace="]);
    check(&bad, 1, &["parse error", "(400)"]);

    // A second process may not have the directory.
    let second = done(&[
        "run",
        "--pods-dir",
        pods.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    check(
        &second,
        1,
        &["in use", "--data-dir", &format!("addr={}", running.addr)],
    );

    running.signal("TERM");
    assert_eq!(running.wait(), 0);
    // Nobody holds it now: it is opened here.
    let closed = query(
        data_flag,
        &[
            "{app=\"orders\"} |= \"line\"",
            "--output",
            "raw",
            "--forward",
        ],
    );
    assert_eq!(closed.stdout, "first line\nsecond line\n", "{closed:#?}");
}

#[test]
fn p7_what_a_pod_log_lost_is_counted_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let pods = pods(dir.path());
    let log = "shop_cart-0_00000000-0000-4000-8000-000000000009/cart/0.log";
    let long = "x".repeat(2000);
    let mut text =
        format!("2026-11-20T09:00:00Z stdout F {long}\n2026-11-20T09:00:01Z stdout F {long}\n");
    text.push_str(&format!("{}\n", "\0".repeat(100)));
    text.push_str("2026-11-20T09:00:02Z stdout F last\n");
    write(&pods, log, &text);
    let data = dir.path().join("data");
    let config = write(dir.path(), "drupelet.yaml", "max_line_size: 1KiB\n");
    let (pods, data) = (pods.to_str().unwrap(), data.to_str().unwrap());
    let config = config.to_str().unwrap();
    let before = done(&["doctor", "--pods-dir", pods, "--data-dir", data]);
    assert!(before.stdout.contains("nothing to ask"), "{before:#?}");
    let args = [
        "run",
        "--config",
        config,
        "--pods-dir",
        pods,
        "--data-dir",
        data,
        "--listen",
        "127.0.0.1:0",
    ];
    let running = Running::start(&args, "listening on ");
    let count = r#"count_over_time({container="cart"}[1000d])"#;
    eventually("three lines", || {
        let counted = done(&["query", count, "--data-dir", data, "--output", "raw"]);
        (counted.stdout == "3\n").then_some(())
    });
    let metrics = get(&running.addr, "/metrics").1;
    let doctor = done(&["doctor", "--pods-dir", pods, "--data-dir", data]);
    for (metric, words) in [
        (
            "drupelet_agent_truncated_lines_total 2",
            "2 lines cut to max_line_size",
        ),
        ("drupelet_agent_damaged_total 1", "1 runs of NUL bytes"),
    ] {
        assert!(metrics.contains(&format!("\n{metric}\n")), "{metrics}");
        assert!(doctor.stdout.contains(words), "{doctor:#?}");
    }
}

#[test]
fn the_store_alone_answers_and_tails_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (pods, data) = (pods(dir.path()), dir.path().join("data"));
    let mut tailed = Running::run(&pods, &data);
    eventually("three lines", || {
        let done = query(["--data-dir", data.to_str().unwrap()], &["--output", "raw"]);
        (done.stdout.lines().count() == 3).then_some(())
    });
    tailed.signal("TERM");
    assert_eq!(tailed.wait(), 0);

    let mut store = Running::store(&data);
    let url = format!("http://{}", store.addr);
    assert_eq!(get(&store.addr, "/ready").0, 200);
    let found = query(["--url", &url], &["--output", "raw"]);
    assert_eq!(found.stdout.lines().count(), 3, "{found:#?}");
    let (_, metrics) = get(&store.addr, "/metrics");
    assert!(metrics.contains("drupelet_store_segments 1"), "{metrics}");
    assert!(!metrics.contains("drupelet_agent_"), "{metrics}");

    // The directory and the port belong to one process.
    let second = done(&[
        "store",
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ]);
    check(&second, 1, &["in use", &format!("addr={}", store.addr)]);
    let second = done(&["store", "--data-dir", "/nowhere", "--listen", &store.addr]);
    check(&second, 1, &["cannot listen on"]);
    check(
        &done(&["store", "--pods-dir", "/x"]),
        2,
        &["unknown flag `--pods-dir` for `drupelet store`"],
    );
    store.signal("INT");
    assert_eq!(store.wait(), 0);
}

#[test]
fn stored_data_has_its_own_commands() {
    let dir = tempfile::tempdir().unwrap();
    let (pods, data) = (pods(dir.path()), dir.path().join("data"));
    let data_dir = data.to_str().unwrap();
    let mut running = Running::run(&pods, &data);
    let url = format!("http://{}", running.addr);
    eventually("three lines", || {
        let done = query(["--url", &url], &["--output", "raw"]);
        (done.stdout.lines().count() == 3).then_some(())
    });
    check(
        &done(&["segments", "rebuild-index", "--data-dir", data_dir]),
        1,
        &["in use"],
    );
    running.signal("INT");
    assert_eq!(running.wait(), 0);

    let ls = done(&["segments", "ls", "--data-dir", data_dir]);
    assert_eq!(ls.stdout.lines().count(), 2, "{ls:#?}");
    let verify = done(&["segments", "verify", "--data-dir", data_dir]);
    assert_eq!(verify.code, 0, "{verify:#?}");
    let rebuild = done(&["segments", "rebuild-index", "--data-dir", data_dir]);
    assert_eq!(rebuild.code, 0, "{rebuild:#?}");
    let again = query(["--data-dir", data_dir], &["--output", "raw"]);
    assert_eq!(again.stdout.lines().count(), 3, "{again:#?}");

    let segment = data.join("segments/0000000000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    // Byte 88 of the summary says where the blocks are (docs/FORMAT.md).
    let block = u64::from_le_bytes(bytes[88..96].try_into().unwrap()) as usize;
    for byte in &mut bytes[block..block + 64] {
        *byte ^= 0xff;
    }
    std::fs::write(&segment, &bytes).unwrap();
    let damaged = done(&["segments", "verify", "--data-dir", data_dir]);
    check(&damaged, 1, &["1 of 1 segments are damaged"]);
    assert!(damaged.stdout.contains("DAMAGED"), "{damaged:#?}");
    let rest = query(["--data-dir", data_dir], &["--output", "raw"]);
    assert_eq!(rest.code, 0, "{rest:#?}");
}

#[test]
fn a_newer_data_directory_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let pods = pods(dir.path());
    // A segment's summary as docs/FORMAT.md has it, of a version that does not exist yet.
    let mut summary = b"drupSEG1".to_vec();
    summary.extend_from_slice(&9999u32.to_le_bytes());
    summary.resize(248, 0);
    let hash = xxhash_rust::xxh3::xxh3_64(&summary);
    summary.extend_from_slice(&hash.to_le_bytes());
    let data = dir.path().join("data");
    let segment = data.join("segments/0000000000000001.seg");
    std::fs::create_dir_all(segment.parent().unwrap()).unwrap();
    std::fs::write(&segment, &summary).unwrap();
    let args = [
        "run",
        "--pods-dir",
        pods.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    check(
        &done(&args),
        1,
        &[
            "format 9999",
            "this version reads up to",
            "a newer drupelet wrote it",
        ],
    );
    assert_eq!(std::fs::read(&segment).unwrap(), summary);
    assert_eq!(data.join("segments").read_dir().unwrap().count(), 1);
}

#[test]
fn a_taken_port_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let data = dir.path().join("data");
    let run = done(&[
        "run",
        "--listen",
        &addr,
        "--data-dir",
        data.to_str().unwrap(),
    ]);
    check(
        &run,
        1,
        &[
            &format!("cannot listen on {addr}"),
            "--listen",
            "another process",
        ],
    );
    // It was found before anything was made.
    assert!(!data.exists());
    let demo = done(&["demo", "--listen", &addr]);
    check(&demo, 1, &[&format!("cannot listen on {addr}")]);
}

#[test]
fn nobody_to_ask_is_said() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("http://{free}");
    check(
        &done(&["query", "--url", &url]),
        1,
        &["cannot ask", "is drupelet running there?"],
    );
    check(
        &done(&["query", "--data-dir", "/nowhere"]),
        1,
        &["`/nowhere` does not exist"],
    );
    let empty = tempfile::tempdir().unwrap();
    let done = done(&["query", "--data-dir", empty.path().to_str().unwrap()]);
    check(&done, 1, &["is not a data directory of drupelet"]);
    assert_eq!(empty.path().read_dir().unwrap().count(), 0);
}

#[test]
fn the_demo_answers_and_cleans_up() {
    let dir = tempfile::tempdir().unwrap();
    let tmp = dir.path().to_str().unwrap();
    // The temporary place is per test, so that nothing else is looked at.
    let mut running = Running::start_in(
        &["demo", "--listen", "127.0.0.1:0"],
        "URL http://",
        &[("TMPDIR", tmp)],
    );
    let (status, body) = get(
        &running.addr,
        "/loki/api/v1/query?query=sum%20by%20(namespace)(count_over_time(%7Bnamespace%3D~%22.%2B%22%7D%5B20m%5D))",
    );
    assert_eq!(status, 200);
    for namespace in ["web", "shop", "kube-system", "batch"] {
        assert!(body.contains(namespace), "{body}");
    }
    let shown = running.seen.join("\n");
    for text in [
        "1. ",
        "2. ",
        "3. ",
        "curl -sG http://",
        " query --url ",
        "kube-system",
    ] {
        assert!(shown.contains(text), "no `{text}` in:\n{shown}");
    }
    assert!(!shown.contains("(nothing yet)"), "{shown}");
    assert_eq!(dir.path().read_dir().unwrap().count(), 1);
    running.signal("INT");
    assert_eq!(running.wait(), 0);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
}

#[test]
fn the_configuration_document_shows_every_key() {
    let printed = finish(drupelet(&["check"]).env("NODE_NAME", "pi-1"));
    assert_eq!(printed.code, 0, "{printed:#?}");
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/CONFIGURATION.md");
    let document = std::fs::read_to_string(document).unwrap();
    assert!(
        document.contains(&format!("```yaml\n{}```\n", printed.stdout)),
        "docs/CONFIGURATION.md does not hold what `drupelet check` prints:\n{}",
        printed.stdout
    );
}
