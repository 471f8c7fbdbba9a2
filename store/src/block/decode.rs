//! Block columns back to values.

use wire::{LabelSet, Labels};

use super::{BlockError, Column, ENTRIES_MAX, Header, METADATA_BYTES_MAX, times};
use crate::codec::{Cursor, TAG_STORED, TAG_ZSTD};

/// Decodes columns; keeps the decompression context. One per worker: it holds some 100 KiB.
pub struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
    scratch: Vec<u8>,
}

/// A run of entries of one stream inside a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// [`checksum`](super::checksum) of the stream's labels: whose run it is when the footer is lost. 0 in a block that
    /// is not meant for the disk.
    pub stream: u32,
    /// Entries in the run, at least 1; runs follow each other in the block.
    pub entries: u32,
}

/// A decoded metadata column.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Distinct structured metadata of the block; ids index it. Never empty for a valid block.
    pub sets: Vec<LabelSet>,
    /// One id per entry, each less than `sets.len()`.
    pub ids: Vec<u32>,
    /// The runs of the block, in order.
    pub runs: Vec<Run>,
}

impl std::fmt::Debug for Decoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decoder").finish_non_exhaustive()
    }
}

impl Decoder {
    /// A decoder without any dictionary.
    ///
    /// # Errors
    /// When zstd cannot allocate its context.
    pub fn new() -> std::io::Result<Decoder> {
        Ok(Decoder {
            zstd: zstd::bulk::Decompressor::new()?,
            scratch: Vec::new(),
        })
    }

    /// Decodes timestamps; `out` is replaced. `stored` is the verified column.
    ///
    /// # Errors
    /// [`BlockError::Column`].
    pub fn times(
        &mut self,
        header: &Header,
        stored: &[u8],
        out: &mut Vec<i64>,
    ) -> Result<(), BlockError> {
        out.clear();
        times::decode(
            stored,
            header.entries as usize,
            header.min_ts,
            header.max_ts,
            out,
        )
        .map_err(|what| BlockError::Column(Column::Times, what))
    }

    /// Decodes line lengths (without line feed); `out` is replaced. Their sum plus one per entry is
    /// [`Header::raw_bytes`]. The decompressed `lines` are looked at only where [`Header::has_lengths`] is false.
    ///
    /// # Errors
    /// [`BlockError::Column`].
    pub fn lengths(
        &mut self,
        header: &Header,
        stored: &[u8],
        lines: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<(), BlockError> {
        let fail = |what| BlockError::Column(Column::Lengths, what);
        out.clear();
        if !header.has_lengths() {
            return lengths_of(header, lines, out).map_err(fail);
        }
        let mut raw = std::mem::take(&mut self.scratch);
        let unpacked = self.unpack(stored, ENTRIES_MAX * 5, &mut raw).map_err(fail);
        let decoded = unpacked.and_then(|()| {
            let mut cursor = Cursor::new(&raw);
            let mut sum = u64::from(header.entries);
            out.reserve_exact(header.entries as usize);
            for _ in 0..header.entries {
                let len = cursor.varint().and_then(|n| u32::try_from(n).ok());
                let len = len.ok_or(fail("length"))?;
                sum += u64::from(len);
                out.push(len);
            }
            if sum != u64::from(header.raw_bytes) || !cursor.is_empty() {
                return Err(fail("sum of lengths"));
            }
            Ok(())
        });
        self.scratch = raw;
        decoded
    }

    /// Decodes structured metadata and runs; `out` is replaced.
    ///
    /// # Errors
    /// [`BlockError::Column`].
    pub fn metadata(
        &mut self,
        header: &Header,
        stored: &[u8],
        out: &mut Metadata,
    ) -> Result<(), BlockError> {
        let mut raw = std::mem::take(&mut self.scratch);
        let done = self
            .unpack(stored, METADATA_BYTES_MAX, &mut raw)
            .and_then(|()| read_metadata(header, &raw, out));
        self.scratch = raw;
        done.map_err(|what| BlockError::Column(Column::Metadata, what))
    }

    /// Decompresses the lines, each followed by one line feed; `out` is replaced and has
    /// [`Header::raw_bytes`] bytes.
    ///
    /// # Errors
    /// [`BlockError::Column`].
    pub fn lines(
        &mut self,
        header: &Header,
        stored: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), BlockError> {
        let fail = |what| BlockError::Column(Column::Lines, what);
        let raw_bytes = header.raw_bytes as usize;
        self.unpack(stored, raw_bytes, out).map_err(fail)?;
        if out.len() != raw_bytes {
            return Err(fail("raw bytes"));
        }
        Ok(())
    }

    /// Decompresses a column or section of at most `limit` bytes: `tag`, then stored bytes, or a varint with the
    /// raw length and a zstd frame.
    pub(crate) fn unpack(
        &mut self,
        stored: &[u8],
        limit: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), &'static str> {
        out.clear();
        let mut cursor = Cursor::new(stored);
        match cursor.byte().ok_or("empty")? {
            TAG_STORED => {
                if cursor.rest().len() > limit {
                    return Err("too large");
                }
                out.extend_from_slice(cursor.rest());
                Ok(())
            }
            TAG_ZSTD => {
                let len = cursor.varint().ok_or("raw length")? as usize;
                if len > limit {
                    return Err("too large");
                }
                out.reserve_exact(len);
                let got = self
                    .zstd
                    .decompress_to_buffer(cursor.rest(), out)
                    .map_err(|_| "not a zstd frame")?;
                if got != len {
                    return Err("raw length");
                }
                Ok(())
            }
            _ => Err("unknown encoding"),
        }
    }
}

/// Lengths of lines that hold no line feeds.
fn lengths_of(header: &Header, lines: &[u8], out: &mut Vec<u32>) -> Result<(), &'static str> {
    out.reserve_exact(header.entries as usize);
    let mut start = 0;
    for end in memchr::memchr_iter(b'\n', lines) {
        if out.len() == header.entries as usize {
            return Err("more lines than entries");
        }
        out.push((end - start) as u32);
        start = end + 1;
    }
    if out.len() == header.entries as usize && start == lines.len() {
        Ok(())
    } else {
        Err("fewer lines than entries")
    }
}

fn read_metadata(header: &Header, raw: &[u8], out: &mut Metadata) -> Result<(), &'static str> {
    out.sets.clear();
    out.ids.clear();
    out.runs.clear();
    let mut cursor = Cursor::new(raw);
    let sets = cursor.varint().ok_or("set count")?;
    if sets == 0 || sets > u64::from(header.entries) {
        return Err("set count");
    }
    for _ in 0..sets {
        out.sets.push(read_set(&mut cursor)?);
    }
    let mut total = 0u64;
    for _ in 0..header.runs {
        let entries = cursor.varint().ok_or("run")?;
        total = total.saturating_add(entries);
        if entries == 0 || total > u64::from(header.entries) {
            return Err("run length");
        }
        out.runs.push(Run {
            stream: cursor.u32().ok_or("run")?,
            entries: entries as u32,
        });
    }
    if total != u64::from(header.entries) {
        return Err("run lengths");
    }
    let entries = header.entries as usize;
    out.ids.reserve_exact(entries);
    if sets == 1 {
        out.ids.resize(entries, 0);
    } else if sets <= 256 {
        let ids = cursor.take(entries).ok_or("ids")?;
        out.ids.extend(ids.iter().map(|id| u32::from(*id)));
    } else {
        for _ in 0..entries {
            out.ids
                .push(cursor.varint().ok_or("ids")?.min(u64::from(u32::MAX)) as u32);
        }
    }
    if !cursor.is_empty() {
        return Err("bytes left over");
    }
    if out.ids.iter().any(|id| u64::from(*id) >= sets) {
        return Err("id out of range");
    }
    Ok(())
}

fn read_set(cursor: &mut Cursor<'_>) -> Result<LabelSet, &'static str> {
    let len = cursor.varint().ok_or("label set")? as usize;
    let bytes = cursor.take(len).ok_or("label set")?;
    Labels::check(bytes)
        .map(Labels::to_owned)
        .map_err(|_| "label set")
}
