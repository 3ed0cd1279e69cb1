//! The result of a workload that repeats one small operation.

use std::time::Duration;

use stats::Snapshot;

/// How long each operation took, and all of them together.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// The single operations, without the check of what they returned.
    pub each: Snapshot,
    /// From the first to the last, with the checks.
    pub elapsed: Duration,
}

impl Latencies {
    /// Operations a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.each.count() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time that a share `q` (0 to 1) of the operations did not exceed, in µs.
    ///
    /// It is the upper end of a bucket of [`stats::Histogram`], up to 12.5 % too high.
    #[must_use]
    pub fn quantile_us(&self, q: f64) -> f64 {
        self.each.quantile_ns(q) as f64 / 1000.0
    }
}
