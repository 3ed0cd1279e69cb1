//! What the writer counts.

use stats::{Counter, Export, Exporter, Gauge};

/// The writer's numbers.
#[derive(Debug, Default)]
pub struct WriterStats {
    /// Bytes taken from programs.
    pub bytes: Counter,
    /// Chunks stored.
    pub chunks: Counter,
    /// Blocks that could not be stored.
    pub failures: Counter,
    /// Writes that had to wait for memory.
    pub waits: Counter,
    /// Blocks moved to the swap file.
    pub swapped: Counter,
    /// Memory that written bytes take.
    pub held: Gauge,
    /// Bytes of the swap file in use.
    pub swap_held: Gauge,
}

impl Export for WriterStats {
    fn export(&self, to: &mut dyn Exporter) {
        for (name, help, counter) in [
            ("writer_bytes", "Bytes that programs wrote.", &self.bytes),
            ("write_chunks", "Chunks stored.", &self.chunks),
            (
                "write_failures",
                "Blocks that could not be stored.",
                &self.failures,
            ),
            (
                "write_waits",
                "Writes that had to wait for memory.",
                &self.waits,
            ),
            (
                "write_swapped",
                "Blocks moved to the swap file.",
                &self.swapped,
            ),
        ] {
            to.counter(name, help, &[], counter.get());
        }
        let help = "Memory that written bytes take.";
        to.gauge("write_held_bytes", help, &[], self.held.get() as f64);
        let help = "Bytes of the swap file in use.";
        to.gauge("write_swap_bytes", help, &[], self.swap_held.get() as f64);
    }
}
