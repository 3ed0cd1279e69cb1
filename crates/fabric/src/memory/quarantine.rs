//! Landings whose server was given up, until it is retired.

use super::arena::Inner;
use super::block::Hand;
use crate::lane::Retiring;

/// What may still be written to, and by whom.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    held: Vec<Held>,
    bytes: usize,
}

#[derive(Debug)]
struct Held {
    start: usize,
    capacity: usize,
    writer: Retiring,
}

impl Quarantine {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Inner {
    /// Keeps a part of the arena out of use until `writer` is retired.
    pub(super) fn quarantine(&self, start: usize, capacity: usize, writer: &Retiring) {
        self.stats.abandoned.inc();
        let mut quarantine = self.quarantine.lock();
        quarantine.bytes += capacity;
        quarantine.held.push(Held {
            start,
            capacity,
            writer: writer.clone(),
        });
    }

    /// Frees what nobody writes to any more; gives the bytes that remain in quarantine.
    pub(super) fn release_retired(&self) -> usize {
        let mut quarantine = self.quarantine.lock();
        if quarantine.held.is_empty() {
            return 0;
        }
        let mut bytes = quarantine.bytes;
        quarantine.held.retain(|held| {
            if !held.writer.is_retired() {
                return true;
            }
            bytes -= held.capacity;
            self.stats.released.inc();
            self.discount(Hand::Quarantine, held.capacity);
            self.give(held.start, held.capacity);
            false
        });
        quarantine.bytes = bytes;
        bytes
    }
}
