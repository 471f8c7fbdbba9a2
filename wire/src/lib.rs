//! Loki's shapes in and out, and the two types that every other crate shares:
//! [`LabelSet`] (a canonical, encoded label set) and [`Batch`] (borrowed entries on their way from a
//! source to a store).
//!
//! Architecture invariant: no I/O, no clock, no threads. Size limits are enforced while decoding.
#![forbid(unsafe_code)]

pub mod entry;
pub mod json;
pub mod labels;
pub mod push;
pub mod query;
pub mod time;

pub use entry::{Batch, Entry, Secure, SourcePosition};
pub use labels::{LabelError, LabelSet, Labels};
