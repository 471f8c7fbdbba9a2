//! Running the real executable.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Nothing of ours takes longer; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What a finished command left.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The executable with arguments and without the developer's own settings.
pub(crate) fn drupelet(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_drupelet"));
    command.args(args).stdin(Stdio::null());
    for (name, _) in std::env::vars() {
        if name.starts_with("DRUPELET_") || name == "NODE_NAME" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs to the end.
pub(crate) fn done(args: &[&str]) -> Done {
    finish(&mut drupelet(args))
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Done {
    let output = command.output().unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A `run` or `demo` in the background; killed when dropped.
pub(crate) struct Running {
    child: Child,
    /// `127.0.0.1:PORT`.
    pub(crate) addr: String,
    lines: Receiver<String>,
    /// Lines read so far.
    pub(crate) seen: Vec<String>,
}

impl Running {
    /// Starts it and waits for a line of stderr or stdout with `mark`, behind which the address is.
    pub(crate) fn start(args: &[&str], mark: &str) -> Running {
        Running::start_in(args, mark, &[])
    }

    /// The same with environment variables.
    pub(crate) fn start_in(args: &[&str], mark: &str, env: &[(&str, &str)]) -> Running {
        let mut child = drupelet(args)
            .envs(crate::util::KEEP_ALL)
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] = [
            Box::new(child.stderr.take().unwrap()),
            Box::new(child.stdout.take().unwrap()),
        ];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let _ = sender.send(line);
                }
            });
        }
        // So that the end of both pipes ends the wait.
        drop(sender);
        let mut running = Running {
            child,
            addr: String::new(),
            lines,
            seen: Vec::new(),
        };
        let line = running.wait_for(mark);
        let rest = &line[line.find(mark).unwrap() + mark.len()..];
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'));
        rest[..end.unwrap_or(rest.len())].clone_into(&mut running.addr);
        running
    }

    /// `drupelet run` on two directories and a free port.
    pub(crate) fn run(pods: &Path, data: &Path) -> Running {
        let (pods, data) = (pods.to_str().unwrap(), data.to_str().unwrap());
        let args = [
            "run",
            "--pods-dir",
            pods,
            "--data-dir",
            data,
            "--listen",
            "127.0.0.1:0",
        ];
        Running::start(&args, "listening on ")
    }

    /// `drupelet store` on a directory and a free port.
    pub(crate) fn store(data: &Path) -> Running {
        let data = data.to_str().unwrap();
        let args = ["store", "--data-dir", data, "--listen", "127.0.0.1:0"];
        Running::start(&args, "listening on ")
    }

    /// The next line with this text; panics with what came instead.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => self.seen.push(line),
                Err(e) => panic!(
                    "no line with `{text}` ({e}); seen:\n{}",
                    self.seen.join("\n")
                ),
            }
            if let Some(line) = self.seen.last().filter(|l| l.contains(text)) {
                return line.clone();
            }
        }
    }

    /// Sends a signal by name (`INT`, `TERM`).
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        let status = Command::new("kill")
            .args(["-s", name, &pid])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the end; its exit code.
    pub(crate) fn wait(&mut self) -> i32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of a GET.
pub(crate) fn get(addr: &str, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// Polls until `check` gives something.
pub(crate) fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
