//! Random numbers that need no quality: jitter, shuffles and client ids.
//!
//! SplitMix64 over a seed that the standard library draws from the system
//! for its hash maps. Nothing secret may come from here.

use std::hash::{BuildHasher, RandomState};

/// A short-lived generator.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// Seeded differently each time.
    pub(crate) fn new() -> Self {
        Self(RandomState::new().hash_one("filer"))
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`; `bound` must not be zero.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// Orders `items` at random.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            // Both are indexes, so the conversions lose nothing.
            let j = self.below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }
}
