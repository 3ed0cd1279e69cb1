//! What is measured: each workload, and the rows of the table it gives.

mod reading;
mod writing;

use std::time::Duration;

use anyhow::Result;
use bench::Better;

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
    /// The curve it is a point of, and the share of all entries at which it lies.
    pub(crate) point: Option<(&'static str, f64)>,
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
    /// Whether a plain folder has something to compare with. Around the page cache it would show
    /// the disk.
    pub(crate) native: bool,
    /// Whether a mount that keeps whole files has its file in the cache for it.
    pub(crate) whole: bool,
    /// In how many rounds it takes part at most; what is long needs fewer.
    pub(crate) rounds: usize,
    /// Does it: the values of the rows, NaN for one that this variant does not have.
    pub(crate) run: fn(&Sample) -> Result<Vec<f64>>,
    /// What is done on the same mount after a pause; its values are those of the last rows.
    pub(crate) later: Option<Later>,
}

/// The second half of a workload. All mounts wait at the same time.
pub(crate) struct Later {
    pub(crate) pause: Duration,
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
);

/// Of the largest mount process in a round, whatever it wrote.
static MEMORY_WRITING: Row = row(
    "memory-writing",
    "peak memory of the mount in all that writes",
    "MiB",
    Better::Lower,
);

/// The rows about memory, and what the mount did meanwhile.
pub(crate) static MEMORIES: [(Kind, &Row); 2] =
    [(Kind::Read, &MEMORY), (Kind::Write, &MEMORY_WRITING)];

const fn row(key: &'static str, title: &'static str, unit: &'static str, better: Better) -> Row {
    Row {
        key,
        title,
        unit,
        better,
        point: None,
    }
}

impl Row {
    /// As a point of a curve.
    const fn at(mut self, curve: &'static str, share: f64) -> Self {
        self.point = Some((curve, share));
        self
    }
}

/// All rows, of all workloads.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    all()
        .flat_map(|workload| workload.rows)
        .chain(MEMORIES.map(|(_, row)| row))
}

impl Row {
    /// What it is where the rows above it are not seen.
    pub(crate) fn full_title(&self) -> String {
        let Some(part) = self.title.strip_prefix("— ") else {
            return self.title.to_owned();
        };
        let has_it = |workload: &&Workload| workload.rows.iter().any(|row| row.key == self.key);
        let first = all()
            .find(has_it)
            .map_or("", |workload| workload.rows[0].title);
        // What the first row shows of the workload is not what this one does.
        let workload = first.split(": ").next().unwrap_or(first);
        format!("{}: {part}", workload.trim_end_matches(", p50"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_key_of_its_own() {
        let mut keys: Vec<_> = rows().map(|row| row.key).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }

    #[test]
    fn a_row_can_be_told_without_those_above_it() {
        let of = |key: &str| {
            let row = rows().find(|row| row.key == key);
            row.map(Row::full_title).unwrap_or_default()
        };
        assert_eq!(
            of("random-p99"),
            "random 4 KiB, O_DIRECT, one reader, cold: p99"
        );
        assert_eq!(
            of("sizes"),
            "random 4 to 128 KiB, O_DIRECT, one reader, cold: throughput"
        );
        assert_eq!(of("mkdir"), "mkdir");
    }
}
