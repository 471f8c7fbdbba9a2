//! Agent, store and HTTP service in one process, or the latter two alone: opening, running, stopping.
//!
//! Opening happens in the order in which it can fail for the user's reasons: address, data directory, pods directory.
//! Stopping: the agent reads no more, the store flushes, the process ends; at most [`STOP_MAX`] in all.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use agent::AgentError;
use store::api::{OpenError, Options, Store, Tuning};
use store::clock::Timekeeper;
use store::http::{HttpLimits, Service, State};
use store::retention::Retention;
use tokio::sync::watch;

use crate::config::{Config, Reader};
use crate::local_sink::LocalSink;
use crate::notify::{Notifier, Part};
use crate::reload::Reloader;
use crate::report::Failure;
use crate::signals::{Signals, exit_now};

/// What runs in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parts {
    /// Reading pod logs, the store, HTTP.
    All,
    /// The store and HTTP.
    Store,
}

/// Promised to the service manager: 10 s from SIGTERM to the end.
pub(crate) const STOP_MAX: Duration = Duration::from_secs(9);

/// Binds the HTTP address.
///
/// # Errors
/// In use, or not an address of this host; the failure says what to do.
pub(crate) fn bind(addr: &str) -> Result<TcpListener, Failure> {
    let bound = TcpListener::bind(addr).and_then(|l| l.set_nonblocking(true).map(|()| l));
    bound.map_err(|e| {
        let failure = Failure::caused(format!("cannot listen on {addr}"), &e);
        match e.kind() {
            io::ErrorKind::AddrInUse => failure.with_hint(format!(
                "another process has the port (Loki? a second drupelet?); `ss -ltnp 'sport = :{}'` names it, \
                 `--listen 127.0.0.1:PORT` takes another port",
                addr.rsplit(':').next().unwrap_or_default()
            )),
            io::ErrorKind::AddrNotAvailable => {
                failure.with_hint("the address must be one of this host; 0.0.0.0 means all of them")
            }
            io::ErrorKind::PermissionDenied => {
                failure.with_hint("ports below 1024 need CAP_NET_BIND_SERVICE; take a higher one")
            }
            _ => failure,
        }
    })
}

/// Refuses a pods directory that will never work. One that does not exist yet may appear later.
///
/// # Errors
/// Not a directory, or not readable.
pub(crate) fn check_pods_dir(dir: &Path) -> Result<(), Failure> {
    #[expect(
        clippy::disallowed_methods,
        reason = "the kubelet's directory, only tried"
    )]
    let tried = std::fs::read_dir(dir);
    let e = match tried {
        Ok(entries) => {
            let mut names = entries
                .flatten()
                .map(|e| e.file_name())
                .take(1000)
                .peekable();
            let pod = |name: std::ffi::OsString| name.to_string_lossy().split('_').count() == 3;
            if names.peek().is_some() && !names.any(pod) {
                tracing::warn!(
                    dir = %dir.display(),
                    "nothing here is a pod's directory (NAMESPACE_POD_UID); is it the right one?"
                );
            }
            return Ok(());
        }
        Err(e) => e,
    };
    let failure = Failure::caused(
        format!("cannot read pods directory `{}`", dir.display()),
        &e,
    );
    match e.kind() {
        io::ErrorKind::NotFound => {
            tracing::warn!(dir = %dir.display(), "pods directory does not exist yet; waiting for it");
            Ok(())
        }
        io::ErrorKind::PermissionDenied => Err(failure.with_hint(
            "pod logs belong to root: run as uid 0 (all capabilities may be dropped) or with the ambient capability \
             CAP_DAC_READ_SEARCH; `drupelet doctor` checks it",
        )),
        io::ErrorKind::NotADirectory => {
            Err(failure.with_hint("--pods-dir is the directory that holds NAMESPACE_POD_UID directories"))
        }
        _ => Err(failure),
    }
}

/// Opens the store of a configuration; `addr` goes into the lock file's note for `drupelet query --data-dir`. A command
/// without an address only looks: it removes nothing.
///
/// # Errors
/// See [`OpenError`].
pub(crate) fn open_store(config: &Config, addr: Option<SocketAddr>) -> Result<Store, OpenError> {
    let store = Store::open(Options {
        head_bytes: config.head_bytes,
        tuning: Tuning {
            // A command that only looks removes nothing.
            retention: addr.map_or_else(Retention::default, |_| retention(config)),
            ..tuning(config)
        },
        push_sync_interval: config.push_sync_interval,
        push_log_size: config.push_log_size,
        clock: Timekeeper::system(config.clock),
        ..Options::new(&config.data_dir, Arc::new(disk::real::RealDisk::new()))
    })?;
    if let Some(addr) = addr {
        store.set_note(&format!("addr={addr}"));
    }
    Ok(store)
}

fn tuning(config: &Config) -> Tuning {
    Tuning {
        flush_interval: config.flush_interval,
        query_memory: config.query_memory,
        query_threads: config.query_threads,
        max_query_bytes_read: config.max_query_bytes_read,
        max_query_series: config.max_query_series,
        retention: retention(config),
        catch_up_rate: config.catch_up_rate.map(|rate| rate as u64),
    }
}

fn retention(config: &Config) -> Retention {
    Retention {
        period: config.retention_period,
        max_disk: config.max_disk,
        min_free: config.min_free,
    }
}

/// A failed open in the user's words.
pub(crate) fn open_failure(error: &OpenError) -> Failure {
    match error {
        OpenError::InUse { .. } => Failure::failed(error.to_string()).with_hint(
            "one process at a time: stop the other one, or give this one its own `--data-dir`; \
             `drupelet query --data-dir` asks the running one",
        ),
        OpenError::Newer { .. } => Failure::failed(error.to_string()).with_hint(
            "a newer drupelet wrote it: run that version again, or give this one another `--data-dir`; nothing was \
             changed",
        ),
        OpenError::Io { source, .. } => {
            let failure = Failure::failed(error.to_string());
            match source.kind() {
                io::ErrorKind::PermissionDenied => {
                    failure.with_hint("drupelet must own its data directory; `--data-dir` takes another")
                }
                io::ErrorKind::ReadOnlyFilesystem => {
                    failure.with_hint("the file system is read-only; `--data-dir` takes another place")
                }
                io::ErrorKind::StorageFull => {
                    failure.with_hint("the disk is full: free some space, nothing is lost so far")
                }
                _ => failure,
            }
        }
    }
}

/// Raises the soft limit on open files to the hard one: each container has at least one.
pub(crate) fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if setrlimit(Resource::Nofile, raised).is_err() {
        tracing::warn!("cannot raise the limit on open files; the soft limit stays");
    }
}

/// A runtime of one thread, with few and short-lived ones for what blocks.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .map_err(|e| Failure::caused("cannot start the runtime", &e))
}

/// Runs until SIGTERM or SIGINT. `started` is called once requests are answered.
///
/// # Errors
/// What kept it from starting, or from stopping in order.
pub(crate) fn run(
    config: &Config,
    parts: Parts,
    listener: TcpListener,
    reloader: Reloader,
    started: impl FnOnce(SocketAddr),
) -> Result<(), Failure> {
    raise_open_files();
    crate::doctor::warn_of_ignored_limits();
    let addr = listener
        .local_addr()
        .map_err(|e| Failure::caused("cannot listen", &e))?;
    let store = open_store(config, Some(addr)).map_err(|e| open_failure(&e))?;
    if parts == Parts::All {
        check_pods_dir(&config.pods_dir)?;
    }
    let runtime = runtime()?;
    let result = runtime.block_on(live(config, parts, &store, listener, reloader, started));
    // Whatever still runs then (a query past its client) must not delay the end.
    runtime.shutdown_background();
    result
}

/// The agent's thread.
pub(crate) struct Tailing(JoinHandle<Result<(), AgentError>>);

impl Tailing {
    /// Starts reading pod logs into the sink that `make_sink` gives, until the token says stop.
    ///
    /// # Errors
    /// What kept it from starting.
    pub(crate) fn start<S: agent::sink::Sink>(
        config: agent::config::Config,
        make_sink: impl FnOnce() -> S + Send + 'static,
        stopped: watch::Receiver<bool>,
    ) -> Result<Tailing, Failure> {
        let thread = agent::start(config, make_sink, ended(stopped));
        let thread = thread.map_err(|e| Failure::caused("cannot start reading pod logs", &e))?;
        Ok(Tailing(thread))
    }

    /// How it ended. To be called once the sink is gone: the thread is at its very end then.
    ///
    /// # Errors
    /// What ended it, unless it was told to stop.
    pub(crate) fn join(self) -> Result<(), Failure> {
        match self.0.join() {
            Ok(Ok(())) => Ok(()),
            Ok(Err(e)) => Err(Failure::caused("reading pod logs failed", &e)),
            Err(_) => Err(Failure::failed("reading pod logs ended in a panic")),
        }
    }
}

/// Completes when the agent has dropped its sink; never without an agent.
async fn sink_gone(gone: &mut Option<watch::Receiver<()>>) {
    match gone {
        // The only news is the end.
        Some(gone) => {
            let _ = gone.changed().await;
        }
        None => std::future::pending().await,
    }
}

async fn live(
    config: &Config,
    parts: Parts,
    store: &Store,
    listener: TcpListener,
    mut reloader: Reloader,
    started: impl FnOnce(SocketAddr),
) -> Result<(), Failure> {
    let fail = |what: &'static str| move |e: io::Error| Failure::caused(what, &e);
    let mut signals = Signals::new().map_err(fail("cannot take over signals"))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(fail("cannot listen"))?;
    let addr = listener.local_addr().map_err(fail("cannot listen"))?;
    let (stop, stopped) = watch::channel(false);
    let stats = (parts == Parts::All).then(|| Arc::new(agent::stats::Stats::default()));
    let service = service(config, store, stats.as_ref(), reloader.stats());
    let (mut tailing, mut gone) = (None, None);
    let mut alive = vec![Part::flush(store.clone())];
    if let Some(stats) = stats {
        let (sink, sink_gone) = LocalSink::new(store.clone());
        let agent = agent_config(config, stats);
        alive.push(Part::agent(Arc::clone(&agent.pulse)));
        tailing = Some(Tailing::start(agent, move || sink, stopped.clone())?);
        gone = Some(sink_gone);
    }
    let http = store::http::serve(listener, Arc::clone(&service), ended(stopped));
    tokio::pin!(http);
    service.set_state(State::Ready);
    tracing::info!(%addr, "listening on {addr}");
    started(addr);
    let notifier = Notifier::from_environment();
    notifier.ready(addr);

    let mut http_runs = true;
    let early = tokio::select! {
        name = reloader.until_stopped(&mut signals, &notifier, |config| {
            store.tune(tuning(config));
            service.set_limits(http_limits(config));
        }) => {
            tracing::info!(signal = name, "stopping: taking no more, writing what is in memory");
            None
        }
        served = &mut http => {
            http_runs = false;
            served.map_err(fail("the HTTP service failed"))?;
            Some("the HTTP service ended by itself")
        }
        () = sink_gone(&mut gone) => Some("reading pod logs ended by itself"),
        never = notifier.watch(alive) => match never {},
    };
    notifier.stopping();
    let _ = stop.send(true);
    let closing = async {
        if http_runs {
            tokio::join!(&mut http, close(store, &mut gone)).1
        } else {
            close(store, &mut gone).await
        }
    };
    let closed = tokio::select! {
        closed = closing => closed,
        _ = signals.stop() => exit_now(),
        () = tokio::time::sleep(STOP_MAX) => Err(Failure::failed("stopping took too long")
            .with_hint("nothing is lost: what was not written is read again from the pod logs")),
    };
    closed?;
    tailing.map_or(Ok(()), Tailing::join)?;
    match early {
        Some(why) => Err(Failure::failed(why)),
        None => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Waits until the agent offers nothing more, then writes what the store holds.
async fn close(store: &Store, gone: &mut Option<watch::Receiver<()>>) -> Result<(), Failure> {
    if gone.is_some() {
        sink_gone(gone).await;
    }
    let store = store.clone();
    let closed = tokio::task::spawn_blocking(move || store.close()).await;
    let failed = |e: &dyn std::error::Error| {
        Failure::caused("cannot write what is in memory", e)
            .with_hint("nothing is lost: it is read again from the pod logs at the next start")
    };
    match closed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(e)) => Err(failed(&e)),
        Err(e) => Err(failed(&e)),
    }
}

/// Completes when the token says stop, or its owner is gone.
pub(crate) async fn ended(mut stopped: watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

/// The HTTP service over a store, not ready yet; with the agent's metrics if there is one.
pub(crate) fn service(
    config: &Config,
    store: &Store,
    stats: Option<&Arc<agent::stats::Stats>>,
    reloads: Arc<crate::reload::Stats>,
) -> Arc<Service> {
    let mut service = Service::new(store.clone(), http_limits(config));
    service.add_metrics(Box::new(move |out| reloads.write(out)));
    if let Some(stats) = stats {
        let stats = Arc::clone(stats);
        service.add_metrics(Box::new(move |out| crate::metrics::agent(&stats, out)));
    }
    Arc::new(service)
}

fn http_limits(config: &Config) -> HttpLimits {
    HttpLimits {
        max_concurrent: config.max_concurrent,
        query_memory_total: config.query_memory_total,
        query_timeout: config.query_timeout,
        max_entries_per_query: config.max_entries_limit_per_query,
        max_query_length: config.max_query_length,
        align_queries_with_step: config.align_queries_with_step,
        fold_categorized_labels: config.fold_categorized_labels,
        push: config.push.clone(),
        ..HttpLimits::default()
    }
}

/// The agent's part of a configuration.
pub(crate) fn agent_config(
    config: &Config,
    stats: Arc<agent::stats::Stats>,
) -> agent::config::Config {
    use agent::config::ReaderChoice;
    agent::config::Config {
        pods_dir: config.pods_dir.clone(),
        node_name: config.node_name.clone(),
        labels: config.labels.clone().into_iter().collect(),
        max_line_size: config.max_line_size,
        reader: match config.reader {
            Reader::Auto => ReaderChoice::Auto,
            Reader::Uring => ReaderChoice::Uring,
            Reader::Pread => ReaderChoice::Pread,
        },
        catch_up_rate: config.catch_up_rate.map(|rate| rate as u64),
        catch_up_order: config.catch_up_order,
        stats,
        ..Default::default()
    }
}
