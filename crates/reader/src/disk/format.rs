//! The file of one cached chunk.
//!
//! ```text
//! data      the chunk as stored, `len` bytes
//! table     a CRC32C (u32 LE) of each 4 KiB of data, the last one shorter
//! trailer   "RIPCHUNK", volume u32, key u64, cookie u32, form u8, 3 zeros, len u64,
//!           CRC32C of the table and of the trailer up to here; all LE, 40 bytes
//! ```
//!
//! Data comes first, so that what is page-aligned in the chunk is page-aligned in the file.
//! Each block has its own checksum, so that a read of 4 KiB checks 4 KiB. The trailer repeats
//! what the name says: a file that was cut short, mixed up by the file system after a crash,
//! or renamed by somebody does not pass.

use bytes::{BufMut, BytesMut};
use seaweed::FileId;

use super::key::DiskKey;

/// Data under one checksum.
pub(super) const BLOCK: usize = 4096;
const MAGIC: &[u8; 8] = b"RIPCHUNK";
const TRAILER: usize = 40;

/// The size of the file for `len` bytes of data.
pub(super) fn file_size(len: u64) -> u64 {
    len + tail_size(len)
}

/// The size of what follows the data.
pub(super) fn tail_size(len: u64) -> u64 {
    4 * len.div_ceil(BLOCK as u64) + TRAILER as u64
}

/// What follows `data` in the file.
pub(super) fn tail(key: &DiskKey, data: &[u8]) -> BytesMut {
    let FileId {
        volume,
        key: id,
        cookie,
    } = key.needle;
    let mut tail = BytesMut::with_capacity(tail_size(data.len() as u64) as usize);
    for block in data.chunks(BLOCK) {
        tail.put_u32_le(crc(block));
    }
    tail.put_slice(MAGIC);
    tail.put_u32_le(volume);
    tail.put_u64_le(id);
    tail.put_u32_le(cookie);
    tail.put_slice(&[key.form.letter() as u8, 0, 0, 0]);
    tail.put_u64_le(data.len() as u64);
    tail.put_u32_le(crc(&tail));
    tail
}

/// The checksums of a chunk's blocks.
#[derive(Debug)]
pub(super) struct Table(Box<[u32]>);

impl Table {
    /// Reads the tail of a file that should hold `len` bytes of `key`; `None` if it does not.
    pub(super) fn parse(key: &DiskKey, len: u64, tail: &[u8]) -> Option<Self> {
        if tail.len() as u64 != tail_size(len) {
            return None;
        }
        let (head, sum) = tail.split_last_chunk::<4>()?;
        let (table, trailer) = head.split_at(head.len().checked_sub(TRAILER - 4)?);
        let mut expected = BytesMut::with_capacity(TRAILER);
        expected.put_slice(MAGIC);
        expected.put_u32_le(key.needle.volume);
        expected.put_u64_le(key.needle.key);
        expected.put_u32_le(key.needle.cookie);
        expected.put_slice(&[key.form.letter() as u8, 0, 0, 0]);
        expected.put_u64_le(len);
        if trailer != &expected[..] || crc(head) != u32::from_le_bytes(*sum) {
            return None;
        }
        let (sums, _) = table.as_chunks::<4>();
        Some(Self(
            sums.iter().map(|sum| u32::from_le_bytes(*sum)).collect(),
        ))
    }

    /// Whether `data`, which starts at block number `first`, is what was written.
    /// It ends at a block's end or at the end of the chunk.
    pub(super) fn verify(&self, first: usize, data: &[u8]) -> bool {
        let mut sums = self.0[first.min(self.0.len())..].iter();
        data.chunks(BLOCK)
            .all(|block| sums.next() == Some(&crc(block)))
    }
}

fn crc(data: &[u8]) -> u32 {
    seaweed::crc::crc32c(data)
}

#[cfg(test)]
mod tests {
    use super::super::key::Form;
    use super::*;

    fn key() -> DiskKey {
        DiskKey {
            needle: FileId {
                volume: 1,
                key: 2,
                cookie: 3,
            },
            form: Form::Plain,
        }
    }

    #[test]
    fn what_is_written_is_recognised_and_what_is_not_is_refused() {
        for len in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 10 * BLOCK + 77] {
            let data: Vec<u8> = (0..len).map(|at| (at * 7 % 251) as u8).collect();
            let tail = tail(&key(), &data);
            assert_eq!(tail.len() as u64, tail_size(len as u64));
            let table = Table::parse(&key(), len as u64, &tail).unwrap();
            assert!(table.verify(0, &data));
            for bit in 0..tail.len() * 8 {
                let mut bad = tail.to_vec();
                bad[bit / 8] ^= 1 << (bit % 8);
                assert!(Table::parse(&key(), len as u64, &bad).is_none(), "{bit}");
            }
            let mut other = key();
            other.needle.cookie = 4;
            assert!(Table::parse(&other, len as u64, &tail).is_none());
            other = key();
            other.form = Form::Opaque;
            assert!(Table::parse(&other, len as u64, &tail).is_none());
            assert!(Table::parse(&key(), len as u64, &tail[1..]).is_none());
            assert!(Table::parse(&key(), len as u64 + 1, &tail).is_none());
        }
    }

    #[test]
    fn blocks_are_verified_each_by_itself() {
        let data: Vec<u8> = (0..3 * BLOCK + 5).map(|at| (at % 253) as u8).collect();
        let table = Table::parse(&key(), data.len() as u64, &tail(&key(), &data)).unwrap();
        assert!(table.verify(1, &data[BLOCK..3 * BLOCK]));
        assert!(table.verify(3, &data[3 * BLOCK..]));
        assert!(!table.verify(0, &data[BLOCK..2 * BLOCK]));
        assert!(!table.verify(3, &data[3 * BLOCK..][..4]));
        assert!(!table.verify(4, &data[..1]));
        let mut bad = data.clone();
        bad[2 * BLOCK] ^= 1;
        assert!(table.verify(0, &bad[..2 * BLOCK]));
        assert!(!table.verify(2, &bad[2 * BLOCK..3 * BLOCK]));
    }
}
