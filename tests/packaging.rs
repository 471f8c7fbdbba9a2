//! What the ways to install rely on: the unit's configuration, the manifests' arguments, the file for `cross`.
#![expect(
    clippy::disallowed_methods,
    reason = "reads files of this repository, writes them to a temporary directory"
)]

use std::path::{Path, PathBuf};

use crate::support::{done, drupelet, finish};

/// Keys that `cross` knows, as far as they are of use here; it ignores others with a warning that nobody reads.
const CROSS_BUILD: &[&str] = &["default-target", "env", "pre-build"];
const CROSS_TARGET: &[&str] = &["image", "pre-build", "runner", "env"];
const CROSS_ENV: &[&str] = &["passthrough", "volumes"];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The sample that would be right: what `drupelet check` prints of the defaults, every value behind a `#`.
fn sample_configuration() -> String {
    let printed = finish(drupelet(&["check"]).env("NODE_NAME", "pi-1"));
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let mut sample = String::from(
        "# Configuration of drupelet. Everything has a default: what stands here behind a `#` is what holds without it.\n\
         # `drupelet check --config FILE` tells which line is wrong; docs/CONFIGURATION.md tells what to choose.\n",
    );
    for line in printed.stdout.trim_end().lines().skip(1) {
        let note = line.trim_start();
        let value = !note.is_empty() && !note.starts_with('#');
        let line = line.trim_end_matches("  # default");
        sample.push_str(if value { "#" } else { "" });
        sample.push_str(line);
        sample.push('\n');
    }
    sample
}

#[test]
fn the_sample_configuration_shows_every_key_and_changes_none() {
    let path = repository("systemd/drupelet.yaml");
    let wanted = sample_configuration();
    if std::env::var_os("DRUPELET_UPDATE").is_some() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let sample = read("systemd/drupelet.yaml");
    assert!(
        sample == wanted,
        "systemd/drupelet.yaml is not what `drupelet check` prints, each value behind a `#`; \
         DRUPELET_UPDATE=1 cargo test packaging writes it anew"
    );
    let with = done(&["check", "--config", path.to_str().unwrap()]);
    assert_eq!(with.code, 0, "{}", with.stderr);
    assert_eq!(with.stdout, done(&["check"]).stdout);
    // And without the `#` it is a configuration too.
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(value) if !value.starts_with(' ') || value.starts_with("  ") => format!("{value}\n"),
        _ => format!("{line}\n"),
    };
    let all: String = sample.lines().map(uncommented).collect();
    assert!(all.contains("\nlisten: 127.0.0.1:3100\n"), "{all}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("all.yaml"), all).unwrap();
    let all = done(&[
        "check",
        "--config",
        dir.path().join("all.yaml").to_str().unwrap(),
    ]);
    assert_eq!(all.code, 0, "{}", all.stderr);
}

#[test]
fn the_unit_runs_a_command_line_that_the_binary_takes() {
    let unit = read("systemd/drupelet.service");
    let line = unit.lines().find_map(|l| l.strip_prefix("ExecStart="));
    let arguments: Vec<&str> = line.unwrap().split(' ').skip(1).collect();
    accepted(&arguments, "systemd/drupelet.yaml");
}

#[test]
fn the_manifests_use_arguments_and_keys_that_the_binary_takes() {
    let daemonset = read("image/kubernetes/base/daemonset.yaml");
    let list = daemonset
        .lines()
        .find_map(|l| l.trim().strip_prefix("args: ["))
        .and_then(|l| l.strip_suffix(']'));
    let arguments: Vec<&str> = list.unwrap().split(", ").collect();
    let printed = accepted(&arguments, "image/kubernetes/base/drupelet.yaml");
    let port = "containerPort: 3100";
    assert!(
        daemonset.contains(port) && printed.contains("listen: 0.0.0.0:3100"),
        "{printed}"
    );
    for key in ["pods_dir", "data_dir"] {
        let line = printed.lines().find(|l| l.starts_with(key)).unwrap();
        let dir = line.split_whitespace().nth(1).unwrap();
        assert!(
            daemonset.contains(&format!("mountPath: {dir}")),
            "{dir} is not mounted"
        );
    }
}

/// Runs the flags of a `run` through `check`, with the repository's file in place of the installed one.
fn accepted(arguments: &[&str], file: &str) -> String {
    let [command, flag, path] = arguments else {
        panic!("{arguments:?}");
    };
    assert_eq!(
        (*command, *flag, *path),
        ("run", "--config", "/etc/drupelet/drupelet.yaml")
    );
    let file = repository(file);
    let check = done(&["check", flag, file.to_str().unwrap()]);
    assert_eq!(check.code, 0, "{}", check.stderr);
    check.stdout
}

#[test]
fn cross_can_read_its_file() {
    let file: toml::Table = read("cross.toml").parse().unwrap();
    let table = |value: &toml::Value, known: &[&str], place: &str| -> toml::Table {
        let table = value
            .as_table()
            .unwrap_or_else(|| panic!("{place} is no table"));
        for key in table.keys() {
            assert!(known.contains(&key.as_str()), "{place}: `{key}`");
        }
        table.clone()
    };
    assert!(file.keys().all(|key| key == "build" || key == "target"));
    let build = table(&file["build"], CROSS_BUILD, "build");
    let targets = file["target"].as_table().unwrap();
    let default = build["default-target"].as_str().unwrap();
    assert!(targets.contains_key(default), "{default}");
    for (triple, settings) in targets {
        assert!(triple.starts_with("aarch64-unknown-linux-"), "{triple}");
        let settings = table(settings, CROSS_TARGET, triple);
        if let Some(env) = settings.get("env") {
            table(env, CROSS_ENV, triple);
        }
        let runner = settings["runner"].as_str().unwrap();
        assert!(["native", "qemu-user", "qemu-system"].contains(&runner));
    }
}
