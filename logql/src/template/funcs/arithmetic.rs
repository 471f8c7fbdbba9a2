//! Functions on numbers. What is given is read as a number where it can be, and is 0 otherwise.

use super::decimal::Decimal;
use crate::format::parse_float;
use crate::template::call::{Args, Env, Function, Outcome, Param, fixed, int, variadic};
use crate::template::numbers::parse_int;
use crate::template::value::{IntType, Value};

use Param::{Any, Float, Int};

pub(in crate::template) static NUMBERS: [Function; 18] = [
    fixed("int", &[Any], |_, args| int(integer(&args.as_slice()[0]))),
    fixed("float64", &[Any], |_, args| {
        Ok(Value::Float(float(&args.as_slice()[0])))
    }),
    variadic("add", &[], Any, |_, args| {
        long(integers(args).fold(0, i64::wrapping_add))
    }),
    fixed("sub", &[Any, Any], |_, args| {
        fold(args, |a, b| Ok(a.wrapping_sub(b)))
    }),
    variadic("mul", &[Any], Any, |_, args| {
        fold(args, |a, b| Ok(a.wrapping_mul(b)))
    }),
    fixed("div", &[Any, Any], |_, args| {
        fold(args, |a, b| nonzero(b).map(|b| a.wrapping_div(b)))
    }),
    fixed("mod", &[Any, Any], |_, args| {
        fold(args, |a, b| nonzero(b).map(|b| a.wrapping_rem(b)))
    }),
    variadic("max", &[Any], Any, |_, args| {
        fold(args, |a, b| Ok(a.max(b)))
    }),
    variadic("min", &[Any], Any, |_, args| {
        fold(args, |a, b| Ok(a.min(b)))
    }),
    variadic("addf", &[], Any, |env, args| {
        decimals(env, args, Some(0.0), Decimal::add)
    }),
    variadic("subf", &[Any], Any, |env, args| {
        decimals(env, args, None, Decimal::sub)
    }),
    variadic("mulf", &[Any], Any, |env, args| {
        decimals(env, args, None, Decimal::mul)
    }),
    variadic("divf", &[Any], Any, |env, args| {
        decimals(env, args, None, Decimal::div)
    }),
    variadic("maxf", &[Any], Any, |_, args| floats(args, max)),
    variadic("minf", &[Any], Any, |_, args| {
        floats(args, |a, b| -max(-a, -b))
    }),
    fixed("ceil", &[Any], |_, args| {
        Ok(Value::Float(float(&args.as_slice()[0]).ceil()))
    }),
    fixed("floor", &[Any], |_, args| {
        Ok(Value::Float(float(&args.as_slice()[0]).floor()))
    }),
    variadic("round", &[Any, Int], Float, round),
];

/// A value as an integer.
fn integer(value: &Value<'_>) -> i64 {
    match value {
        Value::Int(_, number) => *number,
        Value::Float(number) => truncated(*number),
        Value::Bool(value) => i64::from(*value),
        Value::Text(text) => parse_int(without_fraction(text), 0).unwrap_or(0),
        _ => 0,
    }
}

/// A float without its fraction. What no integer holds becomes the smallest one, as on Loki's usual machines.
fn truncated(number: f64) -> i64 {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    if fits { number as i64 } else { i64::MIN }
}

/// What stands before the point, if the text is digits, a point and digits; 0 if nothing does.
fn without_fraction(text: &[u8]) -> &[u8] {
    let Some(point) = memchr::memchr(b'.', text) else {
        return text;
    };
    let (whole, fraction) = (&text[..point], &text[point + 1..]);
    let digits = whole
        .strip_prefix(b"-")
        .or_else(|| whole.strip_prefix(b"+"))
        .unwrap_or(whole);
    if !digits.iter().chain(fraction).all(u8::is_ascii_digit) {
        return text;
    }
    if digits.is_empty() { b"0" } else { whole }
}

/// A value as a float.
fn float(value: &Value<'_>) -> f64 {
    match value {
        Value::Float(number) => *number,
        Value::Text(text) => std::str::from_utf8(text)
            .ok()
            .and_then(|text| parse_float(text).ok())
            .unwrap_or(0.0),
        other => integer(other) as f64,
    }
}

fn integers(args: &Args<'_>) -> impl Iterator<Item = i64> {
    args.as_slice().iter().map(integer)
}

/// A result of type `int64`.
fn long<'a>(number: i64) -> Outcome<'a> {
    Ok(Value::Int(IntType::Int64, number))
}

fn fold<'a>(args: &Args<'a>, step: fn(i64, i64) -> Result<i64, String>) -> Outcome<'a> {
    let mut numbers = integers(args);
    let first = numbers.next().unwrap_or(0);
    long(numbers.try_fold(first, step)?)
}

fn nonzero(divisor: i64) -> Result<i64, String> {
    if divisor == 0 {
        return Err("runtime error: integer divide by zero".to_owned());
    }
    Ok(divisor)
}

/// Exact arithmetic on the decimal digits that floats are written with.
fn decimals<'a>(
    env: &mut Env<'a, '_>,
    args: &Args<'a>,
    start: Option<f64>,
    step: fn(&Decimal, &Decimal) -> Result<Decimal, String>,
) -> Outcome<'a> {
    let mut numbers = start.into_iter().chain(args.as_slice().iter().map(float));
    let mut result = Decimal::from_float(numbers.next().unwrap_or(0.0))?;
    for number in numbers {
        result = step(&result, &Decimal::from_float(number)?)?;
        env.charge(1 + result.size() as u64)?;
    }
    Ok(Value::Float(result.to_float()))
}

fn floats<'a>(args: &Args<'a>, step: fn(f64, f64) -> f64) -> Outcome<'a> {
    let mut numbers = args.as_slice().iter().map(float);
    let first = numbers.next().unwrap_or(0.0);
    Ok(Value::Float(numbers.fold(first, step)))
}

/// Go's `math.Max`: infinity first, then NaN, and 0 is greater than -0.
fn max(a: f64, b: f64) -> f64 {
    if a == f64::INFINITY || b == f64::INFINITY {
        f64::INFINITY
    } else if a.is_nan() || b.is_nan() {
        f64::NAN
    } else if a == 0.0 && b == 0.0 {
        if a.is_sign_negative() { b } else { a }
    } else if a > b {
        a
    } else {
        b
    }
}

/// Up from the fraction that the third argument names, by default a half; the fraction has the number's sign.
fn round<'a>(_: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let on = if args.len() > 2 { args.float(2) } else { 0.5 };
    let places = args.int(1);
    let scale = power_of_ten(places);
    let scaled = scale * float(&args.as_slice()[0]);
    let rounded = if scaled.fract() >= on {
        scaled.ceil()
    } else {
        scaled.floor()
    };
    Ok(Value::Float(rounded / scale))
}

/// The float nearest to a power of ten, as Go's `math.Pow(10, n)` is for the exponents that matter.
fn power_of_ten(exponent: i64) -> f64 {
    format!("1e{}", exponent.clamp(-400, 400))
        .parse()
        .unwrap_or(0.0)
}
