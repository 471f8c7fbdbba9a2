//! Binary operators with a vector on at least one side (logql.md section 11).

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::EvalError;
use super::arithmetic::{compare, compute, is_comparison, is_set};
use crate::ast::{Cardinality, Matching};
use crate::plan::{BinaryNode, Steps};
use crate::value::{Matrix, Series, SeriesLabels};

/// What an operator makes of two numbers; `None`: the sample is filtered out. A comparison keeps `kept`.
fn combine(node: &BinaryNode, left: f64, right: f64, kept: f64) -> Option<f64> {
    if !is_comparison(node.op) {
        return Some(compute(node.op, left, right));
    }
    let holds = compare(node.op, left, right);
    if node.bool_result {
        return Some(f64::from(u8::from(holds)));
    }
    holds.then_some(kept)
}

/// A literal with a vector: labels are kept.
pub(super) fn with_scalar(
    node: &BinaryNode,
    mut vector: Matrix,
    scalar: f64,
    scalar_is_left: bool,
) -> Matrix {
    for series in &mut vector.series {
        series.points.retain_mut(|(_, value)| {
            let (left, right) = if scalar_is_left {
                (scalar, *value)
            } else {
                (*value, scalar)
            };
            match combine(node, left, right, *value) {
                Some(result) => {
                    *value = result;
                    true
                }
                None => false,
            }
        });
    }
    vector.series.retain(|s| !s.points.is_empty());
    vector
}

/// The labels by which samples of both sides meet.
fn signature(matching: Option<&Matching>, labels: &SeriesLabels) -> SeriesLabels {
    match matching {
        None => labels.clone(),
        Some(m) => {
            let kept = labels.iter().filter(|(n, _)| m.names.contains(n) == m.on);
            kept.cloned().collect()
        }
    }
}

/// Two vectors, step by step.
pub(super) fn vectors(
    node: &BinaryNode,
    left: Matrix,
    right: Matrix,
    steps: Steps,
) -> Result<Matrix, EvalError> {
    if is_set(node.op) {
        return Ok(sets(node, left, right, steps));
    }
    match node.matching.as_ref().map(|m| &m.cardinality) {
        Some(Cardinality::Left(include)) => {
            let join = Join::new(node, &left, &right, false, Some(include));
            join.run(steps)
        }
        Some(Cardinality::Right(include)) => {
            let join = Join::new(node, &right, &left, true, Some(include));
            join.run(steps)
        }
        _ => Join::new(node, &left, &right, false, None).run(steps),
    }
}

/// A join of a side that may have many samples for a signature with one that has one.
struct Join<'m> {
    node: &'m BinaryNode,
    many: &'m Matrix,
    one: &'m Matrix,
    /// The many side is the right operand.
    swapped: bool,
    /// Labels to copy from the one side; `None`: each sample of the many side must be alone too.
    include: Option<&'m [String]>,
    /// For each series, the number of its signature.
    many_signatures: Vec<usize>,
    one_signatures: Vec<usize>,
    signatures: usize,
}

impl<'m> Join<'m> {
    fn new(
        node: &'m BinaryNode,
        many: &'m Matrix,
        one: &'m Matrix,
        swapped: bool,
        include: Option<&'m [String]>,
    ) -> Self {
        let mut ids: HashMap<SeriesLabels, usize> = HashMap::new();
        let mut number = |matrix: &Matrix| {
            let mut numbers = Vec::with_capacity(matrix.series.len());
            for series in &matrix.series {
                let next = ids.len();
                let key = signature(node.matching.as_ref(), &series.labels);
                numbers.push(*ids.entry(key).or_insert(next));
            }
            numbers
        };
        let many_signatures = number(many);
        let one_signatures = number(one);
        Join {
            node,
            many,
            one,
            swapped,
            include,
            many_signatures,
            one_signatures,
            signatures: ids.len(),
        }
    }

    fn run(&self, steps: Steps) -> Result<Matrix, EvalError> {
        let mut results: HashMap<SeriesLabels, Vec<(i64, f64)>> = HashMap::new();
        let mut many_at = vec![0; self.many.series.len()];
        let mut one_at = vec![0; self.one.series.len()];
        let mut partner: Vec<Option<(usize, f64)>> = vec![None; self.signatures];
        let mut met = vec![false; self.signatures];
        for step in 0..steps.count() {
            let now = steps.at(step);
            partner.fill(None);
            met.fill(false);
            for (i, series) in self.one.series.iter().enumerate() {
                if let Some(value) = take(series, &mut one_at[i], now)
                    && partner[self.one_signatures[i]]
                        .replace((i, value))
                        .is_some()
                {
                    return Err(self.duplicate());
                }
            }
            for (i, series) in self.many.series.iter().enumerate() {
                let Some(value) = take(series, &mut many_at[i], now) else {
                    continue;
                };
                let id = self.many_signatures[i];
                let Some((other, other_value)) = partner[id] else {
                    continue;
                };
                if self.include.is_none() && std::mem::replace(&mut met[id], true) {
                    return Err(EvalError::Execution(
                        "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)"
                            .to_owned(),
                    ));
                }
                let (left, right) = if self.swapped {
                    (other_value, value)
                } else {
                    (value, other_value)
                };
                if let Some(result) = combine(self.node, left, right, left) {
                    let labels = self.labels(&series.labels, &self.one.series[other].labels);
                    push_result(&mut results, labels, now, result)?;
                }
            }
        }
        Ok(in_order(results))
    }

    fn duplicate(&self) -> EvalError {
        let side = if self.swapped { "left" } else { "right" };
        EvalError::Execution(format!(
            "found duplicate series on the {side} hand-side;many-to-many matching not allowed: matching labels must be \
             unique on one side"
        ))
    }

    fn labels(&self, many: &SeriesLabels, one: &SeriesLabels) -> SeriesLabels {
        let Some(include) = self.include else {
            return signature(self.node.matching.as_ref(), many);
        };
        let mut labels: SeriesLabels = many
            .iter()
            .filter(|(n, _)| !include.contains(n))
            .cloned()
            .collect();
        let copied = one.iter().filter(|(n, _)| include.contains(n));
        labels.extend(copied.cloned());
        labels.sort();
        labels
    }
}

fn push_result(
    results: &mut HashMap<SeriesLabels, Vec<(i64, f64)>>,
    labels: SeriesLabels,
    now: i64,
    value: f64,
) -> Result<(), EvalError> {
    match results.entry(labels) {
        Entry::Vacant(entry) => {
            entry.insert(vec![(now, value)]);
        }
        Entry::Occupied(mut entry) => {
            if entry.get().last().is_some_and(|(at, _)| *at == now) {
                return Err(EvalError::Execution(
                    "multiple matches for labels: grouping labels must ensure unique matches"
                        .to_owned(),
                ));
            }
            entry.get_mut().push((now, value));
        }
    }
    Ok(())
}

fn in_order(results: HashMap<SeriesLabels, Vec<(i64, f64)>>) -> Matrix {
    let mut series: Vec<Series> = results
        .into_iter()
        .map(|(labels, points)| Series { labels, points })
        .collect();
    series.sort_by(|a, b| a.labels.cmp(&b.labels));
    Matrix { series }
}

/// The value of a series at an instant; the cursor moves on.
fn take(series: &Series, cursor: &mut usize, now: i64) -> Option<f64> {
    match series.points.get(*cursor) {
        Some((at, value)) if *at == now => {
            *cursor += 1;
            Some(*value)
        }
        _ => None,
    }
}

/// `and`, `unless`, `or`: whole samples, by signature, at each step.
fn sets(node: &BinaryNode, left: Matrix, right: Matrix, steps: Steps) -> Matrix {
    let matching = node.matching.as_ref();
    let present = |matrix: &Matrix| {
        let mut seen: HashMap<SeriesLabels, Vec<bool>> = HashMap::new();
        for series in &matrix.series {
            let at = seen
                .entry(signature(matching, &series.labels))
                .or_insert_with(|| vec![false; steps.count()]);
            for (time, _) in &series.points {
                if let Some(slot) = at.get_mut(steps.index(*time)) {
                    *slot = true;
                }
            }
        }
        seen
    };
    let filter = |mut matrix: Matrix, seen: &HashMap<SeriesLabels, Vec<bool>>, keep: bool| {
        for series in &mut matrix.series {
            let at = seen.get(&signature(matching, &series.labels));
            series.points.retain(|(time, _)| {
                let found = at.and_then(|at| at.get(steps.index(*time)));
                found.copied().unwrap_or(false) == keep
            });
        }
        matrix.series.retain(|s| !s.points.is_empty());
        matrix
    };
    match node.op {
        "and" => filter(left, &present(&right), true),
        "unless" => filter(left, &present(&right), false),
        _ => {
            let seen = present(&left);
            let mut result = left;
            let extra = filter(right, &seen, false);
            union(&mut result, extra);
            result
        }
    }
}

/// Adds series; points of one label set become one series.
fn union(result: &mut Matrix, extra: Matrix) {
    let mut index: HashMap<SeriesLabels, usize> = HashMap::new();
    for (i, series) in result.series.iter().enumerate() {
        index.entry(series.labels.clone()).or_insert(i);
    }
    for series in extra.series {
        match index.get(&series.labels) {
            Some(i) => {
                let points = &mut result.series[*i].points;
                points.extend(series.points);
                points.sort_by_key(|(at, _)| *at);
            }
            None => result.series.push(series),
        }
    }
}
