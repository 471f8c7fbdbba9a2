//! The fuzz targets over the inputs that were kept, so that what a fuzzer found once stays fixed.

#![expect(
    clippy::disallowed_methods,
    reason = "the corpus is files of the repository, which nobody writes here"
)]

mod targets;

use std::path::Path;

/// Runs a target over its corpus, which must not be empty.
fn run(target: &str, body: fn(&[u8])) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../fuzz/corpus")
        .join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
        let path = entry.expect("a listed file").path();
        let input = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let done = std::panic::catch_unwind(|| body(&input));
        assert!(done.is_ok(), "{} fails", path.display());
        count += 1;
    }
    assert!(count > 10, "{}: only {count} inputs", dir.display());
}

#[test]
fn p9_parse_corpus() {
    run("parse", targets::parse);
}

#[test]
fn p9_print_roundtrip_corpus() {
    run("print_roundtrip", targets::print_roundtrip);
}

#[test]
fn p9_evaluate_corpus() {
    run("evaluate", targets::evaluate);
}
