//! Entries of an `.idx` file: which key is where.
//!
//! An entry is a key (8 bytes), an offset in units of [`UNIT`] and a size (4 bytes, signed). There
//! are two builds of SeaweedFS: one stores offsets in 4 bytes, the one for large volumes in 5,
//! namely the low 32 bits and *then* the high byte. Nothing in the file says which.

use super::UNIT;

/// One line of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexEntry {
    /// The needle's key.
    pub key: u64,
    /// Offset of its record, in units.
    pub units: u64,
    /// Size as in the record's header; -1 says that the needle was deleted.
    pub size: i32,
}

/// What an entry says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// The record is there.
    At {
        /// Byte offset of the record.
        offset: u64,
        /// Size as in the record's header.
        size: u32,
    },
    /// There is none any more.
    Deleted,
}

/// How many bytes an offset has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OffsetWidth {
    /// Volumes up to 32 GiB.
    Four,
    /// Volumes up to 8 TiB.
    Five,
}

impl IndexEntry {
    /// What it says of the key.
    pub fn slot(&self) -> Slot {
        match u32::try_from(self.size) {
            Ok(size) if self.units != 0 => Slot::At {
                offset: self.units * UNIT,
                size,
            },
            // An offset of zero would be the super block: servers write it for deletions in
            // volumes whose data is elsewhere.
            _ => Slot::Deleted,
        }
    }
}

impl OffsetWidth {
    /// As `.vif` files give it; nothing for other numbers (0: it does not say).
    pub fn from_bytes_offset(bytes: u32) -> Option<Self> {
        match bytes {
            4 => Some(Self::Four),
            5 => Some(Self::Five),
            _ => None,
        }
    }

    /// Bytes of one offset, as `.vif` files say it.
    pub const fn bytes(self) -> u8 {
        match self {
            Self::Four => 4,
            Self::Five => 5,
        }
    }

    /// Bytes of one entry.
    pub const fn entry_len(self) -> usize {
        match self {
            Self::Four => 16,
            Self::Five => 17,
        }
    }

    /// One entry out of exactly [`entry_len`](Self::entry_len) bytes; nothing for any other number.
    pub fn entry(self, bytes: &[u8]) -> Option<IndexEntry> {
        if bytes.len() != self.entry_len() {
            return None;
        }
        let (key, rest) = bytes.split_first_chunk()?;
        let (low, rest) = rest.split_first_chunk()?;
        let low = u64::from(u32::from_be_bytes(*low));
        let (high, size) = match self {
            Self::Four => (0, rest),
            Self::Five => rest.split_first().map(|(high, rest)| (*high, rest))?,
        };
        Some(IndexEntry {
            key: u64::from_be_bytes(*key),
            units: u64::from(high) << 32 | low,
            size: i32::from_be_bytes(size.try_into().ok()?),
        })
    }

    /// All whole entries of a piece of the file, in order.
    pub fn entries(
        self,
        bytes: &[u8],
    ) -> impl DoubleEndedIterator<Item = IndexEntry> + ExactSizeIterator + '_ {
        // The chunks are exact, so each one is an entry.
        bytes
            .chunks_exact(self.entry_len())
            .map(move |bytes| self.entry(bytes).unwrap_or(NOTHING))
    }

    /// Appends an entry to a file's bytes. Units beyond the width are cut off, as the server does.
    pub fn append(self, entry: &IndexEntry, to: &mut Vec<u8>) {
        to.extend(entry.key.to_be_bytes());
        to.extend((entry.units as u32).to_be_bytes());
        if self == Self::Five {
            to.push((entry.units >> 32) as u8);
        }
        to.extend(entry.size.to_be_bytes());
    }
}

const NOTHING: IndexEntry = IndexEntry {
    key: 0,
    units: 0,
    size: -1,
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_high_byte_stands_behind_the_low_four() {
        // Written by weed 4.48: key 1 at 8, 25 bytes.
        let real = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 25];
        let entry = OffsetWidth::Five.entry(&real).unwrap();
        assert_eq!(
            entry.slot(),
            Slot::At {
                offset: 8,
                size: 25
            }
        );
        let far = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 2, 0, 0, 0, 25];
        let entry = OffsetWidth::Five.entry(&far).unwrap();
        assert_eq!(entry.units, 0x2_0000_0001);
    }

    #[test]
    fn deletions_have_no_size_or_no_place() {
        let entry = |units, size| IndexEntry {
            key: 1,
            units,
            size,
        };
        assert_eq!(entry(5, -1).slot(), Slot::Deleted);
        assert_eq!(entry(0, 17).slot(), Slot::Deleted);
        assert_eq!(entry(5, i32::MIN).slot(), Slot::Deleted);
        assert_eq!(
            entry(5, 0).slot(),
            Slot::At {
                offset: 40,
                size: 0
            }
        );
    }

    #[test]
    fn a_torn_entry_is_left_alone() {
        let width = OffsetWidth::Four;
        assert_eq!(width.entries(&[0; 40]).len(), 2);
        assert_eq!(width.entry(&[0; 17]), None);
        assert_eq!(width.entry(&[0; 15]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            list in prop::collection::vec((any::<u64>(), 0u64..1 << 40, any::<i32>()), 0..20),
            torn in 0usize..16,
        ) {
            for width in [OffsetWidth::Four, OffsetWidth::Five] {
                let max = if width == OffsetWidth::Four { u32::MAX.into() } else { u64::MAX };
                let list: Vec<_> = list
                    .iter()
                    .map(|&(key, units, size)| IndexEntry { key, units: units & max, size })
                    .collect();
                let mut bytes = Vec::new();
                for entry in &list {
                    width.append(entry, &mut bytes);
                }
                bytes.extend(vec![0xff; torn]);
                let back: Vec<_> = width.entries(&bytes).take(list.len()).collect();
                prop_assert_eq!(back, list);
            }
        }
    }
}
