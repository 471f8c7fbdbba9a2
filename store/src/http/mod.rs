//! The HTTP service: Loki's read API over a store, and its push.
//!
//! ```text
//! socket --connection--> head, form --params--> plan, request --pool--> query thread --encode, reply--> socket
//!                    \--> head, body --unpack--> push thread --wire::push, ingest--> store, answer
//! ```
//!
//! What is bounded, and what happens at the bound (defaults in [`HttpLimits`]):
//!
//! | what | at the bound |
//! |---|---|
//! | connections | further ones wait in the listener's backlog |
//! | head: bytes, headers | 431, closed |
//! | form body | 413 |
//! | form bodies in memory (four of the largest) | further ones wait, 408 after the time of a body |
//! | time of a head, of a form body, of an idle connection | closed |
//! | query text | 400, Loki's text |
//! | queries at once | further ones wait |
//! | queries waiting | 429 `too many outstanding requests` |
//! | queries that compute at once: as many as cores | they take turns, light ones first |
//! | memory of all queries | they wait for each other, 400 if in a circle |
//! | time of a query, waiting included | 504, Loki's text |
//! | client that does not read, or reads too slowly | cut off |
//! | push body, as it comes and unpacked | 413, Loki's text |
//! | push bodies in memory (two of the largest), pushes waiting for the thread | 429 after a while |
//! | time of a push body | 503: clients repeat that |
//!
//! A client that goes away cancels its query. Queries are compiled on the query threads, and answers encoded and
//! compressed there, in pieces; no more than a few pieces are on their way to a socket.

mod connection;
mod encode;
mod form;
mod metrics;
mod params;
mod pool;
mod push;
mod reply;
mod routes;
mod server;
mod unpack;
mod work;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod push_tests;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use logql::eval::EvalError;
use logql::matcher::Matcher;
use logql::plan::Plan;
use logql::value::Value;
use tokio::sync::Semaphore;
use wire::LabelSet;

use crate::api::{Cancel, QueryStats, Request, Shared, Store, StoreStats, cores};
use crate::ingest::{PushLimits, Target};

pub use metrics::write_process as process_metrics;
pub use server::serve;

/// Largest form bodies in memory at once; further ones wait.
const FORMS: usize = 4;

/// What the service asks of a store; the methods are those of [`Store`], which says what they do.
pub trait Backend: Target {
    /// See [`Store::query`].
    ///
    /// # Errors
    /// See [`EvalError`].
    fn query(
        &self,
        plan: &Plan,
        request: &Request,
        cancel: &Cancel,
    ) -> Result<(Value, QueryStats), EvalError>;
    /// See [`Store::label_names`].
    ///
    /// # Errors
    /// See [`EvalError`].
    fn label_names(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        cancel: &Cancel,
    ) -> Result<Vec<String>, EvalError>;
    /// See [`Store::label_values`].
    ///
    /// # Errors
    /// See [`EvalError`].
    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        cancel: &Cancel,
    ) -> Result<Vec<String>, EvalError>;
    /// See [`Store::series`].
    ///
    /// # Errors
    /// See [`EvalError`].
    fn series(
        &self,
        groups: &[Vec<Matcher>],
        start: i64,
        end: i64,
        cancel: &Cancel,
    ) -> Result<Vec<LabelSet>, EvalError>;
    /// See [`Store::stats`].
    fn stats(&self) -> StoreStats;
    /// See [`Store::plausible_now`].
    fn plausible_now(&self) -> Option<i64>;
}

impl Backend for Store {
    fn query(
        &self,
        plan: &Plan,
        request: &Request,
        cancel: &Cancel,
    ) -> Result<(Value, QueryStats), EvalError> {
        Store::query(self, plan, request, cancel)
    }
    fn label_names(
        &self,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        cancel: &Cancel,
    ) -> Result<Vec<String>, EvalError> {
        Store::label_names(self, matchers, start, end, cancel)
    }
    fn label_values(
        &self,
        name: &str,
        matchers: &[Matcher],
        start: i64,
        end: i64,
        cancel: &Cancel,
    ) -> Result<Vec<String>, EvalError> {
        Store::label_values(self, name, matchers, start, end, cancel)
    }
    fn series(
        &self,
        groups: &[Vec<Matcher>],
        start: i64,
        end: i64,
        cancel: &Cancel,
    ) -> Result<Vec<LabelSet>, EvalError> {
        Store::series(self, groups, start, end, cancel)
    }
    fn stats(&self) -> StoreStats {
        Store::stats(self)
    }
    fn plausible_now(&self) -> Option<i64> {
        Store::plausible_now(self)
    }
}

/// Limits and settings of the service.
#[derive(Debug, Clone)]
pub struct HttpLimits {
    /// Open connections; further ones wait unaccepted. Default 64.
    pub max_connections: usize,
    /// Bytes of a request's head; also the memory that a connection may use for reading. Default 64 KiB, at least
    /// 8 KiB.
    pub max_header_bytes: usize,
    /// Headers of a request. Default 100.
    pub max_headers: usize,
    /// Bytes of a form body. Default 1 MiB.
    pub max_body_bytes: usize,
    /// Time from the first byte of a head to its end, and for a form body. Default 10 s.
    pub header_timeout: Duration,
    /// How long a connection may wait for its next request. Default 90 s, as long as Grafana keeps one.
    pub idle_timeout: Duration,
    /// How long a client may take no byte of an answer. Default 15 s.
    pub write_timeout: Duration,
    /// How long a client may take for all of a large answer. Default 60 s.
    pub response_timeout: Duration,
    /// How long requests may go on after the shutdown. Default 3 s.
    pub shutdown_grace: Duration,
    /// Queries that are admitted at once, Loki's `max_concurrent` of a querier: each has a thread, and they share the
    /// cores. Default 16.
    pub max_concurrent: usize,
    /// Queries that may wait to be admitted. Default 32.
    pub query_queue: usize,
    /// Bytes that all queries together may hold, beyond 512 KiB that each has of its own. Default 32 MiB.
    pub query_memory_total: usize,
    /// Loki's `query_timeout`: waiting and running. Default 1 min.
    pub query_timeout: Duration,
    /// Loki's `max_entries_limit_per_query`. Default 5000.
    pub max_entries_per_query: usize,
    /// Loki's `max_query_length`: the longest range. Default 721 h.
    pub max_query_length: Duration,
    /// Whether steps of metric queries lie on multiples of the step (start rounded down, end up), as a Loki in its
    /// default configuration answers and Grafana expects. Off: they begin at `start`, as a Loki answers that does not
    /// split queries. Default on.
    pub align_queries_with_step: bool,
    /// Whether the `stream` object of an answer with `categorize-labels` repeats the labels that its rows carry, as a
    /// Loki without a query frontend answers. Grafana wants it off. Default off.
    pub fold_categorized_labels: bool,
    /// What pushes may contain.
    pub push: PushLimits,
}

impl Default for HttpLimits {
    fn default() -> Self {
        HttpLimits {
            max_connections: 64,
            max_header_bytes: 64 << 10,
            max_headers: 100,
            max_body_bytes: 1 << 20,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(90),
            write_timeout: Duration::from_secs(15),
            response_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(3),
            max_concurrent: 16,
            query_queue: 32,
            query_memory_total: 32 << 20,
            query_timeout: Duration::from_secs(60),
            max_entries_per_query: 5000,
            max_query_length: Duration::from_secs(721 * 3600),
            align_queries_with_step: true,
            fold_categorized_labels: false,
            push: PushLimits::default(),
        }
    }
}

/// Appends further metrics in Prometheus's text format, help and type lines included.
pub type MetricsSource = Box<dyn Fn(&mut String) + Send + Sync>;

/// What `/ready` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Not yet: 503.
    Starting,
    /// 200.
    Ready,
    /// Not any more: 503.
    Stopping,
}

/// The service: give it to [`serve`].
pub struct Service {
    backend: Arc<dyn Backend>,
    limits: RwLock<Arc<HttpLimits>>,
    sources: Vec<MetricsSource>,
    pool: pool::Pool,
    /// Cores and memory that queries share.
    shared: Arc<Shared>,
    counters: metrics::Counters,
    /// Room for form bodies, from their arrival until their query is compiled.
    form_bytes: Arc<Semaphore>,
    pushes: push::Pushes,
    state: AtomicU8,
    clock: fn() -> i64,
    /// The time, unless the clock is known to be wrong or may be.
    trusted: Box<dyn Fn() -> Option<i64> + Send + Sync>,
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("limits", &self.limits())
            .finish_non_exhaustive()
    }
}

impl Service {
    /// A service over a store, in state [`State::Starting`].
    pub fn new(backend: impl Backend, limits: HttpLimits) -> Service {
        let pool = pool::Pool::new(limits.max_concurrent, limits.query_queue);
        // With two, one query that cannot be interrupted for a while does not hold up all others.
        let shared = Shared::new(cores().max(2), limits.query_memory_total);
        let form_bytes = limits.max_body_bytes.saturating_mul(FORMS);
        let backend: Arc<dyn Backend> = Arc::new(backend);
        let clock = Arc::clone(&backend);
        Service {
            backend,
            pushes: push::Pushes::new(&limits.push),
            limits: RwLock::new(Arc::new(limits)),
            sources: Vec::new(),
            pool,
            shared: Arc::new(shared),
            counters: metrics::Counters::default(),
            form_bytes: Arc::new(Semaphore::new(form_bytes.min(Semaphore::MAX_PERMITS))),
            state: AtomicU8::new(State::Starting as u8),
            clock: now,
            trusted: Box::new(move || clock.plausible_now()),
        }
    }

    /// Adds metrics to `/metrics`; the source must be quick.
    pub fn add_metrics(&mut self, source: MetricsSource) {
        self.sources.push(source);
    }

    /// The limits in force now.
    fn limits(&self) -> Arc<HttpLimits> {
        let limits = self.limits.read();
        Arc::clone(&limits.unwrap_or_else(PoisonError::into_inner))
    }

    /// Sets the limits of requests to come. Those of connections are for connections to come; the numbers of queries,
    /// connections and waiting queries stay.
    pub fn set_limits(&self, limits: HttpLimits) {
        self.shared.set_memory(limits.query_memory_total);
        let new = Arc::new(limits);
        *self.limits.write().unwrap_or_else(PoisonError::into_inner) = new;
    }

    /// Sets what `/ready` says.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Ordering::Relaxed);
    }
}

/// Nanoseconds since the Unix epoch.
fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}
