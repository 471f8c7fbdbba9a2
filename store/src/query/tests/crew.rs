//! Answers of one thread and of several are the same, bit for bit.

use proptest::prelude::*;

use super::*;

/// Entries of a store, in order of arrival, and what happens between them.
#[derive(Debug, Clone)]
enum Event {
    /// Stream, metadata set, seconds since the last entry or 0 for the same instant, number in the line.
    Entry(usize, usize, u8, u16),
    Seal,
    Flush,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        30 => (0..5usize, 0..6usize, 0..4u8, any::<u16>()).prop_map(|(stream, set, gap, n)| {
            Event::Entry(stream, set, gap, n)
        }),
        2 => Just(Event::Seal),
        1 => Just(Event::Flush),
    ]
}

fn line(n: u16) -> String {
    match n % 5 {
        0 => format!(
            r#"{{"level":"info","n":{}.{n},"who":"w{}"}}"#,
            n / 7,
            n % 13
        ),
        1 => format!("level=warn n=0.{n} who=w{} needle", n % 11),
        2 => format!(r#"{{"level":"error","n":1e{}}}"#, n % 300),
        3 => format!("plain {n}"),
        _ => format!("n=-{n}.7 broken=\"{n}"),
    }
}

fn fill(events: &[Event]) -> Fixture {
    let mut fixture = Fixture::new();
    let mut ts = 1_000 * SECOND;
    for event in events {
        match event {
            Event::Entry(stream, set, gap, n) => {
                ts += i64::from(*gap) * SECOND;
                fixture.append(Entry {
                    stream: *stream,
                    set: *set,
                    ts,
                    line: line(*n).into_bytes(),
                });
            }
            Event::Seal => fixture.seal(),
            Event::Flush => fixture.flush(),
        }
    }
    fixture
}

const QUERIES: &[&str] = &[
    r#"{namespace=~".+"}"#,
    r#"{namespace=~".+"} |= "needle""#,
    r#"{namespace="shop"} | json | level="error""#,
    r#"{namespace=~".+"} | logfmt | line_format "{{.who}} {{.n}}""#,
    r#"{namespace=~".+"} |= "nowhere""#,
    "count_over_time(SELECT [1m])",
    "sum by (pod) (bytes_rate(SELECT |~ \"w[0-9]\" [90s]))",
    "sum by (level, who) (count_over_time(SELECT | json [1m]))",
    "sum by (namespace) (sum_over_time(SELECT | json | unwrap n | __error__=\"\" [2m]))",
    "avg_over_time(SELECT | logfmt | keep app, n | unwrap n | __error__=\"\" [90s])",
    "stddev_over_time(SELECT | logfmt | unwrap n | __error__=\"\" [5m]) by (app)",
    "quantile_over_time(0.9, SELECT | logfmt | unwrap n | __error__=\"\" [1m]) by (pod)",
    "first_over_time(SELECT | json | keep namespace, n | unwrap n | __error__=\"\" [3m])",
    "last_over_time(SELECT | json | keep namespace, n | unwrap n | __error__=\"\" [3m])",
    "rate_counter(SELECT | regexp \"(?P<x>[0-9]+)\" | keep pod, x | unwrap x | __error__=\"\" [4m])",
    // These fail, by an error of the pipeline and by too many series.
    "sum_over_time(SELECT | json | unwrap n [1m])",
    "sum by (who, n) (count_over_time(SELECT | logfmt [1m]))",
    "absent_over_time(SELECT |= \"needle\" [10s])",
];

fn plan(query: &str) -> Plan {
    logql::parse(query.replace("SELECT", r#"{namespace=~".+"}"#)).expect(query)
}

fn asked(view: &dyn View, query: &str, request: &Request, threads: usize, alone: usize) -> String {
    let limits = Limits {
        threads,
        alone,
        series: 100,
        ..LIMITS
    };
    let plan = plan(query);
    let got = run(view, limits, &plan, request, &hour());
    let is_full = !matches!(request, Request::Range { limit, .. } if *limit < 1000);
    match got {
        // Floats are written so that they can be told apart to the last bit.
        Ok((value, stats)) if is_full => format!("{:?} {stats:?}", plain(value)),
        Ok((value, _)) => format!("{:?}", plain(value)),
        Err(error) => format!("{error:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn one_thread_and_several_answer_the_same(
        events in proptest::collection::vec(event(), 1..900),
        alone in 0..6usize,
        step in prop_oneof![Just(SECOND), Just(7 * SECOND), Just(MINUTE_NS)],
        limit in prop_oneof![Just(1usize), Just(20), Just(100_000)],
        forward in any::<bool>(),
    ) {
        let fixture = fill(&events);
        let end = fixture.all.last().map_or(SECOND, |e| e.ts + SECOND);
        let direction = if forward { Direction::Forward } else { Direction::Backward };
        for query in QUERIES {
            let request = Request::Range { start: 1_000 * SECOND, end, step, limit, direction };
            let one = asked(&fixture, query, &request, 1, alone);
            for threads in [2, 4] {
                let several = asked(&fixture, query, &request, threads, alone);
                prop_assert_eq!(&several, &one, "{} threads: {}", threads, query);
            }
        }
    }
}

/// A store of many blocks.
fn large() -> Fixture {
    let events: Vec<Event> = (0..6_000u32)
        .map(|i| match i % 300 {
            299 => Event::Flush,
            _ => Event::Entry(
                i as usize % 5,
                i as usize % 6,
                1,
                (i * 7_919 % 65_521) as u16,
            ),
        })
        .collect();
    fill(&events)
}

#[test]
fn a_crew_that_does_not_fit_is_done_without() {
    let fixture = large();
    let request = Request::Range {
        start: 0,
        end: 10_000 * SECOND,
        step: MINUTE_NS,
        limit: 5_000,
        direction: Direction::Forward,
    };
    for query in QUERIES {
        let plan = plan(query);
        // From far too little to plenty: memory that one thread can do with is enough for several, too.
        for memory in [
            1 << 16,
            1 << 18,
            1 << 20,
            3 << 20,
            5 << 20,
            8 << 20,
            32 << 20,
        ] {
            let ask = |threads| {
                let limits = Limits {
                    memory,
                    threads,
                    ..LIMITS
                };
                let got = run(&fixture, limits, &plan, &request, &hour());
                got.map(|(value, _)| plain(value))
                    .map_err(|e| e.to_string())
            };
            match ask(1) {
                Ok(one) => assert_eq!(
                    format!("{:?}", ask(4).unwrap()),
                    format!("{one:?}"),
                    "{query}"
                ),
                Err(one) => assert_eq!(ask(4).unwrap_err(), one, "{query} {memory}"),
            }
        }
    }
}
