//! Rates, and what is known of streams that are pushed to: a bounded table.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::limits::STREAMS_MAX;

/// A stream that was not pushed to for this long is no longer active, and its state is forgotten when room is needed.
/// By then its bucket is full again, and the store knows its newest entry.
const IDLE: Duration = Duration::from_secs(30 * 60);

/// Tokens for bytes: a burst at once, then a rate.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    pub(super) fn new(burst: u64, now: Instant) -> Bucket {
        Bucket {
            tokens: burst as f64,
            at: now,
        }
    }

    /// Takes tokens for `bytes`, or none of them and says when there might be enough.
    pub(super) fn take(
        &mut self,
        bytes: u64,
        rate: u64,
        burst: u64,
        now: Instant,
    ) -> Result<(), Duration> {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + since * rate as f64).min(burst as f64);
        self.at = now;
        let missing = bytes as f64 - self.tokens;
        if missing <= 0.0 {
            self.tokens -= bytes as f64;
            return Ok(());
        }
        // More than the burst never fits; the answer is the same as Loki's all the same.
        Err(Duration::try_from_secs_f64(missing / rate.max(1) as f64).unwrap_or(IDLE))
    }
}

/// What is known of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stream {
    pub(super) bucket: Bucket,
    /// Time of its newest entry in the store.
    pub(super) newest: Option<i64>,
    last: Instant,
}

/// Streams by the hash of their labels. Two sets with one hash would share a rate and a newest entry; at 64 bits that
/// happens to nobody by chance.
#[derive(Debug)]
pub(super) struct Streams {
    known: HashMap<u64, Stream>,
    /// Before this nothing in a full table is idle.
    sweep: Instant,
}

/// The table is full of active streams.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Streams {
    pub(super) fn new(now: Instant) -> Streams {
        Streams {
            known: HashMap::new(),
            sweep: now,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// A stream, marked as active, if there are fewer than `max` others; a new one's newest entry is asked for.
    pub(super) fn activate(
        &mut self,
        hash: u64,
        (max, burst): (usize, u64),
        now: Instant,
        newest: impl FnOnce() -> Option<i64>,
    ) -> Result<Stream, Full> {
        if let Some(stream) = self.known.get_mut(&hash) {
            stream.last = now;
            return Ok(*stream);
        }
        let max = if max == 0 { STREAMS_MAX } else { max };
        let max = max.min(STREAMS_MAX);
        if self.known.len() >= max && now >= self.sweep {
            self.forget_idle(now);
        }
        if self.known.len() >= max {
            return Err(Full);
        }
        let stream = Stream {
            bucket: Bucket::new(burst, now),
            newest: newest(),
            last: now,
        };
        self.known.insert(hash, stream);
        Ok(stream)
    }

    /// Keeps what was taken from a stream's bucket.
    pub(super) fn spend(&mut self, hash: u64, bucket: Bucket) {
        if let Some(stream) = self.known.get_mut(&hash) {
            stream.bucket = bucket;
        }
    }

    /// Keeps the time of an entry that was stored.
    pub(super) fn stored(&mut self, hash: u64, ts: i64) {
        if let Some(stream) = self.known.get_mut(&hash) {
            stream.newest = stream.newest.max(Some(ts));
        }
    }

    fn forget_idle(&mut self, now: Instant) {
        let idle = |stream: &Stream| now.saturating_duration_since(stream.last) >= IDLE;
        self.known.retain(|_, stream| !idle(stream));
        let oldest = self.known.values().map(|stream| stream.last).min();
        self.sweep = oldest.map_or(now, |oldest| oldest + IDLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_give_a_burst_and_then_a_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new(100, start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        for (ms, bytes, want) in [
            (0, 60, Ok(())),
            (0, 40, Ok(())),
            (0, 1, Err(100)),
            (0, 0, Ok(())),
            (500, 6, Err(100)),
            (500, 5, Ok(())),
            (60_500, 101, Err(100)),
            (60_500, 100, Ok(())),
        ] {
            let got = bucket.take(bytes, 10, 100, at(ms));
            assert_eq!(got.map_err(|w| w.as_millis()), want, "{bytes} at {ms}");
        }
        assert_eq!(
            bucket.take(1, 0, 100, at(60_500)),
            Err(Duration::from_secs(1))
        );
    }

    #[test]
    fn p4_the_table_of_streams_is_bounded() {
        let start = Instant::now();
        let mut streams = Streams::new(start);
        let half = IDLE / 2;
        for hash in 0..3 {
            assert!(streams.activate(hash, (3, 1), start, || None).is_ok());
        }
        assert_eq!(
            streams.activate(9, (3, 1), start, || None).err(),
            Some(Full)
        );
        // One stays active, the others leave when room is needed.
        assert!(streams.activate(1, (3, 1), start + half, || None).is_ok());
        assert_eq!(
            streams.activate(9, (3, 1), start + half, || None).err(),
            Some(Full)
        );
        let stream = streams
            .activate(9, (3, 1), start + IDLE, || Some(7))
            .unwrap();
        assert_eq!((stream.newest, streams.len()), (Some(7), 2));
        streams.stored(9, 5);
        streams.stored(9, 8);
        let stream = streams.activate(9, (3, 1), start + IDLE, || None).unwrap();
        assert_eq!(stream.newest, Some(8));
        for max in [0, usize::MAX] {
            let mut streams = Streams::new(start);
            let taken = (0..30_000).take_while(|hash| {
                let stream = streams.activate(*hash, (max, 1), start, || None);
                stream.is_ok()
            });
            assert_eq!(taken.count(), STREAMS_MAX);
        }
    }
}
