use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use super::*;

/// Squares numbers in order.
struct Squares<'a> {
    cancel: Cancel,
    next: u64,
    end: u64,
    helpers: usize,
    got: Vec<u64>,
    /// Runs with each job of a worker.
    with: &'a (dyn Fn(u64) + Sync),
    /// The jobs that workers cannot do.
    hard: fn(u64) -> bool,
    last: u64,
    failing: Option<u64>,
    ahead: AtomicUsize,
    /// What has to be above 0 before the owner does anything but the first job alone.
    waits_for: Option<&'a AtomicUsize>,
}

struct Squarer<'a> {
    with: &'a (dyn Fn(u64) + Sync),
    hard: fn(u64) -> bool,
}

impl Worker for Squarer<'_> {
    type Job = u64;
    type Done = Option<u64>;

    fn run(&mut self, job: &u64) -> Option<u64> {
        (self.with)(*job);
        (!(self.hard)(*job)).then(|| job * job)
    }
}

impl<'a> Scan for Squares<'a> {
    type Job = u64;
    type Done = Option<u64>;
    type Worker = Squarer<'a>;

    fn next(&mut self) -> Result<Option<u64>, EvalError> {
        let job = (self.next < self.end).then_some(self.next);
        self.next += 1;
        let ahead = self.next as usize - self.got.len();
        self.ahead.fetch_max(ahead, Ordering::Relaxed);
        Ok(job)
    }

    fn alone(&mut self, job: u64) -> Result<bool, EvalError> {
        if Some(job) == self.failing {
            return Err(EvalError::Bad(format!("{job}")));
        }
        if let Some(helped) = self.waits_for.filter(|_| job > 0) {
            while helped.load(Ordering::Relaxed) == 0 {
                std::thread::yield_now();
            }
        }
        self.got.push(job * job);
        Ok(job < self.last)
    }

    fn merge(&mut self, job: u64, done: Option<u64>, _: usize) -> Result<Merged<u64>, EvalError> {
        let Some(square) = done else {
            return Ok(Merged::Again(job));
        };
        if Some(job) == self.failing {
            return Err(EvalError::Bad(format!("{job}")));
        }
        self.got.push(square);
        Ok(if job < self.last {
            Merged::Done
        } else {
            Merged::Last
        })
    }

    fn helpers(&mut self) -> usize {
        self.helpers
    }

    fn worker(&mut self, _: &Cancel) -> Option<Squarer<'a>> {
        Some(Squarer {
            with: self.with,
            hard: self.hard,
        })
    }

    fn dismissed(&mut self) {
        self.helpers = 0;
    }

    fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

fn squares(with: &(dyn Fn(u64) + Sync)) -> Squares<'_> {
    Squares {
        cancel: Cancel::at(Instant::now() + Duration::from_secs(3600)),
        next: 0,
        end: 500,
        helpers: 3,
        got: Vec::new(),
        with,
        hard: |_| false,
        last: u64::MAX,
        failing: None,
        ahead: AtomicUsize::new(0),
        waits_for: None,
    }
}

fn expected(n: u64) -> Vec<u64> {
    (0..n).map(|i| i * i).collect()
}

#[test]
fn results_come_in_order_and_not_far_ahead() {
    // Some are slow.
    let mut scan = squares(&|n| {
        for _ in 0..(n * 7_919 % 31) * 50 {
            std::thread::yield_now();
        }
    });
    run(&mut scan).unwrap();
    assert_eq!(scan.got, expected(500));
    assert!(scan.ahead.into_inner() <= AHEAD * 4 + 1);
}

#[test]
fn helpers_take_part() {
    let owner = std::thread::current().id();
    let helped = AtomicUsize::new(0);
    let with = |_| {
        if std::thread::current().id() != owner {
            helped.fetch_add(1, Ordering::Relaxed);
        }
    };
    let mut scan = squares(&with);
    // The owner does nothing alone until a helper has.
    scan.waits_for = Some(&helped);
    run(&mut scan).unwrap();
    assert_eq!(scan.got, expected(500));
    assert!(helped.load(Ordering::Relaxed) > 0);
}

#[test]
fn what_a_helper_cannot_do_is_done_alone_from_there_on() {
    for hard in [|n| n == 1, |n| n == 77, |n| n > 490] {
        let mut scan = squares(&|_| ());
        scan.hard = hard;
        run(&mut scan).unwrap();
        assert_eq!(scan.got, expected(500));
    }
}

#[test]
fn an_end_and_an_error_come_where_they_would_alone() {
    for at in [0, 1, 2, 9, 250, 499] {
        let mut scan = squares(&|_| ());
        scan.last = at;
        run(&mut scan).unwrap();
        assert_eq!(scan.got, expected(at + 1));
        let mut scan = squares(&|_| ());
        scan.failing = Some(at);
        let got = run(&mut scan);
        assert!(
            matches!(&got, Err(EvalError::Bad(text)) if *text == at.to_string()),
            "{got:?}"
        );
        assert_eq!(scan.got, expected(at));
    }
}

#[test]
fn a_panic_of_a_helper_ends_the_query() {
    let owner = std::thread::current().id();
    let with = |_| assert!(std::thread::current().id() == owner, "a helper's panic");
    let got = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let mut scan = squares(&with);
        scan.end = u64::MAX;
        run(&mut scan)
    }));
    assert!(got.is_err());
}
