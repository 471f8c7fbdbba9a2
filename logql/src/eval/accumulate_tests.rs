use super::EvalError;
use super::accumulate::Accumulator;
use crate::Pairs;
use crate::pipeline::EntryView;
use crate::plan::{Plan, RangeLeaf, Steps};
use crate::value::Matrix;

/// Stream labels, metadata, time, line.
type Entry<'a> = (Pairs<'a>, Pairs<'a>, i64, &'a str);

const HUGE: usize = 1 << 30;

fn leaf(query: &str) -> RangeLeaf {
    match crate::parse(query).expect(query) {
        Plan::Metric(plan) => plan.leaves()[0].clone(),
        Plan::Log(_) => panic!("a metric query is expected"),
    }
}

fn feed(accumulator: &mut Accumulator<'_>, leaf: &RangeLeaf, entries: &[Entry<'_>]) {
    let mut run = leaf.pipeline.run();
    for (stream, metadata, ts, line) in entries {
        let view = EntryView {
            ts: *ts,
            line: line.as_bytes(),
            stream,
            metadata,
        };
        if let Some(outcome) = run.process(&view) {
            let id = accumulator.series(&outcome).expect("within limits");
            accumulator.add(id, *ts, line.len());
        }
    }
}

fn text(matrix: &Matrix) -> Vec<String> {
    let series = matrix.series.iter().map(|s| {
        let pairs = s.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        format!("{} {:?}", crate::format::label_set(pairs), s.points)
    });
    series.collect()
}

fn check(query: &str, steps: (i64, i64, i64), entries: &[Entry<'_>], expected: &[&str]) {
    let steps = Steps {
        start: steps.0,
        end: steps.1,
        step: steps.2,
    };
    let leaf = leaf(query);
    let mut whole = Accumulator::new(&leaf, steps, 10, HUGE);
    feed(&mut whole, &leaf, entries);
    assert_eq!(
        text(&whole.finish().expect("no entry failed")),
        expected,
        "{query}"
    );
    // The same by two workers, whichever has what.
    for cut in 0..=entries.len() {
        let mut one = Accumulator::new(&leaf, steps, 10, HUGE);
        let mut two = Accumulator::new(&leaf, steps, 10, HUGE);
        feed(&mut one, &leaf, &entries[..cut]);
        feed(&mut two, &leaf, &entries[cut..]);
        one.merge(two).expect("within limits");
        assert_eq!(
            text(&one.finish().expect("no entry failed")),
            expected,
            "{query} cut at {cut}"
        );
    }
}

const S: i64 = 1_000_000_000;

#[test]
fn windows_are_open_below_and_closed_above() {
    let a: Pairs<'_> = &[("a", "b")];
    let entries = [
        (a, &[][..], 0, "x"),
        (a, &[][..], 10 * S, "xx"),
        (a, &[][..], 20 * S, "xxx"),
    ];
    check(
        "count_over_time({a=\"b\"}[10s])",
        (0, 20 * S, 10 * S),
        &entries,
        &["{a=\"b\"} [(0, 1.0), (10000000000, 1.0), (20000000000, 1.0)]"],
    );
    check(
        "count_over_time({a=\"b\"}[20s])",
        (0, 20 * S, 20 * S),
        &entries,
        &["{a=\"b\"} [(0, 1.0), (20000000000, 2.0)]"],
    );
    check(
        "bytes_over_time({a=\"b\"}[15s] offset 5s)",
        (10 * S, 30 * S, 10 * S),
        &entries,
        &["{a=\"b\"} [(10000000000, 1.0), (20000000000, 2.0), (30000000000, 3.0)]"],
    );
    check(
        "rate({a=\"b\"}[4s])",
        (S, 20 * S, 10 * S),
        &entries,
        &["{a=\"b\"} [(1000000000, 0.25), (11000000000, 0.25)]"],
    );
    check(
        "count_over_time({a=\"b\"}[0s])",
        (0, 20 * S, 10 * S),
        &entries,
        &[],
    );
    check(
        "count_over_time({a=\"b\"}[5s] offset -5s)",
        (5 * S, 5 * S, 1),
        &entries,
        &["{a=\"b\"} [(5000000000, 1.0)]"],
    );
}

#[test]
fn series_are_all_labels_or_the_groups_of_a_sum() {
    let a: Pairs<'_> = &[("a", "b"), ("pod", "1")];
    let b: Pairs<'_> = &[("a", "b"), ("pod", "2")];
    let warn: Pairs<'_> = &[("level", "warn"), ("pod", "x")];
    let entries = [
        (a, warn, 1, "x"),
        (b, &[][..], 2, "y"),
        (a, &[][..], 3, "xz"),
    ];
    let steps = (10, 10, 1);
    check(
        "count_over_time({a=\"b\"}[1s])",
        steps,
        &entries,
        &[
            "{a=\"b\", level=\"warn\", pod=\"1\", pod_extracted=\"x\"} [(10, 1.0)]",
            "{a=\"b\", pod=\"1\"} [(10, 1.0)]",
            "{a=\"b\", pod=\"2\"} [(10, 1.0)]",
        ],
    );
    check(
        "sum(count_over_time({a=\"b\"}[1s]))",
        steps,
        &entries,
        &["{} [(10, 3.0)]"],
    );
    check(
        "sum by (level, nope) (count_over_time({a=\"b\"} |~ \"[x]\" [1s]))",
        steps,
        &entries,
        &["{} [(10, 1.0)]", "{level=\"warn\"} [(10, 1.0)]"],
    );
    check(
        "sum without (pod, pod_extracted, level) (bytes_rate({a=\"b\"}[2s]))",
        steps,
        &entries,
        &["{a=\"b\"} [(10, 2.0)]"],
    );
    check(
        "count_over_time({a=\"b\"} | level=\"warn\" or pod=\"2\" [1s])",
        steps,
        &entries,
        &[
            "{a=\"b\", level=\"warn\", pod=\"1\", pod_extracted=\"x\"} [(10, 1.0)]",
            "{a=\"b\", pod=\"2\"} [(10, 1.0)]",
        ],
    );
}

#[test]
fn buckets_count_like_their_entries() {
    let leaf = leaf("sum(bytes_over_time({a=\"b\"}[2m] offset 1m))");
    let steps = Steps {
        start: 600 * S,
        end: 1_200 * S,
        step: 60 * S,
    };
    assert!(leaf.aligned_to(steps, 60 * S));
    assert!(!leaf.aligned_to(Steps { start: 1, ..steps }, 60 * S));
    assert!(!leaf.aligned_to(Steps { step: S, ..steps }, 60 * S));
    assert_eq!(leaf.span(steps), (420 * S, 1_140 * S));
    let mut single = Accumulator::new(&leaf, steps, 1, HUGE);
    let mut buckets = Accumulator::new(&leaf, steps, 1, HUGE);
    let mut run = leaf.pipeline.run();
    let view = EntryView {
        ts: 0,
        line: b"",
        stream: &[("a", "b")],
        metadata: &[],
    };
    let outcome = run.process(&view).expect("passes");
    let one = single.series(&outcome).expect("within limits");
    let all = buckets.series(&outcome).expect("within limits");
    for minute in 0..25 {
        let edge = (minute + 1) * 60 * S;
        for ts in [edge - 60 * S + 1, edge - 7 * S, edge] {
            single.add(one, ts, 5);
        }
        buckets.add_bucket(all, edge, 3, 15);
    }
    assert_eq!(
        single.finish().expect("no entry failed"),
        buckets.finish().expect("no entry failed")
    );
}

#[test]
fn limits_are_errors() {
    let leaf = leaf("count_over_time({a=\"b\"}[1s])");
    let steps = Steps {
        start: 0,
        end: 99,
        step: 1,
    };
    let outcome_of = |value: &str, accumulator: &mut Accumulator<'_>| {
        let mut run = leaf.pipeline.run();
        let view = EntryView {
            ts: 0,
            line: b"",
            stream: &[("a", value)],
            metadata: &[],
        };
        let outcome = run.process(&view).expect("passes");
        accumulator.series(&outcome)
    };
    let mut few = Accumulator::new(&leaf, steps, 1, HUGE);
    assert!(outcome_of("1", &mut few).is_ok() && outcome_of("1", &mut few).is_ok());
    let error = outcome_of("2", &mut few).expect_err("one is the limit");
    let text = error.to_string();
    assert!(
        matches!(error, EvalError::Bad(_))
            && text.starts_with("maximum number of series (1) reached"),
        "{text}"
    );
    let mut small = Accumulator::new(&leaf, steps, 10, 1_500);
    assert!(outcome_of("1", &mut small).is_ok());
    assert!(small.memory() > 800 && small.memory() <= 1_500);
    assert!(matches!(
        outcome_of("2", &mut small),
        Err(EvalError::Limit(_))
    ));
    let joined = self::leaf("count(count_over_time({a=\"b\"}[1s]))");
    assert!(!joined.limited && leaf.limited);
    // A range of steps that no machine could hold is refused, not tried.
    let endless = Steps {
        start: i64::MIN,
        end: i64::MAX,
        step: 1,
    };
    let mut endless = Accumulator::new(&leaf, endless, 10, HUGE);
    assert!(matches!(
        outcome_of("1", &mut endless),
        Err(EvalError::Limit(_))
    ));
}

#[test]
fn extreme_times_saturate() {
    let entries: [Entry<'_>; 3] = [
        (&[("a", "b")], &[], i64::MIN, "x"),
        (&[("a", "b")], &[], 0, "x"),
        (&[("a", "b")], &[], i64::MAX, "x"),
    ];
    for query in [
        "sum(count_over_time({a=\"b\"}[200y]))",
        "sum(count_over_time({a=\"b\"}[200y] offset 200y))",
        "sum(count_over_time({a=\"b\"}[1s] offset -1752000h))",
    ] {
        let leaf = leaf(query);
        for (start, end, step) in [
            (i64::MIN, i64::MAX, i64::MAX),
            (i64::MAX, i64::MAX, 1),
            (i64::MIN, i64::MIN, 1),
            (0, 100, 7),
            (5, 4, 1),
        ] {
            let steps = Steps { start, end, step };
            let (first, last) = leaf.span(steps);
            assert!(first <= last, "{query} {steps:?}");
            let _ = leaf.aligned_to(steps, 60 * S);
            let mut accumulator = Accumulator::new(&leaf, steps, 10, HUGE);
            feed(&mut accumulator, &leaf, &entries);
            let _ = accumulator.finish().expect("no entry failed");
        }
    }
}

#[test]
fn buckets_in_the_same_windows_may_be_added_as_one() {
    for (query, until) in [
        // Times, and how far the windows are the same: steps at 100, 110 ..
        ("count_over_time({a=\"b\"}[20s])", [100, 110, 110, 120]),
        (
            "count_over_time({a=\"b\"}[10s] offset 5s)",
            [105, 105, 115, 115],
        ),
        // Ranges that are no whole number of steps: nothing is promised.
        ("count_over_time({a=\"b\"}[15s])", [100, 101, 110, 111]),
    ] {
        let leaf = leaf(query);
        let second = 1_000_000_000;
        let steps = Steps {
            start: 100 * second,
            end: 150 * second,
            step: 10 * second,
        };
        let mut sums = Accumulator::new(&leaf, steps, 10, HUGE);
        let got = [100, 101, 110, 111].map(|ts| sums.same_until(ts * second) / second);
        assert_eq!(got, until, "{query}");
        assert_eq!(sums.same_until(i64::MIN), i64::MIN, "{query}");
    }
}

#[test]
fn entries_that_failed_fail_the_query() {
    let steps = Steps {
        start: 10 * S,
        end: 30 * S,
        step: 10 * S,
    };
    let stream: Pairs<'_> = &[("a", "b")];
    let run = |query: &str, times: &[i64]| {
        let leaf = leaf(query);
        let mut sums = Accumulator::new(&leaf, steps, 10, HUGE);
        let entries: Vec<Entry<'_>> = times
            .iter()
            .map(|s| (stream, &[][..], *s * S, "=x"))
            .collect();
        feed(&mut sums, &leaf, &entries);
        sums.finish()
            .map(|matrix| text(&matrix))
            .map_err(|error| error.to_string())
    };
    let failing = "count_over_time({a=\"b\"} | logfmt --strict [2s])";
    let error = run(failing, &[9]).expect_err("the entry is in a window");
    let head = "pipeline error: 'LogfmtParserErr' for series: '{__error__=\"LogfmtParserErr\", \
                __error_details__=\"logfmt syntax error at pos 1 : unexpected '='\", a=\"b\"}'.\n";
    assert!(error.starts_with(head), "{error}");
    assert!(error.ends_with("__error__=\"\" )\n"), "{error}");
    // Between two windows nobody sees it.
    assert_eq!(run(failing, &[5]), Ok(Vec::new()));
    let grouped = run(
        "sum by (__error__) (count_over_time({a=\"b\"} | logfmt --strict [9s]))",
        &[5],
    );
    assert_eq!(
        grouped,
        Ok(vec![
            "{__error__=\"LogfmtParserErr\"} [(10000000000, 1.0)]".to_owned()
        ])
    );
    assert!(
        run(
            "sum by (x) (count_over_time({a=\"b\"} | logfmt --strict [9s]))",
            &[5]
        )
        .is_err()
    );
}

#[test]
fn empty_labels_are_kept_but_by_without() {
    let steps = (10 * S, 10 * S, 1);
    let stream: Pairs<'_> = &[("a", "b")];
    let entries = [(stream, &[][..], 5 * S, "y=1")];
    let check = |query: &str, expected: &str| check(query, steps, &entries, &[expected]);
    check(
        "count_over_time({a=\"b\"} | logfmt x=\"z\" [9s])",
        "{a=\"b\", x=\"\"} [(10000000000, 1.0)]",
    );
    check(
        "sum by (x) (count_over_time({a=\"b\"} | logfmt x=\"z\" [9s]))",
        "{x=\"\"} [(10000000000, 1.0)]",
    );
    check(
        "sum without (a) (count_over_time({a=\"b\"} | logfmt x=\"z\" [9s]))",
        "{} [(10000000000, 1.0)]",
    );
}
