//! What a sink keeps for us: how far each file of a container instance is taken.
//!
//! ```text
//! position := version(1) count file*        integers are LEB128 varints
//! file     := inode btime fingerprint offset_stdout offset_stderr flags
//! ```
//!
//! `btime` is in nanoseconds since 1970, 0 if the file system has none; `fingerprint` is 8 bytes, little endian; flag 1
//! says that the file is complete and taken to its end, flag 2 that the fingerprint is known. Everything of a stream
//! before its offset has been emitted. Sinks treat all of it as opaque bytes.

/// Version that is written.
const VERSION: u8 = 1;
/// Files of one instance that a position can name; kubelet keeps five. 1,000 of them stay below the sinks' 64 KiB.
pub(crate) const MAX_FILES: usize = 1000;

/// How far one file is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilePosition {
    pub(crate) inode: u64,
    pub(crate) btime: u64,
    pub(crate) fingerprint: Option<u64>,
    /// Stdout, stderr.
    pub(crate) offsets: [u64; 2],
    /// Nothing is left to take, and nothing more was expected.
    pub(crate) complete: bool,
}

/// Why bytes are no position.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PositionError {
    #[error("position has version {0}, this version reads {VERSION}")]
    Version(u8),
    #[error("position is cut off or malformed")]
    Malformed,
    #[error("position names {0} files, {MAX_FILES} are allowed")]
    TooMany(u64),
}

/// Appends the encoding of `files` to `out`.
pub(crate) fn encode(files: impl ExactSizeIterator<Item = FilePosition>, out: &mut Vec<u8>) {
    assert!(files.len() <= MAX_FILES);
    out.push(VERSION);
    varint(out, files.len() as u64);
    for f in files {
        varint(out, f.inode);
        varint(out, f.btime);
        out.extend_from_slice(&f.fingerprint.unwrap_or(0).to_le_bytes());
        varint(out, f.offsets[0]);
        varint(out, f.offsets[1]);
        out.push(u8::from(f.complete) | u8::from(f.fingerprint.is_some()) << 1);
    }
}

/// Reads an encoding.
pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<FilePosition>, PositionError> {
    let (&version, mut rest) = bytes.split_first().ok_or(PositionError::Malformed)?;
    if version != VERSION {
        return Err(PositionError::Version(version));
    }
    let count = take_varint(&mut rest)?;
    if count > MAX_FILES as u64 {
        return Err(PositionError::TooMany(count));
    }
    let mut files = Vec::new();
    for _ in 0..count {
        let (inode, btime) = (take_varint(&mut rest)?, take_varint(&mut rest)?);
        let (print, tail) = rest.split_first_chunk().ok_or(PositionError::Malformed)?;
        rest = tail;
        let offsets = [take_varint(&mut rest)?, take_varint(&mut rest)?];
        let (&flags, tail) = rest.split_first().ok_or(PositionError::Malformed)?;
        rest = tail;
        files.push(FilePosition {
            inode,
            btime,
            fingerprint: (flags & 2 != 0).then_some(u64::from_le_bytes(*print)),
            offsets,
            complete: flags & 1 != 0,
        });
    }
    if rest.is_empty() {
        Ok(files)
    } else {
        Err(PositionError::Malformed)
    }
}

/// Appends a number.
pub(crate) fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Takes a number.
pub(crate) fn take_varint(rest: &mut &[u8]) -> Result<u64, PositionError> {
    let mut n = 0u64;
    for shift in (0..64).step_by(7) {
        let (&b, tail) = rest.split_first().ok_or(PositionError::Malformed)?;
        *rest = tail;
        let part = u64::from(b & 0x7f);
        if shift == 63 && part > 1 {
            break;
        }
        n |= part << shift;
        if b & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(PositionError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn positions_come_back(files in prop::collection::vec(
            (any::<u64>(), any::<u64>(), any::<Option<u64>>(), any::<[u64; 2]>(), any::<bool>()), 0..5)
        ) {
            let files: Vec<FilePosition> = files.into_iter().map(|(inode, btime, fingerprint, offsets, complete)| {
                FilePosition { inode, btime, fingerprint, offsets, complete }
            }).collect();
            let mut bytes = Vec::new();
            encode(files.iter().copied(), &mut bytes);
            prop_assert_eq!(decode(&bytes), Ok(files));
            for cut in 0..bytes.len() {
                prop_assert!(decode(&bytes[..cut]).is_err());
            }
        }

        #[test]
        fn p9_any_stored_position_gets_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
        }
    }
}
