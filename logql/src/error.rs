//! Parse errors in Loki's words.

use crate::ParseError;
use crate::lexer::Token;

/// A message at a position; none is shown when line and column are both 0.
pub(crate) fn at((line, col): (u32, u32), message: &str) -> ParseError {
    let message = if (line, col) == (0, 0) {
        format!("parse error : {message}")
    } else {
        format!("parse error at line {line}, col {col}: {message}")
    };
    ParseError { message }
}

/// A message without a position.
pub(crate) fn plain(message: impl AsRef<str>) -> ParseError {
    at((0, 0), message.as_ref())
}

/// A bound of the language was met.
pub(crate) fn limit(message: impl AsRef<str>) -> ParseError {
    plain(message)
}

/// What is wrong with a literal.
pub(crate) fn not_a_number(error: &str) -> String {
    format!("unable to parse literal as a float: {error}")
}

/// A token that cannot stand where it does. Up to four tokens that could are listed.
pub(crate) fn unexpected(token: &Token, expecting: &[&str]) -> ParseError {
    let mut message = format!("syntax error: unexpected {}", token.tok.name());
    if !expecting.is_empty() {
        message.push_str(", expecting ");
        message.push_str(&expecting.join(" or "));
    }
    at((token.line, token.col), &message)
}
