//! The first bytes of a `.dat` file.
//!
//! | byte | meaning |
//! |---|---|
//! | 0 | version of the records: 1, 2 or 3 |
//! | 1 | replica placement, the three digits as one number |
//! | 2, 3 | TTL: count, unit |
//! | 4, 5 | compaction revision: grows by one with every vacuum |
//! | 6, 7 | length of something behind it that no reader looks at |

use super::{Ttl, UNIT};

/// What a volume says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SuperBlock {
    /// The form of its records.
    pub version: Version,
    /// Data centers · 100 + racks · 10 + servers that hold further copies.
    pub replica_placement: u8,
    /// Given to needles that come without their own.
    pub ttl: Option<Ttl>,
    /// How often it was vacuumed, modulo 65536. Offsets are good within one revision only.
    pub revision: u16,
    /// Bytes between this and the first record.
    pub extra: u16,
}

/// The form of the records in a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// Data alone.
    V1 = 1,
    /// Data, flags and what they announce.
    V2 = 2,
    /// As the second, with the time of writing.
    V3 = 3,
}

impl SuperBlock {
    /// Bytes of a super block, without extras.
    pub const LEN: usize = 8;

    /// Reads it from the start of a `.dat` file.
    ///
    /// # Errors
    /// When the file is too short or of no version that is known.
    pub fn parse(bytes: &[u8]) -> Result<Self, SuperBlockError> {
        let Some(&[version, placement, count, unit, r0, r1, e0, e1]) = bytes.first_chunk() else {
            return Err(SuperBlockError::Short { len: bytes.len() });
        };
        let version = match version {
            1 => Version::V1,
            2 => Version::V2,
            3 => Version::V3,
            version => return Err(SuperBlockError::Version { version }),
        };
        Ok(Self {
            version,
            replica_placement: placement,
            ttl: Ttl::from_bytes([count, unit]),
            revision: u16::from_be_bytes([r0, r1]),
            extra: u16::from_be_bytes([e0, e1]),
        })
    }

    /// The bytes of it.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let [count, unit] = self.ttl.map_or([0, 0], Ttl::to_bytes);
        let [r0, r1] = self.revision.to_be_bytes();
        let [e0, e1] = self.extra.to_be_bytes();
        let version = self.version as u8;
        [version, self.replica_placement, count, unit, r0, r1, e0, e1]
    }

    /// Where the first record begins.
    pub fn first_record(&self) -> u64 {
        (Self::LEN as u64 + u64::from(self.extra)).next_multiple_of(UNIT)
    }
}

/// Why a file is no volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SuperBlockError {
    /// There is not even a super block.
    #[error("the file has {len} bytes, a super block {}", SuperBlock::LEN)]
    Short {
        /// Bytes in the file.
        len: usize,
    },
    /// The first byte is something else.
    #[error("version {version} in the first byte; known are 1, 2 and 3")]
    Version {
        /// The byte.
        version: u8,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_block_of_a_real_volume() {
        // Written by weed 4.48 for a volume with a TTL of three minutes.
        let block = SuperBlock::parse(&[3, 0, 3, 1, 0, 0, 0, 0, 0xf5]).unwrap();
        assert_eq!(block.version, Version::V3);
        assert_eq!(block.ttl.unwrap().to_string(), "3m");
        assert_eq!((block.revision, block.first_record()), (0, 8));
    }

    #[test]
    fn what_is_no_volume_is_refused() {
        let error = SuperBlock::parse(&[3, 0, 0]).unwrap_err().to_string();
        assert!(error.contains("3 bytes"), "{error}");
        let error = SuperBlock::parse(b"PK\x03\x04....")
            .unwrap_err()
            .to_string();
        assert!(error.contains("version 80"), "{error}");
    }

    proptest! {
        #[test]
        fn bytes_and_block_are_the_same(version in 1u8..=3, rest: [u8; 7]) {
            let mut bytes = [0; SuperBlock::LEN];
            bytes[0] = version;
            bytes[1..].copy_from_slice(&rest);
            let block = SuperBlock::parse(&bytes).unwrap();
            prop_assert_eq!(SuperBlock::parse(&block.to_bytes()), Ok(block));
            prop_assert_eq!(block.first_record() % UNIT, 0);
        }
    }
}
