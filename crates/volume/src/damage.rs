//! What can be wrong with a record.

use seaweed::volume::NeedleError;

/// Why the bytes at some place of a `.dat` file are not the needle that should be there.
/// Offsets are those of the record in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The index points to something else.
    #[error("at {offset} is a record with key {key:x} and size {size}, not the one the index says")]
    OtherRecord {
        /// Where.
        offset: u64,
        /// The key there.
        key: u64,
        /// The size there.
        size: i32,
    },
    /// The file ends inside of it.
    #[error("the file ends inside of the record at {offset}")]
    CutOff {
        /// Where.
        offset: u64,
    },
    /// Its parts contradict each other.
    #[error("record at {offset}: {error}")]
    Malformed {
        /// Where.
        offset: u64,
        /// How.
        error: NeedleError,
    },
    /// The data is not what was written.
    #[error(
        "record at {offset}: the data has the checksum {computed:08x}, stored with it is {stored:08x}"
    )]
    Checksum {
        /// Where.
        offset: u64,
        /// Raw or masked.
        stored: u32,
        /// Raw.
        computed: u32,
    },
    /// A part of the data is not what it was when the whole was checked.
    #[error("record at {offset}: the data at {at} has changed since the whole was checked")]
    Block {
        /// Where.
        offset: u64,
        /// Offset within the data of the block that changed.
        at: u64,
    },
}
