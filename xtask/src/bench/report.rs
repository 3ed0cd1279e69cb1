//! The table: for the terminal, as markdown, and all samples as JSON.

use std::fmt::Write;

use bench::Series;
use serde_json::{Value, json};

use super::machine::Machine;
use super::measure::Results;
use super::mounted::{READ_AHEAD_KB, Variant};
use super::options::Options;
use super::workload::{MEMORY, Row, WORKLOADS};

/// What came out, and under which conditions.
pub(crate) struct Report<'a> {
    machine: Machine,
    options: &'a Options,
    results: &'a Results,
}

impl<'a> Report<'a> {
    /// Of a finished run.
    pub(crate) fn new(machine: Machine, options: &'a Options, results: &'a Results) -> Self {
        Self {
            machine,
            options,
            results,
        }
    }

    /// For the terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = String::from("\n");
        for (name, value) in self.conditions() {
            let _ = writeln!(text, "{name}: {value}");
        }
        text.push('\n');
        let table = self.table();
        let width = |column: usize| {
            let cells = table.iter().map(|line| line[column].chars().count());
            cells.max().unwrap_or(0)
        };
        for line in &table {
            for (column, cell) in line.iter().enumerate() {
                let pad = " ".repeat(width(column) - cell.chars().count());
                // Names to the left, numbers to the right.
                let (before, after) = if column < 2 {
                    ("", &pad[..])
                } else {
                    (&pad[..], "")
                };
                let _ = write!(text, "{before}{cell}{after}  ");
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        let _ = write!(text, "\n{}", self.summary());
        text
    }

    /// For docs/bench.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("# Riptide and the stock mount, side by side\n\n");
        text.push_str("Written by `make bench`; [BENCHMARKING.md](../BENCHMARKING.md) says how it is measured\n");
        text.push_str("and what not to conclude from it.\n\n");
        for (name, value) in self.conditions() {
            let _ = writeln!(text, "- {name}: {value}");
        }
        text.push('\n');
        for (i, line) in self.table().iter().enumerate() {
            let _ = writeln!(text, "| {} |", line.join(" | "));
            if i == 0 {
                text.push_str("|---|---|---:|---:|---:|---:|---:|---:|---|\n");
            }
        }
        let _ = writeln!(text, "\n{}", self.summary());
        text
    }

    /// Everything, for other programs.
    pub(crate) fn json(&self) -> Value {
        let row = |row: &Row| {
            let samples = Variant::ALL.iter().filter_map(|variant| {
                let series = self.results.of(row, *variant)?;
                Some((variant.key().to_owned(), json!(series.samples())))
            });
            json!({
                "key": row.key,
                "title": row.title,
                "unit": row.unit,
                "higher_is_better": row.better == bench::Better::Higher,
                "samples": samples.collect::<serde_json::Map<String, Value>>(),
                "ratio": self.ratio(row, Variant::Stock),
                "bar": row.bar,
                "met": self.met(row),
            })
        };
        json!({
            "machine": self.machine.json(),
            "settings": self.settings().into_iter().map(|(k, v)| (k.to_owned(), json!(v)))
                .collect::<serde_json::Map<String, Value>>(),
            "rows": self.rows().map(row).collect::<Vec<_>>(),
        })
    }

    /// Number of bars that were missed.
    pub(crate) fn missed(&self) -> usize {
        self.rows()
            .filter(|row| self.met(row) == Some(false))
            .count()
    }

    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        let all = WORKLOADS
            .iter()
            .flat_map(|workload| workload.rows)
            .chain([&MEMORY]);
        all.filter(|row| {
            Variant::ALL
                .iter()
                .any(|v| self.results.of(row, *v).is_some())
        })
    }

    fn table(&self) -> Vec<[String; 9]> {
        let head = [
            "",
            "unit",
            "stock",
            "stock, read-ahead raised",
            "riptide",
            "× stock",
            "× raised",
            "bar",
            "",
        ];
        let mut table = vec![head.map(str::to_owned)];
        for row in self.rows() {
            let cell = |variant| match self.results.of(row, variant) {
                Some(series) => shown(series, row),
                None => String::new(),
            };
            let ratio = |variant| {
                self.ratio(row, variant)
                    .map(|r| format!("{r:.2}"))
                    .unwrap_or_default()
            };
            table.push([
                row.title.to_owned(),
                row.unit.to_owned(),
                cell(Variant::Stock),
                cell(Variant::StockReadAhead),
                cell(Variant::Riptide),
                ratio(Variant::Stock),
                ratio(Variant::StockReadAhead),
                row.bar.map(|bar| format!("≥ {bar}")).unwrap_or_default(),
                match self.met(row) {
                    Some(true) => "met".to_owned(),
                    Some(false) => "NOT MET".to_owned(),
                    None => String::new(),
                },
            ]);
        }
        table
    }

    /// How many times better the median of Riptide is.
    fn ratio(&self, row: &Row, than: Variant) -> Option<f64> {
        let ours = self.results.of(row, Variant::Riptide)?.median()?;
        let theirs = self.results.of(row, than)?.median()?;
        Some(row.better.ratio(ours, theirs))
    }

    fn met(&self, row: &Row) -> Option<bool> {
        Some(self.ratio(row, Variant::Stock)? >= row.bar?)
    }

    fn conditions(&self) -> Vec<(&'static str, String)> {
        let mut all = self.machine.facts();
        all.extend(self.settings());
        all
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let options = self.options;
        let flags = match options.mount_flags.as_slice() {
            [] => "the defaults of both (-cacheCapacityMB=128 -readerCacheSizeMB=256 -concurrentReaders=128)".to_owned(),
            flags => format!("{}, else the defaults of both", flags.join(" ")),
        };
        vec![
            ("mount flags", flags),
            (
                "amount",
                format!(
                    "{} rounds in {:.0} s; {} MiB in 4 MiB chunks; {} files of 4 KiB among {} entries; {} operations per latency",
                    options.rounds,
                    self.results.elapsed.as_secs_f64(),
                    options.size_mb,
                    options.files,
                    options.files * bench::ENTRIES_PER_FILE,
                    options.operations
                ),
            ),
            (
                "cells",
                format!(
                    "median (best); read-ahead raised: read_ahead_kb set to {READ_AHEAD_KB} by hand"
                ),
            ),
        ]
    }

    fn summary(&self) -> String {
        let judged = self.rows().filter(|row| self.met(row).is_some()).count();
        match judged {
            0 => "Nothing to compare: only one mount took part.".to_owned(),
            _ => format!("{} of {judged} bars met.", judged - self.missed()),
        }
    }
}

/// A number with the digits that mean something.
pub(crate) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

fn shown(series: &Series, row: &Row) -> String {
    let (median, best) = (series.median(), series.best(row.better));
    match (median, best) {
        (Some(median), Some(best)) => format!("{} ({})", number(median), number(best)),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    /// The second workload's rows: throughput with bar 1, CPU time with bar 2.
    fn results(ours: [f64; 3], cpu: f64) -> Results {
        let mut results = Results::default();
        let rows = WORKLOADS[1].rows;
        for ours in ours {
            results.push(&rows[0], Variant::Stock, 100.0);
            results.push(&rows[0], Variant::Riptide, ours);
        }
        results.push(&rows[1], Variant::Stock, 1.0);
        results.push(&rows[1], Variant::Riptide, cpu);
        results
    }

    fn options() -> Options {
        Options::parse(&[OsString::from("--quick")])
    }

    #[test]
    fn a_bar_is_met_by_the_median_not_by_the_best() {
        let options = options();
        let fast = results([90.0, 130.0, 400.0], 0.5);
        let report = Report::new(Machine::default(), &options, &fast);
        assert_eq!(report.missed(), 0);
        assert!(report.text().ends_with("2 of 2 bars met."));
        let slow = results([90.0, 99.0, 400.0], 0.51);
        let report = Report::new(Machine::default(), &options, &slow);
        assert_eq!(report.missed(), 2);
        assert!(report.text().contains("99.0 (400)"));
        assert_eq!(report.json()["rows"][0]["met"], false);
    }

    #[test]
    fn every_line_of_the_markdown_table_has_as_many_cells() {
        let (options, results) = (options(), results([1.0, 2.0, 3.0], 0.1));
        let markdown = Report::new(Machine::default(), &options, &results).markdown();
        let lines: Vec<&str> = markdown.lines().filter(|l| l.starts_with('|')).collect();
        assert_eq!(lines.len(), 4);
        for line in lines {
            assert_eq!(line.matches('|').count(), 10, "{line}");
        }
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let shown = [1234.5, 56.78, 3.456, 0.1234].map(number);
        assert_eq!(shown, ["1234", "56.8", "3.46", "0.123"]);
    }
}
