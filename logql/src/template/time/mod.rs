//! Go's time values: an instant and the zone to show it in.
//!
//! The zone called local is UTC, as in the containers that Loki runs in.

mod layout;
#[cfg(test)]
mod tests;
mod zone;

use std::sync::Arc;

pub(super) use layout::{format, parse};
pub(super) use zone::{Zone, Zones};

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Go's zero time, January 1 of the year 1, in seconds of the epoch.
pub(super) const ZERO: i64 = -62_135_596_800;
/// Nanoseconds of a second.
const NANOS: i64 = 1_000_000_000;

/// An instant.
#[derive(Debug, Clone)]
pub(super) struct Time {
    /// Seconds since the epoch.
    pub(super) secs: i64,
    /// Nanoseconds beyond, below a second.
    pub(super) nanos: u32,
    pub(super) zone: Zone,
}

/// The parts of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Date {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: u8,
    /// 1 to 31.
    pub(super) day: u8,
    /// 1 to 366.
    pub(super) year_day: u16,
    /// 0 is Sunday.
    pub(super) weekday: u8,
}

/// The time of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clock {
    pub(super) hour: u8,
    pub(super) minute: u8,
    pub(super) second: u8,
}

impl Time {
    /// Go's `time.Unix(secs, nanos)` in UTC.
    pub(super) fn unix(secs: i64, nanos: i64) -> Time {
        Time {
            secs: secs.saturating_add(nanos.div_euclid(NANOS)),
            nanos: nanos.rem_euclid(NANOS) as u32,
            zone: Zone::UTC,
        }
    }

    pub(super) fn zero() -> Time {
        Time::unix(ZERO, 0)
    }

    /// Nanoseconds since the epoch, wrapping around as Go's do.
    pub(super) fn unix_nanos(&self) -> i64 {
        self.secs
            .wrapping_mul(NANOS)
            .wrapping_add(i64::from(self.nanos))
    }

    pub(super) fn in_zone(self, zone: Zone) -> Time {
        Time { zone, ..self }
    }

    /// The instant as one number of nanoseconds.
    pub(super) fn instant(&self) -> i128 {
        i128::from(self.secs) * i128::from(NANOS) + i128::from(self.nanos)
    }

    fn at_instant(&self, instant: i128) -> Time {
        let nanos = i128::from(NANOS);
        let secs = instant.div_euclid(nanos);
        Time {
            secs: i64::try_from(secs).unwrap_or(if secs < 0 { i64::MIN } else { i64::MAX }),
            nanos: instant.rem_euclid(nanos) as u32,
            zone: self.zone.clone(),
        }
    }

    pub(super) fn add(&self, nanos: i64) -> Time {
        self.at_instant(self.instant() + i128::from(nanos))
    }

    /// The distance in nanoseconds, as far as 64 bits reach.
    pub(super) fn sub(&self, other: &Time) -> i64 {
        let distance = self.instant() - other.instant();
        i64::try_from(distance).unwrap_or(if distance < 0 { i64::MIN } else { i64::MAX })
    }

    /// Down to a multiple of `step` nanoseconds since the zero time.
    pub(super) fn truncate(&self, step: i64) -> Time {
        if step <= 0 {
            return self.clone();
        }
        let past = self.past_multiple(step);
        self.at_instant(self.instant() - past)
    }

    /// To the nearest multiple, halves up.
    pub(super) fn round(&self, step: i64) -> Time {
        if step <= 0 {
            return self.clone();
        }
        let past = self.past_multiple(step);
        let instant = self.instant() - past;
        if past * 2 < i128::from(step) {
            self.at_instant(instant)
        } else {
            self.at_instant(instant + i128::from(step))
        }
    }

    fn past_multiple(&self, step: i64) -> i128 {
        let since_zero = self.instant() - i128::from(ZERO) * i128::from(NANOS);
        since_zero.rem_euclid(i128::from(step))
    }

    /// Go's `AddDate`: months and days beyond their range carry over.
    pub(super) fn add_date(&self, years: i64, months: i64, days: i64) -> Time {
        let date = self.date();
        let months = i64::from(date.month) - 1 + clamp(months);
        let year = date.year.saturating_add(clamp(years)) + months.div_euclid(12);
        let month = months.rem_euclid(12) as u8 + 1;
        let days = days_of(year, month, 1) + i64::from(date.day) - 1 + clamp(days);
        let local = days.saturating_mul(DAY) + self.local_secs().rem_euclid(DAY);
        Time {
            secs: self.zone.to_utc(local),
            nanos: self.nanos,
            zone: self.zone.clone(),
        }
    }

    /// Seconds since the epoch as the zone's clocks show them.
    fn local_secs(&self) -> i64 {
        self.secs.saturating_add(i64::from(self.offset()))
    }

    /// Seconds east of UTC.
    pub(super) fn offset(&self) -> i32 {
        self.zone.offset_at(self.secs)
    }

    pub(super) fn date(&self) -> Date {
        date_of(self.local_secs().div_euclid(DAY))
    }

    pub(super) fn clock(&self) -> Clock {
        let secs = self.local_secs().rem_euclid(DAY);
        Clock {
            hour: (secs / 3_600) as u8,
            minute: (secs / 60 % 60) as u8,
            second: (secs % 60) as u8,
        }
    }

    /// As Go prints it.
    pub(super) fn print(&self, out: &mut Vec<u8>) {
        format(out, self, b"2006-01-02 15:04:05.999999999 -0700 MST");
    }

    /// As Go's `%#v` prints it.
    pub(super) fn print_go(&self, out: &mut Vec<u8>) {
        let (date, clock) = (self.date(), self.clock());
        let location = match &self.zone {
            zone if zone.is_utc() => "time.UTC".to_owned(),
            zone => format!(
                "time.Location({})",
                crate::format::quote(zone.name().as_bytes())
            ),
        };
        out.extend_from_slice(
            format!(
                "time.Date({}, time.{}, {}, {}, {}, {}, {}, {location})",
                date.year,
                month_name(i64::from(date.month)),
                date.day,
                clock.hour,
                clock.minute,
                clock.second,
                self.nanos
            )
            .as_bytes(),
        );
    }
}

/// Keeps date arithmetic far from the ends of 64 bits.
fn clamp(value: i64) -> i64 {
    value.clamp(-1 << 38, 1 << 38)
}

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(super) const WEEKDAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];

/// Go's name of a month, 1 to 12.
pub(super) fn month_name(month: i64) -> Arc<str> {
    let index = month.checked_sub(1).and_then(|i| usize::try_from(i).ok());
    match index.and_then(|i| MONTHS.get(i)) {
        Some(name) => (*name).into(),
        None => format!("%!Month({})", month as u64).into(),
    }
}

/// Go's name of a weekday, 0 to 6.
pub(super) fn weekday_name(day: i64) -> Arc<str> {
    match usize::try_from(day).ok().and_then(|i| WEEKDAYS.get(i)) {
        Some(name) => (*name).into(),
        None => format!("%!Weekday({})", day as u64).into(),
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days before a month (1 to 13) of a year without a leap day.
const BEFORE_MONTH: [u16; 13] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365];

fn days_in(month: u8, year: i64) -> u8 {
    let leap = u8::from(month == 2 && is_leap(year));
    let index = usize::from(month.clamp(1, 12));
    (BEFORE_MONTH[index] - BEFORE_MONTH[index - 1]) as u8 + leap
}

/// Days since the epoch of a date of the Gregorian calendar, which is taken to have been in use for ever.
pub(super) fn days_of(year: i64, month: u8, day: u8) -> i64 {
    let before = year - 1;
    let leaps = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    let index = usize::from(month.clamp(1, 12)) - 1;
    let leap = i64::from(month > 2 && is_leap(year));
    // The year 1 began 719162 days before the epoch.
    before * 365 + leaps + i64::from(BEFORE_MONTH[index]) + leap + i64::from(day) - 1 - 719_162
}

/// The date of a day given in days since the epoch.
pub(super) fn date_of(days: i64) -> Date {
    let since = i128::from(days) + 719_162;
    let (cycle, rest) = (since.div_euclid(146_097), since.rem_euclid(146_097) as i64);
    let centuries = (rest / 36_524).min(3);
    let rest = rest - centuries * 36_524;
    let fours = rest / 1_461;
    let rest = rest - fours * 1_461;
    let years = (rest / 365).min(3);
    let year_day = rest - years * 365;
    let year = cycle as i64 * 400 + centuries * 100 + fours * 4 + years + 1;
    let leap = i64::from(is_leap(year));
    let mut month = 1;
    let starts = |month: usize| i64::from(BEFORE_MONTH[month]) + if month >= 2 { leap } else { 0 };
    while month < 12 && starts(month) <= year_day {
        month += 1;
    }
    Date {
        year,
        month: month as u8,
        day: (year_day - starts(month - 1)) as u8 + 1,
        year_day: year_day as u16 + 1,
        weekday: (days + 4).rem_euclid(7) as u8,
    }
}
