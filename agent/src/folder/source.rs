//! Opening files of a folder that somebody else may be rotating, and reading them block by block.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::FileExt;

use flate2::read::MultiGzDecoder;

use super::tree::{Instance, LogFile};
use crate::files::{self, Found};

/// Compressed bytes read at once.
const GZ_BUFFER_BYTES: usize = 32 << 10;

/// Decompresses a file.
pub(super) type Decoder = MultiGzDecoder<BufReader<File>>;

pub(super) fn decoder(file: File) -> Decoder {
    MultiGzDecoder::new(BufReader::with_capacity(GZ_BUFFER_BYTES, file))
}

/// Opens a file under the name that it was listed with.
///
/// # Errors
/// Those of opening; `NotFound` too if another file has the name now.
pub(super) fn open(file: &LogFile) -> io::Result<File> {
    let opened = files::open(&file.path)?;
    if files::identity(&opened.metadata()?) != file.identity {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(opened)
}

/// Finds a file that lost its name since it was listed: under the name it was rotated to, or compressed. Files that are
/// read for themselves are not meant.
pub(super) fn open_moved(instance: &Instance, index: usize) -> Option<(File, bool)> {
    let file = &instance.files[index];
    let read = |identity| {
        let mut parts = instance.parts.iter();
        parts.any(|p| p.file != index && instance.files[p.file].identity == identity)
    };
    let mut found = files::list_logs(&instance.dir).ok()?.0;
    found.retain(|f| f.restart == instance.restart && !read(f.identity));
    let open = |f: &Found| {
        let opened = files::open(&f.path).ok()?;
        (files::identity(&opened.metadata().ok()?) == f.identity).then_some(opened)
    };
    if let Some(same) = found.iter().find(|f| f.identity == file.identity) {
        return Some((open(same)?, file.gz));
    }
    found.retain(|f| f.gz);
    let compressed = found.iter().find(|f| match file.fingerprint {
        Some(print) => {
            let has = open(f).and_then(|opened| files::gz_fingerprint(opened).ok()?);
            has == Some(print)
        }
        None if file.live => {
            // It was rotated, too: the oldest one that was not there before, in any form.
            let mut listed = instance.files.iter();
            !listed.any(|known| known.path == f.path || known.compressed() == f.path)
        }
        None => f.path == file.compressed(),
    })?;
    Some((open(compressed)?, true))
}

/// The same file, to be read from its beginning.
pub(super) fn from_start(file: &File) -> io::Result<File> {
    let mut file = file.try_clone()?;
    // The position is shared with the clones.
    file.seek(io::SeekFrom::Start(0))?;
    Ok(file)
}

/// Where the bytes of a part come from.
pub(super) enum Source {
    Plain {
        file: File,
        at: u64,
        end: u64,
    },
    Gz {
        decoder: Box<Decoder>,
        at: u64,
        end: u64,
    },
}

impl Source {
    /// A part of a plain file, or its bytes from `from` to `to` of decompressed text.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn new(file: File, gz: bool, from: u64, to: Option<u64>) -> io::Result<Source> {
        if !gz {
            // What is appended from now on is of no interest, lest a busy writer keep us for ever.
            let size = file.metadata()?.len();
            let end = to.map_or(size, |to| to.min(size));
            return Ok(Source::Plain {
                file,
                at: from,
                end,
            });
        }
        let mut decoder = Box::new(decoder(file));
        io::copy(&mut decoder.by_ref().take(from), &mut io::sink())?;
        Ok(Source::Gz {
            decoder,
            at: from,
            end: to.unwrap_or(u64::MAX),
        })
    }

    /// Reads what there is, up to the length of `out`; 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Source::Plain { file, at, end } => {
                let want = room(out, *at, *end);
                let n = read_full_at(file, &mut out[..want], *at)?;
                *at += n as u64;
                Ok(n)
            }
            Source::Gz { decoder, at, end } => {
                let want = room(out, *at, *end);
                let n = read_some(decoder, &mut out[..want])?;
                *at += n as u64;
                Ok(n)
            }
        }
    }

    /// Bytes of text so far.
    pub(super) fn at(&self) -> u64 {
        match self {
            Source::Plain { at, .. } | Source::Gz { at, .. } => *at,
        }
    }
}

fn room(out: &[u8], at: u64, end: u64) -> usize {
    usize::try_from(end.saturating_sub(at)).map_or(out.len(), |left| left.min(out.len()))
}

fn read_some(from: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    loop {
        match from.read(out) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Fills `out` as far as there is something to read.
pub(super) fn read_full(from: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut have = 0;
    while have < out.len() {
        match read_some(from, &mut out[have..]) {
            Ok(0) => break,
            Ok(n) => have += n,
            // What came before the damage counts.
            Err(_) if have > 0 => break,
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}

/// The same from an offset of a file.
pub(super) fn read_full_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut have = 0;
    while have < out.len() {
        match file.read_at(&mut out[have..], offset + have as u64) {
            Ok(0) => break,
            Ok(n) => have += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(have)
}
