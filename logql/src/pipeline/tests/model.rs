//! The bookkeeping of labels against a simple model, and hostile lines.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{metric, pipeline};
use crate::pipeline::EntryView;

/// Names that meet often.
const NAMES: [&str; 6] = ["a", "b", "b_extracted", "m", "x", "x_extracted"];

#[derive(Debug, Clone)]
enum Step {
    /// `logfmt` on a line of its own.
    Logfmt(Vec<(usize, u8)>),
    Rename(usize, usize),
    Set(usize, u8),
    Drop(usize),
    DropValue(usize, u8),
    Keep(Vec<usize>),
    Equals(usize, u8),
}

impl Step {
    fn text(&self) -> String {
        match self {
            Step::Logfmt(pairs) => {
                let line: Vec<String> = pairs
                    .iter()
                    .map(|(n, v)| format!("{}={v}", NAMES[*n]))
                    .collect();
                format!("| line_format \"{}\" | logfmt", line.join(" "))
            }
            Step::Rename(to, from) => format!("| label_format {}={}", NAMES[*to], NAMES[*from]),
            Step::Set(name, value) => format!("| label_format {}=\"{value}\"", NAMES[*name]),
            Step::Drop(name) => format!("| drop {}", NAMES[*name]),
            Step::DropValue(name, value) => format!("| drop {}=\"{value}\"", NAMES[*name]),
            Step::Keep(names) => {
                let names: Vec<&str> = names.iter().map(|n| NAMES[*n]).collect();
                format!("| keep {}", names.join(","))
            }
            // Joined, so that it does not run early.
            Step::Equals(name, value) => {
                format!("| {0}=\"{value}\" or {0}=\"{value}\"", NAMES[*name])
            }
        }
    }
}

/// Labels of an entry, by maps.
#[derive(Debug, Default)]
struct Model {
    stream: BTreeMap<String, String>,
    metadata: BTreeMap<String, String>,
    parsed: BTreeMap<String, String>,
    deleted: BTreeSet<String>,
    extracted: BTreeSet<String>,
}

impl Model {
    fn new(stream: &[(&str, &str)], metadata: &[(&str, &str)]) -> Self {
        let mut model = Model::default();
        for (name, value) in stream {
            model.stream.insert((*name).to_owned(), (*value).to_owned());
        }
        for (name, value) in metadata {
            let name = model.free(name, false);
            model.metadata.insert(name, (*value).to_owned());
        }
        model
    }

    /// The name under which something may be set that is named so.
    fn free(&self, name: &str, metadata_too: bool) -> String {
        if self.stream.contains_key(name) || metadata_too && self.metadata.contains_key(name) {
            format!("{name}_extracted")
        } else {
            name.to_owned()
        }
    }

    fn get(&self, name: &str) -> Option<&String> {
        let stream = || {
            self.stream
                .get(name)
                .filter(|_| !self.deleted.contains(name))
        };
        self.parsed
            .get(name)
            .or_else(|| self.metadata.get(name))
            .or_else(stream)
    }

    fn set(&mut self, name: &str, value: String) {
        self.metadata.remove(name);
        self.parsed.insert(name.to_owned(), value);
        self.extracted.insert(name.to_owned());
    }

    fn delete(&mut self, name: &str) {
        self.parsed.remove(name);
        self.metadata.remove(name);
        self.deleted.insert(name.to_owned());
    }

    /// False: the entry is dropped.
    fn step(&mut self, step: &Step) -> bool {
        match step {
            Step::Logfmt(pairs) => {
                for (name, value) in pairs {
                    let name = self.free(NAMES[*name], true);
                    if !self.extracted.contains(&name) {
                        self.set(&name, value.to_string());
                    }
                }
            }
            Step::Rename(to, from) => {
                if let Some(value) = self.get(NAMES[*from]).cloned() {
                    self.set(NAMES[*to], value);
                    self.delete(NAMES[*from]);
                }
            }
            Step::Set(name, value) => self.set(NAMES[*name], value.to_string()),
            Step::Drop(name) => self.delete(NAMES[*name]),
            Step::DropValue(name, value) => {
                if self
                    .get(NAMES[*name])
                    .is_some_and(|v| *v == value.to_string())
                {
                    self.delete(NAMES[*name]);
                }
            }
            Step::Keep(names) => {
                for (name, _) in self.all() {
                    if !names.iter().any(|n| NAMES[*n] == name) {
                        self.delete(&name);
                    }
                }
            }
            Step::Equals(name, value) => {
                return self
                    .get(NAMES[*name])
                    .is_some_and(|v| *v == value.to_string());
            }
        }
        true
    }

    fn all(&self) -> Vec<(String, String)> {
        let names: BTreeSet<&String> = [&self.stream, &self.metadata, &self.parsed]
            .into_iter()
            .flat_map(BTreeMap::keys)
            .collect();
        let pairs = names
            .into_iter()
            .filter_map(|n| Some((n.clone(), self.get(n)?.clone())));
        pairs.collect()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0..NAMES.len();
    let value = 0..3u8;
    let step = prop_oneof![
        4 => prop::collection::vec((name.clone(), value.clone()), 0..5).prop_map(Step::Logfmt),
        2 => (name.clone(), name.clone()).prop_map(|(a, b)| Step::Rename(a, b)),
        2 => (name.clone(), value.clone()).prop_map(|(n, v)| Step::Set(n, v)),
        2 => name.clone().prop_map(Step::Drop),
        1 => (name.clone(), value.clone()).prop_map(|(n, v)| Step::DropValue(n, v)),
        1 => prop::collection::vec(name.clone(), 1..5).prop_map(Step::Keep),
        1 => (name, value).prop_map(|(n, v)| Step::Equals(n, v)),
    ];
    prop::collection::vec(step, 0..7)
}

fn pairs(of: &'static [&'static str]) -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let value = prop::sample::select(vec!["0", "1", "2"]);
    prop::sample::subsequence(of, 0..=of.len()).prop_flat_map(move |names| {
        let values = prop::collection::vec(value.clone(), names.len());
        values.prop_map(move |values| names.iter().copied().zip(values).collect())
    })
}

const STREAM_NAMES: &[&str] = &["a", "b", "x"];
const METADATA_NAMES: &[&str] = &["b", "m", "x"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn labels_are_as_in_the_model(
        steps in steps(),
        stream in pairs(STREAM_NAMES),
        metadata in pairs(METADATA_NAMES),
    ) {
        let mut model = Model::new(&stream, &metadata);
        let expected = steps.iter().all(|step| model.step(step)).then(|| model.all());
        let text: Vec<String> = steps.iter().map(Step::text).collect();
        let pipeline = pipeline(&text.join(" "));
        let mut run = pipeline.run();
        let entry = EntryView { ts: 0, line: b"", stream: &stream, metadata: &metadata };
        for _ in 0..2 {
            let found = run.process(&entry).map(|outcome| {
                let labels = outcome.labels.iter();
                labels.map(|(n, v, _)| (n.to_owned(), v.to_owned())).collect::<Vec<_>>()
            });
            prop_assert_eq!(&found, &expected);
        }
    }
}

/// Stages that read lines, each with something behind that looks at what they found.
const READERS: [&str; 14] = [
    "| json",
    "| json | x=\"1\" | o_x>2",
    "| json x=\"o.x\", y=\"l[1].x[0]\", z=\"[0]\"",
    "| logfmt",
    "| logfmt --strict --keep-empty | x=~\"a.*\" | y>=1s",
    "| logfmt x=\"y\", z | y=1KB",
    "| logfmt --strict x=\"y\", z",
    "| pattern \"<x>=<y> <z>\" | x!=ip(\"10.0.0.0/8\")",
    "| regexp `(?P<x>\\w+)[=:](?P<y>\\S*)`",
    "| unpack | logfmt | json",
    "| decolorize | logfmt | drop x, y=\"1\"",
    "| json | keep x, y | line_format \"a=1\" | logfmt",
    "!= ip(\"::/0\") | json | label_format a=x, x=\"2\"",
    "|~ \"[a-z]+\" or \"x\" | logfmt | json",
];

/// Pieces that lines of JSON and logfmt are made of, whole and broken.
const PIECES: [&str; 25] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\"x\":",
    "\"o\":{",
    "\"_entry\":\"",
    "x=",
    "y=\"",
    "1",
    "-2.5e3",
    "1\"2",
    "true",
    "null",
    " ",
    "\n",
    "\\u00",
    "\\ud83d",
    "\u{fffd}",
    "10.0.0.1",
    "\x1b[31m",
];

fn line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(PIECES.to_vec()).prop_map(|p| p.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..4),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn p9_any_line_goes_through_any_pipeline(line in line(), reader in prop::sample::select(READERS.to_vec())) {
        let stream = [("a", "b"), ("x", "s")];
        let metadata = [("y", "m")];
        let entry = EntryView { ts: 0, line: &line, stream: &stream, metadata: &metadata };
        let whole = pipeline(reader);
        let summed = metric(&format!("sum by (x, y) (count_over_time({{a=\"b\"}} {reader} [1m]))"));
        for pipeline in [&whole, &summed] {
            let mut run = pipeline.run();
            let passed = run.passes(&entry);
            let outcome = run.process(&entry);
            prop_assert_eq!(outcome.is_some(), passed);
            let Some(outcome) = outcome else {
                continue;
            };
            let mut bytes = 0;
            let mut last = None;
            for (name, value, _) in outcome.labels.iter() {
                prop_assert!(last < Some(name), "{name} comes after {last:?}");
                last = Some(name);
                bytes += name.len() + value.len();
            }
            prop_assert!(bytes <= 4 * line.len() + (64 << 10));
            prop_assert!(outcome.labels.len() <= 1_024 + 16);
        }
    }

    #[test]
    fn p9_needed_names_are_what_all_names_would_be(line in line(), reader in prop::sample::select(READERS[..2].to_vec())) {
        // Without a fault and with nothing that could run early, a grouping sees what a log query shows.
        let entry = EntryView { ts: 0, line: &line, stream: &[("a", "b")], metadata: &[] };
        let reader = reader.split_once(" | ").map_or(reader, |(head, _)| head);
        let whole = pipeline(reader);
        let summed = metric(&format!("sum by (o_x, x) (count_over_time({{a=\"b\"}} {reader} [1m]))"));
        let (mut whole, mut summed) = (whole.run(), summed.run());
        let whole = whole.process(&entry).expect("no filter");
        if !whole.failed {
            let summed = summed.process(&entry).expect("no filter");
            for name in ["o_x", "x"] {
                prop_assert_eq!(whole.labels.get(name), summed.labels.get(name));
            }
        }
    }
}

#[test]
fn p9_long_lines_stay_within_their_bounds() {
    let deep = format!("{}1{}", "{\"k\":".repeat(50_000), "}".repeat(50_000));
    let wide: String = (0..20_000).map(|i| format!("\"k{i}\":{i},")).collect();
    let wide = format!("{{{wide}}}");
    let long_names = format!(
        "{{\"{}\":{{{}\"z\":1}}}}",
        "n".repeat(100_000),
        "\"k\":1,".repeat(10_000)
    );
    let pairs: String = (0..40_000).map(|i| format!("k{i}={i} ")).collect();
    for (stages, line) in [
        ("| json", deep.as_str()),
        ("| json", &wide),
        ("| json", &long_names),
        ("| logfmt", &pairs),
        ("| json x=\"k.k.k\"", &deep),
        ("| unpack", &wide),
    ] {
        let pipeline = pipeline(stages);
        let mut run = pipeline.run();
        let entry = EntryView {
            ts: 0,
            line: line.as_bytes(),
            stream: &[("a", "b")],
            metadata: &[],
        };
        let outcome = run.process(&entry).expect("no filter");
        assert!(
            outcome.labels.len() <= 1_025,
            "{stages}: {}",
            outcome.labels.len()
        );
        let bytes: usize = outcome
            .labels
            .iter()
            .map(|(n, v, _)| n.len() + v.len())
            .sum();
        assert!(bytes <= 4 * line.len() + (64 << 10), "{stages}: {bytes}");
    }
}
