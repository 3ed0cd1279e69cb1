//! The form in which a chunk is stored.
//!
//! As other clients of SeaweedFS do it: gzip where the name says that it is worth
//! it, or where the name says nothing and the first bytes do; kept only if it is
//! smaller. Where the filer wants it, the result is encrypted with a key of its
//! own, and the needle tells nothing of what it is.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use seaweed::pb::FileChunk;
use seaweed::{CipherKey, FileId};

use super::sums::Sum;
use crate::WriteError;

/// Less than this is not tried when the name says nothing.
const TRY: usize = 16 << 10;
/// How much of it is tried.
const SAMPLE: usize = 128;

/// Bytes to store.
#[derive(Debug)]
pub(super) struct Encoded<'a> {
    bytes: Cow<'a, [u8]>,
    gzip: bool,
    key: Option<CipherKey>,
}

/// Brings the bytes of a file into the form in which they are stored.
pub(super) fn encode<'a>(
    data: &'a [u8],
    path: &str,
    cipher: bool,
) -> Result<Encoded<'a>, WriteError> {
    let worth = match by_name(path) {
        Some(worth) => worth,
        None => data.len() > TRY && seems_compressible(&data[..SAMPLE]),
    };
    let packed = match worth {
        true => seaweed::compress::gzip(data),
        false => None,
    };
    let gzip = packed.is_some();
    let bytes = packed.map_or(Cow::Borrowed(data), Cow::Owned);
    if !cipher {
        return Ok(Encoded {
            bytes,
            gzip,
            key: None,
        });
    }
    let failed = |error: seaweed::cipher::CipherError| WriteError::Upload(error.to_string());
    let key = CipherKey::random().map_err(failed)?;
    let sealed = seaweed::cipher::seal(&key, &bytes).map_err(failed)?;
    Ok(Encoded {
        bytes: Cow::Owned(sealed),
        gzip,
        key: Some(key),
    })
}

impl Encoded<'_> {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether the server may know that it is a gzip stream.
    pub(super) fn declared_gzip(&self) -> bool {
        self.gzip && self.key.is_none()
    }

    /// Whether the entry names the MD5 of its clear bytes; what is encrypted is not told.
    pub(super) fn tells_its_sum(&self) -> bool {
        self.key.is_none()
    }

    /// What the entry says of it, and of the `len` clear bytes that it was.
    pub(super) fn chunk(&self, id: FileId, len: usize, sum: Option<Sum>) -> FileChunk {
        let key = self.key.as_ref().map(|key| key.as_bytes().to_vec());
        FileChunk {
            file_id: id.to_string(),
            fid: Some(id.into()),
            size: len as u64,
            e_tag: sum.map(|sum| STANDARD.encode(sum)).unwrap_or_default(),
            is_compressed: self.gzip,
            cipher_key: key.unwrap_or_default().into(),
            ..FileChunk::default()
        }
    }
}

fn seems_compressible(sample: &[u8]) -> bool {
    let packed = seaweed::compress::gzip(sample);
    packed.is_some_and(|packed| packed.len() * 10 < sample.len() * 9)
}

/// Whether a file of this name is worth compressing, if that is known.
fn by_name(path: &str) -> Option<bool> {
    let name = path.rsplit('/').next()?;
    let (_, extension) = name.rsplit_once('.')?;
    let extension = extension.to_ascii_lowercase();
    let is = |list: &[&str]| list.contains(&extension.as_str());
    if is(PACKED) {
        return Some(false);
    }
    is(PLAIN).then_some(true)
}

/// Compressed already.
const PACKED: &[&str] = &[
    "zip", "rar", "gz", "tgz", "bz2", "xz", "zst", "lz4", "br", "7z", "png", "jpg", "jpeg", "gif",
    "webp", "mp3", "mp4", "mkv", "webm", "ogg",
];

/// Text, and pictures and sound as they are.
const PLAIN: &[&str] = &[
    "txt", "log", "csv", "tsv", "md", "html", "htm", "css", "js", "json", "xml", "svg", "yaml",
    "yml", "toml", "php", "java", "go", "rb", "c", "cc", "cpp", "h", "hpp", "rs", "py", "sh",
    "sql", "pdf", "bmp", "wav",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(len: usize) -> Vec<u8> {
        let mut state = 7u64;
        let next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(len).collect()
    }

    #[test]
    fn names_decide_and_otherwise_the_first_bytes() {
        let text = b"all work and no play ".repeat(2000);
        let gzip = |data: &[u8], path| encode(data, path, false).unwrap().gzip;
        assert!(gzip(&text, "/a/b.TXT"));
        assert!(gzip(&text[..100], "/a/b.txt"));
        assert!(!gzip(&text, "/a/b.zip"));
        assert!(gzip(&text, "/a/b"));
        assert!(!gzip(&text[..TRY], "/a/b"));
        assert!(!gzip(&noise(50_000), "/a/b"));
        assert!(!gzip(&noise(50_000), "/a/b.txt"), "not smaller, not kept");
    }

    #[test]
    fn what_is_encoded_can_be_read() {
        let text = b"all work and no play ".repeat(2000);
        let id = FileId {
            volume: 3,
            key: 7,
            cookie: 9,
        };
        for cipher in [false, true] {
            let encoded = encode(&text, "/a/b", cipher).unwrap();
            let sum = encoded.tells_its_sum().then_some([7; 16]);
            let chunk = encoded.chunk(id, text.len(), sum);
            assert!(chunk.is_compressed);
            assert_eq!(chunk.size, text.len() as u64);
            assert_eq!(chunk.cipher_key.is_empty(), !cipher);
            assert_eq!(chunk.e_tag.is_empty(), cipher);
            assert_eq!(encoded.declared_gzip(), !cipher);
            let packed = match &encoded.key {
                Some(key) => seaweed::cipher::open(key, encoded.bytes()).unwrap(),
                None => encoded.bytes().to_vec(),
            };
            let clear = seaweed::compress::decompress(&packed, 0, text.len()).unwrap();
            assert_eq!(clear, text);
        }
    }
}
