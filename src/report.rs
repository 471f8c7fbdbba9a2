//! What the user sees when something fails, and how strangers' text reaches a terminal.
//!
//! Data goes to stdout, everything else to stderr. A failure is one sentence without a final period, the chain of its
//! causes, and a hint that says what to do. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.

use std::borrow::Cow;
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;

/// A failed command: what is printed, and the exit code.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    message: String,
    causes: Vec<String>,
    hint: Option<String>,
    help: Option<String>,
}

impl Failure {
    /// Wrong usage or configuration: exit code 2.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(2, message.into())
    }

    /// Anything else: exit code 1.
    pub(crate) fn failed(message: impl Into<String>) -> Failure {
        Failure::new(1, message.into())
    }

    /// Exit code 1 with an error and all its sources below the message.
    pub(crate) fn caused(message: impl Into<String>, error: &dyn Error) -> Failure {
        let mut failure = Failure::failed(message);
        failure.causes.push(error.to_string());
        let mut next = error.source();
        while let Some(error) = next {
            // Some errors repeat their source in their own text.
            let text = error.to_string();
            if !failure.causes.iter().any(|c| c.ends_with(&text)) {
                failure.causes.push(text);
            }
            next = error.source();
        }
        failure
    }

    fn new(code: u8, message: String) -> Failure {
        Failure {
            code,
            message,
            causes: Vec::new(),
            hint: None,
            help: None,
        }
    }

    /// Says what to do.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    /// Shows the place in `query` that the message names, if it names one.
    pub(crate) fn pointing_into(mut self, query: &str) -> Failure {
        if let Some(excerpt) = excerpt(&self.message, query) {
            self.message.push('\n');
            self.message.push_str(&excerpt);
        }
        self
    }

    /// A whole help text to print after the message.
    pub(crate) fn with_help(mut self, help: String) -> Failure {
        self.help = Some(help);
        self
    }

    /// The message, without causes.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// What to do, if known.
    #[cfg(test)]
    pub(crate) fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Prints a failure that the command goes on after, in one line.
    pub(crate) fn warn(&self, err: &mut dyn Write) {
        let causes = self.causes.iter().map(|c| format!(": {c}"));
        let text = format!("warning: {}{}\n", self.message, causes.collect::<String>());
        // Nobody is left to tell when stderr is closed.
        let _ = err.write_all(sanitise(&text, Newlines::Keep).as_bytes());
    }

    /// Prints to `err` and gives the exit code.
    pub(crate) fn report(&self, err: &mut dyn Write) -> ExitCode {
        let mut text = format!("error: {}\n", self.message);
        for cause in &self.causes {
            let _ = writeln!(text, "  caused by: {cause}");
        }
        if let Some(hint) = &self.hint {
            let _ = write!(text, "\nhint: {hint}\n");
        }
        if let Some(help) = &self.help {
            let _ = write!(text, "\n{help}");
        }
        // Nobody is left to tell when stderr is closed.
        let _ = err.write_all(sanitise(&text, Newlines::Keep).as_bytes());
        ExitCode::from(self.code)
    }
}

/// The line of a query that a parse error is about, and a mark below the place: `parse error at line 1, col 9: ...`. Some
/// errors name line 0, which is none.
fn excerpt(message: &str, query: &str) -> Option<String> {
    /// Characters shown before the place, and in all.
    const BEFORE: usize = 50;
    const SHOWN: usize = 90;
    let place = message.strip_prefix("parse error at line ")?;
    let (line, place) = place.split_once(", col ")?;
    let (col, _) = place.split_once(':')?;
    let (line, col): (usize, usize) = (line.parse().ok()?, col.parse().ok()?);
    let text = query.split('\n').nth(line.checked_sub(1)?)?;
    let at = col.checked_sub(1)?;
    let from = at.saturating_sub(BEFORE);
    let shown: String = text.chars().skip(from).take(SHOWN).collect();
    let shown = shown.replace(char::is_control, " ");
    let cut = if from > 0 { "..." } else { "" };
    let blanks = " ".repeat(cut.len() + at - from);
    Some(format!("  {cut}{shown}\n  {blanks}^"))
}

/// Tells the user something that is no failure, on stderr.
pub(crate) fn note(text: &str) {
    let text = format!("note: {text}\n");
    // Nobody is left to tell when stderr is closed.
    let _ = io::stderr()
        .lock()
        .write_all(sanitise(&text, Newlines::Keep).as_bytes());
}

/// Turns the result of writing to stdout into the command's: a reader that went away (`| head`) is success.
///
/// # Errors
/// Any other write error.
pub(crate) fn written(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::caused("cannot write to stdout", &e))
        }
        _ => Ok(()),
    }
}

/// The candidate most like `word`, if any is near enough to be what was meant.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let scored = candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(word, c), c));
    let (distance, best) = scored.min()?;
    // A third of the longer word wrong still reads as a slip; more is another word.
    (distance * 3 <= word.len().max(best.len()).max(3)).then_some(best)
}

/// What [`sanitise`] does with line feeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Newlines {
    /// Text of our own with several lines.
    Keep,
    /// One line of a log.
    Escape,
}

/// Escapes what could move the cursor, recolour or reorder text on a terminal: control characters but tab, and the
/// bidirectional controls. Log lines are written by strangers.
pub(crate) fn sanitise(text: &str, newlines: Newlines) -> Cow<'_, str> {
    let harmful = |c: char| match c {
        '\t' => false,
        '\n' => newlines == Newlines::Escape,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => c.is_control(),
    };
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if harmful(c) {
            let _ = match c as u32 {
                code @ 0..=0xff => write!(out, "\\x{code:02x}"),
                code => write!(out, "\\u{{{code:x}}}"),
            };
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminals_are_safe() {
        let check = |text: &str, want: &str| assert_eq!(sanitise(text, Newlines::Escape), want);
        check("plain \t text", "plain \t text");
        check("\u{1b}[31mred\u{7}", "\\x1b[31mred\\x07");
        check("a\nb\rc", "a\\x0ab\\x0dc");
        check("\u{9b}2J", "\\x9b2J");
        check("abc\u{202e}fed", "abc\\u{202e}fed");
        check("umlaut \u{e4}", "umlaut \u{e4}");
        assert_eq!(sanitise("a\nb", Newlines::Keep), "a\nb");
    }

    #[test]
    fn errors_point_into_the_query() {
        let check = |message: &str, query: &str, want: Option<&str>| {
            assert_eq!(excerpt(message, query).as_deref(), want, "{message}");
        };
        let at = |line, col| format!("parse error at line {line}, col {col}: syntax error");
        check(&at(1, 3), "{a", Some("  {a\n    ^"));
        check(&at(2, 1), "{a=`b`}\n|\tx", Some("  | x\n  ^"));
        let long = format!("{}{}", "a".repeat(60), "b".repeat(60));
        let shown = format!(
            "  ...{}{}\n  {}^",
            "a".repeat(50),
            "b".repeat(40),
            " ".repeat(53)
        );
        check(&at(1, 61), &long, Some(&shown));
        check(&at(0, 1), "{a", None);
        check(&at(3, 1), "{a", None);
        check("parse error : too long", "{a", None);
        check("max entries limit", "{a", None);
    }

    #[test]
    fn nearest_is_near() {
        let keys = ["pods_dir", "data_dir", "listen"];
        assert_eq!(nearest("pod_dir", keys), Some("pods_dir"));
        assert_eq!(nearest("lisen", keys), Some("listen"));
        assert_eq!(nearest("retention", keys), None);
    }
}
