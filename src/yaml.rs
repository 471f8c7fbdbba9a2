//! A YAML document as a tree that remembers lines, from the parser's events.
//!
//! Scalars stay text: what a value means is decided by the key it belongs to, so a mistyped one can be reported with
//! its line, its key and the text found. One document; anchors and aliases are refused (nothing here needs them, and
//! they are the classical way to make a small file large). Depth is bounded by the parser (255), size by the caller.

use std::collections::HashSet;

use granit_parser::{Event, Parser, ScalarStyle, Span, StrInput};

/// A value and the line it starts at (from 1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Line in the file.
    pub(crate) line: usize,
    /// What it is.
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    /// `~`, `null`, or nothing.
    Null,
    /// Text, after YAML's unescaping.
    Scalar(String),
    /// Keys in file order with their lines; no key twice.
    Map(Vec<(String, usize, Node)>),
    /// A sequence.
    List(Vec<Node>),
}

/// Why a text is not a tree of ours.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct YamlError {
    /// Line (from 1).
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) message: String,
}

/// Parses a document; `None` for an empty one.
///
/// # Errors
/// Syntax errors, a key twice, aliases, a second document, keys that are not scalars.
pub(crate) fn parse(text: &str) -> Result<Option<Node>, YamlError> {
    let mut builder = Builder {
        events: Parser::new_from_str(text),
    };
    let mut root = None;
    while let Some((event, span)) = builder.next()? {
        match event {
            Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(..) if root.is_none() => {}
            Event::DocumentStart(..) => {
                return Err(error(span, "a second document; one is expected"));
            }
            event => root = Some(builder.node(event, span)?),
        }
    }
    Ok(root)
}

struct Builder<'a> {
    events: Parser<'a, StrInput<'a>>,
}

impl<'a> Builder<'a> {
    fn next(&mut self) -> Result<Option<(Event<'a>, Span)>, YamlError> {
        match self.events.next_event() {
            None => Ok(None),
            Some(Ok(next)) => Ok(Some(next)),
            Some(Err(e)) => Err(YamlError {
                line: e.marker().line(),
                message: format!("not YAML: {}", e.info()),
            }),
        }
    }

    fn inner(&mut self) -> Result<(Event<'a>, Span), YamlError> {
        self.next()?.ok_or_else(|| YamlError {
            line: 1,
            message: "not YAML: the document ends early".to_owned(),
        })
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, YamlError> {
        let line = span.start.line();
        let value = match event {
            Event::Scalar(text, ScalarStyle::Plain, ..)
                if matches!(&*text, "" | "~" | "null" | "Null" | "NULL") =>
            {
                Value::Null
            }
            Event::Scalar(text, ..) => Value::Scalar(text.into_owned()),
            Event::MappingStart(..) => Value::Map(self.map()?),
            Event::SequenceStart(..) => Value::List(self.list()?),
            _ => return Err(error(span, "aliases are not supported")),
        };
        Ok(Node { line, value })
    }

    fn map(&mut self) -> Result<Vec<(String, usize, Node)>, YamlError> {
        let mut pairs = Vec::new();
        let mut seen = HashSet::new();
        loop {
            let (event, span) = self.inner()?;
            let key = match event {
                Event::MappingEnd => return Ok(pairs),
                Event::Scalar(text, ..) => text.into_owned(),
                _ => return Err(error(span, "a key must be a word")),
            };
            if !seen.insert(key.clone()) {
                return Err(error(span, &format!("key `{key}` is there twice")));
            }
            let (event, value_span) = self.inner()?;
            let value = self.node(event, value_span)?;
            pairs.push((key, span.start.line(), value));
        }
    }

    fn list(&mut self) -> Result<Vec<Node>, YamlError> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.inner()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(items);
            }
            items.push(self.node(event, span)?);
        }
    }
}

fn error(span: Span, message: &str) -> YamlError {
    YamlError {
        line: span.start.line(),
        message: message.to_owned(),
    }
}

/// Writes text as a scalar that [`parse`] reads back to the same text.
pub(crate) fn scalar(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_./-".contains(c);
    let inner = |c: char| plain(c) || c == ':';
    let starts = text
        .chars()
        .next()
        .is_some_and(|c| c.is_ascii_alphanumeric() || c == '/');
    let null = matches!(text, "null" | "Null" | "NULL");
    if starts && !null && text.chars().all(inner) && !text.ends_with(':') {
        return text.to_owned();
    }
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() || ('\u{2028}'..='\u{202e}').contains(&c) || c == '\u{feff}' => {
                out.push_str(&format!("\\u{:04x}", c as u32));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(node: &Node) -> String {
        match &node.value {
            Value::Null => format!("{}:null", node.line),
            Value::Scalar(text) => format!("{}:{text}", node.line),
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(show).collect();
                format!("{}:[{}]", node.line, items.join(" "))
            }
            Value::Map(pairs) => {
                let inner: Vec<_> = pairs
                    .iter()
                    .map(|(k, line, v)| format!("{line}:{k}={}", show(v)))
                    .collect();
                format!("{{{}}}", inner.join(" "))
            }
        }
    }

    fn check(text: &str, want: &str) {
        let got = match parse(text) {
            Ok(None) => "nothing".to_owned(),
            Ok(Some(node)) => show(&node),
            Err(e) => format!("line {}: {}", e.line, e.message),
        };
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn trees_remember_lines() {
        check("", "nothing");
        check("# only a comment\n", "nothing");
        check("a: 1\n\nb:\n  c: x # why\n", "{1:a=1:1 3:b={4:c=4:x}}");
        check(
            "---\na: ~\nb: \"~\"\nc: [1, 2]\n",
            "{2:a=2:null 3:b=3:~ 4:c=4:[4:1 4:2]}",
        );
        check("listen: 127.0.0.1:3100\n", "{1:listen=1:127.0.0.1:3100}");
        check("a: 1\nb: 2\na: 3\n", "line 3: key `a` is there twice");
        check(
            "a: 1\n---\nb: 2\n",
            "line 2: a second document; one is expected",
        );
        check("a: &x 1\nb: *x\n", "line 2: aliases are not supported");
        check("? [a]\n: 1\n", "line 1: a key must be a word");
        assert!(parse("a: [1\nb: 2\n").unwrap_err().line >= 1);
        assert!(parse(&"[".repeat(5000)).is_err());
    }

    #[test]
    fn scalars_come_back() {
        for text in [
            "/var/log/pods",
            "127.0.0.1:3100",
            "",
            "null",
            "a: b",
            "# no",
            "q\"\\",
            "tab\tand\u{7}",
            "x:",
            "- y",
            "\u{e4}\u{202e}",
            "yes",
        ] {
            let written = format!("k: {}\n", scalar(text));
            let Some(Node {
                value: Value::Map(pairs),
                ..
            }) = parse(&written).unwrap()
            else {
                panic!("{written}");
            };
            assert_eq!(
                pairs[0].2.value,
                Value::Scalar(text.to_owned()),
                "{written}"
            );
        }
    }
}
