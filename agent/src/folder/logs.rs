//! Log queries: the first `limit` entries in the direction asked.
//!
//! Parts wait in a heap, ordered by the first moment that they can contribute; an instance at the top is replaced by its
//! parts. Reading ends when the top lies beyond the last entry of a full answer.

use std::collections::BinaryHeap;

use logql::eval::{Arrival, EvalError, Top};
use logql::pipeline::{LineFilter, PipelineRun};
use logql::plan::{Direction, LogLeaf};
use logql::value::Logs;

use super::owner::{Owner, Views, is_selected};
use super::reading::Line;
use super::sieve::Sieve;
use super::tree::{Instance, Part};
use super::{Folder, MARGIN, State};

/// A part, or an instance whose parts are not known yet. Greater keys come first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    key: i64,
    instance: usize,
    part: Option<usize>,
}

/// Entries with `start <= ts < end`.
pub(super) fn logs(
    folder: &Folder,
    state: &mut State,
    leaf: &LogLeaf,
    (start, end): (i64, i64),
    (limit, direction): (usize, Direction),
) -> Result<Logs, EvalError> {
    if start >= end || limit == 0 {
        return Ok(Logs::default());
    }
    let mut scan = LogScan {
        range: (start, end),
        filters: leaf.pipeline.leading_filters(),
        pipeline: leaf.pipeline.run().at(folder.limits.now),
        top: Top::new(limit, direction),
        budget: folder.limits.memory,
        held: folder.held + leaf.regex_bytes,
    };
    let sieve = Sieve::new(scan.filters);
    let mut queue = Queue::new(folder, state, leaf, start, direction);
    while let Some(Item {
        instance: i, part, ..
    }) = queue.heap.pop()
    {
        let instance = &mut state.instances[i];
        let Some(index) = part else {
            if scan.wants_instance(instance, direction) {
                instance.prepare();
                queue.push_parts(i, instance, (start, end - 1));
            }
            continue;
        };
        if !scan.wants(&instance.parts[index]) {
            break;
        }
        if instance.parts[index].done {
            continue;
        }
        let owner = Owner::new(instance, &folder.config);
        let Some(views) = owner.views(&leaf.matchers, &folder.config) else {
            continue;
        };
        let mut entry = 0;
        // What is wanted shrinks while lines come, so a part that is unwanted now stays so.
        let unwanted = {
            let (first, last) = scan.top.cut(start, end);
            move |part: &Part| part.misses(first, last.saturating_sub(1))
        };
        state.reading.part(
            instance,
            index,
            sieve.as_ref(),
            &unwanted,
            &mut |part, lines| scan.take((i, part), &mut entry, &views, lines),
        )?;
    }
    Ok(scan.top.finish())
}

/// What is left to do.
struct Queue {
    heap: BinaryHeap<Item>,
    direction: Direction,
}

impl Queue {
    /// The instances of selected streams that were written to since `start`.
    fn new(
        folder: &Folder,
        state: &State,
        leaf: &LogLeaf,
        start: i64,
        direction: Direction,
    ) -> Queue {
        let instances = (0..).zip(&state.instances);
        let selected = instances.filter(|(_, instance)| {
            instance.modified().saturating_add(MARGIN) >= start
                && is_selected(instance, &leaf.matchers, &folder.config)
        });
        let items = selected.map(|(i, instance)| Item {
            key: match direction {
                Direction::Backward => instance.modified(),
                // When it begins is not known before its files are opened.
                Direction::Forward => i64::MAX,
            },
            instance: i,
            part: None,
        });
        Queue {
            heap: items.collect(),
            direction,
        }
    }

    fn push_parts(&mut self, i: usize, instance: &Instance, (first, last): (i64, i64)) {
        for (p, part) in instance.parts.iter().enumerate() {
            if !part.misses(first, last) {
                self.heap.push(Item {
                    key: match self.direction {
                        Direction::Backward => part.high,
                        Direction::Forward => !part.low,
                    },
                    instance: i,
                    part: Some(p),
                });
            }
        }
    }
}

struct LogScan<'p> {
    range: (i64, i64),
    filters: &'p [LineFilter],
    pipeline: PipelineRun<'p>,
    top: Top,
    budget: usize,
    /// Bytes of it that are taken by others.
    held: usize,
}

impl LogScan<'_> {
    /// Whether an instance whose files were not looked into may still contribute.
    fn wants_instance(&self, instance: &Instance, direction: Direction) -> bool {
        let newest = instance.modified().saturating_add(MARGIN);
        direction == Direction::Forward || self.top.wants(newest)
    }

    /// Whether a part may still contribute.
    fn wants(&self, part: &Part) -> bool {
        let (first, last) = self.top.cut(self.range.0, self.range.1);
        !part.misses(first, last.saturating_sub(1))
    }

    fn take(
        &mut self,
        (instance, part): (usize, usize),
        entry: &mut u32,
        views: &Views<'_>,
        lines: &mut dyn Iterator<Item = Line<'_>>,
    ) -> Result<(), EvalError> {
        let (start, end) = self.range;
        for line in lines {
            *entry += 1;
            if !views.wanted[line.stream]
                || line.ts < start
                || line.ts >= end
                || !self.top.wants(line.ts)
                || !self.filters.iter().all(|f| f.matches(line.bytes))
            {
                continue;
            }
            if let Some(outcome) = self.pipeline.process_filtered(&views.entry(&line)) {
                let arrival = Arrival {
                    sequence: instance as u64,
                    chunk: part as u32,
                    entry: *entry,
                };
                self.top
                    .push(line.ts, arrival, &outcome, (self.budget, self.held))?;
            }
        }
        Ok(())
    }
}
