//! Additive range aggregations in one pass over entries.
//!
//! Each series has a difference array over the steps: an entry adds one where the windows that hold it begin and takes
//! one away where they end, whatever range and step are. `finish` sums the differences up.

use std::collections::HashMap;

use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::{EvalError, keeps};
use crate::format::label_set;
use crate::pipeline::{ERROR, Outcome, PRESERVE};
use crate::plan::{Needs, RangeLeaf, RangeOp, Steps};
use crate::value::{Matrix, Series, SeriesLabels};

/// Names a series inside one [`Accumulator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesId(pub u32);

/// Bytes that a series is taken to need beside its labels and arrays: map entry, vectors, allocator.
const SERIES_OVERHEAD: usize = 256;

/// Computes a range aggregation from entries given in any order of streams (within a stream in time order when
/// [`Needs::Value`](crate::plan::Needs::Value)). Memory is series x steps, bounded by `budget`.
#[derive(Debug)]
pub struct Accumulator<'p> {
    leaf: &'p RangeLeaf,
    windows: Windows,
    counts_bytes: bool,
    max_series: usize,
    budget: usize,
    used: usize,
    /// Encoded labels to index into `series`.
    index: HashMap<Box<[u8]>, u32, Xxh3DefaultBuilder>,
    series: Vec<Sums>,
    key: Vec<u8>,
    /// A series of entries that failed, one of which is in a window.
    failed: Option<u32>,
}

#[derive(Debug)]
struct Sums {
    labels: SeriesLabels,
    /// Its entries fail the query, if any window holds one.
    failed: bool,
    /// Differences of the number of entries, one more than there are steps.
    entries: Box<[i64]>,
    /// Differences of the sum of line lengths; empty unless needed.
    bytes: Box<[i64]>,
}

/// Which steps' windows hold an entry.
#[derive(Debug, Clone)]
struct Windows {
    steps: Steps,
    count: usize,
    range: i64,
    /// First instant minus offset: an entry at or before it is in the first window, if in any.
    origin: i128,
    /// Steps that a window spans, if it is a whole number of them.
    whole: Option<i64>,
    /// The last answer, and the times `(after, upto]` for which it holds: entries come nearly in time order.
    cached: Option<(i64, i64, usize, usize)>,
}

impl Windows {
    fn new(leaf: &RangeLeaf, steps: Steps) -> Self {
        let step = steps.step.max(1);
        Windows {
            steps: Steps { step, ..steps },
            count: steps.count(),
            range: leaf.range,
            origin: i128::from(steps.start) - i128::from(leaf.offset),
            whole: (leaf.range % step == 0).then_some(leaf.range / step),
            cached: None,
        }
    }

    /// Indices of the first step whose window holds an entry at `ts`, and of the first after it whose does not.
    fn of(&mut self, ts: i64) -> (usize, usize) {
        if let Some((after, upto, from, to)) = self.cached
            && after < ts
            && ts <= upto
        {
            return (from, to);
        }
        let distance = i128::from(ts) - self.origin;
        let first = ceil_div(distance, self.steps.step);
        let end = match self.whole {
            Some(span) => first + i128::from(span),
            None => ceil_div(distance + i128::from(self.range), self.steps.step),
        };
        let clamp = |i: i128| usize::try_from(i.max(0)).map_or(self.count, |i| i.min(self.count));
        let answer = (clamp(first), clamp(end));
        if self.whole.is_some() {
            let upto = self.origin + first * i128::from(self.steps.step);
            let after = upto - i128::from(self.steps.step);
            if let (Ok(after), Ok(upto)) = (i64::try_from(after), i64::try_from(upto)) {
                self.cached = Some((after, upto, answer.0, answer.1));
            }
        }
        answer
    }
}

fn ceil_div(value: i128, by: i64) -> i128 {
    match i64::try_from(value) {
        Ok(value) => {
            let floor = value.div_euclid(by);
            i128::from(floor) + i128::from(value.rem_euclid(by) != 0)
        }
        Err(_) => {
            let by = i128::from(by);
            value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
        }
    }
}

impl<'p> Accumulator<'p> {
    /// An empty accumulator that may use `budget` bytes and hold `max_series` series. The latter holds only where the
    /// series reach the answer: those of `count(rate(..))` are bounded by the budget alone.
    #[must_use]
    pub fn new(leaf: &'p RangeLeaf, steps: Steps, max_series: usize, budget: usize) -> Self {
        Accumulator {
            leaf,
            windows: Windows::new(leaf, steps),
            counts_bytes: leaf.needs() == Needs::Bytes,
            max_series,
            budget,
            used: 0,
            index: HashMap::default(),
            series: Vec::new(),
            key: Vec::new(),
            failed: None,
        }
    }

    /// The series that an entry with these output labels belongs to (grouping applied). Callers cache it per
    /// (stream, metadata) when the pipeline sets no labels.
    ///
    /// # Errors
    /// [`EvalError::Bad`] over `max_series`, [`EvalError::Limit`] over the budget, and pipeline errors.
    pub fn series(&mut self, outcome: &Outcome<'_>) -> Result<SeriesId, EvalError> {
        self.check()?;
        let preserved = outcome.failed && outcome.labels.get(PRESERVE) == Some("true");
        let lost = outcome.failed && !preserved;
        // What failed is reported with all its labels.
        let grouping = self.leaf.grouping.as_ref().filter(|_| !lost);
        let kept = || {
            let all = outcome.labels.iter().map(|(name, value, _)| (name, value));
            all.filter(|(name, value)| {
                grouping.is_none_or(|grouping| {
                    keeps(grouping, name) && !(grouping.without && value.is_empty())
                })
            })
        };
        self.key.clear();
        for (name, value) in kept() {
            push_part(&mut self.key, name);
            push_part(&mut self.key, value);
        }
        if let Some(id) = self.index.get(self.key.as_slice()) {
            return Ok(SeriesId(*id));
        }
        let labels: SeriesLabels = kept()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        // A parser may have set a label of that name, which counts as a failure too.
        let failed = !preserved && labels.iter().any(|(name, _)| name == ERROR);
        let key = self.key.as_slice().into();
        self.insert(key, labels, failed)
    }

    /// Fails if an entry of a failed series is in a window.
    fn check(&self) -> Result<(), EvalError> {
        match self.failed {
            Some(i) => Err(pipeline_error(&self.series[i as usize].labels)),
            None => Ok(()),
        }
    }

    fn insert(
        &mut self,
        key: Box<[u8]>,
        labels: SeriesLabels,
        failed: bool,
    ) -> Result<SeriesId, EvalError> {
        if self.leaf.limited && self.series.len() >= self.max_series {
            return Err(EvalError::Bad(too_many_series(self.max_series)));
        }
        let arrays = if self.counts_bytes { 2 } else { 1 };
        let cost = self
            .windows
            .count
            .saturating_add(1)
            .saturating_mul(8 * arrays)
            .saturating_add(key.len() * 3 + labels.len() * 48 + SERIES_OVERHEAD);
        let used = self.used.saturating_add(cost);
        if used > self.budget {
            return Err(EvalError::Limit(format!(
                "the query needs more memory than it may use (limit: {} bytes); consider fewer series (aggregate with \
                 sum by) or a larger step",
                self.budget
            )));
        }
        self.used = used;
        let id = u32::try_from(self.series.len()).unwrap_or(u32::MAX);
        let zeros = || vec![0; self.windows.count + 1].into_boxed_slice();
        self.series.push(Sums {
            labels,
            failed,
            entries: zeros(),
            bytes: if self.counts_bytes {
                zeros()
            } else {
                Box::default()
            },
        });
        self.index.insert(key, id);
        Ok(SeriesId(id))
    }

    /// Adds one entry. `len` is the line's length in bytes.
    pub fn add(&mut self, series: SeriesId, ts: i64, len: usize) {
        self.add_many(series, ts, 1, i64::try_from(len).unwrap_or(i64::MAX));
    }

    /// Adds all entries of a bucket `(edge - bucket, edge]`, when [`RangeLeaf::aligned_to`] said so.
    pub fn add_bucket(&mut self, series: SeriesId, edge: i64, entries: u64, bytes: u64) {
        let clamp = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.add_many(series, edge, clamp(entries), clamp(bytes));
    }

    /// The last time up to which entries are in the same windows as one at `ts`, as far as that is known: at least `ts`.
    /// Buckets with edges from `ts` to there may be added as one.
    #[must_use]
    pub fn same_until(&mut self, ts: i64) -> i64 {
        self.windows.of(ts);
        match self.windows.cached {
            Some((after, upto, ..)) if after < ts && ts <= upto => upto,
            _ => ts,
        }
    }

    fn add_many(&mut self, series: SeriesId, ts: i64, entries: i64, bytes: i64) {
        let (from, to) = self.windows.of(ts);
        if from >= to {
            return;
        }
        let sums = &mut self.series[series.0 as usize];
        if sums.failed {
            self.failed = Some(series.0);
        }
        sums.entries[from] = sums.entries[from].wrapping_add(entries);
        sums.entries[to] = sums.entries[to].wrapping_sub(entries);
        if self.counts_bytes {
            sums.bytes[from] = sums.bytes[from].wrapping_add(bytes);
            sums.bytes[to] = sums.bytes[to].wrapping_sub(bytes);
        }
    }

    /// Adds what another worker collected for the same leaf and steps.
    ///
    /// # Errors
    /// As [`Accumulator::series`].
    pub fn merge(&mut self, other: Accumulator<'p>) -> Result<(), EvalError> {
        assert_eq!(
            self.windows.count, other.windows.count,
            "accumulators of one leaf have the same steps"
        );
        other.check()?;
        let mut series: Vec<Option<Sums>> = other.series.into_iter().map(Some).collect();
        for (key, id) in other.index {
            let Some(sums) = series[id as usize].take() else {
                continue;
            };
            let own = match self.index.get(&key) {
                Some(own) => *own,
                None => self.insert(key, sums.labels, sums.failed)?.0,
            };
            let own = &mut self.series[own as usize];
            add_all(&mut own.entries, &sums.entries);
            add_all(&mut own.bytes, &sums.bytes);
        }
        Ok(())
    }

    /// The result, in label order.
    ///
    /// # Errors
    /// [`EvalError::Bad`] if the pipeline failed on an entry that a window holds.
    pub fn finish(self) -> Result<Matrix, EvalError> {
        self.check()?;
        let Accumulator {
            leaf,
            windows,
            mut series,
            ..
        } = self;
        series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let seconds = leaf.range as f64 / 1e9;
        let finished = series.into_iter().filter_map(|sums| {
            let points = points(&sums, &windows.steps, leaf.op, seconds);
            (!points.is_empty()).then_some(Series {
                labels: sums.labels,
                points,
            })
        });
        Ok(Matrix {
            series: finished.collect(),
        })
    }

    /// Bytes in use, for the query's budget.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.used
    }
}

fn push_part(key: &mut Vec<u8>, part: &str) {
    key.extend_from_slice(&(part.len() as u32).to_le_bytes());
    key.extend_from_slice(part.as_bytes());
}

fn add_all(to: &mut [i64], from: &[i64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = to.wrapping_add(*from);
    }
}

fn points(sums: &Sums, steps: &Steps, op: RangeOp, seconds: f64) -> Vec<(i64, f64)> {
    let (mut entries, mut bytes) = (0i64, 0i64);
    let mut points = Vec::new();
    for i in 0..sums.entries.len() - 1 {
        entries = entries.wrapping_add(sums.entries[i]);
        bytes = bytes.wrapping_add(sums.bytes.get(i).copied().unwrap_or(0));
        if entries == 0 {
            continue;
        }
        let value = match op {
            RangeOp::Count => entries as f64,
            RangeOp::Rate => entries as f64 / seconds,
            RangeOp::Bytes => bytes as f64,
            RangeOp::BytesRate => bytes as f64 / seconds,
        };
        points.push((steps.at(i), value));
    }
    points.shrink_to_fit();
    points
}

/// Loki's text when the pipeline failed on an entry.
fn pipeline_error(labels: &SeriesLabels) -> EvalError {
    let error = labels.iter().find(|(name, _)| name == ERROR);
    let error = error.map_or("", |(_, value)| value.as_str());
    let series = label_set(labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    EvalError::Bad(format!(
        "pipeline error: '{error}' for series: '{series}'.\nUse a label filter to intentionally skip this error. (e.g \
         | __error__!=\"{error}\").\nTo skip all potential errors you can match empty errors.(e.g \
         __error__=\"\")\nThe label filter can also be specified after unwrap. (e.g | unwrap latency | \
         __error__=\"\" )\n"
    ))
}

/// Loki's text when a query's answer has too many series.
pub(super) fn too_many_series(limit: usize) -> String {
    format!(
        "maximum number of series ({limit}) reached for a single query; consider reducing query cardinality by adding \
         more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), \
         count() or topk()"
    )
}
