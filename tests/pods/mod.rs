//! `drupelet query --pods-dir`: the answers, what goes wrong with files, what it costs.

mod same;
mod tree;
