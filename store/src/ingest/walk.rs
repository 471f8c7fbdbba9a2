//! One request, entry by entry.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use logql::format::label_set;
use logql::level;
use wire::LabelSet;
use wire::push::{BadLabels, Entry, Stream, Text};
use wire::time::Seconds;

use super::batch::Pending;
use super::metadata;
use super::report::{Ignored, Report};
use super::streams::{Bucket, Streams};
use super::{Counters, Now, Outcome, PushLimits, Reason, Target};
use crate::api::AppendError;
use crate::limits::LABELS_BYTES_MAX;

/// How long a request may wait for room in the head. A flush of a full head takes a second or two on a slow card.
const ROOM_WAIT: Duration = Duration::from_secs(2);
/// When a client should come again after that.
const RETRY_FULL: Duration = Duration::from_secs(5);
/// And when the disk is full or failing, or there are too many streams: that takes longer to pass.
const RETRY_LATER: Duration = Duration::from_secs(30);

/// A refusal of an entry or a stream.
type Refused = (Reason, String);

/// A stream's labels as they are stored.
#[derive(Debug)]
pub(super) struct Labelled {
    pub(super) set: LabelSet,
    pub(super) hash: u64,
    /// The level that they give to all entries.
    level: Option<String>,
}

impl Labelled {
    fn text(&self) -> String {
        label_set(self.set.as_ref().iter())
    }
}

/// The stream whose entries are being looked at.
struct Current {
    labels: Rc<Labelled>,
    bucket: Bucket,
    newest: Option<i64>,
    ignored: Ignored,
}

/// See the module documentation. `'a` is the body.
pub(super) struct Walk<'w, 'a> {
    limits: &'w PushLimits,
    streams: &'w mut Streams,
    target: &'w dyn Target,
    counters: &'w Counters,
    now: Now,
    line_max: usize,
    report: Report,
    pending: Pending<'a>,
    /// Labels of the last stream by their text: some clients send a stream object for each entry.
    last: Option<(&'a [u8], Rc<Labelled>)>,
    /// Why nothing more is offered to the store.
    closed: Option<Reason>,
    wait: Duration,
    ticket: Option<u64>,
}

impl<'w, 'a> Walk<'w, 'a> {
    pub(super) fn new(
        limits: &'w PushLimits,
        streams: &'w mut Streams,
        target: &'w dyn Target,
        counters: &'w Counters,
        now: Now,
    ) -> Walk<'w, 'a> {
        // Labels and structured metadata need room beside it.
        let largest = target.batch_bytes_max() / 2;
        let line_max = match limits.max_line_size {
            0 => largest,
            max => max.min(largest),
        };
        Walk {
            limits,
            streams,
            target,
            counters,
            now,
            line_max,
            report: Report::default(),
            pending: Pending::new(target.batch_bytes_max()),
            last: None,
            closed: None,
            wait: ROOM_WAIT,
            ticket: None,
        }
    }

    /// Takes a stream's entries, or refuses them.
    pub(super) fn stream(&mut self, stream: &Stream<'a>) {
        if stream.entries().next().is_none() {
            return;
        }
        let labels = match self.labels(stream) {
            Ok(labels) => labels,
            Err((reason, text)) => {
                self.report.add(text);
                return self.discard_all(stream, reason);
            }
        };
        let target = self.target;
        let most = (self.limits.max_streams, self.limits.stream_burst);
        let newest = || target.newest(&[&labels.set]).first().copied().flatten();
        let instant = self.now.instant;
        let Ok(state) = self.streams.activate(labels.hash, most, instant, newest) else {
            let text = format!(
                "maximum active stream limit exceeded when trying to create stream {}, reduce the number of active \
                 streams (reduce labels or reduce label values), or contact your Loki administrator to see if the \
                 limit can be increased, user: 'fake'",
                labels.text()
            );
            self.report.add_temporary(text, RETRY_LATER);
            return self.discard_all(stream, Reason::StreamLimit);
        };
        let mut current = Current {
            bucket: state.bucket,
            newest: state.newest.max(self.pending.newest(labels.hash)),
            ignored: Ignored::default(),
            labels,
        };
        for entry in stream.entries() {
            current.ignored.total += 1;
            self.entry(&mut current, &entry);
        }
        let labels = current.labels;
        self.streams.spend(labels.hash, current.bucket);
        self.report.add_stream(current.ignored, || labels.text());
    }

    /// Stores what is left, and says what became of the request.
    pub(super) fn finish(mut self) -> Outcome {
        self.flush();
        let (status, text, retry_after) =
            self.report.finish().unwrap_or((204, String::new(), None));
        Outcome {
            status,
            text,
            retry_after,
            ticket: self.ticket,
        }
    }

    fn discard_all(&mut self, stream: &Stream<'a>, reason: Reason) {
        let (mut lines, mut bytes) = (0, 0);
        for entry in stream.entries() {
            lines += 1;
            bytes += entry.line.len() as u64 + Sent::of(&entry).bytes;
        }
        self.counters.discard(reason, lines, bytes);
    }

    fn labels(&mut self, stream: &Stream<'a>) -> Result<Rc<Labelled>, Refused> {
        let text = stream.labels_text();
        if let Some((known, labels)) = &self.last
            && *known == text
        {
            return Ok(Rc::clone(labels));
        }
        let labels = Rc::new(labelled(self.limits, stream)?);
        self.last = Some((text, Rc::clone(&labels)));
        Ok(labels)
    }

    fn entry(&mut self, current: &mut Current, entry: &Entry<'a>) {
        let sent = Sent::of(entry);
        let whole = entry.line.len();
        let cut = self.limits.max_line_size_truncate && whole > self.line_max;
        let len = if cut { self.line_max } else { whole };
        let size = len as u64 + sent.bytes;
        if let Err((reason, text)) = self.check(&current.labels, entry.ts, len, &sent) {
            self.report.add(text);
            return self.counters.discard(reason, 1, whole as u64 + sent.bytes);
        }
        if let Err(reason) = self.check_stream(current, entry.ts, size) {
            return self.counters.discard(reason, 1, whole as u64 + sent.bytes);
        }
        if !self.pending.fits(size) {
            self.flush();
        }
        if let Some(reason) = self.closed {
            return self.counters.discard(reason, 1, whole as u64 + sent.bytes);
        }
        match self.metadata(current, entry, len) {
            Ok(meta) => {
                let labels = &current.labels;
                self.pending
                    .add(labels, (entry.ts, meta), (entry.line, len), size);
                current.newest = current.newest.max(Some(entry.ts));
            }
            Err(bytes) => {
                // Names and values that pass the limit may still not fit with their lengths.
                let text = too_large(&current.labels, bytes, LABELS_BYTES_MAX);
                self.report.add(text);
                let bytes = whole as u64 + sent.bytes;
                return self.counters.discard(Reason::MetadataTooLarge, 1, bytes);
            }
        }
        if cut {
            let add = |n: &std::sync::atomic::AtomicU64, by| n.fetch_add(by, Ordering::Relaxed);
            add(&self.counters.truncated_lines, 1);
            add(&self.counters.truncated_bytes, (whole - len) as u64);
        }
    }

    /// The rules for an entry alone, in Loki's order.
    fn check(&self, labels: &Labelled, ts: i64, len: usize, sent: &Sent) -> Result<(), Refused> {
        let limits = self.limits;
        // Without a clock that is right, an age says nothing: at boot a Pi thinks it is 1970 (promise P10).
        if let Some(now) = self.now.trusted {
            let oldest = now.saturating_sub(ns(limits.max_age));
            if limits.reject_old && ts < oldest {
                let text = format!(
                    "entry for stream '{}' has timestamp too old: {}, oldest acceptable timestamp is: {}",
                    labels.text(),
                    Seconds(ts),
                    Seconds(oldest)
                );
                return Err((Reason::TooOld, text));
            }
            if ts > now.saturating_add(ns(limits.creation_grace_period)) {
                let text = format!(
                    "entry for stream '{}' has timestamp too new: {}",
                    labels.text(),
                    Seconds(ts)
                );
                return Err((Reason::TooNew, text));
            }
        }
        if len > self.line_max {
            let text = format!(
                "max entry size '{}' bytes exceeded for stream '{}' while adding an entry with length '{len}' bytes",
                self.line_max,
                labels.text()
            );
            return Err((Reason::LineTooLong, text));
        }
        if sent.pairs == 0 {
            return Ok(());
        }
        if !limits.allow_structured_metadata {
            let text = format!(
                "stream '{}' includes structured metadata, but this feature is disallowed. Please see \
                 `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it",
                labels.text()
            );
            return Err((Reason::MetadataDisallowed, text));
        }
        if limits.max_metadata_size > 0 && sent.limited > limits.max_metadata_size {
            let text = too_large(labels, sent.limited, limits.max_metadata_size);
            return Err((Reason::MetadataTooLarge, text));
        }
        if limits.max_metadata_count > 0 && sent.pairs > limits.max_metadata_count {
            let text = format!(
                "stream '{}' has too many structured metadata labels: '{}', limit: '{}'. Please see \
                 `limits_config.max_structured_metadata_entries_count` or contact your Loki administrator to increase it",
                labels.text(),
                sent.pairs,
                limits.max_metadata_count
            );
            return Err((Reason::MetadataTooMany, text));
        }
        Ok(())
    }

    /// The rules for an entry among those of its stream.
    fn check_stream(&self, current: &mut Current, ts: i64, size: u64) -> Result<(), Reason> {
        let (rate, burst) = (self.limits.stream_rate, self.limits.stream_burst);
        let labels = &current.labels;
        if let Err(after) = current.bucket.take(size, rate, burst, self.now.instant) {
            current
                .ignored
                .too_fast(ts, (rate, size), after, || labels.text());
            return Err(Reason::StreamRate);
        }
        // An entry that came with a time far ahead, while nobody could tell, must not shut its stream for right ones.
        let ahead = ns(self.limits.creation_grace_period);
        let latest = self.now.trusted.map(|now| now.saturating_add(ahead));
        let newest = latest.and_then(|latest| Some(current.newest?.min(latest)));
        let cutoff = newest.map(|newest| newest.saturating_sub(ns(self.limits.max_behind)));
        if let Some(cutoff) = cutoff.filter(|cutoff| ts < *cutoff) {
            current.ignored.behind(ts, cutoff);
            return Err(Reason::TooFarBehind);
        }
        Ok(())
    }

    /// The number of an entry's metadata as it is stored, or how many bytes are too many.
    fn metadata(&mut self, current: &Current, entry: &Entry<'a>, len: usize) -> Result<u32, usize> {
        let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::new();
        for (name, value) in entry.metadata.pairs() {
            let value = owned(value, metadata::value);
            if value.is_empty() {
                continue;
            }
            match sound_name(name) {
                Some(name) => pairs.push((name, value)),
                None => {
                    self.counters.nameless.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
        let limits = self.limits;
        let mut scratch = Vec::new();
        let level = (limits.discover_log_levels && limits.allow_structured_metadata).then(|| {
            let line = entry.line.get(&mut scratch);
            find_level(&current.labels, &line[..len], &pairs)
        });
        let meta = match level {
            Some(level) if pairs.is_empty() => self.pending.level(&level),
            Some(level) => {
                let level = Cow::Owned(level.into_owned());
                pairs.push((Cow::Borrowed("detected_level"), level));
                self.pending.metadata(&pairs)
            }
            None => self.pending.metadata(&pairs),
        };
        meta.map_err(|_| pairs.iter().map(|(n, v)| n.len() + v.len()).sum())
    }

    /// Hands the batch to the store.
    fn flush(&mut self) {
        let (entries, size) = (self.pending.entries(), self.pending.size());
        if entries == 0 {
            return;
        }
        let pushed = loop {
            match self.pending.with(|batch| self.target.push(batch)) {
                Err(AppendError::Full) if !self.wait.is_zero() => {
                    let began = Instant::now();
                    if !self.target.wait_for_room(self.wait) {
                        break Err(AppendError::Full);
                    }
                    self.wait = self.wait.saturating_sub(began.elapsed());
                }
                pushed => break pushed,
            }
        };
        let reason = match pushed {
            Ok(pushed) => {
                let stored = entries.saturating_sub(pushed.duplicates);
                self.counters.lines.fetch_add(stored, Ordering::Relaxed);
                self.counters.bytes.fetch_add(size, Ordering::Relaxed);
                let duplicates = &self.counters.duplicates;
                duplicates.fetch_add(entries - stored, Ordering::Relaxed);
                self.ticket = self.ticket.max(Some(pushed.ticket));
                for (hash, newest) in self.pending.streams() {
                    self.streams.stored(hash, newest);
                }
                None
            }
            Err(AppendError::Full) => {
                let text = "the store has no room: entries come faster than the disk takes them; try again later";
                self.report.add_temporary(text.to_owned(), RETRY_FULL);
                Some(Reason::Full)
            }
            Err(AppendError::Unavailable(why)) => {
                let text = format!("the store cannot write: {why}; try again later");
                self.report.add_temporary(text, RETRY_LATER);
                Some(Reason::Unavailable)
            }
            Err(AppendError::Invalid(why)) => {
                self.report.add(why);
                self.counters.discard(Reason::Refused, entries, size);
                None
            }
        };
        if let Some(reason) = reason {
            self.counters.discard(reason, entries, size);
            self.closed = Some(reason);
        }
        self.pending.clear();
    }
}

/// Structured metadata as it was sent.
struct Sent {
    pairs: usize,
    /// Names and values.
    bytes: u64,
    /// The same without `detected_level`, as Loki limits it.
    limited: usize,
}

impl Sent {
    fn of(entry: &Entry<'_>) -> Sent {
        let mut sent = Sent {
            pairs: 0,
            bytes: 0,
            limited: 0,
        };
        for (name, value) in entry.metadata.pairs() {
            let len = name.len() + value.len();
            sent.pairs += 1;
            sent.bytes += len as u64;
            if name.borrowed() != Some(b"detected_level") {
                sent.limited += len;
            }
        }
        sent
    }
}

fn ns(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A text made sound; borrowed from the body where it can be.
fn owned<'a>(text: Text<'a>, sound: impl Fn(&[u8]) -> Cow<'_, str>) -> Cow<'a, str> {
    if let Some(Ok(plain)) = text.borrowed().map(std::str::from_utf8)
        && !plain.contains(char::REPLACEMENT_CHARACTER)
    {
        return Cow::Borrowed(plain);
    }
    let mut scratch = Vec::new();
    Cow::Owned(sound(text.get(&mut scratch)).into_owned())
}

fn sound_name(text: Text<'_>) -> Option<Cow<'_, str>> {
    if let Some(raw) = text.borrowed() {
        return metadata::name(raw);
    }
    let mut scratch = Vec::new();
    let name = metadata::name(text.get(&mut scratch))?;
    Some(Cow::Owned(name.into_owned()))
}

fn find_level<'l>(
    labels: &'l Labelled,
    line: &[u8],
    pairs: &[(Cow<'_, str>, Cow<'_, str>)],
) -> Cow<'l, str> {
    let given = pairs.iter().any(|(name, _)| name == "detected_level");
    if let Some(level) = &labels.level
        && !given
    {
        return Cow::Borrowed(level);
    }
    if pairs.is_empty() {
        return Cow::Borrowed(level::detect_in_line(line));
    }
    let pairs: Vec<(&str, &str)> = pairs.iter().map(|(n, v)| (&**n, &**v)).collect();
    Cow::Owned(level::detect(line, &[], &pairs).into_owned())
}

fn too_large(labels: &Labelled, bytes: usize, limit: usize) -> String {
    format!(
        "stream '{}' has structured metadata too large: '{bytes}' bytes, limit: '{limit}' bytes. Please see \
         `limits_config.max_structured_metadata_size` or contact your Loki administrator to increase it",
        labels.text()
    )
}

/// A stream's labels with `service_name`, if they keep the limits.
fn labelled(limits: &PushLimits, stream: &Stream<'_>) -> Result<Labelled, Refused> {
    let sent = match stream.labels() {
        Ok(sent) => sent,
        Err(BadLabels::Syntax(why)) => return Err((Reason::InvalidLabels, why)),
        Err(BadLabels::Duplicate(pairs, name)) => {
            let shown = label_set(pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())));
            let text = format!("stream '{shown}' has duplicate label name: '{name}'");
            return Err((Reason::DuplicateLabels, text));
        }
    };
    let set = with_service(limits, sent);
    let text = || label_set(set.as_ref().iter());
    let count = set.as_ref().iter().filter(|(n, _)| *n != SERVICE).count();
    if set.as_ref().is_empty() {
        let text = "error at least one label pair is required per stream";
        return Err((Reason::MissingLabels, text.to_owned()));
    }
    if count > limits.max_label_names {
        let text = format!(
            "entry for stream '{}' has {count} label names; limit {}",
            text(),
            limits.max_label_names
        );
        return Err((Reason::TooManyLabels, text));
    }
    for (name, value) in set.as_ref().iter() {
        if name.len() > limits.max_label_name_length {
            let text = format!("stream '{}' has label name too long: '{name}'", text());
            return Err((Reason::LabelNameTooLong, text));
        }
        if value.len() > limits.max_label_value_length {
            let text = format!("stream '{}' has label value too long: '{value}'", text());
            return Err((Reason::LabelValueTooLong, text));
        }
    }
    if set.as_bytes().len() > LABELS_BYTES_MAX {
        let text = format!(
            "stream has labels of {} bytes together, at most {LABELS_BYTES_MAX} can be stored",
            set.as_bytes().len()
        );
        return Err((Reason::LabelValueTooLong, text));
    }
    let pairs: Vec<(&str, &str)> = set.as_ref().iter().collect();
    let level = level::from_stream(&pairs).map(Cow::into_owned);
    Ok(Labelled {
        hash: set.as_ref().hash64(),
        level,
        set,
    })
}

const SERVICE: &str = "service_name";

fn with_service(limits: &PushLimits, set: LabelSet) -> LabelSet {
    let names = &limits.discover_service_name;
    if names.is_empty() || set.as_ref().get(SERVICE).is_some() {
        return set;
    }
    let found = names.iter().find_map(|name| set.as_ref().get(name));
    let service = (SERVICE, found.unwrap_or("unknown_service"));
    let pairs = set.as_ref().iter().chain([service]);
    // The same parts once more cannot be too long.
    LabelSet::from_pairs(pairs).unwrap_or_else(|_| set.clone())
}
