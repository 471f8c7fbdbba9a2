//! The store as its queries see it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use logql::eval::EvalError;
use logql::matcher::Matcher;
use logql::plan::Plan;
use logql::value::Value;
use wire::LabelSet;

use crate::api::{Cancel, QueryStats, Request, Store};
use crate::head::{OverBudget, Snapshot, Want};
use crate::index::Index;
use crate::query::{self, Damage, Limits, SegmentInfo, View};
use crate::segment::{self, Reader, SegmentError, SegmentSink};
use crate::store::Inner;

/// What only queries need: index, damage found, and the segments by the names that the index has for them.
#[derive(Debug)]
pub(crate) struct Queries {
    index: Index,
    damage: Damage,
    infos: Mutex<BTreeMap<u64, SegmentInfo>>,
}

impl Queries {
    pub(crate) fn new(index: Index) -> Queries {
        Queries {
            index,
            damage: Damage::default(),
            infos: Mutex::default(),
        }
    }

    /// Distinct damaged places found since start.
    pub(crate) fn damaged(&self) -> u64 {
        self.damage.count()
    }

    /// Learns the segments that are there at start, then brings the index in line.
    pub(crate) fn start(&self, inner: &Inner) {
        let sequences: Vec<u64> = {
            let state = inner.lock();
            state.head.segments().iter().map(|s| s.sequence).collect()
        };
        for sequence in sequences {
            // Recovery has read the summary a moment ago; what fails now fails again in each query, counted there.
            if let Ok(reader) = open(inner, sequence) {
                self.insert(&reader);
            }
        }
        query::reconcile(&StoreView {
            inner,
            queries: self,
        });
    }

    fn insert(&self, reader: &Reader) {
        let info = SegmentInfo::of(reader);
        let mut infos = self.infos.lock().unwrap_or_else(PoisonError::into_inner);
        infos.insert(info.key.sequence, info);
    }
}

impl SegmentSink for Queries {
    fn committed(&self, reader: &Reader) {
        self.insert(reader);
        SegmentSink::committed(&self.index, reader);
    }
}

fn open(inner: &Inner, sequence: u64) -> Result<Reader, SegmentError> {
    let path = inner.segments.join(segment::file_name(sequence));
    Reader::open(&*inner.disk, &path)
}

#[derive(Debug)]
struct StoreView<'a> {
    inner: &'a Inner,
    queries: &'a Queries,
}

impl View for StoreView<'_> {
    fn head(&self, want: &mut Want<'_>) -> Result<Snapshot, OverBudget> {
        let draft = self.inner.lock().head.snapshot(want)?;
        Ok(draft.finish())
    }

    fn segments(&self, committed: u64) -> Vec<SegmentInfo> {
        let infos = &self.queries.infos;
        let infos = infos.lock().unwrap_or_else(PoisonError::into_inner);
        infos.range(..=committed).map(|(_, info)| *info).collect()
    }

    fn open(&self, segment: &SegmentInfo) -> Result<Reader, SegmentError> {
        open(self.inner, segment.key.sequence)
    }

    fn index(&self) -> &Index {
        &self.queries.index
    }

    fn damage(&self) -> &Damage {
        &self.queries.damage
    }
}

impl Store {
    fn view(&self) -> StoreView<'_> {
        StoreView {
            inner: &self.inner,
            queries: &self.inner.queries,
        }
    }

    /// Runs a query that parsed. Blocks; call it on a query thread.
    ///
    /// # Errors
    /// See [`EvalError`].
    pub fn query(
        &self,
        plan: &Plan,
        request: &Request,
        cancel: &Cancel,
    ) -> Result<(Value, QueryStats), EvalError> {
        let limits = Limits {
            memory: self.inner.query_memory,
            series: self.inner.max_query_series,
        };
        query::run(&self.view(), limits, plan, request, cancel)
    }

    /// Names of labels of streams with data that may overlap `[start, end]`, sorted. Blocks.
    ///
    /// # Errors
    /// See [`EvalError`].
    pub fn label_names(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Result<Vec<String>, EvalError> {
        query::label_names(&self.view(), matchers, start, end)
    }

    /// Values of one label, sorted. Blocks.
    ///
    /// # Errors
    /// See [`EvalError`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start: i64,
        end: i64,
    ) -> Result<Vec<String>, EvalError> {
        query::label_values(&self.view(), name, matchers, start, end)
    }

    /// Streams that match any of the matcher groups (no group: all) with a chunk touching the range. Blocks.
    ///
    /// # Errors
    /// See [`EvalError`].
    pub fn series(
        &self,
        groups: &[Vec<Matcher>],
        start: i64,
        end: i64,
    ) -> Result<Vec<LabelSet>, EvalError> {
        query::series(&self.view(), groups, start, end)
    }
}
