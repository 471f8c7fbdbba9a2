//! `drupelet agent` is killed with SIGKILL again and again while it pushes rotating logs: nothing is lost, and what is sent
//! again is the batch that was on its way. With `drupelet store` at the other end, which is killed as well, nothing is
//! there twice.
//!
//! `DRUPELET_KILLS`, `DRUPELET_SEED` and `DRUPELET_RATE` as in [`crate::kill9`].
#![expect(
    clippy::disallowed_methods,
    reason = "writes the configuration file that it starts the binary with"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::kill9::{Writer, compare, difference, wait_count};
use crate::kubelet::{Runtime, World};
use crate::loki::{Act, Loki, Taken};
use crate::util::{Appliance, Found, Rng, env_number, wait_for};

/// Kills between two settlements, at most.
const KILLS_PER_ROUND: u64 = 8;
const CLIENT: &str = "batchwait: 50ms, batchsize: 64KiB, timeout: 300ms, \
                      backoff_config: {min_period: 5ms, max_period: 50ms}";

struct Run {
    rng: Rng,
    pods: PathBuf,
    data: PathBuf,
    config: PathBuf,
}

impl Run {
    fn new(seed: u64, dir: &Path, url: &str) -> Run {
        let run = Run {
            rng: Rng(seed ^ 0x51AB),
            pods: dir.join("pods"),
            data: dir.join("data"),
            config: dir.join("config.yaml"),
        };
        let config = format!(
            "clients: [{{url: '{url}', {CLIENT}}}]\nhead_bytes: 1MiB\nflush_interval: 1s\n"
        );
        std::fs::write(&run.config, config).expect("write");
        run
    }

    fn start(&self) -> Appliance {
        Appliance::start_agent(&self.pods, &self.data, &self.config)
    }

    /// Lets it live for a random while and kills it, sometimes while it shuts down.
    fn live_and_die(&mut self) {
        let agent = self.start();
        let life = match self.rng.range(0, 10) {
            0..=4 => self.rng.range(0, 400),
            _ => self.rng.range(400, 2_500),
        };
        // Not for synchronisation: the instant is meant to be arbitrary.
        std::thread::sleep(Duration::from_millis(life));
        if self.rng.chance(20) {
            agent.ask_to_stop();
            std::thread::sleep(Duration::from_millis(self.rng.range(0, 60)));
            drop(agent);
        } else {
            agent.kill();
        }
    }
}

/// What the server does wrong during one life of the agent.
fn trouble(rng: &mut Rng) -> Vec<Act> {
    let mut script = Vec::new();
    for _ in 0..rng.range(0, 12) {
        script.push(match rng.range(0, 12) {
            0 => Act::StoreAnd(500),
            1 => Act::answer(503),
            2 => Act::answer(429),
            3 => Act::Reset(true),
            4 => Act::Reset(false),
            5 => Act::HalfAnswer,
            6 => Act::Hang,
            _ => Act::Store,
        });
    }
    script
}

/// The text of a label.
fn label<'a>(labels: &'a str, name: &str) -> &'a str {
    let rest = labels
        .split(&format!("{name}=\""))
        .nth(1)
        .unwrap_or_default();
    rest.split('"').next().unwrap_or_default()
}

fn unique(taken: &[Taken]) -> u64 {
    let stored = taken.iter().flat_map(|t| &t.stored);
    stored
        .map(|e| (&e.labels, e.ts, &e.line))
        .collect::<BTreeSet<_>>()
        .len() as u64
}

/// Takes repeats away that are allowed: by requests with the same bytes in a row, and of the last request of a life.
/// `deaths` are the numbers of requests at which a life ended.
fn without_repeats(taken: &[Taken], deaths: &[usize]) -> Vec<(String, Found)> {
    let life = |i: usize| deaths.partition_point(|d| *d <= i);
    let last_body = |life: usize| {
        let end = deaths.get(life).copied().unwrap_or(taken.len());
        &taken[end - 1].body
    };
    let mut seen: BTreeMap<(&str, i64, &str), usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (i, request) in taken.iter().enumerate() {
        for e in &request.stored {
            let before = seen.insert((&e.labels, e.ts, &e.line), i);
            let Some(before) = before else {
                let labels = serde_json::Value::Null;
                found.push((
                    e.labels.clone(),
                    Found {
                        labels,
                        ts: e.ts,
                        line: e.line.clone(),
                    },
                ));
                continue;
            };
            let same = taken[before..=i].iter().all(|t| t.body == request.body);
            let on_its_way =
                life(before) < life(i) && taken[before].body == *last_body(life(before));
            assert!(
                same || on_its_way,
                "request {i} repeats a line of request {before}, lives {} and {}, {} requests: {e:?}",
                life(i),
                life(before),
                taken.len()
            );
        }
    }
    found
}

fn scenario(dir: &Path, kills: u64, seed: u64, rate: u64) {
    let loki = Loki::start([]);
    let mut run = Run::new(seed, dir, &loki.url());
    let world = World::new(
        seed,
        Runtime::Containerd,
        4,
        &run.pods,
        &dir.join("targets"),
    );
    let writer = Writer::start(world, rate);
    let (mut left, mut settled, mut known) = (kills, 0, BTreeMap::new());
    while left > 0 {
        let round = left.min(run.rng.range(2, KILLS_PER_ROUND));
        let mut deaths = Vec::new();
        for _ in 0..round {
            loki.script(trouble(&mut run.rng));
            run.live_and_die();
            loki.wait_alone();
            // A life without a request ends where the one before ended.
            if loki.requests() > deaths.last().copied().unwrap_or(0) {
                deaths.push(loki.requests());
            }
        }
        left -= round;
        let written = writer.pause();
        let mut world = writer.world.lock().expect("world");
        loki.script([]);
        let agent = run.start();
        wait_for(
            || {
                (loki.stored() >= written - settled && unique(&loki.taken()) >= written - settled)
                    .then_some(())
            },
            || {
                format!(
                    "{} of {} lines\n{}",
                    unique(&loki.taken()),
                    written - settled,
                    agent.log()
                )
            },
        );
        assert_eq!(agent.stop().code(), Some(0), "SIGTERM is a normal end");
        let taken = loki.forget();
        let found = without_repeats(&taken, &deaths);
        compare_round(&world, &mut known, &found);
        settled = written;
        world.allow_deletion();
        drop(world);
        writer.resume();
    }
    writer.end();
    assert!(settled > 0, "the writer wrote nothing");
}

/// Every line since the round before, once.
fn compare_round(
    world: &World,
    known: &mut BTreeMap<(String, &'static str), usize>,
    found: &[(String, Found)],
) {
    for (container, stream, truth) in world.truth() {
        let before = known
            .insert((container.clone(), stream), truth.len())
            .unwrap_or(0);
        let of = |l: &str| label(l, "container") == container && label(l, "stream") == stream;
        let mut found: Vec<Found> = found
            .iter()
            .filter(|(l, _)| of(l))
            .map(|(_, f)| f.clone())
            .collect();
        found.sort_by_key(|f| f.ts);
        if let Some(difference) = difference(&truth[before..], &found) {
            panic!("{container} {stream}: {difference}");
        }
    }
}

/// Runs in a directory that is kept when it fails.
fn check(test: &str, scenario: fn(&Path, u64, u64, u64)) {
    let kills = env_number("DRUPELET_KILLS", 10);
    let seed = env_number("DRUPELET_SEED", u64::from(std::process::id()));
    let rate = env_number("DRUPELET_RATE", 3_000);
    let temp = tempfile::tempdir().expect("temporary directory");
    let result = std::panic::catch_unwind(|| scenario(temp.path(), kills, seed, rate));
    if let Err(panic) = result {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        panic!(
            "{}\nfiles kept in {}\nreplay: DRUPELET_SEED={seed} DRUPELET_KILLS={kills} DRUPELET_RATE={rate} \
             cargo test --release --test tests kill9_push::{test}",
            text.unwrap_or_default(),
            temp.keep().display()
        );
    }
}

#[test]
fn p1_pushed_lines_survive_kills() {
    check("p1_pushed_lines_survive_kills", scenario);
}

/// Kills the agent, the store, or both, at random instants; in the end every line is in the store once.
fn scenario_store(dir: &Path, kills: u64, seed: u64, rate: u64) {
    // Below the ports that outgoing connections take: it is free again and again while the store is dead.
    let mut rng = Rng(seed);
    let ports = std::iter::repeat_with(|| format!("127.0.0.1:{}", rng.range(10_000, 30_000)));
    let mut ports = ports.filter(|listen| std::net::TcpListener::bind(listen).is_ok());
    let listen = ports.next().expect("a free port");
    let mut run = Run::new(seed, dir, &format!("http://{listen}"));
    let stored = dir.join("store");
    let start_store = |run: &Run| Appliance::start_store(&listen, &stored, &run.config);
    let world = World::new(
        seed,
        Runtime::Containerd,
        4,
        &run.pods,
        &dir.join("targets"),
    );
    let writer = Writer::start(world, rate);
    let (mut left, mut store) = (kills, start_store(&run));
    while left > 0 {
        let round = left.min(run.rng.range(2, KILLS_PER_ROUND));
        for _ in 0..round {
            let agent = run.start();
            // Not for synchronisation: the instants are meant to be arbitrary.
            std::thread::sleep(Duration::from_millis(run.rng.range(0, 1_500)));
            if run.rng.chance(60) {
                store.kill();
                std::thread::sleep(Duration::from_millis(run.rng.range(0, 500)));
                store = start_store(&run);
            }
            std::thread::sleep(Duration::from_millis(run.rng.range(0, 800)));
            agent.kill();
        }
        left -= round;
        let written = writer.pause();
        let mut world = writer.world.lock().expect("world");
        let agent = run.start();
        wait_count(&mut store, written, &world);
        assert_eq!(agent.stop().code(), Some(0), "SIGTERM is a normal end");
        world.allow_deletion();
        drop(world);
        writer.resume();
    }
    let mut world = writer.end();
    world.finish();
    let written = world.complete();
    assert!(written > 0, "the writer wrote nothing");
    let agent = run.start();
    wait_count(&mut store, written, &world);
    compare(&mut store, &world);
    assert_eq!(agent.stop().code(), Some(0));
    assert_eq!(store.stop().code(), Some(0));
}

#[test]
fn p1_pushed_lines_are_stored_once_whatever_is_killed() {
    check(
        "p1_pushed_lines_are_stored_once_whatever_is_killed",
        scenario_store,
    );
}
