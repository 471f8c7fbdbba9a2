//! The sink on the agent's thread, the task that sends, and what they share.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use disk::Disk;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout_at};
use wire::Batch;
use wire::push::encode;

use super::backoff::Backoff;
use super::batch::{Filling, Sealed};
use super::endpoint::{Client, UrlError};
use super::http::{Answer, Fault, Http};
use super::stats::{ShipStats, now_ms};
use super::status::{self, Reason, Refusal, Verdict};
use super::tls;
use crate::checkpoint::{Changes, Checkpoint, CheckpointError};
use crate::sink::{Refused, Sink};
use crate::stats::{add, set};

/// Time for the last requests after the agent has ended; the service manager is promised 10 s in all.
const LAST: Duration = Duration::from_secs(6);
/// At most one line of the own log for each kind of trouble in this time.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// How much of a server's text is logged, bytes.
const LOGGED_TEXT: usize = 1024;
/// Batches are not made smaller than this because a server found one too large, bytes.
const LEARNED_MIN: usize = 64 << 10;
/// Limits on what a batch may bring, those of [`wire::SourcePosition`].
const KEY_MAX: usize = 1024;
const POSITION_MAX: usize = 64 << 10;

/// What a push sink needs.
#[derive(Debug)]
pub struct Options {
    /// Where to.
    pub client: Client,
    /// The disk with the positions, and with secrets in files.
    pub disk: Arc<dyn Disk>,
    /// Directory of the positions.
    pub data_dir: PathBuf,
    /// Counters, shared with whoever shows them.
    pub stats: Arc<ShipStats>,
    /// Longest that positions are not synced to the device: what a power cut can repeat. A minute is kind to SD cards.
    pub sync_interval: Duration,
}

/// Why a push sink cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// A file that the client's configuration names.
    #[error("{0}")]
    File(io::Error),
    /// The positions.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// Opens the positions, and makes the two ends of a push sink: one for [`crate::start`], one to [`Shipper::run`].
///
/// # Errors
/// See [`OpenError`].
pub fn open(options: Options) -> Result<(PushSink, Shipper), OpenError> {
    let client = options.client;
    let endpoint = client.endpoint()?;
    // A wrong path should be found now, not at the first connection.
    endpoint
        .authorization(&*options.disk)
        .map_err(OpenError::File)?;
    if endpoint.https {
        tls::connector(&client.tls, &*options.disk).map_err(OpenError::File)?;
    }
    let checkpoint = Checkpoint::open(Arc::clone(&options.disk), &options.data_dir)?;
    let shared = Arc::new(Shared {
        state: Mutex::default(),
        filled: Notify::new(),
        room: Notify::new(),
        limit: AtomicUsize::new(client.batch_size),
        batch_size: client.batch_size,
        stats: Arc::clone(&options.stats),
    });
    let (alive, gone) = watch::channel(());
    let sink = PushSink {
        shared: Arc::clone(&shared),
        positions: RefCell::new(Some(checkpoint.positions())),
        _alive: alive,
    };
    let shipper = Shipper {
        http: Http::new(endpoint, client.tls, client.timeout, options.disk),
        backoff: Backoff::new(client.min_period, client.max_period),
        batch_wait: client.batch_wait,
        sync_interval: options.sync_interval,
        shared,
        stats: options.stats,
        spare: Filling::default(),
        checkpoint,
        sync_at: None,
        gone,
        end: None,
        failures: 0,
        logged: HashMap::new(),
    };
    Ok((sink, shipper))
}

#[derive(Debug, Default)]
struct State {
    filling: Filling,
    /// An offer found no room.
    full: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The batch has something, or is full.
    filled: Notify,
    /// There is room again.
    room: Notify,
    /// Bytes of a batch; less than configured once the server found one too large.
    limit: AtomicUsize,
    batch_size: usize,
    stats: Arc<ShipStats>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Positions = Vec<(Vec<u8>, Vec<u8>)>;

/// The agent's end. When it is dropped, the shipper sends what is left and ends.
#[derive(Debug)]
pub struct PushSink {
    shared: Arc<Shared>,
    /// Until the agent asks for them.
    positions: RefCell<Option<Positions>>,
    _alive: watch::Sender<()>,
}

impl Sink for PushSink {
    fn offer(&mut self, batch: &Batch<'_>) -> Result<(), Refused> {
        if batch
            .entries
            .iter()
            .any(|e| e.stream as usize >= batch.streams.len())
        {
            return Err(Refused::Invalid(
                "an entry names a stream that is not there".to_owned(),
            ));
        }
        if let Some(source) = &batch.source {
            let position = source.position.map_or(0, <[u8]>::len);
            if source.key.len() > KEY_MAX || position > POSITION_MAX {
                let text = format!(
                    "a key of {} and a position of {position} bytes",
                    source.key.len()
                );
                return Err(Refused::Invalid(text));
            }
        }
        let shared = &*self.shared;
        let mut state = shared.state();
        let limit = shared.limit.load(Ordering::Relaxed);
        let filling = &mut state.filling;
        // The first one is taken whatever its size: it could not be sent otherwise.
        if filling.has_entries()
            && !batch.entries.is_empty()
            && filling.size() + Filling::cost(batch) > limit
        {
            state.full = true;
            shared.filled.notify_one();
            return Err(Refused::Full);
        }
        let was_empty = filling.is_empty();
        filling.push(batch, shared.batch_size, Instant::now(), now_ms());
        set(&shared.stats.filling_bytes, filling.size() as u64);
        if was_empty && !filling.is_empty() {
            let oldest = &shared.stats.oldest_ms;
            // Entries on their way are older.
            let _ =
                oldest.compare_exchange(0, filling.since_ms, Ordering::Relaxed, Ordering::Relaxed);
            shared.filled.notify_one();
        }
        Ok(())
    }

    fn room(&self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(self.shared.room.notified())
    }

    fn positions(&self) -> io::Result<Positions> {
        let positions = self.positions.take();
        positions.ok_or_else(|| io::Error::other("the positions were asked for before"))
    }
}

/// Part of a batch; all of it, as long as the server does not find it too large.
struct Piece {
    body: Bytes,
    entries: u64,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

/// The sending end.
#[derive(Debug)]
pub struct Shipper {
    http: Http,
    backoff: Backoff,
    batch_wait: Duration,
    sync_interval: Duration,
    shared: Arc<Shared>,
    stats: Arc<ShipStats>,
    /// Changes places with the batch that is filled.
    spare: Filling,
    checkpoint: Checkpoint,
    sync_at: Option<Instant>,
    gone: watch::Receiver<()>,
    /// When the last requests are given up; set once the agent has ended.
    end: Option<Instant>,
    /// Tries in a row without an answer for good.
    failures: u64,
    logged: HashMap<&'static str, Instant>,
}

impl Shipper {
    /// Adds to the note in the lock file, behind the process id, what others should know: `addr=HOST:PORT`. Best effort.
    pub fn set_note(&self, note: &str) {
        self.checkpoint.set_note(note);
    }

    /// Sends until the other end is dropped, then what is left of it, once and for 6 s at most.
    pub async fn run(mut self) {
        while let Some(sealed) = self.next().await {
            let entries = sealed.entries;
            if self.deliver(sealed).await == Flow::Stop {
                let left = entries + self.shared.state().filling.entries();
                tracing::warn!(
                    entries = left,
                    "stopping without an acknowledgement of the last entries: they are read and sent again after the next start"
                );
                break;
            }
        }
        self.sync().await;
    }

    fn is_gone(&self) -> bool {
        self.gone.has_changed().is_err()
    }

    /// The next batch, when it is large or old enough; `None` after the last one.
    async fn next(&mut self) -> Option<Sealed> {
        loop {
            let gone = self.is_gone();
            let mut until = self.sync_at;
            {
                let mut state = self.shared.state();
                let limit = self.shared.limit.load(Ordering::Relaxed);
                match state.filling.since.map(|since| since + self.batch_wait) {
                    None if gone => return None,
                    None => {}
                    Some(at) => {
                        let enough = gone || state.full || state.filling.size() >= limit;
                        if enough || at <= Instant::now() {
                            std::mem::swap(&mut state.filling, &mut self.spare);
                            state.full = false;
                            set(&self.stats.filling_bytes, 0);
                            self.shared.room.notify_one();
                            drop(state);
                            return Some(self.spare.seal());
                        }
                        until = Some(until.map_or(at, |u| u.min(at)));
                    }
                }
            }
            let shared = &*self.shared;
            tokio::select! {
                () = shared.filled.notified() => {}
                _ = self.gone.changed(), if !gone => {}
                () = sleep_opt(until) => {}
            }
            self.sync_if_due().await;
        }
    }

    /// Sends a batch until all of it is answered for good; then its positions hold.
    async fn deliver(&mut self, sealed: Sealed) -> Flow {
        let mut pieces = VecDeque::new();
        if !sealed.body.is_empty() {
            pieces.push_back(Piece {
                body: sealed.body,
                entries: sealed.entries,
            });
        }
        while let Some(piece) = pieces.pop_front() {
            set(&self.stats.in_flight_bytes, piece.body.len() as u64);
            match self.send(&piece).await {
                Some(Sent::Done) => {}
                Some(Sent::TooLarge) => self.halve(piece, &mut pieces),
                None => return Flow::Stop,
            }
        }
        set(&self.stats.in_flight_bytes, 0);
        if sealed.entries > 0 {
            add(&self.stats.batches, 1);
            add(&self.stats.entries, sealed.entries);
            add(&self.stats.line_bytes, sealed.line_bytes);
            set(&self.stats.last_success, now_ms() / 1000);
        }
        self.record(&sealed.changes);
        self.sync_if_due().await;
        let state = self.shared.state();
        set(&self.stats.oldest_ms, state.filling.since_ms);
        Flow::Continue
    }

    /// Sends one piece until it is answered; `None` when the agent has ended and the last try failed.
    async fn send(&mut self, piece: &Piece) -> Option<Sent> {
        loop {
            let last = self.is_gone();
            add(&self.stats.sent_bytes, piece.body.len() as u64);
            let (wait, reason) = match self.push(piece.body.clone()).await? {
                Ok(answer) => match self.judge(&answer, piece) {
                    Ok(sent) => {
                        self.recovered();
                        return Some(sent);
                    }
                    Err(retry) => retry,
                },
                Err(fault) => {
                    let wait = match fault.reason {
                        Reason::Credentials => self.backoff.slow(),
                        _ => self.backoff.next(None),
                    };
                    self.trouble(fault.reason, &fault.text, fault.advice, wait);
                    (wait, fault.reason)
                }
            };
            self.failures += 1;
            self.stats.retried(reason);
            if last {
                return None;
            }
            self.wait(wait).await;
        }
    }

    /// One request. When the agent ends meanwhile, it has [`LAST`] left: `None` after that.
    async fn push(&mut self, body: Bytes) -> Option<Result<Answer, Fault>> {
        let gone = self.is_gone();
        let pushed = self.http.push(body);
        tokio::pin!(pushed);
        if !gone {
            tokio::select! {
                result = &mut pushed => return Some(result),
                _ = self.gone.changed() => {}
            }
        }
        let end = *self.end.get_or_insert_with(|| Instant::now() + LAST);
        timeout_at(end, pushed).await.ok()
    }

    /// What an answer means: done, or how long to wait and why.
    fn judge(&mut self, answer: &Answer, piece: &Piece) -> Result<Sent, (Duration, Reason)> {
        let now = (now_ms() / 1000) as i64;
        let text = first_line(&answer.body);
        let url = self.http.shown().to_owned();
        match status::verdict(
            answer.status,
            answer.retry_after.as_deref(),
            &answer.body,
            now,
        ) {
            Verdict::Stored => Ok(Sent::Done),
            Verdict::Refused(refusal) => {
                self.refused(&refusal, piece, &text);
                Ok(Sent::Done)
            }
            Verdict::TooLarge => Ok(Sent::TooLarge),
            Verdict::Later { reason, after } => {
                let wait = self.backoff.next(after);
                let text = format!("{url} answers {}: {text}", answer.status);
                self.trouble(reason, &text, "the same batch is sent again", wait);
                Err((wait, reason))
            }
            Verdict::Mend(reason) => {
                let wait = self.backoff.slow();
                // Perhaps the secret's file is a new one, or the name leads elsewhere by now.
                self.http.disconnect();
                let text = format!("{url} answers {}: {text}", answer.status);
                self.trouble(reason, &text, status::advice(answer.status), wait);
                Err((wait, reason))
            }
        }
    }

    /// Counts what was refused for good and says so.
    fn refused(&mut self, refusal: &Refusal, piece: &Piece, text: &str) {
        if refusal.more {
            add(&self.stats.partly_refused, 1);
        }
        for (reason, counted) in &refusal.counts {
            let entries = if refusal.whole {
                piece.entries
            } else {
                *counted
            };
            self.stats.refuse(reason, entries);
            if self.may_log(reason) {
                tracing::warn!(
                    reason,
                    entries,
                    of = piece.entries,
                    answer = text,
                    url = self.http.shown(),
                    "entries were refused for good and are not sent again (at most one such line a minute)"
                );
            }
        }
    }

    /// Puts the halves of a piece in its place. A single entry that is too large is let go.
    fn halve(&mut self, piece: Piece, pieces: &mut VecDeque<Piece>) {
        let bytes = encode::request_len(&piece.body);
        let Some((first, second)) = encode::halves(&piece.body) else {
            self.stats.too_large(piece.entries);
            if self.may_log("too_large") {
                tracing::warn!(
                    bytes,
                    url = self.http.shown(),
                    "an entry is too large for the server (413) and is not sent again (at most one such line a minute)"
                );
            }
            return;
        };
        add(&self.stats.halved, 1);
        // The next batches should fit at once; one long line must not make all of them tiny.
        let learned = (bytes / 2).max(LEARNED_MIN);
        if self.shared.limit.fetch_min(learned, Ordering::Relaxed) > learned {
            tracing::warn!(
                bytes,
                now = learned,
                url = self.http.shown(),
                "a batch is too large for the server (413): smaller ones are sent from now on"
            );
        }
        let half = piece.entries / 2;
        for (body, entries) in [(second, piece.entries - half), (first, half)] {
            pieces.push_front(Piece {
                body: body.into(),
                entries,
            });
        }
    }

    fn trouble(&mut self, reason: Reason, text: &str, advice: &str, wait: Duration) {
        let tries = self.failures + 1;
        if !self.may_log(reason.name()) {
            return;
        }
        let again = format!("{:.1}s", wait.as_secs_f64());
        if matches!(reason, Reason::Credentials | Reason::WrongUrl) {
            tracing::error!(
                reason = reason.name(),
                tries,
                again_in = again,
                "not accepted: {text}; {advice}; nothing is lost meanwhile"
            );
        } else {
            tracing::warn!(
                reason = reason.name(),
                tries,
                again_in = again,
                "not accepted yet: {text}; {advice}"
            );
        }
    }

    fn recovered(&mut self) {
        self.backoff.reset();
        if self.failures > 0 {
            if self.may_log("recovered") {
                tracing::info!(
                    tries = self.failures,
                    url = self.http.shown(),
                    "accepted again"
                );
            }
            self.failures = 0;
        }
    }

    fn may_log(&mut self, kind: &'static str) -> bool {
        let now = Instant::now();
        let due = self
            .logged
            .get(kind)
            .is_none_or(|at| now.duration_since(*at) >= LOG_INTERVAL);
        if due {
            self.logged.insert(kind, now);
        }
        due
    }

    /// Waits before the next try; not any more once the agent has ended.
    async fn wait(&mut self, wait: Duration) {
        let end = Instant::now() + wait;
        while Instant::now() < end {
            let until = self.sync_at.map_or(end, |at| at.min(end));
            tokio::select! {
                () = sleep_until(until) => {}
                _ = self.gone.changed() => return,
            }
            self.sync_if_due().await;
        }
    }

    /// Writes positions: they survive the process from here on.
    fn record(&mut self, changes: &Changes) {
        let result = self.checkpoint.record(changes.iter());
        let unstored = self.checkpoint.unstored();
        set(&self.stats.unstored, unstored as u64);
        if let Err(error) = &result {
            self.checkpoint_failed(error);
        } else if unstored > 0 && self.may_log("unstored") {
            tracing::warn!(
                sources = unstored,
                "positions of some sources do not fit into the file: after a restart what they sent since is sent again"
            );
        }
        if (result.is_err() || self.checkpoint.is_unsynced()) && self.sync_at.is_none() {
            self.sync_at = Some(Instant::now() + self.sync_interval);
        }
    }

    fn checkpoint_failed(&mut self, error: &io::Error) {
        add(&self.stats.checkpoint_errors, 1);
        if self.may_log("positions") {
            tracing::error!(%error, "cannot write the positions: after a restart what is sent from now on is sent again");
        }
    }

    async fn sync_if_due(&mut self) {
        if self.sync_at.is_some_and(|at| at <= Instant::now()) {
            self.sync().await;
        }
    }

    /// Makes the positions durable. Nothing is recorded meanwhile, so the next batch waits for it.
    async fn sync(&mut self) {
        self.sync_at = None;
        // What an earlier error left unwritten.
        self.record(&Changes::default());
        self.sync_at = None;
        if !self.checkpoint.is_unsynced() {
            return;
        }
        let syncing = self.checkpoint.syncing();
        let result = tokio::task::spawn_blocking(move || syncing.run()).await;
        let result = result.unwrap_or_else(|e| Err(io::Error::other(e)));
        self.checkpoint.synced(&result);
        if let Err(error) = &result {
            self.checkpoint_failed(error);
            self.sync_at = Some(Instant::now() + self.sync_interval);
        }
    }
}

/// How a request ended.
enum Sent {
    /// Answered for good.
    Done,
    TooLarge,
}

async fn sleep_opt(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The first line of a server's text.
fn first_line(body: &[u8]) -> String {
    let line = body.split(|b| *b == b'\n').next().unwrap_or_default();
    String::from_utf8_lossy(&line[..line.len().min(LOGGED_TEXT)]).into_owned()
}
