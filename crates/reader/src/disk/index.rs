//! Which chunks are on disk, and which goes next.
//!
//! A CLOCK over the chunks, weighted by their files' sizes: a chunk that was read since the
//! hand passed it last gets another round.

use std::collections::{HashMap, VecDeque};

use super::format::file_size;
use super::key::DiskKey;

/// The files of one cache directory.
#[derive(Debug, Default)]
pub(super) struct Index {
    chunks: HashMap<DiskKey, Slot>,
    /// In order of the clock's hand. A key whose chunk was removed is skipped.
    clock: VecDeque<(DiskKey, u64)>,
    bytes: u64,
}

#[derive(Debug)]
struct Slot {
    len: u64,
    used: bool,
    /// Tells the clock's entry for this chunk from one of an earlier life.
    life: u64,
}

impl Index {
    /// Length of the chunk's data, counted as a use of it.
    pub(super) fn touch(&mut self, key: &DiskKey) -> Option<u64> {
        let slot = self.chunks.get_mut(key)?;
        slot.used = true;
        Some(slot.len)
    }

    pub(super) fn contains(&self, key: &DiskKey) -> bool {
        self.chunks.contains_key(key)
    }

    /// Adds a chunk; false, and nothing changed, when it is there already.
    pub(super) fn insert(&mut self, key: DiskKey, len: u64) -> bool {
        if self.chunks.contains_key(&key) {
            return false;
        }
        let life = self.clock.back().map_or(0, |(_, life)| life + 1);
        let slot = Slot {
            len,
            used: false,
            life,
        };
        self.chunks.insert(key, slot);
        self.clock.push_back((key, life));
        self.bytes += footprint(len);
        true
    }

    /// Forgets a chunk; its length if it was there.
    pub(super) fn remove(&mut self, key: &DiskKey) -> Option<u64> {
        let slot = self.chunks.remove(key)?;
        self.bytes -= footprint(slot.len);
        Some(slot.len)
    }

    /// Forgets the chunk whose turn it is, for the caller to delete.
    pub(super) fn evict(&mut self) -> Option<(DiskKey, u64)> {
        loop {
            let (key, life) = self.clock.pop_front()?;
            let next = self.clock.back().map_or(life, |(_, life)| *life) + 1;
            let Some(slot) = self.chunks.get_mut(&key).filter(|slot| slot.life == life) else {
                continue;
            };
            if slot.used {
                slot.used = false;
                slot.life = next;
                self.clock.push_back((key, next));
                continue;
            }
            return self.remove(&key).map(|len| (key, len));
        }
    }

    /// Every chunk, with the length of its data.
    pub(super) fn all(&self) -> Vec<(DiskKey, u64)> {
        self.chunks
            .iter()
            .map(|(key, slot)| (*key, slot.len))
            .collect()
    }

    /// Bytes of disk that all files occupy.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Bytes of disk that a chunk's file occupies: whole blocks of the file system.
pub(super) fn footprint(len: u64) -> u64 {
    file_size(len).next_multiple_of(4096)
}

#[cfg(test)]
mod tests {
    use super::super::key::Form;
    use super::*;
    use seaweed::FileId;

    fn key(n: u64) -> DiskKey {
        DiskKey {
            needle: FileId {
                volume: 1,
                key: n,
                cookie: 1,
            },
            form: Form::Plain,
        }
    }

    #[test]
    fn what_is_used_stays_a_round_longer() {
        let mut index = Index::default();
        for n in 0..4 {
            assert!(index.insert(key(n), 100));
            assert!(!index.insert(key(n), 200));
        }
        assert_eq!(index.touch(&key(0)), Some(100));
        let order: Vec<_> = std::iter::from_fn(|| index.evict())
            .map(|(key, _)| key.needle.key)
            .collect();
        assert_eq!(order, [1, 2, 3, 0]);
        assert_eq!(index.bytes(), 0);
    }

    #[test]
    fn a_chunk_that_was_removed_and_came_back_has_one_life() {
        let mut index = Index::default();
        for _ in 0..3 {
            index.insert(key(1), 5000);
            assert_eq!(index.remove(&key(1)), Some(5000));
        }
        index.insert(key(2), 10);
        index.insert(key(1), 5000);
        assert_eq!(index.bytes(), 4096 + 8192);
        assert_eq!(index.evict(), Some((key(2), 10)));
        assert_eq!(index.evict(), Some((key(1), 5000)));
        assert_eq!(index.evict(), None);
    }
}
