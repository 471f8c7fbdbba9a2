//! Parameters of a request: query string and form body, decoded and looked up by name.

/// Decoded parameters in order; those of the body come before those of the URL, and the first of a name wins.
#[derive(Debug, Default)]
pub(super) struct Form {
    pairs: Vec<(String, Value)>,
}

#[derive(Debug)]
struct Value {
    /// Bytes that are not UTF-8 are U+FFFD.
    text: String,
    /// What was sent, if it is not UTF-8.
    raw: Option<Vec<u8>>,
}

impl Value {
    fn bytes(&self) -> &[u8] {
        self.raw.as_deref().unwrap_or(self.text.as_bytes())
    }
}

impl Form {
    /// Decodes `body` (a form) and then `query` (of the URL).
    ///
    /// # Errors
    /// The text for the client, when a percent escape is broken.
    pub(super) fn parse(body: &[u8], query: &str) -> Result<Form, String> {
        let mut form = Form::default();
        for part in [body, query.as_bytes()] {
            for pair in part.split(|b| *b == b'&').filter(|p| !p.is_empty()) {
                let at = pair.iter().position(|b| *b == b'=');
                let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
                let value = match String::from_utf8(decode_bytes(value, true)?) {
                    Ok(text) => Value { text, raw: None },
                    Err(e) => Value {
                        text: String::from_utf8_lossy(e.as_bytes()).into_owned(),
                        raw: Some(e.into_bytes()),
                    },
                };
                form.pairs.push((decode(name, true)?, value));
            }
        }
        Ok(form)
    }

    /// The first value of `name`; an absent and an empty one are the same.
    pub(super) fn get(&self, name: &str) -> &str {
        self.values(name).next().map_or("", |v| v.text.as_str())
    }

    /// As [`Form::get`], byte for byte: a query that is not UTF-8 is an error of the language.
    pub(super) fn bytes(&self, name: &str) -> &[u8] {
        self.values(name).next().map_or(&[], Value::bytes)
    }

    /// All values of `name`, byte for byte.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.values(name).map(Value::bytes)
    }

    fn values<'a, 'n>(&'a self, name: &'n str) -> impl Iterator<Item = &'a Value> + use<'a, 'n> {
        self.pairs
            .iter()
            .filter(move |(n, _)| n == name)
            .map(|(_, value)| value)
    }
}

/// Undoes percent encoding; `plus` is a blank in forms but not in paths. Bytes that are not UTF-8 become U+FFFD.
///
/// # Errors
/// The text for the client, when a percent escape is broken.
pub(super) fn decode(text: &[u8], plus: bool) -> Result<String, String> {
    Ok(match String::from_utf8(decode_bytes(text, plus)?) {
        Ok(text) => text,
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    })
}

fn decode_bytes(text: &[u8], plus: bool) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(text.len());
    let mut i = 0;
    while i < text.len() {
        match text[i] {
            b'%' => {
                let digits = text.get(i + 1..i + 3);
                let byte = digits.and_then(|d| Some(hex(d[0])? << 4 | hex(d[1])?));
                let Some(byte) = byte else {
                    let end = text.len().min(i + 3);
                    let shown = String::from_utf8_lossy(&text[i..end]);
                    return Err(format!("invalid URL escape {shown:?}"));
                };
                out.push(byte);
                i += 3;
                continue;
            }
            b'+' if plus => out.push(b' '),
            b => out.push(b),
        }
        i += 1;
    }
    Ok(out)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str, query: &str, name: &str, want: &[&str]) {
        let form = Form::parse(body.as_bytes(), query).unwrap();
        let all: Vec<_> = form.all(name).map(String::from_utf8_lossy).collect();
        assert_eq!(all, want, "{body} {query}");
        assert_eq!(form.get(name), want.first().copied().unwrap_or(""));
    }

    #[test]
    fn parameters_are_decoded() {
        check("", "", "a", &[]);
        check("", "a=1&b=2", "b", &["2"]);
        check("a=body", "a=url", "a", &["body", "url"]);
        check("", "a", "a", &[""]);
        check("", "&&a=1=2&", "a", &["1=2"]);
        check("", "match%5B%5D=x&match[]=y", "match[]", &["x", "y"]);
        check("", "q=%7Ba%3D%22b+c%22%7D%2b", "q", &["{a=\"b c\"}+"]);
        check("", "q=%ff", "q", &["\u{fffd}"]);
        let form = Form::parse(b"q=%ff", "").unwrap();
        assert_eq!(form.bytes("q"), b"\xff");
    }

    #[test]
    fn broken_escapes_are_errors() {
        for text in ["a=%", "a=%1", "a=%zz", "%=1"] {
            assert!(Form::parse(b"", text).is_err(), "{text}");
        }
    }
}
