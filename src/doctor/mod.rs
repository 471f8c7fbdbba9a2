//! What a node allows, and what to do where it does not.
//!
//! A check looks (through [`System`] and [`Look`], which tests replace) and judges; it never writes, so it may run
//! beside a working drupelet. `FAIL` is what keeps drupelet from doing its work, `WARN` what makes it work worse or
//! may do so soon.

mod clock;
mod kept;
mod limits;
mod storage;
mod system;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::path::Path;

use agent::tail::probe::{self, Chosen, ReaderChoice, Reason};
use system::{Look, RealLook, System};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// Nothing to do.
    Ok,
    /// Works, but worse than it could.
    Warn,
    /// Does not work.
    Fail,
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) status: Status,
    pub(crate) name: &'static str,
    /// What was found.
    pub(crate) finding: String,
    /// What to do about it.
    pub(crate) remedy: Option<String>,
}

impl Check {
    fn ok(name: &'static str, finding: impl Into<String>) -> Self {
        Check {
            status: Status::Ok,
            name,
            finding: finding.into(),
            remedy: None,
        }
    }

    fn warn(name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Check {
            status: Status::Warn,
            name,
            finding: finding.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn fail(name: &'static str, finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Check {
            status: Status::Fail,
            ..Self::warn(name, finding, remedy)
        }
    }
}

/// Runs all checks.
pub(crate) fn checks(pods_dir: &Path, data_dir: &Path) -> Vec<Check> {
    let system = System::real();
    let mut checks = vec![reader(pods_dir)];
    checks.extend(all(&system, &RealLook, pods_dir, data_dir));
    checks.extend(kept::kept(crate::ask::metrics_of(data_dir)));
    checks
}

/// All checks but the reader's, which has its own table of tests beside the probe.
fn all(system: &System, look: &dyn Look, pods_dir: &Path, data_dir: &Path) -> Vec<Check> {
    let (pods, directories) = storage::pods_dir(look, pods_dir);
    let mut checks = vec![pods, storage::data_dir(look, data_dir)];
    checks.extend(storage::disk(system, data_dir));
    checks.extend(limits::inotify(system, directories));
    checks.push(limits::descriptors());
    checks.push(limits::memory_lock(system));
    checks.push(limits::memory(system));
    checks.push(limits::memory_group(system));
    checks.push(limits::page_size(rustix::param::page_size()));
    checks.push(limits::identity(system));
    let (kept, now) = (clock::kept(), clock::now());
    checks.push(clock::clock(system, kept, now, clock::built()));
    checks
}

/// Warns in the log, once at start, of a node that ignores memory limits: nothing else would tell.
pub(crate) fn warn_of_ignored_limits() {
    let check = limits::memory_group(&System::real());
    if let Some(remedy) = check.remedy {
        tracing::warn!(remedy, "{}", check.finding);
    }
}

fn reader(pods_dir: &Path) -> Check {
    const NAME: &str = "reader";
    let report = match probe::decide(ReaderChoice::Auto, &probe::gather(pods_dir)) {
        Ok(report) => report,
        Err(error) => return Check::warn(NAME, error.to_string(), "use --reader pread"),
    };
    let finding = format!("{}: {}", report.chosen.as_str(), report.detail);
    match (report.chosen, report.reason) {
        (Chosen::Uring, _) | (_, Reason::FileSystem | Reason::Configured) => {
            Check::ok(NAME, finding)
        }
        _ => Check::warn(
            NAME,
            finding,
            "none is needed: pread does the same at slightly more CPU",
        ),
    }
}

/// Prints the checks, aligned; true when none failed.
///
/// # Errors
/// Those of `out`.
pub(crate) fn print(checks: &[Check], out: &mut dyn Write) -> io::Result<bool> {
    let width = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    for check in checks {
        let status = match check.status {
            Status::Ok => "OK",
            Status::Warn => "WARN",
            Status::Fail => "FAIL",
        };
        writeln!(
            out,
            "{status:<4}  {:<width$}  {}",
            check.name,
            plain(&check.finding)
        )?;
        if let Some(remedy) = &check.remedy {
            writeln!(out, "{:<4}  {:<width$}  -> {}", "", "", plain(remedy))?;
        }
    }
    Ok(checks.iter().all(|check| check.status != Status::Fail))
}

/// Names of files and processes are chosen by strangers: nothing in them may steer a terminal.
fn plain(text: &str) -> String {
    let harmless = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(harmless).collect()
}
