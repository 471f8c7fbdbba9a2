//! The checks as tables: a made-up node in, a status and words out.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests write a made-up /proc and /sys"
)]

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use agent::tail::probe::FileSystem;

use store::clock::Kept;

use super::system::{Look, RealLook, System, size};
use super::{Check, Status, clock, limits, print, storage};

fn check(check: &Check, status: Status, words: &str) {
    let text = format!(
        "{} {}",
        check.finding,
        check.remedy.as_deref().unwrap_or_default()
    );
    assert_eq!(check.status, status, "{text}");
    assert!(text.contains(words), "{words:?} missing in {text:?}");
    assert_eq!(
        check.remedy.is_some(),
        status != Status::Ok,
        "what is not OK says what to do: {text}"
    );
}

/// A made-up root: files by path.
fn node(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text.strip_prefix("link:") {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => std::fs::write(path, text).unwrap(),
        }
    }
    let system = System::at(dir.path());
    (dir, system)
}

/// Denies one path, whoever runs the tests (root is denied nothing).
struct Denies<'a>(&'a Path, io::ErrorKind);

impl Denies<'_> {
    fn ask(&self, path: &Path) -> io::Result<()> {
        if path == self.0 {
            Err(self.1.into())
        } else {
            Ok(())
        }
    }
}

impl Look for Denies<'_> {
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        self.ask(dir)?;
        RealLook.list(dir)
    }

    fn open(&self, path: &Path) -> io::Result<()> {
        self.ask(path)?;
        RealLook.open(path)
    }

    fn writable(&self, dir: &Path) -> io::Result<()> {
        self.ask(dir)?;
        RealLook.writable(dir)
    }
}

#[test]
fn pods() {
    let (dir, _) = node(&[
        ("pods/ns_web_uid/nginx/0.log", "x"),
        ("pods/ns_web_uid/init/0.log.gz", ""),
        ("pods/stray", ""),
    ]);
    let pods = dir.path().join("pods");
    let (ok, directories) = storage::pods_dir(&RealLook, &pods);
    check(&ok, Status::Ok, "1 pods, 2 containers, logs can be read");
    assert_eq!(directories, 4);
    let missing = storage::pods_dir(&RealLook, &dir.path().join("none"));
    check(&missing.0, Status::Warn, "does not exist");
    for path in [
        "",
        "ns_web_uid",
        "ns_web_uid/nginx",
        "ns_web_uid/nginx/0.log",
    ] {
        let path = if path.is_empty() {
            pods.clone()
        } else {
            pods.join(path)
        };
        let (denied, _) = storage::pods_dir(&Denies(&path, io::ErrorKind::PermissionDenied), &pods);
        check(&denied, Status::Fail, "CAP_DAC_READ_SEARCH");
        check(&denied, Status::Fail, path.to_str().unwrap());
    }
    let log = pods.join("ns_web_uid/nginx/0.log");
    let (gone, _) = storage::pods_dir(&Denies(&log, io::ErrorKind::NotFound), &pods);
    check(&gone, Status::Ok, "went while looking");
}

#[test]
fn data() {
    let (dir, _) = node(&[("data/lock", "")]);
    let data = dir.path().join("data");
    check(
        &storage::data_dir(&RealLook, &data),
        Status::Ok,
        "is writable",
    );
    check(
        &storage::data_dir(&RealLook, &data.join("new/er")),
        Status::Ok,
        "can be created",
    );
    let denies = Denies(&data, io::ErrorKind::PermissionDenied);
    check(
        &storage::data_dir(&denies, &data),
        Status::Fail,
        "StateDirectory=drupelet",
    );
    check(
        &storage::data_dir(&denies, &data.join("new")),
        Status::Fail,
        "StateDirectory=drupelet",
    );
    let read_only = Denies(&data, io::ErrorKind::ReadOnlyFilesystem);
    check(
        &storage::data_dir(&read_only, &data),
        Status::Fail,
        "read-only",
    );
    assert!(
        std::fs::read_dir(&data).unwrap().count() == 1,
        "looking writes nothing"
    );
}

#[test]
fn disk_and_file_system() {
    check(
        &storage::space(100 << 30, 50 << 30),
        Status::Ok,
        "50.0 GiB of 100 GiB free (50 %)",
    );
    check(
        &storage::space(100 << 30, 19 << 30),
        Status::Warn,
        "kubelet evicts",
    );
    check(&storage::space(100 << 30, 1 << 20), Status::Fail, "1.0 MiB");
    check(&storage::space(0, 0), Status::Fail, "0 bytes");
    check(&storage::kind(FileSystem(0xef53)), Status::Ok, "ext4");
    check(
        &storage::kind(FileSystem(0x0102_1994)),
        Status::Warn,
        "lost at reboot",
    );
    check(
        &storage::kind(FileSystem(0x794c_7630)),
        Status::Warn,
        "volume",
    );
    assert_eq!(size(1023), "1023 bytes");
}

#[test]
fn wear() {
    let cases = [
        (Some("0x01 0x02"), "0x01", Status::Ok, "10 to 20 %"),
        (Some("0x09 0x01"), "0x01", Status::Warn, "80 to 90 %"),
        (Some("0x0b 0x0b"), "0x03", Status::Warn, "used up"),
        (Some("0x01 0x01"), "0x02", Status::Warn, "replace"),
        (Some("0x00 0x00"), "0x00", Status::Ok, "no wear"),
        (Some("nonsense"), "", Status::Ok, "no wear"),
        (
            None,
            "",
            Status::Ok,
            "mmcblk0 SD SC64G, erase unit 4.0 MiB; it reports no wear",
        ),
    ];
    for (life, spare, status, words) in cases {
        let mut files = vec![
            (
                "sys/dev/block/179:2",
                "link:../../devices/platform/mmc0/block/mmcblk0/mmcblk0p2",
            ),
            ("sys/block/mmcblk0/device/name", "SC64G\n"),
            ("sys/block/mmcblk0/device/type", "SD\n"),
            ("sys/block/mmcblk0/device/preferred_erase_size", "4194304\n"),
            ("sys/block/mmcblk0/device/pre_eol_info", spare),
        ];
        files.extend(life.map(|life| ("sys/block/mmcblk0/device/life_time", life)));
        let (_dir, system) = node(&files);
        check(&storage::wear(&system, 179, 2), status, words);
        check(
            &storage::wear(&system, 0, 40),
            Status::Ok,
            "no block device",
        );
    }
}

#[test]
fn inotify() {
    let status = "Name:\tkubelet\nUid:\t0\t0\t0\t0\n";
    let other = "Name:\tother\nUid:\t7\t7\t7\t7\n";
    let case = |instances: &str, watches: &str, queue: &str| {
        let (_dir, system) = node(&[
            ("proc/sys/fs/inotify/max_user_instances", instances),
            ("proc/sys/fs/inotify/max_user_watches", watches),
            ("proc/sys/fs/inotify/max_queued_events", queue),
            ("proc/self/status", status),
            ("proc/10/status", status),
            ("proc/10/fd/3", "link:anon_inode:inotify"),
            ("proc/10/fd/4", "link:/dev/null"),
            (
                "proc/10/fdinfo/3",
                "pos:\t0\ninotify wd:2 ino:1\ninotify wd:1 ino:2\n",
            ),
            ("proc/11/status", other),
            ("proc/11/fd/3", "link:anon_inode:inotify"),
        ]);
        limits::inotify(&system, 101)
    };
    let good = case("128", "8192", "16384");
    check(
        &good[0],
        Status::Ok,
        "128 allowed to this user, 1 in use (most: kubelet 1), 1 needed",
    );
    check(
        &good[1],
        Status::Ok,
        "8192 watches allowed, 2 in use, 101 needed",
    );
    check(&good[2], Status::Ok, "16384");
    let bad = case("1", "200", "100");
    check(&bad[0], Status::Warn, "max_user_instances=8192");
    check(&bad[1], Status::Warn, "max_user_watches=524288");
    check(&bad[2], Status::Warn, "no lines");
    let (_dir, empty) = node(&[]);
    check(&limits::inotify(&empty, 1)[0], Status::Warn, "mount /proc");
}

#[test]
fn nodes_that_ignore_memory_limits() {
    let controllers = "sys/fs/cgroup/cgroup.controllers";
    for (file, text, status, words) in [
        (
            controllers,
            "cpuset cpu io memory pids\n",
            Status::Ok,
            "has",
        ),
        (
            controllers,
            "cpuset cpu io pids\n",
            Status::Warn,
            "cgroup_enable=memory",
        ),
        (
            "sys/fs/cgroup/memory/memory.limit_in_bytes",
            "1\n",
            Status::Ok,
            "has",
        ),
        (
            "sys/fs/cgroup/cpu/cpu.shares",
            "1\n",
            Status::Warn,
            "do nothing",
        ),
        ("proc/meminfo", "", Status::Ok, "no control groups"),
    ] {
        let (_dir, system) = node(&[(file, text)]);
        check(&limits::memory_group(&system), status, words);
    }
}

#[test]
fn limits_of_the_process() {
    check(
        &limits::descriptors_of(Some(256)),
        Status::Warn,
        "LimitNOFILE",
    );
    check(&limits::descriptors_of(Some(65_536)), Status::Ok, "65536");
    check(&limits::descriptors_of(None), Status::Ok, "no limit");
    check(
        &limits::page_size(16_384),
        Status::Ok,
        "16 KiB (Raspberry Pi 5",
    );
    let memory = "MemTotal:  949520 kB\nMemAvailable:  500000 kB\n";
    let (_dir, free) = node(&[
        ("proc/meminfo", memory),
        ("sys/fs/cgroup/memory.max", "max\n"),
    ]);
    check(
        &limits::memory(&free),
        Status::Ok,
        "488 MiB of 927 MiB available",
    );
    let (_dir, tight) = node(&[
        ("proc/meminfo", memory),
        ("sys/fs/cgroup/memory.max", "20971520\n"),
    ]);
    check(
        &limits::memory(&tight),
        Status::Warn,
        "20.0 MiB for this control group",
    );
    let (_dir, empty) = node(&[]);
    check(&limits::memory(&empty), Status::Warn, "mount /proc");
    let status = "Uid:\t65534\t65534\t0\t0\nCapEff:\t0000000000000004\nSeccomp:\t2\n";
    let (_dir, system) = node(&[("proc/self/status", status)]);
    check(
        &limits::identity(&system),
        Status::Ok,
        "uid 65534, capabilities: dac_read_search, a seccomp filter",
    );
    check(
        &limits::identity(&empty),
        Status::Ok,
        "uid unknown, capabilities: none that matter, seccomp unknown",
    );
}

#[test]
fn clocks() {
    let built = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let (_dir, bare) = node(&[]);
    let (_dir2, rtc) = node(&[("sys/class/rtc/rtc0", "")]);
    let day = UNIX_EPOCH + Duration::from_secs(86_400);
    let before = UNIX_EPOCH - Duration::from_secs(1);
    for (system, kept, now, status, words) in [
        (
            &bare,
            Kept::Unsynchronised,
            day,
            Status::Warn,
            "day 1 after 1970",
        ),
        (
            &bare,
            Kept::Synchronised,
            before,
            Status::Warn,
            "before 1970",
        ),
        (&bare, Kept::Synchronised, built, Status::Ok, "synchronised"),
        (
            &bare,
            Kept::Unsynchronised,
            built,
            Status::Warn,
            "no hardware clock",
        ),
        (
            &rtc,
            Kept::Unsynchronised,
            built,
            Status::Warn,
            "`clock: trusted`",
        ),
        (
            &rtc,
            Kept::Unknown,
            built,
            Status::Warn,
            "allow the system call adjtimex",
        ),
    ] {
        check(&clock::clock(system, kept, now, built), status, words);
    }
    assert!(clock::built() <= clock::now());
}

#[test]
fn a_report() {
    let checks = [
        Check::ok("disk", "plenty"),
        Check::warn("inotify queue", "few\x1b[31m", "more"),
        Check::fail("data directory", "none", "make one"),
    ];
    let mut out = Vec::new();
    assert!(!print(&checks, &mut out).unwrap());
    let expected = "OK    disk            plenty\nWARN  inotify queue   few?[31m\n                      -> more\n\
                    FAIL  data directory  none\n                      -> make one\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert!(print(&checks[..2], &mut Vec::new()).unwrap());
}

/// On whatever machine this runs: every check has an answer, and a data directory that can be written fails nothing.
#[test]
fn this_machine() {
    let (dir, _) = node(&[("pods/ns_web_uid/nginx/0.log", "x"), ("data/lock", "")]);
    let mut out = Vec::new();
    let good =
        crate::commands::doctor::run(&dir.path().join("pods"), &dir.path().join("data"), &mut out)
            .unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(good, "{text}");
    for name in [
        "reader",
        "pods directory",
        "data directory",
        "disk",
        "device",
        "memory",
        "running as",
        "clock",
    ] {
        assert!(
            text.lines().any(|line| line[6..].starts_with(name)),
            "{name} missing in {text}"
        );
    }
}
