//! Counters, latency histograms and the two forms they are shown in.
//!
//! Each crate keeps its numbers in a struct of [`Counter`]s and [`Histogram`]s
//! that the hot path bumps with relaxed atomics, and lists them once by
//! implementing [`Export`]. The [`Registry`] walks those lists whenever
//! somebody looks, and shows them as Prometheus text or as JSON. Nothing is
//! registered by name on the hot path and nothing is locked there.

mod export;
mod histogram;
mod prometheus;
mod registry;
mod value;

pub use export::{Export, Exporter, Labels};
pub use histogram::{Histogram, Snapshot};
pub use registry::{Health, Registry, Summary};
pub use value::{Counter, Gauge};
