//! All numbers of the daemon in one registry.

use std::sync::Arc;

use fabric::server::{CarrierStats, ServerStats};
use fabric::wire::Status;
use serde_json::json;
use stats::{Export, Exporter, Health, Registry, Summary};

use crate::budget::Budget;
use crate::config::Config;
use crate::counters::Counters;
use crate::shelves::{Shelves, Stock, VolumeState};
use crate::view::View;

/// Where numbers come from.
pub(crate) struct Sources<S> {
    pub(crate) counters: Arc<Counters>,
    pub(crate) view: Arc<View>,
    pub(crate) lanes: Option<Arc<ServerStats>>,
    pub(crate) budget: Budget,
    pub(crate) shelves: Arc<Shelves<S>>,
}

/// Puts them together.
pub(crate) fn registry<S: Stock>(config: &Config, sources: Sources<S>) -> Registry {
    let Sources {
        counters,
        view,
        lanes,
        budget,
        shelves,
    } = sources;
    let info = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "volume_servers": config.volume_servers.iter().map(|s| s.http()).collect::<Vec<_>>(),
        "transports": config.transports.to_string(),
    });
    let (http, served) = (Arc::clone(&counters), lanes.clone());
    let (serving, health) = (Arc::clone(&view), view);
    let registry = Registry::new(
        info,
        move || summary(&http, served.as_deref(), serving.is_serving()),
        move || Health::from_reasons(health.problems()),
    );
    registry.add(counters);
    registry.add(Arc::new(MemoryNumbers(budget)));
    registry.add(Arc::new(ShelfNumbers(shelves)));
    if let Some(lanes) = lanes {
        registry.add(lanes);
    }
    registry
}

/// The fabric's reads are those that the prototype called RDMA: what did not come by HTTP.
fn summary(http: &Counters, lanes: Option<&ServerStats>, enabled: bool) -> Summary {
    let http_time = http.time.snapshot();
    let fabric_reads = lanes.map_or(0, |lanes| lanes.answers(Status::Done));
    let fabric_time = lanes.map(|lanes| lanes.time.snapshot());
    let (timed, spent) = fabric_time.map_or((0, 0), |time| (time.count(), time.sum_ns()));
    let total = http.reads.get() + fabric_reads;
    let carried = |of: fn(&CarrierStats) -> u64| {
        let each = lanes.map(|lanes| [&lanes.shm, &lanes.tcp, &lanes.rdma]);
        each.into_iter().flatten().map(of).sum::<u64>()
    };
    Summary {
        enabled,
        total_reads: total,
        rdma_reads: fabric_reads,
        // Mounts make them without us.
        short_circuit_reads: 0,
        http_fallbacks: 0,
        rdma_ratio_pct: 100.0 * fabric_reads as f64 / total.max(1) as f64,
        total_bytes_read: http.bytes.get() + carried(|of| of.bytes.get()),
        rdma_writes: carried(|of| of.writes.get()),
        rdma_bytes_written: carried(|of| of.written.get()),
        // It is the mounts that fall back.
        write_fallbacks: 0,
        avg_latency_ns: (http_time.sum_ns() + spent) / (http_time.count() + timed).max(1),
    }
}

struct ShelfNumbers<S>(Arc<Shelves<S>>);

impl<S: Stock> Export for ShelfNumbers<S> {
    fn export(&self, to: &mut dyn Exporter) {
        let volumes = self.0.volumes();
        for state in VolumeState::ALL {
            let count = volumes.iter().filter(|v| v.state == state).count();
            let labels = [("state", state.word())];
            to.gauge(
                "sidecar_volumes",
                "Volumes by state.",
                &labels,
                count as f64,
            );
        }
        self.0.export(to);
    }
}

struct MemoryNumbers(Budget);

impl Export for MemoryNumbers {
    fn export(&self, to: &mut dyn Exporter) {
        let (lent, limit) = (self.0.lent() as f64, self.0.limit() as f64);
        let help = "Bytes of needles in memory, or kept for the buffers of RDMA.";
        to.gauge("sidecar_memory_bytes", help, &[], lent);
        let help = "Most of them, by -memory-limit.";
        to.gauge("sidecar_memory_limit_bytes", help, &[], limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_by_whatever_way_they_went() {
        let (http, lanes) = (Counters::default(), ServerStats::default());
        http.bytes.add(1);
        lanes.shm.bytes.add(20);
        lanes.tcp.bytes.add(300);
        lanes.rdma.bytes.add(4000);
        let both = summary(&http, Some(&lanes), true);
        assert_eq!(both.total_bytes_read, 4321);
        assert_eq!(summary(&http, None, true).total_bytes_read, 1);
    }
}
