//! Reading the files of a node.

pub mod pread;
pub mod probe;
pub mod read;
pub mod uring;
