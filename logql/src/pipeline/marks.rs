//! Positions of the bytes at which parsers stop, a block of 64 bytes at a time.
//!
//! Keys and values are short: a search for the end of each, by whatever means, is mostly its beginning and its end. A
//! block's marks are found at once, without a branch, as bits of a word, and then taken one by one.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;
/// Brings the lowest bits of eight bytes together in the highest byte.
const GATHER: u64 = 0x0102_0408_1020_4080;
const BLOCK: usize = 64;

/// Sets the high bit of each byte that equals a byte, and no other bit.
const fn equal(word: u64, byte: u8) -> u64 {
    let differing = word ^ (LOW * byte as u64);
    !(((differing & !HIGH) + !HIGH) | differing) & HIGH
}

/// Sets the high bit of each byte that is blank or a control character, and no other bit.
const fn blanks(word: u64) -> u64 {
    !((word | HIGH).wrapping_sub(LOW * 0x21) | word) & HIGH
}

/// Which bytes are marked.
pub(super) trait Stop {
    /// Sets the high bit of each byte of a word that is marked.
    fn mark(word: u64) -> u64;
}

/// Quotes.
#[derive(Debug)]
pub(super) struct Quotes;

impl Stop for Quotes {
    #[inline(always)]
    fn mark(word: u64) -> u64 {
        equal(word, b'"')
    }
}

/// What may end a logfmt key or value: `=`, quotes, blanks and control characters.
#[derive(Debug)]
pub(super) struct Ends;

impl Stop for Ends {
    #[inline(always)]
    fn mark(word: u64) -> u64 {
        equal(word, b'=') | equal(word, b'"') | blanks(word)
    }
}

/// The marks of a text, in order.
#[derive(Debug)]
pub(super) struct Marks<'l, S> {
    text: &'l [u8],
    /// Where the current block begins.
    base: usize,
    /// Marks of the current block that were not taken yet.
    left: u64,
    /// Whether a block so far holds anything but ASCII.
    non_ascii: bool,
    stop: std::marker::PhantomData<S>,
}

impl<'l, S: Stop> Marks<'l, S> {
    #[inline]
    pub(super) fn new(text: &'l [u8]) -> Self {
        let mut marks = Marks {
            text,
            base: 0,
            left: 0,
            non_ascii: false,
            stop: std::marker::PhantomData,
        };
        marks.load();
        marks
    }

    fn load(&mut self) {
        let rest = self.text.get(self.base..).unwrap_or_default();
        let (marks, non_ascii) = match rest.first_chunk::<BLOCK>() {
            Some(block) => marks_of::<S>(block),
            None => {
                let mut padded = [b'x'; BLOCK];
                padded[..rest.len()].copy_from_slice(rest);
                marks_of::<S>(&padded)
            }
        };
        self.left = marks;
        self.non_ascii |= non_ascii;
    }

    /// Takes the next mark.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<usize> {
        while self.left == 0 {
            if self.base + BLOCK >= self.text.len() {
                return None;
            }
            self.base += BLOCK;
            self.load();
        }
        let at = self.base + self.left.trailing_zeros() as usize;
        self.left &= self.left - 1;
        Some(at)
    }

    /// Leaves out all marks before a position, which is not behind the next mark's block.
    #[inline]
    pub(super) fn skip_to(&mut self, at: usize) {
        if at >= self.base + BLOCK {
            self.base = at / BLOCK * BLOCK;
            self.load();
        }
        let done = at.saturating_sub(self.base);
        self.left &= u64::MAX.checked_shl(done as u32).unwrap_or(0);
    }

    /// Whether all that was looked at so far is ASCII.
    pub(super) fn is_ascii(&self) -> bool {
        !self.non_ascii
    }
}

/// The marks of a block, and whether it holds anything but ASCII.
#[inline(never)]
fn marks_of<S: Stop>(block: &[u8; BLOCK]) -> (u64, bool) {
    let mut marks = [0; 8];
    let mut all = 0;
    let (words, _) = block.as_chunks::<8>();
    for (marks, word) in marks.iter_mut().zip(words) {
        let word = u64::from_le_bytes(*word);
        all |= word;
        *marks = ((S::mark(word) >> 7).wrapping_mul(GATHER) >> 56) as u8;
    }
    (u64::from_le_bytes(marks), all & HIGH != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all<S: Stop>(text: &[u8]) -> Vec<usize> {
        let mut marks = Marks::<S>::new(text);
        std::iter::from_fn(|| marks.next()).collect()
    }

    #[test]
    fn blocks_mark_what_bytes_are() {
        // Every byte beside every neighbour that could disturb it, at every place of a block.
        for byte in 0..=255u8 {
            for neighbour in [0, b' ', b'!', b'"', b'#', b'=', 0x7f, 0x80, 0xff, byte] {
                for at in [0, 1, 6, 7, 8, 62, 63, 64, 65, 130] {
                    let mut text = vec![neighbour; 140];
                    text[at] = byte;
                    let expected = |hit: &dyn Fn(u8) -> bool| -> Vec<usize> {
                        (0..text.len()).filter(|i| hit(text[*i])).collect()
                    };
                    assert_eq!(all::<Quotes>(&text), expected(&|b| b == b'"'));
                    let ends = expected(&|b| b == b'=' || b == b'"' || b <= b' ');
                    assert_eq!(all::<Ends>(&text), ends);
                }
            }
        }
    }

    #[test]
    fn short_texts_and_skips() {
        for len in 0..200 {
            let text = vec![b'"'; len];
            assert_eq!(all::<Quotes>(&text).len(), len);
            for to in 0..len + 3 {
                let mut marks = Marks::<Quotes>::new(&text);
                marks.skip_to(to);
                assert_eq!(marks.next(), (to < len).then_some(to), "{len} {to}");
                assert_eq!(marks.next(), (to + 1 < len).then_some(to + 1));
            }
        }
        let mut marks = Marks::<Quotes>::new("x\u{e9}\"".as_bytes());
        assert!(!marks.is_ascii());
        assert_eq!(marks.next(), Some(3));
    }
}
