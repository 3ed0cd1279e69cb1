//! What the sidecar counts.

use std::time::Duration;

use stats::{Counter, Export, Exporter, Gauge, Histogram};

/// Numbers of the HTTP side.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads answered with bytes from volumes here.
    pub reads: Counter,
    /// Bytes of those.
    pub bytes: Counter,
    /// From a request to its first bytes.
    pub time: Histogram,
    /// Reads of which nothing was served, by reason.
    pub denied: DeniedCounters,
    /// Reads answered by the sidecar of another server.
    pub forwarded: Counter,
    /// Those of them that came over the fabric.
    pub forwarded_over_fabric: Counter,
    /// Reads that another sidecar should have answered and did not.
    pub forward_failures: Counter,
    /// Answers that broke off, because the rest could not be read or is damaged.
    pub broken_off: Counter,
    /// Connections now.
    pub connections: Gauge,
    /// Connections closed at once because there were too many.
    pub turned_away: Counter,
    /// TLS handshakes that failed.
    pub handshake_failures: Counter,
    /// Times the entry at the filer was renewed.
    pub registrations: Counter,
    /// Times it could not be.
    pub registration_failures: Counter,
}

/// Reads of which nothing was served.
#[derive(Debug, Default)]
pub struct DeniedCounters {
    /// No such needle.
    pub absent: Counter,
    /// No such volume.
    pub not_here: Counter,
    /// The volume's form is not served.
    pub declined: Counter,
    /// The volume's index is being read.
    pub loading: Counter,
    /// Damaged.
    pub corrupt: Counter,
    /// The disk failed.
    pub failed: Counter,
    /// Past the end.
    pub past_end: Counter,
    /// Too much to do.
    pub busy: Counter,
    /// No token, or a wrong one.
    pub unauthorized: Counter,
    /// Nonsense.
    pub bad_request: Counter,
}

impl DeniedCounters {
    fn all(&self) -> [(&'static str, &Counter); 10] {
        [
            ("absent", &self.absent),
            ("not_here", &self.not_here),
            ("declined", &self.declined),
            ("loading", &self.loading),
            ("corrupt", &self.corrupt),
            ("failed", &self.failed),
            ("past_end", &self.past_end),
            ("busy", &self.busy),
            ("unauthorized", &self.unauthorized),
            ("bad_request", &self.bad_request),
        ]
    }
}

impl Counters {
    /// Counts a read that is answered with `bytes`.
    pub fn served(&self, bytes: u64, took: Duration) {
        self.reads.inc();
        self.bytes.add(bytes);
        self.time.record(took);
    }
}

impl Export for Counters {
    fn export(&self, to: &mut dyn Exporter) {
        let http = [("carrier", "http")];
        let reads = "Reads answered with bytes from volumes here.";
        to.counter("sidecar_reads", reads, &http, self.reads.get());
        let bytes = "Clear bytes given.";
        to.counter("sidecar_read_bytes", bytes, &http, self.bytes.get());
        let time = "From a request to its first bytes.";
        to.histogram("sidecar_read_seconds", time, &http, &self.time.snapshot());
        for (reason, counter) in self.denied.all() {
            let labels = [("reason", reason)];
            let help = "Reads of which nothing was served.";
            to.counter("sidecar_denied", help, &labels, counter.get());
        }
        for (name, help, counter) in [
            (
                "sidecar_forwarded",
                "Reads answered by the sidecar of another server.",
                &self.forwarded,
            ),
            (
                "sidecar_forwarded_over_fabric",
                "Reads answered by the sidecar of another server over the fabric.",
                &self.forwarded_over_fabric,
            ),
            (
                "sidecar_forward_failures",
                "Reads that another sidecar should have answered and did not.",
                &self.forward_failures,
            ),
            (
                "sidecar_broken_off",
                "Answers that broke off because the rest could not be read or is damaged.",
                &self.broken_off,
            ),
            (
                "sidecar_turned_away",
                "Connections closed at once because there were too many.",
                &self.turned_away,
            ),
            (
                "sidecar_handshake_failures",
                "TLS handshakes that failed.",
                &self.handshake_failures,
            ),
            (
                "sidecar_registrations",
                "Times the entry at the filer was renewed.",
                &self.registrations,
            ),
            (
                "sidecar_registration_failures",
                "Times the entry at the filer could not be renewed.",
                &self.registration_failures,
            ),
        ] {
            to.counter(name, help, &[], counter.get());
        }
        let now = self.connections.get() as f64;
        to.gauge("sidecar_connections", "HTTP connections now.", &[], now);
    }
}
