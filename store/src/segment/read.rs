//! Reading a segment, section by section.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use disk::{Disk, File, Mode, Purpose};
use wire::{LabelSet, Labels};

use super::{
    Candidates, Chunk, Minutes, Position, Probe, SECTION_BYTES_MAX, SUMMARY_BYTES, Section,
    SectionPlace, SegmentError, Summary, sections,
};
use crate::block::{Column, Decoder, HEADER_BYTES, Header, checksum};

/// One of the two copies of summary and sections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// The one before the blocks.
    Start,
    /// The one behind them.
    End,
}

/// Bytes of a buffer that an [`Unpacker`] keeps from one section to the next.
const KEPT_BYTES_MAX: usize = 1 << 20;

/// Decompression context and buffers for sections. Clones share them, and readers that are given a clone
/// ([`Reader::sharing`]) too: a context is some 100 KiB, and costs more to make than most sections to unpack. Nothing
/// is allocated before the first section.
#[derive(Debug, Clone, Default)]
pub struct Unpacker(Arc<Mutex<Unpacking>>);

#[derive(Debug, Default)]
struct Unpacking {
    decoder: Option<Decoder>,
    stored: Vec<u8>,
    raw: Vec<u8>,
    /// Bytes of sections and summaries read.
    read: u64,
}

impl Unpacker {
    /// Bytes of summaries and sections that its readers have read.
    pub(crate) fn read(&self) -> u64 {
        let unpacking = self.0.lock();
        unpacking.unwrap_or_else(PoisonError::into_inner).read
    }
}

impl Unpacking {
    fn shrink(&mut self) {
        self.stored.shrink_to(KEPT_BYTES_MAX);
        self.raw.shrink_to(KEPT_BYTES_MAX);
    }
}

/// An open segment. Holds the file, its summary, and what it unpacks sections with.
#[derive(Debug, Clone)]
pub struct Reader {
    file: Arc<dyn File>,
    path: PathBuf,
    len: u64,
    summary: Summary,
    /// Which copy `summary` is.
    side: Side,
    /// There is no other to fall back on. The one at the end has one: it is read when it is needed.
    alone: bool,
    unpacker: Unpacker,
}

impl Reader {
    /// Opens a segment and reads its summary: the copy at the end, or the one at the start if that is damaged.
    ///
    /// # Errors
    /// [`SegmentError::Newer`], [`SegmentError::Damaged`] when both copies are damaged, [`SegmentError::Io`].
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Reader, SegmentError> {
        let io = |source| SegmentError::Io {
            path: path.to_owned(),
            source,
        };
        let file = disk.open(path, Mode::Read, Purpose::Segment).map_err(io)?;
        // Readers take a few sections and blocks of it. What the system reads ahead is many times that.
        file.read_sparsely();
        let len = file.len().map_err(io)?;
        let at_end = match len.checked_sub(SUMMARY_BYTES as u64) {
            Some(offset) => read_summary(&*file, path, offset, len)?,
            None => None,
        };
        let at_start = match at_end {
            Some(_) => None,
            None => read_summary(&*file, path, 0, len)?,
        };
        let alone = at_end.is_none();
        let Some(summary) = at_end.or(at_start) else {
            return Err(SegmentError::Damaged {
                path: path.to_owned(),
                what: "both summaries".into(),
            });
        };
        Ok(Reader {
            file,
            path: path.to_owned(),
            len,
            summary,
            side: if alone { Side::Start } else { Side::End },
            alone,
            unpacker: Unpacker::default(),
        })
    }

    /// The same, with context and buffers of others.
    #[must_use]
    pub fn sharing(self, unpacker: &Unpacker) -> Reader {
        let mut unpacking = unpacker.0.lock().unwrap_or_else(PoisonError::into_inner);
        unpacking.read += SUMMARY_BYTES as u64;
        drop(unpacking);
        Reader {
            unpacker: unpacker.clone(),
            ..self
        }
    }

    /// The copies of summary and sections that there are, each as a reader without the other one to fall back on.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub(super) fn copies(&self) -> Result<Vec<(Side, Reader)>, SegmentError> {
        let of = |side: Side, summary: Summary| {
            let reader = Reader {
                summary,
                side,
                alone: true,
                ..self.clone()
            };
            (side, reader)
        };
        let other = self.other()?.map(|summary| of(Side::Start, summary));
        let own = of(self.side, self.summary.clone());
        Ok(std::iter::once(own).chain(other).collect())
    }

    /// The summary at the start, for when what the one at the end leads to is damaged.
    fn other(&self) -> Result<Option<Summary>, SegmentError> {
        if self.alone {
            return Ok(None);
        }
        read_summary(&*self.file, &self.path, 0, self.len)
    }

    /// What the segment says of itself.
    #[must_use]
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Where the file is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.len
    }

    /// Label sets of the streams, by ordinal: sorted by bytes, each once.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn streams(&self) -> Result<Vec<LabelSet>, SegmentError> {
        let mut sets = Vec::new();
        self.each_stream(&mut |labels| match labels {
            Some(labels) => sets.push(labels.to_owned()),
            None => sets.clear(),
        })?;
        Ok(sets)
    }

    /// The same one at a time. `None` says that what came before is to be forgotten: it was from a damaged copy.
    ///
    /// `each` must not ask the reader for another section: buffers are in use meanwhile.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn each_stream(
        &self,
        each: &mut dyn FnMut(Option<Labels<'_>>),
    ) -> Result<(), SegmentError> {
        self.section(Section::Streams, |raw| {
            each(None);
            let count = sections::decode_sets(raw, &mut |labels| each(Some(labels)))?;
            if count == self.summary.streams as usize {
                Ok(())
            } else {
                Err("count of label sets")
            }
        })
    }

    /// Chunk rows, sorted by stream and then in order of arrival.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn chunks(&self) -> Result<Vec<Chunk>, SegmentError> {
        let mut chunks = Vec::new();
        self.section(Section::Chunks, |raw| {
            chunks = sections::decode_chunks(raw, &self.summary, self.len)?;
            Ok(())
        })?;
        Ok(chunks)
    }

    /// Metadata sets that the cells of minute tables refer to.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn metadata(&self) -> Result<Vec<LabelSet>, SegmentError> {
        let mut sets = Vec::new();
        self.section(Section::Metadata, |raw| {
            sets.clear();
            sections::decode_sets(raw, &mut |set| sets.push(set.to_owned()))?;
            Ok(())
        })?;
        Ok(sets)
    }

    /// As [`Reader::metadata`], with what `number` makes of the bytes of each set; `None`: they are no label set.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub(crate) fn metadata_numbers(
        &self,
        mut number: impl FnMut(&[u8]) -> Option<u32>,
    ) -> Result<Vec<u32>, SegmentError> {
        let mut numbers = Vec::new();
        self.section(Section::Metadata, |raw| {
            numbers.clear();
            sections::decode_set_bytes(raw, &mut |bytes| {
                let number = number(bytes);
                numbers.extend(number);
                number.is_some()
            })?;
            Ok(())
        })?;
        Ok(numbers)
    }

    /// Minute tables; `chunks` are all rows as [`Reader::chunks`] gave them. They exist once: when damaged, count
    /// from the columns.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn minutes(&self, chunks: &[Chunk]) -> Result<Minutes, SegmentError> {
        let mut minutes = Minutes::default();
        self.minutes_into(chunks, true, &mut minutes)?;
        Ok(minutes)
    }

    /// As [`Reader::minutes`], replacing `out`; [`Cell::bytes`](super::Cell::bytes) is 0 unless `bytes`.
    ///
    /// # Errors
    /// [`SegmentError`]; `out` is then of no use.
    pub(crate) fn minutes_into(
        &self,
        chunks: &[Chunk],
        bytes: bool,
        out: &mut Minutes,
    ) -> Result<(), SegmentError> {
        self.section(Section::Minutes, |raw| {
            sections::decode_minutes(raw, chunks, bytes, out)
        })
    }

    /// Which blocks may hold what a probe looks for; `None`: nothing is known. It exists once: when it is damaged, every
    /// block has to be looked at.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub(crate) fn candidates(&self, probe: &Probe) -> Result<Option<Candidates>, SegmentError> {
        let place = self.summary.sections[Section::Skip as usize];
        if place.len == 0 {
            return Ok(None);
        }
        let damaged = |what: &str| self.damaged(&format!("{:?} section: {what}", Section::Skip));
        if place.len as usize > SECTION_BYTES_MAX {
            return Err(damaged("too large"));
        }
        let mut unpacking = self.unpacking();
        let Unpacking {
            decoder,
            stored,
            raw,
            read,
        } = &mut *unpacking;
        self.stored_section(place, stored)?;
        *read += u64::from(place.len);
        if checksum(stored) != place.checksum {
            return Err(damaged("checksum"));
        }
        let found = probe.ask(stored, self.decoder(decoder)?, raw);
        unpacking.shrink();
        let found = found.map_err(damaged)?;
        if found.blocks() != self.summary.blocks as usize {
            return Err(damaged("count of blocks"));
        }
        Ok(Some(found))
    }

    /// The position table of all sources (key, position); empty when [`Summary::has_positions`] is false.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn positions(&self) -> Result<Vec<Position>, SegmentError> {
        let mut positions = Vec::new();
        self.section(Section::Positions, |raw| {
            positions = sections::decode_positions(raw)?;
            Ok(())
        })?;
        Ok(positions)
    }

    /// Reads the header of the block at `offset`.
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn block_header(&self, offset: u64) -> Result<Header, SegmentError> {
        let mut bytes = [0; HEADER_BYTES];
        self.read(&mut bytes, offset)?;
        Header::decode(&bytes).map_err(|source| self.block_error(offset, source))
    }

    /// Reads the stored bytes of one column into `out` (replaced) and checks them; decode them with [`Decoder`].
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn column(
        &self,
        offset: u64,
        header: &Header,
        column: Column,
        out: &mut Vec<u8>,
    ) -> Result<(), SegmentError> {
        let place = header.place(column);
        let from = offset + u64::from(place.offset);
        if from + u64::from(place.len) > self.len {
            return Err(self.damaged("a block reaches past the end of the file"));
        }
        out.clear();
        out.resize(place.len as usize, 0);
        self.read(out, from)?;
        header
            .verify(column, out)
            .map_err(|source| self.block_error(offset, source))
    }

    /// Reads a whole block, header and columns, into `out` (replaced). Columns are checked by [`Header::column`].
    ///
    /// # Errors
    /// [`SegmentError`].
    pub fn block(&self, chunk: &Chunk, out: &mut Vec<u8>) -> Result<Header, SegmentError> {
        let end = chunk
            .block_offset
            .saturating_add(u64::from(chunk.block_bytes));
        if end > self.len {
            return Err(self.damaged("a block reaches past the end of the file"));
        }
        out.clear();
        out.resize(chunk.block_bytes as usize, 0);
        self.read(out, chunk.block_offset)?;
        Header::decode(out).map_err(|source| self.block_error(chunk.block_offset, source))
    }

    fn section(
        &self,
        section: Section,
        mut decode: impl FnMut(&[u8]) -> Result<(), &'static str>,
    ) -> Result<(), SegmentError> {
        let mut read = |summary: &Summary| -> Result<Result<(), &'static str>, SegmentError> {
            let mut unpacking = self.unpacking();
            let place = summary.sections[section as usize];
            let done = match self.section_copy(place, &mut unpacking)? {
                Ok(()) => decode(&unpacking.raw),
                Err(what) => Err(what),
            };
            if done.is_ok() {
                unpacking.shrink();
            }
            Ok(done)
        };
        let Err(mut failure) = read(&self.summary)? else {
            return Ok(());
        };
        if let Some(other) = self.other()? {
            match read(&other)? {
                Ok(()) => return Ok(()),
                Err(what) => failure = what,
            }
        }
        Err(self.damaged(&format!("{section:?} section: {failure}")))
    }

    /// Leaves the unpacked section in `raw`.
    fn section_copy(
        &self,
        place: SectionPlace,
        Unpacking {
            decoder,
            stored,
            raw,
            read,
        }: &mut Unpacking,
    ) -> Result<Result<(), &'static str>, SegmentError> {
        raw.clear();
        if place.len == 0 {
            return Ok(Ok(()));
        }
        self.stored_section(place, stored)?;
        *read += u64::from(place.len);
        if checksum(stored) != place.checksum {
            return Ok(Err("checksum"));
        }
        let decoder = self.decoder(decoder)?;
        Ok(decoder.unpack(stored, SECTION_BYTES_MAX, raw))
    }

    /// Context and buffers. A panic while they were held leaves buffers that are cleared before use.
    fn unpacking(&self) -> MutexGuard<'_, Unpacking> {
        let unpacking = self.unpacker.0.lock();
        unpacking.unwrap_or_else(PoisonError::into_inner)
    }

    fn decoder<'d>(
        &self,
        decoder: &'d mut Option<Decoder>,
    ) -> Result<&'d mut Decoder, SegmentError> {
        match decoder {
            Some(decoder) => Ok(decoder),
            None => Ok(decoder.insert(Decoder::new().map_err(|source| self.io(source))?)),
        }
    }

    fn stored_section(
        &self,
        place: SectionPlace,
        stored: &mut Vec<u8>,
    ) -> Result<(), SegmentError> {
        stored.clear();
        stored.resize(place.len as usize, 0);
        self.read(stored, place.offset)
    }

    fn read(&self, buf: &mut [u8], offset: u64) -> Result<(), SegmentError> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|source| self.io(source))
    }

    fn io(&self, source: std::io::Error) -> SegmentError {
        SegmentError::Io {
            path: self.path.clone(),
            source,
        }
    }

    fn damaged(&self, what: &str) -> SegmentError {
        SegmentError::Damaged {
            path: self.path.clone(),
            what: what.to_owned(),
        }
    }

    fn block_error(&self, offset: u64, source: crate::block::BlockError) -> SegmentError {
        SegmentError::Block {
            path: self.path.clone(),
            offset,
            source,
        }
    }
}

/// The copy of the summary at an offset of a file of `len` bytes; `None`: it is damaged.
fn read_summary(
    file: &dyn File,
    path: &Path,
    offset: u64,
    len: u64,
) -> Result<Option<Summary>, SegmentError> {
    let mut bytes = [0; SUMMARY_BYTES];
    match file.read_exact_at(&mut bytes, offset) {
        Ok(()) => {}
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(SegmentError::Io { path, source });
        }
    }
    match sections::decode_summary(&bytes, len) {
        Some(Ok(summary)) => Ok(Some(summary)),
        Some(Err(found)) => {
            let path = path.to_owned();
            Err(SegmentError::Newer { path, found })
        }
        None => Ok(None),
    }
}
