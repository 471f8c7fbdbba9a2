//! The command line as it was typed: one table of commands and flags gives the parser, the help texts and the
//! suggestions. Nothing here touches a file or the environment; values are checked in [`crate::config`] and in the
//! commands.

use std::ffi::OsString;

use crate::report::{Failure, nearest};

/// What an invocation asks for.
#[derive(Debug)]
pub(crate) enum Request {
    /// Print this text and succeed.
    Print(String),
    /// Run a command.
    Run(Raw),
}

/// A command with its flags and operands, unchecked.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    /// From the table.
    pub(crate) command: &'static Command,
    /// Flag name without dashes and its value ("" for a switch), in order.
    pub(crate) flags: Vec<(&'static str, String)>,
    /// What is not a flag.
    pub(crate) operands: Vec<String>,
}

impl Raw {
    /// The last value of a flag.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let last = self.flags.iter().rev().find(|(n, _)| *n == name);
        last.map(|(_, value)| value.as_str())
    }

    /// Whether a flag was given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }
}

/// One flag of the command line.
#[derive(Debug)]
pub(crate) struct Flag {
    /// Without dashes.
    pub(crate) name: &'static str,
    /// Word for its value in help; `None` for a switch.
    pub(crate) value: Option<&'static str>,
    /// One line of help.
    pub(crate) help: &'static str,
}

/// One subcommand.
#[derive(Debug)]
pub(crate) struct Command {
    /// As typed.
    pub(crate) name: &'static str,
    /// Operands in help.
    pub(crate) operands: &'static str,
    /// How many operands it takes at most.
    pub(crate) operands_max: usize,
    /// One line for the overview.
    pub(crate) summary: &'static str,
    /// Paragraph below the usage line.
    pub(crate) about: &'static str,
    /// Flags it knows.
    pub(crate) flags: &'static [&'static Flag],
    /// False for commands of a later version: they say so and exit with 2.
    pub(crate) ready: bool,
}

const fn flag(name: &'static str, value: &'static str, help: &'static str) -> Flag {
    Flag {
        name,
        value: Some(value),
        help,
    }
}

const CONFIG: &Flag = &flag(
    "config",
    "FILE",
    "configuration file (YAML; none is needed)",
);
const PODS_DIR: &Flag = &flag(
    "pods-dir",
    "DIR",
    "where the kubelet keeps pod logs [/var/log/pods]",
);
const DATA_DIR: &Flag = &flag(
    "data-dir",
    "DIR",
    "where drupelet keeps its store [/var/lib/drupelet]",
);
const LISTEN: &Flag = &flag(
    "listen",
    "ADDR",
    "HTTP address; port 0 picks a free one [127.0.0.1:3100]",
);
const AGENT_LISTEN: &Flag = &flag(
    "listen",
    "ADDR",
    "HTTP address of /ready and /metrics [127.0.0.1:3101]",
);
const PUSH_URL: &Flag = &flag(
    "push-url",
    "URL",
    "server to push to, such as http://loki:3100 [the file's client]",
);
const LABEL: &Flag = &flag("label", "K=V", "label for every stream; may be repeated");
const NODE_NAME: &Flag = &flag(
    "node-name",
    "NAME",
    "value of the `node` label [$NODE_NAME, else the host's name]",
);
const READER: &Flag = &flag(
    "reader",
    "KIND",
    "how logs are read: auto, uring or pread [auto]",
);
const LOG_LEVEL: &Flag = &flag(
    "log-level",
    "LEVEL",
    "own logs: error, warn, info, debug or trace [info]",
);
const URL: &Flag = &flag(
    "url",
    "URL",
    "server to ask (drupelet or Loki) [http://127.0.0.1:3100]",
);
const STORE_DIR: &Flag = &flag(
    "data-dir",
    "DIR",
    "ask this data directory instead of a server",
);
const LOG_DIR: &Flag = &flag(
    "pods-dir",
    "DIR",
    "read this folder of pod logs as it is: no store, no server, nothing written",
);
const PODS_CONFIG: &Flag = &flag(
    "config",
    "FILE",
    "(pods) configuration file (YAML; none is needed)",
);
const PODS_LABEL: &Flag = &flag(
    "label",
    "K=V",
    "(pods) label for every stream; may be repeated",
);
const PODS_NODE: &Flag = &flag(
    "node-name",
    "NAME",
    "(pods) value of the `node` label [$NODE_NAME, else this host's name]",
);
const SINCE: &Flag = &flag("since", "DURATION", "how far back to look [1h; pods: all]");
const FROM: &Flag = &flag(
    "from",
    "TIME",
    "start: RFC 3339, a date, or Unix seconds [now - since]",
);
const TO: &Flag = &flag("to", "TIME", "end, exclusive [now]");
const LIMIT: &Flag = &flag("limit", "N", "entries at most [30]");
const STEP: &Flag = &flag(
    "step",
    "DURATION",
    "distance of points in a metric query [range / 250]",
);
const OUTPUT: &Flag = &flag("output", "MODE", "default, raw or jsonl [default]");
const FORWARD: &Flag = &Flag {
    name: "forward",
    value: None,
    help: "oldest first",
};
const FOLLOW: &Flag = &Flag {
    name: "follow",
    value: None,
    help: "show the newest entries, oldest first, and go on with new ones until Ctrl-C",
};
const DEMO_LISTEN: &Flag = &flag(
    "listen",
    "ADDR",
    "HTTP address [127.0.0.1:3100, or a free port if that is taken]",
);

const fn later(name: &'static str, summary: &'static str) -> Command {
    Command {
        name,
        operands: "",
        operands_max: usize::MAX,
        summary,
        about: "Not in this version yet.",
        flags: &[],
        ready: false,
    }
}

/// Every subcommand, in the order of the overview.
pub(crate) const COMMANDS: &[Command] = &[
    Command {
        name: "run",
        operands: "",
        operands_max: 0,
        summary: "tail pod logs, store them, answer queries",
        about: "Tails the node's pod logs into the store and answers Loki queries over HTTP until SIGTERM.",
        flags: &[
            CONFIG, PODS_DIR, DATA_DIR, LISTEN, LABEL, NODE_NAME, READER, LOG_LEVEL,
        ],
        ready: true,
    },
    Command {
        name: "agent",
        operands: "",
        operands_max: 0,
        summary: "tail and push to a server only",
        about: "Tails the node's pod logs and pushes them to a Loki, a drupelet, or anything that takes Loki's push requests, \
                until SIGTERM. Lines leave the log file's keeping only when the server has acknowledged them.",
        flags: &[
            CONFIG,
            PODS_DIR,
            DATA_DIR,
            PUSH_URL,
            AGENT_LISTEN,
            LABEL,
            NODE_NAME,
            READER,
            LOG_LEVEL,
        ],
        ready: true,
    },
    Command {
        name: "store",
        operands: "",
        operands_max: 0,
        summary: "store and query only",
        about: "Keeps what others send and answers Loki queries over HTTP until SIGTERM; tails nothing.",
        flags: &[CONFIG, DATA_DIR, LISTEN, LOG_LEVEL],
        ready: true,
    },
    Command {
        name: "query",
        operands: "['LOGQL']",
        operands_max: 1,
        summary: "run a LogQL query",
        about: "Runs a LogQL query on a server, a data directory or a folder of pod logs. Without LOGQL: everything. A data \
                directory that a running drupelet holds is asked through that process.\n\n\
                --pods-dir reads log files where they are: /var/log/pods of this node, of a card, of a support bundle, with \
                what was rotated and compressed. The answers are those of `drupelet run` on the same files; the flags \
                marked (pods) and the configuration say which labels lines get. Without --since, --from or --to it looks at \
                all there is, and a metric query is evaluated at the time of the newest line. What cannot be read is named \
                on stderr; the exit code is 1 if nothing could be read.",
        flags: &[
            URL,
            STORE_DIR,
            LOG_DIR,
            SINCE,
            FROM,
            TO,
            LIMIT,
            STEP,
            OUTPUT,
            FORWARD,
            FOLLOW,
            PODS_CONFIG,
            PODS_LABEL,
            PODS_NODE,
        ],
        ready: true,
    },
    Command {
        name: "labels",
        operands: "[NAME]",
        operands_max: 1,
        summary: "list label names, or the values of one",
        about: "Lists the names of labels, or the values of the label NAME, one a line.",
        flags: &[URL, STORE_DIR, SINCE, FROM, TO],
        ready: true,
    },
    Command {
        name: "series",
        operands: "['SELECTOR']",
        operands_max: 1,
        summary: "list streams by their labels",
        about: "Lists the streams that match SELECTOR (all without one), one a line.",
        flags: &[URL, STORE_DIR, SINCE, FROM, TO],
        ready: true,
    },
    later(
        "stats",
        "entries and bytes of a selector (not in this version yet)",
    ),
    Command {
        name: "check",
        operands: "",
        operands_max: 0,
        summary: "validate the configuration and print it",
        about: "Validates the configuration and prints the effective one as YAML, with the defaults as comments.",
        flags: &[
            CONFIG, PODS_DIR, DATA_DIR, PUSH_URL, LISTEN, LABEL, NODE_NAME, READER, LOG_LEVEL,
        ],
        ready: true,
    },
    Command {
        name: "doctor",
        operands: "",
        operands_max: 0,
        summary: "say what this node allows and what to do about it",
        about: "Checks io_uring, inotify limits, permissions, disk, clock and wear, one line each. Exit code 1 if \
                something keeps drupelet from working.",
        flags: &[CONFIG, PODS_DIR, DATA_DIR],
        ready: true,
    },
    Command {
        name: "segments",
        operands: "ls|verify|rebuild-index",
        operands_max: 1,
        summary: "look at, check or re-index the files of a store",
        about: "ls lists the segment files, verify reads every byte of them, rebuild-index makes the index anew. \
                rebuild-index needs the data directory to itself: stop drupelet first.",
        flags: &[CONFIG, DATA_DIR],
        ready: true,
    },
    Command {
        name: "demo",
        operands: "",
        operands_max: 0,
        summary: "write realistic pod logs and run on them",
        about: "Writes logs of a dozen invented pods into a temporary directory, runs the appliance on them, shows \
                queries to try, and goes on until Ctrl-C, which removes the directory.",
        flags: &[DEMO_LISTEN, LOG_LEVEL],
        ready: true,
    },
];

const WIDTH: usize = 22;

/// Parses the arguments after the program's name.
///
/// # Errors
/// Wrong usage, with the nearest command or flag.
pub(crate) fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Request, Failure> {
    let mut parser = lexopt::Parser::from_args(args);
    let usage = |e: lexopt::Error| Failure::usage(e.to_string());
    let first = match parser.next().map_err(usage)? {
        None => return Err(Failure::usage("no command given").with_help(overview())),
        Some(lexopt::Arg::Long("help") | lexopt::Arg::Short('h')) => {
            return Ok(Request::Print(overview()));
        }
        Some(lexopt::Arg::Long("version") | lexopt::Arg::Short('V')) => {
            return Ok(Request::Print(format!(
                "drupelet {}\n",
                env!("CARGO_PKG_VERSION")
            )));
        }
        Some(lexopt::Arg::Value(value)) => text(value)?,
        Some(lexopt::Arg::Long(name)) => return Err(flag_first(&format!("--{name}"))),
        Some(lexopt::Arg::Short(c)) => return Err(flag_first(&format!("-{c}"))),
    };
    if first == "help" {
        return match parser.next().map_err(usage)? {
            Some(lexopt::Arg::Value(value)) => {
                Ok(Request::Print(command_help(find(&text(value)?)?)))
            }
            _ => Ok(Request::Print(overview())),
        };
    }
    let command = find(&first)?;
    if !command.ready {
        return Err(Failure::usage(format!(
            "`drupelet {}` is not in this version yet",
            command.name
        ))
        .with_hint("`drupelet --help` lists what is"));
    }
    rest(command, parser)
}

fn rest(command: &'static Command, mut parser: lexopt::Parser) -> Result<Request, Failure> {
    let mut raw = Raw {
        command,
        flags: Vec::new(),
        operands: Vec::new(),
    };
    while let Some(arg) = parser.next().map_err(|e| Failure::usage(e.to_string()))? {
        match arg {
            lexopt::Arg::Long("help") | lexopt::Arg::Short('h') => {
                return Ok(Request::Print(command_help(command)));
            }
            lexopt::Arg::Long(name) => {
                let name = name.to_owned();
                let flag = command.flags.iter().find(|f| f.name == name);
                let flag = flag.ok_or_else(|| unknown_flag(command, &name))?;
                let value = match flag.value {
                    None => String::new(),
                    Some(word) => {
                        let value = parser.value().map_err(|_| {
                            Failure::usage(format!("`--{name}` needs a value: `--{name} {word}`"))
                        })?;
                        text(value)?
                    }
                };
                raw.flags.push((flag.name, value));
            }
            lexopt::Arg::Short(c) => return Err(unknown_flag(command, &c.to_string())),
            lexopt::Arg::Value(value) => {
                let value = text(value)?;
                if raw.operands.len() >= command.operands_max {
                    return Err(Failure::usage(format!("unexpected argument `{value}`"))
                        .with_hint(format!("usage: {}", usage_line(command))));
                }
                raw.operands.push(value);
            }
        }
    }
    Ok(Request::Run(raw))
}

fn text(value: OsString) -> Result<String, Failure> {
    value.into_string().map_err(|value| {
        Failure::usage(format!(
            "argument `{}` is not UTF-8",
            value.to_string_lossy()
        ))
    })
}

fn find(name: &str) -> Result<&'static Command, Failure> {
    if let Some(command) = COMMANDS.iter().find(|c| c.name == name) {
        return Ok(command);
    }
    let failure = Failure::usage(format!("unknown command `{name}`"));
    Err(match nearest(name, COMMANDS.iter().map(|c| c.name)) {
        Some(near) => failure.with_hint(format!("did you mean `drupelet {near}`?")),
        None => failure.with_hint("`drupelet --help` lists the commands"),
    })
}

fn flag_first(flag: &str) -> Failure {
    Failure::usage(format!("`{flag}` comes before any command"))
        .with_hint("flags follow their command: `drupelet run --pods-dir DIR`")
}

fn unknown_flag(command: &Command, name: &str) -> Failure {
    let dashes = if name.chars().count() == 1 { "-" } else { "--" };
    let failure = Failure::usage(format!(
        "unknown flag `{dashes}{name}` for `drupelet {}`",
        command.name
    ));
    let known = command.flags.iter().map(|f| f.name).chain(["help"]);
    match nearest(name, known) {
        Some(near) => failure.with_hint(format!("did you mean `--{near}`?")),
        None => failure.with_hint(format!(
            "`drupelet {} --help` lists its flags",
            command.name
        )),
    }
}

fn usage_line(command: &Command) -> String {
    let mut line = format!("drupelet {}", command.name);
    if !command.operands.is_empty() {
        line.push(' ');
        line.push_str(command.operands);
    }
    if !command.flags.is_empty() {
        line.push_str(" [FLAGS]");
    }
    line
}

fn overview() -> String {
    let mut out = String::from(
        "drupelet keeps a node's pod logs and answers Loki queries about them\n\nUsage: drupelet COMMAND [FLAGS]\n\nCommands:\n",
    );
    for command in COMMANDS {
        out.push_str(&format!("  {:<10} {}\n", command.name, command.summary));
    }
    out.push_str(
        "\nFlags:\n  --help     this text; `drupelet COMMAND --help` for a command\n  --version  the version\n\n\
         Flags beat environment variables (DRUPELET_DATA_DIR for --data-dir), which beat the configuration file.\n\
         Exit codes: 0 done, 1 failed, 2 wrong usage or configuration.\n",
    );
    out
}

fn command_help(command: &Command) -> String {
    let mut out = format!("{}\n\nUsage: {}\n", command.about, usage_line(command));
    if !command.flags.is_empty() {
        out.push_str("\nFlags:\n");
    }
    for flag in command.flags {
        let name = match flag.value {
            Some(word) => format!("--{} {word}", flag.name),
            None => format!("--{}", flag.name),
        };
        out.push_str(&format!("  {name:<WIDTH$} {}\n", flag.help));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(args: &[&str], want: &str) {
        let got = match parse(args.iter().map(OsString::from)) {
            Ok(Request::Print(text)) => text.lines().next().unwrap_or("").to_owned(),
            Ok(Request::Run(raw)) => {
                format!("{} {:?} {:?}", raw.command.name, raw.flags, raw.operands)
            }
            Err(e) => format!("{}|{}", e.message(), e.hint().unwrap_or("")),
        };
        assert_eq!(got, want, "{args:?}");
    }

    #[test]
    fn command_lines() {
        check(
            &["run", "--pods-dir=/p", "--label", "a=b", "--label", "c=d"],
            r#"run [("pods-dir", "/p"), ("label", "a=b"), ("label", "c=d")] []"#,
        );
        check(
            &["query", "{a=\"b\"}", "--forward"],
            r#"query [("forward", "")] ["{a=\"b\"}"]"#,
        );
        check(
            &["run", "--pod-dir", "x"],
            "unknown flag `--pod-dir` for `drupelet run`|did you mean `--pods-dir`?",
        );
        check(
            &["run", "-x"],
            "unknown flag `-x` for `drupelet run`|`drupelet run --help` lists its flags",
        );
        check(
            &["run", "--listen"],
            "`--listen` needs a value: `--listen ADDR`|",
        );
        check(
            &["run", "extra"],
            "unexpected argument `extra`|usage: drupelet run [FLAGS]",
        );
        check(
            &["qeury"],
            "unknown command `qeury`|did you mean `drupelet query`?",
        );
        check(
            &["agent", "--push-url", "http://x"],
            r#"agent [("push-url", "http://x")] []"#,
        );
        check(
            &["stats", "{}"],
            "`drupelet stats` is not in this version yet|`drupelet --help` lists what is",
        );
        check(
            &["--pods-dir", "x"],
            "`--pods-dir` comes before any command|flags follow their command: `drupelet run --pods-dir DIR`",
        );
        check(
            &["--help"],
            "drupelet keeps a node's pod logs and answers Loki queries about them",
        );
        check(
            &["help", "check"],
            "Validates the configuration and prints the effective one as YAML, with the defaults as comments.",
        );
        check(&[], "no command given|");
    }
}
