//! One workload on one fresh mount: what it does, and the values that come out,
//! in the order of the rows that `workload` lists for it.

mod writing;

use std::cell::RefCell;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use bench::{Caching, Latencies, MANY};
use bench::{forced_getattr, missing_lookup, open_read_close, stat_all, walk, walk_and_stat};
use bench::{random, random_sizes, sequential};

use super::cost::Cost;
use super::mounted::{Mounted, Route, Variant};
use super::setup::Bench;

/// A fresh mount, and how much to do on it.
pub(crate) struct Sample<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) mount: &'a Mounted,
    pub(crate) variant: Variant,
    /// Number of the round: other random places, other missing names.
    pub(crate) round: u64,
    /// Operations of a latency row.
    pub(crate) operations: usize,
    /// Latencies of rows whose whole distribution is shown, by their keys.
    pub(crate) noted: RefCell<Vec<(&'static str, Latencies)>>,
}

impl Sample<'_> {
    fn root(&self) -> &Path {
        self.mount.root()
    }

    /// The share of a CPU time; NaN where there is no mount.
    fn each(&self, time: Duration, count: f64) -> f64 {
        match self.mount.id() {
            Some(_) => time.as_secs_f64() / count,
            None => f64::NAN,
        }
    }

    fn note(&self, key: &'static str, latencies: Latencies) {
        self.noted.borrow_mut().push((key, latencies));
    }

    /// Bytes fetched since `before`, per byte asked for.
    fn fetched(&self, before: Option<u64>, asked: f64) -> Result<f64> {
        let fetched = self.bench.sent(self.variant)?.zip(before);
        Ok(fetched.map_or(f64::NAN, |(now, before)| (now - before) as f64 / asked))
    }

    fn clocks(&self) -> Result<Cost> {
        Cost::now(self.mount.id(), &self.bench.servers)
    }

    fn cost_since(&self, clocks: Cost) -> Result<Cost> {
        clocks.since(self.mount.id(), &self.bench.servers)
    }

    /// Throughput, CPU time of the mount, of it and all servers, and of the reader, share of checking.
    pub(crate) fn sequential(&self, caching: Caching) -> Result<Vec<f64>> {
        let clocks = self.clocks()?;
        let stream = sequential(self.root(), self.bench.tree.big(), caching)?;
        let cost = self.cost_since(clocks)?;
        Ok(vec![
            stream.mb_per_second(),
            self.each(cost.mount, stream.gib()),
            self.each(cost.serving(), stream.gib()),
            cost.reader.as_secs_f64() / stream.gib(),
            stream.checking.as_secs_f64() / stream.elapsed.as_secs_f64() * 100.0,
        ])
    }

    /// p50, p99, CPU time of the mount per read, bytes fetched per byte asked for.
    pub(crate) fn random(&self) -> Result<Vec<f64>> {
        let sent = self.bench.sent(self.variant)?;
        let clocks = self.clocks()?;
        let done = self.places(Caching::Direct, 1, self.operations)?;
        let cost = self.cost_since(clocks)?;
        let reads = done.count() as f64;
        let values = vec![
            done.quantile_us(0.5),
            done.quantile_us(0.99),
            self.each(cost.mount, reads) * 1e6,
            self.fetched(sent, reads * 4096.0)?,
        ];
        self.note("random-p50", done);
        Ok(values)
    }

    /// Reads a second, CPU time of the mount per read.
    pub(crate) fn parallel(&self) -> Result<Vec<f64>> {
        let clocks = self.clocks()?;
        let done = self.places(Caching::Direct, READERS, self.operations / 4)?;
        let cost = self.cost_since(clocks)?;
        let values = vec![
            done.per_second(),
            self.each(cost.mount, done.count() as f64) * 1e6,
        ];
        self.note("parallel", done);
        Ok(values)
    }

    /// Bytes fetched per byte asked for, throughput.
    pub(crate) fn sizes(&self) -> Result<Vec<f64>> {
        let sent = self.bench.sent(self.variant)?;
        let big = self.bench.tree.big();
        let (done, asked) = random_sizes(self.root(), big, self.operations, self.round)?;
        Ok(vec![
            self.fetched(sent, asked as f64)?,
            asked as f64 / 1e6 / done.elapsed.as_secs_f64(),
        ])
    }

    /// Throughput of a file that is whole in the cache where the mount has such files.
    pub(crate) fn whole(&self) -> Result<Vec<f64>> {
        self.bring_in()?;
        let big = self.bench.tree.big();
        let stream = sequential(self.root(), big, Caching::Buffered)?;
        Ok(vec![stream.mb_per_second()])
    }

    /// p50 of small reads of it.
    pub(crate) fn whole_random(&self) -> Result<Vec<f64>> {
        self.bring_in()?;
        let done = self.places(Caching::Buffered, 1, self.operations)?;
        let values = vec![done.quantile_us(0.5)];
        self.note("whole-random", done);
        Ok(values)
    }

    /// Has the file brought in whole where the mount has such files.
    fn bring_in(&self) -> Result<()> {
        if self.variant.route() != Some(Route::Fast) {
            return Ok(());
        }
        let file = self.root().join(&self.bench.tree.big().path);
        let warmup = Command::new(self.bench.programs.riptide()?)
            .arg("warmup")
            .arg(&file)
            .output()?;
        let said = String::from_utf8_lossy(&warmup.stderr);
        ensure!(warmup.status.success(), "riptide warmup: {}", said.trim());
        Ok(())
    }

    fn places(&self, caching: Caching, readers: usize, each: usize) -> Result<Latencies> {
        let big = self.bench.tree.big();
        let done = match self.variant {
            Variant::Bare => self.bench.bare.random(big, readers, each, self.round),
            _ => random(self.root(), big, caching, readers, each, self.round),
        };
        Ok(done?)
    }

    /// Files a second.
    pub(crate) fn small_files(&self) -> Result<Vec<f64>> {
        let done = open_read_close(self.root(), self.bench.tree.small())?;
        let values = vec![done.per_second()];
        self.note("small-files", done);
        Ok(values)
    }

    /// Entries a second, as often as told.
    pub(crate) fn find_and_stat(&self, times: usize) -> Result<Vec<f64>> {
        let (dir, entries) = (self.root().join(MANY), self.bench.tree.entries());
        (0..times)
            .map(|_| Ok(entries as f64 / walk_and_stat(&dir, entries)?.as_secs_f64()))
            .collect()
    }

    /// p50 of GETATTR, LOOKUP of a missing name and a read, when more and more entries are known.
    pub(crate) fn scale(&self) -> Result<Vec<f64>> {
        let (root, tree) = (self.root(), &self.bench.tree);
        let (many, times) = (tree.many(), self.operations / 2);
        let mut values = Vec::new();
        for part in [100, 10, 1] {
            let known = &many[..(many.len() / part).max(1)];
            stat_all(root, known)?;
            let seed = self.round * 1000 + part as u64;
            let done = [
                forced_getattr(root, tree.big(), times)?,
                missing_lookup(root, times, seed)?,
                random(root, tree.big(), Caching::Direct, 1, times, seed)?,
            ];
            values.extend(done.map(|latencies| latencies.quantile_us(0.5)));
        }
        Ok(values)
    }

    /// Entries a second, the first and the second time.
    pub(crate) fn find(&self) -> Result<Vec<f64>> {
        let (dir, entries) = (self.root().join(MANY), self.bench.tree.entries());
        let mut per_second = Vec::new();
        for _cold_then_warm in 0..2 {
            per_second.push(entries as f64 / walk(&dir, entries)?.as_secs_f64());
        }
        Ok(per_second)
    }

    /// Files a second, the first and the second time.
    pub(crate) fn stat(&self) -> Result<Vec<f64>> {
        let many = self.bench.tree.many();
        let cold = stat_all(self.root(), &many)?.per_second();
        let warm = stat_all(self.root(), &many)?.per_second();
        Ok(vec![cold, warm])
    }

    /// p50 of a GETATTR and of a LOOKUP of a missing name.
    pub(crate) fn questions(&self) -> Result<Vec<f64>> {
        let root = self.root();
        let getattr = forced_getattr(root, self.bench.tree.big(), self.operations)?;
        let missing = missing_lookup(root, self.operations, self.round)?;
        let values = vec![getattr.quantile_us(0.5), missing.quantile_us(0.5)];
        self.note("getattr", getattr);
        self.note("missing", missing);
        Ok(values)
    }
}

const READERS: usize = 16;
