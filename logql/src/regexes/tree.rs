//! What the trees of a pattern take while it is compiled.
//!
//! A pattern of a hundred kilobytes fits into a query, and becomes trees of sixty megabytes. They cannot be counted
//! while they are made, so they are estimated before.

use super::too_large;

/// Bytes that the trees of one pattern may take.
pub(super) const MAX_TREE: usize = 10 << 20;

// Measured on regex-syntax 0.8 with a counting allocator, both of its trees together, at their worst.

/// A character. In a class it stands for a range.
const CHAR: usize = 150;
/// A character where case does not matter: a class of at least two ranges.
const FOLDED: usize = 300;
/// A class, beside what stands in it. A dot is one.
const CLASS: usize = 1_200;
/// A table of Unicode, `\\p{..}`.
const TABLE: usize = 12_000;
/// A group.
const GROUP: usize = 400;

/// Whether a translated pattern stays below the bound.
///
/// # Errors
/// Go's words for what is too large.
pub(super) fn check(translated: &str) -> Result<(), String> {
    if bytes(translated) > MAX_TREE {
        return Err(too_large(translated));
    }
    Ok(())
}

/// Bytes that the trees take, rather too many than too few.
fn bytes(translated: &str) -> usize {
    let char = if folds(translated) { FOLDED } else { CHAR };
    let text = translated.as_bytes();
    let (mut sum, mut at) = (0, 0);
    while let Some(byte) = text.get(at) {
        let (cost, len) = match byte {
            b'[' | b'.' => (CLASS, 1),
            b'(' => (GROUP, 1),
            b'\\' => match text.get(at + 1) {
                Some(b'p' | b'P') => (TABLE, 2),
                // `\x{2d}` is one character.
                Some(b'x') => (char, closed(&text[at..])),
                _ => (char, 2),
            },
            // The further bytes of a character.
            0x80..=0xbf => (0, 1),
            _ => (char, 1),
        };
        sum += cost;
        at += len;
    }
    sum
}

/// Bytes up to a closing brace.
fn closed(text: &[u8]) -> usize {
    memchr::memchr(b'}', text).map_or(2, |end| end + 1)
}

/// Whether a flag makes case matter less somewhere.
fn folds(translated: &str) -> bool {
    translated.match_indices("(?").any(|(at, _)| {
        translated[at + 2..]
            .bytes()
            .take_while(u8::is_ascii_alphabetic)
            .any(|flag| flag == b'i')
    })
}
