//! `decolorize`: a line without the control sequences of terminals.

use regex::bytes::Regex;

use crate::regexes::Budget;

/// Sequences that begin with ESC or the control character CSI.
const SEQUENCE: &str = "[\\x1b\\u{9b}][\\[\\]()#;?]*(?:(?:(?:[a-zA-Z0-9]*(?:;[a-zA-Z0-9]*)*)?\\x07)\
                        |(?:(?:[0-9]{1,4}(?:;[0-9]{0,4})*)?[0-9A-PRZcf-ntqry=><~]))";

/// Removes control sequences.
#[derive(Debug, Clone)]
pub(super) struct Decolorizer(Regex);

impl Decolorizer {
    /// Compiles the stage.
    pub(super) fn new(budget: &mut Budget) -> Result<Self, String> {
        budget.compile(SEQUENCE).map(Decolorizer)
    }

    /// Writes the line without sequences. False: it has none, and nothing was written.
    pub(super) fn strip(&self, line: &[u8], out: &mut Vec<u8>) -> bool {
        // Neither byte is in most lines; the second is part of many characters.
        if memchr::memchr2(0x1b, 0x9b, line).is_none() {
            return false;
        }
        out.clear();
        let mut end = 0;
        for found in self.0.find_iter(line) {
            out.extend_from_slice(&line[end..found.start()]);
            end = found.end();
        }
        out.extend_from_slice(&line[end..]);
        end > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go() {
        let decolorizer = Decolorizer::new(&mut Budget::default()).expect("valid");
        let check = |line: &str, expected: &str| {
            let mut out = Vec::new();
            let changed = decolorizer.strip(line.as_bytes(), &mut out);
            let stripped = if changed { out } else { line.into() };
            assert_eq!(stripped, expected.as_bytes(), "{line:?}");
            assert_eq!(changed, line != expected);
        };
        check("plain", "plain");
        check("\x1b[31mred\x1b[0m x", "red x");
        check("\x1b[1;31;42mbold\x1b[m", "bold");
        check("\u{9b}33mx", "x");
        check("a\x1b]0;title\x07b", "ab");
        check("\u{11b} keeps \u{1b}", "\u{11b} keeps \u{1b}");
        check("\x1b[31", "");
    }
}
