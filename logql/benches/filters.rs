//! Line filters line by line and over whole columns as the store holds them, and filters of labels.

mod common;

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use logql::pipeline::Pipeline;

use common::cpu::CpuTime;
use common::lines::{Kind, lines};
use common::{COUNT, bench, group, pipeline};

const LINE_FILTERS: &[(&str, &str)] = &[
    ("contains", r#"|= "error""#),
    ("contains, never", r#"|= "needle-absent""#),
    ("contains not", r#"!= "error""#),
    ("contains one of two", r#"|= "error" or "warn""#),
    (
        "regex with literal",
        "|~ `status=50[03] .*duration=[0-9]{3}`",
    ),
    ("regex without literal", "|~ `[0-9]{3}\\.[0-9]{2}ms`"),
    ("regex, any case", "|~ `(?i)ERROR.*evicted`"),
    ("regex of alternatives", "|~ `evicted|rejected|skipped`"),
    ("regex not", "!~ `status=(200|304)`"),
    ("pattern", "|> `<_> status=50<_> duration=<_>`"),
    ("pattern not", "!> `<_> level=info <_>`"),
    ("ip", r#"|= ip("10.42.3.0/24")"#),
    ("two", r#"|= "evicted" |~ `status=5\d\d`"#),
];
const LABEL_FILTERS: &[(&str, &str)] = &[
    ("equal", r#"detected_level="error""#),
    ("not equal", r#"detected_level!="info""#),
    ("regex", r#"detected_level=~"err.*|fatal""#),
    ("regex of words", r#"detected_level=~"error|fatal""#),
    ("number", "status >= 500"),
    ("duration", "took > 10ms"),
    ("bytes", "size > 10KB"),
    ("ip", r#"addr=ip("10.42.0.0/16")"#),
    (
        "and, or",
        r#"status >= 500 and took > 1ms or detected_level="warn""#,
    ),
];

fn each_line(c: &mut Criterion<CpuTime>) {
    let lines = lines(Kind::Logfmt, COUNT);
    let mut group = group(c, "line filter", &lines);
    for (name, filter) in LINE_FILTERS {
        let query = format!(r#"{{app="web"}} {filter}"#);
        bench(&mut group, name, &query, &lines);
    }
    group.finish();
}

/// Lines of a column that pass, found as the store does: the leading filter searches the column, and what it finds goes
/// through all of them.
fn in_column(pipeline: &Pipeline, column: &[u8], offsets: &[usize]) -> usize {
    let filters = pipeline.leading_filters();
    let leading = filters.iter().find(|f| f.is_positive());
    let Some(leading) = leading else {
        return offsets
            .windows(2)
            .filter(|w| filters.iter().all(|f| f.matches(&column[w[0]..w[1] - 1])))
            .count();
    };
    let (mut from, mut line, mut found) = (0, 0, 0);
    while from < column.len()
        && let Some(at) = leading.find_candidate(column, from)
    {
        while offsets[line + 1] <= at {
            line += 1;
        }
        let text = &column[offsets[line]..offsets[line + 1] - 1];
        found += usize::from(filters.iter().all(|f| f.matches(text)));
        from = offsets[line + 1];
    }
    found
}

fn columns(c: &mut Criterion<CpuTime>) {
    let lines = lines(Kind::Logfmt, COUNT);
    let (mut column, mut offsets) = (Vec::new(), vec![0]);
    for line in &lines {
        column.extend_from_slice(line);
        column.push(b'\n');
        offsets.push(column.len());
    }
    let mut group = group(c, "column filter", &lines);
    for (name, filter) in LINE_FILTERS {
        let pipeline = pipeline(&format!(r#"{{app="web"}} {filter}"#));
        group.bench_function(*name, |b| {
            b.iter(|| black_box(in_column(&pipeline, &column, &offsets)));
        });
    }
    group.finish();
}

fn labels(c: &mut Criterion<CpuTime>) {
    let lines = lines(Kind::Logfmt, COUNT);
    let mut group = group(c, "label filter", &lines);
    for (name, filter) in LABEL_FILTERS {
        // Labels that are there already, and none of them in the answer.
        let query = format!(r#"sum (count_over_time({{app="web"}} | {filter} [1m]))"#);
        bench(&mut group, name, &query, &lines);
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = each_line, columns, labels
}
criterion_main!(benches);
