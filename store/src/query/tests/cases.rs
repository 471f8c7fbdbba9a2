//! Promises and limits of queries, one by one.

use super::*;

const SHOP: &str = r#"{namespace="shop"}"#;
const ALL: &str = r#"{namespace=~".+"}"#;

/// Four segments and something in the head: 100 entries each, a second apart, over five streams.
fn filled() -> Fixture {
    let mut fixture = Fixture::new();
    for n in 0..480i64 {
        fixture.append(Entry {
            stream: (n % 5) as usize,
            set: (n % 3) as usize,
            ts: 60 * SECOND + n * SECOND,
            line: format!("line {n} of many").into_bytes(),
        });
        match n {
            99 | 199 | 299 | 399 => fixture.flush(),
            440 => fixture.seal(),
            _ => {}
        }
    }
    fixture
}

fn logs_request(limit: usize, direction: Direction) -> Request {
    Request::Range {
        start: 0,
        end: 10_000 * SECOND,
        step: 1,
        limit,
        direction,
    }
}

fn steps(start: i64, end: i64, step: i64) -> Request {
    Request::Range {
        start: start * SECOND,
        end: end * SECOND,
        step: step * SECOND,
        limit: 0,
        direction: Direction::Forward,
    }
}

/// What must be the same whatever happened to the index.
fn check_everything(fixture: &Fixture, about: &str) {
    for query in [
        SHOP,
        r#"{namespace=~".+", app=""} |= "line 1""#,
        r#"{pod=~"dns.*"} != "3""#,
    ] {
        for direction in [Direction::Forward, Direction::Backward] {
            for limit in [1, 10, 10_000] {
                check(fixture, query, &logs_request(limit, direction), about);
            }
        }
    }
    for query in [
        "sum by (namespace) (count_over_time({namespace=~\".+\"}[1m]))",
        "bytes_over_time({app=\"cart\"}[2m])",
        "sum(count_over_time({namespace=\"infra\"} |= \"1\" [90s]))",
    ] {
        check(fixture, query, &steps(0, 900, 60), about);
        check(fixture, query, &steps(7, 900, 45), about);
    }
    check_listing(fixture, about);
}

fn check_listing(fixture: &Fixture, about: &str) {
    for (query, start, end) in [
        ("{}", 0, 10_000),
        (SHOP, 0, 10_000),
        (r#"{zone!=""}"#, 0, 10_000),
        ("{}", 0, 59),
        ("{}", 160, 160),
    ] {
        let matchers = logql::parse_matchers(query).unwrap();
        let (start, end) = (start * SECOND, end * SECOND);
        let sets = streams();
        let mut want: Vec<String> = fixture
            .all
            .iter()
            .filter(|e| e.ts >= start && e.ts <= end)
            .map(|e| &sets[e.stream])
            .filter(|s| all_match(&matchers, &s.as_ref().iter().collect::<Vec<_>>()))
            .map(ToString::to_string)
            .collect();
        want.sort();
        want.dedup();
        // A chunk that touches the range is enough, so a range inside one gives more streams.
        let got = series(
            fixture,
            std::slice::from_ref(&matchers),
            (start, end),
            &hour(),
        )
        .unwrap();
        let got: Vec<String> = got.iter().map(ToString::to_string).collect();
        assert!(got.is_sorted(), "{about}: {query}");
        for stream in &want {
            assert!(got.contains(stream), "{about}: {query} lacks {stream}");
        }
        if end - start > 1_000 * SECOND || want.is_empty() {
            assert_eq!(got, want, "{about}: {query}");
            let names = label_names(fixture, &matchers, (start, end), &hour()).unwrap();
            assert_eq!(names.is_empty(), want.is_empty(), "{about}: {query}");
        }
    }
    let all = |name| label_values(fixture, name, &[], (0, 10_000 * SECOND), &hour()).unwrap();
    assert_eq!(all("namespace"), ["infra", "shop"], "{about}");
    assert_eq!(all("zone"), ["a"], "{about}");
    let names = label_names(fixture, &[], (0, 10_000 * SECOND), &hour()).unwrap();
    assert_eq!(names, ["app", "namespace", "pod", "zone"], "{about}");
}

#[test]
fn listings_and_queries_of_a_plain_store() {
    check_everything(&filled(), "plain");
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "damages the index behind the store's back"
)]
fn p3_the_index_is_a_cache() {
    type Damage = fn(&std::path::Path);
    let cases: [(&str, Damage); 4] = [
        ("deleted", |p| {
            for suffix in ["", "-wal", "-shm"] {
                let mut name = p.as_os_str().to_owned();
                name.push(suffix);
                let _ = std::fs::remove_file(name);
            }
        }),
        ("truncated", |p| {
            let bytes = std::fs::read(p).unwrap();
            std::fs::write(p, &bytes[..bytes.len() / 3]).unwrap();
        }),
        ("replaced by text", |p| {
            std::fs::write(p, "x".repeat(9_000)).unwrap();
        }),
        ("an older one", |p| {
            let c = rusqlite::Connection::open(p).unwrap();
            c.execute_batch("DELETE FROM segments WHERE sequence > 2")
                .unwrap();
        }),
    ];
    for (about, damage) in cases {
        let mut fixture = filled();
        fixture.reopen(|folder| damage(&folder.join(crate::index::FILE_NAME)));
        assert!(!fixture.index.stale(), "{about}");
        check_everything(&fixture, about);
    }
}

#[test]
fn without_an_index_the_segments_answer() {
    let mut fixture = filled();
    fixture.index.discard();
    check_everything(&fixture, "discarded");
    // Flushes go on; the next start heals it.
    for n in 0..30 {
        fixture.append(Entry {
            stream: n % 5,
            set: 0,
            ts: 2_000 * SECOND,
            line: b"later".to_vec(),
        });
    }
    fixture.flush();
    check_everything(&fixture, "flushed without");
    fixture.reopen(|_| {});
    assert!(!fixture.index.stale());
    check_everything(&fixture, "reopened");
}

#[test]
fn whole_minutes_are_counted_without_reading_a_block() {
    let mut fixture = filled();
    fixture.flush();
    let query = "sum by (namespace) (count_over_time({namespace=~\".+\"}[1m]))";
    let (_, stats) = ask(&fixture, query, &steps(60, 600, 60));
    assert_eq!(stats.chunks_read, 0);
    assert!(stats.chunks_matched > 0);
    let (_, stats) = ask(&fixture, query, &steps(61, 600, 60));
    assert!(stats.chunks_read > 0, "windows off the minute need times");
}

#[test]
fn a_full_answer_ends_the_scan() {
    let mut fixture = filled();
    fixture.flush();
    for direction in [Direction::Forward, Direction::Backward] {
        let (_, all) = ask(&fixture, SHOP, &logs_request(10_000, direction));
        let (_, few) = ask(&fixture, SHOP, &logs_request(5, direction));
        assert_eq!(all.chunks_read, all.chunks_matched);
        assert!(few.chunks_read * 4 <= all.chunks_read, "{few:?} of {all:?}");
    }
}

#[test]
fn p9_a_damaged_block_costs_that_block() {
    let mut fixture = filled();
    fixture.flush();
    let (before, _) = ask(&fixture, ALL, &logs_request(10_000, Direction::Forward));
    let reader = fixture.open(&fixture.segments[1]).unwrap();
    let chunk = reader.chunks().unwrap()[0];
    let path = fixture.path(fixture.segments[1].sequence);
    let file = fixture
        .disk
        .open(&path, disk::Mode::ReadWrite, disk::Purpose::Segment)
        .unwrap();
    let header = reader.block_header(chunk.block_offset).unwrap();
    let lines = header.place(Column::Lines);
    file.write_at(&[0xff; 4], chunk.block_offset + u64::from(lines.offset) + 3)
        .unwrap();
    let of = |value: &Value| match value {
        Value::Logs(logs) => logs.entries.len(),
        _ => unreachable!(),
    };
    for _ in 0..3 {
        let (after, _) = ask(&fixture, ALL, &logs_request(10_000, Direction::Forward));
        assert!(of(&after) < of(&before) && of(&after) >= of(&before) - 100);
        assert_eq!(fixture.damage.count(), 1, "counted once");
    }
    // Counts do not read the damaged column.
    let query = "sum(count_over_time({namespace=~\".+\"}[1m]))";
    check(&fixture, query, &steps(0, 600, 60), "minute tables");
    check(&fixture, query, &steps(3, 600, 61), "times");
}

#[test]
fn p9_a_damaged_skip_index_costs_no_line() {
    let fixture = filled();
    let query = r#"{namespace=~".+"} |= "line 1""#;
    let skipped = r#"{namespace=~".+"} |= "nowhere""#;
    let request = logs_request(10_000, Direction::Forward);
    let before = ask(&fixture, skipped, &request).1;
    for segment in &fixture.segments {
        let reader = fixture.open(segment).unwrap();
        let place = reader.summary().sections[segment::Section::Skip as usize];
        let path = fixture.path(segment.sequence);
        let file = fixture
            .disk
            .open(&path, disk::Mode::ReadWrite, disk::Purpose::Segment)
            .unwrap();
        file.write_at(&[0xff; 4], place.offset).unwrap();
    }
    check(&fixture, query, &request, "with lines in every segment");
    // Each is told once, and nothing is left out any more.
    assert_eq!(fixture.damage.count(), fixture.segments.len() as u64);
    let after = ask(&fixture, skipped, &request).1;
    assert!(
        after.chunks_read > before.chunks_read,
        "{before:?} {after:?}"
    );
}

#[test]
fn p9_a_damaged_segment_costs_that_segment() {
    let mut fixture = filled();
    fixture.flush();
    let path = fixture.path(fixture.segments[2].sequence);
    let file = fixture
        .disk
        .open(&path, disk::Mode::ReadWrite, disk::Purpose::Segment)
        .unwrap();
    let len = file.len().unwrap();
    file.write_at(&vec![0; len as usize], 0).unwrap();
    let query = "sum(count_over_time({namespace=~\".+\"}[1h]))";
    let (value, _) = ask(&fixture, query, &steps(3_600, 3_600, 60));
    let Value::Matrix(matrix) = value else {
        panic!("a matrix");
    };
    assert!((matrix.series[0].points[0].1 - 380.0).abs() < 0.5);
    assert_eq!(fixture.damage.count(), 1);
    // One that is gone was removed by somebody who may: no damage.
    fixture.disk.remove(&path).unwrap();
    ask(&fixture, query, &steps(3_600, 3_600, 60));
    assert_eq!(fixture.damage.count(), 1);
}

#[test]
fn p4_memory_is_bounded_by_the_budget() {
    let fixture = filled();
    let small = Limits {
        memory: 2_000,
        series: 500,
        scanned: None,
        ..LIMITS
    };
    for (query, request) in [
        (SHOP, logs_request(10_000, Direction::Forward)),
        (
            "count_over_time({namespace=\"shop\"}[1m])",
            steps(0, 600, 60),
        ),
        // The left side is held while the right one runs.
        (
            "vector(1) + on () count_over_time({namespace=\"shop\"}[1m])",
            steps(0, 600, 60),
        ),
    ] {
        let plan = logql::parse(query).unwrap();
        match run(&fixture, small, &plan, &request, &hour()) {
            Err(EvalError::Limit(text)) => assert!(text.contains("2000 bytes"), "{text}"),
            other => panic!("{query}: {other:?}"),
        }
    }
}

#[test]
fn a_cancelled_or_late_query_stops() {
    let fixture = filled();
    let plan = logql::parse(SHOP).unwrap();
    let request = logs_request(10, Direction::Backward);
    let cancel = hour();
    cancel.cancel();
    let got = run(&fixture, LIMITS, &plan, &request, &cancel);
    assert!(matches!(got, Err(EvalError::Cancelled)));
    let late = Cancel::at(Instant::now());
    for (cancel, want) in [(&cancel, "Cancelled"), (&late, "Timeout")] {
        let range = (0, 10_000 * SECOND);
        let got = [
            label_names(&fixture, &[], range, cancel).map(drop),
            label_values(&fixture, "pod", &[], range, cancel).map(drop),
            series(&fixture, &[], range, cancel).map(drop),
        ];
        for got in got {
            assert_eq!(format!("{:?}", got.unwrap_err()), want);
        }
    }
    let got = run(&fixture, LIMITS, &plan, &request, &late);
    assert!(matches!(got, Err(EvalError::Timeout)));
    let plan = logql::parse(SHOP).unwrap();
    let got = run(
        &fixture,
        LIMITS,
        &plan,
        &Request::Instant { time: 5 },
        &hour(),
    );
    assert!(matches!(got, Err(EvalError::Bad(_))));
}

#[test]
fn equal_lines_at_one_moment_are_all_there() {
    let mut fixture = Fixture::new();
    for n in 0..40 {
        fixture.append(Entry {
            stream: 0,
            set: 0,
            ts: 5 * SECOND,
            line: b"same".to_vec(),
        });
        match n {
            9 => fixture.flush(),
            19 => fixture.seal(),
            _ => {}
        }
    }
    for direction in [Direction::Forward, Direction::Backward] {
        check(&fixture, SHOP, &logs_request(100, direction), "equal");
        let (value, _) = ask(&fixture, SHOP, &logs_request(100, direction));
        assert!(matches!(value, Value::Logs(l) if l.entries.len() == 40));
    }
}

#[test]
fn ranges_that_hold_nothing() {
    let fixture = filled();
    for (start, end) in [
        (5, 5),
        (9, 3),
        (i64::MAX - 1, i64::MAX),
        (i64::MIN, i64::MIN + 1),
    ] {
        let request = Request::Range {
            start,
            end,
            step: 1,
            limit: 10,
            direction: Direction::Forward,
        };
        check(&fixture, SHOP, &request, "nothing");
    }
    let all = Request::Range {
        start: i64::MIN,
        end: i64::MAX,
        step: 1,
        limit: 10_000,
        direction: Direction::Backward,
    };
    check(&fixture, SHOP, &all, "everything");
}
