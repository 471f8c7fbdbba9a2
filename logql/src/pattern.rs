//! The `pattern` parser's and the pattern filter's expressions: text with captures `<name>` or `<_>`.

use crate::needle::Needle;

/// A piece of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Text to be found.
    Literal(Vec<u8>),
    /// `<name>`; `_` discards.
    Capture(String),
}

/// Splits a pattern; `<` that begins no capture is text.
pub(crate) fn split(pattern: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut literal = Vec::new();
    let mut rest = pattern;
    while let Some(byte) = rest.first() {
        if let Some(name) = capture(rest) {
            if !literal.is_empty() {
                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
            }
            rest = &rest[name.len() + 2..];
            pieces.push(Piece::Capture(name));
        } else {
            literal.push(*byte);
            rest = &rest[1..];
        }
    }
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    pieces
}

/// The name of a capture at the head of a text.
fn capture(text: &[u8]) -> Option<String> {
    let body = text.strip_prefix(b"<")?;
    let end = body.iter().position(|b| *b == b'>')?;
    let name = &body[..end];
    let head = name.first()?;
    let plain = (head.is_ascii_alphabetic() || *head == b'_')
        && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    plain.then(|| String::from_utf8_lossy(name).into_owned())
}

/// No two captures without text between them.
fn check_neighbours(pieces: &[Piece]) -> Result<(), String> {
    for pair in pieces.windows(2) {
        if let [Piece::Capture(a), Piece::Capture(b)] = pair {
            return Err(format!(
                "found consecutive capture '<{a}><{b}>': invalid expression"
            ));
        }
    }
    Ok(())
}

/// The check of the `pattern` stage.
pub(crate) fn check_parser(pattern: &[u8]) -> Result<(), String> {
    let fail = |why: String| Err(format!("invalid pattern parser: {why}"));
    let pieces = split(pattern);
    if pieces.is_empty() {
        return fail(
            "parse error at line 1, col 1: syntax error: unexpected $end, expecting IDENTIFIER or LITERAL"
                .to_owned(),
        );
    }
    let names: Vec<&String> = pieces
        .iter()
        .filter_map(|piece| match piece {
            Piece::Capture(name) if name != "_" => Some(name),
            _ => None,
        })
        .collect();
    if names.is_empty() {
        return fail("at least one capture is required".to_owned());
    }
    if let Err(why) = check_neighbours(&pieces) {
        return fail(why);
    }
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return fail(format!(
                "duplicate capture name ({name}): invalid expression"
            ));
        }
    }
    Ok(())
}

/// A pattern filter: which text must follow which.
#[derive(Debug, Clone)]
pub(crate) struct PatternFilter {
    literals: Vec<memchr::memmem::Finder<'static>>,
    starts_with_capture: bool,
    ends_with_capture: bool,
}

impl PatternFilter {
    /// Compiles a filter's pattern, which has no named captures.
    pub(crate) fn new(pattern: &[u8]) -> Result<Self, String> {
        let pieces = split(pattern);
        check_neighbours(&pieces)?;
        for piece in &pieces {
            if let Piece::Capture(name) = piece
                && name != "_"
            {
                return Err(format!("named captures are not allowed: found '<{name}>'"));
            }
        }
        let is_capture = |piece: Option<&Piece>| matches!(piece, Some(Piece::Capture(_)));
        Ok(PatternFilter {
            starts_with_capture: is_capture(pieces.first()),
            ends_with_capture: is_capture(pieces.last()),
            literals: pieces
                .iter()
                .filter_map(|piece| match piece {
                    Piece::Literal(text) => Some(memchr::memmem::Finder::new(text).into_owned()),
                    Piece::Capture(_) => None,
                })
                .collect(),
        })
    }

    /// What every line holds that passes.
    pub(crate) fn needle(&self) -> Option<Needle> {
        let literals = self.literals.iter();
        Needle::all(literals.filter_map(|literal| Needle::text(literal.needle())))
    }

    /// Literals must occur in order, captures are never empty, and nothing may follow a last literal. A first literal
    /// is searched, not anchored: so does Loki.
    pub(crate) fn matches(&self, line: &[u8]) -> bool {
        if self.literals.is_empty() {
            return line.is_empty() != self.ends_with_capture;
        }
        if line.is_empty() {
            return false;
        }
        let mut rest = line;
        for (i, literal) in self.literals.iter().enumerate() {
            let Some(at) = literal.find(rest) else {
                return false;
            };
            if at == 0 && (i > 0 || self.starts_with_capture) {
                return false;
            }
            rest = &rest[at + literal.needle().len()..];
        }
        rest.is_empty() != self.ends_with_capture
    }
}
