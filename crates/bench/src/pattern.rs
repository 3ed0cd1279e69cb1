//! The bytes of a file, computed from its seed and an offset.
//!
//! The file is a row of little-endian 64-bit words; word `i` is
//! `seed + i × STEP`. A word tells its file and its place, so bytes of another
//! file, another offset or another block are found out, and the words look
//! random enough that SeaweedFS does not compress them. An addition per eight
//! bytes is what checking costs: the compiler makes it run at the speed of the
//! caches, so it can stay inside a timed loop.

/// The content of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
}

/// A word that is not what the pattern says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mismatch {
    /// Where it starts in the file.
    pub offset: u64,
    /// What it should be.
    pub expected: u64,
    /// What it is.
    pub found: u64,
}

impl Pattern {
    /// The pattern of the file called `name`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        // FNV-1a, then mixed: names that differ in one letter get unrelated seeds.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self { seed: mix(hash) }
    }

    /// Writes the bytes that start at `offset`, a multiple of eight.
    pub fn fill(self, offset: u64, bytes: &mut [u8]) {
        let mut word = self.word(offset);
        let (words, tail) = bytes.as_chunks_mut::<8>();
        for slot in words {
            *slot = word.to_le_bytes();
            word = word.wrapping_add(STEP);
        }
        let last = word.to_le_bytes();
        tail.copy_from_slice(&last[..tail.len()]);
    }

    /// Compares bytes read at `offset`, a multiple of eight.
    ///
    /// # Errors
    /// The first word that differs.
    pub fn check(self, offset: u64, bytes: &[u8]) -> Result<(), Mismatch> {
        for (i, block) in bytes.chunks(BLOCK).enumerate() {
            let offset = offset + (i * BLOCK) as u64;
            if !self.holds(offset, block) {
                return Err(self.first_mismatch(offset, block));
            }
        }
        Ok(())
    }

    /// Whether a block is right, without a branch per word.
    fn holds(self, offset: u64, block: &[u8]) -> bool {
        let mut expected = self.word(offset);
        let mut difference = 0;
        let (words, tail) = block.as_chunks::<8>();
        for word in words {
            difference |= u64::from_le_bytes(*word) ^ expected;
            expected = expected.wrapping_add(STEP);
        }
        difference == 0 && tail == &expected.to_le_bytes()[..tail.len()]
    }

    fn first_mismatch(self, offset: u64, block: &[u8]) -> Mismatch {
        let words = block.chunks(8).enumerate();
        let mut mismatches = words.filter_map(|(i, bytes)| {
            let offset = offset + (i * 8) as u64;
            let (mut found, mut expected) = ([0; 8], self.word(offset).to_le_bytes());
            found[..bytes.len()].copy_from_slice(bytes);
            expected[bytes.len()..].fill(0);
            (found != expected).then(|| Mismatch {
                offset,
                expected: u64::from_le_bytes(expected),
                found: u64::from_le_bytes(found),
            })
        });
        mismatches.next().unwrap_or(Mismatch {
            offset,
            expected: 0,
            found: 0,
        })
    }

    fn word(self, offset: u64) -> u64 {
        debug_assert_eq!(offset % 8, 0, "a pattern is read by whole words");
        self.seed.wrapping_add((offset / 8).wrapping_mul(STEP))
    }
}

/// One step of splitmix64: also the source of random offsets.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(STEP);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 2^64 divided by the golden ratio, odd: all words of a file differ.
pub(crate) const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Compared in one go: large enough to be fast, small enough to stay in the first cache.
const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        Pattern::of("a").fill(0, &mut bytes);
        bytes
    }

    #[test]
    fn any_part_of_a_file_fits_its_place_and_no_other() {
        let bytes = filled(20_003);
        for start in [0, 8, 4096, 8200] {
            let (part, offset) = (&bytes[start..], start as u64);
            assert_eq!(Pattern::of("a").check(offset, part), Ok(()));
            assert!(Pattern::of("a").check(offset + 8, part).is_err());
            assert!(Pattern::of("b").check(offset, part).is_err());
        }
    }

    #[test]
    fn every_single_wrong_bit_is_found_where_it_is() {
        let right = filled(4096 + 13);
        for i in [0, 7, 8, 4095, 4096, 4103, 4104, 4108] {
            let mut wrong = right.clone();
            wrong[i] ^= 0x40;
            let found = Pattern::of("a").check(0, &wrong).unwrap_err();
            assert_eq!(found.offset, i as u64 / 8 * 8);
            assert_eq!(
                found.expected ^ found.found,
                0x40 << (i % 8 * 8),
                "byte {i}"
            );
        }
    }

    #[test]
    fn zeros_are_never_right() {
        assert!(Pattern::of("a").check(0, &[0; 64]).is_err());
    }
}
