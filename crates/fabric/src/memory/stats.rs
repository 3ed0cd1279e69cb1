//! Numbers of an arena.

use stats::{Counter, Export, Exporter, Gauge};

/// What an [`Arena`](super::Arena) is used for.
#[derive(Debug, Default)]
pub struct ArenaStats {
    /// Bytes of address space; what was never used has no memory behind it.
    pub size: Gauge,
    /// Bytes in blocks of ours.
    pub blocks: Gauge,
    /// Bytes offered to servers.
    pub landings: Gauge,
    /// Bytes that a server which was given up may still write to.
    pub quarantined: Gauge,
    /// Bytes of landings that were dropped without being reclaimed or abandoned.
    pub lost: Gauge,
    /// Blocks taken.
    pub taken: Counter,
    /// Blocks refused for want of room.
    pub refused: Counter,
    /// Blocks refused because too much was in quarantine.
    pub withheld: Counter,
    /// Landings put in quarantine.
    pub abandoned: Counter,
    /// Landings that left it, their writer being retired.
    pub released: Counter,
    /// Bytes of free memory given back to the system.
    pub returned: Counter,
}

impl Export for ArenaStats {
    fn export(&self, to: &mut dyn Exporter) {
        let help = "Bytes of the arena's address space.";
        to.gauge("arena_size_bytes", help, &[], self.size.get() as f64);
        for (state, gauge) in [
            ("block", &self.blocks),
            ("landing", &self.landings),
            ("quarantined", &self.quarantined),
            ("lost", &self.lost),
        ] {
            let help = "Bytes of the arena in use, by whose hands they are in.";
            let labels = [("state", state)];
            to.gauge("arena_bytes", help, &labels, gauge.get() as f64);
        }
        for (name, help, counter) in [
            ("arena_taken", "Blocks taken.", &self.taken),
            (
                "arena_refused",
                "Blocks refused for want of room.",
                &self.refused,
            ),
            (
                "arena_withheld",
                "Blocks refused because too much was in quarantine.",
                &self.withheld,
            ),
            (
                "arena_abandoned",
                "Landings put in quarantine.",
                &self.abandoned,
            ),
            (
                "arena_released",
                "Landings that left the quarantine.",
                &self.released,
            ),
            (
                "arena_returned_bytes",
                "Bytes of free memory given back to the system.",
                &self.returned,
            ),
        ] {
            to.counter(name, help, &[], counter.get());
        }
    }
}
