//! Reading a batch of files, each into its own fixed buffer.
//!
//! Two readers answer alike: [`UringReader`] and [`PreadReader`]. Which one a node uses is decided once, by
//! [`super::probe::probe`]; [`run`] then builds the runtime that it needs. Both are `!Send`: the agent is one task on
//! one thread.
//!
//! - A batch holds at most [`SLOTS`] requests; request `i` is read into slot `i`.
//! - A read is at most [`SLOT_BYTES`] long and may be shorter at any time; 0 means end of file *now*.
//! - An error belongs to its request and never to the batch.
//! - Positions are explicit: the file's own cursor neither matters nor moves.

use std::fs::File;
use std::future::Future;
use std::io;

use super::pread::PreadReader;
use super::probe::{Chosen, ProbeReport};
use super::uring::UringReader;

/// Requests in a batch, and buffers of a reader. Eight keep a ring submission worthwhile; each costs [`SLOT_BYTES`] of
/// memory, which registered buffers pin.
pub const SLOTS: usize = 8;

/// Bytes of one buffer, and so the longest read. A whole number of 4 and 16 KiB pages. Twice as much catches up about
/// 2 % faster, and is memory that an idle agent pins.
pub const SLOT_BYTES: usize = 32_768;

/// Room in the result list of [`Reader::read_batch`]; leaves a reader free to have more slots.
pub const RESULTS: usize = 16;

const _: () = assert!(SLOTS <= RESULTS);

/// What [`Reader::read_batch`] answers: bytes read, or the error of that one request.
pub type Results = heapless::Vec<io::Result<usize>, RESULTS>;

/// One read of a batch.
#[derive(Debug, Clone, Copy)]
pub struct ReadRequest<'a> {
    /// The file, open for reading; the caller keeps it.
    pub file: &'a File,
    /// Offset in bytes from the beginning of the file.
    pub offset: u64,
}

/// Reads batches of files into fixed buffers.
#[allow(
    async_fn_in_trait,
    reason = "used on one thread by one task: callers need no Send bound"
)]
pub trait Reader {
    /// The most requests that a batch may hold.
    fn slots(&self) -> usize;
    /// Bytes of one buffer: the longest read.
    fn slot_bytes(&self) -> usize;
    /// Reads all requests, in any order, and answers with one result each, in the order of the requests. Earlier
    /// contents of `results` and of all buffers are gone.
    ///
    /// A future dropped before it is done leaves its slots busy until the kernel is done with them; a batch that wants
    /// one then gets `ResourceBusy` for that request.
    ///
    /// # Panics
    /// When there are more requests than [`Reader::slots`].
    async fn read_batch(&mut self, requests: &[ReadRequest<'_>], results: &mut Results);
    /// The bytes that request `slot` of the last batch read: as many as its result said, none after an error. Valid
    /// until the next batch.
    ///
    /// # Panics
    /// When there is no such slot.
    fn buffer(&self, slot: usize) -> &[u8];
    /// `uring` or `pread`, for logs and metrics.
    fn kind(&self) -> &'static str;
}

/// The reader that the probe chose.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one per process, and a box would be one more step on each read"
)]
pub enum AnyReader {
    /// Batches through io_uring.
    Uring(UringReader),
    /// One `pread` after the other.
    Pread(PreadReader),
}

impl Reader for AnyReader {
    fn slots(&self) -> usize {
        match self {
            AnyReader::Uring(reader) => reader.slots(),
            AnyReader::Pread(reader) => reader.slots(),
        }
    }

    fn slot_bytes(&self) -> usize {
        match self {
            AnyReader::Uring(reader) => reader.slot_bytes(),
            AnyReader::Pread(reader) => reader.slot_bytes(),
        }
    }

    async fn read_batch(&mut self, requests: &[ReadRequest<'_>], results: &mut Results) {
        match self {
            AnyReader::Uring(reader) => reader.read_batch(requests, results).await,
            AnyReader::Pread(reader) => reader.read_batch(requests, results).await,
        }
    }

    fn buffer(&self, slot: usize) -> &[u8] {
        match self {
            AnyReader::Uring(reader) => reader.buffer(slot),
            AnyReader::Pread(reader) => reader.buffer(slot),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            AnyReader::Uring(reader) => reader.kind(),
            AnyReader::Pread(reader) => reader.kind(),
        }
    }
}

/// Builds the runtime that the chosen reader needs on the calling thread, opens the reader and runs `body` to its end.
/// Timers, signals and sockets of tokio work in `body` with either reader, and so does `spawn_local`.
///
/// A ring that the probe could make and that now fails (the memory-lock limit is shared by all processes of a user) is
/// logged and replaced by `pread`, unless the ring was asked for by name.
///
/// # Errors
/// When no runtime can be made: the process is out of descriptors or memory, or a ring asked for by name fails.
pub fn run<B, F>(report: &ProbeReport, body: B) -> io::Result<F::Output>
where
    B: FnOnce(AnyReader) -> F,
    F: Future,
{
    if report.chosen == Chosen::Uring {
        match super::uring::runtime(report.entries) {
            Ok(runtime) => {
                return Ok(runtime.block_on(async {
                    let reader = UringReader::new(report.fixed_buffers);
                    body(AnyReader::Uring(reader)).await
                }));
            }
            Err(error) if report.forced => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the ring failed after its probe, reading with pread");
            }
        }
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    let reader = AnyReader::Pread(PreadReader::new());
    Ok(local.block_on(&runtime, body(reader)))
}
