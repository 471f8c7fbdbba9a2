//! Queries stay within their budget of memory, hostile ones too. Counted is what Rust code allocates from before the
//! query is parsed until its answer is there; SQLite and zstd allocate in C, and have bounds of their own.

mod common;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use common::{SOURCES, options};
use disk::sim::SimDisk;
use logql::eval::EvalError;
use logql::plan::Direction;
use peak_alloc::PeakAlloc;
use store::api::{Cancel, Request, Store, Tuning};
use wire::{Batch, Entry, LabelSet, SourcePosition};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

const START: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;
const STREAMS: u64 = 40;
const BATCHES: u64 = 150;
/// Entries of a stream in a batch.
const LINES: u64 = 10;
const END: i64 = START + (BATCHES * LINES) as i64 * SECOND;

const BUDGET: usize = 16 << 20;
/// Beside the budget: the query's text, tree and plan, and the regexes' programs before any of them is used.
const FIXED: usize = 1 << 20;

/// A line of one of four kinds; every number in it is new.
fn line(stream: u64, number: u64) -> String {
    let id = (stream << 32 | number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    match stream % 4 {
        0 => format!(
            r#"{{"level":"info","msg":"order {id} taken","user":{{"id":{number},"name":"u{}"}},"items":[1,2,{id}],"took":"{}ms"}}"#,
            id % 97,
            id % 1000
        ),
        1 => format!(
            "level=warn msg=\"slow request\" id={id:x} path=/api/v{}/x{number} took={}ms",
            id % 3,
            id % 5000
        ),
        2 => format!(
            "10.0.{}.{} - - \"GET /p/{id} HTTP/1.1\" {} {number}",
            id % 256,
            number % 256,
            200 + id % 300
        ),
        _ => format!("plain {id:016x} {} {}", "a".repeat(40), number),
    }
}

fn fill(store: &Store) {
    let sets: Vec<LabelSet> = (0..STREAMS)
        .map(|i| {
            let (pod, app) = (format!("pod-{i}"), format!("app-{}", i % 4));
            LabelSet::from_pairs([("namespace", "n"), ("pod", &pod), ("app", &app)]).expect("few")
        })
        .collect();
    let sets: Vec<&LabelSet> = sets.iter().collect();
    for batch in 0..BATCHES {
        let mut held = Vec::new();
        for i in 0..LINES {
            let number = batch * LINES + i;
            let trace = format!("{:08x}", number * 31);
            let metadata = LabelSet::from_pairs([("trace", trace.as_str())]).expect("one");
            held.extend((0..STREAMS).map(|s| (s, number, line(s, number), metadata.clone())));
        }
        let entries: Vec<Entry<'_>> = held
            .iter()
            .map(|(stream, number, line, metadata)| Entry {
                stream: *stream as u32,
                ts: START + *number as i64 * SECOND,
                line: line.as_bytes(),
                metadata: metadata.as_ref(),
            })
            .collect();
        let position = batch.to_le_bytes();
        let batch = Batch {
            streams: &sets,
            entries: &entries,
            source: Some(SourcePosition {
                key: SOURCES[0].as_bytes(),
                position: Some(&position),
            }),
        };
        if store.append(&batch).is_err() {
            store.flush().expect("flushes");
            store.append(&batch).expect("taken after a flush");
        }
    }
}

/// Runs a query over everything; gives the highest heap above what there was before, and how it ended.
fn measure(store: &Store, query: &str, limit: usize) -> (usize, Result<(), String>) {
    let cancel = Cancel::at(Instant::now() + Duration::from_secs(300));
    HEAP.reset_peak_usage();
    let before = HEAP.current_usage();
    let outcome = logql::parse(query).map_err(|e| e.message).and_then(|plan| {
        let request = Request::Range {
            start: START - SECOND,
            end: END + SECOND,
            step: 10 * SECOND,
            limit,
            direction: Direction::Backward,
        };
        match store.query(&plan, &request, &cancel) {
            Ok(_) => Ok(()),
            Err(EvalError::Limit(text) | EvalError::Bad(text)) => Err(text),
            Err(other) => Err(format!("{other:?}")),
        }
    });
    (HEAP.peak_usage().saturating_sub(before), outcome)
}

fn long(piece: impl Fn(usize) -> String, times: usize, between: &str) -> String {
    let pieces: Vec<String> = (0..times).map(piece).collect();
    pieces.join(between)
}

/// Queries that people write.
const ORDINARY: &[&str] = &[
    r#"{namespace="n"}"#,
    r#"{namespace="n"} |= "taken" | json"#,
    r#"{app="app-1"} | logfmt | took > 1s"#,
    r#"{app="app-2"} | pattern `<ip> - - "<method> <path> <_>" <status> <size>` | status >= 400"#,
    r#"{app="app-3"} | regexp `plain (?P<id>[0-9a-f]+)` | line_format "{{.id | ToUpper}} {{__line__}}""#,
    r#"sum by (app) (count_over_time({namespace="n"}[1m]))"#,
    r#"sum by (pod) (rate({namespace="n"} |~ "order|slow" [1m]))"#,
    r#"quantile_over_time(0.99, {app="app-1"} | logfmt | unwrap duration(took) [1m]) by (pod)"#,
    r#"topk(3, sum by (pod) (bytes_rate({namespace="n"}[5m])))"#,
    r#"sum(count_over_time({app="app-0"} | json [1m])) / on () sum(count_over_time({app="app-1"}[1m]))"#,
];

/// Patterns whose trees are far larger than their text, up to what is refused and beyond.
fn large_regexes() -> impl Iterator<Item = String> {
    const PIECES: [&str; 10] = [
        r"\pL",
        r"(?i)k",
        "[^a]",
        "(?:a|b)?",
        r"\w",
        "[ak]",
        "(?i:\u{df}x|y)",
        "a{2}",
        "needle|word",
        "(?i)needle|word",
    ];
    const SIZES: [usize; 5] = [100_000, 50_000, 25_000, 12_000, 6_000];
    PIECES.into_iter().flat_map(|piece| {
        SIZES
            .into_iter()
            .map(move |size| piece.repeat(size / piece.len()))
    })
}

/// Queries that take as much as they can get; some of them end with an error.
fn hostile() -> Vec<String> {
    let mut queries: Vec<String> = [
        // A label set, or a series, for every entry.
        r#"{namespace="n"} | json | logfmt | regexp `(?P<a>[0-9]+)`"#,
        r#"count_over_time({namespace="n"} | json | logfmt [1h])"#,
        r#"sum by (trace) (count_over_time({namespace="n"}[1h]))"#,
        r#"sum(count_over_time({namespace="n"} | json | logfmt [1h])) or vector(0)"#,
        r#"max_over_time({app="app-0"} | json | unwrap user_id [1h]) by (msg)"#,
        r#"quantile_over_time(0.5, {namespace="n"} | label_format x="1" | unwrap x [1h])"#,
        r#"approx_topk(10, sum by (trace) (count_over_time({namespace="n"}[1h])))"#,
        // Long lines and labels out of short ones.
        r#"{namespace="n"} | line_format "{{repeat 100000 __line__}}""#,
        r#"{namespace="n"} | line_format "{{repeat 9999999 \"x\"}}""#,
        r#"{namespace="n"} | label_format x="{{repeat 100000 __line__}}""#,
        r#"sum by (x) (count_over_time({namespace="n"} | label_format x="{{repeat 20000 __line__}}" [1h]))"#,
        r#"{namespace="n"} | line_format "{{range $i, $x := (fromJson (repeat 9000 \"[\"))}}{{$i}}{{$x}}{{end}}""#,
        r#"{namespace="n"} | line_format "{{range 1000000000}}{{__line__}}{{end}}""#,
    ]
    .map(str::to_owned)
    .to_vec();
    let selector = r#"{namespace="n"}"#;
    // Regexes that are made anew for each line.
    queries.push(format!(
        "{selector} | line_format `{{{{regexReplaceAll (printf \"%s.{{0,50}}(?i)[a-z]+.{{0,30}}\" .trace) __line__ \"x\"}}}}`"
    ));
    queries.extend(large_regexes().map(|text| format!("{selector} |~ `{text}`")));
    queries.extend(large_regexes().map(|text| format!("{{pod=~`.+|{text}`}}")));
    queries.extend(large_regexes().map(|text| format!("{selector} | pod=~`x{text}`")));
    queries.extend(large_regexes().map(|text| format!("{selector} | regexp `(?P<a>{text})`")));
    let ors = long(|i| format!("`needle{i:06}`"), 3000, " or ");
    queries.push(format!("{selector} |= {ors}"));
    // Each regex has an automaton that grows while it runs.
    for piece in [
        "[a-f0-9o].{0,N}[0-9 ].{0,20}[^q].$",
        "(?i)[a-z]+.*[0-9]{N}|[0-9]$|.$",
        r"\pL{0,N}[0-9]*.*\d.{0,40}|x?$",
    ] {
        let some = |i: usize| format!("|~ `{}`", piece.replace('N', &(10 + i).to_string()));
        queries.push(format!("{selector} {}", long(some, 35, " ")));
    }
    let patterns = long(|i| format!("|> \"<_>{i}<_>a<_>\""), 500, " ");
    queries.push(format!("{selector} {patterns}"));
    let formats = long(|i| format!("x{i}=\"{{{{__line__}}}}\""), 400, ", ");
    queries.push(format!("{selector} | label_format {formats}"));
    let sums = long(
        |_| r#"sum by (pod, trace) (count_over_time({namespace="n"}[1h]))"#.to_owned(),
        40,
        " or ",
    );
    queries.push(sums);
    let mut joined = String::new();
    for i in 0..90 {
        write!(joined, "label_replace(").expect("memory");
        if i == 89 {
            joined.push_str("sum by (pod) (rate({namespace=\"n\"}[1m]))");
        }
    }
    for i in 0..90 {
        write!(joined, ", \"l{i}\", \"$1$1$1$1\", \"pod\", \"(.*)\")").expect("memory");
    }
    queries.push(joined);
    queries
}

#[test]
fn p4_queries_stay_within_their_budget() {
    let disk = SimDisk::new(1);
    let mut options = options(&disk);
    options.tuning = Tuning {
        query_memory: BUDGET,
        ..options.tuning
    };
    let store = Store::open(options).expect("opens");
    fill(&store);
    let mut over = Vec::new();
    let mut check = |query: &str, limit: usize, may_fail: bool| {
        let (peak, outcome) = measure(&store, query, limit);
        let shown: String = query.chars().take(110).collect();
        if peak > BUDGET + FIXED {
            over.push(format!("{peak} bytes: {shown}"));
        }
        assert!(may_fail || outcome.is_ok(), "{shown}: {outcome:?}");
    };
    for query in ORDINARY {
        check(query, 100, false);
        check(query, 5000, false);
    }
    for query in hostile() {
        check(&query, 5000, true);
        if query.len() < 500 {
            check(&query, 100, true);
        }
    }
    assert!(over.is_empty(), "over the budget:\n{}", over.join("\n"));
}
