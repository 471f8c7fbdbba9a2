//! What the parameters of a request mean: times, durations, limits, alignment. Pure; the current time is given.
//!
//! The order of the checks is that of Loki, since a request with two faults gets the text of the first.

use logql::format::{parse_float, parse_prometheus_duration};
use logql::plan::{Direction, Plan, Steps};
use wire::time::rfc3339;

use super::form::Form;
use crate::api::Request;

/// Nanoseconds of a second.
pub(super) const SECOND: i64 = 1_000_000_000;
/// Longest query text, characters.
pub(super) const MAX_QUERY: usize = 131_072;
const DEFAULT_LIMIT: i64 = 100;
const DEFAULT_SINCE: i64 = 3600 * SECOND;
const LOOKBACK: &str = "this data is no longer available, it is past now - max_query_lookback (0s)";

/// The settings that decide about requests.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// `max_entries_limit_per_query`.
    pub(super) max_entries: usize,
    /// `max_query_length`, ns.
    pub(super) max_length: i64,
    /// Whether the steps of metric queries lie on multiples of the step.
    pub(super) align: bool,
}

/// Parameters of `query_range` before its query is parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) step: i64,
    pub(super) limit: i64,
    pub(super) interval: i64,
    pub(super) direction: Direction,
}

/// Start and end of a metadata request, ns.
pub(super) type Bounds = (i64, i64);

/// Reads the parameters of `query_range`.
///
/// # Errors
/// The text of a 400.
pub(super) fn range(form: &Form, now: i64) -> Result<Range, String> {
    let (start, end) = bounds(form, now)?;
    if end < start {
        return Err("end timestamp must not be before or equal to start time".into());
    }
    let limit = limit(form)?;
    let direction = direction(form)?;
    let step = match form.get("step") {
        "" => {
            let seconds = (i128::from(end) - i128::from(start)) / i128::from(SECOND);
            (seconds as i64 / 250).max(1) * SECOND
        }
        text => seconds_or_duration(text)?,
    };
    if step <= 0 {
        return Err("zero or negative query resolution step widths are not accepted. Try a positive integer".into());
    }
    if Steps::too_many(start, end, step) {
        return Err("exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter".into());
    }
    let interval = match form.get("interval") {
        "" => 0,
        text => seconds_or_duration(text)?,
    };
    if interval < 0 {
        return Err("interval must be >= 0".into());
    }
    Ok(Range {
        start,
        end,
        step,
        limit,
        interval,
        direction,
    })
}

/// Resolves a range request for a plan: alignment and limits.
///
/// # Errors
/// The text of a 400.
pub(super) fn resolve(range: &Range, plan: &Plan, rules: &Rules) -> Result<Request, String> {
    let metric = matches!(plan, Plan::Metric(_));
    let align = metric && rules.align;
    let Steps { start, end, .. } = Steps::of_range(range.start, range.end, range.step, align);
    let length = end.saturating_sub(start);
    if length > rules.max_length {
        return Err(format!(
            "the query time range exceeds the limit (query length: {}, limit: {})",
            go_duration(length),
            model_duration(rules.max_length),
        ));
    }
    let wanted = usize::try_from(range.limit).unwrap_or(usize::MAX);
    if !metric && wanted > rules.max_entries {
        return Err(format!(
            "max entries limit per query exceeded, limit > max_entries_limit_per_query ({wanted} > {})",
            rules.max_entries
        ));
    }
    // With `interval` too, as in Loki: rows between two that are kept use up the limit.
    Ok(Request::Range {
        start,
        end,
        step: range.step,
        limit: wanted,
        direction: range.direction,
    })
}

/// Reads the parameters of `query`: the instant.
///
/// # Errors
/// The text of a 400.
pub(super) fn instant(form: &Form, now: i64) -> Result<Request, String> {
    limit(form)?;
    let time = match form.get("time") {
        "" => now,
        text => timestamp(text)?,
    };
    direction(form)?;
    Ok(Request::Instant { time })
}

/// Reads start and end of a metadata request.
///
/// # Errors
/// The text of a 400.
pub(super) fn metadata(form: &Form, now: i64) -> Result<Bounds, String> {
    let (start, end) = bounds(form, now)?;
    if end < start {
        return Err(LOOKBACK.into());
    }
    Ok((start, end))
}

fn bounds(form: &Form, now: i64) -> Result<Bounds, String> {
    fn named(name: &str) -> impl Fn(String) -> String {
        move |e| format!("could not parse '{name}' parameter: {e}")
    }
    let since = match form.get("since") {
        "" => DEFAULT_SINCE,
        text => parse_prometheus_duration(text).map_err(named("since"))?,
    };
    let end = match form.get("end") {
        "" => now,
        text => timestamp(text).map_err(named("end"))?,
    };
    let start = match form.get("start") {
        "" => end.min(now).saturating_sub(since),
        text => timestamp(text).map_err(named("start"))?,
    };
    Ok((start, end))
}

fn limit(form: &Form) -> Result<i64, String> {
    let text = form.get("limit");
    if text.is_empty() {
        return Ok(DEFAULT_LIMIT);
    }
    let limit = go_int(text).map_err(|why| format!("strconv.Atoi: parsing {text:?}: {why}"))?;
    if limit <= 0 {
        return Err("limit must be a positive value".into());
    }
    if limit > i64::from(u32::MAX) {
        return Err(format!(
            "limit value {limit} is out of range [0, {}]",
            u32::MAX
        ));
    }
    Ok(limit)
}

fn direction(form: &Form) -> Result<Direction, String> {
    let text = form.get("direction");
    if text.is_empty() || text.eq_ignore_ascii_case("backward") {
        Ok(Direction::Backward)
    } else if text.eq_ignore_ascii_case("forward") {
        Ok(Direction::Forward)
    } else {
        Err(format!("invalid direction '{text}'"))
    }
}

/// Go's reading of an integer: a sign and digits.
fn go_int(text: &str) -> Result<i64, &'static str> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err("invalid syntax");
    }
    text.parse().map_err(|_| "value out of range")
}

/// A point in time: by its form seconds, nanoseconds or RFC 3339. Everything beyond 64-bit nanoseconds (the years 1678
/// to 2262) is refused.
///
/// # Errors
/// The text without the parameter's name.
pub(super) fn timestamp(text: &str) -> Result<i64, String> {
    let range = || format!("timestamp {text:?} is out of range");
    match go_int(text) {
        // Byte length decides, a sign included; thirteen digits are nanoseconds in 1970.
        Ok(n) if text.len() <= 10 => return n.checked_mul(SECOND).ok_or_else(range),
        Ok(n) => return Ok(n),
        Err(_) => {}
    }
    // A point tells seconds with a fraction; an exponent alone does not.
    if let Some(seconds) = parse_float(text).ok().filter(|_| text.contains('.')) {
        let whole = seconds.trunc();
        if whole.abs() >= (i64::MAX / SECOND) as f64 {
            return Err(range());
        }
        let ms = ((seconds - whole) * 1000.0).round() as i64;
        return Ok(whole as i64 * SECOND + ms * 1_000_000);
    }
    match rfc3339(text) {
        Some(ns) => i64::try_from(ns).map_err(|_| range()),
        None => {
            let why = go_int(text).err().unwrap_or("invalid syntax");
            Err(format!("strconv.ParseInt: parsing {text:?}: {why}"))
        }
    }
}

/// Float seconds or a Prometheus duration, ns.
///
/// # Errors
/// The text of a 400.
pub(super) fn seconds_or_duration(text: &str) -> Result<i64, String> {
    let bad = || format!("cannot parse {text:?} to a valid duration");
    if let Ok(seconds) = parse_float(text) {
        let ns = seconds * SECOND as f64;
        if ns.is_nan() {
            // What Go makes of it. All who ask refuse what is negative.
            return Ok(i64::MIN);
        }
        if ns.abs() >= i64::MAX as f64 {
            return Err(format!("{}. It overflows int64", bad()));
        }
        return Ok(ns as i64);
    }
    parse_prometheus_duration(text).map_err(|_| bad())
}

/// Nanoseconds as Go prints a duration: `800h0m0s`, `1.5s`, `0s`.
pub(super) fn go_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let n = ns.unsigned_abs();
    if n < SECOND as u64 {
        let (unit, per) = match n {
            0 => return "0s".into(),
            1..1_000 => ("ns", 1),
            1_000..1_000_000 => ("\u{b5}s", 1_000),
            _ => ("ms", 1_000_000),
        };
        return format!("{sign}{}{unit}", n as f64 / f64::from(per));
    }
    let (seconds, fraction) = (n / SECOND as u64, n % SECOND as u64);
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = match fraction {
        0 => String::new(),
        f => format!(".{}", format!("{f:09}").trim_end_matches('0')),
    };
    match (h, m) {
        (0, 0) => format!("{sign}{s}{fraction}s"),
        (0, _) => format!("{sign}{m}m{s}{fraction}s"),
        _ => format!("{sign}{h}h{m}m{s}{fraction}s"),
    }
}

/// Nanoseconds as Prometheus prints a duration: `30d1h`, `1m`, `0s`; milliseconds are its finest unit.
pub(super) fn model_duration(ns: i64) -> String {
    let mut ms = ns / 1_000_000;
    if ms <= 0 {
        return "0s".into();
    }
    let mut out = String::new();
    let units = [
        ("y", 365 * 86_400_000, true),
        ("w", 7 * 86_400_000, true),
        ("d", 86_400_000, false),
        ("h", 3_600_000, false),
        ("m", 60_000, false),
        ("s", 1000, false),
        ("ms", 1, false),
    ];
    for (unit, size, exact) in units {
        if ms < size || (exact && ms % size != 0) {
            continue;
        }
        out.push_str(&format!("{}{unit}", ms / size));
        ms %= size;
    }
    out
}

#[cfg(test)]
#[path = "params_tests.rs"]
mod tests;
