//! `drupelet agent` against a double of Loki that answers wrong, late, twice or not at all: nothing is lost, and what is
//! sent again is the batch that was on its way, byte for byte.

#![expect(
    clippy::disallowed_methods,
    reason = "the test is the kubelet here: it writes the logs itself"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::loki::{Act, Loki, Pushed, Taken};
use crate::support::{Running, done, drupelet, finish, get};
use crate::util::wait_for;

/// Quick, so that ten minutes of outage are a second.
const CLIENT: &str = "batchwait: 20ms, batchsize: 16KiB, timeout: 500ms, \
                      backoff_config: {min_period: 5ms, max_period: 40ms}";

/// A node with one pod, an agent and what its lines are.
struct Node {
    tmp: TempDir,
    lines: u64,
    config: String,
}

impl Node {
    fn new(loki: &Loki) -> Node {
        Node::with(loki, CLIENT)
    }

    fn with(loki: &Loki, client: &str) -> Node {
        let node = Node {
            tmp: TempDir::new().expect("temp dir"),
            lines: 0,
            config: format!("clients:\n  - {{url: '{}', {client}}}\n", loki.url()),
        };
        std::fs::create_dir_all(node.log().parent().expect("parent")).expect("mkdir");
        std::fs::write(node.path("config.yaml"), &node.config).expect("write");
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.tmp.path().join(name)
    }

    fn log(&self) -> PathBuf {
        self.path(
            "pods/shop_orders-5b7c9d8f66-qv9tx_0a0b0c0d-1111-2222-3333-444455556666/orders/0.log",
        )
    }

    fn line(n: u64) -> String {
        let output = ["level=info", "level=error"][usize::from(n.is_multiple_of(7))];
        format!(
            "{output} n={n:06} msg=\"request completed\" path=/api/items/{}",
            n * 7919 % 10_007
        )
    }

    /// Appends lines, so that the file holds `lines` of them.
    fn append(&mut self, lines: u64) {
        let mut text = String::new();
        for n in self.lines..self.lines + lines {
            let stream = ["stdout", "stderr"][usize::from(n.is_multiple_of(3))];
            writeln!(
                text,
                "2026-11-26T09:{:02}:{:02}.{:09}Z {stream} F {}",
                n / 60_000 % 60,
                n / 1000 % 60,
                n,
                Node::line(n)
            )
            .expect("to a string");
        }
        self.append_text(&text);
        self.lines += lines;
    }

    fn append_text(&self, text: &str) {
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.log());
        file.expect("log file")
            .write_all(text.as_bytes())
            .expect("append");
    }

    fn start(&self) -> Running {
        let (pods, data, config) = (
            self.path("pods"),
            self.path("data"),
            self.path("config.yaml"),
        );
        let text = |p: &Path| p.to_str().expect("text").to_owned();
        let args = [
            "agent",
            "--config",
            &text(&config),
            "--pods-dir",
            &text(&pods),
            "--data-dir",
            &text(&data),
        ];
        let listen = ["--listen", "127.0.0.1:0"];
        Running::start(&[&args[..], &listen].concat(), "listening on ")
    }

    fn stop(mut running: Running) {
        running.signal("TERM");
        assert_eq!(running.wait(), 0);
    }

    /// Each line was stored as often as `times` says (once, if it says nothing), with its labels and metadata.
    fn check(&self, loki: &Loki) -> BTreeMap<u64, u64> {
        let mut times: BTreeMap<String, u64> = BTreeMap::new();
        for pushed in loki.taken().iter().flat_map(|t| &t.stored) {
            *times.entry(pushed.line.clone()).or_default() += 1;
            check_entry(pushed);
        }
        let mut repeated = BTreeMap::new();
        for n in 0..self.lines {
            let found = times.remove(&Node::line(n)).unwrap_or(0);
            assert!(found > 0, "line {n} is lost");
            if found > 1 {
                repeated.insert(n, found);
            }
        }
        assert!(times.is_empty(), "lines that nobody wrote: {times:?}");
        repeated
    }
}

fn check_entry(pushed: &Pushed) {
    let n: u64 = pushed.line.split("n=").nth(1).expect("n")[..6]
        .parse()
        .expect("a number");
    let stream = ["stdout", "stderr"][usize::from(n.is_multiple_of(3))];
    for pair in [
        "namespace=\"shop\"",
        "pod=\"orders-5b7c9d8f66-qv9tx\"",
        &format!("stream=\"{stream}\""),
    ] {
        assert!(pushed.labels.contains(pair), "{pushed:?}");
    }
    assert_eq!(pushed.ts % 1_000_000_000, n as i64, "{pushed:?}");
    let level = if n.is_multiple_of(7) { "error" } else { "info" };
    assert_eq!(
        pushed.metadata.get("detected_level").map(String::as_str),
        Some(level),
        "{pushed:?}"
    );
}

/// The first `tries` requests have the same bytes, and the one after them has others.
fn check_same(taken: &[Taken], tries: usize) {
    assert!(taken.len() >= tries, "{} requests", taken.len());
    for (i, pair) in taken[..tries].windows(2).enumerate() {
        assert!(
            pair[0].body == pair[1].body,
            "request {} differs from the one before",
            i + 1
        );
    }
    if let Some(next) = taken.get(tries) {
        assert!(
            next.body != taken[0].body,
            "sent again although it was answered for good"
        );
    }
}

fn metric(running: &Running, name: &str) -> u64 {
    let (status, text) = get(&running.addr, "/metrics");
    assert_eq!(status, 200);
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    let value = line.unwrap_or_else(|| panic!("no {name} in:\n{text}"));
    value.parse::<f64>().expect("a number") as u64
}

fn retries(running: &Running, reason: &str) -> u64 {
    metric(
        running,
        &format!("drupelet_ship_retries_total{{reason=\"{reason}\"}}"),
    )
}

/// The script, how often its first batch is sent, how often lines of it are stored, and as what retries are counted.
fn check(script: Vec<Act>, tries: usize, stored: u64, reason: &str) {
    let what = format!("{script:?}");
    let loki = Loki::start(script);
    let mut node = Node::new(&loki);
    node.append(500);
    let running = node.start();
    loki.wait_requests(tries);
    node.append(500);
    let first = loki.taken()[0].entries.len() as u64;
    loki.wait_stored(1000 + first * (stored - 1));
    wait_for(
        || (metric(&running, "drupelet_ship_entries_total") == 1000).then_some(()),
        || what.clone(),
    );
    let repeated = node.check(&loki);
    assert_eq!(
        repeated.len() as u64,
        if stored > 1 { first } else { 0 },
        "{what}"
    );
    assert!(
        repeated.values().all(|n| *n == stored),
        "{what}: {repeated:?}"
    );
    check_same(&loki.taken(), tries);
    if !reason.is_empty() {
        assert_eq!(retries(&running, reason), tries as u64 - 1, "{what}");
    }
    Node::stop(running);
    // All of it was acknowledged: nothing comes again.
    let requests = loki.requests();
    let running = node.start();
    node.append(1);
    loki.wait_stored(1001 + first * (stored - 1));
    assert_eq!(loki.requests(), requests + 1);
    assert_eq!(loki.taken()[requests].entries.len(), 1, "{what}");
    Node::stop(running);
}

#[test]
fn refusals_for_now_are_sent_again_as_they_were() {
    check(
        vec![Act::answer(500), Act::answer(503), Act::answer(502)],
        4,
        1,
        "server_error",
    );
    check(
        vec![Act::answer(429), Act::answer(429)],
        3,
        1,
        "rate_limited",
    );
    check(vec![Act::answer(260)], 2, 1, "rate_limited");
}

#[test]
fn a_batch_of_unknown_fate_is_sent_again_as_it_was() {
    check(vec![Act::StoreAnd(500)], 2, 2, "server_error");
    check(vec![Act::Hang], 2, 1, "timeout");
    check(
        vec![Act::Reset(false), Act::Reset(true)],
        3,
        2,
        "disconnected",
    );
    check(vec![Act::HalfAnswer], 2, 2, "disconnected");
}

#[test]
fn what_the_user_has_to_mend_is_kept() {
    for status in [401, 403] {
        check(vec![Act::answer(status)], 2, 1, "credentials");
    }
    for status in [301, 404, 405] {
        check(vec![Act::answer(status)], 2, 1, "wrong_url");
    }
}

#[test]
fn retry_after_is_respected() {
    let wait = Act::Answer(429, "Retry-After: 1\r\n", "slow down".to_owned());
    let loki = Loki::start([wait]);
    let mut node = Node::new(&loki);
    node.append(10);
    let running = node.start();
    loki.wait_stored(10);
    let taken = loki.taken();
    let between = taken[1].at.duration_since(taken[0].at);
    assert!(between.as_millis() >= 1000, "{between:?}");
    assert!(node.check(&loki).is_empty());
    Node::stop(running);
}

#[test]
fn p7_partial_refusals_are_counted_and_not_sent_again() {
    let loki = Loki::start([Act::Partial(3)]);
    let mut node = Node::new(&loki);
    node.append(100);
    let mut running = node.start();
    loki.wait_stored(97);
    wait_for(
        || (metric(&running, "drupelet_ship_entries_total") == 100).then_some(()),
        || "100 entries".to_owned(),
    );
    let refused = "drupelet_ship_refused_entries_total{reason=\"too_far_behind\"}";
    assert_eq!(metric(&running, refused), 3);
    assert_eq!(
        metric(&running, "drupelet_ship_partly_refused_batches_total"),
        0
    );
    running.wait_for("refused for good");
    node.append(100);
    loki.wait_stored(197);
    assert_eq!(
        loki.taken().iter().map(|t| t.entries.len()).sum::<usize>(),
        200
    );

    // A request refused as a whole is counted as a whole.
    loki.always(Act::Answer(
        400,
        "",
        "couldn't parse labels: 1:3: parse error".to_owned(),
    ));
    node.append(50);
    let refused = "drupelet_ship_refused_entries_total{reason=\"invalid_labels\"}";
    wait_for(
        || (metric(&running, refused) == 50).then_some(()),
        || "50 refused".to_owned(),
    );
    // An answer that gives no number is counted as one, and as such.
    loki.always(Act::Answer(400, "", "something else".to_owned()));
    node.append(50);
    let refused = "drupelet_ship_partly_refused_batches_total";
    wait_for(
        || (metric(&running, refused) >= 1).then_some(()),
        || "partly refused".to_owned(),
    );
    let (pods, data) = (node.path("pods"), node.path("data"));
    let places = [pods.to_str().expect("text"), data.to_str().expect("text")];
    let doctor = done(&["doctor", "--pods-dir", places[0], "--data-dir", places[1]]);
    for words in [
        "3 lines that the server refused for good (too_far_behind)",
        "50 lines that the server refused for good (invalid_labels)",
        "batches of which the server refused a part",
    ] {
        assert!(doctor.stdout.contains(words), "no `{words}` in {doctor:#?}");
    }
    Node::stop(running);
}

#[test]
fn p7_batches_that_are_too_large_are_halved_down_to_single_entries() {
    let loki = Loki::start([]);
    loki.always(Act::AtMost(2000));
    let mut node = Node::new(&loki);
    node.append(300);
    let huge = format!("2026-11-26T09:00:00.5Z stdout F {}\n", "x".repeat(3000));
    node.append_text(&huge);
    node.append(300);
    let running = node.start();
    loki.wait_stored(600);
    let refused = "drupelet_ship_refused_entries_total{reason=\"request_too_large\"}";
    wait_for(
        || (metric(&running, refused) == 1).then_some(()),
        || "one too large".to_owned(),
    );
    assert!(metric(&running, "drupelet_ship_halved_batches_total") > 3);
    assert!(node.check(&loki).is_empty());
    // Order within a stream is kept.
    let taken = loki.taken();
    for stream in ["stdout", "stderr"] {
        let of = |e: &&Pushed| e.labels.contains(&format!("stream=\"{stream}\""));
        let lines: Vec<_> = taken
            .iter()
            .flat_map(|t| &t.stored)
            .filter(of)
            .map(|e| &e.line)
            .collect();
        assert!(
            lines
                .iter()
                .map(|l| &l[l.find("n=").expect("n")..])
                .is_sorted(),
            "{stream}"
        );
    }
    Node::stop(running);
}

#[test]
fn an_outage_of_ten_minutes_loses_nothing_and_takes_no_memory() {
    let loki = Loki::start([]);
    let mut node = Node::with(&loki, CLIENT);
    node.append(1000);
    let running = node.start();
    // Not before each answer has arrived: what is on its way would rightly come twice.
    wait_for(
        || (metric(&running, "drupelet_ship_entries_total") == 1000).then_some(()),
        || "1000 entries".to_owned(),
    );
    loki.away(true);
    // 32 MiB of log, while ten minutes of tries, scaled, find nobody.
    for _ in 0..60 {
        node.append(5_000);
    }
    let before = retries(&running, "unreachable");
    wait_for(
        || (retries(&running, "unreachable") >= before + 20).then_some(()),
        || "twenty more tries".to_owned(),
    );
    let resident = metric(&running, "process_resident_memory_bytes") >> 10;
    assert!(resident <= RESIDENT_KIB, "{resident} KiB are resident");
    assert!(metric(&running, "drupelet_ship_lag_seconds") < 600);
    // The batch size, or one read of the log.
    assert!(metric(&running, "drupelet_ship_filling_bytes") <= 256 << 10);
    loki.away(false);
    loki.wait_stored(node.lines);
    assert!(node.check(&loki).is_empty());
    Node::stop(running);
}

/// What the agent alone may take at 500 lines/s, KiB; unoptimised code is several times larger.
const RESIDENT_KIB: u64 = (9 << 10) + if cfg!(debug_assertions) { 12 << 10 } else { 0 };

#[test]
fn what_is_in_memory_is_sent_at_the_end() {
    let loki = Loki::start([]);
    let mut node = Node::with(&loki, "batchwait: 1h, batchsize: 1MiB");
    node.append(100);
    let running = node.start();
    wait_for(
        || (metric(&running, "drupelet_agent_lines_total") == 100).then_some(()),
        || "read".to_owned(),
    );
    assert_eq!(loki.requests(), 0);
    Node::stop(running);
    assert_eq!(loki.requests(), 1);
    assert!(node.check(&loki).is_empty());
    let running = node.start();
    node.append(1);
    wait_for(
        || (metric(&running, "drupelet_agent_lines_total") == 1).then_some(()),
        || "read".to_owned(),
    );
    Node::stop(running);
    assert!(node.check(&loki).is_empty());
}

#[test]
fn an_end_without_a_server_is_quick_and_loses_nothing() {
    let loki = Loki::start([]);
    loki.away(true);
    let mut node = Node::with(
        &loki,
        "batchwait: 10ms, backoff_config: {min_period: 1h, max_period: 2h}",
    );
    node.append(100);
    let mut running = node.start();
    running.wait_for("nothing listens on that port");
    running.signal("TERM");
    assert_eq!(running.wait(), 0);
    running.wait_for("read and sent again after the next start");
    loki.away(false);
    let running = node.start();
    loki.wait_stored(100);
    assert!(node.check(&loki).is_empty());
    Node::stop(running);
}

#[test]
fn credentials_and_tenant_are_sent_and_shown_nowhere() {
    let loki = Loki::start([Act::answer(401)]);
    let mut node = Node::new(&loki);
    let token = node.path("token");
    std::fs::write(&token, "hunter2\n").expect("write");
    let client = format!(
        "clients:\n  - url: {}/other/push\n    tenant_id: home\n    bearer_token_file: {}\n    batchwait: 10ms\n    \
         backoff_config: {{min_period: 5ms, max_period: 40ms}}\n",
        loki.url(),
        token.display()
    );
    std::fs::write(node.path("config.yaml"), client).expect("write");
    node.append(10);
    let mut running = node.start();
    running.wait_for("check user, password, token and tenant");
    loki.wait_stored(10);
    let taken = &loki.taken()[0];
    assert_eq!(taken.path, "/other/push");
    let headers = [
        ("authorization", "Bearer hunter2"),
        ("x-scope-orgid", "home"),
        ("content-type", "application/x-protobuf"),
        ("content-encoding", "snappy"),
        ("host", &loki.addr),
    ];
    for (name, value) in headers {
        assert_eq!(
            taken.headers.get(name).map(String::as_str),
            Some(value),
            "{name}"
        );
    }
    // A new token is taken without a restart.
    std::fs::write(&token, "hunter3").expect("write");
    loki.away(true);
    loki.away(false);
    node.append(10);
    loki.wait_stored(20);
    let taken = loki.taken();
    let last = taken.last().expect("a request");
    assert_eq!(last.headers["authorization"], "Bearer hunter3");
    running.signal("TERM");
    assert_eq!(running.wait(), 0);
    assert!(
        !running.seen.join("\n").contains("hunter"),
        "{:?}",
        running.seen
    );

    let url = format!("http://me:hunter2@{}", loki.addr);
    for args in [
        &["check", "--push-url", &url][..],
        &["agent", "--push-url", &format!("{url}/#")],
    ] {
        let done = done(args);
        assert!(!format!("{done:?}").contains("hunter2"), "{done:?}");
    }
    std::fs::write(
        node.path("config.yaml"),
        "clients: [{url: 'http://x', basic_auth: {username: u, password: \"hunter2\\u0007\"}}]\n",
    )
    .expect("write");
    let done = done(&[
        "check",
        "--config",
        node.path("config.yaml").to_str().expect("text"),
    ]);
    assert_eq!(done.code, 2);
    assert!(!format!("{done:?}").contains("hunter2"), "{done:?}");
}

/// The command fails with this code, and stderr holds every text.
fn check_told(args: &[&str], code: i32, texts: &[&str]) {
    let done = done(args);
    assert_eq!(done.code, code, "{done:#?}");
    for text in texts {
        assert!(done.stderr.contains(text), "no `{text}` in {done:#?}");
    }
}

#[test]
fn mistakes_of_the_command_line_are_told() {
    check_told(
        &["agent"],
        2,
        &["nowhere to push to", "--push-url http://loki:3100"],
    );
    let url = ["agent", "--push-url", "loki:3100"];
    check_told(
        &url,
        2,
        &["`--push-url`: cannot push to `loki:3100`", "http://"],
    );
    let flag = ["agent", "--push-ulr", "http://x"];
    check_told(&flag, 2, &["unknown flag `--push-ulr`", "--push-url"]);

    // The environment beats the file, and what is printed is read back.
    let dir = TempDir::new().expect("temp dir");
    let path = dir.path().join("c.yaml");
    let check = ["check", "--config", path.to_str().expect("text")];
    let text = "client:\n  url: http://a\n  batchsize: 65536\n  tls_config: {ca_file: /ca.pem}\n";
    std::fs::write(&path, text).expect("write");
    let shown = finish(drupelet(&check).env("DRUPELET_PUSH_URL", "https://b/x"));
    for text in [
        "- url: https://b/x\n",
        "batchsize: 64KiB  # default: 1MiB\n",
    ] {
        assert!(shown.stdout.contains(text), "{shown:#?}");
    }
    std::fs::write(&path, &shown.stdout).expect("write");
    assert_eq!(done(&check).stdout, shown.stdout);
}

#[test]
fn what_cannot_work_is_told_at_the_start() {
    let dir = TempDir::new().expect("temp dir");
    let path = dir.path().join("c.yaml");
    let config = "clients: [{url: 'https://x', tls_config: {ca_file: /nowhere/ca.pem}}]\n";
    std::fs::write(&path, config).expect("write");
    let (config, data) = (path.to_str().expect("text"), dir.path().join("data"));
    let data = data.to_str().expect("text");
    let agent = ["agent", "--listen", "127.0.0.1:0", "--data-dir", data];
    let with = |more: &[&'static str]| [&agent[..], more].concat();
    let tls = [&agent[..], &["--config", config]].concat();
    check_told(&tls, 1, &["tls_config.ca_file `/nowhere/ca.pem`"]);
    let url = ["--push-url", "http://127.0.0.1:1"];
    let file = [&agent[..], &url, &["--pods-dir", config]].concat();
    check_told(&file, 1, &["cannot read pods directory", "--pods-dir is"]);

    // A pods directory may come later, and so may the server.
    let missing = [&with(&url)[..], &["--pods-dir", "/nowhere/pods"]].concat();
    let running = Running::start(&missing, "listening on ");
    let waits = |l: &String| l.contains("pods directory does not exist yet");
    assert!(running.seen.iter().any(waits), "{:?}", running.seen);
    let texts = ["positions` is in use by process", "its own `--data-dir`"];
    check_told(&with(&url), 1, &texts);
    assert_eq!(get(&running.addr, "/ready").0, 200);
    assert_eq!(get(&running.addr, "/loki/api/v1/labels").0, 404);
}
