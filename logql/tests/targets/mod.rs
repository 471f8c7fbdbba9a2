//! What the fuzz targets do with an input, for two callers: `fuzz/` makes inputs up, `fuzz_corpus.rs` runs those that
//! were kept. Whatever comes in, nothing may panic, and what the language promises must hold.

use logql::eval::{
    Accumulator, Collect as _, EvalError, Leaf, Limits, metric_instant, metric_range,
};
use logql::pipeline::{EntryView, LineFilter, Outcome, Pipeline};
use logql::plan::{Direction, LogLeaf, Plan, RangeLeaf, Steps};
use logql::value::{LogEntry, Logs, Matrix};
use logql::{ParseError, Query};

/// What only a limit of ours refuses.
const LIMITS: [&str; 3] = [
    "nests too deeply",
    "expression too large",
    "input size too long",
];

fn is_limit(error: &ParseError) -> bool {
    LIMITS.iter().any(|limit| error.message.contains(limit))
}

/// Any bytes are a query or an error with a position inside them.
pub(crate) fn parse(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    match Query::parse(input) {
        Ok(query) => {
            if let Err(error) = query.plan() {
                assert!(error.message.starts_with("parse error : "), "{error}");
            }
        }
        Err(error) => check_position(&error.message, &text),
    }
    // Both take other ways through the parser.
    let _ = logql::parse_matchers(input);
    let _ = logql::format_query(input);
}

fn check_position(message: &str, text: &str) {
    let Some(rest) = message.strip_prefix("parse error at line ") else {
        assert!(message.starts_with("parse error : "), "{message}");
        return;
    };
    let (line, rest) = rest.split_once(", col ").expect(message);
    let (col, _) = rest.split_once(": ").expect(message);
    let (line, col): (usize, usize) = (line.parse().expect(message), col.parse().expect(message));
    assert!(line <= text.split('\n').count(), "{message}");
    let longest = text.split('\n').map(|line| line.chars().count()).max();
    assert!(col <= longest.unwrap_or(0) + 2, "{message}");
}

/// What is printed reads back as the same query, as far as Loki's form says all of it.
pub(crate) fn print_roundtrip(input: &[u8]) {
    let Ok(query) = Query::parse(input) else {
        return;
    };
    let line = query.to_string();
    if query.line_reads_back() {
        check_reads_back(&query, &line);
    }
    let pretty = query.pretty();
    if query.pretty_reads_back() {
        check_reads_back(&query, &pretty);
    }
    assert!(pretty == line || line.len() > 100, "{line}");
}

fn check_reads_back(query: &Query, text: &str) {
    match Query::parse(text) {
        Ok(again) => assert!(
            again == *query,
            "{text}\nreads as\n{again}\nand was\n{query}"
        ),
        Err(error) => assert!(is_limit(&error), "{text}\ndoes not read back: {error}"),
    }
}

/// The first line is a query, the others are lines of one stream. Answers are made by every way there is.
pub(crate) fn evaluate(input: &[u8]) {
    let mut parts = input.split(|b| *b == b'\n');
    let query = parts.next().unwrap_or_default();
    let lines: Vec<&[u8]> = parts.take(64).collect();
    let Ok(plan) = logql::parse(query) else {
        return;
    };
    match plan {
        Plan::Log(leaf) => run_log(&leaf.pipeline, &lines),
        Plan::Metric(plan) => {
            for leaf in plan.leaves() {
                run_log(&leaf.pipeline, &lines);
            }
            let node = Node { lines: &lines };
            let limits = Limits {
                series: 500,
                memory: 4 << 20,
            };
            let steps = Steps {
                start: 0,
                end: time(lines.len()),
                step: 10_000_000_000,
            };
            let _ = metric_range(&plan, steps, limits, &node);
            let _ = metric_instant(&plan, time(lines.len()), limits, &node);
        }
    }
}

/// Nanoseconds of an entry: one a second.
fn time(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(0) * 1_000_000_000
}

fn entry<'a>(index: usize, line: &'a [u8]) -> EntryView<'a> {
    let metadata: &[(&str, &str)] = match index % 3 {
        0 => &[],
        1 => &[("level", "info"), ("x", "meta")],
        _ => &[("app", "other"), ("trace", "00ff")],
    };
    EntryView {
        ts: time(index),
        line,
        stream: &[("app", "fuzz"), ("pod", "p-0")],
        metadata,
    }
}

fn run_log(pipeline: &Pipeline, lines: &[&[u8]]) {
    let mut run = pipeline.run();
    for (i, line) in lines.iter().enumerate() {
        let entry = entry(i, line);
        let passes = run.passes(&entry);
        let outcome = run.process(&entry);
        assert_eq!(outcome.is_some(), passes);
        if let Some(outcome) = outcome {
            check_outcome(&outcome);
        }
    }
    for filter in pipeline.leading_filters() {
        check_column(filter, lines);
    }
}

fn check_outcome(outcome: &Outcome<'_>) {
    let names: Vec<&str> = outcome.labels.iter().map(|(name, ..)| name).collect();
    assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    assert!(outcome.line.len() <= 4 << 20, "{}", outcome.line.len());
}

/// A filter finds the same lines in a buffer of many as one by one.
fn check_column(filter: &LineFilter, lines: &[&[u8]]) {
    if !filter.is_positive() {
        return;
    }
    let column = lines.join(&b'\n');
    let mut start = 0;
    for line in lines {
        let end = start + line.len();
        let candidate = filter
            .find_candidate(&column, start)
            .filter(|at| *at <= end);
        let matches = filter.matches(line);
        assert!(
            !matches || candidate.is_some(),
            "{filter:?} misses {line:?}"
        );
        let proves = candidate.is_some_and(|at| at < end) && filter.candidate_is_match();
        assert!(matches || !proves, "{filter:?} takes {line:?}");
        if let Some(literal) = filter.required_literal().filter(|_| matches) {
            let holds = line.windows(literal.len()).any(|w| w == literal);
            assert!(holds || literal.is_empty(), "{filter:?} passes {line:?}");
        }
        start = end + 1;
    }
}

/// Lines as one stream of a store.
struct Node<'a> {
    lines: &'a [&'a [u8]],
}

impl Leaf for Node<'_> {
    fn logs(
        &self,
        leaf: &LogLeaf,
        _start: i64,
        _end: i64,
        limit: usize,
        _direction: Direction,
    ) -> Result<Logs, EvalError> {
        let mut run = leaf.pipeline.run();
        let mut logs = Logs::default();
        for (i, line) in self.lines.iter().enumerate().take(limit) {
            if let Some(outcome) = run.process(&entry(i, line)) {
                logs.entries.push(LogEntry {
                    ts: time(i),
                    line: outcome.line.to_vec(),
                    labels: u32::try_from(logs.label_sets.len()).unwrap_or(0),
                });
                logs.label_sets.push(outcome.labels.iter().collect());
            }
        }
        Ok(logs)
    }

    fn range(&self, leaf: &RangeLeaf, steps: Steps, held: usize) -> Result<Matrix, EvalError> {
        let mut accumulator = Accumulator::new(leaf, steps, 500, 4 << 20).beside(held);
        let mut run = leaf.pipeline.run();
        for (i, line) in self.lines.iter().enumerate() {
            if let Some(outcome) = run.process(&entry(i, line)) {
                let series = accumulator.series(&outcome)?;
                accumulator.add_outcome(series, time(i), &outcome)?;
            }
        }
        accumulator.finish()
    }
}
