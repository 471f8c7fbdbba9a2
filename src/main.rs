//! drupelet: the log appliance for Raspberry Pi clusters. This file parses, dispatches and maps errors to exit codes.

mod appliance;
mod args;
mod ask;
mod clients;
mod commands;
mod config;
mod demo;
mod doctor;
mod forwarder;
mod http_client;
mod local_server;
mod local_sink;
mod logging;
mod malloc;
mod metrics;
mod notify;
mod reload;
mod report;
mod signals;
mod status_server;
mod time;
mod yaml;

use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    malloc::tune();
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
