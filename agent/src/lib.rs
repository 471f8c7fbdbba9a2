//! Tails pod logs and hands batches to a [`Sink`](sink::Sink).
//!
//! Architecture invariant: never the store, SQLite or zstd; a position moves only when its sink says durable.
#![deny(unsafe_code)]

pub mod config;
mod frame;
mod labels;
pub mod sink;
pub mod stats;
pub mod tail;
