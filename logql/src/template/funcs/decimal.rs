//! Decimal numbers of any length, for `addf`, `subf`, `mulf`, `divf`: what they compute from 0.1 and 0.2 is 0.3.
//!
//! A number is `digits * 10^exponent`, the digits in groups of nine, lowest group first. Bound: [`GROUPS_MAX`].

/// One more than the largest group.
const BASE: u64 = 1_000_000_000;
/// Digits of a group.
const GROUP: i64 = 9;
/// Decimal places of a quotient.
const DIVISION_PLACES: i64 = 16;
/// Longest number: some four thousand digits, where a sum of any two floats has six hundred.
const GROUPS_MAX: usize = 450;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    negative: bool,
    /// Without zeros at the high end; empty for 0.
    groups: Vec<u32>,
    exponent: i64,
}

impl Decimal {
    /// The shortest digits that read back as the float.
    pub(super) fn from_float(value: f64) -> Result<Decimal, String> {
        if !value.is_finite() {
            let shown = crate::format::go_v(value);
            return Err(format!("Cannot create a Decimal from {shown}"));
        }
        let text = crate::format::shortest(value.abs());
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let coefficient: u64 = format!("{whole}{fraction}").parse().unwrap_or(0);
        let exponent: i64 = exponent.parse().unwrap_or(0);
        Ok(Decimal {
            negative: value.is_sign_negative(),
            groups: groups_of(coefficient.into()),
            exponent: exponent - fraction.len() as i64,
        })
    }

    /// How much work a step on it is.
    pub(super) fn size(&self) -> usize {
        self.groups.len()
    }

    fn is_zero(&self) -> bool {
        self.groups.is_empty()
    }

    /// The digits for a lower exponent.
    fn scaled_to(&self, exponent: i64) -> Result<Vec<u32>, String> {
        let mut groups = self.groups.clone();
        shift(&mut groups, self.exponent - exponent)?;
        Ok(groups)
    }

    pub(super) fn add(&self, other: &Decimal) -> Result<Decimal, String> {
        if self.is_zero() || other.is_zero() {
            return Ok(if self.is_zero() { other } else { self }.clone());
        }
        let exponent = self.exponent.min(other.exponent);
        let (a, b) = (self.scaled_to(exponent)?, other.scaled_to(exponent)?);
        let (negative, groups) = if self.negative == other.negative {
            (self.negative, sum(&a, &b))
        } else if compare(&a, &b).is_ge() {
            (self.negative, difference(&a, &b))
        } else {
            (other.negative, difference(&b, &a))
        };
        Decimal::new(negative, groups, exponent)
    }

    pub(super) fn sub(&self, other: &Decimal) -> Result<Decimal, String> {
        self.add(&Decimal {
            negative: !other.negative,
            ..other.clone()
        })
    }

    pub(super) fn mul(&self, other: &Decimal) -> Result<Decimal, String> {
        let mut groups = vec![0u32; self.groups.len() + other.groups.len()];
        for (i, a) in self.groups.iter().enumerate() {
            let mut carry = 0;
            for (j, b) in other.groups.iter().enumerate() {
                let value = u64::from(groups[i + j]) + u64::from(*a) * u64::from(*b) + carry;
                groups[i + j] = (value % BASE) as u32;
                carry = value / BASE;
            }
            groups[i + other.groups.len()] = carry as u32;
        }
        trim(&mut groups);
        let exponent = self.exponent + other.exponent;
        Decimal::new(self.negative != other.negative, groups, exponent)
    }

    /// The quotient to 16 places, halves away from zero.
    pub(super) fn div(&self, by: &Decimal) -> Result<Decimal, String> {
        if by.is_zero() {
            return Err("decimal division by 0".to_owned());
        }
        // Divisors come from floats: at most seventeen digits.
        let divisor = by.groups.iter().rev().fold(0u128, |value, group| {
            value * u128::from(BASE) + u128::from(*group)
        });
        // Twice the quotient, rounded down, tells how to round the quotient itself.
        let mut groups = sum(&self.groups, &self.groups);
        let places = self.exponent - by.exponent + DIVISION_PLACES;
        if places >= 0 {
            shift(&mut groups, places)?;
        } else {
            cut(&mut groups, -places);
        }
        divide(&mut groups, divisor);
        let mut groups = sum(&groups, &[1]);
        divide(&mut groups, 2);
        Decimal::new(self.negative != by.negative, groups, -DIVISION_PLACES)
    }

    fn new(negative: bool, groups: Vec<u32>, exponent: i64) -> Result<Decimal, String> {
        check_length(groups.len())?;
        Ok(Decimal {
            negative,
            groups,
            exponent,
        })
    }

    /// The nearest float.
    pub(super) fn to_float(&self) -> f64 {
        let mut text = String::from(if self.negative && !self.is_zero() {
            "-0"
        } else {
            "0"
        });
        for group in self.groups.iter().rev() {
            text.push_str(&format!("{group:09}"));
        }
        text.push_str(&format!("e{}", self.exponent));
        text.parse().unwrap_or(0.0)
    }
}

fn groups_of(mut value: u128) -> Vec<u32> {
    let mut groups = Vec::new();
    while value > 0 {
        groups.push((value % u128::from(BASE)) as u32);
        value /= u128::from(BASE);
    }
    groups
}

fn trim(groups: &mut Vec<u32>) {
    while groups.last() == Some(&0) {
        groups.pop();
    }
}

fn check_length(groups: usize) -> Result<(), String> {
    if groups > GROUPS_MAX {
        let digits = GROUPS_MAX * GROUP as usize;
        return Err(format!("a decimal number has more than {digits} digits"));
    }
    Ok(())
}

/// Multiplies by a power of ten.
fn shift(groups: &mut Vec<u32>, places: i64) -> Result<(), String> {
    if groups.is_empty() {
        return Ok(());
    }
    let zeros = usize::try_from(places / GROUP).unwrap_or(0);
    check_length(groups.len().saturating_add(zeros))?;
    let factor = 10u64.pow((places % GROUP) as u32);
    let mut carry = 0;
    for group in groups.iter_mut() {
        let value = u64::from(*group) * factor + carry;
        *group = (value % BASE) as u32;
        carry = value / BASE;
    }
    if carry > 0 {
        groups.push(carry as u32);
    }
    groups.splice(0..0, std::iter::repeat_n(0, zeros));
    Ok(())
}

/// Divides by a power of ten, rounding down.
fn cut(groups: &mut Vec<u32>, places: i64) {
    let whole = usize::try_from(places / GROUP).unwrap_or(usize::MAX);
    groups.drain(..whole.min(groups.len()));
    divide(groups, 10u128.pow((places % GROUP) as u32));
}

/// Divides, rounding down. The divisor has at most twenty-six digits.
fn divide(groups: &mut Vec<u32>, divisor: u128) {
    let mut rest = 0;
    for group in groups.iter_mut().rev() {
        let value = rest * u128::from(BASE) + u128::from(*group);
        *group = (value / divisor) as u32;
        rest = value % divisor;
    }
    trim(groups);
}

fn compare(a: &[u32], b: &[u32]) -> std::cmp::Ordering {
    a.len()
        .cmp(&b.len())
        .then_with(|| a.iter().rev().cmp(b.iter().rev()))
}

fn sum(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(a.len().max(b.len()) + 1);
    let mut carry = 0;
    for i in 0..a.len().max(b.len()) {
        let digit = |groups: &[u32]| groups.get(i).copied().unwrap_or(0);
        let value = u64::from(digit(a)) + u64::from(digit(b)) + carry;
        out.push((value % BASE) as u32);
        carry = value / BASE;
    }
    if carry > 0 {
        out.push(carry as u32);
    }
    trim(&mut out);
    out
}

/// `a - b`, of which `a` is not the smaller.
fn difference(a: &[u32], b: &[u32]) -> Vec<u32> {
    let mut out = Vec::with_capacity(a.len());
    let mut borrow = 0;
    for (i, group) in a.iter().enumerate() {
        let mut value = i64::from(*group) - i64::from(b.get(i).copied().unwrap_or(0)) - borrow;
        borrow = i64::from(value < 0);
        if value < 0 {
            value += BASE as i64;
        }
        out.push(value as u32);
    }
    trim(&mut out);
    out
}
