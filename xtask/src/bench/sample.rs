//! One workload on one fresh mount: what it does, and the values that come out,
//! in the order of the rows that `workload` lists for it.

mod writing;

use std::path::PathBuf;

use anyhow::Result;
use bench::usage::written;
use bench::{Caching, MANY};
use bench::{forced_getattr, missing_lookup, open_read_close, random, sequential, stat_all, walk};

use super::cost::Cost;
use super::mounted::{Mounted, Variant};
use super::setup::{Bench, ROOT};

/// A fresh mount, and how much to do on it.
pub(crate) struct Sample<'a> {
    pub(crate) bench: &'a Bench,
    pub(crate) mount: &'a Mounted,
    pub(crate) variant: Variant,
    /// Number of the round: other random places, other missing names.
    pub(crate) round: u64,
    /// Operations of a latency row.
    pub(crate) operations: usize,
}

impl Sample<'_> {
    fn root(&self) -> PathBuf {
        self.mount.dir().join(ROOT)
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
        let stream = sequential(&self.root(), self.bench.tree.big(), caching)?;
        let cost = self.cost_since(clocks)?;
        Ok(vec![
            stream.mb_per_second(),
            cost.mount.as_secs_f64() / stream.gib(),
            cost.serving().as_secs_f64() / stream.gib(),
            cost.reader.as_secs_f64() / stream.gib(),
            stream.checking.as_secs_f64() / stream.elapsed.as_secs_f64() * 100.0,
        ])
    }

    /// p50, p99, CPU time of the mount per read, bytes sent per byte read.
    pub(crate) fn random(&self) -> Result<Vec<f64>> {
        let sender = self.bench.sender(self.variant);
        let sent = written(sender)?;
        let clocks = self.clocks()?;
        let big = self.bench.tree.big();
        let done = random(&self.root(), big, Caching::Direct, 1, self.operations, self.round)?;
        let cost = self.cost_since(clocks)?;
        let sent = written(sender)? - sent;
        let reads = done.count() as f64;
        Ok(vec![
            done.quantile_us(0.5),
            done.quantile_us(0.99),
            cost.mount.as_secs_f64() * 1e6 / reads,
            sent as f64 / (reads * 4096.0),
        ])
    }

    /// Reads a second, CPU time of the mount per read.
    pub(crate) fn parallel(&self) -> Result<Vec<f64>> {
        let clocks = self.clocks()?;
        let big = self.bench.tree.big();
        let each = self.operations / 4;
        let done = random(&self.root(), big, Caching::Direct, READERS, each, self.round)?;
        let cost = self.cost_since(clocks)?;
        Ok(vec![
            done.per_second(),
            cost.mount.as_secs_f64() * 1e6 / done.count() as f64,
        ])
    }

    /// Files a second.
    pub(crate) fn small_files(&self) -> Result<Vec<f64>> {
        let done = open_read_close(&self.root(), self.bench.tree.small())?;
        Ok(vec![done.per_second()])
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
        let cold = stat_all(&self.root(), &many)?.per_second();
        let warm = stat_all(&self.root(), &many)?.per_second();
        Ok(vec![cold, warm])
    }

    /// p50 of a GETATTR and of a LOOKUP of a missing name.
    pub(crate) fn questions(&self) -> Result<Vec<f64>> {
        let root = self.root();
        let getattr = forced_getattr(&root, self.bench.tree.big(), self.operations)?;
        let missing = missing_lookup(&root, self.operations, self.round)?;
        Ok(vec![getattr.quantile_us(0.5), missing.quantile_us(0.5)])
    }
}

const READERS: usize = 16;
