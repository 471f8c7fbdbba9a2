//! Functions that take a regular expression.

use crate::template::call::{Args, Env, Function, Outcome, Param, fixed, int};
use crate::template::gofmt::chars_len;
use crate::template::scratch::Compiled;
use crate::template::value::Value;

use Param::Text as Str;

pub(in crate::template) static REGEX: [Function; 3] = [
    fixed("regexReplaceAll", &[Str, Str, Str], |env, args| {
        replace_all(env, args, true)
    }),
    fixed("regexReplaceAllLiteral", &[Str, Str, Str], |env, args| {
        replace_all(env, args, false)
    }),
    fixed("count", &[Str, Str], count),
];

/// The length of the character at an offset; 1 at the end, so that a search always moves on.
fn step(text: &[u8], at: usize) -> usize {
    chars_len(&text[at..text.len().min(at + 4)], 1).max(1)
}

/// Non-overlapping matches; an empty one directly behind another match does not count.
fn count<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let compiled = env.pattern(args.text(0))?;
    let text = args.text(1);
    env.charge_bytes(text.len() * 4)?;
    let mut found = 0;
    let mut at = 0;
    let mut last_end = None;
    while at <= text.len() {
        let Some(hit) = compiled.regex.find_at(text, at) else {
            break;
        };
        let empty = hit.is_empty();
        if !empty || last_end != Some(hit.start()) {
            found += 1;
        }
        last_end = Some(hit.end());
        at = if empty {
            hit.end() + step(text, hit.end())
        } else {
            hit.end()
        };
    }
    int(found)
}

fn replace_all<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>, expands: bool) -> Outcome<'a> {
    let compiled = env.pattern(args.text(0))?;
    let (text, replacement) = (args.text(1), args.text(2));
    env.charge_bytes(text.len() * 4)?;
    if !compiled.regex.is_match(text) {
        return Ok(args.take(1));
    }
    let limit = env.scratch.limit;
    let expands = expands && replacement.contains(&b'$');
    let mut out = env.scratch.take();
    let mut captures = compiled.regex.capture_locations();
    let mut at = 0;
    let mut copied = 0;
    while at <= text.len() && out.len() <= limit {
        let hit = if expands {
            compiled.regex.captures_read_at(&mut captures, text, at)
        } else {
            compiled.regex.find_at(text, at)
        };
        let Some(hit) = hit else {
            break;
        };
        out.extend_from_slice(&text[copied..hit.start()]);
        if hit.end() > copied || hit.start() == 0 {
            if expands {
                let group = |i: usize| captures.get(i).map(|(from, to)| &text[from..to]);
                expand(&mut out, limit, &compiled, replacement, &group);
            } else {
                out.extend_from_slice(replacement);
            }
        }
        copied = hit.end();
        at = hit.end().max(at + step(text, at).min(text.len() + 1 - at));
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default());
    env.check_length(out.len())?;
    env.charge_bytes(out.len())?;
    Ok(Value::owned(out))
}

/// Appends a replacement: `$1`, `$name`, `${1}`, `${name}` stand for groups, `$$` for a dollar; a name is as long as it
/// can be.
///
/// It stops as soon as the result is too long.
fn expand<'t>(
    out: &mut Vec<u8>,
    limit: usize,
    compiled: &Compiled,
    replacement: &[u8],
    group: &dyn Fn(usize) -> Option<&'t [u8]>,
) {
    let mut rest = replacement;
    while let Some(at) = memchr::memchr(b'$', rest) {
        if out.len() > limit {
            return;
        }
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix(b"$") {
            out.push(b'$');
            rest = tail;
            continue;
        }
        let Some((name, tail)) = reference(rest) else {
            out.push(b'$');
            continue;
        };
        rest = tail;
        let text = match number(name) {
            Some(index) => group(index),
            None => compiled
                .names
                .iter()
                .enumerate()
                .filter(|(_, own)| own.as_bytes() == name.as_bytes())
                .find_map(|(i, _)| group(i + 1)),
        };
        out.extend_from_slice(text.unwrap_or_default());
    }
    out.extend_from_slice(rest);
}

/// The name of a group behind a dollar, and what follows.
fn reference(text: &[u8]) -> Option<(&str, &[u8])> {
    let braced = text.strip_prefix(b"{");
    let body = braced.unwrap_or(text);
    let valid = body.utf8_chunks().next()?.valid();
    let len = valid
        .chars()
        .take_while(|c| *c == '_' || c.is_alphanumeric())
        .map(char::len_utf8)
        .sum();
    if len == 0 {
        return None;
    }
    let tail = &body[len..];
    let tail = match braced {
        Some(_) => tail.strip_prefix(b"}")?,
        None => tail,
    };
    Some((&valid[..len], tail))
}

/// The index of a group; a number that begins with 0, or is huge, is taken for a name.
fn number(name: &str) -> Option<usize> {
    let plain = name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    name.parse().ok().filter(|n| plain && *n < 100_000_000)
}
