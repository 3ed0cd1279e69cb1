//! Memory for those who need it, at the expense of those who could do without.
//!
//! The [`Pool`] counts and refuses; here a refusal is answered by dropping the least useful
//! cached pieces one by one, and then the pins of handles that nobody has read through for a
//! while. What remains refused is refused for good: the caller reads without keeping anything.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use ledger::{Account, LEVELS};
use parking_lot::Mutex;

use crate::ReaderStats;
use crate::cache::{Cache, Piece};
use crate::piece::PieceKey;
use crate::pool::{Buffer, Charge, Pool};
use crate::stream::{Inner, Stream};
use crate::window::Reach;

/// A handle that has not been read through for this long can wait for its next piece.
const IDLE: Duration = Duration::from_secs(2);
/// Up to so many bytes new memory is taken without recycling: the chunk that is read, the next, and one that was. What
/// is new the kernel has to clear, and a hypervisor to find.
const RECYCLE_FROM: usize = 12 << 20;
/// With little memory up to this share of the ceiling.
const RECYCLE_SHARE: usize = 8;
/// Pieces that may be smaller than what is wanted are dropped for it at a time.
const RECYCLED_AT_ONCE: usize = 4;
/// Handles are not asked more often than this for idle pins.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// All memory for file data, and what is cached in it.
#[derive(Debug)]
pub(crate) struct Memory {
    pool: Arc<Pool>,
    cache: Cache,
    handles: Mutex<Handles>,
    stats: Arc<ReaderStats>,
}

#[derive(Debug)]
struct Handles {
    /// Those that may have pins.
    streams: Vec<Weak<Inner>>,
    /// Closed ones are sorted out when there are this many.
    sort_out_at: usize,
    asked: Option<Instant>,
}

impl Memory {
    /// Memory of at most `limit` bytes, and of what `account` may have.
    pub(crate) fn new(limit: usize, account: Account, stats: Arc<ReaderStats>) -> Self {
        Self {
            pool: Pool::new(limit, account),
            cache: Cache::default(),
            handles: Mutex::new(Handles {
                streams: Vec::new(),
                sort_out_at: 64,
                asked: None,
            }),
            stats,
        }
    }

    /// A buffer of `len` bytes with unspecified content; `None` when memory is in use.
    pub(crate) fn take(&self, len: usize) -> Option<Buffer> {
        let within = self.within();
        self.recycle(|pool| pool.is_cheap(len, within));
        self.obtain(len, |pool| pool.take(len))
    }

    /// Room for a block of `len` bytes that a fabric's arena has filled; `None` when memory is
    /// in use. The arena, too, gives out first what was used before.
    pub(crate) fn adopt(&self, len: usize) -> Option<Charge> {
        let within = self.within();
        self.recycle(|pool| pool.held() + len <= within);
        self.charge(len)
    }

    /// How much may be held before what was used is used again.
    fn within(&self) -> usize {
        RECYCLE_FROM.min(self.pool.limit() / RECYCLE_SHARE)
    }

    /// Drops a few pieces that nobody has read again, unless new memory `is_cheap`.
    ///
    /// Memory that was never used is dear: the kernel clears it, and a virtual machine's host
    /// may have to find it first (2.5 CPU seconds a GiB, measured). So one pass over a large
    /// file goes round in a part of the ceiling, and only what is read again fills the rest.
    fn recycle(&self, is_cheap: impl Fn(&Pool) -> bool) {
        for _ in 0..RECYCLED_AT_ONCE {
            if is_cheap(&self.pool) || !self.cache.evict_unread() {
                break;
            }
            self.stats.evictions.inc();
        }
    }

    /// Room for `len` bytes that somebody else allocates; `None` when memory is in use.
    pub(crate) fn charge(&self, len: usize) -> Option<Charge> {
        self.obtain(len, |pool| pool.charge(len))
    }

    /// Room for nothing yet, for those who are entitled to more than there is.
    pub(crate) fn empty_charge(&self) -> Charge {
        self.pool.empty_charge()
    }

    /// The cached piece. `again` says that the reader comes back to it: its next requests
    /// of a sequential pass do not, its first does.
    pub(crate) fn cached(&self, key: &PieceKey, again: bool) -> Option<Arc<Piece>> {
        if again {
            self.cache.get(key)
        } else {
            self.cache.peek(key)
        }
    }

    /// Caches a piece whose bytes are counted by this memory.
    pub(crate) fn insert(&self, key: PieceKey, piece: Arc<Piece>) {
        self.cache.insert(key, piece);
        self.update_gauge();
    }

    /// Remembers a handle, so that its pins can be taken back when it is idle.
    pub(crate) fn register(&self, stream: &Stream) {
        if !stream.register() {
            return;
        }
        let mut handles = self.handles.lock();
        if handles.streams.len() >= handles.sort_out_at {
            handles.streams.retain(|other| other.strong_count() > 0);
            handles.sort_out_at = (handles.streams.len() * 2).max(64);
        }
        handles.streams.push(Arc::downgrade(&stream.inner));
    }

    /// The ceiling.
    pub(crate) fn limit(&self) -> usize {
        self.pool.limit()
    }

    /// Drops everything cached.
    pub(crate) fn clear(&self) {
        self.cache.clear();
        self.update_gauge();
    }

    /// Drops cached pieces and pins of idle handles until no more is held than may be now.
    pub(crate) fn fit(&self) {
        self.pool.fit();
        while self.pool.held() > self.pool.limit() && self.cache.evict() {
            self.stats.evictions.inc();
            self.pool.fit();
        }
        if self.pool.held() > self.pool.limit() {
            self.ask_idle_handles();
        }
        self.update_gauge();
    }

    /// How far to read ahead of whom one would read `reach` ahead of otherwise: less while memory is
    /// short, and then not at all.
    pub(crate) fn reach(&self, reach: Reach) -> Reach {
        let ease = self.pool.account().ease();
        let most = reach.most / u64::from(LEVELS) * u64::from(ease);
        match ease {
            LEVELS => reach,
            _ => Reach { most, ..reach },
        }
    }

    /// Bytes held, cached or in use.
    pub(crate) fn held(&self) -> usize {
        self.pool.held()
    }

    fn obtain<T>(&self, len: usize, attempt: impl Fn(&Arc<Pool>) -> Option<T>) -> Option<T> {
        let mut asked = false;
        loop {
            if let Some(memory) = attempt(&self.pool) {
                return Some(memory);
            }
            // Dropping everything for a request that cannot be met would only do harm.
            let within_reach =
                |cached| self.pool.in_use().saturating_sub(cached) + len <= self.pool.limit();
            if within_reach(self.cache.size().0) && self.cache.evict() {
                self.stats.evictions.inc();
            } else if asked || !self.ask_idle_handles() {
                return None;
            } else {
                asked = true;
            }
        }
    }

    /// Takes the pins of idle handles back; false when that was tried a moment ago.
    fn ask_idle_handles(&self) -> bool {
        let Some(mut handles) = self.handles.try_lock() else {
            return false;
        };
        if handles.asked.is_some_and(|at| at.elapsed() < ASK_EVERY) {
            return false;
        }
        handles.asked = Some(Instant::now());
        for stream in &handles.streams {
            if let Some(stream) = stream.upgrade() {
                stream.drop_idle(IDLE);
            }
        }
        true
    }

    fn update_gauge(&self) {
        let held = i64::try_from(self.pool.held()).unwrap_or(i64::MAX);
        self.stats.memory_held.set(held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::piece::Part;
    use seaweed::FileId;

    fn key(n: u64) -> PieceKey {
        PieceKey {
            needle: FileId {
                volume: 1,
                key: n,
                cookie: 7,
            },
            part: Part::Whole,
        }
    }

    #[test]
    fn cached_pieces_make_way_and_held_ones_stay() {
        let stats = Arc::new(ReaderStats::default());
        let memory = Memory::new(64 << 10, Account::unlimited(), Arc::clone(&stats));
        for n in 0..100 {
            let buffer = memory.take(4096).unwrap();
            memory.insert(
                key(n),
                Piece::new(buffer.freeze(), crate::stats::Source::Disk),
            );
            assert!(memory.held() <= 64 << 10);
        }
        assert!(stats.evictions.get() >= 84);
        let held: Vec<_> = (0..100)
            .filter_map(|n| memory.cached(&key(n), true))
            .collect();
        assert!(held.len() >= 12, "{}", held.len());
        assert!(memory.take(60 << 10).is_none());
        assert!(memory.charge(60 << 10).is_none());
        drop(held);
        assert!(memory.take(60 << 10).is_some());
    }

    #[test]
    fn what_is_read_once_goes_round_in_a_part_of_the_memory() {
        let memory = Memory::new(
            128 << 20,
            Account::unlimited(),
            Arc::new(ReaderStats::default()),
        );
        let put = |n: u64| {
            let buffer = memory.take(2 << 20).unwrap();
            memory.insert(
                key(n),
                Piece::new(buffer.freeze(), crate::stats::Source::Disk),
            );
        };
        (0..40).for_each(put);
        assert!(memory.held() <= 18 << 20, "{}", memory.held());
        for n in 35..40 {
            assert!(memory.cached(&key(n), true).is_some());
        }
        // A second pass brings back what was just dropped, and that stays.
        (0..30).for_each(put);
        (0..30).for_each(put);
        assert!(memory.held() > 32 << 20, "{}", memory.held());
    }

    #[test]
    fn under_pressure_less_is_read_ahead_and_less_is_kept() {
        let ledger = ledger::Ledger::new(1 << 30, 0, |_| ledger::Share {
            most: 64 << 10,
            least: 16 << 10,
        });
        let account = ledger.account(ledger::Holder::Reads).clone();
        let memory = Memory::new(64 << 10, account, Arc::new(ReaderStats::default()));
        for n in 0..8 {
            let buffer = memory.take(4096).unwrap();
            memory.insert(
                key(n),
                Piece::new(buffer.freeze(), crate::stats::Source::Disk),
            );
        }
        let reach = Reach {
            first: 1 << 20,
            most: 16 << 20,
        };
        assert_eq!(memory.reach(reach).most, 16 << 20);
        memory.fit();
        assert_eq!(memory.held(), 32 << 10);
        let full = ledger::Look {
            resident: 1 << 30,
            ..Default::default()
        };
        for want in [12_u64, 8, 4, 0] {
            ledger.observe(&full);
            assert_eq!(memory.reach(reach).most, want << 20);
        }
        memory.fit();
        assert_eq!(memory.held(), 16 << 10);
    }

    #[test]
    fn a_hopeless_request_costs_no_piece() {
        let stats = Arc::new(ReaderStats::default());
        let memory = Memory::new(64 << 10, Account::unlimited(), Arc::clone(&stats));
        let in_use = memory.take(32 << 10).unwrap();
        let buffer = memory.take(16 << 10).unwrap();
        memory.insert(
            key(1),
            Piece::new(buffer.freeze(), crate::stats::Source::Disk),
        );
        assert!(memory.take(48 << 10).is_none());
        assert!(memory.take(1 << 30).is_none());
        assert!(memory.cached(&key(1), false).is_some());
        drop(in_use);
        assert!(memory.take(48 << 10).is_some());
        assert_eq!(stats.evictions.get(), 0);
    }
}
