//! Parsers, line by line.

use super::{check_lines, pipeline, run_on};

#[test]
fn json_flattens_objects_and_skips_arrays_and_null() {
    check_lines(
        "| json",
        &[
            (
                r#"{"n":2.50,"e":1e3,"s":"x y","t":true,"f":false}"#,
                "e=1e3 f=false n=2.50 s=\"x y\" t=true",
            ),
            (r#"{"l":[1,{"x":2}],"z":null,"o":{"p":{"q":3}}}"#, "o_p_q=3"),
            (r#"  {"x":"y"} and more"#, "x=y"),
            (r#"{"x":"",}"#, "x=\"\""),
            (r#"{"k":1,"k":2}"#, "k=1"),
            (
                "{\"user-id\":1,\"b c\":2,\" d \":3,\"9x\":4,\"\u{e9}\":5,\"\":6,\"  \":7}",
                "_=5 _9x=4 b_c=2 d=3 user_id=1",
            ),
            (
                r#"{"o":{"1":{"":{"k v":5}}},"":{"m":6},"p":{"":7}}"#,
                "m=6 o_1_k_v=5 p=7",
            ),
            (
                r#"{"x":"a\tb\u00e9\\","bad":"\q","half":"\ud800"}"#,
                "bad=\"\" half=\"\" x=a\tb\u{e9}\\",
            ),
            ("{\"x\":\"a\u{fffd}b\"}", "x=\"a b\""),
            (r#"{"\u0061x":1}"#, "ax=1"),
            (r#"{}"#, ""),
            (r#"{"n":12345678901234567890}"#, "n=12345678901234567890"),
        ],
    );
    let raw = run_on(
        &pipeline("| json"),
        &[("a", "b")],
        &[],
        b"{\"x\":\"\xff\xfe!\"}",
    );
    assert_eq!(raw, "x=\"  !\"");
}

#[test]
fn json_keeps_what_came_before_a_fault() {
    let object = "__error__=JSONParserErr __error_details__=\"Value looks like object, but can't find closing '}' symbol\"";
    let malformed = "__error__=JSONParserErr __error_details__=\"Malformed JSON error\"";
    let array = "__error__=JSONParserErr __error_details__=\"Value is array, but can't find closing ']' symbol\"";
    let kind = "__error__=JSONParserErr __error_details__=\"Unknown value type\"";
    check_lines(
        "| json",
        &[
            ("", object),
            ("plain words", object),
            (r#"{"x":1 "y":2}"#, &format!("{object} x=1")),
            (r#"{"x":1,"y":"#, &format!("{malformed} x=1")),
            (r#"{"x":1,"#, &format!("{array} x=1")),
            (r#"{"x":{"y":1}"#, &format!("{array} x_y=1")),
            (r#"{"x":{"y":1"#, object),
            (r#"{"x":{"y":1,2}}"#, &format!("{object} x_y=1")),
            (r#"{"x":yes}"#, kind),
        ],
    );
}

#[test]
fn json_paths_choose_values() {
    check_lines(
        r#"| json x="o.p", y="l[1]", z="none", w="o""#,
        &[(
            r#"{"o":{"p":"v w"},"l":[1,"two"]}"#,
            "w={\"p\":\"v w\"} x=\"v w\" y=two z=\"\"",
        )]
        .map(|(line, expected)| {
            (
                line,
                expected.replace("w={\"p\":\"v w\"}", "w=\"{\\\"p\\\":\\\"v w\\\"}\""),
            )
        })
        .iter()
        .map(|(line, expected)| (*line, expected.as_str()))
        .collect::<Vec<_>>(),
    );
    check_lines(
        r#"| json x="k""#,
        &[
            (r#"{"k":null}"#, "x=\"\""),
            (r#"{"k":[1,2]}"#, "x=[1,2]"),
            (r#"{"k":2.50}"#, "x=2.50"),
            (r#"{"k":"a\tb"}"#, "x=a\tb"),
            (r#"{"k":"\q"}"#, "x=\"\""),
            (r#"{"o":{"k":1},"k":2}"#, "x=2"),
            (r#"{"k":1,"k":2}"#, "x=1"),
            (r#"{"k":7,"broken"#, "x=7"),
            (
                r#"{"k":nope}"#,
                "__error__=JSONParserErr __error_details__=\"Unknown value type\" x=\"\"",
            ),
            (r#" {"k":1}"#, "__error__=JSONParserErr"),
            ("words", "__error__=JSONParserErr"),
            ("", ""),
            (
                r#""k":1"#,
                "__error__=JSONParserErr __error_details__=\"Malformed JSON error\" x=\"\"",
            ),
            ("[]", "x=\"\""),
        ],
    );
    check_lines(
        r#"| json first="[0]", deep="[1].a[0]", all="[1].a""#,
        &[(r#"["s",{"a":[5,6]}]"#, "all=[5,6] deep=5 first=s")],
    );
    check_lines(
        r#"| json x="[\"odd key\"]", k"#,
        &[(r#"{"odd key":1,"k":{"x":2}}"#, "k={\"x\":2} x=1")],
    );
}

#[test]
fn logfmt_reads_pairs() {
    check_lines(
        "| logfmt",
        &[
            ("k=v n=1.5 s=\"x y\" ", "k=v n=1.5 s=\"x y\""),
            ("k=1 k=2 e= f g=\"\" h", "k=1"),
            ("=x k=v", "k=v"),
            ("x=y=z k=v", "k=v"),
            ("x=y\"z k=v", "k=v"),
            ("b\"c=2 k=v", "k=v"),
            ("\"quoted\" k=v", "k=v"),
            ("k=\"v\"w u=z", "k=v u=z"),
            ("k=v o=\"open x=y", "k=v"),
            ("k=v o=\"\\q\" x=y", "k=v x=y"),
            ("s=\"a\\\"b\\n\\u00e9\\'\"", "s=a\"b\n\u{e9}'"),
            ("s=\"half \\ud800!\"", "s=\"half  !\""),
            ("k=a\u{fffd}b", "k=\"a b\""),
            ("k\u{fffd}=1 j\u{fffd} x=y", "x=y"),
            ("user-id=1 9x=2 \u{e9}=3", "_=3 _9x=2 user_id=1"),
            ("no pairs at all", ""),
            ("", ""),
            ("\tk=v\n\u{1}j=w", "j=w k=v"),
        ],
    );
    check_lines(
        "| logfmt --keep-empty",
        &[("e f= g=\"\" h=1", "e=\"\" f=\"\" g=\"\" h=1")],
    );
    let fault = |pos: usize, what: &str| {
        let details = format!("logfmt syntax error at pos {pos} : {what}");
        format!("__error__=LogfmtParserErr __error_details__={details:?} k=v")
    };
    for (line, pos, what) in [
        ("k=v =x j=1", 5, "unexpected '='"),
        ("k=v x=y=z j=1", 8, "unexpected '='"),
        ("k=v x=y\"z j=1", 8, "unexpected '\"'"),
        ("k=v b\"c=2", 6, "unexpected '\"'"),
        ("k=v o=\"open", 12, "unterminated quoted value"),
        ("k=v o=\"\\q\" j=1", 11, "invalid quoted value"),
        ("k=v \u{fffd}=1", 8, "invalid key"),
        ("k=v \u{fffd} j=1", 8, "invalid key"),
    ] {
        check_lines("| logfmt --strict", &[(line, &fault(pos, what))]);
    }
    check_lines("| logfmt --strict", &[("k=v e f=", "k=v")]);
}

#[test]
fn logfmt_picks_keys() {
    check_lines(
        r#"| logfmt x="key", y"#,
        &[
            ("key=1 y=2 z=3", "x=1 y=2"),
            ("key=1 key=2", "x=2 y=\"\""),
            ("x=5", "x=5 y=\"\""),
            ("", "x=\"\" y=\"\""),
            ("key=a\u{fffd}b", "x=\"\" y=\"\""),
            ("key=\"a \\\"b\"", "x=\"a \\\"b\" y=\"\""),
        ],
    );
    let stages = pipeline(r#"| logfmt pod="key", m="other""#);
    let check = |line: &str, expected: &str| {
        let labels = run_on(
            &stages,
            &[("a", "b"), ("pod", "p")],
            &[("m", "s")],
            line.as_bytes(),
        );
        assert_eq!(labels, expected, "{line}");
    };
    check("x=1", "meta:m=s stream:pod=p");
    check("key=1", "meta:m=s stream:pod=p pod_extracted=1");
    check(
        "key=1 other=2",
        "meta:m=s m_extracted=2 stream:pod=p pod_extracted=1",
    );
    // The second value of a label that gave way ends the reading.
    check(
        "key=1 key=2 other=3",
        "meta:m=s stream:pod=p pod_extracted=1",
    );
    check_lines(r#"| logfmt | logfmt x="k""#, &[("k=1", "k=1 x=\"\"")]);
}

#[test]
fn patterns_capture() {
    check_lines(
        "| pattern \"<x> - <y>: <z>\"",
        &[
            ("one - two: three four", "x=one y=two z=\"three four\""),
            ("one - two", "x=one y=two"),
            ("one", "x=one"),
            (" - : ", "x=\"\" y=\"\" z=\"\""),
            ("", ""),
        ],
    );
    check_lines(
        "| pattern \"GET <path> <_>\"",
        &[
            ("GET /x HTTP", "path=/x"),
            ("POST GET /x HTTP", ""),
            ("GET /x", "path=/x"),
        ],
    );
    check_lines(
        "| pattern \"<_> <x>!\"",
        &[("p q! r", "x=q"), ("p q r", "x=\"q r\"")],
    );
    let raw = run_on(
        &pipeline("| pattern \"<x>|\""),
        &[("a", "b")],
        &[],
        b"\xff\xc3|",
    );
    assert_eq!(raw, "x=\u{fffd}\u{fffd}");
}

#[test]
fn regexes_capture() {
    check_lines(
        "| regexp `(?P<m>[A-Z]+) (?P<p>/\\S*)( (?P<proto>HTTP)(x))?`",
        &[
            ("say GET /x HTTPx", "m=GET p=/x proto=HTTP"),
            ("GET /y then POST /z", "m=GET p=/y proto=\"\""),
            ("nothing", ""),
        ],
    );
    check_lines("| regexp `(?P<9a>\\d)(?P<b>x?)`", &[("5", "_9a=5 b=\"\"")]);
    check_lines("| regexp `(?i)k(?<v>\\d{2})`", &[("K123", "v=12")]);
}

#[test]
fn unpack_takes_line_and_labels() {
    let check = |line: &str, expected: &str, left: &str| {
        let stages = pipeline("| unpack");
        let mut run = stages.run();
        let entry = super::EntryView {
            ts: 0,
            line: line.as_bytes(),
            stream: &[("a", "b"), ("bad_k", "s")],
            metadata: &[],
        };
        let outcome = run.process(&entry).expect("no filter");
        let shown = super::show(&outcome);
        let shown = shown
            .replace("stream:bad_k=s ", "")
            .replace("stream:bad_k=s", "");
        assert_eq!(shown.trim(), expected, "{line}");
        assert_eq!(outcome.line, left.as_bytes(), "{line}");
    };
    check(
        r#"{"x":"1","_entry":"the \"line\"","n":5}"#,
        "x=1",
        "the \"line\"",
    );
    let same = |line: &str, expected: &str| check(line, expected, line);
    same(r#"{"x":"1","n":5}"#, "");
    same("", "");
    same(
        r#" {"_entry":"x"}"#,
        "__error__=JSONParserErr __error_details__=\"expecting json object(6), but it is not\"",
    );
    same(
        r#"{"_entry":"x""#,
        "__error__=JSONParserErr __error_details__=\"Value is array, but can't find closing ']' symbol\"",
    );
    same(
        r#"{"_entry":"\q"}"#,
        "__error__=JSONParserErr __error_details__=\"Encountered an invalid escape sequence in a string\"",
    );
    check(r#"{"_entry":"x","bad_k":"1"}"#, "bad_k_extracted=1", "x");
    check(r#"{"_entry":"x","bad-k":"1"}"#, "bad_k=1", "x");
}
