//! Tests of the binary as its users meet it, and the rules of the workspace.

mod cli;
mod cost;
mod follow;
mod kill9;
mod kubelet;
mod reload;
mod support;
mod tidy;
mod util;
