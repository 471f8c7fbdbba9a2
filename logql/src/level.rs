//! `detected_level` and `service_name`, as Loki finds them at ingestion (logql.md section 13).

use crate::Pairs;

/// The labels that name a service, first hit wins; the value is `unknown_service` without one.
#[must_use]
pub fn service_name<'a>(_stream: Pairs<'a>) -> &'a str {
    unimplemented!()
}

/// The level of an entry: from metadata, stream labels, or the line. `unknown` if nothing says.
#[must_use]
pub fn detect<'a>(
    _line: &'a [u8],
    _stream: Pairs<'a>,
    _metadata: Pairs<'a>,
) -> std::borrow::Cow<'a, str> {
    unimplemented!()
}

/// The level that the line alone shows (steps 5 and 6): the hot path of the tailer, no allocation.
#[must_use]
pub fn detect_in_line(_line: &[u8]) -> &'static str {
    unimplemented!()
}
