//! How a crate lists its numbers.

use crate::Snapshot;

/// Label names and values of one series.
pub type Labels<'a> = &'a [(&'a str, &'a str)];

/// Something with numbers to show.
pub trait Export: Send + Sync {
    /// Lists them all. Called for each look, so computing a value here is fine;
    /// names are Prometheus style (`riptide_` is put in front), units in the name.
    fn export(&self, to: &mut dyn Exporter);
}

/// What numbers are listed to.
pub trait Exporter {
    /// A number that only grows; by convention `name` does not end in `_total` (it is added).
    fn counter(&mut self, name: &str, help: &str, labels: Labels<'_>, value: u64);

    /// A number that goes up and down.
    fn gauge(&mut self, name: &str, help: &str, labels: Labels<'_>, value: f64);

    /// Latencies. `name` ends in `_seconds`.
    fn histogram(&mut self, name: &str, help: &str, labels: Labels<'_>, value: &Snapshot);
}
