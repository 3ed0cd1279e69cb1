//! Samples that write: each in a new folder, and what the filer has afterwards is compared.
//!
//! The filer answers from its own store and reads the needles from the volume servers: nothing that the
//! mount keeps can make it look right.

use std::fs::{create_dir, create_dir_all};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bench::{File, Latencies};
use bench::{change_names, create_write_close, overwrite_synced, remove_tree};
use bench::{make_folders, small_files, write_sequential};
use cluster::Cluster;

use super::Sample;
use crate::bench::setup::{in_parallel, removed};

impl Sample<'_> {
    /// Throughput until the file is closed, CPU time of the mount and of all who serve.
    pub(crate) fn write(&self) -> Result<Vec<f64>> {
        let folder = self.new_folder("write")?;
        let file = File {
            path: "written".to_owned(),
            size: self.bench.tree.big().size,
        };
        self.settle()?;
        let clocks = self.clocks()?;
        let stream = write_sequential(&self.dir(&folder), &file)?;
        let cost = self.cost_since(clocks)?;
        compare(&self.bench.cluster, &folder, &file, &file.content())?;
        self.bench.cluster.delete(&folder)?;
        Ok(vec![
            stream.mb_per_second(),
            cost.mount.as_secs_f64() / stream.gib(),
            cost.serving().as_secs_f64() / stream.gib(),
        ])
    }

    /// p50 and p99 of a small write and its fsync.
    pub(crate) fn overwrite(&self) -> Result<Vec<f64>> {
        let folder = self.new_folder("overwrite")?;
        let file = File {
            path: "overwritten".to_owned(),
            size: OVERWRITTEN,
        };
        write_sequential(&self.dir(&folder), &file)?;
        self.settle()?;
        let (writes, dir) = (self.operations / 4, self.dir(&folder));
        let (done, expected) = overwrite_synced(&dir, &file, writes, self.round)?;
        compare(&self.bench.cluster, &folder, &file, &expected)?;
        self.bench.cluster.delete(&folder)?;
        Ok(vec![done.quantile_us(0.5), done.quantile_us(0.99)])
    }

    /// Files made a second, p99 of one.
    pub(crate) fn create(&self) -> Result<Vec<f64>> {
        let folder = self.new_folder("create")?;
        let (files, dir) = (
            small_files("small", self.bench.tree.small().len()),
            self.dir(&folder),
        );
        make_folders(&dir, &files)?;
        self.settle()?;
        let made = create_write_close(&dir, &files)?;
        self.compare_all(&folder, &files)?;
        Ok(vec![made.per_second(), made.quantile_us(0.99)])
    }

    /// Files a second.
    pub(crate) fn untar(&self) -> Result<Vec<f64>> {
        let folder = self.new_folder("untar")?;
        self.settle()?;
        let took = self.bench.archive.unpack(&self.dir(&folder))?;
        let files = self.bench.archive.files();
        self.compare_all(&folder, files)?;
        Ok(vec![files.len() as f64 / took.as_secs_f64()])
    }

    /// Directories made, files renamed, files removed a second.
    pub(crate) fn names(&self) -> Result<Vec<f64>> {
        let folder = self.new_folder("names")?;
        self.settle()?;
        let count = self.operations / 2;
        let done = change_names(&self.dir(&folder), count)?;
        let found = self.listing(&folder, 2 * count)?;
        ensure!(
            found == done.left,
            "the filer has {} names in {folder}, expected {}",
            found.len(),
            done.left.len()
        );
        let each = [done.made, done.renamed, done.removed];
        Ok(each.iter().map(Latencies::per_second).collect())
    }

    /// Entries removed a second.
    pub(crate) fn remove(&self) -> Result<Vec<f64>> {
        let folder = format!("/{}", removed(self.variant, self.round));
        self.settle()?;
        let took = remove_tree(&self.dir(&folder))?;
        let cluster = &self.bench.cluster;
        let status = cluster.filer(0, "GET", &folder, "", &[], b"")?.status;
        ensure!(status == 404, "the filer still has {folder}: {status}");
        Ok(vec![self.bench.tree.entries() as f64 / took.as_secs_f64()])
    }

    /// The path at the filer of a folder that nobody has used.
    fn new_folder(&self, row: &str) -> Result<String> {
        let folder = format!("/written/{}-{}", self.variant.key(), self.round);
        create_dir_all(self.dir(&folder)).with_context(|| format!("make {folder}"))?;
        let folder = format!("{folder}/{row}");
        create_dir(self.dir(&folder)).with_context(|| format!("make {folder}"))?;
        Ok(folder)
    }

    /// Where a folder of the filer is mounted.
    fn dir(&self, folder: &str) -> PathBuf {
        self.mount.dir().join(folder.trim_start_matches('/'))
    }

    /// Waits until mount and servers have nothing left to do: a mount that starts applies what others
    /// changed in the last seconds, and servers delete what an earlier sample left.
    fn settle(&self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < SETTLING {
            let cost = self.cost_since(self.clocks()?)?;
            if cost.serving() < IDLE {
                return Ok(());
            }
        }
        eprintln!("bench: the servers are busy after {SETTLING:?}");
        Ok(())
    }

    fn compare_all(&self, folder: &str, files: &[File]) -> Result<()> {
        let cluster = &self.bench.cluster;
        in_parallel(files, |file| {
            compare(cluster, folder, file, &file.content())
        })
    }

    /// The names in a folder of the filer, sorted; at most `limit`.
    fn listing(&self, folder: &str, limit: usize) -> Result<Vec<String>> {
        let (path, query) = (format!("{folder}/"), format!("limit={limit}"));
        let accept = [("Accept", "application/json")];
        let cluster = &self.bench.cluster;
        let answer = cluster.filer(0, "GET", &path, &query, &accept, b"")?.ok()?;
        let body: serde_json::Value = serde_json::from_slice(&answer.body)?;
        let entries = body["Entries"].as_array().context("no entries")?.iter();
        let names: Option<Vec<String>> = entries
            .map(|entry| {
                let path = entry["FullPath"].as_str()?;
                Some(path.rsplit('/').next()?.to_owned())
            })
            .collect();
        let mut names = names.context("an entry without a path")?;
        names.sort_unstable();
        Ok(names)
    }
}

/// Compares a file of the filer with what it has to be.
fn compare(cluster: &Cluster, folder: &str, file: &File, expected: &[u8]) -> Result<()> {
    let path = format!("{folder}/{}", file.path);
    let found = cluster.get(&path)?;
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    ensure!(
        found.len() == expected.len() && differs.is_none(),
        "{path} was written wrong: {} bytes, expected {}; the first that differs is at {differs:?}",
        found.len(),
        expected.len()
    );
    Ok(())
}

/// The size of the file in which places are overwritten.
const OVERWRITTEN: u64 = 64 << 20;
const SETTLING: Duration = Duration::from_secs(10);
/// Twice what idle servers and a mount use while `Cost` looks.
const IDLE: Duration = Duration::from_millis(10);
