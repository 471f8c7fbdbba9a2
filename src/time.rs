//! Times and durations as people write them. Pure: "now" is an argument.
//!
//! Durations are Go's and Prometheus' (`1h30m`, `90s`, `500ms`, `7d`, `1w`, `1y`); times are RFC 3339, a date, or Unix
//! seconds. Times are nanoseconds since the Unix epoch, so years 1678 to 2262.

use std::fmt::Write as _;
use std::time::Duration;

const NS: i64 = 1_000_000_000;
const DAY_S: i64 = 86_400;

/// `2026-11-20T09:27:56.123Z`, with `digits` (0 to 9) digits of the second.
pub(crate) fn rfc3339(ns: i64, digits: usize) -> String {
    let (seconds, nanos) = (ns.div_euclid(NS), ns.rem_euclid(NS));
    let (days, second) = (seconds.div_euclid(DAY_S), seconds.rem_euclid(DAY_S));
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3600, second / 60 % 60, second % 60);
    let mut out = format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}");
    if digits > 0 {
        let fraction = nanos / 10i64.pow(9 - digits as u32);
        let _ = write!(out, ".{fraction:0digits$}");
    }
    out.push('Z');
    out
}

/// Year, month and day of a day number since the epoch (proleptic Gregorian; after Hinnant).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, day)
}

/// Day number since the epoch of a date.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let y = year - i64::from(month <= 2);
    let era = y.div_euclid(400);
    let yoe = y.rem_euclid(400);
    let mp = if month > 2 { month - 3 } else { month + 9 };
    let doy = (153 * mp + 2) / 5 + day - 1;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// Parses a time: RFC 3339, `2026-11-20`, `2026-11-20T09:00:00` (UTC), or Unix seconds with or without a fraction.
pub(crate) fn parse_time(text: &str) -> Option<i64> {
    if let Some(ns) = unix_seconds(text) {
        return Some(ns);
    }
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    let byte = |at: usize| text.as_bytes().get(at).copied();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let date_ok = byte(4) == Some(b'-') && byte(7) == Some(b'-');
    let dated = days(year, month, day);
    if !date_ok || civil(dated) != (year, month, day) {
        return None;
    }
    let midnight = dated.checked_mul(DAY_S)?;
    if text.len() == 10 {
        return midnight.checked_mul(NS);
    }
    let (h, m, s) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let shape = matches!(byte(10), Some(b'T' | b't' | b' '))
        && byte(13) == Some(b':')
        && byte(16) == Some(b':');
    if !shape || h > 23 || m > 59 || s > 59 {
        return None;
    }
    let (nanos, zone) = fraction(text.get(19..)?)?;
    let seconds = midnight + h * 3600 + m * 60 + s - offset(zone)?;
    seconds.checked_mul(NS)?.checked_add(nanos)
}

/// Splits `.123Z` into nanoseconds and zone.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    if end == 0 || end > 9 {
        return None;
    }
    let value: i64 = rest[..end].parse().ok()?;
    Some((value * 10i64.pow(9 - end as u32), &rest[end..]))
}

/// Seconds east of Greenwich; nothing counts as UTC.
fn offset(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, rest) = match zone.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (h, m) = rest.split_once(':')?;
    let (h, m): (i64, i64) = (h.parse().ok()?, m.parse().ok()?);
    ((0..24).contains(&h) && (0..60).contains(&m)).then_some(sign * (h * 3600 + m * 60))
}

fn unix_seconds(text: &str) -> Option<i64> {
    let (whole, fractional) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fractional) || fractional.len() > 9 {
        return None;
    }
    let nanos: i64 = format!("{fractional:0<9}").parse().ok()?;
    let seconds: i64 = whole.parse().ok()?;
    seconds.checked_mul(NS)?.checked_add(nanos)
}

const UNITS: [(&str, u128); 10] = [
    ("y", 365 * 86_400 * 1_000_000_000),
    ("w", 7 * 86_400 * 1_000_000_000),
    ("d", 86_400 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
    ("\u{b5}s", 1000),
    ("ns", 1),
];

/// Parses a duration; at most 292 years. A bare `0` is allowed, any other bare number is not: it would have to guess
/// its unit.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total: u128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let scale = UNITS.iter().find(|(name, _)| *name == unit)?.1;
        let (whole, fractional) = number.split_once('.').unwrap_or((number, "0"));
        if whole.len() > 15 || fractional.is_empty() || fractional.len() > 9 {
            return None;
        }
        let value = whole.parse::<u128>().ok()?.checked_mul(scale)?;
        let part = fractional.parse::<u128>().ok()?.checked_mul(scale)?;
        total = total
            .checked_add(value)?
            .checked_add(part / 10u128.pow(fractional.len() as u32))?;
        rest = tail;
    }
    let nanos = u64::try_from(total).ok().filter(|n| *n <= i64::MAX as u64);
    nanos.filter(|_| !text.is_empty()).map(Duration::from_nanos)
}

/// Writes a duration so that [`parse_duration`] reads it back: `30m`, `1h30m`, `721h`, `1m0.5s` never.
pub(crate) fn show_duration(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut out = String::new();
    for unit in ["h", "m", "s", "ms", "us", "ns"] {
        let scale = UNITS.iter().find(|(n, _)| *n == unit).map_or(1, |u| u.1);
        let count = rest / scale;
        rest %= scale;
        if count > 0 {
            let _ = write!(out, "{count}{unit}");
        }
    }
    if out.is_empty() {
        out.push_str("0s");
    }
    out
}

/// Nanoseconds since the epoch now; a clock before 1970 gives 0.
pub(crate) fn now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let check = |text: &str, want: Option<&str>| {
            let got = parse_time(text).map(|ns| rfc3339(ns, 9));
            assert_eq!(got.as_deref(), want, "{text}");
        };
        check("0", Some("1970-01-01T00:00:00.000000000Z"));
        check("1763632800.5", Some("2025-11-20T10:00:00.500000000Z"));
        check("2026-11-20", Some("2026-11-20T00:00:00.000000000Z"));
        check(
            "2024-02-29T23:59:59.1Z",
            Some("2024-02-29T23:59:59.100000000Z"),
        );
        check(
            "2026-01-01T00:30:00+01:00",
            Some("2025-12-31T23:30:00.000000000Z"),
        );
        check(
            "2026-01-01 00:30:00-09:30",
            Some("2026-01-01T10:00:00.000000000Z"),
        );
        for bad in [
            "",
            "yesterday",
            "2026-02-30",
            "2026-13-01",
            "2026-01-01T25:00:00Z",
            "9999-01-01",
            "2026-01-01T00:00:00+1",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn durations() {
        let check = |text: &str, want: Option<&str>| {
            let got = parse_duration(text).map(show_duration);
            assert_eq!(got.as_deref(), want, "{text}");
        };
        check("30m", Some("30m"));
        check("1h30m", Some("1h30m"));
        check("1.5h", Some("1h30m"));
        check("721h", Some("721h"));
        check("7d", Some("168h"));
        check("100ms", Some("100ms"));
        check("0", Some("0s"));
        for bad in [
            "",
            "30",
            "m",
            "1x",
            "-1s",
            "1h 2m",
            "999999999999999y",
            "1..5s",
        ] {
            check(bad, None);
        }
    }
}
