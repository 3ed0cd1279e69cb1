//! What is measured: each workload, and the rows of the table it gives.

mod reading;
mod writing;

use anyhow::Result;
use bench::Better;

use super::mounted::Variant;
use super::sample::Sample;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// Its name in flags and JSON.
    pub(crate) key: &'static str,
    /// What it is, for people.
    pub(crate) title: &'static str,
    /// Of its values.
    pub(crate) unit: &'static str,
    /// Which value is better.
    pub(crate) better: Better,
    bars: Bars,
}

/// How many times better than stock each mount of ours has to be; None for information.
#[derive(Debug, Clone, Copy)]
struct Bars {
    http: Option<f64>,
    shm: Option<f64>,
    tcp: Option<f64>,
    direct: Option<f64>,
}

/// What a workload does to the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// Leaves them as they are.
    Read,
    /// Makes, changes and removes files of its own.
    Write,
}

/// One thing to do on a fresh mount.
pub(crate) struct Workload {
    /// What its run returns, in this order.
    pub(crate) rows: &'static [Row],
    /// Whether it reads or writes.
    pub(crate) kind: Kind,
    /// Whether the kernel's read-ahead makes a difference.
    pub(crate) reads_ahead: bool,
    /// Whether bytes may move over the fabric: what is written goes over HTTP.
    pub(crate) fabric: bool,
    /// Does it.
    pub(crate) run: fn(&Sample) -> Result<Vec<f64>>,
}

/// All of them, in the order they run.
pub(crate) fn all() -> impl Iterator<Item = &'static Workload> {
    reading::WORKLOADS.iter().chain(writing::WORKLOADS)
}

/// Of the largest mount process in a round, whatever it read.
static MEMORY: Row = row(
    "memory",
    "peak memory of the mount in all that reads",
    "MiB",
    Better::Lower,
)
.bar(1.0);

/// Of the largest mount process in a round, whatever it wrote.
static MEMORY_WRITING: Row = row(
    "memory-writing",
    "peak memory of the mount in all that writes",
    "MiB",
    Better::Lower,
)
.bar(1.0);

/// The rows about memory, and what the mount did meanwhile.
pub(crate) static MEMORIES: [(Kind, &Row); 2] =
    [(Kind::Read, &MEMORY), (Kind::Write, &MEMORY_WRITING)];

const fn row(key: &'static str, title: &'static str, unit: &'static str, better: Better) -> Row {
    Row {
        key,
        title,
        unit,
        better,
        bars: Bars {
            http: None,
            shm: None,
            tcp: None,
            direct: None,
        },
    }
}

impl Row {
    /// How many times better than stock `variant` has to be.
    pub(crate) fn bar_of(&self, variant: Variant) -> Option<f64> {
        match variant {
            Variant::Stock | Variant::StockReadAhead => None,
            Variant::Riptide | Variant::RiptideUring => self.bars.http,
            Variant::RiptideShm | Variant::RiptideShmUring => self.bars.shm,
            Variant::RiptideTcp => self.bars.tcp,
            Variant::RiptideDirect | Variant::RiptideDirectUring => self.bars.direct,
        }
    }

    /// For the mount over HTTP.
    const fn bar(mut self, bar: f64) -> Self {
        self.bars.http = Some(bar);
        self
    }

    /// For the mounts that read the volume files by themselves.
    const fn direct(mut self, bar: f64) -> Self {
        self.bars.direct = Some(bar);
        self
    }

    /// For the mounts over the fabric, by shared memory and by TCP.
    const fn fabric(mut self, shm: f64, tcp: f64) -> Self {
        self.bars.shm = Some(shm);
        self.bars.tcp = Some(tcp);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_key_of_its_own() {
        let rows = all().flat_map(|workload| workload.rows);
        let memories = MEMORIES.iter().map(|(_, row)| *row);
        let mut keys: Vec<_> = rows.chain(memories).map(|row| row.key).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
