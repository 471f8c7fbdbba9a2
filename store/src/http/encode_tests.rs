use logql::value::{EntryLabels, LogEntry, Series};
use wire::query::{Answer, decode};

use super::*;

fn write(value: &Value, shape: Shape) -> String {
    let mut all = Vec::new();
    let mut send = |piece: Vec<u8>| {
        all.extend(piece);
        Ok(())
    };
    let mut out = Pieces::new(&mut send);
    answer(
        &mut out,
        value,
        shape,
        &QueryStats::default(),
        Timing::default(),
    )
    .unwrap();
    let rest = out.finish();
    all.extend(rest);
    let text = String::from_utf8(all).unwrap();
    // Whatever it is, our own client reads it.
    decode(text.as_bytes()).unwrap();
    text
}

fn check(value: &Value, shape: Shape, want: &str) {
    let got = write(value, shape);
    let data = got.split_once(",\"stats\":").unwrap().0;
    assert_eq!(data, format!("{{\"status\":\"success\",\"data\":{{{want}"));
    assert!(got.ends_with("}}\n"));
}

fn labels(pairs: &[(&str, &str, Category)]) -> EntryLabels {
    pairs.iter().copied().collect()
}

fn entry(ts: i64, line: &str, labels: u32) -> LogEntry {
    LogEntry {
        ts,
        line: line.into(),
        labels,
    }
}

fn logs() -> Value {
    let app = ("app", "b", Category::Stream);
    let level = |l| ("level", l, Category::Metadata);
    let status = ("status", "500", Category::Parsed);
    Value::Logs(Logs {
        label_sets: vec![
            labels(&[app, level("info")]),
            labels(&[app, level("error"), status]),
            labels(&[("app", "a", Category::Stream)]),
            labels(&[app, level("unused")]),
        ],
        entries: vec![
            entry(5, "<x>", 0),
            entry(4, "y", 1),
            entry(4, "z", 2),
            entry(3, "w", 0),
        ],
    })
}

#[test]
fn streams_are_grouped_and_ordered() {
    check(
        &logs(),
        Shape::Folded,
        concat!(
            r#""resultType":"streams","result":["#,
            r#"{"stream":{"app":"a"},"values":[["4","z"]]},"#,
            r#"{"stream":{"app":"b","level":"error","status":"500"},"values":[["4","y"]]},"#,
            r#"{"stream":{"app":"b","level":"info"},"values":[["5","\u003cx\u003e"],["3","w"]]}]"#,
        ),
    );
    check(
        &logs(),
        Shape::Categorized,
        concat!(
            r#""resultType":"streams","encodingFlags":["categorize-labels"],"result":["#,
            r#"{"stream":{"app":"a"},"values":[["4","z",{}]]},"#,
            r#"{"stream":{"app":"b"},"values":["#,
            r#"["5","\u003cx\u003e",{"structuredMetadata":{"level":"info"}}],"#,
            r#"["4","y",{"structuredMetadata":{"level":"error"},"parsed":{"status":"500"}}],"#,
            r#"["3","w",{"structuredMetadata":{"level":"info"}}]]}]"#,
        ),
    );
    check(
        &logs(),
        Shape::Both,
        concat!(
            r#""resultType":"streams","encodingFlags":["categorize-labels"],"result":["#,
            r#"{"stream":{"app":"a"},"values":[["4","z",{}]]},"#,
            r#"{"stream":{"app":"b","level":"error","status":"500"},"values":["#,
            r#"["4","y",{"structuredMetadata":{"level":"error"},"parsed":{"status":"500"}}]]},"#,
            r#"{"stream":{"app":"b","level":"info"},"values":["#,
            r#"["5","\u003cx\u003e",{"structuredMetadata":{"level":"info"}}],"#,
            r#"["3","w",{"structuredMetadata":{"level":"info"}}]]}]"#,
        ),
    );
    let empty = Value::Logs(Logs::default());
    check(
        &empty,
        Shape::Folded,
        r#""resultType":"streams","result":[]"#,
    );
    check(
        &empty,
        Shape::Categorized,
        r#""resultType":"streams","encodingFlags":["categorize-labels"],"result":[]"#,
    );
}

#[test]
fn samples_have_numbers_and_strings() {
    let own = |n: &str, v: &str| vec![(n.to_owned(), v.to_owned())];
    let matrix = Value::Matrix(Matrix {
        series: vec![
            Series {
                labels: own("a", "b"),
                points: vec![(1_000_000_000, 1.0), (1_500_999_999, 0.5)],
            },
            Series {
                labels: own("no", "points"),
                points: vec![],
            },
            Series {
                labels: vec![],
                points: vec![(2_000_000_000, f64::NAN)],
            },
        ],
    });
    check(
        &matrix,
        Shape::Categorized,
        r#""resultType":"matrix","result":[{"metric":{"a":"b"},"values":[[1,"1"],[1.5,"0.5"]]},{"metric":{},"values":[[2,"NaN"]]}]"#,
    );
    check(
        &Value::Vector(vec![(own("a", "b"), 4_000_000_000_000_000_000, 2.0)]),
        Shape::Folded,
        r#""resultType":"vector","result":[{"metric":{"a":"b"},"value":[4000000000,"2"]}]"#,
    );
    check(
        &Value::Vector(vec![]),
        Shape::Folded,
        r#""resultType":"vector","result":[]"#,
    );
    check(
        &Value::Scalar(1_500_000_000, 2.0),
        Shape::Folded,
        r#""resultType":"scalar","result":[1.5,"2"]"#,
    );
}

#[test]
fn lists_are_written_as_loki_does() {
    fn check(write: impl FnOnce(&mut Pieces<'_>), want: &str) {
        let mut send = |_| panic!("small bodies are one piece");
        let mut out = Pieces::new(&mut send);
        write(&mut out);
        assert_eq!(String::from_utf8(out.finish()).unwrap(), want);
    }
    let list = ["a".to_owned(), "\"".to_owned()];
    check(
        |out| strings(out, &[]).unwrap(),
        "{\"status\":\"success\"}\n",
    );
    check(
        |out| strings(out, &list).unwrap(),
        "{\"status\":\"success\",\"data\":[\"a\",\"\\\"\"]}\n",
    );
    check(
        |out| series(out, &[]).unwrap(),
        "{\"status\":\"success\",\"data\":[]}\n",
    );
    let set = LabelSet::from_pairs([("b", "2"), ("a", "1")]).unwrap();
    check(
        |out| series(out, &[set.clone(), set]).unwrap(),
        "{\"status\":\"success\",\"data\":[{\"a\":\"1\",\"b\":\"2\"},{\"a\":\"1\",\"b\":\"2\"}]}\n",
    );
    let stats = IndexStats {
        streams: 1,
        chunks: 2,
        bytes: 3,
        entries: 4,
    };
    check(
        |out| index_stats(out, stats),
        "{\"streams\":1,\"chunks\":2,\"bytes\":3,\"entries\":4}\n",
    );
}

#[test]
fn large_answers_come_in_pieces_and_stop_when_unread() {
    let line = "x".repeat(1000);
    let entries = (0..1000).map(|i| entry(i, &line, 0)).collect();
    let value = Value::Logs(Logs {
        label_sets: vec![EntryLabels::default()],
        entries,
    });
    let (mut pieces, mut largest) = (0, 0);
    let mut send = |piece: Vec<u8>| {
        pieces += 1;
        largest = largest.max(piece.len());
        Ok(())
    };
    let mut out = Pieces::new(&mut send);
    answer(
        &mut out,
        &value,
        Shape::Folded,
        &QueryStats::default(),
        Timing::default(),
    )
    .unwrap();
    drop(out);
    assert!(
        pieces >= 15 && largest < PIECE + 1100,
        "{pieces}, {largest}"
    );

    let mut sent = 0;
    let mut send = |_| {
        sent += 1;
        Err(Gone)
    };
    let mut out = Pieces::new(&mut send);
    let got = answer(
        &mut out,
        &value,
        Shape::Folded,
        &QueryStats::default(),
        Timing::default(),
    );
    drop(out);
    assert_eq!((got, sent), (Err(Gone), 1));
}

#[test]
fn statistics_have_integers() {
    let stats = QueryStats {
        bytes_processed: 1_000_000,
        lines_processed: 1000,
        ..QueryStats::default()
    };
    let mut out = Vec::new();
    let timing = Timing {
        queue: 0.25,
        exec: 0.5,
    };
    write_stats(&mut out, &stats, timing);
    let text = String::from_utf8(out).unwrap();
    for part in [
        "\"bytesProcessedPerSecond\":2000000,",
        "\"linesProcessedPerSecond\":2000,",
        "\"execTime\":0.5,\"queueTime\":0.25,",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let opened = text.matches('{').count();
    assert_eq!(opened, text.matches('}').count());
    let whole =
        format!("{{\"data\":{{\"resultType\":\"vector\",\"result\":[],\"stats\":{text}}}}}");
    assert_eq!(decode(whole.as_bytes()), Ok(Answer::Vector(vec![])));
}
