//! Functions on strings. Where a function counts, the contract says whether it counts bytes or characters.

use memchr::memmem;

use super::case;
use crate::template::call::{Args, Env, Function, Outcome, Param, fixed};
use crate::template::gofmt::{chars_len, count_chars};
use crate::template::value::{Text, Value};

use Param::{Int, Text as Str};

pub(in crate::template) static TEXT: [Function; 32] = [
    fixed("ToLower", &[Str], lower),
    fixed("lower", &[Str], lower),
    fixed("ToUpper", &[Str], upper),
    fixed("upper", &[Str], upper),
    fixed("title", &[Str], |env, args| {
        mapped(env, args, case::push_title)
    }),
    fixed("Replace", &[Str, Str, Str, Int], |env, args| {
        replace(env, args, [0, 1, 2], usize::try_from(args.int(3)).ok())
    }),
    fixed("replace", &[Str, Str, Str], |env, args| {
        replace(env, args, [2, 0, 1], None)
    }),
    fixed("Trim", &[Str, Str], |env, args| {
        trim_set(env, args, 0, true, true)
    }),
    fixed("TrimLeft", &[Str, Str], |env, args| {
        trim_set(env, args, 0, true, false)
    }),
    fixed("TrimRight", &[Str, Str], |env, args| {
        trim_set(env, args, 0, false, true)
    }),
    fixed("trimAll", &[Str, Str], |env, args| {
        trim_set(env, args, 1, true, true)
    }),
    fixed("TrimPrefix", &[Str, Str], |_, args| trim_prefix(args, 0)),
    fixed("trimPrefix", &[Str, Str], |_, args| trim_prefix(args, 1)),
    fixed("TrimSuffix", &[Str, Str], |_, args| trim_suffix(args, 0)),
    fixed("trimSuffix", &[Str, Str], |_, args| trim_suffix(args, 1)),
    fixed("TrimSpace", &[Str], trim_space),
    fixed("trim", &[Str], trim_space),
    fixed("trunc", &[Int, Str], trunc),
    fixed("substr", &[Int, Int, Str], substr),
    fixed("alignLeft", &[Int, Str], align_left),
    fixed("alignRight", &[Int, Str], align_right),
    fixed("contains", &[Str, Str], |env, args| {
        env.charge_bytes(args.text(1).len())?;
        let found = memmem::find(args.text(1), args.text(0)).is_some();
        Ok(Value::Bool(found))
    }),
    fixed("hasPrefix", &[Str, Str], |_, args| {
        Ok(Value::Bool(args.text(1).starts_with(args.text(0))))
    }),
    fixed("hasSuffix", &[Str, Str], |_, args| {
        Ok(Value::Bool(args.text(1).ends_with(args.text(0))))
    }),
    fixed("indent", &[Int, Str], |env, args| indent(env, args, false)),
    fixed("nindent", &[Int, Str], |env, args| indent(env, args, true)),
    fixed("repeat", &[Int, Str], repeat),
    fixed("bytes", &[Str], |_, args| {
        let text = String::from_utf8_lossy(args.text(0));
        Ok(Value::Float(crate::format::parse_bytes(&text)? as f64))
    }),
    fixed("duration", &[Str], duration),
    fixed("duration_seconds", &[Str], duration),
    fixed("urlencode", &[Str], super::encoding::url_encode),
    fixed("urldecode", &[Str], super::encoding::url_decode),
];

/// A text made of the first argument.
fn mapped<'a>(
    env: &mut Env<'a, '_>,
    args: &Args<'a>,
    push: fn(&mut Vec<u8>, &[u8]),
) -> Outcome<'a> {
    let text = args.text(0);
    env.charge_bytes(text.len())?;
    let mut out = env.scratch.take();
    push(&mut out, text);
    // An invalid byte grows to three.
    env.check_length(out.len())?;
    Ok(Value::owned(out))
}

fn lower<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    mapped(env, args, case::push_lower)
}

fn upper<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    mapped(env, args, case::push_upper)
}

/// Replaces up to `most` occurrences; `order` says where text, old and new are. An empty old text occurs before each
/// character and at the end.
fn replace<'a>(
    env: &mut Env<'a, '_>,
    args: &Args<'a>,
    order: [usize; 3],
    most: Option<usize>,
) -> Outcome<'a> {
    let [text, old, new] = order.map(|i| args.text(i));
    env.charge_bytes(text.len())?;
    let most = most.unwrap_or(usize::MAX);
    let limit = env.scratch.limit;
    let mut out = env.scratch.take();
    let mut end = 0;
    let mut push = |at: usize, len: usize| {
        out.extend_from_slice(&text[end..at]);
        out.extend_from_slice(new);
        end = at + len;
        out.len() <= limit
    };
    if old.is_empty() {
        let mut at = 0;
        for _ in 0..most {
            if !push(at, 0) || at >= text.len() {
                break;
            }
            at += chars_len(&text[at..text.len().min(at + 4)], 1);
        }
    } else {
        let mut found = memmem::find_iter(text, old).take(most);
        while let Some(at) = found.next()
            && push(at, old.len())
        {}
    }
    out.extend_from_slice(&text[end..]);
    env.check_length(out.len())?;
    env.charge_bytes(out.len())?;
    Ok(Value::owned(out))
}

/// Cuts characters of a set off the ends; `at` is the argument that is the text.
fn trim_set<'a>(
    env: &mut Env<'a, '_>,
    args: &mut Args<'a>,
    at: usize,
    left: bool,
    right: bool,
) -> Outcome<'a> {
    let (text, set) = (args.text(at), args.text(1 - at));
    env.charge_bytes(text.len() + set.len())?;
    let set: Vec<char> = Characters(set).collect();
    let mut start = 0;
    let mut end = text.len();
    if left {
        start = Characters(text)
            .take_while(|c| set.contains(c))
            .fold(0, |at, c| at + width(text, at, c));
    }
    while right && end > start {
        let (c, len) = last_char(&text[start..end]);
        if !set.contains(&c) {
            break;
        }
        end -= len;
    }
    Ok(Value::Text(args.take_text(at).part(start..end)))
}

/// Characters of a text, an invalid byte being U+FFFD.
struct Characters<'t>(&'t [u8]);

impl Iterator for Characters<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let head = &self.0[..self.0.len().min(4)];
        let c = head.utf8_chunks().next()?.valid().chars().next();
        let len = c.map_or(1, char::len_utf8);
        self.0 = &self.0[len..];
        Some(c.unwrap_or('\u{fffd}'))
    }
}

/// How many bytes a character of a text takes: an invalid byte, shown as U+FFFD, takes one.
fn width(text: &[u8], at: usize, c: char) -> usize {
    if c == '\u{fffd}' && !text[at..].starts_with("\u{fffd}".as_bytes()) {
        1
    } else {
        c.len_utf8()
    }
}

fn last_char(text: &[u8]) -> (char, usize) {
    for len in 1..=text.len().min(4) {
        if let Ok(tail) = std::str::from_utf8(&text[text.len() - len..])
            && let Some(c) = tail.chars().next()
        {
            return (c, len);
        }
    }
    ('\u{fffd}', 1)
}

fn trim_prefix<'a>(args: &mut Args<'a>, at: usize) -> Outcome<'a> {
    let (text, prefix) = (args.text(at), args.text(1 - at));
    let start = if text.starts_with(prefix) {
        prefix.len()
    } else {
        0
    };
    let end = text.len();
    Ok(Value::Text(args.take_text(at).part(start..end)))
}

fn trim_suffix<'a>(args: &mut Args<'a>, at: usize) -> Outcome<'a> {
    let (text, suffix) = (args.text(at), args.text(1 - at));
    let cut = if text.ends_with(suffix) {
        suffix.len()
    } else {
        0
    };
    let end = text.len() - cut;
    Ok(Value::Text(args.take_text(at).part(0..end)))
}

fn trim_space<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let text = args.text(0);
    env.charge_bytes(text.len())?;
    let mut end = text.len();
    let start = Characters(text)
        .take_while(|c| c.is_whitespace())
        .map(char::len_utf8)
        .sum();
    while end > start {
        let (c, len) = last_char(&text[start..end]);
        if !c.is_whitespace() {
            break;
        }
        end -= len;
    }
    Ok(Value::Text(args.take_text(0).part(start..end)))
}

fn trunc<'a>(_: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let (count, len) = (args.int(0), args.text(1).len());
    let kept = usize::try_from(count.unsigned_abs())
        .unwrap_or(usize::MAX)
        .min(len);
    let text = args.take_text(1);
    Ok(Value::Text(if count < 0 {
        text.part(len - kept..len)
    } else {
        text.part(0..kept)
    }))
}

fn substr<'a>(_: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let (start, end, len) = (args.int(0), args.int(1), args.text(2).len());
    let text = args.take_text(2);
    let fault = |bounds: String| {
        Err(format!(
            "runtime error: slice bounds out of range [{bounds}]"
        ))
    };
    if start < 0 {
        return match usize::try_from(end) {
            Ok(end) if end <= len => Ok(Value::Text(text.part(0..end))),
            Ok(end) => Err(format!(
                "runtime error: slice bounds out of range [:{end}] with length {len}"
            )),
            Err(_) => fault(format!(":{end}")),
        };
    }
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let end = usize::try_from(end).ok().filter(|end| *end <= len);
    match end {
        Some(end) if start > end => fault(format!("{start}:{end}")),
        None if start > len => fault(format!("{start}:{len}")),
        end => Ok(Value::Text(text.part(start..end.unwrap_or(len)))),
    }
}

/// A text of exactly `width` characters, or `None` if it has to be filled up by so many blanks.
fn missing(text: &[u8], width: i64) -> Option<usize> {
    let width = usize::try_from(width).ok()?;
    width.checked_sub(count_chars(text))
}

fn align_left<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let width = args.int(0);
    let text = args.text(1);
    env.charge_bytes(text.len())?;
    if width < 0 {
        return Ok(args.take(1));
    }
    let Some(blanks) = missing(text, width) else {
        let kept = chars_len(text, usize::try_from(width).unwrap_or(usize::MAX));
        return Ok(valid(args.take_text(1).part(0..kept)));
    };
    if blanks == 0 {
        return Ok(args.take(1));
    }
    let mut out = filled(env, text.len(), blanks)?;
    out.extend_from_slice(text);
    out.resize(text.len() + blanks, b' ');
    Ok(Value::owned(out))
}

fn align_right<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let width = args.int(0);
    let text = args.text(1);
    env.charge_bytes(text.len())?;
    if width < 0 {
        return Ok(args.take(1));
    }
    let Some(blanks) = missing(text, width) else {
        let cut = count_chars(text) - usize::try_from(width).unwrap_or(0);
        let range = chars_len(text, cut)..text.len();
        return Ok(valid(args.take_text(1).part(range)));
    };
    if blanks == 0 {
        return Ok(args.take(1));
    }
    let mut out = filled(env, text.len(), blanks)?;
    out.resize(blanks, b' ');
    out.extend_from_slice(text);
    Ok(Value::owned(out))
}

/// A part that Go makes of decoded characters: invalid bytes become U+FFFD.
fn valid(text: Text<'_>) -> Value<'_> {
    if std::str::from_utf8(&text).is_ok() {
        return Value::Text(text);
    }
    Value::owned(Characters(&text).collect::<String>().into_bytes())
}

/// A buffer for a text and blanks.
fn filled(env: &mut Env<'_, '_>, len: usize, blanks: usize) -> Result<Vec<u8>, String> {
    env.check_length(len.saturating_add(blanks))?;
    env.charge_bytes(len + blanks)?;
    Ok(env.scratch.take())
}

fn times(count: i64) -> Result<usize, String> {
    usize::try_from(count).map_err(|_| "strings: negative Repeat count".to_owned())
}

fn indent<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>, newline: bool) -> Outcome<'a> {
    let blanks = times(args.int(0))?;
    let text = args.text(1);
    let lines = memchr::memchr_iter(b'\n', text).count() + 1;
    let added = blanks.saturating_mul(lines).saturating_add(1);
    let mut out = filled(env, text.len(), added)?;
    if newline {
        out.push(b'\n');
    }
    for (i, line) in text.split(|b| *b == b'\n').enumerate() {
        if i > 0 {
            out.push(b'\n');
        }
        out.resize(out.len() + blanks, b' ');
        out.extend_from_slice(line);
    }
    Ok(Value::owned(out))
}

fn repeat<'a>(env: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let count = times(args.int(0))?;
    let text = args.text(1);
    let len = text.len().saturating_mul(count);
    let mut out = filled(env, len, 0)?;
    if len > 0 {
        for _ in 0..count {
            out.extend_from_slice(text);
        }
    }
    Ok(Value::owned(out))
}

fn duration<'a>(_: &mut Env<'a, '_>, args: &mut Args<'a>) -> Outcome<'a> {
    let nanos = crate::format::parse_go_duration_bytes(args.text(0))?;
    let whole = (nanos / 1_000_000_000) as f64;
    Ok(Value::Float(whole + (nanos % 1_000_000_000) as f64 / 1e9))
}
