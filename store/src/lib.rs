//! Head, segments, index, queries and the HTTP service.
//!
//! Architecture invariant: single writer; segments are the truth, the index is derived; hyper only in `http/`,
//! SQLite only in `index/`.
#![forbid(unsafe_code)]

pub mod api;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
pub mod block;
pub mod clock;
mod codec;
mod flush;
pub mod head;
pub mod http;
pub mod index;
pub mod ingest;
pub mod limits;
mod pace;
mod positions;
pub mod pulse;
mod pushlog;
pub mod query;
mod recover;
pub mod retention;
pub mod segment;
mod store;
#[cfg(test)]
mod tests;
