//! Whether the disk is worth asking.
//!
//! A cache on a slow or busy disk can be slower than a volume server that answers from its
//! page cache. Both are timed, by size of the request; while the disk has been slower it is
//! passed over, except for a probe now and then which notices when that has changed.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the sizes that are timed apart: a seek dominates the small ones, bandwidth
/// the large ones.
const SIZES: [usize; 4] = [16 << 10, 128 << 10, 1 << 20, usize::MAX];
/// Samples before an average counts.
const ENOUGH: u32 = 8;
/// A new sample moves the average by this part.
const WEIGHT: u64 = 8;
/// Requests that pass the disk over for each one that probes it.
const PROBE_EVERY: u32 = 32;

/// Moving averages of the time a read takes from disk and over the route.
#[derive(Debug, Default)]
pub(crate) struct Pace([Class; SIZES.len()]);

#[derive(Debug, Default)]
struct Class {
    disk: Average,
    route: Average,
    passed: AtomicU32,
}

#[derive(Debug, Default)]
struct Average {
    ns: AtomicU64,
    samples: AtomicU32,
}

impl Pace {
    /// Records a read of `len` bytes from disk.
    pub(crate) fn disk(&self, len: usize, took: Duration) {
        self.class(len).disk.record(took);
    }

    /// Records a read of `len` bytes over the route.
    pub(crate) fn route(&self, len: usize, took: Duration) {
        self.class(len).route.record(took);
    }

    /// Whether a read of `len` bytes should try the disk first.
    pub(crate) fn prefers_disk(&self, len: usize) -> bool {
        let class = self.class(len);
        let (Some(disk), Some(route)) = (class.disk.get(), class.route.get()) else {
            return true;
        };
        disk <= route
            || class.passed.fetch_add(1, Ordering::Relaxed) % PROBE_EVERY == PROBE_EVERY - 1
    }

    fn class(&self, len: usize) -> &Class {
        let at = SIZES.partition_point(|bound| *bound < len);
        &self.0[at.min(SIZES.len() - 1)]
    }
}

impl Average {
    /// Concurrent records may lose one another, which an average can bear.
    fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX / WEIGHT);
        let old = self.ns.load(Ordering::Relaxed);
        let samples = self.samples.load(Ordering::Relaxed);
        let new = if samples == 0 {
            ns
        } else {
            old - old / WEIGHT + ns / WEIGHT
        };
        self.ns.store(new, Ordering::Relaxed);
        self.samples
            .store(samples.saturating_add(1), Ordering::Relaxed);
    }

    fn get(&self) -> Option<u64> {
        let enough = self.samples.load(Ordering::Relaxed) >= ENOUGH;
        enough.then(|| self.ns.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: usize = 1 << 10;

    fn record(pace: &Pace, len: usize, disk_us: u64, route_us: u64) {
        for _ in 0..100 {
            pace.disk(len, Duration::from_micros(disk_us));
            pace.route(len, Duration::from_micros(route_us));
        }
    }

    #[test]
    fn without_experience_the_disk_is_asked() {
        let pace = Pace::default();
        assert!(pace.prefers_disk(4 * K));
        for _ in 0..100 {
            pace.disk(4 * K, Duration::from_secs(1));
        }
        assert!(pace.prefers_disk(4 * K), "nothing to compare with");
    }

    #[test]
    fn a_slow_disk_is_passed_over_but_probed_and_taken_back() {
        let pace = Pace::default();
        record(&pace, 4 * K, 900, 60);
        let asked = (0..320).filter(|_| pace.prefers_disk(4 * K)).count();
        assert_eq!(asked, 10);
        assert!(pace.prefers_disk(4 << 20), "other sizes are timed apart");
        record(&pace, 4 * K, 20, 60);
        assert!((0..100).all(|_| pace.prefers_disk(4 * K)));
        record(&pace, 100 * K, 200, 100);
        assert!(!pace.prefers_disk(128 * K));
        assert!(!pace.prefers_disk(17 * K));
    }
}
