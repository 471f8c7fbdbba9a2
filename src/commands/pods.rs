//! `drupelet query --pods-dir`: LogQL over a folder of pod logs as it is.
//!
//! Everything happens on this thread and ends with the process: nothing is written, so that Ctrl-C needs no handling.

use std::io::{self, Write};

use agent::folder::{Folder, FolderError, Limits, Trouble};
use logql::eval::{EvalError, Leaf as _, metric_instant, metric_range};
use logql::plan::{Direction, MetricPlan, Plan, Steps};
use logql::value::{Logs, Value};
use wire::query::{Pairs, Sample};

use super::query::{Printer, Row, query_of, step_of};
use crate::appliance::agent_config;
use crate::args::Raw;
use crate::ask::Range;
use crate::config::Config;
use crate::report::{Failure, note, written};
use crate::time::now_ns;

const PERMISSION: &str =
    "pod logs belong to root: run as root, or with the capability CAP_DAC_READ_SEARCH";

/// # Errors
/// Flags that do not go with it, a query that does not parse or cannot be answered, a directory without pod logs, or with
/// none that can be read.
pub(super) fn run(
    raw: &Raw,
    limit: &str,
    printer: &mut Printer<impl Write>,
) -> Result<(), Failure> {
    let config = checked(raw)?;
    let plan = logql::parse(query_of(raw)).map_err(|e| Failure::failed(e.message))?;
    let limit = entries(limit, &plan, &config)?;
    let folder = open(&config)?;
    let value = evaluate(raw, &plan, &folder, &config, limit)?;
    let printed = print(value, printer).and_then(|()| printer.flush());
    written(printed)?;
    let read = folder.read();
    if read.opened == 0 && read.left_out > 0 {
        return Err(Failure::failed("none of the log files could be read").with_hint(PERMISSION));
    }
    Ok(())
}

/// The configuration, if the flags go together.
fn checked(raw: &Raw) -> Result<Config, Failure> {
    for flag in ["url", "data-dir", "follow"] {
        if raw.has(flag) {
            let failure = Failure::usage(format!("`--pods-dir` and `--{flag}` exclude each other"));
            return Err(match flag {
                "follow" => failure.with_hint(
                    "`drupelet run` stores lines as they come, then `drupelet query --follow` shows them",
                ),
                _ => failure,
            });
        }
    }
    Config::load(raw, &crate::environment)
}

/// The limit on entries, if the configuration allows it.
fn entries(limit: &str, plan: &Plan, config: &Config) -> Result<usize, Failure> {
    let limit = limit.parse().unwrap_or(usize::MAX);
    let most = config.max_entries_limit_per_query;
    if matches!(plan, Plan::Log(_)) && limit > most {
        return Err(Failure::failed(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({limit} > {most})"
        ))
        .with_hint(format!(
            "DRUPELET_MAX_ENTRIES_LIMIT_PER_QUERY={limit} allows it; DRUPELET_QUERY_MEMORY bounds what they may hold"
        )));
    }
    Ok(limit)
}

fn open(config: &Config) -> Result<Folder, Failure> {
    let agent = agent_config(config, std::sync::Arc::default());
    agent.check().map_err(|e| Failure::usage(e.to_string()))?;
    let limits = Limits {
        memory: config.query_memory,
        series: config.max_query_series,
        now: now_ns(),
    };
    let tell = |trouble: &Trouble| {
        Failure::failed(trouble.to_string()).warn(&mut io::stderr().lock());
    };
    let folder = Folder::open(agent, limits, Box::new(tell)).map_err(|e| refused(&e))?;
    if folder.root() != config.pods_dir {
        note(&format!("reading `{}`", folder.root().display()));
    }
    Ok(folder)
}

/// A folder that cannot be asked, in the user's words.
fn refused(error: &FolderError) -> Failure {
    let failure = match error {
        FolderError::Unreadable { source, .. } => Failure::caused(error.to_string(), source),
        _ => Failure::failed(error.to_string()),
    };
    match error {
        FolderError::Unreadable { source, .. } => match source.kind() {
            io::ErrorKind::PermissionDenied => failure.with_hint(PERMISSION),
            _ => failure.with_hint(
                "`--pods-dir` is the directory that holds NAMESPACE_POD_UID directories, such as /var/log/pods",
            ),
        },
        FolderError::NoPods { .. } => failure.with_hint(
            "`--pods-dir` is the directory that holds NAMESPACE_POD_UID directories, such as /var/log/pods or its copy; \
             one above it, a pod's own or a container's will do too",
        ),
        FolderError::NoLogs { .. } => failure.with_hint(
            "was only a part of the folder copied? Log files are NAMESPACE_POD_UID/CONTAINER/0.log, 0.log.TIME and \
             0.log.TIME.gz; with Docker they are links into /var/lib/docker/containers",
        ),
        FolderError::TooMany { .. } => failure.with_hint(
            "name a pod's own directory, or allow more memory: DRUPELET_QUERY_MEMORY=64MiB",
        ),
    }
}

fn evaluate(
    raw: &Raw,
    plan: &Plan,
    folder: &Folder,
    config: &Config,
    limit: usize,
) -> Result<Value, Failure> {
    let ranged = ["since", "from", "to"].iter().any(|flag| raw.has(flag));
    let range = ranged.then(|| Range::from_flags(raw)).transpose()?;
    let step = raw.get("step").map(step_of).transpose()?;
    let value = match (plan, step) {
        (Plan::Log(leaf), _) => {
            let direction = if raw.has("forward") {
                Direction::Forward
            } else {
                Direction::Backward
            };
            let (start, end) = range.map_or((i64::MIN, i64::MAX), |r| (r.start, r.end));
            let logs = folder.logs(leaf, start, end, limit, direction);
            logs.map(Value::Logs)
        }
        (Plan::Metric(plan), None) => {
            let newest = || folder.newest().unwrap_or_else(now_ns);
            let time = range.map_or_else(newest, |r| r.end);
            metric_instant(plan, time, limits(config), folder)
        }
        (Plan::Metric(plan), Some(step)) => {
            let step = i64::try_from(step.as_nanos()).unwrap_or(i64::MAX);
            steps(plan, folder, config, range, step)?
        }
    };
    value.map_err(|e| unanswered(&e))
}

fn limits(config: &Config) -> logql::eval::Limits {
    logql::eval::Limits {
        series: config.max_query_series,
        memory: config.query_memory,
    }
}

/// A metric query at every step of the range, or from the oldest line to the newest.
fn steps(
    plan: &MetricPlan,
    folder: &Folder,
    config: &Config,
    range: Option<Range>,
    step: i64,
) -> Result<Result<Value, EvalError>, Failure> {
    let whole = || {
        let end = folder.newest().unwrap_or_else(now_ns);
        let start = folder.oldest().unwrap_or(end).min(end);
        Range { start, end }
    };
    let Range { start, end } = range.unwrap_or_else(whole);
    if Steps::too_many(start, end, step) {
        return Err(Failure::failed(
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step \
             parameter",
        )
        .with_hint("`--since`, `--from` and `--to` shorten the range, a larger `--step` has fewer points"));
    }
    let steps = Steps::of_range(start, end, step, config.align_queries_with_step);
    Ok(metric_range(plan, steps, limits(config), folder))
}

fn unanswered(error: &EvalError) -> Failure {
    let failure = Failure::failed(error.to_string());
    match error {
        EvalError::Limit(_) => failure.with_hint(
            "DRUPELET_QUERY_MEMORY=64MiB, or `query_memory` in the file of `--config`, allows more",
        ),
        _ => failure,
    }
}

fn print(value: Value, printer: &mut Printer<impl Write>) -> io::Result<()> {
    match value {
        Value::Logs(logs) => print_logs(logs, printer),
        Value::Matrix(matrix) => {
            for series in &matrix.series {
                for (ts, value) in &series.points {
                    printer.sample(&series.labels, sample(*ts, *value))?;
                }
            }
            Ok(())
        }
        Value::Vector(points) => {
            for (labels, ts, value) in &points {
                printer.sample(labels, sample(*ts, *value))?;
            }
            Ok(())
        }
        Value::Scalar(ts, value) => printer.sample(&Vec::new(), sample(ts, value)),
    }
}

/// In milliseconds, as answers of servers have them.
fn sample(ts: i64, value: f64) -> Sample {
    Sample(ts / 1_000_000 * 1_000_000, value)
}

fn print_logs(logs: Logs, printer: &mut Printer<impl Write>) -> io::Result<()> {
    let own = |(name, value, _): (&str, &str, _)| (name.to_owned(), value.to_owned());
    let sets = logs.label_sets.iter();
    let sets: Vec<Pairs> = sets.map(|set| set.iter().map(own).collect()).collect();
    logs.entries.iter().try_for_each(|entry| {
        printer.row(Row {
            ts: entry.ts,
            labels: &sets[entry.labels as usize],
            line: &String::from_utf8_lossy(&entry.line),
        })
    })
}
