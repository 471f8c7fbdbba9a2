//! The skip index: which blocks of a segment may hold a text.
//!
//! ```text
//! section := group ...                      64 blocks each, in the order of the file
//! group   := blocks - 1 (1)  log2 of rows (1)  stored length (varint)  packed rows
//! rows    := one bit per block, low bits first, in as few whole bytes as hold them
//! ```
//!
//! Each run of three bytes of a block's lines, with bit 5 of each byte set, so that ASCII letters lose their case, is hashed
//! to a row; the block's bit is set there. A text can only be in blocks that have their bit in the rows of all its grams.
//! As blocks of one stream hold much the same grams, bits of a row come in runs, and zstd leaves a third of them.
//!
//! A group may take 1/32 of the bytes of its blocks: while it takes more, neighbouring rows become one. docs/FORMAT.md
//! says what that costs and saves.

use std::io;
use std::sync::OnceLock;

use logql::needle::Needle;
use memchr::memmem::Finder;

use crate::block::{Decoder, Encoder};
use crate::codec::{Cursor, put_varint};

/// Bytes of a gram.
const GRAM: usize = 3;
/// Rows before any are joined, as a power of two. More take more room than they save reads.
const LOG_ROWS_MAX: u32 = 15;
/// With fewer rows nearly all of them are full.
const LOG_ROWS_MIN: u32 = 9;
const ROWS: usize = 1 << LOG_ROWS_MAX;
/// Blocks of a group: a bit of a `u64` each.
const GROUP: usize = 64;
/// A group takes at most this part of the stored bytes of its blocks.
const SHARE: usize = 32;

/// The row of a gram among [`ROWS`]; fewer rows take its high bits. The gram's bytes are the low three of `bytes`, without
/// their case; the fourth plays no part.
#[inline]
fn row(bytes: u32) -> u32 {
    (bytes << 8).wrapping_mul(0x9e37_79b1) >> (32 - LOG_ROWS_MAX)
}

/// Calls `each` with the row of each gram of a text, in order.
#[inline]
fn each_row(text: &[u8], mut each: impl FnMut(u32)) {
    // Six grams from eight bytes at a time: they do not wait for each other.
    let mut at = 0;
    while let Some(bytes) = text[at..].first_chunk::<8>() {
        let bytes = u64::from_le_bytes(*bytes) | 0x2020_2020_2020_2020;
        for i in 0..6 {
            each(row((bytes >> (8 * i)) as u32));
        }
        at += 6;
    }
    for bytes in text[at..].windows(GRAM) {
        each(row(
            u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]) | 0x20_2020
        ));
    }
}

/// Letters beyond ASCII that are ASCII letters to a regex without case: the long s and the Kelvin sign.
fn has_odd_letters(lines: &[u8]) -> bool {
    static ODD: OnceLock<[Finder<'static>; 2]> = OnceLock::new();
    if lines.is_ascii() {
        return false;
    }
    let odd = ODD.get_or_init(|| [Finder::new("\u{17f}"), Finder::new("\u{212a}")]);
    odd.iter().any(|letter| letter.find(lines).is_some())
}

/// The rows of a block's grams.
#[derive(Debug)]
pub(crate) enum Marks {
    /// A bit each.
    Some(Box<[u64; ROWS / 64]>),
    /// All.
    All,
}

impl Marks {
    /// Bytes held.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Marks::Some(rows) => size_of_val(&**rows),
            Marks::All => 0,
        }
    }
}

/// Finds the rows of grams. Takes 32 KiB once it is used.
#[derive(Default)]
pub(crate) struct Marker {
    /// A byte for each row, 1 if a gram was seen; nothing before first use.
    seen: Vec<u8>,
}

impl std::fmt::Debug for Marker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Marker").finish_non_exhaustive()
    }
}

impl Marker {
    /// The rows of these lines.
    pub(crate) fn marks(&mut self, lines: &[u8]) -> Marks {
        if has_odd_letters(lines) {
            return Marks::All;
        }
        let mut rows = Box::new([0; ROWS / 64]);
        let words = rows
            .iter_mut()
            .zip(self.look(lines).as_chunks_mut::<64>().0);
        for (word, seen) in words {
            for (i, eight) in seen.as_chunks_mut::<8>().0.iter_mut().enumerate() {
                // Byte `i`, 0 or 1, becomes bit `56 + i` of the product; no two products meet in a bit.
                let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
                *word |= bits << (8 * i);
            }
            *seen = [0; 64];
        }
        Marks::Some(rows)
    }

    /// Adds a bit to the rows of these lines.
    fn mark(&mut self, lines: &[u8], rows: &mut [u64], bit: u64) {
        if has_odd_letters(lines) {
            return rows.iter_mut().for_each(|row| *row |= bit);
        }
        let seen = self.look(lines).as_chunks_mut::<8>().0;
        for (eight, rows) in seen.iter_mut().zip(rows.as_chunks_mut::<8>().0) {
            if u64::from_ne_bytes(*eight) == 0 {
                continue;
            }
            for (seen, row) in eight.iter_mut().zip(rows) {
                *row |= bit & (*seen as u64).wrapping_neg();
                *seen = 0;
            }
        }
    }

    /// What was seen in these lines; to be cleared by the caller.
    fn look(&mut self, lines: &[u8]) -> &mut [u8; ROWS] {
        self.seen.resize(ROWS, 0);
        let seen = self.seen.first_chunk_mut().expect("resized to it");
        each_row(lines, |row| seen[row as usize] = 1);
        seen
    }
}

/// What is known of a block's lines.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Text<'a> {
    /// Nothing: they may hold whatever is asked for.
    Unknown,
    Lines(&'a [u8]),
    Marks(&'a Marks),
}

/// Collects blocks, in the order of the file. Takes some 300 KiB.
pub(crate) struct Builder {
    marker: Marker,
    rows: Vec<u64>,
    /// Blocks in the open group, and their stored bytes.
    blocks: usize,
    stored: usize,
    /// Rows of the last group, as a power of two: the next one will not need many more.
    log_rows: u32,
    raw: Vec<u8>,
    packed: Vec<u8>,
    section: Vec<u8>,
}

impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("skip::Builder").finish_non_exhaustive()
    }
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            marker: Marker::default(),
            rows: vec![0; ROWS],
            blocks: 0,
            stored: 0,
            log_rows: LOG_ROWS_MAX,
            raw: Vec::new(),
            packed: Vec::new(),
            section: Vec::new(),
        }
    }
}

impl Builder {
    /// Adds a block. `stored` are the bytes of the whole block.
    ///
    /// # Errors
    /// As [`Encoder::pack`].
    pub(crate) fn add(
        &mut self,
        text: Text<'_>,
        stored: usize,
        encoder: &mut Encoder,
    ) -> io::Result<()> {
        let bit = 1 << self.blocks;
        match text {
            Text::Unknown | Text::Marks(Marks::All) => {
                self.rows.iter_mut().for_each(|row| *row |= bit);
            }
            Text::Lines(lines) => self.marker.mark(lines, &mut self.rows, bit),
            Text::Marks(Marks::Some(marks)) => {
                for (marks, rows) in marks.iter().zip(self.rows.as_chunks_mut::<64>().0) {
                    let mut left = *marks;
                    while left != 0 {
                        rows[left.trailing_zeros() as usize] |= bit;
                        left &= left - 1;
                    }
                }
            }
        }
        self.blocks += 1;
        self.stored += stored;
        if self.blocks == GROUP {
            self.close(encoder)?;
        }
        Ok(())
    }

    /// The section; the builder is as new.
    ///
    /// # Errors
    /// As [`Encoder::pack`].
    pub(crate) fn finish(&mut self, encoder: &mut Encoder) -> io::Result<Vec<u8>> {
        if self.blocks > 0 {
            self.close(encoder)?;
        }
        Ok(std::mem::take(&mut self.section))
    }

    fn close(&mut self, encoder: &mut Encoder) -> io::Result<()> {
        let bytes = self.blocks.div_ceil(8);
        let mut log_rows = LOG_ROWS_MAX;
        while log_rows > self.log_rows + 1 {
            self.join_rows(&mut log_rows);
        }
        loop {
            self.raw.clear();
            for row in &self.rows[..1 << log_rows] {
                self.raw.extend_from_slice(&row.to_le_bytes()[..bytes]);
            }
            self.packed.clear();
            encoder.pack(&self.raw, &mut self.packed)?;
            if self.packed.len() <= self.stored / SHARE || log_rows == LOG_ROWS_MIN {
                break;
            }
            self.join_rows(&mut log_rows);
        }
        self.section.push(self.blocks as u8 - 1);
        self.section.push(log_rows as u8);
        put_varint(&mut self.section, self.packed.len() as u64);
        self.section.extend_from_slice(&self.packed);
        self.rows.fill(0);
        (self.blocks, self.stored, self.log_rows) = (0, 0, log_rows);
        Ok(())
    }

    /// Makes one row of each two.
    fn join_rows(&mut self, log_rows: &mut u32) {
        *log_rows -= 1;
        for i in 0..1 << *log_rows {
            self.rows[i] = self.rows[2 * i] | self.rows[2 * i + 1];
        }
    }
}

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Probe(Part);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Rows of the grams of a text, each once.
    Grams(Vec<u32>),
    All(Vec<Part>),
    Any(Vec<Part>),
}

impl Probe {
    /// Looks for a needle.
    pub(crate) fn new(needle: &Needle) -> Probe {
        Probe(Part::new(needle))
    }

    /// Looks for nothing: every block may hold it.
    pub(crate) fn nothing() -> Probe {
        Probe(Part::All(Vec::new()))
    }

    /// Bytes held, about.
    pub(crate) fn memory(&self) -> usize {
        self.0.memory()
    }

    /// The blocks of a section that may hold it: a bit each, in the order of the file.
    ///
    /// # Errors
    /// What is wrong with the section.
    pub(crate) fn ask(
        &self,
        section: &[u8],
        decoder: &mut Decoder,
        raw: &mut Vec<u8>,
    ) -> Result<Candidates, &'static str> {
        let mut found = Candidates::default();
        let mut cursor = Cursor::new(section);
        while !cursor.is_empty() {
            let blocks = usize::from(cursor.byte().ok_or("group")?) + 1;
            let log_rows = u32::from(cursor.byte().ok_or("group")?);
            if blocks > GROUP || !(LOG_ROWS_MIN..=LOG_ROWS_MAX).contains(&log_rows) {
                return Err("group size");
            }
            let len = cursor.varint().ok_or("group length")? as usize;
            let packed = cursor.take(len).ok_or("group length")?;
            let bytes = blocks.div_ceil(8);
            decoder.unpack(packed, bytes << log_rows, raw)?;
            if raw.len() != bytes << log_rows {
                return Err("group rows");
            }
            if found.blocks % GROUP != 0 {
                return Err("a group that is not full");
            }
            found.bits.push(self.0.of(&Group {
                rows: raw,
                bytes,
                log_rows,
            }));
            found.blocks += blocks;
        }
        Ok(found)
    }
}

/// Rows of one group.
struct Group<'a> {
    rows: &'a [u8],
    bytes: usize,
    log_rows: u32,
}

impl Group<'_> {
    fn row(&self, row: u32) -> u64 {
        let at = (row >> (LOG_ROWS_MAX - self.log_rows)) as usize * self.bytes;
        let mut bits = [0; 8];
        bits[..self.bytes].copy_from_slice(&self.rows[at..at + self.bytes]);
        u64::from_le_bytes(bits)
    }
}

impl Part {
    fn new(needle: &Needle) -> Part {
        match needle {
            Needle::Text(text) => Part::Grams(grams(text)),
            Needle::All(parts) => Part::All(parts.iter().map(Part::new).collect()),
            Needle::Any(parts) => Part::Any(parts.iter().map(Part::new).collect()),
        }
    }

    fn memory(&self) -> usize {
        size_of::<Part>()
            + match self {
                Part::Grams(rows) => rows.capacity() * 4,
                Part::All(parts) | Part::Any(parts) => parts.iter().map(Part::memory).sum(),
            }
    }

    fn of(&self, group: &Group<'_>) -> u64 {
        match self {
            Part::Grams(rows) => rows
                .iter()
                .fold(u64::MAX, |bits, row| bits & group.row(*row)),
            Part::All(parts) => parts
                .iter()
                .fold(u64::MAX, |bits, part| bits & part.of(group)),
            Part::Any(parts) => parts.iter().fold(0, |bits, part| bits | part.of(group)),
        }
    }
}

fn grams(text: &[u8]) -> Vec<u32> {
    let mut rows = Vec::with_capacity(text.len());
    each_row(text, |row| rows.push(row));
    rows.sort_unstable();
    rows.dedup();
    rows
}

/// Blocks of a segment, in the order of the file, that may hold what is looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Candidates {
    bits: Vec<u64>,
    blocks: usize,
}

impl Candidates {
    /// How many blocks the index is of.
    pub(crate) fn blocks(&self) -> usize {
        self.blocks
    }

    /// Whether a block may hold it.
    pub(crate) fn has(&self, block: usize) -> bool {
        self.bits[block / GROUP] >> (block % GROUP) & 1 == 1
    }
}
