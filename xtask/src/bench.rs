//! `cargo xtask bench`: Riptide and the stock mount side by side, in one run.
//!
//! One throw-away cluster serves one tree. For each sample a mount is started
//! with empty caches, one workload of the crate `bench` runs on it, and it is
//! unmounted: that is the honest way to a cold client, and it gives each
//! sample a process of its own to count CPU time and memory of. The mounts take turns
//! within a round, in an order that rotates, so that whatever else the
//! machine does hits them alike; the table shows medians over the rounds.
//! docs/BENCHMARKING.md has the method and what not to conclude from it.

mod bare;
mod bars;
mod binary;
mod cost;
mod machine;
mod measure;
mod mounted;
mod options;
mod page;
mod report;
mod sample;
mod session;
mod setup;
mod sidecar;
mod verdict;
mod workload;

use std::ffi::OsString;
use std::fs;
use std::path::Path;

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
    let run = report.json();
    if let Some(path) = &options.json {
        write(path, &serde_json::to_string_pretty(&run)?)?;
    }
    let (markdown, page) = options.report_files();
    write(&markdown, &report.markdown())?;
    write(&page, &page::render(&run))?;
    println!("\nWritten to {} and {}", markdown.display(), page.display());
    match report.missed() {
        0 => Ok(()),
        _ if !options.check => Ok(()),
        missed => bail!("{missed} bars are not met"),
    }
}

/// Prints the page of a run whose JSON was kept: the file that the word after `cargo xtask page` names.
///
/// # Errors
/// When it cannot be read, or is no JSON.
pub(crate) fn page(mut args: impl Iterator<Item = OsString>) -> Result<()> {
    let path = args.next().context("usage: cargo xtask page RUN.json")?;
    let path = Path::new(&path);
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let run = serde_json::from_str(&text).with_context(|| path.display().to_string())?;
    print!("{}", page::render(&run));
    Ok(())
}

fn write(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
