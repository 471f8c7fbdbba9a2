//! The store as the rest of the program sees it.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use disk::Disk;
use logql::eval::{EvalError, Grants};
use logql::matcher::Matcher;
use logql::plan::Direction;
use logql::value::Value;
use wire::LabelSet;
pub use wire::Secure;

use crate::clock::{Timekeeper, Trust, Verdict};
pub use crate::pushlog::{PushLogStats, Pushed};
use crate::query;
pub use crate::query::Shared;
use crate::query::Turn;
use crate::retention::{Removed, Retention};

/// Longer than anything is waited for.
const FAR: Duration = Duration::from_secs(24 * 3600);

/// How to open a store.
#[derive(Debug, Clone)]
pub struct Options {
    /// Data directory.
    pub dir: PathBuf,
    /// Where files go.
    pub disk: Arc<dyn Disk>,
    /// Bytes of the head's pool. Default 4 MiB.
    pub head_bytes: usize,
    /// What can be changed later.
    pub tuning: Tuning,
    /// Longest time until a push survives a power cut, too; 0: before it is acknowledged. Default 1 s.
    pub push_sync_interval: Duration,
    /// Bytes of the push log's file. Default 16 MiB.
    pub push_log_size: usize,
    /// The clock that ages are judged by. Default: the system's, if the kernel says that it is right.
    pub clock: Timekeeper,
}

/// What [`Store::tune`] changes.
#[derive(Debug, Clone, Copy)]
pub struct Tuning {
    /// Oldest an entry in the head may get before everything is flushed. Default 30 min.
    pub flush_interval: Duration,
    /// Memory budget of one query, bytes. Default 16 MiB.
    pub query_memory: usize,
    /// Threads of one query; 1: its own only; 0: as many as cores. Default 0.
    pub query_threads: usize,
    /// Series limit of one query. Default 500.
    pub max_query_series: usize,
    /// Bytes of lines that one query may look at. Default 32 GiB; `None`: no bound.
    pub max_query_bytes_read: Option<u64>,
    /// Bytes of raw log a second while catching up on a backlog: writing keeps to half of it. `None`: no bound.
    pub catch_up_rate: Option<u64>,
    /// What is kept, and what is removed. Default: everything is kept.
    pub retention: Retention,
}

impl Options {
    /// Defaults for everything but the place.
    pub fn new(dir: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Options {
        Options {
            dir: dir.into(),
            disk,
            head_bytes: 4 << 20,
            tuning: Tuning::default(),
            push_sync_interval: Duration::from_secs(1),
            push_log_size: 16 << 20,
            clock: Timekeeper::system(Trust::Auto),
        }
    }
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            flush_interval: Duration::from_secs(30 * 60),
            query_memory: 16 << 20,
            query_threads: 0,
            max_query_series: 500,
            max_query_bytes_read: Some(32 << 30),
            catch_up_rate: None,
            retention: Retention::default(),
        }
    }
}

/// Cores of the machine, as far as this process may use them.
#[must_use]
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A store; clones share it. Dropping the last one without [`Store::close`] stops it as a kill would: what is in the
/// head is lost, what is on disk is whole.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) inner: Arc<crate::store::Inner>,
    /// Stops the flush thread with the last clone; the thread itself holds only `inner`.
    pub(crate) owner: Arc<crate::store::Owner>,
}

/// Why a store could not be opened. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory; the text is its note in the lock file.
    #[error("data directory `{dir}` is in use by {holder}")]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// What the lock file says.
        holder: String,
    },
    /// A file was written by a newer version.
    #[error("`{file}` has format {found}; this version reads up to {known}")]
    Newer {
        /// The file.
        file: PathBuf,
        /// Version found.
        found: u32,
        /// Newest known version.
        known: u32,
    },
    /// An I/O error.
    #[error("{action} `{path}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

/// Why a batch was not taken. Nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The pool is full; try again after [`Store::room`].
    #[error("the head is full")]
    Full,
    /// Writing failed (disk full, I/O error); try again after [`Store::room`].
    #[error("the store cannot write: {0}")]
    Unavailable(String),
    /// Never acceptable: a limit of the batch itself.
    #[error("{0}")]
    Invalid(String),
}

/// Tells a running query to stop: deadline passed or client gone. Also where it stands among other queries, if it
/// shares cores and memory with them.
#[derive(Debug, Clone)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    /// Ends a helper; the query's own thread has none.
    dismissed: Option<Arc<AtomicBool>>,
    deadline: Instant,
    turn: Option<Arc<Turn>>,
}

/// A thread's part of what queries share: given back when it is dropped.
#[derive(Debug)]
pub struct Seat<'c>(&'c Cancel);

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        if let Some(turn) = &self.0.turn {
            turn.end();
        }
    }
}

impl Cancel {
    /// Cancelled at `deadline`, or when [`Cancel::cancel`] is called on a clone.
    #[must_use]
    pub fn at(deadline: Instant) -> Cancel {
        Cancel {
            flag: Arc::new(AtomicBool::new(false)),
            dismissed: None,
            deadline,
            turn: None,
        }
    }

    /// Of a query that shares cores and memory with others. Its thread holds [`Cancel::enter`]'s seat while it runs.
    #[must_use]
    pub fn among(self, others: &Arc<Shared>) -> Cancel {
        Cancel {
            turn: Some(Arc::new(Turn::new(others))),
            ..self
        }
    }

    /// Stops the query.
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::Relaxed);
        if let Some(turn) = &self.turn {
            turn.wake();
        }
    }

    /// Waits for the query's turn. Only for its own thread.
    ///
    /// # Errors
    /// As [`Cancel::check`].
    pub fn enter(&self) -> Result<Seat<'_>, EvalError> {
        let seat = Seat(self);
        if let Some(turn) = &self.turn {
            turn.enter(self.deadline, &|| self.ended(Instant::now()))?;
        }
        Ok(seat)
    }

    fn ended(&self, now: Instant) -> Result<(), EvalError> {
        let dismissed = self.dismissed.as_ref();
        if self.flag.load(Ordering::Relaxed)
            || dismissed.is_some_and(|flag| flag.load(Ordering::Relaxed))
        {
            return Err(EvalError::Cancelled);
        }
        if now >= self.deadline {
            return Err(EvalError::Timeout);
        }
        Ok(())
    }

    /// Lets other queries go first when it is their turn.
    ///
    /// # Errors
    /// [`EvalError::Cancelled`] or [`EvalError::Timeout`]. Called once a chunk or more often.
    pub fn check(&self) -> Result<(), EvalError> {
        let now = Instant::now();
        self.ended(now)?;
        match &self.turn {
            Some(turn) => turn.look(now, self.deadline, &|| self.ended(Instant::now())),
            None => Ok(()),
        }
    }

    /// Does what does not compute but wait (for a client, say), while others compute.
    pub(crate) fn wait<T>(&self, wait: impl FnOnce() -> T) -> T {
        let Some(turn) = &self.turn else {
            return wait();
        };
        turn.leave();
        let waited = wait();
        // An answer may be sent for longer than its query may take. If nobody wants it any more, the next piece says so.
        let gone = || match self.flag.load(Ordering::Relaxed) {
            true => Err(EvalError::Cancelled),
            false => Ok(()),
        };
        let _ = turn.enter(Instant::now() + FAR, &gone);
        waited
    }

    /// The same for helpers, which meanwhile go as the query itself.
    pub(crate) fn wait_for_helpers<T>(&self, wait: impl FnOnce() -> T) -> T {
        let Some(turn) = &self.turn else {
            return wait();
        };
        turn.set_waits(true);
        let waited = self.wait(wait);
        turn.set_waits(false);
        waited
    }

    /// For a helper of the query, which ends when it is dismissed.
    pub(crate) fn helper(&self, dismissed: &Arc<AtomicBool>) -> Cancel {
        Cancel {
            flag: Arc::clone(&self.flag),
            dismissed: Some(Arc::clone(dismissed)),
            deadline: self.deadline,
            turn: self.turn.as_ref().map(|turn| Arc::new(turn.helper())),
        }
    }

    /// Has helpers that wait for their turn look whether they are dismissed.
    pub(crate) fn wake(&self) {
        if let Some(turn) = &self.turn {
            turn.wake();
        }
    }

    /// Whether a helper would find a core free.
    pub(crate) fn has_room(&self) -> bool {
        self.turn.as_ref().is_none_or(|turn| turn.has_room())
    }

    /// Whether the query may hold so many bytes now.
    pub(crate) fn try_grant(&self, bytes: usize) -> bool {
        self.turn.as_ref().is_none_or(|turn| turn.try_grant(bytes))
    }
}

impl Grants for Cancel {
    fn grant(&self, bytes: usize) -> Result<usize, EvalError> {
        match &self.turn {
            Some(turn) => turn.grant(bytes, self.deadline, &|| self.ended(Instant::now())),
            None => Ok(usize::MAX),
        }
    }
}

/// A query with its parameters resolved; times in ns.
#[derive(Debug, Clone)]
pub enum Request {
    /// `query_range`: logs with `start <= ts < end`, or metrics at `start, start+step ..= end` (already aligned).
    Range {
        /// First instant.
        start: i64,
        /// Last instant (exclusive for logs).
        end: i64,
        /// Step in ns, at least 1.
        step: i64,
        /// Entry limit for logs.
        limit: usize,
        /// Order of entries.
        direction: Direction,
    },
    /// `query`: metrics at one instant.
    Instant {
        /// The instant.
        time: i64,
    },
}

/// What a query cost; shown as Loki's `stats`. The entries of a stream in the head that are in no block yet count as a
/// chunk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueryStats {
    /// Bytes of the lines looked at, each with its line feed. What needs no lines looks at none.
    pub bytes_processed: u64,
    /// Entries looked at, be it at their times alone. Those behind a minute table are not looked at.
    pub lines_processed: u64,
    /// Chunks that overlapped the range.
    pub chunks_matched: u64,
    /// Chunks of which a column was read.
    pub chunks_read: u64,
    /// Compressed bytes read, of all columns.
    pub compressed_bytes: u64,
    /// Bytes read of segments' summaries and sections: streams, chunks, minute tables, skip index. Loki has no such number.
    pub section_bytes: u64,
    /// Bytes of lines that were decompressed: whole blocks, of other streams too.
    pub decompressed_bytes: u64,
    /// Entries of the blocks that were decompressed for that.
    pub decompressed_lines: u64,
    /// Bytes of lines looked at in the head, where they were not compressed.
    pub head_bytes: u64,
    /// Entries looked at there.
    pub head_lines: u64,
    /// Entries or points returned.
    pub entries_returned: u64,
}

impl QueryStats {
    /// Adds what a part of the query cost.
    pub(crate) fn add(&mut self, part: &QueryStats) {
        self.bytes_processed += part.bytes_processed;
        self.lines_processed += part.lines_processed;
        self.chunks_matched += part.chunks_matched;
        self.chunks_read += part.chunks_read;
        self.compressed_bytes += part.compressed_bytes;
        self.section_bytes += part.section_bytes;
        self.decompressed_bytes += part.decompressed_bytes;
        self.decompressed_lines += part.decompressed_lines;
        self.head_bytes += part.head_bytes;
        self.head_lines += part.head_lines;
        self.entries_returned += part.entries_returned;
    }
}

/// Counters for `/metrics` and `stats`.
#[derive(Debug, Clone, Default)]
pub struct StoreStats {
    /// Entries taken since start.
    pub entries_in: u64,
    /// Line bytes taken since start (each line counted with one line feed).
    pub bytes_in: u64,
    /// Bytes in use of the head's pool, and its size.
    pub head_used: u64,
    /// Size of the pool.
    pub head_size: u64,
    /// Streams in the head.
    pub head_streams: u64,
    /// Segments on disk.
    pub segments: u64,
    /// Their bytes.
    pub segment_bytes: u64,
    /// Flushes by reason: size, age, shutdown, asked, push log.
    pub flushes: [u64; 5],
    /// Seconds spent in flushes.
    pub flush_seconds: f64,
    /// Failed flushes.
    pub flush_errors: u64,
    /// Highest sequence on disk.
    pub sequence: u64,
    /// Chunks found damaged since start.
    pub damaged_chunks: u64,
    /// The push log.
    pub push_log: PushLogStats,
    /// Removed by retention since start: for age, max_disk, min_free, a full disk.
    pub removed: [Removed; 4],
    /// Bytes of all files of the store.
    pub store_bytes: u64,
    /// Size and space of its file system, when they could be asked.
    pub disk: Option<disk::Space>,
    /// Writes that found the disk full.
    pub disk_full: u64,
    /// Less than `min_free` is free, and nothing is left to remove.
    pub min_free_unmet: bool,
    /// Whether the clock can be believed; `None` without a store.
    pub clock: Option<Verdict>,
    /// Jumps of the clock since start.
    pub clock_jumps: u64,
    /// Bytes written by purpose.
    pub written: Vec<(disk::Purpose, u64)>,
}

impl Store {
    /// Runs a query that parsed. Blocks; call it on a query thread.
    ///
    /// # Errors
    /// See [`EvalError`].
    pub fn query(
        &self,
        plan: &logql::plan::Plan,
        request: &Request,
        cancel: &Cancel,
    ) -> Result<(Value, QueryStats), EvalError> {
        let tuning = self.inner.tuning();
        let limits = query::Limits {
            memory: tuning.query_memory,
            threads: match tuning.query_threads {
                0 => cores(),
                threads => threads,
            },
            alone: query::ALONE,
            series: tuning.max_query_series,
            scanned: tuning.max_query_bytes_read,
            skips: true,
        };
        query::run(&*self.inner, limits, plan, request, cancel)
    }
    /// Names of labels of streams with data that may overlap `[start, end]`, sorted. Blocks.
    ///
    /// # Errors
    /// See [`EvalError`].
    pub fn label_names(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        cancel: &Cancel,
    ) -> Result<Vec<String>, EvalError> {
        query::label_names(&*self.inner, matchers, (start, end), cancel)
    }
    /// Values of one label, sorted. Blocks.
    ///
    /// # Errors
    /// See [`EvalError`].
    pub fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        cancel: &Cancel,
    ) -> Result<Vec<String>, EvalError> {
        query::label_values(&*self.inner, name, matchers, (start, end), cancel)
    }
    /// Streams that match any of the matcher groups (no group: all) with a chunk touching the range. Blocks.
    ///
    /// # Errors
    /// See [`EvalError`].
    pub fn series(
        &self,
        groups: &[Vec<Matcher>],
        start: i64,
        end: i64,
        cancel: &Cancel,
    ) -> Result<Vec<LabelSet>, EvalError> {
        query::series(&*self.inner, groups, (start, end), cancel)
    }
}
