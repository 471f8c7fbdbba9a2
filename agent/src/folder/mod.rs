//! LogQL straight over a folder of pod logs: no store, nothing written, memory bounded whatever the folder's size.
//!
//! ```text
//! find (which directory) -> tree (containers, files, parts) -> reading (blocks -> agent's framing -> lines)
//!                                                                    |
//!                            labels of the agent -> logs | range (leaves of logql's evaluation)
//! ```
//!
//! - The answers are those of a store that was filled from the same files: discovery, framing, joining, labels and levels
//!   are the tailing agent's own.
//! - One file is open at a time, read in blocks. What is held: a row for each file, one block, and the answer.
//! - What cannot contribute is not read: what was last changed before the range, what begins after it, and, once an
//!   answer is full, what is older (or newer) than its last entry. Times of files and of first records decide, with
//!   a minute to spare. Where a clock was set back further while a file was written, lines may be missed at the edges of
//!   a range; what shows that it was (a first record from after the last change) is read as a whole.
//! - A line in pieces is joined across parts and files as in a tailing agent. If its beginning need not be read, its end
//!   is not taken for a line.
//! - Pieces of files without a text that the first filter asks for are passed over before they are made lines.
//! - Levels are looked for only in lines that pass the leading filters, and only where the answer depends on them.

mod ends;
mod find;
mod logs;
mod owner;
mod range;
mod reading;
mod sieve;
mod source;
#[cfg(test)]
mod tests;
mod tree;
mod trouble;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use logql::eval::{EvalError, Leaf};
use logql::plan::{Direction, LogLeaf, RangeLeaf, Steps};
use logql::value::{Logs, Matrix};

pub use find::FolderError;
pub use trouble::{Trouble, What};

use crate::config::Config;
use find::Place;
use reading::Reading;
use tree::{Instance, Part};
use trouble::Teller;

/// How far times of lines and of files may be apart from what order and clocks promise, ns: coarse times of file systems
/// and archives (up to 2 s), streams that are stamped apart, small corrections of the clock.
const MARGIN: i64 = 60_000_000_000;

/// Bounds of a query.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes that it may hold.
    pub memory: usize,
    /// Series of a metric query.
    pub series: usize,
    /// What templates take for now, nanoseconds since 1970.
    pub now: i64,
}

/// A folder of pod logs as it was when it was opened.
#[derive(Debug)]
pub struct Folder {
    config: Config,
    limits: Limits,
    /// Bytes of the limit that the list of files and the buffers take.
    held: usize,
    root: PathBuf,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    instances: Vec<Instance>,
    reading: Reading,
}

/// How much of a folder could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Files, or parts of files, that were read.
    pub opened: u64,
    /// Files and directories that could not be.
    pub left_out: u64,
}

impl Folder {
    /// Lists the directory of the configuration: the folder of pods, one above it, or a pod's or container's folder in
    /// it. `tell` gets what is left out, each file once.
    ///
    /// # Errors
    /// See [`FolderError`].
    pub fn open(
        config: Config,
        limits: Limits,
        tell: Box<dyn FnMut(&Trouble)>,
    ) -> Result<Folder, FolderError> {
        let place = Place::find(&config.pods_dir)?;
        let mut teller = Teller::new(tell);
        let (instances, bytes) = tree::list(&place, &mut teller, limits.memory / 2)?;
        if instances.is_empty() && teller.left_out == 0 {
            return Err(FolderError::NoLogs {
                dir: place.root,
                pods: place.pods.len(),
            });
        }
        let reading = Reading::new(&config, teller);
        Ok(Folder {
            limits,
            held: bytes + Reading::memory(),
            root: place.root,
            config,
            state: RefCell::new(State { instances, reading }),
        })
    }

    /// The folder of pods that was found.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What was read so far.
    #[must_use]
    pub fn read(&self) -> Read {
        let reading = &self.state.borrow().reading;
        Read {
            opened: reading.opened,
            left_out: reading.teller.left_out,
        }
    }

    /// The time of the newest line; `None` if there are no lines.
    #[must_use]
    pub fn newest(&self) -> Option<i64> {
        let State { instances, reading } = &mut *self.state.borrow_mut();
        let mut order: Vec<&mut Instance> = instances.iter_mut().collect();
        order.sort_by_key(|i| std::cmp::Reverse(i.modified()));
        let mut newest = None;
        for instance in order {
            let bound = instance.modified().saturating_add(MARGIN);
            if newest.is_some_and(|newest| bound < newest) {
                break;
            }
            instance.prepare();
            newest = newest.max(ends::newest(reading, instance));
        }
        newest
    }

    /// The time of the oldest line, as first records show it; `None` if there are no lines.
    #[must_use]
    pub fn oldest(&self) -> Option<i64> {
        let instances = &mut self.state.borrow_mut().instances;
        let oldest = instances.iter_mut().filter_map(|instance| {
            instance.prepare();
            ends::oldest(instance)
        });
        oldest.min()
    }
}

impl State {
    /// Before a leaf: nothing has been read.
    fn start(&mut self) {
        for part in self.instances.iter_mut().flat_map(|i| &mut i.parts) {
            part.done = false;
        }
    }
}

impl Leaf for Folder {
    fn logs(
        &self,
        leaf: &LogLeaf,
        start: i64,
        end: i64,
        limit: usize,
        direction: Direction,
    ) -> Result<Logs, EvalError> {
        let state = &mut *self.state.borrow_mut();
        state.start();
        logs::logs(self, state, leaf, (start, end), (limit, direction))
    }

    fn range(&self, leaf: &RangeLeaf, steps: Steps, held: usize) -> Result<Matrix, EvalError> {
        let state = &mut *self.state.borrow_mut();
        state.start();
        range::range(self, state, leaf, steps, held)
    }
}

impl Part {
    /// Whether no line of it lies in `first..=last`.
    fn misses(&self, first: i64, last: i64) -> bool {
        self.high.saturating_add(MARGIN) < first || self.low.saturating_sub(MARGIN) > last
    }
}
