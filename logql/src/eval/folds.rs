//! Values of a bucket folded into one state, and the states of a window's buckets joined at the end.
//!
//! A series keeps a list of buckets with their states, in the order in which entries came, as long as that takes less
//! than an array of all buckets.

use super::EvalError;
use super::memory::Memory;
use super::partial::Partial;
use super::windows::Buckets;

#[derive(Debug)]
enum Series<P> {
    List(Vec<(u32, P)>),
    Array(Box<[P]>),
}

/// What all series took.
#[derive(Debug)]
pub(super) struct Folds<P> {
    buckets: usize,
    series: Vec<Series<P>>,
    slide: Slide<P>,
}

impl<P: Partial> Folds<P> {
    pub(super) fn new(buckets: usize) -> Self {
        Folds {
            buckets,
            series: Vec::new(),
            slide: Slide::default(),
        }
    }

    fn array_size(&self) -> usize {
        self.buckets.saturating_mul(size_of::<P>())
    }

    /// Bytes that [`Folds::finish`] needs.
    pub(super) fn scratch(&self) -> usize {
        self.array_size().saturating_mul(2)
    }

    pub(super) fn insert(&mut self) {
        self.series.push(Series::List(Vec::new()));
    }

    #[inline]
    pub(super) fn add(
        &mut self,
        series: usize,
        bucket: u32,
        (ts, value): (i64, f64),
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        match &mut self.series[series] {
            Series::Array(states) => states[bucket as usize].add(ts, value),
            Series::List(list) => match list.last_mut() {
                Some((last, state)) if *last == bucket => state.add(ts, value),
                _ => {
                    let mut state = P::default();
                    state.add(ts, value);
                    return self.push(series, bucket, state, memory);
                }
            },
        }
        Ok(())
    }

    /// Adds the state of a bucket that is not the last of the list.
    fn push(
        &mut self,
        series: usize,
        bucket: u32,
        state: P,
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        let size = self.array_size();
        let slot = &mut self.series[series];
        if let Series::List(list) = slot {
            if (list.len() + 1) * size_of::<(u32, P)>() <= size {
                return memory.push(list, (bucket, state));
            }
            memory.take(size)?;
            let mut states = vec![P::default(); self.buckets].into_boxed_slice();
            spread(list, &mut states);
            memory.give(list.capacity() * size_of::<(u32, P)>());
            *slot = Series::Array(states);
        }
        if let Series::Array(states) = slot {
            states[bucket as usize].join(&state);
        }
        Ok(())
    }

    /// Adds what the other took for its series `theirs` to `series`.
    pub(super) fn join(
        &mut self,
        series: usize,
        other: &Folds<P>,
        theirs: usize,
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        match &other.series[theirs] {
            Series::List(list) => {
                for (bucket, state) in list {
                    self.push(series, *bucket, *state, memory)?;
                }
            }
            Series::Array(states) => {
                for (bucket, state) in (0u32..).zip(states) {
                    if !state.is_empty() {
                        self.push(series, bucket, *state, memory)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls `point` with the result of every step that has entries. The series is given up.
    pub(super) fn finish(
        &mut self,
        series: usize,
        spans: &[Buckets],
        memory: &mut Memory,
        mut point: impl FnMut(usize, f64),
    ) {
        let slide = &mut self.slide;
        let point = |step, window: &P| point(step, window.value());
        let taken = std::mem::replace(&mut self.series[series], Series::List(Vec::new()));
        let held = match &taken {
            Series::Array(states) => {
                slide.run(states, spans, point);
                size_of_val(&**states)
            }
            Series::List(list) => {
                let mut states = std::mem::take(&mut slide.states);
                states.clear();
                states.resize(self.buckets, P::default());
                spread(list, &mut states);
                slide.run(&states, spans, point);
                slide.states = states;
                list.capacity() * size_of::<(u32, P)>()
            }
        };
        memory.give(held);
    }
}

fn spread<P: Partial>(list: &[(u32, P)], states: &mut [P]) {
    for (bucket, state) in list {
        states[*bucket as usize].join(state);
    }
}

/// A window that slides over buckets, with the space that it needs.
///
/// The window is two parts. Of the front one the joins of each bucket with all behind it in the part are known, so that
/// buckets can leave it one by one; the back one is a single state that buckets join. When the front is used up, the
/// back becomes the front. So each bucket is joined three times at most, however many windows hold it.
#[derive(Debug)]
pub(super) struct Slide<P> {
    /// Joins of the front part, those of its last bucket first.
    front: Vec<P>,
    /// States of a series that is kept as a list.
    pub(super) states: Vec<P>,
}

impl<P> Default for Slide<P> {
    fn default() -> Self {
        Slide {
            front: Vec::new(),
            states: Vec::new(),
        }
    }
}

impl<P: Partial> Slide<P> {
    /// Calls `point` with the joined state of every window that has entries.
    pub(super) fn run(
        &mut self,
        states: &[P],
        spans: &[Buckets],
        mut point: impl FnMut(usize, &P),
    ) {
        let mut back = P::default();
        // The front part ends before `middle`, the back part before `end`.
        let (mut middle, mut end) = (0, 0);
        for (step, (first, last)) in spans.iter().enumerate() {
            let (first, last) = (*first as usize, *last as usize);
            while end <= last {
                back.join(&states[end]);
                end += 1;
            }
            if first >= middle {
                self.front.clear();
                let mut all = P::default();
                for state in states[first..end].iter().rev() {
                    let mut joined = *state;
                    joined.join(&all);
                    all = joined;
                    self.front.push(all);
                }
                middle = end;
                back = P::default();
            }
            let mut window = self.front[middle - 1 - first];
            window.join(&back);
            if !window.is_empty() {
                point(step, &window);
            }
        }
    }
}
