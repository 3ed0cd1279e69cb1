//! A block in our hands, or in a server's.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;

use super::arena::Inner;
use crate::lane::{Answered, Retiring};
use crate::wire::Place;

/// Memory that is ours alone: a slice of bytes.
///
/// What a new block holds is whatever was there before.
pub struct Block(Span);

/// Memory that is offered to a server. See the [module](super) for how it comes back.
pub struct Landing(Span);

impl Block {
    pub(super) fn new(arena: Arc<Inner>, start: usize, len: usize, capacity: usize) -> Self {
        arena.count(Hand::Ours, capacity);
        Self(Span {
            arena,
            start,
            len,
            capacity,
            hand: Hand::Ours,
        })
    }

    /// Bytes that were set aside, at least its length: a power of two.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// Makes its length `len`; what was beyond the old one is there as it happens to be.
    ///
    /// # Panics
    /// If that is more than the [`capacity`](Block::capacity).
    pub fn resize(&mut self, len: usize) {
        assert!(len <= self.0.capacity, "a block does not grow");
        self.0.len = len;
    }

    /// Shares it, never to be written again. The memory is free when the last clone is dropped.
    pub fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// How to name it in a [`Write`](crate::wire::Write) on a lane where the arena is `region`, for
    /// the server to read from. It stays ours.
    pub fn place(&self, region: u16) -> Place {
        Place::Region {
            region,
            offset: self.0.start as u64,
        }
    }

    /// Gives it out of our hands.
    pub fn offer(mut self) -> Landing {
        self.0.pass(Hand::Server);
        Landing(self.0)
    }
}

impl Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: `start..start + capacity` lies in the mapping, which the span keeps alive, and is
        // initialised (the kernel zeroes it). It is ours: no server writes there, and no other
        // block overlaps it.
        unsafe { std::slice::from_raw_parts(self.0.address(), self.0.len) }
    }
}

impl DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.0.address(), self.0.len) }
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes at {:#x})", self.0.len, self.0.start)
    }
}

impl Landing {
    /// How to name it in an [`Item`](crate::wire::Item) on a lane where the arena is `region`.
    pub fn place(&self, region: u16) -> Place {
        Place::Region {
            region,
            offset: self.0.start as u64,
        }
    }

    /// Bytes that a server may write from its [`place`](Landing::place) on.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty for long")]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// It is ours again, as the server has answered for it.
    ///
    /// # Errors
    /// The landing itself, when the answer is about another place.
    pub fn reclaim(mut self, answered: &Answered) -> Result<Block, Self> {
        match answered.place() {
            Place::Region { offset, .. } if offset == self.0.start as u64 => {
                self.0.pass(Hand::Ours);
                Ok(Block(self.0))
            }
            _ => Err(self),
        }
    }

    /// Gives it up, with the lane it was offered on, whose
    /// [`close`](crate::lane::Lane::close) gave `retiring`. The memory is free once the writer is
    /// retired: at once, if that is `None`.
    pub fn abandon(mut self, retiring: Option<&Retiring>) {
        let hand = match retiring {
            None => Hand::Ours,
            Some(_) => Hand::Quarantine,
        };
        self.0.pass(hand);
        if let Some(retiring) = retiring {
            let arena = self.0.arena.clone();
            arena.quarantine(self.0.start, self.0.capacity, retiring);
        }
    }
}

impl fmt::Debug for Landing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Landing({} bytes at {:#x})", self.0.len, self.0.start)
    }
}

/// A part of the arena, and whose it is. Dropped in our hands it is free, in the server's it is
/// lost; in quarantine others see to it.
struct Span {
    arena: Arc<Inner>,
    start: usize,
    len: usize,
    capacity: usize,
    hand: Hand,
}

impl Span {
    fn address(&self) -> *mut u8 {
        self.arena.mapping.at(self.start).as_ptr()
    }

    fn pass(&mut self, to: Hand) {
        self.arena.discount(self.hand, self.capacity);
        self.arena.count(to, self.capacity);
        self.hand = to;
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        match self.hand {
            Hand::Ours => {
                self.arena.discount(Hand::Ours, self.capacity);
                self.arena.give(self.start, self.capacity);
            }
            Hand::Server => self.pass(Hand::Lost),
            Hand::Quarantine | Hand::Lost => {}
        }
    }
}

/// Whose a part of the arena is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    Ours,
    Server,
    Quarantine,
    Lost,
}
