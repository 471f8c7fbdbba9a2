//! A pods directory, a sink in memory, and an agent that can be killed and started again.

#![expect(
    clippy::disallowed_methods,
    reason = "tests play kubelet: they write, rename and remove log files"
)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent::sink::{Refused, Sink};
use agent::tail::pread::PreadReader;
use agent::tail::read::AnyReader;
use agent::{Config, Faults, Snapshot, Stats, Timing};
use tokio::sync::Notify;
use wire::{Batch, Secure};

/// A line as the sink got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) pod: String,
    pub(crate) container: String,
    pub(crate) stream: String,
    pub(crate) restart: String,
    pub(crate) level: String,
    pub(crate) ts: i64,
    pub(crate) text: String,
}

/// One batch that was taken.
#[derive(Debug, Clone)]
pub(crate) struct Op {
    pub(crate) lines: Vec<Line>,
    pub(crate) key: Vec<u8>,
    pub(crate) position: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) ops: Vec<Op>,
    /// Batches that no crash takes away.
    pub(crate) durable: usize,
    /// Answers `Full` while set.
    pub(crate) full: bool,
    /// Each call that said which sources ended: keys, streams' outputs, metadata.
    pub(crate) secured: Vec<Vec<(String, String, String)>>,
    pub(crate) changed: Rc<Notify>,
}

impl Store {
    pub(crate) fn lines(&self) -> Vec<Line> {
        self.ops.iter().flat_map(|o| o.lines.clone()).collect()
    }
    pub(crate) fn texts(&self) -> Vec<String> {
        self.lines().into_iter().map(|l| l.text).collect()
    }
    pub(crate) fn positions(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut all = BTreeMap::new();
        for op in &self.ops {
            match &op.position {
                Some(p) => all.insert(op.key.clone(), p.clone()),
                None => all.remove(&op.key),
            };
        }
        all
    }
}

#[derive(Debug, Clone)]
pub(crate) struct MemSink(pub(crate) Rc<RefCell<Store>>);

impl Sink for MemSink {
    fn offer(&mut self, batch: &Batch<'_>) -> Result<(), Refused> {
        let mut store = self.0.borrow_mut();
        if store.full {
            return Err(Refused::Full);
        }
        let source = batch.source.expect("tailed batches have a source");
        assert!(source.key.len() <= 1024);
        assert!(source.position.is_none_or(|p| p.len() <= 65_536));
        let lines = batch.entries.iter().map(|e| {
            let labels = batch.streams[e.stream as usize].as_ref();
            let get = |n: &str| labels.get(n).unwrap_or_default().to_owned();
            let meta = |n: &str| e.metadata.get(n).unwrap_or_default().to_owned();
            Line {
                pod: get("pod"),
                container: get("container"),
                stream: get("stream"),
                restart: meta("restart"),
                level: meta("detected_level"),
                ts: e.ts,
                text: String::from_utf8_lossy(e.line).into_owned(),
            }
        });
        let op = Op {
            lines: lines.collect(),
            key: source.key.to_vec(),
            position: source.position.map(<[u8]>::to_vec),
        };
        store.ops.push(op);
        store.changed.notify_waiters();
        Ok(())
    }
    fn secure(&mut self, sources: &[Secure<'_>]) {
        let call = sources.iter().map(|source| {
            let outputs = source.streams.iter();
            let outputs: Vec<&str> = outputs
                .map(|set| set.as_ref().get("stream").unwrap_or_default())
                .collect();
            let key = String::from_utf8_lossy(source.key).into_owned();
            (key, outputs.join(" "), source.metadata.to_string())
        });
        let mut call: Vec<_> = call.collect();
        call.sort();
        self.0.borrow_mut().secured.push(call);
    }
    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        let store = self.0.clone();
        Box::pin(async move {
            loop {
                let changed = store.borrow().changed.clone();
                let wait = changed.notified();
                if !store.borrow().full {
                    return;
                }
                wait.await;
            }
        })
    }
    fn positions(&self) -> std::io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        Ok(self.0.borrow().positions().into_iter().collect())
    }
}

/// Everything that a test needs.
pub(crate) struct Lab {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) root: PathBuf,
    pub(crate) config: Config,
    pub(crate) store: Rc<RefCell<Store>>,
}

impl Lab {
    pub(crate) fn new() -> Lab {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("pods");
        std::fs::create_dir(&root).unwrap();
        let config = Config {
            pods_dir: root.clone(),
            node_name: "pi-1".into(),
            detect: |line| {
                if line.starts_with(b"error") {
                    "error"
                } else {
                    "unknown"
                }
            },
            timing: Timing {
                scan: Duration::from_millis(20),
                coalesce: Duration::from_millis(2),
                quiet: Duration::from_millis(100),
                ..Timing::default()
            },
            ..Config::default()
        };
        Lab {
            dir,
            root,
            config,
            store: Rc::default(),
        }
    }

    pub(crate) fn stats(&self) -> Snapshot {
        self.config.stats.snapshot()
    }

    /// Runs the agent beside `body`, and kills it when that is done.
    pub(crate) fn run<T>(&mut self, body: impl AsyncFnOnce(&Lab) -> T) -> T {
        self.config.stats = Arc::new(Stats::default());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let sink = MemSink(self.store.clone());
        let reader = AnyReader::Pread(PreadReader::new());
        let agent = agent::run(self.config.clone(), reader, sink, std::future::pending());
        runtime.block_on(async {
            tokio::select! {
                biased;
                r = agent => panic!("agent ended: {r:?}"),
                t = body(self) => t,
            }
        })
    }

    /// Waits until a condition holds.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn(&Store, &Snapshot) -> bool) {
        let seen = async {
            while !condition(&self.store.borrow(), &self.stats()) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), seen)
            .await
            .is_err()
        {
            let texts = self.store.borrow().texts();
            panic!(
                "not seen: {what}; stats {:?}; {} lines, last {:?}",
                self.stats(),
                texts.len(),
                texts.last()
            );
        }
    }

    /// Waits for the lines in any order, then checks that there are no others.
    pub(crate) async fn expect(&self, want: &[&str]) {
        self.until("lines", |s, _| s.texts().len() >= want.len())
            .await;
        assert_eq!(self.store.borrow().texts(), want);
    }

    pub(crate) fn container(&self, pod: &str, container: &str) -> PathBuf {
        let dir = self.root.join(pod).join(container);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// The directory of the pod that most tests use.
    pub(crate) fn web(&self) -> PathBuf {
        self.container("shop_web-5d4f8c7b96-x2x4b_u-1", "nginx")
    }

    pub(crate) fn faults(&self) -> &Faults {
        &self.config.faults
    }
}

static CLOCK: AtomicU64 = AtomicU64::new(0);

/// A record with a time that no other record has.
pub(crate) fn record(stream: &str, tag: &str, text: &str) -> String {
    let n = CLOCK.fetch_add(1, Ordering::Relaxed);
    let (s, ns) = (n / 1_000_000, n % 1_000_000 * 1000);
    format!(
        "2026-11-20T09:{:02}:{:02}.{ns:09}Z {stream} {tag} {text}\n",
        s / 60,
        s % 60
    )
}

/// A container runtime's log file.
pub(crate) struct Writer(pub(crate) File);

impl Writer {
    pub(crate) fn open(path: impl AsRef<Path>) -> Writer {
        let options = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .clone();
        Writer(options.open(path).unwrap())
    }
    pub(crate) fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }
    pub(crate) fn out(&mut self, text: &str) {
        self.raw(record("stdout", "F", text));
    }
    pub(crate) fn put(&mut self, stream: &str, tag: &str, text: &str) {
        self.raw(record(stream, tag, text));
    }
}

/// What kubelet does between two files: rename; the caller reopens.
pub(crate) fn rename(dir: &Path, from: &str, to: &str) {
    std::fs::rename(dir.join(from), dir.join(to)).unwrap();
}

/// What kubelet does with an older file: compress to `.tmp`, rename, remove.
pub(crate) fn gzip(dir: &Path, name: &str) {
    let plain = std::fs::read(dir.join(name)).unwrap();
    let tmp = dir.join(format!("{name}.tmp"));
    let mut gz =
        flate2::write::GzEncoder::new(File::create(&tmp).unwrap(), flate2::Compression::fast());
    gz.write_all(&plain).unwrap();
    gz.finish().unwrap();
    std::fs::rename(&tmp, dir.join(format!("{name}.gz"))).unwrap();
    std::fs::remove_file(dir.join(name)).unwrap();
}
