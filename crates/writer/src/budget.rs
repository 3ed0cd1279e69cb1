//! How much memory written bytes may take, over all files of a mount.
//!
//! A write first gets a [`Grant`] of its own length, and waits while there is
//! none. The [`Buffer`] that it copies into accounts for what it really takes,
//! room for growth included, without waiting: the sum may exceed the limit by
//! one block for each write that is under way, not more. Memory counts until
//! the last reader of it is gone, and for as long as it is kept to be used again.

use std::sync::Arc;
use std::time::Duration;

use ledger::Account;
use parking_lot::{Condvar, Mutex};

/// Buffers of a whole block that are kept to be used again: fresh memory costs a page fault
/// every 4 KiB.
const SPARE_MAX: usize = 16;

/// Memory of a mount's writers.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    block: usize,
    /// What the mount's ledger knows of this, and how much of the limit it leaves now.
    account: Account,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Without what is spare.
    held: usize,
    spare: Vec<Vec<u8>>,
}

impl Budget {
    /// `limit` bytes, and what `account` may have, in buffers of up to `block` bytes.
    pub(crate) fn new(limit: usize, block: usize, account: Account) -> Self {
        Self {
            limit,
            block,
            account,
            state: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Bytes in use.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().held
    }

    /// The most that should be in use; less while memory is short.
    pub(crate) fn limit(&self) -> usize {
        self.limit.min(self.account.limit())
    }

    /// Somebody begins to wait for memory.
    pub(crate) fn count_wait(&self) {
        self.account.count_wait();
    }

    /// Gives back what is only kept for later, if more is held than should be.
    pub(crate) fn fit(&self) {
        if !self.account.is_over() {
            return;
        }
        let spare = std::mem::take(&mut self.state.lock().spare);
        let bytes = spare.iter().map(Vec::capacity).sum();
        drop(spare);
        self.account.give(bytes);
    }

    /// Leave to take `bytes`. Always given when nothing is in use, however much it is.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Grant> {
        let mut state = self.state.lock();
        if state.held == 0 {
            self.account.take(bytes);
        } else if state.held.saturating_add(bytes) > self.limit()
            || !(self.account.try_take(bytes) || self.take_spare(&mut state, bytes))
        {
            return None;
        }
        state.held += bytes;
        Some(Grant {
            budget: Arc::clone(self),
            bytes,
        })
    }

    /// The same at the expense of what is kept for later.
    fn take_spare(&self, state: &mut State, bytes: usize) -> bool {
        while let Some(spare) = state.spare.pop() {
            self.account.give(spare.capacity());
            drop(spare);
            if self.account.try_take(bytes) {
                return true;
            }
        }
        false
    }

    /// Waits until something is given back, at most for `pause`.
    pub(crate) fn wait(&self, pause: Duration) {
        let mut state = self.state.lock();
        self.freed.wait_for(&mut state, pause);
    }

    /// An empty buffer with room for `capacity` bytes.
    pub(crate) fn buffer(self: &Arc<Self>, capacity: usize) -> Buffer {
        let mut state = self.state.lock();
        let spare = match capacity == self.block {
            true => state.spare.pop(),
            false => None,
        };
        let data = match spare {
            Some(spare) => spare,
            None => {
                let data = Vec::with_capacity(capacity);
                self.account.take(data.capacity());
                data
            }
        };
        let charged = data.capacity();
        state.held += charged;
        Buffer {
            data,
            charged,
            budget: Arc::clone(self),
        }
    }

    fn give_back(&self, bytes: usize) {
        self.state.lock().held -= bytes;
        self.account.give(bytes);
        self.freed.notify_all();
    }
}

/// Leave to take some memory.
#[derive(Debug)]
pub(crate) struct Grant {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Grant {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// Bytes that count.
#[derive(Debug)]
pub(crate) struct Buffer {
    data: Vec<u8>,
    charged: usize,
    budget: Arc<Budget>,
}

impl Buffer {
    /// Appends `bytes`; the whole will never be longer than `most`.
    pub(crate) fn extend(&mut self, bytes: &[u8], most: usize) {
        let len = self.data.len() + bytes.len();
        if len > self.data.capacity() {
            let capacity = (self.data.capacity() * 2).min(most).max(len);
            self.data.reserve_exact(capacity - self.data.len());
            let grown = self.data.capacity() - self.charged;
            self.charged += grown;
            self.budget.account.take(grown);
            self.budget.state.lock().held += grown;
        }
        self.data.extend_from_slice(bytes);
    }

    /// Shortens it.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.data.truncate(len);
    }
}

impl std::ops::Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data
    }
}

impl std::ops::DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.data
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.data
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut data = std::mem::take(&mut self.data);
        let mut state = self.budget.state.lock();
        state.held -= self.charged;
        let keep = data.capacity() == self.budget.block
            && state.spare.len() < SPARE_MAX
            && !self.budget.account.is_over();
        if keep {
            data.clear();
            state.spare.push(data);
        } else {
            self.budget.account.give(self.charged);
        }
        drop(state);
        self.budget.freed.notify_all();
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let spare = &self.state.get_mut().spare;
        self.account.give(spare.iter().map(Vec::capacity).sum());
    }
}

#[cfg(test)]
mod tests {
    use ledger::{Holder, Ledger, Share};

    use super::*;

    #[test]
    fn the_ledger_counts_spare_blocks_too_and_refuses_by_its_ceiling() {
        let ledger = Ledger::new(300, 0, |_| Share {
            most: 1000,
            least: 0,
        });
        let account = ledger.account(Holder::Writes).clone();
        let budget = Arc::new(Budget::new(1000, 64, account.clone()));
        drop(budget.buffer(64));
        assert_eq!((budget.held(), account.held()), (0, 64));
        let held = budget.buffer(64);
        drop(budget.buffer(64));
        assert_eq!((budget.held(), account.held()), (64, 128));
        let reads = ledger.account(Holder::Reads).weigh(150);
        assert!(budget.try_take(200).is_none(), "150 and 64 are in use");
        let grant = budget.try_take(80).unwrap();
        assert_eq!(account.held(), 144, "the spare block made way");
        let names = ledger.account(Holder::Metadata).weigh(100);
        drop((grant, held));
        assert_eq!(account.held(), 0, "nothing is kept while memory is short");
        drop((reads, names, budget));
        assert_eq!(ledger.used(), 0);
    }

    #[test]
    fn what_is_dropped_is_free_again() {
        let budget = Arc::new(Budget::new(100, 64, Account::unlimited()));
        let grant = budget.try_take(60).unwrap();
        assert!(budget.try_take(60).is_none());
        let mut buffer = budget.buffer(10);
        buffer.extend(&[1; 30], 64);
        assert!(budget.held() >= 90, "{}", budget.held());
        drop(grant);
        drop(buffer);
        assert_eq!(budget.held(), 0);
        assert!(budget.try_take(1000).is_some(), "alone, anything fits");
    }

    #[test]
    fn whole_blocks_are_used_again() {
        let budget = Arc::new(Budget::new(1000, 64, Account::unlimited()));
        let mut first = budget.buffer(64);
        first.extend(&[7; 64], 64);
        let place = first.as_ptr();
        drop(first);
        let second = budget.buffer(64);
        assert!(second.is_empty());
        assert_eq!(second.as_ptr(), place);
    }
}
