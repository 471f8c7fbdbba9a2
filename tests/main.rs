//! Tests of the binary as its users meet it, and the rules of the workspace.

mod cli;
mod cost;
mod kill9;
mod kubelet;
mod packaging;
mod service;
mod support;
mod tidy;
mod util;
