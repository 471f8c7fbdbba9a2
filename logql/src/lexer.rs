//! Text to tokens, one at a time, as Go's scanner with Loki's additions reads them.
//!
//! Positions are what Loki reports: the token's first character, line and column from 1 in characters. The line is 0
//! for tokens that Loki's lexer completes by hand (two-character operators, durations, sizes, ranges, flags).
//!
//! A fault does not end the reading: it is kept if it is the first, and the parser goes on, since what it finds
//! may count for more ([`Lexer::fault`]). The scanner is one character ahead of its tokens, which shows in the position
//! of faults of single characters: they are reported at the token that was being read.

mod number;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::sync::LazyLock;

use regex_syntax::hir::{Class, ClassUnicode, HirKind};

use crate::ParseError;
use crate::error::{at, limit};
use crate::format::{parse_bytes, parse_go_duration, parse_prometheus_duration};

/// Longest query in bytes that is read, Loki's own bound; longer ones are refused.
pub(crate) const MAX_QUERY_BYTES: usize = 131_072;

/// A token. Punctuation and reserved words carry the name under which error messages list them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Tok {
    /// The end of the text, or of what can be read of it.
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
const ONE_CHAR: [&str; 17] = [
    "{", "}", "(", ")", "]", ",", ".", "=", "|", "+", "-", "*", "/", "%", "^", ">", "<",
];

/// A query, and where in it a character is that no query may hold.
#[derive(Debug)]
pub(crate) struct Source<'q> {
    text: Cow<'q, str>,
    /// Offset of the character and what is wrong with it.
    bad: Option<(usize, &'static str)>,
}

impl<'q> Source<'q> {
    /// Takes a query that is not too long.
    pub(crate) fn new(query: &'q [u8]) -> Result<Self, ParseError> {
        if query.len() >= MAX_QUERY_BYTES {
            let len = query.len();
            return Err(limit(format!(
                "input size too long ({len} > {MAX_QUERY_BYTES})"
            )));
        }
        let valid = match str::from_utf8(query) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let bad = match query[..valid].iter().position(|b| *b == 0) {
            Some(nul) => Some((nul, "invalid character NUL")),
            None if valid < query.len() => Some((valid, "invalid UTF-8 encoding")),
            None => None,
        };
        // What stands behind the bad character is read only to find the parser's own errors.
        let text = String::from_utf8_lossy(query);
        Ok(Source { text, bad })
    }
}

/// Reads tokens from a query.
#[derive(Debug)]
pub(crate) struct Lexer<'q> {
    rest: &'q str,
    /// Offset of `rest`.
    offset: usize,
    /// Position of the first character of `rest`.
    line: u32,
    col: u32,
    /// Position of the token being read: where a fault is reported.
    token: (u32, u32),
    bad: Option<(usize, &'static str)>,
    fault: Option<ParseError>,
    ended: bool,
}

impl<'q> Lexer<'q> {
    pub(crate) fn new(source: &'q Source<'q>) -> Self {
        let mut lexer = Lexer {
            rest: &source.text,
            offset: 0,
            line: 1,
            col: 1,
            token: (0, 0),
            bad: source.bad,
            fault: None,
            ended: false,
        };
        lexer.see(0);
        if lexer.peek() == Some('\u{feff}') {
            lexer.bump();
        }
        lexer
    }

    /// The first fault of what was read so far.
    pub(crate) fn fault(&self) -> Option<&ParseError> {
        self.fault.as_ref()
    }

    /// Keeps a fault, if it is the first.
    pub(crate) fn keep(&mut self, fault: ParseError) {
        self.fault.get_or_insert(fault);
    }

    /// Keeps a fault at the token being read.
    fn fail(&mut self, message: &str) {
        self.keep(at(self.token, message));
    }

    /// Notes that the scanner looked at the character at an offset.
    fn see(&mut self, offset: usize) {
        if let Some((bad, message)) = self.bad
            && bad <= offset
        {
            self.bad = None;
            self.fail(message);
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.offset += c.len_utf8();
        if c == '\n' {
            self.line += 1;
            self.col = 1;
        } else {
            self.col += 1;
        }
        self.see(self.offset);
        Some(c)
    }

    fn skip(&mut self, bytes: usize) {
        let end = self.offset + bytes;
        while self.offset < end && self.bump().is_some() {}
    }

    /// As [`Lexer::skip`], for what Loki's lexer takes by hand: the token's line is lost.
    fn skip_by_hand(&mut self, bytes: usize) {
        self.token.0 = 0;
        self.skip(bytes);
    }

    /// The next token; `Tok::End` for ever at the end, or after a literal that could not be read.
    pub(crate) fn next(&mut self) -> Token {
        let tok = if self.ended { Tok::End } else { self.read() };
        self.ended = tok == Tok::End;
        let (line, col) = self.token;
        Token { tok, line, col }
    }

    fn read(&mut self) -> Tok {
        let spaced = self.skip_blanks();
        let Some(c) = self.peek() else {
            if self.offset == 0 {
                // The scanner never saw a character to count.
                self.token = (0, 0);
            }
            return Tok::End;
        };
        match c {
            '"' => self.quoted(),
            '`' => self.raw(),
            '\'' => self.char_literal(),
            '[' => self.range(),
            '0'..='9' => self.number(spaced),
            '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number(spaced),
            _ if c == '_' || is_letter(c) => self.word(),
            _ => self.operator(),
        }
    }

    /// Skips white space and comments and marks where the token after them begins. Says whether there were any.
    fn skip_blanks(&mut self) -> bool {
        let start = self.offset;
        loop {
            self.token.0 = 0;
            while matches!(self.peek(), Some(' ' | '\t' | '\r' | '\n')) {
                self.bump();
            }
            self.token = (self.line, self.col);
            if self.rest.starts_with('#') {
                self.token.0 = 0;
                self.skip_line();
            } else if self.rest.starts_with("//") {
                self.skip_line();
            } else if self.rest.starts_with("/*") {
                self.skip(2);
                match self.rest.find("*/") {
                    Some(end) => self.skip(end + 2),
                    None => {
                        self.skip(self.rest.len());
                        self.fail("comment not terminated");
                    }
                }
            } else {
                return self.offset > start;
            }
        }
    }

    fn skip_line(&mut self) {
        while self.peek().is_some_and(|c| c != '\n') {
            self.bump();
        }
    }

    /// Passes over a quoted literal, whose quote is the next character. Gives how many characters it holds, or
    /// nothing if it does not end.
    fn skip_quoted(&mut self, quote: char) -> Option<usize> {
        self.bump();
        let mut count = 0;
        loop {
            match self.peek() {
                None | Some('\n') => {
                    self.fail("literal not terminated");
                    self.bump();
                    return None;
                }
                Some('\\') => {
                    self.bump();
                    self.skip_escape(quote);
                }
                Some(c) => {
                    self.bump();
                    if c == quote {
                        return Some(count);
                    }
                }
            }
            count += 1;
        }
    }

    /// Passes over an escape whose backslash is taken.
    fn skip_escape(&mut self, quote: char) {
        let (digits, radix) = match self.peek() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => (0, 0),
            Some(c) if c == quote => (0, 0),
            Some('0'..='7') => (3, 8),
            Some('x') => (2, 16),
            Some('u') => (4, 16),
            Some('U') => (8, 16),
            _ => return self.fail("invalid char escape"),
        };
        if radix != 8 {
            self.bump();
        }
        for _ in 0..digits {
            if !self.peek().is_some_and(|c| c.is_digit(radix)) {
                return self.fail("invalid char escape");
            }
            self.bump();
        }
    }

    fn quoted(&mut self) -> Tok {
        let text = self.rest;
        let Some(_) = self.skip_quoted('"') else {
            return Tok::End;
        };
        let text = &text[1..text.len() - self.rest.len() - 1];
        match unescape(text) {
            Some(bytes) => Tok::Str(bytes),
            None => {
                self.fail("invalid syntax");
                Tok::End
            }
        }
    }

    fn raw(&mut self) -> Tok {
        let text = &self.rest[1..];
        let Some(len) = text.find('`') else {
            self.skip(self.rest.len());
            self.fail("literal not terminated");
            return Tok::End;
        };
        self.skip(len + 2);
        Tok::Str(text.as_bytes()[..len].to_vec())
    }

    /// A Go character literal, which the grammar knows only as an odd identifier.
    fn char_literal(&mut self) -> Tok {
        let text = self.rest;
        if self.skip_quoted('\'') != Some(1) {
            self.fail("invalid char literal");
        }
        Tok::Ident(text[..text.len() - self.rest.len()].to_owned())
    }

    fn range(&mut self) -> Tok {
        self.bump();
        let Some(len) = self.rest.find(']') else {
            self.skip_by_hand(self.rest.len());
            self.fail("missing closing ']' in duration");
            return Tok::End;
        };
        let text = &self.rest[..len];
        self.skip_by_hand(len + 1);
        match parse_prometheus_duration(text) {
            Ok(ns) => Tok::Range(ns),
            Err(message) => {
                self.fail(&message);
                Tok::End
            }
        }
    }

    /// A number, or the duration or size that begins with it.
    fn number(&mut self, spaced: bool) -> Tok {
        let text = self.rest;
        let (len, fault) = number::scan(text, spaced);
        self.skip(len);
        if let Some(message) = fault {
            self.fail(&message);
        }
        let number = &text[..len];
        if let Some(ns) = self.try_duration(number) {
            return Tok::Duration(ns);
        }
        if let Some(bytes) = self.try_bytes(number) {
            return Tok::Bytes(bytes);
        }
        Tok::Number(number.to_owned())
    }

    /// What comes next as far as a test holds: looked at, not taken.
    fn run(&mut self, test: impl Fn(char) -> bool) -> &'q str {
        let len = self.rest.find(|c| !test(c)).unwrap_or(self.rest.len());
        self.see(self.offset + len);
        &self.rest[..len]
    }

    /// Takes a duration whose beginning is taken already, if the text goes on as one.
    fn try_duration(&mut self, head: &str) -> Option<i64> {
        let tail = self.run(|c| {
            c.is_numeric()
                || matches!(
                    c,
                    'n' | 's' | 'h' | 'm' | 'u' | '\u{b5}' | 'd' | 'w' | 'y' | '.'
                )
        });
        if tail.is_empty() {
            return None;
        }
        let text = format!("{head}{tail}");
        let ns = parse_prometheus_duration(&text)
            .or_else(|_| parse_go_duration(&text))
            .ok()?;
        self.skip_by_hand(tail.len());
        Some(ns)
    }

    fn try_bytes(&mut self, head: &str) -> Option<u64> {
        let tail = self.run(|c| {
            c.is_numeric() || matches!(c, 'B' | 'i' | 'k' | 'K' | 'M' | 'G' | 'T' | 'P' | '.')
        });
        if tail.is_empty() {
            return None;
        }
        let bytes = parse_bytes(&format!("{head}{tail}")).ok()?;
        self.skip_by_hand(tail.len());
        Some(bytes)
    }

    fn word(&mut self) -> Tok {
        let text = self.run(|c| c == '_' || is_letter(c) || is_digit(c));
        self.skip(text.len());
        let lower = text.to_lowercase();
        if let Some(word) = RESERVED.iter().find(|w| **w == lower) {
            return Tok::Word(word);
        }
        match FUNCTIONS.iter().find(|(name, _)| *name == lower) {
            Some((_, name)) if self.opens_call() => Tok::Word(name),
            _ => Tok::Ident(text.to_owned()),
        }
    }

    /// Whether the text after a function's name makes it one: `(`, or `by (`, or `without (`. Where it does not, Loki
    /// looks through all of the rest.
    fn opens_call(&mut self) -> bool {
        let mut rest = self.rest.trim_start();
        let mut grouped = false;
        for word in ["by", "without"] {
            let head = rest.get(..word.len()).unwrap_or_default();
            if head.eq_ignore_ascii_case(word) {
                rest = rest[word.len()..].trim_start();
                grouped = true;
                break;
            }
        }
        let opens = rest.starts_with('(');
        let unread = if opens || grouped {
            rest.chars().skip(1).map(char::len_utf8).sum()
        } else {
            0
        };
        self.see(self.offset + self.rest.len() - unread);
        opens
    }

    fn operator(&mut self) -> Tok {
        let rest = self.rest;
        self.bump();
        if rest.starts_with("--") {
            let word = self.run(|c| c == '-' || is_letter(c));
            for flag in ["--strict", "--keep-empty"] {
                if word == &flag[1..] {
                    self.skip_by_hand(word.len());
                    return Tok::Flag(flag);
                }
            }
        }
        if rest.starts_with('-')
            && let Some(ns) = self.try_duration("-")
        {
            return Tok::Duration(ns);
        }
        if let Some(op) = find_operator(&TWO_CHAR, rest) {
            self.skip_by_hand(1);
            return Tok::Word(op);
        }
        if let Some(op) = find_operator(&ONE_CHAR, rest) {
            return Tok::Word(op);
        }
        Tok::Ident(rest[..rest.len() - self.rest.len()].to_owned())
    }
}

fn find_operator(operators: &[&'static str], text: &str) -> Option<&'static str> {
    operators.iter().find(|op| text.starts_with(**op)).copied()
}

/// The text of a quoted literal whose escapes are well-formed; nothing if one stands for no byte or character.
fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let kind = after.chars().next()?;
        let number = |from: usize, to: usize, radix: u32| {
            let digits = after.get(from..to)?;
            let plain = digits.chars().all(|c| c.is_digit(radix));
            plain.then(|| u32::from_str_radix(digits, radix).ok())?
        };
        let mut len = 1;
        match kind {
            'a' => out.push(7),
            'b' => out.push(8),
            'f' => out.push(12),
            'n' => out.push(b'\n'),
            'r' => out.push(b'\r'),
            't' => out.push(b'\t'),
            'v' => out.push(11),
            '\\' => out.push(b'\\'),
            '"' => out.push(b'"'),
            '0'..='7' => {
                len = 3;
                out.push(u8::try_from(number(0, 3, 8)?).ok()?);
            }
            'x' => {
                len = 3;
                out.push(u8::try_from(number(1, 3, 16)?).ok()?);
            }
            'u' | 'U' => {
                len = if kind == 'u' { 5 } else { 9 };
                let value = number(1, len, 16)?;
                if value > u32::from(char::MAX) {
                    return None;
                }
                // Half of a surrogate pair is no character.
                let c = char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
            _ => return None,
        }
        rest = &after[len..];
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

/// Characters of a general category.
fn category(name: &str) -> ClassUnicode {
    let hir = regex_syntax::parse(name).expect("a known category");
    match hir.into_kind() {
        HirKind::Class(Class::Unicode(class)) => class,
        other => unreachable!("a category is a class: {other:?}"),
    }
}

fn holds(class: &ClassUnicode, c: char) -> bool {
    class
        .ranges()
        .binary_search_by(|range| {
            if range.end() < c {
                std::cmp::Ordering::Less
            } else if range.start() > c {
                std::cmp::Ordering::Greater
            } else {
                std::cmp::Ordering::Equal
            }
        })
        .is_ok()
}

/// A letter as Go knows it; Rust's own test takes some marks too.
fn is_letter(c: char) -> bool {
    static LETTERS: LazyLock<ClassUnicode> = LazyLock::new(|| category(r"\p{L}"));
    c.is_ascii_alphabetic() || (!c.is_ascii() && holds(&LETTERS, c))
}

/// A decimal digit as Go knows it.
fn is_digit(c: char) -> bool {
    static DIGITS: LazyLock<ClassUnicode> = LazyLock::new(|| category(r"\p{Nd}"));
    c.is_ascii_digit() || (!c.is_ascii() && holds(&DIGITS, c))
}
