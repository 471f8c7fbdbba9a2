//! What follows in every state of the grammar, in the words of a refusal.

use super::tests::refuse;

/// A wrong token, or the end, in every state of the grammar: up to four tokens that could follow are listed.
const STATES: &[(&str, &str)] = &[
    ("", ": syntax error: unexpected $end"),
    (
        "{",
        "at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }",
    ),
    (
        "{pod",
        "at line 1, col 5: syntax error: unexpected $end, expecting = or =~ or !~ or !=",
    ),
    (
        "{pod=",
        "at line 1, col 6: syntax error: unexpected $end, expecting STRING",
    ),
    (
        "{pod=5",
        "at line 1, col 6: syntax error: unexpected NUMBER, expecting STRING",
    ),
    (
        r#"{pod="n""#,
        "at line 1, col 9: syntax error: unexpected $end, expecting } or ,",
    ),
    (
        r#"{pod="n","#,
        "at line 1, col 10: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n" container="c"}"#,
        "at line 1, col 10: syntax error: unexpected IDENTIFIER, expecting } or ,",
    ),
    (
        "{,",
        "at line 1, col 2: syntax error: unexpected ,, expecting IDENTIFIER or }",
    ),
    (
        r#"{pod="n"}}"#,
        "at line 1, col 10: syntax error: unexpected }",
    ),
    (
        r#"{pod>"n"}"#,
        "at line 1, col 5: syntax error: unexpected >, expecting = or =~ or !~ or !=",
    ),
    (
        r#"{pod="n"} |"#,
        "at line 1, col 12: syntax error: unexpected $end",
    ),
    (
        r#"{pod="n"} |="#,
        "at line 1, col 13: syntax error: unexpected $end, expecting STRING or ip",
    ),
    (
        r#"{pod="n"} |= 5"#,
        "at line 1, col 14: syntax error: unexpected NUMBER, expecting STRING or ip",
    ),
    (
        r#"{pod="n"} |= "x" or"#,
        "at line 1, col 20: syntax error: unexpected $end, expecting STRING or ip",
    ),
    (
        r#"{pod="n"} |= "x" or 5"#,
        "at line 1, col 21: syntax error: unexpected NUMBER, expecting STRING or ip",
    ),
    (
        r#"{pod="n"} !="#,
        "at line 1, col 13: syntax error: unexpected $end, expecting STRING or ip",
    ),
    (
        r#"{pod="n"} != 5"#,
        "at line 1, col 14: syntax error: unexpected NUMBER, expecting STRING or ip",
    ),
    (
        r#"{pod="n"} !~ |"#,
        "at line 1, col 14: syntax error: unexpected |, expecting STRING or ip",
    ),
    (
        r#"{pod="n"} |> ip"#,
        "at line 1, col 14: syntax error: unexpected IDENTIFIER, expecting STRING or ip",
    ),
    (
        r#"{pod="n"} |= ip("#,
        "at line 1, col 17: syntax error: unexpected $end, expecting STRING",
    ),
    (
        r#"{pod="n"} |= ip("x""#,
        "at line 1, col 20: syntax error: unexpected $end, expecting )",
    ),
    (
        r#"{pod="n"} |= ip(5)"#,
        "at line 1, col 17: syntax error: unexpected NUMBER, expecting STRING",
    ),
    (
        r#"{pod="n"} |= "x" "y""#,
        "at line 1, col 18: syntax error: unexpected STRING",
    ),
    (
        r#"{pod="n"} | json x="#,
        "at line 1, col 20: syntax error: unexpected $end, expecting STRING",
    ),
    (
        r#"{pod="n"} | json x=y"#,
        "at line 1, col 20: syntax error: unexpected IDENTIFIER, expecting STRING",
    ),
    (
        r#"{pod="n"} | json x,"#,
        "at line 1, col 20: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n"} | json "x""#,
        "at line 1, col 18: syntax error: unexpected STRING",
    ),
    (
        r#"{pod="n"} | json x y"#,
        "at line 1, col 20: syntax error: unexpected IDENTIFIER",
    ),
    (
        r#"{pod="n"} | logfmt --strict x,"#,
        "at line 1, col 31: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n"} | logfmt x=5"#,
        "at line 1, col 22: syntax error: unexpected NUMBER, expecting STRING",
    ),
    (
        r#"{pod="n"} | regexp"#,
        "at line 1, col 19: syntax error: unexpected $end, expecting STRING",
    ),
    (
        r#"{pod="n"} | regexp x"#,
        "at line 1, col 20: syntax error: unexpected IDENTIFIER, expecting STRING",
    ),
    (
        r#"{pod="n"} | pattern 5"#,
        "at line 1, col 21: syntax error: unexpected NUMBER, expecting STRING",
    ),
    (
        r#"{pod="n"} | line_format"#,
        "at line 1, col 24: syntax error: unexpected $end, expecting STRING",
    ),
    (
        r#"{pod="n"} | line_format x"#,
        "at line 1, col 25: syntax error: unexpected IDENTIFIER, expecting STRING",
    ),
    (
        r#"{pod="n"} | unpack x="y" z"#,
        "at line 1, col 20: syntax error: unexpected IDENTIFIER",
    ),
    (
        r#"{pod="n"} | label_format"#,
        "at line 1, col 25: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n"} | label_format x"#,
        "at line 1, col 27: syntax error: unexpected $end, expecting =",
    ),
    (
        r#"{pod="n"} | label_format x="#,
        "at line 1, col 28: syntax error: unexpected $end, expecting IDENTIFIER or STRING",
    ),
    (
        r#"{pod="n"} | label_format x=5"#,
        "at line 1, col 28: syntax error: unexpected NUMBER, expecting IDENTIFIER or STRING",
    ),
    (
        r#"{pod="n"} | label_format x=y,"#,
        "at line 1, col 30: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n"} | label_format "x"=y"#,
        "at line 1, col 26: syntax error: unexpected STRING, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n"} | drop"#,
        "at line 1, col 17: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n"} | drop x,"#,
        "at line 1, col 20: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n"} | drop x="#,
        "at line 1, col 20: syntax error: unexpected $end, expecting STRING",
    ),
    (
        r#"{pod="n"} | drop x=5"#,
        "at line 1, col 20: syntax error: unexpected NUMBER, expecting STRING",
    ),
    (
        r#"{pod="n"} | drop x y"#,
        "at line 1, col 20: syntax error: unexpected IDENTIFIER",
    ),
    (
        r#"{pod="n"} | keep 5"#,
        "at line 1, col 18: syntax error: unexpected NUMBER, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n"} | keep x,|"#,
        "at line 1, col 20: syntax error: unexpected |, expecting IDENTIFIER",
    ),
    (
        r#"{pod="n"} | decolorize x"#,
        "at line 1, col 24: syntax error: unexpected IDENTIFIER",
    ),
    (
        r#"{pod="n"} | unwrap x"#,
        "at line 1, col 13: syntax error: unexpected unwrap",
    ),
    (
        r#"{pod="n"} | x"#,
        "at line 1, col 14: syntax error: unexpected $end",
    ),
    (
        r#"{pod="n"} | x="#,
        "at line 1, col 15: syntax error: unexpected $end",
    ),
    (
        r#"{pod="n"} | x>"#,
        "at line 1, col 15: syntax error: unexpected $end",
    ),
    (
        r#"{pod="n"} | x>"y""#,
        "at line 1, col 15: syntax error: unexpected STRING",
    ),
    (
        r#"{pod="n"} | x=~5"#,
        "at line 1, col 16: syntax error: unexpected NUMBER, expecting STRING",
    ),
    (
        r#"{pod="n"} | x=~ip("y")"#,
        "at line 1, col 16: syntax error: unexpected ip, expecting STRING",
    ),
    (
        r#"{pod="n"} | x!~"#,
        "at line 1, col 16: syntax error: unexpected $end, expecting STRING",
    ),
    (
        r#"{pod="n"} | x>=-"#,
        "at line 1, col 17: syntax error: unexpected $end, expecting NUMBER",
    ),
    (
        r#"{pod="n"} | x=+y"#,
        "at line 1, col 16: syntax error: unexpected IDENTIFIER, expecting NUMBER",
    ),
    (
        r#"{pod="n"} | x>ip("y")"#,
        "at line 1, col 15: syntax error: unexpected ip",
    ),
    (
        r#"{pod="n"} | x=ip"#,
        "at line 1, col 15: syntax error: unexpected IDENTIFIER",
    ),
    (
        r#"{pod="n"} | x=ip("#,
        "at line 1, col 18: syntax error: unexpected $end, expecting STRING",
    ),
    (
        r#"{pod="n"} | x=1 and"#,
        "at line 1, col 20: syntax error: unexpected $end, expecting IDENTIFIER or (",
    ),
    (
        r#"{pod="n"} | x=1 or |"#,
        "at line 1, col 20: syntax error: unexpected |, expecting IDENTIFIER or (",
    ),
    (
        r#"{pod="n"} | x=1,"#,
        "at line 1, col 17: syntax error: unexpected $end, expecting IDENTIFIER or (",
    ),
    (
        r#"{pod="n"} | (x=1"#,
        "at line 1, col 17: syntax error: unexpected $end",
    ),
    (
        r#"{pod="n"} | ("#,
        "at line 1, col 14: syntax error: unexpected $end, expecting IDENTIFIER or (",
    ),
    (
        r#"{pod="n"} | x=1)"#,
        "at line 1, col 16: syntax error: unexpected )",
    ),
    (
        r#"{pod="n"} | x=1 and (y=2 z"#,
        "at line 1, col 27: syntax error: unexpected $end",
    ),
    (
        r#"{pod="n"} | or x=1"#,
        "at line 1, col 13: syntax error: unexpected or",
    ),
    (
        r#"{pod="n"} | 5>x"#,
        "at line 1, col 13: syntax error: unexpected NUMBER",
    ),
    (
        r#"{pod="n"} | x=1 and ("#,
        "at line 1, col 22: syntax error: unexpected $end, expecting IDENTIFIER or (",
    ),
    (
        "rate",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        "rate(",
        "at line 1, col 6: syntax error: unexpected $end, expecting NUMBER or { or (",
    ),
    (
        "rate(x",
        "at line 1, col 6: syntax error: unexpected IDENTIFIER, expecting NUMBER or { or (",
    ),
    (
        "rate((",
        "at line 1, col 7: syntax error: unexpected $end, expecting { or (",
    ),
    (
        "rate((x",
        "at line 1, col 7: syntax error: unexpected IDENTIFIER, expecting { or (",
    ),
    (
        "rate(5",
        "at line 1, col 7: syntax error: unexpected $end, expecting ,",
    ),
    (
        "rate(5,",
        "at line 1, col 8: syntax error: unexpected $end, expecting { or (",
    ),
    (
        "rate(5,x",
        "at line 1, col 8: syntax error: unexpected IDENTIFIER, expecting { or (",
    ),
    (
        "quantile_over_time(",
        "at line 1, col 20: syntax error: unexpected $end, expecting NUMBER or { or (",
    ),
    (
        r#"rate({pod="n"}"#,
        "at line 1, col 15: syntax error: unexpected $end",
    ),
    (
        r#"rate({pod="n"})"#,
        "at line 1, col 15: syntax error: unexpected )",
    ),
    (
        r#"rate({pod="n"} |= "x")"#,
        "at line 1, col 22: syntax error: unexpected )",
    ),
    (
        r#"rate({pod="n"}[5m]"#,
        "at line 1, col 19: syntax error: unexpected $end, expecting )",
    ),
    (
        r#"rate({pod="n"}[5m] x)"#,
        "at line 1, col 20: syntax error: unexpected IDENTIFIER, expecting )",
    ),
    (
        r#"rate({pod="n"}[5m] offset"#,
        "at line 1, col 26: syntax error: unexpected $end, expecting DURATION",
    ),
    (
        r#"rate({pod="n"}[5m] offset 5)"#,
        "at line 1, col 27: syntax error: unexpected NUMBER, expecting DURATION",
    ),
    (
        r#"rate({pod="n"}[5m] offset 1m"#,
        "at line 1, col 29: syntax error: unexpected $end, expecting )",
    ),
    (
        r#"rate(({pod="n"}"#,
        "at line 1, col 16: syntax error: unexpected $end",
    ),
    (
        r#"rate(({pod="n"})"#,
        "at line 1, col 17: syntax error: unexpected $end, expecting RANGE",
    ),
    (
        r#"rate(({pod="n"}))"#,
        "at line 1, col 17: syntax error: unexpected ), expecting RANGE",
    ),
    (
        r#"rate(({pod="n"}[5m]"#,
        "at line 1, col 20: syntax error: unexpected $end, expecting )",
    ),
    (
        r#"rate(({pod="n"}[5m])"#,
        "at line 1, col 21: syntax error: unexpected $end, expecting )",
    ),
    (
        r#"rate({pod="n"} offset 1m[5m])"#,
        "at line 1, col 16: syntax error: unexpected offset",
    ),
    (
        r#"rate({pod="n"}[5m] | json | "#,
        "at line 1, col 29: syntax error: unexpected $end",
    ),
    (
        r#"rate({pod="n"}[5m]) offset 5m"#,
        "at line 1, col 21: syntax error: unexpected offset",
    ),
    (
        r#"rate({pod="n"}[5m]) by"#,
        "at line 1, col 23: syntax error: unexpected $end, expecting (",
    ),
    (
        r#"rate({pod="n"}[5m]) by ("#,
        "at line 1, col 25: syntax error: unexpected $end, expecting IDENTIFIER or )",
    ),
    (
        r#"rate({pod="n"}[5m] |= "x""#,
        "at line 1, col 26: syntax error: unexpected $end, expecting )",
    ),
    (
        r#"rate({pod="n"}[5m], 1)"#,
        "at line 1, col 19: syntax error: unexpected ,, expecting )",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap"#,
        "at line 1, col 33: syntax error: unexpected $end, expecting IDENTIFIER or BYTES_CONV or DURATION_CONV or DURATION_SECONDS_CONV",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap v"#,
        "at line 1, col 35: syntax error: unexpected $end, expecting RANGE or |",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap v |"#,
        "at line 1, col 37: syntax error: unexpected $end, expecting IDENTIFIER or (",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap v | x"#,
        "at line 1, col 39: syntax error: unexpected $end",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap v | x=1"#,
        "at line 1, col 41: syntax error: unexpected $end, expecting RANGE or |",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap v | x=1 and"#,
        "at line 1, col 45: syntax error: unexpected $end, expecting IDENTIFIER or (",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap v |= "x"[5m])"#,
        "at line 0, col 36: syntax error: unexpected |=, expecting RANGE or |",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap v | json [5m])"#,
        "at line 1, col 38: syntax error: unexpected json, expecting IDENTIFIER or (",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap v)"#,
        "at line 1, col 35: syntax error: unexpected ), expecting RANGE or |",
    ),
    (
        r#"sum_over_time(({pod="n"} | unwrap v"#,
        "at line 1, col 36: syntax error: unexpected $end, expecting RANGE or ) or |",
    ),
    (
        r#"sum_over_time(({pod="n"} | unwrap v)"#,
        "at line 1, col 37: syntax error: unexpected $end, expecting RANGE",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap bytes"#,
        "at line 1, col 39: syntax error: unexpected $end, expecting RANGE or |",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap bytes("#,
        "at line 1, col 40: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap bytes(v"#,
        "at line 1, col 41: syntax error: unexpected $end, expecting )",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap "v""#,
        "at line 1, col 34: syntax error: unexpected STRING, expecting IDENTIFIER or BYTES_CONV or DURATION_CONV or DURATION_SECONDS_CONV",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap v[5m] |= "x")"#,
        "at line 0, col 40: syntax error: unexpected |=, expecting )",
    ),
    (
        r#"sum_over_time({pod="n"}[5m] | unwrap v"#,
        "at line 1, col 39: syntax error: unexpected $end, expecting )",
    ),
    (
        r#"sum_over_time({pod="n"}[5m] | unwrap v |= "x")"#,
        "at line 0, col 40: syntax error: unexpected |=, expecting )",
    ),
    ("sum(", "at line 1, col 5: syntax error: unexpected $end"),
    (
        r#"sum({pod="n"})"#,
        "at line 1, col 14: syntax error: unexpected )",
    ),
    (
        r#"sum({pod="n"}[5m])"#,
        "at line 0, col 14: syntax error: unexpected RANGE",
    ),
    ("sum(5", "at line 1, col 6: syntax error: unexpected $end"),
    ("sum(5,", "at line 1, col 7: syntax error: unexpected $end"),
    (
        "sum(vector(1)",
        "at line 1, col 14: syntax error: unexpected $end",
    ),
    (
        "sum(vector(1))) ",
        "at line 1, col 15: syntax error: unexpected )",
    ),
    (
        "sum by (",
        "at line 1, col 9: syntax error: unexpected $end, expecting IDENTIFIER or )",
    ),
    (
        "sum by (x",
        "at line 1, col 10: syntax error: unexpected $end, expecting , or )",
    ),
    (
        "sum by (x,",
        "at line 1, col 11: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        "sum by (5)",
        "at line 1, col 9: syntax error: unexpected NUMBER, expecting IDENTIFIER or )",
    ),
    (
        "sum by (x) x",
        "at line 1, col 12: syntax error: unexpected IDENTIFIER, expecting (",
    ),
    (
        "sum by (x) by (y) (vector(1))",
        "at line 1, col 12: syntax error: unexpected by, expecting (",
    ),
    (
        "sum by (x)(vector(1)) by (y)",
        "at line 1, col 23: syntax error: unexpected by",
    ),
    (
        "sum(vector(1)) without",
        "at line 1, col 23: syntax error: unexpected $end, expecting (",
    ),
    (
        "sum(vector(1)) without x",
        "at line 1, col 24: syntax error: unexpected IDENTIFIER, expecting (",
    ),
    (
        "topk(-1, vector(1))",
        "at line 1, col 8: syntax error: unexpected ,",
    ),
    (
        "sum by (x y) (vector(1))",
        "at line 1, col 11: syntax error: unexpected IDENTIFIER, expecting , or )",
    ),
    (
        "sum by () x",
        "at line 1, col 11: syntax error: unexpected IDENTIFIER, expecting (",
    ),
    (
        "vector(",
        "at line 1, col 8: syntax error: unexpected $end, expecting NUMBER",
    ),
    (
        "vector(x)",
        "at line 1, col 8: syntax error: unexpected IDENTIFIER, expecting NUMBER",
    ),
    (
        "vector(-1)",
        "at line 1, col 8: syntax error: unexpected -, expecting NUMBER",
    ),
    (
        "vector(1",
        "at line 1, col 9: syntax error: unexpected $end, expecting )",
    ),
    (
        "+",
        "at line 1, col 2: syntax error: unexpected $end, expecting NUMBER",
    ),
    (
        "- x",
        "at line 1, col 3: syntax error: unexpected IDENTIFIER, expecting NUMBER",
    ),
    (
        "-vector(1)",
        "at line 1, col 2: syntax error: unexpected VECTOR, expecting NUMBER",
    ),
    (
        "vector(1) +",
        "at line 1, col 12: syntax error: unexpected $end",
    ),
    (
        "vector(1) + bool",
        "at line 1, col 17: syntax error: unexpected $end",
    ),
    (
        "vector(1) + on",
        "at line 1, col 15: syntax error: unexpected $end, expecting (",
    ),
    (
        "vector(1) + on(",
        "at line 1, col 16: syntax error: unexpected $end, expecting IDENTIFIER or )",
    ),
    (
        "vector(1) + on(x",
        "at line 1, col 17: syntax error: unexpected $end, expecting , or )",
    ),
    (
        "vector(1) + on(x,",
        "at line 1, col 18: syntax error: unexpected $end, expecting IDENTIFIER",
    ),
    (
        "vector(1) + ignoring x",
        "at line 1, col 22: syntax error: unexpected IDENTIFIER, expecting (",
    ),
    (
        "vector(1) + on(x) group_left",
        "at line 1, col 29: syntax error: unexpected $end",
    ),
    (
        "vector(1) + on(x) group_left (",
        "at line 1, col 31: syntax error: unexpected $end, expecting IDENTIFIER or )",
    ),
    (
        "vector(1) + on(x) group_left (vector(1))",
        "at line 1, col 31: syntax error: unexpected VECTOR, expecting IDENTIFIER or )",
    ),
    (
        "vector(1) + group_left () vector(1)",
        "at line 1, col 13: syntax error: unexpected group_left",
    ),
    (
        "vector(1) + bool bool vector(1)",
        "at line 1, col 18: syntax error: unexpected bool",
    ),
    (
        "vector(1) vector(1)",
        "at line 1, col 11: syntax error: unexpected VECTOR",
    ),
    (
        "vector(1) & vector(1)",
        "at line 1, col 11: syntax error: unexpected IDENTIFIER",
    ),
    (
        "(vector(1)",
        "at line 1, col 11: syntax error: unexpected $end",
    ),
    (
        "vector(1))",
        "at line 1, col 10: syntax error: unexpected )",
    ),
    ("()", "at line 1, col 2: syntax error: unexpected )"),
    ("1 2", "at line 1, col 3: syntax error: unexpected NUMBER"),
    (
        "median(vector(1))",
        "at line 1, col 1: syntax error: unexpected IDENTIFIER",
    ),
    (
        "label_replace(",
        "at line 1, col 15: syntax error: unexpected $end",
    ),
    (
        r#"label_replace({pod="n"}"#,
        "at line 1, col 24: syntax error: unexpected $end",
    ),
    (
        "label_replace(vector(1)",
        "at line 1, col 24: syntax error: unexpected $end",
    ),
    (
        "label_replace(vector(1),",
        "at line 1, col 25: syntax error: unexpected $end, expecting STRING",
    ),
    (
        r#"label_replace(vector(1),"a""#,
        "at line 1, col 28: syntax error: unexpected $end, expecting ,",
    ),
    (
        r#"label_replace(vector(1),"a","b","c","d""#,
        "at line 1, col 40: syntax error: unexpected $end, expecting )",
    ),
    (
        r#"label_replace(vector(1),"a","b","c")"#,
        "at line 1, col 36: syntax error: unexpected ), expecting ,",
    ),
    (
        "label_replace(vector(1),a)",
        "at line 1, col 25: syntax error: unexpected IDENTIFIER, expecting STRING",
    ),
    (
        r#"{pod="n"} + "#,
        "at line 1, col 13: syntax error: unexpected $end",
    ),
    (
        r#"{pod="n"}[5m]"#,
        "at line 0, col 10: syntax error: unexpected RANGE",
    ),
    (
        r#"({pod="n"}"#,
        "at line 1, col 11: syntax error: unexpected $end",
    ),
    (
        r#"({pod="n"}) |= "x""#,
        "at line 0, col 13: syntax error: unexpected |=",
    ),
    (
        r#"({pod="n"}) | json"#,
        "at line 1, col 13: syntax error: unexpected |",
    ),
    (
        r#"rate({pod="n"}[5m]))"#,
        "at line 1, col 20: syntax error: unexpected )",
    ),
    (
        "{pod=\"n\"}\n|",
        "at line 2, col 2: syntax error: unexpected $end",
    ),
    (
        "{pod=\"n\"}\n| json\n| x>>1",
        "at line 3, col 5: syntax error: unexpected >",
    ),
    (
        "{pod=\"\u{e4}\"} |",
        "at line 1, col 12: syntax error: unexpected $end",
    ),
    ("[5m]", "at line 0, col 1: syntax error: unexpected RANGE"),
    ("]", "at line 1, col 1: syntax error: unexpected ]"),
    ("by", "at line 1, col 1: syntax error: unexpected by"),
    (
        r#"ip("x")"#,
        "at line 1, col 1: syntax error: unexpected ip",
    ),
    ("json", "at line 1, col 1: syntax error: unexpected json"),
    ("5m", "at line 0, col 1: syntax error: unexpected DURATION"),
    (
        r#""x""#,
        "at line 1, col 1: syntax error: unexpected STRING",
    ),
];

#[test]
fn wrong_tokens_are_named_and_what_could_follow() {
    for (query, message) in STATES {
        refuse(query, message);
    }
}
