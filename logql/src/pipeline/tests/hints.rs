//! What metric queries do not extract, and filters that run early.

use super::{check_lines, metric, pipeline, run_on};

fn check(query: &str, line: &str, expected: &str) {
    let labels = run_on(
        &metric(query),
        &[("a", "b"), ("pod", "p")],
        &[("m", "s")],
        line.as_bytes(),
    );
    assert_eq!(labels, expected, "{query} on {line}");
}

#[test]
fn sums_without_names_need_no_parser() {
    for parser in [
        "json",
        "logfmt --strict",
        "unpack",
        "pattern \"<x> <y>\"",
        "regexp \"(?P<x>.)\"",
        "json x=\"y\"",
        "logfmt x=\"y\"",
    ] {
        let query = format!("sum(count_over_time({{a=\"b\"}} | {parser} [1m]))");
        check(&query, "=bad", "");
        let pipeline = metric(&query);
        assert!(!pipeline.uses_line() && pipeline.only_labels(), "{query}");
    }
    let all = metric("count_over_time({a=\"b\"} | json [1m])");
    assert!(all.uses_line() && !all.only_labels());
}

#[test]
fn only_needed_names_are_set() {
    let query = "sum by (x) (count_over_time({a=\"b\"} | json [1m]))";
    check(query, r#"{"w":0,"x":1,"broken"#, "x=1");
    check(query, r#"{"w":0}"#, "");
    let error = "__error__=JSONParserErr __error_details__=\"Value is array, but can't find closing ']' symbol\" stream:pod=p";
    check(
        query,
        r#"{"w":0,"#,
        &error.replace(" stream", " meta:m=s stream"),
    );
    // A nested object is looked into only where a needed name begins like it.
    check(query, r#"{"o":{"bad"},"x":1}"#, "x=1");
    check(
        "sum by (o_x) (count_over_time({a=\"b\"} | json [1m]))",
        r#"{"o":{"y":1,"x":2},"broken"#,
        "o_x=2",
    );
    check(
        "sum by (pod_extracted) (count_over_time({a=\"b\"} | json [1m]))",
        r#"{"pod":1}"#,
        "pod_extracted=1",
    );
    check(
        "sum by (m_extracted) (count_over_time({a=\"b\"} | logfmt [1m]))",
        "m=1",
        "m_extracted=1",
    );
    check(
        "sum by (pod) (count_over_time({a=\"b\"} | logfmt [1m]))",
        "pod=1",
        "stream:pod=p",
    );
    check(
        "sum by (x, pod) (count_over_time({a=\"b\"} | logfmt | y=\"2\" [1m]))",
        "z=0 x=1 y=2",
        "stream:pod=p x=1",
    );
    check(
        "sum by (k) (count_over_time({a=\"b\"} | logfmt k=\"key\" [1m]))",
        "key=1",
        "k=\"\"",
    );
    check(
        "sum by (k) (count_over_time({a=\"b\"} | json k=\"key\" [1m]))",
        r#"{"key":1}"#,
        "k=1",
    );
    check(
        "sum by (k) (count_over_time({a=\"b\"} | logfmt | label_format k=x [1m]))",
        "w=0 x=1",
        "k=1",
    );
    check(
        "sum without (x) (count_over_time({a=\"b\"} | logfmt [1m]))",
        "x=1 y=2",
        "meta:m=s stream:pod=p x=1 y=2",
    );
}

#[test]
fn errors_that_are_asked_for_are_preserved() {
    let all = "__error__=LogfmtParserErr __error_details__=\"logfmt syntax error at pos 1 : unexpected '='\"";
    check(
        "sum by (__error__) (count_over_time({a=\"b\"} | logfmt --strict [1m]))",
        "=x",
        &format!("{all} __preserve_error__=true meta:m=s stream:pod=p"),
    );
    check(
        "sum(count_over_time({a=\"b\"} | logfmt --strict | __error__!=\"\" [1m]))",
        "=x",
        &format!("{all} __preserve_error__=true meta:m=s stream:pod=p"),
    );
    check(
        "count_over_time({a=\"b\"} | logfmt --strict | __error__!=\"\" [1m])",
        "=x",
        &format!("{all} meta:m=s stream:pod=p"),
    );
    check(
        "sum(count_over_time({a=\"b\"} | logfmt | n>5 [1m]))",
        "n=x",
        "__error__=LabelFilterErr __error_details__=\"strconv.ParseFloat: parsing \\\"x\\\": invalid syntax\" meta:m=s n=x stream:pod=p",
    );
    check(
        "sum(count_over_time({a=\"b\"} | logfmt | n>5 [1m]))",
        "n=6",
        "",
    );
    check(
        "sum(count_over_time({a=\"b\"} | logfmt | n>5 [1m]))",
        "n=4",
        "-",
    );
}

#[test]
fn filters_run_as_soon_as_their_label_is_set() {
    for parser in [
        "logfmt",
        "json",
        "pattern \"{\\\"x\\\":\\\"<x>\\\"}x=<_>\"",
        "regexp \"x\\\":\\\"(?P<x>.)\"",
    ] {
        let line = "{\"x\":\"1\"}x=1";
        let line = if parser == "logfmt" { "x=1" } else { line };
        check_lines(
            &format!("| {parser} | label_format x=\"2\" | x=\"2\""),
            &[(line, "-")],
        );
        check_lines(
            &format!("| {parser} | label_format x=\"2\" | x=\"2\" or x=\"3\""),
            &[(line, "x=2")],
        );
        check_lines(&format!("| {parser} | drop x | x=\"\""), &[(line, "-")]);
    }
    // Expressions do not ask filters.
    check_lines(
        "| logfmt x=\"k\" | label_format x=\"2\" | x=\"2\"",
        &[("k=1", "x=2")],
    );
    check_lines(
        "| json x=\"k\" | label_format x=\"2\" | x=\"2\"",
        &[("{\"k\":1}", "x=2")],
    );
    check_lines(
        "| unpack | label_format x=\"2\" | x=\"2\"",
        &[(r#"{"_entry":"l","x":"1"}"#, "-")],
    );
    // The first filter of a name counts; one that always holds is none.
    check_lines(
        "| logfmt | x=~\".*\" | label_format x=\"2\" | x=\"2\"",
        &[("x=1", "-")],
    );
    check_lines(
        "| logfmt | x>0 | label_format x=\"2\" | x=\"2\"",
        &[("x=1", "x=2")],
    );
    // With names to group by no filter runs early; a sum without any does.
    check(
        "sum by (x) (count_over_time({a=\"b\"} | logfmt | label_format x=\"2\" | x=\"2\" [1m]))",
        "x=1",
        "x=2",
    );
    check(
        "sum(count_over_time({a=\"b\"} | logfmt | label_format x=\"2\" | x=\"2\" [1m]))",
        "x=1",
        "-",
    );
    // The last needed name of JSON ends the reading before its filter is asked.
    check(
        "sum(count_over_time({a=\"b\"} | json | label_format x=\"2\" | x=\"2\" [1m]))",
        "{\"x\":1}",
        "",
    );
    check(
        "sum(count_over_time({a=\"b\"} | json | label_format x=\"2\" | x=\"2\" | y=\"\" [1m]))",
        "{\"x\":1}",
        "-",
    );
    // Strict logfmt asks the filters of the error slot.
    check_lines(
        "| logfmt --strict | drop __error__ | __error__=\"\"",
        &[("=x", "-"), ("x=1", "x=1")],
    );
}

#[test]
fn a_look_ahead_changes_nothing() {
    // The label with a filter comes first, last, twice, nested, or after a fault.
    for (line, expected) in [
        (r#"{"l":"e","x":1}"#, "l=e x=1"),
        (r#"{"x":1,"l":"e"}"#, "l=e x=1"),
        (r#"{"x":1,"l":"i"}"#, "-"),
        (r#"{"l":"e","l":"i"}"#, "l=e"),
        (r#"{"l":"i","l":"e"}"#, "-"),
        (r#"{"x":1}"#, "-"),
    ] {
        check_lines("| json | l=\"e\"", &[(line, expected)]);
    }
    check_lines(
        "| json | o_l=\"e\" | x=1",
        &[
            (r#"{"o":{"l":"e"},"x":1}"#, "o_l=e x=1"),
            (r#"{"o":{"l":"i"},"x":1}"#, "-"),
        ],
    );
    check_lines(
        "| json | l=\"e\"",
        &[(
            r#"{"l":"e","x":"#,
            "__error__=JSONParserErr __error_details__=\"Malformed JSON error\" l=e",
        )],
    );
    let taken = run_on(
        &pipeline("| json | pod=\"p\""),
        &[("a", "b"), ("pod", "p")],
        &[],
        b"{\"pod\":\"q\"}",
    );
    assert_eq!(taken, "stream:pod=p pod_extracted=q");
    let taken = run_on(
        &pipeline("| json | pod_extracted=\"p\""),
        &[("a", "b"), ("pod", "p")],
        &[],
        b"{\"pod\":\"q\"}",
    );
    assert_eq!(taken, "-");
}

#[test]
fn a_grouping_forgets_what_was_deleted_once() {
    check(
        "sum by (x) (count_over_time({a=\"b\"} | logfmt | drop x | label_format x=\"2\" [1m]))",
        "x=1",
        "",
    );
    check(
        "sum by (m) (count_over_time({a=\"b\"} | drop m | logfmt [1m]))",
        "m=1",
        "",
    );
    check(
        "sum by (pod) (count_over_time({a=\"b\"} | drop pod [1m]))",
        "",
        "",
    );
    check(
        "sum by (pod) (count_over_time({a=\"b\"} | keep pod, m [1m]))",
        "",
        "stream:pod=p",
    );
}

#[test]
fn line_format_that_nobody_reads_is_left_out() {
    let changes = |query: &str| metric(query).uses_line();
    assert!(!changes(
        "count_over_time({a=\"b\"} | line_format \"x\" [1m])"
    ));
    assert!(changes(
        "bytes_over_time({a=\"b\"} | line_format \"x\" [1m])"
    ));
    assert!(changes(
        "count_over_time({a=\"b\"} | line_format \"x\" |= \"x\" [1m])"
    ));
    assert!(changes(
        "count_over_time({a=\"b\"} | line_format \"x=1\" | logfmt [1m])"
    ));
    assert!(!changes(
        "count_over_time({a=\"b\"} | drop x | line_format \"x\" | keep a [1m])"
    ));
}

#[test]
fn line_filters_move_to_the_front() {
    let leading = |stages: &str| pipeline(stages).leading_filters().len();
    assert_eq!(
        leading("| json | x=\"1\" |= \"a\" | logfmt != \"b\" or \"c\""),
        3
    );
    assert_eq!(leading("|= \"a\" | line_format \"x\" |= \"b\""), 1);
    assert_eq!(leading("|= \"a\" | unpack |= \"b\" | json |= \"c\""), 1);
    assert_eq!(leading("| decolorize |= \"a\" | x=\"1\" |= \"b\""), 1);
}
