//! Pieces in memory, the least useful given up first.
//!
//! Replacement is S3-FIFO: a new piece enters a small queue and is gone soon unless it is read
//! again; then it moves to the main queue, where a CLOCK of two bits decides. A pass over a
//! large file thus costs only the small queue, and a piece dropped too early (a *ghost*
//! remembers its key) enters the main queue at its return. Looking up writes nothing but two
//! bits, so that readers share the lock.
//!
//! The cache has no capacity of its own. All memory has one ceiling, the pool's, and whoever
//! needs some takes the least useful piece from here (see [`Memory`](crate::memory::Memory)).
//! That is why this is not a ready-made cache: those evict to keep within a weight of their
//! own, at insertion, and split that weight among shards where one piece may be larger than
//! a share. A piece that a handle holds is passed over: giving it up here would free nothing.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use crate::piece::PieceKey;
use crate::stats::Source;

/// What one piece holds: clear bytes.
#[derive(Debug)]
pub(crate) struct Piece {
    pub(crate) bytes: Bytes,
    /// Where it was fetched from.
    pub(crate) source: Source,
    /// Reads since it last came up for eviction, up to [`HOT`].
    touched: AtomicU8,
    /// It was fetched before anybody had opened its file, and nobody has read it yet.
    unasked: AtomicBool,
}

impl Piece {
    pub(crate) fn new(bytes: Bytes, source: Source) -> Arc<Self> {
        Self::made(bytes, source, false)
    }

    /// One that nobody has asked for.
    pub(crate) fn unasked(bytes: Bytes, source: Source) -> Arc<Self> {
        Self::made(bytes, source, true)
    }

    fn made(bytes: Bytes, source: Source, unasked: bool) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            source,
            touched: AtomicU8::new(0),
            unasked: AtomicBool::new(unasked),
        })
    }

    /// It is read; whether that is the first time, and it was fetched before.
    pub(crate) fn is_first_use(&self) -> bool {
        self.unasked.load(Ordering::Relaxed) && self.unasked.swap(false, Ordering::Relaxed)
    }
}

/// Rounds that a much read piece survives in the main queue.
const HOT: u8 = 3;
/// The small queue gives way first while it holds more than this share of all bytes.
const SMALL_SHARE: usize = 10;
/// Keys of pieces gone from the small queue: as many as there are pieces, within these bounds.
const GHOSTS_MIN: usize = 64;
const GHOSTS_MAX: usize = 1 << 16;

/// The pieces, by key.
#[derive(Debug, Default)]
pub(crate) struct Cache(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    pieces: HashMap<PieceKey, Arc<Piece>>,
    small: VecDeque<PieceKey>,
    main: VecDeque<PieceKey>,
    bytes: usize,
    small_bytes: usize,
    ghosts: Ghosts,
}

impl Cache {
    /// The piece, counted as a use of it.
    pub(crate) fn get(&self, key: &PieceKey) -> Option<Arc<Piece>> {
        let state = self.0.read();
        let piece = state.pieces.get(key)?;
        // A lost update among concurrent readers is a use not counted: harmless.
        let touched = piece.touched.load(Ordering::Relaxed);
        if touched < HOT {
            piece.touched.store(touched + 1, Ordering::Relaxed);
        }
        Some(Arc::clone(piece))
    }

    /// The piece, without making it look any more useful.
    pub(crate) fn peek(&self, key: &PieceKey) -> Option<Arc<Piece>> {
        self.0.read().pieces.get(key).cloned()
    }

    /// Puts a piece in, in place of an older one of the same key.
    pub(crate) fn insert(&self, key: PieceKey, piece: Arc<Piece>) {
        let len = piece.bytes.len();
        let mut state = self.0.write();
        state.remove(&key);
        if state.ghosts.remove(&key) {
            state.main.push_back(key);
        } else {
            state.small.push_back(key);
            state.small_bytes += len;
        }
        state.bytes += len;
        state.pieces.insert(key, piece);
    }

    /// Drops the least useful piece that nobody holds; false when there is none.
    pub(crate) fn evict(&self) -> bool {
        self.0.write().evict()
    }

    /// Drops the oldest piece that was never come back to and that nobody holds, if there is one.
    pub(crate) fn evict_unread(&self) -> bool {
        let mut state = self.0.write();
        (0..state.small.len()).any(|_| state.step(true))
    }

    /// Drops everything.
    pub(crate) fn clear(&self) {
        *self.0.write() = State::default();
    }

    /// Bytes and pieces held.
    pub(crate) fn size(&self) -> (usize, usize) {
        let state = self.0.read();
        (state.bytes, state.pieces.len())
    }
}

impl State {
    /// Takes out a piece wherever it queues. Rare (a piece is replaced only by a longer one of
    /// a chunk that was seen truncated before), so that a scan of the queues will do.
    fn remove(&mut self, key: &PieceKey) {
        let Some(piece) = self.pieces.remove(key) else {
            return;
        };
        let len = piece.bytes.len();
        self.bytes -= len;
        if let Some(at) = self.small.iter().position(|other| other == key) {
            self.small.remove(at);
            self.small_bytes -= len;
        } else {
            self.main.retain(|other| other != key);
        }
    }

    fn evict(&mut self) -> bool {
        // Held pieces are passed over and touched ones get their rounds, so that twice the
        // number of queue entries per round finds whatever can be found.
        let mut steps = self.pieces.len() * (usize::from(HOT) + 2);
        while steps > 0 && !self.pieces.is_empty() {
            steps -= 1;
            let from_small = self.main.is_empty()
                || (!self.small.is_empty() && self.small_bytes * SMALL_SHARE > self.bytes)
                // Held pieces may be all there is in the main queue.
                || (!self.small.is_empty() && steps.is_multiple_of(4));
            if self.step(from_small) {
                return true;
            }
        }
        false
    }

    /// Looks at the head of one queue; true when it was dropped.
    fn step(&mut self, from_small: bool) -> bool {
        let queue = if from_small {
            &mut self.small
        } else {
            &mut self.main
        };
        let Some(key) = queue.pop_front() else {
            return false;
        };
        let Some(piece) = self.pieces.get(&key) else {
            return false;
        };
        let len = piece.bytes.len();
        let touched = piece.touched.load(Ordering::Relaxed);
        if Arc::strong_count(piece) > 1 {
            queue.push_back(key);
            return false;
        }
        if touched > 0 {
            if from_small {
                piece.touched.store(0, Ordering::Relaxed);
                self.small_bytes -= len;
            } else {
                piece.touched.store(touched - 1, Ordering::Relaxed);
            }
            self.main.push_back(key);
            return false;
        }
        if from_small {
            self.small_bytes -= len;
            self.ghosts.add(key, self.pieces.len());
        }
        self.pieces.remove(&key);
        self.bytes -= len;
        true
    }
}

/// Keys of pieces dropped from the small queue, the oldest forgotten first.
#[derive(Debug, Default)]
struct Ghosts {
    order: VecDeque<PieceKey>,
    keys: HashSet<PieceKey>,
}

impl Ghosts {
    fn add(&mut self, key: PieceKey, pieces: usize) {
        if self.keys.insert(key) {
            self.order.push_back(key);
        }
        while self.order.len() > pieces.clamp(GHOSTS_MIN, GHOSTS_MAX) {
            if let Some(oldest) = self.order.pop_front() {
                self.keys.remove(&oldest);
            }
        }
    }

    /// Whether the key was there. Its place in the order expires by itself.
    fn remove(&mut self, key: &PieceKey) -> bool {
        self.keys.remove(key)
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

    fn put(cache: &Cache, n: u64, len: usize) {
        cache.insert(key(n), Piece::new(Bytes::from(vec![0; len]), Source::Disk));
    }

    #[test]
    fn a_scan_does_not_wash_out_what_is_read_again() {
        let cache = Cache::default();
        for n in 0..10 {
            put(&cache, n, 100);
            cache.get(&key(n)).unwrap();
        }
        for n in 1000..2000 {
            put(&cache, n, 100);
            while cache.size().0 > 2000 {
                assert!(cache.evict());
            }
        }
        for n in 0..10 {
            assert!(cache.get(&key(n)).is_some(), "{n}");
        }
    }

    #[test]
    fn a_piece_that_comes_back_is_kept_longer() {
        let cache = Cache::default();
        put(&cache, 1, 100);
        assert!(cache.evict());
        put(&cache, 1, 100);
        for n in 10..20 {
            put(&cache, n, 100);
        }
        for _ in 0..9 {
            assert!(cache.evict());
        }
        assert!(cache.peek(&key(1)).is_some());
    }

    #[test]
    fn held_pieces_are_passed_over() {
        let cache = Cache::default();
        for n in 0..8 {
            put(&cache, n, 10);
        }
        let held = cache.peek(&key(0)).unwrap();
        for _ in 0..7 {
            assert!(cache.evict());
        }
        assert!(!cache.evict());
        assert_eq!(cache.size(), (10, 1));
        drop(held);
        assert!(cache.evict());
        assert!(!cache.evict());
        assert_eq!(cache.size(), (0, 0));
    }

    #[test]
    fn a_replaced_piece_is_counted_once() {
        let cache = Cache::default();
        put(&cache, 1, 10);
        put(&cache, 1, 30);
        assert_eq!(cache.size(), (30, 1));
        assert_eq!(cache.get(&key(1)).unwrap().bytes.len(), 30);
        for _ in 0..2 {
            cache.evict();
        }
        assert_eq!(cache.size(), (0, 0));
        assert_eq!(cache.0.read().small_bytes, 0);
    }

    #[test]
    fn ghosts_stay_few() {
        let mut ghosts = Ghosts::default();
        for n in 0..1000 {
            ghosts.add(key(n), 10);
            if n % 3 == 0 {
                assert!(ghosts.remove(&key(n)));
            }
        }
        assert!(ghosts.order.len() <= GHOSTS_MIN);
        assert!(ghosts.keys.len() <= GHOSTS_MIN);
        assert!(ghosts.remove(&key(998)));
    }
}
