//! What a query thread does for a request.

use std::time::Instant;

use logql::eval::EvalError;
use logql::matcher::Matcher;
use logql::plan::Plan;
use logql::value::{Logs, Value};

use super::Backend;
use super::encode::{self, Gone, IndexStats, Pieces, Shape, Timing};
use super::metrics::Counters;
use super::params::Bounds;
use super::reply::{Refusal, Reply};
use crate::api::{Cancel, QueryStats, Request};

/// A request whose parameters are resolved.
pub(super) enum Work {
    Query {
        plan: Box<Plan>,
        request: Request,
        shape: Shape,
        /// Rows nearer than this to the last one are left out, ns; 0 for all rows.
        interval: i64,
    },
    Labels(Vec<Matcher>, Bounds),
    Values(String, Vec<Matcher>, Bounds),
    Series(Vec<Vec<Matcher>>, Bounds),
    IndexStats {
        matchers: Vec<Matcher>,
        bounds: Bounds,
        /// Metric plans that count entries and line bytes of the range.
        entries: Box<Plan>,
        bytes: Box<Plan>,
    },
    /// A query laid out anew.
    Formatted(String),
}

/// What the store gave.
enum Found {
    Query(Value, QueryStats, Shape),
    Strings(Vec<String>),
    Series(Vec<wire::LabelSet>),
    IndexStats(IndexStats),
    Formatted(String),
}

/// Runs `work` and answers. `came` is when the request came.
pub(super) fn run(
    work: Work,
    backend: &dyn Backend,
    counters: &Counters,
    cancel: &Cancel,
    came: Instant,
    mut reply: Reply,
) {
    let began = Instant::now();
    let found = match find(work, backend, cancel) {
        Ok(found) => found,
        Err(error) => return reply.refuse(Refusal::from(error)),
    };
    let timing = Timing {
        queue: began.duration_since(came).as_secs_f64(),
        exec: began.elapsed().as_secs_f64(),
    };
    if let Found::Query(_, stats, _) = &found {
        counters.query(stats);
    }
    let mut send = |piece| reply.piece(piece);
    let mut out = Pieces::new(&mut send);
    if write(&mut out, &found, timing).is_ok() {
        let rest = out.finish();
        // The values may be large, and the client slow.
        drop(found);
        reply.finish(rest);
    }
}

fn write(out: &mut Pieces<'_>, found: &Found, timing: Timing) -> Result<(), Gone> {
    match found {
        Found::Query(value, stats, shape) => encode::answer(out, value, *shape, stats, timing),
        Found::Strings(values) => encode::strings(out, values),
        Found::Series(sets) => encode::series(out, sets),
        Found::IndexStats(stats) => {
            encode::index_stats(out, *stats);
            Ok(())
        }
        Found::Formatted(text) => {
            encode::formatted(out, text);
            Ok(())
        }
    }
}

fn find(work: Work, backend: &dyn Backend, cancel: &Cancel) -> Result<Found, EvalError> {
    match work {
        Work::Query {
            plan,
            request,
            shape,
            interval,
        } => {
            let (mut value, stats) = backend.query(&plan, &request, cancel)?;
            if let Value::Logs(logs) = &mut value
                && interval > 0
            {
                thin(logs, interval);
            }
            Ok(Found::Query(value, stats, shape))
        }
        Work::Labels(matchers, (start, end)) => backend
            .label_names(&matchers, start, end, cancel)
            .map(Found::Strings),
        Work::Values(name, matchers, (start, end)) => backend
            .label_values(&name, &matchers, start, end, cancel)
            .map(Found::Strings),
        Work::Series(groups, (start, end)) => backend
            .series(&groups, start, end, cancel)
            .map(Found::Series),
        Work::Formatted(text) => Ok(Found::Formatted(text)),
        Work::IndexStats {
            matchers,
            bounds,
            entries,
            bytes,
        } => {
            let streams = backend
                .series(&[matchers], bounds.0, bounds.1, cancel)?
                .len() as u64;
            // The window of an instant is open at its beginning and closed at its end; the range is the other way round.
            let request = Request::Instant {
                time: bounds.1.saturating_sub(1),
            };
            let count = |plan: &Plan| -> Result<(u64, u64), EvalError> {
                let (value, stats) = backend.query(plan, &request, cancel)?;
                let sum = match &value {
                    Value::Vector(points) => points.iter().map(|(_, _, v)| v).sum(),
                    _ => 0.0,
                };
                Ok((sum as u64, stats.chunks_matched))
            };
            let (entries, chunks) = count(&entries)?;
            let (bytes, _) = count(&bytes)?;
            Ok(Found::IndexStats(IndexStats {
                streams,
                chunks,
                bytes,
                entries,
            }))
        }
    }
}

/// Keeps the first row and then each that is at least `interval` from the last kept.
fn thin(logs: &mut Logs, interval: i64) {
    let mut last: Option<i64> = None;
    logs.entries.retain(|entry| {
        let keep = last.is_none_or(|last| entry.ts.abs_diff(last) >= interval.unsigned_abs());
        if keep {
            last = Some(entry.ts);
        }
        keep
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use logql::value::{EntryLabels, LogEntry};

    #[test]
    fn interval_thins_rows_in_both_directions() {
        for (times, interval, want) in [
            (vec![1, 2, 3, 5, 5, 8], 2, vec![1, 3, 5, 8]),
            (vec![8, 5, 5, 3, 2, 1], 2, vec![8, 5, 3, 1]),
            (vec![i64::MIN, i64::MAX], i64::MAX, vec![i64::MIN, i64::MAX]),
            (vec![], 1, vec![]),
        ] {
            let entry = |ts: &i64| LogEntry {
                ts: *ts,
                line: vec![],
                labels: 0,
            };
            let mut logs = Logs {
                label_sets: vec![EntryLabels::default()],
                entries: times.iter().map(entry).collect(),
            };
            thin(&mut logs, interval);
            let got: Vec<i64> = logs.entries.iter().map(|e| e.ts).collect();
            assert_eq!(got, want);
        }
    }
}
