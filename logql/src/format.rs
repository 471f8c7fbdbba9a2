//! Go's ways of writing and reading numbers, durations and strings, where they show through in Loki's answers.

use std::fmt::Write as _;

/// A sample value: the shortest decimal that reads back the same, never an exponent; `NaN`, `+Inf`, `-Inf`, `-0`.
#[must_use]
pub fn sample_value(value: f64) -> String {
    let mut out = String::new();
    write_sample_value(&mut out, value);
    out
}

/// As [`sample_value`], appended to a buffer.
pub fn write_sample_value(out: &mut String, value: f64) {
    let result = if value.is_nan() {
        out.write_str("NaN")
    } else if value.is_infinite() {
        out.write_str(if value > 0.0 { "+Inf" } else { "-Inf" })
    } else {
        write!(out, "{value}")
    };
    result.expect("writing to a String cannot fail");
}

/// A float as Loki prints it by `%v`: shortest digits, as an exponent when the decimal exponent is below -4 or above 5.
#[must_use]
pub fn go_v(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return sample_value(value);
    }
    let text = shortest(value);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..=5).contains(&exponent) {
        return sample_value(value);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

/// The shortest digits that read back as the value, in exponent form. Where two of the same length are equally near,
/// Go takes the even one and Rust does not.
pub(crate) fn shortest(value: f64) -> String {
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let places = digits.len().saturating_sub(2);
    if places < 15 || !digits.ends_with(['1', '3', '5', '7', '9']) {
        return text;
    }
    let exact = format!("{value:.*e}", places + 30);
    let (exact, exact_exponent) = exact.split_once('e').unwrap_or((&exact, "0"));
    let (head, tail) = exact.split_at(digits.len().min(exact.len()));
    let tie = tail.starts_with('5') && tail[1..].bytes().all(|b| b == b'0');
    if tie && exact_exponent == exponent && head.ends_with(['0', '2', '4', '6', '8']) {
        return format!("{head}e{exponent}");
    }
    text
}

/// Go's `strconv.Quote` of bytes: double quotes, Go escapes; invalid bytes as `\xff`.
#[must_use]
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    push_quoted(&mut out, bytes);
    out
}

fn push_quoted(out: &mut String, bytes: &[u8]) {
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        let is_plain = |b: u8| matches!(b, b' '..=b'~') && b != b'"' && b != b'\\';
        if chunk.valid().bytes().all(is_plain) {
            out.push_str(chunk.valid());
        } else {
            for c in chunk.valid().chars() {
                quote_char(out, c);
            }
        }
        for byte in chunk.invalid() {
            push_hex(out, u32::from(*byte), "\\x", 2);
        }
    }
    out.push('"');
}

fn quote_char(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        ' '..='~' => out.push(c),
        _ if c < ' ' || c == '\u{7f}' => push_hex(out, c as u32, "\\x", 2),
        _ if printable(c) => out.push(c),
        _ if (c as u32) < 0x1_0000 => push_hex(out, c as u32, "\\u", 4),
        _ => push_hex(out, c as u32, "\\U", 8),
    }
}

fn push_hex(out: &mut String, value: u32, prefix: &str, width: usize) {
    out.push_str(prefix);
    write!(out, "{value:0width$x}").expect("writing to a String cannot fail");
}

/// Whether Go prints a character as it is. The second character of a string is asked about, because Rust escapes a
/// leading combining mark, which Go prints.
pub(crate) fn printable(c: char) -> bool {
    if matches!(c, ' '..='~') {
        return true;
    }
    let mut text = String::from("a");
    text.push(c);
    text.escape_debug().nth(1) == Some(c)
}

/// A label set as Loki prints it: `{a="1", b="2"}`. Names that are not plain identifiers are quoted.
pub fn label_set<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::from("{");
    for (i, (name, value)) in pairs.into_iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        push_label_name(&mut out, name);
        out.push('=');
        push_quoted(&mut out, value.as_bytes());
    }
    out.push('}');
    out
}

/// A label name as printed: quoted unless `[A-Za-z_][A-Za-z0-9_]*`.
#[must_use]
pub fn label_name(name: &str) -> String {
    let mut out = String::new();
    push_label_name(&mut out, name);
    out
}

fn push_label_name(out: &mut String, name: &str) {
    let mut bytes = name.bytes();
    let head = bytes
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if head && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        out.push_str(name);
    } else {
        push_quoted(out, name.as_bytes());
    }
}

/// Go's `strconv.ParseFloat(text, 64)`.
///
/// # Errors
/// Go's text.
pub fn parse_float(text: &str) -> Result<f64, String> {
    // What both languages read alike is nearly everything; Rust has neither `_` nor hexadecimal digits, and no error
    // for what is too large.
    if let Ok(value) = text.parse::<f64>()
        && value.is_finite()
    {
        return Ok(value);
    }
    let fail = |why: &str| {
        Err(format!(
            "strconv.ParseFloat: parsing {}: {why}",
            quote(text.as_bytes())
        ))
    };
    let Some(value) = read_float(text) else {
        return fail("invalid syntax");
    };
    if value.is_infinite() && text.bytes().any(|b| b.is_ascii_digit()) {
        return fail("value out of range");
    }
    Ok(value)
}

fn read_float(text: &str) -> Option<f64> {
    let (negative, body) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = body.to_ascii_lowercase();
    let value = match lower.as_str() {
        "inf" | "infinity" => f64::INFINITY,
        // Only without a sign.
        "nan" if text.len() == 3 => f64::NAN,
        _ => {
            let plain = drop_separators(&lower)?;
            match plain.strip_prefix("0x") {
                Some(hex) => read_hex_float(hex)?,
                None if plain.starts_with(['+', '-']) => return None,
                None if plain
                    .bytes()
                    .all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'+' | b'-')) =>
                {
                    plain.parse().ok()?
                }
                None => return None,
            }
        }
    };
    Some(if negative { -value } else { value })
}

/// Removes single `_` between digits; anything else with `_` is no number.
fn drop_separators(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let hex = text.starts_with("0x");
    let digit = |i: usize| {
        let byte = bytes.get(i).copied().unwrap_or_default();
        byte.is_ascii_digit() || (hex && (byte.is_ascii_hexdigit() || i == 1))
    };
    let separated = |i: usize| i > 0 && digit(i - 1) && digit(i + 1);
    let all = (0..bytes.len()).all(|i| bytes[i] != b'_' || separated(i));
    all.then(|| text.replace('_', ""))
}

fn read_hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for c in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(c.to_digit(16)?);
    }
    let digits = i32::try_from(fraction.len()).ok()?;
    let scale = exponent.saturating_sub(digits.saturating_mul(4));
    Some(value * 2f64.powi(scale))
}

/// Nanoseconds of the Prometheus units, largest first.
const PROMETHEUS_UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000_000_000),
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
];

/// A Prometheus duration (`1h30m`, `0`) in nanoseconds.
///
/// # Errors
/// Prometheus' text.
pub fn parse_prometheus_duration(text: &str) -> Result<i64, String> {
    let quoted = || quote(text.as_bytes());
    match text {
        "0" => return Ok(0),
        "" => return Err("empty duration string".to_owned()),
        _ => {}
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut rank = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err(format!("not a valid duration string: {}", quoted()));
        }
        let (number, tail) = rest.split_at(digits);
        let Ok(amount) = number.parse::<u64>() else {
            return Err(format!("not a valid duration string: {}", quoted()));
        };
        let unit_len = tail.bytes().take_while(|b| !b.is_ascii_digit()).count();
        let (unit, tail) = tail.split_at(unit_len);
        if unit.is_empty() {
            return Err(format!("not a valid duration string: {}", quoted()));
        }
        let Some(at) = PROMETHEUS_UNITS.iter().position(|(name, _)| *name == unit) else {
            return Err(format!(
                "unknown unit {} in duration {}",
                quote(unit.as_bytes()),
                quoted()
            ));
        };
        if at < rank {
            return Err(format!("not a valid duration string: {}", quoted()));
        }
        rank = at + 1;
        total = amount
            .checked_mul(PROMETHEUS_UNITS[at].1)
            .and_then(|ns| ns.checked_add(total))
            .filter(|ns| *ns <= i64::MAX as u64)
            .ok_or("duration out of range")?;
        rest = tail;
    }
    Ok(total as i64)
}

/// Go's `time.ParseDuration`, in nanoseconds.
///
/// # Errors
/// Go's text.
pub fn parse_go_duration(text: &str) -> Result<i64, String> {
    parse_go_duration_bytes(text.as_bytes())
}

/// As [`parse_go_duration`], for text that need not be UTF-8.
pub(crate) fn parse_go_duration_bytes(text: &[u8]) -> Result<i64, String> {
    let invalid = || format!("time: invalid duration {}", quote_time(text));
    let (negative, body) = match text {
        [b'-', body @ ..] => (true, body),
        [b'+', body @ ..] => (false, body),
        _ => (false, text),
    };
    if body == b"0" {
        return Ok(0);
    }
    if body.is_empty() {
        return Err(invalid());
    }
    let digits_len = |text: &[u8]| text.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = body;
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, tail) = rest.split_at(digits_len(rest));
        let (fraction, tail) = match tail {
            [b'.', tail @ ..] => tail.split_at(digits_len(tail)),
            _ => (&b""[..], tail),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let unit_len = tail
            .iter()
            .take_while(|b| !b.is_ascii_digit() && **b != b'.')
            .count();
        let (unit, tail) = tail.split_at(unit_len);
        let scale = go_unit(unit, text)?;
        let whole = whole.iter().fold(0i128, |value, digit| {
            value
                .saturating_mul(10)
                .saturating_add(i128::from(digit - b'0'))
        });
        total = total
            .saturating_add(whole.saturating_mul(i128::from(scale)))
            .saturating_add(go_fraction(fraction, scale));
        rest = tail;
    }
    let total = if negative { -total } else { total };
    i64::try_from(total).map_err(|_| invalid())
}

/// A fraction of a unit, rounded down as Go does; digits that no integer holds are left out.
fn go_fraction(digits: &[u8], unit: i64) -> i128 {
    let mut value: u64 = 0;
    let mut scale = 1.0;
    for digit in digits {
        let longer = value
            .checked_mul(10)
            .and_then(|v| v.checked_add(u64::from(digit - b'0')));
        match longer.filter(|v| *v <= 1 << 63) {
            Some(longer) => value = longer,
            None => break,
        }
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as i128
}

fn go_unit(unit: &[u8], text: &[u8]) -> Result<i64, String> {
    Ok(match unit {
        b"ns" => 1,
        b"us" | b"\xc2\xb5s" | b"\xce\xbcs" => 1_000,
        b"ms" => 1_000_000,
        b"s" => 1_000_000_000,
        b"m" => 60_000_000_000,
        b"h" => 3_600_000_000_000,
        b"" => {
            let text = quote_time(text);
            return Err(format!("time: missing unit in duration {text}"));
        }
        _ => {
            let (unit, text) = (quote_time(unit), quote_time(text));
            return Err(format!("time: unknown unit {unit} in duration {text}"));
        }
    })
}

/// The quoting of Go's `time` package: what is not printable ASCII is `\\x` and the byte.
fn quote_time(text: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in text {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(*byte));
            }
            b' '..=0x7f => out.push(char::from(*byte)),
            _ => push_hex(&mut out, u32::from(*byte), "\\x", 2),
        }
    }
    out.push('"');
    out
}

/// Prometheus' printing of a duration given in nanoseconds: `1w`, `9d3h`, `1m30s`; what is below a millisecond is lost.
#[must_use]
pub fn prometheus_duration(ns: i64) -> String {
    let mut rest = ns.unsigned_abs() / 1_000_000;
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut out = String::from(if ns < 0 { "-" } else { "" });
    for (i, (unit, scale)) in PROMETHEUS_UNITS.iter().enumerate() {
        let scale = scale / 1_000_000;
        // Years and weeks only where nothing is left.
        if rest < scale || (i < 2 && !rest.is_multiple_of(scale)) {
            continue;
        }
        write!(out, "{}{unit}", rest / scale).expect("writing to a String cannot fail");
        rest %= scale;
    }
    out
}

/// Size units of [`parse_bytes`], lower case.
const BYTE_UNITS: [(&str, f64); 26] = [
    ("", 1.0),
    ("b", 1.0),
    ("k", 1e3),
    ("kb", 1e3),
    ("ki", 1024.0),
    ("kib", 1024.0),
    ("m", 1e6),
    ("mb", 1e6),
    ("mi", 1_048_576.0),
    ("mib", 1_048_576.0),
    ("g", 1e9),
    ("gb", 1e9),
    ("gi", 1_073_741_824.0),
    ("gib", 1_073_741_824.0),
    ("t", 1e12),
    ("tb", 1e12),
    ("ti", 1_099_511_627_776.0),
    ("tib", 1_099_511_627_776.0),
    ("p", 1e15),
    ("pb", 1e15),
    ("pi", 1_125_899_906_842_624.0),
    ("pib", 1_125_899_906_842_624.0),
    ("e", 1e18),
    ("eb", 1e18),
    ("ei", 1_152_921_504_606_846_976.0),
    ("eib", 1_152_921_504_606_846_976.0),
];

/// A size such as `5KiB` in bytes, as `humanize.ParseBytes` reads it.
///
/// # Errors
/// The converter's text.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let len = text
        .bytes()
        .take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b','))
        .count();
    let (number, unit) = text.split_at(len);
    let value = if number.contains(',') {
        parse_float(&number.replace(',', ""))?
    } else {
        parse_float(number)?
    };
    let unit = unit.trim();
    let known = BYTE_UNITS
        .iter()
        .find(|(name, _)| unit.eq_ignore_ascii_case(name));
    let Some((_, scale)) = known else {
        return Err(format!("unhandled size name: {}", unit.to_lowercase()));
    };
    let bytes = value * scale;
    if bytes >= 18_446_744_073_709_551_615.0 {
        return Err(format!("too large: {text}"));
    }
    Ok(bytes as u64)
}

/// Go's printing of a duration given in nanoseconds: `1h30m0s`, `1.5ms`, `0s`.
#[must_use]
pub fn go_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let abs = ns.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let frac = value % unit;
        let width = unit.ilog10() as usize;
        let digits = format!("{frac:0width$}");
        let digits = digits.trim_end_matches('0');
        let dot = if frac == 0 { "" } else { "." };
        let digits = if frac == 0 { "" } else { digits };
        format!("{}{dot}{digits}", value / unit)
    };
    match abs {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{abs}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", fraction(abs, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", fraction(abs, 1_000_000)),
        _ => {
            let minutes = abs / 60_000_000_000;
            let seconds = fraction(abs % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, m) => format!("{sign}{m}m{seconds}s"),
                (h, m) => format!("{sign}{h}h{m}m{seconds}s"),
            }
        }
    }
}

/// A size as Loki prints it in queries: decimal units, one decimal under 10 (`1.0kB`, `12MB`, `7B`).
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const NAMES: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let mut scale = 1u64;
    let mut rank = 0;
    while rank + 1 < NAMES.len() && bytes / scale >= 1_000 {
        scale *= 1_000;
        rank += 1;
    }
    let value = (bytes as f64 / scale as f64 * 10.0 + 0.5).floor() / 10.0;
    if value < 10.0 {
        format!("{value:.1}{}", NAMES[rank])
    } else {
        format!("{value:.0}{}", NAMES[rank])
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
