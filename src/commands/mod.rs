//! One subcommand a file, glue only.

mod agent;
mod check;
mod demo;
pub(crate) mod doctor;
mod follow;
mod labels;
mod pods;
mod query;
mod run;
mod segments;
mod series;
mod store;

use crate::args::Raw;
use crate::config::Config;
use crate::report::{Failure, written};

/// Runs a parsed command.
///
/// # Errors
/// What the command failed with; its exit code is inside.
pub(crate) fn dispatch(raw: &Raw) -> Result<(), Failure> {
    match raw.command.name {
        "run" => run::run(raw),
        "agent" => agent::run(raw),
        "store" => store::run(raw),
        "query" => query::run(raw),
        "labels" => labels::run(raw),
        "series" => series::run(raw),
        "check" => check::run(raw),
        "segments" => segments::run(raw),
        "doctor" => examine(raw),
        "demo" => demo::run(raw),
        other => Err(Failure::usage(format!(
            "`drupelet {other}` is not in this version yet"
        ))),
    }
}

fn examine(raw: &Raw) -> Result<(), Failure> {
    let config = Config::load(raw, &crate::environment)?;
    let fine = doctor::run(
        &config.pods_dir,
        &config.data_dir,
        &mut std::io::stdout().lock(),
    );
    match fine {
        Ok(true) => Ok(()),
        Ok(false) => Err(Failure::failed("something keeps drupelet from working")
            .with_hint("each line with FAIL above says what to do")),
        Err(e) => written(Err(e)),
    }
}
