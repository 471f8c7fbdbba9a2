use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use disk::sim::SimDisk;
use disk::{DirEntry, Disk, File, LockGuard, Mode, Purpose, Space};
use wire::{Batch, Entry, LabelSet};

use super::*;
use crate::api::{AppendError, Options, Store, Tuning};

/// A simulated disk that counts what is handed to the device.
#[derive(Debug, Clone)]
struct Counting {
    sim: SimDisk,
    pieces: Arc<AtomicU64>,
}

#[derive(Debug)]
struct CountingFile(Arc<dyn File>, Arc<AtomicU64>);

impl File for CountingFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_at(buf, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        self.0.sync()
    }
    fn write_out(&self, _: u64, len: u64) {
        // A piece ends with the write that fills it, and that is a block at most.
        assert!((PIECE_BYTES..3 * PIECE_BYTES).contains(&len), "{len}");
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

impl Disk for Counting {
    fn open(&self, path: &Path, mode: Mode, purpose: Purpose) -> io::Result<Arc<dyn File>> {
        let file = self.sim.open(path, mode, purpose)?;
        Ok(Arc::new(CountingFile(file, Arc::clone(&self.pieces))))
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.sim.list(dir)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.sim.remove(path)
    }
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.sim.create_dir_all(dir)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sim.sync_dir(dir)
    }
    fn space(&self, dir: &Path) -> io::Result<Space> {
        self.sim.space(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn LockGuard>> {
        self.sim.lock(path)
    }
    fn real_path(&self, path: &Path) -> Option<PathBuf> {
        self.sim.real_path(path)
    }
    fn written(&self) -> Vec<(Purpose, u64)> {
        self.sim.written()
    }
}

/// A line that does not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    std::iter::repeat_with(step).take(4000).collect()
}

/// Fills the head several times as fast as it goes; pieces handed over, and flushes for size.
fn fill(rate: Option<u64>) -> (u64, u64) {
    let disk = Counting {
        sim: SimDisk::new(1),
        pieces: Arc::default(),
    };
    let store = Store::open(Options {
        tuning: Tuning {
            flush_interval: Duration::from_secs(86_400),
            catch_up_rate: rate,
            ..Tuning::default()
        },
        ..Options::new("/data", Arc::new(disk.clone()))
    })
    .unwrap();
    let set = LabelSet::from_pairs([("app", "loud")]).unwrap();
    let metadata = LabelSet::default();
    for n in 0..4000 {
        let line = noise(n);
        let entry = Entry {
            stream: 0,
            ts: n as i64,
            line: &line,
            metadata: metadata.as_ref(),
        };
        let batch = Batch {
            streams: &[&set],
            entries: &[entry],
            source: None,
        };
        loop {
            match store.append(&batch) {
                Ok(()) => break,
                Err(AppendError::Full) => std::thread::yield_now(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    let flushes = store.stats().flushes[0];
    // Somebody waits: no rests.
    store.close().unwrap();
    (disk.pieces.load(Ordering::Relaxed), flushes)
}

#[test]
fn p4_a_backlog_goes_out_in_pieces_and_nothing_else_does() {
    let (pieces, flushes) = fill(Some(1 << 40));
    assert!(flushes >= 3, "{flushes}");
    // All but the first flush, each of some three megabytes.
    assert!(pieces >= (flushes - 1) * 5, "{pieces} in {flushes}");
    assert_eq!(fill(None).0, 0);
    let now = Instant::now();
    assert!(!is_backlog(None, now));
    assert!(is_backlog(Some(now), now + BACKLOG / 2));
    assert!(!is_backlog(Some(now), now + BACKLOG));
}
