//! CRI records: `TIME SP STREAM SP TAGS SP CONTENT`.
//!
//! The time has zero to nine fraction digits and `Z` or a numeric offset; nothing may be found by column. The first
//! tag is `P` (the line goes on in the stream's next record) or `F`; tags after a `:` are for others.

/// Seconds since 1970 of the last date and time seen. Lines of one second share the first nineteen bytes.
#[derive(Debug)]
pub(crate) struct TimeCache {
    text: [u8; 19],
    seconds: i64,
}

impl TimeCache {
    pub(crate) fn new() -> TimeCache {
        TimeCache {
            text: *b"1970-01-01T00:00:00",
            seconds: 0,
        }
    }
}

/// A parsed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Nanoseconds since 1970.
    pub(crate) ts: i64,
    /// 0 stdout, 1 stderr.
    pub(crate) stream: usize,
    /// Tag `F`.
    pub(crate) full: bool,
    /// Where the content begins.
    pub(crate) content: usize,
}

/// Parses a record without its line feed; `None` if it is not one.
#[inline]
pub(crate) fn parse(line: &[u8], cache: &mut TimeCache) -> Option<Record> {
    let (ts, mut at) = parse_time(line, cache)?;
    let rest = line.get(at..)?;
    let stream = match rest.get(..8)? {
        b" stdout " => 0,
        b" stderr " => 1,
        _ => return None,
    };
    at += 8;
    let full = match line.get(at)? {
        b'F' => true,
        b'P' => false,
        _ => return None,
    };
    at += 1;
    let content = match line.get(at) {
        Some(b' ') => at + 1,
        Some(b':') => at + memchr::memchr(b' ', &line[at..]).map_or(line.len() - at, |n| n + 1),
        None => at,
        Some(_) => return None,
    };
    Some(Record {
        ts,
        stream,
        full,
        content,
    })
}

/// Parses an RFC 3339 time at the start of `text`: nanoseconds since 1970 and the bytes it took.
#[inline]
pub(crate) fn parse_time(text: &[u8], cache: &mut TimeCache) -> Option<(i64, usize)> {
    let head: &[u8; 19] = text.first_chunk()?;
    if *head != cache.text {
        cache.seconds = parse_seconds(head)?;
        cache.text = *head;
    }
    let mut at = 19;
    let mut nanos: i64 = 0;
    if text.get(at) == Some(&b'.') {
        at += 1;
        let mut digits = 0;
        while let Some(d) = text
            .get(at)
            .map(|b| b.wrapping_sub(b'0'))
            .filter(|d| *d < 10)
        {
            // Digits past the ninth say less than a nanosecond.
            if digits < 9 {
                nanos = nanos * 10 + i64::from(d);
                digits += 1;
            }
            at += 1;
        }
        const SCALE: [i64; 10] = [
            1_000_000_000,
            100_000_000,
            10_000_000,
            1_000_000,
            100_000,
            10_000,
            1_000,
            100,
            10,
            1,
        ];
        nanos *= SCALE[digits];
        if digits == 0 {
            return None;
        }
    }
    let zone = match text.get(at)? {
        b'Z' => {
            at += 1;
            0
        }
        sign @ (b'+' | b'-') => {
            let z = text.get(at + 1..at + 6)?;
            if z[2] != b':' {
                return None;
            }
            let minutes = two(z, 0)? * 60 + two(z, 3)?;
            at += 6;
            if *sign == b'+' {
                minutes * 60
            } else {
                -minutes * 60
            }
        }
        _ => return None,
    };
    let ns = (cache.seconds - zone)
        .checked_mul(1_000_000_000)?
        .checked_add(nanos)?;
    Some((ns, at))
}

fn two(text: &[u8], at: usize) -> Option<i64> {
    let (a, b) = (text[at].wrapping_sub(b'0'), text[at + 1].wrapping_sub(b'0'));
    (a < 10 && b < 10).then(|| i64::from(a) * 10 + i64::from(b))
}

/// Seconds since 1970 of `YYYY-MM-DDTHH:MM:SS`.
fn parse_seconds(t: &[u8; 19]) -> Option<i64> {
    if t[4] != b'-' || t[7] != b'-' || t[10] != b'T' || t[13] != b':' || t[16] != b':' {
        return None;
    }
    let year = two(t, 0)? * 100 + two(t, 2)?;
    let (month, day) = (two(t, 5)?, two(t, 8)?);
    let (hour, minute, second) = (two(t, 11)?, two(t, 14)?, two(t, 17)?);
    if !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 60
    {
        return None;
    }
    // Days from a civil date (proleptic Gregorian), years counted from March so that the leap day is last.
    let y = if month <= 2 { year - 1 } else { year };
    let era = y.div_euclid(400);
    let year_of_era = y.rem_euclid(400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Option<i64> {
        let (ns, n) = parse_time(text.as_bytes(), &mut TimeCache::new())?;
        assert_eq!(n, text.len());
        Some(ns)
    }

    #[test]
    fn times_of_every_width_and_zone() {
        for (text, want) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-20T09:27:56Z", Some(1_795_166_876_000_000_000)),
            ("2026-11-20T09:27:56.1Z", Some(1_795_166_876_100_000_000)),
            (
                "2026-11-20T09:27:56.123456789Z",
                Some(1_795_166_876_123_456_789),
            ),
            (
                "2026-11-20T10:27:56.1234567+01:00",
                Some(1_795_166_876_123_456_700),
            ),
            ("2026-11-19T23:57:56-09:30", Some(1_795_166_876_000_000_000)),
            ("2024-02-29T00:00:00Z", Some(1_709_164_800_000_000_000)),
            ("1969-12-31T23:59:59.5Z", Some(-500_000_000)),
            ("2026-11-20T09:27:56", None),
            ("2026-11-20T09:27:56.Z", None),
            ("2026-13-20T09:27:56Z", None),
            ("2026-11-20 09:27:56Z", None),
            ("2026-11-20T09:27:5xZ", None),
            ("2026-11-20T09:27:56+0100", None),
            ("9999-11-20T09:27:56Z", None),
        ] {
            assert_eq!(time(text), want, "{text}");
        }
    }

    #[test]
    fn records_and_near_misses() {
        let t = "2026-11-20T09:27:56.5Z";
        for (rest, want) in [
            (" stdout F hello", Some((0, true, "hello"))),
            (" stderr P  two", Some((1, false, " two"))),
            (" stdout F ", Some((0, true, ""))),
            (" stdout F", Some((0, true, ""))),
            (" stdout F:x:y z z", Some((0, true, "z z"))),
            (" stdout P:x", Some((0, false, ""))),
            (" stdout Full", None),
            (" stdin F x", None),
            ("  stdout F x", None),
            (" stdout ", None),
            ("", None),
        ] {
            let line = format!("{t}{rest}");
            let got = parse(line.as_bytes(), &mut TimeCache::new());
            let got = got.map(|r| (r.stream, r.full, &line[r.content..]));
            assert_eq!(got, want, "{line}");
        }
    }

    #[test]
    fn the_cache_never_shows() {
        let mut cache = TimeCache::new();
        for text in [
            "2026-11-20T09:27:56Z",
            "2026-11-20T09:27:57Z",
            "2026-99-20T09:27:57Z",
            "2026-11-20T09:27:56Z",
        ] {
            let cached = parse_time(text.as_bytes(), &mut cache);
            assert_eq!(
                cached,
                parse_time(text.as_bytes(), &mut TimeCache::new()),
                "{text}"
            );
        }
    }
}
