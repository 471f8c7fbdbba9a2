//! Positions of the bytes at which parsers stop, a block of 64 bytes at a time.
//!
//! Keys and values are short: a search for the end of each, by whatever means, is mostly its beginning and its end. A
//! block's marks are found at once, without a branch, as bits of a word, and then taken one by one.

/// Brings the lowest bits of eight bytes together in the highest byte.
const GATHER: u64 = 0x0102_0408_1020_4080;
const BLOCK: usize = 64;

/// Which bytes are marked.
pub(super) trait Stop {
    fn is_marked(byte: u8) -> bool;
}

/// Quotes.
#[derive(Debug)]
pub(super) struct Quotes;

impl Stop for Quotes {
    #[inline(always)]
    fn is_marked(byte: u8) -> bool {
        byte == b'"'
    }
}

/// What may end a logfmt key or value: `=`, quotes, blanks and control characters.
#[derive(Debug)]
pub(super) struct Ends;

impl Stop for Ends {
    #[inline(always)]
    fn is_marked(byte: u8) -> bool {
        // Not lazy: this becomes vector instructions.
        (byte == b'=') | (byte == b'"') | (byte <= b' ')
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

    /// The next mark, which stays.
    #[inline(always)]
    pub(super) fn peek(&mut self) -> Option<usize> {
        while self.left == 0 {
            if self.base + BLOCK >= self.text.len() {
                return None;
            }
            self.base += BLOCK;
            self.load();
        }
        Some(self.base + self.left.trailing_zeros() as usize)
    }

    /// Takes the next mark.
    #[inline(always)]
    pub(super) fn next(&mut self) -> Option<usize> {
        let at = self.peek()?;
        self.left &= self.left - 1;
        Some(at)
    }

    /// Whether all that was looked at so far is ASCII.
    pub(super) fn is_ascii(&self) -> bool {
        !self.non_ascii
    }
}

/// The marks of a block, and whether it holds anything but ASCII. Both loops are such that compilers turn the first into
/// vector instructions, and unroll the second.
#[inline(never)]
fn marks_of<S: Stop>(block: &[u8; BLOCK]) -> (u64, bool) {
    let mut hits = [0; BLOCK];
    for (hit, byte) in hits.iter_mut().zip(block) {
        *hit = u8::from(S::is_marked(*byte));
    }
    let mut marks = [0; 8];
    let (words, _) = hits.as_chunks::<8>();
    for (marks, word) in marks.iter_mut().zip(words) {
        *marks = (u64::from_le_bytes(*word).wrapping_mul(GATHER) >> 56) as u8;
    }
    (u64::from_le_bytes(marks), !block.is_ascii())
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
    fn texts_of_any_length() {
        for len in 0..200 {
            let text = vec![b'"'; len];
            assert_eq!(all::<Quotes>(&text).len(), len);
        }
        let mut marks = Marks::<Quotes>::new("x\u{e9}\"".as_bytes());
        assert!(!marks.is_ascii());
        assert_eq!(marks.next(), Some(3));
    }
}
