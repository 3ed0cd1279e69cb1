//! Statistics as a page of text.
//!
//! The page knows the fields of the summary and the shape of a metric, but no
//! metric by name, so that whatever a crate lists appears.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Map, Value};

/// `now` as text, with rates since `before`, which is so much older.
pub(super) fn render(now: &Value, before: Option<(&Value, Duration)>) -> String {
    let mut out = head(now);
    let before = before.filter(|(_, age)| !age.is_zero());
    let empty = Map::new();
    let metrics = now["metrics"].as_object().unwrap_or(&empty);
    let mut times = String::new();
    let mut numbers = String::new();
    for (name, series) in metrics {
        for one in series.as_array().into_iter().flatten() {
            let label = label(name, &one["labels"]);
            let old = before.and_then(|(old, age)| Some((counterpart(old, name, one)?, age)));
            if one["count"].is_u64() {
                time_line(&mut times, &label, one, old);
            } else {
                number_line(&mut numbers, &label, one, old);
            }
        }
    }
    if !times.is_empty() {
        let _ = writeln!(
            out,
            "\n{:<44} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "latency", "count", "per s", "mean", "p50", "p99", "max"
        );
        out += &times;
    }
    if !numbers.is_empty() {
        let _ = writeln!(
            out,
            "\n{:<44} {:>14} {:>12}",
            "counters and gauges", "value", "per s"
        );
        out += &numbers;
    }
    out
}

fn head(now: &Value) -> String {
    let health = &now["health"];
    let mut out = format!(
        "riptide {} {}, up {}\n",
        now["info"]["dir"].as_str().unwrap_or("mount"),
        health["status"].as_str().unwrap_or("unknown"),
        uptime(now["uptime_seconds"].as_f64().unwrap_or_default())
    );
    for reason in health["reasons"].as_array().into_iter().flatten() {
        let _ = writeln!(out, "  {}", reason.as_str().unwrap_or_default());
    }
    let number = |name: &str| now[name].as_u64().unwrap_or_default();
    let _ = writeln!(
        out,
        "reads {}, bytes {}, mean {}, over the fabric {:.1} % ({} short-circuit), fallbacks {}",
        number("total_reads"),
        bytes(number("total_bytes_read")),
        time(number("avg_latency_ns")),
        now["rdma_ratio_pct"].as_f64().unwrap_or_default(),
        number("short_circuit_reads"),
        number("http_fallbacks"),
    );
    if number("rdma_writes") + number("write_fallbacks") > 0 {
        let _ = writeln!(
            out,
            "chunks written over the fabric {}, bytes {}, fallbacks {}",
            number("rdma_writes"),
            bytes(number("rdma_bytes_written")),
            number("write_fallbacks"),
        );
    }
    out
}

/// The same series in an older look.
fn counterpart<'v>(old: &'v Value, name: &str, one: &Value) -> Option<&'v Value> {
    let all = old["metrics"][name].as_array()?;
    all.iter()
        .find(|candidate| candidate["labels"] == one["labels"])
}

fn label(name: &str, labels: &Value) -> String {
    let labels = labels.as_object().into_iter().flatten();
    let values: Vec<_> = labels.filter_map(|(_, value)| value.as_str()).collect();
    match values.is_empty() {
        true => name.to_owned(),
        false => format!("{name} {}", values.join(" ")),
    }
}

fn time_line(out: &mut String, label: &str, one: &Value, old: Option<(&Value, Duration)>) {
    let field = |name: &str| one[name].as_u64().unwrap_or_default();
    // What never happened is no news.
    if field("count") == 0 {
        return;
    }
    let _ = writeln!(
        out,
        "{label:<44} {:>10} {:>9} {:>9} {:>9} {:>9} {:>9}",
        field("count"),
        rate(&one["count"], old.map(|(old, age)| (&old["count"], age))),
        time(field("mean_ns")),
        time(field("p50_ns")),
        time(field("p99_ns")),
        time(field("max_ns")),
    );
}

fn number_line(out: &mut String, label: &str, one: &Value, old: Option<(&Value, Duration)>) {
    let value = &one["value"];
    let shown = match (value.as_u64(), value.as_f64()) {
        (Some(0), _) => return,
        (Some(whole), _) if label.contains("bytes") => bytes(whole),
        (Some(whole), _) => whole.to_string(),
        (None, Some(0.0)) | (None, None) => return,
        (None, Some(number)) if label.contains("bytes") && number >= 0.0 => bytes(number as u64),
        (None, Some(number)) => format!("{number:.3}")
            .trim_end_matches(['0', '.'])
            .to_owned(),
    };
    let per_second = rate(value, old.map(|(old, age)| (&old["value"], age)));
    let _ = writeln!(out, "{label:<44} {shown:>14} {per_second:>12}");
}

/// By how much a counter grew each second; nothing for what did not grow.
fn rate(now: &Value, old: Option<(&Value, Duration)>) -> String {
    let grown = old.and_then(|(old, age)| {
        let grown = now.as_u64()?.checked_sub(old.as_u64()?)?;
        (grown > 0).then(|| grown as f64 / age.as_secs_f64())
    });
    grown.map_or(String::new(), |rate| format!("{rate:.0}"))
}

fn uptime(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{hours} h {minutes} min"),
    }
}

fn time(ns: u64) -> String {
    let ns = ns as f64;
    match ns {
        ns if ns < 1e3 => format!("{ns:.0} ns"),
        ns if ns < 1e6 => format!("{:.1} us", ns / 1e3),
        ns if ns < 1e9 => format!("{:.1} ms", ns / 1e6),
        ns => format!("{:.2} s", ns / 1e9),
    }
}

fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{value:.1} {}", units[unit]),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stats(reads: u64, hits: u64) -> Value {
        json!({
            "total_reads": reads, "total_bytes_read": 3 << 20, "avg_latency_ns": 12_500,
            "rdma_ratio_pct": 0.0, "http_fallbacks": 0, "uptime_seconds": 3725.0,
            "health": {"status": "degraded", "reasons": ["the filer is away"]},
            "info": {"dir": "/mnt"},
            "metrics": {
                "cache_hits": [{"labels": {"tier": "memory"}, "value": hits}],
                "cache_bytes": [{"labels": {}, "value": 2048}],
                "errors": [{"labels": {}, "value": 0}],
                "lag_seconds": [{"labels": {}, "value": 0.25}],
                "op_seconds": [
                    {"labels": {"op": "read"}, "count": reads, "mean_ns": 1500, "p50_ns": 900,
                     "p90_ns": 2000, "p99_ns": 2_000_000, "max_ns": 3_000_000_000u64},
                    {"labels": {"op": "open"}, "count": 0},
                ],
            },
        })
    }

    #[test]
    fn the_page_has_the_summary_latencies_and_numbers_that_are_not_zero() {
        let text = render(&stats(10, 4), None);
        assert!(text.starts_with("riptide /mnt degraded, up 1 h 2 min\n  the filer is away\n"));
        assert!(
            text.contains("reads 10, bytes 3.0 MiB, mean 12.5 us"),
            "{text}"
        );
        let line = text
            .lines()
            .find(|line| line.starts_with("op_seconds read"))
            .unwrap();
        let words: Vec<_> = line.split_whitespace().skip(2).collect();
        assert_eq!(words.join(" "), "10 1.5 us 900 ns 2.0 ms 3.00 s");
        assert!(
            text.contains("cache_hits memory") && text.contains("2.0 KiB"),
            "{text}"
        );
        assert!(text.contains("0.25"), "{text}");
        assert!(
            !text.contains("errors") && !text.contains("op_seconds open"),
            "{text}"
        );
    }

    #[test]
    fn a_second_look_shows_how_fast_things_grow() {
        let old = stats(10, 4);
        let text = render(&stats(110, 4), Some((&old, Duration::from_secs(2))));
        let words = |start: &str| -> Vec<String> {
            let line = text.lines().find(|line| line.starts_with(start)).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words("op_seconds read")[3], "50");
        assert_eq!(
            words("cache_hits memory"),
            ["cache_hits", "memory", "4"],
            "no growth"
        );
    }

    #[test]
    fn nonsense_makes_an_empty_page_and_no_panic() {
        for value in [
            json!(null),
            json!({"metrics": 3}),
            json!({"metrics": {"a": [{}]}}),
        ] {
            assert!(render(&value, Some((&value, Duration::ZERO))).contains("unknown"));
        }
    }
}
