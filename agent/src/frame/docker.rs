//! Docker's json-file: one object a line, `{"log":"text\n","stream":"stdout","time":"..."}`.
//!
//! A piece of a split line has no `\n` at the end of `log`. Members in any order, unknown members are passed over.

use super::cri::{TimeCache, parse_time};

/// A parsed object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) ts: i64,
    /// 0 stdout, 1 stderr.
    pub(crate) stream: usize,
    /// The text, still escaped, without the quotes.
    pub(crate) raw: &'a [u8],
}

/// Nesting that is passed over; deeper values make the line malformed.
const MAX_DEPTH: usize = 32;

/// Parses a line; `None` if it is not such an object.
pub(crate) fn parse<'a>(line: &'a [u8], cache: &mut TimeCache) -> Option<Record<'a>> {
    let mut p = Scanner { text: line, at: 0 };
    let (mut raw, mut stream, mut ts) = (None, 0, None);
    p.expect(b'{')?;
    loop {
        let name = p.string()?;
        p.expect(b':')?;
        match name {
            b"log" => raw = Some(p.string()?),
            b"stream" => stream = usize::from(p.string()? == b"stderr"),
            b"time" => {
                let text = p.string()?;
                let (ns, n) = parse_time(text, cache)?;
                ts = (n == text.len()).then_some(ns);
            }
            _ => p.skip_value()?,
        }
        match p.next()? {
            b',' => {}
            b'}' => break,
            _ => return None,
        }
    }
    p.blank();
    (p.at == line.len()).then_some(())?;
    Some(Record {
        ts: ts?,
        stream,
        raw: raw?,
    })
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn blank(&mut self) {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }
    /// The next byte that is not blank.
    fn next(&mut self) -> Option<u8> {
        self.blank();
        let b = *self.text.get(self.at)?;
        self.at += 1;
        Some(b)
    }
    fn expect(&mut self, want: u8) -> Option<()> {
        (self.next()? == want).then_some(())
    }
    /// A string's bytes between the quotes, escapes as they stand.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.expect(b'"')?;
        let start = self.at;
        loop {
            let n = memchr::memchr2(b'"', b'\\', self.text.get(self.at..)?)?;
            self.at += n;
            if self.text[self.at] == b'"' {
                self.at += 1;
                return Some(&self.text[start..self.at - 1]);
            }
            self.at += 2;
        }
    }
    fn skip_value(&mut self) -> Option<()> {
        let mut depth = 0;
        loop {
            self.blank();
            match *self.text.get(self.at)? {
                b'"' => {
                    self.string()?;
                }
                b'{' | b'[' if depth < MAX_DEPTH => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b':' if depth > 0 => self.at += 1,
                b if b.is_ascii_alphanumeric() || b"+-.".contains(&b) => {
                    let word = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
                    self.at += self.text[self.at..].iter().take_while(|b| word(b)).count();
                }
                _ => return None,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }
}

/// Undoes JSON's escapes, appending to `out`. What is not an escape stays as it is; the output is never longer.
pub(crate) fn unescape(mut raw: &[u8], out: &mut Vec<u8>) {
    while let Some(n) = memchr::memchr(b'\\', raw) {
        out.extend_from_slice(&raw[..n]);
        raw = &raw[n + 1..];
        let plain = match raw.first() {
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'r') => b'\r',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b @ (b'"' | b'\\' | b'/')) => *b,
            Some(b'u') => {
                raw = unescape_unicode(raw, out);
                continue;
            }
            _ => {
                out.push(b'\\');
                continue;
            }
        };
        out.push(plain);
        raw = &raw[1..];
    }
    out.extend_from_slice(raw);
}

/// Handles `uXXXX` and surrogate pairs; returns what follows.
fn unescape_unicode<'a>(raw: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    let unit = |at: usize| -> Option<u32> {
        let hex = std::str::from_utf8(raw.get(at..at + 4)?).ok()?;
        hex.bytes().all(|b| b.is_ascii_hexdigit()).then_some(())?;
        u32::from_str_radix(hex, 16).ok()
    };
    let Some(first) = unit(1) else {
        out.push(b'\\');
        return raw;
    };
    let pair = (0xd800..0xdc00).contains(&first) && raw.get(5..7) == Some(b"\\u");
    if pair
        && let Some(second) = unit(7).filter(|s| (0xdc00..0xe000).contains(s))
        && let Some(c) = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))
    {
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        return &raw[11..];
    }
    let c = char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    &raw[5..]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, want: Option<(usize, &str)>) {
        let got = parse(line.as_bytes(), &mut TimeCache::new()).map(|r| {
            assert_eq!(r.ts, 1_795_166_876_500_000_000);
            let mut out = Vec::new();
            unescape(r.raw, &mut out);
            assert!(out.len() <= r.raw.len());
            (r.stream, String::from_utf8(out).unwrap())
        });
        assert_eq!(got, want.map(|(s, t)| (s, t.to_owned())), "{line}");
    }

    #[test]
    fn objects_and_near_misses() {
        let t = r#""time":"2026-11-20T09:27:56.5Z""#;
        check(
            &format!(r#"{{"log":"a\n","stream":"stdout",{t}}}"#),
            Some((0, "a\n")),
        );
        check(
            &format!(r#"{{"log":"a","stream":"stderr",{t}}}"#),
            Some((1, "a")),
        );
        check(
            &format!(
                r#"{{"attrs":{{"a":[1,{{"b":"}}"}}]}},"log":"\"\\\u003c\ud83d\ude00\ud83d\t\q\u12","x":null,{t}}}"#
            ),
            Some((0, "\"\\<\u{1f600}\u{fffd}\t\\q\\u12")),
        );
        check(&format!(r#"{{"log":"a",{t}"#), None);
        check(&format!(r#"{{"log":"a",{t}}} x"#), None);
        check(r#"{"log":"a"}"#, None);
        check(&format!("{{{t}}}"), None);
        check(&format!(r#"{{"log":1,{t}}}"#), None);
        check(&format!(r#"{{"x":{},{t}}}"#, "[".repeat(100)), None);
        check("{", None);
        check(r#"{"log":"\"#, None);
    }
}
