//! JSON pushes, read where they lie.
//!
//! A general JSON reader would build strings, refuse lines that are not UTF-8, and not remember where `values` stood
//! when the labels come after it. Strict where Loki is (times are strings, the third element is an object of strings),
//! lenient where it is: unknown keys, a fourth element, numbers as label values, text after the object.

use super::{BadLabels, Entry, Labels, Metadata, PushError, Shape, Stream, selector};
use crate::labels::{LabelError, LabelSet};
use crate::time::rfc3339;

/// Bytes of the body that an error shows.
const SHOWN: usize = 40;

/// A text in a body, borrowed; JSON's escapes are undone when it is used.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    raw: &'a [u8],
    /// Holds escapes, all of them sound.
    escaped: bool,
}

impl<'a> Text<'a> {
    pub(super) fn plain(raw: &'a [u8]) -> Text<'a> {
        Text {
            raw,
            escaped: false,
        }
    }

    pub(super) fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// The text itself, unless it has escapes.
    #[must_use]
    pub fn borrowed(self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.raw)
    }

    /// Bytes without escapes.
    #[must_use]
    pub fn len(self) -> usize {
        if !self.escaped {
            return self.raw.len();
        }
        let mut len = 0;
        self.pieces(|piece| len += piece.len());
        len
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    /// Appends it without escapes.
    pub fn append_to(self, out: &mut Vec<u8>) {
        self.pieces(|piece| out.extend_from_slice(piece));
    }

    /// The text without escapes, borrowed from the body or from `scratch`, whose content is replaced.
    #[must_use]
    pub fn get<'s>(self, scratch: &'s mut Vec<u8>) -> &'s [u8]
    where
        'a: 's,
    {
        if let Some(text) = self.borrowed() {
            return text;
        }
        scratch.clear();
        self.append_to(scratch);
        scratch
    }

    fn pieces(self, mut each: impl FnMut(&[u8])) {
        let mut rest = self.raw;
        let next = |rest| memchr::memchr(b'\\', rest).filter(|_| self.escaped);
        while let Some(at) = next(rest) {
            each(&rest[..at]);
            let (c, len) =
                unescape(&rest[at..]).expect("escapes were checked when the text was found");
            let mut utf8 = [0; 4];
            each(c.encode_utf8(&mut utf8).as_bytes());
            rest = &rest[at + len..];
        }
        each(rest);
    }
}

/// The character of the escape that `text` begins with, and the escape's length.
fn unescape(text: &[u8]) -> Option<(char, usize)> {
    Some(match text.get(1)? {
        b'"' => ('"', 2),
        b'\\' => ('\\', 2),
        b'/' => ('/', 2),
        b'b' => ('\u{8}', 2),
        b'f' => ('\u{c}', 2),
        b'n' => ('\n', 2),
        b'r' => ('\r', 2),
        b't' => ('\t', 2),
        b'u' => {
            let first = hex4(text.get(2..6)?)?;
            if !(0xD800..0xE000).contains(&first) {
                return Some((char::from_u32(first)?, 6));
            }
            // A surrogate stands for a character only with its other half.
            if first >= 0xDC00 || text.get(6..8)? != b"\\u" {
                return None;
            }
            let second = hex4(text.get(8..12)?)?.checked_sub(0xDC00)?;
            if second >= 0x400 {
                return None;
            }
            let c = 0x1_0000 + ((first - 0xD800) << 10) + second;
            (char::from_u32(c)?, 12)
        }
        _ => return None,
    })
}

fn hex4(digits: &[u8]) -> Option<u32> {
    digits
        .iter()
        .try_fold(0, |n, d| Some(n << 4 | char::from(*d).to_digit(16)?))
}

/// A position in a text.
#[derive(Debug, Clone, Copy)]
struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn new(text: &'a [u8]) -> Scanner<'a> {
        Scanner { text, at: 0 }
    }

    fn fail(&self, wanted: &str) -> PushError {
        let rest = &self.text[self.at.min(self.text.len())..];
        if rest.is_empty() {
            return PushError::new(format!("the JSON ends early: expected {wanted}"));
        }
        let shown = String::from_utf8_lossy(&rest[..rest.len().min(SHOWN)]);
        PushError::new(format!("expected {wanted} in the JSON, found {shown:?}"))
    }

    /// The next byte that is not a blank.
    fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn open(&mut self, bracket: u8, wanted: &str) -> Result<(), PushError> {
        if self.peek() != Some(bracket) {
            return Err(self.fail(wanted));
        }
        self.at += 1;
        Ok(())
    }

    /// Whether another element follows, `close` being the array's or object's end.
    fn more(&mut self, first: &mut bool, close: u8) -> Result<bool, PushError> {
        match self.peek() {
            Some(b) if b == close => {
                self.at += 1;
                return Ok(false);
            }
            Some(_) if *first => {}
            Some(b',') => self.at += 1,
            _ => {
                return Err(self.fail(if close == b']' {
                    "`,` or `]`"
                } else {
                    "`,` or `}`"
                }));
            }
        }
        *first = false;
        Ok(true)
    }

    /// The next key of an object; the position is at its value then.
    fn key(&mut self, first: &mut bool) -> Result<Option<Text<'a>>, PushError> {
        if !self.more(first, b'}')? {
            return Ok(None);
        }
        let key = self.string("a key")?;
        self.open(b':', "`:`")?;
        Ok(Some(key))
    }

    fn string(&mut self, wanted: &str) -> Result<Text<'a>, PushError> {
        if self.peek() != Some(b'"') {
            return Err(self.fail(wanted));
        }
        let start = self.at + 1;
        let (mut at, mut escaped) = (start, false);
        loop {
            let rest = self.text.get(at..).unwrap_or_default();
            let found = memchr::memchr2(b'"', b'\\', rest);
            let Some(found) = found else {
                self.at = self.text.len();
                return Err(self.fail("the end of a string"));
            };
            at += found;
            if self.text[at] == b'"' {
                break;
            }
            let Some((_, len)) = unescape(&self.text[at..]) else {
                self.at = at;
                return Err(self.fail("an escape"));
            };
            escaped = true;
            at += len;
        }
        self.at = at + 1;
        Ok(Text {
            raw: &self.text[start..at],
            escaped,
        })
    }

    /// Passes over a value of any kind; its text. Brackets are only counted: what is inside is looked at when it is
    /// used, or never.
    fn skip(&mut self) -> Result<&'a [u8], PushError> {
        let first = self.peek();
        let start = self.at;
        match first {
            Some(b'"') => {
                self.string("a string")?;
            }
            Some(b'{' | b'[') => {
                let mut depth = 0usize;
                loop {
                    match self.peek() {
                        Some(b'"') => {
                            self.string("a string")?;
                            continue;
                        }
                        Some(b'{' | b'[') => depth += 1,
                        Some(b'}' | b']') => depth -= 1,
                        Some(_) => {}
                        None => return Err(self.fail("`]` or `}`")),
                    }
                    self.at += 1;
                    if depth == 0 {
                        break;
                    }
                }
            }
            Some(b't' | b'f' | b'n' | b'-' | b'0'..=b'9') => {
                let rest = &self.text[start..];
                let word = |b: &u8| b.is_ascii_alphanumeric() || b"+-.".contains(b);
                let len = rest.iter().position(|b| !word(b)).unwrap_or(rest.len());
                let known = matches!(&rest[..len], b"true" | b"false" | b"null");
                if rest[0].is_ascii_alphabetic() && !known {
                    return Err(self.fail("a value"));
                }
                self.at += len;
            }
            _ => return Err(self.fail("a value")),
        }
        Ok(&self.text[start..self.at])
    }
}

/// The array of streams in a body; nothing if there is none.
pub(super) fn streams_of(body: &[u8]) -> Result<&[u8], PushError> {
    let mut scanner = Scanner::new(body);
    match scanner.peek() {
        None => return Err(PushError::new("EOF")),
        Some(b'[' | b'n') => {
            let whole = scanner.skip()?;
            if matches!(whole, b"null") || Scanner::new(&whole[1..]).peek() == Some(b']') {
                return Ok(&[]);
            }
            return Err(Scanner::new(body).fail("an object with `streams`"));
        }
        Some(_) => scanner.open(b'{', "an object with `streams`")?,
    }
    let (mut streams, mut first): (&[u8], bool) = (&[], true);
    while let Some(key) = scanner.key(&mut first)? {
        let value = scanner.skip()?;
        // Go's decoder takes a key in any case.
        if key.raw.eq_ignore_ascii_case(b"streams") {
            streams = value;
        }
    }
    match streams.first() {
        None | Some(b'[') => Ok(streams),
        _ if streams == b"null" => Ok(&[]),
        _ => Err(Scanner::new(streams).fail("an array of streams")),
    }
}

/// Elements of an array, or of nothing.
#[derive(Debug)]
struct Elements<'a> {
    scanner: Scanner<'a>,
    first: bool,
    done: bool,
}

impl<'a> Elements<'a> {
    fn new(array: &'a [u8]) -> Elements<'a> {
        let mut scanner = Scanner::new(array);
        scanner.at = 1;
        Elements {
            scanner,
            first: true,
            done: array.is_empty(),
        }
    }

    fn next<T>(
        &mut self,
        read: impl FnOnce(&mut Scanner<'a>) -> Result<T, PushError>,
    ) -> Option<Result<T, PushError>> {
        if self.done {
            return None;
        }
        let item = match self.scanner.more(&mut self.first, b']') {
            Ok(false) => None,
            Ok(true) => Some(read(&mut self.scanner)),
            Err(error) => Some(Err(error)),
        };
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}

/// The streams of a request.
#[derive(Debug)]
pub(super) struct Streams<'a> {
    elements: Elements<'a>,
    legacy: bool,
}

impl<'a> Streams<'a> {
    pub(super) fn new(array: &'a [u8], legacy: bool) -> Streams<'a> {
        Streams {
            elements: Elements::new(array),
            legacy,
        }
    }
}

impl<'a> Iterator for Streams<'a> {
    type Item = Result<Stream<'a>, PushError>;

    fn next(&mut self) -> Option<Self::Item> {
        let legacy = self.legacy;
        self.elements.next(|scanner| {
            if legacy {
                legacy_stream(scanner)
            } else {
                stream(scanner)
            }
        })
    }
}

/// An array, or nothing for null.
fn array<'a>(scanner: &mut Scanner<'a>, wanted: &str) -> Result<&'a [u8], PushError> {
    match scanner.peek() {
        Some(b'[') => scanner.skip(),
        Some(b'n') => scanner.skip().map(|_| &[][..]),
        _ => Err(scanner.fail(wanted)),
    }
}

fn stream<'a>(scanner: &mut Scanner<'a>) -> Result<Stream<'a>, PushError> {
    scanner.open(b'{', "a stream object")?;
    let (mut labels, mut entries): (&[u8], &[u8]) = (&[], &[]);
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match key.raw {
            b"stream" => {
                if scanner.peek() != Some(b'{') {
                    return Err(scanner.fail("an object of labels"));
                }
                labels = scanner.skip()?;
                members(labels, |_, _| Ok(()))?;
            }
            b"values" => entries = array(scanner, "an array of values")?,
            _ => {
                scanner.skip()?;
            }
        }
    }
    Ok(Stream {
        labels: Labels::Object(labels),
        entries,
        shape: Shape::Json,
    })
}

fn legacy_stream<'a>(scanner: &mut Scanner<'a>) -> Result<Stream<'a>, PushError> {
    scanner.open(b'{', "a stream object")?;
    let (mut labels, mut entries): (Text<'_>, &[u8]) = (Text::plain(b""), &[]);
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match key.raw {
            b"labels" => labels = scanner.string("labels as a string")?,
            b"entries" => entries = array(scanner, "an array of entries")?,
            _ => {
                scanner.skip()?;
            }
        }
    }
    Ok(Stream {
        labels: Labels::Selector(labels),
        entries,
        shape: Shape::Legacy,
    })
}

/// The members of an object whose text is given: keys, and values as texts whatever they are.
fn members<'a>(
    object: &'a [u8],
    mut each: impl FnMut(Text<'a>, Text<'a>) -> Result<(), PushError>,
) -> Result<(), PushError> {
    if object.is_empty() {
        return Ok(());
    }
    let mut scanner = Scanner::new(object);
    scanner.open(b'{', "an object")?;
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        let value = match scanner.peek() {
            Some(b'"') => scanner.string("a value")?,
            _ => Text::plain(scanner.skip()?),
        };
        each(key, value)?;
    }
    Ok(())
}

/// The label set of a `stream` object.
pub(super) fn label_set(object: &[u8]) -> Result<LabelSet, BadLabels> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let text = |text: Text<'_>| {
        let mut scratch = Vec::new();
        String::from_utf8_lossy(text.get(&mut scratch)).into_owned()
    };
    let walked = members(object, |key, value| {
        pairs.push((text(key), text(value)));
        Ok(())
    });
    walked.map_err(|e| BadLabels::Syntax(e.to_string()))?;
    if pairs.iter().all(|(name, _)| selector::is_name(name)) {
        return LabelSet::from_pairs(pairs).map_err(|error| selector::too_long(&error));
    }
    // Loki writes such labels as a selector and parses that: the error has the place in a text that nobody sent.
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    let shown: Vec<String> = pairs.iter().map(|(n, v)| format!("{n}={v:?}")).collect();
    match selector::parse(format!("{{{}}}", shown.join(", ")).as_bytes()) {
        // A name such as `a="b",c` reads as a selector.
        Ok(_) => Err(selector::too_long(&LabelError::NotUtf8)),
        Err(error) => Err(error),
    }
}

/// The entries of a stream.
#[derive(Debug)]
pub(super) struct Entries<'a> {
    elements: Elements<'a>,
    legacy: bool,
}

impl<'a> Entries<'a> {
    pub(super) fn new(array: &'a [u8], legacy: bool) -> Entries<'a> {
        Entries {
            elements: Elements::new(array),
            legacy,
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, PushError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let legacy = self.legacy;
            let entry = self.elements.next(|scanner| {
                if scanner.peek() == Some(b'n') {
                    return scanner.skip().map(|_| None);
                }
                let read = if legacy { legacy_entry } else { entry };
                read(scanner).map(Some)
            })?;
            match entry {
                Ok(None) => {}
                Ok(Some(entry)) => return Some(Ok(entry)),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// `["<nanoseconds>", "<line>", {metadata}]`; the line may be missing.
fn entry<'a>(scanner: &mut Scanner<'a>) -> Result<Entry<'a>, PushError> {
    scanner.open(b'[', "an entry such as [\"<ns>\", \"<line>\"]")?;
    let mut ts = None;
    let mut line = Text::plain(b"");
    let mut metadata: &[u8] = &[];
    let (mut first, mut index) = (true, 0);
    while scanner.more(&mut first, b']')? {
        match index {
            0 => {
                let at = *scanner;
                let text = scanner.string("a timestamp, a string of nanoseconds")?;
                let text = std::str::from_utf8(text.raw).ok();
                let parsed = text.and_then(|t| t.parse().ok());
                let wanted = "a timestamp of nanoseconds in 64 bits";
                ts = Some(parsed.ok_or_else(|| at.fail(wanted))?);
            }
            1 => line = scanner.string("a line as a string")?,
            2 => {
                if scanner.peek() != Some(b'{') {
                    return Err(scanner.fail("an object of structured metadata"));
                }
                metadata = scanner.skip()?;
            }
            _ => {
                scanner.skip()?;
            }
        }
        index += 1;
    }
    Ok(Entry {
        ts: ts.ok_or_else(|| PushError::new("an entry has no timestamp"))?,
        line,
        metadata: Metadata {
            shape: Shape::Json,
            span: metadata,
        },
    })
}

/// `{"ts": "<RFC 3339>", "line": "<line>"}`.
fn legacy_entry<'a>(scanner: &mut Scanner<'a>) -> Result<Entry<'a>, PushError> {
    scanner.open(b'{', "an entry object")?;
    let mut ts = None;
    let mut line = Text::plain(b"");
    let mut first = true;
    while let Some(key) = scanner.key(&mut first)? {
        match key.raw {
            b"ts" => {
                let at = *scanner;
                let text = scanner.string("an RFC 3339 timestamp")?;
                let text = std::str::from_utf8(text.raw).ok();
                let parsed = text.and_then(rfc3339).and_then(|ns| i64::try_from(ns).ok());
                ts = Some(parsed.ok_or_else(|| at.fail("an RFC 3339 timestamp"))?);
            }
            b"line" => line = scanner.string("a line as a string")?,
            _ => {
                scanner.skip()?;
            }
        }
    }
    Ok(Entry {
        ts: ts.ok_or_else(|| PushError::new("an entry has no timestamp"))?,
        line,
        metadata: Metadata {
            shape: Shape::Legacy,
            span: &[],
        },
    })
}

/// The members of a metadata object, or of nothing.
#[derive(Debug)]
pub(super) struct Pairs<'a> {
    scanner: Scanner<'a>,
    first: bool,
    done: bool,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(object: &'a [u8]) -> Pairs<'a> {
        let mut scanner = Scanner::new(object);
        scanner.at = 1;
        Pairs {
            scanner,
            first: true,
            done: object.is_empty(),
        }
    }

    fn read(&mut self) -> Result<Option<(Text<'a>, Text<'a>)>, PushError> {
        let Some(key) = self.scanner.key(&mut self.first)? else {
            return Ok(None);
        };
        let value = self.scanner.string("structured metadata as a string")?;
        Ok(Some((key, value)))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(Text<'a>, Text<'a>), PushError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let item = self.read().transpose();
        self.done = !matches!(item, Some(Ok(_)));
        item
    }
}
