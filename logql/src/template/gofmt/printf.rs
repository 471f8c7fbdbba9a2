//! `printf`: format strings of Go. What does not fit is text (`%!d(string=x)`), never an error.

use super::{Printer, Spec, TooLong};
use crate::template::value::{IntType, Value};

/// Largest width and precision that Go takes from an operand.
const STAR_MAX: i64 = 1_000_000;

/// Formats the operands, into at most `limit` bytes.
pub(in crate::template) fn printf(
    format: &[u8],
    args: &[Value<'_>],
    out: &mut Vec<u8>,
    limit: usize,
) -> Result<(), TooLong> {
    let mut formatter = Formatter {
        format,
        at: 0,
        args,
        next: 0,
        reordered: false,
        good: true,
        after_index: false,
        printer: Printer::new(out, limit),
    };
    formatter.run();
    formatter.printer.finish()
}

struct Formatter<'f, 'v, 'o> {
    format: &'f [u8],
    at: usize,
    args: &'f [Value<'v>],
    /// Index of the next operand.
    next: usize,
    /// An index (`[2]`) was used: operands that are left over are no fault then.
    reordered: bool,
    /// The indexes of the current verb were good.
    good: bool,
    after_index: bool,
    printer: Printer<'o>,
}

impl Formatter<'_, '_, '_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn run(&mut self) {
        while self.at < self.format.len() && !self.printer.full {
            let rest = &self.format[self.at..];
            let len = memchr::memchr(b'%', rest).unwrap_or(rest.len());
            self.printer.write(&rest[..len]);
            self.at += len;
            if self.at < self.format.len() {
                self.at += 1;
                self.directive();
            }
        }
        if !self.reordered && self.next < self.args.len() {
            self.extra();
        }
    }

    fn extra(&mut self) {
        self.printer.spec = Spec::default();
        self.printer.write(b"%!(EXTRA ");
        for i in self.next..self.args.len() {
            if i > self.next {
                self.printer.write(b", ");
            }
            let value = self.args[i].clone().unwrap();
            if !matches!(value, Value::Nothing) {
                self.printer.write(value.type_name().as_bytes());
                self.printer.write(b"=");
            }
            self.printer.top(&value, 'v');
        }
        self.printer.write(b")");
    }

    /// What follows a `%`.
    fn directive(&mut self) {
        self.good = true;
        self.after_index = false;
        self.printer.spec = Spec::default();
        self.flags();
        self.index();
        self.width();
        self.precision();
        if !self.after_index {
            self.index();
        }
        let Some(chunk) = self.format[self.at..].utf8_chunks().next() else {
            return self.printer.write(b"%!(NOVERB)");
        };
        let verb = chunk.valid().chars().next();
        self.at += verb.map_or(1, char::len_utf8);
        self.verb(verb.unwrap_or('\u{fffd}'));
    }

    fn flags(&mut self) {
        let spec = &mut self.printer.spec;
        while let Some(byte) = self.format.get(self.at) {
            match byte {
                b'#' => spec.sharp = true,
                b'0' => spec.zero = true,
                b'+' => spec.plus = true,
                b'-' => spec.minus = true,
                b' ' => spec.space = true,
                _ => break,
            }
            self.at += 1;
        }
    }

    /// An index of an operand: `[2]`.
    fn index(&mut self) {
        self.after_index = false;
        if self.peek() != Some(b'[') {
            return;
        }
        self.reordered = true;
        let rest = &self.format[self.at..];
        let end = memchr::memchr(b']', rest).filter(|_| rest.len() >= 3);
        let Some(len) = end else {
            self.good = false;
            self.at += 1;
            return;
        };
        self.at += len + 1;
        let digits = std::str::from_utf8(&rest[1..len]).unwrap_or("");
        let number = digits.parse::<usize>();
        let number = number.ok().filter(|_| !digits.starts_with('+'));
        self.after_index = number.is_some();
        match number {
            Some(number) if (1..=self.args.len()).contains(&number) => self.next = number - 1,
            _ => self.good = false,
        }
    }

    /// A number in the format itself; `Err` if it is absurdly large: then the rest of the format is passed over.
    fn number(&mut self) -> Option<usize> {
        let mut value: Option<i64> = None;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            let known = value.unwrap_or(0);
            if known > STAR_MAX {
                self.at = self.format.len();
                return None;
            }
            value = Some(known * 10 + i64::from(digit - b'0'));
            self.at += 1;
        }
        value.and_then(|value| usize::try_from(value).ok())
    }

    /// A width or precision that is an operand.
    fn star(&mut self) -> Option<i64> {
        self.at += 1;
        self.after_index = false;
        let arg = self.args.get(self.next)?;
        self.next += 1;
        match arg.clone().unwrap() {
            Value::Int(IntType::Duration | IntType::Month | IntType::Weekday, number)
            | Value::Int(_, number) => Some(number).filter(|n| n.abs() <= STAR_MAX),
            _ => None,
        }
    }

    fn width(&mut self) {
        if self.peek() != Some(b'*') {
            self.printer.spec.width = self.number();
            if self.after_index && self.printer.spec.width.is_some() {
                self.good = false;
            }
            return;
        }
        match self.star() {
            Some(width) => {
                if width < 0 {
                    self.printer.spec.minus = true;
                    self.printer.spec.zero = false;
                }
                self.printer.spec.width = usize::try_from(width.abs()).ok();
            }
            None => self.printer.write(b"%!(BADWIDTH)"),
        }
    }

    fn precision(&mut self) {
        if self.peek() != Some(b'.') || self.at + 1 > self.format.len() {
            return;
        }
        self.at += 1;
        if self.after_index {
            self.good = false;
        }
        self.index();
        if self.peek() != Some(b'*') {
            self.printer.spec.precision = Some(self.number().unwrap_or(0));
            return;
        }
        match self.star() {
            Some(precision) if precision >= 0 => {
                self.printer.spec.precision = usize::try_from(precision).ok();
            }
            _ => self.printer.write(b"%!(BADPREC)"),
        }
    }

    fn verb(&mut self, verb: char) {
        let mut name = [0; 4];
        let name = verb.encode_utf8(&mut name).as_bytes();
        if verb == '%' {
            return self.printer.write(b"%");
        }
        let fault: &[u8] = if !self.good {
            b"(BADINDEX)"
        } else if self.next >= self.args.len() {
            b"(MISSING)"
        } else {
            if matches!(verb, 'v' | 'w') {
                let spec = &mut self.printer.spec;
                spec.go_syntax = std::mem::take(&mut spec.sharp);
                // `%+v` means names of fields, of which no value here has any.
                spec.plus = false;
            }
            let value = &self.args[self.next];
            self.next += 1;
            if verb == 'w' {
                return self.printer.bad_verb(value, verb);
            }
            return self.printer.top(value, verb);
        };
        self.printer.write(b"%!");
        self.printer.write(name);
        self.printer.write(fault);
    }
}
