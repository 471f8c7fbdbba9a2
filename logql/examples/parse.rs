//! Reads queries from standard input, separated by NUL bytes, and prints what `logql::parse` says about each, the
//! answers separated by NUL bytes too.

use std::io::{Read as _, Write as _};

fn main() -> std::io::Result<()> {
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let mut out = std::io::stdout().lock();
    for query in input.split('\0') {
        match logql::parse(query) {
            Ok(_) => out.write_all(b"ok")?,
            Err(error) => out.write_all(error.message.as_bytes())?,
        }
        out.write_all(b"\0")?;
    }
    Ok(())
}
