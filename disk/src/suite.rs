//! What every [`Disk`] must do, run on each of them.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use crate::real::RealDisk;
use crate::sim::SimDisk;
use crate::{Disk, File, Mode, Purpose, atomic};

/// Runs `test` on every implementation, in an empty directory.
fn check(test: impl Fn(&dyn Disk, &Path)) {
    let temp = tempfile::tempdir().expect("temporary directory");
    test(&RealDisk::new(), temp.path());
    let sim = SimDisk::new(1);
    sim.create_dir_all(Path::new("/data")).expect("mkdir");
    test(&sim, Path::new("/data"));
}

fn create(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Arc<dyn File> {
    let file = disk
        .open(path, Mode::CreateNew, Purpose::Segment)
        .expect("create");
    file.write_at(bytes, 0).expect("write");
    file
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    atomic::read(disk, path, 1 << 20).expect("read")
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    match result {
        Ok(_) => panic!("this should have failed"),
        Err(e) => e.kind(),
    }
}

#[test]
fn open_modes_create_and_refuse_as_documented() {
    check(|disk, dir| {
        let path = dir.join("a");
        let open = |mode| disk.open(&path, mode, Purpose::State);
        assert_eq!(kind(open(Mode::Read)), ErrorKind::NotFound);
        open(Mode::ReadWrite).unwrap().write_at(b"abc", 0).unwrap();
        assert_eq!(kind(open(Mode::CreateNew)), ErrorKind::AlreadyExists);
        assert_eq!(open(Mode::ReadWrite).unwrap().len().unwrap(), 3);
        assert!(open(Mode::Read).unwrap().write_at(b"x", 0).is_err());
        assert!(open(Mode::Read).unwrap().set_len(0).is_err());
        assert_eq!(content(disk, &path), b"abc");
        let nowhere = disk.open(&dir.join("no/a"), Mode::ReadWrite, Purpose::State);
        assert_eq!(kind(nowhere), ErrorKind::NotFound);
    });
}

#[test]
fn reads_and_writes_go_where_they_are_told() {
    check(|disk, dir| {
        let file = create(disk, &dir.join("a"), b"0123456789");
        file.write_at(b"XY", 3).unwrap();
        file.write_at(b"end", 12).unwrap();
        let mut buf = [7; 20];
        assert_eq!(file.read_at(&mut buf, 0).unwrap(), 15);
        assert_eq!(&buf[..15], b"012XY56789\0\0end");
        assert_eq!(file.read_at(&mut buf, 15).unwrap(), 0);
        assert_eq!(file.read_at(&mut buf, 1 << 40).unwrap(), 0);
        let short = file.read_exact_at(&mut buf, 0);
        assert_eq!(kind(short), ErrorKind::UnexpectedEof);
        file.set_len(4).unwrap();
        file.set_len(6).unwrap();
        file.sync().unwrap();
        assert_eq!(content(disk, &dir.join("a")), b"012X\0\0");
    });
}

#[test]
fn names_are_listed_in_order_renamed_and_removed() {
    check(|disk, dir| {
        let held = create(disk, &dir.join("b"), b"bb");
        create(disk, &dir.join("a"), b"a");
        disk.create_dir_all(&dir.join("c/d")).unwrap();
        disk.create_dir_all(&dir.join("c/d")).unwrap();
        let list = |dir: &Path| -> Vec<(String, u64, bool)> {
            let entries = disk.list(dir).unwrap().into_iter();
            entries.map(|e| (e.name, e.len, e.is_dir)).collect()
        };
        let entry = |name: &str, len, is_dir| (name.to_owned(), len, is_dir);
        let all = [
            entry("a", 1, false),
            entry("b", 2, false),
            entry("c", 0, true),
        ];
        assert_eq!(list(dir), all);
        disk.rename(&dir.join("a"), &dir.join("b")).unwrap();
        assert_eq!(list(dir), [entry("b", 1, false), entry("c", 0, true)]);
        disk.rename(&dir.join("b"), &dir.join("c/d/e")).unwrap();
        assert_eq!(list(&dir.join("c/d")), [entry("e", 1, false)]);
        let mut buf = [0; 2];
        held.read_exact_at(&mut buf, 0).unwrap();
        assert_eq!(&buf, b"bb", "a replaced file lives as long as its handle");
        disk.remove(&dir.join("c/d/e")).unwrap();
        assert_eq!(kind(disk.remove(&dir.join("c/d/e"))), ErrorKind::NotFound);
        let missing = disk.rename(&dir.join("x"), &dir.join("y"));
        assert_eq!(kind(missing), ErrorKind::NotFound);
        assert_eq!(kind(disk.list(&dir.join("x"))), ErrorKind::NotFound);
        disk.sync_dir(dir).unwrap();
        assert_eq!(kind(disk.sync_dir(&dir.join("x"))), ErrorKind::NotFound);
    });
}

#[test]
fn a_lock_excludes_a_second_holder_until_it_is_dropped() {
    check(|disk, dir| {
        let path = dir.join("lock");
        let guard = disk.lock(&path).unwrap();
        guard.set_note("a longer first note").unwrap();
        guard.set_note("process 1").unwrap();
        assert_eq!(kind(disk.lock(&path)), ErrorKind::WouldBlock);
        assert_eq!(content(disk, &path), b"process 1");
        drop(guard);
        disk.lock(&path).unwrap();
    });
}

#[test]
fn written_bytes_are_counted_by_purpose() {
    check(|disk, dir| {
        let before = disk.written();
        create(disk, &dir.join("a"), &[1; 700])
            .write_at(&[2; 50], 0)
            .unwrap();
        disk.lock(&dir.join("lock"))
            .unwrap()
            .set_note("12345")
            .unwrap();
        let after = disk.written().into_iter().zip(before);
        let grown: Vec<(Purpose, u64)> = after.map(|(a, b)| (a.0, a.1 - b.1)).collect();
        assert_eq!(
            grown,
            [
                (Purpose::Segment, 750),
                (Purpose::Compaction, 0),
                (Purpose::PushLog, 0),
                (Purpose::State, 5)
            ]
        );
    });
}

#[test]
fn space_is_known_and_plausible() {
    check(|disk, dir| {
        let space = disk.space(dir).unwrap();
        assert!(space.total >= space.available && space.total > 0);
        assert!(disk.space(&dir.join("x")).is_err());
    });
}

#[test]
fn replace_leaves_the_old_file_when_it_fails() {
    check(|disk, dir| {
        let (temporary, path) = (dir.join("a.tmp"), dir.join("a"));
        let replace = |bytes: &'static [u8], fail: bool| {
            atomic::replace(disk, &temporary, &path, Purpose::State, |file| {
                file.write_at(bytes, 0)?;
                if fail {
                    return Err(ErrorKind::Other.into());
                }
                Ok(())
            })
        };
        replace(b"one", false).unwrap();
        assert_eq!(kind(replace(b"two", true)), ErrorKind::Other);
        assert_eq!(content(disk, &path), b"one");
        assert_eq!(kind(disk.remove(&temporary)), ErrorKind::NotFound);
        create(disk, &temporary, b"left by a crash, longer than the rest");
        replace(b"three", false).unwrap();
        assert_eq!(content(disk, &path), b"three");
        assert_eq!(kind(atomic::read(disk, &path, 4)), ErrorKind::InvalidData);
    });
}

#[test]
fn writing_out_is_a_hint_that_changes_nothing() {
    check(|disk, dir| {
        let path = dir.join("file");
        let file = create(disk, &path, &[7; 100_000]);
        file.write_out(0, 60_000);
        file.write_out(60_000, 1 << 40);
        file.write_out(5, 0);
        file.write_at(b"x", 100_000).expect("write");
        file.sync().expect("sync");
        assert_eq!(content(disk, &path)[..2], [7, 7]);
        assert_eq!(content(disk, &path).len(), 100_001);
    });
}
