//! Every rule as a case, against a store that remembers and misbehaves on demand.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;

use serde_json::json;

use super::*;

const NOW: i64 = 1_795_168_404_326_197_813;
const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;

/// Time, labels, metadata, line.
type Kept = (i64, String, String, String);

/// A store in memory that drops duplicates.
struct Shelf {
    kept: Mutex<BTreeSet<Kept>>,
    batches: AtomicU64,
    newest: Option<i64>,
    batch_bytes: usize,
    /// What to answer to the batch of this number instead of taking it.
    refuse: fn(u64) -> Option<AppendError>,
    room: bool,
}

impl Shelf {
    fn new() -> Shelf {
        Shelf {
            kept: Mutex::new(BTreeSet::new()),
            batches: AtomicU64::new(0),
            newest: None,
            batch_bytes: 1 << 20,
            refuse: |_| None,
            room: false,
        }
    }

    fn kept(&self) -> Vec<Kept> {
        self.kept.lock().unwrap().iter().cloned().collect()
    }
}

impl Target for Shelf {
    fn push(&self, batch: &Batch<'_>) -> Result<Pushed, AppendError> {
        let number = self.batches.fetch_add(1, Ordering::Relaxed);
        if let Some(error) = (self.refuse)(number) {
            return Err(error);
        }
        let needed: usize = batch.entries.iter().map(|e| 20 + e.line.len()).sum();
        assert!(needed <= self.batch_bytes && !batch.entries.is_empty() && batch.source.is_none());
        let mut kept = self.kept.lock().unwrap();
        let mut duplicates = 0;
        for entry in batch.entries {
            let row = (
                entry.ts,
                batch.streams[entry.stream as usize].to_string(),
                entry.metadata.to_string(),
                String::from_utf8_lossy(entry.line).into_owned(),
            );
            duplicates += u64::from(!kept.insert(row));
        }
        Ok(Pushed {
            duplicates,
            ticket: number + 1,
        })
    }
    fn newest(&self, streams: &[&LabelSet]) -> Vec<Option<i64>> {
        vec![self.newest; streams.len()]
    }
    fn synced(&self, _: u64) -> Pin<Box<dyn Future<Output = Result<(), String>> + Send + '_>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn batch_bytes_max(&self) -> usize {
        self.batch_bytes
    }
    fn wait_for_room(&self, _: Duration) -> bool {
        self.room
    }
}

/// A node's intake with its counters.
struct Node {
    limits: PushLimits,
    intake: Intake,
    counters: Counters,
    shelf: Shelf,
    now: Now,
    sent: (u64, u64),
}

impl Node {
    fn new(limits: PushLimits, shelf: Shelf) -> Node {
        let instant = Instant::now();
        Node {
            intake: Intake::new(&limits, instant),
            limits,
            counters: Counters::default(),
            shelf,
            now: Now {
                instant,
                trusted: Some(NOW),
            },
            sent: (0, 0),
        }
    }

    fn push(&mut self, body: &serde_json::Value) -> Outcome {
        let body = body.to_string();
        let request = Request::json(body.as_bytes()).unwrap();
        let counts = request.counts();
        self.sent.0 += counts.entries;
        self.sent.1 += counts.bytes;
        let (shelf, counters) = (&self.shelf, &self.counters);
        self.intake
            .take(&self.limits, &request, shelf, counters, self.now)
    }

    /// Reasons with lines discarded.
    fn discarded(&self) -> Vec<(&'static str, u64)> {
        let all = self.counters.discarded();
        all.filter(|(_, lines, _)| *lines > 0)
            .map(|(reason, lines, _)| (reason, lines))
            .collect()
    }

    /// Every line and byte sent is accounted for once.
    fn check_sums(&self) {
        let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let c = &self.counters;
        let (lines, bytes) = c.discarded().fold((0, 0), |a, d| (a.0 + d.1, a.1 + d.2));
        assert_eq!(get(&c.lines) + get(&c.duplicates) + lines, self.sent.0);
        let cut = get(&c.truncated_bytes);
        assert_eq!(get(&c.bytes) + bytes + cut, self.sent.1);
        assert_eq!(get(&c.lines), self.shelf.kept().len() as u64);
    }
}

fn stream(labels: serde_json::Value, values: serde_json::Value) -> serde_json::Value {
    json!({"streams": [{"stream": labels, "values": values}]})
}

fn at(offset: i64) -> String {
    (NOW + offset).to_string()
}

fn line(offset: i64, text: &str) -> serde_json::Value {
    json!([at(offset), text])
}

#[derive(Clone)]
struct Case {
    limits: PushLimits,
    body: serde_json::Value,
    refuse: fn(u64) -> Option<AppendError>,
    reason: Reason,
    lines: u64,
    status: u16,
    /// The whole text, or its beginning when it ends in `...`.
    text: String,
}

impl Case {
    fn new(reason: Reason, lines: u64, body: serde_json::Value, text: impl Into<String>) -> Case {
        Case {
            limits: PushLimits::default(),
            body,
            refuse: |_| None,
            reason,
            lines,
            status: 400,
            text: text.into(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut PushLimits)) -> Case {
        change(&mut self.limits);
        self
    }

    fn temporary(mut self) -> Case {
        self.status = 429;
        self
    }
}

const X: &str = r#"{app="x", service_name="x"}"#;

fn labels_cases() -> Vec<Case> {
    let long = "n".repeat(1025);
    let wide = "v".repeat(2049);
    let many = |n: usize| -> serde_json::Map<String, serde_json::Value> {
        (0..n).map(|i| (format!("l{i:02}"), json!("v"))).collect()
    };
    let one = json!([line(0, "a"), line(1, "b")]);
    vec![
        Case::new(
            Reason::InvalidLabels,
            3,
            json!({"streams": [
                {"stream": {"app": "x"}, "values": [line(0, "good")]},
                {"stream": {"a.b": "c"}, "values": one},
            ]}),
            "couldn't parse labels: 1:3: parse error: unexpected character inside braces: '.'",
        ),
        Case::new(
            Reason::MissingLabels,
            2,
            stream(json!({"a": ""}), one.clone()),
            "error at least one label pair is required per stream",
        )
        .with(|l| l.discover_service_name.clear()),
        Case::new(
            Reason::TooManyLabels,
            2,
            stream(many(16).into(), one.clone()),
            "entry for stream '{l00=\"v\", l01=\"v\"...",
        ),
        Case::new(
            Reason::LabelNameTooLong,
            2,
            stream(json!({long.clone(): "v"}), one.clone()),
            format!("stream '{{{long}=\"v\", service_name=\"unknown_service\"}}' has label name too long: '{long}'"),
        ),
        Case::new(
            Reason::LabelValueTooLong,
            2,
            stream(json!({"pod": wide}), one.clone()),
            format!("stream '{{pod=\"{wide}\", service_name=\"unknown_service\"}}' has label value too long: '{wide}'"),
        ),
        Case::new(
            Reason::LabelValueTooLong,
            2,
            stream(json!({"pod": "v".repeat(80_000)}), one.clone()),
            "stream has labels of 800...",
        )
        .with(|l| l.max_label_value_length = 1 << 20),
        Case::new(
            Reason::StreamLimit,
            2,
            json!({"streams": [
                {"stream": {"app": "x"}, "values": [line(0, "good")]},
                {"stream": {"app": "y"}, "values": one},
            ]}),
            "maximum active stream limit exceeded when trying to create stream {app=\"y\", service_name=\"y\"}, reduce \
             the number of active streams (reduce labels or reduce label values), or contact your Loki administrator \
             to see if the limit can be increased, user: 'fake'",
        )
        .with(|l| l.max_streams = 1)
        .temporary(),
    ]
}

fn entry_cases() -> Vec<Case> {
    let x = |values| stream(json!({"app": "x"}), values);
    let see = "or contact your Loki administrator to increase it";
    let pairs = |n: usize| -> serde_json::Map<String, serde_json::Value> {
        (0..n).map(|i| (format!("k{i}"), json!("v"))).collect()
    };
    vec![
        Case::new(
            Reason::LineTooLong,
            1,
            x(json!([line(0, "good"), line(1, &"l".repeat(262_145))])),
            format!(
                "max entry size '262144' bytes exceeded for stream '{X}' while adding an entry with length '262145' bytes"
            ),
        ),
        Case::new(
            Reason::LineTooLong,
            1,
            x(json!([line(0, "good"), line(1, &"l".repeat(524_289))])),
            "max entry size '524288' bytes exceeded...",
        )
        .with(|l| l.max_line_size = 0),
        Case::new(
            Reason::MetadataDisallowed,
            1,
            x(json!([line(0, "good"), [at(0), "l", {"a": "b"}]])),
            format!(
                "stream '{X}' includes structured metadata, but this feature is disallowed. Please see \
                 `limits_config.allow_structured_metadata` or contact your Loki administrator to enable it"
            ),
        )
        .with(|l| l.allow_structured_metadata = false),
        Case::new(
            Reason::MetadataTooLarge,
            1,
            x(json!([[at(0), "l", {"a": "v".repeat(65_535)}], [at(1), "l", {"a": "v".repeat(65_536)}]])),
            format!(
                "stream '{X}' has structured metadata too large: '65537' bytes, limit: '65536' bytes. Please see \
                 `limits_config.max_structured_metadata_size` {see}"
            ),
        ),
        Case::new(
            Reason::MetadataTooLarge,
            1,
            x(json!([line(0, "good"), [at(1), "l", {"a": "v".repeat(80_000)}]])),
            format!(
                "stream '{X}' has structured metadata too large: '80022' bytes, limit: '73728' bytes. Please see \
                 `limits_config.max_structured_metadata_size` {see}"
            ),
        )
        .with(|l| l.max_metadata_size = 0),
        Case::new(
            Reason::MetadataTooMany,
            1,
            x(json!([[at(0), "l", pairs(128)], [at(1), "l", pairs(129)]])),
            format!(
                "stream '{X}' has too many structured metadata labels: '129', limit: '128'. Please see \
                 `limits_config.max_structured_metadata_entries_count` {see}"
            ),
        ),
    ]
}

fn age_cases() -> Vec<Case> {
    let x = |values| stream(json!({"app": "x"}), values);
    vec![
        Case::new(
            Reason::TooOld,
            2,
            x(json!([
                line(-8 * 24 * HOUR, "old"),
                line(0, "good"),
                line(-8 * 24 * HOUR, "old 2")
            ])),
            format!(
                "2 errors like: entry for stream '{X}' has timestamp too old: 2026-11-12T09:53:24Z, oldest acceptable \
                 timestamp is: 2026-11-13T09:53:24Z"
            ),
        ),
        Case::new(
            Reason::TooNew,
            1,
            x(json!([line(HOUR / 6, "good"), line(HOUR / 6 + 1, "new")])),
            format!("entry for stream '{X}' has timestamp too new: 2026-11-20T10:03:24Z"),
        ),
        Case::new(
            Reason::TooFarBehind,
            1,
            x(json!([
                line(0, "good"),
                line(-HOUR, "good"),
                line(-HOUR - 1, "behind")
            ])),
            format!(
                "entry with timestamp 2026-11-20 08:53:24.326197812 +0000 UTC ignored, reason: 'entry too far behind, \
                 entry timestamp is: 2026-11-20T08:53:24Z, oldest acceptable timestamp is: 2026-11-20T08:53:24Z',\n\
                 user 'fake', total ignored: 1 out of 3 for stream: {X}"
            ),
        ),
    ]
}

fn store_cases() -> Vec<Case> {
    let x = |values| stream(json!({"app": "x"}), values);
    let two = x(json!([line(0, "a"), line(1, "b")]));
    let refusing = |reason, refuse, text: &str| {
        let case = Case::new(reason, 2, two.clone(), text).temporary();
        Case { refuse, ..case }
    };
    vec![
        Case::new(
            Reason::RateLimited,
            2,
            two.clone(),
            "ingestion rate limit exceeded for user fake (limit: 4194304 bytes/sec) while attempting to ingest '2' \
             lines totaling '2' bytes, reduce log volume or contact your Loki administrator to see if the limit can \
             be increased",
        )
        .with(|l| l.ingestion_burst = 1)
        .temporary(),
        Case::new(
            Reason::StreamRate,
            1,
            two.clone(),
            format!(
                "entry with timestamp 2026-11-20 09:53:24.326197814 +0000 UTC ignored, reason: 'Per stream rate limit \
                 exceeded (limit: 3MB/sec) while attempting to ingest for stream '{X}' totaling 1B, consider splitting \
                 a stream via additional labels or contact your Loki administrator to see if the limit can be \
                 increased',\nuser 'fake', total ignored: 1 out of 2 for stream: {X}"
            ),
        )
        .with(|l| l.stream_burst = 1)
        .temporary(),
        refusing(
            Reason::Full,
            |_| Some(AppendError::Full),
            "the store has no room: entries come faster than the disk takes them; try again later",
        ),
        refusing(
            Reason::Unavailable,
            |_| Some(AppendError::Unavailable("No space left on device".into())),
            "the store cannot write: No space left on device; try again later",
        ),
        Case {
            status: 400,
            ..refusing(
                Reason::Refused,
                |_| Some(AppendError::Invalid("batch is too large".into())),
                "batch is too large",
            )
        },
    ]
}

#[test]
fn p7_each_refusal_is_counted_by_its_reason() {
    let mut seen = vec![
        Reason::BodyTooLarge,
        Reason::Malformed,
        Reason::DuplicateLabels,
    ];
    for case in [labels_cases(), entry_cases(), age_cases(), store_cases()].concat() {
        let shelf = Shelf {
            refuse: case.refuse,
            ..Shelf::new()
        };
        let mut node = Node::new(case.limits, shelf);
        let outcome = node.push(&case.body);
        let name = Reason::ALL[case.reason as usize].1;
        assert_eq!(outcome.status, case.status, "{name}: {}", outcome.text);
        match case.text.strip_suffix("...") {
            Some(begin) => assert!(outcome.text.starts_with(begin), "{}", outcome.text),
            None => assert_eq!(outcome.text, case.text, "{name}"),
        }
        assert_eq!(outcome.retry_after.is_some(), case.status == 429, "{name}");
        assert_eq!(node.discarded(), [(name, case.lines)]);
        node.check_sums();
        seen.push(case.reason);
    }
    // The first two are no matter of entries, the third cannot be sent as JSON; each has a test over HTTP.
    for (reason, name) in Reason::ALL {
        assert!(seen.contains(&reason), "no case refuses for {name}");
    }
}

#[test]
fn p7_what_is_good_is_stored_whatever_is_refused_beside_it() {
    let mut node = Node::new(PushLimits::default(), Shelf::new());
    let body = json!({"streams": [
        {"stream": {"app": "x"}, "values": [line(-8 * 24 * HOUR, "old"), line(0, "one"), line(0, "one")]},
        {"stream": {"pod": "v".repeat(3000)}, "values": [line(0, "no")]},
        {"stream": {"app": "x"}, "values": [line(HOUR, "new"), line(-2 * HOUR, "behind"), line(1, "two")]},
    ]});
    let outcome = node.push(&body);
    assert_eq!(outcome.status, 400);
    let texts: Vec<&str> = outcome.text.split("; ").map(|t| &t[..20]).collect();
    let want = [
        "1 errors like: entry",
        "1 errors like: strea",
        "1 errors like: entry",
        "entry with timestamp",
    ];
    assert_eq!(texts, want, "{}", outcome.text);
    let lines: Vec<String> = node.shelf.kept().into_iter().map(|k| k.3).collect();
    assert_eq!(lines, ["one", "two"]);
    let want = [
        ("label_value_too_long", 1),
        ("greater_than_max_sample_age", 1),
        ("too_far_in_future", 1),
        ("too_far_behind", 1),
    ];
    assert_eq!(node.discarded(), want);
    assert_eq!(node.counters.duplicates.load(Ordering::Relaxed), 1);
    node.check_sums();
}

#[test]
fn a_temporary_refusal_asks_for_a_repetition_which_stores_the_rest() {
    let refuse = |n| (n == 1).then_some(AppendError::Full);
    let shelf = Shelf {
        refuse,
        batch_bytes: 1 << 18,
        ..Shelf::new()
    };
    let mut node = Node::new(PushLimits::default(), shelf);
    // Five batches of two; the second one finds no room, and the third is not even tried.
    let values: Vec<_> = (0..10).map(|i| line(i, &"l".repeat(120_000))).collect();
    let body = json!({"streams": [
        {"stream": {"app": "x"}, "values": [line(-9 * 24 * HOUR, "old")]},
        {"stream": {"app": "x"}, "values": values},
    ]});
    let outcome = node.push(&body);
    assert_eq!((outcome.status, outcome.ticket), (429, Some(1)));
    assert_eq!(
        node.discarded(),
        [("greater_than_max_sample_age", 1), ("store_full", 8)]
    );
    node.check_sums();
    let outcome = node.push(&body);
    assert_eq!(outcome.status, 400, "{}", outcome.text);
    assert_eq!(node.counters.duplicates.load(Ordering::Relaxed), 2);
    assert_eq!(node.shelf.kept().len(), 10);
    node.check_sums();
}

#[test]
fn a_push_waits_for_room() {
    let shelf = Shelf {
        refuse: |n| (n == 0).then_some(AppendError::Full),
        room: true,
        ..Shelf::new()
    };
    let mut node = Node::new(PushLimits::default(), shelf);
    let outcome = node.push(&stream(json!({"app": "x"}), json!([line(0, "a")])));
    assert_eq!((outcome.status, outcome.ticket), (204, Some(2)));
    node.check_sums();
}

#[test]
fn a_failed_batch_does_not_move_the_window_of_its_stream() {
    let shelf = Shelf {
        refuse: |n| (n == 0).then_some(AppendError::Unavailable("full".into())),
        ..Shelf::new()
    };
    let mut node = Node::new(PushLimits::default(), shelf);
    let push = |node: &mut Node, offset| {
        node.push(&stream(json!({"app": "x"}), json!([line(offset, "a")])))
            .status
    };
    assert_eq!(push(&mut node, 0), 429);
    assert_eq!(push(&mut node, -2 * HOUR), 204);
    assert_eq!(push(&mut node, 0), 204);
    assert_eq!(push(&mut node, -2 * HOUR), 400);
    assert_eq!(push(&mut node, -HOUR), 204);
    node.check_sums();
    // After a start the store knows the newest entry.
    let shelf = Shelf {
        newest: Some(NOW),
        ..Shelf::new()
    };
    let mut node = Node::new(PushLimits::default(), shelf);
    assert_eq!(push(&mut node, -2 * HOUR), 400);
}

#[test]
fn p10_without_a_clock_that_is_right_no_entry_is_refused_for_its_age() {
    let mut node = Node::new(PushLimits::default(), Shelf::new());
    node.now.trusted = None;
    for (app, offset) in [("a", -300 * 24 * HOUR), ("b", 300 * 24 * HOUR), ("c", -NOW)] {
        let body = stream(json!({"app": app}), json!([line(offset, "x")]));
        assert_eq!(node.push(&body).status, 204);
    }
    // What came from the future shuts its stream neither now nor when the clock is right.
    for (trusted, offset) in [(None, 0), (Some(NOW), 1)] {
        node.now.trusted = trusted;
        let body = stream(json!({"app": "b"}), json!([line(offset, "x")]));
        assert_eq!(node.push(&body).status, 204);
    }
    let body = stream(json!({"app": "b"}), json!([line(-2 * HOUR, "x")]));
    assert_eq!(node.push(&body).status, 400);
    let body = stream(json!({"app": "d"}), json!([line(-300 * 24 * HOUR, "x")]));
    assert_eq!(node.push(&body).status, 400);
    node.check_sums();
}

#[test]
fn rates_recover() {
    let limits = PushLimits {
        ingestion_rate: 10,
        ingestion_burst: 10,
        stream_rate: 1,
        stream_burst: 4,
        ..PushLimits::default()
    };
    let mut node = Node::new(limits, Shelf::new());
    let start = node.now.instant;
    let mut push = |ms: u64, app: &str, text: &str| {
        node.now.instant = start + Duration::from_millis(ms);
        let outcome = node.push(&stream(json!({"app": app}), json!([line(ms as i64, text)])));
        (outcome.status, outcome.retry_after.map(|r| r.as_millis()))
    };
    assert_eq!(push(0, "a", "abcd"), (204, None));
    assert_eq!(push(0, "b", "abcd"), (204, None));
    assert_eq!(push(0, "c", "abcd"), (429, Some(200)));
    assert_eq!(push(1000, "a", "ab"), (429, Some(1000)));
    assert_eq!(push(2000, "a", "ab"), (204, None));
}

#[test]
fn limits_may_change_between_requests() {
    let mut node = Node::new(PushLimits::default(), Shelf::new());
    let push = |node: &mut Node, app: &str| {
        node.push(&stream(json!({"app": app}), json!([line(0, "abc")])))
            .status
    };
    assert_eq!(push(&mut node, "a"), 204);
    node.limits.max_streams = 1;
    assert_eq!((push(&mut node, "a"), push(&mut node, "b")), (204, 429));
    node.limits.max_line_size = 2;
    assert_eq!(push(&mut node, "a"), 400);
    node.limits = PushLimits::default();
    assert_eq!(push(&mut node, "b"), 204);
    node.check_sums();
}

#[test]
fn long_lines_are_cut_when_asked_for() {
    let limits = PushLimits {
        max_line_size: 5,
        max_line_size_truncate: true,
        ..PushLimits::default()
    };
    let mut node = Node::new(limits, Shelf::new());
    let values = json!([line(0, "123456789"), line(1, "\n\"3456"), line(2, "12345")]);
    assert_eq!(node.push(&stream(json!({"app": "x"}), values)).status, 204);
    let lines: Vec<String> = node.shelf.kept().into_iter().map(|k| k.3).collect();
    assert_eq!(lines, ["12345", "\n\"345", "12345"]);
    assert_eq!(node.counters.truncated_bytes.load(Ordering::Relaxed), 5);
    node.check_sums();
}

/// Labels, metadata and line as sent; labels and metadata as stored. `x` is `{"app":"x"}` and what becomes of it, `u` an
/// unknown level.
type Added = [&'static str; 5];

fn added(limits: &PushLimits, cases: &[Added]) {
    for [labels, metadata, text, want_labels, want_metadata] in cases {
        let (labels, want_labels) = match *labels {
            "x" => (r#"{"app":"x"}"#, X),
            labels => (labels, *want_labels),
        };
        let want_metadata = match *want_metadata {
            "u" => r#"{detected_level="unknown"}"#,
            want => want,
        };
        let labels = serde_json::from_str(labels).unwrap();
        let metadata: serde_json::Value = serde_json::from_str(metadata).unwrap();
        let mut node = Node::new(limits.clone(), Shelf::new());
        let outcome = node.push(&stream(labels, json!([[at(0), text, metadata]])));
        assert_eq!(outcome.status, 204, "{}", outcome.text);
        let want = (
            NOW,
            want_labels.to_owned(),
            want_metadata.to_owned(),
            (*text).to_owned(),
        );
        assert_eq!(node.shelf.kept(), [want], "{text}");
    }
}

#[rustfmt::skip]
const ADDED: &[Added] = &[
    ["x", "{}", "hello", "", "u"],
    ["{}", "{}", "", r#"{service_name="unknown_service"}"#, "u"],
    [r#"{"job":"j","container":"c"}"#, "{}", "", r#"{container="c", job="j", service_name="c"}"#, "u"],
    [r#"{"app":"x","service_name":"s"}"#, "{}", "", r#"{app="x", service_name="s"}"#, "u"],
    [r#"{"app":"x","service_name":""}"#, "{}", "", X, "u"],
    // Where the level comes from, in order.
    ["x", r#"{"detected_level":"WARNING"}"#, "error", "", r#"{detected_level="warn"}"#],
    ["x", r#"{"detected_level":"foo"}"#, "error", "", r#"{detected_level="foo"}"#],
    [r#"{"level":"Notice","service_name":"x"}"#, r#"{"detected_level":"err"}"#, "", r#"{level="Notice", service_name="x"}"#, r#"{detected_level="error"}"#],
    [r#"{"level":"Notice","service_name":"x"}"#, r#"{"severity":"warn"}"#, "error", r#"{level="Notice", service_name="x"}"#, r#"{detected_level="Notice", severity="warn"}"#],
    [r#"{"LVL":"dbg","service_name":"x"}"#, "{}", "error", r#"{LVL="dbg", service_name="x"}"#, r#"{detected_level="debug"}"#],
    ["x", r#"{"severity_text":"Trc"}"#, "error", "", r#"{detected_level="trace", severity_text="Trc"}"#],
    ["x", r#"{"severity_number":"17"}"#, "info", "", r#"{detected_level="error", severity_number="17"}"#],
    ["x", r#"{"id":"7"}"#, "level=WARNING a=b", "", r#"{detected_level="warn", id="7"}"#],
    ["x", "{}", "[ERROR] x", "", r#"{detected_level="error"}"#],
    ["x", "{}", "info then error", "", r#"{detected_level="info"}"#],
    ["x", "{}", "CRITICAL boom", "", r#"{detected_level="critical"}"#],
    ["x", "{}", "fatal error", "", r#"{detected_level="fatal"}"#],
    ["x", "{}", "misc:error", "", "u"],
    ["x", "{}", r#"{"level":30}"#, "", "u"],
    ["x", "{}", r#"level="notice" x=1"#, "", "u"],
    ["x", "{}", r#"{"a":{"severity":"Error"}}"#, "", r#"{detected_level="error"}"#],
    ["x", "{}", r#"{"a":{"b":{"severity":"wrn"}}}"#, "", "u"],
    ["x", "{}", r#"{"msg":"error happened"}"#, "", r#"{detected_level="error"}"#],
    ["x", "{}", "a=b error happened", "", r#"{detected_level="error"}"#],
    // Names and values of metadata.
    ["x", r#"{"a.b":"1","9x":"2","e":"","\u00e9":"3"}"#, "", "", r#"{a_b="1", detected_level="unknown", key_9x="2"}"#],
    ["x", r#"{"a\tb":"x\ufffdy"}"#, "", "", r#"{a_b="x y", detected_level="unknown"}"#],
    ["x", r#"{"level":""}"#, "error", "", r#"{detected_level="error"}"#],
];

#[test]
fn service_name_and_level_are_added() {
    added(&PushLimits::default(), ADDED);
    let without = PushLimits {
        discover_service_name: Vec::new(),
        discover_log_levels: false,
        ..PushLimits::default()
    };
    let app = [
        r#"{"app":"y"}"#,
        r#"{"k":"v"}"#,
        "error",
        r#"{app="y"}"#,
        r#"{k="v"}"#,
    ];
    added(&without, &[app]);
    let plain = PushLimits {
        allow_structured_metadata: false,
        discover_service_name: vec!["pod".into(), "app".into()],
        ..PushLimits::default()
    };
    added(&plain, &[["x", "{}", "error", "", "{}"]]);
}

#[test]
fn requests_without_entries_have_lokis_answers() {
    let mut node = Node::new(PushLimits::default(), Shelf::new());
    for (body, status) in [
        (json!({}), 422),
        (json!({"streams": []}), 422),
        (stream(json!({"app": "x"}), json!([])), 204),
        (json!({"streams": [{"labels": "{}", "entries": []}]}), 204),
        (stream(json!({"a b": "x"}), json!([])), 400),
    ] {
        let outcome = node.push(&body);
        assert_eq!((outcome.status, outcome.ticket), (status, None), "{body}");
        assert_eq!(outcome.text.is_empty(), status == 204);
    }
    assert_eq!(node.shelf.batches.load(Ordering::Relaxed), 0);
}

#[test]
fn a_stream_object_per_entry_is_one_stream() {
    let mut node = Node::new(PushLimits::default(), Shelf::new());
    let streams: Vec<_> = (0..10_000)
        .map(|i| json!({"stream": {"app": "x"}, "values": [line(i, "x")]}))
        .collect();
    assert_eq!(node.push(&json!({"streams": streams})).status, 204);
    assert_eq!(node.shelf.kept().len(), 10_000);
    // Batches end at 4,096 entries.
    assert_eq!(node.shelf.batches.load(Ordering::Relaxed), 3);
    assert_eq!(node.counters.streams.load(Ordering::Relaxed), 1);
    node.check_sums();
}

#[test]
fn large_pushes_come_in_batches_that_fit() {
    let shelf = Shelf {
        batch_bytes: 256 << 10,
        ..Shelf::new()
    };
    let mut node = Node::new(PushLimits::default(), shelf);
    let values: Vec<_> = (0..100)
        .map(|i| json!([at(i), "l".repeat(i as usize * 700), {"id": "m".repeat(i as usize * 300)}]))
        .collect();
    let outcome = node.push(&stream(json!({"app": "x"}), json!(values)));
    assert_eq!(outcome.status, 204, "{}", outcome.text);
    assert_eq!(node.shelf.kept().len(), 100);
    assert_eq!(
        outcome.ticket,
        Some(node.shelf.batches.load(Ordering::Relaxed))
    );
    node.check_sums();
}
