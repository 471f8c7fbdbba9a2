//! The `clients` section: where `drupelet agent` pushes to. Names and meanings are Promtail's.

use std::path::PathBuf;
use std::time::Duration;

use agent::ship::{Auth, Client, Secret, Tls};

use crate::report::{Failure, nearest};
use crate::time::{parse_duration, show_duration};
use crate::yaml::{Node, Value, scalar};

/// What stands for a secret in printed text.
const HIDDEN: &str = "'********'  # set, not shown";

/// What the keys of one client say, before they are put together.
#[derive(Debug, Default)]
struct Raw {
    url: Option<String>,
    tenant_id: Option<String>,
    batchwait: Option<Duration>,
    batchsize: Option<usize>,
    timeout: Option<Duration>,
    min_period: Option<Duration>,
    max_period: Option<Duration>,
    username: Option<String>,
    password: Option<Secret>,
    bearer_token: Option<Secret>,
    ca_file: Option<PathBuf>,
    insecure_skip_verify: Option<bool>,
}

/// A key of a client: path, what it takes, how it is set.
struct Key {
    path: &'static str,
    expects: &'static str,
    set: fn(&mut Raw, &str) -> Option<()>,
}

const DURATION: &str = "a duration such as 500ms, 1s or 5m";
const KEYS: &[Key] = &[
    key(
        "url",
        "a URL such as http://loki:3100/loki/api/v1/push",
        |r, v| some(&mut r.url, text(v)),
    ),
    key("tenant_id", "text", |r, v| some(&mut r.tenant_id, text(v))),
    key("batchwait", DURATION, |r, v| {
        some(&mut r.batchwait, duration(v))
    }),
    key("batchsize", "a size in bytes from 4KiB to 16MiB", |r, v| {
        let size = crate::config::size(v).filter(|n| (4 << 10..=16 << 20).contains(n));
        some(&mut r.batchsize, size)
    }),
    key("timeout", DURATION, |r, v| {
        some(&mut r.timeout, duration(v))
    }),
    key("backoff_config.min_period", DURATION, |r, v| {
        some(&mut r.min_period, duration(v))
    }),
    key("backoff_config.max_period", DURATION, |r, v| {
        some(&mut r.max_period, duration(v))
    }),
    key("basic_auth.username", "text", |r, v| {
        some(&mut r.username, text(v))
    }),
    key("basic_auth.password", "text", |r, v| {
        some(&mut r.password, text(v).map(Secret::Text))
    }),
    key("basic_auth.password_file", "a file", |r, v| {
        some(&mut r.password, text(v).map(|v| Secret::File(v.into())))
    }),
    key("bearer_token", "text", |r, v| {
        some(&mut r.bearer_token, text(v).map(Secret::Text))
    }),
    key("bearer_token_file", "a file", |r, v| {
        some(&mut r.bearer_token, text(v).map(|v| Secret::File(v.into())))
    }),
    key("tls_config.ca_file", "a file", |r, v| {
        some(&mut r.ca_file, text(v).map(PathBuf::from))
    }),
    key(
        "tls_config.insecure_skip_verify",
        "true or false",
        |r, v| some(&mut r.insecure_skip_verify, v.parse().ok()),
    ),
];
const SECTIONS: [&str; 3] = ["backoff_config", "basic_auth", "tls_config"];
/// Keys of Promtail that are known and do something else here.
const ELSEWHERE: &[(&str, &str)] = &[
    ("external_labels", "use `labels` at the top of the file"),
    (
        "backoff_config.max_retries",
        "tries have no limit here: leave it out",
    ),
    (
        "drop_rate_limited_batches",
        "nothing is dropped here: leave it out",
    ),
];
/// Shown instead of a value that is a secret.
const SECRETS: [&str; 3] = ["url", "basic_auth.password", "bearer_token"];

const fn key(
    path: &'static str,
    expects: &'static str,
    set: fn(&mut Raw, &str) -> Option<()>,
) -> Key {
    Key { path, expects, set }
}

/// Sets what is there; `None` if there is nothing.
fn some<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    *place = Some(value?);
    Some(())
}

fn text(value: &str) -> Option<String> {
    (!value.is_empty() && !value.contains(char::is_control)).then(|| value.to_owned())
}

fn duration(value: &str) -> Option<Duration> {
    parse_duration(value).filter(|d| *d >= Duration::from_millis(1))
}

/// Makes failures with a place in the file.
pub(crate) type At<'a> = &'a dyn Fn(usize, String) -> Failure;
/// Expands the variables of a scalar: path, what is expected, node.
pub(crate) type Text<'a> = &'a dyn Fn(&str, &str, &Node) -> Result<Option<String>, Failure>;

/// Reads `clients`, a list of at most one; `client`, the older form without a list, is the same.
///
/// # Errors
/// Unknown keys, mistyped values, a second client; each with its line.
pub(crate) fn read(node: &Node, at: At<'_>, text: Text<'_>) -> Result<Option<Client>, Failure> {
    let list = match &node.value {
        Value::Null => return Ok(None),
        Value::Map(_) => std::slice::from_ref(node),
        Value::List(list) => list,
        Value::Scalar(_) => {
            return Err(at(
                node.line,
                "`clients` must be a list such as `- url: http://loki:3100`".to_owned(),
            ));
        }
    };
    if let Some(second) = list.get(1) {
        let failure = at(
            second.line,
            "a second client: this version pushes to one; several come later".to_owned(),
        );
        return Err(failure.with_hint(
            "several agents with a `data_dir` of their own can push to several servers",
        ));
    }
    let Some(first) = list.first() else {
        return Ok(None);
    };
    let mut raw = Raw::default();
    section(&mut raw, "", first, at, text)?;
    finish(raw).map(Some).map_err(|why| at(first.line, why))
}

fn section(
    raw: &mut Raw,
    prefix: &str,
    node: &Node,
    at: At<'_>,
    text: Text<'_>,
) -> Result<(), Failure> {
    let pairs = match &node.value {
        Value::Null => return Ok(()),
        Value::Map(pairs) => pairs,
        Value::Scalar(_) | Value::List(_) => {
            let name = format!("clients.{prefix}");
            return Err(at(
                node.line,
                format!("`{}` must be a map of keys", name.trim_end_matches('.')),
            ));
        }
    };
    for (name, line, value) in pairs {
        let path = format!("{prefix}{name}");
        if SECTIONS.contains(&path.as_str()) {
            section(raw, &format!("{path}."), value, at, text)?;
            continue;
        }
        let Some(key) = KEYS.iter().find(|k| k.path == path) else {
            return Err(unknown(&path, *line, at));
        };
        let Some(found) = text(&format!("clients.{path}"), key.expects, value)? else {
            continue;
        };
        (key.set)(raw, &found).ok_or_else(|| {
            let found = if SECRETS.contains(&key.path) {
                "not shown".to_owned()
            } else {
                format!("`{found}`")
            };
            at(
                value.line,
                format!("`clients.{path}` is {found}, expected {}", key.expects),
            )
        })?;
    }
    Ok(())
}

fn unknown(path: &str, line: usize, at: At<'_>) -> Failure {
    let failure = at(line, format!("unknown key `clients.{path}`"));
    if let Some((_, what)) = ELSEWHERE.iter().find(|(known, _)| *known == path) {
        return failure.with_hint(*what);
    }
    let known = KEYS.iter().map(|k| k.path).chain(SECTIONS);
    match nearest(path, known) {
        Some(near) => failure.with_hint(format!("did you mean `clients.{near}`?")),
        None => failure.with_hint("docs/CONFIGURATION.md lists the keys of a client"),
    }
}

fn finish(raw: Raw) -> Result<Client, String> {
    let url = raw.url.ok_or("a client needs a `url`")?;
    let mut client = Client::new(&url);
    client.tenant_id = raw.tenant_id;
    client.auth = match (raw.username, raw.password, raw.bearer_token) {
        (None, None, None) => Auth::None,
        (Some(username), Some(password), None) => Auth::Basic { username, password },
        (None, None, Some(token)) => Auth::Bearer(token),
        (Some(_), None, None) => {
            return Err("basic_auth needs a `password` or `password_file`".to_owned());
        }
        (None, Some(_), None) => return Err("basic_auth needs a `username`".to_owned()),
        (_, _, Some(_)) => {
            return Err("basic_auth and bearer_token are both set; leave one of them".to_owned());
        }
    };
    client.tls = Tls {
        ca_file: raw.ca_file,
        insecure_skip_verify: raw.insecure_skip_verify.unwrap_or(false),
    };
    client.batch_wait = raw.batchwait.unwrap_or(client.batch_wait);
    client.batch_size = raw.batchsize.unwrap_or(client.batch_size);
    client.timeout = raw.timeout.unwrap_or(client.timeout);
    client.min_period = raw.min_period.unwrap_or(client.min_period);
    client.max_period = raw.max_period.unwrap_or(client.max_period);
    if client.min_period > client.max_period {
        return Err("backoff_config: min_period is longer than max_period".to_owned());
    }
    client.endpoint().map_err(|e| e.to_string())?;
    Ok(client)
}

/// The client as YAML, without secrets.
pub(crate) fn to_yaml(client: Option<&Client>) -> String {
    let help = "\n# Where `drupelet agent` pushes to; see docs/CONFIGURATION.md for its keys.\n";
    let Some(c) = client else {
        return format!("{help}clients: []  # default\n");
    };
    let default = Client::new("");
    let plain = |text: &str| scalar(text).replace('$', "$$");
    let url = agent::ship::endpoint::shown(&c.url);
    let user = if url == c.url {
        ""
    } else {
        "  # its user and password are set, not shown"
    };
    let mut out = format!(
        "{help}clients:  # default: []\n  - url: {}{user}\n",
        plain(&url)
    );
    let mut line = |indent: &str, name: &str, value: String| {
        out.push_str(&format!("    {indent}{name}: {value}\n"))
    };
    if let Some(tenant) = &c.tenant_id {
        line("", "tenant_id", plain(tenant));
    }
    let secret = |secret: &Secret, name: &str| match secret {
        Secret::Text(_) => (name.to_owned(), HIDDEN.to_owned()),
        Secret::File(path) => (format!("{name}_file"), plain(&path.to_string_lossy())),
    };
    match &c.auth {
        Auth::None => {}
        Auth::Basic { username, password } => {
            line("", "basic_auth", String::new());
            line("  ", "username", plain(username));
            let (name, value) = secret(password, "password");
            line("  ", &name, value);
        }
        Auth::Bearer(token) => {
            let (name, value) = secret(token, "bearer_token");
            line("", &name, value);
        }
    }
    let note = |value: String, default: String| {
        if value == default {
            format!("{value}  # default")
        } else {
            format!("{value}  # default: {default}")
        }
    };
    let time = |value, default| note(show_duration(value), show_duration(default));
    let size = crate::config::show_size;
    line("", "batchwait", time(c.batch_wait, default.batch_wait));
    line(
        "",
        "batchsize",
        note(size(c.batch_size), size(default.batch_size)),
    );
    line("", "timeout", time(c.timeout, default.timeout));
    line("", "backoff_config", String::new());
    line("  ", "min_period", time(c.min_period, default.min_period));
    line("  ", "max_period", time(c.max_period, default.max_period));
    if c.tls != default.tls {
        line("", "tls_config", String::new());
        if let Some(file) = &c.tls.ca_file {
            line("  ", "ca_file", plain(&file.to_string_lossy()));
        }
        line(
            "  ",
            "insecure_skip_verify",
            c.tls.insecure_skip_verify.to_string(),
        );
    }
    out.replace(": \n", ":\n")
}
