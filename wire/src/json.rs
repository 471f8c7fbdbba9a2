//! Writers for the JSON that answers are made of, as Go's encoder writes it. They append to a byte buffer: an answer
//! is written straight from the values, never through a tree.

use std::io::Write as _;

/// Bytes that cannot be copied as they are. `0xE2` starts U+2028 and U+2029, which Go escapes.
const SPECIAL: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 0x20 {
        table[b] = true;
        b += 1;
    }
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table[b'<' as usize] = true;
    table[b'>' as usize] = true;
    table[b'&' as usize] = true;
    table[0xE2] = true;
    table
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` as a JSON string with its quotes. `<`, `>`, `&`, U+2028 and U+2029 are escaped; each byte that is
/// not part of valid UTF-8 becomes U+FFFD.
pub fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    match std::str::from_utf8(text) {
        Ok(_) => push_valid(out, text),
        Err(_) => {
            for chunk in text.utf8_chunks() {
                push_valid(out, chunk.valid().as_bytes());
                for _ in chunk.invalid() {
                    out.extend_from_slice(b"\\ufffd");
                }
            }
        }
    }
    out.push(b'"');
}

fn push_valid(out: &mut Vec<u8>, text: &[u8]) {
    let mut copied = 0;
    let mut i = 0;
    while i < text.len() {
        let b = text[i];
        if !SPECIAL[usize::from(b)] {
            i += 1;
            continue;
        }
        if b == 0xE2 {
            let separator = matches!(text.get(i + 1..i + 3), Some([0x80, 0xA8 | 0xA9]));
            if !separator {
                i += 1;
                continue;
            }
            out.extend_from_slice(&text[copied..i]);
            out.extend_from_slice(b"\\u202");
            out.push(HEX[usize::from(text[i + 2] & 0xf)]);
            i += 3;
            copied = i;
            continue;
        }
        out.extend_from_slice(&text[copied..i]);
        match b {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(b >> 4)]);
                out.push(HEX[usize::from(b & 0xf)]);
            }
        }
        i += 1;
        copied = i;
    }
    out.extend_from_slice(&text[copied..]);
}

/// Appends a JSON object of string pairs, in the order given.
pub fn push_object<'a>(out: &mut Vec<u8>, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) {
    out.push(b'{');
    for (i, (name, value)) in pairs.into_iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_string(out, name.as_bytes());
        out.push(b':');
        push_string(out, value.as_bytes());
    }
    out.push(b'}');
}

/// Appends a sample value as Loki writes it, quotes included: the shortest decimal without an exponent, `NaN`, `+Inf`
/// or `-Inf`.
pub fn push_value(out: &mut Vec<u8>, value: f64) {
    out.push(b'"');
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    } else {
        write!(out, "{value}").expect("a Vec takes all bytes");
    }
    out.push(b'"');
}

/// Appends the time of a sample: seconds as a number with at most three decimals, from nanoseconds since the epoch.
pub fn push_seconds(out: &mut Vec<u8>, ns: i64) {
    let ms = ns / 1_000_000;
    if ms < 0 {
        out.push(b'-');
    }
    let ms = ms.unsigned_abs();
    push_integer(out, ms / 1000);
    let rest = ms % 1000;
    if rest > 0 {
        let digits = format!("{rest:03}");
        out.push(b'.');
        out.extend_from_slice(digits.trim_end_matches('0').as_bytes());
    }
}

/// Appends an integer.
pub fn push_integer(out: &mut Vec<u8>, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("a Vec takes all bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl FnOnce(&mut Vec<u8>), want: &str) {
        let mut out = Vec::new();
        write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), want);
    }

    #[test]
    fn strings_are_escaped_as_go_escapes_them() {
        let cases: &[(&[u8], &str)] = &[
            (b"", r#""""#),
            (b"plain", r#""plain""#),
            (b"a\"b\\c", r#""a\"b\\c""#),
            (b"<x> & y", r#""\u003cx\u003e \u0026 y""#),
            (b"\n\r\t\x01\x1b\x7f", "\"\\n\\r\\t\\u0001\\u001b\x7f\""),
            ("K\u{f6}ln \u{1f600}".as_bytes(), "\"K\u{f6}ln \u{1f600}\""),
            (
                "\u{2028}a\u{2029}b\u{2027}\u{20ac}".as_bytes(),
                "\"\\u2028a\\u2029b\u{2027}\u{20ac}\"",
            ),
            (b"\xff", r#""\ufffd""#),
            (b"a\xe2\x82b\xe2", r#""a\ufffd\ufffdb\ufffd""#),
            (b"\xed\xa0\x80", r#""\ufffd\ufffd\ufffd""#),
        ];
        for (text, want) in cases {
            check(|out| push_string(out, text), want);
        }
    }

    #[test]
    fn values_have_no_exponent() {
        let cases = [
            (1.0, "\"1\""),
            (0.5, "\"0.5\""),
            (-2.25, "\"-2.25\""),
            (0.1 + 0.2, "\"0.30000000000000004\""),
            (1e21, "\"1000000000000000000000\""),
            (1e-7, "\"0.0000001\""),
            (f64::NAN, "\"NaN\""),
            (f64::INFINITY, "\"+Inf\""),
            (f64::NEG_INFINITY, "\"-Inf\""),
        ];
        for (value, want) in cases {
            check(|out| push_value(out, value), want);
        }
        check(
            |out| push_value(out, 1e300),
            &format!("\"1{}\"", "0".repeat(300)),
        );
    }

    #[test]
    fn times_are_seconds_with_milliseconds() {
        let cases = [
            (0, "0"),
            (1_795_168_410_000_000_000, "1795168410"),
            (1_795_168_409_326_999_999, "1795168409.326"),
            (1_500_000_000, "1.5"),
            (1_050_000_000, "1.05"),
            (-1_500_000_000, "-1.5"),
            (-500_000_000, "-0.5"),
            (999_999, "0"),
        ];
        for (ns, want) in cases {
            check(|out| push_seconds(out, ns), want);
        }
    }

    #[test]
    fn objects_keep_their_order() {
        check(|out| push_object(out, []), "{}");
        check(
            |out| push_object(out, [("b", "1"), ("a", "\"")]),
            r#"{"b":"1","a":"\""}"#,
        );
    }

    proptest::proptest! {
        #[test]
        fn strings_read_back(text in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let mut out = Vec::new();
            push_string(&mut out, &text);
            let back: String = serde_json::from_slice(&out).unwrap();
            if let Ok(valid) = std::str::from_utf8(&text) {
                proptest::prop_assert_eq!(back, valid);
            }
        }
    }
}
