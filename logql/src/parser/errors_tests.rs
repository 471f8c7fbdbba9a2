//! What is refused, and in which words: Loki's. Each row is a query and its message without the
//! words "parse error".

use super::tests::refuse;

const NO_MATCHER: &str = ": queries require at least one regexp or equality matcher that does not have an \
                          empty-compatible value. For instance, app=~\".*\" does not meet this requirement, but \
                          app=~\".+\" will";

/// Two things are wrong: what cannot be compiled comes before a wrong token further right, that before what the checks
/// refuse, and of these the outermost and leftmost first.
const ORDER: &[(&str, &str)] = &[
    (
        r#"{pod=~"("} | |"#,
        ": error parsing regexp: missing closing ): `(`",
    ),
    (
        r#"{pod="n"} | x=~"(" | |"#,
        ": error parsing regexp: missing closing ): `(`",
    ),
    (
        r#"{pod="n"} | drop x=~"(" | |"#,
        ": error parsing regexp: missing closing ): `(`",
    ),
    (
        r#"{pod="n"} | regexp "(" | |"#,
        ": invalid regexp parser: error parsing regexp: missing closing ): `(`",
    ),
    (
        r#"{pod="n"} | pattern "x" | |"#,
        ": invalid pattern parser: at least one capture is required",
    ),
    (
        r#"{pod="n"} | x>0x1 | |"#,
        r#": unable to parse literal as a float: strconv.ParseFloat: parsing "0x1": invalid syntax"#,
    ),
    (
        r#"{pod="n"} | x>1e999"#,
        r#": unable to parse literal as a float: strconv.ParseFloat: parsing "1e999": value out of range"#,
    ),
    (
        r#"{pod="n"} | |  drop x=~"(""#,
        "at line 1, col 13: syntax error: unexpected |",
    ),
    (
        r#"{pod="n" | x=~"(""#,
        ": error parsing regexp: missing closing ): `(`",
    ),
    (
        r#"{pod="n"} |~ "(" | |"#,
        "at line 1, col 20: syntax error: unexpected |",
    ),
    (
        r#"{pod="n"} |= "\q" | |"#,
        "at line 1, col 14: invalid char escape",
    ),
    (
        r#"{pod=~"(", q="\q"}"#,
        ": error parsing regexp: missing closing ): `(`",
    ),
    (
        r#"{pod="\q", q=~"("}"#,
        "at line 1, col 6: invalid char escape",
    ),
    (
        r#"{pod="n"} | x>0x"#,
        r#": unable to parse literal as a float: strconv.ParseFloat: parsing "0x": invalid syntax"#,
    ),
    (
        r#"rate({pod=~"("}[5x])"#,
        ": error parsing regexp: missing closing ): `(`",
    ),
    (
        r#"topk(0, rate({pod=~"("}[5m]))"#,
        ": error parsing regexp: missing closing ): `(`",
    ),
    ("0x1 | |", "at line 1, col 5: syntax error: unexpected |"),
    (
        "topk(0, 0x1) +",
        "at line 1, col 15: syntax error: unexpected $end",
    ),
    (
        r#"vector(0x1) + {pod="n"}"#,
        ": unexpected type for right leg of binary operation (+): *syntax.MatchersExpr",
    ),
    (
        "vector(0x1) and 1",
        ": unexpected literal for right leg of logical/set binary operation (and): 1.000000",
    ),
    (
        "0x1 and 1",
        r#": unable to parse literal as a float: strconv.ParseFloat: parsing "0x1": invalid syntax"#,
    ),
    (
        "1 and 0x1",
        r#": unable to parse literal as a float: strconv.ParseFloat: parsing "0x1": invalid syntax"#,
    ),
    (
        r#"{pod="n"} + {}"#,
        ": unexpected type for left leg of binary operation (+): *syntax.MatchersExpr",
    ),
    (
        "1 + {}",
        ": unexpected type for right leg of binary operation (+): *syntax.MatchersExpr",
    ),
    (
        "{} or 1",
        ": unexpected type for left leg of binary operation (or): *syntax.MatchersExpr",
    ),
    (
        "topk(0, rate({}[5m]))",
        ": invalid parameter (must be greater than 0) topk(0",
    ),
    (
        "sum(topk(0, rate({}[5m])))",
        ": invalid parameter (must be greater than 0) topk(0",
    ),
    (
        "rate(5, {}[5m])",
        ": parameter 5 not supported for operation rate",
    ),
    ("rate({}[5m]) + topk(0, vector(1))", NO_MATCHER),
    (
        "topk(0, vector(1)) + rate({}[5m])",
        ": invalid parameter (must be greater than 0) topk(0",
    ),
    (
        "quantile_over_time(0x1, {}[5m]) by (x)",
        r#": invalid parameter for operation quantile_over_time: strconv.ParseFloat: parsing "0x1": invalid syntax"#,
    ),
    (
        "rate({}[5m]) by (x)",
        ": grouping not allowed for rate aggregation",
    ),
    (
        "count_over_time({} | unwrap x [5m]) by (x)",
        ": grouping not allowed for count_over_time aggregation",
    ),
    (
        r#"label_replace(rate({}[5m]),"a","b","c","(")"#,
        ": invalid regex in label_replace: error parsing regexp: missing closing ): `^(?:()$`",
    ),
    (
        "topk by (x) (vector(1))",
        ": parameter required for operation topk",
    ),
    (
        "sort by (x) (5, vector(1))",
        ": unsupported parameter for operation sort(5,",
    ),
    (
        "approx_topk by (x) (0, vector(1))",
        ": invalid parameter (must be greater than 0) approx_topk(0",
    ),
    (
        "(1 or 2) and {}",
        ": unexpected type for right leg of binary operation (and): *syntax.MatchersExpr",
    ),
    (
        "sum(vector(1)) + (1 unless 2)",
        ": unexpected literal for left leg of logical/set binary operation (unless): 1.000000",
    ),
];

/// The grammar lets it through.
const CHECKS: &[(&str, &str)] = &[
    ("{}", NO_MATCHER),
    (r#"{pod=""}"#, NO_MATCHER),
    (r#"{pod=~".*"}"#, NO_MATCHER),
    (r#"{pod!="x"}"#, NO_MATCHER),
    (r#"{pod!~"x", container=""}"#, NO_MATCHER),
    (r#"{pod=~"x*"} | json"#, NO_MATCHER),
    (r#"rate({pod=~"|x"}[5m])"#, NO_MATCHER),
    ("vector(1) + rate({}[5m])", NO_MATCHER),
    (
        r#"sum_over_time({pod="n"}[5m])"#,
        ": invalid aggregation sum_over_time without unwrap",
    ),
    (
        r#"avg_over_time({pod="n"}[5m])"#,
        ": invalid aggregation avg_over_time without unwrap",
    ),
    (
        r#"rate_counter({pod="n"}[5m])"#,
        ": invalid aggregation rate_counter without unwrap",
    ),
    (
        r#"count_over_time({pod="n"} | unwrap x [5m])"#,
        ": invalid aggregation count_over_time with unwrap",
    ),
    (
        r#"bytes_over_time({pod="n"} | unwrap x [5m])"#,
        ": invalid aggregation bytes_over_time with unwrap",
    ),
    (
        r#"bytes_rate({pod="n"} | unwrap x [5m])"#,
        ": invalid aggregation bytes_rate with unwrap",
    ),
    (
        r#"rate({pod="n"}[5m]) by (x)"#,
        ": grouping not allowed for rate aggregation",
    ),
    (
        r#"rate_counter({pod="n"} | unwrap x [5m]) without (x)"#,
        ": grouping not allowed for rate_counter aggregation",
    ),
    (
        r#"sum_over_time({pod="n"} | unwrap x [5m]) by ()"#,
        ": grouping not allowed for sum_over_time aggregation",
    ),
    (
        r#"absent_over_time({pod="n"}[5m]) by (x)"#,
        ": grouping not allowed for absent_over_time aggregation",
    ),
    (
        r#"quantile_over_time({pod="n"} | unwrap x [5m])"#,
        ": parameter required for operation quantile_over_time",
    ),
    (
        r#"quantile_over_time(0x1, {pod="n"} | unwrap x [5m])"#,
        r#": invalid parameter for operation quantile_over_time: strconv.ParseFloat: parsing "0x1": invalid syntax"#,
    ),
    (
        r#"rate(1e6, {pod="n"}[5m])"#,
        ": parameter 1e6 not supported for operation rate",
    ),
    (
        r#"rate(.5, {pod="n"}[5m])"#,
        ": parameter .5 not supported for operation rate",
    ),
    ("topk(vector(1))", ": parameter required for operation topk"),
    (
        "bottomk(vector(1))",
        ": parameter required for operation bottomk",
    ),
    (
        "approx_topk(vector(1))",
        ": parameter required for operation approx_topk",
    ),
    (
        "topk(0, vector(1))",
        ": invalid parameter (must be greater than 0) topk(0",
    ),
    ("topk(1.5, vector(1))", ": invalid parameter topk(1.5,"),
    ("topk(1e3, vector(1))", ": invalid parameter topk(1e3,"),
    (
        "bottomk(99999999999999999999, vector(1))",
        ": invalid parameter bottomk(99999999999999999999,",
    ),
    (
        "sum(3, vector(1))",
        ": unsupported parameter for operation sum(3,",
    ),
    (
        "sort(1, vector(1))",
        ": unsupported parameter for operation sort(1,",
    ),
    (
        "sort by (x) (vector(1))",
        ": sort and sort_desc doesn't allow grouping by ",
    ),
    (
        "sort_desc(vector(1)) without (x)",
        ": sort and sort_desc doesn't allow grouping by ",
    ),
    (
        "approx_topk by () (1, vector(1))",
        ": grouping not allowed for approx_topk aggregation",
    ),
    (
        r#"{pod="n"} + 1"#,
        ": unexpected type for left leg of binary operation (+): *syntax.MatchersExpr",
    ),
    (
        r#"{pod="n"} | json - 1"#,
        ": unexpected type for left leg of binary operation (-): *syntax.PipelineExpr",
    ),
    (
        r#"1 * {pod="n"}"#,
        ": unexpected type for right leg of binary operation (*): *syntax.MatchersExpr",
    ),
    (
        r#"1 == ({pod="n"} |= "x")"#,
        ": unexpected type for right leg of binary operation (==): *syntax.PipelineExpr",
    ),
    (
        "vector(1) and 1",
        ": unexpected literal for right leg of logical/set binary operation (and): 1.000000",
    ),
    (
        "1 or vector(1)",
        ": unexpected literal for left leg of logical/set binary operation (or): 1.000000",
    ),
    (
        "1 unless 2.5",
        ": unexpected literal for left leg of logical/set binary operation (unless): 1.000000",
    ),
    (
        "vector(1) and (1 + 2)",
        ": unexpected literal for right leg of logical/set binary operation (and): 3.000000",
    ),
    (
        "vector(1) and 1e100",
        ": unexpected literal for right leg of logical/set binary operation (and): 10000000000000000159028911097599180468360808563945281389781327557747838772170381060813469985856815104.000000",
    ),
    (
        r#"label_replace(vector(1), "a", "b", "c", "(")"#,
        ": invalid regex in label_replace: error parsing regexp: missing closing ): `^(?:()$`",
    ),
    (
        "0x10",
        r#": unable to parse literal as a float: strconv.ParseFloat: parsing "0x10": invalid syntax"#,
    ),
    (
        "vector(0x10)",
        r#": unable to parse vectorExpr as a float: strconv.ParseFloat: parsing "0x10": invalid syntax"#,
    ),
    (
        "-0x10",
        "at line 0, col 1: syntax error: unexpected DURATION",
    ),
    (
        r#"{pod="n"} | regexp "x""#,
        ": invalid regexp parser: at least one named capture must be supplied",
    ),
    (
        r#"{pod="n"} | regexp "(?P<x>a)(?P<x>b)""#,
        ": invalid regexp parser: duplicate extracted label name 'x'",
    ),
    (
        r#"{pod="n"} | regexp "(""#,
        ": invalid regexp parser: error parsing regexp: missing closing ): `(`",
    ),
    (
        r#"{pod="n"} | pattern "x""#,
        ": invalid pattern parser: at least one capture is required",
    ),
    (
        r#"{pod="n"} | pattern """#,
        ": invalid pattern parser: parse error at line 1, col 1: syntax error: unexpected $end, expecting IDENTIFIER or LITERAL",
    ),
    (
        r#"{pod="n"} | pattern "<_>""#,
        ": invalid pattern parser: at least one capture is required",
    ),
    (
        r#"{pod="n"} | pattern "<a><b>""#,
        ": invalid pattern parser: found consecutive capture '<a><b>': invalid expression",
    ),
    (
        r#"{pod="n"} | pattern "<_><b>""#,
        ": invalid pattern parser: found consecutive capture '<_><b>': invalid expression",
    ),
    (
        r#"{pod="n"} | pattern "<a> <b> <a>""#,
        ": invalid pattern parser: duplicate capture name (a): invalid expression",
    ),
    (
        r#"{pod="n"} | pattern "<a b>""#,
        ": invalid pattern parser: at least one capture is required",
    ),
    (
        r#"{pod="n"} | pattern "<a""#,
        ": invalid pattern parser: at least one capture is required",
    ),
    (
        r#"{pod=~"["}"#,
        ": error parsing regexp: missing closing ]: `[`",
    ),
    (
        r#"{pod="n"} | x!~"*""#,
        ": error parsing regexp: missing argument to repetition operator: `*`",
    ),
    (
        r#"{pod="n"} | keep x=~"a**""#,
        ": error parsing regexp: invalid nested repetition operator: `**`",
    ),
    (
        r#"{pod="n"} | regexp "(?P<x-y>a)""#,
        ": invalid regexp parser: error parsing regexp: invalid named capture: `(?P<x-y>`",
    ),
    (
        r#"{pod="n"} | regexp "(?P<>a)""#,
        ": invalid regexp parser: error parsing regexp: invalid named capture: `(?P<>`",
    ),
];

#[test]
fn the_first_of_two_faults_is_told() {
    for (query, message) in ORDER {
        refuse(query, message);
    }
}

#[test]
fn what_cannot_run_is_refused() {
    for (query, message) in CHECKS {
        refuse(query, message);
    }
}
