//! Keys of pushes, with Loki's names, meanings and (but for the size of a body) defaults. Loki has `max_recv_msg_size`
//! in its section `distributor` and `max_chunk_age` in `ingester`.

use super::{Key, SIZE, at_least_1s, count, flag, is_name, show_size, size, within};
use crate::time::{parse_duration, show_duration};

/// The key whose value is a list.
pub(super) const LIST: &str = "limits_config.discover_service_name";
/// Labels in that list.
const LIST_MAX: usize = 64;

pub(super) const KEYS: &[Key] = &[
    Key {
        path: "limits_config.max_recv_msg_size",
        help: "Largest body of a push, as it comes and unpacked. Loki allows 100 MiB; here all of them may take four times this.",
        expects: "a size from 64KiB to 256MiB",
        set: |c, v| within(size(v)?, 64 << 10, 256 << 20).map(|v| c.push.max_body_bytes = v),
        show: |c| show_size(c.push.max_body_bytes),
    },
    Key {
        path: "limits_config.ingestion_rate_mb",
        help: "MiB a second that may be pushed to this node, lines and structured metadata.",
        expects: "a number of MiB above 0",
        set: |c, v| megabytes(v).map(|v| c.push.ingestion_rate = v),
        show: |c| show_megabytes(c.push.ingestion_rate),
    },
    Key {
        path: "limits_config.ingestion_burst_size_mb",
        help: "MiB that may be pushed at once.",
        expects: "a number of MiB above 0",
        set: |c, v| megabytes(v).map(|v| c.push.ingestion_burst = v),
        show: |c| show_megabytes(c.push.ingestion_burst),
    },
    Key {
        path: "limits_config.per_stream_rate_limit",
        help: "Bytes a second that may be pushed to one stream.",
        expects: SIZE,
        set: |c, v| at_least_1(v).map(|v| c.push.stream_rate = v as u64),
        show: |c| show_size(c.push.stream_rate as usize),
    },
    Key {
        path: "limits_config.per_stream_rate_limit_burst",
        help: "Bytes that may be pushed to one stream at once.",
        expects: SIZE,
        set: |c, v| at_least_1(v).map(|v| c.push.stream_burst = v as u64),
        show: |c| show_size(c.push.stream_burst as usize),
    },
    Key {
        path: "limits_config.max_global_streams_per_user",
        help: "Streams that may be pushed to within half an hour; 0 is 20000, the most there can be. Tailed ones are not counted.",
        expects: "a number from 0 to 20000",
        set: |c, v| within(v.parse().ok()?, 0, 20_000).map(|v| c.push.max_streams = v),
        show: |c| c.push.max_streams.to_string(),
    },
    Key {
        path: "limits_config.max_line_size",
        help: "Longest line of a push; 0 is the most that fits into the head (head_bytes / 8).",
        expects: "0, or a size such as 256KB",
        set: |c, v| size(v).map(|v| c.push.max_line_size = v),
        show: |c| show_size(c.push.max_line_size),
    },
    Key {
        path: "limits_config.max_line_size_truncate",
        help: "Whether longer lines are cut instead of refused.",
        expects: "true or false",
        set: |c, v| flag(v).map(|v| c.push.max_line_size_truncate = v),
        show: |c| c.push.max_line_size_truncate.to_string(),
    },
    Key {
        path: "limits_config.max_label_names_per_series",
        help: "Labels that a pushed stream may have, `service_name` not counted.",
        expects: "a number of at least 1",
        set: |c, v| count(v).map(|v| c.push.max_label_names = v),
        show: |c| c.push.max_label_names.to_string(),
    },
    Key {
        path: "limits_config.max_label_name_length",
        help: "Bytes of a label's name.",
        expects: "a number of at least 1",
        set: |c, v| count(v).map(|v| c.push.max_label_name_length = v),
        show: |c| c.push.max_label_name_length.to_string(),
    },
    Key {
        path: "limits_config.max_label_value_length",
        help: "Bytes of a label's value.",
        expects: "a number of at least 1",
        set: |c, v| count(v).map(|v| c.push.max_label_value_length = v),
        show: |c| c.push.max_label_value_length.to_string(),
    },
    Key {
        path: "limits_config.reject_old_samples",
        help: "Whether pushed entries older than reject_old_samples_max_age are refused. Not while the clock is not set.",
        expects: "true or false",
        set: |c, v| flag(v).map(|v| c.push.reject_old = v),
        show: |c| c.push.reject_old.to_string(),
    },
    Key {
        path: "limits_config.reject_old_samples_max_age",
        help: "Oldest a pushed entry may be.",
        expects: "a duration of at least 1s such as 168h",
        set: |c, v| at_least_1s(v).map(|v| c.push.max_age = v),
        show: |c| show_duration(c.push.max_age),
    },
    Key {
        path: "limits_config.creation_grace_period",
        help: "How far ahead of the clock a pushed entry may be. Not while the clock is not set.",
        expects: "a duration such as 10m",
        set: |c, v| parse_duration(v).map(|v| c.push.creation_grace_period = v),
        show: |c| show_duration(c.push.creation_grace_period),
    },
    Key {
        path: "limits_config.max_chunk_age",
        help: "Half of it is how far behind the newest entry of its stream a pushed entry may be.",
        expects: "a duration of at least 1s such as 2h",
        set: |c, v| at_least_1s(v).map(|v| c.push.max_behind = v / 2),
        show: |c| show_duration(c.push.max_behind * 2),
    },
    Key {
        path: "limits_config.allow_structured_metadata",
        help: "Whether pushed entries may have structured metadata. Without, they get no detected_level either.",
        expects: "true or false",
        set: |c, v| flag(v).map(|v| c.push.allow_structured_metadata = v),
        show: |c| c.push.allow_structured_metadata.to_string(),
    },
    Key {
        path: "limits_config.max_structured_metadata_size",
        help: "Bytes of an entry's structured metadata; 0 is the most that can be stored, 72 KiB.",
        expects: "0, or a size such as 64KB",
        set: |c, v| size(v).map(|v| c.push.max_metadata_size = v),
        show: |c| show_size(c.push.max_metadata_size),
    },
    Key {
        path: "limits_config.max_structured_metadata_entries_count",
        help: "Pairs of an entry's structured metadata; 0 is any number.",
        expects: "a number",
        set: |c, v| v.parse().ok().map(|v| c.push.max_metadata_count = v),
        show: |c| c.push.max_metadata_count.to_string(),
    },
    Key {
        path: LIST,
        help: "Labels that name the service of a pushed stream without `service_name`, first hit wins; [] adds none.",
        expects: "a list of label names such as [app, job]",
        set: |c, v| names(v).map(|v| c.push.discover_service_name = v),
        show: |c| format!("[{}]", c.push.discover_service_name.join(", ")),
    },
    Key {
        path: "limits_config.discover_log_levels",
        help: "Whether pushed entries get a detected_level.",
        expects: "true or false",
        set: |c, v| flag(v).map(|v| c.push.discover_log_levels = v),
        show: |c| c.push.discover_log_levels.to_string(),
    },
];

/// MiB, with a fraction, as bytes.
fn megabytes(value: &str) -> Option<u64> {
    let mb: f64 = value.parse().ok()?;
    let bytes = mb * f64::from(1 << 20);
    (1.0..1e15).contains(&bytes).then_some(bytes as u64)
}

fn show_megabytes(bytes: u64) -> String {
    (bytes as f64 / f64::from(1 << 20)).to_string()
}

fn at_least_1(value: &str) -> Option<usize> {
    size(value).filter(|bytes| *bytes >= 1)
}

/// A list, also as it is printed or as a variable has it.
fn names(value: &str) -> Option<Vec<String>> {
    let inner = value.strip_prefix('[').and_then(|v| v.strip_suffix(']'));
    let names = inner.unwrap_or(value).split(',').map(str::trim);
    let names: Vec<String> = names.filter(|n| !n.is_empty()).map(str::to_owned).collect();
    (names.len() <= LIST_MAX && names.iter().all(|n| is_name(n))).then_some(names)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{check_error, from_text};
    use super::*;

    #[test]
    fn limits_of_pushes_are_read() {
        let text = "limits_config:\n  ingestion_rate_mb: 0.5\n  max_line_size: 0\n  reject_old_samples: false\n  \
                    max_chunk_age: 40m\n  discover_service_name:\n    - app\n    - job\n  discover_log_levels: false\n  \
                    per_stream_rate_limit: 1MB\n";
        let push = from_text(text).unwrap().push;
        assert_eq!(push.ingestion_rate, 512 << 10);
        assert_eq!((push.max_line_size, push.stream_rate), (0, 1 << 20));
        assert_eq!(push.max_behind, Duration::from_secs(1200));
        assert_eq!(push.discover_service_name, ["app", "job"]);
        assert!(!push.reject_old && !push.discover_log_levels);
        let none = from_text("limits_config: {discover_service_name: []}").unwrap();
        assert!(none.push.discover_service_name.is_empty());
        let printed = none.to_yaml(&|_| None);
        assert_eq!(from_text(&printed).unwrap().push, none.push, "{printed}");
        assert_eq!(names("a, b"), Some(vec!["a".into(), "b".into()]));
        for (line, found, expects) in [
            ("max_recv_msg_size", "1GB", "a size from 64KiB to 256MiB"),
            ("ingestion_rate_mb", "-1", "a number of MiB above 0"),
            ("reject_old_samples", "no", "true or false"),
            (
                "max_global_streams_per_user",
                "20001",
                "a number from 0 to 20000",
            ),
            (
                "discover_service_name",
                "a b",
                "a list of label names such as [app, job]",
            ),
        ] {
            let want =
                format!("c.yaml:2: `limits_config.{line}` is `{found}`, expected {expects}|");
            check_error(&format!("limits_config:\n  {line}: {found}\n"), &want);
        }
        let want = "c.yaml:2: `limits_config.max_line_size` is a list, expected 0, or a size such as 256KB|";
        check_error("limits_config:\n  max_line_size: [1]\n", want);
    }
}
