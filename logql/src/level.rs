//! `detected_level` and `service_name`, as Loki finds them at ingestion.
//!
//! The agent asks [`from_stream`] once per stream; without an answer, and if [`metadata_matters`] is false for the
//! names of metadata that it attaches, every line goes to [`detect_in_line`] alone.

use std::borrow::Cow;

use crate::Pairs;
use crate::matcher::value_of;

/// Labels that name a service, first hit wins: the default of `discover_service_name`.
pub const SERVICE_LABELS: [&str; 13] = [
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];

/// Labels that give a level, first hit wins.
const LEVEL_LABELS: [&str; 14] = [
    "level",
    "LEVEL",
    "Level",
    "log.level",
    "severity",
    "SEVERITY",
    "Severity",
    "SeverityText",
    "lvl",
    "LVL",
    "Lvl",
    "severity_text",
    "Severity_Text",
    "SEVERITY_TEXT",
];

/// The names of [`LEVEL_LABELS`] without regard to case, in the same order.
const LEVEL_KEYS: [&[u8]; 6] = [
    b"level",
    b"log.level",
    b"severity",
    b"severitytext",
    b"lvl",
    b"severity_text",
];

/// The labels that name a service, first hit wins; the value is `unknown_service` without one.
#[must_use]
pub fn service_name<'a>(stream: Pairs<'a>) -> &'a str {
    let values = SERVICE_LABELS.iter().map(|name| value_of(stream, name));
    values
        .into_iter()
        .find(|value| !value.is_empty())
        .unwrap_or("unknown_service")
}

/// The level of an entry: from metadata, stream labels, or the line. `unknown` if nothing says.
#[must_use]
pub fn detect<'a>(line: &'a [u8], stream: Pairs<'a>, metadata: Pairs<'a>) -> Cow<'a, str> {
    let given = value_of(metadata, "detected_level");
    if !given.is_empty() {
        return normalise(given);
    }
    if let Some(level) = from_stream(stream).or_else(|| from_stream(metadata)) {
        return level;
    }
    let number = value_of(metadata, "severity_number");
    if !number.is_empty() {
        return Cow::Borrowed(from_number(number));
    }
    Cow::Borrowed(detect_in_line(line))
}

/// The level that a stream's labels give to all its entries.
#[must_use]
pub fn from_stream<'a>(stream: Pairs<'a>) -> Option<Cow<'a, str>> {
    let values = LEVEL_LABELS.iter().map(|name| value_of(stream, name));
    values
        .into_iter()
        .find(|value| !value.is_empty())
        .map(normalise)
}

/// Whether metadata of this name can decide an entry's level.
#[must_use]
pub fn metadata_matters(name: &str) -> bool {
    name == "detected_level" || name == "severity_number" || LEVEL_LABELS.contains(&name)
}

fn from_number(text: &str) -> &'static str {
    match text.parse::<i64>() {
        Err(_) => "info",
        Ok(1..=4) => "trace",
        Ok(5..=8) => "debug",
        Ok(9..=12) => "info",
        Ok(13..=16) => "warn",
        Ok(17..=20) => "error",
        Ok(21..=24) => "fatal",
        Ok(_) => "unknown",
    }
}

/// A level label's value: the known spellings become one, others stay.
fn normalise(value: &str) -> Cow<'_, str> {
    match known(value.as_bytes()) {
        Some(level) => Cow::Borrowed(level),
        None => Cow::Borrowed(value),
    }
}

fn known(value: &[u8]) -> Option<&'static str> {
    const SPELLINGS: [(&[u8], &str); 15] = [
        (b"info", "info"),
        (b"inf", "info"),
        (b"information", "info"),
        (b"error", "error"),
        (b"err", "error"),
        (b"warn", "warn"),
        (b"wrn", "warn"),
        (b"warning", "warn"),
        (b"debug", "debug"),
        (b"dbg", "debug"),
        (b"trace", "trace"),
        (b"trc", "trace"),
        (b"critical", "critical"),
        (b"fatal", "fatal"),
        (b"", ""),
    ];
    let found = SPELLINGS
        .iter()
        .find(|(spelling, _)| value.eq_ignore_ascii_case(spelling))?;
    (!value.is_empty()).then_some(found.1)
}

/// The level that the line alone shows (steps 5 and 6): the hot path of the tailer, no allocation.
#[must_use]
pub fn detect_in_line(line: &[u8]) -> &'static str {
    let structured = match line.trim_ascii() {
        [b'{', inside @ .., b'}'] => in_json(inside),
        _ => in_logfmt(line),
    };
    structured
        .and_then(known)
        .or_else(|| in_text(line))
        .unwrap_or("unknown")
}

/// The first string member with a level's name at depth 1 or 2, given what is inside the braces. Hops from string to
/// string; objects in arrays do not count.
fn in_json(inside: &[u8]) -> Option<&[u8]> {
    let mut at = 0;
    let mut depth = 1i32;
    let mut arrays = 0i32;
    let mut key: Option<&[u8]> = None;
    while at < inside.len() {
        match inside[at] {
            b'"' => {
                let end = string_end(inside, at + 1)?;
                let text = &inside[at + 1..end];
                at = end + 1;
                if let Some(name) = key.take() {
                    if is_level_label(name) && depth <= 2 && arrays == 0 {
                        return Some(text);
                    }
                } else if arrays == 0 {
                    while inside.get(at).is_some_and(u8::is_ascii_whitespace) {
                        at += 1;
                    }
                    if inside.get(at) == Some(&b':') {
                        key = Some(text);
                        at += 1;
                    }
                }
                continue;
            }
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b'[' => arrays += 1,
            b']' => arrays -= 1,
            _ => {}
        }
        if !inside[at].is_ascii_whitespace() {
            key = None;
        }
        if depth <= 0 {
            return None;
        }
        at += 1;
    }
    None
}

fn is_level_label(name: &[u8]) -> bool {
    // Nearly every key fails here: the last bytes of all names.
    matches!(name.last(), Some(b'l' | b'L' | b'y' | b'Y' | b't' | b'T'))
        && LEVEL_LABELS.iter().any(|label| label.as_bytes() == name)
}

/// The index of the quote that ends a string whose content begins at `from`.
fn string_end(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// The value of the level key that stands earliest in the list, among the pairs before the first fault.
fn in_logfmt(line: &[u8]) -> Option<&[u8]> {
    let candidate = memchr::memchr_iter(b'=', line).any(|at| {
        let tail = &line[at.saturating_sub(5)..at];
        matches!(tail.last(), Some(b'l' | b'L' | b'y' | b'Y' | b't' | b'T'))
            && (ends_with(tail, b"vel")
                || ends_with(tail, b"lvl")
                || ends_with(tail, b"rity")
                || ends_with(tail, b"text"))
    });
    if !candidate {
        return None;
    }
    let mut best: Option<(usize, &[u8])> = None;
    let mut rest = line;
    while let Some((key, value, tail)) = next_pair(rest) {
        rest = tail;
        let rank = LEVEL_KEYS.iter().position(|k| key.eq_ignore_ascii_case(k));
        if let Some(rank) = rank
            && best.is_none_or(|(best, _)| rank < best)
        {
            best = Some((rank, value));
        }
    }
    best.map(|(_, value)| value)
}

fn ends_with(text: &[u8], end: &[u8]) -> bool {
    text.len() >= end.len() && text[text.len() - end.len()..].eq_ignore_ascii_case(end)
}

/// Key, value (without quotes) and what follows. `None` at the end, or at a fault.
fn next_pair(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let start = text.iter().position(|b| *b > b' ')?;
    let text = &text[start..];
    let len = text
        .iter()
        .position(|b| *b <= b' ' || matches!(b, b'=' | b'"'))
        .unwrap_or(text.len());
    let (key, rest) = text.split_at(len);
    match rest.first() {
        Some(b'=') if len > 0 => {}
        Some(b'=' | b'"') => return None,
        _ => return Some((key, &[], rest)),
    }
    let rest = &rest[1..];
    if let Some(quoted) = rest.strip_prefix(b"\"") {
        let end = string_end(quoted, 0)?;
        return Some((key, &quoted[..end], &quoted[end + 1..]));
    }
    let len = rest
        .iter()
        .position(|b| *b <= b' ' || matches!(b, b'=' | b'"'))
        .unwrap_or(rest.len());
    let (value, rest) = rest.split_at(len);
    match rest.first() {
        Some(b'=' | b'"') => None,
        _ => Some((key, value, rest)),
    }
}

/// Positions tested together; a multiple of the vector width of small CPUs.
const LANES: usize = 32;

/// The first level word that stands alone. Most lines are dismissed a block of positions at a time.
fn in_text(line: &[u8]) -> Option<&'static str> {
    // A block needs the byte before its first position and the one after its last. What is missing is made up for by
    // blanks, which stand left of any word; candidates are confirmed on the line itself.
    let mut padded = [b' '; LANES + 2];
    let head = line.len().min(LANES + 1);
    padded[1..=head].copy_from_slice(&line[..head]);
    let mut window = &padded;
    let mut at = 0;
    loop {
        if may_begin(window) {
            let end = line.len().min(at + LANES);
            if let Some(level) = (at..end).find_map(|i| word_at(line, i)) {
                return Some(level);
            }
        }
        at += LANES;
        if at >= line.len() {
            return None;
        }
        window = if let Some(Ok(window)) = line.get(at - 1..=at + LANES).map(TryInto::try_into) {
            window
        } else {
            let tail = &line[at - 1..];
            padded = [b' '; LANES + 2];
            padded[..tail.len()].copy_from_slice(tail);
            &padded
        };
    }
}

/// Whether at any position but the first and last a word may begin: a byte that can stand to its left, then the first
/// two letters. No branches, so that it compiles to vector instructions.
#[inline]
fn may_begin(window: &[u8; LANES + 2]) -> bool {
    let mut hits = [0u8; LANES];
    for i in 0..LANES {
        let before = window[i];
        let first = window[i + 1] | 0x20;
        let second = window[i + 2] | 0x20;
        let folded = before | 0x20;
        let left = u8::from(before < b'0')
            | u8::from(before == b'=')
            | u8::from(folded == b'{')
            | u8::from(folded == b'|');
        let pair = (u8::from(first == b't') & u8::from(second == b'r'))
            | (u8::from(first == b'd') & u8::from(second == b'e'))
            | (u8::from(first == b'f') & u8::from(second == b'a'))
            | (u8::from(first == b'c') & u8::from(second == b'r'))
            | (u8::from(first == b'e') & u8::from(second == b'r'))
            | (u8::from(first == b'w') & u8::from(second == b'a'))
            | (u8::from(first == b'i') & u8::from(second == b'n'));
        hits[i] = left & pair;
    }
    hits.iter().fold(0, |any, hit| any | hit) != 0
}

/// The level word that begins at a position and stands alone.
fn word_at(line: &[u8], at: usize) -> Option<&'static str> {
    let text = line.get(at..)?;
    let words: &[(&[u8], &'static str)] = match text.first()? | 0x20 {
        b't' => &[(b"trace", "trace")],
        b'd' => &[(b"debug", "debug")],
        b'f' => &[(b"fatal", "fatal")],
        b'c' => &[(b"critical", "critical")],
        b'e' => &[(b"error", "error"), (b"err", "error")],
        b'w' => &[(b"warning", "warn"), (b"warn", "warn")],
        b'i' => &[(b"info", "info")],
        _ => return None,
    };
    if at > 0 && !stands_left(line[at - 1]) {
        return None;
    }
    let found = words.iter().find(|(word, _)| {
        text.len() >= word.len()
            && text[..word.len()].eq_ignore_ascii_case(word)
            && text.get(word.len()).is_none_or(|b| stands_right(*b))
    })?;
    Some(found.1)
}

fn stands_left(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'\n' | b'[' | b'(' | b'{' | b'"' | b'\'' | b'=' | b'|'
    )
}

fn stands_right(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t'
            | b'\n'
            | b'['
            | b']'
            | b'('
            | b')'
            | b'{'
            | b'}'
            | b':'
            | b','
            | b'!'
            | b'"'
            | b'\''
            | b'='
            | b'|'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: &str) {
        assert_eq!(detect_in_line(line.as_bytes()), expected, "{line}");
        // The same word far from the head, across every alignment of the blocks.
        for pad in 0..40 {
            let padded = format!("{}{line}", " ".repeat(pad));
            assert_eq!(detect_in_line(padded.as_bytes()), expected, "{padded}");
        }
    }

    #[test]
    fn text_shows_the_first_word_that_stands_alone() {
        check("[INFO] x", "info");
        check("an error occurred", "error");
        for line in [
            "misc:error",
            "xerror",
            "error.",
            "err;",
            "<err>",
            "a/error/b",
            "panic",
            "",
            "in",
        ] {
            check(line, "unknown");
        }
        check("information here", "unknown");
        check("a WARNING: b info", "warn");
        check("|critical|", "critical");
        check("errors then err", "error");
        check("x=fatal", "fatal");
        check("0123456789abcde debug", "debug");
        check("0123456789abcdef trace!", "trace");
    }

    #[test]
    fn logfmt_takes_the_name_earliest_in_the_list() {
        check("level=foo error", "error");
        check("lvl=dbg level=info", "info");
        check("ts=1 LEVEL=Warning msg=\"an error\"", "warn");
        check("msg=\"a \\\" b\" severity=critical", "critical");
        check("a=\"x lvl=info error", "info");
        check("a=b=c level=debug", "debug");
        check("sublevel=info x", "info");
        check("sublevel=dbg x", "unknown");
        check("log.level=err", "error");
    }

    #[test]
    fn json_takes_the_first_member_in_the_document() {
        check(r#"{"lvl":"dbg","level":"info"}"#, "debug");
        check(r#"{"a":{"b":{"level":"error"}}}"#, "error");
        check(r#"{"a":{"level":"wrn"},"x":"error"}"#, "warn");
        check(r#"{"a":{"b":{"level":"wrn"}}}"#, "unknown");
        check(r#"{"level":3,"msg":"an error in it"}"#, "error");
        check(r#"{"a":[{"level":"wrn"}],"severity":"trc"}"#, "trace");
        check(r#"{"a":"level","b":"trc"}"#, "unknown");
        check(r#"{"a":"\"","level" : "INF"}"#, "info");
        check(r#"{"level":"err"#, "error");
        check(r#"{"level":"errx"#, "unknown");
        check("{{{{}", "unknown");
    }

    #[test]
    fn labels_and_metadata_come_before_the_line() {
        let check = |stream: Pairs<'_>, metadata: Pairs<'_>, expected: &str| {
            assert_eq!(detect(b"level=debug", stream, metadata), expected);
        };
        check(&[], &[], "debug");
        check(&[("level", "Notice")], &[], "Notice");
        check(&[("level", "WRN")], &[("detected_level", "ERR")], "error");
        check(&[], &[("severity_text", "trc")], "trace");
        check(&[], &[("severity_number", "17")], "error");
        check(&[], &[("severity_number", "x")], "info");
        check(&[], &[("severity_number", "99")], "unknown");
        assert_eq!(service_name(&[("container", "c"), ("job", "j")]), "c");
        assert_eq!(service_name(&[("pod", "p")]), "unknown_service");
        assert!(metadata_matters("severity_number") && !metadata_matters("uid"));
    }

    #[test]
    fn any_bytes_have_a_level() {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let alphabet = b"{}[]\":=\\ \tlevelinforw\xff";
        for len in 0..400 {
            let line: Vec<u8> = (0..len)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    alphabet[(state % alphabet.len() as u64) as usize]
                })
                .collect();
            assert!(!detect_in_line(&line).is_empty());
        }
    }
}
