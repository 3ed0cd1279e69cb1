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

use std::io;
use std::sync::Arc;

use context::Interrupt;
use parking_lot::{Mutex, RwLock};

/// The request numbers of all workers.
#[derive(Debug, Default)]
pub(crate) struct Running {
    slots: RwLock<Vec<Arc<Slot>>>,
}

/// What one worker is at.
#[derive(Debug)]
pub(crate) struct Slot {
    /// 0 between requests; the kernel never uses that number.
    unique: Mutex<u64>,
    interrupt: Interrupt,
}

impl Running {
    /// A slot for a new worker.
    pub(crate) fn register(&self) -> io::Result<Arc<Slot>> {
        let slot = Arc::new(Slot {
            unique: Mutex::new(0),
            interrupt: Interrupt::new()?,
        });
        self.slots.write().push(Arc::clone(&slot));
        Ok(slot)
    }

    /// The worker is gone.
    pub(crate) fn unregister(&self, slot: &Arc<Slot>) {
        self.slots.write().retain(|other| !Arc::ptr_eq(other, slot));
    }

    /// Raises the interrupt of a request; false if nobody is at it.
    pub(crate) fn interrupt(&self, unique: u64) -> bool {
        self.slots.read().iter().any(|slot| slot.raise(unique))
    }

    /// Raises every interrupt: the kernel waits for no answer any more.
    pub(crate) fn interrupt_all(&self) {
        for slot in self.slots.read().iter() {
            slot.interrupt.raise();
        }
    }
}

impl Slot {
    /// Begins a request.
    pub(crate) fn begin(&self, unique: u64) {
        let mut current = self.unique.lock();
        self.interrupt.clear();
        *current = unique;
    }

    /// Ends it.
    pub(crate) fn end(&self) {
        *self.unique.lock() = 0;
    }

    /// Raised when the caller of the current request gives up.
    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    fn raise(&self, unique: u64) -> bool {
        let current = self.unique.lock();
        let hit = *current == unique && unique != 0;
        if hit {
            self.interrupt.raise();
        }
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupt_hits_its_request_and_not_the_next() {
        let running = Running::default();
        let slot = running.register().unwrap();
        assert!(!running.interrupt(8), "too early");
        slot.begin(8);
        assert!(!running.interrupt(10));
        assert!(!slot.interrupt().is_raised());
        assert!(running.interrupt(8));
        assert!(slot.interrupt().is_raised());
        slot.end();
        assert!(!running.interrupt(8), "too late");
        slot.begin(10);
        assert!(!slot.interrupt().is_raised());
        running.unregister(&slot);
        assert!(!running.interrupt(10));
    }
}
