//! Every range aggregation against its definition, window by window.

use proptest::prelude::*;

use super::accumulate::{Accumulator, Collect as _};
use crate::pipeline::EntryView;
use crate::plan::{Needs, Plan, RangeLeaf, Steps};
use crate::value::Matrix;

const MS: i64 = 1_000_000;

/// All operations, `%` where the selector goes.
const QUERIES: [&str; 17] = [
    "count_over_time(% [R])",
    "rate(% [R])",
    "bytes_over_time(% [R])",
    "bytes_rate(% [R])",
    "rate(% | unwrap x [R])",
    "sum_over_time(% | unwrap x [R])",
    "avg_over_time(% | unwrap x [R])",
    "min_over_time(% | unwrap x [R])",
    "max_over_time(% | unwrap x [R])",
    "stdvar_over_time(% | unwrap x [R])",
    "stddev_over_time(% | unwrap x [R])",
    "quantile_over_time(0.37, % | unwrap x [R])",
    "quantile_over_time(1.5, % | unwrap x [R])",
    "first_over_time(% | unwrap x [R])",
    "last_over_time(% | unwrap x [R])",
    "rate_counter(% | unwrap x [R])",
    "absent_over_time(% [R])",
];

#[derive(Debug, Clone, Copy)]
struct Sample {
    stream: usize,
    ts: i64,
    value: f64,
}

const STREAMS: [&str; 3] = ["0", "1", "2"];

/// Values of a window in the order of time, and of arrival where times are equal.
fn window(samples: &[Sample], stream: Option<usize>, start: i64, end: i64) -> Vec<(i64, f64)> {
    let mut found: Vec<(i64, f64)> = samples
        .iter()
        .filter(|s| stream.is_none_or(|stream| s.stream == stream) && start < s.ts && s.ts <= end)
        .map(|s| (s.ts, s.value))
        .collect();
    found.sort_by_key(|s| s.0);
    found
}

fn length(value: f64) -> usize {
    if value.is_finite() {
        value.abs() as usize % 50
    } else {
        7
    }
}

/// Section 10.2 of the contract, word by word.
fn define(op: &str, window: &[(i64, f64)], start: i64, end: i64) -> f64 {
    let n = window.len() as f64;
    let seconds = (end - start) as f64 / 1e9;
    let values = || window.iter().map(|s| s.1);
    let bytes = || values().map(length).sum::<usize>() as f64;
    let sum = || values().sum::<f64>();
    let extreme = |replaces: fn(f64, f64) -> bool| {
        let best = values().reduce(|a, b| if replaces(b, a) || a.is_nan() { b } else { a });
        best.expect("a window with entries")
    };
    match op {
        "count_over_time" => n,
        "rate" => n / seconds,
        "bytes_over_time" => bytes(),
        "bytes_rate" => bytes() / seconds,
        "sum_over_time" => sum(),
        "unwrapped rate" => sum() / seconds,
        "avg_over_time" => mean(&values().collect::<Vec<_>>()),
        "min_over_time" => extreme(|new, old| new < old),
        "max_over_time" => extreme(|new, old| new > old),
        "stdvar_over_time" => variance(&values().collect::<Vec<_>>()),
        "stddev_over_time" => variance(&values().collect::<Vec<_>>()).sqrt(),
        "first_over_time" => window[0].1,
        "last_over_time" => window[window.len() - 1].1,
        "rate_counter" => rate_counter(window, start, end),
        other => panic!("{other}"),
    }
}

fn mean(values: &[f64]) -> f64 {
    let mut mean = 0.0f64;
    for (k, v) in values.iter().enumerate() {
        let k = k as f64 + 1.0;
        let same = v.is_infinite() && (*v > 0.0) == (mean > 0.0);
        if !(mean.is_infinite() && (same || v.is_finite())) {
            mean += v / k - mean / k;
        }
    }
    mean
}

fn variance(values: &[f64]) -> f64 {
    let (mut mean, mut squares) = (0.0, 0.0);
    for (k, v) in values.iter().enumerate() {
        let distance = v - mean;
        mean += distance / (k as f64 + 1.0);
        squares += distance * (v - mean);
    }
    squares / values.len() as f64
}

fn quantile(q: f64, mut values: Vec<f64>) -> f64 {
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|a, b| {
        let nan = b.is_nan().cmp(&a.is_nan());
        a.partial_cmp(b).unwrap_or(nan)
    });
    let rank = q * (values.len() as f64 - 1.0);
    let lower = rank.floor();
    let upper = (lower as usize + 1).min(values.len() - 1);
    values[lower as usize] * (1.0 - (rank - lower)) + values[upper] * (rank - lower)
}

fn rate_counter(window: &[(i64, f64)], start: i64, end: i64) -> f64 {
    let n = window.len();
    if n < 2 {
        return 0.0;
    }
    let (first, last) = (window[0], window[n - 1]);
    let mut delta = last.1 - first.1;
    for pair in window.windows(2) {
        if pair[1].1 < pair[0].1 {
            delta += pair[0].1;
        }
    }
    let seconds = |ns: i64| ns as f64 / 1e9;
    let mut a = seconds(first.0 - start);
    let mut b = seconds(end - last.0);
    let s = seconds(last.0 - first.0);
    let g = s / (n as f64 - 1.0);
    if a >= 1.1 * g {
        a = g / 2.0;
    }
    if delta > 0.0 && first.1 >= 0.0 && s * (first.1 / delta) < a {
        a = s * (first.1 / delta);
    }
    if b >= 1.1 * g {
        b = g / 2.0;
    }
    delta * ((s + a + b) / s) / seconds(end - start)
}

type Points = Vec<(i64, f64)>;

/// The answer by definition: by stream, points.
fn model(query: &str, leaf: &RangeLeaf, steps: Steps, samples: &[Sample]) -> Vec<(String, Points)> {
    let op = query.split('(').next().unwrap_or_default();
    let op = match op {
        "rate" if query.contains("unwrap") => "unwrapped rate",
        _ => op,
    };
    let mut answer = Vec::new();
    let joined = leaf.grouped_by().is_some();
    let groups: Vec<(String, Option<usize>)> = if joined {
        vec![("{}".to_owned(), None)]
    } else {
        let each = STREAMS.iter().enumerate();
        each.map(|(i, s)| (format!("{{a=\"{s}\"}}"), Some(i)))
            .collect()
    };
    for (labels, stream) in groups {
        let mut points = Vec::new();
        for i in 0..steps.count() {
            let at = steps.at(i);
            let (start, end) = (at - leaf.offset() - leaf.range(), at - leaf.offset());
            let window = window(samples, stream, start, end);
            if op == "absent_over_time" {
                if window.is_empty() {
                    points.push((at, 1.0));
                }
            } else if !window.is_empty() {
                let value = if op == "quantile_over_time" {
                    let q = if query.contains("1.5") { 1.5 } else { 0.37 };
                    quantile(q, window.iter().map(|s| s.1).collect())
                } else {
                    define(op, &window, start, end)
                };
                points.push((at, value));
            }
        }
        if !points.is_empty() {
            answer.push((labels, points));
        }
    }
    answer
}

fn feed(accumulator: &mut Accumulator<'_>, leaf: &RangeLeaf, samples: &[Sample]) {
    let mut run = leaf.pipeline.run();
    for sample in samples {
        let value = sample.value.to_string();
        let metadata = [("x", value.as_str())];
        let unwraps = leaf.needs() == Needs::Value;
        let line = vec![b'.'; length(sample.value)];
        let view = EntryView {
            ts: sample.ts,
            line: &line,
            stream: &[("a", STREAMS[sample.stream])],
            metadata: if unwraps { &metadata } else { &[] },
        };
        let outcome = run.process(&view).expect("passes");
        let series = accumulator.series(&outcome).expect("within limits");
        let added = accumulator.add_outcome(series, sample.ts, &outcome);
        added.expect("within limits");
    }
}

fn collected(leaf: &RangeLeaf, steps: Steps, parts: &[&[Sample]]) -> Matrix {
    let mut all = Accumulator::new(leaf, steps, 10, 1 << 24);
    for (i, part) in parts.iter().enumerate() {
        if i == 0 {
            feed(&mut all, leaf, part);
        } else {
            let mut next = Accumulator::new(leaf, steps, 10, 1 << 24);
            feed(&mut next, leaf, part);
            all.merge(next).expect("within limits");
        }
    }
    all.finish().expect("within limits")
}

/// Equal but for rounding, measured by the size of the numbers that went in.
fn near(a: f64, b: f64, size: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * size.max(a.abs()).max(1.0)
}

fn compare(query: &str, leaf: &RangeLeaf, steps: Steps, samples: &[Sample], got: &Matrix) {
    let want = model(query, leaf, steps, samples);
    let finite = samples
        .iter()
        .map(|s| s.value.abs())
        .filter(|v| v.is_finite());
    let largest = finite.fold(0.0, f64::max);
    let size = if query.starts_with("std") {
        largest * largest
    } else {
        largest
    };
    let context = || format!("{query} {steps:?} {samples:?}\n got {got:?}\nwant {want:?}");
    assert_eq!(got.series.len(), want.len(), "{}", context());
    for (got_series, (labels, points)) in got.series.iter().zip(&want) {
        let pairs = got_series
            .labels
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()));
        assert_eq!(&crate::format::label_set(pairs), labels, "{}", context());
        assert_eq!(got_series.points.len(), points.len(), "{}", context());
        for (a, b) in got_series.points.iter().zip(points) {
            let equal = a.0 == b.0 && near(a.1, b.1, size);
            assert!(equal, "{a:?} {b:?} {}", context());
        }
    }
}

fn leaf_of(query: &str) -> RangeLeaf {
    match crate::parse(query).expect(query) {
        Plan::Metric(plan) => plan.leaves()[0].clone(),
        Plan::Log(_) => panic!("a metric query is expected"),
    }
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![
        20 => (-50i32..1_000).prop_map(f64::from),
        5 => (0u32..1_000).prop_map(|n| f64::from(n) / 7.0),
        1 => Just(0.0),
        1 => prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(f64::NEG_INFINITY)],
    ]
}

/// Samples of streams that come piece by piece, in order of time within a piece, as from segments.
fn samples() -> impl Strategy<Value = Vec<Sample>> {
    let sample = (0usize..3, 0i64..400, values());
    let piece = proptest::collection::vec(sample, 0..80).prop_map(|mut piece| {
        piece.sort_by_key(|(stream, ts, _)| (*stream, *ts));
        piece
    });
    proptest::collection::vec(piece, 1..4).prop_map(|pieces| {
        let all = pieces.into_iter().flatten();
        all.map(|(stream, ts, value)| Sample {
            stream,
            ts: ts * MS / 2,
            value,
        })
        .collect()
    })
}

fn steps() -> impl Strategy<Value = Steps> {
    (-20i64..150, 0i64..150, 1i64..60).prop_map(|(start, length, step)| Steps {
        start: start * MS,
        end: (start + length) * MS,
        step: step * MS,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn range_aggregations_are_what_is_defined(
        samples in samples(),
        steps in steps(),
        range in prop_oneof![Just(0i64), 1i64..10, 1i64..200],
        offset in -50i64..50,
        joined in any::<bool>(),
        cut in any::<prop::sample::Index>(),
    ) {
        for query in QUERIES {
            let mut text = query.replace('%', "{a=~\".+\"}").replace("[R]", &format!("[{range}ms] offset {offset}ms"));
            if offset == 0 {
                text = text.replace(" offset 0ms", "");
            }
            let op = query.split('(').next().unwrap_or_default();
            let grouped = ["avg", "min", "max", "std", "quant", "first", "last"];
            if joined && grouped.iter().any(|g| op.starts_with(g)) {
                text.push_str(" by ()");
            } else if joined && !op.starts_with("rate_counter") {
                text = format!("sum({text})");
            }
            let leaf = leaf_of(&text);
            compare(query, &leaf, steps, &samples, &collected(&leaf, steps, &[&samples]));
            // By two workers, each with its part.
            let (one, two) = samples.split_at(cut.index(samples.len() + 1));
            compare(query, &leaf, steps, &samples, &collected(&leaf, steps, &[one, two]));
        }
    }

    /// Times that are next to the edges of windows, steps of single nanoseconds.
    #[test]
    fn buckets_are_what_windows_hold(
        times in proptest::collection::vec(-40i64..80, 0..40),
        steps in (-10i64..10, 0i64..40, 1i64..9).prop_map(|(start, length, step)| Steps { start, end: start + length, step }),
        range in 0i64..30,
        offset in -5i64..5,
    ) {
        let mut leaf = leaf_of("count_over_time({a=\"b\"}[1s])");
        leaf.range = range;
        leaf.offset = offset;
        let mut windows = super::windows::Windows::new(&leaf, steps);
        let spans = windows.spans();
        let mut sorted = times.clone();
        sorted.sort_unstable();
        let mut last = 0;
        for ts in times.iter().chain(&sorted) {
            let holds = |i: usize| {
                let end = steps.at(i) - offset;
                end - range < *ts && *ts <= end
            };
            match windows.of(*ts) {
                None => prop_assert!((0..steps.count()).all(|i| !holds(i))),
                Some(held) => {
                    let bucket = windows.bucket(held);
                    prop_assert!((bucket as usize) < windows.buckets());
                    for (i, (first, last)) in spans.iter().enumerate() {
                        prop_assert_eq!((held.0..held.1).contains(&i), holds(i), "{} {}", ts, i);
                        prop_assert_eq!((*first..=*last).contains(&bucket), holds(i), "{} {}", ts, i);
                    }
                    prop_assert!(windows.same_until(*ts) >= *ts);
                    let until = windows.same_until(*ts);
                    prop_assert_eq!(windows.of(until), Some(held));
                }
            }
        }
        for ts in &sorted {
            if let Some(held) = windows.of(*ts) {
                prop_assert!(windows.bucket(held) >= last);
                last = windows.bucket(held);
            }
        }
    }
}

/// The examples of the contract, to the last digit.
#[test]
fn numbers_of_the_contract() {
    let s = 1_000 * MS;
    let values = [1.0, 2.0, 4.0, 1.0, 3.0];
    let at = |distance: i64| {
        let samples = (0i64..).zip(values).map(|(i, value)| Sample {
            stream: 0,
            ts: i * distance * s,
            value,
        });
        samples.collect::<Vec<_>>()
    };
    let instant = |query: &str, samples: &[Sample], time: i64| {
        let leaf = leaf_of(query);
        let steps = Steps {
            start: time * s,
            end: time * s,
            step: 1,
        };
        let matrix = collected(&leaf, steps, &[samples]);
        crate::format::sample_value(matrix.series[0].points[0].1)
    };
    for (query, distance, time, expected) in [
        (
            "rate_counter({a=\"b\"} | unwrap x [50s])",
            10,
            40,
            "0.13999999999999999",
        ),
        ("rate_counter({a=\"b\"} | unwrap x [1m])", 1, 30, "0.125"),
        (
            "avg_over_time({a=\"b\"} | unwrap x [1m])",
            1,
            30,
            "2.1999999999999997",
        ),
        ("sum_over_time({a=\"b\"} | unwrap x [1m])", 1, 30, "11"),
        (
            "quantile_over_time(2, {a=\"b\"} | unwrap x [1m])",
            1,
            30,
            "+Inf",
        ),
        (
            "quantile_over_time(0.5, {a=\"b\"} | unwrap x [1m])",
            1,
            30,
            "2",
        ),
        ("rate_counter({a=\"b\"} | unwrap x [1s])", 1, 3, "0"),
    ] {
        assert_eq!(instant(query, &at(distance), time), expected, "{query}");
    }
}
