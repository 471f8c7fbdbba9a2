use logql::plan::{Direction, Plan};

use super::super::fake::plan;
use super::*;

const NOW: i64 = 1_795_168_404_326_197_813;
const HOUR: i64 = 3600 * SECOND;

fn form(text: &str) -> Form {
    Form::parse(b"", text).unwrap()
}

#[test]
fn timestamps_go_by_their_form() {
    let cases: &[(&str, Result<i64, &str>)] = &[
        ("1795168404326197813", Ok(NOW)),
        ("1795168404", Ok(1_795_168_404 * SECOND)),
        ("4000000000", Ok(4_000_000_000 * SECOND)),
        ("0", Ok(0)),
        ("-5", Ok(-5 * SECOND)),
        ("1795168404326", Ok(1_795_168_404_326)),
        ("1795168404.3269", Ok(1_795_168_404_327_000_000)),
        ("1.7e9", Ok(1_700_000_000 * SECOND)),
        (
            "1e9",
            Err("strconv.ParseInt: parsing \"1e9\": invalid syntax"),
        ),
        ("-1.5", Ok(-1_500_000_000)),
        ("2026-11-20T09:53:24Z", Ok(1_795_168_404 * SECOND)),
        ("2026-11-20T09:53:24.326197813Z", Ok(NOW)),
        ("2026-11-20T11:53:24.326197813+02:00", Ok(NOW)),
        ("2026-11-20T06:23:24,326197813-03:30", Ok(NOW)),
        ("1969-12-31T23:59:59.5Z", Ok(-500_000_000)),
        ("2024-02-29T00:00:00Z", Ok(1_709_164_800 * SECOND)),
        (
            "1.2.3",
            Err("strconv.ParseInt: parsing \"1.2.3\": invalid syntax"),
        ),
        (
            "foo",
            Err("strconv.ParseInt: parsing \"foo\": invalid syntax"),
        ),
        (
            "now",
            Err("strconv.ParseInt: parsing \"now\": invalid syntax"),
        ),
        (
            "2026-01-01",
            Err("strconv.ParseInt: parsing \"2026-01-01\": invalid syntax"),
        ),
        (
            "2024-13-01T00:00:00Z",
            Err("strconv.ParseInt: parsing \"2024-13-01T00:00:00Z\": invalid syntax"),
        ),
        ("2023-02-29T00:00:00Z", Err("invalid syntax")),
        ("2026-11-20T09:53:24", Err("invalid syntax")),
        ("2026-11-20T09:53:24.Z", Err("invalid syntax")),
        ("99999999999999999999", Err("value out of range")),
        ("9999999999", Err("out of range")),
        ("1795168404326197813.0", Err("out of range")),
        ("1e400", Err("invalid syntax")),
        ("2999-01-01T00:00:00Z", Err("out of range")),
        ("0001-01-01T00:00:00Z", Err("out of range")),
        ("NaN", Err("invalid syntax")),
        ("\u{20ac}", Err("invalid syntax")),
    ];
    for (text, want) in cases {
        match (timestamp(text), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, *want, "{text}"),
            (Err(got), Err(want)) => assert!(got.contains(want), "{text}: {got}"),
            (got, want) => panic!("{text}: {got:?}, not {want:?}"),
        }
    }
}

#[test]
fn durations_are_seconds_or_units() {
    let cases: &[(&str, Option<i64>)] = &[
        ("5", Some(5 * SECOND)),
        ("5.5", Some(5_500_000_000)),
        ("1e1", Some(10 * SECOND)),
        ("-1", Some(-SECOND)),
        ("0", Some(0)),
        ("1h30m", Some(5400 * SECOND)),
        ("1500ms", Some(1_500_000_000)),
        ("1y2w3d", Some(382 * 24 * HOUR)),
        ("1.5s", None),
        ("100us", None),
        ("1M", None),
        ("15S", None),
        ("1m 30s", None),
        ("5m30", None),
        ("1h1h", None),
        ("1m1h", None),
        ("x", None),
        ("m", None),
        ("99999999999999999999s", None),
        ("1e300", None),
        ("0x10", None),
        ("1_0", Some(10 * SECOND)),
        ("NaN", Some(i64::MIN)),
        ("inf", None),
    ];
    for (text, want) in cases {
        let got = seconds_or_duration(text);
        assert_eq!(got.as_ref().ok(), want.as_ref(), "{text}");
        if let Err(e) = got {
            let begin = format!("cannot parse {text:?} to a valid duration");
            assert!(e.starts_with(&begin), "{e}");
        }
    }
    let overflows = seconds_or_duration("-Inf").unwrap_err();
    assert!(overflows.ends_with("It overflows int64"), "{overflows}");
}

#[test]
fn durations_print_as_in_go_and_prometheus() {
    for (ns, go, model) in [
        (0, "0s", "0s"),
        (800 * HOUR, "800h0m0s", "33d8h"),
        (721 * HOUR, "721h0m0s", "30d1h"),
        (60 * SECOND, "1m0s", "1m"),
        (1_500_000_000, "1.5s", "1s500ms"),
        (90_061_000_000_001, "25h1m1.000000001s", "1d1h1m1s"),
        (1_500_000, "1.5ms", "1ms"),
        (14 * 24 * HOUR, "336h0m0s", "2w"),
    ] {
        assert_eq!(go_duration(ns), go);
        assert_eq!(model_duration(ns), model);
    }
}

#[test]
fn ranges_have_defaults() {
    let day = 24 * HOUR;
    let all = |text: &str| range(&form(text), NOW).unwrap();
    let bounds = |text: &str| {
        let got = all(text);
        (got.start, got.end)
    };
    let got = all("");
    assert_eq!((got.start, got.end), (NOW - HOUR, NOW));
    assert_eq!((got.limit, got.interval), (100, 0));
    assert_eq!(
        (got.step, got.direction),
        (14 * SECOND, Direction::Backward)
    );
    assert_eq!(bounds("since=1d"), (NOW - day, NOW));
    assert_eq!(bounds("end=1000&since=30s"), (970 * SECOND, 1000 * SECOND));
    // An end in the future does not move the default start.
    let future = NOW + day;
    assert_eq!(bounds(&format!("end={future}")), (NOW - HOUR, future));
    assert_eq!(all("start=1&end=1").step, SECOND);
    assert_eq!(all("step=1m").step, 60 * SECOND);
    assert_eq!(all("direction=FORWARD").direction, Direction::Forward);
    assert_eq!(all("direction=Backward").direction, Direction::Backward);
    assert_eq!(all("interval=1.5").interval, 1_500_000_000);
    // The widest range there is must not overflow.
    let widest = format!("start={}&end={}&step=1y", i64::MIN, i64::MAX);
    assert_eq!(bounds(&widest), (i64::MIN, i64::MAX));
}

#[test]
fn bad_parameters_get_lokis_texts() {
    for (text, want) in [
        (
            "start=foo",
            "could not parse 'start' parameter: strconv.ParseInt: parsing \"foo\": invalid syntax",
        ),
        (
            "end=1.2.3",
            "could not parse 'end' parameter: strconv.ParseInt: parsing \"1.2.3\": invalid syntax",
        ),
        (
            "since=3600",
            "could not parse 'since' parameter: not a valid duration string: \"3600\"",
        ),
        (
            "start=2&end=1",
            "end timestamp must not be before or equal to start time",
        ),
        ("limit=abc", "strconv.Atoi: parsing \"abc\": invalid syntax"),
        ("limit=0", "limit must be a positive value"),
        ("limit=-1", "limit must be a positive value"),
        (
            "limit=99999999999",
            "limit value 99999999999 is out of range [0, 4294967295]",
        ),
        ("direction=up", "invalid direction 'up'"),
        ("step=1.5s", "cannot parse \"1.5s\" to a valid duration"),
        (
            "step=0",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "step=-1",
            "zero or negative query resolution step widths are not accepted. Try a positive integer",
        ),
        (
            "step=0.1",
            "exceeded maximum resolution of 11,000 points per time series. Try increasing the value of the step parameter",
        ),
        ("interval=x", "cannot parse \"x\" to a valid duration"),
        ("interval=-1", "interval must be >= 0"),
    ] {
        assert_eq!(range(&form(text), NOW).unwrap_err(), want, "{text}");
    }
    for (text, want) in [
        (
            "time=abc",
            "strconv.ParseInt: parsing \"abc\": invalid syntax",
        ),
        ("limit=0", "limit must be a positive value"),
        ("direction=up", "invalid direction 'up'"),
    ] {
        assert_eq!(instant(&form(text), NOW).unwrap_err(), want, "{text}");
    }
    assert_eq!(metadata(&form("start=2&end=1"), NOW).unwrap_err(), LOOKBACK);
}

fn rules(align: bool) -> Rules {
    Rules {
        max_entries: 5000,
        max_length: 721 * HOUR,
        align,
    }
}

fn check_steps(align: bool, text: &str, want: (i64, i64)) {
    let plan = plan("vector(1)");
    assert!(matches!(plan, Plan::Metric(_)));
    let range = range(&form(text), NOW).unwrap();
    let Ok(Request::Range { start, end, .. }) = resolve(&range, &plan, &rules(align)) else {
        panic!("{text} is refused");
    };
    assert_eq!((start, end), (want.0 * SECOND, want.1 * SECOND), "{text}");
}

#[test]
fn steps_are_aligned() {
    check_steps(true, "start=588&end=649&step=30", (570, 660));
    check_steps(true, "start=600&end=660&step=30", (600, 660));
    check_steps(true, "start=645&end=645&step=30", (630, 660));
    check_steps(true, "start=660&end=660&step=30", (660, 660));
    check_steps(true, "start=-5&end=5&step=7", (-7, 7));
    check_steps(false, "start=588&end=649&step=30", (588, 649));
}

#[test]
fn log_queries_are_limited_but_not_aligned() {
    let plan = plan("{a=\"b\"}");
    let ask = |text: &str| resolve(&range(&form(text), NOW).unwrap(), &plan, &rules(true));
    let Ok(Request::Range {
        start, end, limit, ..
    }) = ask("start=588&end=649&step=30")
    else {
        panic!("refused");
    };
    assert_eq!((start, end, limit), (588 * SECOND, 649 * SECOND, 100));
    let Ok(Request::Range { limit, .. }) = ask("interval=5&limit=7") else {
        panic!("refused");
    };
    assert_eq!(limit, 7);
    assert_eq!(
        ask("limit=5001").unwrap_err(),
        "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)"
    );
    assert_eq!(
        ask("start=0&end=2880000").unwrap_err(),
        "the query time range exceeds the limit (query length: 800h0m0s, limit: 30d1h)"
    );
    assert!(ask("start=0&end=2595600").is_ok());
}

proptest::proptest! {
    #[test]
    fn p9_hostile_parameters_get_errors(
        text in "[-+.,:0-9TZyhmsd e\\x00-\\x7f]{0,24}",
        noise in ".{0,12}",
        number: i64,
    ) {
        let number = number.to_string();
        for value in [&text, &noise, &number] {
            for name in ["start", "end", "time", "since", "step", "interval", "limit", "direction"] {
                let mut query = format!("{name}=");
                value.bytes().for_each(|b| query.push_str(&format!("%{b:02x}")));
                let form = form(&query);
                let _ = (instant(&form, NOW), metadata(&form, NOW));
                if let Ok(range) = range(&form, NOW) {
                    for query in ["vector(1)", "{a=\"b\"}"] {
                        let _ = resolve(&range, &plan(query), &rules(true));
                    }
                }
            }
            let _ = Form::parse(value.as_bytes(), value);
        }
    }
}
