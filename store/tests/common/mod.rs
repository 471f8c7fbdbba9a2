//! A store with two sources whose positions say how many batches were taken, so that what is durable can be checked
//! exactly: the entries must be those of the first `k` batches of each source, `k` being its position.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test binary uses its own part of this module"
)]

#[path = "../../src/clock_sim.rs"]
pub mod clock_sim;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use disk::Disk;
use disk::sim::SimDisk;
use store::api::{AppendError, OpenError, Options, Store, Tuning};
use store::block::{Column, Decoder, Metadata};
use store::clock::{Clock, Kept};
use store::segment::{self, Chunk, Reader, SegmentError};
use wire::{Batch, Entry, LabelSet, SourcePosition};

/// Data directory on the simulated disk.
pub const DIR: &str = "/data";
/// Sources, each with its own position.
pub const SOURCES: [&str; 2] = ["pods/a/c/0", "pods/b/c/0"];

/// Source and batch number, line by line: what an entry says of itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// Name of the stream.
    pub stream: String,
    /// Nanoseconds.
    pub ts: i64,
    /// The line.
    pub line: String,
}

/// Batches taken of each source.
pub type Taken = [u64; 2];

/// Options that flush only when asked.
pub fn options(disk: &SimDisk) -> Options {
    Options {
        head_bytes: 1 << 20,
        tuning: Tuning {
            flush_interval: Duration::from_secs(86_400),
            query_memory: 64 << 20,
            ..Tuning::default()
        },
        ..Options::new(DIR, Arc::new(disk.clone()))
    }
}

/// Opens the store.
pub fn open(disk: &SimDisk) -> Result<Store, OpenError> {
    Store::open(options(disk))
}

/// The entries of a source's batch: a loud stream and a quiet one.
pub fn batch_items(source: usize, number: u64) -> Vec<Item> {
    let mut items = Vec::new();
    for i in 0..5 + number % 7 {
        let stream = if i % 4 == 3 { "quiet" } else { "loud" };
        items.push(Item {
            stream: format!("{stream}-{source}"),
            ts: 1_700_000_000_000_000_000 + (number * 100 + i / 2) as i64 * 250_000_000,
            line: format!(
                "source {source} batch {number} entry {i} {}",
                "x".repeat((i * 37 % 200) as usize)
            ),
        });
    }
    items
}

/// Appends one batch of a source.
pub fn append(store: &Store, source: usize, number: u64) -> Result<(), AppendError> {
    append_items(store, source, number, &batch_items(source, number))
}

/// Appends items as batch `number` of a source.
pub fn append_items(
    store: &Store,
    source: usize,
    number: u64,
    items: &[Item],
) -> Result<(), AppendError> {
    let mut names: Vec<&str> = items.iter().map(|item| item.stream.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let sets: Vec<LabelSet> = names
        .iter()
        .map(|name| LabelSet::from_pairs([("job", "test"), ("name", name)]).expect("labels"))
        .collect();
    let metadata = LabelSet::from_pairs([("detected_level", "info")]).expect("metadata");
    let entries: Vec<Entry<'_>> = items
        .iter()
        .map(|item| Entry {
            stream: names
                .iter()
                .position(|n| **n == item.stream)
                .expect("listed") as u32,
            ts: item.ts,
            line: item.line.as_bytes(),
            metadata: metadata.as_ref(),
        })
        .collect();
    let position = number.to_le_bytes();
    store.append(&Batch {
        streams: &sets.iter().collect::<Vec<_>>(),
        entries: &entries,
        source: Some(SourcePosition {
            key: SOURCES[source].as_bytes(),
            position: Some(&position),
        }),
    })
}

/// The positions as numbers of batches.
pub fn taken(positions: &[(Vec<u8>, Vec<u8>)]) -> Taken {
    let table: BTreeMap<&[u8], u64> = positions
        .iter()
        .map(|(key, position)| {
            let number = position.as_slice().try_into().expect("eight bytes");
            (key.as_slice(), u64::from_le_bytes(number))
        })
        .collect();
    SOURCES.map(|source| table.get(source.as_bytes()).copied().unwrap_or(0))
}

/// Everything that `taken` batches hold, sorted.
pub fn wanted(taken: Taken) -> Vec<Item> {
    let mut items: Vec<Item> = (0..SOURCES.len())
        .flat_map(|source| (1..=taken[source]).flat_map(move |n| batch_items(source, n)))
        .collect();
    items.sort();
    items
}

/// Segment files, in order.
pub fn segment_files(disk: &SimDisk) -> Vec<PathBuf> {
    let files = disk.files().into_iter();
    let segment = |path: &PathBuf| {
        let name = path.file_name().and_then(|n| n.to_str());
        name.and_then(segment::parse_name).is_some()
    };
    files.filter(segment).collect()
}

/// What could be read of a segment, and what could not.
#[derive(Debug, Default)]
pub struct Content {
    /// Entries.
    pub items: Vec<Item>,
    /// Errors of single blocks.
    pub damaged_blocks: usize,
}

/// Reads a segment by itself, without a store.
pub fn read_segment(disk: &dyn Disk, path: &Path) -> Result<Content, SegmentError> {
    let reader = Reader::open(disk, path)?;
    let streams = reader.streams()?;
    let chunks = reader.chunks()?;
    let mut content = Content::default();
    for chunk in &chunks {
        match read_chunk(&reader, chunk, &streams) {
            Ok(items) => content.items.extend(items),
            Err(_) => content.damaged_blocks += 1,
        }
    }
    Ok(content)
}

fn read_chunk(
    reader: &Reader,
    chunk: &Chunk,
    streams: &[LabelSet],
) -> Result<Vec<Item>, Box<dyn std::error::Error>> {
    let mut bytes = Vec::new();
    let header = reader.block(chunk, &mut bytes)?;
    let mut decoder = Decoder::new()?;
    let (mut times, mut lengths, mut lines) = (Vec::new(), Vec::new(), Vec::new());
    let mut metadata = Metadata::default();
    decoder.times(&header, header.column(&bytes, Column::Times)?, &mut times)?;
    decoder.lines(&header, header.column(&bytes, Column::Lines)?, &mut lines)?;
    decoder.lengths(
        &header,
        header.column(&bytes, Column::Lengths)?,
        &lines,
        &mut lengths,
    )?;
    let column = header.column(&bytes, Column::Metadata)?;
    decoder.metadata(&header, column, &mut metadata)?;
    let stream = streams.get(chunk.stream as usize).ok_or("no such stream")?;
    let name = stream.as_ref().get("name").ok_or("no name")?.to_owned();
    let mut at = 0;
    let mut items = Vec::new();
    for (i, (ts, len)) in times.iter().zip(&lengths).enumerate() {
        let line = &lines[at..at + *len as usize];
        at += *len as usize + 1;
        if (chunk.first..chunk.first + chunk.entries).contains(&(i as u32)) {
            items.push(Item {
                stream: name.clone(),
                ts: *ts,
                line: String::from_utf8(line.to_vec())?,
            });
        }
    }
    Ok(items)
}

/// All entries on the disk, sorted.
pub fn durable(disk: &SimDisk) -> Vec<Item> {
    let mut items = Vec::new();
    for path in segment_files(disk) {
        let content = read_segment(disk, &path).expect("a committed segment is whole");
        assert_eq!(content.damaged_blocks, 0, "{}", path.display());
        items.extend(content.items);
    }
    items.sort();
    items
}

/// Sends what is missing up to `until`, as the agent does after a start, and flushes.
pub fn catch_up(store: &Store, until: Taken) -> std::io::Result<()> {
    let from = taken(&store.positions());
    for source in 0..SOURCES.len() {
        for number in from[source] + 1..=until[source] {
            append(store, source, number).map_err(std::io::Error::other)?;
        }
    }
    store.flush()
}

/// First difference of two sorted lists, for messages.
pub fn difference(found: &[Item], wanted: &[Item]) -> Option<String> {
    if found == wanted {
        return None;
    }
    let lost = wanted.iter().filter(|item| !found.contains(item));
    let lost: Vec<_> = lost.take(3).collect();
    let strange = found.iter().filter(|item| !wanted.contains(item));
    let strange: Vec<_> = strange.take(3).collect();
    Some(format!(
        "{} found, {} wanted; lost {lost:?}; strange {strange:?}",
        found.len(),
        wanted.len()
    ))
}
