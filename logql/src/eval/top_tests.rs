use crate::pipeline::{Category, EntryView, Pipeline};
use crate::plan::Plan;

use super::*;

fn pipeline() -> Pipeline {
    match crate::parse("{a=\"b\"}") {
        Ok(Plan::Log(leaf)) => leaf.pipeline,
        other => panic!("{other:?}"),
    }
}

/// Pushes an entry of a stream with one label.
fn push(
    top: &mut Top,
    (ts, entry): (i64, u32),
    label: (&str, &str),
    line: &[u8],
    budget: usize,
) -> Result<KnownLabels, EvalError> {
    let pipeline = pipeline();
    let mut run = pipeline.run();
    let stream = [label];
    let outcome = run.process(&EntryView {
        ts,
        line,
        stream: &stream,
        metadata: &[],
    });
    let arrival = Arrival {
        sequence: 1,
        chunk: 0,
        entry,
    };
    top.push(ts, arrival, &outcome.expect("no filter"), (budget, 0))
}

/// Entries `(ts, pod, arrival)`; `want` are the arrivals of the answer.
fn check(direction: Direction, limit: usize, entries: &[(i64, &str, u32)], want: &[u32]) {
    let budget = 1 << 20;
    let mut top = Top::new(limit, direction);
    for (ts, pod, arrival) in entries {
        let line = arrival.to_string();
        if top.wants(*ts) {
            push(
                &mut top,
                (*ts, *arrival),
                ("pod", pod),
                line.as_bytes(),
                budget,
            )
            .unwrap();
        }
    }
    let logs = top.finish();
    let got: Vec<u32> = logs
        .entries
        .iter()
        .map(|e| std::str::from_utf8(&e.line).unwrap().parse().unwrap())
        .collect();
    assert_eq!(got, want, "{direction:?} limit {limit}");
    let mut used: Vec<u32> = logs.entries.iter().map(|e| e.labels).collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used.len(), logs.label_sets.len(), "no unused label set");
}

#[test]
fn order_is_lokis() {
    let entries = [
        (1, "b", 0),
        (1, "a", 1),
        (1, "b", 2),
        (2, "a", 3),
        (2, "a", 4),
        (0, "c", 5),
    ];
    check(Direction::Forward, 10, &entries, &[5, 1, 0, 2, 3, 4]);
    check(Direction::Backward, 10, &entries, &[4, 3, 1, 2, 0, 5]);
    check(Direction::Forward, 3, &entries, &[5, 1, 0]);
    check(Direction::Backward, 3, &entries, &[4, 3, 1]);
    check(Direction::Backward, 4, &entries, &[4, 3, 1, 2]);
    check(Direction::Backward, 0, &entries, &[]);
    check(Direction::Forward, 5, &[], &[]);
}

#[test]
fn far_more_entries_than_the_limit() {
    let many: Vec<(i64, &str, u32)> = (0..5_000)
        .map(|n: u32| (i64::from(n * 7 % 5_000), ["a", "b"][n as usize % 2], n))
        .collect();
    let mut sorted = many.clone();
    sorted.sort_by_key(|e| e.0);
    let forward: Vec<u32> = sorted.iter().map(|e| e.2).take(100).collect();
    check(Direction::Forward, 100, &many, &forward);
    let backward: Vec<u32> = sorted.iter().rev().map(|e| e.2).take(100).collect();
    check(Direction::Backward, 100, &many, &backward);
}

#[test]
fn memory_is_bounded_and_the_error_names_the_limit() {
    let budget = 10_000;
    let mut top = Top::new(100, Direction::Backward);
    let line = [b'x'; 1_000];
    let failed = (0..20)
        .map(|ts| push(&mut top, (ts, 0), ("pod", "a"), &line, budget))
        .find(Result::is_err);
    let Some(Err(EvalError::Limit(text))) = failed else {
        panic!("no limit error");
    };
    assert!(text.contains("10000 bytes"), "{text}");
}

#[test]
fn label_sets_of_forgotten_entries_are_dropped() {
    let budget = 4 << 20;
    let mut top = Top::new(10, Direction::Forward);
    for n in 0..20_000u32 {
        let id = format!("trace-{n}");
        push(&mut top, (5, n), ("trace_id", &id), b"", budget).unwrap();
        assert!(top.labels.len() < 3_000);
    }
    assert_eq!(top.finish().entries.len(), 10);
}

#[test]
fn labels_are_known_until_they_have_other_numbers() {
    let budget = 1 << 20;
    let arrival = |entry| Arrival {
        sequence: 1,
        chunk: 0,
        entry,
    };
    let mut top = Top::new(2, Direction::Backward);
    let a = push(&mut top, (5, 0), ("pod", "a"), b"0", budget).unwrap();
    let mut known = 0;
    // Pods of their own, until the labels of entries that are gone are dropped.
    for n in 1..200 {
        if !top
            .push_known((5, b"known"), arrival(n), a, (budget, 0))
            .unwrap()
        {
            break;
        }
        known += 1;
        let pod = n.to_string();
        push(
            &mut top,
            (1_000 + i64::from(n), n),
            ("pod", &pod),
            b"",
            budget,
        )
        .unwrap();
    }
    assert!((10..199).contains(&known), "{known}");
    let b = push(&mut top, (9_000, 0), ("pod", "b"), b"b", budget).unwrap();
    assert!(
        top.push_known((9_001, b"b too"), arrival(1), b, (budget, 0))
            .unwrap()
    );
    let logs = top.finish();
    let shown: Vec<_> = logs
        .entries
        .iter()
        .map(|e| (e.ts, &*e.line, &logs.label_sets[e.labels as usize]))
        .collect();
    let pod_b = [("pod", "b", Category::Stream)].into_iter().collect();
    assert_eq!(
        shown,
        [(9_001, &b"b too"[..], &pod_b), (9_000, &b"b"[..], &pod_b)]
    );
}
