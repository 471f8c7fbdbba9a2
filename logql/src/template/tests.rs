//! One table a theme: a template, and what it gives for the labels and the line of [`Sample`].

use super::*;

/// Labels in name order, a line, 2023-11-14 22:13:20.123456789 UTC.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) labels: Vec<(String, Vec<u8>)>,
    pub(super) line: Vec<u8>,
    pub(super) timestamp: i64,
}

impl Context for Sample {
    fn label(&self, name: &str) -> Option<&[u8]> {
        let found = self.labels.iter().find(|(own, _)| own == name);
        found.map(|(_, value)| value.as_slice())
    }

    fn visit<'s>(&'s self, visit: &mut dyn FnMut(&'s str, &'s [u8])) {
        for (name, value) in &self.labels {
            visit(name, value);
        }
    }

    fn line(&self) -> &[u8] {
        &self.line
    }

    fn timestamp(&self) -> i64 {
        self.timestamp
    }

    fn now(&self) -> i64 {
        1_700_000_000_000_000_000
    }
}

mod oracle;
