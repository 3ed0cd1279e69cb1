//! What is counted about whole files.

use stats::{Counter, Export, Exporter, Gauge};

/// Numbers of one [`Files`](crate::Files).
#[derive(Debug, Default)]
pub struct FilesStats {
    /// Opens that found their file whole.
    pub hits: Counter,
    /// Files brought in.
    pub filled: Counter,
    /// Bytes brought in, those of files that were given up included.
    pub filled_bytes: Counter,
    /// Files that could not be brought in.
    pub failed: Counter,
    /// Files for which there is no room.
    pub refused: Counter,
    /// Files removed to make room.
    pub evictions: Counter,
    /// Files removed, or given up on the way, because they were changed or removed elsewhere.
    pub outdated: Counter,
    /// Files that were not as they were written, and were removed.
    pub damaged: Counter,
    /// What a mount that was killed had left, and was removed.
    pub leftovers: Counter,
    /// Errors of the disk.
    pub disk_errors: Counter,
    /// Files here.
    pub files: Gauge,
    /// Bytes of disk they take.
    pub held: Gauge,
    /// Files waiting or on their way.
    pub waiting: Gauge,
}

impl Export for FilesStats {
    fn export(&self, to: &mut dyn Exporter) {
        let counters = [
            (
                "whole_hits",
                "Opens that found their file whole on disk.",
                &self.hits,
            ),
            ("whole_filled", "Files brought in whole.", &self.filled),
            (
                "whole_filled_bytes",
                "Bytes of files being brought in whole.",
                &self.filled_bytes,
            ),
            (
                "whole_failed",
                "Files that could not be brought in.",
                &self.failed,
            ),
            (
                "whole_refused",
                "Files there is no room for.",
                &self.refused,
            ),
            (
                "whole_evictions",
                "Whole files removed to make room.",
                &self.evictions,
            ),
            (
                "whole_outdated",
                "Whole files removed because they changed elsewhere.",
                &self.outdated,
            ),
            (
                "whole_damaged",
                "Whole files removed because they were damaged.",
                &self.damaged,
            ),
            (
                "whole_leftovers",
                "Unfinished files of a mount before, removed.",
                &self.leftovers,
            ),
            (
                "whole_disk_errors",
                "Errors of the disk of whole files.",
                &self.disk_errors,
            ),
        ];
        for (name, help, counter) in counters {
            to.counter(name, help, &[], counter.get());
        }
        let gauges = [
            ("whole_files", "Whole files on disk.", &self.files),
            (
                "whole_held_bytes",
                "Disk that whole files take.",
                &self.held,
            ),
            (
                "whole_waiting",
                "Files waiting to be brought in, or on their way.",
                &self.waiting,
            ),
        ];
        for (name, help, gauge) in gauges {
            to.gauge(name, help, &[], gauge.get() as f64);
        }
    }
}
