use super::{Choice, Word, of_label};

/// Words as text: `=x` equals, `~x` holds, `i` before either where case does not matter, `+` is not empty.
fn check(pattern: &str, expected: Option<&str>) {
    let mut budget = crate::regexes::Budget::default();
    budget.validate(pattern).expect(pattern);
    let found = of_label(pattern).map(|choice| match choice {
        Choice::Always => "*".to_owned(),
        Choice::Any(words) => {
            let words: Vec<String> = words
                .iter()
                .map(|word| match word {
                    Word::Some => "+".to_owned(),
                    Word::Literal { text, fold, whole } => {
                        let fold = if *fold { "i" } else { "" };
                        let whole = if *whole { "=" } else { "~" };
                        format!("{fold}{whole}{text}")
                    }
                })
                .collect();
            words.join(" ")
        }
    });
    assert_eq!(found.as_deref(), expected, "{pattern}");
}

#[test]
fn words() {
    for (pattern, expected) in [
        ("foo", "=foo"),
        ("(foo)", "=foo"),
        ("((foo))", "=foo"),
        ("(?:foo)", "=foo"),
        ("foo|err", "=foo =err"),
        ("(foo|err)", "=foo =err"),
        ("(?P<x>foo|err)", "=foo =err"),
        ("(?i)foo", "i=foo"),
        ("(?i)Foo|eRR", "i=foo i=err"),
        ("f[o]o", "=foo"),
        (r"a\.b", "=a.b"),
        (r"\Qa.b\E", "=a.b"),
        ("foo|", "=foo"),
        ("|foo", "=foo"),
        ("foo|.*", "=foo"),
        ("", "*"),
        (".*", "*"),
        (".*|", "*"),
        (".+", "+"),
        (".+|foo", "+ =foo"),
        ("foo.*", "~foo"),
        (".*foo", "~foo"),
        (".*foo.*", "~foo"),
        ("(.*)(foo).*", "~foo"),
        ("foo.*|bar", "~foo =bar"),
        (".*foo|.*bar", "~foo ~bar"),
        ("warn.*|err.*", "~warn ~err"),
        ("bar|buzz", "~bar ~buzz"),
        ("b(ar|uzz)", "~bar ~buzz"),
        ("(?i)bar|buzz", "i~bar i~buzz"),
        ("foo(bar|x)", "~foobar ~foox"),
        ("warn|warning", "~warn ~warning"),
        ("foo|foobar", "~foo ~foobar"),
        ("err|error", "~err ~error"),
        ("f|foo|foobar", "~f ~foo ~foobar"),
        ("foo|bar|b|buzz|zz", "=foo ~bar ~b ~buzz =zz"),
        ("((f.*)|foobar.*)|.*buzz", "~f ~foobar ~buzz"),
        ("(foo){1}", "=foo"),
        ("a{0}", "*"),
        ("(?:a|ab)", "~a ~ab"),
        ("foo.*(bar|qux)", "~foobar ~fooqux"),
        ("(?i)\u{e9}t\u{c9}", "i=\u{e9}t\u{e9}"),
        ("a.*?", "~a"),
        ("(?:foo|ba.*)|qux", "=foo ~ba =qux"),
    ] {
        check(pattern, Some(expected));
    }
}

#[test]
fn what_stays_a_regex() {
    for pattern in [
        "bar|foo|b.zz",
        "bar|baz",
        "a|b",
        "a|b|bc",
        "warn(ing)?",
        ".*(foo|bar).*",
        "(foo|bar).*",
        "foo.+",
        "^foo",
        "foo$",
        "x?foo",
        "fo+",
        "foo{1}",
        "foo{2}",
        "[a-z]+",
        r"\d",
        r"foo\b",
        ".*fo.*o",
        "a.b",
        "(?s).*",
        "(?s)foo.*",
        "f|f(?i)oo",
        "(?i:f)oo",
        "foo|ba[rz]",
        "(foo|bar)(x|yy)",
        "((foo|bar))x",
        ".",
        "aa.*bb",
        "(((a)))b",
        "x(((yy|zz)))",
    ] {
        check(pattern, None);
    }
}

#[test]
fn classes_become_what_go_makes_of_them() {
    // A class of one letter in both cases is a literal without case; one with three members is a class.
    check("[Aa]bc", None);
    check("(?i)[a]b", Some("i=ab"));
    check("(?i:a)[Bb]", Some("i=ab"));
    check("(?i)k", Some("i=k"));
    check("(?i)[k]", None);
    // What a group of all characters but the newline becomes.
    check(r"(?:[^\n])*", Some("*"));
    check(r"([^\n])*", None);
    check(r"[^\n]*", None);
    check(r"foo(?:[^\n])*", Some("~foo"));
    check(r"(?:.|\n)*", None);
    check("x{2}a|x{2}b", None);
    check("[ab]c|[ab]dd", None);
}
