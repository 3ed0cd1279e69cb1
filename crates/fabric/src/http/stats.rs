//! Numbers of the HTTP route.

use std::time::Duration;

use stats::{Counter, Export, Exporter, Histogram};

use crate::RouteError;

/// What an [`HttpRoute`](super::HttpRoute) has done so far.
#[derive(Debug, Default)]
pub struct HttpStats {
    /// Requests sent.
    pub requests: Counter,
    /// Body bytes delivered into destinations.
    pub bytes: Counter,
    /// Rounds over all replicas beyond the first.
    pub retries: Counter,
    /// Times another replica had to be asked.
    pub switches: Counter,
    /// Connections opened.
    pub opened: Counter,
    /// Requests sent on a connection that had served before.
    pub reused: Counter,
    /// Kept connections that turned out to be closed by the server.
    pub stale: Counter,
    /// Redirections followed.
    pub redirects: Counter,
    /// Needles that only `readDeleted` brought up.
    pub deleted: Counter,
    /// Bodies that came in chunks.
    pub chunked: Counter,
    /// Times of range reads that succeeded.
    pub range_time: Histogram,
    /// Times of whole reads that succeeded.
    pub whole_time: Histogram,
    errors: [Counter; KINDS.len()],
}

/// The kinds of [`RouteError::kind`]; the last one is for what the list forgets.
const KINDS: [&str; 13] = [
    "not_found",
    "denied",
    "corrupt",
    "status",
    "past_end",
    "unreachable",
    "malformed",
    "silent",
    "refused",
    "unlocated",
    "timed_out",
    "interrupted",
    "other",
];

impl HttpStats {
    /// All zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Times a server failed us in the way [`RouteError::kind`] calls `kind`, whether or not
    /// another one helped out.
    pub fn errors(&self, kind: &str) -> u64 {
        self.errors[index_of(kind)].get()
    }

    pub(crate) fn failed(&self, error: &RouteError) {
        self.errors[index_of(error.kind())].inc();
    }

    pub(crate) fn delivered(&self, time: &Histogram, bytes: usize, elapsed: Duration) {
        self.bytes.add(bytes as u64);
        time.record(elapsed);
    }
}

impl Export for HttpStats {
    fn export(&self, to: &mut dyn Exporter) {
        for (name, help, counter) in [
            (
                "http_requests",
                "Requests sent to volume servers.",
                &self.requests,
            ),
            ("http_bytes", "Bytes delivered over HTTP.", &self.bytes),
            (
                "http_retries",
                "Rounds over all replicas beyond the first.",
                &self.retries,
            ),
            (
                "http_replica_switches",
                "Times another replica was asked.",
                &self.switches,
            ),
            (
                "http_connections_opened",
                "Connections opened.",
                &self.opened,
            ),
            (
                "http_connections_reused",
                "Requests on a kept connection.",
                &self.reused,
            ),
            (
                "http_connections_stale",
                "Kept connections found closed.",
                &self.stale,
            ),
            ("http_redirects", "Redirections followed.", &self.redirects),
            (
                "http_deleted",
                "Needles found only as deleted ones.",
                &self.deleted,
            ),
            ("http_chunked", "Bodies that came in chunks.", &self.chunked),
        ] {
            to.counter(name, help, &[], counter.get());
        }
        for (kind, counter) in KINDS.iter().zip(&self.errors) {
            let help = "Failures of servers to deliver.";
            to.counter("http_errors", help, &[("kind", kind)], counter.get());
        }
        for (kind, time) in [("range", &self.range_time), ("whole", &self.whole_time)] {
            let help = "Time of successful reads over HTTP.";
            let labels = [("kind", kind)];
            to.histogram("http_read_seconds", help, &labels, &time.snapshot());
        }
    }
}

fn index_of(kind: &str) -> usize {
    let known = KINDS.iter().position(|one| *one == kind);
    known.unwrap_or(KINDS.len() - 1)
}
