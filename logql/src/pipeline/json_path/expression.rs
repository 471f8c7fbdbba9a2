//! Paths as they are written: `a.b[0]["key"]`. Loki's grammar decides what is reported of a bad one.

use super::Part;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Dot,
    Open,
    Close,
    Text(String),
    Field(String),
    Index(usize),
    End,
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::Dot => "DOT",
            Token::Open => "LSB",
            Token::Close => "RSB",
            Token::Text(_) => "STRING",
            Token::Field(_) => "FIELD",
            Token::Index(_) => "INDEX",
            Token::End => "$end",
        }
    }
}

struct Lexer<'p> {
    rest: std::iter::Peekable<std::str::Chars<'p>>,
    /// What cannot be a token; it ends the expression as its end does.
    fault: Option<String>,
}

impl Lexer<'_> {
    fn take_while(&mut self, belongs: impl Fn(char) -> bool) -> String {
        let mut out = String::new();
        while let Some(c) = self.rest.next_if(|c| belongs(*c)) {
            out.push(c);
        }
        out
    }

    fn next(&mut self) -> Token {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\n'));
        let Some(c) = self.rest.next_if(|c| *c != '\0') else {
            return Token::End;
        };
        match c {
            '[' => Token::Open,
            ']' => Token::Close,
            '.' => Token::Dot,
            '"' => {
                // The text ends at a bracket too, which is lost.
                let text = self.take_while(|c| !matches!(c, '"' | ']' | '\0'));
                self.rest.next();
                Token::Text(text)
            }
            '0'..='9' => self.index(c),
            'a'..='z' | 'A'..='Z' | '_' => {
                let mut field = String::from(c);
                field += &self.take_while(|c| c.is_ascii_alphanumeric() || c == '_');
                Token::Field(field)
            }
            _ => self.fail(format!("unexpected char {c}")),
        }
    }

    fn fail(&mut self, fault: String) -> Token {
        self.fault = Some(fault);
        Token::End
    }

    fn index(&mut self, first: char) -> Token {
        let mut digits = String::from(first);
        digits += &self.take_while(|c| c.is_ascii_digit());
        match self.rest.peek() {
            Some('.') => self.fail("cannot use float as array index".to_owned()),
            Some(' ' | '\t' | '\n' | ']') => match digits.parse() {
                Ok(index) => Token::Index(index),
                Err(_) => self.fail(format!(
                    "strconv.Atoi: parsing \"{digits}\": value out of range"
                )),
            },
            c => {
                let c = c.copied().unwrap_or('\0');
                self.fail(format!("non-integer value: {c}"))
            }
        }
    }
}

fn unexpected(token: &Token, expecting: &str) -> String {
    let comma = if expecting.is_empty() {
        ""
    } else {
        ", expecting "
    };
    format!(
        "syntax error: unexpected {}{comma}{expecting}",
        token.name()
    )
}

/// The parts of a path, at least one.
pub(super) fn parse(text: &[u8]) -> Result<Vec<Part>, String> {
    let text = String::from_utf8_lossy(text);
    let mut lexer = Lexer {
        rest: text.chars().peekable(),
        fault: None,
    };
    let mut parts = Vec::new();
    loop {
        let key = match lexer.next() {
            Token::Open => bracketed(&mut lexer)?,
            Token::Field(field) if parts.is_empty() => field,
            token if parts.is_empty() => return Err(unexpected(&token, "LSB or FIELD")),
            Token::Dot => match lexer.next() {
                Token::Field(field) => field,
                token => return Err(unexpected(&token, "FIELD")),
            },
            Token::End => return lexer.fault.map_or(Ok(parts), Err),
            token => return Err(unexpected(&token, "")),
        };
        let index = key.strip_prefix('[').and_then(|k| k.strip_suffix(']'));
        parts.push(Part {
            index: index.and_then(|index| index.parse().ok()),
            text: key.into_bytes(),
        });
    }
}

/// What is inside brackets; an index stays in them.
fn bracketed(lexer: &mut Lexer<'_>) -> Result<String, String> {
    let key = match lexer.next() {
        Token::Text(text) => text,
        Token::Index(index) => format!("[{index}]"),
        token => return Err(unexpected(&token, "STRING or INDEX")),
    };
    match lexer.next() {
        Token::Close => Ok(key),
        token => Err(unexpected(&token, "RSB")),
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    fn check(path: &str, expected: &str) {
        let found = match parse(path.as_bytes()) {
            Ok(parts) => {
                let parts = parts.iter().map(|p| String::from_utf8_lossy(&p.text));
                parts.collect::<Vec<_>>().join(" / ")
            }
            Err(error) => format!("! {error}"),
        };
        assert_eq!(found, expected, "{path}");
    }

    #[test]
    fn paths() {
        check("a", "a");
        check("a.b_c.D9", "a / b_c / D9");
        check(" a . b [ 0 ] [ \"x y\" ] ", "a / b / [0] / x y");
        check("[\"a.b\"]", "a.b");
        check("[12]", "[12]");
        check("a[\"b\"].c", "a / b / c");
        check("a[\"b\"]c", "! syntax error: unexpected FIELD");
        check(
            "",
            "! syntax error: unexpected $end, expecting LSB or FIELD",
        );
        check(
            ".a",
            "! syntax error: unexpected DOT, expecting LSB or FIELD",
        );
        check(
            "[",
            "! syntax error: unexpected $end, expecting STRING or INDEX",
        );
        check("a..b", "! syntax error: unexpected DOT, expecting FIELD");
        check("a.", "! syntax error: unexpected $end, expecting FIELD");
        check(
            "a[b]",
            "! syntax error: unexpected FIELD, expecting STRING or INDEX",
        );
        check(
            "a[1.5]",
            "! syntax error: unexpected $end, expecting STRING or INDEX",
        );
        check(
            "a[1",
            "! syntax error: unexpected $end, expecting STRING or INDEX",
        );
        check("a[\"b]", "! syntax error: unexpected $end, expecting RSB");
        check("a-b", "! unexpected char -");
        check("a b", "! syntax error: unexpected FIELD");
        check(
            "a.\"b\"",
            "! syntax error: unexpected STRING, expecting FIELD",
        );
    }
}
