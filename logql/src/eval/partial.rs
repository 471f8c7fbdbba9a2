//! What is kept of the values of a bucket: small states that take one value after the other and can be joined, so that
//! a window's result comes from those of its buckets.
//!
//! A state that took all values of a window in order gives what the definitions there give, to the last digit. Joined
//! states, and values in another order, may differ from it by rounding.

/// See the module.
pub(super) trait Partial: Copy + Default + std::fmt::Debug {
    /// Takes a value. Values come in the order of arrival, their times in any.
    fn add(&mut self, ts: i64, value: f64);
    /// Takes what a state of other entries took. Of equal times, this one's came first.
    fn join(&mut self, other: &Self);
    /// Whether it took nothing yet.
    fn is_empty(&self) -> bool;
    /// The result.
    fn value(&self) -> f64;
}

/// A sum that carries what additions round off, so that their order does not matter.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    count: u64,
    sum: f64,
    lost: f64,
}

impl Sum {
    fn plus(&mut self, value: f64) {
        let sum = self.sum + value;
        let part = sum - self.sum;
        self.lost += (self.sum - (sum - part)) + (value - part);
        self.sum = sum;
    }
}

impl Partial for Sum {
    #[inline]
    fn add(&mut self, _: i64, value: f64) {
        self.count += 1;
        self.plus(value);
    }

    fn join(&mut self, other: &Self) {
        self.count += other.count;
        self.plus(other.sum);
        self.lost += other.lost;
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn value(&self) -> f64 {
        // What is lost beside infinity is no number.
        if self.sum.is_finite() {
            self.sum + self.lost
        } else {
            self.sum
        }
    }
}

/// Whether a mean stays as it is when a value joins: an infinite one is left alone by finite values and by infinity of
/// its own sign.
pub(super) fn is_settled(mean: f64, value: f64) -> bool {
    mean.is_infinite() && (value == mean || value.is_finite())
}

/// A running mean.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mean {
    count: u64,
    mean: f64,
}

impl Partial for Mean {
    #[inline]
    fn add(&mut self, _: i64, value: f64) {
        self.count += 1;
        if !is_settled(self.mean, value) {
            let n = self.count as f64;
            self.mean += value / n - self.mean / n;
        }
    }

    fn join(&mut self, other: &Self) {
        if self.is_empty() {
            *self = *other;
            return;
        }
        let (own, others) = (self.count as f64, other.count as f64);
        self.count += other.count;
        if other.is_empty() || is_settled(self.mean, other.mean) {
            return;
        }
        if is_settled(other.mean, self.mean) {
            self.mean = other.mean;
            return;
        }
        let n = self.count as f64;
        self.mean = self.mean * (own / n) + other.mean * (others / n);
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn value(&self) -> f64 {
        self.mean
    }
}

/// Population variance by Welford's method.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Variance {
    count: u64,
    mean: f64,
    squares: f64,
}

impl Partial for Variance {
    #[inline]
    fn add(&mut self, _: i64, value: f64) {
        self.count += 1;
        let delta = value - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (value - self.mean);
    }

    fn join(&mut self, other: &Self) {
        if self.is_empty() {
            *self = *other;
            return;
        }
        if other.is_empty() {
            return;
        }
        let (own, others) = (self.count as f64, other.count as f64);
        self.count += other.count;
        let n = self.count as f64;
        let delta = other.mean - self.mean;
        self.mean += delta * (others / n);
        self.squares += other.squares + delta * delta * own * (others / n);
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn value(&self) -> f64 {
        self.squares / self.count as f64
    }
}

/// The smallest value; NaN only if there is nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Min(Option<f64>);

impl Partial for Min {
    #[inline]
    fn add(&mut self, _: i64, value: f64) {
        if self.0.is_none_or(|min| value < min || min.is_nan()) {
            self.0 = Some(value);
        }
    }

    fn join(&mut self, other: &Self) {
        if let Some(value) = other.0 {
            self.add(0, value);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn value(&self) -> f64 {
        self.0.unwrap_or(f64::NAN)
    }
}

/// The largest value; NaN only if there is nothing else.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Max(Option<f64>);

impl Partial for Max {
    #[inline]
    fn add(&mut self, _: i64, value: f64) {
        if self.0.is_none_or(|max| value > max || max.is_nan()) {
            self.0 = Some(value);
        }
    }

    fn join(&mut self, other: &Self) {
        if let Some(value) = other.0 {
            self.add(0, value);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn value(&self) -> f64 {
        self.0.unwrap_or(f64::NAN)
    }
}

/// The first value by time; of equal times the one that arrived first.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct First(Option<(i64, f64)>);

impl Partial for First {
    #[inline]
    fn add(&mut self, ts: i64, value: f64) {
        if self.0.is_none_or(|(first, _)| ts < first) {
            self.0 = Some((ts, value));
        }
    }

    fn join(&mut self, other: &Self) {
        if let Some((ts, value)) = other.0 {
            self.add(ts, value);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn value(&self) -> f64 {
        self.0.map_or(f64::NAN, |(_, value)| value)
    }
}

/// The last value by time; of equal times the one that arrived last.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Last(Option<(i64, f64)>);

impl Partial for Last {
    #[inline]
    fn add(&mut self, ts: i64, value: f64) {
        if self.0.is_none_or(|(last, _)| ts >= last) {
            self.0 = Some((ts, value));
        }
    }

    fn join(&mut self, other: &Self) {
        if let Some((ts, value)) = other.0 {
            self.add(ts, value);
        }
    }

    fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn value(&self) -> f64 {
        self.0.map_or(f64::NAN, |(_, value)| value)
    }
}

/// A counter that may have begun anew. Takes values in the order of time only.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counter {
    count: u64,
    first: (i64, f64),
    last: (i64, f64),
    /// Sum of the values that stood before the counter began anew.
    before_resets: f64,
}

impl Counter {
    /// What the counter grew by in a second over a window, taken to grow on at its ends where entries come that close
    /// to them.
    pub(super) fn rate(&self, start: i128, end: i128) -> f64 {
        if self.count < 2 {
            return 0.0;
        }
        let seconds = |from: i128, to: i128| (to - from) as f64 / 1e9;
        let (first, last) = (i128::from(self.first.0), i128::from(self.last.0));
        let delta = self.last.1 - self.first.1 + self.before_resets;
        let sampled = seconds(first, last);
        let gap = sampled / (self.count - 1) as f64;
        let limit = gap * 1.1;
        let mut before = seconds(start, first);
        let mut after = seconds(last, end);
        if before >= limit {
            before = gap / 2.0;
        }
        if delta > 0.0 && self.first.1 >= 0.0 {
            // It cannot have been below zero.
            before = before.min(sampled * (self.first.1 / delta));
        }
        if after >= limit {
            after = gap / 2.0;
        }
        delta * ((sampled + before + after) / sampled) / seconds(start, end)
    }
}

impl Partial for Counter {
    fn add(&mut self, ts: i64, value: f64) {
        self.join(&Counter {
            count: 1,
            first: (ts, value),
            last: (ts, value),
            before_resets: 0.0,
        });
    }

    fn join(&mut self, other: &Self) {
        if self.is_empty() {
            *self = *other;
            return;
        }
        if other.is_empty() {
            return;
        }
        if other.first.1 < self.last.1 {
            self.before_resets += self.last.1;
        }
        self.before_resets += other.before_resets;
        self.count += other.count;
        self.last = other.last;
    }

    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn value(&self) -> f64 {
        self.last.1
    }
}
