//! How far ahead of a sequential reader is far enough.
//!
//! A piece should be here when its reader comes to it, and not much sooner: meanwhile it takes memory, and falls out of
//! the processor's caches. So what is fetched ahead is what can be read while one piece is fetched: little where the
//! sidecar is on this host, much where a disk has to seek or the way is long.
//!
//! What counts is the time of a piece that is fetched *alone*. Of several at once each may take longer although none of
//! them is further away, at most as many times as there are. So what a fetch took is at least that time, and its share of
//! it at most: each fetch gives two bounds, and what is believed moves only when it is outside of them.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::window::Reach;

/// What is read meanwhile, in bytes a nanosecond: half as much again as a reader was seen to get.
const RATE: u64 = 3;
/// Shorter pieces say little about others.
const SHORTEST: usize = 1 << 20;

/// How long a piece takes that is fetched alone, and how many are being fetched.
#[derive(Debug, Default)]
pub(crate) struct Depth {
    flying: AtomicUsize,
    /// In nanoseconds; 0 while nothing is known.
    alone: AtomicU64,
}

/// A fetch under way.
#[derive(Debug)]
pub(crate) struct Departure<'a> {
    depth: &'a Depth,
    at: Instant,
    /// How many there were when it began, it among them.
    flying: usize,
}

impl Depth {
    /// A fetch begins.
    pub(crate) fn depart(&self) -> Departure<'_> {
        Departure {
            depth: self,
            at: Instant::now(),
            flying: self.flying.fetch_add(1, Ordering::Relaxed) + 1,
        }
    }

    /// As far as is far enough, and `reach` at most.
    pub(crate) fn reach(&self, reach: Reach) -> Reach {
        let far = match self.alone.load(Ordering::Relaxed) {
            0 => u64::MAX,
            alone => alone.saturating_mul(RATE).max(reach.first),
        };
        Reach {
            most: reach.most.min(far),
            ..reach
        }
    }
}

impl Departure<'_> {
    /// It has ended with `len` bytes; what it took.
    pub(crate) fn arrived(self, len: usize) -> Duration {
        let took = self.at.elapsed();
        if len >= SHORTEST {
            let flying = self.flying.max(self.depth.flying.load(Ordering::Relaxed));
            let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
            // Concurrent ones may lose one another, which an estimate can bear.
            let alone = self.depth.alone.load(Ordering::Relaxed);
            let closer = closer(alone, ns, flying as u64);
            self.depth.alone.store(closer, Ordering::Relaxed);
        }
        took
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        self.depth.flying.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What to believe after a fetch that took this long as one of `flying`.
fn closer(alone: u64, took: u64, flying: u64) -> u64 {
    let took = took.max(1);
    match alone {
        0 => took,
        _ => alone.midpoint(alone.clamp(took.div_ceil(flying.max(1)), took)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH: Reach = Reach {
        first: 4 << 20,
        most: 16 << 20,
    };

    /// What is believed after fetches that took so many milliseconds as one of so many, in tenths of them.
    fn after(fetches: &[(u64, u64)]) -> u64 {
        let step =
            |alone, (took_ms, flying): &(u64, u64)| closer(alone, took_ms * 1_000_000, *flying);
        fetches.iter().fold(0, step) / 100_000
    }

    #[test]
    fn pieces_that_share_a_processor_are_no_further_away() {
        assert_eq!(after(&[(2, 1)]), 20);
        assert_eq!(after(&[(2, 1), (4, 2), (7, 4), (8, 4), (16, 8)]), 20);
    }

    #[test]
    fn pieces_that_take_longer_than_that_are() {
        let disk = [&[(2, 1)][..], &[(30, 2); 8]].concat();
        assert_eq!(after(&disk), 149, "half of what one of two takes");
        let deeper = [&disk[..], &[(30, 8); 20]].concat();
        assert_eq!(after(&deeper), 149, "and with more at once still");
    }

    #[test]
    fn one_that_was_slow_once_is_forgotten() {
        assert_eq!(after(&[(2, 1), (500, 1)]), 2510);
        assert_eq!(
            after(&[&[(2, 1), (500, 1)][..], &[(2, 1); 12]].concat()),
            20
        );
    }

    #[test]
    fn a_reader_is_run_ahead_of_as_far_as_it_takes_and_no_further_than_allowed() {
        let depth = Depth::default();
        assert_eq!(depth.reach(REACH).most, REACH.most, "nothing is known yet");
        let far = [
            (1, 4 << 20),
            (2, 6_000_000),
            (5, 15_000_000),
            (30, 16 << 20),
        ];
        for (ms, most) in far {
            depth.alone.store(ms * 1_000_000, Ordering::Relaxed);
            assert_eq!(depth.reach(REACH).most, most, "{ms} ms");
            assert_eq!(depth.reach(REACH).first, REACH.first);
            let none = Reach { most: 0, ..REACH };
            assert_eq!(depth.reach(none).most, 0, "memory is short");
        }
    }

    #[test]
    fn fetches_are_counted_however_they_end() {
        let depth = Depth::default();
        let (one, other) = (depth.depart(), depth.depart());
        assert_eq!((one.flying, other.flying), (1, 2));
        drop(one);
        other.arrived(SHORTEST - 1);
        assert_eq!(depth.alone.load(Ordering::Relaxed), 0, "too short to count");
        depth.depart().arrived(SHORTEST);
        assert_ne!(depth.alone.load(Ordering::Relaxed), 0);
        assert_eq!(depth.flying.load(Ordering::Relaxed), 0);
    }
}
