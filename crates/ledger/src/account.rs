//! What one part of the mount has, and may have.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use stats::Counter;

use crate::book::{Book, Share};
use crate::pressure::LEVELS;

/// The account of one holder. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub struct Account(Arc<One>);

#[derive(Debug)]
struct One {
    book: Arc<Book>,
    share: Share,
    held: AtomicUsize,
    refused: Counter,
    waits: Counter,
}

impl Account {
    pub(crate) fn new(book: Arc<Book>, share: Share) -> Self {
        Self(Arc::new(One {
            book,
            share,
            held: AtomicUsize::new(0),
            refused: Counter::new(),
            waits: Counter::new(),
        }))
    }

    /// An account of a ledger of its own that has no ceiling.
    pub fn unlimited() -> Self {
        let all = Share {
            most: usize::MAX,
            least: usize::MAX,
        };
        Self::new(Arc::new(Book::new(usize::MAX, 0)), all)
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.0.held.load(Ordering::Relaxed)
    }

    /// Bytes that may be held now: the share without pressure, down to the floor under the highest.
    pub fn limit(&self) -> usize {
        let Share { most, least } = self.0.share;
        let level = self.0.book.level();
        if level >= LEVELS {
            return most;
        }
        let least = least.min(most);
        least + (most - least) / usize::from(LEVELS) * usize::from(level)
    }

    /// How much of what is optional should be done, of [`LEVELS`]: all of it without pressure.
    pub fn ease(&self) -> u8 {
        self.0.book.level()
    }

    /// Whether more is held than should be now.
    pub fn is_over(&self) -> bool {
        self.held() > self.limit() || self.0.book.is_over()
    }

    /// Counts `bytes` more, unless that would exceed the limit or the ceiling; whether it did.
    #[must_use]
    pub fn try_take(&self, bytes: usize) -> bool {
        let limit = self.limit();
        let more = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= limit);
        let order = Ordering::Relaxed;
        if self.0.held.fetch_update(order, order, more).is_err() {
            self.0.refused.inc();
            return false;
        }
        if self.0.book.try_add(bytes) {
            return true;
        }
        self.0.held.fetch_sub(bytes, order);
        self.0.refused.inc();
        false
    }

    /// Counts `bytes` more in any case.
    pub fn take(&self, bytes: usize) {
        self.0.held.fetch_add(bytes, Ordering::Relaxed);
        self.0.book.add(bytes);
    }

    /// Counts `bytes` less, which were counted before.
    pub fn give(&self, bytes: usize) {
        self.0.held.fetch_sub(bytes, Ordering::Relaxed);
        self.0.book.sub(bytes);
    }

    /// Says that `bytes` are held now, for what is measured and not asked for. By one thread at a time.
    pub fn set(&self, bytes: usize) {
        let before = self.held();
        match bytes.checked_sub(before) {
            Some(more) => self.take(more),
            None => self.give(before - bytes),
        }
    }

    /// Counts `bytes` in any case, for as long as the answer lives.
    pub fn weigh(&self, bytes: usize) -> Weight {
        self.take(bytes);
        Weight {
            account: self.clone(),
            bytes,
        }
    }

    /// Somebody has to wait for memory.
    pub fn count_wait(&self) {
        self.0.waits.inc();
    }

    /// Times something was refused.
    pub fn refused(&self) -> u64 {
        self.0.refused.get()
    }

    /// Times somebody had to wait.
    pub fn waits(&self) -> u64 {
        self.0.waits.get()
    }
}

/// Bytes that count while this lives.
#[derive(Debug)]
pub struct Weight {
    account: Account,
    bytes: usize,
}

impl Weight {
    /// Counts `bytes` instead.
    pub fn set(&mut self, bytes: usize) {
        match bytes.checked_sub(self.bytes) {
            Some(more) => self.account.take(more),
            None => self.account.give(self.bytes - bytes),
        }
        self.bytes = bytes;
    }

    /// What is counted.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Weight {
    fn drop(&mut self) {
        self.account.give(self.bytes);
    }
}
