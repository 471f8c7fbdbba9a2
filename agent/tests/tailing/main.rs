//! The agent on real files, with a sink in memory.

mod discovery;
mod ending;
mod restart;
mod rotation;
mod util;
