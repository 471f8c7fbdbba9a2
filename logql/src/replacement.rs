//! Replacement texts of regexes as Go expands them: `$1`, `${1}`, `$name`, `${name}`, `$$`.
//!
//! Without braces a name is as long as it can be, so that `$1x` is the group of the name `1x`. A group that there is not,
//! or that took no part in the match, is empty. A `$` that begins nothing stands for itself.

use regex::bytes::Captures;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The first of these groups that took part in the match.
    Groups(Vec<usize>),
}

/// A replacement text, parsed for the groups of one regex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Replacement {
    parts: Vec<Part>,
}

impl Replacement {
    /// Parses a text. `groups`: the names of the groups; the first is the whole match, which has none.
    pub(crate) fn parse(text: &str, groups: &[Option<String>]) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            plain.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                plain.push('$');
                rest = after;
            } else if let Some((name, after)) = reference(rest) {
                if !plain.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut plain)));
                }
                parts.push(Part::Groups(find(name, groups)));
                rest = after;
            } else {
                plain.push('$');
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Replacement { parts }
    }

    /// Appends the text for a match. Stops once it is longer than it may be.
    pub(crate) fn expand(&self, captures: &Captures<'_>, limit: usize, out: &mut Vec<u8>) {
        for part in &self.parts {
            if out.len() > limit {
                return;
            }
            match part {
                Part::Text(text) => out.extend_from_slice(text.as_bytes()),
                Part::Groups(groups) => {
                    let mut matched = groups.iter().filter_map(|group| captures.get(*group));
                    if let Some(matched) = matched.next() {
                        out.extend_from_slice(matched.as_bytes());
                    }
                }
            }
        }
    }
}

/// The name after a `$`, and what follows it.
fn reference(text: &str) -> Option<(&str, &str)> {
    let body = text.strip_prefix('{');
    let name = body.unwrap_or(text);
    let end = name
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(name.len());
    let (name, rest) = name.split_at(end);
    if name.is_empty() {
        return None;
    }
    match body {
        Some(_) => Some((name, rest.strip_prefix('}')?)),
        None => Some((name, rest)),
    }
}

/// The groups that a number (without leading zeros) or a name means.
fn find(name: &str, groups: &[Option<String>]) -> Vec<usize> {
    let is_number =
        name.bytes().all(|b| b.is_ascii_digit()) && (name == "0" || !name.starts_with('0'));
    if is_number && let Ok(group) = name.parse::<usize>() {
        return if group < groups.len() {
            vec![group]
        } else {
            Vec::new()
        };
    }
    let named = groups.iter().enumerate();
    let named = named.filter(|(_, group)| group.as_deref() == Some(name));
    named.map(|(group, _)| group).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_expand_as_in_go() {
        let groups = [None, None, Some("n".to_owned()), Some("x".to_owned())];
        let regex = regex::bytes::Regex::new("(a+)-(b)|(?P<x>c)").expect("a regex");
        let expand = |text: &str, value: &str| {
            let mut out = Vec::new();
            let captures = regex.captures(value.as_bytes()).expect("a match");
            Replacement::parse(text, &groups).expand(&captures, 100, &mut out);
            String::from_utf8(out).expect("text")
        };
        for (text, expected) in [
            ("[$1]", "[aa]"),
            ("${1}x$2", "aaxb"),
            ("$1x", ""),
            ("$0", "aa-b"),
            ("$n,${n}", "b,b"),
            ("$01$00", ""),
            ("$9$x", ""),
            ("$$1", "$1"),
            ("$", "$"),
            ("a$-b", "a$-b"),
            ("${", "${"),
            ("${1", "${1"),
            ("${1 }", "${1 }"),
            ("${}", "${}"),
            ("$\u{e9}!", "!"),
            ("", ""),
        ] {
            assert_eq!(expand(text, "aa-b"), expected, "{text}");
        }
        assert_eq!(expand("<$1$x>", "c"), "<c>");
        assert!(expand(&"$0".repeat(1_000), "aa-b").len() < 110);
    }
}
