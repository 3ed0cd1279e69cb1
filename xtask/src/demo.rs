//! `cargo xtask demo`: a throw-away SeaweedFS, a mount, files put in and read back.
//!
//! Everything that is printed was done just now: each file is uploaded through
//! the filer, read through the mount, and its MD5 compared. With `--keep` all
//! of it stays, held by a process in the background, until it is unmounted.

mod files;
mod keep;
mod mount;
mod steps;
mod table;

use std::ffi::OsString;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cluster::Cluster;

use files::Planted;
use mount::Mounted;
use table::Table;

/// Runs the demo, with the words after `demo`.
pub(crate) fn run(mut words: impl Iterator<Item = OsString>) -> Result<()> {
    let word = words.next();
    match word.as_ref().map(|w| w.to_str()) {
        None => show().map(drop),
        Some(Some("--keep")) => keep::in_background(),
        Some(Some(keep::HOLD)) => keep::hold(show()?),
        _ => bail!("usage: cargo xtask demo [--keep]"),
    }
}

/// What is running when the demo has shown everything.
struct Stage {
    // In this order: the mount goes before what it shows.
    mount: Mounted,
    cluster: Cluster,
}

fn show() -> Result<Stage> {
    check_machine()?;
    let riptide = crate::bench::riptide()?;
    let start = Instant::now();
    let cluster = Cluster::builder().start().context("start SeaweedFS")?;
    println!(
        "SeaweedFS runs, filer at http://{} ({:.1?})",
        cluster.filer_http(),
        start.elapsed()
    );
    let start = Instant::now();
    let mount = Mounted::start(&riptide, &cluster)?;
    println!(
        "mounted at {} ({:.1?})\n",
        mount.dir().display(),
        start.elapsed()
    );

    let mut table = Table::new();
    let planted = Planted::upload(&cluster, &mut table)?;
    let shown = steps::run(&cluster, &mount, &planted, &mut table);
    shown.map_err(|error| mount.explain(error))?;
    println!("{table}");
    println!(
        "{} files, {} MiB: every checksum is right\n",
        planted.len(),
        planted.mebibytes()
    );
    println!("{}", mount.statistics()?);
    Ok(Stage { mount, cluster })
}

fn check_machine() -> Result<()> {
    if !Path::new("/dev/fuse").exists() {
        bail!(
            "there is no /dev/fuse here: `modprobe fuse`, or a container with --device /dev/fuse"
        );
    }
    if !rustix::process::geteuid().is_root() {
        println!("not root: mounting through fusermount3");
    }
    Ok(())
}
