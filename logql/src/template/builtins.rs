//! The functions that Go's templates always have.

use super::call::{Args, Body, Env, Function, Outcome, Param, fixed, int, variadic};
use super::gofmt::{self, TooLong};
use super::value::{IntType, Json, Text, Value, count_labels, map_get};

use Param::{Any, Reflect, Text as Str};

pub(super) static BUILTINS: [Function; 19] = [
    Function {
        name: "and",
        params: &[Reflect],
        rest: Some(Reflect),
        body: Body::Logic(false),
    },
    Function {
        name: "or",
        params: &[Reflect],
        rest: Some(Reflect),
        body: Body::Logic(true),
    },
    Function {
        name: "call",
        params: &[Reflect],
        rest: Some(Reflect),
        body: Body::Call,
    },
    fixed("not", &[Reflect], |_, args| {
        Ok(Value::Bool(!args.as_slice()[0].is_true()))
    }),
    fixed("len", &[Reflect], len),
    variadic("index", &[Reflect], Reflect, index),
    variadic("slice", &[Reflect], Reflect, slice),
    variadic("print", &[], Any, print),
    variadic("println", &[], Any, println),
    variadic("printf", &[Str], Any, printf),
    variadic("html", &[], Any, |env, args| escaped(env, args, html)),
    variadic("js", &[], Any, |env, args| escaped(env, args, js)),
    variadic("urlquery", &[], Any, |env, args| {
        escaped(env, args, super::funcs::query_escape)
    }),
    variadic("eq", &[Reflect], Reflect, |_, args| {
        eq(args).map(Value::Bool)
    }),
    fixed("ne", &[Reflect, Reflect], |_, args| {
        eq(args).map(|equal| Value::Bool(!equal))
    }),
    fixed("lt", &[Reflect, Reflect], |_, args| {
        lt(args).map(Value::Bool)
    }),
    fixed("le", &[Reflect, Reflect], |_, args| {
        le(args).map(Value::Bool)
    }),
    fixed("gt", &[Reflect, Reflect], |_, args| {
        le(args).map(|less| Value::Bool(!less))
    }),
    fixed("ge", &[Reflect, Reflect], |_, args| {
        lt(args).map(|less| Value::Bool(!less))
    }),
];

fn len<'a>(_: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let value = match args.take(0) {
        Value::Element(Json::Null) => return Err("len of nil pointer".to_owned()),
        value => value.unwrap(),
    };
    int(match &value {
        Value::Text(text) => text.len(),
        Value::Labels(labels) => count_labels(*labels),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        Value::Nothing => {
            return Err("reflect: call of reflect.Value.Type on zero Value".to_owned());
        }
        _ => return Err(format!("len of type {}", value.type_name())),
    } as i64)
}

/// An index of a list or string; one past the end is let through.
fn position(index: Value<'_>, len: usize) -> Result<usize, String> {
    let number = match index {
        Value::Int(_, number) => number,
        Value::Nothing => return Err("cannot index slice/array with nil".to_owned()),
        other => {
            let kind = other.type_name();
            return Err(format!("cannot index slice/array with type {kind}"));
        }
    };
    usize::try_from(number)
        .ok()
        .filter(|at| *at <= len)
        .ok_or_else(|| format!("index out of range: {number}"))
}

/// A key of a map.
fn key(index: Value<'_>) -> Result<Text<'_>, String> {
    match index.unwrap() {
        Value::Text(text) => Ok(text),
        Value::Nothing => Err("value is nil; should be of type string".to_owned()),
        other => {
            let kind = other.type_name();
            Err(format!("value has type {kind}; should be string"))
        }
    }
}

fn index<'a>(_: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let mut item = args.take(0);
    if let Value::Nothing | Value::Element(Json::Null) = item {
        return Err("index of untyped nil".to_owned());
    }
    for i in 1..args.len() {
        if let Value::Element(Json::Null) = item {
            return Err("index of nil pointer".to_owned());
        }
        let by = args.take(i);
        item = match item.unwrap() {
            Value::Text(text) => {
                let at = position(by.unwrap(), text.len())?;
                let byte = text.get(at).ok_or("reflect: string index out of range")?;
                Value::Int(IntType::Uint8, i64::from(*byte))
            }
            Value::List(list) => {
                let at = position(by.unwrap(), list.len())?;
                let json = list.get(at);
                Value::Element(json.ok_or("reflect: slice index out of range")?.clone())
            }
            Value::Labels(labels) => {
                let key = key(by)?;
                let value = std::str::from_utf8(&key)
                    .ok()
                    .and_then(|key| labels.label(key));
                Value::borrowed(value.unwrap_or_default())
            }
            Value::Map(map) => Value::Element(map_get(&map, &key(by)?)),
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

fn slice<'a>(_: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let item = args.take(0).unwrap();
    if let Value::Nothing = item {
        return Err("slice of untyped nil".to_owned());
    }
    let count = args.len() - 1;
    if count > 3 {
        return Err(format!("too many slice indexes: {count}"));
    }
    let len = match &item {
        Value::Text(_) if count == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        _ => return Err(format!("can't slice item of type {}", item.type_name())),
    };
    let mut bounds = [0, len, len];
    for (i, bound) in bounds.iter_mut().enumerate().take(count) {
        *bound = position(args.take(i + 1), len)?;
    }
    for pair in bounds.windows(2).take(count.max(2) - 1) {
        if pair[0] > pair[1] {
            return Err(format!("invalid slice index: {} > {}", pair[0], pair[1]));
        }
    }
    Ok(match item {
        Value::Text(text) => Value::Text(text.part(bounds[0]..bounds[1])),
        Value::List(list) => Value::List(list.part(bounds[0]..bounds[1])),
        other => other,
    })
}

/// A string made by `write`, of a length that is checked and paid for.
fn written<'a>(
    env: &mut Env<'a, '_>,
    write: impl FnOnce(&mut Vec<u8>, usize) -> Result<(), TooLong>,
) -> Outcome<'a> {
    let limit = env.scratch.limit;
    let mut out = env.scratch.take();
    if write(&mut out, limit).is_err() || out.len() > limit {
        return Err(format!("the result is longer than {limit} bytes"));
    }
    env.charge_bytes(out.len())?;
    Ok(Value::owned(out))
}

fn print<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    written(env, |out, limit| gofmt::sprint(out, args.as_slice(), limit))
}

fn println<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    written(env, |out, limit| {
        gofmt::sprintln(out, args.as_slice(), limit)
    })
}

fn printf<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let format = args.text(0);
    env.charge_bytes(format.len())?;
    written(env, |out, limit| {
        gofmt::printf(format, &args.as_slice()[1..], out, limit)
    })
}

/// The escaped form of what `print` makes of the arguments; nil is `<no value>` here.
fn escaped<'a>(
    env: &mut Env<'a, '_>,
    args: &Args<'a>,
    escape: fn(&mut Vec<u8>, &[u8]),
) -> Outcome<'a> {
    let shown: Vec<Value<'_>> = args
        .as_slice()
        .iter()
        .map(|value| match value {
            Value::Nothing => Value::borrowed(b"<no value>"),
            other => other.clone(),
        })
        .collect();
    written(env, |out, limit| {
        let mut text = Vec::new();
        gofmt::sprint(&mut text, &shown, limit)?;
        escape(out, &text);
        Ok(())
    })
}

fn html(out: &mut Vec<u8>, text: &[u8]) {
    for byte in text {
        match byte {
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            b'"' => out.extend_from_slice(b"&#34;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            _ => out.push(*byte),
        }
    }
}

fn js(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\\' | '\'' | '"' => out.extend_from_slice(&[b'\\', c as u8]),
                '<' | '>' | '&' | '=' | '\0'..='\x1f' => {
                    out.extend_from_slice(format!("\\u{:04X}", c as u32).as_bytes());
                }
                _ if c.is_ascii() || crate::format::printable(c) => {
                    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
                _ => out.extend_from_slice(format!("\\u{:04X}", c as u32).as_bytes()),
            }
        }
        // Go takes an invalid byte for U+FFFD, which prints: the byte stays.
        out.extend_from_slice(chunk.invalid());
    }
}

/// Kinds of values that compare with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Basic {
    Bool,
    Int,
    Float,
    Complex,
    Text,
}

fn basic(value: &Value<'_>) -> Option<Basic> {
    match value {
        Value::Bool(_) => Some(Basic::Bool),
        Value::Int(..) => Some(Basic::Int),
        Value::Float(_) => Some(Basic::Float),
        Value::Complex(..) => Some(Basic::Complex),
        Value::Text(_) => Some(Basic::Text),
        _ => None,
    }
}

fn incompatible(left: &Value<'_>, right: &Value<'_>) -> String {
    let (left, right) = (left.type_name(), right.type_name());
    format!("incompatible types for comparison: {left} and {right}")
}

/// Whether the first operand equals any other.
fn eq(args: &mut Args<'_>) -> Result<bool, String> {
    if args.len() < 2 {
        return Err("missing argument for comparison".to_owned());
    }
    let left = args.take(0).unwrap();
    for i in 1..args.len() {
        if equal(&left, &args.take(i).unwrap())? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal(left: &Value<'_>, right: &Value<'_>) -> Result<bool, String> {
    match (left, right) {
        (Value::Nothing, Value::Nothing) => return Ok(true),
        (Value::Nothing, _) | (_, Value::Nothing) => return Ok(false),
        _ if basic(left) != basic(right) => return Err(incompatible(left, right)),
        _ => {}
    }
    let described = gofmt::text_of;
    match (left, right) {
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Int(_, a), Value::Int(_, b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Complex(a, x), Value::Complex(b, y)) => Ok(a == b && x == y),
        (Value::Text(a), Value::Text(b)) => Ok(**a == **b),
        (Value::Time(a), Value::Time(b)) => {
            Ok(a.instant() == b.instant() && a.zone.name() == b.zone.name())
        }
        (Value::Location(a), Value::Location(b)) => Ok(a.name() == b.name()),
        _ if same_kind(left, right) => Err(format!(
            "non-comparable type {}: {}",
            described(right, 's'),
            right.type_name()
        )),
        _ => Err(format!(
            "non-comparable types {}: {}, {}: {}",
            described(left, 's'),
            left.type_name(),
            right.type_name(),
            described(right, 'v')
        )),
    }
}

/// Whether both are maps, or both lists.
fn same_kind(left: &Value<'_>, right: &Value<'_>) -> bool {
    let map = |value: &Value<'_>| matches!(value, Value::Labels(_) | Value::Map(_));
    let list = |value: &Value<'_>| matches!(value, Value::List(..));
    (map(left) && map(right)) || (list(left) && list(right))
}

fn lt(args: &mut Args<'_>) -> Result<bool, String> {
    let (left, right) = (args.take(0).unwrap(), args.take(1).unwrap());
    less(&left, &right)
}

fn le(args: &mut Args<'_>) -> Result<bool, String> {
    let (left, right) = (args.take(0).unwrap(), args.take(1).unwrap());
    Ok(less(&left, &right)? || equal(&left, &right)?)
}

fn less(left: &Value<'_>, right: &Value<'_>) -> Result<bool, String> {
    let unordered = || "invalid type for comparison".to_owned();
    let (kind, other) = (
        basic(left).ok_or_else(unordered)?,
        basic(right).ok_or_else(unordered)?,
    );
    if kind != other {
        return Err(incompatible(left, right));
    }
    match (left, right) {
        (Value::Int(_, a), Value::Int(_, b)) => Ok(a < b),
        (Value::Float(a), Value::Float(b)) => Ok(a < b),
        (Value::Text(a), Value::Text(b)) => Ok(**a < **b),
        _ => Err(unordered()),
    }
}
