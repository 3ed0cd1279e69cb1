//! What is logged: one line an event, to standard error; from a mount in the background, to syslog.

mod output;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::options::LogOptions;

/// Parts of the program that `-v` speaks of; all others are libraries.
const OURS: [&str; 13] = [
    "riptide", "mount", "sidecar", "reader", "fabric", "verbs", "volume", "filer", "fuse",
    "seaweed", "stats", "context", "cluster",
];

/// Starts logging; call once.
///
/// # Errors
/// When `RUST_LOG` is set and makes no sense, or logging was started before.
pub fn start(options: LogOptions) -> anyhow::Result<()> {
    let directives = match std::env::var("RUST_LOG") {
        Ok(wanted) if !wanted.trim().is_empty() => wanted,
        _ => directives(options),
    };
    let filter = filter(&directives)
        .map_err(|error| anyhow::anyhow!("RUST_LOG={directives:?} makes no sense: {error}"))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(output::Output)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start logging: {error}"))
}

/// Sends all further lines to syslog, for a program that is about to leave standard error.
pub fn leave_terminal() {
    if let Err(error) = output::to_syslog() {
        tracing::warn!(%error, "no syslog at /dev/log: the log ends here");
    }
}

fn filter(directives: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().parse(directives)
}

/// The levels `-v` stands for, as `RUST_LOG` would say them.
fn directives(options: LogOptions) -> String {
    let (theirs, ours) = match options.verbosity {
        0 => ("warn", "info"),
        1 => ("info", "info"),
        2 => ("info", "debug"),
        3 => ("debug", "debug"),
        _ => ("debug", "trace"),
    };
    let mut all = vec![theirs.to_owned()];
    all.extend(OURS.iter().map(|part| format!("{part}={ours}")));
    // Every request and answer of the kernel: only when asked for by name.
    let wire = if options.wire { "trace" } else { "off" };
    all.push(format!("fuse::wire={wire}"));
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_verbosity_is_a_filter_and_says_no_less_than_the_one_before() {
        let mut before = None;
        for verbosity in 0..=4 {
            let options = LogOptions {
                verbosity,
                wire: false,
            };
            let hint = filter(&directives(options)).unwrap().max_level_hint();
            assert!(hint >= before, "{verbosity}");
            before = hint;
        }
    }

    #[test]
    fn the_wire_is_logged_only_when_asked_for() {
        let text = |wire| directives(LogOptions { verbosity: 4, wire });
        assert!(text(false).ends_with("fuse::wire=off"));
        assert!(text(true).ends_with("fuse::wire=trace"));
    }
}
