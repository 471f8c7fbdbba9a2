//! `pattern`: text and captures in turn.

use memchr::memmem::Finder;

use super::labels::Labels;
use super::wanted::Task;
use crate::pattern::{Piece, split};

/// A compiled pattern.
#[derive(Debug, Clone)]
pub(super) struct Captures {
    /// What the line must begin with.
    head: Vec<u8>,
    captures: Vec<Capture>,
}

#[derive(Debug, Clone)]
struct Capture {
    /// Absent: what is captured is thrown away.
    name: Option<String>,
    /// What ends it; absent at the end of the pattern.
    until: Option<Box<Finder<'static>>>,
}

impl Captures {
    /// Compiles a pattern that was checked when it was parsed.
    pub(super) fn new(pattern: &[u8]) -> Self {
        let mut head = Vec::new();
        let mut captures: Vec<Capture> = Vec::new();
        for piece in split(pattern) {
            match (piece, captures.last_mut()) {
                (Piece::Capture(name), _) => captures.push(Capture {
                    name: (name != "_").then_some(name),
                    until: None,
                }),
                (Piece::Literal(text), Some(capture)) => {
                    capture.until = Some(Box::new(Finder::new(&text).into_owned()));
                }
                (Piece::Literal(text), None) => head = text,
            }
        }
        Captures { head, captures }
    }

    /// Runs the stage. False: the line is dropped.
    pub(super) fn parse(&self, line: &[u8], labels: &mut Labels<'_, '_, '_>) -> bool {
        let task = labels.hints.task(labels);
        if matches!(task, Task::Skip) || line.is_empty() {
            return true;
        }
        let Some(mut rest) = line.strip_prefix(self.head.as_slice()) else {
            return true;
        };
        for capture in &self.captures {
            let end = match &capture.until {
                Some(finder) => finder.find(rest).map(|at| (at, finder.needle().len())),
                None => None,
            };
            let value = end.map_or(rest, |(at, _)| &rest[..at]);
            if let Some(name) = &capture.name
                && !labels.set_parsed(name, value)
            {
                return false;
            }
            match end {
                Some((at, len)) => rest = &rest[at + len..],
                // Without the text behind it a capture takes the rest, and nothing follows.
                None => return true,
            }
        }
        true
    }
}
