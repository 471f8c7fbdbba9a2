//! How checks look at the system: `/proc` and `/sys` below a root that tests replace, directories through a trait.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// The most entries of one directory that are looked at. Enough for any node; a bound against the odd one.
const ENTRIES_MAX: usize = 65_536;

/// `/proc`, `/sys` and `/run`.
#[derive(Debug, Clone)]
pub(super) struct System {
    root: PathBuf,
}

impl System {
    /// The running system.
    pub(super) fn real() -> Self {
        System::at("/")
    }

    /// A system below another root.
    pub(super) fn at(root: impl Into<PathBuf>) -> Self {
        System { root: root.into() }
    }

    /// `path` without its leading slash, below the root.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A small file, trimmed; `None` when it cannot be read.
    pub(super) fn text(&self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.path(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// A file that holds one number.
    pub(super) fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The value of `Key:` in a file of such lines, as `/proc/self/status`.
    pub(super) fn field(&self, path: &str, key: &str) -> Option<String> {
        field(&self.text(path)?, key)
    }
}

/// The value of `Key:` in lines of such.
pub(super) fn field(text: &str, key: &str) -> Option<String> {
    let value = |line: &str| {
        line.strip_prefix(key)?
            .strip_prefix(':')
            .map(str::trim)
            .map(str::to_owned)
    };
    text.lines().find_map(value)
}

/// Directories and files of others.
pub(super) trait Look {
    /// Names in a directory, in order, at most [`ENTRIES_MAX`].
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;
    /// Opens a file for reading and closes it again.
    fn open(&self, path: &Path) -> io::Result<()>;
    /// Whether this process may create files in a directory; writes nothing.
    fn writable(&self, dir: &Path) -> io::Result<()>;
}

/// The real ones.
#[derive(Debug)]
pub(super) struct RealLook;

impl Look for RealLook {
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        list(dir)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "looks whether a pod log can be opened, reads nothing"
    )]
    fn open(&self, path: &Path) -> io::Result<()> {
        std::fs::File::open(path).map(drop)
    }

    fn writable(&self, dir: &Path) -> io::Result<()> {
        use rustix::fs::Access;
        let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        Ok(rustix::fs::access(dir, access)?)
    }
}

/// Names in a directory, in order, at most [`ENTRIES_MAX`].
#[expect(
    clippy::disallowed_methods,
    reason = "looks at /proc and at directories that are not ours"
)]
pub(super) fn list(dir: &Path) -> io::Result<Vec<OsString>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(dir)?.take(ENTRIES_MAX) {
        names.push(entry?.file_name());
    }
    names.sort_unstable();
    Ok(names)
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut value = bytes as f64;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 100.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}
