//! `riptide doctor`: what is right and wrong with this machine and the way to the cluster.
//!
//! Each line says `ok`, `warn` (works, but not as well as it could) or `fail` (does not work), and
//! what to do. The exit status is 1 when anything fails. Nothing is changed anywhere.

mod cluster;
mod machine;
mod rdma;
mod sidecars;

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;

use ::sidecar::client::Client;
use anyhow::{Context as _, bail};
use seaweed::{Security, ServerAddress};

/// What is looked at besides the machine.
#[derive(Debug)]
pub struct DoctorOptions {
    /// `-filer`.
    pub filers: Vec<ServerAddress>,
    /// `-sidecar`.
    pub sidecars: Vec<ServerAddress>,
    /// `-rdma.sidecarUser`, by number.
    pub sidecar_users: Vec<u32>,
    /// `-config_dir`.
    pub config_dir: Option<PathBuf>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    Ok,
    Warn,
    Fail,
}

/// One line.
#[derive(Debug)]
pub(super) struct Finding {
    pub(super) level: Level,
    pub(super) about: String,
    pub(super) seen: String,
    /// What to do.
    pub(super) todo: Option<String>,
}

impl Finding {
    pub(super) fn ok(about: impl Into<String>, seen: impl Into<String>) -> Self {
        Self::new(Level::Ok, about, seen, None)
    }

    pub(super) fn warn(
        about: impl Into<String>,
        seen: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self::new(Level::Warn, about, seen, Some(todo.into()))
    }

    pub(super) fn fail(
        about: impl Into<String>,
        seen: impl Into<String>,
        todo: impl Into<String>,
    ) -> Self {
        Self::new(Level::Fail, about, seen, Some(todo.into()))
    }

    fn new(
        level: Level,
        about: impl Into<String>,
        seen: impl Into<String>,
        todo: Option<String>,
    ) -> Self {
        Self {
            level,
            about: about.into(),
            seen: seen.into(),
            todo,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Ok => "ok",
            Level::Warn => "warn",
            Level::Fail => "fail",
        };
        write!(f, "{level:<5} {:<16} {}", self.about, self.seen)?;
        match &self.todo {
            Some(todo) => write!(f, "\n      {:<16} → {todo}", ""),
            None => Ok(()),
        }
    }
}

/// Looks at everything and says what it sees.
pub(super) fn run(options: &DoctorOptions) -> anyhow::Result<()> {
    let mut failed = tell(&machine::findings())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let security = match Security::load(options.config_dir.as_deref()) {
        Ok(security) => security,
        Err(error) => {
            let todo = "correct the file; nothing behind it can be looked at";
            tell(&[Finding::fail("security.toml", error.to_string(), todo)])?;
            bail!("something does not work");
        }
    };
    let seen = match (&security.source, &security.read_key) {
        (None, _) => "none found: plain connections, no tokens".to_owned(),
        (Some(path), Some(_)) => format!("{}, with a read key", path.display()),
        (Some(path), None) => format!("{}, without a read key", path.display()),
    };
    failed |= tell(&[Finding::ok("security.toml", seen)])?;
    let client = Client::new(security.https.as_ref())?;
    failed |= runtime.block_on(async {
        let (mut found, known) = cluster::findings(options, &security, &client).await;
        found.extend(sidecars::findings(options, &security, &client, &known).await);
        tell(&found)
    })?;
    if failed {
        bail!("something does not work");
    }
    Ok(())
}

/// Prints findings; whether any is a failure.
fn tell(findings: &[Finding]) -> anyhow::Result<bool> {
    let mut out = io::stdout().lock();
    let colour = out.is_terminal();
    for finding in findings {
        let code = match (colour, finding.level) {
            (true, Level::Warn) => "\x1b[33m",
            (true, Level::Fail) => "\x1b[31m",
            _ => "",
        };
        let end = if code.is_empty() { "" } else { "\x1b[0m" };
        writeln!(out, "{code}{finding}{end}")?;
    }
    out.flush()?;
    Ok(findings.iter().any(|finding| finding.level == Level::Fail))
}
