//! Files on disk: names, identity, opening, decompressing.
//!
//! A file is known by inode and birth time while its file system lives, and by the hash of its first record when
//! these change (log2ram, a restored card, gzip). Inode numbers alone come back at once on ext4.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use flate2::read::MultiGzDecoder;

/// Bytes at a file's start that its fingerprint covers at most.
pub(crate) const FINGERPRINT_BYTES: usize = 1024;

/// Inode and birth time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) inode: u64,
    /// Nanoseconds since 1970; 0 if the file system does not say.
    pub(crate) btime: u64,
}

/// A log file found in a container's directory (or, behind a link, beside the link's target).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// The restart count that its name says.
    pub(crate) restart: u32,
    /// Order within the instance.
    pub(crate) rank: Rank,
    pub(crate) path: PathBuf,
    pub(crate) identity: Identity,
    pub(crate) size: u64,
    /// Time since the last change, as far as the clock can be trusted.
    pub(crate) age: Option<std::time::Duration>,
    /// Time of the last change, nanoseconds since 1970; `i64::MAX` if the file system does not say.
    pub(crate) modified: i64,
    pub(crate) gz: bool,
}

/// Order of an instance's files, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// Docker's `.N`: the highest number is the oldest.
    Numbered(std::cmp::Reverse<u32>),
    /// kubelet's `.<YYYYMMDD-hhmmss>`.
    Rotated(String),
    /// The file that is written to.
    Live,
}

/// What a name in a container's directory says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name<'a> {
    pub(crate) restart: u32,
    /// The part after `N.log.`, without `.gz`; empty for the live file.
    pub(crate) suffix: &'a str,
    pub(crate) gz: bool,
}

impl<'a> Name<'a> {
    /// Parses `N.log`, `N.log.SUFFIX` or `N.log.SUFFIX.gz`; `None` for files of others and for `.tmp`.
    pub(crate) fn parse(name: &'a str) -> Option<Name<'a>> {
        let (number, rest) = name.split_once(".log")?;
        let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let restart = number.parse().ok().filter(|_| digits)?;
        if rest.is_empty() {
            return Some(Name {
                restart,
                suffix: "",
                gz: false,
            });
        }
        let suffix = rest.strip_prefix('.')?;
        if suffix.ends_with(".tmp") {
            return None;
        }
        let (suffix, gz) = match suffix.strip_suffix(".gz") {
            Some(s) => (s, true),
            None => (suffix, false),
        };
        (!suffix.is_empty()).then_some(Name {
            restart,
            suffix,
            gz,
        })
    }
}

/// Lists the names of a directory. Names that are not UTF-8 are nobody's log files.
#[expect(
    clippy::disallowed_methods,
    reason = "pod log directories are not ours, we only read them"
)]
pub(crate) fn list_names(dir: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

/// Lists the log files of a container's directory, and the directories that links lead to.
pub(crate) fn list_logs(dir: &Path) -> io::Result<(Vec<Found>, Vec<PathBuf>)> {
    let (mut found, mut targets) = (Vec::new(), Vec::new());
    for name in list_names(dir)? {
        let Some(parsed) = Name::parse(&name) else {
            continue;
        };
        let path = dir.join(&name);
        let rank = if parsed.suffix.is_empty() {
            Rank::Live
        } else {
            Rank::Rotated(parsed.suffix.to_owned())
        };
        if rank == Rank::Live && path.is_symlink() {
            list_behind_link(&path, parsed.restart, &mut found, &mut targets);
        }
        push_found(path, parsed.restart, rank, parsed.gz, &mut found);
    }
    found.sort_by(|a, b| (a.restart, &a.rank, a.gz).cmp(&(b.restart, &b.rank, b.gz)));
    Ok((found, targets))
}

/// dockerd rotates beside the link's target: `x-json.log.1`, `x-json.log.2.gz`, the highest number being the oldest.
fn list_behind_link(link: &Path, restart: u32, found: &mut Vec<Found>, targets: &mut Vec<PathBuf>) {
    let Ok(target) = std::fs::canonicalize(link) else {
        return;
    };
    let (Some(dir), Some(base)) = (target.parent(), target.file_name().and_then(|n| n.to_str()))
    else {
        return;
    };
    for name in list_names(dir).unwrap_or_default() {
        let Some(suffix) = name.strip_prefix(base).and_then(|s| s.strip_prefix('.')) else {
            continue;
        };
        let (number, gz) = match suffix.strip_suffix(".gz") {
            Some(n) => (n, true),
            None => (suffix, false),
        };
        if let Ok(number) = number.parse() {
            let rank = Rank::Numbered(std::cmp::Reverse(number));
            push_found(dir.join(&name), restart, rank, gz, found);
        }
    }
    targets.push(dir.to_owned());
}

fn push_found(path: PathBuf, restart: u32, rank: Rank, gz: bool, found: &mut Vec<Found>) {
    // A file that vanished since the listing is found again, or not, by the event of its removal.
    if let Ok(meta) = std::fs::metadata(&path)
        && meta.is_file()
    {
        found.push(Found {
            restart,
            rank,
            path,
            identity: identity(&meta),
            size: meta.len(),
            age: meta.modified().ok().and_then(|t| t.elapsed().ok()),
            modified: meta.modified().map_or(i64::MAX, ns_of),
            gz,
        });
    }
}

pub(crate) fn identity(meta: &Metadata) -> Identity {
    let btime = meta
        .created()
        .ok()
        .and_then(|t| t.duration_since(UNIX_EPOCH).ok())
        .map_or(0, |d| d.as_nanos() as u64);
    Identity {
        inode: meta.ino(),
        btime,
    }
}

/// Opens a log file. Never waits, whatever stands there; anything but a regular file is an error.
#[expect(
    clippy::disallowed_methods,
    reason = "pod logs are not ours, we only read them"
)]
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

/// The hash of a file's first record, or of its first [`FINGERPRINT_BYTES`] if that is longer; `None` while neither is
/// complete. `start` is the file's beginning.
pub(crate) fn fingerprint(start: &[u8]) -> Option<u64> {
    let head = &start[..start.len().min(FINGERPRINT_BYTES)];
    let end = match memchr::memchr(b'\n', head) {
        Some(n) => n + 1,
        None if head.len() == FINGERPRINT_BYTES => FINGERPRINT_BYTES,
        None => return None,
    };
    Some(xxhash_rust::xxh3::xxh3_64(&head[..end]))
}

/// The fingerprint of an open plain file.
pub(crate) fn plain_fingerprint(file: &File) -> io::Result<Option<u64>> {
    let mut head = [0; FINGERPRINT_BYTES];
    let mut n = 0;
    while n < head.len() {
        match file.read_at(&mut head[n..], n as u64) {
            Ok(0) => break,
            Ok(m) => n += m,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(fingerprint(&head[..n]))
}

/// A compressed file, read from its beginning: memory is one window and one buffer, whatever its size.
pub(crate) struct Gz {
    decoder: MultiGzDecoder<io::BufReader<File>>,
    /// Decompressed bytes from `start` on.
    buffer: Vec<u8>,
    start: u64,
    /// Damage that was met; nothing is decompressed behind it.
    damage: Option<io::Error>,
    damaged: bool,
}

impl std::fmt::Debug for Gz {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gz").field("start", &self.start).finish()
    }
}

impl Gz {
    pub(crate) fn new(file: File) -> Gz {
        Gz {
            decoder: MultiGzDecoder::new(io::BufReader::with_capacity(16 * 1024, file)),
            buffer: Vec::new(),
            start: 0,
            damage: None,
            damaged: false,
        }
    }

    /// Where the file is damaged or cut short, once: the bytes before it were given by then.
    pub(crate) fn take_damage(&mut self) -> Option<io::Error> {
        self.damage.take()
    }

    /// Up to `max` decompressed bytes at `offset`, which never lies before that of the call before. Fewer only at the
    /// end, or where [`Gz::take_damage`] tells of damage.
    ///
    /// # Errors
    /// Damage before the first byte that is wanted.
    pub(crate) fn read(&mut self, offset: u64, max: usize) -> io::Result<&[u8]> {
        let drop = offset
            .saturating_sub(self.start)
            .min(self.buffer.len() as u64) as usize;
        self.buffer.drain(..drop);
        self.start += drop as u64;
        while self.start < offset {
            let mut skip = [0; 8192];
            let want = skip.len().min((offset - self.start) as usize);
            match self.decoder.read(&mut skip[..want])? {
                0 => return Ok(&[]),
                n => self.start += n as u64,
            }
        }
        while self.buffer.len() < max && !self.damaged {
            let have = self.buffer.len();
            self.buffer.resize(max, 0);
            let n = self.decoder.read(&mut self.buffer[have..]);
            self.buffer.truncate(have + *n.as_ref().unwrap_or(&0));
            match n {
                Ok(0) => break,
                Ok(_) => {}
                Err(e) => {
                    self.damaged = true;
                    if self.buffer.is_empty() {
                        return Err(e);
                    }
                    self.damage = Some(e);
                }
            }
        }
        Ok(&self.buffer[..self.buffer.len().min(max)])
    }
}

/// The fingerprint of a compressed file's content.
pub(crate) fn gz_fingerprint(file: File) -> io::Result<Option<u64>> {
    let mut gz = Gz::new(file);
    Ok(fingerprint(gz.read(0, FINGERPRINT_BYTES)?))
}

/// Where the last complete record of a plain file ends, looking at its last 64 KiB.
pub(crate) fn end_of_records(file: &File, size: u64) -> io::Result<u64> {
    let mut tail = vec![0; 64 * 1024];
    let from = size.saturating_sub(tail.len() as u64);
    let n = file.read_at(&mut tail, from)?;
    Ok(match memchr::memrchr(b'\n', &tail[..n]) {
        Some(at) => from + at as u64 + 1,
        None if from == 0 => 0,
        None => size,
    })
}

/// Nanoseconds since 1970 by the system's clock, right or wrong.
pub(crate) fn now_ns() -> i64 {
    ns_of(SystemTime::now())
}

fn ns_of(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(d) => d.as_nanos().min(i64::MAX as u128) as i64,
        Err(e) => -(e.duration().as_nanos().min(i64::MAX as u128) as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_logs_and_of_others() {
        let check = |name: &str, want: Option<(u32, &str, bool)>| {
            let got = Name::parse(name).map(|n| (n.restart, n.suffix, n.gz));
            assert_eq!(got, want, "{name}");
        };
        check("0.log", Some((0, "", false)));
        check("12.log", Some((12, "", false)));
        check("0.log.20261120-092756", Some((0, "20261120-092756", false)));
        check(
            "0.log.20261120-092756.gz",
            Some((0, "20261120-092756", true)),
        );
        for other in [
            "0.log.20261120-092756.tmp",
            "0.log.gz.tmp",
            "x.log",
            "log",
            ".log",
            "+1.log",
            "0.log.",
            "0.logs",
            "99999999999.log",
            "0.txt",
            "",
        ] {
            check(other, None);
        }
    }

    #[test]
    fn fingerprints_wait_for_a_record() {
        assert_eq!(fingerprint(b"abc"), None);
        assert_eq!(fingerprint(b"abc\n"), fingerprint(b"abc\nmore"));
        let long = vec![b'x'; 3000];
        assert_eq!(fingerprint(&long), fingerprint(&long[..FINGERPRINT_BYTES]));
        assert_eq!(fingerprint(&long[..FINGERPRINT_BYTES - 1]), None);
    }
}
