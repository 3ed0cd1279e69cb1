//! What the reader remembers about one open handle.
//!
//! A [`Stream`] judges the handle's requests (see [`window`](crate::window)) and keeps *pins*:
//! the pieces its sequential readers are in and those fetched ahead for them. A pinned piece
//! stays whatever happens to the cache, until the reader has passed it; otherwise a small
//! cache would drop a piece between two reads of it, and fetch it again for each.
//!
//! Pins are paid for from an [`Allowance`](crate::allowance), half of all memory at most. Without a permit
//! nothing is fetched ahead and nothing is pinned, so that pinned memory can never stand in
//! the way of a read.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::allowance::Permit;
use crate::cache::Piece;
use crate::piece::PieceKey;
use crate::window::{Access, Reach, Window};

/// One open file handle, as the reader sees it. Used by all threads that read through it.
#[derive(Debug)]
pub struct Stream {
    pub(crate) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner(Mutex<State>);

#[derive(Debug)]
struct State {
    window: Window,
    pins: Vec<Pin>,
    /// Requests under way, as `[offset, end)`: a pin one of them may be about to use stays.
    active: Vec<(u64, u64)>,
    last_request: Instant,
    /// Known to the reader's memory, which takes the pins of idle handles back.
    registered: bool,
}

/// A piece kept for this handle.
#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) key: PieceKey,
    /// Where the piece lies in the file.
    pub(crate) from: u64,
    pub(crate) until: u64,
    /// `None` while a prefetch of it waits or is under way.
    pub(crate) piece: Option<Arc<Piece>>,
    /// Fetched ahead and not read yet.
    pub(crate) unread: bool,
    pub(crate) permit: Permit,
}

impl Stream {
    /// A handle that has not read anything.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner(Mutex::new(State {
                window: Window::new(),
                pins: Vec::new(),
                active: Vec::new(),
                last_request: Instant::now(),
                registered: false,
            }))),
        }
    }

    /// Begins a request for `len` bytes at `offset`. It ends when the turn is dropped.
    pub(crate) fn begin(&self, reach: Reach, offset: u64, len: u64) -> (Access, Turn<'_>) {
        let mut state = self.inner.0.lock();
        let access = state.window.note(reach, offset, len);
        state.last_request = Instant::now();
        let range = (offset, offset + len);
        state.active.push(range);
        let turn = Turn {
            stream: &self.inner,
            range,
        };
        (access, turn)
    }

    /// Whether the reader's memory must be told of this handle before its first pin.
    pub(crate) fn register(&self) -> bool {
        !std::mem::replace(&mut self.inner.0.lock().registered, true)
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    /// The piece, if it is pinned and here.
    pub(crate) fn read(&self, key: &PieceKey) -> Option<Arc<Piece>> {
        let mut state = self.0.lock();
        let pin = state.pins.iter_mut().find(|pin| pin.key == *key)?;
        let piece = pin.piece.clone()?;
        pin.read();
        Some(piece)
    }

    /// Whether there is a pin for the piece, even if the piece is still on its way.
    pub(crate) fn holds(&self, key: &PieceKey) -> bool {
        self.0.lock().pins.iter().any(|pin| pin.key == *key)
    }

    /// Whether a prefetch of the piece is still awaited.
    pub(crate) fn awaits(&self, key: &PieceKey) -> bool {
        let state = self.0.lock();
        let awaited = |pin: &Pin| pin.key == *key && pin.piece.is_none();
        state.pins.iter().any(awaited)
    }

    /// Adds a pin, unless the piece has one.
    pub(crate) fn pin(&self, pin: Pin) {
        let mut state = self.0.lock();
        if !state.pins.iter().any(|other| other.key == pin.key) {
            state.pins.push(pin);
        }
    }

    /// Hands over a piece that a request had to wait for. False if it has no pin.
    pub(crate) fn arrived_late(&self, key: &PieceKey, piece: &Arc<Piece>) -> bool {
        let mut state = self.0.lock();
        match state.pins.iter_mut().find(|pin| pin.key == *key) {
            Some(pin) => {
                pin.piece.get_or_insert_with(|| Arc::clone(piece));
                pin.read();
                true
            }
            None => false,
        }
    }

    /// Hands over a piece that was fetched ahead.
    pub(crate) fn arrived_early(&self, key: &PieceKey, piece: &Arc<Piece>) {
        let mut state = self.0.lock();
        let awaited = |pin: &&mut Pin| pin.key == *key && pin.piece.is_none();
        if let Some(pin) = state.pins.iter_mut().find(awaited) {
            pin.piece = Some(Arc::clone(piece));
            pin.unread = true;
        }
    }

    /// Gives up on a prefetch.
    pub(crate) fn failed(&self, key: &PieceKey) {
        let mut state = self.0.lock();
        state
            .pins
            .retain(|pin| pin.key != *key || pin.piece.is_some());
    }

    /// Tells the window that nothing from `offset` on is being fetched ahead, for now or for
    /// want of memory.
    pub(crate) fn stopped_at(&self, offset: u64, for_want_of_memory: bool) {
        let window = &mut self.0.lock().window;
        if for_want_of_memory {
            window.shrink(offset);
        } else {
            window.postpone(offset);
        }
    }

    /// Drops all pins if no request came for `idle` and none is under way.
    pub(crate) fn drop_idle(&self, idle: Duration) {
        let mut state = self.0.lock();
        if state.active.is_empty() && state.last_request.elapsed() >= idle {
            state.pins.clear();
        }
    }
}

impl State {
    /// Drops pins that their reader has passed, and those that no sequential reader is heading
    /// for any more because it went elsewhere.
    fn tidy(&mut self) {
        let Self {
            window,
            pins,
            active,
            ..
        } = self;
        pins.retain(|pin| window.expects(pin.from, pin.until) || pin.is_needed_by(active));
    }
}

impl Pin {
    fn is_needed_by(&self, active: &[(u64, u64)]) -> bool {
        active
            .iter()
            .any(|(from, until)| *from < self.until && self.from < *until)
    }

    fn read(&mut self) {
        if std::mem::replace(&mut self.unread, false) {
            self.permit.stats().prefetch_used.inc();
        }
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if self.unread {
            self.permit.stats().prefetch_unused.inc();
        }
    }
}

/// A request under way.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    stream: &'a Inner,
    range: (u64, u64),
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = self.stream.0.lock();
        if let Some(at) = state.active.iter().position(|range| *range == self.range) {
            state.active.swap_remove(at);
        }
        state.tidy();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ReaderStats;
    use crate::allowance::Allowance;
    use crate::piece::Part;
    use bytes::Bytes;
    use seaweed::FileId;

    const REACH: Reach = Reach {
        first: 1 << 20,
        most: 8 << 20,
    };
    const M: u64 = 1 << 20;

    fn key(number: u64) -> PieceKey {
        PieceKey {
            needle: FileId {
                volume: 1,
                key: number,
                cookie: 1,
            },
            part: Part::Whole,
        }
    }

    fn piece() -> Arc<Piece> {
        Piece::new(Bytes::from_static(b"piece"), crate::stats::Source::Disk)
    }

    fn pin(allowance: &Arc<Allowance>, number: u64) -> Pin {
        Pin {
            key: key(number),
            from: number * M,
            until: (number + 1) * M,
            piece: None,
            unread: false,
            permit: allowance.permit(1).unwrap(),
        }
    }

    fn counts(stats: &ReaderStats) -> (u64, u64) {
        (stats.prefetch_used.get(), stats.prefetch_unused.get())
    }

    #[test]
    fn a_pin_stays_until_its_reader_has_passed_and_every_request_is_done() {
        let stats = Arc::new(ReaderStats::default());
        let allowance = Allowance::new(100, Arc::clone(&stats));
        let stream = Stream::new();
        for step in 0..4 {
            drop(stream.begin(REACH, step * M / 2, M / 2));
        }
        stream.inner.pin(pin(&allowance, 2));
        stream.inner.pin(pin(&allowance, 3));
        stream.inner.arrived_early(&key(2), &piece());
        assert!(stream.inner.awaits(&key(3)));
        let (_, first) = stream.begin(REACH, 2 * M, M / 2);
        let (_, second) = stream.begin(REACH, 5 * M / 2, M / 2);
        drop(second);
        assert!(
            stream.inner.read(&key(2)).is_some(),
            "the first is not done"
        );
        drop(first);
        assert!(!stream.inner.holds(&key(2)));
        assert!(stream.inner.arrived_late(&key(3), &piece()));
        assert_eq!(allowance.used(), 1);
        drop(stream);
        assert_eq!(allowance.used(), 0);
        assert_eq!(counts(&stats), (1, 0));
    }

    #[test]
    fn pins_go_when_the_reader_goes_elsewhere() {
        let stats = Arc::new(ReaderStats::default());
        let allowance = Allowance::new(100, Arc::clone(&stats));
        let stream = Stream::new();
        for step in 0..4 {
            drop(stream.begin(REACH, step * M, M));
        }
        stream.inner.pin(pin(&allowance, 4));
        stream.inner.arrived_early(&key(4), &piece());
        for step in 0..200u64 {
            let held = stream.inner.holds(&key(4));
            assert!(held || step > 32, "gone after {step} requests");
            drop(stream.begin(REACH, (1000 + step * 7) * M, 4096));
        }
        assert!(!stream.inner.holds(&key(4)));
        assert_eq!(counts(&stats), (0, 1));
    }

    #[test]
    fn an_idle_handle_gives_its_pins_back() {
        let stats = Arc::new(ReaderStats::default());
        let allowance = Allowance::new(2, stats);
        let stream = Stream::new();
        stream.inner.pin(pin(&allowance, 0));
        stream.inner.pin(pin(&allowance, 0));
        assert!(stream.register() && !stream.register());
        let (_, turn) = stream.begin(REACH, 0, 256 << 10);
        stream.inner.drop_idle(Duration::ZERO);
        assert_eq!(allowance.used(), 1, "in use, and pinned once");
        drop(turn);
        stream.inner.drop_idle(Duration::from_secs(3600));
        assert_eq!(allowance.used(), 1);
        stream.inner.drop_idle(Duration::ZERO);
        assert_eq!(allowance.used(), 0);
    }
}
