//! What is counted.

use stats::{Counter, Export, Exporter};

use crate::Decline;

/// Numbers of short-circuit reads.
#[derive(Debug, Default)]
pub struct ShortCircuitStats {
    /// Needles or parts of them that were read.
    pub reads: Counter,
    /// Bytes of those.
    pub bytes: Counter,
    /// Times that files were lent.
    pub borrowed: Counter,
    /// Times that files were confirmed.
    pub confirmed: Counter,
    declined: [Counter; Decline::ALL.len()],
}

impl ShortCircuitStats {
    /// Reads that were left to the next route for this reason.
    pub fn declined_for(&self, why: Decline) -> u64 {
        self.declined[why as usize].get()
    }

    pub(crate) fn decline(&self, why: Decline) {
        self.declined[why as usize].inc();
    }
}

impl Export for ShortCircuitStats {
    fn export(&self, to: &mut dyn Exporter) {
        for (name, help, counter) in [
            (
                "short_circuit_reads",
                "Needles or parts of them read out of files of this host.",
                &self.reads,
            ),
            (
                "short_circuit_bytes",
                "Bytes read out of files of this host.",
                &self.bytes,
            ),
            (
                "short_circuit_borrowed",
                "Times that a sidecar lent the files of a volume.",
                &self.borrowed,
            ),
            (
                "short_circuit_confirmed",
                "Times that a sidecar confirmed that files are the right ones.",
                &self.confirmed,
            ),
        ] {
            to.counter(name, help, &[], counter.get());
        }
        for why in Decline::ALL {
            let help = "Reads left to the fabric or HTTP, by the reason.";
            let labels = [("reason", why.name())];
            to.counter(
                "short_circuit_declines",
                help,
                &labels,
                self.declined_for(why),
            );
        }
    }
}
