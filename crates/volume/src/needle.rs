//! One needle: what it says of itself, and its bytes.
//!
//! [`Needle`] is a handle on a record in one pair of files. What is read through it was checked:
//!
//! - a whole needle by the checksum that is stored with it;
//! - a range by the sums of the blocks it touches (see [`VerifyRanges`]).
//!
//! A small record is read whole when it is found, so its bytes cost no further system call.

mod read;
mod record;
mod records;

use std::sync::Arc;

use seaweed::FileId;
use seaweed::volume::{NeedleMeta, Ttl};

pub use read::ReadError;
pub(crate) use record::{Flaw, Record};
pub(crate) use records::RecordCache;

use crate::VerifyRanges;
use crate::context::Context;
use crate::pair::Pair;
use crate::sums::SumsKey;

/// A needle that was found.
///
/// It holds the two files of its volume open, also after a vacuum replaced them, and should
/// therefore not be kept for long.
#[derive(Debug)]
pub struct Needle {
    record: Arc<Record>,
    pair: Arc<Pair>,
    context: Arc<Context>,
}

impl Needle {
    pub(crate) fn new(record: Arc<Record>, pair: Arc<Pair>, context: Arc<Context>) -> Self {
        Self {
            record,
            pair,
            context,
        }
    }

    /// Its name.
    pub fn file_id(&self) -> FileId {
        self.record.id
    }

    /// Bytes of data, as they are stored.
    #[allow(
        clippy::len_without_is_empty,
        reason = "a number of bytes, not a collection"
    )]
    pub fn len(&self) -> u64 {
        self.record.layout.data_len().into()
    }

    /// Whether the data is a gzip stream; a volume server's HTTP gives readers the clear bytes.
    pub fn is_gzip(&self) -> bool {
        self.record.flags & seaweed::volume::flags::GZIP != 0
    }

    /// Whether the data is a list of chunks; a volume server's HTTP puts them together.
    pub fn is_chunk_manifest(&self) -> bool {
        self.record.flags & seaweed::volume::flags::CHUNK_MANIFEST != 0
    }

    /// The checksum as it is stored: raw, or masked if SeaweedFS before 3.09 wrote it.
    pub fn stored_crc(&self) -> u32 {
        self.record.checksum
    }

    /// The raw CRC-32C of the data, which is its ETag; nothing until the data was read and
    /// checked once, because the stored form does not tell which it is.
    pub fn crc(&self) -> Option<u32> {
        match self.record.whole_crc() {
            Some(crc) => Some(crc),
            None => Some(self.context.sums.known(&self.sums_key())?.whole),
        }
    }

    /// When it was uploaded, in seconds since 1970, if the uploader's server noted it.
    pub fn last_modified(&self) -> Option<u64> {
        self.record.last_modified
    }

    /// When it was written to the volume, in nanoseconds since 1970. Volumes of version 3 know.
    pub fn append_at_ns(&self) -> Option<u64> {
        self.record.append_at_ns
    }

    /// How long it lives.
    pub fn ttl(&self) -> Option<Ttl> {
        self.record.ttl
    }

    /// Name of the uploaded file; empty if it has none.
    pub fn name(&self) -> &[u8] {
        self.meta().map_or(&[], |meta| meta.name)
    }

    /// MIME type of the uploaded file; empty if it has none.
    pub fn mime(&self) -> &[u8] {
        self.meta().map_or(&[], |meta| meta.mime)
    }

    /// Further headers of the upload, a JSON object; mostly empty.
    pub fn pairs(&self) -> &[u8] {
        self.meta().map_or(&[], |meta| meta.pairs)
    }

    /// Offset of its record in the `.dat` file.
    pub fn record_offset(&self) -> u64 {
        self.record.offset
    }

    fn meta(&self) -> Option<NeedleMeta<'_>> {
        self.record.meta()
    }

    fn verify(&self) -> VerifyRanges {
        self.pair.verify()
    }

    fn sums_key(&self) -> SumsKey {
        SumsKey {
            pair: self.pair.id(),
            offset: self.record.offset,
        }
    }
}
