//! Which thread is working on which request, so that an INTERRUPT finds it.
//!
//! Every worker has a [`Slot`] that says which request it is at. INTERRUPT is
//! rare and looks through all slots; a request pays one uncontended lock at its
//! beginning and one at its end. The lock also makes sure that an interrupt
//! meant for one request never hits the next one on the same thread.
//!
//! An INTERRUPT can overtake its request: the kernel hands out both, to two
//! threads, and the other thread may not have noted the request yet. It is then
//! answered with EAGAIN, upon which the kernel queues it again as long as the
//! request is unanswered (and forgets about it otherwise), so it comes back
//! until either is done.
//!
//! The kernel sends one for any signal that has a handler or ends the caller. No
//! program expects EINTR from a file: databases give up when fsync(2) returns it,
//! and runtimes send signals to their own threads all the time. So only a caller
//! who is [dying](crate::caller) is one who has given up; of any other, the
//! INTERRUPT is queued again after a moment, in case that changes. Who waits for a
//! lock may be interrupted by any signal, as fcntl(2) says.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use context::Interrupt;
use parking_lot::{Condvar, Mutex, RwLock};

/// The request numbers of all workers.
#[derive(Debug, Default)]
pub(crate) struct Running {
    slots: RwLock<Vec<Arc<Slot>>>,
    ended: Mutex<bool>,
    ends: Condvar,
}

/// What one worker is at.
#[derive(Debug)]
pub(crate) struct Slot {
    current: Mutex<Current>,
    interrupt: Interrupt,
}

/// A request that somebody is at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Current {
    /// 0 between requests; the kernel never uses that number.
    pub(crate) unique: u64,
    /// Thread of the caller, 0 if it is not known.
    pub(crate) pid: u32,
    /// Any signal ends it, also one that has a handler.
    pub(crate) waits_for_lock: bool,
}

/// What an INTERRUPT comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The request is told.
    Raised,
    /// The caller got a signal and lives on.
    Alive,
    /// Nobody is at the request: not yet, or not any more.
    Unknown,
}

impl Running {
    /// A slot for a new worker.
    pub(crate) fn register(&self) -> io::Result<Arc<Slot>> {
        let slot = Arc::new(Slot {
            current: Mutex::default(),
            interrupt: Interrupt::new()?,
        });
        self.slots.write().push(Arc::clone(&slot));
        Ok(slot)
    }

    /// The worker is gone.
    pub(crate) fn unregister(&self, slot: &Arc<Slot>) {
        self.slots.write().retain(|other| !Arc::ptr_eq(other, slot));
    }

    /// Raises the interrupt of a request if its caller `has_given_up`.
    pub(crate) fn interrupt(
        &self,
        unique: u64,
        has_given_up: impl FnOnce(&Current) -> bool,
    ) -> Outcome {
        let found = {
            let slots = self.slots.read();
            slots.iter().find_map(|slot| {
                let current = *slot.current.lock();
                (current.unique == unique && unique != 0).then(|| (Arc::clone(slot), current))
            })
        };
        match found {
            None => Outcome::Unknown,
            Some((slot, current)) if has_given_up(&current) => match slot.raise(unique) {
                true => Outcome::Raised,
                false => Outcome::Unknown,
            },
            Some(_) => Outcome::Alive,
        }
    }

    /// The numbers of all requests that somebody is at.
    pub(crate) fn under_way(&self) -> Vec<u64> {
        let slots = self.slots.read();
        let uniques = slots.iter().map(|slot| slot.current.lock().unique);
        uniques.filter(|unique| *unique != 0).collect()
    }

    /// Waits so long, or until the session [ends](Self::end); whether it has.
    pub(crate) fn ends_within(&self, time: Duration) -> bool {
        let mut ended = self.ended.lock();
        if !*ended {
            self.ends.wait_for(&mut ended, time);
        }
        *ended
    }

    /// Raises every interrupt: the kernel waits for no answer any more.
    pub(crate) fn end(&self) {
        *self.ended.lock() = true;
        self.ends.notify_all();
        for slot in self.slots.read().iter() {
            slot.interrupt.raise();
        }
    }
}

impl Slot {
    /// Begins a request.
    pub(crate) fn begin(&self, request: Current) {
        let mut current = self.current.lock();
        self.interrupt.clear();
        *current = request;
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        *self.current.lock() = Current::default();
    }

    /// Raised when the caller of the current request gives up.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    fn raise(&self, unique: u64) -> bool {
        let current = self.current.lock();
        let hit = current.unique == unique && unique != 0;
        if hit {
            self.interrupt.raise();
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(unique: u64, pid: u32) -> Current {
        Current {
            unique,
            pid,
            waits_for_lock: false,
        }
    }

    #[test]
    fn an_interrupt_hits_its_request_and_not_the_next() {
        let running = Running::default();
        let slot = running.register().unwrap();
        let killed = |unique| running.interrupt(unique, |_| true);
        assert_eq!(killed(8), Outcome::Unknown, "too early");
        slot.begin(request(8, 1));
        assert_eq!(killed(10), Outcome::Unknown);
        assert!(!slot.interrupt().is_raised());
        assert_eq!(killed(8), Outcome::Raised);
        assert!(slot.interrupt().is_raised());
        slot.end();
        assert_eq!(killed(8), Outcome::Unknown, "too late");
        slot.begin(request(10, 1));
        assert!(!slot.interrupt().is_raised());
        running.unregister(&slot);
        assert_eq!(killed(10), Outcome::Unknown);
    }

    #[test]
    fn who_lives_on_goes_on_waiting() {
        let running = Running::default();
        let slot = running.register().unwrap();
        slot.begin(request(8, 77));
        let dying = |caller: &Current| caller.pid != 77;
        assert_eq!(running.interrupt(8, dying), Outcome::Alive);
        assert!(!slot.interrupt().is_raised());
        assert_eq!(running.under_way(), [8]);
        slot.end();
        slot.begin(request(10, 78));
        assert_eq!(running.interrupt(10, dying), Outcome::Raised);
        assert!(!running.ends_within(Duration::ZERO));
        running.end();
        assert!(running.ends_within(Duration::from_secs(60)));
    }
}
