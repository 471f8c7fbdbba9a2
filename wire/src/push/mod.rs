//! Bodies of `/loki/api/v1/push`, decoded.
//!
//! A body is walked twice: decoding checks all of it (one bad entry refuses the whole request, as in Loki) and counts;
//! the second walk hands the entries out. Nothing is built in between, so a request costs no memory beyond its body,
//! and lines are borrowed from it. Only JSON with escapes in a line has to be copied when it is used.
//!
//! | body | module | shape |
//! |---|---|---|
//! | protobuf, in a snappy block | [`snappy`], `proto` | `PushRequest{1: Stream{1: labels, 2: Entry{1: ts, 2: line, 3: LabelPair}}}` |
//! | JSON | `json` | `{"streams":[{"stream":{..},"values":[["ns","line",{..}]]}]}` |
//! | JSON of `/api/prom/push` | `json` | `{"streams":[{"labels":"{..}","entries":[{"ts":"RFC 3339","line":".."}]}]}` |
//!
//! The caller bounds the size of a body. Any bytes give a request or an error.

pub mod encode;
mod json;
mod proto;
mod selector;
pub mod snappy;
#[cfg(test)]
mod tests;

use std::fmt;

use crate::labels::LabelSet;

pub use json::Text;

/// Why a body is not a push request; the text is for the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushError(String);

impl PushError {
    fn new(text: impl Into<String>) -> PushError {
        PushError(text.into())
    }
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for PushError {}

/// Why a stream has no label set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadLabels {
    /// Not a selector; Loki refuses the whole request. The text is Prometheus's, with line and column.
    Syntax(String),
    /// A name is there twice; Loki refuses the stream. All pairs, sorted, and the name.
    Duplicate(Vec<(String, String)>, String),
}

/// What a body holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Streams, as often as they are named.
    pub streams: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes of lines and of structured metadata (names and values).
    pub bytes: u64,
}

/// A decoded push: checked, so that walking it cannot fail.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    shape: Shape,
    /// Protobuf: the message. JSON: the array of streams.
    body: &'a [u8],
    counts: Counts,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Protobuf,
    Json,
    Legacy,
}

impl<'a> Request<'a> {
    /// Decodes a protobuf message (after snappy).
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn protobuf(body: &'a [u8]) -> Result<Request<'a>, PushError> {
        Request::check(Shape::Protobuf, body)
    }

    /// Decodes JSON. What follows the object is ignored.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn json(body: &'a [u8]) -> Result<Request<'a>, PushError> {
        Request::check(Shape::Json, json::streams_of(body)?)
    }

    /// Decodes the JSON of `/api/prom/push`.
    ///
    /// # Errors
    /// See [`PushError`].
    pub fn legacy_json(body: &'a [u8]) -> Result<Request<'a>, PushError> {
        Request::check(Shape::Legacy, json::streams_of(body)?)
    }

    fn check(shape: Shape, body: &'a [u8]) -> Result<Request<'a>, PushError> {
        let mut request = Request {
            shape,
            body,
            counts: Counts::default(),
        };
        let mut counts = Counts::default();
        for stream in request.walk() {
            let stream = stream?;
            counts.streams += 1;
            for entry in stream.walk() {
                let entry = entry?;
                counts.entries += 1;
                counts.bytes += entry.line.len() as u64;
                for pair in entry.metadata.walk() {
                    let (name, value) = pair?;
                    counts.bytes += (name.len() + value.len()) as u64;
                }
            }
        }
        request.counts = counts;
        Ok(request)
    }

    /// What it holds.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The streams in order; one label set may come several times.
    pub fn streams(&self) -> impl Iterator<Item = Stream<'a>> + use<'a> {
        self.walk().map(checked)
    }

    fn walk(&self) -> Walk<proto::Streams<'a>, json::Streams<'a>> {
        match self.shape {
            Shape::Protobuf => Walk::Proto(proto::Streams::new(self.body)),
            Shape::Json => Walk::Json(json::Streams::new(self.body, false)),
            Shape::Legacy => Walk::Json(json::Streams::new(self.body, true)),
        }
    }
}

/// The same walk over either kind of body.
enum Walk<P, J> {
    Proto(P),
    Json(J),
}

impl<T, P: Iterator<Item = T>, J: Iterator<Item = T>> Iterator for Walk<P, J> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        match self {
            Walk::Proto(walk) => walk.next(),
            Walk::Json(walk) => walk.next(),
        }
    }
}

fn checked<T>(item: Result<T, PushError>) -> T {
    item.expect("a request is walked only after it was checked")
}

/// A stream of a request.
#[derive(Debug, Clone, Copy)]
pub struct Stream<'a> {
    labels: Labels<'a>,
    /// Protobuf: the stream's message. JSON: the array of entries, or nothing.
    entries: &'a [u8],
    shape: Shape,
}

#[derive(Debug, Clone, Copy)]
enum Labels<'a> {
    Selector(Text<'a>),
    /// A JSON object, or nothing.
    Object(&'a [u8]),
}

impl<'a> Stream<'a> {
    /// The labels as they stand in the body: equal texts are equal sets.
    #[must_use]
    pub fn labels_text(&self) -> &'a [u8] {
        match self.labels {
            Labels::Selector(text) => text.raw(),
            Labels::Object(span) => span,
        }
    }

    /// The labels. Pairs without a value are left out; the set may be empty.
    ///
    /// # Errors
    /// See [`BadLabels`].
    pub fn labels(&self) -> Result<LabelSet, BadLabels> {
        match self.labels {
            Labels::Selector(text) => {
                let mut scratch = Vec::new();
                selector::parse(text.get(&mut scratch))
            }
            Labels::Object(span) => json::label_set(span),
        }
    }

    /// The entries in order.
    pub fn entries(&self) -> impl Iterator<Item = Entry<'a>> + use<'a> {
        self.walk().map(checked)
    }

    fn walk(&self) -> Walk<proto::Entries<'a>, json::Entries<'a>> {
        match self.shape {
            Shape::Protobuf => Walk::Proto(proto::Entries::new(self.entries)),
            Shape::Json => Walk::Json(json::Entries::new(self.entries, false)),
            Shape::Legacy => Walk::Json(json::Entries::new(self.entries, true)),
        }
    }
}

/// An entry of a stream.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Nanoseconds since the epoch.
    pub ts: i64,
    /// The line; any bytes.
    pub line: Text<'a>,
    /// Structured metadata as it was sent.
    pub metadata: Metadata<'a>,
}

/// Structured metadata as it was sent: any names, empty and repeated ones too.
#[derive(Debug, Clone, Copy)]
pub struct Metadata<'a> {
    shape: Shape,
    /// Protobuf: the entry's message. JSON: an object, or nothing.
    span: &'a [u8],
}

impl<'a> Metadata<'a> {
    /// The pairs in order.
    pub fn pairs(&self) -> impl Iterator<Item = (Text<'a>, Text<'a>)> + use<'a> {
        self.walk().map(checked)
    }

    fn walk(&self) -> Walk<proto::Pairs<'a>, json::Pairs<'a>> {
        match self.shape {
            Shape::Protobuf => Walk::Proto(proto::Pairs::new(self.span)),
            Shape::Json | Shape::Legacy => Walk::Json(json::Pairs::new(self.span)),
        }
    }
}
