//! A small store for tests of queries (real files, a head of its own) and the model that answers are compared with.

mod cases;
mod crew;
mod listings;
mod model;
mod stats;
mod store;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use disk::Disk;
use disk::real::RealDisk;
use logql::eval::{Accumulator, Collect as _};
use logql::matcher::{Matcher, all_match};
use logql::pipeline::EntryView;
use logql::value::{EntryLabels, LogEntry};
use wire::LabelSet;

use super::*;
use crate::block::{BlockInput, Column, Decoder, Encoder, Header, checksum};
use crate::head::{HeadChunk, OverBudget, RawRun, Sets, Snapshot, Want};
use crate::segment::{
    Cell, Chunk, MINUTE_NS, Minutes, Row, SegmentInput, SkipBuilder, Text, minute_of, write,
};

const SECOND: i64 = 1_000_000_000;

#[derive(Debug, Clone)]
struct Entry {
    stream: usize,
    set: usize,
    ts: i64,
    line: Vec<u8>,
}

fn label_set(text: &str) -> LabelSet {
    LabelSet::from_pairs(text.split(',').filter_map(|p| p.split_once('='))).unwrap()
}

fn streams() -> Vec<LabelSet> {
    [
        "namespace=shop,pod=cart-1,app=cart",
        "namespace=shop,pod=cart-2,app=cart",
        "namespace=shop,pod=web-1",
        "namespace=infra,pod=dns-1,app=dns",
        "namespace=infra,pod=dns-2,app=dns,zone=a",
    ]
    .map(label_set)
    .to_vec()
}

fn sets() -> Vec<LabelSet> {
    [
        "",
        "detected_level=info",
        "detected_level=error",
        "detected_level=info,restart=1",
        "restart=2",
        "trace=x",
    ]
    .map(label_set)
    .to_vec()
}

/// A sealed block and its rows: (stream, row, cells).
struct Sealed {
    bytes: Arc<[u8]>,
    sequence: u64,
    rows: Vec<(usize, Chunk, Vec<Cell>)>,
}

/// A small store made of the real files and a head of its own.
#[derive(Debug)]
struct Fixture {
    folder: tempfile::TempDir,
    disk: Arc<dyn Disk>,
    index: Index,
    damage: Damage,
    segments: Vec<SegmentEntry>,
    sequence: u64,
    raw: Vec<Entry>,
    sealed: Vec<Sealed>,
    all: Vec<Entry>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").finish_non_exhaustive()
    }
}

fn encode_block(runs: &[Vec<&Entry>]) -> Arc<[u8]> {
    let (streams, sets) = (streams(), sets());
    let entries: Vec<&Entry> = runs.iter().flatten().copied().collect();
    let mut lines = Vec::new();
    for e in &entries {
        lines.extend_from_slice(&e.line);
        lines.push(b'\n');
    }
    let mut used: Vec<usize> = entries.iter().map(|e| e.set).collect();
    used.sort_unstable();
    used.dedup();
    let ids: Vec<u32> = entries
        .iter()
        .map(|e| used.binary_search(&e.set).unwrap() as u32)
        .collect();
    let used: Vec<&[u8]> = used.iter().map(|s| sets[*s].as_bytes()).collect();
    let runs: Vec<(u32, u32)> = runs
        .iter()
        .map(|r| (checksum(streams[r[0].stream].as_bytes()), r.len() as u32))
        .collect();
    let input = BlockInput {
        times: &entries.iter().map(|e| e.ts).collect::<Vec<_>>(),
        lengths: &entries
            .iter()
            .map(|e| e.line.len() as u32)
            .collect::<Vec<_>>(),
        spare_lengths: !entries.len().is_multiple_of(3),
        ids: &ids,
        lines: &lines,
        sets: &used,
        runs: &runs,
    };
    Encoder::new(1).unwrap().block(&input).unwrap().0.into()
}

/// Cells by index into [`sets`], unless there are many sets.
fn cells(run: &[&Entry]) -> Option<Vec<Cell>> {
    let mut cells: BTreeMap<(i64, usize), (u32, u64)> = BTreeMap::new();
    for e in run {
        let cell = cells.entry((minute_of(e.ts), e.set)).or_default();
        cell.0 += 1;
        cell.1 += e.line.len() as u64;
    }
    let mut sets: Vec<usize> = run.iter().map(|e| e.set).collect();
    sets.sort_unstable();
    sets.dedup();
    (sets.len() < 5).then(|| {
        let cell = |((minute, set), (entries, bytes)): ((i64, usize), (u32, u64))| Cell {
            minute,
            metadata: set as u32,
            entries,
            bytes,
        };
        cells.into_iter().map(cell).collect()
    })
}

fn seal_block(runs: &[Vec<&Entry>], sequence: u64) -> Sealed {
    let bytes = encode_block(runs);
    let mut first = 0;
    let mut rows = Vec::new();
    for run in runs {
        let cells = cells(run);
        let chunk = Chunk {
            stream: 0,
            block_offset: 0,
            block_bytes: bytes.len() as u32,
            first,
            entries: run.len() as u32,
            min_ts: run.iter().map(|e| e.ts).min().unwrap(),
            max_ts: run.iter().map(|e| e.ts).max().unwrap(),
            raw_bytes: run.iter().map(|e| e.line.len() as u64 + 1).sum(),
            cells: cells.as_ref().map(|c| c.len() as u32),
        };
        first += run.len() as u32;
        rows.push((run[0].stream, chunk, cells.unwrap_or_default()));
    }
    Sealed {
        bytes,
        sequence,
        rows,
    }
}

impl Fixture {
    fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
        disk.create_dir_all(&folder.path().join("segments"))
            .unwrap();
        let index = Index::open(Arc::clone(&disk), folder.path());
        let fixture = Fixture {
            folder,
            disk,
            index,
            damage: Damage::default(),
            segments: Vec::new(),
            sequence: 1,
            raw: Vec::new(),
            sealed: Vec::new(),
            all: Vec::new(),
        };
        reconcile(&fixture);
        fixture
    }

    fn append(&mut self, entry: Entry) {
        self.raw.push(entry.clone());
        self.all.push(entry);
    }

    fn runs(&self) -> Vec<Vec<&Entry>> {
        let mut runs: BTreeMap<usize, Vec<&Entry>> = BTreeMap::new();
        for e in &self.raw {
            runs.entry(e.stream).or_default().push(e);
        }
        for run in runs.values_mut() {
            run.sort_by_key(|e| e.ts);
        }
        runs.into_values().collect()
    }

    /// Raw entries become blocks: loud streams have their own, the others share one.
    fn seal(&mut self) {
        let mut sealed = Vec::new();
        let mut shared = Vec::new();
        for run in self.runs() {
            if run.len() < 20 {
                shared.push(run);
                continue;
            }
            for part in run.chunks(64) {
                sealed.push(seal_block(&[part.to_vec()], self.sequence));
            }
        }
        if !shared.is_empty() {
            sealed.push(seal_block(&shared, self.sequence));
        }
        self.sealed.extend(sealed);
        self.raw.clear();
    }

    fn path(&self, sequence: u64) -> PathBuf {
        let name = segment::file_name(sequence);
        self.folder.path().join("segments").join(name)
    }

    fn flush(&mut self) {
        self.seal();
        if self.sealed.is_empty() {
            return;
        }
        let (label_sets, metadata) = (streams(), sets());
        let mut rows: Vec<(usize, u32, &Chunk, &Vec<Cell>)> = Vec::new();
        for (block, sealed) in self.sealed.iter().enumerate() {
            rows.extend(sealed.rows.iter().map(|(s, c, m)| (*s, block as u32, c, m)));
        }
        let mut used: Vec<usize> = rows.iter().map(|r| r.0).collect();
        used.sort_by_key(|s| label_sets[*s].as_bytes());
        used.dedup();
        let ordinal = |s: usize| used.iter().position(|u| *u == s).unwrap() as u32;
        rows.sort_by_key(|r| ordinal(r.0));
        let blocks: Vec<Arc<[u8]>> = self.sealed.iter().map(|s| Arc::clone(&s.bytes)).collect();
        let mut cells: Vec<Cell> = Vec::new();
        let mut row = |r: &(usize, u32, &Chunk, &Vec<Cell>)| {
            let cell = cells.len() as u32;
            cells.extend(r.3);
            let chunk = Chunk {
                stream: ordinal(r.0),
                ..*r.2
            };
            let block = r.1;
            Row { chunk, block, cell }
        };
        let rows: Vec<Row> = rows.iter().map(&mut row).collect();
        let (mut names, mut sets) = (Sets::default(), Sets::default());
        let ids = used.iter().map(|s| names.intern(label_sets[*s].as_bytes()));
        let ids: Vec<u32> = ids.collect();
        let mut encoder = Encoder::new(1).unwrap();
        let skip = skip_index(&blocks, &mut encoder);
        let input = SegmentInput {
            sequence: self.sequence,
            clock: crate::clock::Reading {
                wall: 0,
                boot: 0,
                verdict: crate::clock::Verdict::Trusted,
            },
            metadata: metadata
                .iter()
                .map(|set| sets.intern(set.as_bytes()))
                .collect(),
            labels: &names,
            streams: &ids,
            rows: &rows,
            cells: &cells,
            sets: &sets,
            blocks: &blocks,
            skip: &skip,
            positions: &[],
        };
        let folder = self.folder.path().join("segments");
        let to = segment::Target {
            disk: &*self.disk,
            dir: &folder,
            attempt: 0,
            pace: None,
        };
        let path = write(to, &input, &mut encoder).unwrap();
        let reader = Reader::open(&*self.disk, &path).unwrap();
        segment::SegmentSink::renamed(&self.index, &reader);
        self.segments.push(SegmentEntry::of(&reader));
        self.sealed.clear();
        self.sequence += 1;
    }

    /// A restart; `damage` gets the data directory in between.
    fn reopen(&mut self, damage: impl FnOnce(&std::path::Path)) {
        self.flush();
        let folder = self.folder.path().to_owned();
        self.index = Index::open(
            Arc::new(RealDisk::new()),
            std::path::Path::new("/nonexistent"),
        );
        damage(&folder);
        self.index = Index::open(Arc::clone(&self.disk), &folder);
        reconcile(self);
    }

    fn minutes(&self) -> (Vec<HeadChunk>, Minutes) {
        let mut minutes = Minutes {
            cells: Vec::new(),
            starts: vec![0],
        };
        let mut chunks = Vec::new();
        for sealed in &self.sealed {
            for (stream, chunk, cells) in &sealed.rows {
                let chunk = Chunk {
                    stream: *stream as u32,
                    ..*chunk
                };
                chunks.push(HeadChunk {
                    chunk,
                    sequence: sealed.sequence,
                    block: Arc::clone(&sealed.bytes),
                });
                minutes.cells.extend(cells);
                minutes.starts.push(minutes.cells.len() as u32);
            }
        }
        (chunks, minutes)
    }
}

impl View for Fixture {
    fn head(&self, want: &mut Want<'_>) -> Result<Snapshot, OverBudget> {
        let (all, tables) = self.minutes();
        let sets = streams();
        let chosen: Vec<bool> = sets.iter().map(|s| (want.select)(s.as_ref())).collect();
        let mut out = Snapshot {
            committed: self.sequence - 1,
            metadata: self::sets(),
            ..Snapshot::default()
        };
        let touches = |s: &&SegmentEntry| s.max_ts >= want.start && s.min_ts <= want.end;
        out.segments = self.segments.iter().filter(touches).copied().collect();
        let number = |streams: &mut Vec<LabelSet>, stream: usize| {
            let known = streams.iter().position(|s| *s == sets[stream]);
            known.unwrap_or_else(|| {
                streams.push(sets[stream].clone());
                streams.len() - 1
            }) as u32
        };
        out.minutes.starts.push(0);
        for (i, mut held) in all.into_iter().enumerate() {
            let c = &mut held.chunk;
            if chosen[c.stream as usize] && c.max_ts >= want.start && c.min_ts <= want.end {
                c.stream = number(&mut out.streams, c.stream as usize);
                out.minutes.cells.extend(tables.of(i));
                out.minutes.starts.push(out.minutes.cells.len() as u32);
                out.chunks.push(held);
            }
        }
        for mut run in self.runs() {
            run.retain(|e| e.ts >= want.start && e.ts <= want.end && chosen[e.stream]);
            if run.is_empty() {
                continue;
            }
            let stream = number(&mut out.streams, run[0].stream);
            out.raw
                .push(raw_run(&run, stream, self.sequence, want.lines));
        }
        Ok(out)
    }
    fn segments(&self) -> Vec<SegmentEntry> {
        self.segments.clone()
    }
    fn open(&self, segment: &SegmentEntry) -> Result<Reader, SegmentError> {
        Reader::open(&*self.disk, &self.path(segment.sequence))
    }
    fn index(&self) -> &Index {
        &self.index
    }
    fn damage(&self) -> &Damage {
        &self.damage
    }
}

/// The skip index of these blocks.
fn skip_index(blocks: &[Arc<[u8]>], encoder: &mut Encoder) -> Vec<u8> {
    let mut skip = SkipBuilder::default();
    let mut decoder = Decoder::new().unwrap();
    let mut lines = Vec::new();
    for block in blocks {
        let header = Header::decode(block).unwrap();
        let stored = header.column(block, Column::Lines).unwrap();
        decoder.lines(&header, stored, &mut lines).unwrap();
        let text = Text::Lines(&lines);
        skip.add(text, block.len(), encoder).unwrap();
    }
    skip.finish(encoder).unwrap()
}

fn raw_run(run: &[&Entry], stream: u32, sequence: u64, lines: bool) -> RawRun {
    let mut out = RawRun {
        stream,
        sequence,
        ..RawRun::default()
    };
    for e in run {
        out.times.push(e.ts);
        out.lengths.push(e.line.len() as u32);
        out.ids.push(e.set as u32);
        if lines {
            out.lines.extend_from_slice(&e.line);
            out.lines.push(b'\n');
        }
    }
    out
}

/// The same leaves over a list of entries.
struct Model<'a>(&'a [Entry]);

impl Model<'_> {
    fn each(&self, matchers: &[Matcher], mut f: impl FnMut(usize, &EntryView<'_>)) {
        let (streams, sets) = (streams(), sets());
        for (i, e) in self.0.iter().enumerate() {
            let stream: Vec<_> = streams[e.stream].as_ref().iter().collect();
            let metadata: Vec<_> = sets[e.set].as_ref().iter().collect();
            if all_match(matchers, &stream) {
                f(
                    i,
                    &EntryView {
                        ts: e.ts,
                        line: &e.line,
                        stream: &stream,
                        metadata: &metadata,
                    },
                );
            }
        }
    }
}

impl Leaf for Model<'_> {
    fn logs(
        &self,
        leaf: &LogLeaf,
        start: i64,
        end: i64,
        limit: usize,
        direction: Direction,
    ) -> Result<Logs, EvalError> {
        let mut found = Vec::new();
        let mut pipeline = leaf.pipeline.run();
        self.each(&leaf.matchers, |i, e| {
            if e.ts < start || e.ts >= end {
                return;
            }
            if let Some(o) = pipeline.process(e) {
                let labels: Vec<(String, String, _)> = o
                    .labels
                    .iter()
                    .map(|l| (l.0.to_owned(), l.1.to_owned(), l.2))
                    .collect();
                let text: Vec<String> = labels
                    .iter()
                    .map(|l| format!("{}={:?}", l.0, l.1))
                    .collect();
                let text = format!("{{{}}}", text.join(", "));
                found.push((e.ts, text, i, labels, o.line.to_vec()));
            }
        });
        found.sort_by(|a, b| match direction {
            Direction::Forward => (a.0, &a.1, a.2).cmp(&(b.0, &b.1, b.2)),
            Direction::Backward => (b.0, &a.1, b.2).cmp(&(a.0, &b.1, a.2)),
        });
        found.truncate(limit);
        let mut logs = Logs::default();
        for (ts, _, _, labels, line) in found {
            let labels = labels.iter().map(|(n, v, c)| (n.as_str(), v.as_str(), *c));
            let labels: EntryLabels = labels.collect();
            let known = logs.label_sets.iter().position(|s| *s == labels);
            let labels = known.unwrap_or_else(|| {
                logs.label_sets.push(labels);
                logs.label_sets.len() - 1
            }) as u32;
            logs.entries.push(LogEntry { ts, line, labels });
        }
        Ok(logs)
    }

    fn range(&self, leaf: &RangeLeaf, steps: Steps, _: usize) -> Result<Matrix, EvalError> {
        let mut sum = Accumulator::new(leaf, steps, 10_000, 64 << 20);
        let mut pipeline = leaf.pipeline.run();
        let (after, last) = leaf.span(steps);
        let mut result = Ok(());
        self.each(&leaf.matchers, |_, e| {
            if e.ts > after
                && e.ts <= last
                && let Some(o) = pipeline.process(e)
            {
                let added = sum
                    .series(&o)
                    .and_then(|series| sum.add_outcome(series, e.ts, &o));
                result = std::mem::replace(&mut result, Ok(())).and(added);
            }
        });
        result.and_then(|()| sum.finish())
    }
}

fn hour() -> Cancel {
    Cancel::at(Instant::now() + Duration::from_secs(3600))
}

const LIMITS: Limits = Limits {
    memory: 32 << 20,
    series: 10_000,
    scanned: None,
    threads: 1,
    alone: 0,
    skips: true,
};

fn ask(view: &dyn View, query: &str, request: &Request) -> (Value, QueryStats) {
    let plan = logql::parse(query).unwrap();
    run(view, LIMITS, &plan, request, &hour()).unwrap()
}

fn model(entries: &[Entry], query: &str, request: &Request) -> Value {
    let plan = logql::parse(query).unwrap();
    let model = Model(entries);
    match (&plan, request) {
        (
            Plan::Log(leaf),
            Request::Range {
                start,
                end,
                limit,
                direction,
                ..
            },
        ) => Value::Logs(model.logs(leaf, *start, *end, *limit, *direction).unwrap()),
        (
            Plan::Metric(plan),
            Request::Range {
                start, end, step, ..
            },
        ) => {
            let steps = Steps {
                start: *start,
                end: *end,
                step: *step,
            };
            metric_range(plan, steps, LIMITS.of_metrics(), &model).unwrap()
        }
        (Plan::Metric(plan), Request::Instant { time }) => {
            metric_instant(plan, *time, LIMITS.of_metrics(), &model).unwrap()
        }
        (Plan::Log(_), Request::Instant { .. }) => unreachable!(),
    }
}

/// Compares one query with the model; the numbering of label sets is not part of an answer.
fn check(fixture: &Fixture, query: &str, request: &Request, about: &str) {
    let got = ask(fixture, query, request).0;
    let limits = Limits {
        skips: false,
        ..LIMITS
    };
    let plan = logql::parse(query).unwrap();
    let whole = run(fixture, limits, &plan, request, &hour()).unwrap().0;
    // To the last digit.
    assert_eq!(
        plain(got.clone()),
        plain(whole),
        "{about}: {query} {request:?}"
    );
    let want = model(&fixture.all, query, request);
    if let (Value::Matrix(got), Value::Matrix(want)) = (&got, &want)
        && are_near(got, want)
    {
        return;
    }
    assert_eq!(plain(got), plain(want), "{about}: {query} {request:?}");
}

/// Whether matrices are equal but for rounding: values are added in another order.
fn are_near(got: &Matrix, want: &Matrix) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(1.0);
    got.series.len() == want.series.len()
        && got.series.iter().zip(&want.series).all(|(got, want)| {
            let mut points = got.points.iter().zip(&want.points);
            got.labels == want.labels
                && got.points.len() == want.points.len()
                && points.all(|(a, b)| a.0 == b.0 && near(a.1, b.1))
        })
}

type PlainEntry = (i64, Vec<u8>, EntryLabels);

#[derive(Debug, PartialEq)]
enum Plain {
    Logs(Vec<PlainEntry>),
    Other(Value),
}

fn plain(value: Value) -> Plain {
    match value {
        Value::Logs(logs) => Plain::Logs(
            logs.entries
                .into_iter()
                .map(|e| (e.ts, e.line, logs.label_sets[e.labels as usize].clone()))
                .collect(),
        ),
        other => Plain::Other(other),
    }
}
