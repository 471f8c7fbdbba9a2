//! `regexp`: the named groups of the first match.

use regex::bytes::CaptureLocations;

use super::labels::Labels;
use super::names::push_sanitised;
use crate::regexes::{Budget, Decoding};

/// A compiled stage.
#[derive(Debug, Clone)]
pub(super) struct Regexp {
    regex: Decoding,
    /// Names of the groups.
    names: Vec<String>,
}

impl Regexp {
    /// Compiles a regex that was checked when it was parsed.
    pub(super) fn new(text: &[u8], budget: &mut Budget) -> Result<Self, String> {
        let (translated, names) = budget.translate_captures(&String::from_utf8_lossy(text))?;
        let sanitised = names.iter().map(|name| {
            let mut out = String::new();
            push_sanitised(&mut out, name.as_bytes(), true);
            out
        });
        Ok(Regexp {
            regex: budget.compile_decoding(&translated)?,
            names: sanitised.collect(),
        })
    }

    /// Space for the groups of a match.
    pub(super) fn locations(&self) -> CaptureLocations {
        self.regex.capture_locations()
    }

    /// Runs the stage. False: the line is dropped.
    pub(super) fn parse(
        &self,
        line: &[u8],
        labels: &mut Labels<'_, '_, '_>,
        locations: &mut CaptureLocations,
    ) -> bool {
        if labels.all_found() {
            return true;
        }
        let line = &*self.regex.decode(line);
        if self.regex.captures_read(locations, line).is_none() {
            return true;
        }
        self.names.iter().enumerate().all(|(i, name)| {
            let value = locations
                .get(i + 1)
                .map_or(&b""[..], |(from, to)| &line[from..to]);
            labels.set_parsed(name, value)
        })
    }
}
