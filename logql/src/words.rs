//! Regexes of label filters that Loki takes for a choice of words.
//!
//! Loki looks at the tree that Go's parser makes of a regex, where the branches of an alternation have their common
//! beginnings pulled out. Whether a word must be the whole value or only occur in it depends on that tree, so it is
//! built here as Go builds it: `bar|buzz` is `b(?:ar|uzz)`, `bar|baz` is `ba[rz]`.
//!
//! The pattern is one that [`crate::regexes::validate`] has accepted, so that nesting is bounded by it.

mod factor;
mod parse;
#[cfg(test)]
mod tests;

use crate::regexes::CharRange;

/// What a regex comes down to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Choice {
    /// Everything matches.
    Always,
    /// One of these has to hold.
    Any(Vec<Word>),
}

/// A test of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word {
    /// The value is not empty.
    Some,
    /// The value is this text, or holds it. With `fold` the text is lower case, and compared so.
    Literal {
        text: String,
        fold: bool,
        whole: bool,
    },
}

/// The tests that Loki makes of a label filter's regex; `None`: it stays a regex.
pub(crate) fn of_label(pattern: &str) -> Option<Choice> {
    let tree = simplified(parse::parse(pattern)?);
    choice(tree)
}

/// A regex as Go's parser leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Empty,
    /// Characters; with `fold` each is the least of those that differ from it in case only.
    Literal {
        text: Vec<char>,
        fold: bool,
    },
    Class(Vec<CharRange>),
    /// `.` without the flag `s`.
    NotNewline,
    /// `.` with it.
    Any,
    /// `^`, `\b` and the like.
    Anchor(&'static str),
    Capture(Box<Node>),
    Repeat(Box<Repeat>),
    Concat(Vec<Node>),
    Alternate(Vec<Node>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Repeat {
    kind: Kind,
    greedy: bool,
    /// Whether it stands where case does not matter.
    fold: bool,
    node: Node,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Star,
    Plus,
    Question,
    Counted(u32, Option<u32>),
}

impl Node {
    /// Whether it stands for one character.
    fn is_char(&self) -> bool {
        match self {
            Node::Literal { text, .. } => text.len() == 1,
            Node::Class(_) | Node::NotNewline | Node::Any => true,
            _ => false,
        }
    }

    /// `.*`
    fn is_anything(&self) -> bool {
        matches!(self, Node::Repeat(r) if r.kind == Kind::Star && r.node == Node::NotNewline)
    }

    fn is_fold(&self) -> bool {
        match self {
            Node::Literal { fold, .. } => *fold,
            Node::Repeat(repeat) => repeat.fold,
            _ => false,
        }
    }

    /// Without the group round it.
    fn uncaptured(self) -> Node {
        match self {
            Node::Capture(inner) => *inner,
            other => other,
        }
    }
}

/// The tree without counted repetition, as far as that decides anything.
fn simplified(node: Node) -> Node {
    match node {
        Node::Capture(inner) => Node::Capture(Box::new(simplified(*inner))),
        Node::Concat(parts) => Node::Concat(parts.into_iter().map(simplified).collect()),
        Node::Alternate(parts) => Node::Alternate(parts.into_iter().map(simplified).collect()),
        Node::Repeat(repeat) => {
            let Repeat {
                kind,
                greedy,
                fold,
                node,
            } = *repeat;
            let kind = match kind {
                Kind::Counted(0, Some(0)) => return Node::Empty,
                Kind::Counted(0, None) => Kind::Star,
                Kind::Counted(1, None) => Kind::Plus,
                kind => kind,
            };
            let node = simplified(node);
            match &node {
                _ if kind == Kind::Counted(1, Some(1)) => return node,
                Node::Empty if !matches!(kind, Kind::Counted(..)) => return node,
                Node::Repeat(inner) if inner.kind == kind && inner.greedy == greedy => return node,
                _ => {}
            }
            Node::Repeat(Box::new(Repeat {
                kind,
                greedy,
                fold,
                node,
            }))
        }
        other => other,
    }
}

fn choice(node: Node) -> Option<Choice> {
    match node {
        Node::Alternate(branches) => {
            let mut all: Option<Choice> = None;
            for branch in branches {
                let branch = choice(branch.uncaptured())?;
                all = Some(or(all, branch));
            }
            all
        }
        Node::Concat(parts) => concat(parts, None),
        Node::Capture(inner) => choice(*inner),
        Node::Literal { text, fold } => Some(word(text, fold, true)),
        Node::Empty => Some(Choice::Always),
        ref other if other.is_anything() => Some(Choice::Always),
        Node::Repeat(repeat) if repeat.kind == Kind::Plus && repeat.node == Node::NotNewline => {
            Some(Choice::Any(vec![Word::Some]))
        }
        _ => None,
    }
}

fn word(text: Vec<char>, fold: bool, whole: bool) -> Choice {
    let mut text: String = text.into_iter().collect();
    if fold {
        text = text.to_lowercase();
    }
    Choice::Any(vec![Word::Literal { text, fold, whole }])
}

/// Either of two; what always holds is left out as long as anything else is there.
fn or(left: Option<Choice>, right: Choice) -> Choice {
    match (left, right) {
        (Some(Choice::Any(mut words)), Choice::Any(more)) => {
            words.extend(more);
            Choice::Any(words)
        }
        (Some(words @ Choice::Any(_)), Choice::Always) => words,
        (_, right) => right,
    }
}

/// A literal, anything before and after it, and alternatives that follow the literal. What stands between is not
/// looked at: so does Loki.
fn concat(parts: Vec<Node>, base: Option<&[char]>) -> Option<Choice> {
    let parts: Vec<Node> = parts
        .into_iter()
        .map(Node::uncaptured)
        .filter(|part| *part != Node::Empty)
        .collect();
    if parts.len() > 3 {
        return None;
    }
    let mut literal = base.map(<[char]>::to_vec);
    let mut fold = false;
    let mut literals = 0;
    let mut found: Option<Choice> = None;
    for part in parts {
        match part {
            Node::Literal { text, fold: f } => {
                if literals > 0 {
                    return None;
                }
                literals += 1;
                literal.get_or_insert_default().extend(text);
                fold = f;
            }
            Node::Alternate(branches) => {
                found = Some(after_literal(branches, literal.as_deref()?, fold, found)?);
            }
            part if part.is_anything() => {}
            _ => return None,
        }
    }
    found.or_else(|| Some(word(literal?, fold, false)))
}

/// A literal followed by each branch of an alternation.
fn after_literal(
    branches: Vec<Node>,
    literal: &[char],
    fold: bool,
    mut found: Option<Choice>,
) -> Option<Choice> {
    for branch in branches {
        if branch.is_fold() && !fold {
            return None;
        }
        let branch = match branch {
            Node::Empty => word(literal.to_vec(), fold, false),
            Node::Literal { text, .. } => {
                let text = literal.iter().copied().chain(text).collect();
                word(text, fold, false)
            }
            Node::Concat(parts) => concat(parts, Some(literal))?,
            branch if branch.is_anything() => word(literal.to_vec(), fold, false),
            _ => return None,
        };
        found = Some(or(found, branch));
    }
    found
}
