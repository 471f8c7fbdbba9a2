//! Records of the push log: what one push, or the securing of some sources, leaves in it.
//!
//! ```text
//! record := header(80) body            body is packed like a column of a block
//! header := magic(4) kind(4) number(8) offset(8) previous(8) process(8) epoch(8)
//!           stored(4) raw(4) entries(4) 0(4) hash of body(8) hash of bytes 0 to 71(8)
//! body   := streams metadata groups    each a varint count and as many of
//!           label set | metadata set   varint length, bytes
//!           group := varint key length, key, [ epoch, position length, position: unless the key is empty ]
//!                    varint entries, per entry varints: stream, metadata, zigzag ts - ts of the entry before, length
//!                    the lines
//! ```
//!
//! - `offset` is the record's own logical offset, `previous` the header's hash of the record before it. So a record is
//!   known to follow another one, whatever older ones lie in the ring.
//! - `process` is drawn at random by each process: no two processes write the same record.
//! - A push has one group without key; secured sources have one for each epoch in which they have entries.

use wire::{LabelSet, Labels};

use crate::codec::{Cursor, put_varint, unzigzag, zigzag};

/// Bytes of a header.
pub(super) const HEADER_BYTES: usize = 80;
const MAGIC: [u8; 4] = *b"dLOG";
/// Most bytes of an unpacked body: a line of 1 MiB, its labels and metadata. A larger batch is refused.
pub(super) const RAW_BYTES_MAX: usize = 5 << 18;
/// Most bytes of a packed one: zstd may add a little to what does not compress.
const STORED_BYTES_MAX: usize = RAW_BYTES_MAX + RAW_BYTES_MAX / 128 + 64;
/// Numbers and offsets above this are damage: no log lives that long, and sums of them do not overflow.
const COUNT_MAX: u64 = 1 << 62;
/// Bytes that an entry takes beside its line, at most.
pub(super) const ENTRY_OVERHEAD_MAX: usize = 25;

/// What a record is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Entries of a push.
    Pushed,
    /// Unflushed entries of sources that ended.
    Secured,
}

/// The end of a record: where the next one joins the chain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tip {
    /// Number of the record; the first one has 1.
    pub(crate) number: u64,
    /// Logical offset behind it.
    pub(crate) offset: u64,
    /// Hash of its header.
    pub(crate) hash: u64,
}

impl Tip {
    /// As a position in segments.
    pub(crate) fn encode(self) -> [u8; 24] {
        let mut out = [0; 24];
        for (to, n) in out
            .chunks_exact_mut(8)
            .zip([self.number, self.offset, self.hash])
        {
            to.copy_from_slice(&n.to_le_bytes());
        }
        out
    }

    /// The inverse of [`Tip::encode`].
    pub(crate) fn decode(bytes: &[u8]) -> Option<Tip> {
        let mut cursor = Cursor::new(bytes);
        let tip = Tip {
            number: cursor.u64()?,
            offset: cursor.u64()?,
            hash: cursor.u64()?,
        };
        let sane = tip.number <= COUNT_MAX && tip.offset <= COUNT_MAX;
        (cursor.is_empty() && sane).then_some(tip)
    }
}

/// A decoded header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) previous: u64,
    pub(super) process: u64,
    /// Sequence of the segment that entries of a push will be in. Groups of sources have their own.
    pub(super) epoch: u64,
    /// Bytes of the packed body.
    pub(super) stored: u32,
    /// Bytes of the unpacked one.
    pub(super) raw: u32,
    pub(super) entries: u32,
    /// Hash of the packed body.
    pub(super) body: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        let kind = match self.kind {
            Kind::Pushed => 1u32,
            Kind::Secured => 2,
        };
        out[4..8].copy_from_slice(&kind.to_le_bytes());
        let words = [
            self.number,
            self.offset,
            self.previous,
            self.process,
            self.epoch,
            u64::from(self.stored) | u64::from(self.raw) << 32,
            u64::from(self.entries),
            self.body,
        ];
        for (to, n) in out[8..72].chunks_exact_mut(8).zip(words) {
            to.copy_from_slice(&n.to_le_bytes());
        }
        let hash = hash(&out[..72]);
        out[72..].copy_from_slice(&hash.to_le_bytes());
        out
    }

    /// The header, and its hash.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<(Header, u64)> {
        let mut cursor = Cursor::new(bytes);
        if cursor.take(4)? != MAGIC {
            return None;
        }
        let kind = match cursor.u32()? {
            1 => Kind::Pushed,
            2 => Kind::Secured,
            _ => return None,
        };
        let header = Header {
            kind,
            number: cursor.u64()?,
            offset: cursor.u64()?,
            previous: cursor.u64()?,
            process: cursor.u64()?,
            epoch: cursor.u64()?,
            stored: cursor.u32()?,
            raw: cursor.u32()?,
            entries: cursor.u64()? as u32,
            body: cursor.u64()?,
        };
        let sum = cursor.u64()?;
        let fits = header.stored as usize <= STORED_BYTES_MAX
            && header.raw as usize <= RAW_BYTES_MAX
            && header.number <= COUNT_MAX
            && header.offset <= COUNT_MAX;
        (sum == hash(&bytes[..72]) && fits).then_some((header, sum))
    }
}

/// The hash of headers and bodies.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(bytes)
}

/// An entry of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item<'a> {
    pub(super) stream: u32,
    pub(super) metadata: u32,
    pub(super) ts: i64,
    pub(super) line: &'a [u8],
}

/// A source whose entries a group holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupSource<'a> {
    pub(super) key: &'a [u8],
    /// Sequence of the segment that the entries will be in.
    pub(super) epoch: u64,
    /// How far into the source they reach.
    pub(super) position: &'a [u8],
}

/// Entries of one push, or of one source in one epoch.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group<'a> {
    pub(super) source: Option<GroupSource<'a>>,
    pub(super) items: Vec<Item<'a>>,
}

/// A decoded body.
#[derive(Debug, Default)]
pub(super) struct Body<'a> {
    pub(super) streams: Vec<LabelSet>,
    pub(super) metadata: Vec<Labels<'a>>,
    pub(super) groups: Vec<Group<'a>>,
}

/// Replaces `out` with a body.
pub(super) fn encode_body<'a>(
    streams: impl ExactSizeIterator<Item = &'a [u8]>,
    metadata: impl ExactSizeIterator<Item = &'a [u8]>,
    groups: &[Group<'_>],
    out: &mut Vec<u8>,
) {
    out.clear();
    put_varint(out, streams.len() as u64);
    streams.for_each(|set| put_bytes(out, set));
    put_varint(out, metadata.len() as u64);
    metadata.for_each(|set| put_bytes(out, set));
    put_varint(out, groups.len() as u64);
    for group in groups {
        match group.source {
            Some(source) => {
                put_bytes(out, source.key);
                put_varint(out, source.epoch);
                put_bytes(out, source.position);
            }
            None => put_varint(out, 0),
        }
        put_varint(out, group.items.len() as u64);
        let mut last = 0i64;
        for item in &group.items {
            put_varint(out, u64::from(item.stream));
            put_varint(out, u64::from(item.metadata));
            put_varint(out, zigzag(item.ts.wrapping_sub(last)));
            put_varint(out, item.line.len() as u64);
            last = item.ts;
        }
        for item in &group.items {
            out.extend_from_slice(item.line);
        }
    }
}

/// Reads a body; `None` when it is none.
pub(super) fn decode_body(raw: &[u8]) -> Option<Body<'_>> {
    let mut cursor = Cursor::new(raw);
    let mut body = Body::default();
    for _ in 0..count(&mut cursor)? {
        body.streams.push(take_set(&mut cursor)?.to_owned());
    }
    for _ in 0..count(&mut cursor)? {
        body.metadata.push(take_set(&mut cursor)?);
    }
    for _ in 0..count(&mut cursor)? {
        let key = take_bytes(&mut cursor)?;
        let source = match key {
            [] => None,
            key => Some(GroupSource {
                key,
                epoch: cursor.varint()?,
                position: take_bytes(&mut cursor)?,
            }),
        };
        let items = take_items(&mut cursor, body.streams.len(), body.metadata.len())?;
        body.groups.push(Group { source, items });
    }
    cursor.is_empty().then_some(body)
}

fn take_items<'a>(
    cursor: &mut Cursor<'a>,
    streams: usize,
    metadata: usize,
) -> Option<Vec<Item<'a>>> {
    let count = count(cursor)?;
    let mut items = Vec::new();
    let mut lengths = Vec::new();
    let mut last = 0i64;
    for _ in 0..count {
        let item = Item {
            stream: cursor.varint()?.try_into().ok()?,
            metadata: cursor.varint()?.try_into().ok()?,
            ts: last.wrapping_add(unzigzag(cursor.varint()?)),
            line: &[],
        };
        if item.stream as usize >= streams || item.metadata as usize >= metadata {
            return None;
        }
        lengths.push(usize::try_from(cursor.varint()?).ok()?);
        last = item.ts;
        items.push(item);
    }
    for (item, len) in items.iter_mut().zip(lengths) {
        item.line = cursor.take(len)?;
    }
    Some(items)
}

/// A count of things that take a byte each, at least: more than there are bytes is damage, found before memory is
/// taken.
fn count(cursor: &mut Cursor<'_>) -> Option<usize> {
    let count = usize::try_from(cursor.varint()?).ok()?;
    (count <= cursor.rest().len()).then_some(count)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let len = usize::try_from(cursor.varint()?).ok()?;
    cursor.take(len)
}

fn take_set<'a>(cursor: &mut Cursor<'a>) -> Option<Labels<'a>> {
    Labels::check(take_bytes(cursor)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            kind: Kind::Secured,
            number: 7,
            offset: 1 << 40,
            previous: 3,
            process: u64::MAX,
            epoch: 12,
            stored: 100,
            raw: 200,
            entries: 5,
            body: 9,
        }
    }

    #[test]
    fn headers_come_back_and_every_flipped_bit_is_noticed() {
        let bytes = header().encode();
        let (back, _) = Header::decode(&bytes).unwrap();
        assert_eq!(back, header());
        for bit in 0..HEADER_BYTES * 8 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&bytes), None, "bit {bit}");
        }
        let huge = Header {
            raw: RAW_BYTES_MAX as u32 + 1,
            ..header()
        };
        assert_eq!(Header::decode(&huge.encode()), None);
        let far = Header {
            offset: u64::MAX,
            ..header()
        };
        assert_eq!(Header::decode(&far.encode()), None);
    }

    #[test]
    fn tips_come_back() {
        let tip = Tip {
            number: 1,
            offset: 1 << 62,
            hash: 77,
        };
        assert_eq!(Tip::decode(&tip.encode()), Some(tip));
        let far = Tip {
            offset: u64::MAX,
            ..tip
        };
        assert_eq!(Tip::decode(&far.encode()), None);
        assert_eq!(Tip::decode(&tip.encode()[1..]), None);
        assert_eq!(Tip::decode(&[0; 25]), None);
    }

    fn body() -> Vec<u8> {
        let set = |name| LabelSet::from_pairs([("a", name)]).unwrap();
        let (one, two) = (set("1"), set("2"));
        let item = |stream, ts, line| Item {
            stream,
            metadata: 0,
            ts,
            line,
        };
        let source = GroupSource {
            key: b"pods/x",
            epoch: 300,
            position: b"p",
        };
        let groups = [
            Group {
                source: None,
                items: vec![
                    item(0, i64::MAX, b"a\nline".as_slice()),
                    item(1, i64::MIN, b""),
                ],
            },
            Group {
                source: Some(source),
                items: vec![item(1, 5, b"another")],
            },
        ];
        let mut out = Vec::new();
        let streams = [one.as_bytes(), two.as_bytes()];
        let metadata = [&b""[..]];
        encode_body(streams.into_iter(), metadata.into_iter(), &groups, &mut out);
        let back = decode_body(&out).unwrap();
        assert_eq!(back.groups, groups);
        assert_eq!(back.streams, [one, two]);
        out
    }

    #[test]
    fn bodies_come_back_and_cut_ones_are_refused() {
        let bytes = body();
        for len in 0..bytes.len() {
            assert!(decode_body(&bytes[..len]).is_none(), "{len}");
        }
    }

    proptest! {
        #[test]
        fn p9_any_bytes_are_a_body_or_none(bytes in prop::collection::vec(any::<u8>(), 0..300), at: usize, to: u8) {
            let _ = decode_body(&bytes);
            let mut known = body();
            let at = at % known.len();
            known[at] = to;
            if let Some(body) = decode_body(&known) {
                for item in body.groups.iter().flat_map(|g| &g.items) {
                    prop_assert!((item.stream as usize) < body.streams.len());
                    prop_assert!((item.metadata as usize) < body.metadata.len());
                }
            }
        }
    }
}
