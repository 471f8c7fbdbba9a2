//! What an answer leaves out or guesses, in the user's words.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::mem::{Discriminant, discriminant};
use std::path::{Path, PathBuf};

/// Files and kinds of trouble that are told apart; what comes after that many is told again for each query's leaf.
const SAID_MAX: usize = 4096;

/// Something about a file that the answer suffers from.
#[derive(Debug)]
pub struct Trouble {
    /// The file or directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: What,
}

/// What is wrong with a file.
#[derive(Debug)]
pub enum What {
    /// A directory cannot be listed: everything below it is left out.
    Unlisted(io::Error),
    /// A file cannot be opened: it is left out.
    Unopened(io::Error),
    /// A link's target is not there.
    Dangling(PathBuf),
    /// Reading failed after some bytes; the rest is left out.
    Unread(io::Error, u64),
    /// A compressed file ends too early or is damaged; what follows this many bytes of text is left out.
    Uncompressed(io::Error, u64),
    /// It was removed while it was read, and no other file has its content.
    Vanished,
    /// Bytes at its end that are no whole record: left out.
    Torn(u64),
    /// Lines that were too long.
    Cut {
        /// Bytes that they lack.
        bytes: u64,
        /// The longest possible line.
        limit: usize,
    },
    /// Runs of zeros, as power cuts leave them: passed over.
    Zeros(u64),
    /// Lines that are no records of a container runtime: they have the file's time.
    Timeless(u64),
}

impl What {
    /// Whether nothing of the file was read.
    #[must_use]
    pub fn is_all(&self) -> bool {
        matches!(
            self,
            What::Unlisted(_)
                | What::Unopened(_)
                | What::Dangling(_)
                | What::Vanished
                | What::Unread(_, 0)
                | What::Uncompressed(_, 0)
        )
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let s = |n: u64| if n == 1 { "" } else { "s" };
        match &self.what {
            What::Unlisted(e) => write!(f, "`{path}` cannot be listed, left out: {e}"),
            What::Unopened(e) => write!(f, "`{path}` cannot be opened, left out: {e}"),
            What::Dangling(to) => write!(
                f,
                "`{path}` is a link to `{}`, which is not there, left out",
                to.display()
            ),
            What::Unread(e, at) => {
                write!(
                    f,
                    "`{path}` cannot be read beyond byte {at}, the rest is left out: {e}"
                )
            }
            What::Uncompressed(e, at) => write!(
                f,
                "`{path}` is cut short or damaged, what follows the first {at} bytes of text is left out: {e}"
            ),
            What::Vanished => write!(f, "`{path}` was removed before it was read, left out"),
            What::Torn(n) => write!(
                f,
                "`{path}` ends in the middle of a record, its last {n} byte{} left out",
                s(*n)
            ),
            What::Cut { bytes, limit } => write!(
                f,
                "`{path}`: lines longer than {limit} bytes (max_line_size) are cut, {bytes} byte{} left out",
                s(*bytes)
            ),
            What::Zeros(n) => write!(f, "`{path}`: {n} run{} of zero bytes passed over", s(*n)),
            What::Timeless(n) => write!(
                f,
                "`{path}`: {n} line{} not written by a container runtime, shown with the time of the file",
                s(*n)
            ),
        }
    }
}

/// Tells of each trouble once.
pub(super) struct Teller {
    tell: Box<dyn FnMut(&Trouble)>,
    said: HashSet<(PathBuf, Discriminant<What>)>,
    /// Files and directories that were left out as a whole.
    pub(super) left_out: u64,
}

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Teller")
            .field("said", &self.said.len())
            .finish_non_exhaustive()
    }
}

impl Teller {
    pub(super) fn new(tell: Box<dyn FnMut(&Trouble)>) -> Teller {
        Teller {
            tell,
            said: HashSet::new(),
            left_out: 0,
        }
    }

    pub(super) fn tell(&mut self, path: &Path, what: What) {
        let key = (path.to_owned(), discriminant(&what));
        if self.said.len() < SAID_MAX && !self.said.insert(key) {
            return;
        }
        self.left_out += u64::from(what.is_all());
        let path = path.to_owned();
        (self.tell)(&Trouble { path, what });
    }
}
