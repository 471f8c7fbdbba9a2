//! `drupelet series [SELECTOR]`.

use crate::args::Raw;
use crate::ask::{Range, Target};
use crate::commands::labels::print_lines;
use crate::commands::query::show;
use crate::http_client::encode;
use crate::report::Failure;

/// # Errors
/// Wrong flags, no answer, or the server's error.
pub(crate) fn run(raw: &Raw) -> Result<(), Failure> {
    let range = Range::from_flags(raw)?.parameters();
    let selector = raw.operands.first().map_or("{}", String::as_str);
    let path = format!(
        "/loki/api/v1/series?match%5B%5D={}&{range}",
        encode(selector)
    );
    let body = Target::from_flags(raw)?.get(&path)?;
    let series = wire::query::decode_series(&body)
        .map_err(|e| Failure::caused("the server's answer cannot be read", &e))?;
    let mut lines: Vec<String> = series.iter().map(show).collect();
    lines.sort();
    print_lines(lines.iter().map(String::as_str))
}
