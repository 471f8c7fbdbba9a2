//! Values that have to be kept one by one: for quantiles, and for counters, whose values must be in the order of time.

use std::cmp::Ordering;

use super::EvalError;
use super::folds::Slide;
use super::memory::Memory;
use super::partial::{Counter, Partial};
use super::windows::{Buckets, Windows};

/// How many times the number of values the windows may hold together until a tree is quicker than looking at each window
/// for itself.
const DIRECT_FACTOR: usize = 8;

/// Values of one series.
#[derive(Debug, Default)]
struct Values {
    values: Vec<f64>,
    /// Buckets, and where their values begin.
    runs: Vec<(u32, u32)>,
}

/// Values for quantiles. Their times do not matter, only their buckets.
#[derive(Debug)]
pub(super) struct Quantiles {
    quantile: f64,
    series: Vec<Values>,
}

impl Quantiles {
    pub(super) fn new(quantile: f64) -> Self {
        Quantiles {
            quantile,
            series: Vec::new(),
        }
    }

    pub(super) fn insert(&mut self) {
        self.series.push(Values::default());
    }

    #[inline]
    pub(super) fn add(
        &mut self,
        series: usize,
        bucket: u32,
        value: f64,
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        let Values { values, runs } = &mut self.series[series];
        if runs.last().is_none_or(|(last, _)| *last != bucket) {
            let begin = u32::try_from(values.len()).map_err(|_| {
                EvalError::Limit("the query has more values in a series than it may have".into())
            })?;
            memory.push(runs, (bucket, begin))?;
        }
        memory.push(values, value)
    }

    /// Adds the values of the other's series `theirs` to `series`.
    pub(super) fn join(
        &mut self,
        series: usize,
        other: &Quantiles,
        theirs: usize,
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        let Values { values, runs } = &other.series[theirs];
        for (i, (bucket, begin)) in runs.iter().enumerate() {
            let end = runs.get(i + 1).map_or(values.len(), |(_, at)| *at as usize);
            for value in &values[*begin as usize..end] {
                self.add(series, *bucket, *value, memory)?;
            }
        }
        Ok(())
    }

    /// Calls `point` with the quantile of every step that has values. The series is given up.
    pub(super) fn finish(
        &mut self,
        series: usize,
        spans: &[Buckets],
        memory: &mut Memory,
        mut point: impl FnMut(usize, f64),
    ) -> Result<(), EvalError> {
        let mut taken = std::mem::take(&mut self.series[series]);
        let held = taken.memory();
        taken.sort(memory)?;
        let windows = taken.windows(spans);
        let all = taken.values.len();
        let together: usize = windows
            .iter()
            .map(|(_, from, to)| (to - from) as usize)
            .sum();
        if together <= all.saturating_mul(DIRECT_FACTOR) {
            let largest = windows
                .iter()
                .map(|(_, from, to)| (to - from) as usize)
                .max();
            let size = largest.unwrap_or(0) * 8;
            memory.take(size)?;
            let mut window = Vec::with_capacity(largest.unwrap_or(0));
            for (step, from, to) in windows {
                window.clear();
                window.extend_from_slice(&taken.values[from as usize..to as usize]);
                point(step, of_values(self.quantile, &mut window));
            }
            memory.give(size);
        } else {
            let size = all * 3 * size_of::<u32>();
            memory.take(size)?;
            let mut ranks = Ranks::new(&taken.values);
            for (step, from, to) in windows {
                ranks.slide(from as usize, to as usize);
                point(step, ranks.quantile(self.quantile, &taken.values));
            }
            memory.give(size);
        }
        memory.give(held);
        Ok(())
    }
}

impl Values {
    fn memory(&self) -> usize {
        self.values.capacity() * 8 + self.runs.capacity() * size_of::<(u32, u32)>()
    }

    /// Brings the values into the order of their buckets.
    fn sort(&mut self, memory: &mut Memory) -> Result<(), EvalError> {
        if self.runs.is_sorted_by_key(|(bucket, _)| *bucket) {
            return Ok(());
        }
        let size = self.values.len() * 8 + self.runs.len() * size_of::<(u32, u32, u32)>();
        memory.take(size)?;
        let ends = self.runs.iter().skip(1).map(|(_, begin)| *begin);
        let ends = ends.chain([self.values.len() as u32]);
        let mut runs: Vec<(u32, u32, u32)> = self
            .runs
            .iter()
            .zip(ends)
            .map(|(r, end)| (r.0, r.1, end))
            .collect();
        runs.sort_by_key(|run| run.0);
        let mut values = Vec::with_capacity(self.values.len());
        self.runs.clear();
        for (bucket, begin, end) in runs {
            self.runs.push((bucket, values.len() as u32));
            values.extend_from_slice(&self.values[begin as usize..end as usize]);
        }
        self.values = values;
        memory.give(size);
        Ok(())
    }

    /// Steps that have values, and where those begin and end. Values must be in order.
    fn windows(&self, spans: &[Buckets]) -> Vec<(usize, u32, u32)> {
        let place = |run: usize| {
            let run = self.runs.get(run);
            run.map_or(self.values.len() as u32, |(_, begin)| *begin)
        };
        let (mut from, mut to) = (0, 0);
        let mut windows = Vec::new();
        for (step, (first, last)) in spans.iter().enumerate() {
            while self
                .runs
                .get(from)
                .is_some_and(|(bucket, _)| bucket < first)
            {
                from += 1;
            }
            while self.runs.get(to).is_some_and(|(bucket, _)| bucket <= last) {
                to += 1;
            }
            if place(from) < place(to) {
                windows.push((step, place(from), place(to)));
            }
        }
        windows
    }
}

/// NaN is smaller than every number.
fn order(a: f64, b: f64) -> Ordering {
    a.partial_cmp(&b)
        .unwrap_or_else(|| b.is_nan().cmp(&a.is_nan()))
}

/// Between which of `n` ordered values a quantile lies, and how near the second.
fn place(quantile: f64, n: usize) -> (usize, usize, f64) {
    let rank = quantile * (n - 1) as f64;
    let lower = rank.floor().max(0.0);
    let lower = (lower as usize).min(n - 1);
    (lower, (lower + 1).min(n - 1), rank - rank.floor())
}

fn outside(quantile: f64) -> Option<f64> {
    if quantile < 0.0 {
        Some(f64::NEG_INFINITY)
    } else if quantile > 1.0 {
        Some(f64::INFINITY)
    } else {
        None
    }
}

/// The quantile of at least one value, whose order is lost.
fn of_values(quantile: f64, values: &mut [f64]) -> f64 {
    if let Some(value) = outside(quantile) {
        return value;
    }
    let (lower, upper, weight) = place(quantile, values.len());
    let (_, low, above) = values.select_nth_unstable_by(lower, |a, b| order(*a, *b));
    let low = *low;
    let high = if upper == lower {
        low
    } else {
        let least = above.iter().copied().min_by(|a, b| order(*a, *b));
        least.unwrap_or(low)
    };
    low * (1.0 - weight) + high * weight
}

/// The values of a window by rank among all values of the series: a tree of counts (Fenwick's), in which values come and
/// go, and the n-th is found, in logarithmic time.
#[derive(Debug)]
struct Ranks {
    /// Indices of values, in the order of values.
    order: Vec<u32>,
    /// Rank of each value.
    ranks: Vec<u32>,
    tree: Vec<u32>,
    window: (usize, usize),
}

impl Ranks {
    fn new(values: &[f64]) -> Self {
        let mut order: Vec<u32> = (0..values.len() as u32).collect();
        order.sort_unstable_by(|a, b| self::order(values[*a as usize], values[*b as usize]));
        let mut ranks = vec![0; values.len()];
        for (rank, at) in (0u32..).zip(&order) {
            ranks[*at as usize] = rank;
        }
        Ranks {
            order,
            ranks,
            tree: vec![0; values.len()],
            window: (0, 0),
        }
    }

    /// Moves the window on. Neither end ever falls.
    fn slide(&mut self, from: usize, to: usize) {
        for at in self.window.1..to {
            self.count(at, 1);
        }
        for at in self.window.0..from {
            self.count(at, u32::MAX);
        }
        self.window = (from, to);
    }

    /// Adds 1, or -1 as the number that wraps round to it.
    fn count(&mut self, at: usize, by: u32) {
        let mut node = self.ranks[at] as usize + 1;
        while node <= self.tree.len() {
            self.tree[node - 1] = self.tree[node - 1].wrapping_add(by);
            node += node & node.wrapping_neg();
        }
    }

    /// The rank of the window's value with `below` values before it.
    fn nth(&self, below: usize) -> usize {
        let (mut at, mut left) = (0, below);
        let mut half = self.tree.len().next_power_of_two();
        while half > 0 {
            if at + half <= self.tree.len() && self.tree[at + half - 1] as usize <= left {
                at += half;
                left -= self.tree[at - 1] as usize;
            }
            half /= 2;
        }
        at
    }

    fn quantile(&self, quantile: f64, values: &[f64]) -> f64 {
        if let Some(value) = outside(quantile) {
            return value;
        }
        let (lower, upper, weight) = place(quantile, self.window.1 - self.window.0);
        let value = |below: usize| values[self.order[self.nth(below)] as usize];
        value(lower) * (1.0 - weight) + value(upper) * weight
    }
}

/// Values of counters, with their times.
#[derive(Debug, Default)]
pub(super) struct Counters {
    series: Vec<Vec<(i64, f64)>>,
    slide: Slide<Counter>,
}

impl Counters {
    pub(super) fn insert(&mut self) {
        self.series.push(Vec::new());
    }

    pub(super) fn add(
        &mut self,
        series: usize,
        sample: (i64, f64),
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        memory.push(&mut self.series[series], sample)
    }

    /// Adds the values of the other's series `theirs` to `series`.
    pub(super) fn join(
        &mut self,
        series: usize,
        other: &Counters,
        theirs: usize,
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        for sample in &other.series[theirs] {
            self.add(series, *sample, memory)?;
        }
        Ok(())
    }

    /// Bytes that [`Counters::finish`] needs beside what it sorts.
    pub(super) fn scratch(buckets: usize) -> usize {
        buckets.saturating_mul(2 * size_of::<Counter>())
    }

    /// Calls `point` with the growth in a second at every step that has values. The series is given up.
    pub(super) fn finish(
        &mut self,
        series: usize,
        (windows, spans): (&mut Windows, &[Buckets]),
        memory: &mut Memory,
        mut point: impl FnMut(usize, f64),
    ) -> Result<(), EvalError> {
        let mut samples = std::mem::take(&mut self.series[series]);
        let held = samples.capacity() * size_of::<(i64, f64)>();
        if !samples.is_sorted_by_key(|(ts, _)| *ts) {
            // A stable sort may take half as much again.
            memory.take(held)?;
            samples.sort_by_key(|(ts, _)| *ts);
            memory.give(held);
        }
        let mut states = std::mem::take(&mut self.slide.states);
        states.clear();
        states.resize(windows.buckets(), Counter::default());
        for (ts, value) in samples {
            if let Some(held) = windows.of(ts) {
                states[windows.bucket(held) as usize].add(ts, value);
            }
        }
        self.slide.run(&states, spans, |step, counter| {
            point(step, counter.rate(windows.start(step), windows.end(step)));
        });
        self.slide.states = states;
        memory.give(held);
        Ok(())
    }
}
