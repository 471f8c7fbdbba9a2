//! Accepting connections and running them.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::connection::{Connection, Socket};
use super::{Service, State, routes};

/// Pause after the system refused a connection (no file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// What hyper keeps for the answer beside the head, bytes.
const MIN_BUFFER: usize = 8 << 10;

/// Serves until `shutdown` completes; then takes no more connections, lets running requests end for
/// [`HttpLimits::shutdown_grace`](super::HttpLimits::shutdown_grace) and returns. Needs a tokio runtime with I/O and
/// time.
///
/// # Errors
/// None today; an accept that fails is logged and tried again.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(service.limits().max_connections.max(1)));
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut shutdown => break,
            accepted = accept => accepted,
            // Ended tasks leave the set, or it would grow for ever.
            Some(_) = tasks.join_next() => continue,
        };
        match accepted {
            Ok((stream, _)) => {
                let (service, stopped) = (Arc::clone(&service), stopped.clone());
                tasks.spawn(async move {
                    run(stream, service, stopped).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    service.set_state(State::Stopping);
    // Receivers are the tasks; without any there is nothing to tell.
    let _ = stop.send(true);
    let ended = timeout(service.limits().shutdown_grace, async {
        while tasks.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::info!(connections = tasks.len(), "connections cut off at shutdown");
    }
    Ok(())
}

async fn run(stream: TcpStream, service: Arc<Service>, mut stopped: watch::Receiver<bool>) {
    let limits = &service.limits();
    // Answers are written whole; waiting for more would only delay them.
    let _ = stream.set_nodelay(true);
    service.counters.connections.fetch_add(1, Ordering::Relaxed);
    let (connection, mut deadline) = Connection::new(limits.header_timeout);
    let socket = Socket::new(stream, Arc::clone(&connection), limits.write_timeout);
    let http = {
        let service = Arc::clone(&service);
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.idle_timeout)
            .max_header_size(limits.max_header_bytes)
            .max_headers(limits.max_headers)
            .max_buf_size(limits.max_header_bytes.max(MIN_BUFFER))
            .serve_connection(
                socket,
                service_fn(move |request| {
                    connection.begin();
                    let (service, connection) = (Arc::clone(&service), Arc::clone(&connection));
                    async move { routes::handle(&service, &connection, request).await }
                }),
            )
    };
    let mut http = pin!(http);
    let mut stopping = false;
    loop {
        let until = *deadline.borrow_and_update();
        tokio::select! {
            result = http.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                break;
            }
            // The sender lives as long as the service function, so that this cannot fail and spin.
            Ok(()) = deadline.changed() => {}
            () = at(until) => {
                tracing::debug!("slow connection cut off");
                break;
            }
            Ok(()) = stopped.changed(), if !stopping => {
                stopping = true;
                http.as_mut().graceful_shutdown();
            }
        }
    }
    service.counters.connections.fetch_sub(1, Ordering::Relaxed);
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
