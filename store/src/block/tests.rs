use proptest::prelude::*;
use wire::LabelSet;

use super::*;

#[derive(Debug, Clone)]
struct Case {
    runs: Vec<Vec<(i64, Vec<u8>, u32)>>,
    sets: usize,
}

fn set(n: usize) -> LabelSet {
    LabelSet::from_pairs([("id", format!("value-{n}"))]).unwrap()
}

fn encode(case: &Case, spare_lengths: bool) -> Vec<u8> {
    let labels: Vec<LabelSet> = (0..case.runs.len()).map(|i| set(1000 + i)).collect();
    let sets: Vec<LabelSet> = (0..case.sets).map(set).collect();
    let set_bytes: Vec<&[u8]> = sets.iter().map(LabelSet::as_bytes).collect();
    let (mut times, mut lengths, mut ids, mut lines, mut runs) =
        (vec![], vec![], vec![], vec![], vec![]);
    for (run, labels) in case.runs.iter().zip(&labels) {
        runs.push((checksum(labels.as_bytes()), run.len() as u32));
        for (ts, line, id) in run {
            times.push(*ts);
            lengths.push(line.len() as u32);
            ids.push(*id);
            lines.extend_from_slice(line);
            lines.push(b'\n');
        }
    }
    let input = BlockInput {
        times: &times,
        lengths: &lengths,
        spare_lengths,
        ids: &ids,
        lines: &lines,
        sets: &set_bytes,
        runs: &runs,
    };
    let mut encoder = Encoder::new(1).unwrap();
    let (bytes, header) = encoder.block(&input).unwrap();
    assert_eq!(header.block_bytes() as usize, bytes.len());
    bytes.to_vec()
}

type Decoded = (Vec<i64>, Vec<u32>, Metadata, Vec<u8>);

fn decode(bytes: &[u8]) -> Result<Decoded, BlockError> {
    let header = Header::decode(bytes)?;
    let mut decoder = Decoder::new().unwrap();
    let (mut times, mut lengths, mut metadata, mut lines) =
        (vec![], vec![], Metadata::default(), vec![]);
    decoder.times(&header, header.column(bytes, Column::Times)?, &mut times)?;
    decoder.metadata(
        &header,
        header.column(bytes, Column::Metadata)?,
        &mut metadata,
    )?;
    decoder.lines(&header, header.column(bytes, Column::Lines)?, &mut lines)?;
    let stored = header.column(bytes, Column::Lengths)?;
    decoder.lengths(&header, stored, &lines, &mut lengths)?;
    Ok((times, lengths, metadata, lines))
}

fn check(case: &Case) {
    check_encoded(case, &encode(case, false));
    let spared = encode(case, true);
    let mut lines = case.runs.iter().flatten().map(|e| &e.1);
    let has_line_feed = lines.any(|line| line.contains(&b'\n'));
    assert_eq!(
        Header::decode(&spared).unwrap().has_lengths(),
        has_line_feed
    );
    check_encoded(case, &spared);
}

fn check_encoded(case: &Case, bytes: &[u8]) {
    let (times, lengths, metadata, lines) = decode(bytes).unwrap();
    let flat: Vec<_> = case.runs.iter().flatten().collect();
    assert_eq!(times, flat.iter().map(|e| e.0).collect::<Vec<_>>());
    assert_eq!(
        lengths,
        flat.iter().map(|e| e.1.len() as u32).collect::<Vec<_>>()
    );
    assert_eq!(metadata.ids, flat.iter().map(|e| e.2).collect::<Vec<_>>());
    assert_eq!(metadata.sets, (0..case.sets).map(set).collect::<Vec<_>>());
    let runs: Vec<u32> = metadata.runs.iter().map(|r| r.entries).collect();
    assert_eq!(
        runs,
        case.runs.iter().map(|r| r.len() as u32).collect::<Vec<_>>()
    );
    let mut at = 0;
    for entry in flat {
        assert_eq!(&lines[at..at + entry.1.len()], &entry.1[..]);
        assert_eq!(lines[at + entry.1.len()], b'\n');
        at += entry.1.len() + 1;
    }
    assert_eq!(at, lines.len());
}

fn times() -> impl Strategy<Value = i64> {
    prop_oneof![
        any::<i64>(),
        1_700_000_000_000_000_000..1_700_000_100_000_000_000i64,
        (0..100i64).prop_map(|s| s * 1_000_000_000),
        Just(i64::MIN),
        Just(i64::MAX),
    ]
}

fn case() -> impl Strategy<Value = Case> {
    (1usize..300).prop_flat_map(|sets| {
        let entry = (
            times(),
            proptest::collection::vec(any::<u8>(), 0..40),
            0..sets as u32,
        );
        let run = proptest::collection::vec(entry, 1..200).prop_map(|mut run| {
            run.sort_by_key(|e| e.0);
            run
        });
        proptest::collection::vec(run, 1..5).prop_map(move |mut runs| {
            // A block has no more sets than entries.
            let entries: usize = runs.iter().map(Vec::len).sum();
            let sets = sets.min(entries);
            for entry in runs.iter_mut().flatten() {
                entry.2 %= sets as u32;
            }
            Case { runs, sets }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn blocks_round_trip(case in case()) {
        check(&case);
    }

    #[test]
    fn damage_is_an_error(
        case in case(),
        spare in any::<bool>(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let mut bytes = encode(&case, spare);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode(&bytes).is_err());
        bytes.truncate(at);
        prop_assert!(decode(&bytes).is_err());
    }

    #[test]
    fn hostile_columns_are_errors_or_values(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        entries in 1..200u32,
        min in any::<i64>(),
        span in any::<u32>(),
    ) {
        let header = Header {
            entries,
            raw_bytes: entries * 7,
            runs: 1,
            min_ts: min,
            max_ts: min.saturating_add(i64::from(span)),
            columns: [ColumnPlace::default(); 4],
        };
        let mut decoder = Decoder::new().unwrap();
        let mut times = vec![];
        if decoder.times(&header, &bytes, &mut times).is_ok() {
            prop_assert!(times.iter().all(|t| (header.min_ts..=header.max_ts).contains(t)));
        }
        let _ = decoder.lengths(&header, &bytes, &bytes, &mut vec![]);
        let with = Header {
            columns: [ColumnPlace { len: bytes.len() as u32, ..ColumnPlace::default() }; 4],
            ..header
        };
        let _ = decoder.lengths(&with, &bytes, &bytes, &mut vec![]);
        let _ = decoder.metadata(&header, &bytes, &mut Metadata::default());
        let _ = decoder.lines(&header, &bytes, &mut vec![]);
    }
}

#[test]
fn extremes_round_trip() {
    let entry = |ts: i64| (ts, b"x".to_vec(), 0);
    check(&Case {
        runs: vec![vec![entry(0)]],
        sets: 1,
    });
    check(&Case {
        runs: vec![
            vec![entry(i64::MIN), entry(i64::MAX)],
            vec![entry(i64::MIN)],
        ],
        sets: 1,
    });
    check(&Case {
        runs: vec![vec![entry(i64::MAX); 70]],
        sets: 1,
    });
    check(&Case {
        runs: vec![vec![(5, vec![], 0); 3]],
        sets: 1,
    });
}

#[test]
fn a_bomb_is_refused() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    let mut stored = vec![crate::codec::TAG_ZSTD];
    crate::codec::put_varint(&mut stored, 64 << 20);
    stored.extend_from_slice(&bomb);
    let mut decoder = Decoder::new().unwrap();
    let mut out = Vec::new();
    assert_eq!(decoder.unpack(&stored, 1 << 20, &mut out), Err("too large"));
    assert_eq!(out.capacity(), 0);
}
