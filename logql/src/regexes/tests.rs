use super::*;

fn compiled(pattern: &str) -> Decoding {
    let mut budget = Budget::default();
    let translated = budget.translate(pattern, Anchors::Text).expect(pattern);
    budget.compile_decoding(&translated).expect(pattern)
}

/// A pattern, a text, and whether it is found there: all as Go has it.
const SEARCHES: &[(&str, &str, bool)] = &[
    (r"\d", "\u{663}", false),
    (r"^\s$", "\x0b", false),
    (r"^\s$", "\x0c", true),
    (r"\w", "\u{e9}", false),
    ("\\b\u{e9}", "a\u{e9}", true),
    (r"^\W$", "\u{e9}", true),
    (r"(?i)\W", "\u{17f}", false),
    (r"\pL", "\u{e9}", true),
    (r"^\pL$", "5", false),
    (r"\p{Greek}", "\u{3a9}", true),
    (r"\p{^Greek}", "\u{3a9}", false),
    (r"\PL", "\u{e9}", false),
    (r"\p{Lu}", "a", false),
    (r"\p{Yi}", "\u{a000}", true),
    (r"[\p{Lu}\d]", "5", true),
    (r"\Qa.b\E", "a.b", true),
    (r"\Qa.b\E", "axb", false),
    (r"\Qa.b", "a.b", true),
    (r"\Qab\E+", "abb", true),
    (r"\Aa\z", "a", true),
    (r"\141\x62\x{63}", "abc", true),
    (r"\07", "\x07", true),
    (r"\0", "\x00", true),
    (r"\400", "\u{100}", true),
    (r"\<x\>", "<x>", true),
    (r#"\_\/\"\ "#, r#"_/" "#, true),
    ("a{,2}", "a{,2}", true),
    ("{foo", "{foo", true),
    ("a{02}", "aa", false),
    ("a{02}", "a{02}", true),
    ("a{2, 3}", "a{2, 3}", true),
    ("[a&&b]", "&", true),
    ("[[a]b]", "[b]", true),
    ("[]a]", "]", true),
    ("[a-]", "-", true),
    ("[^a]", "\n", true),
    ("[[:^digit:]]", "5", false),
    ("[[:word:]]", "_", true),
    (r"[\d-]", "-", true),
    ("(?P<a>x)(?<a>y)", "xy", true),
    ("(?<1>x)", "x", true),
    ("(?i)error", "eRRor", true),
    ("a(?i)b(?-i)c", "aBc", true),
    ("a(?i)b(?-i)c", "aBC", false),
    ("(?i:a)b", "Ab", true),
    ("(?s)a.b", "a\nb", true),
    ("a.b", "a\nb", false),
    ("(?m)^b$", "a\nb\nc", true),
    ("^b$", "a\nb\nc", false),
    ("(?ii)a", "A", true),
    ("()", "", true),
    ("x(?:)*", "x", true),
    ("^*", "a", true),
    ("a??", "a", true),
    ("(?U)a+", "aa", true),
    ("|a", "b", true),
    ("a$", "a\n", false),
    ("(?i)\u{212a}", "k", true),
    ("(?i)k", "\u{212a}", true),
    (r"\B", "\u{e9}", true),
];

#[test]
fn go_syntax_keeps_its_meaning() {
    for (pattern, text, expected) in SEARCHES {
        let found = compiled(pattern).is_match(text.as_bytes());
        assert_eq!(found, *expected, "{pattern} in {text:?}");
    }
    assert!(compiled("x{1000}").is_match("x".repeat(1000).as_bytes()));
}

/// A pattern that is none, and Go's message without "error parsing regexp".
const FAULTS: &[(&str, &str)] = &[
    ("(", "missing closing ): `(`"),
    ("(a", "missing closing ): `(a`"),
    ("a)", "unexpected ): `a)`"),
    ("*", "missing argument to repetition operator: `*`"),
    ("+", "missing argument to repetition operator: `+`"),
    ("?", "missing argument to repetition operator: `?`"),
    ("{2}", "missing argument to repetition operator: `{2}`"),
    ("a|*", "missing argument to repetition operator: `*`"),
    ("(*a)", "missing argument to repetition operator: `*`"),
    ("x**", "invalid nested repetition operator: `**`"),
    ("x*+", "invalid nested repetition operator: `*+`"),
    ("x{2}{3}", "invalid nested repetition operator: `{2}{3}`"),
    ("x{1001}", "invalid repeat count: `{1001}`"),
    ("x{2,1}", "invalid repeat count: `{2,1}`"),
    ("x{0,1001}", "invalid repeat count: `{0,1001}`"),
    ("(x{100}){11}", "invalid repeat count: `{11}`"),
    ("((x{10}){10}){11}", "invalid repeat count: `{11}`"),
    ("(x{0,40}){0,26}", "invalid repeat count: `{0,26}`"),
    ("[z-a]", "invalid character class range: `z-a`"),
    ("[a", "missing closing ]: `[a`"),
    ("[", "missing closing ]: `[`"),
    ("[]", "missing closing ]: `[]`"),
    ("[^]", "missing closing ]: `[^]`"),
    ("[a-", "missing closing ]: `[a-`"),
    (r"[a-\d]", r"invalid escape sequence: `\d`"),
    ("[[:foo:]]", "invalid character class range: `[:foo:]`"),
    ("[[:]a:]]", "invalid character class range: `[:]a:]`"),
    (r"\Z", r"invalid escape sequence: `\Z`"),
    (r"\C", r"invalid escape sequence: `\C`"),
    (r"\h", r"invalid escape sequence: `\h`"),
    (r"\G", r"invalid escape sequence: `\G`"),
    (r"\K", r"invalid escape sequence: `\K`"),
    (r"\u0061", r"invalid escape sequence: `\u`"),
    (r"\1", r"invalid escape sequence: `\1`"),
    (r"\8", r"invalid escape sequence: `\8`"),
    (r"\xg1", r"invalid escape sequence: `\xg1`"),
    (r"\x4", r"invalid escape sequence: `\x4`"),
    (r"\x", r"invalid escape sequence: `\x`"),
    (r"\x{", r"invalid escape sequence: `\x{`"),
    (r"\x{}", r"invalid escape sequence: `\x{}`"),
    (r"\x{zz}", r"invalid escape sequence: `\x{z`"),
    (r"\x{110000}", r"invalid escape sequence: `\x{110000`"),
    ("\\\u{e9}", "invalid escape sequence: `\\\u{e9}`"),
    ("(?x)", "invalid or unsupported Perl syntax: `(?x`"),
    ("(?u)", "invalid or unsupported Perl syntax: `(?u`"),
    ("(?R)", "invalid or unsupported Perl syntax: `(?R`"),
    ("(?=a)", "invalid or unsupported Perl syntax: `(?=`"),
    ("(?!a)", "invalid or unsupported Perl syntax: `(?!`"),
    ("(?<=a)", "invalid named capture: `(?<=a)`"),
    ("(?", "invalid or unsupported Perl syntax: `(?`"),
    ("(?i", "invalid or unsupported Perl syntax: `(?i`"),
    ("(?i-", "invalid or unsupported Perl syntax: `(?i-`"),
    ("(?i-)", "invalid or unsupported Perl syntax: `(?i-)`"),
    ("(?-:a)", "invalid or unsupported Perl syntax: `(?-:`"),
    ("(?--i)", "invalid or unsupported Perl syntax: `(?--`"),
    ("(?P=a)", "invalid or unsupported Perl syntax: `(?P`"),
    ("(?P>a)", "invalid or unsupported Perl syntax: `(?P`"),
    ("(?P<a", "invalid named capture: `(?P<a`"),
    ("(?<", "invalid or unsupported Perl syntax: `(?<`"),
    ("(?<a-b>x)", "invalid named capture: `(?<a-b>`"),
    ("(?P<>x)", "invalid named capture: `(?P<>`"),
    ("(?P<\u{e9}>x)", "invalid named capture: `(?P<\u{e9}>`"),
    (r"\p", r"invalid character class range: `\p`"),
    (r"\pX", r"invalid character class range: `\pX`"),
    (r"\p{", r"invalid character class range: `\p{`"),
    (
        r"\p{Letter}",
        r"invalid character class range: `\p{Letter}`",
    ),
    (r"\p{lu}", r"invalid character class range: `\p{lu}`"),
    (r"\p{Grek}", r"invalid character class range: `\p{Grek}`"),
    (
        r"\p{Script=Greek}",
        r"invalid character class range: `\p{Script=Greek}`",
    ),
    (r"\", "trailing backslash at end of expression: ``"),
    (r"[\", "trailing backslash at end of expression: ``"),
    (r"\Qa\E**", "invalid nested repetition operator: `**`"),
    ("(?i:", "missing closing ): `(?i:`"),
    ("a(?i)b)", "unexpected ): `a(?i)b)`"),
    ("(((", "missing closing ): `(((`"),
];

#[test]
fn faults_have_go_words() {
    for (pattern, message) in FAULTS {
        let found = Budget::default().translate(pattern, Anchors::Text);
        let expected = format!("error parsing regexp: {message}");
        assert_eq!(found, Err(expected), "{pattern}");
    }
    let found = check_utf8(b"ab\xffc(");
    let expected = "error parsing regexp: invalid UTF-8: `\u{fffd}c(`";
    assert_eq!(found, Err(expected.to_owned()));
}

#[test]
fn bytes_that_are_no_text_are_replacement_characters() {
    for (pattern, text, expected) in [
        ("^.$", &b"\xff"[..], true),
        ("^..$", b"\xe2\x82", true),
        ("^.$", b"\xe2\x82", false),
        ("^[^a]b$", b"\xc3b", true),
        (r"^\W\D\S$", b"\x80\x80\x80", true),
        ("\u{fffd}", b"a\xffb", true),
        ("^a.*b$", b"a\xff\xe4\xb8b", true),
        ("^\u{e4}.$", b"\xc3\xa4\xff", true),
        (r"^\w+$", b"a\xff", false),
        ("[^\u{fffd}]", b"\xff", false),
    ] {
        let regex = compiled(pattern);
        assert_eq!(regex.is_match(text), expected, "{pattern} in {text:?}");
    }
    assert!(!compiled("[a-z]+").decodes());
    assert!(matches!(
        compiled(".").decode("\u{e4}".as_bytes()),
        Cow::Borrowed(_)
    ));
}

fn refusal(pattern: &str) -> String {
    let mut budget = Budget::default();
    let compiled = budget
        .translate(pattern, Anchors::Text)
        .and_then(|translated| budget.compile(&translated));
    compiled.expect_err(&pattern[..pattern.len().min(40)])
}

#[test]
fn p9_hostile_patterns_are_refused() {
    let deep = refusal(&"(".repeat(10_000));
    assert!(deep.contains("expression nests too deeply"), "{deep}");
    for pattern in [
        // The program would be large.
        r"(\pL{30}){30}".to_owned(),
        "(?:a{100}b{100}c{100}d{100}){10}".repeat(100),
        // It would be small, but take long to read or to compile.
        r"(?i)[\x{80}-\x{10ffff}]".repeat(40),
        format!("(?i)[{}]", r"\x{80}-\x{10ffff}".repeat(40)),
        r"\pL".repeat(2_000),
        "a?".repeat(20_000),
        "(?:x)".repeat(60_000),
    ] {
        let error = refusal(&pattern);
        assert!(error.contains("expression too large"), "{error}");
        assert!(error.len() < 400, "{error}");
    }
}

#[test]
fn p9_the_regexes_of_a_query_share_what_they_may_take() {
    let fill = |pattern: &str| {
        let mut budget = Budget::default();
        (0..10_000)
            .take_while(|_| {
                let translated = budget.translate(pattern, Anchors::Text);
                translated.and_then(|t| budget.compile(&t)).is_ok()
            })
            .count()
    };
    let small = fill("abc");
    assert!((100..1_000).contains(&small), "{small}");
    let large = fill(r"\pL{20}");
    assert!((3..20).contains(&large), "{large}");
    // In a query: matchers, stages and what is compiled with the plan.
    for stage in [
        "drop x=~`\\pL{20}`",
        "regexp `(?P<x>\\pL{20})`",
        "x=~`\\pL{20}.`",
    ] {
        let query = format!("{{a=\"b\"}}{}", format!(" | {stage}").repeat(200));
        let error = crate::parse(&query).expect_err(stage).message;
        assert!(error.contains("expression too large"), "{error}");
    }
    let query = format!("{{a=\"b\"}}{}", r" |~ `\pL{20}`".repeat(200));
    let error = crate::parse(&query).expect_err("too large").message;
    assert!(error.contains("expression too large"), "{error}");
}
