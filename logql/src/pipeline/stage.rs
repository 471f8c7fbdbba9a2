//! Stages, compiled, and one step through each.

use regex::bytes::CaptureLocations;

use super::captures::Captures;
use super::decolorize::Decolorizer;
use super::filter::Filter;
use super::format::{Entry, LabelFormats, LineFormat};
use super::json_path::Paths;
use super::labels::{DETAILS, ERROR, Labels, PRESERVE, Slot};
use super::line::LineFilter;
use super::logfmt::{Logfmt, Picks};
use super::regexp::Regexp;
use super::unpack::Unpacked;
use super::{format, json, json_path, unpack};
use crate::ast::Named;

/// A compiled stage.
#[derive(Debug, Clone)]
pub(super) enum Stage {
    Line(LineFilter),
    Filter(Filter),
    Json,
    Paths(Paths),
    Logfmt(Logfmt),
    Picks(Picks),
    /// With its place among the scratch space of its kind.
    Regexp(Regexp, usize),
    Captures(Captures),
    Unpack,
    LineFormat(LineFormat),
    LabelFormat(LabelFormats),
    Decolorize(Decolorizer),
    /// Removes the labels that are named or match.
    Drop(Vec<Named>),
    /// Removes all others.
    Keep(Vec<Named>),
}

impl Stage {
    /// Whether the stage may leave another line behind.
    pub(super) fn changes_line(&self) -> bool {
        matches!(
            self,
            Stage::Unpack | Stage::LineFormat(_) | Stage::Decolorize(_)
        )
    }

    /// Whether the stage neither reads nor changes the line.
    pub(super) fn is_about_labels(&self) -> bool {
        match self {
            Stage::Filter(_) | Stage::Drop(_) | Stage::Keep(_) => true,
            Stage::LabelFormat(formats) => !formats.uses_line(),
            _ => false,
        }
    }

    /// Whether what the stage does depends on the entry's time.
    pub(super) fn uses_time(&self) -> bool {
        match self {
            Stage::LabelFormat(formats) => formats.uses_time(),
            Stage::LineFormat(format) => format.uses_time(),
            _ => false,
        }
    }

    /// Whether the stage sets labels from the line, and nothing but that.
    pub(super) fn is_parser(&self) -> bool {
        matches!(
            self,
            Stage::Json
                | Stage::Paths(_)
                | Stage::Logfmt(_)
                | Stage::Picks(_)
                | Stage::Regexp(..)
                | Stage::Captures(_)
                | Stage::Unpack
        )
    }
}

/// The line as stages leave it.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// The line, once a stage changed it.
    pub(super) line: Vec<u8>,
    other: Vec<u8>,
    pub(super) changed: bool,
}

impl Lines {
    fn replace(&mut self) {
        std::mem::swap(&mut self.line, &mut self.other);
        self.changed = true;
    }
}

/// Buffers of the stages.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    json: json::Scratch,
    path: json_path::Scratch,
    unpack: unpack::Scratch,
    format: format::Scratch,
    locations: Vec<CaptureLocations>,
    /// Text of one value.
    buffer: Vec<u8>,
    /// One name.
    name: String,
    /// All labels.
    slots: Vec<Slot>,
}

impl Scratch {
    /// What templates have cost since this was last asked, in bytes handled.
    pub(super) fn take_spent(&mut self) -> usize {
        self.format.template.take_spent()
    }

    pub(super) fn new(stages: &[Stage]) -> Self {
        let locations = stages.iter().filter_map(|stage| match stage {
            Stage::Regexp(regexp, _) => Some(regexp.locations()),
            _ => None,
        });
        Scratch {
            locations: locations.collect(),
            ..Scratch::default()
        }
    }
}

/// One stage on one entry. False: the entry is dropped.
pub(super) fn step(
    stage: &Stage,
    raw: Entry<'_>,
    lines: &mut Lines,
    labels: &mut Labels<'_, '_, '_>,
    scratch: &mut Scratch,
) -> bool {
    let Lines {
        line,
        other,
        changed,
    } = lines;
    let line: &[u8] = if *changed { line } else { raw.line };
    let entry = Entry { line, ..raw };
    let buffer = &mut scratch.buffer;
    let replaced = match stage {
        Stage::Line(filter) => return filter.matches(line),
        Stage::Filter(filter) => return filter.passes(labels),
        Stage::Json => return json::parse(line, labels, &mut scratch.json),
        Stage::Logfmt(logfmt) => return logfmt.parse(line, labels, buffer),
        Stage::Captures(captures) => return captures.parse(line, labels),
        Stage::Regexp(regexp, i) => return regexp.parse(line, labels, &mut scratch.locations[*i]),
        Stage::Paths(paths) => {
            paths.parse(line, labels, &mut scratch.path);
            false
        }
        Stage::Picks(picks) => {
            picks.parse(line, labels, buffer);
            false
        }
        Stage::Unpack => match unpack::parse(line, labels, &mut scratch.unpack, other) {
            Unpacked::Dropped => return false,
            unpacked => unpacked == Unpacked::Changed,
        },
        Stage::LineFormat(format) => format.run(entry, labels, &mut scratch.format, other),
        Stage::LabelFormat(formats) => {
            formats.run(entry, labels, &mut scratch.format);
            false
        }
        Stage::Decolorize(decolorizer) => decolorizer.strip(line, other),
        Stage::Drop(names) => {
            drop_labels(names, labels);
            false
        }
        Stage::Keep(names) => {
            keep_labels(names, labels, (&mut scratch.slots, &mut scratch.name));
            false
        }
    };
    if replaced {
        lines.replace();
    }
    true
}

fn drop_labels(names: &[Named], labels: &mut Labels<'_, '_, '_>) {
    for named in names {
        let (name, matcher) = match named {
            Named::Name(name) => (name.as_str(), None),
            Named::Matcher(matcher) => (matcher.name(), Some(matcher)),
        };
        let matches = |value: &str| matcher.is_none_or(|matcher| matcher.matches(value));
        match name {
            ERROR if matches(labels.error()) => labels.clear_error(),
            DETAILS if matches(labels.details()) => labels.clear_details(),
            ERROR | DETAILS => {}
            _ => {
                let value = labels.get(name);
                if matcher.is_some() && matches(value.unwrap_or_default())
                    || matcher.is_none() && value.is_some()
                {
                    labels.delete(name);
                }
            }
        }
    }
}

fn keep_labels(
    names: &[Named],
    labels: &mut Labels<'_, '_, '_>,
    (slots, gone): (&mut Vec<Slot>, &mut String),
) {
    labels.collect(slots);
    for slot in slots.iter() {
        let (name, value) = labels.pair_of(*slot);
        let is_kept = |named: &Named| match named {
            Named::Name(n) => n == name,
            Named::Matcher(matcher) => matcher.name() == name && matcher.matches(value),
        };
        if matches!(name, ERROR | DETAILS | PRESERVE) || names.iter().any(is_kept) {
            continue;
        }
        name.clone_into(gone);
        labels.delete(gone);
    }
}
