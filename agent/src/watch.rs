//! inotify: one instance, a watch per directory; or nothing, when the kernel refuses.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use inotify::{Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;

use crate::config::Faults;

/// Room for events of one read; at least one event with the longest name (272 bytes).
pub(crate) const EVENT_BYTES: usize = 16 * 1024;

/// The inotify instance.
#[derive(Debug)]
pub(crate) struct Watcher {
    fd: AsyncFd<Inotify>,
    watches: Watches,
    faults: Arc<Faults>,
}

impl Watcher {
    /// Asks the kernel for an instance. `EMFILE` means that this user's instances are used up.
    pub(crate) fn new(faults: Arc<Faults>) -> io::Result<Watcher> {
        if faults.refuse_inotify.load(Ordering::Relaxed) {
            return Err(Errno::MFILE.into());
        }
        let inotify = Inotify::init()?;
        let watches = inotify.watches();
        #[expect(
            deprecated,
            reason = "its successor is unsafe; the instance owns its descriptor and outlives the registration"
        )]
        let fd = AsyncFd::with_interest(inotify, tokio::io::Interest::READABLE)?;
        Ok(Watcher {
            fd,
            watches,
            faults,
        })
    }

    /// Watches a directory. `ENOSPC` means that this user's watches are used up.
    pub(crate) fn add(&mut self, dir: &Path) -> io::Result<WatchDescriptor> {
        if self.faults.refuse_watch.load(Ordering::Relaxed) {
            return Err(Errno::NOSPC.into());
        }
        let mask = WatchMask::CREATE
            | WatchMask::MOVED_FROM
            | WatchMask::MOVED_TO
            | WatchMask::MODIFY
            | WatchMask::CLOSE_WRITE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR;
        self.watches.add(dir, mask)
    }

    pub(crate) fn remove(&mut self, wd: WatchDescriptor) {
        // The kernel has removed it already when its directory is gone.
        let _ = self.watches.remove(wd);
    }

    /// Completes when there are events to read.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        loop {
            let mut guard = self.fd.readable().await?;
            if rustix::io::ioctl_fionread(self.fd.get_ref())? > 0 {
                return Ok(());
            }
            guard.clear_ready();
        }
    }

    /// Reads events without waiting; `None` when there are none.
    pub(crate) fn read<'a>(
        &mut self,
        buffer: &'a mut [u8],
    ) -> io::Result<Option<inotify::Events<'a>>> {
        match self.fd.get_mut().read_events(buffer) {
            Ok(events) => Ok(Some(events)),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(e) => Err(e),
        }
    }
}
