//! The extent of a number, by the rules of Go's literals.

/// What a literal begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Prefix {
    None,
    /// A leading zero: octal, unless a point or an exponent follows.
    Zero,
    Octal,
    Binary,
    Hex,
}

impl Prefix {
    fn name(self) -> &'static str {
        match self {
            Prefix::None => "decimal literal",
            Prefix::Zero | Prefix::Octal => "octal literal",
            Prefix::Binary => "binary literal",
            Prefix::Hex => "hexadecimal literal",
        }
    }

    fn base(self) -> u32 {
        match self {
            Prefix::None => 10,
            Prefix::Zero | Prefix::Octal => 8,
            Prefix::Binary => 2,
            Prefix::Hex => 16,
        }
    }
}

/// The length of the number at the head of a text, and the first thing that is wrong with it. `spaced`: white space
/// stood before it, where Loki's scanner takes `0b` for no prefix.
pub(super) fn scan(text: &str, spaced: bool) -> (usize, Option<String>) {
    let mut number = Scan {
        bytes: text.as_bytes(),
        at: 0,
        digits: false,
        separators: false,
        invalid: None,
        fault: None,
    };
    number.all(spaced);
    (number.at, number.fault)
}

struct Scan<'t> {
    bytes: &'t [u8],
    at: usize,
    digits: bool,
    separators: bool,
    /// The first digit that the base does not have.
    invalid: Option<u8>,
    fault: Option<String>,
}

impl Scan<'_> {
    fn byte(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    fn fail(&mut self, message: String) {
        self.fault.get_or_insert(message);
    }

    fn all(&mut self, spaced: bool) {
        let prefix = self.prefix(spaced);
        let base = prefix.base();
        self.run(base);
        let float = self.byte() == b'.';
        if float {
            self.at += 1;
            if matches!(prefix, Prefix::Octal | Prefix::Binary) {
                self.fail(format!("invalid radix point in {}", prefix.name()));
            }
            self.run(base);
        }
        if !self.digits {
            self.fail(format!("{} has no digits", prefix.name()));
        }
        let exponent = self.exponent(prefix);
        if prefix == Prefix::Hex && float && !exponent {
            self.fail("hexadecimal mantissa requires a 'p' exponent".to_owned());
        }
        if let Some(digit) = self.invalid.filter(|_| !float && !exponent) {
            let digit = char::from(digit);
            self.fail(format!("invalid digit '{digit}' in {}", prefix.name()));
        }
        if self.separators && !well_separated(&self.bytes[..self.at]) {
            self.fail("'_' must separate successive digits".to_owned());
        }
    }

    fn prefix(&mut self, spaced: bool) -> Prefix {
        if self.byte() != b'0' {
            return Prefix::None;
        }
        self.at = 1;
        let prefix = match self.byte().to_ascii_lowercase() {
            b'x' => Prefix::Hex,
            b'o' => Prefix::Octal,
            b'b' if !spaced => Prefix::Binary,
            b'b' => return Prefix::None,
            _ => {
                self.digits = true;
                return Prefix::Zero;
            }
        };
        self.at = 2;
        prefix
    }

    /// Digits and separators. Up to base 10 every decimal digit is taken.
    fn run(&mut self, base: u32) {
        loop {
            let byte = self.byte();
            if byte == b'_' {
                self.separators = true;
            } else if char::from(byte).is_digit(base.max(10)) {
                self.digits = true;
                if !char::from(byte).is_digit(base) {
                    self.invalid.get_or_insert(byte);
                }
            } else {
                return;
            }
            self.at += 1;
        }
    }

    /// Takes an exponent, if there is one. `p` is one of hexadecimal numbers only, so that `5PB` stays a size.
    fn exponent(&mut self, prefix: Prefix) -> bool {
        let mark = self.byte();
        match mark.to_ascii_lowercase() {
            b'e' => {}
            b'p' if prefix == Prefix::Hex => {}
            _ => return false,
        }
        if mark.eq_ignore_ascii_case(&b'e') && !matches!(prefix, Prefix::None | Prefix::Zero) {
            let mark = char::from(mark);
            self.fail(format!("'{mark}' exponent requires decimal mantissa"));
        }
        self.at += 1;
        if matches!(self.byte(), b'+' | b'-') {
            self.at += 1;
        }
        self.digits = false;
        self.run(10);
        if !self.digits {
            self.fail("exponent has no digits".to_owned());
        }
        true
    }
}

/// Whether each `_` stands between digits, or between a prefix and a digit.
fn well_separated(text: &[u8]) -> bool {
    let prefixed = text.len() >= 2
        && text[0] == b'0'
        && matches!(text[1].to_ascii_lowercase(), b'x' | b'o' | b'b');
    let hex = prefixed && text[1].eq_ignore_ascii_case(&b'x');
    let digit = |at: usize| {
        text.get(at).is_some_and(|b| {
            b.is_ascii_digit() || (hex && b.is_ascii_hexdigit()) || (prefixed && at == 1)
        })
    };
    (0..text.len()).all(|at| text[at] != b'_' || (at > 0 && digit(at - 1) && digit(at + 1)))
}
