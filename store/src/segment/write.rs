//! Writing a segment: temporary file, sync, rename, sync of the directory. The rename is the commit.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, File, Mode, Purpose};

use super::{
    Cell, Row, SECTIONS, SUMMARY_BYTES, Section, SectionPlace, Summary, file_name, sections,
};
use crate::block::Encoder;
use crate::clock::Reading;
use crate::head::Sets;
use crate::pace::Pace;

/// Bytes collected before a write call.
const WRITE_BYTES: usize = 128 << 10;
/// Sections before the blocks, in their order.
const START: [Section; 4] = [
    Section::Streams,
    Section::Chunks,
    Section::Metadata,
    Section::Positions,
];
/// Sections behind them. What queries read lies side by side, next to the summary: sections are small beside a page.
const END: [Section; 6] = [
    Section::Positions,
    Section::Streams,
    Section::Skip,
    Section::Minutes,
    Section::Metadata,
    Section::Chunks,
];

/// Everything that a segment will hold.
#[derive(Debug)]
pub(crate) struct SegmentInput<'a> {
    pub(crate) sequence: u64,
    /// When it is written.
    pub(crate) clock: Reading,
    pub(crate) labels: &'a Sets,
    /// Numbers in `labels`, sorted by their bytes, each once.
    pub(crate) streams: &'a [u32],
    /// Sorted by stream (an index into `streams`), then arrival; block places are not filled in.
    pub(crate) rows: &'a [Row],
    /// Cells that rows refer to; `metadata` is an index into the field of that name.
    pub(crate) cells: &'a [Cell],
    pub(crate) sets: &'a Sets,
    /// Numbers in `sets` of the metadata sets that cells refer to.
    pub(crate) metadata: Vec<u32>,
    pub(crate) blocks: &'a [Arc<[u8]>],
    /// The skip index of these blocks, as it is stored.
    pub(crate) skip: &'a [u8],
    /// The complete position table: keys and positions, each with a varint length.
    pub(crate) positions: &'a [u8],
}

/// Where and how a segment is written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) dir: &'a Path,
    /// Makes the temporary name unique: a file whose sync failed is never written or synced again.
    pub(crate) attempt: u64,
    /// `None`: as fast as it goes.
    pub(crate) pace: Option<&'a Pace<'a>>,
}

/// Writes a segment under its final name; returns its path. It is committed once the caller has synced the directory.
///
/// # Errors
/// As the disk's. Nothing is committed then, and the temporary file is gone or will be removed at the next start.
pub(crate) fn write(
    to: Target<'_>,
    input: &SegmentInput<'_>,
    encoder: &mut Encoder,
) -> io::Result<PathBuf> {
    let temporary = to
        .dir
        .join(format!("{:016x}.{}.tmp", input.sequence, to.attempt));
    let path = to.dir.join(file_name(input.sequence));
    let written =
        write_file(to, &temporary, input, encoder).and_then(|()| to.disk.rename(&temporary, &path));
    if let Err(error) = written {
        // Best effort: on a full disk this frees the space for the next try.
        let _ = to.disk.remove(&temporary);
        return Err(error);
    }
    Ok(path)
}

fn write_file(
    to: Target<'_>,
    path: &Path,
    input: &SegmentInput<'_>,
    encoder: &mut Encoder,
) -> io::Result<()> {
    let mut packed = pack_sections(input, encoder)?;
    packed[Section::Skip as usize] = input.skip.to_vec();
    let file = to.disk.open(path, Mode::CreateNew, Purpose::Segment)?;
    let mut out = Output {
        file,
        offset: 0,
        handed: 0,
        pace: to.pace,
        buffer: Vec::with_capacity(WRITE_BYTES),
    };
    let blocks: u64 = input.blocks.iter().map(|b| b.len() as u64).sum();
    let head = START.map(|section| packed[section as usize].len() as u64);
    let blocks_offset = SUMMARY_BYTES as u64 + head.iter().sum::<u64>();
    let mut last = summarise(input, blocks_offset);
    place_sections(&mut last, &packed, &END, blocks_offset + blocks);
    let mut first = last.clone();
    place_sections(&mut first, &packed, &START, SUMMARY_BYTES as u64);
    out.put(&sections::encode_summary(&first))?;
    for section in START {
        out.put(&packed[section as usize])?;
    }
    for block in input.blocks {
        out.put(block)?;
    }
    for section in END {
        out.put(&packed[section as usize])?;
    }
    out.put(&sections::encode_summary(&last))?;
    out.finish()?.sync()
}

fn pack_sections(
    input: &SegmentInput<'_>,
    encoder: &mut Encoder,
) -> io::Result<[Vec<u8>; SECTIONS]> {
    let mut packed: [Vec<u8>; SECTIONS] = Default::default();
    let mut raw = Vec::new();
    for section in [
        Section::Streams,
        Section::Chunks,
        Section::Metadata,
        Section::Positions,
        Section::Minutes,
    ] {
        raw.clear();
        match section {
            Section::Streams => sections::encode_sets(input.labels, input.streams, &mut raw),
            Section::Chunks => {
                let lens: Vec<u32> = input.blocks.iter().map(|b| b.len() as u32).collect();
                let starts = input.rows.iter().map(|row| row.chunk.min_ts);
                let base = starts.min().unwrap_or(i64::MAX);
                sections::encode_chunks(input.rows, &lens, base, &mut raw);
            }
            Section::Metadata => sections::encode_sets(input.sets, &input.metadata, &mut raw),
            Section::Positions => {
                raw.extend_from_slice(input.positions);
            }
            Section::Minutes => sections::encode_minutes(input.rows, input.cells, &mut raw),
            Section::Skip => {}
        }
        if raw.len() > super::SECTION_BYTES_MAX {
            return Err(io::Error::other(format!(
                "{section:?} section of {} bytes",
                raw.len()
            )));
        }
        if !raw.is_empty() {
            encoder.pack(&raw, &mut packed[section as usize])?;
        }
    }
    Ok(packed)
}

fn summarise(input: &SegmentInput<'_>, blocks_offset: u64) -> Summary {
    let chunks = || input.rows.iter().map(|row| &row.chunk);
    Summary {
        first_sequence: input.sequence,
        sequence: input.sequence,
        min_ts: chunks().map(|c| c.min_ts).min().unwrap_or(i64::MAX),
        max_ts: chunks().map(|c| c.max_ts).max().unwrap_or(i64::MIN),
        entries: chunks().map(|c| u64::from(c.entries)).sum(),
        raw_bytes: chunks().map(|c| c.raw_bytes).sum(),
        streams: input.streams.len() as u32,
        chunks: input.rows.len() as u32,
        blocks: input.blocks.len() as u32,
        written_at: input.clock.wall,
        clock_trusted: input.clock.is_trusted(),
        blocks_offset,
        has_positions: true,
        sections: [SectionPlace::default(); SECTIONS],
    }
}

/// Fills in the places of sections that follow each other from `offset` on.
fn place_sections(
    summary: &mut Summary,
    packed: &[Vec<u8>; SECTIONS],
    order: &[Section],
    mut offset: u64,
) {
    for section in order {
        let bytes = &packed[*section as usize];
        summary.sections[*section as usize] = sections::place(offset, bytes);
        offset += bytes.len() as u64;
    }
}

struct Output<'a> {
    file: Arc<dyn File>,
    offset: u64,
    /// Up to here the device has been handed what was written.
    handed: u64,
    pace: Option<&'a Pace<'a>>,
    buffer: Vec<u8>,
}

impl Output<'_> {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.buffer.len() + bytes.len() > WRITE_BYTES {
            self.flush()?;
        }
        if bytes.len() >= WRITE_BYTES {
            self.file.write_at(bytes, self.offset)?;
            self.offset += bytes.len() as u64;
            self.hand_over();
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(())
    }

    /// In a backlog: hands a full piece to the device, and rests.
    fn hand_over(&mut self) {
        let piece = self.pace.and_then(|pace| Some((pace, pace.piece()?)));
        let bytes = self.offset - self.handed;
        if let Some((pace, piece)) = piece
            && bytes >= piece
        {
            self.file.write_out(self.handed, bytes);
            pace.rest(bytes);
            self.handed = self.offset;
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.file.write_at(&self.buffer, self.offset)?;
            self.offset += self.buffer.len() as u64;
            self.buffer.clear();
            self.hand_over();
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Arc<dyn File>> {
        self.flush()?;
        Ok(self.file)
    }
}
