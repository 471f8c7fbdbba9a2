//! P1: lines are written, files rotate, partial lines are open, and the appliance is killed with SIGKILL again and
//! again; in the end every line is there exactly once.
//!
//! `DRUPELET_KILLS` sets how many kills (10), `DRUPELET_SEED` what happens when, `DRUPELET_RATE` records a second.
#![expect(
    clippy::disallowed_methods,
    reason = "writes the configuration file that it starts the binary with"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::kubelet::{Line, NAMESPACE, Runtime, World};
use crate::util::{Appliance, Found, Rng, env_number};

/// Kills between two settlements, at most.
const KILLS_PER_ROUND: u64 = 8;
/// Without a change of the count for this long, nothing more is expected to come.
const STUCK: Duration = Duration::from_secs(20);
/// Differences that a failure message shows.
const SHOWN: usize = 12;

/// Writes logs in the background.
pub(crate) struct Writer {
    pub(crate) world: Arc<Mutex<World>>,
    paused: Arc<AtomicBool>,
    ended: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Writer {
    pub(crate) fn start(world: World, rate: u64) -> Writer {
        let world = Arc::new(Mutex::new(world));
        let paused = Arc::new(AtomicBool::new(false));
        let ended = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (world, paused, ended) = (world.clone(), paused.clone(), ended.clone());
            move || {
                let mut last = Instant::now();
                let mut owed = 0.0;
                while !ended.load(Ordering::Relaxed) {
                    owed += last.elapsed().as_secs_f64() * rate as f64;
                    last = Instant::now();
                    if !paused.load(Ordering::Relaxed) {
                        let mut world = world.lock().expect("world");
                        if !paused.load(Ordering::Relaxed) {
                            world.tick((owed as u64).min(rate / 10));
                        }
                    }
                    owed -= owed.floor();
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
        });
        Writer {
            world,
            paused,
            ended,
            thread,
        }
    }

    /// Nothing is written when this returns.
    pub(crate) fn pause(&self) -> u64 {
        self.paused.store(true, Ordering::Relaxed);
        self.world.lock().expect("world").complete()
    }

    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::Relaxed);
    }

    pub(crate) fn end(self) -> World {
        self.ended.store(true, Ordering::Relaxed);
        self.thread.join().expect("writer");
        let mutex = Arc::into_inner(self.world).expect("the thread has ended");
        mutex.into_inner().expect("world")
    }
}

struct Run {
    rng: Rng,
    pods: PathBuf,
    data: PathBuf,
    config: PathBuf,
}

impl Run {
    fn start(&self) -> Appliance {
        Appliance::start(&self.pods, &self.data, &self.config)
    }

    /// Lets it live for a random while and kills it, sometimes while it shuts down.
    fn live_and_die(&mut self) {
        let appliance = self.start();
        let life = match self.rng.range(0, 10) {
            0..=4 => self.rng.range(0, 400),
            _ => self.rng.range(400, 3_000),
        };
        // Not for synchronisation: the instant is meant to be arbitrary.
        std::thread::sleep(Duration::from_millis(life));
        if self.rng.chance(20) {
            appliance.ask_to_stop();
            std::thread::sleep(Duration::from_millis(self.rng.range(0, 60)));
            drop(appliance);
        } else {
            appliance.kill();
        }
    }

    /// Waits until exactly `wanted` lines are found, then stops the appliance in good order.
    fn settle(&mut self, wanted: u64, world: &World) {
        let mut appliance = self.start();
        wait_count(&mut appliance, wanted, world);
        let status = appliance.stop();
        assert_eq!(status.code(), Some(0), "SIGTERM is a normal end");
    }
}

fn selector() -> String {
    format!("{{namespace=\"{NAMESPACE}\"}}")
}

/// Waits until exactly `wanted` lines are found; shows what is lost or repeated when that does not come about.
pub(crate) fn wait_count(appliance: &mut Appliance, wanted: u64, world: &World) {
    let mut last = 0;
    let mut changed = Instant::now();
    loop {
        let count = appliance.count(&selector());
        if count == wanted {
            return;
        }
        if count != last {
            (last, changed) = (count, Instant::now());
        }
        if count > wanted || changed.elapsed() > STUCK {
            compare(appliance, world);
            let log = appliance.log();
            panic!("{count} lines counted, {wanted} written, and yet each is there\n{log}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn check(runtime: Runtime, containers: usize) {
    let kills = env_number("DRUPELET_KILLS", 10);
    let seed = env_number("DRUPELET_SEED", u64::from(std::process::id()));
    let rate = env_number("DRUPELET_RATE", 3_000);
    let name = format!("{runtime:?}").to_lowercase();
    let replay = format!(
        "DRUPELET_SEED={seed} DRUPELET_KILLS={kills} DRUPELET_RATE={rate} \
         cargo test --release --test tests kill9::p1_exactly_once_{name}"
    );
    let temp = tempfile::tempdir().expect("temporary directory");
    let result =
        std::panic::catch_unwind(|| scenario(temp.path(), runtime, containers, kills, seed, rate));
    if let Err(panic) = result {
        let kept = temp.keep();
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        panic!(
            "{}\nfiles kept in {}\nreplay: {replay}",
            text.unwrap_or_default(),
            kept.display()
        );
    }
}

fn scenario(dir: &Path, runtime: Runtime, containers: usize, kills: u64, seed: u64, rate: u64) {
    let mut run = Run {
        rng: Rng(seed ^ 0x9E37),
        pods: dir.join("pods"),
        data: dir.join("data"),
        config: dir.join("config.yaml"),
    };
    let config = "head_bytes: 1MiB\nflush_interval: 1s\nlog_level: info\n";
    std::fs::write(&run.config, config).expect("write");
    let world = World::new(seed, runtime, containers, &run.pods, &dir.join("targets"));
    let writer = Writer::start(world, rate);
    let mut left = kills;
    while left > 0 {
        let round = left.min(run.rng.range(2, KILLS_PER_ROUND));
        for _ in 0..round {
            run.live_and_die();
        }
        left -= round;
        let written = writer.pause();
        let mut world = writer.world.lock().expect("world");
        run.settle(written, &world);
        world.allow_deletion();
        drop(world);
        writer.resume();
    }
    let mut world = writer.end();
    world.finish();
    let written = world.complete();
    assert!(written > 0, "the writer wrote nothing");
    run.settle(written, &world);
    let mut appliance = run.start();
    wait_count(&mut appliance, written, &world);
    compare(&mut appliance, &world);
    assert_eq!(appliance.stop().code(), Some(0));
}

/// Every stream line by line.
pub(crate) fn compare(appliance: &mut Appliance, world: &World) {
    for (container, stream, truth) in world.truth() {
        let selector = format!(
            "{{namespace=\"{NAMESPACE}\", container=\"{container}\", stream=\"{stream}\"}}"
        );
        let (Some(first), Some(last)) = (truth.first(), truth.last()) else {
            continue;
        };
        let mut found = appliance.entries(&selector, first.ts - 1_000_000, last.ts + 1_000_000);
        // Restarts are series of their own; equal times lie in one series, whose order this keeps.
        found.sort_by_key(|f| f.ts);
        if let Some(difference) = difference(&truth, &found) {
            panic!("{container} {stream}: {difference}\n{}", appliance.log());
        }
    }
}

/// What is lost, repeated, changed or out of order; `None` if nothing is.
pub(crate) fn difference(truth: &[Line], found: &[Found]) -> Option<String> {
    let same = |(t, f): (&Line, &Found)| t.ts == f.ts && t.text == f.line;
    if truth.len() == found.len() && truth.iter().zip(found).all(same) {
        return None;
    }
    let mut counts: BTreeMap<(i64, &str), i64> = BTreeMap::new();
    for line in truth {
        *counts.entry((line.ts, &line.text)).or_default() += 1;
    }
    for line in found {
        *counts.entry((line.ts, &line.line)).or_default() -= 1;
    }
    let pick = |wanted: fn(i64) -> bool| -> Vec<String> {
        let picked = counts.iter().filter(|(_, n)| wanted(**n));
        let short = |text: &str| text.chars().take(120).collect::<String>();
        picked
            .map(|((ts, text), _)| format!("  {ts} {} bytes: {}", text.len(), short(text)))
            .collect()
    };
    let (lost, extra) = (pick(|n| n > 0), pick(|n| n < 0));
    let show = |list: &[String]| list[..list.len().min(SHOWN)].join("\n");
    if lost.is_empty() && extra.is_empty() {
        let at = truth.iter().zip(found).position(|pair| !same(pair));
        return Some(format!("order differs from entry {at:?} on"));
    }
    Some(format!(
        "{} written, {} found; {} lost or changed:\n{}\n{} repeated or changed:\n{}",
        truth.len(),
        found.len(),
        lost.len(),
        show(&lost),
        extra.len(),
        show(&extra)
    ))
}

#[test]
fn p1_exactly_once_containerd() {
    check(Runtime::Containerd, 4);
}

#[test]
fn p1_exactly_once_docker() {
    check(Runtime::Docker, 3);
}

#[test]
fn the_comparison_sees_lost_repeated_and_swapped_lines() {
    let line = |n: i64| Line {
        ts: n / 2,
        text: format!("n{n}"),
    };
    let found = |n: &i64| Found {
        labels: serde_json::Value::Null,
        ts: n / 2,
        line: format!("n{n}"),
    };
    let truth: Vec<Line> = (0..6).map(line).collect();
    for (order, wanted) in [
        (vec![0, 1, 2, 3, 4, 5], None),
        (vec![0, 1, 3, 4, 5], Some("1 lost")),
        (vec![0, 1, 2, 3, 3, 4, 5], Some("1 repeated")),
        (vec![0, 1, 3, 2, 4, 5], Some("order differs")),
    ] {
        let list: Vec<Found> = order.iter().map(found).collect();
        let got = difference(&truth, &list);
        match wanted {
            None => assert_eq!(got, None),
            Some(text) => assert!(got.clone().is_some_and(|g| g.contains(text)), "{got:?}"),
        }
    }
}
