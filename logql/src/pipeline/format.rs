//! `line_format` and `label_format` (logql.md section 8), whose texts are templates.

use super::labels::{ERROR, Labels, Slot};
use crate::ast::FormatValue;

/// Why a text is no template.
#[derive(Debug)]
pub(super) enum TemplateError {
    Invalid(String),
    /// It may be one, but nobody can run it yet.
    Unsupported,
}

/// A text that is written for each entry.
#[derive(Debug, Clone)]
struct Template {
    text: Vec<u8>,
}

impl Template {
    fn parse(source: &[u8]) -> Result<Self, TemplateError> {
        if memchr::memmem::find(source, b"{{").is_some() {
            return Err(TemplateError::Unsupported);
        }
        Ok(Template {
            text: source.to_vec(),
        })
    }
}

/// `line_format`
#[derive(Debug, Clone)]
pub(super) struct LineFormat {
    template: Template,
}

impl LineFormat {
    pub(super) fn new(source: &[u8]) -> Result<Self, TemplateError> {
        let template = Template::parse(source)?;
        Ok(LineFormat { template })
    }

    /// Adds the names of labels that the template reads.
    pub(super) fn names(&self, _out: &mut Vec<String>) {}

    pub(super) fn uses_time(&self) -> bool {
        false
    }

    /// Writes the new line; false: it stays as it is.
    pub(super) fn run(
        &self,
        _entry: (&[u8], i64),
        _labels: &mut Labels<'_, '_, '_>,
        _slots: &mut Vec<Slot>,
        out: &mut Vec<u8>,
    ) -> bool {
        out.clear();
        out.extend_from_slice(&self.template.text);
        true
    }
}

/// `label_format`
#[derive(Debug, Clone)]
pub(super) struct LabelFormats {
    formats: Vec<(String, Format)>,
}

#[derive(Debug, Clone)]
enum Format {
    Rename(String),
    Template(Template),
}

impl LabelFormats {
    pub(super) fn new(formats: &[(String, FormatValue)]) -> Result<Self, TemplateError> {
        for (i, (name, _)) in formats.iter().enumerate() {
            if name == ERROR {
                return Err(TemplateError::Invalid(format!(
                    "{name} cannot be formatted"
                )));
            }
            if formats[..i].iter().any(|(n, _)| n == name) {
                return Err(TemplateError::Invalid(format!(
                    "multiple label name '{name}' not allowed in a single format operation"
                )));
            }
        }
        let formats = formats.iter().map(|(name, value)| {
            let format = match value {
                FormatValue::Rename(from) => Format::Rename(from.clone()),
                FormatValue::Template(source) => Format::Template(Template::parse(source)?),
            };
            Ok((name.clone(), format))
        });
        Ok(LabelFormats {
            formats: formats.collect::<Result<_, TemplateError>>()?,
        })
    }

    /// Adds the names of labels that the stage reads.
    pub(super) fn names(&self, out: &mut Vec<String>) {
        for (_, format) in &self.formats {
            if let Format::Rename(from) = format {
                out.push(from.clone());
            }
        }
    }

    pub(super) fn uses_line(&self) -> bool {
        false
    }

    pub(super) fn uses_time(&self) -> bool {
        false
    }

    /// Runs the formats from left to right.
    pub(super) fn run(
        &self,
        _entry: (&[u8], i64),
        labels: &mut Labels<'_, '_, '_>,
        (_slots, buffer): (&mut Vec<Slot>, &mut Vec<u8>),
    ) {
        for (name, format) in &self.formats {
            match format {
                Format::Rename(from) => rename(name, from, labels),
                Format::Template(template) => {
                    buffer.clear();
                    buffer.extend_from_slice(&template.text);
                    let value = labels.push_bytes(buffer);
                    labels.set_named(name, value);
                }
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
