//! Times label lookups: `lookups DATA_DIR [build] [--streams N] [--segments N] [--live PERCENT] [--runs N]`.
//!
//! `build` fills a new store with a month of a cluster whose pods come and go: 10,000 streams of 15 labels in 100
//! namespaces and 1,440 segments, one each half hour. `--live` says how many per cent of the streams live all the month
//! (50); each of the others lives for three days. Without `build` the store that is there is asked for the names of labels,
//! values of labels and series over 30 days, a day and an hour, with and without matchers: median and 99th percentile of
//! `--runs` (50), ms. One process builds, another one asks, so that the memory of the first says nothing about the second.
#![expect(clippy::print_stdout, reason = "a measuring tool")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logql::matcher::Matcher;
use store::api::{AppendError, Cancel, Options, Store, Tuning};
use store::http::{HttpLimits, Service, State};
use wire::{Batch, Entry, LabelSet};

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
const START: i64 = 1_700_000_000 * SECOND;
/// A segment each half hour.
const FLUSH: i64 = HOUR / 2;
/// Segments that a stream of a short life is in.
const SHORT: u64 = 3 * 48;
const NAMESPACES: u64 = 100;

struct Arguments {
    dir: PathBuf,
    build: bool,
    streams: u64,
    segments: u64,
    live: u64,
    runs: usize,
}

fn main() {
    let mut a = Arguments {
        dir: PathBuf::new(),
        build: false,
        streams: 10_000,
        segments: 1440,
        live: 50,
        runs: 50,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || {
            let text = args.next().expect("a number");
            text.parse::<u64>().expect("a number")
        };
        match arg.as_str() {
            "build" => a.build = true,
            "--streams" => a.streams = number(),
            "--segments" => a.segments = number(),
            "--live" => a.live = number(),
            "--runs" => a.runs = number() as usize,
            dir => a.dir = PathBuf::from(dir),
        }
    }
    assert!(
        !a.dir.as_os_str().is_empty(),
        "usage: lookups DATA_DIR [build]"
    );
    let opened = Instant::now();
    let store = Store::open(Options {
        head_bytes: 32 << 20,
        tuning: Tuning {
            flush_interval: Duration::from_secs(1 << 30),
            query_memory: 32 << 20,
            ..Tuning::default()
        },
        ..Options::new(&a.dir, Arc::new(disk::real::RealDisk::new()))
    })
    .expect("open");
    if a.build {
        build(&store, &a);
    } else {
        println!(
            "open {:.1} ms, RSS {} KiB",
            ms(opened.elapsed()),
            memory("VmRSS")
        );
        ask(&store, &a);
        ask_over_http(&store, &a);
        println!("RSS {} KiB, peak {} KiB", memory("VmRSS"), memory("VmHWM"));
    }
    store.close().expect("close");
}

/// A number that looks random.
fn mix(n: u64) -> u64 {
    let n = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (n ^ (n >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 16
}

fn labels(n: u64) -> LabelSet {
    let (namespace, app) = (n % NAMESPACES, n / NAMESPACES % 25);
    let namespace = format!("team-{namespace:02}");
    let app = format!("service-{app}");
    // The end of a pod's name is random, as a ReplicaSet makes it: ids and order by label have little in common.
    let pod = format!(
        "{app}-{:09x}-{:05x}",
        mix(n / 4) & 0xf_ffff_ffff,
        mix(n) & 0xf_ffff
    );
    let pairs = [
        ("namespace", namespace.clone()),
        ("pod", pod),
        ("container", app.clone()),
        ("app", app.clone()),
        ("job", format!("{namespace}/{app}")),
        ("service_name", app),
        ("stream", "stdout".to_owned()),
        ("node", format!("node-{}", mix(n) % 8)),
        ("cluster", "home".to_owned()),
        (
            "environment",
            ["production", "staging"][n as usize % 2].to_owned(),
        ),
        ("region", "attic".to_owned()),
        ("zone", format!("zone-{}", n % 3)),
        ("tier", format!("tier-{}", n % 4)),
        ("version", format!("v1.{}", n % 40)),
        ("release", format!("r{}", n % 12)),
    ];
    LabelSet::from_pairs(pairs.iter().map(|(n, v)| (*n, v.as_str()))).expect("labels")
}

/// Whether stream `n` has an entry in segment `k`.
fn lives(a: &Arguments, n: u64, k: u64) -> bool {
    let long = mix(n.wrapping_mul(7) + 3) % 100 < a.live;
    let born = mix(n.wrapping_mul(13) + 5) % (a.segments + SHORT);
    // Some are there when the month begins.
    long || (k + SHORT >= born && k < born)
}

fn build(store: &Store, a: &Arguments) {
    let sets: Vec<LabelSet> = (0..a.streams).map(labels).collect();
    let none = LabelSet::from_pairs([("detected_level", "info")]).expect("labels");
    let (started, mut present) = (Instant::now(), 0);
    for k in 0..a.segments {
        let alive: Vec<usize> = (0..sets.len()).filter(|n| lives(a, *n as u64, k)).collect();
        present += alive.len();
        for (part, numbers) in alive.chunks(1000).enumerate() {
            let refs: Vec<&LabelSet> = numbers.iter().map(|n| &sets[*n]).collect();
            let entry = |i: usize| Entry {
                stream: i as u32,
                ts: START + k as i64 * FLUSH + (part * 1000 + i) as i64 * (FLUSH / 100_000),
                line: b"level=info msg=\"request done\" status=200",
                metadata: none.as_ref(),
            };
            let entries: Vec<Entry<'_>> = (0..numbers.len()).map(entry).collect();
            let batch = Batch {
                streams: &refs,
                entries: &entries,
                source: None,
            };
            loop {
                match store.append(&batch) {
                    Ok(()) => break,
                    Err(AppendError::Full) => std::thread::sleep(Duration::from_millis(1)),
                    Err(error) => panic!("{error}"),
                }
            }
        }
        store.flush().expect("flush");
    }
    let stats = store.stats();
    println!(
        "{} segments of {} streams on average, {} streams in all, in {:.1} s; segments {:.1} MB; written {:?}",
        stats.segments,
        present as u64 / a.segments,
        a.streams,
        started.elapsed().as_secs_f64(),
        stats.segment_bytes as f64 / 1e6,
        stats.written,
    );
}

fn ask(store: &Store, a: &Arguments) {
    // As a panel asks: up to now, and from within a segment.
    let segments = store.segments();
    let end = segments.iter().map(|s| s.max_ts).max().expect("segments") + 60 * SECOND;
    let first = segments.iter().map(|s| s.min_ts).min().expect("segments");
    let one = parse(r#"{namespace="team-42"}"#);
    let some = parse(r#"{namespace=~"team-[0-4].*", node!="node-3"}"#);
    let none: Vec<Matcher> = Vec::new();
    println!(
        "ms, median / 99th percentile of {}; first answer; number of answers",
        a.runs
    );
    for (range, start) in [
        ("30d", first - 1),
        ("1d", end - 24 * HOUR - HOUR / 4),
        ("1h", end - HOUR - HOUR / 4),
    ] {
        let matched = [
            ("", &none),
            ("one namespace", &one),
            ("50 namespaces, a node not", &some),
        ];
        for (selector, m) in matched {
            let show = |what: &str, f: &mut dyn FnMut(&Cancel) -> usize| {
                measure(&format!("{range:4} {what:22} {selector}"), a.runs, f);
            };
            show("labels", &mut |c| {
                store.label_names(m, start, end, c).expect("names").len()
            });
            for name in ["namespace", "pod", "nothing"] {
                show(&format!("values of {name}"), &mut |c| {
                    store
                        .label_values(name, m, start, end, c)
                        .expect("values")
                        .len()
                });
            }
            show("series", &mut |c| {
                store
                    .series(std::slice::from_ref(m), start, end, c)
                    .expect("series")
                    .len()
            });
        }
    }
}

/// The same through the HTTP service, a connection each: request, answer as JSON, and reading it.
fn ask_over_http(store: &Store, a: &Arguments) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("an address");
    let service = Service::new(store.clone(), HttpLimits::default());
    service.set_state(State::Ready);
    let service = Arc::new(service);
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            store::http::serve(listener, service, std::future::pending()).await
        })
    });
    let segments = store.segments();
    let end = segments.iter().map(|s| s.max_ts).max().expect("segments") + 60 * SECOND;
    let selector = "%7Bnamespace%3D%22team-42%22%7D";
    let all = "%7Bnamespace%3D~%22.%2B%22%7D";
    println!("over HTTP; bytes of the answer");
    for (range, hours) in [("30d", 720), ("1d", 24), ("1h", 1)] {
        let bounds = format!("start={}&end={end}", end - hours * HOUR);
        for (what, path) in [
            ("labels", format!("labels?{bounds}")),
            (
                "values of namespace",
                format!("label/namespace/values?{bounds}"),
            ),
            ("values of pod", format!("label/pod/values?{bounds}")),
            (
                "values of pod, one namespace",
                format!("label/pod/values?{bounds}&query={selector}"),
            ),
            (
                "series, one namespace",
                format!("series?{bounds}&match[]={selector}"),
            ),
            ("series", format!("series?{bounds}&match[]={all}")),
        ] {
            measure(&format!("{range:4} {what}"), a.runs, &mut |_| {
                let mut stream = TcpStream::connect(address).expect("a connection");
                let request = format!(
                    "GET /loki/api/v1/{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(request.as_bytes()).expect("sends");
                let mut answer = Vec::new();
                stream.read_to_end(&mut answer).expect("answers");
                assert!(
                    answer.starts_with(b"HTTP/1.1 200"),
                    "{path}: {}",
                    String::from_utf8_lossy(&answer)
                );
                answer.len()
            });
        }
    }
}

fn parse(text: &str) -> Vec<Matcher> {
    logql::parse_matchers(text).expect("matchers")
}

fn measure(what: &str, runs: usize, f: &mut dyn FnMut(&Cancel) -> usize) {
    let mut times = Vec::new();
    let mut found = 0;
    for _ in 0..runs.max(1) {
        let cancel = Cancel::at(Instant::now() + Duration::from_secs(600));
        let started = Instant::now();
        found = f(&cancel);
        times.push(started.elapsed());
    }
    let first = times[0];
    times.sort_unstable();
    let high = times[(times.len() * 99).div_ceil(100) - 1];
    println!(
        "{what:55} {:9.2} / {:9.2}  first {:9.2}  {found}",
        ms(times[times.len() / 2]),
        ms(high),
        ms(first)
    );
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// A field of the process's status, KiB.
fn memory(field: &str) -> u64 {
    let disk = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = disk.lines().find(|line| line.starts_with(field));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|n| n.parse().ok()).unwrap_or(0)
}
