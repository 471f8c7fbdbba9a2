//! Blocks and segments found unreadable: each is counted and warned of once, and costs a query only itself (P9).

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use logql::eval::EvalError;

use crate::segment::SegmentError;

/// Distinct places remembered; beyond it a place may be counted and warned of again.
const REMEMBERED_MAX: usize = 4096;
/// Stands for "the whole segment" among block offsets.
const WHOLE: u64 = u64::MAX;
/// Linux's error number for "the device could not read this".
const EIO: i32 = 5;

/// What was found damaged since start.
#[derive(Debug, Default)]
pub struct Damage {
    seen: Mutex<HashSet<(u64, u64)>>,
    count: AtomicU64,
}

impl Damage {
    /// Distinct damaged places found so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Takes note of a segment that cannot be read. A file that is gone was removed meanwhile: that is no damage.
    ///
    /// # Errors
    /// [`EvalError::Storage`] when the cause is not the file (no descriptors, no memory): an answer without it
    /// would be silently incomplete.
    pub(super) fn segment(&self, sequence: u64, error: SegmentError) -> Result<(), EvalError> {
        self.block(sequence, WHOLE, error)
    }

    /// The same for one block.
    ///
    /// # Errors
    /// As [`Damage::segment`].
    pub(super) fn block(
        &self,
        sequence: u64,
        offset: u64,
        error: SegmentError,
    ) -> Result<(), EvalError> {
        if let SegmentError::Io { source, .. } = &error {
            match source.kind() {
                io::ErrorKind::NotFound => return Ok(()),
                io::ErrorKind::UnexpectedEof => {}
                _ if source.raw_os_error() == Some(EIO) => {}
                _ => return Err(EvalError::Storage(Box::new(error))),
            }
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.contains(&(sequence, offset)) {
            return Ok(());
        }
        if seen.len() < REMEMBERED_MAX {
            seen.insert((sequence, offset));
        }
        drop(seen);
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(%error, "damaged data is left out of answers");
        Ok(())
    }
}
