//! Answers of Loki's query API, decoded for a client.
//!
//! Strict where Grafana is strict (times of entries are strings, times of samples numbers), lenient otherwise: unknown
//! keys are ignored, `data` may be missing, keys come in any order. The caller bounds the size of a body.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Label pairs in the order of the answer.
pub type Pairs = Vec<(String, String)>;

/// Why a body is not an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeError(String);

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an answer of the query API: {}", self.0)
    }
}

impl std::error::Error for DecodeError {}

/// One entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since the epoch.
    pub ts: i64,
    /// The line.
    pub line: String,
    /// Structured metadata; only in answers with categorised labels.
    pub metadata: Pairs,
    /// Labels that the pipeline set; only in answers with categorised labels.
    pub parsed: Pairs,
}

/// A stream of a log answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Stream {
    /// Its labels.
    #[serde(rename = "stream", deserialize_with = "pairs")]
    pub labels: Pairs,
    /// Entries in the direction asked for.
    #[serde(rename = "values")]
    pub entries: Vec<Entry>,
}

/// One sample: nanoseconds since the epoch (of millisecond precision), value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample(pub i64, pub f64);

/// A series of a range query.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Series {
    /// Its labels.
    #[serde(deserialize_with = "pairs")]
    pub metric: Pairs,
    /// Samples in time order.
    pub values: Vec<Sample>,
}

/// A series of an instant query.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Point {
    /// Its labels.
    #[serde(deserialize_with = "pairs")]
    pub metric: Pairs,
    /// Its sample.
    pub value: Sample,
}

/// What a query answered.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
pub enum Answer {
    /// Entries.
    Streams(Vec<Stream>),
    /// Samples at steps.
    Matrix(Vec<Series>),
    /// Samples at one instant.
    Vector(Vec<Point>),
    /// A number.
    Scalar(Sample),
}

#[derive(Deserialize)]
struct Envelope<T> {
    data: T,
}

#[derive(Deserialize)]
struct List<T> {
    #[serde(default = "Vec::new")]
    data: Vec<T>,
}

struct LabelMap(Pairs);

impl<'de> Deserialize<'de> for LabelMap {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        pairs(from).map(LabelMap)
    }
}

/// Reads the answer of `query` or `query_range`.
///
/// # Errors
/// [`DecodeError`] when the body is not one.
pub fn decode(body: &[u8]) -> Result<Answer, DecodeError> {
    from_slice::<Envelope<Answer>>(body).map(|e| e.data)
}

/// Reads the answer of `labels` and `label/NAME/values`; a body without `data` is an empty list.
///
/// # Errors
/// [`DecodeError`] when the body is not one.
pub fn decode_strings(body: &[u8]) -> Result<Vec<String>, DecodeError> {
    from_slice::<List<String>>(body).map(|list| list.data)
}

/// Reads the answer of `series`.
///
/// # Errors
/// [`DecodeError`] when the body is not one.
pub fn decode_series(body: &[u8]) -> Result<Vec<Pairs>, DecodeError> {
    let list = from_slice::<List<LabelMap>>(body)?;
    Ok(list.data.into_iter().map(|map| map.0).collect())
}

fn from_slice<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(body).map_err(|e| DecodeError(e.to_string()))
}

fn pairs<'de, D: Deserializer<'de>>(from: D) -> Result<Pairs, D::Error> {
    struct Map;
    impl<'de> Visitor<'de> for Map {
        type Value = Pairs;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object of strings")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
            let mut out = Vec::new();
            while let Some(pair) = map.next_entry()? {
                out.push(pair);
            }
            Ok(out)
        }
    }
    from.deserialize_map(Map)
}

#[derive(Deserialize, Default)]
struct Categories {
    #[serde(rename = "structuredMetadata", default, deserialize_with = "pairs")]
    metadata: Pairs,
    #[serde(default, deserialize_with = "pairs")]
    parsed: Pairs,
}

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Row;
        impl<'de> Visitor<'de> for Row {
            type Value = Entry;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of time, line and optional metadata")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Entry, A::Error> {
                let ts: std::borrow::Cow<'de, str> = next(&mut seq, "a time")?;
                let ts = ts
                    .parse()
                    .map_err(|_| A::Error::custom(format_args!("bad time {ts:?}")))?;
                let line = next(&mut seq, "a line")?;
                let more: Categories = seq.next_element()?.unwrap_or_default();
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Entry {
                    ts,
                    line,
                    metadata: more.metadata,
                    parsed: more.parsed,
                })
            }
        }
        from.deserialize_seq(Row)
    }
}

impl<'de> Deserialize<'de> for Sample {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Pair;
        impl<'de> Visitor<'de> for Pair {
            type Value = Sample;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of seconds and a value in quotes")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Sample, A::Error> {
                let seconds: f64 = next(&mut seq, "seconds")?;
                let value: String = next(&mut seq, "a value")?;
                let value = value
                    .parse()
                    .map_err(|_| A::Error::custom(format_args!("bad value {value:?}")))?;
                // Through milliseconds: the number has no more, and a double no more digits.
                let ms = (seconds * 1000.0).round() as i64;
                Ok(Sample(ms.saturating_mul(1_000_000), value))
            }
        }
        from.deserialize_seq(Pair)
    }
}

fn next<'de, A: SeqAccess<'de>, T: Deserialize<'de>>(
    seq: &mut A,
    what: &str,
) -> Result<T, A::Error> {
    seq.next_element()?
        .ok_or_else(|| A::Error::custom(format_args!("{what} is missing")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pairs: &[(&str, &str)]) -> Pairs {
        pairs
            .iter()
            .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn check(body: &str, want: Answer) {
        assert_eq!(decode(body.as_bytes()).unwrap(), want, "{body}");
    }

    #[test]
    fn answers_are_read() {
        let entry = Entry {
            ts: 5,
            line: "x".into(),
            metadata: vec![],
            parsed: vec![],
        };
        check(
            r#"{"status":"success","data":{"resultType":"streams","result":[{"stream":{"app":"a"},"values":[["5","x"]]}],"stats":{"a":1}}}"#,
            Answer::Streams(vec![Stream {
                labels: own(&[("app", "a")]),
                entries: vec![entry.clone()],
            }]),
        );
        check(
            r#"{"data":{"result":[{"values":[["5","x",{"structuredMetadata":{"m":"1"},"parsed":{"p":"2"}}],["5","x",{}]],"stream":{}}],"encodingFlags":["categorize-labels"],"resultType":"streams"}}"#,
            Answer::Streams(vec![Stream {
                labels: vec![],
                entries: vec![
                    Entry {
                        metadata: own(&[("m", "1")]),
                        parsed: own(&[("p", "2")]),
                        ..entry.clone()
                    },
                    entry,
                ],
            }]),
        );
        check(
            r#"{"data":{"resultType":"matrix","result":[{"metric":{},"values":[[1795168410,"1"],[1795168410.326,"+Inf"]]}]}}"#,
            Answer::Matrix(vec![Series {
                metric: vec![],
                values: vec![
                    Sample(1_795_168_410_000_000_000, 1.0),
                    Sample(1_795_168_410_326_000_000, f64::INFINITY),
                ],
            }]),
        );
        check(
            r#"{"data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[4000000000,"2"]}]}}"#,
            Answer::Vector(vec![Point {
                metric: own(&[("a", "b")]),
                value: Sample(4_000_000_000_000_000_000, 2.0),
            }]),
        );
        check(
            r#"{"data":{"resultType":"scalar","result":[1,"2"]}}"#,
            Answer::Scalar(Sample(1_000_000_000, 2.0)),
        );
    }

    #[test]
    fn lists_are_read() {
        assert_eq!(
            decode_strings(br#"{"status":"success","data":["a","b"]}"#).unwrap(),
            ["a", "b"]
        );
        assert!(
            decode_strings(br#"{"status":"success"}"#)
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            decode_series(br#"{"data":[{"a":"1"},{}]}"#).unwrap(),
            [own(&[("a", "1")]), vec![]]
        );
    }

    #[test]
    fn other_bodies_are_errors() {
        for body in [
            "",
            "404 page not found\n",
            "{}",
            r#"{"data":null}"#,
            r#"{"data":{"resultType":"","result":null}}"#,
            r#"{"data":{"resultType":"streams","result":[{"stream":{},"values":[[5,"x"]]}]}}"#,
            r#"{"data":{"resultType":"streams","result":[{"stream":{},"values":[["5"]]}]}}"#,
            r#"{"data":{"resultType":"streams","result":[{"stream":{},"values":[["x","y"]]}]}}"#,
            r#"{"data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,2]]}]}}"#,
        ] {
            assert!(decode(body.as_bytes()).is_err(), "{body}");
        }
    }
}
