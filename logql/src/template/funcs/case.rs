//! Upper and lower case by Unicode's simple mappings: one character becomes one character, as in Go.

/// `ToLower` of a character.
fn lower(c: char) -> char {
    match c {
        // Its full mapping has two characters.
        '\u{130}' => 'i',
        _ => c.to_lowercase().next().unwrap_or(c),
    }
}

/// `ToUpper` of a character.
fn upper(c: char) -> char {
    let mut mapped = c.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(only), None) => only,
        _ => simple_upper(c),
    }
}

/// The simple mapping of characters whose full mapping has more than one: Greek letters with an iota below have one.
fn simple_upper(c: char) -> char {
    let code = c as u32;
    let mapped = match code {
        0x1f80..=0x1f87 | 0x1f90..=0x1f97 | 0x1fa0..=0x1fa7 => code + 8,
        0x1fb3 | 0x1fc3 | 0x1ff3 => code + 9,
        _ => code,
    };
    char::from_u32(mapped).unwrap_or(c)
}

/// `ToTitle` of a character: as upper case but for ligatures, which have a form of their own, and for Georgian.
fn title(c: char) -> char {
    let code = c as u32;
    let mapped = match code {
        0x1c4..=0x1c6 => 0x1c5,
        0x1c7..=0x1c9 => 0x1c8,
        0x1ca..=0x1cc => 0x1cb,
        0x1f1..=0x1f3 => 0x1f2,
        0x10d0..=0x10fa | 0x10fd..=0x10ff => code,
        _ => return upper(c),
    };
    char::from_u32(mapped).unwrap_or(c)
}

/// Appends a text in which each character is mapped. Bytes that are not UTF-8 become U+FFFD.
fn map(out: &mut Vec<u8>, text: &[u8], mut mapping: impl FnMut(char) -> char) {
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid().chars();
        let invalid = chunk.invalid().iter().map(|_| '\u{fffd}');
        for c in valid.chain(invalid) {
            let c = mapping(c);
            if c.is_ascii() {
                out.push(c as u8);
            } else {
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
    }
}

/// Appends a text in lower case.
pub(super) fn push_lower(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_ascii() {
        out.extend(text.iter().map(u8::to_ascii_lowercase));
    } else {
        map(out, text, lower);
    }
}

/// Appends a text in upper case.
pub(super) fn push_upper(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_ascii() {
        out.extend(text.iter().map(u8::to_ascii_uppercase));
    } else {
        map(out, text, upper);
    }
}

/// Appends a text with the first letter of each word in title case.
pub(super) fn push_title(out: &mut Vec<u8>, text: &[u8]) {
    let mut before = ' ';
    map(out, text, |c| {
        let mapped = if separates(before) { title(c) } else { c };
        before = c;
        mapped
    });
}

/// Whether a word begins behind a character.
fn separates(c: char) -> bool {
    if c.is_ascii() {
        !(c.is_ascii_alphanumeric() || c == '_')
    } else {
        c.is_whitespace()
    }
}
