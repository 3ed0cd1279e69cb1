//! The thread that keeps volumes: it asks for the files of those that are wanted, has leases confirmed, and lets go
//! of what nobody reads.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use volume::Reason;
use volume::lent::{BorrowError, Files};

use super::Shared;
use crate::slot::{Open, Slot, State};
use crate::{Decline, Library, Offer};

/// How often leases are confirmed.
const CONFIRM: Duration = Duration::from_secs(1);
/// What was not lent is not asked for again for so long, in milliseconds.
const PAUSE: u64 = 2_000;
/// After silence, which costs the thread some time.
const SILENT_PAUSE: u64 = 500;
/// A volume that nobody reads or confirms for so long is given back; one that nobody reads so much earlier where
/// others have no room.
const IDLE: u64 = 60_000;
const IDLE_IN_NEED: u64 = 5_000;

impl Shared {
    /// The thread's life.
    pub(super) fn work(&self, mut library: Box<dyn Library>) {
        let mut confirm_at = Instant::now() + CONFIRM;
        loop {
            let mut wanted = self.wanted.lock();
            while wanted.volumes.is_empty()
                && !wanted.is_over
                && !self.called.wait_until(&mut wanted, confirm_at).timed_out()
            {}
            if wanted.is_over {
                return;
            }
            let next = wanted.volumes.pop_front();
            drop(wanted);
            if let Some(volume) = next {
                self.borrow(volume, library.as_mut());
            }
            if Instant::now() >= confirm_at {
                self.let_go();
                self.confirm_all(library.as_mut());
                confirm_at = Instant::now() + CONFIRM;
            }
        }
    }

    /// Asks for the files of a volume that somebody wants.
    fn borrow(&self, volume: u32, library: &mut dyn Library) {
        let Some(slot) = self.table.load().get(&volume).cloned() else {
            return;
        };
        self.renew(volume, &slot, library);
        // After the answer, under the lock that waiters hold while they look.
        let wanted = self.wanted.lock();
        slot.answered();
        drop(wanted);
        self.answered.notify_all();
    }

    fn confirm_all(&self, library: &mut dyn Library) {
        let open = self.table.load_full();
        for (volume, slot) in open.iter() {
            if matches!(*slot.state(), State::Open(_)) {
                self.renew(*volume, slot, library);
            }
            if self.wanted.lock().is_over {
                return;
            }
        }
    }

    /// Asks whether the files that are held are the ones, or for others.
    fn renew(&self, volume: u32, slot: &Slot, library: &mut dyn Library) {
        let state = slot.state();
        let held = match &*state {
            State::Open(open) if open.borrowed.keep_up() => Some(open),
            _ => None,
        };
        let asked = self.now();
        match (
            library.borrow(volume, held.map(|open| open.borrowed.inodes())),
            held,
        ) {
            (Offer::Same, Some(open)) => self.confirmed(open, asked),
            (Offer::Files(files), _) => {
                // What was held goes first, so that an index is not counted twice.
                slot.close(Decline::Replaced, asked + PAUSE);
                drop(state);
                self.take_over(volume, slot, files, asked);
            }
            // The lease runs on, or is over. A sidecar that is killed is not known any more a moment later.
            (Offer::Silence | Offer::Nothing(Decline::NoSidecar), Some(_)) => {}
            (Offer::Nothing(why), _) => slot.close(why, self.now() + PAUSE),
            (Offer::Silence, None) => slot.close(Decline::Unreachable, self.now() + SILENT_PAUSE),
            // Nothing was held: nonsense.
            (Offer::Same, None) => slot.close(Decline::Failed, self.now() + PAUSE),
        }
    }

    fn confirmed(&self, open: &Open, asked: u64) {
        self.stats.confirmed.inc();
        open.confirm(asked);
    }

    fn take_over(&self, volume: u32, slot: &Slot, files: Files, asked: u64) {
        match self.borrower.borrow(files) {
            Ok(borrowed) => {
                self.stats.borrowed.inc();
                tracing::debug!(volume, "its files are read by this mount itself");
                slot.open(borrowed, asked);
            }
            Err(BorrowError::Declined(
                why @ (Reason::TooMany { .. } | Reason::IndexMemory { .. }),
            )) => {
                tracing::debug!(volume, %why, "not read by this mount itself");
                self.make_room();
                slot.close(Decline::Budget, self.now() + PAUSE);
            }
            Err(error) => {
                tracing::warn!(volume, %error, "files that were lent cannot be used");
                slot.close(Decline::Declined, self.now() + PAUSE);
            }
        }
    }

    /// Gives back the volume that was not wanted for longest, if that is long enough.
    fn make_room(&self) {
        let now = self.now();
        let table = self.table.load_full();
        let open = table.iter().filter(|(_, slot)| {
            matches!(*slot.state(), State::Open(_)) && slot.idle(now) > IDLE_IN_NEED
        });
        if let Some((volume, _)) = open.max_by_key(|(_, slot)| slot.idle(now)) {
            self.remove(|other, _| other == volume);
        }
    }

    /// Gives back what nobody wants, or confirms.
    fn let_go(&self) {
        let now = self.now();
        let is_idle = |slot: &Slot| {
            let has_lapsed = matches!(&*slot.state(), State::Open(open) if open.lapsed(now) > IDLE);
            has_lapsed || slot.idle(now) > IDLE
        };
        if self.table.load().values().any(|slot| is_idle(slot)) {
            self.remove(|_, slot| is_idle(slot));
        }
    }

    fn remove(&self, unwanted: impl Fn(&u32, &Slot) -> bool) {
        let _changing = self.wanted.lock();
        let mut smaller = HashMap::clone(&self.table.load());
        smaller.retain(|volume, slot| !unwanted(volume, slot));
        self.table.store(Arc::new(smaller));
    }
}
