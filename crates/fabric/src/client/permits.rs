//! How many reads, or writes, may be under way at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is under way. Nobody waits for a permit: who gets none goes over HTTP.
#[derive(Debug)]
pub struct Permits {
    most: usize,
    taken: AtomicUsize,
}

impl Permits {
    /// So many permits.
    pub fn new(most: usize) -> Self {
        Self {
            most,
            taken: AtomicUsize::new(0),
        }
    }

    /// One of the permits, if there is one.
    pub fn take(self: &Arc<Self>) -> Option<Permit> {
        let next = |taken| (taken < self.most).then_some(taken + 1);
        let taken = self
            .taken
            .try_update(Ordering::Relaxed, Ordering::Relaxed, next);
        taken.ok().map(|_| Permit(self.clone()))
    }

    /// Permits taken now.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }
}

/// Given back when dropped.
#[derive(Debug)]
pub struct Permit(Arc<Permits>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
