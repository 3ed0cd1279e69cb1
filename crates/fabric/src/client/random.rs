//! A small generator of random numbers for decisions, seeded by the caller so that a simulation
//! can repeat them. Not for secrets: nonces come from the system.

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "it does not end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, or 0 when there is none.
    pub fn below(&mut self, end: u64) -> u64 {
        // The upper half of the product: as even as 64 bits allow.
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }
}
