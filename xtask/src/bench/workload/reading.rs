//! What reads, and the rows it gives.

use std::time::Duration;

use bench::{Better, Caching};

use super::{Kind, Later, Workload, row};

pub(super) static WORKLOADS: &[Workload] = &[
    Workload {
        rows: &[
            row(
                "seq-buffered",
                "sequential 1 MiB, buffered, cold",
                "MB/s",
                Better::Higher,
            ),
            row(
                "seq-buffered-cpu",
                "— CPU of the mount",
                "s/GiB",
                Better::Lower,
            ),
            row(
                "seq-buffered-cpu-all",
                "— CPU of mount, sidecar and servers",
                "s/GiB",
                Better::Lower,
            ),
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
        native: true,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.sequential(Caching::Buffered),
        later: None,
    },
    Workload {
        rows: &[
            row(
                "seq-direct",
                "sequential 1 MiB, O_DIRECT, cold",
                "MB/s",
                Better::Higher,
            ),
            row(
                "seq-direct-cpu",
                "— CPU of the mount",
                "s/GiB",
                Better::Lower,
            ),
            row(
                "seq-direct-cpu-all",
                "— CPU of mount, sidecar and servers",
                "s/GiB",
                Better::Lower,
            ),
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
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.sequential(Caching::Direct),
        later: None,
    },
    Workload {
        rows: &[
            row(
                "random-p50",
                "random 4 KiB, O_DIRECT, one reader, cold, p50",
                "µs",
                Better::Lower,
            ),
            row("random-p99", "— p99", "µs", Better::Lower),
            row("random-cpu", "— CPU of the mount", "µs/read", Better::Lower),
            row(
                "random-fetched",
                "— bytes fetched per byte asked for",
                "×",
                Better::Lower,
            ),
        ],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.random(),
        later: None,
    },
    Workload {
        rows: &[
            row(
                "parallel",
                "random 4 KiB, O_DIRECT, 16 readers, cold",
                "IOPS",
                Better::Higher,
            ),
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
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.parallel(),
        later: None,
    },
    Workload {
        rows: &[
            row(
                "sizes-fetched",
                "random 4 to 128 KiB, O_DIRECT, one reader, cold: bytes fetched per byte asked for",
                "×",
                Better::Lower,
            ),
            row("sizes", "— throughput", "MB/s", Better::Higher),
        ],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        native: false,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.sizes(),
        later: None,
    },
    Workload {
        rows: &[row(
            "whole-seq",
            "whole file, 1 MiB, buffered",
            "MB/s",
            Better::Higher,
        )],
        kind: Kind::Read,
        reads_ahead: true,
        fabric: true,
        native: true,
        whole: true,
        rounds: usize::MAX,
        run: |sample| sample.whole(),
        later: None,
    },
    Workload {
        rows: &[row(
            "whole-random",
            "whole file, random 4 KiB, buffered, p50",
            "µs",
            Better::Lower,
        )],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        native: true,
        whole: true,
        rounds: usize::MAX,
        run: |sample| sample.whole_random(),
        later: None,
    },
    Workload {
        rows: &[row(
            "small-files",
            "open+read+close of 4 KiB files, cold",
            "files/s",
            Better::Higher,
        )],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        native: true,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.small_files(),
        later: None,
    },
    Workload {
        rows: &[
            row("find-cold", "find, cold", "entries/s", Better::Higher),
            row("find-warm", "find, again", "entries/s", Better::Higher),
        ],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        native: true,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.find(),
        later: None,
    },
    Workload {
        rows: &[
            row(
                "find-stat-cold",
                "find with stat of each, cold",
                "entries/s",
                Better::Higher,
            ),
            row(
                "find-stat-warm",
                "find with stat of each, again",
                "entries/s",
                Better::Higher,
            ),
            row(
                "find-stat-later",
                "find with stat of each, after 61 s",
                "entries/s",
                Better::Higher,
            ),
        ],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        native: false,
        whole: false,
        rounds: FEW,
        run: |sample| sample.find_and_stat(2),
        later: Some(Later {
            pause: PAST_TTL,
            run: |sample| sample.find_and_stat(1),
        }),
    },
    Workload {
        rows: &[
            row(
                "stat-cold",
                "stat of all files, cold",
                "files/s",
                Better::Higher,
            ),
            row(
                "stat-warm",
                "stat of all files, again",
                "files/s",
                Better::Higher,
            ),
        ],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        native: true,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.stat(),
        later: None,
    },
    Workload {
        rows: &[
            row("getattr", "forced GETATTR, p50", "µs", Better::Lower),
            row(
                "missing",
                "LOOKUP of a missing name, p50",
                "µs",
                Better::Lower,
            ),
        ],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        native: true,
        whole: false,
        rounds: usize::MAX,
        run: |sample| sample.questions(),
        later: None,
    },
    Workload {
        rows: &[
            row(
                "scale-getattr-100",
                "forced GETATTR, a hundredth of the entries known, p50",
                "µs",
                Better::Lower,
            )
            .at("forced GETATTR", 0.01),
            row(
                "scale-missing-100",
                "LOOKUP of a missing name, a hundredth of the entries known, p50",
                "µs",
                Better::Lower,
            )
            .at("LOOKUP of a missing name", 0.01),
            row(
                "scale-read-100",
                "random 4 KiB, O_DIRECT, a hundredth of the entries known, p50",
                "µs",
                Better::Lower,
            )
            .at("random 4 KiB, O_DIRECT", 0.01),
            row(
                "scale-getattr-10",
                "forced GETATTR, a tenth of the entries known, p50",
                "µs",
                Better::Lower,
            )
            .at("forced GETATTR", 0.1),
            row(
                "scale-missing-10",
                "LOOKUP of a missing name, a tenth of the entries known, p50",
                "µs",
                Better::Lower,
            )
            .at("LOOKUP of a missing name", 0.1),
            row(
                "scale-read-10",
                "random 4 KiB, O_DIRECT, a tenth of the entries known, p50",
                "µs",
                Better::Lower,
            )
            .at("random 4 KiB, O_DIRECT", 0.1),
            row(
                "scale-getattr-1",
                "forced GETATTR, all of the entries known, p50",
                "µs",
                Better::Lower,
            )
            .at("forced GETATTR", 1.0),
            row(
                "scale-missing-1",
                "LOOKUP of a missing name, all of the entries known, p50",
                "µs",
                Better::Lower,
            )
            .at("LOOKUP of a missing name", 1.0),
            row(
                "scale-read-1",
                "random 4 KiB, O_DIRECT, all of the entries known, p50",
                "µs",
                Better::Lower,
            )
            .at("random 4 KiB, O_DIRECT", 1.0),
        ],
        kind: Kind::Read,
        reads_ahead: false,
        fabric: true,
        native: false,
        whole: false,
        rounds: FEW,
        run: |sample| sample.scale(),
        later: None,
    },
];

/// Beyond the 60 s for which both mounts let the kernel keep names and attributes, by default.
const PAST_TTL: Duration = Duration::from_secs(61);
/// Rounds of what is long.
const FEW: usize = 2;
