//! Numbers of writes over the fabric.

use std::time::Duration;

use stats::{Counter, Export, Exporter, Histogram};

use crate::client::Reason;

/// What a [`FabricStore`](super::FabricStore) has done so far, and what it was no help for.
#[derive(Debug, Default)]
pub struct WriteStats {
    carried: [Carried; CARRIERS.len()],
    /// Writes that had to go another way, or failed for want of one.
    missed: [Counter; Reason::ALL.len()],
}

/// What went over one carrier.
#[derive(Debug, Default)]
struct Carried {
    bytes: Counter,
    time: Histogram,
}

/// The carriers, and one for what the list forgets.
const CARRIERS: [&str; 4] = ["shm", "tcp", "rdma", "other"];

impl WriteStats {
    /// Writes that volume servers have taken, over all carriers.
    pub fn writes(&self) -> u64 {
        let times = self.carried.iter().map(|carried| &carried.time);
        times.map(|time| time.snapshot().count()).sum()
    }

    /// Bytes of those.
    pub fn bytes(&self) -> u64 {
        self.carried.iter().map(|carried| carried.bytes.get()).sum()
    }

    /// Writes that had to go another way, for whatever reason.
    pub fn missed(&self) -> u64 {
        self.missed.iter().map(Counter::get).sum()
    }

    /// Writes that had to go another way for this reason.
    pub fn missed_for(&self, reason: Reason) -> u64 {
        let mut reasons = Reason::ALL.iter().zip(&self.missed);
        let found = reasons.find(|(known, _)| **known == reason);
        found.map_or(0, |(_, counter)| counter.get())
    }

    pub(super) fn delivered(&self, carrier: &str, bytes: u64, took: Duration) {
        let known = CARRIERS.iter().position(|known| *known == carrier);
        let carried = &self.carried[known.unwrap_or(CARRIERS.len() - 1)];
        carried.bytes.add(bytes);
        carried.time.record(took);
    }

    pub(super) fn count(&self, reason: Reason) {
        let mut reasons = Reason::ALL.iter().zip(&self.missed);
        if let Some((_, counter)) = reasons.find(|(known, _)| **known == reason) {
            counter.inc();
        }
    }
}

impl Export for WriteStats {
    fn export(&self, to: &mut dyn Exporter) {
        for (carrier, carried) in CARRIERS.iter().zip(&self.carried) {
            let time = carried.time.snapshot();
            if time.count() == 0 {
                continue;
            }
            let labels = [("carrier", *carrier)];
            let help = "Needles that volume servers have taken over the fabric.";
            to.counter("fabric_writes", help, &labels, time.count());
            let help = "Bytes of those.";
            to.counter("fabric_write_bytes", help, &labels, carried.bytes.get());
            let help = "Time of writes over the fabric.";
            to.histogram("fabric_write_seconds", help, &labels, &time);
        }
        for (reason, counter) in Reason::ALL.iter().zip(&self.missed) {
            let help = "Writes that the fabric did not deliver, by the reason.";
            let labels = [("reason", reason.name())];
            to.counter("fabric_write_fallbacks", help, &labels, counter.get());
        }
    }
}
