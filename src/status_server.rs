//! `/ready` and `/metrics` of the agent alone.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections at once: a scraper, probes, somebody looking. Further ones wait.
const CONNECTIONS: usize = 8;
/// A head has to be there within this time, so an idle connection lasts no longer.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// A connection lasts no longer than this, whatever its client does.
const CONNECTION_TIME: Duration = Duration::from_secs(600);
/// Largest head, bytes.
const HEAD_MAX: usize = 16 << 10;
/// Pause after the system refused a connection (no file descriptors), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` completes.
pub(crate) async fn serve(
    listener: TcpListener,
    metrics: impl Fn() -> String + Send + Sync + 'static,
    shutdown: impl Future<Output = ()>,
) {
    let metrics = Arc::new(metrics);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::pin!(shutdown);
    loop {
        let accept = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (slot, listener.accept().await)
        };
        let (slot, accepted) = tokio::select! {
            () = &mut shutdown => return,
            accepted = accept => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let metrics = Arc::clone(&metrics);
                tokio::spawn(async move {
                    let _ = timeout(CONNECTION_TIME, connection(stream, &*metrics)).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, metrics: &(impl Fn() -> String + Send + Sync)) {
    let service = service_fn(|request| {
        let answer = answer(&request, metrics);
        async move { Ok::<_, Infallible>(answer) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // A client that went away, or sent no HTTP, is no news.
    let _ = http.await;
}

fn answer<B>(request: &Request<B>, metrics: &impl Fn() -> String) -> Response<Full<Bytes>> {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
    const METRICS: HeaderValue =
        HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let (status, kind, text) = match request.uri().path() {
        _ if !read => (
            StatusCode::METHOD_NOT_ALLOWED,
            TEXT,
            "method not allowed\n".to_owned(),
        ),
        "/ready" => (StatusCode::OK, TEXT, "ready\n".to_owned()),
        "/metrics" => (StatusCode::OK, METRICS, metrics()),
        _ => {
            let text =
                "this is `drupelet agent`: /ready and /metrics; logs are where it pushes to\n";
            (StatusCode::NOT_FOUND, TEXT, text.to_owned())
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}
