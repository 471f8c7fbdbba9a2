//! `drupelet agent`: tail and push, nothing is stored.

use crate::args::Raw;
use crate::config::Config;
use crate::reload::Reloader;
use crate::report::Failure;
use crate::{appliance, forwarder};

/// # Errors
/// A configuration that does not hold, or what kept it from starting or stopping.
pub(crate) fn run(raw: &Raw) -> Result<(), Failure> {
    let config = Config::load(raw, &crate::environment)?;
    let Some(client) = config.client.clone() else {
        return Err(Failure::usage("nowhere to push to").with_hint(
            "`--push-url http://loki:3100`, or `clients: [{url: http://loki:3100}]` in the file of `--config`",
        ));
    };
    crate::logging::init(config.log_level);
    let listener = appliance::bind(&config.listen)?;
    let reloader = Reloader::new(raw, &config);
    forwarder::run(&config, client, listener, reloader)
}
