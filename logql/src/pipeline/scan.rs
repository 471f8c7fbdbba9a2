//! Finding bytes in the pieces of a line: keys and values are short, so eight bytes at a time come first, and the
//! vector search of `memchr` only where a text turns out to be long.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// Bytes looked at as words before a text counts as long.
const SHORT: usize = 32;

/// Marks the zero bytes of a word. Bytes above the first marked one may be marked wrongly.
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(LOW) & !word & HIGH
}

/// Marks the bytes of a word that equal a byte, as [`zeros`] does.
const fn equal(word: u64, byte: u8) -> u64 {
    zeros(word ^ (LOW * byte as u64))
}

/// Marks the bytes of a word that are blank or a control character, as [`zeros`] does.
const fn blanks(word: u64) -> u64 {
    word.wrapping_sub(LOW * 0x21) & !word & HIGH
}

/// The first byte for which `mark` sets a bit; `is_hit` says the same of a single byte.
#[inline(always)]
fn find(
    text: &[u8],
    from: usize,
    end: usize,
    mark: impl Fn(u64) -> u64,
    is_hit: impl Fn(u8) -> bool,
) -> Option<usize> {
    let mut at = from;
    while at + 8 <= end {
        let Some(word) = text[at..].first_chunk::<8>() else {
            break;
        };
        let marks = mark(u64::from_le_bytes(*word));
        if marks != 0 {
            return Some(at + marks.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = text.get(at..end)?;
    rest.iter().position(|b| is_hit(*b)).map(|i| at + i)
}

/// A quote or a backslash, from `from` on.
#[inline]
fn quote_or_backslash(text: &[u8], from: usize) -> Option<usize> {
    let near = text.len().min(from + SHORT);
    let found = find(
        text,
        from,
        near,
        |word| equal(word, b'"') | equal(word, b'\\'),
        |b| b == b'"' || b == b'\\',
    );
    found.or_else(|| {
        let far = memchr::memchr2(b'"', b'\\', text.get(near..)?)?;
        Some(near + far)
    })
}

/// The quote that ends a string whose inside begins at `from`, and whether there is a backslash before it.
#[inline]
pub(super) fn string_end(text: &[u8], from: usize) -> Option<(usize, bool)> {
    let mut at = quote_or_backslash(text, from)?;
    if text[at] == b'"' {
        return Some((at, false));
    }
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
        text.len(),
        |word| equal(word, b'"') | equal(word, open) | equal(word, close),
        |b| b == b'"' || b == open || b == close,
    )
}

/// The first byte that may end a logfmt key or value: `=`, a quote, a blank or a control character.
#[inline]
pub(super) fn logfmt_end(text: &[u8], from: usize) -> Option<usize> {
    find(
        text,
        from,
        text.len(),
        |word| equal(word, b'=') | equal(word, b'"') | blanks(word),
        |b| b == b'=' || b == b'"' || b <= b' ',
    )
}

/// The first blank or control character.
#[inline]
pub(super) fn blank(text: &[u8], from: usize) -> Option<usize> {
    find(text, from, text.len(), blanks, |b| b <= b' ')
}

/// The first byte that is neither blank nor a control character.
#[inline]
pub(super) fn no_blank(text: &[u8], from: usize) -> Option<usize> {
    let rest = text.get(from..)?;
    rest.iter().position(|b| *b > b' ').map(|i| from + i)
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
                    let blanks: Vec<u8> = (0..=b' ').collect();
                    assert_eq!(blank(&text, 0), hit(&blanks));
                    let ends: Vec<u8> = (0..=b' ').chain(*b"=\"").collect();
                    assert_eq!(logfmt_end(&text, 0), hit(&ends));
                    assert_eq!(logfmt_end(&text, at + 1), None);
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
