//! The two ways of undoing escapes in quoted values: that of the JSON parser, which knows no bad surrogates, and that
//! of logfmt, which replaces them.

/// Appends the JSON string's text. `None`: an escape is invalid; what was appended then is of no use.
pub(super) fn json(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    loop {
        let Some(at) = memchr::memchr(b'\\', rest) else {
            out.extend_from_slice(rest);
            return Some(());
        };
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let len = match rest.get(1)? {
            b'u' => {
                let (code, len) = json_unicode(rest)?;
                push_char(out, code);
                len
            }
            escape => {
                out.push(simple(*escape)?);
                2
            }
        };
        rest = &rest[len..];
    }
}

/// Whether all escapes of a JSON string are valid.
pub(super) fn is_json(text: &[u8]) -> bool {
    all_valid(text, |rest| match rest.get(1)? {
        b'u' => json_unicode(rest).map(|(_, len)| len),
        escape => simple(*escape).map(|_| 2),
    })
}

/// Whether all escapes of a quoted logfmt value are valid.
pub(super) fn is_logfmt(text: &[u8]) -> bool {
    all_valid(text, |rest| match rest.get(1)? {
        b'u' => logfmt_unicode(rest).map(|(_, len)| len),
        b'\'' => Some(2),
        escape => simple(*escape).map(|_| 2),
    })
}

/// Whether `len` knows the length of every escape.
fn all_valid(text: &[u8], len: impl Fn(&[u8]) -> Option<usize>) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        rest = &rest[at..];
        match len(rest) {
            Some(len) => rest = &rest[len..],
            None => return false,
        }
    }
    true
}

/// What a backslash and this character stand for, in both ways.
fn simple(escape: u8) -> Option<u8> {
    Some(match escape {
        b'"' | b'\\' | b'/' => escape,
        b'b' => 8,
        b'f' => 12,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        _ => return None,
    })
}

/// The four digits of `\uXXXX` at the head; the two characters before them are not looked at.
fn hex(text: &[u8]) -> Option<u32> {
    let digits = text.get(2..6)?;
    digits.iter().try_fold(0, |value, digit| {
        Some(value << 4 | char::from(*digit).to_digit(16)?)
    })
}

/// The escape `\uXXXX` at the head, or a pair of them, and its length. A half of a pair must be followed by another
/// escape; Loki's parser checks only that it is no first half.
fn json_unicode(text: &[u8]) -> Option<(u32, usize)> {
    let first = hex(text)?;
    if !(0xd800..=0xdfff).contains(&first) {
        return Some((first, 6));
    }
    let second = hex(&text[6..])?;
    let low = second.checked_sub(0xdc00)?;
    Some((0x1_0000 + ((first - 0xd800) << 10) + low, 12))
}

fn push_char(out: &mut Vec<u8>, code: u32) {
    let c = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

/// Appends a quoted logfmt value's text, given what is between the quotes. `None`: an escape is invalid.
pub(super) fn logfmt(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut rest = text;
    loop {
        let Some(at) = memchr::memchr(b'\\', rest) else {
            out.extend_from_slice(rest);
            return Some(());
        };
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        let len = match rest.get(1)? {
            b'\'' => {
                out.push(b'\'');
                2
            }
            b'u' => {
                let (code, len) = logfmt_unicode(rest)?;
                push_char(out, code);
                len
            }
            escape => {
                out.push(simple(*escape)?);
                2
            }
        };
        rest = &rest[len..];
    }
}

/// As [`json_unicode`], but half a pair stands for the replacement character.
fn logfmt_unicode(text: &[u8]) -> Option<(u32, usize)> {
    let first = hex(text)?;
    if !(0xd800..=0xdfff).contains(&first) {
        return Some((first, 6));
    }
    let rest = &text[6..];
    let second = rest.starts_with(b"\\u").then(|| hex(rest)).flatten();
    match second {
        Some(low @ 0xdc00..=0xdfff) if first < 0xdc00 => {
            Some((0x1_0000 + ((first - 0xd800) << 10) + (low - 0xdc00), 12))
        }
        _ => Some((0xfffd, 6)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, as_json: Option<&str>, as_logfmt: Option<&str>) {
        let run = |undo: fn(&[u8], &mut Vec<u8>) -> Option<()>| {
            let mut out = Vec::new();
            let done = undo(text.as_bytes(), &mut out);
            done.map(|()| String::from_utf8(out).expect("UTF-8"))
        };
        assert_eq!(run(json).as_deref(), as_json, "json {text}");
        assert_eq!(is_json(text.as_bytes()), as_json.is_some(), "json {text}");
        let valid = is_logfmt(text.as_bytes());
        assert_eq!(valid, as_logfmt.is_some(), "logfmt {text}");
        assert_eq!(run(logfmt).as_deref(), as_logfmt, "logfmt {text}");
    }

    #[test]
    fn escapes() {
        let both = |text: &str, expected: Option<&str>| check(text, expected, expected);
        both("plain", Some("plain"));
        both(r#"\"\\\/\b\f\n\r\t."#, Some("\"\\/\u{8}\u{c}\n\r\t."));
        both(r"\u00e9\u4e2D!", Some("\u{e9}\u{4e2d}!"));
        both(r"\ud83d\ude00", Some("\u{1f600}"));
        both(r"\q", None);
        both(r"a\", None);
        both(r"\u12", None);
        both(r"\u12xy", None);
        check(r"\'", None, Some("'"));
        check(r"\ud83d", None, Some("\u{fffd}"));
        check(r"\ud83d x", None, Some("\u{fffd} x"));
        check(r"\ud83d\u0041", None, Some("\u{fffd}A"));
        check(r"\ude00\ude00", Some("\u{fffd}"), Some("\u{fffd}\u{fffd}"));
    }
}
