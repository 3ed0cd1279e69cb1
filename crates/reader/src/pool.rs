//! All memory that file data occupies, under one ceiling.
//!
//! Whatever the reader holds, a cached piece, a piece on its way in, a piece a handle keeps
//! for its next read, is a [`Buffer`] or a [`Charge`] of one [`Pool`]; the pool counts bytes
//! from the moment they are taken from the system until they are given back, blocks waiting
//! for their next use included, and never counts past its limit. Nobody has to add up shares:
//! who wants memory asks, and is refused when there is none (see [`Memory`](crate::memory)).
//!
//! Blocks are recycled without being cleared: a buffer shows only the bytes its owner wrote.

mod classes;
mod mapping;

use std::sync::Arc;

use bytes::Bytes;
use ledger::Account;
use parking_lot::Mutex;

use classes::{CLASSES, class_of, is_mapped};
use mapping::Mapping;

/// Counts and recycles memory.
#[derive(Debug)]
pub(crate) struct Pool {
    limit: usize,
    /// What the mount's ledger knows of this, and how much of the limit it leaves now.
    account: Account,
    /// Bytes of free blocks worth keeping: more would only be taken from the caches.
    keep: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Bytes taken from the system or charged, free blocks included.
    held: usize,
    free_bytes: usize,
    free: [Vec<Block>; CLASSES],
}

impl Pool {
    /// A pool that never holds more than `limit` bytes, nor more than its account may.
    pub(crate) fn new(limit: usize, account: Account) -> Arc<Self> {
        Arc::new(Self {
            limit,
            account,
            keep: limit / 4,
            state: Mutex::new(State {
                held: 0,
                free_bytes: 0,
                free: [const { Vec::new() }; CLASSES],
            }),
        })
    }

    /// The ceiling, in bytes; while memory is short it is lower.
    pub(crate) fn limit(&self) -> usize {
        self.limit.min(self.account.limit())
    }

    /// What the mount's ledger says.
    pub(crate) fn account(&self) -> &Account {
        &self.account
    }

    /// Bytes held now, free blocks included.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().held
    }

    /// Bytes held now, without free blocks.
    pub(crate) fn in_use(&self) -> usize {
        let state = self.state.lock();
        state.held - state.free_bytes
    }

    /// Whether a buffer of `len` bytes would be a recycled one, one of the first `within` bytes, or
    /// so small that it comes from the allocator, which recycles by itself.
    pub(crate) fn is_cheap(&self, len: usize, within: usize) -> bool {
        let Some((class, size)) = class_of(len) else {
            return true;
        };
        let state = self.state.lock();
        !is_mapped(size) || !state.free[class].is_empty() || state.held + size <= within
    }

    /// A buffer of `len` bytes, unless that would break the ceiling (or the system has none).
    /// Its content is unspecified.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Option<Buffer> {
        let (class, size) = class_of(len)?;
        let block = {
            let mut state = self.state.lock();
            match state.free[class].pop() {
                Some(block) => {
                    state.free_bytes -= size;
                    Some(block)
                }
                None => {
                    state.reserve(size, self.limit(), &self.account)?;
                    None
                }
            }
        };
        let block = match block {
            Some(block) => block,
            None => match Block::new(size) {
                Ok(block) => block,
                Err(_) => {
                    self.state.lock().release(size, &self.account);
                    return None;
                }
            },
        };
        Some(Buffer {
            block: Some(block),
            len,
            pool: Arc::clone(self),
        })
    }

    /// Counts `len` bytes that somebody else allocates, unless that would break the ceiling.
    pub(crate) fn charge(self: &Arc<Self>, len: usize) -> Option<Charge> {
        self.state
            .lock()
            .reserve(len, self.limit(), &self.account)?;
        Some(Charge {
            len,
            pool: Arc::clone(self),
        })
    }

    /// A charge of nothing.
    pub(crate) fn empty_charge(self: &Arc<Self>) -> Charge {
        Charge {
            len: 0,
            pool: Arc::clone(self),
        }
    }

    /// Gives free blocks back to the system as far as more is held than may be.
    pub(crate) fn fit(&self) {
        let limit = self.limit();
        self.state.lock().drop_free(limit, &self.account);
    }

    fn give_back(&self, block: Block) {
        let size = block.as_slice().len();
        let mut state = self.state.lock();
        match class_of(size) {
            Some((class, _))
                if state.free_bytes + size <= self.keep && state.held <= self.limit() =>
            {
                state.free_bytes += size;
                state.free[class].push(block);
            }
            _ => {
                state.release(size, &self.account);
                drop(state);
                drop(block);
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.state.get_mut().drop_free(0, &self.account);
    }
}

impl State {
    /// Makes room for `size` more bytes, at the expense of free blocks.
    fn reserve(&mut self, size: usize, limit: usize, account: &Account) -> Option<()> {
        if (self.held - self.free_bytes).checked_add(size)? > limit {
            return None;
        }
        // Free blocks suffice, as was just seen.
        self.drop_free(limit.saturating_sub(size), account);
        if !account.try_take(size) {
            // Others have the memory: at least none of it waits here.
            self.drop_free(0, account);
            if !account.try_take(size) {
                return None;
            }
        }
        self.held += size;
        Some(())
    }

    /// Gives free blocks back until no more than `most` bytes are held; the largest go first.
    fn drop_free(&mut self, most: usize, account: &Account) {
        for class in (0..CLASSES).rev() {
            while self.held > most
                && let Some(block) = self.free[class].pop()
            {
                let size = block.as_slice().len();
                self.free_bytes -= size;
                self.release(size, account);
            }
        }
    }

    fn release(&mut self, size: usize, account: &Account) {
        self.held -= size;
        account.give(size);
    }
}

/// Memory to be filled, then frozen.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// `None` only while being dropped.
    block: Option<Block>,
    len: usize,
    pool: Arc<Pool>,
}

impl Buffer {
    /// How many bytes it could be extended to.
    pub(crate) fn capacity(&self) -> usize {
        self.block
            .as_ref()
            .map_or(0, |block| block.as_slice().len())
    }

    /// Shows `len` bytes, at most its capacity. Bytes shown anew have unspecified content.
    pub(crate) fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "a buffer cannot outgrow its block");
        self.len = len;
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.block {
            Some(block) => &mut block.as_mut_slice()[..self.len],
            None => &mut [],
        }
    }

    /// Shares it from now on; the block returns to the pool with the last share.
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        match &self.block {
            Some(block) => &block.as_slice()[..self.len],
            None => &[],
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.pool.give_back(block);
        }
    }
}

/// Bytes counted by a pool that did not allocate them.
#[derive(Debug)]
pub(crate) struct Charge {
    len: usize,
    pool: Arc<Pool>,
}

impl Charge {
    /// Counts `len` bytes instead, be there room for them or not.
    pub(crate) fn set_len(&mut self, len: usize) {
        let mut state = self.pool.state.lock();
        state.release(self.len, &self.pool.account);
        state.held += len;
        self.pool.account.take(len);
        self.len = len;
    }

    /// Ties the charge to the bytes it stands for.
    pub(crate) fn cover(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Charged {
            bytes,
            _charge: self,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        let mut state = self.pool.state.lock();
        state.release(self.len, &self.pool.account);
    }
}

/// Dropped in this order: bytes are counted for as long as they are there.
struct Charged<T> {
    bytes: T,
    _charge: Charge,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Charged<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

/// Initialised memory of exactly a class's size.
#[derive(Debug)]
enum Block {
    Allocated(Box<[u8]>),
    Mapped(Mapping),
}

impl Block {
    fn new(size: usize) -> std::io::Result<Self> {
        if is_mapped(size) {
            Mapping::new(size).map(Self::Mapped)
        } else {
            Ok(Self::Allocated(vec![0; size].into_boxed_slice()))
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Allocated(bytes) => bytes,
            Self::Mapped(mapping) => mapping.as_slice(),
        }
    }

    fn as_mut_slice(&mut self) -> &mut [u8] {
        match self {
            Self::Allocated(bytes) => bytes,
            Self::Mapped(mapping) => mapping.as_mut_slice(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_recycled_and_counted_until_it_is_given_to_the_system() {
        let pool = Pool::new(1 << 20, Account::unlimited());
        let first = pool.take(100 << 10).unwrap();
        let at = first.as_ref().as_ptr();
        assert_eq!(pool.held(), 112 << 10);
        drop(first);
        assert_eq!(pool.held(), 112 << 10, "kept for the next");
        let second = pool.take(110 << 10).unwrap();
        assert_eq!(second.as_ref().as_ptr(), at);
        assert_eq!(second.as_ref().len(), 110 << 10);
        assert_eq!(pool.held(), 112 << 10);
    }

    #[test]
    fn the_ceiling_holds_and_free_blocks_make_way_for_other_sizes() {
        let pool = Pool::new(64 << 10, Account::unlimited());
        let small: Vec<_> = (0..16).map(|_| pool.take(4096).unwrap()).collect();
        assert!(pool.take(512).is_none());
        assert!(pool.charge(1).is_none());
        drop(small);
        assert_eq!(pool.held(), 16 << 10, "a quarter is kept");
        let large = pool.take(64 << 10).unwrap();
        assert_eq!(pool.held(), 64 << 10);
        drop(large);
        assert_eq!(pool.held(), 0, "too large to be kept");
    }

    #[test]
    fn shares_of_a_frozen_buffer_keep_its_block() {
        let pool = Pool::new(64 << 10, Account::unlimited());
        let mut buffer = pool.take(8192).unwrap();
        buffer.as_mut_slice().fill(5);
        buffer.set_len(5000);
        let bytes = buffer.freeze();
        let tail = bytes.slice(4990..);
        drop(bytes);
        assert_eq!(tail.as_ref(), [5; 10]);
        let other = pool.take(8192).unwrap();
        assert_ne!(
            other.as_ref().as_ptr() as usize,
            tail.as_ptr() as usize - 4990
        );
        assert_eq!(pool.held(), 16 << 10);
    }

    #[test]
    fn what_the_ledger_refuses_is_refused_here() {
        let ledger = ledger::Ledger::new(48 << 10, 0, |_| ledger::Share {
            most: 64 << 10,
            least: 16 << 10,
        });
        let account = ledger.account(ledger::Holder::Reads).clone();
        let pool = Pool::new(1 << 20, account.clone());
        let blocks: Vec<_> = (0..4).map(|_| pool.take(8192).unwrap()).collect();
        assert_eq!((pool.held(), account.held()), (32 << 10, 32 << 10));
        let metadata = ledger.account(ledger::Holder::Metadata).weigh(12 << 10);
        assert!(pool.take(8192).is_none(), "the ceiling");
        drop(blocks);
        // What is free in another size makes way.
        assert!(pool.take(20 << 10).is_some());
        assert_eq!(pool.held(), account.held());
        for _ in 0..5 {
            ledger.observe(&ledger::Look {
                resident: 1 << 20,
                ..Default::default()
            });
        }
        pool.fit();
        assert!(pool.limit() == 16 << 10 && pool.held() <= 16 << 10);
        drop(metadata);
        drop(pool);
        assert_eq!(account.held(), 0);
    }

    #[test]
    fn a_charge_lives_as_long_as_its_bytes() {
        let pool = Pool::new(1000, Account::unlimited());
        let bytes = pool.charge(900).unwrap().cover(Bytes::from(vec![1; 900]));
        let share = bytes.slice(1..2);
        drop(bytes);
        assert!(pool.charge(200).is_none());
        drop(share);
        assert!(pool.charge(200).is_some());
    }
}
