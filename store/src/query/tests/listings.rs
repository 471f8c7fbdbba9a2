//! Labels, values and series of many segments, compared with a walk over all of them.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};

use super::model::{Random, random_entry};
use super::*;

/// What lists say: names, values of `pod`, series.
#[derive(Debug, PartialEq, Eq)]
struct Lists {
    names: Vec<String>,
    pods: Vec<String>,
    series: Vec<String>,
}

fn asked(view: &dyn View, matchers: &[Matcher], range: (i64, i64)) -> Lists {
    let groups = [matchers.to_vec()];
    let series = series(view, &groups, range, &hour()).unwrap();
    Lists {
        names: label_names(view, matchers, range, &hour()).unwrap(),
        pods: label_values(view, "pod", matchers, range, &hour()).unwrap(),
        series: series.iter().map(ToString::to_string).collect(),
    }
}

/// The same without the index: every segment that touches the range is read.
fn walked(fixture: &Fixture, matchers: &[Matcher], (start, end): (i64, i64)) -> Lists {
    let all = streams();
    let mut hit: HashSet<LabelSet> = HashSet::new();
    let touches = |min: i64, max: i64| max >= start && min <= end;
    for sealed in &fixture.sealed {
        let rows = sealed
            .rows
            .iter()
            .filter(|row| touches(row.1.min_ts, row.1.max_ts));
        hit.extend(rows.map(|row| all[row.0].clone()));
    }
    let raw = fixture.raw.iter().filter(|e| touches(e.ts, e.ts));
    hit.extend(raw.map(|e| all[e.stream].clone()));
    let mut listed = hit.clone();
    for segment in fixture
        .segments
        .iter()
        .filter(|s| touches(s.min_ts, s.max_ts))
    {
        let reader = fixture.open(segment).unwrap();
        let sets = reader.streams().unwrap();
        for chunk in reader.chunks().unwrap() {
            if touches(chunk.min_ts, chunk.max_ts) {
                hit.insert(sets[chunk.stream as usize].clone());
            }
        }
        listed.extend(sets);
    }
    let is_wanted = |set: &LabelSet| all_match(matchers, &set.as_ref().iter().collect::<Vec<_>>());
    listed.retain(is_wanted);
    hit.retain(is_wanted);
    let sorted = |texts: BTreeSet<String>| texts.into_iter().collect::<Vec<_>>();
    let names = listed
        .iter()
        .flat_map(|set| set.as_ref().iter().map(|pair| pair.0.to_owned()));
    let pods = listed
        .iter()
        .filter_map(|set| set.as_ref().get("pod").map(str::to_owned));
    Lists {
        names: sorted(names.collect()),
        pods: sorted(pods.collect()),
        series: sorted(hit.iter().map(ToString::to_string).collect()),
    }
}

fn remove(fixture: &mut Fixture, random: &mut Random) {
    let newest = fixture.segments.len().saturating_sub(1);
    let mut gone: Vec<u64> = Vec::new();
    let oldest = random.below(3).min(newest as u64);
    gone.extend(
        fixture
            .segments
            .iter()
            .take(oldest as usize)
            .map(|s| s.sequence),
    );
    if newest > 0 && random.below(4) == 0 {
        gone.push(fixture.segments[random.below(newest as u64) as usize].sequence);
    }
    fixture.segments.retain(|s| !gone.contains(&s.sequence));
    fixture.index.removed(&gone);
}

#[test]
fn lists_equal_a_walk_over_all_segments() {
    for seed in 1..=12u64 {
        let mut random = Random::new(seed);
        let mut fixture = Fixture::new();
        let mut now = 1_000 * SECOND;
        for round in 0..90 {
            for _ in 0..random.below(7) {
                let entry = random_entry(&mut random, &mut now);
                fixture.append(entry);
            }
            match random.below(24) {
                0 => fixture.seal(),
                1 => fixture.reopen(|_| {}),
                2 | 3 => remove(&mut fixture, &mut random),
                // A number that no segment has.
                4 => fixture.sequence += random.below(12),
                _ => fixture.flush(),
            }
            if round % 3 != 0 {
                continue;
            }
            for query in [
                "{}",
                r#"{namespace="shop"}"#,
                r#"{pod=~".*-1"}"#,
                r#"{app="dns", zone=""}"#,
                r#"{pod="x"}"#,
            ] {
                let matchers = logql::parse_matchers(query).unwrap();
                let from = random.below(now as u64) as i64;
                let to = from + random.below((now - from + 400 * SECOND) as u64) as i64;
                for range in [(from, to), (0, to), (0, i64::MAX)] {
                    let about = format!("seed {seed} round {round}: {query} in {range:?}");
                    assert_eq!(
                        asked(&fixture, &matchers, range),
                        walked(&fixture, &matchers, range),
                        "{about}"
                    );
                }
            }
        }
        assert_eq!(fixture.damage.count(), 0);
        assert!(!fixture.index.stale());
    }
}

/// A store in which a segment reaches index and list between the beginning of a query and its snapshot.
#[derive(Debug)]
struct Late<'a> {
    fixture: &'a Fixture,
    entry: Cell<Option<SegmentEntry>>,
}

impl View for Late<'_> {
    fn head(&self, want: &mut Want<'_>) -> Result<Snapshot, OverBudget> {
        if let Some(entry) = self.entry.take() {
            let sets = self.open(&entry).unwrap().streams().unwrap();
            let mut sets = sets.iter().map(LabelSet::as_ref);
            self.fixture.index.committed((&entry).into(), &mut sets);
        }
        self.fixture.head(want)
    }
    fn segments(&self) -> Vec<SegmentEntry> {
        self.fixture.segments()
    }
    fn open(&self, segment: &SegmentEntry) -> Result<Reader, SegmentError> {
        self.fixture.open(segment)
    }
    fn index(&self) -> &Index {
        self.fixture.index()
    }
    fn damage(&self) -> &Damage {
        self.fixture.damage()
    }
}

#[test]
fn a_stream_that_is_flushed_as_a_query_begins_is_found() {
    let mut fixture = Fixture::new();
    for (stream, second) in [(0, 60), (3, 70)] {
        fixture.append(Entry {
            stream,
            set: 0,
            ts: second * SECOND,
            line: b"a line".to_vec(),
        });
        fixture.flush();
    }
    let last = fixture.segments[1];
    let range = (0, 1_000 * SECOND);
    let infra = logql::parse_matchers(r#"{namespace="infra"}"#).unwrap();
    let late = || {
        fixture.index.removed(&[last.sequence]);
        assert!(fixture.index.segment((&last).into()).is_none());
        Late {
            fixture: &fixture,
            entry: Cell::new(Some(last)),
        }
    };
    let plan = logql::parse(r#"{namespace="infra"}"#).unwrap();
    let request = Request::Range {
        start: range.0,
        end: range.1,
        step: 1,
        limit: 10,
        direction: Direction::Forward,
    };
    let (_, stats) = run(&late(), LIMITS, &plan, &request, &hour()).unwrap();
    assert_eq!(stats.entries_returned, 1);
    assert_eq!(
        label_values(&late(), "pod", &infra, range, &hour()).unwrap(),
        ["dns-1"]
    );
    assert_eq!(
        label_names(&late(), &infra, range, &hour()).unwrap(),
        ["app", "namespace", "pod"]
    );
    let groups = [infra];
    for range in [range, (0, 70 * SECOND - 1), (70 * SECOND, 70 * SECOND)] {
        let touches = range.1 >= 70 * SECOND;
        let found = series(&late(), &groups, range, &hour()).unwrap();
        assert_eq!(found.len(), usize::from(touches));
    }
}
