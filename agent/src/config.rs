//! What the agent needs to know, checked.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::labels;
use crate::pulse::Pulse;
use crate::stats::Stats;
pub use crate::tail::probe::ReaderChoice;

/// Where to begin with files that exist when a node is seen for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartAt {
    /// With their first line, whatever their age.
    #[default]
    Beginning,
    /// With what is appended from now on.
    End,
}

/// Which containers' backlog is read first. Within a container the oldest lines come first in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CatchUpOrder {
    /// All in turn.
    #[default]
    Even,
    /// Those that wrote last.
    Newest,
}

/// How long things may take. Defaults are for production; tests shorten them.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Full rescan that heals what events missed. Default 60 s.
    pub rescan: Duration,
    /// Scan interval without inotify, and while the root directory is missing. Default 1 s.
    pub scan: Duration,
    /// Shortest time between two wake-ups under load. Default 100 ms.
    pub coalesce: Duration,
    /// A partial line that has not grown for this long is taken as it is. Default 60 s.
    pub partial: Duration,
    /// A rotated file without a sign of its closing counts as complete after this long without growth. Default 3 s.
    pub quiet: Duration,
    /// The position of an instance whose files are gone is forgotten after this long: they may only be on a file
    /// system that is not mounted. Default 10 min.
    pub forget: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            rescan: Duration::from_secs(60),
            scan: Duration::from_secs(1),
            coalesce: Duration::from_millis(100),
            partial: Duration::from_secs(60),
            quiet: Duration::from_secs(3),
            forget: Duration::from_secs(600),
        }
    }
}

/// Faults to inject; all off by default. For tests.
#[derive(Debug, Default)]
pub struct Faults {
    /// `inotify_init` answers `EMFILE`.
    pub refuse_inotify: AtomicBool,
    /// `inotify_add_watch` answers `ENOSPC`.
    pub refuse_watch: AtomicBool,
    /// The next wake-up finds an overflowed queue, its events lost.
    pub overflow: AtomicBool,
}

/// Configuration of the agent.
#[derive(Debug, Clone)]
pub struct Config {
    /// Root of the pod logs. Default `/var/log/pods`.
    pub pods_dir: PathBuf,
    /// Value of the label `node`; empty: no such label.
    pub node_name: String,
    /// Further stream labels of every line; they win over the agent's own of the same name.
    pub labels: Vec<(String, String)>,
    /// Longest line in bytes; longer ones are cut and counted. Default 256 KiB.
    pub max_line_size: usize,
    /// Bytes that unfinished lines may hold together; over it they are cut and counted. Default 4 MiB.
    pub max_partial_bytes: usize,
    /// Reader. Default [`ReaderChoice::Auto`].
    pub reader: ReaderChoice,
    /// Where to begin with unknown files. Default [`StartAt::Beginning`].
    pub start_at: StartAt,
    /// Bytes a second that are read of what the files held at the start; `None`: no bound. Default none.
    pub catch_up_rate: Option<u64>,
    /// Order in which that is read.
    pub catch_up_order: CatchUpOrder,
    /// Descriptors to keep open at most for files that still have a name. Default 256.
    pub max_open_files: usize,
    /// Bytes of deleted files that may be held to be read; over it the largest are let go and counted. Default 256 MiB.
    pub max_deleted_bytes: u64,
    /// Intervals.
    pub timing: Timing,
    /// Counters, shared with whoever shows them.
    pub stats: Arc<Stats>,
    /// Signs of life, for a watchdog.
    pub pulse: Arc<Pulse>,
    /// Finds the level that a line shows. Default [`logql::level::detect_in_line`].
    pub detect: fn(&[u8]) -> &'static str,
    /// Faults to inject.
    pub faults: Arc<Faults>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            pods_dir: PathBuf::from("/var/log/pods"),
            node_name: String::new(),
            labels: Vec::new(),
            max_line_size: 256 * 1024,
            max_partial_bytes: 4 * 1024 * 1024,
            reader: ReaderChoice::default(),
            start_at: StartAt::default(),
            catch_up_rate: None,
            catch_up_order: CatchUpOrder::default(),
            max_open_files: 256,
            max_deleted_bytes: 256 * 1024 * 1024,
            timing: Timing::default(),
            stats: Arc::new(Stats::default()),
            pulse: Arc::new(Pulse::default()),
            detect: logql::level::detect_in_line,
            faults: Arc::new(Faults::default()),
        }
    }
}

/// Why a configuration cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// More label names than Loki takes.
    #[error(
        "{found} labels on each stream, {limit} are allowed: leave out some of {names}",
        limit = labels::MAX_LABELS
    )]
    TooManyLabels {
        /// How many there would be.
        found: usize,
        /// The configured names.
        names: String,
    },
    /// A label name that Loki does not take.
    #[error("label name `{0}` must match [a-zA-Z_][a-zA-Z0-9_]* and not start with `__`")]
    LabelName(String),
    /// A label value over Loki's limit.
    #[error("value of label `{name}` has {found} bytes, {limit} are allowed", limit = labels::MAX_VALUE_BYTES)]
    LabelValue {
        /// The label.
        name: String,
        /// Bytes found.
        found: usize,
    },
    /// A line limit that cannot hold a line.
    #[error("max_line_size is {0}, it must be at least 1024")]
    MaxLineSize(usize),
}

impl Config {
    /// Checks what can be checked without looking at the node.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.max_line_size < 1024 {
            return Err(ConfigError::MaxLineSize(self.max_line_size));
        }
        labels::check_extra(&self.labels, !self.node_name.is_empty())
    }
}
