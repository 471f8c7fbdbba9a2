//! Numbers of entries and of bytes, at every step.
//!
//! Each series has a difference array over the steps: an entry adds one where the windows that hold it begin and takes
//! one away where they end, whatever range and step are. Summing the differences up gives the counts. As long as a
//! series has few entries, what would be added is kept as a list, which takes less than the array.

use super::EvalError;
use super::memory::Memory;
use super::windows::Held;

/// A number of entries in the same windows.
#[derive(Debug, Clone, Copy)]
struct Run {
    from: u32,
    to: u32,
    entries: i64,
    bytes: i64,
}

#[derive(Debug)]
enum Series {
    List(Vec<Run>),
    /// One more than there are steps. Without bytes if nobody asked.
    Array(Box<[i64]>, Box<[i64]>),
}

/// What all series counted.
#[derive(Debug)]
pub(super) struct Counts {
    steps: usize,
    counts_bytes: bool,
    series: Vec<Series>,
    /// The array of a series that has none, while points are made.
    scratch: Arrays,
}

impl Counts {
    pub(super) fn new(steps: usize, counts_bytes: bool) -> Self {
        Counts {
            steps,
            counts_bytes,
            series: Vec::new(),
            scratch: Arrays::default(),
        }
    }

    fn array_size(&self) -> usize {
        let arrays = if self.counts_bytes { 2 } else { 1 };
        self.steps.saturating_add(1).saturating_mul(8 * arrays)
    }

    /// Bytes that [`Counts::finish`] needs.
    pub(super) fn scratch(&self) -> usize {
        self.array_size()
    }

    pub(super) fn insert(&mut self) {
        self.series.push(Series::List(Vec::new()));
    }

    pub(super) fn add(
        &mut self,
        series: usize,
        (from, to): Held,
        (entries, bytes): (i64, i64),
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        let size = self.array_size();
        let sums = &mut self.series[series];
        if let Series::List(list) = sums {
            let run = Run {
                from: from as u32,
                to: to as u32,
                entries,
                bytes,
            };
            if let Some(last) = list.last_mut()
                && (last.from, last.to) == (run.from, run.to)
            {
                last.entries = last.entries.wrapping_add(entries);
                last.bytes = last.bytes.wrapping_add(bytes);
                return Ok(());
            }
            if (list.len() + 1) * size_of::<Run>() <= size {
                return memory.push(list, run);
            }
            memory.take(size)?;
            let mut array = zeros(self.steps, self.counts_bytes);
            list.iter().for_each(|run| run.apply(&mut array));
            memory.give(list.capacity() * size_of::<Run>());
            *sums = Series::Array(array.0, array.1);
        }
        if let Series::Array(all_entries, all_bytes) = sums {
            difference(all_entries, from, to, entries);
            difference(all_bytes, from, to, bytes);
        }
        Ok(())
    }

    /// Adds what the other collected for its series `theirs` to `series`.
    pub(super) fn join(
        &mut self,
        series: usize,
        other: &Counts,
        theirs: usize,
        memory: &mut Memory,
    ) -> Result<(), EvalError> {
        match &other.series[theirs] {
            Series::List(list) => {
                for run in list {
                    let held = (run.from as usize, run.to as usize);
                    self.add(series, held, (run.entries, run.bytes), memory)?;
                }
            }
            Series::Array(entries, bytes) => {
                // A difference holds from its place on, so each is a run to the end.
                for (at, entries) in entries.iter().enumerate().take(self.steps) {
                    let bytes = bytes.get(at).copied().unwrap_or(0);
                    if (*entries, bytes) != (0, 0) {
                        self.add(series, (at, self.steps), (*entries, bytes), memory)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls `point` with entries and bytes of every step that has entries. The series is given up.
    pub(super) fn finish(
        &mut self,
        series: usize,
        memory: &mut Memory,
        mut point: impl FnMut(usize, i64, i64),
    ) {
        let taken = std::mem::replace(&mut self.series[series], Series::List(Vec::new()));
        let (entries, bytes) = match &taken {
            Series::Array(entries, bytes) => (entries, bytes),
            Series::List(list) => {
                if self.scratch.0.is_empty() {
                    self.scratch = zeros(self.steps, self.counts_bytes);
                }
                self.scratch.0.fill(0);
                self.scratch.1.fill(0);
                list.iter().for_each(|run| run.apply(&mut self.scratch));
                (&self.scratch.0, &self.scratch.1)
            }
        };
        let mut sums = (0i64, 0i64);
        for step in 0..self.steps {
            sums.0 = sums.0.wrapping_add(entries[step]);
            sums.1 = sums.1.wrapping_add(bytes.get(step).copied().unwrap_or(0));
            if sums.0 != 0 {
                point(step, sums.0, sums.1);
            }
        }
        memory.give(match &taken {
            Series::List(list) => list.capacity() * size_of::<Run>(),
            Series::Array(..) => self.array_size(),
        });
    }
}

type Arrays = (Box<[i64]>, Box<[i64]>);

fn zeros(steps: usize, counts_bytes: bool) -> Arrays {
    let zeros = || vec![0; steps + 1].into_boxed_slice();
    let bytes = if counts_bytes {
        zeros()
    } else {
        Box::default()
    };
    (zeros(), bytes)
}

fn difference(array: &mut [i64], from: usize, to: usize, by: i64) {
    if !array.is_empty() {
        array[from] = array[from].wrapping_add(by);
        array[to] = array[to].wrapping_sub(by);
    }
}

impl Run {
    fn apply(&self, (entries, bytes): &mut Arrays) {
        let (from, to) = (self.from as usize, self.to as usize);
        difference(entries, from, to, self.entries);
        difference(bytes, from, to, self.bytes);
    }
}
