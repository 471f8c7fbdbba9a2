//! What is most easily got wrong (logql.md section 14), as far as pipelines decide it.

use super::{check_lines, labels_of, metric, pipeline, run_on};

#[test]
fn log_queries() {
    check_lines(
        "| logfmt | label_format lvl=\"z\" | lvl=\"z\"",
        &[("lvl=a", "-"), ("lvl=b", "-")],
    );
    check_lines("| logfmt | drop lvl | lvl=\"\"", &[("lvl=a", "-")]);
    check_lines(
        "| logfmt | lvl=~\"bar|buzz\"",
        &[("lvl=xbarx", "lvl=xbarx"), ("lvl=bar", "lvl=bar")],
    );
    check_lines(
        "| logfmt | lvl=~\"foo|err\"",
        &[("lvl=xfoo", "-"), ("lvl=foo", "lvl=foo")],
    );
    check_lines("| logfmt | lvl=~\"foo.*\"", &[("lvl=xfoo", "lvl=xfoo")]);
    check_lines("| logfmt | lvl=~\"foo.+\"", &[("lvl=xfoo", "-")]);
    check_lines("|= \"\" or \"foo\"", &[("xfoo", ""), ("y", "-")]);
    check_lines("!= \"\"", &[("line", "-")]);
    check_lines(
        "| decolorize |= \"red x\"",
        &[("\x1b[31mred\x1b[0m x", "-")],
    );
    check_lines("|> \"foo\"", &[("bar foo", "")]);
    assert!(labels_of("| logfmt | n>5", "n=x").starts_with("__error__=LabelFilterErr "));
    check_lines("| logfmt | n!=5", &[("m=1", "-")]);
    check_lines("| logfmt | n!=\"5\"", &[("m=1", "m=1")]);
    assert!(labels_of("| logfmt | d>=1d", "d=1d").contains("time: unknown unit"));
    check_lines("| logfmt", &[("k=1 k=2", "k=1"), ("k=1 e= f", "k=1")]);
    check_lines("| logfmt k=\"k\"", &[("k=1 k=2", "k=2")]);
    check_lines(
        "| json",
        &[("{\"k\":[1,2],\"n\":null,\"o\":{\"p\":true}}", "o_p=true")],
    );
    check_lines(
        "| json x=\"k\", y=\"k[1]\", z=\"b\"",
        &[("{\"k\":[1,2]}", "x=[1,2] y=2 z=\"\"")],
    );
    check_lines("| json", &[("{\"k\":1} junk", "k=1")]);
    check_lines(
        "| json k=\"k\"",
        &[(" {\"k\":1}", "__error__=JSONParserErr")],
    );
    check_lines("| logfmt | label_format x=x", &[("x=1 y=2", "y=2")]);
    check_lines("| pattern \"<k>=<l> <m>\"", &[("foo=1", "k=foo l=1")]);
    check_lines(
        "| logfmt | drop lvl | line_format \"lvl=zz\" | logfmt",
        &[("lvl=a k=v", "k=v")],
    );
    assert!(labels_of("| json | drop __error__", "not json").starts_with("__error_details__="));
    let pod = |stages: &str| {
        run_on(
            &pipeline(stages),
            &[("a", "b"), ("pod", "p")],
            &[],
            b"pod=x",
        )
    };
    assert_eq!(pod("| logfmt"), "stream:pod=p pod_extracted=x");
    assert_eq!(pod("| drop pod | logfmt"), "pod_extracted=x");
    let meta = |stages: &str| run_on(&pipeline(stages), &[("a", "b")], &[("m", "sm")], b"m=x");
    assert_eq!(meta("| logfmt"), "meta:m=sm m_extracted=x");
    assert_eq!(meta("| drop m | logfmt"), "m=x");
}

#[test]
fn metric_queries() {
    let check = |query: &str, line: &str, expected: &str| {
        let labels = run_on(&metric(query), &[("a", "b")], &[], line.as_bytes());
        assert!(
            labels.starts_with(expected) && (labels.is_empty() == expected.is_empty()),
            "{query} on {line}: {labels}"
        );
    };
    let plain = "sum(count_over_time({a=\"b\"} | json [1m]))";
    check(plain, "{\"x\":1}", "");
    check(plain, "bad", "");
    let grouped = "sum by (x) (count_over_time({a=\"b\"} | json [1m]))";
    check(grouped, "{\"x\":1}", "x=1");
    check(grouped, "bad", "__error__=JSONParserErr");
    let counted = "sum by (__error__) (count_over_time({a=\"b\"} | json [1m]))";
    check(counted, "{\"x\":1}", "");
    check(counted, "bad", "__error__=JSONParserErr");
    check(
        "bytes_over_time({a=\"b\"} | line_format \"x\" [1m])",
        "bad",
        "",
    );
}
