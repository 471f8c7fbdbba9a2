//! What the benches of pipelines share.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each bench uses its own part of this module"
)]

#[path = "../../../benches/cpu.rs"]
pub mod cpu;
#[path = "../../../benches/lines.rs"]
pub mod lines;

use std::hint::black_box;
use std::time::Duration;

use cpu::CpuTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use logql::Pairs;
use logql::pipeline::{EntryView, Pipeline};
use logql::plan::Plan;

/// Lines of each kind: more than the first caches hold, few enough for short rounds.
pub const COUNT: usize = 2_000;
/// Nanoseconds between lines.
pub const DISTANCE: i64 = 1_000_000;
/// Labels of the stream, as the agent gives them.
pub const STREAM: Pairs<'static> = &[
    ("app", "web"),
    ("container", "web"),
    ("job", "shop/web"),
    ("namespace", "shop"),
    ("node", "n1"),
    ("pod", "web-0"),
    ("service_name", "web"),
    ("stream", "stdout"),
];
/// Metadata of every entry; the last are for filters of labels that need no parser.
pub const METADATA: Pairs<'static> = &[
    ("addr", "10.42.1.7"),
    ("detected_level", "error"),
    ("size", "12.5KB"),
    ("status", "503"),
    ("took", "15.25ms"),
];

/// An entry that holds a line.
pub fn entry(at: usize, line: &[u8]) -> EntryView<'_> {
    EntryView {
        ts: at as i64 * DISTANCE,
        line,
        stream: STREAM,
        metadata: METADATA,
    }
}

/// The pipeline of a query: that of its first leaf.
pub fn pipeline(query: &str) -> Pipeline {
    match logql::parse(query).unwrap_or_else(|e| panic!("{query}: {e}")) {
        Plan::Log(leaf) => leaf.pipeline,
        Plan::Metric(plan) => plan.leaves()[0].pipeline.clone(),
    }
}

/// Lines that pass.
pub fn passing(pipeline: &Pipeline, lines: &[Vec<u8>]) -> usize {
    let mut run = pipeline.run();
    let passes = |(at, line): (usize, &Vec<u8>)| black_box(run.process(&entry(at, line))).is_some();
    lines.iter().enumerate().map(passes).filter(|p| *p).count()
}

/// A short group: all benches of the workspace shall take minutes.
pub fn group<'c>(
    c: &'c mut Criterion<CpuTime>,
    name: &str,
    lines: &[Vec<u8>],
) -> BenchmarkGroup<'c, CpuTime> {
    let mut group = c.benchmark_group(name);
    group
        .throughput(Throughput::Bytes(lines::bytes(lines)))
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_millis(600));
    group
}

/// Measures the pipeline of a query over lines.
pub fn bench(group: &mut BenchmarkGroup<'_, CpuTime>, name: &str, query: &str, lines: &[Vec<u8>]) {
    let pipeline = pipeline(query);
    group.bench_function(name, |b| b.iter(|| passing(&pipeline, lines)));
}
