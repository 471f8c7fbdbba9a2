//! The agent's one task: wait for changes, read a batch of files, make lines, offer them.
//!
//! There is no queue: while the sink has no room nothing is read. One pass reads at most one buffer of each file, in
//! turn, so that a busy container does not keep the others waiting; of backlog it takes two files at a time.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use tokio::time::{Instant as TokioInstant, sleep_until};
use wire::{Batch, Entry, LabelSet, SourcePosition};

use crate::config::{Config, ConfigError};
use crate::discover::World;
use crate::ending;
use crate::files;
use crate::frame::{Context, Framer, Out, Place, cri, docker};
use crate::instance::{Instance, LogFile, Need, Source};
use crate::labels::InstanceLabels;
use crate::pace::{Goes, Pacer};
use crate::position;
use crate::sink::{Refused, Sink};
use crate::stats::{add, lower, set};
use crate::tail::probe;
use crate::tail::read::{self, AnyReader, ReadRequest, Reader, Results};

/// Compressed files that are open at once; each costs a window and a buffer, about 110 KiB.
const MAX_GZ: usize = 2;

/// Why the agent cannot run.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The sink's positions cannot be read.
    #[error("cannot read the stored positions: {0}")]
    Positions(std::io::Error),
    /// A stored position was written by something else or by a newer version. Going on would repeat or lose lines.
    #[error(
        "stored position of `{key}`: {reason}; use the version that wrote it, or a new data directory"
    )]
    Position {
        /// The source.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The thread or its runtime cannot be made.
    #[error("cannot start the agent: {0}")]
    Start(std::io::Error),
}

/// What the shutdown future looks like inside.
type Shutdown<'a> = Pin<&'a mut dyn Future<Output = ()>>;

/// Tails until `shutdown` completes. Whatever the sink has not made durable by then is read again after the next start.
///
/// Runs on one thread: within a tokio runtime of one thread with I/O and time enabled, the ring's own if `reader` is the
/// ring.
///
/// # Errors
/// See [`AgentError`]. Once it runs, it only ends by `shutdown`: trouble with files is counted, logged and tried again.
pub async fn run<S: Sink>(
    config: Config,
    reader: AnyReader,
    sink: S,
    shutdown: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    config.check()?;
    let stored = sink.positions().map_err(AgentError::Positions)?;
    for (key, bytes) in stored.iter().filter(|(k, _)| k.starts_with(b"pods/")) {
        position::decode(bytes).map_err(|e| AgentError::Position {
            key: String::from_utf8_lossy(key).into_owned(),
            reason: e.to_string(),
        })?;
    }
    let kind = if reader.kind() == "uring" { 2 } else { 1 };
    set(&config.stats.reader, kind);
    let config = Rc::new(config);
    let framer = Framer::new(
        config.max_line_size,
        config.max_partial_bytes,
        config.detect,
        config.stats.clone(),
    );
    let now = Instant::now();
    let agent = Agent {
        world: World::new(config.clone(), stored, now),
        pacer: Pacer::new(config.catch_up_rate, config.catch_up_order, now),
        goes: Goes::default(),
        config,
        reader,
        sink,
        framer,
        out: Out::default(),
        entries: Vec::new(),
        position: Vec::new(),
        gz: Vec::new(),
    };
    agent.run(std::pin::pin!(shutdown)).await;
    Ok(())
}

/// Starts the agent on a thread of its own, `drupelet-agent`, with the runtime that the chosen reader needs. The sink is
/// made there, so that it need not be `Send`.
///
/// # Errors
/// [`AgentError::Config`] and [`AgentError::Start`] at once; the others when the thread is joined.
pub fn start<S, M, F>(
    config: Config,
    make_sink: M,
    shutdown: F,
) -> Result<std::thread::JoinHandle<Result<(), AgentError>>, AgentError>
where
    S: Sink,
    M: FnOnce() -> S + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    config.check()?;
    let report = probe::probe(config.reader, &config.pods_dir)
        .map_err(|e| AgentError::Start(std::io::Error::other(e)))?;
    std::thread::Builder::new()
        .name("drupelet-agent".to_owned())
        .spawn(move || {
            let body = |reader| run(config, reader, make_sink(), shutdown);
            read::run(&report, body).map_err(AgentError::Start)?
        })
        .map_err(AgentError::Start)
}

struct Agent<S> {
    world: World,
    pacer: Pacer,
    goes: Goes,
    config: Rc<Config>,
    reader: AnyReader,
    sink: S,
    framer: Framer,
    out: Out,
    /// Keeps its allocation between batches; always empty here.
    entries: Vec<Entry<'static>>,
    position: Vec<u8>,
    gz: Vec<u8>,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Continue,
    Stop,
}

impl<S: Sink> Agent<S> {
    async fn run(mut self, mut shutdown: Shutdown<'_>) {
        loop {
            let woken = Instant::now();
            self.config.pulse.turn();
            self.world.drain_events(woken);
            if woken >= self.world.next_rescan {
                self.world.rescan(woken);
                let held = self.world.instances.iter().flatten().map(Instance::held);
                self.framer.set_held(held.sum());
            }
            self.world.tick(woken);
            self.world.release(&mut self.pacer, woken);
            if self.forget_expired(woken, shutdown.as_mut()).await == Flow::Stop
                || self.passes(woken, shutdown.as_mut()).await == Flow::Stop
            {
                return;
            }
            let ended = self.world.ending.due(&mut self.world.instances, woken);
            if !ended.is_empty() {
                ending::tell(&mut self.sink, &ended, &self.config);
            }
            if self.wait(woken, shutdown.as_mut()).await == Flow::Stop {
                return;
            }
        }
    }

    /// Reads until nothing is left to read, or until it is time to look at events again.
    async fn passes(&mut self, woken: Instant, mut shutdown: Shutdown<'_>) -> Flow {
        while !self.world.queue.is_empty() {
            if self.pass(shutdown.as_mut()).await == Flow::Stop {
                return Flow::Stop;
            }
            let stop = std::future::poll_fn(|cx| {
                std::task::Poll::Ready(shutdown.as_mut().poll(cx).is_ready())
            });
            if stop.await {
                return Flow::Stop;
            }
            tokio::task::yield_now().await;
            if woken.elapsed() >= self.config.timing.coalesce {
                break;
            }
        }
        Flow::Continue
    }

    /// Sleeps until something happens. Under load it first sleeps out the coalescing interval; on a quiet node the first
    /// event wakes at once.
    async fn wait(&mut self, woken: Instant, mut shutdown: Shutdown<'_>) -> Flow {
        if !self.world.queue.is_empty() {
            return Flow::Continue;
        }
        let timing = &self.config.timing;
        let mut until = self.world.next_rescan;
        if !self.world.waiting.is_empty() {
            let look = (timing.quiet / 4).max(timing.coalesce).min(timing.scan);
            until = until.min(Instant::now() + look);
        }
        let own = [
            self.world.next_expiry(),
            self.world.ending.next(),
            self.pacer.next(),
        ];
        for at in own {
            until = until.min(at.unwrap_or(until));
        }
        let deadline = sleep_until(TokioInstant::from_std(until));
        match &self.world.watcher {
            Some(watcher) => {
                tokio::select! {
                    () = shutdown.as_mut() => return Flow::Stop,
                    () = deadline => return Flow::Continue,
                    () = self.config.pulse.asked() => return Flow::Continue,
                    _ = watcher.readable() => {}
                }
            }
            None => {
                tokio::select! {
                    () = shutdown.as_mut() => return Flow::Stop,
                    () = deadline => return Flow::Continue,
                    () = self.config.pulse.asked() => return Flow::Continue,
                }
            }
        }
        let earliest = sleep_until(TokioInstant::from_std(woken + timing.coalesce));
        tokio::select! {
            () = shutdown => Flow::Stop,
            () = earliest => Flow::Continue,
        }
    }

    /// Reads one buffer of each of the next files in turn.
    async fn pass(&mut self, mut shutdown: Shutdown<'_>) -> Flow {
        let now = Instant::now();
        let mut turn: heapless::Vec<(usize, usize), 16> = heapless::Vec::new();
        let slots = self.reader.slots().min(turn.capacity());
        let rounds = self.world.queue.len();
        let instances = &self.world.instances;
        let queued = |iid: usize| instances[iid].as_ref().is_some_and(|i| i.queued);
        self.goes.keep(queued);
        for _ in 0..rounds {
            if turn.len() == slots {
                break;
            }
            let Some(iid) = self.world.queue.pop_front() else {
                break;
            };
            let Some(instance) = &mut self.world.instances[iid] else {
                continue;
            };
            instance.queued = false;
            let Some(index) = instance.next_file() else {
                if self.flush(iid, now, shutdown.as_mut()).await == Flow::Stop {
                    return Flow::Stop;
                }
                continue;
            };
            let file = &instance.files[index];
            let (is_backlog, opens_gz) = (file.is_backlog(), file.gz && !file.is_open());
            if !is_backlog {
                self.goes.end(iid);
            } else if !self.pacer.may_read(now) {
                instance.queued = true;
                self.pacer.hold(iid);
                self.goes.end(iid);
                continue;
            }
            if is_backlog && !self.goes.may_go(iid) || opens_gz && self.open_gz() >= MAX_GZ {
                instance_again(&mut self.world, iid);
                continue;
            }
            if !self.world.open_next(iid, index, now) {
                continue;
            }
            let file = self.world.instances[iid].as_ref().map(|i| &i.files[index]);
            if file.is_some_and(|f| matches!(f.source, Source::Gz(_))) {
                if self.read_gz(iid, index, now, shutdown.as_mut()).await == Flow::Stop {
                    return Flow::Stop;
                }
                continue;
            }
            if let Some(instance) = &mut self.world.instances[iid] {
                instance.files[index].marked = false;
            }
            // At most `slots`, which is at most the capacity.
            let _ = turn.push((iid, index));
        }
        self.read_turn(&turn, now, shutdown).await
    }

    async fn read_turn(
        &mut self,
        turn: &[(usize, usize)],
        now: Instant,
        mut shutdown: Shutdown<'_>,
    ) -> Flow {
        let mut results = Results::new();
        let mut requests: heapless::Vec<ReadRequest<'_>, 16> = heapless::Vec::new();
        let mut files: heapless::Vec<(usize, u64), 16> = heapless::Vec::new();
        for &(iid, index) in turn {
            let file = self.world.instances[iid]
                .as_ref()
                .and_then(|i| i.files.get(index));
            // Opening one file may have listed the directory of another again.
            let Some(f) = file else { continue };
            let Source::Plain(file) = &f.source else {
                continue;
            };
            let offset = f.cursor.next_offset();
            let _ = requests.push(ReadRequest { file, offset });
            let _ = files.push((iid, f.cursor.id));
        }
        if requests.is_empty() {
            return Flow::Continue;
        }
        self.reader.read_batch(&requests, &mut results).await;
        drop(requests);
        for (slot, (&(iid, id), result)) in files.iter().zip(&results).enumerate() {
            // Events taken while the sink had no room may have changed the files.
            let instance = self.world.instances[iid].as_ref();
            let index = instance.and_then(|i| i.files.iter().position(|f| f.cursor.id == id));
            let Some(index) = index else { continue };
            let length = match result {
                Ok(n) => *n,
                Err(e) => {
                    self.read_failed(iid, index, e, now);
                    continue;
                }
            };
            if self
                .taken(iid, index, From::Slot(slot, length), now, shutdown.as_mut())
                .await
                == Flow::Stop
            {
                return Flow::Stop;
            }
        }
        Flow::Continue
    }

    async fn read_gz(
        &mut self,
        iid: usize,
        index: usize,
        now: Instant,
        shutdown: Shutdown<'_>,
    ) -> Flow {
        let max = self.reader.slot_bytes();
        let Some(instance) = &mut self.world.instances[iid] else {
            return Flow::Continue;
        };
        let f = &mut instance.files[index];
        f.marked = false;
        let offset = f.cursor.next_offset();
        let Source::Gz(gz) = &mut f.source else {
            return Flow::Continue;
        };
        self.gz.clear();
        match gz.read(offset, max) {
            Ok(bytes) => self.gz.extend_from_slice(bytes),
            Err(e) => {
                f.complete = true;
                self.read_failed(iid, index, &e, now);
                return Flow::Continue;
            }
        }
        if let Some(e) = gz.take_damage() {
            add(&self.config.stats.read_errors, 1);
            tracing::warn!(path = %f.path.display(), error = %e, "log file is damaged; what comes before is kept");
        }
        self.taken(iid, index, From::Gz, now, shutdown).await
    }

    fn open_gz(&self) -> usize {
        let files = self.world.instances.iter().flatten().flat_map(|i| &i.files);
        files.filter(|f| matches!(f.source, Source::Gz(_))).count()
    }

    fn read_failed(&mut self, iid: usize, index: usize, e: &std::io::Error, now: Instant) {
        add(&self.config.stats.read_errors, 1);
        if let Some(instance) = &mut self.world.instances[iid] {
            let f = &mut instance.files[index];
            tracing::warn!(path = %f.path.display(), error = %e, "cannot read log file");
            // Tried again when it grows, or by the next rescan.
            f.dirty = false;
            f.source = Source::Closed;
        }
        self.world.settle(iid, now);
    }

    /// Handles what was read of a file: frames it, offers the lines, and decides what comes next.
    async fn taken(
        &mut self,
        iid: usize,
        index: usize,
        from: From,
        now: Instant,
        shutdown: Shutdown<'_>,
    ) -> Flow {
        let tight = self.world.is_tight();
        let full_bytes = self.reader.slot_bytes();
        let data = match from {
            From::Slot(slot, length) => &self.reader.buffer(slot)[..length],
            From::Gz => &self.gz[..],
            From::Nothing => &[],
        };
        let Some(labels) = self.world.labels(iid) else {
            return Flow::Continue;
        };
        let Some((instance, mut env)) = self.world.parts(iid, now) else {
            return Flow::Continue;
        };
        add(&self.config.stats.read_bytes, data.len() as u64);
        if let Some(size) = truncated_to(&instance.files[index], data) {
            instance.truncated(index, size, &mut self.framer, &mut env);
            self.world.settle(iid, now);
            return Flow::Continue;
        }
        let late = instance.late(index);
        let wants_level = labels.wants_level();
        let f = &mut instance.files[index];
        let (was_backlog, start) = (f.is_backlog(), f.cursor.next_offset());
        let end = start + data.len() as u64;
        if start == 0 && f.fingerprint.is_none() {
            f.fingerprint = files::fingerprint(data);
            instance.moved |= f.fingerprint.is_some();
        }
        self.out.clear();
        if instance.break_chains {
            instance.break_chains = false;
            for stream in 0..2 {
                self.framer
                    .flush_chain(wants_level, &mut instance.chains, stream, &mut self.out);
            }
        }
        let context = Context {
            wants_level,
            late,
            full: data.len() == full_bytes,
            now: files::now_ns(),
        };
        let before = f.cursor.read_at;
        self.framer.frame(
            context,
            &mut f.cursor,
            &mut instance.chains,
            data,
            &mut self.out,
        );
        instance.moved |= f.cursor.read_at != before;
        if end > f.seen_end {
            f.seen_end = end;
            f.size = f.size.max(end);
            f.grew(now);
        }
        if was_backlog {
            let read = f.read_backlog(start);
            self.pacer.took(read);
            lower(&self.config.stats.backlog_bytes, read);
        }
        let stopped = self.out.recs.len() >= crate::frame::MAX_RECS && f.cursor.next_offset() < end;
        f.dirty = context.full || stopped || f.marked;
        if tight && !f.dirty && f.present && f.cursor.long.is_none() {
            f.source = Source::Closed;
        }
        self.finish(iid, from, context.now, now, shutdown).await
    }

    /// Emits the open lines of an instance that is over, or that has not grown for long.
    async fn flush(&mut self, iid: usize, now: Instant, shutdown: Shutdown<'_>) -> Flow {
        let Some(labels) = self.world.labels(iid) else {
            return Flow::Continue;
        };
        let Some((instance, env)) = self.world.parts(iid, now) else {
            return Flow::Continue;
        };
        if instance.settle(&env) != Need::Flush {
            self.world.settle(iid, now);
            return Flow::Continue;
        }
        self.out.clear();
        instance.break_chains = false;
        instance.moved = true;
        let wants_level = labels.wants_level();
        for stream in 0..2 {
            self.framer
                .flush_chain(wants_level, &mut instance.chains, stream, &mut self.out);
        }
        self.finish(iid, From::Nothing, files::now_ns(), now, shutdown)
            .await
    }

    /// Offers the lines in [`Agent::out`] with the position behind them, and decides what the instance needs next.
    async fn finish(
        &mut self,
        iid: usize,
        from: From,
        clock: i64,
        now: Instant,
        shutdown: Shutdown<'_>,
    ) -> Flow {
        let Some(labels) = self.world.labels(iid) else {
            return Flow::Continue;
        };
        let Some((instance, env)) = self.world.parts(iid, now) else {
            return Flow::Continue;
        };
        // First, so that the position says which files are complete.
        instance.settle(&env);
        if self.out.recs.is_empty() && !instance.moved {
            self.world.settle(iid, now);
            return Flow::Continue;
        }
        instance.moved = false;
        instance.told.unsecured |= !self.out.recs.is_empty();
        let key = Rc::clone(&instance.key);
        instance.encode_position(&mut self.position);
        let data = match from {
            From::Slot(slot, length) => &self.reader.buffer(slot)[..length],
            From::Gz => &self.gz[..],
            From::Nothing => &[],
        };
        let mut entries: Vec<Entry<'_>> = recycle(std::mem::take(&mut self.entries));
        let mut streams: heapless::Vec<&LabelSet, 2> = heapless::Vec::new();
        let bytes = fill(&self.out, data, &labels, &mut entries, &mut streams);
        let batch = Batch {
            streams: &streams,
            entries: &entries,
            source: Some(SourcePosition {
                key: &key,
                position: Some(&self.position),
            }),
        };
        let stats = &self.config.stats;
        let flow = offer(&mut self.sink, &mut self.world, &batch, shutdown).await;
        if flow == Flow::Continue {
            add(&stats.batches, 1);
            add(&stats.lines, entries.len() as u64);
            let bytes = bytes + entries.len() as u64;
            add(&stats.bytes, bytes);
            self.goes.took(iid, bytes);
            if let Some(last) = entries.last() {
                set(&stats.lag_ns, clock.saturating_sub(last.ts).max(0) as u64);
            }
        }
        self.entries = recycle(entries);
        self.world.settle(iid, now);
        flow
    }

    /// Lets the sink forget sources that have been gone for long.
    async fn forget_expired(&mut self, now: Instant, mut shutdown: Shutdown<'_>) -> Flow {
        while let Some(key) = self.world.expired(now) {
            let source = SourcePosition {
                key: &key,
                position: None,
            };
            let batch = Batch {
                streams: &[],
                entries: &[],
                source: Some(source),
            };
            let flow = offer(&mut self.sink, &mut self.world, &batch, shutdown.as_mut()).await;
            if flow == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::Continue
    }
}

/// Where the bytes of a read are.
#[derive(Debug, Clone, Copy)]
enum From {
    /// A slot of the reader, and how many bytes.
    Slot(usize, usize),
    Gz,
    Nothing,
}

fn instance_again(world: &mut World, iid: usize) {
    if let Some(i) = &mut world.instances[iid] {
        i.queued = true;
        world.queue.push_back(iid);
    }
}

/// Whether what was read shows that the file is not the one that was read before: its size now, if so.
fn truncated_to(f: &LogFile, data: &[u8]) -> Option<u64> {
    let Source::Plain(file) = &f.source else {
        return None;
    };
    let offset = f.cursor.next_offset();
    if data.is_empty() || offset + (data.len() as u64) < f.seen_end {
        let size = file.metadata().ok()?.len();
        if size < f.seen_end {
            return Some(size);
        }
    }
    if offset == 0 || f.cursor.long.is_some() || (!data.is_empty() && is_plausible(data)) {
        return None;
    }
    let print = files::plain_fingerprint(file).ok()??;
    let other = f.fingerprint.is_some_and(|p| p != print);
    other.then(|| file.metadata().map_or(0, |m| m.len()))
}

/// Whether a read began at the start of a record. After a file was emptied and refilled beyond the old position it
/// begins inside of one.
fn is_plausible(data: &[u8]) -> bool {
    let Some(end) = memchr::memchr(b'\n', data) else {
        return true;
    };
    let line = &data[..end];
    let mut cache = cri::TimeCache::new();
    match line.first() {
        None | Some(0) => true,
        Some(b'{') => docker::parse(line, &mut cache).is_some(),
        Some(_) => cri::parse(line, &mut cache).is_some(),
    }
}

/// Makes entries of finished lines; the sum of their bytes.
fn fill<'a>(
    out: &'a Out,
    data: &'a [u8],
    labels: &'a InstanceLabels,
    entries: &mut Vec<Entry<'a>>,
    streams: &mut heapless::Vec<&'a LabelSet, 2>,
) -> u64 {
    let mut index: [Option<u32>; 2] = [None, None];
    let mut bytes = 0;
    for r in &out.recs {
        let s = usize::from(r.stream);
        let stream = *index[s].get_or_insert_with(|| {
            // Two streams at most, and each comes here once.
            let _ = streams.push(labels.stream(s));
            streams.len() as u32 - 1
        });
        let from = match r.place {
            Place::Buffer => data,
            Place::Scratch => &out.scratch,
        };
        bytes += u64::from(r.len);
        entries.push(Entry {
            stream,
            ts: r.ts,
            line: &from[r.start as usize..][..r.len as usize],
            metadata: labels.metadata(r.level),
        });
    }
    bytes
}

/// Offers a batch until the sink takes it. Meanwhile nothing is read; new files are still noticed and opened, so that
/// they can be read to their end even when they are deleted before there is room.
async fn offer<S: Sink>(
    sink: &mut S,
    world: &mut World,
    batch: &Batch<'_>,
    mut shutdown: Shutdown<'_>,
) -> Flow {
    let (stats, pulse) = (world.config.stats.clone(), world.config.pulse.clone());
    loop {
        match sink.offer(batch) {
            Ok(()) => return Flow::Continue,
            Err(Refused::Invalid(reason)) => {
                add(&stats.refused, batch.entries.len() as u64);
                tracing::error!(%reason, lines = batch.entries.len(), "batch refused");
                return Flow::Continue;
            }
            Err(Refused::Full | Refused::Unavailable(_)) => add(&stats.waits, 1),
        }
        let mut room = sink.room();
        loop {
            pulse.turn();
            tokio::select! {
                () = &mut room => break,
                () = shutdown.as_mut() => return Flow::Stop,
                () = watch(world) => {}
                () = pulse.asked() => {}
            }
        }
    }
}

/// Follows the tree for one coalescing interval without reading files.
async fn watch(world: &mut World) {
    let deadline = sleep_until(TokioInstant::from_std(world.next_rescan));
    match &world.watcher {
        Some(watcher) => tokio::select! {
            () = deadline => {}
            _ = watcher.readable() => {}
        },
        None => deadline.await,
    }
    let now = Instant::now();
    world.drain_events(now);
    if now >= world.next_rescan {
        world.rescan(now);
    }
    world.tick(now);
    tokio::time::sleep(world.config.timing.coalesce).await;
}

/// An empty vector with the allocation of another: lifetimes differ, the layout does not.
fn recycle<'b>(mut entries: Vec<Entry<'_>>) -> Vec<Entry<'b>> {
    entries.clear();
    entries
        .into_iter()
        .map(|_| -> Entry<'b> { unreachable!("cleared above") })
        .collect()
}
