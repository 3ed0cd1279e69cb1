//! What is printed.

use std::fmt::Write;

use bench::Series;
use serde_json::{Value, json};

use super::place::Place;
use super::workload::{self, Row};
use crate::options::{BenchOptions, BenchPlace};

/// The samples, and what they were taken on.
pub(super) struct Table {
    /// Where, and what is mounted there.
    place: String,
    amount: String,
    rounds: usize,
    rows: Vec<(&'static Row, Series)>,
    writes: bool,
}

impl Table {
    /// Without samples yet.
    pub(super) fn new(place: &Place, options: &BenchOptions) -> Self {
        let shown = match &options.place {
            BenchPlace::Folder(dir) => dir.display().to_string(),
            BenchPlace::Null(_) | BenchPlace::Serve(..) => "the null mount".to_owned(),
        };
        let amount = format!(
            "{} MiB and {} files of 4 KiB among {} entries",
            place.size >> 20,
            place.files,
            place.tree.entries()
        );
        Self {
            place: format!("{shown}, {}", kind(place)),
            amount,
            rounds: options.rounds,
            rows: Vec::new(),
            writes: options.write,
        }
    }

    /// Adds the sample of one more round.
    pub(super) fn push(&mut self, row: &'static Row, value: f64) {
        match self.rows.iter_mut().find(|(of, _)| of.key == row.key) {
            Some((_, series)) => series.push(value),
            None => {
                let mut series = Series::default();
                series.push(value);
                self.rows.push((row, series));
            }
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut out = format!(
            "{}\n{}; {} {}\n\n",
            self.place,
            self.amount,
            self.rounds,
            if self.rounds == 1 { "round" } else { "rounds" }
        );
        let _ = writeln!(
            out,
            "{:<48} {:<9} {:>10} {:>10}",
            "", "unit", "median", "best"
        );
        for row in workload::all().flat_map(|it| it.rows) {
            let Some((_, series)) = self.rows.iter().find(|(of, _)| of.key == row.key) else {
                continue;
            };
            let cell = |value: Option<f64>| value.map(number).unwrap_or_default();
            let (median, best) = (series.median(), series.best(row.better));
            let _ = writeln!(
                out,
                "{:<48} {:<9} {:>10} {:>10}",
                row.title,
                row.unit,
                cell(median),
                cell(best)
            );
        }
        out += "\nEvery byte that was read was compared";
        out += if self.writes {
            ", what was written as well, read back past the kernel's pages.\n"
        } else {
            ".\n"
        };
        out +=
            "The kernel's pages were dropped before each workload; what the mount keeps was not.\n";
        let missing = self.missing();
        if !missing.is_empty() {
            let _ = writeln!(out, "Without O_DIRECT there is no {}.", missing.join(", "));
        }
        out
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let row = |(row, series): &(&Row, Series)| {
            json!({
                "key": row.key,
                "title": row.title,
                "unit": row.unit,
                "higher_is_better": row.better == bench::Better::Higher,
                "median": series.median(),
                "best": series.best(row.better),
                "samples": series.samples(),
            })
        };
        json!({
            "place": self.place,
            "amount": self.amount,
            "rounds": self.rounds,
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "unsupported": self.missing(),
        })
    }

    /// The keys of what should have been measured and could not be.
    fn missing(&self) -> Vec<&'static str> {
        let wanted = workload::all().filter(|it| self.writes || !it.writes);
        let keys = wanted.flat_map(|it| it.rows).map(|row| row.key);
        keys.filter(|key| !self.rows.iter().any(|(row, _)| row.key == *key))
            .collect()
    }
}

/// What is mounted there.
fn kind(place: &Place) -> String {
    let mounts = fuse::mounts().unwrap_or_default();
    let over = mounts
        .iter()
        .enumerate()
        .filter(|(_, mount)| place.root.starts_with(&mount.mount_point))
        // The deepest one, and of several on one folder the last.
        .max_by_key(|(at, mount)| (mount.mount_point.components().count(), *at));
    over.map_or_else(
        || "unknown".to_owned(),
        |(_, mount)| format!("{} ({})", mount.kind, mount.source.to_string_lossy()),
    )
}

/// A number with the digits that mean something.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_told_in_their_order_and_what_is_missing_by_name() {
        let rows: Vec<&Row> = workload::all().flat_map(|it| it.rows).collect();
        let mut table = Table {
            place: "/a, ext4 (/dev/x)".to_owned(),
            amount: "little".to_owned(),
            rounds: 2,
            rows: Vec::new(),
            writes: false,
        };
        for row in rows.iter().filter(|row| row.key != "seq-direct").rev() {
            table.push(row, 123.4);
            table.push(row, 1.234);
        }
        let text = table.text();
        let line = |key: &str| {
            let row = rows.iter().find(|row| row.key == key).unwrap();
            text.lines().position(|line| line.starts_with(row.title))
        };
        assert!(line("seq-buffered") < line("getattr"), "{text}");
        assert!(line("seq-buffered").is_some() && line("seq-direct").is_none());
        assert!(text.contains("no seq-direct."), "{text}");
        let json = table.json();
        assert_eq!(json["unsupported"], json!(["seq-direct"]));
        let first = &json["rows"][0];
        assert_eq!(first["median"], 62.317);
        assert_eq!(first["samples"], json!([123.4, 1.234]));
    }
}
