//! Times queries on a store that `ingest` built: `ask DATA_DIR [QUERY ...]`. Without a query: the reference ones
//! `tail1000`, `histogram` and a few others. Prints the CPU time of the fastest and of the first of several runs.
//! A tool for measuring by hand.
#![expect(clippy::print_stdout, reason = "a measuring tool")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use logql::plan::Direction;
use logql::value::Value;
use store::api::{Cancel, Options, Request, Store};

const RUNS: usize = 7;
const HOUR: i64 = 3_600_000_000_000;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = args.next().expect("DATA_DIR");
    let queries: Vec<String> = args.collect();
    let started = (Instant::now(), cpu());
    let store = Store::open(Options {
        dir: dir.into(),
        disk: Arc::new(disk::real::RealDisk::new()),
        head_bytes: 4 << 20,
        flush_interval: Duration::from_secs(1800),
        query_memory: 32 << 20,
        max_query_series: 500,
        catch_up_rate: None,
        retention: store::retention::Retention::default(),
        clock: store::clock::Timekeeper::system(store::clock::Trust::Auto),
    })
    .expect("open");
    println!(
        "open: {:?}, cpu {:.1} ms, RSS {} KiB",
        started.0.elapsed(),
        (cpu() - started.1) * 1e3,
        rss()
    );
    let segments = store.segments();
    let last = segments.iter().map(|s| s.max_ts).max().expect("segments");
    let minute = 60_000_000_000;
    let end = (last / (5 * minute) + 1) * 5 * minute;
    let logs = Request::Range {
        start: end - 24 * HOUR,
        end,
        step: 1,
        limit: 1000,
        direction: Direction::Backward,
    };
    let steps = Request::Range {
        start: end - 24 * HOUR,
        end,
        step: 5 * minute,
        limit: 0,
        direction: Direction::Forward,
    };
    let reference = [
        r#"{namespace="shop"}"#,
        r#"{namespace=~".+"} |= "no such thing anywhere""#,
        r#"{namespace=~".+"} |~ "(?i)timeout.*[0-9]+ms""#,
        r#"sum by (namespace) (count_over_time({namespace=~".+"}[5m]))"#,
        r#"sum by (detected_level) (count_over_time({namespace="shop"}[5m]))"#,
        r#"sum by (namespace) (count_over_time({namespace=~".+"} |= "error" [5m]))"#,
        r#"topk(5, sum by (pod) (rate({namespace=~".+"}[1h])))"#,
        r#"sum by (namespace) (count_over_time({namespace=~".+"}[90s]))"#,
        r#"sum by (namespace) (bytes_over_time({namespace=~".+"}[90s]))"#,
    ]
    .map(str::to_owned);
    let queries = if queries.is_empty() {
        reference.to_vec()
    } else {
        queries
    };
    for query in &queries {
        measure(&store, query, &logs, &steps);
    }
}

fn measure(store: &Store, query: &str, logs: &Request, steps: &Request) {
    let plan = logql::parse(query).expect("query");
    let request = match plan {
        logql::plan::Plan::Log(_) => logs,
        logql::plan::Plan::Metric(_) => steps,
    };
    let mut times = Vec::new();
    let mut answer = String::new();
    for _ in 0..RUNS {
        let cancel = Cancel::at(Instant::now() + Duration::from_secs(600));
        let before = cpu();
        match store.query(&plan, request, &cancel) {
            Ok((value, stats)) => answer = format!("{} {stats:?}", size(&value)),
            Err(e) => answer = format!("{e:?}"),
        }
        times.push((cpu() - before) * 1e3);
    }
    let best = times.iter().copied().fold(f64::INFINITY, f64::min);
    println!(
        "{query}\n  cpu {best:.2} ms, first {:.2} ms, RSS {} KiB; {answer}",
        times[0],
        rss()
    );
}

fn size(value: &Value) -> String {
    match value {
        Value::Logs(l) => format!("{} entries", l.entries.len()),
        Value::Matrix(m) => {
            let sum: f64 = m.series.iter().flat_map(|s| &s.points).map(|p| p.1).sum();
            format!("{} series, sum {sum}", m.series.len())
        }
        other => format!("{other:?}"),
    }
}

/// CPU seconds of this process.
fn cpu() -> f64 {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    t.tv_sec as f64 + t.tv_nsec as f64 / 1e9
}

fn rss() -> u64 {
    let Ok(text) = std::fs::read_to_string("/proc/self/statm") else {
        return 0;
    };
    let pages = text.split(' ').nth(1).and_then(|n| n.parse().ok());
    pages.unwrap_or(0u64) * 4
}
