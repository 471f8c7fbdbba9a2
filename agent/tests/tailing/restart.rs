//! Going on after a stop at any instant: nothing lost, nothing repeated.
#![expect(
    clippy::disallowed_methods,
    reason = "tests play kubelet: they write, rename and remove log files"
)]

use std::io::Read as _;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::util::{Lab, Writer, gzip, record, rename};

#[test]
fn only_the_compressed_file_is_left() {
    let mut lab = Lab::new();
    let dir = lab.web();
    let mut w = Writer::open(dir.join("0.log"));
    w.out("a");
    w.put("stdout", "P", "b1");
    lab.run(async |lab| lab.expect(&["a"]).await);
    // While nobody looks: more lines, rotation, compression, another rotation.
    w.put("stderr", "F", "e");
    w.put("stdout", "F", "b2");
    rename(&dir, "0.log", "0.log.20261120-090000");
    let mut w = Writer::open(dir.join("0.log"));
    w.out("c");
    gzip(&dir, "0.log.20261120-090000");
    rename(&dir, "0.log", "0.log.20261120-090001");
    let mut w = Writer::open(dir.join("0.log"));
    w.out("d");
    lab.run(async |lab| lab.expect(&["a", "e", "b1b2", "c", "d"]).await);
    lab.run(async |lab| {
        w.out("f");
        lab.expect(&["a", "e", "b1b2", "c", "d", "f"]).await;
    });
}

#[test]
fn a_damaged_compressed_file_is_taken_up_to_the_damage() {
    let mut lab = Lab::new();
    let dir = lab.web();
    let mut w = Writer::open(dir.join("0.log"));
    let all: Vec<String> = (0..3000_u32)
        .map(|i| format!("{i} {}", i.wrapping_mul(0x9E37_79B9)))
        .collect();
    all.iter().for_each(|line| w.out(line));
    rename(&dir, "0.log", "0.log.20261120-090000");
    gzip(&dir, "0.log.20261120-090000");
    Writer::open(dir.join("0.log")).out("live");
    // A power cut while the kubelet compressed, or a bad card.
    let path = dir.join("0.log.20261120-090000.gz");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let mut text = Vec::new();
    let cut = flate2::read::GzDecoder::new(&whole[..whole.len() / 2]).read_to_end(&mut text);
    cut.unwrap_err();
    let kept = text.iter().filter(|b| **b == b'\n').count();
    assert!((100..2900).contains(&kept), "{kept}");
    let mut want: Vec<&str> = all[..kept].iter().map(String::as_str).collect();
    want.push("live");
    lab.run(async |lab| {
        lab.expect(&want).await;
        assert_eq!(lab.stats().read_errors, 1);
    });
}

#[test]
fn a_reused_inode_is_another_file() {
    let mut lab = Lab::new();
    let path = lab.web().join("0.log");
    Writer::open(&path).out("aaaaaaaaaa");
    lab.run(async |lab| lab.expect(&["aaaaaaaaaa"]).await);
    std::fs::remove_file(&path).unwrap();
    // Whether the file system reuses the inode or not, and whether it keeps birth times or not: the content decides.
    let mut w = Writer::open(&path);
    w.out("b");
    w.out("cccccccccccccccccccccccccccccc");
    lab.run(async |lab| {
        lab.expect(&["aaaaaaaaaa", "b", "cccccccccccccccccccccccccccccc"])
            .await;
    });
}

#[test]
fn a_shorter_file_goes_on_at_its_end() {
    let mut lab = Lab::new();
    let path = lab.web().join("0.log");
    let mut w = Writer::open(&path);
    w.out("a");
    let keep = w.0.metadata().unwrap().len();
    w.out("b");
    w.out("c");
    lab.run(async |lab| lab.expect(&["a", "b", "c"]).await);
    // A power cut: the end of the file never reached the card.
    w.0.set_len(keep).unwrap();
    lab.run(async |lab| {
        lab.until("seen", |_, s| s.shrunk == 1).await;
        w.out("d");
        lab.expect(&["a", "b", "c", "d"]).await;
    });
    lab.run(async |lab| {
        w.out("e");
        lab.expect(&["a", "b", "c", "d", "e"]).await;
        assert_eq!(lab.stats().shrunk, 0);
    });
}

#[test]
fn emptied_and_refilled_while_nobody_looked() {
    let mut lab = Lab::new();
    let mut w = Writer::open(lab.web().join("0.log"));
    w.out("a");
    lab.run(async |lab| lab.expect(&["a"]).await);
    w.0.set_len(0).unwrap();
    for n in 0..5 {
        w.out(&format!("refilled {n}"));
    }
    lab.run(async |lab| {
        lab.until("lines", |s, _| s.texts().len() >= 6).await;
        assert_eq!(lab.store.borrow().texts().len(), 6);
    });
}

#[test]
fn copies_on_another_file_system_are_known() {
    let mut lab = Lab::new();
    let dir = lab.web();
    let mut w = Writer::open(dir.join("0.log"));
    w.out("a");
    w.put("stdout", "P", "b");
    lab.run(async |lab| lab.expect(&["a"]).await);
    let copy = lab.dir.path().join("copy");
    std::fs::copy(dir.join("0.log"), &copy).unwrap();
    std::fs::remove_file(dir.join("0.log")).unwrap();
    std::fs::copy(&copy, dir.join("0.log")).unwrap();
    Writer::open(dir.join("0.log")).put("stdout", "F", "c");
    lab.run(async |lab| lab.expect(&["a", "bc"]).await);
}

#[test]
fn starting_at_the_end_takes_only_what_is_new() {
    let mut lab = Lab::new();
    lab.config.start_at = agent::StartAt::End;
    let dir = lab.web();
    Writer::open(dir.join("0.log.20261120-090000")).out("old");
    let mut w = Writer::open(dir.join("0.log"));
    w.out("a");
    let torn = record("stdout", "F", "torn");
    w.raw(&torn[..20]);
    lab.run(async |lab| {
        lab.until("found", |s, _| !s.ops.is_empty()).await;
        w.raw(&torn[20..]);
        lab.expect(&["torn"]).await;
    });
}

#[test]
fn a_gone_instance_is_forgotten_late() {
    let mut lab = Lab::new();
    lab.config.timing.forget = std::time::Duration::from_millis(30);
    let dir = lab.web();
    Writer::open(dir.join("0.log")).out("a");
    let mut other = Writer::open(lab.container("db_redis-0_u-2", "redis").join("0.log"));
    other.out("b");
    lab.run(async |lab| {
        lab.until("lines", |_, s| s.lines == 2).await;
        std::fs::remove_dir_all(dir.parent().unwrap()).unwrap();
        lab.until("forgotten", |s, _| s.positions().len() == 1)
            .await;
    });
}

/// One step of a container's life, or of the agent's.
#[derive(Debug, Clone)]
enum Step {
    Full {
        err: bool,
        len: usize,
    },
    Part {
        err: bool,
        len: usize,
    },
    /// Half a record, completed by the next step.
    Torn,
    Rotate,
    Gzip,
    /// A container restart: `N+1.log`.
    Restart,
    /// Wait until everything is read.
    Settle,
    /// Kill the agent after some more batches; the sink forgets the newest of what it took.
    Crash {
        batches: usize,
        durable: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![8 => 0..60usize, 1 => 16_380..16_390usize, 1 => 65_000..70_000usize];
    prop_oneof![
        10 => (any::<bool>(), len.clone()).prop_map(|(err, len)| Step::Full { err, len }),
        4 => (any::<bool>(), len).prop_map(|(err, len)| Step::Part { err, len }),
        1 => Just(Step::Torn),
        2 => Just(Step::Rotate),
        1 => Just(Step::Gzip),
        1 => Just(Step::Restart),
        1 => Just(Step::Settle),
        3 => (0..4usize, 0..100usize).prop_map(|(batches, durable)| Step::Crash { batches, durable }),
    ]
}

/// The container, and what its lines are.
struct Model {
    dir: PathBuf,
    writer: Writer,
    restart: u32,
    rotated: Vec<String>,
    torn: Option<String>,
    open: [Option<String>; 2],
    want: Vec<String>,
    count: usize,
}

impl Model {
    fn new(dir: &Path) -> Model {
        Model {
            dir: dir.to_owned(),
            writer: Writer::open(dir.join("0.log")),
            restart: 0,
            rotated: Vec::new(),
            torn: None,
            open: [None, None],
            want: Vec::new(),
            count: 0,
        }
    }

    fn put(&mut self, err: bool, full: bool, len: usize) {
        if let Some(rest) = self.torn.take() {
            self.writer.raw(rest);
        }
        self.count += 1;
        let piece = format!("<{}{}>", self.count, "x".repeat(len));
        let stream = if err { "stderr" } else { "stdout" };
        self.writer
            .put(stream, if full { "F" } else { "P" }, &piece);
        let line = self.open[usize::from(err)].get_or_insert_default();
        line.push_str(&piece);
        if full {
            self.want.extend(self.open[usize::from(err)].take());
        }
    }

    fn finish_lines(&mut self) {
        for err in [false, true] {
            if self.torn.is_some() || self.open[usize::from(err)].is_some() {
                self.put(err, true, 0);
            }
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Full { err, len } => self.put(err, true, len),
            Step::Part { err, len } => self.put(err, false, len),
            Step::Torn => {
                self.put(false, true, 0);
                self.count += 1;
                let piece = format!("<{}torn>", self.count);
                let text = record("stdout", "F", &piece);
                let mut line = self.open[0].take().unwrap_or_default();
                line.push_str(&piece);
                self.want.push(line);
                self.writer.raw(&text[..text.len() / 2]);
                self.torn = Some(text[text.len() / 2..].to_owned());
            }
            Step::Rotate => {
                if let Some(rest) = self.torn.take() {
                    self.writer.raw(rest);
                }
                self.count += 1;
                let live = format!("{}.log", self.restart);
                let name = format!("{live}.20261120-{:06}", self.count);
                rename(&self.dir, &live, &name);
                self.rotated.push(name);
                self.writer = Writer::open(self.dir.join(live));
            }
            Step::Gzip => {
                if !self.rotated.is_empty() {
                    gzip(&self.dir, &self.rotated.remove(0));
                }
            }
            Step::Restart => {
                self.finish_lines();
                self.restart += 1;
                self.rotated.clear();
                self.writer = Writer::open(self.dir.join(format!("{}.log", self.restart)));
            }
            Step::Settle | Step::Crash { .. } => {}
        }
    }
}

/// Sorted: lines of several files of instances, and of the two streams, have no common order.
///
/// Runs of padding are given by their length, to be readable.
fn sorted(lines: Vec<String>) -> Vec<String> {
    let short = |l: String| {
        let parts: Vec<String> = l
            .split('<')
            .map(|p| format!("{}:{}", p.trim_end_matches(['x', '>']), p.len()))
            .collect();
        parts[1..].join("+")
    };
    let mut lines: Vec<String> = lines.into_iter().map(short).collect();
    lines.sort();
    lines
}

fn live(steps: &[Step]) {
    let mut lab = Lab::new();
    let mut model = Model::new(&lab.web());
    let mut at = 0;
    loop {
        let crash = lab.run(async |lab| {
            while let Some(step) = steps.get(at) {
                at += 1;
                model.step(step);
                match *step {
                    Step::Crash { batches, durable } => {
                        let have = lab.store.borrow().ops.len();
                        for _ in 0..20 * batches {
                            if lab.store.borrow().ops.len() >= have + batches {
                                break;
                            }
                            tokio::time::sleep(std::time::Duration::from_micros(200)).await;
                        }
                        return Some(durable);
                    }
                    Step::Settle => {
                        let want = model.want.len() - usize::from(model.torn.is_some());
                        lab.until("settled", |s, _| s.texts().len() >= want).await;
                    }
                    _ => {}
                }
            }
            model.finish_lines();
            let want = model.want.len();
            lab.until("all lines", |s, _| s.texts().len() >= want).await;
            None
        });
        let Some(durable) = crash else { break };
        let mut store = lab.store.borrow_mut();
        let keep = store.ops.len() * durable / 100;
        // Flushed batches stay durable: only what came after the crash before may be forgotten.
        let keep = keep.max(store.durable);
        store.ops.truncate(keep);
        store.durable = keep;
    }
    let got = lab.store.borrow().texts();
    assert_eq!(sorted(got), sorted(model.want));
    assert_eq!(lab.stats().malformed, 0);
}

#[test]
fn compressed_before_anyone_read_it() {
    live(&[
        Step::Full {
            err: false,
            len: 19,
        },
        Step::Rotate,
        Step::Gzip,
    ]);
}

#[test]
fn a_line_over_three_files_and_a_crash() {
    let part = Step::Part { err: true, len: 5 };
    let full = Step::Full { err: false, len: 9 };
    let crash = Step::Crash {
        batches: 9,
        durable: 100,
    };
    for rotate in [vec![Step::Rotate], vec![Step::Rotate, Step::Gzip]] {
        let mut steps = vec![full.clone(), part.clone()];
        for _ in 0..3 {
            steps.extend(rotate.clone());
            steps.extend([part.clone(), full.clone(), crash.clone(), full.clone()]);
        }
        live(&steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: std::env::var("CASES").map_or(48, |c| c.parse().unwrap()), failure_persistence: None, max_shrink_iters: 200, ..ProptestConfig::default() })]
    #[test]
    fn p1_any_life_and_any_crash_give_each_line_once(steps in prop::collection::vec(step(), 1..60)) {
        live(&steps);
    }
}
