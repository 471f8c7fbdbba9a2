//! How long to wait before the next try: doubling, with jitter, without a limit on tries.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

/// Longest wait that a server's `Retry-After` is believed, however far its clock is off.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(3600);

/// The waits of one endpoint.
#[derive(Debug)]
pub(crate) struct Backoff {
    min: Duration,
    max: Duration,
    tries: u32,
    random: u64,
}

impl Backoff {
    /// The first wait is between `min` and twice `min`, none is longer than `max`.
    pub(crate) fn new(min: Duration, max: Duration) -> Backoff {
        // Seeded by the system: nodes that lost their server together must not come back together.
        let seed = RandomState::new().build_hasher().finish();
        Backoff::seeded(min, max, seed)
    }

    fn seeded(min: Duration, max: Duration, seed: u64) -> Backoff {
        Backoff {
            min,
            max: max.max(min),
            tries: 0,
            random: seed,
        }
    }

    /// After a success.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    /// The wait before the next try, at least as long as a server asked for.
    pub(crate) fn next(&mut self, retry_after: Option<Duration>) -> Duration {
        let double = 1u32.checked_shl(self.tries + 1).unwrap_or(u32::MAX);
        self.tries = (self.tries + 1).min(30);
        let top = self.min.saturating_mul(double).min(self.max);
        let wait = top / 2 + self.share(top / 2);
        match retry_after {
            // Everybody was told the same moment: spread a little behind it.
            Some(asked) => {
                let asked = asked.min(RETRY_AFTER_MAX);
                let spread = (asked / 10).min(self.min);
                wait.max(asked + self.share(spread))
            }
            None => wait,
        }
    }

    /// The wait before trying what only the user can put right: a tenth of the longest one, give or take.
    pub(crate) fn slow(&mut self) -> Duration {
        let tenth = (self.max / 10).max(self.min);
        tenth / 2 + self.share(tenth)
    }

    /// A random part of a duration.
    fn share(&mut self, of: Duration) -> Duration {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        of.mul_f64((z >> 11) as f64 / (1u64 << 53) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: Duration = Duration::from_millis(500);
    const MAX: Duration = Duration::from_secs(300);

    #[test]
    fn waits_double_up_to_the_longest() {
        for seed in 0..50 {
            let mut backoff = Backoff::seeded(MIN, MAX, seed);
            for n in 0..100 {
                let wait = backoff.next(None);
                let top = MIN.saturating_mul(1 << (n + 1).min(12)).min(MAX);
                assert!(wait >= top / 2 && wait <= top, "try {n}: {wait:?}");
            }
            backoff.reset();
            assert!(backoff.next(None) <= 2 * MIN);
        }
    }

    #[test]
    fn seeds_differ() {
        let first = |seed| Backoff::seeded(MIN, MAX, seed).next(None);
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn a_servers_wish_counts_within_reason() {
        let mut backoff = Backoff::seeded(MIN, MAX, 1);
        let asked = Duration::from_secs(400);
        let wait = backoff.next(Some(asked));
        assert!(wait >= asked && wait <= asked + MIN, "{wait:?}");
        assert!(backoff.next(Some(Duration::MAX)) <= RETRY_AFTER_MAX + MIN);
        // Less than one's own wait does not shorten it.
        let mut backoff = Backoff::seeded(MIN, MAX, 1);
        assert!(backoff.next(Some(Duration::ZERO)) >= MIN);
    }

    #[test]
    fn what_the_user_must_mend_is_tried_slowly() {
        let mut backoff = Backoff::seeded(MIN, MAX, 1);
        let wait = backoff.slow();
        assert!(wait >= MAX / 20 && wait <= MAX / 5, "{wait:?}");
    }
}
