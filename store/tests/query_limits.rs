//! What ends a query that asks for too much: the bytes it may look at, and its deadline, within a block of lines too.

mod common;

use std::time::{Duration, Instant};

use common::{SOURCES, options};
use disk::sim::SimDisk;
use logql::eval::EvalError;
use logql::plan::Direction;
use logql::value::Value;
use store::api::{Cancel, Request, Store, Tuning};
use wire::{Batch, Entry, LabelSet, SourcePosition};

const START: i64 = 1_700_000_000_000_000_000;
const LINES: i64 = 2_000;
const LINE: &str = "one line of many that say the same";

/// A store with one run of lines that is looked at as a whole.
fn store(max_query_bytes_read: Option<u64>) -> Store {
    let mut options = options(&SimDisk::new(1));
    options.tuning = Tuning {
        max_query_bytes_read,
        ..options.tuning
    };
    let store = Store::open(options).expect("opens");
    let stream = LabelSet::from_pairs([("app", "one")]).expect("one label");
    let none = LabelSet::from_pairs::<&str, &str>([]).expect("no label");
    let entries: Vec<Entry<'_>> = (0..LINES)
        .map(|i| Entry {
            stream: 0,
            ts: START + i,
            line: LINE.as_bytes(),
            metadata: none.as_ref(),
        })
        .collect();
    store
        .append(&Batch {
            streams: &[&stream],
            entries: &entries,
            source: Some(SourcePosition {
                key: SOURCES[0].as_bytes(),
                position: Some(b"1"),
            }),
        })
        .expect("taken");
    store
}

fn ask(store: &Store, query: &str, deadline: Duration) -> Result<Value, EvalError> {
    let plan = logql::parse(query).expect(query);
    let request = Request::Range {
        start: START - 1,
        end: START + LINES,
        step: LINES,
        limit: 10,
        direction: Direction::Forward,
    };
    let cancel = Cancel::at(Instant::now() + deadline);
    store
        .query(&plan, &request, &cancel)
        .map(|(value, _)| value)
}

#[test]
fn a_query_reads_no_more_bytes_than_it_may() {
    let hour = Duration::from_secs(3600);
    let all = LINES as u64 * (LINE.len() as u64 + 1);
    let queries = [
        r#"{app="one"} |= "same""#,
        r#"rate({app="one"} |= "same" [1h])"#,
    ];
    for query in queries {
        for enough in [Some(all), None] {
            ask(&store(enough), query, hour).expect(query);
        }
        match ask(&store(Some(1024)), query, hour) {
            Err(EvalError::Limit(text)) => {
                assert_eq!(
                    text,
                    "the query would read too many bytes (query: 68 KiB, limit: 1.0 KiB); consider adding more \
                     specific stream selectors or reduce the time range of the query"
                );
            }
            other => panic!("{query}: {other:?}"),
        }
    }
    // What needs no lines reads none.
    let count = r#"count_over_time({app="one"}[1h])"#;
    ask(&store(Some(1024)), count, hour).expect(count);
}

#[test]
fn a_slow_pipeline_is_stopped_inside_a_block() {
    let store = store(None);
    // A megabyte to fill and to search for each line; nothing of it stays.
    let slow = r#"{app="one"} | line_format "{{repeat 1000000 \"x\"}}" |= "y""#;
    let metric = format!("count_over_time({slow} [1h])");
    for query in [slow, &metric] {
        let got = ask(&store, query, Duration::from_millis(5));
        assert!(matches!(got, Err(EvalError::Timeout)), "{query}: {got:?}");
    }
}
