//! Range aggregations: every line of the parts that windows can hold, into an accumulator.

use logql::eval::{Accumulator, Collect as _, EvalError, Known};
use logql::pipeline::{EntryView, LineFilter, PipelineRun};
use logql::plan::{RangeLeaf, Steps};
use logql::value::Matrix;

use super::owner::{Owner, Views, is_selected};
use super::reading::Line;
use super::sieve::Sieve;
use super::tree::Part;
use super::{Folder, MARGIN, State};
use crate::labels::LEVELS;

/// The aggregation at every step.
pub(super) fn range(
    folder: &Folder,
    state: &mut State,
    leaf: &RangeLeaf,
    steps: Steps,
    held: usize,
) -> Result<Matrix, EvalError> {
    let (series, memory) = (folder.limits.series, folder.limits.memory);
    let sum = Accumulator::new(leaf, steps, series, memory).beside(folder.held + held);
    // Windows are open below and closed above.
    let (after, last) = leaf.span(steps);
    let Some(first) = after.checked_add(1).filter(|first| *first <= last) else {
        return sum.finish();
    };
    let mut scan = RangeScan {
        span: (first, last),
        filters: leaf.pipeline.leading_filters(),
        pipeline: leaf.pipeline.run().at(folder.limits.now),
        fixed: leaf.pipeline.only_labels() && !leaf.pipeline.uses_time(),
        sum,
    };
    let sieve = Sieve::new(scan.filters);
    let unwanted = |part: &Part| part.misses(first, last);
    // All of them before any is read: what is rotated meanwhile is known again.
    for instance in &mut state.instances {
        if instance.modified().saturating_add(MARGIN) >= first
            && is_selected(instance, &leaf.matchers, &folder.config)
        {
            instance.prepare();
        }
    }
    for i in 0..state.instances.len() {
        let instance = &mut state.instances[i];
        if instance.modified().saturating_add(MARGIN) < first {
            continue;
        }
        let owner = Owner::new(instance, &folder.config);
        let Some(views) = owner.views(&leaf.matchers, &folder.config) else {
            continue;
        };
        let mut memo = None;
        for part in 0..instance.parts.len() {
            if instance.parts[part].done || unwanted(&instance.parts[part]) {
                continue;
            }
            if memo.is_none() && scan.fixed {
                memo = Some(scan.memo(&views)?);
            }
            state.reading.part(
                instance,
                part,
                sieve.as_ref(),
                &unwanted,
                &mut |_, lines| match &memo {
                    Some(memo) => scan.add_fixed(memo, &views, lines),
                    None => scan.add_any(i, &views, lines),
                },
            )?;
        }
    }
    scan.sum.finish()
}

struct RangeScan<'p> {
    /// First and last timestamp that any window holds.
    span: (i64, i64),
    /// The filters that lines must pass.
    filters: &'p [LineFilter],
    pipeline: PipelineRun<'p>,
    /// Whether stream and metadata alone say which series a line belongs to, and its value.
    fixed: bool,
    sum: Accumulator<'p>,
}

/// What lines are, by stream and level; `None`: the pipeline drops them.
struct Memo {
    known: [[Option<Known>; LEVELS.len()]; 2],
    /// Whether the level makes no difference.
    same: [bool; 2],
}

impl RangeScan<'_> {
    fn memo(&mut self, views: &Views<'_>) -> Result<Memo, EvalError> {
        let mut memo = Memo {
            known: [[None; LEVELS.len()]; 2],
            same: [true; 2],
        };
        let levels = if views.leveled { LEVELS.len() } else { 1 };
        for stream in 0..2 {
            if !views.wanted[stream] {
                continue;
            }
            for level in 0..levels {
                let view = EntryView {
                    ts: 0,
                    line: b"",
                    stream: views.stream(stream),
                    metadata: views.metadata(level as u8),
                };
                if let Some(outcome) = self.pipeline.process_filtered(&view) {
                    memo.known[stream][level] = Some(self.sum.known(&outcome)?);
                }
            }
            let known = &memo.known[stream];
            memo.same[stream] = known[..levels].iter().all(|one| *one == known[0]);
        }
        Ok(memo)
    }

    /// Whether a line counts at all.
    #[inline]
    fn passes(&self, views: &Views<'_>, line: &Line<'_>) -> bool {
        views.wanted[line.stream]
            && line.ts >= self.span.0
            && line.ts <= self.span.1
            && self.filters.iter().all(|f| f.matches(line.bytes))
    }

    fn add_fixed(
        &mut self,
        memo: &Memo,
        views: &Views<'_>,
        lines: &mut dyn Iterator<Item = Line<'_>>,
    ) -> Result<(), EvalError> {
        for line in lines {
            if !self.passes(views, &line) {
                continue;
            }
            let level = if memo.same[line.stream] {
                0
            } else {
                views.level(&line)
            };
            let Some(known) = memo.known[line.stream][usize::from(level)] else {
                continue;
            };
            self.sum.add_known(known, line.ts, line.bytes.len())?;
        }
        Ok(())
    }

    fn add_any(
        &mut self,
        instance: usize,
        views: &Views<'_>,
        lines: &mut dyn Iterator<Item = Line<'_>>,
    ) -> Result<(), EvalError> {
        for line in lines {
            if !self.passes(views, &line) {
                continue;
            }
            if let Some(outcome) = self.pipeline.process_filtered(&views.entry(&line)) {
                let stream = (instance * 2 + line.stream) as u32;
                let series = self.sum.series_of_stream(stream, &outcome)?;
                self.sum.add_outcome(series, line.ts, &outcome)?;
            }
        }
        Ok(())
    }
}
