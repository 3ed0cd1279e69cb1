//! Numbers of reads over the fabric.

use std::time::Duration;

use stats::{Counter, Export, Exporter, Histogram};

use super::Missed;

/// What a [`FabricRoute`](super::FabricRoute) has done so far, and what it was no help for.
#[derive(Debug, Default)]
pub struct FabricStats {
    carried: [Carried; CARRIERS.len()],
    /// Lanes opened.
    pub opened: Counter,
    /// Questions to a second sidecar because the first one took long.
    pub hedges: Counter,
    /// Hedges that were answered first.
    pub hedges_won: Counter,
    /// Questions that nobody waits for any more.
    pub abandoned: Counter,
    /// Answers that came while the reader polled for them instead of sleeping.
    pub polled: Counter,
    /// Answers whose bytes have another checksum.
    pub corrupt: Counter,
    /// Exchanges for several needles that nobody waited for yet.
    pub together: Counter,
    /// Needles that came with them.
    pub together_needles: Counter,
    /// Reads that had to go another way, or failed for want of one.
    missed: [Counter; KINDS],
}

/// What came over one carrier.
#[derive(Debug, Default)]
struct Carried {
    bytes: Counter,
    time: Histogram,
}

/// The carriers, and one for what the list forgets.
const CARRIERS: [&str; 4] = ["shm", "tcp", "rdma", "other"];
/// As many as [`Missed::kinds`] gives.
const KINDS: usize = 17;

impl FabricStats {
    /// Reads delivered, over all carriers.
    pub fn reads(&self) -> u64 {
        let times = self.carried.iter().map(|carried| &carried.time);
        times.map(|time| time.snapshot().count()).sum()
    }

    /// Reads that had to go another way, for whatever reason.
    pub fn missed(&self) -> u64 {
        self.missed.iter().map(Counter::get).sum()
    }

    /// Reads that had to go another way because of what [`Missed::kind`] calls `kind`.
    pub fn missed_for(&self, kind: &str) -> u64 {
        let mut kinds = Missed::kinds().zip(&self.missed);
        kinds
            .find(|(known, _)| *known == kind)
            .map_or(0, |(_, counter)| counter.get())
    }

    pub(crate) fn delivered(&self, carrier: &str, bytes: usize, took: Duration) {
        let carried = self.over(carrier);
        carried.bytes.add(bytes as u64);
        carried.time.record(took);
    }

    /// Bytes came that nobody has asked for yet: no read was delivered.
    pub(crate) fn came_ahead(&self, carrier: &str, bytes: usize) {
        self.over(carrier).bytes.add(bytes as u64);
    }

    fn over(&self, carrier: &str) -> &Carried {
        let known = CARRIERS.iter().position(|known| *known == carrier);
        &self.carried[known.unwrap_or(CARRIERS.len() - 1)]
    }

    pub(crate) fn count(&self, missed: &Missed) {
        let mut kinds = Missed::kinds().zip(&self.missed);
        if let Some((_, counter)) = kinds.find(|(kind, _)| *kind == missed.kind()) {
            counter.inc();
        }
    }
}

impl Export for FabricStats {
    fn export(&self, to: &mut dyn Exporter) {
        for (carrier, carried) in CARRIERS.iter().zip(&self.carried) {
            let time = carried.time.snapshot();
            if time.count() == 0 {
                continue;
            }
            let labels = [("carrier", *carrier)];
            let help = "Needles or parts of them delivered over the fabric.";
            to.counter("fabric_reads", help, &labels, time.count());
            let help = "Bytes delivered over the fabric.";
            to.counter("fabric_bytes", help, &labels, carried.bytes.get());
            let help = "Time of reads delivered over the fabric.";
            to.histogram("fabric_read_seconds", help, &labels, &time);
        }
        for (kind, counter) in Missed::kinds().zip(&self.missed) {
            let help = "Reads that the fabric did not deliver, by the reason.";
            to.counter("fabric_fallbacks", help, &[("reason", kind)], counter.get());
        }
        for (name, help, counter) in [
            ("fabric_lanes_opened", "Lanes opened.", &self.opened),
            (
                "fabric_hedges",
                "Questions to a second sidecar, as the first took long.",
                &self.hedges,
            ),
            (
                "fabric_hedges_won",
                "Hedges that were answered first.",
                &self.hedges_won,
            ),
            (
                "fabric_abandoned",
                "Questions that nobody waited for any more.",
                &self.abandoned,
            ),
            (
                "fabric_polled",
                "Answers that came while the reader polled for them instead of sleeping.",
                &self.polled,
            ),
            (
                "fabric_together",
                "Exchanges for several needles, ahead of their readers.",
                &self.together,
            ),
            (
                "fabric_together_needles",
                "Needles that came with them.",
                &self.together_needles,
            ),
            (
                "fabric_corrupt",
                "Answers with another checksum than their bytes.",
                &self.corrupt,
            ),
        ] {
            to.counter(name, help, &[], counter.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Reason;

    #[test]
    fn every_reason_has_a_counter_of_its_own() {
        assert_eq!(Missed::kinds().count(), KINDS);
        let kinds: std::collections::HashSet<_> = Missed::kinds().collect();
        assert_eq!(kinds.len(), KINDS);
        let stats = FabricStats::default();
        stats.count(&Missed::Suspect);
        stats.count(&Missed::Fallback(Reason::Busy));
        stats.count(&Missed::Fallback(Reason::Busy));
        stats.count(&Missed::Refused { len: 1 });
        assert_eq!(stats.missed_for("busy"), 2);
        assert_eq!(stats.missed_for("suspect"), 1);
        assert_eq!(stats.missed(), 3);
    }
}
