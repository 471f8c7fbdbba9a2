//! An invented cluster node: a dozen pods that write logs as containerd and the kubelet do.
//!
//! Layout `NAMESPACE_POD_UID/CONTAINER/N.log`, records in the CRI format, lines over 16 KiB in pieces, rotation by
//! rename, a new N for each restart. Some minutes of history are written at once, then lines come as time passes.
//! Pure but for the [`Disk`]: the clock and the randomness are arguments.

mod lines;
mod pods;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use disk::{Disk, File, Mode, Purpose};

use crate::time::rfc3339;
use lines::Rng;
use pods::{Line, PODS, Pod};

const NS: i64 = 1_000_000_000;
/// Size at which a file is rotated; the kubelet's default of 10 MiB would not be seen in a demo.
const ROTATE_BYTES: u64 = 256 << 10;
/// Rotated files kept, as the kubelet's `containerLogMaxFiles` of 5 less the live one.
const ROTATED_KEPT: usize = 4;
/// containerd's longest piece of a line.
const PIECE_BYTES: usize = 16_384;
/// Instances of a container that the kubelet keeps: the live and the last dead one.
const INSTANCES_KEPT: u32 = 2;

/// All pods of the node.
pub(crate) struct Node {
    writers: Vec<Writer>,
}

/// One container's log.
struct Writer {
    pod: &'static Pod,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    rng: Rng,
    restart: u32,
    file: Option<Arc<dyn File>>,
    len: u64,
    /// Lines in the live file.
    lines: u64,
    /// Rotated files and their lines, oldest first.
    rotated: Vec<(PathBuf, u64)>,
    /// Lines of the last dead instance, whose files are still there.
    dead: u64,
    /// When the next line is due.
    next: i64,
    /// Lines since this instance began.
    age: u32,
}

impl Node {
    /// Makes the directories; time of the first lines is `start`.
    ///
    /// # Errors
    /// As `mkdir`.
    pub(crate) fn new(disk: &Arc<dyn Disk>, root: &Path, start: i64) -> io::Result<Node> {
        let mut writers = Vec::new();
        for (i, pod) in PODS.iter().enumerate() {
            let mut rng = Rng::new(i as u64 + 1);
            let dir = root.join(format!("{}_{}_{}", pod.namespace, pod.name, uid(&mut rng)));
            let dir = dir.join(pod.container);
            disk.create_dir_all(&dir)?;
            let next = start + rng.below(pod.every_ms) as i64 * 1_000_000;
            writers.push(Writer {
                pod,
                disk: Arc::clone(disk),
                dir,
                rng,
                restart: 0,
                file: None,
                len: 0,
                lines: 0,
                rotated: Vec::new(),
                dead: 0,
                next,
                age: 0,
            });
        }
        Ok(Node { writers })
    }

    /// Writes every line due by `now`; returns how many lines all files hold then.
    ///
    /// # Errors
    /// As `write`.
    pub(crate) fn advance(&mut self, now: i64) -> io::Result<u64> {
        for writer in &mut self.writers {
            writer.advance(now)?;
        }
        Ok(self.writers.iter().map(Writer::held).sum())
    }

    /// How many containers write.
    pub(crate) fn len(&self) -> usize {
        self.writers.len()
    }
}

impl Writer {
    fn held(&self) -> u64 {
        let rotated: u64 = self.rotated.iter().map(|(_, lines)| lines).sum();
        self.lines + rotated + self.dead
    }

    fn advance(&mut self, now: i64) -> io::Result<()> {
        let mut buffer = Vec::new();
        let mut lines = Vec::new();
        while self.next <= now {
            lines.clear();
            let over = (self.pod.write)(&mut self.rng, self.age, &mut lines);
            self.age += 1;
            for (i, line) in lines.iter().enumerate() {
                record(&mut buffer, self.next + i as i64 * 1500, line);
            }
            self.lines += lines.len() as u64;
            let jitter = self.rng.below(self.pod.every_ms) + self.pod.every_ms / 2;
            self.next += jitter as i64 * 1_000_000;
            if over || self.len + buffer.len() as u64 >= ROTATE_BYTES {
                self.append(&buffer)?;
                buffer.clear();
                if over {
                    self.restart()?;
                } else {
                    self.rotate()?;
                }
            }
        }
        self.append(&buffer)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => {
                let path = self.dir.join(format!("{}.log", self.restart));
                let file = self.disk.open(&path, Mode::ReadWrite, Purpose::State)?;
                self.file = Some(Arc::clone(&file));
                file
            }
        };
        file.write_at(bytes, self.len)?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// As the kubelet: rename, then the runtime opens a new file; the oldest rotated one goes.
    fn rotate(&mut self) -> io::Result<()> {
        let live = self.dir.join(format!("{}.log", self.restart));
        let stamp: String = rfc3339(self.next, 6)
            .chars()
            .filter(char::is_ascii_digit)
            .collect();
        let (day, time) = stamp.split_at(8);
        let to = self.dir.join(format!("{}.log.{day}-{time}", self.restart));
        self.disk.rename(&live, &to)?;
        self.file = None;
        self.len = 0;
        self.rotated.push((to, self.lines));
        self.lines = 0;
        if self.rotated.len() > ROTATED_KEPT {
            self.disk.remove(&self.rotated.remove(0).0)?;
        }
        Ok(())
    }

    /// The container died: its next instance writes to a new number after a back-off.
    fn restart(&mut self) -> io::Result<()> {
        if self.restart + 1 >= INSTANCES_KEPT {
            let old = self.restart + 1 - INSTANCES_KEPT;
            self.disk.remove(&self.dir.join(format!("{old}.log")))?;
        }
        // Instances are short: they end before they rotate.
        self.dead = self.lines;
        self.lines = 0;
        self.restart += 1;
        self.file = None;
        self.len = 0;
        self.age = 0;
        self.next += 20 * NS;
        Ok(())
    }
}

fn record(out: &mut Vec<u8>, ts: i64, line: &Line) {
    let stream = if line.stderr { "stderr" } else { "stdout" };
    let mut rest = line.text.as_bytes();
    loop {
        let (piece, tail) = rest.split_at(rest.len().min(PIECE_BYTES));
        let tag = if tail.is_empty() { "F" } else { "P" };
        out.extend_from_slice(format!("{} {stream} {tag} ", rfc3339(ts, 9)).as_bytes());
        out.extend_from_slice(piece);
        out.push(b'\n');
        rest = tail;
        if rest.is_empty() {
            return;
        }
    }
}

fn uid(rng: &mut Rng) -> String {
    let mut part = |digits: u32| {
        let value = rng.next() & ((1u64 << (digits * 4)) - 1);
        format!("{value:0width$x}", width = digits as usize)
    };
    [part(8), part(4), part(4), part(4), part(12)].join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_writes_what_it_counts() {
        let disk: Arc<dyn Disk> = Arc::new(disk::sim::SimDisk::new(1));
        let root = Path::new("/pods");
        let start = 1_790_000_000 * NS;
        let mut node = Node::new(&disk, root, start).unwrap();
        let lines = node.advance(start + 15 * 60 * NS).unwrap();
        assert_eq!(node.len(), PODS.len());
        let mut finals = 0;
        for pod in disk.list(root).unwrap() {
            let parts: Vec<_> = pod.name.split('_').collect();
            assert_eq!(parts.len(), 3, "{}", pod.name);
            let dir = root.join(&pod.name);
            for container in disk.list(&dir).unwrap() {
                let dir = dir.join(&container.name);
                for file in disk.list(&dir).unwrap() {
                    finals += count_finals(&*disk, &dir.join(&file.name), file.len);
                }
            }
        }
        assert_eq!(finals, lines);
        assert!(lines > 5000);
    }

    fn count_finals(disk: &dyn Disk, path: &Path, len: u64) -> u64 {
        let mut bytes = vec![0; len as usize];
        let file = disk.open(path, Mode::Read, Purpose::State).unwrap();
        file.read_exact_at(&mut bytes, 0).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.ends_with('\n'));
        let tag = |line: &str| line.split(' ').nth(2).map(str::to_owned);
        text.lines()
            .filter(|l| tag(l).as_deref() == Some("F"))
            .count() as u64
    }
}
