//! Memory does not follow the size of the folder.

use std::io::Read as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::tree::{SECOND, container, put, time};
use crate::support::drupelet;

/// 2026-11-20T09:00:00Z
const START: i64 = 1_795_165_200 * SECOND;
/// Most that a query may need, KiB.
const PEAK_MAX: u64 = 32 << 10;
/// What ten times as much log may cost more, KiB.
const GROWTH_MAX: u64 = 3 << 10;
const PODS: usize = 10;
const FILES: usize = 5;

/// A tree of about this many MiB of text, the older files of each container compressed.
fn tree(dir: &Path, mib: usize) {
    let each = (mib << 20) / (PODS * FILES);
    // Eleven hours, whatever the size: answers have the same size too.
    let gap = 40_000 * SECOND / (each * FILES / 160) as i64;
    for pod in 0..PODS {
        let name = format!("load_app-{pod}_{pod:08}-aaaa-4bbb-8ccc-000000000001");
        let dir = container(dir, &name, "app");
        let mut n: i64 = 0;
        for file in 0..FILES {
            let mut text = String::with_capacity(each + 256);
            while text.len() < each {
                n += 1;
                let (at, took) = (time(START + n * gap), n * 7919 % 1000);
                text.push_str(&format!(
                    "{at} stdout F level=info pod={pod} n={n} took={took} msg=\"request for /items/{took} was served from \
                     the cache of shard {}\"\n",
                    n % 17
                ));
            }
            let path = match FILES - 1 - file {
                0 => dir.join("0.log"),
                1 => dir.join(format!("0.log.20261120-{file:06}")),
                _ => dir.join(format!("0.log.20261120-{file:06}.gz")),
            };
            put(&path, text.as_bytes(), START + n * gap);
        }
    }
}

/// The peak of a query's memory, KiB, and the rows that it printed. It is looked at while the query waits for us to take
/// its rows, which must be more than a pipe holds.
fn peak(command: &mut Command) -> (u64, usize) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut text = vec![0; 1];
    stdout.read_exact(&mut text).unwrap();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    let peak = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    stdout.read_to_end(&mut text).unwrap();
    assert!(
        text.len() > 128 << 10,
        "{} bytes fit into a pipe",
        text.len()
    );
    assert!(child.wait().unwrap().success());
    (peak, text.iter().filter(|b| **b == b'\n').count())
}

#[test]
fn p4_memory_of_a_folder_query_is_bounded_whatever_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = (dir.path().join("small"), dir.path().join("large"));
    tree(&small, 20);
    tree(&large, 200);
    let queries: [&[&str]; 4] = [
        &["--limit", "4000", r#"{namespace="load"} |= "took=9""#],
        &[
            "--limit",
            "1000",
            "--forward",
            r#"{namespace="load"} | logfmt | n > 100"#,
        ],
        &[
            "--from",
            "2026-11-20",
            "--to",
            "2026-11-21",
            "--step",
            "8s",
            r#"sum by (pod) (count_over_time({namespace="load"} |= "took=" [1m]))"#,
        ],
        &[
            "--from",
            "2026-11-20",
            "--to",
            "2026-11-21",
            "--step",
            "8s",
            r#"sum by (shard) (rate({namespace="load"} | logfmt | took > 500 [1m]))"#,
        ],
    ];
    for query in queries {
        let [a, b] = [&small, &large].map(|dir| {
            let args = [&["query", "--pods-dir", dir.to_str().unwrap()], query].concat();
            peak(&mut drupelet(&args))
        });
        assert!(b.0 <= PEAK_MAX, "{query:?}: {} KiB", b.0);
        assert!(
            b.0 <= a.0 + GROWTH_MAX,
            "{query:?}: {} KiB, then {}",
            a.0,
            b.0
        );
    }
}
