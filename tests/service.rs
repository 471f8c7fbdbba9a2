//! What a service manager hears from `drupelet run`.

use std::os::unix::net::UnixDatagram;

use crate::support::{PATIENCE, Running};

fn heard(manager: &UnixDatagram) -> String {
    let mut text = [0; 512];
    let n = manager.recv(&mut text).unwrap();
    String::from_utf8(text[..n].to_vec()).unwrap()
}

#[test]
fn the_service_manager_hears_of_start_life_and_end() {
    let dir = tempfile::tempdir().unwrap();
    let (pods, data) = (dir.path().join("pods"), dir.path().join("data"));
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let args = [
        "run",
        "--pods-dir",
        pods.to_str().unwrap(),
        "--data-dir",
        data.to_str().unwrap(),
        "--listen",
        "127.0.0.1:0",
    ];
    let socket = path.to_str().unwrap();
    let env = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "100000")];
    let mut running = Running::start_in(&args, "listening on ", &env);
    let ready = heard(&manager);
    assert!(
        ready.starts_with("READY=1\nSTATUS=listening on 127.0.0.1:"),
        "{ready}"
    );
    // The first is free; each further one needs a turn of the agent's loop and one of the flush thread.
    for _ in 0..8 {
        assert_eq!(heard(&manager), "WATCHDOG=1\n");
    }
    running.signal("TERM");
    let last = std::iter::from_fn(|| Some(heard(&manager))).find(|text| text != "WATCHDOG=1\n");
    assert!(last.is_some_and(|text| text.starts_with("STOPPING=1\n")));
    assert_eq!(running.wait(), 0);
}
