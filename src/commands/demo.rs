//! `drupelet demo`: an invented node, the appliance on it, and three queries with their answers.

use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use disk::Disk;
use wire::query::{Answer, Sample};

use crate::appliance::{self, Parts};
use crate::args::Raw;
use crate::ask::Target;
use crate::config::Config;
use crate::demo::Node;
use crate::http_client::encode;
use crate::reload::Reloader;
use crate::report::{Failure, Newlines, sanitise};
use crate::time::{now_ns, rfc3339};

const MINUTE: i64 = 60_000_000_000;
const HISTORY_MINUTES: i64 = 15;
/// Distance of two writes of the live node.
const TICK: Duration = Duration::from_millis(250);
/// The first answers are due ten seconds after the start; with fewer lines they are shown all the same.
const CATCH_UP_MAX: Duration = Duration::from_secs(8);
/// Columns of a result line.
const WIDTH: usize = 110;

struct Example {
    title: &'static str,
    query: &'static str,
    /// Entries asked for; `None` for a metric at one instant.
    limit: Option<u32>,
}

const EXAMPLES: [Example; 3] = [
    Example {
        title: "What went wrong at the web front",
        query: r#"{namespace="web"} |~ " 50[0-9] |error""#,
        limit: Some(4),
    },
    Example {
        title: "Who writes how much",
        query: r#"sum by (namespace) (count_over_time({namespace=~".+"}[15m]))"#,
        limit: None,
    },
    Example {
        title: "Errors per pod and second",
        query: r#"topk(4, sum by (pod) (rate({namespace=~".+"} |~ `(?i)\berror|fatal` [5m])))"#,
        limit: None,
    },
];

/// # Errors
/// What kept the demo from starting.
pub(crate) fn run(raw: &Raw) -> Result<(), Failure> {
    let root = std::env::temp_dir().join(format!("drupelet-demo-{}", std::process::id()));
    let result = in_dir(raw, &root);
    // Best effort: the directory is in the system's temporary place.
    let _ = std::fs::remove_dir_all(&root);
    say(&format!("Removed {}\n", root.display()));
    result
}

fn in_dir(raw: &Raw, root: &Path) -> Result<(), Failure> {
    let config = Config::for_demo(raw, root)?;
    crate::logging::init(config.log_level);
    let listener = listener(raw, &config)?;
    let disk: Arc<dyn Disk> = Arc::new(disk::real::RealDisk::new());
    let failed = |e: io::Error| {
        Failure::caused(
            format!("cannot write demo logs to `{}`", root.display()),
            &e,
        )
    };
    let now = now_ns();
    let mut node =
        Node::new(&disk, &config.pods_dir, now - HISTORY_MINUTES * MINUTE).map_err(failed)?;
    let lines = node.advance(now).map_err(failed)?;
    say(&format!(
        "{} pods write logs into {}; {lines} lines of the last {HISTORY_MINUTES} minutes are there\n",
        node.len(),
        config.pods_dir.display()
    ));
    let (alive, ended) = channel();
    std::thread::scope(|scope| {
        let presenter_ended = ended;
        let reloader = Reloader::fixed(&config);
        let result = appliance::run(&config, Parts::All, listener, reloader, move |addr| {
            let (writer_alive, writer_ended) = channel::<()>();
            scope.spawn(move || keep_writing(&mut node, &writer_ended));
            scope.spawn(move || {
                present(addr, lines, &presenter_ended);
                // The writer lives as long as this thread holds its channel.
                let _ = presenter_ended.recv();
                drop(writer_alive);
            });
        });
        drop::<std::sync::mpsc::Sender<()>>(alive);
        result
    })
}

/// The demo is for a first look: a taken port is no reason to fail, unless the user named it.
fn listener(raw: &Raw, config: &Config) -> Result<TcpListener, Failure> {
    match appliance::bind(&config.listen) {
        Err(_) if !raw.has("listen") => {
            let listener = appliance::bind("127.0.0.1:0")?;
            say(&format!("{} is taken; using a free port\n", config.listen));
            Ok(listener)
        }
        bound => bound,
    }
}

fn keep_writing(node: &mut Node, ended: &Receiver<()>) {
    while matches!(ended.recv_timeout(TICK), Err(RecvTimeoutError::Timeout)) {
        if let Err(e) = node.advance(now_ns()) {
            tracing::error!(error = %e, "the demo cannot write its logs");
            return;
        }
    }
}

fn present(addr: SocketAddr, lines: u64, ended: &Receiver<()>) {
    let url = format!("http://{addr}");
    let target = Target::from_url(&url);
    let deadline = Instant::now() + CATCH_UP_MAX;
    while count(&target).is_none_or(|n| n < lines) && Instant::now() < deadline {
        let pause = ended.recv_timeout(Duration::from_millis(100));
        if !matches!(pause, Err(RecvTimeoutError::Timeout)) {
            return;
        }
    }
    let program = std::env::args_os()
        .next()
        .map_or_else(|| PathBuf::from("drupelet"), PathBuf::from);
    let mut text = String::from("\nThree queries to try, and what they answer now:\n");
    for (i, example) in EXAMPLES.iter().enumerate() {
        text.push_str(&format!("\n{}. {}\n\n", i + 1, example.title));
        text.push_str(&commands(example, &url, &program));
        text.push_str(&match answer(&target, example) {
            Ok(rows) if rows.is_empty() => "     (nothing yet)\n".to_owned(),
            Ok(rows) => rows.concat(),
            Err(failure) => format!("     {}\n", failure.message()),
        });
    }
    text.push_str(&format!(
        "\nIn Grafana: add a data source of type Loki with the URL {url}\n\
         New lines keep coming. Ctrl-C ends the demo and removes its files.\n"
    ));
    say(&text);
}

/// Lines stored so far.
fn count(target: &Target) -> Option<u64> {
    let query = encode(r#"sum(count_over_time({namespace=~".+"}[30m]))"#);
    let body = target
        .get(&format!("/loki/api/v1/query?query={query}"))
        .ok()?;
    match wire::query::decode(&body).ok()? {
        Answer::Vector(points) => points.first().map(|p| p.value.1 as u64),
        _ => None,
    }
}

fn commands(example: &Example, url: &str, program: &Path) -> String {
    let (program, query) = (program.display(), example.query);
    let limit = example.limit.map(|n| n.to_string());
    let (flag, endpoint, parameter) = match &limit {
        Some(n) => (
            format!(" --limit {n}"),
            "query_range",
            format!(" --data-urlencode limit={n}"),
        ),
        None => (String::new(), "query", String::new()),
    };
    format!(
        "   {program} query --url {url}{flag} '{query}'\n   \
         curl -sG {url}/loki/api/v1/{endpoint}{parameter} --data-urlencode 'query={query}'\n\n"
    )
}

fn answer(target: &Target, example: &Example) -> Result<Vec<String>, Failure> {
    let query = encode(example.query);
    let path = match example.limit {
        Some(limit) => format!("/loki/api/v1/query_range?query={query}&limit={limit}"),
        None => format!("/loki/api/v1/query?query={query}"),
    };
    let body = target.get(&path)?;
    let answer =
        wire::query::decode(&body).map_err(|e| Failure::caused("the answer cannot be read", &e))?;
    Ok(match answer {
        Answer::Streams(streams) => {
            let mut entries: Vec<_> = streams.iter().flat_map(|s| &s.entries).collect();
            entries.sort_by_key(|e| std::cmp::Reverse(e.ts));
            let row = |ts, line: &str| row(&format!("{} {line}", &rfc3339(ts, 3)[11..]));
            entries.iter().map(|e| row(e.ts, &e.line)).collect()
        }
        Answer::Vector(points) => {
            let mut rows: Vec<(f64, String)> = Vec::new();
            for point in &points {
                let Sample(_, value) = point.value;
                let names: Vec<&str> = point.metric.iter().map(|(_, v)| v.as_str()).collect();
                rows.push((value, row(&format!("{value:>9.2}  {}", names.join(" ")))));
            }
            rows.sort_by(|a, b| b.0.total_cmp(&a.0));
            rows.into_iter().map(|(_, row)| row).collect()
        }
        Answer::Matrix(_) | Answer::Scalar(_) => Vec::new(),
    })
}

fn row(text: &str) -> String {
    let text = sanitise(text, Newlines::Escape);
    let cut: String = text.chars().take(WIDTH).collect();
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("     {cut}{more}\n")
}

/// To stdout at once; a reader that went away does not end the demo.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
