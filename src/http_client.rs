//! A small blocking HTTP/1.1 client for the commands that ask a running drupelet or Loki: one GET a connection, no
//! TLS, no redirects.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Largest body taken, bytes; more is an error.
const MAX_BODY: usize = 256 << 20;
/// Longest line of a head, bytes, and the most lines.
const MAX_LINE: usize = 16 << 10;
const MAX_LINES: usize = 200;

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Response {
    /// HTTP status.
    pub status: u16,
    /// The body, without transfer encoding.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The URL cannot be used; the reason is given.
    #[error("cannot use the URL `{url}`: {reason}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// No connection.
    #[error("cannot connect to {host}: {source}")]
    Connect {
        /// Host and port.
        host: String,
        /// The cause.
        source: std::io::Error,
    },
    /// The connection broke, or the time was up.
    #[error("no answer from {host}: {source}")]
    Io {
        /// Host and port.
        host: String,
        /// The cause.
        source: std::io::Error,
    },
    /// What came is not HTTP, or too large.
    #[error("bad answer from {host}: {reason}")]
    Protocol {
        /// Host and port.
        host: String,
        /// What is wrong.
        reason: &'static str,
    },
}

struct Target<'a> {
    /// As in the `Host` header.
    host: &'a str,
    /// With a port, for the resolver.
    address: String,
    /// The URL's path without a slash at its end.
    base: &'a str,
}

enum Fault {
    Io(std::io::Error),
    Protocol(&'static str),
}

impl From<std::io::Error> for Fault {
    fn from(e: std::io::Error) -> Self {
        Fault::Io(e)
    }
}

/// Asks `url` (as `http://host:port`, a path in it is put in front) for `path_and_query`, which starts with a slash
/// and is percent-encoded. All of it has to be done within `timeout`.
///
/// # Errors
/// See [`Error`]; an HTTP status of any kind is no error.
pub(crate) fn get(url: &str, path_and_query: &str, timeout: Duration) -> Result<Response, Error> {
    let target = parse_url(url)?;
    let bad_path = |b: u8| !b.is_ascii_graphic();
    if !path_and_query.starts_with('/') || path_and_query.bytes().any(bad_path) {
        return Err(Error::Url {
            url: path_and_query.to_owned(),
            reason: "a path must start with a slash and be percent-encoded",
        });
    }
    let deadline = Instant::now() + timeout;
    let host = || target.address.clone();
    let stream = connect(&target.address, deadline).map_err(|source| Error::Connect {
        host: host(),
        source,
    })?;
    exchange(stream, &target, path_and_query, deadline).map_err(|fault| match fault {
        Fault::Io(source) => Error::Io {
            host: host(),
            source,
        },
        Fault::Protocol(reason) => Error::Protocol {
            host: host(),
            reason,
        },
    })
}

/// Percent-encodes a parameter for a query string.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for b in text.bytes() {
        if b.is_ascii_alphanumeric() || b"-._~".contains(&b) {
            out.push(char::from(b));
        } else {
            out.push_str(&format!("%{b:02X}"));
        }
    }
    out
}

fn parse_url(url: &str) -> Result<Target<'_>, Error> {
    let fail = |reason| Error::Url {
        url: url.to_owned(),
        reason,
    };
    if url.starts_with("https://") {
        return Err(fail("https is not supported; use http"));
    }
    let rest = url
        .strip_prefix("http://")
        .ok_or_else(|| fail("it must start with http://"))?;
    let (host, base) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    if host.is_empty() || !url.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(fail("it names no host, or holds blanks"));
    }
    if host.contains('@') {
        return Err(fail("user names and passwords are not supported"));
    }
    if base.contains(['?', '#']) {
        return Err(fail("it must not have a query or fragment"));
    }
    let name_end = host.rfind(']').map_or(0, |at| at + 1);
    let address = if host[name_end..].contains(':') {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    Ok(Target {
        host,
        address,
        base: base.trim_end_matches('/'),
    })
}

fn remaining(deadline: Instant) -> std::io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

fn connect(address: &str, deadline: Instant) -> std::io::Result<TcpStream> {
    let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, remaining(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(e) => last = e,
        }
    }
    Err(last)
}

/// Reads with what is left of the time, so that a server that sends one byte a second cannot hold the caller.
struct Deadline {
    stream: TcpStream,
    at: Instant,
}

impl Read for Deadline {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.stream.set_read_timeout(Some(remaining(self.at)?))?;
        match self.stream.read(buf) {
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                Err(std::io::ErrorKind::TimedOut.into())
            }
            other => other,
        }
    }
}

fn exchange(
    mut stream: TcpStream,
    target: &Target<'_>,
    path: &str,
    deadline: Instant,
) -> Result<Response, Fault> {
    stream.set_write_timeout(Some(remaining(deadline)?))?;
    let request = format!(
        "GET {}{path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: drupelet/{}\r\nAccept: */*\r\nConnection: close\r\n\r\n",
        target.base,
        target.host,
        env!("CARGO_PKG_VERSION"),
    );
    stream.write_all(request.as_bytes())?;
    let mut from = BufReader::new(Deadline {
        stream,
        at: deadline,
    });
    let status = read_status(&mut from)?;
    let (length, chunked) = read_headers(&mut from)?;
    let body = if status == 204 || status == 304 {
        Vec::new()
    } else if chunked {
        read_chunks(&mut from)?
    } else if let Some(length) = length {
        let mut body = Vec::new();
        read_part(&mut from, &mut body, length)?;
        body
    } else {
        let mut body = Vec::new();
        from.take(MAX_BODY as u64 + 1).read_to_end(&mut body)?;
        if body.len() > MAX_BODY {
            return Err(Fault::Protocol("the body is too large"));
        }
        body
    };
    Ok(Response { status, body })
}

fn read_line(from: &mut impl BufRead) -> Result<String, Fault> {
    let mut line = Vec::new();
    from.by_ref()
        .take(MAX_LINE as u64)
        .read_until(b'\n', &mut line)?;
    if line.pop() != Some(b'\n') {
        return Err(Fault::Protocol(
            "the head ends early or has an endless line",
        ));
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    String::from_utf8(line).map_err(|_| Fault::Protocol("the head is not text"))
}

fn read_status(from: &mut impl BufRead) -> Result<u16, Fault> {
    let bad = Fault::Protocol("it does not begin with an HTTP status");
    let line = read_line(from)?;
    let Some(rest) = line.strip_prefix("HTTP/1.") else {
        return Err(bad);
    };
    rest.split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or(bad)
}

fn read_headers(from: &mut impl BufRead) -> Result<(Option<usize>, bool), Fault> {
    let (mut length, mut chunked) = (None, false);
    for _ in 0..MAX_LINES {
        let line = read_line(from)?;
        if line.is_empty() {
            return Ok((length, chunked));
        }
        let (name, value) = line
            .split_once(':')
            .ok_or(Fault::Protocol("a header has no colon"))?;
        let value = value.trim();
        if name.eq_ignore_ascii_case("content-length") {
            let n = value
                .parse()
                .map_err(|_| Fault::Protocol("the content length is not a number"))?;
            length = Some(n);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = value.eq_ignore_ascii_case("chunked");
        }
    }
    Err(Fault::Protocol("it has too many headers"))
}

fn read_part(from: &mut impl Read, body: &mut Vec<u8>, n: usize) -> Result<(), Fault> {
    if n > MAX_BODY - body.len() {
        return Err(Fault::Protocol("the body is too large"));
    }
    let before = body.len();
    from.take(n as u64).read_to_end(body)?;
    if body.len() - before < n {
        return Err(Fault::Io(std::io::ErrorKind::UnexpectedEof.into()));
    }
    Ok(())
}

fn read_chunks(from: &mut impl BufRead) -> Result<Vec<u8>, Fault> {
    let mut body = Vec::new();
    loop {
        let line = read_line(from)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(size, 16)
            .map_err(|_| Fault::Protocol("the size of a chunk is not a number"))?;
        if size == 0 {
            break;
        }
        read_part(from, &mut body, size)?;
        if !read_line(from)?.is_empty() {
            return Err(Fault::Protocol("a chunk is longer than its size"));
        }
    }
    for _ in 0..MAX_LINES {
        if read_line(from)?.is_empty() {
            return Ok(body);
        }
    }
    Err(Fault::Protocol("it has too many trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Answers one connection with `answer`; gives what `get` made of it, and the request.
    fn ask(answer: &[u8], path: &str, timeout: Duration) -> (Result<Response, Error>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/base/", listener.local_addr().unwrap());
        let answer = answer.to_vec();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            // The client may have seen enough and be gone.
            let _ = stream.write_all(&answer);
            if answer.is_empty() {
                let _ = stream.read(&mut [0]);
            }
            String::from_utf8(request).unwrap()
        });
        let got = get(&url, path, timeout);
        (got, server.join().unwrap())
    }

    fn check(answer: &str, want: Result<(u16, &str), &str>) {
        let (got, _) = ask(answer.as_bytes(), "/x", Duration::from_secs(60));
        match (got, want) {
            (Ok(got), Ok((status, body))) => {
                assert_eq!(got.status, status, "{answer}");
                assert_eq!(got.body, body.as_bytes(), "{answer}");
            }
            (Err(got), Err(want)) => assert!(got.to_string().contains(want), "{got}"),
            (got, want) => panic!("{answer}: {got:?}, not {want:?}"),
        }
    }

    #[test]
    fn bodies_are_read() {
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhixx",
            Ok((200, "hi")),
        );
        check(
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 3\r\n\r\nbad",
            Ok((400, "bad")),
        );
        check(
            "HTTP/1.0 200 OK\r\n\r\nuntil the end",
            Ok((200, "until the end")),
        );
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, "")));
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nhi\r\nA\r\n 0123456 8\r\n0\r\nT: r\r\n\r\n",
            Ok((200, "hi 0123456 8")),
        );
    }

    #[test]
    fn p9_hostile_answers_are_errors() {
        check("SSH-2.0\r\n", Err("does not begin"));
        check("HTTP/1.1 abc\r\n\r\n", Err("does not begin"));
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            Err("not a number"),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi",
            Err("no answer"),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nhi",
            Err("too large"),
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            Err("size of a chunk"),
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nhi\r\n0\r\n\r\n",
            Err("longer than its size"),
        );
        check(
            &format!("HTTP/1.1 200 {}", "x".repeat(MAX_LINE)),
            Err("endless"),
        );
        check(
            &format!("HTTP/1.1 200 OK\r\n{}", "a: b\r\n".repeat(MAX_LINES + 1)),
            Err("too many headers"),
        );
    }

    #[test]
    fn a_request_has_path_and_host() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let path = format!("/q?query={}", encode("{a=\"b c\"}"));
        let (_, request) = ask(answer, &path, Duration::from_secs(60));
        assert!(
            request.starts_with(
                "GET /base/q?query=%7Ba%3D%22b%20c%22%7D HTTP/1.1\r\nHost: 127.0.0.1:"
            ),
            "{request}"
        );
    }

    #[test]
    fn silence_is_a_timeout() {
        let (got, _) = ask(b"", "/x", Duration::from_millis(50));
        assert!(got.unwrap_err().to_string().contains("no answer"));
    }

    #[test]
    fn urls_are_checked() {
        for (url, want) in [
            ("https://x", "https is not supported"),
            ("localhost:3100", "must start with http://"),
            ("http://", "names no host"),
            ("http://a b", "holds blanks"),
            ("http://u:p@x", "passwords"),
            ("http://x/?a=b", "query"),
        ] {
            let got = get(url, "/", Duration::from_secs(1))
                .unwrap_err()
                .to_string();
            assert!(got.contains(want), "{got}");
        }
        let get = |url| parse_url(url).map(|t| (t.address, t.base)).unwrap();
        assert_eq!(get("http://x"), ("x:80".to_owned(), ""));
        assert_eq!(get("http://x:1/a/"), ("x:1".to_owned(), "/a"));
        assert_eq!(get("http://[::1]/"), ("[::1]:80".to_owned(), ""));
        assert_eq!(get("http://[::1]:3100"), ("[::1]:3100".to_owned(), ""));
    }
}
