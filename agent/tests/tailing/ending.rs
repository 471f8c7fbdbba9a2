//! Containers that ended are told to the sink, so that what it took outlives their files.

use crate::util::{Lab, Writer, rename};

fn told(key: &str, uid: &str, restart: u32) -> (String, String, String) {
    let metadata = format!("{{pod_uid=\"{uid}\", restart=\"{restart}\"}}");
    (key.to_owned(), "stdout stderr".to_owned(), metadata)
}

#[test]
fn a_closed_live_file_is_told_once_and_a_rotated_one_is_not() {
    let mut lab = Lab::new();
    let dir = lab.web();
    // Nothing that is found at the start is young.
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(60);
    let mut w = Writer::open(dir.join("0.log"));
    w.out("a");
    w.0.set_modified(old).unwrap();
    lab.run(async |lab| {
        lab.expect(&["a"]).await;
        rename(&dir, "0.log", "0.log.20261120-090000");
        let mut live = Writer::open(dir.join("0.log"));
        drop(w);
        live.out("b");
        lab.until("b", |_, s| s.lines == 2).await;
        assert_eq!(lab.store.borrow().secured, Vec::<Vec<_>>::new());
        live.out("c");
        drop(live);
        lab.until("told", |s, _| !s.secured.is_empty()).await;
        assert_eq!(lab.store.borrow().texts(), ["a", "b", "c"], "read first");
        // Written to again and closed: not told again at once.
        Writer::open(dir.join("0.log")).out("d");
        lab.until("d", |_, s| s.lines == 4).await;
        // Gone: told, whatever the pause.
        std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
        lab.until("told again", |s, _| s.secured.len() > 1).await;
    });
    let web = vec![told("pods/u-1/nginx/0", "u-1", 0)];
    assert_eq!(lab.store.borrow().secured, [web.clone(), web]);
}

#[test]
fn a_young_file_that_is_quiet_is_told_and_a_later_restart_tells_of_the_one_before() {
    let mut lab = Lab::new();
    lab.run(async |lab| {
        lab.until("started", |_, s| s.scans > 0).await;
        let dir = lab.web();
        let mut w = Writer::open(dir.join("0.log"));
        w.out("a");
        lab.until("told", |s, _| s.secured.len() == 1).await;
        w.out("b");
        lab.until("b", |_, s| s.lines == 2).await;
        Writer::open(dir.join("1.log")).out("c");
        lab.until("told of both", |s, _| {
            s.secured.iter().flatten().count() >= 3
        })
        .await;
        drop(w);
    });
    let store = lab.store.borrow();
    let mut all: Vec<_> = store.secured[1..].concat();
    all.sort();
    assert_eq!(
        all,
        [
            told("pods/u-1/nginx/0", "u-1", 0),
            told("pods/u-1/nginx/1", "u-1", 1)
        ]
    );
}

#[test]
fn a_young_file_that_is_seen_to_be_written_to_is_told_when_it_is_closed() {
    let mut lab = Lab::new();
    lab.run(async |lab| {
        lab.until("started", |_, s| s.scans > 0).await;
        let dir = lab.web();
        let mut w = Writer::open(dir.join("0.log"));
        lab.until("watched", |_, s| s.watches == 3).await;
        w.out("a");
        lab.until("a", |_, s| s.lines == 1).await;
        // Longer than what counts as quiet.
        tokio::time::sleep(std::time::Duration::from_millis(600)).await;
        assert_eq!(lab.store.borrow().secured, Vec::<Vec<_>>::new());
        drop(w);
        lab.until("told", |s, _| !s.secured.is_empty()).await;
    });
    let store = lab.store.borrow();
    assert_eq!(store.secured, [vec![told("pods/u-1/nginx/0", "u-1", 0)]]);
}

#[test]
fn what_ends_together_is_told_together() {
    let mut lab = Lab::new();
    let mut dirs = Vec::new();
    for i in 0..40 {
        let dir = lab.container(&format!("jobs_job-{i}_u-{i}"), "main");
        Writer::open(dir.join("0.log")).out("x");
        dirs.push(dir);
    }
    // The sink has no room: nothing is told before it took what there is.
    lab.store.borrow_mut().full = true;
    lab.run(async |lab| {
        lab.until("waits", |_, s| s.waits > 0).await;
        for dir in &dirs {
            std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
        }
        lab.until("gone", |_, s| s.watches == 1).await;
        assert!(lab.store.borrow().secured.is_empty());
        let changed = {
            let mut store = lab.store.borrow_mut();
            store.full = false;
            store.changed.clone()
        };
        changed.notify_waiters();
        lab.until("all told", |s, _| s.secured.iter().flatten().count() >= 40)
            .await;
    });
    let store = lab.store.borrow();
    assert_eq!(store.texts().len(), 40);
    assert!(store.secured.len() < 10, "{} calls", store.secured.len());
}
