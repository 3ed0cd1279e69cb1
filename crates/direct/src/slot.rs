//! One volume, as readers see it. Time is an argument, in milliseconds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Guard};
use volume::lent::Borrowed;

use crate::Decline;

/// A volume that somebody has wanted to read.
#[derive(Debug)]
pub(crate) struct Slot {
    state: ArcSwap<State>,
    /// When it was wanted last.
    used: AtomicU64,
    /// Its files are asked for.
    asked: AtomicBool,
}

/// What there is of it.
#[derive(Debug)]
pub(crate) enum State {
    /// Nothing was asked yet.
    New,
    /// Its files are open.
    Open(Open),
    /// There are no files, and none are asked for before this moment.
    Closed(Decline, u64),
}

/// Files, and how long they may be read.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) borrowed: Borrowed,
    until: AtomicU64,
}

/// What a reader is to do.
pub(crate) enum Access {
    /// Read.
    Read(Guard<Arc<State>>),
    /// Go another way.
    Decline(Decline),
    /// Go another way, and have the files asked for.
    Ask(Decline),
}

/// How long files may be read after the sidecar has confirmed them. As long as the sidecar itself may not
/// notice what happens to them but by looking.
pub(crate) const LEASE: u64 = 5_000;

/// A use is noted when the last one is so long ago.
const NOTED: u64 = 1_000;

impl Slot {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            state: ArcSwap::from_pointee(State::New),
            used: AtomicU64::new(now),
            asked: AtomicBool::new(false),
        }
    }

    /// How to read the volume at this moment.
    pub(crate) fn access(&self, now: u64) -> Access {
        if now > self.used.load(Ordering::Relaxed).saturating_add(NOTED) {
            self.used.store(now, Ordering::Relaxed);
        }
        let state = self.state.load();
        match &**state {
            State::New => Access::Ask(Decline::Opening),
            State::Open(open) if open.is_good(now) => Access::Read(state),
            // It is asked every second whether they are the right ones.
            State::Open(_) => Access::Decline(Decline::Lease),
            State::Closed(why, until) if now < *until => Access::Decline(*why),
            State::Closed(why, _) => Access::Ask(*why),
        }
    }

    /// Whether nobody has an answer yet.
    pub(crate) fn is_new(&self) -> bool {
        matches!(**self.state.load(), State::New)
    }

    /// Says that its files are asked for; whether that is news.
    pub(crate) fn ask(&self) -> bool {
        !self.asked.swap(true, Ordering::AcqRel)
    }

    /// The answer was taken over.
    pub(crate) fn answered(&self) {
        self.asked.store(false, Ordering::Release);
    }

    pub(crate) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Takes over files that were asked for at `asked`.
    pub(crate) fn open(&self, borrowed: Borrowed, asked: u64) {
        self.state.store(Arc::new(State::Open(Open {
            borrowed,
            until: AtomicU64::new(asked.saturating_add(LEASE)),
        })));
    }

    /// Has no files until `until`.
    pub(crate) fn close(&self, why: Decline, until: u64) {
        self.state.store(Arc::new(State::Closed(why, until)));
    }

    /// How long nobody has wanted it.
    pub(crate) fn idle(&self, now: u64) -> u64 {
        now.saturating_sub(self.used.load(Ordering::Relaxed))
    }
}

impl Open {
    /// Its files were confirmed by an answer to what was asked at `asked`.
    pub(crate) fn confirm(&self, asked: u64) {
        self.until
            .fetch_max(asked.saturating_add(LEASE), Ordering::AcqRel);
    }

    /// For how long it may not be read any more.
    pub(crate) fn lapsed(&self, now: u64) -> u64 {
        now.saturating_sub(self.until.load(Ordering::Acquire))
    }

    fn is_good(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_without_files_is_asked_for_again_after_a_pause() {
        let slot = Slot::new(0);
        assert!(slot.is_new() && matches!(slot.access(0), Access::Ask(Decline::Opening)));
        assert!(slot.ask() && !slot.ask());
        slot.close(Decline::NotHere, 2_000);
        slot.answered();
        assert!(matches!(
            slot.access(1_999),
            Access::Decline(Decline::NotHere)
        ));
        assert!(matches!(slot.access(2_000), Access::Ask(Decline::NotHere)));
        assert!(slot.ask());
    }

    #[test]
    fn a_use_is_noted_once_a_second() {
        let slot = Slot::new(0);
        slot.access(900);
        assert_eq!(slot.idle(900), 900);
        slot.access(1_500);
        assert_eq!(slot.idle(1_600), 100);
    }
}
