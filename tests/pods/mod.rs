//! `drupelet query --pods-dir`: the answers, what goes wrong with files, what it costs.

mod faults;
mod memory;
mod same;
mod tree;
