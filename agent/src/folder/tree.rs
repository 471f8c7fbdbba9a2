//! The containers of a folder, their files, and the parts that files are read in.
//!
//! - A directory is listed until two listings in a row agree: while the kubelet renames and compresses, one listing may
//!   show a file under both names or under none.
//! - A file that lost its name since is found again by its inode, by the start of its content, or by its name with `.gz`.
//! - Files with the same first record are one file: a copy, or its compressed form beside it. The first one counts.
//! - A large file is cut into parts at the starts of records, so that questions about one moment read a part. A part's
//!   bounds come from the times of first records and from the time of the file's last change.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::MARGIN;
use super::find::{FolderError, Place};
use super::source;
use super::trouble::{Teller, What};
use crate::files::{self, FINGERPRINT_BYTES, Found, Identity, Name};
use crate::frame::{Format, cri, docker};
use crate::labels::{PodName, is_container_name};

/// Listings of one directory at most: a kubelet rotates a container every ten seconds at most.
const LISTINGS_MAX: usize = 10;
/// Bytes of the last part of a file. Those before it are twice as large each, up to [`PART_BYTES`]: the newest lines are
/// asked for most.
const LAST_BYTES: u64 = 128 << 10;
/// Bytes of most parts, and how many of them a file has at most: larger files have larger parts.
const PART_BYTES: u64 = 1 << 20;
const PARTS_MAX: u64 = 64;
/// Bytes read to find the start of a record: first a few, then more than a record of a container runtime has.
const PEEK_BYTES: [usize; 2] = [4 << 10, 64 << 10];
/// What a file, its path and its parts are taken to need beside their text, bytes.
const FILE_BYTES: usize = 400;

/// One log file of an instance.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) path: PathBuf,
    pub(super) identity: Identity,
    pub(super) gz: bool,
    pub(super) live: bool,
    pub(super) size: u64,
    /// Nanoseconds.
    pub(super) modified: i64,
    pub(super) fingerprint: Option<u64>,
}

/// What of a file is read at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    /// Index of the file.
    pub(super) file: usize,
    pub(super) format: Format,
    pub(super) from: u64,
    /// Ends where the next part begins; `None`: at the end of the file.
    pub(super) to: Option<u64>,
    /// Its lines are not older than this, as far as clocks can be trusted.
    pub(super) low: i64,
    /// Nor newer.
    pub(super) high: i64,
    /// For lines that have no time.
    pub(super) time: i64,
    /// It has been read.
    pub(super) done: bool,
}

/// A container's files between two restarts.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) pod: Rc<PodName>,
    pub(super) container: Rc<str>,
    pub(super) dir: Rc<Path>,
    pub(super) restart: u32,
    /// Oldest first.
    pub(super) files: Vec<LogFile>,
    /// In the same order; empty before [`Instance::prepare`].
    pub(super) parts: Vec<Part>,
    prepared: bool,
}

/// Lists everything; also how many bytes of memory that takes, about.
pub(super) fn list(
    place: &Place,
    teller: &mut Teller,
    memory: usize,
) -> Result<(Vec<Instance>, usize), FolderError> {
    let (mut instances, mut bytes) = (Vec::new(), 0);
    for name in &place.pods {
        let dir = place.root.join(name);
        let Some(pod) = PodName::parse(name).map(Rc::new) else {
            continue;
        };
        let mut containers = match files::list_names(&dir) {
            Ok(names) => names,
            Err(e) => {
                unlisted(&dir, e, teller);
                continue;
            }
        };
        containers.sort_unstable();
        containers
            .retain(|c| is_container_name(c) && place.container.as_ref().is_none_or(|o| o == c));
        for container in containers {
            let dir: Rc<Path> = dir.join(&container).into();
            if !dir.is_dir() {
                continue;
            }
            match list_stable(&dir) {
                Ok(found) => {
                    dangling(&dir, &found, teller);
                    add(
                        &pod,
                        &container.into(),
                        &dir,
                        found,
                        &mut instances,
                        &mut bytes,
                    );
                }
                Err(e) => unlisted(&dir, e, teller),
            }
        }
        if bytes > memory {
            return Err(FolderError::TooMany {
                dir: place.root.clone(),
                limit: memory,
            });
        }
    }
    Ok((instances, bytes))
}

/// Pods come and go: a directory that is not there any more is nobody's trouble.
fn unlisted(dir: &Path, e: io::Error, teller: &mut Teller) {
    if e.kind() != io::ErrorKind::NotFound {
        teller.tell(dir, What::Unlisted(e));
    }
}

fn list_stable(dir: &Path) -> io::Result<Vec<Found>> {
    let mut found = files::list_logs(dir)?.0;
    for _ in 1..LISTINGS_MAX {
        let again = files::list_logs(dir)?.0;
        let places = |found: &[Found]| -> Vec<(PathBuf, u64)> {
            let place = |f: &Found| (f.path.clone(), f.identity.inode);
            found.iter().map(place).collect()
        };
        let same = places(&again) == places(&found);
        found = again;
        if same {
            break;
        }
    }
    Ok(found)
}

/// Docker's log files are behind links, which lead nowhere on a card that was put into another machine.
fn dangling(dir: &Path, found: &[Found], teller: &mut Teller) {
    for name in files::list_names(dir).unwrap_or_default() {
        let path = dir.join(&name);
        let ours = Name::parse(&name).is_some() && !found.iter().any(|f| f.path == path);
        if ours
            && path.is_symlink()
            && !path.exists()
            && let Ok(target) = std::fs::read_link(&path)
        {
            teller.tell(&path, What::Dangling(target));
        }
    }
}

fn add(
    pod: &Rc<PodName>,
    container: &Rc<str>,
    dir: &Rc<Path>,
    found: Vec<Found>,
    instances: &mut Vec<Instance>,
    bytes: &mut usize,
) {
    let mut restart = None;
    for f in found {
        if restart != Some(f.restart) {
            restart = Some(f.restart);
            instances.push(Instance {
                pod: pod.clone(),
                container: container.clone(),
                dir: dir.clone(),
                restart: f.restart,
                files: Vec::with_capacity(1),
                parts: Vec::new(),
                prepared: false,
            });
        }
        let files = &mut instances.last_mut().expect("pushed above").files;
        // A file with two names, or one that was renamed between the entries of a listing.
        if files.iter().any(|known| known.identity == f.identity) {
            continue;
        }
        *bytes += FILE_BYTES + f.path.as_os_str().len();
        files.push(LogFile {
            live: f.rank == files::Rank::Live,
            path: f.path,
            identity: f.identity,
            gz: f.gz,
            size: f.size,
            modified: f.modified,
            fingerprint: None,
        });
    }
}

/// What the beginning of a file shows.
struct Start {
    fingerprint: Option<u64>,
    format: Format,
    /// Time of the first record.
    time: Option<i64>,
}

impl LogFile {
    /// The name that it has once the kubelet has compressed it.
    pub(super) fn compressed(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".gz");
        path.into()
    }
}

impl Instance {
    /// When its newest line may have been written.
    pub(super) fn modified(&self) -> i64 {
        self.files
            .iter()
            .map(|f| f.modified)
            .max()
            .unwrap_or(i64::MIN)
    }

    /// Looks at the beginnings of its files, and cuts them into parts.
    pub(super) fn prepare(&mut self) {
        if std::mem::replace(&mut self.prepared, true) {
            return;
        }
        let mut seen: HashMap<u64, usize> = HashMap::new();
        for index in 0..self.files.len() {
            let opened = match source::open(&self.files[index]) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => {
                    let compressed = self.files[index].compressed();
                    if self.files.iter().any(|f| f.path == compressed) {
                        continue;
                    }
                    source::open_moved(self, index)
                }
                opened => opened.ok().map(|opened| (opened, self.files[index].gz)),
            };
            let file = &mut self.files[index];
            let start = opened.and_then(|(opened, gz)| {
                let start = start_of(&opened, gz).ok()?;
                Some((opened, start))
            });
            // What cannot be opened now is said when it is read.
            let Some((opened, start)) = start else {
                self.parts
                    .push(Part::whole(index, file, Format::Unknown, None));
                continue;
            };
            file.fingerprint = start.fingerprint;
            if let Some(print) = start.fingerprint
                && seen.insert(print, index).is_some()
            {
                continue;
            }
            cut(index, file, &opened, &start, &mut self.parts);
        }
    }
}

impl Part {
    fn whole(index: usize, file: &LogFile, format: Format, low: Option<i64>) -> Part {
        // A first record from after the last change: the clock was set back meanwhile, and no bound holds.
        let sane = low.is_some_and(|low| low.saturating_sub(MARGIN) <= file.modified);
        Part {
            file: index,
            format,
            from: 0,
            to: None,
            low: low.filter(|_| sane).unwrap_or(i64::MIN),
            high: if sane || low.is_none() {
                file.modified
            } else {
                i64::MAX
            },
            time: file.modified,
            done: false,
        }
    }
}

fn start_of(file: &File, gz: bool) -> io::Result<Start> {
    let mut head = vec![0; PEEK_BYTES[1]];
    let mut start = None;
    for bytes in PEEK_BYTES {
        let head = &mut head[..bytes];
        let n = if gz {
            source::read_full(&mut source::decoder(source::from_start(file)?), head)?
        } else {
            source::read_full_at(file, head, 0)?
        };
        let found = Start::of(&head[..n]);
        let enough = n < bytes || found.time.is_some();
        start = Some(found);
        if enough {
            break;
        }
    }
    Ok(start.expect("there are sizes to try"))
}

impl Start {
    fn of(head: &[u8]) -> Start {
        let format = match head.first() {
            None => Format::Unknown,
            Some(b'{') => Format::Docker,
            Some(_) => Format::Cri,
        };
        Start {
            fingerprint: files::fingerprint(&head[..head.len().min(FINGERPRINT_BYTES)]),
            format,
            time: first_time(head, format),
        }
    }
}

/// The time of the first record among some bytes that begin at the start of a line.
fn first_time(bytes: &[u8], format: Format) -> Option<i64> {
    let mut cache = cri::TimeCache::new();
    let mut lines = bytes.split(|b| *b == b'\n');
    lines.find_map(|line| match format {
        Format::Docker => docker::parse(line, &mut cache).map(|r| r.ts),
        _ => cri::parse(line, &mut cache).map(|r| r.ts),
    })
}

/// Pushes the parts of a file.
fn cut(index: usize, file: &LogFile, opened: &File, start: &Start, parts: &mut Vec<Part>) {
    let whole = Part::whole(index, file, start.format, start.time);
    let first = parts.len();
    parts.push(whole);
    if file.gz || whole.low == i64::MIN {
        return;
    }
    let mut peek = vec![0; PEEK_BYTES[1]];
    for at in edges(file.size) {
        let last = parts.len() - 1;
        let Some((from, time)) = record_after(opened, at, start.format, &mut peek)
            .filter(|(from, _)| *from > parts[last].from)
        else {
            continue;
        };
        // A clock that was set back: what the file's ends say does not hold between them.
        let set_back = time < parts[last].low.saturating_sub(MARGIN);
        if set_back || time > whole.high.saturating_add(MARGIN) {
            parts.truncate(first);
            parts.push(Part {
                low: i64::MIN,
                high: i64::MAX,
                ..whole
            });
            return;
        }
        parts[last].to = Some(from);
        parts[last].high = time;
        parts[last].time = time;
        parts.push(Part {
            from,
            low: time,
            ..whole
        });
    }
}

/// Where parts of a file of this size begin, about, from its beginning on.
fn edges(size: u64) -> Vec<u64> {
    let most = PART_BYTES.max(size.div_ceil(PARTS_MAX));
    let (mut edges, mut at, mut bytes) = (Vec::new(), size, LAST_BYTES);
    while at > bytes + bytes / 2 {
        at -= bytes;
        edges.push(at);
        bytes = (bytes * 2).min(most);
    }
    edges.reverse();
    edges
}

/// The next record that begins after an offset, and its time; `None` if none is found near.
fn record_after(file: &File, at: u64, format: Format, peek: &mut [u8]) -> Option<(u64, i64)> {
    PEEK_BYTES.into_iter().find_map(|bytes| {
        let n = source::read_full_at(file, &mut peek[..bytes], at).ok()?;
        let line = memchr::memchr(b'\n', &peek[..n])? + 1;
        let time = first_time(&peek[line..n], format)?;
        Some((at + line as u64, time))
    })
}
