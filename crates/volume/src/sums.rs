//! Sums of blocks, so that a part of a needle can be checked without the rest.
//!
//! The stored checksum is of a whole needle. When a part is asked for, the whole is read and
//! checked once, and the CRC-32C of each of its blocks is kept. Later parts are checked by the
//! blocks they touch. A sum of 4 bytes stands for 4 KiB of data, so 64 MiB of sums are
//! good for 64 GiB of needles in use.
//!
//! CRCs can be put together: of two pieces behind each other, that of the whole follows from those
//! of the pieces by a linear map which depends on the length of the second only. For pieces of one
//! block the map is a table, so the sum of any range costs next to nothing once its blocks are
//! summed.

use std::sync::{Arc, LazyLock};

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use seaweed::crc::{combine, crc32c};

/// Bytes of a block.
pub(crate) const BLOCK: usize = 4096;

/// When a range of a needle is checked, and so may cost a read of the whole needle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum VerifyRanges {
    /// Always.
    #[default]
    Always,
    /// When its sums are known, or the whole needle is in the page cache.
    Cached,
    /// Never: the header is checked, the bytes are taken as they are.
    Never,
}

/// What is known of a needle whose whole was checked.
#[derive(Debug)]
pub(crate) struct Sums {
    /// Of the whole, raw.
    pub(crate) whole: u32,
    /// Of each block; the last one may be shorter.
    pub(crate) blocks: Box<[u32]>,
}

/// Which needle: the pair of files it is in, and the offset of its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SumsKey {
    pub(crate) pair: u64,
    pub(crate) offset: u64,
}

/// The sums of needles used last.
#[derive(Debug)]
pub(crate) struct SumsCache(Cache<SumsKey, Arc<Sums>, Bytes>);

impl SumsCache {
    /// One that holds up to so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        // An estimate for the table: needles of 2 MiB have 512 blocks.
        let items = usize::try_from(bytes / 2048)
            .unwrap_or(usize::MAX)
            .clamp(16, 1 << 20);
        Self(Cache::with_weighter(items, bytes, Bytes))
    }

    pub(crate) fn known(&self, key: &SumsKey) -> Option<Arc<Sums>> {
        self.0.get(key)
    }

    /// The sums of a needle; made by one caller while others that want the same wait.
    pub(crate) fn known_or<E>(
        &self,
        key: &SumsKey,
        make: impl FnOnce() -> Result<Sums, E>,
    ) -> Result<Arc<Sums>, E> {
        self.0.get_or_insert_with(key, || make().map(Arc::new))
    }

    pub(crate) fn keep(&self, key: SumsKey, sums: Sums) -> Arc<Sums> {
        let sums = Arc::new(sums);
        self.0.insert(key, Arc::clone(&sums));
        sums
    }

    /// Bytes held.
    pub(crate) fn held(&self) -> u64 {
        self.0.weight()
    }
}

#[derive(Debug, Clone)]
struct Bytes;

impl Weighter<SumsKey, Arc<Sums>> for Bytes {
    fn weight(&self, _: &SumsKey, sums: &Arc<Sums>) -> u64 {
        OVERHEAD + 4 * sums.blocks.len() as u64
    }
}

/// What an item takes besides its sums: the key, two allocations, the table.
const OVERHEAD: u64 = 128;

/// The sum of some data that arrives in whole blocks, and maybe shorter pieces at its ends.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct RunningSum {
    crc: u32,
}

impl RunningSum {
    /// Appends a piece with this sum.
    pub(crate) fn append(&mut self, crc: u32, len: usize) {
        self.crc = match len {
            0 => self.crc,
            BLOCK => behind_a_block(self.crc) ^ crc,
            len => combine(self.crc, crc, len as u64),
        };
    }

    /// The sum of all pieces.
    pub(crate) fn value(self) -> u32 {
        self.crc
    }
}

/// Sums every block of `data`, which begins at the begin of one.
pub(crate) fn sum_blocks(data: &[u8], mut each: impl FnMut(u32, usize)) {
    for block in data.chunks(BLOCK) {
        each(crc32c(block), block.len());
    }
}

/// What a sum adds to that of one block behind it.
fn behind_a_block(crc: u32) -> u32 {
    let [a, b, c, d] = crc.to_le_bytes().map(usize::from);
    let table = &*SHIFT;
    table[0][a] ^ table[1][b] ^ table[2][c] ^ table[3][d]
}

/// The linear map, by the four bytes of its argument.
static SHIFT: LazyLock<[[u32; 256]; 4]> = LazyLock::new(|| {
    let of_bit: [u32; 32] = std::array::from_fn(|bit| combine(1 << bit, 0, BLOCK as u64));
    let of_byte = |place: usize, byte: usize| {
        (0..8)
            .filter(|bit| byte >> bit & 1 == 1)
            .fold(0, |sum, bit| sum ^ of_bit[8 * place + bit])
    };
    std::array::from_fn(|place| std::array::from_fn(|byte| of_byte(place, byte)))
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_add_up(
            seed in prop::collection::vec(any::<u8>(), 1..64),
            len in 0usize..5 * BLOCK,
            head in 0usize..BLOCK,
        ) {
            let data: Vec<u8> = seed.iter().copied().cycle().take(len).collect();
            let (head, rest) = data.split_at(head.min(len));
            let mut sum = RunningSum::default();
            sum.append(crc32c(head), head.len());
            sum_blocks(rest, |crc, len| sum.append(crc, len));
            prop_assert_eq!(sum.value(), crc32c(&data));
        }
    }

    #[test]
    fn memory_is_bounded_and_failures_are_not_kept() {
        let cache = SumsCache::new(64 << 10);
        for offset in 0..1000 {
            let blocks = vec![0; 100].into();
            cache.keep(SumsKey { pair: 1, offset }, Sums { whole: 0, blocks });
        }
        assert!(cache.held() <= 64 << 10, "{}", cache.held());
        let key = SumsKey { pair: 2, offset: 0 };
        assert_eq!(cache.known_or(&key, || Err(5)).unwrap_err(), 5);
        let made = cache.known_or::<()>(&key, || {
            Ok(Sums {
                whole: 9,
                blocks: Box::default(),
            })
        });
        assert_eq!(made.unwrap().whole, 9);
        assert_eq!(cache.known(&key).unwrap().whole, 9);
    }
}
