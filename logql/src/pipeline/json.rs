//! `json` without expressions: every member becomes a label, those of objects inside under joined names.

use super::json_scan::{Fault, Kind, Member, Members, Value};
use super::labels::{Claim, Labels, Text};
use super::names::{push_known, push_sanitised};
use super::unescape;
use super::wanted::{Task, Wanted};

/// What the error slot says about a line that is no JSON.
pub(super) const FAILED: &str = "JSONParserErr";
/// Objects inside objects that are looked into: each level reads its part of the line once more.
const MAX_DEPTH: u32 = 128;

/// Buffers that are reused from line to line.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    key: Vec<u8>,
    value: Vec<u8>,
    /// Names of the objects round the current member, joined.
    prefix: String,
}

/// Why a walk ends before the line does.
enum Halt {
    Fault(Fault),
    /// All names that were looked for are there.
    Done,
    /// A filter drops the line.
    Mismatch,
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Halt::Fault(fault)
    }
}

/// Runs the stage. False: the line is dropped.
pub(super) fn parse(line: &[u8], labels: &mut Labels<'_, '_, '_>, scratch: &mut Scratch) -> bool {
    let hints = labels.hints;
    let wanted = match hints.task(labels) {
        Task::Skip => return true,
        Task::Only(wanted) => Some(wanted),
        Task::All(ahead) => {
            if let Some(ahead) = ahead {
                let walk = Walk::new(labels, scratch, Some(ahead), true).run(line, None);
                if matches!(walk, Err(Halt::Mismatch)) {
                    return false;
                }
            }
            None
        }
    };
    // Where everything is copied, the whole line is looked at once.
    let text = if wanted.is_none() { clean(line) } else { None };
    match Walk::new(labels, scratch, wanted, false).run(line, text) {
        Ok(()) | Err(Halt::Done) => true,
        Err(Halt::Mismatch) => false,
        Err(Halt::Fault(fault)) => {
            labels.fail_parser(FAILED, Some(fault.text()));
            true
        }
    }
}

struct Walk<'w, 'r, 'a, 'p> {
    labels: &'w mut Labels<'r, 'a, 'p>,
    scratch: &'w mut Scratch,
    /// The only names that count.
    wanted: Option<&'w Wanted>,
    /// Whether the line will be walked once more, for the other names.
    ahead: bool,
}

impl<'w, 'r, 'a, 'p> Walk<'w, 'r, 'a, 'p> {
    fn new(
        labels: &'w mut Labels<'r, 'a, 'p>,
        scratch: &'w mut Scratch,
        wanted: Option<&'w Wanted>,
        ahead: bool,
    ) -> Self {
        scratch.prefix.clear();
        Walk {
            labels,
            scratch,
            wanted,
            ahead,
        }
    }

    /// Walks a line, which may be known as a clean text.
    fn run(&mut self, line: &[u8], text: Option<&str>) -> Result<(), Halt> {
        let mut members = Members::new(line);
        while let Some(member) = members.next()? {
            match member.value.kind {
                Kind::Text | Kind::Number | Kind::Bool => {
                    if let Some(claim) = self.top_name(&member, text) {
                        self.set(claim, &member.value, text)?;
                    }
                }
                Kind::Object => self.object(&member, text, 1)?,
                Kind::Null | Kind::Array => {}
            }
        }
        Ok(())
    }

    fn object(&mut self, member: &Member<'_>, text: Option<&str>, depth: u32) -> Result<(), Halt> {
        let outside = self.scratch.prefix.len();
        self.push_part(member);
        let prefix = self.scratch.prefix.as_str();
        let looked_into = self.wanted.is_none_or(|wanted| wanted.has_prefix(prefix));
        if looked_into && depth <= MAX_DEPTH {
            let text = part(text, member.value.at, member.value.text.len());
            let mut members = Members::new(member.value.text);
            while let Some(member) = members.next()? {
                match member.value.kind {
                    Kind::Text | Kind::Number | Kind::Bool => {
                        if let Some(claim) = self.inner_name(&member) {
                            self.set(claim, &member.value, text)?;
                        }
                    }
                    Kind::Object => self.object(&member, text, depth + 1)?,
                    Kind::Null | Kind::Array => {}
                }
            }
        }
        self.scratch.prefix.truncate(outside);
        Ok(())
    }

    /// Appends a key to the names round it; a blank one leaves no trace.
    fn push_part(&mut self, member: &Member<'_>) {
        let Scratch { key, prefix, .. } = &mut *self.scratch;
        let outside = prefix.len();
        if outside > 0 {
            prefix.push('_');
        }
        let begun = prefix.len();
        push_sanitised(prefix, unescaped(member, key), outside == 0);
        if prefix.len() == begun {
            prefix.truncate(outside);
        }
    }

    /// The name to set a member of the outermost object under.
    fn top_name(&mut self, member: &Member<'_>, text: Option<&str>) -> Option<Claim> {
        let key = unescaped(member, &mut self.scratch.key);
        match self.wanted {
            Some(wanted) => {
                let at = wanted.of_key(key)?;
                self.labels.claim_wanted(wanted, at)
            }
            None if !self.labels.has_room(key.len() + member.value.text.len()) => None,
            None => {
                let text = part(text, member.key_at, member.key.len());
                let text = text.filter(|_| !member.key_escaped);
                let name = self.labels.push_with(|out| match text {
                    Some(_) => push_known(out, key, text, true),
                    None => push_sanitised(out, key, true),
                });
                self.labels.claim(name)
            }
        }
    }

    /// The name to set a member of an object inside under.
    fn inner_name(&mut self, member: &Member<'_>) -> Option<Claim> {
        let outside = self.scratch.prefix.len();
        self.push_part(member);
        let name = self.scratch.prefix.as_str();
        let found = match self.wanted {
            Some(wanted) => wanted
                .of_name(name)
                .and_then(|at| self.labels.claim_wanted(wanted, at)),
            None if !self.labels.has_room(name.len() + member.value.text.len()) => None,
            None => {
                let name = self.labels.push(name);
                self.labels.claim(name)
            }
        };
        self.scratch.prefix.truncate(outside);
        found
    }

    fn set(&mut self, claim: Claim, value: &Value<'_>, text: Option<&str>) -> Result<(), Halt> {
        let value = match part(text, value.at, value.text.len()) {
            Some(text) if !value.escaped => self.labels.push(text),
            _ => push_value(self.labels, value, &mut self.scratch.value),
        };
        self.labels.set_claimed(claim, value);
        match self.wanted {
            // Once nothing is missing, no filter is asked any more: so does Loki.
            Some(_) if !self.ahead && self.labels.all_found() => Err(Halt::Done),
            _ if !self.labels.passes_early(claim.name) => Err(Halt::Mismatch),
            Some(wanted) if self.ahead && wanted.is_complete(self.labels) => Err(Halt::Done),
            _ => Ok(()),
        }
    }
}

/// A part of a text.
pub(super) fn part(text: Option<&str>, at: usize, len: usize) -> Option<&str> {
    text?.get(at..at + len)
}

/// The line as a text, if it holds neither invalid bytes nor U+FFFD, so that values can be copied as they are.
pub(super) fn clean(line: &[u8]) -> Option<&str> {
    let text = str::from_utf8(line).ok()?;
    (text.is_ascii() || !text.contains('\u{fffd}')).then_some(text)
}

/// The key without escapes, which are known to be valid.
fn unescaped<'k>(member: &Member<'k>, buffer: &'k mut Vec<u8>) -> &'k [u8] {
    if !member.key_escaped {
        return member.key;
    }
    buffer.clear();
    // The scanner has checked the escapes.
    let _ = unescape::json(member.key, buffer);
    buffer
}

/// Copies a value that is no object or array.
fn push_value(labels: &mut Labels<'_, '_, '_>, value: &Value<'_>, buffer: &mut Vec<u8>) -> Text {
    match value.kind {
        Kind::Text if value.escaped => push_unescaped(labels, value.text, buffer),
        Kind::Text => labels.push_spaced(value.text),
        _ => labels.push_bytes(value.text),
    }
}

/// Copies a text without its escapes. With an invalid one it is empty.
pub(super) fn push_unescaped(
    labels: &mut Labels<'_, '_, '_>,
    text: &[u8],
    buffer: &mut Vec<u8>,
) -> Text {
    buffer.clear();
    if unescape::json(text, buffer).is_none() {
        buffer.clear();
    }
    labels.push_spaced(buffer)
}
