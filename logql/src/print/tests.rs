use proptest::prelude::*;

use crate::Query;

/// A query and its one-line form; none is longer than a line.
const LINES: &[(&str, &str)] = &[
    (
        r#"{ pod = "n" , container!=`c` }"#,
        r#"{pod="n", container!="c"}"#,
    ),
    (r#"{pod=~"a|b", c!~"x\\."}"#, r#"{pod=~"a|b", c!~"x\\."}"#),
    (
        "{\u{e4}=\"\u{e4}\\n\\xff\\u200b\\U000e0001\"}",
        "{\"\u{e4}\"=\"\u{e4}\\n\\xff\\u200b\\U000e0001\"}",
    ),
    (r#"{pod="n"}"#, r#"{pod="n"}"#),
    (r#"({pod="n"} | json)"#, r#"{pod="n"} | json"#),
    (r#"{pod="n"}|="x"|~`a\d`"#, r#"{pod="n"} |= "x" |~ "a\\d""#),
    (
        r#"{pod="n"} |= "x" or "y" or ip("1.2.3.4")"#,
        r#"{pod="n"} |= "x" or "y" or ip("1.2.3.4")"#,
    ),
    (
        r#"{pod="n"} != "x" or "y" !~ "z""#,
        r#"{pod="n"} != "x" != "y" !~ "z""#,
    ),
    (
        r#"{pod="n"} |> "<_>" !> ip("x")"#,
        r#"{pod="n"} |> "<_>" !> ip("x")"#,
    ),
    (
        r#"{pod="n"} | json | unpack | decolorize"#,
        r#"{pod="n"} | json | unpack | decolorize"#,
    ),
    (
        r#"{pod="n"} | json x, y="a.b""#,
        r#"{pod="n"} | json x="x",y="a.b""#,
    ),
    (
        r#"{pod="n"} | logfmt --keep-empty --strict x, y="z""#,
        r#"{pod="n"} | logfmt --strict --keep-empty x="x",y="z""#,
    ),
    (
        r#"{pod="n"} | logfmt --strict"#,
        r#"{pod="n"} | logfmt --strict"#,
    ),
    (
        r#"{pod="n"} | regexp `(?P<x>\w)` | pattern "<a> <_>""#,
        r#"{pod="n"} | regexp "(?P<x>\\w)" | pattern "<a> <_>""#,
    ),
    (
        r#"{pod="n"} | x="a" | y!="b" | z=~"c" | w!~"d.e""#,
        r#"{pod="n"} | x="a" | y!="b" | z=~"c" | w!~"d.e""#,
    ),
    (
        r#"{pod="n"} | x=~"a.c" | x=~"foo|err" | x=~"foo.*" | x=~"warn(ing)?" | x!~"a.c""#,
        r#"{pod="n"} | x=~`a.c` | x=~"foo|err" | x=~"foo.*" | x=~`warn(ing)?` | x!~"a.c""#,
    ),
    (r#"{pod="n"} | x=~"a.`""#, r#"{pod="n"} | x=~"a.`""#),
    (
        "{pod=\"n\"} | \u{e4}=\"x\" | \u{e4}>5 | $=~\"a.c\"",
        "{pod=\"n\"} | \"\u{e4}\"=\"x\" | \u{e4}>5 | $=~`a.c`",
    ),
    (
        r#"{pod="n"} | x=1e3 | x==.5 | x!=1000000 | x>1e-7 | x>=-5 | x<+5 | x<=0x1p4"#,
        r#"{pod="n"} | x==1000 | x==0.5 | x!=1000000 | x>0.0000001 | x>=-5 | x<5 | x<=16"#,
    ),
    (
        "{pod=\"n\"} | x=5d | x>1.5ms | x<=90m | x!=-5m | x>0s | x>10\u{b5}s | x<5ns",
        "{pod=\"n\"} | x==120h0m0s | x>1.5ms | x<=1h30m0s | x!=-5m0s | x>0s | x>10\u{b5}s | x<5ns",
    ),
    (
        r#"{pod="n"} | x=1KB | x>5KiB | x<1MiB | x>=999999B | x<=7B | x!=10B | x>12.5GB"#,
        r#"{pod="n"} | x==1.0kB | x>5.1kB | x<1.0MB | x>=1000kB | x<=7B | x!=10B | x>12GB"#,
    ),
    (
        r#"{pod="n"} | x=ip("::1") | y!=ip("10.0.0.0/8")"#,
        r#"{pod="n"} | x=ip("::1") | y!=ip("10.0.0.0/8")"#,
    ),
    (
        r#"{pod="n"} | x=1 and y=2 or z=3"#,
        r#"{pod="n"} | ( ( x==1 , y==2 ) or z==3 )"#,
    ),
    (
        r#"{pod="n"} | x=1, y=2 or z=3"#,
        r#"{pod="n"} | ( x==1 , ( y==2 or z==3 ) )"#,
    ),
    (
        r#"{pod="n"} | x=1 or y=2, z=3"#,
        r#"{pod="n"} | ( x==1 or ( y==2 , z==3 ) )"#,
    ),
    (
        r#"{pod="n"} | x=1 and y=2, z=3"#,
        r#"{pod="n"} | ( x==1 , ( y==2 , z==3 ) )"#,
    ),
    (
        r#"{pod="n"} | (x=1, y=2) z=3"#,
        r#"{pod="n"} | ( ( x==1 , y==2 ) , z==3 )"#,
    ),
    (
        r#"{pod="n"} | ((x=1) or (y=2 and z=3))"#,
        r#"{pod="n"} | ( x==1 or ( y==2 , z==3 ) )"#,
    ),
    (
        r#"{pod="n"} | w=0 and x=1 and y=2 or z=3 or v=4"#,
        r#"{pod="n"} | ( ( ( ( w==0 , x==1 ) , y==2 ) or z==3 ) or v==4 )"#,
    ),
    (
        r#"{pod="n"} | line_format `{{.x}} "y"`"#,
        r#"{pod="n"} | line_format "{{.x}} \"y\"""#,
    ),
    (
        r#"{pod="n"} | label_format x=y, z="{{.w}}""#,
        r#"{pod="n"} | label_format x=y,z="{{.w}}""#,
    ),
    (
        r#"{pod="n"} | drop x, y="z", w=~"v." | keep x"#,
        r#"{pod="n"} | drop x,y="z",w=~"v." | keep x"#,
    ),
    (r#"rate({pod="n"}[90s])"#, r#"rate({pod="n"}[1m30s])"#),
    (
        r#"count_over_time({pod="n"}[1w] offset 90m)"#,
        r#"count_over_time({pod="n"}[1w] offset 1h30m0s)"#,
    ),
    (
        r#"bytes_rate({pod="n"} |= "x" [9d3h] offset -1500ms)"#,
        r#"bytes_rate({pod="n"} |= "x"[9d3h] offset -1.5s)"#,
    ),
    (r#"rate(({pod="n"}[365d]))"#, r#"rate({pod="n"}[1y])"#),
    (
        "rate({pod=\"n\"}[1y1ms] offset 10\u{b5}s)",
        "rate({pod=\"n\"}[365d1ms] offset 10\u{b5}s)",
    ),
    (r#"rate({pod="n"}[0s])"#, r#"rate({pod="n"}[0s])"#),
    (
        r#"bytes_over_time({pod="n"}[5m] | json)"#,
        r#"bytes_over_time({pod="n"} | json[5m])"#,
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap x [5m])"#,
        r#"sum_over_time({pod="n"} | unwrap x[5m])"#,
    ),
    (
        r#"avg_over_time({pod="n"} | unwrap bytes(x) | y="z" | w>5 [5m]) without (a, b)"#,
        r#"avg_over_time({pod="n"} | unwrap bytes(x) | y="z" | w>5[5m]) without (a,b)"#,
    ),
    (
        r#"min_over_time(({pod="n"} | json | unwrap duration_seconds(x))[5m]) by (a)"#,
        r#"min_over_time({pod="n"} | json | unwrap duration_seconds(x)[5m]) by (a)"#,
    ),
    (
        r#"max_over_time({pod="n"}[5m] | unwrap duration(x)) by ()"#,
        r#"max_over_time({pod="n"} | unwrap duration(x)[5m]) by ()"#,
    ),
    (
        r#"quantile_over_time(1e-7, {pod="n"} | unwrap x [5m])"#,
        r#"quantile_over_time(0.0000001,{pod="n"} | unwrap x[5m])"#,
    ),
    (
        r#"quantile_over_time(1e6, {pod="n"} | unwrap x [5m])"#,
        r#"quantile_over_time(1000000,{pod="n"} | unwrap x[5m])"#,
    ),
    (
        r#"absent_over_time({pod="n"}[5m])"#,
        r#"absent_over_time({pod="n"}[5m])"#,
    ),
    (
        "SUM BY (a, b) (vector(1))",
        "sum by (a,b)(vector(1.000000))",
    ),
    (
        "sum(vector(1)) without ()",
        "sum without ()(vector(1.000000))",
    ),
    ("avg by () (vector(1))", "avg(vector(1.000000))"),
    (
        "topk(03, vector(.1)) by (a)",
        "topk by (a)(3,vector(0.100000))",
    ),
    (
        "approx_topk(5, vector(1e20))",
        "approx_topk(5,vector(100000000000000000000.000000))",
    ),
    (
        "sort_desc(vector(0.0000001))",
        "sort_desc(vector(0.000000))",
    ),
    (
        "vector(1) + vector(2) * vector(3)",
        "(vector(1.000000) + (vector(2.000000) * vector(3.000000)))",
    ),
    (
        "vector(1) ^ vector(2) ^ vector(3)",
        "(vector(1.000000) ^ (vector(2.000000) ^ vector(3.000000)))",
    ),
    (
        "(vector(1) + vector(2)) * vector(3)",
        "((vector(1.000000) + vector(2.000000)) * vector(3.000000))",
    ),
    ("vector(1) > bool 1e6", "(vector(1.000000) > bool 1e+06)"),
    (
        "vector(1) / on (a, b) vector(2)",
        "(vector(1.000000) / on (a,b)  vector(2.000000))",
    ),
    (
        "vector(1) / ignoring (a) group_left () vector(2)",
        "(vector(1.000000) / ignoring (a) group_left vector(2.000000))",
    ),
    (
        "vector(1) == bool on () group_right (b, c) vector(2)",
        "(vector(1.000000) == bool on () group_right (b,c) vector(2.000000))",
    ),
    (
        "vector(1) and ignoring () vector(2)",
        "(vector(1.000000) and vector(2.000000))",
    ),
    (
        "vector(1) - ignoring () group_left (a) vector(2)",
        "(vector(1.000000) - vector(2.000000))",
    ),
    ("1e6", "1e+06"),
    ("123456789", "1.23456789e+08"),
    ("999999", "999999"),
    ("0.5", "0.5"),
    ("1e-7", "1e-07"),
    ("2^-1", "0.5"),
    ("1+2*3", "7"),
    ("1/0", "NaN"),
    ("-5", "-5"),
    ("+5", "5"),
    ("0*-1", "-0"),
    ("1e308*10", "+Inf"),
    ("-1^2", "1"),
    ("vector(1) + (1 + 2)", "(vector(1.000000) + 3)"),
    ("1 < bool 2", "1"),
    (
        r#"label_replace(vector(1), "a", `$1`, "b", "\\d")"#,
        r#"label_replace(vector(1.000000),"a","$1","b","\\d")"#,
    ),
];

/// A query and its form of many lines. `_L_` and `_B_` stand for sixty letters each.
const SPLIT: &[(&str, &str)] = &[
    (
        r#"{app="_B_"} |= "x" | json | decolorize | line_format "_L_" | drop c"#,
        r#"
{app="_B_"}
  |= "x"
  | json
| decolorize
  | line_format "_L_"
  | drop c"#,
    ),
    (
        r#"{app="_B_"} |= "x" != "y" |~ "_L_" or "z" | json"#,
        r#"
{app="_B_"}
  |= "x" != "y" |~ "_L_" or "z"
  | json"#,
    ),
    (
        r#"{app="_B_"} |= "x" |~ "_L_" |~ "_L_" or "y" != "z""#,
        r#"
{app="_B_"}
  |= "x" |~ "_L_"
  |~ "_L_"
  != "z""#,
    ),
    (
        r#"{app="_B_"} |= "_L__L_" or "x" |= "y""#,
        r#"
{app="_B_"}
  |= "_L__L_"
  |= "y""#,
    ),
    (
        r#"{app="_B_"} |= ip("_L__L_") or ip("x") |= ip("y")"#,
        r#"
{app="_B_"}
  |= ip("_L__L_")
  |= ip("y")"#,
    ),
    (
        r#"{app="_B_"} | a="_L_" and b="c" or d>5"#,
        r#"
{app="_B_"}
  | ( ( a="_L_" , b="c" ) or d>5 )"#,
    ),
    (
        r#"rate({app="_B_"} |= "x" | json [5m] offset 90m)"#,
        r#"
rate(
  {app="_B_"} |= "x" | json [5m] offset 1h30m
)"#,
    ),
    (
        r#"rate({app="_B_"} |= "_L_" | json [5m] offset -1500ms)"#,
        r#"
rate(
  {app="_B_"}
    |= "_L_"
    | json [5m] offset -1s500ms
)"#,
    ),
    (
        "rate({app=\"_L__L_\"}[5m] offset 10\u{b5}s)",
        r#"
rate(
  {app="_L__L_"} [5m] offset 0s
)"#,
    ),
    (
        r#"sum by (a, b) (rate({app="_B_"} |= "x" | json [5m]))"#,
        r#"
sum by (a, b)(
  rate({app="_B_"} |= "x" | json[5m])
)"#,
    ),
    (
        r#"topk without (a) (5, sum(rate({app="_B_"} |= "_L_" | json [5m])))"#,
        r#"
topk without (a)(
  5,
  sum(
    rate(
      {app="_B_"}
        |= "_L_"
        | json [5m]
    )
  )
)"#,
    ),
    (
        r#"sum without () (rate({app="_L__L_"}[5m]))"#,
        r#"
sum without(
  rate(
    {app="_L__L_"} [5m]
  )
)"#,
    ),
    (
        r#"quantile_over_time(0.99, {app="_B_"} | json | unwrap bytes(x) | y="z" | w>5 [90s]) by (a, b)"#,
        r#"
quantile_over_time(
  0.99,
  {app="_B_"} | json
    | unwrap bytes(x)
    | y="z"
    | w>5 [1m30s]
) by (a, b)"#,
    ),
    (
        r#"quantile_over_time(1e6, {app="_B_"} | json | unwrap duration(x) [90s]) by ()"#,
        r#"
quantile_over_time(
  1e+06,
  {app="_B_"} | json
    | unwrap duration(x) [1m30s]
)"#,
    ),
    (
        r#"avg_over_time({app="_B_"} | json | unwrap duration(x) [90s]) without ()"#,
        r#"
avg_over_time(
  {app="_B_"} | json
    | unwrap duration(x) [1m30s]
) without"#,
    ),
    (
        r#"rate({app="_B_"}[5m]) + rate({app="_B_"}[5m])"#,
        r#"
  rate({app="_B_"}[5m])
+
  rate({app="_B_"}[5m])"#,
    ),
    (
        r#"rate({app="_B_"}[5m]) / on (a, b) group_left (c, d) rate({app="_B_"}[5m]) > bool 1e6"#,
        r#"
    rate({app="_B_"}[5m])
  / on (a, b) group_left (c, d)
    rate({app="_B_"}[5m])
> bool
  1e+06"#,
    ),
    (
        r#"rate({app="_B_"}[5m]) * on (a) rate({app="_B_"}[5m])"#,
        r#"
  rate({app="_B_"}[5m])
* on (a) 
  rate({app="_B_"}[5m])"#,
    ),
    (
        r#"rate({app="_B_"}[5m]) == bool on () rate({app="_B_"}[5m])"#,
        r#"
  rate({app="_B_"}[5m])
== bool
  rate({app="_B_"}[5m])"#,
    ),
    (
        r#"(rate({app="_B_"}[5m]) - rate({app="_B_"}[5m])) * 100"#,
        r#"
    rate({app="_B_"}[5m])
  -
    rate({app="_B_"}[5m])
*
  100"#,
    ),
    (
        r#"sum(rate({app="_B_"}[5m]) - ignoring (a) rate({app="_B_"}[5m]))"#,
        r#"
sum(
    rate({app="_B_"}[5m])
  - ignoring (a) 
    rate({app="_B_"}[5m])
)"#,
    ),
    (
        r#"label_replace(rate({app="_B_"}[5m]), "a", "$1", "b", "c.*")"#,
        r#"
label_replace(
  rate({app="_B_"}[5m]),
  "a",
  "$1",
  "b",
  "c.*"
)"#,
    ),
    (
        r#"sort(label_replace(rate({app="_L__L_"}[5m]), "a", "$1", "b", "c.*"))"#,
        r#"
sort(
  label_replace(
    rate(
      {app="_L__L_"} [5m]
    ),
    "a",
    "$1",
    "b",
    "c.*"
  )
)"#,
    ),
];

fn parse(query: &str) -> Query {
    Query::parse(query).unwrap_or_else(|error| panic!("{query}: {error}"))
}

fn widen(text: &str) -> String {
    text.replace("_L_", &"a".repeat(60))
        .replace("_B_", &"b".repeat(60))
}

#[test]
fn one_line_forms_are_lokis() {
    for (query, expected) in LINES {
        let printed = parse(query).to_string();
        assert_eq!(printed, *expected, "{query}");
        if printed.len() <= 100 {
            assert_eq!(crate::format_query(query).as_ref(), Ok(&printed));
        }
    }
}

#[test]
fn long_queries_are_split_as_lokis() {
    for (query, expected) in SPLIT {
        let printed = parse(&widen(query)).pretty();
        // Each stands on lines of its own here.
        let expected = widen(&expected[1..]);
        assert_eq!(printed, expected, "{query}");
    }
}

#[test]
fn what_is_printed_reads_back_unless_it_is_known_not_to() {
    for (query, _) in LINES.iter().chain(SPLIT) {
        let query = parse(&widen(query));
        let same = |text: String| Query::parse(&text).is_ok_and(|again| again == query);
        assert_eq!(same(query.to_string()), query.line_reads_back(), "{query}");
        // Where an operand keeps its place by precedence, its parentheses are not missed.
        assert!(
            same(query.pretty()) || !query.pretty_reads_back(),
            "{query}"
        );
    }
}

#[test]
fn stages_that_are_only_found_bad_later_are_printed() {
    for query in [
        r#"{pod="n"} |~ "(""#,
        r#"{pod="n"} |= ip("x")"#,
        r#"{pod="n"} | json x="a..b""#,
        r#"{pod="n"} | line_format "{{""#,
    ] {
        assert_eq!(crate::format_query(query).as_deref(), Ok(query));
    }
    let error = crate::format_query("sum(").expect_err("no query").message;
    assert_eq!(
        error,
        "parse error at line 1, col 5: syntax error: unexpected $end"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_in_a_query_reads_back(value in "\\PC{0,20}|[\\x00-\\x7f]{0,20}") {
        let quoted = crate::format::quote(value.as_bytes());
        let query = format!("{{pod=\"n\", a!={quoted}}} |= {quoted} | x={quoted} | line_format {quoted}");
        let query = parse(&query);
        prop_assert_eq!(&parse(&query.to_string()), &query);
        prop_assert_eq!(&parse(&query.pretty()), &query);
    }
}
