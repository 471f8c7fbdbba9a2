//! A listing made in the middle of a rename or of a compression shows a file under neither name. Nothing is read again
//! for that.

use std::time::Instant;

use super::*;
use crate::config::Config;
use crate::labels::PodName;

struct Fixture {
    config: Config,
    next_id: u64,
    may_open: usize,
    now: Instant,
}

impl Fixture {
    fn new() -> Fixture {
        Fixture {
            config: Config::default(),
            next_id: 0,
            may_open: 8,
            now: Instant::now(),
        }
    }

    fn instance(&self, known: Option<Vec<FilePosition>>) -> Instance {
        let pod = PodName::parse("ns_pod_00000000-aaaa-bbbb-cccc-000000000000").expect("a pod");
        Instance::new(0, 0, b"key".to_vec(), pod.into(), "c".into(), known)
    }

    fn env(&mut self) -> Env<'_> {
        Env {
            stats: &self.config.stats,
            timing: &self.config.timing,
            next_id: &mut self.next_id,
            start_at: StartAt::Beginning,
            first: false,
            may_open: &mut self.may_open,
            now: self.now,
        }
    }
}

fn offsets(instance: &Instance) -> Vec<[u64; 2]> {
    let mut bytes = Vec::new();
    instance.encode_position(&mut bytes);
    let files = position::decode(&bytes).expect("decodes");
    files.iter().map(|f| f.offsets).collect()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "stands for the kubelet")]
fn a_file_missing_from_one_listing_is_not_read_again() {
    let temp = tempfile::tempdir().expect("temporary directory");
    let record = b"2026-11-20T09:27:56Z stdout F a line of the file\n";
    std::fs::write(temp.path().join("0.log.20261120-092756"), record).expect("write");
    let (listed, _) = files::list_logs(temp.path()).expect("list");
    let mut fixture = Fixture::new();
    // As after a start, with the stored position of a file that is taken to its end.
    let stored = FilePosition {
        inode: listed[0].identity.inode,
        btime: listed[0].identity.btime,
        fingerprint: files::fingerprint(record),
        offsets: [record.len() as u64; 2],
        complete: true,
    };
    let mut instance = fixture.instance(Some(vec![stored]));
    for listing in [&[][..], &listed, &[], &[], &listed] {
        instance.reconcile(listing, &mut fixture.env());
        assert_eq!(
            offsets(&instance),
            [[record.len() as u64; 2]],
            "{listing:?}"
        );
    }
    assert!(instance.files[0].complete && !instance.files[0].dirty);
    // A file that stays away is forgotten.
    instance.reconcile(&[], &mut fixture.env());
    fixture.now += fixture.config.timing.rescan;
    instance.reconcile(&[], &mut fixture.env());
    assert_eq!(offsets(&instance), Vec::<[u64; 2]>::new());
}
