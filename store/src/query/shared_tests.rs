use std::time::Duration;

use super::*;
use crate::api::Cancel;
use logql::eval::Grants as _;

const MIB: usize = 1 << 20;

fn query(shared: &Arc<Shared>) -> Cancel {
    Cancel::at(Instant::now() + Duration::from_secs(3600)).among(shared)
}

fn taken(shared: &Shared) -> usize {
    shared.memory.lock().taken
}

/// Waits until so many that hold memory wait for more.
fn waiting(shared: &Shared, n: usize) {
    while shared.memory.lock().wanted.len() != n {
        std::thread::yield_now();
    }
}

#[test]
fn what_a_query_has_of_its_own_is_not_counted() {
    let shared = Arc::new(Shared::new(2, 0));
    let cancel = query(&shared);
    let _seat = cancel.enter().unwrap();
    assert_eq!(cancel.grant(OWN).unwrap(), OWN);
    assert_eq!(taken(&shared), 0);
}

#[test]
fn memory_is_taken_in_steps_and_given_back() {
    let shared = Arc::new(Shared::new(2, 4 * MIB));
    let cancel = query(&shared);
    {
        let _seat = cancel.enter().unwrap();
        assert_eq!(cancel.grant(OWN + 1).unwrap(), OWN + STEP);
        assert_eq!(cancel.grant(OWN + STEP).unwrap(), OWN + STEP);
        assert_eq!(cancel.grant(OWN + STEP + 1).unwrap(), OWN + 2 * STEP);
        assert_eq!(taken(&shared), 2 * STEP);
        assert!(cancel.try_grant(OWN + 4 * MIB));
        assert!(!cancel.try_grant(OWN + 4 * MIB + 1));
        assert_eq!(taken(&shared), 4 * MIB);
    }
    assert_eq!(taken(&shared), 0);
    // Whatever ends it.
    let panicked = std::thread::scope(|scope| {
        let run = || {
            let _seat = cancel.enter().unwrap();
            cancel.grant(2 * MIB).unwrap();
            panic!("in a query");
        };
        scope.spawn(run).join()
    });
    assert!(panicked.is_err());
    assert_eq!(taken(&shared), 0);
    assert!(shared.gate.has_free());
}

#[test]
fn a_query_waits_for_another_one_to_end_without_a_permit() {
    let shared = Arc::new(Shared::new(1, 4 * MIB));
    let (first, second) = (query(&shared), query(&shared));
    let seat = first.enter().unwrap();
    first.grant(OWN + 3 * MIB).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let _seat = second.enter().unwrap();
            second.grant(OWN + MIB).unwrap();
            second.grant(OWN + 2 * MIB).unwrap()
        });
        // There is one permit: the second has it only while the first hands it over, and the first gets it back.
        while shared.memory.lock().wanted.is_empty() {
            first.wait(std::thread::yield_now);
        }
        first.check().unwrap();
        drop(seat);
        assert_eq!(waits.join().unwrap(), OWN + 2 * MIB);
    });
    assert_eq!(taken(&shared), 0);
}

#[test]
fn the_one_that_closes_a_circle_fails() {
    let shared = Arc::new(Shared::new(4, 4 * MIB));
    let (first, second) = (query(&shared), query(&shared));
    let seat = first.enter().unwrap();
    first.grant(OWN + 2 * MIB).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let _seat = second.enter().unwrap();
            second.grant(OWN + 2 * MIB).unwrap();
            second.grant(OWN + 3 * MIB).unwrap()
        });
        waiting(&shared, 1);
        match first.grant(OWN + 3 * MIB) {
            Err(EvalError::Limit(text)) => {
                assert!(text.contains("query_memory_total"), "{text}");
                assert!(text.contains("3145728 bytes"), "{text}");
                assert!(text.contains("which has 4194304"), "{text}");
            }
            other => panic!("{other:?}"),
        }
        drop(seat);
        assert_eq!(waits.join().unwrap(), OWN + 3 * MIB);
    });
    assert_eq!(taken(&shared), 0);
}

#[test]
fn more_than_there_is_fails_at_once() {
    let shared = Arc::new(Shared::new(4, MIB));
    let cancel = query(&shared);
    let _seat = cancel.enter().unwrap();
    let got = cancel.grant(OWN + 2 * MIB);
    assert!(matches!(got, Err(EvalError::Limit(_))), "{got:?}");
}

#[test]
fn who_waits_for_memory_hears_of_its_end() {
    let shared = Arc::new(Shared::new(4, 2 * MIB));
    let (holder, cancelled) = (query(&shared), query(&shared));
    let late = Cancel::at(Instant::now() + Duration::from_millis(5)).among(&shared);
    let _seat = holder.enter().unwrap();
    holder.grant(OWN + 2 * MIB).unwrap();
    let _late = late.enter().unwrap();
    let got = late.grant(OWN + MIB);
    assert!(matches!(got, Err(EvalError::Timeout)), "{got:?}");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let _seat = cancelled.enter().unwrap();
            cancelled.grant(OWN + MIB)
        });
        cancelled.cancel();
        let got = waits.join();
        // Cancelled before it entered, or while it waited.
        assert!(!matches!(got, Ok(Ok(_))), "{got:?}");
    });
}

#[test]
fn a_changed_total_is_for_all() {
    let shared = Arc::new(Shared::new(4, MIB));
    let cancel = query(&shared);
    let _seat = cancel.enter().unwrap();
    assert!(!cancel.try_grant(OWN + 2 * MIB));
    shared.set_memory(2 * MIB);
    assert!(cancel.try_grant(OWN + 2 * MIB));
}
