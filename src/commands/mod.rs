//! One subcommand a file, glue only.

mod check;

use crate::Failure;
use crate::args::Raw;

/// Runs a parsed command.
///
/// # Errors
/// What the command failed with; its exit code is inside.
pub(crate) fn dispatch(raw: &Raw) -> Result<(), Failure> {
    match raw.command.name {
        "check" => check::run(raw),
        other => Err(Failure::usage(format!(
            "`drupelet {other}` is not in this version yet"
        ))),
    }
}
