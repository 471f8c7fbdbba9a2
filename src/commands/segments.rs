//! `drupelet segments ls|verify|rebuild-index`.

use std::io::{self, Write as _};
use std::path::Path;

use disk::Disk;
use disk::real::RealDisk;
use store::segment::{Reader, SegmentError, Summary, parse_name, verify};

use crate::appliance::{open_failure, open_store};
use crate::args::Raw;
use crate::ask::is_data_dir;
use crate::config::Config;
use crate::report::{Failure, written};
use crate::time::rfc3339;

/// # Errors
/// Wrong usage, a directory that is none of ours, damage found.
pub(crate) fn run(raw: &Raw) -> Result<(), Failure> {
    let what = raw.operands.first().map_or("", String::as_str);
    if what == "export" {
        return Err(Failure::usage(
            "`drupelet segments export` is not in this version yet",
        ));
    }
    if !["ls", "verify", "rebuild-index"].contains(&what) {
        return Err(Failure::usage(format!(
            "`drupelet segments` got `{what}`, expected ls, verify or rebuild-index"
        )));
    }
    let config = Config::load(raw, &crate::environment)?;
    is_data_dir(&config.data_dir)?;
    match what {
        "ls" => list(&config.data_dir),
        "verify" => verify_all(&config.data_dir),
        _ => rebuild(&config),
    }
}

/// Names and lengths of the segment files in order.
fn files(disk: &dyn Disk, dir: &Path) -> Result<Vec<(String, u64)>, Failure> {
    let listed = disk
        .list(dir)
        .map_err(|e| Failure::caused(format!("cannot list `{}`", dir.display()), &e))?;
    let ours = listed.into_iter().filter(|e| parse_name(&e.name).is_some());
    Ok(ours.map(|e| (e.name, e.len)).collect())
}

fn list(data_dir: &Path) -> Result<(), Failure> {
    let (disk, dir) = (RealDisk::new(), data_dir.join("segments"));
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut rows = String::new();
    for (name, len) in files(&disk, &dir)? {
        rows.push_str(&match Reader::open(&disk, &dir.join(&name)) {
            Ok(reader) => row(&name, len, reader.summary()),
            Err(e) => format!("{name}  {len:>11}  {e}\n"),
        });
    }
    let printed = writeln!(
        out,
        "{:<20}  {:>11}  {:>11}  {:>10}  {:>7}  {:<20}  {:<20}",
        "FILE", "BYTES", "RAW", "ENTRIES", "STREAMS", "FROM", "TO"
    );
    written(
        printed
            .and_then(|()| out.write_all(rows.as_bytes()))
            .and_then(|()| out.flush()),
    )
}

fn row(name: &str, len: u64, s: &Summary) -> String {
    let time = |ts| {
        if s.entries == 0 {
            "-".to_owned()
        } else {
            rfc3339(ts, 0)
        }
    };
    format!(
        "{name}  {len:>11}  {:>11}  {:>10}  {:>7}  {:<20}  {:<20}\n",
        s.raw_bytes,
        s.entries,
        s.streams,
        time(s.min_ts),
        time(s.max_ts)
    )
}

fn verify_all(data_dir: &Path) -> Result<(), Failure> {
    let (disk, dir) = (RealDisk::new(), data_dir.join("segments"));
    let mut out = io::stdout().lock();
    let (mut damaged, mut entries) = (0, 0);
    let files = files(&disk, &dir)?;
    for (name, _) in &files {
        let report = verify(&disk, &dir.join(name));
        let text = match report {
            Ok(report) if report.damage.is_empty() => {
                entries += report.entries;
                format!(
                    "{name}  ok  {} entries in {} blocks\n",
                    report.entries, report.blocks
                )
            }
            Ok(report) => {
                damaged += 1;
                entries += report.entries;
                let lines = report.damage.iter().map(|d| format!("    {d}\n"));
                format!("{name}  DAMAGED\n{}", lines.collect::<String>())
            }
            // Another drupelet may have removed it since.
            Err(SegmentError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                continue;
            }
            Err(e) => {
                damaged += 1;
                format!("{name}  DAMAGED\n    {e}\n")
            }
        };
        written(out.write_all(text.as_bytes()))?;
    }
    written(writeln!(
        out,
        "{} segments, {entries} whole entries, {damaged} damaged",
        files.len()
    ))?;
    if damaged == 0 {
        return Ok(());
    }
    Err(Failure::failed(format!("{damaged} of {} segments are damaged", files.len())).with_hint(
        "queries skip what is damaged and answer from the rest; a damaged card is the usual cause: \
         `drupelet doctor` shows its wear",
    ))
}

/// The store makes a missing index anew when it opens; the first opening makes sure that nobody else is in there.
fn rebuild(config: &Config) -> Result<(), Failure> {
    let failed = |e: io::Error| Failure::caused("cannot rebuild the index", &e);
    let open = || open_store(config, None).map_err(|e| open_failure(&e));
    open()?.close().map_err(failed)?;
    let disk = RealDisk::new();
    for file in disk.list(&config.data_dir).map_err(failed)? {
        if file.name.starts_with("index.sqlite") {
            disk.remove(&config.data_dir.join(&file.name))
                .map_err(failed)?;
        }
    }
    let store = open()?;
    let stats = store.stats();
    store.close().map_err(failed)?;
    written(writeln!(
        io::stdout(),
        "index rebuilt from {} segments",
        stats.segments
    ))
}
