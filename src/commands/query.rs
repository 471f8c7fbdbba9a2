//! `drupelet query`: LogQL by URL, on a data directory or over a folder of pod logs.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use wire::query::{Answer, Pairs, Sample, Stream};

use super::{follow, pods};
use crate::args::Raw;
use crate::ask::{Range, Target};
use crate::http_client::encode;
use crate::report::{Failure, Newlines, sanitise, written};
use crate::time::{parse_duration, rfc3339};

/// Matches everything: every stream has a namespace, or at least no empty set of labels.
const EVERYTHING: &str = r#"{namespace=~".+"}"#;
const DEFAULT_LIMIT: &str = "30";
/// Flags that mean something for a folder of pod logs only.
const PODS_FLAGS: [&str; 3] = ["config", "label", "node-name"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Default,
    Raw,
    Jsonl,
}

/// # Errors
/// Wrong flags, no answer, or the server's error.
pub(crate) fn run(raw: &Raw) -> Result<(), Failure> {
    let pods = raw.has("pods-dir");
    if let Some(flag) = PODS_FLAGS.iter().find(|flag| !pods && raw.has(flag)) {
        return Err(Failure::usage(format!(
            "`--{flag}` goes with `--pods-dir`: a store has its own labels and limits"
        )));
    }
    let stdout = io::stdout();
    let mut printer = Printer {
        safe: stdout.is_terminal(),
        out: io::BufWriter::new(stdout.lock()),
        output: output(raw)?,
    };
    if pods {
        return pods::run(raw, limit(raw)?, &mut printer);
    }
    if raw.has("follow") {
        return follow::run(raw, limit(raw)?, &mut printer);
    }
    let path = path(raw)?;
    let body = Target::from_flags(raw)?.get(&path)?;
    let answer = wire::query::decode(&body)
        .map_err(|e| Failure::caused("the server's answer cannot be read", &e))?;
    let forward = raw.has("forward");
    let printed = printer
        .answer(answer, forward)
        .and_then(|()| printer.flush());
    written(printed)
}

/// The query, or the one for everything.
pub(super) fn query_of(raw: &Raw) -> &str {
    raw.operands.first().map_or(EVERYTHING, String::as_str)
}

fn limit(raw: &Raw) -> Result<&str, Failure> {
    let limit = raw.get("limit").unwrap_or(DEFAULT_LIMIT);
    if limit.parse::<u32>().map_or(true, |n| n == 0) {
        return Err(Failure::usage(format!(
            "`--limit` is `{limit}`, expected a number of at least 1"
        )));
    }
    Ok(limit)
}

fn output(raw: &Raw) -> Result<Output, Failure> {
    match raw.get("output").unwrap_or("default") {
        "default" => Ok(Output::Default),
        "raw" => Ok(Output::Raw),
        "jsonl" => Ok(Output::Jsonl),
        other => Err(Failure::usage(format!(
            "`--output` is `{other}`, expected default, raw or jsonl"
        ))),
    }
}

/// Entries come from `query_range`; so do metrics with `--step`, and without it their value at the end of the range.
fn path(raw: &Raw) -> Result<String, Failure> {
    let query = query_of(raw);
    let range = Range::from_flags(raw)?;
    let limit = limit(raw)?;
    let step = raw.get("step");
    let instant = step.is_none() && matches!(logql::parse(query), Ok(logql::plan::Plan::Metric(_)));
    let query = encode(query);
    if instant {
        return Ok(format!(
            "/loki/api/v1/query?query={query}&time={}",
            range.end
        ));
    }
    let direction = if raw.has("forward") {
        "forward"
    } else {
        "backward"
    };
    let mut path = format!(
        "/loki/api/v1/query_range?query={query}&{}&limit={limit}&direction={direction}",
        range.parameters()
    );
    if let Some(step) = step {
        let parsed = step_of(step)?;
        path.push_str(&format!("&step={}", parsed.as_secs_f64()));
    }
    Ok(path)
}

/// The value of `--step`.
pub(super) fn step_of(text: &str) -> Result<Duration, Failure> {
    let step = parse_duration(text).filter(|d| !d.is_zero());
    step.ok_or_else(|| {
        Failure::usage(format!(
            "`--step` is `{text}`, expected a duration such as 1m"
        ))
    })
}

/// An entry of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    pub(super) ts: i64,
    pub(super) labels: &'a Pairs,
    pub(super) line: &'a str,
}

/// Entries of all streams in one order; the stable sort keeps the server's order among equal times.
pub(super) fn rows(streams: &[Stream], forward: bool) -> Vec<Row<'_>> {
    let entries = streams
        .iter()
        .flat_map(|s| s.entries.iter().map(move |e| (&s.labels, e)));
    let mut rows: Vec<Row<'_>> = entries
        .map(|(labels, entry)| Row {
            ts: entry.ts,
            labels,
            line: &entry.line,
        })
        .collect();
    if forward {
        rows.sort_by_key(|row| row.ts);
    } else {
        rows.sort_by_key(|row| std::cmp::Reverse(row.ts));
    }
    rows
}

pub(super) struct Printer<W> {
    out: W,
    output: Output,
    /// Escape what could harm a terminal.
    safe: bool,
}

impl<W: Write> Printer<W> {
    fn answer(&mut self, answer: Answer, forward: bool) -> io::Result<()> {
        match answer {
            Answer::Streams(streams) => rows(&streams, forward)
                .into_iter()
                .try_for_each(|row| self.row(row)),
            Answer::Matrix(series) => {
                for one in &series {
                    for sample in &one.values {
                        self.sample(&one.metric, *sample)?;
                    }
                }
                Ok(())
            }
            Answer::Vector(points) => {
                for point in &points {
                    self.sample(&point.metric, point.value)?;
                }
                Ok(())
            }
            Answer::Scalar(sample) => self.sample(&Vec::new(), sample),
        }
    }

    /// Prints one entry.
    pub(super) fn row(&mut self, Row { ts, labels, line }: Row<'_>) -> io::Result<()> {
        match self.output {
            Output::Default => {
                let text = format!("{} {} {line}", rfc3339(ts, 9), show(labels));
                self.line(&text)
            }
            Output::Raw => self.line(line),
            Output::Jsonl => {
                let value = serde_json::json!({
                    "labels": object(labels), "line": line, "timestamp": rfc3339(ts, 9),
                });
                writeln!(self.out, "{value}")
            }
        }
    }

    /// Everything printed so far becomes visible.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Prints one sample.
    pub(super) fn sample(&mut self, labels: &Pairs, Sample(ts, value): Sample) -> io::Result<()> {
        match self.output {
            Output::Default => {
                let text = format!("{} {} {value}", rfc3339(ts, 3), show(labels));
                self.line(&text)
            }
            Output::Raw => self.line(&value.to_string()),
            Output::Jsonl => {
                let value = serde_json::json!({
                    "metric": object(labels), "timestamp": rfc3339(ts, 3), "value": value.to_string(),
                });
                writeln!(self.out, "{value}")
            }
        }
    }

    fn line(&mut self, text: &str) -> io::Result<()> {
        if self.safe {
            writeln!(self.out, "{}", sanitise(text, Newlines::Escape))
        } else {
            writeln!(self.out, "{text}")
        }
    }
}

/// `{a="1", b="2"}`.
pub(super) fn show(labels: &Pairs) -> String {
    let pairs: Vec<String> = labels.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn object(labels: &Pairs) -> serde_json::Map<String, serde_json::Value> {
    let pair = |(name, value): &(String, String)| (name.clone(), value.clone().into());
    labels.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::query::decode;

    const STREAMS: &str = r#"{"status":"success","data":{"resultType":"streams","result":[
        {"stream":{"pod":"a"},"values":[["3000000000","third \u001b[31m"],["1000000000","first"]]},
        {"stream":{"pod":"b"},"values":[["2000000000","second"]]}]}}"#;

    fn check(body: &str, output: Output, safe: bool, want: &str) {
        let mut printer = Printer {
            out: Vec::new(),
            output,
            safe,
        };
        printer
            .answer(decode(body.as_bytes()).unwrap(), false)
            .unwrap();
        assert_eq!(String::from_utf8(printer.out).unwrap(), want);
    }

    #[test]
    fn outputs() {
        check(
            STREAMS,
            Output::Default,
            true,
            "1970-01-01T00:00:03.000000000Z {pod=\"a\"} third \\x1b[31m\n\
             1970-01-01T00:00:02.000000000Z {pod=\"b\"} second\n\
             1970-01-01T00:00:01.000000000Z {pod=\"a\"} first\n",
        );
        check(
            STREAMS,
            Output::Raw,
            false,
            "third \u{1b}[31m\nsecond\nfirst\n",
        );
        let vector =
            r#"{"data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1.5,"7"]}]}}"#;
        check(
            vector,
            Output::Default,
            true,
            "1970-01-01T00:00:01.500Z {a=\"b\"} 7\n",
        );
        check(
            vector,
            Output::Jsonl,
            false,
            "{\"metric\":{\"a\":\"b\"},\"timestamp\":\"1970-01-01T00:00:01.500Z\",\"value\":\"7\"}\n",
        );
    }
}
