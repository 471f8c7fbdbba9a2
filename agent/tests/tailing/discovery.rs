//! Finding directories and files, and what happens when the kernel does not help.
#![expect(
    clippy::disallowed_methods,
    reason = "tests play kubelet: they write, rename and remove log files"
)]

use std::sync::atomic::Ordering;

use crate::util::{Lab, Writer};

#[test]
fn a_tree_is_read_and_followed() {
    let mut lab = Lab::new();
    let mut a = Writer::open(lab.web().join("0.log"));
    a.out("one");
    a.put("stderr", "F", "error two");
    std::fs::create_dir(lab.root.join("not a pod")).unwrap();
    std::fs::write(lab.web().join("notes.txt"), "x\n").unwrap();
    lab.run(async |lab| {
        lab.expect(&["one", "error two"]).await;
        a.out("three");
        lab.expect(&["one", "error two", "three"]).await;
        let mut b = Writer::open(lab.container("db_redis-0_u-2", "redis").join("4.log"));
        b.out("four");
        lab.expect(&["one", "error two", "three", "four"]).await;
        let lines = lab.store.borrow().lines();
        assert_eq!(
            (lines[1].stream.as_str(), lines[1].level.as_str()),
            ("stderr", "error")
        );
        assert_eq!(
            (lines[3].pod.as_str(), lines[3].restart.as_str()),
            ("redis-0", "4")
        );
        assert_eq!(lab.stats().scans, 1);
    });
}

#[test]
fn a_pod_directory_that_lives_shortly() {
    let mut lab = Lab::new();
    lab.run(async |lab| {
        lab.until("first scan", |_, s| s.scans == 1).await;
        for n in 0..20 {
            let dir = lab.container(&format!("jobs_tick-{n}_u-{n}"), "main");
            let mut w = Writer::open(dir.join("0.log"));
            w.out(&format!("a{n}"));
            w.out(&format!("b{n}"));
            lab.until("two lines", |_, s| s.lines == 3 * n + 2).await;
            w.out(&format!("c{n}"));
            drop(w);
            std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
            lab.until("lines", |_, s| s.lines == 3 * (n + 1)).await;
        }
    });
}

#[test]
fn a_root_that_appears_later_and_is_replaced() {
    let mut lab = Lab::new();
    std::fs::remove_dir(&lab.root).unwrap();
    lab.config.timing.rescan = std::time::Duration::from_millis(50);
    lab.run(async |lab| {
        lab.until("root missed", |_, s| s.unreadable == 1).await;
        let mut w = Writer::open(lab.web().join("0.log"));
        w.out("a");
        lab.expect(&["a"]).await;
        // As log2ram does: another file system comes to lie over the directory, with copies of the files.
        let old = lab.dir.path().join("old");
        std::fs::rename(&lab.root, &old).unwrap();
        let dir = lab.web();
        std::fs::copy(
            old.join("shop_web-5d4f8c7b96-x2x4b_u-1/nginx/0.log"),
            dir.join("0.log"),
        )
        .unwrap();
        let mut w = Writer::open(dir.join("0.log"));
        w.out("b");
        lab.expect(&["a", "b"]).await;
    });
}

#[test]
fn a_linked_root() {
    let mut lab = Lab::new();
    let link = lab.dir.path().join("link");
    std::os::unix::fs::symlink(&lab.root, &link).unwrap();
    lab.config.pods_dir = link;
    lab.run(async |lab| {
        let mut w = Writer::open(lab.web().join("0.log"));
        w.out("a");
        lab.expect(&["a"]).await;
        w.out("b");
        lab.expect(&["a", "b"]).await;
    });
}

#[test]
fn an_injected_overflow_means_a_rescan() {
    let mut lab = Lab::new();
    lab.run(async |lab| {
        lab.until("first scan", |_, s| s.scans == 1).await;
        lab.faults().overflow.store(true, Ordering::Relaxed);
        let mut w = Writer::open(lab.web().join("0.log"));
        w.out("a");
        lab.expect(&["a"]).await;
        assert!(lab.stats().overflows == 1 && lab.stats().scans == 2);
    });
}

#[test]
fn a_real_overflow_means_a_rescan() {
    let mut lab = Lab::new();
    let limit = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let mut a = Writer::open(lab.web().join("0.log"));
    let mut b = Writer::open(lab.web().join("1.log"));
    lab.run(async |lab| {
        lab.until("first scan", |_, s| s.scans == 1).await;
        // The agent cannot run meanwhile: nothing here awaits.
        for _ in 0..=limit / 2 {
            a.out("a");
            b.out("b");
        }
        let mut c = Writer::open(lab.container("db_redis-0_u-2", "redis").join("0.log"));
        c.out("c");
        let lines = 2 * (limit as u64 / 2 + 1) + 1;
        lab.until("all lines", |_, s| s.lines == lines).await;
        assert!(lab.stats().overflows >= 1);
    });
}

#[test]
fn without_inotify_scanning_takes_over() {
    for (instance, watch) in [(true, false), (false, true)] {
        let mut lab = Lab::new();
        lab.config.timing.rescan = std::time::Duration::from_millis(300);
        lab.faults()
            .refuse_inotify
            .store(instance, Ordering::Relaxed);
        lab.faults().refuse_watch.store(watch, Ordering::Relaxed);
        lab.run(async |lab| {
            let mut w = Writer::open(lab.web().join("0.log"));
            w.out("a");
            lab.expect(&["a"]).await;
            assert_eq!(lab.stats().scanning, 1);
            w.out("b");
            lab.expect(&["a", "b"]).await;
            std::fs::rename(
                lab.web().join("0.log"),
                lab.web().join("0.log.20261120-090000"),
            )
            .unwrap();
            w.out("c");
            let mut w = Writer::open(lab.web().join("0.log"));
            w.out("d");
            lab.expect(&["a", "b", "c", "d"]).await;
            lab.faults().refuse_inotify.store(false, Ordering::Relaxed);
            lab.faults().refuse_watch.store(false, Ordering::Relaxed);
            lab.until("inotify is back", |_, s| s.scanning == 0 && s.watches == 3)
                .await;
            w.out("e");
            lab.expect(&["a", "b", "c", "d", "e"]).await;
        });
    }
}

#[test]
fn json_files_behind_links() {
    let mut lab = Lab::new();
    let target = lab.dir.path().join("containers/abc");
    std::fs::create_dir_all(&target).unwrap();
    let line = |log: &str| {
        format!("{{\"log\":\"{log}\",\"stream\":\"stdout\",\"time\":\"2026-11-20T09:27:56.5Z\"}}\n")
    };
    let mut w = Writer::open(target.join("abc-json.log.1"));
    w.raw(line("old\\n"));
    let mut w = Writer::open(target.join("abc-json.log"));
    w.raw(line("one\\n"));
    std::os::unix::fs::symlink(target.join("abc-json.log"), lab.web().join("0.log")).unwrap();
    lab.run(async |lab| {
        lab.expect(&["old", "one"]).await;
        w.raw(line("tw"));
        w.raw(line("o \\u003c\\n"));
        lab.expect(&["old", "one", "two <"]).await;
        // dockerd's rotation.
        std::fs::rename(target.join("abc-json.log.1"), target.join("abc-json.log.2")).unwrap();
        std::fs::rename(target.join("abc-json.log"), target.join("abc-json.log.1")).unwrap();
        w = Writer::open(target.join("abc-json.log"));
        w.raw(line("three\\n"));
        lab.expect(&["old", "one", "two <", "three"]).await;
    });
}

#[test]
fn a_full_sink_holds_everything_back() {
    let mut lab = Lab::new();
    lab.store.borrow_mut().full = true;
    lab.run(async |lab| {
        let mut w = Writer::open(lab.web().join("0.log"));
        w.out("a");
        lab.until("sink asked", |_, s| s.waits > 0).await;
        // Files that come and go meanwhile are held open and read later.
        let dir = lab.container("jobs_tick-1_u-9", "main");
        let mut b = Writer::open(dir.join("0.log"));
        b.out("b");
        lab.until("found", |_, s| s.instances == 2).await;
        std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
        drop(b);
        lab.store.borrow_mut().full = false;
        lab.store.borrow().changed.notify_waiters();
        lab.expect(&["a", "b"]).await;
    });
}

#[test]
fn what_is_written_while_a_batch_waits_is_read_at_once() {
    let mut lab = Lab::new();
    let pods = ["shop_a-0_u-1", "shop_b-0_u-2"].map(|pod| lab.container(pod, "main"));
    let mut writers = pods.map(|dir| Writer::open(dir.join("0.log")));
    for w in &mut writers {
        w.out("first");
    }
    lab.store.borrow_mut().full = true;
    lab.run(async |lab| {
        lab.until("a wait", |_, stats| stats.waits > 0).await;
        // Both files have been read by now, and one of the two waits in its buffer.
        for w in &mut writers {
            w.out("second");
        }
        // A new container is seen, so the events before it are as well.
        Writer::open(lab.container("shop_c-0_u-3", "main").join("0.log")).out("other");
        lab.until("events", |_, stats| stats.files == 3).await;
        lab.store.borrow_mut().full = false;
        lab.store.borrow().changed.notify_waiters();
        // Long before the next rescan.
        lab.until("lines", |s, _| s.texts().len() == 5).await;
    });
}

#[test]
fn the_loop_answers_a_pulse_at_rest_and_while_the_sink_is_full() {
    let mut lab = Lab::new();
    lab.run(async |lab| {
        let mut w = Writer::open(lab.web().join("0.log"));
        w.out("a");
        lab.expect(&["a"]).await;
        for full in [false, true] {
            lab.store.borrow_mut().full = full;
            if full {
                w.out("b");
                lab.until("sink asked", |_, s| s.waits > 0).await;
            }
            for _ in 0..3 {
                let turns = lab.config.pulse.turns();
                lab.config.pulse.ask();
                lab.until("a turn", |_, _| lab.config.pulse.turns() > turns)
                    .await;
            }
        }
    });
}

/// Text of so many bytes that a backlog of some containers has a rate.
fn filler(n: usize) -> String {
    format!("{n} {}", "x".repeat(1000))
}

#[test]
fn p4_a_backlog_is_read_at_its_rate_and_holds_up_nothing_new() {
    for order in [agent::CatchUpOrder::Even, agent::CatchUpOrder::Newest] {
        let mut lab = Lab::new();
        // Four megabytes take a minute at this rate.
        lab.config.catch_up_rate = Some(64 << 10);
        lab.config.catch_up_order = order;
        let containers: Vec<_> = (0..4)
            .map(|i| lab.container(&format!("shop_old-{i}_u-{i}"), "app"))
            .collect();
        for dir in &containers {
            let mut w = Writer::open(dir.join("0.log"));
            (0..1000).for_each(|n| w.out(&filler(n)));
        }
        let backlog = 4 * 1000;
        lab.run(async |lab| {
            lab.until("a part of the backlog", |s, _| s.texts().len() >= 500)
                .await;
            let dir = lab.web();
            let mut w = Writer::open(dir.join("0.log"));
            (0..200).for_each(|n| w.out(&format!("new {n}")));
            lab.until("what is new", |s, stats| {
                let new = s.texts().iter().filter(|t| t.starts_with("new")).count();
                new == 200 && stats.backlog_bytes > 0
            })
            .await;
        });
        assert!(lab.store.borrow().texts().len() < backlog);
        lab.config.catch_up_rate = None;
        lab.run(async |lab| {
            lab.until("everything", |s, stats| {
                s.texts().len() == backlog + 200 && stats.backlog_bytes == 0
            })
            .await;
        });
        let store = lab.store.borrow();
        for i in 0..4 {
            let lines = store.lines();
            let of = lines.iter().filter(|l| l.pod == format!("old-{i}"));
            let texts: Vec<String> = of.map(|l| l.text.clone()).collect();
            let want: Vec<String> = (0..1000).map(filler).collect();
            assert_eq!(texts, want, "{order:?}");
        }
    }
}
