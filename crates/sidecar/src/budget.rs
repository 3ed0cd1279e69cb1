//! How many bytes of needles may be in memory at a time: for HTTP, of what mounts write, and in the buffers
//! of RDMA, all together.
//!
//! Nobody waits for memory: who does not get it is told that the sidecar is busy, and goes to the
//! volume server, which is better than a queue that grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fabric::serve::Memory;

/// A number of bytes that can be lent. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    limit: u64,
    lent: Arc<AtomicU64>,
}

/// Bytes that were lent, given back when dropped.
#[derive(Debug)]
pub struct Loan {
    bytes: u64,
    lent: Arc<AtomicU64>,
}

impl Budget {
    /// With `limit` bytes.
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            lent: Arc::default(),
        }
    }

    /// Lends `bytes`, if there are as many.
    pub fn lend(&self, bytes: u64) -> Option<Loan> {
        self.take(bytes).then(|| Loan {
            bytes,
            lent: Arc::clone(&self.lent),
        })
    }

    /// Bytes lent now.
    pub fn lent(&self) -> u64 {
        self.lent.load(Ordering::Relaxed)
    }

    /// Bytes there are.
    pub fn limit(&self) -> u64 {
        self.limit
    }
}

impl Memory for Budget {
    fn take(&self, bytes: u64) -> bool {
        let fits = |lent: u64| lent.checked_add(bytes).filter(|sum| *sum <= self.limit);
        let lent = self
            .lent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits);
        lent.is_ok()
    }

    fn give_back(&self, bytes: u64) {
        self.lent.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.lent.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_lent_than_there_is_and_all_comes_back() {
        let budget = Budget::new(10);
        let first = budget.lend(6).unwrap();
        assert!(budget.lend(5).is_none() && budget.lend(u64::MAX).is_none());
        let second = budget.lend(4).unwrap();
        assert_eq!(budget.lent(), 10);
        drop(first);
        assert!(!budget.take(7) && budget.take(6));
        assert!(budget.lend(1).is_none());
        budget.give_back(6);
        assert!(budget.lend(6).is_some());
        drop(second);
        assert_eq!(budget.lent(), 0);
    }
}
