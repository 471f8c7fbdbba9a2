//! Go's reading of integers and of constants.

use super::tree::Number;
use crate::format::{parse_float, quote};

/// Why a text is no integer, in Go's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntFault {
    Syntax,
    Range,
}

impl IntFault {
    /// As `strconv.ParseInt` says it.
    pub(super) fn text(self, of: &[u8]) -> String {
        let why = match self {
            IntFault::Syntax => "invalid syntax",
            IntFault::Range => "value out of range",
        };
        format!("strconv.ParseInt: parsing {}: {why}", quote(of))
    }
}

/// Go's `ParseInt(text, base, 64)`; base 0 reads a prefix (`0x`, `0o`, `0b`, `0`) and allows `_` between digits.
pub(super) fn parse_int(text: &[u8], base: u32) -> Result<i64, IntFault> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let value = parse_uint(digits, base)?;
    if negative {
        0i64.checked_sub_unsigned(value)
    } else {
        i64::try_from(value).ok()
    }
    .ok_or(IntFault::Range)
}

/// Go's `ParseUint(text, base, 64)`.
pub(super) fn parse_uint(text: &[u8], base: u32) -> Result<u64, IntFault> {
    let (radix, digits) = match (base, text) {
        (0, [b'0', b'x' | b'X', rest @ ..]) => (16, rest),
        (0, [b'0', b'o' | b'O', rest @ ..]) => (8, rest),
        (0, [b'0', b'b' | b'B', rest @ ..]) => (2, rest),
        (0, [b'0', rest @ ..]) if !rest.is_empty() => (8, rest),
        (0, _) => (10, text),
        _ => (base, text),
    };
    if digits.is_empty() {
        return Err(IntFault::Syntax);
    }
    // A `_` may follow the prefix, and stand between two digits.
    let mut after_digit = digits.len() < text.len();
    let mut value: Option<u64> = Some(0);
    for byte in digits {
        if *byte == b'_' && base == 0 && after_digit {
            after_digit = false;
            continue;
        }
        let digit = char::from(*byte).to_digit(radix).ok_or(IntFault::Syntax)?;
        after_digit = true;
        value = value
            .and_then(|v| v.checked_mul(u64::from(radix)))
            .and_then(|v| v.checked_add(u64::from(digit)));
    }
    if !after_digit {
        return Err(IntFault::Syntax);
    }
    value.ok_or(IntFault::Range)
}

/// A numeric constant of a template.
pub(super) fn constant(text: &str) -> Result<Number, String> {
    let illegal = || format!("illegal number syntax: {}", quote(text.as_bytes()));
    let mut number = Number {
        text: text.into(),
        int: None,
        float: None,
        complex: None,
    };
    if let Some(imaginary) = text.strip_suffix('i') {
        let value = parse_float(imaginary).map_err(|_| illegal())?;
        return Ok(complex(number, (0.0, value)));
    }
    let int = parse_int(text.as_bytes(), 0);
    let uint = parse_uint(text.as_bytes(), 0);
    if let Ok(value) = int {
        number.int = Some(value);
        number.float = Some(value as f64);
    } else if let Ok(value) = uint {
        number.float = Some(value as f64);
    } else {
        let value = parse_float(text).map_err(|_| illegal())?;
        if !text.contains(['.', 'e', 'E', 'p', 'P']) {
            return Err(format!("integer overflow: {}", quote(text.as_bytes())));
        }
        number.float = Some(value);
        number.int = whole(value);
    }
    Ok(number)
}

/// A constant with two parts: `1+2i`.
pub(super) fn complex_constant(text: &str) -> Result<Number, String> {
    let illegal = || "syntax error scanning complex number".to_owned();
    let number = Number {
        text: text.into(),
        int: None,
        float: None,
        complex: None,
    };
    let sign = |i: &usize| matches!(text.as_bytes()[*i], b'+' | b'-');
    let body = text.strip_suffix('i').ok_or_else(illegal)?;
    let at = (1..body.len())
        .rev()
        .find(|i| sign(i) && !matches!(text.as_bytes()[i - 1], b'e' | b'E' | b'p' | b'P'))
        .ok_or_else(illegal)?;
    let real = parse_float(&body[..at]).map_err(|_| illegal())?;
    let imaginary = parse_float(&body[at..]).map_err(|_| illegal())?;
    Ok(complex(number, (real, imaginary)))
}

fn complex(number: Number, parts: (f64, f64)) -> Number {
    let real = (parts.1 == 0.0).then_some(parts.0);
    Number {
        int: real.and_then(whole),
        float: real,
        complex: Some(parts),
        ..number
    }
}

/// The integer that a float is exactly.
fn whole(value: f64) -> Option<i64> {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    (fits && value.trunc() == value).then_some(value as i64)
}

/// A character constant with its quotes.
pub(super) fn char_constant(text: &[u8]) -> Result<Number, String> {
    let body = &text[1..];
    let (value, len) = unquote_char(body, b'\'').ok_or("invalid syntax")?;
    if &body[len..] != b"'" {
        let text = String::from_utf8_lossy(text);
        return Err(format!("malformed character constant: {text}"));
    }
    let code = match value {
        Unquoted::Char(c) => i64::from(c as u32),
        Unquoted::Byte(b) => i64::from(b),
        Unquoted::Invalid => 0xfffd,
    };
    Ok(Number {
        text: String::from_utf8_lossy(text).into(),
        int: Some(code),
        float: Some(code as f64),
        complex: None,
    })
}

enum Unquoted {
    Char(char),
    Byte(u8),
    /// A byte of the source that is not UTF-8.
    Invalid,
}

/// Go's `strconv.Unquote` of a string constant with its quotes.
pub(super) fn unquote(text: &[u8]) -> Option<Vec<u8>> {
    let (quote, rest) = text.split_first()?;
    let body = rest.strip_suffix(&[*quote])?;
    if *quote == b'`' {
        // Go drops carriage returns from raw strings.
        return Some(body.iter().copied().filter(|b| *b != b'\r').collect());
    }
    let mut out = Vec::with_capacity(body.len());
    let mut at = 0;
    while at < body.len() {
        let (value, len) = unquote_char(&body[at..], *quote)?;
        match value {
            Unquoted::Char(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            Unquoted::Byte(b) => out.push(b),
            Unquoted::Invalid => out.extend_from_slice("\u{fffd}".as_bytes()),
        }
        at += len;
    }
    Some(out)
}

/// The character at the head of a constant, and the length of its text.
fn unquote_char(text: &[u8], quote: u8) -> Option<(Unquoted, usize)> {
    let first = *text.first()?;
    if first == quote || first == b'\n' {
        return None;
    }
    if first != b'\\' {
        let head = &text[..text.len().min(4)];
        let chunk = head.utf8_chunks().next()?;
        return match chunk.valid().chars().next() {
            Some(c) => Some((Unquoted::Char(c), c.len_utf8())),
            None => Some((Unquoted::Invalid, 1)),
        };
    }
    let byte = |b: u8| Some((Unquoted::Byte(b), 2));
    match *text.get(1)? {
        b'a' => byte(7),
        b'b' => byte(8),
        b'f' => byte(12),
        b'n' => byte(b'\n'),
        b'r' => byte(b'\r'),
        b't' => byte(b'\t'),
        b'v' => byte(11),
        b'\\' => byte(b'\\'),
        c @ (b'\'' | b'"') if c == quote => byte(c),
        b'0'..=b'7' => {
            let value = radix(text.get(1..4)?, 8)?;
            Some((Unquoted::Byte(u8::try_from(value).ok()?), 4))
        }
        b'x' => {
            let value = radix(text.get(2..4)?, 16)?;
            Some((Unquoted::Byte(u8::try_from(value).ok()?), 4))
        }
        c @ (b'u' | b'U') => {
            let len = if c == b'u' { 4 } else { 8 };
            let value = radix(text.get(2..2 + len)?, 16)?;
            Some((Unquoted::Char(char::from_u32(value)?), 2 + len))
        }
        _ => None,
    }
}

fn radix(digits: &[u8], radix: u32) -> Option<u32> {
    digits.iter().try_fold(0u32, |value, b| {
        let digit = char::from(*b).to_digit(radix)?;
        value.checked_mul(radix)?.checked_add(digit)
    })
}
