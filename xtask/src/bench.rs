//! `cargo xtask bench`: Riptide and the stock mount side by side, in one run.
//!
//! One throw-away cluster serves one tree. For each sample a mount is started
//! with empty caches, one workload of the crate `bench` runs on it, and it is
//! unmounted: that is the honest way to a cold client, and it gives each
//! sample a process of its own to count CPU time and memory of. The mounts take turns
//! within a round, in an order that rotates, so that whatever else the
//! machine does hits them alike; the table shows medians over the rounds.
//! docs/BENCHMARKING.md has the method and what not to conclude from it.

mod binary;
mod cost;
mod machine;
mod measure;
mod mounted;
mod options;
mod report;
mod sample;
mod session;
mod setup;
mod sidecar;
mod workload;

use std::ffi::OsString;
use std::fs;

use anyhow::{Context, Result, bail};

pub(crate) use binary::riptide;
use machine::Machine;
use options::Options;
use report::Report;

/// Runs the benchmark with the words after `cargo xtask bench`.
///
/// # Errors
/// When something cannot be started, a byte read is wrong, or with `--check` a bar is not met.
pub(crate) fn run(args: impl Iterator<Item = OsString>) -> Result<()> {
    let args: Vec<OsString> = args.collect();
    let options = Options::parse(&args);
    if !session::enter(&args, options.nice)? {
        return Ok(());
    }
    let programs = binary::Programs::find(&options)?;
    let machine = Machine::observe(&programs)?;
    let bench = setup::Bench::start(&options, programs)?;
    let results = measure::all(&bench, &options)?;
    let report = Report::new(machine.at_end(), &options, &results);
    println!("{}", report.text());
    if let Some(path) = &options.json {
        let json = serde_json::to_string_pretty(&report.json())?;
        fs::write(path, json).with_context(|| format!("write {}", path.display()))?;
    }
    if let Some(path) = &options.markdown {
        fs::write(path, report.markdown()).with_context(|| format!("write {}", path.display()))?;
    }
    match report.missed() {
        0 => Ok(()),
        _ if !options.check => Ok(()),
        missed => bail!("{missed} bars are not met"),
    }
}
