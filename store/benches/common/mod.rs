//! What the benches of the store share: entries of many streams, as a node's containers write them.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each bench uses its own part of this module"
)]

#[path = "../../../benches/cpu.rs"]
pub mod cpu;
#[path = "../../../benches/lines.rs"]
pub mod lines;

use std::time::Duration;

use cpu::CpuTime;
use criterion::{BenchmarkGroup, Criterion};
use lines::{Kind, Rng};
use wire::{Batch, Entry, LabelSet};

const START: i64 = 1_795_000_000_000_000_000;
const KINDS: [Kind; 4] = [Kind::Json, Kind::Logfmt, Kind::Access, Kind::Text];
const LEVELS: [&str; 4] = ["info", "info", "warn", "error"];
/// Entries handed over at once.
const BATCH: usize = 500;

/// Entries of `streams` streams, some loud and many quiet, over six hours.
pub struct Corpus {
    sets: Vec<LabelSet>,
    metadata: Vec<LabelSet>,
    /// Stream, time, line, metadata.
    entries: Vec<(u32, i64, Vec<u8>, usize)>,
}

impl Corpus {
    /// Entries with about `bytes` of lines.
    pub fn new(streams: usize, bytes: usize) -> Corpus {
        let mut rng = Rng::new(7);
        let pools = KINDS.map(|kind| lines::lines(kind, 4_000));
        let set = |i: usize| {
            let app = format!("app-{:03}", i / 2);
            let stream = if i.is_multiple_of(2) {
                "stdout"
            } else {
                "stderr"
            };
            let pairs = [
                ("app", app.as_str()),
                ("container", &app),
                ("namespace", &format!("ns-{}", i % 10)),
                ("node", "n1"),
                ("pod", &format!("{app}-7d9c6b5f4-x{i:04}")),
                ("stream", stream),
            ];
            LabelSet::from_pairs(pairs).expect("labels")
        };
        let count = bytes / 175;
        let step = 6 * 3_600_000_000_000 / count as i64;
        let mut entries = Vec::with_capacity(count);
        for i in 0..count {
            // The square of a uniform number: the first streams get most.
            let at = (rng.below(1 << 16) * rng.below(1 << 16) * streams as u64) >> 32;
            let pool = &pools[at as usize % pools.len()];
            let line = pool[rng.below(pool.len() as u64) as usize].clone();
            let ts = START + i as i64 * step + rng.below(step as u64) as i64;
            entries.push((at as u32, ts, line, rng.below(LEVELS.len() as u64) as usize));
        }
        Corpus {
            sets: (0..streams).map(set).collect(),
            metadata: LEVELS
                .iter()
                .map(|l| LabelSet::from_pairs([("detected_level", l)]).expect("metadata"))
                .collect(),
            entries,
        }
    }

    /// Bytes of all lines, one line feed each.
    pub fn bytes(&self) -> u64 {
        self.entries.iter().map(|e| e.2.len() as u64 + 1).sum()
    }

    /// Gives all entries to `take`, in batches as reads make them.
    pub fn feed(&self, mut take: impl FnMut(&Batch<'_>)) {
        let streams: Vec<&LabelSet> = self.sets.iter().collect();
        for part in self.entries.chunks(BATCH) {
            let entries: Vec<Entry<'_>> = part
                .iter()
                .map(|(stream, ts, line, metadata)| Entry {
                    stream: *stream,
                    ts: *ts,
                    line,
                    metadata: self.metadata[*metadata].as_ref(),
                })
                .collect();
            take(&Batch {
                streams: &streams,
                entries: &entries,
                source: None,
            });
        }
    }
}

/// A short group: all benches of the workspace shall take minutes.
pub fn group<'c>(c: &'c mut Criterion<CpuTime>, name: &str) -> BenchmarkGroup<'c, CpuTime> {
    let mut group = c.benchmark_group(name);
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    group
}
