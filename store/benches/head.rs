//! From batches to what a flush writes: append with the seals that it causes, and joining the blocks of a full pool.

mod common;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use store::bench::{BlockEncoder, Pool};

use common::cpu::CpuTime;
use common::{Corpus, group};

const POOL: usize = 4 << 20;
/// Fits the pool, sealed: no flush comes between.
const RAW: usize = 8 << 20;

fn filled(corpus: &Corpus) -> Pool {
    let mut pool = Pool::new(POOL).expect("a context");
    corpus.feed(|batch| pool.append(batch).expect("room"));
    pool
}

fn head(c: &mut Criterion<CpuTime>) {
    for streams in [100, 2_000] {
        let corpus = Corpus::new(streams, RAW);
        let mut group = group(c, &format!("head, {streams} streams"));
        group.throughput(Throughput::Bytes(corpus.bytes()));
        group.bench_function("append, seal", |b| {
            b.iter_with_large_drop(|| {
                let mut pool = filled(&corpus);
                (pool.freeze().expect("a context").expect("entries"), pool)
            });
        });
        let mut encoder = BlockEncoder::new().expect("a context");
        let freeze = || filled(&corpus).freeze().expect("a context");
        let epoch = freeze().expect("entries");
        group.bench_function("merge", |b| {
            b.iter(|| epoch.merge(&mut encoder).expect("memory"));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = head
}
criterion_main!(benches);
