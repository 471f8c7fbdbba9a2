//! Binary operators with a vector on at least one side.

use std::collections::HashMap;

use super::EvalError;
use super::arithmetic::{compare, compute, is_comparison, is_set};
use super::memory::{Memory, of_labels};
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

/// The labels by which samples of both sides meet. An empty label is none.
fn signature(matching: Option<&Matching>, labels: &SeriesLabels) -> SeriesLabels {
    let is_kept = |name: &String| matching.is_none_or(|m| m.names.contains(name) == m.on);
    let kept = labels.iter().filter(|(n, v)| !v.is_empty() && is_kept(n));
    kept.cloned().collect()
}

/// Two vectors, step by step.
pub(super) fn vectors(
    node: &BinaryNode,
    left: Matrix,
    right: Matrix,
    steps: Steps,
    memory: &mut Memory,
) -> Result<Matrix, EvalError> {
    let mut signatures = Signatures::default();
    let matching = node.matching.as_ref();
    let numbers = (
        signatures.number(matching, &left, memory)?,
        signatures.number(matching, &right, memory)?,
    );
    if is_set(node.op) {
        memory.take(steps.count())?;
        return Ok(sets(node.op, (left, right), numbers, steps));
    }
    let (include, swapped) = match matching.map(|m| &m.cardinality) {
        Some(Cardinality::Left(include)) => (Some(include.as_slice()), false),
        Some(Cardinality::Right(include)) => (Some(include.as_slice()), true),
        _ => (None, false),
    };
    let ((many, many_signatures), (one, one_signatures)) = if swapped {
        ((&right, numbers.1), (&left, numbers.0))
    } else {
        ((&left, numbers.0), (&right, numbers.1))
    };
    let mut join = Join {
        node,
        many,
        one,
        swapped,
        include,
        results: Results::new(many.series.len()),
    };
    let signatures = (many_signatures, one_signatures, signatures.ids.len());
    join.run(steps, signatures, memory)?;
    Ok(join.results.into_matrix())
}

/// Numbers of the signatures of both sides.
#[derive(Debug, Default)]
struct Signatures {
    ids: HashMap<SeriesLabels, usize>,
}

impl Signatures {
    /// The number of each series' signature.
    fn number(
        &mut self,
        matching: Option<&Matching>,
        matrix: &Matrix,
        memory: &mut Memory,
    ) -> Result<Vec<usize>, EvalError> {
        let mut numbers = Vec::with_capacity(matrix.series.len());
        for series in &matrix.series {
            let next = self.ids.len();
            let key = signature(matching, &series.labels);
            let size = of_labels(&key);
            let number = *self.ids.entry(key).or_insert(next);
            if number == next {
                memory.take(size)?;
            }
            numbers.push(number);
        }
        Ok(numbers)
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
    results: Results,
}

impl Join<'_> {
    /// `signatures`: those of the many side, those of the one side, and how many there are.
    fn run(
        &mut self,
        steps: Steps,
        (many_signatures, one_signatures, signatures): (Vec<usize>, Vec<usize>, usize),
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        let (many, one) = (self.many, self.one);
        let mut many_at = vec![0; many.series.len()];
        let mut one_at = vec![0; one.series.len()];
        let mut partner: Vec<Option<(usize, f64)>> = vec![None; signatures];
        let mut met = vec![false; signatures];
        for step in 0..steps.count() {
            let now = steps.at(step);
            partner.fill(None);
            met.fill(false);
            for (i, series) in one.series.iter().enumerate() {
                if let Some(value) = take(series, &mut one_at[i], now)
                    && partner[one_signatures[i]].replace((i, value)).is_some()
                {
                    return Err(self.duplicate());
                }
            }
            for (i, series) in many.series.iter().enumerate() {
                let Some(value) = take(series, &mut many_at[i], now) else {
                    continue;
                };
                let id = many_signatures[i];
                let Some((other, other_value)) = partner[id] else {
                    continue;
                };
                if self.include.is_none() && std::mem::replace(&mut met[id], true) {
                    return Err(multiple(
                        "many-to-one matching must be explicit (group_left/group_right)",
                    ));
                }
                let result = self.result(i, other, memory)?;
                // A sample that a comparison filters out has to be alone as well.
                if self.results.met[result].replace(step) == Some(step) {
                    return Err(multiple("grouping labels must ensure unique matches"));
                }
                let (left, right) = if self.swapped {
                    (other_value, value)
                } else {
                    (value, other_value)
                };
                if let Some(value) = combine(self.node, left, right, left) {
                    memory.push(&mut self.results.series[result].points, (now, value))?;
                }
            }
        }
        Ok(())
    }

    fn duplicate(&self) -> EvalError {
        let side = if self.swapped { "left" } else { "right" };
        EvalError::Execution(format!(
            "found duplicate series on the {side} hand-side;many-to-many matching not allowed: matching labels must be \
             unique on one side"
        ))
    }

    /// The result series of a series of the many side with one of the other.
    fn result(&mut self, i: usize, other: usize, memory: &mut Memory) -> Result<usize, EvalError> {
        if let Some((known, result)) = self.results.known[i]
            && known == other
        {
            return Ok(result);
        }
        let labels = self.labels(&self.many.series[i].labels, &self.one.series[other].labels);
        let result = self.results.of(labels, memory)?;
        self.results.known[i] = Some((other, result));
        Ok(result)
    }

    fn labels(&self, many: &SeriesLabels, one: &SeriesLabels) -> SeriesLabels {
        let Some(include) = self.include else {
            return signature(self.node.matching.as_ref(), many);
        };
        let mut labels: SeriesLabels = many
            .iter()
            .filter(|(n, v)| !v.is_empty() && !include.contains(n))
            .cloned()
            .collect();
        let copied = one
            .iter()
            .filter(|(n, v)| include.contains(n) && !v.is_empty());
        labels.extend(copied.cloned());
        labels.sort();
        labels
    }
}

fn multiple(why: &str) -> EvalError {
    EvalError::Execution(format!("multiple matches for labels: {why}"))
}

/// Result series of a join.
#[derive(Debug)]
struct Results {
    index: HashMap<SeriesLabels, usize>,
    series: Vec<Series>,
    /// The last step at which samples met for a series.
    met: Vec<Option<usize>>,
    /// By series of the many side: the last of the one side that it met, and their series here.
    known: Vec<Option<(usize, usize)>>,
}

impl Results {
    fn new(many: usize) -> Self {
        Results {
            index: HashMap::new(),
            series: Vec::new(),
            met: Vec::new(),
            known: vec![None; many],
        }
    }

    fn of(&mut self, labels: SeriesLabels, memory: &mut Memory) -> Result<usize, EvalError> {
        if let Some(result) = self.index.get(&labels) {
            return Ok(*result);
        }
        memory.take(2 * of_labels(&labels))?;
        let result = self.series.len();
        self.index.insert(labels.clone(), result);
        self.series.push(Series {
            labels,
            points: Vec::new(),
        });
        self.met.push(None);
        Ok(result)
    }

    /// In the order in which the many side met its partners: what was sorted stays so.
    fn into_matrix(self) -> Matrix {
        let mut series = self.series;
        series.retain(|s| !s.points.is_empty());
        Matrix { series }
    }
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

/// `and`, `unless`, `or`: whole samples, by signature, at each step. Series of one label set may come from both sides;
/// at each step only one of them has a sample.
fn sets(
    op: &str,
    (mut left, mut right): (Matrix, Matrix),
    numbers: (Vec<usize>, Vec<usize>),
    steps: Steps,
) -> Matrix {
    match op {
        "and" => filter((&mut left, &numbers.0), (&right, &numbers.1), true, steps),
        "unless" => filter((&mut left, &numbers.0), (&right, &numbers.1), false, steps),
        _ => {
            filter((&mut right, &numbers.1), (&left, &numbers.0), false, steps);
            left.series.append(&mut right.series);
        }
    }
    left
}

/// Keeps samples whose signature the other side has at the same step, or those whose it has not.
fn filter(
    (matrix, numbers): (&mut Matrix, &[usize]),
    (other, other_numbers): (&Matrix, &[usize]),
    keep: bool,
    steps: Steps,
) {
    let by_number = |numbers: &[usize]| {
        let mut order: Vec<usize> = (0..numbers.len()).collect();
        order.sort_by_key(|i| numbers[*i]);
        order
    };
    let others = by_number(other_numbers);
    let mut present = vec![false; steps.count()];
    let mut shown = None;
    for i in by_number(numbers) {
        let number = numbers[i];
        if shown.replace(number) != Some(number) {
            present.fill(false);
            let first = others.partition_point(|i| other_numbers[*i] < number);
            for other_series in others[first..]
                .iter()
                .take_while(|i| other_numbers[**i] == number)
            {
                for (at, _) in &other.series[*other_series].points {
                    if let Some(present) = present.get_mut(steps.index(*at)) {
                        *present = true;
                    }
                }
            }
        }
        let is_present = |at: i64| present.get(steps.index(at)).copied().unwrap_or(false);
        matrix.series[i]
            .points
            .retain(|(at, _)| is_present(*at) == keep);
    }
    matrix.series.retain(|s| !s.points.is_empty());
}
