//! What a metric query holds, counted.

use std::sync::Arc;

use super::EvalError;
use crate::value::{Matrix, SeriesLabels};

/// Bytes of a point of a series.
pub(super) const POINT: usize = size_of::<(i64, f64)>();
/// Bytes that a string is taken to need beside its text: the handle, and what the allocator adds.
const STRING: usize = size_of::<String>() + 8;
/// Bytes that a series is taken to need beside its labels and points.
const SERIES: usize = 80;

/// Whoever grants a query memory beside other queries.
pub trait Grants: std::fmt::Debug + Send + Sync {
    /// Grants that the query holds so many bytes at once, or more. May wait for others to end.
    ///
    /// # Errors
    /// When the query is to end.
    fn grant(&self, bytes: usize) -> Result<usize, EvalError>;
}

/// Bytes in use, and how many they may be.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    /// Bytes that the query may hold without asking.
    granted: usize,
    grants: Option<Arc<dyn Grants>>,
    /// Bytes of the limit that other parts of the query hold.
    others: usize,
    used: usize,
}

impl Memory {
    pub(super) fn new(limit: usize) -> Self {
        Memory {
            limit,
            granted: usize::MAX,
            grants: None,
            others: 0,
            used: 0,
        }
    }

    /// Other parts of the query hold so many bytes.
    pub(super) fn beside(&mut self, others: usize) {
        self.others = others;
    }

    /// Bytes are granted before they are taken.
    pub(super) fn granted_by(&mut self, grants: Option<Arc<dyn Grants>>) {
        if grants.is_some() {
            self.granted = 0;
        }
        self.grants = grants;
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    pub(super) fn left(&self) -> usize {
        self.limit.saturating_sub(self.others + self.used)
    }

    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Counts bytes that are about to be allocated.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), EvalError> {
        let used = self.used.saturating_add(bytes);
        let all = used.saturating_add(self.others);
        if all > self.limit {
            return Err(over_budget(self.limit));
        }
        if all > self.granted {
            self.grant(all)?;
        }
        self.used = used;
        Ok(())
    }

    #[cold]
    fn grant(&mut self, bytes: usize) -> Result<(), EvalError> {
        if let Some(grants) = &self.grants {
            self.granted = grants.grant(bytes)?;
        }
        Ok(())
    }

    /// Counts bytes that are no longer held.
    pub(super) fn give(&mut self, bytes: usize) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Pushes, and counts what the vector grows by.
    #[inline]
    pub(super) fn push<T>(&mut self, list: &mut Vec<T>, item: T) -> Result<(), EvalError> {
        if list.len() == list.capacity() {
            self.grow(list)?;
        }
        list.push(item);
        Ok(())
    }

    #[cold]
    fn grow<T>(&mut self, list: &mut Vec<T>) -> Result<(), EvalError> {
        let more = (list.len() / 2).max(4);
        // For a moment both the old and the new array are there.
        let old = list.capacity() * size_of::<T>();
        self.take((list.len() + more) * size_of::<T>())?;
        list.reserve_exact(more);
        self.give(old);
        Ok(())
    }
}

/// The error of a query that needs more than `limit` bytes.
#[must_use]
pub fn over_budget(limit: usize) -> EvalError {
    EvalError::Limit(format!(
        "query needs more than {limit} bytes of memory (query_memory): select fewer streams or series (aggregate with sum \
         by), a shorter range, a larger step or a lower limit"
    ))
}

/// Bytes of a label set.
pub(super) fn of_labels(labels: &SeriesLabels) -> usize {
    let text = labels.iter().map(|(n, v)| n.len() + v.len());
    SERIES + labels.len() * 2 * STRING + text.sum::<usize>()
}

/// Bytes of a matrix.
pub(super) fn of_matrix(matrix: &Matrix) -> usize {
    let series = matrix.series.iter();
    series
        .map(|s| of_labels(&s.labels) + s.points.capacity() * POINT)
        .sum()
}
