//! How much memory written bytes may take, over all files of a mount.
//!
//! A write first gets a [`Grant`] of its own length, and waits while there is
//! none. The [`Buffer`] that it copies into accounts for what it really takes,
//! room for growth included, without waiting: the sum may exceed the limit by
//! one block for each write that is under way, not more. Memory counts until
//! the last reader of it is gone.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Buffers of a whole block that are kept to be used again: fresh memory costs a page fault
/// every 4 KiB.
const SPARE_MAX: usize = 16;

/// Memory of a mount's writers.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    block: usize,
    state: Mutex<State>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    spare: Vec<Vec<u8>>,
}

impl Budget {
    /// `limit` bytes, in buffers of up to `block` bytes.
    pub(crate) fn new(limit: usize, block: usize) -> Self {
        Self {
            limit,
            block,
            state: Mutex::default(),
            freed: Condvar::new(),
        }
    }

    /// Bytes in use.
    pub(crate) fn held(&self) -> usize {
        self.state.lock().held
    }

    /// The most that should be in use.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Leave to take `bytes`. Always given when nothing is in use, however much it is.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Grant> {
        let mut state = self.state.lock();
        if state.held > 0 && state.held.saturating_add(bytes) > self.limit {
            return None;
        }
        state.held += bytes;
        Some(Grant {
            budget: Arc::clone(self),
            bytes,
        })
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
        let data = spare.unwrap_or_else(|| Vec::with_capacity(capacity));
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
        if data.capacity() == self.budget.block && state.spare.len() < SPARE_MAX {
            data.clear();
            state.spare.push(data);
        }
        drop(state);
        self.budget.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_free_again() {
        let budget = Arc::new(Budget::new(100, 64));
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
        let budget = Arc::new(Budget::new(1000, 64));
        let mut first = budget.buffer(64);
        first.extend(&[7; 64], 64);
        let place = first.as_ptr();
        drop(first);
        let second = budget.buffer(64);
        assert!(second.is_empty());
        assert_eq!(second.as_ptr(), place);
    }
}
