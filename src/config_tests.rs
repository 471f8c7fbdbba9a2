//! The configuration's rules as cases.

use super::*;
use crate::args::{Request, parse};

fn env(name: &str) -> Option<String> {
    let known = [
        ("NODE_NAME", "pi4"),
        ("SET", "value"),
        ("EMPTY", ""),
        ("PORT", "9999"),
    ];
    let found = known.iter().find(|(n, _)| *n == name);
    found.map(|(_, v)| (*v).to_owned())
}

fn raw(args: &[&str]) -> Raw {
    raw_of("run", args)
}

fn raw_agent(args: &[&str]) -> Raw {
    raw_of("agent", args)
}

fn raw_of(command: &str, args: &[&str]) -> Raw {
    let args = [command]
        .iter()
        .chain(args)
        .map(std::ffi::OsString::from)
        .collect::<Vec<_>>();
    match parse(args) {
        Ok(Request::Run(raw)) => raw,
        other => panic!("{other:?}"),
    }
}

pub(super) fn from_text(text: &str) -> Result<Config, Failure> {
    let mut config = Config::defaults(&env);
    config.apply_file("c.yaml", text, &env)?;
    Ok(config)
}

pub(super) fn check_error(text: &str, want: &str) {
    let failure = from_text(text).expect_err(text);
    let got = format!("{}|{}", failure.message(), failure.hint().unwrap_or(""));
    assert_eq!(got, want, "{text:?}");
}

#[test]
fn empty_files_give_defaults() {
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "pods_dir:\nlabels:\nlimits_config:\n",
    ] {
        assert_eq!(from_text(text).unwrap(), Config::defaults(&env), "{text:?}");
    }
    assert_eq!(Config::defaults(&env).node_name, "pi4");
}

#[test]
fn bad_files_name_line_and_key() {
    check_error(
        "listen: 127.0.0.1:3100\n\npod_dir: /x\n",
        "c.yaml:3: unknown key `pod_dir`|did you mean `pods_dir`?",
    );
    check_error(
        "limits_config:\n  query_timout: 1m\n",
        "c.yaml:2: unknown key `limits_config.query_timout`|did you mean `limits_config.query_timeout`?",
    );
    check_error(
        "query_timeout: 1m\n",
        "c.yaml:1: unknown key `query_timeout`|did you mean `limits_config.query_timeout`?",
    );
    check_error(
        "scrape_configs: []\n",
        "c.yaml:1: unknown key `scrape_configs`|`drupelet check` without a file prints every key",
    );
    check_error(
        "reader: auto\nflush_interval: 30\n",
        "c.yaml:2: `flush_interval` is `30`, expected a duration of at least 1s such as 30m or 1h30m|",
    );
    check_error(
        "push_sync_interval: 2h\n",
        "c.yaml:1: `push_sync_interval` is `2h`, expected a duration of at most 1h such as 1s or 0s|",
    );
    check_error(
        "head_bytes: lots\n",
        "c.yaml:1: `head_bytes` is `lots`, expected a size from 1MiB to 1GiB|",
    );
    check_error(
        "listen:\n  - a\n",
        "c.yaml:2: `listen` is a list, expected an address and port such as 127.0.0.1:3100|",
    );
    check_error(
        "reader: {a: b}\n",
        "c.yaml:1: `reader` is a map, expected auto, uring or pread|",
    );
    check_error(
        "limits_config:\n  max_query_series: -1\n",
        "c.yaml:2: `limits_config.max_query_series` is `-1`, expected a number of at least 1|",
    );
    check_error("just text\n", "c.yaml:1: `the file` must be a map of keys|");
    check_error(
        "labels: a\n",
        "c.yaml:1: `labels` must be a map such as `cluster: home`|",
    );
    check_error(
        "labels:\n  1x: a\n",
        "c.yaml:2: label name `1x` must match [a-zA-Z_][a-zA-Z0-9_]*|",
    );
    check_error(
        "labels:\n  pod: a\n",
        "c.yaml:2: label `pod` is set by drupelet itself|",
    );
    check_error(
        "pods_dir: ${NOPE}\n",
        "c.yaml:1: `pods_dir`: variable `NOPE` is not set; `${NOPE:default}` gives a default|",
    );
}

#[test]
fn variables_expand() {
    let check = |text: &str, want: Result<&str, &str>| {
        let got = expand(text, &env);
        assert_eq!(got.as_deref().map_err(String::as_str), want, "{text}");
    };
    check("a ${SET} b", Ok("a value b"));
    check("${EMPTY}", Ok(""));
    check("${NOPE:x:y}", Ok("x:y"));
    check("${NOPE:-x}", Ok("x"));
    check("${NOPE:}", Ok(""));
    check("$${SET} $$ $ end$", Ok("${SET} $ $ end$"));
    check("${SET", Err("`${` without `}`; write `$${` for the text"));
    check("${a b}", Err("`a b` is not the name of a variable"));
    let config = from_text("listen: 127.0.0.1:${PORT}\n").unwrap();
    assert_eq!(config.listen, "127.0.0.1:9999");
}

#[test]
fn flags_beat_environment_beats_file() {
    let vars = |name: &str| match name {
        "DRUPELET_LISTEN" => Some("127.0.0.1:2".to_owned()),
        "DRUPELET_DATA_DIR" => Some("/env".to_owned()),
        "DRUPELET_QUERY_TIMEOUT" => Some("5s".to_owned()),
        "DRUPELET_LABELS" => Some("cluster=home,zone=a".to_owned()),
        "DRUPELET_PORT" => Some("tcp://10.0.0.1:3100".to_owned()),
        _ => env(name),
    };
    let mut config = from_text("listen: 127.0.0.1:1\ndata_dir: /file\npods_dir: /file\n").unwrap();
    config.apply_env(&vars).unwrap();
    let flags = raw(&["--listen", "127.0.0.1:3", "--label", "zone=b"]);
    config.apply_flags(&flags).unwrap();
    assert_eq!(config.listen, "127.0.0.1:3");
    assert_eq!(config.data_dir, PathBuf::from("/env"));
    assert_eq!(config.pods_dir, PathBuf::from("/file"));
    assert_eq!(config.query_timeout, Duration::from_secs(5));
    let labels: Vec<_> = config
        .labels
        .iter()
        .map(|(n, v)| format!("{n}={v}"))
        .collect();
    assert_eq!(labels, ["cluster=home", "zone=b"]);

    let bad = |args: &[&str], want: &str| {
        let failure = Config::load(&raw(args), &env).unwrap_err();
        assert_eq!(failure.message(), want);
    };
    bad(
        &["--listen", "nowhere"],
        "`--listen` is `nowhere`, expected an address and port such as 127.0.0.1:3100",
    );
    bad(&["--label", "x"], "`--label` is `x`, expected NAME=VALUE");
    let many: Vec<String> = (0..8)
        .flat_map(|i| ["--label".to_owned(), format!("l{i}=x")])
        .collect();
    bad(
        &many.iter().map(String::as_str).collect::<Vec<_>>(),
        "8 labels are configured, at most 7 are possible beside drupelet's own",
    );
}

#[test]
fn sizes() {
    let check = |text: &str, want: Option<&str>| {
        assert_eq!(size(text).map(show_size).as_deref(), want, "{text}");
    };
    check("256KB", Some("256KiB"));
    check("4MiB", Some("4MiB"));
    check("4 mb", Some("4MiB"));
    check("1000", Some("1000B"));
    check("1G", Some("1GiB"));
    for bad in ["", "MB", "1.5MB", "-1", "1TB", "99999999999999999999"] {
        check(bad, None);
    }
    let g = "99999999999999G";
    check(g, None);
}

#[test]
fn what_is_kept() {
    let config = from_text(
        "max_disk: 4GiB\nmin_free: 5%\nclock: trusted\ncatch_up_rate: 0\ncatch_up_order: newest\n\
         limits_config:\n  retention_period: 7d\n",
    )
    .unwrap();
    assert_eq!(config.max_disk, Some(Share::Bytes(4 << 30)));
    assert_eq!(config.min_free, Some(Share::Percent(5)));
    assert_eq!(config.clock, Trust::Always);
    assert_eq!(config.catch_up_rate, None);
    let week = Duration::from_secs(7 * 86_400);
    assert_eq!(config.retention_period, Some(week));
    assert_eq!(Config::defaults(&env).retention_period, Some(week));
    for off in [
        "max_disk: 0",
        "min_free: 0%",
        "limits_config: {retention_period: 0}",
    ] {
        let config = from_text(off).unwrap();
        let all = config.max_disk.is_some() && config.min_free.is_some();
        assert!(!all || config.retention_period.is_none(), "{off}");
    }
    for (text, what) in [
        (
            "max_disk: 101%",
            "a share of the file system such as 10%, or a size such as 4GiB",
        ),
        (
            "max_disk: a lot",
            "a share of the file system such as 10%, or a size such as 4GiB",
        ),
        (
            "min_free: -1%",
            "a share of the file system such as 20%, or a size such as 4GiB",
        ),
        (
            "catch_up_rate: 1KiB",
            "a size of at least 64KiB such as 8MiB, or 0",
        ),
    ] {
        let (key, value) = text.split_once(": ").unwrap();
        check_error(
            text,
            &format!("c.yaml:1: `{key}` is `{value}`, expected {what}|"),
        );
    }
    check_error(
        "limits_config:\n  retention_period: 5m\n",
        "c.yaml:2: `limits_config.retention_period` is `5m`, expected a duration of at least 1h such as 168h or 7d, or 0|",
    );
}

#[test]
fn printed_configuration_reads_back() {
    let text = "pods_dir: '/odd: $$path # x'\nlisten: '[::1]:0'\nreader: pread\nflush_interval: 90s\n\
                max_disk: 1000B\nmin_free: 0\ncatch_up_rate: 0\n\
                labels:\n  cluster: 'a $$ \"b\"'\nlimits_config:\n  max_query_series: 7\n  retention_period: 0\n";
    for text in ["", text] {
        let config = from_text(text).unwrap();
        let printed = config.to_yaml(&env);
        let again = from_text(&printed).unwrap();
        assert_eq!(again, config, "{printed}");
        assert_eq!(again.to_yaml(&env), printed);
    }
}

#[test]
fn keys_that_a_reload_changes_exist() {
    let live = |path: &str| {
        assert!(keys().any(|key| key.path == path), "{path} is no key");
        crate::reload::is_live(path)
    };
    assert!(live("log_level") && live("flush_interval") && live("limits_config.max_line_size"));
    assert!(!live("max_line_size") && !live("limits_config.max_recv_msg_size"));
}

#[test]
fn clients_are_promtails() {
    let text = "clients:\n  - url: http://u:p@a:3100\n    tenant_id: home\n    batchwait: 2s\n    batchsize: 1048576\n    \
                timeout: 5s\n    backoff_config: {min_period: 1s, max_period: 1m}\n";
    let client = from_text(text).unwrap().client.unwrap();
    assert_eq!(client.url, "http://u:p@a:3100");
    assert_eq!(client.tenant_id.as_deref(), Some("home"));
    assert_eq!(
        (client.batch_wait.as_secs(), client.batch_size),
        (2, 1 << 20)
    );
    assert_eq!(
        (client.timeout.as_secs(), client.max_period.as_secs()),
        (5, 60)
    );
    assert_eq!(from_text("clients: []\n").unwrap().client, None);
    let flags = raw_agent(&["--push-url", "http://b"]);
    assert_eq!(
        Config::load(&flags, &env).unwrap().client.unwrap().url,
        "http://b"
    );
    assert_eq!(Config::load(&flags, &env).unwrap().listen, "127.0.0.1:3101");

    let check = |text: &str, want: &str| check_error(&format!("clients:\n{text}"), want);
    check(
        "  - url: http://a\n  - url: http://b\n",
        "c.yaml:3: a second client: this version pushes to one; several come later|several agents with a `data_dir` of \
         their own can push to several servers",
    );
    check(
        "  - ulr: http://a\n",
        "c.yaml:2: unknown key `clients.ulr`|did you mean `clients.url`?",
    );
    check("  - batchwait: 1s\n", "c.yaml:2: a client needs a `url`|");
    check(
        "  - url: http://a\n    batchwait: soon\n",
        "c.yaml:3: `clients.batchwait` is `soon`, expected a duration such as 500ms, 1s or 5m|",
    );
    check(
        "  - url: http://a\n    external_labels: {a: b}\n",
        "c.yaml:3: unknown key `clients.external_labels`|use `labels` at the top of the file",
    );
    check(
        "  - url: http://a\n    backoff_config: {max_retries: 3}\n",
        "c.yaml:3: unknown key `clients.backoff_config.max_retries`|tries have no limit here: leave it out",
    );
    check(
        "  - url: http://a\n    basic_auth: {username: u}\n",
        "c.yaml:2: basic_auth needs a `password` or `password_file`|",
    );
    check(
        "  - url: a:3100\n",
        "c.yaml:2: cannot push to `a:3100`: it must begin with http:// or https://|",
    );
    check_error(
        "clients: http://a\n",
        "c.yaml:1: `clients` must be a list such as `- url: http://loki:3100`|",
    );
}
