//! The workspace's rules that neither the compiler nor clippy can hold.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Ours that a crate may depend on.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("wire", &[]),
    ("logql", &[]),
    ("disk", &[]),
    ("store", &["wire", "logql", "disk"]),
    ("agent", &["wire", "logql", "disk"]),
    ("drupelet", &["wire", "logql", "disk", "store", "agent"]),
];
/// Others that a crate must not depend on, whatever it is for.
const MUST_NOT: &[(&str, &[&str])] = &[
    (
        "logql",
        &["serde", "tokio", "hyper", "rustix", "libc", "tracing"],
    ),
    ("wire", &["tokio", "hyper", "rustix", "libc"]),
    ("agent", &["rusqlite", "zstd"]),
];
const UNSAFE_ALLOWED: &[&str] = &["agent/src/tail/uring.rs", "src/malloc.rs"];
const FILE_LINES_MAX: usize = 1000;
const REQUIRED: &[&str] = &[
    "agent",
    "store",
    "image",
    "systemd",
    "benches",
    "tests",
    "wire",
    "logql",
    "disk",
    "Cargo.toml",
    "Cargo.lock",
    "cross.toml",
    "clippy.toml",
    "rust-toolchain.toml",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every source file of the workspace, relative to its root.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut dirs = vec![root().to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in dir.read_dir().unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    dirs.push(path);
                }
            } else if name.ends_with(".rs") {
                found.push(path.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    assert!(found.len() > 30, "found only {} files", found.len());
    found
}

fn manifest(krate: &str) -> String {
    let dir = if krate == "drupelet" {
        root().to_owned()
    } else {
        root().join(krate)
    };
    read(&dir.join("Cargo.toml"))
}

/// Section heads and the keys below them.
fn sections(manifest: &str) -> BTreeMap<String, Vec<String>> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in manifest.lines() {
        if let Some(head) = line.strip_prefix('[') {
            current = head.trim_end_matches(']').to_owned();
        } else if let Some((key, _)) = line.split_once('=') {
            let key = key.trim().split('.').next().unwrap().to_owned();
            sections.entry(current.clone()).or_default().push(key);
        }
    }
    sections
}

#[test]
fn crates_depend_as_agreed() {
    for (krate, allowed) in MAY_DEPEND {
        let sections = sections(&manifest(krate));
        let none = Vec::new();
        let dependencies = sections.get("dependencies").unwrap_or(&none);
        for (ours, _) in MAY_DEPEND {
            if dependencies.iter().any(|d| d == ours) {
                assert!(allowed.contains(ours), "{krate} must not depend on {ours}");
            }
        }
        let forbidden = MUST_NOT
            .iter()
            .find(|(k, _)| k == krate)
            .map_or(&[][..], |(_, f)| f);
        for dependency in dependencies {
            let bad = forbidden.contains(&dependency.as_str());
            assert!(!bad, "{krate} must not depend on {dependency}");
        }
        for head in sections.keys() {
            // A table of its own per dependency or target would slip through the reading above.
            let odd = head.contains("dependencies.") && !head.starts_with("workspace.");
            assert!(!odd, "{krate}: write [{head}] as a line of its section");
        }
    }
}

#[test]
fn features_for_tests_stay_out_of_the_program() {
    for (krate, _) in MAY_DEPEND {
        let mut section = String::new();
        for line in manifest(krate).lines() {
            if line.starts_with('[') {
                line.clone_into(&mut section);
            }
            for (of, feature) in [("disk", "sim"), ("store", "bench")] {
                let enabled = line.starts_with(of) && line.contains(feature);
                let test = section == "[dev-dependencies]";
                assert!(!enabled || test, "{krate}: {section} enables {feature}");
                let default = line.starts_with("default") && line.contains(feature);
                assert!(!default, "{krate}: {feature} is a default feature");
            }
        }
    }
}

#[test]
fn files_are_short_and_ascii() {
    for path in sources() {
        let text = read(&root().join(&path));
        let lines = text.lines().count();
        assert!(
            lines < FILE_LINES_MAX,
            "{} has {lines} lines",
            path.display()
        );
        for (i, line) in text.lines().enumerate() {
            assert!(line.is_ascii(), "{}:{}: not ASCII", path.display(), i + 1);
        }
    }
}

#[test]
fn unsafe_and_ignored_tests_stay_out() {
    // Put together here so that this file does not find itself.
    let ignored = ["#[", "ignore"].concat();
    let allows = ["allow(", "unsafe_code"].concat();
    let expects = ["expect(", "unsafe_code"].concat();
    let block = ["unsafe", " {"].concat();
    for path in sources() {
        let text = read(&root().join(&path));
        let shown = path.display();
        assert!(!text.contains(&ignored), "{shown} ignores a test");
        let found = [&allows, &expects, &block]
            .iter()
            .any(|w| text.contains(w.as_str()));
        let allowed = UNSAFE_ALLOWED.contains(&path.to_str().unwrap());
        assert!(!found || allowed, "{shown} uses unsafe code");
    }
}

#[test]
fn required_places_exist() {
    for name in REQUIRED {
        assert!(root().join(name).exists(), "{name} is missing");
    }
}

#[test]
fn lints_cover_every_crate() {
    for (krate, _) in MAY_DEPEND {
        let text = manifest(krate);
        assert!(
            text.contains("[lints]\nworkspace = true"),
            "{krate} leaves the workspace's lints"
        );
    }
}
