//! Reading batches of files into fixed buffers.

pub mod pread;
pub mod read;
