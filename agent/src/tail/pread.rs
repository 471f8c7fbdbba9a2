//! Positional reads, one after the other.

use std::io;
use std::os::unix::fs::FileExt;

use super::read::{ReadRequest, Reader};

const SLOTS: usize = 8;
const SLOT_BYTES: usize = 64 * 1024;

/// Reads with `pread`.
#[derive(Debug)]
pub struct Pread {
    buffers: Vec<Box<[u8]>>,
}

impl Pread {
    /// A reader with its buffers.
    #[must_use]
    pub fn new() -> Pread {
        Pread {
            buffers: (0..SLOTS)
                .map(|_| vec![0; SLOT_BYTES].into_boxed_slice())
                .collect(),
        }
    }
}

impl Default for Pread {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader for Pread {
    fn slots(&self) -> usize {
        SLOTS
    }
    fn slot_bytes(&self) -> usize {
        SLOT_BYTES
    }
    async fn read_batch(
        &mut self,
        requests: &[ReadRequest<'_>],
        results: &mut heapless::Vec<io::Result<usize>, 16>,
    ) {
        results.clear();
        for (request, buffer) in requests.iter().zip(&mut self.buffers) {
            if results
                .push(request.file.read_at(buffer, request.offset))
                .is_err()
            {
                return;
            }
        }
    }
    fn buffer(&self, slot: usize) -> &[u8] {
        &self.buffers[slot]
    }
    fn kind(&self) -> &'static str {
        "pread"
    }
}
