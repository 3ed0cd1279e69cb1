//! Numbers of a server.

use stats::{Counter, Export, Exporter, Gauge, Histogram};

use crate::wire::{Lent, Outcome, Status};

/// What a [`Server`](super::Server) has done so far.
#[derive(Debug, Default)]
pub struct ServerStats {
    /// By shared memory: the lanes of the unix socket.
    pub shm: CarrierStats,
    /// By TCP.
    pub tcp: CarrierStats,
    /// By RDMA verbs.
    pub rdma: CarrierStats,
    /// Connections that did not become lanes.
    pub refused: Counter,
    /// Lanes ended by the server: protocol broken, bytes not taken, disk failed amid data.
    pub ended: Counter,
    /// Reads answered with [`Status::Busy`].
    pub busy: Counter,
    /// Exchanges that had to wait for a disk.
    pub disk: Counter,
    /// Requests that came while a worker polled for them instead of sleeping.
    pub polled: Counter,
    /// Bytes asked for and being worked on.
    pub in_flight: Gauge,
    /// Bytes of clients' memory that are mapped.
    pub mapped: Gauge,
    /// Bytes of buffers that are registered for RDMA.
    pub registered: Gauge,
    /// Times from a read's arrival until its last answer was sent.
    pub time: Histogram,
    answers: [Counter; STATUSES.len()],
    /// Times from a write's arrival until what became of it was sent.
    pub write_time: Histogram,
    written: [Counter; Outcome::ALL.len()],
    lent: [Counter; Lent::NAMES.len()],
}

/// What went by one carrier.
#[derive(Debug, Default)]
pub struct CarrierStats {
    /// Connections accepted.
    pub connections: Counter,
    /// Open lanes.
    pub lanes: Gauge,
    /// Reads answered.
    pub exchanges: Counter,
    /// Bytes of needles delivered.
    pub bytes: Counter,
    /// Writes that a volume server has taken.
    pub writes: Counter,
    /// Bytes of those.
    pub written: Counter,
}

/// Statuses by their numbers.
const STATUSES: [&str; 11] = [
    "done",
    "absent",
    "not_here",
    "declined",
    "loading",
    "corrupt",
    "failed",
    "past_end",
    "too_large",
    "gzip",
    "busy",
];

impl ServerStats {
    /// Items answered this way.
    pub fn answers(&self, status: Status) -> u64 {
        self.answers[status as usize].get()
    }

    pub(super) fn answered(&self, status: Status) {
        self.answers[status as usize].inc();
    }

    pub(super) fn lent(&self, lent: &Lent) {
        self.lent[usize::from(lent.number())].inc();
    }

    /// Wishes to borrow a volume's files that came out this way.
    pub fn lent_as(&self, name: &str) -> u64 {
        let mut all = Lent::NAMES.iter().zip(&self.lent);
        all.find(|(known, _)| **known == name)
            .map_or(0, |(_, counter)| counter.get())
    }

    /// Writes that came out this way.
    pub fn written(&self, outcome: Outcome) -> u64 {
        self.written[outcome as usize].get()
    }

    pub(super) fn wrote(&self, outcome: Outcome) {
        self.written[outcome as usize].inc();
    }

    pub(super) fn of(&self, carrier: &str) -> &CarrierStats {
        match carrier {
            "shm" => &self.shm,
            "rdma" => &self.rdma,
            _ => &self.tcp,
        }
    }
}

impl Export for ServerStats {
    fn export(&self, to: &mut dyn Exporter) {
        for (name, of) in [("shm", &self.shm), ("tcp", &self.tcp), ("rdma", &self.rdma)] {
            let labels = [("carrier", name)];
            let help = "Connections accepted.";
            to.counter("fabric_connections", help, &labels, of.connections.get());
            let help = "Open lanes.";
            to.gauge("fabric_lanes", help, &labels, of.lanes.get() as f64);
            let help = "Reads answered.";
            to.counter("fabric_exchanges", help, &labels, of.exchanges.get());
            let help = "Bytes of needles delivered.";
            to.counter("fabric_bytes", help, &labels, of.bytes.get());
            let help = "Writes that a volume server has taken.";
            to.counter("fabric_writes", help, &labels, of.writes.get());
            let help = "Bytes of needles that volume servers have taken.";
            to.counter("fabric_write_bytes", help, &labels, of.written.get());
        }
        for (outcome, counter) in Outcome::ALL.iter().zip(&self.written) {
            let help = "Writes by what became of them.";
            let labels = [("outcome", outcome.name())];
            to.counter("fabric_write_outcomes", help, &labels, counter.get());
        }
        for (outcome, counter) in Lent::NAMES.iter().zip(&self.lent) {
            let help =
                "Times a mount of this host asked for a volume's files, by what became of it.";
            to.counter("fabric_lent", help, &[("outcome", outcome)], counter.get());
        }
        for (status, counter) in STATUSES.iter().zip(&self.answers) {
            let help = "Items by how they were answered.";
            to.counter("fabric_items", help, &[("status", status)], counter.get());
        }
        for (name, help, counter) in [
            (
                "fabric_refused",
                "Connections that did not become lanes.",
                &self.refused,
            ),
            (
                "fabric_ended",
                "Lanes ended by the server for a fault.",
                &self.ended,
            ),
            (
                "fabric_busy",
                "Reads sent elsewhere for too much to do.",
                &self.busy,
            ),
            ("fabric_disk", "Reads that waited for a disk.", &self.disk),
            (
                "fabric_polled",
                "Requests that came while a worker polled for them instead of sleeping.",
                &self.polled,
            ),
        ] {
            to.counter(name, help, &[], counter.get());
        }
        let help = "Bytes asked for and being worked on.";
        to.gauge(
            "fabric_in_flight_bytes",
            help,
            &[],
            self.in_flight.get() as f64,
        );
        let help = "Bytes of clients' memory that are mapped.";
        to.gauge("fabric_mapped_bytes", help, &[], self.mapped.get() as f64);
        let help = "Bytes of buffers that are registered for RDMA.";
        to.gauge(
            "fabric_registered_bytes",
            help,
            &[],
            self.registered.get() as f64,
        );
        let help = "Time from a read's arrival until its last answer was sent.";
        to.histogram("fabric_exchange_seconds", help, &[], &self.time.snapshot());
        let help = "Time from a write's arrival until what became of it was sent.";
        let time = self.write_time.snapshot();
        to.histogram("fabric_write_seconds", help, &[], &time);
    }
}
