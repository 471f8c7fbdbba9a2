//! Vector operations with one operand: over groups of series, step by step.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::keeps;
use crate::ast::Grouping;
use crate::plan::{AggregateOp, Steps};
use crate::value::{Matrix, Series, SeriesLabels};

/// Applies an operation. The result is in label order, except after `sort` of an instant.
pub(super) fn aggregate(
    op: AggregateOp,
    grouping: &Grouping,
    mut inner: Matrix,
    steps: Steps,
) -> Matrix {
    match op {
        AggregateOp::Sort => sort(inner, steps, false),
        AggregateOp::SortDesc => sort(inner, steps, true),
        _ => {
            // Sums depend on the order of addition: fix it.
            inner.series.sort_by(|a, b| a.labels.cmp(&b.labels));
            match op {
                AggregateOp::TopK(k) => best(k, true, grouping, inner, steps),
                AggregateOp::BottomK(k) => best(k, false, grouping, inner, steps),
                _ => fold_groups(op, grouping, &inner, steps),
            }
        }
    }
}

/// The labels of the group that a series belongs to.
fn group_labels(grouping: &Grouping, labels: &SeriesLabels) -> SeriesLabels {
    let kept = labels.iter().filter(|(name, _)| keeps(grouping, name));
    kept.cloned().collect()
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
            AggregateOp::Avg => self.add_to_mean(value, n),
            AggregateOp::Stddev | AggregateOp::Stdvar => {
                let delta = value - self.value;
                self.value += delta / n;
                self.squares += delta * (value - self.value);
            }
            _ => {}
        }
    }

    /// An infinite mean is left alone by finite values and by infinity of its own sign.
    fn add_to_mean(&mut self, value: f64, n: f64) {
        if self.value.is_infinite() {
            let same_sign = value.is_infinite() && (self.value > 0.0) == (value > 0.0);
            if same_sign || value.is_finite() {
                return;
            }
        }
        self.value += value / n - self.value / n;
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

fn fold_groups(op: AggregateOp, grouping: &Grouping, inner: &Matrix, steps: Steps) -> Matrix {
    let mut groups: BTreeMap<SeriesLabels, Vec<State>> = BTreeMap::new();
    for series in &inner.series {
        let states = groups
            .entry(group_labels(grouping, &series.labels))
            .or_insert_with(|| vec![State::default(); steps.count()]);
        for (at, value) in &series.points {
            if let Some(state) = states.get_mut(steps.index(*at)) {
                state.add(op, *value);
            }
        }
    }
    let series = groups.into_iter().map(|(labels, states)| {
        let filled = states.iter().enumerate().filter(|(_, s)| s.count > 0);
        let points = filled.map(|(i, s)| (steps.at(i), s.result(op))).collect();
        Series { labels, points }
    });
    Matrix {
        series: series.filter(|s| !s.points.is_empty()).collect(),
    }
}

/// `topk` and `bottomk`: per group and step; labels are kept. NaN never beats a number; equal values go by label
/// order.
fn best(k: usize, largest: bool, grouping: &Grouping, inner: Matrix, steps: Steps) -> Matrix {
    let mut groups: BTreeMap<SeriesLabels, Vec<usize>> = BTreeMap::new();
    for (i, series) in inner.series.iter().enumerate() {
        let labels = group_labels(grouping, &series.labels);
        groups.entry(labels).or_default().push(i);
    }
    let mut kept: Vec<Vec<(i64, f64)>> = vec![Vec::new(); inner.series.len()];
    let mut cursors = vec![0; inner.series.len()];
    let mut candidates: Vec<(f64, usize)> = Vec::new();
    for step in 0..steps.count() {
        let now = steps.at(step);
        for members in groups.values() {
            candidates.clear();
            for &i in members {
                if let Some((at, value)) = inner.series[i].points.get(cursors[i])
                    && *at == now
                {
                    candidates.push((*value, i));
                    cursors[i] += 1;
                }
            }
            candidates.sort_by(|a, b| order(a.0, b.0, largest).then(a.1.cmp(&b.1)));
            for (value, i) in candidates.iter().take(k) {
                kept[*i].push((now, *value));
            }
        }
    }
    let series = inner.series.into_iter().zip(kept);
    Matrix {
        series: series
            .filter(|(_, points)| !points.is_empty())
            .map(|(series, points)| Series {
                labels: series.labels,
                points,
            })
            .collect(),
    }
}

/// Best first, NaN last.
fn order(a: f64, b: f64, largest: bool) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        _ if largest => b.total_cmp(&a),
        _ => a.total_cmp(&b),
    }
}

/// Orders an instant vector by value. Without effect on a range.
fn sort(mut inner: Matrix, steps: Steps, descending: bool) -> Matrix {
    if steps.count() == 1 {
        let value = |s: &Series| s.points.first().map_or(f64::NAN, |p| p.1);
        inner.series.sort_by(|a, b| {
            order(value(a), value(b), descending).then_with(|| a.labels.cmp(&b.labels))
        });
    }
    inner
}
