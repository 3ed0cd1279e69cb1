//! What is done with the files, each step a row of the table.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use cluster::Cluster;
use rustix::fs::{Advice, OFlags, fadvise};

use super::files::{self, Planted, md5};
use super::mount::Mounted;
use super::table::Table;

/// Reads everything in several ways, and changes a file elsewhere.
pub(crate) fn run(
    cluster: &Cluster,
    mount: &Mounted,
    planted: &Planted,
    table: &mut Table,
) -> Result<()> {
    read_all("read, nothing cached", mount, &planted.large, table)?;
    read_all(
        "read again, without the kernel's cache",
        mount,
        &planted.large,
        table,
    )?;
    read_all("read small files", mount, &planted.small, table)?;
    random(&mount.path(&planted.large[0].path), table)?;
    look_at_all(mount, planted, table)?;
    change_elsewhere(cluster, mount, table)
}

fn read_all(what: &str, mount: &Mounted, files: &[files::File], table: &mut Table) -> Result<()> {
    let (mut time, mut bytes) = (Duration::ZERO, 0);
    for file in files {
        let path = mount.path(&file.path);
        forget_pages(&path)?;
        let start = Instant::now();
        let read = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
        time += start.elapsed();
        bytes += read.len();
        // Outside of the time, which is the mount's.
        ensure!(
            md5(&read) == file.md5,
            "{} reads back differently",
            file.path
        );
    }
    table.moved(what, files.len(), bytes, time);
    Ok(())
}

fn random(path: &Path, table: &mut Table) -> Result<()> {
    const READ: usize = 4096;
    let direct = OFlags::DIRECT.bits().cast_signed();
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(direct)
        .open(path)?;
    let pages = file.metadata()?.len() / READ as u64;
    let mut memory = vec![0; 2 * READ];
    let start = memory.as_ptr().align_offset(READ);
    let buffer = &mut memory[start..start + READ];
    let mut times = Vec::new();
    for n in 0..1000_u64 {
        // A stride that is prime to the number of pages visits them in no order.
        let page = n * 7_919 % pages;
        let start = Instant::now();
        let count = file.read_at(buffer, page * READ as u64)?;
        times.push(start.elapsed());
        ensure!(count == READ, "a short read at page {page}");
    }
    table.timed("random reads of 4 KiB, direct", times);
    Ok(())
}

fn look_at_all(mount: &Mounted, planted: &Planted, table: &mut Table) -> Result<()> {
    let mut times = Vec::new();
    for file in planted.small.iter().chain(&planted.large) {
        let path = mount.path(&file.path);
        let start = Instant::now();
        let size = fs::metadata(&path)?.len();
        times.push(start.elapsed());
        ensure!(size == file.size as u64, "size of {}", file.path);
    }
    table.timed("stat", times);
    Ok(())
}

/// How long until a file that somebody else rewrites shows its new bytes here.
fn change_elsewhere(cluster: &Cluster, mount: &Mounted, table: &mut Table) -> Result<()> {
    let (path, here) = ("/news.txt", mount.path("/news.txt"));
    let mut times = Vec::new();
    for n in 0..20 {
        let news = format!("edition {n:03}\n");
        cluster.put(path, news.as_bytes())?;
        let start = Instant::now();
        while !fs::read(&here).is_ok_and(|bytes| bytes == news.as_bytes()) {
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "a change elsewhere is not seen"
            );
            thread::sleep(Duration::from_micros(100));
        }
        times.push(start.elapsed());
    }
    table.timed("until a change elsewhere is seen", times);
    Ok(())
}

/// Has the kernel drop its pages of a file, so that reading asks the mount.
fn forget_pages(path: &Path) -> Result<()> {
    fadvise(File::open(path)?, 0, None, Advice::DontNeed)?;
    Ok(())
}
