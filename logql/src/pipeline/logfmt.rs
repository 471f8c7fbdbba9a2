//! `logfmt`: pairs `key=value`, values in quotes or not.

use super::json::{clean, part};
use super::labels::Labels;
use super::marks::{Ends, Marks};
use super::names::{EXTRACTED, is_sanitised, push_known, push_sanitised};
use super::unescape;
use super::wanted::{Task, Wanted};
use crate::ast::Extract;

/// What the error slot says about a line that is not strictly logfmt.
const FAILED: &str = "LogfmtParserErr";

/// A fault and the offset that it is reported at.
#[derive(Debug, Clone, Copy)]
struct Fault {
    text: &'static str,
    at: usize,
}

impl Fault {
    fn details(self) -> String {
        let pos = self.at + 1;
        format!("logfmt syntax error at pos {pos} : {}", self.text)
    }
}

/// A pair as written.
#[derive(Debug, Clone, Copy)]
struct Pair<'l> {
    key: &'l [u8],
    /// Where the key begins.
    key_at: usize,
    value: &'l [u8],
    /// Where the value begins.
    value_at: usize,
    /// Whether the value has escapes.
    escaped: bool,
}

/// Reads pair after pair; what is none is skipped up to the next blank.
#[derive(Debug)]
struct Pairs<'l> {
    line: &'l [u8],
    at: usize,
    /// Ends from `at` on.
    ends: Marks<'l, Ends>,
    /// Whether there are backslashes anywhere; known once there was a quote.
    escapes: Option<bool>,
    fault: Option<Fault>,
}

/// What [`Pairs::next`] met.
enum Item<'l> {
    Pair(Pair<'l>),
    /// Something that is no pair.
    Fault,
    End,
}

impl<'l> Pairs<'l> {
    fn new(line: &'l [u8]) -> Self {
        Pairs {
            line,
            at: 0,
            ends: Marks::new(line),
            escapes: None,
            fault: None,
        }
    }

    /// The next end that is not before a position; the line's, if there is none.
    #[inline(always)]
    fn end(&mut self, from: usize) -> usize {
        while let Some(at) = self.ends.next() {
            if at >= from {
                return at;
            }
        }
        self.line.len()
    }

    #[inline(always)]
    fn next(&mut self) -> Item<'l> {
        let line = self.line;
        let mut start = self.at;
        while line.get(start).is_some_and(|b| *b <= b' ') {
            start += 1;
        }
        if start >= line.len() {
            self.at = line.len();
            return Item::End;
        }
        let end = self.end(start);
        let key = &line[start..end];
        self.at = end;
        let mut pair = Pair {
            key,
            key_at: start,
            value: b"",
            value_at: end,
            escaped: false,
        };
        let valid = self.ends.is_ascii() || is_valid(key);
        match line.get(end) {
            Some(b'"') => return self.skip("unexpected '\"'", end),
            Some(b'=') if key.is_empty() => return self.skip("unexpected '='", end),
            Some(b'=') if !valid => return self.skip("invalid key", end),
            Some(b'=') => {
                self.at = end + 1;
                pair.value_at = end + 1;
                match line.get(end + 1) {
                    Some(b'"') => return self.quoted(pair),
                    Some(byte) if *byte > b' ' => return self.plain(pair),
                    _ => {}
                }
            }
            _ if !valid => return self.fault("invalid key", end),
            _ => {}
        }
        Item::Pair(pair)
    }

    #[cold]
    fn fault(&mut self, text: &'static str, at: usize) -> Item<'l> {
        self.fault = Some(Fault { text, at });
        Item::Fault
    }

    /// Passes over everything up to a blank.
    #[cold]
    fn skip(&mut self, text: &'static str, at: usize) -> Item<'l> {
        let mut end = at;
        while self.line.get(end).is_some_and(|b| *b > b' ') {
            end = self.end(end + 1);
        }
        self.at = end;
        self.fault(text, at)
    }

    #[inline(always)]
    fn plain(&mut self, pair: Pair<'l>) -> Item<'l> {
        let start = pair.value_at;
        let end = self.end(start);
        match self.line.get(end) {
            Some(b'=') => return self.skip("unexpected '='", end),
            Some(b'"') => return self.skip("unexpected '\"'", end),
            _ => {}
        }
        self.at = end;
        Item::Pair(Pair {
            value: &self.line[start..end],
            ..pair
        })
    }

    /// A value whose first quote is at its place.
    #[inline(always)]
    fn quoted(&mut self, pair: Pair<'l>) -> Item<'l> {
        let line = self.line;
        let start = pair.value_at + 1;
        let escapes = *self
            .escapes
            .get_or_insert_with(|| memchr::memchr(b'\\', line).is_some());
        let mut end = start;
        loop {
            end = self.end(end);
            match line.get(end) {
                None => {
                    self.at = line.len();
                    return self.fault("unterminated quoted value", line.len());
                }
                Some(b'"') if !(escapes && is_escaped(&line[start..end])) => break,
                Some(_) => end += 1,
            }
        }
        self.at = end + 1;
        let value = &line[start..end];
        let escaped = escapes && memchr::memchr(b'\\', value).is_some();
        if escaped && !unescape::is_logfmt(value) {
            return self.fault("invalid quoted value", end + 1);
        }
        Item::Pair(Pair {
            value,
            value_at: start,
            escaped,
            ..pair
        })
    }
}

/// Whether a byte behind this text is escaped.
fn is_escaped(text: &[u8]) -> bool {
    let slashes = text.iter().rev().take_while(|b| **b == b'\\').count();
    slashes % 2 == 1
}

/// Whether a key holds neither U+FFFD nor invalid bytes.
#[inline]
fn is_valid(key: &[u8]) -> bool {
    key.is_ascii() || str::from_utf8(key).is_ok_and(|key| !key.contains('\u{fffd}'))
}

/// `logfmt` without expressions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Logfmt {
    pub(super) strict: bool,
    pub(super) keep_empty: bool,
}

/// What is to be done after a label was set.
#[derive(PartialEq, Eq)]
enum Step {
    Next,
    Done,
    Drop,
}

impl Logfmt {
    /// Runs the stage. False: the line is dropped.
    pub(super) fn parse(
        self,
        line: &[u8],
        labels: &mut Labels<'_, '_, '_>,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let hints = labels.hints;
        let wanted = match hints.task(labels) {
            Task::Skip => return true,
            Task::Only(wanted) => Some(wanted),
            Task::All(ahead) => {
                if ahead.is_some() {
                    let (passes, _) = self.walk(line, labels, buffer, (ahead, true));
                    if !passes {
                        return false;
                    }
                }
                None
            }
        };
        let (passes, fault) = self.walk(line, labels, buffer, (wanted, false));
        match fault {
            Some(fault) if passes && self.strict => {
                labels.fail_parser(FAILED, Some(&fault.details()));
                labels.passes_early_error()
            }
            _ => passes,
        }
    }

    /// Whether the line stays, and the last fault.
    fn walk(
        self,
        line: &[u8],
        labels: &mut Labels<'_, '_, '_>,
        buffer: &mut Vec<u8>,
        (wanted, ahead): (Option<&Wanted>, bool),
    ) -> (bool, Option<Fault>) {
        // Where everything is copied, the whole line is looked at once.
        let text = if wanted.is_none() { clean(line) } else { None };
        let mut pairs = Pairs::new(line);
        loop {
            let pair = match pairs.next() {
                Item::Pair(pair) => pair,
                Item::Fault if !self.strict => continue,
                Item::Fault | Item::End => return (true, pairs.fault),
            };
            match self.set(&pair, text, labels, buffer, (wanted, ahead)) {
                Step::Next => {}
                Step::Done => return (true, pairs.fault),
                Step::Drop => return (false, None),
            }
        }
    }

    #[inline]
    fn set(
        self,
        pair: &Pair<'_>,
        text: Option<&str>,
        labels: &mut Labels<'_, '_, '_>,
        buffer: &mut Vec<u8>,
        (wanted, ahead): (Option<&Wanted>, bool),
    ) -> Step {
        if pair.value.is_empty() && !self.keep_empty {
            return Step::Next;
        }
        let claim = match wanted {
            Some(wanted) => wanted
                .of_key(pair.key)
                .and_then(|at| labels.claim_wanted(wanted, at)),
            None if !labels.has_room(pair.key.len() + pair.value.len()) => None,
            None => {
                let name = labels.push_with(|out| match part(text, pair.key_at, pair.key.len()) {
                    Some(key) => push_known(out, pair.key, Some(key), true),
                    None => push_sanitised(out, pair.key, true),
                });
                labels.claim(name)
            }
        };
        let Some(claim) = claim else {
            return Step::Next;
        };
        let value = if pair.escaped {
            buffer.clear();
            // The reader has checked the escapes.
            let _ = unescape::logfmt(pair.value, buffer);
            labels.push_spaced(buffer)
        } else {
            match part(text, pair.value_at, pair.value.len()) {
                Some(value) => labels.push(value),
                None => labels.push_spaced(pair.value),
            }
        };
        labels.set_claimed(claim, value);
        match wanted {
            _ if !labels.passes_early(claim.name) => Step::Drop,
            Some(wanted) if ahead && wanted.is_complete(labels) => Step::Done,
            Some(_) if !ahead && labels.all_found() => Step::Done,
            _ => Step::Next,
        }
    }
}

/// `logfmt x="key"`: chosen pairs under chosen names.
#[derive(Debug, Clone)]
pub(super) struct Picks {
    strict: bool,
    /// Identifiers, no one twice, each with the key that feeds it, if any can.
    picks: Vec<(String, Option<String>)>,
}

impl Picks {
    /// Compiles the stage.
    pub(super) fn new(extracts: &[Extract], strict: bool) -> Result<Self, String> {
        let mut picks: Vec<(String, Option<String>)> = Vec::new();
        for extract in extracts {
            let key = expression(&extract.path).map_err(|why| {
                let path = String::from_utf8_lossy(&extract.path);
                format!("cannot parse expression [{path}]: {why}")
            })?;
            match picks.iter_mut().find(|(name, _)| *name == extract.name) {
                Some(pick) => pick.1 = key,
                None => picks.push((extract.name.clone(), key)),
            }
        }
        Ok(Picks { strict, picks })
    }

    /// Runs the stage, which drops no line.
    pub(super) fn parse(&self, line: &[u8], labels: &mut Labels<'_, '_, '_>, buffer: &mut Vec<u8>) {
        if matches!(labels.hints.task(labels), Task::Skip) {
            return;
        }
        for (name, _) in &self.picks {
            if !labels.collides(name) {
                let empty = labels.push("");
                labels.set_named(name, empty);
            }
        }
        let mut pairs = Pairs::new(line);
        loop {
            let pair = match pairs.next() {
                Item::Pair(pair) => pair,
                Item::Fault if !self.strict => continue,
                Item::Fault | Item::End => break,
            };
            if !self.set(&pair, labels, buffer) {
                break;
            }
        }
        if let Some(fault) = pairs.fault
            && self.strict
        {
            labels.fail_parser(FAILED, Some(&fault.details()));
        }
    }

    /// The identifier that a key feeds. A key that is no identifier itself is let be where nobody needs a label of its
    /// name, or there is one: so does Loki, although the label would get another name.
    fn name_for(&self, key: &[u8], labels: &Labels<'_, '_, '_>) -> Option<&str> {
        let is = |name: &str| is_sanitised(key, name);
        let own = self.picks.iter().find(|(name, _)| is(name));
        let fed = self
            .picks
            .iter()
            .find(|(_, key)| key.as_deref().is_some_and(is));
        let name = &fed.or(own)?.0;
        if own.is_none() {
            let key = fed.and_then(|(_, key)| key.as_deref())?;
            let only = labels.hints.only();
            let needed = only.is_none_or(|only| only.of_name(key).is_some());
            if !needed || labels.is_extracted(key) {
                return None;
            }
        }
        Some(name)
    }

    /// False: the rest of the line does not matter.
    fn set(&self, pair: &Pair<'_>, labels: &mut Labels<'_, '_, '_>, buffer: &mut Vec<u8>) -> bool {
        let Some(name) = self.name_for(pair.key, labels) else {
            return true;
        };
        let mut target = labels.push(name);
        if labels.collides(name) {
            target = labels.extend(target, EXTRACTED);
            let text = labels.text(target);
            let only = labels.hints.only();
            let needed = only.is_none_or(|only| only.of_name(text).is_some());
            if !needed || labels.is_extracted(text) {
                labels.take_back(target);
                return false;
            }
        }
        buffer.clear();
        if pair.escaped {
            // The reader has checked the escapes.
            let _ = unescape::logfmt(pair.value, buffer);
        } else {
            buffer.extend_from_slice(pair.value);
        }
        // Here a value that is not clean is emptied, not mended.
        let value = match str::from_utf8(buffer) {
            Ok(value) if !value.contains('\u{fffd}') => labels.push(value),
            _ => labels.push(""),
        };
        labels.set(target, value);
        !labels.all_found()
    }
}

/// The key that an expression names, one word or one text in quotes; `None`: several, which no key equals.
fn expression(text: &[u8]) -> Result<Option<String>, String> {
    let text = String::from_utf8_lossy(text);
    let mut chars = text.chars().peekable();
    let mut keys: Vec<String> = Vec::new();
    loop {
        while chars.next_if(|c| matches!(c, ' ' | '\t' | '\n')).is_some() {}
        let Some(c) = chars.next_if(|c| *c != '\0') else {
            break;
        };
        let mut key = String::new();
        if c == '"' {
            key.extend(
                chars
                    .by_ref()
                    .take_while(|c| !matches!(c, '"' | ']' | '\0')),
            );
        } else if c.is_ascii_alphabetic() || c == '_' {
            key.push(c);
            while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                key.push(c);
            }
            if !keys.is_empty() {
                return Err("syntax error: unexpected KEY".to_owned());
            }
        } else {
            let found = format!("unexpected char {c}");
            return Err(if keys.is_empty() {
                NO_KEY.to_owned()
            } else {
                found
            });
        }
        keys.push(key);
    }
    match keys.len() {
        0 => Err(NO_KEY.to_owned()),
        1 => Ok(keys.pop()),
        _ => Ok(None),
    }
}

/// The grammar's error where no key begins; that of the lexer is lost then.
const NO_KEY: &str = "syntax error: unexpected $end, expecting STRING or KEY";
