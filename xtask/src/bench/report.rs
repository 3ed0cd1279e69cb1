//! The table: for the terminal, as markdown, and all samples as JSON.

use std::fmt::Write;

use bench::Series;
use serde_json::{Value, json};

use super::machine::Machine;
use super::measure::Results;
use super::mounted::{READ_AHEAD_KB, Variant};
use super::options::Options;
use super::workload::{self, MEMORIES, Row};

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
                let numbers = "---:|".repeat(line.len() - 3);
                let _ = writeln!(text, "|---|---|{numbers}---|");
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
                "ratio": by_variant(&|v| self.ratio(row, v).map(|r| json!(r))),
                "bar": by_variant(&|v| row.bar_of(v).map(|b| json!(b))),
                "met": by_variant(&|v| self.met(row, v).map(|m| json!(m))),
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
        self.verdicts().filter(|met| !met).count()
    }

    fn rows(&self) -> impl Iterator<Item = &'static Row> {
        let all = workload::all()
            .flat_map(|workload| workload.rows)
            .chain(MEMORIES.map(|(_, row)| row));
        all.filter(|row| {
            Variant::ALL
                .iter()
                .any(|v| self.results.of(row, *v).is_some())
        })
    }

    /// The variants that took part, in the order of their columns.
    fn variants(&self) -> Vec<Variant> {
        let took_part = |v: &Variant| self.rows().any(|row| self.results.of(row, *v).is_some());
        Variant::ALL.into_iter().filter(took_part).collect()
    }

    fn table(&self) -> Vec<Vec<String>> {
        let variants = self.variants();
        let ours: Vec<Variant> = variants.iter().copied().filter(|v| v.is_ours()).collect();
        let mut head = vec![String::new(), "unit".to_owned()];
        head.extend(variants.iter().map(|v| v.title().to_owned()));
        head.extend(ours.iter().map(|v| format!("× stock, {}", short(*v))));
        head.push("bars".to_owned());
        let mut table = vec![head];
        for row in self.rows() {
            let cell = |variant: &Variant| match self.results.of(row, *variant) {
                Some(series) => shown(series, row),
                None => String::new(),
            };
            let ratio = |variant: &Variant| {
                self.ratio(row, *variant)
                    .map(|r| format!("{r:.2}"))
                    .unwrap_or_default()
            };
            let mut line = vec![row.title.to_owned(), row.unit.to_owned()];
            line.extend(variants.iter().map(cell));
            line.extend(ours.iter().map(ratio));
            line.push(self.judgement(row, &ours));
            table.push(line);
        }
        table
    }

    /// The bars of a row, and which of them were missed.
    fn judgement(&self, row: &Row, ours: &[Variant]) -> String {
        let one = |variant: &Variant| {
            let bar = row.bar_of(*variant)?;
            let verdict = match self.met(row, *variant)? {
                true => "met",
                false => "NOT MET",
            };
            Some(format!("{} ≥ {bar} {verdict}", short(*variant)))
        };
        ours.iter().filter_map(one).collect::<Vec<_>>().join(", ")
    }

    /// How many times better than stock the median of `variant` is.
    fn ratio(&self, row: &Row, variant: Variant) -> Option<f64> {
        let ours = self.results.of(row, variant)?.median()?;
        let theirs = self.results.of(row, Variant::Stock)?.median()?;
        Some(row.better.ratio(ours, theirs))
    }

    fn met(&self, row: &Row, variant: Variant) -> Option<bool> {
        Some(self.ratio(row, variant)? >= row.bar_of(variant)?)
    }

    /// Every bar there is to judge: whether it was met.
    fn verdicts(&self) -> impl Iterator<Item = bool> {
        self.rows().flat_map(|row| {
            Variant::ALL
                .into_iter()
                .filter_map(|variant| self.met(row, variant))
        })
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
        let judged = self.verdicts().count();
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

/// How a mount of ours is called where there is little room.
fn short(variant: Variant) -> &'static str {
    match variant {
        Variant::RiptideUring => "HTTP io_uring",
        Variant::RiptideShmUring => "shm io_uring",
        Variant::RiptideDirect => "direct",
        Variant::RiptideDirectUring => "direct io_uring",
        _ => variant.carrier().unwrap_or("HTTP"),
    }
}

/// What is known of each mount of ours, by its key.
fn by_variant(of: &dyn Fn(Variant) -> Option<Value>) -> Value {
    let ours = Variant::ALL.into_iter().filter(|v| v.is_ours());
    let known = ours.filter_map(|v| Some((v.key().to_owned(), of(v)?)));
    Value::Object(known.collect())
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
        let rows = workload::all().nth(1).expect("a second workload").rows;
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
        assert_eq!(report.json()["rows"][0]["met"]["riptide"], false);
    }

    #[test]
    fn every_line_of_the_markdown_table_has_as_many_cells() {
        let (options, results) = (options(), results([1.0, 2.0, 3.0], 0.1));
        let markdown = Report::new(Machine::default(), &options, &results).markdown();
        let lines: Vec<&str> = markdown.lines().filter(|l| l.starts_with('|')).collect();
        assert_eq!(lines.len(), 4);
        for line in lines {
            assert_eq!(line.matches('|').count(), 7, "{line}");
        }
    }

    #[test]
    fn numbers_have_about_three_digits() {
        let shown = [1234.5, 56.78, 3.456, 0.1234].map(number);
        assert_eq!(shown, ["1234", "56.8", "3.46", "0.123"]);
    }
}
