//! One connection: what it is doing, until when it must have done it, and a socket that gives up on a client that does
//! not read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep};

/// Shared by the socket, the requests and the task of a connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// When the connection is cut if what it is doing is not done.
    deadline: watch::Sender<Option<Instant>>,
    /// From a complete head to the end of the answer.
    busy: AtomicBool,
    header_timeout: Duration,
}

impl Connection {
    pub(super) fn new(
        header_timeout: Duration,
    ) -> (Arc<Connection>, watch::Receiver<Option<Instant>>) {
        let (deadline, watched) = watch::channel(None);
        let connection = Connection {
            deadline,
            busy: AtomicBool::new(false),
            header_timeout,
        };
        (Arc::new(connection), watched)
    }

    /// A head is complete: requests have deadlines of their own.
    pub(super) fn begin(&self) {
        self.busy.store(true, Ordering::Relaxed);
        self.deadline.send_replace(None);
    }

    /// A long answer begins, which the client has to take within `limit`.
    pub(super) fn stream(&self, limit: Duration) {
        self.deadline.send_replace(Some(Instant::now() + limit));
    }

    /// The answer was handed to the socket.
    pub(super) fn end(&self) {
        self.busy.store(false, Ordering::Relaxed);
        self.deadline.send_replace(None);
    }

    fn bytes_came(&self) {
        if self.busy.load(Ordering::Relaxed) {
            return;
        }
        // The first byte of a head starts its time; later ones do not prolong it.
        self.deadline.send_if_modified(|at| {
            let first = at.is_none();
            if first {
                *at = Some(Instant::now() + self.header_timeout);
            }
            first
        });
    }
}

/// The socket.
pub(super) struct Socket {
    inner: TokioIo<TcpStream>,
    connection: Arc<Connection>,
    write_timeout: Duration,
    /// Runs while the client does not read.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Socket {
    pub(super) fn new(
        stream: TcpStream,
        connection: Arc<Connection>,
        write_timeout: Duration,
    ) -> Socket {
        Socket {
            inner: TokioIo::new(stream),
            connection,
            write_timeout,
            stalled: None,
        }
    }

    fn guard<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let limit = self.write_timeout;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl Read for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        self.connection.bytes_came();
        Poll::Ready(result)
    }
}

impl Write for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.guard(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.guard(cx, done)
    }
}
