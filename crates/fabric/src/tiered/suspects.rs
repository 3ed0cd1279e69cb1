//! Needles of which a damaged copy was seen.
//!
//! Damage lasts, and what sees it does not: the next read of the same needle may find its sidecar
//! busy, frozen or left alone, and would go over HTTP for that reason. A range would then come as
//! it is stored, damaged. So the needles are remembered. Which copy is damaged is not known, and a
//! needle never changes, so nothing makes one trustworthy again; it is only forgotten in favour of
//! newer ones.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use seaweed::FileId;

/// The most needles that are remembered: a damaged disk may have more, but those that are read
/// again and again are reported again and again. 16 Ki make less than a megabyte.
const MOST: usize = 16 << 10;

/// Needles of which a damaged copy was seen, the latest of them.
#[derive(Debug, Default)]
pub struct Suspects {
    /// Whether there is any, which is rare: whoever asks then needs no lock.
    is_any: AtomicBool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    all: HashSet<FileId>,
    /// The same, the oldest first.
    order: VecDeque<FileId>,
}

impl Suspects {
    /// Remembers one.
    pub fn add(&self, needle: FileId) {
        let mut seen = self.seen.lock();
        self.is_any.store(true, Ordering::Release);
        if !seen.all.insert(needle) {
            return;
        }
        seen.order.push_back(needle);
        if seen.order.len() > MOST
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.all.remove(&oldest);
        }
    }

    /// Whether it is one of them.
    pub fn has(&self, needle: FileId) -> bool {
        self.is_any.load(Ordering::Acquire) && self.seen.lock().all.contains(&needle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needle(key: u64) -> FileId {
        FileId {
            volume: 1,
            key,
            cookie: 1,
        }
    }

    #[test]
    fn the_latest_are_remembered_and_no_more() {
        let suspects = Suspects::default();
        for key in 0..=MOST as u64 {
            suspects.add(needle(key));
            suspects.add(needle(key));
        }
        assert!(!suspects.has(needle(0)));
        assert!(suspects.has(needle(1)) && suspects.has(needle(MOST as u64)));
        let seen = suspects.seen.lock();
        assert_eq!((seen.all.len(), seen.order.len()), (MOST, MOST));
    }
}
