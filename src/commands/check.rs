//! `drupelet check`: validate, then print what would be in effect.

use std::io::Write as _;

use crate::args::Raw;
use crate::config::Config;
use crate::report::{Failure, written};

/// # Errors
/// A configuration that does not hold, or stdout.
pub(crate) fn run(raw: &Raw) -> Result<(), Failure> {
    let config = Config::load(raw, &crate::environment)?;
    let text = config.to_yaml(&crate::environment);
    written(std::io::stdout().write_all(text.as_bytes()))
}
