//! Names and values of structured metadata as Loki keeps them.

use std::borrow::Cow;

/// A name as a label may have it: each run of other characters and underscores becomes one underscore, a digit in front
/// gets a prefix. `__x__` keeps its ends. `None` for a name with nothing left of it.
pub(super) fn name(raw: &[u8]) -> Option<Cow<'_, str>> {
    let text = String::from_utf8_lossy(raw);
    let plain = text
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !text.contains("__");
    if plain {
        return (text != "_").then_some(text);
    }
    let inner = text.strip_prefix("__").and_then(|t| t.strip_suffix("__"));
    let mut out = String::with_capacity(text.len() + 4);
    if inner.is_some() {
        out.push_str("__");
    }
    let mut underscore = false;
    for c in inner.unwrap_or(&text).chars() {
        let keep = c.is_ascii_alphanumeric();
        if keep {
            out.push(c);
        } else if !underscore {
            out.push('_');
        }
        underscore = !keep;
    }
    if inner.is_some() {
        out.push_str("__");
    }
    if out.starts_with(|c: char| c.is_ascii_digit()) {
        out.insert_str(0, "key_");
    }
    (!out.bytes().all(|b| b == b'_')).then_some(Cow::Owned(out))
}

/// A value: what is not UTF-8 becomes blanks.
pub(super) fn value(raw: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(raw);
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Cow::Owned(text.replace(char::REPLACEMENT_CHARACTER, " "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_made_sound() {
        for (raw, want) in [
            (&b"trace_id"[..], Some("trace_id")),
            (b"a.b-c", Some("a_b_c")),
            (b"a b", Some("a_b")),
            (b"a__b.-c", Some("a_b_c")),
            (b"9x", Some("key_9x")),
            (b"9.x", Some("key_9_x")),
            (b"__dunder__", Some("__dunder__")),
            (b"__d.x__", Some("__d_x__")),
            (b"_u", Some("_u")),
            (b"UPPER", Some("UPPER")),
            (b"a\xffb", Some("a_b")),
            ("\u{e9}".as_bytes(), None),
            (b"_", None),
            (b"____", None),
            (b"", None),
        ] {
            assert_eq!(name(raw).as_deref(), want, "{raw:?}");
        }
        assert_eq!(value(b"a b"), "a b");
        assert_eq!(value(b"a\xff\xc3b"), "a  b");
        assert_eq!(value(b""), "");
    }
}
