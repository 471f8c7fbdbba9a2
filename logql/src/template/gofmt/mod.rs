//! Go's `fmt`: how values print, by `%v` in actions and by any verb in `printf`.

mod float;
mod printf;

pub(super) use printf::printf;

use std::sync::Arc;

use super::time;
use super::value::{IntType, Json, Text, Value};
use crate::format::printable;

/// Appends a value as an action prints it.
pub(super) fn print_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Text(text) => out.extend_from_slice(text),
        Value::Nothing | Value::Element(Json::Null) => out.extend_from_slice(b"<no value>"),
        _ => print_any(out, value),
    }
}

/// Appends a value as `%v` prints it; nothing is `<nil>`.
pub(super) fn print_any(out: &mut Vec<u8>, value: &Value<'_>) {
    let mut printer = Printer::new(out, usize::MAX);
    printer.top(value, 'v');
}

/// A value as `%s` prints it, for error texts.
pub(super) fn text_of(value: &Value<'_>, verb: char) -> String {
    let mut out = Vec::new();
    Printer::new(&mut out, usize::MAX).top(value, verb);
    String::from_utf8_lossy(&out).into_owned()
}

/// The result would be longer than it may be.
#[derive(Debug)]
pub(super) struct TooLong;

/// Go's `fmt.Sprint`: blanks between operands of which neither is a string.
pub(super) fn sprint(out: &mut Vec<u8>, values: &[Value<'_>], limit: usize) -> Result<(), TooLong> {
    let mut printer = Printer::new(out, limit);
    let mut was_text = true;
    for (i, value) in values.iter().enumerate() {
        let is_text = matches!(value, Value::Text(_) | Value::Element(Json::Str(_)));
        if i > 0 && !is_text && !was_text {
            printer.write(b" ");
        }
        printer.top(value, 'v');
        was_text = is_text;
    }
    printer.finish()
}

/// Go's `fmt.Sprintln`: blanks between all operands, and a line end.
pub(super) fn sprintln(
    out: &mut Vec<u8>,
    values: &[Value<'_>],
    limit: usize,
) -> Result<(), TooLong> {
    let mut printer = Printer::new(out, limit);
    for (i, value) in values.iter().enumerate() {
        if i > 0 {
            printer.write(b" ");
        }
        printer.top(value, 'v');
    }
    printer.write(b"\n");
    printer.finish()
}

/// Flags, width and precision of a verb.
#[derive(Debug, Clone, Copy, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
    /// `%#v`
    go_syntax: bool,
}

/// Writes formatted values up to a length.
struct Printer<'o> {
    out: &'o mut Vec<u8>,
    /// Longest length of `out`.
    limit: usize,
    /// Something was left out because of the limit.
    full: bool,
    spec: Spec,
    /// Inside the text about a verb that does not fit: methods are not called.
    faulty: bool,
}

impl<'o> Printer<'o> {
    fn new(out: &'o mut Vec<u8>, limit: usize) -> Self {
        Printer {
            out,
            limit,
            full: false,
            spec: Spec::default(),
            faulty: false,
        }
    }

    fn finish(&self) -> Result<(), TooLong> {
        if self.full { Err(TooLong) } else { Ok(()) }
    }

    fn write(&mut self, bytes: &[u8]) {
        if bytes.len() > self.limit.saturating_sub(self.out.len()) {
            self.full = true;
            return;
        }
        self.out.extend_from_slice(bytes);
    }

    fn fill(&mut self, byte: u8, count: usize) {
        if count > self.limit.saturating_sub(self.out.len()) {
            self.full = true;
            return;
        }
        self.out.resize(self.out.len() + count, byte);
    }

    /// Writes a text of `chars` characters to the width.
    fn pad(&mut self, bytes: &[u8], chars: usize) {
        let missing = self.spec.width.unwrap_or(0).saturating_sub(chars);
        if self.spec.minus {
            self.write(bytes);
            self.fill(b' ', missing);
        } else {
            self.fill(if self.spec.zero { b'0' } else { b' ' }, missing);
            self.write(bytes);
        }
    }

    fn pad_text(&mut self, bytes: &[u8]) {
        let chars = if self.spec.width.is_some() {
            count_chars(bytes)
        } else {
            0
        };
        self.pad(bytes, chars);
    }

    /// An operand of `printf`, or a value that is printed alone.
    fn top(&mut self, value: &Value<'_>, verb: char) {
        match value {
            Value::Nothing | Value::Element(Json::Null) => match verb {
                'v' | 'T' => self.pad_text(b"<nil>"),
                _ => self.bad_verb(value, verb),
            },
            _ if verb == 'T' => {
                let unwrapped = value.clone().unwrap();
                self.text(unwrapped.type_name().as_bytes(), 's', value);
            }
            _ => self.value(value, verb),
        }
    }

    /// `%!d(string=x)`
    fn bad_verb(&mut self, value: &Value<'_>, verb: char) {
        self.write(b"%!");
        self.write(verb.encode_utf8(&mut [0; 4]).as_bytes());
        self.write(b"(");
        match value {
            Value::Nothing | Value::Element(Json::Null) => self.write(b"<nil>"),
            _ => {
                let unwrapped = value.clone().unwrap();
                self.write(unwrapped.type_name().as_bytes());
                self.write(b"=");
                let outer = std::mem::replace(&mut self.faulty, true);
                self.value(value, 'v');
                self.faulty = outer;
            }
        }
        self.write(b")");
    }

    fn value(&mut self, value: &Value<'_>, verb: char) {
        match value {
            Value::Nothing | Value::Element(Json::Null) if self.spec.go_syntax => {
                self.write(b"interface {}(nil)");
            }
            Value::Nothing | Value::Element(Json::Null) => self.write(b"<nil>"),
            Value::Element(_) => self.value(&value.clone().unwrap(), verb),
            Value::Bool(b) => match verb {
                't' | 'v' => self.pad_text(if *b { b"true" } else { b"false" }),
                _ => self.bad_verb(value, verb),
            },
            Value::Int(kind, number) => self.int(value, *kind, *number, verb),
            Value::Float(number) => self.float(value, *number, verb),
            Value::Complex(real, imaginary) => self.complex(value, *real, *imaginary, verb),
            Value::Text(text) => self.text(text, verb, value),
            Value::Labels(_) | Value::Map(_) => self.map(value, verb),
            Value::List(list) => self.list(list, verb),
            Value::Time(time) => {
                let mut text = Vec::new();
                if self.spec.go_syntax {
                    time.print_go(&mut text);
                    self.pad_text(&text);
                } else {
                    time.print(&mut text);
                    let verb = if matches!(verb, 's' | 'q' | 'x' | 'X') {
                        verb
                    } else {
                        'v'
                    };
                    self.text(&text, verb, value);
                }
            }
            Value::Location(zone) => self.text(zone.name().as_bytes(), verb, value),
        }
    }

    /// The text that Go's method `String` gives for an integer of a named type.
    fn int_name(&self, kind: IntType, number: i64) -> Option<Arc<str>> {
        if self.faulty || self.spec.go_syntax {
            return None;
        }
        match kind {
            IntType::Month => Some(time::month_name(number)),
            IntType::Weekday => Some(time::weekday_name(number)),
            IntType::Duration => Some(crate::format::go_duration(number).into()),
            _ => None,
        }
    }

    fn int(&mut self, value: &Value<'_>, kind: IntType, number: i64, verb: char) {
        if matches!(verb, 'v' | 's' | 'x' | 'X' | 'q')
            && let Some(name) = self.int_name(kind, number)
        {
            self.text(name.as_bytes(), verb, value);
            return;
        }
        match verb {
            'v' if self.spec.go_syntax && kind == IntType::Uint8 => {
                self.spec.sharp = true;
                self.integer(number, 16, 'x');
                self.spec.sharp = false;
            }
            'v' | 'd' => self.integer(number, 10, verb),
            'b' => self.integer(number, 2, verb),
            'o' | 'O' => self.integer(number, 8, verb),
            'x' | 'X' => self.integer(number, 16, verb),
            'c' => {
                let mut buffer = [0; 4];
                let text = rune(number).encode_utf8(&mut buffer);
                self.pad(text.as_bytes(), 1);
            }
            'q' => {
                let mut text = Vec::new();
                let c = rune(number);
                push_quoted(
                    &mut text,
                    c.encode_utf8(&mut [0; 4]).as_bytes(),
                    '\'',
                    self.spec.plus,
                );
                self.pad_text(&text);
            }
            'U' => self.unicode(number),
            _ => self.bad_verb(value, verb),
        }
    }

    fn unicode(&mut self, number: i64) {
        let digits = format!("{:X}", number as u64);
        let least = self.spec.precision.unwrap_or(4).max(4);
        let zeros = least.saturating_sub(digits.len());
        if zeros > self.limit {
            self.full = true;
            return;
        }
        let mut text = format!("U+{}{digits}", "0".repeat(zeros));
        let c = u32::try_from(number).ok().and_then(char::from_u32);
        if let Some(c) = c.filter(|c| self.spec.sharp && printable(*c)) {
            text.push_str(&format!(" '{c}'"));
        }
        let zero = std::mem::take(&mut self.spec.zero);
        self.pad_text(text.as_bytes());
        self.spec.zero = zero;
    }

    fn integer(&mut self, number: i64, base: u32, verb: char) {
        let spec = self.spec;
        let sign = match number {
            ..0 => "-",
            _ if spec.plus => "+",
            _ if spec.space => " ",
            _ => "",
        };
        let mut least = 0;
        if let Some(precision) = spec.precision {
            least = precision;
            if precision == 0 && number == 0 {
                self.fill(b' ', spec.width.unwrap_or(0));
                return;
            }
        } else if let (true, false, Some(width)) = (spec.zero, spec.minus, spec.width) {
            least = width.saturating_sub(sign.len());
        }
        let abs = number.unsigned_abs();
        let digits = match (base, verb) {
            (2, _) => format!("{abs:b}"),
            (8, _) => format!("{abs:o}"),
            (16, 'X') => format!("{abs:X}"),
            (16, _) => format!("{abs:x}"),
            _ => format!("{abs}"),
        };
        let prefix = match (base, verb) {
            (8, 'O') if spec.sharp && !digits.starts_with('0') && least <= digits.len() => "0o0",
            (8, 'O') => "0o",
            (2, _) if spec.sharp => "0b",
            (8, _) if spec.sharp && !digits.starts_with('0') && least <= digits.len() => "0",
            (16, 'X') if spec.sharp => "0X",
            (16, _) if spec.sharp => "0x",
            _ => "",
        };
        let mut text = format!("{sign}{prefix}").into_bytes();
        let zeros = least.saturating_sub(digits.len());
        if zeros > self.limit {
            self.full = true;
            return;
        }
        text.resize(text.len() + zeros, b'0');
        text.extend_from_slice(digits.as_bytes());
        self.spec.zero = false;
        self.pad(&text, text.len());
        self.spec.zero = spec.zero;
    }

    fn text(&mut self, text: &[u8], verb: char, value: &Value<'_>) {
        match verb {
            'v' if self.spec.go_syntax => self.quoted(text),
            'v' | 's' => {
                let text = self.cut(text);
                self.pad_text(text);
            }
            'x' | 'X' => self.hex(text, verb == 'X'),
            'q' => self.quoted(text),
            _ => self.bad_verb(value, verb),
        }
    }

    /// As many characters as the precision allows.
    fn cut<'t>(&self, text: &'t [u8]) -> &'t [u8] {
        match self.spec.precision {
            Some(chars) => &text[..chars_len(text, chars)],
            None => text,
        }
    }

    fn quoted(&mut self, text: &[u8]) {
        let text = self.cut(text);
        let mut out = Vec::new();
        if self.spec.sharp && can_backquote(text) {
            out.push(b'`');
            out.extend_from_slice(text);
            out.push(b'`');
        } else {
            push_quoted(&mut out, text, '"', self.spec.plus);
        }
        self.pad_text(&out);
    }

    fn hex(&mut self, text: &[u8], upper: bool) {
        let len = self
            .spec
            .precision
            .map_or(text.len(), |p| p.min(text.len()));
        let prefix = if upper { "0X" } else { "0x" };
        let mut out = Vec::with_capacity(len * 2);
        for (i, byte) in text[..len].iter().enumerate() {
            if self.spec.space && i > 0 {
                out.push(b' ');
            }
            if self.spec.sharp && (i == 0 || self.spec.space) {
                out.extend_from_slice(prefix.as_bytes());
            }
            let digits = if upper {
                format!("{byte:02X}")
            } else {
                format!("{byte:02x}")
            };
            out.extend_from_slice(digits.as_bytes());
        }
        self.pad(&out, out.len());
    }

    fn list(&mut self, list: &[Json], verb: char) {
        let (open, separator, close): (&[u8], &[u8], &[u8]) = if self.spec.go_syntax {
            (b"[]interface {}{", b", ", b"}")
        } else {
            (b"[", b" ", b"]")
        };
        self.write(open);
        for (i, item) in list.iter().enumerate() {
            if i > 0 {
                self.write(separator);
            }
            self.value(&Value::Element(item.clone()), verb);
        }
        self.write(close);
    }

    fn map(&mut self, map: &Value<'_>, verb: char) {
        let go = self.spec.go_syntax;
        if go {
            self.write(map.type_name().as_bytes());
            self.write(b"{");
        } else {
            self.write(b"map[");
        }
        let mut first = true;
        let mut pair = |key: Text<'_>, value: &Value<'_>| {
            if !first {
                self.write(if go { b", " } else { b" " });
            }
            first = false;
            self.value(&Value::Text(key), verb);
            self.write(b":");
            self.value(value, verb);
        };
        match map {
            Value::Map(members) => {
                for (key, value) in members.iter() {
                    pair(Text::Shared(key.clone()), &Value::Element(value.clone()));
                }
            }
            Value::Labels(labels) => labels.visit(&mut |name, value| {
                pair(Text::Borrowed(name.as_bytes()), &Value::borrowed(value));
            }),
            _ => {}
        }
        self.write(if go { b"}" } else { b"]" });
    }
}

/// The character of a number; U+FFFD if there is none.
fn rune(number: i64) -> char {
    u32::try_from(number)
        .ok()
        .and_then(char::from_u32)
        .unwrap_or('\u{fffd}')
}

/// Characters, an invalid byte counting as one.
pub(super) fn count_chars(bytes: &[u8]) -> usize {
    bytes
        .utf8_chunks()
        .map(|chunk| chunk.valid().chars().count() + chunk.invalid().len())
        .sum()
}

/// The length in bytes of the first `chars` characters.
pub(super) fn chars_len(bytes: &[u8], chars: usize) -> usize {
    let mut left = chars;
    let mut len = 0;
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if left == 0 {
                return len;
            }
            left -= 1;
            len += c.len_utf8();
        }
        let invalid = chunk.invalid().len().min(left);
        left -= invalid;
        len += invalid;
    }
    len
}

fn can_backquote(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| {
        !text
            .chars()
            .any(|c| c == '`' || c == '\u{feff}' || (c != '\t' && (c < ' ' || c == '\u{7f}')))
    })
}

/// Go's quoting, with `"` for strings and `'` for characters; `ascii` escapes all beyond.
fn push_quoted(out: &mut Vec<u8>, text: &[u8], quote: char, ascii: bool) {
    out.push(quote as u8);
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars() {
            push_quoted_char(out, c, quote, ascii);
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(format!("\\x{byte:02x}").as_bytes());
        }
    }
    out.push(quote as u8);
}

fn push_quoted_char(out: &mut Vec<u8>, c: char, quote: char, ascii: bool) {
    let escaped = match c {
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\u{c}' => 'f',
        '\n' => 'n',
        '\r' => 'r',
        '\t' => 't',
        '\u{b}' => 'v',
        '\\' => '\\',
        _ if c == quote => c,
        _ => {
            let code = c as u32;
            if c.is_ascii_graphic() || c == ' ' || (!ascii && printable(c)) {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            } else if c < ' ' || c == '\u{7f}' {
                out.extend_from_slice(format!("\\x{code:02x}").as_bytes());
            } else if code < 0x1_0000 {
                out.extend_from_slice(format!("\\u{code:04x}").as_bytes());
            } else {
                out.extend_from_slice(format!("\\U{code:08x}").as_bytes());
            }
            return;
        }
    };
    out.push(b'\\');
    out.push(escaped as u8);
}
