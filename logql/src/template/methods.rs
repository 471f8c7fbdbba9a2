//! Methods of Go's time types, which templates call like fields: `__timestamp__.Unix`.
//!
//! The receiver is the first argument. Left out are methods for encodings and for monotonic clocks.

use super::call::{Args, Body, Function, Outcome, Param, fixed, int};
use super::time::{Time, Zone, format, month_name, weekday_name};
use super::value::{IntType, Text, Value};
use crate::format::go_duration;

use Param::{Duration as Span, Int, Text as Str, Time as Instant};

/// The method of a value.
pub(super) fn find(receiver: &Value<'_>, name: &str) -> Option<&'static Function> {
    let methods: &'static [Function] = match receiver {
        Value::Time(_) => &TIME,
        Value::Int(IntType::Duration, _) => &DURATION,
        Value::Int(IntType::Month | IntType::Weekday, _) => &NAMED,
        Value::Location(_) => &NAMED,
        _ => return None,
    };
    methods.iter().find(|method| method.name == name)
}

const fn refused(name: &'static str, why: &'static str) -> Function {
    Function {
        name,
        params: &[],
        rest: None,
        body: Body::Refused(why),
    }
}

fn number<'a>(kind: IntType, number: i64) -> Outcome<'a> {
    Ok(Value::Int(kind, number))
}

fn shown<'a>(text: impl AsRef<[u8]>) -> Outcome<'a> {
    Ok(Value::owned(text.as_ref().to_vec()))
}

fn written<'a>(write: impl FnOnce(&mut Vec<u8>)) -> Outcome<'a> {
    let mut out = Vec::new();
    write(&mut out);
    Ok(Value::owned(out))
}

static TIME: [Function; 40] = [
    fixed("Add", &[Span], |_, args| {
        Ok(Value::Time(args.time(0).add(args.int(1))))
    }),
    fixed("AddDate", &[Int, Int, Int], |_, args| {
        let date = args.time(0).add_date(args.int(1), args.int(2), args.int(3));
        Ok(Value::Time(date))
    }),
    fixed("After", &[Instant], |_, args| {
        Ok(Value::Bool(args.time(0).instant() > args.time(1).instant()))
    }),
    fixed("Before", &[Instant], |_, args| {
        Ok(Value::Bool(args.time(0).instant() < args.time(1).instant()))
    }),
    fixed("Equal", &[Instant], |_, args| {
        Ok(Value::Bool(
            args.time(0).instant() == args.time(1).instant(),
        ))
    }),
    fixed("Compare", &[Instant], |_, args| {
        int(args.time(0).instant().cmp(&args.time(1).instant()) as i64)
    }),
    fixed("Sub", &[Instant], |_, args| {
        number(IntType::Duration, args.time(0).sub(&args.time(1)))
    }),
    fixed("Round", &[Span], |_, args| {
        Ok(Value::Time(args.time(0).round(args.int(1))))
    }),
    fixed("Truncate", &[Span], |_, args| {
        Ok(Value::Time(args.time(0).truncate(args.int(1))))
    }),
    fixed("Format", &[Str], |env, args| {
        let layout = args.text(1);
        // A layout grows by less than a factor of sixteen.
        env.check_length(layout.len().saturating_mul(16))?;
        env.charge(layout.len() as u64)?;
        written(|out| format(out, &args.time(0), args.text(1)))
    }),
    fixed("String", &[], |_, args| {
        written(|out| args.time(0).print(out))
    }),
    fixed("GoString", &[], |_, args| {
        written(|out| args.time(0).print_go(out))
    }),
    fixed("Year", &[], |_, args| int(args.time(0).date().year)),
    fixed("Month", &[], |_, args| {
        number(IntType::Month, i64::from(args.time(0).date().month))
    }),
    fixed("Day", &[], |_, args| {
        int(i64::from(args.time(0).date().day))
    }),
    fixed("YearDay", &[], |_, args| {
        int(i64::from(args.time(0).date().year_day))
    }),
    fixed("Weekday", &[], |_, args| {
        number(IntType::Weekday, i64::from(args.time(0).date().weekday))
    }),
    fixed("Hour", &[], |_, args| {
        int(i64::from(args.time(0).clock().hour))
    }),
    fixed("Minute", &[], |_, args| {
        int(i64::from(args.time(0).clock().minute))
    }),
    fixed("Second", &[], |_, args| {
        int(i64::from(args.time(0).clock().second))
    }),
    fixed("Nanosecond", &[], |_, args| {
        int(i64::from(args.time(0).nanos))
    }),
    fixed("Unix", &[], |_, args| {
        number(IntType::Int64, args.time(0).secs)
    }),
    fixed("UnixMilli", &[], |_, args| {
        number(IntType::Int64, scaled(&args.time(0), 1_000))
    }),
    fixed("UnixMicro", &[], |_, args| {
        number(IntType::Int64, scaled(&args.time(0), 1_000_000))
    }),
    fixed("UnixNano", &[], |_, args| {
        number(IntType::Int64, args.time(0).unix_nanos())
    }),
    fixed("UTC", &[], |_, args| {
        Ok(Value::Time(args.time(0).in_zone(Zone::UTC)))
    }),
    fixed("Local", &[], |_, args| {
        Ok(Value::Time(args.time(0).in_zone(Zone::UTC)))
    }),
    fixed("Location", &[], |_, args| {
        Ok(Value::Location(args.time(0).zone))
    }),
    fixed("IsZero", &[], |_, args| {
        Ok(Value::Bool(
            args.time(0).instant() == Time::zero().instant(),
        ))
    }),
    fixed("IsDST", &[], |_, args| {
        let time = args.time(0);
        Ok(Value::Bool(time.zone.is_dst_at(time.secs)))
    }),
    refused(
        "Clock",
        "function Clock has 3 return values; should be 1 or 2",
    ),
    refused(
        "Date",
        "function Date has 3 return values; should be 1 or 2",
    ),
    refused(
        "ISOWeek",
        "invalid function signature for ISOWeek: second return value should be error; is int",
    ),
    refused(
        "Zone",
        "invalid function signature for Zone: second return value should be error; is int",
    ),
    refused(
        "ZoneBounds",
        "invalid function signature for ZoneBounds: second return value should be error; is time.Time",
    ),
    refused("GobEncode", UNSUPPORTED),
    refused("MarshalBinary", UNSUPPORTED),
    refused("MarshalJSON", UNSUPPORTED),
    refused("MarshalText", UNSUPPORTED),
    refused("In", UNSUPPORTED),
];

const UNSUPPORTED: &str = "this method of time.Time is not supported";

/// A time in parts of a second, wrapping around as Go's do.
fn scaled(time: &Time, per_second: i64) -> i64 {
    let part = i64::from(time.nanos) / (1_000_000_000 / per_second);
    time.secs.wrapping_mul(per_second).wrapping_add(part)
}

static DURATION: [Function; 10] = [
    fixed("String", &[], |_, args| shown(go_duration(args.int(0)))),
    fixed("Hours", &[], |_, args| parts(args, 3_600_000_000_000)),
    fixed("Minutes", &[], |_, args| parts(args, 60_000_000_000)),
    fixed("Seconds", &[], |_, args| parts(args, 1_000_000_000)),
    fixed("Milliseconds", &[], |_, args| {
        number(IntType::Int64, args.int(0) / 1_000_000)
    }),
    fixed("Microseconds", &[], |_, args| {
        number(IntType::Int64, args.int(0) / 1_000)
    }),
    fixed("Nanoseconds", &[], |_, args| {
        number(IntType::Int64, args.int(0))
    }),
    fixed("Abs", &[], |_, args| {
        let span = args.int(0).checked_abs().unwrap_or(i64::MAX);
        number(IntType::Duration, span)
    }),
    fixed("Truncate", &[Span], |_, args| {
        let (span, step) = (args.int(0), args.int(1));
        let rest = if step > 0 { span % step } else { 0 };
        number(IntType::Duration, span - rest)
    }),
    fixed("Round", &[Span], |_, args| {
        number(IntType::Duration, round(args.int(0), args.int(1)))
    }),
];

/// A duration in a unit, as Go computes it: whole units and the rest apart.
fn parts<'a>(args: &Args<'a>, unit: i64) -> Outcome<'a> {
    let span = args.int(0);
    let whole = (span / unit) as f64;
    Ok(Value::Float(whole + (span % unit) as f64 / unit as f64))
}

/// To the nearest multiple, halves away from zero.
fn round(span: i64, step: i64) -> i64 {
    if step <= 0 {
        return span;
    }
    let rest = (span % step).unsigned_abs();
    let down = span - span % step;
    if rest < step.unsigned_abs() - rest {
        return down;
    }
    if span < 0 {
        down.saturating_sub(step)
    } else {
        down.saturating_add(step)
    }
}

static NAMED: [Function; 1] = [fixed("String", &[], |_, args| match args.take(0) {
    Value::Int(IntType::Month, month) => Ok(Value::Text(Text::Shared(month_name(month)))),
    Value::Int(_, day) => Ok(Value::Text(Text::Shared(weekday_name(day)))),
    Value::Location(zone) => shown(zone.name()),
    _ => shown(""),
})];
