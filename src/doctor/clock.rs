//! The clock: a Pi has none that survives a power cut.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use store::clock::{Clock as _, Kept, SystemClock};

use super::Check;
use super::system::System;

/// Before this the clock is surely wrong: 2025-01-01, in seconds since 1970. The fallback where the program's own file
/// tells nothing.
const EARLIEST: u64 = 1_735_689_600;

/// The system's time.
pub(super) fn now() -> SystemTime {
    SystemTime::now()
}

/// A time that is surely past: when this program was written to the disk.
pub(super) fn built() -> SystemTime {
    let modified = std::env::current_exe().and_then(|path| path.metadata()?.modified());
    let earliest = UNIX_EPOCH + Duration::from_secs(EARLIEST);
    // An image build may stamp its files with any time; one after now would accuse a right clock.
    modified.map_or(earliest, |time| {
        if time > SystemTime::now() {
            earliest
        } else {
            time.max(earliest)
        }
    })
}

/// Whether somebody keeps the clock right.
pub(super) fn kept() -> Kept {
    SystemClock::new().kept()
}

/// Whether the clock can be right, and whether somebody keeps it right.
pub(super) fn clock(system: &System, kept: Kept, now: SystemTime, built: SystemTime) -> Check {
    const NAME: &str = "clock";
    if now < built {
        let finding = match now.duration_since(UNIX_EPOCH) {
            Ok(age) => format!(
                "the clock is wrong: it says day {} after 1970-01-01",
                age.as_secs() / 86_400
            ),
            Err(_) => "the clock is wrong: it is before 1970".to_owned(),
        };
        let remedy = "start a time service (timedatectl set-ntp true); until it is set no log is removed for its age";
        return Check::warn(NAME, finding, remedy);
    }
    let rtc = system.path("sys/class/rtc/rtc0").exists();
    let (backed, otherwise) = if rtc {
        (
            "has a hardware clock",
            ", or set `clock: trusted` if the hardware clock has a battery",
        )
    } else {
        ("has no hardware clock", "")
    };
    let why = "until then no log is removed for its age";
    match kept {
        Kept::Synchronised => Check::ok(NAME, "synchronised"),
        Kept::Unsynchronised => Check::warn(
            NAME,
            format!("plausible, but no time service has set it since boot; the node {backed}"),
            format!("start a time service (timedatectl set-ntp true){otherwise}: {why}"),
        ),
        Kept::Unknown => Check::warn(
            NAME,
            format!(
                "plausible, but the kernel may not be asked whether it is synchronised; the node {backed}"
            ),
            format!("allow the system call adjtimex{otherwise}: {why}"),
        ),
    }
}
