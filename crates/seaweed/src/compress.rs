//! Compression of chunks.
//!
//! A chunk marked as compressed is a gzip stream, or zstd in clusters of those
//! who enabled it; the first bytes tell. Nobody stores the clear length beside
//! it: gzip has it modulo 2³² in its last four bytes, which is exact for any
//! chunk, and lets the whole stream be inflated in one go. That reads the first
//! of a stream's members only. SeaweedFS writes no others, but whoever uploads
//! compressed data may; those are noticed and inflated piecemeal.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use libdeflater::{CompressionLvl, Compressor, Decompressor};

/// In which way data is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

impl Format {
    /// Recognizes the first bytes of compressed data.
    pub fn detect(stored: &[u8]) -> Option<Self> {
        match stored {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }
}

/// Inflates data, which may not become longer than `limit` bytes.
///
/// The result is all there is, or its front when that has the `enough` bytes that the caller
/// is going to use.
///
/// # Errors
/// When it is damaged, of an unknown format, or longer.
pub fn decompress(stored: &[u8], enough: u64, limit: usize) -> Result<Vec<u8>, CompressError> {
    match Format::detect(stored) {
        Some(Format::Gzip) => gunzip(stored, enough, limit),
        Some(Format::Zstd) => unzstd(stored, limit),
        None => Err(CompressError::Unknown {
            start: stored.iter().take(4).copied().collect(),
        }),
    }
}

/// A gzip stream of `clear`; none where that would not be shorter.
///
/// At the fastest level: the network is seldom so slow that another would pay.
pub fn gzip(clear: &[u8]) -> Option<Vec<u8>> {
    let mut packed = vec![0; clear.len()];
    // Level 0, which the library calls the fastest, only copies.
    let level = CompressionLvl::new(1).ok()?;
    let len = Compressor::new(level)
        .gzip_compress(clear, &mut packed)
        .ok()?;
    packed.truncate(len);
    (len < clear.len()).then_some(packed)
}

/// Why data could not be inflated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompressError {
    /// It begins like neither gzip nor zstd.
    #[error("compressed data begins with {start:02x?}, which is neither gzip nor zstd")]
    Unknown {
        /// The first bytes.
        start: Vec<u8>,
    },
    /// It breaks off or contradicts itself.
    #[error("damaged {format:?} data: {reason}")]
    Damaged {
        /// What it claims to be.
        format: Format,
        /// What the library says.
        reason: String,
    },
    /// It becomes longer than anybody should write.
    #[error("{format:?} data inflates to more than {limit} bytes")]
    TooLong {
        /// What it claims to be.
        format: Format,
        /// Bytes that were allowed.
        limit: usize,
    },
}

/// Deflate makes data at most 1032 times smaller (a block of one symbol repeated): a length
/// beyond that is a lie, and no memory is spent on it.
const DEFLATE_RATIO: usize = 1032;
/// Header and trailer of a gzip stream, at least.
const GZIP_FRAME: usize = 18;

fn gunzip(stored: &[u8], enough: u64, limit: usize) -> Result<Vec<u8>, CompressError> {
    let Some(trailer) = Trailer::of(stored) else {
        return Err(damaged(Format::Gzip, &"it is too short"));
    };
    let possible = stored.len().saturating_mul(DEFLATE_RATIO);
    if trailer.len <= limit.min(possible) {
        let mut clear = vec![0; trailer.len];
        let len = Decompressor::new().gzip_decompress(stored, &mut clear);
        // The trailer at the end fits the first member: it is the only one, unless equal ones
        // follow, which shows when they are needed. If not, there are others, or damage that
        // is about to be found again.
        let is_all = len == Ok(trailer.len) && libdeflater::crc32(&clear) == trailer.crc;
        if is_all && clear.len() as u64 >= enough {
            return Ok(clear);
        }
    }
    bounded(MultiGzDecoder::new(stored), limit, Format::Gzip)
}

/// What the last member of a gzip stream says about its clear data.
struct Trailer {
    crc: u32,
    len: usize,
}

impl Trailer {
    fn of(stored: &[u8]) -> Option<Self> {
        let at = stored
            .len()
            .checked_sub(8)
            .filter(|_| stored.len() >= GZIP_FRAME)?;
        let number = |at: usize| Some(u32::from_le_bytes(*stored.get(at..)?.first_chunk()?));
        Some(Self {
            crc: number(at)?,
            len: number(at + 4)? as usize,
        })
    }
}

fn unzstd(stored: &[u8], limit: usize) -> Result<Vec<u8>, CompressError> {
    let decoder = zstd::stream::read::Decoder::with_buffer(stored);
    let decoder = decoder.map_err(|e| damaged(Format::Zstd, &e))?;
    bounded(decoder, limit, Format::Zstd)
}

fn bounded(source: impl Read, limit: usize, format: Format) -> Result<Vec<u8>, CompressError> {
    let mut clear = Vec::new();
    let mut source = source.take((limit as u64).saturating_add(1));
    source
        .read_to_end(&mut clear)
        .map_err(|e| damaged(format, &e))?;
    if clear.len() > limit {
        return Err(CompressError::TooLong { format, limit });
    }
    Ok(clear)
}

fn damaged(format: Format, reason: &dyn std::fmt::Display) -> CompressError {
    CompressError::Damaged {
        format,
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;

    fn gzip(clear: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(clear).unwrap();
        encoder.finish().unwrap()
    }

    fn text() -> Vec<u8> {
        b"to be or not to be, ".repeat(500)
    }

    #[test]
    fn the_first_bytes_tell_the_format() {
        assert_eq!(Format::detect(&gzip(b"x")), Some(Format::Gzip));
        assert_eq!(
            Format::detect(&zstd::encode_all(&b"x"[..], 0).unwrap()),
            Some(Format::Zstd)
        );
        assert_eq!(Format::detect(b""), None);
        let error = decompress(b"plain text", 0, 100).unwrap_err().to_string();
        assert!(error.contains("[70, 6c, 61, 69]"), "{error}");
    }

    #[test]
    fn members_behind_each_other_are_one() {
        let stored = [gzip(b"a longer first part"), gzip(b"second")].concat();
        assert_eq!(
            decompress(&stored, 0, 1000),
            Ok(b"a longer first partsecond".to_vec())
        );
        let same = [gzip(b"12345"), gzip(b"67890")].concat();
        assert_eq!(decompress(&same, 0, 1000), Ok(b"1234567890".to_vec()));
        let equal = [gzip(b"12345"), gzip(b"12345")].concat();
        assert_eq!(decompress(&equal, 6, 1000), Ok(b"1234512345".to_vec()));
    }

    #[test]
    fn a_limit_is_kept_to_the_byte() {
        let clear = text();
        for stored in [gzip(&clear), zstd::encode_all(&clear[..], 0).unwrap()] {
            assert_eq!(decompress(&stored, 0, clear.len()), Ok(clear.clone()));
            let error = decompress(&stored, 0, clear.len() - 1).unwrap_err();
            assert!(matches!(error, CompressError::TooLong { .. }), "{error}");
        }
    }

    #[test]
    fn a_lie_about_the_length_is_found() {
        for lie in [0, 1, 1_000_000, u32::MAX] {
            let mut stored = gzip(&text());
            let at = stored.len() - 4;
            stored[at..].copy_from_slice(&lie.to_le_bytes());
            let error = decompress(&stored, 0, usize::MAX).unwrap_err();
            assert!(
                matches!(error, CompressError::Damaged { .. }),
                "{lie}: {error}"
            );
        }
    }

    #[test]
    fn every_truncation_is_found() {
        let clear = text();
        for stored in [gzip(&clear), zstd::encode_all(&clear[..], 0).unwrap()] {
            for len in 0..stored.len() {
                assert!(decompress(&stored[..len], 0, 1 << 20).is_err(), "{len}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_compressed_comes_back(clear in proptest::collection::vec(0u8..9, 0..3000)) {
            prop_assert_eq!(decompress(&gzip(&clear), 0, 3000), Ok(clear.clone()));
            let stored = zstd::encode_all(&clear[..], 0).unwrap();
            prop_assert_eq!(decompress(&stored, 0, 3000), Ok(clear));
        }

        #[test]
        fn damage_never_passes_for_other_bytes(
            clear in proptest::collection::vec(0u8..9, 1..500),
            at: prop::sample::Index,
            bit in 0u32..8,
        ) {
            let mut stored = gzip(&clear);
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            if let Ok(inflated) = decompress(&stored, 0, 1000) {
                // Parts of the header and the bits that fill the last byte mean nothing.
                prop_assert_eq!(inflated, clear);
            }
        }
    }
}
