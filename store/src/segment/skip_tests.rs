use logql::needle::Needle;
use logql::plan::Plan;
use proptest::prelude::*;

use super::*;
use crate::block::{Decoder, Encoder};

fn index(blocks: &[Vec<u8>]) -> Vec<u8> {
    let mut encoder = Encoder::new(1).unwrap();
    let mut builder = SkipBuilder::default();
    for lines in blocks {
        let text = Text::Lines(lines);
        builder.add(text, lines.len(), &mut encoder).unwrap();
    }
    let section = builder.finish(&mut encoder).unwrap();
    // Marks say what the lines say.
    let mut marker = Marker::default();
    for lines in blocks {
        let marks = marker.marks(lines);
        let text = Text::Marks(&marks);
        builder.add(text, lines.len(), &mut encoder).unwrap();
    }
    assert_eq!(builder.finish(&mut encoder).unwrap(), section);
    section
}

fn ask(section: &[u8], needle: &Needle) -> Result<Candidates, &'static str> {
    let mut decoder = Decoder::new().unwrap();
    Probe::new(needle).ask(section, &mut decoder, &mut Vec::new())
}

/// What a filter such as `|~ "x"` looks for, and whether a line passes it.
fn filter(text: &str) -> (Option<Needle>, impl Fn(&[u8]) -> bool) {
    let Plan::Log(leaf) = logql::parse(format!("{{a=\"b\"}} {text}")).unwrap() else {
        panic!("a log query");
    };
    let passes = {
        let pipeline = leaf.pipeline.clone();
        move |line: &[u8]| pipeline.leading_filters().iter().all(|f| f.matches(line))
    };
    (leaf.pipeline.needle(), passes)
}

fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-cA-C]{1,6}",
        "[0-9]{1,5}",
        "(error|Error|ERROR|timeout|stack|STACK|stra\u{df}e|STRASSE|\u{c9}|\u{e9})",
        Just("\u{17f}tac\u{212a}".to_owned()),
        "[ =:\u{fffd}]{1,3}",
    ]
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    let line = proptest::collection::vec(word(), 0..8).prop_map(|words| words.concat());
    proptest::collection::vec(line, 0..6)
}

/// A regex of pieces that mean something to the index.
fn regex() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        word().prop_map(|word| word.replace('.', "\\.")),
        Just(".*".to_owned()),
        Just("[0-9]+".to_owned()),
        Just("[ae]".to_owned()),
        word().prop_map(|word| format!("({word})?")),
        word().prop_map(|word| format!("({word}){{2}}")),
        (word(), word()).prop_map(|(a, b)| format!("({a}|{b})")),
    ];
    (any::<bool>(), proptest::collection::vec(piece, 1..5)).prop_map(|(fold, pieces)| {
        let flags = if fold { "(?i)" } else { "" };
        format!("{flags}{}", pieces.concat())
    })
}

fn column(lines: &[String]) -> Vec<u8> {
    lines
        .iter()
        .flat_map(|line| [line.as_bytes(), b"\n"].concat())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_block_with_a_line_that_passes_is_skipped(
        blocks in proptest::collection::vec(lines(), 1..100),
        regexes in proptest::collection::vec(regex(), 1..12),
        at in any::<prop::sample::Index>(),
    ) {
        let columns: Vec<Vec<u8>> = blocks.iter().map(|lines| column(lines)).collect();
        let section = index(&columns);
        // Texts that are there, too: a part of some line.
        let all: Vec<&String> = blocks.iter().flatten().collect();
        let part = if all.is_empty() { String::new() } else {
            let line = all[at.index(all.len())];
            line.chars().skip(line.chars().count() / 3).collect()
        };
        let texts = regexes.iter().map(|regex| format!("|~ `{regex}`"));
        let mut texts: Vec<String> = texts.collect();
        if !part.is_empty() {
            texts.extend([format!("|= `{part}`"), format!("|> `<_>{part}<_>`")]);
        }
        for text in texts {
            let (Some(needle), passes) = filter(&text) else { continue };
            let found = ask(&section, &needle).unwrap();
            prop_assert_eq!(found.blocks(), blocks.len());
            for (i, lines) in blocks.iter().enumerate() {
                if lines.iter().any(|line| passes(line.as_bytes())) {
                    prop_assert!(found.has(i), "{text} in {lines:?}");
                }
            }
        }
    }

    #[test]
    fn damaged_sections_are_errors_or_answers(
        blocks in proptest::collection::vec(lines(), 1..5),
        noise in proptest::collection::vec(any::<u8>(), 0..60),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        let columns: Vec<Vec<u8>> = blocks.iter().map(|lines| column(lines)).collect();
        let mut section = index(&columns);
        let needle = filter("|= `error`").0.unwrap();
        let at = at.index(section.len());
        section[at] ^= 1 << bit;
        let _ = ask(&section, &needle);
        section.truncate(at);
        let _ = ask(&section, &needle);
        let _ = ask(&noise, &needle);
    }
}

/// Random text of six letters out of a to t, which six depends on the seed.
fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        b'a' + ((seed * 7 + state % 6) % 20) as u8
    };
    let line_feed = |i| i % 90 == 89 || i == bytes - 1;
    let byte = |i| if line_feed(i) { b'\n' } else { next() };
    (0..bytes).map(byte).collect()
}

#[test]
fn an_index_takes_its_share_and_still_tells_blocks_apart() {
    let mut encoder = Encoder::new(1).unwrap();
    let mut builder = SkipBuilder::default();
    let mut stored = 0;
    for seed in 1..=150u64 {
        let lines = noise(seed, 20_000 + 100 * seed as usize);
        // As if a fifth were left of it.
        let bytes = lines.len() / 5;
        let text = Text::Lines(&lines);
        builder.add(text, bytes, &mut encoder).unwrap();
        stored += bytes;
    }
    let section = builder.finish(&mut encoder).unwrap();
    assert!(
        section.len() <= stored / 32,
        "{} of {stored}",
        section.len()
    );
    for (text, most) in [("abcdefgabcdefg", 15), ("uvwxyzuvwxyz", 3), ("uvw", 30)] {
        let found = ask(&section, &Needle::Text(text.into())).unwrap();
        let left = (0..found.blocks()).filter(|i| found.has(*i)).count();
        assert!(left <= most, "{text}: {left} of 150");
    }
}

#[test]
fn blocks_that_nobody_knows_are_never_skipped() {
    let mut encoder = Encoder::new(1).unwrap();
    let mut builder = SkipBuilder::default();
    builder
        .add(Text::Lines(b"one line\n"), 1000, &mut encoder)
        .unwrap();
    builder.add(Text::Unknown, 1000, &mut encoder).unwrap();
    let long = Text::Lines("a long \u{17f}\n".as_bytes());
    builder.add(long, 1000, &mut encoder).unwrap();
    let section = builder.finish(&mut encoder).unwrap();
    let found = ask(&section, &Needle::Text(b"absent text".to_vec())).unwrap();
    let has: Vec<bool> = (0..3).map(|i| found.has(i)).collect();
    assert_eq!(has, [false, true, true]);
}
