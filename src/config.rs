//! Checked configuration: built once from defaults, file, environment and flags, in that order of strength; the rest
//! of the program sees nothing else.
//!
//! One table ([`KEYS`]) holds each key's path, meaning, reader and printer; the file reader, the environment, the
//! flags, `drupelet check` and the suggestions for unknown keys all come from it.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent::config::CatchUpOrder;
use agent::ship::Client;
use agent::ship::endpoint::shown;
use store::clock::Trust;
use store::retention::Share;

use crate::args::Raw;
use crate::clients;
use crate::report::{Failure, nearest};
use crate::time::{parse_duration, show_duration};
use crate::yaml::{self, Node, Value, scalar};

mod push;

/// How pod logs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Probe, then choose.
    Auto,
    /// io_uring or fail.
    Uring,
    /// Plain reads.
    Pread,
}

/// Everything that can be set. Sizes in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// Pod logs.
    pub(crate) pods_dir: PathBuf,
    /// The store.
    pub(crate) data_dir: PathBuf,
    /// HTTP address.
    pub(crate) listen: String,
    /// Value of the `node` label.
    pub(crate) node_name: String,
    /// Labels of every stream.
    pub(crate) labels: BTreeMap<String, String>,
    /// Where to push to.
    pub(crate) client: Option<Client>,
    /// How logs are read.
    pub(crate) reader: Reader,
    /// Own logs.
    pub(crate) log_level: tracing::Level,
    /// Longest line; more is cut and counted.
    pub(crate) max_line_size: usize,
    /// The head's pool.
    pub(crate) head_bytes: usize,
    /// Oldest an entry gets before it is written to disk.
    pub(crate) flush_interval: Duration,
    /// Longest time until a push survives a power cut.
    pub(crate) push_sync_interval: Duration,
    /// File for pushes that are not in a segment.
    pub(crate) push_log_size: usize,
    /// How long logs are kept; `None`: for ever.
    pub(crate) retention_period: Option<Duration>,
    /// Most bytes of the store; `None`: no bound.
    pub(crate) max_disk: Option<Share>,
    /// Least bytes left free; `None`: no bound.
    pub(crate) min_free: Option<Share>,
    /// Who vouches for the clock.
    pub(crate) clock: Trust,
    /// Bytes a second while catching up; `None`: no bound.
    pub(crate) catch_up_rate: Option<usize>,
    /// Which containers first.
    pub(crate) catch_up_order: CatchUpOrder,
    /// Series a query may give.
    pub(crate) max_query_series: usize,
    /// Entries a query may ask for.
    pub(crate) max_entries_limit_per_query: usize,
    /// Time a query may take.
    pub(crate) query_timeout: Duration,
    /// Range a query may span.
    pub(crate) max_query_length: Duration,
    /// Memory a query may take.
    pub(crate) query_memory: usize,
    /// Memory that all queries may take.
    pub(crate) query_memory_total: usize,
    /// Queries at once.
    pub(crate) max_concurrent: usize,
    /// Threads of a query.
    pub(crate) query_threads: usize,
    /// Bytes of lines a query may look at; `None`: no bound.
    pub(crate) max_query_bytes_read: Option<u64>,
    /// Steps lie on multiples of the step.
    pub(crate) align_queries_with_step: bool,
    /// `stream` objects of categorised answers repeat the labels of their rows.
    pub(crate) fold_categorized_labels: bool,
    /// What pushes may contain.
    pub(crate) push: store::ingest::PushLimits,
}

/// A key with its values in two configurations, as they would be written in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub(crate) path: &'static str,
    pub(crate) old: String,
    pub(crate) new: String,
}

/// One key of the file.
struct Key {
    /// Path with dots; the environment's name is the last part.
    path: &'static str,
    help: &'static str,
    expects: &'static str,
    set: fn(&mut Config, &str) -> Option<()>,
    show: fn(&Config) -> String,
}

const SECTION: &str = "limits_config";
/// Where the agent alone listens: beside a store on the same node.
const AGENT_LISTEN: &str = "127.0.0.1:3101";
/// Larger files are refused: a configuration of a thousand keys has 100 KiB.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Loki's limit on label names of a stream is 15; eight are always there.
const LABELS_MAX: usize = 7;
const OWN_LABELS: [&str; 8] = [
    "namespace",
    "pod",
    "container",
    "app",
    "job",
    "stream",
    "node",
    "service_name",
];
const LABEL_VALUE_BYTES_MAX: usize = 2048;

const SIZE: &str = "a size such as 256KB or 4MiB";
const KEYS: &[Key] = &[
    Key {
        path: "pods_dir",
        help: "Where the kubelet keeps pod logs.",
        expects: "a directory",
        set: |c, v| dir(v).map(|v| c.pods_dir = v),
        show: |c| scalar(&c.pods_dir.to_string_lossy()),
    },
    Key {
        path: "data_dir",
        help: "Where the store is.",
        expects: "a directory",
        set: |c, v| dir(v).map(|v| c.data_dir = v),
        show: |c| scalar(&c.data_dir.to_string_lossy()),
    },
    Key {
        path: "listen",
        help: "HTTP address. There is no authentication yet: beyond loopback, let a firewall or NetworkPolicy decide who asks.",
        expects: "an address and port such as 127.0.0.1:3100",
        set: |c, v| address(v).map(|()| c.listen = v.to_owned()),
        show: |c| scalar(&c.listen),
    },
    Key {
        path: "node_name",
        help: "Value of the `node` label. Default: $NODE_NAME, else the host's name.",
        expects: "a name of 1 to 253 characters",
        set: |c, v| {
            (!v.is_empty() && v.len() <= 253 && !v.contains(char::is_control))
                .then(|| c.node_name = v.to_owned())
        },
        show: |c| scalar(&c.node_name),
    },
    Key {
        path: "reader",
        help: "How logs are read: `auto` probes io_uring once at start.",
        expects: "auto, uring or pread",
        set: |c, v| pick(v, READERS).map(|v| c.reader = v),
        show: |c| name_of(c.reader, READERS),
    },
    Key {
        path: "log_level",
        help: "Own logs, on stderr.",
        expects: "error, warn, info, debug or trace",
        set: |c, v| pick(v, LEVELS).map(|v| c.log_level = v),
        show: |c| name_of(c.log_level, LEVELS),
    },
    Key {
        path: "max_line_size",
        help: "Longest log line; more is cut and counted.",
        expects: "a size from 1KiB to 1MiB",
        set: |c, v| within(size(v)?, 1 << 10, 1 << 20).map(|v| c.max_line_size = v),
        show: |c| show_size(c.max_line_size),
    },
    Key {
        path: "head_bytes",
        help: "Memory for entries that are not yet on disk (compressed, so it holds some five times as much log).",
        expects: "a size from 1MiB to 1GiB",
        set: |c, v| within(size(v)?, 1 << 20, 1 << 30).map(|v| c.head_bytes = v),
        show: |c| show_size(c.head_bytes),
    },
    Key {
        path: "flush_interval",
        help: "Oldest an entry gets before it is written to disk. Shorter costs card life; the pod log keeps it until then.",
        expects: "a duration of at least 1s such as 30m or 1h30m",
        set: |c, v| at_least_1s(v).map(|v| c.flush_interval = v),
        show: |c| show_duration(c.flush_interval),
    },
    Key {
        path: "push_sync_interval",
        help: "Longest time until an acknowledged push survives a power cut, too; 0s: before it is acknowledged.",
        expects: "a duration of at most 1h such as 1s or 0s",
        set: |c, v| at_most_1h(v).map(|v| c.push_sync_interval = v),
        show: |c| show_duration(c.push_sync_interval),
    },
    Key {
        path: "push_log_size",
        help: "File for pushes, and lines of containers that ended, that are not in a segment yet.",
        expects: "a size from 1MiB to 1GiB",
        set: |c, v| within(size(v)?, 1 << 20, 1 << 30).map(|v| c.push_log_size = v),
        show: |c| show_size(c.push_log_size),
    },
    Key {
        path: "max_disk",
        help: "Most space that the store takes; beyond it the oldest segments are removed. 0: no bound.",
        expects: "a share of the file system such as 10%, or a size such as 4GiB",
        set: |c, v| share(v).map(|v| c.max_disk = v),
        show: |c| show_share(c.max_disk),
    },
    Key {
        path: "min_free",
        help: "Least space that is left free, whoever fills the disk; below it the oldest segments are removed. 0: no bound.",
        expects: "a share of the file system such as 20%, or a size such as 4GiB",
        set: |c, v| share(v).map(|v| c.min_free = v),
        show: |c| show_share(c.min_free),
    },
    Key {
        path: "clock",
        help: "Whether to believe the clock: `auto` asks the kernel, `trusted` is for a hardware clock without a time service.",
        expects: "auto or trusted",
        set: |c, v| pick(v, CLOCKS).map(|v| c.clock = v),
        show: |c| name_of(c.clock, CLOCKS),
    },
    Key {
        path: "catch_up_rate",
        help: "Bytes a second that are read of the logs found at the start, so that others get at the card. 0: as fast as it goes.",
        expects: "a size of at least 64KiB such as 8MiB, or 0",
        set: |c, v| rate(v).map(|v| c.catch_up_rate = v),
        show: |c| show_size(c.catch_up_rate.unwrap_or(0)),
    },
    Key {
        path: "catch_up_order",
        help: "Whose logs found at the start are read first: `even` reads all containers in turn, `newest` those that wrote last.",
        expects: "even or newest",
        set: |c, v| pick(v, ORDERS).map(|v| c.catch_up_order = v),
        show: |c| name_of(c.catch_up_order, ORDERS),
    },
    Key {
        path: "limits_config.retention_period",
        help: "How long logs are kept, counted from when they were stored. 0: for ever.",
        expects: "a duration of at least 1h such as 168h or 7d, or 0",
        set: |c, v| period(v).map(|v| c.retention_period = v),
        show: |c| show_duration(c.retention_period.unwrap_or_default()),
    },
    Key {
        path: "limits_config.max_query_series",
        help: "Series one metric query may give.",
        expects: "a number of at least 1",
        set: |c, v| count(v).map(|v| c.max_query_series = v),
        show: |c| c.max_query_series.to_string(),
    },
    Key {
        path: "limits_config.max_entries_limit_per_query",
        help: "Entries one log query may ask for.",
        expects: "a number of at least 1",
        set: |c, v| count(v).map(|v| c.max_entries_limit_per_query = v),
        show: |c| c.max_entries_limit_per_query.to_string(),
    },
    Key {
        path: "limits_config.query_timeout",
        help: "Time one query may take.",
        expects: "a duration of at least 1s such as 1m",
        set: |c, v| at_least_1s(v).map(|v| c.query_timeout = v),
        show: |c| show_duration(c.query_timeout),
    },
    Key {
        path: "limits_config.max_query_length",
        help: "Time range one query may span.",
        expects: "a duration of at least 1s such as 721h",
        set: |c, v| at_least_1s(v).map(|v| c.max_query_length = v),
        show: |c| show_duration(c.max_query_length),
    },
    Key {
        path: "limits_config.query_memory",
        help: "Memory one query may take.",
        expects: SIZE,
        set: |c, v| within(size(v)?, 1 << 20, 1 << 30).map(|v| c.query_memory = v),
        show: |c| show_size(c.query_memory),
    },
    Key {
        path: "limits_config.query_memory_total",
        help: "Memory all queries together may take, beyond 512 KiB of each. Those that need more wait for it.",
        expects: "a size from 1MiB to 16GiB",
        set: |c, v| within(size(v)?, 1 << 20, 16 << 30).map(|v| c.query_memory_total = v),
        show: |c| show_size(c.query_memory_total),
    },
    Key {
        path: "limits_config.max_concurrent",
        help: "Queries that run at once; 32 more may wait. Loki has this in its section `querier`.",
        expects: "a number from 1 to 256",
        set: |c, v| within(v.parse().ok()?, 1, 256).map(|v| c.max_concurrent = v),
        show: |c| c.max_concurrent.to_string(),
    },
    Key {
        path: "limits_config.query_threads",
        help: "Cores one query may use while others leave them free. 0: all.",
        expects: "a number from 0 to 256",
        set: |c, v| within(v.parse().ok()?, 0, 256).map(|v| c.query_threads = v),
        show: |c| c.query_threads.to_string(),
    },
    Key {
        path: "limits_config.max_query_bytes_read",
        help: "Bytes of lines one query may look at. 0: no bound.",
        expects: SIZE,
        set: |c, v| size(v).map(|v| c.max_query_bytes_read = (v > 0).then_some(v as u64)),
        show: |c| show_size(c.max_query_bytes_read.unwrap_or(0) as usize),
    },
    Key {
        path: "limits_config.align_queries_with_step",
        help: "Whether points of a metric query lie on multiples of its step, as Loki's query frontend has them.",
        expects: "true or false",
        set: |c, v| flag(v).map(|v| c.align_queries_with_step = v),
        show: |c| c.align_queries_with_step.to_string(),
    },
    Key {
        path: "limits_config.fold_categorized_labels",
        help: "Whether answers with categorised labels repeat them in each stream, as a Loki without a query frontend does.",
        expects: "true or false",
        set: |c, v| flag(v).map(|v| c.fold_categorized_labels = v),
        show: |c| c.fold_categorized_labels.to_string(),
    },
];

/// Every key: those of this file, then those of pushes.
fn keys() -> impl Iterator<Item = &'static Key> + Clone {
    KEYS.iter().chain(push::KEYS)
}

const READERS: &[(&str, Reader)] = &[
    ("auto", Reader::Auto),
    ("uring", Reader::Uring),
    ("pread", Reader::Pread),
];
const CLOCKS: &[(&str, Trust)] = &[("auto", Trust::Auto), ("trusted", Trust::Always)];
const ORDERS: &[(&str, CatchUpOrder)] = &[
    ("even", CatchUpOrder::Even),
    ("newest", CatchUpOrder::Newest),
];
const LEVELS: &[(&str, tracing::Level)] = &[
    ("error", tracing::Level::ERROR),
    ("warn", tracing::Level::WARN),
    ("info", tracing::Level::INFO),
    ("debug", tracing::Level::DEBUG),
    ("trace", tracing::Level::TRACE),
];

/// The process environment, or a test's.
pub(crate) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

impl Config {
    /// What an empty configuration gives.
    pub(crate) fn defaults(env: Env<'_>) -> Config {
        let named = env("NODE_NAME").filter(|n| !n.is_empty());
        let host = || {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
        };
        Config {
            pods_dir: "/var/log/pods".into(),
            data_dir: "/var/lib/drupelet".into(),
            listen: "127.0.0.1:3100".to_owned(),
            node_name: named.unwrap_or_else(host),
            labels: BTreeMap::new(),
            client: None,
            reader: Reader::Auto,
            log_level: tracing::Level::INFO,
            max_line_size: 256 << 10,
            head_bytes: 4 << 20,
            flush_interval: Duration::from_secs(30 * 60),
            push_sync_interval: Duration::from_secs(1),
            push_log_size: 16 << 20,
            retention_period: Some(Duration::from_secs(168 * 3600)),
            max_disk: Some(Share::Percent(10)),
            min_free: Some(Share::Percent(20)),
            clock: Trust::Auto,
            catch_up_rate: Some(8 << 20),
            catch_up_order: CatchUpOrder::Even,
            max_query_series: 500,
            max_entries_limit_per_query: 5000,
            query_timeout: Duration::from_secs(60),
            max_query_length: Duration::from_secs(721 * 3600),
            query_memory: 16 << 20,
            query_memory_total: 32 << 20,
            max_concurrent: 16,
            query_threads: 0,
            max_query_bytes_read: Some(32 << 30),
            align_queries_with_step: true,
            fold_categorized_labels: false,
            push: store::ingest::PushLimits::default(),
        }
    }

    /// Builds the configuration of an invocation.
    ///
    /// # Errors
    /// Exit code 2: a file that cannot be read or is not YAML, an unknown key, a mistyped value; each with its place.
    pub(crate) fn load(raw: &Raw, env: Env<'_>) -> Result<Config, Failure> {
        let mut config = Config::defaults(env);
        if raw.command.name == "agent" {
            AGENT_LISTEN.clone_into(&mut config.listen);
        }
        if let Some(file) = Config::file_of(raw, env) {
            let text = read_file(Path::new(&file))?;
            config.apply_file(&file, &text, env)?;
        }
        config.apply_env(env)?;
        config.apply_flags(raw)?;
        if config.labels.len() > LABELS_MAX {
            return Err(Failure::usage(format!(
                "{} labels are configured, at most {LABELS_MAX} are possible beside drupelet's own",
                config.labels.len()
            )));
        }
        Ok(config)
    }

    /// The file of an invocation, if it has one.
    pub(crate) fn file_of(raw: &Raw, env: Env<'_>) -> Option<String> {
        let file = raw.get("config").map(str::to_owned);
        file.or_else(|| env("DRUPELET_CONFIG").filter(|v| !v.is_empty()))
    }

    /// The keys whose values differ in another configuration.
    pub(crate) fn differences(&self, new: &Config) -> Vec<Difference> {
        let labels = |config: &Config| format!("{:?}", config.labels);
        let keys = keys().map(|key| (key.path, (key.show)(self), (key.show)(new)));
        let mut found: Vec<Difference> = keys
            .chain([("labels", labels(self), labels(new))])
            .filter(|(_, old, new)| old != new)
            .map(|(path, old, new)| Difference { path, old, new })
            .collect();
        if self.client != new.client {
            // The URLs may be the same: secrets are shown nowhere.
            let url = |c: &Config| c.client.as_ref().map_or(String::new(), |c| shown(&c.url));
            found.push(Difference {
                path: "clients",
                old: url(self),
                new: url(new),
            });
        }
        found
    }

    /// The demo's: only its own flags count, everything is below `root`.
    ///
    /// # Errors
    /// A mistyped flag.
    pub(crate) fn for_demo(raw: &Raw, root: &Path) -> Result<Config, Failure> {
        let mut config = Config::defaults(&|_| None);
        config.pods_dir = root.join("pods");
        config.data_dir = root.join("data");
        "pi-demo".clone_into(&mut config.node_name);
        config.log_level = tracing::Level::WARN;
        // Whoever tries it on a full disk wants to see logs all the same.
        (config.max_disk, config.min_free) = (None, None);
        // Segments should appear while somebody is looking.
        config.flush_interval = Duration::from_secs(60);
        config.apply_flags(raw)?;
        Ok(config)
    }

    fn apply_file(&mut self, file: &str, text: &str, env: Env<'_>) -> Result<(), Failure> {
        let fail = |e: yaml::YamlError| Failure::usage(format!("{file}:{}: {}", e.line, e.message));
        let Some(root) = yaml::parse(text).map_err(fail)? else {
            return Ok(());
        };
        FileReader {
            file,
            env,
            config: self,
        }
        .section("", &root)
    }

    /// Only names of known keys are looked at: Kubernetes puts `DRUPELET_SERVICE_HOST`, `DRUPELET_PORT` and the like
    /// into every pod beside a Service called drupelet.
    fn apply_env(&mut self, env: Env<'_>) -> Result<(), Failure> {
        for key in keys() {
            let name = env_name(key);
            let Some(value) = env(&name).filter(|v| !v.is_empty()) else {
                continue;
            };
            (key.set)(self, &value).ok_or_else(|| mistyped(&name, &value, key.expects))?;
        }
        if let Some(url) = env("DRUPELET_PUSH_URL").filter(|v| !v.is_empty()) {
            self.push_url("DRUPELET_PUSH_URL", &url)?;
        }
        let Some(labels) = env("DRUPELET_LABELS").filter(|v| !v.is_empty()) else {
            return Ok(());
        };
        for pair in labels.split(',') {
            self.label_pair("DRUPELET_LABELS", pair)?;
        }
        Ok(())
    }

    fn apply_flags(&mut self, raw: &Raw) -> Result<(), Failure> {
        for (flag, value) in &raw.flags {
            let shown = format!("--{flag}");
            if *flag == "label" {
                self.label_pair(&shown, value)?;
                continue;
            }
            if *flag == "push-url" {
                self.push_url(&shown, value)?;
                continue;
            }
            let path = flag.replace('-', "_");
            // Flags that are no key (`--config`, `--since`) belong to the command.
            if let Some(key) = keys().find(|k| k.path == path) {
                (key.set)(self, value).ok_or_else(|| mistyped(&shown, value, key.expects))?;
            }
        }
        Ok(())
    }

    /// Another URL, for the client of the file if it has one.
    fn push_url(&mut self, origin: &str, url: &str) -> Result<(), Failure> {
        let mut client = self.client.take().unwrap_or_else(|| Client::new(url));
        url.clone_into(&mut client.url);
        let checked = client.endpoint();
        checked.map_err(|e| Failure::usage(format!("`{origin}`: {e}")))?;
        self.client = Some(client);
        Ok(())
    }

    fn label_pair(&mut self, origin: &str, pair: &str) -> Result<(), Failure> {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| mistyped(origin, pair, "NAME=VALUE"))?;
        check_label(name, value).map_err(|why| Failure::usage(format!("`{origin}`: {why}")))?;
        self.labels.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    /// The effective configuration as YAML, defaults as comments; [`Config::load`] reads it back to the same.
    pub(crate) fn to_yaml(&self, env: Env<'_>) -> String {
        let defaults = Config::defaults(env);
        let mut out = String::from(
            "# Effective configuration of drupelet. `# default` marks what nobody set.\n",
        );
        let mut in_section = false;
        for key in keys() {
            let name = key.path.rsplit('.').next().unwrap_or(key.path);
            if key.path.contains('.') && !in_section {
                out.push_str(&self.labels_yaml());
                out.push_str(&clients::to_yaml(self.client.as_ref()));
                out.push_str(&format!("\n{SECTION}:\n"));
                in_section = true;
            }
            let indent = if in_section { "  " } else { "" };
            let (value, default) = ((key.show)(self), (key.show)(&defaults));
            let note = if value == default {
                "default".to_owned()
            } else {
                format!("default: {default}")
            };
            let value = value.replace('$', "$$");
            out.push_str(&format!(
                "\n{indent}# {}\n{indent}{name}: {value}  # {note}\n",
                key.help
            ));
        }
        out
    }

    fn labels_yaml(&self) -> String {
        let help = "\n# Labels of every stream, such as `cluster: home`.\n";
        if self.labels.is_empty() {
            return format!("{help}labels: {{}}  # default\n");
        }
        let pairs = self
            .labels
            .iter()
            .map(|(n, v)| format!("  {n}: {}\n", scalar(v).replace('$', "$$")));
        format!(
            "{help}labels:  # default: {{}}\n{}",
            pairs.collect::<String>()
        )
    }
}

/// Walks a file's tree into a configuration.
struct FileReader<'a> {
    file: &'a str,
    env: Env<'a>,
    config: &'a mut Config,
}

impl FileReader<'_> {
    fn section(&mut self, prefix: &str, node: &Node) -> Result<(), Failure> {
        let pairs = match &node.value {
            Value::Null => return Ok(()),
            Value::Map(pairs) => pairs,
            Value::Scalar(_) | Value::List(_) => {
                let name = if prefix.is_empty() {
                    "the file"
                } else {
                    prefix.trim_end_matches('.')
                };
                return Err(self.at(node.line, format!("`{name}` must be a map of keys")));
            }
        };
        for (name, line, value) in pairs {
            let path = format!("{prefix}{name}");
            if path == SECTION {
                self.section("limits_config.", value)?;
            } else if path == "labels" {
                self.labels(value)?;
            } else if path == "clients" || path == "client" {
                let at = |line, message| self.at(line, message);
                let text = |path: &str, expects: &str, node: &Node| self.text(path, expects, node);
                let client = clients::read(value, &at, &text)?;
                self.config.client = client;
            } else if let Some(key) = keys().find(|k| k.path == path) {
                self.key(key, value)?;
            } else {
                return Err(self.unknown(prefix, name, *line));
            }
        }
        Ok(())
    }

    fn key(&mut self, key: &Key, node: &Node) -> Result<(), Failure> {
        let Some(text) = self.text(key.path, key.expects, node)? else {
            return Ok(());
        };
        (key.set)(self.config, &text)
            .ok_or_else(|| self.mistyped(node.line, key.path, &text, key.expects))
    }

    fn labels(&mut self, node: &Node) -> Result<(), Failure> {
        let pairs = match &node.value {
            Value::Null => return Ok(()),
            Value::Map(pairs) => pairs,
            Value::Scalar(_) | Value::List(_) => {
                return Err(self.at(
                    node.line,
                    "`labels` must be a map such as `cluster: home`".to_owned(),
                ));
            }
        };
        for (name, line, value) in pairs {
            let text = self.text(&format!("labels.{name}"), "text", value)?;
            let text = text.unwrap_or_default();
            check_label(name, &text).map_err(|why| self.at(*line, why))?;
            self.config.labels.insert(name.clone(), text);
        }
        Ok(())
    }

    /// The text of a scalar with variables expanded; `None` for null, which leaves the default.
    fn text(&self, path: &str, expects: &str, node: &Node) -> Result<Option<String>, Failure> {
        let found = match &node.value {
            Value::Null => return Ok(None),
            Value::Scalar(text) => {
                let expanded = expand(text, self.env);
                return expanded
                    .map(Some)
                    .map_err(|why| self.at(node.line, format!("`{path}`: {why}")));
            }
            Value::List(items) if path == push::LIST => {
                let items = items.iter().map(|item| self.text("", expects, item));
                let items: Result<Vec<_>, Failure> = items.collect();
                let items: Vec<String> = items?.into_iter().flatten().collect();
                return Ok(Some(items.join(",")));
            }
            Value::Map(_) => "a map",
            Value::List(_) => "a list",
        };
        Err(self.at(
            node.line,
            format!("`{path}` is {found}, expected {expects}"),
        ))
    }

    fn mistyped(&self, line: usize, path: &str, found: &str, expects: &str) -> Failure {
        self.at(line, format!("`{path}` is `{found}`, expected {expects}"))
    }

    fn at(&self, line: usize, message: String) -> Failure {
        Failure::usage(format!("{}:{line}: {message}", self.file))
    }

    fn unknown(&self, prefix: &str, name: &str, line: usize) -> Failure {
        let failure = self.at(line, format!("unknown key `{prefix}{name}`"));
        let tops = keys().map(|k| k.path).chain([SECTION, "labels", "clients"]);
        let siblings = tops.clone().filter_map(|p| p.strip_prefix(prefix));
        let near = nearest(name, siblings.filter(|p| !p.contains('.')));
        // A known key at the wrong place is named with its whole path.
        let elsewhere = || tops.clone().find(|p| p.rsplit('.').next() == Some(name));
        match near
            .map(|n| format!("{prefix}{n}"))
            .or_else(|| elsewhere().map(str::to_owned))
        {
            Some(near) => failure.with_hint(format!("did you mean `{near}`?")),
            None => failure.with_hint("`drupelet check` without a file prints every key"),
        }
    }
}

fn mistyped(origin: &str, found: &str, expects: &str) -> Failure {
    Failure::usage(format!("`{origin}` is `{found}`, expected {expects}"))
}

fn env_name(key: &Key) -> String {
    let name = key.path.rsplit('.').next().unwrap_or(key.path);
    format!("DRUPELET_{}", name.to_ascii_uppercase())
}

fn read_file(path: &Path) -> Result<String, Failure> {
    let fail = |e: &std::io::Error| {
        Failure::usage(format!(
            "cannot read configuration `{}`: {e}",
            path.display()
        ))
        .with_hint("check the path given by --config or DRUPELET_CONFIG")
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "the configuration is the user's file, read only"
    )]
    let file = std::fs::File::open(path).map_err(|e| fail(&e))?;
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text);
    if read.map_err(|e| fail(&e))? as u64 > FILE_BYTES_MAX {
        return Err(Failure::usage(format!(
            "configuration `{}` is larger than {FILE_BYTES_MAX} bytes",
            path.display()
        )));
    }
    Ok(text)
}

/// Replaces `${VAR}` and `${VAR:default}` (also Loki's `${VAR:-default}`); `$$` is a dollar sign, and a dollar sign
/// before anything else is itself, as in regular expressions.
fn expand(text: &str, env: Env<'_>) -> Result<String, String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let tail = &rest[at + 1..];
        if let Some(after) = tail.strip_prefix('$') {
            out.push('$');
            rest = after;
        } else if let Some(after) = tail.strip_prefix('{') {
            let end = after
                .find('}')
                .ok_or("`${` without `}`; write `$${` for the text")?;
            out.push_str(&variable(&after[..end], env)?);
            rest = &after[end + 1..];
        } else {
            out.push('$');
            rest = tail;
        }
    }
    out.push_str(rest);
    Ok(out)
}

fn variable(inner: &str, env: Env<'_>) -> Result<String, String> {
    let (name, default) = match inner.split_once(':') {
        Some((name, default)) => (name, Some(default.strip_prefix('-').unwrap_or(default))),
        None => (inner, None),
    };
    if !is_name(name) {
        return Err(format!("`{name}` is not the name of a variable"));
    }
    let value = env(name).or_else(|| default.map(str::to_owned));
    value.ok_or_else(|| {
        format!("variable `{name}` is not set; `${{{name}:default}}` gives a default")
    })
}

fn is_name(name: &str) -> bool {
    let start = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    name.bytes().next().is_some_and(start) && name.bytes().all(|b| start(b) || b.is_ascii_digit())
}

fn check_label(name: &str, value: &str) -> Result<(), String> {
    if !is_name(name) {
        return Err(format!(
            "label name `{name}` must match [a-zA-Z_][a-zA-Z0-9_]*"
        ));
    }
    if OWN_LABELS.contains(&name) {
        return Err(format!("label `{name}` is set by drupelet itself"));
    }
    if value.is_empty() || value.len() > LABEL_VALUE_BYTES_MAX || name.len() > 1024 {
        return Err(format!(
            "label `{name}` has a value of {} bytes, expected 1 to {LABEL_VALUE_BYTES_MAX}",
            value.len()
        ));
    }
    Ok(())
}

fn dir(value: &str) -> Option<PathBuf> {
    (!value.is_empty() && !value.contains('\0')).then(|| value.into())
}

fn address(value: &str) -> Option<()> {
    let (host, port) = value.rsplit_once(':')?;
    port.parse::<u16>().ok()?;
    let v6 = host.starts_with('[')
        && host.ends_with(']')
        && value.parse::<std::net::SocketAddr>().is_ok();
    let name = !host.is_empty() && !host.contains([':', '/', ' ', '[', ']']);
    (v6 || name).then_some(())
}

fn pick<T: Copy>(value: &str, table: &[(&str, T)]) -> Option<T> {
    table.iter().find(|(n, _)| *n == value).map(|(_, v)| *v)
}

fn name_of<T: Copy + PartialEq>(value: T, table: &[(&str, T)]) -> String {
    table
        .iter()
        .find(|(_, v)| *v == value)
        .map_or("", |(n, _)| n)
        .to_owned()
}

fn count(value: &str) -> Option<usize> {
    value.parse().ok().filter(|n| *n >= 1)
}

fn flag(value: &str) -> Option<bool> {
    value.parse().ok()
}

fn within(value: usize, min: usize, max: usize) -> Option<usize> {
    (min..=max).contains(&value).then_some(value)
}

fn at_least_1s(value: &str) -> Option<Duration> {
    parse_duration(value).filter(|d| *d >= Duration::from_secs(1))
}

fn at_most_1h(value: &str) -> Option<Duration> {
    parse_duration(value).filter(|d| *d <= Duration::from_secs(3600))
}

/// A duration; nothing for 0.
fn period(value: &str) -> Option<Option<Duration>> {
    let period = parse_duration(value)?;
    let useful = period.is_zero() || period >= Duration::from_secs(3600);
    useful.then_some((!period.is_zero()).then_some(period))
}

/// A size; nothing for 0.
fn rate(value: &str) -> Option<Option<usize>> {
    let rate = size(value)?;
    (rate == 0 || rate >= 64 << 10).then_some((rate > 0).then_some(rate))
}

/// A size or a share in per cent; nothing for 0.
fn share(value: &str) -> Option<Option<Share>> {
    let share = match value.strip_suffix('%') {
        Some(percent) => Share::Percent(percent.trim_end().parse().ok().filter(|p| *p <= 100)?),
        None => Share::Bytes(size(value)? as u64),
    };
    let none = matches!(share, Share::Percent(0) | Share::Bytes(0));
    Some((!none).then_some(share))
}

fn show_share(share: Option<Share>) -> String {
    match share {
        None => "0".to_owned(),
        Some(Share::Percent(percent)) => format!("{percent}%"),
        Some(Share::Bytes(bytes)) => show_size(bytes as usize),
    }
}

/// Bytes with a unit; KB and KiB are both 1,024, as in Loki.
pub(crate) fn size(value: &str) -> Option<usize> {
    let end = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        _ => return None,
    };
    number.parse::<usize>().ok()?.checked_mul(1 << shift)
}

/// Bytes in the largest unit that leaves no rest.
pub(crate) fn show_size(bytes: usize) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let exact = units
        .iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match exact {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
