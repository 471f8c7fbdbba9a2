//! Answers as JSON, written straight from the values in pieces of bounded size.
//!
//! ```text
//! {"status":"success","data":{"resultType":"streams","encodingFlags":[..],"result":[..],"stats":{..}}}
//! ```
//!
//! `encodingFlags` has to come before `result`: Grafana's decoder reads `data` in one pass.

use logql::pipeline::Category;
use logql::value::{EntryLabels, Logs, Matrix, SeriesLabels, Value};
use wire::json::{push_integer, push_object, push_seconds, push_string, push_value};
use wire::{LabelSet, Labels};

use crate::api::QueryStats;

/// Size from which a piece of a body is handed on, bytes.
pub(super) const PIECE: usize = 64 << 10;

/// Nobody reads the body any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Collects a body and hands it on in pieces of at least [`PIECE`] bytes (plus one entry).
pub(super) struct Pieces<'a> {
    buf: Vec<u8>,
    send: &'a mut dyn FnMut(Vec<u8>) -> Result<(), Gone>,
}

impl<'a> Pieces<'a> {
    pub(super) fn new(send: &'a mut dyn FnMut(Vec<u8>) -> Result<(), Gone>) -> Pieces<'a> {
        Pieces {
            buf: Vec::with_capacity(1024),
            send,
        }
    }

    fn text(&mut self, text: &str) {
        self.buf.extend_from_slice(text.as_bytes());
    }

    /// A place between two entries, where a piece may end.
    fn step(&mut self) -> Result<(), Gone> {
        if self.buf.len() < PIECE {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.buf, Vec::with_capacity(PIECE + PIECE / 8));
        (self.send)(full)
    }

    /// What is left.
    pub(super) fn finish(self) -> Vec<u8> {
        self.buf
    }
}

/// How the labels of a log answer are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// All labels are the stream's; rows are time and line.
    Folded,
    /// The flag `categorize-labels`: the stream has its own labels only, rows carry the others.
    Categorized,
    /// The flag `categorize-labels` as Loki answers it without its query frontend: the stream has all labels, rows
    /// carry the others once more.
    Both,
}

/// Time that a query took, seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Timing {
    pub(super) queue: f64,
    pub(super) exec: f64,
}

/// Writes the answer of `query` or `query_range`.
///
/// # Errors
/// [`Gone`] when a piece could not be handed on.
pub(super) fn answer(
    out: &mut Pieces<'_>,
    value: &Value,
    shape: Shape,
    stats: &QueryStats,
    timing: Timing,
) -> Result<(), Gone> {
    out.text(r#"{"status":"success","data":{"resultType":"#);
    match value {
        Value::Logs(value) => {
            out.text("\"streams\",");
            if shape != Shape::Folded {
                out.text(r#""encodingFlags":["categorize-labels"],"#);
            }
            out.text("\"result\":[");
            streams(out, value, shape)?;
            out.text("]");
        }
        Value::Matrix(value) => {
            out.text("\"matrix\",\"result\":[");
            matrix(out, value)?;
            out.text("]");
        }
        Value::Vector(value) => {
            out.text("\"vector\",\"result\":[");
            vector(out, value)?;
            out.text("]");
        }
        Value::Scalar(ts, value) => {
            out.text("\"scalar\",\"result\":");
            sample(&mut out.buf, *ts, *value);
        }
    }
    out.text(",\"stats\":");
    write_stats(&mut out.buf, stats, timing);
    out.text("}}\n");
    Ok(())
}

fn streams(out: &mut Pieces<'_>, logs: &Logs, shape: Shape) -> Result<(), Gone> {
    let by_stream = group(logs, shape);
    let mut first = true;
    for (set, rows) in by_stream {
        out.text(if first { "" } else { "," });
        first = false;
        out.text("{\"stream\":");
        push_object(&mut out.buf, shown(&logs.label_sets[set], shape));
        out.text(",\"values\":[");
        for (i, row) in rows.iter().enumerate() {
            let entry = &logs.entries[*row as usize];
            out.text(if i > 0 { ",[\"" } else { "[\"" });
            push_integer(&mut out.buf, entry.ts);
            out.text("\",");
            push_string(&mut out.buf, &entry.line);
            if shape != Shape::Folded {
                out.text(",");
                categories(&mut out.buf, &logs.label_sets[entry.labels as usize]);
            }
            out.text("]");
            out.step()?;
        }
        out.text("]}");
    }
    Ok(())
}

/// The labels that a stream object shows.
fn shown(labels: &EntryLabels, shape: Shape) -> impl Iterator<Item = (&str, &str)> {
    labels
        .iter()
        .filter(move |(_, _, category)| {
            shape != Shape::Categorized || *category == Category::Stream
        })
        .map(|(name, value, _)| (name, value))
}

/// Rows by stream: a label set that shows the stream's labels, and indexes of entries in their order. Streams are in
/// the order of their text, as Loki has them.
fn group(logs: &Logs, shape: Shape) -> Vec<(usize, Vec<u32>)> {
    let mut order: Vec<usize> = (0..logs.label_sets.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&logs.label_sets[*a], &logs.label_sets[*b]);
        shown(a, shape).cmp(shown(b, shape))
    });
    let mut stream_of = vec![0; logs.label_sets.len()];
    let mut groups: Vec<(usize, Vec<u32>)> = Vec::new();
    for set in order {
        let same = groups.last().is_some_and(|(last, _)| {
            shown(&logs.label_sets[*last], shape).eq(shown(&logs.label_sets[set], shape))
        });
        if !same {
            groups.push((set, Vec::new()));
        }
        stream_of[set] = groups.len() - 1;
    }
    for (i, entry) in logs.entries.iter().enumerate() {
        groups[stream_of[entry.labels as usize]].1.push(i as u32);
    }
    groups.retain(|(_, rows)| !rows.is_empty());
    groups
}

fn categories(out: &mut Vec<u8>, labels: &EntryLabels) {
    out.push(b'{');
    let mut first = true;
    for (name, category) in [
        ("structuredMetadata", Category::Metadata),
        ("parsed", Category::Parsed),
    ] {
        let of = || {
            let same = labels.iter().filter(move |(_, _, c)| *c == category);
            same.map(|(name, value, _)| (name, value))
        };
        if of().next().is_none() {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        push_string(out, name.as_bytes());
        out.push(b':');
        push_object(out, of());
    }
    out.push(b'}');
}

fn matrix(out: &mut Pieces<'_>, matrix: &Matrix) -> Result<(), Gone> {
    let with_points = matrix.series.iter().filter(|s| !s.points.is_empty());
    for (i, series) in with_points.enumerate() {
        out.text(if i > 0 {
            ",{\"metric\":"
        } else {
            "{\"metric\":"
        });
        metric(&mut out.buf, &series.labels);
        out.text(",\"values\":[");
        for (i, (ts, value)) in series.points.iter().enumerate() {
            if i > 0 {
                out.buf.push(b',');
            }
            sample(&mut out.buf, *ts, *value);
            out.step()?;
        }
        out.text("]}");
    }
    Ok(())
}

fn vector(out: &mut Pieces<'_>, vector: &[(SeriesLabels, i64, f64)]) -> Result<(), Gone> {
    for (i, (labels, ts, value)) in vector.iter().enumerate() {
        out.text(if i > 0 {
            ",{\"metric\":"
        } else {
            "{\"metric\":"
        });
        metric(&mut out.buf, labels);
        out.text(",\"value\":");
        sample(&mut out.buf, *ts, *value);
        out.text("}");
        out.step()?;
    }
    Ok(())
}

fn metric(out: &mut Vec<u8>, labels: &SeriesLabels) {
    push_object(out, labels.iter().map(|(n, v)| (n.as_str(), v.as_str())));
}

fn sample(out: &mut Vec<u8>, ts: i64, value: f64) {
    out.push(b'[');
    push_seconds(out, ts);
    out.push(b',');
    push_value(out, value);
    out.push(b']');
}

/// Writes the answer of `labels` and `label/NAME/values`. Without values there is no `data`, as in Loki.
///
/// # Errors
/// [`Gone`] when a piece could not be handed on.
pub(super) fn strings(out: &mut Pieces<'_>, values: &[String]) -> Result<(), Gone> {
    out.text("{\"status\":\"success\"");
    for (i, value) in values.iter().enumerate() {
        out.text(if i > 0 { "," } else { ",\"data\":[" });
        push_string(&mut out.buf, value.as_bytes());
        out.step()?;
    }
    out.text(if values.is_empty() { "}\n" } else { "]}\n" });
    Ok(())
}

/// Writes the answer of `series`.
///
/// # Errors
/// [`Gone`] when a piece could not be handed on.
pub(super) fn series(out: &mut Pieces<'_>, sets: &[LabelSet]) -> Result<(), Gone> {
    out.text("{\"status\":\"success\",\"data\":[");
    for (i, set) in sets.iter().enumerate() {
        out.text(if i > 0 { "," } else { "" });
        push_object(&mut out.buf, Labels::iter(set.as_ref()));
        out.step()?;
    }
    out.text("]}\n");
    Ok(())
}

/// Numbers of `index/stats`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct IndexStats {
    pub(super) streams: u64,
    pub(super) chunks: u64,
    pub(super) bytes: u64,
    pub(super) entries: u64,
}

/// Writes the answer of `index/stats`.
pub(super) fn index_stats(out: &mut Pieces<'_>, stats: IndexStats) {
    let IndexStats {
        streams,
        chunks,
        bytes,
        entries,
    } = stats;
    out.text(&format!(
        r#"{{"streams":{streams},"chunks":{chunks},"bytes":{bytes},"entries":{entries}}}"#
    ));
    out.text("\n");
}

/// Writes the answer of `format_query`.
pub(super) fn formatted(out: &mut Pieces<'_>, query: &str) {
    out.text(r#"{"status":"success","data":"#);
    push_string(&mut out.buf, query.as_bytes());
    out.text("}\n");
}

/// What `format_query` answers to a query that does not parse.
pub(super) fn invalid_query(message: &str) -> String {
    let mut out = br#"{"status":"invalid-query","error":"#.to_vec();
    push_string(&mut out, message.as_bytes());
    out.extend_from_slice(b"}\n");
    String::from_utf8(out).expect("JSON of a text is text")
}

/// Loki's statistics of a query. Every count has to be an integer: logcli refuses the whole answer otherwise. What is not
/// known is 0. Blocks count as what Loki has from its store, raw entries of the head as what it has from ingesters.
fn write_stats(out: &mut Vec<u8>, stats: &QueryStats, timing: Timing) {
    let rate = |n: u64| (n as f64 / timing.exec.max(1e-6)) as u64;
    let (bytes, lines) = (stats.bytes_processed, stats.lines_processed);
    let summary = format!(
        concat!(
            r#"{{"summary":{{"bytesProcessedPerSecond":{},"linesProcessedPerSecond":{},"totalBytesProcessed":{},"#,
            r#""totalLinesProcessed":{},"execTime":{},"queueTime":{},"subqueries":0,"totalEntriesReturned":{},"#,
            r#""splits":0,"shards":0,"totalPostFilterLines":0,"totalStructuredMetadataBytesProcessed":0}},"#,
        ),
        rate(bytes),
        rate(lines),
        bytes,
        lines,
        timing.exec,
        timing.queue,
        stats.entries_returned,
    );
    let store = format!(
        concat!(
            r#""querier":{{"store":{{"totalChunksRef":{},"totalChunksDownloaded":{},"chunksDownloadTime":0,"#,
            r#""queryReferencedStructuredMetadata":false,"chunk":{{"headChunkBytes":0,"headChunkLines":0,"#,
            r#""decompressedBytes":{},"decompressedLines":{},"compressedBytes":{},"totalDuplicates":0}}}}}},"#,
        ),
        stats.chunks_matched,
        stats.chunks_read,
        stats.decompressed_bytes,
        stats.decompressed_lines,
        stats.compressed_bytes,
    );
    let ingester = format!(
        concat!(
            r#""ingester":{{"totalReached":0,"totalChunksMatched":0,"totalBatches":0,"totalLinesSent":0,"#,
            r#""store":{{"totalChunksRef":0,"totalChunksDownloaded":0,"chunksDownloadTime":0,"#,
            r#""chunk":{{"headChunkBytes":{},"headChunkLines":{},"decompressedBytes":0,"decompressedLines":0,"#,
            r#""compressedBytes":0,"totalDuplicates":0}}}}}}}}"#,
        ),
        stats.head_bytes, stats.head_lines,
    );
    for part in [summary, store, ingester] {
        out.extend_from_slice(part.as_bytes());
    }
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
