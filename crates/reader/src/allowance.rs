//! Bounds what is kept for the sake of future reads.
//!
//! Pieces that handles hold on to, and those on their way to them, cannot be dropped for others.
//! So there is a limit to them, counted before anything is fetched: who gets no permit does
//! without, and a read that somebody waits for always finds memory that can be freed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::ReaderStats;

/// How much memory all handles together may pin.
#[derive(Debug)]
pub(crate) struct Allowance {
    limit: usize,
    used: AtomicUsize,
    stats: Arc<ReaderStats>,
}

/// Bytes of an allowance in use.
#[derive(Debug)]
pub(crate) struct Permit {
    len: usize,
    allowance: Arc<Allowance>,
}

impl Allowance {
    pub(crate) fn new(limit: usize, stats: Arc<ReaderStats>) -> Arc<Self> {
        Arc::new(Self {
            limit,
            used: AtomicUsize::new(0),
            stats,
        })
    }

    /// A permit for `len` bytes, if they are left.
    pub(crate) fn permit(self: &Arc<Self>, len: usize) -> Option<Permit> {
        let more = |used: usize| used.checked_add(len).filter(|sum| *sum <= self.limit);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Permit {
            len,
            allowance: Arc::clone(self),
        })
    }

    /// Bytes in use.
    #[cfg(test)]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

impl Permit {
    /// Where the fate of what was permitted is counted.
    pub(crate) fn stats(&self) -> &ReaderStats {
        &self.allowance.stats
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.allowance.used.fetch_sub(self.len, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_never_exceeded() {
        let allowance = Allowance::new(10, Arc::default());
        let first = allowance.permit(6).unwrap();
        assert!(allowance.permit(5).is_none());
        assert!(allowance.permit(usize::MAX).is_none());
        drop(first);
        assert!(allowance.permit(10).is_some());
    }
}
