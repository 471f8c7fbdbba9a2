//! Lines for benches: as applications write them, invented, the same in every run. The benches of several crates include
//! this file.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each bench uses its own part of this module"
)]

use std::fmt::Write as _;

/// A small generator (SplitMix64): benches must not depend on a crate's next version.
pub struct Rng(u64);

impl Rng {
    /// The same seed, the same numbers.
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.bits() % n
    }

    /// One of several.
    pub fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

const NOUNS: &[&str] = &[
    "cache", "session", "worker", "shard", "index", "replica", "volume", "lease", "queue", "batch",
    "topic", "snapshot", "route", "peer", "backend", "payload", "cursor", "bucket", "segment",
];
const VERBS: &[&str] = &[
    "started",
    "finished",
    "skipped",
    "retried",
    "refreshed",
    "evicted",
    "loaded",
    "stored",
    "merged",
    "rejected",
];
const PATHS: &[&str] = &[
    "/",
    "/healthz",
    "/api/items",
    "/api/carts",
    "/login",
    "/search",
];
const AGENTS: &[&str] = &[
    "probe/1.7",
    "Mozilla/5.0 (X11; Linux aarch64)",
    "curl/8.5.0",
];

/// A kind of line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An access log as a flat JSON object.
    Json,
    /// JSON with objects and an array in it, escapes too.
    NestedJson,
    /// `key=value`, some values quoted.
    Logfmt,
    /// Common log format with what proxies add.
    Access,
    /// Words, with a level.
    Text,
    /// The same with colours.
    Colours,
    /// What `pack` made of text.
    Packed,
}

struct Request {
    status: u64,
    level: &'static str,
    path: String,
    ip: String,
    phrase: String,
}

fn request(r: &mut Rng) -> Request {
    let status = match r.below(44) {
        0 => 304,
        1 => 404,
        2 => 500,
        3 => 503,
        _ => 200,
    };
    let mut phrase = String::new();
    for i in 0..2 + r.below(3) {
        let space = if i > 0 { " " } else { "" };
        let (noun, verb) = (r.pick(NOUNS), r.pick(VERBS));
        let _ = write!(phrase, "{space}{noun} {verb} {}", r.below(10_000));
    }
    Request {
        status,
        level: match status {
            500.. => "error",
            400.. => "warn",
            _ => "info",
        },
        path: format!("{}/{}", r.pick(PATHS), r.below(5000)),
        ip: format!("10.42.{}.{}", r.below(4), r.below(256)),
        phrase,
    }
}

fn line(kind: Kind, i: usize, r: &mut Rng) -> String {
    let Request {
        status,
        level,
        path,
        ip,
        phrase,
    } = request(r);
    let (minute, second) = (i / 60 % 60, i % 60);
    let (ms, size, trace) = (r.below(12_000), r.below(60_000), r.bits());
    let (whole, hundredths) = (ms / 100, ms % 100);
    match kind {
        Kind::Json => format!(
            r#"{{"time":"2026-11-20T07:{minute:02}:{second:02}Z","level":"{level}","path":"{path}","status":{status},"duration_ms":{whole}.{hundredths:02},"client":"{ip}","bytes":{size},"trace_id":"{trace:016x}","msg":"{phrase}"}}"#
        ),
        Kind::NestedJson => format!(
            r#"{{"level":"{level}","request":{{"method":"GET","path":"{path}","headers":{{"host":"shop.example","agent":"{}"}}}},"response":{{"status":{status},"bytes":{size}}},"tags":["edge","{ip}"],"msg":"{phrase}\n\tat \"{}\""}}"#,
            r.pick(AGENTS),
            r.pick(NOUNS)
        ),
        Kind::Logfmt => format!(
            r#"ts=2026-11-20T07:{minute:02}:{second:02}Z level={level} caller=main.go:{} msg="{phrase}" path={path} status={status} duration={whole}.{hundredths:02}ms bytes={size} client={ip} trace_id={trace:016x}"#,
            r.below(400)
        ),
        Kind::Access => format!(
            r#"{ip} - - [20/Nov/2026:07:{minute:02}:{second:02} +0000] "GET {path} HTTP/1.1" {status} {size} "-" "{}" {}.{:03}"#,
            r.pick(AGENTS),
            ms / 1000,
            ms % 1000
        ),
        Kind::Text => format!(
            "2026-11-20 07:{minute:02}:{second:02} {:5} [{}-{}] {}: {phrase} from {ip}",
            level.to_uppercase(),
            r.pick(NOUNS),
            r.below(16),
            r.pick(NOUNS)
        ),
        Kind::Colours => format!(
            "\x1b[2m2026-11-20T07:{minute:02}:{second:02}Z\x1b[0m \x1b[32m{level}\x1b[0m {}: {phrase} \x1b[3mclient\x1b[0m\x1b[2m=\x1b[0m{ip}",
            r.pick(NOUNS)
        ),
        Kind::Packed => format!(
            r#"{{"container":"{}","pod":"web-{}","_entry":"{level} {phrase} status={status} from {ip}"}}"#,
            r.pick(NOUNS),
            r.below(9)
        ),
    }
}

/// `count` lines of a kind.
pub fn lines(kind: Kind, count: usize) -> Vec<Vec<u8>> {
    let mut r = Rng::new(kind as u64 + 1);
    (0..count)
        .map(|i| line(kind, i, &mut r).into_bytes())
        .collect()
}

/// Bytes of lines without line feeds.
pub fn bytes(lines: &[Vec<u8>]) -> u64 {
    lines.iter().map(|line| line.len() as u64).sum()
}
