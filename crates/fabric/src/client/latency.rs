//! How long a sidecar takes, by the size of reads.
//!
//! For each class of sizes a moving mean and a histogram with four steps to each doubling. When
//! the histogram is full, all its counts are halved, so that it follows what is going on. The mean
//! loses half its weight with every [`HALF_LIFE`] in which it is not renewed: a sidecar that was slow
//! once would otherwise never be asked again and never be known to be fast.

use std::time::{Duration, Instant};

/// Latencies of one sidecar.
#[derive(Debug, Default)]
pub struct Latency {
    classes: [Class; CLASSES],
}

#[derive(Debug)]
struct Class {
    mean: Duration,
    renewed: Option<Instant>,
    counts: [u16; STEPS],
    total: u32,
}

impl Latency {
    /// A read of `bytes` took so long.
    pub fn record(&mut self, bytes: u64, took: Duration, now: Instant) {
        let class = &mut self.classes[class(bytes)];
        class.mean = match class.renewed {
            None => took,
            // An eighth of the new one, as TCP does with its round trips (RFC 6298).
            Some(_) => (class.mean * 7 + took) / 8,
        };
        class.renewed = Some(now);
        if class.total >= FULL {
            class.counts.iter_mut().for_each(|count| *count /= 2);
            class.total = class.counts.iter().map(|count| u32::from(*count)).sum();
        }
        class.counts[step(took)] += 1;
        class.total += 1;
    }

    /// What a read of `bytes` takes on average; less, the longer nobody tried.
    pub fn mean(&self, bytes: u64, now: Instant) -> Option<Duration> {
        let class = &self.classes[class(bytes)];
        let age = now.saturating_duration_since(class.renewed?);
        let halves = (age.as_nanos() / HALF_LIFE.as_nanos()).min(31) as u32;
        Some(class.mean / (1 << halves))
    }

    /// The time within which `percent` of the reads of this size are done; nothing as long as
    /// too few have been seen.
    pub fn percentile(&self, bytes: u64, percent: u8) -> Option<Duration> {
        let class = &self.classes[class(bytes)];
        if class.total < FEW {
            return None;
        }
        let wanted = (class.total * u32::from(percent.min(100))).div_ceil(100);
        let mut seen = 0;
        let at = class.counts.iter().position(|count| {
            seen += u32::from(*count);
            seen >= wanted
        });
        at.map(upper_bound)
    }
}

impl Default for Class {
    fn default() -> Self {
        Self {
            mean: Duration::ZERO,
            renewed: None,
            counts: [0; STEPS],
            total: 0,
        }
    }
}

/// Up to 4 KiB, 64 KiB, 1 MiB, and more: small ones are all latency, large ones all bandwidth.
const CLASSES: usize = 4;
/// Four to each doubling of microseconds, up to two minutes.
const STEPS: usize = 104;
/// Samples after which a histogram is halved.
const FULL: u32 = 1024;
/// Samples below which a percentile is a guess.
const FEW: u32 = 20;
/// See the module.
const HALF_LIFE: Duration = Duration::from_secs(5);

fn class(bytes: u64) -> usize {
    match bytes {
        0..=0x1000 => 0,
        0x1001..=0x1_0000 => 1,
        0x1_0001..=0x10_0000 => 2,
        _ => 3,
    }
}

/// Below 4 µs each has its own step; above, the two bits behind the leading one tell.
fn step(took: Duration) -> usize {
    let micros = took.as_micros().min(u128::from(u32::MAX)) as usize;
    let shift = micros.max(4).ilog2() as usize - 2;
    (4 * shift + (micros >> shift)).min(STEPS - 1)
}

fn upper_bound(step: usize) -> Duration {
    let shift = (step / 4).saturating_sub(1);
    Duration::from_micros(((step - 4 * shift + 1) << shift) as u64)
}

#[cfg(test)]
mod tests;
