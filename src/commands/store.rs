//! `drupelet store`: store and queries, nothing is tailed.

use crate::appliance::{self, Parts};
use crate::args::Raw;
use crate::config::Config;
use crate::reload::Reloader;
use crate::report::Failure;

/// # Errors
/// A configuration that does not hold, or what kept it from starting or stopping.
pub(crate) fn run(raw: &Raw) -> Result<(), Failure> {
    let config = Config::load(raw, &crate::environment)?;
    crate::logging::init(config.log_level);
    let listener = appliance::bind(&config.listen)?;
    let reloader = Reloader::new(raw, &config);
    appliance::run(&config, Parts::Store, listener, reloader, |_| {})
}
