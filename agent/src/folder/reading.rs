//! Parts of files to lines: blocks of bytes through the agent's framing.
//!
//! A part is read from its beginning. Where the one before it was not read, the ends of that one say whether a line is
//! open there ([`Reading::open_before`]).

use std::sync::Arc;
use std::time::Duration;

use logql::eval::EvalError;

use super::ends;
use super::sieve::{PIECE_BYTES, Sieve};
use super::source::{self, Source};
use super::tree::{Instance, LogFile, Part};
use super::trouble::{Teller, What};
use crate::config::Config;
use crate::files;
use crate::frame::{Chains, Context, Cursor, Format, Framer, MAX_RECS, Out, Place};
use crate::stats::{Snapshot, Stats};

/// Bytes read at once: what is copied out of the page cache should still be in the second-level cache when it is framed.
const BLOCK_BYTES: usize = 64 << 10;
/// A file that was written to this lately may end in a record that is still being written.
const SETTLED: Duration = Duration::from_secs(10);

/// A finished line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) ts: i64,
    /// 0 stdout, 1 stderr.
    pub(super) stream: usize,
    pub(super) bytes: &'a [u8],
}

/// Lines of a block.
pub(super) type Lines<'l, 'a> = &'l mut dyn Iterator<Item = Line<'a>>;
/// Takes lines.
pub(super) type Visit<'v> = &'v mut dyn FnMut(Lines<'_, '_>) -> Result<(), EvalError>;
/// Takes lines of a part.
pub(super) type VisitPart<'v> = &'v mut dyn FnMut(usize, Lines<'_, '_>) -> Result<(), EvalError>;

/// Buffers, and what is known of the files so far.
pub(super) struct Reading {
    pub(super) teller: Teller,
    framer: Framer,
    stats: Arc<Stats>,
    out: Out,
    block: Vec<u8>,
    max_line: usize,
    /// Parts of files that were read, or begun to be.
    pub(super) opened: u64,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").finish_non_exhaustive()
    }
}

impl Reading {
    pub(super) fn new(config: &Config, teller: Teller) -> Reading {
        let stats = Arc::new(Stats::default());
        Reading {
            teller,
            framer: Framer::new(
                config.max_line_size,
                config.max_partial_bytes,
                config.detect,
                stats.clone(),
            ),
            stats,
            out: Out::default(),
            block: vec![0; BLOCK_BYTES],
            max_line: config.max_line_size,
            opened: 0,
        }
    }

    /// Bytes held, about.
    pub(super) fn memory() -> usize {
        BLOCK_BYTES + MAX_RECS * 32 + (128 << 10)
    }

    /// Reads a part, and whatever later parts a line of it goes on in. Each part is read once.
    pub(super) fn part(
        &mut self,
        instance: &mut Instance,
        index: usize,
        sieve: Option<&Sieve<'_>>,
        unwanted: &dyn Fn(&Part) -> bool,
        visit: VisitPart<'_>,
    ) -> Result<(), EvalError> {
        let mut chains: Chains = [None, None];
        let mut first = index;
        // Back to where no line is open.
        while let Some(before) = first
            .checked_sub(1)
            .filter(|before| !instance.parts[*before].done)
        {
            let open = ends::open_before(self, instance, first);
            if open == [false, false] {
                break;
            }
            if unwanted(&instance.parts[before]) {
                for stream in 0..2 {
                    if open[stream] {
                        chains[stream] = Some(crate::frame::Chain::begun());
                    }
                }
                break;
            }
            first = before;
        }
        let mut at = first;
        while at < instance.parts.len()
            && !instance.parts[at].done
            && (at <= index || chains.iter().any(Option::is_some))
        {
            instance.parts[at].done = true;
            self.one(instance, at, sieve, &mut chains, &mut |lines| {
                visit(at, lines)
            })?;
            at += 1;
        }
        self.flush(&mut chains, &mut |lines| visit(at - 1, lines))
    }

    /// Reads one part.
    pub(super) fn one(
        &mut self,
        instance: &Instance,
        index: usize,
        sieve: Option<&Sieve<'_>>,
        chains: &mut Chains,
        visit: Visit<'_>,
    ) -> Result<(), EvalError> {
        let part = instance.parts[index];
        let file = &instance.files[part.file];
        let Some(mut source) = self.open(instance, file, &part) else {
            return Ok(());
        };
        let before = self.stats.snapshot();
        let mut cursor = Cursor::new(index as u64 + 1, [part.from; 2]);
        cursor.format = part.format;
        let mut have = 0;
        loop {
            let n = match source.read(&mut self.block[have..]) {
                Ok(n) => n,
                Err(e) => {
                    let what = match &source {
                        Source::Plain { .. } => What::Unread(e, source.at()),
                        Source::Gz { .. } => What::Uncompressed(e, source.at()),
                    };
                    self.opened += u64::from(!what.is_all());
                    self.teller.tell(&file.path, what);
                    have = 0;
                    self.framer.drop_long(&mut cursor);
                    break;
                }
            };
            have += n;
            let taken = self.frame(have, (&part, sieve), &mut cursor, chains, visit)?;
            self.block.copy_within(taken..have, 0);
            have -= taken;
            if n == 0 {
                self.opened += 1;
                break;
            }
        }
        let torn = have as u64 + cursor.long.as_ref().map_or(0, |l| l.scanned);
        self.framer.drop_long(&mut cursor);
        self.tell_of(file, torn, before);
        Ok(())
    }

    fn open(&mut self, instance: &Instance, file: &LogFile, part: &Part) -> Option<Source> {
        let opened = match source::open(file) {
            Ok(opened) => Ok((opened, file.gz)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                source::open_moved(instance, part.file).ok_or(What::Vanished)
            }
            Err(e) => Err(What::Unopened(e)),
        };
        let source = opened.and_then(|(opened, gz)| {
            Source::new(opened, gz, part.from, part.to).map_err(What::Unopened)
        });
        match source {
            Ok(source) => Some(source),
            Err(what) => {
                self.teller.tell(&file.path, what);
                None
            }
        }
    }

    /// Makes lines of the first `have` bytes of the block; how many bytes that took.
    fn frame(
        &mut self,
        have: usize,
        (part, sieve): (&Part, Option<&Sieve<'_>>),
        cursor: &mut Cursor,
        chains: &mut Chains,
        visit: Visit<'_>,
    ) -> Result<usize, EvalError> {
        let mut taken = 0;
        loop {
            let rest = &self.block[taken..have];
            let mut data = rest;
            if let Some(sieve) = sieve
                && cursor.format == Format::Cri
                && cursor.long.is_none()
                && chains.iter().all(Option::is_none)
            {
                let piece = &rest[..rest.len().min(PIECE_BYTES)];
                data = memchr::memrchr(b'\n', piece).map_or(rest, |end| &rest[..=end]);
                if data.len() <= PIECE_BYTES && sieve.rejects(data) && data.ends_with(b"\n") {
                    cursor.read_at += data.len() as u64;
                    cursor.in_nul = false;
                    taken += data.len();
                    continue;
                }
            }
            let all = data.len() == rest.len();
            let context = Context {
                // Found later, for the lines that pass the filters.
                wants_level: false,
                late: [false, false],
                full: all && taken == 0 && have == self.block.len(),
                now: part.time,
            };
            let from = cursor.next_offset();
            self.out.clear();
            self.framer
                .frame(context, cursor, chains, data, &mut self.out);
            visit(&mut lines(&self.out, data))?;
            taken += (cursor.next_offset() - from) as usize;
            if all && self.out.recs.len() < MAX_RECS {
                return Ok(taken);
            }
        }
    }

    /// Makes lines of what is open.
    fn flush(&mut self, chains: &mut Chains, visit: Visit<'_>) -> Result<(), EvalError> {
        self.out.clear();
        for stream in 0..2 {
            self.framer
                .flush_chain(false, chains, stream, &mut self.out);
        }
        visit(&mut lines(&self.out, &[]))
    }

    /// Lets go of what is open.
    pub(super) fn forget(&mut self, chains: &mut Chains) {
        self.out.clear();
        for stream in 0..2 {
            self.framer
                .flush_chain(false, chains, stream, &mut self.out);
        }
        self.out.clear();
    }

    fn tell_of(&mut self, file: &LogFile, torn: u64, before: Snapshot) {
        let now = self.stats.snapshot();
        let fresh =
            file.live && files::now_ns().saturating_sub(file.modified) < SETTLED.as_nanos() as i64;
        let mut tell = |n: u64, what: What| {
            if n > 0 {
                self.teller.tell(&file.path, what);
            }
        };
        tell(if fresh { 0 } else { torn }, What::Torn(torn));
        let zeros = now.damaged - before.damaged;
        tell(zeros, What::Zeros(zeros));
        let timeless = now.malformed - before.malformed;
        tell(timeless, What::Timeless(timeless));
        let bytes = now.truncated_bytes - before.truncated_bytes;
        let limit = self.max_line;
        tell(bytes, What::Cut { bytes, limit });
    }
}

/// The finished lines.
fn lines<'a>(out: &'a Out, data: &'a [u8]) -> impl Iterator<Item = Line<'a>> {
    out.recs.iter().map(move |r| {
        let from = match r.place {
            Place::Buffer => data,
            Place::Scratch => &out.scratch,
        };
        Line {
            ts: r.ts,
            stream: usize::from(r.stream),
            bytes: &from[r.start as usize..][..r.len as usize],
        }
    })
}
