//! Go's time layouts: a layout shows how the reference time (Mon Jan 2 15:04:05 MST 2006) would be written.

use super::zone::Zone;
use super::{Clock, DAY, Date, MONTHS, Time, WEEKDAYS, days_in, days_of, is_leap};

/// A field of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekday,
    Weekday,
    Day,
    UnderDay,
    ZeroDay,
    UnderYearDay,
    ZeroYearDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    ZoneName,
    /// `Z` for UTC.
    Offset {
        z: bool,
        colon: bool,
        /// Minutes and seconds are written.
        parts: u8,
    },
    /// `.000` or `,999`: the point, digits, and whether trailing zeros are cut.
    Fraction(u8, usize, bool),
}

/// Fields that are recognised by their text alone; of two that fit, the first counts.
const FIELDS: [(&[u8], Field); 33] = [
    (b"January", Field::LongMonth),
    (b"Jan", Field::Month),
    (b"Monday", Field::LongWeekday),
    (b"Mon", Field::Weekday),
    (b"MST", Field::ZoneName),
    (b"01", Field::ZeroMonth),
    (b"02", Field::ZeroDay),
    (b"03", Field::ZeroHour12),
    (b"04", Field::ZeroMinute),
    (b"05", Field::ZeroSecond),
    (b"06", Field::Year),
    (b"002", Field::ZeroYearDay),
    (b"15", Field::Hour),
    (b"1", Field::NumMonth),
    (b"2006", Field::LongYear),
    (b"2", Field::Day),
    (b"_2", Field::UnderDay),
    (b"__2", Field::UnderYearDay),
    (b"3", Field::Hour12),
    (b"4", Field::Minute),
    (b"5", Field::Second),
    (b"PM", Field::UpperPm),
    (b"pm", Field::LowerPm),
    (b"-070000", offset(false, false, 2)),
    (b"-07:00:00", offset(false, true, 2)),
    (b"-0700", offset(false, false, 1)),
    (b"-07:00", offset(false, true, 1)),
    (b"-07", offset(false, false, 0)),
    (b"Z070000", offset(true, false, 2)),
    (b"Z07:00:00", offset(true, true, 2)),
    (b"Z0700", offset(true, false, 1)),
    (b"Z07:00", offset(true, true, 1)),
    (b"Z07", offset(true, false, 0)),
];

const fn offset(z: bool, colon: bool, parts: u8) -> Field {
    Field::Offset { z, colon, parts }
}

/// What a layout begins with.
struct Piece<'l> {
    literal: &'l [u8],
    field: Option<Field>,
    rest: &'l [u8],
}

/// Splits a layout behind its first field.
fn next_piece(layout: &[u8]) -> Piece<'_> {
    let mut at = 0;
    while at < layout.len() {
        let begins = matches!(
            layout[at],
            b'0'..=b'6' | b'J' | b'M' | b'P' | b'p' | b'Z' | b'-' | b'_' | b'.' | b','
        );
        if begins && let Some((field, len, skip)) = field_at(&layout[at..]) {
            return Piece {
                literal: &layout[..at + skip],
                field: Some(field),
                rest: &layout[at + skip + len..],
            };
        }
        at += 1;
    }
    Piece {
        literal: layout,
        field: None,
        rest: &[],
    }
}

/// The field at the head, its length, and how many literal bytes stand before it.
fn field_at(layout: &[u8]) -> Option<(Field, usize, usize)> {
    if layout.starts_with(b"_2006") {
        return Some((Field::LongYear, 4, 1));
    }
    if let [point @ (b'.' | b','), digit @ (b'0' | b'9'), ..] = layout {
        let len = layout[1..].iter().take_while(|b| *b == digit).count();
        let ends = !layout.get(1 + len).is_some_and(u8::is_ascii_digit);
        return ends.then_some((Field::Fraction(*point, len, *digit == b'9'), 1 + len, 0));
    }
    let first = *layout.first()?;
    let fits = |text: &[u8]| text[0] == first && layout.starts_with(text);
    let (text, field) = FIELDS.iter().find(|(text, _)| fits(text))?;
    let word = matches!(field, Field::Month | Field::Weekday);
    if word && layout.get(3).is_some_and(u8::is_ascii_lowercase) {
        return None;
    }
    Some((*field, text.len(), 0))
}

/// Writes a time as the layout shows it.
pub(in crate::template) fn format(out: &mut Vec<u8>, time: &Time, mut layout: &[u8]) {
    let (date, clock) = (time.date(), time.clock());
    loop {
        let piece = next_piece(layout);
        out.extend_from_slice(piece.literal);
        let Some(field) = piece.field else {
            return;
        };
        match field {
            Field::ZoneName | Field::Offset { .. } => format_zone(out, time, field),
            Field::Fraction(point, digits, trim) => {
                format_fraction(out, time.nanos, point, digits, trim);
            }
            _ => format_field(out, field, date, clock),
        }
        layout = piece.rest;
    }
}

/// At least `width` digits, zeros in front.
fn zeros(out: &mut Vec<u8>, value: i64, width: usize) {
    if value < 0 {
        out.push(b'-');
    }
    let mut rest = value.unsigned_abs();
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while rest > 0 || digits.len() - at < width {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    out.extend_from_slice(&digits[at..]);
}

fn blanks(out: &mut Vec<u8>, value: i64, width: usize) {
    out.extend_from_slice(format!("{value:width$}").as_bytes());
}

fn format_field(out: &mut Vec<u8>, field: Field, date: Date, clock: Clock) {
    let month = MONTHS[usize::from(date.month - 1)];
    let weekday = WEEKDAYS[usize::from(date.weekday)];
    let hour = i64::from(clock.hour);
    let hour12 = (hour + 11) % 12 + 1;
    let pm = clock.hour >= 12;
    match field {
        Field::LongMonth => out.extend_from_slice(month.as_bytes()),
        Field::Month => out.extend_from_slice(&month.as_bytes()[..3]),
        Field::LongWeekday => out.extend_from_slice(weekday.as_bytes()),
        Field::Weekday => out.extend_from_slice(&weekday.as_bytes()[..3]),
        Field::NumMonth => zeros(out, i64::from(date.month), 1),
        Field::ZeroMonth => zeros(out, i64::from(date.month), 2),
        Field::Day => zeros(out, i64::from(date.day), 1),
        Field::UnderDay => blanks(out, i64::from(date.day), 2),
        Field::ZeroDay => zeros(out, i64::from(date.day), 2),
        Field::UnderYearDay => blanks(out, i64::from(date.year_day), 3),
        Field::ZeroYearDay => zeros(out, i64::from(date.year_day), 3),
        Field::Hour => zeros(out, hour, 2),
        Field::Hour12 => zeros(out, hour12, 1),
        Field::ZeroHour12 => zeros(out, hour12, 2),
        Field::Minute => zeros(out, i64::from(clock.minute), 1),
        Field::ZeroMinute => zeros(out, i64::from(clock.minute), 2),
        Field::Second => zeros(out, i64::from(clock.second), 1),
        Field::ZeroSecond => zeros(out, i64::from(clock.second), 2),
        Field::LongYear => zeros(out, date.year, 4),
        Field::Year => zeros(out, date.year.abs() % 100, 2),
        Field::UpperPm => out.extend_from_slice(if pm { b"PM" } else { b"AM" }),
        Field::LowerPm => out.extend_from_slice(if pm { b"pm" } else { b"am" }),
        Field::ZoneName | Field::Offset { .. } | Field::Fraction(..) => {}
    }
}

fn format_zone(out: &mut Vec<u8>, time: &Time, field: Field) {
    let offset = time.offset();
    let (z, colon, parts) = match field {
        Field::Offset { z, colon, parts } => (z, colon, parts),
        _ => {
            let name = time.zone.abbreviation_at(time.secs);
            if !name.is_empty() {
                out.extend_from_slice(name.as_bytes());
                return;
            }
            (false, false, 1)
        }
    };
    if z && offset == 0 {
        out.push(b'Z');
        return;
    }
    let abs = i64::from(offset.unsigned_abs());
    // Go looks at whole minutes for the sign.
    out.push(if offset / 60 < 0 { b'-' } else { b'+' });
    for part in [abs / 3_600, abs / 60 % 60, abs % 60]
        .into_iter()
        .take(1 + usize::from(parts))
        .enumerate()
    {
        if colon && part.0 > 0 {
            out.push(b':');
        }
        zeros(out, part.1, 2);
    }
}

fn format_fraction(out: &mut Vec<u8>, nanos: u32, point: u8, digits: usize, trim: bool) {
    let text = format!("{nanos:09}");
    let mut text = &text[..digits.min(9)];
    if trim {
        text = text.trim_end_matches('0');
        if text.is_empty() {
            return;
        }
    }
    out.push(point);
    out.extend_from_slice(text.as_bytes());
}

/// What parsing has found so far.
#[derive(Debug)]
struct Found {
    year: i64,
    month: Option<u8>,
    day: Option<u8>,
    year_day: Option<u16>,
    hour: u8,
    minute: u8,
    second: u8,
    nanos: u32,
    /// Afternoon, or forenoon.
    pm: Option<bool>,
    utc: bool,
    offset: Option<i32>,
    zone_name: String,
}

/// Reads a time that is written as the layout shows; without a zone in the text it is one of `zone`. `None`: it does
/// not fit.
pub(in crate::template) fn parse(layout: &[u8], text: &[u8], zone: &Zone) -> Option<Time> {
    let mut found = Found {
        year: 0,
        month: None,
        day: None,
        year_day: None,
        hour: 0,
        minute: 0,
        second: 0,
        nanos: 0,
        pm: None,
        utc: false,
        offset: None,
        zone_name: String::new(),
    };
    let mut layout = layout;
    let mut text = text;
    loop {
        let piece = next_piece(layout);
        skip_literal(&mut text, piece.literal)?;
        let Some(field) = piece.field else {
            if !text.is_empty() {
                return None;
            }
            break;
        };
        layout = piece.rest;
        found.read(field, &mut text, layout)?;
    }
    found.time(zone)
}

/// Passes the text between fields; blanks match any number of blanks.
fn skip_literal(text: &mut &[u8], mut literal: &[u8]) -> Option<()> {
    let blanks = |text: &[u8]| text.iter().take_while(|b| **b == b' ').count();
    while let Some(byte) = literal.first() {
        if *byte == b' ' {
            if text.first().is_some_and(|b| *b != b' ') {
                return None;
            }
            literal = &literal[blanks(literal)..];
            *text = &text[blanks(text)..];
            continue;
        }
        *text = text.strip_prefix(&[*byte])?;
        literal = &literal[1..];
    }
    Some(())
}

/// Exactly `len` bytes.
fn take<'t>(text: &mut &'t [u8], len: usize) -> Option<&'t [u8]> {
    let (head, rest) = text.split_at_checked(len)?;
    *text = rest;
    Some(head)
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0u32, |value, b| {
        let digit = char::from(*b).to_digit(10)?;
        value.checked_mul(10)?.checked_add(digit)
    })
}

/// One or two digits; exactly two if `fixed`.
fn pair(text: &mut &[u8], fixed: bool) -> Option<u8> {
    let len = text
        .iter()
        .take(2)
        .take_while(|b| b.is_ascii_digit())
        .count();
    if len == 0 || (fixed && len == 1) {
        return None;
    }
    digits(take(text, len)?).map(|value| value as u8)
}

fn within(value: u8, end: u8) -> Option<u8> {
    (value < end).then_some(value)
}

/// A name of a table, in any case, and its index.
fn lookup(text: &mut &[u8], names: &[&str], len: Option<usize>) -> Option<u8> {
    for (i, name) in names.iter().enumerate() {
        let name = &name.as_bytes()[..len.unwrap_or(name.len())];
        let head = text.get(..name.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(name)) {
            *text = &text[name.len()..];
            return Some(i as u8);
        }
    }
    None
}

impl Found {
    fn read(&mut self, field: Field, text: &mut &[u8], rest: &[u8]) -> Option<()> {
        match field {
            Field::Year => {
                let year = i64::from(digits(take(text, 2)?)?);
                self.year = year + if year >= 69 { 1_900 } else { 2_000 };
            }
            Field::LongYear => self.year = i64::from(digits(take(text, 4)?)?),
            Field::Month => self.month = Some(lookup(text, &MONTHS, Some(3))? + 1),
            Field::LongMonth => self.month = Some(lookup(text, &MONTHS, None)? + 1),
            Field::NumMonth | Field::ZeroMonth => {
                let month = pair(text, field == Field::ZeroMonth)?;
                self.month = Some(within(month, 13).filter(|month| *month > 0)?);
            }
            Field::Weekday => drop(lookup(text, &WEEKDAYS, Some(3))?),
            Field::LongWeekday => drop(lookup(text, &WEEKDAYS, None)?),
            Field::Day | Field::UnderDay | Field::ZeroDay => {
                if field == Field::UnderDay && text.first() == Some(&b' ') {
                    *text = &text[1..];
                }
                self.day = Some(pair(text, field == Field::ZeroDay)?);
            }
            Field::UnderYearDay | Field::ZeroYearDay => self.read_year_day(field, text)?,
            Field::Hour => self.hour = within(pair(text, false)?, 24)?,
            Field::Hour12 | Field::ZeroHour12 => {
                self.hour = within(pair(text, field == Field::ZeroHour12)?, 13)?;
            }
            Field::Minute | Field::ZeroMinute => {
                self.minute = within(pair(text, field == Field::ZeroMinute)?, 60)?;
            }
            Field::Second | Field::ZeroSecond => {
                self.second = within(pair(text, field == Field::ZeroSecond)?, 60)?;
                self.read_unasked_fraction(text, rest)?;
            }
            Field::UpperPm | Field::LowerPm => {
                let word = take(text, 2)?;
                let upper = field == Field::UpperPm;
                self.pm = Some(match word {
                    b"PM" if upper => true,
                    b"pm" if !upper => true,
                    b"AM" if upper => false,
                    b"am" if !upper => false,
                    _ => return None,
                });
            }
            Field::Offset { z, colon, parts } => self.read_offset(text, z, colon, parts)?,
            Field::ZoneName => self.read_zone_name(text)?,
            Field::Fraction(_, len, trim) => self.read_fraction(text, len, trim)?,
        }
        Some(())
    }

    fn read_year_day(&mut self, field: Field, text: &mut &[u8]) -> Option<()> {
        let under = field == Field::UnderYearDay;
        for _ in 0..2 {
            if under && text.first() == Some(&b' ') {
                *text = &text[1..];
            }
        }
        let len = text
            .iter()
            .take(3)
            .take_while(|b| b.is_ascii_digit())
            .count();
        if len == 0 || (!under && len < 3) {
            return None;
        }
        self.year_day = Some(digits(take(text, len)?)? as u16);
        Some(())
    }

    /// A fraction behind the seconds although the layout has none there.
    fn read_unasked_fraction(&mut self, text: &mut &[u8], rest: &[u8]) -> Option<()> {
        let point = matches!(text.first(), Some(b'.' | b','));
        if !point || !text.get(1).is_some_and(u8::is_ascii_digit) {
            return Some(());
        }
        if matches!(next_piece(rest).field, Some(Field::Fraction(..))) {
            return Some(());
        }
        let len = text[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.read_nanos(text, len)
    }

    fn read_fraction(&mut self, text: &mut &[u8], len: usize, trim: bool) -> Option<()> {
        if !trim {
            return self.read_nanos(text, len);
        }
        let point = matches!(text.first(), Some(b'.' | b','));
        if !point || !text.get(1).is_some_and(u8::is_ascii_digit) {
            return Some(());
        }
        let len = text[1..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.read_nanos(text, len)
    }

    /// A point and digits, of which nine count.
    fn read_nanos(&mut self, text: &mut &[u8], len: usize) -> Option<()> {
        let part = take(text, 1 + len)?;
        if !matches!(part[0], b'.' | b',') || !part[1..].iter().all(u8::is_ascii_digit) {
            return None;
        }
        let counted = &part[1..part.len().min(10)];
        self.nanos = digits(counted)? * 10u32.pow(9 - counted.len() as u32);
        Some(())
    }

    fn read_offset(&mut self, text: &mut &[u8], z: bool, colon: bool, parts: u8) -> Option<()> {
        if z && text.first() == Some(&b'Z') {
            *text = &text[1..];
            self.utc = true;
            return Some(());
        }
        let sign = match take(text, 1)? {
            b"+" => 1,
            b"-" => -1,
            _ => return None,
        };
        let mut offset = 0;
        for (i, unit) in [3_600, 60, 1]
            .into_iter()
            .take(1 + usize::from(parts))
            .enumerate()
        {
            if colon && i > 0 {
                *text = text.strip_prefix(b":")?;
            }
            let value = pair(text, true)?;
            within(value, if i == 0 { 25 } else { 61 })?;
            offset += i32::from(value) * unit;
        }
        self.offset = Some(sign * offset);
        Some(())
    }

    fn read_zone_name(&mut self, text: &mut &[u8]) -> Option<()> {
        if let Some(rest) = text.strip_prefix(b"UTC") {
            *text = rest;
            self.utc = true;
            return Some(());
        }
        let len = zone_name_len(text)?;
        self.zone_name = String::from_utf8_lossy(take(text, len)?).into_owned();
        Some(())
    }

    /// Hour and date put right, or `None` if there is no such date.
    fn complete(&mut self) -> Option<(u8, u8)> {
        match self.pm {
            Some(true) if self.hour < 12 => self.hour += 12,
            Some(false) if self.hour == 12 => self.hour = 0,
            _ => {}
        }
        if let Some(year_day) = self.year_day {
            let length = 365 + u16::from(is_leap(self.year));
            if !(1..=length).contains(&year_day) {
                return None;
            }
            let date = super::date_of(days_of(self.year, 1, 1) + i64::from(year_day) - 1);
            let differs = |own: Option<u8>, other: u8| own.is_some_and(|own| own != other);
            if differs(self.month, date.month) || differs(self.day, date.day) {
                return None;
            }
            self.month = Some(date.month);
            self.day = Some(date.day);
        }
        let month = self.month.unwrap_or(1);
        let day = self.day.unwrap_or(1);
        (1..=days_in(month, self.year))
            .contains(&day)
            .then_some((month, day))
    }

    fn time(mut self, zone: &Zone) -> Option<Time> {
        let (month, day) = self.complete()?;
        let clock =
            i64::from(self.hour) * 3_600 + i64::from(self.minute) * 60 + i64::from(self.second);
        let local = days_of(self.year, month, day) * DAY + clock;
        let time = |secs: i64, zone: Zone| Time {
            secs,
            nanos: self.nanos,
            zone,
        };
        if self.utc {
            return Some(time(local, Zone::UTC));
        }
        let name = self.zone_name.as_str();
        if let Some(offset) = self.offset {
            let secs = local - i64::from(offset);
            let own = zone.offset_at(secs) == offset
                && (name.is_empty() || *zone.abbreviation_at(secs) == *name);
            let shown = if own {
                zone.clone()
            } else {
                Zone::fixed(offset, name)
            };
            return Some(time(secs, shown));
        }
        if name.is_empty() {
            return Some(time(zone.to_utc(local), zone.clone()));
        }
        if let Some(offset) = zone.offset_of(name, local) {
            return Some(time(local - i64::from(offset), zone.clone()));
        }
        // A name that means nothing here: its offset is taken to be 0. `GMT+3` shows its hours, but does not move the
        // instant: so does Go.
        let hours = name
            .strip_prefix("GMT")
            .and_then(|text| text.parse::<i32>().ok());
        let offset = hours.unwrap_or(0) * 3_600;
        Some(time(local, Zone::fixed(offset, name)))
    }
}

/// The length of a zone's name at the head: three to five capitals, or an offset.
fn zone_name_len(text: &[u8]) -> Option<usize> {
    if text.len() < 3 {
        return None;
    }
    if text.starts_with(b"ChST") || text.starts_with(b"MeST") {
        return Some(4);
    }
    if text.starts_with(b"GMT") {
        return Some(3 + signed_hours_len(&text[3..]));
    }
    if matches!(text[0], b'+' | b'-') {
        return Some(signed_hours_len(text)).filter(|len| *len > 0);
    }
    let capitals = text
        .iter()
        .take(6)
        .take_while(|b| b.is_ascii_uppercase())
        .count();
    let fits = match capitals {
        3 => true,
        4 => text[3] == b'T' || text.starts_with(b"WITA"),
        5 => text[4] == b'T',
        _ => false,
    };
    fits.then_some(capitals)
}

/// The length of `+3` or `-11` at the head; 0 if there is none.
fn signed_hours_len(text: &[u8]) -> usize {
    if !matches!(text.first(), Some(b'+' | b'-')) {
        return 0;
    }
    let len = text[1..].iter().take_while(|b| b.is_ascii_digit()).count();
    match digits(&text[1..1 + len]) {
        Some(hours) if len > 0 && hours <= 23 => 1 + len,
        _ => 0,
    }
}
