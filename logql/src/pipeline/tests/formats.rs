//! Labels of all origins: precedence, renaming, drop and keep (logql.md sections 5, 8 and 9).

use super::{check_lines, labels_of, pipeline, run_on};

#[test]
fn names_that_are_taken() {
    let check = |stages: &str, line: &str, expected: &str| {
        let labels = run_on(
            &pipeline(stages),
            &[("a", "b"), ("pod", "p")],
            &[("m", "s"), ("pod", "t")],
            line.as_bytes(),
        );
        assert_eq!(labels, expected, "{stages} on {line}");
    };
    check("", "", "meta:m=s stream:pod=p meta:pod_extracted=t");
    // A stream label's name stays taken after it is gone, that of metadata does not.
    check("| logfmt", "pod=x m=y", "meta:m=s m_extracted=y stream:pod=p pod_extracted=x");
    check("| drop pod | logfmt", "pod=x", "meta:m=s pod_extracted=x");
    check("| drop m | logfmt", "m=y", "m=y stream:pod=p meta:pod_extracted=t");
    check("| logfmt | drop m | logfmt", "m=y", "m_extracted=y m=y stream:pod=p meta:pod_extracted=t".replace("m_extracted=y m=y", "m=y m_extracted=y").as_str());
    check("| label_format pod=\"new\"", "", "meta:m=s pod=new meta:pod_extracted=t");
    check("| label_format m=\"new\"", "", "m=new stream:pod=p meta:pod_extracted=t");
    check("| label_format x=pod", "", "meta:m=s meta:pod_extracted=t x=p");
    check("| label_format x=m, y=pod_extracted", "", "stream:pod=p x=s y=t");
    check("| label_format x=nope", "", "meta:m=s stream:pod=p meta:pod_extracted=t");
    check("| json", "{\"o\":{\"m\":1},\"pod\":2,\"m\":3}", "meta:m=s m_extracted=3 o_m=1 stream:pod=p pod_extracted=2");
    check("| json x=\"m\", m=\"m\"", "{\"m\":3}", "meta:m=s m_extracted=3 stream:pod=p meta:pod_extracted=t x=3");
    check("| pattern \"<pod> <m>\"", "1 2", "meta:m=s m_extracted=2 stream:pod=p pod_extracted=1");
    check("| regexp \"(?P<pod>\\\\d) (?P<m>\\\\d)\"", "1 2", "meta:m=s m_extracted=2 stream:pod=p pod_extracted=1");
}

#[test]
fn a_name_once_extracted_stays_so() {
    check_lines(
        "| logfmt | drop x | line_format \"x=2 y=3\" | logfmt",
        &[("x=1 k=v", "k=v y=3")],
    );
    check_lines("| logfmt | json", &[("x=1 {\"x\":2}", "__error__=JSONParserErr __error_details__=\"Value looks like object, but can't find closing '}' symbol\" x=1")]);
    check_lines("| json | logfmt", &[("{\"x\":\"2\"} x=3 y=4", "x=2 y=4")]);
    check_lines("| logfmt | label_format x=y", &[("x=1 y=2", "x=2")]);
    check_lines("| logfmt | label_format x=x", &[("x=1 y=2", "y=2")]);
    check_lines("| logfmt | json x=\"k\"", &[("x=1", "__error__=JSONParserErr x=1")]);
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
        run.process(&entry).map(|o| String::from_utf8_lossy(o.line).into_owned())
    };
    let check = |stages: &str, line: &str, expected: Option<&str>| {
        assert_eq!(line_of(stages, line).as_deref(), expected, "{stages}");
    };
    check("| line_format \"new\"", "old", Some("new"));
    check("| line_format \"new\" |= \"old\"", "old", None);
    check("|= \"old\" | line_format \"new\" |= \"new\"", "old", Some("new"));
    check("| line_format \"one\" | line_format \"\"", "old", Some(""));
    check("| decolorize", "\x1b[31mred\x1b[0m", Some("red"));
    // Line filters go before decolorize, but not past a label filter.
    check("| decolorize |= \"red x\"", "\x1b[31mred\x1b[0m x", None);
    check("| decolorize | a=\"b\" |= \"red x\"", "\x1b[31mred\x1b[0m x", Some("red x"));
    check("| unpack |= \"inner\"", r#"{"_entry":"inner"}"#, Some("inner"));
    check("| unpack |= \"_entry\"", r#"{"_entry":"inner"}"#, None);
    check("| unpack | unpack", r#"{"_entry":"{\"_entry\":\"deep\"}"}"#, Some("deep"));
}

#[test]
fn drop_and_keep_know_the_error_slot() {
    let details = "__error_details__=\"Value looks like object, but can't find closing '}' symbol\"";
    assert_eq!(labels_of("| json | drop __error__", "x"), details);
    assert_eq!(labels_of("| json | drop __error_details__", "x"), "__error__=JSONParserErr");
    assert_eq!(labels_of("| json | drop __error__=\"JSONParserErr\"", "x"), details);
    assert_eq!(labels_of("| json | drop __error__=\"other\"", "x"), format!("__error__=JSONParserErr {details}"));
    assert_eq!(labels_of("| json | keep nope", "x"), format!("__error__=JSONParserErr {details}"));
    assert_eq!(labels_of("| json | keep x, y=\"1\"", r#"{"x":0,"y":1,"z":2}"#), "x=0 y=1");
    // A key of that name is a label like others.
    assert_eq!(labels_of("| json | __error__=\"\"", r#"{"__error__":"mine"}"#), "__error__=mine");
    let slot = run_on(&pipeline("| __error__=\"given\""), &[("a", "b")], &[("__error__", "given"), ("x", "y")], b"");
    assert_eq!(slot, "__error__=given meta:x=y");
}
