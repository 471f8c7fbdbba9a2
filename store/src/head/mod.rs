//! The head: entries accepted, not yet on disk.

mod snapshot;

pub use snapshot::{HeadChunk, OverBudget, RawRun, Snapshot, Want};
