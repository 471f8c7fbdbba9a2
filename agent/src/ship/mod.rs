//! The sink that pushes to Loki, or to anything that takes Loki's push requests.
//!
//! ```text
//! agent's thread:   offer --encode--> [filling]            full: Refused::Full, nothing is read until there is room
//! shipper's task:                     [filling] --seal--> body --POST--> answer --> positions written, next batch
//! ```
//!
//! - One batch is filled, one is on its way: there is no queue. While the server is away the log files are the queue.
//! - **Each try sends the same bytes**, until there is an answer for good; there is no limit on tries. So whatever was stored
//!   although its answer was lost is dropped by the server as a duplicate.
//! - One request at a time, so that entries arrive in order.
//! - Positions move when the batch that brought them is answered for good, and are written before the next one is sent:
//!   what a SIGKILL can repeat is the batch on its way. A power cut can repeat what was sent in the last minute
//!   ([`crate::checkpoint`]).
//!
//! Architecture invariant: nothing here knows what a position means. `status`, `backoff`, `batch` and `endpoint` take values
//! and return values; `http` and `run` do I/O.

mod backoff;
mod batch;
pub mod endpoint;
mod http;
mod run;
mod stats;
mod status;
mod tls;

pub use endpoint::{Auth, Client, Endpoint, Secret, Tls, UrlError};
pub use run::{OpenError, Options, PushSink, Shipper, open};
pub use stats::ShipStats;
