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
        "^" => left.powf(right),
        _ => f64::NAN,
    }
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
