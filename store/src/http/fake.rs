//! A store for the service's tests, a service over it, and a client that sees every byte.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use logql::eval::EvalError;
use logql::matcher::Matcher;
use logql::plan::Plan;
use logql::value::{EntryLabels, LogEntry, Logs, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::{Batch, LabelSet};

use super::{Backend, HttpLimits, Service, State, serve};
use crate::api::{AppendError, Cancel, Pushed, QueryStats, Request, StoreStats};
use crate::ingest::Target;

/// The service's clock in tests, ns.
pub(super) const NOW: i64 = 1_795_168_404_326_197_813;

/// A plan of which the tests only look at the kind.
pub(super) fn plan(query: &str) -> Plan {
    logql::parse(query).unwrap()
}

type Found = Result<(Value, QueryStats), EvalError>;
type Answer = dyn Fn(&Request, &Cancel) -> Found + Send + Sync;

/// Answers queries by a function, and metadata with what it was asked.
pub(super) struct Fake {
    query: Box<Answer>,
    /// Pushes are taken, but never durable.
    unsynced: bool,
}

impl Fake {
    pub(super) fn new(query: impl Fn(&Request, &Cancel) -> Found + Send + Sync + 'static) -> Fake {
        Fake {
            query: Box::new(query),
            unsynced: false,
        }
    }

    /// Takes pushes and cannot make them durable.
    pub(super) fn unsynced() -> Fake {
        Fake {
            unsynced: true,
            ..Fake::echo()
        }
    }

    /// Queries are answered with their resolved parameters, as a line.
    pub(super) fn echo() -> Fake {
        Fake::new(|request, _| Ok((lines([format!("{request:?}")]), QueryStats::default())))
    }
}

/// A log answer with these lines.
pub(super) fn lines(lines: impl IntoIterator<Item = String>) -> Value {
    let entry = |(i, line): (usize, String)| LogEntry {
        ts: i as i64,
        line: line.into(),
        labels: 0,
    };
    Value::Logs(Logs {
        label_sets: vec![EntryLabels::default()],
        entries: lines.into_iter().enumerate().map(entry).collect(),
    })
}

impl Backend for Fake {
    fn query(&self, _: &Plan, request: &Request, cancel: &Cancel) -> Found {
        (self.query)(request, cancel)
    }
    fn label_names(
        &self,
        m: &[Matcher],
        start: i64,
        end: i64,
        _: &Cancel,
    ) -> Result<Vec<String>, EvalError> {
        if start == end {
            return Ok(vec![]);
        }
        Ok(vec![format!("{} {start} {end}", m.len())])
    }
    fn label_values(
        &self,
        name: &str,
        m: &[Matcher],
        start: i64,
        end: i64,
        _: &Cancel,
    ) -> Result<Vec<String>, EvalError> {
        Ok(vec![format!("{name} {} {start} {end}", m.len())])
    }
    fn series(
        &self,
        groups: &[Vec<Matcher>],
        start: i64,
        end: i64,
        _: &Cancel,
    ) -> Result<Vec<LabelSet>, EvalError> {
        let set = [
            ("groups", groups.len() as i64),
            ("start", start),
            ("end", end),
        ];
        let set = LabelSet::from_pairs(set.map(|(n, v)| (n, v.to_string())));
        Ok(vec![set.unwrap()])
    }
    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }
    fn plausible_now(&self) -> Option<i64> {
        Some(NOW)
    }
}

impl Target for Fake {
    fn push(&self, _: &Batch<'_>) -> Result<Pushed, AppendError> {
        if !self.unsynced {
            return Err(AppendError::Unavailable("a fake stores nothing".into()));
        }
        Ok(Pushed {
            duplicates: 0,
            ticket: 3,
        })
    }
    fn newest(&self, streams: &[&LabelSet]) -> Vec<Option<i64>> {
        vec![None; streams.len()]
    }
    fn synced(&self, ticket: u64) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(std::future::ready(Err(format!("no device for {ticket}"))))
    }
    fn batch_bytes_max(&self) -> usize {
        1 << 20
    }
    fn wait_for_room(&self, _: Duration) -> bool {
        false
    }
}

/// Limits that no test meets by chance.
pub(super) fn limits() -> HttpLimits {
    HttpLimits {
        max_concurrent: 2,
        ..HttpLimits::default()
    }
}

/// Runs a test against a service on a port of its own.
pub(super) fn with_service<F: Future<Output = ()>>(
    backend: impl Backend,
    limits: HttpLimits,
    test: impl FnOnce(SocketAddr, Arc<Service>) -> F,
) {
    with_clock(backend, limits, || Some(NOW), test);
}

/// The same with a clock that may not be known to be right.
pub(super) fn with_clock<F: Future<Output = ()>>(
    backend: impl Backend,
    limits: HttpLimits,
    trusted: fn() -> Option<i64>,
    test: impl FnOnce(SocketAddr, Arc<Service>) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let mut service = Service::new(backend, limits);
        service.clock = || NOW;
        service.trusted = Box::new(trusted);
        let service = Arc::new(service);
        service.set_state(State::Ready);
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let served = tokio::spawn(serve(listener, Arc::clone(&service), async {
            let _ = stopped.await;
        }));
        test(at, service).await;
        drop(stop);
        served.await.unwrap().unwrap();
    });
}

/// An answer as it came.
#[derive(Debug)]
pub(super) struct Got {
    pub(super) status: u16,
    /// Names in lower case; values of one name are joined, so that a doubled header shows.
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Got {
    pub(super) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Sends `request` and reads until the server closes.
pub(super) async fn send(at: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // The server may refuse before it has read everything.
    let _ = stream.write_all(request).await;
    let mut all = Vec::new();
    let _ = stream.read_to_end(&mut all).await;
    all
}

/// One request on a connection of its own; `head` is method and path, then further headers.
pub(super) async fn ask(at: SocketAddr, head: &str, body: &str) -> Got {
    ask_with(at, head, body.as_bytes()).await
}

/// The same with a body of any bytes.
pub(super) async fn ask_with(at: SocketAddr, head: &str, body: &[u8]) -> Got {
    let (line, headers) = head.split_once('\n').unwrap_or((head, ""));
    let mut request = format!("{line} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    for header in headers.lines() {
        request.push_str(header.trim());
        request.push_str("\r\n");
    }
    if !body.is_empty() {
        request.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.extend_from_slice(body);
    split(&send(at, &request).await)
}

/// Takes a whole answer apart.
pub(super) fn split(all: &[u8]) -> Got {
    let end = all.windows(4).position(|w| w == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no head: {:?}", String::from_utf8_lossy(all)));
    let head = std::str::from_utf8(&all[..end]).unwrap();
    let mut rest = &all[end + 4..];
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    let mut headers: BTreeMap<String, String> = BTreeMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let joined = headers.entry(name.to_lowercase()).or_default();
        joined.push_str(value);
    }
    let mut body = Vec::new();
    if headers.contains_key("transfer-encoding") {
        loop {
            let line = rest.windows(2).position(|w| w == b"\r\n").unwrap();
            let size = std::str::from_utf8(&rest[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            body.extend_from_slice(&rest[line + 2..line + 2 + size]);
            rest = &rest[line + 4 + size..];
            if size == 0 {
                break;
            }
        }
    } else {
        body.extend_from_slice(rest);
    }
    Got {
        status: status.parse().unwrap(),
        headers,
        body,
    }
}
