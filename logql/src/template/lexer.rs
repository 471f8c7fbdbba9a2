//! Template text to tokens. All tokens are made before parsing; a fault becomes the last token, so that what stands
//! before it is reported first.

/// What a token is. The order of the keywords does not matter; errors print them as `<word>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The value is the message.
    Error,
    Eof,
    /// Text outside actions.
    Text,
    LeftDelim,
    RightDelim,
    Space,
    /// `=`
    Assign,
    /// `:=`
    Declare,
    Pipe,
    LeftParen,
    RightParen,
    /// A character that nothing else begins with, a comma for example.
    Char,
    Bool,
    CharConstant,
    Complex,
    Number,
    Str,
    RawStr,
    Identifier,
    /// `.name`
    Field,
    /// `$` or `$name`
    Variable,
    Dot,
    Nil,
    /// A word that begins an action.
    Word(Word),
}

/// Words with a meaning at the head of an action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

const WORDS: [(&str, Word); 10] = [
    ("block", Word::Block),
    ("break", Word::Break),
    ("continue", Word::Continue),
    ("define", Word::Define),
    ("else", Word::Else),
    ("end", Word::End),
    ("if", Word::If),
    ("range", Word::Range),
    ("template", Word::Template),
    ("with", Word::With),
];

/// A piece of the source.
#[derive(Debug, Clone)]
pub(super) struct Token<'s> {
    pub(super) kind: Kind,
    /// Offset in the source.
    pub(super) at: usize,
    /// Line where it begins, from 1.
    pub(super) line: usize,
    pub(super) text: std::borrow::Cow<'s, [u8]>,
}

impl Token<'_> {
    /// As errors name it: `"x"`, `<end>`, `EOF`.
    pub(super) fn describe(&self) -> String {
        let text = String::from_utf8_lossy(&self.text);
        match self.kind {
            Kind::Eof => "EOF".to_owned(),
            Kind::Error => text.into_owned(),
            Kind::Word(_) | Kind::Dot | Kind::Nil => format!("<{text}>"),
            _ if self.text.len() > 10 => {
                let head = text.char_indices().nth(10).map_or(text.len(), |(i, _)| i);
                format!("{}...", crate::format::quote(&text.as_bytes()[..head]))
            }
            _ => crate::format::quote(&self.text),
        }
    }
}

const LEFT: &[u8] = b"{{";
const RIGHT: &[u8] = b"}}";

/// Splits a template.
pub(super) fn tokens(source: &[u8]) -> Vec<Token<'_>> {
    let mut lexer = Lexer {
        source,
        at: 0,
        start: 0,
        line: 1,
        start_line: 1,
        parens: 0,
        tokens: Vec::new(),
    };
    if let Err(message) = lexer.run() {
        lexer.tokens.push(Token {
            kind: Kind::Error,
            at: lexer.start,
            line: lexer.start_line,
            text: message.into_bytes().into(),
        });
    }
    lexer.tokens
}

struct Lexer<'s> {
    source: &'s [u8],
    at: usize,
    /// Where the current token begins.
    start: usize,
    line: usize,
    start_line: usize,
    /// Open parentheses of the current action.
    parens: usize,
    tokens: Vec<Token<'s>>,
}

fn is_space(byte: Option<&u8>) -> bool {
    matches!(byte, Some(b' ' | b'\t' | b'\r' | b'\n'))
}

/// The character at an offset and its length; invalid bytes are U+FFFD.
fn char_at(source: &[u8], at: usize) -> Option<(char, usize)> {
    let rest = source.get(at..)?;
    let head = &rest[..rest.len().min(4)];
    let valid = match std::str::from_utf8(head) {
        Ok(text) => text,
        Err(error) => std::str::from_utf8(&head[..error.valid_up_to()]).unwrap_or(""),
    };
    match valid.chars().next() {
        Some(c) => Some((c, c.len_utf8())),
        None => rest.first().map(|_| ('\u{fffd}', 1)),
    }
}

fn is_word_char(c: char) -> bool {
    c == '_' || (c != '\u{fffd}' && c.is_alphanumeric())
}

/// A character in an error: `U+007D '}'`.
fn name_char(c: char) -> String {
    let code = format!("U+{:04X}", c as u32);
    if crate::format::printable(c) {
        format!("{code} '{c}'")
    } else {
        code
    }
}

impl<'s> Lexer<'s> {
    fn rest(&self) -> &'s [u8] {
        &self.source[self.at..]
    }

    /// Moves on, counting lines.
    fn advance(&mut self, len: usize) {
        let passed = &self.source[self.at..self.at + len];
        self.line += passed.iter().filter(|b| **b == b'\n').count();
        self.at += len;
    }

    /// Forgets what was passed since the last token.
    fn ignore(&mut self) {
        self.start = self.at;
        self.start_line = self.line;
    }

    fn emit(&mut self, kind: Kind) {
        self.tokens.push(Token {
            kind,
            at: self.start,
            line: self.start_line,
            text: self.source[self.start..self.at].into(),
        });
        self.ignore();
    }

    fn run(&mut self) -> Result<(), String> {
        loop {
            let rest = self.rest();
            let Some(len) = memchr::memmem::find(rest, LEFT) else {
                self.advance(rest.len());
                if self.at > self.start {
                    self.emit(Kind::Text);
                }
                self.emit(Kind::Eof);
                return Ok(());
            };
            self.text(len);
            self.open()?;
        }
    }

    /// Text before a delimiter, without its trailing blanks if the delimiter trims.
    fn text(&mut self, len: usize) {
        let text = &self.rest()[..len];
        let delimiter = &self.rest()[len + LEFT.len()..];
        let kept = if trims_left(delimiter) {
            let blanks = text.iter().rev().take_while(|b| is_space(Some(b))).count();
            len - blanks
        } else {
            len
        };
        self.advance(kept);
        if kept > 0 {
            self.emit(Kind::Text);
        }
        self.advance(len - kept);
        self.ignore();
    }

    /// A left delimiter and what belongs to it: a comment, or a whole action.
    fn open(&mut self) -> Result<(), String> {
        self.advance(LEFT.len());
        let marker = if trims_left(self.rest()) { 2 } else { 0 };
        if self.rest()[marker..].starts_with(b"/*") {
            self.advance(marker);
            self.ignore();
            return self.comment();
        }
        self.emit(Kind::LeftDelim);
        self.advance(marker);
        self.ignore();
        self.parens = 0;
        while !self.action_token()? {}
        Ok(())
    }

    fn comment(&mut self) -> Result<(), String> {
        let Some(len) = memchr::memmem::find(&self.rest()[2..], b"*/") else {
            return Err("unclosed comment".to_owned());
        };
        let end = len + 4;
        let Some(trim) = self.right_delimiter(end) else {
            return Err("comment ends before closing delimiter".to_owned());
        };
        self.advance(end);
        self.close(trim);
        Ok(())
    }

    /// Whether a right delimiter stands at an offset from here, and whether it trims.
    fn right_delimiter(&self, ahead: usize) -> Option<bool> {
        let rest = self.rest().get(ahead..)?;
        if is_space(rest.first()) && rest[1..].starts_with(b"-}}") {
            return Some(true);
        }
        rest.starts_with(RIGHT).then_some(false)
    }

    /// Passes a right delimiter and the blanks that it trims.
    fn close(&mut self, trim: bool) {
        self.advance(RIGHT.len() + if trim { 2 } else { 0 });
        if trim {
            let blanks = self.rest().iter().take_while(|b| is_space(Some(b))).count();
            self.advance(blanks);
        }
        self.ignore();
    }

    /// One token inside an action. True: the action ended.
    fn action_token(&mut self) -> Result<bool, String> {
        if let Some(trim) = self.right_delimiter(0) {
            if self.parens > 0 {
                return Err("unclosed left paren".to_owned());
            }
            if trim {
                self.advance(2);
                self.ignore();
            }
            self.advance(RIGHT.len());
            self.emit(Kind::RightDelim);
            if trim {
                let blanks = self.rest().iter().take_while(|b| is_space(Some(b))).count();
                self.advance(blanks);
                self.ignore();
            }
            return Ok(true);
        }
        let Some((c, len)) = char_at(self.source, self.at) else {
            return Err("unclosed action".to_owned());
        };
        match c {
            ' ' | '\t' | '\r' | '\n' => self.space(),
            '=' => self.single(Kind::Assign),
            ':' => {
                if !self.rest().starts_with(b":=") {
                    return Err("expected :=".to_owned());
                }
                self.advance(2);
                self.emit(Kind::Declare);
            }
            '|' => self.single(Kind::Pipe),
            '"' => self.quoted(b'"', Kind::Str, "unterminated quoted string")?,
            '\'' => self.quoted(b'\'', Kind::CharConstant, "unterminated character constant")?,
            '`' => self.raw()?,
            '$' => {
                self.advance(1);
                self.name(Kind::Variable, Kind::Variable)?;
            }
            // At the very end a point is taken for a number, as Go does.
            '.' if self.rest().get(1).is_some_and(|b| !b.is_ascii_digit()) => {
                self.advance(1);
                self.name(Kind::Field, Kind::Dot)?;
            }
            '.' | '+' | '-' | '0'..='9' => self.number()?,
            '(' => {
                self.parens += 1;
                self.single(Kind::LeftParen);
            }
            ')' => {
                if self.parens == 0 {
                    return Err("unexpected right paren".to_owned());
                }
                self.parens -= 1;
                self.single(Kind::RightParen);
            }
            _ if is_word_char(c) => self.word()?,
            ' '..='~' => self.single(Kind::Char),
            _ => {
                self.advance(len);
                return Err(format!(
                    "unrecognized character in action: {}",
                    name_char(c)
                ));
            }
        }
        Ok(false)
    }

    fn single(&mut self, kind: Kind) {
        self.advance(1);
        self.emit(kind);
    }

    /// Blanks; the last one may belong to a trimming delimiter.
    fn space(&mut self) {
        let mut len = self.rest().iter().take_while(|b| is_space(Some(b))).count();
        if self.right_delimiter(len - 1) == Some(true) {
            len -= 1;
        }
        if len > 0 {
            self.advance(len);
            self.emit(Kind::Space);
        }
    }

    fn quoted(&mut self, quote: u8, kind: Kind, fault: &str) -> Result<(), String> {
        let rest = self.rest();
        let mut i = 1;
        loop {
            match rest.get(i) {
                None | Some(b'\n') => return Err(fault.to_owned()),
                Some(b'\\') if !matches!(rest.get(i + 1), None | Some(b'\n')) => i += 2,
                Some(b'\\') => return Err(fault.to_owned()),
                Some(b) if *b == quote => break,
                Some(_) => i += 1,
            }
        }
        self.advance(i + 1);
        self.emit(kind);
        Ok(())
    }

    fn raw(&mut self) -> Result<(), String> {
        let Some(len) = memchr::memchr(b'`', &self.rest()[1..]) else {
            return Err("unterminated raw quoted string".to_owned());
        };
        self.advance(len + 2);
        self.emit(Kind::RawStr);
        Ok(())
    }

    /// Whether what stands here may follow a name.
    fn at_terminator(&self) -> bool {
        let rest = self.rest();
        matches!(
            rest.first(),
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b'.' | b',' | b'|' | b':' | b')' | b'(')
        ) || rest.starts_with(RIGHT)
    }

    fn word_chars(&mut self) {
        while let Some((c, len)) = char_at(self.source, self.at)
            && is_word_char(c)
        {
            self.advance(len);
        }
    }

    fn check_terminator(&self) -> Result<(), String> {
        if self.at_terminator() {
            return Ok(());
        }
        let c = char_at(self.source, self.at).map_or('\u{fffd}', |(c, _)| c);
        Err(format!("bad character {}", name_char(c)))
    }

    /// The name after `.` or `$`; without one the token is of the kind `alone`.
    fn name(&mut self, kind: Kind, alone: Kind) -> Result<(), String> {
        if self.at_terminator() {
            self.emit(alone);
            return Ok(());
        }
        self.word_chars();
        self.check_terminator()?;
        self.emit(kind);
        Ok(())
    }

    fn word(&mut self) -> Result<(), String> {
        self.word_chars();
        self.check_terminator()?;
        let text = &self.source[self.start..self.at];
        let kind = match text {
            b"true" | b"false" => Kind::Bool,
            b"nil" => Kind::Nil,
            _ => WORDS
                .iter()
                .find(|(word, _)| word.as_bytes() == text)
                .map_or(Kind::Identifier, |(_, word)| Kind::Word(*word)),
        };
        self.emit(kind);
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        let bad = |lexer: &Self| {
            let text = &lexer.source[lexer.start..lexer.at];
            Err(format!("bad number syntax: {}", crate::format::quote(text)))
        };
        if !self.scan_number() {
            return bad(self);
        }
        if !matches!(self.rest().first(), Some(b'+' | b'-')) {
            self.emit(Kind::Number);
            return Ok(());
        }
        // A complex number: 1+2i.
        if !self.scan_number() || self.source[self.at - 1] != b'i' {
            return bad(self);
        }
        self.emit(Kind::Complex);
        Ok(())
    }

    /// Passes what looks like a number; false if it runs into a word.
    fn scan_number(&mut self) -> bool {
        self.accept(|b| matches!(b, b'+' | b'-'));
        let mut digits: fn(u8) -> bool = |b| b.is_ascii_digit() || b == b'_';
        let mut radix = 10;
        if self.accept(|b| b == b'0') {
            if self.accept(|b| matches!(b, b'x' | b'X')) {
                digits = |b| b.is_ascii_hexdigit() || b == b'_';
                radix = 16;
            } else if self.accept(|b| matches!(b, b'o' | b'O')) {
                digits = |b| matches!(b, b'0'..=b'7' | b'_');
                radix = 8;
            } else if self.accept(|b| matches!(b, b'b' | b'B')) {
                digits = |b| matches!(b, b'0' | b'1' | b'_');
                radix = 2;
            }
        }
        while self.accept(digits) {}
        if self.accept(|b| b == b'.') {
            while self.accept(digits) {}
        }
        let exponent = match radix {
            10 => self.accept(|b| matches!(b, b'e' | b'E')),
            16 => self.accept(|b| matches!(b, b'p' | b'P')),
            _ => false,
        };
        if exponent {
            self.accept(|b| matches!(b, b'+' | b'-'));
            while self.accept(|b| b.is_ascii_digit() || b == b'_') {}
        }
        self.accept(|b| b == b'i');
        if let Some((c, len)) = char_at(self.source, self.at)
            && is_word_char(c)
        {
            self.advance(len);
            return false;
        }
        true
    }

    fn accept(&mut self, wanted: impl Fn(u8) -> bool) -> bool {
        let found = self.rest().first().is_some_and(|b| wanted(*b));
        if found {
            self.advance(1);
        }
        found
    }
}

/// Whether a left delimiter, whose end this is, trims the text before it.
fn trims_left(rest: &[u8]) -> bool {
    rest.first() == Some(&b'-') && is_space(rest.get(1))
}
