//! SIGTERM, SIGINT and SIGHUP as a future.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that end the process, and the one that has it read its configuration again. While this exists none of
/// them kills it by itself.
pub(crate) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// The end; the signal's name.
    Stop(&'static str),
    /// A reload.
    Reload,
}

impl Signals {
    /// Takes the signals over. Needs a runtime.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub(crate) fn new() -> io::Result<Signals> {
        Ok(Signals {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hup: signal(SignalKind::hangup())?,
        })
    }

    /// Completes at the next one.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.hup.recv() => Asked::Reload,
            _ = self.term.recv() => Asked::Stop("SIGTERM"),
            _ = self.int.recv() => Asked::Stop("SIGINT"),
        }
    }

    /// Completes at the next one that asks for the end, with its name.
    pub(crate) async fn stop(&mut self) -> &'static str {
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
