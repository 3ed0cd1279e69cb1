//! Records of needles in a `.dat` file.
//!
//! A record is a [`NeedleHeader`], the body of the header's `size` bytes, a checksum, from version
//! 3 on the time of writing, and 1 to 8 bytes of padding that mean nothing. The body of version 1
//! is the data. Later ones have the length of the data, the data, and its [`NeedleMeta`]; when
//! there is no data the body is empty altogether.
//!
//! ```text
//!  0        4          12     16        20          20+n                16+size
//!  │ cookie │ id       │ size │ n       │ data      │ flags, name, …    │ checksum │ time │ padding
//! ```
//!
//! So the place of everything follows from two numbers, which [`Layout`] checks.

use super::{Ttl, UNIT, Version};

/// The first bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedleHeader {
    /// Who asks must know it.
    pub cookie: u32,
    /// The needle's key.
    pub id: u64,
    /// Bytes of the body.
    pub size: i32,
}

impl NeedleHeader {
    /// Bytes of a header.
    pub const LEN: usize = 16;

    /// Reads it; nothing when there are too few bytes.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (cookie, rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        Some(Self {
            cookie: u32::from_be_bytes(*cookie),
            id: u64::from_be_bytes(*id),
            size: i32::from_be_bytes(*rest.first_chunk()?),
        })
    }

    /// The bytes of it.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..4].copy_from_slice(&self.cookie.to_be_bytes());
        bytes[4..12].copy_from_slice(&self.id.to_be_bytes());
        bytes[12..].copy_from_slice(&self.size.to_be_bytes());
        bytes
    }
}

/// Where the parts of a record are, from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    version: Version,
    size: u32,
    data_len: u32,
}

impl Layout {
    /// Bytes at the start of a record that [`of`](Self::of) needs: the header and the length
    /// of the data.
    pub const HEAD: usize = NeedleHeader::LEN + 4;

    /// Longest tail there can be: flags, a name and a type of 255 bytes, two times, a
    /// TTL, pairs of 65535 bytes, and the checksum. What is longer was not written by a server.
    pub const MAX_TAIL: usize = 1 + 256 + 256 + 5 + 2 + 2 + 65_535 + 4 + 8;

    /// Places the parts of a record by its first bytes. Behind a header whose size is 0 nothing is
    /// looked at.
    ///
    /// # Errors
    /// When there are too few bytes, or the lengths contradict each other.
    pub fn of(version: Version, head: &[u8]) -> Result<Self, NeedleError> {
        let header = NeedleHeader::parse(head).ok_or(NeedleError::Short)?;
        let size =
            u32::try_from(header.size).map_err(|_| NeedleError::Size { size: header.size })?;
        let data_len = match version {
            Version::V1 => size,
            _ if size == 0 => 0,
            _ => {
                let field = head[NeedleHeader::LEN..].first_chunk();
                u32::from_be_bytes(*field.ok_or(NeedleError::Short)?)
            }
        };
        let layout = Self {
            version,
            size,
            data_len,
        };
        let fits = version == Version::V1
            || size == 0
            || u64::from(data_len) + DATA_SIZE <= u64::from(size);
        if !fits || layout.tail_len() > Self::MAX_TAIL {
            return Err(NeedleError::DataSize { data_len, size });
        }
        Ok(layout)
    }

    /// Length of the whole record, padding included. The next record begins behind it.
    pub fn record_len(&self) -> u64 {
        Self::record_len_of(self.version, self.size)
    }

    /// Length of a record whose body has `size` bytes.
    pub fn record_len_of(version: Version, size: u32) -> u64 {
        let used = Self::unpadded_len_of(version, size);
        // Never 0: what is a multiple already gets 8 more bytes.
        used + UNIT - used % UNIT
    }

    /// Length of such a record without its padding.
    pub fn unpadded_len_of(version: Version, size: u32) -> u64 {
        NeedleHeader::LEN as u64 + u64::from(size) + end_len(version) as u64
    }

    /// Where the data begins.
    pub fn data_start(&self) -> u64 {
        let field = match self.version {
            Version::V1 => 0,
            _ if self.size == 0 => 0,
            _ => DATA_SIZE,
        };
        NeedleHeader::LEN as u64 + field
    }

    /// Bytes of data.
    pub fn data_len(&self) -> u32 {
        self.data_len
    }

    /// Where the meta data and the checksum begin, right behind the data.
    pub fn tail_start(&self) -> u64 {
        self.data_start() + u64::from(self.data_len)
    }

    /// Bytes of meta data, checksum and time; padding is not counted.
    pub fn tail_len(&self) -> usize {
        let body_end = NeedleHeader::LEN as u64 + u64::from(self.size);
        // 4 GiB fit into a usize on every machine that has volumes.
        (body_end.saturating_sub(self.tail_start())) as usize + end_len(self.version)
    }

    /// Reads what stands behind the data: exactly [`tail_len`](Self::tail_len) bytes.
    ///
    /// # Errors
    /// When the parts do not fill these bytes.
    pub fn meta<'a>(&self, tail: &'a [u8]) -> Result<NeedleMeta<'a>, NeedleError> {
        if tail.len() != self.tail_len() {
            return Err(NeedleError::Short);
        }
        let (body, end) = tail.split_at(tail.len() - end_len(self.version));
        let (checksum, time) = end.split_first_chunk().ok_or(NeedleError::Short)?;
        let mut meta = NeedleMeta {
            checksum: u32::from_be_bytes(*checksum),
            append_at_ns: time.first_chunk().map(|time| u64::from_be_bytes(*time)),
            ..NeedleMeta::default()
        };
        meta.fill(body)?;
        Ok(meta)
    }
}

/// What a record says of its data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NeedleMeta<'a> {
    /// See [`flags`].
    pub flags: u8,
    /// Name of the uploaded file.
    pub name: &'a [u8],
    /// MIME type of the uploaded file.
    pub mime: &'a [u8],
    /// Seconds since 1970.
    pub last_modified: Option<u64>,
    /// How long it lives, from the time of writing on.
    pub ttl: Option<Ttl>,
    /// Further headers of the upload, a JSON object.
    pub pairs: &'a [u8],
    /// Of the data as it is stored, raw or masked (see [`proves`](super::proves)).
    pub checksum: u32,
    /// Time of writing, in nanoseconds since 1970. From version 3 on.
    pub append_at_ns: Option<u64>,
}

impl<'a> NeedleMeta<'a> {
    /// Whether the data is a gzip stream that readers get inflated.
    pub fn is_gzip(&self) -> bool {
        self.flags & flags::GZIP != 0
    }

    /// Whether the data is a list of chunks that readers get put together.
    pub fn is_chunk_manifest(&self) -> bool {
        self.flags & flags::CHUNK_MANIFEST != 0
    }

    fn fill(&mut self, body: &'a [u8]) -> Result<(), NeedleError> {
        let Some((flags, mut rest)) = body.split_first() else {
            return Ok(());
        };
        self.flags = *flags;
        let has = |flag| flags & flag != 0;
        if has(flags::NAME) {
            let len = take(&mut rest, 1)?[0];
            self.name = take(&mut rest, len.into())?;
        }
        if has(flags::MIME) {
            let len = take(&mut rest, 1)?[0];
            self.mime = take(&mut rest, len.into())?;
        }
        if has(flags::LAST_MODIFIED) {
            let five = take(&mut rest, 5)?;
            let seconds = five.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            self.last_modified = Some(seconds);
        }
        if has(flags::TTL) {
            let two = take(&mut rest, 2)?;
            self.ttl = Ttl::from_bytes([two[0], two[1]]);
        }
        if has(flags::PAIRS) {
            let len = take(&mut rest, 2)?;
            let len = u16::from_be_bytes([len[0], len[1]]);
            self.pairs = take(&mut rest, len.into())?;
        }
        Ok(())
    }
}

/// The bits of a needle's flags.
pub mod flags {
    /// The data is compressed.
    pub const GZIP: u8 = 0x01;
    /// There is a name.
    pub const NAME: u8 = 0x02;
    /// There is a MIME type.
    pub const MIME: u8 = 0x04;
    /// There is a time of modification.
    pub const LAST_MODIFIED: u8 = 0x08;
    /// It lives for some time only.
    pub const TTL: u8 = 0x10;
    /// There are further headers.
    pub const PAIRS: u8 = 0x20;
    /// The data is a list of chunks.
    pub const CHUNK_MANIFEST: u8 = 0x80;
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NeedleError {
    /// They end too early.
    #[error("the record is cut off")]
    Short,
    /// No size.
    #[error("the record's size is {size}")]
    Size {
        /// As it stands there.
        size: i32,
    },
    /// Data that does not fit, or leaves more than there can be behind it.
    #[error("data of {data_len} bytes in a record of size {size}")]
    DataSize {
        /// Bytes of data as it stands there.
        data_len: u32,
        /// Bytes of the body.
        size: u32,
    },
}

/// Bytes of the field with the length of the data.
const DATA_SIZE: u64 = 4;

/// Bytes behind the body: the checksum, and the time.
fn end_len(version: Version) -> usize {
    match version {
        Version::V1 | Version::V2 => 4,
        Version::V3 => 12,
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], NeedleError> {
    let (taken, left) = rest.split_at_checked(len).ok_or(NeedleError::Short)?;
    *rest = left;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::crc::crc32c;
    use crate::volume::proves;

    /// Written by weed 4.48: "hello" with a TTL of three minutes.
    const REAL: [u8; 56] = [
        0xf5, 0x54, 0x30, 0x50, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0x14, 0, 0, 0, 5, b'h', b'e',
        b'l', b'l', b'o', 0x1e, 1, b'h', 0, 0, 0x6b, 6, 0xb8, 0x23, 3, 1, 0x9a, 0x71, 0xbb, 0x4c,
        0x18, 0xeb, 0x42, 0xee, 0x49, 0xca, 0xd7, 0x9b, 0, 0, 0, 0x14, 0, 0, 0, 0,
    ];

    #[test]
    fn a_real_record() {
        let header = NeedleHeader::parse(&REAL).unwrap();
        assert_eq!(
            (header.cookie, header.id, header.size),
            (0xf554_3050, 3, 20)
        );
        assert_eq!(header.to_bytes(), REAL[..16]);
        let layout = Layout::of(Version::V3, &REAL).unwrap();
        assert_eq!(layout.record_len(), 56);
        let data = &REAL[layout.data_start() as usize..][..layout.data_len() as usize];
        assert_eq!(data, b"hello");
        let tail = &REAL[layout.tail_start() as usize..][..layout.tail_len()];
        let meta = layout.meta(tail).unwrap();
        assert_eq!(
            (meta.name, meta.mime, meta.pairs),
            (&b"h"[..], &b""[..], &b""[..])
        );
        assert_eq!(meta.last_modified, Some(0x6b06_b823));
        assert_eq!(meta.ttl.unwrap().to_string(), "3m");
        assert_eq!(meta.append_at_ns, Some(0x18eb_42ee_49ca_d79b));
        assert!(proves(meta.checksum, crc32c(data)));
        assert!(!meta.is_gzip() && !meta.is_chunk_manifest());
    }

    #[test]
    fn a_record_without_data_has_an_empty_body() {
        let head = NeedleHeader {
            cookie: 1,
            id: 2,
            size: 0,
        }
        .to_bytes();
        for (version, len) in [(Version::V1, 24), (Version::V2, 24), (Version::V3, 32)] {
            let layout = Layout::of(version, &head).unwrap();
            assert_eq!((layout.data_start(), layout.data_len()), (16, 0));
            assert_eq!(layout.record_len(), len);
            let tail = vec![0; layout.tail_len()];
            assert_eq!(layout.meta(&tail).unwrap().flags, 0);
        }
    }

    #[test]
    fn padding_is_never_empty() {
        assert_eq!(Layout::record_len_of(Version::V3, 4), 40);
        assert_eq!(Layout::record_len_of(Version::V3, 3), 32);
        assert_eq!(Layout::record_len_of(Version::V1, 4), 32);
        assert_eq!(Layout::record_len_of(Version::V3, u32::MAX) % UNIT, 0);
    }

    #[test]
    fn lengths_that_contradict_each_other_are_refused() {
        let head = |size: i32, data_len: u32| {
            let mut head = NeedleHeader {
                cookie: 0,
                id: 0,
                size,
            }
            .to_bytes()
            .to_vec();
            head.extend(data_len.to_be_bytes());
            Layout::of(Version::V3, &head)
        };
        assert!(head(10, 6).is_ok());
        assert_eq!(
            head(10, 7),
            Err(NeedleError::DataSize {
                data_len: 7,
                size: 10
            })
        );
        assert_eq!(
            head(3, 0),
            Err(NeedleError::DataSize {
                data_len: 0,
                size: 3
            })
        );
        assert!(head(10, u32::MAX).is_err());
        assert_eq!(head(-1, 0), Err(NeedleError::Size { size: -1 }));
        // More behind the data than a server can write.
        assert!(head(i32::MAX, 0).is_err());
        assert_eq!(Layout::of(Version::V3, &[0; 15]), Err(NeedleError::Short));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(
            version in prop::sample::select(vec![Version::V1, Version::V2, Version::V3]),
            mut bytes in prop::collection::vec(any::<u8>(), 0..120),
            size in 0u8..100,
            data_len in 0u8..100,
        ) {
            if bytes.len() >= 20 {
                bytes[12..20].copy_from_slice(&[0, 0, 0, size, 0, 0, 0, data_len]);
            }
            if let Ok(layout) = Layout::of(version, &bytes) {
                let end = layout.tail_start() + layout.tail_len() as u64;
                prop_assert!(end < layout.record_len() && layout.record_len() <= end + UNIT);
                prop_assert_eq!(layout.record_len() % UNIT, 0);
                if let Some(tail) = bytes.get(layout.tail_start() as usize..end as usize) {
                    let _ = layout.meta(tail);
                }
            }
        }
    }
}
