//! Which reader this node gets, decided once at start.
//!
//! [`gather`] asks the system, [`decide`] is a pure function of the answers. The ring is taken only on ext4 and XFS,
//! where the kernel completes a ring read of cached bytes at submission. On tmpfs and overlayfs it pushes each one to a
//! worker thread, at two to nine times the cost of `pread`; other file systems were not measured. Nothing is tried
//! twice, whatever the answer.

use std::fmt;
use std::path::Path;

use super::uring::{ENTRIES, Fault, Step, Trial};

/// What the configuration asks for (`--reader`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReaderChoice {
    /// The ring where it works and pays, else `pread`.
    #[default]
    Auto,
    /// The ring, or an error that says why not.
    Uring,
    /// `pread`; the ring is not even tried.
    Pread,
}

impl std::str::FromStr for ReaderChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(ReaderChoice::Auto),
            "uring" => Ok(ReaderChoice::Uring),
            "pread" => Ok(ReaderChoice::Pread),
            other => Err(format!(
                "unknown reader {other:?}: use auto, uring or pread"
            )),
        }
    }
}

/// A reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen {
    /// [`super::uring::UringReader`].
    Uring,
    /// [`super::pread::PreadReader`].
    Pread,
}

impl Chosen {
    /// `uring` or `pread`, as in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Chosen::Uring => "uring",
            Chosen::Pread => "pread",
        }
    }
}

/// Why a reader was chosen, or a ring is impossible: a small set, fit for a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The configuration names it.
    Configured,
    /// The ring works, with registered buffers.
    RingWorks,
    /// The ring works, but the memory-lock limit allows no registered buffers.
    RingWorksUnregistered,
    /// On this file system ring reads are dear, or were not measured.
    FileSystem,
    /// A seccomp filter answers EPERM.
    Seccomp,
    /// `kernel.io_uring_disabled`, or a security module.
    Disabled,
    /// ENOSYS: no such system call, or a filter that says so.
    Absent,
    /// Not even a small ring fits the memory-lock limit.
    MemoryLock,
    /// Out of file descriptors.
    Descriptors,
    /// The kernel's ring has no positional read (before 5.6).
    Operations,
    /// The ring was made, but a read with it failed or read something else.
    BadRead,
    /// Any other error.
    Other,
}

impl Reason {
    /// The reason as a metric label value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Configured => "configured",
            Reason::RingWorks => "ring_works",
            Reason::RingWorksUnregistered => "ring_works_unregistered",
            Reason::FileSystem => "file_system",
            Reason::Seccomp => "seccomp",
            Reason::Disabled => "disabled",
            Reason::Absent => "absent",
            Reason::MemoryLock => "memory_lock",
            Reason::Descriptors => "descriptors",
            Reason::Operations => "operations",
            Reason::BadRead => "bad_read",
            Reason::Other => "other",
        }
    }
}

/// The outcome of a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeReport {
    /// The reader to use.
    pub chosen: Chosen,
    /// Why, for a metric.
    pub reason: Reason,
    /// Why, in words.
    pub detail: String,
    /// Entries for the ring's submission queue.
    pub entries: u32,
    /// Whether buffers can be registered.
    pub fixed_buffers: bool,
    /// Whether the configuration named this reader, so that nothing else may take its place.
    pub forced: bool,
}

/// The ring was asked for by name and cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "reader uring is not possible here: {detail}; use reader auto or pread, or remove the cause"
)]
pub struct ProbeError {
    /// Why, for a program.
    pub reason: Reason,
    /// Why, in words.
    pub detail: String,
}

/// A file system, by what statfs says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileSystem(
    /// `f_type`.
    pub u32,
);

impl FileSystem {
    /// The file system of `path`, or of its nearest ancestor that exists: the pods directory may appear later.
    #[must_use]
    pub fn of(path: &Path) -> Option<Self> {
        path.ancestors()
            .find_map(|path| rustix::fs::statfs(path).ok())
            .map(|stat| FileSystem(stat.f_type as u32))
    }

    /// Its name, if known.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0xef53 => "ext4",
            0x5846_5342 => "xfs",
            0x0102_1994 => "tmpfs",
            0x8584_58f6 => "ramfs",
            0x794c_7630 => "overlayfs",
            0x9123_683e => "btrfs",
            0xf2f5_2010 => "f2fs",
            0x6969 => "nfs",
            0x2fc1_2fc1 => "zfs",
            0x6573_5546 => "fuse",
            0x7371_7368 => "squashfs",
            0x4d44 => "vfat",
            _ => return None,
        })
    }

    /// Whether ring reads of cached bytes were seen to complete at submission on it.
    #[must_use]
    pub fn suits_ring(self) -> bool {
        matches!(self.name(), Some("ext4" | "xfs"))
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "file system of type {:#x}", self.0),
        }
    }
}

/// What the system answered.
#[derive(Debug)]
pub struct Facts {
    /// The trial of a ring.
    pub trial: Result<Trial, Fault>,
    /// The file system of the pods directory; `None` when not even `/` could be asked.
    pub file_system: Option<FileSystem>,
    /// `/proc/sys/kernel/io_uring_disabled`; `None` before Linux 6.6.
    pub disabled: Option<u32>,
    /// `Seccomp:` of `/proc/self/status`: 0 none, 1 strict, 2 filter.
    pub seccomp: Option<u32>,
}

/// Asks the system. Makes and drops one ring, reads two files under `/proc`.
#[must_use]
pub fn gather(pods_dir: &Path) -> Facts {
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    Facts {
        trial: super::uring::trial(),
        file_system: FileSystem::of(pods_dir),
        disabled: disabled.ok().and_then(|text| text.trim().parse().ok()),
        seccomp: status
            .lines()
            .find_map(|line| line.strip_prefix("Seccomp:"))
            .and_then(|value| value.trim().parse().ok()),
    }
}

/// Chooses the reader for a pods directory. Call once, at start.
///
/// # Errors
/// When the configuration asks for the ring and there is none.
pub fn probe(choice: ReaderChoice, pods_dir: &Path) -> Result<ProbeReport, ProbeError> {
    let report = match choice {
        ReaderChoice::Pread => pread(
            Reason::Configured,
            "reader pread is configured".to_owned(),
            true,
        ),
        ReaderChoice::Auto | ReaderChoice::Uring => decide(choice, &gather(pods_dir))?,
    };
    tracing::info!(
        reader = report.chosen.as_str(),
        reason = report.reason.as_str(),
        detail = report.detail,
        "reader chosen"
    );
    Ok(report)
}

fn pread(reason: Reason, detail: String, forced: bool) -> ProbeReport {
    ProbeReport {
        chosen: Chosen::Pread,
        reason,
        detail,
        entries: 0,
        fixed_buffers: false,
        forced,
    }
}

/// Chooses from what the system answered.
///
/// # Errors
/// As [`probe`].
pub fn decide(choice: ReaderChoice, facts: &Facts) -> Result<ProbeReport, ProbeError> {
    if choice == ReaderChoice::Pread {
        return Ok(pread(
            Reason::Configured,
            "reader pread is configured".to_owned(),
            true,
        ));
    }
    let forced = choice == ReaderChoice::Uring;
    let trial = match &facts.trial {
        Ok(trial) => *trial,
        Err(fault) => {
            let (reason, detail) = explain(fault, facts);
            return if forced {
                Err(ProbeError { reason, detail })
            } else {
                Ok(pread(reason, detail, false))
            };
        }
    };
    if !forced && !facts.file_system.is_some_and(FileSystem::suits_ring) {
        let place = match facts.file_system {
            Some(file_system) => format!("the pods directory is on {file_system}"),
            None => "the file system of the pods directory is unknown".to_owned(),
        };
        let detail =
            format!("{place}, where ring reads go through a worker thread or were not measured");
        return Ok(pread(Reason::FileSystem, detail, false));
    }
    Ok(uring(trial, facts, forced))
}

fn uring(trial: Trial, facts: &Facts, forced: bool) -> ProbeReport {
    let place = facts
        .file_system
        .map_or_else(String::new, |file_system| format!(" on {file_system}"));
    let small = if trial.entries < ENTRIES {
        ", a small one: the memory-lock limit is low"
    } else {
        ""
    };
    let (reason, buffers) = if trial.fixed_buffers {
        (Reason::RingWorks, "registered buffers")
    } else {
        (
            Reason::RingWorksUnregistered,
            "plain buffers (memory-lock limit: LimitMEMLOCK=8M would do)",
        )
    };
    ProbeReport {
        chosen: Chosen::Uring,
        reason,
        detail: format!(
            "io_uring works{place}, {} entries{small}, {buffers}",
            trial.entries
        ),
        entries: trial.entries,
        fixed_buffers: trial.fixed_buffers,
        forced,
    }
}

/// Puts a fault into words: which of the things that answer alike it was, and what to change.
fn explain(fault: &Fault, facts: &Facts) -> (Reason, String) {
    use std::io::ErrorKind;
    let call = match fault.step {
        Step::Setup => "io_uring_setup",
        Step::Operations => "io_uring_register",
        Step::Read => "a read through the ring",
    };
    let error = &fault.error;
    let filtered = facts.seccomp.is_some_and(|mode| mode > 0);
    let errno = rustix::io::Errno::from_io_error(error);
    match (errno, error.kind()) {
        (Some(rustix::io::Errno::PERM | rustix::io::Errno::ACCESS), _) => {
            denied(call, facts, filtered)
        }
        (Some(rustix::io::Errno::NOSYS), _) if filtered => (
            Reason::Absent,
            format!(
                "{call} answers ENOSYS: a seccomp filter (podman, CRI-O) or a kernel without io_uring"
            ),
        ),
        (Some(rustix::io::Errno::NOSYS), _) => (
            Reason::Absent,
            format!("{call} answers ENOSYS: the kernel has no io_uring"),
        ),
        (_, ErrorKind::OutOfMemory) => (
            Reason::MemoryLock,
            format!(
                "{call} answers ENOMEM: the memory-lock limit is used up (ulimit -l, LimitMEMLOCK=8M)"
            ),
        ),
        (Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE), _) => (
            Reason::Descriptors,
            format!("{call}: out of file descriptors (ulimit -n, LimitNOFILE)"),
        ),
        (_, ErrorKind::Unsupported) => (
            Reason::Operations,
            "the kernel's io_uring has no positional read (Linux before 5.6)".to_owned(),
        ),
        _ if fault.step == Step::Read => (Reason::BadRead, format!("{call} failed: {error}")),
        _ => (Reason::Other, format!("{call} failed: {error}")),
    }
}

fn denied(call: &str, facts: &Facts, filtered: bool) -> (Reason, String) {
    if let Some(level @ 1..) = facts.disabled {
        let who = if level == 1 {
            "to processes without CAP_SYS_ADMIN"
        } else {
            "to all"
        };
        let detail =
            format!("{call} is denied: sysctl kernel.io_uring_disabled={level} forbids it {who}");
        return (Reason::Disabled, detail);
    }
    if filtered {
        let detail = format!(
            "{call} is denied by a seccomp filter (containerd 2 and Docker 25 deny io_uring by default; \
             a Localhost or Unconfined profile would allow it)"
        );
        return (Reason::Seccomp, detail);
    }
    (
        Reason::Disabled,
        format!("{call} is denied, by a security module (no seccomp filter, sysctl allows it)"),
    )
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
