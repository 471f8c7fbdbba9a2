use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::mpsc::channel;
use std::time::Duration;

use flate2::read::GzDecoder;
use logql::eval::EvalError;
use logql::value::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use wire::query::{Answer, decode};

use super::fake::{Fake, Got, NOW, ask, limits, lines, send, split, with_service};
use super::*;

const QUERY: &str = "/loki/api/v1/query";
const RANGE: &str = "/loki/api/v1/query_range";
const LOG: &str = "%7Ba%3D%22b%22%7D";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// The first line of a log answer.
fn first_line(got: &Got) -> String {
    match decode(&got.body) {
        Ok(Answer::Streams(streams)) => streams[0].entries[0].line.clone(),
        other => panic!("{other:?}: {got:?}"),
    }
}

#[test]
fn requests_are_resolved() {
    let hour = 3600 * 1_000_000_000;
    let range = |start: i64, end: i64, step: i64, limit: usize, direction: &str| {
        format!(
            "Range {{ start: {start}, end: {end}, step: {step}, limit: {limit}, direction: {direction} }}"
        )
    };
    let cases = [
        (
            format!("GET {RANGE}?query={LOG}"),
            "",
            range(NOW - hour, NOW, 14_000_000_000, 100, "Backward"),
        ),
        (
            format!(
                "GET {RANGE}?query={LOG}&start=588&end=649&step=30000ms&limit=7&direction=forward"
            ),
            "",
            range(
                588_000_000_000,
                649_000_000_000,
                30_000_000_000,
                7,
                "Forward",
            ),
        ),
        (
            format!("GET {RANGE}?query=vector(1)&start=588&end=649&step=30"),
            "",
            range(
                570_000_000_000,
                660_000_000_000,
                30_000_000_000,
                100,
                "Backward",
            ),
        ),
        (
            format!("POST {RANGE}?query=vector(1)&start=7&limit=9\n{FORM}; charset=UTF-8"),
            "start=1&end=2&step=1",
            range(1_000_000_000, 2_000_000_000, 1_000_000_000, 9, "Backward"),
        ),
        (
            format!("GET {QUERY}?query=vector(1)%2Bvector(1)&time=4000000000"),
            "",
            "Instant { time: 4000000000000000000 }".into(),
        ),
        (
            format!("GET {QUERY}?query=vector(1)"),
            "",
            format!("Instant {{ time: {NOW} }}"),
        ),
    ];
    with_service(Fake::echo(), limits(), async |at, _| {
        for (head, body, want) in cases {
            let got = ask(at, &head, body).await;
            assert_eq!(got.status, 200, "{head}: {got:?}");
            assert_eq!(first_line(&got), want, "{head}");
        }
    });
}

async fn check(at: SocketAddr, head: &str, body: &str, status: u16, want: &str) {
    let got = ask(at, head, body).await;
    assert_eq!((got.status, got.text()), (status, want), "{head}");
    if status >= 400 && status != 405 {
        assert_eq!(got.header("content-type"), "text/plain; charset=utf-8");
        assert_eq!(got.header("x-content-type-options"), "nosniff");
    }
}

/// Path below `/loki/api/v1/`, a blank, the text of the 400.
const BAD: &str = r#"
query_range parse error : syntax error: unexpected $end
query parse error : syntax error: unexpected $end
query?query=%7Ba%3D%22b%22%7D log queries are not supported as an instant query type, please change your query to a range query type
query?query=vector(1)&time=abc strconv.ParseInt: parsing "abc": invalid syntax
query_range?query=vector(1)&start=2&end=1 end timestamp must not be before or equal to start time
query_range?query=vector(1)&limit=0 limit must be a positive value
query_range?query=%7Ba%3D%22b%22%7D&limit=5001 max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)
query_range?query=vector(1)&start=0&end=2880000&step=1d the query time range exceeds the limit (query length: 816h0m0s, limit: 30d1h)
query_range?query=%zz invalid URL escape "%zz"
labels?start=2&end=1 this data is no longer available, it is past now - max_query_lookback (0s)
label/app/values?start=x could not parse 'start' parameter: strconv.ParseInt: parsing "x": invalid syntax
series?since=3600 could not parse 'since' parameter: not a valid duration string: "3600"
series?match=%7B%7D&match[]=%7B%7D 0 matchers in group: {}
index/stats parse error : syntax error: unexpected $end
index/stats?query=%7B parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }
index/stats?query=rate(%7Bapp%3D%22x%22%7D[5m]) only label matchers are supported
query_range?query=%7Bapp%7D parse error at line 1, col 5: syntax error: unexpected }, expecting = or =~ or !~ or !=
labels?query=%7Bapp%3D%22x%22%7D|%3D%22y%22 only label matchers are supported
series?match[]=%7B parse error at line 1, col 2: syntax error: unexpected $end, expecting IDENTIFIER or }
"#;

#[test]
fn errors_have_lokis_text() {
    with_service(Fake::echo(), limits(), async |at, _| {
        for (path, want) in BAD.trim().lines().filter_map(|l| l.split_once(' ')) {
            check(at, &format!("GET /loki/api/v1/{path}"), "", 400, want).await;
        }
        let head = format!("POST {QUERY}\nContent-Type: text/plain");
        let want = "parse error : syntax error: unexpected $end";
        check(at, &head, "query=vector(1)", 400, want).await;
        let many = "match[]=%7Ba%3D%22b%22%7D&".repeat(1001);
        let want = "max streams matchers per query exceeded, matchers-count > limit (1001 > 1000)";
        let head = format!("POST /loki/api/v1/series\n{FORM}");
        check(at, &head, &many, 400, want).await;
        let long = format!("query={}", "x".repeat(131_073));
        let want = "parse error : input size too long (131073 > 131072)";
        check(at, &format!("POST {QUERY}\n{FORM}"), &long, 400, want).await;
    });
}

#[test]
fn other_paths_and_methods_are_refused() {
    let lost = "404 page not found\n";
    let cases = [
        ("GET /loki/api/v1/label/a%2Fb/values", 404, lost),
        ("GET /loki/api/v1/nothing_here", 404, lost),
        ("GET /loki/api/v1/labels/", 404, lost),
        ("GET /", 404, lost),
        ("DELETE /loki/api/v1/query_range?query=vector(1)", 405, ""),
        ("OPTIONS /loki/api/v1/labels", 405, ""),
        ("HEAD /ready", 405, ""),
        ("POST /ready", 405, ""),
        ("POST /loki/api/v1/status/buildinfo", 405, ""),
    ];
    with_service(Fake::echo(), limits(), async |at, _| {
        for (head, status, want) in cases {
            check(at, head, "", status, want).await;
        }
    });
}

#[test]
fn metadata_is_answered() {
    let hour = NOW - 3_600_000_000_000;
    let names = format!("{{\"status\":\"success\",\"data\":[\"0 {hour} {NOW}\"]}}\n");
    let values = "{\"status\":\"success\",\"data\":[\"a b 0 1000000000 2000000000\"]}\n";
    let series = "{\"status\":\"success\",\"data\":[{\"end\":\"2000000000\",\"groups\":\"0\",\"start\":\"1000000000\"}]}\n";
    let cases = [
        ("GET /loki/api/v1/labels", "", names.as_str()),
        ("GET /loki/api/v1/label?query=%7B%7D", "", &names),
        ("GET /api/prom/label?query=%7B+%7D", "", &names),
        (
            "GET /loki/api/v1/labels?start=1&end=1",
            "",
            "{\"status\":\"success\"}\n",
        ),
        (
            "GET /loki/api/v1/label/a%20b/values?start=1&end=2",
            "",
            values,
        ),
        (
            &format!("POST /api/prom/label/a%20b/values\n{FORM}"),
            "start=1&end=2",
            values,
        ),
        ("GET /loki/api/v1/series?start=1&end=2", "", series),
        (
            "GET /loki/api/v1/series?start=1&end=2&match[]=%7B%7D",
            "",
            series,
        ),
    ];
    with_service(Fake::echo(), limits(), async |at, _| {
        for (head, body, want) in cases {
            check(at, head, body, 200, want).await;
        }
    });
}

#[test]
fn errors_of_queries_have_statuses() {
    type Case = (fn() -> EvalError, u16, &'static str);
    let cases: [Case; 6] = [
        (|| EvalError::Bad("bad".into()), 400, "bad"),
        (|| EvalError::Limit("limit".into()), 400, "limit"),
        (|| EvalError::Execution("exec".into()), 500, "exec"),
        (|| EvalError::Timeout, 504, "request timed out, decrease"),
        (|| EvalError::Cancelled, 499, "context canceled"),
        (
            || EvalError::Storage("torn".into()),
            500,
            "cannot read the store: torn",
        ),
    ];
    for (error, status, want) in cases {
        let fake = Fake::new(move |_, _| Err(error()));
        with_service(fake, limits(), async |at, _| {
            let got = ask(at, &format!("GET {QUERY}?query=vector(1)"), "").await;
            assert_eq!(got.status, status);
            assert!(got.text().starts_with(want), "{got:?}");
        });
    }
}

#[test]
fn answers_have_headers_and_gzip() {
    let fake = Fake::new(|request, _| {
        let n = if let Request::Instant { time } = request {
            *time / 1_000_000_000
        } else {
            0
        };
        let text = (0..n).map(|i| format!("line {i}"));
        Ok((lines(text), QueryStats::default()))
    });
    with_service(fake, limits(), async |at, _| {
        for (rows, headers, gzip) in [
            (1, "", false),
            (1000, "", false),
            (1000, "\nAccept-Encoding: deflate", false),
            (1000, "\nAccept-Encoding: gzip", true),
            // Large: more than one piece.
            (100_000, "", false),
            (100_000, "\nAccept-Encoding: gzip", true),
        ] {
            let got = ask(
                at,
                &format!("GET {QUERY}?query=vector(1)&time={rows}{headers}"),
                "",
            )
            .await;
            assert_eq!(got.status, 200);
            assert_eq!(
                got.header("content-type"),
                "application/json; charset=UTF-8"
            );
            assert_eq!(got.header("vary"), "Accept-Encoding");
            assert_eq!(
                got.header("content-encoding"),
                if gzip { "gzip" } else { "" }
            );
            let mut body = got.body;
            if gzip {
                let mut plain = Vec::new();
                GzDecoder::new(&body[..]).read_to_end(&mut plain).unwrap();
                body = plain;
            }
            let Ok(Answer::Streams(streams)) = decode(&body) else {
                panic!("no streams");
            };
            assert_eq!(streams[0].entries.len(), rows);
            assert_eq!(
                streams[0].entries[rows - 1].line,
                format!("line {}", rows - 1)
            );
        }
    });
}

#[test]
fn small_gzip_answers_stay_plain() {
    with_service(Fake::echo(), limits(), async |at, _| {
        let head = "GET /loki/api/v1/labels\nAccept-Encoding: gzip";
        let got = ask(at, head, "").await;
        assert_eq!(got.header("content-encoding"), "");
        assert!(got.text().starts_with("{\"status\""));
    });
}

#[test]
fn categorized_answers_need_the_flag() {
    for (header, fold, want) in [
        (
            "",
            false,
            "\"result\":[{\"stream\":{},\"values\":[[\"0\",\"x\"]",
        ),
        (
            "\nX-Loki-Response-Encoding-Flags: other, categorize-labels",
            false,
            "\"encodingFlags\":[\"categorize-labels\"],\"result\":[{\"stream\":{},\"values\":[[\"0\",\"x\",{}]",
        ),
        (
            "\nX-Loki-Response-Encoding-Flags: categorize-labels",
            true,
            "\"encodingFlags\":[\"categorize-labels\"],\"result\":[{\"stream\":{},\"values\":[[\"0\",\"x\",{}]",
        ),
        (
            "\nX-Loki-Response-Encoding-Flags: other",
            false,
            "\"result\":[{\"stream\":{},\"values\":[[\"0\",\"x\"]",
        ),
    ] {
        let fake = Fake::new(|_, _| Ok((lines(["x".to_owned()]), QueryStats::default())));
        let limits = HttpLimits {
            fold_categorized_labels: fold,
            ..limits()
        };
        with_service(fake, limits, async |at, _| {
            let got = ask(at, &format!("GET {RANGE}?query={LOG}{header}"), "").await;
            let want = format!("\"resultType\":\"streams\",{want}");
            assert!(got.text().contains(&want), "{got:?}");
        });
    }
}

#[test]
fn plain_endpoints_answer() {
    let mut source = None;
    with_service(Fake::echo(), limits(), async |at, service| {
        check(at, "GET /ready", "", 200, "ready\n").await;
        service.set_state(State::Starting);
        check(at, "GET /ready", "", 503, "Ingester not ready: starting\n").await;
        service.set_state(State::Stopping);
        check(at, "GET /ready", "", 503, "Application is stopping\n").await;
        let got = ask(at, "GET /loki/api/v1/status/buildinfo", "").await;
        assert_eq!(got.header("content-type"), "application/json");
        assert!(got.text().starts_with("{\"version\":\"3."), "{got:?}");
        let got = ask(at, "GET //loki/api//v1/labels?start=1", "").await;
        assert_eq!(
            (got.status, got.header("location")),
            (301, "/loki/api/v1/labels?start=1")
        );
        ask(at, &format!("GET {QUERY}"), "").await;
        source = Some(ask(at, "GET /metrics", "").await.text().to_owned());
    });
    let text = source.unwrap();
    for line in [
        "drupelet_http_requests_total{route=\"ready\",code=\"503\"} 2\n",
        "drupelet_http_requests_total{route=\"loki_api_v1_query\",code=\"400\"} 1\n",
        "drupelet_http_requests_total{route=\"other\",code=\"301\"} 1\n",
        "drupelet_store_entries_total 0\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn further_metrics_are_added() {
    let mut service = Service::new(Fake::echo(), limits());
    service.add_metrics(Box::new(|out| out.push_str("extra 1\n")));
    assert_eq!(service.sources.len(), 1);
    assert!(routes::metrics(&service).ends_with("extra 1\n"));
}

#[test]
fn index_stats_are_counted_by_queries() {
    let fake = Fake::new(|_, _| {
        let stats = QueryStats {
            chunks_matched: 3,
            ..QueryStats::default()
        };
        Ok((Value::Vector(vec![(vec![], 0, 12.0)]), stats))
    });
    with_service(fake, limits(), async |at, _| {
        let head = "GET /loki/api/v1/index/stats?query=%7Ba%3D%22b%22%7D&start=1&end=3";
        let want = "{\"streams\":1,\"chunks\":3,\"bytes\":12,\"entries\":12}\n";
        check(at, head, "", 200, want).await;
        let commented = head.replace("%7D&", "%7D%23c&");
        check(at, &commented, "", 200, want).await;
    });
}

#[test]
fn queries_are_laid_out() {
    const FORMAT: &str = "/loki/api/v1/format_query";
    let get = |query: &str| format!("GET {FORMAT}?query={query}");
    let post = format!("POST {FORMAT}?query=%7B\n{FORM}");
    let data = |text: &str| format!("{{\"status\":\"success\",\"data\":\"{text}\"}}\n");
    let fault = |text: &str| format!("{{\"status\":\"invalid-query\",\"error\":\"{text}\"}}\n");
    let cases = [
        (get("vector(1)"), "", 200, data("vector(1.000000)")),
        (
            get("%7Ba%3D%22b%22%7D|%3D%60%3Cx%60"),
            "",
            200,
            data(r#"{a=\"b\"} |= \"\u003cx\""#),
        ),
        // What only shows when a query runs.
        (
            get("%7Ba%3D%22b%22%7D|~%22(%22"),
            "",
            200,
            data(r#"{a=\"b\"} |~ \"(\""#),
        ),
        (post, "query=1%2B1", 200, data("2")),
        (
            get(""),
            "",
            400,
            fault("parse error : syntax error: unexpected $end"),
        ),
        (
            get("sum("),
            "",
            400,
            fault("parse error at line 1, col 5: syntax error: unexpected $end"),
        ),
        (
            get("%7Ba%3D%22%ff%22%7D"),
            "",
            400,
            fault("parse error at line 1, col 4: invalid UTF-8 encoding"),
        ),
    ];
    with_service(Fake::echo(), limits(), async |at, _| {
        for (head, body, status, want) in cases {
            let got = ask(at, &head, body).await;
            assert_eq!((got.status, got.text()), (status, want.as_str()), "{head}");
            assert_eq!(
                got.header("content-type"),
                "application/json; charset=utf-8"
            );
        }
        let long = format!("query={{a=%22{}%22}}", "x".repeat(3_000));
        let head = format!("POST {FORMAT}\n{FORM}\nAccept-Encoding: gzip");
        let got = ask(at, &head, &long).await;
        assert_eq!((got.status, got.header("content-encoding")), (200, ""));
        assert!(got.text().starts_with("{\"status\":\"success\""));
    });
}

/// A backend whose queries say when they begin, and run until they are cancelled or the deadline passes.
fn endless() -> (Fake, tokio::sync::mpsc::UnboundedReceiver<&'static str>) {
    let (tell, told) = tokio::sync::mpsc::unbounded_channel();
    let fake = Fake::new(move |_, cancel| {
        tell.send("began").unwrap();
        loop {
            match cancel.check() {
                Ok(()) => std::thread::yield_now(),
                Err(error) => {
                    let why = match error {
                        EvalError::Cancelled => "cancelled",
                        _ => "timeout",
                    };
                    tell.send(why).unwrap();
                    return Err(error);
                }
            }
        }
    });
    (fake, told)
}

#[test]
fn a_client_that_goes_away_cancels_its_query() {
    let (fake, mut told) = endless();
    with_service(fake, limits(), async |at, service| {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = format!("GET {QUERY}?query=vector(1) HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(told.recv().await, Some("began"));
        assert_eq!(service.counters.queries_running.load(Ordering::Relaxed), 1);
        drop(stream);
        assert_eq!(told.recv().await, Some("cancelled"));
        let got = ask(at, "GET /metrics", "").await;
        let line = "drupelet_http_requests_total{route=\"loki_api_v1_query\",code=\"499\"} 1\n";
        assert!(got.text().contains(line), "{}", got.text());
        assert!(got.text().contains("drupelet_queries_running 0\n"));
    });
}

#[test]
fn a_query_has_a_deadline() {
    let (fake, mut told) = endless();
    let limits = HttpLimits {
        query_timeout: Duration::from_millis(30),
        ..limits()
    };
    with_service(fake, limits, async |at, _| {
        let got = ask(at, &format!("GET {QUERY}?query=vector(1)"), "").await;
        assert_eq!(got.status, 504);
        assert!(got.text().starts_with("request timed out"));
        assert_eq!(told.recv().await, Some("began"));
        // Cancelled when the service's own timer was first.
        assert!(told.recv().await.is_some());
    });
}

#[test]
fn waiting_queries_are_bounded() {
    let (fake, mut told) = endless();
    let limits = HttpLimits {
        max_concurrent: 1,
        query_queue: 1,
        ..limits()
    };
    with_service(fake, limits, async |at, service| {
        let request = format!("GET {QUERY}?query=vector(1) HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut held = Vec::new();
        for waiting in 1..=2 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            held.push(stream);
            if waiting == 1 {
                assert_eq!(told.recv().await, Some("began"));
            }
            while service.counters.queries_running.load(Ordering::Relaxed) < waiting {
                tokio::task::yield_now().await;
            }
        }
        let want = "too many outstanding requests";
        check(at, &format!("GET {QUERY}?query=vector(1)"), "", 429, want).await;
        check(at, "GET /ready", "", 200, "ready\n").await;
        drop(held);
        assert_eq!(told.recv().await, Some("cancelled"));
    });
}

/// Waits until all connections but `n` are gone.
async fn connections(service: &Service, n: u64) {
    while service.counters.connections.load(Ordering::Relaxed) != n {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_client_that_does_not_read_is_cut_off() {
    for cut_by_total in [false, true] {
        let (done, finished) = channel();
        let fake = Fake::new(move |_, _| {
            let text = "x".repeat(1 << 20);
            done.send(()).unwrap();
            Ok((lines((0..64).map(|_| text.clone())), QueryStats::default()))
        });
        let short = Duration::from_millis(40);
        let long = Duration::from_secs(600);
        let limits = HttpLimits {
            max_concurrent: 1,
            write_timeout: if cut_by_total { long } else { short },
            response_timeout: if cut_by_total { short } else { long },
            ..limits()
        };
        with_service(fake, limits, async |at, service| {
            let request = format!("GET {QUERY}?query=vector(1) HTTP/1.1\r\nHost: x\r\n\r\n");
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            connections(&service, 1).await;
            connections(&service, 0).await;
            finished.recv().unwrap();
            // Its thread is free again.
            check(
                at,
                "GET /loki/api/v1/labels?start=1&end=1",
                "",
                200,
                "{\"status\":\"success\"}\n",
            )
            .await;
        });
    }
}

#[test]
fn a_head_that_does_not_end_is_cut_off() {
    for (header_timeout, idle_timeout) in [(40, 600_000), (600_000, 40)] {
        let limits = HttpLimits {
            header_timeout: Duration::from_millis(header_timeout),
            idle_timeout: Duration::from_millis(idle_timeout),
            ..limits()
        };
        with_service(Fake::echo(), limits, async |at, _| {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream
                .write_all(b"GET /ready HTTP/1.1\r\nHos")
                .await
                .unwrap();
            let mut all = Vec::new();
            let _ = stream.read_to_end(&mut all).await;
            assert!(all.is_empty() || split(&all).status == 408, "{all:?}");
        });
    }
}

#[test]
fn a_body_that_does_not_come_is_cut_off() {
    let limits = HttpLimits {
        header_timeout: Duration::from_millis(40),
        ..limits()
    };
    with_service(Fake::echo(), limits, async |at, _| {
        let head =
            format!("POST {QUERY} HTTP/1.1\r\nHost: x\r\n{FORM}\r\nContent-Length: 9\r\n\r\nque");
        assert_eq!(split(&send(at, head.as_bytes()).await).status, 408);
    });
}

#[test]
fn forms_in_memory_are_bounded() {
    let limits = HttpLimits {
        max_body_bytes: 100,
        header_timeout: Duration::from_secs(600),
        ..limits()
    };
    let head = format!("POST {QUERY} HTTP/1.1\r\nHost: x\r\n{FORM}\r\nContent-Length: 100\r\n\r\n");
    with_service(Fake::echo(), limits, async |at, service| {
        let mut held = Vec::new();
        for taken in 1..=4 {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(head.as_bytes()).await.unwrap();
            held.push(stream);
            while service.form_bytes.available_permits() > 400 - 100 * taken {
                tokio::task::yield_now().await;
            }
        }
        let path = format!("POST {QUERY}\n{FORM}");
        let waits = tokio::spawn(async move { ask(at, &path, "query=vector(1)").await.status });
        connections(&service, 5).await;
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!waits.is_finished());
        held.pop();
        assert_eq!(waits.await.unwrap(), 200);
        held.clear();
        connections(&service, 0).await;
        assert_eq!(service.form_bytes.available_permits(), 400);
    });
}

#[test]
fn connections_are_bounded() {
    let limits = HttpLimits {
        max_connections: 1,
        ..limits()
    };
    with_service(Fake::echo(), limits, async |at, service| {
        let mut first = TcpStream::connect(at).await.unwrap();
        first
            .write_all(b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut begin = [0; 15];
        first.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200 OK");
        let second = tokio::spawn(async move { ask(at, "GET /ready", "").await.status });
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(service.counters.connections.load(Ordering::Relaxed), 1);
        assert!(!second.is_finished());
        drop(first);
        assert_eq!(second.await.unwrap(), 200);
    });
}

#[test]
fn hostile_requests_get_errors() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(70_000));
    let wide = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(101));
    let body =
        format!("POST {QUERY} HTTP/1.1\r\nHost: x\r\n{FORM}\r\nContent-Length: 1048577\r\n\r\n");
    let chunks = format!(
        "POST {QUERY} HTTP/1.1\r\nHost: x\r\n{FORM}\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n"
    );
    let mut noise = vec![0u8; 4096];
    let mut seed = 0x9E37_79B9_7F4A_7C15u64;
    for byte in &mut noise {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        *byte = seed as u8;
    }
    let cases: [(&[u8], &[u16]); 8] = [
        (long.as_bytes(), &[414, 431]),
        (wide.as_bytes(), &[431]),
        (many.as_bytes(), &[431]),
        (body.as_bytes(), &[413]),
        (chunks.as_bytes(), &[400]),
        (b"\0\x01\x02 / HTTP/1.1\r\n\r\n", &[400]),
        (
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            &[400],
        ),
        (&noise, &[400]),
    ];
    with_service(Fake::echo(), limits(), async |at, service| {
        for (request, want) in cases {
            let mut request = request.to_vec();
            // So that a server that takes a part of it does not wait for more.
            let close = b"Connection: close\r\n";
            if let Some(end) = request.windows(2).position(|w| w == b"\r\n") {
                request.splice(end + 2..end + 2, close.iter().copied());
            }
            let all = send(at, &request).await;
            let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
            assert!(!all.is_empty(), "{shown}");
            let status = split(&all).status;
            assert!(want.contains(&status), "{shown}: {status}");
        }
        connections(&service, 0).await;
        check(at, "GET /ready", "", 200, "ready\n").await;
    });
}

#[test]
fn a_shutdown_cuts_what_does_not_end() {
    let (fake, mut told) = endless();
    let limits = HttpLimits {
        shutdown_grace: Duration::from_millis(30),
        ..limits()
    };
    let mut held = None;
    with_service(fake, limits, async |at, service| {
        let request = format!("GET {QUERY}?query=vector(1) HTTP/1.1\r\nHost: x\r\n\r\n");
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        assert_eq!(told.recv().await, Some("began"));
        held = Some((stream, service));
    });
    let (_, service) = held.unwrap();
    assert_eq!(service.state.load(Ordering::Relaxed), State::Stopping as u8);
    assert_eq!(told.blocking_recv(), Some("cancelled"));
}
