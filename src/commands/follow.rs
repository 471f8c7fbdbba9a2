//! `drupelet query --follow`: the newest entries, then new ones as they come, from drupelet or any Loki.
//!
//! New entries are asked for twice a second. Each time a little of what was printed already is asked for again, since
//! entries of other streams may arrive late; what was printed is known by time, labels and line, and left out. An entry
//! that arrives more than [`OVERLAP_NS`] behind the newest one is not printed.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Write};
use std::time::Duration;

use wire::query::{Answer, Stream};

use super::query::{Printer, Row, query_of, rows};
use crate::args::Raw;
use crate::ask::{Range, Target};
use crate::http_client::encode;
use crate::report::{Failure, written};
use crate::time::now_ns;

/// Pause between two questions.
const POLL: Duration = Duration::from_millis(500);
/// Longest pause while the server does not answer.
const RETRY_MAX: Duration = Duration::from_secs(8);
/// How far behind the newest printed entry a late one may be, ns.
const OVERLAP_NS: i64 = 10_000_000_000;
/// Entries of one answer: half of what Loki gives at most.
const PAGE: usize = 2500;
/// Printed entries that are remembered; with more of them the overlap becomes shorter. Less than a page, so that a page
/// has room for what is new.
const SEEN_MAX: usize = PAGE / 2;
/// Entries may be this far in the future, ns: Loki takes ten minutes.
const AHEAD_NS: i64 = 600_000_000_000;

/// Prints until the user has enough.
///
/// # Errors
/// Flags that do not go with it, a server that cannot be reached at the start, a query that it refuses.
pub(super) fn run(
    raw: &Raw,
    limit: &str,
    printer: &mut Printer<impl Write>,
) -> Result<(), Failure> {
    let query = query_of(raw);
    for flag in ["to", "step", "forward"] {
        if raw.has(flag) {
            return Err(Failure::usage(format!(
                "`--follow` and `--{flag}` exclude each other"
            )));
        }
    }
    if matches!(logql::parse(query), Ok(logql::plan::Plan::Metric(_))) {
        return Err(
            Failure::usage("`--follow` needs a log query, this one gives numbers")
                .with_hint("run it again and again with `watch drupelet query ...`"),
        );
    }
    let target = Target::from_flags(raw)?;
    if target.is_idle() {
        return Err(Failure::failed(
            "nothing writes to this data directory, so nothing new will come",
        )
        .with_hint("`drupelet run` writes to it; without `--follow` you see what is there"));
    }
    let range = Range::from_flags(raw)?;
    let mut follower = Follower {
        seen: Seen::new(range.start),
        query: encode(query),
        target,
    };
    let first = follower.history(range, limit).map_err(|e| e.failure)?;
    let mut print = |rows: &[Row<'_>]| -> io::Result<()> {
        rows.iter().try_for_each(|row| printer.row(*row))?;
        printer.flush()
    };
    let mut shown = print(&follower.seen.keep_new(rows(&first, true)));
    let mut pause = POLL;
    while shown.is_ok() {
        std::thread::sleep(pause);
        match follower.poll(&mut print) {
            Ok(result) => {
                shown = result;
                pause = POLL;
            }
            Err(e) if e.passing => {
                // Once for each outage; what was missed is printed when it is over.
                if pause == POLL {
                    e.failure.warn(&mut io::stderr().lock());
                }
                pause = (pause * 2).min(RETRY_MAX);
            }
            Err(e) => return Err(e.failure),
        }
    }
    written(shown)
}

struct Follower {
    target: Target,
    /// Percent-encoded.
    query: String,
    seen: Seen,
}

/// Prints rows, oldest first.
type Print<'a> = &'a mut dyn FnMut(&[Row<'_>]) -> io::Result<()>;

impl Follower {
    /// The newest entries of the range.
    fn history(
        &mut self,
        range: Range,
        limit: &str,
    ) -> Result<Vec<Stream>, crate::ask::Unanswered> {
        let streams = self.ask(range.start, range.end, limit, "backward")?;
        let times = streams.iter().flat_map(|s| s.entries.iter().map(|e| e.ts));
        if limit.parse() == Ok(times.clone().count()) {
            // What the limit left out stays out.
            self.seen.floor = times.min().map_or(range.start, |oldest| oldest + 1);
        }
        Ok(streams)
    }

    /// Prints what is new, page by page.
    fn poll(&mut self, print: Print<'_>) -> Result<io::Result<()>, crate::ask::Unanswered> {
        let now = now_ns();
        let mut start = self.seen.start(now);
        loop {
            let streams = self.ask(start, now + AHEAD_NS, &PAGE.to_string(), "forward")?;
            let page = rows(&streams, true);
            let (count, last) = (page.len(), page.last().map_or(start, |row| row.ts));
            let new = self.seen.keep_new(page);
            if let Err(e) = print(&new) {
                return Ok(Err(e));
            }
            if count < PAGE {
                return Ok(Ok(()));
            }
            // A whole page of one instant: what else that instant holds cannot be asked for.
            start = if last == start { last + 1 } else { last };
        }
    }

    fn ask(
        &self,
        start: i64,
        end: i64,
        limit: &str,
        direction: &str,
    ) -> Result<Vec<Stream>, crate::ask::Unanswered> {
        let query = &self.query;
        let body = self.target.ask(&format!(
            "/loki/api/v1/query_range?query={query}&start={start}&end={end}&limit={limit}&direction={direction}"
        ))?;
        match wire::query::decode(&body) {
            Ok(Answer::Streams(streams)) => Ok(streams),
            Ok(_) => Err(Failure::failed("the server answered a log query with numbers").into()),
            Err(e) => Err(Failure::caused("the server's answer cannot be read", &e).into()),
        }
    }
}

/// What was printed lately.
struct Seen {
    /// Hashes of labels and line by time; a hash as often as it was printed.
    rows: BTreeMap<i64, Vec<u64>>,
    count: usize,
    /// Nothing before this is asked for again.
    floor: i64,
}

impl Seen {
    fn new(floor: i64) -> Seen {
        Seen {
            rows: BTreeMap::new(),
            count: 0,
            floor,
        }
    }

    /// Where the next question begins. A clock that is ahead must not hide what comes with the right time.
    fn start(&self, now: i64) -> i64 {
        let newest = self.rows.last_key_value().map_or(self.floor, |(ts, _)| *ts);
        (newest.min(now) - OVERLAP_NS).max(self.floor)
    }

    /// Takes out what was printed, and remembers the rest. Rows rise by time.
    fn keep_new<'a>(&mut self, rows: Vec<Row<'a>>) -> Vec<Row<'a>> {
        let mut new = Vec::new();
        for same in rows.chunk_by(|a, b| a.ts == b.ts) {
            let printed = self.rows.entry(same[0].ts).or_default();
            let mut left = printed.clone();
            for row in same {
                let hash = hash(row);
                match left.iter().position(|h| *h == hash) {
                    Some(at) => drop(left.swap_remove(at)),
                    None => {
                        printed.push(hash);
                        self.count += 1;
                        new.push(*row);
                    }
                }
            }
        }
        self.forget();
        new
    }

    fn forget(&mut self) {
        while self.count > SEEN_MAX && self.rows.len() > 1 {
            if let Some((ts, printed)) = self.rows.pop_first() {
                self.count -= printed.len();
                self.floor = ts + 1;
            }
        }
    }
}

fn hash(row: &Row<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (row.labels, row.line).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::query::Pairs;

    fn row<'a>(ts: i64, labels: &'a Pairs, line: &'a str) -> Row<'a> {
        Row { ts, labels, line }
    }

    #[test]
    fn an_entry_is_new_once_and_as_often_as_it_is_there() {
        let (a, b): (Pairs, Pairs) = (vec![("a".into(), "1".into())], Vec::new());
        let mut seen = Seen::new(0);
        let mut check = |rows: &[Row<'_>], want: &[(i64, &str)]| {
            let new = seen.keep_new(rows.to_vec());
            let new: Vec<_> = new.iter().map(|r| (r.ts, r.line)).collect();
            assert_eq!(new, want);
        };
        check(&[row(1, &a, "x"), row(2, &a, "y")], &[(1, "x"), (2, "y")]);
        check(&[row(1, &a, "x"), row(2, &a, "y")], &[]);
        // The same line of another stream, a second one of the same, and one that comes late.
        check(
            &[
                row(1, &a, "late"),
                row(1, &a, "x"),
                row(2, &a, "y"),
                row(2, &a, "y"),
                row(2, &b, "y"),
            ],
            &[(1, "late"), (2, "y"), (2, "y")],
        );
        check(&[row(2, &a, "y"), row(2, &a, "y"), row(2, &b, "y")], &[]);
    }

    #[test]
    fn a_busy_stream_shortens_the_overlap_and_a_fast_clock_does_not_move_it() {
        const S: i64 = 1_000_000_000;
        let labels = Pairs::new();
        let mut seen = Seen::new(5);
        assert_eq!(seen.start(100 * S), 5);
        let lines: Vec<Row<'_>> = (0..10).map(|i| row(50 * S + i, &labels, "x")).collect();
        seen.keep_new(lines);
        assert_eq!(seen.start(100 * S), 40 * S + 9);
        seen.keep_new(vec![row(700 * S, &labels, "from the future")]);
        assert_eq!(seen.start(100 * S), 90 * S);
        let lines = (0..SEEN_MAX as i64).map(|i| row(101 * S + i, &labels, "x"));
        seen.keep_new(lines.collect());
        assert!(seen.count <= SEEN_MAX);
        assert!(seen.start(102 * S) > 101 * S);
    }
}
