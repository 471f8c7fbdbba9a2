//! What the running drupelet did not keep, by reason: promise P7 for whoever does not look at `/metrics`.

use super::Check;

/// A counter of `/metrics`, what it counts, and what to do about it. Counters with a label `reason` are shown by reason.
type Counter = (&'static str, &'static str, &'static str);

const COUNTERS: &[Counter] = &[
    (
        "drupelet_agent_vanished_files_total",
        "files vanished before they were read to their end",
        "the node was too busy or the disk full for longer than kubelet keeps files: see drupelet_agent_waits_total",
    ),
    (
        "drupelet_agent_let_go_files_total",
        "deleted files let go unread, as too many bytes were held",
        "the node was too busy or the disk full for long: see drupelet_agent_waits_total",
    ),
    (
        "drupelet_agent_truncated_lines_total",
        "lines cut to max_line_size",
        "raise max_line_size, or make the application write shorter lines",
    ),
    (
        "drupelet_agent_damaged_total",
        "runs of NUL bytes and torn ends of files skipped",
        "usual after a power cut; without one the card may be failing",
    ),
    (
        "drupelet_agent_shrunk_files_total",
        "files shorter than what was read of them, resumed at their end",
        "usual with log2ram and after a power cut",
    ),
    (
        "drupelet_agent_refused_lines_total",
        "lines refused by the store",
        "the log says why",
    ),
    (
        "drupelet_push_discarded_lines_total",
        "pushed lines refused",
        "the answer told the client why; docs/OPERATIONS.md has the reasons under Pushing",
    ),
    (
        "drupelet_push_truncated_lines_total",
        "pushed lines cut to limits_config.max_line_size",
        "raise it, or make the application write shorter lines",
    ),
    (
        "drupelet_ship_refused_entries_total",
        "lines that the server refused for good",
        "the log says why; docs/OPERATIONS.md, when `drupelet agent` is not heard",
    ),
    (
        "drupelet_ship_partly_refused_batches_total",
        "batches of which the server refused a part without saying how much",
        "the log says why; docs/OPERATIONS.md, when `drupelet agent` is not heard",
    ),
    (
        "drupelet_push_log_skipped_total",
        "parts of the push log that could not be taken over at the start",
        "`drupelet segments verify` tells whether a segment is damaged; the card may be failing",
    ),
    (
        "drupelet_store_damaged_chunks_total",
        "chunks that do not match their checksum",
        "`drupelet segments verify` names the file; the card may be failing",
    ),
];

/// Kept for its time, then removed: nothing to warn of, but to be seen.
const REMOVED: &str = "drupelet_retention_removed_entries_total";

/// One line for each reason, or one that says that everything was kept.
pub(super) fn kept(metrics: Result<String, String>) -> Vec<Check> {
    const NAME: &str = "kept";
    let metrics = match metrics {
        Ok(metrics) => metrics,
        Err(why) => return vec![Check::ok(NAME, why)],
    };
    let mut checks = Vec::new();
    for (name, what, remedy) in COUNTERS {
        for (reason, count) in values(&metrics, name).filter(|(_, count)| *count > 0.0) {
            let reason = reason.map_or_else(String::new, |r| format!(" ({r})"));
            let finding = format!("{count:.0} {what}{reason} since it started");
            checks.push(Check::warn(NAME, finding, *remedy));
        }
    }
    for (reason, count) in values(&metrics, REMOVED).filter(|(_, count)| *count > 0.0) {
        let reason = reason.unwrap_or_default();
        let finding =
            format!("{count:.0} lines stored and later removed ({reason}) since it started");
        checks.push(Check::ok(NAME, finding));
    }
    if checks.is_empty() {
        checks.push(Check::ok(NAME, "everything since drupelet started"));
    }
    checks
}

/// The values of a counter with its label `reason`, if it has one.
fn values<'a>(
    metrics: &'a str,
    name: &'a str,
) -> impl Iterator<Item = (Option<&'a str>, f64)> + 'a {
    metrics.lines().filter_map(move |line| {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = match rest.strip_prefix('{') {
            Some(rest) => rest.split_once('}')?,
            None => ("", rest),
        };
        let reason = labels.split(',').find_map(|pair| {
            let quoted = pair.strip_prefix("reason=\"")?;
            quoted.strip_suffix('"')
        });
        Some((reason, value.strip_prefix(' ')?.trim().parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    fn check(metrics: Result<&str, &str>, want: &[(Status, &str)]) {
        let metrics = metrics.map(str::to_owned).map_err(str::to_owned);
        let checks = kept(metrics);
        let got: Vec<_> = checks.iter().map(|c| (c.status, &*c.finding)).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn p7_each_reason_has_a_line() {
        check(
            Ok("drupelet_agent_truncated_lines_total 0\ndrupelet_agent_lines_total 7\n"),
            &[(Status::Ok, "everything since drupelet started")],
        );
        check(
            Ok(
                "# HELP drupelet_agent_truncated_lines_total x\ndrupelet_agent_truncated_lines_total 2\n\
                drupelet_agent_truncated_lines_total_other 5\ndrupelet_agent_refused_lines_total{reason=\"a\"} 3\n\
                drupelet_agent_refused_lines_total{kind=\"x\",reason=\"b\"} 4\n",
            ),
            &[
                (
                    Status::Warn,
                    "2 lines cut to max_line_size since it started",
                ),
                (
                    Status::Warn,
                    "3 lines refused by the store (a) since it started",
                ),
                (
                    Status::Warn,
                    "4 lines refused by the store (b) since it started",
                ),
            ],
        );
        check(
            Ok("drupelet_retention_removed_entries_total{reason=\"age\"} 5\n"),
            &[(
                Status::Ok,
                "5 lines stored and later removed (age) since it started",
            )],
        );
        check(Err("nothing runs"), &[(Status::Ok, "nothing runs")]);
    }
}
