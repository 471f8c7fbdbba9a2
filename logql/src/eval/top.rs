//! The first `limit` entries of a log query, kept while parts of the data arrive in about the right order.
//!
//! Order of an answer (it is Loki's): time in the direction asked; at one instant the label-set text, rising in both
//! directions; within one label set arrival order, reversed for `backward`.

use super::EvalError;
use super::label_sets::LabelSets;
use super::memory::over_budget;
use crate::pipeline::Outcome;
use crate::plan::Direction;
use crate::value::{LogEntry, Logs};

/// Where an entry stands among entries of its stream with the same timestamp: compared field by field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arrival {
    /// What holds it, in order of arrival.
    pub sequence: u64,
    /// The part of that.
    pub chunk: u32,
    /// Entry within the part.
    pub entry: u32,
}

#[derive(Debug)]
struct Kept {
    ts: i64,
    labels: u32,
    arrival: Arrival,
    line: Vec<u8>,
}

/// Labels that entries of a [`Top`] have, until it gives them another number.
#[derive(Debug, Clone, Copy)]
pub struct KnownLabels {
    id: u32,
    round: u32,
}

/// Collects entries and forgets those beyond the limit.
#[derive(Debug)]
pub struct Top {
    direction: Direction,
    limit: usize,
    kept: Vec<Kept>,
    labels: LabelSets,
    /// How often labels got new numbers.
    round: u32,
    line_bytes: usize,
    /// Time of the last entry of the answer, once there are `limit`.
    threshold: Option<i64>,
    trim_at: usize,
}

impl Top {
    /// An empty collection of at most `limit` entries.
    #[must_use]
    pub fn new(limit: usize, direction: Direction) -> Top {
        Top {
            direction,
            limit,
            kept: Vec::new(),
            labels: LabelSets::default(),
            round: 0,
            line_bytes: 0,
            threshold: None,
            trim_at: limit,
        }
    }

    /// Whether an entry at `ts` may still be part of the answer.
    #[must_use]
    pub fn wants(&self, ts: i64) -> bool {
        match (self.threshold, self.direction) {
            _ if self.limit == 0 => false,
            (None, _) => true,
            (Some(t), Direction::Backward) => ts >= t,
            (Some(t), Direction::Forward) => ts <= t,
        }
    }

    /// The part of `start..end` in which entries may still be part of the answer.
    #[must_use]
    pub fn cut(&self, start: i64, end: i64) -> (i64, i64) {
        match (self.threshold, self.direction) {
            (None, _) => (start, end),
            (Some(t), Direction::Backward) => (start.max(t), end),
            (Some(t), Direction::Forward) => (start, end.min(t.saturating_add(1))),
        }
    }

    /// Takes an entry that [`Top::wants`]. All of them may hold `budget` bytes, together with `held` bytes of others. Returns
    /// its labels, for [`Top::push_known`].
    ///
    /// # Errors
    /// [`EvalError::Limit`] over the budget.
    pub fn push(
        &mut self,
        ts: i64,
        arrival: Arrival,
        outcome: &Outcome<'_>,
        (budget, held): (usize, usize),
    ) -> Result<KnownLabels, EvalError> {
        let labels = self.labels.intern(outcome.labels);
        let known = KnownLabels {
            id: labels,
            round: self.round,
        };
        let kept = Kept {
            ts,
            labels,
            arrival,
            line: outcome.line.to_vec(),
        };
        self.add(kept, (budget, held))?;
        Ok(known)
    }

    /// The same for an entry with the labels of another. False when they have another number by now: it was not taken.
    ///
    /// # Errors
    /// As [`Top::push`].
    pub fn push_known(
        &mut self,
        (ts, line): (i64, &[u8]),
        arrival: Arrival,
        labels: KnownLabels,
        (budget, held): (usize, usize),
    ) -> Result<bool, EvalError> {
        if labels.round != self.round {
            return Ok(false);
        }
        let kept = Kept {
            ts,
            labels: labels.id,
            arrival,
            line: line.to_vec(),
        };
        self.add(kept, (budget, held))?;
        Ok(true)
    }

    /// Whether it trimmed, after which labels have other ids.
    fn add(&mut self, kept: Kept, (budget, held): (usize, usize)) -> Result<bool, EvalError> {
        self.line_bytes += kept.line.len();
        self.kept.push(kept);
        let crowded = self.labels.len() > 2 * self.kept.len() + 1024;
        if self.kept.len() >= self.trim_at || crowded || self.memory() + held > budget {
            self.trim();
            if self.memory() + held > budget {
                return Err(over_budget(budget));
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Takes over what another worker collected, with the same limit and direction and from other entries.
    ///
    /// # Errors
    /// As [`Top::push`].
    pub fn merge(&mut self, other: Top, (budget, held): (usize, usize)) -> Result<(), EvalError> {
        let sets = other.labels;
        // Ids here of the other's sets.
        let mut ids: Vec<Option<u32>> = vec![None; sets.len()];
        for kept in other.kept {
            if !self.wants(kept.ts) {
                continue;
            }
            let at = kept.labels as usize;
            // Trimming gives new ids, so what was known then is looked up again.
            let labels = match ids[at] {
                Some(id) => id,
                None => self.labels.intern_of(&sets, kept.labels),
            };
            ids[at] = Some(labels);
            if self.add(Kept { labels, ..kept }, (budget, held))? {
                ids.fill(None);
            }
        }
        Ok(())
    }

    /// Bytes held, about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.line_bytes + self.kept.len() * (size_of::<Kept>() + 16) + self.labels.memory()
    }

    fn trim(&mut self) {
        self.sort();
        self.kept.truncate(self.limit);
        if self.kept.len() == self.limit {
            self.threshold = self.kept.last().map(|k| k.ts);
        }
        self.trim_at = self.limit + (self.limit / 2).max(64);
        self.line_bytes = self.kept.iter().map(|k| k.line.len()).sum();
        if self.labels.len() > 2 * self.kept.len() {
            self.round += 1;
            self.labels
                .retain(self.kept.iter_mut().map(|k| &mut k.labels));
        }
    }

    fn sort(&mut self) {
        let (labels, direction) = (&self.labels, self.direction);
        self.kept.sort_unstable_by(|a, b| {
            let by_labels = || labels.compare(a.labels, b.labels);
            match direction {
                Direction::Forward => (a.ts.cmp(&b.ts))
                    .then_with(by_labels)
                    .then_with(|| a.arrival.cmp(&b.arrival)),
                Direction::Backward => (b.ts.cmp(&a.ts))
                    .then_with(by_labels)
                    .then_with(|| b.arrival.cmp(&a.arrival)),
            }
        });
    }

    /// The answer.
    #[must_use]
    pub fn finish(mut self) -> Logs {
        self.trim();
        self.labels
            .retain(self.kept.iter_mut().map(|k| &mut k.labels));
        Logs {
            label_sets: self.labels.into_sets(),
            entries: self
                .kept
                .into_iter()
                .map(|k| LogEntry {
                    ts: k.ts,
                    line: k.line,
                    labels: k.labels,
                })
                .collect(),
        }
    }
}

#[cfg(test)]
#[path = "top_tests.rs"]
mod tests;
