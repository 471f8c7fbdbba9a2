//! Parsers, with all labels wanted (a log query), one (a query that groups by it), or none (a count); beside `serde_json`
//! on the same lines, as a tree and skipping everything.

mod common;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};

use common::cpu::CpuTime;
use common::lines::{Kind, lines};
use common::{COUNT, bench, group};

/// A parser over one kind of line: `one` is a label that it extracts.
fn wanted(c: &mut Criterion<CpuTime>, name: &str, kind: Kind, parser: &str, one: &str) {
    let lines = lines(kind, COUNT);
    let mut group = group(c, name, &lines);
    let queries = [
        ("all", format!(r#"{{app="web"}} | {parser}"#)),
        (
            "one",
            format!(r#"sum by ({one}) (count_over_time({{app="web"}} | {parser} [1m]))"#),
        ),
        (
            "none",
            format!(r#"sum (count_over_time({{app="web"}} | {parser} [1m]))"#),
        ),
        (
            "filtered",
            format!(
                r#"sum (count_over_time({{app="web"}} | {parser} | {one}="no such value" [1m]))"#
            ),
        ),
    ];
    for (what, query) in queries {
        bench(&mut group, what, &query, &lines);
    }
    if matches!(kind, Kind::Json | Kind::NestedJson | Kind::Packed) {
        group.bench_function("serde_json Value", |b| {
            b.iter(|| {
                for line in &lines {
                    black_box(serde_json::from_slice::<serde_json::Value>(line).expect("JSON"));
                }
            });
        });
        group.bench_function("serde_json IgnoredAny", |b| {
            b.iter(|| {
                for line in &lines {
                    black_box(serde_json::from_slice::<serde::de::IgnoredAny>(line).expect("JSON"));
                }
            });
        });
    }
    group.finish();
}

fn parsers(c: &mut Criterion<CpuTime>) {
    wanted(c, "json", Kind::Json, "json", "status");
    wanted(
        c,
        "json nested",
        Kind::NestedJson,
        "json",
        "response_status",
    );
    let paths = r#"json status="response.status", host="request.headers.host""#;
    wanted(c, "json paths", Kind::NestedJson, paths, "status");
    wanted(c, "logfmt", Kind::Logfmt, "logfmt", "status");
    let names = r#"logfmt status, took="duration""#;
    wanted(c, "logfmt names", Kind::Logfmt, names, "status");
    let pattern =
        r#"pattern `<ip> - - [<_>] "<method> <path> <_>" <status> <size> <_> "<agent>" <took>`"#;
    wanted(c, "pattern", Kind::Access, pattern, "status");
    let regexp = r#"regexp `^(?P<ip>\S+) - - \[[^\]]*\] "(?P<method>\S+) (?P<path>\S+) [^"]*" (?P<status>\d+) (?P<size>\d+)`"#;
    wanted(c, "regexp", Kind::Access, regexp, "status");
    wanted(c, "unpack", Kind::Packed, "unpack", "pod");
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = parsers
}
criterion_main!(benches);
