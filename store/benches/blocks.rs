//! Blocks of 256 KiB raw: what each column costs to encode and to decode, in bytes of the lines.

mod common;

use std::hint::black_box;

use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use store::bench::{BlockEncoder, Columns, encode_times};
use store::block::{Column, Decoder, Header, Metadata};
use wire::LabelSet;

use common::cpu::CpuTime;
use common::group;
use common::lines::{Kind, Rng, lines};

const RAW: usize = 256 << 10;

struct Input {
    times: Vec<i64>,
    lengths: Vec<u32>,
    ids: Vec<u32>,
    lines: Vec<u8>,
    sets: Vec<LabelSet>,
}

impl Input {
    fn new(kind: Kind) -> Input {
        let mut rng = Rng::new(3);
        let mut input = Input {
            times: Vec::new(),
            lengths: Vec::new(),
            ids: Vec::new(),
            lines: Vec::new(),
            sets: ["info", "warn", "error"]
                .map(|l| LabelSet::from_pairs([("detected_level", l)]).expect("metadata"))
                .to_vec(),
        };
        let mut ts = 1_795_000_000_000_000_000;
        for line in lines(kind, RAW / 64) {
            if input.lines.len() + line.len() >= RAW {
                break;
            }
            ts += rng.below(40_000_000) as i64;
            input.times.push(ts);
            input.lengths.push(line.len() as u32);
            input.ids.push(rng.below(40).saturating_sub(37) as u32);
            input.lines.extend_from_slice(&line);
            input.lines.push(b'\n');
        }
        input
    }
}

fn encoding(group: &mut BenchmarkGroup<'_, CpuTime>, input: &Input) {
    let sets: Vec<&[u8]> = input.sets.iter().map(LabelSet::as_bytes).collect();
    let columns = Columns {
        times: &input.times,
        lengths: &input.lengths,
        ids: &input.ids,
        lines: &input.lines,
        sets: &sets,
    };
    let mut encoder = BlockEncoder::new().expect("a context");
    let mut out = Vec::new();
    group.bench_function("encode", |b| {
        b.iter(|| black_box(encoder.block(&columns).expect("memory").len()));
    });
    group.bench_function("encode times", |b| {
        b.iter(|| {
            out.clear();
            encode_times(&input.times, &mut out);
        });
    });
    let without = Columns {
        lines: &[],
        ..columns
    };
    group.bench_function("encode all but lines", |b| {
        b.iter(|| black_box(encoder.block(&without).expect("memory").len()));
    });
    group.bench_function("encode lines", |b| {
        b.iter(|| {
            out.clear();
            encoder.pack(&input.lines, &mut out).expect("memory");
        });
    });
}

/// Each with its checksum, as a query reads it.
fn decoding(group: &mut BenchmarkGroup<'_, CpuTime>, input: &Input) {
    let sets: Vec<&[u8]> = input.sets.iter().map(LabelSet::as_bytes).collect();
    let mut encoder = BlockEncoder::new().expect("a context");
    let block = encoder.block(&Columns {
        times: &input.times,
        lengths: &input.lengths,
        ids: &input.ids,
        lines: &input.lines,
        sets: &sets,
    });
    let block = block.expect("memory");
    let mut decoder = Decoder::new().expect("a context");
    let header = Header::decode(block).expect("intact");
    let stored = |column| header.column(block, column).expect("intact");
    let (mut times, mut lengths, mut metadata, mut lines) =
        (Vec::new(), Vec::new(), Metadata::default(), Vec::new());
    group.bench_function("decode times", |b| {
        b.iter(|| decoder.times(&header, stored(Column::Times), &mut times));
    });
    group.bench_function("decode lengths", |b| {
        b.iter(|| decoder.lengths(&header, stored(Column::Lengths), &[], &mut lengths));
    });
    group.bench_function("decode metadata", |b| {
        b.iter(|| decoder.metadata(&header, stored(Column::Metadata), &mut metadata));
    });
    group.bench_function("decode lines", |b| {
        b.iter(|| decoder.lines(&header, stored(Column::Lines), &mut lines));
    });
    assert_eq!(lines, input.lines, "decoding gives back what was encoded");
    assert_eq!(
        (times, lengths),
        (input.times.clone(), input.lengths.clone())
    );
}

fn blocks(c: &mut Criterion<CpuTime>) {
    for kind in [Kind::Json, Kind::Logfmt, Kind::Text] {
        let input = Input::new(kind);
        let mut group = group(c, &format!("block of {kind:?}"));
        group.throughput(Throughput::Bytes(input.lines.len() as u64));
        encoding(&mut group, &input);
        decoding(&mut group, &input);
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = blocks
}
criterion_main!(benches);
