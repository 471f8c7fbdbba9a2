//! Rotation as kubelet does it.
use crate::util::{Lab, Writer, gzip, rename};

#[test]
fn kubelets_steps_with_late_writes() {
    let mut lab = Lab::new();
    let dir = lab.web();
    let mut w = Writer::open(dir.join("0.log"));
    w.out("0");
    lab.run(async |lab| {
        lab.expect(&["0"]).await;
        let mut want = vec!["0".to_owned()];
        let mut previous: Option<String> = None;
        for round in 0..5 {
            if let Some(previous) = &previous {
                gzip(&dir, previous);
            }
            let rotated = format!("0.log.20261120-09000{round}");
            rename(&dir, "0.log", &rotated);
            w.out(&format!("late {round}"));
            let mut new = Writer::open(dir.join("0.log"));
            new.out(&format!("new {round}"));
            w.out(&format!("later {round}"));
            tokio::task::yield_now().await;
            w.out(&format!("last {round}"));
            drop(std::mem::replace(&mut w, new));
            for what in ["late", "later", "last", "new"] {
                want.push(format!("{what} {round}"));
            }
            previous = Some(rotated);
            let want: Vec<&str> = want.iter().map(String::as_str).collect();
            lab.expect(&want).await;
        }
    });
}

#[test]
fn a_line_split_by_a_rotation_is_one_line() {
    let mut lab = Lab::new();
    let dir = lab.web();
    let mut w = Writer::open(dir.join("0.log"));
    lab.run(async |lab| {
        w.out("a");
        w.put("stdout", "P", "one ");
        w.put("stderr", "F", "between");
        rename(&dir, "0.log", "0.log.20261120-090000");
        w.put("stdout", "P", "line ");
        drop(w);
        let mut w = Writer::open(dir.join("0.log"));
        w.put("stderr", "F", "other");
        w.put("stdout", "F", "in two files");
        w.out("b");
        lab.expect(&["a", "between", "other", "one line in two files", "b"])
            .await;
    });
}

#[test]
fn a_lone_piece_ends_with_its_instance() {
    let mut lab = Lab::new();
    let dir = lab.web();
    lab.run(async |lab| {
        let mut w = Writer::open(dir.join("0.log"));
        w.put("stdout", "P", "fatal");
        drop(w);
        let mut w = Writer::open(dir.join("1.log"));
        w.out("again");
        lab.until("lines", |s, _| s.texts().len() == 2).await;
        let mut texts = lab.store.borrow().texts();
        texts.sort();
        assert_eq!(texts, ["again", "fatal"]);
        // And with its directory.
        let pod = lab.container("jobs_tick-1_u-9", "main");
        let mut w = Writer::open(pod.join("0.log"));
        w.put("stderr", "P", "bye");
        lab.until("read", |s, _| {
            s.ops.iter().any(|o| o.key == b"pods/u-9/main/0")
        })
        .await;
        drop(w);
        std::fs::remove_dir_all(pod.parent().unwrap()).unwrap();
        lab.until("flushed", |s, _| {
            s.texts().last().is_some_and(|t| t == "bye")
        })
        .await;
    });
}

#[test]
fn a_lone_piece_that_does_not_grow_is_taken() {
    let mut lab = Lab::new();
    lab.config.timing.partial = std::time::Duration::from_millis(50);
    let mut w = Writer::open(lab.web().join("0.log"));
    w.put("stdout", "P", "prompt> ");
    lab.run(async |lab| {
        lab.expect(&["prompt> "]).await;
        w.put("stdout", "F", "rest");
        lab.expect(&["prompt> ", "rest"]).await;
    });
}

#[test]
fn late_appends_to_an_older_file_are_read() {
    let mut lab = Lab::new();
    let dir = lab.web();
    let mut w = Writer::open(dir.join("0.log"));
    lab.run(async |lab| {
        w.out("a");
        rename(&dir, "0.log", "0.log.20261120-090000");
        let mut new = Writer::open(dir.join("0.log"));
        new.out("b");
        // Quiet for long enough, though not closed.
        lab.expect(&["a", "b"]).await;
        w.put("stdout", "P", "late");
        lab.expect(&["a", "b", "late"]).await;
        new.out("c");
        lab.expect(&["a", "b", "late", "c"]).await;
    });
}

#[test]
fn emptied_files_begin_anew() {
    let mut lab = Lab::new();
    let path = lab.web().join("0.log");
    let mut w = Writer::open(&path);
    lab.run(async |lab| {
        w.out("a");
        w.out("aa");
        lab.expect(&["a", "aa"]).await;
        // Emptied, seen, then filled.
        w.0.set_len(0).unwrap();
        lab.until("seen", |_, s| s.restarted == 1).await;
        w.out("b");
        lab.expect(&["a", "aa", "b"]).await;
        // Emptied and filled with less before anyone looks.
        w.out(&"long ".repeat(100));
        lab.until("long", |_, s| s.lines == 4).await;
        w.0.set_len(0).unwrap();
        w.out("c");
        lab.until("c", |_, s| s.lines == 5).await;
        // Emptied and filled beyond the old end before anyone looks.
        w.0.set_len(0).unwrap();
        for _ in 0..10 {
            w.out("a line of another length than before");
        }
        lab.until("filled", |_, s| s.lines == 15).await;
        assert_eq!((lab.stats().restarted, lab.stats().malformed), (3, 0));
    });
}

#[test]
fn a_copy_goes_on_where_the_emptied_original_ended() {
    let mut lab = Lab::new();
    let dir = lab.web();
    let mut w = Writer::open(dir.join("0.log"));
    lab.run(async |lab| {
        w.out("a");
        lab.expect(&["a"]).await;
        // copytruncate, with lines that nobody has read when the copy is made.
        w.out("b");
        std::fs::copy(dir.join("0.log"), dir.join("0.log.20261120-090000")).unwrap();
        w.0.set_len(0).unwrap();
        w.out("c");
        lab.until("lines", |s, _| s.texts().len() >= 3).await;
        let mut texts = lab.store.borrow().texts();
        texts.sort();
        assert_eq!(texts, ["a", "b", "c"]);
    });
}
