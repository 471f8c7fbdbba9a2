//! The reader's boundary: a batch of files in, fixed buffers out.

use std::io;

use super::pread::Pread;

/// Results of a batch.
pub type Results = heapless::Vec<io::Result<usize>, 16>;

/// One read of a batch.
#[derive(Debug)]
pub struct ReadRequest<'a> {
    /// The file; its owner keeps it open for the time of the read.
    pub file: &'a std::fs::File,
    /// Offset in bytes.
    pub offset: u64,
}

/// Reads a batch of at most `slots()` files, each into its own fixed buffer of `slot_bytes()`.
#[expect(async_fn_in_trait, reason = "readers live on one thread")]
pub trait Reader {
    /// Files a batch may hold.
    fn slots(&self) -> usize;
    /// Bytes of one buffer.
    fn slot_bytes(&self) -> usize;
    /// Reads request `i` into buffer `i`; one result each, in order.
    async fn read_batch(
        &mut self,
        requests: &[ReadRequest<'_>],
        results: &mut heapless::Vec<io::Result<usize>, 16>,
    );
    /// The buffer of a slot, valid until the next [`Reader::read_batch`].
    fn buffer(&self, slot: usize) -> &[u8];
    /// `uring` or `pread`.
    fn kind(&self) -> &'static str;
}

/// The reader in use.
#[derive(Debug)]
pub enum AnyReader {
    /// Plain positional reads.
    Pread(Pread),
}

impl Reader for AnyReader {
    fn slots(&self) -> usize {
        match self {
            AnyReader::Pread(r) => r.slots(),
        }
    }
    fn slot_bytes(&self) -> usize {
        match self {
            AnyReader::Pread(r) => r.slot_bytes(),
        }
    }
    async fn read_batch(
        &mut self,
        requests: &[ReadRequest<'_>],
        results: &mut heapless::Vec<io::Result<usize>, 16>,
    ) {
        match self {
            AnyReader::Pread(r) => r.read_batch(requests, results).await,
        }
    }
    fn buffer(&self, slot: usize) -> &[u8] {
        match self {
            AnyReader::Pread(r) => r.buffer(slot),
        }
    }
    fn kind(&self) -> &'static str {
        match self {
            AnyReader::Pread(r) => r.kind(),
        }
    }
}
