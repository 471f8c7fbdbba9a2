//! Snappy's block format, which every protobuf push comes in.

use std::fmt;

/// Most bytes that one byte of a block can stand for: a copy of 64 bytes takes three.
const RATIO_MAX: usize = 22;

/// Why a block was not decompressed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnappyError {
    /// Not a block, or a damaged one.
    Corrupt,
    /// The block states more bytes than allowed; the number is given.
    TooLarge(u64),
}

impl fmt::Display for SnappyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnappyError::Corrupt => f.write_str("snappy: corrupt input"),
            SnappyError::TooLarge(n) => write!(f, "snappy: block of {n} bytes is too large"),
        }
    }
}

impl std::error::Error for SnappyError {}

/// Decompresses a block of at most `limit` bytes. The stated length is looked at before anything is allocated for it.
///
/// # Errors
/// See [`SnappyError`].
pub fn decompress(block: &[u8], limit: usize) -> Result<Vec<u8>, SnappyError> {
    let len = snap::raw::decompress_len(block).map_err(|_| SnappyError::Corrupt)?;
    if len > limit {
        return Err(SnappyError::TooLarge(len as u64));
    }
    if len > block.len().saturating_mul(RATIO_MAX) {
        return Err(SnappyError::Corrupt);
    }
    let mut decoder = snap::raw::Decoder::new();
    decoder
        .decompress_vec(block)
        .map_err(|_| SnappyError::Corrupt)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(raw: &[u8]) -> Vec<u8> {
        snap::raw::Encoder::new().compress_vec(raw).unwrap()
    }

    #[test]
    fn blocks_come_back() {
        for raw in [&b""[..], b"x", &[7; 100_000]] {
            assert_eq!(decompress(&block(raw), raw.len()), Ok(raw.to_vec()));
        }
    }

    #[test]
    fn p9_stated_lengths_are_checked_first() {
        let bomb = block(&[0; 1000]);
        assert_eq!(decompress(&bomb, 999), Err(SnappyError::TooLarge(1000)));
        // Four GiB in five bytes.
        let lie = [0xff, 0xff, 0xff, 0xff, 0x0f];
        assert_eq!(decompress(&lie, usize::MAX), Err(SnappyError::Corrupt));
        for corrupt in [&b""[..], b"\xff", b"\x05ab", b"hello snappy"] {
            assert_eq!(decompress(corrupt, 1 << 20), Err(SnappyError::Corrupt));
        }
    }

    proptest::proptest! {
        #[test]
        fn p9_any_bytes_give_an_error_or_a_value(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            if let Ok(raw) = decompress(&bytes, 4096) {
                proptest::prop_assert!(raw.len() <= 4096);
            }
        }
    }
}
