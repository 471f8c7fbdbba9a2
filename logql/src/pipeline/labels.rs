//! The labels of one entry while its pipeline runs: stream labels, metadata, parsed labels, what
//! was deleted, and the error slot.
//!
//! Stream labels and metadata stay where they are; bits say which are gone. Names and values of parsed labels are
//! copied into one text that is emptied for each entry, so nothing is allocated once it has its size.
//!
//! Limits, so that a hostile line costs no more than a multiple of its length:
//! - at most [`MAX_PARSED`] parsed labels by parsers; more are ignored;
//! - at most [`TEXT_PER_LINE`] times the line's length, and [`TEXT_BASE`] bytes more, of names and values.

use super::names::EXTRACTED;
use super::wanted::{Hints, Wanted};
use crate::Pairs;

/// The label that string filters, `drop` and templates find the error slot under.
pub(crate) const ERROR: &str = "__error__";
/// The label of the error slot's details.
pub(super) const DETAILS: &str = "__error_details__";
/// Set on an entry whose error a metric query asks for; such an entry does not fail the query.
pub(crate) const PRESERVE: &str = "__preserve_error__";

/// Labels that parsers may set on one entry. Beyond, look-ups by name would take longer than reading the line.
const MAX_PARSED: usize = 1_024;
/// Bytes of names and values for each byte of the line: paths of nested objects repeat their beginnings.
const TEXT_PER_LINE: usize = 4;
/// Bytes of names and values that any line may have.
const TEXT_BASE: usize = 64 << 10;

/// A piece of [`State::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Text {
    from: u32,
    to: u32,
}

/// Where a member of the error slot is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) enum Message {
    #[default]
    None,
    Static(&'static str),
    Text(Text),
    /// The value of a metadata pair.
    Metadata(u32),
}

#[derive(Debug)]
struct Parsed {
    name: Text,
    value: Text,
    /// False once deleted. The name counts as extracted for the rest of the line all the same.
    live: bool,
}

/// A set of small numbers.
#[derive(Debug, Default)]
struct Bits {
    words: Vec<u64>,
}

impl Bits {
    fn has(&self, i: usize) -> bool {
        let word = self.words.get(i / 64);
        word.is_some_and(|word| word >> (i % 64) & 1 == 1)
    }

    fn set(&mut self, i: usize) {
        if self.words.len() <= i / 64 {
            self.words.resize(i / 64 + 1, 0);
        }
        self.words[i / 64] |= 1 << (i % 64);
    }
}

/// A set of names by a hash of few bits: a name whose bit is missing is not among them.
#[derive(Debug, Default, Clone, Copy)]
struct Hashes([u64; 4]);

impl Hashes {
    #[inline]
    fn of(name: &str) -> usize {
        let bytes = name.as_bytes();
        let at = |i: usize| bytes.get(i).map_or(0, |b| usize::from(*b));
        let len = bytes.len();
        (len * 31 + at(0) * 7 + at(len.wrapping_sub(1)) * 3 + at(len / 2)) % 256
    }

    #[inline]
    fn has(&self, hash: usize) -> bool {
        self.0[hash / 64] >> (hash % 64) & 1 == 1
    }

    #[inline]
    fn add(&mut self, hash: usize) {
        self.0[hash / 64] |= 1 << (hash % 64);
    }
}

/// Whether two names are the same. Most of one length differ in their first byte.
#[inline(always)]
fn same(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.as_bytes().first() == b.as_bytes().first() && a == b
}

/// The first bytes of a name as a number of the same order.
fn prefix(name: &str) -> u64 {
    let bytes = name.as_bytes();
    match bytes.first_chunk::<8>() {
        Some(head) => u64::from_be_bytes(*head),
        None => {
            let mut head = [0; 8];
            head[..bytes.len()].copy_from_slice(bytes);
            u64::from_be_bytes(head)
        }
    }
}

/// A name that a parser may set a label under.
#[derive(Debug, Clone, Copy)]
pub(super) struct Claim {
    pub(super) name: Text,
    hash: usize,
    /// Whether it is not the name of the parser's choice.
    suffixed: bool,
}

/// What is reused from entry to entry.
#[derive(Debug, Default)]
pub(super) struct State {
    text: String,
    parsed: Vec<Parsed>,
    /// Hashes of the names in `parsed`.
    hashes: Hashes,
    /// Hashes of the names of stream labels and metadata, once somebody asked.
    taken: Option<Hashes>,
    /// How many of the needed names were extracted.
    found: usize,
    stream_gone: Bits,
    metadata_gone: Bits,
    /// Names that were deleted, kept only if a grouping by names has to know.
    deleted: Vec<Text>,
    error: Message,
    details: Message,
    /// Length of `text` that parsers may not exceed.
    limit: usize,
    /// Output labels while they are sorted.
    order: Vec<(u64, Slot)>,
}

impl State {
    /// Forgets the entry before.
    pub(super) fn reset(&mut self, line: usize) {
        self.text.clear();
        self.parsed.clear();
        self.hashes = Hashes::default();
        self.taken = None;
        self.found = 0;
        self.stream_gone.words.clear();
        self.metadata_gone.words.clear();
        self.deleted.clear();
        self.error = Message::None;
        self.details = Message::None;
        self.limit = TEXT_BASE.saturating_add(line.saturating_mul(TEXT_PER_LINE));
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl Text {
    pub(super) fn of(self, text: &str) -> &str {
        &text[self.from as usize..self.to as usize]
    }
}

/// Where an output label is to be found.
#[derive(Debug, Clone, Copy)]
pub(super) enum Slot {
    /// A stream label.
    Stream(u32),
    /// A metadata pair.
    Metadata(u32),
    /// A metadata pair under another name.
    Renamed(u32, Text),
    Parsed(Text, Text),
    Error(Message),
    Details(Message),
}

/// The labels of the entry at hand.
#[derive(Debug)]
pub(super) struct Labels<'r, 'a, 'p> {
    state: &'r mut State,
    stream: Pairs<'a>,
    metadata: Pairs<'a>,
    pub(super) hints: &'p Hints,
}

impl<'r, 'a, 'p> Labels<'r, 'a, 'p> {
    /// The labels before any stage. Metadata named as the error slot fills it.
    pub(super) fn new(
        state: &'r mut State,
        stream: Pairs<'a>,
        metadata: Pairs<'a>,
        hints: &'p Hints,
    ) -> Self {
        let labels = Labels {
            state,
            stream,
            metadata,
            hints,
        };
        for (i, (name, _)) in metadata.iter().enumerate() {
            if (*name == ERROR || *name == DETAILS) && !labels.in_stream(name) {
                labels.state.metadata_gone.set(i);
                let message = Message::Metadata(i as u32);
                match *name {
                    ERROR => labels.state.error = message,
                    _ => labels.state.details = message,
                }
            }
        }
        labels
    }

    fn stream_index(&self, name: &str) -> Option<usize> {
        self.stream.iter().position(|(n, _)| same(n, name))
    }

    /// Whether the stream has a label of this name, deleted or not.
    pub(super) fn in_stream(&self, name: &str) -> bool {
        self.stream_index(name).is_some()
    }

    /// The metadata pair that shows under a name, which is not its own if a stream label has that.
    fn metadata_index(&self, name: &str) -> Option<usize> {
        // Of two pairs with one name the later counts.
        let mut pairs = self.metadata.iter().enumerate().rev();
        let found = pairs.find(|(i, (n, _))| {
            let is_name = if n.len() == name.len() {
                same(n, name) && !self.in_stream(n)
            } else {
                let stem = name.strip_suffix(EXTRACTED);
                stem.is_some_and(|stem| same(stem, n)) && self.in_stream(n)
            };
            is_name && !self.state.metadata_gone.has(*i)
        });
        found.map(|(i, _)| i)
    }

    /// Whether a parser has to set its label under another name.
    pub(super) fn collides(&self, name: &str) -> bool {
        self.in_stream(name) || self.metadata_index(name).is_some()
    }

    fn parsed_index(&self, name: &str) -> Option<usize> {
        if self.state.parsed.is_empty() {
            return None;
        }
        self.hashed_index(name, Hashes::of(name))
    }

    #[inline]
    fn hashed_index(&self, name: &str, hash: usize) -> Option<usize> {
        if !self.state.hashes.has(hash) {
            return None;
        }
        let text = self.state.text.as_str();
        let mut parsed = self.state.parsed.iter();
        parsed.position(|p| same(p.name.of(text), name))
    }

    /// Whether a parsed label of this name was ever set on this line.
    pub(super) fn is_extracted(&self, name: &str) -> bool {
        self.parsed_index(name).is_some()
    }

    /// The value of a label, wherever it is from.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        if let Some(i) = self.parsed_index(name) {
            let parsed = &self.state.parsed[i];
            if parsed.live {
                return Some(parsed.value.of(&self.state.text));
            }
        }
        if let Some(i) = self.metadata_index(name) {
            return Some(self.metadata[i].1);
        }
        let i = self.stream_index(name)?;
        (!self.state.stream_gone.has(i)).then(|| self.stream[i].1)
    }

    /// The value of a label as a copied text.
    pub(super) fn copy_of(&mut self, name: &str) -> Option<Text> {
        if let Some(i) = self.parsed_index(name)
            && self.state.parsed[i].live
        {
            return Some(self.state.parsed[i].value);
        }
        let value = match self.metadata_index(name) {
            Some(i) => self.metadata[i].1,
            None => {
                let i = self.stream_index(name)?;
                Some(self.stream[i].1).filter(|_| !self.state.stream_gone.has(i))?
            }
        };
        Some(self.push(value))
    }

    /// Sets a parsed label; it hides metadata and stream labels of its name.
    pub(super) fn set(&mut self, name: Text, value: Text) {
        while let Some(i) = self.metadata_index(name.of(&self.state.text)) {
            self.state.metadata_gone.set(i);
        }
        if let Some(i) = self.parsed_index(name.of(&self.state.text)) {
            let parsed = &mut self.state.parsed[i];
            parsed.value = value;
            parsed.live = true;
            return;
        }
        let hash = Hashes::of(name.of(&self.state.text));
        self.add(name, hash, value);
    }

    /// Adds a parsed label of a new name.
    fn add(&mut self, name: Text, hash: usize, value: Text) {
        let needed = self.hints.is_needed(name.of(&self.state.text));
        self.state.hashes.add(hash);
        self.state.found += usize::from(needed);
        self.state.parsed.push(Parsed {
            name,
            value,
            live: true,
        });
    }

    /// Sets a parsed label by name.
    pub(super) fn set_named(&mut self, name: &str, value: Text) {
        let name = self.push(name);
        self.set(name, value);
    }

    /// Removes a label of every category.
    pub(super) fn delete(&mut self, name: &str) {
        while let Some(i) = self.metadata_index(name) {
            self.state.metadata_gone.set(i);
        }
        if let Some(i) = self.parsed_index(name) {
            self.state.parsed[i].live = false;
        }
        if let Some(i) = self.stream_index(name) {
            self.state.stream_gone.set(i);
        }
        if self.hints.groups_by_names() {
            let name = self.push(name);
            self.state.deleted.push(name);
        }
    }

    /// Whether every needed name was extracted, so that parsers have nothing left to do.
    pub(super) fn all_found(&self) -> bool {
        self.hints.is_complete(self.state.found)
    }

    /// Whether a parser may set another label with a name and value of this length.
    pub(super) fn has_room(&self, len: usize) -> bool {
        self.state.parsed.len() < MAX_PARSED
            && self.state.text.len().saturating_add(len) <= self.state.limit
    }

    /// Copies a text for use as a name or value.
    pub(super) fn push(&mut self, text: &str) -> Text {
        self.push_with(|out| out.push_str(text))
    }

    /// Makes a text for use as a name or value.
    pub(super) fn push_with(&mut self, write: impl FnOnce(&mut String)) -> Text {
        let from = self.state.text.len() as u32;
        write(&mut self.state.text);
        let to = self.state.text.len() as u32;
        Text { from, to }
    }

    /// A copied text.
    pub(super) fn text(&self, text: Text) -> &str {
        text.of(&self.state.text)
    }

    /// Appends a suffix to a text that was copied last.
    pub(super) fn extend(&mut self, text: Text, suffix: &str) -> Text {
        assert_eq!(
            text.to as usize,
            self.state.text.len(),
            "only the last text can grow"
        );
        self.state.text.push_str(suffix);
        let to = self.state.text.len() as u32;
        Text { to, ..text }
    }

    /// Takes back a text that was copied last and is not in use.
    pub(super) fn take_back(&mut self, text: Text) {
        self.state.text.truncate(text.from as usize);
    }
}

/// What parsers set labels by: a name is claimed, then set with a value, then the filters that concern it are asked.
impl Labels<'_, '_, '_> {
    /// The name to set for one that was copied last, which is taken back if nothing may be set: the first value of a
    /// line stays.
    pub(super) fn claim(&mut self, name: Text) -> Option<Claim> {
        let text = self.text(name);
        let mut hash = Hashes::of(text);
        let suffixed = self.is_taken(hash) && self.collides(self.text(name));
        let name = if suffixed {
            let name = self.extend(name, EXTRACTED);
            hash = Hashes::of(self.text(name));
            name
        } else {
            name
        };
        let text = self.text(name);
        if text.is_empty() || self.hashed_index(text, hash).is_some() {
            self.take_back(name);
            return None;
        }
        Some(Claim {
            name,
            hash,
            suffixed,
        })
    }

    /// Whether a stream label or metadata may have a name of this hash.
    fn is_taken(&mut self, hash: usize) -> bool {
        let taken = self.state.taken.get_or_insert_with(|| {
            let mut taken = Hashes::default();
            for (name, _) in self.stream.iter().chain(self.metadata) {
                taken.add(Hashes::of(name));
            }
            // Metadata that gave way to a stream label shows under another name.
            for (name, _) in self.metadata {
                if self.stream.iter().any(|(n, _)| same(n, name)) {
                    taken = Hashes([u64::MAX; 4]);
                }
            }
            taken
        });
        taken.has(hash)
    }

    /// As [`Labels::claim`], for the name at a place of a list.
    pub(super) fn claim_wanted(&mut self, wanted: &Wanted, at: usize) -> Option<Claim> {
        let (name, suffixed) = wanted.target(at, self)?;
        Some(Claim {
            name: self.push(name),
            hash: Hashes::of(name),
            suffixed,
        })
    }

    /// Sets a label whose name was claimed.
    pub(super) fn set_claimed(&mut self, claim: Claim, value: Text) {
        let Claim {
            name,
            hash,
            suffixed,
        } = claim;
        // Only metadata that gave way too can show under such a name.
        while suffixed && let Some(i) = self.metadata_index(name.of(&self.state.text)) {
            self.state.metadata_gone.set(i);
        }
        self.add(name, hash, value);
    }

    /// Sets a label for a parser that has all names from the query. False: the line is dropped.
    pub(super) fn set_parsed(&mut self, name: &str, value: &[u8]) -> bool {
        if !self.has_room(name.len() + value.len()) {
            return true;
        }
        let claim = match self.hints.only() {
            Some(wanted) => {
                let at = wanted.of_name(name);
                at.and_then(|at| self.claim_wanted(wanted, at))
            }
            None => {
                let name = self.push(name);
                self.claim(name)
            }
        };
        let Some(claim) = claim else {
            return true;
        };
        let value = self.push_bytes(value);
        self.set_claimed(claim, value);
        self.passes_early(claim.name)
    }

    /// Copies a value that must hold neither invalid bytes nor U+FFFD: blanks stand for both.
    pub(super) fn push_spaced(&mut self, value: &[u8]) -> Text {
        match str::from_utf8(value) {
            Ok(text) if value.is_ascii() || !text.contains('\u{fffd}') => self.push(text),
            _ => self.push_with(|out| {
                for chunk in value.utf8_chunks() {
                    out.extend(chunk.valid().chars().map(|c| match c {
                        '\u{fffd}' => ' ',
                        c => c,
                    }));
                    out.extend(chunk.invalid().iter().map(|_| ' '));
                }
            }),
        }
    }

    /// Copies a value. Invalid bytes become U+FFFD, which is what every answer shows in their place.
    pub(super) fn push_bytes(&mut self, value: &[u8]) -> Text {
        match str::from_utf8(value) {
            Ok(text) => self.push(text),
            Err(_) => self.push_with(|out| {
                for chunk in value.utf8_chunks() {
                    out.push_str(chunk.valid());
                    out.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
                }
            }),
        }
    }

    /// Whether the line may stay after this label was set.
    pub(super) fn passes_early(&mut self, name: Text) -> bool {
        let hints = self.hints;
        if !hints.has_early_filters() {
            return true;
        }
        match hints.early_filter(self.text(name)) {
            Some(filter) => filter.passes(self),
            None => true,
        }
    }

    /// Whether the line may stay after the error slot was filled.
    pub(super) fn passes_early_error(&mut self) -> bool {
        let hints = self.hints;
        hints.early_filter(ERROR).is_none_or(|f| f.passes(self))
    }
}

/// The error slot.
impl Labels<'_, '_, '_> {
    fn message(&self, message: Message) -> &str {
        match message {
            Message::None => "",
            Message::Static(text) => text,
            Message::Text(text) => text.of(&self.state.text),
            Message::Metadata(i) => self.metadata[i as usize].1,
        }
    }

    /// What failed; empty if nothing did.
    pub(super) fn error(&self) -> &str {
        self.message(self.state.error)
    }

    pub(super) fn has_error(&self) -> bool {
        !self.error().is_empty()
    }

    pub(super) fn details(&self) -> &str {
        self.message(self.state.details)
    }

    /// Fills the slot. Details stay as they are without new ones.
    pub(super) fn fail(&mut self, error: &'static str, details: Option<&str>) {
        self.state.error = Message::Static(error);
        if let Some(details) = details {
            self.state.details = Message::Text(self.push(details));
        }
    }

    /// Fills the slot for a parser. A metric query that asks for errors does not fail with these.
    pub(super) fn fail_parser(&mut self, error: &'static str, details: Option<&str>) {
        self.fail(error, details);
        if self.hints.preserves_errors() {
            let value = self.push("true");
            self.set_named(PRESERVE, value);
        }
    }

    pub(super) fn clear_error(&mut self) {
        self.state.error = Message::None;
    }

    pub(super) fn clear_details(&mut self) {
        self.state.details = Message::None;
    }
}

/// What comes out.
impl Labels<'_, '_, '_> {
    fn name_of(&self, slot: Slot) -> &str {
        match slot {
            Slot::Stream(i) => self.stream[i as usize].0,
            Slot::Metadata(i) => self.metadata[i as usize].0,
            Slot::Renamed(_, name) | Slot::Parsed(name, _) => name.of(&self.state.text),
            Slot::Error(_) => ERROR,
            Slot::Details(_) => DETAILS,
        }
    }

    /// The value of a slot.
    pub(super) fn value_of(&self, slot: Slot) -> &str {
        match slot {
            Slot::Stream(i) => self.stream[i as usize].1,
            Slot::Metadata(i) | Slot::Renamed(i, _) => self.metadata[i as usize].1,
            Slot::Parsed(_, value) => value.of(&self.state.text),
            Slot::Error(message) | Slot::Details(message) => self.message(message),
        }
    }

    /// Name and value of a slot.
    pub(super) fn pair_of(&self, slot: Slot) -> (&str, &str) {
        (self.name_of(slot), self.value_of(slot))
    }

    fn metadata_slot(&mut self, i: usize) -> Slot {
        let name = self.metadata[i].0;
        if self.in_stream(name) {
            let name = self.push(name);
            Slot::Renamed(i as u32, self.extend(name, EXTRACTED))
        } else {
            Slot::Metadata(i as u32)
        }
    }

    /// All labels in name order, the error slot included.
    pub(super) fn collect(&mut self, slots: &mut Vec<Slot>) {
        slots.clear();
        for i in 0..self.metadata.len() {
            if self.state.metadata_gone.has(i) {
                continue;
            }
            let slot = self.metadata_slot(i);
            // A pair that another one hides is left out.
            if self.metadata_index(self.name_of(slot)) == Some(i) {
                slots.push(slot);
            }
        }
        let hidden = |name: &str| {
            let parsed = self.parsed_index(name);
            parsed.is_some_and(|i| self.state.parsed[i].live) || self.metadata_index(name).is_some()
        };
        for (i, (name, _)) in self.stream.iter().enumerate() {
            if !self.state.stream_gone.has(i) && !hidden(name) {
                slots.push(Slot::Stream(i as u32));
            }
        }
        let failed = self.has_error();
        for parsed in self.state.parsed.iter().filter(|p| p.live) {
            // The slot goes before a label that was parsed under its name.
            let name = parsed.name.of(&self.state.text);
            if !(failed && name == ERROR || name == DETAILS && !self.details().is_empty()) {
                slots.push(Slot::Parsed(parsed.name, parsed.value));
            }
        }
        if failed {
            slots.push(Slot::Error(self.state.error));
        }
        if !self.details().is_empty() {
            slots.push(Slot::Details(self.state.details));
        }
        let mut order = std::mem::take(&mut self.state.order);
        order.clear();
        order.extend(
            slots
                .iter()
                .map(|slot| (prefix(self.name_of(*slot)), *slot)),
        );
        order.sort_unstable_by(|(a, left), (b, right)| {
            let names = || self.name_of(*left).cmp(self.name_of(*right));
            a.cmp(b).then_with(names)
        });
        slots.clear();
        slots.extend(order.iter().map(|(_, slot)| *slot));
        self.state.order = order;
    }

    /// The labels of these names, which are in order. A name that was deleted once is left out even if it was set
    /// again: so does Loki where it groups by names.
    pub(super) fn collect_named(&mut self, names: &[String], slots: &mut Vec<Slot>) {
        slots.clear();
        for name in names {
            let text = self.state.text.as_str();
            if self.state.deleted.iter().any(|d| d.of(text) == name) {
                continue;
            }
            let parsed = self.parsed_index(name).map(|i| &self.state.parsed[i]);
            if let Some(parsed) = parsed.filter(|p| p.live) {
                slots.push(Slot::Parsed(parsed.name, parsed.value));
            } else if let Some(i) = self.metadata_index(name) {
                let slot = self.metadata_slot(i);
                slots.push(slot);
            } else if let Some(i) = self.stream_index(name) {
                slots.push(Slot::Stream(i as u32));
            }
        }
    }
}
