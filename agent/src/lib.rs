//! Tails pod logs and hands batches to a [`Sink`].
//!
//! Architecture invariant: never the store, SQLite or zstd; a position moves only when its sink says durable.
#![deny(unsafe_code)]

pub mod sink;
pub mod tail;
