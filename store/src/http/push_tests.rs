//! Pushes over the real HTTP service into a real store.

use std::io::Write as _;
use std::net::SocketAddr;

use disk::sim::SimDisk;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fake::{Fake, Got, NOW, ask, ask_with, limits, send, split, with_clock, with_service};
use super::*;
use crate::api::{Options, Store};

const PUSH: &str = "POST /loki/api/v1/push";
const JSON: &str = "Content-Type: application/json";

fn store() -> Store {
    let options = Options {
        head_bytes: 1 << 20,
        ..Options::new("data", Arc::new(SimDisk::new(7)))
    };
    Store::open(options).unwrap()
}

/// Runs a test against a service over a store of its own.
fn with_store<F: Future<Output = ()>>(
    limits: HttpLimits,
    test: impl FnOnce(SocketAddr, Arc<Service>) -> F,
) {
    with_service(store(), limits, test);
}

/// What a selector finds in the two hours around now, by time: time, labels and metadata, line.
async fn found(at: SocketAddr, selector: &str) -> Vec<String> {
    let hour = 3_600_000_000_000;
    let selector: String = selector.bytes().map(|b| format!("%{b:02x}")).collect();
    let head = format!(
        "GET /loki/api/v1/query_range?query={selector}&start={}&end={}&limit=5000&direction=forward",
        NOW - hour,
        NOW + hour
    );
    let got = ask(at, &head, "").await;
    let Ok(wire::query::Answer::Streams(streams)) = wire::query::decode(&got.body) else {
        panic!("{got:?}");
    };
    let mut rows = Vec::new();
    for stream in streams {
        let labels: Vec<String> = stream
            .labels
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        for entry in stream.entries {
            rows.push(format!(
                "{} {} {}",
                entry.ts - NOW,
                labels.join(","),
                entry.line
            ));
        }
    }
    rows.sort();
    rows
}

async fn push(at: SocketAddr, headers: &str, body: &[u8]) -> Got {
    ask_with(at, &format!("{PUSH}\n{headers}"), body).await
}

fn accepted(got: &Got) {
    assert_eq!((got.status, got.text()), (204, ""), "{got:?}");
    assert_eq!(got.header("content-type"), "");
    assert_eq!(got.header("transfer-encoding"), "");
}

fn refused(got: &Got, status: u16, text: &str) {
    assert_eq!(got.status, status, "{got:?}");
    assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(got.header("x-content-type-options"), "nosniff");
    assert_eq!(got.text(), format!("{text}\n"));
}

/// A protobuf field with bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut n = bytes.len();
    while n > 0x7f {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend_from_slice(bytes);
    out
}

/// A push as Promtail makes it.
fn protobuf(labels: &str, entries: &[(i64, &[u8])]) -> Vec<u8> {
    let mut stream = field(1, labels.as_bytes());
    for (offset, line) in entries {
        let ts = NOW + offset;
        let mut time = Vec::new();
        for (number, mut n) in [(1u8, ts / 1_000_000_000), (2, ts % 1_000_000_000)] {
            time.push(number << 3);
            while n > 0x7f {
                time.push(n as u8 | 0x80);
                n >>= 7;
            }
            time.push(n as u8);
        }
        let entry = [field(1, &time), field(2, line)].concat();
        stream.extend(field(2, &entry));
    }
    snap::raw::Encoder::new()
        .compress_vec(&field(1, &stream))
        .unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = GzEncoder::new(Vec::new(), Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn clients_push_and_find_their_entries() {
    with_store(limits(), async |at, _| {
        // Promtail.
        let body = protobuf(
            r#"{app="promtail"}"#,
            &[(1, b"level=warn a"), (2, b"\xff b")],
        );
        let headers = "Content-Type: application/x-protobuf\nContent-Encoding: snappy";
        accepted(&push(at, headers, &body).await);
        let want = [
            "1 app=promtail,detected_level=warn,service_name=promtail level=warn a",
            "2 app=promtail,detected_level=unknown,service_name=promtail \u{fffd} b",
        ];
        assert_eq!(found(at, r#"{app="promtail"}"#).await, want);
        // loki-canary: no encoding named, and whatever type.
        let body = protobuf(r#"{name="loki-canary"}"#, &[(0, b"x")]);
        accepted(&push(at, "Content-Type: text/plain", &body).await);
        assert_eq!(found(at, r#"{name="loki-canary"}"#).await.len(), 1);
        // Vector: a third element always, gzip.
        let body = format!(
            r#"{{"streams":[{{"stream":{{"app":"vector"}},"values":[["{NOW}","x",{{}}]]}}]}}"#
        );
        let headers = format!("{JSON}\nContent-Encoding: gzip");
        accepted(&push(at, &headers, &gzip(body.as_bytes())).await);
        assert_eq!(found(at, r#"{app="vector"}"#).await.len(), 1);
        // Fluent Bit: a stream object per record.
        let one = |i: i64| {
            format!(
                r#"{{"stream":{{"job":"fb"}},"values":[["{}","rec {i}"]]}}"#,
                NOW + i
            )
        };
        let body = format!(r#"{{"streams":[{},{},{}]}}"#, one(1), one(2), one(3));
        accepted(&push(at, JSON, body.as_bytes()).await);
        assert_eq!(found(at, r#"{job="fb"} |= "rec""#).await.len(), 3);
        // Promtail of old.
        let ts = "2026-11-20T09:53:24.326197813Z";
        let body = format!(
            r#"{{"streams":[{{"labels":"{{app=\"old\"}}","entries":[{{"ts":"{ts}","line":"x"}}]}}]}}"#
        );
        accepted(&ask(at, &format!("POST /api/prom/push\n{JSON}"), &body).await);
        let want = ["0 app=old,detected_level=unknown,service_name=old x"];
        assert_eq!(found(at, r#"{app="old"}"#).await, want);
        accepted(&push(at, JSON, body.as_bytes()).await);
        // Structured metadata.
        let body = format!(
            r#"{{"streams":[{{"stream":{{"app":"m"}},"values":[["{NOW}","x",{{"trace.id":"7"}}]]}}]}}"#
        );
        accepted(&push(at, JSON, body.as_bytes()).await);
        let want = ["0 app=m,detected_level=unknown,service_name=m,trace_id=7 x"];
        assert_eq!(found(at, r#"{app="m"} | trace_id="7""#).await, want);
    });
}

/// Headers and body, and status and text of the answer where 20,000 bytes are the most.
fn faults() -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let small = snap::raw::Encoder::new()
        .compress_vec(&[0; 20_001])
        .unwrap();
    let twice = protobuf(r#"{t="1", a="b", t="2"}"#, &[(0, b"x"), (1, b"y")]);
    vec![
        ("", b"{}".to_vec(), 400, "mime: no media type"),
        ("Content-Type:", b"{}".to_vec(), 400, "mime: no media type"),
        (
            "Content-Type: application/json\nContent-Encoding: br",
            b"{}".to_vec(),
            400,
            "Content-Encoding \"br\" not supported",
        ),
        (JSON, Vec::new(), 400, "EOF"),
        (
            JSON,
            b"{\"streams\":null}".to_vec(),
            422,
            "error at least one valid stream is required for ingestion",
        ),
        (
            "Content-Type: x/y",
            b"nonsense".to_vec(),
            400,
            "snappy: corrupt input",
        ),
        (
            "Content-Type: x/y",
            protobuf("{a.b=\"c\"}", &[]),
            400,
            "couldn't parse labels: 1:3: parse error: unexpected character inside braces: '.'",
        ),
        (
            "Content-Type: x/y",
            twice,
            400,
            "stream '{a=\"b\", t=\"1\", t=\"2\"}' has duplicate label name: 't'",
        ),
        (
            JSON,
            vec![b' '; 20_001],
            413,
            "request body too large: message size too large than max (20001 vs 20000)",
        ),
        (
            "Content-Type: x/y",
            small,
            413,
            "request body too large: decompressed message size too large than max (20001 vs 20000)",
        ),
        (
            "Content-Type: application/json\nContent-Encoding: gzip",
            gzip(&[b' '; 30_000]),
            413,
            "request body too large: decompressed message size too large than max (20001 vs 20000)",
        ),
    ]
}

#[test]
fn faults_have_lokis_statuses_and_texts() {
    let limits = HttpLimits {
        push: PushLimits {
            max_body_bytes: 20_000,
            ..PushLimits::default()
        },
        ..limits()
    };
    with_store(limits, async |at, _| {
        for (headers, body, status, text) in faults() {
            refused(&push(at, headers, &body).await, status, text);
        }
        for method in ["GET", "PUT", "HEAD"] {
            let got = ask(at, &format!("{method} /loki/api/v1/push"), "").await;
            assert_eq!((got.status, got.text()), (405, ""));
        }
        let chunked = format!(
            "{PUSH} HTTP/1.1\r\nHost: x\r\n{JSON}\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n4e21\r\n{}\r\n0\r\n\r\n",
            " ".repeat(20_001)
        );
        let got = split(&send(at, chunked.as_bytes()).await);
        refused(
            &got,
            413,
            "request body too large: message size too large than max (20001 vs 20000)",
        );
        let text = ask(at, "GET /metrics", "").await.text().to_owned();
        for line in [
            "drupelet_http_requests_total{route=\"loki_api_v1_push\",code=\"413\"} 4\n",
            "drupelet_http_requests_total{route=\"loki_api_v1_push\",code=\"405\"} 3\n",
            "drupelet_push_discarded_lines_total{reason=\"request_body_too_large\"} 0\n",
            "drupelet_push_discarded_lines_total{reason=\"duplicate_label_names\"} 2\n",
            "drupelet_push_discarded_bytes_total{reason=\"malformed_body\"} 8\n",
            "drupelet_push_lines_total 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("discarded_bytes_total{reason=\"request_body_too_large\"} 0\n"));
    });
}

#[test]
fn p7_what_is_refused_over_http_is_counted_and_the_rest_is_found() {
    with_store(limits(), async |at, _| {
        let old = NOW - 8 * 86_400_000_000_000;
        let body = format!(
            r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["{NOW}","good"],["{old}","old"],["{NOW}","{}"]]}}]}}"#,
            "l".repeat(262_145)
        );
        let got = push(at, JSON, body.as_bytes()).await;
        assert_eq!(got.status, 400);
        assert!(got.text().starts_with("1 errors like: entry for stream '{app=\"x\", service_name=\"x\"}' has timestamp too old"), "{got:?}");
        assert_eq!(found(at, r#"{app="x"}"#).await.len(), 1);
        let text = ask(at, "GET /metrics", "").await.text().to_owned();
        for line in [
            "drupelet_push_lines_total 1\n",
            "drupelet_push_bytes_total 4\n",
            "drupelet_push_streams 1\n",
            "drupelet_push_discarded_lines_total{reason=\"greater_than_max_sample_age\"} 1\n",
            "drupelet_push_discarded_bytes_total{reason=\"line_too_long\"} 262145\n",
            "drupelet_push_discarded_lines_total{reason=\"too_far_in_future\"} 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    });
}

#[test]
fn p10_a_clock_that_is_not_known_to_be_right_refuses_nothing() {
    with_clock(
        store(),
        limits(),
        || None,
        async |at, _| {
            let body = r#"{"streams":[{"stream":{"app":"x"},"values":[["1","x"]]}]}"#;
            accepted(&push(at, JSON, body.as_bytes()).await);
        },
    );
    with_clock(
        store(),
        limits(),
        || Some(NOW),
        async |at, _| {
            let body = r#"{"streams":[{"stream":{"app":"x"},"values":[["1","x"]]}]}"#;
            assert_eq!(push(at, JSON, body.as_bytes()).await.status, 400);
        },
    );
}

#[test]
fn temporary_refusals_say_when_to_come_again() {
    let limits = HttpLimits {
        push: PushLimits {
            ingestion_rate: 10,
            ingestion_burst: 10,
            ..PushLimits::default()
        },
        ..limits()
    };
    with_store(limits, async |at, _| {
        let body = format!(
            r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[["{NOW}","{}"]]}}]}}"#,
            "x".repeat(45)
        );
        let got = push(at, JSON, body.as_bytes()).await;
        assert_eq!((got.status, got.header("retry-after")), (429, "4"));
        assert!(
            got.text()
                .starts_with("ingestion rate limit exceeded for user fake (limit: 10 bytes/sec)")
        );
    });
}

#[test]
fn a_full_head_is_written_and_takes_more() {
    // Some 3 MiB that do not compress, into a head of 1 MiB.
    let mut seed = 1u64;
    let mut noise = |n: usize| -> String {
        (0..n)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                char::from(b'!' + (seed % 90) as u8)
            })
            .filter(|c| !matches!(c, '"' | '\\'))
            .collect()
    };
    let values: Vec<String> = (0..300)
        .map(|i| format!(r#"["{}","{}"]"#, NOW + i, noise(10_000)))
        .collect();
    let body = format!(
        r#"{{"streams":[{{"stream":{{"app":"x"}},"values":[{}]}}]}}"#,
        values.join(",")
    );
    let backend = store();
    let kept = backend.clone();
    with_service(backend, limits(), async |at, _| {
        accepted(&push(at, JSON, body.as_bytes()).await);
        assert_eq!(found(at, r#"{app="x"}"#).await.len(), 300);
    });
    assert!(!kept.segments().is_empty());
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let limits = HttpLimits {
        header_timeout: Duration::from_millis(40),
        ..limits()
    };
    with_store(limits, async |at, _| {
        let head =
            format!("{PUSH} HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: 9\r\n\r\n{{\"s");
        let got = split(&send(at, head.as_bytes()).await);
        refused(&got, 503, "the body did not come in time");
        assert_eq!(got.header("retry-after"), "1");
    });
}

#[test]
fn p4_bodies_in_memory_are_bounded() {
    let limits = HttpLimits {
        header_timeout: Duration::from_secs(600),
        push: PushLimits {
            max_body_bytes: 100,
            ..PushLimits::default()
        },
        ..limits()
    };
    let head = format!("{PUSH} HTTP/1.1\r\nHost: x\r\n{JSON}\r\nContent-Length: 100\r\n\r\n");
    with_store(limits, async |at, service| {
        let mut held = Vec::new();
        for taken in 1..=2 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            held.push(stream);
            while service.pushes.bytes.available_permits() > 200 - 100 * taken {
                tokio::task::yield_now().await;
            }
        }
        let waits = tokio::spawn(async move { push(at, JSON, b"{}").await.status });
        while service.counters.connections.load(Ordering::Relaxed) < 3 {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        held.pop();
        assert_eq!(waits.await.unwrap(), 422);
        held.clear();
        while service.pushes.bytes.available_permits() < 200 {
            tokio::task::yield_now().await;
        }
    });
}

/// A push and a query, each while the other kind's thread is held up.
#[test]
fn p6_queries_and_pushes_do_not_wait_for_each_other() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let fake = Fake::new(move |_, cancel| {
        tell.send(()).unwrap();
        while cancel.check().is_ok() {
            std::thread::yield_now();
        }
        Err(EvalError::Cancelled)
    });
    let limits = HttpLimits {
        max_concurrent: 1,
        ..limits()
    };
    with_service(fake, limits, async |at, service| {
        let mut query = TcpStream::connect(at).await.unwrap();
        let request = "GET /loki/api/v1/query?query=vector(1) HTTP/1.1\r\nHost: x\r\n\r\n";
        query.write_all(request.as_bytes()).await.unwrap();
        told.recv().await.unwrap();
        // All query threads are busy, and a push is answered.
        assert_eq!(push(at, JSON, b"{}").await.status, 422);
        drop(query);
        // The push thread is held up, and metadata is answered.
        let body = format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["{NOW}","x"]]}}]}}"#);
        let (free, held) = std::sync::mpsc::channel::<()>();
        service.pushes.run(move || held.recv().unwrap()).unwrap();
        let request = format!(
            "{PUSH} HTTP/1.1\r\nHost: x\r\n{JSON}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut pushed = TcpStream::connect(at).await.unwrap();
        pushed.write_all(request.as_bytes()).await.unwrap();
        let got = ask(at, "GET /loki/api/v1/labels?start=1&end=1", "").await;
        assert_eq!(got.status, 200);
        free.send(()).unwrap();
        let mut all = Vec::new();
        pushed.read_to_end(&mut all).await.unwrap();
        let got = split(&all);
        refused(
            &got,
            429,
            "the store cannot write: a fake stores nothing; try again later",
        );
        assert_eq!(got.header("retry-after"), "30");
    });
}

#[test]
fn p2_an_answer_waits_for_the_device() {
    with_service(Fake::unsynced(), limits(), async |at, _| {
        let body = format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[["{NOW}","x"]]}}]}}"#);
        let got = push(at, JSON, body.as_bytes()).await;
        refused(&got, 503, "the store cannot write: no device for 3");
        assert_eq!(got.header("retry-after"), "1");
        // What was stored of a push with faults has to be durable too: its client does not come again.
        let body = body.replace("]]}", r#"],["1","old"]]}"#);
        let got = push(at, JSON, body.as_bytes()).await;
        refused(&got, 503, "the store cannot write: no device for 3");
    });
}

#[test]
fn waiting_pushes_are_bounded() {
    with_store(limits(), async |at, service| {
        let (free, held) = std::sync::mpsc::channel::<()>();
        let (began, begin) = std::sync::mpsc::channel();
        let hold = move || {
            began.send(()).unwrap();
            held.recv().unwrap();
        };
        service.pushes.run(hold).unwrap();
        // As long as it waits in the queue, it takes a place there that would be free later.
        begin.recv().unwrap();
        while service.pushes.run(|| ()).is_ok() {}
        let got = push(at, JSON, b"{}").await;
        refused(&got, 429, "too many outstanding requests");
        assert_eq!(got.header("retry-after"), "1");
        free.send(()).unwrap();
        while push(at, JSON, b"{}").await.status != 422 {}
    });
}
