//! drupelet: the log appliance for Raspberry Pi clusters. This file parses, dispatches and maps errors to exit codes.

mod args;
mod commands;
mod config;
mod logging;
mod report;
mod time;
mod yaml;

use std::io::Write as _;
use std::process::ExitCode;

use report::Failure;

fn main() -> ExitCode {
    let result = args::parse(std::env::args_os().skip(1)).and_then(|request| match request {
        args::Request::Print(text) => report::written(std::io::stdout().write_all(text.as_bytes())),
        args::Request::Run(raw) => commands::dispatch(&raw),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&mut std::io::stderr().lock()),
    }
}

/// The process environment; values that are not UTF-8 count as not set.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
