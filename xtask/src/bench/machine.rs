//! Where and with what a table was measured.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::binary::Programs;
use super::session;

/// Facts without which a number means nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: u64,
    kernel: String,
    weed: String,
    riptide: Option<String>,
    commit: String,
    date: String,
    load_before: String,
    load_after: String,
    priority: String,
}

impl Machine {
    /// Looks around, before anything is measured.
    pub(crate) fn observe(programs: &Programs) -> Result<Self> {
        let kernel = format!(
            "{} {} {}",
            line_of("/proc/sys/kernel/ostype"),
            line_of("/proc/sys/kernel/osrelease"),
            env::consts::ARCH
        );
        let riptide = programs.riptide.as_deref().map(version).transpose()?;
        Ok(Self {
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: thread::available_parallelism()?.get(),
            memory_gib: memory_gib().unwrap_or(0),
            kernel,
            weed: version(&programs.weed)?,
            riptide,
            commit: commit(),
            date: first_line(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"]))?,
            load_before: load(),
            load_after: String::new(),
            priority: session::priority().unwrap_or_else(|| "not raised".to_owned()),
        })
    }

    /// The same, with the load after the run.
    pub(crate) fn at_end(self) -> Self {
        Self {
            load_after: load(),
            ..self
        }
    }

    /// The facts as name and value.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        let mut facts = vec![
            ("date", self.date.clone()),
            ("CPU", format!("{} × {}", self.cores, self.cpu)),
            ("memory", format!("{} GiB", self.memory_gib)),
            ("kernel", self.kernel.clone()),
            ("stock", self.weed.clone()),
        ];
        if let Some(riptide) = &self.riptide {
            facts.push(("ours", riptide.clone()));
        }
        facts.push(("checkout", self.commit.clone()));
        let load = format!("{} before, {} after", self.load_before, self.load_after);
        facts.push(("load (1, 5, 15 min)", load));
        facts.push(("priority of the session", self.priority.clone()));
        facts
    }

    /// The facts as JSON.
    pub(crate) fn json(&self) -> Value {
        let facts = self.facts().into_iter();
        facts
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect()
    }
}

fn version(program: &Path) -> Result<String> {
    first_line(Command::new(program).arg("version"))
}

fn first_line(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("run {command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

/// The commit that is checked out, marked where files differ from it.
fn commit() -> String {
    let mut git = Command::new("git");
    git.args([
        "describe",
        "--always",
        "--dirty",
        "--abbrev=10",
        "--exclude=*",
    ]);
    git.current_dir(env!("CARGO_MANIFEST_DIR"));
    match first_line(&mut git) {
        Ok(commit) if !commit.is_empty() => commit,
        _ => "unknown".to_owned(),
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let numbers: Vec<&str> = text.split(' ').take(3).collect();
    numbers.join(" ")
}

fn line_of(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn memory_gib() -> Option<u64> {
    let kib: u64 = field("/proc/meminfo", "MemTotal")?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    Some((kib + (1 << 19)) >> 20)
}

/// The value of the first line `name : value`.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
