//! `json x="path"`: chosen values under chosen names.
//!
//! The line is read up to the last value that is wanted, keys are compared as they are. Most faults go unnoticed; the
//! search ends at the first thing that it cannot read.

use super::json::{FAILED, push_unescaped};
use super::json_scan::{Fault, Kind, Value, block_end, token, value};
use super::labels::{Labels, Text};
use super::names::EXTRACTED;
use super::scan::string_end;
use super::unescape;
use super::wanted::Task;
use crate::ast::Extract;

mod expression;

/// A compiled stage.
#[derive(Debug, Clone)]
pub(super) struct Paths {
    names: Vec<String>,
    paths: Vec<Vec<Part>>,
    /// Length of the longest path.
    deepest: usize,
}

/// A step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    /// A key, or an index in brackets: where keys are looked for it is taken for a key too.
    text: Vec<u8>,
    index: Option<usize>,
}

/// Buffers that are reused from line to line.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Keys round the current place, by depth; of an index nothing is known here.
    keys: Vec<Vec<u8>>,
    /// Which paths were found.
    found: Vec<bool>,
    /// Paths that go on in the current array, and the index that each asks for.
    wanted: Vec<(usize, usize)>,
    value: Vec<u8>,
}

impl Paths {
    /// Compiles the stage.
    pub(super) fn new(extracts: &[Extract]) -> Result<Self, String> {
        let mut paths = Paths {
            names: Vec::new(),
            paths: Vec::new(),
            deepest: 0,
        };
        for extract in extracts {
            let path = expression::parse(&extract.path).map_err(|why| {
                let path = String::from_utf8_lossy(&extract.path);
                format!("cannot parse expression [{path}]: {why}")
            })?;
            paths.deepest = paths.deepest.max(path.len());
            paths.names.push(extract.name.clone());
            paths.paths.push(path);
        }
        Ok(paths)
    }

    /// Runs the stage, which drops no line.
    pub(super) fn parse(
        &self,
        line: &[u8],
        labels: &mut Labels<'_, '_, '_>,
        scratch: &mut Scratch,
    ) {
        if matches!(labels.hints.task(labels), Task::Skip) {
            return;
        }
        match line.first() {
            None => return,
            Some(b'"' | b'{' | b'[') => {}
            Some(_) => return labels.fail_parser(FAILED, None),
        }
        scratch.found.clear();
        scratch.found.resize(self.paths.len(), false);
        scratch.keys.resize_with(self.deepest, Vec::new);
        scratch.keys.iter_mut().for_each(Vec::clear);
        let mut search = Search {
            paths: self,
            data: line,
            labels,
            scratch,
            level: 0,
            done: 0,
            set: 0,
        };
        search.run();
        if search.set < self.names.len() {
            for name in &self.names {
                if labels.get(name).is_none() {
                    let empty = labels.push("");
                    labels.set_named(name, empty);
                }
            }
        }
    }

    /// Sets a label to the value that its path led to.
    fn set(
        &self,
        i: usize,
        value: Result<Value<'_>, Fault>,
        labels: &mut Labels<'_, '_, '_>,
        buffer: &mut Vec<u8>,
    ) -> bool {
        let value = match value {
            Ok(value) => value,
            Err(fault) => {
                labels.fail_parser(FAILED, Some(fault.text()));
                return false;
            }
        };
        let name = &self.names[i];
        let mut target: Text = labels.push(name);
        if labels.collides(name) {
            target = labels.extend(target, EXTRACTED);
        }
        let value = match value.kind {
            Kind::Null => labels.push(""),
            Kind::Object => labels.push_bytes(value.text),
            // Arrays lose their escapes like texts do.
            _ => push_unescaped(labels, value.text, buffer),
        };
        labels.set(target, value);
        true
    }
}

struct Search<'s, 'r, 'a, 'p, 'l> {
    paths: &'s Paths,
    data: &'l [u8],
    labels: &'s mut Labels<'r, 'a, 'p>,
    scratch: &'s mut Scratch,
    /// How many brackets round the current place count.
    level: isize,
    /// Paths that need not be looked for any more.
    done: usize,
    /// Labels that were set.
    set: usize,
}

impl Search<'_, '_, '_, '_, '_> {
    /// The outermost loop: braces and brackets move the level, keys are compared with paths of that length. `None` and
    /// `Some` alike: nothing more can be found.
    fn run(&mut self) -> Option<()> {
        let mut at = 0;
        while at < self.data.len() {
            at = match self.data[at] {
                b'"' => self.text(at)?,
                b'{' => {
                    self.level += 1;
                    at + 1
                }
                b'}' | b']' => {
                    self.level -= 1;
                    at + 1
                }
                b'[' => self.array(at)?,
                _ => at + 1,
            };
        }
        Some(())
    }

    fn is_done(&self) -> bool {
        self.done == self.paths.paths.len()
    }

    /// A key or a value in quotes; where to go on.
    fn text(&mut self, at: usize) -> Option<usize> {
        let data = self.data;
        let (end, escaped) = string_end(data, at + 1)?;
        let next = token(data, end + 1)?;
        if data[next] != b':' {
            return Some(next);
        }
        let key = &data[at + 1..end];
        let level = self.level;
        let depth = usize::try_from(level).unwrap_or(0);
        if escaped && !unescape::is_json(key) {
            return None;
        }
        if depth > self.paths.deepest {
            return Some(next + 1);
        }
        if level < 1 {
            self.labels.fail_parser(FAILED, Some(Fault::Json.text()));
            return None;
        }
        let kept = &mut self.scratch.keys[depth - 1];
        kept.clear();
        if escaped {
            // Checked above.
            let _ = unescape::json(key, kept);
        } else {
            kept.extend_from_slice(key);
        }
        for i in 0..self.paths.paths.len() {
            let path = &self.paths.paths[i];
            if path.len() == depth && !self.scratch.found[i] && self.is_on(path, depth) {
                self.scratch.found[i] = true;
                self.done += 1;
                let value = value(data, next + 1).map(|(value, _)| value);
                self.deliver(i, value);
            }
        }
        (!self.is_done()).then_some(next + 1)
    }

    fn deliver(&mut self, i: usize, value: Result<Value<'_>, Fault>) {
        let buffer = &mut self.scratch.value;
        let set = self.paths.set(i, value, self.labels, buffer);
        self.set += usize::from(set);
    }

    /// Whether the first parts of a path are the keys round the current place.
    fn is_on(&self, path: &[Part], depth: usize) -> bool {
        let keys = self.scratch.keys[..depth].iter();
        path.iter().zip(keys).all(|(part, key)| part.text == *key)
    }

    /// An array: looked into if a path goes on with an index here.
    fn array(&mut self, at: usize) -> Option<usize> {
        if self.level < 0 {
            self.labels.fail_parser(FAILED, Some(Fault::Json.text()));
            return None;
        }
        let depth = usize::try_from(self.level).unwrap_or(0);
        let mut wanted = std::mem::take(&mut self.scratch.wanted);
        wanted.clear();
        for (i, path) in self.paths.paths.iter().enumerate() {
            if let Some(index) = path.get(depth).and_then(|part| part.index)
                && !self.scratch.found[i]
                && self.is_on(path, depth)
            {
                wanted.push((i, index));
            }
        }
        if wanted.is_empty() {
            return block_end(self.data, at, b'[', b']');
        }
        self.level += 1;
        let end = each_element(self.data, at, |number, _, value| {
            for (i, _) in wanted.iter().filter(|(_, index)| *index == number) {
                self.scratch.found[*i] = true;
                self.done += 1;
                let rest = &self.paths.paths[*i][depth + 1..];
                if let Some(value) = inside(value, rest) {
                    self.deliver(*i, value);
                }
            }
        });
        self.scratch.wanted = wanted;
        (!self.is_done()).then_some(end)
    }
}

/// Calls for each element of the array at `at` with its number, where it begins and what it is; where the reading
/// ended.
fn each_element<'l>(
    data: &'l [u8],
    at: usize,
    mut visit: impl FnMut(usize, usize, Value<'l>),
) -> usize {
    let Some(mut at) = token(data, at + 1) else {
        return at + 1;
    };
    if data[at] == b']' {
        return at;
    }
    for number in 0.. {
        let Ok((value, end)) = value(data, at) else {
            return at;
        };
        let quotes = if value.kind == Kind::Text { 2 } else { 0 };
        visit(number, end - value.text.len() - quotes, value);
        match token(data, end) {
            Some(next) if data[next] == b',' => at = next + 1,
            Some(next) => return next,
            None => return end,
        }
    }
    at
}

/// The value that the rest of a path leads to inside an element; `None`: none.
fn inside<'l>(element: Value<'l>, path: &[Part]) -> Option<Result<Value<'l>, Fault>> {
    if path.is_empty() {
        return Some(Ok(element));
    }
    if !matches!(element.kind, Kind::Object | Kind::Array) {
        return None;
    }
    let at = search(element.text, path)?;
    Some(value(element.text, at).map(|(value, _)| value))
}

/// Where the value at a path begins. Objects under other keys are passed over; a key deeper than the path ends the
/// search, as does a colon where none belongs.
fn search(data: &[u8], path: &[Part]) -> Option<usize> {
    let (mut level, mut matched) = (0usize, 0usize);
    let mut last_matched = true;
    let mut at = 0;
    while at < data.len() {
        match data[at] {
            b'"' => {
                let start = at + 1;
                let (end, escaped) = string_end(data, start)?;
                at = token(data, end + 1)?;
                if data[at] != b':' {
                    continue;
                }
                let part = path.get(level.checked_sub(1)?)?;
                last_matched = is_key(part, &data[start..end], escaped)?;
                if last_matched && matched == level - 1 {
                    matched += 1;
                    if matched == path.len() {
                        return Some(at + 1);
                    }
                }
            }
            b'{' if last_matched => level += 1,
            b'{' => at = block_end(data, at, b'{', b'}')? - 1,
            b'}' => {
                level = level.checked_sub(1)?;
                if level == matched {
                    matched = matched.checked_sub(1)?;
                }
            }
            b'[' => match path.get(level).and_then(|part| part.index) {
                Some(index) if matched == level => {
                    return element(data, at, index, &path[level + 1..]);
                }
                _ => at = block_end(data, at, b'[', b']')? - 1,
            },
            b':' => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Whether a key as written is that of a part. `None`: it has an invalid escape.
fn is_key(part: &Part, key: &[u8], escaped: bool) -> Option<bool> {
    if !escaped {
        return Some(part.text == key);
    }
    let mut plain = Vec::new();
    unescape::json(key, &mut plain)?;
    Some(part.text == plain)
}

/// Where the value at a path inside one element of the array at `at` begins.
fn element(data: &[u8], at: usize, index: usize, path: &[Part]) -> Option<usize> {
    let mut found = None;
    each_element(data, at, |number, start, value| {
        if number == index {
            found = Some((start, value));
        }
    });
    let (start, value) = found?;
    if path.is_empty() {
        return Some(start);
    }
    search(value.text, path).map(|at| start + at)
}

#[cfg(test)]
mod tests {
    use super::{expression, search};

    #[test]
    fn paths_inside_elements() {
        let check = |data: &str, path: &str, expected: Option<&str>| {
            let path = expression::parse(path.as_bytes()).expect(path);
            let found = search(data.as_bytes(), &path).map(|at| &data[at..]);
            assert_eq!(found, expected, "{path:?} in {data}");
        };
        check(r#"{"a":1}"#, "a", Some("1}"));
        check(r#"{"x":{"a":0},"a":1}"#, "a", Some("1}"));
        check(r#"{"b":{"a":2}}"#, "b.a", Some("2}}"));
        check(r#"{"b":{"x":2},"b":{"a":3}}"#, "b.a", Some("3}}"));
        check(r#"[5,[6,"7"]]"#, "[1][1]", Some("\"7\"]]"));
        check(r#"{"a":[{"b":8}]}"#, "a[0].b", Some("8}]}"));
        check(r#"{"\u0061":9}"#, "a", Some("9}"));
        check(r#"{"a":[1]}"#, "a[1]", None);
        check(r#"{"b":1}"#, "a", None);
        check(r#"{"a":1"#, "b", None);
        check(r#"[1]"#, "a", None);
    }
}
