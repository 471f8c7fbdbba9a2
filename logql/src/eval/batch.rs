//! Entries on their way from a helper to the one accumulator of a query.
//!
//! A helper runs entries through a pipeline and collects what passes: the series, by a number of its own, the time, and
//! the value or the length. It names a series once. The accumulator takes batches in the order in which their entries
//! would have come without helpers, so that series, errors and the last digits of folded values are the same.
//! Entries that no window holds are left out, and neighbours that are only counted become one.

use super::EvalError;
use super::accumulate::{Accumulator, Collect, SeriesId};
use super::memory::Memory;
use super::namer::{Namer, New};
use super::windows::Windows;
use crate::pipeline::Outcome;
use crate::plan::{RangeLeaf, Steps};

/// Entries of a series in the same windows.
#[derive(Debug, Clone, Copy)]
struct Run {
    series: u32,
    entries: u32,
    ts: i64,
    /// Up to here entries are in the same windows.
    until: i64,
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    series: u32,
    ts: i64,
    value: f64,
}

/// What a helper collected from one run of entries.
#[derive(Debug, Default)]
pub struct Batch {
    /// Series that the helper had not named before: labels, and whether their entries fail the query.
    named: Vec<(Box<[u8]>, bool)>,
    runs: Vec<Run>,
    samples: Vec<Sample>,
    /// How many of each were taken.
    taken: (usize, usize, usize),
}

impl Batch {
    /// Bytes held, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        let named = self.named.iter().map(|(labels, _)| labels.len() + 32);
        self.runs.capacity() * size_of::<Run>()
            + self.samples.capacity() * size_of::<Sample>()
            + named.sum::<usize>()
    }
}

/// A helper's numbers of series, as the accumulator knows them.
#[derive(Debug, Default)]
pub struct Names(Vec<SeriesId>);

impl Names {
    /// Bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.capacity() * size_of::<SeriesId>()
    }
}

/// A helper's end: collects batches.
#[derive(Debug)]
pub struct Collector<'p> {
    unwraps: bool,
    namer: Namer<'p>,
    windows: Windows,
    memory: Memory,
    batch: Batch,
}

impl<'p> Collector<'p> {
    /// For the same leaf and steps as the accumulator. Names of series and the entries of a batch may take `budget`
    /// bytes.
    #[must_use]
    pub fn new(leaf: &'p RangeLeaf, steps: Steps, budget: usize) -> Self {
        Collector {
            unwraps: leaf.unwraps,
            namer: Namer::new(leaf),
            windows: Windows::new(leaf, steps),
            memory: Memory::new(budget),
            batch: Batch::default(),
        }
    }

    /// What was collected since the last time.
    pub fn finish(&mut self) -> Batch {
        let batch = std::mem::take(&mut self.batch);
        let entries = batch.runs.capacity() * size_of::<Run>()
            + batch.samples.capacity() * size_of::<Sample>();
        self.memory.give(entries);
        batch
    }

    /// Bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.memory.used()
    }

    fn name(&mut self, outcome: &Outcome<'_>) -> Result<SeriesId, EvalError> {
        let (series, new) = self.namer.find(outcome, &mut self.memory)?;
        if let Some(New { failing }) = new {
            let labels = self.namer.keys.encoded(series.0);
            self.batch.named.push((labels.into(), failing));
        }
        Ok(series)
    }
}

impl Collect for Collector<'_> {
    fn series(&mut self, outcome: &Outcome<'_>) -> Result<SeriesId, EvalError> {
        self.name(outcome)
    }

    #[inline]
    fn series_of_stream(
        &mut self,
        stream: u32,
        outcome: &Outcome<'_>,
    ) -> Result<SeriesId, EvalError> {
        if let Some(series) = self.namer.of_stream(stream, outcome) {
            return Ok(series);
        }
        let series = self.name(outcome)?;
        self.namer.keep(stream, outcome, series);
        Ok(series)
    }

    #[inline]
    fn add(&mut self, series: SeriesId, ts: i64, len: usize) -> Result<(), EvalError> {
        if let Some(last) = self.batch.runs.last_mut()
            && last.series == series.0
            && (last.ts..=last.until).contains(&ts)
            && last.entries < u32::MAX
        {
            last.entries += 1;
            last.bytes = last.bytes.saturating_add(len as u64);
            return Ok(());
        }
        if self.windows.of(ts).is_none() {
            return Ok(());
        }
        let run = Run {
            series: series.0,
            entries: 1,
            ts,
            until: self.windows.same_until(ts),
            bytes: len as u64,
        };
        self.memory.push(&mut self.batch.runs, run)
    }

    #[inline]
    fn add_value(&mut self, series: SeriesId, ts: i64, value: f64) -> Result<(), EvalError> {
        if self.windows.of(ts).is_none() {
            return Ok(());
        }
        let sample = Sample {
            series: series.0,
            ts,
            value,
        };
        self.memory.push(&mut self.batch.samples, sample)
    }

    fn unwraps(&self) -> bool {
        self.unwraps
    }
}

impl Accumulator<'_> {
    /// Adds what a helper collected. `names` is the helper's, empty before its first batch. After an error the same batch
    /// may be given again, when there is more memory: it goes on where it ended.
    ///
    /// # Errors
    /// As [`Accumulator::add`].
    pub fn take(&mut self, names: &mut Names, batch: &mut Batch) -> Result<(), EvalError> {
        while let Some((labels, failing)) = batch.named.get(batch.taken.0) {
            let series = self.named(labels, *failing)?;
            names.0.push(series);
            batch.taken.0 += 1;
        }
        while let Some(run) = batch.runs.get(batch.taken.1) {
            let series = names.0[run.series as usize];
            self.add_bucket(series, run.ts, u64::from(run.entries), run.bytes)?;
            batch.taken.1 += 1;
        }
        while let Some(sample) = batch.samples.get(batch.taken.2) {
            let series = names.0[sample.series as usize];
            self.add_value(series, sample.ts, sample.value)?;
            batch.taken.2 += 1;
        }
        Ok(())
    }
}
