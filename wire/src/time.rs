//! Times as Loki's clients and its texts write them. Pure: nanoseconds since the Unix epoch in and out, always UTC.

use std::fmt;

const SECOND: i64 = 1_000_000_000;

/// Nanoseconds since the epoch of `2026-11-20T09:53:24.5+01:00`; `None` for other forms and impossible dates.
#[must_use]
pub fn rfc3339(text: &str) -> Option<i128> {
    let text = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
        std::str::from_utf8(digits).ok()?.parse().ok()
    };
    let sign = |at: usize, want: u8| (*text.get(at)? == want).then_some(());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    for (at, want) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        sign(at, want)?;
    }
    let mut rest = &text[19..];
    let mut nanos = 0i128;
    if let [b'.' | b',', tail @ ..] = rest {
        let digits = tail.iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 {
            return None;
        }
        // Nine digits, filled up with zeros; Go drops further ones too.
        let nine = tail[..digits].iter().chain([b'0'; 9].iter()).take(9);
        nanos = nine.fold(0, |n, digit| n * 10 + i128::from(digit - b'0'));
        rest = &tail[digits..];
    }
    let offset = match *rest {
        [b'Z'] => 0,
        [s @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let (hours, minutes) = (number(at, at + 2)?, number(at + 3, at + 5)?);
            if hours > 24 || minutes > 60 {
                return None;
            }
            (hours * 3600 + minutes * 60) * if s == b'-' { -1 } else { 1 }
        }
        _ => return None,
    };
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(i128::from(seconds - offset) * i128::from(SECOND) + nanos)
}

fn days_in(year: i64, month: i64) -> i64 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar; the year starts in March so that the leap day is its last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

/// Year, month and day of a number of days since the epoch: the way back of [`days_since_epoch`].
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

fn date_and_time(f: &mut fmt::Formatter<'_>, ns: i64, between: char) -> fmt::Result {
    let seconds = ns.div_euclid(SECOND);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let of_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    write!(
        f,
        "{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}"
    )
}

/// Shows a time as RFC 3339 in whole seconds: `2026-11-20T09:53:24Z`.
#[derive(Debug, Clone, Copy)]
pub struct Seconds(pub i64);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        date_and_time(f, self.0, 'T')?;
        f.write_str("Z")
    }
}

/// Shows a time as Go prints one: `2026-11-20 09:53:24.5 +0000 UTC`.
#[derive(Debug, Clone, Copy)]
pub struct GoTime(pub i64);

impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        date_and_time(f, self.0, ' ')?;
        let fraction = self.0.rem_euclid(SECOND);
        if fraction > 0 {
            let digits = format!("{fraction:09}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        f.write_str(" +0000 UTC")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_and_read_back() {
        for (ns, seconds, go) in [
            (0, "1970-01-01T00:00:00Z", "1970-01-01 00:00:00 +0000 UTC"),
            (
                1_795_168_404_326_197_813,
                "2026-11-20T09:53:24Z",
                "2026-11-20 09:53:24.326197813 +0000 UTC",
            ),
            (
                951_782_400_500_000_000,
                "2000-02-29T00:00:00Z",
                "2000-02-29 00:00:00.5 +0000 UTC",
            ),
            (
                -1,
                "1969-12-31T23:59:59Z",
                "1969-12-31 23:59:59.999999999 +0000 UTC",
            ),
            (
                i64::MIN,
                "1677-09-21T00:12:43Z",
                "1677-09-21 00:12:43.145224192 +0000 UTC",
            ),
            (
                i64::MAX,
                "2262-04-11T23:47:16Z",
                "2262-04-11 23:47:16.854775807 +0000 UTC",
            ),
        ] {
            assert_eq!(Seconds(ns).to_string(), seconds);
            assert_eq!(GoTime(ns).to_string(), go);
            let whole = i128::from(ns.div_euclid(SECOND)) * i128::from(SECOND);
            assert_eq!(rfc3339(seconds), Some(whole));
        }
    }
}
