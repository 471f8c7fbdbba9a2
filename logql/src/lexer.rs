//! Text to tokens, lazily: a fault right of a syntax error is never seen.
//!
//! Positions are what Loki reports: the token's first character, line and column from 1 in characters. The line is 0
//! for tokens that Loki's lexer completes by hand (two-character operators, durations, sizes, ranges, flags).

use crate::ParseError;
use crate::error::{at, limit};
use crate::format::{parse_bytes, parse_go_duration, parse_prometheus_duration};

/// Longest query in bytes that is read, Loki's own bound; longer ones are refused.
pub(crate) const MAX_QUERY_BYTES: usize = 131_072;

/// A token. Punctuation and reserved words carry the name under which error messages list them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tok {
    End,
    Ident(String),
    Str(Vec<u8>),
    Number(String),
    /// Nanoseconds.
    Duration(i64),
    Bytes(u64),
    /// Nanoseconds.
    Range(i64),
    Flag(&'static str),
    Word(&'static str),
}

impl Tok {
    /// The name in error messages.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Tok::End => "$end",
            Tok::Ident(_) => "IDENTIFIER",
            Tok::Str(_) => "STRING",
            Tok::Number(_) => "NUMBER",
            Tok::Duration(_) => "DURATION",
            Tok::Bytes(_) => "BYTES",
            Tok::Range(_) => "RANGE",
            Tok::Flag(_) => "FUNCTION_FLAG",
            Tok::Word(word) => word,
        }
    }
}

/// A token and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Token {
    pub(crate) tok: Tok,
    pub(crate) line: u32,
    pub(crate) col: u32,
}

/// Words that can never be a label name.
const RESERVED: [&str; 22] = [
    "by",
    "without",
    "bool",
    "offset",
    "on",
    "ignoring",
    "group_left",
    "group_right",
    "or",
    "and",
    "unless",
    "unwrap",
    "json",
    "regexp",
    "logfmt",
    "unpack",
    "pattern",
    "label_format",
    "line_format",
    "decolorize",
    "drop",
    "keep",
];

/// Words that are reserved only in front of `(` (or of `by (`, `without (`), and their names in error messages.
const FUNCTIONS: [(&str, &str); 33] = [
    ("rate", "RATE"),
    ("rate_counter", "RATE_COUNTER"),
    ("count_over_time", "COUNT_OVER_TIME"),
    ("bytes_rate", "BYTES_RATE"),
    ("bytes_over_time", "BYTES_OVER_TIME"),
    ("avg_over_time", "AVG_OVER_TIME"),
    ("sum_over_time", "SUM_OVER_TIME"),
    ("min_over_time", "MIN_OVER_TIME"),
    ("max_over_time", "MAX_OVER_TIME"),
    ("stddev_over_time", "STDDEV_OVER_TIME"),
    ("stdvar_over_time", "STDVAR_OVER_TIME"),
    ("quantile_over_time", "QUANTILE_OVER_TIME"),
    ("first_over_time", "FIRST_OVER_TIME"),
    ("last_over_time", "LAST_OVER_TIME"),
    ("absent_over_time", "ABSENT_OVER_TIME"),
    ("sum", "SUM"),
    ("avg", "AVG"),
    ("max", "MAX"),
    ("min", "MIN"),
    ("count", "COUNT"),
    ("stddev", "STDDEV"),
    ("stdvar", "STDVAR"),
    ("bottomk", "BOTTOMK"),
    ("topk", "TOPK"),
    ("approx_topk", "APPROX_TOPK"),
    ("sort", "SORT"),
    ("sort_desc", "SORT_DESC"),
    ("vector", "VECTOR"),
    ("label_replace", "label_replace"),
    ("ip", "ip"),
    ("bytes", "BYTES_CONV"),
    ("duration", "DURATION_CONV"),
    ("duration_seconds", "DURATION_SECONDS_CONV"),
];

const TWO_CHAR: [&str; 10] = ["=~", "!=", "!~", "!>", "|=", "|~", "|>", "==", ">=", "<="];
const ONE_CHAR: [&str; 16] = [
    "{", "}", "(", ")", ",", ".", "=", "|", "+", "-", "*", "/", "%", "^", ">", "<",
];

/// Reads tokens from a query.
#[derive(Debug)]
pub(crate) struct Lexer<'q> {
    rest: &'q str,
    line: u32,
    col: u32,
    /// Position of the token read last: where a bad character is reported.
    last: (u32, u32),
}

impl<'q> Lexer<'q> {
    pub(crate) fn new(query: &'q str) -> Result<Self, ParseError> {
        if query.len() >= MAX_QUERY_BYTES {
            return Err(limit(format!(
                "input size too long ({} > {MAX_QUERY_BYTES})",
                query.len()
            )));
        }
        Ok(Lexer {
            rest: query.strip_prefix('\u{feff}').unwrap_or(query),
            line: 1,
            col: 1,
            last: (0, 0),
        })
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        if c == '\n' {
            self.line += 1;
            self.col = 1;
        } else {
            self.col += 1;
        }
        Some(c)
    }

    fn skip(&mut self, bytes: usize) {
        let end = self.rest.len() - bytes;
        while self.rest.len() > end {
            self.bump();
        }
    }

    fn error<T>(&self, message: &str) -> Result<T, ParseError> {
        Err(at(self.last, message))
    }

    /// The next token; `Tok::End` for ever at the end.
    pub(crate) fn next(&mut self) -> Result<Token, ParseError> {
        self.skip_blanks()?;
        let (line, col) = (self.line, self.col);
        let before = self.last;
        self.last = (line, col);
        let (tok, by_hand) = match self.peek() {
            None => (Tok::End, false),
            Some('\0') => {
                self.last = before;
                return self.error("invalid character NUL");
            }
            Some('"') => (self.quoted()?, false),
            Some('`') => (self.raw()?, false),
            Some('\'') => (self.char_literal()?, false),
            Some('[') => (self.range()?, true),
            Some(c) if c.is_ascii_digit() || (c == '.' && self.digit_follows()) => self.number()?,
            Some(c) if c == '_' || c.is_alphabetic() => (self.word(), false),
            Some(_) => self.operator(),
        };
        let line = if by_hand { 0 } else { line };
        self.last = (line, col);
        if self.peek() == Some('\0') {
            return self.error("invalid character NUL");
        }
        Ok(Token { tok, line, col })
    }

    fn digit_follows(&self) -> bool {
        self.rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit)
    }

    fn skip_blanks(&mut self) -> Result<(), ParseError> {
        loop {
            match self.peek() {
                Some(' ' | '\t' | '\r' | '\n') => {
                    self.bump();
                }
                Some('#') => self.skip_line(),
                Some('/') if self.rest.starts_with("//") => self.skip_line(),
                Some('/') if self.rest.starts_with("/*") => {
                    let Some(end) = self.rest[2..].find("*/") else {
                        self.last = (self.line, self.col);
                        return self.error("comment not terminated");
                    };
                    self.skip(end + 4);
                }
                _ => return Ok(()),
            }
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.bump();
        }
    }

    fn quoted(&mut self) -> Result<Tok, ParseError> {
        let mut out = Vec::new();
        self.bump();
        loop {
            match self.bump() {
                None | Some('\n') => return self.error("literal not terminated"),
                Some('"') => return Ok(Tok::Str(out)),
                Some('\0') => return self.error("invalid character NUL"),
                Some('\\') => self.escape(&mut out)?,
                Some(c) => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
    }

    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), ParseError> {
        let Some(c) = self.peek() else {
            return self.error("literal not terminated");
        };
        let simple = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => 10,
            'r' => 13,
            't' => 9,
            'v' => 11,
            '\\' => b'\\',
            '"' => b'"',
            '0'..='7' => {
                out.push(self.digits(3, 8)? as u8);
                return Ok(());
            }
            'x' => {
                self.bump();
                out.push(self.digits(2, 16)? as u8);
                return Ok(());
            }
            'u' | 'U' => {
                self.bump();
                let value = self.digits(if c == 'u' { 4 } else { 8 }, 16)?;
                let Some(c) = char::from_u32(value) else {
                    return self.error("invalid char escape");
                };
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.error("invalid char escape"),
        };
        self.bump();
        out.push(simple);
        Ok(())
    }

    fn digits(&mut self, count: u32, radix: u32) -> Result<u32, ParseError> {
        let mut value: u32 = 0;
        for _ in 0..count {
            let Some(digit) = self.peek().and_then(|c| c.to_digit(radix)) else {
                return self.error("invalid char escape");
            };
            self.bump();
            value = value.wrapping_mul(radix).wrapping_add(digit);
        }
        if radix == 8 && value > 255 {
            return self.error("invalid char escape");
        }
        Ok(value)
    }

    fn raw(&mut self) -> Result<Tok, ParseError> {
        let Some(len) = self.rest[1..].find('`') else {
            return self.error("literal not terminated");
        };
        let text = &self.rest[1..=len];
        if text.contains('\0') {
            return self.error("invalid character NUL");
        }
        self.skip(len + 2);
        Ok(Tok::Str(text.as_bytes().to_vec()))
    }

    /// A Go character literal, which the grammar knows only as an odd identifier.
    fn char_literal(&mut self) -> Result<Tok, ParseError> {
        let mut count = 0;
        let start = self.rest;
        self.bump();
        loop {
            match self.bump() {
                None | Some('\n') => return self.error("literal not terminated"),
                Some('\'') => break,
                Some('\\') => {
                    let mut scratch = Vec::new();
                    if self.peek() == Some('\'') {
                        self.bump();
                    } else {
                        self.escape(&mut scratch)?;
                    }
                }
                Some(_) => {}
            }
            count += 1;
        }
        if count != 1 {
            return self.error("invalid char literal");
        }
        let text = &start[..start.len() - self.rest.len()];
        Ok(Tok::Ident(text.to_owned()))
    }

    fn range(&mut self) -> Result<Tok, ParseError> {
        self.last.0 = 0;
        let Some(len) = self.rest.find(']') else {
            return self.error("missing closing ']' in duration");
        };
        match parse_prometheus_duration(&self.rest[1..len]) {
            Ok(ns) => {
                self.skip(len + 1);
                Ok(Tok::Range(ns))
            }
            Err(text) => self.error(&text),
        }
    }

    /// A number, or the duration or size that begins with it. The flag says whether it is the latter.
    fn number(&mut self) -> Result<(Tok, bool), ParseError> {
        let start = self.rest;
        let len = self.scan_number()?;
        if let Some(ns) = self.try_duration(len) {
            return Ok((Tok::Duration(ns), true));
        }
        if let Some(bytes) = self.try_bytes(len) {
            return Ok((Tok::Bytes(bytes), true));
        }
        self.skip(len);
        Ok((Tok::Number(start[..len].to_owned()), false))
    }

    /// The length of the number at the head, by the rules of Go's scanner.
    fn scan_number(&self) -> Result<usize, ParseError> {
        let bytes = self.rest.as_bytes();
        let byte = |i: usize| bytes.get(i).copied().unwrap_or(0);
        let run = |mut i: usize, hex: bool| {
            while byte(i) == b'_'
                || byte(i).is_ascii_digit()
                || (hex && byte(i).is_ascii_hexdigit())
            {
                i += 1;
            }
            i
        };
        let mut i = 0;
        let mut prefix = 0;
        if byte(0) == b'0' {
            match byte(1).to_ascii_lowercase() {
                b'b' => return self.error("decimal literal has no digits"),
                p @ (b'x' | b'o') => {
                    prefix = p;
                    i = 2;
                }
                _ => {}
            }
        }
        let first = i;
        i = run(i, prefix == b'x');
        let mut float = false;
        if byte(i) == b'.' {
            float = true;
            if prefix == b'o' {
                return self.error("invalid radix point in octal literal");
            }
            i = run(i + 1, prefix == b'x');
        }
        if !bytes[first..i].iter().any(u8::is_ascii_hexdigit) {
            let name = if prefix == b'x' {
                "hexadecimal"
            } else {
                "octal"
            };
            return self.error(&format!("{name} literal has no digits"));
        }
        let exponent = byte(i).to_ascii_lowercase();
        if exponent == b'p' && prefix != b'x' {
            return self.error("'p' exponent requires hexadecimal mantissa");
        }
        if exponent == b'p' || (exponent == b'e' && prefix == 0) {
            i += 1;
            if matches!(byte(i), b'+' | b'-') {
                i += 1;
            }
            let end = run(i, false);
            if end == i {
                return self.error("exponent has no digits");
            }
            i = end;
        } else if prefix == b'x' && float {
            return self.error("hexadecimal mantissa requires a 'p' exponent");
        }
        self.check_separators(&self.rest[..i])?;
        Ok(i)
    }

    fn check_separators(&self, text: &str) -> Result<(), ParseError> {
        let bytes = text.as_bytes();
        for (i, b) in bytes.iter().enumerate() {
            let digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_hexdigit);
            if *b == b'_' && !(i > 0 && digit(bytes.get(i - 1)) && digit(bytes.get(i + 1))) {
                return self.error("'_' must separate successive digits");
            }
        }
        Ok(())
    }

    /// The duration whose first `len` bytes are the head, if the text goes on as one.
    fn try_duration(&mut self, len: usize) -> Option<i64> {
        let tail: usize = self.rest[len..]
            .chars()
            .take_while(|c| {
                c.is_numeric()
                    || matches!(
                        c,
                        'n' | 's' | 'h' | 'm' | 'u' | '\u{b5}' | 'd' | 'w' | 'y' | '.'
                    )
            })
            .map(char::len_utf8)
            .sum();
        if tail == 0 {
            return None;
        }
        let text = &self.rest[..len + tail];
        let ns = parse_prometheus_duration(text)
            .or_else(|_| parse_go_duration(text))
            .ok()?;
        self.skip(len + tail);
        Some(ns)
    }

    fn try_bytes(&mut self, len: usize) -> Option<u64> {
        let tail: usize = self.rest[len..]
            .chars()
            .take_while(|c| {
                c.is_numeric() || matches!(c, 'B' | 'i' | 'k' | 'K' | 'M' | 'G' | 'T' | 'P' | '.')
            })
            .map(char::len_utf8)
            .sum();
        if tail == 0 {
            return None;
        }
        let bytes = parse_bytes(&self.rest[..len + tail]).ok()?;
        self.skip(len + tail);
        Some(bytes)
    }

    fn word(&mut self) -> Tok {
        let len: usize = self
            .rest
            .chars()
            .take_while(|c| *c == '_' || c.is_alphanumeric())
            .map(char::len_utf8)
            .sum();
        let text = &self.rest[..len];
        self.skip(len);
        let lower = text.to_lowercase();
        if let Some(word) = RESERVED.iter().find(|w| **w == lower) {
            return Tok::Word(word);
        }
        match FUNCTIONS.iter().find(|(name, _)| *name == lower) {
            Some((_, name)) if opens_call(self.rest) => Tok::Word(name),
            _ => Tok::Ident(text.to_owned()),
        }
    }

    fn operator(&mut self) -> (Tok, bool) {
        for flag in ["--strict", "--keep-empty"] {
            if self.rest.starts_with(flag) {
                self.skip(flag.len());
                return (Tok::Flag(flag), true);
            }
        }
        if self.peek() == Some('-')
            && let Some(ns) = self.try_duration(1)
        {
            return (Tok::Duration(ns), true);
        }
        if let Some(op) = find_operator(&TWO_CHAR, self.rest) {
            self.skip(2);
            return (Tok::Word(op), true);
        }
        if let Some(op) = find_operator(&ONE_CHAR, self.rest) {
            self.skip(1);
            return (Tok::Word(op), false);
        }
        let c = self.bump().unwrap_or_default();
        (Tok::Ident(c.to_string()), false)
    }
}

fn find_operator(operators: &[&'static str], text: &str) -> Option<&'static str> {
    operators.iter().find(|op| text.starts_with(**op)).copied()
}

/// Whether the text after a function's name makes it one: `(`, or `by (`, or `without (`.
fn opens_call(rest: &str) -> bool {
    let rest = rest.trim_start();
    if rest.starts_with('(') {
        return true;
    }
    let lower = rest.get(..8.min(rest.len())).unwrap_or("").to_lowercase();
    let tail = if lower.starts_with("without") {
        &rest[7..]
    } else if lower.starts_with("by") {
        &rest[2..]
    } else {
        return false;
    };
    tail.trim_start().starts_with('(')
}
