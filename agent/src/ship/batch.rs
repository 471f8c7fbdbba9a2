//! Entries that wait to be sent, and the body that they become.
//!
//! Entries are encoded as they come, so that nothing of the read buffer is kept; when the batch is taken they are put
//! together by stream and compressed once. The body then stays as it is until it is acknowledged: each try sends the
//! same bytes.

use std::collections::HashMap;

use bytes::Bytes;
use tokio::time::Instant;
use wire::push::encode;
use wire::{Batch, LabelSet};

use crate::checkpoint::Changes;

/// Capacity that an empty batch keeps, bytes: what a node writes in a second or two.
const KEPT: usize = 256 << 10;
/// First allocation, bytes.
const FIRST: usize = 16 << 10;

/// Encoded entries of one stream, in a row.
#[derive(Debug, Clone, Copy)]
struct Run {
    stream: u32,
    start: u32,
    len: u32,
}

/// The batch that is being filled.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    /// Encoded entries in order of arrival.
    bytes: Vec<u8>,
    runs: Vec<Run>,
    streams: Vec<LabelSet>,
    numbers: HashMap<LabelSet, u32>,
    /// Bytes of the label sets, held twice.
    held: usize,
    entries: u64,
    line_bytes: u64,
    changes: Changes,
    /// When the first entry came.
    pub(crate) since: Option<Instant>,
    /// The same in milliseconds since 1970; 0 while empty.
    pub(crate) since_ms: u64,
}

/// A batch that is on its way.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// The compressed request; empty without entries.
    pub(crate) body: Bytes,
    pub(crate) entries: u64,
    /// Bytes of lines, a line feed counted with each.
    pub(crate) line_bytes: u64,
    /// What holds once all of it is acknowledged.
    pub(crate) changes: Changes,
}

impl Filling {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0 && self.changes.is_empty()
    }

    pub(crate) fn has_entries(&self) -> bool {
        self.entries > 0
    }

    pub(crate) fn entries(&self) -> u64 {
        self.entries
    }

    /// Bytes in memory.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.runs.len() * size_of::<Run>() + self.held + self.changes.size()
    }

    /// About what a batch would add.
    pub(crate) fn cost(batch: &Batch<'_>) -> usize {
        let entry = |e: &wire::Entry<'_>| e.line.len() + e.metadata.as_bytes().len() + 40;
        batch.entries.iter().map(entry).sum()
    }

    /// Takes a batch whose stream numbers are in range. `max` is the batch size, up to which memory grows in small
    /// steps.
    pub(crate) fn push(&mut self, batch: &Batch<'_>, max: usize, now: Instant, now_ms: u64) {
        let mut last = (u32::MAX, 0);
        for entry in batch.entries {
            if entry.stream != last.0 {
                last = (
                    entry.stream,
                    self.number(batch.streams[entry.stream as usize]),
                );
            }
            self.make_room(entry.line.len() + entry.metadata.as_bytes().len() + 64, max);
            let start = self.bytes.len();
            encode::entry(entry, &mut self.bytes);
            let len = (self.bytes.len() - start) as u32;
            match self.runs.last_mut() {
                Some(run) if run.stream == last.1 => run.len += len,
                _ => self.runs.push(Run {
                    stream: last.1,
                    start: start as u32,
                    len,
                }),
            }
            self.entries += 1;
            self.line_bytes += entry.line.len() as u64 + 1;
        }
        if let Some(source) = &batch.source {
            self.changes.take(source);
        }
        if self.since.is_none() && !self.is_empty() {
            (self.since, self.since_ms) = (Some(now), now_ms);
        }
    }

    /// Doubles like a vector, but not beyond the batch size: twice of that is never needed.
    fn make_room(&mut self, more: usize, max: usize) {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if capacity - len < more {
            let next = (2 * capacity).clamp(FIRST, max.max(FIRST));
            self.bytes.reserve_exact(next.saturating_sub(len).max(more));
        }
    }

    fn number(&mut self, labels: &LabelSet) -> u32 {
        if let Some(number) = self.numbers.get(labels) {
            return *number;
        }
        let number = self.streams.len() as u32;
        self.streams.push(labels.clone());
        self.numbers.insert(labels.clone(), number);
        self.held += 2 * (labels.as_bytes().len() + size_of::<LabelSet>());
        number
    }

    /// Makes the body and leaves the batch empty, with what memory a usual one needs.
    pub(crate) fn seal(&mut self) -> Sealed {
        let request = self.request();
        let sealed = Sealed {
            body: if request.is_empty() {
                Bytes::new()
            } else {
                encode::compress(&request).into()
            },
            entries: self.entries,
            line_bytes: self.line_bytes,
            changes: std::mem::take(&mut self.changes),
        };
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
        self.runs.clear();
        self.runs.shrink_to(KEPT / size_of::<Run>() / 8);
        self.streams = Vec::new();
        self.numbers = HashMap::new();
        (self.held, self.entries, self.line_bytes) = (0, 0, 0);
        (self.since, self.since_ms) = (None, 0);
        sealed
    }

    /// The request: streams in order of their first entry, entries of each in order of arrival.
    fn request(&mut self) -> Vec<u8> {
        let mut lens = vec![0; self.streams.len()];
        for run in &self.runs {
            lens[run.stream as usize] += run.len as usize;
        }
        let mut texts = Vec::with_capacity(self.streams.len());
        let mut total = 0;
        for (labels, len) in self.streams.iter().zip(&lens) {
            let mut text = String::new();
            encode::labels_text(labels.as_ref(), &mut text);
            total += encode::stream_len(&text, *len) + len;
            texts.push(text);
        }
        let mut request = Vec::with_capacity(total);
        // Stable: the order within a stream stays.
        self.runs.sort_by_key(|run| run.stream);
        let mut last = u32::MAX;
        for run in &self.runs {
            if run.stream != last {
                last = run.stream;
                encode::stream(&texts[last as usize], lens[last as usize], &mut request);
            }
            request.extend_from_slice(&self.bytes[run.start as usize..][..run.len as usize]);
        }
        request
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::{Entry, Labels, SourcePosition};

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn entry(stream: u32, ts: i64, line: &str) -> Entry<'_> {
        Entry {
            stream,
            ts,
            line: line.as_bytes(),
            metadata: Labels::default(),
        }
    }

    fn push(filling: &mut Filling, streams: &[&LabelSet], entries: &[Entry<'_>], key: &str) {
        let source = SourcePosition {
            key: key.as_bytes(),
            position: Some(b"p"),
        };
        let batch = Batch {
            streams,
            entries,
            source: Some(source),
        };
        filling.push(&batch, 1 << 20, Instant::now(), 1);
    }

    #[test]
    fn a_stream_is_sent_once_with_its_entries_in_order() {
        let (a, b) = (set(&[("a", "1")]), set(&[("b", "1")]));
        let mut filling = Filling::default();
        push(
            &mut filling,
            &[&b, &a],
            &[entry(1, 1, "one"), entry(0, 2, "two"), entry(1, 3, "three")],
            "x",
        );
        // The same stream under another number.
        push(&mut filling, &[&a], &[entry(0, 4, "four")], "y");
        let sealed = filling.seal();
        assert_eq!((sealed.entries, sealed.line_bytes), (4, 3 + 3 + 5 + 4 + 4));
        let mut want = Vec::new();
        for (labels, entries) in [
            (
                "{a=\"1\"}",
                &[
                    entry(0, 1, "one"),
                    entry(0, 3, "three"),
                    entry(0, 4, "four"),
                ][..],
            ),
            ("{b=\"1\"}", &[entry(0, 2, "two")]),
        ] {
            let mut bytes = Vec::new();
            entries.iter().for_each(|e| encode::entry(e, &mut bytes));
            encode::stream(labels, bytes.len(), &mut want);
            want.extend_from_slice(&bytes);
        }
        assert_eq!(sealed.body, encode::compress(&want));
        assert_eq!(encode::request_len(&sealed.body), want.len());
        assert_eq!(sealed.changes.iter().count(), 2);
        assert!(filling.is_empty() && filling.since.is_none());
        assert_eq!(filling.seal().body.len(), 0);
    }

    #[test]
    fn memory_is_near_the_batch_size_and_given_back() {
        let a = set(&[("a", "1")]);
        let mut filling = Filling::default();
        let line = "x".repeat(500);
        let entries: Vec<Entry<'_>> = (0..20).map(|n| entry(0, n, &line)).collect();
        let max = 1 << 20;
        while filling.size() + 11_000 < max {
            push(&mut filling, &[&a], &entries, "k");
        }
        assert!(
            filling.bytes.capacity() <= max,
            "{}",
            filling.bytes.capacity()
        );
        filling.seal();
        assert!(filling.bytes.capacity() <= KEPT);
    }
}
