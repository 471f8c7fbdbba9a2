//! The reader that works everywhere: one `pread` after the other, on the agent's thread.
//!
//! There is no thread pool. What the agent reads has just been written, so it is in the page cache and a read costs
//! about a microsecond, less than waking another thread. A read that does go to the card holds up only the agent's own
//! thread, whose one task would wait for it anyway; queries and the store run elsewhere.

use std::io;
use std::os::unix::fs::FileExt;

use super::read::{ReadRequest, Reader, Results, SLOT_BYTES, SLOTS};

/// Reads with `pread`.
pub struct PreadReader {
    /// All slots in one allocation. Pages are touched, and so resident, only as far as reads have filled them.
    bytes: Box<[u8]>,
    lens: [usize; SLOTS],
}

impl PreadReader {
    /// A reader with empty buffers. Allocates [`SLOTS`] times [`SLOT_BYTES`] of address space.
    #[must_use]
    pub fn new() -> Self {
        PreadReader {
            bytes: vec![0; SLOTS * SLOT_BYTES].into_boxed_slice(),
            lens: [0; SLOTS],
        }
    }
}

impl Default for PreadReader {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for PreadReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PreadReader")
            .field("lens", &self.lens)
            .finish_non_exhaustive()
    }
}

impl Reader for PreadReader {
    fn slots(&self) -> usize {
        SLOTS
    }

    fn slot_bytes(&self) -> usize {
        SLOT_BYTES
    }

    async fn read_batch(&mut self, requests: &[ReadRequest<'_>], results: &mut Results) {
        assert!(
            requests.len() <= SLOTS,
            "{} requests in a batch of at most {SLOTS}",
            requests.len()
        );
        results.clear();
        self.lens = [0; SLOTS];
        let slots = self.bytes.chunks_exact_mut(SLOT_BYTES);
        for ((request, slot), len) in requests.iter().zip(slots).zip(&mut self.lens) {
            let result = loop {
                match request.file.read_at(slot, request.offset) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    other => break other,
                }
            };
            if let Ok(n) = &result {
                *len = *n;
            }
            results.push(result).expect("SLOTS results fit");
        }
    }

    fn buffer(&self, slot: usize) -> &[u8] {
        let start = slot * SLOT_BYTES;
        &self.bytes[start..start + self.lens[slot]]
    }

    fn kind(&self) -> &'static str {
        "pread"
    }
}
