//! What a pipeline costs: `pipeline QUERY [ROUNDS] < LINES` runs the query's stages over the lines of standard input, with
//! the stream labels and metadata that pod logs have, and prints how many lines pass and the nanoseconds for each.

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::time::Instant;

use logql::pipeline::{EntryView, Pipeline};
use logql::plan::Plan;

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

fn pipeline(query: &str) -> Pipeline {
    match logql::parse(query).expect("a query") {
        Plan::Log(leaf) => leaf.pipeline,
        Plan::Metric(plan) => plan.leaves()[0].pipeline.clone(),
    }
}

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let query = args.next().expect("usage: pipeline QUERY [ROUNDS] < LINES");
    let rounds: u32 = args.next().map_or(5, |n| n.parse().expect("a number"));
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let lines: Vec<&[u8]> = input
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
        .collect();
    let pipeline = pipeline(&query);
    let mut run = pipeline.run();
    let mut best = f64::INFINITY;
    let mut passed = 0;
    for _ in 0..rounds {
        passed = 0;
        let begun = Instant::now();
        for line in &lines {
            let entry = EntryView {
                ts: 0,
                line,
                stream: &STREAM,
                metadata: &METADATA,
            };
            passed += usize::from(black_box(run.process(&entry)).is_some());
        }
        best = best.min(begun.elapsed().as_nanos() as f64 / lines.len() as f64);
    }
    let bytes = input.len() as f64 / lines.len() as f64;
    writeln!(
        std::io::stdout().lock(),
        "{passed} of {} lines pass; {best:.0} ns a line of {bytes:.0} bytes",
        lines.len()
    )
}
