//! Both readers under the same cases: whatever the one answers, the other answers.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests write the files that they read"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use agent::tail::pread::PreadReader;
use agent::tail::probe::{self, Chosen, ProbeReport, ReaderChoice};
use agent::tail::read::{self, AnyReader, ReadRequest, Reader, Results, SLOT_BYTES, SLOTS};
use agent::tail::uring::UringReader;

/// One outcome of a request: the bytes, or the error number.
type Outcome = Result<Vec<u8>, Option<i32>>;

/// The report that makes [`read::run`] use one reader; a missing ring fails the test in words.
fn report(choice: ReaderChoice, fixed_buffers: bool) -> ProbeReport {
    let report = probe::probe(choice, Path::new("/")).unwrap_or_else(|error| {
        panic!(
            "this test needs io_uring, which this machine does not give: {}",
            error.detail
        )
    });
    ProbeReport {
        fixed_buffers: report.fixed_buffers && fixed_buffers,
        ..report
    }
}

/// Runs `body` with each reader: `pread`, ring with registered buffers, ring with plain ones.
fn each_reader(body: impl AsyncFn(&mut AnyReader)) {
    let reports = [
        (report(ReaderChoice::Pread, false), "pread", false),
        (report(ReaderChoice::Uring, true), "uring", true),
        (report(ReaderChoice::Uring, false), "uring", false),
    ];
    for (report, kind, registered) in reports {
        read::run(&report, async |mut reader: AnyReader| {
            assert_eq!(reader.kind(), kind);
            if let AnyReader::Uring(ring) = &reader {
                assert_eq!(
                    ring.registered(),
                    registered,
                    "memory-lock limit: `ulimit -l` must allow 1 MiB"
                );
            }
            body(&mut reader).await;
        })
        .unwrap_or_else(|error| panic!("no runtime for {kind}: {error}"));
    }
}

async fn read_batch(reader: &mut AnyReader, requests: &[(&File, u64)]) -> Vec<Outcome> {
    let requests: Vec<_> = requests
        .iter()
        .map(|&(file, offset)| ReadRequest { file, offset })
        .collect();
    let mut results = Results::new();
    // Something left over from an earlier batch must not show.
    results.push(Err(io::ErrorKind::Other.into())).unwrap();
    reader.read_batch(&requests, &mut results).await;
    assert_eq!(results.len(), requests.len());
    let outcome = |(slot, result): (usize, &io::Result<usize>)| match result {
        Ok(n) => {
            assert_eq!(reader.buffer(slot).len(), *n);
            Ok(reader.buffer(slot).to_vec())
        }
        Err(error) => {
            assert_eq!(reader.buffer(slot), b"", "no bytes after an error");
            Err(error.raw_os_error())
        }
    };
    let outcomes = results.iter().enumerate().map(outcome).collect();
    for slot in requests.len()..SLOTS {
        assert_eq!(reader.buffer(slot), b"", "slot {slot} was not asked for");
    }
    outcomes
}

/// Each reader must give `expected` for `requests`, twice in a row.
fn check(requests: &[(&File, u64)], expected: &[Outcome]) {
    each_reader(async |reader| {
        for _ in 0..2 {
            let outcomes = read_batch(reader, requests).await;
            for (i, (got, want)) in outcomes.iter().zip(expected).enumerate() {
                assert!(
                    got == want,
                    "{} request {i}: {:?} instead of {:?}",
                    reader.kind(),
                    shorten(got),
                    shorten(want)
                );
            }
            assert_eq!(outcomes.len(), expected.len());
        }
    });
}

fn shorten(outcome: &Outcome) -> Result<(usize, Vec<u8>), Option<i32>> {
    outcome
        .clone()
        .map(|bytes| (bytes.len(), bytes[..bytes.len().min(40)].to_vec()))
}

/// `len` bytes that differ from file to file and from page to page.
fn pattern(seed: usize, len: usize) -> Vec<u8> {
    (0..len).map(|i| (seed * 31 + i + i / 4096) as u8).collect()
}

fn file_with(dir: &Path, name: &str, bytes: &[u8]) -> File {
    std::fs::write(dir.join(name), bytes).unwrap();
    File::open(dir.join(name)).unwrap()
}

#[test]
fn offsets_around_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let bytes = pattern(1, 10_000);
    let file = file_with(dir.path(), "0.log", &bytes);
    check(
        &[
            (&file, 0),
            (&file, 1),
            (&file, 9_999),
            (&file, 10_000),
            (&file, 10_001),
            (&file, i64::MAX as u64),
            (&file, u64::MAX),
        ],
        &[
            Ok(bytes.clone()),
            Ok(bytes[1..].to_vec()),
            Ok(bytes[9_999..].to_vec()),
            Ok(vec![]),
            Ok(vec![]),
            after_the_last(&file),
            Err(Some(rustix::io::Errno::INVAL.raw_os_error())),
        ],
    );
}

/// What the system itself answers at the largest offset: an empty read or an error, by kernel and file system.
fn after_the_last(file: &File) -> Outcome {
    match file.read_at(&mut vec![0; SLOT_BYTES], i64::MAX as u64) {
        Ok(n) => Ok(vec![0; n]),
        Err(error) => Err(error.raw_os_error()),
    }
}

#[test]
fn empty_batch_and_empty_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = file_with(dir.path(), "0.log", b"");
    check(&[], &[]);
    check(&[(&file, 0)], &[Ok(vec![])]);
}

#[test]
fn buffers_hold_one_slot_each() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [
        SLOT_BYTES - 1,
        SLOT_BYTES,
        SLOT_BYTES + 1,
        3 * SLOT_BYTES,
        1,
        4096,
        16_384,
        0,
    ];
    let contents: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(i, n)| pattern(i, *n))
        .collect();
    let files: Vec<_> = contents
        .iter()
        .enumerate()
        .map(|(i, bytes)| file_with(dir.path(), &format!("{i}.log"), bytes))
        .collect();
    let requests: Vec<_> = files.iter().map(|file| (file, 0)).collect();
    let expected: Vec<Outcome> = contents
        .iter()
        .map(|bytes| Ok(bytes[..bytes.len().min(SLOT_BYTES)].to_vec()))
        .collect();
    check(&requests, &expected);
    check(
        &[
            (&files[3], SLOT_BYTES as u64),
            (&files[3], 2 * SLOT_BYTES as u64),
        ],
        &[
            Ok(contents[3][SLOT_BYTES..2 * SLOT_BYTES].to_vec()),
            Ok(contents[3][2 * SLOT_BYTES..].to_vec()),
        ],
    );
}

#[test]
fn an_error_belongs_to_its_request() {
    let dir = tempfile::tempdir().unwrap();
    let file = file_with(dir.path(), "0.log", b"good");
    let directory = File::open(dir.path()).unwrap();
    let write_only = OpenOptions::new()
        .write(true)
        .open(dir.path().join("0.log"))
        .unwrap();
    check(
        &[
            (&file, 0),
            (&directory, 0),
            (&file, 2),
            (&write_only, 0),
            (&file, 4),
        ],
        &[
            Ok(b"good".to_vec()),
            Err(Some(rustix::io::Errno::ISDIR.raw_os_error())),
            Ok(b"od".to_vec()),
            Err(Some(rustix::io::Errno::BADF.raw_os_error())),
            Ok(vec![]),
        ],
    );
}

#[test]
fn a_file_grows_shrinks_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    each_reader(async |reader| {
        let path = dir.path().join("0.log");
        let file = file_with(dir.path(), "0.log", b"one\n");
        let writer = OpenOptions::new().write(true).open(&path).unwrap();
        let mut expect = async |offset, bytes: &[u8]| {
            assert_eq!(
                read_batch(reader, &[(&file, offset)]).await,
                [Ok(bytes.to_vec())]
            );
        };
        expect(0, b"one\n").await;
        expect(4, b"").await;
        writer.write_all_at(b"two\n", 4).unwrap();
        expect(4, b"two\n").await;
        std::fs::rename(&path, dir.path().join("0.log.20240101-000000")).unwrap();
        writer.write_all_at(b"late\n", 8).unwrap();
        expect(8, b"late\n").await;
        writer.set_len(2).unwrap();
        expect(8, b"").await;
        expect(0, b"on").await;
        writer.write_all_at(b"x", 10).unwrap();
        expect(0, b"on\0\0\0\0\0\0\0\0x").await;
        std::fs::remove_file(dir.path().join("0.log.20240101-000000")).unwrap();
        expect(10, b"x").await;
    });
}

/// The number of a closed descriptor is given out again: nothing of the file that had it may show.
#[test]
fn a_descriptor_number_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    each_reader(async |reader| {
        let mut numbers = Vec::new();
        for i in 0..20 {
            let bytes = pattern(i, 100 + i);
            let file = file_with(dir.path(), &format!("{i}.log"), &bytes);
            let fd = std::os::fd::AsRawFd::as_raw_fd(&file);
            assert_eq!(read_batch(reader, &[(&file, 0)]).await, [Ok(bytes)]);
            numbers.push(fd);
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert!(
            numbers.len() < 20,
            "no number was used again: this tests nothing"
        );
    });
}

/// A batch given up in flight (shutdown) neither hangs nor shows its bytes, and the reader goes on.
#[test]
fn a_dropped_batch() {
    let dir = tempfile::tempdir().unwrap();
    let file = file_with(dir.path(), "0.log", b"text");
    each_reader(async |reader| {
        for _ in 0..20 {
            let requests = [ReadRequest {
                file: &file,
                offset: 0,
            }];
            let mut results = Results::new();
            {
                let mut batch = std::pin::pin!(reader.read_batch(&requests, &mut results));
                std::future::poll_fn(|cx| {
                    let _ = batch.as_mut().poll(cx);
                    std::task::Poll::Ready(())
                })
                .await;
            }
            // The second slot was not given up; waiting for its read lets the first one come back.
            loop {
                let [first, second] = &read_batch(reader, &[(&file, 0), (&file, 1)]).await[..]
                else {
                    panic!("two requests, two results");
                };
                assert_eq!(second, &Ok(b"ext".to_vec()));
                if first == &Ok(b"text".to_vec()) {
                    break;
                }
                assert_eq!(first, &Err(None), "busy, or the text");
            }
        }
    });
}

/// tmpfs reads complete on a kernel worker thread, later than the submission: the results still belong together.
#[test]
fn reads_that_complete_later() {
    let shm = Path::new("/dev/shm");
    let dir = tempfile::tempdir_in(shm)
        .unwrap_or_else(|error| panic!("this test needs a tmpfs at /dev/shm: {error}"));
    let contents: Vec<_> = (0..SLOTS).map(|i| pattern(i, 10_000 + i)).collect();
    let files: Vec<_> = (0..SLOTS)
        .map(|i| file_with(dir.path(), &format!("{i}.log"), &contents[i]))
        .collect();
    let requests: Vec<_> = files.iter().map(|file| (file, 7)).collect();
    let expected: Vec<Outcome> = contents
        .iter()
        .map(|bytes| Ok(bytes[7..].to_vec()))
        .collect();
    check(&requests, &expected);
}

#[test]
fn timers_and_tasks_work_in_both_runtimes() {
    for choice in [ReaderChoice::Pread, ReaderChoice::Uring] {
        let report = report(choice, true);
        let answer = read::run(&report, async |_| {
            let task = tokio::task::spawn_local(async { 41 });
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            task.await.unwrap() + 1
        });
        assert_eq!(answer.unwrap(), 42);
    }
}

#[test]
#[should_panic(expected = "16 requests in a batch of at most 8")]
fn too_many_requests_for_pread() {
    let file = File::open("/dev/null").unwrap();
    let requests = [ReadRequest {
        file: &file,
        offset: 0,
    }; 16];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(PreadReader::new().read_batch(&requests, &mut Results::new()));
}

#[test]
#[should_panic(expected = "16 requests in a batch of at most 8")]
fn too_many_requests_for_the_ring() {
    let file = File::open("/dev/null").unwrap();
    let requests = [ReadRequest {
        file: &file,
        offset: 0,
    }; 16];
    let report = report(ReaderChoice::Uring, false);
    let runtime = agent::tail::uring::runtime(report.entries).unwrap();
    runtime.block_on(async {
        let mut reader = UringReader::new(false);
        reader.read_batch(&requests, &mut Results::new()).await;
    });
}

#[test]
fn the_probe_of_this_machine() {
    let auto = probe::probe(ReaderChoice::Auto, Path::new("/proc/no/such/dir")).unwrap();
    assert_eq!(
        auto.chosen,
        Chosen::Pread,
        "no ring on procfs: {}",
        auto.detail
    );
    let configured = probe::probe(ReaderChoice::Pread, Path::new("/")).unwrap();
    assert!(configured.forced && configured.chosen == Chosen::Pread);
    let ring = report(ReaderChoice::Uring, true);
    assert!(ring.forced && ring.chosen == Chosen::Uring && ring.entries >= SLOTS as u32);
}

/// `auto` reads, whatever the kernel allows. `DRUPELET_EXPECT_READER` (`pread`, `uring`) and `DRUPELET_EXPECT_REASON`
/// say what must have been chosen: tests/scripts/check_readers.sh runs this test under filters and limits.
#[test]
fn auto_reads_whatever_the_kernel_allows() {
    let dir = tempfile::tempdir().unwrap();
    let contents: Vec<_> = (0..SLOTS).map(|i| pattern(i, 5_000)).collect();
    let files: Vec<_> = (0..SLOTS)
        .map(|i| file_with(dir.path(), &format!("{i}.log"), &contents[i]))
        .collect();
    let report = probe::probe(ReaderChoice::Auto, dir.path()).unwrap();
    if let Ok(expected) = std::env::var("DRUPELET_EXPECT_READER") {
        assert_eq!(report.chosen.as_str(), expected, "{}", report.detail);
        let forced = probe::probe(ReaderChoice::Uring, dir.path());
        assert_eq!(forced.is_ok(), expected == "uring", "{forced:?}");
    }
    if let Ok(expected) = std::env::var("DRUPELET_EXPECT_REASON") {
        assert_eq!(report.reason.as_str(), expected, "{}", report.detail);
    }
    read::run(&report, async |mut reader: AnyReader| {
        let requests: Vec<_> = files.iter().map(|file| (file, 1)).collect();
        let expected: Vec<Outcome> = contents
            .iter()
            .map(|bytes| Ok(bytes[1..].to_vec()))
            .collect();
        assert_eq!(reader.kind(), report.chosen.as_str());
        assert_eq!(read_batch(&mut reader, &requests).await, expected);
    })
    .unwrap();
}
