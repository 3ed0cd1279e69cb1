//! All numbers of a process, and the forms they are shown in.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::{Export, Exporter, Labels, Snapshot, prometheus};

/// The fields that tools written for the first sidecar prototype look for.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Summary {
    /// Whether reads may use the fabric.
    pub enabled: bool,
    /// Reads answered, by any route.
    pub total_reads: u64,
    /// Reads that had to wait for a sidecar or for volume files that it lent, and for nothing
    /// slower: all that needed a server's bytes and not HTTP.
    pub rdma_reads: u64,
    /// Those of them that needed lent files alone.
    pub short_circuit_reads: u64,
    /// Fetches of needles, or of parts of them, that the fabric did not deliver and HTTP was
    /// asked for.
    pub http_fallbacks: u64,
    /// `rdma_reads / total_reads`, in percent.
    pub rdma_ratio_pct: f64,
    /// Bytes handed to applications.
    pub total_bytes_read: u64,
    /// Mean time of a read, in nanoseconds.
    pub avg_latency_ns: u64,
    /// Needles that volume servers have taken by way of a sidecar.
    pub rdma_writes: u64,
    /// Bytes of those.
    pub rdma_bytes_written: u64,
    /// Needles that the fabric did not bring to their volume server and HTTP was asked to.
    pub write_fallbacks: u64,
}

/// Whether the process does its job, and why not.
#[derive(Debug, Clone, Serialize)]
pub struct Health {
    /// `healthy` or `degraded`.
    pub status: &'static str,
    /// What is wrong, in words; empty when healthy.
    pub reasons: Vec<String>,
}

impl Health {
    /// Healthy exactly when there is nothing to say.
    pub fn from_reasons(reasons: Vec<String>) -> Self {
        let status = if reasons.is_empty() {
            "healthy"
        } else {
            "degraded"
        };
        Self { status, reasons }
    }

    /// Whether nothing is wrong.
    pub fn is_healthy(&self) -> bool {
        self.reasons.is_empty()
    }
}

type Provider<T> = Box<dyn Fn() -> T + Send + Sync>;

/// Everything a process has to show. Sources are added at start; looking is cheap enough for
/// once a second and touches no hot path.
pub struct Registry {
    started: Instant,
    sources: Mutex<Vec<Arc<dyn Export>>>,
    info: Value,
    summary: Provider<Summary>,
    health: Provider<Health>,
}

impl Registry {
    /// A registry without sources. `info` is shown as it is under `"info"`.
    pub fn new(
        info: Value,
        summary: impl Fn() -> Summary + Send + Sync + 'static,
        health: impl Fn() -> Health + Send + Sync + 'static,
    ) -> Self {
        Self {
            started: Instant::now(),
            sources: Mutex::default(),
            info,
            summary: Box::new(summary),
            health: Box::new(health),
        }
    }

    /// Adds numbers to show.
    pub fn add(&self, source: Arc<dyn Export>) {
        self.sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(source);
    }

    /// Whether the process does its job.
    pub fn health(&self) -> Health {
        (self.health)()
    }

    /// OpenMetrics text, which Prometheus scrapes.
    pub fn render_prometheus(&self) -> String {
        prometheus::render(self.collect())
    }

    /// The summary's fields at the top level, then `uptime_seconds`, `health`, `info` and
    /// `metrics`: name → list of `{labels, value}` or of
    /// `{labels, count, mean_ns, p50_ns, p90_ns, p99_ns, max_ns}`.
    pub fn render_json(&self) -> Value {
        let mut root = match serde_json::to_value((self.summary)()) {
            Ok(Value::Object(fields)) => fields,
            _ => Map::new(),
        };
        root.insert(
            "uptime_seconds".into(),
            json!(self.started.elapsed().as_secs_f64()),
        );
        root.insert("health".into(), json!(self.health()));
        root.insert("info".into(), self.info.clone());
        let mut metrics = Map::new();
        for series in self.collect() {
            let entry = metrics
                .entry(series.name.clone())
                .or_insert_with(|| Value::Array(Vec::new()));
            if let Value::Array(list) = entry {
                list.push(series.to_json());
            }
        }
        root.insert("metrics".into(), Value::Object(metrics));
        Value::Object(root)
    }

    fn collect(&self) -> Vec<Series> {
        let sources = self
            .sources
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let mut all = Collected::default();
        for source in sources {
            source.export(&mut all);
        }
        all.0
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

/// One number with its labels, at the moment somebody looked.
#[derive(Debug)]
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) help: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) number: Number,
}

#[derive(Debug)]
pub(crate) enum Number {
    Counter(u64),
    Gauge(f64),
    Histogram(Snapshot),
}

impl Series {
    fn to_json(&self) -> Value {
        let labels: Map<String, Value> = self
            .labels
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        match &self.number {
            Number::Counter(value) => json!({"labels": labels, "value": value}),
            Number::Gauge(value) => json!({"labels": labels, "value": value}),
            Number::Histogram(seen) => json!({
                "labels": labels,
                "count": seen.count(),
                "mean_ns": seen.mean_ns(),
                "p50_ns": seen.quantile_ns(0.5),
                "p90_ns": seen.quantile_ns(0.9),
                "p99_ns": seen.quantile_ns(0.99),
                "max_ns": seen.max_ns(),
            }),
        }
    }
}

#[derive(Default)]
struct Collected(Vec<Series>);

impl Collected {
    fn push(&mut self, name: &str, help: &str, labels: Labels<'_>, number: Number) {
        self.0.push(Series {
            name: name.to_owned(),
            help: help.to_owned(),
            labels: labels
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            number,
        });
    }
}

impl Exporter for Collected {
    fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, value: u64) {
        self.push(name, help, labels, Number::Counter(value));
    }

    fn gauge(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64) {
        self.push(name, help, labels, Number::Gauge(value));
    }

    fn histogram(&mut self, name: &str, help: &str, labels: Labels<'_>, value: &Snapshot) {
        self.push(name, help, labels, Number::Histogram(value.clone()));
    }
}
