use super::*;

#[test]
fn numbers_read_as_gos() {
    for (value, sample, v) in [
        (0.0, "0", "0"),
        (-0.0, "-0", "-0"),
        (1e20, "100000000000000000000", "1e+20"),
        (4e-7, "0.0000004", "4e-07"),
        (4.0 / 3.0, "1.3333333333333333", "1.3333333333333333"),
        (999_999.0, "999999", "999999"),
        (1_234_567.0, "1234567", "1.234567e+06"),
        (f64::NAN, "NaN", "NaN"),
        (f64::INFINITY, "+Inf", "+Inf"),
        (f64::NEG_INFINITY, "-Inf", "-Inf"),
    ] {
        assert_eq!(sample_value(value), sample);
        assert_eq!(go_v(value), v);
    }
    assert_eq!(sample_value(1e300).len(), 301);
    // Two shortest forms are equally near: Go takes the even one.
    assert_eq!(
        go_v(34_059_036_007_358.0 + 0.8125),
        "3.4059036007358812e+13"
    );
}

#[test]
fn strings_are_quoted_as_gos() {
    assert_eq!(quote(b"a\"\\\n\x01\x7f\xff"), r#""a\"\\\n\x01\x7f\xff""#);
    assert_eq!(
        quote("\u{e9}\u{200b}\u{e0001}e\u{301}".as_bytes()),
        "\"\u{e9}\\u200b\\U000e0001e\u{301}\""
    );
    assert_eq!(
        label_set([("a", "1"), ("b-c", "\"")]),
        r#"{a="1", "b-c"="\""}"#
    );
    assert_eq!(label_set([]), "{}");
}

#[test]
fn text_is_read_as_by_go() {
    let float =
        |text: &str| parse_float(text).map_err(|e| e.replace("strconv.ParseFloat: parsing ", ""));
    assert_eq!(float("1_000"), Ok(1_000.0));
    assert_eq!(float("0x1p4"), Ok(16.0));
    assert_eq!(float("010"), Ok(10.0));
    assert_eq!(float("-Inf"), Ok(f64::NEG_INFINITY));
    assert_eq!(float("0x10"), Err("\"0x10\": invalid syntax".to_owned()));
    assert!(float("-+5").is_err());
    assert!(float("nan").is_ok_and(f64::is_nan) && float("+nan").is_err());
    assert_eq!(float(""), Err("\"\": invalid syntax".to_owned()));
    assert_eq!(
        float("1e400"),
        Err("\"1e400\": value out of range".to_owned())
    );
    assert_eq!(parse_go_duration("1h30m1.5s"), Ok(5_401_500_000_000));
    assert_eq!(parse_go_duration("-10\u{b5}s"), Ok(-10_000));
    assert_eq!(parse_go_duration(".5s1.h"), Ok(3_600_500_000_000));
    assert_eq!(
        parse_go_duration("3.75.5s"),
        Err("time: missing unit in duration \"3.75.5s\"".to_owned())
    );
    assert_eq!(
        parse_go_duration_bytes(b"5\xc3\xa9\"\n\xff"),
        Err(
            r#"time: unknown unit "\xc3\xa9\"\x0a\xff" in duration "5\xc3\xa9\"\x0a\xff""#
                .to_owned()
        )
    );
    let long = format!("{}h", "9".repeat(60));
    assert!(parse_go_duration(&long).is_err_and(|e| e.starts_with("time: invalid duration")));
    let long = format!("0.{}s", "9".repeat(60));
    assert_eq!(parse_go_duration(&long), Ok(1_000_000_000));
    assert_eq!(
        parse_go_duration("1d"),
        Err("time: unknown unit \"d\" in duration \"1d\"".to_owned())
    );
    assert_eq!(
        parse_go_duration("5"),
        Err("time: missing unit in duration \"5\"".to_owned())
    );
    assert_eq!(
        parse_go_duration("abc"),
        Err("time: invalid duration \"abc\"".to_owned())
    );
    assert_eq!(parse_prometheus_duration("1h30m"), Ok(5_400_000_000_000));
    assert!(parse_prometheus_duration("1m1h").is_err());
    assert!(parse_prometheus_duration("1000y").is_err());
    assert_eq!(parse_bytes("5KiB"), Ok(5_120));
    assert_eq!(parse_bytes("1.5 MB"), Ok(1_500_000));
    assert_eq!(
        parse_bytes("5ms"),
        Err("unhandled size name: ms".to_owned())
    );
    assert_eq!(go_duration(5_400_000_000_000), "1h30m0s");
    assert_eq!(go_duration(1_500_000), "1.5ms");
    assert_eq!(go_duration(-10_000), "-10\u{b5}s");
    assert_eq!(human_bytes(5_120), "5.1kB");
    assert_eq!(human_bytes(1_048_576), "1.0MB");
    assert_eq!(human_bytes(7), "7B");
}
