//! Vector operations with one operand: over groups of series, step by step.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::memory::{Memory, POINT, of_labels};
use super::partial::is_settled;
use super::{EvalError, keeps};
use crate::ast::Grouping;
use crate::plan::{AggregateOp, Steps};
use crate::value::{Matrix, Series, SeriesLabels};

/// Members of groups, by the labels of the groups. An empty label makes a group of its own, also where `without` leaves
/// it out of the result: that may hold a label set twice.
type Groups = BTreeMap<SeriesLabels, Vec<usize>>;

/// Joins the series of each group to one. The result is in label order.
pub(super) fn fold(
    op: AggregateOp,
    grouping: &Grouping,
    mut inner: Matrix,
    steps: Steps,
    memory: &mut Memory,
) -> Result<Matrix, EvalError> {
    // Sums depend on the order of addition: fix it.
    inner.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    let groups = groups(grouping, &inner, memory)?;
    memory.take(steps.count().saturating_mul(size_of::<State>() + POINT))?;
    let mut states = vec![State::default(); steps.count()];
    let mut points = Vec::with_capacity(steps.count());
    let mut result = Matrix::default();
    for (mut labels, members) in groups {
        if grouping.without {
            labels.retain(|(_, value)| !value.is_empty());
        }
        states.fill(State::default());
        for member in members {
            let taken = std::mem::take(&mut inner.series[member].points);
            for (at, value) in &taken {
                if let Some(state) = states.get_mut(steps.index(*at)) {
                    state.add(op, *value);
                }
            }
            memory.give(taken.capacity() * POINT);
        }
        points.clear();
        let filled = states.iter().enumerate().filter(|(_, s)| s.count > 0);
        points.extend(filled.map(|(i, s)| (steps.at(i), s.result(op))));
        if !points.is_empty() {
            memory.take(points.len() * POINT)?;
            let points = points.as_slice().to_vec();
            result.series.push(Series { labels, points });
        }
    }
    Ok(result)
}

fn groups(grouping: &Grouping, inner: &Matrix, memory: &mut Memory) -> Result<Groups, EvalError> {
    let mut groups = Groups::new();
    memory.take(inner.series.len() * 2 * size_of::<usize>())?;
    for (i, series) in inner.series.iter().enumerate() {
        let kept = series.labels.iter().filter(|(n, _)| keeps(grouping, n));
        let labels: SeriesLabels = kept.cloned().collect();
        let size = of_labels(&labels);
        let members = groups.entry(labels).or_default();
        if members.is_empty() {
            memory.take(size)?;
        }
        members.push(i);
    }
    Ok(groups)
}

/// Running state of one group at one step.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    count: u64,
    /// Sum, minimum, maximum or mean.
    value: f64,
    /// Sum of squared distances from the mean.
    squares: f64,
}

impl State {
    fn add(&mut self, op: AggregateOp, value: f64) {
        self.count += 1;
        let n = self.count as f64;
        match op {
            _ if self.count == 1 => self.value = value,
            AggregateOp::Sum => self.value += value,
            AggregateOp::Min if value < self.value || self.value.is_nan() => self.value = value,
            AggregateOp::Max if value > self.value || self.value.is_nan() => self.value = value,
            AggregateOp::Avg if !is_settled(self.value, value) => {
                self.value += (value - self.value) / n;
            }
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                let delta = value - self.value;
                self.value += delta / n;
                self.squares += delta * (value - self.value);
            }
            _ => {}
        }
    }

    fn result(&self, op: AggregateOp) -> f64 {
        let n = self.count as f64;
        match op {
            AggregateOp::Count => n,
            AggregateOp::Stdvar => self.squares / n,
            AggregateOp::Stddev => (self.squares / n).sqrt(),
            _ => self.value,
        }
    }
}

/// `topk` and `bottomk`: per group and step; labels are kept. NaN never beats a number; equal values go by label
/// order. At an instant, the best of a group comes first.
pub(super) fn best(
    (k, largest): (usize, bool),
    grouping: &Grouping,
    mut inner: Matrix,
    steps: Steps,
    memory: &mut Memory,
) -> Result<Matrix, EvalError> {
    inner.series.sort_by(|a, b| a.labels.cmp(&b.labels));
    // What wins at a step is written over points that were looked at already. By series: points looked at, points kept.
    let mut cursors = vec![(0, 0); inner.series.len()];
    let mut candidates: Vec<(f64, usize)> = Vec::new();
    let mut ranking = Vec::new();
    for members in groups(grouping, &inner, memory)?.values() {
        for step in 0..steps.count() {
            let now = steps.at(step);
            candidates.clear();
            for &i in members {
                if let Some((at, value)) = inner.series[i].points.get(cursors[i].0)
                    && *at == now
                {
                    candidates.push((*value, i));
                    cursors[i].0 += 1;
                }
            }
            let better =
                |a: &(f64, usize), b: &(f64, usize)| order(a.0, b.0, largest).then(a.1.cmp(&b.1));
            if candidates.len() > k {
                candidates.select_nth_unstable_by(k, better);
                candidates.truncate(k);
            }
            if steps.count() == 1 {
                candidates.sort_unstable_by(better);
                ranking.extend(candidates.iter().map(|(_, i)| *i));
            }
            for (value, i) in &candidates {
                inner.series[*i].points[cursors[*i].1] = (now, *value);
                cursors[*i].1 += 1;
            }
        }
    }
    for (series, (_, kept)) in inner.series.iter_mut().zip(cursors) {
        series.points.truncate(kept);
    }
    if steps.count() == 1 {
        let ranked = ranking.into_iter();
        let series = ranked.map(|i| std::mem::take(&mut inner.series[i]));
        return Ok(Matrix {
            series: series.collect(),
        });
    }
    inner.series.retain(|s| !s.points.is_empty());
    Ok(inner)
}

/// Best first, NaN last.
fn order(a: f64, b: f64, largest: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if largest => b.partial_cmp(&a).unwrap_or(Ordering::Equal),
        _ => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// Orders an instant vector by value.
pub(super) fn sort(inner: &mut Matrix, descending: bool) {
    let value = |s: &Series| s.points.first().map_or(f64::NAN, |p| p.1);
    inner.series.sort_by(|a, b| {
        order(value(a), value(b), descending).then_with(|| a.labels.cmp(&b.labels))
    });
}
