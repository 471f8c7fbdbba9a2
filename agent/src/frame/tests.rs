use super::*;
use proptest::prelude::*;

struct Run {
    framer: Framer,
    cursor: Cursor,
    chains: Chains,
    stats: Arc<Stats>,
    lines: Vec<(u8, i64, Vec<u8>)>,
}

const MAX_LINE: usize = 40_000;

impl Run {
    fn new() -> Run {
        let stats = Arc::new(Stats::default());
        Run {
            framer: Framer::new(MAX_LINE, 100_000, |_| "unknown", Arc::clone(&stats)),
            cursor: Cursor::new(1, [0, 0]),
            chains: [None, None],
            stats,
            lines: Vec::new(),
        }
    }

    /// Reads `file` to its end with buffers of `slot` bytes.
    fn read(&mut self, file: &[u8], slot: usize) {
        loop {
            let at = self.cursor.next_offset() as usize;
            let data = &file[at.min(file.len())..file.len().min(at + slot)];
            let before = self.cursor.next_offset();
            let context = Context {
                wants_level: true,
                late: [false; 2],
                full: data.len() == slot,
                now: 7,
            };
            let mut out = Out::default();
            self.framer
                .frame(context, &mut self.cursor, &mut self.chains, data, &mut out);
            self.take(data, &out);
            if self.cursor.next_offset() == before {
                return;
            }
        }
    }

    fn flush(&mut self) {
        let mut out = Out::default();
        for stream in 0..2 {
            self.framer
                .flush_chain(true, &mut self.chains, stream, &mut out);
        }
        self.take(&[], &out);
    }

    fn take(&mut self, data: &[u8], out: &Out) {
        for r in &out.recs {
            let from = if r.place == Place::Buffer {
                data
            } else {
                &out.scratch
            };
            let line = from[r.start as usize..][..r.len as usize].to_vec();
            self.lines.push((r.stream, r.ts, line));
        }
    }
}

const T: &str = "2026-11-20T09:27:56Z";
const NS: i64 = 1_795_166_876_000_000_000;

fn check(file: &str, want: &[(u8, i64, &str)]) {
    for slot in [file.len() + 1, 64 * 1024, 100, 31] {
        let mut run = Run::new();
        run.read(file.as_bytes(), slot);
        run.flush();
        let got: Vec<(u8, i64, &str)> = run
            .lines
            .iter()
            .map(|(s, t, l)| (*s, *t, std::str::from_utf8(l).unwrap()))
            .collect();
        assert_eq!(got, want, "slot {slot} of {file:?}");
        run.framer.drop_long(&mut run.cursor);
        assert_eq!(run.framer.held(), 0);
    }
}

#[test]
fn records_join_per_stream() {
    check(
        &format!("{T} stdout F a\n{T} stderr F:x  b\r\n{T} stdout F \n"),
        &[(0, NS, "a"), (1, NS, " b\r"), (0, NS, "")],
    );
    check(
        &format!(
            "{T} stdout P a\n2026-11-20T09:27:57Z stderr F e\n2026-11-20T09:27:57Z stdout P b\n{T} stdout F c\n"
        ),
        &[(1, NS + 1_000_000_000, "e"), (0, NS, "abc")],
    );
    check(&format!("{T} stdout P fatal\n"), &[(0, NS, "fatal")]);
    check(
        &format!("{T} stdout F a\n{T} stdout F torn"),
        &[(0, NS, "a")],
    );
}

#[test]
fn sizes_around_containerds_limit() {
    for n in [16_384, 16_385, 39_999, 40_000] {
        let text = "x".repeat(n);
        check(&format!("{T} stdout F {text}\n"), &[(0, NS, &text)]);
        let (a, b) = text.split_at(16_384);
        check(
            &format!("{T} stdout P {a}\n{T} stdout F {b}\n"),
            &[(0, NS, &text)],
        );
    }
}

#[test]
fn what_is_too_long_is_cut_and_counted() {
    let text = "x".repeat(MAX_LINE + 10);
    for file in [
        format!("{T} stdout F {text}\n{T} stdout F b\n"),
        format!(
            "{T} stdout P {}\n{T} stdout F {}\n{T} stdout F b\n",
            &text[..100],
            &text[100..]
        ),
        format!("{T} stdout F {text}{text}\n{T} stdout F b\n"),
    ] {
        for slot in [1 << 20, 1000] {
            let mut run = Run::new();
            run.read(file.as_bytes(), slot);
            let lens: Vec<usize> = run.lines.iter().map(|l| l.2.len()).collect();
            assert_eq!(lens, [MAX_LINE, 1]);
            assert!(run.stats.snapshot().truncated >= 1);
            assert!(run.stats.snapshot().truncated_bytes >= 10);
            assert_eq!(run.framer.held(), 0);
        }
    }
}

#[test]
fn damage_is_skipped_and_counted() {
    let zeros = "\0".repeat(5000);
    let file = format!(
        "{T} stdout F a\n{zeros}{T} stdout F b\n{zeros}\n{T} stdout F c\nno record\n{zeros}"
    );
    check(
        &file,
        &[
            (0, NS, "a"),
            (0, NS, "b"),
            (0, NS, "c"),
            (0, 7, "no record"),
        ],
    );
    let mut run = Run::new();
    run.read(file.as_bytes(), 1000);
    let stats = run.stats.snapshot();
    assert_eq!((stats.damaged, stats.malformed), (3, 1));
    assert_eq!(run.cursor.read_at as usize, file.len());
}

#[test]
fn a_malformed_line_ends_stdouts_open_line() {
    check(
        &format!("{T} stdout P a\n{T} stderr P e\njunk\n{T} stderr F f\n{T} stdout F b\n"),
        &[(0, NS, "a"), (0, 7, "junk"), (1, NS, "ef"), (0, NS, "b")],
    );
}

#[test]
fn docker_pieces_join_and_escapes_are_undone() {
    let d = |log: &str, stream: &str| {
        format!("{{\"log\":\"{log}\",\"stream\":\"{stream}\",\"time\":\"{T}\"}}\n")
    };
    let file = [
        d("plain\\n", "stdout"),
        d("p1", "stdout"),
        d("e\\\"1\\n", "stderr"),
        d("p2\\t\\n", "stdout"),
        d("\\n", "stderr"),
        "{broken\n".to_owned(),
        d("\\\\n", "stdout"),
    ]
    .concat();
    check(
        &file,
        &[
            (0, NS, "plain"),
            (1, NS, "e\"1"),
            (0, NS, "p1p2\t"),
            (1, NS, ""),
            (0, 7, "{broken"),
            (0, NS, "\\n"),
        ],
    );
}

#[test]
fn memory_for_unfinished_lines_is_bounded() {
    let mut run = Run::new();
    run.framer.max_held = 1000;
    let text = "x".repeat(3000);
    run.read(
        format!("{T} stdout P {text}\n{T} stderr P {text}\n").as_bytes(),
        1 << 20,
    );
    assert_eq!(run.framer.held(), 1000);
    run.flush();
    assert_eq!(run.stats.snapshot().truncated_bytes, 5000);
    assert_eq!(run.framer.held(), 0);
}

#[test]
fn zeros_and_their_line_feed_in_two_reads() {
    for slot in 1..6 {
        let mut run = Run::new();
        run.read(b"\0\0\0\n\0\n", slot);
        assert_eq!(run.lines, []);
        assert_eq!(run.stats.snapshot().damaged, 2, "slot {slot}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn p9_any_bytes_at_any_buffer_size_give_the_same_lines(
        pieces in prop::collection::vec(prop_oneof![
            Just(format!("{T} stdout F ").into_bytes()),
            Just(format!("{T} stderr P ").into_bytes()),
            Just(b"\n".to_vec()),
            Just(b"\0\0\0".to_vec()),
            Just(b"{\"log\":\"".to_vec()),
            prop::collection::vec(any::<u8>(), 0..40),
        ], 0..60),
        slot in 1usize..200,
    ) {
        let file = pieces.concat();
        let mut whole = Run::new();
        whole.read(&file, file.len() + 1);
        let mut parts = Run::new();
        parts.read(&file, slot);
        prop_assert_eq!(&whole.lines, &parts.lines);
        // Every byte is accounted for: taken, or still part of an unfinished record.
        let rest = &file[whole.cursor.read_at as usize..];
        prop_assert!(!rest.contains(&b'\n'));
        whole.flush();
        prop_assert_eq!(whole.framer.held(), 0);
    }
}
