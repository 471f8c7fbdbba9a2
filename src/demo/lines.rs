//! What each invented program writes. Randomness is a small generator of our own: the same seed, the same lines.

use super::pods::Line;

/// xorshift64*: small, fast, good enough for looks.
#[derive(Debug)]
pub(super) struct Rng(u64);

impl Rng {
    pub(super) fn new(seed: u64) -> Rng {
        Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `n` (at least 1).
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn pick<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len() as u64) as usize]
    }

    /// True once in `n` times.
    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

fn out(lines: &mut Vec<Line>, text: String) {
    lines.push(Line {
        stderr: false,
        text,
    });
}

fn err(lines: &mut Vec<Line>, text: String) {
    lines.push(Line { stderr: true, text });
}

const PATHS: [&str; 8] = [
    "/",
    "/berries",
    "/berries/cloudberry",
    "/cart",
    "/checkout",
    "/static/app.js",
    "/api/stock",
    "/robots.txt",
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (X11; Linux aarch64) Gecko/20100101 Firefox/140.0",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) Mobile",
    "curl/8.14.1",
    "HedgehogBot/2.1 (+https://hedgehog.example/bot)",
];

fn ip(rng: &mut Rng) -> String {
    format!("198.51.100.{}", rng.below(60) + 1)
}

fn status(rng: &mut Rng) -> u64 {
    match rng.below(100) {
        0..=1 => 500 + rng.below(4),
        2..=8 => 404,
        9..=14 => 304,
        _ => 200,
    }
}

/// An access log in nginx's combined format, now and then an error.
pub(super) fn nginx(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let (ip, path, status) = (ip(rng), rng.pick(&PATHS), status(rng));
    let bytes = rng.below(24_000) + 180;
    let agent = rng.pick(&AGENTS);
    out(
        lines,
        format!("{ip} - - \"GET {path} HTTP/1.1\" {status} {bytes} \"-\" \"{agent}\""),
    );
    if status >= 500 {
        let id = rng.below(90_000);
        err(
            lines,
            format!(
                "[error] 31#31: *{id} upstream timed out (110: Operation timed out) while reading response header, \
                 client: {ip}, request: \"GET {path} HTTP/1.1\", upstream: \"http://10.42.0.17:8080{path}\""
            ),
        );
    }
    false
}

/// A reverse proxy's access log as JSON.
pub(super) fn traefik(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let (ip, path, status) = (ip(rng), rng.pick(&PATHS), status(rng));
    let us = rng.below(90_000) + 400;
    let service = rng.pick(&[
        "web-storefront-80",
        "shop-orders-8080",
        "home-home-assistant-8123",
    ]);
    out(
        lines,
        format!(
            "{{\"ClientHost\":\"{ip}\",\"DownstreamStatus\":{status},\"Duration\":{},\"RequestMethod\":\"GET\",\
             \"RequestPath\":\"{path}\",\"ServiceName\":\"{service}@kubernetes\",\"level\":\"info\",\"msg\":\"\"}}",
            us * 1000
        ),
    );
    false
}

/// A JSON service; rarely it dumps a payload longer than one CRI record.
pub(super) fn orders(rng: &mut Rng, age: u32, lines: &mut Vec<Line>) -> bool {
    let order = 70_000 + rng.below(9000);
    let trace = rng.next();
    let ms = rng.below(180) + 3;
    if age % 400 == 150 {
        let items: Vec<String> = (0..900)
            .map(|i| format!("{{\"sku\":\"berry-{i:04}\",\"n\":{}}}", i % 7))
            .collect();
        out(
            lines,
            format!(
                "{{\"level\":\"debug\",\"msg\":\"bulk order received\",\"order\":{order},\"items\":[{}]}}",
                items.join(",")
            ),
        );
        return false;
    }
    let (level, msg) = match rng.below(40) {
        0 => ("error", "stock service refused reservation"),
        1..=3 => ("warn", "retrying payment authorisation"),
        _ => ("info", "order accepted"),
    };
    out(
        lines,
        format!(
            "{{\"level\":\"{level}\",\"msg\":\"{msg}\",\"order\":{order},\"customer\":\"c{}\",\"duration_ms\":{ms},\
             \"trace_id\":\"{trace:016x}\"}}",
            rng.below(400)
        ),
    );
    false
}

/// logfmt.
pub(super) fn payments(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let cents = rng.below(9000) + 250;
    let method = rng.pick(&["card", "card", "transfer", "voucher"]);
    let (level, outcome) = match rng.below(30) {
        0 => ("error", "gateway_timeout"),
        1 | 2 => ("warn", "declined"),
        _ => ("info", "authorised"),
    };
    out(
        lines,
        format!(
            "level={level} msg=\"payment {outcome}\" method={method} amount_cents={cents} attempt={} took={}ms",
            rng.below(3) + 1,
            rng.below(700) + 20
        ),
    );
    false
}

/// A Java service with a stack trace once in a while, one record a line as the runtime writes it.
pub(super) fn recommender(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    if !rng.one_in(12) {
        let n = rng.below(40) + 1;
        out(
            lines,
            format!(
                "INFO  [worker-{}] c.e.berry.Ranker - ranked {n} candidates in {} ms",
                rng.below(4),
                rng.below(90) + 2
            ),
        );
        return false;
    }
    err(
        lines,
        "ERROR [worker-1] c.e.berry.Ranker - ranking failed, serving the default list".to_owned(),
    );
    err(
        lines,
        "com.example.berry.ModelStaleException: model is 26 hours old".to_owned(),
    );
    for (method, line) in [
        ("ModelStore.current", 118),
        ("Ranker.rank", 64),
        ("RankResource.get", 41),
    ] {
        err(
            lines,
            format!("\tat com.example.berry.{method}({method}.java:{line})"),
        );
    }
    err(
        lines,
        "Caused by: java.net.ConnectException: connection refused: models.shop:9000".to_owned(),
    );
    false
}

/// A database's log.
pub(super) fn postgres(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let pid = 60 + rng.below(30);
    let text = match rng.below(12) {
        0 => format!(
            "[{pid}] ERROR:  duplicate key value violates unique constraint \"orders_ref_key\""
        ),
        1 => format!(
            "[{pid}] LOG:  duration: {}.{:03} ms  statement: SELECT sum(qty) FROM stock WHERE berry = $1",
            rng.below(900) + 250,
            rng.below(1000)
        ),
        2 => format!(
            "[27] LOG:  checkpoint complete: wrote {} buffers; write={}.1 s, sync=0.02 s",
            rng.below(400),
            rng.below(30)
        ),
        _ => format!(
            "[{pid}] LOG:  connection authorized: user=orders database=shop application_name=orders"
        ),
    };
    err(lines, text);
    false
}

/// DNS queries.
pub(super) fn coredns(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let name = rng.pick(&[
        "orders.shop.svc.cluster.local.",
        "postgres.shop.svc.cluster.local.",
        "models.shop.svc.cluster.local.",
        "time.example.net.",
        "broker.home.svc.cluster.local.",
    ]);
    let code = if rng.one_in(9) { "NXDOMAIN" } else { "NOERROR" };
    out(
        lines,
        format!(
            "[INFO] 10.42.0.{}:{} - {} \"A IN {name} udp 52 false 512\" {code} qr,aa,rd 104 0.000{}s",
            rng.below(40) + 2,
            rng.below(20_000) + 32_000,
            rng.below(65_000),
            rng.below(900) + 100
        ),
    );
    false
}

fn klog(rng: &mut Rng, severity: char, place: &str, text: &str) -> String {
    let (h, m, s) = (rng.below(24), rng.below(60), rng.below(60));
    format!(
        "{severity}1120 {h:02}:{m:02}:{s:02}.{:06}       1 {place}] {text}",
        rng.below(1_000_000)
    )
}

/// klog.
pub(super) fn metrics_server(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let text = if rng.one_in(8) {
        klog(
            rng,
            'E',
            "scraper.go:149",
            "\"Failed to scrape node, timeout\" node=\"pi-attic\"",
        )
    } else {
        klog(
            rng,
            'I',
            "server.go:191",
            "\"Scrape finished\" nodes=4 pods=61",
        )
    };
    err(lines, text);
    false
}

/// klog of a controller.
pub(super) fn cert_manager(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let name = rng.pick(&["storefront-tls", "home-tls", "mqtt-tls"]);
    let text = if rng.one_in(10) {
        let text = format!("\"re-queuing item due to optimistic locking\" resource=\"web/{name}\"");
        klog(rng, 'W', "controller.go:152", &text)
    } else {
        let text =
            format!("\"certificate is up to date\" resource=\"web/{name}\" days_left=\"61\"");
        klog(rng, 'I', "readiness.go:88", &text)
    };
    err(lines, text);
    false
}

/// A home automation hub, coloured as on a terminal.
pub(super) fn home_assistant(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let room = rng.pick(&["attic", "kitchen", "greenhouse", "cellar"]);
    let text = match rng.below(15) {
        0 => format!(
            "\u{1b}[33mWARNING (MainThread) [climate.{room}] sensor has not reported for 11 minutes\u{1b}[0m"
        ),
        1 => format!("\u{1b}[31mERROR (MainThread) [light.{room}] bridge answered 503\u{1b}[0m"),
        _ => format!(
            "INFO (MainThread) [sensor.{room}] temperature {}.{} C, humidity {} %",
            rng.below(12) + 12,
            rng.below(10),
            rng.below(40) + 35
        ),
    };
    out(lines, text);
    false
}

/// An MQTT broker.
pub(super) fn mosquitto(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let client = rng.pick(&[
        "greenhouse-esp32",
        "cellar-pump",
        "home-assistant",
        "doorbell",
    ]);
    let text = match rng.below(10) {
        0 => format!("Client {client} closed its connection."),
        1 => format!(
            "New client connected from 10.42.0.1:{} as {client} (p2, c1, k60).",
            rng.below(9000) + 40_000
        ),
        _ => format!(
            "Received PUBLISH from {client} (d0, q1, r0, m{}, 'home/{client}/state', ... (38 bytes))",
            rng.below(60_000)
        ),
    };
    err(lines, text);
    false
}

/// A metrics exporter.
pub(super) fn node_exporter(rng: &mut Rng, _: u32, lines: &mut Vec<Line>) -> bool {
    let collector = rng.pick(&["hwmon", "thermal_zone", "diskstats"]);
    err(
        lines,
        format!(
            "level=debug msg=\"collector succeeded\" name={collector} duration_seconds=0.00{}",
            rng.below(900) + 100
        ),
    );
    false
}

/// A job that never gets far: it ends after some lines and is restarted.
pub(super) fn report(_: &mut Rng, age: u32, lines: &mut Vec<Line>) -> bool {
    match age {
        0 => out(
            lines,
            "report 3.2.0 starting, time zone Europe/Vienna".to_owned(),
        ),
        1..=8 => out(lines, format!("loaded orders page {age} of 9")),
        9 => err(lines, "warning: page 9 has 0 rows, expected 500".to_owned()),
        _ => {
            err(
                lines,
                "fatal: cannot write /out/report.csv: no space left on device".to_owned(),
            );
            return true;
        }
    }
    false
}
