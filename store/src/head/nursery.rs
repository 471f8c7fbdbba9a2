//! Entries as they came, before they are compressed: a region of fixed size, filled from the front.
//!
//! ```text
//! record := stream(4) metadata(4) ts(8) len(4) line
//! ```

/// Bytes of a record before its line.
pub(crate) const RECORD_BYTES: usize = 20;

/// One record.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    /// Number of the labels.
    pub(crate) stream: u32,
    /// Number of the metadata set.
    pub(crate) meta: u32,
    /// Timestamp, ns.
    pub(crate) ts: i64,
    /// The line, without line feed.
    pub(crate) line: &'a [u8],
}

/// The region. Its capacity is allocated once; pages are touched as it fills.
#[derive(Debug)]
pub(crate) struct Nursery {
    bytes: Vec<u8>,
    capacity: usize,
}

impl Nursery {
    pub(crate) fn new(capacity: usize) -> Nursery {
        Nursery {
            bytes: Vec::with_capacity(capacity),
            capacity,
        }
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn used(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn free(&self) -> usize {
        self.capacity - self.bytes.len()
    }

    /// Appends a record; the caller made sure that it fits.
    pub(crate) fn push(&mut self, record: Record<'_>) {
        debug_assert!(self.free() >= RECORD_BYTES + record.line.len());
        let mut header = [0; RECORD_BYTES];
        header[..4].copy_from_slice(&record.stream.to_le_bytes());
        header[4..8].copy_from_slice(&record.meta.to_le_bytes());
        header[8..16].copy_from_slice(&record.ts.to_le_bytes());
        header[16..].copy_from_slice(&(record.line.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(&header);
        self.bytes.extend_from_slice(record.line);
    }

    /// The record at an offset that [`Nursery::records`] gave.
    pub(crate) fn record(&self, offset: u32) -> Record<'_> {
        let at = offset as usize;
        let header: &[u8; RECORD_BYTES] = self.bytes[at..at + RECORD_BYTES]
            .try_into()
            .expect("a slice of this length");
        let word =
            |i: usize| u32::from_le_bytes([header[i], header[i + 1], header[i + 2], header[i + 3]]);
        let start = at + RECORD_BYTES;
        Record {
            stream: word(0),
            meta: word(4),
            ts: i64::from(word(8)) | (i64::from(word(12)) << 32),
            line: &self.bytes[start..start + word(16) as usize],
        }
    }

    /// All records with their offsets, in order of arrival.
    pub(crate) fn records(&self) -> impl Iterator<Item = (u32, Record<'_>)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= self.bytes.len() {
                return None;
            }
            let offset = at as u32;
            let record = self.record(offset);
            at += RECORD_BYTES + record.line.len();
            Some((offset, record))
        })
    }

    /// Removes the records of chosen streams and moves the others to the front.
    pub(crate) fn remove(&mut self, chosen: impl Fn(u32) -> bool) {
        let (mut from, mut to) = (0, 0);
        while from < self.bytes.len() {
            let record = self.record(from as u32);
            let len = RECORD_BYTES + record.line.len();
            if !chosen(record.stream) {
                self.bytes.copy_within(from..from + len, to);
                to += len;
            }
            from += len;
        }
        self.bytes.truncate(to);
    }
}
