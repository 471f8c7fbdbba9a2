//! `POST /loki/api/v1/push`: from the socket to the push thread and back.
//!
//! The runtime's thread only collects a body. Unpacking, decoding, validation and the store's writes happen on a thread
//! of its own, which starts with the first push: a node that nobody pushes to does not pay for it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::{Request as HttpRequest, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use wire::push::Request;

use super::Service;
use super::connection::Connection;
use super::metrics::write_pushes;
use super::pool::Pool;
use super::reply::{Body, Refusal};
use super::routes;
use super::unpack::{Envelope, Fault};
use crate::ingest::{Counters, Intake, Now, Outcome, PushLimits, Reason};

/// Largest bodies that may be arriving at once; further ones wait.
const BODIES: usize = 2;
/// Pushes that may wait for the thread; their bodies count as arriving.
const QUEUE: usize = 32;
/// How long a push may wait for memory. Shorter than clients wait for an answer.
const MEMORY_WAIT: Duration = Duration::from_secs(5);
/// When a client should come again that found no room.
const RETRY: Duration = Duration::from_secs(1);

/// The service's part for pushes.
#[derive(Debug)]
pub(super) struct Pushes {
    intake: Mutex<Intake>,
    counters: Counters,
    /// Largest body. It decides how many permits there are, so only a start can change it.
    max_body_bytes: usize,
    /// Room for bodies, from their arrival until they are stored.
    pub(super) bytes: Arc<Semaphore>,
    thread: Pool,
}

impl Pushes {
    pub(super) fn new(limits: &PushLimits) -> Pushes {
        let bytes = limits.max_body_bytes.saturating_mul(BODIES);
        Pushes {
            intake: Mutex::new(Intake::new(limits, Instant::now())),
            counters: Counters::default(),
            max_body_bytes: limits.max_body_bytes,
            bytes: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
            thread: Pool::for_pushes(QUEUE),
        }
    }

    /// Appends what came by push.
    pub(super) fn metrics(&self, out: &mut String) {
        write_pushes(out, &self.counters);
    }

    /// Hands a job to the push thread.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) -> Result<(), Refusal> {
        self.thread
            .run(job)
            .map_err(|_| Refusal::new(429, "too many outstanding requests"))
    }
}

/// A body, and its share of the memory for bodies.
struct Collected {
    body: Vec<u8>,
    _share: OwnedSemaphorePermit,
}

/// Answers a push.
pub(super) async fn answer(
    service: &Arc<Service>,
    connection: &Arc<Connection>,
    legacy: bool,
    request: HttpRequest<Incoming>,
) -> Response<Body> {
    let outcome = match take(service, legacy, request).await {
        Ok(outcome) => outcome,
        Err(Refusal { status, text, .. }) => Outcome {
            status,
            text,
            retry_after: (status == 429 || status == 503).then_some(RETRY),
            ticket: None,
        },
    };
    if outcome.status == 204 {
        let mut response = routes::respond(204, "", Body::whole("", connection));
        response.headers_mut().remove(header::CONTENT_TYPE);
        return response;
    }
    let mut text = outcome.text;
    text.push('\n');
    let refusal = Refusal::new(outcome.status, text);
    let mut response = routes::error(&refusal, connection);
    if let Some(after) = outcome.retry_after {
        let seconds = after.as_secs_f64().ceil().max(1.0) as u64;
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

async fn take(
    service: &Arc<Service>,
    legacy: bool,
    request: HttpRequest<Incoming>,
) -> Result<Outcome, Refusal> {
    let (parts, body) = request.into_parts();
    let envelope = Envelope::of(&parts.headers).map_err(Refusal::bad)?;
    let collected = collect(service, body).await?;
    let (sender, receiver) = oneshot::channel();
    let job = {
        let service = Arc::clone(service);
        move || {
            // The client may be gone; what it sent is stored all the same.
            let _ = sender.send(store(&service, envelope, legacy, collected));
        }
    };
    service.pushes.run(job)?;
    let ended = |_| Refusal::new(500, "error while processing request: the push thread ended");
    let outcome = receiver.await.map_err(ended)??;
    // A client that is to come again learns nothing from waiting.
    if let Some(ticket) = outcome.ticket.filter(|_| outcome.status < 429) {
        let failed = |why| Refusal::new(503, format!("the store cannot write: {why}"));
        service.backend.synced(ticket).await.map_err(failed)?;
    }
    Ok(outcome)
}

fn too_large(service: &Service, what: &str, found: u64, received: u64) -> Refusal {
    let limit = service.pushes.max_body_bytes;
    service
        .pushes
        .counters
        .discard(Reason::BodyTooLarge, 0, received);
    let text =
        format!("request body too large: {what} size too large than max ({found} vs {limit})");
    Refusal::new(413, text)
}

/// Reads a body, once there is room for it among the others.
async fn collect(service: &Service, body: Incoming) -> Result<Collected, Refusal> {
    let limit = service.pushes.max_body_bytes;
    let size = body.size_hint();
    if size.lower() > limit as u64 {
        return Err(too_large(service, "message", size.lower(), size.lower()));
    }
    let most = size.upper().map_or(limit, |n| n.min(limit as u64) as usize);
    let share = Arc::clone(&service.pushes.bytes);
    let share = share.acquire_many_owned(u32::try_from(most).unwrap_or(u32::MAX));
    let busy = |_| Refusal::new(429, "too many pushes are arriving at once");
    let share = timeout(MEMORY_WAIT, share).await.map_err(busy)?;
    let share = share.map_err(|e| Refusal::new(500, e.to_string()))?;
    let all = read(body, size.lower() as usize, limit);
    let late = |_| Refusal::new(503, "the body did not come in time");
    let all = timeout(service.limits().header_timeout, all)
        .await
        .map_err(late)?;
    match all {
        Ok(body) => Ok(Collected {
            body,
            _share: share,
        }),
        Err(Some(received)) => Err(too_large(service, "message", received, received)),
        Err(None) => Err(Refusal::bad("unexpected EOF")),
    }
}

/// A body of at most `limit` bytes. The error is the size when it is larger.
async fn read(mut body: Incoming, known: usize, limit: usize) -> Result<Vec<u8>, Option<u64>> {
    let mut all = Vec::with_capacity(known);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame.map_err(|_| None)?.into_data() else {
            continue;
        };
        let len = all.len() + frame.len();
        if len > limit {
            return Err(Some(len as u64));
        }
        all.extend_from_slice(&frame);
    }
    Ok(all)
}

/// What the push thread does for a request.
fn store(
    service: &Service,
    envelope: Envelope,
    legacy: bool,
    collected: Collected,
) -> Result<Outcome, Refusal> {
    let limit = service.pushes.max_body_bytes;
    let Collected { body, _share } = collected;
    let received = body.len() as u64;
    let counters = &service.pushes.counters;
    let malformed = |text: String| {
        counters.discard(Reason::Malformed, 0, received);
        Refusal::bad(text)
    };
    let body = envelope.unpack(body, limit).map_err(|fault| match fault {
        Fault::Bad(text) => malformed(text),
        Fault::TooLarge(n) => too_large(service, "decompressed message", n, received),
    })?;
    let request = match (envelope.json, legacy) {
        (false, _) => Request::protobuf(&body),
        (true, false) => Request::json(&body),
        (true, true) => Request::legacy_json(&body),
    };
    let request = request.map_err(|e| malformed(e.to_string()))?;
    let now = Now {
        instant: Instant::now(),
        trusted: (service.trusted)(),
    };
    let mut intake = service
        .pushes
        .intake
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let limits = service.limits();
    Ok(intake.take(&limits.push, &request, &*service.backend, counters, now))
}
