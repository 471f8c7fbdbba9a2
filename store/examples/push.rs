//! What pushes cost the device: 50 lines a second in one push, as the row `push_device` of benches/measure.py does it over
//! HTTP.
//!
//! `benches/loopfs.py with 1024 cargo run --release -p store --example push -- LINES_FILE SECONDS` pushes the lines of a file
//! into a store on the loop device that `loopfs.py` names in the environment, and prints what reached it.

use std::io::BufRead as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use store::api::{Options, Store};
use wire::{Batch, Entry, LabelSet, Labels};

/// Lines of a push.
const LINES: usize = 50;
/// Streams that they are spread over.
const STREAMS: usize = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (file, secs) = args.next().zip(args.next()).ok_or("LINES_FILE SECONDS")?;
    let secs: u64 = secs.parse()?;
    let dir = std::env::var("LOOPFS_DIR")?;
    let device = std::env::var("LOOPFS_DEVICE")?;
    #[expect(clippy::disallowed_methods, reason = "reads its own input")]
    let file = std::fs::File::open(file)?;
    let lines: Result<Vec<Vec<u8>>, _> = std::io::BufReader::new(file).split(b'\n').collect();
    let mut lines = lines?.into_iter().cycle();
    let sets: Result<Vec<LabelSet>, _> = (0..STREAMS)
        .map(|i| LabelSet::from_pairs([("app", format!("app-{i:02}"))]))
        .collect();
    let sets = sets?;
    let open = |interval| {
        Store::open(Options {
            head_bytes: 4 << 20,
            push_sync_interval: interval,
            push_log_size: 16 << 20,
            ..Options::new(format!("{dir}/data"), Arc::new(disk::real::RealDisk::new()))
        })
    };
    // The file gets its size, which it does once in its life.
    let store = open(Duration::from_millis(1))?;
    while store.stats().push_log.size < 4 << 20 {
        push(&store, &sets, &mut lines)?;
        std::thread::sleep(Duration::from_millis(2));
    }
    store.close()?;
    drop(store);
    let store = open(Duration::from_secs(1))?;
    sync(&dir)?;
    let (before, began) = (written(&device)?, Instant::now());
    for k in 1..=secs {
        push(&store, &sets, &mut lines)?;
        std::thread::sleep(
            (began + Duration::from_secs(k)).saturating_duration_since(Instant::now()),
        );
    }
    let (flushes, took) = (
        written(&device)?.1 - before.1,
        began.elapsed().as_secs_f64(),
    );
    let stats = store.stats();
    store.close()?;
    sync(&dir)?;
    let bytes = written(&device)?.0 - before.0;
    #[expect(clippy::print_stdout, reason = "its output")]
    {
        println!("{:?}", stats.push_log);
        println!(
            "{} raw bytes, {bytes} on the device with the last flush ({:.3} per raw byte), {:.0} device flushes an hour",
            stats.bytes_in,
            bytes as f64 / stats.bytes_in as f64,
            flushes as f64 * 3600.0 / took,
        );
    }
    Ok(())
}

fn push(
    store: &Store,
    sets: &[LabelSet],
    lines: &mut impl Iterator<Item = Vec<u8>>,
) -> Result<(), Box<dyn std::error::Error>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos() as i64;
    let lines: Vec<Vec<u8>> = lines.take(LINES).collect();
    let entries: Vec<Entry<'_>> = lines
        .iter()
        .enumerate()
        .map(|(i, line)| Entry {
            stream: (i * 7 % STREAMS) as u32,
            ts: now + i as i64,
            line,
            metadata: Labels::default(),
        })
        .collect();
    store.push(&Batch {
        streams: &sets.iter().collect::<Vec<_>>(),
        entries: &entries,
        source: None,
    })?;
    Ok(())
}

/// Bytes and flushes that reached a block device.
fn written(device: &str) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let text = std::fs::read_to_string(format!("/sys/block/{device}/stat"))?;
    let fields: Result<Vec<u64>, _> = text.split_whitespace().map(str::parse).collect();
    let fields = fields?;
    Ok((fields[6] * 512, fields[15]))
}

fn sync(dir: &str) -> std::io::Result<()> {
    std::process::Command::new("sync")
        .arg("-f")
        .arg(dir)
        .status()
        .map(|_| ())
}
