//! A Go pattern rewritten in Rust's syntax, in one pass.

use std::fmt::Write as _;

use regex_syntax::hir::{Class, HirKind};

/// Deepest nesting of groups in a pattern. Go allows 1000; Rust's parser 250, of which the callers need some.
const MAX_GROUPS: usize = 200;
/// Go's bound on counted repetition, and on the product of nested counts.
const MAX_REPEAT: u32 = 1_000;

/// What patterns cost to read and to compile, in units of about a microsecond. Measured on regex 1.13: a group takes 20
/// (its compiler copies), Unicode tables some hundred, a range of characters compared without case 1/32 for each
/// character, and repetitions the square of their number (a compiler follows all of them from each).
mod cost {
    pub(super) const GROUP: u64 = 20;
    pub(super) const CLASS: u64 = 10;
    pub(super) const TABLE: u64 = 1_000;
    pub(super) const FOLDED_CHARS: u64 = 32;
    pub(super) const REPETITION_PAIRS: u64 = 50;
    pub(super) const BYTES: u64 = 4;
}

/// How anchors are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchors {
    /// `^` is the beginning of the text, as in Go.
    Text,
    /// Any anchor of the text is one of a line: for searching many lines as one buffer.
    Lines,
}

/// A pattern in Rust's syntax.
#[derive(Debug)]
pub(super) struct Translation {
    pub(super) out: String,
    /// Names of the named groups.
    pub(super) names: Vec<String>,
    /// Names of the groups that stay groups; of all groups the first is the whole match.
    pub(super) captures: Vec<Option<String>>,
    /// What it costs, in units of about a microsecond.
    pub(super) work: u64,
}

pub(super) fn run(pattern: &str, anchors: Anchors, kept: Kept) -> Result<Translation, String> {
    let mut translator = Translator::new(pattern, 0, anchors);
    translator.kept = kept;
    if kept == Kept::All {
        translator.captures.push(None);
    }
    while translator.at < pattern.len() {
        translator.step()?;
    }
    if !translator.groups.is_empty() {
        return Err(fault("missing closing )", pattern));
    }
    Ok(Translation {
        work: translator.work(),
        out: translator.out,
        names: translator.names,
        captures: translator.captures,
    })
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

pub(super) fn fault(what: &str, text: &str) -> String {
    format!("error parsing regexp: {what}: `{text}`")
}

/// Which groups can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
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
    /// Costs so far.
    steps: u64,
    /// Repetition operators.
    repeats: u64,
    /// Characters of ranges in classes.
    ranged: u64,
    /// Whether case does not matter somewhere.
    folds: bool,
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
            steps: 0,
            repeats: 0,
            ranged: 0,
            folds: false,
        }
    }

    /// What the pattern costs.
    fn work(&self) -> u64 {
        let folded = if self.folds { self.ranged } else { 0 };
        self.pattern.len() as u64 / cost::BYTES
            + self.steps
            + self.repeats * self.repeats / cost::REPETITION_PAIRS
            + folded / cost::FOLDED_CHARS
    }
}

impl<'p> Translator<'p> {
    fn rest(&self) -> &'p str {
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
        self.repeats += 1;
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
        let named = rest.strip_prefix("(?P<").or(rest.strip_prefix("(?<"));
        if named.is_some_and(|name| !name.is_empty()) {
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
        self.steps += cost::GROUP;
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
        // Rust knows neither a flag twice nor an empty list.
        let mut on = String::new();
        let mut off = String::new();
        for (i, c) in rest.char_indices().skip(2) {
            match c {
                'i' | 'm' | 's' | 'U' => {
                    seen = true;
                    on.retain(|flag| flag != c);
                    off.retain(|flag| flag != c);
                    self.folds |= c == 'i' && !negative;
                    if negative { &mut off } else { &mut on }.push(c);
                }
                '-' if !negative => {
                    negative = true;
                    seen = false;
                }
                ':' | ')' if !negative || seen => {
                    let minus = if off.is_empty() { "" } else { "-" };
                    if c == ':' {
                        self.push(format_args!("(?{on}{minus}{off}:"));
                    } else if !(on.is_empty() && off.is_empty()) {
                        self.push(format_args!("(?{on}{minus}{off})"));
                    }
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
        Err(fault("invalid or unsupported Perl syntax", rest))
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
                self.steps += cost::TABLE;
                return Ok(Some(class));
            }
            _ => return Ok(None),
        };
        Ok(Some((class.to_owned(), 2)))
    }

    fn class(&mut self) -> Result<(), String> {
        self.steps += cost::CLASS;
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
        if let Some(posix) = rest.strip_prefix("[:")
            && let Some(end) = posix.find(":]").map(|at| at + 2)
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
        self.ranged += u64::from(high as u32 - low as u32);
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

/// Scripts whose names are as long as the codes of the others.
const FOUR_LETTER_SCRIPTS: [&str; 8] = [
    "Ahom", "Cham", "Kawi", "Lisu", "Miao", "Modi", "Thai", "Toto",
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
        'x' => hex_char(text).map_err(bad),
        'a' => Ok(('\u{7}', 2)),
        'f' => Ok(('\u{c}', 2)),
        'n' => Ok(('\n', 2)),
        'r' => Ok(('\r', 2)),
        't' => Ok(('\t', 2)),
        'v' => Ok(('\u{b}', 2)),
        _ if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok((c, 2)),
        _ => Err(bad(1 + c.len_utf8())),
    }
}

/// The character of `\\x41` or `\\x{e4}` at the head and the escape's length, or the length of what Go shows as wrong.
fn hex_char(text: &str) -> Result<(char, usize), usize> {
    let body = &text[2..];
    if let Some(body) = body.strip_prefix('{') {
        return braced_hex_char(body, 3);
    }
    // Both characters are read before they are looked at.
    let mut value = Some(0);
    let mut count = 0;
    let mut end = 2;
    for c in body.chars().take(2) {
        end += c.len_utf8();
        count += 1;
        value = value.zip(c.to_digit(16)).map(|(v, d)| v * 16 + d);
    }
    match value.and_then(char::from_u32) {
        Some(c) if count == 2 => Ok((c, end)),
        _ => Err(end),
    }
}

/// As [`hex_char`], for what follows the brace, which ends at `end`.
fn braced_hex_char(body: &str, mut end: usize) -> Result<(char, usize), usize> {
    let mut value = 0;
    for (i, c) in body.chars().enumerate() {
        end += c.len_utf8();
        match c.to_digit(16) {
            Some(digit) => value = value * 16 + digit,
            None if c == '}' && i > 0 => return char::from_u32(value).map(|c| (c, end)).ok_or(end),
            None => break,
        }
        if value > u32::from(char::MAX) {
            break;
        }
    }
    Err(end)
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
    } else if name.len() <= 2 && name != "Yi" {
        format!("\\p{{gc={name}}}")
    } else {
        format!("\\p{{sc={name}}}")
    };
    // Rust knows scripts by their codes too.
    let code = name.len() == 4 && !FOUR_LETTER_SCRIPTS.contains(&name);
    if !well_cased || code || regex_syntax::parse(&class).is_err() {
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
