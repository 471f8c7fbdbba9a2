//! Tests that drive the real executable, and the rules of the workspace.

mod cli;
mod support;
mod tidy;
