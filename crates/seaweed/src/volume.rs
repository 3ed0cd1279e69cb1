//! The files of a volume, as a volume server writes them.
//!
//! A volume is a log of records, the `.dat` file: a [`SuperBlock`], then one [needle](NeedleHeader)
//! after the other, each padded to a multiple of [`UNIT`] bytes. Beside it lies a second log, the
//! `.idx` file, with an [`IndexEntry`] for each record, in which the last entry of a key wins. The
//! `.vif` file ([`VolumeInfo`]) says in JSON what kind of volume it is. All integers in the two
//! logs are big-endian.
//!
//! Nothing here does I/O: these are the shapes, with the sizes checked.

mod checksum;
mod index;
mod info;
mod name;
mod needle;
mod super_block;
mod ttl;

pub use checksum::{mask, proves};
pub use index::{IndexEntry, OffsetWidth, Slot};
pub use info::{VolumeInfo, VolumeInfoError};
pub use name::{VolumeFile, base_name};
pub use needle::{Layout, NeedleError, NeedleHeader, NeedleMeta, flags};
pub use super_block::{SuperBlock, SuperBlockError, Version};
pub use ttl::Ttl;

/// Records begin at multiples of this, and offsets in the index are counted in it.
pub const UNIT: u64 = 8;
