//! Go's printing of floats: `strconv.AppendFloat` and what `fmt` adds.

use super::Printer;
use crate::format::go_v;
use crate::template::value::Value;

/// Digits that any float can have; a longer precision adds only zeros.
const PRECISION_MAX: usize = 1_100;

impl Printer<'_> {
    pub(super) fn float(&mut self, value: &Value<'_>, number: f64, verb: char) {
        match verb {
            'v' => self.number(number, 'g', None),
            'b' | 'g' | 'G' | 'x' | 'X' => self.number(number, verb, self.spec.precision),
            'f' | 'F' | 'e' | 'E' => {
                let verb = if verb == 'F' { 'f' } else { verb };
                self.number(number, verb, Some(self.spec.precision.unwrap_or(6)));
            }
            _ => self.bad_verb(value, verb),
        }
    }

    pub(super) fn complex(&mut self, value: &Value<'_>, real: f64, imaginary: f64, verb: char) {
        if !matches!(
            verb,
            'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E'
        ) {
            return self.bad_verb(value, verb);
        }
        self.write(b"(");
        self.float(value, real, verb);
        let plus = std::mem::replace(&mut self.spec.plus, true);
        self.float(value, imaginary, verb);
        self.spec.plus = plus;
        self.write(b"i)");
    }

    fn number(&mut self, number: f64, verb: char, precision: Option<usize>) {
        let precision = if verb == 'g' && precision.is_none() {
            self.spec.precision
        } else {
            precision
        };
        let mut text = digits(number, verb, precision);
        if !text.starts_with(['-', '+']) {
            text.insert(0, '+');
        }
        let spec = self.spec;
        if spec.space && !spec.plus && text.starts_with('+') {
            text.replace_range(..1, " ");
        }
        if !number.is_finite() {
            // No number to fill up with zeros.
            let bare = number.is_nan() && !spec.space && !spec.plus;
            self.spec.zero = false;
            let text = if bare { &text[1..] } else { &text };
            self.pad(text.as_bytes(), text.len());
            self.spec.zero = spec.zero;
            return;
        }
        if spec.sharp && verb != 'b' {
            text = with_point(&text, verb, precision);
        }
        if precision.is_some_and(|p| p > PRECISION_MAX) && matches!(verb, 'f' | 'e' | 'E') {
            let zeros = precision.unwrap_or(0) - PRECISION_MAX;
            if zeros > self.limit {
                self.full = true;
                return;
            }
            let at = text.find(['e', 'E']).unwrap_or(text.len());
            text.insert_str(at, &"0".repeat(zeros));
        }
        if !spec.plus && text.starts_with('+') {
            text.remove(0);
        } else if spec.zero && !spec.minus {
            // The sign stands before the zeros.
            let missing = spec.width.unwrap_or(0).saturating_sub(text.len());
            self.write(&text.as_bytes()[..1]);
            self.fill(b'0', missing);
            self.write(&text.as_bytes()[1..]);
            return;
        }
        self.pad(text.as_bytes(), text.len());
    }
}

/// Go's `strconv.FormatFloat`; without a precision the shortest digits that read back the same.
fn digits(number: f64, verb: char, precision: Option<usize>) -> String {
    if !number.is_finite() {
        return go_v(number);
    }
    match verb {
        'f' => {
            let precision = precision.unwrap_or(6).min(PRECISION_MAX);
            format!("{number:.precision$}")
        }
        'e' | 'E' => scientific(number, precision.unwrap_or(6).min(PRECISION_MAX), verb),
        'b' => binary(number),
        'x' | 'X' => {
            let text = hexadecimal(number, precision);
            if verb == 'X' {
                text.to_uppercase()
            } else {
                text
            }
        }
        _ => {
            let text = match precision {
                None => go_v(number),
                Some(precision) => general(number, precision),
            };
            if verb == 'G' {
                text.to_uppercase()
            } else {
                text
            }
        }
    }
}

fn scientific(number: f64, precision: usize, letter: char) -> String {
    let text = format!("{number:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}{letter}{sign}{:02}", exponent.abs())
}

/// `%g`: as many digits as asked for, without zeros at the end, as an exponent where that is shorter.
fn general(number: f64, precision: usize) -> String {
    let precision = precision.clamp(1, PRECISION_MAX);
    let text = format!("{number:.*e}", precision - 1);
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let digits = match digits.contains('.') {
        true => digits.trim_end_matches('0').trim_end_matches('.'),
        false => digits,
    };
    let count = digits.bytes().filter(u8::is_ascii_digit).count();
    // Digits beyond the number's own do not keep a large number from an exponent.
    let mut bound = precision as i32;
    if bound > count as i32 && count as i32 > exponent {
        bound = count as i32;
    }
    if number != 0.0 && (exponent < -4 || exponent >= bound) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    let after = (count as i32 - 1 - exponent).max(0) as usize;
    format!("{number:.after$}")
}

/// Mantissa and exponent as integers: `number = mantissa * 2^exponent`.
fn parts(number: f64) -> (bool, u64, i32) {
    let bits = number.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = (bits >> 52 & 0x7ff) as i32;
    match exponent {
        0 => (number.is_sign_negative(), fraction, -1_074),
        _ => (
            number.is_sign_negative(),
            fraction | 1 << 52,
            exponent - 1_075,
        ),
    }
}

fn binary(number: f64) -> String {
    let (negative, mantissa, exponent) = parts(number);
    let sign = if negative { "-" } else { "" };
    format!("{sign}{mantissa}p{exponent:+}")
}

/// `0x1.8p+00`
fn hexadecimal(number: f64, precision: Option<usize>) -> String {
    let (negative, mut mantissa, mut exponent) = parts(number);
    let sign = if negative { "-" } else { "" };
    if mantissa == 0 {
        exponent = 0;
    } else {
        // The leading one to bit 60, so that 15 hexadecimal digits follow it.
        let shift = mantissa.leading_zeros() as i32 - 3;
        mantissa <<= shift;
        exponent += 60 - shift;
    }
    let mut zeros = 0;
    let text = match precision {
        Some(digits) => {
            let kept = digits.min(15);
            zeros = digits.min(PRECISION_MAX) - kept;
            let cut = 60 - 4 * kept as u32;
            if cut > 0 {
                let half = 1u64 << (cut - 1);
                let rest = mantissa & ((1 << cut) - 1);
                mantissa >>= cut;
                if rest > half || (rest == half && mantissa & 1 == 1) {
                    mantissa += 1;
                }
                mantissa <<= cut;
                if mantissa >> 61 != 0 {
                    mantissa >>= 1;
                    exponent += 1;
                }
            }
            format!("{:015x}", mantissa & ((1 << 60) - 1))[..kept].to_owned()
        }
        None => format!("{:015x}", mantissa & ((1 << 60) - 1))
            .trim_end_matches('0')
            .to_owned(),
    };
    let point = if text.is_empty() && zeros == 0 {
        ""
    } else {
        "."
    };
    let zeros = "0".repeat(zeros);
    let exponent_sign = if exponent < 0 { '-' } else { '+' };
    let lead = mantissa >> 60;
    format!(
        "{sign}0x{lead}{point}{text}{zeros}p{exponent_sign}{:02}",
        exponent.abs()
    )
}

/// The flag `#`: always a point, and for `%g` zeros up to the precision.
fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let tail_at = match verb {
        'x' | 'X' => text.find(['p', 'P']),
        _ => text.find(['e', 'E']),
    };
    let (number, tail) = text.split_at(tail_at.unwrap_or(text.len()));
    let mut number = number.to_owned();
    let mut missing = match verb {
        'g' | 'G' | 'x' => precision.unwrap_or(6) as i64,
        _ => 0,
    };
    let mut counts = false;
    for c in number[1..].chars().filter(|c| *c != '.') {
        counts |= c != '0';
        missing -= i64::from(counts);
    }
    if !number.contains('.') {
        if &number[1..] == "0" {
            missing -= 1;
        }
        number.push('.');
    }
    let zeros = usize::try_from(missing).unwrap_or(0).min(PRECISION_MAX);
    number.push_str(&"0".repeat(zeros));
    number + tail
}
