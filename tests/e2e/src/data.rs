//! Bytes that can be made again from a number.

/// A small generator (xorshift64*), so that tests repeat exactly.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Every seed gives another sequence.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }
}

/// `len` bytes that do not compress.
#[must_use]
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend_from_slice(&random.number().to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// `len` bytes of words, which compress well, and differ from place to place.
#[must_use]
pub fn text(seed: u64, len: usize) -> Vec<u8> {
    const WORDS: [&str; 8] = [
        "ebb ",
        "flow ",
        "tide ",
        "reef ",
        "surge ",
        "swell ",
        "shoal ",
        "current\n",
    ];
    let mut random = Random::new(seed);
    let mut bytes = Vec::with_capacity(len + 16);
    while bytes.len() < len {
        let number = random.number();
        bytes.extend_from_slice(WORDS[(number >> 60) as usize & 7].as_bytes());
        if number & 0xf0 == 0 {
            bytes.extend_from_slice(format!("{} ", bytes.len()).as_bytes());
        }
    }
    bytes.truncate(len);
    bytes
}
