//! The parser, which follows Go's in what it makes one node of.

use super::factor::{alternate, class, least, push_branch};
use super::{Kind, Node, Repeat};
use crate::regexes::{class_at, counts, escaped_char};

/// The tree of a valid pattern. `None`: it is none after all.
pub(super) fn parse(pattern: &str) -> Option<Node> {
    let mut parser = Parser {
        pattern,
        at: 0,
        flags: Flags::default(),
    };
    let node = parser.alternation()?;
    (parser.at == pattern.len()).then_some(node)
}

#[derive(Debug, Clone, Copy, Default)]
struct Flags {
    /// `i`
    fold: bool,
    /// `m`
    lines: bool,
    /// `s`
    dot_newline: bool,
    /// `U`
    lazy: bool,
}

struct Parser<'p> {
    pattern: &'p str,
    at: usize,
    flags: Flags,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.pattern[self.at..]
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.rest().starts_with(text);
        if found {
            self.at += text.len();
        }
        found
    }

    /// Up to the end of the group.
    fn alternation(&mut self) -> Option<Node> {
        let mut branches = Vec::new();
        loop {
            let branch = self.sequence()?;
            push_branch(&mut branches, branch);
            if !self.eat("|") {
                return Some(alternate(branches));
            }
        }
    }

    /// Up to a `|` or the end of the group.
    fn sequence(&mut self) -> Option<Node> {
        let mut units: Vec<Node> = Vec::new();
        while let Some(c) = self.rest().chars().next() {
            match c {
                '|' | ')' => break,
                '*' | '+' | '?' => {
                    self.at += 1;
                    let kind = match c {
                        '*' => Kind::Star,
                        '+' => Kind::Plus,
                        _ => Kind::Question,
                    };
                    self.repeat(&mut units, kind)?;
                }
                '{' => match counts(self.rest()) {
                    Some((len, min, max)) => {
                        self.at += len;
                        self.repeat(&mut units, Kind::Counted(min, max))?;
                    }
                    None => {
                        self.at += 1;
                        units.push(self.literal('{'));
                    }
                },
                _ => self.unit(c, &mut units)?,
            }
        }
        Some(joined(units))
    }

    fn repeat(&mut self, units: &mut Vec<Node>, kind: Kind) -> Option<()> {
        let lazy = self.eat("?");
        let node = units.pop()?;
        units.push(Node::Repeat(Box::new(Repeat {
            kind,
            greedy: lazy == self.flags.lazy,
            fold: self.flags.fold,
            node,
        })));
        Some(())
    }

    fn literal(&self, c: char) -> Node {
        let fold = self.flags.fold;
        Node::Literal {
            text: vec![if fold { least(c) } else { c }],
            fold,
        }
    }

    fn unit(&mut self, c: char, units: &mut Vec<Node>) -> Option<()> {
        let unit = match c {
            '(' => return self.group(units),
            '\\' => return self.escape(units),
            '[' => self.class()?,
            '^' | '$' => {
                self.at += 1;
                Node::Anchor(match (c, self.flags.lines) {
                    ('^', false) => "\\A",
                    ('^', true) => "^",
                    (_, false) => "\\z",
                    (_, true) => "$",
                })
            }
            '.' => {
                self.at += 1;
                if self.flags.dot_newline {
                    Node::Any
                } else {
                    Node::NotNewline
                }
            }
            _ => {
                self.at += c.len_utf8();
                self.literal(c)
            }
        };
        units.push(unit);
        Some(())
    }

    fn class(&mut self) -> Option<Node> {
        let (ranges, end) = class_at(self.pattern, self.at, self.flags.fold)?;
        self.at = end;
        Some(class(ranges))
    }

    fn escape(&mut self, units: &mut Vec<Node>) -> Option<()> {
        if self.eat("\\Q") {
            let rest = &self.pattern[self.at..];
            let (text, end) = match rest.find("\\E") {
                Some(len) => (&rest[..len], self.at + len + 2),
                None => (rest, self.pattern.len()),
            };
            self.at = end;
            units.extend(text.chars().map(|c| self.literal(c)));
            return Some(());
        }
        for anchor in ["\\A", "\\z", "\\b", "\\B"] {
            if self.eat(anchor) {
                units.push(Node::Anchor(anchor));
                return Some(());
            }
        }
        if let Some(class) = self.class() {
            units.push(class);
            return Some(());
        }
        let (c, len) = escaped_char(self.rest()).ok()?;
        self.at += len;
        units.push(self.literal(c));
        Some(())
    }

    fn group(&mut self, units: &mut Vec<Node>) -> Option<()> {
        let outside = self.flags;
        self.at += 1;
        let mut captures = true;
        if self.eat("?P<") || self.eat("?<") {
            self.at += self.rest().find('>')? + 1;
        } else if self.eat("?") {
            captures = false;
            if self.flag_list()? == ')' {
                // Flags hold up to the end of the group round them.
                return Some(());
            }
        }
        let inner = self.alternation()?;
        if !self.eat(")") {
            return None;
        }
        self.flags = outside;
        units.push(if captures {
            Node::Capture(Box::new(inner))
        } else {
            inner
        });
        Some(())
    }

    /// Flags up to the `:` or `)` after them, which is returned.
    fn flag_list(&mut self) -> Option<char> {
        let mut on = true;
        loop {
            let c = self.rest().chars().next()?;
            self.at += c.len_utf8();
            match c {
                'i' => self.flags.fold = on,
                'm' => self.flags.lines = on,
                's' => self.flags.dot_newline = on,
                'U' => self.flags.lazy = on,
                '-' => on = false,
                ':' | ')' => return Some(c),
                _ => return None,
            }
        }
    }
}

/// The node of a sequence: literals side by side are one, sequences inside it are not joined with what is round them.
fn joined(units: Vec<Node>) -> Node {
    let mut merged: Vec<Node> = Vec::with_capacity(units.len());
    for unit in units {
        match (merged.last_mut(), unit) {
            (
                Some(Node::Literal { text, fold }),
                Node::Literal {
                    text: more,
                    fold: same,
                },
            ) if *fold == same => text.extend(more),
            (_, unit) => merged.push(unit),
        }
    }
    match merged.len() {
        0 => Node::Empty,
        1 => merged.remove(0),
        _ => {
            let mut flat = Vec::with_capacity(merged.len());
            for node in merged {
                match node {
                    Node::Concat(parts) => flat.extend(parts),
                    other => flat.push(other),
                }
            }
            Node::Concat(flat)
        }
    }
}
