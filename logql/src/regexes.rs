//! Go's regular expressions on Rust's engine: a translation pass that accepts what Go accepts, means what Go means,
//! and fails with Go's words (logql.md section 3.1). Groups become non-capturing, but for named ones where their text is
//! asked for.
//!
//! Bounds: patterns nest at most 250 deep, counted repetition multiplies to at most 1000 (both Go's), and the
//! programs of one query share a [`Budget`].

use std::fmt::Write as _;

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::hir::{Class, HirKind};

/// Deepest nesting of groups in a pattern; Rust's own parser allows no more.
const MAX_GROUPS: usize = 200;
/// Unicode classes (`\\p{..}`) in a pattern: each takes some kilobytes while it is compiled.
const MAX_UNICODE_CLASSES: usize = 64;
/// Go's bound on counted repetition, and on the product of nested counts.
const MAX_REPEAT: u32 = 1_000;
/// Bytes of compiled programs that all regexes of a query may take together.
const MAX_PROGRAMS: usize = 8 << 20;
/// Sizes tried for one program: the smallest that suffices is charged to the budget.
const PROGRAM_SIZES: [usize; 4] = [16 << 10, 128 << 10, 512 << 10, 2 << 20];
/// Bytes that one engine's lazy automaton may cache, per thread.
const AUTOMATON_BYTES: usize = 1 << 20;

/// What the regexes of a query may still take.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { left: MAX_PROGRAMS }
    }
}

impl Budget {
    /// A budget of its own for what is compiled while a query runs.
    pub(crate) fn limited(bytes: usize) -> Self {
        Budget { left: bytes }
    }

    /// Compiles a translated pattern.
    pub(crate) fn compile(&mut self, pattern: &str) -> Result<Regex, String> {
        for size in PROGRAM_SIZES {
            if size > self.left {
                break;
            }
            let built = RegexBuilder::new(pattern)
                .size_limit(size)
                .dfa_size_limit(AUTOMATON_BYTES)
                .build();
            match built {
                Ok(regex) => {
                    self.left -= size;
                    return Ok(regex);
                }
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => return Err(format!("error parsing regexp: {error}")),
            }
        }
        Err(format!(
            "error parsing regexp: expression too large: `{pattern}` (limit {} bytes for one, {MAX_PROGRAMS} for a query)",
            PROGRAM_SIZES[PROGRAM_SIZES.len() - 1]
        ))
    }
}

/// How anchors are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchors {
    /// `^` is the beginning of the text, as in Go.
    Text,
    /// Any anchor of the text is one of a line: for searching many lines as one buffer.
    Lines,
}

/// A Go pattern in Rust's syntax, for use with `regex::bytes`.
pub(crate) fn translate(pattern: &str, anchors: Anchors) -> Result<String, String> {
    Ok(run(pattern, anchors)?.out)
}

/// Whether a pattern is one at all.
pub(crate) fn validate(pattern: &str) -> Result<(), String> {
    run(pattern, Anchors::Text).map(drop)
}

/// The check of the `regexp` stage: named captures, at least one, no name twice.
pub(crate) fn check_captures(pattern: &[u8]) -> Result<(), String> {
    let names = run(&String::from_utf8_lossy(pattern), Anchors::Text)?.names;
    if names.is_empty() {
        return Err(
            "invalid regexp parser: at least one named capture must be supplied".to_owned(),
        );
    }
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            return Err(format!(
                "invalid regexp parser: duplicate extracted label name '{name}'"
            ));
        }
    }
    Ok(())
}

/// A Go pattern in Rust's syntax whose named groups are its only groups, and their names in order.
pub(crate) fn translate_captures(pattern: &str) -> Result<(String, Vec<String>), String> {
    let mut translator = Translator::new(pattern, 0, Anchors::Text);
    translator.kept = Kept::Named;
    translator.finish()?;
    Ok((translator.out, translator.names))
}

/// The class (`[..]`, `\\d`, `\\pL`) that begins at an offset of a valid pattern, as ranges in order, and where it
/// ends. `None`: no class begins there.
pub(crate) fn class_at(pattern: &str, at: usize, fold: bool) -> Option<(Vec<CharRange>, usize)> {
    let mut translator = Translator::new(pattern, at, Anchors::Text);
    if pattern[at..].starts_with('[') {
        translator.class().ok()?;
    } else {
        let (class, len) = translator.class_escape().ok()??;
        translator.push(format_args!("[{class}]"));
        translator.at += len;
    }
    Some((char_ranges(&translator.out, fold)?, translator.at))
}

/// First and last character.
pub(crate) type CharRange = (char, char);

/// The characters that a translated class or a single character matches.
pub(crate) fn char_ranges(class: &str, fold: bool) -> Option<Vec<CharRange>> {
    let mut parser = regex_syntax::ParserBuilder::new();
    let hir = parser.case_insensitive(fold).build().parse(class).ok()?;
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => Some(
            class
                .ranges()
                .iter()
                .map(|r| (r.start(), r.end()))
                .collect(),
        ),
        HirKind::Literal(literal) => {
            let c = str::from_utf8(&literal.0).ok()?.chars().next()?;
            Some(vec![(c, c)])
        }
        _ => None,
    }
}

/// A Go pattern in Rust's syntax whose groups can be asked for by number, and their names; the first is the whole match.
pub(crate) fn translate_groups(pattern: &str) -> Result<(String, Vec<Option<String>>), String> {
    let mut translator = Translator::new(pattern, 0, Anchors::Text);
    translator.kept = Kept::All;
    translator.captures.push(None);
    translator.finish()?;
    Ok((translator.out, translator.captures))
}

fn run(pattern: &str, anchors: Anchors) -> Result<Translator<'_>, String> {
    let mut translator = Translator::new(pattern, 0, anchors);
    translator.finish()?;
    Ok(translator)
}

/// `{n}`, `{n,}`, `{n,m}` at the head of a text: its length, and the counts (`u32::MAX` for too many).
pub(crate) fn counts(text: &str) -> Option<(usize, u32, Option<u32>)> {
    let end = text.find('}')?;
    let body = &text[1..end];
    let count = |text: &str| {
        let plain = !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
            && (text == "0" || !text.starts_with('0'));
        plain.then(|| text.parse::<u32>().unwrap_or(u32::MAX))
    };
    let (min, max) = match body.split_once(',') {
        None => {
            let n = count(body)?;
            (n, Some(n))
        }
        Some((min, "")) => (count(min)?, None),
        Some((min, max)) => (count(min)?, Some(count(max)?)),
    };
    Some((end + 1, min, max))
}

fn fault(what: &str, text: &str) -> String {
    format!("error parsing regexp: {what}: `{text}`")
}

/// Which groups can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    None,
    Named,
    All,
}

#[derive(Debug)]
struct Translator<'p> {
    pattern: &'p str,
    at: usize,
    out: String,
    anchors: Anchors,
    /// For each open group: the largest repetition seen in the part around it.
    groups: Vec<u32>,
    /// What a repetition operator would apply to: the product of counts inside it.
    atom: Option<u32>,
    /// The largest product in the current group.
    widest: u32,
    /// Where the repetition operator began that ended just here.
    repeat: Option<(usize, usize)>,
    names: Vec<String>,
    kept: Kept,
    /// Names of the groups that stay groups.
    captures: Vec<Option<String>>,
    unicode_classes: usize,
}

impl<'p> Translator<'p> {
    fn new(pattern: &'p str, at: usize, anchors: Anchors) -> Self {
        Translator {
            pattern,
            at,
            out: String::with_capacity(pattern.len() - at + 16),
            anchors,
            groups: Vec::new(),
            atom: None,
            widest: 1,
            repeat: None,
            names: Vec::new(),
            kept: Kept::None,
            captures: Vec::new(),
            unicode_classes: 0,
        }
    }

    /// Translates to the end.
    fn finish(&mut self) -> Result<(), String> {
        while self.at < self.pattern.len() {
            self.step()?;
        }
        if !self.groups.is_empty() {
            return Err(fault("missing closing )", self.pattern));
        }
        Ok(())
    }
}

impl Translator<'_> {
    fn rest(&self) -> &str {
        &self.pattern[self.at..]
    }

    fn char_at(&self, at: usize) -> Option<char> {
        self.pattern.get(at..).and_then(|rest| rest.chars().next())
    }

    fn step(&mut self) -> Result<(), String> {
        let Some(c) = self.char_at(self.at) else {
            return Ok(());
        };
        match c {
            '(' => self.open(),
            ')' => self.close(),
            '|' => {
                self.at += 1;
                self.out.push('|');
                self.atom = None;
                Ok(())
            }
            '*' | '+' | '?' => self.repetition(1, None),
            '{' => match counts(self.rest()) {
                Some((len, min, max)) => self.repetition(len, Some((min, max))),
                None => {
                    self.literal('{');
                    self.at += 1;
                    Ok(())
                }
            },
            '[' => self.class(),
            '\\' => self.escape(),
            '^' | '$' => {
                match self.anchors {
                    Anchors::Text => self.out.push(c),
                    Anchors::Lines => self.push(format_args!("(?m:{c})")),
                }
                self.at += 1;
                self.set_atom(1);
                Ok(())
            }
            '.' => {
                self.at += 1;
                self.out.push('.');
                self.set_atom(1);
                Ok(())
            }
            _ => {
                self.at += c.len_utf8();
                self.literal(c);
                Ok(())
            }
        }
    }

    fn push(&mut self, args: std::fmt::Arguments<'_>) {
        self.out
            .write_fmt(args)
            .expect("writing to a String cannot fail");
    }

    fn set_atom(&mut self, product: u32) {
        self.atom = Some(product);
        self.widest = self.widest.max(product);
    }

    fn literal(&mut self, c: char) {
        push_literal(&mut self.out, c);
        self.set_atom(1);
    }

    fn repetition(&mut self, len: usize, counts: Option<(u32, Option<u32>)>) -> Result<(), String> {
        let start = self.at;
        let mut end = start + len;
        if let Some((min, max)) = counts
            && (min > MAX_REPEAT || max.is_some_and(|max| max > MAX_REPEAT || max < min))
        {
            return Err(fault("invalid repeat count", &self.pattern[start..end]));
        }
        if self.pattern[end..].starts_with('?') {
            end += 1;
        }
        let text = &self.pattern[start..end];
        if let Some((first, last)) = self.repeat
            && last == start
        {
            return Err(fault(
                "invalid nested repetition operator",
                &self.pattern[first..end],
            ));
        }
        let Some(inner) = self.atom else {
            return Err(fault("missing argument to repetition operator", text));
        };
        let times = counts.map_or(1, |(min, max)| max.unwrap_or(min)).max(1);
        let product = inner.saturating_mul(times);
        if product > MAX_REPEAT {
            return Err(fault("invalid repeat count", text));
        }
        self.out.push_str(text);
        self.at = end;
        self.repeat = Some((start, end));
        self.set_atom(product);
        Ok(())
    }

    fn open(&mut self) -> Result<(), String> {
        if self.groups.len() >= MAX_GROUPS {
            return Err(fault("expression nests too deeply", self.pattern));
        }
        let rest = self.rest();
        let mut name = None;
        if rest.starts_with("(?P<") || rest.starts_with("(?<") {
            self.named()?;
            name = self.names.last().cloned();
        } else if rest.starts_with("(?") {
            return self.flags();
        } else {
            self.at += 1;
        }
        let stays = match self.kept {
            Kept::None => false,
            Kept::Named => name.is_some(),
            Kept::All => true,
        };
        if stays {
            self.captures.push(name);
            self.out.push('(');
        } else {
            self.out.push_str("(?:");
        }
        self.enter();
        Ok(())
    }

    fn enter(&mut self) {
        self.groups.push(self.widest);
        self.widest = 1;
        self.atom = None;
    }

    fn named(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let start = rest.find('<').unwrap_or(0) + 1;
        let Some(end) = rest.find('>') else {
            return Err(fault("invalid named capture", rest));
        };
        let name = &rest[start..end];
        let valid =
            !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !valid {
            return Err(fault("invalid named capture", &rest[..=end]));
        }
        let name = name.to_owned();
        self.at += end + 1;
        self.names.push(name);
        Ok(())
    }

    /// `(?i)`, `(?i-s:`.
    fn flags(&mut self) -> Result<(), String> {
        let rest = self.rest();
        let (mut negative, mut seen) = (false, false);
        for (i, c) in rest.char_indices().skip(2) {
            match c {
                'i' | 'm' | 's' | 'U' => seen = true,
                '-' if !negative => {
                    negative = true;
                    seen = false;
                }
                ':' | ')' if !negative || seen => {
                    let text = &self.pattern[self.at..=self.at + i];
                    // Rust knows no empty flag list.
                    self.out.push_str(if text == "(?)" { "(?:)" } else { text });
                    self.at += i + 1;
                    if c == ':' {
                        self.enter();
                    } else {
                        self.atom = None;
                    }
                    return Ok(());
                }
                _ => {
                    let text = &rest[..i + c.len_utf8()];
                    return Err(fault("invalid or unsupported Perl syntax", text));
                }
            }
        }
        Err(fault("missing closing )", self.pattern))
    }

    fn close(&mut self) -> Result<(), String> {
        let Some(outside) = self.groups.pop() else {
            return Err(fault("unexpected )", self.pattern));
        };
        self.at += 1;
        self.out.push(')');
        let inside = self.widest;
        self.widest = outside;
        self.set_atom(inside);
        Ok(())
    }

    fn escape(&mut self) -> Result<(), String> {
        let rest = self.rest();
        if let Some(quoted) = rest.strip_prefix("\\Q") {
            let len = quoted.find("\\E").unwrap_or(quoted.len());
            let text = quoted[..len].to_owned();
            let end = self.at + 2 + len;
            self.at = if quoted.len() > len { end + 2 } else { end };
            for c in text.chars() {
                self.literal(c);
            }
            return Ok(());
        }
        let anchor = match rest.as_bytes().get(1) {
            Some(b'A') if self.anchors == Anchors::Lines => Some("(?m:^)"),
            Some(b'z') if self.anchors == Anchors::Lines => Some("(?m:$)"),
            Some(b'A') => Some("\\A"),
            Some(b'z') => Some("\\z"),
            Some(b'b') => Some("(?-u:\\b)"),
            Some(b'B') => Some("(?-u:\\B)"),
            _ => None,
        };
        if let Some(anchor) = anchor {
            self.out.push_str(anchor);
            self.at += 2;
            self.set_atom(1);
            return Ok(());
        }
        if let Some((class, len)) = self.class_escape()? {
            self.push(format_args!("[{class}]"));
            self.at += len;
            self.set_atom(1);
            return Ok(());
        }
        let (c, len) = escaped_char(self.rest())?;
        self.at += len;
        self.literal(c);
        Ok(())
    }

    /// `\d`, `\pL` and the like at the head: as the inside of a Rust class, and the length.
    fn class_escape(&mut self) -> Result<Option<(String, usize)>, String> {
        let rest = self.rest();
        let class = match rest.as_bytes().get(1) {
            Some(b'd') => "0-9",
            Some(b'D') => "[^0-9]",
            Some(b's') => "\\t\\n\\x0c\\r\\x20",
            Some(b'S') => "[^\\t\\n\\x0c\\r\\x20]",
            Some(b'w') => "0-9A-Za-z_",
            Some(b'W') => "[^0-9A-Za-z_]",
            Some(b'p' | b'P') => {
                let class = unicode_class(rest)?;
                self.unicode_classes += 1;
                if self.unicode_classes > MAX_UNICODE_CLASSES {
                    return Err(format!(
                        "error parsing regexp: expression too large: more than {MAX_UNICODE_CLASSES} Unicode classes"
                    ));
                }
                return Ok(Some(class));
            }
            _ => return Ok(None),
        };
        Ok(Some((class.to_owned(), 2)))
    }

    fn class(&mut self) -> Result<(), String> {
        let start = self.at;
        let mut out = String::from("[");
        self.at += 1;
        if self.rest().starts_with('^') {
            out.push('^');
            self.at += 1;
        }
        let mut first = true;
        while first || !self.rest().starts_with(']') {
            if self.rest().is_empty() {
                return Err(fault("missing closing ]", &self.pattern[start..]));
            }
            first = false;
            self.class_item(start, &mut out)?;
        }
        self.at += 1;
        out.push(']');
        self.out.push_str(&out);
        self.set_atom(1);
        Ok(())
    }

    fn class_item(&mut self, start: usize, out: &mut String) -> Result<(), String> {
        let rest = self.rest();
        if rest.starts_with("[:")
            && let Some(end) = rest.find(":]")
        {
            let name = &rest[..end + 2];
            if !POSIX.contains(
                &name
                    .trim_start_matches("[:")
                    .trim_start_matches('^')
                    .trim_end_matches(":]"),
            ) {
                return Err(fault("invalid character class range", name));
            }
            out.push_str(name);
            self.at += end + 2;
            return Ok(());
        }
        if rest.starts_with('\\')
            && let Some((class, len)) = self.class_escape()?
        {
            out.push_str(&class);
            self.at += len;
            return Ok(());
        }
        let item = self.at;
        let low = self.class_char(start)?;
        let mut high = low;
        let rest = self.rest();
        if rest.len() >= 2 && rest.starts_with('-') && !rest[1..].starts_with(']') {
            self.at += 1;
            high = self.class_char(start)?;
            if high < low {
                return Err(fault(
                    "invalid character class range",
                    &self.pattern[item..self.at],
                ));
            }
        }
        push_literal(out, low);
        if high != low {
            out.push('-');
            push_literal(out, high);
        }
        Ok(())
    }

    fn class_char(&mut self, start: usize) -> Result<char, String> {
        let Some(c) = self.char_at(self.at) else {
            return Err(fault("missing closing ]", &self.pattern[start..]));
        };
        if c == '\\' {
            let (c, len) = escaped_char(self.rest())?;
            self.at += len;
            return Ok(c);
        }
        self.at += c.len_utf8();
        Ok(c)
    }
}

const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

fn push_literal(out: &mut String, c: char) {
    if c.is_ascii_alphanumeric()
        || matches!(c, '_' | ' ' | '/' | ':' | '"' | '=' | ',')
        || c as u32 > 0x7f
    {
        out.push(c);
    } else {
        write!(out, "\\x{{{:x}}}", c as u32).expect("writing to a String cannot fail");
    }
}

/// The character that an escape at the head stands for, and the escape's length.
pub(crate) fn escaped_char(text: &str) -> Result<(char, usize), String> {
    let Some(c) = text[1..].chars().next() else {
        return Err(fault("trailing backslash at end of expression", ""));
    };
    let bad = |len: usize| {
        let end = (0..=len.min(text.len()))
            .rev()
            .find(|i| text.is_char_boundary(*i));
        fault("invalid escape sequence", &text[..end.unwrap_or(0)])
    };
    let octal = |len: usize| {
        let value = text[1..=len]
            .chars()
            .fold(0, |v, c| v * 8 + c.to_digit(8).unwrap_or(0));
        (char::from_u32(value).unwrap_or('\u{fffd}'), len + 1)
    };
    let octals = text[1..]
        .bytes()
        .take(3)
        .take_while(|b| (b'0'..=b'7').contains(b))
        .count();
    match c {
        '1'..='7' if octals < 2 => Err(bad(2)),
        '0'..='7' => Ok(octal(octals)),
        'x' => hex_char(text).ok_or_else(|| bad(hex_fault_len(text))),
        'a' => Ok(('\u{7}', 2)),
        'f' => Ok(('\u{c}', 2)),
        'n' => Ok(('\n', 2)),
        'r' => Ok(('\r', 2)),
        't' => Ok(('\t', 2)),
        'v' => Ok(('\u{b}', 2)),
        _ if c.is_ascii_punctuation() => Ok((c, 2)),
        _ => Err(bad(1 + c.len_utf8())),
    }
}

fn hex_char(text: &str) -> Option<(char, usize)> {
    let (digits, len) = match text[2..].strip_prefix('{') {
        Some(body) => {
            let end = body.find('}')?;
            (&body[..end], end + 4)
        }
        None => (text.get(2..4)?, 4),
    };
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let value = u32::from_str_radix(digits, 16).ok()?;
    Some((char::from_u32(value)?, len))
}

fn hex_fault_len(text: &str) -> usize {
    let digits = text[2..].bytes().take_while(u8::is_ascii_hexdigit).count();
    (3 + digits).min(4)
}

fn unicode_class(text: &str) -> Result<(String, usize), String> {
    let (name, len) = match text[2..].strip_prefix('{') {
        Some(body) => match body.find('}') {
            Some(end) => (&body[..end], end + 4),
            None => return Err(fault("invalid character class range", text)),
        },
        None => match text[2..].chars().next() {
            Some(c) => (&text[2..2 + c.len_utf8()], 2 + c.len_utf8()),
            None => return Err(fault("invalid character class range", text)),
        },
    };
    let (caret, name) = match name.strip_prefix('^') {
        Some(name) => (true, name),
        None => (false, name),
    };
    let negative = caret != text.starts_with("\\P");
    let well_cased = name.split('_').all(|part| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_ascii_uppercase())
            && chars.all(|c| c.is_ascii_lowercase() || c == '_')
    });
    let class = if name == "Any" {
        "\\p{Any}".to_owned()
    } else if name.len() <= 2 {
        format!("\\p{{gc={name}}}")
    } else {
        format!("\\p{{sc={name}}}")
    };
    if !well_cased || regex_syntax::parse(&class).is_err() {
        return Err(fault("invalid character class range", &text[..len]));
    }
    Ok((
        if negative {
            format!("[^{class}]")
        } else {
            class
        },
        len,
    ))
}

#[cfg(test)]
#[path = "regexes_tests.rs"]
mod tests;
