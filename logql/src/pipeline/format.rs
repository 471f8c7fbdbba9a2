//! `line_format` and `label_format`.

use super::labels::{DETAILS, ERROR, Labels, Slot};
use crate::ast::FormatValue;
use crate::regexes::Budget;
use crate::template;
use crate::template::{Context, Template};

/// What the error slot says about a template that failed.
const FAILED: &str = "TemplateFormatErr";

/// What a stage sees of an entry besides its labels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'e> {
    pub(super) line: &'e [u8],
    pub(super) ts: i64,
    /// The time of the query.
    pub(super) now: i64,
}

/// Buffers that are reused from entry to entry.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    slots: Vec<Slot>,
    value: Vec<u8>,
    pub(super) template: template::Scratch,
}

/// What a template sees.
struct Seen<'s, 'r, 'a, 'p> {
    entry: Entry<'s>,
    labels: &'s Labels<'r, 'a, 'p>,
    /// All labels as they were when they were collected; absent: as they are.
    slots: Option<&'s [Slot]>,
}

impl Context for Seen<'_, '_, '_, '_> {
    fn label(&self, name: &str) -> Option<&[u8]> {
        let value = match self.slots {
            Some(slots) => {
                let found = slots.binary_search_by(|slot| self.labels.pair_of(*slot).0.cmp(name));
                found.ok().map(|i| self.labels.pair_of(slots[i]).1)
            }
            None => match name {
                ERROR if self.labels.has_error() => Some(self.labels.error()),
                DETAILS if !self.labels.details().is_empty() => Some(self.labels.details()),
                _ => self.labels.get(name),
            },
        };
        value.map(str::as_bytes)
    }

    fn visit<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s [u8])) {
        for slot in self.slots.unwrap_or_default() {
            let (name, value) = self.labels.pair_of(*slot);
            visit(name, value.as_bytes());
        }
    }

    fn line(&self) -> &[u8] {
        self.entry.line
    }

    fn timestamp(&self) -> i64 {
        self.entry.ts
    }

    fn now(&self) -> i64 {
        self.entry.now
    }
}

fn names(template: &Template, out: &mut Vec<String>) {
    out.extend(template.fields().iter().map(|name| name.to_string()));
}

/// `line_format`
#[derive(Debug, Clone)]
pub(super) struct LineFormat {
    template: Template,
}

impl LineFormat {
    pub(super) fn new(source: &[u8], budget: &mut Budget) -> Result<Self, String> {
        match Template::parse(source, "line", budget) {
            Ok(template) => Ok(LineFormat { template }),
            Err(why) => Err(format!("invalid line template: {why}")),
        }
    }

    /// Adds the names of labels that the template reads.
    pub(super) fn names(&self, out: &mut Vec<String>) {
        names(&self.template, out);
    }

    pub(super) fn uses_time(&self) -> bool {
        self.template.uses_timestamp()
    }

    /// Writes the new line; false: it stays as it is.
    pub(super) fn run(
        &self,
        entry: Entry<'_>,
        labels: &mut Labels<'_, '_, '_>,
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        if self.template.is_line() {
            return false;
        }
        if let Some(text) = self.template.as_text() {
            out.extend_from_slice(text);
            return true;
        }
        if let Some(name) = self.template.as_field() {
            // A label is copied, and what is no label, as the error slot, is nothing.
            out.extend_from_slice(labels.get(name).unwrap_or_default().as_bytes());
            return true;
        }
        let slots = self.template.reads_any_label().then(|| {
            labels.collect(&mut scratch.slots);
            scratch.slots.as_slice()
        });
        let seen = Seen {
            entry,
            labels,
            slots,
        };
        let result = self.template.execute(&seen, out, &mut scratch.template);
        if let Err(details) = &result {
            labels.fail(FAILED, Some(details));
        }
        result.is_ok()
    }
}

/// `label_format`
#[derive(Debug, Clone)]
pub(super) struct LabelFormats {
    formats: Vec<(String, Format)>,
    /// Templates see the labels as they were before the first of them: where more follows, or any label may be read,
    /// that has to be kept.
    keeps_labels: bool,
}

#[derive(Debug, Clone)]
enum Format {
    Rename(String),
    Template(Template),
}

impl LabelFormats {
    pub(super) fn new(
        formats: &[(String, FormatValue)],
        budget: &mut Budget,
    ) -> Result<Self, String> {
        for (i, (name, _)) in formats.iter().enumerate() {
            if name == ERROR {
                return Err(format!("{name} cannot be formatted"));
            }
            if formats[..i].iter().any(|(n, _)| n == name) {
                return Err(format!(
                    "multiple label name '{name}' not allowed in a single format operation"
                ));
            }
        }
        let mut compiled = Vec::with_capacity(formats.len());
        for (name, value) in formats {
            let format = match value {
                FormatValue::Rename(from) => Format::Rename(from.clone()),
                FormatValue::Template(source) => {
                    let template = Template::parse(source, "label", budget);
                    Format::Template(
                        template
                            .map_err(|why| format!("invalid template for label '{name}': {why}"))?,
                    )
                }
            };
            compiled.push((name.clone(), format));
        }
        let mut formats = LabelFormats {
            formats: compiled,
            keeps_labels: false,
        };
        let first = formats.templates().next().map(|(i, _)| i);
        let more = first.is_some_and(|first| first + 1 < formats.formats.len());
        formats.keeps_labels = more || formats.templates().any(|(_, t)| t.reads_any_label());
        Ok(formats)
    }

    fn templates(&self) -> impl Iterator<Item = (usize, &Template)> {
        let formats = self.formats.iter().enumerate();
        formats.filter_map(|(i, (_, format))| match format {
            Format::Template(template) => Some((i, template)),
            Format::Rename(_) => None,
        })
    }

    /// Adds the names of labels that the stage reads.
    pub(super) fn names(&self, out: &mut Vec<String>) {
        for (_, format) in &self.formats {
            match format {
                Format::Rename(from) => out.push(from.clone()),
                Format::Template(template) => names(template, out),
            }
        }
    }

    pub(super) fn uses_line(&self) -> bool {
        self.templates().any(|(_, template)| template.uses_line())
    }

    pub(super) fn uses_time(&self) -> bool {
        self.templates()
            .any(|(_, template)| template.uses_timestamp())
    }

    /// Runs the formats from left to right.
    pub(super) fn run(
        &self,
        entry: Entry<'_>,
        labels: &mut Labels<'_, '_, '_>,
        scratch: &mut Scratch,
    ) {
        let Scratch {
            slots,
            value,
            template: space,
        } = scratch;
        let mut kept = None;
        for (name, format) in &self.formats {
            let template = match format {
                Format::Rename(from) => {
                    rename(name, from, labels);
                    continue;
                }
                Format::Template(template) => template,
            };
            if self.keeps_labels && kept.is_none() {
                labels.collect(slots);
                kept = Some(());
            }
            value.clear();
            let seen = Seen {
                entry,
                labels,
                slots: kept.map(|()| slots.as_slice()),
            };
            match template.execute(&seen, value, space) {
                Ok(()) => {
                    let value = labels.push_bytes(value);
                    labels.set_named(name, value);
                }
                Err(details) => labels.fail(FAILED, Some(&details)),
            }
        }
    }
}

/// Moves a value to another name. Moved to its own name it is gone: so does Loki.
fn rename(name: &str, from: &str, labels: &mut Labels<'_, '_, '_>) {
    if let Some(value) = labels.copy_of(from) {
        labels.set_named(name, value);
        labels.delete(from);
    }
}
