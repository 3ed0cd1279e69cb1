//! The checksum of needles: CRC-32C (Castagnoli), raw.
//!
//! A volume server keeps it for the stored bytes of each needle and sends it
//! as the ETag: the eight hex digits of the number.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of these bytes.
pub fn crc32c(data: &[u8]) -> u32 {
    narrow(crc_fast::checksum(ALGORITHM, data))
}

/// The checksum of two runs of bytes, one behind the other, of which the second has `len` bytes.
pub fn combine(first: u32, second: u32, len: u64) -> u32 {
    narrow(crc_fast::checksum_combine(
        ALGORITHM,
        first.into(),
        second.into(),
        len,
    ))
}

/// A checksum over bytes that arrive in parts.
#[derive(Debug, Clone)]
pub struct Crc(Digest);

impl Crc {
    /// Of nothing so far.
    pub fn new() -> Self {
        Self(Digest::new(ALGORITHM))
    }

    /// Takes the next bytes.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The checksum of all bytes so far.
    pub fn value(&self) -> u32 {
        narrow(self.0.finalize())
    }
}

impl Default for Crc {
    fn default() -> Self {
        Self::new()
    }
}

/// The ETag that a volume server gives to data with this checksum, without quotes.
pub fn etag_of(crc: u32) -> String {
    format!("{crc:08x}")
}

/// The checksum in an `ETag` header, quoted or not; nothing when the tag is of another kind.
pub fn parse_etag(header: &str) -> Option<u32> {
    let tag = header.trim();
    let tag = match tag.strip_prefix('"') {
        Some(inner) => inner.strip_suffix('"')?,
        None => tag,
    };
    let is_crc = tag.len() == 8 && tag.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_crc {
        return None;
    }
    u32::from_str_radix(tag, 16).ok()
}

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc32Iscsi;

/// The library speaks 64 bits for all widths; the upper half of a CRC-32 is empty.
fn narrow(crc: u64) -> u32 {
    crc as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bit by bit, as the polynomial defines it.
    fn slow(data: &[u8]) -> u32 {
        let mut crc = !0u32;
        for byte in data {
            crc ^= u32::from(*byte);
            for _ in 0..8 {
                crc = (crc >> 1) ^ (0x82f6_3b78 * (crc & 1));
            }
        }
        !crc
    }

    #[test]
    fn known_answers() {
        assert_eq!(crc32c(b""), 0);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    }

    #[test]
    fn etags_are_read_back() {
        assert_eq!(etag_of(0x00c0_ffee), "00c0ffee");
        assert_eq!(parse_etag("\"00c0ffee\""), Some(0x00c0_ffee));
        assert_eq!(parse_etag(" 00C0FFEE "), Some(0x00c0_ffee));
        for other in [
            "",
            "\"",
            "\"00c0ffee",
            "00c0ffe",
            "00c0ffeg",
            "+0c0ffee",
            "W/\"00c0ffee\"",
            "d41d8cd98f00b204e9800998ecf8427e",
        ] {
            assert_eq!(parse_etag(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn all_lengths_and_splits_agree_with_the_definition(
            data in proptest::collection::vec(any::<u8>(), 0..3000),
            split: prop::sample::Index,
        ) {
            prop_assert_eq!(crc32c(&data), slow(&data));
            let (head, tail) = data.split_at(split.index(data.len() + 1));
            let mut crc = Crc::new();
            crc.update(head);
            crc.update(tail);
            prop_assert_eq!(crc.value(), slow(&data));
            let joined = combine(crc32c(head), crc32c(tail), tail.len() as u64);
            prop_assert_eq!(joined, slow(&data));
        }
    }
}
