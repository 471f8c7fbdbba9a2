//! From bytes to lines: records, partial lines, damage.
//!
//! A line that lies whole in the read buffer is not copied; only joined, unescaped and overlong-record lines go to
//! a scratch buffer. Limits:
//!
//! - a line has at most `max_line` bytes; the rest is dropped and counted;
//! - unfinished lines of all files together hold at most `max_held` bytes; what comes over it is dropped and counted;
//! - one call makes at most [`MAX_RECS`] lines, whatever the buffer holds.
//!
//! End of file is never end of line: bytes after the last line feed are left for a later read.

pub(crate) mod cri;
pub(crate) mod docker;

use std::sync::Arc;
use std::time::Instant;

use crate::labels::level_index;
use crate::stats::{Stats, add};
use cri::TimeCache;

/// Lines that one call makes at most; more would only serve hostile files of empty lines.
pub(crate) const MAX_RECS: usize = 4096;
/// Bytes of a record beside its content: time, stream, tags.
const HEADER_BYTES: usize = 256;

/// Where a line's bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the read buffer.
    Buffer,
    /// In [`Out::scratch`].
    Scratch,
}

/// One finished line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rec {
    pub(crate) ts: i64,
    pub(crate) start: u32,
    pub(crate) len: u32,
    pub(crate) place: Place,
    pub(crate) stream: u8,
    pub(crate) level: u8,
}

/// Finished lines; reused for every batch.
#[derive(Debug, Default)]
pub(crate) struct Out {
    pub(crate) recs: Vec<Rec>,
    pub(crate) scratch: Vec<u8>,
}

impl Out {
    /// Empties it, giving back what an unusual batch took.
    pub(crate) fn clear(&mut self) {
        const KEEP: usize = 128 * 1024;
        self.recs.clear();
        self.scratch.clear();
        if self.scratch.capacity() > KEEP {
            self.scratch = Vec::new();
        }
    }
}

/// The start of a line whose end has not been seen.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) bytes: Vec<u8>,
    pub(crate) ts: i64,
    /// The file that holds its first piece, and where.
    pub(crate) file: u64,
    pub(crate) start: u64,
    pub(crate) touched: Instant,
    dropped: u64,
}

impl Chain {
    /// A line that began elsewhere, at a time at which nobody wants it: what is still to come of it is not a line of its
    /// own.
    pub(crate) fn begun() -> Box<Chain> {
        Box::new(Chain {
            bytes: Vec::new(),
            ts: i64::MIN,
            file: 0,
            start: 0,
            touched: Instant::now(),
            dropped: 0,
        })
    }
}

/// Open chains of a container instance: stdout, stderr.
pub(crate) type Chains = [Option<Box<Chain>>; 2];

/// A file's format, by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Unknown,
    Cri,
    Docker,
}

/// A record longer than the read buffer, as far as it has been read.
#[derive(Debug)]
pub(crate) struct Long {
    bytes: Vec<u8>,
    /// Bytes of the file that it spans so far.
    pub(crate) scanned: u64,
}

impl Long {
    /// Bytes of memory that it holds.
    pub(crate) fn held(&self) -> usize {
        self.bytes.len()
    }
}

/// How far a file has been read.
#[derive(Debug)]
pub(crate) struct Cursor {
    /// The file's number in this process.
    pub(crate) id: u64,
    /// Start of the first record that has not been taken.
    pub(crate) read_at: u64,
    /// Records of a stream below this were emitted before the start of this process.
    pub(crate) skip: [u64; 2],
    pub(crate) format: Format,
    pub(crate) long: Option<Long>,
    /// The bytes before `read_at` were NULs: the damage is counted.
    pub(crate) in_nul: bool,
}

impl Cursor {
    pub(crate) fn new(id: u64, offsets: [u64; 2]) -> Cursor {
        Cursor {
            id,
            read_at: offsets[0].min(offsets[1]),
            skip: offsets,
            format: Format::Unknown,
            long: None,
            in_nul: false,
        }
    }

    /// Where the next read begins.
    pub(crate) fn next_offset(&self) -> u64 {
        self.read_at + self.long.as_ref().map_or(0, |l| l.scanned)
    }
}

/// What one call needs to know of the file's place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context {
    /// Whether lines are looked at for their level.
    pub(crate) wants_level: bool,
    /// A newer file of the instance has been begun, by stream: pieces cannot be joined any more.
    pub(crate) late: [bool; 2],
    /// The read filled the buffer: without a line feed the record is a long one.
    pub(crate) full: bool,
    /// Time of the read, for lines without one: nanoseconds since 1970.
    pub(crate) now: i64,
}

/// Turns bytes into lines. One for the whole agent.
#[derive(Debug)]
pub(crate) struct Framer {
    max_line: usize,
    max_held: usize,
    held: usize,
    detect: fn(&[u8]) -> &'static str,
    cache: TimeCache,
    unescaped: Vec<u8>,
    stats: Arc<Stats>,
}

impl Framer {
    pub(crate) fn new(
        max_line: usize,
        max_held: usize,
        detect: fn(&[u8]) -> &'static str,
        stats: Arc<Stats>,
    ) -> Framer {
        Framer {
            max_line,
            max_held,
            held: 0,
            detect,
            cache: TimeCache::new(),
            unescaped: Vec::new(),
            stats,
        }
    }

    /// Takes the complete records of `data`, which begins at the cursor's [`Cursor::next_offset`], and moves the
    /// cursor behind them.
    pub(crate) fn frame(
        &mut self,
        context: Context,
        cursor: &mut Cursor,
        chains: &mut Chains,
        data: &[u8],
        out: &mut Out,
    ) {
        assert!(data.len() <= u32::MAX as usize);
        let mut pos = 0;
        if cursor.long.is_some() {
            match self.extend_long(context, cursor, chains, data, out) {
                Some(n) => pos = n,
                None => return,
            }
        }
        let base = cursor.read_at - pos as u64;
        while out.recs.len() < MAX_RECS && pos < data.len() {
            if data[pos] == 0 {
                pos += self.skip_nuls(cursor, &data[pos..]);
                continue;
            }
            let Some(n) = memchr::memchr(b'\n', &data[pos..]) else {
                break;
            };
            // Zeros up to a line feed are no line.
            if std::mem::take(&mut cursor.in_nul) && n == 0 {
                pos += 1;
                continue;
            }
            let line = Line {
                bytes: &data[pos..pos + n],
                at: Some(pos),
                start: base + pos as u64,
            };
            self.record(context, cursor, chains, line, out);
            pos += n + 1;
        }
        cursor.read_at = base + pos as u64;
        if pos == 0 && context.full {
            let keep = data.len().min(self.room_for_long());
            self.held += keep;
            cursor.in_nul = false;
            cursor.long = Some(Long {
                bytes: data[..keep].to_vec(),
                scanned: data.len() as u64,
            });
        }
    }

    /// Zeros stand where data never reached the card before a power cut; what follows them is looked at as usual.
    fn skip_nuls(&mut self, cursor: &mut Cursor, data: &[u8]) -> usize {
        if !cursor.in_nul {
            cursor.in_nul = true;
            add(&self.stats.damaged, 1);
        }
        data.iter().take_while(|b| **b == 0).count()
    }

    fn room_for_long(&self) -> usize {
        (self.max_line + HEADER_BYTES).min(self.max_held.saturating_sub(self.held))
    }

    /// Goes on with a record longer than the buffer; the bytes of `data` used, or `None` if its end is not there.
    fn extend_long(
        &mut self,
        context: Context,
        cursor: &mut Cursor,
        chains: &mut Chains,
        data: &[u8],
        out: &mut Out,
    ) -> Option<usize> {
        let mut long = cursor.long.take()?;
        let end = memchr::memchr(b'\n', data);
        let part = &data[..end.unwrap_or(data.len())];
        let room = (self.max_line + HEADER_BYTES)
            .saturating_sub(long.bytes.len())
            .min(self.max_held.saturating_sub(self.held));
        let keep = part.len().min(room);
        long.bytes.extend_from_slice(&part[..keep]);
        self.held += keep;
        long.scanned += part.len() as u64;
        let Some(end) = end else {
            cursor.long = Some(long);
            return None;
        };
        self.held = self.held.saturating_sub(long.bytes.len());
        let lost = long.scanned - long.bytes.len() as u64;
        if lost > 0 {
            self.count_cut(lost);
        }
        let line = Line {
            bytes: &long.bytes,
            at: None,
            start: cursor.read_at,
        };
        self.record(context, cursor, chains, line, out);
        cursor.read_at += long.scanned + 1;
        Some(end + 1)
    }

    /// Forgets an unfinished long record, to be read again.
    pub(crate) fn drop_long(&mut self, cursor: &mut Cursor) {
        if let Some(long) = cursor.long.take() {
            self.held = self.held.saturating_sub(long.bytes.len());
        }
    }

    fn record(
        &mut self,
        context: Context,
        cursor: &mut Cursor,
        chains: &mut Chains,
        line: Line<'_>,
        out: &mut Out,
    ) {
        if cursor.format == Format::Unknown {
            cursor.format = match line.bytes.first() {
                Some(b'{') => Format::Docker,
                _ => Format::Cri,
            };
        }
        if cursor.format == Format::Docker {
            return self.docker_record(context, cursor, chains, line, out);
        }
        match cri::parse(line.bytes, &mut self.cache) {
            Some(r) => {
                let piece = Piece {
                    ts: r.ts,
                    stream: r.stream,
                    full: r.full,
                    file: cursor.id,
                    start: line.start,
                };
                if line.start >= cursor.skip[r.stream] {
                    self.piece(
                        context,
                        chains,
                        piece,
                        line.part(r.content..line.bytes.len()),
                        out,
                    );
                }
            }
            None => self.malformed(context, cursor, chains, line, out),
        }
    }

    fn docker_record(
        &mut self,
        context: Context,
        cursor: &mut Cursor,
        chains: &mut Chains,
        line: Line<'_>,
        out: &mut Out,
    ) {
        let Some(r) = docker::parse(line.bytes, &mut self.cache) else {
            return self.malformed(context, cursor, chains, line, out);
        };
        if line.start < cursor.skip[r.stream] {
            return;
        }
        let mut piece = Piece {
            ts: r.ts,
            stream: r.stream,
            full: false,
            file: cursor.id,
            start: line.start,
        };
        let first = memchr::memchr(b'\\', r.raw);
        if first == r.raw.len().checked_sub(2) && r.raw.ends_with(b"n") {
            // The only escape is the line feed at the end: nothing to undo, nothing to copy.
            piece.full = true;
            let at = r.raw.as_ptr() as usize - line.bytes.as_ptr() as usize;
            let content = line.part(at..at + r.raw.len() - 2);
            return self.piece(context, chains, piece, content, out);
        }
        let mut text = std::mem::take(&mut self.unescaped);
        text.clear();
        docker::unescape(r.raw, &mut text);
        piece.full = text.ends_with(b"\n");
        let bytes = &text[..text.len() - usize::from(piece.full)];
        let content = Line {
            bytes,
            at: None,
            start: line.start,
        };
        self.piece(context, chains, piece, content, out);
        self.unescaped = text;
    }

    /// A line that is no record: kept whole, with the time of the read, as a line of stdout.
    fn malformed(
        &mut self,
        context: Context,
        cursor: &mut Cursor,
        chains: &mut Chains,
        line: Line<'_>,
        out: &mut Out,
    ) {
        if line.start < cursor.skip[0] {
            return;
        }
        add(&self.stats.malformed, 1);
        // stdout's position cannot pass the start of an open line and also cover this one.
        if !context.late[0] {
            self.flush_chain(context.wants_level, chains, 0, out);
        }
        self.emit(context.wants_level, 0, context.now, line, out);
    }

    fn piece(
        &mut self,
        context: Context,
        chains: &mut Chains,
        piece: Piece,
        content: Line<'_>,
        out: &mut Out,
    ) {
        let slot = &mut chains[piece.stream];
        if context.late[piece.stream] || (piece.full && slot.is_none()) {
            return self.emit(context.wants_level, piece.stream, piece.ts, content, out);
        }
        let chain = slot.get_or_insert_with(|| {
            Box::new(Chain {
                bytes: Vec::new(),
                ts: piece.ts,
                file: piece.file,
                start: piece.start,
                touched: Instant::now(),
                dropped: 0,
            })
        });
        let room = self.max_line.saturating_sub(chain.bytes.len());
        let keep = content
            .bytes
            .len()
            .min(room)
            .min(self.max_held.saturating_sub(self.held));
        chain.bytes.extend_from_slice(&content.bytes[..keep]);
        chain.dropped += (content.bytes.len() - keep) as u64;
        self.held += keep;
        if piece.full {
            self.flush_chain(context.wants_level, chains, piece.stream, out);
        } else {
            chain.touched = Instant::now();
        }
    }

    /// Makes a line of what an open chain holds.
    pub(crate) fn flush_chain(
        &mut self,
        wants_level: bool,
        chains: &mut Chains,
        stream: usize,
        out: &mut Out,
    ) {
        let Some(chain) = chains[stream].take() else {
            return;
        };
        self.held = self.held.saturating_sub(chain.bytes.len());
        if chain.dropped > 0 {
            self.count_cut(chain.dropped);
        }
        let line = Line {
            bytes: &chain.bytes,
            at: None,
            start: chain.start,
        };
        self.emit(wants_level, stream, chain.ts, line, out);
    }

    fn count_cut(&self, bytes: u64) {
        add(&self.stats.truncated, 1);
        add(&self.stats.truncated_bytes, bytes);
    }

    fn emit(&mut self, wants_level: bool, stream: usize, ts: i64, line: Line<'_>, out: &mut Out) {
        let bytes = &line.bytes[..line.bytes.len().min(self.max_line)];
        if bytes.len() < line.bytes.len() {
            self.count_cut((line.bytes.len() - bytes.len()) as u64);
        }
        let level = if wants_level {
            level_index((self.detect)(bytes))
        } else {
            0
        };
        let (place, start) = match line.at {
            Some(at) => (Place::Buffer, at),
            None => {
                let at = out.scratch.len();
                out.scratch.extend_from_slice(bytes);
                (Place::Scratch, at)
            }
        };
        out.recs.push(Rec {
            ts,
            start: start as u32,
            len: bytes.len() as u32,
            place,
            stream: stream as u8,
            level,
        });
    }

    /// Corrects the sum of bytes held, after files and instances went away with unfinished lines.
    pub(crate) fn set_held(&mut self, held: usize) {
        self.held = held;
    }

    /// Bytes that unfinished lines hold now.
    #[cfg(test)]
    pub(crate) fn held(&self) -> usize {
        self.held
    }
}

/// Bytes of a line or record, and where they are.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    bytes: &'a [u8],
    /// Place in the read buffer; `None`: elsewhere, to be copied to be kept.
    at: Option<usize>,
    /// The record's offset in its file.
    start: u64,
}

impl Line<'_> {
    fn part(self, range: std::ops::Range<usize>) -> Self {
        Line {
            bytes: &self.bytes[range.clone()],
            at: self.at.map(|at| at + range.start),
            start: self.start,
        }
    }
}

/// A record's facts beside its content.
#[derive(Debug, Clone, Copy)]
struct Piece {
    ts: i64,
    stream: usize,
    full: bool,
    file: u64,
    start: u64,
}

#[cfg(test)]
mod tests;
