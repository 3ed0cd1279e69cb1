//! Chunk manifests: long lists of chunks folded into needles.
//!
//! When a file has many chunks, its writer stores each ten thousand of them as
//! the data of one chunk, marked `is_manifest`, whose range covers theirs.
//! Manifests may hold manifests. [`Resolver`] unfolds them without doing any
//! I/O itself: it names the manifest to fetch, takes its bytes, and so on until
//! only chunks with data are left.
//!
//! ```text
//! while let Some(manifest) = resolver.wanted() {
//!     let clear = fetch(manifest)?;
//!     resolver.supply(&clear)?;
//! }
//! let chunks = resolver.finish();
//! ```
//!
//! Children take the place of their manifest in the list, so that the order of
//! writing is kept. A truncation shortens the manifest and not the children in
//! its needle, hence children are cut off at its end: a file that is lengthened
//! again has zeros there, where 4.48 brings the old bytes back.

use std::vec;

use prost::Message;
use prost::bytes::Buf;
use prost::encoding::{DecodeContext, WireType, decode_key, decode_varint, skip_field};

use crate::{Chunk, ChunkError, FileId, pb};

/// Deepest nesting. One level holds ten thousand chunks, two already more than [`MAX_CHUNKS`].
pub const MAX_DEPTH: usize = 8;

/// Most chunks of a file: 8 TiB at the usual 2 MiB, and 0.5 GiB of memory for their list.
pub const MAX_CHUNKS: usize = 1 << 22;

/// Most manifests of a file. Usual ones hold ten thousand chunks each; a file that needs more
/// than this has few in each, or lets manifests refer to each other for ever.
pub const MAX_MANIFESTS: usize = 1 << 14;

/// Most clear bytes of one manifest; the usual ones have about one million.
pub const MAX_BYTES: usize = 64 << 20;

/// Reads the data of one manifest.
///
/// # Errors
/// When it is no list of chunks, or one with more than `limit` members.
pub fn decode(mut data: &[u8], limit: usize) -> Result<Vec<Chunk>, FormatError> {
    if data.len() > MAX_BYTES {
        return Err(FormatError::TooLong { len: data.len() });
    }
    // Member by member rather than at once: an empty one takes two bytes here but two hundred
    // in memory, so the limit has to apply before the rest is decoded.
    let mut chunks = Vec::new();
    while data.has_remaining() {
        let (tag, wire_type) = decode_key(&mut data)?;
        if (tag, wire_type) != (CHUNKS, WireType::LengthDelimited) {
            skip_field(wire_type, tag, &mut data, DecodeContext::default())?;
            continue;
        }
        let len = decode_varint(&mut data)?;
        let member = usize::try_from(len)
            .ok()
            .and_then(|len| data.split_off(..len));
        let member = member.ok_or(FormatError::BreaksOff)?;
        if chunks.len() == limit {
            return Err(FormatError::TooMany { limit });
        }
        chunks.push(Chunk::try_from(&pb::FileChunk::decode(member)?)?);
    }
    Ok(chunks)
}

/// Unfolds the manifests of one file.
#[derive(Debug)]
pub struct Resolver {
    /// Lists that are being walked, each inside of the one before.
    open: Vec<List>,
    /// The manifest the walk stopped at.
    wanted: Option<Chunk>,
    resolved: Vec<Chunk>,
    /// Members of all lists so far.
    members: usize,
    /// Manifests met so far.
    manifests: usize,
}

/// The members of a list that are still to be visited.
#[derive(Debug)]
struct List {
    members: vec::IntoIter<Chunk>,
    /// Where members are cut off.
    end: u64,
}

impl Resolver {
    /// Starts with the chunks of an entry.
    pub fn new(chunks: impl Into<Vec<Chunk>>) -> Self {
        let chunks = chunks.into();
        let members = chunks.len();
        let mut resolver = Self {
            resolved: Vec::with_capacity(members),
            open: vec![List {
                members: chunks.into_iter(),
                end: u64::MAX,
            }],
            wanted: None,
            members,
            manifests: 0,
        };
        resolver.walk();
        resolver
    }

    /// Whether there is anything to do for these chunks.
    pub fn is_needed(chunks: &[Chunk]) -> bool {
        chunks.iter().any(|chunk| chunk.is_manifest)
    }

    /// The manifest whose data is needed next; nothing when all is done.
    pub fn wanted(&self) -> Option<&Chunk> {
        self.wanted.as_ref()
    }

    /// Takes the clear data of the [`wanted`](Self::wanted) manifest. Does nothing when none is.
    ///
    /// # Errors
    /// When the data is no manifest, or the file exceeds a limit. The resolver is at its end
    /// then, short of chunks.
    pub fn supply(&mut self, clear: &[u8]) -> Result<(), ManifestError> {
        let Some(manifest) = self.wanted.take() else {
            return Ok(());
        };
        let failed = |reason| ManifestError {
            file_id: manifest.file_id,
            reason,
        };
        if self.open.len() > MAX_DEPTH {
            return Err(failed(FormatError::TooDeep));
        }
        if self.manifests > MAX_MANIFESTS {
            return Err(failed(FormatError::TooManyManifests));
        }
        let members = decode(clear, MAX_CHUNKS.saturating_sub(self.members)).map_err(failed)?;
        self.members += members.len();
        self.open.push(List {
            members: members.into_iter(),
            end: manifest.end(),
        });
        self.walk();
        Ok(())
    }

    /// The chunks with data, in the order of writing.
    pub fn finish(self) -> Vec<Chunk> {
        debug_assert!(self.wanted.is_none(), "a manifest was not supplied");
        self.resolved
    }

    /// Visits members up to the next manifest.
    fn walk(&mut self) {
        while let Some(list) = self.open.last_mut() {
            let end = list.end;
            let Some(mut chunk) = list.members.next() else {
                self.open.pop();
                continue;
            };
            if chunk.offset >= end {
                continue;
            }
            chunk.size = chunk.size.min(end - chunk.offset);
            if chunk.is_manifest {
                self.manifests += 1;
                self.wanted = Some(chunk);
                return;
            }
            self.resolved.push(chunk);
        }
    }
}

/// A manifest that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("manifest {file_id}: {reason}")]
pub struct ManifestError {
    /// The needle it is in.
    pub file_id: FileId,
    /// What is wrong with it.
    #[source]
    pub reason: FormatError,
}

/// Why data is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// It is not a message of the right type.
    #[error("it is no list of chunks: {0}")]
    Decode(#[from] prost::DecodeError),
    /// Its last member is not all there.
    #[error("it is no list of chunks: it breaks off")]
    BreaksOff,
    /// A member makes no sense.
    #[error(transparent)]
    Chunk(#[from] ChunkError),
    /// It is bigger than any manifest.
    #[error("it has {len} bytes, more than {MAX_BYTES}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// With its members, the file has too many.
    #[error("it has more than the {limit} chunks that are left to this file")]
    TooMany {
        /// How many it may have.
        limit: usize,
    },
    /// Manifests in manifests go on for too long.
    #[error("manifests are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// The file consists of manifests.
    #[error("the file has more than {MAX_MANIFESTS} manifests")]
    TooManyManifests,
}

/// Field number of the members.
const CHUNKS: u32 = 1;

#[cfg(test)]
mod tests;
