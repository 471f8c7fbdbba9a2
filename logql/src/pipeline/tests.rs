mod errors;
mod filters;
mod formats;
mod hints;
mod model;
mod parsers;
mod surprises;
mod unwraps;

use super::{Category, EntryView, LineFilter, Outcome, Pipeline};
use crate::Pairs;
use crate::plan::Plan;

fn pipeline(stages: &str) -> Pipeline {
    match crate::parse(format!("{{a=\"b\"}} {stages}")).expect(stages) {
        Plan::Log(leaf) => leaf.pipeline,
        Plan::Metric(_) => panic!("a log query is expected"),
    }
}

/// The pipeline of the only range aggregation of a metric query.
fn metric(query: &str) -> Pipeline {
    let plan = crate::parse(query).expect(query);
    match plan {
        Plan::Metric(plan) => plan.leaves()[0].pipeline.clone(),
        Plan::Log(_) => panic!("a metric query is expected"),
    }
}

/// Line and labels but `{a="b"}`, values in quotes only where they are empty or hold blanks.
fn show(outcome: &Outcome<'_>) -> String {
    let mut out = Vec::new();
    for (name, value, category) in outcome.labels.iter() {
        if (name, value, category) == ("a", "b", Category::Stream) {
            continue;
        }
        let category = match category {
            Category::Stream => "stream:",
            Category::Metadata => "meta:",
            Category::Parsed => "",
        };
        let quoted = if value.is_empty() || value.contains(' ') {
            format!("{value:?}")
        } else {
            value.to_owned()
        };
        out.push(format!("{category}{name}={quoted}"));
    }
    out.join(" ")
}

/// What a pipeline makes of a line: `-` if it is dropped.
fn run_on(pipeline: &Pipeline, stream: Pairs<'_>, metadata: Pairs<'_>, line: &[u8]) -> String {
    let mut run = pipeline.run();
    let entry = EntryView {
        ts: 0,
        line,
        stream,
        metadata,
    };
    let shown = run.process(&entry).map(|outcome| show(&outcome));
    // The same again, in buffers that are not new.
    let again = run.process(&entry).map(|outcome| show(&outcome));
    assert_eq!(shown, again);
    assert_eq!(run.passes(&entry), shown.is_some());
    shown.unwrap_or_else(|| "-".to_owned())
}

/// Labels of a line of `{a="b"}` without metadata.
fn labels_of(stages: &str, line: &str) -> String {
    run_on(&pipeline(stages), &[("a", "b")], &[], line.as_bytes())
}

/// Checks the labels that stages leave on lines of `{a="b"}`.
fn check_lines(stages: &str, lines: &[(&str, &str)]) {
    for (line, expected) in lines {
        assert_eq!(labels_of(stages, line), *expected, "{stages} on {line}");
    }
}

/// The candidates of a filter over lines as one column, confirmed line by line.
fn search_column(filter: &LineFilter, lines: &[&[u8]]) -> Vec<usize> {
    let column = lines.join(&b'\n');
    let mut passing = Vec::new();
    let mut from = 0;
    while let Some(at) = filter.find_candidate(&column, from) {
        let number = column[..at].iter().filter(|b| **b == b'\n').count();
        if filter.matches(lines[number]) {
            passing.push(number);
        } else {
            assert!(
                !filter.candidate_is_match(),
                "a literal's candidate is a match"
            );
        }
        from = lines[..=number].iter().map(|l| l.len() + 1).sum();
    }
    passing
}

/// The numbers of the lines that pass, found line by line and over the column.
fn check(stages: &str, expected: &[usize]) {
    let lines: [&[u8]; 7] = [
        b"error: disk full",
        b"",
        b"Warn disk x",
        b"foo bar",
        b"bar foo",
        b"\xff\xfe raw",
        b"h\xc3\xa9llo 10.0.0.1",
    ];
    let pipeline = pipeline(stages);
    let mut run = pipeline.run();
    let view = |i: usize| EntryView {
        ts: 0,
        line: lines[i],
        stream: &[("a", "b")],
        metadata: &[],
    };
    let passing: Vec<usize> = (0..lines.len())
        .filter(|i| run.process(&view(*i)).is_some())
        .collect();
    assert_eq!(passing, expected, "{stages}");
    if let [filter] = pipeline.leading_filters()
        && filter.is_positive()
    {
        assert_eq!(search_column(filter, &lines), expected, "column: {stages}");
        if let Some(literal) = filter.required_literal() {
            let has = |i: &usize| memchr::memmem::find(lines[*i], literal).is_some();
            assert!(expected.iter().all(has), "{stages}");
        }
    }
}

#[test]
fn line_filters() {
    let all = [0, 1, 2, 3, 4, 5, 6];
    check("", &all);
    check("|= \"\"", &all);
    check("!= \"\"", &[]);
    check("|~ \".*\"", &all);
    check("!~ \".*\"", &[]);
    check("|= \"disk\"", &[0, 2]);
    check("!= \"disk\"", &[1, 3, 4, 5, 6]);
    check("|= \"\" or \"disk\"", &[0, 2]);
    check("|= \"error\" or \"bar\"", &[0, 3, 4]);
    check("!= \"error\" or \"bar\"", &[1, 2, 5, 6]);
    check("|= \"\\xff\"", &[5]);
    check("|= \"\\xff\" or \"foo\"", &[3, 4, 5]);
    check("|~ \"^bar\"", &[4]);
    check("|~ \"foo$\"", &[4]);
    check("|~ \"^$\"", &[1]);
    check("|~ \"(?i)warn|ERROR\"", &[0, 2]);
    check("|~ \"(?i)DISK|h\"", &[0, 2, 6]);
    check("|~ \".*|foo\"", &[3, 4]);
    check("|~ \"foo|bar\" or \"raw\"", &[3, 4, 5]);
    check("|~ \"\\\\d+\\\\.\\\\d\"", &[6]);
    check("|~ \"h.llo\"", &[6]);
    check("|~ \"[^a-z]disk\"", &[0, 2]);
    check("|~ \"d[a-z]+k (full|x)\"", &[0, 2]);
    check("!~ \"disk|foo\"", &[1, 5, 6]);
    check("|~ \"\\\\bbar\\\\b\" != \"foo b\"", &[4]);
    check("|> \"foo\"", &[4]);
    check("|> \"\"", &[1]);
    check("!> \"\"", &[0, 2, 3, 4, 5, 6]);
    check("|> \"<_>: <_>\"", &[0]);
    check("|> \"<_> foo\" or \"foo <_>\"", &[3, 4]);
}

#[test]
fn stages_say_what_they_need() {
    assert!(pipeline("|= \"\"").is_empty());
    assert!(!pipeline("| x=\"y\"").is_empty() && !pipeline("| x=\"y\"").uses_line());
    assert!(pipeline("|~ \"x\"").uses_line());
    let filter = |stages: &str| pipeline(stages).leading_filters()[0].clone();
    let required = |stages: &str, expected: Option<&str>| {
        let literal = filter(stages);
        assert_eq!(
            literal.required_literal(),
            expected.map(str::as_bytes),
            "{stages}"
        );
    };
    required("|= \"abc\"", Some("abc"));
    required("!= \"abc\"", None);
    required("|~ \"a.*needle[0-9]\"", Some("needle"));
    required("|~ \"(?i)abc\"", None);
    required("|~ \"abc|def\"", None);
}

/// The output labels after some stages, as Loki prints them; `None`: filtered out.
fn labels_after(stages: &str) -> Option<String> {
    let pipeline = pipeline(stages);
    let mut run = pipeline.run();
    let outcome = run.process(&EntryView {
        ts: 0,
        line: b"x",
        stream: &[("a", "b"), ("app", "web"), ("pod", "p-1")],
        metadata: &[("detected_level", "info"), ("pod", "m")],
    })?;
    let pairs: Vec<String> = outcome
        .labels
        .iter()
        .map(|(n, v, _)| format!("{n}={v}"))
        .collect();
    Some(pairs.join(" "))
}

#[test]
fn drop_and_keep_remove_labels_of_every_category() {
    for (stages, expected) in [
        (
            "",
            Some("a=b app=web detected_level=info pod=p-1 pod_extracted=m"),
        ),
        (
            "| drop __error__",
            Some("a=b app=web detected_level=info pod=p-1 pod_extracted=m"),
        ),
        (
            "| drop app, pod",
            Some("a=b detected_level=info pod_extracted=m"),
        ),
        (
            "| drop detected_level=\"warn\", app=~\"w.*\"",
            Some("a=b detected_level=info pod=p-1 pod_extracted=m"),
        ),
        (
            "| keep app, detected_level=\"info\"",
            Some("app=web detected_level=info"),
        ),
        ("| keep nope", Some("")),
        ("| drop app | app=\"web\"", None),
        ("| drop app | app=\"\" | keep a", Some("a=b")),
        (
            "| pod_extracted=\"m\" | drop pod_extracted",
            Some("a=b app=web detected_level=info pod=p-1"),
        ),
    ] {
        assert_eq!(labels_after(stages).as_deref(), expected, "{stages}");
    }
}
