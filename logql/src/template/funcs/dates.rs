//! Functions on times. Where a zone is not named it is UTC.

use crate::template::call::{Args, Env, Function, Outcome, Param, fixed};
use crate::template::numbers::parse_int;
use crate::template::time::{self, Time, Zone};
use crate::template::value::{IntType, Value};

use Param::{Any, Text as Str, Time as Instant};

pub(in crate::template) static DATES: [Function; 7] = [
    fixed("date", &[Str, Any], date),
    fixed("toDate", &[Str, Str], |env, args| {
        parse(env, args.text(0), args.text(1), &Zone::UTC)
    }),
    fixed("toDateInZone", &[Str, Str, Str], |env, args| {
        let name = String::from_utf8_lossy(args.text(1));
        let zone = env.scratch.zones.get(&name).unwrap_or(Zone::UTC);
        parse(env, args.text(0), args.text(2), &zone)
    }),
    fixed("unixToTime", &[Str], unix_to_time),
    fixed("unixEpoch", &[Instant], |_, args| shown(args.time(0).secs)),
    fixed("unixEpochMillis", &[Instant], |_, args| {
        let time = args.time(0);
        let millis = i64::from(time.nanos / 1_000_000);
        shown(time.secs.wrapping_mul(1_000).wrapping_add(millis))
    }),
    fixed("unixEpochNanos", &[Instant], |_, args| {
        shown(args.time(0).unix_nanos())
    }),
];

fn shown<'a>(number: i64) -> Outcome<'a> {
    Ok(Value::owned(number.to_string().into_bytes()))
}

/// A time in a layout. Integers are seconds; what is no time means now.
fn date<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let time = match args.take(1) {
        Value::Time(time) => time,
        Value::Int(IntType::Int | IntType::Int64, secs) => Time::unix(secs, 0),
        _ => Time::unix(0, env.context.now()),
    };
    let layout = args.text(0);
    // A field is at most sixteen times as long as its token.
    env.check_length(layout.len().saturating_mul(16))?;
    env.charge(layout.len() as u64)?;
    let mut out = env.scratch.take();
    time::format(&mut out, &time.in_zone(Zone::UTC), layout);
    Ok(Value::owned(out))
}

/// A time written in a layout; the zero time if it is not.
fn parse<'a>(env: &mut Env<'a, '_>, layout: &[u8], text: &[u8], zone: &Zone) -> Outcome<'a> {
    env.charge(layout.len() as u64)?;
    env.charge_bytes(text.len())?;
    let time = time::parse(layout, text, zone);
    Ok(Value::Time(time.unwrap_or_else(Time::zero)))
}

/// Days, seconds, or parts of a second, as the length of the text says.
fn unix_to_time<'a>(_: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let text = args.text(0);
    let fault = |why: &str| {
        let text = String::from_utf8_lossy(text);
        Err(format!("unable to parse time '{text}': {why}"))
    };
    let number = match parse_int(text, 10) {
        Ok(number) => number,
        Err(why) => return fault(&why.text(text)),
    };
    Ok(Value::Time(match text.len() {
        5 => Time::unix(number * 86_400, 0),
        10 => Time::unix(number, 0),
        13 => Time::unix(0, number * 1_000_000),
        16 => Time::unix(0, number * 1_000),
        19 => Time::unix(0, number),
        // What Go makes of an error that is not there.
        _ => return fault("%!w(<nil>)"),
    }))
}
