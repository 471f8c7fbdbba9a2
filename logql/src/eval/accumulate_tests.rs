use super::EvalError;
use super::accumulate::{Accumulator, Collect as _};
use crate::Pairs;
use crate::pipeline::EntryView;
use crate::plan::{Needs, Plan, RangeLeaf, Steps};
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
            accumulator
                .add_outcome(id, *ts, &outcome)
                .expect("within limits");
        }
    }
}

fn result(accumulator: Accumulator<'_>) -> Matrix {
    accumulator.finish().expect("within limits")
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
    assert_eq!(text(&result(whole)), expected, "{query}");
    // The same by two workers, whichever has what.
    for cut in 0..=entries.len() {
        let mut one = Accumulator::new(&leaf, steps, 10, HUGE);
        let mut two = Accumulator::new(&leaf, steps, 10, HUGE);
        feed(&mut one, &leaf, &entries[..cut]);
        feed(&mut two, &leaf, &entries[cut..]);
        one.merge(two).expect("within limits");
        assert_eq!(text(&result(one)), expected, "{query} cut at {cut}");
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
fn edges_follow_each_other() {
    let steps = |start, end, step| Steps { start, end, step };
    for (query, steps, want) in [
        // Windows (5, 15], (9, 19]: they overlap.
        ("[10s]", steps(15, 20, 4), vec![5, 9, 15, 19]),
        // They lie apart, and one end is another's begin.
        ("[3s]", steps(10, 20, 5), vec![7, 10, 12, 15, 17, 20]),
        ("[5s] offset 1s", steps(10, 15, 5), vec![4, 9, 14]),
        ("[24h]", steps(7, 7, 1), vec![7 - 86_400, 7]),
    ] {
        let leaf = leaf(&format!("count_over_time({{a=\"b\"}}{query})"));
        let steps = Steps {
            start: steps.start * S,
            end: steps.end * S,
            step: steps.step * S,
        };
        let mut edges = vec![leaf.next_edge(steps, i64::MIN)];
        while let Some(last) = edges.last().filter(|edge| **edge < i64::MAX) {
            edges.push(leaf.next_edge(steps, *last));
        }
        edges.pop();
        let got: Vec<i64> = edges.iter().map(|edge| edge / S).collect();
        assert_eq!(got, want, "{query}");
    }
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
            single.add(one, ts, 5).expect("within limits");
        }
        buckets.add_bucket(all, edge, 3, 15).expect("within limits");
    }
    assert_eq!(result(single), result(buckets));
}

/// Adds an entry, with metadata `x="1"` if there is something to unwrap.
fn add_entry(
    accumulator: &mut Accumulator<'_>,
    leaf: &RangeLeaf,
    labels: Pairs<'_>,
    ts: i64,
) -> Result<(), EvalError> {
    let metadata: Pairs<'_> = &[("x", "1")];
    add_with(accumulator, leaf, (labels, metadata), ts)
}

fn add_with(
    accumulator: &mut Accumulator<'_>,
    leaf: &RangeLeaf,
    (stream, metadata): (Pairs<'_>, Pairs<'_>),
    ts: i64,
) -> Result<(), EvalError> {
    let unwraps = leaf.needs() == Needs::Value;
    let others: Vec<_> = metadata
        .iter()
        .copied()
        .filter(|(n, _)| unwraps || *n != "x")
        .collect();
    let mut run = leaf.pipeline.run();
    let view = EntryView {
        ts,
        line: b"x",
        stream,
        metadata: &others,
    };
    let outcome = run.process(&view).expect("passes");
    let series = accumulator.series(&outcome)?;
    accumulator.add_outcome(series, ts, &outcome)
}

#[test]
fn limits_are_errors() {
    let leaf = leaf("count_over_time({a=\"b\"}[1s])");
    let steps = Steps {
        start: 0,
        end: 99,
        step: 1,
    };
    let mut few = Accumulator::new(&leaf, steps, 1, HUGE);
    add_entry(&mut few, &leaf, &[("a", "1")], 0).expect("one is allowed");
    add_entry(&mut few, &leaf, &[("a", "1")], 0).expect("one is allowed");
    // Series count from when an entry of theirs is in a window.
    add_entry(&mut few, &leaf, &[("a", "2")], 1_000).expect("no window holds it");
    let error = add_entry(&mut few, &leaf, &[("a", "2")], 1).expect_err("one is the limit");
    let text = error.to_string();
    assert!(
        matches!(error, EvalError::Bad(_))
            && text.starts_with("maximum number of series (1) reached"),
        "{text}"
    );
    // A range of steps that no machine could hold is refused, not tried.
    let endless = Steps {
        start: i64::MIN,
        end: i64::MAX,
        step: 1,
    };
    for query in [
        "count_over_time({a=\"b\"}[1s])",
        "last_over_time({a=\"b\"} | unwrap x [1s])",
    ] {
        let leaf = self::leaf(query);
        let mut endless = Accumulator::new(&leaf, endless, 10, HUGE);
        assert!(matches!(
            add_entry(&mut endless, &leaf, &[("a", "1")], 0),
            Err(EvalError::Limit(_))
        ));
    }
    let absent = self::leaf("absent_over_time({a=\"b\"}[1s])");
    let endless = Accumulator::new(&absent, endless, 10, HUGE);
    assert!(matches!(endless.finish(), Err(EvalError::Limit(_))));
}

#[test]
fn the_limit_on_series_holds_for_those_of_the_answer() {
    for (query, limited) in [
        ("rate({a=\"b\"}[1s])", true),
        ("1 + rate({a=\"b\"}[1s]) > bool 2", true),
        ("sort(sum by (a) (rate({a=\"b\"}[1s])))", true),
        ("rate({a=\"b\"}[1s]) > 2", false),
        ("count(rate({a=\"b\"}[1s]))", false),
        ("topk(1, rate({a=\"b\"}[1s]))", false),
        ("sum(sum by (a) (rate({a=\"b\"}[1s])))", false),
        ("sum(max_over_time({a=\"b\"} | unwrap x [1s]))", false),
        ("rate({a=\"b\"}[1s]) or vector(1)", false),
        (
            "label_replace(rate({a=\"b\"}[1s]), \"a\", \"\", \"a\", \".*\")",
            false,
        ),
    ] {
        assert_eq!(leaf(query).limited, limited, "{query}");
    }
}

#[test]
fn memory_is_bounded_whatever_is_collected() {
    for op in [
        "count_over_time({a=\"b\"}",
        "bytes_rate({a=\"b\"}",
        "sum_over_time({a=\"b\"} | unwrap x",
        "stddev_over_time({a=\"b\"} | unwrap x",
        "first_over_time({a=\"b\"} | unwrap x",
        "quantile_over_time(0.5, {a=\"b\"} | unwrap x",
        "rate_counter({a=\"b\"} | unwrap x",
    ] {
        let leaf = leaf(&format!("count({op} [20s]))"));
        let steps = Steps {
            start: 0,
            end: 99 * S,
            step: S,
        };
        // Few series with many entries, and many with few.
        for spread in [3, 50_000] {
            let mut accumulator = Accumulator::new(&leaf, steps, 1, 64 << 10);
            let mut result = Ok(());
            for n in 0..50_000i64 {
                let name = (n % spread).to_string();
                let ts = n * 7_919_000_000 % (100 * S);
                result = add_entry(&mut accumulator, &leaf, &[("a", &name)], ts);
                assert!(accumulator.memory() <= 64 << 10, "{op}");
                if result.is_err() {
                    break;
                }
            }
            let result = result.and_then(|()| accumulator.finish());
            match result {
                Err(EvalError::Limit(text)) => assert!(text.contains("65536 bytes"), "{text}"),
                Ok(matrix) => assert_eq!((matrix.series.len(), spread), (3, 3), "{op}"),
                Err(other) => panic!("{op}: {other}"),
            }
        }
    }
}

#[test]
fn errors_of_entries_in_windows_fail_the_query() {
    let failed: Pairs<'_> = &[("a", "1"), ("b", "\"")];
    let preserved: Pairs<'_> = &[("__preserve_error__", "true"), ("a", "1")];
    let metadata: Pairs<'_> = &[("__error__", "E"), ("x", "1")];
    let steps = Steps {
        start: 10,
        end: 10,
        step: 1,
    };
    let run = |query: &str, labels: Pairs<'_>, ts: i64| {
        let leaf = leaf(query);
        let mut accumulator = Accumulator::new(&leaf, steps, 10, HUGE);
        match add_with(&mut accumulator, &leaf, (labels, metadata), ts) {
            Ok(()) => text(&result(accumulator)).join("; "),
            Err(EvalError::Bad(text)) => text,
            Err(other) => panic!("{other}"),
        }
    };
    let message = "pipeline error: 'E' for series: '{__error__=\"E\", a=\"1\", b=\"\\\"\"}'.\n\
                   Use a label filter to intentionally skip this error. (e.g | __error__!=\"E\").\n\
                   To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
                   The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n";
    for query in [
        "count_over_time({a=\"b\"}[10ms])",
        "sum by (a) (count_over_time({a=\"b\"}[10ms]))",
        "max_over_time({a=\"b\"} | unwrap x [10ms]) by (a)",
        "absent_over_time({a=\"b\"}[10ms])",
    ] {
        let got = run(query, failed, 10).replace(", x=\"1\"}", "}");
        assert_eq!(got, message, "{query}");
        assert!(!run(query, failed, 11).starts_with("pipeline"), "{query}");
    }
    for (query, expected) in [
        (
            "count_over_time({a=\"b\"}[10ms])",
            "{__error__=\"E\", __preserve_error__=\"true\", a=\"1\"} [(10, 1.0)]",
        ),
        ("sum(count_over_time({a=\"b\"}[10ms]))", "{} [(10, 1.0)]"),
        (
            "sum by (__error__, z) (count_over_time({a=\"b\"}[10ms]))",
            "{__error__=\"E\"} [(10, 1.0)]",
        ),
        (
            "max_over_time({a=\"b\"} | unwrap x [10ms]) by (a)",
            "{__error__=\"E\", __preserve_error__=\"true\", a=\"1\", x=\"1\"} [(10, 1.0)]",
        ),
        ("absent_over_time({a=\"b\"}[10ms])", ""),
    ] {
        assert_eq!(run(query, preserved, 10), expected, "{query}");
    }
}

#[test]
fn absence_names_what_the_selector_says() {
    for (query, expected) in [
        (
            "absent_over_time({a=\"z\",b=\"c\",d!=\"e\",b=\"x\"}[1s])",
            "{a=\"z\"}",
        ),
        (
            "absent_over_time({b=\"1\",a=~\"z\",c=\"\"}[1s])",
            "{b=\"1\"}",
        ),
        ("absent_over_time({a=\"1\",a!=\"2\"}[1s])", "{}"),
        (
            "absent_over_time({b=\"1\",a=\"2\"}[0s])",
            "{a=\"2\", b=\"1\"}",
        ),
    ] {
        let leaf = leaf(query);
        let steps = Steps {
            start: 0,
            end: S,
            step: S,
        };
        let got = text(&result(Accumulator::new(&leaf, steps, 0, HUGE)));
        assert_eq!(
            got,
            [format!("{expected} [(0, 1.0), (1000000000, 1.0)]")],
            "{query}"
        );
    }
    let one: Entry<'_> = (&[("a", "1")], &[], 15 * S, "x");
    let two: Entry<'_> = (&[("a", "2")], &[], 25 * S, "x");
    check(
        "absent_over_time({a=~\".+\"}[10s])",
        (0, 40 * S, 10 * S),
        &[one, two],
        &["{} [(0, 1.0), (10000000000, 1.0), (40000000000, 1.0)]"],
    );
    check(
        "absent_over_time({a=~\".+\"}[100s])",
        (30 * S, 40 * S, 10 * S),
        &[one, two],
        &[],
    );
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
            let _ = result(accumulator);
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
        // Ranges that are no whole number of steps.
        ("count_over_time({a=\"b\"}[15s])", [100, 105, 110, 115]),
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
        assert!(sums.same_until(i64::MIN) < 0, "{query}");
    }
}

#[test]
fn empty_labels_stay_but_for_a_sum_without() {
    let entry: Entry<'_> = (&[("a", "b")], &[("v", "2"), ("x", "")], 5, "y=1");
    for (query, expected) in [
        (
            "count_over_time({a=\"b\"}[9s])",
            "{a=\"b\", v=\"2\", x=\"\"} [(10, 1.0)]",
        ),
        (
            "sum by (x, y) (count_over_time({a=\"b\"}[9s]))",
            "{x=\"\"} [(10, 1.0)]",
        ),
        (
            "sum without (a, v) (count_over_time({a=\"b\"}[9s]))",
            "{} [(10, 1.0)]",
        ),
        (
            "max_over_time({a=\"b\"} | unwrap v [9s]) without (a)",
            "{x=\"\"} [(10, 2.0)]",
        ),
    ] {
        check(query, (10, 10, 1), &[entry], &[expected]);
    }
    // Empty is not the same as missing, though it is not shown.
    let missing: Entry<'_> = (&[("a", "b")], &[("v", "2")], 5, "y=1");
    check(
        "sum without (a, v) (count_over_time({a=\"b\"}[9s]))",
        (10, 10, 1),
        &[entry, missing, missing],
        &["{} [(10, 2.0)]", "{} [(10, 1.0)]"],
    );
}

#[test]
fn failures_of_parsers_are_counted_where_they_are_asked_for() {
    let run = |query: &str, ts: i64| {
        let leaf = leaf(query);
        let steps = Steps {
            start: 10 * S,
            end: 30 * S,
            step: 10 * S,
        };
        let mut accumulator = Accumulator::new(&leaf, steps, 10, HUGE);
        let mut run = leaf.pipeline.run();
        let view = EntryView {
            ts,
            line: b"=x",
            stream: &[("a", "b")],
            metadata: &[],
        };
        let outcome = run.process(&view).expect("passes");
        let series = accumulator.series(&outcome).expect("within limits");
        match accumulator.add_outcome(series, ts, &outcome) {
            Ok(()) => text(&result(accumulator)).join("; "),
            Err(error) => error.to_string(),
        }
    };
    let failing = "count_over_time({a=\"b\"} | logfmt --strict [2s])";
    let head = "pipeline error: 'LogfmtParserErr' for series: '{__error__=\"LogfmtParserErr\", \
                __error_details__=\"logfmt syntax error at pos 1 : unexpected '='\", a=\"b\"}'.\n";
    let error = run(failing, 9 * S);
    assert!(error.starts_with(head), "{error}");
    // Between two windows nobody sees it.
    assert_eq!(run(failing, 5 * S), "");
    let grouped = "sum by (__error__) (count_over_time({a=\"b\"} | logfmt --strict [9s]))";
    assert_eq!(
        run(grouped, 5 * S),
        "{__error__=\"LogfmtParserErr\"} [(10000000000, 1.0)]"
    );
    let other = "sum by (x) (count_over_time({a=\"b\"} | logfmt --strict [9s]))";
    assert!(run(other, 5 * S).starts_with(head));
}

/// The metric half of the table of what is most easily got wrong.
#[test]
fn surprises_of_the_contract() {
    let json: [&str; 2] = ["{\"a\":1}", "bad"];
    let counter: [&str; 5] = ["v=1", "v=2", "v=4", "v=1", "v=3"];
    let sum = |op: &str| format!("{op}({{a=\"b\"}} | logfmt | unwrap v [1m])");
    for (number, lines, query, expected) in [
        (
            34,
            &json[..],
            "sum(count_over_time({a=\"b\"} | json [1m]))",
            "{} 2",
        ),
        (
            35,
            &json,
            "sum by (c) (count_over_time({a=\"b\"} | json [1m]))",
            "JSONParserErr",
        ),
        (
            36,
            &json,
            "sum by (__error__) (count_over_time({a=\"b\"} | json [1m]))",
            "{} 1; {__error__=\"JSONParserErr\"} 1",
        ),
        (
            37,
            &json,
            "count_over_time({a=\"b\"} | json | __error__!=\"\" [1m])",
            "JSONParserErr",
        ),
        (
            37,
            &json,
            "sum(count_over_time({a=\"b\"} | json | __error__!=\"\" [1m]))",
            "{} 1",
        ),
        (38, &["v=1", "w=2"], &sum("sum_over_time"), "{a=\"b\"} 1"),
        (
            39,
            &["v=1", "v=x"],
            "sum_over_time({a=\"b\"} | logfmt | unwrap v | __error__=\"\" [1m])",
            "{a=\"b\"} 1",
        ),
        (
            39,
            &["v=1", "v=x"],
            &sum("sum_over_time"),
            "SampleExtractionErr",
        ),
        (42, &counter, &sum("rate_counter"), "{a=\"b\"} 0.125"),
        (
            43,
            &counter,
            &sum("avg_over_time"),
            "{a=\"b\"} 2.1999999999999997",
        ),
        (
            45,
            &["x"],
            "count_over_time({a=\"b\"} | line_format \"\" [1m])",
            "{a=\"b\"} 1",
        ),
    ] {
        let got = surprise(query, lines);
        let failed = got.starts_with("pipeline error: '") && got.contains(expected);
        assert!(failed || got == expected, "{number}: {query}: {got}");
    }
}

/// Lines a second apart, seen at 30 s.
fn surprise(query: &str, lines: &[&str]) -> String {
    let leaf = leaf(query);
    let steps = Steps {
        start: 30 * S,
        end: 30 * S,
        step: 1,
    };
    let mut accumulator = Accumulator::new(&leaf, steps, 10, HUGE);
    let mut run = leaf.pipeline.run();
    for (second, line) in (0i64..).zip(lines) {
        let view = EntryView {
            ts: second * S,
            line: line.as_bytes(),
            stream: &[("a", "b")],
            metadata: &[],
        };
        if let Some(outcome) = run.process(&view) {
            let series = accumulator
                .series_of_stream(1, &outcome)
                .expect("within limits");
            if let Err(error) = accumulator.add_outcome(series, second * S, &outcome) {
                return error.to_string();
            }
        }
    }
    let matrix = result(accumulator);
    let series = matrix.series.iter().map(|s| {
        let pairs = s.labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let value = crate::format::sample_value(s.points[0].1);
        format!("{} {value}", crate::format::label_set(pairs))
    });
    series.collect::<Vec<_>>().join("; ")
}

#[test]
fn streams_are_told_apart_when_they_tell_the_series() {
    let leaf = leaf("sum by (a, x) (count_over_time({a=~\".+\"} | logfmt [1m]))");
    let steps = Steps {
        start: 30 * S,
        end: 30 * S,
        step: 1,
    };
    let streams: [Pairs<'_>; 2] = [&[("a", "1"), ("x", "s")], &[("a", "2")]];
    let mut accumulator = Accumulator::new(&leaf, steps, 10, HUGE);
    let mut run = leaf.pipeline.run();
    for (stream, line) in [
        (0, "k=v"),
        (1, "k=v"),
        (1, "x=p"),
        (1, "k=v"),
        (0, "x=q"),
        (0, "k=v"),
    ] {
        let view = EntryView {
            ts: S,
            line: line.as_bytes(),
            stream: streams[stream as usize],
            metadata: &[],
        };
        let outcome = run.process(&view).expect("passes");
        let series = accumulator
            .series_of_stream(stream, &outcome)
            .expect("within limits");
        accumulator
            .add_outcome(series, S, &outcome)
            .expect("within limits");
    }
    assert_eq!(
        text(&result(accumulator)),
        [
            "{a=\"1\", x=\"s\"} [(30000000000, 3.0)]",
            "{a=\"2\"} [(30000000000, 2.0)]",
            "{a=\"2\", x=\"p\"} [(30000000000, 1.0)]",
        ]
    );
}
