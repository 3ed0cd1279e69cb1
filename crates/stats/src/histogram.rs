//! A latency histogram that many threads record into without a lock.
//!
//! Buckets are log-linear: each power of two of nanoseconds is cut in
//! [`SUB`] equal parts, so a value is known to within 12.5 % from 1 ns to
//! 18 minutes, in 2.5 KiB. A record is two relaxed additions, and a third
//! write when the value is a new maximum.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Parts of a power of two; the relative error of a quantile is at most 1/SUB.
const SUB: usize = 8;
const SUB_BITS: u32 = SUB.trailing_zeros();
/// 2^40 ns ≈ 18 minutes: no request lives longer, larger values land in the last bucket.
const MAX_EXPONENT: u32 = 40;
const BUCKETS: usize = SUB * (MAX_EXPONENT - SUB_BITS + 2) as usize;

/// Latencies by size.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Histogram {
    /// An empty histogram.
    pub const fn new() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
        }
    }

    /// Counts one event that took `elapsed`.
    pub fn record(&self, elapsed: Duration) {
        let ns = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket_of(ns)].fetch_add(1, Ordering::Relaxed);
        self.sum_ns.fetch_add(ns, Ordering::Relaxed);
        if ns > self.max_ns.load(Ordering::Relaxed) {
            self.max_ns.fetch_max(ns, Ordering::Relaxed);
        }
    }

    /// What was recorded so far. Events recorded meanwhile may be in or not.
    pub fn snapshot(&self) -> Snapshot {
        let counts: Vec<u64> = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .collect();
        Snapshot {
            count: counts.iter().sum(),
            counts,
            sum_ns: self.sum_ns.load(Ordering::Relaxed),
            max_ns: self.max_ns.load(Ordering::Relaxed),
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self::new()
    }
}

/// A histogram at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    counts: Vec<u64>,
    count: u64,
    sum_ns: u64,
    max_ns: u64,
}

impl Snapshot {
    /// How many events.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their total time, in nanoseconds.
    pub fn sum_ns(&self) -> u64 {
        self.sum_ns
    }

    /// The slowest, in nanoseconds.
    pub fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The mean in nanoseconds; 0 without events.
    pub fn mean_ns(&self) -> u64 {
        self.sum_ns.checked_div(self.count).unwrap_or(0)
    }

    /// The value that a share `q` (0 to 1) of the events did not exceed, in
    /// nanoseconds, rounded up to its bucket; 0 without events.
    pub fn quantile_ns(&self, q: f64) -> u64 {
        let wanted = (q.clamp(0.0, 1.0) * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_bound(index).min(self.max_ns);
            }
        }
        self.max_ns
    }

    /// Events that took at most `bound_ns`, by whole buckets.
    pub fn count_up_to(&self, bound_ns: u64) -> u64 {
        self.counts
            .iter()
            .enumerate()
            .take_while(|(index, _)| upper_bound(*index) <= bound_ns)
            .map(|(_, count)| count)
            .sum()
    }
}

fn bucket_of(ns: u64) -> usize {
    let ns = ns.min((1 << MAX_EXPONENT) - 1);
    if ns < SUB as u64 {
        return ns as usize;
    }
    let exponent = ns.ilog2();
    let part = (ns >> (exponent - SUB_BITS)) as usize - SUB;
    SUB * (exponent - SUB_BITS + 1) as usize + part
}

/// The largest value that falls into bucket `index`.
fn upper_bound(index: usize) -> u64 {
    if index < SUB {
        return index as u64;
    }
    let exponent = (index / SUB) as u32 - 1;
    let part = (index % SUB + SUB) as u64;
    ((part + 1) << exponent) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_below_its_bound_and_above_the_one_before() {
        for shift in 0..MAX_EXPONENT {
            for ns in [(1u64 << shift) - 1, 1 << shift, (1 << shift) + 1] {
                let bucket = bucket_of(ns);
                assert!(bucket < BUCKETS, "{ns}");
                assert!(ns <= upper_bound(bucket), "{ns}");
                assert!(bucket == 0 || ns > upper_bound(bucket - 1), "{ns}");
            }
        }
        assert!(bucket_of(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_are_within_an_eighth() {
        let histogram = Histogram::new();
        for us in 1..=1000u64 {
            histogram.record(Duration::from_micros(us));
        }
        let seen = histogram.snapshot();
        assert_eq!(seen.count(), 1000);
        assert_eq!(seen.mean_ns(), 500_500);
        assert_eq!(seen.max_ns(), 1_000_000);
        for (q, exact) in [(0.5, 500_000.0), (0.99, 990_000.0), (1.0, 1_000_000.0)] {
            let ratio = seen.quantile_ns(q) as f64 / exact;
            assert!((1.0..1.125).contains(&ratio), "q{q}: {ratio}");
        }
    }

    #[test]
    fn an_empty_histogram_answers_zero() {
        let seen = Histogram::new().snapshot();
        assert_eq!(
            (seen.mean_ns(), seen.quantile_ns(0.5), seen.max_ns()),
            (0, 0, 0)
        );
    }
}
