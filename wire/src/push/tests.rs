//! Decoding as cases, and any bytes at all.

use proptest::prelude::*;

use super::*;

fn text(text: Text<'_>) -> String {
    let mut scratch = Vec::new();
    let shown = String::from_utf8_lossy(text.get(&mut scratch)).into_owned();
    assert_eq!(text.len(), text.get(&mut scratch).len());
    shown
}

/// What a request holds, a line per stream.
fn show(request: &Request<'_>) -> String {
    let mut out = Vec::new();
    for stream in request.streams() {
        let mut line = match stream.labels() {
            Ok(labels) => labels.to_string(),
            Err(BadLabels::Syntax(why)) => format!("bad {why}"),
            Err(BadLabels::Duplicate(pairs, name)) => format!("twice {name} {pairs:?}"),
        };
        for entry in stream.entries() {
            line.push_str(&format!(" {}:{}", entry.ts, text(entry.line)));
            for (name, value) in entry.metadata.pairs() {
                line.push_str(&format!("|{}={}", text(name), text(value)));
            }
        }
        out.push(line);
    }
    out.join("\n")
}

fn check(got: Result<Request<'_>, PushError>, want: Result<&str, &str>, of: &str) {
    let got = got.map(|request| show(&request)).map_err(|e| e.to_string());
    match (&got, want) {
        (Ok(got), Ok(want)) => assert_eq!(got, want, "{of}"),
        (Err(got), Err(want)) => assert!(got.contains(want), "{of}: {got}"),
        _ => panic!("{of}: {got:?} instead of {want:?}"),
    }
}

const JSON: &[(&str, Result<&str, &str>)] = &[
    (
        r#"{"streams":[{"stream":{"app":"x"},"values":[["17","line",{"id":"abc"}],["18","l 2",{}]]}]}"#,
        Ok("{app=\"x\"} 17:line|id=abc 18:l 2"),
    ),
    // Any order, blanks, unknown keys, what follows, a fourth element, no line.
    (
        " {\"a\":[{\"]\":1}],\n\"streams\" : [ { \"values\":[[\"-1\"],[\"2\",\"x\",{},[{}]]], \"x\":null, \"stream\":{\"a\":\"b\"}} ] } trailing",
        Ok("{a=\"b\"} -1: 2:x"),
    ),
    // Escapes, pairs of surrogates, numbers and others as label values, an empty one, a name twice.
    (
        r#"{"streams":[{"stream":{"n":1.50,"t":true,"e":"","d":"1","d":"2"},"values":[["1","a\n\"\u00e9\ud83d\ude00\/",{"k\t":"\\"}]]}]}"#,
        Ok("{d=\"2\", n=\"1.50\", t=\"true\"} 1:a\n\"\u{e9}\u{1f600}/|k\t=\\"),
    ),
    ("{}", Ok("")),
    ("[]", Ok("")),
    ("[ ]", Ok("")),
    ("null", Ok("")),
    (r#"{"streams":null}"#, Ok("")),
    (r#"{"Streams":[]}"#, Ok("")),
    (r#"{"streams":[{"stream":{"a":"b"}}]}"#, Ok("{a=\"b\"}")),
    (
        r#"{"streams":[{"stream":{"a":"b"},"values":null}]}"#,
        Ok("{a=\"b\"}"),
    ),
    (
        r#"{"streams":[{"stream":{"a":"b"},"values":[null]}]}"#,
        Ok("{a=\"b\"}"),
    ),
    (r#"{"streams":[{"values":[["1","x"]]}]}"#, Ok("{} 1:x")),
    (
        r#"{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"2026-11-20T09:53:24Z","line":"x"}]}]}"#,
        Ok("{}"),
    ),
    (
        r#"{"streams":[{"stream":{"a.b":"c"}}]}"#,
        Ok("bad 1:3: parse error: unexpected character inside braces: '.'"),
    ),
    (
        r#"{"streams":[{"stream":{"":"c"}}]}"#,
        Ok("bad 1:2: parse error: unexpected \"=\" in label set, expected identifier or \"}\""),
    ),
    ("", Err("EOF")),
    (" ", Err("EOF")),
    ("7", Err("an object with `streams`")),
    ("[1]", Err("an object with `streams`")),
    (r#"{"streams":{}}"#, Err("an array of streams")),
    (r#"{"streams":[7]}"#, Err("a stream object")),
    (r#"{"streams":[null]}"#, Err("a stream object")),
    (
        r#"{"streams":[{"stream":null}]}"#,
        Err("an object of labels"),
    ),
    (r#"{"streams":[{"stream":{"a"}}]}"#, Err("expected `:`")),
    (r#"{"streams":[{"values":{}}]}"#, Err("an array of values")),
    (r#"{"streams":[{"values":[7]}]}"#, Err("an entry such as")),
    (r#"{"streams":[{"values":[[]]}]}"#, Err("no timestamp")),
    (r#"{"streams":[{"values":[[1,"x"]]}]}"#, Err("found \"1,")),
    (
        r#"{"streams":[{"values":[["1.5","x"]]}]}"#,
        Err("nanoseconds in 64 bits in the JSON, found"),
    ),
    (
        r#"{"streams":[{"values":[["2026-11-20T09:53:24Z","x"]]}]}"#,
        Err("nanoseconds in 64 bits"),
    ),
    (
        r#"{"streams":[{"values":[["9223372036854775808","x"]]}]}"#,
        Err("nanoseconds in 64 bits"),
    ),
    (
        r#"{"streams":[{"values":[["1",2]]}]}"#,
        Err("a line as a string"),
    ),
    (
        r#"{"streams":[{"values":[["1","x",null]]}]}"#,
        Err("an object of structured metadata"),
    ),
    (
        r#"{"streams":[{"values":[["1","x","y"]]}]}"#,
        Err("an object of structured metadata"),
    ),
    (
        r#"{"streams":[{"values":[["1","x",{"a":1}]]}]}"#,
        Err("metadata as a string"),
    ),
    (
        r#"{"streams":[{"values":[["1","x",{"a":{}}]]}]}"#,
        Err("metadata as a string"),
    ),
    (
        r#"{"streams":[{"values":[["1","x"]["2","y"]]}]}"#,
        Err("`,` or `]`"),
    ),
    (
        r#"{"streams":[{"values":[["1","\ud83d"]]}]}"#,
        Err("an escape"),
    ),
    (
        r#"{"streams":[{"values":[["1","\ude00\ud83d"]]}]}"#,
        Err("an escape"),
    ),
    (
        r#"{"streams":[{"values":[["1","\x41"]]}]}"#,
        Err("an escape"),
    ),
    (
        r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}"#,
        Err("ends early"),
    ),
    (
        r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"#,
        Err("ends early"),
    ),
    (r#"{"streams":[],"x":nope}"#, Err("a value")),
];

#[test]
fn json_is_read_as_loki_reads_it() {
    for (body, want) in JSON {
        check(Request::json(body.as_bytes()), *want, body);
    }
    // A line need not be UTF-8.
    let body = b"{\"streams\":[{\"values\":[[\"1\",\"a\xff\"]]}]}";
    check(Request::json(body), Ok("{} 1:a\u{fffd}"), "bytes");
    let counts = Request::json(JSON[0].0.as_bytes()).unwrap().counts();
    let want = Counts {
        streams: 1,
        entries: 2,
        bytes: 12,
    };
    assert_eq!(counts, want);
}

#[test]
fn legacy_json_is_read() {
    let body = r#"{"streams":[{"labels":"{app=\"x\"}","entries":[{"ts":"1970-01-01T00:00:01.5Z","line":"a\tb"},{"line":"c","ts":"1970-01-01T01:00:00+01:00"}]}]}"#;
    let want = "{app=\"x\"} 1500000000:a\tb 0:c";
    check(Request::legacy_json(body.as_bytes()), Ok(want), body);
    let v1 = r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]}"#;
    check(Request::legacy_json(v1.as_bytes()), Ok("{}"), v1);
    for (entry, want) in [
        (r#"{"line":"x"}"#, "no timestamp"),
        (r#"{"ts":"17","line":"x"}"#, "RFC 3339"),
        (r#"{"ts":"9999-01-01T00:00:00Z"}"#, "RFC 3339"),
        (r#"{"ts":17}"#, "RFC 3339"),
        ("[]", "an entry object"),
    ] {
        let body = format!("{{\"streams\":[{{\"labels\":\"{{}}\",\"entries\":[{entry}]}}]}}");
        check(Request::legacy_json(body.as_bytes()), Err(want), &body);
    }
}

/// A message's field with bytes, or with a number.
fn field(out: &mut Vec<u8>, number: u8, bytes: &[u8]) {
    out.push(number << 3 | 2);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn number(out: &mut Vec<u8>, field: u8, n: i64) {
    out.push(field << 3);
    varint(out, n as u64);
}

fn message(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    build(&mut out);
    out
}

fn entry(seconds: i64, nanos: i64, line: &[u8], pairs: &[(&[u8], &[u8])]) -> Vec<u8> {
    message(|m| {
        let ts = message(|t| {
            number(t, 1, seconds);
            number(t, 2, nanos);
        });
        field(m, 1, &ts);
        field(m, 2, line);
        for (name, value) in pairs {
            let pair = message(|p| {
                field(p, 1, name);
                if !value.is_empty() {
                    field(p, 2, value);
                }
            });
            field(m, 3, &pair);
        }
        field(m, 4, b"ignored");
    })
}

fn stream(labels: &str, entries: &[Vec<u8>]) -> Vec<u8> {
    message(|m| {
        field(m, 1, labels.as_bytes());
        for entry in entries {
            field(m, 2, entry);
        }
        number(m, 3, 77);
    })
}

#[test]
fn protobuf_is_read() {
    let entries = [
        entry(1, 5, b"line", &[(b"id", b"abc"), (b"none", b"")]),
        entry(-1, 999_999_999, b"\xff", &[]),
    ];
    let body = message(|m| {
        field(m, 1, &stream("{a=\"b\"}", &entries));
        field(m, 2, b"loki");
        // Labels after the entries.
        let late = message(|m| {
            field(m, 2, &entry(0, 0, b"x", &[]));
            field(m, 1, b"{}");
            m.extend_from_slice(&[9 << 3 | 5, 1, 2, 3, 4, 9 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        });
        field(m, 1, &late);
    });
    let want = "{a=\"b\"} 1000000005:line|id=abc|none= -1:\u{fffd}\n{} 0:x";
    check(Request::protobuf(&body), Ok(want), "whole");
    check(Request::protobuf(b""), Ok(""), "empty");
    for cut in 1..body.len() {
        let got = Request::protobuf(&body[..cut]);
        let boundary = got.as_ref().is_ok_and(|r| want.starts_with(&show(r)));
        assert!(got.is_err() || boundary, "cut at {cut}");
    }
}

#[test]
fn p9_hostile_protobuf_gets_errors() {
    let with = |entry: &[u8]| message(|m| field(m, 1, &stream("{}", &[entry.to_vec()])));
    for (body, want) in [
        (
            b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7fx".to_vec(),
            "unexpected EOF",
        ),
        (vec![0xff; 11], "integer overflow"),
        (vec![0x0b], "illegal wireType 3"),
        (vec![0x02, 0], "illegal tag 0"),
        (vec![0x08, 1], "wrong wireType for field Streams"),
        (with(&entry(i64::MAX, 0, b"", &[])), "outside the years"),
        (
            with(&entry(0, 1_000_000_000, b"", &[])),
            "nanos not in range",
        ),
        (with(&entry(0, -1, b"", &[])), "nanos not in range"),
        (with(b"\x10\x01"), "wrong wireType for a field of Entry"),
        (
            with(b"\x18\x01"),
            "wrong wireType for field StructuredMetadata",
        ),
        (with(b"\x1a\x02\x0a\x05"), "unexpected EOF"),
    ] {
        check(Request::protobuf(&body), Err(want), &format!("{body:?}"));
    }
}

/// A set's text, and it in canonical form or the error.
const SELECTORS: &[(&str, &str)] = &[
    ("", "{}"),
    ("{}", "{}"),
    (r#"{a="b", c="d"}"#, r#"{a="b", c="d"}"#),
    (r#" { c = 'd',a=`b\n` , }"#, r#"{a="b\\n", c="d"}"#),
    (r#"{a="",b="1"}"#, r#"{b="1"}"#),
    (r#"foo:bar{a="b"} # end"#, r#"{__name__="foo:bar", a="b"}"#),
    (r#"{"foo", a="b"}"#, r#"{__name__="foo", a="b"}"#),
    (r#"{"a.b"="c"}"#, r#"{a.b="c"}"#),
    (
        r#"{a="\a\"\\\n\x41\101\u00e9\U0001F600"}"#,
        "{a=\"\\u{7}\\\"\\\\\\nAA\u{e9}\u{1f600}\"}",
    ),
    (r#"{t="1",t="2"}"#, r#"t twice in [("t", "1"), ("t", "2")]"#),
    (
        "{a.b=\"c\"}",
        "1:3: parse error: unexpected character inside braces: '.'",
    ),
    (
        "{\n 1=\"c\"}",
        "2:2: parse error: unexpected character inside braces: '1'",
    ),
    (
        "{a",
        "1:3: parse error: unexpected end of input inside braces",
    ),
    (
        "{a=}",
        "1:4: parse error: unexpected \"}\" in label set, expected string",
    ),
    (
        "{a}",
        "1:3: parse error: unexpected \"}\" in label set, expected \"=\"",
    ),
    (
        "{a!=\"b\"}",
        "1:3: parse error: unexpected <op:!=> in label set, expected \"=\"",
    ),
    (
        "{a=~\"b\"}",
        "1:3: parse error: unexpected <op:=~> in label set, expected \"=\"",
    ),
    (
        "{,}",
        "1:2: parse error: unexpected \",\" in label set, expected identifier or \"}\"",
    ),
    (
        "{a=\"b\" c=\"d\"}",
        "1:8: parse error: unexpected identifier \"c\" in label set, expected \",\" or \"}\"",
    ),
    (
        "{a=\"b\"} x",
        "1:9: parse error: unexpected identifier \"x\"",
    ),
    ("{a={", "1:4: parse error: unexpected left brace '{'"),
    ("{a=\"b", "1:4: parse error: unterminated quoted string"),
    ("{a=`b", "1:4: parse error: unterminated raw string"),
    (
        "{a=\"\\q\"}",
        "1:4: parse error: unknown escape sequence U+0071 'q'",
    ),
    (
        "{a=\"\\ud800\"}",
        "1:4: parse error: escape sequence is an invalid Unicode code point",
    ),
    (
        "{a=\"\\x4\"}",
        "1:4: parse error: illegal character in escape sequence",
    ),
    (
        "{a=\"\\x",
        "1:4: parse error: escape sequence not terminated",
    ),
    ("!", "1:1: parse error: unexpected character: '!'"),
];

#[test]
fn selectors_have_prometheus_texts() {
    let parse = |text: &str| match selector::parse(text.as_bytes()) {
        Ok(labels) => labels.to_string(),
        Err(BadLabels::Syntax(why)) => why,
        Err(BadLabels::Duplicate(pairs, name)) => format!("{name} twice in {pairs:?}"),
    };
    for (text, want) in SELECTORS {
        assert_eq!(parse(text), *want, "{text}");
    }
    let got = selector::parse(b"{a=\"\xff\"}");
    let want = "1:4: parse error: invalid UTF-8 rune";
    assert_eq!(got, Err(BadLabels::Syntax(want.to_owned())));
}

/// JSON that is nearly a push: its pieces in any order.
fn nearly_json() -> impl Strategy<Value = Vec<u8>> {
    let pieces = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\"streams\":",
        "\"stream\":",
        "\"values\":",
        "\"labels\":",
        "\"entries\":",
        "\"ts\":",
        "\"1\"",
        "\"a\":\"b\"",
        "null",
        "7",
        "\\ud83d",
        "{\"streams\":[{\"stream\":{\"a\":\"b\"},\"values\":[[\"1\",\"x\",{",
        " ",
    ]);
    prop::collection::vec(pieces, 0..30).prop_map(|p| p.concat().into_bytes())
}

/// Walks everything there is.
fn walk(decoded: &Result<Request<'_>, PushError>) {
    if let Ok(request) = decoded {
        let entries: usize = request.streams().map(|s| s.entries().count()).sum();
        assert_eq!(entries as u64, request.counts().entries);
        show(request);
    }
}

proptest! {
    #[test]
    fn p9_any_bytes_give_an_error_or_a_request(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        walk(&Request::protobuf(&bytes));
        walk(&Request::json(&bytes));
        walk(&Request::legacy_json(&bytes));
        let _ = selector::parse(&bytes);
    }

    #[test]
    fn p9_near_json_gives_an_error_or_a_request(bytes in nearly_json()) {
        walk(&Request::json(&bytes));
        walk(&Request::legacy_json(&bytes));
    }

    #[test]
    fn p9_damaged_protobuf_gives_an_error_or_a_request(
        line in prop::collection::vec(any::<u8>(), 0..40),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut body = message(|m| {
            field(m, 1, &stream("{a=\"b\"}", &[entry(1, 2, &line, &[(b"k", b"v")])]));
        });
        walk(&Request::protobuf(&body));
        let at = at.index(body.len());
        body[at] = byte;
        walk(&Request::protobuf(&body));
    }

    #[test]
    fn any_text_comes_through_json(line in ".{0,40}", name in "[a-z_][a-z0-9_]{0,5}", value in ".{1,20}") {
        let body = serde_json::json!({"streams": [{
            "stream": {name.clone(): value},
            "values": [["5", line, {"k": value}]],
        }]});
        let body = body.to_string();
        let request = Request::json(body.as_bytes()).unwrap();
        let stream = request.streams().next().unwrap();
        let labels = stream.labels().unwrap();
        prop_assert_eq!(labels.as_ref().get(&name), Some(value.as_str()));
        let entry = stream.entries().next().unwrap();
        prop_assert_eq!(text(entry.line), line);
        prop_assert_eq!(text(entry.metadata.pairs().next().unwrap().1), value);
    }
}
