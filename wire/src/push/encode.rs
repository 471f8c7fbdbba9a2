//! Entries as a push body: a protobuf `PushRequest`, compressed in snappy's block format.
//!
//! ```text
//! PushRequest := (1: Stream)*
//! Stream      := 1: labels, text such as {app="x", pod="y"}   (2: Entry)*
//! Entry       := 1: Timestamp { 1: seconds, 2: nanos }   2: line, any bytes   (3: LabelPair { 1: name, 2: value })*
//! ```
//!
//! The messages are so few and so flat that they are written by hand: an entry goes from the read buffer into the body
//! with one copy and no allocation. [`entry`] appends to a buffer of one's own, [`stream`] puts the head of a stream
//! before entries encoded so, [`compress`] makes the body. [`halves`] takes a body apart that was too large.

use crate::entry::Entry;
use crate::labels::Labels;

/// Tags: field number and wire type 2 (length-delimited), or 0 (varint) for the two parts of a timestamp.
const STREAM: u8 = 1 << 3 | 2;
const LABELS: u8 = 1 << 3 | 2;
const ENTRY: u8 = 2 << 3 | 2;
const TIMESTAMP: u8 = 1 << 3 | 2;
const LINE: u8 = 2 << 3 | 2;
const METADATA: u8 = 3 << 3 | 2;
const SECONDS: u8 = 1 << 3;
const NANOS: u8 = 2 << 3;
const NAME: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;

/// Appends one entry, as a field of a stream.
pub fn entry(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let seconds = entry.ts.div_euclid(1_000_000_000) as u64;
    let nanos = entry.ts.rem_euclid(1_000_000_000) as u64;
    // A zero is the default and left out, as every encoder does.
    let part = |n: u64| if n == 0 { 0 } else { 1 + varint_len(n) };
    let time = part(seconds) + part(nanos);
    let pairs = entry
        .metadata
        .iter()
        .map(|(n, v)| field_len(pair_len(n, v)));
    let len = field_len(time) + field_len(entry.line.len()) + pairs.sum::<usize>();
    out.reserve(field_len(len));
    head(out, ENTRY, len);
    head(out, TIMESTAMP, time);
    for (tag, n) in [(SECONDS, seconds), (NANOS, nanos)] {
        if n != 0 {
            out.push(tag);
            varint(out, n);
        }
    }
    bytes(out, LINE, entry.line);
    for (name, value) in entry.metadata.iter() {
        head(out, METADATA, pair_len(name, value));
        bytes(out, NAME, name.as_bytes());
        bytes(out, VALUE, value.as_bytes());
    }
}

/// Bytes that [`stream`] adds before `entries` bytes of entries.
#[must_use]
pub fn stream_len(labels: &str, entries: usize) -> usize {
    let len = field_len(labels.len()) + entries;
    field_len(len) - entries
}

/// Appends the head of a stream; exactly `entries` bytes of its entries must follow.
pub fn stream(labels: &str, entries: usize, out: &mut Vec<u8>) {
    head(out, STREAM, field_len(labels.len()) + entries);
    bytes(out, LABELS, labels.as_bytes());
}

/// Appends the text of a label set as Prometheus's and Loki's parsers read it: Go's quoting.
pub fn labels_text(labels: Labels<'_>, out: &mut String) {
    out.push('{');
    for (i, (name, value)) in labels.iter().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        out.push_str(name);
        out.push_str("=\"");
        for c in value.chars() {
            match c {
                '"' => out.push_str("\\\""),
                '\\' => out.push_str("\\\\"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                '\t' => out.push_str("\\t"),
                c if u32::from(c) < 0x20 || c == '\x7f' => {
                    const HEX: &[u8; 16] = b"0123456789abcdef";
                    let b = c as usize;
                    out.push_str("\\x");
                    out.push(char::from(HEX[b >> 4]));
                    out.push(char::from(HEX[b & 15]));
                }
                c => out.push(c),
            }
        }
        out.push('"');
    }
    out.push('}');
}

/// The body of a request: snappy's block format.
///
/// # Panics
/// Beyond 4 GiB, the format's limit.
#[must_use]
pub fn compress(request: &[u8]) -> Vec<u8> {
    let compressed = snap::raw::Encoder::new().compress_vec(request);
    let mut body = compressed.expect("a batch is far below 4 GiB");
    // It was made as long as the worst case.
    body.shrink_to_fit();
    body
}

/// Bytes of a request before it was compressed; 0 if the body is none of ours.
#[must_use]
pub fn request_len(body: &[u8]) -> usize {
    snap::raw::decompress_len(body).unwrap_or(0)
}

/// Takes a body of [`compress`] apart: two bodies with half of the entries each, in order. `None` with fewer than two
/// entries, or if it is none of ours.
#[must_use]
pub fn halves(body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let request = snap::raw::Decoder::new().decompress_vec(body).ok()?;
    let half = entries(&request)? / 2;
    if half == 0 {
        return None;
    }
    let mut parts = (Vec::new(), Vec::new());
    let (mut rest, mut seen) = (&request[..], 0);
    while !rest.is_empty() {
        let mut inner = take(&mut rest, STREAM)?;
        let labels = std::str::from_utf8(take(&mut inner, LABELS)?).ok()?;
        let (mut cut, mut after) = (0, inner);
        while !after.is_empty() && seen < half {
            take(&mut after, ENTRY)?;
            cut = inner.len() - after.len();
            seen += 1;
        }
        for (part, entries) in [(&mut parts.0, &inner[..cut]), (&mut parts.1, &inner[cut..])] {
            if !entries.is_empty() {
                stream(labels, entries.len(), part);
                part.extend_from_slice(entries);
            }
        }
    }
    Some((compress(&parts.0), compress(&parts.1)))
}

/// Counts the entries of a request.
fn entries(mut request: &[u8]) -> Option<u64> {
    let mut n = 0;
    while !request.is_empty() {
        let mut inner = take(&mut request, STREAM)?;
        take(&mut inner, LABELS)?;
        while !inner.is_empty() {
            take(&mut inner, ENTRY)?;
            n += 1;
        }
    }
    Some(n)
}

/// Takes one field with this tag.
fn take<'a>(rest: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let (&first, mut tail) = rest.split_first()?;
    let mut len = 0u64;
    for shift in (0..35).step_by(7) {
        let (&b, after) = tail.split_first()?;
        tail = after;
        len |= u64::from(b & 0x7f) << shift;
        if b & 0x80 == 0 {
            let (field, after) = tail.split_at_checked(usize::try_from(len).ok()?)?;
            *rest = after;
            return (first == tag).then_some(field);
        }
    }
    None
}

fn pair_len(name: &str, value: &str) -> usize {
    field_len(name.len()) + field_len(value.len())
}

/// Bytes of a field with one byte of tag and this much inside.
fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn head(out: &mut Vec<u8>, tag: u8, len: usize) {
    out.push(tag);
    varint(out, len as u64);
}

fn bytes(out: &mut Vec<u8>, tag: u8, value: &[u8]) {
    head(out, tag, value.len());
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Seven bits a byte.
fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::labels::LabelSet;
    use proptest::prelude::*;

    fn set(pairs: &[(&str, &str)]) -> LabelSet {
        LabelSet::from_pairs(pairs.iter().copied()).unwrap()
    }

    fn encoded(ts: i64, line: &[u8], metadata: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        let metadata = set(metadata);
        let metadata = metadata.as_ref();
        entry(
            &Entry {
                stream: 0,
                ts,
                line,
                metadata,
            },
            &mut out,
        );
        out
    }

    /// A request with one stream for each list of entries.
    fn request(streams: &[(&str, Vec<Vec<u8>>)]) -> Vec<u8> {
        let mut out = Vec::new();
        for (labels, entries) in streams {
            let len = entries.iter().map(Vec::len).sum();
            let before = out.len();
            stream(labels, len, &mut out);
            assert_eq!(out.len() - before, stream_len(labels, len));
            entries.iter().for_each(|e| out.extend_from_slice(e));
        }
        out
    }

    #[test]
    fn entries_have_the_bytes_that_protobuf_has() {
        // Put together by hand from the encoding's description.
        let got = encoded(1_700_000_000_000_000_001, b"hi", &[("a", "b")]);
        let want =
            b"\x12\x16\x0a\x08\x08\x80\xe2\xcf\xaa\x06\x10\x01\x12\x02hi\x1a\x06\x0a\x01a\x12\x01b";
        assert_eq!(got, want);
        assert_eq!(encoded(0, b"", &[]), b"\x12\x04\x0a\x00\x12\x00");
        // One nanosecond before 1970 is second -1 (ten bytes) and 999,999,999 ns.
        let got = encoded(-1, b"", &[]);
        let want = b"\x12\x15\x0a\x11\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x10\xff\x93\xeb\xdc\x03\x12\x00";
        assert_eq!(got, want);
    }

    #[test]
    fn label_texts_are_quoted_as_go_does() {
        let check = |value: &str, want: &str| {
            let mut out = String::new();
            labels_text(set(&[("b", "2"), ("a", value)]).as_ref(), &mut out);
            assert_eq!(out, format!("{{a=\"{want}\", b=\"2\"}}"));
        };
        check("x", "x");
        check("a\"b\\c", "a\\\"b\\\\c");
        check("l\nr\rt\t", "l\\nr\\rt\\t");
        check("\u{1}\u{7f}", "\\x01\\x7f");
        check("\u{e9}", "\u{e9}");
        let mut out = String::new();
        labels_text(set(&[]).as_ref(), &mut out);
        assert_eq!(out, "{}");
    }

    #[test]
    fn a_body_is_halved_down_to_single_entries() {
        let line = |n: u8| encoded(i64::from(n), &[n], &[]);
        let a = "{a=\"1\"}";
        let b = "{b=\"1\"}";
        let whole = compress(&request(&[
            (a, vec![line(1), line(2), line(3)]),
            (b, vec![line(4)]),
        ]));
        let (first, second) = halves(&whole).unwrap();
        assert_eq!(first, compress(&request(&[(a, vec![line(1), line(2)])])));
        assert_eq!(
            second,
            compress(&request(&[(a, vec![line(3)]), (b, vec![line(4)])]))
        );
        let (third, fourth) = halves(&second).unwrap();
        assert_eq!(third, compress(&request(&[(a, vec![line(3)])])));
        assert_eq!(fourth, compress(&request(&[(b, vec![line(4)])])));
        assert_eq!(halves(&third), None);
        assert_eq!(halves(&compress(b"")), None);
    }

    proptest! {
        #[test]
        fn p9_any_bytes_are_halved_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = halves(&bytes);
            let _ = halves(&compress(&bytes));
        }

        #[test]
        fn halves_hold_every_entry_in_order(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 2..20)) {
            let entries: Vec<Vec<u8>> = lines.iter().map(|l| encoded(1 << 60, l, &[("x", "y")])).collect();
            let (first, second) = halves(&compress(&request(&[("{}", entries.clone())]))).unwrap();
            let (left, right) = entries.split_at(entries.len() / 2);
            prop_assert_eq!(first, compress(&request(&[("{}", left.to_vec())])));
            prop_assert_eq!(second, compress(&request(&[("{}", right.to_vec())])));
        }
    }
}
