//! Tails pod logs and hands batches to a [`Sink`](sink::Sink); one that pushes to Loki is here ([`ship`]).
//!
//! ```text
//! discover, watch -> instance (files, order, positions) -> tail (reads) -> frame (lines) -> Batch -> Sink
//! ```
//!
//! Architecture invariant: never the store, SQLite or zstd; a position moves only when its sink says durable.
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod config;
mod discover;
mod ending;
mod files;
pub mod folder;
mod frame;
mod instance;
mod labels;
mod pace;
mod position;
pub mod pulse;
mod run;
pub mod ship;
pub mod sink;
pub mod stats;
pub mod tail;
mod watch;

pub use config::{CatchUpOrder, Config, ConfigError, Faults, ReaderChoice, StartAt, Timing};
pub use run::{AgentError, run, start};
pub use stats::{Snapshot, Stats};
