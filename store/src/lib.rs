//! Head, segments, index, queries and the HTTP service.
//!
//! Architecture invariant: single writer; segments are the truth, the index is derived; hyper only in `http/`,
//! SQLite only in `index/`.
#![forbid(unsafe_code)]

pub mod api;
pub mod index;
pub mod query;
