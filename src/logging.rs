//! Our own logs: logfmt on stderr, one line an event, never a line per log entry (our own pod's log is tailed too).
//!
//! ```text
//! ts=2026-11-20T09:27:56.123Z level=info msg="listening on 127.0.0.1:3100" addr=127.0.0.1:3100
//! ```

use std::fmt::{self, Write as _};
use std::sync::OnceLock;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::reload;

use crate::time;

/// Changes the level later.
static FILTER: OnceLock<reload::Handle<LevelFilter, Registry>> = OnceLock::new();

/// Sends events up to `level` to stderr. Called once; a second call changes nothing.
pub(crate) fn init(level: Level) {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .event_format(Logfmt);
    let subscriber = Registry::default().with(filter).with(lines);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let _ = FILTER.set(handle);
    }
}

/// Sends events up to another `level` from now on.
pub(crate) fn set_level(level: Level) {
    if let Some(filter) = FILTER.get() {
        // Only fails when the subscriber is gone, and that lives as long as the process.
        let _ = filter.reload(LevelFilter::from_level(level));
    }
}

struct Logfmt;

impl<S, N> FormatEvent<S, N> for Logfmt
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut out: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = event.metadata().level().as_str().to_ascii_lowercase();
        write!(out, "ts={} level={level}", time::rfc3339(time::now_ns(), 3))?;
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        writeln!(out, "{}", fields.0)
    }
}

struct Fields(String);

impl Fields {
    fn push(&mut self, field: &Field, value: &str) {
        let name = match field.name() {
            "message" => "msg",
            name => name,
        };
        // The message leads, whatever the order at the call site.
        if name == "msg" {
            let mut text = String::new();
            pair(&mut text, name, value);
            self.0.insert_str(0, &text);
        } else {
            pair(&mut self.0, name, value);
        }
    }
}

fn pair(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, " {name}=");
    let bare = |c: char| !c.is_control() && !matches!(c, ' ' | '"' | '=' | '\\');
    if !value.is_empty() && value.chars().all(bare) {
        out.push_str(value);
    } else {
        let _ = write!(out, "\"{}\"", value.escape_debug());
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.push(field, value);
    }
    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut next = value.source();
        while let Some(cause) = next {
            let _ = write!(text, ": {cause}");
            next = cause.source();
        }
        self.push(field, &text);
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_logfmt() {
        let check = |value: &str, want: &str| {
            let mut out = String::new();
            pair(&mut out, "k", value);
            assert_eq!(out, want);
        };
        check("plain:1", " k=plain:1");
        check("", " k=\"\"");
        check("two words", " k=\"two words\"");
        check("a\"b\nc=d", " k=\"a\\\"b\\nc=d\"");
    }
}
