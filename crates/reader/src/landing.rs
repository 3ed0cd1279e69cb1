//! Where stored bytes land when only the server knows how many there are.

use bytes::Bytes;
use fabric::memory::Block;
use fabric::{Destination, Refused};

use seaweed::Chunk;
use seaweed::cipher::OVERHEAD;

use crate::memory::Memory;
use crate::pool::{Buffer, Charge};

/// Memory beyond the ceiling. Counted, so that others see that it is gone.
pub(crate) struct Extra<'a>(&'a Memory);

impl<'a> Extra<'a> {
    pub(crate) fn of(memory: &'a Memory) -> Self {
        Self(memory)
    }

    /// Counts `len` bytes, be there room for them or not.
    pub(crate) fn charge(&self, len: usize) -> Charge {
        let mut charge = self.0.empty_charge();
        charge.set_len(len);
        charge
    }
}

/// Memory for stored bytes, taken when their number is known.
pub(crate) struct Landing<'a> {
    memory: &'a Memory,
    limit: u64,
    likely: Option<u64>,
    extra: Option<&'a Extra<'a>>,
    bytes: Option<Landed>,
    starved: bool,
}

enum Landed {
    Pooled(Buffer),
    Extra(Vec<u8>, Charge),
    Adopted(Block, Charge),
}

impl<'a> Landing<'a> {
    /// Takes at most `limit` bytes, from `extra` if given.
    pub(crate) fn new(memory: &'a Memory, limit: u64, extra: Option<&'a Extra<'a>>) -> Self {
        Self {
            memory,
            limit,
            likely: None,
            extra,
            bytes: None,
            starved: false,
        }
    }

    /// Expects the stored bytes of `chunk`.
    pub(crate) fn expecting(mut self, chunk: &Chunk) -> Self {
        let sealed = match chunk.cipher_key {
            Some(_) => OVERHEAD as u64,
            None => 0,
        };
        // A manifest has the size of the file behind it, or none.
        let known = chunk.size > 0 && !chunk.is_manifest;
        self.likely = known.then(|| chunk.size.saturating_add(sealed).min(self.limit));
        self
    }

    /// Whether the last refusal was for want of memory.
    pub(crate) fn starved(&self) -> bool {
        self.starved
    }

    /// The first `len` bytes of the memory that was given last.
    pub(crate) fn finish(&mut self, len: usize) -> Bytes {
        match self.bytes.take() {
            Some(Landed::Pooled(mut buffer)) => {
                buffer.set_len(len);
                buffer.freeze()
            }
            Some(Landed::Extra(bytes, charge)) => charge.cover(Bytes::from(bytes).slice(..len)),
            Some(Landed::Adopted(block, charge)) => {
                debug_assert_eq!(block.len(), len, "a block holds the data and nothing else");
                charge.cover(block)
            }
            None => Bytes::new(),
        }
    }
}

impl Destination for Landing<'_> {
    fn memory(&mut self, len: u64) -> Result<&mut [u8], Refused> {
        if len > self.limit {
            return Err(Refused);
        }
        let len = len as usize; // at most the limit, itself a usize
        // A second attempt gets the memory of the first, if that is enough.
        let fits = match &self.bytes {
            Some(Landed::Pooled(buffer)) => buffer.capacity() >= len,
            Some(Landed::Extra(bytes, _)) => bytes.len() == len,
            Some(Landed::Adopted(..)) | None => false,
        };
        if !fits {
            self.bytes = None;
            let taken = match self.extra {
                Some(extra) => Some(Landed::Extra(vec![0; len], extra.charge(len))),
                None => self.memory.take(len).map(Landed::Pooled),
            };
            self.starved = taken.is_none();
            self.bytes = taken;
        }
        match &mut self.bytes {
            Some(Landed::Pooled(buffer)) => {
                buffer.set_len(len);
                Ok(buffer.as_mut_slice())
            }
            Some(Landed::Extra(bytes, _)) => Ok(bytes),
            Some(Landed::Adopted(..)) | None => Err(Refused),
        }
    }

    fn likely(&self) -> Option<u64> {
        self.likely
    }

    /// What counts is what the block keeps from others, which may be more than it holds.
    fn adopt(&mut self, block: Block) -> Result<(), Block> {
        if block.len() as u64 > self.limit {
            return Err(block);
        }
        // What an earlier attempt was given must not be counted beside it.
        self.bytes = None;
        let charge = match self.extra {
            Some(extra) => Some(extra.charge(block.capacity())),
            None => self.memory.adopt(block.capacity()),
        };
        match charge {
            Some(charge) => {
                self.bytes = Some(Landed::Adopted(block, charge));
                Ok(())
            }
            None => Err(block),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fabric::memory::{Arena, ArenaConfig};
    use seaweed::{CipherKey, FileId};

    use super::*;

    fn arena() -> Arena {
        Arena::new(ArenaConfig {
            size: 4 << 20,
            keep: 0,
            quarantine: 1 << 20,
            reserved_pages: false,
        })
        .unwrap()
    }

    fn filled(arena: &Arena, len: usize) -> Block {
        let mut block = arena.take(len).unwrap();
        block.fill(7);
        block
    }

    #[test]
    fn an_adopted_block_is_counted_as_long_as_its_bytes_live_and_not_copied() {
        let (arena, memory) = (
            arena(),
            Memory::new(64 << 10, ledger::Account::unlimited(), Arc::default()),
        );
        let block = filled(&arena, 5000);
        let at = block.as_ptr();
        let mut landing = Landing::new(&memory, 1 << 20, None);
        landing.memory(5000).unwrap();
        landing.adopt(block).unwrap();
        let bytes = landing.finish(5000);
        assert_eq!((bytes.as_ptr(), &bytes[..]), (at, &[7; 5000][..]));
        assert_eq!(arena.stats().blocks.get(), 8192);
        let tail = bytes.slice(4999..);
        drop(bytes);
        assert!(memory.charge(57 << 10).is_none(), "8 KiB of 64 are taken");
        drop(tail);
        assert!(memory.charge(57 << 10).is_some());
        assert_eq!(arena.stats().blocks.get(), 0, "the arena has it back");
    }

    #[test]
    fn a_block_beyond_the_limit_or_the_memory_is_given_back_as_it_was() {
        let (arena, memory) = (
            arena(),
            Memory::new(64 << 10, ledger::Account::unlimited(), Arc::default()),
        );
        let mut narrow = Landing::new(&memory, 4999, None);
        assert_eq!(narrow.adopt(filled(&arena, 5000)).unwrap_err().len(), 5000);
        let mut landing = Landing::new(&memory, 1 << 20, None);
        let block = landing.adopt(filled(&arena, 100_000)).unwrap_err();
        assert!(block.iter().all(|byte| *byte == 7));
        assert!(landing.memory(100_000).is_err() && landing.starved());
        // Beyond the ceiling there is always room for it.
        let extra = Extra::of(&memory);
        let mut beyond = Landing::new(&memory, 1 << 20, Some(&extra));
        beyond.adopt(block).unwrap();
        let bytes = beyond.finish(100_000);
        assert!(memory.charge(1).is_none());
        drop(bytes);
        assert!(memory.charge(64 << 10).is_some());
    }

    #[test]
    fn the_stored_length_is_guessed_from_the_entry() {
        let memory = Memory::new(64 << 10, ledger::Account::unlimited(), Arc::default());
        let likely = |size, cipher_key, is_manifest| {
            let chunk = Chunk {
                file_id: FileId {
                    volume: 1,
                    key: 2,
                    cookie: 3,
                },
                offset: 0,
                size,
                modified_ts_ns: 1,
                cipher_key,
                is_compressed: false,
                is_manifest,
                sse: false,
                e_tag: "".into(),
            };
            Landing::new(&memory, 5000, None).expecting(&chunk).likely()
        };
        let key = Some(CipherKey::new([1; 32]));
        assert_eq!(likely(100, None, false), Some(100));
        assert_eq!(likely(100, key, false), Some(128));
        assert_eq!(likely(u64::MAX, None, false), Some(5000));
        assert_eq!(likely(100, None, true), None);
        assert_eq!(likely(0, None, false), None);
    }
}
