use super::*;

#[test]
fn minutes_are_open_below_and_closed_above() {
    for (ts, want) in [
        (0, -1),
        (1, 0),
        (MINUTE_NS, 0),
        (MINUTE_NS + 1, 1),
        (-1, -1),
        (-MINUTE_NS, -2),
        (1 - MINUTE_NS, -1),
    ] {
        assert_eq!(minute_of(ts), want, "{ts}");
    }
    let _ = minute_of(i64::MIN);
    let _ = minute_of(i64::MAX);
}

#[test]
fn names_carry_the_sequence() {
    assert_eq!(file_name(0xab), "00000000000000ab.seg");
    assert_eq!(parse_name("00000000000000ab.seg"), Some(0xab));
    for bad in [
        "ab.seg",
        "00000000000000AB.seg",
        "00000000000000ab.tmp",
        "+0000000000000ab.seg",
        ".seg",
    ] {
        assert_eq!(parse_name(bad), None, "{bad}");
    }
}
