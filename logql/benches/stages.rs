//! Stages that change lines and labels.

mod common;

use criterion::{Criterion, criterion_group, criterion_main};

use common::cpu::CpuTime;
use common::lines::{Kind, lines};
use common::{COUNT, bench, group};

const STAGES: &[(&str, &str)] = &[
    ("nothing", ""),
    ("line_format, one label", "| line_format `{{.pod}}`"),
    (
        "line_format, labels and line",
        "| line_format `{{.pod}} {{.status}} {{__line__}}`",
    ),
    (
        "line_format, functions",
        "| line_format `{{.namespace | ToUpper | trunc 3}} {{.took | replace \"ms\" \"\"}}`",
    ),
    (
        "line_format, condition",
        "| line_format `{{if eq .status \"503\"}}bad {{.pod}}{{else}}ok{{end}}`",
    ),
    (
        "line_format, regex",
        "| line_format `{{regexReplaceAll \"[0-9]+\" .pod \"N\"}}`",
    ),
    (
        "line_format, arithmetic",
        "| line_format `{{add (int .status) 1}}`",
    ),
    (
        "line_format, time",
        "| line_format `{{__timestamp__ | date \"15:04:05\"}} {{__line__}}`",
    ),
    (
        "label_format, rename",
        "| label_format level=detected_level",
    ),
    (
        "label_format, template",
        "| label_format where=`{{.namespace}}/{{.pod}}`",
    ),
    ("decolorize", "| decolorize"),
    ("keep", "| keep pod, namespace"),
    ("keep, value", "| keep pod, detected_level=\"error\""),
    ("drop", "| drop addr, size, took"),
    ("drop, value", "| drop detected_level=~\"err.*\""),
];

fn stages(c: &mut Criterion<CpuTime>) {
    for (name, kind) in [("stage", Kind::Text), ("stage, colours", Kind::Colours)] {
        let lines = lines(kind, COUNT);
        let mut group = group(c, name, &lines);
        for (name, stage) in STAGES {
            if kind == Kind::Text || stage.contains("decolorize") {
                let query = format!(r#"{{app="web"}} {stage}"#);
                bench(&mut group, name, &query, &lines);
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = stages
}
criterion_main!(benches);
