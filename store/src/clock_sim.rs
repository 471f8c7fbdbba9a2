//! A clock that tests set; unit tests and integration tests have it by path.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Clock, Kept};

/// Wall time, time since boot, and who keeps it.
#[derive(Debug)]
pub struct SimClock(Mutex<(i64, i64, Kept)>);

impl SimClock {
    /// A clock that shows `wall` a minute after boot.
    #[must_use]
    pub fn new(wall: i64, kept: Kept) -> SimClock {
        SimClock(Mutex::new((wall, 60_000_000_000, kept)))
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.change(|(wall, boot, _)| {
            *wall += time.as_nanos() as i64;
            *boot += time.as_nanos() as i64;
        });
    }

    /// Sets the wall clock, and says whether that was a time service.
    pub fn set(&self, to: i64, by: Kept) {
        self.change(|(wall, _, kept)| (*wall, *kept) = (to, by));
    }

    /// The machine boots anew: the wall clock shows `to`.
    pub fn reboot(&self, to: i64, by: Kept) {
        self.change(|all| *all = (to, 60_000_000_000, by));
    }

    fn change(&self, f: impl FnOnce(&mut (i64, i64, Kept))) {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn get(&self) -> (i64, i64, Kept) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn wall(&self) -> i64 {
        self.get().0
    }
    fn boot(&self) -> i64 {
        self.get().1
    }
    fn kept(&self) -> Kept {
        self.get().2
    }
}
