//! The clock: a Pi has none that survives a power cut.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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

/// Whether the clock can be right, and whether somebody keeps it right.
pub(super) fn clock(system: &System, now: SystemTime, built: SystemTime) -> Check {
    const NAME: &str = "clock";
    if now < built {
        let finding = match now.duration_since(UNIX_EPOCH) {
            Ok(age) => format!(
                "the clock is wrong: it says day {} after 1970-01-01",
                age.as_secs() / 86_400
            ),
            Err(_) => "the clock is wrong: it is before 1970".to_owned(),
        };
        let remedy = "start a time service (timedatectl set-ntp true); until it is set no log is deleted for its age";
        return Check::warn(NAME, finding, remedy);
    }
    if system.path("run/systemd/timesync/synchronized").exists() {
        return Check::ok(NAME, "synchronised (systemd-timesyncd)");
    }
    let rtc = system.path("sys/class/rtc/rtc0").exists();
    let backed = if rtc {
        "has a hardware clock"
    } else {
        "has no hardware clock"
    };
    Check::ok(
        NAME,
        format!(
            "plausible; the node {backed}; systemd-timesyncd has not reported (another service may run)"
        ),
    )
}
