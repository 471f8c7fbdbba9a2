//! Label filters, and what they do to the error slot.

use super::{check_lines, pipeline, run_on};

/// Lines that pass `| logfmt FILTER`, by the value of `v`; a failed comparison passes with a `!`.
fn passing(filter: &str, values: &[&str]) -> String {
    let stages = pipeline(&format!("| logfmt {filter}"));
    let mut out = Vec::new();
    for value in values {
        let line = format!("v={value}");
        let labels = run_on(&stages, &[("a", "b")], &[], line.as_bytes());
        if labels.contains("__error__=LabelFilterErr") {
            out.push(format!("{value}!"));
        } else if labels != "-" {
            out.push((*value).to_owned());
        }
    }
    out.join(" ")
}

#[test]
fn numbers() {
    let values = [
        "4", "5", "+5", "5e0", "6", "x", "", "NaN", "Inf", "0x5", "5ms",
    ];
    let check =
        |filter: &str, expected: &str| assert_eq!(passing(filter, &values), expected, "{filter}");
    check("| v=5", "5 +5 5e0 x! 0x5! 5ms!");
    check("| v==5", "5 +5 5e0 x! 0x5! 5ms!");
    check("| v!=5", "4 6 x! NaN Inf 0x5! 5ms!");
    check("| v>5", "6 x! Inf 0x5! 5ms!");
    check("| v>=5", "5 +5 5e0 6 x! Inf 0x5! 5ms!");
    check("| v<5", "4 x! 0x5! 5ms!");
    check("| v<=-5", "x! 0x5! 5ms!");
    check("| nope!=5", "");
}

#[test]
fn durations_and_sizes() {
    let check = |filter: &str, values: &[&str], expected: &str| {
        assert_eq!(passing(filter, values), expected, "{filter}");
    };
    let durations = ["90s", "1m30s", "1.5m", "2h", "1d", "5", "-1h", "100\u{b5}s"];
    check("| v>=1m30s", &durations, "90s 1m30s 1.5m 2h 1d! 5!");
    check("| v<1ms", &durations, "1d! 5! -1h 100\u{b5}s");
    check("| v=1d", &["24h", "1d"], "24h 1d!");
    let sizes = ["1KB", "1000", "1kib", "1.5MB", "2,000", "5ms", "-1B"];
    check("| v>=1KB", &sizes, "1KB 1000 1kib 1.5MB 2,000 5ms! -1B!");
    check("| v<1KiB", &sizes, "5ms! -1B!");
    // A size of the query is that of its printed form.
    check("| v>=5KiB", &["5099", "5100", "5KiB"], "5100 5KiB");
    check("| v>0.08MiB", &["83922", "84kB", "84001"], "84001");
}

#[test]
fn failures_have_details_and_do_not_replace_others() {
    check_lines(
        "| logfmt | v>5",
        &[(
            "v=x",
            "__error__=LabelFilterErr __error_details__=\"strconv.ParseFloat: parsing \\\"x\\\": invalid syntax\" v=x",
        )],
    );
    check_lines(
        "| logfmt | v>1m",
        &[(
            "v=1d",
            "__error__=LabelFilterErr __error_details__=\"time: unknown unit \\\"d\\\" in duration \\\"1d\\\"\" v=1d",
        )],
    );
    check_lines(
        "| logfmt | v>5 | w>1s",
        &[(
            "v=x w=y",
            "__error__=LabelFilterErr __error_details__=\"strconv.ParseFloat: parsing \\\"x\\\": invalid syntax\" v=x w=y",
        )],
    );
    // Both sides of `and` are asked; a failure on the left of `or` is a yes.
    check_lines("| logfmt | v=1 and w>5", &[("v=2 w=x", "-")]);
    check_lines(
        "| logfmt | v>1 or w>1s",
        &[(
            "v=x w=y",
            "__error__=LabelFilterErr __error_details__=\"strconv.ParseFloat: parsing \\\"x\\\": invalid syntax\" v=x w=y",
        )],
    );
    // With a full slot addresses are not asked for.
    check_lines(
        "| logfmt | v>1 | w=ip(\"10.0.0.0/8\") | drop __error__, __error_details__",
        &[("v=x w=1.2.3.4", "v=x w=1.2.3.4"), ("v=2 w=1.2.3.4", "-")],
    );
    check_lines(
        "| logfmt | v>5 | __error__=\"\"",
        &[("v=x", "-"), ("v=6", "v=6")],
    );
    check_lines(
        "| logfmt | v>5 | __error__=~\"Label.*\" | drop __error__, __error_details__",
        &[("v=x", "v=x"), ("v=6", "-")],
    );
    check_lines("| logfmt | v>5 | __error_details__!=\"\"", &[("v=x", "-")]);
}

#[test]
fn texts() {
    let check = |filter: &str, expected: &str| {
        let values = ["foo", "xfoo", "foox", "bar", "buzz", "FOO", "", "err"];
        assert_eq!(passing(filter, &values), expected, "{filter}");
    };
    check("| v=\"foo\"", "foo");
    check("| v!=\"foo\"", "xfoo foox bar buzz FOO  err");
    check("| v=\"\"", "");
    check("| v=~\"foo|err\"", "foo err");
    check("| v=~\"foo.*\"", "foo xfoo foox");
    check("| v=~\"foo.+\"", "foox");
    check("| v=~\"bar|buzz\"", "bar buzz");
    check("| v=~\"(?i)foo\"", "foo FOO");
    check("| v=~\"(?i).*foo\"", "foo xfoo foox FOO");
    check("| v=~\".+\"", "foo xfoo foox bar buzz FOO err");
    check("| v=~\".*\"", "foo xfoo foox bar buzz FOO  err");
    check("| v!~\".*\"", "");
    check("| v!~\"foo.*|err\"", "bar buzz FOO ");
    check("| v=~\"fo+\"", "foo");
    check("| nope=~\".*\"", "foo xfoo foox bar buzz FOO  err");
    check("| nope!=\"x\"", "foo xfoo foox bar buzz FOO  err");
    check("| v=~\"foo|\"", "foo");
}

#[test]
fn addresses() {
    let values = ["10.1.2.3", "x10.1.2.3:80", "11.1.1.1", "word", "fe80::1"];
    let check =
        |filter: &str, expected: &str| assert_eq!(passing(filter, &values), expected, "{filter}");
    check("| v=ip(\"10.0.0.0/8\")", "10.1.2.3 x10.1.2.3:80");
    check("| v!=ip(\"10.0.0.0/8\")", "11.1.1.1 word fe80::1");
    check("| v=ip(\"fe80::/10\")", "fe80::1");
    check("| nope!=ip(\"10.0.0.0/8\")", "");
    // A bad pattern inside a choice never holds.
    check("| v=ip(\"bad\") or v=\"word\"", "word");
    check("| v!=ip(\"bad\") or v=\"word\"", "word");
}

#[test]
fn filters_before_parsers_see_stream_and_metadata() {
    let check = |filter: &str, expected: &str| {
        let labels = run_on(
            &pipeline(filter),
            &[("a", "b"), ("n", "7")],
            &[("m", "8"), ("n", "9")],
            b"",
        );
        assert_eq!(labels, expected, "{filter}");
    };
    let all = "meta:m=8 stream:n=7 meta:n_extracted=9";
    check("| n=7 | m=8 | n_extracted=9", all);
    check("| n=7 and (m=1 or n_extracted>8)", all);
    check("| n>7", "-");
}
