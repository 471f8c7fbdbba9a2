//! Pieces of a file in which no line can pass the query's filter are passed over before they are made lines.
//!
//! A line that lies whole in the file's bytes is found there, whatever header it has. So a piece is passed over only if no
//! line is open where it begins, and none of its records is partial. JSON has escapes: files of Docker are not sieved.

use logql::pipeline::LineFilter;
use memchr::memmem::Finder;

/// Bytes looked at once: in the first cache of a Pi's core.
pub(super) const PIECE_BYTES: usize = 32 << 10;
/// What partial records have.
const PARTIAL: [&[u8]; 2] = [b" stdout P", b" stderr P"];
/// A text that stands for bytes that are none.
const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();

#[derive(Debug)]
enum Wanted<'p> {
    Literal(Box<Finder<'p>>),
    Candidate(&'p LineFilter),
}

#[derive(Debug)]
pub(super) struct Sieve<'p> {
    wanted: Wanted<'p>,
    partial: [Finder<'static>; 2],
}

impl<'p> Sieve<'p> {
    /// By the first filter that can be looked for in many lines at once; `None` if there is none.
    pub(super) fn new(filters: &'p [LineFilter]) -> Option<Sieve<'p>> {
        let literal = |filter: &'p LineFilter| {
            let text = filter.required_literal().filter(|text| !text.is_empty())?;
            // A filter may see it where the file has other bytes.
            let plain = Finder::new(REPLACEMENT).find(text).is_none();
            plain.then(|| Wanted::Literal(Box::new(Finder::new(text))))
        };
        let candidate = |filter: &'p LineFilter| {
            // Anchors mean the line's ends, not the record's.
            (filter.is_positive() && filter.candidate_is_match())
                .then_some(Wanted::Candidate(filter))
        };
        let wanted = filters.iter().find_map(literal);
        Some(Sieve {
            wanted: wanted.or_else(|| filters.iter().find_map(candidate))?,
            partial: PARTIAL.map(|tag| Finder::new(tag).into_owned()),
        })
    }

    /// Whether no record of a piece is wanted.
    pub(super) fn rejects(&self, piece: &[u8]) -> bool {
        let found = match &self.wanted {
            Wanted::Literal(finder) => finder.find(piece).is_some(),
            Wanted::Candidate(filter) => filter.find_candidate(piece, 0).is_some(),
        };
        !found && self.partial.iter().all(|tag| tag.find(piece).is_none())
    }
}
