use super::*;

/// The tokens of a query, each with its position, and the fault that was met.
fn tokens(query: &[u8]) -> (Vec<(Tok, u32, u32)>, Option<String>) {
    let source = Source::new(query).expect("a short query");
    let mut lexer = Lexer::new(&source);
    let mut tokens = Vec::new();
    loop {
        let Token { tok, line, col } = lexer.next();
        if tok == Tok::End {
            return (tokens, lexer.fault().map(|fault| fault.message.clone()));
        }
        tokens.push((tok, line, col));
    }
}

fn check(query: &str, expected: &[Tok]) {
    let (tokens, fault) = tokens(query.as_bytes());
    let tokens: Vec<Tok> = tokens.into_iter().map(|(tok, ..)| tok).collect();
    assert_eq!(tokens, expected, "{query}");
    assert_eq!(fault, None, "{query}");
}

fn ident(text: &str) -> Tok {
    Tok::Ident(text.to_owned())
}

fn text(bytes: &[u8]) -> Tok {
    Tok::Str(bytes.to_vec())
}

fn number(text: &str) -> Tok {
    Tok::Number(text.to_owned())
}

#[test]
fn white_space_and_comments_are_skipped() {
    check("", &[]);
    check(" \t\r\n", &[]);
    check("\u{feff}a", &[ident("a")]);
    check("a # b\nc", &[ident("a"), ident("c")]);
    check("a //b\nc", &[ident("a"), ident("c")]);
    check("a/* b */c/**/", &[ident("a"), ident("c")]);
    check("a #", &[ident("a")]);
}

#[test]
fn names_are_unicode_letters_and_digits() {
    check("_a1", &[ident("_a1")]);
    check("\u{e4}\u{663}", &[ident("\u{e4}\u{663}")]);
    // A mark and a superscript are neither.
    check("a\u{301}", &[ident("a"), ident("\u{301}")]);
    check("a\u{b2}", &[ident("a"), ident("\u{b2}")]);
    check("a:b", &[ident("a"), ident(":"), ident("b")]);
    check("a.b", &[ident("a"), Tok::Word("."), ident("b")]);
    check("a-b", &[ident("a"), Tok::Word("-"), ident("b")]);
}

#[test]
fn words_are_reserved_always_or_in_front_of_a_parenthesis() {
    for word in RESERVED {
        check(&word.to_uppercase(), &[Tok::Word(word)]);
    }
    for (word, name) in FUNCTIONS {
        check(word, &[ident(word)]);
        check(&format!("{word}_"), &[ident(&format!("{word}_"))]);
        let call = format!("{} (", word.to_uppercase());
        check(&call, &[Tok::Word(name), Tok::Word("(")]);
        let grouped = format!("{word} By\n(");
        check(
            &grouped,
            &[Tok::Word(name), Tok::Word("by"), Tok::Word("(")],
        );
        check(&format!("{word} by"), &[ident(word), Tok::Word("by")]);
    }
    let call = [Tok::Word("SUM"), Tok::Word("without"), Tok::Word("(")];
    check("sum without(", &call);
    check(
        "sum bypass(",
        &[ident("sum"), ident("bypass"), Tok::Word("(")],
    );
}

#[test]
fn strings_are_unescaped() {
    check(
        r#""\a\b\f\n\r\t\v\\\"""#,
        &[text(b"\x07\x08\x0c\n\r\t\x0b\\\"")],
    );
    check(
        r#""\101\x41\u00e4\U0001F600""#,
        &[text("AA\u{e4}\u{1f600}".as_bytes())],
    );
    check(r#""\377\xff""#, &[text(b"\xff\xff")]);
    check(r#""\ud800""#, &[text("\u{fffd}".as_bytes())]);
    check("`a\\n\r\n\"`", &[text(b"a\\n\r\n\"")]);
    check("'x'", &[ident("'x'")]);
    check(r"'\''", &[ident(r"'\''")]);
}

#[test]
fn numbers_durations_and_sizes() {
    for literal in [
        "1", ".5", "5.", "1e3", "1E-3", "1_000", "010", "0x1p4", "0x_1F", "0o17", "019.5",
    ] {
        check(literal, &[number(literal)]);
    }
    for (literal, ns) in [
        ("1h30m", 5_400_000_000_000),
        ("1y", 31_536_000_000_000_000),
        ("1w2d", 777_600_000_000_000),
        ("1.5h", 5_400_000_000_000),
        ("30m1h", 5_400_000_000_000),
        ("10\u{b5}s", 10_000),
        ("5ns", 5),
        ("-5m", -300_000_000_000),
        ("-0", 0),
    ] {
        check(literal, &[Tok::Duration(ns)]);
    }
    for (literal, bytes) in [
        ("5B", 5),
        ("5kB", 5_000),
        ("5KB", 5_000),
        ("1.5MiB", 1_572_864),
        ("1G", 1_000_000_000),
        ("1Ti", 1_099_511_627_776),
        ("2PB", 2_000_000_000_000_000),
    ] {
        check(literal, &[Tok::Bytes(bytes)]);
    }
    check("5kb", &[Tok::Bytes(5_000), ident("b")]);
    check("[1h30m]", &[Tok::Range(5_400_000_000_000)]);
    check("[0]", &[Tok::Range(0)]);
}

#[test]
fn flags_and_operators() {
    check(
        "--strict --keep-empty",
        &[Tok::Flag("--strict"), Tok::Flag("--keep-empty")],
    );
    check("--1", &[Tok::Word("-"), Tok::Word("-"), number("1")]);
    for op in TWO_CHAR.iter().chain(&ONE_CHAR) {
        check(&format!("{op} x"), &[Tok::Word(op), ident("x")]);
    }
    check(
        "a|=b!~c",
        &[
            ident("a"),
            Tok::Word("|="),
            ident("b"),
            Tok::Word("!~"),
            ident("c"),
        ],
    );
    for odd in ["$", "&", "@", "~", "!", ";", "?", "\u{2192}"] {
        check(odd, &[ident(odd)]);
    }
}

/// Tokens that Loki's lexer puts together by hand have no line.
#[test]
fn positions_count_characters() {
    let (tokens, _) = tokens("\u{e4} |=\n  5m [1m] --strict b".as_bytes());
    let positions: Vec<_> = tokens.iter().map(|(_, line, col)| (*line, *col)).collect();
    assert_eq!(
        positions,
        [(1, 1), (0, 3), (0, 3), (0, 6), (0, 11), (2, 20)]
    );
}

/// Faults of the text, by their message without the words "parse error".
const FAULTS: &[(&str, &str)] = &[
    (
        r#"{pod="n"} /* never closed"#,
        "at line 1, col 11: comment not terminated",
    ),
    (r#"{pod="n"#, "at line 1, col 6: literal not terminated"),
    ("{pod=\"n\n\"}", "at line 1, col 6: literal not terminated"),
    ("{pod=`n", "at line 1, col 6: literal not terminated"),
    (r#"{pod="\q"}"#, "at line 1, col 6: invalid char escape"),
    (r#"{pod="\'"}"#, "at line 1, col 6: invalid char escape"),
    (r#"{pod="\400"}"#, "at line 1, col 6: invalid syntax"),
    (r#"{pod="\x4"}"#, "at line 1, col 6: invalid char escape"),
    (r#"{pod="\u12"}"#, "at line 1, col 6: invalid char escape"),
    (r#"{pod="\U00110000"}"#, "at line 1, col 6: invalid syntax"),
    (
        "{pod='n'}",
        "at line 1, col 6: syntax error: unexpected IDENTIFIER, expecting STRING",
    ),
    ("{pod='no'}", "at line 1, col 6: invalid char literal"),
    ("{pod=''}", "at line 1, col 6: invalid char literal"),
    ("{pod='n", "at line 1, col 6: literal not terminated"),
    (r"{pod='\q'}", "at line 1, col 6: invalid char escape"),
    ("{pod=\"n\"}\x00", "at line 1, col 9: invalid character NUL"),
    (
        "{pod=\"n\" \x00}",
        "at line 0, col 6: invalid character NUL",
    ),
    (
        "{pod=\"n\"} |\n \x00",
        "at line 0, col 11: invalid character NUL",
    ),
    (
        "{pod=\"n\"} |~ \x00\"x\"",
        "at line 0, col 11: invalid character NUL",
    ),
    (
        "{pod=\"n\"} rate \x00",
        "at line 1, col 11: invalid character NUL",
    ),
    (
        "{pod=\"n\"} rate ( \x00",
        "at line 1, col 11: syntax error: unexpected RATE",
    ),
    ("$", "at line 1, col 1: syntax error: unexpected IDENTIFIER"),
    (
        r#"{pod$="n"}"#,
        "at line 1, col 5: syntax error: unexpected IDENTIFIER, expecting = or =~ or !~ or !=",
    ),
    (
        r#"{pod="n"} & 1"#,
        "at line 1, col 11: syntax error: unexpected IDENTIFIER",
    ),
    (
        r#"{pod="n"} ; 1"#,
        "at line 1, col 11: syntax error: unexpected IDENTIFIER",
    ),
    ("!", "at line 1, col 1: syntax error: unexpected IDENTIFIER"),
    ("@", "at line 1, col 1: syntax error: unexpected IDENTIFIER"),
    ("~", "at line 1, col 1: syntax error: unexpected IDENTIFIER"),
    (
        "{pod=\"n\"}\u{a0}",
        "at line 1, col 10: syntax error: unexpected IDENTIFIER",
    ),
    (
        "\u{feff}{",
        "at line 1, col 3: syntax error: unexpected $end, expecting IDENTIFIER or }",
    ),
    (
        "\u{b2}",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        "\u{903}",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        "0x1F",
        r#": unable to parse literal as a float: strconv.ParseFloat: parsing "0x1F": invalid syntax"#,
    ),
    (
        "0b1",
        r#": unable to parse literal as a float: strconv.ParseFloat: parsing "0b1": invalid syntax"#,
    ),
    (" 0b1", "at line 1, col 2: decimal literal has no digits"),
    ("0b", "at line 1, col 1: binary literal has no digits"),
    (" 0b", "at line 1, col 2: decimal literal has no digits"),
    (
        "0o17",
        r#": unable to parse literal as a float: strconv.ParseFloat: parsing "0o17": invalid syntax"#,
    ),
    ("0x", "at line 1, col 1: hexadecimal literal has no digits"),
    ("09", "at line 1, col 1: invalid digit '9' in octal literal"),
    (
        "0x1.8",
        "at line 1, col 1: hexadecimal mantissa requires a 'p' exponent",
    ),
    ("0x1p", "at line 1, col 1: exponent has no digits"),
    ("1e", "at line 1, col 1: exponent has no digits"),
    ("1e+", "at line 1, col 1: exponent has no digits"),
    (
        "1_",
        "at line 1, col 1: '_' must separate successive digits",
    ),
    (
        "1__0",
        "at line 1, col 1: '_' must separate successive digits",
    ),
    (
        "1_e0",
        "at line 1, col 1: '_' must separate successive digits",
    ),
    (
        "0o1.5",
        "at line 1, col 1: invalid radix point in octal literal",
    ),
    (
        "0b1e1",
        "at line 1, col 1: 'e' exponent requires decimal mantissa",
    ),
    ("5EB", "at line 1, col 1: exponent has no digits"),
    (
        "5ZB",
        "at line 1, col 2: syntax error: unexpected IDENTIFIER",
    ),
    (
        "1p4",
        "at line 1, col 2: syntax error: unexpected IDENTIFIER",
    ),
    ("5kb", "at line 0, col 1: syntax error: unexpected BYTES"),
    (
        "5 KB",
        "at line 1, col 3: syntax error: unexpected IDENTIFIER",
    ),
    (
        "-5KB",
        "at line 0, col 2: syntax error: unexpected BYTES, expecting NUMBER",
    ),
    (
        r#"rate({pod="n"}[5m"#,
        "at line 0, col 15: missing closing ']' in duration",
    ),
    (
        r#"rate({pod="n"}[])"#,
        "at line 0, col 15: empty duration string",
    ),
    (
        r#"rate({pod="n"}[5])"#,
        r#"at line 0, col 15: not a valid duration string: "5""#,
    ),
    (
        r#"rate({pod="n"}[5x])"#,
        r#"at line 0, col 15: unknown unit "x" in duration "5x""#,
    ),
    (
        r#"rate({pod="n"}[1.5h])"#,
        r#"at line 0, col 15: unknown unit "." in duration "1.5h""#,
    ),
    (
        r#"rate({pod="n"}[1m1h])"#,
        r#"at line 0, col 15: not a valid duration string: "1m1h""#,
    ),
    (
        r#"rate({pod="n"}[ 1m])"#,
        r#"at line 0, col 15: not a valid duration string: " 1m""#,
    ),
    (
        r#"rate({pod="n"}[300y])"#,
        "at line 0, col 15: duration out of range",
    ),
    (
        r#"rate({pod="n"}[-1m])"#,
        r#"at line 0, col 15: not a valid duration string: "-1m""#,
    ),
    (
        r#"rate({pod="n"}[1us])"#,
        r#"at line 0, col 15: unknown unit "us" in duration "1us""#,
    ),
    ("-0", "at line 0, col 1: syntax error: unexpected DURATION"),
    ("-5m", "at line 0, col 1: syntax error: unexpected DURATION"),
    ("5m", "at line 0, col 1: syntax error: unexpected DURATION"),
    (
        "10\u{b5}s",
        "at line 0, col 1: syntax error: unexpected DURATION",
    ),
    (
        "10\u{3bc}s",
        "at line 1, col 3: syntax error: unexpected IDENTIFIER",
    ),
    (
        "1.5h",
        "at line 0, col 1: syntax error: unexpected DURATION",
    ),
    (
        "1h1y",
        "at line 1, col 2: syntax error: unexpected IDENTIFIER",
    ),
    (
        r#"{pod="n"} | logfmt --Strict"#,
        "at line 1, col 22: syntax error: unexpected IDENTIFIER, expecting NUMBER",
    ),
    (
        r#"{pod="n"} | logfmt --strictly"#,
        "at line 1, col 22: syntax error: unexpected IDENTIFIER, expecting NUMBER",
    ),
    (
        r#"{pod="n"} | logfmt --keep"#,
        "at line 1, col 22: syntax error: unexpected keep, expecting NUMBER",
    ),
    (
        r#"{pod="n"} | logfmt - -strict"#,
        "at line 1, col 23: syntax error: unexpected IDENTIFIER, expecting NUMBER",
    ),
    (
        "sum",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        "sum by",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        "sum by x",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        "sum bypass (vector(1))",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        "sum\u{a0}x",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        "label_replace",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        r#"{sum by (pod)="n"}"#,
        "at line 1, col 2: syntax error: unexpected SUM, expecting IDENTIFIER or }",
    ),
    (
        r#"{ip("n")="n"}"#,
        "at line 1, col 2: syntax error: unexpected ip, expecting IDENTIFIER or }",
    ),
    (
        r#"{by="n"}"#,
        "at line 1, col 2: syntax error: unexpected by, expecting IDENTIFIER or }",
    ),
    (
        r#"{json="n"}"#,
        "at line 1, col 2: syntax error: unexpected json, expecting IDENTIFIER or }",
    ),
    (
        r#"{OR="n"}"#,
        "at line 1, col 2: syntax error: unexpected or, expecting IDENTIFIER or }",
    ),
    (
        r#"{label_replace("n")}"#,
        "at line 1, col 2: syntax error: unexpected label_replace, expecting IDENTIFIER or }",
    ),
    (
        r#"{duration(x)="n"}"#,
        "at line 1, col 2: syntax error: unexpected DURATION_CONV, expecting IDENTIFIER or }",
    ),
    (
        r#"{bytes(x)="n"}"#,
        "at line 1, col 2: syntax error: unexpected BYTES_CONV, expecting IDENTIFIER or }",
    ),
    (
        r#"{duration_seconds(x)="n"}"#,
        "at line 1, col 2: syntax error: unexpected DURATION_SECONDS_CONV, expecting IDENTIFIER or }",
    ),
    (
        r#"{absent_over_time(x)="n"}"#,
        "at line 1, col 2: syntax error: unexpected ABSENT_OVER_TIME, expecting IDENTIFIER or }",
    ),
    (
        r#"{approx_topk(x)="n"}"#,
        "at line 1, col 2: syntax error: unexpected APPROX_TOPK, expecting IDENTIFIER or }",
    ),
    (
        r#"{VECTOR (x)="n"}"#,
        "at line 1, col 2: syntax error: unexpected VECTOR, expecting IDENTIFIER or }",
    ),
    (
        r#"{a-b="n"}"#,
        "at line 1, col 3: syntax error: unexpected -, expecting = or =~ or !~ or !=",
    ),
    (
        r#"{a.b="n"}"#,
        "at line 1, col 3: syntax error: unexpected ., expecting = or =~ or !~ or !=",
    ),
    (
        r#"{a:b="n"}"#,
        "at line 1, col 3: syntax error: unexpected IDENTIFIER, expecting = or =~ or !~ or !=",
    ),
    (
        r#"{"a"="n"}"#,
        "at line 1, col 2: syntax error: unexpected STRING, expecting IDENTIFIER or }",
    ),
    (
        r#"{1a="n"}"#,
        "at line 1, col 2: syntax error: unexpected NUMBER, expecting IDENTIFIER or }",
    ),
];

#[test]
fn what_cannot_be_read_is_refused() {
    for (query, message) in FAULTS {
        let found = crate::Query::parse(query).map(|query| query.to_string());
        assert_eq!(
            found.map_err(|e| e.message),
            Err(format!("parse error {message}")),
            "{query:?}"
        );
    }
}

#[test]
fn p9_bytes_that_are_no_text_are_refused() {
    for (query, message) in [
        (
            &b"{pod=\"\xff\"}"[..],
            "at line 1, col 6: invalid UTF-8 encoding",
        ),
        (
            b"{pod=\"n\"} |\xc3",
            "at line 1, col 11: invalid UTF-8 encoding",
        ),
        (
            b"{pod=\"n\"} | \xc3\0",
            "at line 0, col 11: invalid UTF-8 encoding",
        ),
        (
            b"{pod=\"n\"} |\0 \xc3",
            "at line 1, col 11: invalid character NUL",
        ),
        (b"\xff", ": invalid UTF-8 encoding"),
    ] {
        let found = crate::Query::parse(query).map(|query| query.to_string());
        assert_eq!(
            found.map_err(|e| e.message),
            Err(format!("parse error {message}"))
        );
    }
}
