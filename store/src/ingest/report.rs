//! The text of an answer that names what was refused, as Loki words it.

use std::time::Duration;

use wire::time::{GoTime, Seconds};

/// Texts of errors kept, and entries listed per stream, as in Loki; further ones are counted.
const TEXTS_MAX: usize = 10;
/// Bytes of one text; a label value may be as long as the body.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Collects refusals.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// Different texts in order of appearance, with how often each came.
    grouped: Vec<(String, u64)>,
    /// Texts of streams some entries of which the store would not take.
    streams: Vec<String>,
    /// Refusals without a text of their own.
    more: u64,
    /// A repetition may succeed, and after this time.
    temporary: Option<Duration>,
}

impl Report {
    /// Adds a refusal that a repetition does not cure.
    pub(super) fn add(&mut self, mut text: String) {
        if text.len() > TEXT_BYTES_MAX {
            text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
            text.push_str("...");
        }
        if let Some((_, count)) = self.grouped.iter_mut().find(|(known, _)| *known == text) {
            *count += 1;
        } else if self.grouped.len() < TEXTS_MAX {
            self.grouped.push((text, 1));
        } else {
            self.more += 1;
        }
    }

    /// Adds a refusal that a repetition may cure.
    pub(super) fn add_temporary(&mut self, text: String, after: Duration) {
        self.wait(after);
        self.add(text);
    }

    fn wait(&mut self, after: Duration) {
        self.temporary = self.temporary.max(Some(after));
    }

    /// Adds what was ignored of a stream.
    pub(super) fn add_stream(&mut self, ignored: Ignored, labels: impl FnOnce() -> String) {
        if ignored.count == 0 {
            return;
        }
        if let Some(after) = ignored.retry_after {
            self.wait(after);
        }
        if self.streams.len() < TEXTS_MAX {
            let Ignored {
                text, count, total, ..
            } = ignored;
            let labels = labels();
            self.streams.push(format!(
                "{text}user 'fake', total ignored: {count} out of {total} for stream: {labels}"
            ));
        } else {
            self.more += ignored.count;
        }
    }

    /// Status, text and when to come again; `None` if nothing was refused.
    pub(super) fn finish(self) -> Option<(u16, String, Option<Duration>)> {
        let several = self.grouped.len() > 1;
        let texts = self.grouped.into_iter().map(|(text, count)| {
            if several || count > 1 {
                format!("{count} errors like: {text}")
            } else {
                text
            }
        });
        let mut parts: Vec<String> = texts.chain(self.streams).collect();
        if self.more > 0 {
            parts.push(format!("{} further errors", self.more));
        }
        if parts.is_empty() {
            return None;
        }
        let status = if self.temporary.is_some() { 429 } else { 400 };
        Some((status, parts.join("; "), self.temporary))
    }
}

/// Entries of a stream that the store would not take.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    text: String,
    listed: usize,
    count: u64,
    /// Entries of the stream in the request.
    pub(super) total: u64,
    retry_after: Option<Duration>,
}

impl Ignored {
    fn add(&mut self, ts: i64, why: impl FnOnce() -> String) {
        self.count += 1;
        if self.listed < TEXTS_MAX {
            self.listed += 1;
            let line = format!(
                "entry with timestamp {} ignored, reason: '{}',\n",
                GoTime(ts),
                why()
            );
            self.text.push_str(&line);
        }
    }

    /// It is too old for its stream.
    pub(super) fn behind(&mut self, ts: i64, cutoff: i64) {
        self.add(ts, || {
            format!(
                "entry too far behind, entry timestamp is: {}, oldest acceptable timestamp is: {}",
                Seconds(ts),
                Seconds(cutoff)
            )
        });
    }

    /// It is too much for its stream.
    pub(super) fn too_fast(
        &mut self,
        ts: i64,
        (rate, bytes): (u64, u64),
        after: Duration,
        labels: impl FnOnce() -> String,
    ) {
        self.retry_after = self.retry_after.max(Some(after));
        self.add(ts, || {
            format!(
                "Per stream rate limit exceeded (limit: {}/sec) while attempting to ingest for stream '{}' totaling \
                 {}, consider splitting a stream via additional labels or contact your Loki administrator to see if \
                 the limit can be increased",
                size(rate),
                labels(),
                size(bytes)
            )
        });
    }
}

/// A size as Loki prints it: in the largest unit that leaves no rest.
fn size(bytes: u64) -> String {
    let units = [(40, "TB"), (30, "GB"), (20, "MB"), (10, "KB")];
    let whole = |shift: &u32| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.iter().find(|(shift, _)| whole(shift)) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_grouped_as_loki_groups_them() {
        let text = |adds: &[&str]| {
            let mut report = Report::default();
            adds.iter().for_each(|t| report.add((*t).to_owned()));
            report.finish().map(|(status, text, _)| (status, text))
        };
        assert_eq!(text(&[]), None);
        assert_eq!(text(&["a"]), Some((400, "a".into())));
        assert_eq!(text(&["a", "a"]), Some((400, "2 errors like: a".into())));
        let two = "2 errors like: a; 1 errors like: b";
        assert_eq!(text(&["a", "b", "a"]), Some((400, two.into())));
    }

    #[test]
    fn p4_texts_are_bounded() {
        let mut report = Report::default();
        for i in 0..1000 {
            report.add(format!("{i} {}", "x".repeat(TEXT_BYTES_MAX)));
            let mut ignored = Ignored::default();
            for ts in 0..100 {
                ignored.behind(ts, 100);
            }
            report.add_stream(ignored, || "{}".to_owned());
        }
        let (_, text, _) = report.finish().unwrap();
        assert!(
            text.len() < 2 * TEXTS_MAX * TEXT_BYTES_MAX,
            "{}",
            text.len()
        );
        assert!(text.ends_with("; 99990 further errors"), "{text}");
    }

    #[test]
    fn sizes_are_exact() {
        for (bytes, want) in [
            (0, "0B"),
            (1, "1B"),
            (3 << 20, "3MB"),
            (1536, "1536B"),
            (2048, "2KB"),
        ] {
            assert_eq!(size(bytes), want);
        }
    }
}
