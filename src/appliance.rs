//! Agent, store and HTTP service in one process: opening, running, stopping.
//!
//! Opening happens in the order in which it can fail for the user's reasons: address, data directory, pods directory.
//! Stopping: the agent reads no more, the store flushes, the process ends; at most [`STOP_MAX`] in all.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use store::api::{OpenError, Options, Store};
use store::clock::Timekeeper;
use store::http::{HttpLimits, Service, State};
use store::retention::Retention;
use tokio::sync::watch;

use crate::config::{Config, Reader};
use crate::local_sink::LocalSink;
use crate::report::Failure;
use crate::signals::{Signals, exit_now};

/// Promised to the service manager: 10 s from SIGTERM to the end.
const STOP_MAX: Duration = Duration::from_secs(9);

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
        dir: config.data_dir.clone(),
        disk: Arc::new(disk::real::RealDisk::new()),
        head_bytes: config.head_bytes,
        flush_interval: config.flush_interval,
        query_memory: config.query_memory,
        max_query_series: config.max_query_series,
        catch_up_rate: config.catch_up_rate.map(|rate| rate as u64),
        retention: addr.map_or_else(Retention::default, |_| retention(config)),
        clock: Timekeeper::system(config.clock),
    })?;
    if let Some(addr) = addr {
        store.set_note(&format!("addr={addr}"));
    }
    Ok(store)
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
fn raise_open_files() {
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

/// Runs until SIGTERM or SIGINT. `started` is called once requests are answered.
///
/// # Errors
/// What kept it from starting, or from stopping in order.
pub(crate) fn run(
    config: &Config,
    listener: TcpListener,
    started: impl FnOnce(SocketAddr),
) -> Result<(), Failure> {
    raise_open_files();
    let fail = |what: &'static str| move |e: io::Error| Failure::caused(what, &e);
    let addr = listener.local_addr().map_err(fail("cannot listen"))?;
    let store = open_store(config, Some(addr)).map_err(|e| open_failure(&e))?;
    check_pods_dir(&config.pods_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_keep_alive(Duration::from_secs(1))
        .build()
        .map_err(fail("cannot start the runtime"))?;
    let result = runtime.block_on(live(config, &store, listener, addr, started));
    // Whatever still runs then (a query past its client) must not delay the end.
    runtime.shutdown_background();
    result
}

async fn live(
    config: &Config,
    store: &Store,
    listener: TcpListener,
    addr: SocketAddr,
    started: impl FnOnce(SocketAddr),
) -> Result<(), Failure> {
    let fail = |what: &'static str| move |e: io::Error| Failure::caused(what, &e);
    let mut signals = Signals::new().map_err(fail("cannot take over signals"))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(fail("cannot listen"))?;
    let (stop, stopped) = watch::channel(false);
    let stats = Arc::new(agent::stats::Stats::default());
    let service = service(config, store, &stats).map_err(fail("cannot start query threads"))?;
    let (sink, mut agent_ended) = LocalSink::new(store.clone());
    let agent = agent_config(config, stats);
    let agent = agent::start(agent, move || sink, ended(stopped.clone()))
        .map_err(|e| Failure::caused("cannot start reading pod logs", &e))?;
    let http = store::http::serve(listener, Arc::clone(&service), ended(stopped));
    tokio::pin!(http);
    service.set_state(State::Ready);
    tracing::info!(%addr, "listening on {addr}");
    started(addr);

    let mut http_runs = true;
    let early = tokio::select! {
        name = signals.next() => {
            tracing::info!(signal = name, "stopping: reading no more, writing what is in memory");
            None
        }
        served = &mut http => {
            http_runs = false;
            served.map_err(fail("the HTTP service failed"))?;
            Some("the HTTP service ended by itself")
        }
        _ = agent_ended.changed() => Some("reading pod logs ended by itself"),
    };
    let _ = stop.send(true);
    let closing = async {
        if http_runs {
            tokio::join!(&mut http, close(store, agent_ended)).1
        } else {
            close(store, agent_ended).await
        }
    };
    let closed = tokio::select! {
        closed = closing => closed,
        _ = signals.next() => exit_now(),
        () = tokio::time::sleep(STOP_MAX) => Err(Failure::failed("stopping took too long")
            .with_hint("nothing is lost: what was not written is read again from the pod logs")),
    };
    closed?;
    // The sink is gone, so the thread is at its very end.
    match (agent.join(), early) {
        (Ok(Err(e)), _) => Err(Failure::caused("reading pod logs failed", &e)),
        (Err(_), _) => Err(Failure::failed("reading pod logs ended in a panic")),
        (Ok(Ok(())), Some(why)) => Err(Failure::failed(why)),
        (Ok(Ok(())), None) => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}

/// Waits until the agent offers nothing more, then writes what the store holds.
async fn close(store: &Store, mut agent_ended: watch::Receiver<()>) -> Result<(), Failure> {
    // The only news is the end: the sender is dropped with the agent's sink.
    let _ = agent_ended.changed().await;
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

/// The HTTP service over a store, not ready yet.
///
/// # Errors
/// When its threads cannot be started.
pub(crate) fn service(
    config: &Config,
    store: &Store,
    stats: &Arc<agent::stats::Stats>,
) -> io::Result<Arc<Service>> {
    let limits = HttpLimits {
        query_timeout: config.query_timeout,
        max_entries_per_query: config.max_entries_limit_per_query,
        max_query_length: config.max_query_length,
        ..HttpLimits::default()
    };
    let mut service = Service::new(store.clone(), limits)?;
    let stats = Arc::clone(stats);
    service.add_metrics(Box::new(move |out| crate::metrics::agent(&stats, out)));
    Ok(Arc::new(service))
}

fn agent_config(config: &Config, stats: Arc<agent::stats::Stats>) -> agent::config::Config {
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
