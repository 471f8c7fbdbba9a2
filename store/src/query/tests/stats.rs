//! What an answer says that it cost, counted by hand.

use super::*;
use crate::block::{Column, Header};

/// Two streams in one block of a segment, one in a block of the head, one entry of the head in no block. Every line is
/// nine bytes and its line feed.
fn fixture() -> Fixture {
    let mut fixture = Fixture::new();
    let mut ts = 1_000 * SECOND;
    let mut add = |fixture: &mut Fixture, stream: usize, entries: usize| {
        for _ in 0..entries {
            ts += SECOND;
            let line = b"nine byte".to_vec();
            fixture.append(Entry {
                stream,
                set: 0,
                ts,
                line,
            });
        }
    };
    add(&mut fixture, 0, 3);
    // Not selected, but in the same block.
    add(&mut fixture, 3, 2);
    fixture.flush();
    add(&mut fixture, 1, 2);
    fixture.seal();
    add(&mut fixture, 0, 1);
    fixture
}

/// Compressed bytes of some columns of both blocks.
fn compressed(fixture: &Fixture, columns: &[Column]) -> u64 {
    let reader = fixture.open(&fixture.segments[0]).unwrap();
    let offset = reader.chunks().unwrap()[0].block_offset;
    let on_disk = reader.block_header(offset).unwrap();
    bytes_of(&on_disk, columns) + compressed_in_head(fixture, columns)
}

/// The same of the block in the head.
fn compressed_in_head(fixture: &Fixture, columns: &[Column]) -> u64 {
    bytes_of(&Header::decode(&fixture.sealed[0].bytes).unwrap(), columns)
}

fn bytes_of(header: &Header, columns: &[Column]) -> u64 {
    let lens = columns.iter().map(|c| u64::from(header.place(*c).len));
    lens.sum()
}

const ALL_COLUMNS: [Column; 4] = [
    Column::Times,
    Column::Lengths,
    Column::Metadata,
    Column::Lines,
];

fn all_logs() -> Request {
    Request::Range {
        start: 0,
        end: 10_000 * SECOND,
        step: 1,
        limit: 100,
        direction: Direction::Forward,
    }
}

/// What looking at every line costs.
fn whole(fixture: &Fixture) -> QueryStats {
    QueryStats {
        bytes_processed: 60,
        lines_processed: 6,
        chunks_matched: 3,
        chunks_read: 3,
        compressed_bytes: compressed(fixture, &ALL_COLUMNS),
        section_bytes: 0,
        decompressed_bytes: 70,
        decompressed_lines: 7,
        head_bytes: 10,
        head_lines: 1,
        entries_returned: 6,
    }
}

const SHOP: &str = r#"{namespace="shop"}"#;

fn check(fixture: &Fixture, query: &str, request: &Request, want: QueryStats) {
    let stats = ask(fixture, query, request).1;
    assert_eq!(stats.section_bytes > 0, want.chunks_matched > 0, "{query}");
    let section_bytes = stats.section_bytes;
    assert_eq!(
        stats,
        QueryStats {
            section_bytes,
            ..want
        },
        "{query}"
    );
}

#[test]
fn statistics_of_lines_are_true() {
    let fixture = fixture();
    let (logs, whole) = (all_logs(), whole(&fixture));
    check(&fixture, SHOP, &logs, whole);
    // Where no line passes, no other column is read.
    let lines_only = QueryStats {
        compressed_bytes: compressed(&fixture, &[Column::Lines]),
        entries_returned: 0,
        ..whole
    };
    let nothing = format!(r#"{SHOP} |~ "[q-z]{{6}}""#);
    check(&fixture, &nothing, &logs, lines_only);
    // The skip index leaves out the block on disk, of which three lines were selected.
    let skipped = QueryStats {
        bytes_processed: 30,
        lines_processed: 3,
        chunks_read: 2,
        compressed_bytes: compressed_in_head(&fixture, &[Column::Lines]),
        decompressed_bytes: 20,
        decompressed_lines: 2,
        entries_returned: 0,
        ..whole
    };
    check(&fixture, &format!(r#"{SHOP} |= "nowhere""#), &logs, skipped);
    let none = r#"{namespace="nobody"}"#;
    check(&fixture, none, &logs, QueryStats::default());
}

#[test]
fn statistics_of_counts_are_true() {
    let fixture = fixture();
    let at = |second: i64| Request::Instant {
        time: second * SECOND,
    };
    let whole = QueryStats {
        entries_returned: 2,
        ..whole(&fixture)
    };
    let filtered = format!(r#"count_over_time({SHOP} |= "nine" [1h])"#);
    check(&fixture, &filtered, &at(3_600), whole);
    // Minute tables: of the blocks nothing is looked at.
    let tables = QueryStats {
        chunks_matched: 3,
        chunks_read: 1,
        lines_processed: 1,
        head_lines: 1,
        entries_returned: 2,
        ..QueryStats::default()
    };
    let count = format!("count_over_time({SHOP}[1h])");
    check(&fixture, &count, &at(3_600), tables);
    // The same where the window ends inside a minute, but none that has entries.
    check(&fixture, &count, &at(3_601), tables);
    // It ends inside a minute that has: times, not lines.
    let times = QueryStats {
        chunks_read: 3,
        lines_processed: 6,
        compressed_bytes: compressed(&fixture, &[Column::Times, Column::Metadata]),
        ..tables
    };
    check(&fixture, &count, &at(1_010), times);
}
