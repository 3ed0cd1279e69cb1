//! OpenMetrics text, by the prometheus-client crate.
//!
//! Only its encoder is used: its own metric types can be written but not read
//! back, and `/stats` needs the same numbers as `/metrics`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::registry::{Number, Series};

/// Upper bounds of the shown buckets: 10 µs to 10 s, where a FUSE read can lie.
const BOUNDS_SECONDS: [f64; 19] = [
    10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2,
    0.5, 1.0, 2.0, 5.0, 10.0,
];

pub(crate) fn render(series: Vec<Series>) -> String {
    let mut families: BTreeMap<String, Vec<Series>> = BTreeMap::new();
    for one in series {
        families.entry(one.name.clone()).or_default().push(one);
    }
    let mut registry = Registry::with_prefix("riptide");
    registry.register_collector(Box::new(Families(Mutex::new(families))));
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = text::encode(&mut out, &registry);
    out
}

struct Families(Mutex<BTreeMap<String, Vec<Series>>>);

impl fmt::Debug for Families {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Families")
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let families = self.0.lock().map_err(|_| fmt::Error)?;
        for (name, members) in families.iter() {
            let Some(first) = members.first() else {
                continue;
            };
            let kind = match first.number {
                Number::Counter(_) => MetricType::Counter,
                Number::Gauge(_) => MetricType::Gauge,
                Number::Histogram(_) => MetricType::Histogram,
            };
            let mut family = encoder.encode_descriptor(name, &first.help, None, kind)?;
            for member in members {
                let labels: Vec<(&str, &str)> = member
                    .labels
                    .iter()
                    .map(|(name, value)| (name.as_str(), value.as_str()))
                    .collect();
                if labels.is_empty() {
                    encode_number(&mut family, &member.number)?;
                } else {
                    let labels = labels.as_slice();
                    let mut one = family.encode_family(&labels)?;
                    encode_number(&mut one, &member.number)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_number(
    encoder: &mut prometheus_client::encoding::MetricEncoder<'_>,
    number: &Number,
) -> fmt::Result {
    match number {
        Number::Counter(value) => encoder.encode_counter::<NoLabelSet, u64, u64>(value, None),
        Number::Gauge(value) => encoder.encode_gauge(value),
        Number::Histogram(seen) => {
            let mut below = 0;
            let mut buckets = Vec::with_capacity(BOUNDS_SECONDS.len() + 1);
            for bound in BOUNDS_SECONDS {
                let up_to = seen.count_up_to((bound * 1e9) as u64);
                buckets.push((bound, up_to - below));
                below = up_to;
            }
            buckets.push((f64::INFINITY, seen.count() - below));
            let sum = seen.sum_ns() as f64 / 1e9;
            encoder.encode_histogram::<NoLabelSet>(sum, seen.count(), &buckets, None)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::{Counter, Export, Exporter, Health, Histogram, Registry, Summary};

    #[derive(Default)]
    struct Reads {
        count: Counter,
        time: Histogram,
    }

    impl Export for Reads {
        fn export(&self, to: &mut dyn Exporter) {
            to.counter("reads", "Reads.", &[("route", "http")], self.count.get());
            to.gauge("lag_seconds", "Lag.", &[], 0.5);
            to.counter("reads", "Reads.", &[("route", "cache")], 9);
            let time = self.time.snapshot();
            to.histogram("read_seconds", "Time.", &[], &time);
        }
    }

    fn registry() -> Registry {
        let reads = Arc::new(Reads::default());
        reads.count.add(3);
        reads.time.record(Duration::from_micros(15));
        reads.time.record(Duration::from_secs(60));
        let registry = Registry::new(serde_json::json!({"dir": "/mnt"}), Summary::default, || {
            Health::from_reasons(vec![])
        });
        registry.add(reads);
        registry
    }

    #[test]
    fn series_of_one_name_share_one_description() {
        let text = registry().render_prometheus();
        assert_eq!(text.matches("# TYPE riptide_reads counter").count(), 1);
        assert!(
            text.contains("riptide_reads_total{route=\"http\"} 3\n"),
            "{text}"
        );
        assert!(
            text.contains("riptide_reads_total{route=\"cache\"} 9\n"),
            "{text}"
        );
        assert!(text.contains("riptide_lag_seconds 0.5\n"), "{text}");
        assert!(
            text.contains("riptide_read_seconds_bucket{le=\"+Inf\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("riptide_read_seconds_count 2\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn json_has_the_summary_on_top_and_every_series() {
        let json = registry().render_json();
        assert_eq!(json["total_reads"], 0);
        assert_eq!(json["health"]["status"], "healthy");
        assert_eq!(json["info"]["dir"], "/mnt");
        assert_eq!(json["metrics"]["reads"].as_array().map(Vec::len), Some(2));
        assert_eq!(
            json["metrics"]["read_seconds"][0]["max_ns"],
            60_000_000_000u64
        );
    }
}
