//! Measures `detect_in_line` over the lines of standard input: nanoseconds a line, and how many of each level.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};

fn main() -> std::io::Result<()> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    let lines: Vec<&[u8]> = input.split(|b| *b == b'\n').collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut best = f64::MAX;
    for _ in 0..20 {
        counts.clear();
        let begin = std::time::Instant::now();
        for line in &lines {
            *counts
                .entry(logql::level::detect_in_line(line))
                .or_default() += 1;
        }
        best = best.min(begin.elapsed().as_nanos() as f64 / lines.len() as f64);
    }
    for line in &lines {
        *counts
            .entry(logql::level::detect_in_line(line))
            .or_default() += 1;
    }
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{best:.0} ns/line, {} lines of {} bytes, {counts:?}",
        lines.len(),
        input.len() / lines.len()
    )
}
