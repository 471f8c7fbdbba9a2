//! What a range aggregation costs beyond its pipeline: `aggregate QUERY [ROUNDS] < LINES` gives the lines of standard
//! input, a millisecond apart, to the query's first aggregation, and prints the nanoseconds a line of the pipeline alone,
//! and with the aggregation.

#![expect(clippy::print_stdout, reason = "a measuring tool")]

use std::hint::black_box;
use std::io::Read as _;
use std::time::Instant;

use logql::eval::Accumulator;
use logql::pipeline::EntryView;
use logql::plan::{Plan, RangeLeaf, Steps};

const STREAM: [(&str, &str); 9] = [
    ("app", "web"),
    ("container", "web"),
    ("filename", "/var/log/pods/shop_web-0_1/web/0.log"),
    ("job", "shop/web"),
    ("namespace", "shop"),
    ("node", "n1"),
    ("pod", "web-0"),
    ("service_name", "web"),
    ("stream", "stdout"),
];
const METADATA: [(&str, &str); 1] = [("detected_level", "info")];
/// Nanoseconds between lines.
const DISTANCE: i64 = 1_000_000;
/// Steps of the query.
const STEPS: i64 = 1_000;

fn leaf(query: &str) -> RangeLeaf {
    match logql::parse(query).expect("a query") {
        Plan::Metric(plan) => plan.leaves()[0].clone(),
        Plan::Log(_) => panic!("a metric query is expected"),
    }
}

/// Nanoseconds a line of the best round, by what is done with each entry.
fn best(lines: &[&[u8]], rounds: u32, mut round: impl FnMut(&[&[u8]])) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let begun = Instant::now();
        round(lines);
        best = best.min(begun.elapsed().as_nanos() as f64 / lines.len() as f64);
    }
    best
}

fn entry(at: usize, line: &[u8]) -> EntryView<'_> {
    EntryView {
        ts: at as i64 * DISTANCE,
        line,
        stream: &STREAM,
        metadata: &METADATA,
    }
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let query = args
        .next()
        .expect("usage: aggregate QUERY [ROUNDS] < LINES");
    let rounds: u32 = args.next().map_or(5, |n| n.parse().expect("a number"));
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let lines: Vec<&[u8]> = input
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .collect();
    let leaf = leaf(&query);
    let mut run = leaf.pipeline.run();
    let alone = best(&lines, rounds, |lines| {
        for (at, line) in lines.iter().enumerate() {
            black_box(run.process(&entry(at, line)));
        }
    });
    let span = lines.len() as i64 * DISTANCE;
    let steps = Steps {
        start: 0,
        end: span,
        step: (span / STEPS).max(1),
    };
    let mut points = 0;
    let whole = best(&lines, rounds, |lines| {
        let mut sum = Accumulator::new(&leaf, steps, usize::MAX, 1 << 30);
        for (at, line) in lines.iter().enumerate() {
            let entry = entry(at, line);
            if let Some(outcome) = run.process(&entry) {
                let series = sum.series_of_stream(0, &outcome).expect("within limits");
                sum.add_outcome(series, entry.ts, &outcome)
                    .expect("no entry fails");
            }
        }
        let matrix = sum.finish().expect("within limits");
        points = matrix.series.iter().map(|s| s.points.len()).sum();
    });
    println!("pipeline {alone:.0} ns a line, with the aggregation {whole:.0} ns; {points} points");
    Ok(())
}
