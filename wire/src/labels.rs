//! Label sets in one canonical encoding.
//!
//! A label set is stored as bytes, not as a map: it is hashed, compared, written to segments and kept for
//! ten thousand streams, but rarely looked into. The same encoding carries structured metadata.
//!
//! ```text
//! set  := pair*                      names in byte order, each name once, no empty name, no empty value
//! pair := len name len value         len: LEB128 varint of at most 3 bytes (so at most 2,097,151)
//! ```
//!
//! Equal sets have equal bytes, so equality and hashing work on the encoding. The empty set is the empty string.

use std::fmt;

/// Longest name or value in bytes that the encoding can hold (three varint bytes).
pub const MAX_PART_BYTES: usize = (1 << 21) - 1;

/// Why bytes or pairs are not a label set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabelError {
    /// The encoding ends inside a name or value, or a length does not fit.
    Truncated,
    /// A name or value is not UTF-8.
    NotUtf8,
    /// Names are not in strictly rising byte order; the name found is given.
    Order(String),
    /// A name is empty, or a value in the encoding is (pairs with an empty value must be left out).
    Empty,
    /// A name or value is longer than [`MAX_PART_BYTES`]; its length is given.
    TooLong(usize),
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LabelError::Truncated => f.write_str("label set ends inside a name or value"),
            LabelError::NotUtf8 => f.write_str("label set holds a name or value that is not UTF-8"),
            LabelError::Order(name) => write!(f, "label name `{name}` is repeated or out of order"),
            LabelError::Empty => f.write_str("label set holds an empty name or value"),
            LabelError::TooLong(n) => {
                write!(
                    f,
                    "label name or value of {n} bytes exceeds {MAX_PART_BYTES}"
                )
            }
        }
    }
}

impl std::error::Error for LabelError {}

/// An owned, canonical label set. See the module documentation for the encoding.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct LabelSet(Box<[u8]>);

/// A borrowed, canonical label set: known to be valid, so iterating cannot fail.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Labels<'a>(&'a [u8]);

impl LabelSet {
    /// Builds a set from pairs in any order. A pair with an empty value is left out, as in Loki; of two pairs
    /// with one name the later wins.
    ///
    /// # Errors
    /// [`LabelError::Empty`] for an empty name, [`LabelError::TooLong`] for an oversized name or value.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Result<LabelSet, LabelError> {
        let mut sorted: Vec<(N, V)> = pairs.into_iter().collect();
        // Stable, so that among equal names the later one stays last.
        sorted.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let mut out = Vec::new();
        for (i, (name, value)) in sorted.iter().enumerate() {
            let (name, value) = (name.as_ref(), value.as_ref());
            if name.is_empty() {
                return Err(LabelError::Empty);
            }
            let overridden = sorted
                .get(i + 1)
                .is_some_and(|next| next.0.as_ref() == name);
            if overridden || value.is_empty() {
                continue;
            }
            push_part(&mut out, name)?;
            push_part(&mut out, value)?;
        }
        Ok(LabelSet(out.into_boxed_slice()))
    }

    /// Checks an encoding that came from disk or network and copies it.
    ///
    /// # Errors
    /// Any [`LabelError`]: the bytes are then not canonical.
    pub fn from_bytes(bytes: &[u8]) -> Result<LabelSet, LabelError> {
        Ok(Labels::check(bytes)?.to_owned())
    }

    /// The same set, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> Labels<'_> {
        Labels(&self.0)
    }

    /// The canonical encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl<'a> Labels<'a> {
    /// Checks an encoding that came from disk or network.
    ///
    /// # Errors
    /// Any [`LabelError`]: the bytes are then not canonical.
    pub fn check(bytes: &'a [u8]) -> Result<Labels<'a>, LabelError> {
        let mut rest = bytes;
        let mut last: Option<&str> = None;
        while !rest.is_empty() {
            let name = take_part(&mut rest)?;
            let value = take_part(&mut rest)?;
            if name.is_empty() || value.is_empty() {
                return Err(LabelError::Empty);
            }
            if last.is_some_and(|l| l >= name) {
                return Err(LabelError::Order(name.to_owned()));
            }
            last = Some(name);
        }
        Ok(Labels(bytes))
    }

    /// The canonical encoding.
    #[must_use]
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// Whether the set has no labels.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(self) -> LabelSet {
        LabelSet(self.0.into())
    }

    /// The pairs, names in byte order.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, &'a str)> + Clone {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            if rest.is_empty() {
                return None;
            }
            // Only `check` and `from_pairs` make these types, so the bytes are canonical.
            let name = take_part(&mut rest).expect("canonical label set");
            let value = take_part(&mut rest).expect("canonical label set");
            Some((name, value))
        })
    }

    /// The value of `name`, if the set has it.
    #[must_use]
    pub fn get(self, name: &str) -> Option<&'a str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// A 64-bit hash of the encoding (xxh3, seed 0). It is written to disk (docs/FORMAT.md), so it never changes.
    #[must_use]
    pub fn hash64(self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(self.0)
    }
}

impl fmt::Display for Labels<'_> {
    /// Loki's text of a label set: `{a="1", b="2"}`. Quoting follows Go's `strconv.Quote` for the common cases;
    /// the query engine has the complete form.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_ref(), f)
    }
}

impl fmt::Display for LabelSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_ref(), f)
    }
}

fn push_part(out: &mut Vec<u8>, part: &str) -> Result<(), LabelError> {
    if part.len() > MAX_PART_BYTES {
        return Err(LabelError::TooLong(part.len()));
    }
    let mut n = part.len();
    while n > 0x7f {
        out.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend_from_slice(part.as_bytes());
    Ok(())
}

fn take_part<'a>(rest: &mut &'a [u8]) -> Result<&'a str, LabelError> {
    let mut len = 0usize;
    let mut shift = 0;
    loop {
        let (&b, tail) = rest.split_first().ok_or(LabelError::Truncated)?;
        *rest = tail;
        len |= usize::from(b & 0x7f) << shift;
        if b & 0x80 == 0 {
            // A final zero byte after the first would be a second encoding of the same length.
            if b == 0 && shift > 0 {
                return Err(LabelError::Truncated);
            }
            break;
        }
        shift += 7;
        if shift > 14 {
            return Err(LabelError::Truncated);
        }
    }
    if len > rest.len() {
        return Err(LabelError::Truncated);
    }
    let (part, tail) = rest.split_at(len);
    *rest = tail;
    std::str::from_utf8(part).map_err(|_| LabelError::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&str, &str)], want: &str) {
        let set = LabelSet::from_pairs(pairs.iter().copied()).unwrap();
        assert_eq!(set.to_string(), want);
        let back = LabelSet::from_bytes(set.as_bytes()).unwrap();
        assert_eq!(back, set);
        assert_eq!(back.as_ref().hash64(), set.as_ref().hash64());
    }

    #[test]
    fn sets_are_canonical() {
        check(&[], "{}");
        check(&[("b", "2"), ("a", "1")], r#"{a="1", b="2"}"#);
        check(&[("a", "1"), ("a", "2")], r#"{a="2"}"#);
        check(&[("a", "1"), ("a", "")], "{}");
        let long = "x".repeat(300);
        check(&[("a", &long)], &format!("{{a=\"{long}\"}}"));
    }

    #[test]
    fn p9_hostile_encodings_get_errors() {
        let ok = LabelSet::from_pairs([("app", "x"), ("pod", "y")]).unwrap();
        for cut in 1..ok.as_bytes().len() {
            // A cut on a pair boundary is a smaller set; everything else is an error.
            if cut != 6 {
                assert!(
                    LabelSet::from_bytes(&ok.as_bytes()[..cut]).is_err(),
                    "cut at {cut}"
                );
            }
        }
        assert_eq!(
            LabelSet::from_bytes(b"\x01b\x01x\x01a\x01x"),
            Err(LabelError::Order("a".into()))
        );
        assert_eq!(
            LabelSet::from_bytes(b"\x01a\x01x\x01a\x01x"),
            Err(LabelError::Order("a".into()))
        );
        assert_eq!(LabelSet::from_bytes(b"\x01a\x00"), Err(LabelError::Empty));
        assert_eq!(
            LabelSet::from_bytes(b"\x01\xff\x01x"),
            Err(LabelError::NotUtf8)
        );
        assert_eq!(
            LabelSet::from_bytes(b"\xff\xff\xff\xff"),
            Err(LabelError::Truncated)
        );
        assert_eq!(
            LabelSet::from_bytes(b"\x81\x00a\x01x"),
            Err(LabelError::Truncated)
        );
    }

    #[test]
    fn get_finds_a_value() {
        let set = LabelSet::from_pairs([("app", "x"), ("pod", "y")]).unwrap();
        assert_eq!(set.as_ref().get("pod"), Some("y"));
        assert_eq!(set.as_ref().get("nope"), None);
    }
}
