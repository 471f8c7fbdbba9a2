use super::{EvalError, Leaf, Limits, metric_instant, metric_range};
use crate::plan::{Direction, LogLeaf, Plan, RangeLeaf, Steps};
use crate::value::{Logs, Matrix, Series, Value};

const LIMITS: Limits = Limits {
    series: 500,
    memory: 1 << 20,
};

/// Answers any aggregation over `{v="NAME"}` with a fixed matrix of that name.
struct Fixed;

fn series(labels: &[(&str, &str)], points: &[(i64, f64)]) -> Series {
    Series {
        labels: labels
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect(),
        points: points.to_vec(),
    }
}

impl Leaf for Fixed {
    fn logs(&self, _: &LogLeaf, _: i64, _: i64, _: usize, _: Direction) -> Result<Logs, EvalError> {
        Ok(Logs::default())
    }

    fn range(&self, leaf: &RangeLeaf, steps: Steps, _: usize) -> Result<Matrix, EvalError> {
        let all = match leaf.matchers[0].value() {
            "a" => vec![
                series(&[("app", "x"), ("pod", "1")], &[(0, 1.0), (10, 2.0)]),
                series(&[("app", "x"), ("pod", "2")], &[(0, 5.0)]),
                series(&[("app", "y"), ("pod", "3")], &[(0, 3.0), (10, 4.0)]),
            ],
            "apps" => vec![
                series(&[("app", "x")], &[(0, 2.0), (10, 2.0)]),
                series(&[("app", "y"), ("zone", "z")], &[(0, 0.0)]),
            ],
            "empty" => vec![
                series(&[("pod", "1")], &[(0, 1.0)]),
                series(&[("pod", "1"), ("zone", "")], &[(0, 2.0)]),
            ],
            "nan" => vec![
                series(&[("n", "1")], &[(0, f64::NAN)]),
                series(&[("n", "2")], &[(0, 1.0)]),
                series(&[("n", "3")], &[(0, 1.0)]),
            ],
            _ => vec![],
        };
        let within = |s: &mut Series| {
            s.points
                .retain(|(at, _)| *at >= steps.start && *at <= steps.end);
            !s.points.is_empty()
        };
        let mut series = all;
        series.retain_mut(within);
        Ok(Matrix { series })
    }
}

/// Replaces `NAME` words by aggregations over the fixed matrices.
fn plan(query: &str) -> crate::plan::MetricPlan {
    let mut text = query.to_owned();
    for name in ["A", "APPS", "EMPTY", "NAN", "NONE"] {
        let range = format!("rate({{v=\"{}\"}}[1s])", name.to_lowercase());
        let words: Vec<String> = text
            .split(' ')
            .map(|w| {
                if w == name {
                    range.clone()
                } else {
                    w.to_owned()
                }
            })
            .collect();
        text = words.join(" ");
    }
    match crate::parse(&text).expect(&text) {
        Plan::Metric(plan) => plan,
        Plan::Log(_) => panic!("a metric query is expected"),
    }
}

fn text(value: Result<Value, EvalError>) -> String {
    let set = |labels: &[(String, String)]| {
        let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v}")).collect();
        pairs.join(",")
    };
    let number = crate::format::sample_value;
    match value {
        Err(error) => error.to_string(),
        Ok(Value::Scalar(at, value)) => format!("scalar {at} {}", number(value)),
        Ok(Value::Vector(samples)) => {
            let samples = samples
                .iter()
                .map(|(l, _, v)| format!("{{{}}} {}", set(l), number(*v)));
            samples.collect::<Vec<_>>().join("; ")
        }
        Ok(Value::Matrix(matrix)) => {
            let all = matrix.series.iter().map(|s| {
                let points: Vec<String> = s
                    .points
                    .iter()
                    .map(|(at, v)| format!("{at}:{}", number(*v)))
                    .collect();
                format!("{{{}}} {}", set(&s.labels), points.join(" "))
            });
            all.collect::<Vec<_>>().join("; ")
        }
        Ok(Value::Logs(_)) => "logs".to_owned(),
    }
}

fn check(query: &str, instant: &str, range: &str) {
    let plan = plan(query);
    assert_eq!(
        text(metric_instant(&plan, 0, LIMITS, &Fixed)),
        instant,
        "instant {query}"
    );
    let steps = Steps {
        start: 0,
        end: 10,
        step: 10,
    };
    assert_eq!(
        text(metric_range(&plan, steps, LIMITS, &Fixed)),
        range,
        "range {query}"
    );
}

#[test]
fn literals_and_vectors() {
    check("1+2*3^2^1", "scalar 0 19", "{} 0:19 10:19");
    check("2 > 1", "scalar 0 1", "{} 0:1 10:1");
    check("-1 ^ 2", "scalar 0 1", "{} 0:1 10:1");
    check("1/0", "scalar 0 NaN", "{} 0:NaN 10:NaN");
    check("vector(1)+vector(1)", "{} 2", "{} 0:2 10:2");
    check("sum( NONE ) or vector(0)", "{} 0", "{} 0:0 10:0");
}

#[test]
fn aggregations_group_by_step() {
    check(
        "avg by (app) ( A )",
        "{app=x} 3; {app=y} 3",
        "{app=x} 0:3 10:2; {app=y} 0:3 10:4",
    );
    check("count( A )", "{} 3", "{} 0:3 10:2");
    check(
        "max without (pod) ( A )",
        "{app=x} 5; {app=y} 3",
        "{app=x} 0:5 10:2; {app=y} 0:3 10:4",
    );
    check("min( A )", "{} 1", "{} 0:1 10:2");
    check(
        "stdvar by (app) ( A )",
        "{app=x} 4; {app=y} 0",
        "{app=x} 0:4 10:0; {app=y} 0:0 10:0",
    );
    check("sum( A + 0 )", "{} 9", "{} 0:9 10:6");
    check("max( NAN )", "{} 1", "{} 0:1");
    check("sum( NONE )", "", "");
    check(
        "max without (app) ( EMPTY )",
        "{pod=1} 1; {pod=1} 2",
        "{pod=1} 0:1 0:2",
    );
    check("max without (zone) ( EMPTY )", "{pod=1} 2", "{pod=1} 0:2");
    check(
        "topk without (app) (1, EMPTY )",
        "{pod=1} 1; {pod=1,zone=} 2",
        "{pod=1} 0:1; {pod=1,zone=} 0:2",
    );
}

#[test]
fn topk_keeps_labels_and_sort_orders_an_instant() {
    check(
        "topk(2, A )",
        "{app=x,pod=2} 5; {app=y,pod=3} 3",
        "{app=x,pod=1} 10:2; {app=x,pod=2} 0:5; {app=y,pod=3} 0:3 10:4",
    );
    check(
        "bottomk by (app) (1, A )",
        "{app=x,pod=1} 1; {app=y,pod=3} 3",
        "{app=x,pod=1} 0:1 10:2; {app=y,pod=3} 0:3 10:4",
    );
    check("topk(2, NAN )", "{n=2} 1; {n=3} 1", "{n=2} 0:1; {n=3} 0:1");
    check(
        "sort_desc( NAN )",
        "{n=2} 1; {n=3} 1; {n=1} NaN",
        "{n=1} 0:NaN; {n=2} 0:1; {n=3} 0:1",
    );
    check(
        "sort_desc( A ) * 2",
        "{app=x,pod=2} 10; {app=y,pod=3} 6; {app=x,pod=1} 2",
        "{app=x,pod=1} 0:2 10:4; {app=x,pod=2} 0:10; {app=y,pod=3} 0:6 10:8",
    );
}

/// Where `sort` occurs, an instant is in the order in which operations leave it.
#[test]
fn what_was_sorted_stays_so() {
    for (query, instant) in [
        (
            "topk(3, sort( A ))",
            "{app=x,pod=2} 5; {app=y,pod=3} 3; {app=x,pod=1} 1",
        ),
        ("bottomk(2, sort( A ))", "{app=x,pod=1} 1; {app=y,pod=3} 3"),
        (
            "sort_desc( A ) * on (app) group_left APPS",
            "{app=x,pod=2} 10; {app=y,pod=3} 0; {app=x,pod=1} 2",
        ),
        (
            "topk(3, A )",
            "{app=x,pod=1} 1; {app=x,pod=2} 5; {app=y,pod=3} 3",
        ),
    ] {
        let got = text(metric_instant(&plan(query), 0, LIMITS, &Fixed));
        assert_eq!(got, instant, "{query}");
    }
}

#[test]
fn operators_with_a_number() {
    check("min( A ) > 1", "", "{} 10:2");
    check("1 < bool min( A )", "{} 0", "{} 0:0 10:1");
    check(
        "4 > max by (app) ( A )",
        "{app=y} 3",
        "{app=x} 10:2; {app=y} 0:3",
    );
    check("min( A ) / 0", "{} NaN", "{} 0:NaN 10:NaN");
    check("-7 % count( A )", "{} -1", "{} 0:-1 10:-1");
}

#[test]
fn operators_with_two_vectors() {
    check("max( A ) - min( A )", "{} 4", "{} 0:4 10:2");
    check(
        "A / on (app) group_left (zone) APPS",
        "{app=x,pod=1} 0.5; {app=x,pod=2} 2.5; {app=y,pod=3,zone=z} NaN",
        "{app=x,pod=1} 0:0.5 10:1; {app=x,pod=2} 0:2.5; {app=y,pod=3,zone=z} 0:NaN",
    );
    check(
        "APPS > on (app) group_right A",
        "{app=x,pod=1} 2",
        "{app=x,pod=1} 0:2",
    );
    let many = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
    check("A / on (app) APPS", many, many);
    let twice = "found duplicate series on the right hand-side;many-to-many matching not allowed: matching labels \
                 must be unique on one side";
    check("APPS / on (app) A", twice, twice);
    check(
        "A and on (app) ( APPS == 0)",
        "{app=y,pod=3} 3",
        "{app=y,pod=3} 0:3",
    );
    check("A unless on (app) APPS", "", "{app=y,pod=3} 10:4");
    // No labels meet no labels only.
    check("vector(1) + max by (app) ( A )", "", "");
    check("vector(1) + max( A )", "{} 6", "{} 0:6 10:5");
    check("max( A ) or on () NAN", "{} 5", "{} 0:5 10:4");
}

#[test]
fn label_replace_sets_and_removes() {
    let all = "{app=x,pod=1} 1; {app=x,pod=2} 5; {app=y,pod=3} 3";
    let all_steps = "{app=x,pod=1} 0:1 10:2; {app=x,pod=2} 0:5; {app=y,pod=3} 0:3 10:4";
    // No match: unchanged. The whole value has to match.
    for regex in ["z(.*)", "[a-w]", ""] {
        check(
            &format!("label_replace( A , \"n\", \"v$1\", \"app\", \"{regex}\")"),
            all,
            all_steps,
        );
    }
    check(
        "label_replace( A , \"n\", \"<${1}>\", \"pod\", \"([12])\")",
        "{app=x,n=<1>,pod=1} 1; {app=x,n=<2>,pod=2} 5; {app=y,pod=3} 3",
        "{app=x,n=<1>,pod=1} 0:1 10:2; {app=x,n=<2>,pod=2} 0:5; {app=y,pod=3} 0:3 10:4",
    );
    // A missing source is empty; an empty result removes the label.
    check(
        "label_replace( A , \"1-a\", \"yes\", \"nope\", \"\")",
        "{1-a=yes,app=x,pod=1} 1; {1-a=yes,app=x,pod=2} 5; {1-a=yes,app=y,pod=3} 3",
        "{1-a=yes,app=x,pod=1} 0:1 10:2; {1-a=yes,app=x,pod=2} 0:5; {1-a=yes,app=y,pod=3} 0:3 10:4",
    );
    check(
        "label_replace( A , \"app\", \"$2\", \"app\", \"(?P<n>.)|(.)\")",
        "{pod=1} 1; {pod=2} 5; {pod=3} 3",
        "{pod=1} 0:1 10:2; {pod=2} 0:5; {pod=3} 0:3 10:4",
    );
}

#[test]
fn what_label_replace_makes_equal_stays_apart() {
    let same = "label_replace(label_replace( A , \"pod\", \"\", \"pod\", \".*\"), \"app\", \"z\", \"app\", \".*\")";
    check(
        same,
        "{app=z} 1; {app=z} 5; {app=z} 3",
        "{app=z} 0:1 0:5 0:3 10:2 10:4",
    );
    check(&format!("count({same})"), "{} 3", "{} 0:3 10:2");
    let twice = "found duplicate series on the right hand-side;many-to-many matching not allowed: matching labels \
                 must be unique on one side";
    check(&format!("vector(1) + on () {same}"), twice, twice);
    let many = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
    check(&format!("{same} + on () vector(1)"), many, many);
    let grouped = "multiple matches for labels: grouping labels must ensure unique matches";
    // A comparison that holds for none of them does not help.
    for op in ["+", "== bool", "=="] {
        check(
            &format!("{same} {op} on () group_left () vector(77)"),
            grouped,
            grouped,
        );
    }
}

#[test]
fn what_no_range_query_has() {
    let plan = plan("approx_topk(2, A )");
    assert_eq!(
        text(metric_instant(&plan, 0, LIMITS, &Fixed)),
        "{app=x,pod=2} 5; {app=y,pod=3} 3"
    );
    let steps = Steps {
        start: 0,
        end: 0,
        step: 1,
    };
    assert_eq!(
        text(metric_range(&plan, steps, LIMITS, &Fixed)),
        "count min sketches are only supported on instant queries"
    );
}

#[test]
fn numbers_stand_only_beside_operators() {
    let text =
        "unexpected expr type (*syntax.LiteralExpr) for Evaluator type (*logql.DefaultEvaluator) ";
    check("sum(1)", text, text);
    check("label_replace(1+1, \"a\", \"b\", \"c\", \"\")", text, text);
    check("sum(vector(1)) + 1", "{} 2", "{} 0:2 10:2");
}

#[test]
fn an_answer_has_so_many_series_and_bytes() {
    let steps = Steps {
        start: 0,
        end: 10,
        step: 10,
    };
    let limits = |series, memory| Limits { series, memory };
    let range = |query: &str, limits| text(metric_range(&plan(query), steps, limits, &Fixed));
    let instant = |query: &str, limits| text(metric_instant(&plan(query), 0, limits, &Fixed));
    let message = "maximum number of series (2) reached for a single query; consider reducing query cardinality by \
                   adding more specific stream selectors, reducing the time range, or aggregating results with \
                   functions like sum(), count() or topk()";
    for query in ["A + 0", "A or vector(1)", "topk(3, A )"] {
        assert_eq!(range(query, limits(2, 1 << 20)), message, "{query}");
        assert_eq!(instant(query, limits(2, 1 << 20)), message, "{query}");
    }
    // Over all steps: at each there are two.
    assert_eq!(range("topk(2, A )", limits(2, 1 << 20)), message);
    assert!(instant("topk(2, A )", limits(2, 1 << 20)).starts_with("{app"));
    // Each operation may find that there is no room.
    for query in [
        "sum by (pod) ( A + 0)",
        "topk(1, A )",
        "A and A",
        "A + A",
        "A + on (app) group_left APPS",
        "vector(1)",
    ] {
        let mut refused = 0;
        for memory in (0..4_000).step_by(16) {
            let got = range(query, limits(9, memory));
            if got.starts_with("query needs more than") {
                refused += 1;
                assert!(got.contains(&format!("more than {memory} bytes")), "{got}");
            } else {
                assert_eq!(got, range(query, limits(9, 1 << 20)), "{query}");
            }
        }
        assert!((1..250).contains(&refused), "{query} {refused}");
    }
    let long = format!(
        "label_replace( A , \"n\", \"{}\", \"app\", \".*\")",
        "$0".repeat(50_000)
    );
    let got = range(&long, limits(9, 10_000));
    assert!(got.starts_with("query needs more than"), "{got}");
    let endless = Steps {
        start: 0,
        end: i64::MAX,
        step: 1,
    };
    for query in ["vector(1)", "1", "1 + vector(1)"] {
        let result = metric_range(&plan(query), endless, LIMITS, &Fixed);
        assert!(matches!(result, Err(EvalError::Limit(_))), "{query}");
    }
}
