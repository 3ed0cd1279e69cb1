//! What the reader counts.

use fabric::Way;
use stats::{Counter, Export, Exporter, Gauge, Histogram};

/// Where the bytes of a read came from. A read that needed several counts as the slowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Holes only.
    Nowhere,
    /// The memory cache, or a piece held by the handle.
    Memory,
    /// The disk cache.
    Disk,
    /// The servers.
    Route(Way),
}

/// The reader's numbers.
#[derive(Debug, Default)]
pub struct ReaderStats {
    /// Reads begun.
    pub reads: Counter,
    /// Reads that failed, interrupted ones included.
    pub errors: Counter,
    /// Bytes that successful reads returned, holes included.
    pub bytes: Counter,
    /// Bytes of holes among them.
    pub hole_bytes: Counter,
    /// Stored bytes that came over the route, prefetches included. Divided by the bytes that
    /// did not come from a cache this is the read amplification.
    pub route_bytes: Counter,
    /// Bytes returned out of memory.
    pub memory_bytes: Counter,
    /// Stored bytes that came from the disk cache.
    pub disk_bytes: Counter,
    /// Runs of wanted bytes found in memory.
    pub memory_hits: Counter,
    /// Runs of wanted bytes not found there.
    pub memory_misses: Counter,
    /// Pieces and ranges found on disk.
    pub disk_hits: Counter,
    /// Pieces and ranges not found there.
    pub disk_misses: Counter,
    /// Times the disk was not asked because it has been slower than the route.
    pub disk_bypasses: Counter,
    /// Files of the disk cache that were damaged, and were dropped.
    pub disk_corrupt: Counter,
    /// Chunks written to the disk cache.
    pub disk_writes: Counter,
    /// Chunks not written because the writer was behind.
    pub disk_dropped: Counter,
    /// Files of the disk cache removed to make room.
    pub disk_evictions: Counter,
    /// Errors of the disk cache's file system.
    pub disk_errors: Counter,
    /// Bytes in the disk cache now.
    pub disk_held: Gauge,
    /// Pieces dropped from memory to make room.
    pub evictions: Counter,
    /// Reads that had to do without a buffer because all memory was in use.
    pub starved: Counter,
    /// Waits for a piece that somebody else was fetching already.
    pub joins: Counter,
    /// Pieces fetched ahead.
    pub prefetched: Counter,
    /// Pieces fetched ahead and then read.
    pub prefetch_used: Counter,
    /// Pieces fetched ahead and never read.
    pub prefetch_unused: Counter,
    /// Prefetches given up for want of memory.
    pub prefetch_refused: Counter,
    /// Prefetches that failed; the read that needs the piece sees the error itself.
    pub prefetch_errors: Counter,
    /// Small files fetched before they were opened.
    pub small_ahead: Counter,
    /// Those of them that were read.
    pub small_used: Counter,
    /// Chunks from sidecars that were compared with their entry's MD5.
    pub proofs: Counter,
    /// Those that a sidecar had other bytes for.
    pub disproofs: Counter,
    /// Manifests resolved.
    pub manifests: Counter,
    /// Reads answered from memory alone.
    pub memory_latency: Histogram,
    /// Reads that needed the disk cache.
    pub disk_latency: Histogram,
    /// Reads that needed volume files of this host and nothing slower.
    pub short_circuit_latency: Histogram,
    /// Reads that needed the fabric and nothing slower.
    pub fabric_latency: Histogram,
    /// Reads that needed HTTP.
    pub http_latency: Histogram,
    /// Bytes of memory held, cached or in use.
    pub memory_held: Gauge,
}

impl Export for ReaderStats {
    fn export(&self, to: &mut dyn Exporter) {
        let plain: [(&str, &str, &Counter); 22] = [
            ("reads", "Reads begun", &self.reads),
            ("reader_errors", "Reads of chunks that failed", &self.errors),
            ("reader_bytes", "Bytes from chunks and holes", &self.bytes),
            (
                "read_hole_bytes",
                "Zeros returned for holes",
                &self.hole_bytes,
            ),
            (
                "read_route_bytes",
                "Stored bytes fetched over the route",
                &self.route_bytes,
            ),
            (
                "reader_evictions",
                "Pieces dropped from memory",
                &self.evictions,
            ),
            (
                "reader_starved",
                "Reads that found no memory to cache into",
                &self.starved,
            ),
            (
                "reader_joins",
                "Waits for another reader's fetch",
                &self.joins,
            ),
            (
                "reader_prefetched",
                "Pieces fetched ahead",
                &self.prefetched,
            ),
            (
                "reader_prefetch_used",
                "Pieces fetched ahead and read",
                &self.prefetch_used,
            ),
            (
                "reader_prefetch_unused",
                "Pieces fetched ahead in vain",
                &self.prefetch_unused,
            ),
            (
                "reader_prefetch_refused",
                "Prefetches given up for want of memory",
                &self.prefetch_refused,
            ),
            (
                "reader_prefetch_errors",
                "Prefetches that failed",
                &self.prefetch_errors,
            ),
            (
                "reader_small_ahead",
                "Small files fetched before they were opened",
                &self.small_ahead,
            ),
            (
                "reader_small_used",
                "Small files fetched before they were opened, and read",
                &self.small_used,
            ),
            (
                "reader_proofs",
                "Chunks from sidecars compared with their entry's MD5",
                &self.proofs,
            ),
            (
                "reader_disproofs",
                "Chunks that a sidecar had other bytes for than the volume server",
                &self.disproofs,
            ),
            ("reader_manifests", "Manifests resolved", &self.manifests),
            (
                "reader_disk_corrupt",
                "Damaged files dropped from the disk cache",
                &self.disk_corrupt,
            ),
            (
                "reader_disk_evictions",
                "Files removed from the disk cache",
                &self.disk_evictions,
            ),
            (
                "reader_disk_errors",
                "Errors of the disk cache's file system",
                &self.disk_errors,
            ),
            (
                "reader_disk_bypasses",
                "Times the disk cache was slower than the route",
                &self.disk_bypasses,
            ),
        ];
        for (name, help, counter) in plain {
            to.counter(name, help, &[], counter.get());
        }
        for (outcome, counter) in [("done", &self.disk_writes), ("dropped", &self.disk_dropped)] {
            let labels = [("outcome", outcome)];
            to.counter(
                "reader_disk_writes",
                "Chunks offered",
                &labels,
                counter.get(),
            );
        }
        let tiers = [
            (
                "memory",
                &self.memory_hits,
                &self.memory_misses,
                &self.memory_bytes,
            ),
            ("disk", &self.disk_hits, &self.disk_misses, &self.disk_bytes),
        ];
        for (tier, hits, misses, bytes) in tiers {
            let labels = [("tier", tier)];
            to.counter("cache_hits", "Pieces found", &labels, hits.get());
            to.counter("cache_misses", "Pieces not found", &labels, misses.get());
            to.counter(
                "cache_read_bytes",
                "Bytes taken from it",
                &labels,
                bytes.get(),
            );
        }
        for (tier, held) in [("memory", &self.memory_held), ("disk", &self.disk_held)] {
            let labels = [("tier", tier)];
            to.gauge("cache_held_bytes", "Bytes held", &labels, held.get() as f64);
        }
        for (source, latency) in [
            ("memory", &self.memory_latency),
            ("disk", &self.disk_latency),
            ("short_circuit", &self.short_circuit_latency),
            ("fabric", &self.fabric_latency),
            ("http", &self.http_latency),
        ] {
            let labels = [("source", source)];
            let name = "read_latency_seconds";
            to.histogram(
                name,
                "Time of a read by its slowest source",
                &labels,
                &latency.snapshot(),
            );
        }
    }
}
