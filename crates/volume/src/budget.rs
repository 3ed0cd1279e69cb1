//! How much may be open and in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::Reason;

/// Bytes that an entry of the index takes.
pub(crate) const ENTRY: u64 = 16;

/// What all volumes together may use.
#[derive(Debug)]
pub(crate) struct Budget {
    max_volumes: usize,
    max_index_bytes: u64,
    volumes: AtomicUsize,
    index_bytes: AtomicU64,
}

/// One volume's part of it, given back when dropped.
#[derive(Debug)]
pub(crate) struct Share {
    of: Arc<Budget>,
    bytes: AtomicU64,
}

impl Budget {
    pub(crate) fn new(max_volumes: usize, max_index_bytes: u64) -> Self {
        Self {
            max_volumes,
            max_index_bytes,
            volumes: AtomicUsize::new(0),
            index_bytes: AtomicU64::new(0),
        }
    }

    /// A part for a volume with an index of so many bytes.
    pub(crate) fn share(self: &Arc<Self>, bytes: u64) -> Result<Share, Reason> {
        let share = Share {
            of: Arc::clone(self),
            bytes: AtomicU64::new(bytes),
        };
        // Counted first, so that two at a time cannot both take the last place; the share
        // gives it back when it is dropped.
        let volumes = self.volumes.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.index_bytes.fetch_add(bytes, Ordering::Relaxed);
        if volumes > self.max_volumes {
            return Err(Reason::TooMany {
                max: self.max_volumes,
            });
        }
        if all.saturating_add(bytes) > self.max_index_bytes {
            return Err(Reason::IndexMemory { bytes });
        }
        Ok(share)
    }

    /// Bytes of all indexes.
    pub(crate) fn index_bytes(&self) -> u64 {
        self.index_bytes.load(Ordering::Relaxed)
    }

    /// Volumes with open files.
    pub(crate) fn volumes(&self) -> usize {
        self.volumes.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Counts entries that came later. They are not refused: the volume is served already.
    pub(crate) fn grow(&self, entries: u64) {
        let bytes = entries * ENTRY;
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.of.index_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Says how much it is by now.
    pub(crate) fn set(&self, bytes: u64) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        let all = &self.of.index_bytes;
        all.fetch_add(bytes, Ordering::Relaxed);
        all.fetch_sub(before, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let bytes = *self.bytes.get_mut();
        self.of.index_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.of.volumes.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_or_dropped_is_given_back() {
        let budget = Arc::new(Budget::new(2, 1000));
        let first = budget.share(800).unwrap();
        assert_eq!(
            budget.share(208).unwrap_err(),
            Reason::IndexMemory { bytes: 208 }
        );
        let second = budget.share(192).unwrap();
        assert_eq!(budget.share(0).unwrap_err(), Reason::TooMany { max: 2 });
        second.grow(3);
        assert_eq!((budget.index_bytes(), budget.volumes()), (65 * 16, 2));
        first.set(8);
        assert_eq!(budget.index_bytes(), 15 * 16 + 8);
        drop((first, second));
        assert_eq!((budget.index_bytes(), budget.volumes()), (0, 0));
    }
}
