//! Vector operations against a model that works as Loki does: one vector after the other, one for each step.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{EvalError, Leaf, Limits, metric_instant, metric_range};
use crate::ast::{Cardinality, Grouping, Matching};
use crate::plan::{
    AggregateOp, BinaryNode, Direction, LogLeaf, MetricPlan, Node, Plan, RangeLeaf, Steps,
};
use crate::value::{Logs, Matrix, Series, SeriesLabels, Value};

const STEPS: Steps = Steps {
    start: 100,
    end: 140,
    step: 10,
};

type Sample = (SeriesLabels, f64);

/// Answers `{v="N"}` with the N-th matrix.
#[derive(Debug)]
struct Fixed(Vec<Matrix>);

impl Leaf for Fixed {
    fn logs(&self, _: &LogLeaf, _: i64, _: i64, _: usize, _: Direction) -> Result<Logs, EvalError> {
        Ok(Logs::default())
    }

    fn range(&self, leaf: &RangeLeaf, steps: Steps, _: usize) -> Result<Matrix, EvalError> {
        let number: usize = leaf.matchers[0].value().parse().expect("a number");
        let mut matrix = self.0[number].clone();
        for series in &mut matrix.series {
            series
                .points
                .retain(|(at, _)| *at >= steps.start && *at <= steps.end);
        }
        matrix.series.retain(|s| !s.points.is_empty());
        Ok(matrix)
    }
}

impl Fixed {
    fn at(&self, leaf: &RangeLeaf, now: i64) -> Vec<Sample> {
        let number: usize = leaf.matchers[0].value().parse().expect("a number");
        let series = self.0[number].series.iter();
        series
            .filter_map(|s| {
                let point = s.points.iter().find(|(at, _)| *at == now)?;
                Some((s.labels.clone(), point.1))
            })
            .collect()
    }
}

fn keep(labels: &SeriesLabels, names: &[String], on: bool) -> SeriesLabels {
    let kept = labels.iter().filter(|(n, _)| names.contains(n) == on);
    kept.cloned().collect()
}

fn group(labels: &SeriesLabels, grouping: &Grouping) -> SeriesLabels {
    let mut labels = keep(labels, &grouping.names, !grouping.without);
    if grouping.without {
        labels.retain(|(n, _)| n != "__name__");
    }
    labels
}

fn evaluate(node: &Node, fixed: &Fixed, now: i64) -> Result<Vec<Sample>, String> {
    match node {
        Node::Leaf(leaf) => Ok(fixed.at(leaf, now)),
        Node::VectorOf(value) => Ok(vec![(Vec::new(), *value)]),
        Node::Aggregate {
            op,
            grouping,
            inner,
        } => Ok(aggregate(*op, grouping, evaluate(inner, fixed, now)?)),
        Node::Binary(binary) => match (&binary.left, &binary.right) {
            (Node::Literal(left), right) => Ok(evaluate(right, fixed, now)?
                .into_iter()
                .filter_map(|(labels, v)| Some((labels, operate(binary, *left, v, v)?)))
                .collect()),
            (left, Node::Literal(right)) => Ok(evaluate(left, fixed, now)?
                .into_iter()
                .filter_map(|(labels, v)| Some((labels, operate(binary, v, *right, v)?)))
                .collect()),
            (left, right) => {
                let left = evaluate(left, fixed, now)?;
                let right = evaluate(right, fixed, now)?;
                match binary.op {
                    "and" | "or" | "unless" => Ok(sets(binary, left, right)),
                    _ => join(binary, left, right),
                }
            }
        },
        Node::Literal(_) | Node::LabelReplace(_) => panic!("not in this model"),
    }
}

fn operate(node: &BinaryNode, left: f64, right: f64, kept: f64) -> Option<f64> {
    let holds = match node.op {
        "+" => return Some(left + right),
        "-" => return Some(left - right),
        "*" => return Some(left * right),
        "/" => return Some(if right == 0.0 { f64::NAN } else { left / right }),
        "%" => return Some(if right == 0.0 { f64::NAN } else { left % right }),
        "^" => return Some(left.powf(right)),
        "==" => left == right,
        "!=" => left != right,
        ">" => left > right,
        "<" => left < right,
        ">=" => left >= right,
        "<=" => left <= right,
        other => panic!("{other}"),
    };
    match (node.bool_result, holds) {
        (true, holds) => Some(if holds { 1.0 } else { 0.0 }),
        (false, true) => Some(kept),
        (false, false) => None,
    }
}

fn aggregate(op: AggregateOp, grouping: &Grouping, mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.sort_by(|a, b| a.0.cmp(&b.0));
    let mut groups: Vec<(SeriesLabels, Vec<Sample>)> = Vec::new();
    for sample in samples {
        let key = group(&sample.0, grouping);
        match groups.iter_mut().find(|(labels, _)| *labels == key) {
            Some((_, members)) => members.push(sample),
            None => groups.push((key, vec![sample])),
        }
    }
    let mut result = Vec::new();
    for (labels, mut members) in groups {
        let values: Vec<f64> = members.iter().map(|m| m.1).collect();
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        // The first value is the mean whatever it is, and no distance is taken from it.
        let (mut middle, mut squares) = (values[0], 0.0);
        for (k, v) in values.iter().enumerate().skip(1) {
            let distance = v - middle;
            middle += distance / (k as f64 + 1.0);
            squares += distance * (v - middle);
        }
        let variance = squares / n;
        let numbers = || values.iter().copied().filter(|v| !v.is_nan());
        let value = match op {
            AggregateOp::Sum => values.iter().sum(),
            AggregateOp::Count => n,
            AggregateOp::Avg => mean,
            AggregateOp::Stdvar => variance,
            AggregateOp::Stddev => variance.sqrt(),
            AggregateOp::Min => numbers().reduce(f64::min).unwrap_or(f64::NAN),
            AggregateOp::Max => numbers().reduce(f64::max).unwrap_or(f64::NAN),
            AggregateOp::TopK(k) | AggregateOp::BottomK(k) => {
                let top = matches!(op, AggregateOp::TopK(_));
                members.sort_by(|a, b| {
                    let order = if top {
                        b.1.partial_cmp(&a.1)
                    } else {
                        a.1.partial_cmp(&b.1)
                    };
                    order.unwrap_or_else(|| a.1.is_nan().cmp(&b.1.is_nan()))
                });
                members.truncate(k);
                result.append(&mut members);
                continue;
            }
            _ => {
                result.append(&mut members);
                continue;
            }
        };
        result.push((labels, value));
    }
    result
}

fn signature(matching: Option<&Matching>, labels: &SeriesLabels) -> SeriesLabels {
    matching.map_or_else(|| labels.clone(), |m| keep(labels, &m.names, m.on))
}

fn sets(node: &BinaryNode, left: Vec<Sample>, right: Vec<Sample>) -> Vec<Sample> {
    let of = |s: &Sample| signature(node.matching.as_ref(), &s.0);
    let has = |samples: &[Sample], s: &Sample| samples.iter().any(|other| of(other) == of(s));
    match node.op {
        "and" => left.into_iter().filter(|s| has(&right, s)).collect(),
        "unless" => left.into_iter().filter(|s| !has(&right, s)).collect(),
        _ => {
            let more: Vec<Sample> = right.into_iter().filter(|s| !has(&left, s)).collect();
            left.into_iter().chain(more).collect()
        }
    }
}

fn join(node: &BinaryNode, left: Vec<Sample>, right: Vec<Sample>) -> Result<Vec<Sample>, String> {
    let matching = node.matching.as_ref();
    let (include, swapped) = match matching.map(|m| &m.cardinality) {
        Some(Cardinality::Left(include)) => (Some(include), false),
        Some(Cardinality::Right(include)) => (Some(include), true),
        _ => (None, false),
    };
    let (many, one, side) = if swapped {
        (right, left, "left")
    } else {
        (left, right, "right")
    };
    let mut partners: HashMap<SeriesLabels, &Sample> = HashMap::new();
    for sample in &one {
        if partners
            .insert(signature(matching, &sample.0), sample)
            .is_some()
        {
            return Err(format!("found duplicate series on the {side} hand-side"));
        }
    }
    let mut seen: Vec<(SeriesLabels, SeriesLabels)> = Vec::new();
    let mut result = Vec::new();
    for (labels, value) in &many {
        let key = signature(matching, labels);
        let Some((other, other_value)) = partners.get(&key) else {
            continue;
        };
        let labels = match include {
            None => key.clone(),
            Some(include) => {
                let mut labels = keep(labels, include, false);
                labels.extend(keep(other, include, true));
                labels.sort();
                labels
            }
        };
        if include.is_none() && seen.iter().any(|(k, _)| *k == key) {
            return Err("multiple matches for labels: many-to-one".to_owned());
        }
        if seen.contains(&(key.clone(), labels.clone())) {
            return Err("multiple matches for labels: grouping labels".to_owned());
        }
        seen.push((key, labels.clone()));
        let (l, r) = if swapped {
            (*other_value, *value)
        } else {
            (*value, *other_value)
        };
        result.extend(operate(node, l, r, l).map(|v| (labels, v)));
    }
    Ok(result)
}

fn near(a: f64, b: f64) -> bool {
    a == b || a.is_nan() && b.is_nan() || (a - b).abs() <= 1e-9 * a.abs().max(1.0)
}

fn check_step(got: &mut Vec<Sample>, want: &mut Vec<Sample>, context: &str) {
    let order = |a: &Sample, b: &Sample| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1));
    got.sort_by(order);
    want.sort_by(order);
    assert_eq!(got.len(), want.len(), "{got:?} {want:?} {context}");
    for (got, want) in got.iter().zip(want) {
        assert!(
            got.0 == want.0 && near(got.1, want.1),
            "{got:?} {want:?} {context}"
        );
    }
}

fn check(query: &str, fixed: &Fixed) {
    let Ok(Plan::Metric(plan)) = crate::parse(query) else {
        panic!("{query}");
    };
    let context = format!("{query} {fixed:?}");
    let limits = Limits {
        series: 1_000,
        memory: 1 << 20,
    };
    let want: Result<Vec<_>, String> = (0..STEPS.count())
        .map(|i| evaluate(&plan.root, fixed, STEPS.at(i)))
        .collect();
    match (metric_range(&plan, STEPS, limits, fixed), want) {
        (Ok(Value::Matrix(matrix)), Ok(steps)) => {
            for (i, mut want) in steps.into_iter().enumerate() {
                let mut got: Vec<Sample> = matrix
                    .series
                    .iter()
                    .flat_map(|s| {
                        let points = s.points.iter().filter(|(at, _)| *at == STEPS.at(i));
                        points.map(|(_, v)| (s.labels.clone(), *v))
                    })
                    .collect();
                check_step(&mut got, &mut want, &context);
            }
        }
        // Which of several faults is named is not said: there may be more at other steps.
        (Err(EvalError::Execution(_)), Err(_)) => {}
        (got, want) => panic!("{got:?} {want:?} {context}"),
    }
    instants(&plan, fixed, limits, &context);
}

fn instants(plan: &MetricPlan, fixed: &Fixed, limits: Limits, context: &str) {
    for i in 0..STEPS.count() {
        let now = STEPS.at(i);
        let want = evaluate(&plan.root, fixed, now);
        match (metric_instant(plan, now, limits, fixed), want) {
            (Ok(Value::Vector(samples)), Ok(mut want)) => {
                let mut got = samples.into_iter().map(|(l, _, v)| (l, v)).collect();
                check_step(&mut got, &mut want, context);
            }
            (Err(EvalError::Execution(text)), Err(want)) => {
                assert!(text.starts_with(&want), "{text} {want} {context}");
            }
            (got, want) => panic!("{got:?} {want:?} {context}"),
        }
    }
}

/// Few label sets, so that sides meet.
fn matrix() -> impl Strategy<Value = Matrix> {
    let labels = (0u8..3, 0u8..3, 0u8..2).prop_map(|(a, b, c)| {
        let pairs = [("a", a), ("b", b), ("c", c)];
        let set = pairs.into_iter().filter(|(_, v)| *v > 0);
        set.map(|(n, v)| (n.to_owned(), v.to_string())).collect()
    });
    let value = prop_oneof![
        8 => (-4i32..9).prop_map(f64::from),
        1 => Just(f64::NAN),
        1 => Just(0.5),
    ];
    let points = proptest::collection::btree_map(0i64..5, value, 1..5);
    let series: proptest::collection::BTreeMapStrategy<_, _> =
        proptest::collection::btree_map(labels, points, 0..6);
    series.prop_map(
        |series: std::collections::BTreeMap<SeriesLabels, _>| Matrix {
            series: series
                .into_iter()
                .map(
                    |(labels, points): (SeriesLabels, std::collections::BTreeMap<i64, f64>)| {
                        Series {
                            labels,
                            points: points
                                .into_iter()
                                .map(|(i, v)| (STEPS.at(i as usize), v))
                                .collect(),
                        }
                    },
                )
                .collect(),
        },
    )
}

fn names() -> impl Strategy<Value = String> {
    prop::sample::subsequence(vec!["a", "b", "c", "z"], 0..4).prop_map(|names| names.join(","))
}

fn query() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        6 => (0..3).prop_map(|n| format!("rate({{v=\"{n}\"}}[1s])")),
        1 => (0..3).prop_map(|n| format!("vector({n})")),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        let op = prop::sample::select(vec![
            "sum", "avg", "min", "max", "count", "stddev", "stdvar", "topk", "bottomk", "sort",
        ]);
        let word = prop::sample::select(vec!["by", "without"]);
        let aggregate =
            (op, word, names(), inner.clone()).prop_map(|(op, word, names, inner)| match op {
                "sort" => format!("sort({inner})"),
                // A sum directly around the leaf would be a part of it.
                "sum" => format!("sum {word} ({names}) (0 + {inner})"),
                "topk" | "bottomk" => format!("{op} {word} ({names}) (2, {inner})"),
                _ => format!("{op} {word} ({names}) ({inner})"),
            });
        let op = prop::sample::select(vec![
            "+", "-", "*", "/", "%", "^", "==", "!=", ">", "<", ">=", "<=", "> bool", "== bool",
        ]);
        let matching = prop_oneof![
            1 => Just(String::new()),
            2 => names().prop_map(|n| format!("on ({n})")),
            2 => names().prop_map(|n| format!("ignoring ({n})")),
            2 => (names(), names()).prop_map(|(n, i)| format!("on ({n}) group_left ({i})")),
            2 => (names(), names()).prop_map(|(n, i)| format!("ignoring ({n}) group_right ({i})")),
        ];
        let joined = (inner.clone(), op.clone(), matching, inner.clone())
            .prop_map(|(l, op, matching, r)| format!("({l}) {op} {matching} ({r})"));
        let set = prop::sample::select(vec!["and", "or", "unless"]);
        let on = prop_oneof![
            Just(String::new()),
            names().prop_map(|n| format!("on ({n})")),
            names().prop_map(|n| format!("ignoring ({n}) group_left ()")),
        ];
        let sets = (inner.clone(), set, on, inner.clone())
            .prop_map(|(l, op, on, r)| format!("({l}) {op} {on} ({r})"));
        let scalar = (inner, op, -2i32..3, any::<bool>()).prop_map(|(v, op, n, left)| {
            if left {
                format!("{n} {op} ({v})")
            } else {
                format!("({v}) {op} {n}")
            }
        });
        prop_oneof![3 => aggregate, 3 => joined, 2 => sets, 2 => scalar]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn vector_operations_work_step_by_step(
        query in query(),
        matrices in proptest::collection::vec(matrix(), 3),
    ) {
        check(&query, &Fixed(matrices));
    }
}
