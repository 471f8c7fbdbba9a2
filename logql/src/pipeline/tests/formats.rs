//! Labels of all origins: precedence, renaming, drop and keep.

use super::{check_lines, labels_of, pipeline, run_on};

#[test]
fn names_that_are_taken() {
    let meta = "meta:m=s";
    let stream = "stream:pod=p";
    let moved = "meta:pod_extracted=t";
    // A stream label's name stays taken after it is gone, that of metadata does not.
    for (stages, line, expected) in [
        ("", "", [meta, stream, moved].as_slice()),
        (
            "| logfmt",
            "pod=x m=y",
            &[meta, "m_extracted=y", stream, "pod_extracted=x"],
        ),
        ("| drop pod | logfmt", "pod=x", &[meta, "pod_extracted=x"]),
        ("| drop m | logfmt", "m=y", &["m=y", stream, moved]),
        (
            "| logfmt | drop m | logfmt",
            "m=y",
            &["m=y", "m_extracted=y", stream, moved],
        ),
        ("| label_format pod=\"new\"", "", &[meta, "pod=new", moved]),
        ("| label_format m=\"new\"", "", &["m=new", stream, moved]),
        ("| label_format x=pod", "", &[meta, moved, "x=p"]),
        (
            "| label_format x=m, y=pod_extracted",
            "",
            &[stream, "x=s", "y=t"],
        ),
        ("| label_format x=nope", "", &[meta, stream, moved]),
        (
            "| json",
            "{\"o\":{\"m\":1},\"pod\":2,\"m\":3}",
            &[meta, "m_extracted=3", "o_m=1", stream, "pod_extracted=2"],
        ),
        (
            "| json x=\"m\", m=\"m\"",
            "{\"m\":3}",
            &[meta, "m_extracted=3", stream, moved, "x=3"],
        ),
        (
            "| pattern \"<pod> <m>\"",
            "1 2",
            &[meta, "m_extracted=2", stream, "pod_extracted=1"],
        ),
        (
            "| regexp `(?P<pod>.) (?P<m>.)`",
            "1 2",
            &[meta, "m_extracted=2", stream, "pod_extracted=1"],
        ),
    ] {
        let labels = run_on(
            &pipeline(stages),
            &[("a", "b"), ("pod", "p")],
            &[("m", "s"), ("pod", "t")],
            line.as_bytes(),
        );
        assert_eq!(labels, expected.join(" "), "{stages} on {line}");
    }
}

#[test]
fn a_name_once_extracted_stays_so() {
    check_lines(
        "| logfmt | drop x | line_format \"x=2 y=3\" | logfmt",
        &[("x=1 k=v", "k=v y=3")],
    );
    check_lines(
        "| logfmt | json",
        &[(
            "x=1 {\"x\":2}",
            "__error__=JSONParserErr __error_details__=\"Value looks like object, but can't find closing '}' symbol\" x=1",
        )],
    );
    check_lines("| json | logfmt", &[("{\"x\":\"2\"} x=3 y=4", "x=2 y=4")]);
    check_lines("| logfmt | label_format x=y", &[("x=1 y=2", "x=2")]);
    check_lines("| logfmt | label_format x=x", &[("x=1 y=2", "y=2")]);
    check_lines(
        "| logfmt | json x=\"k\"",
        &[("x=1", "__error__=JSONParserErr x=1")],
    );
}

#[test]
fn the_line_changes_under_later_stages() {
    let line_of = |stages: &str, line: &str| {
        let stages = pipeline(stages);
        let mut run = stages.run();
        let entry = super::EntryView {
            ts: 0,
            line: line.as_bytes(),
            stream: &[("a", "b")],
            metadata: &[],
        };
        run.process(&entry)
            .map(|o| String::from_utf8_lossy(o.line).into_owned())
    };
    let check = |stages: &str, line: &str, expected: Option<&str>| {
        assert_eq!(line_of(stages, line).as_deref(), expected, "{stages}");
    };
    check("| line_format \"new\"", "old", Some("new"));
    check("| line_format \"new\" |= \"old\"", "old", None);
    check(
        "|= \"old\" | line_format \"new\" |= \"new\"",
        "old",
        Some("new"),
    );
    check("| line_format \"one\" | line_format \"\"", "old", Some(""));
    check("| decolorize", "\x1b[31mred\x1b[0m", Some("red"));
    // Line filters go before decolorize, but not past a label filter.
    check("| decolorize |= \"red x\"", "\x1b[31mred\x1b[0m x", None);
    check(
        "| decolorize | a=\"b\" |= \"red x\"",
        "\x1b[31mred\x1b[0m x",
        Some("red x"),
    );
    check(
        "| unpack |= \"inner\"",
        r#"{"_entry":"inner"}"#,
        Some("inner"),
    );
    check("| unpack |= \"_entry\"", r#"{"_entry":"inner"}"#, None);
    check(
        "| unpack | unpack",
        r#"{"_entry":"{\"_entry\":\"deep\"}"}"#,
        Some("deep"),
    );
}

#[test]
fn drop_and_keep_know_the_error_slot() {
    let details =
        "__error_details__=\"Value looks like object, but can't find closing '}' symbol\"";
    assert_eq!(labels_of("| json | drop __error__", "x"), details);
    assert_eq!(
        labels_of("| json | drop __error_details__", "x"),
        "__error__=JSONParserErr"
    );
    assert_eq!(
        labels_of("| json | drop __error__=\"JSONParserErr\"", "x"),
        details
    );
    assert_eq!(
        labels_of("| json | drop __error__=\"other\"", "x"),
        format!("__error__=JSONParserErr {details}")
    );
    assert_eq!(
        labels_of("| json | keep nope", "x"),
        format!("__error__=JSONParserErr {details}")
    );
    assert_eq!(
        labels_of("| json | keep x, y=\"1\"", r#"{"x":0,"y":1,"z":2}"#),
        "x=0 y=1"
    );
    // A key of that name is a label like others.
    assert_eq!(
        labels_of("| json | __error__=\"\"", r#"{"__error__":"mine"}"#),
        "__error__=mine"
    );
    let slot = run_on(
        &pipeline("| __error__=\"given\""),
        &[("a", "b")],
        &[("__error__", "given"), ("x", "y")],
        b"",
    );
    assert_eq!(slot, "__error__=given meta:x=y");
}
