//! What a query costs: `cost QUERY [ROUNDS] < LINES` runs its pipeline over the lines of standard input, a millisecond
//! apart and with the stream labels and metadata that pod logs have; of a metric query its first aggregation, too. It
//! prints how many lines pass and the nanoseconds for each line, of the best round.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::time::Instant;

use logql::eval::{Accumulator, Collect as _};
use logql::pipeline::{EntryView, Pipeline};
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
/// Steps of a metric query.
const STEPS: i64 = 1_000;

fn entries<'l>(lines: &'l [&'l [u8]]) -> impl Iterator<Item = EntryView<'l>> {
    (0..).zip(lines).map(|(at, line)| EntryView {
        ts: at * DISTANCE,
        line,
        stream: &STREAM,
        metadata: &METADATA,
    })
}

/// Nanoseconds a line of the best round.
fn best(lines: usize, rounds: u32, mut round: impl FnMut()) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..rounds {
        let begun = Instant::now();
        round();
        best = best.min(begun.elapsed().as_nanos() as f64 / lines as f64);
    }
    best
}

fn passing(pipeline: &Pipeline, lines: &[&[u8]], passed: &mut usize) {
    let mut run = pipeline.run();
    *passed = entries(lines)
        .filter(|entry| black_box(run.process(entry)).is_some())
        .count();
}

fn aggregated(leaf: &RangeLeaf, lines: &[&[u8]], points: &mut usize) {
    let end = lines.len() as i64 * DISTANCE;
    let steps = Steps {
        start: 0,
        end,
        step: (end / STEPS).max(1),
    };
    let mut run = leaf.pipeline.run();
    let mut sum = Accumulator::new(leaf, steps, usize::MAX, 1 << 30);
    for entry in entries(lines) {
        if let Some(outcome) = run.process(&entry) {
            let series = sum.series_of_stream(0, &outcome).expect("within limits");
            sum.add_outcome(series, entry.ts, &outcome)
                .expect("no entry fails");
        }
    }
    let matrix = sum.finish().expect("within limits");
    *points = matrix.series.iter().map(|s| s.points.len()).sum();
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let query = args.next().expect("usage: cost QUERY [ROUNDS] < LINES");
    let rounds: u32 = args.next().map_or(5, |n| n.parse().expect("a number"));
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let lines: Vec<&[u8]> = input
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .collect();
    let plan = logql::parse(&query).expect("a query");
    let (leaf, pipeline) = match &plan {
        Plan::Log(leaf) => (None, &leaf.pipeline),
        Plan::Metric(plan) => (Some(plan.leaves()[0]), &plan.leaves()[0].pipeline),
    };
    let mut out = std::io::stdout().lock();
    let (count, bytes) = (lines.len(), input.len() as f64 / lines.len() as f64);
    let mut passed = 0;
    let alone = best(count, rounds, || passing(pipeline, &lines, &mut passed));
    writeln!(
        out,
        "{passed} of {count} lines pass; {alone:.0} ns a line of {bytes:.0} bytes"
    )?;
    if let Some(leaf) = leaf {
        let mut points = 0;
        let whole = best(count, rounds, || aggregated(leaf, &lines, &mut points));
        writeln!(
            out,
            "with the aggregation {whole:.0} ns a line; {points} points"
        )?;
    }
    Ok(())
}
