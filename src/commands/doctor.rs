//! `drupelet doctor`: what this node allows, one line per check.

use std::io::{self, Write};
use std::path::Path;

/// Prints all checks to `out`; true when none failed.
///
/// # Errors
/// Only those of `out`: a check that cannot look says so as its finding.
pub(crate) fn run(pods_dir: &Path, data_dir: &Path, out: &mut dyn Write) -> io::Result<bool> {
    crate::doctor::print(&crate::doctor::checks(pods_dir, data_dir), out)
}
