//! What reads, and the rows it gives.

use bench::{Better, Caching};

use super::{Kind, Workload, row};

pub(super) static WORKLOADS: &[Workload] = &[
    Workload {
        rows: &[
            row(
                "seq-buffered",
                "sequential 1 MiB, buffered, cold",
                "MB/s",
                Better::Higher,
            )
            .bar(1.0)
            .fabric(1.5, 1.5)
            .direct(2.5),
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
            .fabric(2.0, 2.0)
            .direct(3.0),
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
        kind: Kind::Read,
        reads_ahead: true,
        fabric: true,
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
            .fabric(1.5, 1.5)
            .direct(4.0),
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
            .fabric(2.0, 2.0)
            .direct(3.0),
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
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
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
            .fabric(4.0, 2.0)
            .direct(12.0),
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
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
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
            .fabric(1.0, 1.0)
            .direct(20.0),
            row(
                "parallel-cpu",
                "— CPU of the mount",
                "µs/read",
                Better::Lower,
            ),
        ],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        run: |sample| sample.parallel(),
    },
    Workload {
        rows: &[row(
            "small-files",
            "open+read+close of 4 KiB files, cold",
            "files/s",
            Better::Higher,
        )
        .bar(1.0)
        .direct(5.0)],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        run: |sample| sample.small_files(),
    },
    Workload {
        rows: &[
            row("find-cold", "find, cold", "entries/s", Better::Higher).bar(1.0),
            row("find-warm", "find, again", "entries/s", Better::Higher).bar(1.0),
        ],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
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
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
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
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        run: |sample| sample.questions(),
    },
];
