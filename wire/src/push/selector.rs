//! The labels of a protobuf stream: Prometheus's text of a label set, `{a="b", c="d"}`, with its error texts.
//!
//! ```text
//! set   := [name] ["{" [item {"," item} [","]] "}"]
//! item  := name "=" quoted | quoted "=" quoted | quoted        the last is a value of __name__
//! name  := [a-zA-Z_][a-zA-Z0-9_]*
//! ```

use super::BadLabels;
use crate::labels::{LabelError, LabelSet};

/// Characters of a quoted text that an error shows.
const SHOWN: usize = 10;

/// Whether a label name may stand without quotes.
pub(super) fn is_name(name: &str) -> bool {
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(start) && name.bytes().all(|b| start(b) || b.is_ascii_digit())
}

/// A set that the encoding cannot hold.
pub(super) fn too_long(error: &LabelError) -> BadLabels {
    BadLabels::Syntax(match error {
        LabelError::NotUtf8 | LabelError::Empty => "a label name is not a name".to_owned(),
        error => error.to_string(),
    })
}

/// Parses a label set.
pub(super) fn parse(text: &[u8]) -> Result<LabelSet, BadLabels> {
    let mut parser = Parser {
        text,
        at: 0,
        inside: false,
    };
    let mut pairs = Vec::new();
    match parser.set(&mut pairs) {
        Ok(()) => {}
        Err(Fault { at, what }) => {
            let before = &text[..at.min(text.len())];
            let line = before.iter().filter(|b| **b == b'\n').count() + 1;
            let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
            return Err(BadLabels::Syntax(format!(
                "{line}:{column}: parse error: {what}"
            )));
        }
    }
    pairs.retain(|(_, value)| !value.is_empty());
    // Stable, so that values of one name are shown in their order.
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    if let Some(two) = pairs.windows(2).find(|two| two[0].0 == two[1].0) {
        let name = two[0].0.clone();
        return Err(BadLabels::Duplicate(pairs, name));
    }
    LabelSet::from_pairs(pairs).map_err(|error| too_long(&error))
}

struct Fault {
    at: usize,
    what: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Name,
    /// Without quotes and escapes.
    Quoted(String),
    Equal,
    Other,
    Comma,
    Open,
    Close,
    End,
}

struct Token<'a> {
    at: usize,
    text: &'a [u8],
    kind: Kind,
}

impl Token<'_> {
    fn name(&self) -> String {
        String::from_utf8_lossy(self.text).into_owned()
    }

    /// As Prometheus names what it did not expect.
    fn shown(&self) -> String {
        let text = String::from_utf8_lossy(self.text);
        match self.kind {
            Kind::End => "end of input".to_owned(),
            Kind::Name => format!("identifier {text:?}"),
            Kind::Quoted(_) if text.len() > SHOWN => {
                let short: String = text.chars().take(SHOWN).collect();
                format!("string {short:?}...")
            }
            Kind::Quoted(_) => format!("string {text:?}"),
            Kind::Other => format!("<op:{text}>"),
            Kind::Equal | Kind::Comma | Kind::Open | Kind::Close => format!("{text:?}"),
        }
    }

    fn unexpected<T>(&self, wanted: &str) -> Result<T, Fault> {
        let context = match wanted {
            "" => String::new(),
            wanted => format!(" in label set, expected {wanted}"),
        };
        Err(Fault {
            at: self.at,
            what: format!("unexpected {}{context}", self.shown()),
        })
    }
}

struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    /// Between braces, where characters that mean nothing have texts of their own.
    inside: bool,
}

impl<'a> Parser<'a> {
    fn set(&mut self, pairs: &mut Vec<(String, String)>) -> Result<(), Fault> {
        let mut token = self.token()?;
        if token.kind == Kind::Name {
            pairs.push(("__name__".to_owned(), token.name()));
            token = self.token()?;
        }
        if token.kind == Kind::Open {
            self.items(pairs)?;
            token = self.token()?;
        }
        if token.kind == Kind::End {
            return Ok(());
        }
        token.unexpected("")
    }

    fn items(&mut self, pairs: &mut Vec<(String, String)>) -> Result<(), Fault> {
        self.inside = true;
        loop {
            let token = self.token()?;
            let next = match token.kind {
                Kind::Close => {
                    self.inside = false;
                    return Ok(());
                }
                Kind::Name => {
                    let equal = self.token()?;
                    if equal.kind != Kind::Equal {
                        return equal.unexpected("\"=\"");
                    }
                    pairs.push((token.name(), self.value()?));
                    self.token()?
                }
                Kind::Quoted(ref name) => {
                    let next = self.token()?;
                    if next.kind == Kind::Equal {
                        pairs.push((name.clone(), self.value()?));
                        self.token()?
                    } else {
                        pairs.push(("__name__".to_owned(), name.clone()));
                        next
                    }
                }
                _ => return token.unexpected("identifier or \"}\""),
            };
            match next.kind {
                Kind::Comma => {}
                Kind::Close => {
                    self.inside = false;
                    return Ok(());
                }
                _ => {
                    return next.unexpected("\",\" or \"}\"");
                }
            }
        }
    }

    fn value(&mut self) -> Result<String, Fault> {
        let token = self.token()?;
        match token.kind {
            Kind::Quoted(value) => Ok(value),
            _ => token.unexpected("string"),
        }
    }

    fn token(&mut self) -> Result<Token<'a>, Fault> {
        loop {
            match self.text.get(self.at) {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                Some(b'#') => {
                    let rest = &self.text[self.at..];
                    let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
                    self.at += end;
                }
                _ => break,
            }
        }
        let at = self.at;
        let rest = &self.text[at..];
        let name = |b: &u8| b.is_ascii_alphanumeric() || *b == b'_' || (*b == b':' && !self.inside);
        let (len, kind) = match rest {
            [] if self.inside => {
                return self.fault(at, "unexpected end of input inside braces");
            }
            [] => (0, Kind::End),
            [b'=' | b'!', b'~', ..] | [b'!', b'=', ..] => (2, Kind::Other),
            [b'=', ..] => (1, Kind::Equal),
            [b',', ..] => (1, Kind::Comma),
            [b'{', ..] if self.inside => return self.fault(at, "unexpected left brace '{'"),
            [b'{', ..] => (1, Kind::Open),
            [b'}', ..] if self.inside => (1, Kind::Close),
            [b'"' | b'\'' | b'`', ..] => {
                let (value, len) = self.quoted(at)?;
                (len, Kind::Quoted(value))
            }
            [b, ..] if b.is_ascii_alphabetic() || *b == b'_' => {
                let len = rest.iter().position(|b| !name(b)).unwrap_or(rest.len());
                (len, Kind::Name)
            }
            _ => {
                let shown = String::from_utf8_lossy(&rest[..rest.len().min(4)]);
                let shown = shown.chars().next().unwrap_or('\u{fffd}');
                let place = if self.inside { " inside braces" } else { "" };
                return self.fault(at, &format!("unexpected character{place}: {shown:?}"));
            }
        };
        self.at += len;
        Ok(Token {
            at,
            text: &rest[..len],
            kind,
        })
    }

    fn fault<T>(&self, at: usize, what: &str) -> Result<T, Fault> {
        Err(Fault {
            at,
            what: what.to_owned(),
        })
    }

    /// The quoted text at a position, and its length with quotes.
    fn quoted(&self, at: usize) -> Result<(String, usize), Fault> {
        let quote = self.text[at];
        let raw = quote == b'`';
        let mut out = Vec::new();
        let mut i = at + 1;
        loop {
            match self.text.get(i) {
                None if raw => return self.fault(at, "unterminated raw string"),
                None => return self.fault(at, "unterminated quoted string"),
                Some(b'\n') if !raw => return self.fault(at, "unterminated quoted string"),
                Some(b) if *b == quote => break,
                Some(b'\\') if !raw => i = self.escape(at, i, quote, &mut out)?,
                Some(b) => {
                    out.push(*b);
                    i += 1;
                }
            }
        }
        if std::str::from_utf8(&self.text[at..i]).is_err() {
            return self.fault(at, "invalid UTF-8 rune");
        }
        // Only an escape such as \xff can still be no text.
        Ok((String::from_utf8_lossy(&out).into_owned(), i + 1 - at))
    }

    /// Undoes the escape at `i`; where it ends.
    fn escape(&self, at: usize, i: usize, quote: u8, out: &mut Vec<u8>) -> Result<usize, Fault> {
        let Some(&kind) = self.text.get(i + 1) else {
            return self.fault(at, "escape sequence not terminated");
        };
        let (digits, radix, from) = match kind {
            b'0'..=b'7' => (3, 8, i + 1),
            b'x' => (2, 16, i + 2),
            b'u' => (4, 16, i + 2),
            b'U' => (8, 16, i + 2),
            _ => {
                let byte = match kind {
                    b'a' => 7,
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'v' => 11,
                    b'\\' => b'\\',
                    b if b == quote => b,
                    b => {
                        let c = char::from(b);
                        let code = u32::from(b);
                        let what = format!("unknown escape sequence U+{code:04X} '{c}'");
                        return self.fault(at, &what);
                    }
                };
                out.push(byte);
                return Ok(i + 2);
            }
        };
        let Some(text) = self.text.get(from..from + digits) else {
            return self.fault(at, "escape sequence not terminated");
        };
        let value = text.iter().try_fold(0u32, |n, d| {
            Some(n.checked_mul(radix)? + char::from(*d).to_digit(radix)?)
        });
        let Some(value) = value else {
            return self.fault(at, "illegal character in escape sequence");
        };
        let c = char::from_u32(value);
        match (kind, c) {
            (b'u' | b'U', Some(c)) => {
                let mut utf8 = [0; 4];
                out.extend_from_slice(c.encode_utf8(&mut utf8).as_bytes());
            }
            (b'x' | b'0'..=b'7', _) if value <= 255 => out.push(value as u8),
            _ => {
                let what = "escape sequence is an invalid Unicode code point";
                return self.fault(at, what);
            }
        }
        Ok(from + digits)
    }
}
