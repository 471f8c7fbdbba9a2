//! Tests of the binary as its users meet it, and the rules of the workspace.

mod cli;
mod cost;
mod follow;
mod kill9;
mod kill9_push;
mod kubelet;
mod loki;
mod packaging;
mod pods;
mod push;
mod reload;
mod service;
mod support;
mod tidy;
mod util;
