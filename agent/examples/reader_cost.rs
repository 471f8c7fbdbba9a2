//! What a read costs: CPU time of this process and its kernel threads' share, per read, for both readers over files in
//! the page cache of one directory's file system.
//!
//! `cargo run --release -p agent --example reader_cost -- [DIR] [FILES] [ROUNDS]`
#![allow(clippy::disallowed_methods, reason = "writes the files that it reads")]
#![allow(clippy::print_stdout, reason = "prints its measurements")]

use std::fs::File;
use std::path::{Path, PathBuf};

use agent::tail::probe::{self, ReaderChoice};
use agent::tail::read::{self, AnyReader, ReadRequest, Reader, Results, SLOTS};

fn cpu_ns() -> u128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as u128 * 1_000_000_000 + time.tv_nsec as u128
}

/// Nanoseconds of CPU per read.
async fn measure(mut reader: AnyReader, files: &[File], offset: u64, rounds: u32) -> u128 {
    let mut results = Results::new();
    let mut before = 0;
    for round in 0..rounds + rounds / 10 {
        if round == rounds / 10 {
            before = cpu_ns();
        }
        for batch in files.chunks(SLOTS) {
            let requests: heapless::Vec<_, SLOTS> = batch
                .iter()
                .map(|file| ReadRequest { file, offset })
                .collect();
            reader.read_batch(&requests, &mut results).await;
            assert!(results.iter().all(Result::is_ok));
        }
    }
    (cpu_ns() - before) / (u128::from(rounds) * files.len() as u128)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let count: usize = args.next().map_or(Ok(50), |text| text.parse())?;
    let rounds: u32 = args.next().map_or(Ok(2_000), |text| text.parse())?;
    let dir = dir.join(format!("reader-cost-{}", std::process::id()));
    std::fs::create_dir_all(&dir)?;
    let result = run(&dir, count, rounds);
    std::fs::remove_dir_all(&dir)?;
    result
}

fn run(dir: &Path, count: usize, rounds: u32) -> Result<(), Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    for i in 0..count {
        let path = dir.join(format!("{i}.log"));
        std::fs::write(&path, vec![b'x'; 65_536])?;
        files.push(File::open(path)?);
    }
    println!(
        "{count} files on {:?}, CPU ns per read",
        probe::FileSystem::of(dir).and_then(probe::FileSystem::name)
    );
    for bytes in [0_u64, 512, 16_384, 65_536] {
        print!("{bytes:>6} bytes:");
        for (choice, fixed) in [
            (ReaderChoice::Pread, false),
            (ReaderChoice::Uring, false),
            (ReaderChoice::Uring, true),
        ] {
            let mut report = probe::probe(choice, dir)?;
            report.fixed_buffers &= fixed;
            let name = if fixed {
                "uring, registered"
            } else {
                choice_name(choice)
            };
            let ns = read::run(&report, async |reader| {
                measure(reader, &files, 65_536 - bytes, rounds).await
            })?;
            print!("  {name} {ns}");
        }
        println!();
    }
    Ok(())
}

fn choice_name(choice: ReaderChoice) -> &'static str {
    match choice {
        ReaderChoice::Uring => "uring",
        ReaderChoice::Pread | ReaderChoice::Auto => "pread",
    }
}
