//! The agent alone: it reads pod logs and pushes them to a server.
//!
//! Opening happens in the order in which it can fail for the user's reasons: address, positions, pods directory. Whether the
//! server answers is no such reason: it may come later. Stopping: the agent reads no more, what was read is sent once
//! more, positions are synced; at most [`STOP_MAX`] in all.

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use agent::checkpoint::CheckpointError;
use agent::ship::{self, Client, OpenError, Options, PushSink, ShipStats, Shipper};
use agent::stats::Stats;
use tokio::sync::watch;

use crate::appliance::{self, STOP_MAX, Tailing, ended};
use crate::config::Config;
use crate::notify::{Notifier, Part};
use crate::reload::Reloader;
use crate::report::Failure;
use crate::signals::{Signals, exit_now};
use crate::status_server;

/// Longest that positions are not synced: a power cut repeats what was sent since, and each sync costs a flush of the card.
const SYNC_INTERVAL: Duration = Duration::from_secs(60);

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// What kept it from starting, or from stopping in order.
pub(crate) fn run(
    config: &Config,
    client: Client,
    listener: TcpListener,
    reloader: Reloader,
) -> Result<(), Failure> {
    appliance::raise_open_files();
    crate::doctor::warn_of_ignored_limits();
    announce(&client)?;
    let stats = Arc::new(ShipStats::default());
    let disk: Arc<dyn disk::Disk> = Arc::new(disk::real::RealDisk::new());
    let ends = ship::open(Options {
        client,
        disk: Arc::clone(&disk),
        data_dir: config.data_dir.clone(),
        stats: Arc::clone(&stats),
        sync_interval: SYNC_INTERVAL,
    });
    let ends = ends.map_err(|e| open_failure(&e))?;
    appliance::check_pods_dir(&config.pods_dir)?;
    let runtime = appliance::runtime()?;
    let result = runtime.block_on(live(config, ends, stats, disk, listener, reloader));
    runtime.shutdown_background();
    result
}

fn announce(client: &Client) -> Result<(), Failure> {
    let endpoint = client
        .endpoint()
        .map_err(|e| Failure::usage(e.to_string()))?;
    let url = &endpoint.shown;
    if endpoint.added_path {
        tracing::info!(%url, "the URL has no path: pushing to Loki's");
    } else {
        tracing::info!(%url, "pushing to {url}");
    }
    if client.tls.insecure_skip_verify {
        tracing::warn!(
            "tls_config.insecure_skip_verify: anybody on the way can read and change what is sent"
        );
    }
    Ok(())
}

fn open_failure(error: &OpenError) -> Failure {
    let denied = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    match error {
        OpenError::Url(e) => Failure::usage(e.to_string()),
        OpenError::File(e) => Failure::failed(e.to_string())
            .with_hint("the `clients` section names this file; who runs drupelet must be able to read it"),
        OpenError::Checkpoint(e @ CheckpointError::InUse { .. }) => Failure::failed(e.to_string()).with_hint(
            "one agent at a time: stop the other one, or give this one its own `--data-dir`",
        ),
        OpenError::Checkpoint(e @ CheckpointError::Newer { .. }) => Failure::failed(e.to_string()).with_hint(
            "a newer drupelet wrote it: run that version again, or give this one another `--data-dir`; nothing was changed",
        ),
        OpenError::Checkpoint(e @ CheckpointError::Io { source, .. }) if denied(source) => {
            Failure::failed(e.to_string()).with_hint("the positions are in `--data-dir`, which must be writable")
        }
        OpenError::Checkpoint(e) => Failure::failed(e.to_string()),
    }
}

async fn live(
    config: &Config,
    (sink, shipper): (PushSink, Shipper),
    ship_stats: Arc<ShipStats>,
    disk: Arc<dyn disk::Disk>,
    listener: TcpListener,
    mut reloader: Reloader,
) -> Result<(), Failure> {
    let fail = |what: &'static str| move |e: io::Error| Failure::caused(what, &e);
    let mut signals = Signals::new().map_err(fail("cannot take over signals"))?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(fail("cannot listen"))?;
    let addr = listener.local_addr().map_err(fail("cannot listen"))?;
    let (stop, stopped) = watch::channel(false);
    let stats = Arc::new(Stats::default());
    let agent = appliance::agent_config(config, Arc::clone(&stats));
    let alive = vec![Part::agent(Arc::clone(&agent.pulse))];
    let tailing = Tailing::start(agent, move || sink, stopped.clone())?;
    let reloads = reloader.stats();
    let metrics = move || {
        let mut out = String::new();
        crate::metrics::agent(&stats, &mut out);
        crate::metrics::push(&ship_stats, &*disk, &mut out);
        reloads.write(&mut out);
        store::http::process_metrics(&mut out);
        out
    };
    let http = status_server::serve(listener, metrics, ended(stopped));
    // Ends when the agent has dropped its sink and what was in it is sent.
    shipper.set_note(&format!("addr={addr}"));
    let shipping = shipper.run();
    tokio::pin!(http, shipping);
    tracing::info!(%addr, "listening on {addr}");
    let notifier = Notifier::from_environment();
    notifier.ready(addr);

    let mut shipped = false;
    let early = tokio::select! {
        // Of the keys that work without a restart only the log level concerns the agent alone.
        name = reloader.until_stopped(&mut signals, &notifier, |_| {}) => {
            tracing::info!(signal = name, "stopping: reading no more, sending what is in memory");
            None
        }
        () = &mut http => Some("the HTTP service ended by itself"),
        never = notifier.watch(alive) => match never {},
        () = &mut shipping => {
            shipped = true;
            Some("reading pod logs ended by itself")
        }
    };
    notifier.stopping();
    let _ = stop.send(true);
    if !shipped {
        tokio::select! {
            () = &mut shipping => {}
            _ = signals.stop() => exit_now(),
            () = tokio::time::sleep(STOP_MAX) => return Err(Failure::failed("stopping took too long")
                .with_hint("nothing is lost: what was not acknowledged is read and sent again")),
        }
    }
    tailing.join()?;
    match early {
        Some(why) => Err(Failure::failed(why)),
        None => {
            tracing::info!("stopped");
            Ok(())
        }
    }
}
