//! Label names from keys: what is no letter, digit or underscore becomes an underscore.

/// Appended to the name of a label that a stream label or metadata has already.
pub(super) const EXTRACTED: &str = "_extracted";

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// [`is_plain`] of every byte.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        plain[byte] = is_plain(byte as u8);
        byte += 1;
    }
    plain
};

/// The characters of a sanitised key, without the underscore before a leading digit. Each invalid byte is one
/// character.
fn characters(key: &[u8]) -> impl Iterator<Item = u8> + '_ {
    key.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars();
        let valid = valid.map(|c| match u8::try_from(c) {
            Ok(byte) if is_plain(byte) => byte,
            _ => b'_',
        });
        valid.chain(chunk.invalid().iter().map(|_| b'_'))
    })
}

/// The key without white space round it, which is that of Unicode.
fn trim(key: &[u8]) -> &[u8] {
    let edge = |byte: Option<&u8>| byte.is_none_or(|b| b.is_ascii_graphic());
    if edge(key.first()) && edge(key.last()) {
        return key;
    }
    let mut key = key.trim_ascii();
    // Trimming ASCII first leaves little to do for what is rare.
    while let Some(chunk) = key.utf8_chunks().next() {
        let len = chunk.valid().len() - chunk.valid().trim_start().len();
        if len == 0 {
            break;
        }
        key = &key[len..];
    }
    let tail = key.utf8_chunks().last();
    if let Some(chunk) = tail
        && chunk.invalid().is_empty()
    {
        let len = chunk.valid().len() - chunk.valid().trim_end().len();
        key = &key[..key.len() - len];
    }
    key
}

/// Appends the label name of a key, or of the next part of a path. Nothing is appended for a blank key.
pub(super) fn push_sanitised(out: &mut String, key: &[u8], first: bool) {
    push_known(out, key, str::from_utf8(key).ok(), first);
}

/// As [`push_sanitised`], for a key that is known as a text already.
pub(super) fn push_known(out: &mut String, key: &[u8], text: Option<&str>, first: bool) {
    if let Some(text) = text
        && key.iter().all(|b| PLAIN[usize::from(*b)])
    {
        if first && key.first().is_some_and(u8::is_ascii_digit) {
            out.push('_');
        }
        out.push_str(text);
        return;
    }
    let key = trim(key);
    if first && key.first().is_some_and(u8::is_ascii_digit) {
        out.push('_');
    }
    out.extend(characters(key).map(char::from));
}

/// Whether a key has this label name.
#[inline(always)]
pub(super) fn is_sanitised(key: &[u8], name: &str) -> bool {
    let (Some(head), Some(first)) = (name.as_bytes().first(), key.first()) else {
        return false;
    };
    // Where the first characters differ, and neither is one that may be left out or become an underscore, the names
    // do too.
    if first != head && first.is_ascii_alphabetic() {
        return false;
    }
    if key == name.as_bytes() {
        return key.iter().all(|b| is_plain(*b)) && !head.is_ascii_digit();
    }
    changes_to(key, name)
}

#[inline(never)]
fn changes_to(key: &[u8], name: &str) -> bool {
    // Any change but trimming brings an underscore, and then most names differ at once.
    let key = trim(key);
    let name = match key.first() {
        None => return false,
        Some(b'0'..=b'9') => match name.strip_prefix('_') {
            Some(rest) => rest,
            None => return false,
        },
        Some(_) => name,
    };
    name.len() <= key.len() && characters(key).eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_names() {
        let check = |key: &[u8], expected: &str| {
            let mut out = String::new();
            push_sanitised(&mut out, key, true);
            assert_eq!(out, expected, "{key:?}");
            if !expected.is_empty() {
                assert!(is_sanitised(key, expected), "{key:?} {expected}");
                assert!(!is_sanitised(key, "other"), "{key:?}");
                assert!(!is_sanitised(key, &format!("{expected}x")), "{key:?}");
            }
        };
        check(b"plain_1", "plain_1");
        check(b"", "");
        check(b" \t\n", "");
        check("\u{a0}\u{2003}".as_bytes(), "");
        check("\u{a0} x-y \u{2003}\u{85}".as_bytes(), "x_y");
        check(b"1st", "_1st");
        check(b" 1st", "_1st");
        check(b"a b", "a_b");
        check(b"a-b.c/d", "a_b_c_d");
        check("\u{e9}".as_bytes(), "_");
        check("caf\u{e9}!".as_bytes(), "caf__");
        check(b"a\xff\xfeb", "a__b");
        check(b"x\xff ", "x_");
        check(b"A9_z", "A9_z");
        let mut out = "p_".to_owned();
        push_sanitised(&mut out, b"9x", false);
        assert_eq!(out, "p_9x");
    }
}
