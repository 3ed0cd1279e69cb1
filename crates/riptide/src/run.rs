//! One module a subcommand, and what picks among them.

mod below;
mod bench;
mod cache;
mod dev;
mod doctor;
mod fuse;
mod mount;
mod needle;
mod ping;
mod sidecar;
mod stats;
mod umount;
mod version;
mod warmup;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub use cache::{CacheAction, CacheOptions};
pub use doctor::DoctorOptions;
pub use mount::run_mount;
pub use needle::{NeedleAction, NeedleOptions};
pub use warmup::WarmupOptions;

use crate::invocation::{Action, Invocation};
use crate::options::BackgroundOptions;
use crate::{help, logging};

/// A command line that cannot be followed ends with this status, as is usual.
const USAGE: u8 = 2;

/// What mount(8) wants of a helper that was called wrongly, and of one that could not mount.
const HELPER_USAGE: u8 = 1;
const HELPER_FAILED: u8 = 32;

/// The whole program: follows the words after its name and says how it went.
pub fn main(program: &OsStr, args: &[OsString]) -> ExitCode {
    if BackgroundOptions::is_helper(program, args) {
        return helper(args);
    }
    let invocation = match Invocation::parse(args) {
        Ok(invocation) => invocation,
        Err(error) => {
            eprintln!("riptide: {error}");
            return ExitCode::from(USAGE);
        }
    };
    match run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        // A reader that has seen enough, such as `head`, is no failure.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("riptide: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The program as a helper of mount(8).
fn helper(args: &[OsString]) -> ExitCode {
    let options = match BackgroundOptions::from_mount(args) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("riptide: {error}");
            return ExitCode::from(HELPER_USAGE);
        }
    };
    match fuse::run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("riptide: {error:#}");
            ExitCode::from(HELPER_FAILED)
        }
    }
}

fn run(invocation: Invocation) -> anyhow::Result<()> {
    logging::start(invocation.logging)?;
    for warning in &invocation.warnings {
        tracing::warn!("{warning}");
    }
    match invocation.action {
        Action::Mount(options) => run_mount(&options),
        Action::Fuse(options) => fuse::run(&options),
        Action::Sidecar(config) => sidecar::run(*config),
        Action::Needle(options) => needle::run(&options),
        Action::Doctor(options) => doctor::run(&options),
        Action::Umount { dir, lazy } => umount::run(&dir, lazy),
        Action::Stats { dir, json, once } => stats::run(&dir, json, once),
        Action::Warmup(options) => warmup::run(&options),
        Action::Cache(options) => cache::run(&options),
        Action::Ping(options) => ping::run(&options),
        Action::Bench(options) => bench::run(&options),
        Action::Dev { dir, files } => dev::run(dir, files),
        Action::Completions(shell) => print(&help::completions(shell)),
        Action::Man => print(help::man_page().as_bytes()),
        Action::Version => print(version::text().as_bytes()),
        Action::Help(None) => print(help::overview().as_bytes()),
        Action::Help(Some(subcommand)) => print(help::subcommand(subcommand).as_bytes()),
    }
}

fn print(text: &[u8]) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()?;
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The path of a mount point without symbolic links, also where the mount no longer answers.
fn real_path(dir: &Path) -> io::Result<PathBuf> {
    dir.canonicalize().or_else(|error| {
        let absolute = std::path::absolute(dir)?;
        match (absolute.parent(), absolute.file_name()) {
            (Some(parent), Some(name)) if error.kind() != io::ErrorKind::NotFound => {
                Ok(parent.canonicalize()?.join(name))
            }
            _ => Err(error),
        }
    })
}
