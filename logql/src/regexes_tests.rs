use super::*;

fn check(pattern: &str, text: &str, expected: bool) {
    let translated = translate(pattern, Anchors::Text).expect(pattern);
    let regex = Budget::default().compile(&translated).expect(pattern);
    assert_eq!(
        regex.is_match(text.as_bytes()),
        expected,
        "{pattern} on {text:?}"
    );
}

fn check_error(pattern: &str, expected: &str) {
    let error = translate(pattern, Anchors::Text).expect_err(pattern);
    assert_eq!(error, format!("error parsing regexp: {expected}"));
}

#[test]
fn go_syntax_keeps_its_meaning() {
    check(r"\d", "\u{0663}", false);
    check(r"^\s$", "\u{b}", false);
    check(r"\Qa.b\E", "a.b", true);
    check(r"\Qa.b\E", "axb", false);
    check(r"\141", "a", true);
    check(r"\<x\>", "<x>", true);
    check("a{,2}", "a{,2}", true);
    check("{foo", "{foo", true);
    check("[a&&b]", "&", true);
    check("[[a]b]", "[b]", true);
    check("[]a]", "]", true);
    check("[^a]", "\n", true);
    check("(?i)Error", "eRROR", true);
    check("(?P<a>x)(?P<a>y)", "xy", true);
    check("(?<a>x)", "x", true);
    check(r"[\d-]", "-", true);
    check(r"\pL", "\u{e9}", true);
    check(r"[[:alpha:]]+$", "abc", true);
    check(r"a\x{62}\x63", "abc", true);
    check("(?s)a.b", "a\nb", true);
    check("a.b", "a\nb", false);
    check("x(?:)*", "x", true);
}

#[test]
fn groups_capture_if_asked() {
    let (pattern, names) = translate_groups("(a)(?P<n>b)(?:c)(?i:d)(?<n>e)").expect("valid");
    assert_eq!(pattern, "(a)(b)(?:c)(?i:d)(e)");
    let names: Vec<Option<&str>> = names.iter().map(Option::as_deref).collect();
    assert_eq!(names, [None, None, Some("n"), Some("n")]);
    assert!(translate_groups("(a").is_err());
}

#[test]
fn faults_have_go_words() {
    check_error("(", "missing closing ): `(`");
    check_error("a)", "unexpected ): `a)`");
    check_error("*", "missing argument to repetition operator: `*`");
    check_error("a|*", "missing argument to repetition operator: `*`");
    check_error("x**", "invalid nested repetition operator: `**`");
    check_error("x*+", "invalid nested repetition operator: `*+`");
    check_error("x{1001}", "invalid repeat count: `{1001}`");
    check_error("(x{100}){100}", "invalid repeat count: `{100}`");
    check_error("[z-a]", "invalid character class range: `z-a`");
    check_error("[a", "missing closing ]: `[a`");
    check_error(r"\Z", r"invalid escape sequence: `\Z`");
    check_error(r"\1", r"invalid escape sequence: `\1`");
    check_error("(?x)", "invalid or unsupported Perl syntax: `(?x`");
    check_error("(?=a)", "invalid or unsupported Perl syntax: `(?=`");
    check_error(
        r"\p{Letter}",
        r"invalid character class range: `\p{Letter}`",
    );
    check_error("\\", "trailing backslash at end of expression: ``");
    check_error("(?P<a-b>x)", "invalid named capture: `(?P<a-b>`");
}

#[test]
fn p9_hostile_patterns_are_refused() {
    assert!(translate(&"(".repeat(10_000), Anchors::Text).is_err());
    let wide = translate(r"(\pL{30}){30}", Anchors::Text).expect("valid");
    let error = Budget::default().compile(&wide).expect_err("too large");
    assert!(error.contains("expression too large"), "{error}");
    let mut budget = Budget::default();
    let mid = translate(r"\pL{20}", Anchors::Text).expect("valid");
    assert!((0..1_000).any(|_| budget.compile(&mid).is_err()));
}
