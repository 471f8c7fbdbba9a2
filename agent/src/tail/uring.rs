//! The reader that hands the kernel a batch in one submission.
//!
//! `tokio-uring` drives the ring. Its operations own what they use, the agent's files and buffers are borrowed by
//! batch; two things bridge that without a copy or an allocation per read:
//!
//! - **Files.** An operation keeps a `tokio_uring::fs::File`, which closes its descriptor when dropped. `Handles` has
//!   one per descriptor *number*, never dropped: it is only the number, so it cannot go stale when the caller closes
//!   the file and the number is used again. The request's borrow keeps the descriptor open until the read is done.
//! - **Buffers.** A slot's buffer moves into the operation and comes back with its result. Dropping a batch in flight
//!   leaves buffer and operation with the runtime until the kernel is done, so the kernel never writes to freed memory.
//!
//! All reads of a batch are queued by the first poll of [`Reader::read_batch`] and submitted together when the thread
//! parks: one `io_uring_enter` for a batch. Registered buffers spare the kernel the page lookups of each read; where
//! the memory-lock limit does not allow them, plain ones are used.
//!
//! Measured by `agent/examples/reader_cost.rs` (50 files, ext4, cached, CPU ns a read, x86-64, Linux 6.18): `pread` 159,
//! 276, 696, 3394 for 0 B, 512 B, 16 KiB, 64 KiB; this reader 640, 783, 1265, 4015. A bare ring with registered buffers
//! takes 187, 330, 792, 3376: the half microsecond beyond is tokio-uring's bookkeeping and the trip through epoll.
//! What it may have for it, not yet measured: eight reads at once where the bytes have to come from the card.

#![expect(
    unsafe_code,
    reason = "descriptors borrowed by number, buffers registered with a ring"
)]

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::mem::ManuallyDrop;
use std::os::fd::{AsRawFd, FromRawFd, RawFd};
use std::os::unix::fs::FileExt;

use io_uring::{IoUring, Probe, opcode, types};
use tokio_uring::buf::fixed::{FixedBuf, FixedBufRegistry};

use super::read::{ReadRequest, Reader, Results, SLOT_BYTES, SLOTS};

/// Entries of the submission queue. More than a batch needs, and small enough for a memory-lock limit of 16 KiB, where
/// the 256 that tokio-uring would take fail.
pub const ENTRIES: u32 = 64;

/// Entries to try where [`ENTRIES`] exceed the memory-lock limit: one batch.
pub const ENTRIES_SMALL: u32 = 8;

const _: () = assert!(ENTRIES_SMALL as usize >= SLOTS);

/// How often one read is submitted again after EINTR or EAGAIN before its error is handed out.
const RETRIES_MAX: u32 = 4;

/// Makes a tokio runtime with a ring for the calling thread.
///
/// # Errors
/// As `io_uring_setup`. Each failure leaks about four descriptors (tokio-uring 0.5): probe first, do not try in a loop.
pub fn runtime(entries: u32) -> io::Result<tokio_uring::Runtime> {
    let mut builder = tokio_uring::builder();
    builder.entries(entries);
    tokio_uring::Runtime::new(&builder)
}

/// A buffer while no operation has it.
enum SlotBuf {
    Registered(FixedBuf),
    Plain(Vec<u8>),
}

impl SlotBuf {
    fn bytes(&self) -> &[u8] {
        match self {
            SlotBuf::Registered(buf) => buf,
            SlotBuf::Plain(buf) => buf,
        }
    }
}

/// tokio-uring's idea of a file, by descriptor number. Grows to the highest number seen, which the process's limit on
/// descriptors bounds.
#[derive(Default)]
struct Handles(Vec<Option<ManuallyDrop<tokio_uring::fs::File>>>);

impl Handles {
    fn prepare(&mut self, fd: RawFd) -> usize {
        let index = usize::try_from(fd).expect("an open file has a descriptor >= 0");
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index].get_or_insert_with(|| {
            // SAFETY: the number is not owned by this object: ManuallyDrop keeps it from ever being closed here. Reads
            // are queued with it only while the request borrows the open file that it belongs to. A batch dropped
            // before its submission may read from whatever has the number by then; those bytes are thrown away.
            ManuallyDrop::new(unsafe { tokio_uring::fs::File::from_raw_fd(fd) })
        });
        index
    }

    fn get(&self, index: usize) -> &tokio_uring::fs::File {
        self.0[index].as_ref().expect("prepared")
    }
}

/// Reads through the ring of the tokio-uring runtime that it was made in.
pub struct UringReader {
    handles: Handles,
    /// `None` while an operation has the buffer.
    slots: [Option<SlotBuf>; SLOTS],
    lens: [usize; SLOTS],
    /// Registered buffers find their way back here when a batch was dropped in flight.
    registry: Option<FixedBufRegistry<Vec<u8>>>,
}

impl UringReader {
    /// A reader with empty buffers: [`SLOTS`] times [`SLOT_BYTES`] of memory, pinned if `registered`. Registration that
    /// fails (memory-lock limit) is logged and done without.
    ///
    /// # Panics
    /// Outside of a tokio-uring runtime.
    #[must_use]
    pub fn new(registered: bool) -> Self {
        let registry = if registered { Self::register() } else { None };
        let slot = |index| match &registry {
            Some(registry) => registry.check_out(index).map(SlotBuf::Registered),
            None => Some(SlotBuf::Plain(Vec::with_capacity(SLOT_BYTES))),
        };
        UringReader {
            handles: Handles::default(),
            slots: std::array::from_fn(slot),
            lens: [0; SLOTS],
            registry,
        }
    }

    fn register() -> Option<FixedBufRegistry<Vec<u8>>> {
        let buffers = (0..SLOTS).map(|_| Vec::with_capacity(SLOT_BYTES));
        let registry = FixedBufRegistry::new(buffers);
        match registry.register() {
            Ok(()) => Some(registry),
            Err(error) => {
                tracing::info!(%error, "no registered read buffers, using plain ones (raise LimitMEMLOCK to 8M)");
                None
            }
        }
    }

    /// Whether the buffers are registered with the ring.
    #[must_use]
    pub fn registered(&self) -> bool {
        self.registry.is_some()
    }

    /// The slot's buffer, or a new one for a plain slot that a dropped batch has kept.
    fn take(&mut self, slot: usize) -> io::Result<SlotBuf> {
        if let Some(buf) = self.slots[slot].take() {
            return Ok(buf);
        }
        match &self.registry {
            None => Ok(SlotBuf::Plain(Vec::with_capacity(SLOT_BYTES))),
            Some(registry) => registry
                .check_out(slot)
                .map(SlotBuf::Registered)
                .ok_or_else(|| io::ErrorKind::ResourceBusy.into()),
        }
    }
}

impl Drop for UringReader {
    fn drop(&mut self) {
        if let Some(registry) = &self.registry
            && let Err(error) = registry.unregister()
        {
            tracing::debug!(%error, "read buffers stay registered until the ring goes");
        }
    }
}

impl std::fmt::Debug for UringReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UringReader")
            .field("registered", &self.registered())
            .field("lens", &self.lens)
            .finish_non_exhaustive()
    }
}

/// A read that is ready to be queued, or the reason why it is not.
struct Job<'a> {
    file: &'a tokio_uring::fs::File,
    offset: u64,
    buf: SlotBuf,
}

type Done = (io::Result<usize>, Option<SlotBuf>);

async fn read(job: Option<io::Result<Job<'_>>>) -> Option<Done> {
    let mut job = match job? {
        Ok(job) => job,
        Err(error) => return Some((Err(error), None)),
    };
    let mut retries = 0;
    loop {
        let result;
        (result, job.buf) = match job.buf {
            SlotBuf::Registered(buf) => {
                let (result, buf) = job.file.read_fixed_at(buf, job.offset).await;
                (result, SlotBuf::Registered(buf))
            }
            SlotBuf::Plain(buf) => {
                let (result, buf) = job.file.read_at(buf, job.offset).await;
                (result, SlotBuf::Plain(buf))
            }
        };
        match &result {
            Err(error) if transient(error) && retries < RETRIES_MAX => retries += 1,
            _ => return Some((result, Some(job.buf))),
        }
    }
}

fn transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
    )
}

impl Reader for UringReader {
    fn slots(&self) -> usize {
        SLOTS
    }

    fn slot_bytes(&self) -> usize {
        SLOT_BYTES
    }

    async fn read_batch(&mut self, requests: &[ReadRequest<'_>], results: &mut Results) {
        assert!(
            requests.len() <= SLOTS,
            "{} requests in a batch of at most {SLOTS}",
            requests.len()
        );
        results.clear();
        self.lens = [0; SLOTS];
        let mut taken: [Option<(usize, io::Result<SlotBuf>)>; SLOTS] = [const { None }; SLOTS];
        for (slot, request) in requests.iter().enumerate() {
            let index = self.handles.prepare(request.file.as_raw_fd());
            // The ring takes an offset of -1 for "at the file's cursor"; pread refuses all negative ones.
            let buf = match i64::try_from(request.offset) {
                Ok(_) => self.take(slot),
                Err(_) => Err(rustix::io::Errno::INVAL.into()),
            };
            taken[slot] = Some((index, buf));
        }
        let handles = &self.handles;
        let mut slot = 0;
        let jobs = taken.map(|taken| {
            let (index, buf) = taken?;
            let offset = requests[slot].offset;
            slot += 1;
            Some(buf.map(|buf| Job {
                file: handles.get(index),
                offset,
                buf,
            }))
        });
        let [a, b, c, d, e, f, g, h] = jobs;
        // A join, not a task each: no allocation, and one poll queues all of them.
        let (a, b, c, d, e, f, g, h) = tokio::join!(
            read(a),
            read(b),
            read(c),
            read(d),
            read(e),
            read(f),
            read(g),
            read(h)
        );
        for (slot, (result, buf)) in [a, b, c, d, e, f, g, h].into_iter().flatten().enumerate() {
            if buf.is_some() {
                self.slots[slot] = buf;
            }
            if let Ok(n) = &result {
                self.lens[slot] = *n;
            }
            results.push(result).expect("SLOTS results fit");
        }
    }

    fn buffer(&self, slot: usize) -> &[u8] {
        match &self.slots[slot] {
            Some(buf) => &buf.bytes()[..self.lens[slot]],
            None => &[],
        }
    }

    fn kind(&self) -> &'static str {
        "uring"
    }
}

/// The step of a [`trial`] that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `io_uring_setup`.
    Setup,
    /// `io_uring_register` to ask for the supported operations.
    Operations,
    /// `io_uring_enter` with a read, or its result.
    Read,
}

/// Why a ring cannot be used here.
#[derive(Debug)]
pub struct Fault {
    /// Where.
    pub step: Step,
    /// The kernel's answer.
    pub error: io::Error,
}

/// What a ring can do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trial {
    /// Entries that the submission queue may have.
    pub entries: u32,
    /// Whether the buffers of a [`UringReader`] can be registered.
    pub fixed_buffers: bool,
}

/// Makes a ring, asks it what it can do and reads with it, once. A filter may allow the setup and refuse the rest.
///
/// # Errors
/// The first step that failed.
pub fn trial() -> Result<Trial, Fault> {
    let fault = |step| move |error| Fault { step, error };
    let (mut ring, entries) = match IoUring::new(ENTRIES) {
        Err(error) if error.kind() == io::ErrorKind::OutOfMemory => {
            IoUring::new(ENTRIES_SMALL).map(|ring| (ring, ENTRIES_SMALL))
        }
        other => other.map(|ring| (ring, ENTRIES)),
    }
    .map_err(fault(Step::Setup))?;
    let mut operations = Probe::new();
    ring.submitter()
        .register_probe(&mut operations)
        .map_err(fault(Step::Operations))?;
    if !operations.is_supported(opcode::Read::CODE) {
        return Err(fault(Step::Operations)(io::ErrorKind::Unsupported.into()));
    }
    read_with_ring(&mut ring).map_err(fault(Step::Read))?;
    let fixed_buffers = operations.is_supported(opcode::ReadFixed::CODE) && can_register(&ring);
    Ok(Trial {
        entries,
        fixed_buffers,
    })
}

/// Reads a known file with the ring and compares with `pread`.
fn read_with_ring(ring: &mut IoUring) -> io::Result<()> {
    const TEXT: &[u8] = b"drupelet reads this once through the ring and once through pread\n";
    let file = File::from(rustix::fs::memfd_create(
        "drupelet-probe",
        rustix::fs::MemfdFlags::CLOEXEC,
    )?);
    file.write_all_at(TEXT, 0)?;
    let mut expected = [0; TEXT.len()];
    file.read_exact_at(&mut expected, 0)?;
    let mut got = Box::new([0_u8; TEXT.len()]);
    let fd = types::Fd(file.as_raw_fd());
    let entry = opcode::Read::new(fd, got.as_mut_ptr(), TEXT.len() as u32)
        .offset(0)
        .build();
    // SAFETY: `got` outlives the operation: it is waited for below, and leaked when the wait itself fails. The kernel
    // holds the file by itself once the entry is submitted.
    unsafe { ring.submission().push(&entry) }.map_err(|_| io::ErrorKind::OutOfMemory)?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                Box::leak(got);
                return Err(error);
            }
            Ok(_) => break,
        }
    }
    let Some(done) = ring.completion().next() else {
        return Err(io::Error::other("the ring lost a read"));
    };
    if done.result() < 0 {
        return Err(io::Error::from_raw_os_error(-done.result()));
    }
    if done.result() as usize != TEXT.len() || *got != expected {
        return Err(io::Error::other("the ring read other bytes than pread"));
    }
    Ok(())
}

/// Whether as much memory as a [`UringReader`] has can be registered. The registration is taken back at once: it counts
/// against a limit that all processes of the user share, and a closing ring gives it back late.
fn can_register(ring: &IoUring) -> bool {
    let mut bytes = vec![0_u8; SLOTS * SLOT_BYTES];
    let slices: Vec<IoSliceMut<'_>> = bytes
        .chunks_exact_mut(SLOT_BYTES)
        .map(IoSliceMut::new)
        .collect();
    // SAFETY: IoSliceMut has the layout of iovec on Unix (std says so). The memory outlives the registration, and no
    // operation uses it.
    let registered = unsafe {
        let vectors = std::slice::from_raw_parts(slices.as_ptr().cast(), slices.len());
        ring.submitter().register_buffers(vectors)
    };
    registered.is_ok() && ring.submitter().unregister_buffers().is_ok()
}
