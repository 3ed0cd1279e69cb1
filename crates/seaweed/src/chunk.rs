//! Chunks: the needles of a file and where they lie in it.

use std::fmt;

use crate::pb;
use crate::{FileId, FileIdError};

/// A needle that covers `[offset, offset + size)` of a file, unless a newer one lies above it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Where the bytes are.
    pub file_id: FileId,
    /// Place in the file; `offset + size` fits an `i64`.
    pub offset: u64,
    /// Clear bytes that count. The needle may hold more after a truncation, never less.
    pub size: u64,
    /// When it was written, in nanoseconds since 1970; the newest chunk shows.
    pub modified_ts_ns: i64,
    /// The needle is AES-256-GCM with this key.
    pub cipher_key: Option<CipherKey>,
    /// The needle (below any encryption) is compressed.
    pub is_compressed: bool,
    /// The needle is a list of chunks, which cover this chunk's range.
    pub is_manifest: bool,
    /// An S3 gateway encrypted the data with a key that only it can get.
    pub sse: bool,
    /// As the writer gave it, mostly base64 of the MD5 of the clear bytes. May be empty.
    pub e_tag: Box<str>,
}

impl Chunk {
    /// First byte of the file behind this chunk.
    pub fn end(&self) -> u64 {
        self.offset + self.size
    }

    /// Must be fetched whole: a part of the needle says nothing.
    pub fn is_opaque(&self) -> bool {
        self.cipher_key.is_some() || self.is_compressed
    }
}

impl TryFrom<&pb::FileChunk> for Chunk {
    type Error = ChunkError;

    fn try_from(chunk: &pb::FileChunk) -> Result<Self, ChunkError> {
        // The stored form has `fid` alone; `file_id` is added for display, and is all there
        // was in entries of long ago.
        let file_id = match &chunk.fid {
            Some(id) => FileId::from(*id),
            None => chunk.file_id.parse()?,
        };
        let place = |field, value: &dyn fmt::Display| ChunkError::Place {
            file_id,
            field,
            value: value.to_string(),
        };
        let offset = u64::try_from(chunk.offset).map_err(|_| place("offset", &chunk.offset))?;
        let end = offset.checked_add(chunk.size);
        if end.is_none_or(|end| end > i64::MAX as u64) {
            return Err(place("size", &chunk.size));
        }
        let cipher_key = match &chunk.cipher_key[..] {
            [] => None,
            key => Some(
                CipherKey::try_from(key).map_err(|()| ChunkError::KeyLength {
                    file_id,
                    len: key.len(),
                })?,
            ),
        };
        Ok(Self {
            file_id,
            offset,
            size: chunk.size,
            modified_ts_ns: chunk.modified_ts_ns,
            cipher_key,
            is_compressed: chunk.is_compressed,
            is_manifest: chunk.is_chunk_manifest,
            sse: chunk.sse_type != pb::SseType::None as i32,
            e_tag: chunk.e_tag.as_str().into(),
        })
    }
}

/// Why a chunk makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// It names no needle.
    #[error(transparent)]
    FileId(#[from] FileIdError),
    /// It lies outside of any possible file.
    #[error("chunk {file_id}: {field} {value} puts it outside of [0, 2^63)")]
    Place {
        /// The chunk.
        file_id: FileId,
        /// `offset` or `size`.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// Its key is none of AES-256.
    #[error(
        "chunk {file_id}: cipher key of {len} bytes instead of {}",
        CipherKey::LEN
    )]
    KeyLength {
        /// The chunk.
        file_id: FileId,
        /// Length of the key in bytes.
        len: usize,
    },
}

/// The AES-256 key of one chunk. Its bytes never reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct CipherKey(Box<[u8; CipherKey::LEN]>);

impl CipherKey {
    /// Bytes of a key.
    pub const LEN: usize = 32;

    /// A key of these bytes.
    pub fn new(bytes: [u8; Self::LEN]) -> Self {
        Self(Box::new(bytes))
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl TryFrom<&[u8]> for CipherKey {
    type Error = ();

    fn try_from(bytes: &[u8]) -> Result<Self, ()> {
        bytes.try_into().map(Self::new).map_err(|_| ())
    }
}

impl fmt::Debug for CipherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CipherKey(…)")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn message() -> pb::FileChunk {
        pb::FileChunk {
            file_id: "9,0900000009".into(),
            offset: 10,
            size: 20,
            modified_ts_ns: 5,
            e_tag: "tag".into(),
            fid: Some(pb::FileId {
                volume_id: 3,
                file_key: 1,
                cookie: 2,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn the_binary_id_wins_over_the_text() {
        let chunk = Chunk::try_from(&message()).unwrap();
        assert_eq!(chunk.file_id.to_string(), "3,0100000002");
        assert_eq!((chunk.offset, chunk.end()), (10, 30));
        assert!(!chunk.is_opaque());

        let text = pb::FileChunk {
            fid: None,
            ..message()
        };
        assert_eq!(Chunk::try_from(&text).unwrap().file_id.volume, 9);
        let neither = pb::FileChunk {
            fid: None,
            file_id: String::new(),
            ..message()
        };
        assert!(matches!(
            Chunk::try_from(&neither),
            Err(ChunkError::FileId(_))
        ));
    }

    #[test]
    fn a_place_outside_of_files_is_refused() {
        let refused = |offset, size| {
            let chunk = pb::FileChunk {
                offset,
                size,
                ..message()
            };
            Chunk::try_from(&chunk).unwrap_err().to_string()
        };
        assert!(refused(-1, 1).contains("offset -1"));
        assert!(refused(i64::MAX, 1).contains("size 1"));
        assert!(refused(1, u64::MAX).contains("size 18446744073709551615"));
        let last = pb::FileChunk {
            offset: i64::MAX - 1,
            size: 1,
            ..message()
        };
        assert_eq!(Chunk::try_from(&last).unwrap().end(), i64::MAX as u64);
    }

    #[test]
    fn a_key_has_32_bytes_and_is_never_shown() {
        let keyed = |len| pb::FileChunk {
            cipher_key: Bytes::from(vec![0xab; len]),
            ..message()
        };
        let chunk = Chunk::try_from(&keyed(32)).unwrap();
        assert!(chunk.is_opaque());
        let shown = format!("{chunk:?}");
        assert!(
            shown.contains("CipherKey(…)") && !shown.contains("171"),
            "{shown}"
        );
        let error = Chunk::try_from(&keyed(16)).unwrap_err().to_string();
        assert!(error.contains("16 bytes instead of 32"), "{error}");
    }

    #[test]
    fn marks_are_kept() {
        let marked = pb::FileChunk {
            is_compressed: true,
            is_chunk_manifest: true,
            sse_type: 7,
            ..message()
        };
        let chunk = Chunk::try_from(&marked).unwrap();
        assert!(chunk.is_opaque() && chunk.is_manifest && chunk.sse);
    }
}
