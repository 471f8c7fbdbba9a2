//! The wall clock, and whether it can be believed (promise P10).
//!
//! A Pi has no battery clock: it boots in 1970, or where fake-hwclock left off months ago, and jumps when a time server
//! answers. So nothing here asks only what time it is. The clock is **trusted** when all of this holds:
//!
//! - it does not show a time before this program was written ([`EARLIEST`]);
//! - somebody keeps it: the kernel says that it is synchronised (`adjtimex`, which every time service tells: timesyncd,
//!   chrony, ntpd, Talos), or where a sandbox refuses that question, systemd-timesyncd's mark in `/run`; or the
//!   configuration says so ([`Trust::Always`], for a hardware clock without a time server), and then it must not be behind
//!   what the store's own segments say;
//! - it has not jumped for [`HOLD`]: wall time minus time since boot stays the same but for the slewing of a few parts
//!   in a million. Two readings that differ by more than [`JUMP`] are a jump, forwards or backwards.
//!
//! Whatever cannot be asked counts as "not synchronised": the price is that nothing is deleted for its age.

use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// 2026-01-01: this program is younger, so a clock before it is wrong whoever vouches for it.
pub const EARLIEST: i64 = 1_767_225_600_000_000_000;
/// How much wall time and time since boot may part between two readings. Slewing parts them by at most half a millisecond
/// a second, time services step the clock for less than a second; retention counts in hours.
pub const JUMP: Duration = Duration::from_secs(10);
/// How long the clock is not believed after a jump. Long enough for a time service that was misled by its first answer to
/// correct itself, and for a person to see the warning; short against any useful retention period.
pub const HOLD: Duration = Duration::from_secs(3600);

/// Where systemd-timesyncd says that it has set the clock since boot.
const TIMESYNC_MARK: &str = "/run/systemd/timesync/synchronized";

/// Whether somebody keeps the clock right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Yes.
    Synchronised,
    /// No.
    Unsynchronised,
    /// The kernel may not be asked here, and systemd-timesyncd left no mark.
    Unknown,
}

/// The clocks of a machine. Tests bring their own.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall time, ns since 1970.
    fn wall(&self) -> i64;
    /// Time since boot, ns; rises steadily, sleep included.
    fn boot(&self) -> i64;
    /// Whether somebody keeps the wall clock right.
    fn kept(&self) -> Kept;
}

/// The machine's clocks.
#[derive(Debug)]
pub struct SystemClock {
    /// Where `/run` is looked at: `/` but in tests.
    root: PathBuf,
}

impl SystemClock {
    /// Of this machine.
    #[must_use]
    pub fn new() -> SystemClock {
        SystemClock { root: "/".into() }
    }

    fn marked(&self) -> bool {
        let mark = TIMESYNC_MARK.trim_start_matches('/');
        self.root.join(mark).exists()
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> i64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        now.map_or(0, |d| d.as_nanos() as i64)
    }

    fn boot(&self) -> i64 {
        let now = clock_gettime(ClockId::Boottime);
        now.tv_sec * 1_000_000_000 + now.tv_nsec
    }

    fn kept(&self) -> Kept {
        // All fields zero: a question, which needs no privilege.
        let mut state = rtime_clock::adjtime::Timex::new();
        match rtime_clock::adjtime::adjtimex(&mut state) {
            Ok(_) if state.0.status & STA_UNSYNC == 0 => Kept::Synchronised,
            _ if self.marked() => Kept::Synchronised,
            Ok(_) => Kept::Unsynchronised,
            Err(_) => Kept::Unknown,
        }
    }
}

/// `STA_UNSYNC` of `linux/timex.h`.
const STA_UNSYNC: i32 = 0x40;

/// Who decides that somebody keeps the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// The kernel, told by a time service.
    #[default]
    Auto,
    /// The configuration: there is a hardware clock, and no time service.
    Always,
}

/// What keeps a clock from being trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Trusted,
    /// It shows a time before [`EARLIEST`], or, without a time service, one before the newest trusted segment.
    Behind,
    /// Nobody has set it since boot.
    Unsynchronised,
    /// Whether somebody has set it cannot be asked here.
    Unknown,
    /// It jumped less than [`HOLD`] ago.
    Jumped,
}

impl Verdict {
    /// What to tell people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Verdict::Trusted => "the clock is right",
            Verdict::Behind => "the clock shows a time that is surely past",
            Verdict::Unsynchronised => {
                "no time service has set the clock since boot (`clock: trusted` is for nodes that have a hardware \
                 clock and none)"
            }
            Verdict::Unknown => {
                "the kernel may not be asked here whether the clock is right (allow adjtimex, or set `clock: trusted`)"
            }
            Verdict::Jumped => "the clock jumped less than an hour ago",
        }
    }
}

/// One look at the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Wall time, ns since 1970.
    pub wall: i64,
    /// Time since boot, ns.
    pub boot: i64,
    /// Whether `wall` can be believed.
    pub verdict: Verdict,
}

impl Reading {
    /// Whether `wall` can be believed.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.verdict == Verdict::Trusted
    }
}

/// Watches a clock. Clones share what was seen.
#[derive(Debug, Clone)]
pub struct Timekeeper(Arc<Keeper>);

#[derive(Debug)]
struct Keeper {
    clock: Arc<dyn Clock>,
    trust: Trust,
    /// Wall time that is surely past, ns: see [`Timekeeper::raise_floor`].
    floor: AtomicI64,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// Wall time minus time since boot at the last reading, ns.
    offset: Option<i64>,
    /// Time since boot of the last jump, ns.
    jumped: Option<i64>,
    jumps: u64,
}

impl Timekeeper {
    /// Watches `clock`.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, trust: Trust) -> Timekeeper {
        Timekeeper(Arc::new(Keeper {
            clock,
            trust,
            floor: AtomicI64::new(EARLIEST),
            seen: Mutex::default(),
        }))
    }

    /// Watches this machine's clock.
    #[must_use]
    pub fn system(trust: Trust) -> Timekeeper {
        Timekeeper::new(Arc::new(SystemClock::new()), trust)
    }

    /// Reads and judges the clock.
    #[must_use]
    pub fn read(&self) -> Reading {
        let keeper = &*self.0;
        let mut seen = self.seen();
        let (wall, boot) = (keeper.clock.wall(), keeper.clock.boot());
        let offset = wall.saturating_sub(boot);
        if let Some(last) = seen.offset.replace(offset)
            && offset.abs_diff(last) > JUMP.as_nanos() as u64
        {
            seen.jumped = Some(boot);
            seen.jumps += 1;
            let seconds = offset.saturating_sub(last) / 1_000_000_000;
            tracing::warn!(
                seconds,
                "the clock jumped; nothing is deleted for its age for an hour"
            );
        }
        let held = |at| boot.saturating_sub(at) < HOLD.as_nanos() as i64;
        let verdict = match (keeper.clock.kept(), keeper.trust) {
            _ if wall < EARLIEST => Verdict::Behind,
            _ if seen.jumped.is_some_and(held) => Verdict::Jumped,
            (Kept::Synchronised, _) => Verdict::Trusted,
            (_, Trust::Always) if wall < keeper.floor.load(Ordering::Relaxed) => Verdict::Behind,
            (_, Trust::Always) => Verdict::Trusted,
            (Kept::Unsynchronised, Trust::Auto) => Verdict::Unsynchronised,
            (Kept::Unknown, Trust::Auto) => Verdict::Unknown,
        };
        Reading {
            wall,
            boot,
            verdict,
        }
    }

    /// Wall time, ns since 1970, if it can be believed.
    #[must_use]
    pub fn trusted_now(&self) -> Option<i64> {
        let reading = self.read();
        reading.is_trusted().then_some(reading.wall)
    }

    /// Wall time, ns since 1970, unless something speaks against it. Weaker than [`Timekeeper::trusted_now`]: where the
    /// kernel cannot be asked, a clock that shows a possible time will do.
    #[must_use]
    pub fn plausible_now(&self) -> Option<i64> {
        let reading = self.read();
        let fine = matches!(reading.verdict, Verdict::Trusted | Verdict::Unknown);
        fine.then_some(reading.wall)
    }

    /// Jumps seen.
    #[must_use]
    pub fn jumps(&self) -> u64 {
        self.seen().jumps
    }

    /// Says that `wall` is past: something was written then, by a clock that was trusted.
    pub(crate) fn raise_floor(&self, wall: i64) {
        self.0.floor.fetch_max(wall, Ordering::Relaxed);
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        // A panic while it was held leaves a reading that is whole or older.
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "clock_sim.rs"]
pub mod sim;

#[cfg(test)]
mod tests {
    use super::sim::SimClock;
    use super::*;

    const NOW: i64 = 1_795_000_000_000_000_000;
    const HOUR: Duration = Duration::from_secs(3600);

    fn watch(wall: i64, kept: Kept, trust: Trust) -> (Arc<SimClock>, Timekeeper) {
        let clock = Arc::new(SimClock::new(wall, kept));
        let keeper = Timekeeper::new(clock.clone(), trust);
        (clock, keeper)
    }

    #[test]
    fn p10_who_keeps_the_clock_decides_whether_it_is_believed() {
        for (wall, kept, trust, want) in [
            (NOW, Kept::Synchronised, Trust::Auto, Verdict::Trusted),
            (
                NOW,
                Kept::Unsynchronised,
                Trust::Auto,
                Verdict::Unsynchronised,
            ),
            (NOW, Kept::Unknown, Trust::Auto, Verdict::Unknown),
            (NOW, Kept::Unsynchronised, Trust::Always, Verdict::Trusted),
            (NOW, Kept::Unknown, Trust::Always, Verdict::Trusted),
            (1_000, Kept::Synchronised, Trust::Auto, Verdict::Behind),
            (1_000, Kept::Unsynchronised, Trust::Always, Verdict::Behind),
        ] {
            let (_, keeper) = watch(wall, kept, trust);
            assert_eq!(keeper.read().verdict, want, "{wall} {kept:?} {trust:?}");
            let now = (want == Verdict::Trusted).then_some(wall);
            assert_eq!(keeper.trusted_now(), now);
        }
    }

    #[test]
    fn p10_a_jump_either_way_is_seen_and_held_for_an_hour() {
        for step in [90 * 24 * 3600, -7200, -11, 11] {
            let (clock, keeper) = watch(NOW, Kept::Synchronised, Trust::Auto);
            assert!(keeper.read().is_trusted());
            clock.set(NOW + step * 1_000_000_000, Kept::Synchronised);
            assert_eq!(keeper.read().verdict, Verdict::Jumped, "{step}");
            clock.pass(HOLD - Duration::from_secs(1));
            assert_eq!(keeper.read().verdict, Verdict::Jumped, "{step}");
            clock.pass(Duration::from_secs(1));
            assert_eq!(keeper.read().verdict, Verdict::Trusted, "{step}");
            assert_eq!(keeper.jumps(), 1);
        }
    }

    #[test]
    fn slewing_and_small_steps_are_no_jump() {
        let (clock, keeper) = watch(NOW, Kept::Synchronised, Trust::Auto);
        for _ in 0..100 {
            let wall = clock.wall();
            clock.set(wall + 5_000_000_000, Kept::Synchronised);
            clock.pass(HOUR);
            assert!(keeper.read().is_trusted());
        }
        assert_eq!(keeper.jumps(), 0);
    }

    #[test]
    fn p10_without_a_time_service_the_clock_must_not_be_behind_the_store() {
        let (_, keeper) = watch(NOW, Kept::Unsynchronised, Trust::Always);
        keeper.raise_floor(NOW - 1);
        assert!(keeper.read().is_trusted());
        keeper.raise_floor(NOW + 1);
        assert_eq!(keeper.read().verdict, Verdict::Behind);
        // A time service knows better than what was written.
        let (_, keeper) = watch(NOW, Kept::Synchronised, Trust::Always);
        keeper.raise_floor(NOW + 1);
        assert!(keeper.read().is_trusted());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "the mark is systemd-timesyncd's")]
    fn the_system_clock_moves_and_reads_the_mark_of_timesyncd() {
        let clock = SystemClock::new();
        assert!(clock.wall() > 0 && clock.boot() > 0);
        let root = tempfile::tempdir().unwrap();
        let clock = SystemClock {
            root: root.path().to_owned(),
        };
        assert!(!clock.marked());
        let mark = root.path().join("run/systemd/timesync");
        std::fs::create_dir_all(&mark).unwrap();
        std::fs::write(mark.join("synchronized"), "").unwrap();
        assert!(clock.marked());
        assert_eq!(clock.kept(), Kept::Synchronised);
    }
}
