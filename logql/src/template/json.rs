//! JSON text to values, as strict as Go's `encoding/json`: for the function `fromJson`.
//!
//! Bounds: lists and objects nest at most [`DEPTH_MAX`] deep; the work is proportional to the text.

use std::sync::Arc;

use super::value::Json;

/// Deepest nesting; decoding, printing and freeing recurse. Deeper text is an error of the function.
const DEPTH_MAX: usize = 128;

/// Why a text was not decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// No JSON: Loki's functions give nil then.
    Invalid,
    Deep,
}

impl Fault {
    pub(super) fn text(self) -> String {
        match self {
            Fault::Invalid => "invalid JSON".to_owned(),
            Fault::Deep => format!("JSON nests deeper than {DEPTH_MAX} levels"),
        }
    }
}

/// Decodes a whole text.
pub(super) fn decode(text: &[u8]) -> Result<Json, Fault> {
    let mut reader = Reader {
        text,
        at: 0,
        depth: 0,
    };
    let value = reader.value()?;
    reader.blanks();
    if reader.at < text.len() {
        return Err(Fault::Invalid);
    }
    Ok(value)
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8) -> Result<(), Fault> {
        if self.accept(byte) {
            Ok(())
        } else {
            Err(Fault::Invalid)
        }
    }

    fn value(&mut self) -> Result<Json, Fault> {
        self.blanks();
        match self.peek().ok_or(Fault::Invalid)? {
            b'{' => self.nested(Self::map),
            b'[' => self.nested(Self::list),
            b'"' => Ok(Json::Str(self.string()?)),
            b't' => self.word("true", Json::Bool(true)),
            b'f' => self.word("false", Json::Bool(false)),
            b'n' => self.word("null", Json::Null),
            _ => self.number(),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Json, Fault>) -> Result<Json, Fault> {
        if self.depth == DEPTH_MAX {
            return Err(Fault::Deep);
        }
        self.depth += 1;
        self.at += 1;
        let value = read(self);
        self.depth -= 1;
        value
    }

    fn word(&mut self, word: &str, value: Json) -> Result<Json, Fault> {
        if !self.text[self.at..].starts_with(word.as_bytes()) {
            return Err(Fault::Invalid);
        }
        self.at += word.len();
        Ok(value)
    }

    fn list(&mut self) -> Result<Json, Fault> {
        let mut items = Vec::new();
        self.blanks();
        if !self.accept(b']') {
            loop {
                items.push(self.value()?);
                self.blanks();
                if self.accept(b']') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        Ok(Json::List(items.into()))
    }

    fn map(&mut self) -> Result<Json, Fault> {
        let mut members: Vec<(Arc<str>, Json)> = Vec::new();
        self.blanks();
        if !self.accept(b'}') {
            loop {
                self.blanks();
                let name = self.string()?;
                self.blanks();
                self.expect(b':')?;
                members.push((name, self.value()?));
                self.blanks();
                if self.accept(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        // Of equal names the last one counts: reversed, it is the one that stays.
        members.reverse();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.dedup_by(|later, kept| later.0 == kept.0);
        Ok(Json::Map(members.into()))
    }

    fn number(&mut self) -> Result<Json, Fault> {
        let start = self.at;
        self.accept(b'-');
        if !self.accept(b'0') {
            self.digits()?;
        }
        if self.accept(b'.') {
            self.digits()?;
        }
        if self.accept(b'e') || self.accept(b'E') {
            let _ = self.accept(b'+') || self.accept(b'-');
            self.digits()?;
        }
        let text = std::str::from_utf8(&self.text[start..self.at]).map_err(|_| Fault::Invalid)?;
        let value: f64 = text.parse().map_err(|_| Fault::Invalid)?;
        // Go leaves out a number that no float holds, which is a null here.
        Ok(if value.is_finite() {
            Json::Number(value)
        } else {
            Json::Null
        })
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            return Err(Fault::Invalid);
        }
        Ok(())
    }

    /// A string; bytes that are not UTF-8 become U+FFFD.
    fn string(&mut self) -> Result<Arc<str>, Fault> {
        self.expect(b'"')?;
        let start = self.at;
        let plain = self.text[start..]
            .iter()
            .take_while(|b| !matches!(b, b'"' | b'\\' | ..b' '))
            .count();
        if self.text.get(start + plain) == Some(&b'"') {
            self.at = start + plain + 1;
            return Ok(valid_text(&self.text[start..start + plain]));
        }
        let mut out = Vec::new();
        loop {
            let byte = self.peek().ok_or(Fault::Invalid)?;
            self.at += 1;
            match byte {
                b'"' => return Ok(valid_text(&out)),
                b'\\' => self.escape(&mut out)?,
                ..b' ' => return Err(Fault::Invalid),
                _ => out.push(byte),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), Fault> {
        let byte = self.peek().ok_or(Fault::Invalid)?;
        self.at += 1;
        out.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 8,
            b'f' => 12,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let c = self.unicode()?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(Fault::Invalid),
        });
        Ok(())
    }

    /// The character of `\uXXXX`, or of two of them that are a surrogate pair; a lone surrogate is U+FFFD.
    fn unicode(&mut self) -> Result<char, Fault> {
        let high = self.hex()?;
        if let Some(c) = char::from_u32(high) {
            return Ok(c);
        }
        let after = self.at;
        if (0xd800..0xdc00).contains(&high) && self.text[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            self.at = after;
        }
        Ok('\u{fffd}')
    }

    fn hex(&mut self) -> Result<u32, Fault> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(Fault::Invalid)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, b| {
            let digit = char::from(*b).to_digit(16).ok_or(Fault::Invalid)?;
            Ok(value * 16 + digit)
        })
    }
}

/// Text in which each byte that is not UTF-8 is U+FFFD.
fn valid_text(bytes: &[u8]) -> Arc<str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.into();
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| '\u{fffd}'));
    }
    text.into()
}
