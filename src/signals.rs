//! SIGTERM and SIGINT as a future, and the token that tells everything to stop.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The two signals that end the process. While this exists neither kills it by itself.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
}

impl Signals {
    /// Takes both signals over. Needs a runtime.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(crate) fn new() -> io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
        })
    }

    /// Completes at the next one with its name.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}

/// Ends the process at once, for the second signal: the first one's orderly way takes too long for the user.
#[expect(
    clippy::exit,
    reason = "the user asked twice; nothing durable is in flight that a kill would not hit too"
)]
pub(crate) fn exit_now() -> ! {
    std::process::exit(1)
}
