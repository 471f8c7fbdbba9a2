//! What the service manager is told (`sd_notify`), and the watchdog behind it.
//!
//! A datagram to the socket that `NOTIFY_SOCKET` names: a path, or `@name` for an abstract one. Without that variable, as
//! in a container, nothing is opened and nothing runs. The crate for this does not know abstract sockets.
//!
//! The watchdog asks every part that does the work for a sign of life and passes it on only if all have given one: the
//! main loop (it is the one that asks), the agent's loop, the store's flush thread.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use agent::pulse::Pulse;
use store::api::Store;

/// Questions in one watchdog interval. Two would do; with four, one late answer is no reason for a restart.
const QUESTIONS: u32 = 4;
/// Longest write of a segment that still counts as work. A failing card may stall for a minute, and killing a process
/// that waits for it does not end the wait.
const WRITE_MAX: Duration = Duration::from_secs(300);

/// The way to the service manager, if there is one.
#[derive(Debug, Default)]
pub(crate) struct Notifier {
    to: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// From `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID`. A socket that cannot be used is logged, and then there is
    /// none.
    pub(crate) fn from_environment() -> Notifier {
        let Some(name) = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Notifier::default();
        };
        let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
        let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        match Notifier::open(&name, number("WATCHDOG_USEC").filter(|_| mine)) {
            Ok(notifier) => notifier,
            Err(error) => {
                tracing::warn!(%error, socket = %name.display(), "cannot tell the service manager anything");
                Notifier::default()
            }
        }
    }

    fn open(name: &OsStr, watchdog_micros: Option<u64>) -> io::Result<Notifier> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            _ => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not read must not stop us.
        socket.set_nonblocking(true)?;
        let interval = watchdog_micros.filter(|n| *n > 0);
        Ok(Notifier {
            to: Some((socket, address)),
            watchdog: interval.map(Duration::from_micros),
        })
    }

    fn send(&self, text: &str) {
        let Some((socket, address)) = &self.to else {
            return;
        };
        if let Err(error) = socket.send_to_addr(text.as_bytes(), address) {
            tracing::warn!(%error, "cannot tell the service manager `{}`", text.trim_end());
        }
    }

    /// Requests are answered.
    pub(crate) fn ready(&self, addr: std::net::SocketAddr) {
        self.send(&format!("READY=1\nSTATUS=listening on {addr}\n"));
    }

    /// The configuration is read again; [`Notifier::reloaded`] says when that is done.
    pub(crate) fn reloading(&self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}\n"));
    }

    /// The end of a reload.
    pub(crate) fn reloaded(&self) {
        self.send("READY=1\n");
    }

    /// The end has begun. From here on the service manager's stop timeout takes the watchdog's place.
    pub(crate) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=writing what is in memory\n");
    }

    /// Passes signs of life on for as long as all parts give them. Never completes.
    pub(crate) async fn watch(&self, mut parts: Vec<Part>) -> std::convert::Infallible {
        let Some(interval) = self.watchdog else {
            return std::future::pending().await;
        };
        let mut questions = tokio::time::interval(interval / QUESTIONS);
        questions.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            questions.tick().await;
            self.beat(&mut parts);
        }
    }

    fn beat(&self, parts: &mut [Part]) {
        if all_alive(parts) {
            self.send("WATCHDOG=1\n");
        }
    }
}

/// Something that must be alive.
pub(crate) struct Part {
    name: &'static str,
    /// Asks for a sign of life; whether one came since it was asked before.
    ask: Box<dyn FnMut() -> bool>,
    silent: bool,
}

impl Part {
    /// The agent's loop.
    pub(crate) fn agent(pulse: Arc<Pulse>) -> Part {
        let mut seen = None;
        Part::new("reading pod logs", move || {
            let turns = pulse.turns();
            pulse.ask();
            seen.replace(turns) != Some(turns)
        })
    }

    /// The store's flush thread.
    pub(crate) fn flush(store: Store) -> Part {
        let mut seen = None;
        Part::new("writing segments", move || {
            let vitals = store.vitals();
            let writes = vitals.writing.is_some_and(|time| time < WRITE_MAX);
            seen.replace(vitals.turns) != Some(vitals.turns) || writes
        })
    }

    fn new(name: &'static str, ask: impl FnMut() -> bool + 'static) -> Part {
        Part {
            name,
            ask: Box::new(ask),
            silent: false,
        }
    }
}

/// Asks each; says once when one falls silent.
fn all_alive(parts: &mut [Part]) -> bool {
    for part in parts.iter_mut() {
        let silent = !(part.ask)();
        if silent && !part.silent {
            tracing::error!(
                part = part.name,
                "no sign of life; if it lasts, the service manager's watchdog restarts drupelet"
            );
        }
        part.silent = silent;
    }
    parts.iter().all(|part| !part.silent)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::*;

    /// A service manager's end of an abstract socket, and ours.
    fn pair(name: &str, watchdog_micros: Option<u64>) -> (UnixDatagram, Notifier) {
        let name = format!("drupelet-test-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let notifier = Notifier::open(OsStr::new(&format!("@{name}")), watchdog_micros).unwrap();
        (manager, notifier)
    }

    fn received(manager: &UnixDatagram) -> String {
        let mut text = [0; 256];
        let n = manager.recv(&mut text).unwrap();
        String::from_utf8(text[..n].to_vec()).unwrap()
    }

    #[test]
    fn the_manager_hears_each_state() {
        let (manager, notifier) = pair("states", None);
        notifier.ready(([127, 0, 0, 1], 3100).into());
        let ready = received(&manager);
        assert_eq!(ready, "READY=1\nSTATUS=listening on 127.0.0.1:3100\n");
        notifier.reloading();
        let text = received(&manager);
        let micros = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
        assert!(micros.trim_end().parse::<u64>().unwrap() > 0, "{text}");
        notifier.stopping();
        assert!(received(&manager).starts_with("STOPPING=1\n"));
    }

    #[test]
    fn without_a_manager_nothing_is_opened() {
        let notifier = Notifier::default();
        notifier.ready(([127, 0, 0, 1], 3100).into());
        assert!(notifier.to.is_none() && notifier.watchdog.is_none());
    }

    #[test]
    fn the_watchdog_hears_nothing_while_a_part_is_silent() {
        let (manager, notifier) = pair("watchdog", Some(30_000_000));
        manager.set_nonblocking(true).unwrap();
        let well = Rc::new(Cell::new(true));
        let part = Rc::clone(&well);
        let mut parts = [
            Part::new("always", || true),
            Part::new("now and then", move || part.get()),
        ];
        for wellness in [true, false, false, true] {
            well.set(wellness);
            notifier.beat(&mut parts);
            let heard = manager.recv(&mut [0; 64]).is_ok();
            assert_eq!(heard, wellness);
        }
    }

    #[test]
    fn the_agents_part_lives_only_if_its_loop_turns() {
        let mut parts = [Part::agent(Arc::default())];
        assert!(all_alive(&mut parts), "nothing was asked of it so far");
        assert!(!all_alive(&mut parts), "no loop answers this pulse");
    }
}
