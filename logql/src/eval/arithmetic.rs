//! Binary operators on numbers.

/// Whether an operator filters samples (or gives 0 and 1).
pub(crate) fn is_comparison(op: &str) -> bool {
    matches!(op, "==" | "!=" | ">" | ">=" | "<" | "<=")
}

/// Whether an operator is one of sets.
pub(crate) fn is_set(op: &str) -> bool {
    matches!(op, "and" | "or" | "unless")
}

/// A comparison; NaN differs from everything.
pub(crate) fn compare(op: &str, left: f64, right: f64) -> bool {
    match op {
        "==" => left == right,
        "!=" => left != right,
        ">" => left > right,
        ">=" => left >= right,
        "<" => left < right,
        "<=" => left <= right,
        _ => false,
    }
}

/// Arithmetic. Division by zero and its remainder are NaN, never infinite: so does Loki.
pub(crate) fn compute(op: &str, left: f64, right: f64) -> f64 {
    match op {
        "+" => left + right,
        "-" => left - right,
        "*" => left * right,
        "/" | "%" if right == 0.0 => f64::NAN,
        "/" => left / right,
        "%" => left % right,
        "^" => power(left, right),
        _ => f64::NAN,
    }
}

/// A power, multiplied together as Go does, since literals are folded and printed: 1.1^10 and 100^1.5 are not what is
/// nearest. Whatever leaves the range of plain numbers is left to the library.
fn power(base: f64, exponent: f64) -> f64 {
    let nearest = base.powf(exponent);
    let magnitude = exponent.abs();
    if !nearest.is_normal() || magnitude >= u64::MAX as f64 {
        return nearest;
    }
    let mut product = 1.0;
    let mut whole = magnitude.trunc() as u64;
    let part = magnitude.fract();
    if magnitude == 0.5 {
        product = base.sqrt();
    } else if part > 0.5 {
        whole += 1;
        product = ((part - 1.0) * base.ln()).exp();
    } else if part > 0.0 {
        product = (part * base.ln()).exp();
    }
    let mut square = base;
    while whole > 0 {
        if whole & 1 == 1 {
            product *= square;
        }
        square *= square;
        whole >>= 1;
    }
    let result = if exponent < 0.0 {
        1.0 / product
    } else {
        product
    };
    if result.is_normal() { result } else { nearest }
}

/// Two literals; comparisons give 1 or 0. `None` for set operators.
pub(crate) fn literals(op: &str, left: f64, right: f64) -> Option<f64> {
    if is_set(op) {
        return None;
    }
    if is_comparison(op) {
        return Some(f64::from(u8::from(compare(op, left, right))));
    }
    Some(compute(op, left, right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_those_of_go() {
        let cases = [
            (2.0, 10.0, 1024.0),
            (1.1, 10.0, 2.593742460100002),
            (100.0, 1.5, 1000.0000000000002),
            (-2.0, 3.0, -8.0),
            (4.0, -0.5, 0.5),
            (2.0, -1074.0, 5e-324),
            (10.0, 400.0, f64::INFINITY),
            (0.0, -1.0, f64::INFINITY),
            (7.0, 0.0, 1.0),
        ];
        for (base, exponent, expected) in cases {
            assert_eq!(compute("^", base, exponent), expected, "{base}^{exponent}");
        }
        assert!(compute("^", -2.0, 0.5).is_nan());
    }
}
