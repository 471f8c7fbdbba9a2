//! `drupelet labels [NAME]`.

use std::io::{self, IsTerminal as _, Write as _};

use crate::args::Raw;
use crate::ask::{Range, Target};
use crate::http_client::encode;
use crate::report::{Failure, Newlines, sanitise, written};

/// # Errors
/// Wrong flags, no answer, or the server's error.
pub(crate) fn run(raw: &Raw) -> Result<(), Failure> {
    let range = Range::from_flags(raw)?.parameters();
    let path = match raw.operands.first() {
        Some(name) => format!("/loki/api/v1/label/{}/values?{range}", encode(name)),
        None => format!("/loki/api/v1/labels?{range}"),
    };
    let body = Target::from_flags(raw)?.get(&path)?;
    let names = wire::query::decode_strings(&body)
        .map_err(|e| Failure::caused("the server's answer cannot be read", &e))?;
    print_lines(names.iter().map(String::as_str))
}

/// Prints lines, escaped on a terminal.
pub(super) fn print_lines<'a>(lines: impl Iterator<Item = &'a str>) -> Result<(), Failure> {
    let stdout = io::stdout();
    let safe = stdout.is_terminal();
    let mut out = io::BufWriter::new(stdout.lock());
    let print = |line: &str, out: &mut io::BufWriter<_>| match safe {
        true => writeln!(out, "{}", sanitise(line, Newlines::Escape)),
        false => writeln!(out, "{line}"),
    };
    let mut lines = lines;
    let printed = lines.try_for_each(|line| print(line, &mut out));
    written(printed.and_then(|()| out.flush()))
}
