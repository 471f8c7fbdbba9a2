use super::*;

const MS: u64 = 1_000_000;

fn place(helper: bool) -> Place {
    Place {
        account: Arc::default(),
        helper,
    }
}

/// A line in which everybody that has a permit computes for a look's time, again and again.
struct Simulation {
    line: Line<usize>,
    places: Vec<Place>,
    /// Who computes, and for how long without a pause, ns.
    running: Vec<(usize, u64)>,
}

impl Simulation {
    fn new(permits: usize) -> Simulation {
        Simulation {
            line: Line {
                free: permits,
                waiting: Vec::new(),
            },
            places: Vec::new(),
            running: Vec::new(),
        }
    }

    fn come(&mut self, place: Place) -> usize {
        let who = self.places.len();
        if self.line.take() {
            self.running.push((who, 0));
        } else {
            self.line.waiting.push((place.clone(), who));
        }
        self.places.push(place);
        who
    }

    /// All that compute do so for `time`, then look up.
    fn step(&mut self, time: u64) {
        for at in 0..self.running.len() {
            let (who, held) = &mut self.running[at];
            self.places[*who].account.spend(time);
            *held += time;
            if let Some(next) = self.line.before(&self.places[*who], *held) {
                let gone = *who;
                self.running[at] = (next, 0);
                self.line.waiting.push((self.places[gone].clone(), gone));
            }
        }
    }

    fn is_running(&self, who: usize) -> bool {
        self.running.iter().any(|(running, _)| *running == who)
    }

    fn spent(&self, who: usize) -> u64 {
        self.places[who].account.spent.load(Ordering::Relaxed)
    }
}

#[test]
fn a_light_query_waits_for_one_look() {
    for permits in [1, 2, 4] {
        let mut simulation = Simulation::new(permits);
        for _ in 0..12 {
            simulation.come(place(false));
        }
        for _ in 0..10_000 {
            simulation.step(MS);
        }
        for _ in 0..20 {
            let light = simulation.come(place(false));
            simulation.step(MS);
            assert!(simulation.is_running(light), "{permits} permits");
            // It keeps its permit to the end of a light query.
            for _ in 0..9 {
                simulation.step(MS);
                assert!(simulation.is_running(light), "{permits} permits");
            }
        }
    }
}

#[test]
fn heavy_queries_share_alike_whenever_they_came() {
    let mut simulation = Simulation::new(2);
    let old: Vec<usize> = (0..3).map(|_| simulation.come(place(false))).collect();
    for _ in 0..30_000 {
        simulation.step(MS);
    }
    let before: Vec<u64> = old.iter().map(|who| simulation.spent(*who)).collect();
    let new = simulation.come(place(false));
    for _ in 0..30_000 {
        simulation.step(MS);
    }
    // A fourth of two cores each; the new one is ahead by what made it heavy.
    for (who, before) in old.iter().zip(before) {
        let got = simulation.spent(*who) - before;
        assert!((14_000 * MS..=15_100 * MS).contains(&got), "{got}");
    }
    let got = simulation.spent(new);
    assert!((14_900 * MS..=17_000 * MS).contains(&got), "{got}");
}

#[test]
fn nobody_waits_longer_than_the_others_take() {
    let mut simulation = Simulation::new(2);
    let all: Vec<usize> = (0..8).map(|_| simulation.come(place(false))).collect();
    let mut waited = vec![0u64; all.len()];
    for _ in 0..20_000 {
        simulation.step(MS);
        for who in &all {
            waited[*who] = match simulation.is_running(*who) {
                true => 0,
                false => waited[*who] + MS,
            };
            // Six others before it on two permits, and one that has just begun.
            assert!(waited[*who] <= 4 * (QUANTUM + MS), "{}", waited[*who]);
        }
    }
}

#[test]
fn helpers_take_what_nobody_else_wants() {
    let mut simulation = Simulation::new(2);
    let owner = simulation.come(place(false));
    let account = Arc::clone(&simulation.places[owner].account);
    let helper = simulation.come(Place {
        account: Arc::clone(&account),
        helper: true,
    });
    simulation.step(MS);
    assert!(simulation.is_running(helper), "a core is free");
    let other = simulation.come(place(false));
    for _ in 0..5_000 {
        simulation.step(MS);
        assert!(simulation.is_running(owner) && simulation.is_running(other));
    }
    // The owner waits for what the helper has: now the helper goes as the query.
    account.waits.store(true, Ordering::Relaxed);
    let at = simulation.running.iter().position(|(who, _)| *who == owner);
    let next = simulation.line.give();
    assert_eq!(next, Some(helper));
    simulation.running[at.unwrap()] = (helper, 0);
    simulation.come(place(false));
    let mut ran = 0;
    for _ in 0..5_000 {
        simulation.step(MS);
        ran += u64::from(simulation.is_running(helper));
    }
    assert!(
        (3_000..=3_700).contains(&ran),
        "two of three permits: {ran}"
    );
}

fn far() -> Instant {
    Instant::now() + std::time::Duration::from_secs(3600)
}

#[test]
fn a_permit_goes_from_hand_to_hand() {
    let gate = Gate::new(1);
    let (heavy, light) = (place(false), place(false));
    heavy.account.spend(1 << 40);
    let never = || Ok(());
    gate.enter(&heavy, far(), &never).unwrap();
    assert!(!gate.has_free());
    // Nobody waits: nothing happens.
    assert!(!gate.offer(&heavy, 1 << 40, far(), &never).unwrap());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            gate.enter(&light, far(), &never).unwrap();
            gate.leave();
        });
        while !gate.offer(&heavy, 0, far(), &never).unwrap() {
            std::thread::yield_now();
        }
        waiting.join().unwrap();
    });
    gate.leave();
    assert!(gate.has_free());
}

#[test]
fn who_ends_while_waiting_leaves_the_line() {
    let gate = Gate::new(1);
    let (first, second) = (place(false), place(false));
    gate.enter(&first, far(), &|| Ok(())).unwrap();
    // Its deadline passed before it came.
    let late = gate.enter(&second, Instant::now(), &|| Err(EvalError::Timeout));
    assert!(matches!(late, Err(EvalError::Timeout)));
    let gone = AtomicBool::new(false);
    let is_gone = || match gone.load(Ordering::Relaxed) {
        true => Err(EvalError::Cancelled),
        false => Ok(()),
    };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| gate.enter(&second, far(), &is_gone));
        while gate.waiting.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        gone.store(true, Ordering::Relaxed);
        gate.wake(&second.account);
        let ended = waiting.join().unwrap();
        assert!(matches!(ended, Err(EvalError::Cancelled)));
    });
    gate.leave();
    assert!(gate.has_free(), "the permit went to nobody");
}
