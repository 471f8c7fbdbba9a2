//! The windows of a range aggregation: which steps' windows hold an entry, and the buckets that time falls into when it
//! is cut at every edge of a window.
//!
//! The window of step `i` is `(t - range, t]` with `t = start + i * step - offset`. Entries of one bucket are in the
//! same windows, and each window is a run of buckets, so what is collected by bucket needs one look at each entry,
//! however many windows hold it.

use crate::plan::{RangeLeaf, Steps};

/// Indices of the first step whose window holds an entry, and of the first after it whose does not.
pub(super) type Held = (usize, usize);

/// First and last bucket of a window.
pub(super) type Buckets = (u32, u32);

/// How window edges lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// No two windows share an entry.
    Apart,
    /// Windows begin where others end: the range is this many steps.
    Whole(i64),
    /// Anything else.
    Mixed,
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    steps: Steps,
    count: usize,
    range: i64,
    /// First instant minus offset: an entry at or before it is in the first window, if in any.
    origin: i128,
    layout: Layout,
    /// The last answer, and the times `(after, upto]` for which it holds: entries come nearly in time order.
    cached: Option<(i64, i64, Held)>,
}

impl Windows {
    pub(super) fn new(leaf: &RangeLeaf, steps: Steps) -> Self {
        let step = steps.step.max(1);
        let layout = if leaf.range <= step {
            Layout::Apart
        } else if leaf.range % step == 0 {
            Layout::Whole(leaf.range / step)
        } else {
            Layout::Mixed
        };
        Windows {
            steps: Steps { step, ..steps },
            count: steps.count(),
            range: leaf.range,
            origin: i128::from(steps.start) - i128::from(leaf.offset),
            layout,
            cached: None,
        }
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// The instant of a step, as the answer shows it.
    pub(super) fn instant(&self, step: usize) -> i64 {
        self.steps.at(step)
    }

    /// End of a step's window.
    pub(super) fn end(&self, step: usize) -> i128 {
        self.origin + step as i128 * i128::from(self.steps.step)
    }

    /// Begin of a step's window, which is not in it.
    pub(super) fn start(&self, step: usize) -> i128 {
        self.end(step) - i128::from(self.range)
    }

    /// The windows that hold an entry; `None`: none does.
    #[inline]
    pub(super) fn of(&mut self, ts: i64) -> Option<Held> {
        let held = match self.cached {
            Some((after, upto, held)) if after < ts && ts <= upto => held,
            _ => self.find(ts),
        };
        (held.0 < held.1).then_some(held)
    }

    /// The last time up to which entries are in the same windows as one at `ts`.
    pub(super) fn same_until(&mut self, ts: i64) -> i64 {
        self.of(ts);
        match self.cached {
            Some((after, upto, _)) if after < ts && ts <= upto => upto,
            _ => ts,
        }
    }

    fn find(&mut self, ts: i64) -> Held {
        let (step, range) = (i128::from(self.steps.step), i128::from(self.range));
        let distance = i128::from(ts) - self.origin;
        let (first, end) = self.around(distance);
        // Both numbers stay as they are between the edges that they come from.
        let upto = self.origin + (first * step).min(end * step - range);
        let after = self.origin + ((first - 1) * step).max((end - 1) * step - range);
        let held = self.clamp(first, end);
        if let (Ok(after), Ok(upto)) = (i64::try_from(after), i64::try_from(upto)) {
            self.cached = Some((after, upto, held));
        }
        held
    }

    /// As [`Held`], were there steps without end in both directions.
    fn around(&self, distance: i128) -> (i128, i128) {
        let first = ceil_div(distance, self.steps.step);
        let end = match self.layout {
            Layout::Whole(span) => first + i128::from(span),
            _ => ceil_div(distance + i128::from(self.range), self.steps.step),
        };
        (first, end)
    }

    fn clamp(&self, first: i128, end: i128) -> Held {
        let clamp = |i: i128| usize::try_from(i.max(0)).map_or(self.count, |i| i.min(self.count));
        (clamp(first), clamp(end))
    }

    /// How many buckets there are.
    pub(super) fn buckets(&self) -> usize {
        match self.layout {
            Layout::Apart => self.count,
            Layout::Whole(span) => {
                let span = usize::try_from(span).unwrap_or(usize::MAX);
                self.count
                    .saturating_add(span.min(self.count))
                    .saturating_sub(1)
            }
            Layout::Mixed => self.count.saturating_mul(2).saturating_sub(1),
        }
    }

    /// The bucket of entries that some windows hold. Buckets are numbered in the order of time.
    #[inline]
    pub(super) fn bucket(&self, (from, to): Held) -> u32 {
        debug_assert!(from < to && to <= self.count, "entries in a window");
        let bucket = match self.layout {
            Layout::Apart => from,
            Layout::Whole(_) if to < self.count => to - 1,
            Layout::Whole(span) => {
                let span = usize::try_from(span).unwrap_or(usize::MAX);
                self.count - 1 + from - self.count.saturating_sub(span)
            }
            // Neither number ever falls, so that their sum tells all pairs apart.
            Layout::Mixed => from + to - 1,
        };
        bucket as u32
    }

    /// The buckets of every window, in order. Both ends never fall.
    pub(super) fn spans(&self) -> Vec<Buckets> {
        if self.range <= 0 {
            return Vec::new();
        }
        let bucket = |distance: i128| {
            let (first, end) = self.around(distance);
            self.bucket(self.clamp(first, end))
        };
        let step = i128::from(self.steps.step);
        let spans = (0..self.count).map(|i| {
            let last = i as i128 * step;
            (bucket(last - i128::from(self.range) + 1), bucket(last))
        });
        spans.collect()
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
