//! One subcommand a file, glue only.

mod check;
mod demo;
mod labels;
mod query;
mod run;
mod segments;
mod series;

use crate::args::Raw;
use crate::report::Failure;

/// Runs a parsed command.
///
/// # Errors
/// What the command failed with; its exit code is inside.
pub(crate) fn dispatch(raw: &Raw) -> Result<(), Failure> {
    match raw.command.name {
        "run" => run::run(raw),
        "query" => query::run(raw),
        "labels" => labels::run(raw),
        "series" => series::run(raw),
        "check" => check::run(raw),
        "segments" => segments::run(raw),
        "demo" => demo::run(raw),
        other => Err(Failure::usage(format!(
            "`drupelet {other}` is not in this version yet"
        ))),
    }
}
