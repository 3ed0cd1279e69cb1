//! What the kernel has open.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use fuse::Errno;
use parking_lot::RwLock;

/// Numbers for open things. A number is never used twice, so a late request
/// with an old one cannot reach somebody else's handle.
#[derive(Debug)]
pub(crate) struct Handles<T> {
    open: RwLock<HashMap<u64, Arc<T>>>,
    next: AtomicU64,
}

impl<T> Handles<T> {
    pub(crate) fn new() -> Self {
        Self {
            open: RwLock::default(),
            next: AtomicU64::new(1),
        }
    }

    pub(crate) fn insert(&self, value: T) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.write().insert(number, Arc::new(value));
        number
    }

    pub(crate) fn find(&self, number: u64) -> Result<Arc<T>, Errno> {
        self.open.read().get(&number).cloned().ok_or(Errno::EBADF)
    }

    pub(crate) fn remove(&self, number: u64) -> Option<Arc<T>> {
        self.open.write().remove(&number)
    }

    pub(crate) fn len(&self) -> usize {
        self.open.read().len()
    }
}
