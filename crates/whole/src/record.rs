//! What is written beside each file, and makes it believed.
//!
//! ```text
//! magic     "RIPFILE1"
//! key       32 bytes, the content
//! size      u64, length of the file
//! mtime     i64, nanoseconds since 1970: when its last byte was written here
//! name      u32 length, then the path it was brought in under
//! runs      u32 count, then for each: start u64, length u64, CRC32C u32 of its bytes
//! crc       u32, CRC32C of all above; everything little-endian
//! ```
//!
//! What no run covers is a hole. A record is believed when its checksum is right and it is that
//! of the file's name; the file, when its length and time are those of the record. Whoever writes
//! to it changes the time. Whether the bytes themselves are right costs reading them: that is done where a crash
//! could have left others (see [`store`](crate::store)), and on demand.

use std::ops::Range;

use seaweed::ContentKey;
use seaweed::crc::crc32c;

/// A run of data and its checksum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) range: Range<u64>,
    pub(crate) crc: u32,
}

/// What is known of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) key: ContentKey,
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    /// For people: the file may have been renamed since.
    pub(crate) name: String,
    /// In order, without overlaps, within the size.
    pub(crate) runs: Vec<Run>,
}

const MAGIC: &[u8; 8] = b"RIPFILE1";
/// Longer names are cut; `PATH_MAX` of Linux.
const NAME_MAX: usize = 4096;
/// A run is 4 MiB, or a chunk: this many are a file of 16 TiB.
const RUNS_MAX: usize = 4 << 20;
/// No record is larger.
pub(crate) const BYTES_MAX: u64 = 128 + NAME_MAX as u64 + 20 * RUNS_MAX as u64;

impl Record {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let name = cut(&self.name);
        let mut out = Vec::with_capacity(72 + name.len() + 20 * self.runs.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.size.to_le_bytes());
        out.extend_from_slice(&self.mtime_ns.to_le_bytes());
        out.extend_from_slice(&(name.len() as u32).to_le_bytes());
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(&(self.runs.len() as u32).to_le_bytes());
        for Run { range, crc } in &self.runs {
            out.extend_from_slice(&range.start.to_le_bytes());
            out.extend_from_slice(&(range.end - range.start).to_le_bytes());
            out.extend_from_slice(&crc.to_le_bytes());
        }
        let crc = crc32c(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` for what is no record, or not all of one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c(body) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut rest = Fields(body);
        if rest.take::<8>()? != *MAGIC {
            return None;
        }
        let key = ContentKey::from_bytes(rest.take()?);
        let size = rest.number()?;
        let mtime_ns = i64::from_le_bytes(rest.take()?);
        let len = rest.count()?;
        let name = rest.bytes(len)?;
        let count = rest.count()?;
        if rest.0.len() != count.checked_mul(20)? {
            return None;
        }
        let mut runs = Vec::with_capacity(count);
        let mut at = 0;
        for _ in 0..count {
            let (start, len) = (rest.number()?, rest.number()?);
            let end = start.checked_add(len)?;
            if start < at || len == 0 || end > size {
                return None;
            }
            at = end;
            let crc = u32::from_le_bytes(rest.take()?);
            runs.push(Run {
                range: start..end,
                crc,
            });
        }
        Some(Self {
            key,
            size,
            mtime_ns,
            name: String::from_utf8(name.to_vec()).ok()?,
            runs,
        })
    }
}

/// As much of a name as a record has room for.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(NAME_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// What is left to be read.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take()?))
    }

    fn count(&mut self) -> Option<usize> {
        Some(u32::from_le_bytes(self.take()?) as usize)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn records() -> impl Strategy<Value = Record> {
        let gaps = proptest::collection::vec((0u64..1000, 1u64..1000, any::<u32>()), 0..20);
        let numbers = (any::<[u8; 32]>(), any::<i64>(), 0u64..1000);
        (numbers, "[a-zä/]{0,40}", gaps).prop_map(|((key, mtime_ns, tail), name, gaps)| {
            let mut at = 0;
            let runs = gaps.into_iter().map(|(gap, len, crc)| {
                let start = at + gap;
                at = start + len;
                Run {
                    range: start..at,
                    crc,
                }
            });
            let runs: Vec<Run> = runs.collect();
            Record {
                key: ContentKey::from_bytes(key),
                size: at + tail,
                mtime_ns,
                name,
                runs,
            }
        })
    }

    proptest! {
        #[test]
        fn a_record_reads_as_written_and_no_part_or_other_of_it_does(
            record in records(), bit in any::<prop::sample::Index>(), end in any::<prop::sample::Index>(),
        ) {
            let bytes = record.encode();
            prop_assert_eq!(Record::parse(&bytes), Some(record));
            prop_assert_eq!(Record::parse(&bytes[..end.index(bytes.len())]), None);
            let mut bad = bytes.clone();
            let bit = bit.index(bad.len() * 8);
            bad[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(Record::parse(&bad), None);
        }

        #[test]
        fn garbage_is_no_record(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Record::parse(&bytes), None);
        }
    }

    #[test]
    fn a_name_is_cut_between_letters() {
        let name = format!("{}ää", "a".repeat(NAME_MAX - 1));
        assert_eq!(cut(&name).len(), NAME_MAX - 1);
    }
}
