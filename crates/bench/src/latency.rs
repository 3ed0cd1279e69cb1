//! The result of a workload that repeats one small operation.
//!
//! Every single duration is kept: a few thousand fit anywhere, and buckets wide enough to be cheap are
//! wider than the differences that are looked for.

use std::time::Duration;

use parking_lot::Mutex;

/// How long each operation took, and all of them together.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// The single operations, without the check of what they returned, shortest first.
    pub each: Box<[Duration]>,
    /// From the first to the last, with the checks.
    pub elapsed: Duration,
}

impl Latencies {
    /// How many operations there were.
    #[must_use]
    pub fn count(&self) -> usize {
        self.each.len()
    }

    /// Operations a second.
    #[must_use]
    pub fn per_second(&self) -> f64 {
        self.count() as f64 / self.elapsed.as_secs_f64()
    }

    /// The time that a share `q` (0 to 1) of the operations did not exceed, in µs; 0 without any.
    #[must_use]
    pub fn quantile_us(&self, q: f64) -> f64 {
        let rank = (q * self.count() as f64).ceil() as usize;
        let at = rank.clamp(1, self.count().max(1)) - 1;
        self.each
            .get(at)
            .map_or(0.0, |took| took.as_secs_f64() * 1e6)
    }
}

/// Collects durations from several threads.
#[derive(Debug, Default)]
pub(crate) struct Durations(Mutex<Vec<Duration>>);

impl Durations {
    pub(crate) fn record(&self, took: Duration) {
        self.0.lock().push(took);
    }

    /// Shortest first.
    pub(crate) fn sorted(self) -> Box<[Duration]> {
        let mut all = self.0.into_inner();
        all.sort_unstable();
        all.into_boxed_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_durations() {
        let durations = Durations::default();
        for ms in [5, 1, 4, 2, 3] {
            durations.record(Duration::from_millis(ms));
        }
        let latencies = Latencies {
            each: durations.sorted(),
            elapsed: Duration::from_secs(1),
        };
        let quantiles = [0.0, 0.2, 0.21, 0.5, 0.99, 1.0].map(|q| latencies.quantile_us(q));
        assert_eq!(quantiles, [1e3, 1e3, 2e3, 3e3, 5e3, 5e3]);
        assert_eq!(latencies.per_second(), 5.0);
    }
}
