use proptest::prelude::*;

use super::{check, parse};
use crate::ast::{Expr, LabelFilter, Stage};

fn error_of(query: &str) -> String {
    match parse(query.as_bytes()).and_then(|(expr, mut budget)| check(&expr, &mut budget)) {
        Ok(()) => "ok".to_owned(),
        Err(error) => error.message,
    }
}

pub(super) fn refuse(query: &str, expected: &str) {
    assert_eq!(
        error_of(query),
        format!("parse error {expected}"),
        "{query}"
    );
}

fn accept(query: &str) {
    assert_eq!(error_of(query), "ok", "{query}");
}

#[test]
fn the_whole_grammar_is_accepted() {
    for query in [
        "{a=\"b\"}",
        "({a=\"b\"})",
        "\u{feff}{a=`b`, c!=\"d\"}",
        "{sum=\"b\", ip=\"c\"} # comment",
        "{a=\"b\"} /* x */ |= \"a\" or ip(\"1.2.3.4\") // y",
        "{a=\"b\"} | json | logfmt --strict --keep-empty x, y=\"z\" | unpack | decolorize",
        "{a=\"b\"} | regexp \"(?P<x>.)\" | pattern \"<x> <_>\" | line_format \"{{.x}}\"",
        "{a=\"b\"} | label_format x=y,z=\"{{.a}}\" | drop x, y=\"z\" | keep x=~\"y\"",
        "{a=\"b\"} | bytes>1KiB and (duration>=1h30m or x!=ip(\"::1\")), y==-1 z=~\"w\"",
        "quantile_over_time(0.9, {a=\"b\"} | json | unwrap duration(x) | y=\"\" [5m] offset -1m) by (z)",
        "sum_over_time(({a=\"b\"} | unwrap x)[5m])",
        "count_over_time({a=\"b\"}[5m] |= \"x\")",
        "rate(({a=\"b\"}[5m]))",
        "SUM BY (x) (Rate({a=\"b\"}[1w2d3h]))",
        "sum without () (rate({a=\"b\"}[5m])) / on (x) group_left () (vector(1))",
        "label_replace(topk(2, rate({a=\"b\"}[5m])) by (x), \"a\", \"$1\", \"b\", \"(.*)\") or vector(0)",
        "1 + -2 * +3 ^ .5 % 1e3 == bool 0x1p4",
    ] {
        accept(query);
    }
}

#[test]
fn label_filters_bind_as_lokis() {
    let shape = |query: &str| {
        let Ok((Expr::Log(log), _)) = parse(query.as_bytes()) else {
            panic!("a log query is expected");
        };
        match log.stages.as_slice() {
            [Stage::Label(filter)] => draw(filter),
            other => panic!("one filter is expected: {other:?}"),
        }
    };
    for (filter, expected) in [
        ("x=1, y=2 or z=3", "(x,(yorz))"),
        ("x=1 or y=2, z=3", "(xor(y,z))"),
        ("x=1 or y=2 and z=3", "(xor(y,z))"),
        ("x=1 and y=2 or z=3", "((x,y)orz)"),
        ("x=1 y=2 or z=3", "(x,(yorz))"),
        ("(x=1 or y=2), z=3", "((xory),z)"),
        ("x=1 and y=2 , z=3", "(x,(y,z))"),
        ("w=0 and x=1 and y=2 , z=3", "((w,x),(y,z))"),
        ("(x=1 and y=2) , z=3", "((x,y),z)"),
        ("(x=1, y=2) z=3 or w=0", "((x,y),(zorw))"),
        ("w=0 or x=1 and y=2 , z=3", "(wor(x,(y,z)))"),
    ] {
        assert_eq!(
            shape(&format!("{{a=\"b\"}} | {filter}")),
            expected,
            "{filter}"
        );
    }
}

fn draw(filter: &LabelFilter) -> String {
    match filter {
        LabelFilter::Number(name, ..) => name.clone(),
        LabelFilter::And(l, r) => format!("({},{})", draw(l), draw(r)),
        LabelFilter::Or(l, r) => format!("({}or{})", draw(l), draw(r)),
        other => format!("{other:?}"),
    }
}

#[test]
fn p9_hostile_queries_are_refused() {
    let deep = [
        "(".repeat(50_000),
        "sum(".repeat(20_000),
        format!("{{a=\"b\"}} | {}", "(".repeat(50_000)),
        format!("rate({}", "(".repeat(50_000)),
        format!("{{a=\"b\"}} | {}", "x=1,".repeat(20_000)),
        format!("{{a=\"b\"}} | x=1{}", " and x=1".repeat(10_000)),
        format!("vector(1){}", "+vector(1)".repeat(10_000)),
        format!("1{}", "^1".repeat(20_000)),
    ];
    for query in deep {
        let error = error_of(&query);
        assert!(error.contains("nests too deeply"), "{error}");
    }
    let long = format!("{{a=\"{}\"}}", "x".repeat(200_000));
    refuse(&long, ": input size too long (200006 > 131072)");
    refuse("{a=\"b\"}\0", "at line 1, col 7: invalid character NUL");
}

/// Label filters that nest both ways: each level a chain, its first member the next level.
fn leaning(levels: usize, chain: usize) -> String {
    let mut filter = "x=1".to_owned();
    for _ in 0..levels {
        filter = format!("({filter}{})", " and x=1".repeat(chain));
    }
    format!("{{a=\"b\"}} | {filter}")
}

#[test]
fn p9_the_deepest_queries_fit_a_small_stack() {
    assert!(error_of(&leaning(50, 50)).contains("nests too deeply"));
    let deepest = [
        format!("{}vector(1){}", "(".repeat(99), ")".repeat(99)),
        format!("{}vector(1){}", "sum(".repeat(98), ")".repeat(98)),
        format!("vector(1){}", "^vector(1)".repeat(98)),
        format!("vector(1){}", "+vector(1)".repeat(98)),
        format!("{{a=\"b\"}} | {}x=1{}", "(".repeat(99), ")".repeat(99)),
        format!("{{a=\"b\"}} | x=1{}", ", x=1".repeat(98)),
        leaning(9, 10),
        format!("{{a=\"b\"}}{}", " | x=1".repeat(20_000)),
        format!("{{a=\"b\"}}{}", " |= ``".repeat(20_000)),
        format!("{{a=\"b\"}} |= ``{}", " or ``".repeat(20_000)),
        format!("{{a=\"b\"}} | drop x{}", ",x".repeat(60_000)),
    ];
    let run = move || {
        for query in deepest {
            let query = crate::Query::parse(&query).expect("an accepted query");
            let _ = query.plan();
            assert!(!query.pretty().is_empty());
            assert!(query.clone() == query);
        }
    };
    // Half of what threads have.
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run);
    thread.expect("a thread").join().expect("no overflow");
}

/// Pieces of queries, in which only the order may be wrong.
const PIECES: [&str; 52] = [
    "{",
    "}",
    "(",
    ")",
    "[5m]",
    "[",
    "]",
    ",",
    "=",
    "!=",
    "=~",
    "!~",
    "|=",
    "|~",
    "|>",
    "!>",
    "|",
    "\"x\"",
    "`y`",
    "a",
    "ip",
    "5",
    "1.5",
    "5m",
    "10KB",
    "-",
    "+",
    "*",
    "/",
    "^",
    "%",
    "==",
    ">",
    "bool",
    "on",
    "by",
    "without",
    "group_left",
    "sum",
    "topk",
    "rate",
    "count_over_time",
    "quantile_over_time",
    "json",
    "logfmt",
    "--strict",
    "unwrap",
    "or",
    "and",
    "offset",
    "vector",
    "label_replace",
];

fn position(message: &str) -> Option<(usize, usize)> {
    let rest = message.strip_prefix("parse error at line ")?;
    let (line, rest) = rest.split_once(", col ")?;
    let (col, _) = rest.split_once(':')?;
    Some((line.parse().ok()?, col.parse().ok()?))
}

fn sane(query: &str) {
    let message = error_of(query);
    if let Some((line, col)) = position(&message) {
        assert!(line <= query.lines().count() + 1, "{query:?}: {message}");
        assert!(
            col >= 1 && col <= query.chars().count() + 1,
            "{query:?}: {message}"
        );
    } else {
        assert!(
            message == "ok" || message.starts_with("parse error : "),
            "{message}"
        );
    }
    // Planning must not panic either.
    let _ = crate::parse(query);
    let _ = crate::parse_matchers(query);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn p9_token_soup_never_panics(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24), glue in 0..3) {
        let glue = ["", " ", "\n"][glue as usize];
        sane(&pieces.join(glue));
    }

    #[test]
    fn p9_any_text_never_panics(text in "\\PC{0,40}") {
        sane(&text);
        sane(&format!("{{a=\"b\"}} |~ \"{text}\""));
        sane(&format!("{{a=~`{text}`}}"));
    }

    #[test]
    fn p9_truncated_queries_never_panic(len in 0usize..200) {
        let query = "sum by (a) (quantile_over_time(0.5, {a=~\"b|c\", d!=\"e\"} |~ `x\\d+` or \"y\" | json z=\"p[0]\" \
                     | label_format u=\"{{.v}}\" | w > 5KB and (k=ip(\"::1\")) | unwrap bytes(z) [5m] offset 1h) by (q)) / 2";
        sane(&query[..len.min(query.len())]);
    }

    #[test]
    fn any_regex_is_compiled_or_refused(pattern in "[a-c.*+?|()\\[\\]{}^$\\\\dQEpLiPu<>,0-9:-]{0,24}") {
        let mut budget = crate::regexes::Budget::default();
        if let Ok(translated) = budget.translate(&pattern, crate::regexes::Anchors::Text) {
            let compiled = budget.compile(&translated);
            let too_large = compiled.as_ref().err().is_some_and(|e| e.contains("too large"));
            prop_assert!(compiled.is_ok() || too_large, "{pattern} as {translated}: {compiled:?}");
        }
    }
}
