//! Asking for answers: a server by URL, or a data directory.
//!
//! A data directory that a running drupelet holds is asked through that process, whose address is in the lock file's
//! note. One that nobody holds is opened here and served on a loopback port for the length of the command, so that
//! both ways give the same answers by the same code.

use std::path::Path;
use std::time::Duration;

use crate::args::Raw;
use crate::http_client;
use crate::local_server::LocalServer;
use crate::report::Failure;
use crate::time::{now_ns, parse_duration, parse_time};

const DEFAULT_URL: &str = "http://127.0.0.1:3100";
/// Longer than the longest default query, so that the server's own message about time arrives.
const TIMEOUT: Duration = Duration::from_secs(75);
/// What every data directory has (docs/FORMAT.md).
const LOCK_FILE: &str = "lock";
/// The locks of a store and of an agent alone.
const LOCK_FILES: [&str; 2] = [LOCK_FILE, "positions.lock"];
/// Longest note in a lock file that is read, bytes.
const NOTE_BYTES_MAX: u64 = 4096;
/// An error body beyond this is not ours and is cut.
const ERROR_BYTES_MAX: usize = 4096;

/// Whom to ask.
pub(crate) struct Target {
    url: String,
    /// Keeps the store open while it is asked.
    server: Option<LocalServer>,
}

impl Target {
    /// From `--url` and `--data-dir`.
    ///
    /// # Errors
    /// Both given; a data directory that is missing or cannot be opened.
    pub(crate) fn from_flags(raw: &Raw) -> Result<Target, Failure> {
        match (raw.get("url"), raw.get("data-dir")) {
            (Some(_), Some(_)) => Err(Failure::usage(
                "`--url` and `--data-dir` exclude each other",
            )),
            (None, Some(dir)) => Target::from_dir(Path::new(dir)),
            (url, None) => Ok(Target::from_url(url.unwrap_or(DEFAULT_URL))),
        }
    }

    /// A server.
    pub(crate) fn from_url(url: &str) -> Target {
        Target {
            url: url.trim_end_matches('/').to_owned(),
            server: None,
        }
    }

    fn from_dir(dir: &Path) -> Result<Target, Failure> {
        is_data_dir(dir)?;
        match LocalServer::open(dir) {
            Ok(server) => Ok(Target {
                url: server.url(),
                server: Some(server),
            }),
            Err(store::api::OpenError::InUse { dir, holder }) => {
                let addr = address(&holder).ok_or_else(|| {
                    Failure::failed(format!(
                        "data directory `{}` is in use by {holder}, which gives no address to ask",
                        dir.display()
                    ))
                    .with_hint("ask it with `--url`")
                })?;
                Ok(Target::from_url(&format!("http://{}", reachable(addr))))
            }
            Err(e) => Err(crate::appliance::open_failure(&e)),
        }
    }

    /// Whether it is a data directory that no process writes to.
    pub(crate) fn is_idle(&self) -> bool {
        self.server.is_some()
    }

    /// The body of a successful answer.
    ///
    /// # Errors
    /// No answer, or the server's own error text.
    pub(crate) fn get(&self, path_and_query: &str) -> Result<Vec<u8>, Failure> {
        self.ask(path_and_query).map_err(|e| e.failure)
    }

    /// The same, telling failures that may pass from those that will not.
    ///
    /// # Errors
    /// No answer, or the server's own error text.
    pub(crate) fn ask(&self, path_and_query: &str) -> Result<Vec<u8>, Unanswered> {
        let answer = http_client::get(&self.url, path_and_query, TIMEOUT).map_err(|e| {
            let failure = Failure::caused(format!("cannot ask {}", self.url), &e);
            let failure = match (&e, &self.server) {
                (http_client::Error::Connect { .. }, None) => failure.with_hint(
                    "is drupelet running there? `--url` asks another server, `--data-dir` a store without one",
                ),
                _ => failure,
            };
            Unanswered {
                passing: !matches!(e, http_client::Error::Url { .. }),
                failure,
            }
        })?;
        if answer.status == 200 {
            return Ok(answer.body);
        }
        let cut = &answer.body[..answer.body.len().min(ERROR_BYTES_MAX)];
        let text = String::from_utf8_lossy(cut);
        Err(Unanswered {
            failure: Failure::failed(format!("{} ({})", text.trim_end(), answer.status)),
            passing: answer.status == 429 || answer.status >= 500,
        })
    }
}

/// The metrics of what has a data directory (a store, an agent alone, both), or in words why there are none. The locks
/// are not tried: that could keep a drupelet from starting.
pub(crate) fn metrics_of(dir: &Path) -> Result<String, String> {
    let mut why = "no drupelet has run on this data directory, nothing to ask".to_owned();
    let mut metrics = String::new();
    for lock in LOCK_FILES {
        let disk = disk::real::RealDisk::new();
        let note = disk::atomic::read(&disk, &dir.join(lock), NOTE_BYTES_MAX).unwrap_or_default();
        let note = String::from_utf8_lossy(&note).into_owned();
        let Some(addr) = address(&note) else {
            continue;
        };
        let target = Target::from_url(&format!("http://{}", reachable(addr)));
        match target.get("/metrics") {
            Ok(text) => metrics.push_str(&String::from_utf8_lossy(&text)),
            Err(_) => {
                why = format!(
                    "no drupelet answers on {addr}, where the last one on this data directory was"
                );
            }
        }
    }
    if metrics.is_empty() {
        return Err(why);
    }
    Ok(metrics)
}

/// The address in a lock file's note.
fn address(note: &str) -> Option<&str> {
    note.split_whitespace()
        .find_map(|w| w.strip_prefix("addr="))
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) struct Unanswered {
    /// For the user.
    pub(crate) failure: Failure,
    /// The same question may be answered later.
    pub(crate) passing: bool,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Unanswered {
        Unanswered {
            failure,
            passing: false,
        }
    }
}

/// Refuses a directory without a store: opening would make a new one there.
///
/// # Errors
/// Missing, or not a data directory.
pub(crate) fn is_data_dir(dir: &Path) -> Result<(), Failure> {
    let failure = if !dir.is_dir() {
        Failure::failed(format!("data directory `{}` does not exist", dir.display()))
    } else if !dir.join(LOCK_FILE).exists() {
        Failure::failed(format!(
            "`{}` is not a data directory of drupelet: it has no file `{LOCK_FILE}`",
            dir.display()
        ))
    } else {
        return Ok(());
    };
    Err(failure.with_hint("`--data-dir` is the directory that `drupelet run` keeps its store in"))
}

/// An address of all interfaces is asked on loopback.
fn reachable(addr: &str) -> String {
    addr.replacen("0.0.0.0:", "127.0.0.1:", 1)
        .replacen("[::]:", "[::1]:", 1)
}

/// A time range in ns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Range {
    /// From `--since`, `--from`, `--to`.
    ///
    /// # Errors
    /// Times that do not parse, or an empty range.
    pub(crate) fn from_flags(raw: &Raw) -> Result<Range, Failure> {
        Range::from_parts(raw.get("since"), raw.get("from"), raw.get("to"), now_ns())
    }

    fn from_parts(
        since: Option<&str>,
        from: Option<&str>,
        to: Option<&str>,
        now: i64,
    ) -> Result<Range, Failure> {
        if since.is_some() && from.is_some() {
            return Err(Failure::usage("`--since` and `--from` exclude each other"));
        }
        let time = |flag: &str, text: &str| {
            parse_time(text).ok_or_else(|| {
                Failure::usage(format!(
                    "`{flag}` is `{text}`, expected a time such as 2026-11-20T09:00:00Z, a date or Unix seconds"
                ))
            })
        };
        let end = to.map_or(Ok(now), |text| time("--to", text))?;
        let since = since.unwrap_or("1h");
        let back = parse_duration(since).ok_or_else(|| {
            Failure::usage(format!(
                "`--since` is `{since}`, expected a duration such as 15m or 7d"
            ))
        })?;
        let back = i64::try_from(back.as_nanos()).unwrap_or(i64::MAX);
        let start = from.map_or(Ok(end.saturating_sub(back)), |text| time("--from", text))?;
        if start >= end {
            return Err(Failure::usage(
                "the range is empty: `--from` is not before `--to`",
            ));
        }
        Ok(Range { start, end })
    }

    /// `start=..&end=..` for a query string.
    pub(crate) fn parameters(self) -> String {
        format!("start={}&end={}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        const NS: i64 = 1_000_000_000;
        let now = 1_000_000 * NS;
        let check = |since, from, to, want: Result<(i64, i64), &str>| {
            let got = Range::from_parts(since, from, to, now);
            let got = got.map(|r| (r.start / NS, r.end / NS));
            let got = got.as_ref().map_err(Failure::message);
            assert_eq!(got, want.as_ref().map_err(|e| *e));
        };
        check(None, None, None, Ok((996_400, 1_000_000)));
        check(Some("1m"), None, None, Ok((999_940, 1_000_000)));
        check(None, Some("100"), Some("200"), Ok((100, 200)));
        check(Some("10s"), None, Some("200"), Ok((190, 200)));
        check(
            Some("1m"),
            Some("1"),
            None,
            Err("`--since` and `--from` exclude each other"),
        );
        check(
            None,
            Some("300"),
            Some("200"),
            Err("the range is empty: `--from` is not before `--to`"),
        );
        check(
            Some("soon"),
            None,
            None,
            Err("`--since` is `soon`, expected a duration such as 15m or 7d"),
        );
    }

    #[test]
    fn wildcards_are_asked_on_loopback() {
        assert_eq!(reachable("0.0.0.0:1"), "127.0.0.1:1");
        assert_eq!(reachable("[::]:1"), "[::1]:1");
        assert_eq!(reachable("10.0.0.1:1"), "10.0.0.1:1");
    }
}
