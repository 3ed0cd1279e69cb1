//! Counts the instructions of the hot paths, and finds out when one has become dearer.
//!
//! Times on a shared machine differ by tens of per cent from run to run, counts of instructions by
//! next to nothing, so a regression of a few per cent is seen where no clock would show it.
//! This program is both sides: it runs itself under callgrind ([`callgrind`]), once for each path
//! of [`paths`] with few repetitions and once with many. The difference, divided by the repetitions that
//! there are more, is what one costs: starting, preparing and ending cancel out, and no symbol has to be
//! found, whatever the compiler inlines. [`baseline`] compares with the counts that are committed.
//!
//! It is not built on a crate for this (`gungraun`, once `iai-callgrind`): that one needs a runner
//! program of exactly its version installed besides, which takes longer to build than this check
//! takes, for what is a division here.

mod baseline;
mod callgrind;
mod paths;

use std::path::Path;
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context, Result, bail};
use baseline::Baseline;

const USAGE: &str = "usage: hotpaths [--bless] | hotpaths --only NAME | hotpaths --run NAME TIMES";

fn main() -> ExitCode {
    match run(&env::args().skip(1).collect::<Vec<_>>()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("hotpaths: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether nothing has become dearer.
fn run(args: &[String]) -> Result<bool> {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        [] => check(),
        ["--bless"] => bless(),
        ["--only", name] => show(name),
        ["--run", name, times] => {
            let times = times.parse().context(USAGE)?;
            paths::named(name)?.run(times);
            Ok(true)
        }
        _ => bail!(USAGE),
    }
}

fn bless() -> Result<bool> {
    let counted = Baseline::count()?;
    fs::write(FILE, counted.text()).with_context(|| FILE.to_owned())?;
    println!("{FILE} is written anew:\n\n{}", counted.text());
    Ok(true)
}

fn show(name: &str) -> Result<bool> {
    let path = paths::named(name)?;
    println!("{name} {:.1}", callgrind::count(path)?);
    Ok(true)
}

fn check() -> Result<bool> {
    let text = fs::read_to_string(FILE).with_context(|| FILE.to_owned())?;
    let committed = Baseline::parse(&text).with_context(|| FILE.to_owned())?;
    let counted = Baseline::count()?;
    let differences = committed.compare(&counted);
    for difference in &differences {
        println!("{difference}");
    }
    let bad = differences.iter().filter(|one| one.is_bad()).count();
    if let Some(reason) = committed.why_incomparable(&counted) {
        eprintln!(
            "\nhotpaths: WARNING: nothing was judged. {reason}\n\
             hotpaths: WARNING: counts of another compiler or machine differ by themselves. \
             make bench-check ARGS=--bless renews {}",
            Path::new(FILE).file_name().unwrap_or_default().display()
        );
        return Ok(true);
    }
    if bad > 0 {
        eprintln!(
            "\nhotpaths: {bad} paths differ from what is committed. If that is meant, \
             make bench-check ARGS=--bless, and say why in the commit"
        );
    }
    let cheaper = differences.iter().filter(|one| one.is_cheaper()).count();
    if cheaper > 0 {
        println!(
            "\n{cheaper} paths are cheaper than committed: make bench-check ARGS=--bless keeps it so"
        );
    }
    Ok(bad == 0)
}

/// The counts that are committed.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/counts.txt");
