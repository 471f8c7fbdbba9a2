//! `unwrap`, and the filters after it.

use super::show;
use crate::ast::Expr;
use crate::pipeline::{Around, EntryView, Pipeline, Read};
use crate::regexes::Budget;

/// The pipeline of a range aggregation, whatever it aggregates.
fn pipeline(query: &str) -> Pipeline {
    let expr = crate::parser::parse(query.as_bytes()).expect(query).0;
    let (range, sum) = match &expr {
        Expr::Vector(vector) => (&vector.inner, Some(&vector.grouping)),
        other => (other, None),
    };
    let Expr::Range(range) = range else {
        panic!("a range aggregation is expected: {query}");
    };
    let labels = match sum.unwrap_or(&range.grouping) {
        None if sum.is_some() => Read::Nothing,
        Some(grouping) if !grouping.without && grouping.names.is_empty() => Read::Nothing,
        Some(grouping) if !grouping.without => Read::Named(&grouping.names),
        _ => Read::All,
    };
    let around = Around {
        labels,
        lines: false,
        unwrap: range.range.unwrap.as_ref(),
    };
    Pipeline::compile(&range.range.log, &around, &mut Budget::default()).expect(query)
}

/// Value and labels of a line: `-` if it is no sample.
fn check(query: &str, line: &str, expected: &str) {
    let pipeline = pipeline(query);
    let mut run = pipeline.run();
    let entry = EntryView {
        ts: 0,
        line: line.as_bytes(),
        stream: &[("a", "b"), ("size", "2KiB")],
        metadata: &[("lag", "1m30s")],
    };
    let shown = run.process(&entry).map(|outcome| {
        let value = outcome.value.expect("a label is unwrapped");
        format!("{value} {}", show(&outcome)).trim_end().to_owned()
    });
    assert_eq!(
        shown.as_deref().unwrap_or("-"),
        expected,
        "{query} on {line}"
    );
}

#[test]
fn values() {
    let sum =
        |unwrap: &str| format!("sum(sum_over_time({{a=\"b\"}} | logfmt | unwrap {unwrap} [1m]))");
    check(&sum("v"), "u=1 v=2.5", "2.5");
    check(&sum("v"), "v=-1e3", "-1000");
    check(&sum("v"), "v=", "-");
    check(&sum("v"), "u=1", "-");
    check(&sum("bytes(v)"), "v=1.5KB", "1500");
    check(&sum("duration(v)"), "v=1m1.5s", "61.5");
    check(&sum("duration_seconds(v)"), "v=10ms", "0.01");
    // Any label will do.
    check(&sum("bytes(size)"), "", "2048");
    check(&sum("duration(lag)"), "", "90");
}

#[test]
fn failures_may_be_filtered_out() {
    let failed = "0 __error__=SampleExtractionErr __error_details__=\"strconv.ParseFloat: parsing \\\"x\\\": invalid syntax\" meta:lag=1m30s stream:size=2KiB";
    check(
        "sum(sum_over_time({a=\"b\"} | logfmt | unwrap v [1m]))",
        "v=x",
        &format!("{failed} v=x"),
    );
    check(
        "sum by (k) (sum_over_time({a=\"b\"} | logfmt | unwrap v [1m]))",
        "k=y v=x",
        &format!(
            "{} k=y{} v=x",
            &failed[..failed.find(" meta").unwrap()],
            &failed[failed.find(" meta").unwrap()..]
        ),
    );
    let filtered = "sum(sum_over_time({a=\"b\"} | logfmt | unwrap v | __error__=\"\" [1m]))";
    check(filtered, "v=x", "-");
    check(filtered, "v=1", "1");
    check(
        "sum(sum_over_time({a=\"b\"} | logfmt | unwrap v | v>1 | k=\"y\" [1m]))",
        "k=y v=2",
        "2",
    );
    check(
        "sum(sum_over_time({a=\"b\"} | logfmt | unwrap v | v>1 | k=\"y\" [1m]))",
        "k=z v=2",
        "-",
    );
}

#[test]
fn the_unwrapped_label_is_gone_unless_it_is_grouped_by() {
    let all = "meta:lag=1m30s stream:size=2KiB";
    check(
        "sum_over_time({a=\"b\"} | logfmt | unwrap v [1m])",
        "k=y v=2",
        &format!("2 k=y {all}"),
    );
    check(
        "avg_over_time({a=\"b\"} | logfmt | unwrap v [1m]) without (k)",
        "k=y v=2",
        &format!("2 k=y {all}"),
    );
    check(
        "avg_over_time({a=\"b\"} | logfmt | unwrap v [1m]) by (k)",
        "k=y v=2",
        "2 k=y",
    );
    check(
        "avg_over_time({a=\"b\"} | logfmt | unwrap v [1m]) by (v)",
        "k=y v=2",
        "2 v=2",
    );
    check(
        "avg_over_time({a=\"b\"} | logfmt | unwrap v [1m]) by ()",
        "k=y v=2",
        "2",
    );
    // What nobody needs is not looked at.
    check(
        "sum by (k) (sum_over_time({a=\"b\"} | json | unwrap v [1m]))",
        "{\"v\":2,\"k\":\"y\",broken",
        "2 k=y",
    );
    check(
        "sum(rate({a=\"b\"} | json | unwrap v [1m]))",
        "{\"k\":\"y\",\"v\":2,broken",
        "2",
    );
}
