//! Loki's functions, by theme.

mod arithmetic;
mod case;
mod dates;
mod decimal;
mod encoding;
mod regex;
mod text;

pub(super) use arithmetic::NUMBERS;
pub(super) use dates::DATES;
pub(super) use encoding::{ENCODING, query_escape};
pub(super) use regex::REGEX;
pub(super) use text::TEXT;

use super::call::{Args, Env, Function, Outcome, Param, TIMESTAMP, fixed, variadic};
use super::json;
use super::time::Time;
use super::value::Value;

pub(super) static OTHERS: [Function; 5] = [
    fixed(super::call::LINE, &[], |env, _| {
        Ok(Value::borrowed(env.context.line()))
    }),
    fixed(TIMESTAMP, &[], |env, _| {
        Ok(Value::Time(Time::unix(0, env.context.timestamp())))
    }),
    fixed("now", &[], |env, _| {
        Ok(Value::Time(Time::unix(0, env.context.now())))
    }),
    variadic("default", &[Param::Any], Param::Any, default),
    fixed("fromJson", &[Param::Text], from_json),
];

/// The second argument, unless it is empty: a time never is.
fn default<'a>(_: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    if args.len() > 1 {
        let value = args.take(1);
        if value.is_true() {
            return Ok(value);
        }
    }
    Ok(args.take(0))
}

fn from_json<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let text = args.text(0);
    // A value takes more memory than its text: up to twenty times for lists of nothing.
    env.charge(text.len() as u64 * 2)?;
    match json::decode(text) {
        Ok(value) => Ok(Value::Element(value)),
        Err(json::Fault::Invalid) => Ok(Value::Nothing),
        Err(fault) => Err(fault.text()),
    }
}
