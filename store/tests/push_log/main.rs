//! The push log: what was acknowledged is there exactly once, whatever happens to the machine, the process, the disk or
//! the file.

#[path = "../common/mod.rs"]
mod common;
mod cuts;
mod damage;
mod duplicates;
mod model;
mod secure;
mod util;
