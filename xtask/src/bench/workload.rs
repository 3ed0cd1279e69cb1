//! What is measured: each workload, and the rows of the table it gives.

use anyhow::Result;
use bench::{Better, Caching};

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
}

/// One thing to do on a fresh mount.
pub(crate) struct Workload {
    /// What its run returns, in this order.
    pub(crate) rows: &'static [Row],
    /// Whether the kernel's read-ahead makes a difference.
    pub(crate) reads_ahead: bool,
    /// Does it.
    pub(crate) run: fn(&Sample) -> Result<Vec<f64>>,
}

/// All of them, in the order they run.
pub(crate) static WORKLOADS: &[Workload] = &[
    Workload {
        rows: &[
            row(
                "seq-buffered",
                "sequential 1 MiB, buffered, cold",
                "MB/s",
                Better::Higher,
            )
            .bar(1.0)
            .fabric(1.5, 1.5),
            row(
                "seq-buffered-cpu",
                "— CPU of the mount",
                "s/GiB",
                Better::Lower,
            )
            .bar(2.0),
            row(
                "seq-buffered-cpu-all",
                "— CPU of mount, sidecar and servers",
                "s/GiB",
                Better::Lower,
            )
            .fabric(2.0, 2.0),
            row(
                "seq-buffered-cpu-reader",
                "— CPU of the reader, checking included",
                "s/GiB",
                Better::Lower,
            ),
            row(
                "seq-buffered-check",
                "— share of the time spent checking bytes",
                "%",
                Better::Lower,
            ),
        ],
        reads_ahead: true,
        run: |sample| sample.sequential(Caching::Buffered),
    },
    Workload {
        rows: &[
            row(
                "seq-direct",
                "sequential 1 MiB, O_DIRECT, cold",
                "MB/s",
                Better::Higher,
            )
            .bar(1.0)
            .fabric(1.5, 1.5),
            row(
                "seq-direct-cpu",
                "— CPU of the mount",
                "s/GiB",
                Better::Lower,
            )
            .bar(2.0),
            row(
                "seq-direct-cpu-all",
                "— CPU of mount, sidecar and servers",
                "s/GiB",
                Better::Lower,
            )
            .fabric(2.0, 2.0),
            row(
                "seq-direct-cpu-reader",
                "— CPU of the reader, checking included",
                "s/GiB",
                Better::Lower,
            ),
            row(
                "seq-direct-check",
                "— share of the time spent checking bytes",
                "%",
                Better::Lower,
            ),
        ],
        reads_ahead: false,
        run: |sample| sample.sequential(Caching::Direct),
    },
    Workload {
        rows: &[
            row(
                "random-p50",
                "random 4 KiB, O_DIRECT, one reader, cold, p50",
                "µs",
                Better::Lower,
            )
            .bar(2.0)
            .fabric(4.0, 2.0),
            row("random-p99", "— p99", "µs", Better::Lower)
                .bar(1.0)
                .fabric(1.0, 1.0),
            row("random-cpu", "— CPU of the mount", "µs/read", Better::Lower),
            row(
                "random-sent",
                "— bytes the volume server sent per byte read",
                "×",
                Better::Lower,
            ),
        ],
        reads_ahead: false,
        run: |sample| sample.random(),
    },
    Workload {
        rows: &[
            row(
                "parallel",
                "random 4 KiB, O_DIRECT, 16 readers, cold",
                "IOPS",
                Better::Higher,
            )
            .bar(1.0)
            .fabric(1.0, 1.0),
            row(
                "parallel-cpu",
                "— CPU of the mount",
                "µs/read",
                Better::Lower,
            ),
        ],
        reads_ahead: false,
        run: |sample| sample.parallel(),
    },
    Workload {
        rows: &[row(
            "small-files",
            "open+read+close of 4 KiB files, cold",
            "files/s",
            Better::Higher,
        )
        .bar(1.0)],
        reads_ahead: false,
        run: |sample| sample.small_files(),
    },
    Workload {
        rows: &[
            row("find-cold", "find, cold", "entries/s", Better::Higher).bar(1.0),
            row("find-warm", "find, again", "entries/s", Better::Higher).bar(1.0),
        ],
        reads_ahead: false,
        run: |sample| sample.find(),
    },
    Workload {
        rows: &[
            row(
                "stat-cold",
                "stat of all files, cold",
                "files/s",
                Better::Higher,
            )
            .bar(1.0),
            row(
                "stat-warm",
                "stat of all files, again",
                "files/s",
                Better::Higher,
            )
            .bar(5.0),
        ],
        reads_ahead: false,
        run: |sample| sample.stat(),
    },
    Workload {
        rows: &[
            row("getattr", "forced GETATTR, p50", "µs", Better::Lower).bar(1.0),
            row(
                "missing",
                "LOOKUP of a missing name, p50",
                "µs",
                Better::Lower,
            )
            .bar(1.0),
        ],
        reads_ahead: false,
        run: |sample| sample.questions(),
    },
];

/// Of the largest mount process in a round, whatever it did.
pub(crate) static MEMORY: Row = row(
    "memory",
    "peak memory of the mount in all of the above",
    "MiB",
    Better::Lower,
)
.bar(1.0);

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
        },
    }
}

impl Row {
    /// How many times better than stock `variant` has to be.
    pub(crate) fn bar_of(&self, variant: Variant) -> Option<f64> {
        match variant {
            Variant::Stock | Variant::StockReadAhead => None,
            Variant::Riptide => self.bars.http,
            Variant::RiptideShm => self.bars.shm,
            Variant::RiptideTcp => self.bars.tcp,
        }
    }

    /// For the mount over HTTP.
    const fn bar(mut self, bar: f64) -> Self {
        self.bars.http = Some(bar);
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
        let rows = WORKLOADS.iter().flat_map(|workload| workload.rows);
        let mut keys: Vec<_> = rows.chain([&MEMORY]).map(|row| row.key).collect();
        let all = keys.len();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all);
    }
}
