//! What an answer of Loki's push endpoint means (facts: Loki's source and a running Loki 3).
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | stored |
//! | 260 | ingestion is blocked: like 429 |
//! | 400 | what is refused is refused for good, **the rest is stored**: counted by reason, not sent again |
//! | 422 | nothing in it: the same |
//! | 401, 403 | credentials: kept, tried slowly |
//! | 413 | too large: halved |
//! | 408, 425, 429, 5xx but 501 | kept, tried again |
//! | anything else | something else answers there: kept, tried slowly |

use std::time::Duration;

/// Loki's names of reasons (label `reason` of `loki_discarded_samples_total`), with what the texts say.
const REASONS: &[(&str, &str)] = &[
    ("too far behind", "too_far_behind"),
    ("timestamp too old", "greater_than_max_sample_age"),
    ("timestamp too new", "too_far_in_future"),
    ("max entry size", "line_too_long"),
    ("label names; limit", "max_label_names_per_series"),
    ("label name too long", "label_name_too_long"),
    ("label value too long", "label_value_too_long"),
    ("duplicate label name", "duplicate_label_names"),
    (
        "too many structured metadata",
        "structured_metadata_too_many",
    ),
    (
        "structured metadata too large",
        "structured_metadata_too_large",
    ),
    ("structured metadata", "structured_metadata"),
    ("at least one label pair", "missing_labels"),
    ("parse labels", "invalid_labels"),
    ("stream limit", "stream_limit"),
    ("rate limit", "rate_limited"),
];
/// Texts of a 400 that mean that nothing of the request was stored.
const WHOLE: &[&str] = &[
    "parse labels",
    "duplicate label name",
    "snappy",
    "proto:",
    "unmarshal",
    "unexpected EOF",
];
/// Any reason that is not in [`REASONS`].
pub(crate) const OTHER: &str = "other";
/// A single entry that is too large for a request (413).
pub(crate) const TOO_LARGE: &str = "request_too_large";
/// Every reason for which an entry is refused.
pub(crate) const REASON_NAMES: [&str; REASONS.len() + 2] = {
    let mut names = [OTHER; REASONS.len() + 2];
    let mut i = 0;
    while i < REASONS.len() {
        names[i] = REASONS[i].1;
        i += 1;
    }
    names[i] = TOO_LARGE;
    names
};
/// Reasons counted from one answer; Loki groups them itself.
const REASONS_MAX: usize = 16;

/// What to do with a request after its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Stored.
    Stored,
    /// Answered for good, and not all of it was stored.
    Refused(Refusal),
    /// Halve it.
    TooLarge,
    /// Send the same bytes again.
    Later {
        /// What it is counted as.
        reason: Reason,
        /// What the server asked for.
        after: Option<Duration>,
    },
    /// Send the same bytes again, slowly: somebody has to change something.
    Mend(Reason),
}

/// What of a request was refused.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Refusal {
    /// Entries by reason, as far as the answer says it.
    pub(crate) counts: Vec<(&'static str, u64)>,
    /// The request was refused as a whole.
    pub(crate) whole: bool,
    /// The answer names streams or kinds of errors, not numbers: more entries may be missing.
    pub(crate) more: bool,
}

/// Why a request is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// 429 or 260.
    RateLimited,
    /// 5xx, 408, 425.
    ServerError,
    /// No answer in time.
    Timeout,
    /// The connection broke.
    Disconnected,
    /// No connection: name, address, TLS.
    Unreachable,
    /// 401, 403, or a secret's file that cannot be read.
    Credentials,
    /// Something else answers there.
    WrongUrl,
}

impl Reason {
    /// Every reason, in the order of their counters.
    pub(crate) const ALL: [Reason; 7] = [
        Reason::RateLimited,
        Reason::ServerError,
        Reason::Timeout,
        Reason::Disconnected,
        Reason::Unreachable,
        Reason::Credentials,
        Reason::WrongUrl,
    ];

    /// The value of the label `reason`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Reason::RateLimited => "rate_limited",
            Reason::ServerError => "server_error",
            Reason::Timeout => "timeout",
            Reason::Disconnected => "disconnected",
            Reason::Unreachable => "unreachable",
            Reason::Credentials => "credentials",
            Reason::WrongUrl => "wrong_url",
        }
    }
}

/// Reads an answer. `now` is the wall clock in seconds since 1970, for a `Retry-After` that is a date.
pub(crate) fn verdict(status: u16, retry_after: Option<&str>, body: &[u8], now: i64) -> Verdict {
    match status {
        260 | 429 => Verdict::Later {
            reason: Reason::RateLimited,
            after: retry_after.and_then(|text| parse_retry_after(text, now)),
        },
        200..=299 => Verdict::Stored,
        400 | 422 => Verdict::Refused(refusal(&String::from_utf8_lossy(body))),
        401 | 403 => Verdict::Mend(Reason::Credentials),
        413 => Verdict::TooLarge,
        501 => Verdict::Mend(Reason::WrongUrl),
        408 | 425 | 500..=599 => Verdict::Later {
            reason: Reason::ServerError,
            after: retry_after.and_then(|text| parse_retry_after(text, now)),
        },
        _ => Verdict::Mend(Reason::WrongUrl),
    }
}

/// What to check when a request is not accepted whatever one does.
pub(crate) fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => "check user, password, token and tenant of the client",
        300..=399 => "the server sends elsewhere: put the final URL into the configuration",
        404 | 405 => "check the path of the URL: Loki's is /loki/api/v1/push",
        _ => "check that the URL is Loki's",
    }
}

/// Reads the text of a 400.
///
/// Loki has four forms: a plain text for one error; `2 errors like: TEXT; 3 errors like: TEXT`; a list of entries that are
/// too far behind, closed by `total ignored: 2 out of 3` for each stream; a parse error, with which nothing was stored.
fn refusal(text: &str) -> Refusal {
    let mut refusal = Refusal::default();
    if text.contains("total ignored: ") {
        for part in text.split("total ignored: ").skip(1) {
            add(
                &mut refusal,
                "too_far_behind",
                leading_number(part).unwrap_or(1),
            );
        }
        // The list names the reasons; one that is not about order covers the whole of its stream's count.
        let reasons = text.split("reason: '").skip(1).map(classify);
        if let Some(reason) = reasons
            .filter(|r| *r != OTHER)
            .find(|r| *r != "too_far_behind")
        {
            refusal
                .counts
                .iter_mut()
                .for_each(|(name, _)| *name = reason);
        }
        return refusal;
    }
    if text.contains(" errors like: ") {
        for part in text.split("; ") {
            if let Some((count, rest)) = part.split_once(" errors like: ") {
                add(
                    &mut refusal,
                    classify(rest),
                    leading_number(count).unwrap_or(1),
                );
            }
        }
        refusal.more = refusal.counts.iter().any(|(r, _)| per_stream(r));
        return refusal;
    }
    let reason = classify(text);
    if WHOLE.iter().any(|mark| text.contains(mark)) {
        refusal.whole = true;
        refusal.counts.push((reason, 0));
        return refusal;
    }
    refusal.more = per_stream(reason);
    add(&mut refusal, reason, 1);
    refusal
}

/// Whether Loki reports it once for a stream, however many entries that has.
fn per_stream(reason: &str) -> bool {
    matches!(
        reason,
        OTHER
            | "max_label_names_per_series"
            | "label_name_too_long"
            | "label_value_too_long"
            | "missing_labels"
    )
}

fn add(refusal: &mut Refusal, reason: &'static str, n: u64) {
    let counts = &mut refusal.counts;
    if let Some((_, count)) = counts.iter_mut().find(|(r, _)| *r == reason) {
        *count = count.saturating_add(n);
    } else if counts.len() < REASONS_MAX {
        counts.push((reason, n));
    } else {
        refusal.more = true;
    }
}

fn classify(text: &str) -> &'static str {
    let found = REASONS.iter().find(|(mark, _)| text.contains(mark));
    found.map_or(OTHER, |(_, reason)| reason)
}

fn leading_number(text: &str) -> Option<u64> {
    let text = text.trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text[..end].parse().ok()
}

/// Seconds, or a date as `Thu, 26 Nov 2026 12:00:00 GMT`.
fn parse_retry_after(text: &str, now: i64) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = http_date(text)?;
    Some(Duration::from_secs(u64::try_from(at - now).unwrap_or(0)))
}

fn http_date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let mut words = text.strip_suffix(" GMT")?.split(' ').skip(1);
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|m| *m == month)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.splitn(3, ':');
    let mut part = |max: i64| {
        clock
            .next()?
            .parse::<i64>()
            .ok()
            .filter(|n| (0..=max).contains(n))
    };
    let seconds = part(23)? * 3600 + part(59)? * 60 + part(60)?;
    if words.next().is_some() || !(1..=31).contains(&day) || !(1970..=9999).contains(&year) {
        return None;
    }
    // Days since 1970 of a date, by years that begin in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 719_469;
    Some(days * 86_400 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-26 12:00:00 UTC.
    const NOW: i64 = 1_795_694_400;

    fn check(status: u16, body: &str, want: Verdict) {
        assert_eq!(
            verdict(status, None, body.as_bytes(), NOW),
            want,
            "{status} {body}"
        );
    }

    fn refused(counts: &[(&'static str, u64)], whole: bool, more: bool) -> Verdict {
        Verdict::Refused(Refusal {
            counts: counts.to_vec(),
            whole,
            more,
        })
    }

    #[test]
    fn statuses() {
        check(204, "", Verdict::Stored);
        check(200, "", Verdict::Stored);
        let later = |reason| Verdict::Later {
            reason,
            after: None,
        };
        check(260, "blocked", later(Reason::RateLimited));
        check(429, "", later(Reason::RateLimited));
        check(408, "", later(Reason::ServerError));
        check(500, "", later(Reason::ServerError));
        check(503, "", later(Reason::ServerError));
        check(413, "", Verdict::TooLarge);
        check(401, "", Verdict::Mend(Reason::Credentials));
        check(403, "", Verdict::Mend(Reason::Credentials));
        for status in [100, 301, 308, 402, 404, 405, 410, 415, 501, 999] {
            check(status, "", Verdict::Mend(Reason::WrongUrl));
        }
    }

    #[test]
    fn p7_partial_refusals_are_counted_by_reason() {
        check(
            400,
            "entry with timestamp 2026-11-26 10:00:00 +0000 UTC ignored, reason: 'entry too far behind, entry timestamp \
             is: 2026-11-26T10:00:00Z, oldest acceptable timestamp is: 2026-11-26T11:00:00Z',\nuser 'fake', total \
             ignored: 2 out of 3 for stream: {a=\"b\"}",
            refused(&[("too_far_behind", 2)], false, false),
        );
        check(
            400,
            "entry with timestamp x ignored, reason: 'entry too far behind, ',\nuser 'fake', total ignored: 2 out of 3 for \
             stream: {a=\"1\"}\nuser 'fake', total ignored: 5 out of 9 for stream: {a=\"2\"}",
            refused(&[("too_far_behind", 7)], false, false),
        );
        check(
            400,
            "1 errors like: max entry size '262144' bytes exceeded for stream '{a=\"b; c\"}' while adding an entry with \
             length '300000' bytes; 3 errors like: entry for stream '{a=\"b\"}' has timestamp too old: x, oldest \
             acceptable timestamp is: y",
            refused(
                &[("line_too_long", 1), ("greater_than_max_sample_age", 3)],
                false,
                false,
            ),
        );
        check(
            400,
            "entry for stream '{a=\"b\"}' has timestamp too new: 2026-11-20T10:53:29Z",
            refused(&[("too_far_in_future", 1)], false, false),
        );
        check(
            400,
            "entry for stream '{a=\"b\"}' has 16 label names; limit 15",
            refused(&[("max_label_names_per_series", 1)], false, true),
        );
        check(400, "something new", refused(&[(OTHER, 1)], false, true));
        check(400, "", refused(&[(OTHER, 1)], false, true));
        check(
            400,
            "couldn't parse labels: 1:3: parse error: unexpected character inside braces: '.'",
            refused(&[("invalid_labels", 0)], true, false),
        );
        check(
            400,
            "snappy: corrupt input",
            refused(&[(OTHER, 0)], true, false),
        );
    }

    #[test]
    fn p9_any_text_of_a_refusal_is_read() {
        let odd = [
            "total ignored: ",
            "total ignored: 99999999999999999999999 out of 1",
            " errors like: ",
            "; ; 7 errors like: ; x errors like: \u{e9}",
        ];
        for text in odd {
            assert!(matches!(
                verdict(400, None, text.as_bytes(), NOW),
                Verdict::Refused(_)
            ));
        }
        let many: String = REASONS
            .iter()
            .map(|(mark, _)| format!("1 errors like: {mark}; "))
            .collect();
        let Verdict::Refused(refusal) = verdict(400, None, many.as_bytes(), NOW) else {
            panic!("{many}");
        };
        assert!(refusal.counts.len() <= REASONS_MAX);
        verdict(400, None, &[0xff, 0xfe], NOW);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let check = |text: &str, want: Option<u64>| {
            let got = parse_retry_after(text, NOW);
            assert_eq!(got, want.map(Duration::from_secs), "{text}");
        };
        check("0", Some(0));
        check(" 120 ", Some(120));
        check("Thu, 26 Nov 2026 12:00:30 GMT", Some(30));
        check("Fri, 01 Jan 2027 00:00:00 GMT", Some(36 * 86_400 - 43_200));
        check("Thu, 26 Nov 2020 12:00:30 GMT", Some(0));
        check("Tue, 29 Feb 2028 12:00:00 GMT", Some(460 * 86_400));
        for bad in [
            "",
            "-1",
            "soon",
            "Thu, 26 Foo 2026 12:00:30 GMT",
            "Thu, 26 Nov 2026 25:00:30 GMT",
            " GMT",
        ] {
            check(bad, None);
        }
    }
}
