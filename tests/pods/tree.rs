//! A tree of invented pod logs as it lies on a node: rotated, compressed, with lines in pieces, times in the past.
#![expect(
    clippy::disallowed_methods,
    reason = "stands for the kubelet, whose files are not ours"
)]

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use crate::util::Rng;

/// Nanoseconds of a second.
pub(crate) const SECOND: i64 = 1_000_000_000;
const STREAMS: [&str; 2] = ["stdout", "stderr"];

/// A record as it stands in a file.
pub(crate) struct Record {
    pub(crate) ts: i64,
    pub(crate) stream: usize,
    pub(crate) full: bool,
    pub(crate) text: Vec<u8>,
}

/// How a file's records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    Cri,
    Docker,
}

/// One container instance.
pub(crate) struct Spec<'a> {
    pub(crate) pod: &'a str,
    pub(crate) container: &'a str,
    pub(crate) restart: u32,
    pub(crate) shape: Shape,
    pub(crate) lines: usize,
    /// Files that it is spread over, the live one included.
    pub(crate) files: usize,
    /// How long texts are about, bytes.
    pub(crate) width: u64,
}

/// `2026-11-20T09:27:56.123456789Z`
pub(crate) fn time(ns: i64) -> String {
    let (days, second) = (
        (ns / SECOND).div_euclid(86_400),
        (ns / SECOND).rem_euclid(86_400),
    );
    // Days since 2026-01-01, whose months are those of any year without a leap day.
    let mut day = days - 20_454;
    let mut month = 0;
    for length in [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    format!(
        "2026-{:02}-{:02}T{:02}:{:02}:{:02}.{:09}Z",
        month + 1,
        day + 1,
        second / 3600,
        second / 60 % 60,
        second % 60,
        ns % SECOND
    )
}

/// Bytes of records.
pub(crate) fn bytes(records: &[Record], shape: Shape) -> Vec<u8> {
    let mut out = Vec::new();
    for r in records {
        let stream = STREAMS[r.stream];
        match shape {
            Shape::Cri => {
                let tag = if r.full { 'F' } else { 'P' };
                write!(out, "{} {stream} {tag} ", time(r.ts)).unwrap();
                out.extend_from_slice(&r.text);
                out.push(b'\n');
            }
            Shape::Docker => {
                let mut text = String::from_utf8_lossy(&r.text).into_owned();
                if r.full {
                    text.push('\n');
                }
                let value = serde_json::json!({"log": text, "stream": stream, "time": time(r.ts)});
                writeln!(out, "{value}").unwrap();
            }
        }
    }
    out
}

/// Invented records, `lines` whole lines in all; the first is at `start`, the last about `spread` later.
pub(crate) fn records(rng: &mut Rng, spec: &Spec<'_>, start: i64, spread: i64) -> Vec<Record> {
    let mut records = Vec::new();
    let mut ts = start;
    let mut open = [0u64; 2];
    let mut made = 0;
    while made < spec.lines || open != [0, 0] {
        // Some runtimes stamp all lines of one read alike.
        if !rng.chance(15) {
            ts += rng.range(1, 2 * spread as u64 / spec.lines as u64) as i64;
        }
        let mut stream = usize::from(rng.chance(25));
        if made >= spec.lines {
            stream = usize::from(open[0] == 0);
        } else if open[stream] == 0 && rng.chance(6) {
            open[stream] = rng.range(2, 6);
        }
        let full = open[stream] <= 1;
        open[stream] = open[stream].saturating_sub(1);
        let text = text(rng, made, spec.width, full);
        made += usize::from(full && made < spec.lines);
        records.push(Record {
            ts,
            stream,
            full,
            text,
        });
    }
    records
}

fn text(rng: &mut Rng, n: usize, width: u64, full: bool) -> Vec<u8> {
    let level = ["info", "warn", "error", "debug", "none"][rng.range(0, 5) as usize];
    let status = [200, 204, 404, 500][rng.range(0, 4) as usize];
    let took = rng.range(1, 900);
    let mut text = match rng.range(0, 8) {
        0..=2 => format!(r#"{{"level":"{level}","status":{status},"took":{took},"n":{n}}}"#),
        3..=4 => {
            format!(r#"level={level} status={status} took={took} msg="step {n} of the \"plan\"""#)
        }
        5 => format!("GET /items/{n} {status} {took}ms"),
        6 => format!("ERROR: unit {n} failed after {took} tries"),
        _ => String::new(),
    }
    .into_bytes();
    if rng.chance(3) {
        text.extend_from_slice(b" \xff\xfe broken \xc3");
    }
    if !full || rng.chance(2) {
        let more = rng.range(1, 40 * width);
        text.extend((0..more).map(|i| b"abcdefghij klmno"[(i % 16) as usize]));
    }
    text.resize(text.len() + rng.range(0, width) as usize, b'.');
    text
}

/// Writes an instance below `pods`: compressed files first, one plain rotated file, the live one. The number of lines.
pub(crate) fn write(pods: &Path, spec: &Spec<'_>, records: &[Record]) {
    let dir = pods.join(spec.pod).join(spec.container);
    fs::create_dir_all(&dir).unwrap();
    let size = records.len().div_ceil(spec.files);
    let parts: Vec<&[Record]> = records.chunks(size).collect();
    for (i, part) in parts.iter().enumerate() {
        let last = part.last().unwrap().ts;
        let live = format!("{}.log", spec.restart);
        let name = match parts.len() - 1 - i {
            0 => live,
            age => {
                let gz = if age > 1 { ".gz" } else { "" };
                format!("{live}.20261120-{:06}{gz}", 120_000 + i)
            }
        };
        put(&dir.join(name), &bytes(part, spec.shape), last);
    }
}

/// Writes a file, compressed if its name says so, last changed at `modified`.
pub(crate) fn put(path: &Path, bytes: &[u8], modified: i64) {
    let mut file = File::create(path).unwrap();
    if path.extension().is_some_and(|e| e == "gz") {
        file.write_all(&gzip(bytes)).unwrap();
    } else {
        file.write_all(bytes).unwrap();
    }
    let at = UNIX_EPOCH + Duration::from_nanos(modified as u64);
    file.set_modified(at).unwrap();
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A pod's directory with a container in it.
pub(crate) fn container(pods: &Path, pod: &str, container: &str) -> PathBuf {
    let dir = pods.join(pod).join(container);
    fs::create_dir_all(&dir).unwrap();
    dir
}
