//! What several test modules share: the binary under test, a small HTTP client, random numbers.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest that anything observed may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Lines of the child's log that are kept for failure messages.
const LOG_LINES: usize = 400;
/// Entries asked for in one query: the default `max_entries_limit_per_query`.
const QUERY_LIMIT: usize = 5000;

/// SplitMix64.
#[derive(Debug, Clone)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `low..high`.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low)
    }

    /// True in `percent` of 100 cases.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }
}

/// A number from the environment, or the default.
pub(crate) fn env_number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

/// Polls until `probe` gives a value; gives up with what `describe` says.
pub(crate) fn wait_for<T>(
    mut probe: impl FnMut() -> Option<T>,
    describe: impl FnOnce() -> String,
) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "gave up after {PATIENCE:?}: {}",
            describe()
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The binary under test: the one built beside the tests, or that of `DRUPELET_BIN` (a release build).
pub(crate) fn binary() -> std::ffi::OsString {
    std::env::var_os("DRUPELET_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_drupelet").into())
}

/// A running `drupelet run`, `agent` or `store`.
#[derive(Debug)]
pub(crate) struct Appliance {
    child: Child,
    address: Receiver<String>,
    known: Option<String>,
    log: Arc<Mutex<VecDeque<String>>>,
}

/// What tests store is not removed because the machine they run on has a full disk.
pub(crate) const KEEP_ALL: [(&str, &str); 2] =
    [("DRUPELET_MAX_DISK", "0"), ("DRUPELET_MIN_FREE", "0")];

impl Appliance {
    /// Starts the binary on a free port; does not wait for anything.
    pub(crate) fn start(pods: &Path, data: &Path, config: &Path) -> Appliance {
        let mut command = Command::new(binary());
        command
            .args(["run", "--listen", "127.0.0.1:0", "--config"])
            .arg(config);
        command
            .arg("--pods-dir")
            .arg(pods)
            .arg("--data-dir")
            .arg(data)
            .envs(KEEP_ALL);
        Appliance::spawn(&mut command)
    }

    /// Starts the agent alone, with the server of the configuration.
    pub(crate) fn start_agent(pods: &Path, data: &Path, config: &Path) -> Appliance {
        let mut command = Command::new(binary());
        command
            .args(["agent", "--listen", "127.0.0.1:0", "--config"])
            .arg(config);
        command
            .arg("--pods-dir")
            .arg(pods)
            .arg("--data-dir")
            .arg(data);
        Appliance::spawn(&mut command)
    }

    /// Starts the store alone on an address.
    pub(crate) fn start_store(listen: &str, data: &Path, config: &Path) -> Appliance {
        let mut command = Command::new(binary());
        command
            .args(["store", "--listen", listen, "--config"])
            .arg(config);
        command.arg("--data-dir").arg(data).envs(KEEP_ALL);
        Appliance::spawn(&mut command)
    }

    fn spawn(command: &mut Command) -> Appliance {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let stderr = child.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (send, address) = channel();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if let Some(rest) = line.split(" addr=").nth(1) {
                    // Nobody may be waiting any more.
                    let _ = send.send(rest.split([' ', '"']).next().unwrap_or(rest).to_owned());
                }
                let mut kept = kept.lock().expect("log lock");
                if kept.len() == LOG_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        Appliance {
            child,
            address,
            known: None,
            log,
        }
    }

    /// Where it listens; waits for the line that says so.
    pub(crate) fn address(&mut self) -> String {
        if self.known.is_none() {
            self.known = match self.address.recv_timeout(PATIENCE) {
                Ok(address) => Some(address),
                Err(RecvTimeoutError::Timeout) => panic!("no address in the log:\n{}", self.log()),
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait();
                    panic!("the binary ended ({status:?}):\n{}", self.log())
                }
            };
        }
        self.known.clone().expect("set above")
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The end of its log.
    pub(crate) fn log(&self) -> String {
        let log = self.log.lock().expect("log lock");
        log.iter().cloned().collect::<Vec<_>>().join("\n")
    }

    /// Ends it with SIGKILL. An appliance that ended by itself before is a failure.
    pub(crate) fn kill(mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("the binary ended by itself ({status}):\n{}", self.log());
        }
        self.child.kill().expect("kill");
        self.child.wait().expect("wait");
    }

    /// Asks it to stop, without waiting.
    pub(crate) fn ask_to_stop(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("kill");
    }

    /// SIGTERM, then waits for its end.
    pub(crate) fn stop(mut self) -> ExitStatus {
        self.ask_to_stop();
        let child = &mut self.child;
        let log = &self.log;
        wait_for(
            || child.try_wait().expect("wait"),
            || format!("SIGTERM is ignored:\n{:?}", log.lock()),
        )
    }

    /// A GET that must be answered with 200 and JSON.
    pub(crate) fn get_json(&mut self, path: &str) -> Value {
        let address = self.address();
        let (status, body) =
            http_get(&address, path).unwrap_or_else(|e| panic!("GET {path}: {e}\n{}", self.log()));
        let text = String::from_utf8_lossy(&body);
        assert_eq!(status, 200, "GET {path}: {text}");
        serde_json::from_slice(&body).unwrap_or_else(|e| panic!("GET {path}: {e}: {text}"))
    }

    /// Entries of a selector with `start <= ts < end` (ns) in the order of each answered series: window after
    /// window, so that no answer reaches the limit.
    pub(crate) fn entries(&mut self, selector: &str, start: i64, end: i64) -> Vec<Found> {
        let mut windows = vec![(start, end)];
        let mut found = Vec::new();
        while let Some((start, end)) = windows.pop() {
            let query = encode(selector);
            let answer = self.get_json(&format!(
                "/loki/api/v1/query_range?query={query}&start={start}&end={end}\
                 &limit={QUERY_LIMIT}&direction=forward"
            ));
            let window = parse_streams(&answer);
            if window.len() >= QUERY_LIMIT {
                let middle = start + (end - start) / 2;
                assert!(middle > start, "{QUERY_LIMIT} entries in a nanosecond");
                windows.push((middle, end));
                windows.push((start, middle));
                continue;
            }
            found.extend(window);
        }
        found
    }

    /// How many entries a selector has.
    pub(crate) fn count(&mut self, selector: &str) -> u64 {
        let query = encode(&format!("sum(count_over_time({selector}[24h]))"));
        let answer = self.get_json(&format!("/loki/api/v1/query?query={query}"));
        match &answer["data"]["result"][0]["value"][1] {
            Value::String(text) => text.parse::<f64>().expect("a number") as u64,
            _ => 0,
        }
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // Nothing is left running when a test fails. It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One entry of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    /// All labels of its series, as JSON.
    pub(crate) labels: Value,
    /// Nanoseconds.
    pub(crate) ts: i64,
    /// The line.
    pub(crate) line: String,
}

fn parse_streams(answer: &Value) -> Vec<Found> {
    let mut found = Vec::new();
    for series in answer["data"]["result"].as_array().expect("result") {
        for value in series["values"].as_array().expect("values") {
            let text = |i: usize| value[i].as_str().expect("text").to_owned();
            found.push(Found {
                labels: series["stream"].clone(),
                ts: text(0).parse().expect("nanoseconds"),
                line: text(1),
            });
        }
    }
    found
}

/// Percent-encodes everything but letters and digits.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::new();
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() {
            out.push(b as char);
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

/// One GET on a connection of its own: status and body.
pub(crate) fn http_get(address: &str, path: &str) -> io::Result<(u16, Vec<u8>)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    parse_answer(&answer).ok_or_else(|| {
        let text = String::from_utf8_lossy(&answer[..answer.len().min(500)]).into_owned();
        io::Error::new(io::ErrorKind::InvalidData, format!("bad answer: {text}"))
    })
}

fn parse_answer(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..split]).ok()?.to_lowercase();
    let status = head.split(' ').nth(1)?.parse().ok()?;
    let body = &answer[split + 4..];
    if !head.contains("transfer-encoding: chunked") {
        let declared = head.split("content-length: ").nth(1)?;
        let declared: usize = declared.split("\r\n").next()?.trim().parse().ok()?;
        return (body.len() == declared).then(|| (status, body.to_vec()));
    }
    let mut rest = body;
    let mut whole = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let size = std::str::from_utf8(&rest[..end]).ok()?;
        let size = usize::from_str_radix(size.split(';').next()?.trim(), 16).ok()?;
        if size == 0 {
            return Some((status, whole));
        }
        whole.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}
