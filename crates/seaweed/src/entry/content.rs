//! What tells the bytes of one file from those of every other.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest;

use super::Entry;
use crate::Chunk;
use crate::mode::Kind;

/// A name for the content of a file: a SHA-256 over its length, the bytes in the entry and the
/// chunks, with all that decides what they show.
///
/// File ids are never used again for other content, so two entries with the same key read
/// the same, whatever they are called and whatever else their attributes say; an entry that
/// reads otherwise has another key. It does not say what the bytes are: the same bytes stored
/// twice have two keys.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContentKey([u8; ContentKey::LEN]);

/// Changes when what goes into a key does.
const DOMAIN: &[u8] = b"riptide content 1\0";

impl ContentKey {
    /// Bytes of a key.
    pub const LEN: usize = 32;

    /// A key by its bytes.
    pub const fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub const fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }
}

impl Entry {
    /// The key of its content; none for what is no file, for a file without bytes, and for one
    /// whose bytes are not in the cluster yet.
    pub fn content_key(&self) -> Option<ContentKey> {
        if self.kind != Kind::Regular || self.size == 0 || self.is_remote_only() {
            return None;
        }
        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(DOMAIN);
        number(&mut digest, self.size);
        // Bytes in the entry replace the chunks.
        bytes(&mut digest, &self.content);
        if self.content.is_empty() {
            number(&mut digest, self.chunks.len() as u64);
            self.chunks.iter().for_each(|chunk| add(&mut digest, chunk));
        }
        let mut key = [0; ContentKey::LEN];
        key.copy_from_slice(digest.finish().as_ref());
        Some(ContentKey(key))
    }
}

fn add(digest: &mut digest::Context, chunk: &Chunk) {
    number(digest, u64::from(chunk.file_id.volume));
    number(digest, chunk.file_id.key);
    number(digest, u64::from(chunk.file_id.cookie));
    number(digest, chunk.offset);
    number(digest, chunk.size);
    number(digest, chunk.modified_ts_ns.cast_unsigned());
    let forms = [chunk.is_compressed, chunk.is_manifest, chunk.sse];
    digest.update(&forms.map(u8::from));
    match &chunk.cipher_key {
        Some(key) => bytes(digest, key.as_bytes()),
        None => bytes(digest, &[]),
    }
    bytes(digest, chunk.e_tag.as_bytes());
}

fn number(digest: &mut digest::Context, value: u64) {
    digest.update(&value.to_le_bytes());
}

/// With their number before them, so that what one field has too much is no other's.
fn bytes(digest: &mut digest::Context, value: &[u8]) {
    number(digest, value.len() as u64);
    digest.update(value);
}

impl fmt::Display for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// No [`ContentKey`]: it is 64 digits, 0 to 9 and a to f.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits in lower case")]
pub struct ContentKeyError;

impl FromStr for ContentKey {
    type Err = ContentKeyError;

    /// Takes only what [`Display`](fmt::Display) writes: a second spelling would be a second file.
    fn from_str(text: &str) -> Result<Self, ContentKeyError> {
        let digit = |letter: u8| match letter {
            b'0'..=b'9' => Some(letter - b'0'),
            b'a'..=b'f' => Some(letter - b'a' + 10),
            _ => None,
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != Self::LEN || !rest.is_empty() {
            return Err(ContentKeyError);
        }
        let mut key = [0; Self::LEN];
        for (byte, [high, low]) in key.iter_mut().zip(pairs) {
            let (high, low) = digit(*high).zip(digit(*low)).ok_or(ContentKeyError)?;
            *byte = high << 4 | low;
        }
        Ok(Self(key))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{FileId, pb};

    fn entry(chunks: Vec<Chunk>) -> Entry {
        let attributes = pb::FuseAttributes {
            file_size: 100,
            ..Default::default()
        };
        let raw = pb::Entry {
            name: "a".to_owned(),
            attributes: Some(attributes),
            ..Default::default()
        };
        let mut entry = Entry::from_pb("/", raw).unwrap();
        entry.chunks = Arc::from(chunks);
        entry
    }

    fn chunk(key: u64) -> Chunk {
        Chunk {
            file_id: FileId {
                volume: 1,
                key,
                cookie: 3,
            },
            offset: 0,
            size: 100,
            modified_ts_ns: 5,
            cipher_key: None,
            is_compressed: false,
            is_manifest: false,
            sse: false,
            e_tag: "x".into(),
        }
    }

    #[test]
    fn whatever_changes_the_bytes_changes_the_key() {
        let base = entry(vec![chunk(1)]);
        let mut others = vec![
            entry(vec![chunk(2)]),
            entry(vec![chunk(1), chunk(2)]),
            entry(vec![chunk(2), chunk(1)]),
            entry(vec![]),
        ];
        for change in [
            |chunk: &mut Chunk| chunk.offset = 1,
            |chunk: &mut Chunk| chunk.size = 99,
            |chunk: &mut Chunk| chunk.modified_ts_ns = -5,
            |chunk: &mut Chunk| chunk.is_compressed = true,
            |chunk: &mut Chunk| chunk.is_manifest = true,
            |chunk: &mut Chunk| chunk.sse = true,
            |chunk: &mut Chunk| chunk.e_tag = "".into(),
            |chunk: &mut Chunk| chunk.file_id.volume = 2,
            |chunk: &mut Chunk| chunk.file_id.cookie = 2,
        ] {
            let mut changed = chunk(1);
            change(&mut changed);
            others.push(entry(vec![changed]));
        }
        let mut longer = base.clone();
        longer.size = 101;
        others.push(longer);
        let mut inline = base.clone();
        inline.content = Bytes::from_static(b"1");
        others.push(inline);
        let mut keys = std::collections::BTreeSet::from([base.content_key()]);
        for other in &others {
            assert!(!base.same_content(other));
            assert!(keys.insert(other.content_key()), "{other:?}");
        }
    }

    #[test]
    fn names_and_attributes_are_not_in_it() {
        let base = entry(vec![chunk(1)]);
        let mut other = base.clone();
        other.name = "b".to_owned();
        other.perm = 0o600;
        other.mtime += std::time::Duration::from_secs(1);
        assert_eq!(base.content_key(), other.content_key());
    }

    #[test]
    fn what_has_no_bytes_here_has_no_key() {
        let mut empty = entry(vec![]);
        empty.size = 0;
        assert_eq!(empty.content_key(), None);
        let mut folder = entry(vec![]);
        folder.kind = Kind::Directory;
        assert_eq!(folder.content_key(), None);
    }

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key = entry(vec![chunk(1)]).content_key().unwrap();
        let text = key.to_string();
        assert_eq!(text.parse(), Ok(key));
        for bad in [
            &text[1..],
            &text.to_uppercase(),
            &format!("{text}0"),
            &text.replace(&text[..1], "g"),
        ] {
            assert_eq!(bad.parse::<ContentKey>(), Err(ContentKeyError), "{bad}");
        }
    }
}
