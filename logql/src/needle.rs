//! What a line must hold to pass a filter: from literals, patterns and regexes, for an index that knows which lines
//! cannot be in a place.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::regexes::holds_replacement;

/// Shortest text that is told: shorter ones are nearly everywhere.
const TEXT_MIN: usize = 3;
/// Longest text that is told; of a longer one, its beginning.
const TEXT_MAX: usize = 64;
/// Most texts that one part of a regex may stand for before only their parts are looked at.
const TEXTS_MAX: usize = 16;
/// Most branches of an alternation that are told.
const BRANCHES_MAX: usize = 64;
/// Groups and repetitions may nest as deep as [`crate::regexes`] lets them; what lies deeper than this is not looked at.
const DEPTH_MAX: usize = 32;

/// What every line holds that passes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Needle {
    /// These bytes, 3 to 64, where each ASCII letter may be in either case. For `s` and `k` there may also be
    /// the long s (U+017F) and the Kelvin sign (U+212A), which are the same letters to a regex without case.
    Text(Vec<u8>),
    /// What each of these says.
    All(Vec<Needle>),
    /// What one of these says.
    Any(Vec<Needle>),
}

impl Needle {
    /// A literal text; `None` for one that is too short.
    pub(crate) fn text(text: &[u8]) -> Option<Needle> {
        let text = &text[..text.len().min(TEXT_MAX)];
        (text.len() >= TEXT_MIN).then(|| Needle::Text(text.to_ascii_lowercase()))
    }

    /// All of some needles.
    pub(crate) fn all(needles: impl IntoIterator<Item = Needle>) -> Option<Needle> {
        let mut needles: Vec<Needle> = needles.into_iter().collect();
        match needles.len() {
            0 | 1 => needles.pop(),
            _ => Some(Needle::All(needles)),
        }
    }

    /// One of some needles; `None` if one of them is none.
    pub(crate) fn any(needles: impl ExactSizeIterator<Item = Option<Needle>>) -> Option<Needle> {
        if needles.len() > BRANCHES_MAX {
            return None;
        }
        let mut needles: Vec<Needle> = needles.collect::<Option<_>>()?;
        needles.dedup();
        match needles.len() {
            0 | 1 => needles.pop(),
            _ => Some(Needle::Any(needles)),
        }
    }

    /// What every text holds in which a regex finds a match.
    pub(crate) fn of_regex(hir: &Hir) -> Option<Needle> {
        find(hir, 0).needle()
    }
}

/// What a part of a regex matches.
enum Found {
    /// Exactly these texts, in lower case.
    Texts(Vec<Vec<u8>>),
    /// More than that, but whatever it is holds this.
    Holding(Option<Needle>),
}

impl Found {
    fn needle(self) -> Option<Needle> {
        match self {
            Found::Texts(texts) => Needle::any(texts.iter().map(|text| Needle::text(text))),
            Found::Holding(needle) => needle,
        }
    }
}

/// The empty text.
fn nothing() -> Vec<Vec<u8>> {
    vec![Vec::new()]
}

fn find(hir: &Hir, depth: usize) -> Found {
    if depth > DEPTH_MAX {
        return Found::Holding(None);
    }
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Found::Texts(nothing()),
        // Bytes that are no text match U+FFFD, too.
        HirKind::Literal(_) if holds_replacement(hir) => Found::Holding(None),
        HirKind::Literal(literal) => Found::Texts(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => match letters(class) {
            Some(letters) => Found::Texts(letters.into_iter().map(|b| vec![b]).collect()),
            None => Found::Holding(None),
        },
        HirKind::Capture(capture) => find(&capture.sub, depth + 1),
        HirKind::Repetition(repetition) if repetition.min == 0 => Found::Holding(None),
        HirKind::Repetition(repetition) => {
            let sub = find(&repetition.sub, depth + 1);
            match repetition.max {
                Some(1) => sub,
                _ => Found::Holding(sub.needle()),
            }
        }
        HirKind::Concat(parts) => concat(parts, depth),
        HirKind::Alternation(parts) => alternation(parts, depth),
    }
}

/// The bytes of a class of few ASCII characters, cases apart.
fn letters(class: &Class) -> Option<Vec<u8>> {
    let ranges: Vec<(u32, u32)> = match class {
        Class::Unicode(class) => {
            let ranges = class.iter();
            ranges.map(|r| (r.start().into(), r.end().into())).collect()
        }
        Class::Bytes(class) => {
            let ranges = class.iter();
            ranges.map(|r| (r.start().into(), r.end().into())).collect()
        }
    };
    let mut letters = Vec::new();
    for (from, to) in ranges {
        if to - from >= TEXTS_MAX as u32 {
            return None;
        }
        for c in from..=to {
            letters.push(match c {
                0x17f => b's',
                0x212a => b'k',
                _ => u8::try_from(c).ok().filter(u8::is_ascii)?,
            });
        }
    }
    letters.make_ascii_lowercase();
    letters.sort_unstable();
    letters.dedup();
    (!letters.is_empty() && letters.len() <= TEXTS_MAX).then_some(letters)
}

fn concat(parts: &[Hir], depth: usize) -> Found {
    let mut needles = Vec::new();
    // What the parts since the last gap stand for.
    let mut run = nothing();
    let mut gaps = false;
    for part in parts {
        match find(part, depth + 1) {
            Found::Texts(texts) => {
                let longest = |texts: &[Vec<u8>]| texts.iter().map(Vec::len).max().unwrap_or(0);
                let fits = run.len() * texts.len() <= TEXTS_MAX
                    && longest(&run) + longest(&texts) <= TEXT_MAX;
                if fits {
                    let joined = run
                        .iter()
                        .flat_map(|a| texts.iter().map(|b| [&a[..], b].concat()));
                    run = joined.collect();
                } else {
                    needles.extend(Found::Texts(std::mem::replace(&mut run, texts)).needle());
                    gaps = true;
                }
            }
            Found::Holding(needle) => {
                needles.extend(Found::Texts(std::mem::replace(&mut run, nothing())).needle());
                needles.extend(needle);
                gaps = true;
            }
        }
    }
    if !gaps {
        return Found::Texts(run);
    }
    needles.extend(Found::Texts(run).needle());
    Found::Holding(Needle::all(needles))
}

fn alternation(parts: &[Hir], depth: usize) -> Found {
    if parts.len() > BRANCHES_MAX {
        return Found::Holding(None);
    }
    let parts: Vec<Found> = parts.iter().map(|part| find(part, depth + 1)).collect();
    let texts = parts.iter().map(|part| match part {
        Found::Texts(texts) => texts.len(),
        Found::Holding(_) => TEXTS_MAX + 1,
    });
    if texts.sum::<usize>() > TEXTS_MAX {
        return Found::Holding(Needle::any(parts.into_iter().map(Found::needle)));
    }
    let texts = parts.into_iter().flat_map(|part| match part {
        Found::Texts(texts) => texts,
        Found::Holding(_) => Vec::new(),
    });
    let mut texts: Vec<Vec<u8>> = texts.collect();
    texts.sort_unstable();
    texts.dedup();
    Found::Texts(texts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::regexes::{Anchors, Budget, parse};

    fn of(regex: &str) -> Option<Needle> {
        let translated = Budget::default().translate(regex, Anchors::Text).unwrap();
        Needle::of_regex(&parse(&translated).unwrap())
    }

    fn text(text: &str) -> Needle {
        Needle::text(text.as_bytes()).unwrap()
    }

    #[test]
    fn regexes_tell_what_they_need() {
        for (regex, want) in [
            ("abc", Some(text("abc"))),
            (
                "(?i)FATAL.*exception",
                Some(Needle::All(vec![text("fatal"), text("exception")])),
            ),
            (
                "status=50[03] .*duration=[0-9]{3}",
                Some(Needle::All(vec![
                    Needle::Any(vec![text("status=500 "), text("status=503 ")]),
                    text("duration="),
                ])),
            ),
            (
                "timeout|refused",
                Some(Needle::Any(vec![text("refused"), text("timeout")])),
            ),
            ("(timeout|x*)", None),
            ("ab|cde", None),
            ("a?bcd", Some(text("bcd"))),
            ("^err(or)?$", Some(text("err"))),
            ("(abc)+d", Some(text("abc"))),
            (".*", None),
            ("", None),
            ("a{0}", None),
            ("(?i)stra\u{df}e", Some(text("stra"))),
            (
                "xyz\u{fffd}*abc",
                Some(Needle::All(vec![text("xyz"), text("abc")])),
            ),
        ] {
            assert_eq!(of(regex), want, "{regex}");
        }
    }

    #[test]
    fn what_is_told_stays_small() {
        let long = "a".repeat(10_000);
        assert_eq!(of(&long), Some(text(&long)));
        let Some(Needle::Text(told)) = of(&long) else {
            panic!()
        };
        assert_eq!(told.len(), TEXT_MAX);
        let words: Vec<String> = (0..1000).map(|i| format!("{i}word")).collect();
        assert_eq!(of(&words.join("|")), None);
        // Crossing twenty pairs of letters would make a million texts.
        let pairs = of(&"[ab]x".repeat(20)).unwrap();
        assert!(matches!(pairs, Needle::All(parts) if parts.len() <= 20));
    }
}
