//! Writes pod logs in a guest that has no Python: fifty containers, with the kubelet's rotation, as fast as asked.
//!
//! ```text
//! writer PODS_DIR GENERATION --rate LINES_PER_SECOND --lines N [--rotate LINES_OF_A_FILE]
//! ```
//!
//! Every line ends in `seq=GENERATION:CONTAINER:N`, N without gaps, so that a checker can tell lost from repeated. After a
//! power cut every container is a new one, in reality as here: its file is `GENERATION.log`. A rate of 0 is full speed.
//! Rotation as the kubelet does it: rename, late lines through the old descriptor, gzip of the file before, four kept.
#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "stands for the kubelet and the containers, whose files are not ours"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const CONTAINERS: usize = 50;
/// Between two bursts of lines.
const TICK: Duration = Duration::from_millis(50);
/// Rotated files of a container that the kubelet keeps.
const KEPT: usize = 4;
const WORDS: [&str; 12] = [
    "cache", "session", "worker", "shard", "index", "replica", "volume", "lease", "token", "queue",
    "batch", "route",
];

/// What to write.
struct Plan {
    root: PathBuf,
    generation: u32,
    rate: u64,
    lines: u64,
    rotate: u64,
}

struct Container {
    id: usize,
    dir: PathBuf,
    file: File,
    /// Lines so far.
    lines: u64,
    /// Lines in the current file.
    filled: u64,
    rotated: Vec<PathBuf>,
    rotated_at: u64,
}

/// Linear congruential; the same lines in every run of a generation, but for their times.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn main() -> io::Result<()> {
    let plan = plan(std::env::args().skip(1))?;
    let mut containers = Vec::new();
    for id in 0..CONTAINERS {
        containers.push(Container::new(&plan, id)?);
    }
    let mut rng = Rng(u64::from(plan.generation) + 1);
    let (begin, mut stamp, mut raw, mut done) = (Instant::now(), 0, 0, 0);
    while done < plan.lines {
        let elapsed = begin.elapsed();
        let due = match plan.rate {
            0 => plan.lines,
            rate => plan.lines.min((elapsed.as_secs_f64() * rate as f64) as u64),
        };
        while done < due {
            // A few loud containers, many quiet ones.
            let most = CONTAINERS as u64;
            let id = rng.below(most).min(rng.below(most)) as usize;
            // A rotation writes a line more.
            stamp = now().max(stamp + 2);
            raw += containers[id].write(&plan, stamp, &mut rng)?;
            done += 1;
        }
        std::thread::sleep(TICK.saturating_sub(begin.elapsed() - elapsed));
    }
    let seconds = begin.elapsed().as_secs_f64();
    println!("lines={done} raw={raw} seconds={seconds:.2}");
    Ok(())
}

fn plan(args: impl Iterator<Item = String>) -> io::Result<Plan> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
    let args: Vec<String> = args.collect();
    let [root, generation, rest @ ..] = &args[..] else {
        return Err(wrong("PODS_DIR GENERATION [--FLAG N]..."));
    };
    let number = |text: &str| text.parse().map_err(|_| wrong(text));
    let mut plan = Plan {
        root: root.into(),
        generation: number(generation)? as u32,
        rate: 0,
        lines: u64::MAX,
        rotate: u64::MAX,
    };
    for pair in rest.chunks(2) {
        match pair {
            [flag, n] if flag == "--rate" => plan.rate = number(n)?,
            [flag, n] if flag == "--lines" => plan.lines = number(n)?,
            [flag, n] if flag == "--rotate" => plan.rotate = number(n)?,
            _ => return Err(wrong(&pair.join(" "))),
        }
    }
    Ok(plan)
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |d| d.as_nanos() as u64)
}

impl Container {
    fn new(plan: &Plan, id: usize) -> io::Result<Container> {
        let pod = format!(
            "ns-{}_app-{id:02}-7d9f_{id:08x}-aaaa-4bbb-8ccc-{id:012x}/app-{id:02}",
            id % 5
        );
        let dir = plan.root.join(pod);
        fs::create_dir_all(&dir)?;
        let file = open(&dir, plan.generation)?;
        Ok(Container {
            id,
            dir,
            file,
            lines: 0,
            filled: 0,
            rotated: Vec::new(),
            rotated_at: 0,
        })
    }

    /// One line, as one record or as two; its bytes with the line feed.
    fn write(&mut self, plan: &Plan, stamp: u64, rng: &mut Rng) -> io::Result<u64> {
        let second = stamp / 1_000_000_000;
        // The suffix of a rotated file has seconds.
        if self.filled >= plan.rotate && second > self.rotated_at {
            self.rotate(plan, stamp)?;
            return self.write(plan, stamp + 1, rng);
        }
        self.lines += 1;
        self.filled += 1;
        let mut word = || WORDS[rng.below(WORDS.len() as u64) as usize];
        let text = format!(
            "level=info caller=main.go:{} msg=\"{} {} finished {}\" trace_id={:016x} seq={}:{}:{}",
            stamp % 400,
            word(),
            word(),
            word(),
            stamp.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            plan.generation,
            self.id,
            self.lines
        );
        let stream = if rng.below(20) == 0 {
            "stderr"
        } else {
            "stdout"
        };
        let head = format!("{} {stream} ", rfc3339(stamp));
        let record = if rng.below(200) == 0 {
            let (a, b) = text.split_at(text.len() / 2);
            format!("{head}P {a}\n{head}F {b}\n")
        } else {
            format!("{head}F {text}\n")
        };
        self.file.write_all(record.as_bytes())?;
        Ok(text.len() as u64 + 1)
    }

    /// The kubelet's steps, in its order.
    fn rotate(&mut self, plan: &Plan, stamp: u64) -> io::Result<()> {
        let second = stamp / 1_000_000_000;
        if self.rotated.len() > KEPT {
            fs::remove_file(self.rotated.remove(0))?;
        }
        if let Some(plain) = self.rotated.last_mut() {
            *plain = compress(plain)?;
        }
        let live = self.dir.join(format!("{}.log", plan.generation));
        let old = self
            .dir
            .join(format!("{}.log.{}", plan.generation, suffix(second)));
        fs::rename(&live, &old)?;
        self.rotated.push(old);
        self.rotated_at = second;
        // The runtime goes on writing to the renamed file until it opens the new one.
        self.write(plan, stamp, &mut Rng(stamp))?;
        self.filled = 0;
        self.file = open(&self.dir, plan.generation)?;
        Ok(())
    }
}

fn open(dir: &Path, generation: u32) -> io::Result<File> {
    let path = dir.join(format!("{generation}.log"));
    OpenOptions::new().create(true).append(true).open(path)
}

/// `FILE.gz`, under a temporary name until it is whole; then the plain file goes.
fn compress(plain: &Path) -> io::Result<PathBuf> {
    let with = |end: &str| PathBuf::from(format!("{}{end}", plain.display()));
    let (temporary, zipped) = (with(".tmp"), with(".gz"));
    let status = Command::new("gzip")
        .stdin(File::open(plain)?)
        .stdout(Stdio::from(File::create(&temporary)?))
        .arg("-c")
        .status()?;
    if !status.success() {
        return Err(io::Error::other(format!("gzip: {status}")));
    }
    fs::rename(&temporary, &zipped)?;
    fs::remove_file(plain)?;
    Ok(zipped)
}

/// Year, month, day, hour, minute, second.
fn civil(seconds: u64) -> [u64; 6] {
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    [year, month, day, rest / 3_600, rest / 60 % 60, rest % 60]
}

fn rfc3339(stamp: u64) -> String {
    let [y, mo, d, h, mi, s] = civil(stamp / 1_000_000_000);
    let fraction = stamp % 1_000_000_000;
    format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{fraction:09}Z")
}

fn suffix(second: u64) -> String {
    let [y, mo, d, h, mi, s] = civil(second);
    format!("{y:04}{mo:02}{d:02}-{h:02}{mi:02}{s:02}")
}
