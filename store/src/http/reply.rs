//! The way of an answer from a query thread to the socket.
//!
//! A small answer is one body with a length. A large one goes through a channel of two pieces: the thread waits for the
//! client, so that the memory of answers is bounded by the number of threads, and a client that reads too slowly is
//! cut off by its connection's deadline.

use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use logql::eval::EvalError;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};

use super::connection::Connection;
use super::encode::Gone;
use crate::api::Cancel;

/// Smaller bodies are not compressed, as in Loki; bytes.
pub(super) const COMPRESS_FROM: usize = 1400;
/// Pieces on the way to the socket.
const IN_FLIGHT: usize = 2;

const TIMED_OUT: &str = "request timed out, decrease the duration of the request or add more label matchers (prefer exact match over regex match) to reduce the amount of data processed";

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) text: String,
    /// The text is JSON.
    pub(super) json: bool,
}

impl Refusal {
    pub(super) fn bad(text: impl Into<String>) -> Refusal {
        Refusal::new(400, text)
    }

    pub(super) fn new(status: u16, text: impl Into<String>) -> Refusal {
        Refusal {
            status,
            text: text.into(),
            json: false,
        }
    }

    pub(super) fn json(status: u16, text: String) -> Refusal {
        Refusal {
            status,
            text,
            json: true,
        }
    }

    pub(super) fn timed_out() -> Refusal {
        Refusal::new(504, TIMED_OUT)
    }
}

impl From<EvalError> for Refusal {
    fn from(error: EvalError) -> Refusal {
        match error {
            EvalError::Bad(text) | EvalError::Limit(text) => Refusal::bad(text),
            EvalError::Execution(text) => Refusal::new(500, text),
            EvalError::Timeout => Refusal::timed_out(),
            EvalError::Cancelled => Refusal::new(499, "context canceled"),
            EvalError::Storage(error) => {
                tracing::error!(%error, "query cannot read the store");
                Refusal::new(500, format!("cannot read the store: {error}"))
            }
        }
    }
}

enum Piece {
    Data(Bytes),
    /// Tells a whole answer from one whose thread died.
    End,
}

/// What reaches the request: the beginning of an answer.
pub(super) struct Answer {
    first: Bytes,
    rest: Option<mpsc::Receiver<Piece>>,
    pub(super) gzip: bool,
}

/// The query thread's end.
pub(super) struct Reply {
    head: Option<oneshot::Sender<Result<Answer, Refusal>>>,
    rest: Option<mpsc::Sender<Piece>>,
    gzip: bool,
    encoder: Option<GzEncoder<Vec<u8>>>,
    /// Whose turn passes to others while the client is waited for.
    query: Cancel,
}

impl Reply {
    pub(super) fn new(
        head: oneshot::Sender<Result<Answer, Refusal>>,
        gzip: bool,
        query: &Cancel,
    ) -> Reply {
        Reply {
            head: Some(head),
            rest: None,
            gzip,
            encoder: None,
            query: query.clone(),
        }
    }

    /// Answers with an error; for use before the first piece.
    pub(super) fn refuse(mut self, refusal: Refusal) {
        if let Some(head) = self.head.take() {
            // Nobody waits any more: then nobody misses it.
            let _ = head.send(Err(refusal));
        }
    }

    /// Sends a piece of a large answer, waiting for the client.
    pub(super) fn piece(&mut self, raw: Vec<u8>) -> Result<(), Gone> {
        let data = if self.gzip { self.compress(&raw) } else { raw };
        self.send(data)
    }

    /// Sends what is left; the answer is complete.
    pub(super) fn finish(mut self, raw: Vec<u8>) {
        if self.encoder.is_none() && (!self.gzip || raw.len() < COMPRESS_FROM) {
            self.gzip = false;
        }
        let data = if self.gzip {
            let mut data = self.compress(&raw);
            let encoder = self.encoder.take();
            data.extend(
                encoder
                    .map(|e| e.finish().expect("a Vec takes all bytes"))
                    .unwrap_or_default(),
            );
            data
        } else {
            raw
        };
        if let Some(head) = self.head.take() {
            let whole = Answer {
                first: data.into(),
                rest: None,
                gzip: self.gzip,
            };
            let _ = head.send(Ok(whole));
            return;
        }
        if self.send(data).is_ok() {
            let _ = self.hand_on(Piece::End);
        }
    }

    /// Hands a further piece on when the client has taken the ones before.
    fn hand_on(&self, piece: Piece) -> Result<(), Gone> {
        let rest = self.rest.as_ref().ok_or(Gone)?;
        match rest.try_send(piece) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Gone),
            Err(TrySendError::Full(piece)) => {
                let sent = self.query.wait(|| rest.blocking_send(piece));
                sent.map_err(|_| Gone)
            }
        }
    }

    fn compress(&mut self, raw: &[u8]) -> Vec<u8> {
        let encoder = self
            .encoder
            .get_or_insert_with(|| GzEncoder::new(Vec::new(), Compression::fast()));
        encoder.write_all(raw).expect("a Vec takes all bytes");
        std::mem::take(encoder.get_mut())
    }

    fn send(&mut self, data: Vec<u8>) -> Result<(), Gone> {
        if data.is_empty() {
            return Ok(());
        }
        let data = Bytes::from(data);
        if let Some(head) = self.head.take() {
            let (sender, receiver) = mpsc::channel(IN_FLIGHT);
            self.rest = Some(sender);
            let answer = Answer {
                first: data,
                rest: Some(receiver),
                gzip: self.gzip,
            };
            return head.send(Ok(answer)).map_err(|_| Gone);
        }
        self.hand_on(Piece::Data(data))
    }
}

/// Stops the query when the request or its answer is dropped, which hyper does when the client goes away.
#[derive(Debug)]
pub(super) struct CancelOnDrop(pub(super) Cancel);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// A body on its way out.
pub(super) struct Body {
    first: Option<Bytes>,
    rest: Option<mpsc::Receiver<Piece>>,
    connection: Arc<Connection>,
    _query: Option<CancelOnDrop>,
}

/// The query thread died in the middle of an answer.
#[derive(Debug, thiserror::Error)]
#[error("the answer broke off")]
pub(super) struct Broken;

impl Body {
    pub(super) fn whole(data: impl Into<Bytes>, connection: &Arc<Connection>) -> Body {
        Body {
            first: Some(data.into()).filter(|d| !d.is_empty()),
            rest: None,
            connection: Arc::clone(connection),
            _query: None,
        }
    }

    /// Takes over an answer; the client has `limit` for a large one.
    pub(super) fn answer(
        answer: Answer,
        query: CancelOnDrop,
        connection: &Arc<Connection>,
        limit: std::time::Duration,
    ) -> Body {
        let mut body = Body::whole(answer.first, connection);
        if answer.rest.is_some() {
            connection.stream(limit);
            body.rest = answer.rest;
            body._query = Some(query);
        }
        body
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.connection.end();
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if let Some(data) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        match ready!(rest.poll_recv(cx)) {
            Some(Piece::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data)))),
            Some(Piece::End) => {
                self.rest = None;
                Poll::Ready(None)
            }
            None => {
                self.rest = None;
                Poll::Ready(Some(Err(Broken)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.rest {
            None => SizeHint::with_exact(self.first.as_ref().map_or(0, |f| f.len() as u64)),
            Some(_) => SizeHint::default(),
        }
    }
}
