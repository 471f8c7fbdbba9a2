//! Members and values of JSON as Loki's parser sees them: it skips what it does not look at, so that many faults go
//! unnoticed, and names those that it meets in its own way.

use super::marks::{Marks, Quotes};
use super::scan::{quote_or_bracket, string_end};
use super::unescape;

/// Why a line is no JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Object,
    Array,
    Text,
    Json,
    Kind,
    Escape,
}

impl Fault {
    /// The text in `__error_details__`.
    pub(super) fn text(self) -> &'static str {
        match self {
            Fault::Object => "Value looks like object, but can't find closing '}' symbol",
            Fault::Array => "Value is array, but can't find closing ']' symbol",
            Fault::Text => "Value is string, but can't find closing '\"' symbol",
            Fault::Json => "Malformed JSON error",
            Fault::Kind => "Unknown value type",
            Fault::Escape => "Encountered an invalid escape sequence in a string",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text without its quotes.
    Text,
    Number,
    Bool,
    Null,
    Array,
    Object,
}

/// A value as written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Value<'l> {
    pub(super) kind: Kind,
    pub(super) text: &'l [u8],
    /// Where the text begins.
    pub(super) at: usize,
    /// Whether a text has escapes.
    pub(super) escaped: bool,
}

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member<'l> {
    pub(super) key: &'l [u8],
    /// Where the key begins.
    pub(super) key_at: usize,
    pub(super) key_escaped: bool,
    pub(super) value: Value<'l>,
}

/// Position of what is no blank, from `at` on.
#[inline(always)]
pub(super) fn token(data: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    loop {
        match data.get(at)? {
            b' ' | b'\n' | b'\r' | b'\t' => at += 1,
            _ => return Some(at),
        }
    }
}

/// Position behind the bracket that closes the one at `at`.
pub(super) fn block_end(data: &[u8], at: usize, open: u8, close: u8) -> Option<usize> {
    let mut depth = 0usize;
    let mut at = at;
    loop {
        at = quote_or_bracket(data, at, open, close)?;
        let byte = data[at];
        if byte == b'"' {
            at = string_end(data, at + 1)?.0;
        } else if byte == open {
            depth += 1;
        } else {
            depth = depth.saturating_sub(1);
            if depth == 0 {
                return Some(at + 1);
            }
        }
        at += 1;
    }
}

/// The value that begins at `at` or after blanks, and where it ends.
pub(super) fn value(data: &[u8], at: usize) -> Result<(Value<'_>, usize), Fault> {
    let at = token(data, at).ok_or(Fault::Json)?;
    let found = |kind, from, to, end| {
        let value = Value {
            kind,
            text: &data[from..to],
            at: from,
            escaped: false,
        };
        Ok((value, end))
    };
    match data[at] {
        b'"' => {
            let (end, escaped) = string_end(data, at + 1).ok_or(Fault::Text)?;
            let value = Value {
                kind: Kind::Text,
                text: &data[at + 1..end],
                at: at + 1,
                escaped,
            };
            Ok((value, end + 1))
        }
        b'[' => {
            let end = block_end(data, at, b'[', b']').ok_or(Fault::Array)?;
            found(Kind::Array, at, end, end)
        }
        b'{' => {
            let end = block_end(data, at, b'{', b'}').ok_or(Fault::Object)?;
            found(Kind::Object, at, end, end)
        }
        first => {
            let (kind, end) = word(data, at, first)?;
            found(kind, at, end, end)
        }
    }
}

/// Bytes that end a number, `true`, `false` or `null`.
const WORD_ENDS: [bool; 256] = {
    let mut ends = [false; 256];
    let mut i = 0;
    while i < b" \n\r\t,}]".len() {
        ends[b" \n\r\t,}]"[i] as usize] = true;
        i += 1;
    }
    ends
};

/// A value without quotes or brackets, which begins with a byte at `at`: what it is, and its end.
#[inline(always)]
fn word(data: &[u8], at: usize, first: u8) -> Result<(Kind, usize), Fault> {
    let mut end = at + 1;
    while let Some(byte) = data.get(end) {
        if WORD_ENDS[usize::from(*byte)] {
            break;
        }
        end += 1;
    }
    let kind = match (first, &data[at..end]) {
        (b'0'..=b'9' | b'-', _) => Kind::Number,
        (_, b"true" | b"false") => Kind::Bool,
        (_, b"null") => Kind::Null,
        _ => return Err(Fault::Kind),
    };
    Ok((kind, end))
}

/// The members of the object that data begins with. What follows the object is not looked at.
#[derive(Debug)]
pub(super) struct Members<'l> {
    data: &'l [u8],
    at: usize,
    begun: bool,
    /// Quotes from `at` on.
    quotes: Marks<'l, Quotes>,
    /// Whether there are escapes anywhere.
    escapes: bool,
}

impl<'l> Members<'l> {
    #[inline]
    pub(super) fn new(data: &'l [u8]) -> Self {
        Members {
            data,
            at: 0,
            begun: false,
            quotes: Marks::new(data),
            escapes: memchr::memchr(b'\\', data).is_some(),
        }
    }

    /// Position of the next key's quote or of the closing brace.
    #[inline(always)]
    fn next_key(&mut self) -> Result<usize, Fault> {
        let data = self.data;
        if self.begun {
            let at = token(data, self.at).ok_or(Fault::Array)?;
            return match data[at] {
                b'}' => Ok(at),
                b',' => token(data, at + 1).ok_or(Fault::Array),
                _ => Err(Fault::Object),
            };
        }
        self.begun = true;
        let at = token(data, self.at).ok_or(Fault::Object)?;
        if data[at] != b'{' {
            return Err(Fault::Object);
        }
        token(data, at + 1).ok_or(Fault::Json)
    }

    /// The quote that ends the string which begins with the next quote at hand, and whether the string has escapes.
    #[inline(always)]
    fn string_end(&mut self, open: usize) -> Option<(usize, bool)> {
        let begin = self.quotes.next()?;
        debug_assert_eq!(begin, open, "quotes are taken in step with the text");
        let end = self.quotes.next()?;
        if self.escapes {
            self.escaped_end(open, end)
        } else {
            Some((end, false))
        }
    }

    /// Position behind the bracket that closes the one at `at`.
    fn block_end(&mut self, at: usize, open: u8, close: u8) -> Option<usize> {
        let data = self.data;
        let mut depth = 0usize;
        let mut at = at;
        loop {
            // Between strings there are few bytes.
            let quote = self.quotes.peek().unwrap_or(data.len());
            for (i, byte) in data[at..quote].iter().enumerate() {
                if *byte == open {
                    depth += 1;
                } else if *byte == close {
                    depth = depth.saturating_sub(1);
                    if depth == 0 {
                        return Some(at + i + 1);
                    }
                }
            }
            at = self.string_end(quote)?.0 + 1;
        }
    }

    #[inline(never)]
    fn escaped_end(&mut self, open: usize, mut end: usize) -> Option<(usize, bool)> {
        loop {
            let text = &self.data[open + 1..end];
            let slashes = text.iter().rev().take_while(|b| **b == b'\\').count();
            if slashes % 2 == 0 {
                return Some((end, memchr::memchr(b'\\', text).is_some()));
            }
            end = self.quotes.next()?;
        }
    }

    /// The value that begins at `at` or after blanks, and where it ends.
    #[inline(always)]
    fn value(&mut self, at: usize) -> Result<(Value<'l>, usize), Fault> {
        let data = self.data;
        let at = token(data, at).ok_or(Fault::Json)?;
        let first = data[at];
        let mut escaped = false;
        let (kind, from, to, end) = match first {
            b'"' => {
                let (end, has_escapes) = self.string_end(at).ok_or(Fault::Text)?;
                escaped = has_escapes;
                (Kind::Text, at + 1, end, end + 1)
            }
            b'[' => {
                let end = self.block_end(at, b'[', b']').ok_or(Fault::Array)?;
                (Kind::Array, at, end, end)
            }
            b'{' => {
                let end = self.block_end(at, b'{', b'}').ok_or(Fault::Object)?;
                (Kind::Object, at, end, end)
            }
            _ => {
                let (kind, end) = word(data, at, first)?;
                // A number is not checked, and may hold quotes.
                while self.quotes.peek().is_some_and(|quote| quote < end) {
                    self.quotes.next();
                }
                (kind, at, end, end)
            }
        };
        let value = Value {
            kind,
            text: &data[from..to],
            at: from,
            escaped,
        };
        Ok((value, end))
    }

    /// The next member; `None` after the last.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Result<Option<Member<'l>>, Fault> {
        let data = self.data;
        let at = self.next_key()?;
        match data[at] {
            b'"' => {}
            b'}' => return Ok(None),
            _ => return Err(Fault::Object),
        }
        let (end, key_escaped) = self.string_end(at).ok_or(Fault::Json)?;
        let key_at = at + 1;
        let key = &data[key_at..end];
        if key_escaped && !unescape::is_json(key) {
            return Err(Fault::Escape);
        }
        let at = token(data, end + 1).ok_or(Fault::Json)?;
        if data[at] != b':' {
            return Err(Fault::Json);
        }
        let (value, end) = self.value(at + 1)?;
        self.at = end;
        Ok(Some(Member {
            key,
            key_at,
            key_escaped,
            value,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys and values, and the fault behind them.
    fn members(text: &str) -> String {
        let mut members = Members::new(text.as_bytes());
        let mut out = Vec::new();
        loop {
            match members.next() {
                Ok(Some(m)) => {
                    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                    out.push(format!("{}={}", text(m.key), text(m.value.text)));
                }
                Ok(None) => return out.join(" "),
                Err(fault) => {
                    out.push(format!("{fault:?}"));
                    return out.join(" ");
                }
            }
        }
    }

    #[test]
    fn members_and_faults() {
        for (text, expected) in [
            (r#"{}"#, ""),
            (r#" { } "#, ""),
            (r#"{"a":1}"#, "a=1"),
            (r#"{"a":1,}"#, "a=1"),
            (r#"{"a":1} junk"#, "a=1"),
            (
                r#"{ "a" : "x y" , "b":[1,{"c":"]"}],"d":{"e":"}"} }"#,
                "a=x y b=[1,{\"c\":\"]\"}] d={\"e\":\"}\"}",
            ),
            (
                r#"{"a":-1e3,"b":true,"c":null,"d":12abc}"#,
                "a=-1e3 b=true c=null d=12abc",
            ),
            (r#"{"a\"b":"c\\"}"#, "a\\\"b=c\\\\"),
            (
                r#"{"a":1"2,"b":{"c":3"4"},"d":5}"#,
                "a=1\"2 b={\"c\":3\"4\"} d=5",
            ),
            (r#"{"a":1",3"}"#, "a=1\" Object"),
            ("", "Object"),
            ("[1]", "Object"),
            ("x", "Object"),
            ("{", "Json"),
            ("{x", "Object"),
            (r#"{"a"#, "Json"),
            (r#"{"a""#, "Json"),
            (r#"{"a" 1}"#, "Json"),
            (r#"{"a":"#, "Json"),
            (r#"{"a":1"#, "a=1 Array"),
            (r#"{"a":1,"#, "a=1 Array"),
            (r#"{"a":1 "b":2}"#, "a=1 Object"),
            (r#"{"a":1,2}"#, "a=1 Object"),
            (r#"{"a":tru}"#, "Kind"),
            (r#"{"a":undefined}"#, "Kind"),
            (r#"{"a":x}"#, "Kind"),
            (r#"{"a":"x}"#, "Text"),
            (r#"{"a":[1}"#, "Array"),
            (r#"{"a":{"b":1"#, "Object"),
            (r#"{"\q":1}"#, "Escape"),
        ] {
            assert_eq!(members(text), expected, "{text}");
        }
    }
}
