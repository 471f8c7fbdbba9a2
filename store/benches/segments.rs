//! Sections of a segment of 8 MiB raw, from the page cache to values: read, checksum, decompression, decoding. In bytes
//! of the lines that they describe.

mod common;

use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use disk::Disk;
use disk::real::RealDisk;
use store::api::{Options, Store};
use store::segment::{DIR, Reader, Unpacker};

use common::cpu::CpuTime;
use common::{Corpus, group};

const RAW: usize = 8 << 20;

/// The only segment of a store that took a corpus.
fn segment(dir: &std::path::Path, corpus: &Corpus) -> Reader {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::new());
    let store = Store::open(Options::new(dir, Arc::clone(&disk))).expect("a new store");
    corpus.feed(|batch| store.append(batch).expect("room"));
    store.close().expect("a flush");
    let files = disk.list(&dir.join(DIR)).expect("a folder");
    assert_eq!(files.len(), 1, "the pool holds the corpus");
    Reader::open(&*disk, &dir.join(DIR).join(&files[0].name)).expect("intact")
}

fn sections(c: &mut Criterion<CpuTime>) {
    for streams in [100, 2_000] {
        let corpus = Corpus::new(streams, RAW);
        let dir = tempfile::tempdir().expect("a directory");
        let reader = segment(dir.path(), &corpus).sharing(&Unpacker::default());
        let chunks = reader.chunks().expect("intact");
        let mut group = group(c, &format!("segment, {streams} streams"));
        group.throughput(Throughput::Bytes(corpus.bytes()));
        group.bench_function("streams", |b| b.iter(|| reader.streams().expect("intact")));
        group.bench_function("chunk rows", |b| {
            b.iter(|| reader.chunks().expect("intact"));
        });
        group.bench_function("minute tables", |b| {
            b.iter(|| reader.minutes(&chunks).expect("intact"));
        });
        group.bench_function("metadata of minute tables", |b| {
            b.iter(|| reader.metadata().expect("intact"));
        });
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(CpuTime);
    targets = sections
}
criterion_main!(benches);
