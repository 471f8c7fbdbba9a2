//! Tests of the binary as its users meet it.

mod kill9;
mod kubelet;
mod util;
