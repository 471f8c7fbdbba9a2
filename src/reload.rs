//! Reading the configuration again: on SIGHUP, and when the file changes.
//!
//! A file that does not hold changes nothing: the error is logged with its line, counted, and the old configuration
//! stays in force. What only a start can change is said, key by key.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::args::Raw;
use crate::config::Config;
use crate::notify::Notifier;
use crate::report::Failure;
use crate::signals::{Asked, Signals};

/// How often the file is looked at. Kubernetes takes a minute to bring a changed ConfigMap to a node.
const LOOK: Duration = Duration::from_secs(5);
/// Whether a key takes effect without a restart; of all others it is said that they need one.
pub(crate) fn is_live(path: &str) -> bool {
    // How much memory bodies may take is divided at the start, and so is who may have a thread.
    let limit = path.starts_with("limits_config.")
        && !matches!(
            path,
            "limits_config.max_recv_msg_size" | "limits_config.max_concurrent"
        );
    limit
        || matches!(
            path,
            "log_level" | "flush_interval" | "max_disk" | "min_free"
        )
}

/// What `/metrics` says of reloads.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    ok: AtomicU64,
    failed: AtomicU64,
    last_failed: AtomicU64,
}

impl Stats {
    /// Appends the metrics.
    pub(crate) fn write(&self, out: &mut String) {
        use std::fmt::Write as _;
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let _ = write!(
            out,
            "# HELP drupelet_config_reloads_total Times that the configuration was read again.\n\
             # TYPE drupelet_config_reloads_total counter\n\
             drupelet_config_reloads_total{{result=\"ok\"}} {}\n\
             drupelet_config_reloads_total{{result=\"failed\"}} {}\n\
             # HELP drupelet_config_last_reload_failed 1 if the file does not hold: an older configuration is in force.\n\
             # TYPE drupelet_config_last_reload_failed gauge\ndrupelet_config_last_reload_failed {}\n",
            get(&self.ok),
            get(&self.failed),
            get(&self.last_failed)
        );
    }
}

/// Identity of a file's content as far as `stat` tells: device, inode, length, modification time (s, ns).
type Stamp = (u64, u64, u64, i64, i64);

/// Knows what is in force, and reads what should be.
pub(crate) struct Reloader {
    /// `None`: the configuration does not come from outside (the demo).
    raw: Option<Raw>,
    file: Option<PathBuf>,
    stamp: Option<Stamp>,
    /// What the process started with: keys that are not live stay as they are here.
    started: Config,
    /// What is in force of the live keys.
    current: Config,
    stats: Arc<Stats>,
}

impl Reloader {
    /// For an invocation whose configuration was loaded as `config`.
    pub(crate) fn new(raw: &Raw, config: &Config) -> Reloader {
        let file = Config::file_of(raw, &crate::environment).map(PathBuf::from);
        Reloader {
            raw: Some(raw.clone()),
            stamp: file.as_deref().and_then(stamp),
            file,
            ..Reloader::fixed(config)
        }
    }

    /// For a configuration that nobody can change.
    pub(crate) fn fixed(config: &Config) -> Reloader {
        Reloader {
            raw: None,
            file: None,
            stamp: None,
            started: config.clone(),
            current: config.clone(),
            stats: Arc::default(),
        }
    }

    /// Counters for `/metrics`.
    pub(crate) fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Completes when the file is another one than before. Cancelling it loses nothing.
    async fn changed(&mut self) {
        let Some(file) = &self.file else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(LOOK).await;
            // A file that is away for a moment is being replaced.
            let now = stamp(file);
            if now.is_some() && now != self.stamp {
                self.stamp = now;
                return;
            }
        }
    }

    /// Reads the configuration again as often as a signal asks for it or the file changes; completes with the name of the
    /// signal that asks for the end. `apply` puts what changed in force, but for the log level.
    pub(crate) async fn until_stopped(
        &mut self,
        signals: &mut Signals,
        notifier: &Notifier,
        apply: impl Fn(&Config),
    ) -> &'static str {
        loop {
            tokio::select! {
                asked = signals.next() => if let Asked::Stop(name) = asked {
                    return name;
                },
                () = self.changed() => {}
            }
            notifier.reloading();
            if let Some(config) = self.reload() {
                crate::logging::set_level(config.log_level);
                apply(config);
            }
            notifier.reloaded();
        }
    }

    /// Reads the configuration again; gives it if live keys changed.
    fn reload(&mut self) -> Option<&Config> {
        let Some(raw) = &self.raw else {
            tracing::info!("there is no configuration to read again");
            return None;
        };
        self.stamp = self.file.as_deref().and_then(stamp);
        let new = match Config::load(raw, &crate::environment) {
            Ok(new) => new,
            Err(failure) => {
                self.failed(&failure);
                return None;
            }
        };
        self.stats.ok.fetch_add(1, Ordering::Relaxed);
        self.stats.last_failed.store(0, Ordering::Relaxed);
        for change in self.started.differences(&new) {
            if !is_live(change.path) {
                tracing::warn!(
                    key = change.path,
                    in_force = change.old,
                    configured = change.new,
                    "this key needs a restart"
                );
            }
        }
        let changes = self.current.differences(&new);
        let live: Vec<_> = changes.iter().filter(|c| is_live(c.path)).collect();
        for change in &live {
            tracing::info!(
                key = change.path,
                from = change.old,
                to = change.new,
                "changed"
            );
        }
        if live.is_empty() {
            tracing::info!("configuration read again, nothing to change");
            return None;
        }
        self.current = new;
        Some(&self.current)
    }

    fn failed(&self, failure: &Failure) {
        self.stats.failed.fetch_add(1, Ordering::Relaxed);
        self.stats.last_failed.store(1, Ordering::Relaxed);
        tracing::error!(
            reason = failure.message(),
            "configuration does not hold, the old one stays in force"
        );
    }
}

fn stamp(file: &Path) -> Option<Stamp> {
    let data = std::fs::metadata(file).ok()?;
    Some((
        data.dev(),
        data.ino(),
        data.len(),
        data.mtime(),
        data.mtime_nsec(),
    ))
}
