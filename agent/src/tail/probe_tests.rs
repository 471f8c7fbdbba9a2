//! The decision as a table: what the system answers, what is chosen and why.

use std::io;
use std::path::Path;

use rustix::io::Errno;

use super::*;

const EXT4: u32 = 0xef53;
const TMPFS: u32 = 0x0102_1994;
const OVERLAY: u32 = 0x794c_7630;
const WORKS: Trial = Trial {
    entries: 64,
    fixed_buffers: true,
};

fn facts(trial: Result<Trial, (Step, Errno)>, file_system: u32) -> Facts {
    Facts {
        trial: trial.map_err(|(step, errno)| Fault {
            step,
            error: errno.into(),
        }),
        file_system: Some(FileSystem(file_system)),
        disabled: Some(0),
        seccomp: Some(0),
    }
}

/// `auto` must choose `chosen` for `reason`, with all of `words` in the detail; `uring` must give the ring or an error
/// with the same reason and words.
fn check(facts: &Facts, chosen: Chosen, reason: Reason, words: &[&str]) {
    let auto = decide(ReaderChoice::Auto, facts).unwrap();
    assert_eq!(
        (auto.chosen, auto.reason),
        (chosen, reason),
        "{}",
        auto.detail
    );
    assert!(!auto.forced);
    for word in words {
        assert!(
            auto.detail.contains(word),
            "{word:?} missing in {:?}",
            auto.detail
        );
    }
    match (&facts.trial, decide(ReaderChoice::Uring, facts)) {
        (Ok(_), Ok(report)) => assert!(report.forced && report.chosen == Chosen::Uring),
        (Err(_), Err(error)) => {
            assert_eq!((error.reason, &error.detail), (reason, &auto.detail));
            assert!(error.to_string().contains("use reader auto or pread"));
        }
        (trial, other) => panic!("{trial:?} gave {other:?}"),
    }
    let pread = decide(ReaderChoice::Pread, facts).unwrap();
    assert_eq!(
        (pread.chosen, pread.reason),
        (Chosen::Pread, Reason::Configured)
    );
}

#[test]
fn where_the_ring_works() {
    use Chosen::{Pread, Uring};
    check(
        &facts(Ok(WORKS), EXT4),
        Uring,
        Reason::RingWorks,
        &["ext4", "registered"],
    );
    check(
        &facts(Ok(WORKS), 0x5846_5342),
        Uring,
        Reason::RingWorks,
        &["xfs"],
    );
    let plain = Trial {
        entries: 8,
        fixed_buffers: false,
    };
    let words = ["8 entries, a small one", "LimitMEMLOCK=8M"];
    check(
        &facts(Ok(plain), EXT4),
        Uring,
        Reason::RingWorksUnregistered,
        &words,
    );
    check(
        &facts(Ok(WORKS), TMPFS),
        Pread,
        Reason::FileSystem,
        &["tmpfs"],
    );
    check(
        &facts(Ok(WORKS), OVERLAY),
        Pread,
        Reason::FileSystem,
        &["overlayfs"],
    );
    check(
        &facts(Ok(WORKS), 0x1234),
        Pread,
        Reason::FileSystem,
        &["type 0x1234"],
    );
    let unknown = Facts {
        file_system: None,
        ..facts(Ok(WORKS), 0)
    };
    check(&unknown, Pread, Reason::FileSystem, &["unknown"]);
}

fn filtered(step: Step, errno: Errno) -> Facts {
    Facts {
        seccomp: Some(2),
        ..facts(Err((step, errno)), EXT4)
    }
}

fn disabled(level: u32) -> Facts {
    Facts {
        disabled: Some(level),
        ..facts(Err((Step::Setup, Errno::PERM)), EXT4)
    }
}

fn unfiltered(step: Step, errno: Errno) -> Facts {
    facts(Err((step, errno)), EXT4)
}

#[test]
fn where_it_does_not() {
    let cases = [
        (
            filtered(Step::Setup, Errno::PERM),
            Reason::Seccomp,
            "seccomp filter",
        ),
        (
            filtered(Step::Operations, Errno::PERM),
            Reason::Seccomp,
            "io_uring_register is denied",
        ),
        (
            filtered(Step::Read, Errno::PERM),
            Reason::Seccomp,
            "a read through the ring is denied",
        ),
        (disabled(1), Reason::Disabled, "without CAP_SYS_ADMIN"),
        (
            disabled(2),
            Reason::Disabled,
            "io_uring_disabled=2 forbids it to all",
        ),
        (
            unfiltered(Step::Setup, Errno::ACCESS),
            Reason::Disabled,
            "security module",
        ),
        (
            filtered(Step::Setup, Errno::NOSYS),
            Reason::Absent,
            "podman",
        ),
        (
            unfiltered(Step::Setup, Errno::NOSYS),
            Reason::Absent,
            "the kernel has no io_uring",
        ),
        (
            unfiltered(Step::Setup, Errno::NOMEM),
            Reason::MemoryLock,
            "ulimit -l",
        ),
        (
            unfiltered(Step::Setup, Errno::MFILE),
            Reason::Descriptors,
            "ulimit -n",
        ),
        (unfiltered(Step::Read, Errno::IO), Reason::BadRead, "failed"),
        (
            unfiltered(Step::Setup, Errno::INVAL),
            Reason::Other,
            "io_uring_setup failed",
        ),
    ];
    for (facts, reason, words) in cases {
        check(&facts, Chosen::Pread, reason, &[words]);
    }
    let mut old = unfiltered(Step::Operations, Errno::INVAL);
    old.trial = Err(Fault {
        step: Step::Operations,
        error: io::ErrorKind::Unsupported.into(),
    });
    check(&old, Chosen::Pread, Reason::Operations, &["5.6"]);
}

#[test]
fn choices_and_file_systems() {
    assert_eq!("uring".parse(), Ok(ReaderChoice::Uring));
    assert!(
        "ring"
            .parse::<ReaderChoice>()
            .unwrap_err()
            .contains("auto, uring or pread")
    );
    assert_eq!(
        FileSystem::of(Path::new("/proc/none/such")),
        FileSystem::of(Path::new("/proc"))
    );
    assert_eq!(FileSystem(TMPFS).to_string(), "tmpfs");
}
