//! A configuration that changes while drupelet runs.

#![expect(
    clippy::disallowed_methods,
    reason = "the test is the user who edits the file"
)]

use std::os::unix::fs::symlink;
use std::path::Path;

use crate::support::{Running, eventually, get};

const QUERY: &str = "/loki/api/v1/query_range?query=%7Ba%3D%22b%22%7D&limit=";

/// Whether a query for so many entries is allowed.
fn allows(addr: &str, limit: usize) -> bool {
    get(addr, &format!("{QUERY}{limit}")).0 == 200
}

/// As the kubelet brings a changed ConfigMap: a new directory, and a link that is replaced.
fn publish(dir: &Path, version: u32, text: &str) {
    let name = format!("..{version}");
    std::fs::create_dir(dir.join(&name)).unwrap();
    std::fs::write(dir.join(&name).join("drupelet.yaml"), text).unwrap();
    symlink(&name, dir.join("..tmp")).unwrap();
    std::fs::rename(dir.join("..tmp"), dir.join("..data")).unwrap();
}

#[test]
fn a_changed_configuration_takes_effect_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = dir.path().join("config");
    std::fs::create_dir(&mounted).unwrap();
    let pods = dir.path().join("pods");
    std::fs::create_dir(&pods).unwrap();
    let text = |limit: usize, more: &str| {
        format!("limits_config:\n  max_entries_limit_per_query: {limit}\n{more}")
    };
    publish(&mounted, 1, &text(10, ""));
    symlink("..data/drupelet.yaml", mounted.join("drupelet.yaml")).unwrap();
    let file = mounted.join("drupelet.yaml");
    let (pods, data) = (pods.to_str().unwrap(), dir.path().join("data"));
    let args = [
        "run",
        "--config",
        file.to_str().unwrap(),
        "--pods-dir",
        pods,
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    let mut running = Running::start(&args, "listening on ");
    let addr = running.addr.clone();
    assert!(allows(&addr, 10) && !allows(&addr, 11));

    // The file changes, nobody says so.
    publish(&mounted, 2, &text(20, ""));
    running.wait_for("key=limits_config.max_entries_limit_per_query from=10 to=20");
    eventually("the new limit", || allows(&addr, 20).then_some(()));
    assert!(!allows(&addr, 21));

    // A signal; a key that needs a restart is said, the others hold.
    publish(&mounted, 3, &text(30, "node_name: other\n"));
    running.signal("HUP");
    let line = running.wait_for("this key needs a restart");
    assert!(line.contains("key=node_name"), "{line}");
    eventually("the new limit", || allows(&addr, 30).then_some(()));

    // A mistake changes nothing.
    publish(&mounted, 4, &text(40, "nod_name: x\n"));
    running.signal("HUP");
    let line = running.wait_for("the old one stays in force");
    assert!(
        line.contains("drupelet.yaml:3: unknown key `nod_name`"),
        "{line}"
    );
    assert!(allows(&addr, 30) && !allows(&addr, 31));
    let metrics = get(&addr, "/metrics").1;
    // At least: a look at the file may come between its change and the signal.
    let value = |name: &str| -> u32 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
            .trim()
            .parse()
            .unwrap()
    };
    assert!(value("drupelet_config_reloads_total{result=\"ok\"}") >= 2);
    assert!(value("drupelet_config_reloads_total{result=\"failed\"}") >= 1);
    assert_eq!(value("drupelet_config_last_reload_failed "), 1);
    running.signal("TERM");
    assert_eq!(running.wait(), 0);
}
