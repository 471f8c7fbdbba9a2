//! A double of Loki's push endpoint: it remembers each request, stores what a real one would, and misbehaves on demand.
//!
//! Its decoder is its own, so that a mistake of the encoder is not shared.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::util::PATIENCE;

/// What is done with a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Stored, 204.
    Store,
    /// Stored, and yet this status.
    StoreAnd(u16),
    /// Not stored: status, further head lines, text.
    Answer(u16, &'static str, String),
    /// All but the first `n` entries are stored; 400 as Loki words it.
    Partial(usize),
    /// 413 if the request has more bytes, else stored.
    AtMost(usize),
    /// Not answered, until the client gives up.
    Hang,
    /// Closed without an answer; whether it was stored before.
    Reset(bool),
    /// Closed in the middle of the answer.
    HalfAnswer,
}

impl Act {
    pub(crate) fn answer(status: u16) -> Act {
        Act::Answer(status, "", format!("this is {status}"))
    }
}

/// An entry as it arrived.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pushed {
    /// Text of the labels.
    pub(crate) labels: String,
    pub(crate) ts: i64,
    pub(crate) line: String,
    pub(crate) metadata: BTreeMap<String, String>,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    pub(crate) body: Vec<u8>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) path: String,
    pub(crate) entries: Vec<Pushed>,
    /// What of it was stored.
    pub(crate) stored: Vec<Pushed>,
    pub(crate) at: Instant,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Act>,
    always: Option<Act>,
    taken: Vec<Taken>,
    open: BTreeMap<u64, TcpStream>,
    connections: u64,
    away: bool,
    ended: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The running double; ends when dropped.
#[derive(Debug)]
pub(crate) struct Loki {
    /// `127.0.0.1:PORT`.
    pub(crate) addr: String,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("state")
    }

    fn change(&self, f: impl FnOnce(&mut State)) {
        f(&mut self.state());
        self.changed.notify_all();
    }
}

impl Loki {
    /// Stores everything, after what the script says.
    pub(crate) fn start(script: impl IntoIterator<Item = Act>) -> Loki {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let addr = listener.local_addr().expect("address").to_string();
        let state = State {
            script: script.into_iter().collect(),
            ..State::default()
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        });
        let thread = std::thread::spawn({
            let (addr, shared) = (addr.clone(), Arc::clone(&shared));
            move || accept(listener, &addr, &shared)
        });
        Loki {
            addr,
            shared,
            thread: Some(thread),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// From now on every request without a place in the script is treated so.
    pub(crate) fn always(&self, act: Act) {
        self.shared.change(|s| s.always = Some(act));
    }

    /// Closes the port and every connection, or opens it again.
    pub(crate) fn away(&self, away: bool) {
        self.shared.change(|s| {
            s.away = away;
            for stream in s.open.values().filter(|_| away) {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
    }

    pub(crate) fn taken(&self) -> Vec<Taken> {
        self.shared.state().taken.clone()
    }

    /// The same, and forgets them.
    pub(crate) fn forget(&self) -> Vec<Taken> {
        std::mem::take(&mut self.shared.state().taken)
    }

    /// Replaces what is left of the script.
    pub(crate) fn script(&self, script: impl IntoIterator<Item = Act>) {
        self.shared
            .change(|s| s.script = script.into_iter().collect());
    }

    /// Entries stored, repeats included.
    pub(crate) fn stored(&self) -> u64 {
        let state = self.shared.state();
        state.taken.iter().map(|t| t.stored.len() as u64).sum()
    }

    /// How many requests there were.
    pub(crate) fn requests(&self) -> usize {
        self.shared.state().taken.len()
    }

    /// Waits until nobody is connected: every request of a process that is gone has been taken or was cut off.
    pub(crate) fn wait_alone(&self) {
        self.wait("the connections end", |s| s.open.is_empty());
    }

    /// Waits until so many requests have come.
    pub(crate) fn wait_requests(&self, n: usize) {
        self.wait(&format!("{n} requests"), |s| s.taken.len() >= n);
    }

    /// Waits until so many entries are stored, repeats included.
    pub(crate) fn wait_stored(&self, n: u64) {
        let stored = |s: &State| s.taken.iter().map(|t| t.stored.len() as u64).sum::<u64>();
        self.wait(&format!("{n} entries"), |s| stored(s) >= n);
    }

    fn wait(&self, what: &str, done: impl Fn(&State) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.shared.state();
        while !done(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            let stored: usize = state.taken.iter().map(|t| t.stored.len()).sum();
            assert!(
                !left.is_zero(),
                "never: {what}; {} requests, {stored} entries stored, {} connections",
                state.taken.len(),
                state.open.len()
            );
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("state")
                .0;
        }
    }
}

impl Drop for Loki {
    fn drop(&mut self) {
        self.shared.change(|s| {
            s.ended = true;
            for stream in s.open.values() {
                let _ = stream.shutdown(Shutdown::Both);
            }
        });
        // Wakes the thread when it waits for a connection.
        let _ = TcpStream::connect(&self.addr);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: TcpListener, addr: &str, shared: &Arc<Shared>) {
    let mut listener = Some(listener);
    loop {
        {
            let mut state = shared.state();
            if state.away {
                listener = None;
            }
            while state.away && !state.ended {
                state = shared.changed.wait(state).expect("state");
            }
            if state.ended {
                return;
            }
        }
        let bound =
            listener.get_or_insert_with(|| TcpListener::bind(addr).expect("the port again"));
        bound.set_nonblocking(true).expect("nonblocking");
        let Ok((stream, _)) = bound.accept() else {
            // Polled, because nothing else wakes a blocked accept when the double goes away.
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        stream.set_nonblocking(false).expect("blocking");
        let mut number = 0;
        shared.change(|s| {
            s.connections += 1;
            number = s.connections;
            s.open.insert(number, stream.try_clone().expect("clone"));
        });
        let shared = Arc::clone(shared);
        std::thread::spawn(move || {
            // An error is the client's end.
            let _ = converse(&stream, &shared);
            let _ = stream.shutdown(Shutdown::Both);
            shared.change(|s| {
                s.open.remove(&number);
            });
        });
    }
}

fn converse(stream: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let mut lines = head.lines();
        let path = lines
            .next()
            .and_then(|l| l.split(' ').nth(1))
            .unwrap_or_default()
            .to_owned();
        let headers: BTreeMap<String, String> = lines
            .filter_map(|l| l.split_once(": "))
            .map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned()))
            .collect();
        let length = headers["content-length"].parse().expect("a length");
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let entries = decode(&body);
        let mut taken = Taken {
            body,
            headers,
            path,
            entries,
            stored: Vec::new(),
            at: Instant::now(),
        };
        let act = {
            let mut state = shared.state();
            let always = state.always.clone().unwrap_or(Act::Store);
            state.script.pop_front().unwrap_or(always)
        };
        let answer = act.apply(&mut taken);
        shared.change(|s| s.taken.push(taken));
        match answer {
            Some(answer) => (&*stream).write_all(answer.as_bytes())?,
            None if matches!(act, Act::Hang) => {
                // Until the client closes.
                let _ = reader.read(&mut [0])?;
                return Ok(());
            }
            None => {
                if matches!(act, Act::HalfAnswer) {
                    (&*stream).write_all(b"HTTP/1.1 204 No")?;
                }
                return Ok(());
            }
        }
    }
}

impl Act {
    /// Stores what is to be stored; the answer, if there is one.
    fn apply(&self, taken: &mut Taken) -> Option<String> {
        let reply = |status: u16, head: &str, text: &str| {
            Some(format!(
                "HTTP/1.1 {status} X\r\n{head}Content-Length: {}\r\n\r\n{text}",
                text.len()
            ))
        };
        let all = taken.entries.clone();
        match self {
            Act::Store => {
                taken.stored = all;
                reply(204, "", "")
            }
            Act::StoreAnd(status) => {
                taken.stored = all;
                reply(*status, "", "stored and failed")
            }
            Act::Answer(status, head, text) => reply(*status, head, text),
            Act::Partial(n) => {
                let n = (*n).min(all.len());
                taken.stored = all[n..].to_vec();
                let text = format!(
                    "entry with timestamp 2026-11-26 10:00:00 +0000 UTC ignored, reason: 'entry too far behind, entry \
                     timestamp is: x, oldest acceptable timestamp is: y',\nuser 'fake', total ignored: {n} out of {} for \
                     stream: {{a=\"b\"}}",
                    all.len()
                );
                reply(400, "", &text)
            }
            Act::AtMost(bytes) => {
                let raw = snap::raw::decompress_len(&taken.body).expect("snappy");
                if raw > *bytes {
                    return reply(413, "", "request body too large");
                }
                taken.stored = all;
                reply(204, "", "")
            }
            Act::Reset(stored) => {
                if *stored {
                    taken.stored = all;
                }
                None
            }
            Act::HalfAnswer => {
                taken.stored = all;
                None
            }
            Act::Hang => None,
        }
    }
}

fn decode(body: &[u8]) -> Vec<Pushed> {
    let raw = snap::raw::Decoder::new()
        .decompress_vec(body)
        .expect("snappy");
    let mut found = Vec::new();
    for (_, stream) in fields(&raw) {
        let parts = fields(stream);
        let labels = text(parts.iter().find(|(n, _)| *n == 1).expect("labels").1);
        for (_, entry) in parts.iter().filter(|(n, _)| *n == 2) {
            let mut pushed = Pushed {
                labels: labels.clone(),
                ts: 0,
                line: String::new(),
                metadata: BTreeMap::new(),
            };
            for (number, value) in fields(entry) {
                match number {
                    1 => {
                        let time = numbers(value);
                        let part = |n: u64| {
                            time.iter()
                                .find(|(m, _)| *m == n)
                                .map_or(0, |(_, v)| *v as i64)
                        };
                        pushed.ts = part(1) * 1_000_000_000 + part(2);
                    }
                    2 => pushed.line = text(value),
                    3 => {
                        let pair = fields(value);
                        pushed.metadata.insert(text(pair[0].1), text(pair[1].1));
                    }
                    other => panic!("field {other} of an entry"),
                }
            }
            found.push(pushed);
        }
    }
    found
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut n = 0;
    for shift in (0..).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a number");
        *bytes = rest;
        n |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    n
}

/// Fields with a length.
fn fields(mut bytes: &[u8]) -> Vec<(u64, &[u8])> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        assert_eq!(tag & 7, 2, "a field with a length");
        let len = varint(&mut bytes) as usize;
        let (value, rest) = bytes.split_at(len);
        found.push((tag >> 3, value));
        bytes = rest;
    }
    found
}

/// Fields that are numbers.
fn numbers(mut bytes: &[u8]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes);
        assert_eq!(tag & 7, 0, "a field with a number");
        found.push((tag >> 3, varint(&mut bytes)));
    }
    found
}
