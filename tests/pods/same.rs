//! A folder asked as it is answers like a store that was filled from it.

#![expect(clippy::disallowed_methods, reason = "a test's own configuration")]

use std::path::Path;

use super::tree::{Record, SECOND, Shape, Spec, records, time, write};
use crate::support::{Running, done, drupelet, finish};
use crate::util::{Rng, wait_for};

/// 2026-11-20T09:00:00Z
const START: i64 = 1_795_165_200 * SECOND;
const SPREAD: i64 = 3 * 3600 * SECOND;

const PODS: [&str; 5] = [
    "shop_web-5d4f8c7b96-x2x4b_11111111-aaaa-4bbb-8ccc-000000000001",
    "shop_redis-0_22222222-aaaa-4bbb-8ccc-000000000002",
    "kube-system_kube-proxy-node-a_0123456789abcdef0123456789abcdef",
    "media_player-7kq2z_44444444-aaaa-4bbb-8ccc-000000000004",
    "ci_build-29387520-p9w4d_55555555-aaaa-4bbb-8ccc-000000000005",
];

fn spec(
    pod: usize,
    container: &'static str,
    restart: u32,
    lines: usize,
    files: usize,
) -> Spec<'static> {
    Spec {
        pod: PODS[pod],
        container,
        restart,
        shape: Shape::Cri,
        lines,
        files,
        width: 60,
    }
}

/// Writes everything; how many lines there are.
fn tree(pods: &Path) -> usize {
    let mut rng = Rng(7);
    let wide = Spec {
        width: 400,
        ..spec(4, "build", 0, 5000, 2)
    };
    let docker = Spec {
        shape: Shape::Docker,
        ..spec(3, "player", 0, 600, 1)
    };
    let specs = [
        spec(0, "nginx", 0, 700, 5),
        spec(0, "nginx", 1, 900, 4),
        spec(0, "sidecar", 0, 40, 1),
        spec(1, "redis", 3, 500, 2),
        spec(2, "kube-proxy", 0, 300, 3),
        docker,
        wide,
    ];
    let mut lines = 0;
    for (i, spec) in specs.iter().enumerate() {
        let mut records = records(&mut rng, spec, START + i as i64 * 97 * SECOND, SPREAD);
        lines += records.iter().filter(|r| r.full).count();
        if spec.restart == 0 && spec.container == "nginx" {
            // The program died within a line.
            let ts = records.last().unwrap().ts + 1;
            records.push(Record {
                ts,
                stream: 0,
                full: false,
                text: b"panic: half a li".to_vec(),
            });
            lines += 1;
        }
        write(pods, spec, &records);
    }
    lines
}

const QUERIES: &[&str] = &[
    r#"{namespace=~".+"}"#,
    r#"{namespace="shop"}"#,
    r#"{namespace="shop", stream="stderr"}"#,
    r#"{app="web", container!="sidecar"} |= "error""#,
    r#"{pod=~"redis.*|player.*"} != "status""#,
    r#"{namespace=~".+"} |~ "(?i)error.*failed""#,
    r#"{namespace=~".+"} |~ "^GET .*ms""#,
    r#"{namespace=~".+"} |= "panic""#,
    r#"{namespace=~".+"} | detected_level="warn""#,
    r#"{namespace=~".+"} | restart="1" | json | status>=500"#,
    r#"{container="nginx"} | json | __error__="" | line_format "{{.took}} {{.status}}""#,
    r#"{container="nginx"} | logfmt | level="error" | keep level, msg"#,
    r#"{container="build"} |= "broken""#,
    r#"{service_name="kube-proxy"} | drop pod_uid, detected_level"#,
    r#"{service_name="nobody"}"#,
    r#"{cluster="home", node="node-a"} |= "unit 77 ""#,
    r#"sum(count_over_time({namespace=~".+"}[4h]))"#,
    r#"sum by (namespace, stream) (count_over_time({namespace=~".+"}[4h]))"#,
    r#"sum by (detected_level) (count_over_time({namespace=~".+"}[4h]))"#,
    r#"count_over_time({container="nginx"}[2h])"#,
    r#"sum by (container) (bytes_over_time({namespace=~".+"}[4h]))"#,
    r#"sum by (container) (count_over_time({namespace=~".+"} |= "error" [90m]))"#,
    r#"sum by (container) (count_over_time({namespace=~".+"} |~ "(?i)error" | detected_level="error" [4h]))"#,
    r#"topk(2, sum by (pod) (rate({namespace=~".+"}[1h])))"#,
    r#"sum by (status) (count_over_time({namespace=~".+"} | json | __error__="" [4h]))"#,
    r#"max by (container) (max_over_time({namespace=~".+"} | logfmt | unwrap took | __error__="" [4h]))"#,
    r#"sum(sum_over_time({container="nginx"} | json | unwrap took | __error__="" [1h]))"#,
    r#"quantile_over_time(0.9, {container="redis"} | json | unwrap took | __error__="" [4h]) by (container)"#,
    r#"last_over_time({container="redis"} | json | unwrap n | __error__="" [4h]) by (stream)"#,
    r#"absent_over_time({service_name="nobody"}[1h])"#,
    r#"sum(count_over_time({namespace="shop"}[1h])) / sum(count_over_time({namespace=~".+"}[1h] offset 30m))"#,
    r#"count(count_over_time({namespace=~".+"}[10m]))"#,
    "1 + 2",
];

/// Windows to ask in: everything, parts, and edges.
fn windows() -> Vec<(i64, i64)> {
    let at = |minutes: i64| START + minutes * 60 * SECOND;
    vec![
        (at(-60), at(400)),
        (at(30), at(45)),
        (at(100), at(101)),
        (at(170), at(400)),
        (at(-60), at(1)),
    ]
}

#[test]
fn a_folder_answers_like_a_store_filled_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let (pods, data) = (dir.path().join("pods"), dir.path().join("data"));
    let lines = tree(&pods);
    let config = dir.path().join("config.yaml");
    let text =
        "max_line_size: 4KiB\nnode_name: node-a\ncatch_up_rate: 0\nlabels:\n  cluster: home\n";
    std::fs::write(&config, text).unwrap();
    let (pods, data, config) = (
        pods.to_str().unwrap(),
        data.to_str().unwrap(),
        config.to_str().unwrap(),
    );
    let args = ["--pods-dir", pods, "--data-dir", data, "--config", config];
    let run = [&["run", "--listen", "127.0.0.1:0"][..], &args].concat();
    let running = Running::start(&run, "listening on ");
    let url = format!("http://{}", running.addr);
    let all = format!(r#"sum(count_over_time({}[10h]))"#, r#"{namespace=~".+"}"#);
    let end = time(START + 9 * 3600 * SECOND);
    let count = || {
        done(&[
            "query", "--url", &url, "--to", &end, "--output", "raw", &all,
        ])
        .stdout
    };
    wait_for(
        || (count().trim() == lines.to_string()).then_some(()),
        || format!("{lines} lines, stored {}", count()),
    );
    let mut rows = 0;
    for (n, query) in QUERIES.iter().enumerate() {
        for (w, (from, to)) in windows().into_iter().enumerate() {
            let (from, to) = (time(from), time(to));
            let mut flags = vec!["--from", &from, "--to", &to];
            flags.extend(
                [
                    &["--limit", "5000"][..],
                    &["--limit", "7", "--forward"],
                    &["--limit", "40"],
                ][(n + w) % 3],
            );
            if n % 2 == w % 2 {
                flags.extend(["--step", "10m"]);
            }
            let ask = |target: &[&str]| {
                let args = [&["query", "--output", "jsonl"], target, &flags, &[*query]].concat();
                let done = finish(&mut drupelet(&args));
                assert_eq!(done.code, 0, "{args:?}: {}", done.stderr);
                done.stdout
            };
            let stored = ask(&["--url", &url]);
            let read = ask(&["--pods-dir", pods, "--config", config]);
            rows += read.lines().count();
            assert_same(&stored, &read, &format!("{query} {flags:?}"));
        }
    }
    assert!(rows > 10_000, "{rows} rows compared");
}

fn assert_same(stored: &str, read: &str, what: &str) {
    if stored == read {
        return;
    }
    let (a, b): (Vec<&str>, Vec<&str>) = (stored.lines().collect(), read.lines().collect());
    let at = a
        .iter()
        .zip(&b)
        .position(|(a, b)| a != b)
        .unwrap_or(a.len().min(b.len()));
    panic!(
        "{what}: {} rows stored, {} read; row {at} differs:\n{:?}\n{:?}",
        a.len(),
        b.len(),
        a.get(at),
        b.get(at)
    );
}
