//! What the kernel grants this process.

use std::collections::BTreeMap;

use rustix::process::Resource;

use super::Check;
use super::system::{System, field, list, size};

/// Descriptors that drupelet wants: log files kept open, segments, clients.
const DESCRIPTORS: u64 = 1024;
/// Bytes that a ring with registered buffers locks, with room for 16 KiB pages.
const LOCKED: u64 = 1 << 20;
/// Below this much memory, in bytes, the process is in danger of being killed while it catches up.
const MEMORY: u64 = 48 << 20;
/// The kernel's own default for `max_queued_events`; fewer overflow sooner (a rescan, no loss).
const QUEUED: u64 = 16_384;
const CAP_DAC_OVERRIDE: u32 = 1;
const CAP_DAC_READ_SEARCH: u32 = 2;
const CAP_IPC_LOCK: u32 = 14;

/// Who uses inotify, as far as `/proc` may be read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct InotifyUse {
    /// Instances of our own user, whose limit it is.
    pub(super) instances: u64,
    /// Watches of our own user.
    pub(super) watches: u64,
    /// Instances by process name.
    pub(super) by_name: BTreeMap<String, u64>,
}

/// Counts the inotify instances and watches of all processes of our user.
pub(super) fn inotify_use(system: &System) -> InotifyUse {
    let mut used = InotifyUse::default();
    let own = uid(system.field("proc/self/status", "Uid"));
    for pid in list(&system.path("proc")).unwrap_or_default() {
        let Some(pid) = pid
            .to_str()
            .filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()))
        else {
            continue;
        };
        let status = system
            .text(&format!("proc/{pid}/status"))
            .unwrap_or_default();
        if uid(field(&status, "Uid")) != own {
            continue;
        }
        let (instances, watches) = inotify_of(system, pid);
        used.instances += instances;
        used.watches += watches;
        if instances > 0 {
            *used
                .by_name
                .entry(field(&status, "Name").unwrap_or_default())
                .or_default() += instances;
        }
    }
    used
}

/// The effective uid of a `Uid:` line.
fn uid(line: Option<String>) -> Option<u32> {
    line?.split_whitespace().nth(1)?.parse().ok()
}

fn inotify_of(system: &System, pid: &str) -> (u64, u64) {
    let (mut instances, mut watches) = (0, 0);
    for fd in list(&system.path(&format!("proc/{pid}/fd"))).unwrap_or_default() {
        let fd = fd.to_string_lossy();
        let target = std::fs::read_link(system.path(&format!("proc/{pid}/fd/{fd}")));
        if target.is_ok_and(|target| target.as_os_str() == "anon_inode:inotify") {
            let info = system
                .text(&format!("proc/{pid}/fdinfo/{fd}"))
                .unwrap_or_default();
            instances += 1;
            watches += info
                .lines()
                .filter(|line| line.starts_with("inotify "))
                .count() as u64;
        }
    }
    (instances, watches)
}

/// The three limits of inotify; `directories` are those that drupelet would watch.
pub(super) fn inotify(system: &System, directories: u64) -> Vec<Check> {
    let used = inotify_use(system);
    let limit = |name: &str| system.number(&format!("proc/sys/fs/inotify/{name}"));
    let mut checks = Vec::new();
    match limit("max_user_instances") {
        Some(max) => checks.push(instances(&used, max)),
        None => checks.push(Check::warn(
            "inotify",
            "the limits cannot be read: no inotify in this kernel, or /proc is not mounted",
            "mount /proc; without inotify the log directories are scanned each second",
        )),
    }
    if let Some(max) = limit("max_user_watches") {
        let left = max.saturating_sub(used.watches);
        let finding = format!(
            "{max} watches allowed, {} in use, {directories} needed",
            used.watches
        );
        let remedy = format!(
            "sysctl -w fs.inotify.max_user_watches={}",
            (max + 2 * directories).max(524_288)
        );
        let short = left < directories.saturating_mul(2).max(64);
        checks.push(if short {
            Check::warn("inotify watches", finding, remedy)
        } else {
            Check::ok("inotify watches", finding)
        });
    }
    if let Some(max) = limit("max_queued_events") {
        let finding = format!("{max} events may wait");
        let remedy = format!(
            "sysctl -w fs.inotify.max_queued_events={QUEUED}: an overflow costs a rescan, no lines"
        );
        checks.push(if max < QUEUED {
            Check::warn("inotify queue", finding, remedy)
        } else {
            Check::ok("inotify queue", finding)
        });
    }
    checks
}

fn instances(used: &InotifyUse, max: u64) -> Check {
    const NAME: &str = "inotify instances";
    let mut by_use: Vec<_> = used.by_name.iter().collect();
    by_use.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let most: Vec<_> = by_use
        .iter()
        .take(3)
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    let who = if most.is_empty() {
        String::new()
    } else {
        format!(" (most: {})", most.join(", "))
    };
    let finding = format!(
        "{max} allowed to this user, {} in use{who}, 1 needed",
        used.instances
    );
    if used.instances < max {
        return Check::ok(NAME, finding);
    }
    let remedy = format!(
        "sysctl -w fs.inotify.max_user_instances={}; until then directories are scanned",
        (2 * max).max(8192)
    );
    Check::warn(NAME, finding, remedy)
}

/// Open files. `drupelet run` raises the soft limit to the hard one.
pub(super) fn descriptors() -> Check {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    descriptors_of(limit.maximum)
}

/// [`descriptors`] for a hard limit; `None` is no limit.
pub(super) fn descriptors_of(hard: Option<u64>) -> Check {
    const NAME: &str = "open files";
    match hard {
        Some(max) if max < DESCRIPTORS => Check::warn(
            NAME,
            format!("at most {max} files may be open, {DESCRIPTORS} are wanted"),
            "LimitNOFILE=65536 in the unit, or ulimit -n",
        ),
        Some(max) => Check::ok(NAME, format!("{max} allowed")),
        None => Check::ok(NAME, "no limit"),
    }
}

/// Locked memory, which a ring and its registered buffers count against.
pub(super) fn memory_lock(system: &System) -> Check {
    const NAME: &str = "locked memory";
    let soft = rustix::process::getrlimit(Resource::Memlock).current;
    if capability(system, CAP_IPC_LOCK) {
        return Check::ok(NAME, "not limited (CAP_IPC_LOCK)");
    }
    match soft {
        Some(max) if max < LOCKED => Check::warn(
            NAME,
            format!(
                "{} allowed, a ring with registered buffers wants {}",
                size(max),
                size(LOCKED)
            ),
            "LimitMEMLOCK=8M in the unit, or ulimit -l",
        ),
        Some(max) => Check::ok(NAME, format!("{} allowed", size(max))),
        None => Check::ok(NAME, "no limit"),
    }
}

/// Memory of the node, and of the control group if it has a limit.
pub(super) fn memory(system: &System) -> Check {
    const NAME: &str = "memory";
    let kib = |key: &str| -> Option<u64> {
        let value = system.field("proc/meminfo", key)?;
        value
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()?
            .checked_mul(1024)
    };
    let (Some(total), Some(available)) = (kib("MemTotal"), kib("MemAvailable")) else {
        return Check::warn(NAME, "/proc/meminfo cannot be read", "mount /proc");
    };
    let mut finding = format!("{} of {} available", size(available), size(total));
    let group = system.number("sys/fs/cgroup/memory.max");
    if let Some(max) = group {
        finding.push_str(&format!(", {} for this control group", size(max)));
    }
    let least = group.map_or(available, |max| max.min(available));
    if least < MEMORY {
        return Check::warn(
            NAME,
            finding,
            format!(
                "give drupelet {} at least (resources.limits, MemoryMax)",
                size(MEMORY)
            ),
        );
    }
    Check::ok(NAME, finding)
}

/// Whether the node counts memory by control group. Raspberry Pi firmware switches that off, and then every memory limit
/// is accepted and does nothing. `/proc/cgroups` no longer tells, since Linux 6.12.
pub(super) fn memory_group(system: &System) -> Check {
    const NAME: &str = "memory limits";
    let unified = system.text("sys/fs/cgroup/cgroup.controllers");
    let works = match &unified {
        Some(controllers) => controllers.split(' ').any(|name| name == "memory"),
        None => system.path("sys/fs/cgroup/memory").exists(),
    };
    let mounted = !list(&system.path("sys/fs/cgroup"))
        .unwrap_or_default()
        .is_empty();
    if works {
        Check::ok(NAME, "the node has the memory control group")
    } else if mounted {
        Check::warn(
            NAME,
            "the node has no memory control group: MemoryMax= and the memory limits of pods do nothing",
            "append cgroup_enable=memory to the line in /boot/firmware/cmdline.txt and reboot",
        )
    } else {
        Check::ok(NAME, "no control groups here")
    }
}

/// The page size, in bytes. All of 4, 16 and 64 KiB work; larger ones cost memory.
pub(super) fn page_size(bytes: usize) -> Check {
    let kib = bytes / 1024;
    let note = match kib {
        4 => "",
        16 => {
            " (Raspberry Pi 5 kernel; kernel=kernel8.img in config.txt gives 4 KiB and some memory back)"
        }
        _ => " (each thread and mapping costs more memory)",
    };
    Check::ok("page size", format!("{kib} KiB{note}"))
}

/// Who this process is.
pub(super) fn identity(system: &System) -> Check {
    let uid = uid(system.field("proc/self/status", "Uid"))
        .map_or("unknown".to_owned(), |uid| uid.to_string());
    let caps: Vec<_> = [
        (CAP_DAC_OVERRIDE, "dac_override"),
        (CAP_DAC_READ_SEARCH, "dac_read_search"),
        (CAP_IPC_LOCK, "ipc_lock"),
    ]
    .iter()
    .filter(|(bit, _)| capability(system, *bit))
    .map(|(_, name)| *name)
    .collect();
    let caps = if caps.is_empty() {
        "none that matter".to_owned()
    } else {
        caps.join(" ")
    };
    let seccomp = match system.field("proc/self/status", "Seccomp").as_deref() {
        Some("0") => "no seccomp filter",
        Some(_) => "a seccomp filter",
        None => "seccomp unknown",
    };
    Check::ok(
        "running as",
        format!("uid {uid}, capabilities: {caps}, {seccomp}"),
    )
}

fn capability(system: &System, bit: u32) -> bool {
    let effective = system.field("proc/self/status", "CapEff");
    effective
        .and_then(|hex| u64::from_str_radix(&hex, 16).ok())
        .is_some_and(|bits| bits >> bit & 1 == 1)
}
