//! The arena: one piece of memory, and who has which part of it.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use stats::Gauge;

use super::ArenaStats;
use super::block::{Block, Hand};
use super::buddy::Buddy;
use super::mapping::Mapping;
use super::quarantine::Quarantine;

/// The smallest block: a page, which is also the most that a server sends inline.
pub const MIN_BLOCK: usize = 4 << 10;
/// The largest block: as much as one item may ask for ([`crate::wire::MAX_READ`]).
pub const MAX_BLOCK: usize = 64 << 20;
/// The largest arena. More than any machine will cache for one mount; what is counted in blocks
/// stays below 2²⁸.
pub const MAX_ARENA: usize = 1 << 40;
/// The size of a huge page on the architectures SeaweedFS runs on. Memory is given back in these.
pub(super) const HUGE: usize = 2 << 20;

/// How an [`Arena`] is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArenaConfig {
    /// Bytes; rounded up to whole huge pages of 2 MiB.
    pub size: usize,
    /// Bytes of free memory that [`tidy`](Arena::tidy) does not give back, for the next reads.
    pub keep: usize,
    /// With more bytes than this in quarantine no blocks are given out: servers that do not
    /// answer must not take all the memory there is.
    pub quarantine: usize,
    /// Whether to take the system's reserved huge pages (`vm.nr_hugepages`), if enough are free.
    pub reserved_pages: bool,
}

/// Memory that can be shared with servers. A handle: clones are the same arena.
#[derive(Debug, Clone)]
pub struct Arena(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) mapping: Mapping,
    pub(super) quarantine: Mutex<Quarantine>,
    pub(super) stats: Arc<ArenaStats>,
    ground: Mutex<Ground>,
    config: ArenaConfig,
    /// Whether memory must stay. Held while some is given back.
    pinned: Mutex<bool>,
}

/// Which parts are free.
#[derive(Debug)]
struct Ground {
    free: Buddy,
    /// For each huge page whether it may have memory behind it.
    touched: Vec<bool>,
}

impl Arena {
    /// Sets up `config.size` bytes. They take memory as they are used.
    ///
    /// # Errors
    /// The system's; and for a size of zero or beyond [`MAX_ARENA`].
    pub fn new(config: ArenaConfig) -> io::Result<Self> {
        if config.size == 0 || config.size > MAX_ARENA {
            let size = config.size;
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("an arena of {size} bytes: expected 1 to {MAX_ARENA}"),
            ));
        }
        let size = config.size.next_multiple_of(HUGE);
        let mapping = Mapping::new(size, config.reserved_pages)?;
        let stats = Arc::new(ArenaStats::default());
        stats.size.set(size as i64);
        Ok(Self(Arc::new(Inner {
            pinned: Mutex::new(mapping.is_reserved()),
            mapping,
            quarantine: Mutex::default(),
            stats,
            ground: Mutex::new(Ground {
                free: Buddy::new(size / MIN_BLOCK),
                touched: vec![false; size / HUGE],
            }),
            config,
        })))
    }

    /// A block of `len` bytes, at most [`MAX_BLOCK`]; `None` if there is no room for it, or too
    /// much is in quarantine. Reads then go a way that needs none.
    pub fn take(&self, len: usize) -> Option<Block> {
        let inner = &self.0;
        if len > MAX_BLOCK {
            inner.stats.refused.inc();
            return None;
        }
        let capacity = len.max(MIN_BLOCK).next_power_of_two();
        let limit = inner.config.quarantine;
        if inner.quarantine.lock().bytes() > limit && inner.release_retired() > limit {
            inner.stats.withheld.inc();
            return None;
        }
        let taken = inner.ground.lock().take(capacity);
        let Some((start, is_fresh)) = taken else {
            inner.stats.refused.inc();
            return None;
        };
        if is_fresh {
            let first = start / HUGE * HUGE;
            let end = (start + capacity).next_multiple_of(HUGE);
            inner.mapping.populate(first, end - first);
        }
        inner.stats.taken.inc();
        Some(Block::new(inner.clone(), start, len, capacity))
    }

    /// Housekeeping, to be called every second or so: ends the quarantine of what no server
    /// writes to any more, and gives free memory beyond `keep` back to the system.
    pub fn tidy(&self) {
        self.0.release_retired();
        let mut pinned = self.0.pinned.lock();
        if !*pinned && let Err(error) = self.0.trim() {
            tracing::warn!(%error, "free memory cannot be given back to the system");
            *pinned = true;
        }
    }

    /// From now on no memory is given back to the system: a device has its addresses, and would
    /// go on writing to the pages that were there.
    pub fn pin(&self) {
        *self.0.pinned.lock() = true;
    }

    /// Whether its memory is of the system's reserved huge pages.
    pub fn is_reserved(&self) -> bool {
        self.0.mapping.is_reserved()
    }

    /// Bytes in all.
    #[allow(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.mapping.len()
    }

    /// Address of the first byte, for a device to be told.
    pub fn base(&self) -> *mut u8 {
        self.0.mapping.start().as_ptr()
    }

    /// The memfd, for a server on this host to map.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.0.mapping.file()
    }

    /// What it is used for.
    pub fn stats(&self) -> &Arc<ArenaStats> {
        &self.0.stats
    }
}

impl Inner {
    pub(super) fn give(&self, start: usize, capacity: usize) {
        self.ground.lock().give(start, capacity);
    }

    pub(super) fn count(&self, hand: Hand, bytes: usize) {
        self.gauge(hand).add(bytes as i64);
    }

    pub(super) fn discount(&self, hand: Hand, bytes: usize) {
        self.gauge(hand).add(-(bytes as i64));
    }

    fn gauge(&self, hand: Hand) -> &Gauge {
        match hand {
            Hand::Ours => &self.stats.blocks,
            Hand::Server => &self.stats.landings,
            Hand::Quarantine => &self.stats.quarantined,
            Hand::Lost => &self.stats.lost,
        }
    }

    /// Gives back free memory beyond what is to be kept, from the end. A block is in nobody's
    /// hands meanwhile, so that takers do not wait for the system.
    fn trim(&self) -> io::Result<()> {
        loop {
            let Some(surplus) = self.ground.lock().surplus(self.config.keep) else {
                return Ok(());
            };
            let Surplus {
                start,
                capacity,
                kept,
            } = surplus;
            let released = self.mapping.release(start + kept, capacity - kept);
            self.give(start, capacity);
            released?;
            self.stats.returned.add((capacity - kept) as u64);
        }
    }
}

/// A free block, taken out, whose memory from `kept` on is too much.
struct Surplus {
    start: usize,
    capacity: usize,
    kept: usize,
}

impl Ground {
    /// Where the block starts, and whether it is the first in one of its huge pages.
    fn take(&mut self, capacity: usize) -> Option<(usize, bool)> {
        let start = self.free.take(order_of(capacity))? * MIN_BLOCK;
        let pages = &mut self.touched[start / HUGE..(start + capacity).div_ceil(HUGE)];
        let is_fresh = pages.contains(&false);
        pages.fill(true);
        Some((start, is_fresh))
    }

    fn give(&mut self, start: usize, capacity: usize) {
        self.free.give(start / MIN_BLOCK, order_of(capacity));
    }

    /// Takes out the last free block with memory, if all of them have more than `keep`.
    fn surplus(&mut self, keep: usize) -> Option<Surplus> {
        let mut bytes = 0;
        let mut last = None;
        for (unit, order) in self.free.large(order_of(HUGE)) {
            let (start, capacity) = (unit * MIN_BLOCK, MIN_BLOCK << order);
            let pages = &self.touched[start / HUGE..(start + capacity) / HUGE];
            let touched = pages.iter().filter(|touched| **touched).count();
            if touched > 0 {
                bytes += touched * HUGE;
                last = last.max(Some((start, capacity)));
            }
        }
        let (start, capacity) = last?;
        let mut kept = capacity;
        while bytes >= keep.saturating_add(HUGE) && kept > 0 {
            kept -= HUGE;
            if std::mem::take(&mut self.touched[(start + kept) / HUGE]) {
                bytes -= HUGE;
            }
        }
        if kept == capacity {
            return None;
        }
        let claimed = self.free.claim(start / MIN_BLOCK, order_of(capacity));
        debug_assert!(claimed, "it was listed as free");
        Some(Surplus {
            start,
            capacity,
            kept,
        })
    }
}

/// Of a block of `capacity` bytes, a power of two.
fn order_of(capacity: usize) -> usize {
    (capacity / MIN_BLOCK).trailing_zeros() as usize
}
