//! Finding bytes in the pieces of a line: keys and values are short, so eight bytes at a time come first, and the
//! vector search of `memchr` only where a text turns out to be long.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// Words looked at before a text counts as long.
const SHORT_WORDS: usize = 4;

/// Marks the zero bytes of a word. Bytes above the first marked one may be marked wrongly.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

/// Marks the bytes of a word that equal a byte, as [`zeros`] does.
const fn equal(word: u64, byte: u8) -> u64 {
    zeros(word ^ (LOW * byte as u64))
}

/// The first byte for which `mark` sets a bit; `is_hit` says the same of a single byte.
#[inline(always)]
fn find(
    text: &[u8],
    from: usize,
    mark: impl Fn(u64) -> u64,
    is_hit: impl Fn(u8) -> bool,
) -> Option<usize> {
    let rest = text.get(from..)?;
    let (words, tail) = rest.as_chunks::<8>();
    let mut at = from;
    for word in words {
        let marks = mark(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    tail.iter().position(|b| is_hit(*b)).map(|i| at + i)
}

/// A quote or a backslash, from `from` on.
#[inline(always)]
fn quote_or_backslash(text: &[u8], from: usize) -> Option<usize> {
    let (words, _) = text.get(from..)?.as_chunks::<8>();
    let mut at = from;
    for word in words.iter().take(SHORT_WORDS) {
        let word = u64::from_le_bytes(*word);
        let marks = equal(word, b'"') | equal(word, b'\\');
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    far_quote_or_backslash(text, at)
}

#[inline(never)]
fn far_quote_or_backslash(text: &[u8], from: usize) -> Option<usize> {
    let far = memchr::memchr2(b'"', b'\\', text.get(from..)?)?;
    Some(from + far)
}

/// The quote that ends a string whose inside begins at `from`, and whether there is a backslash before it.
#[inline(always)]
pub(super) fn string_end(text: &[u8], from: usize) -> Option<(usize, bool)> {
    let at = quote_or_backslash(text, from)?;
    if text[at] == b'"' {
        Some((at, false))
    } else {
        escaped_end(text, at)
    }
}

/// The end of a string with a backslash at `at`.
#[inline(never)]
fn escaped_end(text: &[u8], mut at: usize) -> Option<(usize, bool)> {
    loop {
        // What follows a backslash ends no string.
        at = quote_or_backslash(text, at + 2)?;
        if text[at] == b'"' {
            return Some((at, true));
        }
    }
}

/// A quote or one of two brackets, from `from` on.
#[inline]
pub(super) fn quote_or_bracket(text: &[u8], from: usize, open: u8, close: u8) -> Option<usize> {
    find(
        text,
        from,
        |word| equal(word, b'"') | equal(word, open) | equal(word, close),
        |b| b == b'"' || b == open || b == close,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_bytes_find_the_same() {
        // Every byte at every distance from every kind of end.
        for len in 0..40 {
            for at in 0..len {
                for byte in 0..=255u8 {
                    let mut text = vec![b'x'; len];
                    text[at] = byte;
                    let hit = |wanted: &[u8]| wanted.contains(&byte).then_some(at);
                    assert_eq!(quote_or_backslash(&text, 0), hit(b"\"\\"));
                    assert_eq!(quote_or_bracket(&text, 0, b'{', b'}'), hit(b"\"{}"));
                    assert_eq!(quote_or_bracket(&text, at + 1, b'{', b'}'), None);
                }
            }
        }
    }

    #[test]
    fn strings_end_at_the_first_quote_that_is_not_escaped() {
        assert_eq!(string_end(b"ab\"c", 0), Some((2, false)));
        assert_eq!(string_end(br#"a\"b" c"#, 0), Some((4, true)));
        assert_eq!(string_end(br#"a\\" c"#, 0), Some((3, true)));
        assert_eq!(string_end(br"a\", 0), None);
        assert_eq!(string_end(b"", 0), None);
        assert_eq!(string_end(b"x", 5), None);
        let long = [vec![b'y'; 100], b"\" tail".to_vec()].concat();
        assert_eq!(string_end(&long, 3), Some((100, false)));
    }
}
