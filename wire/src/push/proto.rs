//! Protobuf pushes, read where they lie. A generated reader would allocate a message per entry and refuse lines that are
//! not UTF-8; five message types need four field kinds.

use super::json::Text;
use super::{Entry, Labels, Metadata, PushError, Shape, Stream};

const NANOS: i128 = 1_000_000_000;

/// What Go's decoder says of a message that ends early.
fn cut() -> PushError {
    PushError::new("unexpected EOF")
}

/// A field's value; those of fixed width are of no use here.
#[derive(Debug, Clone, Copy)]
enum Value<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message in order.
#[derive(Debug, Clone, Copy)]
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, PushError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or_else(cut)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(PushError::new("proto: integer overflow"))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], PushError> {
        let len = usize::try_from(len).map_err(|_| cut())?;
        let (bytes, rest) = self.0.split_at_checked(len).ok_or_else(cut)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn field(&mut self) -> Result<(u64, Value<'a>), PushError> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            kind => return Err(PushError::new(format!("proto: illegal wireType {kind}"))),
        };
        if key >> 3 == 0 {
            return Err(PushError::new("proto: illegal tag 0"));
        }
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), PushError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// The messages in field `number`; another kind of value there is an error, other fields are passed over.
fn messages<'a>(
    fields: &mut Fields<'a>,
    number: u64,
    what: &str,
) -> Option<Result<&'a [u8], PushError>> {
    fields.find_map(|field| match field {
        Ok((n, Value::Bytes(bytes))) if n == number => Some(Ok(bytes)),
        Ok((n, _)) if n == number => {
            let text = format!("proto: wrong wireType for field {what}");
            Some(Err(PushError::new(text)))
        }
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The streams of a `PushRequest`.
#[derive(Debug)]
pub(super) struct Streams<'a>(Fields<'a>);

impl<'a> Streams<'a> {
    pub(super) fn new(body: &'a [u8]) -> Streams<'a> {
        Streams(Fields(body))
    }
}

impl<'a> Iterator for Streams<'a> {
    type Item = Result<Stream<'a>, PushError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(messages(&mut self.0, 1, "Streams")?.and_then(stream))
    }
}

fn stream(message: &[u8]) -> Result<Stream<'_>, PushError> {
    // Of a field that must come once, the last one counts.
    let mut labels: &[u8] = &[];
    let mut fields = Fields(message);
    while let Some(text) = messages(&mut fields, 1, "Labels") {
        labels = text?;
    }
    Ok(Stream {
        labels: Labels::Selector(Text::plain(labels)),
        entries: message,
        shape: Shape::Protobuf,
    })
}

/// The entries of a `Stream`.
#[derive(Debug)]
pub(super) struct Entries<'a>(Fields<'a>);

impl<'a> Entries<'a> {
    pub(super) fn new(message: &'a [u8]) -> Entries<'a> {
        Entries(Fields(message))
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Entry<'a>, PushError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(messages(&mut self.0, 2, "Entries")?.and_then(entry))
    }
}

fn entry(message: &[u8]) -> Result<Entry<'_>, PushError> {
    let (mut ts, mut line): (i64, &[u8]) = (0, &[]);
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => ts = timestamp(bytes)?,
            (2, Value::Bytes(bytes)) => line = bytes,
            (1 | 2, _) => {
                return Err(PushError::new("proto: wrong wireType for a field of Entry"));
            }
            _ => {}
        }
    }
    Ok(Entry {
        ts,
        line: Text::plain(line),
        metadata: Metadata {
            shape: Shape::Protobuf,
            span: message,
        },
    })
}

fn timestamp(message: &[u8]) -> Result<i64, PushError> {
    let (mut seconds, mut nanos) = (0u64, 0u64);
    for field in Fields(message) {
        match field? {
            (1, Value::Varint(value)) => seconds = value,
            (2, Value::Varint(value)) => nanos = value,
            _ => {}
        }
    }
    let (seconds, nanos) = (seconds as i64, nanos as i32);
    let ns = i128::from(seconds) * NANOS + i128::from(nanos);
    match i64::try_from(ns) {
        Ok(ns) if (0..1_000_000_000).contains(&nanos) => Ok(ns),
        _ => Err(PushError::new(format!(
            "timestamp: seconds:{seconds} nanos:{nanos}: outside the years 1678 to 2262, or nanos not in range [0, 1e9)"
        ))),
    }
}

/// The `LabelPair`s of an `Entry`.
#[derive(Debug)]
pub(super) struct Pairs<'a>(Fields<'a>);

impl<'a> Pairs<'a> {
    pub(super) fn new(message: &'a [u8]) -> Pairs<'a> {
        Pairs(Fields(message))
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(Text<'a>, Text<'a>), PushError>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(messages(&mut self.0, 3, "StructuredMetadata")?.and_then(pair))
    }
}

fn pair(message: &[u8]) -> Result<(Text<'_>, Text<'_>), PushError> {
    let (mut name, mut value): (&[u8], &[u8]) = (&[], &[]);
    for field in Fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => name = bytes,
            (2, Value::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    Ok((Text::plain(name), Text::plain(value)))
}
