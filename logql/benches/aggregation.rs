//! Range aggregations: the accumulator over entries whose pipelines have no stage (or only the parser of the unwrapped
//! label), with one series and with many, windows apart and overlapping.

mod common;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use logql::eval::{Accumulator, Collect};
use logql::plan::{Plan, RangeLeaf, Steps};

use common::cpu::CpuTime;
use common::lines::{Kind, lines};
use common::{COUNT, DISTANCE, entry, group};

const STEPS: i64 = 100;
const SERIES_MAX: usize = 100_000;
const BUDGET: usize = 1 << 30;

const LEAVES: &[(&str, &str)] = &[
    ("count", r#"count_over_time({app="web"} [20ms])"#),
    (
        "count, windows overlap",
        r#"count_over_time({app="web"} [1s])"#,
    ),
    (
        "count by a label",
        r#"sum by (status) (count_over_time({app="web"} | logfmt [20ms]))"#,
    ),
    (
        "count by 1,024 values",
        r#"sum by (client) (count_over_time({app="web"} | logfmt [20ms]))"#,
    ),
    ("bytes", r#"bytes_over_time({app="web"} [20ms])"#),
    (
        "sum",
        r#"sum by (app) (sum_over_time({app="web"} | logfmt | unwrap status [20ms]))"#,
    ),
    (
        "sum, windows overlap",
        r#"sum by (app) (sum_over_time({app="web"} | logfmt | unwrap status [1s]))"#,
    ),
    (
        "maximum",
        r#"max_over_time({app="web"} | logfmt | unwrap status [20ms]) by (app)"#,
    ),
    (
        "deviation",
        r#"stddev_over_time({app="web"} | logfmt | unwrap status [20ms]) by (app)"#,
    ),
    (
        "quantile",
        r#"quantile_over_time(0.95, {app="web"} | logfmt | unwrap duration(duration) [20ms]) by (app)"#,
    ),
    (
        "quantile, windows overlap",
        r#"quantile_over_time(0.95, {app="web"} | logfmt | unwrap duration(duration) [1s]) by (app)"#,
    ),
];

fn points(leaf: &RangeLeaf, lines: &[Vec<u8>]) -> usize {
    let end = lines.len() as i64 * DISTANCE;
    let steps = Steps {
        start: 0,
        end,
        step: end / STEPS,
    };
    let mut run = leaf.pipeline.run();
    let mut sum = Accumulator::new(leaf, steps, SERIES_MAX, BUDGET);
    for (at, line) in lines.iter().enumerate() {
        let entry = entry(at, line);
        if let Some(outcome) = run.process(&entry) {
            let series = sum.series_of_stream(0, &outcome).expect("within limits");
            sum.add_outcome(series, entry.ts, &outcome)
                .expect("no entry fails");
        }
    }
    let matrix = sum.finish().expect("within limits");
    matrix.series.iter().map(|s| s.points.len()).sum()
}

fn aggregations(c: &mut Criterion<CpuTime>) {
    let lines = lines(Kind::Logfmt, COUNT);
    let mut group = group(c, "aggregation", &lines);
    group.throughput(Throughput::Elements(lines.len() as u64));
    for (name, query) in LEAVES {
        let plan = match logql::parse(query) {
            Ok(Plan::Metric(plan)) => plan,
            other => panic!("{query} is no metric query: {other:?}"),
        };
        let leaf = plan.leaves()[0];
        assert!(points(leaf, &lines) > 0, "{query} counts nothing");
        group.bench_function(*name, |b| b.iter(|| points(leaf, &lines)));
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = aggregations
}
criterion_main!(benches);
