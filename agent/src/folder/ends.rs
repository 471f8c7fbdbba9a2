//! Whether a line is open where a part begins: whether the last record before it, of each stream, was partial.
//!
//! Plain files are looked at from the end, record by record; a compressed one has to be read. A stream that does not
//! occur in a whole file before counts as closed.

use std::fs::File;

use super::reading::Reading;
use super::source;
use super::tree::{Instance, LogFile};
use crate::frame::{Chains, cri, docker};

/// Bytes looked at once.
const WINDOW_BYTES: u64 = 256 << 10;
/// Words that a part has if it has records of the stream.
const WORDS: [&[u8]; 2] = [b"stdout", b"stderr"];

/// Whether lines of stdout and of stderr are open before part `index`.
pub(super) fn open_before(reading: &mut Reading, instance: &Instance, index: usize) -> [bool; 2] {
    let Some(before) = index.checked_sub(1) else {
        return [false, false];
    };
    let part = instance.parts[before];
    let file = &instance.files[part.file];
    let opened = match source::open(file) {
        Ok(opened) if !file.gz => opened,
        _ => return by_reading(reading, instance, before),
    };
    let end = part.to.unwrap_or(file.size);
    let mut last = Last {
        open: [None, None],
        end,
    };
    last.look(&opened, end.saturating_sub(WINDOW_BYTES));
    if !last.known()
        && last.end > 0
        && occurs(instance, index, last.open.map(|open| open.is_none()))
    {
        while !last.known()
            && last.end > 0
            && last.look(&opened, last.end.saturating_sub(WINDOW_BYTES))
        {}
    }
    last.open.map(|open| open == Some(true))
}

/// The state at the end of a part, by reading all of it.
fn by_reading(reading: &mut Reading, instance: &Instance, index: usize) -> [bool; 2] {
    let mut chains: Chains = [None, None];
    // Without an answer there is nothing that could fail.
    let read = reading.one(instance, index, None, &mut chains, &mut |_| Ok(()));
    if read.is_err() {
        return [false, false];
    }
    let open = [chains[0].is_some(), chains[1].is_some()];
    reading.forget(&mut chains);
    open
}

/// Whether a part may have records of one of these streams; a compressed one may.
fn occurs(instance: &Instance, index: usize, streams: [bool; 2]) -> bool {
    let part = instance.parts[index];
    let file = &instance.files[part.file];
    let Some(opened) = source::open(file).ok().filter(|_| !file.gz) else {
        return true;
    };
    let finders = [0, 1].map(|s| streams[s].then(|| memchr::memmem::Finder::new(WORDS[s])));
    let (mut at, end) = (part.from, part.to.unwrap_or(file.size));
    let mut window = vec![0; WINDOW_BYTES as usize];
    while at < end {
        let Ok(n) = source::read_full_at(&opened, &mut window, at) else {
            return true;
        };
        if n == 0 {
            break;
        }
        if finders
            .iter()
            .flatten()
            .any(|f| f.find(&window[..n]).is_some())
        {
            return true;
        }
        // A word may lie across the windows' edge.
        at += n as u64 - if n > 8 && at + (n as u64) < end { 8 } else { 0 };
    }
    false
}

/// The last records before an offset.
struct Last {
    /// Whether the last record of a stream was partial, once there was one.
    open: [Option<bool>; 2],
    /// What lies before this has not been looked at.
    end: u64,
}

impl Last {
    fn known(&self) -> bool {
        self.open.iter().all(Option::is_some)
    }

    /// Looks at the records that end in `from..self.end`; whether there is more to look at.
    fn look(&mut self, file: &File, from: u64) -> bool {
        let mut window = vec![0; (self.end - from) as usize];
        let Ok(n) = source::read_full_at(file, &mut window, from) else {
            self.end = 0;
            return false;
        };
        let mut bytes = &window[..n];
        if from > 0 {
            // The line that begins before the window is the next one's.
            match memchr::memchr(b'\n', bytes).filter(|at| at + 1 < n) {
                Some(at) => {
                    self.end = from + at as u64 + 1;
                    bytes = &bytes[at + 1..];
                }
                // A record longer than the window, or the end of one: what it is stays unknown.
                None => {
                    self.end = from;
                    return true;
                }
            }
        } else {
            self.end = 0;
        }
        let mut cache = cri::TimeCache::new();
        while !self.known()
            && let Some(end) = memchr::memrchr(b'\n', bytes)
        {
            let start = memchr::memrchr(b'\n', &bytes[..end]).map_or(0, |at| at + 1);
            let line = &bytes[start..end];
            if !line.iter().all(|b| *b == 0) {
                let (stream, open) = state_of(line, &mut cache);
                self.open[stream].get_or_insert(open);
            }
            bytes = &bytes[..start];
        }
        self.end > 0
    }
}

/// A record's stream, and whether its line goes on after it. What is no record ends a line of stdout.
fn state_of(line: &[u8], cache: &mut cri::TimeCache) -> (usize, bool) {
    if line.first() == Some(&b'{')
        && let Some(record) = docker::parse(line, cache)
    {
        let mut text = Vec::new();
        docker::unescape(record.raw, &mut text);
        return (record.stream, !text.ends_with(b"\n"));
    }
    match cri::parse(line, cache) {
        Some(record) => (record.stream, !record.full),
        None => (0, false),
    }
}

/// The time of the newest line of an instance, looking at its last part that has lines.
pub(super) fn newest(reading: &mut Reading, instance: &Instance) -> Option<i64> {
    for index in (0..instance.parts.len()).rev() {
        let mut chains: Chains = [None, None];
        let mut newest = None;
        let _ = reading.one(instance, index, None, &mut chains, &mut |lines| {
            newest = newest.max(lines.map(|line| line.ts).max());
            Ok(())
        });
        let open = chains.iter().flatten().map(|chain| chain.ts).max();
        newest = newest.max(open);
        reading.forget(&mut chains);
        if newest.is_some() {
            return newest;
        }
    }
    None
}

/// The time of the oldest line of an instance, as its first records show it.
pub(super) fn oldest(instance: &Instance) -> Option<i64> {
    let known = |file: &LogFile, low: i64| if low == i64::MIN { file.modified } else { low };
    let parts = instance.parts.iter();
    parts
        .map(|part| known(&instance.files[part.file], part.low))
        .min()
}
