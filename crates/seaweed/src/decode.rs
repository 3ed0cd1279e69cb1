//! From the stored bytes of a chunk to its clear ones.

use bytes::Bytes;

use crate::cipher::{self, CipherError};
use crate::compress::{self, CompressError};
use crate::{Chunk, FileId};

/// Longest clear data of one chunk. Servers accept needles of 256 MiB unless configured
/// otherwise, and clients write chunks of a few MiB; beyond this something is wrong.
pub const MAX_CLEAR: usize = 1 << 30;

/// Decrypts and inflates all that is stored of a chunk, as the chunk asks for.
///
/// The result may be longer than `chunk.size`, when a truncation left only the front of the
/// chunk, but never shorter. Of a manifest it is the data for [`manifest`](crate::manifest).
///
/// # Errors
/// When the data is damaged, too short, or of somebody else's encryption.
pub fn decode_chunk(chunk: &Chunk, stored: Bytes) -> Result<Bytes, DecodeError> {
    let file_id = chunk.file_id;
    if chunk.sse {
        return Err(DecodeError::Sse { file_id });
    }
    // The size of a manifest is that of its children together.
    let needed = if chunk.is_manifest { 0 } else { chunk.size };
    let mut data = stored;
    if let Some(key) = &chunk.cipher_key {
        let opened = cipher::open(key, &data);
        data = opened
            .map_err(|source| DecodeError::Cipher { file_id, source })?
            .into();
    }
    if chunk.is_compressed {
        let inflated = compress::decompress(&data, needed, MAX_CLEAR);
        data = inflated
            .map_err(|source| DecodeError::Compress { file_id, source })?
            .into();
    }
    if (data.len() as u64) < needed {
        return Err(DecodeError::Short {
            file_id,
            expected: needed,
            got: data.len() as u64,
        });
    }
    Ok(data)
}

/// Why stored bytes are not those of their chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They cannot be decrypted.
    #[error("chunk {file_id}: {source}")]
    Cipher {
        /// The chunk.
        file_id: FileId,
        /// What is wrong.
        source: CipherError,
    },
    /// They cannot be inflated.
    #[error("chunk {file_id}: {source}")]
    Compress {
        /// The chunk.
        file_id: FileId,
        /// What is wrong.
        source: CompressError,
    },
    /// There are fewer than the chunk promises.
    #[error("chunk {file_id} has {got} bytes of data instead of {expected}")]
    Short {
        /// The chunk.
        file_id: FileId,
        /// Bytes promised.
        expected: u64,
        /// Bytes there are.
        got: u64,
    },
    /// Only an S3 gateway can decrypt them.
    #[error("chunk {file_id} was encrypted by an S3 gateway; only that can read it")]
    Sse {
        /// The chunk.
        file_id: FileId,
    },
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::CipherKey;

    fn chunk(size: u64) -> Chunk {
        Chunk {
            file_id: "3,01637037d6".parse().unwrap(),
            offset: 0,
            size,
            modified_ts_ns: 1,
            cipher_key: None,
            is_compressed: false,
            is_manifest: false,
            sse: false,
            e_tag: "".into(),
        }
    }

    fn gzip(clear: &[u8]) -> Vec<u8> {
        let level = flate2::Compression::default();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
        encoder.write_all(clear).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn encryption_is_undone_before_compression() {
        let clear = b"clear bytes ".repeat(50);
        let key = CipherKey::new([9; 32]);
        let stored = cipher::seal(&key, &gzip(&clear)).unwrap();
        let chunk = Chunk {
            cipher_key: Some(key),
            is_compressed: true,
            ..chunk(600)
        };
        assert_eq!(decode_chunk(&chunk, stored.into()).unwrap(), clear);
    }

    #[test]
    fn plain_bytes_are_not_copied() {
        let stored = Bytes::from(vec![1, 2, 3]);
        let clear = decode_chunk(&chunk(3), stored.clone()).unwrap();
        assert_eq!(clear.as_ptr(), stored.as_ptr());
    }

    #[test]
    fn a_truncated_chunk_may_hold_more_but_never_less() {
        let stored = Bytes::from_static(b"12345");
        assert_eq!(decode_chunk(&chunk(3), stored.clone()).unwrap(), stored);
        let error = decode_chunk(&chunk(6), stored).unwrap_err().to_string();
        assert_eq!(error, "chunk 3,01637037d6 has 5 bytes of data instead of 6");
    }

    #[test]
    fn a_manifest_is_shorter_than_what_it_covers() {
        let manifest = Chunk {
            is_manifest: true,
            ..chunk(1 << 40)
        };
        let stored = Bytes::from_static(b"list");
        assert_eq!(decode_chunk(&manifest, stored.clone()), Ok(stored));
    }

    #[test]
    fn errors_name_the_chunk() {
        let sse = Chunk {
            sse: true,
            ..chunk(1)
        };
        let gzip = Chunk {
            is_compressed: true,
            ..chunk(1)
        };
        let sealed = Chunk {
            cipher_key: Some(CipherKey::new([0; 32])),
            ..chunk(1)
        };
        for chunk in [sse, gzip, sealed] {
            let error = decode_chunk(&chunk, Bytes::from_static(b"text")).unwrap_err();
            assert!(error.to_string().contains("3,01637037d6"), "{error}");
        }
    }
}
