//! Range aggregations in one pass over entries.
//!
//! | operations | what a series keeps |
//! |---|---|
//! | counts and bytes, `absent_over_time` | differences between steps ([`super::counts`]) |
//! | sums, means, variances, extremes, first and last values | a state for each bucket ([`super::folds`]) |
//! | quantiles, counters | every value ([`super::samples`]) |
//!
//! A series takes nothing but its labels until an entry of it lies in a window; then it counts for the limit on series,
//! and errors of its entries are errors of the query.

use std::sync::Arc;

use super::EvalError;
use super::counts::Counts;
use super::folds::Folds;
use super::keys::parts;
use super::memory::{Grants, Memory, POINT, of_labels, over_budget};
use super::namer::{Namer, New};
use super::partial::{First, Last, Max, Mean, Min, Sum, Variance};
use super::samples::{Counters, Quantiles};
use super::windows::{Buckets, Windows};
use crate::matcher::MatchOp;
use crate::pipeline::{ERROR, Outcome};
use crate::plan::{RangeLeaf, RangeOp, Steps};
use crate::value::{Matrix, Series, SeriesLabels};

/// Names a series inside one [`Accumulator`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeriesId(pub u32);

/// What entries are where their line plays no part: of a stream with certain metadata, say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Known {
    /// Their series.
    pub series: SeriesId,
    /// Their value; 0 unless the leaf asks for one.
    value: f64,
}

/// Steps of a query. Beyond, numbers of buckets would not fit the space they have.
const MAX_STEPS: usize = 1 << 28;

/// What a series has met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No entry that lies in a window.
    Waiting,
    /// The same, and such an entry fails the query.
    Failing,
    Reached,
}

/// What is collected.
#[derive(Debug)]
enum Kind {
    Counts(Counts),
    Sum(Folds<Sum>),
    Mean(Folds<Mean>),
    Variance(Folds<Variance>),
    Min(Folds<Min>),
    Max(Folds<Max>),
    First(Folds<First>),
    Last(Folds<Last>),
    Quantiles(Quantiles),
    Counters(Counters),
}

/// Runs an expression for whatever kind folds values.
macro_rules! folds {
    ($kind:expr, $folds:ident => $each:expr, $($rest:tt)*) => {
        match $kind {
            Kind::Sum($folds) => $each,
            Kind::Mean($folds) => $each,
            Kind::Variance($folds) => $each,
            Kind::Min($folds) => $each,
            Kind::Max($folds) => $each,
            Kind::First($folds) => $each,
            Kind::Last($folds) => $each,
            $($rest)*
        }
    };
}

impl Kind {
    fn new(leaf: &RangeLeaf, windows: &Windows) -> Kind {
        let (steps, buckets) = (windows.count(), windows.buckets());
        match leaf.op {
            RangeOp::Count | RangeOp::Rate | RangeOp::Absent => {
                Kind::Counts(Counts::new(steps, false))
            }
            RangeOp::Bytes | RangeOp::BytesRate => Kind::Counts(Counts::new(steps, true)),
            RangeOp::Sum | RangeOp::SumRate => Kind::Sum(Folds::new(buckets)),
            RangeOp::Avg => Kind::Mean(Folds::new(buckets)),
            RangeOp::Stdvar | RangeOp::Stddev => Kind::Variance(Folds::new(buckets)),
            RangeOp::Min => Kind::Min(Folds::new(buckets)),
            RangeOp::Max => Kind::Max(Folds::new(buckets)),
            RangeOp::First => Kind::First(Folds::new(buckets)),
            RangeOp::Last => Kind::Last(Folds::new(buckets)),
            RangeOp::Quantile(quantile) => Kind::Quantiles(Quantiles::new(quantile)),
            RangeOp::RateCounter => Kind::Counters(Counters::default()),
        }
    }

    fn insert(&mut self) {
        folds!(self, folds => folds.insert(),
            Kind::Counts(counts) => counts.insert(),
            Kind::Quantiles(quantiles) => quantiles.insert(),
            Kind::Counters(counters) => counters.insert(),
        );
    }

    /// Bytes that making points takes.
    fn scratch(&self, windows: &Windows) -> usize {
        folds!(self, folds => folds.scratch(),
            Kind::Counts(counts) => counts.scratch(),
            Kind::Quantiles(_) => windows.count().saturating_mul(POINT),
            Kind::Counters(_) => Counters::scratch(windows.buckets()),
        )
    }
}

/// Computes a range aggregation from entries given in any order of streams (within a stream in the order in which they
/// arrived, where times are equal). All that it holds counts against `budget`.
#[derive(Debug)]
pub struct Accumulator<'p> {
    leaf: &'p RangeLeaf,
    windows: Windows,
    max_series: usize,
    memory: Memory,
    namer: Namer<'p>,
    states: Vec<State>,
    /// How many series have entries in windows.
    reached: usize,
    kind: Kind,
}

/// Where the entries that pass a pipeline go: an [`Accumulator`], or a [`Collector`](super::Collector) on the way to one.
pub trait Collect {
    /// See [`Accumulator::series`].
    ///
    /// # Errors
    /// As there.
    fn series(&mut self, outcome: &Outcome<'_>) -> Result<SeriesId, EvalError>;
    /// See [`Accumulator::series_of_stream`].
    ///
    /// # Errors
    /// As there.
    fn series_of_stream(
        &mut self,
        stream: u32,
        outcome: &Outcome<'_>,
    ) -> Result<SeriesId, EvalError>;
    /// See [`Accumulator::add`].
    ///
    /// # Errors
    /// As there.
    fn add(&mut self, series: SeriesId, ts: i64, len: usize) -> Result<(), EvalError>;
    /// See [`Accumulator::add_value`].
    ///
    /// # Errors
    /// As there.
    fn add_value(&mut self, series: SeriesId, ts: i64, value: f64) -> Result<(), EvalError>;
    /// Whether entries are added for a value.
    fn unwraps(&self) -> bool;

    /// Adds an entry that passed the pipeline: itself, its line or its value, whatever the leaf needs.
    ///
    /// # Errors
    /// As [`Accumulator::add`].
    #[inline]
    fn add_outcome(
        &mut self,
        series: SeriesId,
        ts: i64,
        outcome: &Outcome<'_>,
    ) -> Result<(), EvalError> {
        match outcome.value {
            Some(value) => self.add_value(series, ts, value),
            None => self.add(series, ts, outcome.line.len()),
        }
    }

    /// What entries with this outcome are, to be kept for [`Collect::add_known`].
    ///
    /// # Errors
    /// As [`Accumulator::series`].
    fn known(&mut self, outcome: &Outcome<'_>) -> Result<Known, EvalError> {
        Ok(Known {
            series: self.series(outcome)?,
            value: outcome.value.unwrap_or(0.0),
        })
    }

    /// Adds an entry of which it is known what it is, and whose line has so many bytes.
    ///
    /// # Errors
    /// As [`Accumulator::add`].
    #[inline]
    fn add_known(&mut self, known: Known, ts: i64, len: usize) -> Result<(), EvalError> {
        if self.unwraps() {
            self.add_value(known.series, ts, known.value)
        } else {
            self.add(known.series, ts, len)
        }
    }
}

impl Collect for Accumulator<'_> {
    fn series(&mut self, outcome: &Outcome<'_>) -> Result<SeriesId, EvalError> {
        Accumulator::series(self, outcome)
    }

    #[inline]
    fn series_of_stream(
        &mut self,
        stream: u32,
        outcome: &Outcome<'_>,
    ) -> Result<SeriesId, EvalError> {
        Accumulator::series_of_stream(self, stream, outcome)
    }

    #[inline]
    fn add(&mut self, series: SeriesId, ts: i64, len: usize) -> Result<(), EvalError> {
        Accumulator::add(self, series, ts, len)
    }

    #[inline]
    fn add_value(&mut self, series: SeriesId, ts: i64, value: f64) -> Result<(), EvalError> {
        Accumulator::add_value(self, series, ts, value)
    }

    fn unwraps(&self) -> bool {
        self.leaf.unwraps
    }
}

impl<'p> Accumulator<'p> {
    /// An empty accumulator that may use `budget` bytes and hold `max_series` series. The latter holds only where the
    /// series reach the answer: those of `count(rate(..))` are bounded by the budget alone.
    #[must_use]
    pub fn new(leaf: &'p RangeLeaf, steps: Steps, max_series: usize, budget: usize) -> Self {
        let windows = Windows::new(leaf, steps);
        Accumulator {
            kind: Kind::new(leaf, &windows),
            leaf,
            windows,
            max_series,
            memory: Memory::new(budget),
            namer: Namer::new(leaf),
            states: Vec::new(),
            reached: 0,
        }
    }

    /// Of the budget, other parts of the query hold so many bytes.
    #[must_use]
    pub fn beside(mut self, held: usize) -> Self {
        self.memory.beside(held);
        self
    }

    /// As [`Accumulator::beside`], when it has changed.
    pub fn set_beside(&mut self, held: usize) {
        self.memory.beside(held);
    }

    /// Has memory granted before it is taken.
    #[must_use]
    pub fn granted_by(mut self, grants: Option<Arc<dyn Grants>>) -> Self {
        self.memory.granted_by(grants);
        self
    }

    /// The series that an entry with these output labels belongs to (grouping applied). Callers cache it per
    /// (stream, metadata) when the pipeline sets no labels.
    ///
    /// # Errors
    /// [`EvalError::Limit`] over the budget.
    pub fn series(&mut self, outcome: &Outcome<'_>) -> Result<SeriesId, EvalError> {
        let (series, new) = self.namer.find(outcome, &mut self.memory)?;
        if let Some(New { failing }) = new {
            self.insert(failing);
        }
        Ok(series)
    }

    /// The series of labels that a helper named.
    pub(super) fn named(&mut self, labels: &[u8], failing: bool) -> Result<SeriesId, EvalError> {
        let (series, is_new) = self.namer.keys.find_encoded(labels, &mut self.memory)?;
        if is_new {
            self.insert(failing);
        }
        Ok(SeriesId(series))
    }

    /// As [`Accumulator::series`], for an entry of a stream whose labels lie in the same place whenever this number is
    /// given: if it is grouped by labels of the stream, that tells the series.
    ///
    /// # Errors
    /// As [`Accumulator::series`].
    #[inline]
    pub fn series_of_stream(
        &mut self,
        stream: u32,
        outcome: &Outcome<'_>,
    ) -> Result<SeriesId, EvalError> {
        if let Some(series) = self.namer.of_stream(stream, outcome) {
            return Ok(series);
        }
        let series = self.series(outcome)?;
        self.namer.keep(stream, outcome, series);
        Ok(series)
    }

    fn insert(&mut self, failing: bool) {
        self.states.push(if failing {
            State::Failing
        } else {
            State::Waiting
        });
        self.kind.insert();
    }

    /// Notes that a series has an entry in a window.
    #[inline]
    fn reach(&mut self, series: SeriesId) -> Result<(), EvalError> {
        match self.states[series.0 as usize] {
            State::Reached => Ok(()),
            state => self.reach_first(series, state),
        }
    }

    #[cold]
    fn reach_first(&mut self, series: SeriesId, state: State) -> Result<(), EvalError> {
        if state == State::Failing {
            return Err(pipeline_error(&self.namer.keys.labels(series.0)));
        }
        if self.leaf.limited && self.reached >= self.max_series {
            return Err(EvalError::Bad(too_many_series(self.max_series)));
        }
        if self.reached == 0 {
            self.check_steps()?;
        }
        self.states[series.0 as usize] = State::Reached;
        self.reached += 1;
        Ok(())
    }

    /// Counts what making points takes, so that a query with more steps than fit fails before it has collected anything.
    fn check_steps(&mut self) -> Result<(), EvalError> {
        let steps = self.windows.count();
        if steps > MAX_STEPS {
            return Err(over_budget(self.memory.limit()));
        }
        let scratch = self.kind.scratch(&self.windows);
        self.memory
            .take(scratch.saturating_add(steps * (POINT + size_of::<Buckets>())))
    }

    /// Adds an entry for its line, whose length is given in bytes.
    ///
    /// # Errors
    /// [`EvalError::Bad`] over `max_series` and for entries with a pipeline error, [`EvalError::Limit`] over the budget.
    #[inline]
    pub fn add(&mut self, series: SeriesId, ts: i64, len: usize) -> Result<(), EvalError> {
        self.add_many(series, ts, 1, i64::try_from(len).unwrap_or(i64::MAX))
    }

    /// Adds all entries of a bucket `(edge - bucket, edge]`, when [`RangeLeaf::aligned_to`] said so.
    ///
    /// # Errors
    /// As [`Accumulator::add`].
    pub fn add_bucket(
        &mut self,
        series: SeriesId,
        edge: i64,
        entries: u64,
        bytes: u64,
    ) -> Result<(), EvalError> {
        let clamp = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.add_many(series, edge, clamp(entries), clamp(bytes))
    }

    fn add_many(
        &mut self,
        series: SeriesId,
        ts: i64,
        entries: i64,
        bytes: i64,
    ) -> Result<(), EvalError> {
        let Some(held) = self.windows.of(ts) else {
            return Ok(());
        };
        self.reach(series)?;
        let Kind::Counts(counts) = &mut self.kind else {
            panic!("entries without a value are only counted");
        };
        counts.add(series.0 as usize, held, (entries, bytes), &mut self.memory)
    }

    /// Adds the value of an entry, when the leaf says [`Needs::Value`](crate::plan::Needs::Value).
    ///
    /// # Errors
    /// As [`Accumulator::add`].
    #[inline]
    pub fn add_value(&mut self, series: SeriesId, ts: i64, value: f64) -> Result<(), EvalError> {
        let Some(held) = self.windows.of(ts) else {
            return Ok(());
        };
        self.reach(series)?;
        let (at, memory) = (series.0 as usize, &mut self.memory);
        let bucket = self.windows.bucket(held);
        folds!(&mut self.kind, folds => folds.add(at, bucket, (ts, value), memory),
            Kind::Counts(counts) => counts.add(at, held, (1, 0), memory),
            Kind::Quantiles(quantiles) => quantiles.add(at, bucket, value, memory),
            Kind::Counters(counters) => counters.add(at, (ts, value), memory),
        )
    }

    /// The last time up to which entries are in the same windows as one at `ts`, as far as that is known: at least `ts`.
    /// Buckets with edges from `ts` to there may be added as one.
    #[must_use]
    pub fn same_until(&mut self, ts: i64) -> i64 {
        self.windows.same_until(ts)
    }

    /// Adds what another worker collected for the same leaf and steps. Of equal times, its entries count as the later.
    ///
    /// # Errors
    /// As [`Accumulator::add`].
    pub fn merge(&mut self, other: Accumulator<'p>) -> Result<(), EvalError> {
        assert_eq!(
            self.windows.count(),
            other.windows.count(),
            "accumulators of one leaf have the same steps"
        );
        for (theirs, state) in other.states.iter().enumerate() {
            let encoded = other.namer.keys.encoded(theirs as u32);
            let series = self.named(encoded, *state == State::Failing)?;
            if *state == State::Reached {
                self.reach(series)?;
                self.join(series.0 as usize, &other, theirs)?;
            }
        }
        Ok(())
    }

    fn join(
        &mut self,
        own: usize,
        other: &Accumulator<'_>,
        theirs: usize,
    ) -> Result<(), EvalError> {
        let memory = &mut self.memory;
        macro_rules! each {
            ($($kind:ident),*) => {
                match (&mut self.kind, &other.kind) {
                    $((Kind::$kind(to), Kind::$kind(from)) => to.join(own, from, theirs, memory),)*
                    _ => panic!("accumulators of one leaf collect the same"),
                }
            };
        }
        each!(
            Counts, Sum, Mean, Variance, Min, Max, First, Last, Quantiles, Counters
        )
    }

    /// The result, in label order (but for empty labels that a sum leaves out).
    ///
    /// # Errors
    /// [`EvalError::Limit`] when the result takes more than the budget.
    pub fn finish(mut self) -> Result<Matrix, EvalError> {
        if self.leaf.op == RangeOp::Absent {
            return self.absent();
        }
        if self.reached == 0 {
            return Ok(Matrix::default());
        }
        let spans = match self.kind {
            Kind::Counts(_) => Vec::new(),
            _ => self.windows.spans(),
        };
        let mut order: Vec<u32> = (0..self.states.len() as u32)
            .filter(|series| self.states[*series as usize] == State::Reached)
            .collect();
        order.sort_unstable_by(|a, b| {
            let labels = |series: u32| parts(self.namer.keys.encoded(series));
            labels(*a).cmp(labels(*b))
        });
        // The sum leaves empty labels out, the aggregation itself does not. They tell groups apart in both.
        let full_only = self.leaf.joined && self.leaf.grouping.as_ref().is_some_and(|g| g.without);
        let mut points = Vec::with_capacity(self.windows.count());
        let mut matrix = Matrix::default();
        for id in order {
            points.clear();
            self.points(id as usize, &spans, &mut points)?;
            let mut labels = self.namer.keys.take(id, &mut self.memory);
            labels.retain(|(_, value)| !(full_only && value.is_empty()));
            self.memory
                .take(of_labels(&labels) + points.len() * POINT)?;
            let points = points.as_slice().to_vec();
            matrix.series.push(Series { labels, points });
        }
        Ok(matrix)
    }

    /// The points of a series, whose data is given up.
    fn points(
        &mut self,
        series: usize,
        spans: &[Buckets],
        points: &mut Vec<(i64, f64)>,
    ) -> Result<(), EvalError> {
        let (op, seconds) = (self.leaf.op, self.leaf.range as f64 / 1e9);
        let (windows, memory) = (&mut self.windows, &mut self.memory);
        let steps = windows.clone();
        let mut push = |step: usize, value: f64| points.push((steps.instant(step), value));
        folds!(&mut self.kind, folds => {
                folds.finish(series, spans, memory, |step, value| {
                    push(step, match op {
                        RangeOp::SumRate => value / seconds,
                        RangeOp::Stddev => value.sqrt(),
                        _ => value,
                    });
                });
            },
            Kind::Counts(counts) => {
                counts.finish(series, memory, |step, entries, bytes| {
                    push(step, match op {
                        RangeOp::Rate => entries as f64 / seconds,
                        RangeOp::Bytes => bytes as f64,
                        RangeOp::BytesRate => bytes as f64 / seconds,
                        _ => entries as f64,
                    });
                });
            }
            Kind::Quantiles(quantiles) => quantiles.finish(series, spans, memory, push)?,
            Kind::Counters(counters) => {
                counters.finish(series, (windows, spans), memory, push)?;
            }
        );
        Ok(())
    }

    /// 1 at every step whose window holds no entry of any series.
    fn absent(mut self) -> Result<Matrix, EvalError> {
        let mut present: Vec<(i64, f64)> = Vec::new();
        for series in 0..self.states.len() {
            if self.states[series] == State::Reached {
                self.points(series, &[], &mut present)?;
            }
        }
        present.sort_by_key(|(at, _)| *at);
        let steps = self.windows.count();
        if steps > MAX_STEPS {
            return Err(over_budget(self.memory.limit()));
        }
        self.memory.take(steps * POINT)?;
        let mut points = Vec::with_capacity(steps);
        let mut known = present.iter().peekable();
        for step in 0..steps {
            let now = self.windows.instant(step);
            while known.next_if(|(at, _)| *at < now).is_some() {}
            if known.peek().is_none_or(|(at, _)| *at != now) {
                points.push((now, 1.0));
            }
        }
        let mut matrix = Matrix::default();
        if !points.is_empty() {
            let labels = absent_labels(self.leaf);
            matrix.series.push(Series { labels, points });
        }
        Ok(matrix)
    }

    /// Bytes in use, for the query's budget.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.used()
    }
}

/// What a selector says about labels of streams that are not there: names that have one matcher, and that one `=`.
fn absent_labels(leaf: &RangeLeaf) -> SeriesLabels {
    let alone = leaf.matchers.iter().filter(|m| {
        let of_name = leaf
            .matchers
            .iter()
            .filter(|other| other.name() == m.name());
        m.op() == MatchOp::Equal && !m.value().is_empty() && of_name.count() == 1
    });
    let mut labels: SeriesLabels = alone
        .map(|m| (m.name().to_owned(), m.value().to_owned()))
        .collect();
    labels.sort();
    labels
}

/// Loki's text when a query's answer has too many series.
pub(super) fn too_many_series(limit: usize) -> String {
    format!(
        "maximum number of series ({limit}) reached for a single query; consider reducing query cardinality by adding \
         more specific stream selectors, reducing the time range, or aggregating results with functions like sum(), \
         count() or topk()"
    )
}

/// Loki's text for an entry whose pipeline failed.
fn pipeline_error(labels: &SeriesLabels) -> EvalError {
    let of_error = labels.iter().find(|(name, _)| name == ERROR);
    let error = of_error.map_or("", |(_, value)| value.as_str());
    let pairs = labels.iter().map(|(n, v)| (n.as_str(), v.as_str()));
    let labels = crate::format::label_set(pairs);
    EvalError::Bad(format!(
        "pipeline error: '{error}' for series: '{labels}'.\n\
         Use a label filter to intentionally skip this error. (e.g | __error__!=\"{error}\").\n\
         To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
         The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
    ))
}
