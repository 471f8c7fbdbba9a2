//! What is most easily got wrong, as far as pipelines decide it.

use super::{EntryView, check_lines, labels_of, metric, pipeline, run_on};

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
fn templates() {
    check_lines(
        "| logfmt | label_format x=\"new\",y=\"{{.x}}\"",
        &[("x=1", "x=new y=1")],
    );
    check_lines(
        "| logfmt | label_format x=lvl, z=\"{{.lvl}}{{.x}}\"",
        &[("lvl=l x=1", "x=l z=l")],
    );
    check_lines(
        "| logfmt | label_format z=\"{{.lvl}}{{.x}}\", w=\"{{.z}}\"",
        &[("lvl=l x=1", "lvl=l w=\"\" x=1 z=l1")],
    );
    let failed = "__error__=TemplateFormatErr __error_details__=\"template: label:1:2: executing \\\"label\\\" at <div \
                  1 0>: error calling div: runtime error: integer divide by zero\"";
    check_lines(
        "| logfmt | label_format x=\"{{div 1 0}}\", y=\"{{.x}}\"",
        &[("x=1", &format!("{failed} x=1 y=1"))],
    );
    check_lines(
        "| logfmt | label_format x=\"{{.nope}}\"",
        &[("x=1", "x=\"\"")],
    );
    check_lines(
        "| logfmt | label_format y=x, x=\"{{.y}}\"",
        &[("x=1", "x=1 y=1")],
    );
    let errors = "| json | label_format e=\"{{.__error__}}\", d=__error__ | drop __error__, __error_details__";
    check_lines(errors, &[("bad", "e=JSONParserErr")]);
    let line_of = |stages: &str, line: &str| {
        let pipeline = pipeline(stages);
        let mut run = pipeline.run();
        let entry = EntryView {
            ts: 1_000_000_000,
            line: line.as_bytes(),
            stream: &[("a", "b")],
            metadata: &[("m", "s")],
        };
        let outcome = run.process(&entry).expect("no filter");
        String::from_utf8_lossy(outcome.line).into_owned()
    };
    let check = |stages: &str, line: &str, expected: &str| {
        assert_eq!(line_of(stages, line), expected, "{stages} on {line}");
    };
    check(
        "| logfmt | line_format \"{{int .n}} {{float64 .n}}\"",
        "n=010",
        "8 10",
    );
    check(
        "| line_format \"{{trunc 2 __line__}}|{{alignLeft 2 __line__}}\"",
        "h\u{e9}llo",
        "h\u{fffd}|h\u{e9}",
    );
    check("| json | line_format \"{{.__error__}}\"", "bad", "");
    check(
        "| json | line_format \"{{.__error__}}!\"",
        "bad",
        "JSONParserErr!",
    );
    check("| line_format \"{{.nope}}\"", "x", "");
    check("| line_format \"{{__line__}}\"", "x", "x");
    check("| line_format \"{{div 1 0}}\"", "x", "x");
    check(
        "| line_format \"{{.a}} {{.m}}\" | line_format \"{{__line__}}!\"",
        "x",
        "b s!",
    );
    check("| line_format \"{{ . }}\"", "x", "map[a:b m:s]");
    check("| line_format \"{{ __timestamp__.Unix }}\"", "x", "1");
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
    check(
        "count_over_time({a=\"b\"} | line_format \"{{div 1 0}}\" [1m])",
        "x",
        "",
    );
    let bytes = "bytes_over_time({a=\"b\"} | line_format \"{{div 1 0}}\" [1m])";
    check(bytes, "x", "__error__=TemplateFormatErr");
    let class =
        "sum by (c) (count_over_time({a=\"b\"} | json | label_format c=\"{{trunc 1 .s}}xx\" [1m]))";
    check(class, "{\"r\":1,\"s\":404}", "c=4xx");
}
