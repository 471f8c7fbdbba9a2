//! `unpack`: a packed line with labels.

use super::json::{FAILED, push_unescaped};
use super::json_scan::{Fault, Kind, Members};
use super::labels::{Labels, Text};
use super::names::{EXTRACTED, push_sanitised};
use super::unescape;
use super::wanted::Task;

/// The member that holds the line.
const LINE: &[u8] = b"_entry";
/// What the details say when a line begins with no object.
const NO_OBJECT: &str = "expecting json object(6), but it is not";

/// Buffers that are reused from line to line.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    key: Vec<u8>,
    value: Vec<u8>,
    pairs: Vec<(Text, Text)>,
}

/// What becomes of the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    Same,
    /// It was written to `out`.
    Changed,
    Dropped,
}

/// Runs the stage.
pub(super) fn parse(
    line: &[u8],
    labels: &mut Labels<'_, '_, '_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Unpacked {
    if line.is_empty() || matches!(labels.hints.task(labels), Task::Skip) {
        return Unpacked::Same;
    }
    if line[0] != b'{' {
        labels.fail_parser(FAILED, Some(NO_OBJECT));
        return Unpacked::Same;
    }
    scratch.pairs.clear();
    let packed = match collect(line, labels, scratch, out) {
        Ok(packed) => packed,
        Err(fault) => {
            labels.fail_parser(FAILED, Some(fault.text()));
            return Unpacked::Same;
        }
    };
    if !packed {
        return Unpacked::Same;
    }
    for (name, value) in &scratch.pairs {
        labels.set(*name, *value);
        if !labels.passes_early(*name) {
            return Unpacked::Dropped;
        }
    }
    Unpacked::Changed
}

/// Collects the text members; true if one of them is a line, which is then in `out`.
fn collect(
    line: &[u8],
    labels: &mut Labels<'_, '_, '_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Result<bool, Fault> {
    let mut packed = false;
    let mut members = Members::new(line);
    while let Some(member) = members.next()? {
        if member.value.kind != Kind::Text {
            continue;
        }
        let mut key = member.key;
        if member.key_escaped {
            scratch.key.clear();
            // The scanner has checked the escapes.
            let _ = unescape::json(member.key, &mut scratch.key);
            key = &scratch.key;
        }
        if key == LINE {
            out.clear();
            unescape::json(member.value.text, out).ok_or(Fault::Escape)?;
            packed = true;
        } else if labels.has_room(key.len() + member.value.text.len())
            && let Some(name) = name_of(key, labels)
        {
            let value = push_unescaped(labels, member.value.text, &mut scratch.value);
            scratch.pairs.push((name, value));
        }
    }
    Ok(packed)
}

/// The name for a key. Whether it collides, is wanted or there already is asked of the key as it is, before it becomes
/// a label name.
fn name_of(key: &[u8], labels: &mut Labels<'_, '_, '_>) -> Option<Text> {
    let raw = str::from_utf8(key).unwrap_or_default();
    let collides = labels.collides(raw);
    let mut name = labels.push(raw);
    if collides {
        name = labels.extend(name, EXTRACTED);
    }
    let text = labels.text(name);
    let only = labels.hints.only();
    let is_free =
        only.is_none_or(|only| only.of_name(text).is_some()) && !labels.is_extracted(text);
    labels.take_back(name);
    if !is_free {
        return None;
    }
    let name = labels.push_with(|out| push_sanitised(out, key, true));
    if labels.text(name).is_empty() {
        return None;
    }
    Some(if collides {
        labels.extend(name, EXTRACTED)
    } else {
        name
    })
}
