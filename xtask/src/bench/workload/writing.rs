//! What writes, and the rows it gives. All of it lies in new folders beside the tree, and is compared
//! with what the filer has when the clock has stopped.

use bench::Better;

use super::{Kind, Workload, row};

pub(super) static WORKLOADS: &[Workload] = &[
    Workload {
        rows: &[
            row(
                "write",
                "sequential write 1 MiB, new file, fsync, close",
                "MB/s",
                Better::Higher,
            ),
            row("write-cpu", "— CPU of the mount", "s/GiB", Better::Lower),
            row(
                "write-cpu-all",
                "— CPU of mount, sidecar and servers",
                "s/GiB",
                Better::Lower,
            ),
        ],
        kind: Kind::Write,
        reads_ahead: false,
        fabric: false,
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.write(),
        later: None,
    },
    Workload {
        rows: &[
            row(
                "overwrite-p50",
                "overwrite 4 KiB at random and fsync, p50",
                "µs",
                Better::Lower,
            ),
            row("overwrite-p99", "— p99", "µs", Better::Lower),
        ],
        kind: Kind::Write,
        reads_ahead: false,
        fabric: false,
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.overwrite(),
        later: None,
    },
    Workload {
        rows: &[
            row(
                "create",
                "create+write+close of 4 KiB files",
                "files/s",
                Better::Higher,
            ),
            row("create-p99", "— p99", "µs", Better::Lower),
        ],
        kind: Kind::Write,
        reads_ahead: false,
        fabric: false,
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.create(),
        later: None,
    },
    Workload {
        rows: &[row(
            "untar",
            "tar -x of sources, 16 B to 64 KiB",
            "files/s",
            Better::Higher,
        )],
        kind: Kind::Write,
        reads_ahead: false,
        fabric: false,
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.untar(),
        later: None,
    },
    Workload {
        rows: &[
            row("mkdir", "mkdir", "1/s", Better::Higher),
            row("rename", "rename of a file", "1/s", Better::Higher),
            row("unlink", "unlink of a file", "1/s", Better::Higher),
        ],
        kind: Kind::Write,
        reads_ahead: false,
        fabric: false,
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.names(),
        later: None,
    },
    Workload {
        rows: &[row(
            "rm-rf",
            "rm -rf of a tree",
            "entries/s",
            Better::Higher,
        )],
        kind: Kind::Write,
        reads_ahead: false,
        fabric: false,
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.remove(),
        later: None,
    },
];
