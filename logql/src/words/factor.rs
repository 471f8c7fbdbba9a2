//! Alternations as Go makes them: single characters side by side become a class, and common beginnings are pulled out.

use super::{Kind, Node};
use crate::regexes::{CharRange, char_ranges};

/// The characters that differ from one in case only, itself among them.
fn orbit(c: char) -> Vec<CharRange> {
    char_ranges(&format!("\\x{{{:x}}}", c as u32), true).unwrap_or_else(|| vec![(c, c)])
}

/// The least of the characters that differ from one in case only.
pub(super) fn least(c: char) -> char {
    orbit(c).first().map_or(c, |range| range.0)
}

/// A class as a unit of a sequence: one of a single character, in one or both cases, is a literal.
pub(super) fn class(ranges: Vec<CharRange>) -> Node {
    let literal = |c: char, fold: bool| Node::Literal {
        text: vec![c],
        fold,
    };
    match *ranges.as_slice() {
        [(a, b)] if a == b => literal(a, false),
        [(a, b)] if a as u32 + 1 == b as u32 && orbit(a) == ranges => literal(a, true),
        [(a, b), (c, d)] if a == b && c == d && orbit(a) == ranges => literal(a, true),
        _ => Node::Class(ranges),
    }
}

/// The characters of a node that stands for one of a class.
fn ranges(node: &Node) -> Vec<CharRange> {
    match node {
        Node::Literal { text, fold: true } => text.first().map(|c| orbit(*c)).unwrap_or_default(),
        Node::Literal { text, .. } => text.first().map(|c| vec![(*c, *c)]).unwrap_or_default(),
        Node::Class(ranges) => ranges.clone(),
        _ => Vec::new(),
    }
}

/// Both of two nodes that stand for one character each.
fn merge(a: Node, b: Node) -> Node {
    let has_newline = |node: &Node| ranges(node).iter().any(|r| r.0 <= '\n' && '\n' <= r.1);
    match (&a, &b) {
        (Node::Any, _) | (_, Node::Any) => Node::Any,
        (Node::NotNewline, other) | (other, Node::NotNewline) => {
            if has_newline(other) {
                Node::Any
            } else {
                Node::NotNewline
            }
        }
        (Node::Literal { .. }, Node::Literal { .. }) if a == b => a,
        _ => {
            let mut all = ranges(&a);
            all.extend(ranges(&b));
            Node::Class(canonical(all))
        }
    }
}

fn canonical(mut ranges: Vec<CharRange>) -> Vec<CharRange> {
    ranges.sort_unstable();
    let mut out: Vec<CharRange> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match out.last_mut() {
            // Characters just below and above the surrogates are not neighbours here; nothing depends on it.
            Some(last) if from as u32 <= last.1 as u32 + 1 => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

/// A class of all characters is a dot.
fn clean(node: Node) -> Node {
    let Node::Class(ranges) = &node else {
        return node;
    };
    let last = char::MAX;
    match ranges.as_slice() {
        [('\0', b)] if *b == last => Node::Any,
        [('\0', '\u{9}'), ('\u{b}', b)] if *b == last => Node::NotNewline,
        _ => node,
    }
}

/// Adds a branch to those before it. Two neighbours that stand for one character each become a class.
pub(super) fn push_branch(branches: &mut Vec<Node>, branch: Node) {
    match branches.last_mut() {
        Some(last) if last.is_char() && branch.is_char() => {
            *last = merge(std::mem::replace(last, Node::Empty), branch);
        }
        Some(last) => {
            *last = clean(std::mem::replace(last, Node::Empty));
            branches.push(branch);
        }
        None => branches.push(branch),
    }
}

/// The node of an alternation's branches.
pub(super) fn alternate(mut branches: Vec<Node>) -> Node {
    if let Some(last) = branches.pop() {
        branches.push(clean(last));
    }
    collapse(branches)
}

fn collapse(branches: Vec<Node>) -> Node {
    let mut flat = Vec::with_capacity(branches.len());
    if branches.len() == 1 {
        return branches.into_iter().next().unwrap_or(Node::Empty);
    }
    for branch in branches {
        match branch {
            Node::Alternate(inner) => flat.extend(inner),
            other => flat.push(other),
        }
    }
    let mut factored = factor(flat);
    if factored.len() == 1 {
        factored.pop().unwrap_or(Node::Empty)
    } else {
        Node::Alternate(factored)
    }
}

fn factor(branches: Vec<Node>) -> Vec<Node> {
    if branches.len() < 2 {
        return branches;
    }
    let branches = by_prefix(branches);
    let branches = by_first(branches);
    let mut branches = by_class(branches);
    branches.dedup_by(|a, b| *a == Node::Empty && *b == Node::Empty);
    branches
}

/// The literal that a branch begins with.
fn leading_text(node: &Node) -> Option<(&[char], bool)> {
    let first = match node {
        Node::Concat(parts) => parts.first()?,
        other => other,
    };
    match first {
        Node::Literal { text, fold } => Some((text, *fold)),
        _ => None,
    }
}

/// First round: literals that neighbours begin with.
fn by_prefix(branches: Vec<Node>) -> Vec<Node> {
    let mut out = Vec::with_capacity(branches.len());
    let mut run: Vec<Node> = Vec::new();
    let mut prefix: (Vec<char>, bool) = (Vec::new(), false);
    for branch in branches {
        let (text, fold) = leading_text(&branch).unwrap_or((&[], false));
        let same = if fold == prefix.1 {
            let pairs = prefix.0.iter().zip(text);
            pairs.take_while(|(a, b)| a == b).count()
        } else {
            0
        };
        if same > 0 {
            prefix.0.truncate(same);
        } else {
            let next = (text.to_vec(), fold);
            end_of_prefix(&mut out, std::mem::take(&mut run), &prefix);
            prefix = next;
        }
        run.push(branch);
    }
    end_of_prefix(&mut out, run, &prefix);
    out
}

fn end_of_prefix(out: &mut Vec<Node>, run: Vec<Node>, (text, fold): &(Vec<char>, bool)) {
    if run.len() < 2 {
        out.extend(run);
        return;
    }
    let rest = run.into_iter().map(|node| without_text(node, text.len()));
    let rest = collapse(rest.collect());
    let prefix = Node::Literal {
        text: text.clone(),
        fold: *fold,
    };
    out.push(Node::Concat(vec![prefix, rest]));
}

/// A branch without the first characters of the literal that it begins with.
fn without_text(node: Node, len: usize) -> Node {
    match node {
        Node::Literal { text, .. } if text.len() == len => Node::Empty,
        Node::Literal { text, fold } => Node::Literal {
            text: text[len..].to_vec(),
            fold,
        },
        Node::Concat(mut parts) => {
            let first = without_text(parts.remove(0), len);
            if first != Node::Empty {
                parts.insert(0, first);
            }
            sequence(parts)
        }
        other => other,
    }
}

/// The node of a sequence's parts.
fn sequence(mut parts: Vec<Node>) -> Node {
    match parts.len() {
        0 => Node::Empty,
        1 => parts.remove(0),
        _ => Node::Concat(parts),
    }
}

/// The part that a branch begins with.
fn leading_part(node: &Node) -> Option<&Node> {
    let first = match node {
        Node::Concat(parts) => parts.first()?,
        other => other,
    };
    (*first != Node::Empty).then_some(first)
}

/// Whether equal beginnings of this kind are pulled out.
fn is_factor(node: &Node) -> bool {
    match node {
        Node::Repeat(repeat) => {
            let fixed = matches!(repeat.kind, Kind::Counted(min, max) if max == Some(min));
            fixed && repeat.node.is_char()
        }
        other => other.is_char(),
    }
}

/// Second round: classes and the like that neighbours begin with.
fn by_first(branches: Vec<Node>) -> Vec<Node> {
    let mut out = Vec::with_capacity(branches.len());
    let mut run: Vec<Node> = Vec::new();
    for branch in branches {
        let first = run.first().and_then(leading_part);
        let same = first.is_some_and(|f| is_factor(f) && Some(f) == leading_part(&branch));
        if !same {
            end_of_first(&mut out, std::mem::take(&mut run));
        }
        run.push(branch);
    }
    end_of_first(&mut out, run);
    out
}

fn end_of_first(out: &mut Vec<Node>, run: Vec<Node>) {
    let first = run.first().and_then(leading_part).cloned();
    let Some(first) = first.filter(|_| run.len() > 1) else {
        out.extend(run);
        return;
    };
    let rest = run.into_iter().map(|node| match node {
        Node::Concat(mut parts) => {
            parts.remove(0);
            sequence(parts)
        }
        _ => Node::Empty,
    });
    let rest = collapse(rest.collect());
    out.push(Node::Concat(vec![first, rest]));
}

/// Third round: neighbours that stand for one character each.
fn by_class(branches: Vec<Node>) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(branches.len());
    let mut open = false;
    for branch in branches {
        let single = branch.is_char();
        match out.last_mut() {
            Some(last) if open && single => {
                let merged = merge(std::mem::replace(last, Node::Empty), branch);
                *last = clean(merged);
            }
            _ => out.push(branch),
        }
        open = single;
    }
    out
}
