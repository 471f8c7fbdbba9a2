//! The pods directory, the data directory and the card below it.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use agent::tail::probe::FileSystem;

use super::Check;
use super::system::{Look, System, size};

/// Share of the device that the store leaves free by default (`min_free`), in per cent.
const MIN_FREE_PERCENT: u64 = 20;
/// Below this much free space, in bytes, not even a segment and the index fit.
const FREE_MIN: u64 = 16 << 20;

/// Whether pod logs can be listed and read, and how many directories are to be watched.
pub(super) fn pods_dir(look: &dyn Look, dir: &Path) -> (Check, u64) {
    const NAME: &str = "pods directory";
    let shown = dir.display();
    let (mut pods, mut containers, mut log) = (0_u64, 0_u64, None);
    match walk(look, dir, &mut pods, &mut containers, &mut log) {
        Ok(()) => {}
        Err((path, error)) => {
            let check = match error.kind() {
                io::ErrorKind::NotFound if path == dir => Check::warn(
                    NAME,
                    format!("{shown} does not exist"),
                    "kubelet creates it with the first pod; is --pods-dir right, is the directory mounted?",
                ),
                _ => denied(&path, &error),
            };
            return (check, 1 + pods + containers);
        }
    }
    let directories = 1 + pods + containers;
    let counts = format!("{shown}: {pods} pods, {containers} containers");
    let check = match log.map(|path: PathBuf| (look.open(&path), path)) {
        None => Check::ok(NAME, format!("{counts}, no log yet")),
        Some((Ok(()), _)) => Check::ok(NAME, format!("{counts}, logs can be read")),
        Some((Err(error), _)) if error.kind() == io::ErrorKind::NotFound => {
            Check::ok(NAME, format!("{counts}; a log went while looking"))
        }
        Some((Err(error), path)) => denied(&path, &error),
    };
    (check, directories)
}

fn denied(path: &Path, error: &io::Error) -> Check {
    Check::fail(
        "pods directory",
        format!("{}: {error}", path.display()),
        "run as root, or with CAP_DAC_READ_SEARCH (systemd: AmbientCapabilities=CAP_DAC_READ_SEARCH)",
    )
}

/// Counts pods and containers and finds one log. What goes away meanwhile is no error.
fn walk(
    look: &dyn Look,
    dir: &Path,
    pods: &mut u64,
    containers: &mut u64,
    log: &mut Option<PathBuf>,
) -> Result<(), (PathBuf, io::Error)> {
    for pod in look.list(dir).map_err(|error| (dir.to_owned(), error))? {
        let pod = dir.join(pod);
        let Some(names) = present(&pod, look.list(&pod))? else {
            continue;
        };
        *pods += 1;
        for container in names {
            let container = pod.join(container);
            let Some(files) = present(&container, look.list(&container))? else {
                continue;
            };
            *containers += 1;
            if log.is_none() {
                let name = files
                    .iter()
                    .find(|name| Path::new(name).extension().is_some_and(|e| e == "log"));
                *log = name.map(|name| container.join(name));
            }
        }
    }
    Ok(())
}

fn present<T>(path: &Path, result: io::Result<T>) -> Result<Option<T>, (PathBuf, io::Error)> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err((path.to_owned(), error)),
    }
}

/// Whether the store may write.
pub(super) fn data_dir(look: &dyn Look, dir: &Path) -> Check {
    const NAME: &str = "data directory";
    let shown = dir.display();
    let Some(existing) = nearest(dir) else {
        return Check::fail(
            NAME,
            format!("{shown}: neither it nor a parent exists"),
            "is --data-dir right?",
        );
    };
    match (look.writable(&existing), existing == dir) {
        (Ok(()), true) => Check::ok(NAME, format!("{shown} is writable")),
        (Ok(()), false) => Check::ok(
            NAME,
            format!("{shown} does not exist yet and can be created"),
        ),
        (Err(error), _) => Check::fail(
            NAME,
            format!("{}: {error}", existing.display()),
            format!(
                "create {shown} and give it to the user that runs drupelet (systemd: StateDirectory=drupelet)"
            ),
        ),
    }
}

/// `dir`, or its nearest parent that exists.
fn nearest(dir: &Path) -> Option<PathBuf> {
    let here = if dir.is_relative() {
        Path::new(".").join(dir)
    } else {
        dir.to_owned()
    };
    let existing = here.ancestors().find(|path| path.exists())?.to_owned();
    if existing == here {
        Some(dir.to_owned())
    } else {
        Some(existing)
    }
}

/// Space, file system, device and wear below the data directory.
pub(super) fn disk(system: &System, data_dir: &Path) -> Vec<Check> {
    let Some(dir) = nearest(data_dir) else {
        return Vec::new();
    };
    let mut checks = Vec::new();
    let file_system = FileSystem::of(&dir);
    match rustix::fs::statvfs(&dir) {
        Ok(stat) => {
            let total = stat.f_blocks.saturating_mul(stat.f_frsize);
            checks.push(space(total, stat.f_bavail.saturating_mul(stat.f_frsize)));
        }
        Err(error) => checks.push(Check::fail(
            "disk",
            format!("{}: {error}", dir.display()),
            "is it mounted?",
        )),
    }
    if let Some(file_system) = file_system {
        checks.push(kind(file_system));
    }
    if let Ok(meta) = dir.metadata() {
        let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
        checks.push(wear(system, major, minor));
    }
    checks
}

/// Judges the size of a file system, in bytes.
pub(super) fn space(total: u64, free: u64) -> Check {
    const NAME: &str = "disk";
    let percent = (u128::from(free) * 100 / u128::from(total.max(1))) as u64;
    let finding = format!("{} of {} free ({percent} %)", size(free), size(total));
    if free < FREE_MIN {
        Check::fail(NAME, finding, "free some space: nothing can be stored")
    } else if percent < MIN_FREE_PERCENT {
        let remedy = format!(
            "free some space: below {MIN_FREE_PERCENT} % old logs give way, below 15 % kubelet evicts pods"
        );
        Check::warn(NAME, finding, remedy)
    } else {
        Check::ok(NAME, finding)
    }
}

/// Judges the file system of the data directory.
pub(super) fn kind(file_system: FileSystem) -> Check {
    const NAME: &str = "file system";
    let name = file_system.to_string();
    let remedy = match file_system.name() {
        Some("tmpfs" | "ramfs") => {
            "put --data-dir on a disk: everything here is lost at reboot, and takes memory"
        }
        Some("overlayfs") => {
            "mount a volume at --data-dir: a container's own layer goes with the container"
        }
        Some("nfs" | "fuse") => {
            "put --data-dir on a local disk: locks and syncs are not reliable here"
        }
        Some("vfat") => "put --data-dir on ext4: a power cut can damage this file system",
        _ => return Check::ok(NAME, name),
    };
    Check::warn(NAME, name, remedy)
}

/// The device and what it says about its wear.
pub(super) fn wear(system: &System, major: u32, minor: u32) -> Check {
    const NAME: &str = "device";
    let link = std::fs::read_link(system.path(&format!("sys/dev/block/{major}:{minor}")));
    // ".../block/mmcblk0/mmcblk0p2": the name after "block" is the whole device.
    let name = link.ok().and_then(|link| {
        let mut parts = link.iter().skip_while(|part| *part != "block");
        parts.nth(1).map(|part| part.to_string_lossy().into_owned())
    });
    let Some(name) = name else {
        return Check::ok(
            NAME,
            format!("{major}:{minor} is no block device of this node; wear unknown"),
        );
    };
    let read = |file: &str| system.text(&format!("sys/block/{name}/device/{file}"));
    let model = read("name").or_else(|| read("model")).unwrap_or_default();
    let erase = read("preferred_erase_size").and_then(|text| text.parse().ok());
    let erase = erase.map_or_else(String::new, |bytes| format!(", erase unit {}", size(bytes)));
    let shown = format!("{name} {} {model}{erase}", read("type").unwrap_or_default());
    let shown = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    judge(
        NAME,
        &shown,
        read("life_time").as_deref(),
        read("pre_eol_info").as_deref(),
    )
}

/// Judges eMMC wear: `life_time` counts tenths of the life used for two kinds of cells, `pre_eol_info` the spare blocks.
fn judge(name: &'static str, shown: &str, life: Option<&str>, spare: Option<&str>) -> Check {
    let hex = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let used = life.and_then(|text| text.split_whitespace().filter_map(hex).max());
    let spare = spare.and_then(hex);
    let used = match used {
        None | Some(0) => return Check::ok(name, format!("{shown}; it reports no wear")),
        Some(used) => used,
    };
    let finding = if used > 10 {
        format!("{shown}; its estimated life is used up")
    } else {
        format!(
            "{shown}; {} to {} % of its life used",
            (used - 1) * 10,
            used * 10
        )
    };
    if used >= 9 || spare.is_some_and(|spare| spare >= 2) {
        return Check::warn(
            name,
            finding,
            "replace the device soon; keep a copy of what matters",
        );
    }
    Check::ok(name, finding)
}
