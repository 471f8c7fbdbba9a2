//! What expressions evaluate to: the types of Go that can occur in a template of Loki.

use std::fmt::{Debug, Formatter};
use std::sync::Arc;

use super::Context;
use super::time::Time;

/// Bytes of a string; often not UTF-8, as lines need not be.
#[derive(Clone)]
pub(super) enum Text<'a> {
    /// Of the template, the line or a label.
    Borrowed(&'a [u8]),
    /// Made by a function.
    Owned(Vec<u8>),
    /// Of decoded JSON.
    Shared(Arc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Text::Borrowed(bytes) => bytes,
            Text::Owned(bytes) => bytes,
            Text::Shared(text) => text.as_bytes(),
        }
    }
}

impl<'a> Text<'a> {
    /// A part of the text, without a copy where that is possible.
    pub(super) fn part(self, range: std::ops::Range<usize>) -> Text<'a> {
        match self {
            Text::Borrowed(bytes) => Text::Borrowed(&bytes[range]),
            Text::Owned(mut bytes) => {
                bytes.truncate(range.end);
                bytes.drain(..range.start);
                Text::Owned(bytes)
            }
            Text::Shared(text) if range == (0..text.len()) => Text::Shared(text),
            Text::Shared(text) => Text::Owned(text.as_bytes()[range].to_vec()),
        }
    }
}

impl Debug for Text<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::format::quote(self))
    }
}

/// Decoded JSON, as Go decodes it into `interface {}`.
#[derive(Debug, Clone)]
pub(super) enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Str(Arc<str>),
    List(Arc<[Json]>),
    /// Keys in byte order, none twice.
    Map(Arc<[(Arc<str>, Json)]>),
}

/// A list, or a part of one. JSON is far shorter than what 32 bits count.
#[derive(Debug, Clone)]
pub(super) struct List {
    items: Arc<[Json]>,
    start: u32,
    end: u32,
}

impl std::ops::Deref for List {
    type Target = [Json];

    fn deref(&self) -> &[Json] {
        &self.items[self.start as usize..self.end as usize]
    }
}

impl List {
    /// A part of the list.
    pub(super) fn part(self, range: std::ops::Range<usize>) -> List {
        List {
            end: self.start + range.end as u32,
            start: self.start + range.start as u32,
            items: self.items,
        }
    }
}

/// Go's integer types that can occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntType {
    Int,
    Int64,
    Uint8,
    Month,
    Weekday,
    Duration,
}

#[derive(Clone)]
pub(super) enum Value<'a> {
    /// No value at all: `nil`, or a `template` without an argument.
    Nothing,
    /// An element of decoded JSON, not yet unwrapped: its type is `interface {}`. A missing key is a null.
    Element(Json),
    Bool(bool),
    Int(IntType, i64),
    Float(f64),
    Complex(f64, f64),
    Text(Text<'a>),
    /// The labels: `map[string]string`.
    Labels(&'a dyn Context),
    List(List),
    Map(Arc<[(Arc<str>, Json)]>),
    Time(Time),
    /// A `*time.Location`.
    Location(super::time::Zone),
}

impl Debug for Value<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let mut out = Vec::new();
        super::gofmt::print_value(&mut out, self);
        f.write_str(&String::from_utf8_lossy(&out))
    }
}

impl<'a> Value<'a> {
    pub(super) fn borrowed(bytes: &'a [u8]) -> Value<'a> {
        Value::Text(Text::Borrowed(bytes))
    }

    pub(super) fn owned(bytes: Vec<u8>) -> Value<'a> {
        Value::Text(Text::Owned(bytes))
    }

    pub(super) fn int(value: usize) -> Value<'a> {
        Value::Int(IntType::Int, value as i64)
    }

    /// The value inside an `interface {}`; a null is no value.
    #[inline]
    pub(super) fn unwrap(self) -> Value<'a> {
        match self {
            Value::Element(json) => Value::decoded(json),
            other => other,
        }
    }

    fn decoded(json: Json) -> Value<'a> {
        match json {
            Json::Null => Value::Nothing,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(value) => Value::Float(value),
            Json::Str(text) => Value::Text(Text::Shared(text)),
            Json::List(list) => {
                let end = list.len() as u32;
                Value::List(List {
                    items: list,
                    start: 0,
                    end,
                })
            }
            Json::Map(map) => Value::Map(map),
        }
    }

    /// Go's name of the type.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Nothing => "<nil>",
            Value::Element(_) => "interface {}",
            Value::Bool(_) => "bool",
            Value::Int(kind, _) => match kind {
                IntType::Int => "int",
                IntType::Int64 => "int64",
                IntType::Uint8 => "uint8",
                IntType::Month => "time.Month",
                IntType::Weekday => "time.Weekday",
                IntType::Duration => "time.Duration",
            },
            Value::Float(_) => "float64",
            Value::Complex(..) => "complex128",
            Value::Text(_) => "string",
            Value::Labels(_) => "map[string]string",
            Value::List(_) => "[]interface {}",
            Value::Map(_) => "map[string]interface {}",
            Value::Time(_) => "time.Time",
            Value::Location(_) => "*time.Location",
        }
    }

    /// What `if`, `and`, `not` see.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Value::Nothing => false,
            Value::Element(json) => match json {
                Json::Null => false,
                Json::Bool(value) => *value,
                Json::Number(value) => *value != 0.0,
                Json::Str(text) => !text.is_empty(),
                Json::List(list) => !list.is_empty(),
                Json::Map(map) => !map.is_empty(),
            },
            Value::Bool(value) => *value,
            Value::Int(_, value) => *value != 0,
            Value::Float(value) => *value != 0.0,
            Value::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Labels(labels) => count_labels(*labels) > 0,
            Value::List(list) => !list.is_empty(),
            Value::Map(map) => !map.is_empty(),
            Value::Time(_) | Value::Location(_) => true,
        }
    }
}

/// How many labels there are.
pub(super) fn count_labels(labels: &dyn Context) -> usize {
    let mut count = 0;
    labels.visit(&mut |_, _| count += 1);
    count
}

/// The value of a key; a missing one is null.
pub(super) fn map_get(map: &[(Arc<str>, Json)], key: &[u8]) -> Json {
    map.binary_search_by(|(name, _)| name.as_bytes().cmp(key))
        .map_or(Json::Null, |at| map[at].1.clone())
}
