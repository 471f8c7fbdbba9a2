//! Random appends, seals, flushes and reopenings, then the same query on the store and on a plain list of entries.

use super::*;

/// Small, repeatable random numbers.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len() as u64) as usize]
    }
}

pub(super) fn random_entry(random: &mut Random, now: &mut i64) -> Entry {
    *now += match random.below(10) {
        0..3 => 0,
        3..8 => random.below(2_000) as i64 * 1_000_000,
        8 => SECOND,
        _ => random.below(40) as i64 * SECOND,
    };
    let late = if random.below(15) == 0 {
        random.below(300) as i64 * SECOND
    } else {
        0
    };
    // Whole minutes are the edges of windows and tables.
    let ts = if random.below(12) == 0 {
        (*now).div_euclid(MINUTE_NS) * MINUTE_NS
    } else {
        *now - late
    };
    let word = random.pick(&["error", "Error", "GET /x", "needle", "", "a\nb", "timeout"]);
    let pad = "x".repeat(random.below(30) as usize);
    Entry {
        stream: random.below(5) as usize,
        set: random.below(6).min(random.below(9)) as usize % 6,
        ts,
        line: format!("{pad}{word} {}", random.below(50)).into_bytes(),
    }
}

fn random_request(random: &mut Random, now: i64) -> Request {
    let from = random.below(now as u64 + 1) as i64;
    let to = from + random.below((now - from + 400 * SECOND) as u64) as i64;
    let limit = random.pick(&[&1usize, &3, &50, &1000, &100_000]);
    Request::Range {
        start: from,
        end: to,
        step: 1,
        limit: *limit,
        direction: *random.pick(&[&Direction::Forward, &Direction::Backward]),
    }
}

fn random_steps(random: &mut Random, now: i64) -> Request {
    let step = *random.pick(&[&MINUTE_NS, &(5 * MINUTE_NS), &(7 * SECOND), &(90 * SECOND)]);
    let aligned = random.below(3) > 0;
    let mut start = random.below(now as u64 + 1) as i64;
    if aligned {
        start = start / step * step;
    }
    Request::Range {
        start,
        end: start + step * random.below(40) as i64,
        step,
        limit: 0,
        direction: Direction::Forward,
    }
}

const SELECTORS: [&str; 6] = [
    r#"{namespace="shop"}"#,
    r#"{namespace=~".+"}"#,
    r#"{app="dns", zone=""}"#,
    r#"{pod=~".*-1", namespace!="infra"}"#,
    r#"{namespace="shop", app!="cart"}"#,
    r#"{namespace="nope"}"#,
];
const FILTERS: [&str; 9] = [
    "",
    "",
    r#" |= "needle""#,
    r#" |= "error" != "7""#,
    r#" |~ "(?i)error""#,
    r#" != "GET""#,
    r#" |~ "tim.out 1$""#,
    r#" |= "absent everywhere""#,
    r#" |~ "(?i)get /X [1-3]|needle""#,
];

fn random_queries(fixture: &Fixture, random: &mut Random, now: i64, about: &str) {
    for _ in 0..6 {
        let query = format!("{}{}", random.pick(&SELECTORS), random.pick(&FILTERS));
        check(fixture, &query, &random_request(random, now), about);
    }
    for _ in 0..6 {
        let inner = format!("{}{}", random.pick(&SELECTORS), random.pick(&FILTERS));
        let op = random.pick(&["count_over_time", "bytes_over_time"]);
        let window = random.pick(&["1m", "5m", "30s", "7m"]);
        let query = match random.below(3) {
            0 => format!("{op}({inner} [{window}])"),
            1 => format!("sum by (namespace, detected_level) ({op}({inner} [{window}]))"),
            _ => format!("sum({op}({inner} [{window}]))"),
        };
        check(fixture, &query, &random_steps(random, now), about);
    }
    for _ in 0..8 {
        let inner = format!("{}{}", random.pick(&SELECTORS), random.pick(&FILTERS));
        // A number from the line, and one from metadata.
        let value = random.pick(&[
            r#"| regexp "(?P<n>[0-9]+)$" | unwrap n"#,
            r#"| detected_level!="error" | unwrap restart"#,
        ]);
        let window = random.pick(&["1m", "5m", "30s", "7m"]);
        let range = format!("({inner} {value} [{window}])");
        let query = match random.below(6) {
            0 => format!("first_over_time{range}"),
            1 => format!("last_over_time{range}"),
            2 => format!("sum by (namespace) (sum_over_time{range})"),
            3 => format!("max_over_time{range} by (pod, detected_level)"),
            4 => format!("stddev_over_time{range} without (pod)"),
            _ => format!("quantile_over_time(0.7, {} by (app)", &range[1..]),
        };
        check(fixture, &query, &random_steps(random, now), about);
    }
    let gone = format!("absent_over_time({}[30s])", random.pick(&SELECTORS));
    check(fixture, &gone, &random_steps(random, now), about);
}

#[test]
fn answers_equal_the_model() {
    for seed in 1..=25u64 {
        let mut random = Random::new(seed);
        let mut fixture = Fixture::new();
        let mut now = 1_000 * SECOND;
        for round in 0..8 {
            for _ in 0..random.below(250) {
                let entry = random_entry(&mut random, &mut now);
                fixture.append(entry);
            }
            match random.below(6) {
                0 | 1 => fixture.seal(),
                2 | 3 => fixture.flush(),
                4 => fixture.reopen(|_| {}),
                _ => {}
            }
            let about = format!("seed {seed} round {round}");
            random_queries(&fixture, &mut random, now, &about);
        }
        assert_eq!(fixture.damage.count(), 0);
    }
}
